/* SPDX-License-Identifier: MIT */

/* Threads with a hub each. Spawning is a message to the hub with the fewest
 * greenlets; each hub publishes how many it has.
 *
 * Joining asks all hubs to say when they are empty. One that was may have got a
 * greenlet from another since, so they are asked again until none has had one
 * since it last said so: docs/design/threads.md. */

#include "base/alloc.h"
#include "base/error.h"
#include "base/sys.h"
#include "base/thread.h"
#include "os/errand.h"

#include <gev/workers.h>

#include <pthread.h>
#include <stdatomic.h>

struct worker {
    struct gev_workers *workers;
    pthread_t thread;
    struct gev_hub *hub;       /* NULL: it could not be made */
    struct gev__inbox *inbox;  /* the hub's, counted; valid with a hub */
    atomic_size_t on_way;      /* greenlets sent to it that it has not begun */
    atomic_size_t live;        /* greenlets it has, as of its last turn */
    struct gev__task stop;     /* the message that ends it */
    struct gev__task question; /* whether it is empty; posted in each round */
    /* The worker's thread only. */
    bool stopped;
    bool asked;    /* the question is open */
    uint64_t seen; /* greenlets it had had when it last said it was empty */
};

struct gev_workers {
    size_t n;
    unsigned forks;       /* how often this process had forked when made */
    atomic_size_t turn;   /* whose turn it is when equal */
    atomic_size_t alive;  /* threads that have not ended */
    atomic_size_t unsaid; /* workers that have not said so in this round */
    atomic_bool changed;  /* one has had greenlets since it last said so */
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t begun; /* one more has */
    size_t n_begun;       /* threads that have a hub, or failed to make one */
    int rc;               /* what the last of those failed with */
    struct gev__list joiners; /* of joiner */
    uint64_t round;           /* of questions; counts */
    bool asking;              /* a round is under way */
    bool ending;
    struct gev__errand *ender; /* answered by the last thread, or NULL */
    struct worker workers[];
};

/* Somebody in gev_workers_join. */
struct joiner {
    struct gev__errand errand; /* first */
    struct gev__list link;     /* on the list, else alone; under the lock */
    struct gev_workers *workers;
    uint64_t round; /* that was under way: only a later one counts */
};

/* A greenlet on its way to a hub. */
struct message {
    struct gev__task task; /* first */
    struct worker *worker;
    gev_fn fn;
    void *arg;
};

static _Thread_local struct worker *this_worker;
static unsigned forks; /* how often this process is a child of one with gev */

static void count_fork(void)
{
    forks++;
}

static void install_fork_handler(void)
{
    pthread_atfork(NULL, NULL, count_fork);
}

static bool is_lost(const struct gev_workers *w)
{
    return w->forks != forks;
}

static bool is_here(const struct gev_workers *w)
{
    return this_worker != NULL && this_worker->workers == w && !is_lost(w);
}

/* --- rounds --------------------------------------------------------------- */

static void let_go(struct gev_workers *w, uint64_t before)
{
    gev__list_foreach_safe(node, next, &w->joiners) {
        struct joiner *j = gev__container_of(node, struct joiner, link);
        if (j->round < before) {
            gev__list_remove(&j->link);
            gev__errand_answer(&j->errand);
        }
    }
}

/* Under the lock. That a hub is closed means that all are about to be: whoever
 * frees the workers lets the joiners go. */
static void ask_all(struct gev_workers *w)
{
    w->asking = true;
    w->round++;
    atomic_store(&w->changed, false);
    atomic_store(&w->unsaid, w->n);
    for (size_t i = 0; i < w->n; i++) {
        gev__inbox_post(w->workers[i].inbox, &w->workers[i].question);
    }
}

/* All have been empty, each at some time. If none has had a greenlet since it
 * said so before, they all were at once: after the last of the answers before,
 * and when these questions were asked. */
static void end_round(struct gev_workers *w)
{
    pthread_mutex_lock(&w->lock);
    if (!atomic_load(&w->changed)) {
        let_go(w, w->round);
    }
    w->asking = false;
    if (!gev__list_is_empty(&w->joiners) && !w->ending) {
        ask_all(w);
    }
    pthread_mutex_unlock(&w->lock);
}

/* In the worker, which has no greenlet. */
static void say_empty(struct worker *k)
{
    struct gev_workers *w = k->workers;

    k->asked = false;
    if (k->seen != k->hub->spawned) {
        k->seen = k->hub->spawned;
        atomic_store(&w->changed, true);
    }
    if (atomic_fetch_sub(&w->unsaid, 1) == 1) {
        end_round(w);
    }
}

static int on_question(struct gev_hub *hub, struct gev__task *t)
{
    struct worker *k = gev__container_of(t, struct worker, question);

    k->asked = true;
    if (hub->live == 0) {
        say_empty(k);
    }
    return 0;
}

static void on_turn(struct gev_hub *hub)
{
    struct worker *k = this_worker;

    atomic_store_explicit(&k->live, hub->live, memory_order_relaxed);
    if (k->asked && hub->live == 0) {
        say_empty(k);
    }
}

/* --- threads -------------------------------------------------------------- */

static void drop_nothing(struct gev__task *t)
{
    (void)t; /* it is part of the worker */
}

static int on_stop(struct gev_hub *hub, struct gev__task *t)
{
    gev__container_of(t, struct worker, stop)->stopped = true;
    gev__wake(hub->main_greenlet, 0);
    return 0;
}

static int open_hub(struct worker *k)
{
    struct gev_hub *hub;
    int rc = gev__hub_find(&hub);

    if (rc == 0) {
        rc = gev__inbox_get(hub, &k->inbox);
    }
    if (rc == 0) {
        k->hub = hub;
        k->seen = hub->spawned;
        hub->on_turn = on_turn;
    }
    return rc;
}

static void say_begun(struct gev_workers *w, int rc)
{
    pthread_mutex_lock(&w->lock);
    w->n_begun++;
    w->rc = rc < 0 ? rc : w->rc;
    pthread_cond_signal(&w->begun);
    pthread_mutex_unlock(&w->lock);
}

static void say_ended(struct gev_workers *w)
{
    if (atomic_fetch_sub(&w->alive, 1) > 1) {
        return;
    }
    pthread_mutex_lock(&w->lock);
    struct gev__errand *ender = w->ender;
    w->ender = NULL;
    pthread_mutex_unlock(&w->lock);
    if (ender != NULL) {
        gev__errand_answer(ender);
    }
}

static void *run_worker(void *arg)
{
    struct worker *k = arg;
    struct gev_workers *w = k->workers;
    const struct gev__wait_for what = {.kind = GEV__WAIT_WORKERS, .object = w};
    int rc = open_hub(k);

    this_worker = k;
    say_begun(w, rc);
    if (rc == 0) {
        struct gev_hub *hub = k->hub;
        hub->main_greenlet->shields++; /* whoever gets hold of main */
        gev__hub_hold(hub);
        while (!k->stopped) {
            gev__park(hub, what);
        }
        gev__hub_release(hub);
    }
    gev__hub_close();
    say_ended(w);
    return NULL;
}

/* Tells them to stop; once. */
static void stop(struct gev_workers *w)
{
    pthread_mutex_lock(&w->lock);
    w->ending = true;
    pthread_mutex_unlock(&w->lock);
    for (size_t i = 0; i < w->n; i++) {
        struct worker *k = &w->workers[i];
        if (k->hub != NULL) {
            gev__inbox_post(k->inbox, &k->stop);
        }
    }
}

static void join_threads(struct gev_workers *w)
{
    for (size_t i = 0; i < w->n; i++) {
        pthread_join(w->workers[i].thread, NULL);
        if (w->workers[i].hub != NULL) {
            gev__inbox_put(w->workers[i].inbox);
        }
    }
}

static void free_workers(struct gev_workers *w)
{
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->begun);
    gev__free(w);
}

static void wait_until_begun(struct gev_workers *w)
{
    pthread_mutex_lock(&w->lock);
    while (w->n_begun < w->n) {
        pthread_cond_wait(&w->begun, &w->lock);
    }
    pthread_mutex_unlock(&w->lock);
}

static struct gev_workers *allocate(size_t n)
{
    size_t size;

    if (__builtin_mul_overflow(n, sizeof(struct worker), &size) ||
        __builtin_add_overflow(size, sizeof(struct gev_workers), &size)) {
        return NULL;
    }
    struct gev_workers *w = gev__calloc(1, size);
    if (w == NULL) {
        return NULL;
    }
    w->forks = forks;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->begun, NULL);
    gev__list_init(&w->joiners);
    for (size_t i = 0; i < n; i++) {
        struct worker *k = &w->workers[i];
        k->workers = w;
        k->stop.run = on_stop;
        k->stop.drop = drop_nothing;
        k->question.run = on_question;
        k->question.drop = drop_nothing;
    }
    return w;
}

static int make_workers(size_t n, struct gev_workers **ret_workers)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int rc = 0;

    pthread_once(&once, install_fork_handler);
    struct gev_workers *w = allocate(n);
    if (w == NULL) {
        return -ENOMEM;
    }
    atomic_store(&w->alive, n);
    while (rc == 0 && w->n < n) {
        struct worker *k = &w->workers[w->n];
        rc = gev__thread_start(&k->thread, "gev-worker", run_worker, k);
        w->n += rc == 0;
    }
    wait_until_begun(w);
    rc = rc < 0 ? rc : w->rc;
    if (rc < 0) {
        stop(w);
        join_threads(w);
        free_workers(w);
        return rc;
    }
    *ret_workers = w;
    return 0;
}

/* --- spawning ------------------------------------------------------------- */

static size_t load_of(const struct worker *k)
{
    return atomic_load_explicit(&k->on_way, memory_order_relaxed) +
           atomic_load_explicit(&k->live, memory_order_relaxed);
}

static struct worker *pick(struct gev_workers *w)
{
    size_t first =
        atomic_fetch_add_explicit(&w->turn, 1, memory_order_relaxed) % w->n;
    struct worker *best = &w->workers[first];
    size_t least = load_of(best);

    for (size_t i = 1; i < w->n && least > 0; i++) {
        struct worker *k = &w->workers[(first + i) % w->n];
        size_t load = load_of(k);
        if (load < least) {
            least = load;
            best = k;
        }
    }
    return best;
}

static int on_spawn(struct gev_hub *hub, struct gev__task *t)
{
    struct message *m = gev__container_of(t, struct message, task);
    struct worker *k = m->worker;
    const struct gev__make make = {.fn = m->fn,
                                   .arg = m->arg,
                                   .site = "gev_workers_spawn",
                                   .name = "worker"};
    int rc = gev__greenlet_spawn(hub, &make);

    if (rc < 0) {
        return rc;
    }
    gev__free(m);
    atomic_store_explicit(&k->live, hub->live, memory_order_relaxed);
    atomic_fetch_sub_explicit(&k->on_way, 1, memory_order_relaxed);
    return 0;
}

static void drop_message(struct gev__task *t)
{
    struct message *m = gev__container_of(t, struct message, task);

    atomic_fetch_sub_explicit(&m->worker->on_way, 1, memory_order_relaxed);
    gev__free(m);
}

static struct message *make_message(gev_fn fn, void *arg)
{
    struct message *m = gev__calloc(1, sizeof(*m));

    if (m != NULL) {
        m->task.run = on_spawn;
        m->task.drop = drop_message;
        m->fn = fn;
        m->arg = arg;
    }
    return m;
}

static int send_message(struct worker *k, struct message *m)
{
    m->worker = k;
    atomic_fetch_add_explicit(&k->on_way, 1, memory_order_relaxed);
    int rc = gev__inbox_post(k->inbox, &m->task);
    if (rc < 0) {
        drop_message(&m->task);
        return -ECANCELED;
    }
    return 0;
}

static int check(const struct gev_workers *w, gev_fn fn)
{
    if (w == NULL || fn == NULL) {
        return -EINVAL;
    }
    return is_lost(w) ? -ECHILD : 0;
}

static int spawn(struct gev_workers *w, gev_fn fn, void *arg)
{
    int rc = check(w, fn);

    if (rc < 0) {
        return rc;
    }
    struct message *m = make_message(fn, arg);
    return m == NULL ? -ENOMEM : send_message(pick(w), m);
}

static int broadcast(struct gev_workers *w, gev_fn fn, void *arg)
{
    struct gev__task *made = NULL;
    int rc = check(w, fn);

    for (size_t i = 0; rc == 0 && i < w->n; i++) {
        struct message *m = make_message(fn, arg);
        if (m == NULL) {
            rc = -ENOMEM;
        } else {
            m->task.next = made;
            made = &m->task;
        }
    }
    for (size_t i = 0; made != NULL; i++) {
        struct message *m = gev__container_of(made, struct message, task);
        made = made->next;
        if (rc == -ENOMEM) {
            gev__free(m);
        } else if (send_message(&w->workers[i], m) < 0) {
            rc = -ECANCELED;
        }
    }
    return rc;
}

/* --- join, free ----------------------------------------------------------- */

static bool recall_joiner(struct gev__errand *e)
{
    struct joiner *j = gev__container_of(e, struct joiner, errand);

    pthread_mutex_lock(&j->workers->lock);
    bool listed = !gev__list_is_empty(&j->link);
    gev__list_remove(&j->link);
    pthread_mutex_unlock(&j->workers->lock);
    return listed;
}

static void discard_joiner(struct gev__errand *e)
{
    gev__free(gev__container_of(e, struct joiner, errand));
}

static bool look_empty(const struct gev_workers *w)
{
    size_t sum = 0;

    for (size_t i = 0; i < w->n; i++) {
        sum += load_of(&w->workers[i]);
    }
    return sum == 0;
}

static int join(struct gev_hub *hub, struct gev_workers *w, double timeout)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_WORKERS, .object = w};
    int64_t deadline;
    int rc = gev__deadline(hub, timeout, &deadline);

    if (rc < 0 || is_lost(w)) {
        return rc;
    }
    if (is_here(w)) {
        return -EDEADLK;
    }
    if (deadline == 0) {
        return look_empty(w) ? 0 : -ETIMEDOUT;
    }
    struct joiner *j = gev__calloc(1, sizeof(*j));
    if (j == NULL) {
        return -ENOMEM;
    }
    j->workers = w;
    j->errand.recall = recall_joiner;
    j->errand.discard = discard_joiner;
    rc = gev__errand_begin(hub, &j->errand);
    if (rc < 0) {
        gev__free(j);
        return rc;
    }
    pthread_mutex_lock(&w->lock);
    j->round = w->round;
    gev__list_push_back(&w->joiners, &j->link);
    if (!w->asking) {
        ask_all(w);
    }
    pthread_mutex_unlock(&w->lock);
    rc = gev__errand_wait(hub, &j->errand, what, deadline);
    if (rc == 0) {
        gev__free(j);
    }
    return rc;
}

static void discard_ender(struct gev__errand *e)
{
    gev__free(e);
}

/* An errand that the last thread answers; NULL: block instead. */
static struct gev__errand *make_ender(struct gev_hub *hub)
{
    if (hub == NULL || (hub->current->alerts & GEV__ALERT_NOPARK)) {
        return NULL;
    }
    struct gev__errand *e = gev__calloc(1, sizeof(*e));
    if (e != NULL) {
        e->discard = discard_ender;
        if (gev__errand_begin(hub, e) < 0) {
            gev__free(e);
            e = NULL;
        }
    }
    return e;
}

static void end_workers(struct gev_hub *hub, struct gev_workers *w)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_WORKERS, .object = w};
    struct gev__errand *ender = make_ender(hub);

    w->ender = ender;
    stop(w);
    if (ender != NULL) {
        hub->current->shields++;
        int rc = gev__errand_wait(hub, ender, what, GEV__NEVER);
        hub->current->shields--;
        if (rc == 0) {
            gev__free(ender);
        }
    }
    join_threads(w);
    let_go(w, UINT64_MAX);
}

/* --- public --------------------------------------------------------------- */

gev_workers *gev_workers_new(size_t n)
{
    struct gev_workers *w = NULL;
    int rc = make_workers(n == 0 ? gev__sys_cpus() : n, &w);

    return rc < 0 ? gev__ret_null(rc) : w;
}

size_t gev_workers_count(const gev_workers *w)
{
    return w == NULL ? 0 : w->n;
}

gev_hub *gev_workers_hub(const gev_workers *w, size_t i)
{
    return w == NULL || i >= w->n || is_lost(w) ? NULL : w->workers[i].hub;
}

int gev_workers_spawn(gev_workers *w, gev_fn fn, void *arg)
{
    return (int)gev__ret(spawn(w, fn, arg));
}

int gev_workers_broadcast(gev_workers *w, gev_fn fn, void *arg)
{
    return (int)gev__ret(broadcast(w, fn, arg));
}

int gev_workers_join(gev_workers *w, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL || w == NULL) {
        return hub == NULL ? -1 : (int)gev__ret(-EINVAL);
    }
    return (int)gev__ret(join(hub, w, timeout));
}

void gev_workers_free(gev_workers *w)
{
    if (w == NULL) {
        return;
    }
    if (!is_lost(w)) {
        assert(!is_here(w));
        end_workers(gev__thread_hub, w);
    }
    free_workers(w);
}
