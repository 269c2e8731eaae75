/* SPDX-License-Identifier: MIT */
#include "hub/task.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "hub/greenlet.h"
#include "hub/sched.h"

#include <unistd.h>

/* The queue from other threads is a stack that the hub takes as a whole and
 * turns round, which keeps each thread's order. A poster makes a system call
 * only if the hub may be blocked: the hub announces that (asleep) before its
 * last look at the queue, the poster looks at asleep after it has pushed, both
 * sequentially consistent, so at least one of them sees the other. */

void gev__hub_wake(struct gev_hub *hub)
{
    const uint64_t one = 1;

    if (atomic_exchange(&hub->asleep, 0) == 1) {
        /* Not through base/sys.h: fault counters are no business of other
         * threads and signal handlers, and a full counter is a wake-up too. */
        ssize_t n = write(hub->wakeup_fd, &one, sizeof(one));
        (void)n;
    }
}

void gev__task_post(struct gev_hub *hub, struct gev__task *t)
{
    struct gev__task *top =
        atomic_load_explicit(&hub->posts, memory_order_relaxed);

    do {
        t->next = top;
    } while (!atomic_compare_exchange_weak(&hub->posts, &top, t));
    gev__hub_wake(hub);
}

/* Moves what was posted to the end of the hub's own list, oldest first. */
static void take_posts(struct gev_hub *hub)
{
    struct gev__task *t =
        atomic_load_explicit(&hub->posts, memory_order_relaxed);
    struct gev__task *oldest = NULL;

    if (t == NULL) {
        return;
    }
    t = atomic_exchange(&hub->posts, NULL);
    struct gev__task *youngest = t;
    while (t != NULL) {
        struct gev__task *next = t->next;
        t->next = oldest;
        oldest = t;
        t = next;
    }
    if (hub->tasks_head == NULL) {
        hub->tasks_head = oldest;
    } else {
        hub->tasks_tail->next = oldest;
    }
    hub->tasks_tail = youngest;
}

void gev__tasks_run(struct gev_hub *hub)
{
    take_posts(hub);
    while (hub->tasks_head != NULL) {
        /* Off the list before the call, which may close or post. */
        struct gev__task *t = hub->tasks_head;
        hub->tasks_head = t->next;
        if (t->run(hub, t) < 0) {
            t->next = hub->tasks_head;
            if (hub->tasks_head == NULL) {
                hub->tasks_tail = t;
            }
            hub->tasks_head = t;
            gev__tasks_retry(hub);
            return;
        }
    }
}

bool gev__tasks_pending(struct gev_hub *hub)
{
    return hub->tasks_head != NULL || atomic_load(&hub->posts) != NULL;
}

#define RETRY_AFTER (10 * GEV__MS)

/* The turn that the timer brings is all that is needed. */
static void on_retry(struct gev__timer *t)
{
    (void)t;
}

void gev__tasks_retry(struct gev_hub *hub)
{
    if (!gev__timer_is_armed(&hub->retry)) {
        gev__timer_init(&hub->retry, on_retry);
        /* Without memory for the timer the loop spins until there is some. */
        gev__timer_arm(hub, &hub->retry, GEV__SLEEPS,
                       gev__clock_add(gev__clock_now(), RETRY_AFTER));
    }
}

void gev__tasks_fini(struct gev_hub *hub)
{
    take_posts(hub);
    while (hub->tasks_head != NULL) {
        struct gev__task *t = hub->tasks_head;
        hub->tasks_head = t->next;
        t->drop(t);
    }
}

/* --- the messages of gev_hub_post and gev_hub_spawn ----------------------- */

/* What the messages below look like. */
struct message {
    struct gev__task task;
    void (*call)(void *object, void *value, int number);
    void (*fn)(void *);
    gev_fn spawn;
    void *object; /* or arg */
    void *value;
    int number;
};

static void drop_message(struct gev__task *t)
{
    gev__free(t);
}

static int post(struct gev_hub *hub,
                int (*run)(struct gev_hub *, struct gev__task *),
                struct message content)
{
    struct message *m = gev__malloc(sizeof(*m));

    if (m == NULL) {
        return -ENOMEM;
    }
    *m = content;
    m->task.run = run;
    m->task.drop = drop_message;
    gev__task_post(hub, &m->task);
    return 0;
}

static int run_call(struct gev_hub *hub, struct gev__task *t)
{
    const struct message m = *gev__container_of(t, struct message, task);

    (void)hub;
    gev__free(t);
    if (m.fn != NULL) {
        m.fn(m.object);
    } else {
        m.call(m.object, m.value, m.number);
    }
    return 0;
}

static int run_spawn(struct gev_hub *hub, struct gev__task *t)
{
    const struct message *m = gev__container_of(t, struct message, task);
    const struct gev__make make = {.fn = m->spawn,
                                   .arg = m->object,
                                   .site = "gev_hub_spawn",
                                   .name = "posted"};
    int rc = gev__greenlet_spawn(hub, &make);

    if (rc == 0) {
        gev__free(t);
    }
    return rc;
}

int gev__post_call(struct gev_hub *hub,
                   void (*fn)(void *object, void *value, int number),
                   void *object, void *value, int number)
{
    return post(
        hub, run_call,
        (struct message){
            .call = fn, .object = object, .value = value, .number = number});
}

/* --- public --------------------------------------------------------------- */

int gev_hub_post(gev_hub *hub, void (*fn)(void *), void *arg)
{
    if (hub == NULL || fn == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    return (int)gev__ret(
        post(hub, run_call, (struct message){.fn = fn, .object = arg}));
}

int gev_hub_spawn(gev_hub *hub, gev_fn fn, void *arg)
{
    if (hub == NULL || fn == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    return (int)gev__ret(
        post(hub, run_spawn, (struct message){.spawn = fn, .object = arg}));
}

void gev_hub_ref(gev_hub *hub)
{
    atomic_fetch_add(&hub->refs, 1);
}

void gev_hub_unref(gev_hub *hub)
{
    unsigned refs = atomic_load_explicit(&hub->refs, memory_order_relaxed);

    /* A fork may have dropped it already, with the threads it was for. */
    while (refs > 0 &&
           !atomic_compare_exchange_weak(&hub->refs, &refs, refs - 1)) {
    }
    /* It may be waiting for nothing else now. */
    gev__hub_wake(hub);
}
