/* SPDX-License-Identifier: MIT */

/* What groups and pools cost beside plain greenlets. */
#include <gev.h>

#include "bench.h"

#include <stdint.h>
#include <stdlib.h>

static const char usage[] =
    "usage: bench_pool [-r rounds] [-q]\n"
    "Measures tasks that do nothing, each from its spawn to its end.\n"
    "  pool.limit.join     gev_spawn() and gev_join(), 1000 at a time\n"
    "  pool.spawn          gev_group_spawn() into a pool of 100, then a join\n"
    "  pool.group          the same into a group without a limit\n"
    "  pool.async          gev_group_apply_async() into a pool of 100\n"
    "  pool.apply          gev_group_apply(), one by one\n"
    "  pool.map            gev_group_map() of 1000 over a pool of 100\n"
    "  pool.imap           gev_imap_next(), ordered, over a pool of 100\n"
    "  pool.imap_unordered the same, unordered\n";

enum { SLOTS = 100, BATCH = 1000, BATCHES = 200 };

static size_t ran;

static void *count(void *arg)
{
    ran++;
    return arg;
}

static double per_task(double start, size_t n)
{
    return (bench_cpu() - start) / (double)n * 1e9;
}

static gev_group *make_pool(size_t size)
{
    gev_group *p = size == 0 ? gev_group_new() : gev_pool_new(size);
    bench_check(p != NULL, "gev_pool_new");
    return p;
}

static void check_ran(size_t n)
{
    bench_check(ran == n, "every task runs");
}

static double run_plain(void *arg)
{
    static gev_greenlet *g[BATCH];
    const size_t batches = bench_count(BATCHES);

    (void)arg;
    ran = 0;
    double start = bench_cpu();
    for (size_t batch = 0; batch < batches; batch++) {
        for (size_t i = 0; i < BATCH; i++) {
            g[i] = gev_spawn(count, NULL);
            bench_check(g[i] != NULL, "gev_spawn");
        }
        bench_check(gev_joinall(g, BATCH, GEV_FOREVER) == BATCH, "gev_joinall");
        gev_unrefall(g, BATCH);
    }
    check_ran(batches * BATCH);
    return per_task(start, batches * BATCH);
}

/* arg: the number of slots */
static double run_spawn(void *arg)
{
    const size_t batches = bench_count(BATCHES);
    gev_group *p = make_pool(*(size_t *)arg);

    ran = 0;
    double start = bench_cpu();
    for (size_t batch = 0; batch < batches; batch++) {
        for (size_t i = 0; i < BATCH; i++) {
            bench_check(gev_group_spawn(p, count, NULL) != NULL,
                        "gev_group_spawn");
        }
        bench_check(gev_group_join(p, GEV_FOREVER) == 0, "gev_group_join");
    }
    double result = per_task(start, batches * BATCH);
    check_ran(batches * BATCH);
    gev_group_free(p);
    return result;
}

static double run_async(void *arg)
{
    const size_t batches = bench_count(BATCHES);
    gev_group *p = make_pool(*(size_t *)arg);

    ran = 0;
    double start = bench_cpu();
    for (size_t batch = 0; batch < batches; batch++) {
        for (size_t i = 0; i < BATCH; i++) {
            bench_check(gev_group_apply_async(p, count, NULL, NULL) == 0,
                        "gev_group_apply_async");
        }
        bench_check(gev_group_join(p, GEV_FOREVER) == 0, "gev_group_join");
    }
    double result = per_task(start, batches * BATCH);
    check_ran(batches * BATCH);
    gev_group_free(p);
    return result;
}

static double run_apply(void *arg)
{
    const size_t n = bench_count(BATCHES) * BATCH;
    gev_group *p = make_pool(*(size_t *)arg);

    ran = 0;
    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        bench_check(gev_group_apply(p, count, NULL, NULL) == 0,
                    "gev_group_apply");
    }
    double result = per_task(start, n);
    check_ran(n);
    gev_group_free(p);
    return result;
}

static double run_map(void *arg)
{
    static void *values[BATCH];
    const size_t batches = bench_count(BATCHES);
    gev_group *p = make_pool(*(size_t *)arg);

    ran = 0;
    double start = bench_cpu();
    for (size_t batch = 0; batch < batches; batch++) {
        bench_check(gev_group_map(p, count, values, values, BATCH) == 0,
                    "gev_group_map");
    }
    double result = per_task(start, batches * BATCH);
    check_ran(batches * BATCH);
    gev_group_free(p);
    return result;
}

static int next_item(void *arg, void **item)
{
    size_t *left = arg;

    if (*left == 0) {
        return 0;
    }
    --*left;
    *item = NULL;
    return 1;
}

static double run_imap(void *arg)
{
    const size_t n = bench_count(BATCHES) * BATCH;
    size_t left = n;
    gev_group *p = make_pool(SLOTS);

    ran = 0;
    double start = bench_cpu();
    gev_imap *it =
        gev_group_imap(p, count, next_item, &left, SLOTS, *(const bool *)arg);
    bench_check(it != NULL, "gev_group_imap");
    for (size_t i = 0; i < n; i++) {
        bench_check(gev_imap_next(it, NULL) == 1, "gev_imap_next");
    }
    bench_check(gev_imap_next(it, NULL) == 0, "the end");
    double result = per_task(start, n);
    check_ran(n);
    gev_imap_free(it);
    gev_group_free(p);
    return result;
}

int main(int argc, char **argv)
{
    static size_t slots = SLOTS;
    static size_t no_limit = 0;
    static bool ordered = true;
    static bool unordered = false;

    bench_option(argc, argv, usage, "");
    bench_pin(0);
    const struct bench_case cases[] = {
        {"pool.limit.join", "ns", NULL, run_plain, NULL},
        {"pool.spawn", "ns", "pool.limit.join", run_spawn, &slots},
        {"pool.group", "ns", "pool.limit.join", run_spawn, &no_limit},
        {"pool.async", "ns", "pool.limit.join", run_async, &slots},
        {"pool.apply", "ns", "pool.limit.join", run_apply, &slots},
        {"pool.map", "ns", "pool.limit.join", run_map, &slots},
        {"pool.imap", "ns", "pool.limit.join", run_imap, &ordered},
        {"pool.imap_unordered", "ns", "pool.limit.join", run_imap, &unordered},
    };
    bench_run(cases, sizeof(cases) / sizeof(cases[0]));
    return gev_hub_close() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
