/* SPDX-License-Identifier: MIT */

/* Sleeping, yielding, idling (TOP5, TOP6, T1, T3, T5, T11). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <float.h>
#include <unistd.h>

struct sleeper {
    double seconds;
    const char *word;
};

static void *sleep_and_trace(void *arg)
{
    const struct sleeper *s = arg;
    if (gev_sleep(s->seconds) != 0) {
        return gev_fail(errno);
    }
    trace(s->word);
    return NULL;
}

/* TOP5, THR4 */
GEV_TEST(sleep_never_ends_early)
{
    const double seconds[] = {0.0001, 0.0004, 0.001, 0.0015, 0.0101, 0.03};
    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
        double start = test_now();
        expect_ok(gev_sleep(seconds[i]));
        expect_ge(test_now() - start, seconds[i]);
        expect_le(test_now() - start, seconds[i] + test_scale(1));
    }
}

/* T3, LOOP8: loop time is refreshed before a timer is armed after a long burst.
 */
GEV_TEST(sleep_after_a_cpu_burst_is_not_shortened)
{
    expect_ok(gev_sleep(0.001));
    test_spin(0.05);
    double start = test_now();
    expect_ok(gev_sleep(0.02));
    expect_ge(test_now() - start, 0.02);
    test_spin(0.05);
    start = test_now();
    struct sleeper s = {0.02, "s"};
    gev_greenlet *g = gev_spawn(sleep_and_trace, &s);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ge(test_now() - start, 0.02);
    gev_unref(g);
}

/* TOP5 */
GEV_TEST(sleepers_wake_by_deadline_and_together)
{
    trace_reset();
    struct sleeper s[] = {{0.16, "d"}, {0.01, "a"}, {0.11, "c"}, {0.06, "b"}};
    gev_greenlet *g[4];
    double start = test_now();
    for (int i = 0; i < 4; i++) {
        g[i] = gev_spawn(sleep_and_trace, &s[i]);
    }
    expect_int_eq(gev_joinall(g, 4, GEV_FOREVER), 4);
    expect_ge(test_now() - start, 0.16);
    expect_str_eq(trace_text(), "a b c d");
    gev_unrefall(g, 4);
}

/* TOP5, section 0: NaN is EINVAL. */
GEV_TEST(sleep_refuses_nan)
{
    expect_fail(gev_sleep((double)NAN), EINVAL);
    expect_ok(gev_sleep(0));
}

/* TOP5 */
GEV_TEST(sleep_of_zero_or_less_is_a_yield)
{
    const double seconds[] = {0, -0.0, -1, -1e300, -(double)INFINITY};
    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
        trace_reset();
        gev_unref(gev_spawn(trace_and_return, "a"));
        gev_unref(gev_spawn(trace_and_return, "b"));
        expect_ok(gev_sleep(seconds[i]));
        expect_str_eq(trace_text(), "a b");
    }
}

static void *yield_and_trace(void *arg)
{
    for (int i = 0; i < 3; i++) {
        trace((const char *)arg);
        if (gev_yield() != 0) {
            return gev_fail(errno);
        }
    }
    return NULL;
}

/* TOP5: every greenlet that is ready runs before the yield returns. */
GEV_TEST(yield_goes_round_robin)
{
    trace_reset();
    gev_unref(gev_spawn(yield_and_trace, "a"));
    gev_unref(gev_spawn(yield_and_trace, "b"));
    gev_unref(gev_spawn(yield_and_trace, "c"));
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "a b c");
    trace("main");
    expect_ok(gev_yield());
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "a b c main a b c a b c");
}

GEV_TEST(yield_alone_returns)
{
    for (int i = 0; i < 1000; i++) {
        expect_ok(gev_yield());
    }
}

static void *sleep_for(void *arg)
{
    return gev_sleep(*(double *)arg) == 0 ? P(1) : gev_fail(errno);
}

/* T11: what does not fit is for ever, and ends by a kill. */
GEV_TEST(huge_sleeps_last_until_killed)
{
    double seconds[] = {GEV_FOREVER, DBL_MAX, 1e300, 1e18, 9.3e9, 1e9};
    gev_greenlet *g[6];
    for (int i = 0; i < 6; i++) {
        g[i] = gev_spawn(sleep_for, &seconds[i]);
    }
    expect_int_eq(gev_joinall(g, 6, 0.01), 0);
    for (int i = 0; i < 6; i++) {
        expect_false(gev_dead(g[i]));
        expect_ok(gev_kill(g[i], GEV_FOREVER));
        expect_int_eq(gev_error(g[i]), ECANCELED);
    }
    gev_unrefall(g, 6);
}

static void *yield_until(void *arg)
{
    const bool *stop = arg;
    while (!*stop) {
        if (gev_yield() != 0) {
            return gev_fail(errno);
        }
    }
    return NULL;
}

/* T1, LOOP5, TOP15: timers fire and I/O is seen however busy the queue is. */
GEV_TEST(busy_queue_does_not_starve_timers_or_io)
{
    bool stop = false;
    int fds[2];
    gev_greenlet *g[2];
    expect_int_eq(pipe(fds), 0);
    for (int i = 0; i < 2; i++) {
        g[i] = gev_spawn(yield_until, &stop);
    }
    double start = test_now();
    expect_ok(gev_sleep(0.005));
    expect_le(test_now() - start, test_scale(0.5));
    expect_fail(gev_wait_fd(fds[0], GEV_READ, 0.005), ETIMEDOUT);
    expect_le(test_now() - start, test_scale(1));
    expect_int_eq(write(fds[1], "x", 1), 1);
    expect_int_eq(gev_wait_fd(fds[0], GEV_READ, GEV_FOREVER), GEV_READ);
    stop = true;
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    gev_unrefall(g, 2);
    expect_int_eq(gev_close(fds[0]) + gev_close(fds[1]), 0);
}

static void *idle_and_trace(void *arg)
{
    if (gev_idle() != 0) {
        return gev_fail(errno);
    }
    trace((const char *)arg);
    if (gev_yield() != 0) {
        return gev_fail(errno);
    }
    return NULL;
}

/* TOP6 */
GEV_TEST(idle_waits_until_nothing_is_ready)
{
    trace_reset();
    gev_unref(gev_spawn(yield_and_trace, "a"));
    expect_ok(gev_idle());
    expect_str_eq(trace_text(), "a a a");
    expect_ok(gev_idle()); /* nothing at all: at once */
}

static void *idle_then_work(void *arg)
{
    const char *word = arg;
    if (gev_idle() != 0) {
        return gev_fail(errno);
    }
    trace(word);
    gev_unref(gev_spawn(trace_and_return, "work"));
    return NULL;
}

/* TOP6: one by one, in the order they came; what one makes ready runs before
 * the next. */
GEV_TEST(idlers_resume_one_by_one_in_order)
{
    trace_reset();
    gev_unref(gev_spawn(idle_and_trace, "a"));
    gev_unref(gev_spawn(idle_and_trace, "b"));
    gev_unref(gev_spawn(idle_and_trace, "c"));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "a b c");
    trace_reset();
    gev_unref(gev_spawn(idle_then_work, "a"));
    gev_unref(gev_spawn(idle_then_work, "b"));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "a work b work");
}

static void *wait_readable(void *arg)
{
    if (gev_wait_fd(*(int *)arg, GEV_READ, GEV_FOREVER) < 0) {
        return gev_fail(errno);
    }
    trace("io");
    return NULL;
}

/* TOP6: idle looks for I/O first, and does not wait for what is not there. */
GEV_TEST(idle_looks_for_io_but_does_not_wait_for_it)
{
    int fds[2];
    trace_reset();
    expect_int_eq(pipe(fds), 0);
    struct sleeper s = {60, "slept"};
    gev_greenlet *reader = gev_spawn(wait_readable, &fds[0]);
    gev_greenlet *sleeper = gev_spawn(sleep_and_trace, &s);
    double start = test_now();
    expect_ok(gev_idle());
    expect_le(test_now() - start, test_scale(5));
    expect_str_eq(trace_text(), "");
    expect_int_eq(write(fds[1], "x", 1), 1);
    expect_ok(gev_idle());
    expect_str_eq(trace_text(), "io");
    expect_ok(gev_kill(sleeper, GEV_FOREVER));
    gev_unref(reader);
    gev_unref(sleeper);
    expect_int_eq(gev_close(fds[0]) + gev_close(fds[1]), 0);
}

struct attempt {
    int rc[4];
    int error[4];
};

static void try_to_park(void *arg)
{
    struct attempt *a = arg;
    a->rc[0] = gev_sleep(0.001);
    a->error[0] = errno;
    a->rc[1] = gev_yield();
    a->error[1] = errno;
    a->rc[2] = gev_idle();
    a->error[2] = errno;
    a->rc[3] = gev_sleep(0);
    a->error[3] = errno;
}

/* Section 12 "Hub": parking in a callback is EPERM, gev_yield too (T9). */
GEV_TEST(parking_in_a_callback_is_eperm)
{
    struct attempt a = {{0}, {0}};
    expect_ok(gev_hub_post(gev_hub_get(), try_to_park, &a));
    expect_ok(gev_sleep(0.001));
    for (int i = 0; i < 4; i++) {
        expect_int_eq(a.rc[i], -1);
        expect_int_eq(a.error[i], EPERM);
    }
}

/* T10: a parked program makes no turns by itself. */
GEV_TEST(idle_hub_does_not_wake_up)
{
    gev_stats before = {.size = sizeof(before)};
    gev_stats after = {.size = sizeof(after)};
    expect_ok(gev_sleep(0.001));
    gev_hub_stats(gev_hub_get(), &before);
    expect_ok(gev_sleep(0.2));
    gev_hub_stats(gev_hub_get(), &after);
    expect_le((double)(after.turns - before.turns), 5);
}

/* T5: short sleeps neither end early nor spin. */
GEV_TEST(short_sleeps_take_few_turns)
{
    gev_stats before = {.size = sizeof(before)};
    gev_stats after = {.size = sizeof(after)};
    gev_hub_stats(gev_hub_get(), &before);
    for (int i = 0; i < 50; i++) {
        double start = test_now();
        expect_ok(gev_sleep(0.0004));
        expect_ge(test_now() - start, 0.0004);
    }
    gev_hub_stats(gev_hub_get(), &after);
    expect_le((double)(after.turns - before.turns), 50 * 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sleep_never_ends_early),
        cmocka_unit_test(sleep_after_a_cpu_burst_is_not_shortened),
        cmocka_unit_test(sleepers_wake_by_deadline_and_together),
        cmocka_unit_test(sleep_refuses_nan),
        cmocka_unit_test(sleep_of_zero_or_less_is_a_yield),
        cmocka_unit_test(yield_goes_round_robin),
        cmocka_unit_test(yield_alone_returns),
        cmocka_unit_test(huge_sleeps_last_until_killed),
        cmocka_unit_test(busy_queue_does_not_starve_timers_or_io),
        cmocka_unit_test(idle_waits_until_nothing_is_ready),
        cmocka_unit_test(idlers_resume_one_by_one_in_order),
        cmocka_unit_test(idle_looks_for_io_but_does_not_wait_for_it),
        cmocka_unit_test(parking_in_a_callback_is_eperm),
        cmocka_unit_test(idle_hub_does_not_wake_up),
        cmocka_unit_test(short_sleeps_take_few_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
