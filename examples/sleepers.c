/* SPDX-License-Identifier: MIT */

/* Many greenlets that sleep at once, in one thread: what one of them costs. */
#include <gev.h>

#include "example.h"

#include <unistd.h>

static const char help[] =
    "usage: sleepers [-n greenlets] [-s seconds]\n"
    "Has many greenlets sleep at once, and says what that took.\n"
    "  -n N  how many, 1 to 1000000 (10000)\n"
    "  -s S  how long each sleeps, 0 to 3600 (1)\n";

static double duration = 1;
static size_t awake; /* how many slept to the end */

static void *sleeper(void *arg)
{
    if (gev_sleep(duration) < 0) {
        return gev_fail(errno);
    }
    awake++;
    return arg;
}

/* Bytes of memory that this process uses now. */
static double used_memory(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL) {
        if (fscanf(file, "%*u %lu", &pages) != 1) {
            pages = 0;
        }
        fclose(file);
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

int main(int argc, char **argv)
{
    size_t n = 10000;
    int option;
    while ((option = next_option(argc, argv, "hn:s:")) != -1) {
        switch (option) {
        case 'n':
            n = (size_t)parse_count("-n", optarg, 1, 1000000);
            break;
        case 's':
            duration = parse_number("-s", optarg, 0, 3600);
            break;
        case 'h':
            return print_help(help);
        default:
            return bad_usage(argv[0]);
        }
    }
    if (has_extra(argc, argv)) {
        return bad_usage(argv[0]);
    }

    gev_greenlet **sleepers = calloc(n, sizeof(sleepers[0]));
    if (sleepers == NULL) {
        perror("calloc");
        return EXIT_FAILURE;
    }
    const double memory = used_memory();
    const double start = now();
    int status = EXIT_SUCCESS;
    size_t spawned = 0;
    while (spawned < n) {
        sleepers[spawned] = gev_spawn(sleeper, NULL);
        if (sleepers[spawned] == NULL) {
            perror("gev_spawn");
            status = EXIT_FAILURE;
            break;
        }
        spawned++;
    }
    const double spawning = now() - start;

    gev_yield(); /* they all begin, and sleep */
    const double each = (used_memory() - memory) / (double)n;

    if (gev_joinall(sleepers, spawned, GEV_FOREVER) < 0) {
        perror("gev_joinall");
        status = EXIT_FAILURE;
    }
    if (awake < n) {
        status = EXIT_FAILURE;
    }
    printf("%zu of %zu greenlets slept %g s each, in %.3f s altogether\n",
           awake, n, duration, now() - start);
    printf("%.0f ns to spawn one, %.1f KB of memory for each\n",
           spawning * 1e9 / (double)n, each / 1000);

    gev_unrefall(sleepers, spawned);
    free(sleepers);
    gev_hub_close();
    return end_output(status);
}
