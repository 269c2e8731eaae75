/* SPDX-License-Identifier: MIT */
#include "hub/timer.h"

#include "base/alloc.h"
#include "hub/hub.h"

#include <errno.h>

#define ARITY 4u

static inline bool is_before(const struct gev__heap_entry *a,
                             const struct gev__heap_entry *b)
{
    return a->deadline < b->deadline ||
           (a->deadline == b->deadline && a->timer->seq < b->timer->seq);
}

static inline void place(struct gev__heap *h, uint32_t pos,
                         struct gev__heap_entry e)
{
    h->entries[pos] = e;
    e.timer->pos = pos;
}

static void sift_up(struct gev__heap *h, uint32_t pos, struct gev__heap_entry e)
{
    while (pos > 0) {
        uint32_t parent = (pos - 1) / ARITY;
        if (!is_before(&e, &h->entries[parent])) {
            break;
        }
        place(h, pos, h->entries[parent]);
        pos = parent;
    }
    place(h, pos, e);
}

static void sift_down(struct gev__heap *h, uint32_t pos,
                      struct gev__heap_entry e)
{
    for (;;) {
        uint32_t first = pos * ARITY + 1;
        if (first >= h->count) {
            break;
        }
        uint32_t end = first + ARITY < h->count ? first + ARITY : h->count;
        uint32_t best = first;
        for (uint32_t i = first + 1; i < end; i++) {
            if (is_before(&h->entries[i], &h->entries[best])) {
                best = i;
            }
        }
        if (!is_before(&h->entries[best], &e)) {
            break;
        }
        place(h, pos, h->entries[best]);
        pos = best;
    }
    place(h, pos, e);
}

static int grow(struct gev__heap *h)
{
    uint32_t capacity = h->capacity == 0 ? 64 : h->capacity * 2;
    struct gev__heap_entry *entries =
        gev__reallocarray(h->entries, capacity, sizeof(*entries));
    if (entries == NULL) {
        return -ENOMEM;
    }
    h->entries = entries;
    h->capacity = capacity;
    return 0;
}

int gev__timer_arm(struct gev_hub *hub, struct gev__timer *t,
                   enum gev__timer_class class, int64_t deadline)
{
    struct gev__heap *h = &hub->timers[class];

    assert(!gev__timer_is_armed(t));
    if (gev__unlikely(h->count == h->capacity)) {
        int rc = grow(h);
        if (rc < 0) {
            return rc;
        }
    }
    t->deadline = deadline;
    t->seq = hub->timer_seq++;
    t->class = class;
    h->count++;
    sift_up(h, h->count - 1,
            (struct gev__heap_entry){.deadline = deadline, .timer = t});
    return 0;
}

static void remove_at(struct gev__heap *h, uint32_t pos)
{
    struct gev__heap_entry last = h->entries[--h->count];

    h->entries[pos].timer->pos = GEV__TIMER_IDLE;
    if (pos == h->count) {
        return;
    }
    if (pos > 0 && is_before(&last, &h->entries[(pos - 1) / ARITY])) {
        sift_up(h, pos, last);
    } else {
        sift_down(h, pos, last);
    }
}

void gev__timer_disarm(struct gev_hub *hub, struct gev__timer *t)
{
    if (gev__timer_is_armed(t)) {
        remove_at(&hub->timers[t->class], t->pos);
    }
}

struct gev__timer *gev__heap_pop_due(struct gev__heap *h, int64_t now)
{
    if (h->count == 0 || h->entries[0].deadline > now) {
        return NULL;
    }
    struct gev__timer *t = h->entries[0].timer;
    remove_at(h, 0);
    return t;
}

void gev__heap_fini(struct gev__heap *h)
{
    gev__free(h->entries);
    h->entries = NULL;
    h->count = 0;
    h->capacity = 0;
}
