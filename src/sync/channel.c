/* SPDX-License-Identifier: MIT */

/* Channels: sending and receiving. */

#include "sync/channel.h"

#include "base/alloc.h"
#include "base/error.h"
#include "hub/park.h"

#include <math.h>
#include <string.h>

int gev__channel_announce_slow(struct gev_hub *hub, struct gev_channel *c)
{
    int rc = gev__park_check(hub);

    if (rc == 0) {
        gev__waitable_notify(&c->waitable);
    }
    return rc;
}

int gev__channel_let_run(struct gev_hub *hub)
{
    /* The item is gone: a send that cannot yield has succeeded all the same. */
    return hub->current->alerts != 0 ? 0 : gev__yield(hub);
}

GEV__INLINE int check(struct gev_hub *hub, struct gev_channel *c,
                      double timeout)
{
    if (gev__unlikely(c == NULL || isnan(timeout))) {
        return -EINVAL;
    }
    return gev__waitable_bind(&c->waitable, hub);
}

/* Parks a sender or a receiver that cannot park directly. */
static int park(struct gev_hub *hub, struct gev_channel *c,
                struct gev__waitq *waiters, struct gev__channel_wait *w,
                enum gev__wait_kind kind, double timeout)
{
    const struct gev__wait_for what = {.kind = kind, .object = c};
    int64_t deadline;
    int rc = gev__deadline(hub, timeout, &deadline);

    if (rc == 0) {
        rc = gev__waitq_park(hub, waiters, &w->wait, what, deadline);
    }
    return rc > 0 ? -EPIPE : rc;
}

/* --- sending -------------------------------------------------------------- */

static int send_item(struct gev_hub *hub, struct gev_channel *c, void *item,
                     double timeout)
{
    struct gev__channel_wait wait = {.item = item};
    int rc = check(hub, c, timeout);

    if (rc == 0) {
        rc = gev__channel_try_send(c, item);
    }
    if (rc > 0) {
        return timeout > 0 ? gev__channel_let_run(hub) : 0;
    }
    if (rc != -EAGAIN) {
        return rc;
    }
    if (timeout <= 0) {
        return -ETIMEDOUT;
    }
    rc = gev__channel_announce(hub, c);
    return rc < 0 ? rc
                  : park(hub, c, &c->senders, &wait, GEV__WAIT_CHANNEL_SEND,
                         timeout);
}

/* gev__channel_let_run() as the last thing a public function does: see
 * gev__waitq_park_direct(). There must be no alerts. */
GEV__INLINE int let_run_and_return(struct gev_hub *hub)
{
    struct gev_greenlet *g = hub->current;

    /* Not the next itself: the receiver is ahead of it. */
    gev__ready_push_inline(hub, g);
    g->ctx.rc = 0;
    return gev__switch_and_return(hub, g, gev__pick_inline(hub));
}

/* gev_channel_send(), all of it. */
static GEV__NOINLINE int send_with_care(struct gev_channel *c, void *item,
                                        double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(send_item(hub, c, item, timeout));
}

/* --- receiving ------------------------------------------------------------ */

static int receive(struct gev_hub *hub, struct gev_channel *c, void **ret_item,
                   double timeout)
{
    struct gev__channel_wait wait = {.done = 0};
    int rc = check(hub, c, timeout);

    if (rc == 0) {
        rc = gev__channel_try_recv(c, ret_item);
    }
    if (rc != -EAGAIN) {
        return rc;
    }
    if (timeout <= 0) {
        return -ETIMEDOUT;
    }
    rc = park(hub, c, &c->receivers, &wait, GEV__WAIT_CHANNEL_RECV, timeout);
    if (rc == 0) {
        *ret_item = wait.item;
    }
    return rc;
}

/* gev_channel_recv(), all of it. */
static GEV__NOINLINE int receive_with_care(struct gev_channel *c, void **item,
                                           double timeout)
{
    struct gev_hub *hub = gev__hub_get();
    void *discarded;

    return hub == NULL
               ? -1
               : (int)gev__ret(receive(hub, c, item != NULL ? item : &discarded,
                                       timeout));
}

/* --- closing -------------------------------------------------------------- */

static void wake_all(struct gev__waitq *waiters)
{
    struct gev__wait *w;

    while ((w = gev__waitq_first(waiters)) != NULL) {
        if (gev__channel_is_direct(w)) {
            gev__wake(w->greenlet, -EPIPE);
        } else {
            w->greenlet->wake_rc = gev__channel_wait_of(w)->done + 1;
            gev__channel_wake(waiters, w, w->greenlet);
        }
    }
}

static void close_channel(struct gev_channel *c)
{
    c->closed = true;
    wake_all(&c->receivers);
    wake_all(&c->senders);
    gev__waitable_notify(&c->waitable);
}

static int check_and_close(struct gev_hub *hub, struct gev_channel *c)
{
    int rc = check(hub, c, 0);

    if (rc == 0) {
        close_channel(c);
    }
    return rc;
}

static int make(struct gev_hub *hub, size_t capacity,
                struct gev_channel **ret_channel)
{
    size_t size;

    if (__builtin_mul_overflow(capacity, sizeof(void *), &size) ||
        __builtin_add_overflow(size, sizeof(struct gev_channel), &size)) {
        return -ENOMEM;
    }
    struct gev_channel *c = gev__malloc(size);
    if (c == NULL) {
        return -ENOMEM;
    }
    memset(c, 0, sizeof(*c));
    c->capacity = capacity;
    gev__owner_set(&c->waitable.owner, hub);
    *ret_channel = c;
    return 0;
}

static bool is_ready(const struct gev_waitable *w)
{
    const struct gev_channel *c = (const struct gev_channel *)(const void *)w;
    const struct gev__wait *sender = c->senders.first;

    while (sender != NULL && sender->greenlet->state != GEV__PARKED) {
        sender = sender->next;
    }
    return sender != NULL || c->count > 0 || c->closed;
}

static const struct gev__waitable_ops channel_ops = {.name = "channel",
                                                     .is_ready = is_ready};

/* --- public --------------------------------------------------------------- */

gev_channel *gev_channel_new(size_t capacity)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev_channel *c;

    if (hub == NULL) {
        return NULL;
    }
    int rc = make(hub, capacity, &c);
    return rc < 0 ? gev__ret_null(rc) : c;
}

void gev_channel_free(gev_channel *c)
{
    if (c != NULL) {
        close_channel(c);
        gev__free(c);
    }
}

/* Apart, so that receiving what is there needs no frame. */
static GEV__NOINLINE int park_to_receive(struct gev_hub *hub,
                                         struct gev_channel *c, void **item)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_CHANNEL_RECV,
                                       .object = c};

    if (gev__unlikely(c->closed) || gev__unlikely(hub->current->alerts != 0)) {
        return receive_with_care(c, item, GEV_FOREVER);
    }
    hub->current->direct_item = item;
    return gev__waitq_park_direct(hub, &c->receivers, what);
}

/* The next two deal with the hot cases, and leave the others alone. A channel
 * has a hub, so that a thread without one is among the others. */

int gev_channel_send(gev_channel *c, void *item, double timeout)
{
    struct gev_hub *hub = gev__thread_hub;

    if (gev__unlikely(c == NULL) ||
        gev__unlikely(gev__owner_hub(&c->waitable.owner) != hub) ||
        gev__unlikely(timeout != GEV_FOREVER) || gev__unlikely(c->closed) ||
        gev__unlikely(c->waitable.observers.first != NULL) ||
        gev__unlikely(hub->current->alerts != 0)) {
        return send_with_care(c, item, timeout);
    }
    struct gev__wait *w = c->receivers.first;
    if (w != NULL) {
        if (gev__unlikely(w->greenlet->state != GEV__PARKED)) {
            return send_with_care(c, item, timeout);
        }
        gev__channel_give(c, w, item);
        return c->capacity > 0 ? 0 : let_run_and_return(hub);
    }
    if (c->count < c->capacity) {
        gev__channel_store(c, item);
        return 0;
    }
    const struct gev__wait_for what = {.kind = GEV__WAIT_CHANNEL_SEND,
                                       .object = c};
    hub->current->direct_item = item;
    return gev__waitq_park_direct(hub, &c->senders, what);
}

int gev_channel_recv(gev_channel *c, void **item, double timeout)
{
    struct gev_hub *hub = gev__thread_hub;

    if (gev__unlikely(c == NULL) ||
        gev__unlikely(gev__owner_hub(&c->waitable.owner) != hub) ||
        gev__unlikely(timeout != GEV_FOREVER)) {
        return receive_with_care(c, item, timeout);
    }
    if (item == NULL) {
        item = &hub->current->direct_item; /* discarded */
    }
    struct gev__wait *w = c->senders.first;
    if (w != NULL) {
        if (gev__unlikely(w->greenlet->state != GEV__PARKED || c->count > 0)) {
            return receive_with_care(c, item, timeout);
        }
        *item = gev__channel_take(c, w);
        return 0;
    }
    if (c->count > 0) {
        *item = gev__channel_unstore(c);
        return 0;
    }
    return park_to_receive(hub, c, item);
}

int gev_channel_close(gev_channel *c)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(check_and_close(hub, c));
}

size_t gev_channel_size(const gev_channel *c)
{
    return c == NULL ? 0 : c->count;
}

gev_waitable *gev_channel_waitable(struct gev_channel *c)
{
    if (c == NULL) {
        return NULL;
    }
    c->waitable.ops = &channel_ops;
    return &c->waitable;
}
