/* SPDX-License-Identifier: MIT */
#include "net/send.h"

#include "base/quiet.h"
#include "base/sys.h"
#include "net/io.h"

#include <gev/socket.h>

#define ADDED (MSG_DONTWAIT | MSG_NOSIGNAL)

struct send_args {
    const void *buf;
    size_t n;
    int flags;
    const struct sockaddr *addr; /* sendto only */
    socklen_t len;
};

GEV__INLINE ssize_t try_send(const struct gev__io *io, void *args)
{
    const struct send_args *a = args;
    return gev__sys_send(io->fd, a->buf, a->n, a->flags | ADDED);
}

GEV__INLINE ssize_t try_sendto(const struct gev__io *io, void *args)
{
    const struct send_args *a = args;
    return gev__sys_sendto(io->fd, a->buf, a->n, a->flags | ADDED, a->addr,
                           a->len);
}

struct sendmsg_args {
    const struct msghdr *msg;
    int flags;
};

GEV__INLINE ssize_t try_sendmsg(const struct gev__io *io, void *args)
{
    const struct sendmsg_args *a = args;
    return gev__sys_sendmsg(io->fd, a->msg, a->flags | ADDED);
}

/* rc: what a first try came to; 0: there was none. */
static GEV__NOINLINE ssize_t send_slowly(struct gev_hub *hub, int fd,
                                         ssize_t rc, const void *buf, size_t n,
                                         int flags)
{
    struct gev__io io;
    struct send_args a = {.buf = buf, .n = n, .flags = flags};
    int began = gev__io_begin(&io, hub, fd);

    if (began < 0) {
        return began;
    }
    if (rc == 0) {
        rc = try_send(&io, &a);
    }
    return gev__io_write_on(&io, rc, flags & MSG_DONTWAIT, try_send, &a);
}

GEV__INLINE ssize_t send_fd(struct gev_hub *hub, int fd, const void *buf,
                            size_t n, int flags)
{
    struct gev__io io;
    ssize_t rc = 0;

    if (gev__io_find(&io, hub, fd)) {
        rc = gev__sys_send(fd, buf, n, flags | ADDED);
        if (gev__likely(rc >= 0)) {
            return rc;
        }
    }
    return send_slowly(hub, fd, rc, buf, n, flags);
}

static ssize_t sendto_fd(struct gev_hub *hub, int fd, struct send_args *a)
{
    struct gev__io io;
    int rc = gev__io_begin(&io, hub, fd);
    return rc < 0 ? rc
                  : gev__io_write(&io, a->flags & MSG_DONTWAIT, try_sendto, a);
}

static ssize_t sendmsg_fd(struct gev_hub *hub, int fd, struct sendmsg_args *a)
{
    struct gev__io io;
    int rc = gev__io_begin(&io, hub, fd);
    return rc < 0 ? rc
                  : gev__io_write(&io, a->flags & MSG_DONTWAIT, try_sendmsg, a);
}

/* --- sendfile ------------------------------------------------------------- */

struct sendfile_args {
    int in;
    off_t *offset;
    size_t n;
};

GEV__INLINE ssize_t try_sendfile(const struct gev__io *io, void *args)
{
    const struct sendfile_args *a = args;
    struct gev__quiet quiet;

    /* It has no flag against SIGPIPE, not even on sockets. */
    gev__quiet_begin(&quiet);
    ssize_t rc = gev__sys_sendfile(io->fd, a->in, a->offset, a->n);
    gev__quiet_end(&quiet, rc);
    return rc;
}

/* Into a pipe the kernel copies from anything; then EAGAIN may mean that the
 * source has nothing. */
static int wait_for_source(const struct gev__io *io, int in)
{
    struct pollfd out = {.fd = io->fd, .events = POLLOUT};
    struct gev__io source;

    if (gev__sys_poll(&out, 1, 0) <= 0) {
        return gev__io_wait(io, GEV_WRITE);
    }
    int rc = gev__io_begin(&source, io->hub, in);
    if (rc < 0) {
        return rc;
    }
    source.deadline = io->deadline;
    return gev__io_wait(&source, GEV_READ);
}

ssize_t gev__sendfile(struct gev_hub *hub, int out, int in, off_t *offset,
                      size_t n)
{
    struct gev__io io;
    struct sendfile_args a = {in, offset, n};
    struct stat st = {.st_mode = 0};
    int rc = gev__io_begin(&io, hub, out);

    if (rc == 0) {
        rc = gev__sys_fstat(in, &st);
    }
    if (rc < 0) {
        return rc;
    }
    if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) {
        return gev__io_write(&io, false, try_sendfile, &a);
    }
    struct gev__io source; /* made non-blocking */
    rc = gev__io_begin(&source, hub, in);
    while (rc == 0) {
        ssize_t moved = try_sendfile(&io, &a);
        if (moved != -EAGAIN) {
            return moved;
        }
        rc = wait_for_source(&io, in);
    }
    return rc;
}

/* --- public --------------------------------------------------------------- */

ssize_t gev_send(int fd, const void *buf, size_t n, int flags)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : gev__ret(send_fd(hub, fd, buf, n, flags));
}

ssize_t gev_sendto(int fd, const void *buf, size_t n, int flags,
                   const struct sockaddr *addr, socklen_t len)
{
    struct gev_hub *hub = gev__hub_get();
    struct send_args a = {buf, n, flags, addr, len};
    return hub == NULL ? -1 : gev__ret(sendto_fd(hub, fd, &a));
}

ssize_t gev_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct gev_hub *hub = gev__hub_get();
    struct sendmsg_args a = {msg, flags};
    return hub == NULL ? -1 : gev__ret(sendmsg_fd(hub, fd, &a));
}

static ssize_t send_all(struct gev_hub *hub, int fd, const void *buf, size_t n)
{
    struct gev__io io;
    size_t moved = 0;
    int rc = gev__io_begin(&io, hub, fd);

    if (rc == 0) {
        rc = gev__io_write_all(&io, buf, n, &moved);
    }
    return rc == 0 ? (ssize_t)n : gev__ret_part(moved, rc);
}

ssize_t gev_send_all(int fd, const void *buf, size_t n)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : send_all(hub, fd, buf, n);
}

ssize_t gev_sendfile(int out, int in, off_t *offset, size_t n)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : gev__ret(gev__sendfile(hub, out, in, offset, n));
}
