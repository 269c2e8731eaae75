/* SPDX-License-Identifier: MIT */
#ifndef GEV_SYNC_LOCK_H
#define GEV_SYNC_LOCK_H

/* What gev_lock, gev_rlock and gev_cond share.
 *
 *   invariant: nobody is parked on a lock that has no holder. Who releases
 *              makes the first who is parked the holder, in the same step as
 *              the wake.
 *   invariant: a waiter whose acquire fails never was the holder, and touches
 *              the lock no more: it may be gone by then. */

#include "hub/waitable.h"
#include "sync/deadlock.h"
#include "sync/holder.h"

#include <gev/lock.h>

struct gev__lock {
    struct gev_waitable waitable; /* first */
    struct gev__waitq waiters;
    struct gev__holder holder;
};

struct gev__rlock {
    struct gev__lock lock; /* first */
    unsigned depth;        /* acquires beyond the first; 0 while it is free */
};
static_assert(sizeof(struct gev__lock) <= sizeof(gev_lock), "grow gev_lock");
static_assert(sizeof(struct gev__rlock) <= sizeof(gev_rlock), "grow gev_rlock");

static inline struct gev__lock *gev__lock_of(const gev_lock *l)
{
    return (struct gev__lock *)(uintptr_t)l;
}

/* Takes a lock of this hub for its current greenlet: 0, -EDEADLK: it has it,
 * -ETIMEDOUT, or the park's error. */
GEV__INLINE int gev__lock_take(struct gev_hub *hub, struct gev__lock *l,
                               int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_LOCK, .object = l};
    struct gev_greenlet *g = hub->current;
    struct gev__wait wait;

    if (l->holder.greenlet == NULL) {
        gev__holder_set(&l->holder, g);
        return 0;
    }
    if (gev__holder_is(&l->holder, g)) {
        return -EDEADLK;
    }
    if (deadline == 0) {
        return -ETIMEDOUT;
    }
    if (deadline == GEV__NEVER) {
        gev__deadlock_check(g, what.kind, what.object);
    }
    return gev__waitq_park(hub, &l->waiters, &wait, what, deadline);
}

/* The holder lets it go: to the first who waits, or it is free. */
GEV__INLINE void gev__lock_pass_on(struct gev__lock *l)
{
    struct gev__wait *w = gev__waitq_wake(&l->waiters, 0);

    if (w != NULL) {
        gev__holder_set(&l->holder, w->greenlet);
        return;
    }
    l->holder.greenlet = NULL;
    gev__waitable_notify(&l->waitable);
}

/* Whether nobody waits or watches: a release has nothing to do but to let go.
 */
GEV__INLINE bool gev__lock_is_unwanted(const struct gev__lock *l)
{
    return gev__waitq_is_empty(&l->waiters) &&
           gev__waitq_is_empty(&l->waitable.observers);
}

#endif
