/* SPDX-License-Identifier: MIT */

/* The raw greenlet: explicit switching (RAW*, section 12 "Raw"). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <pthread.h>

/* Switches its argument's value back and forth: gets a number, sends its
 * double, until it gets 0; then returns 99. */
static void *doubler(void *in)
{
    while (in != NULL) {
        void *out = NULL;
        if (gev_switch(gev_parent(gev_current()), P(2 * N(in)), &out) != 0) {
            return gev_fail(errno);
        }
        in = out;
    }
    return P(99);
}

/* Suspends once; then notes in *arg what came of it, and returns P(7). */
struct suspend {
    int rc;
    int error;
    void *value;
    int runs;
};

static void *suspend_once(void *arg)
{
    struct suspend *s = arg;
    s->runs++;
    s->rc = gev_switch(gev_parent(gev_current()), P(1), &s->value);
    s->error = s->rc == 0 ? 0 : errno;
    if (s->rc != 0) {
        return gev_fail(s->error);
    }
    return P(7);
}

static void *count_run(void *arg)
{
    ++*(int *)arg;
    return arg;
}

/* RAW1 */
GEV_TEST(new_does_not_start_and_has_the_caller_as_parent)
{
    int runs = 0;
    gev_greenlet *g = gev_new(count_run, &runs);
    expect_not_null(g);
    expect_ptr_eq(gev_parent(g), gev_current());
    expect_false(gev_started(g));
    expect_false(gev_dead(g));
    expect_false(gev_ready(g));
    expect_ok(gev_yield());
    expect_int_eq(runs, 0);
    gev_unref(g);
    expect_int_eq(runs, 0);
}

/* RAW1 */
GEV_TEST(new_refuses_a_null_function_and_bad_options)
{
    gev_attr attr = {.size = sizeof(attr)};
    errno = 0;
    expect_null(gev_new(NULL, NULL));
    expect_int_eq(errno, EINVAL);
    errno = 0;
    expect_null(gev_new_attr(&attr, NULL, NULL));
    expect_int_eq(errno, EINVAL);
    attr.flags = ~0u;
    errno = 0;
    expect_null(gev_new_attr(&attr, return_arg, NULL));
    expect_int_eq(errno, EINVAL);
    attr.flags = 0;
    attr.size = 1;
    errno = 0;
    expect_null(gev_new_attr(&attr, return_arg, NULL));
    expect_int_eq(errno, EINVAL);
    gev_greenlet *g = gev_new_attr(NULL, return_arg, NULL);
    expect_not_null(g);
    gev_unref(g);
}

/* RAW2: the first switch calls fn(in), unless the greenlet has an arg. */
GEV_TEST(first_switch_passes_in_unless_there_is_an_arg)
{
    void *out = NULL;
    gev_greenlet *g = gev_new(return_arg, NULL);
    expect_ok(gev_switch(g, P(5), &out));
    expect_int_eq(N(out), 5);
    gev_unref(g);
    g = gev_new(return_arg, P(6));
    expect_ok(gev_switch(g, P(5), &out));
    expect_int_eq(N(out), 6);
    gev_unref(g);
}

/* RAW2 */
GEV_TEST(values_go_both_ways)
{
    gev_greenlet *g = gev_new(doubler, NULL);
    for (int i = 1; i <= 1000; i++) {
        void *out = NULL;
        expect_ok(gev_switch(g, P(i), &out));
        expect_int_eq(N(out), 2 * i);
        expect_true(gev_started(g));
        expect_false(gev_dead(g));
    }
    void *last = NULL;
    expect_ok(gev_switch(g, NULL, &last));
    expect_int_eq(N(last), 99);
    expect_true(gev_dead(g));
    gev_unref(g);
}

/* RAW2: a NULL out-parameter discards the value. */
GEV_TEST(switch_discards_the_value_without_out)
{
    gev_greenlet *g = gev_new(doubler, NULL);
    expect_ok(gev_switch(g, P(3), NULL));
    expect_ok(gev_switch(g, NULL, NULL));
    expect_true(gev_dead(g));
    gev_unref(g);
}

/* RAW6, RAW10 */
GEV_TEST(return_arrives_in_the_parents_switch)
{
    void *out = NULL;
    gev_greenlet *g = gev_new(return_arg, P(42));
    expect_ok(gev_switch(g, NULL, &out));
    expect_int_eq(N(out), 42);
    expect_true(gev_dead(g));
    expect_true(gev_ready(g));
    expect_true(gev_started(g));
    expect_true(gev_successful(g));
    expect_int_eq(N(gev_value(g)), 42);
    expect_int_eq(gev_error(g), 0);
    gev_unref(g);
}

static void *exit_with_8(void *arg)
{
    (void)arg;
    gev_exit(P(8));
}

/* RAW6 */
GEV_TEST(exit_arrives_in_the_parents_switch)
{
    void *out = NULL;
    gev_greenlet *g = gev_new(exit_with_8, NULL);
    expect_ok(gev_switch(g, NULL, &out));
    expect_int_eq(N(out), 8);
    expect_true(gev_dead(g));
    gev_unref(g);
}

/* RAW7 */
GEV_TEST(failure_raises_its_code_in_the_parents_switch)
{
    gev_set_error_handler(ignore_error, NULL);
    void *out = P(1);
    gev_greenlet *g = gev_new(fail_with, P(EIO));
    expect_fail(gev_switch(g, NULL, &out), EIO);
    expect_int_eq(N(out), 1); /* untouched on failure */
    expect_true(gev_dead(g));
    expect_false(gev_successful(g));
    expect_int_eq(gev_error(g), EIO);
    gev_unref(g);
}

/* RAW7 */
GEV_TEST(cancelled_end_is_quiet)
{
    int errors = 0;
    gev_set_error_handler(count_error, &errors);
    gev_greenlet *g = gev_new(fail_with, P(ECANCELED));
    void *out = P(1);
    expect_ok(gev_switch(g, NULL, &out));
    expect_null(out);
    expect_true(gev_killed(g));
    expect_true(gev_successful(g));
    expect_int_eq(errors, 0);
    gev_unref(g);
}

/* RAW8 */
GEV_TEST(switch_to_a_dead_one_goes_on_to_its_parent)
{
    gev_greenlet *child = gev_new(return_arg, P(1));
    expect_ok(gev_switch(child, NULL, NULL));
    void *out = NULL;
    expect_ok(gev_switch(child, P(5), &out)); /* its parent is main: this one */
    expect_int_eq(N(out), 5);

    struct suspend s = {0};
    gev_greenlet *parent = gev_new(suspend_once, &s);
    expect_ok(gev_switch(parent, NULL, NULL));
    expect_ok(gev_set_parent(child, parent));
    expect_ok(gev_switch(child, P(6), &out));
    expect_int_eq(s.rc, 0);
    expect_int_eq(N(s.value), 6);
    expect_int_eq(N(out), 7); /* what parent returned to main */
    gev_unref(child);
    gev_unref(parent);
}

/* RAW8: and on, over several dead ones. */
GEV_TEST(switch_passes_over_a_chain_of_dead_ones)
{
    gev_greenlet *g[5];
    for (int i = 0; i < 5; i++) {
        g[i] = gev_new(return_arg, P(i + 1));
        expect_ok(gev_switch(g[i], NULL, NULL));
        if (i > 0) {
            expect_ok(gev_set_parent(g[i], g[i - 1]));
        }
    }
    void *out = NULL;
    expect_ok(gev_switch(g[4], P(77), &out));
    expect_int_eq(N(out), 77);
    gev_unrefall(g, 5);
}

/* RAW4 */
GEV_TEST(throw_fails_the_pending_switch)
{
    struct suspend s = {.value = P(3)};
    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *g = gev_new(suspend_once, &s);
    expect_ok(gev_switch(g, NULL, NULL));
    /* it gives the code back by gev_fail(), and so it arrives here */
    expect_fail(gev_throw(g, EPIPE), EPIPE);
    expect_int_eq(s.rc, -1);
    expect_int_eq(s.error, EPIPE);
    expect_int_eq(N(s.value), 3); /* untouched on failure */
    expect_true(gev_dead(g));
    expect_int_eq(gev_error(g), EPIPE);
    gev_unref(g);
}

static void *swallow_throws(void *arg)
{
    int *caught = arg;
    for (;;) {
        void *in = NULL;
        int rc = gev_switch(gev_parent(gev_current()), P(*caught), &in);
        if (rc != 0) {
            *caught = errno;
        } else if (in == NULL) {
            return P(1);
        }
    }
}

/* RAW4: a throw is delivered once; the target may go on. */
GEV_TEST(throw_can_be_handled)
{
    int caught = 0;
    gev_greenlet *g = gev_new(swallow_throws, &caught);
    void *out = NULL;
    expect_ok(gev_switch(g, NULL, &out));
    expect_ok(gev_throw(g, EIO));
    expect_int_eq(caught, EIO);
    expect_ok(gev_throw(g, EPIPE));
    expect_int_eq(caught, EPIPE);
    expect_ok(gev_switch(g, P(1), &out));
    expect_int_eq(N(out), EPIPE);
    expect_ok(gev_switch(g, NULL, &out));
    expect_int_eq(N(out), 1);
    expect_true(gev_dead(g));
    expect_false(gev_killed(g));
    gev_unref(g);
}

/* RAW4 */
GEV_TEST(throw_refuses_codes_that_are_not_positive)
{
    struct suspend s = {0};
    gev_greenlet *g = gev_new(suspend_once, &s);
    expect_ok(gev_switch(g, NULL, NULL));
    expect_fail(gev_throw(g, 0), EINVAL);
    expect_fail(gev_throw(g, -EIO), EINVAL);
    expect_fail(gev_throw(NULL, EIO), EINVAL);
    expect_fail(gev_switch(NULL, NULL, NULL), EINVAL);
    expect_false(gev_dead(g));
    expect_ok(gev_switch(g, P(2), NULL));
    expect_int_eq(N(s.value), 2);
    gev_unref(g);
}

/* RAW5 */
GEV_TEST(throw_into_one_that_never_started_goes_to_its_parent)
{
    int errors = 0;
    int runs = 0;
    gev_set_error_handler(count_error, &errors);
    gev_greenlet *g = gev_new(count_run, &runs);
    expect_fail(gev_throw(g, EIO), EIO);
    expect_true(gev_dead(g));
    expect_int_eq(gev_error(g), EIO);
    gev_unref(g);

    g = gev_new(count_run, &runs);
    expect_ok(gev_throw(g, ECANCELED));
    expect_true(gev_dead(g));
    expect_true(gev_killed(g));
    gev_unref(g);
    expect_int_eq(runs, 0);
    expect_int_eq(errors, 0);
}

/* RAW8 */
GEV_TEST(throw_into_a_dead_one_goes_on_to_its_parent)
{
    gev_greenlet *g = gev_new(return_arg, P(1));
    expect_ok(gev_switch(g, NULL, NULL));
    expect_fail(gev_throw(g, EIO), EIO);
    expect_ok(gev_throw(g, ECANCELED)); /* eaten */
    expect_int_eq(N(gev_value(g)), 1);
    gev_unref(g);
}

/* Section 12: thrown into oneself: -1 with the code. */
GEV_TEST(switch_and_throw_to_oneself)
{
    void *out = NULL;
    expect_ok(gev_switch(gev_current(), P(11), &out));
    expect_int_eq(N(out), 11);
    expect_fail(gev_throw(gev_current(), EIO), EIO);
    expect_ok(gev_yield()); /* delivered already */
}

/* RAW9 */
GEV_TEST(parent_can_be_changed_but_not_to_a_cycle)
{
    gev_greenlet *main_one = gev_current();
    gev_greenlet *a = gev_new(return_arg, NULL);
    gev_greenlet *b = gev_new(return_arg, NULL);
    gev_greenlet *c = gev_new(return_arg, NULL);
    expect_ok(gev_set_parent(b, a));
    expect_ok(gev_set_parent(c, b));
    expect_ptr_eq(gev_parent(c), b);
    expect_fail(gev_set_parent(a, c), EINVAL);
    expect_fail(gev_set_parent(a, a), EINVAL);
    expect_fail(gev_set_parent(a, NULL), EINVAL);
    expect_fail(gev_set_parent(NULL, a), EINVAL);
    expect_null(gev_parent(main_one));
    expect_fail(gev_set_parent(main_one, a), EINVAL);
    expect_ptr_eq(gev_parent(a), main_one);
    gev_unref(c);
    gev_unref(b);
    gev_unref(a);
}

/* RAW9: the parent at the time of the end gets the value. */
GEV_TEST(parent_at_the_time_of_the_end_counts)
{
    struct suspend parent_got = {0};
    struct suspend child_got = {0};
    gev_greenlet *parent = gev_new(suspend_once, &parent_got);
    gev_greenlet *child = gev_new(suspend_once, &child_got);
    expect_ok(gev_switch(parent, NULL, NULL));
    expect_ok(gev_switch(child, NULL, NULL));
    expect_ok(gev_set_parent(child, parent));
    void *out = NULL;
    /* child returns 7 to parent, which returns 7 to main */
    expect_ok(gev_switch(child, P(5), &out));
    expect_int_eq(N(child_got.value), 5);
    expect_int_eq(N(parent_got.value), 7);
    expect_true(gev_dead(parent));
    expect_int_eq(N(out), 7);
    gev_unref(child);
    gev_unref(parent);
}

/* RAW9: a greenlet holds a reference to its parent. */
GEV_TEST(child_keeps_its_parent_alive)
{
    struct suspend s = {0};
    gev_greenlet *parent = gev_new(suspend_once, &s);
    gev_greenlet *child = gev_new(return_arg, P(4));
    expect_ok(gev_switch(parent, NULL, NULL));
    expect_ok(gev_set_parent(child, parent));
    gev_unref(parent);
    expect_int_eq(s.rc, 0);
    void *out = NULL;
    expect_ok(gev_switch(child, NULL, &out));
    expect_int_eq(N(s.value), 4);
    expect_int_eq(N(out), 7);
    gev_unref(child);
}

static void *add_one(void *in)
{
    return P(N(in) + 1);
}

/* RAW6, section 12: an unstarted parent is started with the value. */
GEV_TEST(unstarted_parent_is_started_with_the_value)
{
    gev_greenlet *parent = gev_new(add_one, NULL);
    gev_greenlet *child = gev_new(return_arg, P(10));
    expect_ok(gev_set_parent(child, parent));
    void *out = NULL;
    expect_ok(gev_switch(child, NULL, &out));
    expect_int_eq(N(out), 11);
    expect_true(gev_dead(parent));
    gev_unref(child);
    gev_unref(parent);
}

/* Section 12: thrown at through its child, it dies and the code goes on. */
GEV_TEST(unstarted_parent_dies_of_its_childs_failure)
{
    int runs = 0;
    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *parent = gev_new(count_run, &runs);
    gev_greenlet *child = gev_new(fail_with, P(EPIPE));
    expect_ok(gev_set_parent(child, parent));
    expect_fail(gev_switch(child, NULL, NULL), EPIPE);
    expect_true(gev_dead(parent));
    expect_int_eq(gev_error(parent), EPIPE);
    expect_int_eq(runs, 0);
    gev_unref(child);
    gev_unref(parent);
}

/* RAW13 */
GEV_TEST(last_unref_cancels_a_suspended_one)
{
    struct suspend s = {0};
    int errors = 0;
    gev_set_error_handler(count_error, &errors);
    gev_greenlet *g = gev_new(suspend_once, &s);
    expect_ok(gev_switch(g, NULL, NULL));
    gev_ref(g);
    gev_unref(g);
    expect_int_eq(s.rc, 0); /* one reference is left */
    gev_unref(g);
    expect_int_eq(s.rc, -1);
    expect_int_eq(s.error, ECANCELED);
    expect_int_eq(errors, 0);
}

static gev_greenlet *dropped;

static void *drop_it(void *arg)
{
    gev_unref(dropped);
    trace("dropped");
    return arg;
}

/* RAW13: the end of the dropped one returns to the dropper, not to its
 * parent. */
GEV_TEST(unref_in_a_greenlet_returns_there)
{
    struct suspend s = {0};
    trace_reset();
    dropped = gev_new(suspend_once, &s);
    expect_ok(gev_switch(dropped, NULL, NULL));
    gev_greenlet *dropper = gev_new(drop_it, P(9));
    void *out = NULL;
    expect_ok(gev_switch(dropper, NULL, &out));
    expect_int_eq(N(out), 9);
    expect_int_eq(s.error, ECANCELED);
    expect_str_eq(trace_text(), "dropped");
    gev_unref(dropper);
}

static void *note_defer(void *arg)
{
    expect_ok(gev_defer(trace_call, arg));
    return gev_switch(gev_parent(gev_current()), NULL, NULL) == 0
               ? NULL
               : gev_fail(errno);
}

/* RAW13, C1 */
GEV_TEST(cancelled_suspended_one_runs_its_defers)
{
    trace_reset();
    gev_greenlet *g = gev_new(note_defer, "defer");
    expect_ok(gev_switch(g, NULL, NULL));
    expect_str_eq(trace_text(), "");
    gev_unref(g);
    expect_str_eq(trace_text(), "defer");
}

/* Section 12: gev_switch to the hub is refused, to one that is parked or
 * ready under the hub EBUSY. */
GEV_TEST(switch_refuses_the_hub_and_what_it_runs)
{
    gev_greenlet *g = gev_spawn(park_forever, NULL);
    expect_fail(gev_switch(g, NULL, NULL), EBUSY); /* ready */
    expect_ok(gev_yield());
    expect_fail(gev_switch(g, NULL, NULL), EBUSY); /* parked */
    expect_not_null(gev_parent(g));
    expect_fail(gev_switch(gev_parent(g), NULL, NULL), EPERM);
    expect_fail(gev_set_parent(gev_parent(g), gev_current()), EINVAL);
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
}

struct attempt {
    gev_greenlet *target;
    int rc;
    int error;
};

static void try_switch(void *arg)
{
    struct attempt *a = arg;
    a->rc = gev_switch(a->target, NULL, NULL);
    a->error = errno;
}

static void *defer_a_switch(void *arg)
{
    expect_ok(gev_defer(try_switch, arg));
    return NULL;
}

/* RAW20: gev_switch: EPERM in a callback and in a defer. */
GEV_TEST(switch_is_refused_in_callbacks_and_defers)
{
    int runs = 0;
    gev_greenlet *target = gev_new(count_run, &runs);
    struct attempt post = {.target = target};
    expect_ok(gev_hub_post(gev_hub_get(), try_switch, &post));
    struct attempt defer = {.target = target};
    gev_greenlet *g = gev_spawn(defer_a_switch, &defer);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ok(gev_sleep(0.001));
    expect_int_eq(post.rc, -1);
    expect_int_eq(post.error, EPERM);
    expect_int_eq(defer.rc, -1);
    expect_int_eq(defer.error, EPERM);
    expect_int_eq(runs, 0);
    gev_unref(g);
    gev_unref(target);
}

static void *sleep_then_return(void *arg)
{
    if (gev_sleep(0.005) != 0) {
        return gev_fail(errno);
    }
    return arg;
}

/* A raw greenlet may park; its parent stays suspended meanwhile. */
GEV_TEST(raw_greenlet_may_park)
{
    void *out = NULL;
    gev_greenlet *g = gev_new(sleep_then_return, P(3));
    double start = test_now();
    expect_ok(gev_switch(g, NULL, &out));
    expect_ge(test_now() - start, 0.005);
    expect_int_eq(N(out), 3);
    gev_unref(g);
}

/* Main only: nothing can ever switch back. */
GEV_TEST(mains_switch_fails_when_nothing_can_switch_back)
{
    gev_greenlet *g = gev_new(park_forever, NULL);
    expect_fail(gev_switch(g, NULL, NULL), EDEADLK);
    expect_false(gev_dead(g));
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_true(gev_killed(g));
    gev_unref(g);
}

static void *switch_when_killed(void *arg)
{
    gev_greenlet *target = arg;
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin(&t, 0));
    void *out = NULL;
    int fails = 0;
    for (int i = 1; i <= 3; i++) {
        fails += gev_switch(target, P(i), &out) != 0 || N(out) != 2 * i;
    }
    expect_true(gev_timeout_end(&t));
    expect_fail(gev_kill(gev_current(), 0), ECANCELED);
    for (int i = 1; i <= 3; i++) {
        fails += gev_switch(target, P(i), &out) != 0 || N(out) != 2 * i;
    }
    expect_int_eq(gev_uncancel(), ECANCELED);
    return P(fails + 100);
}

/* Section 12: gev_switch is no park: kills and scopes do not fail it. */
GEV_TEST(kills_and_scopes_do_not_fail_a_switch)
{
    gev_greenlet *target = gev_new(doubler, NULL);
    gev_greenlet *g = gev_spawn(switch_when_killed, target);
    expect_ok(gev_set_parent(target, g));
    void *value = NULL;
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_int_eq(N(value), 100);
    gev_unref(g);
    gev_unref(target);
}

/* A suspended raw greenlet that is killed keeps waiting for its switch. */
GEV_TEST(kill_of_a_suspended_one_stays_pending)
{
    struct suspend s = {0};
    gev_greenlet *g = gev_new(suspend_once, &s);
    expect_ok(gev_switch(g, NULL, NULL));
    expect_ok(gev_kill(g, 0));
    expect_false(gev_dead(g));
    void *out = NULL;
    expect_ok(gev_switch(g, P(2), &out));
    expect_int_eq(s.rc, 0);
    expect_true(gev_dead(g));
    expect_true(gev_killed(g)); /* it returned with its kill pending */
    gev_unref(g);
}

static void *run_foreign(void *arg)
{
    gev_greenlet *g = arg;
    int wrong = 0;
    wrong += !(gev_switch(g, NULL, NULL) == -1 && errno == EPERM);
    wrong += !(gev_throw(g, EIO) == -1 && errno == EPERM);
    wrong += !(gev_set_parent(g, gev_current()) == -1 && errno == EPERM);
    wrong += !(gev_set_parent(gev_current(), g) == -1);
    gev_greenlet *own = gev_new(return_arg, NULL);
    wrong += !(gev_set_parent(own, g) == -1 && errno == EPERM);
    gev_unref(own);
    wrong += gev_hub_close() != 0;
    return P(wrong);
}

/* RAW14: another thread's: EPERM. */
GEV_TEST(foreign_greenlets_are_refused)
{
    gev_greenlet *g = gev_new(return_arg, P(1));
    pthread_t thread;
    expect_int_eq(pthread_create(&thread, NULL, run_foreign, g), 0);
    void *wrong = NULL;
    expect_int_eq(pthread_join(thread, &wrong), 0);
    expect_int_eq(N(wrong), 0);
    expect_false(gev_dead(g));
    gev_unref(g);
}

static void *note_current(void *arg)
{
    *(gev_greenlet **)arg = gev_current();
    return NULL;
}

static void note_current_in_hub(void *arg)
{
    *(gev_greenlet **)arg = gev_current();
}

/* RAW11, TOP4: main and the hub are greenlets too. */
GEV_TEST(current_is_whoever_runs)
{
    gev_greenlet *main_one = gev_current();
    gev_greenlet *seen = NULL;
    gev_greenlet *hub = NULL;
    expect_not_null(main_one);
    expect_uint_eq(gev_id(main_one), 1);
    expect_true(gev_started(main_one));
    expect_false(gev_dead(main_one));
    gev_greenlet *raw = gev_new(note_current, &seen);
    expect_ok(gev_switch(raw, NULL, NULL));
    expect_ptr_eq(seen, raw);
    gev_greenlet *g = gev_spawn(note_current, &seen);
    expect_ok(gev_hub_post(gev_hub_get(), note_current_in_hub, &hub));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ok(gev_sleep(0.001));
    expect_ptr_eq(seen, g);
    expect_ptr_eq(hub, gev_parent(g));
    expect_ptr_eq(gev_current(), main_one);
    gev_unref(raw);
    gev_unref(g);
}

static void *sum_a_shared_array(void *arg)
{
    int *numbers = arg;
    int sum = 0;
    for (int i = 0; i < 1000; i++) {
        sum += numbers[i];
    }
    numbers[0] = -1;
    return P(sum);
}

static void *lend_a_local(void *arg)
{
    (void)arg;
    int numbers[1000];
    for (int i = 0; i < 1000; i++) {
        numbers[i] = i;
    }
    gev_greenlet *g = gev_new(sum_a_shared_array, numbers);
    void *sum = NULL;
    int rc = gev_switch(g, NULL, &sum);
    gev_unref(g);
    return rc == 0 && numbers[0] == -1 ? sum : NULL;
}

/* RAW19, S12: pointers to locals of a suspended greenlet stay valid. */
GEV_TEST(locals_stay_where_they_are)
{
    gev_greenlet *g = gev_new(lend_a_local, NULL);
    void *out = NULL;
    expect_ok(gev_switch(g, NULL, &out));
    expect_int_eq(N(out), 499500);
    gev_unref(g);
}

static void *use_300_kb(void *arg)
{
    char block[300 * 1024];
    touch(block, sizeof(block));
    return block[512] == 1 ? arg : NULL;
}

/* RAW19 */
GEV_TEST(stack_size_is_what_was_asked_for)
{
    gev_attr attr = {.size = sizeof(attr), .stack_size = 400 * 1024};
    gev_greenlet *g = gev_new_attr(&attr, use_300_kb, P(1));
    void *out = NULL;
    expect_ok(gev_switch(g, NULL, &out));
    expect_int_eq(N(out), 1);
    gev_unref(g);
}

static void *chain(void *arg)
{
    int depth = N(arg);
    if (depth == 0) {
        return P(1);
    }
    gev_greenlet *g = gev_new(chain, P(depth - 1));
    void *out = NULL;
    int rc = g == NULL ? -1 : gev_switch(g, NULL, &out);
    gev_unref(g);
    return rc == 0 ? P(N(out) + 1) : gev_fail(errno);
}

/* C12: a long chain of parents, each suspended in its own switch. */
GEV_TEST(long_chain_of_parents)
{
    gev_greenlet *g = gev_new(chain, P(999));
    void *out = NULL;
    expect_ok(gev_switch(g, NULL, &out));
    expect_int_eq(N(out), 1000);
    gev_unref(g);
}

static void *ring(void *arg)
{
    gev_greenlet **next = arg;
    void *in = NULL;
    for (;;) {
        if (gev_switch(*next, P(N(in) + 1), &in) != 0) {
            return gev_fail(errno);
        }
    }
}

/* RAW2: symmetric: a switch back may come from anyone. */
GEV_TEST(value_may_come_from_anyone)
{
    gev_greenlet *g[3];
    gev_greenlet *next[3];
    for (int i = 0; i < 3; i++) {
        g[i] = gev_new(ring, &next[i]);
    }
    next[0] = g[1];
    next[1] = g[2];
    next[2] = gev_current();
    void *out = NULL;
    expect_ok(gev_switch(g[0], NULL, &out));
    expect_int_eq(N(out), 1); /* each starts with NULL and adds one */
    expect_ok(gev_switch(g[0], P(10), &out));
    expect_int_eq(N(out), 13);
    gev_unrefall(g, 3);
}

/* RAW1, GLT1: the hub becomes the parent of one that is started. */
GEV_TEST(start_hands_a_raw_greenlet_to_the_hub)
{
    gev_greenlet *g = gev_new(return_arg, P(2));
    expect_ok(gev_start(g));
    expect_true(gev_started(g));
    expect_true(gev_parent(g) != gev_current());
    expect_fail(gev_switch(g, NULL, NULL), EBUSY);
    void *value = NULL;
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_int_eq(N(value), 2);
    gev_unref(g);
}

/* A switch does not run what the hub has ready. */
GEV_TEST(switch_does_not_run_ready_greenlets)
{
    trace_reset();
    gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
    gev_greenlet *raw = gev_new(trace_and_return, "raw");
    expect_ok(gev_switch(raw, NULL, NULL));
    expect_str_eq(trace_text(), "raw");
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "raw ready");
    gev_unref(ready);
    gev_unref(raw);
}

static void *drop_own_handle(void *arg)
{
    gev_unref(gev_current());
    return arg;
}

static int live_greenlets(void)
{
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub_stats(gev_hub_get(), &stats);
    return (int)stats.live;
}

/* RAW9: the child's end drops the last reference to its parent and delivers to
 * it all the same. */
GEV_TEST(end_may_drop_the_last_reference_to_an_unstarted_parent)
{
    int runs = 0;
    gev_greenlet *parent = gev_new(count_run, &runs);
    gev_greenlet *child = gev_new(drop_own_handle, P(3));
    expect_ok(gev_set_parent(child, parent));
    gev_unref(parent);
    expect_ok(gev_switch(child, NULL, NULL));
    expect_int_eq(runs, 1);
    expect_int_eq(live_greenlets(), 0);
}

struct last_child {
    gev_greenlet *child;
    int rc;
    void *value;
};

static void *switch_to_last_child(void *arg)
{
    struct last_child *l = arg;
    l->child = gev_new(drop_own_handle, P(3));
    expect_ok(gev_switch(gev_parent(gev_current()), NULL, NULL));
    l->rc = gev_switch(l->child, NULL, &l->value);
    return NULL;
}

GEV_TEST(end_may_drop_the_last_reference_to_a_suspended_parent)
{
    struct last_child l = {.rc = 9};
    gev_greenlet *parent = gev_new(switch_to_last_child, &l);
    expect_ok(gev_switch(parent, NULL, NULL));
    gev_unref(parent); /* its child holds one */
    expect_ok(gev_switch(parent, NULL, NULL));
    expect_int_eq(l.rc, 0);
    expect_int_eq(N(l.value), 3);
    expect_int_eq(live_greenlets(), 0);
}

static void spawn_in_defer(void *arg)
{
    gev_unref(gev_spawn(trace_and_return, arg));
}

static void *suspend_with_a_defer(void *arg)
{
    expect_ok(gev_defer(spawn_in_defer, arg));
    expect_fail(gev_switch(gev_parent(gev_current()), NULL, NULL), ECANCELED);
    return NULL;
}

/* RAW13: nobody can wait for the cancelled one where its last reference goes
 * with the end of another. */
GEV_TEST(end_of_a_spawned_one_may_cancel_its_parent)
{
    trace_reset();
    gev_greenlet *parent = gev_new(suspend_with_a_defer, "spawned");
    expect_ok(gev_switch(parent, NULL, NULL));
    gev_greenlet *g = gev_spawn(trace_and_return, "child");
    expect_ok(gev_set_parent(g, parent));
    gev_unref(parent);
    gev_unref(g);
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "child spawned");
    expect_int_eq(live_greenlets(), 0);
}

static void unref_in_callback(void *arg)
{
    gev_unref(arg);
}

/* RAW13: in the hub, too, the last reference cancels; the end comes later. */
GEV_TEST(unref_in_a_callback_cancels)
{
    struct suspend s = {0};
    gev_greenlet *g = gev_new(suspend_once, &s);
    expect_ok(gev_switch(g, NULL, NULL));
    expect_ok(gev_hub_post(gev_hub_get(), unref_in_callback, g));
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(s.rc, -1);
    expect_int_eq(s.error, ECANCELED);
    expect_int_eq(live_greenlets(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_does_not_start_and_has_the_caller_as_parent),
        cmocka_unit_test(new_refuses_a_null_function_and_bad_options),
        cmocka_unit_test(first_switch_passes_in_unless_there_is_an_arg),
        cmocka_unit_test(values_go_both_ways),
        cmocka_unit_test(switch_discards_the_value_without_out),
        cmocka_unit_test(return_arrives_in_the_parents_switch),
        cmocka_unit_test(exit_arrives_in_the_parents_switch),
        cmocka_unit_test(failure_raises_its_code_in_the_parents_switch),
        cmocka_unit_test(cancelled_end_is_quiet),
        cmocka_unit_test(switch_to_a_dead_one_goes_on_to_its_parent),
        cmocka_unit_test(switch_passes_over_a_chain_of_dead_ones),
        cmocka_unit_test(throw_fails_the_pending_switch),
        cmocka_unit_test(throw_can_be_handled),
        cmocka_unit_test(throw_refuses_codes_that_are_not_positive),
        cmocka_unit_test(throw_into_one_that_never_started_goes_to_its_parent),
        cmocka_unit_test(throw_into_a_dead_one_goes_on_to_its_parent),
        cmocka_unit_test(switch_and_throw_to_oneself),
        cmocka_unit_test(parent_can_be_changed_but_not_to_a_cycle),
        cmocka_unit_test(parent_at_the_time_of_the_end_counts),
        cmocka_unit_test(child_keeps_its_parent_alive),
        cmocka_unit_test(unstarted_parent_is_started_with_the_value),
        cmocka_unit_test(unstarted_parent_dies_of_its_childs_failure),
        cmocka_unit_test(last_unref_cancels_a_suspended_one),
        cmocka_unit_test(unref_in_a_greenlet_returns_there),
        cmocka_unit_test(cancelled_suspended_one_runs_its_defers),
        cmocka_unit_test(switch_refuses_the_hub_and_what_it_runs),
        cmocka_unit_test(switch_is_refused_in_callbacks_and_defers),
        cmocka_unit_test(raw_greenlet_may_park),
        cmocka_unit_test(mains_switch_fails_when_nothing_can_switch_back),
        cmocka_unit_test(kills_and_scopes_do_not_fail_a_switch),
        cmocka_unit_test(kill_of_a_suspended_one_stays_pending),
        cmocka_unit_test(foreign_greenlets_are_refused),
        cmocka_unit_test(current_is_whoever_runs),
        cmocka_unit_test(locals_stay_where_they_are),
        cmocka_unit_test(stack_size_is_what_was_asked_for),
        cmocka_unit_test(long_chain_of_parents),
        cmocka_unit_test(value_may_come_from_anyone),
        cmocka_unit_test(start_hands_a_raw_greenlet_to_the_hub),
        cmocka_unit_test(switch_does_not_run_ready_greenlets),
        cmocka_unit_test(
            end_may_drop_the_last_reference_to_an_unstarted_parent),
        cmocka_unit_test(end_may_drop_the_last_reference_to_a_suspended_parent),
        cmocka_unit_test(end_of_a_spawned_one_may_cancel_its_parent),
        cmocka_unit_test(unref_in_a_callback_cancels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
