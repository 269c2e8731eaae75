/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_GATE_H
#define GEV_TEST_GATE_H

/* Jobs for threads that stay where they are until they are let go. */

#include "support/gev_test.h"

#include <semaphore.h>
#include <stdatomic.h>

#include <gev.h>

struct gate {
    sem_t inside; /* one for each that has come */
    sem_t open;   /* one for each that may go */
    atomic_int came;
    atomic_int gone;
};

static inline void gate_init(struct gate *g)
{
    sem_init(&g->inside, 0, 0);
    sem_init(&g->open, 0, 0);
    atomic_store(&g->came, 0);
    atomic_store(&g->gone, 0);
}

static inline void gate_take(sem_t *s)
{
    while (sem_wait(s) != 0) {
    }
}

/* The job: the gate is its argument and its value. */
static inline void *gate_pass(void *arg)
{
    struct gate *g = arg;
    atomic_fetch_add(&g->came, 1);
    sem_post(&g->inside);
    gate_take(&g->open);
    atomic_fetch_add(&g->gone, 1);
    return g;
}

/* Blocks until so many more have come. */
static inline void gate_await(struct gate *g, int n)
{
    while (n-- > 0) {
        gate_take(&g->inside);
    }
}

static inline void gate_let(struct gate *g, int n)
{
    while (n-- > 0) {
        sem_post(&g->open);
    }
}

/* Lets the hub run until a condition holds, which it must. */
#define expect_until(condition)                                                \
    do {                                                                       \
        double end_ = test_now() + test_scale(20);                             \
        while (!(condition) && test_now() < end_) {                            \
            gev_sleep(0.001);                                                  \
        }                                                                      \
        expect_true(condition);                                                \
    } while (0)

#endif
