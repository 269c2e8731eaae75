/* SPDX-License-Identifier: MIT */
#include "hub/fork.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/sys.h"
#include "hub/cancel.h"
#include "hub/fd.h"
#include "hub/link.h"
#include "hub/loop.h"
#include "hub/sched.h"
#include "hub/task.h"

#include <pthread.h>

/* In the child of a fork the greenlet that forked goes on, alone: it becomes
 * main. Everything that was parked or ready is gone (its defers do not run, its
 * links do not fire: they are the parent's business). Raw greenlets, which only
 * a switch can resume, stay. The epoll descriptor is shared with the parent
 * until it is closed, so the old loop is dropped without touching its set. */

/* Who goes on: who forked, or main if that was a callback. */
static struct gev_greenlet *survivor(const struct gev_hub *hub)
{
    return hub->current == hub->hub_greenlet ? hub->main_greenlet
                                             : hub->current;
}

/* Ends a greenlet that stays behind. */
static void leave_behind(struct gev_greenlet *g, void *arg)
{
    struct gev_hub *hub = arg;
    bool scheduled = g->state == GEV__READY || g->state == GEV__PARKED ||
                     (g->state == GEV__NEW && (g->flags & GEV__STARTED));

    if (g->state == GEV__DEAD && (g->flags & GEV__LINKS_DUE)) {
        g->flags &= (uint16_t) ~(GEV__LINKS_DUE | GEV__REPORT);
        g->refs--; /* the place on hub->ended held one */
    }
    gev__links_drop(g);
    if (g == survivor(hub) || g == hub->hub_greenlet || !scheduled) {
        return;
    }
    gev__greenlet_drop(g);
    if (g->flags & GEV__UNDER_HUB) {
        g->refs--;
    }
}

/* Frees what nobody refers to; a second pass, for the first uses the links. */
static void free_unreferenced(struct gev_greenlet *g, void *arg)
{
    struct gev_hub *hub = arg;

    if (g->state == GEV__DEAD && g->refs <= 0 && g != hub->hub_greenlet &&
        g != hub->main_greenlet) {
        g->refs = 1;
        gev__greenlet_unref(g);
    }
}

/* All timers but those of the survivor. */
static void drop_timers(struct gev_hub *hub)
{
    struct gev_greenlet *self = survivor(hub);
    bool armed = gev__timer_is_armed(&self->timer);

    for (unsigned i = 0; i < GEV__TIMER_CLASSES; i++) {
        struct gev__heap *h = &hub->timers[i];
        for (uint32_t n = 0; n < h->count; n++) {
            h->entries[n].timer->pos = GEV__TIMER_IDLE;
        }
        h->count = 0;
    }
    /* The heaps have room: they held these timers before. */
    if (armed) {
        gev__timer_arm(hub, &self->timer, self->timer.class,
                       self->timer.deadline);
    }
    for (struct gev__scope *s = self->scopes; s != NULL; s = s->outer) {
        if (!s->expired && s->deadline != GEV__NEVER) {
            gev__timer_arm(hub, &s->timer, GEV__TIMEOUTS, s->deadline);
        }
    }
}

static void clear_ready(struct gev_hub *hub)
{
    struct gev_greenlet *self = survivor(hub);

    for (struct gev_greenlet *g = hub->ready_head; g != NULL;
         g = g->ready_next) {
        if (g->state == GEV__DEAD) {
            g->refs--; /* the place on the queue held one */
        }
    }
    hub->ready_head = NULL;
    if (self->state == GEV__READY) {
        gev__ready_push(hub, self, self->wake_rc);
    }
}

static void clear_idlers(struct gev_hub *hub)
{
    gev__list_foreach_safe(node, next, &hub->idlers) {
        if (gev__container_of(node, struct gev__idler, link)->greenlet !=
            survivor(hub)) {
            gev__list_remove(node);
        }
    }
}

static void clear_queues(struct gev_hub *hub)
{
    clear_ready(hub);
    clear_idlers(hub);
    hub->kicked = false;
    hub->poll_due = false;
    hub->timeouts_due = 0;
    hub->timeouts_turn = false;
    gev__list_init(&hub->ended);
    gev__tasks_fini(hub);
    hub->holds = 0;
    atomic_store(&hub->refs, 0);
    atomic_store(&hub->asleep, 0);
}

/* The survivor takes main's place. */
static void become_main(struct gev_hub *hub)
{
    struct gev_greenlet *self = hub->current;
    struct gev_greenlet *old = hub->main_greenlet;

    if (self == old || self == hub->hub_greenlet) {
        return;
    }
    gev__greenlet_drop(old);        /* it was not counted as live; self was */
    self->refs += GEV__REFS_OF_HUB; /* like main's */
    hub->main_greenlet = self;
    hub->hub_greenlet->parent = self;
    if (self->parent != hub->hub_greenlet) {
        self->parent->refs--;
    }
    self->parent = NULL;
}

static void replace_loop(struct gev_hub *hub)
{
    if (hub->current == hub->hub_greenlet && hub->loop != NULL) {
        /* Forked in a callback: that loop is running. It renews its own state
         * in the kernel; our watchers were on the parent's numbers. */
        gev__fd_stop_all(hub);
        gev__loop_renew_wakeup(hub);
        ev_loop_fork(hub->loop);
        return;
    }
    gev__fd_forked(hub);
    gev__loop_close(hub);
    gev__loop_open(hub); /* if it fails, the next need tries again */
}

static void after_fork_in_child(void)
{
    struct gev_hub *hub = gev__thread_hub;

    if (hub == NULL) {
        return;
    }
    struct gev__list *first = hub->modules.next;
    drop_timers(hub);
    clear_queues(hub);
    gev__thread_hub = NULL; /* the last reference of a suspended one cancels
                               nothing while this is going on */
    gev__stack_foreach(&hub->stacks, leave_behind, hub);
    gev__links_drop(&hub->main_storage);
    become_main(hub);
    gev__stack_foreach(&hub->stacks, free_unreferenced, hub);
    gev__thread_hub = hub;
    replace_loop(hub);
    while (first != &hub->modules) {
        struct gev__hub_module *m =
            gev__container_of(first, struct gev__hub_module, link);
        first = first->next;
        m->forked(m, hub);
    }
}

void gev__fork_install(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}
