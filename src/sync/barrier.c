/* SPDX-License-Identifier: MIT */

/* Barriers.
 *
 *   invariant: who waits is on the queue from its arrival until the lap ends:
 *              complete, broken or reset. A node whose greenlet is not parked
 *              is one whose wait has failed: that lap cannot be completed. */

#include "base/error.h"
#include "hub/owner.h"
#include "hub/sched.h"
#include "sync/parkq.h"

#include <gev/lock.h>

#include <limits.h>
#include <string.h>

struct barrier {
    struct gev__owner owner;
    struct gev__waitq waiters; /* in the order of their arrival */
    void (*action)(void *arg);
    void *arg;
    unsigned parties; /* 0: never initialised */
    unsigned waiting; /* nodes on the queue; see count_waiting() */
    unsigned ends;    /* laps that were broken or reset */
    bool broken;
    bool acting; /* the action runs */
};
static_assert(sizeof(struct barrier) <= sizeof(gev_barrier),
              "grow gev_barrier");

/* What a park returns whose lap did not come to its end; else it is the order
 * of arrival. */
#define WOKEN_BROKEN INT_MAX

static struct barrier *barrier_of(const gev_barrier *b)
{
    return (struct barrier *)(uintptr_t)b;
}

/* Those who were ended where they waited, by a fork or the hub's end, are off
 * the queue without having said so. */
static unsigned count_waiting(const struct barrier *b)
{
    return gev__waitq_is_empty(&b->waiters) ? 0 : b->waiting;
}

static void end_lap(struct barrier *b, bool broken)
{
    b->broken = broken;
    b->waiting = 0;
    b->ends++;
    gev__waitq_wake_all(&b->waiters, WOKEN_BROKEN);
}

static bool all_parked(const struct barrier *b)
{
    for (const struct gev__wait *w = b->waiters.first; w != NULL; w = w->next) {
        if (w->greenlet->state != GEV__PARKED) {
            return false;
        }
    }
    return true;
}

static void act(struct gev_hub *hub, struct barrier *b)
{
    struct gev_greenlet *g = hub->current;
    bool may_park = !(g->alerts & GEV__ALERT_NOPARK);

    g->alerts |= GEV__ALERT_NOPARK;
    b->acting = true;
    b->action(b->arg);
    b->acting = false;
    if (may_park) {
        g->alerts &= (uint8_t)~GEV__ALERT_NOPARK;
    }
}

/* The last has come. */
static int complete(struct gev_hub *hub, struct barrier *b)
{
    const unsigned ends = b->ends;
    int order = 0;

    if (b->action != NULL && all_parked(b)) {
        act(hub, b);
        if (b->ends != ends) {
            return -EPIPE; /* the action has broken or reset it */
        }
    }
    if (!all_parked(b)) {
        end_lap(b, true);
        return -EPIPE;
    }
    b->waiting = 0;
    while (gev__waitq_wake(&b->waiters, order) != NULL) {
        order++;
    }
    return order;
}

static int arrive(struct gev_hub *hub, struct barrier *b, int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_BARRIER, .object = b};
    struct gev__wait wait;
    bool stayed;

    if (b->acting) {
        return -EBUSY;
    }
    if (b->broken) {
        return -EPIPE;
    }
    b->waiting = count_waiting(b);
    if (b->waiting + 1 == b->parties) {
        return complete(hub, b);
    }
    if (deadline == 0) {
        end_lap(b, true);
        return -ETIMEDOUT;
    }
    if (hub->current->alerts & GEV__ALERT_NOPARK) {
        return -EPERM; /* this one is no party */
    }
    b->waiting++;
    int rc = gev__waitq_park_and_see(hub, &b->waiters, &wait, what, deadline,
                                     &stayed);
    if (rc < 0 && stayed) {
        end_lap(b, true);
    }
    return rc == WOKEN_BROKEN ? -EPIPE : rc;
}

static int wait_barrier(struct gev_hub *hub, gev_barrier *barrier,
                        double timeout)
{
    int64_t deadline = 0;

    if (barrier == NULL || barrier_of(barrier)->parties == 0) {
        return -EINVAL;
    }
    struct barrier *b = barrier_of(barrier);
    int rc = gev__owner_bind(&b->owner, hub);
    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    return rc < 0 ? rc : arrive(hub, b, deadline);
}

/* Whether it is one that this thread may break. */
static bool is_mine(struct barrier *b)
{
    struct gev_hub *hub = gev__hub_get();

    return b != NULL && hub != NULL && gev__owner_bind(&b->owner, hub) == 0;
}

/* --- public --------------------------------------------------------------- */

int gev_barrier_init(gev_barrier *b, unsigned parties, void (*action)(void *),
                     void *arg)
{
    struct gev_hub *hub = gev__hub_get();

    if (b == NULL || parties == 0 || parties > INT_MAX) {
        return (int)gev__ret(-EINVAL);
    }
    memset(b, 0, sizeof(*b));
    if (hub != NULL) {
        gev__owner_set(&barrier_of(b)->owner, hub);
    }
    barrier_of(b)->parties = parties;
    barrier_of(b)->action = action;
    barrier_of(b)->arg = arg;
    return 0;
}

int gev_barrier_fini(gev_barrier *b)
{
    if (b == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    if (!gev__waitq_is_empty(&barrier_of(b)->waiters)) {
        return (int)gev__ret(-EBUSY);
    }
    memset(b, 0, sizeof(*b));
    return 0;
}

int gev_barrier_wait(gev_barrier *b, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(wait_barrier(hub, b, timeout));
}

void gev_barrier_abort(gev_barrier *b)
{
    if (is_mine(barrier_of(b))) {
        end_lap(barrier_of(b), true);
    }
}

void gev_barrier_reset(gev_barrier *b)
{
    if (is_mine(barrier_of(b))) {
        barrier_of(b)->acting = false; /* in case it never came back */
        end_lap(barrier_of(b), false);
    }
}

bool gev_barrier_broken(const gev_barrier *b)
{
    return b != NULL && barrier_of(b)->broken;
}

unsigned gev_barrier_waiting(const gev_barrier *b)
{
    return b == NULL ? 0 : count_waiting(barrier_of(b));
}
