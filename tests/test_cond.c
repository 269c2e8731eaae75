/* SPDX-License-Identifier: MIT */

/* Conditions: gev/lock.h (LCK13, THR3). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/greenlets.h"
#include "support/trace.h"

#include <unistd.h>

static gev_lock lock;
static gev_cond cond;

struct waiter {
    const char *name;
    double timeout;
    int rc;
    int error;
    int relock;  /* what taking the lock again said: EDEADLK, it has it */
    int next;    /* what its next park came to */
    int expired; /* of its scope */
};

static void *wait_and_trace(void *arg)
{
    struct waiter *w = arg;
    expect_ok(gev_lock_acquire(&lock, GEV_FOREVER));
    w->rc = gev_cond_wait(&cond, &lock, w->timeout);
    w->error = w->rc == 0 ? 0 : errno;
    trace(w->name);
    w->relock = gev_lock_acquire(&lock, 0) == 0 ? 0 : errno;
    w->next = gev_yield() == 0 ? 0 : errno;
    expect_ok(gev_lock_release(&lock));
    return NULL;
}

static gev_greenlet *spawn_waiter(struct waiter *w)
{
    return start(wait_and_trace, w);
}

static void begin(void)
{
    gev_lock_init(&lock);
    gev_cond_init(&cond);
    trace_reset();
}

/* Nobody waits or holds any more. */
static void expect_idle(void)
{
    expect_false(gev_lock_locked(&lock));
    expect_ok(gev_cond_fini(&cond));
    expect_ok(gev_lock_fini(&lock));
}

GEV_TEST(wait_releases_the_lock_and_has_it_again)
{
    struct waiter w = {.name = "w", .timeout = GEV_FOREVER};
    begin();
    gev_greenlet *g = spawn_waiter(&w);
    expect_false(gev_lock_locked(&lock)); /* it waits without it */
    expect_ok(gev_lock_acquire(&lock, 0));
    gev_cond_signal(&cond);
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), ""); /* it waits for the lock */
    expect_ok(gev_lock_release(&lock));
    join_and_drop(g);
    expect_int_eq(w.rc, 0);
    expect_int_eq(w.relock, EDEADLK);
    expect_idle();
}

/* A signal without the lock held: the waiter has the lock at once. */
GEV_TEST(signal_without_the_lock_hands_it_over)
{
    struct waiter w = {.name = "w", .timeout = GEV_FOREVER};
    begin();
    gev_greenlet *g = spawn_waiter(&w);
    gev_cond_signal(&cond);
    expect_true(gev_lock_locked(&lock));
    expect_fail(gev_lock_acquire(&lock, 0), ETIMEDOUT);
    join_and_drop(g);
    expect_int_eq(w.rc, 0);
    expect_idle();
}

GEV_TEST(signal_is_not_remembered)
{
    begin();
    gev_cond_signal(&cond);
    gev_cond_broadcast(&cond);
    expect_ok(gev_lock_acquire(&lock, 0));
    double start = test_now();
    expect_fail(gev_cond_wait(&cond, &lock, 0.01), ETIMEDOUT);
    expect_ge(test_now() - start, 0.01);
    expect_fail(gev_cond_wait(&cond, &lock, 0), ETIMEDOUT);
    expect_fail(gev_cond_wait(&cond, &lock, -1), ETIMEDOUT);
    expect_ok(gev_lock_release(&lock));
    expect_idle();
}

/* A signal wakes one, the first; a broadcast all, in their order, one at a
 * time. */
GEV_TEST(signals_wake_in_order)
{
    struct waiter w[4];
    gev_greenlet *g[4];
    begin();
    for (int i = 0; i < 4; i++) {
        static const char *const names[] = {"a", "b", "c", "d"};
        w[i] = (struct waiter){.name = names[i], .timeout = GEV_FOREVER};
        g[i] = spawn_waiter(&w[i]);
    }
    gev_cond_signal(&cond);
    expect_ok(gev_sleep(0.001));
    expect_str_eq(trace_text(), "a");
    gev_cond_broadcast(&cond);
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "a b"); /* which yields with the lock */
    expect_int_eq(gev_joinall(g, 4, GEV_FOREVER), 4);
    expect_str_eq(trace_text(), "a b c d");
    gev_unrefall(g, 4);
    expect_idle();
}

/* A signalled waiter stands behind those who asked for the lock before. */
static void *hold_and_trace(void *arg)
{
    expect_ok(gev_lock_acquire(&lock, GEV_FOREVER));
    trace(arg);
    expect_ok(gev_lock_release(&lock));
    return NULL;
}

GEV_TEST(signalled_waiter_queues_for_the_lock)
{
    struct waiter w = {.name = "waiter", .timeout = GEV_FOREVER};
    begin();
    gev_greenlet *g = spawn_waiter(&w);
    expect_ok(gev_lock_acquire(&lock, 0));
    gev_greenlet *before = gev_spawn(hold_and_trace, "before");
    expect_ok(gev_yield());
    gev_cond_signal(&cond);
    gev_greenlet *after = gev_spawn(hold_and_trace, "after");
    expect_ok(gev_yield());
    expect_fail(gev_lock_fini(&lock), EBUSY);
    expect_ok(gev_lock_release(&lock));
    join_and_drop(before);
    join_and_drop(g);
    join_and_drop(after);
    expect_str_eq(trace_text(), "before waiter after");
    expect_idle();
}

/* --- kills, timeouts, scopes -------------------------------------------- */

/* Killed while it waits for the signal: it has the lock when it comes back. */
GEV_TEST(killed_waiter_holds_the_lock_again)
{
    struct waiter w = {.name = "w", .timeout = GEV_FOREVER};
    begin();
    gev_greenlet *g = spawn_waiter(&w);
    expect_ok(gev_lock_acquire(&lock, 0));
    expect_ok(gev_kill(g, 0));
    expect_ok(gev_sleep(0.001));
    expect_str_eq(trace_text(), "");
    expect_ok(gev_kill(g, 0)); /* while it waits for the lock */
    expect_ok(gev_sleep(0.001));
    expect_str_eq(trace_text(), "");
    expect_ok(gev_lock_release(&lock));
    join_and_drop(g);
    expect_int_eq(w.error, ECANCELED);
    expect_int_eq(w.relock, EDEADLK);
    expect_int_eq(w.next, ECANCELED);
    expect_idle();
}

GEV_TEST(timed_out_waiter_holds_the_lock_again)
{
    struct waiter w = {.name = "w", .timeout = 0.002};
    begin();
    gev_greenlet *g = spawn_waiter(&w);
    expect_ok(gev_lock_acquire(&lock, 0));
    expect_ok(gev_sleep(0.01));
    expect_str_eq(trace_text(), "");
    expect_ok(gev_lock_release(&lock));
    join_and_drop(g);
    expect_int_eq(w.error, ETIMEDOUT);
    expect_int_eq(w.relock, EDEADLK);
    expect_int_eq(w.next, 0);
    expect_idle();
}

static void *wait_in_scope(void *arg)
{
    struct waiter *w = arg;
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin_error(&t, w->timeout, EIO));
    w->timeout = GEV_FOREVER;
    (void)wait_and_trace(w);
    w->expired = gev_timeout_end(&t);
    return NULL;
}

GEV_TEST(expired_scope_does_not_cost_the_lock)
{
    struct waiter w = {.name = "w", .timeout = 0.002};
    begin();
    gev_greenlet *g = gev_spawn(wait_in_scope, &w);
    expect_ok(gev_yield());
    expect_ok(gev_lock_acquire(&lock, 0));
    expect_ok(gev_sleep(0.01));
    expect_str_eq(trace_text(), "");
    expect_ok(gev_lock_release(&lock));
    join_and_drop(g);
    expect_int_eq(w.error, EIO);
    expect_int_eq(w.relock, EDEADLK);
    expect_int_eq(w.next, EIO);
    expect_true(w.expired);
    expect_idle();
}

/* Kill, then signal: it goes to the next. */
GEV_TEST(signal_after_a_kill_wakes_the_next)
{
    struct waiter victim = {.name = "victim", .timeout = GEV_FOREVER};
    struct waiter next = {.name = "next", .timeout = GEV_FOREVER};
    begin();
    gev_greenlet *a = spawn_waiter(&victim);
    gev_greenlet *b = spawn_waiter(&next);
    expect_ok(gev_kill(a, 0));
    gev_cond_signal(&cond);
    join_and_drop(a);
    join_and_drop(b);
    expect_int_eq(victim.error, ECANCELED);
    expect_int_eq(victim.relock, EDEADLK);
    expect_int_eq(next.rc, 0);
    expect_idle();
}

/* Signal, then kill: the victim has it, whether the lock is free or not. */
static void signal_then_kill(bool holding)
{
    struct waiter victim = {.name = "victim", .timeout = GEV_FOREVER};
    struct waiter next = {.name = "next", .timeout = 0.005};
    begin();
    gev_greenlet *a = spawn_waiter(&victim);
    gev_greenlet *b = spawn_waiter(&next);
    if (holding) {
        expect_ok(gev_lock_acquire(&lock, 0));
    }
    gev_cond_signal(&cond);
    expect_ok(gev_kill(a, 0));
    if (holding) {
        expect_ok(gev_sleep(0.001));
        expect_str_eq(trace_text(), "");
        expect_ok(gev_lock_release(&lock));
    }
    join_and_drop(a);
    join_and_drop(b);
    expect_int_eq(victim.rc, 0);
    expect_int_eq(victim.relock, EDEADLK);
    expect_int_eq(victim.next, ECANCELED);
    expect_int_eq(next.error, ETIMEDOUT);
    expect_idle();
}

GEV_TEST(signal_before_a_kill_is_the_victims)
{
    signal_then_kill(false);
    signal_then_kill(true);
}

/* The time is up between the signal and the lock: it was signalled. */
GEV_TEST(timeout_after_the_signal_does_not_count)
{
    struct waiter w = {.name = "w", .timeout = 0.002};
    begin();
    gev_greenlet *g = spawn_waiter(&w);
    expect_ok(gev_lock_acquire(&lock, 0));
    gev_cond_signal(&cond);
    expect_ok(gev_sleep(0.01));
    expect_str_eq(trace_text(), "");
    expect_ok(gev_lock_release(&lock));
    join_and_drop(g);
    expect_int_eq(w.rc, 0);
    expect_int_eq(w.next, 0);
    expect_idle();
}

/* A thrown code comes after the signal's success: it is not lost. */
GEV_TEST(throw_after_the_signal_is_delivered_later)
{
    struct waiter w = {.name = "w", .timeout = GEV_FOREVER};
    begin();
    gev_greenlet *g = spawn_waiter(&w);
    expect_ok(gev_lock_acquire(&lock, 0));
    gev_cond_signal(&cond);
    expect_ok(gev_throw(g, EIO));
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_lock_release(&lock));
    join_and_drop(g);
    expect_int_eq(w.rc, 0);
    expect_int_eq(w.next, EIO);
    expect_idle();
}

/* Who may not park keeps the lock, and nobody else gets it meanwhile. */
static void *wait_while_killed(void *arg)
{
    struct waiter *w = arg;
    expect_ok(gev_lock_acquire(&lock, 0));
    expect_fail(gev_kill(gev_current(), 0), ECANCELED);
    w->rc = gev_cond_wait(&cond, &lock, GEV_FOREVER);
    w->error = errno;
    expect_ok(gev_lock_release(&lock));
    return NULL;
}

GEV_TEST(wait_of_a_killed_one_fails_at_once)
{
    struct waiter w = {.rc = 0};
    begin();
    gev_greenlet *g = gev_spawn(wait_while_killed, &w);
    join_and_drop(g);
    expect_int_eq(w.rc, -1);
    expect_int_eq(w.error, ECANCELED);
    expect_idle();
}

/* --- misuse ------------------------------------------------------------- */

static void *wait_without_lock(void *arg)
{
    *(int *)arg = gev_cond_wait(&cond, &lock, GEV_FOREVER) == 0 ? 0 : errno;
    return NULL;
}

/* C7 */
GEV_TEST(wait_without_the_lock_is_refused)
{
    int error = 0;
    begin();
    expect_fail(gev_cond_wait(&cond, &lock, GEV_FOREVER), EPERM);
    expect_fail(gev_cond_wait(&cond, &lock, 0), EPERM);
    expect_ok(gev_lock_acquire(&lock, 0));
    join_and_drop(gev_spawn(wait_without_lock, &error));
    expect_int_eq(error, EPERM);
    expect_ok(gev_lock_release(&lock));
    expect_idle();
}

GEV_TEST(senseless_arguments_are_refused)
{
    begin();
    expect_ok(gev_lock_acquire(&lock, 0));
    expect_fail(gev_cond_wait(NULL, &lock, 1), EINVAL);
    expect_fail(gev_cond_wait(&cond, NULL, 1), EINVAL);
    expect_fail(gev_cond_wait(&cond, &lock, (double)NAN), EINVAL);
    expect_fail(gev_cond_fini(NULL), EINVAL);
    gev_cond_init(NULL);
    gev_cond_signal(NULL);
    gev_cond_broadcast(NULL);
    expect_ok(gev_lock_release(&lock));
    expect_idle();
}

GEV_TEST(fini_with_waiters_is_refused)
{
    struct waiter w = {.name = "w", .timeout = GEV_FOREVER};
    begin();
    gev_greenlet *g = spawn_waiter(&w);
    expect_fail(gev_cond_fini(&cond), EBUSY);
    expect_ok(gev_kill(g, 0));
    expect_fail(gev_cond_fini(&cond), EBUSY);
    join_and_drop(g);
    expect_idle();
}

/* Whoever was signalled needs the condition no more. */
GEV_TEST(condition_may_go_after_a_broadcast)
{
    struct waiter w[2] = {{.name = "a", .timeout = GEV_FOREVER},
                          {.name = "b", .timeout = GEV_FOREVER}};
    begin();
    gev_greenlet *a = spawn_waiter(&w[0]);
    gev_greenlet *b = spawn_waiter(&w[1]);
    gev_cond_broadcast(&cond);
    expect_ok(gev_cond_fini(&cond));
    memset(&cond, 0xff, sizeof(cond));
    join_and_drop(a);
    join_and_drop(b);
    expect_int_eq(w[0].rc | w[1].rc, 0);
    memset(&cond, 0, sizeof(cond));
    expect_idle();
}

static void signal_in_callback(void *arg)
{
    (void)arg;
    gev_cond_signal(&cond);
}

GEV_TEST(callback_may_signal)
{
    struct waiter w = {.name = "w", .timeout = GEV_FOREVER};
    begin();
    gev_greenlet *g = spawn_waiter(&w);
    expect_ok(gev_hub_post(gev_hub_get(), signal_in_callback, NULL));
    join_and_drop(g);
    expect_int_eq(w.rc, 0);
    expect_idle();
}

/* LCK14, P9 */
static void *use_in_another_thread(void *arg)
{
    int wrong = 0;
    gev_lock mine = {{NULL}};
    (void)arg;
    gev_cond_signal(&cond);
    gev_cond_broadcast(&cond);
    wrong += gev_lock_acquire(&mine, 0) != 0;
    wrong += gev_cond_wait(&cond, &mine, 1) != -1 || errno != EPERM;
    wrong += gev_lock_release(&mine) != 0;
    wrong += gev_hub_close() != 0;
    return P(wrong);
}

GEV_TEST(another_threads_condition_is_left_alone)
{
    struct waiter w = {.name = "w", .timeout = GEV_FOREVER};
    begin();
    gev_greenlet *g = spawn_waiter(&w);
    expect_int_eq(value_in_thread(use_in_another_thread, NULL), 0);
    expect_false(gev_lock_locked(&lock));
    gev_cond_signal(&cond);
    join_and_drop(g);
    expect_idle();
}

/* Main waits, nobody can ever signal: EDEADLK, with the lock; and without it
 * where not even the lock can come back. */
static void *hold_for_ever(void *arg)
{
    (void)arg;
    expect_ok(gev_lock_acquire(&lock, GEV_FOREVER));
    (void)gev_sleep(GEV_FOREVER);
    expect_ok(gev_lock_release(&lock));
    return NULL;
}

GEV_TEST(wait_in_vain_is_a_deadlock)
{
    begin();
    expect_ok(gev_lock_acquire(&lock, 0));
    expect_fail(gev_cond_wait(&cond, &lock, GEV_FOREVER), EDEADLK);
    expect_ok(gev_lock_release(&lock)); /* it had it */

    expect_ok(gev_lock_acquire(&lock, 0));
    gev_greenlet *g = gev_spawn(hold_for_ever, NULL);
    expect_fail(gev_cond_wait(&cond, &lock, GEV_FOREVER), EDEADLK);
    expect_fail(gev_lock_release(&lock), EPERM); /* it could not have it */
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
    expect_idle();
}

/* LCK16 */
static int child_outcome(void)
{
    int wrong = 0;
    gev_cond_broadcast(&cond); /* to nobody */
    wrong += gev_lock_locked(&lock);
    wrong += gev_cond_fini(&cond) != 0;
    wrong += gev_lock_fini(&lock) != 0;
    return wrong;
}

GEV_TEST(forked_child_has_no_waiters)
{
    struct waiter w = {.name = "w", .timeout = GEV_FOREVER};
    begin();
    gev_greenlet *g = spawn_waiter(&w);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(20);
        _exit(child_outcome());
    }
    expect_child_well(pid);
    gev_cond_signal(&cond);
    join_and_drop(g);
    expect_int_eq(w.rc, 0);
    expect_idle();
}

/* The hub is closed under waiters, moved or not: they go, with or without the
 * lock, and nothing hangs. */
static void *wait_to_the_end(void *arg)
{
    expect_ok(gev_lock_acquire(&lock, GEV_FOREVER));
    *(int *)arg = gev_cond_wait(&cond, &lock, GEV_FOREVER) == 0 ? 0 : errno;
    (void)gev_lock_release(&lock);
    return NULL;
}

GEV_TEST(close_ends_those_who_wait)
{
    int results[2] = {-1, -1};
    begin();
    gev_unref(gev_spawn(wait_to_the_end, &results[0]));
    gev_unref(gev_spawn(wait_to_the_end, &results[1]));
    expect_ok(gev_yield());
    expect_ok(gev_lock_acquire(&lock, 0)); /* main never lets go of it */
    gev_cond_signal(&cond);
    expect_ok(gev_hub_close());
    expect_int_eq(results[0], ECANCELED);
    expect_int_eq(results[1], ECANCELED);
}

/* The same where the holder goes first: the signalled waiter gets the lock, and
 * so its signal. */
static void *signal_and_stay(void *arg)
{
    (void)arg;
    expect_ok(gev_yield());
    expect_ok(gev_lock_acquire(&lock, 0));
    gev_cond_signal(&cond);
    gev_shield_begin();
    expect_fail(gev_sleep(GEV_FOREVER), ECANCELED);
    gev_shield_end();
    expect_ok(gev_lock_release(&lock));
    return NULL;
}

GEV_TEST(close_under_a_signalled_waiter)
{
    struct waiter w = {.name = "w", .rc = -1, .timeout = GEV_FOREVER};
    begin();
    gev_unref(gev_spawn(signal_and_stay, NULL));
    gev_unref(gev_spawn(wait_and_trace, &w));
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_hub_close());
    expect_int_eq(w.rc, 0);
    expect_int_eq(w.relock, EDEADLK);
    expect_int_eq(w.next, ECANCELED);
    expect_false(gev_lock_locked(&lock));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wait_releases_the_lock_and_has_it_again),
        cmocka_unit_test(signal_without_the_lock_hands_it_over),
        cmocka_unit_test(signal_is_not_remembered),
        cmocka_unit_test(signals_wake_in_order),
        cmocka_unit_test(signalled_waiter_queues_for_the_lock),
        cmocka_unit_test(killed_waiter_holds_the_lock_again),
        cmocka_unit_test(timed_out_waiter_holds_the_lock_again),
        cmocka_unit_test(expired_scope_does_not_cost_the_lock),
        cmocka_unit_test(signal_after_a_kill_wakes_the_next),
        cmocka_unit_test(signal_before_a_kill_is_the_victims),
        cmocka_unit_test(timeout_after_the_signal_does_not_count),
        cmocka_unit_test(throw_after_the_signal_is_delivered_later),
        cmocka_unit_test(wait_of_a_killed_one_fails_at_once),
        cmocka_unit_test(wait_without_the_lock_is_refused),
        cmocka_unit_test(senseless_arguments_are_refused),
        cmocka_unit_test(fini_with_waiters_is_refused),
        cmocka_unit_test(condition_may_go_after_a_broadcast),
        cmocka_unit_test(callback_may_signal),
        cmocka_unit_test(another_threads_condition_is_left_alone),
        cmocka_unit_test(wait_in_vain_is_a_deadlock),
        cmocka_unit_test(forked_child_has_no_waiters),
        cmocka_unit_test(close_ends_those_who_wait),
        cmocka_unit_test(close_under_a_signalled_waiter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
