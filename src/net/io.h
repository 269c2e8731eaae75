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
#include "hub/fd.h"
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

/* The slow ways of gev__io_begin. */
int gev__io_adopt(struct gev_hub *hub, int fd, struct gev__fd **ret_entry);
int64_t gev__io_deadline(struct gev_hub *hub, int64_t timeout);

/* 0, -EBADF, -ENOMEM.
 *
 * Regular files are looked at anew every time: programs close them by close(2),
 * and the number's next user must not be taken for a file that never blocks. */
GEV__INLINE int gev__io_begin(struct gev__io *io, struct gev_hub *hub, int fd)
{
    struct gev__fd *entry = gev__fd_find(hub, fd);
    if (gev__unlikely(entry == NULL ||
                      (entry->flags & (GEV__FD_KNOWN | GEV__FD_FILE)) !=
                          GEV__FD_KNOWN)) {
        int rc = gev__io_adopt(hub, fd, &entry);
        if (rc < 0) {
            return rc;
        }
    }
    io->hub = hub;
    io->entry = entry;
    io->fd = fd;
    io->deadline = GEV__NEVER;
    if (gev__unlikely(entry->timeout != GEV__NEVER)) {
        io->deadline = gev__io_deadline(hub, entry->timeout);
    }
    return 0;
}

/* Parks until the descriptor is ready for events. 0, or -errno: -EAGAIN if the
 * descriptor's timeout is 0. */
int gev__io_wait(const struct gev__io *io, int events);

/* The same before the first try of a read. */
GEV__INLINE bool gev__io_is_drained(const struct gev__io *io)
{
    return (io->entry->flags & GEV__FD_DRAINED) != 0 && io->deadline != 0 &&
           io->hub->current->alerts == 0;
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

    if (wanted > 0 && !once && gev__io_is_drained(io)) {
        rc = gev__io_wait(io, GEV_READ);
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

/* The loop of all writes. */
GEV__INLINE ssize_t gev__io_write(const struct gev__io *io, bool once,
                                  gev__io_try_fn *try, void *args)
{
    struct gev__pause pause = {0};
    int64_t until = 0;

    for (;;) {
        ssize_t rc = try(io, args);
        if (gev__likely(rc >= 0) || once) {
            return rc;
        }
        if (rc == -EAGAIN) {
            rc = gev__io_wait(io, GEV_WRITE);
        } else if (gev__io_is_no_buffer(io, rc)) {
            rc = gev__io_wait_buffer(io, rc, &pause, &until);
        }
        if (rc < 0) {
            return rc;
        }
    }
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
