/* SPDX-License-Identifier: MIT */
#include "base/alloc.h"
#include "base/sys.h"
#include "net/io.h"

#include <gev/socket.h>

#include <limits.h>
#include <string.h>

/* Linux never blocks for these, whatever the descriptor's mode. */
#define NEVER_BLOCKS (MSG_DONTWAIT | MSG_OOB | MSG_ERRQUEUE)

/* How long a peek for more than is there looks again, at most. */
#define PEEK_PAUSE (INT64_C(20) * GEV__MS)

struct recv_args {
    void *buf;
    size_t n;
    int flags;
    struct sockaddr *addr; /* recvfrom only */
    socklen_t *len;
};

GEV__INLINE ssize_t try_recv(const struct gev__io *io, void *args)
{
    const struct recv_args *a = args;
    return gev__sys_recv(io->fd, a->buf, a->n, a->flags | MSG_DONTWAIT);
}

GEV__INLINE ssize_t try_recvfrom(const struct gev__io *io, void *args)
{
    const struct recv_args *a = args;
    return gev__sys_recvfrom(io->fd, a->buf, a->n, a->flags | MSG_DONTWAIT,
                             a->addr, a->len);
}

/* What a read with these flags says about what is left: see gev__io_read. */
GEV__INLINE size_t wanted(size_t n, int flags)
{
    return flags & (MSG_PEEK | NEVER_BLOCKS) ? 0 : n;
}

/* --- MSG_WAITALL ---------------------------------------------------------- */

static bool waits_for_all(const struct gev__io *io, int flags)
{
    const unsigned stream = GEV__FD_STREAM | GEV__FD_SOCKET;
    return (flags & MSG_WAITALL) != 0 && (flags & NEVER_BLOCKS) == 0 &&
           (io->entry->flags & stream) == stream;
}

/* A read that stopped with rc after some bytes: those, and the reason in errno
 * so that a thrown code is not lost. */
static ssize_t stopped(size_t moved, ssize_t rc)
{
    if (rc < 0) {
        return moved == 0 ? rc : gev__ret_part(moved, (int)rc);
    }
    return (ssize_t)moved;
}

/* Whether there will be no more to read than there is. */
static bool has_ended(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return gev__sys_poll(&p, 1, 0) != 0;
}

/* A peek consumes nothing, so no event tells that more has come: look again. */
static ssize_t peek_all(const struct gev__io *io, struct recv_args *a,
                        gev__io_try_fn *try)
{
    struct gev__pause pause = {.most = PEEK_PAUSE};

    for (;;) {
        ssize_t rc = gev__io_read(io, 0, false, try, a);
        if (rc <= 0 || (size_t)rc >= a->n || has_ended(io->fd)) {
            return rc;
        }
        int paused = gev__io_pause(io, &pause);
        if (paused < 0) {
            return stopped((size_t)rc, paused);
        }
    }
}

static GEV__NOINLINE ssize_t recv_all(const struct gev__io *io,
                                      struct recv_args *a, gev__io_try_fn *try)
{
    size_t moved = 0;

    a->flags &= ~MSG_WAITALL;
    if (a->flags & MSG_PEEK) {
        return peek_all(io, a, try);
    }
    for (;;) {
        ssize_t rc = gev__io_read(io, a->n, false, try, a);
        if (rc <= 0) {
            return stopped(moved, rc);
        }
        moved += (size_t)rc;
        if ((size_t)rc >= a->n) {
            return (ssize_t)moved;
        }
        a->n -= (size_t)rc;
        a->buf = a->buf == NULL ? NULL : (char *)a->buf + rc; /* MSG_TRUNC */
    }
}

static ssize_t try_recv_fn(const struct gev__io *io, void *args)
{
    return try_recv(io, args);
}

static ssize_t try_recvfrom_fn(const struct gev__io *io, void *args)
{
    return try_recvfrom(io, args);
}

static GEV__NOINLINE ssize_t recv_with_care(struct gev_hub *hub, int fd,
                                            void *buf, size_t n, int flags)
{
    struct gev__io io;
    struct recv_args a = {.buf = buf, .n = n, .flags = flags};
    int rc = gev__io_begin(&io, hub, fd);

    if (rc < 0) {
        return rc;
    }
    if (waits_for_all(&io, flags)) {
        return recv_all(&io, &a, try_recv_fn);
    }
    return gev__io_read(&io, wanted(n, flags), flags & NEVER_BLOCKS, try_recv,
                        &a);
}

GEV__INLINE ssize_t recv_fd(struct gev_hub *hub, int fd, void *buf, size_t n,
                            int flags)
{
    struct gev__io io;
    struct recv_args a = {.buf = buf, .n = n};

    if (gev__unlikely(flags != 0) || !gev__io_find(&io, hub, fd)) {
        return recv_with_care(hub, fd, buf, n, flags);
    }
    return gev__io_read(&io, n, false, try_recv, &a);
}

static ssize_t recvfrom_fd(struct gev_hub *hub, int fd, struct recv_args *a)
{
    struct gev__io io;
    int rc = gev__io_begin(&io, hub, fd);

    if (rc < 0) {
        return rc;
    }
    if (waits_for_all(&io, a->flags)) {
        return recv_all(&io, a, try_recvfrom_fn);
    }
    return gev__io_read(&io, wanted(a->n, a->flags), a->flags & NEVER_BLOCKS,
                        try_recvfrom, a);
}

/* --- messages ------------------------------------------------------------- */

struct recvmsg_args {
    struct msghdr *msg;
    int flags;
};

GEV__INLINE ssize_t try_recvmsg(const struct gev__io *io, void *args)
{
    const struct recvmsg_args *a = args;
    return gev__sys_recvmsg(io->fd, a->msg, a->flags | MSG_DONTWAIT);
}

static size_t msg_size(const struct msghdr *msg)
{
    size_t n = 0;

    for (size_t i = 0; i < msg->msg_iovlen; i++) {
        if (__builtin_add_overflow(n, msg->msg_iov[i].iov_len, &n)) {
            return SIZE_MAX; /* the kernel refuses it */
        }
    }
    return n;
}

/* Moves the buffers on by n bytes. */
static void msg_advance(struct msghdr *msg, size_t n)
{
    while (msg->msg_iovlen > 0 && n >= msg->msg_iov->iov_len) {
        n -= msg->msg_iov->iov_len;
        msg->msg_iov++;
        msg->msg_iovlen--;
    }
    if (n > 0) {
        msg->msg_iov->iov_base = (char *)msg->msg_iov->iov_base + n;
        msg->msg_iov->iov_len -= n;
    }
}

/* part: a copy of the caller's message whose buffers are moved on. */
static ssize_t recvmsg_parts(const struct gev__io *io, struct msghdr *msg,
                             struct msghdr *part, int flags)
{
    struct recvmsg_args a = {part, flags};
    size_t left = msg_size(part);
    size_t moved = 0;

    for (;;) {
        socklen_t name_room = part->msg_namelen;
        size_t control_room = part->msg_controllen;
        ssize_t rc = gev__io_read(io, left, false, try_recvmsg, &a);
        if (rc < 0 || (rc == 0 && moved > 0)) {
            return stopped(moved, rc);
        }
        msg->msg_namelen = part->msg_namelen;
        msg->msg_controllen = part->msg_controllen;
        msg->msg_flags = part->msg_flags;
        moved += (size_t)rc;
        left -= (size_t)rc;
        if (rc == 0 || left == 0 || part->msg_controllen > 0 ||
            part->msg_flags != 0) {
            return (ssize_t)moved;
        }
        msg_advance(part, (size_t)rc);
        part->msg_namelen = name_room;
        part->msg_controllen = control_room;
    }
}

/* MSG_WAITALL. */
static GEV__NOINLINE ssize_t recvmsg_all(const struct gev__io *io,
                                         struct msghdr *msg, int flags)
{
    struct iovec few[8];
    struct iovec *iov = few;
    struct msghdr part = *msg;

    if (part.msg_iovlen > gev__array_len(few)) {
        iov = part.msg_iovlen > IOV_MAX
                  ? NULL
                  : gev__reallocarray(NULL, part.msg_iovlen, sizeof(*iov));
        if (iov == NULL) {
            return part.msg_iovlen > IOV_MAX ? -EMSGSIZE : -ENOMEM;
        }
    }
    if (part.msg_iovlen > 0) {
        memcpy(iov, part.msg_iov, part.msg_iovlen * sizeof(*iov));
    }
    part.msg_iov = iov;
    ssize_t rc = recvmsg_parts(io, msg, &part, flags & ~MSG_WAITALL);
    if (iov != few) {
        gev__free(iov);
    }
    return rc;
}

static ssize_t recvmsg_fd(struct gev_hub *hub, int fd, struct msghdr *msg,
                          int flags)
{
    struct gev__io io;
    struct recvmsg_args a = {msg, flags};
    int rc = gev__io_begin(&io, hub, fd);

    if (rc < 0) {
        return rc;
    }
    if (msg == NULL) {
        return -EFAULT;
    }
    if (waits_for_all(&io, flags) && !(flags & MSG_PEEK)) {
        return recvmsg_all(&io, msg, flags);
    }
    return gev__io_read(&io, wanted(msg_size(msg), flags), flags & NEVER_BLOCKS,
                        try_recvmsg, &a);
}

/* --- public --------------------------------------------------------------- */

ssize_t gev_recv(int fd, void *buf, size_t n, int flags)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : gev__ret(recv_fd(hub, fd, buf, n, flags));
}

ssize_t gev_recvfrom(int fd, void *buf, size_t n, int flags,
                     struct sockaddr *addr, socklen_t *len)
{
    struct gev_hub *hub = gev__hub_get();
    struct recv_args a = {buf, n, flags, addr, len};
    return hub == NULL ? -1 : gev__ret(recvfrom_fd(hub, fd, &a));
}

ssize_t gev_recvmsg(int fd, struct msghdr *msg, int flags)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : gev__ret(recvmsg_fd(hub, fd, msg, flags));
}

static ssize_t recv_exactly(struct gev_hub *hub, int fd, void *buf, size_t n)
{
    struct gev__io io;
    size_t moved = 0;
    int rc = gev__io_begin(&io, hub, fd);

    if (rc == 0) {
        rc = gev__io_read_all(&io, buf, n, &moved);
    }
    return rc == 0 && moved == n ? (ssize_t)n : gev__ret_part(moved, rc);
}

ssize_t gev_recv_exactly(int fd, void *buf, size_t n)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : recv_exactly(hub, fd, buf, n);
}
