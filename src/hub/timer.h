/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_TIMER_H
#define GEV_HUB_TIMER_H

/* Timers: a 4-ary heap of pointers to intrusive nodes, with the deadline beside
 * each pointer so that sifting does not touch the nodes. First in, first out
 * among equal deadlines. One libev timer a hub is armed for the earliest.
 *
 * Two heaps a hub: sleeps (and whatever else wakes by itself) and timeouts,
 * which fire only after the greenlets that became ready in the same turn have
 * run: data, a set, an equal sleep beat a timeout.
 *
 * docs/design/timers.md has the measurements behind this choice. */

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct gev_hub;

#define GEV__TIMER_IDLE UINT32_MAX /* pos of a timer that is on no heap */

enum gev__timer_class { GEV__SLEEPS, GEV__TIMEOUTS, GEV__TIMER_CLASSES };

struct gev__timer {
    int64_t deadline; /* ns; valid while armed */
    uint64_t seq;     /* order of arming: breaks ties */
    uint32_t pos;     /* place in the heap, or GEV__TIMER_IDLE */
    uint32_t class;   /* enum gev__timer_class; valid while armed */
    /* Called by the hub after the timer left its heap. Must not park. */
    void (*fire)(struct gev__timer *t);
};

struct gev__heap_entry {
    int64_t deadline;
    struct gev__timer *timer;
};

struct gev__heap {
    struct gev__heap_entry *entries;
    uint32_t count;
    uint32_t capacity;
};

static inline void gev__timer_init(struct gev__timer *t,
                                   void (*fire)(struct gev__timer *))
{
    t->pos = GEV__TIMER_IDLE;
    t->fire = fire;
}

static inline bool gev__timer_is_armed(const struct gev__timer *t)
{
    return t->pos != GEV__TIMER_IDLE;
}

/* 0 or -ENOMEM. deadline must not be GEV__NEVER; the timer must not be armed.
 */
int gev__timer_arm(struct gev_hub *hub, struct gev__timer *t,
                   enum gev__timer_class class, int64_t deadline);
/* Harmless on one that is not armed. */
void gev__timer_disarm(struct gev_hub *hub, struct gev__timer *t);

/* The earliest deadline, GEV__NEVER if there is none. */
static inline int64_t gev__heap_next(const struct gev__heap *h)
{
    return h->count > 0 ? h->entries[0].deadline : INT64_MAX;
}

/* Takes the first timer off if it is due, else NULL. */
struct gev__timer *gev__heap_pop_due(struct gev__heap *h, int64_t now);
void gev__heap_fini(struct gev__heap *h);

#endif
