/* SPDX-License-Identifier: MIT */
#include "hub/waitable.h"

#include "hub/link.h"

void gev__waitable_observe(struct gev_waitable *w, struct gev__observer *o,
                           struct gev_greenlet *greenlet,
                           void (*notify)(struct gev__observer *o))
{
    o->notify = notify;
    o->is_link = w->ops->observe != NULL;
    if (o->is_link) {
        w->ops->observe(w, o);
        return;
    }
    o->wait.greenlet = greenlet;
    o->wait.sibling = NULL;
    gev__waitq_push(&w->observers, &o->wait);
}

void gev__observer_leave(struct gev__observer *o)
{
    if (o->is_link) {
        gev__list_remove(&o->link.node);
    } else {
        gev__waitq_remove(&o->wait);
    }
}

void gev__waitable_notify_slow(struct gev_waitable *w)
{
    /* Only those who are there now: a notify may lead to new ones. */
    struct gev__waitq due = w->observers;
    struct gev__wait *wait;

    w->observers = (struct gev__waitq){.first = NULL};
    for (wait = due.first; wait != NULL; wait = wait->next) {
        wait->queue = &due;
    }
    while ((wait = due.first) != NULL) {
        gev__waitq_remove(wait);
        struct gev__observer *o =
            gev__container_of(wait, struct gev__observer, wait);
        o->notify(o);
    }
}

/* --- greenlets ------------------------------------------------------------ */

static struct gev_greenlet *greenlet_of(const struct gev_waitable *w)
{
    return gev__container_of((struct gev_waitable *)(uintptr_t)w,
                             struct gev_greenlet, waitable);
}

static bool is_dead(const struct gev_waitable *w)
{
    return gev__greenlet_is_dead(greenlet_of(w));
}

static void note_end(gev_greenlet *g, void *arg)
{
    struct gev__observer *o = arg;

    (void)g;
    o->notify(o);
}

static void observe_end(struct gev_waitable *w, struct gev__observer *o)
{
    o->link.kind = GEV__LINK_NOTE;
    o->link.fn = note_end;
    o->link.arg = o;
    gev__link_add(greenlet_of(w), &o->link);
}

static const struct gev__waitable_ops greenlet_ops = {
    .name = "greenlet", .is_ready = is_dead, .observe = observe_end};

/* --- public --------------------------------------------------------------- */

gev_waitable *gev_greenlet_waitable(gev_greenlet *g)
{
    if (g == NULL) {
        return NULL;
    }
    g->waitable.ops = &greenlet_ops;
    gev__owner_set(&g->waitable.owner, g->hub);
    return &g->waitable;
}
