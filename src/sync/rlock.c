/* SPDX-License-Identifier: MIT */

/* Locks that their holder may take again. */

#include "base/error.h"
#include "sync/lock.h"

#include <limits.h>
#include <math.h>
#include <string.h>

static struct gev__rlock *rlock_of(const gev_rlock *l)
{
    return (struct gev__rlock *)(uintptr_t)l;
}

static bool is_ready(const struct gev_waitable *w)
{
    return ((const struct gev__rlock *)(const void *)w)->lock.holder.greenlet ==
           NULL;
}

static const struct gev__waitable_ops rlock_ops = {.name = "rlock",
                                                   .is_ready = is_ready};

static int take(struct gev_hub *hub, struct gev__rlock *l, int64_t deadline)
{
    if (gev__holder_is(&l->lock.holder, hub->current)) {
        if (l->depth == UINT_MAX - 1) {
            return -EOVERFLOW;
        }
        l->depth++;
        return 0;
    }
    return gev__lock_take(hub, &l->lock, deadline);
}

static GEV__NOINLINE int acquire_with_care(gev_rlock *rlock, double timeout)
{
    struct gev__rlock *l = rlock_of(rlock);
    struct gev_hub *hub = gev__hub_get();
    int64_t deadline = 0;

    if (hub == NULL) {
        return -1;
    }
    int rc = l == NULL ? -EINVAL : gev__waitable_bind(&l->lock.waitable, hub);
    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    return (int)gev__ret(rc < 0 ? rc : take(hub, l, deadline));
}

/* Fresh, and as before the gev_waitable that it may have been made. */
static void reset(struct gev__rlock *l)
{
    memset(l, 0, sizeof(*l));
    l->lock.waitable.ops = &rlock_ops;
}

/* --- public --------------------------------------------------------------- */

void gev_rlock_init(gev_rlock *l)
{
    struct gev_hub *hub = gev__hub_get();

    if (l != NULL) {
        reset(rlock_of(l));
        if (hub != NULL) {
            gev__owner_set(&rlock_of(l)->lock.waitable.owner, hub);
        }
    }
}

int gev_rlock_fini(gev_rlock *l)
{
    if (l == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    if (!gev__lock_is_unwanted(&rlock_of(l)->lock)) {
        return (int)gev__ret(-EBUSY);
    }
    reset(rlock_of(l));
    return 0;
}

int gev_rlock_acquire(gev_rlock *rlock, double timeout)
{
    struct gev__rlock *l = rlock_of(rlock);
    struct gev_hub *hub = gev__thread_hub;

    if (gev__likely(hub != NULL && l != NULL &&
                    gev__owner_hub(&l->lock.waitable.owner) == hub &&
                    l->lock.holder.greenlet == NULL && !isnan(timeout))) {
        gev__holder_set(&l->lock.holder, hub->current);
        return 0;
    }
    return acquire_with_care(rlock, timeout);
}

int gev_rlock_release(gev_rlock *rlock)
{
    struct gev__rlock *l = rlock_of(rlock);
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    if (l == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    if (!gev__holder_is(&l->lock.holder, hub->current)) {
        return (int)gev__ret(-EPERM);
    }
    if (l->depth > 0) {
        l->depth--;
    } else {
        gev__lock_pass_on(&l->lock);
    }
    return 0;
}

bool gev_rlock_locked(const gev_rlock *l)
{
    return l != NULL && rlock_of(l)->lock.holder.greenlet != NULL;
}

gev_waitable *gev_rlock_waitable(struct gev_rlock *l)
{
    if (l == NULL) {
        return NULL;
    }
    rlock_of(l)->lock.waitable.ops = &rlock_ops;
    return &rlock_of(l)->lock.waitable;
}
