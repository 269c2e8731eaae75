/* SPDX-License-Identifier: MIT */
#include "hub/greenlet.h"

#include "base/alloc.h"
#include "base/error.h"
#include "hub/cancel.h"
#include "hub/defer.h"
#include "hub/link.h"
#include "hub/local.h"
#include "hub/make.h"
#include "hub/pace.h"
#include "hub/park.h"
#include "hub/raw.h"
#include "hub/sched.h"
#include "hub/waitq.h"

#include <stdlib.h>

static const char fail_mark_storage;
void *const gev__fail_mark = (void *)(uintptr_t)&fail_mark_storage;

int gev__greenlet_is_mine(const struct gev_hub *hub,
                          const struct gev_greenlet *g)
{
    if (g == NULL) {
        return -EINVAL;
    }
    return g->hub == hub ? 0 : -EPERM;
}

/* --- making --------------------------------------------------------------- */

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

    if (make->fn == NULL) {
        return -EINVAL;
    }
    int rc = gev__stack_get(
        &hub->stacks,
        make->stack_size == 0 ? GEV__STACK_DEFAULT : make->stack_size, &g);
    if (rc < 0) {
        return rc;
    }
    gev__greenlet_init(hub, g, make->fn, make->arg, make->site, make->name);
    if (make->own_name) {
        rc = gev__greenlet_rename(g, make->name);
        if (rc < 0) {
            hub->live--;
            gev__stack_put(&hub->stacks, g);
            return rc;
        }
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

int gev__greenlet_spawn(struct gev_hub *hub, const struct gev__make *make)
{
    struct gev_greenlet *g;
    int rc = gev__greenlet_make(hub, make, &g);

    if (rc == 0) {
        gev__greenlet_start(g);
        gev__greenlet_unref(g);
    }
    return rc;
}

/* --- ending --------------------------------------------------------------- */

/* Frees greenlets up a chain of parents whose last reference this was. */
static GEV__NOINLINE void free_with_parents(struct gev_greenlet *g)
{
    while (g != NULL) {
        struct gev_hub *hub = g->hub;
        struct gev_greenlet *linked = g->linked;
        struct gev_greenlet *parent =
            g->parent == hub->hub_greenlet ? NULL : g->parent;

        assert(g->state == GEV__DEAD && g->refs == 0);
        gev__links_drop(g);
        if (g->flags & GEV__OWN_NAME) {
            gev__free((void *)(uintptr_t)g->name);
        }
        if (g != &hub->main_storage) {
            gev__stack_put(&hub->stacks, g);
        }
        if (linked != NULL) {
            gev__greenlet_unref(linked);
        }
        g = NULL;
        if (parent != NULL && --parent->refs == 0) {
            gev__greenlet_abandoned(parent, &g);
        }
        if (gev__unlikely(hub->closed)) {
            gev__hub_handle_gone(hub);
        }
    }
}

GEV__INLINE void free_greenlet(struct gev_greenlet *g)
{
    struct gev_hub *hub = g->hub;

    if (gev__likely(g->parent == hub->hub_greenlet && g->linked == NULL &&
                    !(g->flags & GEV__OWN_NAME) && !hub->closed &&
                    gev__list_is_empty(&g->links))) {
        gev__stack_put(&hub->stacks, g);
    } else {
        free_with_parents(g);
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

/* The last reference is gone. */
void gev__greenlet_released(struct gev_greenlet *g)
{
    if (gev__likely(g->state == GEV__DEAD)) {
        free_greenlet(g);
        return;
    }
    struct gev_greenlet *useless;
    gev__greenlet_abandoned(g, &useless);
    if (useless != NULL) {
        free_with_parents(useless);
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

/* What a greenlet left to be done at its end. */
static GEV__NOINLINE void run_last_things(struct gev_greenlet *g)
{
    gev__defers_run(g);
    if (g->locals != NULL) {
        gev__locals_end(g);
    }
}

/* gev_exit in main, or the return of a greenlet that forked, in the child. */
static GEV__COLD _Noreturn void end_main(struct gev_greenlet *g)
{
    run_last_things(g);
    exit(EXIT_SUCCESS);
}

GEV__INLINE _Noreturn void end(struct gev_greenlet *g, void *value)
{
    struct gev_hub *hub = g->hub;

    if (gev__unlikely(g == hub->main_greenlet)) {
        end_main(g);
    }
    settle(g, value);
    if (gev__unlikely(((uintptr_t)g->defers | (uintptr_t)g->locals) != 0)) {
        run_last_things(g);
        if (g == hub->main_greenlet) {
            end_main(g); /* one of them forked, and this is the child */
        }
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
    if (!gev__list_is_empty(&g->links) || (g->flags & GEV__REPORT)) {
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
    gev__switch_for_good(hub, g, next != NULL ? next : gev__pick_inline(hub));
}

_Noreturn void gev__greenlet_exit(struct gev_greenlet *g, void *value)
{
    end(g, value);
}

_Noreturn void gev__greenlet_main(struct gev__context *c)
{
    struct gev_greenlet *g = gev__container_of(c, struct gev_greenlet, ctx);

    gev__fp_arrive(&g->fp);
    gev__sanitize_enter(&g->sanitizer, true);
    if (gev__unlikely(g->hub->closing) && !(g->flags & GEV__BEGUN)) {
        g->alerts |= GEV__ALERT_KILLED;
        end(g, NULL);
    }
    g->flags |= GEV__BEGUN;
    end(g, g->fn(g->arg));
}

void gev__greenlet_drop(struct gev_greenlet *g)
{
    gev__cancel_fini(g);
    gev__defers_drop(g);
    gev__locals_drop(g);
    gev__paces_drop(g);
    gev__waits_leave(g);
    g->state = GEV__DEAD;
    g->error = ECANCELED;
    g->flags |= GEV__WAS_KILLED;
    g->hub->live--;
}

void gev__greenlet_cancel(struct gev_greenlet *g, int error)
{
    assert(!(g->flags & GEV__BEGUN));
    bool armed = gev__timer_is_armed(&g->timer);
    bool queued = g->state == GEV__READY;

    gev__timer_disarm(g->hub, &g->timer);
    gev__cancel_fini(g);
    gev__defers_run(g); /* a link's runner has one from the start */
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
