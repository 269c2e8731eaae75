/* SPDX-License-Identifier: MIT */

/* gev_signal (TOP12). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static void (*handler_of(int signum))(int)
{
    struct sigaction action;
    expect_int_eq(sigaction(signum, NULL, &action), 0);
    return action.sa_handler;
}

/* Sends itself a signal and lets the hub see it. */
static void deliver(int signum)
{
    expect_int_eq(kill(getpid(), signum), 0);
    expect_ok(gev_sleep(0.002));
}

static void *trace_and_sleep(void *word)
{
    trace(word);
    if (gev_sleep(test_scale(0.05)) == 0) {
        trace("slept");
    }
    return NULL;
}

/* TOP12: a new greenlet at each delivery, which may park; until the cancel. */
GEV_TEST(handler_is_a_greenlet_at_each_delivery)
{
    trace_reset();
    gev_signal_handler *h = gev_signal(SIGUSR1, trace_and_sleep, "came");
    expect_not_null(h);
    expect_true(handler_of(SIGUSR1) != SIG_DFL);
    deliver(SIGUSR1);
    deliver(SIGUSR1);
    expect_ok(gev_sleep(test_scale(0.1)));
    expect_str_eq(trace_text(), "came came slept slept");
    gev_signal_cancel(h);
    expect_true(handler_of(SIGUSR1) == SIG_DFL);
}

/* In the order they were set; others are not concerned. */
GEV_TEST(several_handlers_in_order)
{
    trace_reset();
    gev_signal_handler *h[4] = {
        gev_signal(SIGUSR1, trace_and_return, "one"),
        gev_signal(SIGUSR2, trace_and_return, "other"),
        gev_signal(SIGUSR1, trace_and_return, "two"),
        gev_signal(SIGUSR1, trace_and_return, "three"),
    };
    deliver(SIGUSR1);
    expect_str_eq(trace_text(), "one two three");
    gev_signal_cancel(h[2]);
    trace_reset();
    deliver(SIGUSR1);
    expect_str_eq(trace_text(), "one three");
    gev_signal_cancel(h[0]);
    gev_signal_cancel(h[3]);
    expect_true(handler_of(SIGUSR1) == SIG_DFL);
    expect_true(handler_of(SIGUSR2) != SIG_DFL);
    gev_signal_cancel(h[1]);
    expect_true(handler_of(SIGUSR2) == SIG_DFL);
}

GEV_TEST(misuse_is_refused)
{
    const int bad[] = {0, -1, 65, 10000, SIGKILL, SIGSTOP, 32};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        expect_null(gev_signal(bad[i], return_arg, NULL));
        expect_int_eq(errno, EINVAL);
    }
    expect_null(gev_signal(SIGUSR1, NULL, NULL));
    expect_int_eq(errno, EINVAL);
    gev_signal_cancel(NULL);
    gev_signal_keep(NULL, true);
    expect_true(handler_of(SIGUSR1) == SIG_DFL);
}

static gev_signal_handler *own;

static void *cancel_own(void *word)
{
    trace(word);
    gev_signal_cancel(own);
    own = NULL;
    trace(handler_of(SIGUSR1) == SIG_DFL ? "default" : "caught");
    return NULL;
}

GEV_TEST(cancel_from_inside)
{
    trace_reset();
    own = gev_signal(SIGUSR1, cancel_own, "in");
    deliver(SIGUSR1);
    expect_str_eq(trace_text(), "in default");
    expect_null(own);
}

static gev_signal_handler *second;

static void *cancel_second(void *word)
{
    trace(word);
    gev_signal_cancel(second);
    return NULL;
}

/* Cancelled between the delivery and its turn: it is not begun. */
GEV_TEST(cancelled_before_its_turn_does_not_begin)
{
    trace_reset();
    gev_signal_handler *h = gev_signal(SIGUSR1, cancel_second, "first");
    second = gev_signal(SIGUSR1, trace_and_return, "second");
    gev_signal_handler *third = gev_signal(SIGUSR1, trace_and_return, "third");
    deliver(SIGUSR1);
    expect_str_eq(trace_text(), "first third");
    gev_signal_cancel(h);
    gev_signal_cancel(third);
}

static void on_signal(int signum)
{
    (void)signum;
}

/* P7: what was there comes back, and what the program sets meanwhile stays. */
GEV_TEST(disposition_comes_back)
{
    struct sigaction action;
    struct sigaction old;
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_signal;
    expect_int_eq(sigaction(SIGUSR1, &action, &old), 0);
    gev_signal_handler *h = gev_signal(SIGUSR1, return_arg, NULL);
    expect_true(handler_of(SIGUSR1) != on_signal);
    gev_signal_cancel(h);
    expect_true(handler_of(SIGUSR1) == on_signal);
    h = gev_signal(SIGUSR1, return_arg, NULL);
    action.sa_handler = SIG_IGN;
    expect_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
    gev_signal_cancel(h);
    expect_true(handler_of(SIGUSR1) == SIG_IGN);
    expect_int_eq(sigaction(SIGUSR1, &old, NULL), 0);
}

struct report {
    int error;
    char name[32];
};

static void note_report(gev_greenlet *g, int error, void *arg)
{
    struct report *r = arg;
    r->error = error;
    (void)snprintf(r->name, sizeof(r->name), "%s", gev_name(g));
}

/* TOP12: its failure goes to the error handler, and it stays. */
GEV_TEST(failing_handler_is_reported)
{
    struct report r = {0};
    gev_set_error_handler(note_report, &r);
    gev_signal_handler *h = gev_signal(SIGUSR1, fail_with, P(EDOM));
    for (int i = 0; i < 2; i++) {
        r.error = 0;
        deliver(SIGUSR1);
        expect_int_eq(r.error, EDOM);
        expect_str_eq(r.name, "fail_with");
    }
    gev_signal_cancel(h);
    gev_signal_handler *(*set)(int, gev_fn, void *) = gev_signal;
    h = set(SIGUSR1, fail_with, P(EDOM)); /* the function, not the macro */
    deliver(SIGUSR1);
    expect_str_eq(r.name, "signal handler");
    gev_signal_cancel(h);
    gev_set_error_handler(NULL, NULL);
}

static void *wait_and_trace(void *word)
{
    expect_ok(gev_wait_signal(SIGUSR1, 10));
    trace(word);
    return NULL;
}

/* Beside gev_wait_signal: both get it; the disposition comes back with the
 * last of them. */
GEV_TEST(handlers_and_waiters_of_one_signal)
{
    trace_reset();
    gev_signal_handler *h = gev_signal(SIGUSR1, trace_and_return, "handler");
    gev_greenlet *g = gev_spawn(wait_and_trace, "waiter");
    expect_ok(gev_yield());
    deliver(SIGUSR1);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_str_eq(trace_text(), "waiter handler");
    expect_true(handler_of(SIGUSR1) != SIG_DFL);
    g = gev_spawn(wait_and_trace, "again");
    expect_ok(gev_yield());
    gev_signal_cancel(h);
    expect_true(handler_of(SIGUSR1) != SIG_DFL);
    deliver(SIGUSR1);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_true(handler_of(SIGUSR1) == SIG_DFL);
}

static void *raise_later(void *signum)
{
    (void)usleep(20000);
    (void)kill(getpid(), N(signum));
    return NULL;
}

static void *trace_and_let_go(void *h)
{
    trace("came");
    gev_signal_keep(*(gev_signal_handler **)h, false);
    return NULL;
}

/* TOP12: ref, false at first. */
GEV_TEST(keep_has_the_hub_wait)
{
    pthread_t thread;
    gev_signal_handler *h;
    trace_reset();
    h = gev_signal(SIGUSR1, trace_and_let_go, &h);
    expect_ok(gev_run(GEV_FOREVER)); /* not for that one */
    expect_fail(gev_sleep(GEV_FOREVER), EDEADLK);
    gev_signal_keep(h, true);
    gev_signal_keep(h, true);
    expect_int_eq(pthread_create(&thread, NULL, raise_later, P(SIGUSR1)), 0);
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "came");
    expect_int_eq(pthread_join(thread, NULL), 0);
    gev_signal_keep(h, true);
    gev_signal_cancel(h); /* lets go, too */
    expect_fail(gev_sleep(GEV_FOREVER), EDEADLK);
}

/* What is left is cancelled with the hub. */
GEV_TEST(closed_hub_cancels)
{
    gev_signal_handler *h = gev_signal(SIGUSR1, return_arg, NULL);
    gev_signal_keep(h, true);
    expect_not_null(gev_signal(SIGUSR2, return_arg, NULL));
    expect_ok(gev_hub_close());
    expect_true(handler_of(SIGUSR1) == SIG_DFL);
    expect_true(handler_of(SIGUSR2) == SIG_DFL);
}

/* --- threads, forks, storms ----------------------------------------------- */

enum { HUBS = 4, SENT = 2000 };
static atomic_int ready_hubs;
static atomic_bool storm_over;

static void *count_up(void *counter)
{
    ++*(int *)counter;
    return NULL;
}

/* Several handlers, a few of them coming and going; the last round is quiet.
 */
static void *hub_in_a_storm(void *arg)
{
    int *counts = arg;
    gev_signal_handler *a = gev_signal(SIGUSR1, count_up, &counts[0]);
    gev_signal_handler *b = gev_signal(SIGUSR2, count_up, &counts[1]);
    atomic_fetch_add(&ready_hubs, 1);
    while (!atomic_load(&storm_over)) {
        gev_signal_handler *c = gev_signal(SIGUSR1, count_up, &counts[2]);
        (void)gev_sleep(0.001);
        gev_signal_cancel(c);
    }
    (void)gev_sleep(0.02);
    gev_signal_cancel(a);
    gev_signal_cancel(b);
    gev_hub_close();
    return NULL;
}

/* P6: no signal of a storm is lost for good: after the last one of each kind
 * every hub has seen it. */
GEV_TEST(storm_over_several_hubs)
{
    pthread_t threads[HUBS];
    int counts[HUBS][3];
    memset(counts, 0, sizeof(counts));
    atomic_store(&ready_hubs, 0);
    atomic_store(&storm_over, false);
    for (int i = 0; i < HUBS; i++) {
        expect_int_eq(
            pthread_create(&threads[i], NULL, hub_in_a_storm, counts[i]), 0);
    }
    while (atomic_load(&ready_hubs) < HUBS) {
        (void)usleep(1000);
    }
    for (int i = 0; i < SENT; i++) {
        (void)kill(getpid(), i % 2 ? SIGUSR1 : SIGUSR2);
    }
    atomic_store(&storm_over, true);
    for (int i = 0; i < HUBS; i++) {
        expect_int_eq(pthread_join(threads[i], NULL), 0);
        expect_true(counts[i][0] > 0 && counts[i][0] <= SENT / 2);
        expect_true(counts[i][1] > 0 && counts[i][1] <= SENT / 2);
    }
    expect_true(handler_of(SIGUSR1) == SIG_DFL);
}

/* All signals that can be caught, at once: none takes another's place. */
GEV_TEST(different_signals_are_not_merged)
{
    enum { FIRST = 34, LAST = 50 };
    int counts[LAST + 1] = {0};
    gev_signal_handler *h[LAST + 1];
    for (int i = FIRST; i <= LAST; i++) {
        h[i] = gev_signal(i, count_up, &counts[i]);
        expect_not_null(h[i]);
    }
    for (int i = LAST; i >= FIRST; i--) {
        expect_int_eq(kill(getpid(), i), 0);
    }
    expect_ok(gev_sleep(0.01));
    for (int i = FIRST; i <= LAST; i++) {
        expect_int_eq(counts[i], 1);
        gev_signal_cancel(h[i]);
    }
}

/* The child has the disposition from before; a handle is good for a cancel. */
GEV_TEST(forked_child_has_no_handler)
{
    if (ON_TSAN) {
        test_skip("ThreadSanitizer does not follow this fork");
    }
    int count = 0;
    gev_signal_handler *h = gev_signal(SIGUSR1, count_up, &count);
    gev_signal_handler *left = gev_signal(SIGUSR2, count_up, &count);
    gev_signal_keep(h, true);
    pid_t pid = fork();
    if (pid == 0) {
        bool bad = handler_of(SIGUSR1) != SIG_DFL;
        gev_signal_keep(left, true);
        gev_signal_cancel(h);
        h = gev_signal(SIGUSR1, count_up, &count);
        deliver(SIGUSR1);
        bad = bad || count != 1 || gev_hub_close() != 0 ||
              handler_of(SIGUSR1) != SIG_DFL;
        _exit(bad);
    }
    int status = -1;
    expect_ok(gev_wait_child(pid, &status, 20));
    expect_int_eq(status, 0);
    deliver(SIGUSR1);
    expect_int_eq(count, 1);
    gev_signal_cancel(h);
    gev_signal_cancel(left);
}

/* SIG1: SIGCHLD is a signal as any other; nothing of gev's needs it. */
GEV_TEST(sigchld_is_the_programs)
{
    int count = 0;
    gev_signal_handler *h = gev_signal(SIGCHLD, count_up, &count);
    char *const argv[] = {"true", NULL};
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_process_run(argv, NULL, NULL, 0, NULL, 20));
    }
    expect_ok(gev_sleep(0.01));
    expect_true(count >= 1 && count <= 3);
    gev_signal_cancel(h);
    expect_ok(gev_process_run(argv, NULL, NULL, 0, NULL, 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handler_is_a_greenlet_at_each_delivery),
        cmocka_unit_test(several_handlers_in_order),
        cmocka_unit_test(misuse_is_refused),
        cmocka_unit_test(cancel_from_inside),
        cmocka_unit_test(cancelled_before_its_turn_does_not_begin),
        cmocka_unit_test(disposition_comes_back),
        cmocka_unit_test(failing_handler_is_reported),
        cmocka_unit_test(handlers_and_waiters_of_one_signal),
        cmocka_unit_test(keep_has_the_hub_wait),
        cmocka_unit_test(closed_hub_cancels),
        cmocka_unit_test(storm_over_several_hubs),
        cmocka_unit_test(different_signals_are_not_merged),
        cmocka_unit_test(forked_child_has_no_handler),
        cmocka_unit_test(sigchld_is_the_programs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
