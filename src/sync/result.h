/* SPDX-License-Identifier: MIT */
#ifndef GEV_SYNC_RESULT_H
#define GEV_SYNC_RESULT_H

/* Results from inside: what settles one on somebody's behalf. */

#include "hub/hub.h"

#include <gev/event.h>

/* Makes sure that it is this hub's, binding a fresh one. -EPERM. */
int gev__result_bind(gev_result *r, struct gev_hub *hub);

/* In its hub: sets the value, or the error if that is not 0. -EALREADY. */
int gev__result_settle(gev_result *r, void *value, int error);

#endif
