/* SPDX-License-Identifier: MIT */

/* Locks, re-entrant or not: gev/lock.h (LCK2-LCK6, LCK8, LCK9, LCK12, LCK14,
 * LCK16, THR1). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/greenlets.h"
#include "support/trace.h"

#include <stdlib.h>
#include <unistd.h>

static gev_lock lock;
static gev_rlock rlock;

struct taker {
    const char *name;
    double timeout;
    int rc;
    int error;
    int next; /* what its next park came to */
};

static void *hold_and_trace(void *arg)
{
    struct taker *t = arg;
    t->rc = gev_lock_acquire(&lock, t->timeout);
    t->error = t->rc == 0 ? 0 : errno;
    t->next = gev_yield() == 0 ? 0 : errno;
    trace(t->name);
    if (t->rc == 0) {
        expect_ok(gev_lock_release(&lock));
    }
    return NULL;
}

static gev_greenlet *spawn_taker(struct taker *t)
{
    return start(hold_and_trace, t);
}

/* LCK2, LCK3, LCK8 */
GEV_TEST(lock_is_taken_and_released)
{
    gev_lock_init(&lock);
    trace_reset();
    gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
    expect_false(gev_lock_locked(&lock));
    expect_ok(gev_lock_acquire(&lock, GEV_FOREVER));
    expect_true(gev_lock_locked(&lock));
    expect_ok(gev_lock_release(&lock));
    expect_false(gev_lock_locked(&lock));
    expect_ok(gev_lock_acquire(&lock, 0));
    expect_ok(gev_lock_release(&lock));
    expect_str_eq(trace_text(), "");
    join_and_drop(ready);
    expect_ok(gev_lock_fini(&lock));
}

/* C7: what the holder, another, or nobody may do. */
GEV_TEST(relock_is_a_deadlock_at_any_timeout)
{
    gev_lock l = {{NULL}};
    expect_ok(gev_lock_acquire(&l, GEV_FOREVER));
    expect_fail(gev_lock_acquire(&l, 0), EDEADLK);
    expect_fail(gev_lock_acquire(&l, -1), EDEADLK);
    expect_fail(gev_lock_acquire(&l, 0.001), EDEADLK);
    expect_fail(gev_lock_acquire(&l, GEV_FOREVER), EDEADLK);
    expect_true(gev_lock_locked(&l));
    expect_ok(gev_lock_release(&l));
    expect_fail(gev_lock_release(&l), EPERM); /* THR1 */
}

static void *release_lock(void *arg)
{
    *(int *)arg = gev_lock_release(&lock) == 0 ? 0 : errno;
    return NULL;
}

GEV_TEST(release_by_another_is_refused)
{
    int result = 0;
    gev_lock_init(&lock);
    expect_ok(gev_lock_acquire(&lock, 0));
    join_and_drop(gev_spawn(release_lock, &result));
    expect_int_eq(result, EPERM);
    expect_true(gev_lock_locked(&lock));
    expect_ok(gev_lock_release(&lock));
    join_and_drop(gev_spawn(release_lock, &result));
    expect_int_eq(result, EPERM);
}

/* LCK2 */
GEV_TEST(held_lock_times_out)
{
    struct taker now = {.name = "now", .timeout = 0};
    struct taker later = {.name = "later", .timeout = 0.01};
    gev_lock_init(&lock);
    expect_ok(gev_lock_acquire(&lock, 0));
    double start = test_now();
    join_and_drop(gev_spawn(hold_and_trace, &now));
    expect_int_eq(now.error, ETIMEDOUT);
    join_and_drop(gev_spawn(hold_and_trace, &later));
    expect_int_eq(later.error, ETIMEDOUT);
    expect_ge(test_now() - start, 0.01);
    expect_ok(gev_lock_release(&lock));
}

/* LCK4, LCK5: it is the first waiter's in the release, and then the second's.
 * Who has just released it stands in line. */
GEV_TEST(lock_is_handed_over_in_order)
{
    struct taker a = {.name = "a", .timeout = GEV_FOREVER};
    struct taker b = {.name = "b", .timeout = GEV_FOREVER};
    gev_lock_init(&lock);
    trace_reset();
    expect_ok(gev_lock_acquire(&lock, 0));
    gev_greenlet *ga = spawn_taker(&a);
    gev_greenlet *gb = spawn_taker(&b);
    expect_ok(gev_lock_release(&lock));
    expect_true(gev_lock_locked(&lock));
    expect_fail(gev_lock_release(&lock), EPERM);
    expect_fail(gev_lock_acquire(&lock, 0), ETIMEDOUT);
    expect_str_eq(trace_text(), "");
    expect_ok(gev_lock_acquire(&lock, GEV_FOREVER));
    expect_str_eq(trace_text(), "a b");
    expect_ok(gev_lock_release(&lock));
    join_and_drop(ga);
    join_and_drop(gb);
}

/* LCK6, C6 */
GEV_TEST(lock_after_a_kill_goes_to_the_next)
{
    struct taker victim = {.name = "victim", .timeout = GEV_FOREVER};
    struct taker next = {.name = "next", .timeout = GEV_FOREVER};
    gev_lock_init(&lock);
    expect_ok(gev_lock_acquire(&lock, 0));
    gev_greenlet *a = spawn_taker(&victim);
    gev_greenlet *b = spawn_taker(&next);
    expect_ok(gev_kill(a, 0));
    expect_ok(gev_lock_release(&lock));
    join_and_drop(a);
    join_and_drop(b);
    expect_int_eq(victim.error, ECANCELED);
    expect_int_eq(next.rc, 0);
    expect_false(gev_lock_locked(&lock));
}

GEV_TEST(lock_after_a_kill_is_free)
{
    struct taker victim = {.name = "victim", .timeout = GEV_FOREVER};
    gev_lock_init(&lock);
    expect_ok(gev_lock_acquire(&lock, 0));
    gev_greenlet *a = spawn_taker(&victim);
    expect_ok(gev_kill(a, 0));
    expect_ok(gev_lock_release(&lock));
    expect_false(gev_lock_locked(&lock));
    expect_ok(gev_lock_acquire(&lock, 0));
    join_and_drop(a);
    expect_int_eq(victim.error, ECANCELED);
    expect_ok(gev_lock_release(&lock));
}

GEV_TEST(lock_before_a_kill_is_the_victims)
{
    struct taker victim = {.name = "victim", .timeout = GEV_FOREVER};
    gev_lock_init(&lock);
    expect_ok(gev_lock_acquire(&lock, 0));
    gev_greenlet *a = spawn_taker(&victim);
    expect_ok(gev_lock_release(&lock));
    expect_ok(gev_kill(a, 0));
    expect_fail(gev_lock_acquire(&lock, 0), ETIMEDOUT);
    join_and_drop(a);
    expect_int_eq(victim.rc, 0);
    expect_int_eq(victim.next, ECANCELED);
    expect_false(gev_lock_locked(&lock));
}

/* Many on one lock, many of them killed or out of time: never two in it, and
 * free in the end (C1, C6). */
enum { CROWD = 100 };

static int inside;
static int entered;

static void *enter_often(void *arg)
{
    for (int i = 0; i < 20; i++) {
        double timeout = (N(arg) + i) % 3 == 0 ? 0.0003 : GEV_FOREVER;
        if (gev_lock_acquire(&lock, timeout) < 0) {
            if (errno == ECANCELED) {
                break;
            }
            continue;
        }
        expect_int_eq(++inside, 1);
        entered++;
        (void)gev_yield(); /* may fail: killed */
        expect_int_eq(inside--, 1);
        expect_ok(gev_lock_release(&lock));
    }
    return NULL;
}

GEV_TEST(mutual_exclusion_survives_kills_and_timeouts)
{
    gev_greenlet *g[CROWD];
    gev_lock_init(&lock);
    inside = 0;
    entered = 0;
    for (int i = 0; i < CROWD; i++) {
        g[i] = gev_spawn(enter_often, P(i));
    }
    for (int i = 0; i < CROWD; i += 2) {
        expect_ok(i % 8 == 0 ? gev_sleep(0.0002) : gev_yield());
        expect_ok(gev_kill(g[i], 0));
    }
    expect_int_eq(gev_joinall(g, CROWD, GEV_FOREVER), CROWD);
    expect_false(gev_lock_locked(&lock));
    expect_true(entered > CROWD);
    expect_ok(gev_lock_fini(&lock));
    gev_unrefall(g, CROWD);
}

/* A shielded acquire does not fail: what callbacks that cannot fail need. */
static void *hold_shielded(void *arg)
{
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin(&t, 0.001));
    gev_shield_begin();
    *(int *)arg = gev_lock_acquire(&lock, GEV_FOREVER);
    gev_shield_end();
    expect_true(gev_timeout_end(&t));
    expect_ok(gev_lock_release(&lock));
    return NULL;
}

GEV_TEST(shielded_acquire_does_not_fail)
{
    int rc = -1;
    gev_lock_init(&lock);
    expect_ok(gev_lock_acquire(&lock, 0));
    gev_greenlet *g = gev_spawn(hold_shielded, &rc);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, 0));
    expect_ok(gev_sleep(0.005));
    expect_false(gev_dead(g));
    expect_ok(gev_lock_release(&lock));
    join_and_drop(g);
    expect_int_eq(rc, 0);
}

/* THR1: a spin on a failed try makes progress if it yields. */
GEV_TEST(spinning_with_a_yield_gets_the_lock)
{
    struct taker a = {.name = "a", .timeout = GEV_FOREVER};
    int tries = 0;
    gev_lock_init(&lock);
    gev_greenlet *g = spawn_taker(&a);
    while (gev_lock_acquire(&lock, 0) < 0) {
        expect_int_eq(errno, ETIMEDOUT);
        expect_ok(gev_yield());
        tries++;
    }
    expect_true(tries > 0);
    expect_ok(gev_lock_release(&lock));
    join_and_drop(g);
}

/* C7 */
GEV_TEST(fini_with_waiters_is_refused)
{
    struct taker t = {.name = "t", .timeout = GEV_FOREVER};
    gev_lock_init(&lock);
    expect_ok(gev_lock_acquire(&lock, 0));
    gev_greenlet *g = spawn_taker(&t);
    expect_fail(gev_lock_fini(&lock), EBUSY);
    expect_ok(gev_kill(g, 0));
    expect_fail(gev_lock_fini(&lock), EBUSY);
    join_and_drop(g);
    expect_ok(gev_lock_fini(&lock));
    expect_false(gev_lock_locked(&lock));
    expect_fail(gev_lock_release(&lock), EPERM);
}

GEV_TEST(idle_lock_may_be_moved)
{
    gev_lock a = {{NULL}};
    gev_lock b;
    expect_ok(gev_lock_acquire(&a, 0));
    expect_ok(gev_lock_release(&a));
    memcpy(&b, &a, sizeof(b));
    memset(&a, 0xff, sizeof(a));
    expect_ok(gev_lock_acquire(&b, 0));
    memcpy(&a, &b, sizeof(a)); /* nobody waits: held or not */
    expect_ok(gev_lock_release(&a));
    expect_ok(gev_lock_fini(&a));
}

/* Locks LCK9: ready when free. */
static void *watch(void *arg)
{
    gev_waitable *w = GEV_WAITABLE(&lock);
    expect_int_eq(gev_wait(&w, 1, 1, GEV_FOREVER), 1);
    trace(arg);
    return NULL;
}

GEV_TEST(watchers_are_told_when_the_lock_is_free)
{
    struct taker t = {.name = "taker", .timeout = GEV_FOREVER};
    gev_lock_init(&lock);
    gev_waitable *w = GEV_WAITABLE(&lock);
    expect_true(gev_waitable_ready(w));
    expect_int_eq(gev_wait(&w, 1, 1, 0), 1);
    expect_ok(gev_lock_acquire(&lock, 0));
    expect_false(gev_waitable_ready(w));
    trace_reset();
    gev_greenlet *watcher = gev_spawn(watch, "watcher");
    gev_greenlet *taker = spawn_taker(&t);
    expect_fail(gev_lock_fini(&lock), EBUSY);
    expect_ok(gev_lock_release(&lock));
    expect_false(gev_waitable_ready(w));
    join_and_drop(watcher);
    join_and_drop(taker);
    expect_str_eq(trace_text(), "taker watcher");
}

GEV_TEST(senseless_arguments_are_refused)
{
    gev_lock_init(NULL);
    gev_rlock_init(NULL);
    expect_fail(gev_lock_acquire(NULL, 0), EINVAL);
    expect_fail(gev_lock_release(NULL), EINVAL);
    expect_fail(gev_lock_fini(NULL), EINVAL);
    expect_false(gev_lock_locked(NULL));
    expect_null(gev_lock_waitable(NULL));
    expect_fail(gev_rlock_acquire(NULL, 0), EINVAL);
    expect_fail(gev_rlock_release(NULL), EINVAL);
    expect_fail(gev_rlock_fini(NULL), EINVAL);
    expect_false(gev_rlock_locked(NULL));
    expect_null(gev_rlock_waitable(NULL));
    gev_lock_init(&lock);
    gev_rlock_init(&rlock);
    expect_fail(gev_lock_acquire(&lock, (double)NAN), EINVAL);
    expect_fail(gev_rlock_acquire(&rlock, (double)NAN), EINVAL);
    expect_false(gev_lock_locked(&lock));
    expect_false(gev_rlock_locked(&rlock));
}

static int callback_results[4];

static void use_in_callback(void *arg)
{
    (void)arg;
    callback_results[0] = gev_lock_acquire(&lock, 0) == 0 ? 0 : errno;
    callback_results[1] = gev_lock_acquire(&lock, 1) == 0 ? 0 : errno;
    callback_results[2] = gev_lock_release(&lock) == 0 ? 0 : errno;
}

GEV_TEST(callback_may_try_but_not_wait)
{
    gev_lock_init(&lock);
    expect_ok(gev_lock_acquire(&lock, 0));
    call_in_hub(use_in_callback, NULL);
    expect_int_eq(callback_results[0], ETIMEDOUT);
    expect_int_eq(callback_results[1], EPERM);
    expect_int_eq(callback_results[2], EPERM);
    expect_ok(gev_lock_release(&lock));
    call_in_hub(use_in_callback, NULL);
    expect_int_eq(callback_results[0], 0);
    expect_int_eq(callback_results[1], EDEADLK);
    expect_int_eq(callback_results[2], 0);
    expect_ok(gev_lock_fini(&lock));
}

/* LCK14, P9 */
static void *use_in_another_thread(void *arg)
{
    int wrong = 0;
    (void)arg;
    wrong += gev_lock_acquire(&lock, 0) != -1 || errno != EPERM;
    wrong += gev_lock_acquire(&lock, 1) != -1 || errno != EPERM;
    wrong += gev_lock_release(&lock) != -1 || errno != EPERM;
    wrong += gev_rlock_acquire(&rlock, 0) != -1 || errno != EPERM;
    wrong += gev_rlock_release(&rlock) != -1 || errno != EPERM;
    wrong += gev_hub_close() != 0;
    return P(wrong);
}

GEV_TEST(another_threads_lock_is_refused)
{
    gev_lock_init(&lock);
    gev_rlock_init(&rlock);
    expect_ok(gev_rlock_acquire(&rlock, 0));
    expect_int_eq(value_in_thread(use_in_another_thread, NULL), 0);
    expect_ok(gev_rlock_release(&rlock));
}

/* --- holders that are gone ---------------------------------------------- */

static void *hold_and_end(void *arg)
{
    expect_ok(gev_lock_acquire(&lock, 0));
    *(uint64_t *)arg = gev_id(gev_current());
    return NULL;
}

static void *use_abandoned(void *arg)
{
    (void)arg;
    expect_fail(gev_lock_release(&lock), EPERM);
    expect_fail(gev_lock_acquire(&lock, 0), ETIMEDOUT);
    expect_fail(gev_lock_acquire(&lock, 0.001), ETIMEDOUT);
    return NULL;
}

/* The holder's memory is the next greenlet's: that is not the holder. */
GEV_TEST(lock_of_a_greenlet_that_ended_stays_locked)
{
    uint64_t id = 0;
    gev_lock_init(&lock);
    gev_greenlet *g = gev_spawn(hold_and_end, &id);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    gev_greenlet *again = gev_spawn(use_abandoned, NULL);
    expect_ptr_eq(again, g); /* or this tests nothing */
    join_and_drop(again);
    expect_true(gev_lock_locked(&lock));
    expect_fail(gev_lock_release(&lock), EPERM);
    gev_lock_init(&lock);
    expect_ok(gev_lock_acquire(&lock, 0));
    expect_ok(gev_lock_release(&lock));
}

/* It is released where it matters. */
static void release_deferred(void *arg)
{
    expect_ok(gev_lock_release(arg));
}

static void *hold_with_defer(void *arg)
{
    expect_ok(gev_lock_acquire(&lock, GEV_FOREVER));
    expect_ok(gev_defer(release_deferred, &lock));
    (void)gev_sleep(GEV_FOREVER);
    gev_exit(arg);
}

GEV_TEST(defer_releases_whatever_happens)
{
    struct taker t = {.name = "t", .timeout = GEV_FOREVER};
    gev_lock_init(&lock);
    gev_greenlet *holder = gev_spawn(hold_with_defer, NULL);
    expect_ok(gev_yield());
    gev_greenlet *g = spawn_taker(&t);
    expect_ok(gev_kill(holder, GEV_FOREVER));
    join_and_drop(g);
    expect_int_eq(t.rc, 0);
    expect_false(gev_lock_locked(&lock));
    gev_unref(holder);
}

/* LCK16: in a child, what the forker holds is its, what others hold stays. */
static gev_lock others;

static void *hold_others(void *arg)
{
    expect_ok(gev_lock_acquire(&others, 0));
    (void)gev_sleep(GEV_FOREVER);
    expect_ok(gev_lock_release(&others));
    return arg;
}

static int child_outcome(void)
{
    int wrong = 0;
    wrong += gev_lock_acquire(&lock, 0) != -1 || errno != EDEADLK;
    wrong += gev_lock_release(&lock) != 0; /* its waiters are not here */
    wrong += gev_lock_locked(&lock);
    wrong += gev_lock_acquire(&lock, GEV_FOREVER) != 0;
    wrong += gev_lock_release(&others) != -1 || errno != EPERM;
    wrong += gev_lock_acquire(&others, 0) != -1 || errno != ETIMEDOUT;
    gev_lock_init(&others);
    wrong += gev_lock_acquire(&others, 0) != 0;
    wrong += gev_lock_release(&others) != 0;
    return wrong;
}

GEV_TEST(forked_child_keeps_its_own_locks)
{
    struct taker t = {.name = "t", .timeout = GEV_FOREVER};
    gev_lock_init(&lock);
    gev_lock_init(&others);
    expect_ok(gev_lock_acquire(&lock, 0));
    gev_greenlet *holder = gev_spawn(hold_others, NULL);
    gev_greenlet *g = spawn_taker(&t);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(20);
        _exit(child_outcome());
    }
    expect_child_well(pid);
    expect_ok(gev_lock_release(&lock));
    join_and_drop(g);
    expect_int_eq(t.rc, 0);
    expect_ok(gev_kill(holder, GEV_FOREVER));
    gev_unref(holder);
    expect_false(gev_lock_locked(&others));
}

/* C8: two greenlets on each other's lock, and main on them: EDEADLK, no hang.
 * (With assertions the circle is reported, too.) */
static gev_lock left;
static gev_lock right;

static void *take_both(void *arg)
{
    gev_lock *first = N(arg) == 0 ? &left : &right;
    gev_lock *second = N(arg) == 0 ? &right : &left;
    expect_ok(gev_lock_acquire(first, GEV_FOREVER));
    expect_ok(gev_yield());
    int rc = gev_lock_acquire(second, GEV_FOREVER);
    int error = errno;
    expect_ok(gev_lock_release(first));
    if (rc == 0) {
        expect_ok(gev_lock_release(second));
    }
    return rc == 0 ? NULL : gev_fail(error);
}

GEV_TEST(circle_of_locks_is_no_hang)
{
    gev_lock_init(&left);
    gev_lock_init(&right);
    gev_greenlet *a = gev_spawn(take_both, P(0));
    gev_greenlet *b = gev_spawn(take_both, P(1));
    expect_fail(gev_join(a, GEV_FOREVER), EDEADLK);
    expect_ok(gev_kill(a, GEV_FOREVER)); /* breaks it */
    join_and_drop(b);
    expect_int_eq(gev_error(a), ECANCELED);
    gev_unref(a);
    expect_false(gev_lock_locked(&left));
    expect_false(gev_lock_locked(&right));
}

/* One that never heeds its kill is ended where it waits: nothing of it is left
 * in the lock. */
static void *want_for_ever(void *arg)
{
    while (gev_lock_acquire(arg, GEV_FOREVER) < 0) {
    }
    return NULL;
}

GEV_TEST(close_takes_waiters_off)
{
    gev_lock_init(&lock);
    expect_ok(gev_lock_acquire(&lock, 0));
    gev_unref(gev_spawn(want_for_ever, &lock));
    expect_ok(gev_yield());
    expect_ok(gev_hub_close());
    expect_ok(gev_lock_fini(&lock));
}

/* --- re-entrant --------------------------------------------------------- */

static void *try_rlock(void *arg)
{
    int *results = arg;
    results[0] = gev_rlock_acquire(&rlock, 0) == 0 ? 0 : errno;
    results[1] = gev_rlock_release(&rlock) == 0 ? 0 : errno;
    return NULL;
}

/* LCK12 */
GEV_TEST(rlock_is_taken_again_by_its_holder)
{
    int results[2] = {0, 0};
    gev_rlock_init(&rlock);
    expect_fail(gev_rlock_release(&rlock), EPERM);
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_rlock_acquire(&rlock, i == 0 ? GEV_FOREVER : 0));
    }
    for (int i = 0; i < 3; i++) {
        expect_true(gev_rlock_locked(&rlock));
        join_and_drop(gev_spawn(try_rlock, results));
        expect_int_eq(results[0], ETIMEDOUT);
        expect_int_eq(results[1], EPERM);
        expect_ok(gev_rlock_release(&rlock));
    }
    expect_false(gev_rlock_locked(&rlock));
    expect_fail(gev_rlock_release(&rlock), EPERM);
    join_and_drop(gev_spawn(try_rlock, results));
    expect_int_eq(results[0], 0);
    expect_int_eq(results[1], 0);
    expect_ok(gev_rlock_fini(&rlock));
}

static void *hold_rlock_twice(void *arg)
{
    if (gev_rlock_acquire(&rlock, GEV_FOREVER) < 0) {
        return gev_fail(errno);
    }
    expect_ok(gev_rlock_acquire(&rlock, GEV_FOREVER));
    trace(arg);
    (void)gev_yield();
    expect_ok(gev_rlock_release(&rlock));
    trace(arg);
    (void)gev_yield();
    expect_ok(gev_rlock_release(&rlock));
    return NULL;
}

/* LCK12, LCK4, LCK5, LCK6: handed over as a whole, in order; a killed waiter
 * loses nothing for the others. */
GEV_TEST(rlock_is_handed_over_in_order)
{
    gev_rlock_init(&rlock);
    trace_reset();
    expect_ok(gev_rlock_acquire(&rlock, GEV_FOREVER));
    gev_greenlet *g[3] = {gev_spawn(hold_rlock_twice, "a"),
                          gev_spawn(hold_rlock_twice, "b"),
                          gev_spawn(hold_rlock_twice, "c")};
    expect_ok(gev_yield());
    expect_fail(gev_rlock_fini(&rlock), EBUSY);
    expect_ok(gev_kill(g[1], 0));
    expect_ok(gev_rlock_release(&rlock));
    expect_fail(gev_rlock_acquire(&rlock, 0), ETIMEDOUT);
    expect_ok(gev_rlock_acquire(&rlock, GEV_FOREVER));
    expect_str_eq(trace_text(), "a a c c");
    expect_ok(gev_rlock_release(&rlock));
    expect_int_eq(gev_joinall(g, 3, GEV_FOREVER), 3);
    expect_int_eq(gev_error(g[1]), ECANCELED);
    expect_false(gev_rlock_locked(&rlock));
    gev_unrefall(g, 3);
}

GEV_TEST(free_rlock_is_ready)
{
    gev_rlock_init(&rlock);
    gev_waitable *w = GEV_WAITABLE(&rlock);
    expect_int_eq(gev_wait(&w, 1, 1, GEV_FOREVER), 1);
    expect_ok(gev_rlock_acquire(&rlock, 0));
    expect_false(gev_waitable_ready(w));
    expect_ok(gev_rlock_acquire(&rlock, 0));
    expect_ok(gev_rlock_release(&rlock));
    expect_false(gev_waitable_ready(w));
    expect_ok(gev_rlock_release(&rlock));
    expect_true(gev_waitable_ready(w));
    expect_ok(gev_rlock_fini(&rlock));
    expect_true(gev_waitable_ready(w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lock_is_taken_and_released),
        cmocka_unit_test(relock_is_a_deadlock_at_any_timeout),
        cmocka_unit_test(release_by_another_is_refused),
        cmocka_unit_test(held_lock_times_out),
        cmocka_unit_test(lock_is_handed_over_in_order),
        cmocka_unit_test(lock_after_a_kill_goes_to_the_next),
        cmocka_unit_test(lock_after_a_kill_is_free),
        cmocka_unit_test(lock_before_a_kill_is_the_victims),
        cmocka_unit_test(mutual_exclusion_survives_kills_and_timeouts),
        cmocka_unit_test(shielded_acquire_does_not_fail),
        cmocka_unit_test(spinning_with_a_yield_gets_the_lock),
        cmocka_unit_test(fini_with_waiters_is_refused),
        cmocka_unit_test(idle_lock_may_be_moved),
        cmocka_unit_test(watchers_are_told_when_the_lock_is_free),
        cmocka_unit_test(senseless_arguments_are_refused),
        cmocka_unit_test(callback_may_try_but_not_wait),
        cmocka_unit_test(another_threads_lock_is_refused),
        cmocka_unit_test(lock_of_a_greenlet_that_ended_stays_locked),
        cmocka_unit_test(defer_releases_whatever_happens),
        cmocka_unit_test(forked_child_keeps_its_own_locks),
        cmocka_unit_test(circle_of_locks_is_no_hang),
        cmocka_unit_test(close_takes_waiters_off),
        cmocka_unit_test(rlock_is_taken_again_by_its_holder),
        cmocka_unit_test(rlock_is_handed_over_in_order),
        cmocka_unit_test(free_rlock_is_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
