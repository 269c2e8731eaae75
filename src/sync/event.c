/* SPDX-License-Identifier: MIT */

/* Events: a flag and those who wait for it. */

#include "base/error.h"
#include "hub/task.h"
#include "hub/waitable.h"

#include <gev/event.h>

#include <string.h>

struct event {
    struct gev_waitable waitable; /* first */
    struct gev__waitq waiters;
    struct gev__waitq woken; /* those whom a set has woken, until they run */
    bool set;
};
static_assert(sizeof(struct event) <= sizeof(gev_event), "grow gev_event");

static struct event *event_of(const gev_event *e)
{
    return (struct event *)(uintptr_t)e;
}

static void set(struct event *e)
{
    struct gev__wait *w;

    if (e->set) {
        return;
    }
    e->set = true;
    while ((w = gev__waitq_wake(&e->waiters, 0)) != NULL) {
        gev__waitq_push(&e->woken, w);
    }
    gev__waitable_notify(&e->waitable);
}

GEV__INLINE int wait_for_set(struct gev_hub *hub, struct event *e,
                             int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_EVENT, .object = e};
    struct gev__wait wait;

    if (e->set && (gev__waitq_is_empty(&e->woken) || deadline == 0 ||
                   hub->current->alerts != 0)) {
        return 0;
    }
    if (e->set) {
        /* Nobody overtakes those who waited for this. They are on the ready
         * queue: to get behind them, one goes to its end. */
        return gev__yield(hub);
    }
    if (deadline == 0) {
        return -ETIMEDOUT;
    }
    return gev__waitq_park(hub, &e->waiters, &wait, what, deadline);
}

GEV__INLINE int wait_event(struct gev_hub *hub, gev_event *event,
                           double timeout)
{
    int64_t deadline = 0;

    if (event == NULL) {
        return -EINVAL;
    }
    struct event *e = event_of(event);
    int rc = gev__waitable_bind(&e->waitable, hub);
    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    return rc < 0 ? rc : wait_for_set(hub, e, deadline);
}

static bool is_set(const struct gev_waitable *w)
{
    return ((const struct event *)(const void *)w)->set;
}

static const struct gev__waitable_ops event_ops = {.name = "event",
                                                   .is_ready = is_set};

static void set_posted(void *event, void *value, int number)
{
    (void)value;
    (void)number;
    set(event);
}

/* Fresh, and still the gev_waitable it may be known as. */
static void reset(struct event *e)
{
    memset(e, 0, sizeof(*e));
    e->waitable.ops = &event_ops;
}

/* --- public --------------------------------------------------------------- */

void gev_event_init(gev_event *e)
{
    struct gev_hub *hub = gev__hub_get();

    if (e != NULL) {
        reset(event_of(e));
        if (hub != NULL) {
            gev__owner_set(&event_of(e)->waitable.owner, hub);
        }
    }
}

int gev_event_fini(gev_event *e)
{
    if (e == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    if (!gev__waitq_is_empty(&event_of(e)->waiters) ||
        !gev__waitq_is_empty(&event_of(e)->waitable.observers)) {
        return (int)gev__ret(-EBUSY);
    }
    while (!gev__waitq_is_empty(&event_of(e)->woken)) {
        gev__waitq_remove(event_of(e)->woken.first); /* they need it no more */
    }
    reset(event_of(e));
    return 0;
}

void gev_event_set(gev_event *e)
{
    if (e != NULL) {
        set(event_of(e));
    }
}

void gev_event_clear(gev_event *e)
{
    if (e != NULL) {
        event_of(e)->set = false;
    }
}

bool gev_event_is_set(const gev_event *e)
{
    return e != NULL && event_of(e)->set;
}

int gev_event_wait(gev_event *e, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(wait_event(hub, e, timeout));
}

int gev_event_post(gev_event *e)
{
    struct gev_hub *hub =
        e == NULL ? NULL : gev__owner_hub(&event_of(e)->waitable.owner);

    return (int)gev__ret(
        hub == NULL ? -EINVAL
                    : gev__post_call(hub, set_posted, event_of(e), NULL, 0));
}

gev_waitable *gev_event_waitable(struct gev_event *e)
{
    if (e == NULL) {
        return NULL;
    }
    event_of(e)->waitable.ops = &event_ops;
    return &event_of(e)->waitable;
}
