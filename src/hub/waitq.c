/* SPDX-License-Identifier: MIT */
#include "hub/waitq.h"

#include "hub/owner.h"

size_t gev__waitq_wake_all(struct gev__waitq *q, int rc)
{
    size_t n = 0;

    while (gev__waitq_wake(q, rc) != NULL) {
        n++;
    }
    return n;
}

static void leave_all(struct gev__wait *first)
{
    for (struct gev__wait *w = first; w != NULL; w = w->sibling) {
        gev__waitq_remove(w);
    }
}

int gev__waits_park(struct gev_hub *hub, struct gev__wait *first,
                    struct gev__wait_for what, int64_t deadline)
{
    struct gev_greenlet *g = hub->current;

    g->waits = first;
    int rc = gev__park_until(hub, what, deadline);
    g->waits = NULL;
    leave_all(first);
    return rc;
}

void gev__waits_leave(struct gev_greenlet *g)
{
    leave_all(g->waits);
    g->waits = NULL;
}

/* --- owners --------------------------------------------------------------- */

int gev__owner_bind_slow(struct gev__owner *o, struct gev_hub *hub)
{
    /* One thread has one hub at a time: the same thread and another hub means
     * that the object's hub is closed. */
    if (gev__owner_hub(o) != NULL && o->thread != hub->thread) {
        return -EPERM;
    }
    gev__owner_set(o, hub);
    return 0;
}
