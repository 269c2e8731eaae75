/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_PACE_H
#define GEV_HUB_PACE_H

/* Open gev_pace objects. While there are any, the clock is looked at in every
 * switch that the scheduler makes (sched.c), and each look is noted here. */

#include "hub/greenlet.h"
#include "hub/hub.h"

/* A stretch has ended: the current greenlet gives up the CPU. */
void gev__paces_note(struct gev_hub *hub, int64_t now);

/* The same, called where the hub is entered because nothing is ready. */
void gev__paces_note_now(struct gev_hub *hub);

/* Drops those of a greenlet whose frames are gone. */
void gev__paces_drop(struct gev_greenlet *g);

#endif
