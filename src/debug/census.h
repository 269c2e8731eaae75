/* SPDX-License-Identifier: MIT */
#ifndef GEV_DEBUG_CENSUS_H
#define GEV_DEBUG_CENSUS_H

/* All greenlets of a hub, at one moment. */

#include "hub/hub.h"

struct gev__census {
    struct gev_greenlet **by_id; /* the hub's, main and the others, sorted */
    size_t n;
};

/* -ENOMEM. */
int gev__census_take(struct gev_hub *hub, struct gev__census *ret_census);
void gev__census_free(struct gev__census *c);

#endif
