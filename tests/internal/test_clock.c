/* SPDX-License-Identifier: MIT */
/* base/clock.h. No greenlets run: cmocka's own asserts are fine here. */
#include "base/clock.h"

#include <float.h>
#include <math.h>
#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Else a failed test would leave its clock to the next. */
static int take_away(void **state)
{
    (void)state;
    gev__clock_set_virtual(false);
    return 0;
}

static int64_t machine_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * GEV__SEC + ts.tv_nsec;
}

/* Runs first: later ones move gev's time ahead of the machine's. */
static void now_is_the_monotonic_clock(void **state)
{
    (void)state;
    int64_t before = machine_now();
    int64_t now = gev__clock_now();
    assert_true(before <= now);
    assert_true(now <= machine_now());
    for (int i = 0; i < 100000; i++) {
        int64_t next = gev__clock_now();
        assert_true(now <= next);
        now = next;
    }
    /* The coarse clock moves in steps of 1 ms and more. */
    int64_t begin = gev__clock_now();
    int64_t end;
    do {
        end = gev__clock_now();
    } while (end == begin);
    assert_true(end - begin < GEV__MS);
}

static void common_times_are_exact(void **state)
{
    (void)state;
    assert_int_equal(gev__clock_ns(0.001), GEV__MS);
    assert_int_equal(gev__clock_ns(0.1), 100 * GEV__MS);
    assert_int_equal(gev__clock_ns(1), GEV__SEC);
    assert_int_equal(gev__clock_ns(1e-9), 1);
    assert_int_equal(gev__clock_ns(86400.5), 86400 * GEV__SEC + GEV__SEC / 2);
    assert_int_equal(gev__clock_ns(1e9 + 0.25),
                     1000000000 * GEV__SEC + GEV__SEC / 4);
    for (int64_t ms = 1; ms < 100000; ms++) {
        assert_int_equal(gev__clock_ns((double)ms / 1e3), ms * GEV__MS);
    }
}

static void fractions_of_a_nanosecond_are_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(gev__clock_ns(0.1e-9), 1);
    assert_int_equal(gev__clock_ns(1.5e-9), 2);
    assert_int_equal(gev__clock_ns(1.0000000011), GEV__SEC + 2);
    assert_int_equal(gev__clock_ns(DBL_MIN), 1);
    assert_int_equal(gev__clock_ns(5e-324), 1);
    assert_int_equal(gev__clock_ns(nextafter(1, 2)), GEV__SEC + 1);
    assert_int_equal(gev__clock_ns(nextafter(1, 0)), GEV__SEC);
}

/* "Time never ends early": whoever subtracts two times finds what was asked
 * for, and not a nanosecond more than needed. */
static void no_time_is_cut_short(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 200000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        /* 2^-30 s to 2^22 s; ns of more are no longer exact in a double */
        double seconds = ldexp((double)(seed >> 11), -53 - 30 + i % 53);
        int64_t ns = gev__clock_ns(seconds);
        assert_true((double)ns / 1e9 >= seconds);
        assert_true(ns == 0 || (double)(ns - 1) / 1e9 < seconds);
    }
}

static void zero_and_less_is_no_wait(void **state)
{
    (void)state;
    assert_int_equal(gev__clock_ns(0.0), 0);
    assert_int_equal(gev__clock_ns(-0.0), 0);
    assert_int_equal(gev__clock_ns(-1e-300), 0);
    assert_int_equal(gev__clock_ns(-5), 0);
    assert_int_equal(gev__clock_ns(-DBL_MAX), 0);
    assert_int_equal(gev__clock_ns(-(double)INFINITY), 0);
}

static void nan_does_no_harm(void **state)
{
    (void)state;
    assert_int_equal(gev__clock_ns((double)NAN), 0);
    assert_int_equal(gev__clock_ns(-(double)NAN), 0);
}

static void what_does_not_fit_is_never(void **state)
{
    (void)state;
    assert_true(gev__clock_ns((double)INFINITY) == GEV__NEVER);
    assert_true(gev__clock_ns(DBL_MAX) == GEV__NEVER);
    assert_true(gev__clock_ns(1e10) == GEV__NEVER);
    assert_true(gev__clock_ns(9223372037.0) == GEV__NEVER);
    /* INT64_MAX ns are 9223372036.854775807 s. */
    assert_true(gev__clock_ns(9223372036.8547764) == GEV__NEVER);
    int64_t ns = gev__clock_ns(9223372036.8547744);
    assert_true(ns < GEV__NEVER);
    assert_true(ns > INT64_C(9223372036854774000));
    assert_true(gev__clock_ns(9223372036.0) == INT64_C(9223372036) * GEV__SEC);
}

static void add_saturates(void **state)
{
    (void)state;
    assert_int_equal(gev__clock_add(5, 7), 12);
    assert_int_equal(gev__clock_add(0, 0), 0);
    assert_true(gev__clock_add(1, GEV__NEVER) == GEV__NEVER);
    assert_true(gev__clock_add(GEV__NEVER, GEV__NEVER) == GEV__NEVER);
    assert_true(gev__clock_add(1, GEV__NEVER - 1) == GEV__NEVER);
    assert_true(gev__clock_add(2, GEV__NEVER - 1) == GEV__NEVER);
    assert_true(gev__clock_add(1, GEV__NEVER - 2) == GEV__NEVER - 1);
}

static void virtual_clock_stands_still(void **state)
{
    (void)state;
    assert_false(gev__clock_is_virtual());
    int64_t before = gev__clock_now();
    gev__clock_set_virtual(true);
    assert_true(gev__clock_is_virtual());
    int64_t now = gev__clock_now();
    assert_true(now >= before);
    struct timespec ts = {0, 2 * GEV__MS};
    nanosleep(&ts, NULL);
    assert_int_equal(gev__clock_now(), now);
    gev__clock_set_virtual(true); /* once more changes nothing */
    assert_int_equal(gev__clock_now(), now);
}

static void virtual_clock_moves_forwards_only(void **state)
{
    (void)state;
    gev__clock_set_virtual(true);
    int64_t now = gev__clock_now();
    gev__clock_advance_to(now + 3600 * GEV__SEC);
    assert_int_equal(gev__clock_now(), now + 3600 * GEV__SEC);
    gev__clock_advance_to(now);
    gev__clock_advance_to(0);
    assert_int_equal(gev__clock_now(), now + 3600 * GEV__SEC);
}

static void time_runs_on_after_the_virtual_clock(void **state)
{
    (void)state;
    gev__clock_set_virtual(true);
    int64_t later = gev__clock_now() + 1000 * GEV__SEC;
    gev__clock_advance_to(later);
    gev__clock_set_virtual(false);
    assert_false(gev__clock_is_virtual());
    int64_t now = gev__clock_now();
    assert_true(now >= later);
    while (gev__clock_now() == now) {
    }
    gev__clock_set_virtual(true);
    assert_true(gev__clock_now() > now);
    struct timespec ts = {0, 2 * GEV__MS};
    nanosleep(&ts, NULL);
    int64_t stood = gev__clock_now();
    gev__clock_set_virtual(false);
    assert_true(gev__clock_now() > stood); /* the sleep is made up for */
}

static void advance_needs_a_virtual_clock(void **state)
{
    (void)state;
    int64_t now = gev__clock_now();
    gev__clock_advance_to(now + 3600 * GEV__SEC);
    assert_false(gev__clock_is_virtual());
    assert_true(gev__clock_now() < now + 3600 * GEV__SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(now_is_the_monotonic_clock),
        cmocka_unit_test(common_times_are_exact),
        cmocka_unit_test(fractions_of_a_nanosecond_are_rounded_up),
        cmocka_unit_test(no_time_is_cut_short),
        cmocka_unit_test(zero_and_less_is_no_wait),
        cmocka_unit_test(nan_does_no_harm),
        cmocka_unit_test(what_does_not_fit_is_never),
        cmocka_unit_test(add_saturates),
        cmocka_unit_test_teardown(virtual_clock_stands_still, take_away),
        cmocka_unit_test_teardown(virtual_clock_moves_forwards_only, take_away),
        cmocka_unit_test_teardown(time_runs_on_after_the_virtual_clock,
                                  take_away),
        cmocka_unit_test_teardown(advance_needs_a_virtual_clock, take_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
