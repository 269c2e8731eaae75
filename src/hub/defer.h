/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_DEFER_H
#define GEV_HUB_DEFER_H

/* Functions that run when a greenlet ends. */

#include "hub/greenlet.h"

struct gev__defer {
    struct gev__defer *next; /* older */
    void (*fn)(void *);
    void *arg;
};

/* -EINVAL, -ENOMEM. */
int gev__defer_add(struct gev_greenlet *g, void (*fn)(void *), void *arg);

/* Takes the youngest of that pair back. -ENOENT. */
int gev__defer_remove(struct gev_greenlet *g, void (*fn)(void *), void *arg);

/* Runs and frees them, youngest first. They must not park; what they add runs
 * too. */
void gev__defers_run(struct gev_greenlet *g);

/* Frees them without running any. */
void gev__defers_drop(struct gev_greenlet *g);

#endif
