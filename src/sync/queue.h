/* SPDX-License-Identifier: MIT */
#ifndef GEV_SYNC_QUEUE_H
#define GEV_SYNC_QUEUE_H

/* The insides of a queue.
 *
 *   invariant: nobody who gets or peeks is parked in it while an item is in
 *              the store. A getter and a putter are parked at once only if one
 *              of them is not yet served for want of memory.
 *
 * Posts and the limit. An item counts against maxsize from the moment its post
 * was accepted, though the hub takes it later. Two words that each have one
 * writer tell how many count: what posters have reserved so far, and, of the
 * hub's thread, what has been taken out less what was put in by plain puts. So
 * plain puts and gets need no atomic read-modify-write. If a put and a post
 * take the last place at the same instant, both are accepted, and the post's
 * item waits outside the store (late) until there is room. */

#include "hub/waitable.h"
#include "sync/store.h"

#include <gev/queue.h>

#include <stdatomic.h>

struct gev__queue_message;

struct gev_queue {
    struct gev_waitable waitable; /* first */
    struct gev__waitq getters;    /* of gev__queue_taker: gets and peeks */
    struct gev__waitq putters;    /* of gev__queue_putter */
    struct gev__waitq joiners;
    struct gev__waitq lookers; /* peekers told to look who have not yet run */
    struct gev__store store;
    size_t maxsize; /* 0: none */
    size_t unfinished;
    bool is_shut;
    bool drops;     /* shut down at once: messages under way are dropped, too */
    bool is_freed;  /* only messages under way keep the memory */
    size_t arrived; /* messages that the hub has taken */
    /* Twice the messages ever accepted; plus 1: no more are. */
    _Atomic size_t posted;
    /* What was taken out less what was put in otherwise; wraps around. */
    _Atomic size_t taken;
    struct gev__queue_message *late_first;
    struct gev__queue_message *late_last;
};

/* What a parked waiter is woken with. */
enum gev__queue_wake {
    GEV__QUEUE_SERVED, /* it has its item, or is rid of it */
    GEV__QUEUE_SHUT,   /* shut down or freed */
    GEV__QUEUE_LOOK    /* a peeker: there is something in the store */
};

struct gev__queue_taker {
    struct gev__wait wait; /* first */
    void *item;
    bool peeks;
    bool gone; /* the queue is, before a looker looked */
};

struct gev__queue_putter {
    struct gev__wait wait; /* first */
    void *item;
};

static inline size_t gev__queue_accepted(const struct gev_queue *q)
{
    return atomic_load_explicit(&q->posted, memory_order_relaxed) / 2;
}

/* Messages that the hub has not yet taken. */
static inline size_t gev__queue_under_way(const struct gev_queue *q)
{
    return gev__queue_accepted(q) - q->arrived;
}

static inline bool gev__queue_is_full(const struct gev_queue *q)
{
    size_t taken = atomic_load_explicit(&q->taken, memory_order_relaxed);

    return q->maxsize != 0 && gev__queue_accepted(q) - taken >= q->maxsize;
}

/* Only the hub's thread writes it. */
static inline void gev__queue_count_taken(struct gev_queue *q, size_t n)
{
    size_t taken = atomic_load_explicit(&q->taken, memory_order_relaxed);

    atomic_store_explicit(&q->taken, taken + n, memory_order_relaxed);
}

/* Gives an item to who waits for it, or stores it: 1 or 0. -ENOMEM. Neither the
 * limit nor unfinished are its business. */
int gev__queue_deliver(struct gev_queue *q, void *item);

/* There is room: takes in what is late, then what parked putters have. */
void gev__queue_refill(struct gev_queue *q);

/* After messages have arrived or were dropped: getters that waited for them
 * learn that nothing will come any more. */
void gev__queue_settle(struct gev_queue *q);

/* Takes in messages that came while it was full, as long as there is room. */
void gev__queue_refill_late(struct gev_queue *q);

/* Forgets them. */
void gev__queue_drop_late(struct gev_queue *q);

#endif
