/* SPDX-License-Identifier: MIT */

/* Servers: gev/server.h (SRV1-SRV14). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/servers.h"
#include "support/trace.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* SRV2, SRV13 */
GEV_TEST(serves_connections)
{
    gev_server *s = gev_server_new(&local, echo, NULL);
    expect_false(gev_server_started(s));
    expect_fail(gev_server_port(s), ENOTCONN);
    expect_fail(gev_server_fd(s), ENOTCONN);
    expect_fail(gev_server_pause(s), ENOTCONN);
    expect_ok(gev_server_start(s));
    expect_ok(gev_server_start(s)); /* no more than once */
    expect_true(gev_server_started(s));
    expect_ge(gev_server_port(s), 1);
    expect_ge(gev_server_fd(s), 0);
    gev_stream *c[3];
    for (int i = 0; i < 3; i++) {
        c[i] = dial(s);
        expect_true(converse(c[i]));
    }
    expect_uint_eq(gev_server_count(s), 3);
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_stream_close(c[i]));
    }
    expect_ok(gev_server_stop(s, test_scale(5)));
    expect_uint_eq(gev_server_count(s), 0);
    expect_false(gev_server_started(s));
    expect_ok(gev_server_start(s)); /* again */
    gev_stream *again = dial(s);
    expect_true(converse(again));
    expect_ok(gev_stream_close(again));
    gev_server_free(s);
}

static void *serve_forever(void *arg)
{
    return gev_server_serve(arg) == 0 ? NULL : gev_fail(errno);
}

/* SRV2: returns after the stop; a kill of its caller stops the server. */
GEV_TEST(serve_until_stopped_or_killed)
{
    gev_server *s = gev_server_new(&local, echo, NULL);
    gev_greenlet *g = gev_spawn(serve_forever, s);
    expect_ok(gev_yield());
    expect_true(gev_server_started(s));
    expect_ok(gev_server_stop(s, 0));
    expect_ok(gev_get(g, NULL, GEV_FOREVER));
    gev_unref(g);
    g = gev_spawn(serve_forever, s);
    expect_ok(gev_yield());
    gev_stream *c = dial(s);
    expect_true(converse(c));
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_false(gev_server_started(s));
    expect_uint_eq(gev_server_count(s), 0);
    gev_unref(g);
    expect_ok(gev_stream_close(c));
    gev_server_free(s);
}

static int live;
static int most;

static void hold(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    char *line;
    (void)peer;
    (void)arg;
    live++;
    most = live > most ? live : most;
    (void)gev_stream_read_line(conn, &line, 100);
    live--;
}

/* SRV6: at the limit it accepts no more, and goes on when a place is free. */
GEV_TEST(a_limit_on_connections)
{
    enum { CLIENTS = 10 };
    gev_server_opts opts = local;
    gev_stream *c[CLIENTS];
    opts.max_connections = 3;
    live = 0;
    most = 0;
    gev_server *s = serve(&opts, hold, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = dial(s); /* the backlog takes them */
    }
    expect_ok(gev_sleep(0.01));
    expect_int_eq(live, 3);
    for (int i = 0; i < CLIENTS; i++) {
        expect_ok(gev_stream_write(c[i], "\n", 1));
        char end;
        expect_int_eq(gev_stream_read(c[i], &end, 1), 0);
        expect_ok(gev_stream_close(c[i]));
    }
    expect_int_eq(most, 3);
    expect_ok(gev_server_stop(s, test_scale(5)));
    gev_server_free(s);
}

static void *tick(void *arg)
{
    int *ticks = arg;
    while (gev_yield() == 0) {
        ++*ticks;
    }
    return NULL;
}

/* SRV4, SRV5: a full backlog: each in a greenlet of its own, and the others run
 * meanwhile. */
GEV_TEST(many_at_once)
{
    enum { CLIENTS = 250 };
    static gev_stream *c[CLIENTS];
    gev_server_opts opts = local;
    int ticks = 0;
    opts.stack_size = 128 * (size_t)1024;
    gev_server *s = serve(&opts, echo, NULL);
    expect_ok(gev_server_pause(s));
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = dial(s);
        expect_ok(gev_stream_write(c[i], "hello\n", 6));
        expect_ok(gev_stream_flush(c[i]));
    }
    gev_greenlet *ticker = gev_spawn(tick, &ticks);
    expect_ok(gev_server_resume(s));
    while (gev_server_count(s) < CLIENTS) {
        int before = ticks;
        expect_ok(gev_yield());
        expect_le(ticks - before, 1); /* each has its turn */
    }
    expect_ge(ticks, 2); /* not all in one batch */
    expect_ok(gev_kill(ticker, GEV_FOREVER));
    gev_unref(ticker);
    for (int i = 0; i < CLIENTS; i++) {
        char *line = NULL;
        expect_int_eq(gev_stream_read_line(c[i], &line, 100), 6);
        expect_ok(gev_stream_close(c[i]));
    }
    gev_server_free(s);
}

/* SRV3 */
GEV_TEST(pause_and_resume)
{
    gev_server *s = serve(&local, echo, NULL);
    expect_ok(gev_yield());
    expect_ok(gev_server_pause(s));
    gev_stream *c = dial(s);
    expect_ok(gev_stream_settimeout(c, 0.02));
    expect_false(converse(c));
    expect_uint_eq(gev_server_count(s), 0);
    expect_ok(gev_server_resume(s));
    char *line = NULL;
    expect_ok(gev_stream_settimeout(c, test_scale(5)));
    expect_int_eq(gev_stream_read_line(c, &line, 100), 6);
    expect_ok(gev_stream_close(c));
    gev_server_free(s);
}

/* SRV9: the listener goes at once, connections have until the timeout. */
GEV_TEST(stop_is_graceful)
{
    gev_server *s = serve(&local, echo, NULL);
    int port = gev_server_port(s);
    gev_stream *c = dial(s);
    expect_true(converse(c));
    double start = test_now();
    expect_fail(gev_server_stop(s, 0.02), ETIMEDOUT);
    expect_ge(test_now() - start, 0.02);
    char end;
    expect_int_eq(gev_stream_read(c, &end, 1), 0);
    expect_ok(gev_stream_close(c));
    char text[16];
    snprintf(text, sizeof(text), "%d", port);
    expect_fail(gev_tcp_connect("127.0.0.1", text, 1), ECONNREFUSED);
    expect_ok(gev_server_stop(s, 1)); /* nothing to do */
    gev_server_free(s);
}

static void be_idle(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    char *line;
    (void)peer;
    expect_ok(gev_server_idle(conn, true));
    expect_fail(gev_stream_read_line(conn, &line, 100), ECANCELED);
    *(bool *)arg = true;
    expect_fail(gev_server_idle(conn, true), ECANCELED);
}

GEV_TEST(stop_ends_idle_connections_at_once)
{
    bool ended = false;
    gev_server *s = serve(&local, be_idle, &ended);
    gev_stream *c = dial(s);
    while (gev_server_count(s) == 0) {
        expect_ok(gev_sleep(0.001));
    }
    expect_ok(gev_sleep(0.001));
    double start = test_now();
    expect_ok(gev_server_stop(s, 100)); /* not by force */
    expect_le(test_now() - start, test_scale(5));
    expect_true(ended);
    expect_fail(gev_server_idle(c, true), EINVAL); /* not a server's */
    expect_null(gev_server_of(c));
    expect_ok(gev_stream_close(c));
    gev_server_free(s);
}

static void stop_own(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    int *rc = arg;
    gev_server *s = gev_server_of(conn);
    (void)peer;
    *rc = gev_server_stop(s, test_scale(5));
    expect_fail(gev_sleep(100), ECANCELED); /* counts as killed */
}

/* A handler may stop its own server; two may at once. */
GEV_TEST(stopped_by_a_handler)
{
    int rc = -2;
    gev_server *s = serve(&local, stop_own, &rc);
    gev_stream *c[2] = {dial(s), dial(s)};
    char end;
    expect_int_eq(gev_stream_read(c[0], &end, 1), 0);
    expect_int_eq(gev_stream_read(c[1], &end, 1), 0);
    expect_int_eq(rc, 0);
    expect_uint_eq(gev_server_count(s), 0);
    gev_server_free(s);
    expect_ok(gev_stream_close(c[0]));
    expect_ok(gev_stream_close(c[1]));
}

static void free_own(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    (void)peer;
    (void)arg;
    gev_server_free(gev_server_of(conn));
    expect_ok(gev_stream_write(conn, "bye", 3)); /* it is still there */
}

GEV_TEST(freed_by_a_handler)
{
    gev_server *s = serve(&local, free_own, NULL);
    gev_stream *c = dial(s);
    char *data = NULL;
    expect_ge(gev_stream_read_all(c, &data, 100), 0);
    free(data);
    expect_ok(gev_stream_close(c));
}

static void big_answer(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    static char block[500000];
    char *line;
    (void)peer;
    (void)arg;
    expect_int_eq(gev_stream_read_line(conn, &line, 100), 4);
    expect_ok(gev_stream_write(conn, block, sizeof(block)));
}

/* SRV8: the answer arrives though the client has sent more than was read:
 * closing at once would reset it away. */
GEV_TEST(the_answer_is_not_reset_away)
{
    static const char junk[100000];
    char *data = NULL;
    gev_server *s = serve(&local, big_answer, NULL);
    gev_stream *c = dial(s);
    expect_ok(gev_stream_write(c, "get\n", 4));
    expect_ok(gev_stream_write(c, junk, sizeof(junk)));
    expect_ok(gev_stream_shutdown(c));
    expect_ok(gev_sleep(0.02));
    expect_int_eq(gev_stream_read_all(c, &data, 1000000), 500000);
    free(data);
    expect_ok(gev_stream_close(c));
    gev_server_free(s);
}

static void exit_early(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    (void)conn;
    (void)peer;
    (void)arg;
    gev_exit(NULL);
}

/* SRV8: closed however the handler ends. */
GEV_TEST(closed_when_the_handler_exits)
{
    char end;
    gev_server *s = serve(&local, exit_early, NULL);
    gev_stream *c = dial(s);
    expect_int_eq(gev_stream_read(c, &end, 1), 0);
    expect_uint_eq(gev_server_count(s), 0);
    expect_ok(gev_stream_close(c));
    gev_server_free(s);
}

/* SRV7: no descriptor left: it waits, without spinning, tells who waits, and
 * goes on. More in test_server_shortage.c. */
GEV_TEST(out_of_descriptors)
{
    struct rlimit old;
    gev_server *s = serve(&local, echo, NULL);
    gev_stream *c = dial(s);
    expect_true(converse(c));
    gev_stream *late = dial(s);
    expect_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    int top = dup(0);
    close(top);
    struct rlimit none = {(rlim_t)top, old.rlim_max};
    expect_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    gev_stats before = {.size = sizeof(before)};
    gev_stats after = {.size = sizeof(after)};
    gev_hub_stats(gev_hub_get(), &before);
    expect_ok(gev_sleep(0.05));
    gev_hub_stats(gev_hub_get(), &after);
    expect_le(after.turns - before.turns, 60);
    expect_uint_eq(gev_server_count(s), 1);
    expect_true(converse(c)); /* the others are served meanwhile */
    expect_false(converse(late));
    expect_ok(gev_stream_abort(late));
    expect_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    late = dial(s);
    expect_ok(gev_stream_settimeout(late, test_scale(10)));
    expect_true(converse(late));
    expect_ok(gev_stream_close(c));
    expect_ok(gev_stream_close(late));
    gev_server_free(s);
}

/* SRV1, SRV12: a path, its mode, and its end. */
GEV_TEST(unix_paths)
{
    char path[] = "/tmp/gev-test-XXXXXX";
    expect_not_null(mkdtemp(path));
    char name[64];
    snprintf(name, sizeof(name), "%s/socket", path);
    gev_server_opts opts = {.size = sizeof(opts), .unix_path = name};
    gev_server *s = serve(&opts, echo, NULL);
    struct stat st;
    expect_int_eq(stat(name, &st), 0);
    expect_int_eq(st.st_mode & 0177, 0);
    expect_fail(gev_server_port(s), ENOTCONN);
    gev_server *second = gev_server_new(&opts, echo, NULL);
    expect_fail(gev_server_start(second), EADDRINUSE);
    gev_server_free(second);
    expect_int_eq(stat(name, &st), 0); /* it is the first one's */
    gev_stream *c = gev_stream_open(gev_unix_connect(name, 1));
    expect_true(converse(c));
    expect_ok(gev_stream_close(c));
    gev_server_free(s);
    expect_int_eq(stat(name, &st), -1);
    expect_int_eq(rmdir(path), 0);
}

/* SRV1: a descriptor of the caller's, owned from the start on. */
GEV_TEST(inherited_listener)
{
    int fd = gev_tcp_listen("127.0.0.1", "0", 5);
    gev_server_opts opts = {.size = sizeof(opts), .listen_fd = fd};
    gev_server *s = gev_server_new(&opts, echo, NULL);
    gev_server_free(s); /* never started: still the caller's */
    s = serve(&opts, echo, NULL);
    expect_int_eq(gev_server_fd(s), fd);
    gev_stream *c = dial(s);
    expect_true(converse(c));
    expect_ok(gev_stream_close(c));
    expect_ok(gev_server_stop(s, 1));
    expect_fail(gev_server_start(s), EBADF); /* it is gone */
    gev_server_free(s);
    int fds[2];
    expect_ok(gev_pipe(fds));
    opts.listen_fd = fds[0];
    s = gev_server_new(&opts, echo, NULL);
    expect_fail(gev_server_start(s), ENOTSOCK);
    gev_server_free(s);
    expect_ok(gev_close(fds[0])); /* not taken */
    expect_ok(gev_close(fds[1]));
}

/* SRV12: several on one port. */
GEV_TEST(reuse_port)
{
    gev_server_opts opts = local;
    char port[16];
    opts.reuse_port = true;
    gev_server *a = serve(&opts, echo, NULL);
    snprintf(port, sizeof(port), "%d", gev_server_port(a));
    opts.service = port;
    gev_server *b = serve(&opts, echo, NULL);
    expect_int_eq(gev_server_port(b), gev_server_port(a));
    gev_stream *c = dial(a);
    expect_true(converse(c));
    expect_ok(gev_stream_close(c));
    gev_server_free(a);
    gev_server_free(b);
    opts.reuse_port = false;
    a = serve(&opts, echo, NULL);
    b = gev_server_new(&opts, echo, NULL);
    expect_fail(gev_server_start(b), EADDRINUSE);
    gev_server_free(a);
    gev_server_free(b);
}

/* SRV14 */
GEV_TEST(options_that_make_no_sense)
{
    gev_server_opts opts = {
        .size = sizeof(opts), .unix_path = "/tmp/x", .service = "80"};
    expect_null(gev_server_new(&opts, echo, NULL));
    expect_int_eq(errno, EINVAL);
    expect_null(gev_server_new(&local, NULL, NULL));
    expect_int_eq(errno, EINVAL);
    opts = (gev_server_opts){.size = sizeof(opts), .listen_fd = -1};
    expect_null(gev_server_new(&opts, echo, NULL));
    expect_int_eq(errno, EINVAL);
    expect_fail(gev_server_start(NULL), EINVAL);
    expect_fail(gev_server_serve(NULL), EINVAL);
    expect_fail(gev_server_stop(NULL, 1), EINVAL);
    expect_fail(gev_server_pause(NULL), EINVAL);
    expect_fail(gev_server_port(NULL), EINVAL);
    expect_fail(gev_server_fd(NULL), EINVAL);
    expect_uint_eq(gev_server_count(NULL), 0);
    expect_false(gev_server_started(NULL));
    gev_server_free(NULL);
    gev_server *s = gev_server_new(&local, echo, NULL);
    expect_fail(gev_server_stop(s, NAN), EINVAL);
    gev_server_free(s);
}

/* A server left running goes with its hub. */
GEV_TEST(hub_closes_under_a_server)
{
    gev_server *s = serve(&local, echo, NULL);
    gev_stream *c = dial(s);
    expect_true(converse(c));
    expect_ok(gev_stream_close(c));
    expect_ok(gev_hub_close());
    expect_uint_eq(gev_server_count(s), 0);
    expect_false(gev_server_started(s));
    gev_server_free(s);
}

/* --- datagrams ------------------------------------------------------------ */

static void answer(gev_datagram_server *s, const void *data, size_t n,
                   const struct sockaddr *peer, socklen_t len, void *arg)
{
    (void)arg;
    expect_ok(gev_yield());
    expect_int_eq(gev_datagram_server_send(s, data, n, peer, len), n);
}

static int udp_to(int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = gev_socket(AF_INET, SOCK_DGRAM, 0);
    expect_ok(gev_connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    return fd;
}

/* SRV11 */
GEV_TEST(datagrams_are_answered)
{
    char buf[100];
    gev_datagram_server *s = gev_datagram_server_new(&local, answer, NULL);
    expect_fail(gev_datagram_server_port(s), ENOTCONN);
    expect_fail(gev_datagram_server_send(s, "x", 1, NULL, 0), ENOTCONN);
    expect_ok(gev_datagram_server_start(s));
    int fd = udp_to(gev_datagram_server_port(s));
    expect_ok(gev_settimeout(fd, test_scale(5)));
    for (int i = 0; i < 100; i++) {
        expect_int_eq(gev_send(fd, &i, sizeof(i), 0), sizeof(i));
    }
    for (int i = 0; i < 100; i++) {
        int got = -1;
        expect_int_eq(gev_recv(fd, &got, sizeof(got), 0), sizeof(got));
        expect_int_eq(got, i);
    }
    expect_int_eq(gev_send(fd, buf, 0, 0), 0); /* an empty one is one, too */
    expect_int_eq(gev_recv(fd, buf, sizeof(buf), 0), 0);
    expect_ok(gev_datagram_server_stop(s, 1));
    expect_fail(gev_datagram_server_fd(s), ENOTCONN);
    gev_datagram_server_free(s);
    gev_datagram_server_free(NULL);
    expect_ok(gev_close(fd));
}

static void sleep_long(gev_datagram_server *s, const void *data, size_t n,
                       const struct sockaddr *peer, socklen_t len, void *arg)
{
    (void)s;
    (void)data;
    (void)peer;
    (void)len;
    ++*(int *)arg;
    expect_uint_eq(n, 5); /* cut */
    expect_fail(gev_sleep(100), ECANCELED);
}

GEV_TEST(datagram_limits)
{
    int begun = 0;
    gev_server_opts opts = local;
    opts.max_connections = 2;
    opts.max_datagram = 5;
    gev_datagram_server *s = gev_datagram_server_new(&opts, sleep_long, &begun);
    expect_ok(gev_datagram_server_start(s));
    int fd = udp_to(gev_datagram_server_port(s));
    for (int i = 0; i < 5; i++) {
        expect_int_eq(gev_send(fd, "123456789", 9, 0), 9);
    }
    expect_ok(gev_sleep(0.02));
    expect_int_eq(begun, 2);
    expect_fail(gev_datagram_server_stop(s, 0), ETIMEDOUT);
    gev_datagram_server_free(s);
    expect_ok(gev_close(fd));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_connections),
        cmocka_unit_test(serve_until_stopped_or_killed),
        cmocka_unit_test(a_limit_on_connections),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(pause_and_resume),
        cmocka_unit_test(stop_is_graceful),
        cmocka_unit_test(stop_ends_idle_connections_at_once),
        cmocka_unit_test(stopped_by_a_handler),
        cmocka_unit_test(freed_by_a_handler),
        cmocka_unit_test(the_answer_is_not_reset_away),
        cmocka_unit_test(closed_when_the_handler_exits),
        cmocka_unit_test(out_of_descriptors),
        cmocka_unit_test(unix_paths),
        cmocka_unit_test(inherited_listener),
        cmocka_unit_test(reuse_port),
        cmocka_unit_test(options_that_make_no_sense),
        cmocka_unit_test(hub_closes_under_a_server),
        cmocka_unit_test(datagrams_are_answered),
        cmocka_unit_test(datagram_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
