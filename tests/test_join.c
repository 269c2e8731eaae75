/* SPDX-License-Identifier: MIT */

/* Waiting for ends and taking values (GLT7-GLT12, TOP9). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

static void *sleep_50_ms(void *arg)
{
    return gev_sleep(0.05) == 0 ? arg : gev_fail(errno);
}

static void *yield_once(void *arg)
{
    return gev_yield() == 0 ? arg : gev_fail(errno);
}

static void *sleep_then_fail(void *code)
{
    return gev_fail(gev_sleep(0.05) == 0 ? N(code) : errno);
}

/* GLT12: dead: returns without switching at all. */
GEV_TEST(join_of_a_dead_one_does_not_park)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(return_arg, P(1));
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
    void *value = NULL;
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ok(gev_join(g, 0));
    expect_ok(gev_join(g, -1));
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_int_eq(gev_joinall(&g, 1, GEV_FOREVER), 1);
    expect_ok(gev_joinall_error(&g, 1, GEV_FOREVER));
    expect_str_eq(trace_text(), "");
    expect_ok(gev_join(ready, GEV_FOREVER));
    gev_unref(g);
    gev_unref(ready);
}

/* GLT12, and "zero or less tries once and does not park". */
GEV_TEST(join_times_out)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(sleep_50_ms, P(1));
    gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
    expect_fail(gev_join(g, 0), ETIMEDOUT);
    expect_fail(gev_join(g, -5), ETIMEDOUT);
    expect_str_eq(trace_text(), "");
    double start = test_now();
    expect_fail(gev_join(g, 0.002), ETIMEDOUT);
    expect_ge(test_now() - start, 0.002);
    expect_str_eq(trace_text(), "ready");
    expect_false(gev_dead(g)); /* running out of time does not kill it */
    expect_ok(gev_join(g, 10));
    expect_int_eq(N(gev_value(g)), 1);
    gev_unref(g);
    gev_unref(ready);
}

GEV_TEST(join_refuses_null_and_nan)
{
    gev_greenlet *g = gev_spawn(return_arg, P(1));
    const double nan = (double)NAN;
    expect_fail(gev_join(NULL, 0), EINVAL);
    expect_fail(gev_get(NULL, NULL, 0), EINVAL);
    expect_fail(gev_join(g, nan), EINVAL);
    expect_fail(gev_get(g, NULL, nan), EINVAL);
    expect_fail(gev_joinall(NULL, 1, 0), EINVAL);
    expect_fail(gev_joinall(&g, 1, nan), EINVAL);
    expect_fail(gev_joinall_error(NULL, 1, 0), EINVAL);
    expect_fail(gev_joinall_error(&g, 1, nan), EINVAL);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
}

static void *join_self(void *arg)
{
    (void)arg;
    gev_greenlet *self = gev_current();
    const double timeouts[] = {GEV_FOREVER, 1, 0, -1};
    int wrong = 0;
    for (int i = 0; i < 4; i++) {
        wrong += !(gev_join(self, timeouts[i]) == -1 && errno == EDEADLK);
        wrong += !(gev_get(self, NULL, timeouts[i]) == -1 && errno == EDEADLK);
        wrong +=
            !(gev_joinall(&self, 1, timeouts[i]) == -1 && errno == EDEADLK);
        wrong += !(gev_joinall_error(&self, 1, timeouts[i]) == -1 &&
                   errno == EDEADLK);
    }
    return P(wrong);
}

/* Section 12 "Joins": EDEADLK, whatever the timeout. */
GEV_TEST(join_of_oneself_is_edeadlk)
{
    expect_int_eq(N(join_self(NULL)), 0); /* main */
    void *wrong = P(-1);
    gev_greenlet *g = gev_spawn(join_self, NULL);
    expect_ok(gev_get(g, &wrong, GEV_FOREVER));
    expect_int_eq(N(wrong), 0);
    gev_unref(g);
}

/* GLT11 */
GEV_TEST(get_takes_the_value_as_often_as_asked)
{
    void *value = NULL;
    gev_greenlet *g = gev_spawn(sleep_50_ms, P(4));
    expect_fail(gev_get(g, &value, 0), ETIMEDOUT);
    expect_fail(gev_get(g, &value, 0.001), ETIMEDOUT);
    expect_null(value); /* untouched on failure */
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_int_eq(N(value), 4);
    value = NULL;
    expect_ok(gev_get(g, &value, 0));
    expect_int_eq(N(value), 4);
    expect_ok(gev_get(g, NULL, 0));
    gev_unref(g);
}

/* GLT10, GLT11 */
GEV_TEST(get_gives_the_error_as_often_as_asked)
{
    gev_set_error_handler(ignore_error, NULL);
    void *value = P(9);
    gev_greenlet *g = gev_spawn(sleep_then_fail, P(EPIPE));
    expect_fail(gev_get(g, &value, GEV_FOREVER), EPIPE);
    expect_fail(gev_get(g, &value, 0), EPIPE);
    expect_int_eq(N(value), 9);
    expect_ok(gev_join(g, 0)); /* a join tells nothing of how it ended */
    gev_unref(g);
}

/* GLT8, section 12 "States" */
GEV_TEST(get_of_a_killed_one_is_ecanceled)
{
    void *value = P(9);
    gev_greenlet *g = gev_spawn(park_forever, NULL);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_fail(gev_get(g, &value, GEV_FOREVER), ECANCELED);
    expect_int_eq(N(value), 9);
    expect_ok(gev_join(g, 0));
    gev_unref(g);
}

struct joiner {
    gev_greenlet *target;
    const char *word;
    double timeout;
    int rc;
    int error;
};

static void *join_and_trace(void *arg)
{
    struct joiner *j = arg;
    j->rc = gev_join(j->target, j->timeout);
    j->error = j->rc == 0 ? 0 : errno;
    trace(j->word);
    return NULL;
}

/* GLT21: all joiners of one greenlet wake first in, first out. */
GEV_TEST(joiners_wake_in_order)
{
    trace_reset();
    gev_greenlet *target = gev_spawn(sleep_50_ms, NULL);
    gev_greenlet *g[8];
    struct joiner j[8];
    const char *words[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    for (int i = 0; i < 8; i++) {
        j[i] = (struct joiner){
            .target = target, .word = words[i], .timeout = GEV_FOREVER};
        g[i] = gev_spawn(join_and_trace, &j[i]);
    }
    expect_int_eq(gev_joinall(g, 8, GEV_FOREVER), 8);
    expect_str_eq(trace_text(), "a b c d e f g h");
    gev_unrefall(g, 8);
    gev_unref(target);
}

/* Section 12 "Joins": links and joiners strictly in registration order. */
GEV_TEST(links_and_joiners_are_served_in_order)
{
    trace_reset();
    gev_greenlet *target = gev_spawn(sleep_50_ms, NULL);
    struct joiner j2 = {.target = target, .word = "2", .timeout = GEV_FOREVER};
    struct joiner j4 = {.target = target, .word = "4", .timeout = GEV_FOREVER};
    expect_ok(gev_link(target, trace_link, "1"));
    gev_greenlet *g2 = gev_spawn(join_and_trace, &j2);
    expect_ok(gev_yield());
    expect_ok(gev_link(target, trace_link, "3"));
    gev_greenlet *g4 = gev_spawn(join_and_trace, &j4);
    expect_ok(gev_yield());
    expect_ok(gev_link(target, trace_link, "5"));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "1 2 3 4 5");
    gev_unref(g2);
    gev_unref(g4);
    gev_unref(target);
}

/* C5, T8, HUB16: one that gave up waiting is not woken by the end. */
GEV_TEST(joiner_that_timed_out_is_not_woken_again)
{
    trace_reset();
    gev_greenlet *target = gev_spawn(sleep_50_ms, NULL);
    struct joiner j = {.target = target, .word = "j", .timeout = 0.001};
    gev_greenlet *g = gev_spawn(join_and_trace, &j);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(j.rc, -1);
    expect_int_eq(j.error, ETIMEDOUT);
    gev_unref(g);
    expect_ok(gev_join(target, GEV_FOREVER));
    gev_unref(target);
    expect_ok(gev_sleep(0.001));
    expect_str_eq(trace_text(), "j");
}

static void *join_then_sleep(void *arg)
{
    struct joiner *j = arg;
    j->rc = gev_join(j->target, GEV_FOREVER);
    j->error = j->rc == 0 ? 0 : errno;
    (void)gev_uncancel();
    double start = test_now();
    int rc = gev_sleep(0.1);
    return rc == 0 && test_now() - start >= 0.1 ? P(1) : NULL;
}

/* T8, C10: the end of a target does not cut a later, unrelated park short. */
GEV_TEST(killed_joiner_sleeps_undisturbed_when_the_target_ends)
{
    gev_greenlet *target = gev_spawn(sleep_50_ms, NULL);
    struct joiner j = {.target = target};
    gev_greenlet *g = gev_spawn(join_then_sleep, &j);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, 0));
    void *undisturbed = NULL;
    expect_ok(gev_get(g, &undisturbed, GEV_FOREVER));
    expect_int_eq(j.error, ECANCELED);
    expect_int_eq(N(undisturbed), 1);
    expect_ok(gev_join(target, GEV_FOREVER));
    gev_unref(g);
    gev_unref(target);
}

static void *start_it_later(void *arg)
{
    gev_greenlet *g = arg;
    if (gev_sleep(0.005) != 0 || gev_start(g) != 0) {
        return gev_fail(errno);
    }
    return NULL;
}

/* GLT12: joining one that was not started waits. */
GEV_TEST(join_of_an_unstarted_one_waits)
{
    gev_greenlet *g = gev_new(return_arg, P(6));
    expect_fail(gev_join(g, 0.001), ETIMEDOUT);
    expect_fail(gev_join(g, GEV_FOREVER), EDEADLK); /* nobody can start it */
    gev_unref(gev_spawn(start_it_later, g));
    void *value = NULL;
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_int_eq(N(value), 6);
    gev_unref(g);
}

static void *join_the_arg(void *arg)
{
    return gev_join(arg, GEV_FOREVER) == 0 ? NULL : gev_fail(errno);
}

static void *unref_after_yield(void *arg)
{
    if (gev_yield() != 0) {
        return gev_fail(errno);
    }
    gev_unref(arg);
    return NULL;
}

/* C5: the handle may be dropped while others join. */
GEV_TEST(handle_may_be_dropped_while_somebody_joins)
{
    gev_greenlet *target = gev_spawn(sleep_50_ms, NULL);
    gev_greenlet *joiner = gev_spawn(join_the_arg, target);
    gev_greenlet *dropper = gev_spawn(unref_after_yield, target);
    expect_ok(gev_get(joiner, NULL, GEV_FOREVER));
    expect_ok(gev_join(dropper, GEV_FOREVER));
    gev_unref(joiner);
    gev_unref(dropper);
}

/* TOP9 */
GEV_TEST(joinall_counts_what_has_ended)
{
    gev_greenlet *g[3] = {
        gev_spawn(return_arg, NULL),
        gev_spawn(sleep_50_ms, NULL),
        gev_spawn(park_forever, NULL),
    };
    expect_int_eq(gev_joinall(g, 3, 0), 0);
    expect_int_eq(gev_joinall(g, 3, -1), 0);
    expect_ok(gev_yield());
    expect_int_eq(gev_joinall(g, 3, 0), 1);
    expect_ok(gev_join(g[1], GEV_FOREVER));
    double start = test_now();
    expect_int_eq(gev_joinall(g, 3, 0.005), 2); /* running out is no error */
    expect_ge(test_now() - start, 0.005);
    expect_ok(gev_kill(g[2], GEV_FOREVER));
    expect_int_eq(gev_joinall(g, 3, GEV_FOREVER), 3);
    gev_unrefall(g, 3);
}

/* TOP9, section 12 "Joins" */
GEV_TEST(joinall_counts_duplicates_and_skips_null)
{
    gev_greenlet *a = gev_spawn(sleep_50_ms, NULL);
    gev_greenlet *b = gev_spawn(return_arg, NULL);
    gev_greenlet *const g[] = {a, NULL, b, a, NULL};
    expect_int_eq(gev_joinall(g, 5, 0.001), 1);
    expect_int_eq(gev_joinall(g, 5, GEV_FOREVER), 3);
    gev_greenlet *const nothing[] = {NULL, NULL};
    expect_int_eq(gev_joinall(nothing, 2, GEV_FOREVER), 0);
    expect_ok(gev_joinall_error(nothing, 2, GEV_FOREVER));
    expect_ok(gev_joinall_error(g, 5, GEV_FOREVER));
    gev_unref(a);
    gev_unref(b);
}

/* TOP8, TOP9 */
GEV_TEST(joinall_of_none_returns_at_once)
{
    trace_reset();
    gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
    expect_int_eq(gev_joinall(NULL, 0, GEV_FOREVER), 0);
    expect_ok(gev_joinall_error(NULL, 0, GEV_FOREVER));
    expect_ok(gev_killall(NULL, 0, GEV_FOREVER));
    expect_str_eq(trace_text(), "");
    expect_ok(gev_join(ready, GEV_FOREVER));
    gev_unref(ready);
}

struct group {
    gev_greenlet *const *g;
    size_t n;
    ssize_t rc;
    int error;
};

static void *joinall_and_note(void *arg)
{
    struct group *all = arg;
    all->rc = gev_joinall(all->g, all->n, GEV_FOREVER);
    all->error = all->rc < 0 ? errno : 0;
    return NULL;
}

/* TOP9: -1 if the caller is killed. */
GEV_TEST(joinall_fails_when_the_caller_is_killed)
{
    gev_greenlet *g[2] = {gev_spawn(return_arg, NULL),
                          gev_spawn(park_forever, NULL)};
    struct group all = {.g = g, .n = 2};
    gev_greenlet *caller = gev_spawn(joinall_and_note, &all);
    expect_ok(gev_yield());
    expect_ok(gev_yield());
    expect_ok(gev_kill(caller, GEV_FOREVER));
    expect_int_eq(all.rc, -1);
    expect_int_eq(all.error, ECANCELED);
    expect_ok(gev_kill(g[1], GEV_FOREVER));
    gev_unref(caller);
    gev_unrefall(g, 2);
}

/* TOP9: -1 if the caller's scope expires. */
GEV_TEST(joinall_fails_when_the_callers_scope_expires)
{
    gev_greenlet *g[2] = {gev_spawn(return_arg, NULL),
                          gev_spawn(park_forever, NULL)};
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin_error(&t, 0.002, EPROTO));
    expect_fail(gev_joinall(g, 2, GEV_FOREVER), EPROTO);
    expect_fail(gev_joinall_error(g, 2, GEV_FOREVER), EPROTO);
    expect_true(gev_timeout_end(&t));
    expect_ok(gev_kill(g[1], GEV_FOREVER));
    gev_unrefall(g, 2);
}

/* TOP9: the first to fail in time, not in the list; the others run on. */
GEV_TEST(joinall_error_gives_the_first_failure_in_time)
{
    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *g[3] = {
        gev_spawn(sleep_50_ms, P(1)),
        gev_spawn(sleep_then_fail, P(EIO)),
        gev_spawn(fail_with, P(EPIPE)),
    };
    expect_fail(gev_joinall_error(g, 3, GEV_FOREVER), EPIPE);
    expect_false(gev_dead(g[0]));
    expect_false(gev_dead(g[1]));
    expect_fail(gev_join(g[1], 0), ETIMEDOUT);
    expect_int_eq(gev_joinall(g, 3, GEV_FOREVER), 3);
    expect_int_eq(N(gev_value(g[0])), 1);
    expect_int_eq(gev_error(g[1]), EIO);
    gev_unrefall(g, 3);
}

/* TOP9: being killed is no failure (GLT8). */
GEV_TEST(joinall_error_takes_a_kill_for_a_success)
{
    gev_greenlet *g[3] = {
        gev_spawn(return_arg, NULL),
        gev_spawn(fail_with, P(ECANCELED)),
        gev_spawn(park_forever, NULL),
    };
    expect_ok(gev_yield());
    expect_ok(gev_kill(g[2], 0));
    expect_ok(gev_joinall_error(g, 3, GEV_FOREVER));
    gev_unrefall(g, 3);
}

/* TOP9 */
GEV_TEST(joinall_error_times_out)
{
    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *g[2] = {
        gev_spawn(sleep_50_ms, NULL),
        gev_spawn(sleep_then_fail, P(EIO)),
    };
    expect_fail(gev_joinall_error(g, 2, 0), ETIMEDOUT);
    expect_fail(gev_joinall_error(g, 2, 0.001), ETIMEDOUT);
    expect_fail(gev_joinall_error(g, 2, GEV_FOREVER), EIO);
    expect_fail(gev_joinall_error(g, 2, 0), EIO);
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    expect_fail(gev_joinall_error(g, 2, GEV_FOREVER), EIO);
    gev_unrefall(g, 2);
}

struct attempt {
    gev_greenlet *alive;
    gev_greenlet *dead;
    int wrong;
};

static void try_to_join(void *arg)
{
    struct attempt *a = arg;
    void *value = NULL;
    a->wrong += gev_join(a->dead, GEV_FOREVER) != 0;
    a->wrong += gev_get(a->dead, &value, GEV_FOREVER) != 0 || N(value) != 5;
    a->wrong += !(gev_join(a->alive, GEV_FOREVER) == -1 && errno == EPERM);
    a->wrong += !(gev_get(a->alive, NULL, 1) == -1 && errno == EPERM);
    a->wrong += !(gev_joinall(&a->alive, 1, 1) == -1 && errno == EPERM);
    a->wrong += !(gev_join(a->alive, 0) == -1 && errno == ETIMEDOUT);
    a->wrong += gev_joinall(&a->alive, 1, 0) != 0;
}

/* Section 12 "Hub": calls that would park fail with EPERM in a callback; with
 * a timeout <= 0 they try. */
GEV_TEST(join_in_a_callback_may_not_park)
{
    struct attempt a = {.alive = gev_spawn(park_forever, NULL),
                        .dead = gev_spawn(return_arg, P(5)),
                        .wrong = 0};
    expect_ok(gev_join(a.dead, GEV_FOREVER));
    expect_ok(gev_hub_post(gev_hub_get(), try_to_join, &a));
    expect_ok(gev_sleep(0.001));
    expect_int_eq(a.wrong, 0);
    expect_ok(gev_kill(a.alive, GEV_FOREVER));
    gev_unref(a.alive);
    gev_unref(a.dead);
}

/* A call that need not park succeeds though the caller is killed or its scope
 * has expired. */
GEV_TEST(join_of_a_dead_one_succeeds_in_an_expired_scope)
{
    gev_greenlet *g = gev_spawn(yield_once, P(1));
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin(&t, 0));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(gev_joinall(&g, 1, GEV_FOREVER), 1);
    expect_fail(gev_yield(), ETIMEDOUT);
    expect_ok(gev_get(g, NULL, 1));
    expect_true(gev_timeout_end(&t));
    expect_fail(gev_kill(gev_current(), 0), ECANCELED);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(gev_uncancel(), ECANCELED);
    gev_unref(g);
}

/* Section 1.2: -1 if the caller's scope expires, though its last park ended by
 * a timeout of its own. */
GEV_TEST(joinall_tells_a_scope_from_an_earlier_timeout)
{
    gev_greenlet *g = gev_spawn(park_forever, NULL);
    expect_int_eq(gev_joinall(&g, 1, 0.001), 0);
    gev_timeout scope;
    expect_ok(gev_timeout_begin(&scope, 0));
    expect_fail(gev_joinall(&g, 1, 1), ETIMEDOUT);
    expect_fail(gev_joinall(&g, 1, GEV_FOREVER), ETIMEDOUT);
    expect_true(gev_timeout_end(&scope));
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
}

static gev_greenlet *awaited;

static void *get_awaited(void *arg)
{
    void *value = NULL;
    expect_ok(gev_get(awaited, &value, GEV_FOREVER));
    return value == P(8) ? arg : gev_fail(EINVAL);
}

static void *return_8(void *arg)
{
    (void)arg;
    return gev_sleep(0.001) == 0 ? P(8) : gev_fail(errno);
}

/* C5: get needs no reference of somebody else's. */
GEV_TEST(handle_may_be_dropped_while_somebody_gets)
{
    awaited = gev_spawn(return_8, NULL);
    gev_greenlet *getter = gev_spawn(get_awaited, P(1));
    expect_ok(gev_yield());
    gev_unref(awaited);
    expect_ok(gev_get(getter, NULL, GEV_FOREVER));
    gev_unref(getter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(join_of_a_dead_one_does_not_park),
        cmocka_unit_test(join_times_out),
        cmocka_unit_test(join_refuses_null_and_nan),
        cmocka_unit_test(join_of_oneself_is_edeadlk),
        cmocka_unit_test(get_takes_the_value_as_often_as_asked),
        cmocka_unit_test(get_gives_the_error_as_often_as_asked),
        cmocka_unit_test(get_of_a_killed_one_is_ecanceled),
        cmocka_unit_test(joiners_wake_in_order),
        cmocka_unit_test(links_and_joiners_are_served_in_order),
        cmocka_unit_test(joiner_that_timed_out_is_not_woken_again),
        cmocka_unit_test(killed_joiner_sleeps_undisturbed_when_the_target_ends),
        cmocka_unit_test(join_of_an_unstarted_one_waits),
        cmocka_unit_test(handle_may_be_dropped_while_somebody_joins),
        cmocka_unit_test(joinall_counts_what_has_ended),
        cmocka_unit_test(joinall_counts_duplicates_and_skips_null),
        cmocka_unit_test(joinall_of_none_returns_at_once),
        cmocka_unit_test(joinall_fails_when_the_caller_is_killed),
        cmocka_unit_test(joinall_fails_when_the_callers_scope_expires),
        cmocka_unit_test(joinall_error_gives_the_first_failure_in_time),
        cmocka_unit_test(joinall_error_takes_a_kill_for_a_success),
        cmocka_unit_test(joinall_error_times_out),
        cmocka_unit_test(join_in_a_callback_may_not_park),
        cmocka_unit_test(join_of_a_dead_one_succeeds_in_an_expired_scope),
        cmocka_unit_test(joinall_tells_a_scope_from_an_earlier_timeout),
        cmocka_unit_test(handle_may_be_dropped_while_somebody_gets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
