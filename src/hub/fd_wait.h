/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_FD_WAIT_H
#define GEV_HUB_FD_WAIT_H

/* The hot half of fd.h: waiting inline, for the calls that every request
 * makes. See park.h. */

#include "hub/fd.h"
#include "hub/park.h"

/* Has a direction watched whose watcher is not; in fd.c. -ENOMEM. */
int gev__fd_start_watching(struct gev_hub *hub, struct gev__fd *entry,
                           int direction);

GEV__INLINE void gev__fd_list_waiter_inline(struct gev_hub *hub,
                                            struct gev__fd *entry,
                                            int direction,
                                            struct gev__fd_waiter *waiter)
{
    waiter->greenlet = hub->current;
    waiter->ready = 0;
    waiter->error = 0;
    gev__list_push_back(&entry->ways[direction].waiters, &waiter->link);
    hub->fd_waiters++;
}

GEV__INLINE int gev__fd_add_waiter_inline(struct gev_hub *hub,
                                          struct gev__fd *entry, int direction,
                                          struct gev__fd_waiter *waiter)
{
    if (gev__unlikely(!ev_is_active(&entry->ways[direction].watch))) {
        int rc = gev__fd_start_watching(hub, entry, direction);
        if (rc < 0) {
            return rc;
        }
    }
    gev__fd_list_waiter_inline(hub, entry, direction, waiter);
    return 0;
}

GEV__INLINE void gev__fd_remove_waiter_inline(struct gev_hub *hub,
                                              struct gev__fd_waiter *waiter)
{
    if (gev__likely(!gev__list_is_empty(&waiter->link))) {
        gev__list_remove(&waiter->link);
        hub->fd_waiters--;
    }
}

/* What a wait comes to: the park's error, or what is ready. Closed after it
 * became ready, before this greenlet's turn, is closed: the number may stand
 * for something else by now. */
GEV__INLINE int gev__fd_outcome(int rc, const struct gev__fd_waiter *waiter)
{
    if (gev__unlikely(rc < 0)) {
        return rc;
    }
    return gev__unlikely(waiter->error == -EBADF) ? -EBADF : waiter->ready;
}

/* gev__fd_wait() for GEV_READ and without a deadline, on what is no file, by
 * one who has looked at the alerts. */
GEV__INLINE int gev__fd_wait_to_read(struct gev_hub *hub, struct gev__fd *entry)
{
    const struct gev__wait_for what = {
        .kind = GEV__WAIT_FD, .events = GEV_READ, .number = entry->fd};
    struct gev__fd_waiter waiter;
    int rc = gev__fd_add_waiter_inline(hub, entry, 0, &waiter);

    if (gev__unlikely(rc < 0)) {
        return rc;
    }
    rc = gev__park_unchecked(hub, what);
    gev__fd_remove_waiter_inline(hub, &waiter);
    return gev__fd_outcome(rc, &waiter);
}

#endif
