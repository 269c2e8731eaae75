/* SPDX-License-Identifier: MIT */

/* 100,000 greenlets that sleep for 0 to 2 s, beside as many bare libev timers.
 * With two CPUs the two run at the same time, and change places every round. */
#include <gev.h>

#include "bench.h"

#include <ev.h>
#include <stdlib.h>
#include <unistd.h>

static const char usage[] =
    "usage: bench_timers [-n sleepers] [-r rounds] [-q]\n"
    "Measures sleeps of random lengths up to 2 s (0.2 s with -q), from the\n"
    "first spawn to the last join, each time in a new process.\n"
    "  timers.cpu        CPU time of all of it\n"
    "  timers.late_*     how late they woke; waking early is a failure\n"
    "  timers.limit.*    libev timers with a callback, no greenlets\n"
    "  -n N  how many, 100 to 1000000 (100000)\n";

static size_t sleepers = 100000;
static double longest = 2;

enum { CPU, LATE_MEDIAN, LATE_P99, LATE_MAX, EARLY, VALUES };
static const char *const names[VALUES] = {"cpu", "late_median", "late_p99",
                                          "late_max", "early"};
static const char *const units[VALUES] = {"ms", "us", "us", "us", "sleepers"};

static double *late; /* seconds, of those that woke */
static size_t woke;

/* The same lengths in every process. */
static double next_length(void)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state % 2000000) / 2000000 * longest;
}

static void start_measuring(void)
{
    late = malloc(sleepers * sizeof(late[0]));
    bench_check(late != NULL, "memory");
}

static void take_values(double values[], double start)
{
    values[CPU] = (bench_cpu() - start) * 1e3;
    bench_check(woke == sleepers, "all sleepers wake");
    values[EARLY] = 0;
    for (size_t i = 0; i < woke; i++) {
        values[EARLY] += late[i] < 0;
    }
    values[LATE_MEDIAN] = bench_median(late, woke) * 1e6; /* sorts them */
    values[LATE_P99] = late[woke / 100 * 99] * 1e6;
    values[LATE_MAX] = late[woke - 1] * 1e6;
    free(late);
}

/* --- gev ------------------------------------------------------------------ */

static void *sleeper(void *arg)
{
    const double length = next_length();
    const double start = bench_now();

    if (gev_sleep(length) == 0) {
        late[woke++] = bench_now() - start - length;
    }
    return arg;
}

static void measure_gev(double values[], void *arg)
{
    bench_pin(*(unsigned *)arg);
    start_measuring();
    double start = bench_cpu();
    for (size_t i = 0; i < sleepers; i++) {
        bench_check(gev_spawn_raw(sleeper, NULL) == 0, "gev_spawn_raw");
    }
    bench_check(gev_run(GEV_FOREVER) == 0, "gev_run");
    take_values(values, start);
}

/* --- the limit ------------------------------------------------------------ */

struct bare_timer {
    ev_timer timer;
    double start;
    double length;
};

static void on_timer(struct ev_loop *loop, ev_timer *w, int events)
{
    const struct bare_timer *t = (struct bare_timer *)w;

    (void)loop;
    (void)events;
    late[woke++] = bench_now() - t->start - t->length;
}

static void measure_limit(double values[], void *arg)
{
    bench_pin(*(unsigned *)arg);
    start_measuring();
    double start = bench_cpu();
    struct bare_timer *timers = calloc(sleepers, sizeof(timers[0]));
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    bench_check(timers != NULL && loop != NULL, "ev_loop_new");
    for (size_t i = 0; i < sleepers; i++) {
        timers[i].length = next_length();
        timers[i].start = bench_now();
        ev_now_update(loop);
        ev_timer_init(&timers[i].timer, on_timer, timers[i].length, 0);
        ev_timer_start(loop, &timers[i].timer);
    }
    ev_run(loop, 0);
    take_values(values, start);
    ev_loop_destroy(loop);
    free(timers);
}

static double rounds[2][VALUES][BENCH_MAX_ROUNDS];

/* Both at once on two CPUs, one after the other on one. */
static void run_round(int round)
{
    double values[2][VALUES];
    unsigned cpu[2] = {(unsigned)round % 2, (unsigned)(round + 1) % 2};

    if (bench_cpus() < 2) {
        bench_in_child(measure_limit, &cpu[0], values[0], VALUES);
        bench_in_child(measure_gev, &cpu[1], values[1], VALUES);
    } else {
        int limit = bench_child_start(measure_limit, &cpu[0], VALUES);
        int gev = bench_child_start(measure_gev, &cpu[1], VALUES);
        bench_child_end(limit, values[0], VALUES);
        bench_child_end(gev, values[1], VALUES);
    }
    for (int which = 0; which < 2; which++) {
        for (int v = 0; v < VALUES; v++) {
            rounds[which][v][round] = values[which][v];
        }
    }
}

int main(int argc, char **argv)
{
    const char *const prefixes[2] = {"timers.limit.", "timers."};
    double ratios[BENCH_MAX_ROUNDS];
    bool early = false;
    int option;

    bench_rounds = bench_cpus() < 2 ? 3 : 5; /* each takes seconds */
    while ((option = bench_option(argc, argv, usage, "n:")) != -1) {
        sleepers = (size_t)bench_number(optarg, 100, 1000000);
    }
    sleepers = bench_count(sleepers);
    longest = bench_quick ? 0.2 : 2;
    for (int round = 0; round < bench_rounds; round++) {
        run_round(round);
        ratios[round] = rounds[1][CPU][round] / rounds[0][CPU][round];
        early = early || rounds[1][EARLY][round] > 0;
    }
    for (int which = 0; which < 2; which++) {
        for (int v = 0; v < VALUES; v++) {
            double median =
                bench_median(rounds[which][v], (size_t)bench_rounds);
            bench_print(prefixes[which], names[v], median, units[v]);
        }
    }
    bench_print("timers.cpu/timers.limit.cpu", "",
                bench_median(ratios, (size_t)bench_rounds), "x");
    bench_check(!early, "nobody wakes early");
    return EXIT_SUCCESS;
}
