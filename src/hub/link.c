/* SPDX-License-Identifier: MIT */
#include "hub/link.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/strerror.h"
#include "hub/cancel.h"
#include "hub/defer.h"
#include "hub/sched.h"
#include "hub/task.h"

#include <stdio.h>

static struct gev__link *link_of(struct gev__list *node)
{
    return gev__container_of(node, struct gev__link, node);
}

/* --- serving -------------------------------------------------------------- */

/* Hands g to the hub, which serves its links in a turn of its own. */
static void leave_to_hub(struct gev_greenlet *g)
{
    if (!(g->flags & GEV__LINKS_DUE)) {
        g->flags |= GEV__LINKS_DUE;
        gev__greenlet_ref(g);
        gev__list_push_back(&g->hub->ended, &g->ended);
        gev__hub_kick(g->hub);
    }
}

static bool is_served_at_once(const struct gev__link *l)
{
    return l->kind == GEV__LINK_JOIN || l->kind == GEV__LINK_NOTE;
}

static void serve_at_once(struct gev_greenlet *g, struct gev__link *l)
{
    if (l->kind == GEV__LINK_JOIN) {
        gev__wake(l->greenlet, 0);
    } else {
        l->fn(g, l->arg);
    }
}

void gev__links_fire(struct gev_greenlet *g)
{
    struct gev__list *node;

    if (g->flags & GEV__LINKS_DUE) {
        return;
    }
    while ((node = gev__list_first(&g->links)) != NULL &&
           is_served_at_once(link_of(node))) {
        gev__list_remove(node);
        serve_at_once(g, link_of(node));
    }
    if (node != NULL || (g->flags & GEV__REPORT)) {
        leave_to_hub(g);
    }
}

static bool is_wanted(const struct gev_greenlet *g, unsigned which)
{
    bool failed = g->error != 0 && g->error != ECANCELED;

    return which == GEV_LINK_ANY || (which == GEV_LINK_ERROR) == failed;
}

/* A gev_link function runs in a greenlet of its own, the runner. The defer is
 * there from the start, so that serving a link needs memory for a stack only;
 * it lets go of the ended greenlet however the runner ends. */
struct run_link {
    struct gev__defer defer; /* first: freed as the defer it becomes */
    struct gev__link link;
};

static void *run_link(void *arg)
{
    const struct run_link *r = arg;

    r->link.fn(r->defer.arg, r->link.arg);
    return NULL;
}

static void drop_ended(void *g)
{
    gev__greenlet_unref(g);
}

/* Frees a link and what it holds. */
static void free_link(struct gev__link *l)
{
    switch ((enum gev__link_kind)l->kind) {
    case GEV__LINK_JOIN:
    case GEV__LINK_NOTE:
        break; /* part of its owner's memory */
    case GEV__LINK_RUN:
    case GEV__LINK_RAW:
        gev__free(gev__container_of(l, struct run_link, link));
        break;
    case GEV__LINK_TO:
        gev__greenlet_unref(l->greenlet);
        gev__free(l);
        break;
    }
}

/* Spawns the runner of a link. */
static int serve_run(struct gev_greenlet *g, struct gev__link *l)
{
    struct run_link *r = gev__container_of(l, struct run_link, link);
    const struct gev__make make = {
        .fn = run_link, .arg = r, .site = g->site, .name = "link"};
    struct gev_greenlet *runner;

    if (g->hub->closing) {
        free_link(l);
        return 0;
    }
    int rc = gev__greenlet_make(g->hub, &make, &runner);
    if (rc < 0) {
        return rc;
    }
    r->defer.fn = drop_ended;
    r->defer.arg = g;
    r->defer.next = NULL;
    runner->defers = &r->defer;
    gev__greenlet_ref(g);
    gev__greenlet_start(runner);
    gev__greenlet_unref(runner);
    return 0;
}

static int throw_link(struct gev_greenlet *g, struct gev__link *l)
{
    struct gev_greenlet *to = l->greenlet;

    if (to->state != GEV__DEAD) {
        struct gev__throw *t = gev__malloc(sizeof(*t));
        if (t == NULL) {
            return -ENOMEM;
        }
        gev__greenlet_ref(g);
        t->from = g;
        t->code = g->error == 0           ? GEV_ELINKDONE
                  : g->error == ECANCELED ? GEV_ELINKKILLED
                                          : GEV_ELINKFAILED;
        gev__throw_node(to, t);
    }
    free_link(l);
    return 0;
}

/* Serves one link, which is off its list. -ENOMEM: not served, put it back. */
static int serve_link(struct gev_greenlet *g, struct gev__link *l)
{
    if (is_served_at_once(l)) {
        serve_at_once(g, l);
        return 0;
    }
    if (!is_wanted(g, l->which)) {
        free_link(l);
        return 0;
    }
    if (l->kind == GEV__LINK_RUN) {
        return serve_run(g, l);
    }
    if (l->kind == GEV__LINK_TO) {
        return throw_link(g, l);
    }
    gev_link_fn fn = l->fn;
    void *arg = l->arg;
    free_link(l);
    fn(g, arg);
    return 0;
}

/* The default error handler: one line on stderr. */
static void report_to_stderr(const struct gev_greenlet *g, int error)
{
    fprintf(stderr, "gev: greenlet %llu \"%s\" spawned at %s failed: %s\n",
            (unsigned long long)g->id, g->name,
            g->site[0] != '\0' ? g->site : "?", gev__strerror(error));
}

static void report(struct gev_hub *hub, struct gev_greenlet *g)
{
    g->flags &= (uint16_t)~GEV__REPORT;
    if (hub->on_error != NULL) {
        hub->on_error(g, g->error, hub->on_error_arg);
    } else {
        report_to_stderr(g, g->error);
    }
}

/* Serves g's links in order, up to one that runs in a greenlet: that one comes
 * first, for it may take back a later one. */
enum served { ALL, UP_TO_A_RUNNER, NO_MEMORY };

static enum served serve_links(struct gev_greenlet *g)
{
    struct gev__list *node;

    while ((node = gev__list_pop(&g->links)) != NULL) {
        uint64_t spawned = g->hub->spawned;
        if (serve_link(g, link_of(node)) < 0) {
            gev__list_push_front(&g->links, node);
            return NO_MEMORY;
        }
        if (g->hub->spawned != spawned && gev__list_first(&g->links) != NULL) {
            return UP_TO_A_RUNNER;
        }
    }
    return ALL;
}

void gev__links_run(struct gev_hub *hub)
{
    struct gev__list *node;

    while ((node = gev__list_first(&hub->ended)) != NULL) {
        struct gev_greenlet *g =
            gev__container_of(node, struct gev_greenlet, ended);
        if (g->flags & GEV__REPORT) {
            report(hub, g);
        }
        switch (serve_links(g)) {
        case ALL:
            gev__list_remove(node);
            g->flags &= (uint16_t)~GEV__LINKS_DUE;
            gev__greenlet_unref(g);
            break;
        case UP_TO_A_RUNNER:
            gev__hub_requeue(hub); /* behind the runner */
            return;
        case NO_MEMORY:
            gev__tasks_retry(hub);
            return;
        }
    }
}

void gev__links_drop(struct gev_greenlet *g)
{
    struct gev__list *node;

    while ((node = gev__list_pop(&g->links)) != NULL) {
        free_link(link_of(node));
    }
}

/* --- making --------------------------------------------------------------- */

void gev__link_add(struct gev_greenlet *g, struct gev__link *link)
{
    gev__list_push_back(&g->links, &link->node);
    if (g->state == GEV__DEAD) {
        leave_to_hub(g);
    }
}

static int add_callback(enum gev__link_kind kind, int which, gev_greenlet *g,
                        gev_link_fn fn, void *arg)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    int rc = gev__greenlet_is_mine(hub, g);
    if (rc < 0 || fn == NULL) {
        return (int)gev__ret(rc < 0 ? rc : -EINVAL);
    }
    struct run_link *r = gev__malloc(sizeof(*r));
    struct gev__link *l = r == NULL ? NULL : &r->link;
    if (l == NULL) {
        return (int)gev__ret(-ENOMEM);
    }
    l->kind = (uint8_t)kind;
    l->which = (uint8_t)which;
    l->fn = fn;
    l->arg = arg;
    gev__link_add(g, l);
    return 0;
}

int gev__link_to(struct gev_greenlet *g, struct gev_greenlet *receiver,
                 int which)
{
    if (which < GEV_LINK_ANY || which > GEV_LINK_ERROR) {
        return -EINVAL;
    }
    if (receiver == g->hub->hub_greenlet) {
        return -EPERM; /* it has no parks to fail */
    }
    struct gev__link *l = gev__malloc(sizeof(*l));
    if (l == NULL) {
        return -ENOMEM;
    }
    l->kind = GEV__LINK_TO;
    l->which = (uint8_t)which;
    l->fn = NULL;
    l->greenlet = receiver;
    gev__greenlet_ref(receiver);
    gev__link_add(g, l);
    return 0;
}

static int unlink_callback(struct gev_greenlet *g, gev_link_fn fn, void *arg)
{
    gev__list_foreach(node, &g->links) {
        struct gev__link *l = link_of(node);
        if ((l->kind == GEV__LINK_RUN || l->kind == GEV__LINK_RAW) &&
            l->fn == fn && l->arg == arg) {
            gev__list_remove(node);
            free_link(l);
            return 0;
        }
    }
    return 0;
}

/* --- public --------------------------------------------------------------- */

int gev_link(gev_greenlet *g, gev_link_fn fn, void *arg)
{
    return add_callback(GEV__LINK_RUN, GEV_LINK_ANY, g, fn, arg);
}

int gev_link_value(gev_greenlet *g, gev_link_fn fn, void *arg)
{
    return add_callback(GEV__LINK_RUN, GEV_LINK_VALUE, g, fn, arg);
}

int gev_link_error(gev_greenlet *g, gev_link_fn fn, void *arg)
{
    return add_callback(GEV__LINK_RUN, GEV_LINK_ERROR, g, fn, arg);
}

int gev_rawlink(gev_greenlet *g, gev_link_fn fn, void *arg)
{
    return add_callback(GEV__LINK_RAW, GEV_LINK_ANY, g, fn, arg);
}

int gev_unlink(gev_greenlet *g, gev_link_fn fn, void *arg)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    int rc = gev__greenlet_is_mine(hub, g);
    return (int)gev__ret(rc < 0 ? rc : unlink_callback(g, fn, arg));
}

int gev_link_to(gev_greenlet *g, gev_greenlet *receiver, int which)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    int rc = gev__greenlet_is_mine(hub, g);
    if (rc == 0) {
        rc = gev__greenlet_is_mine(hub, receiver);
    }
    return (int)gev__ret(rc < 0 ? rc : gev__link_to(g, receiver, which));
}

gev_greenlet *gev_linked(void)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? NULL : hub->current->linked;
}

void gev_set_error_handler(void (*fn)(gev_greenlet *g, int error, void *arg),
                           void *arg)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub != NULL) {
        hub->on_error = fn;
        hub->on_error_arg = arg;
    }
}
