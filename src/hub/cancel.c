/* SPDX-License-Identifier: MIT */
#include "hub/cancel.h"

#include "base/alloc.h"
#include "base/error.h"
#include "hub/sched.h"
#include "hub/switch.h"
#include "hub/waitq.h"

/* A greenlet that ignores its failing parks would spin and starve the others:
 * every so often it yields for real before it is refused. */
#define REFUSALS_PER_YIELD 64u
/* While the hub closes, one that was refused this often is ended. */
#define REFUSALS_AT_CLOSE 10000u

/* The expired scope whose code a park gets now, or NULL. */
static struct gev__scope *expired_scope(const struct gev_greenlet *g)
{
    struct gev__scope *first = NULL;

    for (struct gev__scope *s = g->scopes; s != NULL; s = s->outer) {
        if (s->expired && s->shields >= g->shields &&
            (first == NULL || s->deadline < first->deadline ||
             (s->deadline == first->deadline &&
              s->timer.seq < first->timer.seq))) {
            first = s;
        }
    }
    return first;
}

/* Takes the oldest thrown code. */
static int take_thrown(struct gev_greenlet *g)
{
    struct gev__throw *t = g->throws;
    int code = t->code;

    g->throws = t->next;
    if (g->throws == NULL) {
        g->alerts &= (uint8_t)~GEV__ALERT_THROWN;
    }
    if (t->from != NULL) {
        if (g->linked != NULL) {
            gev__greenlet_unref(g->linked);
        }
        g->linked = t->from; /* its reference goes over */
    }
    gev__free(t);
    return code;
}

/* 0, or -errno: what a park of g gets for its alerts. Uses up a thrown code. */
static int alert_code(struct gev_greenlet *g)
{
    if (g->alerts & GEV__ALERT_NOPARK) {
        return -EPERM;
    }
    if (g->shields == 0 || g->hub->closing == 2) {
        if (g->alerts & GEV__ALERT_KILLED) {
            return -ECANCELED;
        }
        if (g->alerts & GEV__ALERT_THROWN) {
            return -take_thrown(g);
        }
    }
    if (g->alerts & GEV__ALERT_SCOPE) {
        const struct gev__scope *s = expired_scope(g);
        if (s != NULL) {
            return -s->error;
        }
    }
    return 0;
}

/* Lets the others run though the park is refused. */
static void yield_refused(struct gev_hub *hub, struct gev_greenlet *g)
{
    gev__ready_push(hub, g, 0);
    struct gev_greenlet *next = gev__pick(hub);
    if (next == g) {
        g->state = GEV__RUNNING;
    } else {
        gev__switch(hub, g, next);
    }
}

int gev__park_check(struct gev_hub *hub)
{
    struct gev_greenlet *g = hub->current;
    int rc = g->alerts == 0 ? 0 : alert_code(g);

    if (rc < 0 && rc != -EPERM) {
        g->failed_parks++;
        if (hub->closing && g->failed_parks > REFUSALS_AT_CLOSE &&
            g != hub->main_greenlet) {
            /* Who parks may have put nodes of his stack on lists: it stays. */
            g->flags |= GEV__STACK_IN_USE;
            gev__waits_leave(g);
            gev__greenlet_ref(g);
            gev__greenlet_exit(g, NULL);
        }
        if (g->failed_parks % REFUSALS_PER_YIELD == 0) {
            yield_refused(hub, g);
        }
    }
    return rc;
}

void gev__alert(struct gev_greenlet *g)
{
    if (g->state == GEV__PARKED) {
        int rc = alert_code(g);
        if (rc < 0) {
            gev__wake(g, rc);
        }
    }
}

void gev__kill(struct gev_greenlet *g)
{
    if (!(g->alerts & GEV__ALERT_KILLED)) {
        g->alerts |= GEV__ALERT_KILLED;
        g->failed_parks = 0; /* those so far were no answer to the kill */
    }
    gev__alert(g);
}

void gev__throw_node(struct gev_greenlet *g, struct gev__throw *t)
{
    struct gev__throw **end = &g->throws;

    while (*end != NULL) {
        end = &(*end)->next;
    }
    t->next = NULL;
    *end = t;
    g->alerts |= GEV__ALERT_THROWN;
    gev__alert(g);
}

int gev__throw(struct gev_greenlet *g, int code)
{
    struct gev__throw *t = gev__malloc(sizeof(*t));

    if (t == NULL) {
        return -ENOMEM;
    }
    t->from = NULL;
    t->code = code;
    gev__throw_node(g, t);
    return 0;
}

void gev__scope_expire(struct gev__scope *s)
{
    s->expired = true;
    s->greenlet->alerts |= GEV__ALERT_SCOPE;
    gev__alert(s->greenlet);
}

void gev__cancel_fini(struct gev_greenlet *g)
{
    while (g->scopes != NULL) {
        struct gev__scope *s = g->scopes;
        g->scopes = s->outer;
        gev__timer_disarm(g->hub, &s->timer);
        s->outer = g->hub->free_scopes;
        g->hub->free_scopes = s;
    }
    while (g->throws != NULL) {
        struct gev__throw *t = g->throws;
        g->throws = t->next;
        if (t->from != NULL) {
            gev__greenlet_unref(t->from);
        }
        gev__free(t);
    }
}

/* --- public --------------------------------------------------------------- */

int gev_uncancel(void)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return 0;
    }
    struct gev_greenlet *g = hub->current;
    if (g->alerts & GEV__ALERT_KILLED) {
        if (!hub->closing || g == hub->main_greenlet) {
            g->alerts &= (uint8_t)~GEV__ALERT_KILLED;
            g->failed_parks = 0;
        }
        return ECANCELED;
    }
    return g->throws != NULL ? take_thrown(g) : 0;
}

void gev_shield_begin(void)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub != NULL) {
        hub->current->shields++;
    }
}

void gev_shield_end(void)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub != NULL && hub->current->shields > 0) {
        unsigned depth = --hub->current->shields;
        /* Begun inside this shield: outside of the next one. */
        for (struct gev__scope *s = hub->current->scopes; s != NULL;
             s = s->outer) {
            s->shields = s->shields > depth ? (uint16_t)depth : s->shields;
        }
    }
}
