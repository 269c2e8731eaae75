/* SPDX-License-Identifier: MIT */

/* Pools: slots and those who wait for them (POL5-POL9, POL11). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

static int running;
static int most;
static int ended;

static void reset(void)
{
    running = 0;
    most = 0;
    ended = 0;
    trace_reset();
    gev_set_error_handler(ignore_error, NULL);
}

/* Counts how many of its kind run at once. */
static void *work(void *ms)
{
    running++;
    most = running > most ? running : most;
    int rc = gev_sleep(N(ms) / 1000.0);
    int error = errno;
    running--;
    ended++;
    return rc == 0 ? ms : gev_fail(error);
}

/* The same until the event. */
static void *work_until(void *event)
{
    running++;
    most = running > most ? running : most;
    expect_ok(gev_event_wait(event, GEV_FOREVER));
    running--;
    ended++;
    return NULL;
}

static void *count_end(void *arg)
{
    ended++;
    return arg;
}

/* --- the limit -------------------------------------------------------------
 */

/* POL5: "gev_pool_new(0) is EINVAL". */
GEV_TEST(a_pool_of_nothing_is_einval)
{
    expect_null(gev_pool_new(0));
    expect_int_eq(errno, EINVAL);
}

/* POL5 */
GEV_TEST(a_pool_runs_so_many_at_once)
{
    reset();
    gev_group *p = gev_pool_new(3);
    for (int i = 0; i < 20; i++) {
        expect_not_null(gev_group_spawn(p, work, P(1)));
    }
    expect_le(gev_group_count(p), 3);
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_int_eq(ended, 20);
    expect_int_eq(most, 3);
    gev_group_free(p);
}

/* POL7 */
GEV_TEST(full_and_free_count_tell_of_slots)
{
    reset();
    gev_group *p = gev_pool_new(2);
    gev_group *group = gev_group_new();
    expect_uint_eq(gev_group_free_count(p), 2);
    expect_false(gev_group_full(p));
    expect_not_null(gev_group_spawn(p, work, P(5)));
    expect_uint_eq(gev_group_free_count(p), 1);
    expect_not_null(gev_group_spawn(p, work, P(5)));
    expect_uint_eq(gev_group_free_count(p), 0);
    expect_true(gev_group_full(p));
    expect_not_null(gev_group_spawn(group, work, P(5)));
    expect_false(gev_group_full(group));
    expect_true(gev_group_free_count(group) == SIZE_MAX);
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_uint_eq(gev_group_free_count(p), 2);
    gev_group_free(p);
    gev_group_free(group);
}

static gev_group *pool; /* what these use */

static void *spawn_and_trace(void *number)
{
    if (gev_group_spawn(pool, work, P(1)) == NULL) {
        trace(gev_strerror(errno));
    }
    trace_number(N(number));
    return NULL;
}

/* POL5: first come, first served; who is killed or timed out while he waits has
 * taken nothing. */
GEV_TEST(slots_are_given_in_order)
{
    reset();
    pool = gev_pool_new(1);
    gev_greenlet *g[5];
    expect_not_null(gev_group_spawn(pool, work, P(2)));
    for (int i = 0; i < 5; i++) {
        g[i] = gev_spawn(spawn_and_trace, P(i));
    }
    expect_ok(gev_yield());
    expect_ok(gev_kill(g[2], GEV_FOREVER));
    expect_int_eq(gev_joinall(g, 5, GEV_FOREVER), 5);
    expect_str_eq(trace_text(), "Operation canceled 2 0 1 3 4");
    expect_ok(gev_group_join(pool, GEV_FOREVER));
    expect_int_eq(ended, 5);
    expect_int_eq(most, 1);
    expect_uint_eq(gev_group_free_count(pool), 1);
    gev_unrefall(g, 5);
    gev_group_free(pool);
}

/* Nobody overtakes: who comes when a slot has been given to somebody who has
 * not run yet waits. */
GEV_TEST(a_given_slot_is_not_free)
{
    reset();
    pool = gev_pool_new(1);
    gev_greenlet *member = gev_group_spawn(pool, park_forever, NULL);
    gev_greenlet *g = gev_spawn(spawn_and_trace, P(1));
    expect_ok(gev_yield());
    expect_ok(gev_group_discard(pool, member)); /* that frees it */
    expect_true(gev_group_full(pool));
    expect_uint_eq(gev_group_count(pool), 0);
    expect_uint_eq(gev_group_free_count(pool), 0);
    expect_fail(gev_group_join(pool, 0), ETIMEDOUT);
    expect_fail(gev_group_wait_available(pool, 0), ETIMEDOUT);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_uint_eq(gev_group_count(pool), 1);
    gev_unref(g);
    gev_group_free(pool);
}

/* Slot first, kill second: the spawn goes through, the next park fails. Kill
 * first: the slot goes to the next. */
GEV_TEST(a_slot_that_meets_a_kill_is_not_lost)
{
    for (int kill_first = 0; kill_first < 2; kill_first++) {
        reset();
        pool = gev_pool_new(1);
        gev_greenlet *member = gev_group_spawn(pool, park_forever, NULL);
        gev_greenlet *a = gev_spawn(spawn_and_trace, P(1));
        gev_greenlet *b = gev_spawn(spawn_and_trace, P(2));
        expect_ok(gev_yield());
        if (kill_first) {
            expect_ok(gev_kill(a, 0));
        }
        expect_ok(gev_group_discard(pool, member));
        expect_ok(gev_kill(a, 0));
        expect_ok(gev_join(b, GEV_FOREVER));
        expect_str_eq(trace_text(),
                      kill_first ? "Operation canceled 1 2" : "1 2");
        expect_ok(gev_group_join(pool, GEV_FOREVER));
        expect_int_eq(ended, kill_first ? 1 : 2);
        expect_uint_eq(gev_group_free_count(pool), 1);
        gev_unref(a);
        gev_unref(b);
        gev_group_free(pool);
    }
}

/* POL6: without waiting, and with a limit in time: the greenlet stays untracked
 * and unstarted. */
GEV_TEST(add_to_a_full_pool_can_be_given_up)
{
    reset();
    gev_group *p = gev_pool_new(1);
    gev_greenlet *g = gev_new(count_end, NULL);
    expect_not_null(gev_group_spawn(p, work, P(20)));
    expect_fail(gev_group_wait_available(p, 0), ETIMEDOUT);
    gev_timeout scope;
    expect_ok(gev_timeout_begin(&scope, 0.002));
    expect_fail(gev_group_add(p, g), ETIMEDOUT);
    expect_true(gev_timeout_end(&scope));
    expect_false(gev_group_contains(p, g));
    expect_false(gev_started(g));
    expect_ok(gev_timeout_begin(&scope, 0));
    expect_fail(gev_group_add(p, g), ETIMEDOUT);
    expect_null(gev_group_spawn(p, count_end, NULL));
    expect_int_eq(errno, ETIMEDOUT);
    expect_true(gev_timeout_end(&scope));
    expect_ok(gev_group_add(p, g)); /* waits */
    expect_int_eq(ended, 1);
    expect_true(gev_group_contains(p, g));
    expect_ok(gev_start(g));
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_int_eq(ended, 2);
    gev_unref(g);
    gev_group_free(p);
}

static void *add_and_trace(void *g)
{
    trace(gev_group_add(pool, g) == 0 ? "added" : gev_strerror(errno));
    return NULL;
}

/* It may end, or join, while somebody waits to add it. */
GEV_TEST(an_add_that_came_too_late_takes_no_slot)
{
    reset();
    pool = gev_pool_new(1);
    gev_greenlet *first = gev_group_spawn(pool, park_forever, NULL);
    gev_greenlet *g = gev_spawn(work, P(5));
    gev_greenlet *a = gev_spawn(add_and_trace, g);
    gev_greenlet *b = gev_spawn(add_and_trace, g);
    expect_ok(gev_yield());
    expect_ok(gev_group_discard(pool, first)); /* a gets it */
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ok(gev_join(b, GEV_FOREVER));
    expect_str_eq(trace_text(), "added added");
    expect_uint_eq(gev_group_free_count(pool), 1);
    expect_ok(gev_group_join(pool, 0));
    gev_unref(g);
    gev_unref(a);
    gev_unref(b);
    gev_group_free(pool);
}

/* --- wait_available --------------------------------------------------------
 */

static void *wait_and_spawn(void *number)
{
    expect_ok(gev_group_wait_available(pool, GEV_FOREVER));
    expect_false(gev_group_full(pool));
    trace_number(N(number));
    expect_not_null(gev_group_spawn(pool, work, P(1)));
    return NULL;
}

/* POL7: on return a slot is free, so that the next spawn does not park. */
GEV_TEST(wait_available_tells_the_truth)
{
    reset();
    pool = gev_pool_new(1);
    gev_greenlet *g[3];
    gev_event go;
    gev_event_init(&go);
    expect_not_null(gev_group_spawn(pool, work_until, &go));
    expect_fail(gev_group_wait_available(pool, 0.001), ETIMEDOUT);
    gev_event_set(&go);
    for (int i = 0; i < 3; i++) {
        g[i] = gev_spawn(wait_and_spawn, P(i));
    }
    expect_int_eq(gev_joinall(g, 3, GEV_FOREVER), 3);
    expect_ok(gev_group_join(pool, GEV_FOREVER));
    expect_int_eq(ended, 4);
    expect_int_eq(most, 1);
    gev_unrefall(g, 3);
    gev_group_free(pool);
}

/* A spawner that waits gets the slot, not one who only looks. */
GEV_TEST(wait_available_takes_nothing_from_spawners)
{
    reset();
    pool = gev_pool_new(1);
    expect_not_null(gev_group_spawn(pool, work, P(2)));
    gev_greenlet *looker = gev_spawn(wait_and_spawn, P(1));
    gev_greenlet *spawner = gev_spawn(spawn_and_trace, P(2));
    expect_ok(gev_join(looker, GEV_FOREVER));
    expect_str_eq(trace_text(), "2 1");
    expect_ok(gev_group_join(pool, GEV_FOREVER));
    gev_unref(looker);
    gev_unref(spawner);
    gev_group_free(pool);
}

/* --- the moment a slot is free ---------------------------------------------
 */

static void count_free(gev_greenlet *g, void *arg)
{
    (void)g;
    (void)arg;
    trace_number((int)gev_group_free_count(pool));
}

/* POL8: when get returns, and before any link runs. */
GEV_TEST(a_slot_is_free_when_its_member_ends)
{
    reset();
    pool = gev_pool_new(1);
    gev_greenlet *g = gev_ref(gev_group_spawn(pool, count_end, NULL));
    expect_ok(gev_rawlink(g, count_free, NULL));
    expect_ok(gev_get(g, NULL, GEV_FOREVER));
    expect_uint_eq(gev_group_free_count(pool), 1);
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "1");
    gev_unref(g);
    g = gev_spawn(count_end, NULL);
    expect_ok(gev_rawlink(g, count_free, NULL)); /* before it is added */
    expect_ok(gev_link(g, count_free, NULL));
    expect_ok(gev_group_add(pool, g));
    expect_uint_eq(gev_group_free_count(pool), 0);
    expect_ok(gev_yield());
    expect_uint_eq(gev_group_free_count(pool), 1);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ok(gev_sleep(0.001));
    expect_str_eq(trace_text(), "1 1 1");
    gev_unref(g);
    gev_group_free(pool);
}

static void failing_handler(gev_greenlet *g, int error, void *arg)
{
    (void)g;
    (void)error;
    (void)arg;
    (void)gev_sleep(1); /* is refused */
    trace("reported");
}

static void failing_link(gev_greenlet *g, void *arg)
{
    (void)g;
    (void)arg;
    (void)gev_uncancel();
    gev_exit(gev_fail(EIO));
}

/* POL8: failing members, links and handlers leak no slot. */
GEV_TEST(errors_in_links_and_handlers_leak_no_slot)
{
    reset();
    gev_set_error_handler(failing_handler, NULL);
    gev_group *p = gev_pool_new(2);
    for (int i = 0; i < 6; i++) {
        gev_greenlet *g = gev_group_spawn(p, fail_with, P(EIO));
        expect_not_null(g);
        expect_ok(gev_link(g, failing_link, NULL));
    }
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_uint_eq(gev_group_free_count(p), 2);
    expect_ok(gev_sleep(0.001));
    /* each member's, each link's */
    expect_str_eq(trace_text(),
                  "reported reported reported reported reported reported "
                  "reported reported reported reported reported reported");
    gev_group_free(p);
}

static void *kill_self(void *arg)
{
    expect_true(is_cancelled(gev_kill(gev_current(), 0)));
    ended++;
    return arg;
}

static void *exit_early(void *arg)
{
    ended++;
    gev_exit(arg);
}

/* However they end. */
GEV_TEST(no_end_leaks_a_slot)
{
    reset();
    gev_group *p = gev_pool_new(1);
    expect_not_null(gev_group_spawn(p, kill_self, NULL));
    expect_not_null(gev_group_spawn(p, exit_early, NULL));
    gev_greenlet *g = gev_group_spawn(p, count_end, NULL);
    expect_ok(gev_kill(g, 0)); /* unstarted */
    expect_uint_eq(gev_group_free_count(p), 1);
    g = gev_group_spawn(p, count_end, NULL);
    expect_ok(gev_throw(g, EIO));
    expect_uint_eq(gev_group_free_count(p), 1);
    g = gev_spawn_later(60, count_end, NULL);
    expect_ok(gev_group_add(p, g));
    expect_ok(gev_kill(g, 0));
    expect_uint_eq(gev_group_free_count(p), 1);
    gev_unref(g);
    expect_int_eq(ended, 2);
    gev_group_free(p);
}

/* POL9: at once, though it runs on. */
GEV_TEST(discard_frees_the_slot_of_one_that_runs)
{
    reset();
    gev_group *p = gev_pool_new(1);
    gev_greenlet *g = gev_ref(gev_group_spawn(p, work, P(5)));
    expect_ok(gev_yield());
    expect_ok(gev_group_discard(p, g));
    expect_uint_eq(gev_group_free_count(p), 1);
    expect_not_null(gev_group_spawn(p, count_end, NULL));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(ended, 2);
    gev_unref(g);
    gev_group_free(p);
}

/* --- from the hub ----------------------------------------------------------
 */

static void spawn_in_callback(gev_greenlet *g, void *arg)
{
    (void)g;
    (void)arg;
    trace(gev_group_spawn(pool, work, P(1)) != NULL ? "spawned"
                                                    : gev_strerror(errno));
}

/* What would park is EPERM there; what need not goes through. */
GEV_TEST(a_callback_may_spawn_while_there_is_room)
{
    reset();
    pool = gev_pool_new(1);
    gev_greenlet *g = gev_spawn(count_end, NULL);
    expect_ok(gev_rawlink(g, spawn_in_callback, NULL));
    expect_ok(gev_rawlink(g, spawn_in_callback, NULL));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "spawned Operation not permitted");
    expect_ok(gev_group_join(pool, GEV_FOREVER));
    expect_int_eq(ended, 2);
    gev_unref(g);
    gev_group_free(pool);
}

static void kill_in_callback(gev_greenlet *g, void *arg)
{
    (void)g;
    (void)arg;
    expect_fail(gev_group_join(pool, 1), EPERM);
    expect_fail(gev_group_join(pool, 0), ETIMEDOUT);
    expect_fail(gev_group_kill(pool, 1), EPERM);
}

GEV_TEST(a_callback_may_kill_but_not_wait)
{
    reset();
    pool = gev_pool_new(1);
    expect_not_null(gev_group_spawn(pool, park_forever, NULL));
    gev_greenlet *g = gev_spawn(count_end, NULL);
    expect_ok(gev_rawlink(g, kill_in_callback, NULL));
    expect_ok(gev_group_join(pool, GEV_FOREVER));
    gev_unref(g);
    gev_group_free(pool);
}

/* --- apply_async -----------------------------------------------------------
 */

/* POL11: never parks, though it is full; waits its turn. */
GEV_TEST(apply_async_never_parks)
{
    reset();
    enum { TASKS = 5 };
    gev_group *p = gev_pool_new(2);
    gev_result results[TASKS];
    for (int i = 0; i < TASKS; i++) {
        gev_result_init(&results[i]);
        expect_ok(gev_group_apply_async(p, work, P(i + 1), &results[i]));
    }
    expect_int_eq(most, 0); /* nobody has run */
    expect_uint_eq(gev_group_count(p), 2);
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_int_eq(ended, TASKS);
    expect_int_eq(most, 2);
    for (int i = 0; i < TASKS; i++) {
        void *value = NULL;
        expect_ok(gev_result_get(&results[i], &value, 0));
        expect_int_eq(N(value), i + 1);
        expect_ok(gev_result_fini(&results[i]));
    }
    gev_group_free(p);
}

/* POL11: a failure is the result's; without one nobody cares. */
GEV_TEST(apply_async_hands_on_failures)
{
    reset();
    gev_group *p = gev_pool_new(1);
    gev_result r = {0};
    expect_fail(gev_group_apply_async(NULL, count_end, NULL, &r), EINVAL);
    expect_fail(gev_group_apply_async(p, NULL, NULL, &r), EINVAL);
    expect_ok(gev_group_apply_async(p, count_end, NULL, NULL));
    expect_ok(gev_group_apply_async(p, fail_with, P(EIO), &r));
    expect_fail(gev_result_get(&r, NULL, GEV_FOREVER), EIO);
    expect_int_eq(ended, 1);
    expect_int_eq(gev_group_error(p), EIO);
    gev_group_free(p);
}

static void *trace_it(void *number)
{
    trace_number(N(number));
    (void)gev_sleep(0.001);
    return NULL;
}

static void *spawn_it(void *number)
{
    expect_not_null(gev_group_spawn(pool, trace_it, number));
    return NULL;
}

/* In one line with those who are parked for a slot. */
GEV_TEST(apply_async_and_spawn_wait_in_one_line)
{
    reset();
    pool = gev_pool_new(1);
    expect_not_null(gev_group_spawn(pool, trace_it, P(0)));
    gev_greenlet *g[2];
    g[0] = gev_spawn(spawn_it, P(1));
    expect_ok(gev_yield());
    expect_ok(gev_group_apply_async(pool, trace_it, P(2), NULL));
    g[1] = gev_spawn(spawn_it, P(3));
    expect_ok(gev_yield());
    expect_ok(gev_group_apply_async(pool, trace_it, P(4), NULL));
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    expect_ok(gev_group_join(pool, GEV_FOREVER));
    expect_str_eq(trace_text(), "0 1 2 3 4");
    gev_unrefall(g, 2);
    gev_group_free(pool);
}

/* Killed with the group, running or not. */
GEV_TEST(apply_async_ends_with_its_group)
{
    reset();
    gev_group *p = gev_pool_new(1);
    gev_result r[4] = {{{0}}};
    expect_ok(gev_group_apply_async(p, park_forever, NULL, &r[0]));
    expect_ok(gev_group_apply_async(p, count_end, NULL, &r[1]));
    expect_ok(gev_yield());
    expect_ok(gev_group_kill(p, GEV_FOREVER));
    expect_fail(gev_result_get(&r[0], NULL, 0), ECANCELED);
    expect_fail(gev_result_get(&r[1], NULL, 0), ECANCELED);
    expect_ok(gev_group_apply_async(p, park_forever, NULL, &r[2]));
    expect_ok(gev_group_apply_async(p, count_end, NULL, &r[3]));
    gev_group_free(p);
    expect_fail(gev_result_get(&r[2], NULL, 0), ECANCELED);
    expect_fail(gev_result_get(&r[3], NULL, 0), ECANCELED);
    expect_int_eq(ended, 0);
    p = gev_pool_new(1);
    expect_ok(gev_group_apply_async(p, park_forever, NULL, NULL));
    expect_ok(gev_group_apply_async(p, count_end, NULL, NULL));
    expect_ok(gev_hub_close());
    expect_int_eq(ended, 0);
    gev_group_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_of_nothing_is_einval),
        cmocka_unit_test(a_pool_runs_so_many_at_once),
        cmocka_unit_test(full_and_free_count_tell_of_slots),
        cmocka_unit_test(slots_are_given_in_order),
        cmocka_unit_test(a_given_slot_is_not_free),
        cmocka_unit_test(a_slot_that_meets_a_kill_is_not_lost),
        cmocka_unit_test(add_to_a_full_pool_can_be_given_up),
        cmocka_unit_test(an_add_that_came_too_late_takes_no_slot),
        cmocka_unit_test(wait_available_tells_the_truth),
        cmocka_unit_test(wait_available_takes_nothing_from_spawners),
        cmocka_unit_test(a_slot_is_free_when_its_member_ends),
        cmocka_unit_test(errors_in_links_and_handlers_leak_no_slot),
        cmocka_unit_test(no_end_leaks_a_slot),
        cmocka_unit_test(discard_frees_the_slot_of_one_that_runs),
        cmocka_unit_test(a_callback_may_spawn_while_there_is_room),
        cmocka_unit_test(a_callback_may_kill_but_not_wait),
        cmocka_unit_test(apply_async_never_parks),
        cmocka_unit_test(apply_async_hands_on_failures),
        cmocka_unit_test(apply_async_and_spawn_wait_in_one_line),
        cmocka_unit_test(apply_async_ends_with_its_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
