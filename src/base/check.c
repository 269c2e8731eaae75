/* SPDX-License-Identifier: MIT */
#include "base/compiler.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct line {
    size_t length;
    char text[512];
};

/* What does not fit is cut off; one byte is kept for the newline. */
static void append(struct line *line, const char *text)
{
    size_t room = sizeof(line->text) - 1 - line->length;
    size_t n = strnlen(text, room);
    memcpy(line->text + line->length, text, n);
    line->length += n;
}

static void append_number(struct line *line, int number)
{
    char digits[16];
    char *p = digits + sizeof(digits) - 1;
    unsigned rest = number < 0 ? 0 : (unsigned)number;
    *p = '\0';
    do {
        *--p = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    append(line, p);
}

/* By hand and by write(2): the heap, stdio or this very stack may be what is
 * broken, and this may run in a signal handler. One write, so that the lines of
 * two threads do not mix. */
_Noreturn GEV__COLD void gev__check_failed(const char *cond, const char *file,
                                           int line)
{
    struct line out = {.length = 0};
    append(&out, "gev: ");
    append(&out, file);
    append(&out, ":");
    append_number(&out, line);
    append(&out, ": check failed: ");
    append(&out, cond);
    out.text[out.length++] = '\n';
    if (write(STDERR_FILENO, out.text, out.length) < 0) {
        /* Nowhere left to say it; the abort says enough. */
    }
    abort();
}
