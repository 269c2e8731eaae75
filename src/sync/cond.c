/* SPDX-License-Identifier: MIT */

/* Conditions. A signal to a waiter whose lock is held does not wake it: it is
 * moved to the end of the lock's queue, with its timer stopped and a shield
 * raised on its behalf, so that from then on it is as if it had woken and asked
 * for the lock itself, shielded and without a deadline. If the lock is free it
 * becomes its holder, as with any hand-over. */

#include "base/error.h"
#include "sync/lock.h"

#include <string.h>

struct cond {
    struct gev__owner owner;
    struct gev__waitq waiters; /* of struct cond_wait */
};
static_assert(sizeof(struct cond) <= sizeof(gev_cond), "grow gev_cond");

struct cond_wait {
    struct gev__wait wait; /* on the condition's queue, or the lock's */
    struct gev__lock *lock;
    bool moved; /* was put on the lock's queue, and has a shield for it */
};

static struct cond *cond_of(const gev_cond *c)
{
    return (struct cond *)(uintptr_t)c;
}

/* From the condition's queue to the lock's. */
static void move_to_lock(struct cond_wait *w)
{
    struct gev_greenlet *g = w->wait.greenlet;

    gev__timer_disarm(g->hub, &g->timer);
    g->shields++;
    g->wait_kind = GEV__WAIT_LOCK;
    g->wait_object = w->lock;
    g->parked_at = g->hub->now;
    w->moved = true;
    gev__deadlock_check(g, GEV__WAIT_LOCK, w->lock);
    gev__waitq_push(&w->lock->waiters, &w->wait);
}

/* False: nobody waits. */
static bool signal_first(struct cond *c)
{
    struct gev__wait *first = gev__waitq_first(&c->waiters);

    if (first == NULL) {
        return false;
    }
    struct cond_wait *w = gev__container_of(first, struct cond_wait, wait);
    gev__waitq_remove(first);
    if (w->lock->holder.greenlet != NULL) {
        move_to_lock(w);
    } else {
        gev__holder_set(&w->lock->holder, first->greenlet);
        gev__wake(first->greenlet, 0);
    }
    return true;
}

/* Kills and scopes do not end the wait for the lock; rc is what the call is to
 * return if nothing else does. */
static int retake(struct gev_hub *hub, struct gev__lock *l, int rc)
{
    hub->current->shields++;
    int taken = gev__lock_take(hub, l, GEV__NEVER);
    hub->current->shields--;
    return taken < 0 ? taken : rc;
}

static int wait_for_signal(struct gev_hub *hub, struct cond *c,
                           struct gev__lock *l, int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_COND, .object = c};
    struct cond_wait w = {.lock = l};

    if (!gev__holder_is(&l->holder, hub->current)) {
        return -EPERM;
    }
    if (deadline == 0) {
        return -ETIMEDOUT;
    }
    /* Who may not park keeps the lock. */
    int rc = gev__park_check(hub);
    if (rc < 0) {
        return rc;
    }
    gev__lock_pass_on(l);
    rc = gev__waitq_park(hub, &c->waiters, &w.wait, what, deadline);
    if (w.moved) {
        hub->current->shields--;
    }
    return rc == 0 ? 0 : retake(hub, l, w.moved ? 0 : rc);
}

static int wait_cond(struct gev_hub *hub, gev_cond *cond, gev_lock *lock,
                     double timeout)
{
    int64_t deadline = 0;

    if (cond == NULL || lock == NULL) {
        return -EINVAL;
    }
    struct cond *c = cond_of(cond);
    struct gev__lock *l = gev__lock_of(lock);
    int rc = gev__waitable_bind(&l->waitable, hub);
    if (rc == 0) {
        rc = gev__owner_bind(&c->owner, hub);
    }
    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    return rc < 0 ? rc : wait_for_signal(hub, c, l, deadline);
}

static bool is_mine(const struct cond *c)
{
    const struct gev_hub *hub = gev__thread_hub;

    return c != NULL && hub != NULL && gev__owner_hub(&c->owner) == hub;
}

/* --- public --------------------------------------------------------------- */

void gev_cond_init(gev_cond *c)
{
    struct gev_hub *hub = gev__hub_get();

    if (c != NULL) {
        memset(c, 0, sizeof(*c));
        if (hub != NULL) {
            gev__owner_set(&cond_of(c)->owner, hub);
        }
    }
}

int gev_cond_fini(gev_cond *c)
{
    if (c == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    if (!gev__waitq_is_empty(&cond_of(c)->waiters)) {
        return (int)gev__ret(-EBUSY);
    }
    memset(c, 0, sizeof(*c));
    return 0;
}

int gev_cond_wait(gev_cond *c, gev_lock *l, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(wait_cond(hub, c, l, timeout));
}

void gev_cond_signal(gev_cond *c)
{
    if (is_mine(cond_of(c))) {
        signal_first(cond_of(c));
    }
}

void gev_cond_broadcast(gev_cond *c)
{
    if (is_mine(cond_of(c))) {
        while (signal_first(cond_of(c))) {
        }
    }
}
