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

int gev__fd_push_or_readable(struct gev_hub *hub, int fd, const char *buf,
                             size_t n, size_t *ret_taken)
{
    struct gev__io io;
    size_t taken = 0;
    int rc = gev__io_begin(&io, hub, fd);

    while (rc == 0 && taken < n) {
        ssize_t some = gev__io_try_write(&io, buf + taken, n - taken);
        if (some != -EAGAIN) {
            taken += some > 0 ? (size_t)some : 0;
            if (some <= 0) {
                break; /* the next write will say so */
            }
        } else if (io.deadline == 0) {
            break; /* one try is what its timeout allows */
        } else {
            rc = gev__fd_wait(hub, io.entry, GEV_READ | GEV_WRITE, io.deadline);
            if (rc > 0) {
                bool readable = (rc & GEV_READ) != 0;
                rc = 0;
                if (readable) {
                    break;
                }
            }
        }
    }
    *ret_taken = taken;
    return rc;
}

int gev__fd_wait_readable(struct gev_hub *hub, int fd)
{
    struct gev__io io;
    int rc = gev__io_begin(&io, hub, fd);

    return rc < 0 ? rc : gev__io_wait(&io, GEV_READ);
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
                                         .fd = fd_itself};
