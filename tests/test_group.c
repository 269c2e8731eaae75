/* SPDX-License-Identifier: MIT */

/* Groups: members, joining, killing, failing fast, freeing (POL1-POL4, POL9,
 * POL16, C4, C5). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/greenlets.h"
#include "support/trace.h"

#include <sys/wait.h>
#include <unistd.h>

static int ended; /* counts what got to its end */

static void reset(void)
{
    ended = 0;
    trace_reset();
    gev_set_error_handler(ignore_error, NULL);
}

/* Sleeps so many ms; a kill ends it early. */
static void *sleep_ms(void *ms)
{
    if (gev_sleep(N(ms) / 1000.0) != 0) {
        return gev_fail(errno);
    }
    ended++;
    return ms;
}

/* Goes on for 20 ms after its kill. */
static void *die_slowly(void *arg)
{
    (void)gev_sleep(GEV_FOREVER);
    gev_shield_begin();
    (void)gev_sleep(0.02);
    gev_shield_end();
    ended++;
    return arg;
}

static void *fail_after_5_ms(void *code)
{
    return gev_fail(gev_sleep(0.005) == 0 ? N(code) : errno);
}

static void *count_end(void *arg)
{
    ended++;
    return arg;
}

/* --- members ---------------------------------------------------------------
 */

/* POL1: spawn, len, contains, iter; who ends leaves. */
GEV_TEST(members_are_those_that_have_not_ended)
{
    reset();
    gev_group *p = gev_group_new();
    expect_uint_eq(gev_group_count(p), 0);
    gev_greenlet *a = gev_group_spawn(p, sleep_ms, P(5));
    gev_greenlet *b = gev_ref(gev_group_spawn(p, count_end, P(0)));
    gev_greenlet *list[3] = {NULL, NULL, NULL};
    expect_uint_eq(gev_group_count(p), 2);
    expect_true(gev_group_contains(p, a) && gev_group_contains(p, b));
    expect_false(gev_group_contains(p, gev_current()));
    expect_false(gev_group_contains(p, NULL));
    expect_uint_eq(gev_group_members(p, list, 3), 2);
    expect_ptr_eq(list[0], a);
    expect_ptr_eq(list[1], b);
    expect_null(list[2]);
    list[1] = NULL;
    expect_uint_eq(gev_group_members(p, list, 1), 2);
    expect_null(list[1]);
    expect_uint_eq(gev_group_members(p, NULL, 0), 2);
    expect_ok(gev_yield());
    expect_int_eq(ended, 1);
    expect_false(gev_group_contains(p, b)); /* at once */
    expect_uint_eq(gev_group_count(p), 1);
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_uint_eq(gev_group_count(p), 0);
    expect_int_eq(ended, 2);
    gev_unref(b);
    gev_group_free(p);
}

GEV_TEST(a_spawn_records_where_and_what)
{
    gev_group *p = gev_group_new();
    gev_greenlet *g = gev_group_spawn(p, count_end, NULL);
    expect_str_eq(gev_name(g), "count_end");
    expect_true(strstr(gev_spawn_site(g), "test_group.c:") != NULL);
    gev_greenlet *(*plain)(gev_group *, gev_fn, void *) = gev_group_spawn;
    expect_str_eq(gev_name(plain(p, count_end, NULL)), "greenlet");
    gev_group_free(p);
}

GEV_TEST(null_and_nan_are_refused)
{
    gev_group *p = gev_group_new();
    gev_greenlet *g = gev_current();
    const double nan = (double)NAN;
    expect_null(gev_group_spawn(NULL, count_end, NULL));
    expect_int_eq(errno, EINVAL);
    expect_null(gev_group_spawn(p, NULL, NULL));
    expect_int_eq(errno, EINVAL);
    expect_fail(gev_group_add(NULL, g), EINVAL);
    expect_fail(gev_group_add(p, NULL), EINVAL);
    expect_fail(gev_group_discard(NULL, g), EINVAL);
    expect_fail(gev_group_discard(p, NULL), EINVAL);
    expect_fail(gev_group_join(NULL, 0), EINVAL);
    expect_fail(gev_group_join(p, nan), EINVAL);
    expect_fail(gev_group_join_error(NULL, 0), EINVAL);
    expect_fail(gev_group_join_error(p, nan), EINVAL);
    expect_fail(gev_group_kill(NULL, 0), EINVAL);
    expect_fail(gev_group_kill(p, nan), EINVAL);
    expect_fail(gev_group_wait_available(NULL, 0), EINVAL);
    expect_fail(gev_group_wait_available(p, nan), EINVAL);
    expect_uint_eq(gev_group_count(NULL), 0);
    expect_uint_eq(gev_group_members(NULL, NULL, 0), 0);
    expect_uint_eq(gev_group_free_count(NULL), 0);
    expect_false(gev_group_full(NULL));
    expect_false(gev_group_contains(NULL, g));
    expect_int_eq(gev_group_error(NULL), 0);
    gev_group_free(NULL);
    gev_group_free(p);
}

/* POL1: "takes a reference of its own; twice is once; of a finished greenlet:
 * nothing". */
GEV_TEST(add_takes_a_reference_and_counts_once)
{
    reset();
    gev_group *p = gev_group_new();
    gev_greenlet *g = gev_spawn(sleep_ms, P(1));
    expect_ok(gev_group_add(p, g));
    expect_ok(gev_group_add(p, g));
    expect_uint_eq(gev_group_count(p), 1);
    gev_unref(g);
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_int_eq(ended, 1);
    g = gev_spawn(count_end, NULL);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ok(gev_group_add(p, g));
    expect_uint_eq(gev_group_count(p), 0);
    expect_ok(gev_group_join(p, 0));
    gev_unref(g);
    gev_group_free(p);
}

/* POL16: options of a member's own: made, added, started. */
GEV_TEST(a_greenlet_with_options_can_be_a_member)
{
    reset();
    gev_group *p = gev_group_new();
    const gev_attr attr = {.name = "big", .stack_size = 512 * 1024};
    gev_greenlet *g = gev_new_attr(&attr, count_end, P(1));
    expect_ok(gev_group_add(p, g));
    expect_uint_eq(gev_group_count(p), 1);
    expect_ok(gev_start(g));
    gev_unref(g);
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_int_eq(ended, 1);
    gev_group_free(p);
}

/* POL9, "discard of a stranger: 0 or an error, no effect". */
GEV_TEST(a_discarded_member_runs_on)
{
    reset();
    gev_group *p = gev_group_new();
    gev_greenlet *g = gev_ref(gev_group_spawn(p, sleep_ms, P(5)));
    gev_greenlet *stranger = gev_spawn(count_end, NULL);
    expect_ok(gev_group_discard(p, stranger));
    expect_uint_eq(gev_group_count(p), 1);
    expect_ok(gev_yield());
    expect_ok(gev_group_discard(p, g));
    expect_uint_eq(gev_group_count(p), 0);
    expect_ok(gev_group_discard(p, g));
    expect_ok(gev_group_join(p, 0));
    expect_ok(gev_group_kill(p, GEV_FOREVER));
    gev_group_free(p);
    expect_false(gev_dead(g));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_false(gev_killed(g));
    expect_int_eq(ended, 2);
    gev_unref(g);
    gev_unref(stranger);
}

/* The last reference may be the group's. */
GEV_TEST(discarding_an_unstarted_one_may_free_it)
{
    reset();
    gev_group *p = gev_group_new();
    gev_greenlet *g = gev_new(count_end, NULL);
    expect_ok(gev_group_add(p, g));
    gev_unref(g);
    expect_ok(gev_group_discard(p, g));
    expect_uint_eq(gev_group_count(p), 0);
    gev_group_free(p);
    expect_int_eq(ended, 0);
}

GEV_TEST(a_greenlet_may_be_in_two_groups)
{
    reset();
    gev_group *p = gev_group_new();
    gev_group *q = gev_pool_new(1);
    gev_greenlet *g = gev_group_spawn(p, sleep_ms, P(5));
    expect_ok(gev_group_add(q, g));
    expect_uint_eq(gev_group_count(p), 1);
    expect_true(gev_group_full(q));
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_uint_eq(gev_group_count(q), 0);
    g = gev_ref(gev_group_spawn(p, sleep_ms, P(5)));
    expect_ok(gev_group_add(q, g));
    expect_ok(gev_group_discard(p, g));
    expect_uint_eq(gev_group_count(q), 1);
    gev_group_free(p);
    expect_false(gev_dead(g));
    gev_group_free(q);
    expect_true(gev_killed(g));
    gev_unref(g);
}

static void *switch_away(void *arg)
{
    void *in = NULL;
    if (gev_switch(gev_parent(gev_current()), NULL, &in) != 0) {
        trace(gev_strerror(errno));
    }
    ended++;
    return arg;
}

/* POL1: raw greenlets may be added; unlike gevent's they leave by themselves.
 */
GEV_TEST(raw_greenlets_may_be_members)
{
    reset();
    gev_group *p = gev_group_new();
    gev_greenlet *g = gev_new(switch_away, P(1));
    expect_ok(gev_group_add(p, g));
    expect_ok(gev_switch(g, NULL, NULL));
    expect_uint_eq(gev_group_count(p), 1);
    expect_ok(gev_switch(g, NULL, NULL));
    expect_true(gev_dead(g));
    expect_uint_eq(gev_group_count(p), 0);
    gev_unref(g);
    g = gev_new(switch_away, P(1));
    expect_ok(gev_group_add(p, g));
    gev_unref(g); /* the group's is the only one left */
    expect_ok(gev_switch(g, NULL, NULL));
    expect_ok(gev_switch(g, NULL, NULL));
    expect_uint_eq(gev_group_count(p), 0);
    g = gev_new(switch_away, P(1));
    expect_ok(gev_group_add(p, g));
    expect_ok(gev_switch(g, NULL, NULL));
    gev_group_free(p); /* its switch fails */
    expect_true(gev_killed(g));
    expect_int_eq(ended, 3);
    expect_str_eq(trace_text(), gev_strerror(ECANCELED));
    gev_unref(g);
}

/* A foreign thread has a hub of its own. */
static void *use_in_another_thread(void *group)
{
    gev_group *p = group;
    gev_greenlet *g = gev_spawn(count_end, NULL);
    int wrong = 0;
    wrong += gev_group_spawn(p, count_end, NULL) != NULL || errno != EPERM;
    wrong += gev_group_add(p, g) == 0 || errno != EPERM;
    wrong += gev_group_discard(p, g) == 0 || errno != EPERM;
    wrong += gev_group_join(p, 0) == 0 || errno != EPERM;
    wrong += gev_group_join_error(p, 0) == 0 || errno != EPERM;
    wrong += gev_group_kill(p, 0) == 0 || errno != EPERM;
    wrong += gev_group_wait_available(p, 0) == 0 || errno != EPERM;
    gev_group_free(p); /* does nothing */
    wrong += gev_join(g, GEV_FOREVER) != 0;
    gev_unref(g);
    wrong += gev_hub_close() != 0;
    return P(wrong);
}

GEV_TEST(another_threads_group_is_eperm)
{
    gev_group *p = gev_group_new();
    expect_int_eq(value_in_thread(use_in_another_thread, p), 0);
    expect_not_null(gev_group_spawn(p, count_end, NULL));
    gev_group_free(p);
}

/* --- joining ---------------------------------------------------------------
 */

/* POL2: empty: at once, without switching. */
GEV_TEST(join_of_an_empty_group_does_not_park)
{
    reset();
    gev_group *p = gev_group_new();
    gev_greenlet *g = gev_spawn(trace_and_return, "other");
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_ok(gev_group_join(p, -1));
    expect_ok(gev_group_join_error(p, GEV_FOREVER));
    expect_ok(gev_group_kill(p, GEV_FOREVER));
    expect_ok(gev_group_wait_available(p, GEV_FOREVER));
    expect_str_eq(trace_text(), "");
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    gev_group_free(p);
}

/* POL2 */
GEV_TEST(join_waits_for_all_and_times_out)
{
    reset();
    gev_group *p = gev_group_new();
    for (int i = 0; i < 5; i++) {
        expect_not_null(gev_group_spawn(p, sleep_ms, P(i == 0 ? 0 : 50)));
    }
    expect_fail(gev_group_join(p, 0), ETIMEDOUT);
    expect_int_eq(ended, 0);
    expect_fail(gev_group_join(p, 0.002), ETIMEDOUT);
    expect_fail(gev_group_join_error(p, 0.002), ETIMEDOUT);
    expect_uint_eq(gev_group_count(p), 4); /* nobody was killed */
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_int_eq(ended, 5);
    gev_group_free(p);
}

/* However they end. */
GEV_TEST(join_does_not_care_how_members_end)
{
    reset();
    gev_group *p = gev_group_new();
    expect_not_null(gev_group_spawn(p, fail_with, P(EIO)));
    gev_greenlet *g = gev_group_spawn(p, park_forever, NULL);
    expect_ok(gev_kill(g, 0));
    expect_ok(gev_group_join(p, GEV_FOREVER));
    gev_group_free(p);
}

static void *join_own_group(void *group)
{
    int wrong = 0;
    wrong += gev_group_join(group, 0) == 0 || errno != EDEADLK;
    wrong += gev_group_join(group, GEV_FOREVER) == 0 || errno != EDEADLK;
    wrong += gev_group_join_error(group, GEV_FOREVER) == 0 || errno != EDEADLK;
    return P(wrong);
}

/* C4: like joining oneself. */
GEV_TEST(a_member_that_joins_its_group_gets_edeadlk)
{
    gev_group *p = gev_group_new();
    void *wrong = P(-1);
    expect_ok(gev_group_apply(p, join_own_group, p, &wrong));
    expect_int_eq(N(wrong), 0);
    gev_group_free(p);
}

static void *join_and_trace(void *group)
{
    int rc = gev_group_join(group, GEV_FOREVER);
    trace(rc == 0 ? "empty" : gev_strerror(errno));
    return NULL;
}

/* All who wait are woken, in order; a killed one is not. */
GEV_TEST(several_may_join)
{
    reset();
    gev_group *p = gev_group_new();
    expect_not_null(gev_group_spawn(p, sleep_ms, P(5)));
    gev_greenlet *joiners[3];
    for (int i = 0; i < 3; i++) {
        joiners[i] = gev_spawn(join_and_trace, p);
    }
    expect_ok(gev_yield());
    expect_ok(gev_kill(joiners[1], GEV_FOREVER));
    expect_int_eq(gev_joinall(joiners, 3, GEV_FOREVER), 3);
    expect_str_eq(trace_text(), "Operation canceled empty empty");
    gev_unrefall(joiners, 3);
    gev_group_free(p);
}

/* --- failing fast ----------------------------------------------------------
 */

/* POL2, structured concurrency: the first failure kills the rest, and the call
 * returns when all are gone. */
GEV_TEST(join_error_kills_the_rest_and_waits_for_it)
{
    reset();
    gev_group *p = gev_group_new();
    expect_not_null(gev_group_spawn(p, fail_after_5_ms, P(EIO)));
    expect_not_null(gev_group_spawn(p, sleep_ms, P(60000)));
    expect_not_null(gev_group_spawn(p, die_slowly, NULL));
    expect_not_null(gev_group_spawn(p, fail_after_5_ms, P(ENOENT)));
    expect_fail(gev_group_join_error(p, GEV_FOREVER), EIO);
    expect_uint_eq(gev_group_count(p), 0);
    expect_int_eq(ended, 1); /* the slow one, to its end */
    expect_int_eq(gev_group_error(p), EIO);
    expect_ok(gev_group_join_error(p, GEV_FOREVER));
    gev_group_free(p);
}

/* At once: what is behind it in the queue does not even begin. */
GEV_TEST(a_failure_comes_before_those_that_have_not_begun)
{
    reset();
    gev_group *p = gev_group_new();
    expect_not_null(gev_group_spawn(p, fail_with, P(EIO)));
    expect_not_null(gev_group_spawn(p, count_end, NULL));
    expect_fail(gev_group_join_error(p, GEV_FOREVER), EIO);
    expect_int_eq(ended, 0);
    gev_group_free(p);
}

/* "ignores failures from before the call and ECANCELED": but gev_group_error()
 * remembers (gevent's #521). */
GEV_TEST(join_error_ignores_old_failures_and_kills)
{
    reset();
    gev_group *p = gev_group_new();
    expect_int_eq(gev_group_error(p), 0);
    expect_not_null(gev_group_spawn(p, fail_with, P(EIO)));
    gev_greenlet *g = gev_group_spawn(p, sleep_ms, P(5));
    expect_ok(gev_yield());
    expect_int_eq(gev_group_error(p), EIO);
    gev_greenlet *victim = gev_group_spawn(p, park_forever, NULL);
    expect_ok(gev_yield());
    expect_ok(gev_kill(victim, 0));
    expect_not_null(gev_group_spawn(p, fail_with, P(ECANCELED)));
    expect_false(gev_dead(g));
    expect_ok(gev_group_join_error(p, GEV_FOREVER));
    expect_int_eq(ended, 1);
    expect_int_eq(gev_group_error(p), EIO);
    gev_group_free(p);
}

static void *spawn_a_failure(void *group)
{
    (void)gev_sleep(0.002);
    expect_not_null(gev_group_spawn(group, fail_after_5_ms, P(EPIPE)));
    return NULL;
}

static void *spawn_while_dying(void *group)
{
    (void)gev_sleep(GEV_FOREVER);
    gev_greenlet *g = gev_group_spawn(group, count_end, NULL);
    trace(gev_killed(g) ? "killed" : "not killed");
    return NULL;
}

/* "Members that joined late count", and are killed as well. */
GEV_TEST(join_error_counts_late_members)
{
    reset();
    gev_group *p = gev_group_new();
    expect_not_null(gev_group_spawn(p, spawn_a_failure, p));
    expect_not_null(gev_group_spawn(p, spawn_while_dying, p));
    expect_fail(gev_group_join_error(p, GEV_FOREVER), EPIPE);
    expect_str_eq(trace_text(), "killed");
    expect_int_eq(ended, 0);
    expect_not_null(gev_group_spawn(p, count_end, NULL)); /* it is over */
    expect_ok(gev_group_join_error(p, GEV_FOREVER));
    expect_int_eq(ended, 1);
    gev_group_free(p);
}

/* The time is for all of it. */
GEV_TEST(join_error_times_out_when_the_rest_dies_slowly)
{
    reset();
    gev_group *p = gev_group_new();
    expect_not_null(gev_group_spawn(p, fail_with, P(EIO)));
    expect_not_null(gev_group_spawn(p, die_slowly, NULL));
    gev_group *q = gev_group_new();
    expect_ok(gev_yield());
    expect_not_null(gev_group_spawn(p, fail_with, P(EPIPE)));
    expect_fail(gev_group_join_error(p, 0.005), ETIMEDOUT);
    expect_uint_eq(gev_group_count(p), 1);
    expect_not_null(gev_group_spawn(p, count_end, NULL)); /* not killed */
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_int_eq(ended, 2);
    gev_group_free(p);
    gev_group_free(q);
}

static void *throw_at(void *g)
{
    expect_ok(gev_throw(g, EIO));
    return gev_fail(gev_sleep(GEV_FOREVER) == 0 ? 0 : errno);
}

/* Also the member that caused it, by a throw at one that never ran. */
GEV_TEST(join_error_kills_who_is_running)
{
    reset();
    gev_group *p = gev_group_new();
    gev_greenlet *late = gev_spawn_later(60, count_end, NULL);
    expect_ok(gev_group_add(p, late));
    gev_greenlet *g = gev_ref(gev_group_spawn(p, throw_at, late));
    expect_fail(gev_group_join_error(p, GEV_FOREVER), EIO);
    expect_true(gev_killed(g));
    gev_unref(g);
    gev_unref(late);
    gev_group_free(p);
}

static void *join_error_and_trace(void *group)
{
    int rc = gev_group_join_error(group, GEV_FOREVER);
    trace(rc == 0 ? "0" : gev_strerror(errno));
    return NULL;
}

/* Whose park has failed already is not asked. */
GEV_TEST(a_killed_join_error_kills_nobody)
{
    reset();
    gev_group *p = gev_group_new();
    expect_not_null(gev_group_spawn(p, sleep_ms, P(5)));
    gev_greenlet *g = gev_spawn(join_error_and_trace, p);
    expect_ok(gev_yield());
    gev_greenlet *failing = gev_group_spawn(p, fail_with, P(EIO));
    expect_ok(gev_kill(g, 0)); /* it is behind the failing one */
    expect_not_null(failing);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "Operation canceled");
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_int_eq(ended, 1);
    gev_unref(g);
    gev_group_free(p);
}

/* --- killing ---------------------------------------------------------------
 */

static void *survive_one_kill(void *arg)
{
    (void)gev_sleep(GEV_FOREVER);
    expect_int_eq(gev_uncancel(), ECANCELED);
    if (gev_sleep(0.02) != 0) {
        return gev_fail(errno);
    }
    ended++;
    return arg;
}

/* POL3: each is killed once, however often; ETIMEDOUT while one stays. */
GEV_TEST(kill_kills_each_member_once)
{
    reset();
    gev_group *p = gev_group_new();
    expect_not_null(gev_group_spawn(p, survive_one_kill, NULL));
    expect_not_null(gev_group_spawn(p, park_forever, NULL));
    expect_ok(gev_yield());
    gev_greenlet *unstarted = gev_ref(gev_group_spawn(p, count_end, NULL));
    expect_ok(gev_group_kill(p, 0));
    expect_true(gev_killed(unstarted));
    expect_uint_eq(gev_group_count(p), 2);
    expect_ok(gev_group_kill(p, -1));
    expect_fail(gev_group_kill(p, 0.002), ETIMEDOUT);
    expect_uint_eq(gev_group_count(p), 1);
    expect_ok(gev_group_kill(p, GEV_FOREVER));
    expect_int_eq(ended, 1);
    gev_unref(unstarted);
    gev_group_free(p);
}

/* POL3: "also what is spawned into it meanwhile". */
GEV_TEST(kill_kills_newcomers)
{
    reset();
    gev_group *p = gev_group_new();
    expect_not_null(gev_group_spawn(p, spawn_while_dying, p));
    expect_ok(gev_yield());
    expect_ok(gev_group_kill(p, GEV_FOREVER));
    expect_str_eq(trace_text(), "killed");
    expect_int_eq(ended, 0);
    expect_not_null(gev_group_spawn(p, count_end, NULL));
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_int_eq(ended, 1);
    gev_group_free(p);
}

/* POL4: killone: gev_kill() of a member. */
GEV_TEST(one_member_can_be_killed)
{
    reset();
    gev_group *p = gev_group_new();
    gev_greenlet *g = gev_group_spawn(p, park_forever, NULL);
    expect_not_null(gev_group_spawn(p, sleep_ms, P(5)));
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_uint_eq(gev_group_count(p), 1);
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_int_eq(ended, 1);
    gev_group_free(p);
}

static void *kill_own_group(void *group)
{
    int rc = gev_group_kill(group, GEV_FOREVER);
    trace(is_cancelled(rc) ? "killed" : "not killed");
    trace_number((int)gev_group_count(group));
    trace(gev_yield() == 0 ? "yields" : gev_strerror(errno));
    return NULL;
}

/* C4: the others are joined, the caller is killed last. */
GEV_TEST(a_member_may_kill_its_group)
{
    reset();
    gev_group *p = gev_group_new();
    expect_not_null(gev_group_spawn(p, die_slowly, NULL));
    expect_not_null(gev_group_spawn(p, park_forever, NULL));
    expect_ok(gev_yield());
    gev_greenlet *g = gev_ref(gev_group_spawn(p, kill_own_group, p));
    expect_not_null(gev_group_spawn(p, count_end, NULL));
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_str_eq(trace_text(), "killed 1 Operation canceled");
    expect_int_eq(ended, 1); /* only the slow one */
    expect_true(gev_killed(g));
    gev_unref(g);
    gev_group_free(p);
}

/* --- freeing ---------------------------------------------------------------
 */

GEV_TEST(free_kills_and_joins_what_is_left)
{
    reset();
    gev_group *p = gev_group_new();
    gev_greenlet *g = gev_ref(gev_group_spawn(p, die_slowly, NULL));
    gev_greenlet *h = gev_ref(gev_group_spawn(p, park_forever, NULL));
    expect_ok(gev_yield());
    gev_group_free(p);
    expect_true(gev_dead(g) && gev_killed(h));
    expect_int_eq(ended, 1);
    gev_unref(g);
    gev_unref(h);
}

static void *free_group(void *group)
{
    gev_timeout scope;
    expect_ok(gev_timeout_begin(&scope, 0.001));
    gev_group_free(group);
    trace_number(ended);
    trace(gev_yield() == 0 ? "yields" : gev_strerror(errno));
    (void)gev_timeout_end(&scope);
    return NULL;
}

/* Neither a kill of the caller nor a scope of its ends the wait. */
GEV_TEST(free_is_shielded)
{
    reset();
    gev_group *p = gev_group_new();
    expect_not_null(gev_group_spawn(p, die_slowly, NULL));
    expect_ok(gev_yield());
    gev_greenlet *g = gev_spawn(free_group, p);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, 0));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "1 Operation canceled");
    gev_unref(g);
}

static void *kill_and_trace(void *group)
{
    int rc = gev_group_kill(group, GEV_FOREVER);
    trace(rc == 0 ? "gone" : gev_strerror(errno));
    return NULL;
}

static void *spawn_and_trace(void *group)
{
    trace(gev_group_spawn(group, count_end, NULL) != NULL
              ? "spawned"
              : gev_strerror(errno));
    return NULL;
}

static void *wait_available_and_trace(void *group)
{
    int rc = gev_group_wait_available(group, GEV_FOREVER);
    trace(rc == 0 ? "available" : gev_strerror(errno));
    return NULL;
}

/* C5: under all who wait for it. Who waits for the end gets it, who wants a
 * slot gets EPIPE; nobody touches what is gone. */
GEV_TEST(a_group_may_be_freed_under_those_who_wait)
{
    static const gev_fn fns[] = {join_and_trace, join_error_and_trace,
                                 kill_and_trace, spawn_and_trace,
                                 wait_available_and_trace};
    reset();
    gev_group *p = gev_pool_new(1);
    expect_not_null(gev_group_spawn(p, die_slowly, NULL));
    gev_greenlet *waiters[5];
    for (int i = 0; i < 5; i++) {
        waiters[i] = gev_spawn(fns[i], p);
    }
    expect_ok(gev_yield());
    gev_group_free(p);
    expect_int_eq(gev_joinall(waiters, 5, GEV_FOREVER), 5);
    expect_str_eq(trace_text(), "Broken pipe Broken pipe empty 0 gone");
    gev_unrefall(waiters, 5);
}

static void *use_while_freed(void *group)
{
    (void)gev_sleep(GEV_FOREVER);
    gev_greenlet *g = gev_spawn(count_end, NULL);
    trace(gev_group_spawn(group, count_end, NULL) == NULL ? gev_strerror(errno)
                                                          : "spawned");
    trace(gev_group_add(group, g) == 0 ? "added" : gev_strerror(errno));
    expect_fail(gev_group_wait_available(group, 0), EPIPE);
    expect_fail(gev_group_map(group, count_end, (void *[]){NULL}, NULL, 1),
                EPIPE);
    expect_fail(gev_group_apply_async(group, count_end, NULL, NULL), EPIPE);
    expect_null(gev_group_imap(group, count_end, NULL, NULL, 0, true));
    gev_unref(g);
    return NULL;
}

GEV_TEST(nobody_joins_a_group_that_is_being_freed)
{
    reset();
    gev_group *p = gev_group_new();
    expect_not_null(gev_group_spawn(p, use_while_freed, p));
    expect_ok(gev_yield());
    gev_group_free(p);
    expect_str_eq(trace_text(), "Broken pipe Broken pipe");
    expect_ok(gev_yield());
    expect_int_eq(ended, 1); /* the one that was not added */
}

static void *free_own_group(void *group)
{
    gev_group_free(group);
    trace_number(ended);
    trace(gev_yield() == 0 ? "goes on" : gev_strerror(errno));
    return NULL;
}

/* C4 */
GEV_TEST(a_member_may_free_its_group)
{
    reset();
    gev_group *p = gev_group_new();
    expect_not_null(gev_group_spawn(p, die_slowly, NULL));
    gev_greenlet *g = gev_ref(gev_group_spawn(p, free_own_group, p));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "1 goes on");
    expect_false(gev_killed(g));
    gev_unref(g);
}

static void free_in_defer(void *group)
{
    gev_group_free(group);
    trace("freed");
}

static void *defer_free(void *group)
{
    expect_ok(gev_defer(free_in_defer, group));
    return NULL;
}

/* Where nothing may park the last member frees it. */
GEV_TEST(free_in_a_defer_does_not_wait)
{
    reset();
    gev_group *p = gev_group_new();
    gev_greenlet *slow = gev_ref(gev_group_spawn(p, die_slowly, NULL));
    expect_ok(gev_yield());
    gev_greenlet *g = gev_spawn(defer_free, p);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "freed");
    expect_int_eq(ended, 0);
    expect_ok(gev_join(slow, GEV_FOREVER));
    expect_int_eq(ended, 1);
    gev_unref(g);
    gev_unref(slow);
}

static void *park_shielded(void *arg)
{
    gev_shield_begin();
    (void)gev_sleep(GEV_FOREVER);
    ended++;
    return arg;
}

/* Nothing can ever end that wait: main is told, and goes on. */
GEV_TEST(free_gives_up_when_nothing_can_end_it)
{
    reset();
    gev_group *p = gev_group_new();
    expect_not_null(gev_group_spawn(p, park_shielded, NULL));
    expect_ok(gev_yield());
    gev_group_free(p);
    expect_int_eq(ended, 0);
    expect_ok(gev_hub_close());
    expect_int_eq(ended, 1);
}

/* A group outlives its hub, and is fresh for the next one. */
GEV_TEST(a_group_lives_on_when_its_hub_is_closed)
{
    reset();
    gev_group *p = gev_pool_new(1);
    gev_group *empty = gev_group_new();
    expect_not_null(gev_group_spawn(p, park_forever, NULL));
    gev_greenlet *waiter = gev_spawn(spawn_and_trace, p);
    expect_ok(gev_yield());
    expect_ok(gev_hub_close());
    gev_unref(waiter);
    gev_group_free(empty);
    expect_uint_eq(gev_group_count(p), 0);
    expect_false(gev_group_full(p));
    expect_not_null(gev_group_spawn(p, count_end, NULL));
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_int_eq(ended, 1);
    expect_ok(gev_hub_close());
    expect_not_null(gev_group_spawn(p, count_end, NULL));
    gev_group_free(p);
    expect_int_eq(ended, 1);
}

static void *fork_and_look(void *group)
{
    gev_group *p = group;
    const int before = ended;
    pid_t pid = fork();
    if (pid == 0) {
        int wrong = gev_group_count(p) != 0 || gev_group_full(p) ||
                    gev_group_free_count(p) != 3 || gev_group_join(p, 0) != 0;
        wrong += gev_group_spawn(p, count_end, NULL) == NULL;
        wrong += gev_group_join(p, 10) != 0 || ended != before + 1;
        gev_group_free(p);
        _exit(wrong);
    }
    int status = -1;
    expect_int_eq(waitpid(pid, &status, 0), pid);
    return P(status);
}

/* "In a forked child every group is empty", whoever forked. */
GEV_TEST(groups_are_empty_in_a_forked_child)
{
    reset();
    gev_group *p = gev_pool_new(3);
    void *status = P(-1);
    expect_not_null(gev_group_spawn(p, park_forever, NULL));
    expect_not_null(gev_group_spawn(p, die_slowly, NULL));
    expect_ok(gev_yield());
    gev_greenlet *g = gev_ref(gev_group_spawn(p, fork_and_look, p));
    gev_greenlet *waiter = gev_spawn(spawn_and_trace, p);
    expect_ok(gev_get(g, &status, GEV_FOREVER));
    expect_int_eq(N(status), 0);
    expect_ok(gev_join(waiter, GEV_FOREVER));
    expect_int_eq(N(fork_and_look(p)), 0); /* main */
    gev_unref(g);
    gev_unref(waiter);
    gev_group_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_those_that_have_not_ended),
        cmocka_unit_test(a_spawn_records_where_and_what),
        cmocka_unit_test(null_and_nan_are_refused),
        cmocka_unit_test(add_takes_a_reference_and_counts_once),
        cmocka_unit_test(a_greenlet_with_options_can_be_a_member),
        cmocka_unit_test(a_discarded_member_runs_on),
        cmocka_unit_test(discarding_an_unstarted_one_may_free_it),
        cmocka_unit_test(a_greenlet_may_be_in_two_groups),
        cmocka_unit_test(raw_greenlets_may_be_members),
        cmocka_unit_test(another_threads_group_is_eperm),
        cmocka_unit_test(join_of_an_empty_group_does_not_park),
        cmocka_unit_test(join_waits_for_all_and_times_out),
        cmocka_unit_test(join_does_not_care_how_members_end),
        cmocka_unit_test(a_member_that_joins_its_group_gets_edeadlk),
        cmocka_unit_test(several_may_join),
        cmocka_unit_test(join_error_kills_the_rest_and_waits_for_it),
        cmocka_unit_test(a_failure_comes_before_those_that_have_not_begun),
        cmocka_unit_test(join_error_ignores_old_failures_and_kills),
        cmocka_unit_test(join_error_counts_late_members),
        cmocka_unit_test(join_error_times_out_when_the_rest_dies_slowly),
        cmocka_unit_test(join_error_kills_who_is_running),
        cmocka_unit_test(a_killed_join_error_kills_nobody),
        cmocka_unit_test(kill_kills_each_member_once),
        cmocka_unit_test(kill_kills_newcomers),
        cmocka_unit_test(one_member_can_be_killed),
        cmocka_unit_test(a_member_may_kill_its_group),
        cmocka_unit_test(free_kills_and_joins_what_is_left),
        cmocka_unit_test(free_is_shielded),
        cmocka_unit_test(a_group_may_be_freed_under_those_who_wait),
        cmocka_unit_test(nobody_joins_a_group_that_is_being_freed),
        cmocka_unit_test(a_member_may_free_its_group),
        cmocka_unit_test(free_in_a_defer_does_not_wait),
        cmocka_unit_test(free_gives_up_when_nothing_can_end_it),
        cmocka_unit_test(a_group_lives_on_when_its_hub_is_closed),
        cmocka_unit_test(groups_are_empty_in_a_forked_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
