/* SPDX-License-Identifier: MIT */

/* Streams: writing. */
#include "net/stream.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/sys.h"
#include "net/send.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Of the buffer. What is bigger goes past it. */
#define OUT_SIZE GEV_STREAM_BUF

static int begin_write(struct gev__stream_call *call, struct gev_stream *s)
{
    int rc = s == NULL ? -EINVAL : gev__stream_begin(call, s, &s->writer);

    if (rc == 0 && s->shut) {
        gev__stream_end(call);
        return -EPIPE;
    }
    return rc;
}

/* Has the transport take n bytes; *ret_taken is set in any case. */
static int push(struct gev__stream_call *call, const char *buf, size_t n,
                size_t *ret_taken)
{
    size_t taken = 0;
    int rc = 0;

    while (taken < n) {
        ssize_t some =
            gev__stream_transport_write(call, buf + taken, n - taken);
        if (some < 0) {
            rc = (int)some;
            break;
        }
        taken += (size_t)some;
    }
    *ret_taken = taken;
    return rc;
}

/* What the transport has taken is out of the buffer. */
static void advance(struct gev_stream *s, size_t taken)
{
    s->out_start += taken;
    if (s->out_start == s->out_end) {
        s->out_start = 0;
        s->out_end = 0;
    }
}

int gev__stream_flush_out(struct gev__stream_call *call)
{
    struct gev_stream *s = call->s;
    size_t taken = 0;

    if (s->out_start == s->out_end) {
        return 0;
    }
    int rc =
        push(call, s->out + s->out_start, s->out_end - s->out_start, &taken);
    advance(s, taken);
    return rc;
}

/* What a peer may have done to writes who still has something to be read. */
static bool is_of_peer(int rc)
{
    return rc == -EPIPE || rc == -ECONNRESET || rc == -EAGAIN;
}

/* What the transport takes without parking; -EAGAIN: not all of it. */
static int try_flush(struct gev__stream_call *call)
{
    struct gev_stream *s = call->s;

    while (s->out_start < s->out_end) {
        ssize_t some = gev__stream_transport_try(call, s->out + s->out_start,
                                                 s->out_end - s->out_start);
        if (some < 0) {
            return (int)some;
        }
        advance(s, (size_t)some);
    }
    return 0;
}

/* Writes until all is taken or there is something to read, whichever is first:
 * two who have more to say than fits, and read, would else wait for each
 * other. */
static int push_or_readable(struct gev__stream_call *call)
{
    int rc;

    while ((rc = try_flush(call)) == -EAGAIN) {
        rc = gev__stream_transport_wait(call, GEV_READ | GEV_WRITE);
        if (rc == -ENOTSUP) {
            break; /* one that can only try */
        }
        if (rc < 0 || rc & GEV_READ) {
            call->late = rc == -ETIMEDOUT;
            return rc < 0 ? rc : 0;
        }
    }
    if (rc == -ENOTSUP) {
        return gev__stream_flush_out(call);
    }
    /* What else the transport fails with, the next write will say. */
    return rc == -ENOMEM || call->s->closing ? rc : 0;
}

/* The time is that of the call that reads. */
int gev__stream_flush_for_read(struct gev_stream *s)
{
    struct gev__stream_call call;

    if (s->writer.user != NULL) {
        return 0; /* who is writing will see to it */
    }
    int rc = gev__stream_begin(&call, s, &s->writer);
    if (rc < 0) {
        return rc;
    }
    rc = push_or_readable(&call);
    gev__stream_end(&call);
    return is_of_peer(rc) ? 0 : rc;
}

static size_t space(const struct gev_stream *s)
{
    return OUT_SIZE - s->out_end;
}

static int make_buffer(struct gev_stream *s)
{
    if (s->out == NULL) {
        s->out = gev__malloc(OUT_SIZE);
    }
    return s->out == NULL ? -ENOMEM : 0;
}

static int write_one(struct gev__stream_call *call, const void *buf, size_t n)
{
    struct gev_stream *s = call->s;
    size_t taken;
    int rc = buf == NULL && n > 0 ? -EINVAL : make_buffer(s);

    if (rc == 0 && n > space(s)) {
        rc = gev__stream_flush_out(call);
    }
    if (rc < 0) {
        return rc;
    }
    if (n > space(s)) {
        return push(call, buf, n, &taken);
    }
    if (n > 0) {
        memcpy(s->out + s->out_end, buf, n);
        s->out_end += n;
    }
    return 0;
}

static ssize_t try_write(gev_stream *s, const void *buf, size_t n)
{
    struct gev__stream_call call;

    if (!GEV__TRANSPORT_HAS(s->ops, try_write)) {
        return -ENOTSUP;
    }
    if (s->writer.user != NULL) {
        return -EAGAIN; /* it would have to wait for its turn */
    }
    ssize_t rc = begin_write(&call, s);
    if (rc == 0) {
        rc = try_flush(&call);
        if (rc == 0 && n > 0) {
            rc = gev__stream_transport_try(&call, buf, n);
        }
        gev__stream_end(&call);
    }
    return rc;
}

static int write_pieces(struct gev__stream_call *call, const struct iovec *iov,
                        int n)
{
    int rc = 0;

    for (int i = 0; i < n && rc == 0; i++) {
        rc = write_one(call, iov[i].iov_base, iov[i].iov_len);
    }
    return rc;
}

/* --- formatted ------------------------------------------------------------ */

/* Prints into the buffer: what it needs, which may be more than there was; or
 * -errno. */
GEV_PRIV_PRINTF(2, 0)
static int print_to_buffer(struct gev_stream *s, const char *format, va_list ap)
{
    va_list again;

    va_copy(again, ap);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): va_copy did it */
    int n = vsnprintf(s->out + s->out_end, space(s), format, again);
    va_end(again);
    if (n < 0) {
        return gev__transport_error();
    }
    if ((size_t)n < space(s)) {
        s->out_end += (size_t)n;
    }
    return n;
}

GEV_PRIV_PRINTF(3, 0)
static int print_aside(struct gev__stream_call *call, size_t n,
                       const char *format, va_list ap)
{
    char *text = gev__malloc(n + 1);

    if (text == NULL) {
        return -ENOMEM;
    }
    int printed = vsnprintf(text, n + 1, format, ap);
    int rc = printed < 0 ? gev__transport_error()
                         : write_one(call, text, (size_t)printed);
    gev__free(text);
    return rc;
}

GEV_PRIV_PRINTF(2, 0)
static int print(struct gev__stream_call *call, const char *format, va_list ap)
{
    struct gev_stream *s = call->s;
    int rc = make_buffer(s);

    if (rc < 0) {
        return rc;
    }
    size_t there = space(s);
    int n = print_to_buffer(s, format, ap);
    if (n < 0) {
        return n;
    }
    return (size_t)n < there ? 0 : print_aside(call, (size_t)n, format, ap);
}

/* --- files ---------------------------------------------------------------- */

static int send_by_kernel(struct gev__stream_call *call, int fd, off_t offset,
                          size_t n)
{
    struct gev_stream *s = call->s;
    int rc = gev__stream_start_clock(call);

    s->writer.in_transport = true;
    while (n > 0 && rc == 0) {
        ssize_t sent =
            gev__sendfile(s->hub, gev__self_to_fd(s->self), fd, &offset, n);
        if (s->closing) {
            rc = -EBADF;
        } else if (sent <= 0) {
            rc = sent < 0 ? (int)sent : -EIO;
        } else {
            n -= (size_t)sent;
            s->stuck = false;
        }
    }
    call->late = rc == -ETIMEDOUT;
    s->writer.in_transport = false;
    return rc;
}

static int send_by_copy(struct gev__stream_call *call, int fd, off_t offset,
                        size_t n)
{
    struct gev_stream *s = call->s;
    int rc = make_buffer(s);

    while (n > 0 && rc == 0) {
        size_t most = n < OUT_SIZE ? n : OUT_SIZE;
        ssize_t got = gev__sys_pread(fd, s->out, most, offset);
        if (got <= 0) {
            return got < 0 ? (int)got : -EIO;
        }
        s->out_end = (size_t)got;
        rc = gev__stream_flush_out(call);
        offset += got;
        n -= (size_t)got;
    }
    return rc;
}

static int send_file(struct gev__stream_call *call, int fd, off_t offset,
                     size_t n)
{
    int rc = gev__stream_flush_out(call);

    if (rc < 0) {
        return rc;
    }
    return gev__stream_is_fd(call->s) ? send_by_kernel(call, fd, offset, n)
                                      : send_by_copy(call, fd, offset, n);
}

/* --- public --------------------------------------------------------------- */

int gev_stream_write(gev_stream *s, const void *buf, size_t n)
{
    struct gev__stream_call call;
    int rc = begin_write(&call, s);

    if (rc == 0) {
        rc = write_one(&call, buf, n);
        gev__stream_end(&call);
    }
    return (int)gev__ret(rc);
}

ssize_t gev_stream_try_write(gev_stream *s, const void *buf, size_t n)
{
    return gev__ret(s == NULL || (buf == NULL && n > 0) ? -EINVAL
                                                        : try_write(s, buf, n));
}

int gev_stream_writev(gev_stream *s, const struct iovec *iov, int n)
{
    struct gev__stream_call call;
    int rc = n < 0 || n > IOV_MAX || (iov == NULL && n > 0)
                 ? -EINVAL
                 : begin_write(&call, s);

    if (rc == 0) {
        rc = write_pieces(&call, iov, n);
        gev__stream_end(&call);
    }
    return (int)gev__ret(rc);
}

GEV_PRIV_PRINTF(2, 0)
static int print_stream(gev_stream *s, const char *format, va_list ap)
{
    struct gev__stream_call call;
    int rc = format == NULL ? -EINVAL : begin_write(&call, s);

    if (rc == 0) {
        rc = print(&call, format, ap);
        gev__stream_end(&call);
    }
    return (int)gev__ret(rc);
}

int gev_stream_printf(gev_stream *s, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    int rc = print_stream(s, format, ap);
    va_end(ap);
    return rc;
}

int gev_stream_vprintf(gev_stream *s, const char *format, va_list ap)
{
    return print_stream(s, format, ap);
}

int gev_stream_sendfile(gev_stream *s, int fd, off_t offset, size_t n)
{
    struct gev__stream_call call;
    int rc = begin_write(&call, s);

    if (rc == 0) {
        rc = send_file(&call, fd, offset, n);
        gev__stream_end(&call);
    }
    return (int)gev__ret(rc);
}

int gev_stream_flush(gev_stream *s)
{
    struct gev__stream_call call;
    int rc = s == NULL ? -EINVAL : gev__stream_begin(&call, s, &s->writer);

    if (rc == 0) {
        rc = gev__stream_flush_out(&call);
        gev__stream_end(&call);
    }
    return (int)gev__ret(rc);
}
