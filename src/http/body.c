/* SPDX-License-Identifier: MIT */

/* The request's body. */
#include "http/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_LINE ((size_t)8192) /* of a chunk's size, with its extensions */
#define SIZE_DIGITS 16
#define PIECE ((size_t)4096)
/* Of lines before chunks beyond what their data is worth: else a client could
 * have us read kilobytes for each byte of the body, for ever. */
#define OVERHEAD ((uint64_t)16 * 1024)

/* A read has failed. */
static int fail(struct gev_http *h, int error)
{
    h->body_error = error;
    errno = error;
    return -1;
}

/* Such a failure is for good: nobody knows where the body is. Time-outs and
 * kills have lost nothing. */
static bool is_final(int error)
{
    return error == EBADMSG || error == ECONNRESET || error == EFBIG;
}

/* --- chunks --------------------------------------------------------------- */

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int64_t gev__http_chunk_size(const char *line, size_t n)
{
    uint64_t size = 0;
    size_t i = 0;

    while (i < n && i < SIZE_DIGITS && digit_of(line[i]) >= 0) {
        size = size * 16 + (uint64_t)digit_of(line[i++]);
    }
    if (i == 0 || size > INT64_MAX) {
        return -1;
    }
    while (i < n && (line[i] == ' ' || line[i] == '\t')) {
        i++;
    }
    /* Extensions mean nothing to us. */
    if (i < n &&
        (line[i] != ';' || !gev__http_are(line + i, n - i, GEV__HTTP_TEXT))) {
        return -1;
    }
    /* Blanks belong to an extension, not to a size by itself. */
    return i == n && n > 0 && digit_of(line[n - 1]) < 0 ? -1 : (int64_t)size;
}

bool gev__http_is_field(const char *line, size_t n)
{
    const char *colon = memchr(line, ':', n);
    size_t name = colon == NULL ? 0 : (size_t)(colon - line);

    return name > 0 && gev__http_are(line, name, GEV__HTTP_TOKEN) &&
           gev__http_are(colon, n - name, GEV__HTTP_TEXT);
}

/* ... because the framing is malformed, with an answer of its own. */
static int fail_with(struct gev_http *h, int status)
{
    h->body_status = status;
    return fail(h, EBADMSG);
}

/* A line of the framing, without its CRLF: its length, or -1. Longer than limit
 * it is answered with that status. */
static ssize_t read_frame_line(struct gev_http *h, char **ret_line,
                               size_t limit, int too_long)
{
    ssize_t n = gev_stream_read_line(h->conn->stream, ret_line, limit + 2);

    if (n < 0) {
        return errno == EMSGSIZE ? fail_with(h, too_long) : fail(h, errno);
    }
    if (n == 0 || (*ret_line)[n - 1] != '\n') {
        return fail(h, ECONNRESET);
    }
    if (n < 2 || (*ret_line)[n - 2] != '\r') {
        return fail(h, EBADMSG);
    }
    return n - 2;
}

/* They are checked and forgotten: all of them in the time of a head. A read
 * that ends among them goes on there. */
static int read_trailers(struct gev_http *h)
{
    const gev_http_opts *opts = h->conn->opts;
    size_t *bytes = &h->trailers.bytes;
    ssize_t n;
    char *line;

    do {
        double left = h->trailers.until - gev__http_now();
        gev__http_limit(h->conn,
                        left < opts->body_timeout ? left : opts->body_timeout);
        n = read_frame_line(h, &line, opts->max_header - *bytes, 431);
        if (n < 0) {
            return -1;
        }
        *bytes += n == 0 ? 0 : (size_t)n + 2;
        if (*bytes > opts->max_header ||
            (n > 0 && ++h->trailers.lines > opts->max_headers)) {
            return fail_with(h, 431);
        }
        if (n > 0 && !gev__http_is_field(line, (size_t)n)) {
            return fail(h, EBADMSG);
        }
    } while (n > 0);
    h->rest = GEV__HTTP_ENDED;
    h->body_error = 0;
    return 0;
}

/* Counts a chunk and its line of n bytes. False: it is all lines. */
static bool is_worth_it(struct gev_http *h, size_t n, int64_t size)
{
    uint64_t worth = 16 + 2 * (uint64_t)size;

    h->overhead += n;
    h->overhead -= h->overhead < worth ? h->overhead : worth;
    return h->overhead <= OVERHEAD;
}

/* The line before a chunk. */
static int begin_chunk(struct gev_http *h)
{
    char *line;
    ssize_t n = read_frame_line(h, &line, SIZE_LINE, 400);
    int64_t size = n < 0 ? -1 : gev__http_chunk_size(line, (size_t)n);

    if (n < 0) {
        return -1;
    }
    if (size < 0 || !is_worth_it(h, (size_t)n, size)) {
        return fail(h, EBADMSG);
    }
    if (size == 0) {
        h->trailers.until = gev__http_now() + h->conn->opts->header_timeout;
        h->rest = GEV__HTTP_TRAILERS;
        return 0;
    }
    uint64_t most = h->conn->opts->max_body;
    if (most > 0 && (uint64_t)size > most - h->received) {
        return fail(h, EFBIG);
    }
    h->left = (uint64_t)size;
    h->rest = GEV__HTTP_CHUNK;
    return 0;
}

/* The CRLF behind a chunk. */
static int end_chunk(struct gev_http *h)
{
    const void *next;
    char crlf[2];
    ssize_t n = gev_stream_peek(h->conn->stream, &next, 2);

    if (n < 2) {
        return fail(h, n < 0 ? errno : ECONNRESET);
    }
    if (memcmp(next, "\r\n", 2) != 0) {
        return fail(h, EBADMSG);
    }
    if (gev_stream_read_exactly(h->conn->stream, crlf, 2) < 2) {
        return fail(h, errno);
    }
    h->rest = GEV__HTTP_CHUNK_SIZE;
    return 0;
}

/* --- reading -------------------------------------------------------------- */

/* The client may wait for this before it sends the body. */
static int send_continue(struct gev_http *h)
{
    h->expects = false;
    return gev__http_send_continue(h) < 0 ? fail(h, errno) : 0;
}

/* The next bytes from the connection. */
static ssize_t read_more(struct gev_http *h, void *buf, size_t n)
{
    struct gev__http_conn *c = h->conn;

    if (is_final(h->body_error)) {
        errno = h->body_error;
        return -1;
    }
    if (n == 0 || h->rest == GEV__HTTP_ENDED) {
        return 0;
    }
    if (h->expects && !h->head_out && send_continue(h) < 0) {
        return -1;
    }
    gev__http_limit(c, c->opts->body_timeout);
    if (h->rest == GEV__HTTP_CHUNK && h->left == 0 && end_chunk(h) < 0) {
        return -1;
    }
    if (h->rest == GEV__HTTP_CHUNK_SIZE && begin_chunk(h) < 0) {
        return -1;
    }
    if (h->rest == GEV__HTTP_TRAILERS && read_trailers(h) < 0) {
        return -1;
    }
    if (h->rest == GEV__HTTP_ENDED) {
        return 0;
    }
    size_t most = n < h->left ? n : (size_t)h->left;
    ssize_t got = gev_stream_read(c->stream, buf, most);
    if (got <= 0) {
        return fail(h, got == 0 ? ECONNRESET : errno);
    }
    h->body_error = 0;
    h->left -= (uint64_t)got;
    h->received += (uint64_t)got;
    if (h->left == 0 && h->rest == GEV__HTTP_BYTES) {
        h->rest = GEV__HTTP_ENDED;
    }
    return got;
}

static void restore_nul(struct gev__http_conn *c)
{
    if (c->nul != NULL) {
        *c->nul = c->under_nul;
        c->nul = NULL;
    }
}

/* What was read ahead first. */
static ssize_t read_some(struct gev_http *h, void *buf, size_t n)
{
    struct gev__http_conn *c = h->conn;
    size_t have = c->in_end - c->in_start;

    restore_nul(c);
    if (have == 0) {
        return read_more(h, buf, n);
    }
    if (n > have) {
        n = have;
    }
    memcpy(buf, c->in + c->in_start, n);
    c->in_start += n;
    return (ssize_t)n;
}

/* More behind what was read ahead: bytes, 0 at the end, -1. */
static ssize_t read_ahead(struct gev_http *h)
{
    struct gev__http_conn *c = h->conn;

    if (c->in_start > 0) {
        memmove(c->in, c->in + c->in_start, c->in_end - c->in_start);
        c->in_end -= c->in_start;
        c->in_start = 0;
    }
    if (c->in_size - c->in_end < PIECE + 1) {
        size_t size = c->in_size == 0 ? 2 * PIECE : 2 * c->in_size;
        char *in = realloc(c->in, size);
        if (in == NULL) {
            return -1;
        }
        c->in = in;
        c->in_size = size;
    }
    ssize_t got = read_more(h, c->in + c->in_end, c->in_size - c->in_end - 1);
    c->in_end += got > 0 ? (size_t)got : 0;
    return got;
}

static ssize_t give_line(struct gev__http_conn *c, size_t n, char **ret_line)
{
    if (n == 0) {
        return 0;
    }
    char *line = c->in + c->in_start;
    c->nul = line + n;
    c->under_nul = *c->nul;
    *c->nul = '\0';
    c->in_start += n;
    if (ret_line != NULL) {
        *ret_line = line;
    }
    return (ssize_t)n;
}

static ssize_t read_line(struct gev_http *h, char **ret_line, size_t limit)
{
    struct gev__http_conn *c = h->conn;
    size_t searched = 0;

    restore_nul(c);
    for (;;) {
        size_t have = c->in_end - c->in_start;
        const char *data = have == 0 ? NULL : c->in + c->in_start;
        const char *nl = have > searched
                             ? memchr(data + searched, '\n', have - searched)
                             : NULL;
        size_t n = nl == NULL ? have : (size_t)(nl - data) + 1;
        if (n > limit || (nl == NULL && n == limit)) {
            errno = EMSGSIZE;
            return -1;
        }
        if (nl != NULL) {
            return give_line(c, n, ret_line);
        }
        searched = have;
        ssize_t got = read_ahead(h);
        if (got < 0) {
            return -1;
        }
        if (got == 0) {
            return give_line(c, have, ret_line);
        }
    }
}

static ssize_t read_all(struct gev_http *h, char **ret_data, size_t limit)
{
    size_t size = 0;
    size_t n = 0;
    char *data = NULL;
    ssize_t got = 1;

    while (got > 0 && n <= limit) {
        if (size - n < 2) {
            size = size == 0 ? PIECE : 2 * size;
            char *more = realloc(data, size);
            if (more == NULL) {
                got = -1;
                break;
            }
            data = more;
        }
        got = read_some(h, data + n, size - n - 1);
        n += got > 0 ? (size_t)got : 0;
    }
    if (got < 0 || n > limit) {
        int error = got < 0 ? errno : EMSGSIZE;
        free(data);
        errno = error;
        return -1;
    }
    data[n] = '\0';
    if (ret_data != NULL) {
        *ret_data = data;
    } else {
        free(data);
    }
    return (ssize_t)n;
}

/* --- what is left --------------------------------------------------------- */

/* Not inlined: most requests leave nothing, and need no page of stack for it.
 */
__attribute__((noinline)) static bool discard(struct gev_http *h)
{
    struct gev__http_conn *c = h->conn;
    double end = gev__http_now() + c->opts->body_timeout;
    size_t discarded = 0;
    char trash[PIECE];

    while (h->rest != GEV__HTTP_ENDED) {
        ssize_t n = read_more(h, trash, sizeof(trash));
        if (n < 0) {
            return false;
        }
        discarded += (size_t)n;
        if (discarded > c->opts->max_discard || gev__http_now() > end) {
            return false;
        }
    }
    return true;
}

bool gev__http_discard(struct gev_http *h)
{
    return gev__http_can_discard(h) &&
           (h->rest == GEV__HTTP_ENDED || discard(h));
}

/* --- public --------------------------------------------------------------- */

static bool is_readable(const struct gev_http *h)
{
    if (h == NULL || h->hijacked) {
        errno = h == NULL ? EINVAL : EALREADY;
        return false;
    }
    return true;
}

ssize_t gev_http_read(gev_http *h, void *buf, size_t n)
{
    if (!is_readable(h)) {
        return -1;
    }
    if (buf == NULL && n > 0) {
        errno = EINVAL;
        return -1;
    }
    return n == 0 ? 0 : read_some(h, buf, n);
}

ssize_t gev_http_read_line(gev_http *h, char **line, size_t limit)
{
    return is_readable(h) ? read_line(h, line, limit) : -1;
}

ssize_t gev_http_read_all(gev_http *h, char **data, size_t limit)
{
    return is_readable(h) ? read_all(h, data, limit) : -1;
}
