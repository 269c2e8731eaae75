/* SPDX-License-Identifier: MIT */
#ifndef GEV_SYNC_PARKQ_H
#define GEV_SYNC_PARKQ_H

/* For objects whose waiters have something to put right when their park fails:
 * whether it is still theirs to do. */

#include "hub/waitq.h"

/* gev__waitq_park(); *ret_stayed is set to whether the node was on the queue to
 * the end. If not, somebody took it off, who knew that its park had failed or
 * made it succeed: the object may be gone. */
GEV__INLINE int gev__waitq_park_and_see(struct gev_hub *hub,
                                        struct gev__waitq *q,
                                        struct gev__wait *w,
                                        struct gev__wait_for what,
                                        int64_t deadline, bool *ret_stayed)
{
    struct gev_greenlet *g = hub->current;

    w->greenlet = g;
    w->sibling = NULL;
    gev__waitq_push(q, w);
    g->waits = w;
    int rc = gev__park_until(hub, what, deadline);
    g->waits = NULL;
    *ret_stayed = w->queue != NULL;
    gev__waitq_remove(w);
    return rc;
}

#endif
