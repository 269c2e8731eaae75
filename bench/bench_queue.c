/* SPDX-License-Identifier: MIT */

/* What an item costs in a queue: without parking, through greenlets, and from
 * another thread. */
#include <gev.h>

#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

static const char usage[] =
    "usage: bench_queue [-r rounds] [-q]\n"
    "Measures put and get together, for each item.\n"
    "  queue.limit     an array as a ring, in functions that are called\n"
    "  queue.fifo      put and got by one greenlet, never parking\n"
    "  queue.bounded   the same, with a limit\n"
    "  queue.lifo      last in first out\n"
    "  queue.priority  64 items in a queue by priority\n"
    "  queue.deep      1,000,000 items put, then got: the array grows and "
    "shrinks\n"
    "  queue.handover  a greenlet waits for each item\n"
    "  queue.pipe      two greenlets, a queue of 128\n"
    "  queue.post      posted by another thread (wall-clock time)\n";

#define ITEMS ((size_t)4000000)

static double per_item(double start, size_t n)
{
    return (bench_cpu() - start) * 1e9 / (double)n;
}

/* --- the limit ------------------------------------------------------------ */

struct ring {
    void *items[64];
    size_t head;
    size_t count;
};

static __attribute__((noinline)) int ring_put(struct ring *r, void *item)
{
    if (r->count == 64) {
        return -1;
    }
    r->items[(r->head + r->count++) % 64] = item;
    return 0;
}

static __attribute__((noinline)) int ring_get(struct ring *r, void **item)
{
    if (r->count == 0) {
        return -1;
    }
    *item = r->items[r->head];
    r->head = (r->head + 1) % 64;
    r->count--;
    return 0;
}

static double run_limit(void *arg)
{
    static struct ring r;
    size_t n = bench_count(ITEMS);
    void *item = NULL;
    int rc = 0;

    (void)arg;
    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        rc |= ring_put(&r, (void *)i);
        rc |= ring_get(&r, &item);
    }
    double result = per_item(start, n);
    bench_check(rc == 0 && item == (void *)(n - 1), "the ring");
    return result;
}

/* --- one greenlet --------------------------------------------------------- */

static int compare_numbers(const void *a, const void *b)
{
    return ((uintptr_t)a > (uintptr_t)b) - ((uintptr_t)a < (uintptr_t)b);
}

static gev_queue *make(const char *kind)
{
    gev_queue *q = kind[0] == 'p'   ? gev_priority_new(0, compare_numbers)
                   : kind[0] == 'l' ? gev_lifo_new(0)
                                    : gev_queue_new(kind[0] == 'b' ? 64 : 0);

    bench_check(q != NULL, "memory");
    return q;
}

static double run_one(void *arg)
{
    gev_queue *q = make(arg);
    size_t n = bench_count(ITEMS);
    void *item = NULL;
    int rc = 0;
    uintptr_t number = 1;

    for (int i = 0; i < 63 && *(const char *)arg == 'p'; i++) {
        number = number * 6364136223846793005U + 1442695040888963407U;
        rc |= gev_queue_put(q, (void *)number, GEV_FOREVER);
    }
    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        number = number * 6364136223846793005U + 1442695040888963407U;
        rc |= gev_queue_put(q, (void *)number, GEV_FOREVER);
        rc |= gev_queue_get(q, &item, GEV_FOREVER);
    }
    double result = per_item(start, n);
    bench_check(rc == 0, "the queue");
    gev_queue_free(q);
    return result;
}

static double run_deep(void *arg)
{
    gev_queue *q = make(arg);
    size_t n = bench_count(1000000);
    int rc = 0;

    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        rc |= gev_queue_put(q, NULL, GEV_FOREVER);
    }
    for (size_t i = 0; i < n; i++) {
        rc |= gev_queue_get(q, NULL, GEV_FOREVER);
    }
    double result = per_item(start, n);
    bench_check(rc == 0, "the queue");
    gev_queue_free(q);
    return result;
}

/* --- two greenlets -------------------------------------------------------- */

struct flow {
    gev_queue *queue;
    size_t n;
    int rc;
};

static void *consume(void *arg)
{
    struct flow *f = arg;

    for (size_t i = 0; i < f->n; i++) {
        f->rc |= gev_queue_get(f->queue, NULL, GEV_FOREVER);
    }
    return NULL;
}

static double run_handover(void *arg)
{
    struct flow f = {.queue = make("fifo"), .n = bench_count(ITEMS)};
    gev_greenlet *g = gev_spawn(consume, &f);
    int rc = 0;

    (void)arg;
    bench_check(g != NULL, "memory");
    double start = bench_cpu();
    for (size_t i = 0; i < f.n; i++) {
        rc |= gev_yield();
        rc |= gev_queue_put(f.queue, NULL, GEV_FOREVER);
    }
    double result = per_item(start, f.n);
    bench_check(rc == 0 && gev_join(g, GEV_FOREVER) == 0 && f.rc == 0,
                "the queue");
    gev_unref(g);
    gev_queue_free(f.queue);
    return result;
}

static double run_pipe(void *arg)
{
    struct flow f = {.queue = gev_queue_new(128), .n = bench_count(ITEMS)};
    gev_greenlet *g = gev_spawn(consume, &f);
    int rc = 0;

    (void)arg;
    bench_check(f.queue != NULL && g != NULL, "memory");
    double start = bench_cpu();
    for (size_t i = 0; i < f.n; i++) {
        rc |= gev_queue_put(f.queue, NULL, GEV_FOREVER);
    }
    double result = per_item(start, f.n);
    bench_check(rc == 0 && gev_join(g, GEV_FOREVER) == 0 && f.rc == 0,
                "the queue");
    gev_unref(g);
    gev_queue_free(f.queue);
    return result;
}

/* --- two threads ---------------------------------------------------------- */

static void *post_all(void *arg)
{
    struct flow *f = arg;

    for (size_t i = 0; i < f->n; i++) {
        f->rc |= gev_queue_post(f->queue, NULL);
    }
    return NULL;
}

static double run_post(void *arg)
{
    struct flow f = {.queue = make("fifo"), .n = bench_count(ITEMS / 8)};
    pthread_t thread;
    int rc = 0;

    (void)arg;
    gev_hub_ref(gev_hub_get());
    double start = bench_now();
    bench_check(pthread_create(&thread, NULL, post_all, &f) == 0, "thread");
    for (size_t i = 0; i < f.n; i++) {
        rc |= gev_queue_get(f.queue, NULL, GEV_FOREVER);
    }
    double result = (bench_now() - start) * 1e9 / (double)f.n;
    pthread_join(thread, NULL);
    gev_hub_unref(gev_hub_get());
    bench_check(rc == 0 && f.rc == 0, "the posts");
    gev_queue_free(f.queue);
    return result;
}

int main(int argc, char **argv)
{
    bench_option(argc, argv, usage, "");

    const struct bench_case cases[] = {
        {"queue.limit", "ns", NULL, run_limit, NULL},
        {"queue.fifo", "ns", "queue.limit", run_one, "fifo"},
        {"queue.bounded", "ns", "queue.limit", run_one, "bounded"},
        {"queue.lifo", "ns", "queue.limit", run_one, "lifo"},
        {"queue.priority", "ns", NULL, run_one, "priority"},
        {"queue.deep", "ns", NULL, run_deep, "fifo"},
        {"queue.handover", "ns", NULL, run_handover, NULL},
        {"queue.pipe", "ns", NULL, run_pipe, NULL},
        {"queue.post", "ns", NULL, run_post, NULL},
    };
    bench_run(cases, sizeof(cases) / sizeof(cases[0]));
    return gev_hub_close() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
