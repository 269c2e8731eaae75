/* SPDX-License-Identifier: MIT */

/* Stages connected by bounded queues. A stage that is slow fills the queue
 * before it, and whoever fills that has to wait: nothing piles up, whatever
 * the speeds are. The end travels the same way: the last worker of a stage
 * shuts down the queue behind it. */
#include <gev.h>

#include "example.h"

#include <stdint.h>

static const char help[] =
    "usage: pipeline [-n items] [-q size] [-w workers] [-m ms]\n"
    "Numbers go through three stages: they are made, squared by some slow\n"
    "workers, and added up.\n"
    "  -n N  numbers (200)\n"
    "  -q N  how many wait between two stages, at most (8)\n"
    "  -w N  workers that square (4)\n"
    "  -m N  milliseconds one needs for a number (2)\n";

struct pipeline {
    gev_queue *numbers;
    gev_queue *squares;
    long count;
    double pause;
    long workers; /* still at work */
    size_t most;  /* numbers that ever waited */
    uint64_t sum;
    long summed;
};

static void *make_numbers(void *arg)
{
    struct pipeline *p = arg;
    for (uintptr_t i = 1; i <= (uintptr_t)p->count; i++) {
        /* Parks while the workers are behind. */
        if (gev_queue_put(p->numbers, (void *)i, GEV_FOREVER) < 0) {
            return gev_fail(errno);
        }
        if (gev_queue_size(p->numbers) > p->most) {
            p->most = gev_queue_size(p->numbers);
        }
    }
    gev_queue_shutdown(p->numbers, false); /* what is in it still comes out */
    return NULL;
}

static void *square(void *arg)
{
    struct pipeline *p = arg;
    void *item;
    while (gev_queue_get(p->numbers, &item, GEV_FOREVER) == 0) {
        uintptr_t n = (uintptr_t)item;
        if (gev_sleep(p->pause) < 0 || /* hard work */
            gev_queue_put(p->squares, (void *)(n * n), GEV_FOREVER) < 0) {
            return gev_fail(errno);
        }
    }
    if (errno != EPIPE) {
        return gev_fail(errno);
    }
    if (--p->workers == 0) {
        gev_queue_shutdown(p->squares, false);
    }
    return NULL;
}

static void *add_up(void *arg)
{
    struct pipeline *p = arg;
    void *item;
    while (gev_queue_get(p->squares, &item, GEV_FOREVER) == 0) {
        p->sum += (uintptr_t)item;
        p->summed++;
    }
    return errno == EPIPE ? NULL : gev_fail(errno);
}

static int run(struct pipeline *p)
{
    const double start = now();
    gev_greenlet *last = gev_spawn(add_up, p);
    int rc = last == NULL ? -1 : gev_spawn_raw(make_numbers, p);
    for (long i = 0; i < p->workers && rc == 0; i++) {
        rc = gev_spawn_raw(square, p);
    }
    if (rc < 0 || gev_join(last, GEV_FOREVER) < 0) {
        perror("pipeline");
        return EXIT_FAILURE;
    }
    gev_unref(last);
    printf("%ld numbers, the sum of their squares is %llu\n", p->summed,
           (unsigned long long)p->sum);
    printf("at most %zu waited for a worker\n", p->most);
    printf("%.3f s\n", now() - start);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct pipeline p = {.count = 200, .pause = 0.002, .workers = 4};
    size_t size = 8;
    int option;
    while ((option = next_option(argc, argv, "hn:q:w:m:")) != -1) {
        switch (option) {
        case 'n':
            p.count = parse_count("-n", optarg, 1, 1000000);
            break;
        case 'q':
            size = (size_t)parse_count("-q", optarg, 1, 1000000);
            break;
        case 'w':
            p.workers = parse_count("-w", optarg, 1, 100000);
            break;
        case 'm':
            p.pause = parse_number("-m", optarg, 0, 60000) / 1000;
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

    p.numbers = gev_queue_new(size);
    p.squares = gev_queue_new(size);
    int status = EXIT_FAILURE;
    if (p.numbers == NULL || p.squares == NULL) {
        perror("gev_queue_new");
    } else {
        status = run(&p);
    }
    gev_hub_close(); /* before the queues that greenlets may still use */
    gev_queue_free(p.numbers);
    gev_queue_free(p.squares);
    return end_output(status);
}
