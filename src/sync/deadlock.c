/* SPDX-License-Identifier: MIT */
#include "sync/deadlock.h"

#include "hub/cancel.h"
#include "hub/hub.h"
#include "hub/sched.h"
#include "sync/lock.h"
#include "sync/rwlock.h"

#include <stdio.h>

/* Whether it points into memory that this hub uses for control blocks. One that
 * held a lock when its hub was closed is in none. */
static bool is_mapped(const struct gev_hub *hub, const struct gev_greenlet *g)
{
    const char *p = (const char *)g;

    if (g == &hub->main_storage) {
        return true;
    }
    for (unsigned i = 0; i < GEV__STACK_CLASSES; i++) {
        const struct gev__stack_class *c = &hub->stacks.classes[i];
        for (const struct gev__chunk *k = c->chunks; k != NULL; k = k->next) {
            if (p >= k->base && p < k->base + (size_t)k->used * c->slot) {
                return true;
            }
        }
    }
    return false;
}

const struct gev_greenlet *gev__holder_greenlet(const struct gev_hub *hub,
                                                const struct gev__holder *h)
{
    const struct gev_greenlet *g = h->greenlet;

    return g != NULL && is_mapped(hub, g) && g->id == h->id &&
                   g->state != GEV__DEAD && g->state != GEV__FREE
               ? g
               : NULL;
}

/* NULL: no lock, or one that nobody holds alone. */
static const struct gev__holder *holder_of(uint32_t kind, const void *object)
{
    const struct gev__holder *h = NULL;

    if (kind == GEV__WAIT_LOCK) {
        h = &((const struct gev__lock *)object)->holder;
    } else if (kind == GEV__WAIT_RWLOCK) {
        h = &((const struct gev__rwlock *)object)->writer;
    }
    return h != NULL && h->greenlet != NULL ? h : NULL;
}

const struct gev_greenlet *gev__deadlock_holder(const struct gev_greenlet *g)
{
    const struct gev__holder *h = holder_of(g->wait_kind, g->wait_object);

    return h != NULL ? gev__holder_greenlet(g->hub, h) : NULL;
}

#ifndef NDEBUG

/* Whether a timeout or a scope will end its park. */
static bool has_an_end(const struct gev_greenlet *g)
{
    if (gev__timer_is_armed(&g->timer)) {
        return true;
    }
    for (const struct gev__scope *s = g->scopes; s != NULL; s = s->outer) {
        if (s->deadline != GEV__NEVER && s->shields >= g->shields) {
            return true;
        }
    }
    return false;
}

/* Whom g waits for, if it waits for good: NULL else. */
static const struct gev_greenlet *next_of(const struct gev_greenlet *g)
{
    return g->state == GEV__PARKED && !has_an_end(g) ? gev__deadlock_holder(g)
                                                     : NULL;
}

static void print_link(const struct gev_greenlet *g, const void *object,
                       const struct gev_greenlet *holder)
{
    fprintf(stderr,
            "gev:   greenlet %llu \"%s\" spawned at %s waits for lock %p, "
            "held by %llu \"%s\"\n",
            (unsigned long long)g->id, g->name,
            g->site[0] != '\0' ? g->site : "the start", object,
            (unsigned long long)holder->id, holder->name);
}

/* first is not parked yet: what it will wait for comes along. */
static void report_circle(const struct gev_greenlet *first, const void *object,
                          const struct gev_greenlet *second, size_t n)
{
    fprintf(stderr, "gev: deadlock: %zu greenlets wait for each other:\n", n);
    print_link(first, object, second);
    for (const struct gev_greenlet *g = second; g != first;) {
        const struct gev_greenlet *next = next_of(g);
        print_link(g, g->wait_object, next);
        g = next;
    }
}

static void report_orphan(const struct gev_greenlet *g, const void *object,
                          const struct gev__holder *h)
{
    fprintf(stderr,
            "gev: greenlet %llu \"%s\" spawned at %s waits for lock %p, whose "
            "holder, greenlet %llu, has ended\n",
            (unsigned long long)g->id, g->name,
            g->site[0] != '\0' ? g->site : "the start", object,
            (unsigned long long)h->id);
}

void gev__deadlock_check(const struct gev_greenlet *g, uint32_t kind,
                         const void *object)
{
    const struct gev__holder *h = holder_of(kind, object);
    size_t n = 1;

    if (h == NULL || g->hub->closing || has_an_end(g)) {
        return;
    }
    const struct gev_greenlet *second = gev__holder_greenlet(g->hub, h);
    if (second == NULL) {
        report_orphan(g, object, h);
        return;
    }
    /* There may be a circle ahead that g is no part of. */
    const size_t most = g->hub->live + 1;
    const struct gev_greenlet *other = second;
    while (other != NULL && other != g && n <= most) {
        other = next_of(other);
        n++;
    }
    if (other == g) {
        report_circle(g, object, second, n);
    }
}

#endif
