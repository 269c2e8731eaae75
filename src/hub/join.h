/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_JOIN_H
#define GEV_HUB_JOIN_H

#include "hub/greenlet.h"
#include "hub/hub.h"

#include <sys/types.h>

/* Waits for g's end: 0, -EDEADLK for oneself, -ETIMEDOUT, or a park's. */
int gev__join(struct gev_hub *hub, struct gev_greenlet *g, int64_t deadline);

/* How many have ended, when all have or the time ran out. */
ssize_t gev__joinall(struct gev_hub *hub, gev_greenlet *const g[], size_t n,
                     int64_t deadline);

#endif
