/* SPDX-License-Identifier: MIT */

/* The head of a request. First its end is looked for, under all limits; then it
 * is read as a whole: by rules of our own where parsers are known to differ,
 * and by llhttp, so that both must agree. */
#include "http/http.h"

#include <llhttp.h>

#include <string.h>

/* --- its end -------------------------------------------------------------- */

#define BLANKS 4 /* empty lines before a request that are passed over */

struct refusal {
    int *status;
    const char **why;
};

static int refuse(const struct refusal *r, int status, const char *why)
{
    *r->status = status;
    *r->why = why;
    return -1;
}

/* A whole line of len bytes without its CRLF. 1: it ends the head. */
static int scan_line(struct gev__http_scan *s, size_t len, size_t next,
                     const gev_http_opts *opts, const struct refusal *r)
{
    if (s->headers == 0) {
        if (len == 0) {
            return ++s->blanks > BLANKS
                       ? refuse(r, 400, "empty lines and no request")
                       : 0;
        }
        if (len > opts->max_line) {
            return refuse(r, 414, "the request line is too long");
        }
        s->request = s->line;
        s->headers = next;
        return 0;
    }
    if (next - s->headers > opts->max_header + 2) {
        return refuse(r, 431, "the headers are too long");
    }
    if (len == 0) {
        return 1;
    }
    return ++s->lines > opts->max_headers ? refuse(r, 431, "too many headers")
                                          : 0;
}

/* The end of what there is, without a newline. */
static int scan_rest(const struct gev__http_scan *s, const char *data, size_t n,
                     const gev_http_opts *opts, const struct refusal *r)
{
    if (s->headers > 0) {
        return n - s->headers > opts->max_header + 2
                   ? refuse(r, 431, "the headers are too long")
                   : 0;
    }
    if (n > s->line && (data[s->line] == '\r'
                            ? n > s->line + 1
                            : !gev__http_is(data[s->line], GEV__HTTP_TOKEN))) {
        return refuse(r, 400, "this is no HTTP");
    }
    return n - s->line > opts->max_line + 1
               ? refuse(r, 414, "the request line is too long")
               : 0;
}

ssize_t gev__http_scan(struct gev__http_scan *s, const char *data, size_t n,
                       const gev_http_opts *opts, int *ret_status,
                       const char **ret_why)
{
    const struct refusal r = {ret_status, ret_why};

    for (;;) {
        const char *nl = n == s->searched ? NULL
                                          : memchr(data + s->searched, '\n',
                                                   n - s->searched);
        if (nl == NULL) {
            s->searched = n;
            return scan_rest(s, data, n, opts, &r);
        }
        size_t end = (size_t)(nl - data);
        if (end == s->line || nl[-1] != '\r') {
            return refuse(&r, 400, "a line that ends without CR");
        }
        int rc = scan_line(s, end - s->line - 1, end + 1, opts, &r);
        if (rc != 0) {
            return rc < 0 ? rc : (ssize_t)(end + 1);
        }
        s->line = end + 1;
        s->searched = s->line;
    }
}

/* --- the request line ----------------------------------------------------- */

/* "HTTP/1.1" */
static int parse_version(struct gev_http *h, const char *text, size_t n)
{
    if (n != 8 || memcmp(text, "HTTP/", 5) != 0 || text[5] < '0' ||
        text[5] > '9' || text[6] != '.' || text[7] < '0' || text[7] > '9') {
        return gev__http_refuse(h, 400, "a malformed request line");
    }
    h->version = (text[5] - '0') * 10 + text[7] - '0';
    if (h->version != 10 && h->version != 11) {
        h->version = 11; /* what the answer is in */
        return gev__http_refuse(h, 505, "a version that is not 1.0 or 1.1");
    }
    return 0;
}

/* Method, one blank, target, one blank, version. */
static int parse_request_line(struct gev_http *h, char *line, size_t n)
{
    char *end = line + n;
    char *target = memchr(line, ' ', n);
    char *version = target == NULL
                        ? NULL
                        : memchr(target + 1, ' ', (size_t)(end - target - 1));

    if (version == NULL || target == line || version == target + 1 ||
        !gev__http_are(line, (size_t)(target - line), GEV__HTTP_TOKEN)) {
        return gev__http_refuse(h, 400, "a malformed request line");
    }
    int status = parse_version(h, version + 1, (size_t)(end - version - 1));
    if (status != 0) {
        return status;
    }
    if (!gev__http_are(target + 1, (size_t)(version - target - 1),
                       GEV__HTTP_TARGET)) {
        return gev__http_refuse(h, 400, "a character that no target has");
    }
    h->method = line;
    h->target = target + 1;
    return 0;
}

/* --- header lines --------------------------------------------------------- */

/* Those that decide where a message ends, and whom it is for: a gateway that
 * reads a folded one in another way would see another request. */
static bool is_framing(const char *line, const char *end)
{
    static const char *const names[] = {
        "Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect"};
    const char *colon = memchr(line, ':', (size_t)(end - line));
    size_t n = colon == NULL ? 0 : (size_t)(colon - line);

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (gev__http_same(line, n, names[i])) {
            return true;
        }
    }
    return false;
}

/* Control characters, and CRs without LF, are in no line; folded lines are
 * joined: their CRLF turns into blanks, and *lines has one less. */
static int clean_lines(struct gev_http *h, char *text, size_t n,
                       unsigned *lines)
{
    const char *line = NULL; /* that may be folded */
    char *p = text;
    char *end = text + n - 2; /* before the last CRLF */

    while (p < end) {
        if (*p == ' ' || *p == '\t') {
            if (line == NULL || is_framing(line, p)) {
                return gev__http_refuse(h, 400, "a folded line");
            }
            p[-2] = ' ';
            p[-1] = ' ';
            --*lines;
        } else {
            line = p;
        }
        while (gev__http_is(*p, GEV__HTTP_TEXT)) {
            p++;
        }
        if (p[0] != '\r' || p[1] != '\n') {
            return gev__http_refuse(h, 400, "a control character");
        }
        p += 2;
    }
    return 0;
}

/* What llhttp's callbacks fill in. */
struct parsing {
    struct gev_http *h;
    unsigned max;
    bool failed;
};

static struct parsing *parsing_of(llhttp_t *p)
{
    return p->data;
}

/* Spans are whole: the head is given in one piece. */
static int on_field(llhttp_t *p, const char *at, size_t n)
{
    struct parsing *to = parsing_of(p);

    if (to->h->n_fields == to->max) {
        to->failed = true;
        return -1;
    }
    struct gev__http_field *f = &to->h->fields[to->h->n_fields++];
    f->name = (char *)(uintptr_t)at;
    f->name_len = n;
    f->value = NULL;
    f->value_len = 0;
    f->joined = NULL;
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
    struct parsing *to = parsing_of(p);
    struct gev__http_field *f =
        to->h->n_fields == 0 ? NULL : &to->h->fields[to->h->n_fields - 1];

    if (f == NULL || f->value != NULL) {
        to->failed = true;
        return -1;
    }
    f->value = (char *)(uintptr_t)at;
    f->value_len = n;
    return 0;
}

/* The body is not llhttp's. */
static int on_head_end(llhttp_t *p)
{
    (void)p;
    return HPE_PAUSED;
}

/* The lines as llhttp sees them must be as they stand there. */
static bool is_consistent(const struct gev_http *h, unsigned lines)
{
    if (h->n_fields != lines) {
        return false;
    }
    for (unsigned i = 0; i < h->n_fields; i++) {
        const struct gev__http_field *f = &h->fields[i];
        if (f->name_len == 0 || f->name[f->name_len] != ':' ||
            !gev__http_are(f->name, f->name_len, GEV__HTTP_TOKEN)) {
            return false;
        }
    }
    return true;
}

static int run_llhttp(struct gev_http *h, char *text, size_t n, unsigned lines)
{
    static const llhttp_settings_t settings = {
        .on_header_field = on_field,
        .on_header_value = on_value,
        .on_headers_complete = on_head_end,
    };
    struct parsing parsing = {.h = h, .max = lines};
    llhttp_t parser;

    llhttp_init(&parser, HTTP_REQUEST, &settings);
    parser.data = &parsing;
    llhttp_errno_t rc = llhttp_execute(&parser, text, n);
    if (rc == HPE_INVALID_METHOD) {
        return gev__http_refuse(h, 501, "an unknown method");
    }
    if (rc != HPE_PAUSED || parsing.failed || !is_consistent(h, lines) ||
        parser.http_major * 10 + parser.http_minor != h->version) {
        return gev__http_refuse(h, 400,
                                rc == HPE_INVALID_TRANSFER_ENCODING
                                    ? "a length and a transfer coding"
                                    : "a malformed header");
    }
    return 0;
}

/* Strings get their NULs, values lose blanks around them, names with '_' go. */
static void terminate_fields(struct gev_http *h)
{
    static char empty[] = "";

    for (unsigned i = 0; i < h->n_fields; i++) {
        struct gev__http_field *f = &h->fields[i];
        while (f->value_len > 0 && (*f->value == ' ' || *f->value == '\t')) {
            f->value++;
            f->value_len--;
        }
        while (f->value_len > 0 && (f->value[f->value_len - 1] == ' ' ||
                                    f->value[f->value_len - 1] == '\t')) {
            f->value_len--;
        }
        f->name[f->name_len] = '\0';
        if (f->value_len == 0) {
            f->value = empty;
        } else {
            f->value[f->value_len] = '\0';
        }
        if (memchr(f->name, '_', f->name_len) != NULL) {
            f->name = NULL;
        }
    }
}

static void terminate_request_line(struct gev_http *h)
{
    char *blank = strchr(h->method, ' ');

    *blank = '\0';
    *strchr(blank + 1, ' ') = '\0';
    h->is_head = strcmp(h->method, "HEAD") == 0;
    h->is_connect = strcmp(h->method, "CONNECT") == 0;
}

int gev__http_parse(struct gev_http *h, char *text, size_t n,
                    const struct gev__http_scan *scan)
{
    char *line = text + scan->request;
    size_t line_len = scan->headers - scan->request;

    unsigned lines = scan->lines;

    text[n] = '\0';
    h->fields = gev__http_alloc(&h->conn->arena,
                                (scan->lines + 1) * sizeof(h->fields[0]));
    if (h->fields == NULL) {
        return -1;
    }
    int status =
        clean_lines(h, text + scan->headers, n - scan->headers, &lines);
    if (status == 0) {
        status = parse_request_line(h, line, line_len - 2);
    }
    if (status == 0) {
        status = run_llhttp(h, line, n - scan->request, lines);
    }
    if (h->method != NULL) {
        terminate_request_line(h);
    }
    if (status != 0) {
        h->n_fields = 0; /* they are not strings yet */
        return status;
    }
    terminate_fields(h);
    status = gev__http_frame(h);
    return status != 0 ? status : gev__http_split_target(h);
}
