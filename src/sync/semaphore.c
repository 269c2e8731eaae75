/* SPDX-License-Identifier: MIT */

/* Semaphores: a number of free units and those who wait for one.
 *
 *   invariant: nobody is parked here while a unit is free. A release gives its
 *              unit to the first who is parked, in the same step as the wake.
 */

#include "base/error.h"
#include "hub/task.h"
#include "hub/waitable.h"

#include <gev/lock.h>

#include <limits.h>
#include <math.h>
#include <string.h>

struct semaphore {
    struct gev_waitable waitable; /* first */
    struct gev__waitq waiters;
    unsigned free;
    unsigned limit; /* 0: UINT_MAX, as in an all-zero one */
};
static_assert(sizeof(struct semaphore) <= sizeof(gev_semaphore),
              "grow gev_semaphore");

static struct semaphore *semaphore_of(const gev_semaphore *s)
{
    return (struct semaphore *)(uintptr_t)s;
}

static bool is_ready(const struct gev_waitable *w)
{
    return ((const struct semaphore *)(const void *)w)->free > 0;
}

static const struct gev__waitable_ops semaphore_ops = {.name = "semaphore",
                                                       .is_ready = is_ready};

GEV__INLINE bool is_full(const struct semaphore *s)
{
    return s->free == (s->limit == 0 ? UINT_MAX : s->limit);
}

GEV__INLINE int take(struct gev_hub *hub, struct semaphore *s, int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_SEMAPHORE,
                                       .object = s};
    struct gev__wait wait;

    if (s->free > 0) {
        s->free--;
        return 0;
    }
    return gev__waitq_park(hub, &s->waiters, &wait, what, deadline);
}

GEV__INLINE int put(struct semaphore *s)
{
    if (gev__waitq_wake(&s->waiters, 0) != NULL) {
        return 0;
    }
    if (is_full(s)) {
        return -EOVERFLOW;
    }
    s->free++;
    gev__waitable_notify(&s->waitable);
    return 0;
}

static void put_posted(void *semaphore, void *value, int number)
{
    (void)value;
    (void)number;
    (void)put(semaphore);
}

static GEV__NOINLINE int acquire_with_care(gev_semaphore *semaphore,
                                           double timeout)
{
    struct semaphore *s = semaphore_of(semaphore);
    struct gev_hub *hub = gev__hub_get();
    int64_t deadline = 0;

    if (hub == NULL) {
        return -1;
    }
    int rc = s == NULL ? -EINVAL : gev__waitable_bind(&s->waitable, hub);
    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    return (int)gev__ret(rc < 0 ? rc : take(hub, s, deadline));
}

static GEV__NOINLINE int release_with_care(gev_semaphore *semaphore)
{
    struct semaphore *s = semaphore_of(semaphore);
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    int rc = s == NULL ? -EINVAL : gev__waitable_bind(&s->waitable, hub);
    return (int)gev__ret(rc < 0 ? rc : put(s));
}

/* Fresh, and as before the gev_waitable that it may have been made. */
static void reset(struct semaphore *s)
{
    memset(s, 0, sizeof(*s));
    s->waitable.ops = &semaphore_ops;
}

/* --- public --------------------------------------------------------------- */

void gev_semaphore_init(gev_semaphore *s, unsigned value, unsigned limit)
{
    struct gev_hub *hub = gev__hub_get();

    if (s != NULL) {
        reset(semaphore_of(s));
        semaphore_of(s)->free = limit != 0 && value > limit ? limit : value;
        semaphore_of(s)->limit = limit;
        if (hub != NULL) {
            gev__owner_set(&semaphore_of(s)->waitable.owner, hub);
        }
    }
}

int gev_semaphore_fini(gev_semaphore *s)
{
    if (s == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    if (!gev__waitq_is_empty(&semaphore_of(s)->waiters) ||
        !gev__waitq_is_empty(&semaphore_of(s)->waitable.observers)) {
        return (int)gev__ret(-EBUSY);
    }
    reset(semaphore_of(s));
    return 0;
}

int gev_semaphore_acquire(gev_semaphore *semaphore, double timeout)
{
    struct semaphore *s = semaphore_of(semaphore);
    struct gev_hub *hub = gev__thread_hub;

    if (gev__likely(hub != NULL && s != NULL &&
                    gev__owner_hub(&s->waitable.owner) == hub && s->free > 0 &&
                    !isnan(timeout))) {
        s->free--;
        return 0;
    }
    return acquire_with_care(semaphore, timeout);
}

int gev_semaphore_release(gev_semaphore *semaphore)
{
    struct semaphore *s = semaphore_of(semaphore);
    struct gev_hub *hub = gev__thread_hub;

    if (gev__likely(hub != NULL && s != NULL &&
                    gev__owner_hub(&s->waitable.owner) == hub &&
                    gev__waitq_is_empty(&s->waiters) &&
                    gev__waitq_is_empty(&s->waitable.observers) &&
                    !is_full(s))) {
        s->free++;
        return 0;
    }
    return release_with_care(semaphore);
}

bool gev_semaphore_locked(const gev_semaphore *s)
{
    return s != NULL && semaphore_of(s)->free == 0;
}

unsigned gev_semaphore_value(const gev_semaphore *s)
{
    return s == NULL ? 0 : semaphore_of(s)->free;
}

int gev_semaphore_post(gev_semaphore *s)
{
    struct gev_hub *hub =
        s == NULL ? NULL : gev__owner_hub(&semaphore_of(s)->waitable.owner);

    return (int)gev__ret(
        hub == NULL
            ? -EINVAL
            : gev__post_call(hub, put_posted, semaphore_of(s), NULL, 0));
}

gev_waitable *gev_semaphore_waitable(struct gev_semaphore *s)
{
    if (s == NULL) {
        return NULL;
    }
    semaphore_of(s)->waitable.ops = &semaphore_ops;
    return &semaphore_of(s)->waitable;
}
