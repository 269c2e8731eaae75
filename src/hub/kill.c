/* SPDX-License-Identifier: MIT */

/* Killing greenlets, and waiting for their end. */

#include "hub/kill.h"

#include "base/clock.h"
#include "base/error.h"
#include "hub/cancel.h"
#include "hub/join.h"
#include "hub/raw.h"
#include "hub/sched.h"

/* One that never ran ends at once. */
static bool never_ran(const struct gev_greenlet *g)
{
    return !(g->flags & GEV__BEGUN) && g->state != GEV__DEAD;
}

static void cancel(struct gev_greenlet *g, int error)
{
    gev__greenlet_ref(g);
    gev__greenlet_cancel(g, error);
    gev__greenlet_unref(g);
}

void gev__kill_anywhere(struct gev_greenlet *g)
{
    if (never_ran(g)) {
        cancel(g, ECANCELED);
        return;
    }
    gev__kill(g);
    if (g->state == GEV__SUSPENDED) {
        gev__raw_deliver_error(g, ECANCELED);
        gev__ready_push(g->hub, g, 0);
    }
}

/* Delivers, without waiting. error ECANCELED: sticky, another: once. */
static int deliver(struct gev_hub *hub, struct gev_greenlet *g, int error)
{
    int rc = gev__greenlet_is_mine(hub, g);

    if (rc < 0) {
        return rc;
    }
    if (error <= 0) {
        return -EINVAL;
    }
    if (g == hub->hub_greenlet) {
        return -EPERM;
    }
    if (g->state == GEV__DEAD) {
        return 0;
    }
    if (never_ran(g)) {
        cancel(g, error);
        return 0;
    }
    if (error == ECANCELED) {
        gev__kill(g);
        return 0;
    }
    if (g != hub->current) {
        return gev__throw(g, error);
    }
    return 0;
}

static int kill_one(gev_greenlet *g, int error, double timeout)
{
    struct gev_hub *hub = gev__hub_get();
    int64_t deadline;

    if (hub == NULL) {
        return -1;
    }
    int rc = gev__deadline(hub, timeout, &deadline);
    if (rc == 0) {
        rc = deliver(hub, g, error);
    }
    if (rc < 0) {
        return (int)gev__ret(rc);
    }
    if (g == hub->current) {
        return (int)gev__ret(-error);
    }
    return deadline == 0 ? 0 : (int)gev__ret(gev__join(hub, g, deadline));
}

/* Those that never ran first: none of them shall run because another's end
 * lets it. */
static int deliver_all(struct gev_hub *hub, gev_greenlet *const g[], size_t n,
                       bool unstarted)
{
    for (size_t i = 0; i < n; i++) {
        if (g[i] != NULL && g[i] != hub->current &&
            (g[i]->hub != hub || never_ran(g[i]) == unstarted)) {
            int rc = deliver(hub, g[i], ECANCELED);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

/* A caller among them is killed last, and does not wait for itself. */
static int kill_all(struct gev_hub *hub, gev_greenlet *const g[], size_t n,
                    int64_t deadline)
{
    bool self = false;
    int rc = g == NULL && n > 0 ? -EINVAL : 0;

    if (rc == 0) {
        rc = deliver_all(hub, g, n, true);
    }
    if (rc == 0) {
        rc = deliver_all(hub, g, n, false);
    }
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (g[i] == hub->current) {
            self = true;
        } else if (g[i] != NULL && deadline != 0) {
            rc = gev__join(hub, g[i], deadline);
        }
    }
    if (self && rc == 0) {
        gev__kill(hub->current);
        return -ECANCELED;
    }
    return rc;
}

/* --- public --------------------------------------------------------------- */

int gev_kill(gev_greenlet *g, double timeout)
{
    return kill_one(g, ECANCELED, timeout);
}

int gev_kill_error(gev_greenlet *g, int error, double timeout)
{
    return kill_one(g, error, timeout);
}

int gev_killall(gev_greenlet *const g[], size_t n, double timeout)
{
    struct gev_hub *hub = gev__hub_get();
    int64_t deadline;

    if (hub == NULL) {
        return -1;
    }
    int rc = gev__deadline(hub, timeout, &deadline);
    return (int)gev__ret(rc < 0 ? rc : kill_all(hub, g, n, deadline));
}
