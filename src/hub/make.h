/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_MAKE_H
#define GEV_HUB_MAKE_H

/* The hot half of greenlet.c: making and queueing greenlets, inline. */

#include "hub/greenlet.h"
#include "hub/hub.h"

/* Sets every field of a control block from gev__stack_get. */
GEV__INLINE void gev__greenlet_init(struct gev_hub *hub, struct gev_greenlet *g,
                                    gev_fn fn, void *arg, const char *site,
                                    const char *name)
{
    gev__context_make(&g->ctx, gev__stack_low(g), g);
    g->hub = hub;
    g->state = GEV__NEW;
    g->alerts = 0;
    g->flags = 0;
    g->saved_errno = 0;
    g->fp = hub->fp;
    g->parks = 0;
    g->eh_globals[0] = NULL;
    g->eh_globals[1] = NULL;
    g->fn = fn;
    g->arg = arg;
    g->value = NULL;
    g->error = 0;
    g->refs = 1;
    g->shields = 0;
    gev__list_init(&g->links);
    g->parent = hub->hub_greenlet;
    g->waits = NULL;
    g->timer.pos = GEV__TIMER_IDLE;
    g->scopes = NULL;
    g->throws = NULL;
    g->defers = NULL;
    g->locals = NULL;
    g->failed_parks = 0;
    g->id = ++hub->next_id;
    g->spawner = hub->current->id;
    g->context = hub->current->context;
    g->name = name;
    g->site = site;
    g->linked = NULL;
    hub->spawned++;
    if (++hub->live > hub->peak) {
        hub->peak = hub->live;
    }
}

#endif
