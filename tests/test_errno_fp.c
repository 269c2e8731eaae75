/* SPDX-License-Identifier: MIT */

/* errno and the floating point control words are per greenlet (RAW18, section
 * 0, section 12 "Floating point"). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <fenv.h>

struct keeper {
    int number;
    int wrong;
};

static void *keep_errno(void *arg)
{
    struct keeper *k = arg;
    for (int i = 0; i < 50; i++) {
        errno = k->number;
        k->wrong += gev_yield() != 0 || errno != k->number;
        if (i % 10 == 0) {
            k->wrong += gev_sleep(0.0005) != 0 || errno != k->number;
        }
    }
    return NULL;
}

/* Section 0: no switch disturbs errno; a success leaves it alone. */
GEV_TEST(errno_is_kept_across_parks)
{
    struct keeper k[10];
    gev_greenlet *g[10];
    for (int i = 0; i < 10; i++) {
        k[i] = (struct keeper){.number = 100 + i};
        g[i] = gev_spawn(keep_errno, &k[i]);
    }
    errno = 77;
    expect_int_eq(gev_joinall(g, 10, GEV_FOREVER), 10);
    expect_int_eq(errno, 77);
    for (int i = 0; i < 10; i++) {
        expect_int_eq(k[i].wrong, 0);
    }
    gev_unrefall(g, 10);
}

static void *switch_with_errno(void *arg)
{
    int *wrong = arg;
    errno = 55;
    for (int i = 0; i < 10; i++) {
        *wrong += gev_switch(gev_parent(gev_current()), NULL, NULL) != 0 ||
                  errno != 55;
    }
    return NULL;
}

/* RAW18: raw switches, too. */
GEV_TEST(errno_is_kept_across_raw_switches)
{
    int wrong = 0;
    gev_greenlet *g = gev_new(switch_with_errno, &wrong);
    for (int i = 0; i < 11; i++) {
        errno = 200 + i;
        expect_ok(gev_switch(g, NULL, NULL));
        expect_int_eq(errno, 200 + i);
    }
    expect_true(gev_dead(g));
    expect_int_eq(wrong, 0);
    gev_unref(g);
}

static void *fail_a_park(void *arg)
{
    int *error = arg;
    *error = gev_sleep(10) == 0 ? 0 : errno;
    (void)gev_yield();
    return NULL;
}

/* The failure of one greenlet's park is its own. */
GEV_TEST(failed_park_sets_errno_of_its_greenlet_only)
{
    int error = 0;
    gev_greenlet *g = gev_spawn(fail_a_park, &error);
    errno = 66;
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(errno, 66);
    expect_int_eq(error, ECANCELED);
    gev_unref(g);
}

static void set_errno(void *arg)
{
    (void)arg;
    errno = 88;
}

/* Callbacks in the hub do not disturb it either. */
GEV_TEST(callbacks_do_not_disturb_errno)
{
    expect_ok(gev_hub_post(gev_hub_get(), set_errno, NULL));
    errno = 44;
    expect_ok(gev_sleep(0.001));
    expect_int_eq(errno, 44);
}

/* 1/3 rounds differently up and down. Not inlined: a compiler may move a
 * division past whatever changes the mode, but not past a call. */
static __attribute__((noinline)) double third(void)
{
    volatile double one = 1.0;
    volatile double three = 3.0;
    return one / three;
}

struct rounder {
    int mode;
    int wrong;
};

static void *keep_mode(void *arg)
{
    struct rounder *r = arg;
    (void)fesetround(r->mode);
    double mine = third();
    for (int i = 0; i < 20; i++) {
        r->wrong += gev_yield() != 0;
        r->wrong += fegetround() != r->mode;
        r->wrong += third() != mine;
        if (i % 5 == 0) {
            r->wrong += gev_sleep(0.0005) != 0;
            r->wrong += fegetround() != r->mode;
        }
    }
    return NULL;
}

/* Section 12 "Floating point" */
GEV_TEST(rounding_mode_is_kept_across_parks)
{
    const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST};
    struct rounder r[8];
    gev_greenlet *g[8];
    int before = fegetround();
    for (int i = 0; i < 8; i++) {
        r[i] = (struct rounder){.mode = modes[i % 4]};
        g[i] = gev_spawn(keep_mode, &r[i]);
    }
    expect_int_eq(gev_joinall(g, 8, GEV_FOREVER), 8);
    expect_int_eq(fegetround(), before);
    for (int i = 0; i < 8; i++) {
        expect_int_eq(r[i].wrong, 0);
    }
    gev_unrefall(g, 8);
}

static void *leave_upward(void *arg)
{
    (void)fesetround(FE_UPWARD);
    return arg;
}

static void *switch_upward(void *arg)
{
    int *wrong = arg;
    (void)fesetround(FE_UPWARD);
    double mine = third();
    (void)gev_switch(gev_parent(gev_current()), NULL, NULL);
    *wrong += fegetround() != FE_UPWARD || third() != mine;
    return NULL;
}

/* A greenlet that ends with another mode leaves it to nobody. */
GEV_TEST(rounding_mode_ends_with_its_greenlet)
{
    int wrong = 0;
    double mine = third();
    gev_greenlet *g = gev_spawn(leave_upward, NULL);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_int_eq(fegetround(), FE_TONEAREST);
    g = gev_new(leave_upward, NULL);
    expect_ok(gev_switch(g, NULL, NULL));
    expect_int_eq(fegetround(), FE_TONEAREST);
    gev_unref(g);
    g = gev_new(switch_upward, &wrong);
    expect_ok(gev_switch(g, NULL, NULL));
    expect_int_eq(fegetround(), FE_TONEAREST);
    expect_true(third() == mine);
    expect_ok(gev_switch(g, NULL, NULL));
    expect_int_eq(wrong, 0);
    expect_int_eq(fegetround(), FE_TONEAREST);
    gev_unref(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errno_is_kept_across_parks),
        cmocka_unit_test(errno_is_kept_across_raw_switches),
        cmocka_unit_test(failed_park_sets_errno_of_its_greenlet_only),
        cmocka_unit_test(callbacks_do_not_disturb_errno),
        cmocka_unit_test(rounding_mode_is_kept_across_parks),
        cmocka_unit_test(rounding_mode_ends_with_its_greenlet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
