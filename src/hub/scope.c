/* SPDX-License-Identifier: MIT */

/* Timeout scopes. */

#include "base/clock.h"
#include "base/error.h"
#include "hub/cancel.h"
#include "hub/greenlet.h"
#include "hub/sched.h"

#include <gev/timeout.h>

#include <math.h>

static struct gev__scope *scope_of(gev_timeout *t)
{
    return (struct gev__scope *)(void *)t;
}

static const struct gev__scope *const_scope_of(const gev_timeout *t)
{
    return (const struct gev__scope *)(const void *)t;
}

static void fire_scope(struct gev__timer *timer)
{
    gev__scope_expire(gev__container_of(timer, struct gev__scope, timer));
}

static int begin_scope(struct gev_hub *hub, struct gev__scope *s,
                       double seconds, int error)
{
    int64_t deadline;
    int rc = gev__deadline(hub, seconds, &deadline);

    if (rc < 0) {
        return rc;
    }
    if (error <= 0) {
        return -EINVAL;
    }
    if (s->greenlet != NULL) {
        return -EALREADY;
    }
    gev__timer_init(&s->timer, fire_scope);
    s->timer.seq = hub->timer_seq++;
    if (deadline != GEV__NEVER && deadline != 0) {
        rc = gev__timer_arm(hub, &s->timer, GEV__TIMEOUTS, deadline);
        if (rc < 0) {
            return rc;
        }
    }
    s->greenlet = hub->current;
    s->seconds = seconds;
    s->deadline = deadline == 0 ? gev__now_base(hub) : deadline;
    s->error = error;
    s->shields = hub->current->shields;
    s->expired = false;
    s->outer = hub->current->scopes;
    hub->current->scopes = s;
    if (deadline == 0) {
        gev__scope_expire(s);
    }
    return 0;
}

/* Scopes end in any order: unlinks it wherever it is. */
static void end_scope(struct gev__scope *s)
{
    struct gev_greenlet *g = s->greenlet;
    struct gev__scope **link = &g->scopes;
    bool any_expired = false;

    gev__timer_disarm(g->hub, &s->timer);
    while (*link != NULL) {
        if (*link == s) {
            *link = s->outer;
        } else {
            any_expired = any_expired || (*link)->expired;
            link = &(*link)->outer;
        }
    }
    if (!any_expired) {
        g->alerts &= (uint8_t)~GEV__ALERT_SCOPE;
    }
    s->greenlet = NULL;
}

/* By the clock: the loop may not have looked at it since the deadline. */
static bool has_expired(const struct gev__scope *s)
{
    return s->expired || (s->greenlet != NULL && s->deadline != GEV__NEVER &&
                          s->deadline <= gev__clock_now());
}

void gev__scopes_check_slow(struct gev_hub *hub)
{
    int64_t now = gev__clock_now();
    struct gev__scope *s = hub->current->scopes;

    for (; s != NULL; s = s->outer) {
        if (!s->expired && s->deadline <= now) {
            gev__timer_disarm(hub, &s->timer);
            gev__scope_expire(s);
        }
    }
}

/* --- public --------------------------------------------------------------- */

int gev_timeout_begin_error(gev_timeout *t, double seconds, int error)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    if (t == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    return (int)gev__ret(begin_scope(hub, scope_of(t), seconds, error));
}

int gev_timeout_begin(gev_timeout *t, double seconds)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    if (t == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    return (int)gev__ret(begin_scope(hub, scope_of(t), seconds, ETIMEDOUT));
}

bool gev_timeout_end(gev_timeout *t)
{
    if (t == NULL) {
        return false;
    }
    struct gev__scope *s = scope_of(t);
    if (s->greenlet != NULL) {
        s->expired = has_expired(s);
        end_scope(s);
    }
    return s->expired;
}

bool gev_timeout_expired(const gev_timeout *t)
{
    return t != NULL && has_expired(const_scope_of(t));
}

double gev_timeout_left(const gev_timeout *t)
{
    const struct gev__scope *s = t == NULL ? NULL : const_scope_of(t);

    if (s == NULL || s->greenlet == NULL || s->deadline == GEV__NEVER) {
        return s != NULL && s->expired ? 0 : GEV_FOREVER;
    }
    if (s->expired) {
        return 0;
    }
    double left = (double)(s->deadline - gev__clock_now()) / 1e9;
    return left <= 0 ? 0 : fmin(left, s->seconds);
}

int gev_with_timeout(double seconds, gev_fn fn, void *arg, void **value)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev__scope s = {.greenlet = NULL};

    if (hub == NULL) {
        return -1;
    }
    if (fn == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    int rc = begin_scope(hub, &s, seconds, ETIMEDOUT);
    if (rc < 0) {
        return (int)gev__ret(rc);
    }
    void *result = fn(arg);
    if (s.greenlet != NULL) {
        end_scope(&s);
    }
    if (result == gev__fail_mark) {
        return (int)gev__ret(-hub->current->fail_code);
    }
    if (value != NULL) {
        *value = result;
    }
    return 0;
}
