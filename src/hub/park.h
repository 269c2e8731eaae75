/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_PARK_H
#define GEV_HUB_PARK_H

/* The hot half of sched.h: parking inline, for the few calls that are on every
 * program's hot path. Every function level between a public call and the
 * switch costs a mispredicted return afterwards. */

#include "base/clock.h"
#include "hub/pace.h"
#include "hub/sched.h"
#include "hub/switch.h"

/* The slow parts of picking; in sched.c. */
bool gev__poll_is_due(struct gev_hub *hub);
bool gev__pass_over(struct gev_hub *hub, struct gev_greenlet *g);

GEV__INLINE void gev__ready_push_inline(struct gev_hub *hub,
                                        struct gev_greenlet *g)
{
    g->state = GEV__READY;
    g->ready_next = NULL;
    if (hub->ready_head == NULL) {
        hub->ready_head = g;
    } else {
        hub->ready_tail->ready_next = g;
    }
    hub->ready_tail = g;
}

/* gev__wake() for rc >= 0. */
GEV__INLINE bool gev__wake_inline(struct gev_greenlet *g, int rc)
{
    if (gev__unlikely(g->state != GEV__PARKED)) {
        return false;
    }
    g->wake_rc = rc;
    gev__ready_push_inline(g->hub, g);
    return true;
}

GEV__INLINE struct gev_greenlet *gev__pick_inline(struct gev_hub *hub)
{
    for (;;) {
        struct gev_greenlet *g = hub->ready_head;
        if (g == NULL) {
            if (gev__unlikely(hub->paces != NULL)) {
                gev__paces_note_now(hub);
            }
            return hub->hub_greenlet;
        }
        if (gev__unlikely(--hub->clock_credit == 0) && gev__poll_is_due(hub)) {
            return hub->hub_greenlet;
        }
        hub->ready_head = g->ready_next;
        if (gev__likely(g->state == GEV__READY)) {
            return g;
        }
        if (!gev__pass_over(hub, g)) {
            return hub->hub_greenlet;
        }
    }
}

/* The second half of a park: the caller has looked at the alerts. */
GEV__INLINE int gev__park_unchecked(struct gev_hub *hub,
                                    struct gev__wait_for what)
{
    struct gev_greenlet *g = hub->current;

    g->state = GEV__PARKED;
    g->parks++;
    g->wait_kind = what.kind;
    g->wait_events = what.events;
    g->wait_object = what.object;
    g->parked_at = hub->now;
    gev__switch(hub, g, gev__pick_inline(hub));
    return g->wake_rc;
}

GEV__INLINE int gev__park_inline(struct gev_hub *hub, struct gev__wait_for what)
{
    if (gev__unlikely(hub->current->alerts != 0)) {
        int rc = gev__park_check(hub);
        if (rc < 0) {
            return rc;
        }
    }
    return gev__park_unchecked(hub, what);
}

/* gev__park_until with the case of no deadline inline. */
GEV__INLINE int gev__park_until_inline(struct gev_hub *hub,
                                       struct gev__wait_for what,
                                       int64_t deadline)
{
    return gev__likely(deadline == GEV__NEVER)
               ? gev__park_inline(hub, what)
               : gev__park_until(hub, what, deadline);
}

#endif
