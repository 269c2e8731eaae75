/* SPDX-License-Identifier: MIT */
#include "hub/raw.h"

#include "base/error.h"
#include "hub/cancel.h"
#include "hub/link.h"
#include "hub/sched.h"
#include "hub/switch.h"

/* One that answers each cancellation by switching away again is left alone. */
#define ABANDON_TRIES 100

static void drop_parent(struct gev_greenlet *g)
{
    struct gev_greenlet *parent = g->parent;

    g->parent = g->hub->hub_greenlet;
    if (parent != NULL && parent != g->hub->hub_greenlet) {
        gev__greenlet_unref(parent);
    }
}

void gev__raw_give_to_hub(struct gev_greenlet *g)
{
    drop_parent(g);
}

/* What g's pending gev_switch gives: 0 and a value, or -1 and errno. All of it
 * is done on this side, so that the other has nothing to do but return. */
GEV__INLINE void deliver_value(struct gev_greenlet *g, void *value)
{
    g->ctx.rc = 0;
    if (g->switch_out != NULL) {
        *g->switch_out = value;
    }
}

void gev__raw_deliver_error(struct gev_greenlet *g, int error)
{
    g->ctx.rc = -1;
    g->saved_errno = error;
}

/* Has g return or fail; a NEW one starts with the value. */
static void deliver(struct gev_greenlet *g, int error, void *value)
{
    if (g->state == GEV__NEW) {
        g->flags |= GEV__STARTED;
        if (g->arg == NULL) {
            g->arg = value;
        }
    } else if (error != 0) {
        gev__raw_deliver_error(g, error);
    } else {
        deliver_value(g, value);
    }
}

/* Whether a switch may go to g at all. */
static bool takes_switch(const struct gev_greenlet *g)
{
    return g->state == GEV__SUSPENDED ||
           (g->state == GEV__NEW && !(g->flags & GEV__STARTED));
}

/* An unstarted raw greenlet dies of a thrown code without running. */
static void die_unstarted(struct gev_greenlet *g, int error)
{
    gev__greenlet_ref(g);
    gev__greenlet_cancel(g, error);
    gev__greenlet_unref(g);
}

/* Whom a value or error that leaves g reaches: the nearest ancestor that takes
 * it. An unstarted one starts with a value, but dies of an error, which goes
 * on. NULL: nobody waits for it in gev_switch. */
static struct gev_greenlet *receiver_above(const struct gev_greenlet *g,
                                           int error)
{
    struct gev_greenlet *p = g->parent;

    while (p != NULL && p != g->hub->hub_greenlet) {
        if (p->state == GEV__DEAD) {
            p = p->parent;
        } else if (p->state == GEV__NEW && !(p->flags & GEV__STARTED) &&
                   error != 0) {
            struct gev_greenlet *next = p->parent;
            die_unstarted(p, error);
            p = next;
        } else {
            return p;
        }
    }
    return NULL;
}

struct gev_greenlet *gev__raw_end(struct gev_greenlet *g)
{
    int error = g->error == ECANCELED ? 0 : g->error;
    struct gev_greenlet *p = receiver_above(g, error);

    if (error != 0) {
        /* Raised in the parent, it is no unhandled failure. */
        g->flags &= (uint16_t)~GEV__REPORT;
    }
    if (p == NULL || !takes_switch(p)) {
        if (error != 0) {
            g->flags |= GEV__REPORT;
        }
        return NULL;
    }
    deliver(p, error, g->value);
    /* As good as running: it must not be cancelled when the last reference to
     * it, which may be g's, goes. */
    p->state = GEV__READY;
    return p;
}

/* Switches from the current greenlet to g. Returns what comes back the way a
 * public function does: 0, or -1 with errno. */
GEV__INLINE int switch_and_wait(struct gev_hub *hub, struct gev_greenlet *g,
                                void **ret_value)
{
    struct gev_greenlet *self = hub->current;

    self->state = GEV__SUSPENDED;
    self->switch_out = ret_value;
    return gev__switch_and_return(hub, self, g);
}

/* May the current greenlet switch at all? */
static int check_switch(const struct gev_hub *hub, const struct gev_greenlet *g)
{
    int rc = gev__greenlet_is_mine(hub, g);

    if (rc < 0) {
        return rc;
    }
    if ((hub->current->alerts & GEV__ALERT_NOPARK) || g == hub->hub_greenlet) {
        return -EPERM;
    }
    return 0;
}

/* The general case of gev_switch; public style results. */
static GEV__NOINLINE int switch_to(struct gev_greenlet *g, void *in,
                                   void **ret_out)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    int rc = check_switch(hub, g);

    if (rc == 0 && g->state == GEV__DEAD) {
        g = receiver_above(g, 0);
        rc = g == NULL ? -ESRCH : 0;
    }
    if (rc == 0 && g == hub->current) {
        if (ret_out != NULL) {
            *ret_out = in;
        }
        return 0;
    }
    if (rc == 0 && !takes_switch(g)) {
        rc = -EBUSY;
    }
    if (rc < 0) {
        return (int)gev__ret(rc);
    }
    deliver(g, 0, in);
    return switch_and_wait(hub, g, ret_out);
}

/* Throws error at whoever is above g; the current greenlet gets it itself. */
static int throw_above(struct gev_hub *hub, const struct gev_greenlet *g,
                       int error)
{
    struct gev_greenlet *p = receiver_above(g, error);

    if (p == NULL || p == hub->current) {
        return (int)gev__ret(-error);
    }
    if (p->state != GEV__SUSPENDED) {
        return (int)gev__ret(gev__throw(p, error));
    }
    deliver(p, error, NULL);
    return switch_and_wait(hub, p, NULL);
}

/* Throws into one that the hub runs, or that cannot get it: 0, -errno, or 1:
 * it is for the caller to switch. */
static int throw_without_switch(struct gev_hub *hub, struct gev_greenlet *g,
                                int error)
{
    int rc = gev__greenlet_is_mine(hub, g);

    if (rc < 0) {
        return rc;
    }
    if (error <= 0) {
        return -EINVAL;
    }
    if (g == hub->current) {
        return -error;
    }
    if (g == hub->hub_greenlet) {
        return -EPERM;
    }
    if (g->state == GEV__DEAD && (g->flags & GEV__UNDER_HUB)) {
        return -ESRCH;
    }
    if (!(g->flags & GEV__BEGUN) && g != hub->main_greenlet &&
        (g->flags & GEV__UNDER_HUB)) {
        gev__greenlet_cancel(g, error);
        return 0;
    }
    if (g->state == GEV__PARKED || g->state == GEV__READY) {
        return gev__throw(g, error);
    }
    return hub->current->alerts & GEV__ALERT_NOPARK ? -EPERM : 1;
}

static int throw_into(struct gev_hub *hub, struct gev_greenlet *g, int error)
{
    int rc = throw_without_switch(hub, g, error);

    if (rc <= 0) {
        return (int)gev__ret(rc);
    }
    if (g->state == GEV__SUSPENDED) {
        deliver(g, error, NULL);
        return switch_and_wait(hub, g, NULL);
    }
    if (g->state == GEV__NEW) {
        die_unstarted(g, error);
    }
    return error == ECANCELED ? 0 : throw_above(hub, g, error);
}

void gev__raw_abandon(struct gev_greenlet *g)
{
    struct gev_hub *hub = g->hub;

    if (hub != gev__thread_hub) {
        return; /* it insisted on living, and that hub is closed */
    }
    g->alerts |= GEV__ALERT_KILLED;
    if ((hub->current->alerts & GEV__ALERT_NOPARK) ||
        hub->current->state != GEV__RUNNING) {
        /* In the hub, a defer, or at a greenlet's very end nobody can wait for
         * it: it ends in a turn of its own. */
        drop_parent(g);
        gev__raw_deliver_error(g, ECANCELED);
        gev__ready_push(hub, g, 0);
        return;
    }
    for (int i = 0; i < ABANDON_TRIES && g->state == GEV__SUSPENDED; i++) {
        drop_parent(g);
        g->parent = hub->current;
        gev__greenlet_ref(g->parent);
        deliver(g, ECANCELED, NULL);
        switch_and_wait(hub, g, NULL);
    }
}

static int set_parent(struct gev_hub *hub, struct gev_greenlet *g,
                      struct gev_greenlet *parent)
{
    int rc = gev__greenlet_is_mine(hub, g);

    if (rc == 0) {
        rc = gev__greenlet_is_mine(hub, parent);
    }
    if (rc != 0) {
        return rc;
    }
    assert(parent != NULL);
    if (g == hub->main_greenlet || g == hub->hub_greenlet) {
        return -EINVAL;
    }
    const struct gev_greenlet *p = parent;
    do {
        if (p == g) {
            return -EINVAL;
        }
        p = p->parent;
    } while (p != NULL);
    if (parent != hub->hub_greenlet) {
        gev__greenlet_ref(parent);
    }
    drop_parent(g);
    g->parent = parent;
    return 0;
}

/* --- public --------------------------------------------------------------- */

gev_greenlet *gev_parent(const gev_greenlet *g)
{
    return g == NULL ? NULL : g->parent;
}

int gev_set_parent(gev_greenlet *g, gev_greenlet *parent)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(set_parent(hub, g, parent));
}

int gev_switch(gev_greenlet *g, void *in, void **out)
{
    struct gev_hub *hub = gev__thread_hub;

    /* Straight to the switch, with nothing to keep in a saved register. */
    if (gev__likely(hub != NULL && g != NULL && g->hub == hub &&
                    g->state == GEV__SUSPENDED &&
                    !(hub->current->alerts & GEV__ALERT_NOPARK))) {
        deliver_value(g, in);
        return switch_and_wait(hub, g, out);
    }
    return switch_to(g, in, out);
}

int gev_throw(gev_greenlet *g, int error)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : throw_into(hub, g, error);
}
