/* SPDX-License-Identifier: MIT */
#include "os/errand.h"

#include "base/alloc.h"

#include <errno.h>
#include <pthread.h>

/* Where answers come in: one a hub. It outlives the hub while errands are under
 * way. */
struct gev__inbox {
    struct gev__hub_module module;
    struct gev__list errands; /* not yet freed; the hub's thread */
    pthread_mutex_t lock;
    struct gev_hub *hub; /* under lock; NULL: closed */
    atomic_uint refs;    /* the hub's, and one for each who will post */
};

static struct gev__errand *errand_of(struct gev__list *node)
{
    return gev__container_of(node, struct gev__errand, link);
}

void gev__inbox_put(struct gev__inbox *inbox)
{
    /* Release: what this thread did to it comes before; acquire: what the
     * others did comes before it is freed. */
    if (atomic_fetch_sub_explicit(&inbox->refs, 1, memory_order_acq_rel) == 1) {
        pthread_mutex_destroy(&inbox->lock);
        gev__free(inbox);
    }
}

/* No greenlet runs any more. First the errands are let go, then the door is
 * shut: in the other order an answerer could free one that is still listed. An
 * answer in between is among the posts that the hub drops soon. */
static void close_inbox(struct gev__hub_module *m, struct gev_hub *hub)
{
    struct gev__inbox *inbox = gev__container_of(m, struct gev__inbox, module);
    struct gev__list *node;

    (void)hub;
    while ((node = gev__list_pop(&inbox->errands)) != NULL) {
        struct gev__errand *e = errand_of(node);
        if (e->arrived) {
            e->discard(e); /* whoever waited for it never ran again */
        }
    }
    pthread_mutex_lock(&inbox->lock);
    inbox->hub = NULL;
    pthread_mutex_unlock(&inbox->lock);
    gev__inbox_put(inbox);
}

/* In a forked child those who had the errands are gone, and so are their
 * waiters, but for main if a callback forked: its call fails. */
static void forked_inbox(struct gev__hub_module *m, struct gev_hub *hub)
{
    struct gev__inbox *inbox = gev__container_of(m, struct gev__inbox, module);
    struct gev__list *node;

    (void)hub;
    pthread_mutex_init(&inbox->lock, NULL); /* somebody may have held it */
    atomic_store(&inbox->refs, 1);
    while ((node = gev__list_pop(&inbox->errands)) != NULL) {
        struct gev__errand *e = errand_of(node);
        e->arrived = true;
        if (e->waiter == NULL ||
            !gev__wake_token(e->waiter, e->token, -ECANCELED)) {
            e->discard(e);
        }
    }
}

static struct gev__inbox *find_inbox(const struct gev_hub *hub)
{
    gev__list_foreach(node, &hub->modules) {
        struct gev__hub_module *m =
            gev__container_of(node, struct gev__hub_module, link);
        if (m->close == close_inbox) {
            return gev__container_of(m, struct gev__inbox, module);
        }
    }
    return NULL;
}

int gev__inbox_get(struct gev_hub *hub, struct gev__inbox **ret_inbox)
{
    struct gev__inbox *inbox = find_inbox(hub);

    if (inbox == NULL) {
        inbox = gev__calloc(1, sizeof(*inbox));
        if (inbox == NULL) {
            return -ENOMEM;
        }
        inbox->module.close = close_inbox;
        inbox->module.forked = forked_inbox;
        gev__list_init(&inbox->errands);
        pthread_mutex_init(&inbox->lock, NULL);
        inbox->hub = hub;
        atomic_store(&inbox->refs, 1);
        gev__hub_add_module(hub, &inbox->module);
    }
    atomic_fetch_add_explicit(&inbox->refs, 1, memory_order_relaxed);
    *ret_inbox = inbox;
    return 0;
}

int gev__inbox_post(struct gev__inbox *inbox, struct gev__task *t)
{
    pthread_mutex_lock(&inbox->lock);
    bool at_home = inbox->hub != NULL;
    if (at_home) {
        gev__task_post(inbox->hub, t);
    }
    pthread_mutex_unlock(&inbox->lock);
    return at_home ? 0 : -ESRCH;
}

/* --- errands -------------------------------------------------------------- */

/* The hub's last word on it. */
static void finish(struct gev__errand *e)
{
    gev__list_remove(&e->link);
    e->discard(e);
}

/* The answer has come. */
static int on_answer(struct gev_hub *hub, struct gev__task *t)
{
    struct gev__errand *e = gev__container_of(t, struct gev__errand, task);

    if (e->waiter == NULL && e->arrive != NULL) {
        int rc = e->arrive(hub, e);
        if (rc < 0) {
            return rc;
        }
    }
    gev__hub_release(hub);
    e->arrived = true;
    if (e->waiter == NULL) {
        finish(e);
    } else {
        /* If that does not reach it, it was killed and has not run yet: it
         * discards the errand then. */
        gev__wake_token(e->waiter, e->token, 0);
    }
    return 0;
}

/* The hub has been closed, and forgotten its errands; or this is a forked
 * child, which is still to look at them. */
static void on_drop(struct gev__task *t)
{
    struct gev__errand *e = gev__container_of(t, struct gev__errand, task);

    if (gev__list_is_empty(&e->link)) {
        e->discard(e);
    }
}

int gev__errand_begin(struct gev_hub *hub, struct gev__errand *e)
{
    int rc = gev__inbox_get(hub, &e->home);

    if (rc < 0) {
        return rc;
    }
    e->task.run = on_answer;
    e->task.drop = on_drop;
    e->waiter = NULL;
    e->arrived = false;
    gev__list_push_back(&e->home->errands, &e->link);
    gev__hub_hold(hub);
    return 0;
}

void gev__errand_undo(struct gev_hub *hub, struct gev__errand *e)
{
    gev__list_remove(&e->link);
    gev__hub_release(hub);
    gev__inbox_put(e->home);
}

int gev__errand_wait(struct gev_hub *hub, struct gev__errand *e,
                     struct gev__wait_for what, int64_t deadline)
{
    e->waiter = hub->current;
    e->token = gev__park_token(hub->current);
    int rc = gev__park_until(hub, what, deadline);
    if (rc == 0) {
        gev__list_remove(&e->link);
    } else if (e->arrived) {
        finish(e);
    } else if (e->recall != NULL && e->recall(e)) {
        gev__errand_undo(hub, e);
        e->discard(e);
    } else {
        e->waiter = NULL;
    }
    return rc;
}

void gev__errand_answer(struct gev__errand *e)
{
    struct gev__inbox *home = e->home;

    if (gev__inbox_post(home, &e->task) < 0) {
        e->discard(e);
    }
    gev__inbox_put(home);
}
