/* SPDX-License-Identifier: MIT */

/* What locks cost: alone, and from hand to hand. */
#include <gev.h>

#include "bench.h"
#include "floor.h"

#include <pthread.h>
#include <stdlib.h>

static const char usage[] =
    "usage: bench_lock [-r rounds] [-q]\n"
    "Measures locks, semaphores and conditions.\n"
    "  lock.pair, rlock.pair, semaphore.pair, rwlock.pair\n"
    "                   an acquire and a release that nobody else wants,\n"
    "                   beside a pthread mutex\n"
    "  lock.handoff     a lock from one greenlet to another, both of which\n"
    "                   always want it\n"
    "  semaphore.trip   a unit given, and one waited for: half a round trip "
    "of\n"
    "                   a ping-pong over two semaphores\n"
    "  cond.trip        the same over two conditions under one lock\n"
    "  limit.switch     coroutines that can do nothing but switch in turn\n";

#define PAIRS ((size_t)20000000)
#define TRIPS ((size_t)2000000)

static double per(double start, size_t n)
{
    return (bench_cpu() - start) * 1e9 / (double)n;
}

/* --- uncontended ---------------------------------------------------------- */

static gev_lock lock;
static gev_rlock rlock;
static gev_rwlock rwlock;
static gev_semaphore semaphore;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

#define DEFINE_PAIR(name, acquire, release)                                    \
    static double run_##name##_pair(void *arg)                                 \
    {                                                                          \
        const size_t n = bench_count(PAIRS);                                   \
        int rc = 0;                                                            \
                                                                               \
        (void)arg;                                                             \
        double start = bench_cpu();                                            \
        for (size_t i = 0; i < n; i++) {                                       \
            rc |= (acquire);                                                   \
            rc |= (release);                                                   \
        }                                                                      \
        double result = per(start, n);                                         \
        bench_check(rc == 0, #name);                                           \
        return result;                                                         \
    }

DEFINE_PAIR(lock, gev_lock_acquire(&lock, GEV_FOREVER), gev_lock_release(&lock))
DEFINE_PAIR(rlock, gev_rlock_acquire(&rlock, GEV_FOREVER),
            gev_rlock_release(&rlock))
DEFINE_PAIR(semaphore, gev_semaphore_acquire(&semaphore, GEV_FOREVER),
            gev_semaphore_release(&semaphore))
DEFINE_PAIR(rwlock, gev_rwlock_acquire_write(&rwlock, GEV_FOREVER),
            gev_rwlock_release(&rwlock))
DEFINE_PAIR(mutex, pthread_mutex_lock(&mutex), pthread_mutex_unlock(&mutex))

/* --- two greenlets -------------------------------------------------------- */

/* Two of them, each with its number. */
static double run_two(gev_fn fn, size_t trips)
{
    gev_greenlet *g[2];

    for (size_t i = 0; i < 2; i++) {
        g[i] = gev_spawn(fn, (void *)i);
        bench_check(g[i] != NULL, "gev_spawn");
    }
    double start = bench_cpu();
    ssize_t ended = gev_joinall(g, 2, GEV_FOREVER);
    double result = per(start, 2 * trips);
    bench_check(ended == 2 && gev_successful(g[0]) && gev_successful(g[1]),
                "the greenlets");
    gev_unrefall(g, 2);
    return result;
}

/* Each release gives it to the other, so each acquire waits. */
static void *want_lock(void *arg)
{
    const size_t n = bench_count(TRIPS);
    int rc = 0;

    (void)arg;
    for (size_t i = 0; i < n; i++) {
        rc |= gev_lock_acquire(&lock, GEV_FOREVER);
        if (i == 0) {
            rc |= gev_yield(); /* until the other one wants it */
        }
        rc |= gev_lock_release(&lock);
    }
    return rc == 0 ? NULL : gev_fail(EXIT_FAILURE);
}

static double run_handoff(void *arg)
{
    (void)arg;
    return run_two(want_lock, bench_count(TRIPS));
}

static gev_semaphore turns[2];

static void *play_semaphores(void *arg)
{
    const size_t n = bench_count(TRIPS);
    const size_t me = (size_t)arg;
    int rc = 0;

    for (size_t i = 0; i < n; i++) {
        rc |= gev_semaphore_acquire(&turns[me], GEV_FOREVER);
        rc |= gev_semaphore_release(&turns[1 - me]);
    }
    return rc == 0 ? NULL : gev_fail(EXIT_FAILURE);
}

static double run_semaphores(void *arg)
{
    (void)arg;
    gev_semaphore_init(&turns[0], 1, 0);
    gev_semaphore_init(&turns[1], 0, 0);
    return run_two(play_semaphores, bench_count(TRIPS));
}

static gev_cond conds[2];
static size_t turn;

static void *play_conds(void *arg)
{
    const size_t n = bench_count(TRIPS);
    const size_t me = (size_t)arg;
    int rc = gev_lock_acquire(&lock, GEV_FOREVER);

    for (size_t i = 0; i < n; i++) {
        while (turn != me && rc == 0) {
            rc |= gev_cond_wait(&conds[me], &lock, GEV_FOREVER);
        }
        turn = 1 - me;
        gev_cond_signal(&conds[1 - me]);
    }
    rc |= gev_lock_release(&lock);
    return rc == 0 ? NULL : gev_fail(EXIT_FAILURE);
}

static double run_conds(void *arg)
{
    (void)arg;
    turn = 0;
    return run_two(play_conds, bench_count(TRIPS));
}

/* --- the limit ------------------------------------------------------------ */

#if HAVE_FLOOR

static void yield_floor(void *arg)
{
    size_t n = bench_count(TRIPS);

    (void)arg;
    for (size_t i = 0; i < n; i++) {
        floor_yield();
    }
}

static double run_floor(void *arg)
{
    struct floor_co *c[2];

    (void)arg;
    for (int i = 0; i < 2; i++) {
        c[i] = floor_spawn(yield_floor, NULL);
        bench_check(c[i] != NULL, "memory");
    }
    double start = bench_cpu();
    floor_join(c[0]);
    floor_join(c[1]);
    return per(start, 2 * bench_count(TRIPS));
}

#define LIMIT "limit.switch"
#else
#define LIMIT NULL
#endif

int main(int argc, char **argv)
{
    bench_option(argc, argv, usage, "");
    bench_pin(0);
    gev_semaphore_init(&semaphore, 1, 1);

    const struct bench_case cases[] = {
        {"pthread.pair", "ns", NULL, run_mutex_pair, NULL},
        {"lock.pair", "ns", "pthread.pair", run_lock_pair, NULL},
        {"rlock.pair", "ns", "pthread.pair", run_rlock_pair, NULL},
        {"semaphore.pair", "ns", "pthread.pair", run_semaphore_pair, NULL},
        {"rwlock.pair", "ns", "pthread.pair", run_rwlock_pair, NULL},
#if HAVE_FLOOR
        {LIMIT, "ns", NULL, run_floor, NULL},
#endif
        {"lock.handoff", "ns", LIMIT, run_handoff, NULL},
        {"semaphore.trip", "ns", LIMIT, run_semaphores, NULL},
        {"cond.trip", "ns", LIMIT, run_conds, NULL},
    };
    bench_run(cases, sizeof(cases) / sizeof(cases[0]));
    return gev_hub_close() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
