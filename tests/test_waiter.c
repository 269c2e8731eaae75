/* SPDX-License-Identifier: MIT */

/* Waiters: the safe way to park on anything that calls back (HUB12). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

struct getter {
    gev_waiter *waiter;
    double timeout;
    int rc;
    int error;
    void *value;
};

static void *get(void *arg)
{
    struct getter *g = arg;
    g->rc = gev_waiter_get(g->waiter, &g->value, g->timeout);
    g->error = g->rc == 0 ? 0 : errno;
    trace("got");
    return NULL;
}

/* HUB12 */
GEV_TEST(value_before_the_get_is_taken_without_parking)
{
    trace_reset();
    gev_waiter w;
    void *value = NULL;
    gev_waiter_init(&w);
    gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
    gev_waiter_switch(&w, P(3));
    expect_ok(gev_waiter_get(&w, &value, GEV_FOREVER));
    expect_int_eq(N(value), 3);
    gev_waiter_switch(&w, NULL);
    expect_ok(gev_waiter_get(&w, &value, 0));
    expect_null(value);
    gev_waiter_switch(&w, P(4));
    expect_ok(gev_waiter_get(&w, NULL, -1));
    expect_str_eq(trace_text(), "");
    expect_ok(gev_join(ready, GEV_FOREVER));
    gev_unref(ready);
}

/* HUB12: a switch never switches. */
GEV_TEST(get_waits_for_the_value)
{
    trace_reset();
    gev_waiter w = {{NULL}};
    struct getter a = {.waiter = &w, .timeout = GEV_FOREVER, .rc = -2};
    gev_greenlet *g = gev_spawn(get, &a);
    expect_ok(gev_yield());
    gev_waiter_switch(&w, P(5));
    trace("switched");
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "switched got");
    expect_int_eq(a.rc, 0);
    expect_int_eq(N(a.value), 5);
    gev_unref(g);
}

/* HUB12: an error instead. */
GEV_TEST(throw_fails_the_get)
{
    gev_waiter w = {{NULL}};
    struct getter a = {.waiter = &w, .timeout = GEV_FOREVER, .value = P(9)};
    gev_greenlet *g = gev_spawn(get, &a);
    expect_ok(gev_yield());
    gev_waiter_throw(&w, EPROTO);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(a.rc, -1);
    expect_int_eq(a.error, EPROTO);
    expect_int_eq(N(a.value), 9);
    gev_waiter_throw(&w, GEV_ELINKDONE);
    expect_fail(gev_waiter_get(&w, NULL, GEV_FOREVER), GEV_ELINKDONE);
    expect_fail(gev_waiter_get(&w, NULL, 0), ETIMEDOUT); /* fresh again */
    gev_unref(g);
}

/* "A second one before it is taken replaces the first." */
GEV_TEST(second_value_replaces_the_first)
{
    gev_waiter w = {{NULL}};
    void *value = NULL;
    gev_waiter_switch(&w, P(1));
    gev_waiter_switch(&w, P(2));
    expect_ok(gev_waiter_get(&w, &value, 0));
    expect_int_eq(N(value), 2);
    expect_fail(gev_waiter_get(&w, &value, 0), ETIMEDOUT);
    gev_waiter_throw(&w, EIO);
    gev_waiter_switch(&w, P(3));
    expect_ok(gev_waiter_get(&w, &value, 0));
    expect_int_eq(N(value), 3);
    gev_waiter_switch(&w, P(4));
    gev_waiter_throw(&w, EIO);
    expect_fail(gev_waiter_get(&w, &value, 0), EIO);
}

/* And init makes it fresh. */
GEV_TEST(init_makes_it_fresh)
{
    gev_waiter w = {{NULL}};
    gev_waiter_switch(&w, P(1));
    gev_waiter_init(&w);
    expect_fail(gev_waiter_get(&w, NULL, 0), ETIMEDOUT);
}

GEV_TEST(get_times_out)
{
    gev_waiter w = {{NULL}};
    void *value = P(9);
    double start = test_now();
    expect_fail(gev_waiter_get(&w, &value, 0.003), ETIMEDOUT);
    expect_ge(test_now() - start, 0.003);
    expect_fail(gev_waiter_get(&w, &value, 0), ETIMEDOUT);
    expect_fail(gev_waiter_get(&w, &value, -1), ETIMEDOUT);
    expect_int_eq(N(value), 9);
    gev_waiter_switch(&w, P(1)); /* late: stays for the next */
    expect_ok(gev_waiter_get(&w, &value, 0));
    expect_int_eq(N(value), 1);
}

GEV_TEST(get_refuses_null_and_nan)
{
    gev_waiter w = {{NULL}};
    expect_fail(gev_waiter_get(NULL, NULL, 0), EINVAL);
    expect_fail(gev_waiter_get(&w, NULL, (double)NAN), EINVAL);
}

/* Section 12 "Hub": a second get is EBUSY; the first is unaffected. */
GEV_TEST(second_getter_is_ebusy)
{
    gev_waiter w = {{NULL}};
    struct getter a = {.waiter = &w, .timeout = GEV_FOREVER, .rc = -2};
    struct getter b = {.waiter = &w, .timeout = GEV_FOREVER, .rc = -2};
    gev_greenlet *ga = gev_spawn(get, &a);
    gev_greenlet *gb = gev_spawn(get, &b);
    expect_ok(gev_join(gb, GEV_FOREVER));
    expect_int_eq(b.rc, -1);
    expect_int_eq(b.error, EBUSY);
    expect_fail(gev_waiter_get(&w, NULL, 0.001), EBUSY);
    gev_waiter_switch(&w, P(6));
    expect_ok(gev_join(ga, GEV_FOREVER));
    expect_int_eq(a.rc, 0);
    expect_int_eq(N(a.value), 6);
    gev_unref(ga);
    gev_unref(gb);
}

/* T8: one that was killed is not woken by a late value, and does not take it.
 */
GEV_TEST(killed_getter_leaves_the_waiter_free)
{
    gev_waiter w = {{NULL}};
    struct getter a = {.waiter = &w, .timeout = GEV_FOREVER, .rc = -2};
    gev_greenlet *g = gev_spawn(get, &a);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(a.error, ECANCELED);
    gev_unref(g);
    gev_waiter_switch(&w, P(7));
    struct getter b = {.waiter = &w, .timeout = 0, .rc = -2};
    g = gev_spawn(get, &b);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(b.rc, 0);
    expect_int_eq(N(b.value), 7);
    gev_unref(g);
}

struct called {
    gev_waiter *waiter;
    int wrong;
};

static void switch_in_callback(void *arg)
{
    struct called *c = arg;
    gev_waiter_switch(c->waiter, P(8));
}

static void get_in_callback(void *arg)
{
    struct called *c = arg;
    void *value = NULL;
    c->wrong +=
        !(gev_waiter_get(c->waiter, NULL, 0) == -1 && errno == ETIMEDOUT);
    c->wrong += !(gev_waiter_get(c->waiter, NULL, 1) == -1 && errno == EPERM);
    gev_waiter_switch(c->waiter, P(2));
    c->wrong += gev_waiter_get(c->waiter, &value, 1) != 0 || N(value) != 2;
}

/* HUB12: from a callback. */
GEV_TEST(callbacks_can_switch_but_not_wait)
{
    gev_waiter w = {{NULL}};
    struct called c = {.waiter = &w, .wrong = 0};
    void *value = NULL;
    expect_ok(gev_hub_post(gev_hub_get(), switch_in_callback, &c));
    expect_ok(gev_waiter_get(&w, &value, 10));
    expect_int_eq(N(value), 8);
    expect_ok(gev_hub_post(gev_hub_get(), get_in_callback, &c));
    expect_ok(gev_sleep(0.001));
    expect_int_eq(c.wrong, 0);
}

struct pair {
    gev_waiter ping;
    gev_waiter pong;
};

static void *answer(void *arg)
{
    struct pair *p = arg;
    void *value = NULL;
    do {
        if (gev_waiter_get(&p->ping, &value, GEV_FOREVER) != 0) {
            return gev_fail(errno);
        }
        gev_waiter_switch(&p->pong, P(N(value) + 1));
    } while (N(value) != 0);
    return NULL;
}

/* HUB12: reusable. */
GEV_TEST(two_waiters_play_ping_pong)
{
    struct pair p = {{{NULL}}, {{NULL}}};
    gev_greenlet *g = gev_spawn(answer, &p);
    for (int i = 1000; i >= 0; i--) {
        void *value = NULL;
        gev_waiter_switch(&p.ping, P(i));
        expect_ok(gev_waiter_get(&p.pong, &value, GEV_FOREVER));
        expect_int_eq(N(value), i + 1);
    }
    expect_ok(gev_get(g, NULL, GEV_FOREVER));
    gev_unref(g);
}

/* HUB2: a waiter nobody can fill. */
GEV_TEST(waiting_in_vain_is_edeadlk)
{
    gev_waiter w = {{NULL}};
    expect_fail(gev_waiter_get(&w, NULL, GEV_FOREVER), EDEADLK);
    gev_waiter_switch(&w, P(1));
    expect_ok(gev_waiter_get(&w, NULL, GEV_FOREVER));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(value_before_the_get_is_taken_without_parking),
        cmocka_unit_test(get_waits_for_the_value),
        cmocka_unit_test(throw_fails_the_get),
        cmocka_unit_test(second_value_replaces_the_first),
        cmocka_unit_test(init_makes_it_fresh),
        cmocka_unit_test(get_times_out),
        cmocka_unit_test(get_refuses_null_and_nan),
        cmocka_unit_test(second_getter_is_ebusy),
        cmocka_unit_test(killed_getter_leaves_the_waiter_free),
        cmocka_unit_test(callbacks_can_switch_but_not_wait),
        cmocka_unit_test(two_waiters_play_ping_pong),
        cmocka_unit_test(waiting_in_vain_is_edeadlk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
