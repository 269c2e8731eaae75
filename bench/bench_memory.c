/* SPDX-License-Identifier: MIT */

/* What a parked greenlet costs in memory, beside the least a stack of its own
 * can cost: one page in a mapping, with a guard. */
#include <gev.h>

#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static const char usage[] =
    "usage: bench_memory [-n greenlets] [-r rounds] [-q]\n"
    "Measures greenlets that sleep, all at once, each time in a new process.\n"
    "  memory.*        greenlets\n"
    "  memory.limit.*  slots with a guard and one touched page\n"
    "  -n N  how many, 100 to 1000000 (100000)\n";

static size_t greenlets = 100000;

struct usage {
    double resident; /* bytes */
    double virtual;
    double tables;   /* page tables */
    double mappings; /* how many */
};

/* A line of /proc/self/status in kB. */
static double kilobytes(const char *line, const char *key)
{
    size_t n = strlen(key);
    return strncmp(line, key, n) == 0 ? strtod(line + n, NULL) * 1024 : 0;
}

static struct usage used_now(void)
{
    struct usage u = {0};
    char line[512];
    FILE *file = fopen("/proc/self/status", "r");

    bench_check(file != NULL, "/proc/self/status");
    while (fgets(line, sizeof(line), file) != NULL) {
        u.resident += kilobytes(line, "VmRSS:");
        u.virtual += kilobytes(line, "VmSize:");
        u.tables += kilobytes(line, "VmPTE:");
    }
    fclose(file);
    file = fopen("/proc/self/maps", "r");
    bench_check(file != NULL, "/proc/self/maps");
    while (fgets(line, sizeof(line), file) != NULL) {
        u.mappings++;
    }
    fclose(file);
    return u;
}

/* What a round gives: per greenlet, mappings altogether, and milliseconds. */
enum { RESIDENT, VIRTUAL, TABLES, MAPPINGS, CREATE, VALUES };
static const char *const names[VALUES] = {"resident", "virtual", "page_tables",
                                          "mappings", "create"};
static const char *const units[VALUES] = {"bytes", "bytes", "bytes", "mappings",
                                          "ms"};

static void take_values(double values[], const struct usage *before,
                        double start)
{
    const double n = (double)greenlets;
    double end = bench_cpu();
    struct usage after = used_now();

    values[RESIDENT] = (after.resident - before->resident) / n;
    values[VIRTUAL] = (after.virtual - before->virtual) / n;
    values[TABLES] = (after.tables - before->tables) / n;
    values[MAPPINGS] = after.mappings - before->mappings;
    values[CREATE] = (end - start) * 1e3;
}

static size_t asleep;

static void *sleep_long(void *arg)
{
    (void)arg;
    asleep++;
    return gev_sleep(3600) == 0 ? arg : NULL;
}

static void measure_gev(double values[], void *arg)
{
    (void)arg;
    bench_pin(0);
    bench_check(gev_hub_get() != NULL, "gev_hub_get");
    struct usage before = used_now();
    double start = bench_cpu();
    for (size_t i = 0; i < greenlets; i++) {
        bench_check(gev_spawn_raw(sleep_long, NULL) == 0, "gev_spawn_raw");
    }
    bench_check(gev_yield() == 0, "gev_yield");
    take_values(values, &before, start);
    bench_check(asleep == greenlets, "all greenlets sleep");
}

/* 64 KiB of stack and a guard, in mappings of 64 MiB. */
static void measure_limit(double values[], void *arg)
{
    const size_t slot = (size_t)128 << 10;
    const size_t chunk = (size_t)64 << 20;

    (void)arg;
    bench_pin(0);
    struct usage before = used_now();
    double start = bench_cpu();
    for (size_t done = 0; done < greenlets;) {
        char *p = mmap(NULL, chunk, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        bench_check(p != MAP_FAILED, "mmap");
        madvise(p, chunk, MADV_NOHUGEPAGE);
        for (size_t i = 0; i < chunk / slot && done < greenlets; i++, done++) {
            /* Refused by kernels before 6.13: then without. */
            madvise(p + i * slot, (size_t)64 << 10, MADV_GUARD_INSTALL);
            p[(i + 1) * slot - 64] = 1;
        }
    }
    take_values(values, &before, start);
}

static double rounds[2][VALUES][BENCH_MAX_ROUNDS];

static void print(const char *prefix, double values[VALUES][BENCH_MAX_ROUNDS])
{
    char name[64];

    for (int v = 0; v < VALUES; v++) {
        snprintf(name, sizeof(name), "%s%s", prefix, names[v]);
        bench_print(name, "", bench_median(values[v], (size_t)bench_rounds),
                    units[v]);
    }
}

int main(int argc, char **argv)
{
    double ratios[BENCH_MAX_ROUNDS];
    double values[VALUES];
    int option;

    bench_rounds = 3; /* bytes do not jitter */
    while ((option = bench_option(argc, argv, usage, "n:")) != -1) {
        greenlets = (size_t)bench_number(optarg, 100, 1000000);
    }
    greenlets = bench_count(greenlets);
    for (int round = 0; round < bench_rounds; round++) {
        for (int which = 0; which < 2; which++) {
            bench_in_child(which == 0 ? measure_limit : measure_gev, NULL,
                           values, VALUES);
            for (int v = 0; v < VALUES; v++) {
                rounds[which][v][round] = values[v];
            }
        }
        ratios[round] = rounds[1][RESIDENT][round] / rounds[0][RESIDENT][round];
    }
    print("memory.limit.", rounds[0]);
    print("memory.", rounds[1]);
    bench_print("memory.resident/memory.limit.resident", "",
                bench_median(ratios, (size_t)bench_rounds), "x");
    return EXIT_SUCCESS;
}
