/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_GREENLETS_H
#define GEV_TEST_GREENLETS_H

/* Short ways to start and to end what a test plays with: greenlets, threads,
 * children of a fork, callbacks of the hub. */

#include <gev.h>

#include "support/gev_test.h"

#include <pthread.h>
#include <sys/types.h>

/* Spawns, and lets run until it parks. */
static inline gev_greenlet *start(gev_fn fn, void *arg)
{
    gev_greenlet *g = gev_spawn(fn, arg);
    expect_ok(gev_yield());
    return g;
}

static inline void join_and_drop(gev_greenlet *g)
{
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
}

static inline void end_all(gev_greenlet **g, size_t n)
{
    expect_int_eq(gev_joinall(g, n, GEV_FOREVER), (int)n);
    gev_unrefall(g, n);
}

/* Has the hub call fn. */
static inline void call_in_hub(void (*fn)(void *), void *arg)
{
    expect_ok(gev_hub_post(gev_hub_get(), fn, arg));
    expect_ok(gev_sleep(0.001));
}

/* Blocks until fn has run in a thread of its own; its value, a number. */
static inline int value_in_thread(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    void *value = (void *)(intptr_t)-1;
    if (expect_int_eq(pthread_create(&thread, NULL, fn, arg), 0)) {
        expect_int_eq(pthread_join(thread, &value), 0);
    }
    return (int)(intptr_t)value;
}

/* The child of a fork exits with 0. */
static inline void expect_child_well(pid_t pid)
{
    int status = -1;
    expect_ok(gev_wait_child(pid, &status, GEV_FOREVER));
    expect_int_eq(status, 0);
}

#endif
