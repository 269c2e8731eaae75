/* SPDX-License-Identifier: MIT */

/* What a greenlet's own value costs, beside a thread's: pthread_getspecific and
 * a plain thread-local variable. */
#include <gev.h>

#include "bench.h"

#include <pthread.h>
#include <stdlib.h>

static const char usage[] =
    "usage: bench_local [-r rounds] [-q]\n"
    "Measures values of greenlets and of threads.\n"
    "  local.get           gev_local_get()\n"
    "  local.get_of_32     the same, one of 32 keys in turn\n"
    "  local.set           gev_local_set()\n"
    "  local.context       gev_context()\n"
    "  local.life          spawn, one value, end, with a destructor\n"
    "  local.bare          the same without the value\n"
    "  local.pthread_get   pthread_getspecific()\n"
    "  local.pthread_set   pthread_setspecific()\n"
    "  local.thread_local  a _Thread_local variable of this program\n";

#define CALLS ((size_t)5000000)
#define LIVES ((size_t)200000)
#define N_KEYS 32

static gev_local keys[N_KEYS];
static pthread_key_t thread_key;
static _Thread_local void *thread_value;
static size_t destroyed;

static void count_destroyed(void *value)
{
    (void)value;
    destroyed++;
}

/* Nanoseconds of a call; what it returned must be the address expected. */
static double per_call(double start, size_t n, const void *sum,
                       const void *wanted)
{
    bench_check(sum == wanted, "the value is there");
    return (bench_cpu() - start) * 1e9 / (double)n;
}

static double run_get(void *arg)
{
    const size_t n = bench_count(CALLS);
    const size_t mask = arg == NULL ? 0 : N_KEYS - 1;
    void *value = NULL;

    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        value = gev_local_get(keys[i & mask]);
        BENCH_BARRIER();
    }
    return per_call(start, n, value, &keys[(n - 1) & mask]);
}

static double run_set(void *arg)
{
    const size_t n = bench_count(CALLS);
    int rc = 0;

    (void)arg;
    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        rc |= gev_local_set(keys[0], &keys[0]);
        BENCH_BARRIER();
    }
    bench_check(rc == 0, "gev_local_set");
    return per_call(start, n, gev_local_get(keys[0]), &keys[0]);
}

static double run_context(void *arg)
{
    const size_t n = bench_count(CALLS);
    void *value = NULL;

    (void)arg;
    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        value = gev_context();
        BENCH_BARRIER();
    }
    return per_call(start, n, value, &keys[0]);
}

static double run_pthread_get(void *arg)
{
    const size_t n = bench_count(CALLS);
    void *value = NULL;

    (void)arg;
    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        value = pthread_getspecific(thread_key);
        BENCH_BARRIER();
    }
    return per_call(start, n, value, &keys[0]);
}

static double run_pthread_set(void *arg)
{
    const size_t n = bench_count(CALLS);
    int rc = 0;

    (void)arg;
    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        rc |= pthread_setspecific(thread_key, &keys[0]);
        BENCH_BARRIER();
    }
    bench_check(rc == 0, "pthread_setspecific");
    return per_call(start, n, pthread_getspecific(thread_key), &keys[0]);
}

static double run_thread_local(void *arg)
{
    const size_t n = bench_count(CALLS);
    void *value = NULL;

    (void)arg;
    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        value = thread_value;
        BENCH_BARRIER();
    }
    return per_call(start, n, value, &keys[0]);
}

static void *set_one(void *arg)
{
    return gev_local_set(keys[1], arg) == 0 ? arg : NULL;
}

static void *set_nothing(void *arg)
{
    return arg;
}

static double run_life(void *arg)
{
    const size_t n = bench_count(LIVES);
    gev_fn fn = arg == NULL ? set_nothing : set_one;

    destroyed = 0;
    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        gev_greenlet *g = gev_spawn(fn, &keys[1]);
        bench_check(g != NULL && gev_join(g, GEV_FOREVER) == 0, "gev_join");
        gev_unref(g);
    }
    double end = (bench_cpu() - start) * 1e9 / (double)n;
    bench_check(destroyed == (arg == NULL ? 0 : n), "all are destroyed");
    return end;
}

int main(int argc, char **argv)
{
    static int yes;

    bench_option(argc, argv, usage, "");
    bench_pin(0);
    for (size_t i = 0; i < N_KEYS; i++) {
        void (*destroy)(void *) = i == 1 ? count_destroyed : NULL;
        bench_check(gev_local_create(&keys[i], destroy) == 0 &&
                        gev_local_set(keys[i], &keys[i]) == 0,
                    "gev_local_create");
    }
    bench_check(pthread_key_create(&thread_key, NULL) == 0 &&
                    pthread_setspecific(thread_key, &keys[0]) == 0,
                "pthread_key_create");
    thread_value = &keys[0];
    bench_check(gev_set_context(&keys[0]) == 0, "gev_set_context");
    const struct bench_case cases[] = {
        {"local.pthread_get", "ns", NULL, run_pthread_get, NULL},
        {"local.pthread_set", "ns", NULL, run_pthread_set, NULL},
        {"local.thread_local", "ns", NULL, run_thread_local, NULL},
        {"local.bare", "ns", NULL, run_life, NULL},
        {"local.get", "ns", "local.pthread_get", run_get, NULL},
        {"local.get_of_32", "ns", "local.pthread_get", run_get, &yes},
        {"local.set", "ns", "local.pthread_set", run_set, NULL},
        {"local.context", "ns", "local.thread_local", run_context, NULL},
        {"local.life", "ns", "local.bare", run_life, &yes},
    };
    bench_run(cases, sizeof(cases) / sizeof(cases[0]));
    return gev_hub_close() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
