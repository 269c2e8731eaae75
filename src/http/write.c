/* SPDX-License-Identifier: MIT */

/* The body of the response, and its end. */
#include "http/http.h"

#include <gev/hub.h>
#include <gev/socket.h>

#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What is longer goes past the stream's buffer. */
#define SMALL ((size_t)16 * 1024)

/* How often a client that takes nothing is looked at in write_timeout. */
#define LOOKS 4

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

/* Bytes that have been sent and that the client's side has not taken; -1: who
 * knows. */
static int count_untaken(const struct gev__http_conn *c)
{
    int fd = gev_stream_fd(c->stream);
    int n;

    return fd < 0 || ioctl(fd, SIOCOUTQ, &n) < 0 ? -1 : n;
}

/* Until the connection takes more: fails after write_timeout in which the
 * client took nothing. A socket has room again only when a good part of its
 * buffer is free, and a slow client may take longer for that. */
static int wait_for_room(struct gev_http *h)
{
    struct gev__http_conn *c = h->conn;
    int untaken = count_untaken(c);
    int looks = 0;

    gev__http_limit(c, c->opts->write_timeout / LOOKS);
    while (gev_stream_wait(c->stream, GEV_WRITE) < 0) {
        int now = count_untaken(c);
        if (errno != ETIMEDOUT) {
            return break_off(h);
        }
        looks = now == untaken ? looks + 1 : 0;
        untaken = now;
        if (looks == LOOKS) {
            return break_off(h);
        }
    }
    return 0;
}

/* The same over a transport that only has calls that wait: each piece has its
 * time, whatever becomes of it. */
static int push_pieces(struct gev_http *h, const char *from, size_t n)
{
    struct gev__http_conn *c = h->conn;

    gev__http_limit(c, c->opts->write_timeout);
    while (n > 0) {
        size_t some = n < SMALL ? n : SMALL;
        if (gev_stream_write(c->stream, from, some) < 0) {
            return break_off(h);
        }
        from += some;
        n -= some;
    }
    return gev_stream_flush(c->stream) < 0 ? break_off(h) : 0;
}

/* Has the connection take what is buffered, and n bytes behind it. */
static int push(struct gev_http *h, const char *from, size_t n)
{
    struct gev__http_conn *c = h->conn;

    for (;;) {
        ssize_t taken = gev_stream_try_write(c->stream, from, n);
        if (taken >= 0) {
            from += taken;
            n -= (size_t)taken;
        } else if (errno == ENOTSUP) {
            return push_pieces(h, from, n);
        } else if (errno != EAGAIN) {
            return break_off(h);
        } else if (wait_for_room(h) < 0) {
            return -1;
        }
        if (taken >= 0 && n == 0) {
            return 0;
        }
    }
}

/* To the stream's buffer, if there is room and memory for it; else all goes
 * out.
 */
static int send_bytes(struct gev_http *h, const void *buf, size_t n)
{
    if (h->broken != 0 || n == 0) {
        return h->broken != 0 ? fail(h->broken) : 0;
    }
    if (n <= SMALL) {
        gev__http_limit(h->conn, 0);
        if (gev_stream_write(h->conn->stream, buf, n) == 0) {
            return 0;
        }
        if (errno != ETIMEDOUT && errno != ENOMEM) {
            return break_off(h);
        }
    }
    return push(h, buf, n);
}

static int flush_stream(struct gev_http *h)
{
    return h->broken != 0 ? fail(h->broken) : push(h, "", 0);
}

/* The head, if it is not out, with what is behind it in one go. */
static int send_head(struct gev_http *h, bool whole)
{
    size_t n = 0;

    if (h->head_out) {
        return 0;
    }
    const char *head = gev__http_make_head(h, whole, 0, &n);
    return head == NULL ? -1 : send_bytes(h, head, n);
}

static bool goes_out(const struct gev_http *h)
{
    return !h->is_head && h->framing != GEV__HTTP_NO_BODY;
}

/* A whole response that is short goes out in one piece, past all buffers. */
#define SHORT ((size_t)2048)

static int send_short(struct gev_http *h, const void *body, size_t n)
{
    size_t len = 0;
    char *head = gev__http_make_head(h, true, n, &len);

    if (head == NULL) {
        return -1;
    }
    if (n > 0 && goes_out(h)) {
        memcpy(head + len, body, n);
        len += n;
    }
    return h->broken != 0 ? fail(h->broken) : push(h, head, len);
}

/* Before and after n bytes of the body. */
static int begin_chunk(struct gev_http *h, size_t n)
{
    char line[24];

    if (h->framing != GEV__HTTP_CHUNKED || n == 0) {
        return 0;
    }
    int len = snprintf(line, sizeof(line), "%zx\r\n", n);
    return send_bytes(h, line, (size_t)len);
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
        c->out = gev__http_spares_get(&c->shared->outs, GEV__HTTP_OUT_SIZE);
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
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): va_start did it */
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

/* What the socket takes at once. */
static ssize_t try_sendfile(int to, int fd, off_t *offset, size_t n)
{
    (void)gev_settimeout(to, 0);
    ssize_t sent = gev_sendfile(to, fd, offset, n);
    int error = errno;
    (void)gev_settimeout(to, GEV_FOREVER);
    errno = error;
    return sent;
}

static int send_by_kernel(struct gev_http *h, int fd, off_t offset, size_t n)
{
    int to = gev_stream_fd(h->conn->stream);

    if (flush_stream(h) < 0) {
        return -1;
    }
    while (n > 0) {
        ssize_t sent = try_sendfile(to, fd, &offset, n);
        if (sent > 0) {
            n -= (size_t)sent;
        } else if (sent == 0 || errno != EAGAIN) {
            errno = sent == 0 ? EIO : errno;
            return break_off(h);
        } else if (wait_for_room(h) < 0) {
            return -1;
        }
    }
    return 0;
}

/* The buffer of the body is empty. */
static int send_by_copy(struct gev_http *h, int fd, off_t offset, size_t n)
{
    char *buf = h->conn->out;

    while (n > 0) {
        size_t most = n < GEV__HTTP_OUT_SIZE ? n : GEV__HTTP_OUT_SIZE;
        ssize_t got = pread(fd, buf, most, offset);
        if (got <= 0) {
            errno = got == 0 ? EIO : errno;
            return break_off(h);
        }
        if (send_bytes(h, buf, (size_t)got) < 0) {
            return -1;
        }
        offset += got;
        n -= (size_t)got;
    }
    return 0;
}

static int send_file(struct gev_http *h, int fd, off_t offset, size_t n)
{
    return h->conn->is_plain ? send_by_kernel(h, fd, offset, n)
                             : send_by_copy(h, fd, offset, n);
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
    int rc = n <= SHORT ? send_short(h, body, n) : send_head(h, true);
    if (rc < 0 && !h->head_out) {
        h->sent = 0; /* no memory; a handler that does not care fails */
    }
    return rc < 0 || n <= SHORT || !goes_out(h) ? rc : send_bytes(h, body, n);
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
void gev__http_cut(struct gev_http *h)
{
    const struct sockaddr none = {.sa_family = AF_UNSPEC};

    h->close = true;
    if (h->framing == GEV__HTTP_UNTIL_CLOSE) {
        (void)connect(gev_stream_fd(h->conn->stream), &none, sizeof(none));
    }
}

static int cut(struct gev_http *h)
{
    gev__http_cut(h);
    return -1;
}

int gev__http_send_continue(struct gev_http *h)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

    return send_bytes(h, text, sizeof(text) - 1) < 0 ? -1 : flush_stream(h);
}

int gev__http_finish(struct gev_http *h)
{
    if (h->length >= 0 && h->sent < (uint64_t)h->length && !h->is_head &&
        !gev__http_is_bodiless(h)) {
        h->why = "the handler wrote less than its Content-Length";
        return h->head_out ? cut(h) : gev__http_send_error(h, 500);
    }
    bool whole = !h->head_out;
    int rc = 0;
    if (whole && h->buffered <= SHORT) {
        rc = send_short(h, h->conn->out, h->buffered);
    } else {
        rc = send_head(h, true) < 0 ? -1 : send_body(h, NULL, 0);
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
