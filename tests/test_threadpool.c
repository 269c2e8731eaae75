/* SPDX-License-Identifier: MIT */

/* Thread pools: jobs, their values and failures, bounds, waiting, leaving
 * (THP1 to THP7, THP9, THP10, THP12). How pools end: test_threadpool_end.c. */
#include <gev.h>

#include "support/gate.h"
#include "support/gev_test.h"
#include "support/trace.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

/* One greenlet's apply. */
struct ask {
    gev_threadpool *pool;
    gev_fn fn;
    void *arg;
    double timeout;
    int rc;
    int error; /* errno, if rc is -1 */
    void *value;
};

static void *ask(void *arg)
{
    struct ask *a = arg;
    a->rc = gev_threadpool_apply(a->pool, a->fn, a->arg, &a->value, a->timeout);
    a->error = a->rc < 0 ? errno : 0;
    return NULL;
}

static void *tell_thread(void *arg)
{
    *(pthread_t *)arg = pthread_self();
    return P(7);
}

/* --- values --------------------------------------------------------------- */

/* THP4: it runs in another thread, and the value comes back. */
GEV_TEST(apply_returns_what_the_job_returned)
{
    gev_threadpool *pool = gev_threadpool_new(2);
    pthread_t thread = pthread_self();
    void *value = NULL;
    expect_ok(
        gev_threadpool_apply(pool, tell_thread, &thread, &value, GEV_FOREVER));
    expect_int_eq(N(value), 7);
    expect_false(pthread_equal(thread, pthread_self()));
    expect_ok(gev_threadpool_apply(pool, return_arg, NULL, NULL, 10));
    expect_ok(gev_threadpool_apply(pool, return_arg, NULL, &value, 10));
    expect_null(value);
    gev_threadpool_free(pool);
    gev_threadpool_free(NULL);
}

static void *yield_often(void *arg)
{
    struct gate *g = arg;
    for (int i = 0; i < 100; i++) {
        if (gev_yield() != 0) {
            return gev_fail(errno);
        }
    }
    int gone = atomic_load(&g->gone);
    gate_let(g, 1);
    return P(gone);
}

/* The others go on while the job blocks. */
GEV_TEST(hub_goes_on_meanwhile)
{
    struct gate g;
    gate_init(&g);
    gev_greenlet *other = gev_spawn(yield_often, &g);
    void *value = NULL;
    expect_ok(gev_threadpool_apply(NULL, gate_pass, &g, &value, GEV_FOREVER));
    expect_ptr_eq(value, &g);
    expect_ok(gev_get(other, &value, GEV_FOREVER));
    expect_int_eq(N(value), 0);
    gev_unref(other);
}

/* THP1: NULL is the hub's own, of 10 threads at most. */
GEV_TEST(every_hub_has_a_pool_of_its_own)
{
    expect_uint_eq(gev_threadpool_max(NULL), 10);
    expect_uint_eq(gev_threadpool_size(NULL), 0);
    expect_uint_eq(gev_threadpool_count(NULL), 0);
    expect_ok(gev_threadpool_join(NULL, 0));
    expect_ok(gev_threadpool_apply(NULL, return_arg, NULL, NULL, GEV_FOREVER));
    expect_uint_eq(gev_threadpool_size(NULL), 1);
    expect_ok(gev_hub_close());
    expect_uint_eq(gev_threadpool_size(NULL), 0);
}

GEV_TEST(bad_arguments)
{
    gev_result r = {{NULL}};
    gev_threadpool *pool = gev_threadpool_new(1);
    expect_null(gev_threadpool_new(0)); /* THP1 */
    expect_int_eq(errno, EINVAL);
    expect_fail(gev_threadpool_apply(pool, NULL, NULL, NULL, 1), EINVAL);
    expect_fail(gev_threadpool_apply(pool, return_arg, NULL, NULL, (double)NAN),
                EINVAL);
    expect_fail(gev_threadpool_spawn(pool, NULL, NULL, &r), EINVAL);
    expect_fail(gev_threadpool_join(pool, (double)NAN), EINVAL);
    expect_fail(gev_threadpool_set_max(pool, 0), EINVAL);
    expect_fail(gev_threadpool_set_size(pool, 2), EINVAL);
    expect_fail(gev_threadpool_set_idle_time(pool, (double)NAN), EINVAL);
    expect_fail(gev_threadpool_map(pool, NULL, NULL, NULL, 0), EINVAL);
    expect_fail(gev_threadpool_map(pool, return_arg, NULL, NULL, 1), EINVAL);
    expect_uint_eq(gev_threadpool_size(pool), 0);
    gev_threadpool_free(pool);
}

/* --- failures ------------------------------------------------------------- */

static void *fail_without_hub(void *arg)
{
    size_t before = test_open_fds();
    void *failed = gev_fail(N(arg));
    return test_open_fds() == before ? failed : NULL;
}

static void *fail_with_hub(void *arg)
{
    return gev_yield() == 0 ? gev_fail(N(arg)) : NULL;
}

static void *fail_before_hub(void *arg)
{
    void *failed = gev_fail(N(arg));
    return gev_yield() == 0 ? failed : NULL;
}

/* gev_fail in a job makes its error, and needs no hub for it (THP3, THP9). */
GEV_TEST(jobs_fail)
{
    void *value = P(3);
    expect_fail(gev_threadpool_apply(NULL, fail_without_hub, P(EIO), &value,
                                     GEV_FOREVER),
                EIO);
    expect_fail(gev_threadpool_apply(NULL, fail_with_hub, P(EXDEV), &value, 10),
                EXDEV);
    expect_fail(
        gev_threadpool_apply(NULL, fail_before_hub, P(ENXIO), &value, 10),
        ENXIO);
    expect_fail(gev_threadpool_apply(NULL, fail_with, P(-1), &value, 10),
                EINVAL);
    expect_int_eq(N(value), 3);
    expect_uint_eq(gev_threadpool_size(NULL), 1);
}

/* THP3: nobody is told a result that nobody wants, but for the handler. */
GEV_TEST(unwanted_failures_are_reported)
{
    int errors = 0;
    gev_set_error_handler(count_error, &errors);
    expect_ok(gev_threadpool_spawn(NULL, fail_with, P(EIO), NULL));
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(errors, 1);
    expect_ok(gev_threadpool_spawn(NULL, fail_with, P(ECANCELED), NULL));
    expect_ok(gev_threadpool_spawn(NULL, return_arg, P(1), NULL));
    gev_result r = {{NULL}};
    expect_ok(gev_threadpool_spawn(NULL, fail_with, P(EIO), &r));
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(errors, 1);
    expect_fail(gev_result_get(&r, NULL, 0), EIO);
    expect_fail(gev_threadpool_apply(NULL, fail_with, P(EIO), NULL, 10), EIO);
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(errors, 1);
}

/* --- jobs that use gev ---------------------------------------------------- */

static void say_deferred(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void *park_with_defer(void *arg)
{
    return gev_defer(say_deferred, arg) == 0 ? park_forever(arg) : NULL;
}

static void *live_in_a_job(void *arg)
{
    void *value = NULL;
    gev_greenlet *g = gev_spawn(return_arg, P(5));
    int wrong = gev_get(g, &value, GEV_FOREVER) != 0 || N(value) != 5;
    gev_unref(g);
    gev_unref(gev_spawn(park_with_defer, arg));
    wrong += gev_sleep(0.001) != 0;
    wrong += gev_id(gev_current()) != 1;
    return P(wrong);
}

/* THP9: its thread has a hub, which is closed when the job returns: what is
 * left in it is killed. */
GEV_TEST(jobs_may_use_gev)
{
    atomic_int deferred = 0;
    expect_not_null(gev_hub_get());
    size_t before = test_open_fds();
    for (int i = 1; i <= 3; i++) {
        void *value = P(1);
        expect_ok(gev_threadpool_apply(NULL, live_in_a_job, &deferred, &value,
                                       GEV_FOREVER));
        expect_int_eq(N(value), 0);
        expect_int_eq(atomic_load(&deferred), i);
        expect_uint_eq(test_open_fds(), before);
    }
    expect_uint_eq(gev_threadpool_size(NULL), 1);
}

static void *look_at_signals(void *arg)
{
    sigset_t mask;
    (void)arg;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    return P(
        sigismember(&mask, SIGINT) == 1 && sigismember(&mask, SIGCHLD) == 1 &&
        sigismember(&mask, SIGPIPE) == 1 && sigismember(&mask, SIGSEGV) == 0);
}

/* The program's signals are for the program's threads. */
GEV_TEST(signals_are_blocked_in_jobs)
{
    sigset_t before;
    sigset_t after;
    void *value = NULL;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    expect_ok(gev_threadpool_apply(NULL, look_at_signals, NULL, &value, 10));
    expect_int_eq(N(value), 1);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int i = 1; i < 32; i++) {
        expect_int_eq(sigismember(&after, i), sigismember(&before, i));
    }
}

struct nested {
    gev_threadpool *pool;
    pthread_t outer;
    pthread_t inner;
    pthread_t inner_null;
};

static void *apply_in_job(void *arg)
{
    struct nested *n = arg;
    void *value = NULL;
    size_t fds = test_open_fds();
    n->outer = pthread_self();
    int wrong =
        gev_threadpool_apply(n->pool, tell_thread, &n->inner, &value, -1) != 0;
    wrong += N(value) != 7;
    wrong += gev_threadpool_apply(NULL, tell_thread, &n->inner_null, NULL, 1);
    wrong += gev_threadpool_apply(NULL, fail_with, P(EIO), &value, 1) != -1 ||
             errno != EIO;
    wrong += gev_threadpool_join(NULL, 1) != -1 || errno != EDEADLK;
    wrong += gev_threadpool_count(NULL) != 1;
    void *in[2] = {P(1), P(2)};
    wrong += gev_threadpool_map(NULL, return_arg, in, in, 2) != 0;
    wrong += gev_threadpool_map(n->pool, fail_with, in, in, 2) != -1 ||
             errno != EPERM; /* 1 */
    wrong += N(in[0]) != 1 || N(in[1]) != 2;
    wrong += test_open_fds() != fds; /* no hub was needed */
    return P(wrong);
}

/* THP4: in place, or a pool of one thread could not do it. */
GEV_TEST(apply_in_a_job_runs_in_place)
{
    struct nested n = {.pool = gev_threadpool_new(1)};
    void *value = P(1);
    expect_ok(gev_threadpool_apply(n.pool, apply_in_job, &n, &value, 20));
    expect_int_eq(N(value), 0);
    expect_true(pthread_equal(n.outer, n.inner));
    expect_true(pthread_equal(n.outer, n.inner_null));
    gev_threadpool_free(n.pool);
}

static void *apply_elsewhere(void *pool)
{
    pthread_t there;
    int rc = gev_threadpool_apply(pool, tell_thread, &there, NULL, 20);
    return P(rc == 0 && !pthread_equal(there, pthread_self()));
}

static void *spawn_elsewhere(void *pool)
{
    gev_result r = {{NULL}};
    void *value = NULL;
    return P(gev_threadpool_spawn(pool, return_arg, P(4), &r) == 0 &&
             gev_result_get(&r, &value, 20) == 0 && N(value) == 4);
}

/* A job may wait for a job of another pool: by a hub in its thread. */
GEV_TEST(jobs_may_wait_for_jobs)
{
    gev_threadpool *pool = gev_threadpool_new(1);
    void *value = NULL;
    expect_ok(gev_threadpool_apply(NULL, apply_elsewhere, pool, &value, 20));
    expect_int_eq(N(value), 1);
    expect_ok(gev_threadpool_apply(NULL, spawn_elsewhere, pool, &value, 20));
    expect_int_eq(N(value), 1);
    gev_threadpool_free(pool);
}

/* --- bounds --------------------------------------------------------------- */

/* THP1, THP2, THP12: threads come as they are needed, more jobs wait. spawn
 * never parks. */
GEV_TEST(threads_are_started_on_demand)
{
    struct gate g;
    gev_result r[5] = {{{NULL}}};
    gate_init(&g);
    gev_threadpool *pool = gev_threadpool_new(3);
    expect_uint_eq(gev_threadpool_size(pool), 0);
    for (int i = 0; i < 20; i++) {
        expect_ok(gev_threadpool_apply(pool, return_arg, NULL, NULL, 10));
    }
    expect_uint_eq(gev_threadpool_size(pool), 1);
    for (size_t i = 0; i < 5; i++) {
        expect_ok(gev_threadpool_spawn(pool, gate_pass, &g, &r[i]));
        expect_uint_eq(gev_threadpool_count(pool), i + 1);
    }
    gate_await(&g, 3);
    expect_uint_eq(gev_threadpool_size(pool), 3);
    expect_int_eq(atomic_load(&g.came), 3);
    expect_fail(gev_threadpool_join(pool, 0), ETIMEDOUT);
    expect_fail(gev_threadpool_join(pool, 0.001), ETIMEDOUT);
    gate_let(&g, 5);
    expect_ok(gev_threadpool_join(pool, 20));
    expect_uint_eq(gev_threadpool_count(pool), 0);
    for (size_t i = 0; i < 5; i++) {
        void *value = NULL;
        expect_ok(gev_result_get(&r[i], &value, 0)); /* THP7: they are set */
        expect_ptr_eq(value, &g);
    }
    gev_threadpool_free(pool);
}

static void *append(void *arg)
{
    trace(arg);
    return NULL;
}

/* Jobs are begun in the order in which they came. */
GEV_TEST(jobs_are_done_in_order)
{
    gev_threadpool *pool = gev_threadpool_new(1);
    static const char *const words[] = {"a", "b", "c", "d", "e"};
    trace_reset();
    for (size_t i = 0; i < 5; i++) {
        expect_ok(gev_threadpool_spawn(pool, append,
                                       (void *)(uintptr_t)words[i], NULL));
    }
    expect_ok(gev_threadpool_join(pool, 20));
    expect_str_eq(trace_text(), "a b c d e");
    gev_threadpool_free(pool);
}

/* THP1: threads that are idle for long enough end. */
GEV_TEST(idle_threads_end)
{
    gev_threadpool *pool = gev_threadpool_new(4);
    expect_ok(gev_threadpool_set_idle_time(pool, 0.01));
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_threadpool_set_size(pool, 4));
        expect_ok(gev_threadpool_apply(pool, return_arg, NULL, NULL, 10));
        expect_until(gev_threadpool_size(pool) == 0);
    }
    expect_ok(gev_threadpool_set_size(pool, 2));
    expect_ok(gev_threadpool_set_idle_time(pool, GEV_FOREVER));
    expect_ok(gev_threadpool_set_size(pool, 2)); /* if they were quicker */
    expect_ok(gev_sleep(0.03));
    expect_uint_eq(gev_threadpool_size(pool), 2);
    /* also those that are idle by now */
    expect_ok(gev_threadpool_set_idle_time(pool, 0));
    expect_until(gev_threadpool_size(pool) == 0);
    gev_threadpool_free(pool);
}

/* An idle pool wakes nobody. */
GEV_TEST(idle_pool_sleeps)
{
    struct rusage before;
    struct rusage after;
    gev_threadpool *pool = gev_threadpool_new(4);
    expect_ok(gev_threadpool_set_size(pool, 4));
    expect_ok(gev_threadpool_apply(pool, return_arg, NULL, NULL, 10));
    expect_ok(gev_sleep(0.05)); /* they have found their places */
    getrusage(RUSAGE_SELF, &before);
    expect_ok(gev_sleep(0.2));
    getrusage(RUSAGE_SELF, &after);
    expect_le(after.ru_nvcsw - before.ru_nvcsw, 8); /* main's own */
    gev_threadpool_free(pool);
}

/* THP6: a higher bound serves those who wait; a lower one ends threads. */
GEV_TEST(bounds_can_be_changed)
{
    struct gate g;
    gate_init(&g);
    gev_threadpool *pool = gev_threadpool_new(1);
    for (int i = 0; i < 6; i++) {
        expect_ok(gev_threadpool_spawn(pool, gate_pass, &g, NULL));
    }
    gate_await(&g, 1);
    expect_ok(gev_threadpool_set_max(pool, 4));
    gate_await(&g, 3);
    expect_uint_eq(gev_threadpool_size(pool), 4);
    expect_ok(gev_threadpool_set_max(pool, 2));
    expect_uint_eq(gev_threadpool_max(pool), 2);
    expect_uint_eq(gev_threadpool_size(pool), 4); /* they are busy */
    gate_let(&g, 4);
    gate_await(&g, 2);
    expect_until(gev_threadpool_size(pool) == 2);
    gate_let(&g, 2);
    expect_ok(gev_threadpool_join(pool, 20));
    expect_uint_eq(gev_threadpool_size(pool), 2);
    expect_ok(gev_threadpool_set_max(pool, 1));
    expect_until(gev_threadpool_size(pool) == 1);
    expect_ok(gev_threadpool_apply(pool, return_arg, NULL, NULL, 10));
    gev_threadpool_free(pool);
}

/* THP6: threads before they are needed, and none without need. */
GEV_TEST(size_can_be_set)
{
    gev_threadpool *pool = gev_threadpool_new(5);
    expect_ok(gev_threadpool_set_size(pool, 5));
    expect_uint_eq(gev_threadpool_size(pool), 5);
    expect_fail(gev_threadpool_set_size(pool, 6), EINVAL);
    expect_ok(gev_threadpool_set_size(pool, 2));
    expect_until(gev_threadpool_size(pool) == 2);
    expect_ok(gev_threadpool_set_size(pool, 0));
    expect_until(gev_threadpool_size(pool) == 0);
    expect_ok(gev_threadpool_apply(pool, return_arg, NULL, NULL, 10));
    expect_uint_eq(gev_threadpool_size(pool), 1);
    gev_threadpool_free(pool);
}

/* --- leaving -------------------------------------------------------------- */

/* THP5: the caller leaves, the job does not; its slot is free when it ends. */
GEV_TEST(timeout_leaves_the_job_alone)
{
    struct gate g;
    void *value = P(2);
    gate_init(&g);
    gev_threadpool *pool = gev_threadpool_new(1);
    expect_fail(gev_threadpool_apply(pool, gate_pass, &g, &value, 0.005),
                ETIMEDOUT);
    expect_int_eq(N(value), 2);
    gate_await(&g, 1);
    expect_uint_eq(gev_threadpool_count(pool), 1);
    expect_fail(gev_threadpool_apply(pool, return_arg, P(1), &value, 0.005),
                ETIMEDOUT); /* no slot */
    expect_uint_eq(gev_threadpool_count(pool), 2);
    gate_let(&g, 1);
    expect_ok(gev_threadpool_join(pool, 20));
    expect_int_eq(atomic_load(&g.gone), 1);
    expect_ok(gev_threadpool_apply(pool, return_arg, P(1), &value, 10));
    gev_threadpool_free(pool);
}

/* THP5 */
GEV_TEST(killed_callers_leave_at_once)
{
    struct gate g;
    gate_init(&g);
    struct ask a = {.fn = gate_pass, .arg = &g, .timeout = GEV_FOREVER};
    gev_greenlet *caller = gev_spawn(ask, &a);
    expect_ok(gev_yield());
    gate_await(&g, 1);
    expect_ok(gev_kill(caller, GEV_FOREVER));
    expect_int_eq(a.rc, -1);
    expect_int_eq(a.error, ECANCELED);
    expect_int_eq(atomic_load(&g.gone), 0);
    expect_uint_eq(gev_threadpool_count(NULL), 1);
    gate_let(&g, 1);
    expect_ok(gev_threadpool_join(NULL, 20));
    gev_unref(caller);
}

static void kill_it(void *greenlet)
{
    expect_ok(gev_kill(greenlet, 0));
}

/* Done in time, then killed before it runs: it has its value. */
GEV_TEST(kill_after_the_answer_comes_too_late)
{
    struct ask a = {.fn = return_arg, .arg = P(9), .timeout = GEV_FOREVER};
    gev_greenlet *caller = gev_spawn(ask, &a);
    expect_ok(gev_yield());
    while (gev_threadpool_count(NULL) > 0) {
        (void)usleep(100);
    }
    /* behind the answer, and ahead of the caller */
    expect_ok(gev_hub_post(gev_hub_get(), kill_it, caller));
    expect_ok(gev_join(caller, GEV_FOREVER));
    expect_int_eq(a.rc, 0);
    expect_int_eq(N(a.value), 9);
    gev_unref(caller);
}

/* Who cannot wait does not begin anything either. */
GEV_TEST(nothing_is_begun_that_cannot_be_waited_for)
{
    struct gate g;
    gate_init(&g);
    expect_fail(gev_threadpool_apply(NULL, gate_pass, &g, NULL, 0), ETIMEDOUT);
    expect_fail(gev_threadpool_apply(NULL, gate_pass, &g, NULL, -1), ETIMEDOUT);
    gev_timeout t = {{0}};
    expect_ok(gev_timeout_begin(&t, 0));
    expect_fail(gev_threadpool_apply(NULL, gate_pass, &g, NULL, 5), ETIMEDOUT);
    expect_true(gev_timeout_end(&t));
    expect_fail(gev_kill(gev_current(), 1), ECANCELED);
    expect_fail(gev_threadpool_apply(NULL, gate_pass, &g, NULL, 5), ECANCELED);
    void *in[2] = {&g, &g};
    expect_fail(gev_threadpool_map(NULL, gate_pass, in, NULL, 2), ECANCELED);
    expect_int_eq(gev_uncancel(), ECANCELED);
    expect_uint_eq(gev_threadpool_count(NULL), 0);
    expect_int_eq(atomic_load(&g.came), 0);
}

static void *live_a_little(void *arg)
{
    (void)usleep(20000);
    return arg;
}

static void *join_thread(void *arg)
{
    void *value = NULL;
    int error = pthread_join(*(pthread_t *)arg, &value);
    return error == 0 ? value : gev_fail(error);
}

/* What has no cooperative counterpart can be waited for in a job, for as long
 * as one likes: here another library's thread. */
GEV_TEST(foreign_threads_can_be_joined)
{
    pthread_t thread;
    void *value = NULL;
    expect_int_eq(pthread_create(&thread, NULL, live_a_little, P(6)), 0);
    gev_result r = {{NULL}};
    expect_ok(gev_threadpool_spawn(NULL, join_thread, &thread, &r));
    expect_fail(gev_result_get(&r, &value, 0.001), ETIMEDOUT);
    expect_ok(gev_result_get(&r, &value, 20));
    expect_int_eq(N(value), 6);
}

static gev_result from_callback;

static void use_pool_in_callback(void *arg)
{
    struct gate *g = arg;
    expect_fail(gev_threadpool_apply(NULL, gate_pass, g, NULL, 1), EPERM);
    expect_fail(gev_threadpool_join(NULL, 1), EPERM);
    expect_ok(gev_threadpool_spawn(NULL, return_arg, P(3), &from_callback));
}

/* In a callback: spawn does, apply cannot. */
GEV_TEST(callbacks_may_spawn)
{
    struct gate g;
    void *value = NULL;
    gate_init(&g);
    gev_result_init(&from_callback);
    expect_ok(gev_threadpool_spawn(NULL, gate_pass, &g, NULL));
    gate_await(&g, 1);
    expect_ok(gev_hub_post(gev_hub_get(), use_pool_in_callback, &g));
    expect_ok(gev_yield());
    expect_ok(gev_result_get(&from_callback, &value, 20));
    expect_int_eq(N(value), 3);
    gate_let(&g, 1);
    expect_ok(gev_threadpool_join(NULL, 20));
    expect_ok(gev_result_fini(&from_callback));
}

struct late {
    gev_event event;
    sem_t go;
};

static void *post_late(void *arg)
{
    struct late *l = arg;
    gate_take(&l->go);
    return P(gev_event_post(&l->event));
}

/* A job holds its hub until it ends, also when its caller has left: it may wake
 * somebody in another way. Without any there is EDEADLK. */
GEV_TEST(jobs_hold_their_hub)
{
    struct late l;
    gev_event_init(&l.event);
    sem_init(&l.go, 0, 0);
    expect_fail(gev_threadpool_apply(NULL, post_late, &l, NULL, 0.001),
                ETIMEDOUT);
    sem_post(&l.go);
    expect_ok(gev_event_wait(&l.event, GEV_FOREVER));
    expect_ok(gev_threadpool_join(NULL, GEV_FOREVER));
    gev_event_clear(&l.event);
    expect_fail(gev_event_wait(&l.event, GEV_FOREVER), EDEADLK);
    expect_ok(gev_event_fini(&l.event));
}

/* --- results -------------------------------------------------------------- */

/* THP10: they are waitables as others are. */
GEV_TEST(results_can_be_waited_for_together)
{
    enum { JOBS = 20 };
    gev_result r[JOBS];
    gev_waitable *w[JOBS];
    for (int i = 0; i < JOBS; i++) {
        gev_result_init(&r[i]);
        w[i] = GEV_WAITABLE(&r[i]);
        expect_ok(gev_threadpool_spawn(
            NULL, i % 5 == 4 ? fail_with : return_arg, P(i + 1), &r[i]));
    }
    expect_int_eq(gev_wait(w, JOBS, 0, 20), JOBS);
    for (int i = 0; i < JOBS; i++) {
        void *value = NULL;
        int rc = gev_result_get(&r[i], &value, 0);
        if (i % 5 == 4) {
            expect_fail(rc, i + 1);
        } else {
            expect_ok(rc);
            expect_int_eq(N(value), i + 1);
        }
        expect_ok(gev_result_fini(&r[i]));
    }
}

/* A result that is ready keeps what it has. */
GEV_TEST(ready_results_stay_as_they_are)
{
    gev_result r = {{NULL}};
    void *value = NULL;
    expect_ok(gev_result_set(&r, P(1)));
    expect_ok(gev_threadpool_spawn(NULL, return_arg, P(2), &r));
    expect_ok(gev_threadpool_join(NULL, 20));
    expect_ok(gev_result_get(&r, &value, 0));
    expect_int_eq(N(value), 1);
}

static void *spawn_for_another(void *result)
{
    return P(gev_threadpool_spawn(NULL, return_arg, NULL, result) == -1 &&
             errno == EPERM);
}

/* P9: another thread's result. */
GEV_TEST(foreign_results_are_eperm)
{
    gev_result r;
    pthread_t thread;
    void *right = NULL;
    gev_result_init(&r);
    expect_int_eq(pthread_create(&thread, NULL, spawn_for_another, &r), 0);
    expect_int_eq(pthread_join(thread, &right), 0);
    expect_int_eq(N(right), 1);
}

/* --- map ------------------------------------------------------------------ */

static void *square(void *arg)
{
    return P(N(arg) * N(arg));
}

/* THP4 */
GEV_TEST(map_keeps_the_order)
{
    enum { ITEMS = 300 };
    void *in[ITEMS];
    void *out[ITEMS] = {NULL};
    for (int i = 0; i < ITEMS; i++) {
        in[i] = P(i);
    }
    gev_threadpool *pool = gev_threadpool_new(4);
    expect_ok(gev_threadpool_map(pool, square, in, out, ITEMS));
    expect_ok(gev_threadpool_map(pool, square, in, NULL, ITEMS));
    expect_ok(gev_threadpool_map(pool, square, in, in, ITEMS));
    expect_ok(gev_threadpool_map(pool, square, NULL, NULL, 0));
    for (int i = 0; i < ITEMS; i++) {
        expect_int_eq(N(out[i]), i * i);
        expect_int_eq(N(in[i]), i * i);
    }
    expect_uint_eq(gev_threadpool_count(pool), 0);
    gev_threadpool_free(pool);
}

static atomic_int items_run;

static void *fail_at_3(void *arg)
{
    atomic_fetch_add(&items_run, 1);
    return N(arg) == 3 ? gev_fail(EDOM) : arg;
}

/* THP4: the first failure is the map's, and the rest is not begun. */
GEV_TEST(map_stops_at_the_first_failure)
{
    enum { ITEMS = 50 };
    void *in[ITEMS];
    void *out[ITEMS] = {NULL};
    for (int i = 0; i < ITEMS; i++) {
        in[i] = P(i);
    }
    gev_threadpool *pool = gev_threadpool_new(1);
    atomic_store(&items_run, 0);
    expect_fail(gev_threadpool_map(pool, fail_at_3, in, out, ITEMS), EDOM);
    expect_int_eq(atomic_load(&items_run), 4);
    expect_null(out[1]);
    gev_threadpool_free(pool);
}

struct mapping {
    gev_threadpool *pool;
    void *in[4];
    int error;
};

static void *map_gates(void *arg)
{
    struct mapping *m = arg;
    m->error = gev_threadpool_map(m->pool, gate_pass, m->in, m->in, 4) == 0
                   ? 0
                   : errno;
    return NULL;
}

/* A killed caller leaves at once; what has not begun never does. */
GEV_TEST(map_can_be_killed)
{
    struct gate g;
    gate_init(&g);
    struct mapping m = {.pool = gev_threadpool_new(2), .in = {&g, &g, &g, &g}};
    gev_greenlet *caller = gev_spawn(map_gates, &m);
    expect_ok(gev_yield());
    gate_await(&g, 2);
    expect_ok(gev_kill(caller, GEV_FOREVER));
    expect_int_eq(m.error, ECANCELED);
    gate_let(&g, 4);
    expect_ok(gev_threadpool_join(m.pool, 20));
    expect_int_eq(atomic_load(&g.came), 2);
    gev_unref(caller);
    gev_threadpool_free(m.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(apply_returns_what_the_job_returned),
        cmocka_unit_test(hub_goes_on_meanwhile),
        cmocka_unit_test(every_hub_has_a_pool_of_its_own),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(jobs_fail),
        cmocka_unit_test(unwanted_failures_are_reported),
        cmocka_unit_test(jobs_may_use_gev),
        cmocka_unit_test(signals_are_blocked_in_jobs),
        cmocka_unit_test(apply_in_a_job_runs_in_place),
        cmocka_unit_test(jobs_may_wait_for_jobs),
        cmocka_unit_test(threads_are_started_on_demand),
        cmocka_unit_test(jobs_are_done_in_order),
        cmocka_unit_test(idle_threads_end),
        cmocka_unit_test(idle_pool_sleeps),
        cmocka_unit_test(bounds_can_be_changed),
        cmocka_unit_test(size_can_be_set),
        cmocka_unit_test(timeout_leaves_the_job_alone),
        cmocka_unit_test(killed_callers_leave_at_once),
        cmocka_unit_test(kill_after_the_answer_comes_too_late),
        cmocka_unit_test(nothing_is_begun_that_cannot_be_waited_for),
        cmocka_unit_test(foreign_threads_can_be_joined),
        cmocka_unit_test(callbacks_may_spawn),
        cmocka_unit_test(jobs_hold_their_hub),
        cmocka_unit_test(results_can_be_waited_for_together),
        cmocka_unit_test(ready_results_stay_as_they_are),
        cmocka_unit_test(foreign_results_are_eperm),
        cmocka_unit_test(map_keeps_the_order),
        cmocka_unit_test(map_stops_at_the_first_failure),
        cmocka_unit_test(map_can_be_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
