/* SPDX-License-Identifier: MIT */

/* Fault sweeps over groups: every allocation and mapping fails once, or from
 * then on; each call says so, no slot is lost, and nothing is left behind. */
#include <gev.h>

#include "support/fault_sweep.h"
#include "support/trace.h"

static const struct fault_case resources[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
    {"maps", FAULT_AT(MMAP), ENOMEM, .may_succeed = true, .allowed = {ENOMEM}},
};

#define SWEEP(scenario)                                                        \
    (void)fault_sweep((scenario), NULL, resources, gev__array_len(resources),  \
                      FAULT_WARM)

enum { SLOTS = 3, TASKS = 8 };

/* Works for a while without needing memory. */
static void *work(void *arg)
{
    (void)gev_yield();
    return arg;
}

/* All slots are free in the end, however it went. */
static int finish(gev_group *p, int rc)
{
    int error = errno;
    if (p != NULL) {
        expect_ok(gev_group_join(p, GEV_FOREVER));
        expect_uint_eq(gev_group_free_count(p), SLOTS);
        gev_group_free(p);
    }
    errno = error;
    return rc;
}

static int spawn_many(void *arg)
{
    gev_group *p = gev_pool_new(SLOTS);
    int rc = p == NULL ? -1 : 0;
    for (int i = 0; i < TASKS && rc == 0; i++) {
        rc = gev_group_spawn(p, work, arg) == NULL ? -1 : 0;
    }
    return finish(p, rc);
}

GEV_TEST(spawn_survives)
{
    SWEEP(spawn_many);
}

static int make_group(void *arg)
{
    gev_group *p = gev_group_new();
    (void)arg;
    if (p == NULL) {
        return -1;
    }
    int rc = gev_group_spawn(p, work, NULL) == NULL ? -1 : 0;
    int error = errno;
    gev_group_free(p); /* kills it, with no memory at all if need be */
    errno = error;
    return rc;
}

GEV_TEST(new_and_free_survive)
{
    SWEEP(make_group);
}

static int add_one(void *arg)
{
    gev_group *p = gev_pool_new(SLOTS);
    if (p == NULL) {
        return -1;
    }
    gev_greenlet *g = gev_spawn(work, arg);
    int rc = g == NULL ? -1 : gev_group_add(p, g);
    if (rc < 0) {
        int error = errno;
        expect_uint_eq(gev_group_free_count(p), SLOTS);
        errno = error;
    }
    rc = finish(p, rc);
    int error = errno;
    if (g != NULL) {
        expect_ok(gev_join(g, GEV_FOREVER));
        gev_unref(g);
    }
    errno = error;
    return rc;
}

GEV_TEST(add_survives)
{
    SWEEP(add_one);
}

static gev_group *pool;

static void *spawn_one(void *arg)
{
    return gev_group_spawn(pool, work, arg) == NULL ? gev_fail(errno) : arg;
}

/* A slot given to somebody who then finds no memory goes to the next. */
static int spawn_in_line(void *arg)
{
    gev_greenlet *g[SLOTS] = {NULL};
    gev_set_error_handler(ignore_error, NULL);
    pool = gev_pool_new(SLOTS);
    int rc = pool == NULL ? -1 : 0;
    for (int i = 0; i < SLOTS && rc == 0; i++) {
        rc = gev_group_spawn(pool, work, arg) == NULL ? -1 : 0;
    }
    for (int i = 0; i < SLOTS && rc == 0; i++) {
        g[i] = gev_spawn(spawn_one, arg);
        rc = g[i] == NULL ? -1 : 0;
    }
    int error = errno;
    for (int i = 0; i < SLOTS; i++) {
        if (g[i] != NULL) {
            expect_ok(gev_join(g[i], GEV_FOREVER));
            if (gev_error(g[i]) != 0) {
                rc = -1;
                error = gev_error(g[i]);
            }
            gev_unref(g[i]);
        }
    }
    errno = error;
    return finish(pool, rc);
}

GEV_TEST(those_who_wait_survive)
{
    SWEEP(spawn_in_line);
}

static int queue_many(void *arg)
{
    gev_result results[TASKS];
    gev_group *p = gev_pool_new(SLOTS);
    int rc = p == NULL ? -1 : 0;
    int n = 0;
    for (; n < TASKS && rc == 0; n++) {
        gev_result_init(&results[n]);
        rc = gev_group_apply_async(p, work, arg, &results[n]);
    }
    n -= rc < 0;
    int error = errno;
    for (int i = 0; i < n; i++) {
        /* Each is settled, if only with ENOMEM. */
        int rc_i = gev_result_get(&results[i], NULL, 1);
        if (rc_i < 0) {
            rc = -1;
            error = errno;
        }
    }
    errno = error;
    return finish(p, rc);
}

GEV_TEST(apply_async_survives)
{
    SWEEP(queue_many);
}

static int map_many(void *arg)
{
    void *values[TASKS];
    (void)arg;
    for (int i = 0; i < TASKS; i++) {
        values[i] = P(i);
    }
    gev_group *p = gev_pool_new(SLOTS);
    int rc = p == NULL ? -1 : gev_group_map(p, work, values, values, TASKS);
    if (rc == 0) {
        rc = gev_group_apply(p, work, P(TASKS), &values[0]);
    }
    for (int i = 1; i < TASKS; i++) {
        expect_int_eq(N(values[i]), i);
    }
    return finish(p, rc);
}

GEV_TEST(map_and_apply_survive)
{
    SWEEP(map_many);
}

static void *map_within(void *arg)
{
    void *in[SLOTS] = {arg, arg, arg};
    int rc = gev_group_map(pool, work, in, in, SLOTS);
    return rc == 0 ? arg : gev_fail(errno);
}

static int map_from_members(void *arg)
{
    void *in[SLOTS] = {arg, arg, arg};
    gev_set_error_handler(ignore_error, NULL);
    pool = gev_pool_new(SLOTS);
    int rc = pool == NULL ? -1 : gev_group_map(pool, map_within, in, in, SLOTS);
    return finish(pool, rc);
}

GEV_TEST(map_from_a_member_survives)
{
    SWEEP(map_from_members);
}

static int next_number(void *arg, void **item)
{
    int *left = arg;
    *item = P(*left);
    return (*left)-- > 0;
}

/* Each item comes out, as a value or as ENOMEM; then the end, or the source's
 * ENOMEM. */
static int read_all(gev_imap *it)
{
    int rc;
    int failed = 0;
    int n = 0;
    while ((rc = gev_imap_next(it, NULL)) != 0 && n < 2 * TASKS) {
        n++;
        if (rc < 0) {
            failed = errno;
        }
    }
    expect_int_eq(rc, 0);
    expect_true(n == TASKS || failed != 0);
    errno = failed;
    return failed != 0 ? -1 : 0;
}

static int imap_all(void *arg)
{
    for (int kind = 0; kind < 4; kind++) {
        int left = TASKS;
        gev_group *p = gev_pool_new(SLOTS);
        gev_imap *it = p == NULL
                           ? NULL
                           : gev_group_imap(p, work, next_number, &left,
                                            kind < 2 ? 0 : 2, kind % 2 == 0);
        int rc = it == NULL ? -1 : read_all(it);
        int error = errno;
        gev_imap_free(it);
        errno = error;
        rc = finish(p, rc);
        if (rc < 0) {
            return rc;
        }
    }
    return arg == NULL ? 0 : -1;
}

GEV_TEST(imap_survives)
{
    SWEEP(imap_all);
}

/* Kills, failing fast and waiting need no memory. */
static int end_all(void *arg)
{
    gev_group *p = gev_pool_new(SLOTS);
    int rc = p == NULL ? -1 : 0;
    for (int i = 0; i < SLOTS && rc == 0; i++) {
        gev_fn fn = i == 0 ? fail_with : park_forever;
        rc = gev_group_spawn(p, fn, P(EIO)) == NULL ? -1 : 0;
    }
    if (rc == 0) {
        gev_set_error_handler(ignore_error, NULL);
        expect_fail(gev_group_join_error(p, GEV_FOREVER), EIO);
        expect_uint_eq(gev_group_free_count(p), SLOTS);
        errno = ENOMEM;
        rc = gev_group_spawn(p, park_forever, arg) == NULL ? -1 : 0;
    }
    int error = errno;
    if (p != NULL) {
        expect_ok(gev_group_kill(p, GEV_FOREVER));
    }
    errno = error;
    return finish(p, rc);
}

GEV_TEST(kill_and_fail_fast_need_no_memory)
{
    SWEEP(end_all);
}

/* Records are used again: once it has been full, a pool needs no memory. */
GEV_TEST(a_steady_pool_allocates_nothing)
{
    int left = 1000;
    pool = gev_pool_new(SLOTS);
    gev_imap *it = gev_group_imap(pool, work, next_number, &left, SLOTS, true);
    for (int i = 0; i < 1000; i++) {
        if (i == 2 * SLOTS) {
            gev__fault_arm(FAULT_AT(ALLOC), 0, ENOMEM, false);
        }
        expect_not_null(gev_group_spawn(pool, work, NULL));
        expect_ok(gev_group_apply_async(pool, work, NULL, NULL));
        expect_int_eq(gev_imap_next(it, NULL), 1);
        expect_ok(gev_group_join(pool, GEV_FOREVER));
    }
    expect_uint_eq(gev__fault_calls(FAULT_AT(ALLOC)), 0);
    expect_uint_eq(gev__fault_disarm(), 0);
    gev_imap_free(it);
    gev_group_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_and_free_survive),
        cmocka_unit_test(spawn_survives),
        cmocka_unit_test(add_survives),
        cmocka_unit_test(those_who_wait_survive),
        cmocka_unit_test(apply_async_survives),
        cmocka_unit_test(map_and_apply_survive),
        cmocka_unit_test(map_from_a_member_survives),
        cmocka_unit_test(imap_survives),
        cmocka_unit_test(kill_and_fail_fast_need_no_memory),
        cmocka_unit_test(a_steady_pool_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
