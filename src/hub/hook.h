/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_HOOK_H
#define GEV_HUB_HOOK_H

/* Spawn hooks: who wants to know of every greenlet that is started. */

#include "hub/greenlet.h"
#include "hub/hub.h"

struct gev__spawn_hook {
    struct gev__list link; /* on hub->spawn_hooks */
    uint64_t seq;          /* grows along the list */
    void (*fn)(gev_greenlet *g, void *arg);
    void *arg;
};

void gev__spawn_hooks_call(struct gev_hub *hub, struct gev_greenlet *g);
void gev__spawn_hooks_fini(struct gev_hub *hub);

/* To be called for each greenlet that is started at a greenlet's wish and has a
 * handle, once it is queued or its timer is armed. */
GEV__INLINE void gev__spawned(struct gev_hub *hub, struct gev_greenlet *g)
{
    if (gev__unlikely(!gev__list_is_empty(&hub->spawn_hooks))) {
        gev__spawn_hooks_call(hub, g);
    }
}

#endif
