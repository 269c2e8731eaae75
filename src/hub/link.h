/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_LINK_H
#define GEV_HUB_LINK_H

/* Links: whom a greenlet's end concerns, served strictly in the order they were
 * made. Joins and the library's own notes at the head of the list are served at
 * once, by the ending greenlet itself (they need no more than a wake); from the
 * first other link on the rest is the hub's, which may have to call back, spawn
 * or throw. */

#include "hub/greenlet.h"
#include "hub/hub.h"

/* At g's end, on its own stack or its canceller's: serves the joins at the head
 * and leaves the rest (and the report of a failure) to the hub. */
void gev__links_fire(struct gev_greenlet *g);

/* In the hub: reports and serves what is due. */
void gev__links_run(struct gev_hub *hub);

/* Adds a link; if g is dead already, has the hub serve it. */
void gev__link_add(struct gev_greenlet *g, struct gev__link *link);

/* -EINVAL, -EPERM, -ENOMEM. */
int gev__link_to(struct gev_greenlet *g, struct gev_greenlet *receiver,
                 int which);

/* Drops all links unserved. */
void gev__links_drop(struct gev_greenlet *g);

#endif
