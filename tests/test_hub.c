/* SPDX-License-Identifier: MIT */

/* The hub: deadlock, run, close, posts, stats, watchers of the user's own
 * (HUB2-HUB4, HUB11, LOOP3-LOOP6, section 2 and 12 "Hub"). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <ev.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static gev_stats get_stats(void)
{
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub_stats(gev_hub_get(), &stats);
    return stats;
}

static void *sleep_50_ms(void *arg)
{
    return gev_sleep(0.05) == 0 ? arg : gev_fail(errno);
}

static void *sleep_2_ms(void *arg)
{
    return gev_sleep(0.002) == 0 ? arg : gev_fail(errno);
}

/* TOP14, HUB1 */
GEV_TEST(hub_is_one_a_thread)
{
    gev_hub *hub = gev_hub_get();
    expect_not_null(hub);
    expect_ptr_eq(gev_hub_get(), hub);
    expect_not_null(gev_hub_loop(hub));
    expect_ptr_eq(gev_hub_loop(hub), gev_hub_loop(hub));
}

static void *get_waiter(void *arg)
{
    void *value = NULL;
    if (gev_waiter_get(arg, &value, GEV_FOREVER) != 0) {
        return gev_fail(errno);
    }
    return value;
}

/* HUB2: main's park fails; those who wait stay, and can be woken later. */
GEV_TEST(nothing_left_to_wake_main_is_edeadlk)
{
    gev_waiter w = {{NULL}};
    expect_fail(gev_sleep(GEV_FOREVER), EDEADLK);
    gev_greenlet *g = gev_spawn(get_waiter, &w);
    expect_fail(gev_join(g, GEV_FOREVER), EDEADLK);
    expect_fail(gev_get(g, NULL, GEV_FOREVER), EDEADLK);
    expect_fail(gev_joinall(&g, 1, GEV_FOREVER), EDEADLK);
    expect_false(gev_dead(g));
    gev_waiter_switch(&w, P(6));
    void *value = NULL;
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_int_eq(N(value), 6);
    gev_unref(g);
}

static gev_greenlet *pair[2];

static void *join_the_other(void *arg)
{
    return gev_join(pair[N(arg)], GEV_FOREVER) == 0 ? NULL : gev_fail(errno);
}

/* C8: two that wait for each other. */
GEV_TEST(cycle_of_joins_is_edeadlk_for_main_only)
{
    pair[0] = gev_spawn(join_the_other, P(1));
    pair[1] = gev_spawn(join_the_other, P(0));
    expect_fail(gev_joinall(pair, 2, GEV_FOREVER), EDEADLK);
    expect_int_eq(gev_joinall(pair, 2, 0.002), 0); /* still parked */
    expect_ok(gev_kill(pair[0], GEV_FOREVER));
    expect_ok(gev_join(pair[1], GEV_FOREVER)); /* its target has ended */
    expect_true(gev_successful(pair[1]));
    expect_false(gev_killed(pair[1]));
    gev_unrefall(pair, 2);
}

/* A timeout of its own, or a scope, can wake it: no deadlock. */
GEV_TEST(timeouts_are_no_deadlock)
{
    gev_greenlet *g = gev_spawn(park_forever, NULL);
    gev_timeout t = {0};
    expect_fail(gev_join(g, 0.002), ETIMEDOUT);
    expect_ok(gev_timeout_begin_error(&t, 0.002, EPROTO));
    expect_fail(gev_join(g, GEV_FOREVER), EPROTO);
    expect_true(gev_timeout_end(&t));
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
}

/* HUB3, LOOP2 */
GEV_TEST(run_returns_when_nothing_is_left)
{
    expect_ok(gev_run(GEV_FOREVER));
    expect_ok(gev_run(0));
    gev_greenlet *g = gev_spawn(sleep_2_ms, P(1));
    gev_unref(gev_spawn_later(0.004, sleep_2_ms, NULL));
    expect_ok(gev_run(GEV_FOREVER));
    expect_true(gev_dead(g));
    expect_uint_eq(get_stats().live, 0);
    gev_unref(g);
    g = gev_spawn(return_arg, NULL);
    expect_ok(gev_run(GEV_FOREVER)); /* any number of times */
    expect_true(gev_dead(g));
    gev_unref(g);
}

/* HUB3: and when all that is left can never wake. */
GEV_TEST(run_ignores_what_can_never_wake)
{
    gev_waiter w = {{NULL}};
    gev_greenlet *never = gev_spawn(park_forever, NULL);
    gev_greenlet *waits = gev_spawn(get_waiter, &w);
    expect_ok(gev_run(GEV_FOREVER));
    expect_ok(gev_run(1));
    expect_false(gev_dead(never));
    expect_false(gev_dead(waits));
    gev_waiter_switch(&w, P(1));
    expect_ok(gev_run(GEV_FOREVER));
    expect_true(gev_dead(waits));
    expect_ok(gev_kill(never, GEV_FOREVER));
    gev_unref(never);
    gev_unref(waits);
}

static void *run_in_greenlet(void *arg)
{
    int *error = arg;
    *error = gev_run(0.001) == 0 ? 0 : errno;
    return NULL;
}

static void run_in_callback(void *arg)
{
    int *error = arg;
    *error = gev_run(1) == 0 ? 0 : errno;
}

/* HUB3 */
GEV_TEST(run_is_mains_alone_and_may_time_out)
{
    gev_greenlet *g = gev_spawn(sleep_50_ms, NULL);
    expect_fail(gev_run(0), ETIMEDOUT);
    expect_fail(gev_run(0.0005), ETIMEDOUT);
    expect_fail(gev_run((double)NAN), EINVAL);
    expect_ok(gev_run(10));
    gev_unref(g);
    int error = -1;
    gev_unref(gev_spawn(run_in_greenlet, &error));
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(error, EPERM);
    expect_ok(gev_hub_post(gev_hub_get(), run_in_callback, &error));
    expect_ok(gev_sleep(0.001));
    expect_int_eq(error, EPERM);
}

/* Scopes and kills fail it like any park. */
GEV_TEST(run_can_be_cut_short)
{
    gev_timeout t = {0};
    gev_greenlet *g = gev_spawn_later(10, return_arg, NULL);
    expect_ok(gev_timeout_begin_error(&t, 0.002, EPROTO));
    expect_fail(gev_run(GEV_FOREVER), EPROTO);
    expect_true(gev_timeout_end(&t));
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
}

/* gev_hub_ref: while held, nobody gets EDEADLK and gev_run() goes on. */
GEV_TEST(held_hub_never_deadlocks)
{
    gev_hub *hub = gev_hub_get();
    gev_timeout t = {0};
    gev_hub_ref(hub);
    gev_hub_ref(hub);
    gev_hub_unref(hub);
    expect_fail(gev_run(0.005), ETIMEDOUT);
    expect_ok(gev_timeout_begin(&t, 0.005));
    expect_fail(gev_sleep(GEV_FOREVER), ETIMEDOUT);
    expect_true(gev_timeout_end(&t));
    gev_hub_unref(hub);
    expect_ok(gev_run(GEV_FOREVER));
    expect_fail(gev_sleep(GEV_FOREVER), EDEADLK);
}

/* LOOP3: in the order posted; in the hub, never inline. */
GEV_TEST(posts_run_in_order_in_the_hub)
{
    trace_reset();
    gev_hub *hub = gev_hub_get();
    expect_ok(gev_hub_post(hub, trace_call, "a"));
    expect_ok(gev_hub_post(hub, trace_call, "b"));
    expect_ok(gev_hub_post(hub, trace_call, "c"));
    expect_str_eq(trace_text(), "");
    expect_ok(gev_sleep(0.001));
    expect_str_eq(trace_text(), "a b c");
    expect_fail(gev_hub_post(hub, NULL, NULL), EINVAL);
    expect_fail(gev_hub_post(NULL, trace_call, "x"), EINVAL);
    expect_fail(gev_hub_spawn(hub, NULL, NULL), EINVAL);
    expect_fail(gev_hub_spawn(NULL, return_arg, NULL), EINVAL);
}

/* A post is something to run: gev_run() waits for it, and it is no deadlock. */
GEV_TEST(posts_keep_the_hub_going)
{
    trace_reset();
    gev_waiter w = {{NULL}};
    expect_ok(gev_hub_post(gev_hub_get(), trace_call, "a"));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "a");
    expect_ok(gev_hub_spawn(gev_hub_get(), trace_and_return, "spawned"));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "a spawned");
    expect_fail(gev_waiter_get(&w, NULL, GEV_FOREVER), EDEADLK);
}

static void post_again(void *arg)
{
    int *left = arg;
    if (--*left > 0) {
        expect_ok(gev_hub_post(gev_hub_get(), post_again, arg));
    }
}

GEV_TEST(post_may_post)
{
    int left = 1000;
    expect_ok(gev_hub_post(gev_hub_get(), post_again, &left));
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(left, 0);
}

/* LOOP18, section 2, 12: stats. */
GEV_TEST(stats_count)
{
    gev_stats a = get_stats();
    gev_greenlet *g[3] = {
        gev_spawn(park_forever, NULL),
        gev_spawn(sleep_50_ms, NULL),
        gev_spawn_later(10, return_arg, NULL),
    };
    gev_stats b = get_stats();
    expect_uint_eq(b.spawned, a.spawned + 3);
    expect_uint_eq(b.live, a.live + 3);
    expect_true(b.peak >= b.live);
    expect_uint_eq(b.ready, 2);
    expect_uint_eq(b.timers, 1);
    expect_ok(gev_yield());
    gev_stats c = get_stats();
    expect_uint_eq(c.ready, 0);
    expect_uint_eq(c.timers, 2);
    expect_uint_eq(c.fds, 0);
    expect_true(c.switches > b.switches);
    expect_ok(gev_join(g[1], GEV_FOREVER));
    expect_ok(gev_killall(g, 3, GEV_FOREVER));
    gev_stats d = get_stats();
    expect_uint_eq(d.live, a.live);
    expect_uint_eq(d.timers, 0);
    expect_true(d.peak >= a.live + 3);
    expect_true(d.turns > a.turns);
    expect_ge(d.lag, 0);
    gev_unrefall(g, 3);
}

/* "as far as stats->size reaches". */
GEV_TEST(stats_stop_at_the_size_given)
{
    gev_stats stats;
    memset(&stats, 0xa5, sizeof(stats));
    stats.size = offsetof(gev_stats, spawned);
    gev_hub_stats(gev_hub_get(), &stats);
    unsigned char *rest = (unsigned char *)&stats.spawned;
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof(stats) - offsetof(gev_stats, spawned); i++) {
        wrong += rest[i] != 0xa5;
    }
    expect_uint_eq(wrong, 0);
    expect_uint_eq(stats.size, offsetof(gev_stats, spawned));
    expect_true(stats.switches < UINT64_C(0xa5a5a5a5a5a5a5a5));
}

/* T3: lag tells how late the last timer was. */
GEV_TEST(lag_is_how_late_the_last_timer_was)
{
    gev_greenlet *g = gev_spawn(sleep_2_ms, NULL);
    expect_ok(gev_yield());
    test_spin(0.03);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ge(get_stats().lag, 0.02);
    gev_unref(g);
}

static void *cleanup_and_trace(void *word)
{
    expect_ok(gev_defer(trace_call, word));
    (void)gev_sleep(GEV_FOREVER);
    trace("end");
    return NULL;
}

/* HUB4, section 12 "Hub": what is parked is cancelled (defers run), what was
 * not started never starts. */
GEV_TEST(close_ends_everything)
{
    trace_reset();
    gev_greenlet *parked = gev_spawn(cleanup_and_trace, "defer");
    expect_ok(gev_yield());
    gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
    gev_greenlet *later = gev_spawn_later(0.001, trace_and_return, "later");
    gev_greenlet *unstarted = gev_new(trace_and_return, "unstarted");
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), "end defer");
    /* handles stay valid until gev_unref() */
    expect_true(gev_dead(parked));
    expect_true(gev_killed(parked));
    expect_true(gev_dead(ready));
    expect_true(gev_killed(ready));
    expect_true(gev_dead(later));
    expect_str_eq(gev_name(parked), "cleanup_and_trace");
    expect_int_eq(gev_error(parked), ECANCELED);
    expect_ok(gev_sleep(0.005)); /* in a new hub */
    expect_str_eq(trace_text(), "end defer");
    gev_unref(parked);
    gev_unref(ready);
    gev_unref(later);
    gev_unref(unstarted);
}

/* HUB4, LOOP19: twice is safe; a new hub follows. */
GEV_TEST(close_can_be_repeated)
{
    expect_ok(gev_hub_close());
    expect_ok(gev_hub_close());
    for (int i = 0; i < 20; i++) {
        gev_greenlet *g = gev_spawn(return_arg, P(i));
        void *value = NULL;
        expect_ok(gev_get(g, &value, GEV_FOREVER));
        expect_int_eq(N(value), i);
        expect_uint_eq(gev_id(gev_current()), 1);
        expect_ok(gev_hub_close());
        gev_unref(g); /* of a hub that is gone */
    }
}

static void *close_in_greenlet(void *arg)
{
    int *error = arg;
    *error = gev_hub_close() == 0 ? 0 : errno;
    return NULL;
}

static void close_in_callback(void *arg)
{
    int *error = arg;
    *error = gev_hub_close() == 0 ? 0 : errno;
}

/* HUB4: EPERM inside a greenlet other than main. */
GEV_TEST(close_is_mains_alone)
{
    int error = -1;
    gev_unref(gev_spawn(close_in_greenlet, &error));
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(error, EPERM);
    error = -1;
    expect_ok(gev_hub_post(gev_hub_get(), close_in_callback, &error));
    expect_ok(gev_sleep(0.001));
    expect_int_eq(error, EPERM);
}

static void *clean_up_slowly(void *word)
{
    (void)gev_sleep(GEV_FOREVER);
    gev_shield_begin();
    int rc = gev_sleep(0.005);
    gev_shield_end();
    trace(rc == 0 ? (const char *)word : "cut short");
    return NULL;
}

/* They are killed and run to their end: a shielded cleanup is not cut. */
GEV_TEST(close_lets_a_shielded_cleanup_finish)
{
    trace_reset();
    gev_unref(gev_spawn(clean_up_slowly, "a"));
    gev_unref(gev_spawn(clean_up_slowly, "b"));
    expect_ok(gev_yield());
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), "a b");
}

static void *ignore_kill_by_sleep(void *word)
{
    expect_ok(gev_defer(trace_call, word));
    for (;;) {
        (void)gev_sleep(0.001);
    }
    return NULL;
}

static void *ignore_kill_by_yield(void *word)
{
    expect_ok(gev_defer(trace_call, word));
    for (;;) {
        (void)gev_yield();
    }
    return NULL;
}

static void *ignore_kill_by_uncancel(void *word)
{
    expect_ok(gev_defer(trace_call, word));
    for (;;) {
        (void)gev_sleep(0.001);
        (void)gev_uncancel();
    }
    return NULL;
}

static void *ignore_kill_by_shield(void *word)
{
    expect_ok(gev_defer(trace_call, word));
    gev_shield_begin();
    (void)gev_sleep(GEV_FOREVER);
    trace("woken");
    return NULL;
}

/* gev_hub_close: "One that ignores its kill for ever is ended where it parks";
 * its defers run all the same. */
GEV_TEST(close_ends_those_that_ignore_their_kill)
{
    gev_fn fns[] = {ignore_kill_by_sleep, ignore_kill_by_yield,
                    ignore_kill_by_uncancel, ignore_kill_by_shield};
    for (int i = 0; i < 4; i++) {
        trace_reset();
        test_note("way %d", i);
        gev_greenlet *g = gev_spawn(fns[i], "defer");
        expect_ok(gev_yield());
        expect_ok(gev_hub_close());
        expect_true(gev_dead(g));
        gev_unref(g);
        const char *end = strstr(trace_text(), "defer");
        expect_not_null(end);
    }
    test_note(NULL);
}

static void *suspend_with_defer(void *word)
{
    expect_ok(gev_defer(trace_call, word));
    (void)gev_switch(gev_parent(gev_current()), NULL, NULL);
    return NULL;
}

/* Suspended raw greenlets end, too. */
GEV_TEST(close_ends_suspended_raw_greenlets)
{
    trace_reset();
    gev_greenlet *g = gev_new(suspend_with_defer, "defer");
    expect_ok(gev_switch(g, NULL, NULL));
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), "defer");
    expect_true(gev_dead(g));
    gev_unref(g);
}

static void *spawn_when_killed(void *word)
{
    (void)gev_sleep(GEV_FOREVER);
    gev_greenlet *g = gev_spawn(trace_and_return, word);
    if (g != NULL) {
        (void)gev_join(g, 0.001);
        gev_unref(g);
    }
    (void)gev_spawn_raw(trace_and_return, word);
    trace("end");
    return NULL;
}

/* Nothing new starts while the hub closes; links do not start greenlets. */
GEV_TEST(close_starts_nothing_new)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(spawn_when_killed, "spawned");
    expect_ok(gev_link(g, trace_link, "link"));
    expect_ok(gev_yield());
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), "end");
    gev_unref(g);
}

/* gev_hub_close: no kill and no scope fails it. */
GEV_TEST(close_is_not_cut_short)
{
    gev_timeout t = {0};
    trace_reset();
    gev_unref(gev_spawn(clean_up_slowly, "a"));
    expect_ok(gev_yield());
    expect_ok(gev_timeout_begin(&t, 0));
    expect_fail(gev_kill(gev_current(), 0), ECANCELED);
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), "a");
    (void)gev_timeout_end(&t); /* harmless: its hub is gone */
    expect_ok(gev_yield());    /* the kill went with the hub */
}

struct timer {
    ev_timer ev; /* first: libev's pointer is ours */
    gev_waiter *waiter;
    int calls;
    int yield_rc;
    int yield_error;
};

static void timer_fired(struct ev_loop *loop, ev_timer *w, int events)
{
    (void)loop;
    (void)events;
    struct timer *t = (struct timer *)(void *)w;
    t->calls++;
    t->yield_rc = gev_yield();
    t->yield_error = errno;
    if (t->waiter != NULL) {
        gev_waiter_switch(t->waiter, P(9));
    }
}

/* HUB5, HUB14, LOOP10: gev_hub_loop, section 12 "Hub": watchers of the user's
 * own count as able to wake somebody; HUB11: parking in their callbacks is
 * EPERM. */
GEV_TEST(users_watchers_fire_and_can_wake)
{
    struct ev_loop *loop = gev_hub_loop(gev_hub_get());
    gev_waiter w = {{NULL}};
    struct timer t = {.waiter = &w, .calls = 0};
    void *value = NULL;
    ev_timer_init(&t.ev, timer_fired, 0.005, 0.);
    ev_timer_start(loop, &t.ev);
    expect_ok(gev_waiter_get(&w, &value, GEV_FOREVER));
    expect_int_eq(N(value), 9);
    expect_int_eq(t.calls, 1);
    expect_int_eq(t.yield_rc, -1);
    expect_int_eq(t.yield_error, EPERM);
    expect_fail(gev_waiter_get(&w, NULL, GEV_FOREVER), EDEADLK);
}

/* gev_run() waits for them, too. */
GEV_TEST(run_waits_for_users_watchers)
{
    struct ev_loop *loop = gev_hub_loop(gev_hub_get());
    struct timer t = {.waiter = NULL, .calls = 0};
    ev_timer_init(&t.ev, timer_fired, 0.005, 0.);
    ev_timer_start(loop, &t.ev);
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(t.calls, 1);
}

/* LOOP15: unless they are ev_unref()ed. */
GEV_TEST(unreffed_watchers_do_not_count)
{
    struct ev_loop *loop = gev_hub_loop(gev_hub_get());
    struct timer t = {.waiter = NULL, .calls = 0};
    ev_timer_init(&t.ev, timer_fired, 60., 0.);
    ev_timer_start(loop, &t.ev);
    expect_fail(gev_run(0.002), ETIMEDOUT);
    ev_unref(loop);
    expect_ok(gev_run(GEV_FOREVER));
    expect_fail(gev_sleep(GEV_FOREVER), EDEADLK);
    ev_ref(loop);
    ev_timer_stop(loop, &t.ev);
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(t.calls, 0);
}

struct reader {
    ev_io ev;
    gev_waiter *waiter;
};

static void fd_ready(struct ev_loop *loop, ev_io *w, int events)
{
    (void)events;
    ev_io_stop(loop, w);
    gev_waiter_switch(((struct reader *)(void *)w)->waiter, P(w->fd));
}

static void *write_later(void *arg)
{
    if (gev_sleep(0.002) != 0 || write(N(arg), "x", 1) != 1) {
        return gev_fail(errno);
    }
    return NULL;
}

/* An ev_io of the user's own, beside gev's. */
GEV_TEST(users_io_watcher_fires)
{
    int fds[2];
    expect_int_eq(pipe(fds), 0);
    struct ev_loop *loop = gev_hub_loop(gev_hub_get());
    gev_waiter w = {{NULL}};
    struct reader r = {.waiter = &w};
    ev_io_init(&r.ev, fd_ready, fds[0], EV_READ);
    ev_io_start(loop, &r.ev);
    gev_unref(gev_spawn(write_later, P(fds[1])));
    void *value = NULL;
    expect_ok(gev_waiter_get(&w, &value, GEV_FOREVER));
    expect_int_eq(N(value), fds[0]);
    expect_int_eq(close(fds[0]) + close(fds[1]), 0);
}

/* T1: a user's timer is not starved by a busy queue. */
static void *yield_until_called(void *arg)
{
    const struct timer *t = arg;
    while (t->calls == 0) {
        if (gev_yield() != 0) {
            return gev_fail(errno);
        }
    }
    return NULL;
}

GEV_TEST(users_watchers_are_not_starved)
{
    struct ev_loop *loop = gev_hub_loop(gev_hub_get());
    struct timer t = {.waiter = NULL, .calls = 0};
    ev_timer_init(&t.ev, timer_fired, 0.002, 0.);
    ev_timer_start(loop, &t.ev);
    double start = test_now();
    gev_greenlet *g = gev_spawn(yield_until_called, &t);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_le(test_now() - start, test_scale(2));
    gev_unref(g);
}

static int allocations;
static int frees;

static void *counting_realloc(void *p, size_t n)
{
    if (n == 0) {
        frees += p != NULL;
        free(p);
        return NULL;
    }
    allocations += p == NULL;
    return realloc(p, n);
}

static void do_nothing(void *arg)
{
    (void)arg;
}

/* gev_set_allocator: before the first hub; and everything is given back. */
GEV_TEST(allocator_can_be_set_without_a_hub_only)
{
    expect_not_null(gev_hub_get());
    expect_fail(gev_set_allocator(counting_realloc), EBUSY);
    expect_ok(gev_hub_close());
    expect_ok(gev_set_allocator(counting_realloc));
    allocations = 0;
    frees = 0;
    gev_greenlet *g = gev_spawn(sleep_2_ms, NULL);
    expect_ok(gev_set_name(g, "a name that is allocated, being this long"));
    expect_ok(gev_link(g, trace_link, NULL));
    expect_ok(gev_defer(do_nothing, NULL));
    expect_ok(gev_hub_post(gev_hub_get(), do_nothing, NULL));
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_ok(gev_hub_close());
    expect_true(allocations > 0);
    expect_int_eq(frees, allocations);
    expect_ok(gev_set_allocator(NULL));
    expect_ok(gev_yield());
}

/* HUB11: what does not park works in a callback. */
static void spawn_in_callback(void *arg)
{
    gev_unref(gev_spawn(trace_and_return, arg));
}

GEV_TEST(callback_may_spawn)
{
    trace_reset();
    expect_ok(gev_hub_post(gev_hub_get(), spawn_in_callback, "spawned"));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "spawned");
}

/* HUB3, TMO15: limits on gev_run itself are nothing to wait for, a scope's
 * neither. */
GEV_TEST(run_in_a_scope_ends_when_nothing_is_left)
{
    gev_timeout scope;
    double begin = test_now();
    expect_ok(gev_timeout_begin(&scope, 20));
    expect_ok(gev_run(GEV_FOREVER));
    expect_ok(gev_run(10));
    expect_false(gev_timeout_end(&scope));
    expect_le(test_now() - begin, test_scale(5));
}

static void link_nothing(gev_greenlet *g, void *arg)
{
    (void)g;
    (void)arg;
}

/* A link whose greenlet is queued and has not begun leaks nothing. */
GEV_TEST(close_with_a_link_about_to_run)
{
    gev_greenlet *g = gev_spawn(return_arg, NULL);
    expect_ok(gev_link(g, link_nothing, NULL));
    gev_unref(g);
    expect_ok(gev_yield());
    expect_ok(gev_yield());
    expect_ok(gev_hub_close());
}

static void spawn_and_forget(void *arg)
{
    gev_unref(gev_spawn(return_arg, arg));
}

GEV_TEST(mains_defers_may_spawn_at_close)
{
    expect_ok(gev_defer(spawn_and_forget, NULL));
    expect_ok(gev_hub_close());
}

static void *refuse_often_then_clean_up(void *arg)
{
    int *cleaned = arg;
    gev_timeout scope;
    expect_ok(gev_timeout_begin(&scope, 0));
    for (int i = 0; i < 20000; i++) {
        expect_fail(gev_yield(), ETIMEDOUT);
    }
    expect_true(gev_timeout_end(&scope));
    expect_fail(gev_sleep(GEV_FOREVER), ECANCELED);
    expect_fail(gev_sleep(0), ECANCELED);
    ++*cleaned;
    return NULL;
}

/* Parks that were refused before the kill are no reason to cut it short. */
GEV_TEST(close_counts_refused_parks_from_the_kill_on)
{
    int cleaned = 0;
    gev_unref(gev_spawn(refuse_often_then_clean_up, &cleaned));
    expect_fail(gev_sleep(GEV_FOREVER), EDEADLK);
    expect_ok(gev_hub_close());
    expect_int_eq(cleaned, 1);
}

static int pipe_ends[2];

static void *ignore_all_errors(void *arg)
{
    while (gev_wait_fd(pipe_ends[0], GEV_READ, GEV_FOREVER) < 0) {
    }
    return arg;
}

/* Outlives it, and uses its stack. */
static void *spawn_copies_shielded(void *arg)
{
    static char big[16000];
    memset(big, 0x5a, sizeof(big));
    gev_shield_begin();
    expect_ok(gev_sleep(0.05));
    for (int i = 0; i < 4; i++) {
        gev_unref(gev_spawn_copy(return_arg, big, sizeof(big)));
    }
    expect_int_eq(write(pipe_ends[1], "x", 1), 1);
    expect_ok(gev_sleep(0.01));
    gev_shield_end();
    return arg;
}

/* The one that is ended inside its wait is still on the descriptor's list. */
GEV_TEST(close_leaves_the_stack_of_who_ignored_it)
{
    expect_ok(pipe(pipe_ends));
    gev_unref(gev_spawn(ignore_all_errors, NULL));
    gev_unref(gev_spawn(spawn_copies_shielded, NULL));
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_hub_close());
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

GEV_TEST(handles_of_main_and_hub_outlive_the_hub)
{
    gev_greenlet *self = gev_ref(gev_current());
    gev_greenlet *g = gev_spawn(return_arg, NULL);
    gev_greenlet *hub = gev_ref(gev_parent(g));
    expect_ok(gev_set_name(self, "first"));
    gev_unref(g);
    expect_ok(gev_hub_close());
    expect_true(gev_dead(self));
    expect_str_eq(gev_name(self), "main");
    expect_true(gev_dead(hub));
    gev_unref(self);
    gev_unref(hub);
}

static struct ev_loop *loop_before; /* made before the first hub */

static void never_fires(struct ev_loop *loop, ev_timer *w, int events)
{
    (void)loop;
    (void)w;
    (void)events;
}

/* The program's own loop goes on growing with our allocator. */
GEV_TEST(loop_from_before_the_first_hub_lives_on)
{
    static ev_timer timers[1000];
    expect_not_null(gev_hub_get());
    for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
        ev_timer_init(&timers[i], never_fires, 100, 0);
        ev_timer_start(loop_before, &timers[i]);
    }
    for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
        ev_timer_stop(loop_before, &timers[i]);
    }
}

static int allocations;

static void *count_allocations(void *p, size_t n)
{
    allocations++;
    if (n == 0) {
        free(p);
        return NULL;
    }
    return realloc(p, n);
}

/* What a descriptor costs does not depend on its being the highest so far. */
GEV_TEST(higher_descriptors_cost_little)
{
    enum { FIRST = 400, COUNT = 400 };
    int ends[2];
    expect_ok(pipe(ends));
    expect_ok(gev_hub_close());
    expect_ok(gev_set_allocator(count_allocations));
    expect_not_null(gev_hub_get());
    allocations = 0;
    for (int fd = FIRST; fd < FIRST + COUNT; fd++) {
        expect_int_eq(dup2(ends[0], fd), fd);
        expect_fail(gev_wait_fd(fd, GEV_READ, 1e-9), ETIMEDOUT);
    }
    expect_le(allocations, COUNT / 2);
    expect_ok(gev_hub_close());
    expect_ok(gev_set_allocator(NULL));
    for (int fd = FIRST; fd < FIRST + COUNT; fd++) {
        close(fd);
    }
    close(ends[0]);
    close(ends[1]);
}

/* --- what libraries keep for each hub ------------------------------------- */

static void trace_close(void *word)
{
    expect_fail(gev_sleep(0.001), EPERM);
    expect_not_null(gev_hub_loop(gev_hub_get()));
    trace(word);
}

static void trace_and_defer(void *word)
{
    trace_close(word);
    expect_ok(gev_hub_defer(trace_close, "late"));
}

static void *defer_to_close(void *word)
{
    expect_ok(gev_hub_defer(trace_close, word));
    return NULL;
}

GEV_TEST(deferred_run_last_and_youngest_first)
{
    trace_reset();
    expect_fail(gev_hub_defer(NULL, NULL), EINVAL);
    expect_ok(gev_hub_defer(trace_close, "first"));
    expect_ok(gev_hub_defer(trace_and_defer, "second"));
    expect_ok(gev_spawn_raw(defer_to_close, "third"));
    expect_ok(gev_defer(trace_call, "main"));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "");
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), "main third second late first");
    expect_not_null(gev_hub_get());
    expect_ok(gev_hub_close()); /* once is enough */
    expect_str_eq(trace_text(), "main third second late first");
}

int main(void)
{
    loop_before = ev_loop_new(0);
    for (int i = 0; i < 2; i++) {
        /* now it has memory of libc's */
        static ev_timer early[2];
        ev_timer_init(&early[i], never_fires, 100, 0);
        ev_timer_start(loop_before, &early[i]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hub_is_one_a_thread),
        cmocka_unit_test(nothing_left_to_wake_main_is_edeadlk),
        cmocka_unit_test(cycle_of_joins_is_edeadlk_for_main_only),
        cmocka_unit_test(timeouts_are_no_deadlock),
        cmocka_unit_test(run_returns_when_nothing_is_left),
        cmocka_unit_test(run_ignores_what_can_never_wake),
        cmocka_unit_test(run_is_mains_alone_and_may_time_out),
        cmocka_unit_test(run_can_be_cut_short),
        cmocka_unit_test(held_hub_never_deadlocks),
        cmocka_unit_test(posts_run_in_order_in_the_hub),
        cmocka_unit_test(posts_keep_the_hub_going),
        cmocka_unit_test(post_may_post),
        cmocka_unit_test(stats_count),
        cmocka_unit_test(stats_stop_at_the_size_given),
        cmocka_unit_test(lag_is_how_late_the_last_timer_was),
        cmocka_unit_test(close_ends_everything),
        cmocka_unit_test(close_can_be_repeated),
        cmocka_unit_test(close_is_mains_alone),
        cmocka_unit_test(close_lets_a_shielded_cleanup_finish),
        cmocka_unit_test(close_ends_those_that_ignore_their_kill),
        cmocka_unit_test(close_ends_suspended_raw_greenlets),
        cmocka_unit_test(close_starts_nothing_new),
        cmocka_unit_test(close_is_not_cut_short),
        cmocka_unit_test(users_watchers_fire_and_can_wake),
        cmocka_unit_test(run_waits_for_users_watchers),
        cmocka_unit_test(unreffed_watchers_do_not_count),
        cmocka_unit_test(users_io_watcher_fires),
        cmocka_unit_test(users_watchers_are_not_starved),
        cmocka_unit_test(allocator_can_be_set_without_a_hub_only),
        cmocka_unit_test(callback_may_spawn),
        cmocka_unit_test(run_in_a_scope_ends_when_nothing_is_left),
        cmocka_unit_test(close_with_a_link_about_to_run),
        cmocka_unit_test(mains_defers_may_spawn_at_close),
        cmocka_unit_test(close_counts_refused_parks_from_the_kill_on),
        cmocka_unit_test(close_leaves_the_stack_of_who_ignored_it),
        cmocka_unit_test(handles_of_main_and_hub_outlive_the_hub),
        cmocka_unit_test(loop_from_before_the_first_hub_lives_on),
        cmocka_unit_test(higher_descriptors_cost_little),
        cmocka_unit_test(deferred_run_last_and_youngest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
