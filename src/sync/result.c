/* SPDX-License-Identifier: MIT */

/* Results: one value or one error, for any number of greenlets. */

#include "sync/result.h"

#include "base/error.h"
#include "hub/task.h"
#include "hub/waitable.h"

#include <gev/event.h>

#include <string.h>

struct result {
    struct gev_waitable waitable; /* first */
    struct gev__waitq waiters;
    void *value;
    int error; /* 0: there is a value; valid once it is ready */
    bool ready;
};
static_assert(sizeof(struct result) <= sizeof(gev_result), "grow gev_result");

/* A getter's place: it gets what it needs with the wake, for the result may be
 * gone when it runs. */
struct getter {
    struct gev__wait wait; /* first */
    void *value;
    int error;
};

static struct result *result_of(const gev_result *r)
{
    return (struct result *)(uintptr_t)r;
}

/* The first to settle it wins. */
static int settle(struct result *r, void *value, int error)
{
    struct gev__wait *wait;

    if (r->ready) {
        return -EALREADY;
    }
    r->ready = true;
    r->value = value;
    r->error = error;
    while ((wait = gev__waitq_wake(&r->waiters, 0)) != NULL) {
        struct getter *g = (struct getter *)(void *)wait;
        g->value = value;
        g->error = error;
    }
    gev__waitable_notify(&r->waitable);
    return 0;
}

int gev__result_bind(gev_result *r, struct gev_hub *hub)
{
    return gev__waitable_bind(&result_of(r)->waitable, hub);
}

int gev__result_settle(gev_result *r, void *value, int error)
{
    return settle(result_of(r), value, error);
}

static int settle_here(gev_result *r, void *value, int error)
{
    struct gev_hub *hub = gev__hub_get();

    if (r == NULL) {
        return -EINVAL;
    }
    if (hub == NULL) {
        return -ENOMEM;
    }
    int rc = gev__result_bind(r, hub);
    return rc < 0 ? rc : settle(result_of(r), value, error);
}

GEV__INLINE int get(struct gev_hub *hub, gev_result *result, void **ret_value,
                    double timeout)
{
    struct result *r = result_of(result);
    const struct gev__wait_for what = {.kind = GEV__WAIT_RESULT, .object = r};
    struct getter g = {.value = NULL};
    int64_t deadline;

    if (r == NULL) {
        return -EINVAL;
    }
    int rc = gev__waitable_bind(&r->waitable, hub);
    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    if (rc == 0 && r->ready) {
        g.value = r->value;
        g.error = r->error;
    } else if (rc == 0) {
        rc = gev__waitq_park(hub, &r->waiters, &g.wait, what, deadline);
    }
    if (rc == 0) {
        rc = -g.error;
    }
    if (rc == 0 && ret_value != NULL) {
        *ret_value = g.value;
    }
    return rc;
}

static bool is_ready(const struct gev_waitable *w)
{
    return ((const struct result *)(const void *)w)->ready;
}

static const struct gev__waitable_ops result_ops = {.name = "result",
                                                    .is_ready = is_ready};

/* One that is ready already keeps what it has. */
static void settle_posted(void *result, void *value, int error)
{
    settle(result, value, error);
}

static int post(const gev_result *result, void *value, int error)
{
    struct result *r = result_of(result);
    struct gev_hub *hub = r == NULL ? NULL : gev__owner_hub(&r->waitable.owner);

    if (hub == NULL) {
        return -EINVAL;
    }
    return gev__post_call(hub, settle_posted, r, value, error);
}

/* Fresh, and still the gev_waitable it may be known as. */
static void reset(struct result *r)
{
    memset(r, 0, sizeof(*r));
    r->waitable.ops = &result_ops;
}

/* --- public --------------------------------------------------------------- */

void gev_result_init(gev_result *r)
{
    struct gev_hub *hub = gev__hub_get();

    if (r != NULL) {
        reset(result_of(r));
        if (hub != NULL) {
            gev__owner_set(&result_of(r)->waitable.owner, hub);
        }
    }
}

int gev_result_fini(gev_result *r)
{
    if (r == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    if (!gev__waitq_is_empty(&result_of(r)->waiters) ||
        !gev__waitq_is_empty(&result_of(r)->waitable.observers)) {
        return (int)gev__ret(-EBUSY);
    }
    reset(result_of(r));
    return 0;
}

int gev_result_set(gev_result *r, void *value)
{
    return (int)gev__ret(settle_here(r, value, 0));
}

int gev_result_fail(gev_result *r, int error)
{
    return (int)gev__ret(error <= 0 ? -EINVAL : settle_here(r, NULL, error));
}

int gev_result_get(gev_result *r, void **value, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(get(hub, r, value, timeout));
}

bool gev_result_ready(const gev_result *r)
{
    return r != NULL && result_of(r)->ready;
}

bool gev_result_successful(const gev_result *r)
{
    return r != NULL && result_of(r)->ready && result_of(r)->error == 0;
}

void gev_result_follow(gev_greenlet *g, void *result)
{
    if (g != NULL && result != NULL && gev__greenlet_is_dead(g)) {
        settle(result, g->value, g->error);
    }
}

int gev_result_post(gev_result *r, void *value)
{
    return (int)gev__ret(post(r, value, 0));
}

int gev_result_post_error(gev_result *r, int error)
{
    return (int)gev__ret(error <= 0 ? -EINVAL : post(r, NULL, error));
}

gev_waitable *gev_result_waitable(struct gev_result *r)
{
    if (r == NULL) {
        return NULL;
    }
    result_of(r)->waitable.ops = &result_ops;
    return &result_of(r)->waitable;
}
