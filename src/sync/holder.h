/* SPDX-License-Identifier: MIT */
#ifndef GEV_SYNC_HOLDER_H
#define GEV_SYNC_HOLDER_H

/* Who holds a lock. A holder may end without releasing, and its memory be the
 * next greenlet's: the id says whether it is still the same. */

#include "hub/greenlet.h"

struct gev__holder {
    struct gev_greenlet *greenlet; /* NULL: nobody; may dangle: compared only,
                                      but see gev__holder_greenlet() */
    uint64_t id;                   /* valid while greenlet is not NULL */
};

GEV__INLINE void gev__holder_set(struct gev__holder *h, struct gev_greenlet *g)
{
    h->greenlet = g;
    h->id = g->id;
}

GEV__INLINE bool gev__holder_is(const struct gev__holder *h,
                                const struct gev_greenlet *g)
{
    return h->greenlet == g && h->id == g->id;
}

#endif
