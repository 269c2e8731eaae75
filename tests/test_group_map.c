/* SPDX-License-Identifier: MIT */

/* Work in a group whose caller waits for it: apply and map (POL10, POL12). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

static int running;
static int most;
static int begun;
static int ended;

static void reset(void)
{
    running = 0;
    most = 0;
    begun = 0;
    ended = 0;
    trace_reset();
    gev_set_error_handler(ignore_error, NULL);
}

/* Sleeps so many ms and returns 10 times that; -n fails with n at once. */
static void *work(void *ms)
{
    begun++;
    if (N(ms) < 0) {
        return gev_fail(-N(ms));
    }
    running++;
    most = running > most ? running : most;
    int rc = gev_sleep(N(ms) / 1000.0);
    int error = errno;
    running--;
    if (rc != 0) {
        return gev_fail(error);
    }
    ended++;
    return P(N(ms) * 10);
}

static void *return_100_at(void *event)
{
    begun++;
    expect_ok(gev_event_wait(event, GEV_FOREVER));
    return P(100);
}

static void *die_slowly(void *arg)
{
    (void)gev_sleep(GEV_FOREVER);
    gev_shield_begin();
    (void)gev_sleep(0.01);
    gev_shield_end();
    ended++;
    return arg;
}

/* --- apply -----------------------------------------------------------------
 */

/* POL10: waits for the value, or gives the error. */
GEV_TEST(apply_gives_the_value_or_the_error)
{
    reset();
    gev_group *p = gev_pool_new(1);
    void *value = NULL;
    expect_ok(gev_group_apply(p, work, P(1), &value));
    expect_int_eq(N(value), 10);
    expect_ok(gev_group_apply(p, work, P(1), NULL));
    expect_fail(gev_group_apply(p, work, P(-EIO), &value), EIO);
    expect_int_eq(N(value), 10);
    expect_fail(gev_group_apply(NULL, work, P(1), &value), EINVAL);
    expect_fail(gev_group_apply(p, NULL, P(1), &value), EINVAL);
    expect_uint_eq(gev_group_free_count(p), 1);
    int (*plain)(gev_group *, gev_fn, void *, void **) = gev_group_apply;
    expect_ok(plain(p, work, P(2), &value));
    expect_int_eq(N(value), 20);
    gev_group_free(p);
}

static gev_group *pool;

static void *name_of_caller(void *arg)
{
    (void)arg;
    return (void *)(uintptr_t)gev_name(gev_current());
}

static void *apply_within(void *depth)
{
    void *value = P(-1);
    if (N(depth) == 0) {
        expect_fail(gev_group_apply(pool, fail_with, P(EIO), &value), EIO);
        expect_int_eq(N(value), -1);
        expect_fail(gev_group_apply(pool, NULL, NULL, &value), EINVAL);
        expect_ok(gev_group_apply(pool, name_of_caller, NULL, NULL));
        expect_ok(gev_group_apply(pool, name_of_caller, NULL, &value));
        return value;
    }
    expect_ok(gev_group_apply(pool, apply_within, P(N(depth) - 1), &value));
    return value;
}

/* POL10: "from a member of the same pool runs fn in place": a pool of one does
 * not lock up. */
GEV_TEST(apply_from_a_member_runs_in_place)
{
    reset();
    pool = gev_pool_new(1);
    void *name = NULL;
    expect_ok(gev_group_apply(pool, apply_within, P(3), &name));
    expect_str_eq((const char *)name, "apply_within");
    gev_group_free(pool);
}

static void *apply_slow(void *arg)
{
    int rc = gev_group_apply(pool, die_slowly, NULL, NULL);
    trace(rc == 0 ? "0" : gev_strerror(errno));
    trace_number(ended);
    return arg;
}

/* A caller that is killed leaves no task behind. */
GEV_TEST(a_killed_apply_kills_and_joins_its_task)
{
    reset();
    pool = gev_pool_new(1);
    gev_greenlet *g = gev_spawn(apply_slow, NULL);
    expect_ok(gev_yield());
    expect_ok(gev_yield());
    expect_uint_eq(gev_group_count(pool), 1);
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "Operation canceled 1");
    expect_uint_eq(gev_group_count(pool), 0);
    gev_unref(g);
    gev_group_free(pool);
}

/* The same for a scope; and while it waits for its slot. */
GEV_TEST(apply_can_be_timed_out)
{
    reset();
    pool = gev_pool_new(1);
    gev_timeout scope;
    expect_ok(gev_timeout_begin(&scope, 0.002));
    expect_fail(gev_group_apply(pool, die_slowly, NULL, NULL), ETIMEDOUT);
    expect_true(gev_timeout_end(&scope));
    expect_int_eq(ended, 1);
    expect_not_null(gev_group_spawn(pool, die_slowly, NULL));
    expect_ok(gev_timeout_begin(&scope, 0.002));
    expect_fail(gev_group_apply(pool, work, P(1), NULL), ETIMEDOUT);
    expect_true(gev_timeout_end(&scope));
    expect_int_eq(begun, 0);
    gev_group_free(pool);
}

/* --- map -------------------------------------------------------------------
 */

enum { MANY = 30 };

/* POL12: in order, whoever is first to end; no more at once than slots. */
GEV_TEST(map_keeps_the_order_and_the_limit)
{
    reset();
    gev_group *p = gev_pool_new(4);
    void *in[MANY];
    void *out[MANY];
    for (int i = 0; i < MANY; i++) {
        in[i] = P((i * 7) % 5);
        out[i] = NULL;
    }
    expect_ok(gev_group_map(p, work, in, out, MANY));
    expect_int_eq(most, 4);
    expect_uint_eq(gev_group_free_count(p), 4);
    for (int i = 0; i < MANY; i++) {
        expect_int_eq(N(out[i]), (i * 7) % 5 * 10);
    }
    expect_ok(gev_group_map(p, work, in, in, MANY)); /* in place */
    expect_int_eq(N(in[1]), 20);
    expect_ok(gev_group_map(p, work, out, NULL, 1));
    gev_group_free(p);
}

/* Over a group without a limit all run at once. */
GEV_TEST(map_over_a_group_has_no_limit)
{
    reset();
    gev_group *p = gev_group_new();
    void *in[MANY];
    for (int i = 0; i < MANY; i++) {
        in[i] = P(5);
    }
    expect_ok(gev_group_map(p, work, in, NULL, MANY));
    expect_int_eq(most, MANY);
    gev_group_free(p);
}

/* "n = 0 takes NULL arrays". */
GEV_TEST(map_of_nothing_needs_no_arrays)
{
    reset();
    gev_group *p = gev_pool_new(1);
    void *in[1] = {P(1)};
    gev_greenlet *g = gev_spawn(trace_and_return, "other");
    expect_ok(gev_group_map(p, work, NULL, NULL, 0));
    expect_str_eq(trace_text(), "");
    expect_fail(gev_group_map(p, work, NULL, NULL, 1), EINVAL);
    expect_fail(gev_group_map(p, NULL, in, NULL, 1), EINVAL);
    expect_fail(gev_group_map(p, NULL, NULL, NULL, 0), EINVAL);
    expect_fail(gev_group_map(NULL, work, in, NULL, 1), EINVAL);
    expect_fail(gev_group_map(p, work, in, in, SIZE_MAX / 8), ENOMEM);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    gev_group_free(p);
}

/* POL12: "the first error stops it": no more begin, those that run are killed
 * and gone; out is untouched. */
GEV_TEST(map_stops_at_the_first_error)
{
    reset();
    gev_group *p = gev_pool_new(3);
    gev_event go;
    gev_event_init(&go);
    gev_greenlet *other = gev_ref(gev_group_spawn(p, return_100_at, &go));
    void *in[] = {P(1), P(60000), P(2), P(-EIO), P(-EPIPE), P(1)};
    void *out[] = {P(7), P(7), P(7), P(7), P(7), P(7)};
    expect_fail(gev_group_map(p, work, in, out, 6), EIO);
    expect_le(begun, 6); /* with the other one */
    expect_uint_eq(gev_group_count(p), 1);
    for (int i = 0; i < 6; i++) {
        expect_int_eq(N(out[i]), 7);
    }
    gev_event_set(&go);
    expect_ok(gev_join(other, GEV_FOREVER));
    expect_int_eq(N(gev_value(other)), 100); /* not ours: unharmed */
    gev_unref(other);
    gev_group_free(p);
}

static void *map_and_trace(void *arg)
{
    void *in[] = {P(60000), P(60000), P(60000)};
    int rc = gev_group_map(pool, work, in, NULL, 3);
    trace(rc == 0 ? "0" : gev_strerror(errno));
    trace_number(running);
    return arg;
}

/* "When its caller is killed its tasks are killed", and gone: in both places
 * where it can wait. */
GEV_TEST(a_killed_map_kills_its_tasks)
{
    for (size_t slots = 2; slots <= 3; slots++) {
        reset();
        pool = gev_pool_new(slots);
        gev_greenlet *g = gev_spawn(map_and_trace, NULL);
        expect_ok(gev_sleep(0.002));
        expect_int_eq(running, slots);
        expect_ok(gev_kill(g, GEV_FOREVER));
        expect_str_eq(trace_text(), "Operation canceled 0");
        expect_uint_eq(gev_group_free_count(pool), slots);
        gev_unref(g);
        gev_group_free(pool);
    }
}

/* The same for a scope. */
GEV_TEST(map_can_be_timed_out)
{
    reset();
    gev_group *p = gev_pool_new(2);
    void *in[] = {P(1), P(60000), P(60000)};
    gev_timeout scope;
    expect_ok(gev_timeout_begin_error(&scope, 0.005, EAGAIN));
    expect_fail(gev_group_map(p, work, in, NULL, 3), EAGAIN);
    expect_true(gev_timeout_end(&scope));
    expect_uint_eq(gev_group_count(p), 0);
    gev_group_free(p);
}

/* The group ends under it: its tasks are killed, it says so. One that waits for
 * a slot is told that there will be none. */
GEV_TEST(a_map_ends_with_its_group)
{
    reset();
    pool = gev_pool_new(2);
    gev_greenlet *g = gev_spawn(map_and_trace, NULL);
    expect_ok(gev_sleep(0.002));
    expect_ok(gev_group_kill(pool, GEV_FOREVER));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "Operation canceled 0");
    gev_unref(g);
    g = gev_spawn(map_and_trace, NULL);
    expect_ok(gev_sleep(0.002));
    gev_group_free(pool);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "Operation canceled 0 Broken pipe 0");
    gev_unref(g);
}

static void *map_within(void *arg)
{
    void *in[] = {P(1), P(2), P(3)};
    void *out[3] = {NULL, NULL, NULL};
    expect_ok(gev_group_map(pool, work, in, out, 3));
    expect_int_eq(N(out[0]) + N(out[1]) + N(out[2]), 60);
    in[1] = P(-EIO);
    expect_fail(gev_group_map(pool, work, in, out, 3), EIO);
    return arg;
}

/* A member needs no slot: what it finds none for it runs itself. */
GEV_TEST(map_from_a_member_does_not_lock_up)
{
    for (size_t slots = 1; slots <= 3; slots++) {
        reset();
        pool = gev_pool_new(slots);
        expect_ok(gev_group_apply(pool, map_within, NULL, NULL));
        expect_uint_eq(gev_group_count(pool), 0);
        expect_le(most, slots);
        gev_group_free(pool);
    }
}

static void *exit_here(void *arg)
{
    gev_exit(arg);
}

static void *map_and_exit(void *arg)
{
    void *in[] = {NULL, NULL};
    (void)gev_group_map(pool, exit_here, in, NULL, 2);
    expect_never("it goes on");
    return arg;
}

/* A task that ends its greenlet ends the caller's, if it runs in place; and
 * nothing is left of the call. */
GEV_TEST(a_task_in_place_may_exit)
{
    reset();
    pool = gev_pool_new(1);
    expect_not_null(gev_group_spawn(pool, map_and_exit, NULL));
    expect_ok(gev_group_join(pool, GEV_FOREVER));
    expect_uint_eq(gev_group_free_count(pool), 1);
    gev_group_free(pool);
}

static void *discard_self(void *arg)
{
    expect_ok(gev_group_discard(pool, gev_current()));
    expect_ok(gev_sleep(0.002));
    return arg;
}

/* Out of the group, a task is still its caller's. */
GEV_TEST(a_discarded_task_still_has_a_result)
{
    reset();
    pool = gev_pool_new(1);
    void *in[] = {P(1), P(2)};
    void *out[2] = {NULL, NULL};
    expect_ok(gev_group_map(pool, discard_self, in, out, 2));
    expect_int_eq(N(out[0]) + N(out[1]), 3);
    expect_uint_eq(gev_group_free_count(pool), 1);
    gev_group_free(pool);
}

/* Maps of several greenlets share the slots. */
static void *map_some(void *ms)
{
    void *in[] = {ms, ms, ms, ms, ms};
    expect_ok(gev_group_map(pool, work, in, NULL, 5));
    return ms;
}

GEV_TEST(several_may_map_at_once)
{
    reset();
    pool = gev_pool_new(3);
    gev_greenlet *g[4];
    for (int i = 0; i < 4; i++) {
        g[i] = gev_spawn(map_some, P(i));
    }
    expect_int_eq(gev_joinall(g, 4, GEV_FOREVER), 4);
    expect_int_eq(ended, 20);
    expect_int_eq(most, 3);
    gev_unrefall(g, 4);
    gev_group_free(pool);
}

static void *park_shielded(void *arg)
{
    gev_shield_begin();
    (void)gev_sleep(GEV_FOREVER);
    return arg;
}

static void *map_stubborn(void *arg)
{
    void *in[] = {NULL, NULL};
    (void)gev_group_map(pool, park_shielded, in, NULL, 2);
    (void)gev_group_apply(pool, park_shielded, NULL, NULL);
    return arg;
}

/* With tasks that never end there is no waiting for them. */
GEV_TEST(a_map_lets_go_when_its_hub_is_closed)
{
    reset();
    pool = gev_group_new();
    expect_ok(gev_spawn_raw(map_stubborn, NULL));
    expect_ok(gev_yield());
    expect_ok(gev_yield());
    expect_uint_eq(gev_group_count(pool), 2);
    expect_ok(gev_hub_close());
    expect_uint_eq(gev_group_count(pool), 0);
    gev_group_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(apply_gives_the_value_or_the_error),
        cmocka_unit_test(apply_from_a_member_runs_in_place),
        cmocka_unit_test(a_killed_apply_kills_and_joins_its_task),
        cmocka_unit_test(apply_can_be_timed_out),
        cmocka_unit_test(map_keeps_the_order_and_the_limit),
        cmocka_unit_test(map_over_a_group_has_no_limit),
        cmocka_unit_test(map_of_nothing_needs_no_arrays),
        cmocka_unit_test(map_stops_at_the_first_error),
        cmocka_unit_test(a_killed_map_kills_its_tasks),
        cmocka_unit_test(map_can_be_timed_out),
        cmocka_unit_test(a_map_ends_with_its_group),
        cmocka_unit_test(map_from_a_member_does_not_lock_up),
        cmocka_unit_test(a_task_in_place_may_exit),
        cmocka_unit_test(a_discarded_task_still_has_a_result),
        cmocka_unit_test(several_may_map_at_once),
        cmocka_unit_test(a_map_lets_go_when_its_hub_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
