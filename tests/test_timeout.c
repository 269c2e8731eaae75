/* SPDX-License-Identifier: MIT */

/* Timeout scopes (TMO*, TOP16, section 12 "Scopes"). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

static uint64_t count_timers(void)
{
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub_stats(gev_hub_get(), &stats);
    return stats.timers;
}

/* TMO3 */
GEV_TEST(scope_that_ends_in_time_does_nothing)
{
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin(&t, 10));
    expect_uint_eq(count_timers(), 1);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_yield());
    expect_false(gev_timeout_expired(&t));
    expect_false(gev_timeout_end(&t));
    expect_false(gev_timeout_end(&t)); /* harmless */
    expect_uint_eq(count_timers(), 0);
    expect_false(gev_timeout_expired(&t));
}

/* TMO1, TMO3, TMO7 */
GEV_TEST(expired_scope_fails_every_park_until_its_end)
{
    gev_timeout t = {0};
    double start = test_now();
    expect_ok(gev_timeout_begin(&t, 0.005));
    expect_fail(gev_sleep(GEV_FOREVER), ETIMEDOUT);
    expect_ge(test_now() - start, 0.005);
    expect_true(gev_timeout_expired(&t));
    expect_fail(gev_sleep(0.001), ETIMEDOUT); /* level-triggered */
    expect_fail(gev_yield(), ETIMEDOUT);
    expect_fail(gev_sleep(10), ETIMEDOUT);
    expect_fail(gev_idle(), ETIMEDOUT);
    expect_true(gev_timeout_end(&t));
    expect_true(gev_timeout_expired(&t)); /* until it begins again */
    expect_ok(gev_yield());
    expect_ok(gev_sleep(0.001));
    (void)gev_timeout_end(&t); /* a second call is harmless */
    expect_ok(gev_yield());
}

/* TMO2 */
GEV_TEST(scope_can_be_used_again)
{
    gev_timeout t = {0};
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_timeout_begin(&t, 0.001));
        expect_false(gev_timeout_expired(&t));
        expect_fail(gev_sleep(GEV_FOREVER), ETIMEDOUT);
        expect_true(gev_timeout_end(&t));
        expect_ok(gev_timeout_begin(&t, 10));
        expect_false(gev_timeout_expired(&t));
        expect_ok(gev_yield());
        expect_false(gev_timeout_end(&t));
    }
}

/* TMO2, section 0 */
GEV_TEST(begin_refuses_misuse)
{
    gev_timeout t = {0};
    expect_fail(gev_timeout_begin(NULL, 1), EINVAL);
    expect_fail(gev_timeout_begin(&t, (double)NAN), EINVAL);
    expect_fail(gev_timeout_begin_error(&t, (double)NAN, EIO), EINVAL);
    expect_fail(gev_timeout_begin_error(&t, 1, 0), EINVAL);
    expect_fail(gev_timeout_begin_error(&t, 1, -EIO), EINVAL);
    expect_fail(gev_timeout_begin_error(NULL, 1, EIO), EINVAL);
    expect_uint_eq(count_timers(), 0);
    expect_ok(gev_timeout_begin(&t, 10));
    expect_fail(gev_timeout_begin(&t, 10), EALREADY);
    expect_fail(gev_timeout_begin_error(&t, 0, EIO), EALREADY);
    expect_ok(gev_yield());
    expect_false(gev_timeout_end(&t));
    expect_ok(gev_timeout_begin(&t, 0));
    expect_fail(gev_yield(), ETIMEDOUT);
    expect_fail(gev_timeout_begin(&t, 10), EALREADY); /* expired, not ended */
    expect_true(gev_timeout_end(&t));
    expect_ok(gev_timeout_begin(&t, GEV_FOREVER));
    expect_fail(gev_timeout_begin(&t, 10), EALREADY);
    expect_false(gev_timeout_end(&t));
}

/* Section 12 "Scopes": <= 0 fails the next park, a yield too. */
GEV_TEST(scope_of_zero_or_less_fails_the_next_park)
{
    const double seconds[] = {0, -1, -(double)INFINITY};
    for (int i = 0; i < 3; i++) {
        trace_reset();
        gev_timeout t = {0};
        gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
        expect_ok(gev_timeout_begin(&t, seconds[i]));
        expect_fail(gev_yield(), ETIMEDOUT);
        expect_true(gev_timeout_expired(&t));
        expect_true(gev_timeout_end(&t));
        expect_ok(gev_join(ready, GEV_FOREVER));
        gev_unref(ready);
    }
}

/* Section 12 "Scopes": a call that need not park succeeds. */
GEV_TEST(call_that_need_not_park_succeeds_in_an_expired_scope)
{
    gev_waiter w = {{NULL}};
    gev_timeout t = {0};
    void *value = NULL;
    expect_ok(gev_timeout_begin(&t, 0));
    expect_fail(gev_yield(), ETIMEDOUT);
    gev_waiter_switch(&w, P(3));
    expect_ok(gev_waiter_get(&w, &value, GEV_FOREVER));
    expect_int_eq(N(value), 3);
    expect_true(gev_timeout_end(&t));
}

/* TMO1 */
GEV_TEST(scope_of_forever_never_fires)
{
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin(&t, GEV_FOREVER));
    expect_uint_eq(count_timers(), 0);
    expect_true(gev_timeout_left(&t) == GEV_FOREVER);
    expect_ok(gev_sleep(0.002));
    expect_fail(gev_sleep(GEV_FOREVER), EDEADLK); /* it can wake nobody */
    expect_false(gev_timeout_end(&t));
    expect_ok(gev_timeout_begin(&t, 1e300)); /* saturates */
    expect_ok(gev_sleep(0.001));
    expect_false(gev_timeout_end(&t));
}

/* TMO6 */
GEV_TEST(scope_with_a_code_of_its_own)
{
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin_error(&t, 0.001, EPROTO));
    expect_fail(gev_sleep(GEV_FOREVER), EPROTO);
    expect_fail(gev_yield(), EPROTO);
    expect_true(gev_timeout_end(&t));
    expect_ok(gev_timeout_begin_error(&t, 0.001, GEV_ELINKDONE));
    expect_fail(gev_sleep(GEV_FOREVER), GEV_ELINKDONE);
    expect_true(gev_timeout_end(&t));
    expect_ok(gev_timeout_begin(&t, 0.001)); /* and back to ETIMEDOUT */
    expect_fail(gev_sleep(GEV_FOREVER), ETIMEDOUT);
    expect_true(gev_timeout_end(&t));
}

/* TMO4 */
GEV_TEST(left_counts_down_to_zero)
{
    gev_timeout t = {0};
    expect_true(gev_timeout_left(&t) == GEV_FOREVER);
    expect_false(gev_timeout_expired(&t));
    expect_false(gev_timeout_end(&t)); /* never begun */
    expect_ok(gev_timeout_begin(&t, 10));
    double left = gev_timeout_left(&t);
    expect_le(left, 10.001);
    expect_ge(left, 0.001);
    expect_ok(gev_sleep(0.01));
    expect_le(gev_timeout_left(&t), left - 0.009);
    expect_false(gev_timeout_end(&t));
    expect_ok(gev_timeout_begin(&t, 0.001));
    test_spin(0.003);
    expect_true(gev_timeout_left(&t) == 0);
    expect_true(gev_timeout_end(&t));
    expect_ok(gev_timeout_begin(&t, -5));
    expect_true(gev_timeout_left(&t) == 0);
    expect_true(gev_timeout_end(&t));
}

/* TMO12: never in code that does not park. */
GEV_TEST(scope_does_not_interrupt_code_that_does_not_park)
{
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin(&t, 0.002));
    double start = test_now();
    test_spin(0.01);
    expect_ge(test_now() - start, 0.01);
    expect_fail(gev_yield(), ETIMEDOUT);
    expect_true(gev_timeout_end(&t));
    expect_ok(gev_timeout_begin(&t, 0.002));
    test_spin(0.01);
    expect_true(gev_timeout_expired(&t)); /* its time has run out */
    expect_true(gev_timeout_end(&t));     /* the deadline had passed */
    expect_ok(gev_yield());
}

/* TMO5, TMO10: the one whose time it was says so. */
GEV_TEST(scopes_nest_in_any_length_order)
{
    gev_timeout outer = {0};
    gev_timeout inner = {0};
    expect_ok(gev_timeout_begin_error(&outer, 10, EIO));
    expect_ok(gev_timeout_begin_error(&inner, 0.002, EPROTO));
    expect_fail(gev_sleep(GEV_FOREVER), EPROTO);
    expect_true(gev_timeout_expired(&inner));
    expect_false(gev_timeout_expired(&outer));
    expect_true(gev_timeout_end(&inner));
    expect_ok(gev_yield()); /* the outer one goes on */
    expect_false(gev_timeout_end(&outer));

    expect_ok(gev_timeout_begin_error(&outer, 0.002, EIO));
    expect_ok(gev_timeout_begin_error(&inner, 10, EPROTO));
    expect_fail(gev_sleep(GEV_FOREVER), EIO);
    expect_false(gev_timeout_expired(&inner));
    expect_true(gev_timeout_expired(&outer));
    expect_false(gev_timeout_end(&inner));
    expect_fail(gev_yield(), EIO);
    expect_true(gev_timeout_end(&outer));
    expect_uint_eq(count_timers(), 0);
}

/* Section 12 "Scopes": of several expired, the earliest deadline's code. */
GEV_TEST(earliest_deadline_of_several_expired_wins)
{
    gev_timeout a = {0};
    gev_timeout b = {0};
    gev_timeout c = {0};
    expect_ok(gev_timeout_begin_error(&a, 0.003, EIO));
    expect_ok(gev_timeout_begin_error(&b, 0.001, EPROTO));
    expect_ok(gev_timeout_begin_error(&c, 0.002, EPIPE));
    test_spin(0.01);
    expect_fail(gev_yield(), EPROTO);
    expect_fail(gev_yield(), EPROTO);
    expect_true(gev_timeout_expired(&a));
    expect_true(gev_timeout_expired(&b));
    expect_true(gev_timeout_expired(&c));
    expect_true(gev_timeout_end(&b));
    expect_fail(gev_yield(), EPIPE);
    expect_true(gev_timeout_end(&c));
    expect_fail(gev_yield(), EIO);
    expect_true(gev_timeout_end(&a));
    expect_ok(gev_yield());
}

/* TMO10: equal deadlines: the first begun, the outer one. */
GEV_TEST(first_begun_of_equal_deadlines_wins)
{
    gev_timeout outer = {0};
    gev_timeout inner = {0};
    expect_ok(gev_timeout_begin_error(&outer, 0.003, EIO));
    expect_ok(gev_timeout_begin_error(&inner, 0.003, EPROTO));
    expect_fail(gev_sleep(GEV_FOREVER), EIO);
    expect_true(gev_timeout_end(&outer));
    expect_fail(gev_sleep(GEV_FOREVER), EPROTO);
    expect_true(gev_timeout_end(&inner));
    expect_ok(gev_timeout_begin_error(&outer, 0, EIO));
    expect_ok(gev_timeout_begin_error(&inner, 0, EPROTO));
    expect_fail(gev_yield(), EIO);
    expect_true(gev_timeout_end(&outer));
    expect_fail(gev_yield(), EPROTO);
    expect_true(gev_timeout_end(&inner));
}

/* Scopes may end in any order. */
GEV_TEST(many_scopes_end_in_any_order)
{
    enum { SCOPES = 64 };
    gev_timeout t[SCOPES];
    memset(t, 0, sizeof(t));
    for (int i = 0; i < SCOPES; i++) {
        expect_ok(
            gev_timeout_begin_error(&t[i], 10 + (i * 37) % SCOPES, 1000 + i));
    }
    expect_uint_eq(count_timers(), SCOPES);
    for (int i = 0; i < SCOPES; i++) {
        int k = (i * 29) % SCOPES;
        expect_ok(gev_yield());
        expect_false(gev_timeout_end(&t[k]));
    }
    expect_uint_eq(count_timers(), 0);
    for (int i = 0; i < SCOPES; i++) {
        expect_ok(gev_timeout_begin_error(&t[i], 0, 1000 + i));
    }
    for (int i = 0; i < SCOPES; i++) {
        expect_fail(gev_yield(), 1000 + i); /* the oldest that is left */
        expect_true(gev_timeout_end(&t[i]));
    }
    expect_ok(gev_yield());
}

static void *begin_and_return(void *arg)
{
    gev_timeout t = {0};
    gev_timeout u = {0};
    (void)gev_timeout_begin(&t, 0.002);
    (void)gev_timeout_begin(&u, 0);
    (void)gev_yield();
    return arg;
}

static void *begin_and_park(void *arg)
{
    gev_timeout t = {0};
    (void)gev_timeout_begin(&t, 0.002);
    (void)gev_sleep(GEV_FOREVER);
    gev_exit(arg);
}

/* TMO8, TMO13, section 12 "Scopes": dropped when their greenlet ends. */
GEV_TEST(scopes_left_open_are_dropped)
{
    gev_greenlet *g[4];
    g[0] = gev_spawn(begin_and_return, P(1));
    g[1] = gev_spawn(begin_and_return, P(1));
    g[2] = gev_spawn(begin_and_park, P(1));
    g[3] = gev_spawn(begin_and_park, P(1));
    expect_ok(gev_join(g[0], GEV_FOREVER));
    expect_ok(gev_kill(g[3], GEV_FOREVER));
    expect_int_eq(gev_joinall(g, 4, GEV_FOREVER), 4);
    expect_uint_eq(count_timers(), 0);
    gev_unrefall(g, 4);
    g[0] = gev_spawn(park_forever, NULL); /* on one of their stacks */
    expect_ok(gev_sleep(0.005));
    expect_false(gev_dead(g[0]));
    expect_ok(gev_kill(g[0], GEV_FOREVER));
    gev_unref(g[0]);
}

static void *sleep_200_ms(void *arg)
{
    return gev_sleep(0.2) == 0 ? arg : gev_fail(errno);
}

/* Section 12 "Scopes": a child spawned inside is not in it; TMO1: only the
 * greenlet that began it fails. */
GEV_TEST(scope_is_of_one_greenlet_only)
{
    gev_timeout t = {0};
    gev_greenlet *before = gev_spawn(sleep_200_ms, P(1));
    expect_ok(gev_timeout_begin(&t, 0.001));
    gev_greenlet *inside = gev_spawn(sleep_200_ms, P(2));
    expect_fail(gev_join(inside, GEV_FOREVER), ETIMEDOUT);
    expect_fail(gev_yield(), ETIMEDOUT);
    expect_true(gev_timeout_end(&t));
    expect_ok(gev_get(before, NULL, GEV_FOREVER));
    expect_ok(gev_get(inside, NULL, GEV_FOREVER));
    gev_unref(before);
    gev_unref(inside);
}

static void *sleep_or_fail(void *arg)
{
    return gev_sleep(*(double *)arg) == 0 ? P(1) : gev_fail(errno);
}

static void *sleep_or_value(void *arg)
{
    return gev_sleep(*(double *)arg) == 0 ? P(1) : P(2);
}

/* TOP16 */
GEV_TEST(with_timeout_gives_the_value)
{
    double seconds = 0.001;
    void *value = NULL;
    expect_ok(gev_with_timeout(10, sleep_or_fail, &seconds, &value));
    expect_int_eq(N(value), 1);
    expect_ok(gev_with_timeout(GEV_FOREVER, sleep_or_fail, &seconds, NULL));
    expect_ok(gev_with_timeout(0, return_arg, P(4), &value)); /* no park */
    expect_int_eq(N(value), 4);
    expect_uint_eq(count_timers(), 0);
}

/* TOP16 */
GEV_TEST(with_timeout_runs_out)
{
    double seconds = 10;
    void *value = P(7);
    double start = test_now();
    expect_fail(gev_with_timeout(0.002, sleep_or_fail, &seconds, &value),
                ETIMEDOUT);
    expect_ge(test_now() - start, 0.002);
    expect_int_eq(N(value), 7);
    expect_fail(gev_with_timeout(0, sleep_or_fail, &seconds, NULL), ETIMEDOUT);
    expect_fail(gev_with_timeout(-1, sleep_or_fail, &seconds, NULL), ETIMEDOUT);
    expect_ok(gev_yield()); /* the scope is gone */
}

/* Section 12 "Scopes": a value returned in spite of the expiry is a success. */
GEV_TEST(with_timeout_takes_a_value_in_spite_of_the_expiry)
{
    double seconds = 10;
    void *value = NULL;
    expect_ok(gev_with_timeout(0.001, sleep_or_value, &seconds, &value));
    expect_int_eq(N(value), 2);
}

/* Section 12 "Scopes": gev_fail in fn fails the call, and the call only. */
static void *call_failing(void *arg)
{
    (void)arg;
    int rc = gev_with_timeout(10, fail_with, P(EPROTO), NULL);
    return rc == -1 && errno == EPROTO && gev_yield() == 0 ? P(6) : NULL;
}

GEV_TEST(with_timeout_fails_as_fn_fails)
{
    int errors = 0;
    gev_set_error_handler(count_error, &errors);
    expect_fail(gev_with_timeout(10, fail_with, P(EPROTO), NULL), EPROTO);
    expect_fail(gev_with_timeout(10, fail_with, P(ECANCELED), NULL), ECANCELED);
    gev_greenlet *g = gev_spawn(call_failing, NULL);
    void *value = NULL;
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_int_eq(N(value), 6);
    expect_true(gev_successful(g));
    expect_ok(gev_sleep(0.001));
    expect_int_eq(errors, 0); /* nobody ended by it */
    gev_unref(g);
}

/* TOP16: an outer scope's expiry comes through with that scope's code. */
GEV_TEST(with_timeout_passes_an_outer_scope_on)
{
    double seconds = 10;
    gev_timeout outer = {0};
    expect_ok(gev_timeout_begin_error(&outer, 0.002, EPROTO));
    expect_fail(gev_with_timeout(10, sleep_or_fail, &seconds, NULL), EPROTO);
    expect_true(gev_timeout_end(&outer));
}

static void *call_inner(void *arg)
{
    int rc = gev_with_timeout(0.001, sleep_or_fail, arg, NULL);
    int error = errno;
    /* its own time ran out, not the outer call's: parks work again */
    return rc == -1 && error == ETIMEDOUT && gev_yield() == 0 ? P(8) : NULL;
}

GEV_TEST(with_timeout_nests)
{
    double seconds = 10;
    void *value = NULL;
    expect_ok(gev_with_timeout(10, call_inner, &seconds, &value));
    expect_int_eq(N(value), 8);
}

GEV_TEST(with_timeout_refuses_misuse)
{
    expect_fail(gev_with_timeout(1, NULL, NULL, NULL), EINVAL);
    expect_fail(gev_with_timeout((double)NAN, return_arg, NULL, NULL), EINVAL);
    expect_ok(gev_yield());
}

static void *park_in_with_timeout(void *arg)
{
    double seconds = 10;
    int *error = arg;
    *error =
        gev_with_timeout(10, sleep_or_fail, &seconds, NULL) == 0 ? 0 : errno;
    return NULL;
}

/* A kill goes through a with_timeout as ECANCELED. */
GEV_TEST(with_timeout_passes_a_kill_on)
{
    int error = 0;
    gev_greenlet *g = gev_spawn(park_in_with_timeout, &error);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(error, ECANCELED);
    expect_true(gev_killed(g));
    expect_uint_eq(count_timers(), 0);
    gev_unref(g);
}

/* TMO5: the timeout of a call and a scope are told apart by their codes. */
GEV_TEST(call_timeout_and_scope_are_told_apart)
{
    gev_timeout t = {0};
    gev_greenlet *g = gev_spawn(park_forever, NULL);
    expect_ok(gev_timeout_begin_error(&t, 10, EPROTO));
    expect_fail(gev_join(g, 0.002), ETIMEDOUT); /* the call's own */
    expect_ok(gev_yield());
    expect_false(gev_timeout_end(&t));
    expect_ok(gev_timeout_begin_error(&t, 0.002, EPROTO));
    expect_fail(gev_join(g, 10), EPROTO); /* the scope's */
    expect_true(gev_timeout_end(&t));
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
}

/* A fresh gev_timeout on the stack holds garbage, much of it small numbers. */
GEV_TEST(garbage_is_no_pending_scope)
{
    gev_timeout outer;
    expect_ok(gev_timeout_begin(&outer, GEV_FOREVER));
    for (uint64_t i = 0; i < 5000 && !test_failed(); i++) {
        gev_timeout t;
        for (size_t k = 0; k < sizeof(t.priv) / sizeof(t.priv[0]); k++) {
            t.priv[k] = i;
        }
        expect_ok(gev_timeout_begin(&t, GEV_FOREVER));
        expect_fail(gev_timeout_begin(&t, 1), EALREADY);
        expect_false(gev_timeout_end(&t));
    }
    expect_false(gev_timeout_end(&outer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scope_that_ends_in_time_does_nothing),
        cmocka_unit_test(expired_scope_fails_every_park_until_its_end),
        cmocka_unit_test(scope_can_be_used_again),
        cmocka_unit_test(begin_refuses_misuse),
        cmocka_unit_test(scope_of_zero_or_less_fails_the_next_park),
        cmocka_unit_test(call_that_need_not_park_succeeds_in_an_expired_scope),
        cmocka_unit_test(scope_of_forever_never_fires),
        cmocka_unit_test(scope_with_a_code_of_its_own),
        cmocka_unit_test(left_counts_down_to_zero),
        cmocka_unit_test(scope_does_not_interrupt_code_that_does_not_park),
        cmocka_unit_test(scopes_nest_in_any_length_order),
        cmocka_unit_test(earliest_deadline_of_several_expired_wins),
        cmocka_unit_test(first_begun_of_equal_deadlines_wins),
        cmocka_unit_test(many_scopes_end_in_any_order),
        cmocka_unit_test(scopes_left_open_are_dropped),
        cmocka_unit_test(scope_is_of_one_greenlet_only),
        cmocka_unit_test(with_timeout_gives_the_value),
        cmocka_unit_test(with_timeout_runs_out),
        cmocka_unit_test(with_timeout_takes_a_value_in_spite_of_the_expiry),
        cmocka_unit_test(with_timeout_fails_as_fn_fails),
        cmocka_unit_test(with_timeout_passes_an_outer_scope_on),
        cmocka_unit_test(with_timeout_nests),
        cmocka_unit_test(with_timeout_refuses_misuse),
        cmocka_unit_test(with_timeout_passes_a_kill_on),
        cmocka_unit_test(call_timeout_and_scope_are_told_apart),
        cmocka_unit_test(garbage_is_no_pending_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
