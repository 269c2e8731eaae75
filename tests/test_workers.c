/* SPDX-License-Identifier: MIT */

/* Workers: several hubs, spawning on the least loaded, joining, freeing. */
#include <gev.h>

#include "support/gate.h"
#include "support/gev_test.h"
#include "support/trace.h"

#include <math.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int count;

static void *count_one(void *arg)
{
    (void)arg;
    atomic_fetch_add(&count, 1);
    return NULL;
}

static void *yield_and_count(void *arg)
{
    if (gev_yield() != 0 || gev_sleep(0.0005) != 0) {
        return gev_fail(errno);
    }
    return count_one(arg);
}

GEV_TEST(workers_have_a_hub_each)
{
    gev_workers *w = gev_workers_new(3);
    if (!expect_not_null(w)) {
        return;
    }
    expect_uint_eq(gev_workers_count(w), 3);
    for (size_t i = 0; i < 3; i++) {
        expect_not_null(gev_workers_hub(w, i));
        expect_true(gev_workers_hub(w, i) != gev_hub_get());
        expect_true(gev_workers_hub(w, i) != gev_workers_hub(w, (i + 1) % 3));
    }
    expect_null(gev_workers_hub(w, 3));
    expect_null(gev_workers_hub(NULL, 0));
    expect_uint_eq(gev_workers_count(NULL), 0);
    expect_ok(gev_workers_join(w, GEV_FOREVER));
    expect_ok(gev_workers_join(w, 0));
    gev_workers_free(w);
    gev_workers_free(NULL);
    w = gev_workers_new(0);
    expect_ge(gev_workers_count(w), 1);
    gev_workers_free(w);
}

GEV_TEST(bad_arguments)
{
    gev_workers *w = gev_workers_new(1);
    expect_fail(gev_workers_spawn(w, NULL, NULL), EINVAL);
    expect_fail(gev_workers_spawn(NULL, count_one, NULL), EINVAL);
    expect_fail(gev_workers_broadcast(w, NULL, NULL), EINVAL);
    expect_fail(gev_workers_broadcast(NULL, count_one, NULL), EINVAL);
    expect_fail(gev_workers_join(NULL, 1), EINVAL);
    expect_fail(gev_workers_join(w, (double)NAN), EINVAL);
    gev_workers_free(w);
    expect_null(gev_workers_new(SIZE_MAX / 8));
    expect_int_eq(errno, ENOMEM);
}

GEV_TEST(all_greenlets_run)
{
    gev_workers *w = gev_workers_new(2);
    atomic_store(&count, 0);
    for (int i = 0; i < 1000; i++) {
        expect_ok(gev_workers_spawn(w, yield_and_count, NULL));
    }
    expect_ok(gev_workers_join(w, GEV_FOREVER));
    expect_int_eq(atomic_load(&count), 1000);
    gev_workers_free(w);
}

/* --- balance -------------------------------------------------------------- */

static atomic_int in_hub[4];
static gev_workers *balanced;

static int hub_number(void)
{
    for (size_t i = 0; i < gev_workers_count(balanced); i++) {
        if (gev_workers_hub(balanced, i) == gev_hub_get()) {
            return (int)i;
        }
    }
    return -1;
}

static void *count_hub_and_park(void *arg)
{
    int i = hub_number();
    if (i >= 0) {
        atomic_fetch_add(&in_hub[i], 1);
    }
    return park_forever(arg);
}

static void *have_children(void *arg)
{
    for (int i = 0; i < 5; i++) {
        gev_unref(gev_spawn(park_forever, NULL));
    }
    return count_hub_and_park(arg);
}

static int counted(void)
{
    int sum = 0;
    for (int i = 0; i < 4; i++) {
        sum += atomic_load(&in_hub[i]);
    }
    return sum;
}

/* The hub with the fewest greenlets gets the next, in turn when equal; their
 * children count. */
GEV_TEST(least_loaded_hub_gets_the_next)
{
    balanced = gev_workers_new(4);
    for (int i = 0; i < 4; i++) {
        atomic_store(&in_hub[i], 0);
    }
    for (int i = 0; i < 20; i++) {
        expect_ok(gev_workers_spawn(balanced, count_hub_and_park, NULL));
    }
    expect_until(counted() == 20);
    for (int i = 0; i < 4; i++) {
        expect_int_eq(atomic_load(&in_hub[i]), 5);
        atomic_store(&in_hub[i], 0);
    }
    expect_ok(gev_workers_spawn(balanced, have_children, NULL));
    expect_until(counted() == 1);
    expect_ok(gev_sleep(0.02));
    for (int i = 0; i < 15; i++) {
        expect_ok(gev_workers_spawn(balanced, count_hub_and_park, NULL));
    }
    expect_until(counted() == 16);
    int ones = 0;
    int fives = 0;
    for (int i = 0; i < 4; i++) {
        ones += atomic_load(&in_hub[i]) == 1;
        fives += atomic_load(&in_hub[i]) == 5;
    }
    expect_int_eq(ones, 1);
    expect_int_eq(fives, 3);
    gev_workers_free(balanced);
}

static atomic_int bits;

static void *set_bit(void *arg)
{
    (void)arg;
    int i = hub_number();
    atomic_fetch_add(&bits, i < 0 ? 1000 : 1 << (8 * i));
    return NULL;
}

/* Once in each hub. */
GEV_TEST(broadcast_runs_once_in_each_hub)
{
    balanced = gev_workers_new(3);
    atomic_store(&bits, 0);
    expect_ok(gev_workers_broadcast(balanced, set_bit, NULL));
    expect_ok(gev_workers_join(balanced, GEV_FOREVER));
    expect_int_eq(atomic_load(&bits), 0x010101);
    gev_workers_free(balanced);
}

/* --- join ----------------------------------------------------------------- */

struct chain {
    gev_workers *workers;
    atomic_int left;
};

/* Each spawns the next, in another hub, and ends. */
static void *spawn_the_next(void *arg)
{
    struct chain *c = arg;
    if (atomic_fetch_sub(&c->left, 1) > 1) {
        expect_ok(gev_workers_spawn(c->workers, spawn_the_next, c));
    } else {
        atomic_fetch_add(&count, 1);
    }
    return NULL;
}

/* There is always one left, though each hub is empty most of the time. */
GEV_TEST(join_is_not_fooled_by_greenlets_that_move_on)
{
    struct chain c = {.workers = gev_workers_new(3)};
    for (int round = 0; round < 20; round++) {
        atomic_store(&count, 0);
        atomic_store(&c.left, 200);
        expect_ok(gev_workers_spawn(c.workers, spawn_the_next, &c));
        expect_ok(gev_workers_join(c.workers, GEV_FOREVER));
        expect_int_eq(atomic_load(&count), 1);
    }
    gev_workers_free(c.workers);
}

static void *spawn_in_hub(void *arg)
{
    (void)arg;
    gev_unref(gev_spawn_later(0.005, count_one, NULL));
    return NULL;
}

/* Also those that nobody spawned by gev_workers_spawn. */
GEV_TEST(join_waits_for_children_and_posted_ones)
{
    gev_workers *w = gev_workers_new(2);
    atomic_store(&count, 0);
    expect_ok(gev_workers_spawn(w, spawn_in_hub, NULL));
    expect_ok(gev_hub_spawn(gev_workers_hub(w, 1), yield_and_count, NULL));
    expect_ok(gev_workers_join(w, GEV_FOREVER));
    expect_int_eq(atomic_load(&count), 2);
    gev_workers_free(w);
}

static void *join_workers(void *w)
{
    return gev_workers_join(w, GEV_FOREVER) == 0 ? w : gev_fail(errno);
}

static void *join_own_workers(void *w)
{
    atomic_store(&count, gev_workers_join(w, 10) == -1 && errno == EDEADLK);
    return NULL;
}

static void *wait_for_event(void *event)
{
    return gev_event_wait(event, GEV_FOREVER) == 0 ? event : gev_fail(errno);
}

static void init_event(void *event)
{
    gev_event_init(event);
}

/* Time out, be killed, join with others; and not from inside. */
GEV_TEST(joins_may_be_left)
{
    gev_event e = {{NULL}};
    gev_workers *w = gev_workers_new(2);
    expect_ok(gev_hub_post(gev_workers_hub(w, 0), init_event, &e));
    expect_ok(gev_hub_spawn(gev_workers_hub(w, 0), wait_for_event, &e));
    expect_fail(gev_workers_join(w, 0.005), ETIMEDOUT);
    expect_fail(gev_workers_join(w, 0), ETIMEDOUT);
    gev_greenlet *g[3];
    for (int i = 0; i < 3; i++) {
        g[i] = gev_spawn(join_workers, w);
    }
    expect_ok(gev_sleep(0.005));
    expect_ok(gev_kill(g[1], GEV_FOREVER));
    expect_false(gev_dead(g[0]));
    expect_ok(gev_event_post(&e));
    expect_ok(gev_get(g[0], NULL, GEV_FOREVER));
    expect_ok(gev_get(g[2], NULL, GEV_FOREVER));
    gev_unrefall(g, 3);
    atomic_store(&count, 0);
    expect_ok(gev_workers_spawn(w, join_own_workers, w));
    expect_ok(gev_workers_join(w, GEV_FOREVER));
    expect_int_eq(atomic_load(&count), 1);
    gev_workers_free(w);
}

/* --- free ----------------------------------------------------------------- */

static void count_deferred(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void *spawn_while_ending(void *w)
{
    if (gev_defer(count_deferred, &count) == 0) {
        (void)gev_sleep(GEV_FOREVER);
    }
    for (int i = 0; i < 20; i++) {
        /* to hubs that may be closed by now */
        if (gev_workers_spawn(w, count_one, NULL) != 0) {
            expect_int_eq(errno, ECANCELED);
        }
    }
    return NULL;
}

/* What is left is killed, and cleans up. */
GEV_TEST(free_kills_what_is_left)
{
    for (int round = 0; round < 10; round++) {
        gev_workers *w = gev_workers_new(3);
        atomic_store(&count, 0);
        for (int i = 0; i < 30; i++) {
            expect_ok(gev_workers_spawn(w, spawn_while_ending, w));
        }
        if (round % 2 == 0) {
            expect_ok(gev_workers_broadcast(w, yield_and_count, NULL));
            expect_ok(gev_sleep(0.003));
        }
        gev_workers_free(w);
        if (round % 2 == 0) {
            expect_ge(atomic_load(&count), 30);
        }
    }
}

static void free_in_callback(void *w)
{
    gev_workers_free(w);
}

static void *free_in_thread(void *w)
{
    gev_workers_free(w);
    return NULL;
}

/* Where it cannot park it blocks; so in a thread without a hub. */
GEV_TEST(free_blocks_where_it_cannot_park)
{
    pthread_t thread;
    gev_workers *w = gev_workers_new(2);
    expect_ok(gev_workers_spawn(w, park_forever, NULL));
    expect_ok(gev_hub_post(gev_hub_get(), free_in_callback, w));
    expect_ok(gev_run(GEV_FOREVER));
    w = gev_workers_new(2);
    expect_ok(gev_workers_spawn(w, park_forever, NULL));
    expect_int_eq(pthread_create(&thread, NULL, free_in_thread, w), 0);
    expect_int_eq(pthread_join(thread, NULL), 0);
}

/* --- threads -------------------------------------------------------------- */

enum { SPAWNERS = 4, SPAWNS = 2000 };

static void *spawn_often(void *w)
{
    int failed = 0;
    for (int i = 0; i < SPAWNS; i++) {
        failed += gev_workers_spawn(w, count_one, NULL) != 0;
    }
    return P(failed);
}

/* Any thread may spawn, also one without a hub. */
GEV_TEST(any_thread_may_spawn)
{
    pthread_t threads[SPAWNERS];
    gev_workers *w = gev_workers_new(2);
    atomic_store(&count, 0);
    for (int i = 0; i < SPAWNERS; i++) {
        expect_int_eq(pthread_create(&threads[i], NULL, spawn_often, w), 0);
    }
    for (int i = 0; i < SPAWNERS; i++) {
        void *failed = P(1);
        expect_int_eq(pthread_join(threads[i], &failed), 0);
        expect_int_eq(N(failed), 0);
    }
    expect_ok(gev_workers_join(w, GEV_FOREVER));
    expect_int_eq(atomic_load(&count), SPAWNERS * SPAWNS);
    gev_workers_free(w);
}

static void count_failure(gev_greenlet *g, int error, void *arg)
{
    (void)g;
    atomic_fetch_add((atomic_int *)arg, error);
}

static void *set_handler(void *arg)
{
    gev_set_error_handler(count_failure, arg);
    return NULL;
}

/* A failure is its hub's handler's. */
GEV_TEST(failures_go_to_the_hubs_handler)
{
    atomic_int errors = 0;
    gev_workers *w = gev_workers_new(2);
    expect_ok(gev_workers_broadcast(w, set_handler, &errors));
    for (int i = 0; i < 10; i++) {
        expect_ok(gev_workers_spawn(w, fail_with, P(EIO)));
    }
    expect_ok(gev_workers_join(w, GEV_FOREVER));
    gev_workers_free(w);
    expect_int_eq(atomic_load(&errors), 10 * EIO);
}

#if !ON_TSAN

static void *fork_here(void *arg)
{
    pid_t pid = fork();
    if (pid == 0) {
        /* this greenlet is main now, alone */
        _exit(gev_sleep(0.001) == 0 && gev_workers_hub(arg, 0) == NULL ? 0 : 1);
    }
    atomic_store(&count, pid);
    return NULL;
}

static void expect_child_ok(pid_t pid)
{
    int status = -1;
    expect_true(pid > 0);
    expect_ok(gev_wait_child(pid, &status, test_scale(60)));
    expect_int_eq(status, 0);
}

/* In a forked child they are gone; the parent's go on. */
GEV_TEST(forked_child_has_no_workers)
{
    gev_workers *w = gev_workers_new(2);
    expect_ok(gev_workers_spawn(w, park_forever, NULL));
    pid_t pid = fork();
    if (pid == 0) {
        int wrong = 0;
        (void)alarm(60);
        wrong += gev_workers_spawn(w, count_one, NULL) != -1 || errno != ECHILD;
        wrong += gev_workers_broadcast(w, count_one, NULL) != -1;
        wrong += gev_workers_join(w, GEV_FOREVER) != 0;
        wrong += gev_workers_hub(w, 0) != NULL;
        gev_workers_free(w);
        w = gev_workers_new(2);
        atomic_store(&count, 0);
        wrong += gev_workers_spawn(w, yield_and_count, NULL) != 0;
        wrong += gev_workers_join(w, GEV_FOREVER) != 0;
        wrong += atomic_load(&count) != 1;
        gev_workers_free(w);
        _exit(wrong);
    }
    expect_child_ok(pid);
    atomic_store(&count, 0);
    expect_ok(gev_workers_spawn(w, fork_here, w));
    expect_until(atomic_load(&count) != 0);
    expect_child_ok(atomic_load(&count));
    gev_workers_free(w);
}

#endif

static void *use_own_pool(void *arg)
{
    void *value = NULL;
    if (gev_threadpool_apply(NULL, return_arg, arg, &value, 20) == 0 &&
        value == arg) {
        atomic_fetch_add(&count, 1);
    }
    return NULL;
}

/* Each hub has its own pool, which ends with it. */
GEV_TEST(workers_may_use_pools)
{
    gev_workers *w = gev_workers_new(2);
    atomic_store(&count, 0);
    for (int i = 0; i < 20; i++) {
        expect_ok(gev_workers_spawn(w, use_own_pool, P(i)));
    }
    expect_ok(gev_workers_join(w, GEV_FOREVER));
    expect_int_eq(atomic_load(&count), 20);
    gev_workers_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_have_a_hub_each),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(all_greenlets_run),
        cmocka_unit_test(least_loaded_hub_gets_the_next),
        cmocka_unit_test(broadcast_runs_once_in_each_hub),
        cmocka_unit_test(join_is_not_fooled_by_greenlets_that_move_on),
        cmocka_unit_test(join_waits_for_children_and_posted_ones),
        cmocka_unit_test(joins_may_be_left),
        cmocka_unit_test(free_kills_what_is_left),
        cmocka_unit_test(free_blocks_where_it_cannot_park),
        cmocka_unit_test(any_thread_may_spawn),
        cmocka_unit_test(failures_go_to_the_hubs_handler),
#if !ON_TSAN
        cmocka_unit_test(forked_child_has_no_workers),
#endif
        cmocka_unit_test(workers_may_use_pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
