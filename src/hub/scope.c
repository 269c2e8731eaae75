/* SPDX-License-Identifier: MIT */

/* Timeout scopes. */

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "hub/cancel.h"
#include "hub/greenlet.h"
#include "hub/sched.h"

#include <gev/timeout.h>

#include <math.h>

/* What is inside a gev_timeout. It may be garbage before the first begin, so
 * nothing in it is trusted: an id counts only if the current greenlet has a
 * scope of that id, begun with this very handle (ids are small numbers, and so
 * is much garbage). */
static_assert(sizeof(struct gev__scope_handle) <= sizeof(gev_timeout),
              "grow gev_timeout");

static struct gev__scope_handle *handle_of(gev_timeout *t)
{
    return (struct gev__scope_handle *)(void *)t;
}

static const struct gev__scope_handle *const_handle_of(const gev_timeout *t)
{
    return (const struct gev__scope_handle *)(const void *)t;
}

/* The current greenlet's open scope of that handle, or NULL. */
static struct gev__scope *find_scope(const struct gev__scope_handle *h)
{
    const struct gev_hub *hub = gev__thread_hub;

    if (h == NULL || hub == NULL) {
        return NULL;
    }
    struct gev__scope *s = hub->current->scopes;
    while (s != NULL && (s->handle != h || s->id != h->id)) {
        s = s->outer;
    }
    return s;
}

static struct gev__scope *new_scope(struct gev_hub *hub)
{
    struct gev__scope *s = hub->free_scopes;

    if (s == NULL) {
        return gev__malloc(sizeof(*s));
    }
    hub->free_scopes = s->outer;
    return s;
}

static void free_scope(struct gev_hub *hub, struct gev__scope *s)
{
    s->outer = hub->free_scopes;
    hub->free_scopes = s;
}

void gev__scopes_fini(struct gev_hub *hub)
{
    while (hub->free_scopes != NULL) {
        struct gev__scope *s = hub->free_scopes;
        hub->free_scopes = s->outer;
        gev__free(s);
    }
}

static void fire_scope(struct gev__timer *timer)
{
    gev__scope_expire(gev__container_of(timer, struct gev__scope, timer));
}

int gev__scope_begin(struct gev_hub *hub, struct gev__scope_handle *h,
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
    if (find_scope(h) != NULL) {
        return -EALREADY;
    }
    struct gev__scope *s = new_scope(hub);
    if (s == NULL) {
        return -ENOMEM;
    }
    gev__timer_init(&s->timer, fire_scope);
    s->timer.seq = ++hub->timer_seq;
    if (deadline != GEV__NEVER && deadline != 0) {
        rc = gev__timer_arm(hub, &s->timer, GEV__TIMEOUTS, deadline);
        if (rc < 0) {
            free_scope(hub, s);
            return rc;
        }
    }
    s->greenlet = hub->current;
    s->id = s->timer.seq;
    s->handle = h;
    s->seconds = seconds;
    s->deadline = deadline == 0 ? gev__now_base(hub) : deadline;
    s->error = error;
    s->shields = hub->current->shields;
    s->expired = false;
    s->outer = hub->current->scopes;
    hub->current->scopes = s;
    hub->current->flags |= GEV__IN_SCOPE;
    h->id = s->id;
    h->expired = 0;
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
    if (g->scopes == NULL) {
        g->flags &= (uint16_t)~GEV__IN_SCOPE;
    }
    free_scope(g->hub, s);
}

/* By the clock: the loop may not have looked at it since the deadline. */
static bool has_expired(const struct gev__scope *s)
{
    return s->expired ||
           (s->deadline != GEV__NEVER && s->deadline <= gev__clock_now());
}

bool gev__scope_end(struct gev__scope_handle *h)
{
    struct gev__scope *s = find_scope(h);

    if (s != NULL) {
        h->expired = has_expired(s);
        end_scope(s);
        h->id = 0;
    }
    return h->expired;
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
    return (int)gev__ret(gev__scope_begin(hub, handle_of(t), seconds, error));
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
    return (int)gev__ret(
        gev__scope_begin(hub, handle_of(t), seconds, ETIMEDOUT));
}

bool gev_timeout_end(gev_timeout *t)
{
    return t != NULL && gev__scope_end(handle_of(t));
}

bool gev_timeout_expired(const gev_timeout *t)
{
    const struct gev__scope_handle *h = const_handle_of(t);
    const struct gev__scope *s = find_scope(h);

    return s != NULL ? has_expired(s) : h != NULL && h->expired;
}

double gev_timeout_left(const gev_timeout *t)
{
    const struct gev__scope_handle *h = const_handle_of(t);
    const struct gev__scope *s = find_scope(h);

    if (s == NULL) {
        return h != NULL && h->expired ? 0 : GEV_FOREVER;
    }
    if (s->deadline == GEV__NEVER) {
        return GEV_FOREVER;
    }
    double left = (double)(s->deadline - gev__clock_now()) / 1e9;
    return s->expired || left <= 0 ? 0 : fmin(left, s->seconds);
}

int gev_with_timeout(double seconds, gev_fn fn, void *arg, void **value)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev__scope_handle h = {.id = 0};

    if (hub == NULL) {
        return -1;
    }
    if (fn == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    int rc = gev__scope_begin(hub, &h, seconds, ETIMEDOUT);
    if (rc < 0) {
        return (int)gev__ret(rc);
    }
    void *result = fn(arg);
    struct gev__scope *s = find_scope(&h);
    if (s != NULL) {
        end_scope(s);
    }
    if (result == gev__fail_mark) {
        return (int)gev__ret(-hub->current->fail_code);
    }
    if (value != NULL) {
        *value = result;
    }
    return 0;
}
