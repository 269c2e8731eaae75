/* SPDX-License-Identifier: MIT */
#include "net/io.h"

#include "base/quiet.h"
#include "base/sys.h"
#include "hub/sched.h"

#include <gev/socket.h>

#include <limits.h>

#define MAX_BUFFER_WAIT GEV__SEC /* ENOBUFS for longer than this is real */
#define MAX_BUFFER_PAUSE (INT64_C(50) * GEV__MS)

int gev__io_adopt(struct gev_hub *hub, int fd, struct gev__fd **ret_entry)
{
    struct gev__fd *entry = gev__fd_find(hub, fd);
    bool was_file = entry != NULL && (entry->flags & GEV__FD_FILE) != 0;

    if (was_file) {
        entry->flags &= ~(unsigned)(GEV__FD_KNOWN | GEV__FD_FILE);
    }
    int rc = gev__fd_adopt(hub, fd, ret_entry);
    if (rc == 0 && was_file && !((*ret_entry)->flags & GEV__FD_FILE)) {
        (*ret_entry)->timeout = GEV__NEVER;
    }
    return rc;
}

/* Also one that is known, for its timeout. */
int gev__io_begin_slow(struct gev__io *io, struct gev_hub *hub, int fd)
{
    struct gev__fd *entry;
    int rc = gev__io_adopt(hub, fd, &entry);

    if (rc < 0) {
        return rc;
    }
    *io = (struct gev__io){hub, entry, GEV__NEVER, fd};
    if (entry->timeout <= 0) {
        io->deadline = 0;
    } else if (entry->timeout != GEV__NEVER) {
        io->deadline = gev__clock_add(gev__now_base(hub), entry->timeout);
    }
    return 0;
}

/* Sleeps as a silent waiter, so that close and cancel end it. */
static int sleep_on(const struct gev__io *io, int64_t until)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_FD, .number = io->fd};
    struct gev__fd_waiter waiter;

    gev__fd_add_silent_waiter(io->hub, io->entry, &waiter);
    int rc = gev__park_until(io->hub, what, until);
    gev__fd_remove_waiter(io->hub, &waiter);
    if (waiter.error == -EBADF) {
        return -EBADF;
    }
    if (rc == -ETIMEDOUT && gev__clock_now() >= until) {
        return 0; /* if a scope expired too, the next park says so */
    }
    return rc;
}

int gev__io_pause(const struct gev__io *io, struct gev__pause *pause)
{
    if (io->deadline == 0) {
        return -EAGAIN;
    }
    if (io->deadline <= gev__clock_now()) {
        return -ETIMEDOUT;
    }
    int64_t step = pause->next == 0 ? GEV__MS : pause->next;
    int64_t until = gev__clock_add(gev__now_base(io->hub), step);
    if (until > io->deadline) {
        until = io->deadline;
    }
    pause->next = step * 2 > pause->most ? pause->most : step * 2;

    return sleep_on(io, until);
}

int gev__io_wait_buffer(const struct gev__io *io, ssize_t rc,
                        struct gev__pause *pause, int64_t *until)
{
    int64_t now = gev__clock_now();

    if (*until == 0) {
        *until = now + MAX_BUFFER_WAIT;
        pause->most = MAX_BUFFER_PAUSE;
    }
    if (now >= *until || io->deadline == 0) {
        return (int)rc;
    }
    return gev__io_pause(io, pause);
}

/* --- tries ---------------------------------------------------------------- */

ssize_t gev__io_try_read(const struct gev__io *io, void *buf, size_t n)
{
    /* A recv of nothing would wait for something. */
    if ((io->entry->flags & GEV__FD_SOCKET) != 0 && n > 0) {
        return gev__sys_recv(io->fd, buf, n, MSG_DONTWAIT);
    }
    return gev__sys_read(io->fd, buf, n);
}

ssize_t gev__io_try_write(const struct gev__io *io, const void *buf, size_t n)
{
    unsigned flags = io->entry->flags;

    if (gev__likely(flags & GEV__FD_SOCKET)) {
        return gev__sys_send(io->fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    if (flags & GEV__FD_FILE) {
        return gev__sys_write(io->fd, buf, n);
    }
    struct gev__quiet quiet;
    gev__quiet_begin(&quiet);
    ssize_t rc = gev__sys_write(io->fd, buf, n);
    gev__quiet_end(&quiet, rc);
    return rc;
}

struct vector {
    union {
        const struct iovec *iov;
        struct iovec *msg_iov; /* for a msghdr, which knows no const */
    };
    int n;
    size_t total; /* bytes */
};

/* -EINVAL as the kernel has it, for sockets too. */
static int vector_init(struct vector *v, const struct iovec *iov, int n)
{
    if (n < 0 || n > IOV_MAX) {
        return -EINVAL;
    }
    v->iov = iov;
    v->n = n;
    v->total = 0;
    for (int i = 0; i < n; i++) {
        if (__builtin_add_overflow(v->total, iov[i].iov_len, &v->total) ||
            v->total > SSIZE_MAX) {
            return -EINVAL;
        }
    }
    return 0;
}

static struct msghdr vector_msg(const struct vector *v)
{
    return (struct msghdr){.msg_iov = v->msg_iov, .msg_iovlen = (size_t)v->n};
}

GEV__INLINE ssize_t try_readv(const struct gev__io *io, void *args)
{
    const struct vector *v = args;

    if ((io->entry->flags & GEV__FD_SOCKET) != 0 && v->total > 0) {
        struct msghdr msg = vector_msg(v);
        return gev__sys_recvmsg(io->fd, &msg, MSG_DONTWAIT);
    }
    return gev__sys_readv(io->fd, v->iov, v->n);
}

GEV__INLINE ssize_t try_writev(const struct gev__io *io, void *args)
{
    const struct vector *v = args;
    unsigned flags = io->entry->flags;

    if ((flags & GEV__FD_SOCKET) != 0 && v->total > 0) {
        struct msghdr msg = vector_msg(v);
        return gev__sys_sendmsg(io->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    if (flags & (GEV__FD_FILE | GEV__FD_SOCKET)) {
        return gev__sys_writev(io->fd, v->iov, v->n);
    }
    struct gev__quiet quiet;
    gev__quiet_begin(&quiet);
    ssize_t rc = gev__sys_writev(io->fd, v->iov, v->n);
    gev__quiet_end(&quiet, rc);
    return rc;
}

struct buffer {
    void *data;
    size_t n;
};

GEV__INLINE ssize_t try_read(const struct gev__io *io, void *args)
{
    const struct buffer *b = args;
    return gev__io_try_read(io, b->data, b->n);
}

struct const_buffer {
    const void *data;
    size_t n;
};

GEV__INLINE ssize_t try_write(const struct gev__io *io, void *args)
{
    const struct const_buffer *b = args;
    return gev__io_try_write(io, b->data, b->n);
}

/* --- whole transfers ------------------------------------------------------ */

int gev__io_read_all(const struct gev__io *io, void *buf, size_t n,
                     size_t *ret_moved)
{
    size_t moved = 0;
    ssize_t rc = 0;

    while (moved < n) {
        struct buffer b = {(char *)buf + moved, n - moved};
        rc = gev__io_read(io, b.n, false, try_read, &b);
        if (rc <= 0) {
            break;
        }
        moved += (size_t)rc;
    }
    *ret_moved = moved;
    return rc < 0 ? (int)rc : 0;
}

int gev__io_write_all(const struct gev__io *io, const void *buf, size_t n,
                      size_t *ret_moved)
{
    size_t moved = 0;
    ssize_t rc = 0;

    while (moved < n) {
        struct const_buffer b = {(const char *)buf + moved, n - moved};
        rc = gev__io_write(io, false, try_write, &b);
        if (rc < 0) {
            break;
        }
        moved += (size_t)rc;
    }
    *ret_moved = moved;
    return rc < 0 ? (int)rc : 0;
}

/* --- public --------------------------------------------------------------- */

GEV__INLINE ssize_t read_fd(struct gev_hub *hub, int fd, void *buf, size_t n)
{
    struct gev__io io;
    struct buffer b = {buf, n};
    int rc = gev__io_begin(&io, hub, fd);
    return rc < 0 ? rc : gev__io_read(&io, n, false, try_read, &b);
}

ssize_t gev_read(int fd, void *buf, size_t n)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : gev__ret(read_fd(hub, fd, buf, n));
}

static ssize_t readv_fd(struct gev_hub *hub, int fd, const struct iovec *iov,
                        int n)
{
    struct gev__io io;
    struct vector v;
    int rc = gev__io_begin(&io, hub, fd);
    if (rc < 0) {
        return rc;
    }
    rc = vector_init(&v, iov, n);
    return rc < 0 ? rc : gev__io_read(&io, v.total, false, try_readv, &v);
}

ssize_t gev_readv(int fd, const struct iovec *iov, int n)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : gev__ret(readv_fd(hub, fd, iov, n));
}

GEV__INLINE ssize_t write_fd(struct gev_hub *hub, int fd, const void *buf,
                             size_t n)
{
    struct gev__io io;
    struct const_buffer b = {buf, n};
    int rc = gev__io_begin(&io, hub, fd);
    return rc < 0 ? rc : gev__io_write(&io, false, try_write, &b);
}

ssize_t gev_write(int fd, const void *buf, size_t n)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : gev__ret(write_fd(hub, fd, buf, n));
}

static ssize_t writev_fd(struct gev_hub *hub, int fd, const struct iovec *iov,
                         int n)
{
    struct gev__io io;
    struct vector v;
    int rc = gev__io_begin(&io, hub, fd);
    if (rc < 0) {
        return rc;
    }
    rc = vector_init(&v, iov, n);
    return rc < 0 ? rc : gev__io_write(&io, false, try_writev, &v);
}

ssize_t gev_writev(int fd, const struct iovec *iov, int n)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : gev__ret(writev_fd(hub, fd, iov, n));
}
