/* SPDX-License-Identifier: MIT */

/* What ends with a block: <gev/scoped.h>. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

static void *sleep_and_trace(void *word)
{
    if (gev_sleep(0.005) != 0) {
        trace("killed");
        return gev_fail(errno);
    }
    trace(word);
    return word;
}

/* Ends slowly when it is killed. */
static void *tidy_up(void *arg)
{
    expect_fail(gev_sleep(GEV_FOREVER), ECANCELED);
    gev_shield_begin();
    expect_ok(gev_sleep(0.005));
    gev_shield_end();
    trace("tidied");
    return arg;
}

static char slept[] = "slept";

static int join_in_a_block(int error)
{
    GEV_SCOPED_JOIN gev_greenlet *g = gev_spawn(sleep_and_trace, slept);

    expect_not_null(g);
    trace("body");
    errno = error;
    return -1;
}

/* GLT22: the normal exit of `with`. */
GEV_TEST(scoped_join_waits)
{
    trace_reset();
    expect_fail(join_in_a_block(ENOENT), ENOENT); /* errno is the body's */
    expect_str_eq(trace_text(), "body slept");
}

static int kill_in_a_block(int error)
{
    GEV_SCOPED_KILL gev_greenlet *g = gev_spawn(tidy_up, NULL);

    expect_ok(gev_yield());
    trace("body");
    errno = error;
    return -1;
}

/* GLT22: the exit by an error. */
GEV_TEST(scoped_kill_kills_and_waits)
{
    trace_reset();
    expect_fail(kill_in_a_block(ENOENT), ENOENT);
    expect_str_eq(trace_text(), "body tidied");
}

GEV_TEST(blocks_end_in_many_ways)
{
    trace_reset();
    for (int i = 0; i < 3; i++) {
        GEV_SCOPED_KILL gev_greenlet *g = gev_spawn(tidy_up, NULL);
        expect_ok(gev_yield());
        if (i == 0) {
            continue;
        }
        if (i == 1) {
            break;
        }
    }
    expect_str_eq(trace_text(), "tidied tidied");
    {
        GEV_SCOPED_KILL gev_greenlet *none = NULL;
        GEV_SCOPED_JOIN gev_greenlet *neither = NULL;
    }
    {
        GEV_SCOPED_KILL gev_greenlet *ended = gev_spawn(return_arg, NULL);
        expect_ok(gev_join(ended, GEV_FOREVER));
    }
    {
        GEV_SCOPED_KILL gev_greenlet *unstarted = gev_new(return_arg, NULL);
        expect_false(gev_dead(unstarted));
    }
}

static void *hold_two(void *arg)
{
    GEV_SCOPED_JOIN gev_greenlet *a = gev_spawn(tidy_up, NULL);
    GEV_SCOPED_KILL gev_greenlet *b = gev_spawn(tidy_up, NULL);

    expect_fail(gev_sleep(GEV_FOREVER), ECANCELED);
    trace("left");
    return arg;
}

/* GLT22: the join fails, for the joiner is killed: then it kills, and reaps all
 * the same. */
GEV_TEST(killed_owner_still_reaps)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(hold_two, NULL);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_true(gev_killed(g));
    expect_str_eq(trace_text(), "left tidied tidied");
    gev_unref(g);
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub_stats(gev_hub_get(), &stats);
    expect_uint_eq(stats.live, 0);
}

static void *never_ends(void *arg)
{
    return gev_sleep(GEV_FOREVER) == 0 ? arg : gev_fail(errno);
}

static int join_in_vain(void)
{
    GEV_SCOPED_JOIN gev_greenlet *g = gev_spawn(never_ends, NULL);

    (void)gev_yield(); /* where the machine is slow, the scope has expired */
    return 0;
}

GEV_TEST(expired_scope_still_reaps)
{
    gev_timeout t = {0};

    expect_ok(gev_timeout_begin(&t, 0.005));
    expect_ok(join_in_vain());
    expect_true(gev_timeout_end(&t));
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub_stats(gev_hub_get(), &stats);
    expect_uint_eq(stats.live, 0);
}

static void *hold_until_close(void *arg)
{
    GEV_SCOPED_JOIN gev_greenlet *g = gev_spawn(never_ends, NULL);

    expect_fail(gev_sleep(GEV_FOREVER), ECANCELED);
    return arg;
}

GEV_TEST(hub_close_ends_owner_and_owned)
{
    gev_greenlet *g = gev_spawn(hold_until_close, NULL);
    expect_ok(gev_yield());
    expect_ok(gev_yield());
    expect_ok(gev_hub_close());
    expect_true(gev_killed(g));
    gev_unref(g);
}

static void block_in_a_callback(void *arg)
{
    GEV_SCOPED_KILL gev_greenlet *g = gev_spawn(never_ends, NULL);

    *(bool *)arg = g != NULL;
}

/* Nobody can wait there: it is killed, and ends by itself. */
GEV_TEST(in_a_callback_it_only_kills)
{
    bool ran = false;

    expect_ok(gev_hub_post(gev_hub_get(), block_in_a_callback, &ran));
    expect_ok(gev_sleep(0.001));
    expect_true(ran);
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub_stats(gev_hub_get(), &stats);
    expect_uint_eq(stats.live, 0);
}

/* --- locks ---------------------------------------------------------------- */

static gev_lock lock;
static gev_rlock rlock;
static gev_semaphore semaphore;

static int lock_in_a_block(bool fail)
{
    GEV_SCOPED_LOCK(held, &lock, GEV_FOREVER);
    GEV_SCOPED_LOCK(rheld, &rlock, GEV_FOREVER);
    GEV_SCOPED_LOCK(unit, &semaphore, GEV_FOREVER);

    expect_true(held && rheld && unit);
    expect_true(gev_lock_locked(&lock));
    expect_true(gev_rlock_locked(&rlock));
    expect_true(gev_semaphore_locked(&semaphore));
    expect_ok(gev_yield());
    errno = ENOENT;
    return fail ? -1 : 0;
}

static void init_locks(void)
{
    gev_lock_init(&lock);
    gev_rlock_init(&rlock);
    gev_semaphore_init(&semaphore, 1, 1);
}

static void expect_all_free(void)
{
    expect_false(gev_lock_locked(&lock));
    expect_false(gev_rlock_locked(&rlock));
    expect_false(gev_semaphore_locked(&semaphore));
    expect_ok(gev_lock_fini(&lock));
    expect_ok(gev_rlock_fini(&rlock));
    expect_ok(gev_semaphore_fini(&semaphore));
}

/* LCK15 */
GEV_TEST(scoped_lock_is_held_to_the_end_of_the_block)
{
    init_locks();
    expect_ok(lock_in_a_block(false));
    expect_fail(lock_in_a_block(true), ENOENT);
    {
        GEV_SCOPED_LOCK(outer, &rlock, 0);
        GEV_SCOPED_LOCK(inner, &rlock, 0);
        expect_true(outer && inner);
        expect_true(gev_rlock_locked(&rlock));
    }
    expect_all_free();
}

static void *hold_lock(void *arg)
{
    GEV_SCOPED_LOCK(held, &lock, GEV_FOREVER);

    expect_true(held);
    (void)gev_sleep(GEV_FOREVER);
    return arg;
}

static void *wait_for_lock(void *arg)
{
    GEV_SCOPED_LOCK(held, &lock, GEV_FOREVER);

    expect_false(held);
    expect_int_eq(errno, ECANCELED);
    return arg;
}

/* LCK15: what was not acquired is not released. */
GEV_TEST(scoped_lock_that_is_not_got)
{
    init_locks();
    gev_greenlet *holder = gev_spawn(hold_lock, NULL);
    gev_greenlet *waiter = gev_spawn(wait_for_lock, NULL);
    expect_ok(gev_yield());
    {
        GEV_SCOPED_LOCK(held, &lock, 0.001);
        expect_false(held);
        expect_int_eq(errno, ETIMEDOUT);
    }
    expect_ok(gev_kill(waiter, GEV_FOREVER));
    expect_true(gev_lock_locked(&lock));
    expect_ok(gev_kill(holder, GEV_FOREVER)); /* which releases it */
    expect_all_free();
    gev_unref(holder);
    gev_unref(waiter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scoped_join_waits),
        cmocka_unit_test(scoped_kill_kills_and_waits),
        cmocka_unit_test(blocks_end_in_many_ways),
        cmocka_unit_test(killed_owner_still_reaps),
        cmocka_unit_test(expired_scope_still_reaps),
        cmocka_unit_test(hub_close_ends_owner_and_owned),
        cmocka_unit_test(in_a_callback_it_only_kills),
        cmocka_unit_test(scoped_lock_is_held_to_the_end_of_the_block),
        cmocka_unit_test(scoped_lock_that_is_not_got),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
