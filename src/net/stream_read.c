/* SPDX-License-Identifier: MIT */

/* Streams: reading. */
#include "net/stream.h"

#include "base/alloc.h"
#include "base/error.h"

#include <string.h>

/* What the buffer begins with, and what a read of the transport has room for at
 * least. A buffer that has grown beyond KEEP goes when it is empty. */
#define FIRST_SIZE ((size_t)8 * 1024)
#define ROOM ((size_t)4 * 1024)
#define KEEP ((size_t)64 * 1024)

static size_t buffered(const struct gev_stream *s)
{
    return s->in_end - s->in_start;
}

static void restore_nul(struct gev_stream *s)
{
    if (s->nul != NULL) {
        *s->nul = s->under_nul;
        s->nul = NULL;
    }
}

static void reset_empty(struct gev_stream *s)
{
    if (buffered(s) > 0) {
        return;
    }
    s->in_start = 0;
    s->in_end = 0;
    if (s->in_size > KEEP) {
        gev__free(s->in);
        s->in = NULL;
        s->in_size = 0;
    }
}

/* Begins a call that reads. */
static int begin_read(struct gev__stream_call *call, struct gev_stream *s)
{
    int rc = s == NULL ? -EINVAL : gev__stream_begin(call, s, &s->reader);

    if (rc == 0) {
        restore_nul(s);
        reset_empty(s);
    }
    return rc;
}

/* Makes room for n bytes, and one more, behind what is there. What is moved is
 * no more than what was given out before: that bounds the cost of moving. */
static int make_room(struct gev_stream *s, size_t n)
{
    if (s->in_size - s->in_end > n) {
        return 0;
    }
    size_t have = buffered(s);
    if (s->in_start > 0 && (s->in_start >= have || have <= FIRST_SIZE)) {
        memmove(s->in, s->in + s->in_start, have);
        s->in_start = 0;
        s->in_end = have;
    }
    if (s->in_size - s->in_end > n) {
        return 0;
    }
    size_t size = s->in_size == 0 ? FIRST_SIZE : s->in_size;
    while (size - s->in_end <= n) {
        if (size > SIZE_MAX / 2) {
            return -ENOMEM;
        }
        size *= 2;
    }
    char *in = gev__realloc(s->in, size);
    if (in == NULL) {
        return -ENOMEM;
    }
    s->in = in;
    s->in_size = size;
    s->trimmed = false;
    return 0;
}

/* Before a read of the transport. */
static int prepare(struct gev__stream_call *call)
{
    if (gev__likely(call->s->out_start == call->s->out_end)) {
        return 0;
    }
    int rc = gev__stream_start_clock(call);
    return rc < 0 ? rc : gev__stream_flush_for_read(call->s);
}

/* One that was trimmed waits without a buffer; who could not wait, or not on
 * such a transport, may try with one. */
static int wait_trimmed(struct gev__stream_call *call)
{
    struct gev_stream *s = call->s;
    int rc = gev__stream_start_clock(call);

    if (rc < 0 || s->hub->current->alerts != 0) {
        return rc;
    }
    rc = gev__stream_transport_wait(call, GEV_READ);
    /* EAGAIN: its descriptor's timeout is 0, which allows one try. */
    return rc > 0 || rc == -ENOTSUP || rc == -EAGAIN ? 0 : rc;
}

/* Reads more into the buffer: bytes, 0 at the end, -errno. */
static ssize_t fill(struct gev__stream_call *call)
{
    struct gev_stream *s = call->s;
    int rc = prepare(call);

    if (rc == 0 && gev__unlikely(s->trimmed)) {
        rc = wait_trimmed(call);
    }
    if (rc == 0) {
        rc = make_room(s, ROOM);
    }
    if (rc < 0) {
        return rc;
    }
    ssize_t got = gev__stream_transport_read(call, s->in + s->in_end,
                                             s->in_size - s->in_end - 1);
    if (got > 0) {
        s->in_end += (size_t)got;
    }
    return got;
}

/* Fills until at least n bytes are there: bytes there, fewer at the end. */
static ssize_t fill_up(struct gev__stream_call *call, size_t n)
{
    while (buffered(call->s) < n) {
        ssize_t got = fill(call);
        if (got < 0) {
            return got;
        }
        if (got == 0) {
            break;
        }
    }
    return (ssize_t)buffered(call->s);
}

static size_t take(struct gev_stream *s, void *buf, size_t n)
{
    size_t have = buffered(s);

    if (n > have) {
        n = have;
    }
    if (n > 0) {
        memcpy(buf, s->in + s->in_start, n);
        s->in_start += n;
    }
    return n;
}

/* What is there, or what comes next. */
static ssize_t read_some(struct gev__stream_call *call, void *buf, size_t n)
{
    struct gev_stream *s = call->s;

    if (n == 0) {
        return 0;
    }
    if (buffered(s) == 0) {
        /* Big reads go straight to where they are wanted. */
        ssize_t got = n < FIRST_SIZE ? fill(call) : prepare(call);
        if (got == 0 && n >= FIRST_SIZE) {
            return gev__stream_transport_read(call, buf, n);
        }
        if (got <= 0) {
            return got;
        }
    }
    return (ssize_t)take(s, buf, n);
}

/* Until n bytes are there; *ret_moved is set in any case. */
static int read_exactly(struct gev__stream_call *call, void *buf, size_t n,
                        size_t *ret_moved)
{
    size_t moved = 0;
    ssize_t got = 1;

    while (moved < n && got > 0) {
        got = read_some(call, (char *)buf + moved, n - moved);
        moved += got > 0 ? (size_t)got : 0;
    }
    *ret_moved = moved;
    return got < 0 ? (int)got : 0;
}

/* Gives the next len bytes out where they are, with a NUL after them. */
static ssize_t give(struct gev_stream *s, size_t len, char **ret_data)
{
    if (len == 0) {
        return 0;
    }
    char *data = s->in + s->in_start;
    s->nul = data + len;
    s->under_nul = *s->nul;
    *s->nul = '\0';
    s->in_start += len;
    if (ret_data != NULL) {
        *ret_data = data;
    }
    return (ssize_t)len;
}

/* A piece as long as the limit has no delimiter to come, but it may be the
 * stream's last: that is worth a look, not a wait. */
static ssize_t fill_at_once(struct gev__stream_call *call)
{
    struct gev__scope_handle now = {.id = 0};
    int rc = gev__scope_begin(call->s->hub, &now, 0, EMSGSIZE);

    if (rc < 0) {
        return rc;
    }
    ssize_t got = fill(call);
    gev__scope_end(&now);
    return got == -EAGAIN ? -EMSGSIZE : got; /* its descriptor's timeout is 0 */
}

static ssize_t read_until(struct gev__stream_call *call, const char *delim,
                          size_t len, char **ret_data, size_t limit)
{
    struct gev_stream *s = call->s;
    size_t searched = 0; /* bytes in which it does not begin */

    for (;;) {
        size_t have = buffered(s);
        const char *data = have == 0 ? "" : s->in + s->in_start;
        const char *found =
            have - searched < len
                ? NULL
                : memmem(data + searched, have - searched, delim, len);
        size_t end = found == NULL ? 0 : (size_t)(found - data) + len;
        if (found != NULL) {
            return end > limit ? -EMSGSIZE : give(s, end, ret_data);
        }
        if (have > limit || limit == 0) {
            return -EMSGSIZE;
        }
        searched = have < len ? 0 : have - len + 1;
        ssize_t got = have < limit ? fill(call) : fill_at_once(call);
        if (got < 0) {
            return got;
        }
        if (got == 0) {
            return give(s, have, ret_data);
        }
    }
}

static ssize_t read_piece(gev_stream *s, const void *delim, size_t len,
                          char **ret_data, size_t limit)
{
    struct gev__stream_call call;
    ssize_t rc = begin_read(&call, s);

    if (rc == 0) {
        rc = read_until(&call, delim, len, ret_data, limit);
        gev__stream_end(&call);
    }
    return rc;
}

/* A copy of all that is buffered, for free(3). */
static ssize_t give_all(struct gev_stream *s, char **ret_data)
{
    size_t n = buffered(s);

    if (ret_data == NULL) {
        s->in_start = s->in_end;
        return (ssize_t)n;
    }
    char *data = gev__libc_calloc(1, n + 1);
    if (data == NULL) {
        return -ENOMEM;
    }
    take(s, data, n);
    *ret_data = data;
    return (ssize_t)n;
}

static ssize_t read_all(struct gev__stream_call *call, char **ret_data,
                        size_t limit)
{
    struct gev_stream *s = call->s;
    ssize_t got;

    do {
        if (buffered(s) > limit) {
            return -EMSGSIZE;
        }
        got = fill(call);
    } while (got > 0);
    /* Cut by a close: what there is belongs to whoever asked for all. */
    return got < 0 && !s->closing ? got : give_all(s, ret_data);
}

/* --- public --------------------------------------------------------------- */

ssize_t gev_stream_read(gev_stream *s, void *buf, size_t n)
{
    struct gev__stream_call call;
    ssize_t rc = buf == NULL && n > 0 ? -EINVAL : begin_read(&call, s);

    if (rc == 0) {
        rc = read_some(&call, buf, n);
        gev__stream_end(&call);
    }
    return gev__ret(rc);
}

ssize_t gev_stream_read_exactly(gev_stream *s, void *buf, size_t n)
{
    struct gev__stream_call call;
    size_t moved = 0;
    int rc = buf == NULL && n > 0 ? -EINVAL : begin_read(&call, s);

    if (rc == 0) {
        rc = read_exactly(&call, buf, n, &moved);
        gev__stream_end(&call);
    }
    return gev__ret_part(moved, rc);
}

ssize_t gev_stream_read_line(gev_stream *s, char **line, size_t limit)
{
    return gev__ret(read_piece(s, "\n", 1, line, limit));
}

ssize_t gev_stream_read_until(gev_stream *s, const void *delim, size_t len,
                              char **data, size_t limit)
{
    return gev__ret(delim == NULL || len == 0
                        ? -EINVAL
                        : read_piece(s, delim, len, data, limit));
}

ssize_t gev_stream_read_all(gev_stream *s, char **data, size_t limit)
{
    struct gev__stream_call call;
    ssize_t rc = begin_read(&call, s);

    if (rc == 0) {
        rc = read_all(&call, data, limit);
        gev__stream_end(&call);
    }
    return gev__ret(rc);
}

ssize_t gev_stream_peek(gev_stream *s, const void **data, size_t n)
{
    struct gev__stream_call call;
    ssize_t rc = begin_read(&call, s);

    if (rc == 0) {
        rc = fill_up(&call, n);
        if (rc > 0 && data != NULL) {
            *data = s->in + s->in_start;
        }
        gev__stream_end(&call);
    }
    return gev__ret(rc);
}

/* What is so needs no wait: it is said to who could not, too. Others are told
 * by the loop, lest one who tries and waits by turns keeps them from theirs. */
static int wait_or_look(struct gev__stream_call *call, int directions)
{
    struct gev_stream *s = call->s;
    const bool is_fd = gev__stream_is_fd(s);
    int rc = gev__stream_start_clock(call);
    int ready = 0;

    if (rc < 0) {
        return rc;
    }
    if (is_fd && s->hub->current->alerts != 0) {
        ready = gev__fd_look(gev__self_to_fd(s->self), directions);
    }
    if (ready > 0) {
        return ready;
    }
    rc = gev__stream_transport_wait(call, directions);
    if (rc == -EAGAIN && is_fd) { /* its descriptor's timeout is 0 */
        ready = gev__fd_look(gev__self_to_fd(s->self), directions);
    }
    return ready > 0 ? ready : rc;
}

static int wait_ready(gev_stream *s, int directions)
{
    struct gev__stream_call call;
    bool reads = (directions & GEV_READ) != 0;
    int rc = directions == 0 || directions & ~(GEV_READ | GEV_WRITE)
                 ? -EINVAL
                 : gev__stream_begin(&call, s, reads ? &s->reader : &s->writer);

    if (rc == 0) {
        rc = reads && buffered(s) > 0 ? GEV_READ
                                      : wait_or_look(&call, directions);
        gev__stream_end(&call);
    }
    return rc;
}

int gev_stream_wait(gev_stream *s, int directions)
{
    return (int)gev__ret(s == NULL ? -EINVAL : wait_ready(s, directions));
}

size_t gev_stream_buffered(const gev_stream *s)
{
    return s == NULL ? 0 : buffered(s);
}
