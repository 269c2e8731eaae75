/* SPDX-License-Identifier: MIT */
#include "os/threadpool.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include "hub/hub.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

/* Threads are started when a job finds none idle, up to a bound. Idle ones wait
 * each on a condition of its own, the last to become idle is the first to be
 * called: the others get old and end. An idle pool wakes nobody. */

/* An idle thread ends after that long. */
#define IDLE_TIME (5 * GEV__SEC)

/* A thread of a pool; kept for the next one when it has ended. */
struct thread {
    struct gev__list link; /* on the pool's idle or spare list, or alone */
    struct thread *next;   /* on the pool's list of all; constant */
    struct gev_threadpool *pool;
    pthread_t id;
    pthread_cond_t call;
    bool called;          /* off the idle list: look again */
    bool dismissed;       /* the same: and end */
    bool lost;            /* this is a forked child */
    int fail_code;        /* gev_fail's, without a hub */
    struct gev__job *job; /* at work on it, or NULL */
};

struct gev_threadpool {
    struct gev__list all; /* on the list of pools */
    atomic_uint refs;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t ended; /* a thread has */
    struct gev__list queue;
    struct gev__list idle;  /* of thread, the last to become so first */
    struct gev__list spare; /* of thread: records to use again */
    struct gev__list idle_watches;
    struct gev__list end_watches;
    struct thread *records; /* of all threads there ever were */
    struct thread *last;    /* has ended and is to be joined, or NULL */
    size_t queued;
    size_t running;
    size_t threads; /* alive */
    size_t max;
    size_t surplus;    /* of those so many end when they become idle */
    int64_t idle_time; /* ns, GEV__NEVER */
    bool ending;
};

static pthread_mutex_t pools_lock = PTHREAD_MUTEX_INITIALIZER;
static struct gev__list pools = {&pools, &pools}; /* under pools_lock */
static pthread_key_t thread_key; /* ends a thread that a job ends */
static _Thread_local struct thread *this_thread;

static void tell_all(struct gev__list *watches)
{
    struct gev__list *node;

    while ((node = gev__list_pop(watches)) != NULL) {
        struct gev__pool_watch *w =
            gev__container_of(node, struct gev__pool_watch, link);
        w->tell(w);
    }
}

static void finish_job(struct gev_threadpool *p, struct gev__job *j, int rc)
{
    j->rc = rc;
    j->finish(j);
    if (p->queued + p->running == 0) {
        tell_all(&p->idle_watches);
    }
}

static struct gev__job *take_job(struct gev_threadpool *p)
{
    struct gev__list *node = gev__list_pop(&p->queue);

    if (node == NULL) {
        return NULL;
    }
    p->queued--;
    return gev__container_of(node, struct gev__job, link);
}

static void cancel_queue(struct gev_threadpool *p)
{
    struct gev__job *j;

    while ((j = take_job(p)) != NULL) {
        finish_job(p, j, -ECANCELED);
    }
}

/* --- threads -------------------------------------------------------------- */

/* Under the lock: an idle thread to be called when the lock is free, or NULL.
 * Its record stays valid as long as the pool. */
static struct thread *wake_one(struct gev_threadpool *p)
{
    struct gev__list *node = gev__list_pop(&p->idle);

    if (node == NULL) {
        return NULL;
    }
    struct thread *t = gev__container_of(node, struct thread, link);
    t->called = true;
    return t;
}

/* Ends up to n idle threads; how many it did not find. */
static size_t dismiss(struct gev_threadpool *p, size_t n)
{
    struct thread *t;

    while (n > 0 && (t = wake_one(p)) != NULL) {
        t->dismissed = true;
        pthread_cond_signal(&t->call);
        n--;
    }
    return n;
}

/* Blocks until it is called. False: it is to end, for that is why, or because
 * nobody called for so long. */
static bool wait_for_call(struct gev_threadpool *p, struct thread *t)
{
    const int64_t until = gev__clock_add(gev__clock_now(), p->idle_time);
    const struct timespec time = {.tv_sec = until / GEV__SEC,
                                  .tv_nsec = until % GEV__SEC};

    if (p->surplus > 0) {
        p->surplus--;
        return false;
    }
    t->called = false;
    t->dismissed = false;
    gev__list_push_front(&p->idle, &t->link);
    while (!t->called) {
        int error = until == GEV__NEVER
                        ? pthread_cond_wait(&t->call, &p->lock)
                        : pthread_cond_timedwait(&t->call, &p->lock, &time);
        if (error == ETIMEDOUT && !t->called) {
            gev__list_remove(&t->link);
            return false;
        }
    }
    return !t->dismissed;
}

/* A thread's last act, under the lock, which it gives up. It joins the one that
 * ended before it, so there is never more than one to be joined. */
static void end_thread(struct gev_threadpool *p, struct thread *t)
{
    struct thread *before = p->last;

    p->last = t;
    if (--p->threads == 0) {
        tell_all(&p->end_watches);
    }
    pthread_cond_broadcast(&p->ended);
    pthread_mutex_unlock(&p->lock);
    if (before != NULL) {
        /* Whoever frees the pool joins this thread first. */
        pthread_join(before->id, NULL);
        pthread_mutex_lock(&p->lock);
        gev__list_push_back(&p->spare, &before->link);
        pthread_mutex_unlock(&p->lock);
    }
}

/* Does a job, without the lock. False: it forked, and this is the child. */
static bool do_job(struct gev_threadpool *p, struct thread *t,
                   struct gev__job *j)
{
    t->job = j;
    p->running++;
    pthread_mutex_unlock(&p->lock);
    /* A job may be cancelled, the pool's own work may not. */
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    j->work(j);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    gev__hub_close(); /* if it has made one */
    if (t->lost) {
        return false;
    }
    pthread_mutex_lock(&p->lock);
    t->job = NULL;
    p->running--;
    finish_job(p, j, 0);
    return true;
}

static void *run_thread(void *arg)
{
    struct thread *t = arg;
    struct gev_threadpool *p = t->pool;

    this_thread = t;
    gev__job_fail_code = &t->fail_code;
    pthread_setspecific(thread_key, t);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_mutex_lock(&p->lock);
    while (p->threads <= p->max) {
        struct gev__job *j = take_job(p);
        if (j != NULL) {
            if (!do_job(p, t, j)) {
                return NULL; /* the last thread of its process */
            }
        } else if (p->ending || (!wait_for_call(p, t) && p->queued == 0)) {
            break;
        }
    }
    pthread_setspecific(thread_key, NULL);
    end_thread(p, t);
    return NULL;
}

static struct thread *take_record(struct gev_threadpool *p)
{
    struct gev__list *node = gev__list_pop(&p->spare);
    pthread_condattr_t attr;

    if (node != NULL) {
        return gev__container_of(node, struct thread, link);
    }
    struct thread *t = gev__calloc(1, sizeof(*t));
    if (t == NULL) {
        return NULL;
    }
    gev__list_init(&t->link);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->call, &attr);
    pthread_condattr_destroy(&attr);
    t->pool = p;
    t->next = p->records;
    p->records = t;
    return t;
}

/* Under the lock. -EAGAIN, -ENOMEM. */
static int start_thread(struct gev_threadpool *p)
{
    struct thread *t = take_record(p);

    if (t == NULL) {
        return -ENOMEM;
    }
    int rc = gev__thread_start(&t->id, "gev-pool", run_thread, t);
    if (rc < 0) {
        gev__list_push_back(&p->spare, &t->link);
        return rc;
    }
    p->threads++;
    return 0;
}

/* A job has ended its thread: another takes its place. */
static void on_thread_exit(void *arg)
{
    struct thread *t = arg;
    struct gev_threadpool *p = t->pool;

    if (t->lost) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->running--;
    finish_job(p, t->job, -ECANCELED);
    t->job = NULL;
    if (p->queued > 0 && start_thread(p) < 0 && p->threads == 1) {
        cancel_queue(p);
    }
    end_thread(p, t);
}

static void free_records(struct gev_threadpool *p)
{
    struct thread *t = p->records;

    p->records = NULL;
    while (t != NULL) {
        struct thread *next = t->next;
        if (t != this_thread) {
            gev__free(t);
        }
        t = next;
    }
}

/* --- fork ----------------------------------------------------------------- */

static struct gev_threadpool *pool_of(struct gev__list *node)
{
    return gev__container_of(node, struct gev_threadpool, all);
}

static void before_fork(void)
{
    pthread_mutex_lock(&pools_lock);
    gev__list_foreach(node, &pools) {
        pthread_mutex_lock(&pool_of(node)->lock);
    }
}

static void after_fork_in_parent(void)
{
    gev__list_foreach(node, &pools) {
        pthread_mutex_unlock(&pool_of(node)->lock);
    }
    pthread_mutex_unlock(&pools_lock);
}

static void reset(struct gev_threadpool *p)
{
    gev__list_init(&p->queue);
    gev__list_init(&p->idle);
    gev__list_init(&p->spare);
    gev__list_init(&p->idle_watches);
    gev__list_init(&p->end_watches);
    p->last = NULL;
    p->queued = 0;
    p->running = 0;
    p->threads = 0;
    p->surplus = 0;
}

/* The threads are the parent's, and so are the jobs: who waited for them is
 * gone, or is told by his hub. The pool starts anew. If it is one of the pool's
 * threads that forked, it ends with its job. */
static void after_fork_in_child(void)
{
    gev__list_foreach(node, &pools) {
        struct gev_threadpool *p = pool_of(node);
        free_records(p);
        reset(p);
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->ended, NULL);
    }
    if (this_thread != NULL) {
        this_thread->lost = true;
    }
    pthread_mutex_unlock(&pools_lock);
}

/* --- pools ---------------------------------------------------------------- */

static void init_pools(void)
{
    pthread_key_create(&thread_key, on_thread_exit);
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

int gev__threadpool_new(size_t max, struct gev_threadpool **ret_pool)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, init_pools);
    struct gev_threadpool *p = gev__calloc(1, sizeof(*p));
    if (p == NULL) {
        return -ENOMEM;
    }
    atomic_store(&p->refs, 1);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->ended, NULL);
    reset(p);
    p->max = max;
    p->idle_time = IDLE_TIME;
    pthread_mutex_lock(&pools_lock);
    gev__list_push_back(&pools, &p->all);
    pthread_mutex_unlock(&pools_lock);
    *ret_pool = p;
    return 0;
}

void gev__threadpool_ref(struct gev_threadpool *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
}

void gev__threadpool_unref(struct gev_threadpool *p)
{
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    assert(p->threads == 0 && p->last == NULL);
    free_records(p);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->ended);
    gev__free(p);
}

int gev__threadpool_add(struct gev_threadpool *p, struct gev__job *j)
{
    struct thread *t = NULL;
    int rc = 0;

    pthread_mutex_lock(&p->lock);
    if (p->ending) {
        rc = -ECANCELED;
    } else {
        t = wake_one(p);
    }
    if (rc == 0 && t == NULL && p->threads < p->max) {
        rc = start_thread(p);
        rc = p->threads > 0 ? 0 : rc; /* one will do it some time */
    }
    if (rc == 0) {
        gev__list_push_back(&p->queue, &j->link);
        p->queued++;
    }
    pthread_mutex_unlock(&p->lock);
    if (t != NULL) {
        pthread_cond_signal(&t->call);
    }
    return rc;
}

size_t gev__threadpool_count(struct gev_threadpool *p)
{
    pthread_mutex_lock(&p->lock);
    size_t n = p->queued + p->running;
    pthread_mutex_unlock(&p->lock);
    return n;
}

bool gev__threadpool_watch_idle(struct gev_threadpool *p,
                                struct gev__pool_watch *w)
{
    pthread_mutex_lock(&p->lock);
    bool busy = p->queued + p->running > 0;
    if (busy) {
        gev__list_push_back(&p->idle_watches, &w->link);
    }
    pthread_mutex_unlock(&p->lock);
    return busy;
}

bool gev__threadpool_watch_end(struct gev_threadpool *p,
                               struct gev__pool_watch *w)
{
    pthread_mutex_lock(&p->lock);
    bool alive = p->threads > 0;
    if (alive) {
        gev__list_push_back(&p->end_watches, &w->link);
    }
    pthread_mutex_unlock(&p->lock);
    return alive;
}

bool gev__threadpool_unwatch(struct gev_threadpool *p,
                             struct gev__pool_watch *w)
{
    pthread_mutex_lock(&p->lock);
    bool watched = !gev__list_is_empty(&w->link);
    gev__list_remove(&w->link);
    pthread_mutex_unlock(&p->lock);
    return watched;
}

void gev__threadpool_end(struct gev_threadpool *p)
{
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    cancel_queue(p);
    dismiss(p, SIZE_MAX);
    pthread_mutex_unlock(&p->lock);
}

void gev__threadpool_close(struct gev_threadpool *p)
{
    pthread_mutex_lock(&p->lock);
    assert(p->ending);
    while (p->threads > 0) {
        pthread_cond_wait(&p->ended, &p->lock);
    }
    struct thread *last = p->last;
    p->last = NULL;
    pthread_mutex_unlock(&p->lock);
    if (last != NULL) {
        pthread_join(last->id, NULL);
    }
    pthread_mutex_lock(&pools_lock);
    gev__list_remove(&p->all);
    pthread_mutex_unlock(&pools_lock);
}

struct gev_threadpool *gev__threadpool_here(void)
{
    return this_thread == NULL || this_thread->lost ? NULL : this_thread->pool;
}

/* --- settings ------------------------------------------------------------- */

size_t gev__threadpool_size(struct gev_threadpool *p)
{
    pthread_mutex_lock(&p->lock);
    size_t n = p->threads;
    pthread_mutex_unlock(&p->lock);
    return n;
}

size_t gev__threadpool_max(struct gev_threadpool *p)
{
    pthread_mutex_lock(&p->lock);
    size_t n = p->max;
    pthread_mutex_unlock(&p->lock);
    return n;
}

/* More threads for what is queued already. */
static void serve_queue(struct gev_threadpool *p)
{
    size_t wanted = p->queued;

    while (wanted-- > 0 && p->threads < p->max && start_thread(p) == 0) {
    }
}

void gev__threadpool_set_max(struct gev_threadpool *p, size_t max)
{
    pthread_mutex_lock(&p->lock);
    p->max = max;
    if (p->threads > max) {
        dismiss(p, p->threads - max); /* the busy ones see it when done */
    }
    serve_queue(p);
    pthread_mutex_unlock(&p->lock);
}

void gev__threadpool_set_idle_time(struct gev_threadpool *p, int64_t ns)
{
    struct thread *t;

    pthread_mutex_lock(&p->lock);
    p->idle_time = ns;
    while ((t = wake_one(p)) != NULL) {
        pthread_cond_signal(&t->call); /* they are idle anew, by the new time */
    }
    pthread_mutex_unlock(&p->lock);
}

int gev__threadpool_set_size(struct gev_threadpool *p, size_t n)
{
    int rc = 0;

    pthread_mutex_lock(&p->lock);
    if (n > p->max) {
        rc = -EINVAL;
    } else {
        p->surplus = n < p->threads ? dismiss(p, p->threads - n) : 0;
    }
    while (rc == 0 && p->threads < n) {
        rc = start_thread(p);
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}
