/* SPDX-License-Identifier: MIT */

/* gev_wait_signal. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

struct wait {
    int signum;
    double timeout;
    int rc;
    int error;
};

static void *wait_and_note(void *arg)
{
    struct wait *w = arg;
    w->rc = gev_wait_signal(w->signum, w->timeout);
    w->error = w->rc == 0 ? 0 : errno;
    return NULL;
}

static void *raise_later(void *arg)
{
    if (gev_sleep(0.005) != 0 || kill(getpid(), N(arg)) != 0) {
        return gev_fail(errno);
    }
    return NULL;
}

static int handled;

static void on_signal(int signum)
{
    handled = signum;
}

/* Sets what the signal does without gev; returns what it did before. */
static struct sigaction set_handler(int signum, void (*handler)(int))
{
    struct sigaction action;
    struct sigaction old;
    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    expect_int_eq(sigaction(signum, &action, &old), 0);
    return old;
}

static void (*handler_of(int signum))(int)
{
    struct sigaction action;
    expect_int_eq(sigaction(signum, NULL, &action), 0);
    return action.sa_handler;
}

GEV_TEST(wait_ends_when_the_signal_comes)
{
    gev_greenlet *g = gev_spawn(raise_later, P(SIGUSR1));
    expect_ok(gev_wait_signal(SIGUSR1, GEV_FOREVER));
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
}

GEV_TEST(wait_times_out)
{
    double start = test_now();
    expect_fail(gev_wait_signal(SIGUSR1, 0.003), ETIMEDOUT);
    expect_ge(test_now() - start, 0.003);
    expect_fail(gev_wait_signal(SIGUSR1, 0), ETIMEDOUT);
    expect_fail(gev_wait_signal(SIGUSR1, -1), ETIMEDOUT);
}

/* LOOP9 */
GEV_TEST(wait_refuses_misuse)
{
    expect_fail(gev_wait_signal(0, 0.001), EINVAL);
    expect_fail(gev_wait_signal(-1, 0.001), EINVAL);
    expect_fail(gev_wait_signal(10000, 0.001), EINVAL);
    expect_fail(gev_wait_signal(SIGKILL, 0.001), EINVAL);
    expect_fail(gev_wait_signal(SIGSTOP, 0.001), EINVAL);
    expect_fail(gev_wait_signal(SIGUSR1, (double)NAN), EINVAL);
}

/* "the disposition from before comes back after the last" (P7) */
GEV_TEST(disposition_comes_back)
{
    struct sigaction old = set_handler(SIGUSR1, on_signal);
    struct wait w[2] = {{.signum = SIGUSR1, .timeout = GEV_FOREVER},
                        {.signum = SIGUSR1, .timeout = 0.002}};
    gev_greenlet *g[2] = {gev_spawn(wait_and_note, &w[0]),
                          gev_spawn(wait_and_note, &w[1])};
    expect_ok(gev_yield());
    expect_true(handler_of(SIGUSR1) != on_signal);
    expect_ok(gev_join(g[1], GEV_FOREVER));
    expect_true(handler_of(SIGUSR1) != on_signal); /* one still waits */
    handled = 0;
    expect_int_eq(raise(SIGUSR1), 0);
    expect_ok(gev_join(g[0], GEV_FOREVER));
    expect_int_eq(w[0].rc, 0);
    expect_int_eq(w[1].error, ETIMEDOUT);
    expect_int_eq(handled, 0);
    expect_true(handler_of(SIGUSR1) == on_signal);
    expect_int_eq(raise(SIGUSR1), 0);
    expect_int_eq(handled, SIGUSR1);
    gev_unrefall(g, 2);
    expect_int_eq(sigaction(SIGUSR1, &old, NULL), 0);
}

/* Also after a kill. */
GEV_TEST(killed_wait_gives_the_signal_back)
{
    struct sigaction old = set_handler(SIGUSR2, SIG_IGN);
    struct wait w = {.signum = SIGUSR2, .timeout = GEV_FOREVER};
    gev_greenlet *g = gev_spawn(wait_and_note, &w);
    expect_ok(gev_yield());
    expect_true(handler_of(SIGUSR2) != SIG_IGN);
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(w.error, ECANCELED);
    expect_true(handler_of(SIGUSR2) == SIG_IGN);
    gev_unref(g);
    expect_int_eq(sigaction(SIGUSR2, &old, NULL), 0);
}

/* And when the hub is closed over it. */
GEV_TEST(closed_hub_gives_the_signal_back)
{
    struct sigaction old = set_handler(SIGUSR2, SIG_IGN);
    struct wait w = {.signum = SIGUSR2, .timeout = GEV_FOREVER};
    gev_unref(gev_spawn(wait_and_note, &w));
    expect_ok(gev_yield());
    expect_ok(gev_hub_close());
    expect_true(handler_of(SIGUSR2) == SIG_IGN);
    expect_int_eq(sigaction(SIGUSR2, &old, NULL), 0);
}

/* Every waiter wakes. */
GEV_TEST(every_waiter_wakes)
{
    struct wait w[5];
    gev_greenlet *g[5];
    for (int i = 0; i < 5; i++) {
        w[i] = (struct wait){.signum = SIGUSR1, .timeout = 10, .rc = -2};
        g[i] = gev_spawn(wait_and_note, &w[i]);
    }
    gev_unref(gev_spawn(raise_later, P(SIGUSR1)));
    expect_int_eq(gev_joinall(g, 5, GEV_FOREVER), 5);
    for (int i = 0; i < 5; i++) {
        expect_int_eq(w[i].rc, 0);
    }
    gev_unrefall(g, 5);
}

/* Different signals are told apart. */
GEV_TEST(signals_are_told_apart)
{
    struct wait a = {.signum = SIGUSR1, .timeout = GEV_FOREVER, .rc = -2};
    struct wait b = {.signum = SIGUSR2, .timeout = GEV_FOREVER, .rc = -2};
    gev_greenlet *ga = gev_spawn(wait_and_note, &a);
    gev_greenlet *gb = gev_spawn(wait_and_note, &b);
    expect_ok(gev_yield());
    expect_int_eq(raise(SIGUSR2), 0);
    expect_ok(gev_join(gb, GEV_FOREVER));
    expect_false(gev_dead(ga));
    expect_int_eq(raise(SIGUSR1), 0);
    expect_ok(gev_join(ga, GEV_FOREVER));
    expect_int_eq(a.rc + b.rc, 0);
    gev_unref(ga);
    gev_unref(gb);
}

/* Raises the signal once somebody catches it, else it would end the process. */
static void *raise_in_thread(void *arg)
{
    for (int i = 0; i < 5000 && handler_of(N(arg)) == SIG_DFL; i++) {
        (void)usleep(1000);
    }
    (void)usleep(2000);
    (void)kill(getpid(), N(arg));
    return NULL;
}

/* A waiter counts as able to wake: no EDEADLK. */
GEV_TEST(waiting_for_a_signal_is_no_deadlock)
{
    pthread_t thread;
    expect_int_eq(pthread_create(&thread, NULL, raise_in_thread, P(SIGUSR1)),
                  0);
    expect_ok(gev_wait_signal(SIGUSR1, GEV_FOREVER));
    expect_int_eq(pthread_join(thread, NULL), 0);
    expect_fail(gev_sleep(GEV_FOREVER), EDEADLK);
}

static atomic_int waiting;

static void *wait_in_thread(void *arg)
{
    struct wait *w = arg;
    gev_greenlet *g = gev_spawn(wait_and_note, w);
    (void)gev_yield();
    atomic_fetch_add(&waiting, 1);
    (void)gev_join(g, GEV_FOREVER);
    gev_unref(g);
    w->rc += gev_hub_close();
    return NULL;
}

/* Every waiter of every hub wakes. */
GEV_TEST(waiters_of_all_hubs_wake)
{
    struct wait w[3];
    pthread_t threads[3];
    atomic_store(&waiting, 0);
    for (int i = 0; i < 3; i++) {
        w[i] = (struct wait){.signum = SIGUSR1, .timeout = 10, .rc = -2};
        expect_int_eq(pthread_create(&threads[i], NULL, wait_in_thread, &w[i]),
                      0);
    }
    while (atomic_load(&waiting) < 3) {
        (void)usleep(1000);
    }
    expect_int_eq(kill(getpid(), SIGUSR1), 0);
    for (int i = 0; i < 3; i++) {
        expect_int_eq(pthread_join(threads[i], NULL), 0);
        expect_int_eq(w[i].rc, 0);
    }
    expect_true(handler_of(SIGUSR1) == SIG_DFL);
}

/* Several in a row. */
GEV_TEST(many_signals_one_after_the_other)
{
    struct wait w = {.signum = SIGUSR1, .timeout = GEV_FOREVER};
    for (int i = 0; i < 200; i++) {
        gev_greenlet *g = gev_spawn(wait_and_note, &w);
        expect_ok(gev_yield());
        expect_int_eq(raise(SIGUSR1), 0);
        expect_ok(gev_join(g, GEV_FOREVER));
        expect_int_eq(w.rc, 0);
        gev_unref(g);
    }
}

static void *wait_in_a_thread(void *arg)
{
    wait_and_note(arg);
    gev_hub_close();
    return NULL;
}

/* The child of a fork has none of the other threads' waiters. */
GEV_TEST(forked_child_has_the_disposition_from_before)
{
    if (ON_TSAN) {
        test_skip("ThreadSanitizer does not follow this fork");
    }
    struct wait w = {.signum = SIGUSR2, .timeout = 20, .rc = 9};
    struct sigaction old = set_handler(SIGUSR2, SIG_DFL);
    pthread_t thread;
    expect_int_eq(pthread_create(&thread, NULL, wait_in_a_thread, &w), 0);
    for (int i = 0; i < 5000 && handler_of(SIGUSR2) == SIG_DFL; i++) {
        expect_ok(gev_sleep(0.001));
    }
    pid_t pid = fork();
    if (pid == 0) {
        gev_sleep(0.001);
        (void)kill(getpid(), SIGUSR2);
        _exit(0);
    }
    int status = 0;
    expect_ok(gev_wait_child(pid, &status, 20));
    expect_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR2);
    /* the parent's waiter still waits */
    expect_ok(kill(getpid(), SIGUSR2));
    expect_int_eq(pthread_join(thread, NULL), 0);
    expect_int_eq(w.rc, 0);
    expect_true(handler_of(SIGUSR2) == SIG_DFL);
    sigaction(SIGUSR2, &old, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wait_ends_when_the_signal_comes),
        cmocka_unit_test(wait_times_out),
        cmocka_unit_test(wait_refuses_misuse),
        cmocka_unit_test(disposition_comes_back),
        cmocka_unit_test(killed_wait_gives_the_signal_back),
        cmocka_unit_test(closed_hub_gives_the_signal_back),
        cmocka_unit_test(every_waiter_wakes),
        cmocka_unit_test(signals_are_told_apart),
        cmocka_unit_test(waiting_for_a_signal_is_no_deadlock),
        cmocka_unit_test(waiters_of_all_hubs_wake),
        cmocka_unit_test(many_signals_one_after_the_other),
        cmocka_unit_test(forked_child_has_the_disposition_from_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
