/* SPDX-License-Identifier: MIT */

/* Read-write locks: one queue for both kinds, served from its head.
 *
 *   invariant: whoever is parked at the head of the queue cannot be served now,
 *              but while a greenlet before it whose park has failed has yet to
 *              run. That one serves the queue when it leaves it. */

#include "sync/rwlock.h"

#include "base/error.h"
#include "hub/owner.h"
#include "sync/deadlock.h"
#include "sync/parkq.h"

#include <gev/lock.h>

#include <limits.h>
#include <math.h>
#include <string.h>

static_assert(sizeof(struct gev__rwlock) <= sizeof(gev_rwlock),
              "grow gev_rwlock");

struct rwait {
    struct gev__wait wait;
    bool write;
};

static struct gev__rwlock *rwlock_of(const gev_rwlock *l)
{
    return (struct gev__rwlock *)(uintptr_t)l;
}

GEV__INLINE bool is_open(const struct gev__rwlock *l, bool write)
{
    return l->writer.greenlet == NULL &&
           (write ? l->readers == 0 : l->readers < UINT_MAX);
}

GEV__INLINE void enter(struct gev__rwlock *l, struct gev_greenlet *g,
                       bool write)
{
    if (write) {
        gev__holder_set(&l->writer, g);
    } else {
        l->readers++;
    }
}

/* Lets in whom the state lets in, in order; those whose park has failed are
 * taken off on the way. */
static void serve(struct gev__rwlock *l)
{
    struct gev__wait *w;

    while ((w = gev__waitq_first(&l->waiters)) != NULL) {
        bool write = gev__container_of(w, struct rwait, wait)->write;
        if (!is_open(l, write)) {
            return;
        }
        enter(l, w->greenlet, write);
        gev__waitq_wake(&l->waiters, 0);
    }
}

static int take(struct gev_hub *hub, struct gev__rwlock *l, int64_t deadline,
                bool write)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_RWLOCK, .object = l};
    struct rwait w = {.write = write};
    bool stayed;

    if (gev__holder_is(&l->writer, hub->current)) {
        return -EDEADLK;
    }
    serve(l);
    if (gev__waitq_is_empty(&l->waiters) && is_open(l, write)) {
        enter(l, hub->current, write);
        return 0;
    }
    if (deadline == 0) {
        return -ETIMEDOUT;
    }
    if (deadline == GEV__NEVER) {
        gev__deadlock_check(hub->current, what.kind, what.object);
    }
    int rc = gev__waitq_park_and_see(hub, &l->waiters, &w.wait, what, deadline,
                                     &stayed);
    if (rc < 0 && stayed) {
        serve(l); /* those behind may have waited for this one only */
    }
    return rc;
}

static GEV__NOINLINE int acquire_with_care(gev_rwlock *lock, double timeout,
                                           bool write)
{
    struct gev__rwlock *l = rwlock_of(lock);
    struct gev_hub *hub = gev__hub_get();
    int64_t deadline = 0;

    if (hub == NULL) {
        return -1;
    }
    int rc = l == NULL ? -EINVAL : gev__owner_bind(&l->owner, hub);
    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    return (int)gev__ret(rc < 0 ? rc : take(hub, l, deadline, write));
}

GEV__INLINE int acquire(gev_rwlock *lock, double timeout, bool write)
{
    struct gev__rwlock *l = rwlock_of(lock);
    struct gev_hub *hub = gev__thread_hub;

    if (gev__likely(hub != NULL && l != NULL &&
                    gev__owner_hub(&l->owner) == hub && is_open(l, write) &&
                    gev__waitq_is_empty(&l->waiters) && !isnan(timeout))) {
        enter(l, hub->current, write);
        return 0;
    }
    return acquire_with_care(lock, timeout, write);
}

static int release(struct gev_hub *hub, struct gev__rwlock *l)
{
    if (l->writer.greenlet != NULL) {
        if (!gev__holder_is(&l->writer, hub->current)) {
            return -EPERM;
        }
        l->writer.greenlet = NULL;
    } else {
        if (l->readers == 0) {
            return -EPERM;
        }
        l->readers--;
    }
    serve(l);
    return 0;
}

static int release_mine(struct gev_hub *hub, gev_rwlock *lock)
{
    if (lock == NULL) {
        return -EINVAL;
    }
    int rc = gev__owner_bind(&rwlock_of(lock)->owner, hub);
    return rc < 0 ? rc : release(hub, rwlock_of(lock));
}

/* --- public --------------------------------------------------------------- */

void gev_rwlock_init(gev_rwlock *l)
{
    struct gev_hub *hub = gev__hub_get();

    if (l != NULL) {
        memset(l, 0, sizeof(*l));
        if (hub != NULL) {
            gev__owner_set(&rwlock_of(l)->owner, hub);
        }
    }
}

int gev_rwlock_fini(gev_rwlock *l)
{
    if (l == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    if (!gev__waitq_is_empty(&rwlock_of(l)->waiters)) {
        return (int)gev__ret(-EBUSY);
    }
    memset(l, 0, sizeof(*l));
    return 0;
}

int gev_rwlock_acquire_read(gev_rwlock *l, double timeout)
{
    return acquire(l, timeout, false);
}

int gev_rwlock_acquire_write(gev_rwlock *l, double timeout)
{
    return acquire(l, timeout, true);
}

int gev_rwlock_release(gev_rwlock *l)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(release_mine(hub, l));
}

bool gev_rwlock_locked(const gev_rwlock *l)
{
    return l != NULL &&
           (rwlock_of(l)->writer.greenlet != NULL || rwlock_of(l)->readers > 0);
}
