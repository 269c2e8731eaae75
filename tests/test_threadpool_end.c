/* SPDX-License-Identifier: MIT */

/* How thread pools end, and what happens to jobs in flight: free, the hub's
 * end, fork, several hubs, threads that end in a job, and races between all of
 * these (THP3, THP5, THP7, THP8, P3, P8, P9, P10). */
#include <gev.h>

#include "support/gate.h"
#include "support/gev_test.h"
#include "support/trace.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- free ----------------------------------------------------------------- */

struct ask {
    gev_threadpool *pool;
    gev_fn fn;
    void *arg;
    int error; /* 0: it had a value */
};

static void *ask(void *arg)
{
    struct ask *a = arg;
    int rc = gev_threadpool_apply(a->pool, a->fn, a->arg, NULL, GEV_FOREVER);
    a->error = rc == 0 ? 0 : errno;
    return NULL;
}

static void *open_gate_soon(void *arg)
{
    gev_sleep(0.005);
    gate_let(arg, 1);
    return NULL;
}

/* THP7: what runs is waited for, while others go on; what is queued fails. */
GEV_TEST(free_waits_for_what_runs)
{
    struct gate g;
    gev_result running = {{NULL}};
    gev_result queued = {{NULL}};
    void *value = NULL;
    gate_init(&g);
    gev_threadpool *pool = gev_threadpool_new(1);
    struct ask a = {.pool = pool, .fn = return_arg};
    expect_ok(gev_threadpool_spawn(pool, gate_pass, &g, &running));
    expect_ok(gev_threadpool_spawn(pool, gate_pass, &g, &queued));
    gev_greenlet *caller = gev_spawn(ask, &a);
    gev_greenlet *opener = gev_spawn(open_gate_soon, &g);
    expect_ok(gev_yield());
    gate_await(&g, 1);
    gev_threadpool_free(pool);
    expect_int_eq(atomic_load(&g.came), 1);
    expect_int_eq(atomic_load(&g.gone), 1);
    expect_ok(gev_result_get(&running, &value, 0));
    expect_ptr_eq(value, &g);
    expect_fail(gev_result_get(&queued, NULL, 0), ECANCELED);
    expect_ok(gev_join(caller, GEV_FOREVER));
    expect_int_eq(a.error, ECANCELED);
    gev_unref(caller);
    gev_unref(opener);
}

static void *free_pool(void *pool)
{
    gev_threadpool_free(pool);
    return NULL;
}

static void *use_ending_pool(void *arg)
{
    const struct ask *a = arg;
    int wrong = gev_threadpool_spawn(a->pool, return_arg, NULL, NULL) != -1 ||
                errno != ECANCELED;
    wrong += gev_threadpool_apply(a->pool, return_arg, NULL, NULL, 1) != -1 ||
             errno != ECANCELED;
    wrong += gev_threadpool_join(a->pool, GEV_FOREVER) != 0;
    return P(wrong);
}

/* A kill does not end the wait half-way. New jobs are refused, joins go on. */
GEV_TEST(free_is_not_interrupted)
{
    struct gate g;
    void *wrong = P(1);
    gate_init(&g);
    struct ask a = {.pool = gev_threadpool_new(2)};
    expect_ok(gev_threadpool_spawn(a.pool, gate_pass, &g, NULL));
    gate_await(&g, 1);
    gev_greenlet *freer = gev_spawn(free_pool, a.pool);
    gev_greenlet *user = gev_spawn(use_ending_pool, &a);
    expect_ok(gev_yield());
    expect_ok(gev_kill(freer, 0));
    expect_ok(gev_sleep(0.005));
    expect_false(gev_dead(freer));
    gate_let(&g, 1);
    expect_ok(gev_join(freer, GEV_FOREVER));
    expect_ok(gev_get(user, &wrong, GEV_FOREVER));
    expect_int_eq(N(wrong), 0);
    gev_unref(freer);
    gev_unref(user);
}

static void *let_late(void *arg)
{
    (void)usleep(3000);
    gate_let(arg, 1);
    return NULL;
}

static void free_in_callback(void *pool)
{
    gev_threadpool_free(pool);
}

/* Where it cannot park it blocks; so in a thread without a hub. */
GEV_TEST(free_blocks_where_it_cannot_park)
{
    for (int i = 0; i < 2; i++) {
        struct gate g;
        pthread_t thread;
        gate_init(&g);
        gev_threadpool *pool = gev_threadpool_new(1);
        expect_ok(gev_threadpool_spawn(pool, gate_pass, &g, NULL));
        gate_await(&g, 1);
        expect_int_eq(pthread_create(&thread, NULL, let_late, &g), 0);
        if (i == 0) {
            expect_ok(gev_hub_post(gev_hub_get(), free_in_callback, pool));
            expect_ok(gev_run(GEV_FOREVER));
        } else {
            pthread_t freer;
            expect_int_eq(pthread_create(&freer, NULL, free_pool, pool), 0);
            expect_int_eq(pthread_join(freer, NULL), 0);
        }
        expect_int_eq(atomic_load(&g.gone), 1);
        expect_int_eq(pthread_join(thread, NULL), 0);
    }
}

/* --- the hub's end -------------------------------------------------------- */

/* The hub's own pool: what runs is waited for, what is queued is not begun. */
GEV_TEST(closing_hub_waits_for_its_pool)
{
    struct gate g;
    pthread_t thread;
    gate_init(&g);
    expect_ok(gev_threadpool_set_max(NULL, 1));
    expect_ok(gev_threadpool_spawn(NULL, gate_pass, &g, NULL));
    expect_ok(gev_threadpool_spawn(NULL, gate_pass, &g, NULL));
    struct ask a = {.fn = gate_pass, .arg = &g};
    gev_unref(gev_spawn(ask, &a));
    expect_ok(gev_yield());
    gate_await(&g, 1);
    expect_int_eq(pthread_create(&thread, NULL, let_late, &g), 0);
    expect_ok(gev_hub_close());
    expect_int_eq(a.error, ECANCELED);
    expect_int_eq(atomic_load(&g.came), 1);
    expect_int_eq(atomic_load(&g.gone), 1);
    expect_int_eq(pthread_join(thread, NULL), 0);
}

struct visit {
    gev_threadpool *pool;
    struct gate *gate;
    bool closes;
    struct ask ask; /* not on the thread's stack: its hub may end after that */
    gev_result never;
};

/* A thread whose hub ends with jobs in flight in a pool of others. */
static void *leave_jobs_behind(void *arg)
{
    struct visit *v = arg;
    v->ask = (struct ask){.pool = v->pool, .fn = gate_pass, .arg = v->gate};
    gev_result_init(&v->never);
    int wrong = gev_threadpool_spawn(v->pool, gate_pass, v->gate, &v->never);
    wrong += gev_threadpool_spawn(v->pool, return_arg, NULL, &v->never);
    gev_unref(gev_spawn(ask, &v->ask));
    wrong += gev_yield() != 0;
    if (v->closes) {
        wrong += gev_hub_close() != 0;
        wrong += v->ask.error != ECANCELED;
    }
    return P(wrong);
}

/* Answers never reach a hub that is gone. */
GEV_TEST(jobs_may_outlive_their_hub)
{
    struct gate g;
    gate_init(&g);
    struct visit v = {.pool = gev_threadpool_new(2), .gate = &g};
    for (int i = 0; i < 4; i++) {
        pthread_t thread;
        void *wrong = P(1);
        v.closes = i % 2 == 0;
        expect_int_eq(pthread_create(&thread, NULL, leave_jobs_behind, &v), 0);
        expect_int_eq(pthread_join(thread, &wrong), 0);
        expect_int_eq(N(wrong), 0);
    }
    expect_ge(gev_threadpool_count(v.pool), 8);
    gate_let(&g, 8);
    expect_ok(gev_threadpool_join(v.pool, 20));
    expect_int_eq(atomic_load(&g.gone), 8);
    gev_threadpool_free(v.pool);
}

/* --- several hubs --------------------------------------------------------- */

enum { HUBS = 4, CALLERS = 10, CALLS = 200 };

static void *add_one(void *arg)
{
    return P(N(arg) + 1);
}

static void *call_often(void *pool)
{
    void *value = P(0);
    for (int i = 0; i < CALLS; i++) {
        if (gev_threadpool_apply(pool, add_one, value, &value, 60) != 0) {
            return gev_fail(errno);
        }
    }
    return value;
}

static void *share_pool(void *pool)
{
    gev_greenlet *g[CALLERS];
    int wrong = 0;
    for (int i = 0; i < CALLERS; i++) {
        g[i] = gev_spawn(call_often, pool);
    }
    for (int i = 0; i < CALLERS; i++) {
        void *value = NULL;
        wrong += gev_get(g[i], &value, GEV_FOREVER) != 0 || N(value) != CALLS;
    }
    gev_unrefall(g, CALLERS);
    wrong += gev_threadpool_join(pool, 60) != 0;
    wrong += gev_hub_close() != 0;
    return P(wrong);
}

/* A pool serves any hub; each answer goes home. */
GEV_TEST(pool_may_be_used_from_several_hubs)
{
    pthread_t threads[HUBS];
    gev_threadpool *pool = gev_threadpool_new(3);
    for (int i = 0; i < HUBS; i++) {
        expect_int_eq(pthread_create(&threads[i], NULL, share_pool, pool), 0);
    }
    for (int i = 0; i < HUBS; i++) {
        void *wrong = P(1);
        expect_int_eq(pthread_join(threads[i], &wrong), 0);
        expect_int_eq(N(wrong), 0);
    }
    expect_uint_eq(gev_threadpool_count(pool), 0);
    gev_threadpool_free(pool);
}

/* --- threads that end ----------------------------------------------------- */

static void *end_thread(void *arg)
{
    pthread_exit(arg);
}

static void *cancel_thread(void *arg)
{
#if !ON_ASAN
    pthread_cancel(pthread_self());
    pthread_testcancel();
#endif
    pthread_exit(arg);
}

/* P10: a job that ends its thread is as one that was cancelled; the pool starts
 * another. */
GEV_TEST(job_may_end_its_thread)
{
    gev_threadpool *pool = gev_threadpool_new(1);
    void *value = NULL;
    for (int i = 0; i < 3; i++) {
        expect_fail(gev_threadpool_apply(pool, end_thread, NULL, NULL, 20),
                    ECANCELED);
        expect_ok(gev_threadpool_apply(pool, return_arg, P(2), &value, 20));
        expect_int_eq(N(value), 2);
        expect_fail(gev_threadpool_apply(pool, cancel_thread, NULL, NULL, 20),
                    ECANCELED);
    }
    expect_ok(gev_threadpool_spawn(pool, end_thread, NULL, NULL));
    expect_ok(gev_threadpool_spawn(pool, end_thread, NULL, NULL));
    expect_ok(gev_threadpool_join(pool, 20));
    gev_threadpool_free(pool);
}

/* --- fork ----------------------------------------------------------------- */

#if !ON_TSAN

/* Ends a child: 0 if all was well, else the number of what was not. */
#define CHILD_NEEDS(number, condition)                                         \
    do {                                                                       \
        if (!(condition)) {                                                    \
            _exit(number);                                                     \
        }                                                                      \
    } while (0)

static void expect_child_ok(pid_t pid)
{
    int status = -1;
    expect_true(pid > 0);
    expect_ok(gev_wait_child(pid, &status, test_scale(60)));
    expect_int_eq(status, 0);
}

/* In a child: the pools of the parent start anew. */
static void use_pools_in_child(gev_threadpool *pool)
{
    void *value = NULL;
    gev_result r = {{NULL}};
    (void)alarm(60);
    CHILD_NEEDS(1, gev_threadpool_count(pool) == 0);
    CHILD_NEEDS(2, gev_threadpool_count(NULL) == 0);
    CHILD_NEEDS(3, gev_threadpool_size(pool) == 0);
    CHILD_NEEDS(4, gev_threadpool_apply(pool, add_one, P(1), &value, 20) == 0);
    CHILD_NEEDS(5, N(value) == 2);
    CHILD_NEEDS(6, gev_threadpool_apply(NULL, add_one, P(2), &value, 20) == 0);
    CHILD_NEEDS(7, N(value) == 3);
    CHILD_NEEDS(8, gev_threadpool_spawn(pool, add_one, P(4), &r) == 0);
    CHILD_NEEDS(9, gev_threadpool_join(pool, 20) == 0);
    CHILD_NEEDS(10, gev_result_get(&r, &value, 0) == 0 && N(value) == 5);
    gev_threadpool_free(pool);
    CHILD_NEEDS(11, gev_hub_close() == 0);
}

/* THP8, P3: the child forgets threads and jobs, the parent's go on; as often as
 * one forks. */
GEV_TEST(forked_child_starts_anew)
{
    struct gate g;
    gev_result r[3] = {{{NULL}}};
    gate_init(&g);
    gev_threadpool *pool = gev_threadpool_new(1);
    struct ask a = {.pool = pool, .fn = gate_pass, .arg = &g};
    expect_ok(gev_threadpool_spawn(pool, gate_pass, &g, &r[0]));
    expect_ok(gev_threadpool_spawn(pool, gate_pass, &g, &r[1]));
    expect_ok(gev_threadpool_spawn(NULL, gate_pass, &g, &r[2]));
    gev_greenlet *caller = gev_spawn(ask, &a);
    expect_ok(gev_yield());
    gate_await(&g, 2);
    pid_t pid = fork();
    if (pid == 0) {
        pid_t grandchild = fork();
        if (grandchild != 0) {
            int status = -1;
            CHILD_NEEDS(20, waitpid(grandchild, &status, 0) == grandchild);
            CHILD_NEEDS(21, status == 0);
            CHILD_NEEDS(22, gev_dead(caller));
            CHILD_NEEDS(23, !gev_result_ready(&r[0]));
            CHILD_NEEDS(24, gev_result_get(&r[0], NULL, GEV_FOREVER) == -1 &&
                                errno == EDEADLK);
        }
        use_pools_in_child(pool);
        _exit(0);
    }
    expect_child_ok(pid);
    gate_let(&g, 4);
    expect_ok(gev_threadpool_join(pool, 20));
    expect_ok(gev_threadpool_join(NULL, 20));
    expect_ok(gev_join(caller, GEV_FOREVER));
    expect_int_eq(a.error, 0);
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_result_get(&r[i], NULL, 0));
    }
    gev_unref(caller);
    gev_threadpool_free(pool);
}

static void *fork_in_job(void *arg)
{
    pid_t pid = fork();
    if (pid == 0) {
        use_pools_in_child(arg);
#if ON_ASAN
        _exit(0); /* all that the other threads had would be leaks */
#endif
        /* The thread that forked is all there is: its end is the process's. */
        return NULL;
    }
    return P(pid);
}

/* A job forks: the child is that job, and ends with it. */
GEV_TEST(job_may_fork)
{
    gev_threadpool *pool = gev_threadpool_new(2);
    gev_threadpool *other = gev_threadpool_new(2);
    void *pid = NULL;
    expect_ok(gev_threadpool_set_size(pool, 2));
    expect_ok(gev_threadpool_apply(pool, fork_in_job, other, &pid, 60));
    expect_child_ok(N(pid));
    expect_ok(gev_threadpool_apply(pool, return_arg, NULL, NULL, 20));
    gev_threadpool_free(pool);
    gev_threadpool_free(other);
}

static pid_t forked;

static void fork_now(void *arg)
{
    (void)arg;
    forked = fork();
}

/* Forked in a callback main goes on; what it waited for never comes there. */
GEV_TEST(fork_in_a_callback_ends_mains_wait)
{
    struct gate g;
    gate_init(&g);
    gev_threadpool *pool = gev_threadpool_new(1);
    expect_ok(gev_threadpool_spawn(pool, gate_pass, &g, NULL));
    gate_await(&g, 1);
    gev_greenlet *opener = gev_spawn(open_gate_soon, &g);
    expect_ok(gev_hub_post(gev_hub_get(), fork_now, NULL));
    int rc = gev_threadpool_join(pool, GEV_FOREVER);
    if (forked == 0) {
        CHILD_NEEDS(1, rc == -1 && errno == ECANCELED);
        CHILD_NEEDS(2, gev_sleep(0.001) == 0);
        use_pools_in_child(pool);
        _exit(0);
    }
    expect_ok(rc);
    expect_child_ok(forked);
    gev_unref(opener);
    gev_threadpool_free(pool);
}

#endif

/* --- races ---------------------------------------------------------------- */

static unsigned next_random(unsigned *state)
{
    *state = *state * 1103515245u + 12345u;
    return *state >> 16;
}

static atomic_int jobs_done;

static void *spin_a_little(void *arg)
{
    test_spin((double)N(arg) * 1e-6);
    atomic_fetch_add(&jobs_done, 1);
    return arg;
}

struct hurry {
    gev_threadpool *pool;
    unsigned seed;
    int answered;
    int abandoned;
};

static void *abandon_at_completion(void *arg)
{
    struct hurry *h = arg;
    for (int i = 0; i < 300; i++) {
        unsigned us = next_random(&h->seed) % 50;
        void *value = NULL;
        double limit = (double)(us + next_random(&h->seed) % 60) * 1e-6;
        if (gev_threadpool_apply(h->pool, spin_a_little, P(us), &value,
                                 limit + 1e-6) == 0) {
            expect_int_eq(N(value), us);
            h->answered++;
        } else {
            expect_int_eq(errno, ETIMEDOUT);
            h->abandoned++;
        }
    }
    return NULL;
}

/* Callers leave just when the answer comes. */
GEV_TEST(abandoning_races_with_completion)
{
    struct hurry h[4];
    gev_greenlet *g[4];
    gev_threadpool *pool = gev_threadpool_new(2);
    atomic_store(&jobs_done, 0);
    for (unsigned i = 0; i < 4; i++) {
        h[i] = (struct hurry){.pool = pool, .seed = i + 1};
        g[i] = gev_spawn(abandon_at_completion, &h[i]);
    }
    expect_int_eq(gev_joinall(g, 4, GEV_FOREVER), 4);
    gev_unrefall(g, 4);
    expect_ok(gev_threadpool_join(pool, 60));
    expect_int_eq(atomic_load(&jobs_done), 1200);
    gev_threadpool_free(pool);
}

/* Pools are freed while their jobs complete; each result is settled. */
GEV_TEST(freeing_races_with_completion)
{
    unsigned seed = 7;
    for (int round = 0; round < 60; round++) {
        gev_result r[8] = {{{NULL}}};
        gev_threadpool *pool = gev_threadpool_new(2);
        expect_ok(gev_threadpool_set_idle_time(pool, 20e-6));
        for (int i = 0; i < 8; i++) {
            expect_ok(gev_threadpool_spawn(pool, spin_a_little,
                                           P(next_random(&seed) % 40), &r[i]));
        }
        test_spin((double)(next_random(&seed) % 100) * 1e-6);
        gev_threadpool_free(pool);
        for (int i = 0; i < 8; i++) {
            int rc = gev_result_get(&r[i], NULL, GEV_FOREVER);
            expect_true(rc == 0 || errno == ECANCELED);
        }
    }
}

static void *close_in_a_hurry(void *arg)
{
    struct hurry *h = arg;
    int wrong = 0;
    for (int round = 0; round < 60; round++) {
        struct ask a[4];
        for (int i = 0; i < 4; i++) {
            a[i] = (struct ask){.pool = i % 2 == 0 ? h->pool : NULL,
                                .fn = spin_a_little,
                                .arg = P(next_random(&h->seed) % 40)};
            wrong += gev_spawn_raw(ask, &a[i]) != 0;
            wrong +=
                gev_threadpool_spawn(h->pool, spin_a_little, P(10), NULL) != 0;
        }
        wrong += gev_yield() != 0;
        test_spin((double)(next_random(&h->seed) % 100) * 1e-6);
        wrong += gev_hub_close() != 0;
    }
    return P(wrong);
}

/* Hubs are closed while their jobs complete in a pool of others. */
GEV_TEST(closing_races_with_completion)
{
    struct hurry h[3];
    pthread_t threads[3];
    gev_threadpool *pool = gev_threadpool_new(2);
    for (unsigned i = 0; i < 3; i++) {
        h[i] = (struct hurry){.pool = pool, .seed = i + 100};
        expect_int_eq(
            pthread_create(&threads[i], NULL, close_in_a_hurry, &h[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        void *wrong = P(1);
        expect_int_eq(pthread_join(threads[i], &wrong), 0);
        expect_int_eq(N(wrong), 0);
    }
    gev_threadpool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(free_waits_for_what_runs),
        cmocka_unit_test(free_is_not_interrupted),
        cmocka_unit_test(free_blocks_where_it_cannot_park),
        cmocka_unit_test(closing_hub_waits_for_its_pool),
        cmocka_unit_test(jobs_may_outlive_their_hub),
        cmocka_unit_test(pool_may_be_used_from_several_hubs),
        cmocka_unit_test(job_may_end_its_thread),
#if !ON_TSAN
        cmocka_unit_test(forked_child_starts_anew),
        cmocka_unit_test(job_may_fork),
        cmocka_unit_test(fork_in_a_callback_ends_mains_wait),
#endif
        cmocka_unit_test(abandoning_races_with_completion),
        cmocka_unit_test(freeing_races_with_completion),
        cmocka_unit_test(closing_races_with_completion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
