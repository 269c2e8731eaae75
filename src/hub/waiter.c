/* SPDX-License-Identifier: MIT */
#include "base/error.h"
#include "hub/greenlet.h"
#include "hub/sched.h"
#include "hub/waitq.h"

#include <gev/hub.h>

struct waiter {
    struct gev__waitq getter; /* the one in gev_waiter_get, until it runs */
    void *value;
    int error; /* what is there is an error, if not 0 */
    bool full; /* something is there */
};
static_assert(sizeof(struct waiter) <= sizeof(gev_waiter), "grow gev_waiter");

static struct waiter *waiter_of(gev_waiter *w)
{
    return (struct waiter *)(void *)w;
}

static void leave(struct waiter *w, void *value, int error)
{
    w->value = value;
    w->error = error;
    w->full = true;
    if (!gev__waitq_is_empty(&w->getter)) {
        gev__wake(w->getter.first->greenlet, 0);
    }
}

static int take(struct gev_hub *hub, struct waiter *w, void **ret_value,
                int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_WAITER, .object = w};

    if (!gev__waitq_is_empty(&w->getter)) {
        return -EBUSY;
    }
    if (!w->full) {
        struct gev__wait wait;
        int rc = gev__waitq_park(hub, &w->getter, &wait, what, deadline);
        if (rc < 0) {
            return rc; /* what came meanwhile is there for the next get */
        }
    }
    w->full = false;
    if (w->error != 0) {
        return -w->error;
    }
    if (ret_value != NULL) {
        *ret_value = w->value;
    }
    return 0;
}

/* --- public --------------------------------------------------------------- */

void gev_waiter_init(gev_waiter *w)
{
    if (w != NULL) {
        *waiter_of(w) = (struct waiter){.full = false};
    }
}

int gev_waiter_get(gev_waiter *w, void **value, double timeout)
{
    struct gev_hub *hub = gev__hub_get();
    int64_t deadline;

    if (hub == NULL) {
        return -1;
    }
    int rc = w == NULL ? -EINVAL : gev__deadline(hub, timeout, &deadline);
    return (int)gev__ret(rc < 0 ? rc
                                : take(hub, waiter_of(w), value, deadline));
}

void gev_waiter_switch(gev_waiter *w, void *value)
{
    if (w != NULL) {
        leave(waiter_of(w), value, 0);
    }
}

void gev_waiter_throw(gev_waiter *w, int error)
{
    if (w != NULL) {
        leave(waiter_of(w), NULL, error > 0 ? error : EINVAL);
    }
}
