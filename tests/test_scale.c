/* SPDX-License-Identifier: MIT */

/* Many greenlets at once (S7, S9, T7). Slow. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <stdlib.h>
#include <unistd.h>

/* Fewer where every page counts, or every step is slow. */
static int crowd(void)
{
    return (ON_ASAN || ON_TSAN) || test_scale(1) > 1 ? 2000 : 100000;
}

/* Bytes of this process in memory. */
static double resident(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f != NULL) {
        if (fscanf(f, "%*d %ld", &pages) != 1) {
            pages = 0;
        }
        (void)fclose(f);
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static gev_greenlet **spawn_crowd(int n, gev_fn fn, void *arg)
{
    gev_greenlet **g = calloc((size_t)n, sizeof(gev_greenlet *));
    expect_not_null(g);
    for (int i = 0; g != NULL && i < n; i++) {
        g[i] = gev_spawn(fn, arg);
        if (g[i] == NULL) {
            expect_never("spawn %d: %s", i, gev_strerror(errno));
            break;
        }
    }
    return g;
}

/* 10^5 parked greenlets under 600 MB (S7: at the default vm.max_map_count; S9:
 * no huge pages). */
GEV_TEST(a_hundred_thousand_alive_fit_in_600_mb)
{
    int n = crowd();
    double before = resident();
    gev_greenlet **g = spawn_crowd(n, park_forever, NULL);
    expect_ok(gev_yield());
    double used = resident() - before;
    if (n >= 100000) { /* else it is not gev's memory alone */
        expect_le(used, 600e6);
    }
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub_stats(gev_hub_get(), &stats);
    expect_uint_eq(stats.live, n);
    double start = test_now();
    expect_ok(gev_killall(g, (size_t)n, GEV_FOREVER));
    expect_le(test_now() - start, test_scale(20));
    gev_unrefall(g, (size_t)n);
    free(g);
}

struct many {
    int left;
    double longest;
};

static void *sleep_a_while(void *arg)
{
    struct many *m = arg;
    int i = m->left--;
    double start = test_now();
    double seconds = 0.01 + 0.3 * ((i * 7919) % 1000) / 1000;
    if (gev_sleep(seconds) != 0) {
        return gev_fail(errno);
    }
    double slept = test_now() - start;
    if (slept - seconds > m->longest) {
        m->longest = slept - seconds;
    }
    return P(slept >= seconds);
}

/* T7: 10^5 sleepers of 1000 different lengths. */
GEV_TEST(a_hundred_thousand_sleepers)
{
    int n = crowd();
    struct many m = {.left = n, .longest = 0};
    double start = test_now();
    gev_greenlet **g = spawn_crowd(n, sleep_a_while, &m);
    expect_int_eq(gev_joinall(g, (size_t)n, GEV_FOREVER), n);
    expect_le(test_now() - start, test_scale(20));
    int early = 0;
    for (int i = 0; i < n; i++) {
        early += N(gev_value(g[i])) != 1;
    }
    expect_int_eq(early, 0);
    gev_unrefall(g, (size_t)n);
    free(g);
}

static void *take_part(void *arg)
{
    gev_timeout t = {0};
    if (gev_timeout_begin(&t, 60) != 0 || gev_yield() != 0 ||
        gev_timeout_end(&t)) {
        return gev_fail(errno);
    }
    return arg;
}

/* Each with a scope of its own. */
GEV_TEST(a_hundred_thousand_scopes)
{
    int n = crowd();
    gev_greenlet **g = spawn_crowd(n, take_part, P(1));
    expect_ok(gev_joinall_error(g, (size_t)n, GEV_FOREVER));
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub_stats(gev_hub_get(), &stats);
    expect_uint_eq(stats.timers, 0);
    gev_unrefall(g, (size_t)n);
    free(g);
}

static void *join_the_same(void *arg)
{
    return gev_join(arg, GEV_FOREVER) == 0 ? P(1) : gev_fail(errno);
}

static void *yield_twice(void *arg)
{
    return gev_yield() == 0 && gev_yield() == 0 ? arg : gev_fail(errno);
}

/* T7: all of them wait for one, or one for all of them: not quadratic. */
GEV_TEST(a_hundred_thousand_joiners_of_one)
{
    int n = crowd();
    gev_greenlet *target = gev_spawn(yield_twice, NULL);
    double start = test_now();
    gev_greenlet **g = spawn_crowd(n, join_the_same, target);
    expect_int_eq(gev_joinall(g, (size_t)n, GEV_FOREVER), n);
    expect_le(test_now() - start, test_scale(20));
    gev_unref(target);
    gev_unrefall(g, (size_t)n);
    free(g);
}

/* S8: memory comes back after one crowd, and the second needs no more. */
GEV_TEST(crowds_reuse_their_stacks)
{
    int n = crowd() / 10;
    double after_first = 0;
    for (int round = 0; round < 10; round++) {
        gev_greenlet **g = spawn_crowd(n, yield_twice, NULL);
        expect_int_eq(gev_joinall(g, (size_t)n, GEV_FOREVER), n);
        gev_unrefall(g, (size_t)n);
        free(g);
        if (round == 0) {
            after_first = resident();
        }
    }
    if (crowd() >= 100000) {
        expect_le(resident(), after_first + 20e6);
    }
}

static void *touch_48_kb(void *arg)
{
    char block[48 * 1024];
    touch(block, sizeof(block));
    return gev_yield() == 0 && block[0] == 1 ? arg : gev_fail(errno);
}

/* S8: what a deep call touched is given back once nobody needs it. */
GEV_TEST(memory_of_deep_calls_comes_back)
{
    int n = 2000;
    if (crowd() < 100000) {
        test_skip("the memory is not gev's alone");
    }
    double before = resident();
    gev_greenlet **g = spawn_crowd(n, touch_48_kb, NULL);
    expect_ok(gev_yield());
    expect_ge(resident() - before, n * 48e3);
    expect_int_eq(gev_joinall(g, (size_t)n, GEV_FOREVER), n);
    gev_unrefall(g, (size_t)n);
    free(g);
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_sleep(1.1)); /* the hub blocks, and trims */
    }
    expect_le(resident() - before, 15e6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hundred_thousand_alive_fit_in_600_mb),
        cmocka_unit_test(a_hundred_thousand_sleepers),
        cmocka_unit_test(a_hundred_thousand_scopes),
        cmocka_unit_test(a_hundred_thousand_joiners_of_one),
        cmocka_unit_test(crowds_reuse_their_stacks),
        cmocka_unit_test(memory_of_deep_calls_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
