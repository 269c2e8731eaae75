/* SPDX-License-Identifier: MIT */

/* Servers without descriptors (SRV7): nobody spins, a short shortage costs
 * nobody anything, a long one is told to those who wait. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/greenlets.h"
#include "support/servers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static struct rlimit whole;

static void set_limit(rlim_t most)
{
    struct rlimit few = {most, whole.rlim_max};
    expect_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
}

/* So many descriptors are left from now on. Numbers are given out from the
 * lowest. */
static rlim_t leave(int n)
{
    int fds[64];
    int last = -1;
    set_limit(whole.rlim_cur);
    for (int i = 0; i <= n; i++) {
        last = fds[i] = dup(0);
    }
    for (int i = 0; i <= n; i++) {
        close(fds[i]);
    }
    set_limit((rlim_t)last);
    return (rlim_t)last;
}

static void leave_all(void)
{
    set_limit(whole.rlim_cur);
}

enum { CLIENTS = 200 };

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t turns_of_hub(void)
{
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub_stats(gev_hub_get(), &stats);
    return stats.turns;
}

/* F10: two hundred clients, room for five. */
GEV_TEST(surplus_clients_are_told)
{
    enum { MORE = 20 };
    gev_stream *c[CLIENTS];
    gev_stream *more[MORE];
    gev_server *s = serve(&local, echo, NULL);
    expect_ok(gev_server_pause(s));
    dial_many(s, c, CLIENTS);
    rlim_t most = leave(5);
    expect_ok(gev_server_resume(s));
    expect_int_eq(hear_many(c, CLIENTS), 5);
    expect_uint_eq(gev_server_count(s), 5);
    /* Who is served goes on to be; who comes is told, too. */
    expect_ok(gev_server_pause(s));
    leave_all();
    dial_many(s, more, MORE);
    set_limit(most);
    expect_ok(gev_server_resume(s));
    expect_int_eq(hear_many(more, MORE), 0);
    expect_int_eq(hear_many(c, 5), 5);
    /* One that goes makes room for one that comes. */
    gev_stream *old = c[0];
    expect_ok(gev_stream_abort(old));
    while (gev_server_count(s) == 5) {
        expect_ok(gev_sleep(0.001));
    }
    c[0] = dial(s);
    expect_true(converse(c[0]));
    leave_all();
    gev_stream *late = dial(s);
    expect_true(converse(late));
    expect_ok(gev_stream_abort(late));
    close_many(c, CLIENTS);
    close_many(more, MORE);
    expect_ok(gev_server_stop(s, test_scale(5)));
    gev_server_free(s);
}

/* Clients that come back at once, all the time. */
static void *come_back(void *arg)
{
    const gev_server *s = arg;
    while (!gev_server_stopping(s) && gev_server_started(s)) {
        gev_stream *c = dial(s);
        char end;
        (void)gev_stream_read(c, &end, 1);
        (void)gev_stream_abort(c);
        if (gev_sleep(0) < 0) {
            break;
        }
    }
    return NULL;
}

/* F10: it pauses, and the longer the more often it fails. */
GEV_TEST(no_spinning)
{
    enum { LOOPS = 20 };
    gev_greenlet *g[LOOPS];
    int fds[LOOPS];
    gev_server *s = serve(&local, echo, NULL);
    /* The clients' own are free: each has its turn at one. */
    for (int i = 0; i < LOOPS; i++) {
        fds[i] = dup(0);
    }
    leave(0);
    for (int i = 0; i < LOOPS; i++) {
        close(fds[i]);
    }
    /* All that is free is taken by clients, one each. */
    for (int i = 0; i < LOOPS; i++) {
        g[i] = gev_spawn(come_back, s);
    }
    uint64_t turns = turns_of_hub();
    double cpu = cpu_seconds();
    expect_ok(gev_sleep(0.5));
    cpu = cpu_seconds() - cpu;
    turns = turns_of_hub() - turns;
    /* 10, 20, 40, 80, 160 ms, and a few turns for each client in each. */
    expect_le(turns, 2000);
    expect_le(cpu, test_scale(0.25));
    expect_uint_eq(gev_server_count(s), 0);
    leave_all();
    gev_killall(g, LOOPS, GEV_FOREVER);
    gev_unrefall(g, LOOPS);
    expect_ok(gev_server_stop(s, test_scale(5)));
    gev_server_free(s);
}

/* Nobody is refused who has not waited for a pause. */
GEV_TEST(a_short_shortage_costs_nothing)
{
    gev_stream *c[CLIENTS];
    gev_server *s = serve(&local, echo, NULL);
    expect_ok(gev_server_pause(s));
    dial_many(s, c, CLIENTS);
    for (int i = 0; i < 3; i++) {
        leave(5);
        expect_ok(gev_server_resume(s));
        while (gev_server_count(s) < (size_t)(5 + 5 * i)) {
            expect_ok(gev_yield());
        }
        expect_ok(gev_yield()); /* it has failed by now, and pauses */
        leave_all();
        expect_ok(gev_server_pause(s));
    }
    expect_ok(gev_server_resume(s));
    expect_int_eq(hear_many(c, CLIENTS), CLIENTS);
    close_many(c, CLIENTS);
    expect_ok(gev_server_stop(s, test_scale(5)));
    gev_server_free(s);
}

/* When somebody has come: behind the server, which has failed once. */
static void *leave_all_later(void *arg)
{
    expect_int_eq(gev_wait_fd(gev_server_fd(arg), GEV_READ, test_scale(5)),
                  GEV_READ);
    leave_all();
    return NULL;
}

/* While nobody comes, there is no shortage: who comes next has his pause. */
GEV_TEST(nobody_there_is_no_failure)
{
    gev_server *s = serve(&local, echo, NULL);
    gev_stream *c = dial(s);
    expect_true(converse(c));
    gev_stream *late = dial(s);
    leave(0);
    char end;
    expect_int_eq(gev_stream_read(late, &end, 1), -1);
    expect_int_eq(errno, ECONNRESET);
    expect_ok(gev_stream_abort(late));
    leave(0);
    expect_ok(gev_sleep(0.1)); /* it has looked again, and nobody was there */
    uint64_t turns = turns_of_hub();
    expect_ok(gev_sleep(0.1));
    expect_le(turns_of_hub() - turns, 5);
    leave(1);
    gev_greenlet *g = start(leave_all_later, s);
    late = dial(s); /* takes it */
    join_and_drop(g);
    expect_true(converse(late));
    expect_ok(gev_stream_abort(late));
    expect_ok(gev_stream_abort(c));
    gev_server_free(s);
}

/* gev_accept() alike: it cannot fail for want of a descriptor for nobody. */
GEV_TEST(accept_waits_for_somebody)
{
    int fd = gev_tcp_listen("127.0.0.1", "0", 5);
    expect_ok(gev_settimeout(fd, 0.02));
    leave(0);
    expect_fail(gev_accept(fd, NULL, NULL), ETIMEDOUT);
    expect_ok(gev_settimeout(fd, 0));
    expect_fail(gev_accept(fd, NULL, NULL), EAGAIN);
    leave_all();
    expect_ok(gev_close(fd));
}

/* A server that began without a spare waits as long as there is none, and
 * loses nobody. */
GEV_TEST(without_a_spare)
{
    gev_stream *c[2];
    gev_server_opts opts = {.size = sizeof(opts)};
    opts.listen_fd = gev_tcp_listen("127.0.0.1", "0", 5);
    gev_server *s = gev_server_new(&opts, echo, NULL);
    leave(0);
    expect_ok(gev_server_start(s));
    leave_all();
    c[0] = dial(s);
    leave(0);
    expect_ok(gev_stream_settimeout(c[0], 0.1));
    expect_false(converse(c[0]));
    expect_int_eq(errno, ETIMEDOUT);
    leave_all();
    char *line = NULL;
    expect_ok(gev_stream_settimeout(c[0], test_scale(5)));
    expect_int_eq(gev_stream_read_line(c[0], &line, 100), 6);
    /* Now it has one. */
    c[1] = dial(s);
    leave(0);
    char end;
    expect_fail(gev_stream_read(c[1], &end, 1), ECONNRESET);
    leave_all();
    close_many(c, 2);
    gev_server_free(s);
}

/* The same over Unix sockets. */
GEV_TEST(on_a_path)
{
    char path[] = "/tmp/gev-test-XXXXXX";
    char name[64];
    gev_stream *c[20];
    expect_not_null(mkdtemp(path));
    snprintf(name, sizeof(name), "%s/socket", path);
    gev_server_opts opts = {.size = sizeof(opts), .unix_path = name};
    gev_server *s = gev_server_new(&opts, echo, NULL);
    expect_ok(gev_server_start(s));
    expect_ok(gev_server_pause(s));
    for (int i = 0; i < 20; i++) {
        c[i] = gev_stream_open(gev_unix_connect(name, test_scale(5)));
        expect_ok(gev_stream_settimeout(c[i], test_scale(10)));
    }
    leave(3);
    expect_ok(gev_server_resume(s));
    expect_int_eq(hear_many(c, 20), 3);
    leave_all();
    close_many(c, 20);
    gev_server_free(s);
    expect_int_eq(rmdir(path), 0);
}

/* A child has a spare of its own. */
GEV_TEST(in_a_forked_child)
{
    gev_stream *c[50];
    gev_server *s = serve(&local, echo, NULL);
    expect_ok(gev_server_pause(s));
    dial_many(s, c, 50);
    pid_t pid = fork();
    if (pid == 0) {
        leave(5);
        bool ok = gev_server_start(s) == 0 && gev_server_resume(s) == 0;
        int served = hear_many(c, 50);
        leave_all();
        ok = ok && gev_server_stop(s, 0) == -1; /* five are there */
        gev_server_free(s);
        _exit(ok && served == 5 && !test_failed() ? 0 : 1);
    }
    expect_child_well(pid);
    close_many(c, 50);
    gev_stream *late = dial(s);
    expect_ok(gev_server_resume(s));
    expect_true(converse(late));
    expect_ok(gev_stream_abort(late));
    gev_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(surplus_clients_are_told),
        cmocka_unit_test(no_spinning),
        cmocka_unit_test(a_short_shortage_costs_nothing),
        cmocka_unit_test(nobody_there_is_no_failure),
        cmocka_unit_test(accept_waits_for_somebody),
        cmocka_unit_test(without_a_spare),
        cmocka_unit_test(on_a_path),
        cmocka_unit_test(in_a_forked_child),
    };
    getrlimit(RLIMIT_NOFILE, &whole);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
