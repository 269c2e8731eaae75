/* SPDX-License-Identifier: MIT */
#include "sync/lock.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

static bool is_ready(const struct gev_waitable *w)
{
    return ((const struct gev__lock *)(const void *)w)->holder.greenlet == NULL;
}

static const struct gev__waitable_ops lock_ops = {.name = "lock",
                                                  .is_ready = is_ready};

static GEV__NOINLINE int acquire_with_care(gev_lock *lock, double timeout)
{
    struct gev__lock *l = gev__lock_of(lock);
    struct gev_hub *hub = gev__hub_get();
    int64_t deadline = 0;

    if (hub == NULL) {
        return -1;
    }
    int rc = l == NULL ? -EINVAL : gev__waitable_bind(&l->waitable, hub);
    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    return (int)gev__ret(rc < 0 ? rc : gev__lock_take(hub, l, deadline));
}

static GEV__NOINLINE int release_with_care(gev_lock *lock)
{
    struct gev__lock *l = gev__lock_of(lock);
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    if (l == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    if (!gev__holder_is(&l->holder, hub->current)) {
        return (int)gev__ret(-EPERM);
    }
    gev__lock_pass_on(l);
    return 0;
}

/* Fresh, and as before the gev_waitable that it may have been made. */
static void reset(struct gev__lock *l)
{
    memset(l, 0, sizeof(*l));
    l->waitable.ops = &lock_ops;
}

/* --- public --------------------------------------------------------------- */

void gev_lock_init(gev_lock *l)
{
    struct gev_hub *hub = gev__hub_get();

    if (l != NULL) {
        reset(gev__lock_of(l));
        if (hub != NULL) {
            gev__owner_set(&gev__lock_of(l)->waitable.owner, hub);
        }
    }
}

int gev_lock_fini(gev_lock *l)
{
    if (l == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    if (!gev__lock_is_unwanted(gev__lock_of(l))) {
        return (int)gev__ret(-EBUSY);
    }
    reset(gev__lock_of(l));
    return 0;
}

int gev_lock_acquire(gev_lock *lock, double timeout)
{
    struct gev__lock *l = gev__lock_of(lock);
    struct gev_hub *hub = gev__thread_hub;

    if (gev__likely(hub != NULL && l != NULL &&
                    gev__owner_hub(&l->waitable.owner) == hub &&
                    l->holder.greenlet == NULL && !isnan(timeout))) {
        gev__holder_set(&l->holder, hub->current);
        return 0;
    }
    return acquire_with_care(lock, timeout);
}

int gev_lock_release(gev_lock *lock)
{
    struct gev__lock *l = gev__lock_of(lock);
    struct gev_hub *hub = gev__thread_hub;

    if (gev__likely(hub != NULL && l != NULL &&
                    gev__holder_is(&l->holder, hub->current) &&
                    gev__lock_is_unwanted(l))) {
        l->holder.greenlet = NULL;
        return 0;
    }
    return release_with_care(lock);
}

bool gev_lock_locked(const gev_lock *l)
{
    return l != NULL && gev__lock_of(l)->holder.greenlet != NULL;
}

gev_waitable *gev_lock_waitable(struct gev_lock *l)
{
    if (l == NULL) {
        return NULL;
    }
    gev__lock_of(l)->waitable.ops = &lock_ops;
    return &gev__lock_of(l)->waitable;
}
