/* SPDX-License-Identifier: MIT */
#include "sync/group.h"

#include "base/alloc.h"
#include "base/error.h"
#include "hub/park.h"
#include "sync/result.h"

static struct gev__member *member_of(struct gev__list *node)
{
    return gev__container_of(node, struct gev__member, node);
}

/* --- joining and leaving -------------------------------------------------- */

static int spawn_here(struct gev_hub *hub, struct gev_group *p,
                      const struct gev__make *make, struct gev_greenlet **ret_g)
{
    int rc = gev__group_enter(hub, p);

    if (rc == 0 && make->fn == NULL) {
        rc = -EINVAL;
    }
    if (rc == 0) {
        rc = gev__group_take_slot(hub, p, NULL);
    }
    return rc < 0
               ? rc
               : gev__group_start(hub, p, make, GEV__MEMBER, NULL, NULL, ret_g);
}

static gev_greenlet *spawn(gev_group *p, gev_fn fn, void *arg, const char *site,
                           const char *name)
{
    struct gev_hub *hub = gev__hub_get();
    const struct gev__make make = {
        .fn = fn, .arg = arg, .site = site, .name = name};
    struct gev_greenlet *g = NULL;

    if (hub == NULL) {
        return NULL;
    }
    int rc = spawn_here(hub, p, &make, &g);
    return rc < 0 ? gev__ret_null(rc) : g;
}

static int add(struct gev_hub *hub, struct gev_group *p, struct gev_greenlet *g)
{
    int rc = gev__group_enter(hub, p);

    if (rc == 0) {
        rc = gev__greenlet_is_mine(hub, g);
    }
    if (rc == 0 && g == hub->hub_greenlet) {
        rc = -EPERM;
    }
    if (rc < 0 || gev__greenlet_is_dead(g) || gev__group_has(p, g)) {
        return rc;
    }
    gev__greenlet_ref(g); /* others may drop theirs meanwhile */
    rc = gev__group_take_slot(hub, p, NULL);
    if (rc == 0) {
        rc = gev__group_adopt(p, g);
    }
    gev__greenlet_unref(g);
    return rc;
}

static int discard(struct gev_hub *hub, struct gev_group *p,
                   const struct gev_greenlet *g)
{
    int rc = gev__group_enter(hub, p);

    if (rc == 0) {
        rc = gev__greenlet_is_mine(hub, g);
    }
    if (rc == 0 && gev__group_has(p, g)) {
        gev__group_leave(gev__group_find(p, g));
    }
    return rc;
}

/* --- looking -------------------------------------------------------------- */

static size_t list_some(const struct gev__list *from, gev_greenlet *g[],
                        size_t i, size_t n)
{
    gev__list_foreach(node, from) {
        const struct gev__member *m = member_of(node);
        if (m->role == GEV__MEMBER) {
            if (g != NULL && i < n) {
                g[i] = m->greenlet;
            }
            i++;
        }
    }
    return i;
}

static size_t list_members(const struct gev_group *p, gev_greenlet *g[],
                           size_t n)
{
    return list_some(&p->dying, g, list_some(&p->live, g, 0, n), n);
}

static int wait_for_slot(struct gev_hub *hub, struct gev_group *p,
                         int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_GROUP, .object = p};
    struct gev__wait wait;
    int rc = 0;

    /* Whoever was woken with it may have taken it. */
    while (rc == 0 && !p->freed && !gev__group_has_slot(p)) {
        rc = gev__waitq_park(hub, &p->available, &wait, what, deadline);
    }
    return rc == 0 && p->freed ? -EPIPE : rc;
}

static int wait_available(struct gev_hub *hub, struct gev_group *p,
                          double timeout)
{
    int64_t deadline;
    int rc = gev__group_enter(hub, p);

    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    if (rc == 0) {
        gev__group_ref(p);
        rc = wait_for_slot(hub, p, deadline);
        gev__group_unref(p);
    }
    return rc;
}

/* --- the hub ends, or the process forks ----------------------------------- */

static void forget_lost_waiters(struct gev__list *claims)
{
    gev__list_foreach_safe(node, next, claims) {
        const struct gev__claim *c =
            gev__container_of(node, struct gev__claim, node);
        if (c->waiter != NULL && gev__greenlet_is_dead(c->waiter)) {
            gev__list_remove(node);
        }
    }
}

/* All greenlets are gone but the one that goes on; their links did not fire. */
static void lose_members(struct gev__list *members)
{
    struct gev__list *node;

    while ((node = gev__list_pop(members)) != NULL) {
        gev__member_lose(member_of(node));
    }
}

static void lose_all(struct gev_group *p)
{
    gev__group_ref(p);
    forget_lost_waiters(&p->claims);
    forget_lost_waiters(&p->grants);
    gev__group_drop_queued(p, ECANCELED);
    lose_members(&p->live);
    lose_members(&p->dying);
    p->granted = 0;
    gev__list_foreach(node, &p->grants) {
        p->granted++;
    }
    gev__group_unref(p);
}

static struct gev_group *group_of(struct gev__hub_module *module)
{
    return gev__container_of(module, struct gev_group, module);
}

static void forked(struct gev__hub_module *module, struct gev_hub *hub)
{
    (void)hub;
    lose_all(group_of(module));
}

/* Like any object it is fresh then, for this thread's next hub. */
static void closed(struct gev__hub_module *module, struct gev_hub *hub)
{
    struct gev_group *p = group_of(module);

    (void)hub;
    gev__group_ref(p);
    lose_all(p);
    atomic_store_explicit(&p->owner.hub, NULL, memory_order_release);
    gev__group_unref(p);
}

/* --- groups --------------------------------------------------------------- */

/* The end of a task of gev_group_apply_async. */
static void settle_result(struct gev__job *job, void *result, void *value,
                          int error)
{
    (void)job;
    if (result != NULL) {
        gev__result_settle(result, value, error);
    }
}

static struct gev_group *new_group(size_t size)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return NULL;
    }
    struct gev_group *p =
        size == 0 ? NULL : gev__calloc(1, sizeof(struct gev_group));
    if (p == NULL) {
        return gev__ret_null(size == 0 ? -EINVAL : -ENOMEM);
    }
    p->size = size;
    p->refs = 1;
    p->module.close = closed;
    p->module.forked = forked;
    gev__list_init(&p->module.link);
    gev__list_init(&p->live);
    gev__list_init(&p->dying);
    gev__list_init(&p->claims);
    gev__list_init(&p->grants);
    gev__list_init(&p->spares);
    gev__list_init(&p->async.members);
    p->async.ended = settle_result;
    gev__owner_set(&p->owner, hub);
    gev__hub_add_module(hub, &p->module);
    return p;
}

int gev__group_enter(struct gev_hub *hub, struct gev_group *p)
{
    if (p == NULL) {
        return -EINVAL;
    }
    bool was_bound = gev__owner_hub(&p->owner) == hub;
    int rc = gev__owner_bind(&p->owner, hub);
    if (rc == 0 && !was_bound) {
        gev__hub_add_module(hub, &p->module);
    }
    return rc;
}

void gev__group_unref(struct gev_group *p)
{
    struct gev__list *node;

    assert(p->refs > 0);
    if (--p->refs > 0) {
        return;
    }
    gev__list_remove(&p->module.link);
    while ((node = gev__list_pop(&p->spares)) != NULL) {
        gev__free(member_of(node));
    }
    gev__free(p);
}
/* --- public --------------------------------------------------------------- */

gev_group *gev_group_new(void)
{
    return new_group(SIZE_MAX);
}

gev_group *gev_pool_new(size_t size)
{
    return new_group(size);
}

gev_greenlet *gev_group_spawn_at(gev_group *p, gev_fn fn, void *arg,
                                 const char *site, const char *name)
{
    return spawn(p, fn, arg, site, name);
}

gev_greenlet *(gev_group_spawn)(gev_group *p, gev_fn fn, void *arg)
{
    return spawn(p, fn, arg, "", "greenlet");
}

int gev_group_add(gev_group *p, gev_greenlet *g)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(add(hub, p, g));
}

int gev_group_discard(gev_group *p, gev_greenlet *g)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(discard(hub, p, g));
}

size_t gev_group_count(const gev_group *p)
{
    return p == NULL ? 0 : p->count;
}

bool gev_group_contains(const gev_group *p, const gev_greenlet *g)
{
    return p != NULL && g != NULL && gev__group_has(p, g);
}

size_t gev_group_members(const gev_group *p, gev_greenlet *g[], size_t n)
{
    return p == NULL ? 0 : list_members(p, g, n);
}

bool gev_group_full(const gev_group *p)
{
    return p != NULL && !gev__group_has_slot(p);
}

size_t gev_group_free_count(const gev_group *p)
{
    if (p == NULL) {
        return 0;
    }
    return p->size == SIZE_MAX ? SIZE_MAX : p->size - p->count - p->granted;
}

int gev_group_wait_available(gev_group *p, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(wait_available(hub, p, timeout));
}

int gev_group_error(const gev_group *p)
{
    return p == NULL ? 0 : p->error;
}
