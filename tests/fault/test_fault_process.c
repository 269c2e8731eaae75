/* SPDX-License-Identifier: MIT */

/* Fault sweeps over processes and signal handlers: every allocation and system
 * call fails, also those of the child up to exec; each time the call says so,
 * or copes, and nothing is left behind (S14, C1, SUB1). */
#include <gev.h>

#include "support/fault_sweep.h"
#include "support/trace.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SWEEP(scenario, arg, cases, flags)                                     \
    (void)fault_sweep((scenario), (arg), (cases), gev__array_len(cases),       \
                      (flags))

static char *const true_argv[] = {"true", NULL};
static char *const cat_argv[] = {"cat", NULL};

static int failed(int error)
{
    errno = error;
    return -1;
}

/* Ends it without anything that could fail, and leaves errno alone. */
static int give_up(gev_process *p)
{
    int error = errno;
    (void)kill(gev_process_pid(p), SIGKILL);
    while (gev_process_poll(p, NULL) == 0) {
        (void)usleep(1000);
    }
    gev_process_free(p);
    return failed(error);
}

/* No child is left, not even unreaped. */
static void expect_no_child(void)
{
    int error = errno;
    expect_fail(waitpid(-1, NULL, WNOHANG), ECHILD);
    errno = error;
}

/* What starting may meet. Not all of it matters: there are older ways to close
 * descriptors, to wait, and the best way to a path is not the only one. */
static const struct fault_case starting[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
    {"descriptors", FAULT_AT(OPEN), EMFILE, .may_succeed = true,
     .allowed = {EMFILE}},
    {"flags", FAULT_AT(SOCKOPT), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
    {"the child", FAULT_AT(PROCESS), EAGAIN, .may_succeed = true,
     .allowed = {EAGAIN}},
    {"an old kernel", FAULT_AT(OPEN) | FAULT_AT(PROCESS), ENOSYS,
     .shapes = FAULT_ONCE, .may_succeed = true, .allowed = {ENOSYS}},
    {"interrupts",
     FAULT_AT(OPEN) | FAULT_AT(PROCESS) | FAULT_AT(WAIT) | FAULT_AT(READ),
     EINTR, .must_succeed = true},
};

/* With everything there is to a child. */
static int start_and_wait(void *arg)
{
    static const int pass[] = {2, 0};
    gev_process_opts o = {.in = GEV_PROCESS_NULL,
                          .out = GEV_PROCESS_PIPE,
                          .err = GEV_PROCESS_STDOUT,
                          .cwd = "/",
                          .pass_fds = pass,
                          .n_pass_fds = 2,
                          .flags = arg != NULL ? GEV_PROCESS_NEW_GROUP
                                               : GEV_PROCESS_NEW_SESSION};
    gev_process *p = gev_process_new(true_argv, &o);
    if (p == NULL) {
        expect_no_child();
        return -1;
    }
    int status = -1;
    if (gev_process_wait(p, &status, 20) != 0) {
        return give_up(p);
    }
    expect_int_eq(status, 0);
    gev_process_free(p);
    return 0;
}

GEV_TEST(start_survives)
{
    SWEEP(start_and_wait, NULL, starting, FAULT_WARM);
    SWEEP(start_and_wait, P(1), starting, FAULT_WARM);
}

static const struct fault_case talking[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
    {"short", FAULT_AT(READ) | FAULT_AT(WRITE), 0, .shapes = FAULT_SHORT},
    {"interrupts", FAULT_AT(READ) | FAULT_AT(WRITE), EINTR,
     .must_succeed = true},
    {"spurious readiness", FAULT_AT(READ) | FAULT_AT(WRITE), EAGAIN,
     .shapes = FAULT_ONCE, .must_succeed = true},
    {"errors", FAULT_AT(READ) | FAULT_AT(WRITE), EIO, .shapes = FAULT_ONCE,
     .may_succeed = true, .allowed = {EIO}},
};

/* Through a cat and back. */
static int communicate(void *arg)
{
    gev_process_opts o = {.in = GEV_PROCESS_PIPE,
                          .out = GEV_PROCESS_PIPE,
                          .err = GEV_PROCESS_PIPE};
    gev_process_result r = {.out = NULL};
    char text[300];
    (void)arg;
    memset(text, 'x', sizeof(text));
    gev_process *p = gev_process_new(cat_argv, &o);
    if (p == NULL) {
        return -1;
    }
    if (gev_process_communicate(p, text, sizeof(text), &r, 20) != 0) {
        return give_up(p);
    }
    expect_uint_eq(r.out_len, sizeof(text));
    expect_mem_eq(r.out, text, sizeof(text));
    expect_str_eq(r.err, "");
    gev_process_result_free(&r);
    gev_process_free(p);
    return 0;
}

/* A child is started for each of many injections: with a small text. */
GEV_TEST(communicate_survives)
{
    SWEEP(communicate, NULL, talking, FAULT_WARM);
}

static int run(void *arg)
{
    gev_process_opts o = {.out = GEV_PROCESS_PIPE, .err = GEV_PROCESS_STDOUT};
    gev_process_result r = {.out = NULL};
    (void)arg;
    int rc = gev_process_run(cat_argv, &o, "text", 4, &r, 20);
    int error = errno;
    if (rc == 0) {
        expect_int_eq(r.status, 0);
        expect_str_eq(r.out, "text");
    }
    gev_process_result_free(&r);
    expect_no_child(); /* killed, and reaped */
    return rc == 0 ? 0 : failed(error);
}

GEV_TEST(run_survives)
{
    SWEEP(run, NULL, talking, FAULT_WARM);
    SWEEP(run, NULL, starting, FAULT_WARM);
}

/* --- the ways of old kernels ---------------------------------------------- */

/* No pidfd at all: it looks now and then. */
GEV_TEST(without_pidfd_it_looks)
{
    char *const argv[] = {"sleep", "0.05", NULL};
    int status = -1;
    expect_not_null(gev_hub_get());
    /* The first start opens two pipes, later ones this one only. */
    expect_int_eq(gev_system("true"), 0);
    gev__fault_arm(FAULT_AT(OPEN), 1, ENOSYS, true);
    gev_process *p = gev_process_new(argv, NULL);
    expect_not_null(p);
    expect_int_eq(gev__fault_disarm(), 1);
    expect_int_eq(gev_process_poll(p, NULL), 0);
    expect_fail(gev_process_wait(p, NULL, 0.002), ETIMEDOUT);
    expect_ok(gev_process_wait(p, &status, 20));
    expect_int_eq(status, 0);
    gev_process_free(p);
    /* and one freed meanwhile; signals go by number */
    gev__fault_arm(FAULT_AT(OPEN), 1, ENOSYS, true);
    p = gev_process_new(argv, NULL);
    gev__fault_disarm();
    expect_ok(gev_process_kill(p, SIGTERM));
    pid_t pid = gev_process_pid(p);
    gev_process_free(p);
    expect_ok(gev_run(GEV_FOREVER)); /* nobody waits for it */
    siginfo_t info;
    (void)waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
    expect_int_eq(gev_system("true"), 0); /* the next start reaps it */
    expect_no_child();
}

/* gev_wait_child, too (LOOP13). */
GEV_TEST(wait_child_without_pidfd)
{
    int status = -1;
    expect_not_null(gev_hub_get());
    pid_t pid = fork();
    if (pid == 0) {
        (void)usleep(30000);
        _exit(4);
    }
    gev__fault_arm(FAULT_AT(OPEN), 1, ENOSYS, true);
    expect_fail(gev_wait_child(pid, &status, 0.002), ETIMEDOUT);
    expect_ok(gev_wait_child(pid, &status, 20));
    gev__fault_disarm();
    expect_int_eq(WEXITSTATUS(status), 4);
}

/* The calls of a plain start, in order: vfork, close_range, execve. */
#define CLOSE_RANGE 2

/* No close_range (P12): /proc/self/fd is read. */
GEV_TEST(without_close_range_nothing_leaks)
{
    char command[64];
    int plain = dup(0); /* NOLINT: not close-on-exec */
    expect_true(plain > 2);
    (void)snprintf(command, sizeof(command), "test ! -e /proc/self/fd/%d",
                   plain);
    expect_int_eq(gev_system(command), 0);
    gev__fault_arm(FAULT_AT(PROCESS), CLOSE_RANGE, ENOSYS, false);
    expect_int_eq(gev_system(command), 0);
    (void)gev__fault_disarm();
    (void)close(plain);
}

/* In a process of its own: with no descriptor left for that, either. */
static int start_without_proc(void)
{
    char command[64];
    int plain = -1;
    int last = -1;
    if (gev_system("true") != 0) {
        return 1;
    }
    while ((last = dup(0)) >= 0 && last < 40) { /* NOLINT */
        plain = last;
    }
    const struct rlimit limit = {.rlim_cur = (rlim_t)last + 1,
                                 .rlim_max = (rlim_t)last + 1};
    (void)snprintf(command, sizeof(command),
                   "test ! -e /proc/self/fd/%d && test ! -e /proc/self/fd/%d",
                   plain, last);
    if (last < 40 || setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 2;
    }
    gev__fault_arm(FAULT_AT(PROCESS), CLOSE_RANGE, ENOSYS, false);
    int status = gev_system(command);
    return gev__fault_disarm() == 1 && status == 0 ? 0 : 3;
}

/* All numbers are tried then. */
GEV_TEST(without_close_range_and_proc_nothing_leaks)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(start_without_proc());
    }
    expect_int_eq(waitpid(pid, &status, 0), pid);
    expect_int_eq(status, 0);
}

/* --- signals -------------------------------------------------------------- */

static int handled;

static void *count_signal(void *arg)
{
    handled++;
    return arg;
}

static const struct fault_case resources[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
    {"descriptors", FAULT_AT(OPEN), EMFILE, .allowed = {EMFILE}},
};

static int set_and_cancel(void *arg)
{
    (void)arg;
    gev_signal_handler *h = gev_signal(SIGUSR1, count_signal, NULL);
    if (h == NULL) {
        struct sigaction now;
        int error = errno;
        expect_int_eq(sigaction(SIGUSR1, NULL, &now), 0);
        expect_true(now.sa_handler == SIG_DFL);
        return failed(error);
    }
    gev_signal_cancel(h);
    return 0;
}

GEV_TEST(signal_survives)
{
    SWEEP(set_and_cancel, NULL, resources, FAULT_WARM);
}

/* No memory for the stack when it comes: it is spawned once there is. */
GEV_TEST(delivery_waits_for_memory)
{
    const unsigned points[] = {FAULT_AT(MMAP),
                               FAULT_AT(ALLOC) | FAULT_AT(MMAP)};
    for (int i = 0; i < 2; i++) {
        expect_ok(gev_hub_close());
        handled = 0;
        gev_signal_handler *h = gev_signal(SIGUSR1, count_signal, NULL);
        gev_signal_handler *other = gev_signal(SIGUSR1, count_signal, NULL);
        expect_not_null(other);
        /* Take what stacks there are. */
        gev_greenlet *g[64];
        int n = 0;
        gev__fault_arm(points[i], 1, ENOMEM, true);
        while (n < 64 && (g[n] = gev_spawn(park_forever, NULL)) != NULL) {
            n++;
        }
        expect_int_eq(raise(SIGUSR1), 0);
        expect_ok(gev_yield());
        double until = test_now() + 0.05;
        while (test_now() < until) {
            expect_ok(gev_yield());
        }
        expect_int_eq(handled, 0);
        expect_true(gev__fault_disarm() > 0);
        expect_ok(gev_sleep(0.05));
        expect_int_eq(handled, 2);
        expect_ok(gev_killall(g, (size_t)n, GEV_FOREVER));
        gev_unrefall(g, (size_t)n);
        gev_signal_cancel(h);
        gev_signal_cancel(other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_survives),
        cmocka_unit_test(communicate_survives),
        cmocka_unit_test(run_survives),
        cmocka_unit_test(without_pidfd_it_looks),
        cmocka_unit_test(wait_child_without_pidfd),
        cmocka_unit_test(without_close_range_nothing_leaks),
        cmocka_unit_test(without_close_range_and_proc_nothing_leaks),
        cmocka_unit_test(signal_survives),
        cmocka_unit_test(delivery_waits_for_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
