/* SPDX-License-Identifier: MIT */

/* What a greenlet's whole life costs: spawned, run, waited for, freed. */
#include <gev.h>

#include "bench.h"
#include "floor.h"

#include <stdlib.h>

static const char usage[] =
    "usage: bench_spawn [-r rounds] [-q]\n"
    "Measures greenlets that do nothing, from the spawn to the end.\n"
    "  spawn.join          spawned and joined one by one\n"
    "  spawn.raw           gev_spawn_raw() and a yield, one by one\n"
    "  spawn.batch         10000 spawned, then all joined\n"
    "  spawn.batch_raw     10000 by gev_spawn_raw(), then a yield\n"
    "  spawn.batch_yield   10000 that yield once, joined\n"
    "  limit.*             coroutines that can do nothing else\n";

#define ONE_BY_ONE ((size_t)200000)
#define BATCH ((size_t)10000)
#define BATCHES ((size_t)20)

static size_t ran;

static double per_spawn(double start, size_t n)
{
    double result = (bench_cpu() - start) * 1e9 / (double)n;
    bench_check(ran == n, "all greenlets run");
    ran = 0;
    return result;
}

/* --- gev ------------------------------------------------------------------ */

static void *count(void *arg)
{
    ran++;
    return arg;
}

static void *count_and_yield(void *arg)
{
    ran++;
    return gev_yield() == 0 ? arg : NULL;
}

static double run_join(void *arg)
{
    const size_t n = bench_count(ONE_BY_ONE);

    (void)arg;
    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        gev_greenlet *g = gev_spawn(count, NULL);
        bench_check(g != NULL && gev_join(g, GEV_FOREVER) == 0, "gev_join");
        gev_unref(g);
    }
    return per_spawn(start, n);
}

static double run_raw(void *arg)
{
    const size_t n = bench_count(ONE_BY_ONE);

    (void)arg;
    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        bench_check(gev_spawn_raw(count, NULL) == 0, "gev_spawn_raw");
        bench_check(gev_yield() == 0, "gev_yield");
    }
    return per_spawn(start, n);
}

static double run_batch(void *arg)
{
    static gev_greenlet *g[BATCH];
    const size_t batches = bench_count(BATCHES);
    gev_fn fn = arg == NULL ? count : count_and_yield;

    double start = bench_cpu();
    for (size_t batch = 0; batch < batches; batch++) {
        for (size_t i = 0; i < BATCH; i++) {
            g[i] = gev_spawn(fn, NULL);
            bench_check(g[i] != NULL, "gev_spawn");
        }
        bench_check(gev_joinall(g, BATCH, GEV_FOREVER) == (ssize_t)BATCH,
                    "gev_joinall");
        gev_unrefall(g, BATCH);
    }
    return per_spawn(start, batches * BATCH);
}

static double run_batch_raw(void *arg)
{
    const size_t batches = bench_count(BATCHES);

    (void)arg;
    double start = bench_cpu();
    for (size_t batch = 0; batch < batches; batch++) {
        for (size_t i = 0; i < BATCH; i++) {
            bench_check(gev_spawn_raw(count, NULL) == 0, "gev_spawn_raw");
        }
        bench_check(gev_yield() == 0, "gev_yield");
    }
    return per_spawn(start, batches * BATCH);
}

/* --- the limit ------------------------------------------------------------ */

#if HAVE_FLOOR

static void count_floor(void *arg)
{
    (void)arg;
    ran++;
}

static void count_and_yield_floor(void *arg)
{
    (void)arg;
    ran++;
    floor_yield();
}

static double run_floor(void *arg)
{
    const size_t n = bench_count(ONE_BY_ONE);

    (void)arg;
    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        struct floor_co *c = floor_spawn(count_floor, NULL);
        bench_check(c != NULL, "memory");
        floor_join(c);
    }
    return per_spawn(start, n);
}

static double run_batch_floor(void *arg)
{
    static struct floor_co *c[BATCH];
    const size_t batches = bench_count(BATCHES);

    double start = bench_cpu();
    for (size_t batch = 0; batch < batches; batch++) {
        for (size_t i = 0; i < BATCH; i++) {
            c[i] = floor_spawn(
                arg == NULL ? count_floor : count_and_yield_floor, NULL);
            bench_check(c[i] != NULL, "memory");
        }
        for (size_t i = 0; i < BATCH; i++) {
            floor_join(c[i]);
        }
    }
    return per_spawn(start, batches * BATCH);
}

#endif

int main(int argc, char **argv)
{
    static int yields;

    bench_option(argc, argv, usage, "");
    bench_pin(0);
    const struct bench_case cases[] = {
#if HAVE_FLOOR
        {"spawn.limit.join", "ns", NULL, run_floor, NULL},
        {"spawn.limit.batch", "ns", NULL, run_batch_floor, NULL},
        {"spawn.limit.batch_yield", "ns", NULL, run_batch_floor, &yields},
#endif
        {"spawn.join", "ns", "spawn.limit.join", run_join, NULL},
        {"spawn.raw", "ns", "spawn.limit.join", run_raw, NULL},
        {"spawn.batch", "ns", "spawn.limit.batch", run_batch, NULL},
        {"spawn.batch_raw", "ns", "spawn.limit.batch", run_batch_raw, NULL},
        {"spawn.batch_yield", "ns", "spawn.limit.batch_yield", run_batch,
         &yields},
    };
    bench_run(cases, sizeof(cases) / sizeof(cases[0]));
    return gev_hub_close() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
