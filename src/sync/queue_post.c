/* SPDX-License-Identifier: MIT */

/* Putting into a queue from any thread: a message to its hub. */

#include "base/alloc.h"
#include "base/error.h"
#include "hub/task.h"
#include "sync/queue.h"

struct gev__queue_message {
    struct gev__task task;
    struct gev_queue *queue;
    void *item;
    struct gev__queue_message *next; /* late */
};

static struct gev__queue_message *message_of(struct gev__task *t)
{
    return gev__container_of(t, struct gev__queue_message, task);
}

/* It will not be put. */
static void forget(struct gev__queue_message *m)
{
    struct gev_queue *q = m->queue;

    gev__free(m);
    q->arrived++;
    gev__queue_count_taken(q, 1);
    if (!q->is_freed) {
        gev__queue_settle(q);
    } else if (gev__queue_under_way(q) == 0) {
        gev__free(q);
    }
}

static void drop_message(struct gev__task *t)
{
    forget(message_of(t));
}

/* A plain put took the last place in the same instant: it waits for room. */
static void keep_late(struct gev_queue *q, struct gev__queue_message *m)
{
    m->next = NULL;
    if (q->late_first == NULL) {
        q->late_first = m;
    } else {
        q->late_last->next = m;
    }
    q->late_last = m;
}

static int run_message(struct gev_hub *hub, struct gev__task *t)
{
    struct gev__queue_message *m = message_of(t);
    struct gev_queue *q = m->queue;

    (void)hub;
    if (q->drops) {
        forget(m);
        return 0;
    }
    if (q->maxsize != 0 && q->store.count >= q->maxsize) {
        keep_late(q, m);
        q->arrived++;
        return 0;
    }
    int rc = gev__queue_deliver(q, m->item);
    if (rc < 0) {
        return rc; /* the hub tries again */
    }
    gev__free(m);
    q->arrived++;
    q->unfinished++;
    if (rc > 0) {
        gev__queue_count_taken(q, 1);
        gev__queue_refill(q);
    }
    gev__queue_settle(q);
    return 0;
}

void gev__queue_refill_late(struct gev_queue *q)
{
    struct gev__queue_message *m;

    while ((m = q->late_first) != NULL && q->store.count < q->maxsize &&
           gev__queue_deliver(q, m->item) >= 0) {
        q->late_first = m->next;
        q->unfinished++;
        gev__free(m);
    }
}

void gev__queue_drop_late(struct gev_queue *q)
{
    struct gev__queue_message *m;

    while ((m = q->late_first) != NULL) {
        q->late_first = m->next;
        gev__queue_count_taken(q, 1);
        gev__free(m);
    }
}

/* Any thread: takes a place for a message. */
static int reserve(struct gev_queue *q)
{
    size_t posted = atomic_load_explicit(&q->posted, memory_order_acquire);

    for (;;) {
        size_t taken = atomic_load_explicit(&q->taken, memory_order_acquire);
        if (posted & 1) {
            return -EPIPE;
        }
        if (q->maxsize != 0 && posted / 2 - taken >= q->maxsize) {
            /* If the two belong together. */
            size_t again =
                atomic_load_explicit(&q->posted, memory_order_acquire);
            if (again == posted) {
                return -EAGAIN;
            }
            posted = again;
        } else if (atomic_compare_exchange_weak_explicit(
                       &q->posted, &posted, posted + 2, memory_order_acq_rel,
                       memory_order_acquire)) {
            return 0;
        }
    }
}

static int post(struct gev_queue *q, void *item)
{
    struct gev_hub *hub = q == NULL ? NULL : gev__owner_hub(&q->waitable.owner);

    if (hub == NULL) {
        return -EINVAL;
    }
    /* Before the place is taken: that cannot be taken back unseen. */
    struct gev__queue_message *m = gev__malloc(sizeof(*m));
    if (m == NULL) {
        return -ENOMEM;
    }
    int rc = reserve(q);
    if (rc < 0) {
        gev__free(m);
        return rc;
    }
    m->task.run = run_message;
    m->task.drop = drop_message;
    m->queue = q;
    m->item = item;
    gev__task_post(hub, &m->task);
    return 0;
}

/* --- public --------------------------------------------------------------- */

int gev_queue_post(gev_queue *q, void *item)
{
    return (int)gev__ret(post(q, item));
}
