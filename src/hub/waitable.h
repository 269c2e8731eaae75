/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_WAITABLE_H
#define GEV_HUB_WAITABLE_H

/* What gev_wait() and gev_iwait_next() can wait for. An object has its takers
 * (a wait queue of its own: greenlets that want the lock, the item) and its
 * observers, who only want to know that it is ready. Whoever makes an object
 * ready serves takers first, then calls gev__waitable_notify() if it still is.
 * An observer is told once, and at once, inside the call that made it ready.
 *
 * docs/design/waiting.md has the whole picture. */

#include "hub/greenlet.h"
#include "hub/owner.h"
#include "hub/waitq.h"

#include <gev/wait.h>

struct gev__observer;

struct gev__waitable_ops {
    const char *name; /* "event": for gev_dump */
    bool (*is_ready)(const struct gev_waitable *w);
    /* NULL: the object keeps its observers in w->observers. */
    void (*observe)(struct gev_waitable *w, struct gev__observer *o);
};

/* Wants to know once. */
struct gev__observer {
    union {
        struct gev__wait wait; /* on w->observers: greenlet is the waiter */
        struct gev__link link; /* on a greenlet's links */
    };
    /* In the call that made it ready; off its queue. Must not park. */
    void (*notify)(struct gev__observer *o);
    bool is_link; /* which of the two it is */
};

static inline int gev__waitable_bind(struct gev_waitable *w,
                                     struct gev_hub *hub)
{
    return gev__owner_bind(&w->owner, hub);
}

static inline bool gev__waitable_is_ready(const struct gev_waitable *w)
{
    return w->ops->is_ready(w);
}

/* Adds an observer to one that is not ready. greenlet: on whose stack it is. */
void gev__waitable_observe(struct gev_waitable *w, struct gev__observer *o,
                           struct gev_greenlet *greenlet,
                           void (*notify)(struct gev__observer *o));

/* Takes it off. Harmless if it has been told. */
void gev__observer_leave(struct gev__observer *o);

void gev__waitable_notify_slow(struct gev_waitable *w);

/* w has become ready: tells those who observe it. */
GEV__INLINE void gev__waitable_notify(struct gev_waitable *w)
{
    if (gev__unlikely(!gev__waitq_is_empty(&w->observers))) {
        gev__waitable_notify_slow(w);
    }
}

#endif
