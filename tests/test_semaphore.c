/* SPDX-License-Identifier: MIT */

/* Semaphores: gev/lock.h (LCK1-LCK11, LCK14, LCK16). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/greenlets.h"
#include "support/trace.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static gev_semaphore sem;

struct taker {
    const char *name;
    double timeout;
    int rc;
    int error;
    int next; /* what its next park came to */
};

static void *take_and_trace(void *arg)
{
    struct taker *t = arg;
    t->rc = gev_semaphore_acquire(&sem, t->timeout);
    t->error = t->rc == 0 ? 0 : errno;
    t->next = gev_yield() == 0 ? 0 : errno;
    trace(t->name);
    return NULL;
}

static gev_greenlet *spawn_taker(struct taker *t)
{
    return start(take_and_trace, t);
}

/* LCK1, LCK2, LCK3, LCK8: taking what is free parks nobody. */
GEV_TEST(units_are_taken_and_put_back)
{
    gev_semaphore_init(&sem, 2, 0);
    trace_reset();
    gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
    expect_uint_eq(gev_semaphore_value(&sem), 2);
    expect_false(gev_semaphore_locked(&sem));
    expect_ok(gev_semaphore_acquire(&sem, GEV_FOREVER));
    expect_ok(gev_semaphore_acquire(&sem, 0));
    expect_true(gev_semaphore_locked(&sem));
    expect_fail(gev_semaphore_acquire(&sem, 0), ETIMEDOUT);
    expect_fail(gev_semaphore_acquire(&sem, -1), ETIMEDOUT);
    expect_ok(gev_semaphore_release(&sem));
    expect_ok(gev_semaphore_release(&sem));
    expect_ok(gev_semaphore_release(&sem)); /* more than it began with */
    expect_uint_eq(gev_semaphore_value(&sem), 3);
    expect_str_eq(trace_text(), "");
    join_and_drop(ready);
    expect_ok(gev_semaphore_fini(&sem));
}

/* LCK2 */
GEV_TEST(acquire_times_out_and_never_early)
{
    gev_semaphore s = {{NULL}};
    double start = test_now();
    expect_fail(gev_semaphore_acquire(&s, 0.01), ETIMEDOUT);
    expect_ge(test_now() - start, 0.01);
    expect_ok(gev_semaphore_release(&s));
    expect_ok(gev_semaphore_acquire(&s, 0.01));
    expect_ok(gev_semaphore_fini(&s));
}

/* LCK2: a scope around it fails the wait with its own code. */
GEV_TEST(scope_fails_the_wait)
{
    gev_semaphore s = {{NULL}};
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin_error(&t, 0.005, EIO));
    expect_fail(gev_semaphore_acquire(&s, GEV_FOREVER), EIO);
    expect_ok(gev_semaphore_release(&s));
    expect_ok(gev_semaphore_acquire(&s, GEV_FOREVER)); /* need not park */
    expect_true(gev_timeout_end(&t));
    expect_ok(gev_semaphore_fini(&s));
}

/* All-zero: no unit, no limit. */
GEV_TEST(zero_semaphore_has_no_unit_and_no_limit)
{
    gev_semaphore s = {{NULL}};
    expect_true(gev_semaphore_locked(&s));
    expect_fail(gev_semaphore_acquire(&s, 0), ETIMEDOUT);
    for (unsigned i = 1; i <= 100; i++) {
        expect_ok(gev_semaphore_release(&s));
        expect_uint_eq(gev_semaphore_value(&s), i);
    }
    expect_ok(gev_semaphore_fini(&s));
    expect_true(gev_semaphore_locked(&s));
}

/* LCK10 */
GEV_TEST(bounded_semaphore_refuses_to_overflow)
{
    gev_semaphore_init(&sem, 1, 2);
    expect_ok(gev_semaphore_release(&sem));
    expect_fail(gev_semaphore_release(&sem), EOVERFLOW);
    expect_uint_eq(gev_semaphore_value(&sem), 2);
    expect_ok(gev_semaphore_acquire(&sem, 0));
    expect_ok(gev_semaphore_release(&sem));
    expect_ok(gev_semaphore_fini(&sem));
    gev_semaphore_init(&sem, 7, 3); /* more than the limit */
    expect_uint_eq(gev_semaphore_value(&sem), 3);
    expect_fail(gev_semaphore_release(&sem), EOVERFLOW);
}

/* LCK11: one that never waits. */
GEV_TEST(semaphore_with_all_units_never_waits)
{
    gev_semaphore_init(&sem, UINT_MAX, 0);
    expect_fail(gev_semaphore_release(&sem), EOVERFLOW);
    for (int i = 0; i < 1000; i++) {
        expect_ok(gev_semaphore_acquire(&sem, 0));
    }
    expect_uint_eq(gev_semaphore_value(&sem), UINT_MAX - 1000);
}

/* LCK4: the unit is the waiter's at once: not for who asks before it runs. */
GEV_TEST(unit_is_handed_over)
{
    struct taker t = {.name = "taker", .timeout = GEV_FOREVER};
    gev_semaphore_init(&sem, 1, 1);
    trace_reset();
    expect_ok(gev_semaphore_acquire(&sem, 0));
    gev_greenlet *g = spawn_taker(&t);
    expect_ok(gev_semaphore_release(&sem));
    expect_true(gev_semaphore_locked(&sem));
    expect_fail(gev_semaphore_acquire(&sem, 0), ETIMEDOUT);
    expect_str_eq(trace_text(), ""); /* and a release does not switch */
    join_and_drop(g);
    expect_int_eq(t.rc, 0);
    expect_ok(gev_semaphore_release(&sem));
    expect_uint_eq(gev_semaphore_value(&sem), 1);
}

/* LCK5: in the order of their arrival, over and over: nobody starves. */
static void *take_often(void *arg)
{
    for (int i = 0; i < 3; i++) {
        if (gev_semaphore_acquire(&sem, GEV_FOREVER) < 0) {
            return gev_fail(errno);
        }
        trace(arg);
        (void)gev_yield();
        expect_ok(gev_semaphore_release(&sem));
    }
    return NULL;
}

GEV_TEST(waiters_are_served_in_order)
{
    gev_greenlet *g[3];
    gev_semaphore_init(&sem, 1, 1);
    trace_reset();
    g[0] = gev_spawn(take_often, "a");
    g[1] = gev_spawn(take_often, "b");
    g[2] = gev_spawn(take_often, "c");
    expect_int_eq(gev_joinall(g, 3, GEV_FOREVER), 3);
    expect_str_eq(trace_text(), "a b c a b c a b c");
    gev_unrefall(g, 3);
    expect_uint_eq(gev_semaphore_value(&sem), 1);
}

/* LCK6, C6: kill, then release: the next one gets the unit. */
GEV_TEST(unit_after_a_kill_goes_to_the_next)
{
    struct taker victim = {.name = "victim", .timeout = GEV_FOREVER};
    struct taker next = {.name = "next", .timeout = GEV_FOREVER};
    gev_semaphore_init(&sem, 0, 0);
    gev_greenlet *a = spawn_taker(&victim);
    gev_greenlet *b = spawn_taker(&next);
    expect_ok(gev_kill(a, 0));
    expect_ok(gev_semaphore_release(&sem));
    join_and_drop(a);
    join_and_drop(b);
    expect_int_eq(victim.error, ECANCELED);
    expect_int_eq(next.rc, 0);
    expect_uint_eq(gev_semaphore_value(&sem), 0);
}

/* LCK6, C6: with no next one, it is free again. */
GEV_TEST(unit_after_a_kill_is_free)
{
    struct taker victim = {.name = "victim", .timeout = GEV_FOREVER};
    gev_semaphore_init(&sem, 0, 1);
    gev_greenlet *a = spawn_taker(&victim);
    expect_ok(gev_kill(a, 0));
    expect_ok(gev_semaphore_release(&sem));
    expect_uint_eq(gev_semaphore_value(&sem), 1);
    expect_fail(gev_semaphore_release(&sem), EOVERFLOW);
    join_and_drop(a);
    expect_int_eq(victim.error, ECANCELED);
    expect_ok(gev_semaphore_fini(&sem));
}

/* LCK6, C6: release, then kill: the victim has it, and its next park fails. */
GEV_TEST(unit_before_a_kill_is_the_victims)
{
    struct taker victim = {.name = "victim", .timeout = GEV_FOREVER};
    struct taker next = {.name = "next", .timeout = 0.001};
    gev_semaphore_init(&sem, 0, 0);
    gev_greenlet *a = spawn_taker(&victim);
    gev_greenlet *b = spawn_taker(&next);
    expect_ok(gev_semaphore_release(&sem));
    expect_ok(gev_kill(a, 0));
    join_and_drop(a);
    join_and_drop(b);
    expect_int_eq(victim.rc, 0);
    expect_int_eq(victim.next, ECANCELED);
    expect_int_eq(next.error, ETIMEDOUT);
    expect_uint_eq(gev_semaphore_value(&sem), 0);
}

/* LCK6: the same race with a timeout: what comes in the deadline's own turn
 * wins, what comes later goes elsewhere; never both, never neither. */
GEV_TEST(units_and_timeouts_balance)
{
    enum { N = 200 };
    static struct taker t[N];
    gev_greenlet *g[N];
    unsigned got = 0;
    unsigned put = 0;
    gev_semaphore_init(&sem, 0, 0);
    for (int i = 0; i < N; i++) {
        t[i] = (struct taker){.name = "t", .timeout = 0.001 + (i % 7) * 0.0005};
        g[i] = gev_spawn(take_and_trace, &t[i]);
    }
    trace_reset();
    while (put < N / 2) {
        expect_ok(gev_semaphore_release(&sem));
        put++;
        expect_ok(gev_sleep(put % 8 == 0 ? 0.0005 : 0));
    }
    expect_int_eq(gev_joinall(g, N, GEV_FOREVER), N);
    for (int i = 0; i < N; i++) {
        got += t[i].rc == 0;
        expect_true(t[i].rc == 0 || t[i].error == ETIMEDOUT);
    }
    expect_uint_eq(got + gev_semaphore_value(&sem), put);
    gev_unrefall(g, N);
}

/* A thrown code fails the wait, and nothing is taken. */
GEV_TEST(throw_fails_the_wait_once)
{
    struct taker victim = {.name = "victim", .timeout = GEV_FOREVER};
    gev_semaphore_init(&sem, 0, 0);
    gev_greenlet *a = spawn_taker(&victim);
    expect_ok(gev_throw(a, EIO));
    join_and_drop(a);
    expect_int_eq(victim.error, EIO);
    expect_int_eq(victim.next, 0);
    expect_ok(gev_semaphore_fini(&sem));
}

/* C7 */
GEV_TEST(fini_with_waiters_is_refused)
{
    struct taker t = {.name = "t", .timeout = GEV_FOREVER};
    gev_semaphore_init(&sem, 0, 0);
    gev_greenlet *g = spawn_taker(&t);
    expect_fail(gev_semaphore_fini(&sem), EBUSY);
    expect_ok(gev_kill(g, 0));
    expect_fail(gev_semaphore_fini(&sem), EBUSY); /* it has yet to run */
    join_and_drop(g);
    expect_ok(gev_semaphore_fini(&sem));
}

GEV_TEST(idle_semaphore_may_be_moved)
{
    gev_semaphore a;
    gev_semaphore b;
    gev_semaphore_init(&a, 0, 3);
    expect_fail(gev_semaphore_acquire(&a, 0.001), ETIMEDOUT);
    expect_ok(gev_semaphore_release(&a));
    memcpy(&b, &a, sizeof(b));
    memset(&a, 0xff, sizeof(a));
    expect_ok(gev_semaphore_acquire(&b, 0));
    expect_fail(gev_semaphore_acquire(&b, 0.001), ETIMEDOUT);
    expect_ok(gev_semaphore_fini(&b));
}

GEV_TEST(senseless_arguments_are_refused)
{
    gev_semaphore_init(NULL, 1, 1);
    expect_fail(gev_semaphore_acquire(NULL, 0), EINVAL);
    expect_fail(gev_semaphore_release(NULL), EINVAL);
    expect_fail(gev_semaphore_post(NULL), EINVAL);
    expect_fail(gev_semaphore_fini(NULL), EINVAL);
    expect_false(gev_semaphore_locked(NULL));
    expect_uint_eq(gev_semaphore_value(NULL), 0);
    expect_null(gev_semaphore_waitable(NULL));
    gev_semaphore_init(&sem, 1, 0);
    expect_fail(gev_semaphore_acquire(&sem, (double)NAN), EINVAL);
    expect_uint_eq(gev_semaphore_value(&sem), 1);
}

/* --- waiting for one without taking it ---------------------------------- */

/* LCK7, LCK8, LCK9 */
GEV_TEST(free_semaphore_is_ready_at_once)
{
    gev_semaphore_init(&sem, 1, 0);
    gev_waitable *w = GEV_WAITABLE(&sem);
    expect_true(gev_waitable_ready(w));
    expect_int_eq(gev_wait(&w, 1, 1, GEV_FOREVER), 1);
    expect_uint_eq(gev_semaphore_value(&sem), 1); /* nothing was taken */
    expect_ok(gev_semaphore_acquire(&sem, 0));
    expect_false(gev_waitable_ready(w));
    expect_int_eq(gev_wait(&w, 1, 1, 0.001), 0);
    expect_ok(gev_semaphore_fini(&sem));
}

static void *watch(void *arg)
{
    gev_waitable *w = GEV_WAITABLE(&sem);
    expect_int_eq(gev_wait(&w, 1, 1, GEV_FOREVER), 1);
    trace(arg);
    return NULL;
}

/* LCK7: told when a unit is free and nobody takes it, not when it goes from
 * hand to hand. */
GEV_TEST(watchers_are_told_when_nobody_takes_it)
{
    struct taker t = {.name = "taker", .timeout = GEV_FOREVER};
    gev_semaphore_init(&sem, 0, 0);
    trace_reset();
    gev_greenlet *w = gev_spawn(watch, "watcher");
    gev_greenlet *g = spawn_taker(&t);
    expect_fail(gev_semaphore_fini(&sem), EBUSY);
    expect_ok(gev_semaphore_release(&sem));
    join_and_drop(g);
    expect_ok(gev_sleep(0.001));
    expect_str_eq(trace_text(), "taker");
    expect_ok(gev_semaphore_release(&sem));
    join_and_drop(w);
    expect_str_eq(trace_text(), "taker watcher");
    expect_uint_eq(gev_semaphore_value(&sem), 1);
}

/* A waitable stays one over init and fini. */
GEV_TEST(waitable_outlives_init_and_fini)
{
    gev_semaphore_init(&sem, 0, 0);
    gev_waitable *w = GEV_WAITABLE(&sem);
    gev_semaphore_init(&sem, 1, 0);
    expect_true(gev_waitable_ready(w));
    expect_ok(gev_semaphore_fini(&sem));
    expect_false(gev_waitable_ready(w));
}

/* --- from the hub, and from other threads ------------------------------- */

static int callback_results[4];

static void use_in_callback(void *arg)
{
    (void)arg;
    callback_results[0] = gev_semaphore_acquire(&sem, 0) == 0 ? 0 : errno;
    callback_results[1] = gev_semaphore_acquire(&sem, 0) == 0 ? 0 : errno;
    callback_results[2] = gev_semaphore_acquire(&sem, 1) == 0 ? 0 : errno;
    callback_results[3] = gev_semaphore_release(&sem) == 0 ? 0 : errno;
}

GEV_TEST(callback_may_try_but_not_wait)
{
    gev_semaphore_init(&sem, 1, 0);
    call_in_hub(use_in_callback, NULL);
    expect_int_eq(callback_results[0], 0);
    expect_int_eq(callback_results[1], ETIMEDOUT);
    expect_int_eq(callback_results[2], EPERM);
    expect_int_eq(callback_results[3], 0);
    expect_uint_eq(gev_semaphore_value(&sem), 1);
    expect_ok(gev_semaphore_fini(&sem));
}

/* LCK14, P9 */
static void *use_in_another_thread(void *arg)
{
    int wrong = 0;
    (void)arg;
    wrong += gev_semaphore_acquire(&sem, 0) != -1 || errno != EPERM;
    wrong += gev_semaphore_acquire(&sem, 1) != -1 || errno != EPERM;
    wrong += gev_semaphore_release(&sem) != -1 || errno != EPERM;
    wrong += gev_hub_close() != 0;
    return P(wrong);
}

GEV_TEST(another_threads_semaphore_is_refused)
{
    gev_semaphore_init(&sem, 1, 0);
    expect_int_eq(value_in_thread(use_in_another_thread, NULL), 0);
    expect_uint_eq(gev_semaphore_value(&sem), 1);
}

GEV_TEST(post_to_no_hub_is_refused)
{
    gev_semaphore s = {{NULL}};
    expect_fail(gev_semaphore_post(&s), EINVAL);
    expect_fail(gev_semaphore_acquire(&s, 0), ETIMEDOUT); /* binds it */
    expect_ok(gev_semaphore_post(&s));
    expect_ok(gev_semaphore_acquire(&s, GEV_FOREVER));
}

enum { POSTERS = 6, POSTS = 3000 };

static void *post_often(void *arg)
{
    int wrong = 0;
    (void)arg;
    for (int i = 0; i < POSTS; i++) {
        wrong += gev_semaphore_post(&sem) != 0;
    }
    return P(wrong);
}

/* LCK14: threads without a hub. */
GEV_TEST(posts_of_many_threads_arrive)
{
    pthread_t threads[POSTERS];
    gev_hub *hub = gev_hub_get();
    gev_semaphore_init(&sem, 0, 0);
    gev_hub_ref(hub);
    for (int i = 0; i < POSTERS; i++) {
        expect_int_eq(pthread_create(&threads[i], NULL, post_often, NULL), 0);
    }
    for (int i = 0; i < POSTERS * POSTS && !test_failed(); i++) {
        expect_ok(gev_semaphore_acquire(&sem, test_scale(20)));
    }
    for (int i = 0; i < POSTERS; i++) {
        void *wrong = P(1);
        expect_int_eq(pthread_join(threads[i], &wrong), 0);
        expect_int_eq(N(wrong), 0);
    }
    gev_hub_unref(hub);
    expect_fail(gev_semaphore_acquire(&sem, 0.001), ETIMEDOUT);
    expect_ok(gev_semaphore_fini(&sem));
}

/* LCK14, gevent's #1698: two hubs take turns ten thousand times. */
enum { TURNS = 10000 };

static gev_semaphore there;
static atomic_int there_is_made;

static void *answer(void *arg)
{
    int wrong = 0;
    gev_hub *hub = gev_hub_get();
    (void)arg;
    gev_hub_ref(hub);
    gev_semaphore_init(&there, 0, 1);
    atomic_store(&there_is_made, 1);
    for (int i = 0; i < TURNS && wrong == 0; i++) {
        wrong += gev_semaphore_acquire(&there, test_scale(20)) != 0;
        wrong += gev_semaphore_post(&sem) != 0;
    }
    gev_hub_unref(hub);
    wrong += gev_hub_close() != 0;
    return P(wrong);
}

GEV_TEST(two_hubs_take_turns)
{
    pthread_t thread;
    void *wrong = P(1);
    gev_hub *hub = gev_hub_get();
    atomic_store(&there_is_made, 0);
    gev_semaphore_init(&sem, 0, 1);
    gev_hub_ref(hub);
    expect_int_eq(pthread_create(&thread, NULL, answer, NULL), 0);
    while (atomic_load(&there_is_made) == 0) {
        expect_ok(gev_sleep(0.001));
    }
    for (int i = 0; i < TURNS && !test_failed(); i++) {
        expect_ok(gev_semaphore_post(&there));
        expect_ok(gev_semaphore_acquire(&sem, test_scale(20)));
    }
    expect_int_eq(pthread_join(thread, &wrong), 0);
    expect_int_eq(N(wrong), 0);
    gev_hub_unref(hub);
}

/* LCK16: in a forked child nobody waits any more, and init makes it new. */
static int child_outcome(void)
{
    int wrong = 0;
    wrong += gev_semaphore_value(&sem) != 0;
    wrong += gev_semaphore_release(&sem) != 0;
    wrong += gev_semaphore_value(&sem) != 1; /* no waiter took it */
    wrong += gev_semaphore_acquire(&sem, 0) != 0;
    gev_semaphore_init(&sem, 3, 3);
    wrong += gev_semaphore_value(&sem) != 3;
    wrong += gev_semaphore_acquire(&sem, GEV_FOREVER) != 0;
    wrong += gev_semaphore_fini(&sem) != 0;
    return wrong;
}

GEV_TEST(forked_child_has_no_waiters)
{
    struct taker t = {.name = "t", .timeout = GEV_FOREVER};
    gev_semaphore_init(&sem, 0, 0);
    gev_greenlet *g = spawn_taker(&t);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(20);
        _exit(child_outcome());
    }
    expect_child_well(pid);
    expect_ok(gev_semaphore_release(&sem));
    join_and_drop(g);
    expect_int_eq(t.rc, 0);
}

/* Main waits and nobody can ever release. */
GEV_TEST(wait_in_vain_is_a_deadlock)
{
    gev_semaphore_init(&sem, 0, 0);
    expect_fail(gev_semaphore_acquire(&sem, GEV_FOREVER), EDEADLK);
    expect_ok(gev_semaphore_fini(&sem));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_are_taken_and_put_back),
        cmocka_unit_test(acquire_times_out_and_never_early),
        cmocka_unit_test(scope_fails_the_wait),
        cmocka_unit_test(zero_semaphore_has_no_unit_and_no_limit),
        cmocka_unit_test(bounded_semaphore_refuses_to_overflow),
        cmocka_unit_test(semaphore_with_all_units_never_waits),
        cmocka_unit_test(unit_is_handed_over),
        cmocka_unit_test(waiters_are_served_in_order),
        cmocka_unit_test(unit_after_a_kill_goes_to_the_next),
        cmocka_unit_test(unit_after_a_kill_is_free),
        cmocka_unit_test(unit_before_a_kill_is_the_victims),
        cmocka_unit_test(units_and_timeouts_balance),
        cmocka_unit_test(throw_fails_the_wait_once),
        cmocka_unit_test(fini_with_waiters_is_refused),
        cmocka_unit_test(idle_semaphore_may_be_moved),
        cmocka_unit_test(senseless_arguments_are_refused),
        cmocka_unit_test(free_semaphore_is_ready_at_once),
        cmocka_unit_test(watchers_are_told_when_nobody_takes_it),
        cmocka_unit_test(waitable_outlives_init_and_fini),
        cmocka_unit_test(callback_may_try_but_not_wait),
        cmocka_unit_test(another_threads_semaphore_is_refused),
        cmocka_unit_test(post_to_no_hub_is_refused),
        cmocka_unit_test(posts_of_many_threads_arrive),
        cmocka_unit_test(two_hubs_take_turns),
        cmocka_unit_test(forked_child_has_no_waiters),
        cmocka_unit_test(wait_in_vain_is_a_deadlock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
