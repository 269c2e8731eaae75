/* SPDX-License-Identifier: MIT */

/* gev_wait_child: that child and no other (LOOP13, P5). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child that ends with code after so many milliseconds; < 0: waits to be
 * killed. */
static pid_t start_child(int code, int milliseconds)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (milliseconds < 0) {
            (void)sleep(60);
        } else if (milliseconds > 0) {
            (void)usleep((useconds_t)milliseconds * 1000);
        }
        _exit(code);
    }
    expect_true(pid > 0);
    return pid;
}

/* LOOP13, OS4: cooperative waitpid. */
GEV_TEST(wait_gives_the_status)
{
    int status = -1;
    pid_t pid = start_child(7, 5);
    expect_ok(gev_wait_child(pid, &status, GEV_FOREVER));
    expect_true(WIFEXITED(status));
    expect_int_eq(WEXITSTATUS(status), 7);
    expect_int_eq(waitpid(pid, NULL, WNOHANG), -1); /* it is reaped */
    expect_int_eq(errno, ECHILD);
}

GEV_TEST(status_of_one_that_was_killed)
{
    int status = -1;
    pid_t pid = start_child(0, -1);
    expect_fail(gev_wait_child(pid, &status, 0), ETIMEDOUT);
    expect_int_eq(status, -1);
    expect_int_eq(kill(pid, SIGKILL), 0);
    expect_ok(gev_wait_child(pid, &status, GEV_FOREVER));
    expect_true(WIFSIGNALED(status));
    expect_int_eq(WTERMSIG(status), SIGKILL);
}

/* One that has ended is reaped without parking. */
GEV_TEST(ended_child_does_not_park)
{
    trace_reset();
    siginfo_t info;
    pid_t pid = start_child(3, 0);
    expect_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
    int status = -1;
    expect_ok(gev_wait_child(pid, &status, 0));
    expect_int_eq(WEXITSTATUS(status), 3);
    pid = start_child(4, 0);
    expect_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    expect_ok(gev_wait_child(pid, NULL, GEV_FOREVER)); /* discards the status */
    expect_str_eq(trace_text(), "");
    expect_ok(gev_join(ready, GEV_FOREVER));
    gev_unref(ready);
}

GEV_TEST(wait_times_out)
{
    pid_t pid = start_child(0, -1);
    double start = test_now();
    expect_fail(gev_wait_child(pid, NULL, 0.005), ETIMEDOUT);
    expect_ge(test_now() - start, 0.005);
    expect_fail(gev_wait_child(pid, NULL, -1), ETIMEDOUT);
    expect_int_eq(kill(pid, SIGKILL), 0);
    expect_ok(gev_wait_child(pid, NULL, GEV_FOREVER));
}

GEV_TEST(wait_refuses_misuse)
{
    expect_fail(gev_wait_child(0, NULL, 0), EINVAL);
    expect_fail(gev_wait_child(-1, NULL, 0), EINVAL);
    expect_fail(gev_wait_child(-getpid(), NULL, 0), EINVAL);
    expect_fail(gev_wait_child(getpid(), NULL, (double)NAN), EINVAL);
    expect_fail(gev_wait_child(getpid(), NULL, 0), ECHILD);
    expect_fail(gev_wait_child(getppid(), NULL, GEV_FOREVER), ECHILD);
    pid_t pid = start_child(0, 0);
    expect_int_eq(waitpid(pid, NULL, 0), pid);
    expect_fail(gev_wait_child(pid, NULL, GEV_FOREVER), ECHILD);
}

struct wait {
    pid_t pid;
    int rc;
    int error;
    int status;
};

static void *wait_and_note(void *arg)
{
    struct wait *w = arg;
    w->rc = gev_wait_child(w->pid, &w->status, 10);
    w->error = w->rc == 0 ? 0 : errno;
    return NULL;
}

/* P5: nobody else's children are touched. */
GEV_TEST(other_children_are_left_alone)
{
    pid_t other = start_child(1, 0);
    pid_t pid = start_child(2, 5);
    int status = -1;
    expect_ok(gev_wait_child(pid, &status, GEV_FOREVER));
    expect_int_eq(WEXITSTATUS(status), 2);
    expect_int_eq(waitpid(other, &status, 0), other);
    expect_int_eq(WEXITSTATUS(status), 1);
}

/* Greenlets go on while one waits. */
GEV_TEST(several_children_at_once)
{
    enum { CHILDREN = 8 };
    struct wait w[CHILDREN];
    gev_greenlet *g[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        w[i] = (struct wait){.pid = start_child(i, 2 * (CHILDREN - i))};
        g[i] = gev_spawn(wait_and_note, &w[i]);
    }
    expect_int_eq(gev_joinall(g, CHILDREN, GEV_FOREVER), CHILDREN);
    for (int i = 0; i < CHILDREN; i++) {
        expect_int_eq(w[i].rc, 0);
        expect_int_eq(WEXITSTATUS(w[i].status), i);
    }
    gev_unrefall(g, CHILDREN);
}

/* Two that wait for one child: one gets it, for the other it was reaped by
 * somebody else. */
GEV_TEST(second_waiter_is_told_echild)
{
    pid_t pid = start_child(5, 5);
    struct wait a = {.pid = pid, .rc = -2};
    struct wait b = {.pid = pid, .rc = -2};
    gev_greenlet *g[2] = {gev_spawn(wait_and_note, &a),
                          gev_spawn(wait_and_note, &b)};
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    struct wait *won = a.rc == 0 ? &a : &b;
    struct wait *lost = a.rc == 0 ? &b : &a;
    expect_int_eq(won->rc, 0);
    expect_int_eq(WEXITSTATUS(won->status), 5);
    expect_int_eq(lost->rc, -1);
    expect_int_eq(lost->error, ECHILD);
    gev_unrefall(g, 2);
}

GEV_TEST(wait_can_be_killed)
{
    struct wait w = {.pid = start_child(0, -1), .rc = -2};
    gev_greenlet *g = gev_spawn(wait_and_note, &w);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(w.error, ECANCELED);
    gev_unref(g);
    expect_int_eq(kill(w.pid, SIGTERM), 0);
    expect_ok(gev_wait_child(w.pid, &w.status, GEV_FOREVER));
    expect_int_eq(WTERMSIG(w.status), SIGTERM);
}

/* OS2: children of posix_spawn are waited for as any other. */
GEV_TEST(posix_spawned_child)
{
    char *const argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char[]){"exit 6"},
                          NULL};
    int status = -1;
    pid_t pid = -1;
    expect_int_eq(posix_spawnp(&pid, "sh", NULL, NULL, argv, environ), 0);
    expect_ok(gev_wait_child(pid, &status, GEV_FOREVER));
    expect_int_eq(WEXITSTATUS(status), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wait_gives_the_status),
        cmocka_unit_test(status_of_one_that_was_killed),
        cmocka_unit_test(ended_child_does_not_park),
        cmocka_unit_test(wait_times_out),
        cmocka_unit_test(wait_refuses_misuse),
        cmocka_unit_test(other_children_are_left_alone),
        cmocka_unit_test(several_children_at_once),
        cmocka_unit_test(second_waiter_is_told_echild),
        cmocka_unit_test(wait_can_be_killed),
        cmocka_unit_test(posix_spawned_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
