/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_OWNER_H
#define GEV_HUB_OWNER_H

/* Which hub an object belongs to. All-zero: none yet; the first use that needs
 * a hub binds it to the caller's. */

#include "hub/hub.h"
#include "hub/wait_types.h"

/* Binds it to this hub, be it bound or not. */
static inline void gev__owner_set(struct gev__owner *o, struct gev_hub *hub)
{
    o->thread = hub->thread;
    atomic_store_explicit(&o->hub, hub, memory_order_release);
}

int gev__owner_bind_slow(struct gev__owner *o, struct gev_hub *hub);

/* Makes sure that the object is this hub's, binding a fresh one: 0, or -EPERM
 * for another thread's. An object of a hub that this thread has closed is a
 * fresh one. */
GEV__INLINE int gev__owner_bind(struct gev__owner *o, struct gev_hub *hub)
{
    if (gev__likely(atomic_load_explicit(&o->hub, memory_order_relaxed) ==
                    hub)) {
        return 0;
    }
    return gev__owner_bind_slow(o, hub);
}

/* Any thread: the hub to post to, or NULL. */
static inline struct gev_hub *gev__owner_hub(const struct gev__owner *o)
{
    return atomic_load_explicit(&o->hub, memory_order_acquire);
}

#endif
