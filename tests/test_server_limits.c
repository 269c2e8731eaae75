/* SPDX-License-Identifier: MIT */

/* The limits a server sets on its connections. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/greenlets.h"
#include "support/servers.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What became of a handler. */
struct fate {
    int error; /* of the call that ended it */
    double seconds;
    double since; /* when it was idle last */
    int rounds;
    bool ended;
};

static void wait_for_end(const struct fate *fate)
{
    double end = test_now() + test_scale(10);
    while (!fate->ended && test_now() < end) {
        expect_ok(gev_sleep(0.002));
    }
    expect_true(fate->ended);
}

static void say(gev_stream *c, const char *text)
{
    expect_ok(gev_stream_write(c, text, strlen(text)));
    expect_ok(gev_stream_flush(c));
}

/* --- reading -------------------------------------------------------------- */

static void read_lines(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    struct fate *fate = arg;
    char *line;
    ssize_t n;
    double began = test_now();
    (void)peer;
    while ((n = gev_stream_read_line(conn, &line, 1000)) > 0) {
        fate->rounds++;
        began = test_now();
    }
    fate->error = n == 0 ? 0 : errno;
    fate->seconds = test_now() - began;
    fate->ended = true;
}

/* A client that says a byte now and then: the call as a whole has a limit. */
GEV_TEST(slow_loris)
{
    struct fate fate = {0};
    gev_server_opts opts = local;
    opts.read_timeout = test_scale(0.25);
    gev_server *s = serve(&opts, read_lines, &fate);
    gev_stream *c = dial(s);
    for (int i = 0; i < 3; i++) { /* each call has its own */
        say(c, "line\n");
        expect_ok(gev_sleep(0.1));
    }
    while (!fate.ended) {
        if (gev_stream_write(c, "x", 1) < 0 || gev_stream_flush(c) < 0) {
            break;
        }
        expect_ok(gev_sleep(0.01));
    }
    wait_for_end(&fate);
    expect_int_eq(fate.rounds, 3);
    expect_int_eq(fate.error, ETIMEDOUT);
    expect_ge(fate.seconds, opts.read_timeout);
    expect_ok(gev_stream_abort(c));
    gev_server_free(s);
}

/* A limit on writes is none on reads, and none is none. */
GEV_TEST(no_limit_on_reads)
{
    const double none[2] = {0, GEV_FOREVER};
    for (int i = 0; i < 2; i++) {
        struct fate fate = {0};
        gev_server_opts opts = local;
        opts.read_timeout = none[i];
        opts.write_timeout = 0.01;
        opts.idle_timeout = 0.01; /* it is never idle */
        gev_server *s = serve(&opts, read_lines, &fate);
        gev_stream *c = dial(s);
        expect_ok(gev_sleep(0.05));
        expect_false(fate.ended);
        expect_ok(gev_stream_close(c));
        wait_for_end(&fate);
        expect_int_eq(fate.error, 0);
        gev_server_free(s);
    }
}

static void set_own_limits(gev_stream *conn, const struct sockaddr *peer,
                           void *arg)
{
    expect_ok(gev_stream_settimeout(conn, 0.03));
    /* It stays so, idle or not. */
    expect_ok(gev_server_idle(conn, true));
    expect_ok(gev_server_idle(conn, false));
    read_lines(conn, peer, arg);
}

/* What the handler sets holds. */
GEV_TEST(handlers_may_set_others)
{
    struct fate fate = {0};
    gev_server_opts opts = local;
    opts.read_timeout = 1000;
    opts.idle_timeout = 1000;
    gev_server *s = serve(&opts, set_own_limits, &fate);
    gev_stream *c = dial(s);
    wait_for_end(&fate);
    expect_int_eq(fate.error, ETIMEDOUT);
    expect_le(fate.seconds, test_scale(5));
    expect_ok(gev_stream_abort(c));
    gev_server_free(s);
}

/* --- writing -------------------------------------------------------------- */

static char block[8 << 20];

static void write_much(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    struct fate *fate = arg;
    double began = test_now();
    (void)peer;
    int rc = gev_stream_write(conn, block, sizeof(block));
    fate->error = rc == 0 ? 0 : errno;
    fate->seconds = test_now() - began;
    (void)gev_stream_write(conn, "more", 4); /* there is something to flush */
    fate->ended = true;
}

static double wait_for_none(const gev_server *s)
{
    double began = test_now();
    while (gev_server_count(s) > 0 && test_now() < began + test_scale(10)) {
        expect_ok(gev_sleep(0.002));
    }
    expect_uint_eq(gev_server_count(s), 0);
    return test_now() - began;
}

/* A client that takes nothing; it gets no second chance afterwards. */
GEV_TEST(clients_that_take_nothing)
{
    struct fate fate = {0};
    gev_server_opts opts = local;
    opts.write_timeout = test_scale(0.4);
    gev_server *s = serve(&opts, write_much, &fate);
    gev_stream *c = dial(s);
    wait_for_end(&fate);
    expect_int_eq(fate.error, ETIMEDOUT);
    expect_ge(fate.seconds, opts.write_timeout);
    expect_le(wait_for_none(s), 0.9 * opts.write_timeout);
    expect_ok(gev_stream_abort(c));
    gev_server_free(s);
}

static void write_without_flush(gev_stream *conn, const struct sockaddr *peer,
                                void *arg)
{
    static const char some[8192];
    struct fate *fate = arg;
    char *line;
    int rc = 0;
    double began = test_now();
    (void)peer;
    while (rc == 0) {
        rc = gev_stream_write(conn, some, sizeof(some));
        if (rc == 0) {
            began = test_now();
            rc = gev_stream_read_line(conn, &line, 100) > 0 ? 0 : -1;
        }
        fate->rounds++;
    }
    fate->error = errno;
    fate->seconds = test_now() - began;
    fate->ended = true;
}

/* It asks and asks, and does not read: the flush that comes with a read has the
 * limit of writes. */
GEV_TEST(flushes_of_reads)
{
    struct fate fate = {0};
    gev_server_opts opts = local;
    opts.write_timeout = 0.1;
    gev_server *s = serve(&opts, write_without_flush, &fate);
    gev_stream *c = dial(s);
    int fd = gev_stream_fd(c);
    while (!fate.ended && gev_send(fd, "ask\n", 4, MSG_DONTWAIT) == 4) {
        int before = fate.rounds;
        double end = test_now() + 0.2;
        while (fate.rounds == before && !fate.ended && test_now() < end) {
            expect_ok(gev_sleep(0.0005));
        }
        if (fate.rounds == before) {
            break;
        }
    }
    wait_for_end(&fate);
    expect_int_eq(fate.error, ETIMEDOUT);
    expect_ge(fate.seconds, 0.1);
    wait_for_none(s);
    expect_ok(gev_stream_abort(c));
    gev_server_free(s);
}

/* Over a Unix socket, which takes no more later than it did at once. */
static gev_server *serve_path(gev_server_opts *opts, char *dir, char *path,
                              gev_conn_fn fn, void *arg)
{
    expect_not_null(mkdtemp(dir));
    snprintf(path, 64, "%s/socket", dir);
    opts->host = NULL;
    opts->unix_path = path;
    return serve(opts, fn, arg);
}

static void fill(gev_stream *conn)
{
    while (gev_stream_try_write(conn, block, 8192) > 0) {
    }
    expect_int_eq(errno, EAGAIN);
}

static void flush_by_read(gev_stream *conn, const struct sockaddr *peer,
                          void *arg)
{
    struct fate *fate = arg;
    char c;
    (void)peer;
    fill(conn);
    expect_ok(gev_stream_write(conn, "answer", 6));
    fate->error = gev_stream_read(conn, &c, 1) < 0 ? errno : 0;
    fate->ended = true;
}

static void send_file(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    struct fate *fate = arg;
    FILE *file = tmpfile();
    (void)peer;
    expect_int_eq(ftruncate(fileno(file), sizeof(block)), 0);
    int rc = gev_stream_sendfile(conn, fileno(file), 0, sizeof(block));
    fate->error = rc < 0 ? errno : 0;
    fclose(file);
    expect_ok(gev_stream_write(conn, "more", 4));
    fate->ended = true;
}

/* However the answer was not taken in time: it is not waited for again. */
GEV_TEST(answers_that_were_not_taken)
{
    const gev_conn_fn fns[2] = {flush_by_read, send_file};
    for (int i = 0; i < 2; i++) {
        char dir[] = "/tmp/gev-test-XXXXXX";
        char path[64];
        struct fate fate = {0};
        gev_server_opts opts = local;
        opts.write_timeout = test_scale(0.4);
        gev_server *s = serve_path(&opts, dir, path, fns[i], &fate);
        int fd = gev_unix_connect(path, test_scale(5));
        wait_for_end(&fate);
        expect_int_eq(fate.error, ETIMEDOUT);
        expect_le(wait_for_none(s), 0.9 * opts.write_timeout);
        expect_ok(gev_close(fd));
        gev_server_free(s);
        expect_int_eq(rmdir(dir), 0);
    }
}

/* The handler's own impatience is none of the server's. */
static void flush_a_moment(gev_stream *conn, const struct sockaddr *peer,
                           void *arg)
{
    struct fate *fate = arg;
    gev_timeout moment = {.priv = {0}};
    (void)peer;
    fill(conn);
    expect_ok(gev_stream_write(conn, "answer", 6));
    expect_ok(gev_timeout_begin(&moment, 0.01));
    fate->error = gev_stream_flush(conn) < 0 ? errno : 0;
    expect_true(gev_timeout_end(&moment));
    fate->ended = true;
}

GEV_TEST(answers_that_have_time_yet)
{
    char dir[] = "/tmp/gev-test-XXXXXX";
    char path[64];
    static char said[1 << 20];
    struct fate fate = {0};
    gev_server_opts opts = local;
    opts.write_timeout = test_scale(10);
    gev_server *s = serve_path(&opts, dir, path, flush_a_moment, &fate);
    gev_stream *c = gev_stream_open(gev_unix_connect(path, test_scale(5)));
    wait_for_end(&fate);
    expect_int_eq(fate.error, ETIMEDOUT);
    ssize_t n = gev_stream_read_exactly(c, said, sizeof(said));
    if (expect_ge(n, 6)) {
        expect_mem_eq(said + n - 6, "answer", 6);
    }
    expect_ok(gev_stream_close(c));
    gev_server_free(s);
    expect_int_eq(rmdir(dir), 0);
}

/* --- idle connections ----------------------------------------------------- */

/* A request is a line; it waits for the first byte of each. */
static void keep_alive(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    struct fate *fate = arg;
    char *line;
    double began;
    ssize_t n;
    (void)peer;
    do {
        began = test_now();
        fate->since = began;
        expect_ok(gev_server_idle(conn, true));
        n = gev_stream_peek(conn, NULL, 1);
        if (n <= 0) {
            break;
        }
        expect_ok(gev_server_idle(conn, false));
        n = gev_stream_read_line(conn, &line, 1000);
        fate->rounds++;
    } while (n > 0);
    fate->error = n == 0 ? 0 : errno;
    fate->seconds = test_now() - began;
    fate->ended = true;
}

/* Between requests there is a limit of its own, shorter or longer than that of
 * reads. */
GEV_TEST(idle_connections_end)
{
    const double reads[2] = {0.02, 100};
    for (int i = 0; i < 2; i++) {
        struct fate fate = {0};
        gev_server_opts opts = local;
        opts.idle_timeout = test_scale(0.2);
        opts.read_timeout = reads[i];
        gev_server *s = serve(&opts, keep_alive, &fate);
        gev_stream *c = dial(s);
        for (int k = 0; k < 3; k++) {
            expect_ok(gev_sleep(0.06));
            say(c, "request\n");
        }
        char end;
        expect_int_eq(gev_stream_read(c, &end, 1), 0);
        wait_for_end(&fate);
        expect_int_eq(fate.rounds, 3);
        expect_int_eq(fate.error, ECANCELED);
        expect_ge(fate.seconds, opts.idle_timeout);
        expect_ok(gev_stream_close(c));
        expect_true(gev_server_started(s));
        gev_server_free(s);
    }
}

/* A request that has begun is not idle, and a slow one is a slow read. */
GEV_TEST(slow_requests)
{
    struct fate fate = {0};
    gev_server_opts opts = local;
    opts.idle_timeout = 100;
    opts.read_timeout = 0.05;
    gev_server *s = serve(&opts, keep_alive, &fate);
    gev_stream *c = dial(s);
    expect_ok(gev_sleep(0.1)); /* idle is no read */
    expect_false(fate.ended);
    say(c, "requ");
    wait_for_end(&fate);
    expect_int_eq(fate.error, ETIMEDOUT);
    expect_ok(gev_stream_abort(c));
    gev_server_free(s);
}

/* Zero: only each read has its limit. GEV_FOREVER: nothing has. */
GEV_TEST(no_idle_limit)
{
    struct fate fate[2] = {{0}, {0}};
    gev_server_opts opts = local;
    gev_server *s[2];
    gev_stream *c[2];
    opts.read_timeout = 0.03;
    for (int i = 0; i < 2; i++) {
        opts.idle_timeout = i == 0 ? 0 : GEV_FOREVER;
        s[i] = serve(&opts, keep_alive, &fate[i]);
        c[i] = dial(s[i]);
    }
    wait_for_end(&fate[0]);
    expect_int_eq(fate[0].error, ETIMEDOUT);
    expect_ok(gev_sleep(0.1));
    expect_false(fate[1].ended);
    for (int i = 0; i < 2; i++) {
        expect_ok(gev_stream_abort(c[i]));
        gev_server_free(s[i]);
    }
}

/* Each has its own time, from when it became idle; whose request comes in time
 * is served. */
GEV_TEST(many_idle_connections)
{
    enum { CLIENTS = 100 };
    static gev_stream *c[CLIENTS];
    gev_server_opts opts = local;
    struct fate fate = {0};
    opts.idle_timeout = test_scale(0.4);
    gev_server *s = serve(&opts, keep_alive, &fate);
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = dial(s);
    }
    double begin = test_now();
    while (test_now() < begin + 1.5 * opts.idle_timeout) {
        for (int i = 0; i < CLIENTS; i += 2) {
            say(c[i], "request\n");
        }
        expect_ok(gev_sleep(0.02));
    }
    expect_uint_eq(gev_server_count(s), CLIENTS / 2);
    for (int i = 1; i < CLIENTS; i += 2) {
        char end;
        expect_int_eq(gev_stream_read(c[i], &end, 1), 0);
    }
    expect_ok(gev_server_stop(s, test_scale(5))); /* they are idle */
    for (int i = 0; i < CLIENTS; i++) {
        expect_ok(gev_stream_abort(c[i]));
    }
    gev_server_free(s);
}

/* A request that came before the limit was noticed is not lost. */
GEV_TEST(a_request_at_the_last_moment)
{
    struct fate fate = {0};
    gev_server_opts opts = local;
    opts.idle_timeout = 0.2;
    gev_server *s = serve(&opts, keep_alive, &fate);
    gev_stream *c = dial(s);
    int fd = gev_stream_fd(c);
    while (gev_server_count(s) == 0) {
        expect_ok(gev_yield());
    }
    expect_ok(gev_sleep(0.01));
    expect_int_eq(gev_send(fd, "request\n", 8, 0), 8);
    test_spin(0.3); /* nobody has a turn until it is late */
    expect_ok(gev_sleep(0.001));
    expect_int_eq(fate.rounds, 1);
    expect_false(fate.ended);
    expect_ok(gev_stream_close(c));
    wait_for_end(&fate);
    expect_int_eq(fate.error, 0);
    gev_server_free(s);
}

static gev_event event;

/* What it waits for is not its client. */
static void wait_for_event(gev_stream *conn, const struct sockaddr *peer,
                           void *arg)
{
    struct fate *fate = arg;
    (void)peer;
    expect_ok(gev_server_idle(conn, true));
    if (gev_event_wait(&event, GEV_FOREVER) == 0) {
        expect_ok(gev_server_idle(conn, false));
        expect_ok(gev_yield()); /* it is not killed */
        fate->rounds++;
    }
    fate->ended = true;
}

static void *keep_busy(void *arg)
{
    (void)arg;
    expect_ok(gev_sleep(0.1));
    test_spin(0.4);
    return NULL;
}

/* One that was given something, and has not run yet, is idle no more. */
GEV_TEST(woken_beside_the_limit)
{
    struct fate fate = {0};
    gev_server_opts opts = local;
    opts.idle_timeout = 0.3;
    gev_event_init(&event);
    gev_server *s = serve(&opts, wait_for_event, &fate);
    gev_stream *c = dial(s);
    while (gev_server_count(s) == 0) {
        expect_ok(gev_yield());
    }
    gev_greenlet *g = gev_spawn(keep_busy, NULL);
    expect_ok(gev_sleep(0.2)); /* until both are due: this one is first */
    bool in_time = !fate.ended;
    expect_ok(gev_yield()); /* now the limit fires, behind us */
    gev_event_set(&event);
    wait_for_end(&fate);
    if (in_time) { /* else the machine is too slow for this */
        expect_int_eq(fate.rounds, 1);
    }
    join_and_drop(g);
    expect_ok(gev_stream_abort(c));
    gev_server_free(s);
    gev_event_fini(&event);
}

/* A stopped server has no idle connections; one that starts again has. */
GEV_TEST(limits_after_a_restart)
{
    gev_server_opts opts = local;
    struct fate fate = {0};
    opts.idle_timeout = 0.05;
    gev_server *s = serve(&opts, keep_alive, &fate);
    for (int i = 0; i < 3; i++) {
        fate = (struct fate){0};
        gev_stream *c = dial(s);
        char end;
        expect_int_eq(gev_stream_read(c, &end, 1), 0);
        expect_ok(gev_stream_close(c));
        wait_for_end(&fate);
        expect_int_eq(fate.error, ECANCELED);
        expect_ok(gev_server_stop(s, 1));
        expect_ok(gev_server_start(s));
    }
    /* In a forked child, too. */
    fate = (struct fate){0};
    expect_ok(gev_server_pause(s));
    pid_t pid = fork();
    if (pid == 0) {
        expect_ok(gev_server_start(s));
        expect_ok(gev_server_resume(s));
        gev_stream *c = dial(s);
        char end;
        expect_int_eq(gev_stream_read(c, &end, 1), 0);
        expect_ok(gev_stream_close(c));
        gev_server_free(s);
        _exit(!test_failed() && fate.error == ECANCELED ? 0 : 1);
    }
    expect_child_well(pid);
    gev_server_free(s);
}

/* --- options -------------------------------------------------------------- */

GEV_TEST(times_that_make_no_sense)
{
    const double wrong[] = {-1, NAN, -GEV_FOREVER};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        gev_server_opts opts[3] = {local, local, local};
        opts[0].read_timeout = wrong[i];
        opts[1].write_timeout = wrong[i];
        opts[2].idle_timeout = wrong[i];
        for (int k = 0; k < 3; k++) {
            errno = 0;
            expect_null(gev_server_new(&opts[k], read_lines, NULL));
            expect_int_eq(errno, EINVAL);
        }
    }
}

static void count(void *arg)
{
    ++*(int *)arg;
}

/* A program that was compiled when there were fewer options: what is behind
 * them is not looked at. */
GEV_TEST(options_of_before)
{
    int released = 0;
    struct fate fate = {0};
    gev_server_opts opts = local;
    opts.size = offsetof(gev_server_opts, read_timeout);
    opts.read_timeout = NAN;
    opts.idle_timeout = -1;
    opts.release = count;
    gev_server *s = serve(&opts, read_lines, &fate);
    gev_stream *c = dial(s);
    expect_ok(gev_stream_close(c));
    wait_for_end(&fate);
    gev_server_free(s);
    expect_int_eq(released, 0);
}

/* No size is the whole size. */
GEV_TEST(options_of_no_size)
{
    int released = 0;
    gev_server_opts opts = local;
    opts.size = 0;
    opts.release = count;
    gev_server *s = serve(&opts, read_lines, &released);
    gev_server_free(s);
    expect_int_eq(released, 1);
    opts.idle_timeout = -1;
    expect_null(gev_server_new(&opts, read_lines, NULL));
    expect_int_eq(errno, EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_loris),
        cmocka_unit_test(no_limit_on_reads),
        cmocka_unit_test(handlers_may_set_others),
        cmocka_unit_test(clients_that_take_nothing),
        cmocka_unit_test(flushes_of_reads),
        cmocka_unit_test(answers_that_were_not_taken),
        cmocka_unit_test(answers_that_have_time_yet),
        cmocka_unit_test(idle_connections_end),
        cmocka_unit_test(slow_requests),
        cmocka_unit_test(no_idle_limit),
        cmocka_unit_test(many_idle_connections),
        cmocka_unit_test(a_request_at_the_last_moment),
        cmocka_unit_test(woken_beside_the_limit),
        cmocka_unit_test(limits_after_a_restart),
        cmocka_unit_test(times_that_make_no_sense),
        cmocka_unit_test(options_of_before),
        cmocka_unit_test(options_of_no_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
