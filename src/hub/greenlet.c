/* SPDX-License-Identifier: MIT */
#include "hub/greenlet.h"

#include "base/alloc.h"
#include "base/error.h"
#include "hub/cancel.h"
#include "hub/defer.h"
#include "hub/link.h"
#include "hub/raw.h"
#include "hub/sched.h"
#include "hub/park.h"

#include <stdlib.h>

static const char fail_mark_storage;
void *const gev__fail_mark = (void *)(uintptr_t)&fail_mark_storage;

bool gev__greenlet_is_counted(const struct gev_greenlet *g)
{
    return g != g->hub->hub_greenlet && g != g->hub->main_greenlet;
}

int gev__greenlet_is_mine(const struct gev_hub *hub,
                          const struct gev_greenlet *g)
{
    if (g == NULL) {
        return -EINVAL;
    }
    return g->hub == hub ? 0 : -EPERM;
}

/* --- making ---------------------------------------------------------------- */

int gev__greenlet_rename(struct gev_greenlet *g, const char *name)
{
    char *copy = gev__strdup(name);

    if (copy == NULL) {
        return -ENOMEM;
    }
    if (g->flags & GEV__OWN_NAME) {
        gev__free((void *)(uintptr_t)g->name);
    }
    g->name = copy;
    g->flags |= GEV__OWN_NAME;
    return 0;
}

int gev__greenlet_make(struct gev_hub *hub, const struct gev__make *make,
                       struct gev_greenlet **ret_greenlet)
{
    struct gev_greenlet *g;
    size_t size = make->stack_size == 0 ? GEV__STACK_DEFAULT : make->stack_size;

    if (make->fn == NULL) {
        return -EINVAL;
    }
    int rc = gev__stack_get(&hub->stacks, size, &g);
    if (rc < 0) {
        return rc;
    }
    gev__context_make(&g->ctx, gev__stack_low(g), g);
    g->hub = hub;
    g->state = GEV__NEW;
    g->alerts = 0;
    g->flags = 0;
    g->saved_errno = 0;
    g->fp = hub->fp;
    g->parks = 0;
    g->eh_globals[0] = NULL;
    g->eh_globals[1] = NULL;
    g->fn = make->fn;
    g->arg = make->arg;
    g->value = NULL;
    g->error = 0;
    g->refs = 1;
    g->shields = 0;
    gev__list_init(&g->links);
    g->parent = hub->hub_greenlet;
    g->timer.pos = GEV__TIMER_IDLE;
    g->scopes = NULL;
    g->throws = NULL;
    g->defers = NULL;
    g->failed_parks = 0;
    g->id = ++hub->next_id;
    g->spawner = hub->current->id;
    g->name = make->name;
    g->site = make->site;
    g->linked = NULL;
    if (gev__unlikely(make->own_name)) {
        rc = gev__greenlet_rename(g, make->name);
        if (rc < 0) {
            gev__stack_put(&hub->stacks, g);
            return rc;
        }
    }
    hub->spawned++;
    if (++hub->live > hub->peak) {
        hub->peak = hub->live;
    }
    *ret_greenlet = g;
    return 0;
}

void gev__greenlet_start(struct gev_greenlet *g)
{
    g->flags |= GEV__STARTED | GEV__UNDER_HUB;
    g->refs++;
    gev__ready_push(g->hub, g, 0);
}

/* --- ending ---------------------------------------------------------------- */

/* Frees greenlets up a chain of parents whose last reference this was. */
static void free_greenlet(struct gev_greenlet *g)
{
    while (g != NULL) {
        struct gev_hub *hub = g->hub;
        struct gev_greenlet *parent = g->parent;
        struct gev_greenlet *linked = g->linked;

        bool counted = parent != NULL && gev__greenlet_is_counted(parent);

        assert(g->state == GEV__DEAD && g->refs == 0);
        gev__links_drop(g);
        if (g->flags & GEV__OWN_NAME) {
            gev__free((void *)(uintptr_t)g->name);
        }
        gev__stack_put(&hub->stacks, g);
        if (linked != NULL) {
            gev__greenlet_unref(linked);
        }
        g = NULL;
        if (counted && --parent->refs == 0) {
            gev__greenlet_abandoned(parent, &g);
        }
        if (gev__unlikely(hub->closed)) {
            gev__hub_handle_gone(hub);
        }
    }
}

/* What to do with one that nobody refers to any more; one that is to be freed
 * comes back in ret_free. */
void gev__greenlet_abandoned(struct gev_greenlet *g,
                             struct gev_greenlet **ret_free)
{
    *ret_free = NULL;
    switch (g->state) {
    case GEV__DEAD:
        *ret_free = g;
        break;
    case GEV__NEW:
        g->refs++;
        gev__greenlet_cancel(g, ECANCELED);
        if (--g->refs == 0) {
            *ret_free = g;
        }
        break;
    case GEV__SUSPENDED:
        g->refs++;
        gev__raw_abandon(g);
        if (--g->refs == 0 && g->state == GEV__DEAD) {
            *ret_free = g;
        }
        break;
    default:
        break; /* it runs under the hub: freed when it ends */
    }
}

void gev__greenlet_unref(struct gev_greenlet *g)
{
    assert(g->refs > 0 || !gev__greenlet_is_counted(g));
    if (gev__greenlet_is_counted(g) && --g->refs == 0) {
        struct gev_greenlet *dead = g;
        if (gev__unlikely(g->state != GEV__DEAD)) {
            gev__greenlet_abandoned(g, &dead);
        }
        free_greenlet(dead);
    }
}

/* Settles what became of it: value, failure or kill. */
static void settle(struct gev_greenlet *g, void *value)
{
    if (g->alerts & GEV__ALERT_KILLED ||
        (value == gev__fail_mark && g->fail_code == ECANCELED)) {
        g->value = NULL;
        g->error = ECANCELED;
        g->flags |= GEV__WAS_KILLED;
    } else if (value == gev__fail_mark) {
        g->value = NULL;
        g->error = g->fail_code;
        g->flags |= GEV__REPORT;
    } else {
        g->value = value;
    }
}

/* gev_exit in main, or the return of a greenlet that forked, in the child. */
static GEV__COLD _Noreturn void end_main(struct gev_greenlet *g)
{
    gev__defers_run(g);
    exit(EXIT_SUCCESS);
}

_Noreturn void gev__greenlet_exit(struct gev_greenlet *g, void *value)
{
    struct gev_hub *hub = g->hub;

    if (gev__unlikely(g == hub->main_greenlet)) {
        end_main(g);
    }
    settle(g, value);
    if (gev__unlikely(g->defers != NULL)) {
        gev__defers_run(g);
    }
    if (gev__unlikely(g->scopes != NULL || g->throws != NULL)) {
        gev__cancel_fini(g);
    }
    g->state = GEV__DEAD;
    hub->live--;

    struct gev_greenlet *next = NULL;
    if (gev__unlikely(!(g->flags & GEV__UNDER_HUB))) {
        next = gev__raw_end(g);
    }
    if (gev__list_first(&g->links) != NULL || (g->flags & GEV__REPORT)) {
        gev__links_fire(g);
    }
    if (gev__unlikely(hub->closing) && hub->live == 0) {
        gev__wake(hub->main_greenlet, 0);
    }
    if (g->flags & GEV__UNDER_HUB) {
        g->refs--;
    }
    if (g->refs == 0) {
        /* Its slot may be given back while it still runs there: nobody takes
         * one before the switch. */
        free_greenlet(g);
    }
    if (gev__likely(next == NULL)) {
        gev__switch(hub, g, gev__pick_inline(hub));
    } else {
        gev__switch(hub, g, next);
    }
    __builtin_unreachable();
}

_Noreturn void gev__greenlet_main(struct gev__context *c)
{
    struct gev_greenlet *g =
        gev__container_of(c, struct gev_greenlet, ctx);

    gev__sanitize_enter(&g->sanitizer, true);
    if (gev__unlikely(g->hub->closing) && !(g->flags & GEV__BEGUN)) {
        g->alerts |= GEV__ALERT_KILLED;
        gev__greenlet_exit(g, NULL);
    }
    g->flags |= GEV__BEGUN;
    gev__greenlet_exit(g, g->fn(g->arg));
}

void gev__greenlet_cancel(struct gev_greenlet *g, int error)
{
    assert(!(g->flags & GEV__BEGUN));
    bool armed = gev__timer_is_armed(&g->timer);
    bool queued = g->state == GEV__READY;

    gev__timer_disarm(g->hub, &g->timer);
    gev__cancel_fini(g);
    g->state = GEV__DEAD;
    g->error = error;
    if (error == ECANCELED) {
        g->flags |= GEV__WAS_KILLED;
    }
    g->hub->live--;
    gev__links_fire(g);
    if (armed && !queued) {
        /* The hub's reference; a queued one keeps it until it is popped. */
        gev__greenlet_unref(g);
    }
}
