/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_WAITQ_H
#define GEV_HUB_WAITQ_H

/* Wait queues: who waits for an object, first in, first out. Nodes lie on the
 * waiters' stacks; nothing is allocated.
 *
 *   invariant: a node is on its queue from gev__waitq_push() until a waker or
 *              its greenlet takes it off. Its greenlet may be READY already
 *              (killed, timed out, woken through another node) though the node
 *              is still there: the wake of such a one fails, and what it was
 *              to get goes to the next.
 *   invariant: g->waits lists the nodes of g's present park. Who ends a
 *              greenlet without running it (fork, pthread_exit) takes them off
 *              with gev__waits_leave().
 *
 * An empty queue is all-zero and holds no pointer to itself: an object with
 * nobody waiting may be moved in memory. */

#include "hub/park.h"
#include "hub/wait_types.h"

static inline bool gev__waitq_is_empty(const struct gev__waitq *q)
{
    return q->first == NULL;
}

GEV__INLINE void gev__waitq_push(struct gev__waitq *q, struct gev__wait *w)
{
    w->queue = q;
    w->next = NULL;
    w->prev = q->last;
    if (q->last == NULL) {
        q->first = w;
    } else {
        q->last->next = w;
    }
    q->last = w;
}

/* Harmless on one that is on no queue. */
GEV__INLINE void gev__waitq_remove(struct gev__wait *w)
{
    struct gev__waitq *q = w->queue;

    if (q == NULL) {
        return;
    }
    if (w->prev == NULL) {
        q->first = w->next;
    } else {
        w->prev->next = w->next;
    }
    if (w->next == NULL) {
        q->last = w->prev;
    } else {
        w->next->prev = w->prev;
    }
    w->queue = NULL;
}

/* The first that is still parked, left in its place, or NULL; those before it,
 * whom a wake would not reach any more, are taken off. */
GEV__INLINE struct gev__wait *gev__waitq_first(struct gev__waitq *q)
{
    struct gev__wait *w;

    while ((w = q->first) != NULL && w->greenlet->state != GEV__PARKED) {
        gev__waitq_remove(w);
    }
    return w;
}

/* Takes the first that is still parked off and makes it ready: its park returns
 * rc (>= 0). Its node, or NULL; valid until the caller parks. */
GEV__INLINE struct gev__wait *gev__waitq_wake(struct gev__waitq *q, int rc)
{
    struct gev__wait *w = gev__waitq_first(q);

    if (w != NULL) {
        gev__waitq_remove(w);
        w->greenlet->wake_rc = rc;
        gev__ready_push_inline(w->greenlet->hub, w->greenlet);
    }
    return w;
}

/* All who wait; how many it reached. */
size_t gev__waitq_wake_all(struct gev__waitq *q, int rc);

/* Parks the current greenlet in a queue: what the waker said, or the park's
 * error. Only *w's own fields are set; it is off the queue afterwards.
 * deadline 0: -ETIMEDOUT, without parking. */
GEV__INLINE int gev__waitq_park(struct gev_hub *hub, struct gev__waitq *q,
                                struct gev__wait *w, struct gev__wait_for what,
                                int64_t deadline)
{
    struct gev_greenlet *g = hub->current;

    w->greenlet = g;
    w->sibling = NULL;
    gev__waitq_push(q, w);
    g->waits = w; /* NOLINT(clang-analyzer-core.NullDereference): never NULL */
    int rc = gev__park_until_inline(hub, what, deadline);
    g->waits = NULL;
    gev__waitq_remove(w);
    return rc;
}

/* The same without a deadline, as the last thing a public function does:
 * `return gev__waitq_park_direct(...)`. It goes back to that function's caller
 * by a jump, which spares a mispredicted return: 0, or -1 with errno. So nobody
 * can do anything afterwards: the node is g->direct, wakers say 0 and have put
 * what it wants where g->direct_item says, and its owner does not need to know
 * that it has run. There must be no alerts. */
GEV__INLINE int gev__waitq_park_direct(struct gev_hub *hub,
                                       struct gev__waitq *q,
                                       struct gev__wait_for what)
{
    struct gev_greenlet *g = hub->current;

    assert(g->alerts == 0);
    g->direct.greenlet = g;
    g->direct.sibling = NULL;
    gev__waitq_push(q, &g->direct);
    g->waits = &g->direct;
    g->state = GEV__PARKED;
    g->parks++;
    g->wait_kind = (uint32_t)what.kind | GEV__WAIT_DIRECT;
    g->wait_events = what.events;
    g->wait_object = what.object;
    g->parked_at = hub->now;
    g->ctx.rc = 0;
    return gev__switch_and_return(hub, g, gev__pick_inline(hub));
}

/* The same with several nodes, each on its queue already and linked by sibling
 * from *first on. */
int gev__waits_park(struct gev_hub *hub, struct gev__wait *first,
                    struct gev__wait_for what, int64_t deadline);

/* For a greenlet that will never run again: takes its nodes off. */
void gev__waits_leave(struct gev_greenlet *g);

#endif
