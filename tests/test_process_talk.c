/* SPDX-License-Identifier: MIT */

/* What goes through the pipes of processes: communicate, run, gev_system. */
#include <gev.h>

#include "support/process.h"
#include "support/trace.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const gev_process_opts all_pipes = {.size = sizeof(all_pipes),
                                           .in = GEV_PROCESS_PIPE,
                                           .out = GEV_PROCESS_PIPE,
                                           .err = GEV_PROCESS_PIPE};
static const gev_process_opts out_pipe = {.size = sizeof(out_pipe),
                                          .out = GEV_PROCESS_PIPE};

/* n bytes that are not all the same. */
static char *make_bytes(size_t n)
{
    char *bytes = malloc(n);
    for (size_t i = 0; bytes != NULL && i < n; i++) {
        bytes[i] = (char)('a' + i % 23);
    }
    expect_not_null(bytes);
    return bytes;
}

/* Whether it is dead; the system may take its time to reap it. */
static bool is_dead(pid_t pid)
{
    char name[64];
    char state = 'Z';
    (void)snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(name, "re");
    if (f == NULL) {
        return true;
    }
    bool read = fscanf(f, "%*d (%*[^)]) %c", &state) == 1;
    (void)fclose(f);
    return !read || state == 'Z' || state == 'X';
}

static bool is_gone(pid_t pid)
{
    for (int i = 0; i < 2000; i++) {
        if (is_dead(pid)) {
            return true;
        }
        expect_ok(gev_sleep(0.002));
    }
    return false;
}

/* --- communicate ---------------------------------------------------------- */

/* SUB5 */
GEV_TEST(communicate_feeds_and_reads_both)
{
    gev_process_result r;
    gev_process *p = gev_process_new(SH("cat; echo e >&2; exit 4"), &all_pipes);
    expect_ok(gev_process_communicate(p, "in put", 6, &r, 20));
    expect_str_eq(r.out, "in put");
    expect_uint_eq(r.out_len, 6);
    expect_str_eq(r.err, "e\n");
    expect_uint_eq(r.err_len, 2);
    expect_int_eq(WEXITSTATUS(r.status), 4);
    gev_process_result_free(&r);
    expect_null(r.out);
    expect_uint_eq(r.out_len, 0);
    for (int i = 0; i < 3; i++) {
        expect_fail(gev_process_fd(p, i), EBADF);
    }
    /* and again: nothing more, but no failure */
    expect_ok(gev_process_communicate(p, NULL, 0, &r, 0));
    expect_str_eq(r.out, "");
    expect_int_eq(WEXITSTATUS(r.status), 4);
    gev_process_result_free(&r);
    gev_process_free(p);
}

/* Far more than the pipes hold, both ways at once: nobody waits for the other.
 */
GEV_TEST(large_texts_both_ways)
{
    const size_t n = 3000001;
    char *in = make_bytes(n);
    gev_process_result r;
    gev_process *p = gev_process_new(SH("tee /dev/stderr"), &all_pipes);
    expect_ok(gev_process_communicate(p, in, n, &r, 50));
    expect_uint_eq(r.out_len, n);
    expect_uint_eq(r.err_len, n);
    expect_mem_eq(r.out, in, r.out_len < n ? r.out_len : n);
    expect_mem_eq(r.err, in, r.err_len < n ? r.err_len : n);
    expect_int_eq(r.out[r.out_len], 0);
    gev_process_result_free(&r);
    gev_process_free(p);
    free(in);
}

/* SUB5: a timeout loses nothing, and the input may be gone by then. */
GEV_TEST(communicate_goes_on_after_a_timeout)
{
    const size_t n = 500000;
    char *in = make_bytes(n);
    char *copy = make_bytes(n);
    gev_process_result r = {.status = 77};
    gev_process *p = gev_process_new(
        SH("echo first; sleep 0.2; cat; sleep 0.1; echo last"), &all_pipes);
    expect_fail(gev_process_communicate(p, in, n, &r, 0.02), ETIMEDOUT);
    expect_int_eq(r.status, 77);
    memset(in, 'x', n);
    free(in);
    expect_fail(gev_process_communicate(p, "more", 4, &r, 1), EINVAL);
    expect_fail(gev_process_communicate(p, NULL, 0, &r, 0), ETIMEDOUT);
    int timeouts = 0;
    while (gev_process_communicate(p, NULL, 0, &r, 0.03) != 0) {
        if (!expect_int_eq(errno, ETIMEDOUT) || ++timeouts > 1000) {
            break;
        }
    }
    expect_true(timeouts > 0);
    expect_uint_eq(r.out_len, 6 + n + 5);
    if (r.out_len == 6 + n + 5) {
        expect_mem_eq(r.out, "first\n", 6);
        expect_mem_eq(r.out + 6, copy, n);
        expect_mem_eq(r.out + 6 + n, "last\n", 5);
    }
    gev_process_result_free(&r);
    gev_process_free(p);
    free(copy);
}

/* SUB5: that the child does not want its input is no error. */
GEV_TEST(unread_input_is_no_error)
{
    const size_t n = 1000000;
    char *in = make_bytes(n);
    gev_process_result r;
    gev_process *p = gev_process_new(SH("head -c 3; exit 2"), &all_pipes);
    expect_ok(gev_process_communicate(p, in, n, &r, 20));
    expect_str_eq(r.out, "abc");
    expect_int_eq(WEXITSTATUS(r.status), 2);
    gev_process_result_free(&r);
    gev_process_free(p);
    free(in);
}

GEV_TEST(communicate_refuses_misuse)
{
    gev_process *p = gev_process_new(ARGV("cat"), &out_pipe);
    expect_fail(gev_process_communicate(p, "x", 1, NULL, 1), EINVAL);
    expect_fail(gev_process_communicate(p, NULL, 1, NULL, 1), EINVAL);
    expect_fail(gev_process_communicate(p, NULL, 0, NULL, (double)NAN), EINVAL);
    expect_ok(gev_process_kill(p, SIGKILL));
    expect_ok(gev_process_communicate(p, NULL, 0, NULL, 20)); /* discards */
    gev_process_free(p);
}

struct talk {
    gev_process *p;
    double timeout;
    int rc;
    int error;
    gev_process_result r;
};

static void *talk_and_note(void *arg)
{
    struct talk *t = arg;
    t->rc = gev_process_communicate(t->p, NULL, 0, &t->r, t->timeout);
    t->error = t->rc == 0 ? 0 : errno;
    return NULL;
}

/* Killed, and again by another greenlet. */
GEV_TEST(killed_communicate_loses_nothing)
{
    gev_process *p =
        gev_process_new(SH("echo one; sleep 0.1; echo two"), &all_pipes);
    struct talk t = {.p = p, .timeout = GEV_FOREVER};
    gev_greenlet *g = gev_spawn(talk_and_note, &t);
    expect_ok(gev_sleep(0.05));
    expect_fail(gev_process_communicate(p, NULL, 0, NULL, 1), EBUSY);
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(t.error, ECANCELED);
    gev_unref(g);
    expect_ok(gev_process_communicate(p, NULL, 0, &t.r, 20));
    expect_str_eq(t.r.out, "one\ntwo\n");
    expect_str_eq(t.r.err, "");
    gev_process_result_free(&t.r);
    gev_process_free(p);
}

/* Killed by a signal while talking: what it said is there. */
GEV_TEST(child_killed_while_communicating)
{
    gev_process *p =
        gev_process_new(SH("echo said; exec sleep 60"), &all_pipes);
    struct talk t = {.p = p, .timeout = 20};
    gev_greenlet *g = gev_spawn(talk_and_note, &t);
    expect_ok(gev_sleep(0.05));
    expect_ok(gev_process_kill(p, SIGTERM));
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_int_eq(t.rc, 0);
    expect_str_eq(t.r.out, "said\n");
    expect_int_eq(WTERMSIG(t.r.status), SIGTERM);
    gev_process_result_free(&t.r);
    gev_process_free(p);
}

/* A pipe closed meanwhile, or the process freed: the rest goes on. */
GEV_TEST(pipe_closed_while_communicating)
{
    for (int free_it = 0; free_it < 2; free_it++) {
        gev_process *p = gev_process_new(
            SH("echo out; sleep 0.1; echo err >&2; exit 3"), &all_pipes);
        struct talk t = {.p = p, .timeout = 20};
        gev_greenlet *g = gev_spawn(talk_and_note, &t);
        expect_ok(gev_sleep(0.05));
        if (free_it) {
            gev_process_free(p);
        } else {
            expect_ok(gev_process_close(p, 1));
        }
        expect_ok(gev_join(g, GEV_FOREVER));
        gev_unref(g);
        expect_int_eq(t.rc, 0);
        expect_str_eq(t.r.out, "out\n");
        expect_true(WIFEXITED(t.r.status) || free_it);
        if (!free_it) {
            expect_str_eq(t.r.err, "err\n");
            gev_process_free(p);
        }
        gev_process_result_free(&t.r);
    }
}

static bool stop_counting;

static void *count_yields(void *arg)
{
    size_t *n = arg;
    while (!stop_counting && gev_sleep(0.001) == 0) {
        ++*n;
    }
    return NULL;
}

/* A child that never stops talking starves nobody, and a timeout ends it. */
GEV_TEST(flooding_child_starves_nobody)
{
    size_t n = 0;
    gev_process_result r;
    stop_counting = false;
    gev_greenlet *g = gev_spawn(count_yields, &n);
    double start = test_now();
    expect_fail(gev_process_run(ARGV("cat", "/dev/zero"), &out_pipe, NULL, 0,
                                &r, test_scale(0.2)),
                ETIMEDOUT);
    double took = test_now() - start;
    expect_ge(took, 0.2);
    expect_true(r.out_len > 0);
    /* each sleep of a millisecond waits for a turn of the flood at most */
    expect_true(n >= 5);
    gev_process_result_free(&r);
    stop_counting = true;
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
}

/* --- run ------------------------------------------------------------------ */

/* SUB6 */
GEV_TEST(run_is_all_in_one)
{
    gev_process_result r;
    gev_process_opts o = {.out = GEV_PROCESS_PIPE, .err = GEV_PROCESS_STDOUT};
    expect_ok(gev_process_run(SH("cat; echo err >&2; exit 3"), &o, "input\n", 6,
                              &r, 20));
    expect_str_eq(r.out, "input\nerr\n");
    expect_null(r.err);
    expect_int_eq(WEXITSTATUS(r.status), 3);
    gev_process_result_free(&r);
    /* no input at all, but a pipe */
    expect_ok(gev_process_run(ARGV("cat"), &all_pipes, NULL, 0, &r, 20));
    expect_str_eq(r.out, "");
    gev_process_result_free(&r);
    /* an empty one */
    expect_ok(gev_process_run(ARGV("cat"), &o, "", 0, &r, 20));
    expect_str_eq(r.out, "");
    gev_process_result_free(&r);
    expect_ok(gev_process_run(ARGV("true"), NULL, NULL, 0, NULL, GEV_FOREVER));
}

/* SUB6, SUB11 */
GEV_TEST(run_refuses_misuse)
{
    gev_process_result r = {.status = 77};
    gev_process_opts o = {.in = GEV_PROCESS_NULL};
    expect_fail(gev_process_run(ARGV("cat"), &o, "x", 1, &r, 1), EINVAL);
    o.in = GEV_PROCESS_PIPE;
    expect_fail(gev_process_run(ARGV("cat"), &o, "x", 1, &r, 1), EINVAL);
    o.in = 1 << 20; /* not open: no input goes before that */
    expect_fail(gev_process_run(ARGV("cat"), &o, "x", 1, &r, 1), EINVAL);
    o = (gev_process_opts){.out = GEV_PROCESS_STDOUT};
    expect_fail(gev_process_run(ARGV("cat"), &o, NULL, 0, &r, 1), EINVAL);
    expect_fail(gev_process_run(ARGV("cat"), NULL, NULL, 1, &r, 1), EINVAL);
    expect_fail(gev_process_run(ARGV("cat"), NULL, NULL, 0, &r, (double)NAN),
                EINVAL);
    expect_fail(gev_process_run(ARGV("/nonexistent"), NULL, NULL, 0, &r, 1),
                ENOENT);
    expect_int_eq(r.status, 77);
    expect_null(r.out);
}

/* SUB6: killed and reaped at the timeout; what it said is there. */
GEV_TEST(run_kills_at_the_timeout)
{
    gev_process_result r = {.status = 0};
    double start = test_now();
    expect_fail(gev_process_run(SH("echo $$; exec sleep 60"), &out_pipe, NULL,
                                0, &r, 0.1),
                ETIMEDOUT);
    double took = test_now() - start;
    expect_ge(took, 0.1);
    expect_le(took, test_scale(10));
    expect_true(WIFSIGNALED(r.status));
    expect_int_eq(WTERMSIG(r.status), SIGKILL);
    pid_t pid = r.out != NULL ? (pid_t)atoi(r.out) : 0;
    expect_true(pid > 0);
    expect_fail(waitpid(pid, NULL, WNOHANG), ECHILD);
    gev_process_result_free(&r);
}

/* SUB6: a grandchild keeps the pipe; nobody waits for it. */
GEV_TEST(run_does_not_wait_for_grandchildren_after_the_timeout)
{
    gev_process_result r = {.status = 0};
    double start = test_now();
    expect_fail(gev_process_run(SH("sleep 30 & echo $!; wait"), &out_pipe, NULL,
                                0, &r, 0.1),
                ETIMEDOUT);
    expect_le(test_now() - start, test_scale(10));
    expect_int_eq(WTERMSIG(r.status), SIGKILL);
    pid_t grandchild = r.out != NULL ? (pid_t)atoi(r.out) : 0;
    expect_true(grandchild > 0);
    expect_int_eq(kill(grandchild, SIGKILL), 0); /* it lives */
    gev_process_result_free(&r);
    /* the child itself has ended: its status is told */
    expect_fail(gev_process_run(SH("sleep 30 & echo $!; exit 6"), &out_pipe,
                                NULL, 0, &r, 0.1),
                ETIMEDOUT);
    expect_true(WIFEXITED(r.status));
    expect_int_eq(WEXITSTATUS(r.status), 6);
    grandchild = r.out != NULL ? (pid_t)atoi(r.out) : 0;
    expect_true(grandchild > 0);
    expect_int_eq(kill(grandchild, SIGKILL), 0);
    gev_process_result_free(&r);
}

/* With a group of its own all of it is killed, also if its leader has ended. */
GEV_TEST(run_kills_the_whole_group)
{
    const unsigned flags[] = {GEV_PROCESS_NEW_GROUP, GEV_PROCESS_NEW_SESSION};
    const char *const commands[] = {"sleep 60 & echo $!; wait",
                                    "sleep 60 & echo $!; exit 6"};
    for (int i = 0; i < 4; i++) {
        gev_process_result r = {.status = 0};
        gev_process_opts o = {.out = GEV_PROCESS_PIPE, .flags = flags[i % 2]};
        expect_fail(gev_process_run(SH(commands[i / 2]), &o, NULL, 0, &r, 0.1),
                    ETIMEDOUT);
        expect_true(i < 2 ? WIFSIGNALED(r.status) : WIFEXITED(r.status));
        pid_t grandchild = r.out != NULL ? (pid_t)atoi(r.out) : 0;
        expect_true(grandchild > 0 && is_gone(grandchild));
        gev_process_result_free(&r);
    }
}

struct run {
    const char *command;
    int rc;
    int error;
    gev_process_result r;
};

static void *run_and_note(void *arg)
{
    struct run *run = arg;
    run->rc = gev_process_run(SH(run->command), &out_pipe, NULL, 0, &run->r,
                              GEV_FOREVER);
    run->error = run->rc == 0 ? 0 : errno;
    return NULL;
}

/* A kill of the caller kills the child; result and reaping as at a timeout. */
GEV_TEST(run_kills_when_the_caller_is_killed)
{
    struct run run = {.command = "echo $$; exec sleep 60"};
    gev_greenlet *g = gev_spawn(run_and_note, &run);
    expect_ok(gev_sleep(0.1));
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
    expect_int_eq(run.error, ECANCELED);
    expect_int_eq(WTERMSIG(run.r.status), SIGKILL);
    pid_t pid = run.r.out != NULL ? (pid_t)atoi(run.r.out) : 0;
    expect_true(pid > 0);
    expect_fail(waitpid(pid, NULL, WNOHANG), ECHILD);
    gev_process_result_free(&run.r);
}

/* So does a scope, with its own code. */
GEV_TEST(run_kills_when_the_scope_expires)
{
    gev_timeout t;
    gev_process_result r = {.status = 0};
    expect_ok(gev_timeout_begin_error(&t, 0.05, EDOM));
    expect_fail(gev_process_run(ARGV("sleep", "60"), &out_pipe, NULL, 0, &r,
                                GEV_FOREVER),
                EDOM);
    expect_true(gev_timeout_expired(&t));
    expect_int_eq(WTERMSIG(r.status), SIGKILL);
    expect_str_eq(r.out, "");
    gev_process_result_free(&r);
    /* expired already: nothing is started */
    expect_fail(gev_process_run(ARGV("sleep", "60"), &out_pipe, NULL, 0, &r,
                                GEV_FOREVER),
                EDOM);
    expect_int_eq(r.status, -1);
    gev_process_result_free(&r);
    expect_true(gev_timeout_end(&t));
}

/* No time: nothing is started, and the result can be freed. */
GEV_TEST(run_without_time)
{
    gev_process_result r = {.status = 77};
    expect_fail(gev_process_run(ARGV("sleep", "60"), &out_pipe, NULL, 0, &r, 0),
                ETIMEDOUT);
    expect_int_eq(r.status, -1);
    expect_str_eq(r.out, "");
    expect_null(r.err);
    gev_process_result_free(&r);
    expect_fail(gev_process_run(ARGV("true"), NULL, NULL, 0, NULL, -5),
                ETIMEDOUT);
}

/* The hub is closed over one. */
GEV_TEST(run_ends_with_its_hub)
{
    struct run run = {.command = "exec sleep 60"};
    gev_unref(gev_spawn(run_and_note, &run));
    expect_ok(gev_sleep(0.02));
    expect_ok(gev_hub_close());
    expect_int_eq(run.error, ECANCELED);
    expect_int_eq(WTERMSIG(run.r.status), SIGKILL);
    gev_process_result_free(&run.r);
}

/* Many at once, each with its own output. */
GEV_TEST(many_runs_at_once)
{
    enum { MANY = 30 };
    struct run run[MANY];
    char commands[MANY][64];
    gev_greenlet *g[MANY];
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(commands[i], sizeof(commands[i]),
                       "head -c %d /dev/zero | tr '\\0' x", 10000 * i);
        run[i] = (struct run){.command = commands[i]};
        g[i] = gev_spawn(run_and_note, &run[i]);
    }
    expect_int_eq(gev_joinall(g, MANY, GEV_FOREVER), MANY);
    for (int i = 0; i < MANY; i++) {
        expect_int_eq(run[i].rc, 0);
        expect_uint_eq(run[i].r.out_len, 10000u * (unsigned)i);
        gev_process_result_free(&run[i].r);
    }
    gev_unrefall(g, MANY);
}

/* --- the shell ------------------------------------------------------------ */

GEV_TEST(system_runs_a_command)
{
    expect_int_eq(gev_system("exit 9"), 9 << 8);
    expect_int_eq(gev_system("kill -KILL $$"), SIGKILL);
    expect_int_eq(gev_system(NULL), 1);
    gev_timeout t;
    expect_ok(gev_timeout_begin(&t, 0.02));
    expect_fail(gev_system("exec sleep 60"), ETIMEDOUT);
    expect_true(gev_timeout_end(&t));
}

GEV_TEST(shell_is_a_popen)
{
    char buffer[16];
    gev_process *p = gev_process_shell("echo out; exit 2", &out_pipe);
    int status = 0;
    expect_int_eq(gev_recv_exactly(gev_process_fd(p, 1), buffer, 4), 4);
    expect_mem_eq(buffer, "out\n", 4);
    expect_ok(gev_process_wait(p, &status, 20));
    expect_int_eq(WEXITSTATUS(status), 2);
    gev_process_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(communicate_feeds_and_reads_both),
        cmocka_unit_test(large_texts_both_ways),
        cmocka_unit_test(communicate_goes_on_after_a_timeout),
        cmocka_unit_test(unread_input_is_no_error),
        cmocka_unit_test(communicate_refuses_misuse),
        cmocka_unit_test(killed_communicate_loses_nothing),
        cmocka_unit_test(child_killed_while_communicating),
        cmocka_unit_test(pipe_closed_while_communicating),
        cmocka_unit_test(flooding_child_starves_nobody),
        cmocka_unit_test(run_is_all_in_one),
        cmocka_unit_test(run_refuses_misuse),
        cmocka_unit_test(run_kills_at_the_timeout),
        cmocka_unit_test(run_does_not_wait_for_grandchildren_after_the_timeout),
        cmocka_unit_test(run_kills_the_whole_group),
        cmocka_unit_test(run_kills_when_the_caller_is_killed),
        cmocka_unit_test(run_kills_when_the_scope_expires),
        cmocka_unit_test(run_without_time),
        cmocka_unit_test(run_ends_with_its_hub),
        cmocka_unit_test(many_runs_at_once),
        cmocka_unit_test(system_runs_a_command),
        cmocka_unit_test(shell_is_a_popen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
