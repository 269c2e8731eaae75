/* SPDX-License-Identifier: MIT */

/* The body of the response, and its end. */
#include "http/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Given to the stream at a time: each has write_timeout to go. */
#define SLICE ((size_t)32 * 1024)

static int fail(int error)
{
    errno = error;
    return -1;
}

/* What is written afterwards would be out of place. */
static int break_off(struct gev_http *h)
{
    h->broken = errno;
    return -1;
}

/* --- to the stream -------------------------------------------------------- */

/* Up to a slice in all. */
static int send_pieces(struct gev_http *h, const struct iovec *iov, int n)
{
    struct gev__http_conn *c = h->conn;

    if (h->broken != 0) {
        return fail(h->broken);
    }
    gev__http_limit(c, c->opts->write_timeout);
    return gev_stream_writev(c->stream, iov, n) < 0 ? break_off(h) : 0;
}

static int send_bytes(struct gev_http *h, const void *buf, size_t n)
{
    const char *from = buf;

    while (n > 0) {
        struct iovec piece = {(void *)(uintptr_t)from, n < SLICE ? n : SLICE};
        if (send_pieces(h, &piece, 1) < 0) {
            return -1;
        }
        from += piece.iov_len;
        n -= piece.iov_len;
    }
    return 0;
}

/* The head, if it is not out, with what is behind it in one go. */
static int send_head(struct gev_http *h, bool whole)
{
    size_t n = 0;

    if (h->head_out) {
        return 0;
    }
    const char *head = gev__http_make_head(h, whole, &n);
    return head == NULL ? -1 : send_bytes(h, head, n);
}

static bool goes_out(const struct gev_http *h)
{
    return !h->is_head && h->framing != GEV__HTTP_NO_BODY;
}

/* Before and after n bytes of the body. */
static int begin_chunk(struct gev_http *h, size_t n)
{
    char line[24];
    struct iovec piece = {.iov_base = line};

    if (h->framing != GEV__HTTP_CHUNKED || n == 0) {
        return 0;
    }
    piece.iov_len = (size_t)snprintf(line, sizeof(line), "%zx\r\n", n);
    return send_pieces(h, &piece, 1);
}

static int end_chunk(struct gev_http *h, size_t n)
{
    if (h->framing != GEV__HTTP_CHUNKED || n == 0) {
        return 0;
    }
    return send_bytes(h, "\r\n", 2);
}

/* What is buffered, and n bytes more. */
static int send_body(struct gev_http *h, const void *buf, size_t n)
{
    size_t buffered = h->buffered;

    h->buffered = 0;
    if (!goes_out(h)) {
        return 0;
    }
    if (begin_chunk(h, buffered + n) < 0 ||
        send_bytes(h, h->conn->out, buffered) < 0 ||
        send_bytes(h, buf, n) < 0) {
        return -1;
    }
    return end_chunk(h, buffered + n);
}

static int flush_stream(struct gev_http *h)
{
    struct gev__http_conn *c = h->conn;

    if (h->broken != 0) {
        return fail(h->broken);
    }
    gev__http_limit(c, c->opts->write_timeout);
    return gev_stream_flush(c->stream) < 0 ? break_off(h) : 0;
}

/* --- from the handler ----------------------------------------------------- */

/* Whether n bytes more may come. */
static int check_room(const struct gev_http *h, size_t n)
{
    if (h->hijacked) {
        return fail(EALREADY);
    }
    if (h->broken != 0) {
        return fail(h->broken);
    }
    if (n > 0 && gev__http_is_bodiless(h)) {
        return fail(EINVAL);
    }
    if (h->length >= 0 &&
        (h->sent > (uint64_t)h->length || n > (uint64_t)h->length - h->sent)) {
        return fail(EMSGSIZE);
    }
    return 0;
}

static int make_buffer(struct gev__http_conn *c)
{
    if (c->out == NULL) {
        c->out = malloc(GEV__HTTP_OUT_SIZE);
    }
    return c->out == NULL ? -1 : 0;
}

static int write_body(struct gev_http *h, const void *buf, size_t n)
{
    if (check_room(h, n) < 0 || make_buffer(h->conn) < 0) {
        return -1;
    }
    if (n <= GEV__HTTP_OUT_SIZE - h->buffered) {
        memcpy(h->conn->out + h->buffered, buf, n);
        h->buffered += n;
        h->sent += n;
        return 0;
    }
    if (send_head(h, false) < 0 || send_body(h, buf, n) < 0) {
        return -1;
    }
    h->sent += n;
    return 0;
}

int gev_http_write(gev_http *h, const void *buf, size_t n)
{
    if (h == NULL || (buf == NULL && n > 0)) {
        return fail(EINVAL);
    }
    return write_body(h, n == 0 ? "" : buf, n);
}

int gev_http_printf(gev_http *h, const char *format, ...)
{
    char small[512];
    va_list ap;

    if (h == NULL || format == NULL) {
        return fail(EINVAL);
    }
    va_start(ap, format);
    int n = vsnprintf(small, sizeof(small), format, ap);
    va_end(ap);
    if (n < 0 || (size_t)n < sizeof(small)) {
        return n < 0 ? -1 : write_body(h, small, (size_t)n);
    }
    char *text = malloc((size_t)n + 1);
    if (text == NULL) {
        return -1;
    }
    va_start(ap, format);
    n = vsnprintf(text, (size_t)n + 1, format, ap);
    va_end(ap);
    int rc = n < 0 ? -1 : write_body(h, text, (size_t)n);
    free(text);
    return rc;
}

/* A small file's end is like any small body. */
static int copy_file(struct gev_http *h, int fd, off_t offset, size_t n)
{
    while (n > 0) {
        ssize_t got = pread(fd, h->conn->out + h->buffered, n, offset);
        if (got <= 0) {
            return got < 0 ? -1 : fail(EIO);
        }
        h->buffered += (size_t)got;
        h->sent += (size_t)got;
        offset += got;
        n -= (size_t)got;
    }
    return 0;
}

static int send_file(struct gev_http *h, int fd, off_t offset, size_t n)
{
    struct gev__http_conn *c = h->conn;

    for (size_t left = n; left > 0;) {
        size_t some = left < 2 * SLICE ? left : 2 * SLICE;
        if (h->broken != 0) {
            return fail(h->broken);
        }
        gev__http_limit(c, c->opts->write_timeout);
        if (gev_stream_sendfile(c->stream, fd, offset, some) < 0) {
            return break_off(h);
        }
        offset += (off_t)some;
        left -= some;
    }
    return 0;
}

int gev_http_sendfile(gev_http *h, int fd, off_t offset, size_t n)
{
    if (h == NULL || offset < 0) {
        return fail(EINVAL);
    }
    if (check_room(h, n) < 0 || make_buffer(h->conn) < 0) {
        return -1;
    }
    if (n <= GEV__HTTP_OUT_SIZE - h->buffered) {
        return copy_file(h, fd, offset, n);
    }
    if (send_head(h, false) < 0 || send_body(h, NULL, 0) < 0) {
        return -1;
    }
    h->sent += n;
    if (!goes_out(h)) {
        return 0;
    }
    if (begin_chunk(h, n) < 0 || send_file(h, fd, offset, n) < 0) {
        return -1;
    }
    return end_chunk(h, n);
}

int gev_http_flush(gev_http *h)
{
    if (h == NULL || h->hijacked) {
        return fail(h == NULL ? EINVAL : EALREADY);
    }
    if (send_head(h, false) < 0 || send_body(h, NULL, 0) < 0) {
        return -1;
    }
    return flush_stream(h);
}

int gev_http_reply(gev_http *h, int status, const char *type, const void *body,
                   size_t n)
{
    if (h == NULL || (body == NULL && n > 0)) {
        return fail(EINVAL);
    }
    if (gev_http_set_status(h, status, NULL) < 0 ||
        (type != NULL && gev_http_set_header(h, "Content-Type", type) < 0)) {
        return -1;
    }
    if (n > 0 && gev__http_is_bodiless(h)) {
        return fail(EINVAL);
    }
    h->buffered = 0;
    h->sent = n;
    h->length = gev__http_is_bodiless(h) ? h->length : (int64_t)n;
    if (n <= GEV__HTTP_OUT_SIZE / 4) {
        size_t head_len;
        const char *head = gev__http_make_head(h, true, &head_len);
        struct iovec pieces[] = {{(void *)(uintptr_t)head, head_len},
                                 {(void *)(uintptr_t)body, n}};
        return head == NULL ? -1 : send_pieces(h, pieces, goes_out(h) ? 2 : 1);
    }
    return send_head(h, true) < 0 || (goes_out(h) && send_bytes(h, body, n) < 0)
               ? -1
               : 0;
}

gev_stream *gev_http_hijack(gev_http *h)
{
    if (h == NULL || h->head_out || h->hijacked) {
        errno = h == NULL ? EINVAL : EALREADY;
        return NULL;
    }
    if (h->conn->in_start < h->conn->in_end) {
        errno = EBUSY;
        return NULL;
    }
    h->hijacked = true;
    gev__http_limit(h->conn, GEV_FOREVER);
    return h->conn->stream;
}

/* --- the end -------------------------------------------------------------- */

/* The client must not take what it got for the whole. Where the end of the
 * connection is the end of the body, a reset tells it. */
static int cut(struct gev_http *h)
{
    const struct sockaddr none = {.sa_family = AF_UNSPEC};

    h->close = true;
    if (h->framing == GEV__HTTP_UNTIL_CLOSE) {
        (void)connect(gev_stream_fd(h->conn->stream), &none, sizeof(none));
    }
    return -1;
}

int gev__http_finish(struct gev_http *h)
{
    if (h->length >= 0 && h->sent < (uint64_t)h->length && !h->is_head &&
        !gev__http_is_bodiless(h)) {
        h->why = "the handler wrote less than its Content-Length";
        return h->head_out ? cut(h) : gev__http_send_error(h, 500);
    }
    bool whole = !h->head_out;
    int rc = send_head(h, true);
    if (rc == 0) {
        rc = send_body(h, NULL, 0);
    }
    if (rc == 0 && !whole && h->framing == GEV__HTTP_CHUNKED && goes_out(h)) {
        rc = send_bytes(h, "0\r\n\r\n", 5);
    }
    if (rc == 0) {
        rc = flush_stream(h);
    }
    return rc < 0 ? cut(h) : 0;
}

int gev__http_send_error(struct gev_http *h, int status)
{
    char body[128];

    h->close = true;
    if (h->head_out) {
        return cut(h);
    }
    h->first = NULL;
    h->last = &h->first;
    h->length = -1;
    int n = snprintf(body, sizeof(body), "%d %s\n", status,
                     gev__http_words(status));
    if (gev_http_reply(h, status, "text/plain", body, (size_t)n) < 0 ||
        flush_stream(h) < 0) {
        return -1;
    }
    return 0;
}
