/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_EXCHANGE_H
#define GEV_TEST_EXCHANGE_H

/* What the models of queues and channels share.
 *
 * Main is the only one that decides: it does what needs no wait itself, and
 * has each call that may wait done by a greenlet of its own, a waiter. Beside
 * each call the model does the same with arrays, and notes who has ended and
 * how; where main lets the others run, both must agree: who has ended, in
 * which order, with what. Time moves only when main sleeps, and timeouts never
 * fall on main's own times, so what happens first is never open. */

#include <gev.h>

#include "base/clock.h"
#include "support/gev_test.h"
#include "support/trace.h"

#include <stdlib.h>

enum { WAITERS = 60 };

struct waiter {
    gev_greenlet *g;
    int kind;   /* what it does: the test's */
    int number; /* the item it brings, or which channel */
    double timeout;
    gev_clause clause[4];
    int n;
    /* how it ended */
    int rc;
    int error;
    int item;
    /* the model */
    bool waiting; /* has not ended */
    bool killed;
    int64_t deadline;
    int wanted_rc;
    int wanted_error;
    int wanted_item;
};

static struct waiter waiters[WAITERS];
static int n_waiters;
static int real_log[2 * WAITERS];
static int n_real;
static int model_log[2 * WAITERS];
static int n_model;
static unsigned seed;
static uint32_t random_state;
static long operations;

static inline int below(int n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return (int)(random_state % (unsigned)n);
}

/* --- lists of numbers ----------------------------------------------------- */

struct list {
    int n;
    int at[256];
};

static inline void append(struct list *l, int number)
{
    if (l->n < 256) {
        l->at[l->n++] = number;
    }
}

static inline int remove_at(struct list *l, int i)
{
    int number = l->at[i];
    l->n--;
    memmove(&l->at[i], &l->at[i + 1], (size_t)(l->n - i) * sizeof(l->at[0]));
    return number;
}

static inline bool remove_number(struct list *l, int number)
{
    for (int i = 0; i < l->n; i++) {
        if (l->at[i] == number) {
            (void)remove_at(l, i);
            return true;
        }
    }
    return false;
}

/* --- waiters -------------------------------------------------------------- */

/* In the model: w has got what it waited for, or will not. */
static inline void complete(int w, int rc, int error, int item)
{
    waiters[w].waiting = false;
    waiters[w].wanted_rc = rc;
    waiters[w].wanted_error = error;
    waiters[w].wanted_item = item;
    model_log[n_model++] = w;
}

/* The same for the one who is calling: it ends before those whom its call has
 * woken, who came into the log after mark. */
static inline void complete_caller(int w, int mark, int rc, int error, int item)
{
    complete(w, rc, error, item);
    memmove(&model_log[mark + 1], &model_log[mark],
            (size_t)(n_model - 1 - mark) * sizeof(model_log[0]));
    model_log[mark] = w;
}

/* In a waiter: how its call ended. */
static inline void note_end(struct waiter *w, int rc, void *item)
{
    w->rc = rc;
    w->error = rc < 0 ? errno : 0;
    w->item = N(item);
    real_log[n_real++] = (int)(w - waiters);
}

/* The deadlines lie between the times at which main acts, and no two at the
 * same. */
static inline double random_timeout(void)
{
    return below(3) == 0 ? GEV_FOREVER
                         : 0.0005 + 0.001 * below(12) + 0.000005 * n_waiters;
}

/* A new one, of which the caller sets what it does. */
static inline struct waiter *new_waiter(void)
{
    struct waiter *w = &waiters[n_waiters];
    *w = (struct waiter){.waiting = true, .item = -1};
    w->timeout = random_timeout();
    n_waiters++;
    w->deadline = w->timeout == GEV_FOREVER
                      ? GEV__NEVER
                      : gev__clock_now() + (int64_t)(w->timeout * 1e9);
    return w;
}

/* The one whose deadline passed first, or -1. */
static inline int next_to_expire(int64_t now)
{
    int next = -1;
    for (int i = 0; i < n_waiters; i++) {
        const struct waiter *w = &waiters[i];
        if (w->waiting && w->deadline <= now &&
            (next < 0 || w->deadline < waiters[next].deadline)) {
            next = i;
        }
    }
    return next;
}

/* Lets all run that can. */
static inline void settle(void)
{
    for (int i = 0; i < 4; i++) {
        expect_ok(gev_yield());
    }
}

static inline bool agree(void)
{
    bool same =
        n_real == n_model &&
        memcmp(real_log, model_log, (size_t)n_real * sizeof(real_log[0])) == 0;
    for (int i = 0; i < n_real && same; i++) {
        const struct waiter *w = &waiters[real_log[i]];
        same = w->rc == w->wanted_rc && w->error == w->wanted_error &&
               w->item == w->wanted_item;
        if (!same) {
            expect_never("waiter %d (kind %d): %d, %d, item %d; the model: "
                         "%d, %d, item %d",
                         real_log[i], w->kind, w->rc, w->error, w->item,
                         w->wanted_rc, w->wanted_error, w->wanted_item);
        }
    }
    if (!same) {
        print_message("ended:");
        for (int i = 0; i < n_real; i++) {
            print_message(" %d", real_log[i]);
        }
        print_message("\nthe model:");
        for (int i = 0; i < n_model; i++) {
            print_message(" %d", model_log[i]);
        }
        print_message("\n");
        expect_never("seed %u: gev and the model differ", seed);
    }
    return same;
}

static inline void forget_waiters(void)
{
    for (int i = 0; i < n_waiters; i++) {
        expect_ok(gev_join(waiters[i].g, GEV_FOREVER));
        gev_unref(waiters[i].g);
    }
    n_waiters = 0;
    n_real = 0;
    n_model = 0;
}

/* Runs one schedule for each seed: GEV_MODEL_SEED=n for that one alone,
 * GEV_MODEL_COUNT=n for so many. */
static inline void run_seeds(void (*schedule)(void), unsigned count)
{
    const char *one = getenv("GEV_MODEL_SEED");
    const char *many = getenv("GEV_MODEL_COUNT");
    unsigned first = one != NULL ? (unsigned)strtoul(one, NULL, 10) : 1;
    unsigned n = one != NULL         ? 1
                 : many != NULL      ? (unsigned)strtoul(many, NULL, 10)
                 : test_scale(1) > 1 ? count / 10
                                     : count;
    gev__clock_set_virtual(true);
    for (seed = first; seed < first + n && !test_failed(); seed++) {
        random_state = seed * 2654435761u | 1;
        for (int i = 0; i < 10; i++) {
            (void)below(2);
        }
        test_note("seed %u", seed);
        schedule();
        forget_waiters();
    }
    test_note(NULL);
    expect_ok(gev_hub_close());
    gev__clock_set_virtual(false);
    print_message("%ld operations\n", operations);
    expect_true(one != NULL || operations > 10 * (long)n);
}

#endif
