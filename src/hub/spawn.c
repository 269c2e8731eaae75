/* SPDX-License-Identifier: MIT */

/* The public ways to make and start greenlets. */

#include "base/clock.h"
#include "base/error.h"
#include "hub/greenlet.h"
#include "hub/hook.h"
#include "hub/link.h"
#include "hub/make.h"
#include "hub/park.h"
#include "hub/raw.h"

#include <string.h>

/* Options in, settled ones out. -EINVAL. */
static int settle_attr(const gev_attr *attr, struct gev__make *make)
{
    size_t size = attr->size == 0 ? sizeof(gev_attr) : attr->size;

    if (size < offsetof(gev_attr, flags) || size > 4096 ||
        (size >= sizeof(gev_attr) && attr->flags != 0)) {
        return -EINVAL;
    }
    if (attr->name != NULL) {
        make->name = attr->name;
        make->own_name = true;
    }
    make->stack_size = attr->stack_size * GEV__STACK_FACTOR;
    return 0;
}

/* A NEW greenlet with the caller's options. */
static int make_greenlet(struct gev_hub *hub, const gev_attr *attr,
                         struct gev__make *make, struct gev_greenlet **ret_g)
{
    int rc = gev__unlikely(attr != NULL) ? settle_attr(attr, make) : 0;

    return gev__likely(rc == 0) ? gev__greenlet_make(hub, make, ret_g) : rc;
}

static gev_greenlet *new_raw(const gev_attr *attr, gev_fn fn, void *arg,
                             const char *site, const char *name)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev__make make = {.fn = fn, .arg = arg, .site = site, .name = name};
    struct gev_greenlet *g;

    if (hub == NULL) {
        return NULL;
    }
    int rc = make_greenlet(hub, attr, &make, &g);
    if (rc < 0) {
        return gev__ret_null(rc);
    }
    g->parent = hub->current;
    if (g->parent != hub->hub_greenlet) {
        gev__greenlet_ref(g->parent);
    }
    return g;
}

static GEV__NOINLINE gev_greenlet *spawn_attr(const gev_attr *attr, gev_fn fn,
                                              void *arg, const char *site,
                                              const char *name)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev__make make = {.fn = fn, .arg = arg, .site = site, .name = name};
    struct gev_greenlet *g;

    if (hub == NULL) {
        return NULL;
    }
    int rc = make_greenlet(hub, attr, &make, &g);
    if (rc < 0) {
        return gev__ret_null(rc);
    }
    gev__greenlet_start(g);
    return g;
}

/* The same, for spawns with a handle. */
static GEV__NOINLINE gev_greenlet *spawn_seen(const gev_attr *attr, gev_fn fn,
                                              void *arg, const char *site,
                                              const char *name)
{
    struct gev_greenlet *g = spawn_attr(attr, fn, arg, site, name);

    if (g != NULL) {
        gev__spawned(g->hub, g);
    }
    return g;
}

/* A queued greenlet with refs references, on a stack that was used before; NULL
 * if there is none, or anything else is not plain. */
GEV__INLINE struct gev_greenlet *spawn_quickly(struct gev_hub *hub, gev_fn fn,
                                               void *arg, const char *site,
                                               const char *name, int refs)
{
    struct gev_greenlet *g;

    if (gev__unlikely(hub == NULL || fn == NULL)) {
        return NULL;
    }
    g = gev__stack_get_quickly(&hub->stacks);
    if (gev__unlikely(g == NULL)) {
        return NULL;
    }
    gev__greenlet_init(hub, g, fn, arg, site, name);
    g->flags = GEV__STARTED | GEV__UNDER_HUB;
    g->refs = refs;
    gev__ready_push_inline(hub, g);
    return g;
}

GEV__INLINE gev_greenlet *spawn(const gev_attr *attr, gev_fn fn, void *arg,
                                const char *site, const char *name)
{
    struct gev_greenlet *g = NULL;

    if (gev__likely(attr == NULL)) {
        g = spawn_quickly(gev__thread_hub_without_hooks, fn, arg, site, name,
                          2); /* references: the hub's and this one */
    }
    return gev__likely(g != NULL) ? g : spawn_seen(attr, fn, arg, site, name);
}

/* Drops a greenlet that could not be set up: it was never seen by anybody. */
static gev_greenlet *discard(struct gev_greenlet *g, int rc)
{
    gev__greenlet_unref(g);
    return gev__ret_null(rc);
}

/* Nobody has a handle: the one reference is the hub's. */
GEV__INLINE int spawn_raw(gev_fn fn, void *arg, const char *site,
                          const char *name)
{
    struct gev_greenlet *g =
        spawn_quickly(gev__thread_hub, fn, arg, site, name, 1);

    if (gev__likely(g != NULL)) {
        return 0;
    }
    g = spawn_attr(NULL, fn, arg, site, name);
    if (g == NULL) {
        return -1;
    }
    g->refs--;
    return 0;
}

static gev_greenlet *spawn_copy(gev_fn fn, const void *arg, size_t size,
                                const char *site, const char *name)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev__make make = {.fn = fn, .site = site, .name = name};
    struct gev_greenlet *g;

    if (hub == NULL) {
        return NULL;
    }
    if (arg == NULL && size > 0) {
        return gev__ret_null(-EINVAL);
    }
    if (size > GEV__STACK_DEFAULT / 4) {
        return gev__ret_null(-E2BIG);
    }
    int rc = gev__greenlet_make(hub, &make, &g);
    if (rc < 0) {
        return gev__ret_null(rc);
    }
    if (size > 0) {
        char *copy = (char *)g - ((size + 63) & ~(size_t)63);
        memcpy(copy, arg, size);
        gev__context_make(&g->ctx, gev__stack_low(g), copy);
        g->arg = copy;
    }
    gev__greenlet_start(g);
    gev__spawned(hub, g);
    return g;
}

static gev_greenlet *spawn_link(int which, gev_fn fn, void *arg,
                                const char *site, const char *name)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev__make make = {.fn = fn, .arg = arg, .site = site, .name = name};
    struct gev_greenlet *g;

    if (hub == NULL) {
        return NULL;
    }
    int rc = gev__greenlet_make(hub, &make, &g);
    if (rc < 0) {
        return gev__ret_null(rc);
    }
    rc = gev__link_to(g, hub->current, which);
    if (rc < 0) {
        return discard(g, rc);
    }
    gev__greenlet_start(g);
    gev__spawned(hub, g);
    return g;
}

static void fire_start(struct gev__timer *t)
{
    struct gev_greenlet *g = gev__container_of(t, struct gev_greenlet, timer);
    gev__ready_push(g->hub, g, 0);
}

/* Starts a NEW greenlet after some time; any other: nothing. */
static int start_later(struct gev_hub *hub, struct gev_greenlet *g,
                       double seconds)
{
    int64_t deadline;
    int rc = gev__deadline(hub, seconds, &deadline);

    if (rc < 0) {
        return rc;
    }
    if (g->state != GEV__NEW || (g->flags & GEV__STARTED)) {
        return 0;
    }
    if (deadline == 0) {
        gev__greenlet_start(g);
        gev__raw_give_to_hub(g); /* may switch: to the end of its old parent */
        gev__spawned(hub, g);
        return 0;
    }
    if (deadline == GEV__NEVER) {
        deadline--; /* armed all the same: a kill takes it off as any other */
    }
    gev__timer_init(&g->timer, fire_start);
    rc = gev__timer_arm(hub, &g->timer, GEV__SLEEPS, deadline);
    if (rc < 0) {
        return rc;
    }
    g->flags |= GEV__STARTED | GEV__UNDER_HUB;
    g->refs++;
    gev__raw_give_to_hub(g);
    gev__spawned(hub, g);
    return 0;
}

static gev_greenlet *spawn_later(double seconds, gev_fn fn, void *arg,
                                 const char *site, const char *name)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev__make make = {.fn = fn, .arg = arg, .site = site, .name = name};
    struct gev_greenlet *g;

    if (hub == NULL) {
        return NULL;
    }
    int rc = gev__greenlet_make(hub, &make, &g);
    if (rc < 0) {
        return gev__ret_null(rc);
    }
    rc = start_later(hub, g, seconds);
    return rc < 0 ? discard(g, rc) : g;
}

static int start(gev_greenlet *g, double seconds)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    int rc = gev__greenlet_is_mine(hub, g);
    return (int)gev__ret(rc < 0 ? rc : start_later(hub, g, seconds));
}

/* --- public --------------------------------------------------------------- */

gev_greenlet *gev_new_at(const gev_attr *attr, gev_fn fn, void *arg,
                         const char *site, const char *name)
{
    return new_raw(attr, fn, arg, site, name);
}

gev_greenlet *gev_spawn_at(const gev_attr *attr, gev_fn fn, void *arg,
                           const char *site, const char *name)
{
    return spawn(attr, fn, arg, site, name);
}

int gev_spawn_raw_at(gev_fn fn, void *arg, const char *site, const char *name)
{
    return spawn_raw(fn, arg, site, name);
}

gev_greenlet *gev_spawn_later_at(double seconds, gev_fn fn, void *arg,
                                 const char *site, const char *name)
{
    return spawn_later(seconds, fn, arg, site, name);
}

gev_greenlet *gev_spawn_copy_at(gev_fn fn, const void *arg, size_t size,
                                const char *site, const char *name)
{
    return spawn_copy(fn, arg, size, site, name);
}

gev_greenlet *gev_spawn_link_at(int which, gev_fn fn, void *arg,
                                const char *site, const char *name)
{
    return spawn_link(which, fn, arg, site, name);
}

int gev_start(gev_greenlet *g)
{
    return start(g, 0);
}

int gev_start_later(gev_greenlet *g, double seconds)
{
    return start(g, seconds);
}

/* The functions behind the macros, for callers that take their address. */

gev_greenlet *(gev_new)(gev_fn fn, void *arg)
{
    return new_raw(NULL, fn, arg, "", "greenlet");
}

gev_greenlet *(gev_new_attr)(const gev_attr *attr, gev_fn fn, void *arg)
{
    return new_raw(attr, fn, arg, "", "greenlet");
}

gev_greenlet *(gev_spawn)(gev_fn fn, void *arg)
{
    return spawn(NULL, fn, arg, "", "greenlet");
}

gev_greenlet *(gev_spawn_attr)(const gev_attr *attr, gev_fn fn, void *arg)
{
    return spawn(attr, fn, arg, "", "greenlet");
}

int(gev_spawn_raw)(gev_fn fn, void *arg)
{
    return spawn_raw(fn, arg, "", "greenlet");
}

gev_greenlet *(gev_spawn_later)(double seconds, gev_fn fn, void *arg)
{
    return spawn_later(seconds, fn, arg, "", "greenlet");
}

gev_greenlet *(gev_spawn_copy)(gev_fn fn, const void *arg, size_t size)
{
    return spawn_copy(fn, arg, size, "", "greenlet");
}

gev_greenlet *(gev_spawn_link)(gev_fn fn, void *arg)
{
    return spawn_link(GEV_LINK_ANY, fn, arg, "", "greenlet");
}

gev_greenlet *(gev_spawn_link_value)(gev_fn fn, void *arg)
{
    return spawn_link(GEV_LINK_VALUE, fn, arg, "", "greenlet");
}

gev_greenlet *(gev_spawn_link_error)(gev_fn fn, void *arg)
{
    return spawn_link(GEV_LINK_ERROR, fn, arg, "", "greenlet");
}
