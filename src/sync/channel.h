/* SPDX-License-Identifier: MIT */
#ifndef GEV_SYNC_CHANNEL_H
#define GEV_SYNC_CHANNEL_H

/* The insides of a channel: what sends, receives and chooses are made of.
 *
 *   invariant: nobody is parked to receive while there is an item in the
 *              buffer, nor to send while there is room in it.
 *   invariant: if one is parked to send and one to receive in a channel, it is
 *              one and the same, in a choose. */

#include "hub/waitable.h"

#include <gev/channel.h>

struct gev_channel {
    struct gev_waitable waitable; /* first */
    struct gev__waitq receivers;  /* of gev__channel_wait */
    struct gev__waitq senders;    /* of gev__channel_wait */
    size_t capacity;
    size_t count;
    size_t head; /* index of the oldest item */
    bool closed;
    void *items[]; /* a ring of capacity items */
};

/* A parked sender's or receiver's place in one channel. One that waits for
 * nothing else, and for ever, has none: its node is g->direct, and
 * g->direct_item is the item to send, or says where to put the one received. */
struct gev__channel_wait {
    struct gev__wait wait; /* first */
    void *item;            /* to send, or received */
    int done; /* what it is woken with when its item was moved; closed: plus 1
               */
};

static inline struct gev__channel_wait *
gev__channel_wait_of(struct gev__wait *w)
{
    return gev__container_of(w, struct gev__channel_wait, wait);
}

GEV__INLINE bool gev__channel_is_direct(const struct gev__wait *w)
{
    return w == &w->greenlet->direct;
}

/* Ends the park of w, the first in its queue, who is parked. What it returns is
 * set already. */
GEV__INLINE void gev__channel_wake(struct gev__waitq *q, struct gev__wait *w,
                                   struct gev_greenlet *g)
{
    assert(q->first == w);
    assert(w->greenlet == g);
    q->first = w->next;
    if (gev__likely(w->next == NULL)) {
        q->last = NULL;
    } else {
        w->next->prev = NULL;
    }
    w->queue = NULL;
    gev__ready_push_inline(g->hub, g);
}

/* Gives an item to the first receiver, who is parked. */
GEV__INLINE void gev__channel_give(struct gev_channel *c, struct gev__wait *w,
                                   void *item)
{
    struct gev_greenlet *g = w->greenlet;

    if (gev__likely(gev__channel_is_direct(w))) {
        *(void **)g->direct_item = item;
    } else {
        gev__channel_wait_of(w)->item = item;
        g->wake_rc = gev__channel_wait_of(w)->done;
    }
    gev__channel_wake(&c->receivers, w, g);
}

/* Takes the item of the first sender, who is parked. */
GEV__INLINE void *gev__channel_take(struct gev_channel *c, struct gev__wait *w)
{
    struct gev_greenlet *g = w->greenlet;
    void *item = g->direct_item;

    if (gev__unlikely(!gev__channel_is_direct(w))) {
        item = gev__channel_wait_of(w)->item;
        g->wake_rc = gev__channel_wait_of(w)->done;
    }
    gev__channel_wake(&c->senders, w, g);
    return item;
}

GEV__INLINE void gev__channel_store(struct gev_channel *c, void *item)
{
    size_t end = c->capacity - c->head; /* places from the oldest on */

    c->items[c->count < end ? c->head + c->count : c->count - end] = item;
    c->count++;
}

/* The oldest item of the buffer; there must be one. */
GEV__INLINE void *gev__channel_unstore(struct gev_channel *c)
{
    void *item = c->items[c->head];

    c->head = c->head + 1 == c->capacity ? 0 : c->head + 1;
    c->count--;
    return item;
}

/* Sends without waiting: 0; 1: to a receiver that is to run before the sender
 * goes on; -EPIPE; -EAGAIN: it would have to wait. */
GEV__INLINE int gev__channel_try_send(struct gev_channel *c, void *item)
{
    if (gev__unlikely(c->closed)) {
        return -EPIPE;
    }
    struct gev__wait *w = gev__waitq_first(&c->receivers);
    if (w != NULL) {
        gev__channel_give(c, w, item);
        return c->capacity == 0;
    }
    if (c->count == c->capacity) {
        return -EAGAIN;
    }
    gev__channel_store(c, item);
    gev__waitable_notify(&c->waitable);
    return 0;
}

/* Receives without waiting: 0, -EPIPE, or -EAGAIN. */
GEV__INLINE int gev__channel_try_recv(struct gev_channel *c, void **ret_item)
{
    struct gev__wait *sender = gev__waitq_first(&c->senders);

    if (c->count > 0) {
        *ret_item = gev__channel_unstore(c);
        if (sender != NULL) {
            gev__channel_store(c, gev__channel_take(c, sender));
        }
        return 0;
    }
    if (sender != NULL) {
        *ret_item = gev__channel_take(c, sender);
        return 0;
    }
    return gev__unlikely(c->closed) ? -EPIPE : -EAGAIN;
}

/* Somebody is about to park to send: tells who observes the channel. A park
 * that is bound to fail is no news: its error. */
int gev__channel_announce_slow(struct gev_hub *hub, struct gev_channel *c);
GEV__INLINE int gev__channel_announce(struct gev_hub *hub,
                                      struct gev_channel *c)
{
    return gev__likely(gev__waitq_is_empty(&c->waitable.observers))
               ? 0
               : gev__channel_announce_slow(hub, c);
}

/* After a send to a parked receiver: lets it run first. */
int gev__channel_let_run(struct gev_hub *hub);

#endif
