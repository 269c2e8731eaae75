/* SPDX-License-Identifier: MIT */

/* Waiting for, signalling and freeing processes. How they are started is in
 * test_process_start.c, what goes through their pipes in test_process_talk.c.
 */
#include <gev.h>

#include "support/process.h"
#include "support/trace.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* SUB7 */
GEV_TEST(kill_signals_until_it_has_ended)
{
    int status = 0;
    gev_process *p = gev_process_new(ARGV("sleep", "60"), NULL);
    expect_ok(gev_process_kill(p, 0));
    expect_fail(gev_process_kill(p, 999), EINVAL);
    expect_fail(gev_process_kill(p, -1), EINVAL);
    expect_ok(gev_process_kill(p, SIGTERM));
    expect_ok(gev_process_wait(p, &status, 20));
    expect_int_eq(WTERMSIG(status), SIGTERM);
    expect_ok(gev_process_kill(p, SIGTERM));
    expect_ok(gev_process_kill(p, SIGKILL));
    gev_process_free(p);
    /* ended, but nobody has looked yet */
    p = gev_process_new(ARGV("true"), NULL);
    siginfo_t info;
    expect_int_eq(
        waitid(P_PID, (id_t)gev_process_pid(p), &info, WEXITED | WNOWAIT), 0);
    expect_ok(gev_process_kill(p, SIGTERM));
    expect_int_eq(gev_process_poll(p, &status), 1);
    expect_int_eq(status, 0);
    gev_process_free(p);
}

/* --- waiting -------------------------------------------------------------- */

/* SUB3, SUB4 */
GEV_TEST(wait_times_out_and_may_be_repeated)
{
    int status = -2;
    gev_process *p = gev_process_new(ARGV("sleep", "60"), NULL);
    double start = test_now();
    expect_fail(gev_process_wait(p, &status, 0.01), ETIMEDOUT);
    expect_ge(test_now() - start, 0.01);
    expect_fail(gev_process_wait(p, &status, 0), ETIMEDOUT);
    expect_fail(gev_process_wait(p, &status, -1), ETIMEDOUT);
    expect_fail(gev_process_wait(p, &status, (double)NAN), EINVAL);
    expect_int_eq(gev_process_poll(p, &status), 0);
    expect_int_eq(status, -2);
    expect_ok(gev_process_kill(p, SIGKILL));
    expect_ok(gev_process_wait(p, NULL, GEV_FOREVER));
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_process_wait(p, &status, 0));
        expect_int_eq(WTERMSIG(status), SIGKILL);
        expect_int_eq(gev_process_poll(p, &status), 1);
    }
    gev_process_free(p);
}

/* SUB4: a loop that never parks ends. */
GEV_TEST(poll_alone_sees_the_end)
{
    int status = -1;
    int rc;
    gev_process *p = gev_process_new(ARGV("true"), NULL);
    while ((rc = gev_process_poll(p, &status)) == 0) {
    }
    expect_int_eq(rc, 1);
    expect_int_eq(status, 0);
    gev_process_free(p);
}

struct wait {
    gev_process *p;
    double timeout;
    int rc;
    int error;
    int status;
};

static void *wait_and_note(void *arg)
{
    struct wait *w = arg;
    w->rc = gev_process_wait(w->p, &w->status, w->timeout);
    w->error = w->rc == 0 ? 0 : errno;
    return NULL;
}

/* Any number of greenlets; one may be killed, one may run out of time. */
GEV_TEST(several_wait_for_one)
{
    struct wait w[6];
    gev_greenlet *g[6];
    gev_process *p = gev_process_new(ARGV("sleep", "60"), NULL);
    for (int i = 0; i < 6; i++) {
        w[i] = (struct wait){.p = p, .timeout = GEV_FOREVER, .rc = -2};
        w[i].timeout = i == 1 ? 0.005 : GEV_FOREVER;
        g[i] = gev_spawn(wait_and_note, &w[i]);
    }
    expect_ok(gev_sleep(0.01));
    expect_ok(gev_kill(g[2], GEV_FOREVER));
    expect_ok(gev_process_kill(p, SIGKILL));
    expect_int_eq(gev_joinall(g, 6, GEV_FOREVER), 6);
    for (int i = 0; i < 6; i++) {
        expect_int_eq(w[i].error, i == 1 ? ETIMEDOUT : i == 2 ? ECANCELED : 0);
        expect_int_eq(w[i].status, i == 1 || i == 2 ? 0 : SIGKILL);
    }
    gev_unrefall(g, 6);
    gev_process_free(p);
}

/* A wake and a kill in the same turn: what came first wins. */
GEV_TEST(end_and_kill_race)
{
    for (int kill_first = 0; kill_first < 2; kill_first++) {
        gev_process_opts o = {.in = GEV_PROCESS_PIPE};
        gev_process *p = gev_process_new(ARGV("cat"), &o);
        struct wait w = {.p = p, .timeout = GEV_FOREVER, .rc = -2};
        gev_greenlet *g = gev_spawn(wait_and_note, &w);
        expect_ok(gev_yield());
        siginfo_t info;
        expect_ok(gev_process_close(p, 0)); /* it ends */
        expect_int_eq(
            waitid(P_PID, (id_t)gev_process_pid(p), &info, WEXITED | WNOWAIT),
            0);
        if (kill_first) {
            expect_ok(gev_kill(g, 0));
        }
        expect_int_eq(gev_process_poll(p, NULL), 1); /* wakes */
        if (!kill_first) {
            expect_ok(gev_kill(g, 0));
        }
        expect_ok(gev_join(g, GEV_FOREVER));
        expect_int_eq(w.error, 0); /* it has ended: that is what it is told */
        gev_unref(g);
        gev_process_free(p);
    }
}

/* SUB3: gevent.wait([p]) */
GEV_TEST(process_is_a_waitable)
{
    gev_process *quick = gev_process_new(ARGV("true"), NULL);
    gev_process *slow = gev_process_new(ARGV("sleep", "60"), NULL);
    gev_waitable *w[] = {GEV_WAITABLE(slow), GEV_WAITABLE(quick)};
    expect_int_eq(gev_wait(w, 2, 1, 20), 1);
    expect_true(gev_waitable_ready(w[1]));
    expect_false(gev_waitable_ready(w[0]));
    expect_int_eq(gev_wait(w, 2, 0, 0.01), 1);
    expect_ok(gev_process_kill(slow, SIGKILL));
    expect_int_eq(gev_wait(w, 2, 0, GEV_FOREVER), 2);
    gev_iwait *it = gev_iwait_new(w, 2, 20);
    expect_ptr_eq(gev_iwait_next(it), w[0]);
    expect_ptr_eq(gev_iwait_next(it), w[1]);
    expect_null(gev_iwait_next(it));
    gev_iwait_free(it);
    gev_process_free(quick);
    gev_process_free(slow);
}

/* It counts as able to wake: gev_run goes on, and there is no EDEADLK. */
GEV_TEST(running_process_keeps_the_hub_waiting)
{
    gev_process *p = gev_process_new(ARGV("sleep", "0.05"), NULL);
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(gev_process_poll(p, NULL), 1);
    expect_fail(gev_sleep(GEV_FOREVER), EDEADLK);
    gev_process_free(p);
    p = gev_process_new(ARGV("sleep", "60"), NULL);
    pid_t pid = gev_process_pid(p);
    gev_process_free(p);
    expect_ok(gev_run(GEV_FOREVER)); /* nobody waits for that one */
    expect_int_eq(kill(pid, SIGKILL), 0);
    expect_ok(gev_sleep(0.05));
}

/* --- freeing -------------------------------------------------------------- */

static bool is_gone(pid_t pid)
{
    for (int i = 0; i < 2000; i++) {
        if (kill(pid, 0) != 0 && errno == ESRCH) {
            return true;
        }
        expect_ok(gev_sleep(0.002));
    }
    return false;
}

/* SUB10: freed while it runs it is not killed, and reaped at its end. */
GEV_TEST(freed_process_is_reaped_at_its_end)
{
    gev_process_opts o = {.in = GEV_PROCESS_PIPE};
    gev_process *p = gev_process_new(ARGV("cat"), &o);
    gev_process *q = gev_process_new(ARGV("sleep", "60"), NULL);
    pid_t pid = gev_process_pid(p);
    pid_t other = gev_process_pid(q);
    gev_process_free(q);
    expect_int_eq(kill(other, 0), 0);
    gev_process_free(p); /* its input ends, and so does it */
    expect_true(is_gone(pid));
    expect_int_eq(kill(other, SIGKILL), 0);
    expect_true(is_gone(other));
}

/* Freed under those who wait: they get the end. */
GEV_TEST(freed_under_waiters)
{
    gev_process *p = gev_process_new(ARGV("sleep", "60"), NULL);
    pid_t pid = gev_process_pid(p);
    struct wait w = {.p = p, .timeout = GEV_FOREVER, .rc = -2};
    gev_greenlet *g = gev_spawn(wait_and_note, &w);
    expect_ok(gev_yield());
    gev_process_free(p);
    expect_int_eq(kill(pid, SIGKILL), 0);
    expect_ok(gev_join(g, 20));
    expect_int_eq(w.rc, 0);
    expect_int_eq(w.status, SIGKILL);
    gev_unref(g);
}

/* So do those who wait for ever for one who waits: that is no deadlock. */
GEV_TEST(freed_under_the_only_waiter)
{
    gev_process *p = gev_process_new(ARGV("sleep", "0.05"), NULL);
    struct wait w = {.p = p, .timeout = GEV_FOREVER, .rc = -2};
    gev_greenlet *g = gev_spawn(wait_and_note, &w);
    expect_ok(gev_yield());
    gev_process_free(p);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(w.rc, 0);
    gev_unref(g);
    /* the waiter leaves first: nobody is left to hold the hub for */
    p = gev_process_new(ARGV("sleep", "60"), NULL);
    pid_t pid = gev_process_pid(p);
    w.p = p;
    g = gev_spawn(wait_and_note, &w);
    expect_ok(gev_yield());
    gev_process_free(p);
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_fail(gev_sleep(GEV_FOREVER), EDEADLK);
    expect_int_eq(kill(pid, SIGKILL), 0);
    expect_true(is_gone(pid));
    gev_unref(g);
}

/* Its hub is closed first: the next process call reaps it. */
GEV_TEST(orphans_are_reaped_by_the_next_call)
{
    gev_process *p = gev_process_new(ARGV("sleep", "60"), NULL);
    pid_t pid = gev_process_pid(p);
    gev_process_free(p);
    expect_ok(gev_hub_close());
    expect_int_eq(kill(pid, SIGKILL), 0);
    siginfo_t info;
    expect_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    expect_int_eq(exit_of(ARGV("true"), NULL), 0);
    expect_fail(waitpid(pid, NULL, WNOHANG), ECHILD);
}

/* A process that outlives its hub goes on in the thread's next. */
GEV_TEST(process_outlives_its_hub)
{
    gev_process_opts o = {.in = GEV_PROCESS_PIPE, .out = GEV_PROCESS_PIPE};
    gev_process *p = gev_process_new(ARGV("cat"), &o);
    gev_process *q = gev_process_new(ARGV("sleep", "60"), NULL);
    pid_t pid = gev_process_pid(q);
    gev_process_result r;
    expect_ok(gev_hub_close());
    gev_process_free(q); /* without any hub */
    expect_int_eq(kill(pid, SIGKILL), 0);
    expect_ok(gev_process_communicate(p, "x", 1, &r, 20));
    expect_str_eq(r.out, "x");
    expect_int_eq(r.status, 0);
    gev_process_result_free(&r);
    gev_process_free(p);
    siginfo_t info;
    (void)waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
    expect_int_eq(exit_of(ARGV("true"), NULL), 0); /* reaps the other */
}

/* --- other people's children ---------------------------------------------- */

static int chld_signals;

static void on_chld(int signum)
{
    (void)signum;
    chld_signals++;
}

/* P5, P7, SIG1, SIG2, SIG3: SIGCHLD is the program's, and so are its children.
 */
GEV_TEST(the_programs_own_children_and_sigchld_are_left_alone)
{
    struct sigaction action;
    struct sigaction old;
    struct sigaction now;
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_chld;
    action.sa_flags = SA_RESTART;
    expect_int_eq(sigaction(SIGCHLD, &action, &old), 0);
    chld_signals = 0;
    pid_t mine = fork();
    if (mine == 0) {
        _exit(3);
    }
    expect_int_eq(exit_of(ARGV("true"), NULL), 0);
    expect_int_eq(exit_of(ARGV("false"), NULL), 1);
    expect_int_eq(system("exit 5"), 5 << 8);
    int status = 0;
    expect_int_eq(waitpid(mine, &status, 0), mine);
    expect_int_eq(WEXITSTATUS(status), 3);
    expect_true(chld_signals > 0); /* the program's handler was called */
    expect_int_eq(sigaction(SIGCHLD, &old, &now), 0);
    expect_true(now.sa_handler == on_chld);
}

/* Reaped by a waitpid(-1): it counts as ended, its status is lost. */
GEV_TEST(child_reaped_by_somebody_else)
{
    int status = 77;
    gev_process_result r = {.status = 0};
    gev_process_opts o = {.out = GEV_PROCESS_PIPE};
    gev_process *p = gev_process_new(SH("echo hi"), &o);
    gev_process *q = gev_process_new(ARGV("sleep", "60"), NULL);
    struct wait w = {.p = q, .timeout = GEV_FOREVER, .rc = -2};
    expect_int_eq(waitpid(gev_process_pid(p), NULL, 0), gev_process_pid(p));
    gev_greenlet *g = gev_spawn(wait_and_note, &w);
    expect_ok(gev_yield());
    expect_fail(gev_process_wait(p, &status, 20), ECHILD);
    expect_fail(gev_process_poll(p, &status), ECHILD);
    expect_int_eq(status, 77);
    expect_ok(gev_process_kill(p, SIGTERM));
    expect_true(gev_waitable_ready(GEV_WAITABLE(p)));
    expect_fail(gev_process_communicate(p, NULL, 0, &r, 20), ECHILD);
    expect_str_eq(r.out, "hi\n"); /* all the same */
    expect_int_eq(r.status, -1);
    gev_process_result_free(&r);
    expect_int_eq(kill(gev_process_pid(q), SIGKILL), 0);
    expect_int_eq(waitpid(gev_process_pid(q), NULL, 0), gev_process_pid(q));
    expect_ok(gev_join(g, 20));
    expect_int_eq(w.error, ECHILD);
    gev_unref(g);
    gev_process_free(p);
    gev_process_free(q);
}

/* An ignored SIGCHLD has the kernel reap all children. */
GEV_TEST(ignored_sigchld_loses_the_status)
{
    struct sigaction action;
    struct sigaction old;
    memset(&action, 0, sizeof(action));
    action.sa_handler = SIG_IGN;
    expect_int_eq(sigaction(SIGCHLD, &action, &old), 0);
    gev_process_opts o = {.out = GEV_PROCESS_PIPE};
    gev_process_result r = {.status = 0};
    gev_process *p = gev_process_new(ARGV("sleep", "0.02"), NULL);
    expect_fail(gev_process_wait(p, NULL, 20), ECHILD);
    gev_process_free(p);
    expect_fail(gev_process_run(SH("echo hi"), &o, NULL, 0, &r, 20), ECHILD);
    expect_str_eq(r.out, "hi\n");
    gev_process_result_free(&r);
    fails_to_start(ARGV("/nonexistent"), NULL, ENOENT);
    expect_int_eq(sigaction(SIGCHLD, &old, NULL), 0);
}

/* --- threads, forks ------------------------------------------------------- */

static void *run_in_thread(void *arg)
{
    int *bad = arg;
    for (int i = 0; i < 20 && *bad == 0; i++) {
        gev_process_opts o = {.out = GEV_PROCESS_PIPE};
        gev_process_result r;
        if (gev_process_run(ARGV("echo", "x"), &o, NULL, 0, &r, 60) != 0) {
            *bad = errno;
            break;
        }
        *bad = strcmp(r.out, "x\n") != 0 || r.status != 0;
        gev_process_result_free(&r);
    }
    gev_hub_close();
    return NULL;
}

/* SUB8, LOOP13: from any thread. */
GEV_TEST(processes_of_several_threads)
{
    if (ON_TSAN) {
        /* A fork in one thread keeps what another closes in that one's epoll
         * set for a while; libev then takes the number off, whosever it is by
         * now, which does nothing. */
        test_skip("ThreadSanitizer takes descriptor numbers for memory");
    }
    pthread_t threads[4];
    int bad[4] = {0};
    for (int i = 0; i < 4; i++) {
        expect_int_eq(pthread_create(&threads[i], NULL, run_in_thread, &bad[i]),
                      0);
    }
    for (int i = 0; i < 4; i++) {
        expect_int_eq(pthread_join(threads[i], NULL), 0);
        expect_int_eq(bad[i], 0);
    }
}

static void *use_from_elsewhere(void *arg)
{
    gev_process *p = arg;
    expect_fail(gev_process_wait(p, NULL, 1), EPERM);
    expect_fail(gev_process_poll(p, NULL), EPERM);
    expect_fail(gev_process_kill(p, SIGKILL), EPERM);
    expect_fail(gev_process_communicate(p, NULL, 0, NULL, 1), EPERM);
    expect_fail(gev_process_close(p, 1), EPERM);
    gev_process_free(p); /* does nothing */
    gev_hub_close();
    return NULL;
}

GEV_TEST(another_threads_process_is_refused)
{
    pthread_t thread;
    gev_process_opts o = {.out = GEV_PROCESS_PIPE};
    gev_process *p = gev_process_new(ARGV("sleep", "60"), &o);
    expect_int_eq(pthread_create(&thread, NULL, use_from_elsewhere, p), 0);
    expect_int_eq(pthread_join(thread, NULL), 0);
    expect_ok(gev_process_kill(p, SIGKILL));
    expect_ok(gev_process_wait(p, NULL, 20));
    gev_process_free(p);
}

static int use_after_fork(gev_process *p, gev_process *freed_later)
{
    int bad = 0;
    bad |= gev_process_wait(p, NULL, 1) == 0 || errno != ECHILD;
    bad |= gev_process_poll(p, NULL) != -1 || errno != ECHILD;
    bad |= gev_process_kill(p, SIGKILL) != 0; /* and does nothing */
    gev_process_free(p);
    gev_process_free(freed_later);
    bad |= exit_of(SH("exit 3"), NULL) != 3;
    bad |= gev_hub_close() != 0;
    return bad;
}

/* P3: the child's hub forgets them, and starts its own. */
GEV_TEST(forked_child_has_none_of_them)
{
    if (ON_TSAN) {
        test_skip("ThreadSanitizer does not follow this fork");
    }
    gev_process *p = gev_process_new(ARGV("sleep", "60"), NULL);
    gev_process *q = gev_process_new(ARGV("sleep", "60"), NULL);
    gev_process *orphan = gev_process_new(ARGV("sleep", "60"), NULL);
    pid_t third = gev_process_pid(orphan);
    gev_process_free(orphan);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(use_after_fork(p, q));
    }
    int status = -1;
    expect_ok(gev_wait_child(pid, &status, 20));
    expect_int_eq(status, 0);
    expect_int_eq(gev_process_poll(p, NULL), 0); /* still runs, here */
    expect_ok(gev_process_kill(p, SIGKILL));
    expect_ok(gev_process_kill(q, SIGTERM));
    expect_int_eq(kill(third, SIGKILL), 0);
    expect_ok(gev_process_wait(p, NULL, 20));
    expect_ok(gev_process_wait(q, &status, 20));
    expect_int_eq(WTERMSIG(status), SIGTERM);
    gev_process_free(p);
    gev_process_free(q);
    expect_true(is_gone(third));
}

static void start_in_callback(void *arg)
{
    gev_process **p = arg;
    *p = gev_process_new(ARGV("sleep", "60"), NULL);
    expect_fail(gev_process_wait(*p, NULL, 5), EPERM);
    expect_fail(gev_process_run(ARGV("true"), NULL, NULL, 0, NULL, 5), EPERM);
    expect_fail(gev_process_run(ARGV("true"), NULL, NULL, 0, NULL, 0),
                ETIMEDOUT);
    expect_fail(gev_system("true"), EPERM);
}

/* Starting does not park; waiting in a callback is refused. */
GEV_TEST(started_in_a_callback)
{
    gev_process *p = NULL;
    expect_ok(gev_hub_post(gev_hub_get(), start_in_callback, &p));
    expect_ok(gev_sleep(0.01));
    expect_ok(gev_process_kill(p, SIGKILL));
    expect_ok(gev_process_wait(p, NULL, 20));
    gev_process_free(p);
}

/* 200 at once, and the hub goes on meanwhile. */
GEV_TEST(two_hundred_at_once)
{
    enum { MANY = 200 };
    static gev_process *p[MANY];
    int wrong = 0;
    for (int i = 0; i < MANY; i++) {
        char command[32];
        (void)snprintf(command, sizeof(command), "sleep 0.1; exit %d", i % 50);
        p[i] = gev_process_new(SH(command), NULL);
        expect_not_null(p[i]);
    }
    for (int i = MANY - 1; i >= 0; i--) {
        int status = -1;
        expect_ok(gev_process_wait(p[i], &status, 50));
        wrong += WEXITSTATUS(status) != i % 50;
        gev_process_free(p[i]);
    }
    expect_int_eq(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kill_signals_until_it_has_ended),
        cmocka_unit_test(wait_times_out_and_may_be_repeated),
        cmocka_unit_test(poll_alone_sees_the_end),
        cmocka_unit_test(several_wait_for_one),
        cmocka_unit_test(end_and_kill_race),
        cmocka_unit_test(process_is_a_waitable),
        cmocka_unit_test(running_process_keeps_the_hub_waiting),
        cmocka_unit_test(freed_process_is_reaped_at_its_end),
        cmocka_unit_test(freed_under_waiters),
        cmocka_unit_test(freed_under_the_only_waiter),
        cmocka_unit_test(orphans_are_reaped_by_the_next_call),
        cmocka_unit_test(process_outlives_its_hub),
        cmocka_unit_test(the_programs_own_children_and_sigchld_are_left_alone),
        cmocka_unit_test(child_reaped_by_somebody_else),
        cmocka_unit_test(ignored_sigchld_loses_the_status),
        cmocka_unit_test(processes_of_several_threads),
        cmocka_unit_test(another_threads_process_is_refused),
        cmocka_unit_test(forked_child_has_none_of_them),
        cmocka_unit_test(started_in_a_callback),
        cmocka_unit_test(two_hundred_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
