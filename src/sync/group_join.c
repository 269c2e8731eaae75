/* SPDX-License-Identifier: MIT */

/* Waiting for a group's members, killing them, and freeing the group. */

#include "base/alloc.h"
#include "base/error.h"
#include "hub/cancel.h"
#include "hub/park.h"
#include "sync/group.h"

/* Who waits for a group's end; on his stack. */
struct watcher {
    struct gev__wait wait; /* first; on p->watchers */
    size_t but;            /* with so many left it is over: himself */
    bool everybody;        /* helpers too */
    bool fail_fast;        /* the first failure kills the rest */
    int error;             /* that failure, or 0 */
};

static struct watcher *watcher_of(struct gev__wait *w)
{
    return gev__container_of(w, struct watcher, wait);
}

static bool is_over(const struct gev_group *p, const struct watcher *w)
{
    return p->count + p->granted + (w->everybody ? p->helpers : 0) <= w->but;
}

static struct watcher watcher_for(const struct gev_hub *hub,
                                  const struct gev_group *p, bool everybody)
{
    const struct gev__member *self = gev__group_find(p, hub->current);

    return (struct watcher){
        .everybody = everybody,
        .but = self != NULL && (everybody || self->role == GEV__MEMBER),
    };
}

/* Parks until it is over. Hold the group if you need it afterwards. */
static int watch(struct gev_hub *hub, struct gev_group *p, struct watcher *w,
                 int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_GROUP, .object = p};

    if (is_over(p, w)) {
        return 0;
    }
    gev__group_ref(p);
    int rc = gev__waitq_park(hub, &p->watchers, &w->wait, what, deadline);
    gev__group_unref(p);
    return rc;
}

/* --- telling -------------------------------------------------------------- */

/* Whether anybody who still waits wants the rest killed for this failure. */
static bool tell_of_failure(struct gev_group *p, int error)
{
    bool wanted = false;

    for (struct gev__wait *w = p->watchers.first; w != NULL; w = w->next) {
        struct watcher *watcher = watcher_of(w);
        if (watcher->fail_fast && watcher->error == 0 &&
            w->greenlet->state == GEV__PARKED) {
            watcher->error = error;
            p->killers++; /* until it leaves */
            wanted = true;
        }
    }
    return wanted;
}

static void tell_of_end(struct gev_group *p)
{
    struct gev__wait *next;

    for (struct gev__wait *w = p->watchers.first; w != NULL; w = next) {
        next = w->next;
        if (is_over(p, watcher_of(w))) {
            gev__waitq_remove(w);
            gev__wake(w->greenlet, 0);
        }
    }
}

void gev__group_note_end(struct gev_group *p, int error)
{
    if (error != 0 && error != ECANCELED) {
        if (p->error == 0) {
            p->error = error;
        }
        if (!gev__waitq_is_empty(&p->watchers) && tell_of_failure(p, error)) {
            gev__group_kill_all(p, NULL);
        }
    }
    /* Nobody is content with more than himself left. */
    if (!gev__waitq_is_empty(&p->watchers) && p->count + p->granted <= 1) {
        tell_of_end(p);
    }
}

/* --- joining -------------------------------------------------------------- */

static int join_group(struct gev_hub *hub, struct gev_group *p, double timeout,
                      bool fail_fast)
{
    int64_t deadline = 0;
    int rc = gev__group_enter(hub, p);

    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    if (rc == 0 && gev__group_has(p, hub->current)) {
        rc = -EDEADLK;
    }
    if (rc < 0) {
        return rc;
    }
    struct watcher w = {.fail_fast = fail_fast};
    gev__group_ref(p);
    rc = watch(hub, p, &w, deadline);
    p->killers -= w.error != 0;
    gev__group_unref(p);
    return rc == 0 ? -w.error : rc;
}

/* --- killing -------------------------------------------------------------- */

/* A member that kills its group: it is the last. */
static int kill_self(struct gev_hub *hub, const struct gev_group *p)
{
    struct gev__member *self = gev__group_find(p, hub->current);

    if (self == NULL || self->killed) {
        return 0;
    }
    gev__member_kill(self);
    return -ECANCELED;
}

static int kill_group(struct gev_hub *hub, struct gev_group *p, double timeout)
{
    int64_t deadline = 0;
    int rc = gev__group_enter(hub, p);

    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    if (rc < 0) {
        return rc;
    }
    gev__group_ref(p);
    gev__group_kill_all(p, hub->current);
    if (deadline != 0) {
        struct watcher w = watcher_for(hub, p, true);
        p->killers++;
        rc = watch(hub, p, &w, deadline);
        p->killers--;
    }
    if (rc == 0) {
        rc = kill_self(hub, p);
    }
    gev__group_unref(p);
    return rc;
}

/* --- freeing -------------------------------------------------------------- */

/* Those who wait for a slot get none any more. */
static void turn_away(struct gev_group *p)
{
    struct gev__list *node;

    gev__group_drop_queued(p, ECANCELED);
    while ((node = gev__list_pop(&p->claims)) != NULL) {
        const struct gev__claim *c =
            gev__container_of(node, struct gev__claim, node);
        gev__wake(c->waiter, -EPIPE);
    }
    gev__waitq_wake_all(&p->available, 0);
}

static void free_group(struct gev_hub *hub, struct gev_group *p)
{
    p->freed = true;
    p->killers++; /* for good */
    if (gev__group_has(p, hub->current)) {
        gev__group_leave(gev__group_find(p, hub->current));
    }
    turn_away(p);
    gev__group_kill_all(p, hub->current);

    struct watcher w = watcher_for(hub, p, true);
    hub->current->shields++;
    /* If it fails, the records keep the group until the last has ended. */
    (void)watch(hub, p, &w, GEV__NEVER);
    hub->current->shields--;
    gev__group_unref(p);
}

/* --- public --------------------------------------------------------------- */

int gev_group_join(gev_group *p, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(join_group(hub, p, timeout, false));
}

int gev_group_join_error(gev_group *p, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(join_group(hub, p, timeout, true));
}

int gev_group_kill(gev_group *p, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(kill_group(hub, p, timeout));
}

void gev_group_free(gev_group *p)
{
    struct gev_hub *hub = gev__thread_hub;

    if (p == NULL) {
        return;
    }
    struct gev_hub *owner = gev__owner_hub(&p->owner);
    if (owner == NULL) {
        gev__group_unref(p); /* its hub is closed, nobody is left */
    } else if (owner == hub) {
        free_group(hub, p);
    }
}
