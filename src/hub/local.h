/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_LOCAL_H
#define GEV_HUB_LOCAL_H

/* Greenlet-local values. A greenlet that sets one gets a table of its own, a
 * small hash with open addressing that is indexed by the key's number: keys are
 * numbered densely, so it is a perfect one as long as it is larger than the
 * highest number, and a greenlet that uses few of many keys still has a small
 * one. Each slot holds the whole key, with its generation: a new key does not
 * find what was set under a deleted one of the same number. */

#include "hub/greenlet.h"

#include <gev/local.h>

struct gev__locals; /* g->locals; NULL: nothing was ever set */

/* Destroys the values at the greenlet's end, and frees the table. Destructors
 * must not park; defers they add run. */
void gev__locals_end(struct gev_greenlet *g);

/* Frees the table and destroys nothing. */
void gev__locals_drop(struct gev_greenlet *g);

/* How many values it has. */
size_t gev__locals_count(const struct gev_greenlet *g);

#endif
