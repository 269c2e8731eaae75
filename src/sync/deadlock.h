/* SPDX-License-Identifier: MIT */
#ifndef GEV_SYNC_DEADLOCK_H
#define GEV_SYNC_DEADLOCK_H

/* Circles of locks. A greenlet that is parked on a lock without a timeout or a
 * scope waits for the lock's holder; if that one waits in the same way, and so
 * on back to the first, none of them will ever go on, unless one is killed. */

#include "sync/holder.h"

/* The holder, if it has not ended since; else NULL. */
const struct gev_greenlet *gev__holder_greenlet(const struct gev_hub *hub,
                                                const struct gev__holder *h);

/* Who has the lock g is parked on: NULL if that is no lock, readers have it, or
 * its holder has ended. */
const struct gev_greenlet *gev__deadlock_holder(const struct gev_greenlet *g);

/* With assertions: g is about to wait for that lock without a deadline; tells
 * on stderr if nothing but a kill can ever end that. kind: LOCK or RWLOCK. */
#ifdef NDEBUG
static inline void gev__deadlock_check(const struct gev_greenlet *g,
                                       uint32_t kind, const void *object)
{
    (void)g;
    (void)kind;
    (void)object;
}
#else
void gev__deadlock_check(const struct gev_greenlet *g, uint32_t kind,
                         const void *object);
#endif

#endif
