/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_IO_H
#define GEV_NET_IO_H

/* What all calls on a descriptor share: begin, try, wait, try again.
 *
 *     gev__io_begin     the table's entry, and the deadline if there is one
 *     (try)             the system call, never blocking
 *     gev__io_wait      EAGAIN: park until it may work
 *
 * A read whose predecessor was short (GEV__FD_DRAINED) waits before it tries:
 * one system call less a request. It is only an order of doing things: epoll is
 * level-triggered, so nothing is lost if there is something after all. Whoever
 * could not park anyway tries first, because a call that need not park must
 * succeed. */

#include "base/clock.h"
#include "base/error.h"
#include "hub/fd_wait.h"
#include "hub/greenlet.h"

#include <sys/socket.h>

/* A call in progress. */
struct gev__io {
    struct gev_hub *hub;
    struct gev__fd *entry;
    int64_t deadline; /* of the call as a whole; 0: one try, then EAGAIN */
    int fd;
};

/* One try: >= 0, or -errno, -EAGAIN if it would block. args is the call's own.
 * Always inlined into the loops below, where it costs nothing. */
typedef ssize_t gev__io_try_fn(const struct gev__io *io, void *args);

/* gev__fd_adopt(), but regular files are looked at anew every time: programs
 * close them by close(2), and the number's next user must not be taken for a
 * file that never blocks. */
int gev__io_adopt(struct gev_hub *hub, int fd, struct gev__fd **ret_entry);

/* The usual case: gev knows the descriptor, which is no file and has no
 * timeout. False: gev__io_begin() it. The hottest calls look at this apart, so
 * that io needs no memory there. */
GEV__INLINE bool gev__io_find(struct gev__io *io, struct gev_hub *hub, int fd)
{
    struct gev__fd *entry = gev__fd_find(hub, fd);

    if (gev__unlikely(entry == NULL ||
                      (entry->flags & (GEV__FD_KNOWN | GEV__FD_FILE)) !=
                          GEV__FD_KNOWN ||
                      entry->timeout != GEV__NEVER)) {
        return false;
    }
    *io = (struct gev__io){hub, entry, GEV__NEVER, fd};
    return true;
}

/* 0, -EBADF, -ENOMEM. */
int gev__io_begin_slow(struct gev__io *io, struct gev_hub *hub, int fd);
GEV__INLINE int gev__io_begin(struct gev__io *io, struct gev_hub *hub, int fd)
{
    return gev__io_find(io, hub, fd) ? 0 : gev__io_begin_slow(io, hub, fd);
}

/* Parks until the descriptor is ready for events. 0, or -errno: -EAGAIN if the
 * descriptor's timeout is 0. */
GEV__INLINE int gev__io_wait(const struct gev__io *io, int events)
{
    if (io->deadline == 0) {
        return -EAGAIN;
    }
    int rc = gev__fd_wait(io->hub, io->entry, events, io->deadline);
    return rc < 0 ? rc : 0;
}

/* The same before the first try of a read, if it may have to. */
GEV__INLINE int gev__io_wait_drained(const struct gev__io *io)
{
    if ((io->entry->flags & GEV__FD_DRAINED) == 0 || io->deadline == 0 ||
        io->hub->current->alerts != 0) {
        return 0;
    }
    return io->deadline == GEV__NEVER ? gev__fd_wait_to_read(io->hub, io->entry)
                                      : gev__io_wait(io, GEV_READ);
}

/* Sleeps between tries of what no event announces, twice as long each time,
 * from 1 ms to most, but not past the deadline. 0 to try again, also a last
 * time at the deadline; -EBADF if the descriptor was closed meanwhile; else as
 * gev__io_wait(). */
struct gev__pause {
    int64_t next; /* ns; 0: the first */
    int64_t most; /* ns */
};
int gev__io_pause(const struct gev__io *io, struct gev__pause *pause);

/* The loop of all reads. wanted: bytes asked for, to tell a short read; 0 if
 * this read says nothing of what is left (a peek, a datagram's part). once:
 * does not wait. */
GEV__INLINE ssize_t gev__io_read(const struct gev__io *io, size_t wanted,
                                 bool once, gev__io_try_fn *try, void *args)
{
    ssize_t rc;

    if (wanted > 0 && !once) {
        rc = gev__io_wait_drained(io);
        if (gev__unlikely(rc < 0)) {
            return rc;
        }
    }
    while (gev__unlikely((rc = try(io, args)) == -EAGAIN)) {
        if (once) {
            return rc;
        }
        rc = gev__io_wait(io, GEV_READ);
        if (rc < 0) {
            return rc;
        }
    }
    if (rc > 0 && (size_t)rc < wanted &&
        (io->entry->flags & GEV__FD_STREAM) != 0) {
        io->entry->flags |= GEV__FD_DRAINED;
    }
    return rc;
}

/* Datagrams the system has no buffer for are no "would block", but will be. */
GEV__INLINE bool gev__io_is_no_buffer(const struct gev__io *io, ssize_t rc)
{
    return (rc == -ENOBUFS || rc == -ENOMEM) &&
           (io->entry->flags & (GEV__FD_STREAM | GEV__FD_SOCKET)) ==
               GEV__FD_SOCKET;
}
int gev__io_wait_buffer(const struct gev__io *io, ssize_t rc,
                        struct gev__pause *pause, int64_t *until);

/* The loop of all writes, after a try that came to rc. */
GEV__INLINE ssize_t gev__io_write_on(const struct gev__io *io, ssize_t rc,
                                     bool once, gev__io_try_fn *try, void *args)
{
    struct gev__pause pause = {0};
    int64_t until = 0;

    while (rc < 0 && !once) {
        if (rc == -EAGAIN) {
            rc = gev__io_wait(io, GEV_WRITE);
        } else if (gev__io_is_no_buffer(io, rc)) {
            rc = gev__io_wait_buffer(io, rc, &pause, &until);
        }
        if (rc < 0) {
            return rc;
        }
        rc = try(io, args);
    }
    return rc;
}

GEV__INLINE ssize_t gev__io_write(const struct gev__io *io, bool once,
                                  gev__io_try_fn *try, void *args)
{
    return gev__io_write_on(io, try(io, args), once, try, args);
}

/* One try on a socket or anything else; a write raises no SIGPIPE. */
ssize_t gev__io_try_read(const struct gev__io *io, void *buf, size_t n);
ssize_t gev__io_try_write(const struct gev__io *io, const void *buf, size_t n);

/* Until n bytes are moved. *ret_moved is set in any case; 0: all, or the end of
 * the stream; else why it stopped. */
int gev__io_read_all(const struct gev__io *io, void *buf, size_t n,
                     size_t *ret_moved);
int gev__io_write_all(const struct gev__io *io, const void *buf, size_t n,
                      size_t *ret_moved);

#endif
