/* SPDX-License-Identifier: MIT */

/* Fault sweeps over locals, spawn hooks, paces and gev_foreach: without memory
 * the call says so, and what was there before is as it was. */
#include <gev.h>

#include "support/fault_sweep.h"
#include "support/trace.h"

static const struct fault_case memory[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
    {"maps", FAULT_AT(MMAP), ENOMEM, .may_succeed = true, .allowed = {ENOMEM}},
};

/* Run as often as the library gets that far at all. */
static const struct fault_case every_allocation[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .allowed = {ENOMEM}},
};

#define SWEEP(scenario, cases, flags)                                          \
    (void)fault_sweep((scenario), NULL, (cases), gev__array_len(cases), (flags))

static int failed(int error)
{
    errno = error;
    return -1;
}

/* --- locals --------------------------------------------------------------- */

#define N_KEYS 20

static gev_local keys[N_KEYS];
static int destroyed;

static void count_destroyed(void *value)
{
    (void)value;
    destroyed++;
}

/* Sets as many as there is memory for: those are there, and no other. Returns
 * the first error. */
static int set_values(int *ret_n)
{
    int error = 0;

    *ret_n = 0;
    for (int i = 0; i < N_KEYS; i++) {
        if (gev_local_set(keys[i], P(i + 1)) == 0) {
            ++*ret_n;
            expect_int_eq(N(gev_local_get(keys[i])), i + 1);
        } else {
            error = error != 0 ? error : errno;
            expect_null(gev_local_get(keys[i]));
        }
        for (int k = 0; k < i; k++) {
            void *value = gev_local_get(keys[k]);
            expect_true(value == NULL || N(value) == k + 1);
        }
    }
    return error;
}

static void *set_values_in_greenlet(void *arg)
{
    return P(set_values(arg));
}

static int set_and_end(void *arg)
{
    (void)arg;
    int n = 0;
    void *error = NULL;
    destroyed = 0;
    gev_greenlet *g = gev_spawn(set_values_in_greenlet, &n);
    if (g == NULL) {
        return -1;
    }
    int rc = gev_get(g, &error, GEV_FOREVER);
    int join_error = errno;
    gev_unref(g);
    if (rc < 0) {
        return failed(join_error);
    }
    expect_int_eq(destroyed, n);
    return error == NULL ? 0 : failed(N(error));
}

static void make_keys(void)
{
    for (int i = 0; i < N_KEYS; i++) {
        expect_ok(gev_local_create(&keys[i], count_destroyed));
    }
}

static void delete_keys(void)
{
    for (int i = 0; i < N_KEYS; i++) {
        expect_ok(gev_local_delete(keys[i]));
    }
}

GEV_TEST(locals_survive)
{
    make_keys();
    SWEEP(set_and_end, memory, FAULT_WARM);
    delete_keys();
}

/* In main, which is there: every allocation is a table's, and is missed. */
static int set_in_main(void *arg)
{
    int n = 0;
    int error = set_values(&n);

    (void)arg;
    destroyed = 0;
    expect_ok(gev_hub_close());
    expect_int_eq(destroyed, n);
    return error == 0 ? 0 : failed(error);
}

GEV_TEST(mains_locals_survive)
{
    make_keys();
    SWEEP(set_in_main, every_allocation, FAULT_WARM);
    delete_keys();
}

/* --- hooks, paces, foreach ------------------------------------------------ */

static void ignore_spawn(gev_greenlet *g, void *arg)
{
    (void)g;
    ++*(int *)arg;
}

static int add_hook_and_spawn(void *arg)
{
    int count = 0;
    int rc = gev_add_spawn_hook(ignore_spawn, &count);
    int error = errno;

    gev_greenlet *g = gev_spawn(return_arg, arg);
    if (g == NULL) {
        error = rc < 0 ? error : errno;
        rc = -1;
        expect_int_eq(count, 0);
    } else {
        expect_int_eq(count, rc == 0 ? 1 : 0);
    }
    gev_unref(g);
    (void)gev_yield();
    expect_ok(gev_remove_spawn_hook(ignore_spawn, &count));
    return rc == 0 ? 0 : failed(error);
}

GEV_TEST(spawn_hooks_survive)
{
    SWEEP(add_hook_and_spawn, memory, FAULT_WARM);
}

static int begin_and_end_pace(void *arg)
{
    gev_pace pace;

    (void)arg;
    if (gev_pace_begin(&pace, 1) < 0) {
        int error = errno;
        expect_false(gev_pace_end(&pace));
        return failed(error);
    }
    (void)gev_pace_end(&pace);
    return 0;
}

GEV_TEST(paces_survive)
{
    SWEEP(begin_and_end_pace, every_allocation, FAULT_WARM);
}

static int see(gev_greenlet *g, void *arg)
{
    (void)g;
    ++*(int *)arg;
    return 0;
}

static int see_all(void *arg)
{
    int n = 0;
    int rc = gev_foreach(see, &n);

    (void)arg;
    expect_int_eq(n, rc == 0 ? 1 : 0);
    return rc;
}

GEV_TEST(foreach_survives)
{
    SWEEP(see_all, every_allocation, FAULT_WARM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(locals_survive),
        cmocka_unit_test(mains_locals_survive),
        cmocka_unit_test(spawn_hooks_survive),
        cmocka_unit_test(paces_survive),
        cmocka_unit_test(foreach_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
