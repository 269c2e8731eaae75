/* SPDX-License-Identifier: MIT */

/* What a yield through the scheduler costs: many greenlets in turn, or two. */
#include <gev.h>

#include "bench.h"
#include "floor.h"

#include <errno.h>
#include <stdlib.h>

static const char usage[] =
    "usage: bench_yield [-r rounds] [-q]\n"
    "Measures gev_yield() among 1000 greenlets and between two.\n"
    "  limit.N  coroutines that can do nothing else, in a bare queue\n";

struct load {
    size_t greenlets;
    size_t yields; /* of each */
};

static struct load many = {1000, 10000};
static struct load two = {2, 5000000};

static double per_yield(const struct load *l, double start)
{
    return (bench_cpu() - start) * 1e9 /
           ((double)l->greenlets * (double)bench_count(l->yields));
}

/* --- gev ------------------------------------------------------------------ */

static void *yield(void *arg)
{
    size_t n = bench_count(((struct load *)arg)->yields);

    for (size_t i = 0; i < n; i++) {
        if (gev_yield() < 0) {
            return gev_fail(ECANCELED);
        }
    }
    return NULL;
}

static double run_gev(void *arg)
{
    const struct load *l = arg;
    static gev_greenlet *g[1000];

    for (size_t i = 0; i < l->greenlets; i++) {
        g[i] = gev_spawn(yield, arg);
        bench_check(g[i] != NULL, "gev_spawn");
    }
    double start = bench_cpu();
    ssize_t ended = gev_joinall(g, l->greenlets, GEV_FOREVER);
    double result = per_yield(l, start);

    bench_check(ended == (ssize_t)l->greenlets, "gev_joinall");
    for (size_t i = 0; i < l->greenlets; i++) {
        bench_check(gev_successful(g[i]), "gev_yield");
        gev_unref(g[i]);
    }
    return result;
}

/* --- the limit ------------------------------------------------------------ */

#if HAVE_FLOOR

static void yield_floor(void *arg)
{
    size_t n = bench_count(((struct load *)arg)->yields);

    for (size_t i = 0; i < n; i++) {
        floor_yield();
    }
}

static double run_floor(void *arg)
{
    const struct load *l = arg;
    static struct floor_co *c[1000];

    for (size_t i = 0; i < l->greenlets; i++) {
        c[i] = floor_spawn(yield_floor, arg);
        bench_check(c[i] != NULL, "memory");
    }
    double start = bench_cpu();
    for (size_t i = 0; i < l->greenlets; i++) {
        floor_join(c[i]);
    }
    return per_yield(l, start);
}

#endif

int main(int argc, char **argv)
{
    bench_option(argc, argv, usage, "");
    bench_pin(0);

    const struct bench_case cases[] = {
#if HAVE_FLOOR
        {"yield.limit.1000", "ns", NULL, run_floor, &many},
        {"yield.limit.2", "ns", NULL, run_floor, &two},
#endif
        {"yield.1000", "ns", "yield.limit.1000", run_gev, &many},
        {"yield.2", "ns", "yield.limit.2", run_gev, &two},
    };
    bench_run(cases, sizeof(cases) / sizeof(cases[0]));
    return gev_hub_close() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
