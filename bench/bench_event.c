/* SPDX-License-Identifier: MIT */

/* What it costs to wake through an event, a result, gev_wait(). */
#include <gev.h>

#include "bench.h"
#include "floor.h"

#include <stdlib.h>

static const char usage[] =
    "usage: bench_event [-r rounds] [-q]\n"
    "Measures waking through events, per greenlet woken.\n"
    "  event.limit     coroutines that can do nothing else yield to each "
    "other\n"
    "  event.pingpong  two greenlets, two events: set one, wait for the other\n"
    "  event.all       1000 greenlets wait for one event\n"
    "  wait.pingpong   the same as pingpong with gev_wait() on one of two\n"
    "  result          a fresh result, a greenlet that waits for it, a set\n";

enum { CROWD = 1000 };

static gev_event events[2];
static size_t rounds;

static double per(size_t n, double start)
{
    return (bench_cpu() - start) * 1e9 / (double)n;
}

static void prepare(size_t n)
{
    rounds = bench_count(n);
    gev_event_init(&events[0]);
    gev_event_init(&events[1]);
}

static void *answer(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < rounds; i++) {
        bench_check(gev_event_wait(&events[0], GEV_FOREVER) == 0, "wait");
        gev_event_clear(&events[0]);
        gev_event_set(&events[1]);
    }
    return NULL;
}

static double run_pingpong(void *arg)
{
    (void)arg;
    prepare(2000000);
    gev_greenlet *g = gev_spawn(answer, NULL);
    bench_check(g != NULL && gev_yield() == 0, "gev_spawn");
    double start = bench_cpu();
    for (size_t i = 0; i < rounds; i++) {
        gev_event_set(&events[0]);
        bench_check(gev_event_wait(&events[1], GEV_FOREVER) == 0, "wait");
        gev_event_clear(&events[1]);
    }
    double result = per(2 * rounds, start);
    bench_check(gev_join(g, GEV_FOREVER) == 0, "gev_join");
    gev_unref(g);
    return result;
}

static void *answer_some(void *arg)
{
    gev_event never = {{NULL}};
    gev_waitable *w[] = {GEV_WAITABLE(&never), GEV_WAITABLE(&events[0])};

    (void)arg;
    for (size_t i = 0; i < rounds; i++) {
        bench_check(gev_wait(w, 2, 1, GEV_FOREVER) == 1, "wait");
        gev_event_clear(&events[0]);
        gev_event_set(&events[1]);
    }
    return NULL;
}

static double run_wait(void *arg)
{
    gev_event never = {{NULL}};
    gev_waitable *w[] = {GEV_WAITABLE(&never), GEV_WAITABLE(&events[1])};

    (void)arg;
    prepare(1000000);
    gev_greenlet *g = gev_spawn(answer_some, NULL);
    bench_check(g != NULL && gev_yield() == 0, "gev_spawn");
    double start = bench_cpu();
    for (size_t i = 0; i < rounds; i++) {
        gev_event_set(&events[0]);
        bench_check(gev_wait(w, 2, 1, GEV_FOREVER) == 1, "wait");
        gev_event_clear(&events[1]);
    }
    double result = per(2 * rounds, start);
    bench_check(gev_join(g, GEV_FOREVER) == 0, "gev_join");
    gev_unref(g);
    return result;
}

static void *wait_for_all(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < rounds; i++) {
        bench_check(gev_event_wait(&events[0], GEV_FOREVER) == 0, "wait");
    }
    return NULL;
}

static double run_all(void *arg)
{
    static gev_greenlet *g[CROWD];

    (void)arg;
    prepare(4000);
    for (size_t i = 0; i < CROWD; i++) {
        g[i] = gev_spawn(wait_for_all, NULL);
        bench_check(g[i] != NULL, "gev_spawn");
    }
    bench_check(gev_yield() == 0, "gev_yield");
    double start = bench_cpu();
    for (size_t i = 0; i < rounds; i++) {
        gev_event_set(&events[0]);
        gev_event_clear(&events[0]);
        bench_check(gev_yield() == 0, "gev_yield");
    }
    double result = per(rounds * CROWD, start);
    bench_check(gev_joinall(g, CROWD, GEV_FOREVER) == CROWD, "gev_joinall");
    gev_unrefall(g, CROWD);
    return result;
}

static gev_result *asked; /* what the other greenlet is to answer */

static void *answer_results(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < rounds; i++) {
        while (asked == NULL) {
            bench_check(gev_yield() == 0, "gev_yield");
        }
        bench_check(gev_result_set(asked, asked) == 0, "gev_result_set");
        asked = NULL;
    }
    return NULL;
}

static double run_result(void *arg)
{
    (void)arg;
    rounds = bench_count(2000000);
    asked = NULL;
    gev_greenlet *g = gev_spawn(answer_results, NULL);
    bench_check(g != NULL, "gev_spawn");
    double start = bench_cpu();
    for (size_t i = 0; i < rounds; i++) {
        gev_result r;
        void *value;
        gev_result_init(&r);
        asked = &r;
        bench_check(gev_result_get(&r, &value, GEV_FOREVER) == 0 && value == &r,
                    "gev_result_get");
        bench_check(gev_result_fini(&r) == 0, "gev_result_fini");
    }
    double result = per(rounds, start);
    bench_check(gev_join(g, GEV_FOREVER) == 0, "gev_join");
    gev_unref(g);
    return result;
}

#if HAVE_FLOOR

static void yield_floor(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < rounds; i++) {
        floor_yield();
    }
}

static double run_floor(void *arg)
{
    (void)arg;
    rounds = bench_count(5000000);
    struct floor_co *a = floor_spawn(yield_floor, NULL);
    struct floor_co *b = floor_spawn(yield_floor, NULL);
    bench_check(a != NULL && b != NULL, "memory");
    double start = bench_cpu();
    floor_join(a);
    floor_join(b);
    return per(2 * rounds, start);
}

#endif

int main(int argc, char **argv)
{
    bench_option(argc, argv, usage, "");
    bench_pin(0);

    const struct bench_case cases[] = {
#if HAVE_FLOOR
        {"event.limit", "ns", NULL, run_floor, NULL},
#endif
        {"event.pingpong", "ns", "event.limit", run_pingpong, NULL},
        {"event.all", "ns", "event.limit", run_all, NULL},
        {"wait.pingpong", "ns", "event.limit", run_wait, NULL},
        {"result", "ns", "event.limit", run_result, NULL},
    };
    bench_run(cases, sizeof(cases) / sizeof(cases[0]));
    return gev_hub_close() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
