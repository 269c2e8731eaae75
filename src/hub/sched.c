/* SPDX-License-Identifier: MIT */
#include "hub/sched.h"

#include "base/clock.h"
#include "base/error.h"
#include "hub/cancel.h"
#include "hub/pace.h"
#include "hub/park.h"
#include "hub/waitq.h"

#include <math.h>

/* However busy the ready queue is, the loop is polled this often. */
#define POLL_INTERVAL GEV__MS

/* A look at the clock costs as much as six switches, so it is taken once in a
 * number of switches that adapts to how long they last; the bound keeps one
 * late poll short when they suddenly last longer. */
#define CREDIT_MAX 64u

void gev__ready_push(struct gev_hub *hub, struct gev_greenlet *g, int rc)
{
    g->wake_rc = rc;
    gev__ready_push_inline(hub, g);
}

void gev__hub_requeue(struct gev_hub *hub)
{
    if (!hub->kicked) {
        hub->kicked = true;
        gev__ready_push(hub, hub->hub_greenlet, 0);
    }
}

void gev__hub_kick(struct gev_hub *hub)
{
    if (hub->current != hub->hub_greenlet) {
        gev__hub_requeue(hub);
    }
}

/* A look at the clock: must the hub poll the loop before the next greenlet? */
bool gev__poll_is_due(struct gev_hub *hub)
{
    int64_t now = gev__clock_now();
    int64_t left = hub->last_poll + POLL_INTERVAL - now;
    int64_t each = (now - hub->last_check) / hub->clock_granted + 1;

    hub->last_check = now;
    hub->clock_granted = CREDIT_MAX;
    if (left > 0 && left / each < CREDIT_MAX) {
        hub->clock_granted = (uint32_t)(left / each) + 1;
    }
    if (gev__unlikely(hub->paces != NULL)) {
        gev__paces_note(hub, now);
        hub->clock_granted = 1;
    }
    hub->clock_credit = hub->clock_granted;
    if ((left > 0 && !gev__clock_is_virtual()) ||
        hub->current == hub->hub_greenlet) {
        return false;
    }
    hub->poll_due = true;
    return true;
}

/* What is on the queue without being READY: a greenlet that was killed before
 * its turn (true: dropped, go on), or the mark behind which timeouts fire. */
bool gev__pass_over(struct gev_hub *hub, struct gev_greenlet *g)
{
    if (g == &hub->timeouts_mark) {
        hub->timeouts_turn = true;
        return false;
    }
    assert(g->state == GEV__DEAD);
    gev__greenlet_unref(g);
    return true;
}

struct gev_greenlet *gev__pick(struct gev_hub *hub)
{
    return gev__pick_inline(hub);
}

int gev__park(struct gev_hub *hub, struct gev__wait_for what)
{
    return gev__park_inline(hub, what);
}

/* A park that returns by a jump fails: what is left to do is done here. */
static void fail_direct_park(struct gev_greenlet *g, int rc)
{
    if (g->wait_kind == (GEV__WAIT_JOIN | GEV__WAIT_DIRECT)) {
        gev__list_remove(&g->join.node);
    } else {
        gev__waitq_remove(&g->direct);
    }
    g->ctx.rc = -1;
    g->saved_errno = -rc;
}

bool gev__wake(struct gev_greenlet *g, int rc)
{
    if (g->state != GEV__PARKED) {
        return false;
    }
    if (gev__unlikely(rc < 0) && (g->wait_kind & GEV__WAIT_DIRECT)) {
        fail_direct_park(g, rc);
    }
    gev__ready_push(g->hub, g, rc);
    return true;
}

static void fire_timeout(struct gev__timer *t)
{
    struct gev_greenlet *g = gev__container_of(t, struct gev_greenlet, timer);

    if (gev__wake(g, -ETIMEDOUT)) {
        g->flags |= GEV__TIMED_OUT;
    }
}

static void fire_sleep(struct gev__timer *t)
{
    gev__wake(gev__container_of(t, struct gev_greenlet, timer), 0);
}

/* Parks with the greenlet's own timer armed. */
static int park_with_timer(struct gev_hub *hub, struct gev__wait_for what,
                           enum gev__timer_class class, int64_t deadline,
                           void (*fire)(struct gev__timer *))
{
    struct gev_greenlet *g = hub->current;

    g->flags &= (uint16_t)~GEV__TIMED_OUT;
    if (gev__unlikely(g->alerts != 0)) {
        int rc = gev__park_check(hub);
        if (rc < 0) {
            return rc;
        }
    }
    gev__timer_init(&g->timer, fire);
    int rc = gev__timer_arm(hub, &g->timer, class, deadline);
    if (rc < 0) {
        return rc;
    }
    rc = gev__park_unchecked(hub, what);
    gev__timer_disarm(hub, &g->timer);
    return rc;
}

int gev__park_until(struct gev_hub *hub, struct gev__wait_for what,
                    int64_t deadline)
{
    if (deadline == GEV__NEVER) {
        return gev__park(hub, what);
    }
    if (deadline == 0) {
        return -ETIMEDOUT;
    }
    return park_with_timer(hub, what, GEV__TIMEOUTS, deadline, fire_timeout);
}

int gev__sleep_until(struct gev_hub *hub, int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_SLEEP};
    return park_with_timer(hub, what, GEV__SLEEPS, deadline, fire_sleep);
}

/* Inline in gev_yield, so that nothing returns after the switch. */
GEV__INLINE int yield_unchecked(struct gev_hub *hub)
{
    struct gev_greenlet *g = hub->current;

    gev__ready_push_inline(hub, g);
    struct gev_greenlet *next = gev__pick_inline(hub);
    if (gev__unlikely(next == g)) {
        g->state = GEV__RUNNING;
        return 0;
    }
    g->ctx.rc = 0;
    return gev__switch_and_return(hub, g, next);
}

int gev__yield(struct gev_hub *hub)
{
    if (gev__unlikely(hub->current->alerts != 0)) {
        int rc = gev__park_check(hub);
        if (rc < 0) {
            return rc;
        }
    }
    return yield_unchecked(hub);
}

int64_t gev__now_base(struct gev_hub *hub)
{
    int64_t now = gev__clock_now();

    if (now > hub->base || hub->base - now > GEV__BASE_WINDOW) {
        hub->base = gev__clock_is_virtual() ? now : now + GEV__BASE_WINDOW;
    }
    return hub->base;
}

int gev__deadline_finite(struct gev_hub *hub, double seconds,
                         int64_t *ret_deadline)
{
    if (isnan(seconds)) {
        return -EINVAL;
    }
    int64_t ns = gev__clock_ns(seconds);
    *ret_deadline = ns == 0 || ns == GEV__NEVER
                        ? ns
                        : gev__clock_add(gev__now_base(hub), ns);
    return 0;
}

/* --- public --------------------------------------------------------------- */

int gev_sleep(double seconds)
{
    struct gev_hub *hub = gev__hub_get();
    int64_t deadline;

    if (hub == NULL) {
        return -1;
    }
    int rc = gev__deadline(hub, seconds, &deadline);
    if (rc < 0) {
        return (int)gev__ret(rc);
    }
    if (deadline == 0) {
        gev__scopes_check(hub);
        return (int)gev__ret(gev__yield(hub));
    }
    if (deadline == GEV__NEVER) {
        const struct gev__wait_for what = {.kind = GEV__WAIT_SLEEP};
        return (int)gev__ret(gev__park(hub, what));
    }
    return (int)gev__ret(gev__sleep_until(hub, deadline));
}

static GEV__NOINLINE int yield_with_care(void)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    gev__scopes_check(hub);
    return (int)gev__ret(gev__yield(hub));
}

int gev_yield(void)
{
    struct gev_hub *hub = gev__thread_hub;

    if (gev__unlikely(hub == NULL || hub->current->alerts != 0 ||
                      (hub->current->flags & GEV__IN_SCOPE))) {
        return yield_with_care();
    }
    return yield_unchecked(hub);
}

int gev_idle(void)
{
    struct gev_hub *hub = gev__hub_get();
    const struct gev__wait_for what = {.kind = GEV__WAIT_IDLE};

    if (hub == NULL) {
        return -1;
    }
    /* A killed idler stays listed until it runs; the hub skips it. */
    struct gev__idler idler = {.greenlet = hub->current};
    gev__list_push_back(&hub->idlers, &idler.link);
    int rc = gev__park(hub, what);
    gev__list_remove(&idler.link);
    return (int)gev__ret(rc);
}
