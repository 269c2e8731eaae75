# SPDX-License-Identifier: MIT
"""What the checkers need to know of C: comments, declarations, functions."""
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Libraries beside the core: src/NAME, <gev/NAME.h>, libgev-NAME. They use the
# core as any program does.
BESIDE = [name for name in ("curl", "http", "tls")
          if (ROOT / "src" / name / f"libgev-{name}.map").is_file()]


def files(*patterns):
    """Paths below the project's root that match, sorted."""
    found = {p for pattern in patterns for p in ROOT.glob(pattern)}
    return sorted(p for p in found if p.is_file())


def name(path):
    return str(path.relative_to(ROOT))


def blank_comments(text, strings=True):
    """The text with comments (and the insides of strings) turned into blanks;
    line numbers stay."""
    def blank(match):
        token = match.group(0)
        if token[0] in "\"'":
            if not strings:
                return token
            return token[0] + " " * (len(token) - 2) + token[-1]
        return re.sub(r"[^\n]", " ", token)

    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'',
                  blank, text, flags=re.S)


def blank_directives(text):
    """The text with preprocessor lines, continued ones too, turned into
    blanks."""
    return re.sub(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*",
                  lambda m: re.sub(r"[^\n]", " ", m.group(0)), text,
                  flags=re.M)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


class Declaration:
    """A GEV_API function in a public header."""

    def __init__(self, path, line, returns, function, comment):
        self.path = path
        self.line = line
        self.returns = returns    # its type, as written
        self.function = function
        self.comment = comment    # the /** block right above, or None


def public_headers(library=None):
    """Of the core, or of one library beside it."""
    return [path for path in files("include/gev/*.h")
            if path.stem == library
            or library is None and path.stem not in BESIDE]


def public_functions(paths=None):
    """Every GEV_API declaration of include/gev, or of some headers, in order. A
    block covers the declarations that follow it without an empty line or a
    comment between."""
    found = []
    for path in paths or files("include/gev/*.h"):
        text = path.read_text()
        code = blank_directives(blank_comments(text))
        for match in re.finditer(r"^GEV_API\b([^;{}]*?)\b(gev_\w+)\s*\(", code,
                                 re.M):
            returns = re.sub(r"\bGEV_[A-Z]+\b|\s+", " ",
                             match.group(1)).strip()
            start = text.rfind("\n\n", 0, match.start()) + 2
            blocks = re.findall(r"/\*\*.*?\*/", text[start:match.start()],
                                re.S)
            comment = blocks[-1] if blocks else None
            found.append(Declaration(path, line_of(text, match.start()),
                                     returns, match.group(2), comment))
    return found


def functions(text):
    """(name, first line, last line) of every function body in a C file that is
    formatted as ours: the brace in the first column."""
    code = blank_directives(blank_comments(text))
    found = []
    for match in re.finditer(r"^(?!typedef|struct|union|enum)[A-Za-z_][^;{}]*?"
                             r"\b(\w+)\s*\([^;{}]*\)\s*\n\{\n", code, re.M):
        end = code.find("\n}", match.end() - 1)
        if end < 0:
            continue
        found.append((match.group(1), line_of(code, match.start()),
                      line_of(code, end + 1)))
    return found


def built_headers():
    """Public headers by their name in an #include."""
    return [name(p)[len("include/"):] for p in files("include/gev/*.h")]


def run(*command):
    """A command's standard output; an exception if it fails."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE,
                          universal_newlines=True).stdout
