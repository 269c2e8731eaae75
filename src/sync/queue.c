/* SPDX-License-Identifier: MIT */

/* Queues: putting, getting, peeking, joining. */

#include "sync/queue.h"

#include "base/alloc.h"
#include "base/error.h"
#include "hub/park.h"

#include <math.h>
#include <string.h>

/* Bounded queues of at most so many items never need memory again. */
#define ROOM_AT_ONCE 64u

static struct gev__queue_taker *taker_of(struct gev__wait *w)
{
    return gev__container_of(w, struct gev__queue_taker, wait);
}

/* A getter without a deadline: no more than g->direct and g->direct_item, which
 * says where its item goes. See gev__waitq_park_direct(). */
static bool is_direct(const struct gev__wait *w)
{
    return w == &w->greenlet->direct;
}

static bool peeks(struct gev__wait *w)
{
    return !is_direct(w) && taker_of(w)->peeks;
}

static void *item_of_putter(struct gev__wait *w)
{
    return gev__container_of(w, struct gev__queue_putter, wait)->item;
}

static int check(struct gev_hub *hub, struct gev_queue *q, double timeout)
{
    if (gev__unlikely(q == NULL || isnan(timeout))) {
        return -EINVAL;
    }
    return gev__waitable_bind(&q->waitable, hub);
}

/* --- items ---------------------------------------------------------------- */

/* The first who waits to get, peekers passed over. */
static struct gev__wait *first_getter(struct gev_queue *q)
{
    struct gev__wait *w = gev__waitq_first(&q->getters);

    while (w != NULL && (w->greenlet->state != GEV__PARKED || peeks(w))) {
        w = w->next;
    }
    return w;
}

int gev__queue_deliver(struct gev_queue *q, void *item)
{
    struct gev__wait *getter = first_getter(q);
    struct gev__wait *w;

    if (getter == NULL) {
        int rc = gev__store_reserve(&q->store);
        if (rc < 0) {
            return rc;
        }
        gev__store_push(&q->store, item);
    }
    /* Peekers before it run before it, too: then the item is still good. If it
     * is stored somebody may take it before they run: they have to look. */
    while ((w = gev__waitq_first(&q->getters)) != getter) {
        taker_of(w)->item = item;
        gev__waitq_wake(&q->getters,
                        getter != NULL ? GEV__QUEUE_SERVED : GEV__QUEUE_LOOK);
        if (getter == NULL) {
            gev__waitq_push(&q->lookers, w);
        }
    }
    if (getter == NULL) {
        gev__waitable_notify(&q->waitable);
        return 0;
    }
    if (is_direct(getter)) {
        *(void **)getter->greenlet->direct_item = item;
    } else {
        taker_of(getter)->item = item;
    }
    gev__waitq_wake(&q->getters, GEV__QUEUE_SERVED);
    return 1;
}

/* An item that is not a message's: the limit counts it if it is stored. */
static int deliver_and_count(struct gev_queue *q, void *item)
{
    int rc = gev__queue_deliver(q, item);

    if (rc < 0) {
        return rc;
    }
    q->unfinished++;
    if (rc == 0) {
        gev__queue_count_taken(q, (size_t)-1);
    }
    return 0;
}

void gev__queue_refill(struct gev_queue *q)
{
    struct gev__wait *w;

    gev__queue_refill_late(q);
    /* Without memory they stay parked: the next get has room for one. */
    while (!gev__queue_is_full(q) &&
           (w = gev__waitq_first(&q->putters)) != NULL &&
           deliver_and_count(q, item_of_putter(w)) == 0) {
        gev__waitq_wake(&q->putters, GEV__QUEUE_SERVED);
    }
}

/* Whether nothing will ever come out of it again. */
static bool is_drained(const struct gev_queue *q)
{
    return q->is_shut && q->store.count == 0 &&
           (q->drops || gev__queue_under_way(q) == 0);
}

void gev__queue_settle(struct gev_queue *q)
{
    struct gev__wait *w;

    if (gev__likely(!q->is_shut) || !is_drained(q)) {
        return;
    }
    while ((w = gev__waitq_first(&q->getters)) != NULL) {
        if (is_direct(w)) {
            gev__wake(w->greenlet, -EPIPE);
        } else {
            gev__waitq_wake(&q->getters, GEV__QUEUE_SHUT);
        }
    }
}

/* --- put ------------------------------------------------------------------ */

static int park(struct gev_hub *hub, struct gev__waitq *waiters,
                struct gev__wait *w, enum gev__wait_kind kind,
                const struct gev_queue *q, int64_t deadline)
{
    const struct gev__wait_for what = {.kind = kind, .object = q};
    int rc = gev__waitq_park(hub, waiters, w, what, deadline);

    return rc == GEV__QUEUE_SHUT ? -EPIPE : rc;
}

static GEV__NOINLINE int put_slow(struct gev_hub *hub, struct gev_queue *q,
                                  void *item, double timeout)
{
    struct gev__queue_putter putter = {.item = item};
    int64_t deadline;

    if (first_getter(q) != NULL ||
        (!gev__queue_is_full(q) && gev__waitq_first(&q->putters) == NULL)) {
        return deliver_and_count(q, item);
    }
    int rc = gev__deadline(hub, timeout, &deadline);
    return rc < 0 ? rc
                  : park(hub, &q->putters, &putter.wait, GEV__WAIT_QUEUE_PUT, q,
                         deadline);
}

GEV__INLINE int put(struct gev_hub *hub, struct gev_queue *q, void *item,
                    double timeout)
{
    int rc = check(hub, q, timeout);

    if (gev__unlikely(rc < 0)) {
        return rc;
    }
    if (gev__unlikely(q->is_shut)) {
        return -EPIPE;
    }
    struct gev__wait *w = q->getters.first;
    if (w != NULL && w->greenlet->state == GEV__PARKED && is_direct(w)) {
        *(void **)w->greenlet->direct_item = item;
        gev__waitq_wake(&q->getters, GEV__QUEUE_SERVED);
        q->unfinished++;
        return 0;
    }
    if (w != NULL || !gev__waitq_is_empty(&q->putters) ||
        gev__queue_is_full(q)) {
        return put_slow(hub, q, item, timeout);
    }
    rc = gev__store_reserve(&q->store);
    if (gev__unlikely(rc < 0)) {
        return rc;
    }
    gev__store_push(&q->store, item);
    q->unfinished++;
    gev__queue_count_taken(q, (size_t)-1);
    gev__waitable_notify(&q->waitable);
    return 0;
}

/* --- get, peek ------------------------------------------------------------ */

static GEV__NOINLINE int get_slow(struct gev_hub *hub, struct gev_queue *q,
                                  void **ret_item, double timeout)
{
    struct gev__queue_taker taker = {.peeks = false};
    struct gev__wait *w = gev__waitq_first(&q->putters);
    int64_t deadline;

    if (w != NULL) {
        /* Messages under way fill the queue; none of them is there yet. */
        *ret_item = item_of_putter(w);
        q->unfinished++;
        gev__waitq_wake(&q->putters, GEV__QUEUE_SERVED);
        return 0;
    }
    if (is_drained(q)) {
        return -EPIPE;
    }
    int rc = gev__deadline(hub, timeout, &deadline);
    if (rc < 0) {
        return rc;
    }
    rc = park(hub, &q->getters, &taker.wait, GEV__WAIT_QUEUE_GET, q, deadline);
    if (rc == 0) {
        *ret_item = taker.item;
    }
    return rc;
}

GEV__INLINE int get(struct gev_hub *hub, struct gev_queue *q, void **ret_item,
                    double timeout)
{
    int rc = check(hub, q, timeout);

    if (gev__unlikely(rc < 0)) {
        return rc;
    }
    if (q->store.count == 0) {
        return get_slow(hub, q, ret_item, timeout);
    }
    *ret_item = gev__store_pop(&q->store);
    gev__queue_count_taken(q, 1);
    if (!gev__waitq_is_empty(&q->putters) ||
        gev__unlikely(q->late_first != NULL)) {
        gev__queue_refill(q);
    }
    return 0;
}

static int peek(struct gev_hub *hub, struct gev_queue *q, void **ret_item,
                double timeout)
{
    struct gev__queue_taker taker = {.peeks = true};
    int64_t deadline;
    int rc = check(hub, q, timeout);

    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    while (rc == 0 && q->store.count == 0) {
        if (is_drained(q)) {
            return -EPIPE;
        }
        rc = park(hub, &q->getters, &taker.wait, GEV__WAIT_QUEUE_GET, q,
                  deadline);
        if (rc == GEV__QUEUE_SERVED) {
            *ret_item = taker.item;
            return 0;
        }
        if (rc == GEV__QUEUE_LOOK) {
            /* Taken before this one ran: it waits again, at the end. */
            rc = taker.gone ? -EPIPE : 0;
        }
    }
    if (rc == 0) {
        *ret_item = gev__store_first(&q->store);
    }
    return rc;
}

/* --- join, shutdown ------------------------------------------------------- */

/* As far as there are so many: one may have been called done before it was
 * got. */
static void subtract_unfinished(struct gev_queue *q, size_t n)
{
    q->unfinished -= n < q->unfinished ? n : q->unfinished;
    if (q->unfinished == 0) {
        gev__waitq_wake_all(&q->joiners, GEV__QUEUE_SERVED);
    }
}

static int task_done(struct gev_hub *hub, struct gev_queue *q)
{
    int rc = check(hub, q, 0);

    if (rc == 0 && q->unfinished == 0) {
        rc = -EINVAL;
    }
    if (rc == 0) {
        subtract_unfinished(q, 1);
    }
    return rc;
}

static int join(struct gev_hub *hub, struct gev_queue *q, double timeout)
{
    struct gev__wait wait;
    int64_t deadline;
    int rc = check(hub, q, timeout);

    if (rc < 0 || q->unfinished == 0) {
        return rc;
    }
    rc = gev__deadline(hub, timeout, &deadline);
    return rc < 0 ? rc
                  : park(hub, &q->joiners, &wait, GEV__WAIT_QUEUE_JOIN, q,
                         deadline);
}

static void drop_items(struct gev_queue *q)
{
    size_t n = q->store.count;

    gev__store_fini(&q->store);
    gev__queue_count_taken(q, n);
    gev__queue_drop_late(q);
    subtract_unfinished(q, n);
}

static void shut(struct gev_queue *q, bool immediate)
{
    q->is_shut = true;
    atomic_fetch_or(&q->posted, 1);
    gev__waitq_wake_all(&q->putters, GEV__QUEUE_SHUT);
    if (immediate) {
        q->drops = true;
        drop_items(q);
    }
    gev__queue_settle(q);
    gev__waitable_notify(&q->waitable);
}

static int shutdown_queue(struct gev_hub *hub, struct gev_queue *q,
                          bool immediate)
{
    int rc = check(hub, q, 0);

    if (rc == 0) {
        shut(q, immediate);
    }
    return rc;
}

/* --- made and freed ------------------------------------------------------- */

static int make(struct gev_hub *hub, enum gev__store_kind kind, size_t maxsize,
                int (*compare)(const void *a, const void *b),
                struct gev_queue **ret_queue)
{
    if (kind == GEV__PRIORITY && compare == NULL) {
        return -EINVAL;
    }
    struct gev_queue *q = gev__calloc(1, sizeof(*q));
    if (q == NULL) {
        return -ENOMEM;
    }
    gev__owner_set(&q->waitable.owner, hub);
    q->maxsize = maxsize;
    q->store.kind = kind;
    q->store.compare = compare;
    if (maxsize > 0 && maxsize <= ROOM_AT_ONCE &&
        gev__store_grow(&q->store, maxsize) < 0) {
        gev__free(q);
        return -ENOMEM;
    }
    *ret_queue = q;
    return 0;
}

static gev_queue *make_or_null(enum gev__store_kind kind, size_t maxsize,
                               int (*compare)(const void *a, const void *b))
{
    struct gev_hub *hub = gev__hub_get();
    struct gev_queue *q;

    if (hub == NULL) {
        return NULL;
    }
    int rc = make(hub, kind, maxsize, compare, &q);
    return rc < 0 ? gev__ret_null(rc) : q;
}

static void free_queue(struct gev_queue *q)
{
    struct gev__wait *w;

    q->is_freed = true;
    gev__waitq_wake_all(&q->joiners, GEV__QUEUE_SHUT);
    shut(q, true);
    while ((w = q->lookers.first) != NULL) {
        taker_of(w)->gone = true;
        gev__waitq_remove(w);
    }
    if (gev__queue_under_way(q) == 0) {
        gev__free(q);
    }
}

static bool is_ready(const struct gev_waitable *w)
{
    const struct gev_queue *q = (const struct gev_queue *)(const void *)w;

    return q->store.count > 0 || q->is_shut;
}

static const struct gev__waitable_ops queue_ops = {.name = "queue",
                                                   .is_ready = is_ready};

/* --- public --------------------------------------------------------------- */

gev_queue *gev_queue_new(size_t maxsize)
{
    return make_or_null(GEV__FIFO, maxsize, NULL);
}

gev_queue *gev_lifo_new(size_t maxsize)
{
    return make_or_null(GEV__LIFO, maxsize, NULL);
}

gev_queue *gev_priority_new(size_t maxsize,
                            int (*cmp)(const void *a, const void *b))
{
    return make_or_null(GEV__PRIORITY, maxsize, cmp);
}

void gev_queue_free(gev_queue *q)
{
    if (q != NULL) {
        free_queue(q);
    }
}

int gev_queue_put(gev_queue *q, void *item, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(put(hub, q, item, timeout));
}

int gev_queue_get(gev_queue *q, void **item, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    if (gev__unlikely(hub == NULL)) {
        return -1;
    }
    void **where = item != NULL ? item : &hub->current->direct_item;
    if (q == NULL || q->store.count > 0 || timeout != GEV_FOREVER ||
        gev__owner_hub(&q->waitable.owner) != hub || q->putters.first != NULL ||
        q->is_shut || hub->current->alerts != 0) {
        return (int)gev__ret(get(hub, q, where, timeout));
    }
    const struct gev__wait_for what = {.kind = GEV__WAIT_QUEUE_GET,
                                       .object = q};
    hub->current->direct_item = where;
    return gev__waitq_park_direct(hub, &q->getters, what);
}

int gev_queue_peek(gev_queue *q, void **item, double timeout)
{
    struct gev_hub *hub = gev__hub_get();
    void *discarded;

    return hub == NULL
               ? -1
               : (int)gev__ret(
                     peek(hub, q, item != NULL ? item : &discarded, timeout));
}

size_t gev_queue_size(const gev_queue *q)
{
    return q == NULL ? 0 : q->store.count;
}

size_t gev_queue_maxsize(const gev_queue *q)
{
    return q == NULL ? 0 : q->maxsize;
}

bool gev_queue_empty(const gev_queue *q)
{
    return q == NULL || q->store.count == 0;
}

bool gev_queue_full(const gev_queue *q)
{
    return q != NULL && gev__queue_is_full(q);
}

size_t gev_queue_unfinished(const gev_queue *q)
{
    return q == NULL ? 0 : q->unfinished;
}

int gev_queue_task_done(gev_queue *q)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(task_done(hub, q));
}

int gev_queue_join(gev_queue *q, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(join(hub, q, timeout));
}

int gev_queue_shutdown(gev_queue *q, bool immediate)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(shutdown_queue(hub, q, immediate));
}

gev_waitable *gev_queue_waitable(struct gev_queue *q)
{
    if (q == NULL) {
        return NULL;
    }
    q->waitable.ops = &queue_ops;
    return &q->waitable;
}
