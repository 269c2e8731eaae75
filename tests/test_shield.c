/* SPDX-License-Identifier: MIT */

/* Shields: no kill, throw or outer scope inside (section 1.2, 12 "Scopes"). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

/* What a greenlet found inside and after its shield. */
struct seen {
    int inside;   /* 0, or the error of the park in the shield */
    double slept; /* how long that park took */
    int after[2]; /* of the parks after it */
};

static int park_error(double seconds)
{
    return gev_sleep(seconds) == 0 ? 0 : errno;
}

static void sleep_in_shield(struct seen *s, double seconds)
{
    double start = test_now();
    gev_shield_begin();
    s->inside = park_error(seconds);
    gev_shield_end();
    s->slept = test_now() - start;
}

static void *shielded(void *arg)
{
    struct seen *s = arg;
    sleep_in_shield(s, 0.01);
    s->after[0] = park_error(0.001);
    s->after[1] = park_error(0.001);
    return NULL;
}

/* A kill in the shield takes effect after it. */
GEV_TEST(kill_waits_for_the_end_of_the_shield)
{
    struct seen s = {.inside = -1};
    gev_greenlet *g = gev_spawn(shielded, &s);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, 0));
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(s.inside, 0);
    expect_ge(s.slept, 0.01);
    expect_int_eq(s.after[0], ECANCELED);
    expect_int_eq(s.after[1], ECANCELED);
    expect_true(gev_killed(g));
    gev_unref(g);
}

/* A thrown code, too, and once only. */
GEV_TEST(throw_waits_for_the_end_of_the_shield)
{
    struct seen s = {.inside = -1};
    gev_greenlet *g = gev_spawn(shielded, &s);
    expect_ok(gev_yield());
    expect_ok(gev_throw(g, EPROTO));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(s.inside, 0);
    expect_ge(s.slept, 0.01);
    expect_int_eq(s.after[0], EPROTO);
    expect_int_eq(s.after[1], 0);
    expect_true(gev_successful(g));
    gev_unref(g);
}

static void *killed_then_shielded(void *arg)
{
    struct seen *s = arg;
    (void)gev_kill(gev_current(), 0);
    sleep_in_shield(s, 0.002);
    s->after[0] = park_error(0.001);
    s->after[1] = gev_uncancel();
    return NULL;
}

/* A kill that is pending already does not fail parks in a shield. */
GEV_TEST(shield_works_for_one_that_is_killed_already)
{
    struct seen s = {.inside = -1};
    gev_greenlet *g = gev_spawn(killed_then_shielded, &s);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(s.inside, 0);
    expect_ge(s.slept, 0.002);
    expect_int_eq(s.after[0], ECANCELED);
    expect_int_eq(s.after[1], ECANCELED);
    gev_unref(g);
}

/* Section 12 "Scopes": a scope that expires inside a shield says so, and takes
 * effect after it. */
GEV_TEST(outer_scope_waits_for_the_end_of_the_shield)
{
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin(&t, 0.002));
    gev_shield_begin();
    double start = test_now();
    expect_ok(gev_sleep(0.01));
    expect_ge(test_now() - start, 0.01);
    expect_true(gev_timeout_expired(&t));
    expect_ok(gev_yield());
    expect_ok(gev_sleep(0.001));
    gev_shield_end();
    expect_fail(gev_yield(), ETIMEDOUT);
    expect_true(gev_timeout_end(&t));
    expect_ok(gev_yield());
}

/* One that had expired before the shield does not fail parks in it either. */
GEV_TEST(expired_outer_scope_is_masked_too)
{
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin_error(&t, 0, EPROTO));
    expect_fail(gev_yield(), EPROTO);
    gev_shield_begin();
    expect_ok(gev_yield());
    expect_ok(gev_sleep(0.001));
    gev_shield_end();
    expect_fail(gev_yield(), EPROTO);
    expect_true(gev_timeout_end(&t));
}

/* Scopes begun inside the shield work. */
GEV_TEST(scope_begun_inside_the_shield_fires)
{
    gev_timeout outer = {0};
    gev_timeout inner = {0};
    expect_ok(gev_timeout_begin_error(&outer, 0, EIO));
    gev_shield_begin();
    expect_ok(gev_timeout_begin_error(&inner, 0.002, EPROTO));
    expect_fail(gev_sleep(GEV_FOREVER), EPROTO);
    expect_fail(gev_yield(), EPROTO);
    expect_true(gev_timeout_end(&inner));
    expect_ok(gev_yield());
    gev_shield_end();
    expect_fail(gev_yield(), EIO);
    expect_true(gev_timeout_end(&outer));
}

/* A scope begun inside a shield that has ended is outside of the next one. */
GEV_TEST(scope_of_an_ended_shield_is_masked_by_the_next)
{
    gev_timeout t = {0};
    gev_shield_begin();
    expect_ok(gev_timeout_begin_error(&t, 0.001, EPROTO));
    gev_shield_end();
    gev_shield_begin();
    expect_ok(gev_sleep(0.005));
    expect_true(gev_timeout_expired(&t));
    gev_shield_end();
    expect_fail(gev_yield(), EPROTO);
    expect_true(gev_timeout_end(&t));
}

/* The timeout of the call itself works. */
GEV_TEST(call_timeouts_work_in_a_shield)
{
    gev_greenlet *g = gev_spawn(park_forever, NULL);
    gev_shield_begin();
    expect_fail(gev_join(g, 0.002), ETIMEDOUT);
    gev_shield_end();
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
}

static void *nested(void *arg)
{
    struct seen *s = arg;
    (void)gev_kill(gev_current(), 0);
    gev_shield_begin();
    gev_shield_begin();
    gev_timeout t = {0};
    (void)gev_timeout_begin_error(&t, 0, EPROTO);
    s->after[0] = park_error(0.001); /* a scope inside both: fires */
    gev_shield_begin();
    s->after[1] = park_error(0.001); /* now it is outside the innermost */
    gev_shield_end();
    (void)gev_timeout_end(&t);
    gev_shield_end();
    s->inside = park_error(0.001);
    gev_shield_end();
    return P(park_error(0.001) == ECANCELED && gev_uncancel() == ECANCELED);
}

/* "Shields nest." */
GEV_TEST(shields_nest)
{
    struct seen s = {.inside = -1};
    void *value = NULL;
    gev_greenlet *g = gev_spawn(nested, &s);
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_int_eq(N(value), 1);
    expect_int_eq(s.inside, 0);
    expect_int_eq(s.after[0], EPROTO);
    expect_int_eq(s.after[1], 0);
    gev_unref(g);
}

/* "Without one it does nothing." */
GEV_TEST(shield_end_without_begin_does_nothing)
{
    gev_shield_end();
    gev_shield_end();
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin(&t, 0));
    expect_fail(gev_yield(), ETIMEDOUT);
    gev_shield_begin();
    expect_ok(gev_yield());
    gev_shield_end();
    expect_fail(gev_yield(), ETIMEDOUT);
    expect_true(gev_timeout_end(&t));
}

static void *leave_shield_open(void *arg)
{
    gev_shield_begin();
    gev_shield_begin();
    return arg;
}

/* Section 12 "Scopes": shields left open by a dead greenlet are dropped, also
 * for the one that gets its stack. */
GEV_TEST(shield_left_open_is_dropped)
{
    gev_greenlet *g = gev_spawn(leave_shield_open, NULL);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    g = gev_spawn(park_forever, NULL);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_true(gev_killed(g));
    gev_unref(g);
}

/* A child spawned inside a shield is not in it. */
GEV_TEST(child_is_not_shielded)
{
    gev_shield_begin();
    gev_greenlet *g = gev_spawn(park_forever, NULL);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(gev_error(g), ECANCELED);
    gev_shield_end();
    gev_unref(g);
}

/* EDEADLK is neither a kill nor a scope: a shield does not hide it. */
GEV_TEST(main_in_a_shield_still_gets_edeadlk)
{
    gev_shield_begin();
    expect_fail(gev_sleep(GEV_FOREVER), EDEADLK);
    gev_shield_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kill_waits_for_the_end_of_the_shield),
        cmocka_unit_test(throw_waits_for_the_end_of_the_shield),
        cmocka_unit_test(shield_works_for_one_that_is_killed_already),
        cmocka_unit_test(outer_scope_waits_for_the_end_of_the_shield),
        cmocka_unit_test(expired_outer_scope_is_masked_too),
        cmocka_unit_test(scope_begun_inside_the_shield_fires),
        cmocka_unit_test(scope_of_an_ended_shield_is_masked_by_the_next),
        cmocka_unit_test(call_timeouts_work_in_a_shield),
        cmocka_unit_test(shields_nest),
        cmocka_unit_test(shield_end_without_begin_does_nothing),
        cmocka_unit_test(shield_left_open_is_dropped),
        cmocka_unit_test(child_is_not_shielded),
        cmocka_unit_test(main_in_a_shield_still_gets_edeadlk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
