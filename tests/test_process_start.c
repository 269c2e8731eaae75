/* SPDX-License-Identifier: MIT */

/* Starting processes: what they get, and what comes of failures. */
#include <gev.h>

#include "support/process.h"
#include "support/trace.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- starting ------------------------------------------------------------- */

/* SUB1, SUB3 */
GEV_TEST(status_is_what_waitpid_gives)
{
    expect_int_eq(exit_of(ARGV("true"), NULL), 0);
    expect_int_eq(exit_of(SH("exit 7"), NULL), 7);
    int status = 0;
    gev_process *p = gev_process_new(SH("kill -TERM $$"), NULL);
    expect_ok(gev_process_wait(p, &status, 20));
    expect_true(WIFSIGNALED(status));
    expect_int_eq(WTERMSIG(status), SIGTERM);
    expect_fail(waitpid(gev_process_pid(p), NULL, WNOHANG), ECHILD);
    gev_process_free(p);
}

/* SUB1: exec's failure is reported at once, nothing is left of the child. */
GEV_TEST(failures_of_exec_are_reported_and_leave_nothing)
{
    char data[] = "/tmp/gev-test-XXXXXX";
    int fd = mkstemp(data);
    expect_int_eq(write(fd, "data", 4), 4);
    expect_int_eq(close(fd), 0);
    expect_not_null(gev_hub_get());
    size_t fds = test_open_fds();
    gev_process_opts pipes = {.in = GEV_PROCESS_PIPE,
                              .out = GEV_PROCESS_PIPE,
                              .err = GEV_PROCESS_PIPE};
    for (int i = 0; i < 50; i++) {
        fails_to_start(ARGV("/nonexistent/program"), &pipes, ENOENT);
        fails_to_start(ARGV("gev-no-such-program"), &pipes, ENOENT);
        fails_to_start(ARGV(data), &pipes, EACCES);
    }
    expect_uint_eq(test_open_fds(), fds);
    expect_int_eq(chmod(data, 0700), 0);
    fails_to_start(ARGV(data), NULL, ENOEXEC);
    fails_to_start(ARGV("/tmp"), NULL, EACCES);
    fails_to_start(ARGV(""), NULL, ENOENT);
    expect_fail(waitpid(-1, NULL, WNOHANG), ECHILD);
    expect_int_eq(unlink(data), 0);
}

/* SUB11 */
GEV_TEST(arguments_are_checked)
{
    char *const none[] = {NULL};
    gev_process_opts o = {.size = 0};
    fails_to_start(NULL, NULL, EINVAL);
    fails_to_start(none, NULL, EINVAL);
    o.flags = 1u << 20;
    fails_to_start(ARGV("true"), &o, EINVAL);
    o = (gev_process_opts){.out = GEV_PROCESS_STDOUT};
    fails_to_start(ARGV("true"), &o, EINVAL);
    o = (gev_process_opts){.in = GEV_PROCESS_STDOUT};
    fails_to_start(ARGV("true"), &o, EINVAL);
    o = (gev_process_opts){.err = -4};
    fails_to_start(ARGV("true"), &o, EINVAL);
    o = (gev_process_opts){.in = 999};
    fails_to_start(ARGV("true"), &o, EBADF);
    o = (gev_process_opts){.n_pass_fds = 1};
    fails_to_start(ARGV("true"), &o, EINVAL);
    const int bad[] = {0, 999};
    o = (gev_process_opts){.pass_fds = bad, .n_pass_fds = 2};
    fails_to_start(ARGV("true"), &o, EBADF);
    o = (gev_process_opts){.size = 3};
    fails_to_start(ARGV("true"), &o, EINVAL);
    o = (gev_process_opts){.size = 5000};
    fails_to_start(ARGV("true"), &o, EINVAL);
    expect_null(gev_process_shell(NULL, NULL));
    expect_int_eq(errno, EINVAL);
    o = (gev_process_opts){.file = "sh"};
    expect_null(gev_process_shell("true", &o));
    expect_int_eq(errno, EINVAL);
    expect_fail(gev_process_pid(NULL), EINVAL);
    expect_fail(gev_process_fd(NULL, 0), EINVAL);
    expect_fail(gev_process_close(NULL, 0), EINVAL);
    expect_fail(gev_process_poll(NULL, NULL), EINVAL);
    expect_fail(gev_process_wait(NULL, NULL, 1), EINVAL);
    expect_fail(gev_process_kill(NULL, SIGTERM), EINVAL);
    expect_fail(gev_process_communicate(NULL, NULL, 0, NULL, 1), EINVAL);
    expect_fail(gev_process_run(NULL, NULL, NULL, 0, NULL, 1), EINVAL);
    expect_null(GEV_WAITABLE((gev_process *)NULL));
    gev_process_free(NULL);
    gev_process_result_free(NULL);
}

/* A struct of an older header, whose end is not there. */
GEV_TEST(older_options_are_understood)
{
    gev_process_opts o = {.size = offsetof(gev_process_opts, file),
                          .file = "/nonexistent",
                          .flags = 1u << 20};
    expect_int_eq(exit_of(ARGV("true"), &o), 0);
}

/* SUB1 */
GEV_TEST(cwd_and_env)
{
    char *const env[] = {"GEV_A=1", "GEV_B=two words", NULL};
    gev_process_opts o = {.cwd = "/"};
    expect_str_eq(output_of("pwd", &o), "/\n");
    o = (gev_process_opts){.env = env};
    expect_str_eq(output_of("echo \"$GEV_A:$GEV_B:$HOME\"", &o),
                  "1:two words:\n");
    o = (gev_process_opts){.cwd = "/nonexistent"};
    fails_to_start(ARGV("true"), &o, ENOENT);
    o.cwd = "/dev/null";
    fails_to_start(ARGV("true"), &o, ENOTDIR);
    /* the environment of this process, without */
    expect_int_eq(setenv("GEV_C", "inherited", 1), 0);
    expect_str_eq(output_of("echo $GEV_C", NULL), "inherited\n");
    expect_int_eq(unsetenv("GEV_C"), 0);
}

/* PATH is this process's; argv[0] need not be the program. */
GEV_TEST(program_is_searched_in_path)
{
    char directory[] = "/tmp/gev-test-XXXXXX";
    char file[64];
    char path[512];
    char saved[256];
    (void)snprintf(saved, sizeof(saved), "%s", getenv("PATH"));
    if (!expect_not_null(mkdtemp(directory))) {
        return;
    }
    (void)snprintf(file, sizeof(file), "%s/gev-prog", directory);
    int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    expect_true(dprintf(fd, "#!/bin/sh\nexit 9\n") > 0);
    expect_int_eq(close(fd), 0);
    (void)snprintf(path, sizeof(path), "/nonexistent::/dev/null:%s:%s",
                   directory, saved);
    expect_int_eq(setenv("PATH", path, 1), 0);
    fails_to_start(ARGV("gev-prog"), NULL, EACCES); /* found, not allowed */
    expect_int_eq(chmod(file, 0700), 0);
    expect_int_eq(exit_of(ARGV("gev-prog"), NULL), 9);
    gev_process_opts o = {.file = "gev-prog"};
    expect_int_eq(exit_of(ARGV("called so"), &o), 9);
    expect_int_eq(unsetenv("PATH"), 0);
    expect_int_eq(exit_of(ARGV("true"), NULL), 0); /* the default path */
    expect_int_eq(setenv("PATH", saved, 1), 0);
    o.file = "/bin/sh";
    expect_int_eq(exit_of(ARGV("name", "-c", "test \"$0\" = name"), &o), 0);
    /* with a slash: from cwd */
    o = (gev_process_opts){.file = "./gev-prog", .cwd = directory};
    expect_int_eq(exit_of(ARGV("x"), &o), 9);
    expect_int_eq(unlink(file), 0);
    expect_int_eq(rmdir(directory), 0);
}

GEV_TEST(too_many_arguments_are_reported)
{
    size_t n = 4 << 20;
    char *big = calloc(1, n);
    if (!expect_not_null(big)) {
        return;
    }
    memset(big, 'x', n - 1);
    fails_to_start(ARGV("true", big), NULL, E2BIG);
    free(big);
}

/* --- descriptors ---------------------------------------------------------- */

/* SUB2 */
GEV_TEST(our_ends_are_non_blocking_and_close_on_exec)
{
    gev_process_opts o = {.in = GEV_PROCESS_PIPE,
                          .out = GEV_PROCESS_PIPE,
                          .err = GEV_PROCESS_PIPE};
    gev_process *p = gev_process_new(ARGV("cat"), &o);
    for (int i = 0; i < 3; i++) {
        int fd = gev_process_fd(p, i);
        expect_true(fd > 2);
        expect_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        expect_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    }
    expect_fail(gev_process_fd(p, 3), EBADF);
    expect_fail(gev_process_fd(p, -1), EBADF);
    char buffer[8];
    expect_int_eq(gev_write(gev_process_fd(p, 0), "hello", 5), 5);
    expect_int_eq(gev_read(gev_process_fd(p, 1), buffer, 8), 5);
    expect_mem_eq(buffer, "hello", 5);
    expect_ok(gev_process_close(p, 0));
    expect_fail(gev_process_close(p, 0), EBADF);
    expect_fail(gev_process_fd(p, 0), EBADF);
    expect_int_eq(gev_read(gev_process_fd(p, 1), buffer, 8), 0);
    expect_ok(gev_process_wait(p, NULL, 20));
    gev_process_free(p);
    p = gev_process_new(ARGV("true"), NULL);
    expect_fail(gev_process_fd(p, 0), EBADF);
    expect_fail(gev_process_close(p, 1), EBADF);
    expect_ok(gev_process_wait(p, NULL, 20));
    gev_process_free(p);
}

/* What is open in a child, as "0 1 2 ". */
#define LIST_FDS                                                               \
    "for f in 0 1 2 3 4 5 6 7 8 9; do "                                        \
    "test -e /proc/$$/fd/$f && printf '%s ' $f; done; true"

/* P12: descriptors made without close-on-exec do not get to the child. */
GEV_TEST(no_descriptor_leaks_to_the_child)
{
    int plain = open("/dev/null", O_RDONLY); /* NOLINT: not close-on-exec */
    int moved = fcntl(plain, F_DUPFD, 7);
    expect_true(plain >= 3 && moved >= 7);
    expect_str_eq(output_of(LIST_FDS, NULL), "0 1 2 ");
    /* pass_fds stay, under their numbers, whatever their flags */
    int kept = fcntl(plain, F_DUPFD_CLOEXEC, 8);
    int pass[] = {kept, 1, 0, kept};
    gev_process_opts o = {.pass_fds = pass, .n_pass_fds = 4};
    char wanted[32];
    (void)snprintf(wanted, sizeof(wanted), "0 1 2 %d ", kept);
    expect_str_eq(output_of(LIST_FDS, &o), kept < 10 ? wanted : "0 1 2 ");
    expect_true(fcntl(kept, F_GETFD) & FD_CLOEXEC); /* here nothing changed */
    expect_true(!(fcntl(plain, F_GETFD) & FD_CLOEXEC));
    (void)close(plain);
    (void)close(moved);
    (void)close(kept);
}

static void write_to(int fd, const char *text)
{
    expect_int_eq(write(fd, text, strlen(text)), (int)strlen(text));
}

/* Given descriptors stay the caller's; the child's are blocking (SUB2). */
GEV_TEST(given_descriptors_are_used)
{
    int in[2];
    int out[2];
    char buffer[64];
    expect_ok(gev_pipe(in)); /* non-blocking */
    expect_ok(gev_pipe(out));
    gev_process_opts o = {
        .in = in[0], .out = out[1], .err = GEV_PROCESS_STDOUT};
    gev_process *p = gev_process_new(SH("sleep 0.05; cat; echo error >&2"), &o);
    expect_not_null(p);
    expect_true(fcntl(in[0], F_GETFD) >= 0);
    expect_ok(gev_close(in[0]));
    expect_ok(gev_close(out[1]));
    expect_ok(gev_sleep(0.1));
    write_to(in[1], "hello ");
    expect_ok(gev_close(in[1]));
    expect_int_eq(gev_recv_exactly(out[0], buffer, 12), 12);
    expect_mem_eq(buffer, "hello error\n", 12);
    expect_int_eq(gev_read(out[0], buffer, 1), 0);
    expect_ok(gev_process_wait(p, NULL, 20));
    gev_process_free(p);
    expect_ok(gev_close(out[0]));
}

GEV_TEST(null_is_dev_null)
{
    gev_process_opts o = {.in = GEV_PROCESS_NULL, .err = GEV_PROCESS_NULL};
    expect_str_eq(output_of("cat; echo lost >&2; echo kept", &o), "kept\n");
    o.out = GEV_PROCESS_NULL;
    expect_int_eq(exit_of(SH("test ! -t 0 && cat && echo lost"), &o), 0);
}

/* Runs body in a child process of the test, where 0 to 2 are ours to close. */
static void in_a_process(int (*body)(void))
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(body());
    }
    expect_int_eq(waitpid(pid, &status, 0), pid);
    expect_int_eq(status, 0);
}

/* The child's 1 is what was 2 and the other way round. */
static int swap_descriptors(void)
{
    int a[2];
    int b[2];
    char text[2];
    if (pipe(a) != 0 || pipe(b) != 0 || dup2(a[1], 1) < 0 ||
        dup2(b[1], 2) < 0) {
        return 1;
    }
    gev_process_opts o = {.out = 2, .err = 1};
    gev_process *p = gev_process_new(SH("printf o; printf e >&2"), &o);
    int rc = p == NULL || gev_process_wait(p, NULL, 20) != 0 ||
             read(a[0], text, 1) != 1 || read(b[0], text + 1, 1) != 1 ||
             text[0] != 'e' || text[1] != 'o';
    gev_process_free(p);
    return rc;
}

/* in = 1, out = 1: one descriptor for several; and 1 as itself. */
static int one_for_several(void)
{
    int s[2];
    char text[3];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) != 0 ||
        dup2(s[1], 1) < 0 || fcntl(1, F_SETFD, FD_CLOEXEC) != 0 ||
        write(s[0], "x\n", 2) != 2) {
        return 1;
    }
    gev_process_opts o = {.in = 1, .out = 1, .err = GEV_PROCESS_STDOUT};
    gev_process *p = gev_process_new(SH("read a; printf $a; printf y >&2"), &o);
    int rc = p == NULL || gev_process_wait(p, NULL, 20) != 0 ||
             recv(s[0], text, 2, MSG_WAITALL) != 2 || text[0] != 'x' ||
             text[1] != 'y';
    gev_process_free(p);
    return rc;
}

/* With 0 to 2 closed our pipes get these numbers. */
static int all_closed(void)
{
    gev_process_result r;
    gev_process_opts o = {.out = GEV_PROCESS_PIPE, .err = GEV_PROCESS_PIPE};
    (void)close(0);
    (void)close(1);
    (void)close(2);
    gev_hub_close();
    if (gev_process_run(SH("cat; printf o; printf e >&2"), &o, "i", 1, &r,
                        20) != 0) {
        return 1;
    }
    int rc = strcmp(r.out, "io") != 0 || strcmp(r.err, "e") != 0;
    gev_process_result_free(&r);
    /* and failures are told */
    return rc || gev_process_new(ARGV("/nonexistent"), &o) != NULL ||
           errno != ENOENT;
}

GEV_TEST(descriptors_that_overlap)
{
    in_a_process(swap_descriptors);
    in_a_process(one_for_several);
    in_a_process(all_closed);
}

static int no_descriptors_left(void)
{
    gev_process_opts o = {.in = GEV_PROCESS_PIPE,
                          .out = GEV_PROCESS_PIPE,
                          .err = GEV_PROCESS_NULL};
    if (gev_hub_get() == NULL || exit_of(ARGV("true"), NULL) != 0) {
        return 1;
    }
    int most = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct rlimit limit = {.rlim_cur = (rlim_t)most + 13,
                           .rlim_max = (rlim_t)most + 13};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 2;
    }
    int taken[16];
    int n = 0;
    while (n < 16 && (taken[n] = dup(most)) >= 0) { /* NOLINT */
        n++;
    }
    /* None, one, two ... free: each time one more thing can be opened. Two
     * pipes and /dev/null are five; where a tool makes a fork of the vfork,
     * there is one pipe more. */
    for (int i = 0; i < n; i++) {
        size_t fds = test_open_fds();
        gev_process *p = gev_process_new(ARGV("true"), &o);
        if (p != NULL) {
            int rc = gev_process_wait(p, NULL, 20);
            gev_process_free(p);
            return rc != 0 ? 3 : i != 5 && i != 7 ? 4 : 0;
        }
        if (errno != EMFILE) {
            return 5;
        }
        if (test_open_fds() != fds) {
            return 6;
        }
        (void)close(taken[i]);
    }
    return 7;
}

/* EMFILE at each of them; and without one for the pidfd it works all the same.
 */
GEV_TEST(lack_of_descriptors_is_reported)
{
    in_a_process(no_descriptors_left);
}

/* --- signals -------------------------------------------------------------- */

GEV_TEST(signals_are_reset)
{
    sigset_t set;
    sigset_t old;
    struct sigaction ignore;
    struct sigaction before;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    expect_int_eq(pthread_sigmask(SIG_BLOCK, &set, &old), 0);
    memset(&ignore, 0, sizeof(ignore));
    ignore.sa_handler = SIG_IGN;
    expect_int_eq(sigaction(SIGUSR2, &ignore, &before), 0);
    gev_process_opts o = {.out = GEV_PROCESS_PIPE};
    gev_process_result r;
    char *const grep[] = {"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status",
                          NULL};
    expect_ok(gev_process_run(grep, &o, NULL, 0, &r, 20));
    expect_str_eq(r.out, "SigBlk:\t0000000000000000\n"
                         "SigIgn:\t0000000000000000\n");
    gev_process_result_free(&r);
    o.flags = GEV_PROCESS_KEEP_SIGNALS;
    expect_ok(gev_process_run(grep, &o, NULL, 0, &r, 20));
    unsigned long blocked = 0;
    unsigned long ignored = 0;
    expect_int_eq(sscanf(r.out, "SigBlk: %lx SigIgn: %lx", &blocked, &ignored),
                  2);
    expect_uint_eq(blocked & 0xffffffff,
                   1ul << (SIGUSR1 - 1) | 1ul << (SIGTERM - 1));
    expect_true(ignored & 1ul << (SIGUSR2 - 1));
    gev_process_result_free(&r);
    /* and here all is as before */
    expect_int_eq(pthread_sigmask(SIG_SETMASK, &old, &set), 0);
    expect_int_eq(sigismember(&set, SIGUSR1), 1);
    expect_int_eq(sigismember(&set, SIGINT), 0);
    expect_int_eq(sigaction(SIGUSR2, &before, NULL), 0);
}

/* The third field of /proc/PID/stat on: state, parent, group, session. */
static void read_stat(pid_t pid, int *group, int *session)
{
    char name[64];
    (void)snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(name, "re");
    *group = *session = 0;
    if (expect_not_null(f)) {
        expect_int_eq(fscanf(f, "%*d (%*[^)]) %*c %*d %d %d", group, session),
                      2);
        (void)fclose(f);
    }
}

GEV_TEST(new_session_and_new_group)
{
    const unsigned flags[] = {0, GEV_PROCESS_NEW_GROUP, GEV_PROCESS_NEW_SESSION,
                              GEV_PROCESS_NEW_SESSION | GEV_PROCESS_NEW_GROUP};
    for (int i = 0; i < 4; i++) {
        int group;
        int session;
        gev_process_opts o = {.flags = flags[i]};
        gev_process *p = gev_process_new(ARGV("sleep", "60"), &o);
        if (!expect_not_null(p)) {
            return;
        }
        pid_t pid = gev_process_pid(p);
        read_stat(pid, &group, &session);
        expect_int_eq(group, flags[i] == 0 ? getpgrp() : pid);
        expect_int_eq(session,
                      flags[i] & GEV_PROCESS_NEW_SESSION ? pid : getsid(0));
        expect_ok(gev_process_kill(p, SIGKILL));
        expect_ok(gev_process_wait(p, NULL, 20));
        gev_process_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_is_what_waitpid_gives),
        cmocka_unit_test(failures_of_exec_are_reported_and_leave_nothing),
        cmocka_unit_test(arguments_are_checked),
        cmocka_unit_test(older_options_are_understood),
        cmocka_unit_test(cwd_and_env),
        cmocka_unit_test(program_is_searched_in_path),
        cmocka_unit_test(too_many_arguments_are_reported),
        cmocka_unit_test(our_ends_are_non_blocking_and_close_on_exec),
        cmocka_unit_test(no_descriptor_leaks_to_the_child),
        cmocka_unit_test(given_descriptors_are_used),
        cmocka_unit_test(null_is_dev_null),
        cmocka_unit_test(descriptors_that_overlap),
        cmocka_unit_test(lack_of_descriptors_is_reported),
        cmocka_unit_test(signals_are_reset),
        cmocka_unit_test(new_session_and_new_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
