/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_FD_H
#define GEV_HUB_FD_H

/* The hub's table of descriptors: who waits on which, and what is known of
 * them. Grown on demand in blocks whose addresses never change.
 *
 * One ev_io a direction, registered at the first park and left active:
 * waking a reader costs no epoll_ctl, and a request on a kept connection none
 * at all. It is stopped lazily, when an event comes and nobody waits. While
 * active it is ev_unref()ed; hub->fd_waiters says whether somebody waits.
 *
 * Any number may wait, both ways; all wake, and who finds nothing parks again.
 * Hang-up and error wake both directions. */

#include "base/list.h"
#include "hub/hub.h"

#include <ev.h>
#include <stdalign.h>

enum gev__fd_flag {
    GEV__FD_KNOWN = 1u << 0,   /* adopted: non-blocking, kind found out */
    GEV__FD_STREAM = 1u << 1,  /* a byte stream: a short read means drained */
    GEV__FD_FILE = 1u << 2,    /* regular file or so: epoll refuses, always
                                  ready */
    GEV__FD_DRAINED = 1u << 3, /* the last read was short: park before the next
                                  try (level-triggered: nothing is lost) */
    GEV__FD_SOCKET = 1u << 4
};

/* One direction of a descriptor: a cache line. */
struct gev__fd_way {
    ev_io watch;              /* libev's while active */
    struct gev__list waiters; /* of gev__fd_waiter, in order of arrival */
};

/* A request on a kept connection touches the first two lines. */
struct gev__fd {
    alignas(GEV__LINE) unsigned flags; /* enum gev__fd_flag */
    int fd;
    int64_t timeout;        /* ns of gev_settimeout; GEV__NEVER: none */
    struct gev__list fresh; /* on hub->fresh_fds from a watcher's start to the
                               loop's next turn, else alone */
    bool stale[2];          /* the number was closed since the watcher was last
                               set: libev must be told anew */
    alignas(GEV__LINE) struct gev__fd_way ways[2]; /* reading, writing */
};
static_assert(sizeof(void *) != 8 || sizeof(struct gev__fd) == 3 * GEV__LINE,
              "a descriptor is three lines");

/* One greenlet's (or one poll entry's) wait on one descriptor and direction.
 * Lives on the parked greenlet's stack. */
struct gev__fd_waiter {
    struct gev__list link;
    struct gev_greenlet *greenlet;
    int ready; /* GEV_READ | GEV_WRITE that came; set by the waker */
    int error; /* -errno, if woken by close or cancel */
};

#define GEV__FD_BLOCK 64u /* entries a block */

/* The entry, or NULL (fd < 0 or no memory for the table). Does not look at the
 * descriptor itself. */
struct gev__fd *gev__fd_get(struct gev_hub *hub, int fd);

/* The entry if the table has one for that number, else NULL. */
GEV__INLINE struct gev__fd *gev__fd_find(const struct gev_hub *hub, int fd)
{
    unsigned block = (unsigned)fd / GEV__FD_BLOCK;

    if (gev__unlikely(block >= hub->n_fd_blocks || hub->fds[block] == NULL)) {
        return NULL;
    }
    return &hub->fds[block][(unsigned)fd % GEV__FD_BLOCK];
}

/* The entry of an open descriptor made ready for use: non-blocking, kind known.
 * Costs system calls the first time only. -EBADF, -ENOMEM. */
int gev__fd_adopt(struct gev_hub *hub, int fd, struct gev__fd **ret_entry);

/* For a descriptor that gev itself just made, non-blocking already: forgets
 * whatever the number was before, and notes the flags. -ENOMEM. */
int gev__fd_opened(struct gev_hub *hub, int fd, unsigned flags,
                   struct gev__fd **ret_entry);

/* Parks until it is ready for any of events (GEV_READ | GEV_WRITE). Returns
 * those ready (> 0), or -errno: -EBADF when closed meanwhile, -ETIMEDOUT, or
 * that of any park. */
int gev__fd_wait(struct gev_hub *hub, struct gev__fd *entry, int events,
                 int64_t deadline);

/* For poll: several descriptors at once. Adds a waiter to a direction (0: read,
 * 1: write) and has it watched; -ENOMEM, -EBADF. */
int gev__fd_add_waiter(struct gev_hub *hub, struct gev__fd *entry,
                       int direction, struct gev__fd_waiter *waiter);
/* One whom nothing readies, only close and cancel wake. (If somebody else has
 * the direction watched, it may be woken early.) */
void gev__fd_add_silent_waiter(struct gev_hub *hub, struct gev__fd *entry,
                               struct gev__fd_waiter *waiter);
void gev__fd_remove_waiter(struct gev_hub *hub, struct gev__fd_waiter *waiter);

/* Wakes all who wait on fd; their call fails with error (positive). Returns how
 * many. */
int gev__fd_cancel(struct gev_hub *hub, int fd, int error);

/* Before close(2): wakes all with EBADF, stops the watchers, forgets what was
 * known. The number may be reused at once afterwards. */
void gev__fd_forget(struct gev_hub *hub, int fd);

/* For descriptors that others may close and reopen without gev's knowledge:
 * has the next wait register the number anew. */
void gev__fd_rewatch(struct gev_hub *hub, struct gev__fd *entry);

/* Before a turn of the loop: libev aborts when a descriptor that it is about to
 * register was closed (by a plain close(2)) after its watcher was started. */
void gev__fd_check_fresh_slow(struct gev_hub *hub);
static inline void gev__fd_check_fresh(struct gev_hub *hub)
{
    if (!gev__list_is_empty(&hub->fresh_fds)) {
        gev__fd_check_fresh_slow(hub);
    }
}

/* Descriptors somebody waits on. */
size_t gev__fd_count_waited(const struct gev_hub *hub);

/* In a forked child, after the loop was replaced: no watch, no waiter. */
void gev__fd_forked(struct gev_hub *hub);
/* The same when the loop stays. */
void gev__fd_stop_all(struct gev_hub *hub);

void gev__fd_fini(struct gev_hub *hub);

#endif
