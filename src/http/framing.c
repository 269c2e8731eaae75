/* SPDX-License-Identifier: MIT */

/* What the header lines say of the body and the connection: RFC 9112, sections
 * 3.2, 6 and 9.3, read strictly. Where it leaves a choice between guessing and
 * refusing, the request is refused. */
#include "http/http.h"

#include <string.h>

/* What was seen while going through the lines. */
struct seen {
    unsigned hosts;
    unsigned lengths;
    unsigned codings; /* lines of Transfer-Encoding */
    unsigned chunked; /* times that coding stands there */
    bool other_coding;
    bool after_chunked;
    bool close;
    bool keep_alive;
    bool bad_expect;
};

static int read_host(struct gev_http *h, const struct gev__http_field *f,
                     struct seen *seen)
{
    if (++seen->hosts > 1) {
        return gev__http_refuse(h, 400, "Host twice");
    }
    return gev__http_are(f->value, f->value_len, GEV__HTTP_HOST)
               ? 0
               : gev__http_refuse(h, 400, "a malformed Host");
}

static int read_length(struct gev_http *h, const struct gev__http_field *f,
                       struct seen *seen)
{
    int64_t length = 0;

    if (f->value_len == 0 || f->value_len > 18) {
        return gev__http_refuse(h, 400, "a malformed Content-Length");
    }
    for (size_t i = 0; i < f->value_len; i++) {
        if (f->value[i] < '0' || f->value[i] > '9') {
            return gev__http_refuse(h, 400, "a malformed Content-Length");
        }
        length = length * 10 + (f->value[i] - '0');
    }
    if (++seen->lengths > 1) {
        return gev__http_refuse(h, 400, "Content-Length twice");
    }
    h->content_length = length;
    return 0;
}

static int read_codings(struct gev_http *h, const struct gev__http_field *f,
                        struct seen *seen)
{
    const char *p = f->value;

    (void)h;
    seen->codings++;
    for (;;) {
        p += strspn(p, " \t");
        size_t n = strcspn(p, ",");
        size_t len = n;
        while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t')) {
            len--;
        }
        if (gev__http_same(p, len, "chunked")) {
            seen->chunked++;
        } else {
            seen->other_coding = true;
            seen->after_chunked |= seen->chunked > 0;
        }
        if (p[n] == '\0') {
            return 0;
        }
        p += n + 1;
    }
}

static int read_field(struct gev_http *h, const struct gev__http_field *f,
                      struct seen *seen)
{
    const char *name = f->name;
    size_t n = f->name_len;

    switch (n) {
    case 4:
        return gev__http_same(name, n, "Host") ? read_host(h, f, seen) : 0;
    case 6:
        if (gev__http_same(name, n, "Expect")) {
            h->expects = gev__http_same(f->value, f->value_len, "100-continue");
            seen->bad_expect |= !h->expects;
        }
        return 0;
    case 10:
        if (gev__http_same(name, n, "Connection")) {
            seen->close |= gev__http_has_token(f->value, f->value_len, "close");
            seen->keep_alive |=
                gev__http_has_token(f->value, f->value_len, "keep-alive");
        }
        return 0;
    case 14:
        return gev__http_same(name, n, "Content-Length")
                   ? read_length(h, f, seen)
                   : 0;
    case 17:
        return gev__http_same(name, n, "Transfer-Encoding")
                   ? read_codings(h, f, seen)
                   : 0;
    default:
        return 0;
    }
}

static int check_codings(struct gev_http *h, const struct seen *seen)
{
    if (seen->lengths > 0) {
        return gev__http_refuse(h, 400, "a length and a transfer coding");
    }
    if (h->version == 10) {
        return gev__http_refuse(h, 400, "a transfer coding in HTTP/1.0");
    }
    if (seen->other_coding) {
        return gev__http_refuse(h, seen->after_chunked ? 400 : 501,
                                "an unknown transfer coding");
    }
    if (seen->chunked != 1) {
        return gev__http_refuse(h, 400, "chunked twice");
    }
    h->content_length = -1;
    return 0;
}

static int check(struct gev_http *h, const struct seen *seen)
{
    if (h->version == 11 && seen->hosts == 0) {
        return gev__http_refuse(h, 400, "no Host");
    }
    if (seen->codings > 0) {
        int status = check_codings(h, seen);
        if (status != 0) {
            return status;
        }
    }
    if (h->is_head && h->content_length != 0) {
        return gev__http_refuse(h, 400, "HEAD with a body");
    }
    if (seen->bad_expect && h->version == 11) {
        return gev__http_refuse(h, 417, "an unknown expectation");
    }
    uint64_t most = h->conn->opts->max_body;
    if (most > 0 && h->content_length > 0 &&
        (uint64_t)h->content_length > most) {
        return gev__http_refuse(h, 413, "the body is too long");
    }
    return 0;
}

int gev__http_frame(struct gev_http *h)
{
    struct seen seen = {.hosts = 0};

    for (unsigned i = 0; i < h->n_fields; i++) {
        const struct gev__http_field *f = &h->fields[i];
        int status = f->name == NULL ? 0 : read_field(h, f, &seen);
        if (status != 0) {
            return status;
        }
    }
    int status = check(h, &seen);
    if (status != 0) {
        return status;
    }
    h->keep_alive = !seen.close && (h->version == 11 || seen.keep_alive);
    h->expects = h->expects && h->version == 11 && h->content_length != 0;
    if (h->content_length < 0) {
        h->rest = GEV__HTTP_CHUNK_SIZE;
    } else if (h->content_length > 0) {
        h->rest = GEV__HTTP_BYTES;
        h->left = (uint64_t)h->content_length;
    }
    return 0;
}
