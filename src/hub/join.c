/* SPDX-License-Identifier: MIT */

/* Waiting for greenlets to end. */

#include "hub/join.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "hub/link.h"
#include "hub/park.h"

/* Joins with a link on this stack: no allocation. */
int gev__join(struct gev_hub *hub, struct gev_greenlet *g, int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_JOIN, .object = g};

    if (g == hub->current) {
        return -EDEADLK;
    }
    if (gev__greenlet_is_dead(g)) {
        return 0;
    }
    struct gev__link link = {.kind = GEV__LINK_JOIN, .greenlet = hub->current};
    gev__list_push_back(&g->links, &link.node);
    int rc = gev__park_until_inline(hub, what, deadline);
    gev__list_remove(&link.node);
    return rc;
}

static int check_all(struct gev_hub *hub, gev_greenlet *const g[], size_t n)
{
    if (g == NULL && n > 0) {
        return -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        if (g[i] == NULL) {
            continue;
        }
        if (g[i] == hub->current) {
            return -EDEADLK;
        }
        if (g[i]->hub != hub) {
            return -EPERM;
        }
    }
    return 0;
}

static ssize_t count_dead(gev_greenlet *const g[], size_t n)
{
    ssize_t dead = 0;

    for (size_t i = 0; i < n; i++) {
        dead += g[i] != NULL && gev__greenlet_is_dead(g[i]);
    }
    return dead;
}

/* One after the other: every entry must end anyway, and nothing is allocated.
 */
ssize_t gev__joinall(struct gev_hub *hub, gev_greenlet *const g[], size_t n,
                     int64_t deadline)
{
    int rc = check_all(hub, g, n);

    for (size_t i = 0; i < n && rc == 0; i++) {
        if (g[i] != NULL) {
            rc = gev__join(hub, g[i], deadline);
        }
    }
    if (rc < 0 && !gev__is_own_timeout(hub, rc, deadline)) {
        return rc;
    }
    return count_dead(g, n);
}

/* --- the first failure ---------------------------------------------------- */

static int failure_of(const struct gev_greenlet *g)
{
    return gev__greenlet_is_dead(g) && g->error != ECANCELED ? g->error : 0;
}

/* The link's order among the ends is the order in time. */
struct first_error {
    struct gev_greenlet *joiner;
    size_t left; /* entries not yet ended */
    int error;   /* of the first that failed, or 0 */
};

static void note_end(gev_greenlet *g, void *arg)
{
    struct first_error *f = arg;

    f->left--;
    if (f->error == 0) {
        f->error = failure_of(g);
    }
    if (f->left == 0 || f->error != 0) {
        gev__wake(f->joiner, 0);
    }
}

static int wait_first_error(struct gev_hub *hub, gev_greenlet *const g[],
                            size_t n, int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_JOIN, .object = g[0]};
    struct first_error f = {.joiner = hub->current};
    struct gev__link *links = gev__calloc(n, sizeof(*links));

    if (links == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        gev__list_init(&links[i].node);
        if (g[i] != NULL && !gev__greenlet_is_dead(g[i])) {
            links[i].kind = GEV__LINK_NOTE;
            links[i].fn = note_end;
            links[i].arg = &f;
            gev__list_push_back(&g[i]->links, &links[i].node);
            f.left++;
        }
    }
    int rc = 0;
    while (rc == 0 && f.left > 0 && f.error == 0) {
        rc = gev__park_until(hub, what, deadline);
    }
    for (size_t i = 0; i < n; i++) {
        gev__list_remove(&links[i].node);
    }
    gev__free(links);
    return f.error != 0 ? -f.error : rc;
}

static int joinall_error(struct gev_hub *hub, gev_greenlet *const g[], size_t n,
                         int64_t deadline)
{
    int rc = check_all(hub, g, n);
    size_t left = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        if (g[i] != NULL) {
            rc = -failure_of(g[i]);
            left += !gev__greenlet_is_dead(g[i]);
        }
    }
    if (rc < 0 || left == 0) {
        return rc;
    }
    return deadline == 0 ? -ETIMEDOUT : wait_first_error(hub, g, n, deadline);
}

static int get(struct gev_hub *hub, struct gev_greenlet *g, void **ret_value,
               int64_t deadline)
{
    gev__greenlet_ref(g); /* others may drop theirs meanwhile */
    int rc = gev__join(hub, g, deadline);
    if (rc == 0) {
        rc = -g->error;
    }
    if (rc == 0 && ret_value != NULL) {
        *ret_value = g->value;
    }
    gev__greenlet_unref(g);
    return rc;
}

/* --- public --------------------------------------------------------------- */

static GEV__NOINLINE int join_timeout(gev_greenlet *g, double timeout)
{
    struct gev_hub *hub = gev__hub_get();
    int64_t deadline = 0;

    if (hub == NULL) {
        return -1;
    }
    int rc = gev__greenlet_is_mine(hub, g);
    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    return (int)gev__ret(rc < 0 ? rc : gev__join(hub, g, deadline));
}

/* Without a timeout, and with nothing that speaks against parking, everything
 * the wait needs is in the control block, and the call ends in the switch. */
int gev_join(gev_greenlet *g, double timeout)
{
    struct gev_hub *hub = gev__thread_hub;

    if (gev__unlikely(hub == NULL || g == NULL || g->hub != hub ||
                      timeout != GEV_FOREVER)) {
        return join_timeout(g, timeout);
    }
    if (gev__greenlet_is_dead(g)) {
        return 0;
    }
    struct gev_greenlet *self = hub->current;
    if (gev__unlikely(self->alerts != 0 || g == self)) {
        return join_timeout(g, timeout);
    }
    self->join.kind = GEV__LINK_JOIN;
    self->join.greenlet = self;
    gev__list_push_back(&g->links, &self->join.node);
    self->state = GEV__PARKED;
    self->parks++;
    self->wait_kind = GEV__WAIT_JOIN | GEV__WAIT_DIRECT;
    self->wait_object = g;
    self->parked_at = hub->now;
    self->ctx.rc = 0;
    return gev__switch_and_return(hub, self, gev__pick_inline(hub));
}

ssize_t gev_joinall(gev_greenlet *const g[], size_t n, double timeout)
{
    struct gev_hub *hub = gev__hub_get();
    int64_t deadline;

    if (hub == NULL) {
        return -1;
    }
    int rc = gev__deadline(hub, timeout, &deadline);
    return gev__ret(rc < 0 ? rc : gev__joinall(hub, g, n, deadline));
}

int gev_joinall_error(gev_greenlet *const g[], size_t n, double timeout)
{
    struct gev_hub *hub = gev__hub_get();
    int64_t deadline;

    if (hub == NULL) {
        return -1;
    }
    int rc = gev__deadline(hub, timeout, &deadline);
    return (int)gev__ret(rc < 0 ? rc : joinall_error(hub, g, n, deadline));
}

int gev_get(gev_greenlet *g, void **value, double timeout)
{
    struct gev_hub *hub = gev__hub_get();
    int64_t deadline = 0;

    if (hub == NULL) {
        return -1;
    }
    int rc = gev__greenlet_is_mine(hub, g);
    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    return (int)gev__ret(rc < 0 ? rc : get(hub, g, value, deadline));
}
