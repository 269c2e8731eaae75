/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_RAW_H
#define GEV_HUB_RAW_H

/* The raw greenlet: explicit switching among greenlets and their parents. */

#include "hub/greenlet.h"
#include "hub/hub.h"

/* A NEW greenlet is started under the hub, which becomes its parent. */
void gev__raw_give_to_hub(struct gev_greenlet *g);

/* Has g's pending gev_switch fail with error when g runs next. */
void gev__raw_deliver_error(struct gev_greenlet *g, int error);

/* A raw greenlet has just ended: who runs next because a value or an error goes
 * to its parent's pending gev_switch, or NULL if none is pending. */
struct gev_greenlet *gev__raw_end(struct gev_greenlet *g);

/* The last reference of a suspended one is gone: cancels it, and returns when
 * it has ended (or insists on living). Where switching is forbidden it ends
 * later. */
void gev__raw_abandon(struct gev_greenlet *g);

#endif
