/* SPDX-License-Identifier: MIT */

/* The transport over a descriptor. A transport speaks the public convention,
 * -1 and errno: this is the one place that turns it round again. */
#include "base/error.h"
#include "base/sys.h"
#include "net/io.h"
#include "net/socket.h"
#include "net/stream.h"

#include <gev/socket.h>

int gev__transport_error(void)
{
    return errno > 0 ? -errno : -EIO;
}

struct span {
    union {
        void *in;
        const void *out;
    };
    size_t n;
};

GEV__INLINE ssize_t try_read(const struct gev__io *io, void *args)
{
    const struct span *span = args;
    return gev__io_try_read(io, span->in, span->n);
}

GEV__INLINE ssize_t try_write(const struct gev__io *io, void *args)
{
    const struct span *span = args;
    return gev__io_try_write(io, span->out, span->n);
}

static ssize_t read_fd(void *self, void *buf, size_t n)
{
    struct gev__io io;
    struct span span = {.in = buf, .n = n};
    int rc = gev__io_begin(&io, gev__thread_hub, gev__self_to_fd(self));

    return gev__ret(rc < 0 ? rc : gev__io_read(&io, n, false, try_read, &span));
}

static ssize_t write_fd(void *self, const void *buf, size_t n)
{
    struct gev__io io;
    struct span span = {.out = buf, .n = n};
    int rc = gev__io_begin(&io, gev__thread_hub, gev__self_to_fd(self));

    return gev__ret(rc < 0 ? rc : gev__io_write(&io, false, try_write, &span));
}

static ssize_t try_write_fd(void *self, const void *buf, size_t n)
{
    struct gev__io io;
    int rc = gev__io_begin(&io, gev__thread_hub, gev__self_to_fd(self));

    return gev__ret(rc < 0 ? rc : gev__io_try_write(&io, buf, n));
}

/* With a timeout of 0, one try is all that is allowed. */
static int wait_fd(void *self, int directions)
{
    struct gev__io io;
    int rc = gev__io_begin(&io, gev__thread_hub, gev__self_to_fd(self));

    if (rc == 0) {
        rc = io.deadline == 0
                 ? -EAGAIN
                 : gev__fd_wait(io.hub, io.entry, directions, io.deadline);
    }
    return (int)gev__ret(rc);
}

int gev__fd_look(int fd, int directions)
{
    struct pollfd p = {.fd = fd};

    p.events = (short)((directions & GEV_READ ? POLLIN : 0) |
                       (directions & GEV_WRITE ? POLLOUT : 0));
    int rc = gev__sys_poll(&p, 1, 0);
    if (rc <= 0) {
        return rc;
    }
    if (p.revents & ~(POLLIN | POLLOUT)) {
        return directions; /* a call will say why */
    }
    return (p.revents & POLLIN ? GEV_READ : 0) |
           (p.revents & POLLOUT ? GEV_WRITE : 0);
}

static int shut_fd(void *self)
{
    return (int)gev__ret(gev__sys_shutdown(gev__self_to_fd(self), SHUT_WR));
}

static int close_fd(void *self)
{
    return (int)gev__ret(gev__close(gev__thread_hub, gev__self_to_fd(self)));
}

static void cancel_fd(void *self, int error)
{
    gev__fd_cancel(gev__thread_hub, gev__self_to_fd(self), error);
}

static int fd_itself(const void *self)
{
    return gev__self_to_fd(self);
}

const gev_transport gev__fd_transport = {.size = sizeof(gev_transport),
                                         .read = read_fd,
                                         .write = write_fd,
                                         .shutdown = shut_fd,
                                         .close = close_fd,
                                         .cancel = cancel_fd,
                                         .fd = fd_itself,
                                         .try_write = try_write_fd,
                                         .wait = wait_fd};
