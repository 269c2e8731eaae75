/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_KILL_H
#define GEV_HUB_KILL_H

#include "hub/greenlet.h"

/* Kills a greenlet that has to go (its hub, group or server does), wherever it
 * is: one that never ran ends at once; one suspended in gev_switch, which is no
 * park, fails there. Not for the hub greenlet, nor a dead one. */
void gev__kill_anywhere(struct gev_greenlet *g);

#endif
