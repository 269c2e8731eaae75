/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_FAULT_SWEEP_H
#define GEV_TEST_FAULT_SWEEP_H

/* Fault sweeps: "fail the k-th call for k = 1, 2, ... until the operation no
 * longer gets that far; each time it must say so and leave nothing behind".
 * For the build with fault points, in the body of a GEV_TEST.
 *
 *     static int spawn_and_join(void *arg)
 *     {
 *         gev_greenlet *g = gev_spawn(nothing, arg);
 *         if (g == NULL) {
 *             return -1;
 *         }
 *         int rc = gev_join(g, GEV_FOREVER);
 *         gev_unref(g);
 *         return rc;
 *     }
 *     GEV_TEST(spawn_survives_lack_of_memory)
 *     {
 *         static const struct fault_case cases[] = {
 *             {"memory", FAULT_AT(ALLOC), ENOMEM, .allowed = {ENOMEM}},
 *             {"maps", FAULT_AT(MMAP), ENOMEM, .allowed = {ENOMEM}},
 *         };
 *         fault_sweep(spawn_and_join, NULL, cases, 2, 0);
 *     }
 *
 * A scenario does one thing from beginning to end, in its own hub, and cleans
 * up whatever happens. It returns 0, or -1 with errno as the failing call left
 * it (save it over the clean-up). What else it finds wrong it tells by
 * expect_*. After each run: the outcome must be allowed, yields and sleeps must
 * work, no greenlet may be left, and once the hub is closed everything must be
 * given back. So a scenario that may wait in vain (EAGAIN at every read) needs
 * a timeout. */

#include "support/gev_test.h"

#include <errno.h>
#include <stdio.h>

#include <gev/greenlet.h>
#include <gev/hub.h>

#include "base/alloc.h"
#include "base/fault.h"
#include "base/sys.h"

#define FAULT_AT(point) (1u << GEV__FAULT_##point)

/* From the k-th call on, one can fail, or all, or all can be short. */
enum fault_shape {
    FAULT_ONCE = 1u << 0,
    FAULT_STICKY = 1u << 1,
    FAULT_SHORT = 1u << 2 /* READ and WRITE; must always succeed */
};

struct fault_case {
    const char *name;  /* for messages */
    unsigned points;   /* FAULT_AT() | ... */
    int error;         /* what to inject; unused by FAULT_SHORT */
    unsigned shapes;   /* enum fault_shape; 0: FAULT_ONCE | FAULT_STICKY */
    bool may_succeed;  /* the scenario may get by in spite of it */
    bool must_succeed; /* the library has to cope (EINTR) */
    int allowed[8];    /* what it may fail with, up to the first 0 */
};

/* Flags. The hub is there before anything fails: else its making is part of the
 * scenario and fails too. */
enum { FAULT_WARM = 1u << 0 };

#define FAULT_K_MAX 500u

/* What must be the same without a hub. */
struct fault_balance {
    size_t fds;
    long blocks;
    long mapped;
};

static inline struct fault_balance fault_balance_now(void)
{
    return (struct fault_balance){test_open_fds(), gev__alloc_live(),
                                  gev__sys_mapped()};
}

static inline bool fault_is_allowed(const struct fault_case *c, int error)
{
    for (size_t i = 0; i < gev__array_len(c->allowed); i++) {
        if (c->allowed[i] != 0 && c->allowed[i] == error) {
            return true;
        }
    }
    return false;
}

static inline void fault_check_outcome(const struct fault_case *c,
                                       enum fault_shape shape, unsigned hits,
                                       int rc, int error)
{
    bool must_succeed = hits == 0 || shape == FAULT_SHORT || c->must_succeed;
    if (must_succeed) {
        if (rc != 0) {
            expect_never("it failed with %d (%s)%s", error, gev_strerror(error),
                         hits == 0 ? " of its own accord" : "");
        }
    } else if (rc == 0) {
        expect_true(c->may_succeed);
    } else {
        expect_int_eq(rc, -1);
        if (!fault_is_allowed(c, error)) {
            expect_never("it failed with %d (%s), which is not allowed", error,
                         gev_strerror(error));
        }
    }
}

/* The hub as it should be after a failure, then nothing at all. */
static inline void fault_check_aftermath(struct fault_balance before)
{
    expect_ok(gev_yield());
    expect_ok(gev_sleep(0.001));
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub *hub = gev_hub_get();
    if (expect_not_null(hub)) {
        gev_hub_stats(hub, &stats);
        expect_uint_eq(stats.live, 0);
        expect_uint_eq(stats.fds, 0);
    }
    expect_ok(gev_hub_close());
    struct fault_balance after = fault_balance_now();
    expect_uint_eq(after.fds, before.fds);
    expect_int_eq(after.blocks, before.blocks);
    expect_int_eq(after.mapped, before.mapped);
}

/* Returns in how many runs something was injected. */
static inline unsigned fault_sweep_shape(int (*scenario)(void *), void *arg,
                                         const struct fault_case *c,
                                         enum fault_shape shape, unsigned flags)
{
    static const char *const shape_names[] = {"", "once", "sticky", "",
                                              "short"};
    expect_ok(gev_hub_close());
    unsigned hits = 1;
    unsigned k = 0;
    while (hits > 0 && k < FAULT_K_MAX && !test_failed()) {
        k++;
        test_note("%s, %s, k = %u", c->name, shape_names[shape], k);
        struct fault_balance before = fault_balance_now();
        if ((flags & FAULT_WARM) != 0) {
            expect_not_null(gev_hub_get());
        }
        if (shape == FAULT_SHORT) {
            gev__fault_arm_short(c->points, k);
        } else {
            gev__fault_arm(c->points, k, c->error, shape == FAULT_STICKY);
        }
        errno = 0;
        int rc = scenario(arg);
        int error = errno;
        hits = gev__fault_disarm();
        fault_check_outcome(c, shape, hits, rc, error);
        fault_check_aftermath(before);
    }
    if (!test_failed()) {
        /* Else the case tests nothing, or there is no end to it. */
        expect_true(k > 1);
        expect_uint_eq(hits, 0);
    }
    test_note(NULL);
    return k - 1;
}

/* Sweeps a scenario over all cases; prints and returns in how many runs
 * something was injected. */
static inline unsigned fault_sweep(int (*scenario)(void *), void *arg,
                                   const struct fault_case *cases, size_t n,
                                   unsigned flags)
{
    unsigned total = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned shapes = cases[i].shapes;
        if (shapes == 0) {
            shapes = FAULT_ONCE | FAULT_STICKY;
        }
        for (unsigned shape = FAULT_ONCE; shape <= FAULT_SHORT; shape <<= 1) {
            if ((shapes & shape) != 0 && !test_failed()) {
                total += fault_sweep_shape(scenario, arg, &cases[i],
                                           (enum fault_shape)shape, flags);
            }
        }
    }
    print_message("%u injected failures\n", total);
    return total;
}

#endif
