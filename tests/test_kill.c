/* SPDX-License-Identifier: MIT */

/* Kills and throws (GLT4, GLT13-GLT16, TOP7, TOP8, C2-C4). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

static uint64_t count_timers(void)
{
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub_stats(gev_hub_get(), &stats);
    return stats.timers;
}

/* What became of a greenlet's parks. */
struct parks {
    int rc[4];
    int error[4];
    int uncancelled;
};

static void note_sleep(struct parks *p, int i, double seconds)
{
    p->rc[i] = gev_sleep(seconds);
    p->error[i] = p->rc[i] == 0 ? 0 : errno;
}

/* Parks until it is disturbed, then tries three short parks, returns P(5). */
static void *park_four_times(void *arg)
{
    struct parks *p = arg;
    note_sleep(p, 0, GEV_FOREVER);
    for (int i = 1; i < 4; i++) {
        note_sleep(p, i, 0.001);
    }
    return P(5);
}

static void *park_and_uncancel(void *arg)
{
    struct parks *p = arg;
    note_sleep(p, 0, GEV_FOREVER);
    p->uncancelled = gev_uncancel();
    for (int i = 1; i < 4; i++) {
        note_sleep(p, i, 0.001);
    }
    return P(5);
}

/* GLT4, C3 */
GEV_TEST(killed_before_it_began_never_runs_but_its_links_fire)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(trace_and_return, "ran");
    expect_ok(gev_link(g, trace_link, "link"));
    expect_ok(gev_link_value(g, trace_link, "value"));
    expect_ok(gev_link_error(g, trace_link, "error"));
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_true(gev_dead(g));
    expect_true(gev_ready(g));
    expect_true(gev_killed(g));
    expect_true(gev_successful(g));
    expect_true(gev_started(g));
    expect_int_eq(gev_error(g), ECANCELED);
    expect_null(gev_value(g));
    expect_fail(gev_get(g, NULL, GEV_FOREVER), ECANCELED);
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "link value");
    gev_unref(g);
}

/* GLT13: unstarted: cancelled at once, no switch. */
GEV_TEST(kill_of_what_has_not_begun_does_not_park)
{
    trace_reset();
    gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
    gev_greenlet *g = gev_spawn(trace_and_return, "ran");
    gev_greenlet *unstarted = gev_new(trace_and_return, "ran");
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_ok(gev_kill(unstarted, GEV_FOREVER));
    expect_str_eq(trace_text(), "");
    expect_true(gev_dead(g));
    expect_true(gev_dead(unstarted));
    expect_true(gev_killed(unstarted));
    expect_ok(gev_start(unstarted)); /* does nothing */
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "ready");
    gev_unref(ready);
    gev_unref(g);
    gev_unref(unstarted);
}

/* RAW12: "A kill is sticky": every later park fails too. */
GEV_TEST(kill_fails_every_park_until_the_end)
{
    struct parks p = {{0}, {0}, 0};
    gev_greenlet *g = gev_spawn(park_four_times, &p);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    for (int i = 0; i < 4; i++) {
        expect_int_eq(p.rc[i], -1);
        expect_int_eq(p.error[i], ECANCELED);
    }
    /* it returned a value, but with its kill pending */
    expect_true(gev_killed(g));
    expect_true(gev_successful(g));
    expect_null(gev_value(g));
    expect_int_eq(gev_error(g), ECANCELED);
    expect_fail(gev_get(g, NULL, GEV_FOREVER), ECANCELED);
    gev_unref(g);
}

/* Section 12 "States": after gev_uncancel() its value counts. */
GEV_TEST(kill_can_be_taken_back)
{
    struct parks p = {{0}, {0}, 0};
    gev_greenlet *g = gev_spawn(park_and_uncancel, &p);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(p.error[0], ECANCELED);
    expect_int_eq(p.uncancelled, ECANCELED);
    for (int i = 1; i < 4; i++) {
        expect_int_eq(p.rc[i], 0);
    }
    expect_false(gev_killed(g));
    expect_true(gev_successful(g));
    expect_int_eq(gev_error(g), 0);
    expect_int_eq(N(gev_value(g)), 5);
    gev_unref(g);
    expect_int_eq(gev_uncancel(), 0); /* main was never killed */
}

/* Section 12 "Kill": timeout 0 returns 0 at once. */
GEV_TEST(kill_with_timeout_zero_does_not_wait)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(park_forever, NULL);
    expect_ok(gev_yield());
    gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
    expect_ok(gev_kill(g, 0));
    expect_false(gev_dead(g));
    expect_str_eq(trace_text(), "");
    expect_ok(gev_kill(g, -1));
    expect_false(gev_dead(g));
    expect_ok(gev_yield());
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_true(gev_killed(g));
    gev_unref(g);
    gev_unref(ready);
}

/* GLT13, C4: dead: nothing happens. Repeated kills are harmless. */
GEV_TEST(kill_of_a_dead_one_changes_nothing)
{
    gev_greenlet *g = gev_spawn(return_arg, P(3));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_ok(gev_kill(g, 0));
    expect_ok(gev_kill_error(g, EIO, GEV_FOREVER));
    expect_false(gev_killed(g));
    expect_int_eq(N(gev_value(g)), 3);
    expect_int_eq(gev_error(g), 0);
    gev_unref(g);
}

GEV_TEST(kill_refuses_misuse)
{
    gev_greenlet *g = gev_spawn(park_forever, NULL);
    expect_ok(gev_yield());
    expect_fail(gev_kill(NULL, 0), EINVAL);
    expect_fail(gev_kill(g, (double)NAN), EINVAL);
    expect_fail(gev_kill_error(NULL, EIO, 0), EINVAL);
    expect_fail(gev_kill_error(g, 0, 0), EINVAL);
    expect_fail(gev_kill_error(g, -EIO, 0), EINVAL);
    expect_fail(gev_kill_error(g, EIO, (double)NAN), EINVAL);
    expect_fail(gev_killall(NULL, 1, 0), EINVAL);
    expect_fail(gev_killall(&g, 1, (double)NAN), EINVAL);
    expect_fail(gev_throw(g, 0), EINVAL);
    expect_fail(gev_throw(NULL, EIO), EINVAL);
    expect_ok(gev_yield());
    expect_ok(gev_yield());
    expect_false(gev_dead(g)); /* none of them did anything */
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
}

static void *kill_self(void *arg)
{
    struct parks *p = arg;
    p->rc[0] = gev_kill(gev_current(), GEV_FOREVER);
    p->error[0] = errno;
    note_sleep(p, 1, 0.001);
    note_sleep(p, 2, 0);
    note_sleep(p, 3, GEV_FOREVER);
    return P(5);
}

/* GLT15, section 12 "Kill": of oneself. */
GEV_TEST(kill_of_oneself_is_ecanceled_and_sticks)
{
    struct parks p = {{0}, {0}, 0};
    gev_greenlet *g = gev_spawn(kill_self, &p);
    expect_ok(gev_join(g, GEV_FOREVER));
    for (int i = 0; i < 4; i++) {
        expect_int_eq(p.rc[i], -1);
        expect_int_eq(p.error[i], ECANCELED);
    }
    expect_true(gev_killed(g));
    expect_true(gev_successful(g));
    gev_unref(g);
    /* main, too */
    expect_fail(gev_kill(gev_current(), 0), ECANCELED);
    expect_fail(gev_sleep(0.001), ECANCELED);
    expect_fail(gev_yield(), ECANCELED);
    expect_int_eq(gev_uncancel(), ECANCELED);
    expect_int_eq(gev_uncancel(), 0);
    expect_ok(gev_yield());
}

struct getter {
    gev_waiter waiter;
    int rc;
    void *value;
    int park_rc;
    int park_error;
};

static void *get_then_park(void *arg)
{
    struct getter *w = arg;
    w->rc = gev_waiter_get(&w->waiter, &w->value, GEV_FOREVER);
    w->park_rc = gev_sleep(0.001);
    w->park_error = w->park_rc == 0 ? 0 : errno;
    return P(1);
}

/* GLT14, section 12 "Kill": one whose wake is queued gets what it waited for,
 * and fails at its next park. */
GEV_TEST(kill_after_the_wake_lets_the_value_through)
{
    struct getter w = {.rc = -2};
    gev_greenlet *g = gev_spawn(get_then_park, &w);
    expect_ok(gev_yield());
    gev_waiter_switch(&w.waiter, P(8));
    expect_ok(gev_kill(g, 0));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(w.rc, 0);
    expect_int_eq(N(w.value), 8);
    expect_int_eq(w.park_rc, -1);
    expect_int_eq(w.park_error, ECANCELED);
    expect_true(gev_killed(g));
    gev_unref(g);
}

/* C2: and the other way round: what comes after the kill is not lost. */
GEV_TEST(value_after_the_kill_stays_for_the_next)
{
    struct getter w = {.rc = -2};
    gev_greenlet *g = gev_spawn(get_then_park, &w);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, 0));
    gev_waiter_switch(&w.waiter, P(8));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(w.rc, -1);
    void *value = NULL;
    expect_ok(gev_waiter_get(&w.waiter, &value, 0));
    expect_int_eq(N(value), 8);
    gev_unref(g);
}

static void *yield_then_park(void *arg)
{
    struct parks *p = arg;
    p->rc[0] = gev_yield();
    note_sleep(p, 1, 0.001);
    return P(5);
}

static void *yield_then_return(void *arg)
{
    return gev_yield() == 0 ? arg : gev_fail(errno);
}

/* GLT14: a yield's wake is queued from the beginning. */
GEV_TEST(kill_of_a_yielding_one_acts_at_its_next_park)
{
    struct parks p = {{-2, -2}, {0}, 0};
    gev_greenlet *g = gev_spawn(yield_then_park, &p);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(p.rc[0], 0);
    expect_int_eq(p.rc[1], -1);
    expect_int_eq(p.error[1], ECANCELED);
    gev_unref(g);
    /* one that returns without another park never sees it, but counts */
    g = gev_spawn(yield_then_return, P(3));
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_true(gev_killed(g));
    expect_fail(gev_get(g, NULL, 0), ECANCELED);
    gev_unref(g);
}

/* GLT13: codes other than ECANCELED are delivered once. */
GEV_TEST(kill_error_is_delivered_once)
{
    struct parks p = {{0}, {0}, 0};
    gev_greenlet *g = gev_spawn(park_four_times, &p);
    expect_ok(gev_yield());
    expect_ok(gev_kill_error(g, EPROTO, GEV_FOREVER));
    expect_int_eq(p.error[0], EPROTO);
    for (int i = 1; i < 4; i++) {
        expect_int_eq(p.rc[i], 0);
    }
    expect_false(gev_killed(g));
    expect_true(gev_successful(g));
    expect_int_eq(N(gev_value(g)), 5);
    gev_unref(g);
}

/* GLT13: unsuccessful, get gives the code; reported, as it ended by it. */
GEV_TEST(kill_error_ends_one_that_gives_it_back)
{
    int errors = 0;
    gev_set_error_handler(count_error, &errors);
    gev_greenlet *g = gev_spawn(park_forever, NULL);
    expect_ok(gev_yield());
    expect_ok(gev_kill_error(g, EPROTO, GEV_FOREVER));
    expect_false(gev_killed(g));
    expect_false(gev_successful(g));
    expect_fail(gev_get(g, NULL, 0), EPROTO);
    expect_ok(gev_sleep(0.001));
    expect_int_eq(errors, 1);
    gev_unref(g);
}

/* Section 12 "Kill": on one that never ran: that code, links, no report. */
GEV_TEST(kill_error_and_throw_on_one_that_never_ran)
{
    int errors = 0;
    gev_set_error_handler(count_error, &errors);
    trace_reset();
    gev_greenlet *a = gev_spawn(trace_and_return, "ran");
    gev_greenlet *b = gev_spawn_later(10, trace_and_return, "ran");
    expect_ok(gev_link(a, trace_link, "a"));
    expect_ok(gev_link_error(a, trace_link, "a-error"));
    expect_ok(gev_link_value(a, trace_link, "a-value"));
    expect_ok(gev_link(b, trace_link, "b"));
    expect_ok(gev_kill_error(a, EPROTO, GEV_FOREVER));
    expect_ok(gev_throw(b, EPIPE));
    expect_true(gev_dead(a));
    expect_true(gev_dead(b));
    expect_false(gev_killed(a));
    expect_false(gev_successful(a));
    expect_int_eq(gev_error(a), EPROTO);
    expect_int_eq(gev_error(b), EPIPE);
    expect_fail(gev_get(b, NULL, 0), EPIPE);
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "a a-error b");
    expect_int_eq(errors, 0);
    expect_uint_eq(count_timers(), 0);
    gev_unref(a);
    gev_unref(b);
}

static void *kill_self_error(void *arg)
{
    struct parks *p = arg;
    p->rc[0] = gev_kill_error(gev_current(), EPROTO, GEV_FOREVER);
    p->error[0] = errno;
    note_sleep(p, 1, 0.001);
    p->rc[2] = gev_throw(gev_current(), EPIPE);
    p->error[2] = errno;
    note_sleep(p, 3, 0.001);
    return P(5);
}

/* Section 12 "Kill": thrown into oneself: -1 with the code, once. */
GEV_TEST(codes_thrown_into_oneself_come_back_once)
{
    struct parks p = {{0}, {0}, 0};
    gev_greenlet *g = gev_spawn(kill_self_error, &p);
    void *value = NULL;
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_int_eq(N(value), 5);
    expect_int_eq(p.rc[0], -1);
    expect_int_eq(p.error[0], EPROTO);
    expect_int_eq(p.rc[1], 0);
    expect_int_eq(p.rc[2], -1);
    expect_int_eq(p.error[2], EPIPE);
    expect_int_eq(p.rc[3], 0);
    gev_unref(g);
}

/* gev_throw: fails a park under the hub once, at the target's next turn. */
GEV_TEST(throw_fails_one_park)
{
    struct parks p = {{0}, {0}, 0};
    gev_greenlet *g = gev_spawn(park_four_times, &p);
    expect_ok(gev_yield());
    expect_ok(gev_throw(g, EPROTO));
    expect_int_eq(p.rc[0], 0); /* not inline */
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(p.error[0], EPROTO);
    expect_int_eq(p.rc[1], 0);
    expect_true(gev_successful(g));
    gev_unref(g);
}

/* gev_throw: into one that is ready: its next park fails; several codes come
 * one by one. */
GEV_TEST(throws_into_a_ready_one_wait_for_its_next_parks)
{
    struct parks p = {{0}, {0}, 0};
    gev_greenlet *g = gev_spawn(park_four_times, &p);
    expect_ok(gev_yield());
    expect_ok(gev_throw(g, EPROTO)); /* makes it ready */
    expect_ok(gev_throw(g, EPIPE));
    expect_ok(gev_throw(g, EIO));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(p.error[0], EPROTO);
    expect_int_eq(p.error[1], EPIPE);
    expect_int_eq(p.error[2], EIO);
    expect_int_eq(p.rc[3], 0);
    gev_unref(g);
}

/* Section 12 "Kill": a dead one that ran under the hub: ESRCH. */
GEV_TEST(throw_into_a_dead_one_is_esrch)
{
    gev_greenlet *g = gev_spawn(return_arg, P(1));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_fail(gev_throw(g, EIO), ESRCH);
    expect_fail(gev_throw(g, ECANCELED), ESRCH);
    gev_unref(g);
    g = gev_spawn(return_arg, P(1));
    expect_ok(gev_kill(g, 0)); /* dead before it began */
    expect_fail(gev_throw(g, EIO), ESRCH);
    gev_unref(g);
}

static void *throw_into_arg(void *arg)
{
    return gev_throw(arg, EPROTO) == 0 ? NULL : gev_fail(errno);
}

static void *kill_arg(void *arg)
{
    return gev_kill(arg, 0) == 0 ? NULL : gev_fail(errno);
}

/* TOP7, HUB9: any kind of greenlet, main too. */
GEV_TEST(main_can_be_killed_and_thrown_at)
{
    gev_greenlet *g = gev_spawn(throw_into_arg, gev_current());
    expect_fail(gev_sleep(GEV_FOREVER), EPROTO);
    expect_ok(gev_yield());
    gev_unref(g);
    g = gev_spawn(kill_arg, gev_current());
    expect_fail(gev_sleep(GEV_FOREVER), ECANCELED);
    expect_ok(gev_join(g, GEV_FOREVER)); /* dead: no park */
    expect_fail(gev_yield(), ECANCELED);
    expect_int_eq(gev_uncancel(), ECANCELED);
    expect_ok(gev_yield());
    gev_unref(g);
}

static void *shielded_sleep(void *arg)
{
    gev_shield_begin();
    int rc = gev_sleep(0.1);
    gev_shield_end();
    return rc == 0 ? arg : gev_fail(errno);
}

/* GLT13: the wait for the end may run out. */
GEV_TEST(kill_times_out_while_the_target_goes_on)
{
    gev_greenlet *g = gev_spawn(shielded_sleep, P(1));
    double start = test_now();
    expect_ok(gev_yield());
    expect_fail(gev_kill(g, 0.002), ETIMEDOUT);
    expect_ge(test_now() - start, 0.002);
    expect_false(gev_dead(g));
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_ge(test_now() - start, 0.1);
    expect_true(gev_killed(g));
    gev_unref(g);
}

/* TOP8 */
GEV_TEST(killall_kills_all_and_waits)
{
    trace_reset();
    gev_greenlet *g[6] = {
        gev_spawn(park_forever, NULL),   NULL,
        gev_spawn(return_arg, P(1)),     gev_spawn(park_forever, NULL),
        gev_spawn(shielded_sleep, NULL), NULL,
    };
    expect_ok(gev_yield());
    g[5] = gev_spawn(trace_and_return, "ran");
    expect_ok(gev_killall(g, 6, GEV_FOREVER));
    for (int i = 0; i < 6; i++) {
        if (g[i] != NULL) {
            expect_true(gev_dead(g[i]));
            expect_int_eq(gev_error(g[i]), i == 2 ? 0 : ECANCELED);
        }
    }
    expect_ok(gev_killall(g, 6, GEV_FOREVER)); /* twice is harmless */
    expect_str_eq(trace_text(), "");
    gev_unrefall(g, 6);
}

static void *trace_its_end(void *arg)
{
    (void)gev_sleep(GEV_FOREVER);
    trace((const char *)arg);
    return NULL;
}

/* TOP8: those that never began are cancelled first; the live ones are killed
 * in order. */
GEV_TEST(killall_goes_in_order)
{
    trace_reset();
    gev_greenlet *g[4];
    g[0] = gev_spawn(trace_its_end, "a");
    g[1] = gev_spawn(trace_its_end, "b");
    expect_ok(gev_yield());
    g[2] = gev_spawn(trace_and_return, "ran");
    g[3] = gev_spawn_later(0.001, trace_and_return, "ran");
    expect_ok(gev_killall(g, 4, 0));
    expect_false(gev_dead(g[0]));
    expect_false(gev_dead(g[1]));
    expect_true(gev_dead(g[2]));
    expect_true(gev_dead(g[3]));
    expect_int_eq(gev_joinall(g, 4, GEV_FOREVER), 4);
    expect_ok(gev_sleep(0.005));
    expect_str_eq(trace_text(), "a b");
    gev_unrefall(g, 4);
}

/* TOP8 (c) */
GEV_TEST(killall_times_out)
{
    gev_greenlet *g[2] = {
        gev_spawn(shielded_sleep, NULL),
        gev_spawn(park_forever, NULL),
    };
    expect_ok(gev_yield());
    expect_fail(gev_killall(g, 2, 0.002), ETIMEDOUT);
    expect_false(gev_dead(g[0]));
    expect_true(gev_dead(g[1]));
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    gev_unrefall(g, 2);
}

struct killer {
    gev_greenlet *target;
    int rc;
    int error;
};

static void kill_in_callback(void *arg)
{
    struct killer *k = arg;
    k->rc = gev_kill(k->target, 0);
    k->error = errno;
}

/* A kill that does not wait may come from a callback. */
GEV_TEST(kill_from_a_callback)
{
    struct killer k = {.target = gev_spawn(park_forever, NULL), .rc = -2};
    expect_ok(gev_yield());
    expect_ok(gev_hub_post(gev_hub_get(), kill_in_callback, &k));
    expect_ok(gev_join(k.target, GEV_FOREVER));
    expect_int_eq(k.rc, 0);
    expect_true(gev_killed(k.target));
    gev_unref(k.target);
}

static void *kill_and_note(void *arg)
{
    struct killer *k = arg;
    k->rc = gev_kill(k->target, GEV_FOREVER);
    k->error = k->rc == 0 ? 0 : errno;
    return NULL;
}

/* The killer itself may be killed while it waits. */
GEV_TEST(killer_can_be_killed)
{
    gev_greenlet *target = gev_spawn(shielded_sleep, NULL);
    struct killer k = {.target = target, .rc = -2};
    gev_greenlet *killer = gev_spawn(kill_and_note, &k);
    expect_ok(gev_yield());
    expect_ok(gev_kill(killer, GEV_FOREVER));
    expect_int_eq(k.rc, -1);
    expect_int_eq(k.error, ECANCELED);
    expect_false(gev_dead(target));
    expect_ok(gev_join(target, GEV_FOREVER));
    expect_true(gev_killed(target));
    gev_unref(killer);
    gev_unref(target);
}

/* Section 12 "Scopes": a pending kill goes before a scope. */
static void *park_in_expired_scope(void *arg)
{
    struct parks *p = arg;
    gev_timeout t = {0};
    (void)gev_timeout_begin(&t, 0);
    note_sleep(p, 0, 0.001);
    (void)gev_kill(gev_current(), 0);
    note_sleep(p, 1, 0.001);
    (void)gev_uncancel();
    note_sleep(p, 2, 0.001);
    (void)gev_timeout_end(&t);
    note_sleep(p, 3, 0.001);
    return NULL;
}

GEV_TEST(pending_kill_goes_before_a_scope)
{
    struct parks p = {{0}, {0}, 0};
    gev_greenlet *g = gev_spawn(park_in_expired_scope, &p);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(p.error[0], ETIMEDOUT);
    expect_int_eq(p.error[1], ECANCELED);
    expect_int_eq(p.error[2], ETIMEDOUT);
    expect_int_eq(p.rc[3], 0);
    gev_unref(g);
}

/* C1: kill one greenlet at each of its parks in turn: its defers always run. */
static int open_resources;

static void close_resource(void *arg)
{
    (void)arg;
    open_resources--;
}

static void *hold_resources(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++) {
        open_resources++;
        if (gev_defer(close_resource, NULL) != 0) {
            return gev_fail(errno);
        }
        if (gev_yield() != 0 || gev_sleep(0.0001) != 0) {
            return gev_fail(errno);
        }
    }
    return NULL;
}

GEV_TEST(kill_at_every_park_leaks_nothing)
{
    for (int parks = 0; parks < 25; parks++) {
        open_resources = 0;
        gev_greenlet *g = gev_spawn(hold_resources, NULL);
        for (int i = 0; i < parks; i++) {
            if (i % 2 == 0) {
                expect_ok(gev_yield());
            } else {
                expect_ok(gev_sleep(0.0001));
            }
        }
        expect_ok(gev_kill(g, GEV_FOREVER));
        expect_int_eq(open_resources, 0);
        gev_unref(g);
    }
}

/* GLT13: the pending code that gev_uncancel() takes back is the kill's. */
static void *yield_then_uncancel(void *arg)
{
    int *code = arg;
    if (gev_yield() != 0) {
        return gev_fail(errno);
    }
    *code = gev_uncancel();
    return gev_sleep(0.001) == 0 ? P(1) : gev_fail(errno);
}

GEV_TEST(uncancel_before_the_delivery)
{
    int code = 0;
    gev_greenlet *g = gev_spawn(yield_then_uncancel, &code);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER)); /* it goes on to its end */
    expect_int_eq(code, ECANCELED);
    expect_false(gev_killed(g));
    expect_int_eq(N(gev_value(g)), 1);
    gev_unref(g);
    g = gev_spawn(yield_then_uncancel, &code);
    expect_ok(gev_yield());
    expect_ok(gev_kill_error(g, EPROTO, GEV_FOREVER));
    expect_int_eq(code, EPROTO);
    expect_int_eq(N(gev_value(g)), 1);
    gev_unref(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_before_it_began_never_runs_but_its_links_fire),
        cmocka_unit_test(kill_of_what_has_not_begun_does_not_park),
        cmocka_unit_test(kill_fails_every_park_until_the_end),
        cmocka_unit_test(kill_can_be_taken_back),
        cmocka_unit_test(kill_with_timeout_zero_does_not_wait),
        cmocka_unit_test(kill_of_a_dead_one_changes_nothing),
        cmocka_unit_test(kill_refuses_misuse),
        cmocka_unit_test(kill_of_oneself_is_ecanceled_and_sticks),
        cmocka_unit_test(kill_after_the_wake_lets_the_value_through),
        cmocka_unit_test(value_after_the_kill_stays_for_the_next),
        cmocka_unit_test(kill_of_a_yielding_one_acts_at_its_next_park),
        cmocka_unit_test(kill_error_is_delivered_once),
        cmocka_unit_test(kill_error_ends_one_that_gives_it_back),
        cmocka_unit_test(kill_error_and_throw_on_one_that_never_ran),
        cmocka_unit_test(codes_thrown_into_oneself_come_back_once),
        cmocka_unit_test(throw_fails_one_park),
        cmocka_unit_test(throws_into_a_ready_one_wait_for_its_next_parks),
        cmocka_unit_test(throw_into_a_dead_one_is_esrch),
        cmocka_unit_test(main_can_be_killed_and_thrown_at),
        cmocka_unit_test(kill_times_out_while_the_target_goes_on),
        cmocka_unit_test(killall_kills_all_and_waits),
        cmocka_unit_test(killall_goes_in_order),
        cmocka_unit_test(killall_times_out),
        cmocka_unit_test(kill_from_a_callback),
        cmocka_unit_test(killer_can_be_killed),
        cmocka_unit_test(pending_kill_goes_before_a_scope),
        cmocka_unit_test(kill_at_every_park_leaks_nothing),
        cmocka_unit_test(uncancel_before_the_delivery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
