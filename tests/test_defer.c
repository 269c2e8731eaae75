/* SPDX-License-Identifier: MIT */

/* gev_defer: cleanup that runs however a greenlet ends (C1). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

static char word_a[] = "a";
static char word_b[] = "b";
static char word_c[] = "c";

static void defer_abc(void)
{
    expect_ok(gev_defer(trace_call, word_a));
    expect_ok(gev_defer(trace_call, word_b));
    expect_ok(gev_defer(trace_call, word_c));
}

static void *defer_and_return(void *arg)
{
    defer_abc();
    trace("body");
    return arg;
}

static void *defer_and_exit(void *arg)
{
    defer_abc();
    gev_exit(arg);
}

static void *defer_and_fail(void *arg)
{
    defer_abc();
    return gev_fail(N(arg));
}

static void *defer_and_park(void *arg)
{
    defer_abc();
    (void)gev_sleep(GEV_FOREVER);
    return arg;
}

GEV_TEST(defers_run_last_in_first_out)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(defer_and_return, P(3));
    void *value = NULL;
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_str_eq(trace_text(), "body c b a");
    expect_int_eq(N(value), 3);
    gev_unref(g);
}

GEV_TEST(defers_run_after_exit_failure_and_kill)
{
    gev_set_error_handler(ignore_error, NULL);
    trace_reset();
    gev_greenlet *g = gev_spawn(defer_and_exit, P(4));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "c b a");
    expect_int_eq(N(gev_value(g)), 4);
    gev_unref(g);
    trace_reset();
    g = gev_spawn(defer_and_fail, P(EIO));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "c b a");
    expect_int_eq(gev_error(g), EIO);
    gev_unref(g);
    trace_reset();
    g = gev_spawn(defer_and_park, NULL);
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "");
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "c b a");
    gev_unref(g);
}

/* A raw greenlet's, too, before its value arrives. */
GEV_TEST(defers_of_a_raw_greenlet_run)
{
    trace_reset();
    gev_greenlet *g = gev_new(defer_and_return, P(5));
    expect_ok(gev_switch(g, NULL, NULL));
    expect_str_eq(trace_text(), "body c b a");
    gev_unref(g);
}

static void *undefer_some(void *arg)
{
    defer_abc();
    expect_ok(gev_defer(trace_call, word_a));
    expect_ok(gev_undefer(trace_call, word_b));
    expect_fail(gev_undefer(trace_call, word_b), ENOENT);
    expect_ok(gev_undefer(trace_call, word_a)); /* the youngest of the pair */
    expect_fail(gev_undefer(trace_call, arg), ENOENT);
    expect_fail(gev_undefer(NULL, word_a), ENOENT);
    return NULL;
}

GEV_TEST(undefer_takes_back_the_youngest_of_the_pair)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(undefer_some, NULL);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "c a");
    gev_unref(g);
    expect_fail(gev_undefer(trace_call, word_a), ENOENT);
}

GEV_TEST(defer_refuses_a_null_function)
{
    expect_fail(gev_defer(NULL, NULL), EINVAL);
}

struct attempt {
    gev_greenlet *alive;
    int rc[4];
    int error[4];
};

static void try_to_park(void *arg)
{
    struct attempt *a = arg;
    a->rc[0] = gev_yield();
    a->error[0] = errno;
    a->rc[1] = gev_sleep(0.001);
    a->error[1] = errno;
    a->rc[2] = gev_join(a->alive, GEV_FOREVER);
    a->error[2] = errno;
    a->rc[3] = gev_join(a->alive, 0);
    a->error[3] = errno;
}

static void *defer_parking(void *arg)
{
    expect_ok(gev_defer(try_to_park, arg));
    return NULL;
}

/* Section 0: parking in a cleanup handler is EPERM. */
GEV_TEST(parking_in_a_defer_is_eperm)
{
    struct attempt a = {.alive = gev_spawn(park_forever, NULL)};
    gev_greenlet *g = gev_spawn(defer_parking, &a);
    expect_ok(gev_join(g, GEV_FOREVER));
    for (int i = 0; i < 3; i++) {
        expect_int_eq(a.rc[i], -1);
        expect_int_eq(a.error[i], EPERM);
    }
    expect_int_eq(a.rc[3], -1);
    expect_int_eq(a.error[3], ETIMEDOUT); /* it tries and does not park */
    expect_ok(gev_kill(a.alive, GEV_FOREVER));
    gev_unref(a.alive);
    gev_unref(g);
}

struct joiner {
    gev_greenlet *target;
};

static void *join_and_trace(void *arg)
{
    struct joiner *j = arg;
    int rc = gev_join(j->target, GEV_FOREVER);
    trace(rc == 0 ? "joined" : "failed");
    return NULL;
}

/* GLT24: defers run before links and joiners hear of the end. */
GEV_TEST(defers_run_before_joiners_wake)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(defer_and_park, NULL);
    struct joiner j = {.target = g};
    gev_greenlet *joiner = gev_spawn(join_and_trace, &j);
    expect_ok(gev_rawlink(g, trace_link, "link"));
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, 0));
    expect_ok(gev_join(joiner, GEV_FOREVER));
    expect_str_eq(trace_text(), "c b a link joined");
    gev_unref(g);
    gev_unref(joiner);
}

/* One that never ran has no defers, and nothing to clean up. */
GEV_TEST(nothing_runs_for_one_that_never_began)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(defer_and_return, NULL);
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "");
    gev_unref(g);
}

/* main's run at gev_hub_close(). */
GEV_TEST(mains_defers_run_at_hub_close)
{
    trace_reset();
    defer_abc();
    expect_ok(gev_undefer(trace_call, word_b));
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "");
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), "c a");
    expect_ok(gev_hub_close());
    expect_ok(gev_yield()); /* a new hub */
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), "c a");
}

/* The greenlets end before main's defers run. */
GEV_TEST(greenlets_end_before_mains_defers_run)
{
    trace_reset();
    expect_ok(gev_defer(trace_call, "main"));
    gev_unref(gev_spawn(defer_and_park, NULL));
    expect_ok(gev_yield());
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), "c b a main");
}

static int count;

static void count_call(void *arg)
{
    /* last in, first out: the count goes down from 1000 */
    count = N(arg) == 999 - count ? count + 1 : -10000;
}

static void *defer_1000(void *arg)
{
    for (int i = 0; i < 1000; i++) {
        expect_ok(gev_defer(count_call, P(i)));
    }
    return arg;
}

GEV_TEST(thousand_defers)
{
    count = 0;
    gev_greenlet *g = gev_spawn(defer_1000, NULL);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(count, 1000);
    gev_unref(g);
}

static void spawn_in_defer(void *arg)
{
    gev_unref(gev_spawn(trace_and_return, arg));
}

static void *defer_a_spawn(void *arg)
{
    expect_ok(gev_defer(spawn_in_defer, arg));
    return NULL;
}

/* What does not park is allowed in a defer. */
GEV_TEST(defer_may_spawn)
{
    trace_reset();
    gev_unref(gev_spawn(defer_a_spawn, "spawned"));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "spawned");
}

static void defer_in_a_callback(void *word)
{
    expect_ok(gev_defer(trace_call, word));
}

/* The hub's, where callbacks run, end with it. */
GEV_TEST(callbacks_defers_run_at_hub_close)
{
    trace_reset();
    expect_ok(gev_defer(trace_call, word_a));
    expect_ok(gev_hub_post(gev_hub_get(), defer_in_a_callback, word_b));
    expect_ok(gev_sleep(0.001));
    expect_str_eq(trace_text(), "");
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), "a b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defers_run_last_in_first_out),
        cmocka_unit_test(defers_run_after_exit_failure_and_kill),
        cmocka_unit_test(defers_of_a_raw_greenlet_run),
        cmocka_unit_test(undefer_takes_back_the_youngest_of_the_pair),
        cmocka_unit_test(defer_refuses_a_null_function),
        cmocka_unit_test(parking_in_a_defer_is_eperm),
        cmocka_unit_test(defers_run_before_joiners_wake),
        cmocka_unit_test(nothing_runs_for_one_that_never_began),
        cmocka_unit_test(mains_defers_run_at_hub_close),
        cmocka_unit_test(greenlets_end_before_mains_defers_run),
        cmocka_unit_test(thousand_defers),
        cmocka_unit_test(defer_may_spawn),
        cmocka_unit_test(callbacks_defers_run_at_hub_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
