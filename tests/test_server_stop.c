/* SPDX-License-Identifier: MIT */

/* Servers under attack: stopped, freed and forked at the worst moments, clients
 * that behave badly, descriptors that do not fit (SRV1-SRV14). */
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void wait_for_count(const gev_server *s, size_t n)
{
    double end = test_now() + test_scale(5);
    while (gev_server_count(s) != n && test_now() < end) {
        expect_ok(gev_sleep(0.001));
    }
    expect_uint_eq(gev_server_count(s), n);
}

struct call {
    gev_server *s;
    int rc;
    int error;
    bool done;
};

static void *stop_forever(void *arg)
{
    struct call *c = arg;
    c->rc = gev_server_stop(c->s, GEV_FOREVER);
    c->error = errno;
    c->done = true;
    return NULL;
}

static void *serve_forever(void *arg)
{
    struct call *c = arg;
    c->rc = gev_server_serve(c->s);
    c->error = errno;
    c->done = true;
    return NULL;
}

static void *start_it(void *arg)
{
    struct call *c = arg;
    c->rc = gev_server_start(c->s);
    c->error = errno;
    return NULL;
}

/* --- stops ---------------------------------------------------------------- */

/* Freed while others serve it and stop it. */
GEV_TEST(freed_under_those_who_wait)
{
    struct call c[2] = {{.rc = -2}, {.rc = -2}};
    c[0].s = c[1].s = serve(&local, echo, NULL);
    gev_stream *client = dial(c[0].s);
    expect_true(converse(client));
    gev_greenlet *g[2] = {gev_spawn(serve_forever, &c[0]),
                          gev_spawn(stop_forever, &c[1])};
    expect_ok(gev_sleep(0.002));
    gev_server_free(c[0].s);
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    expect_int_eq(c[0].rc, 0);
    expect_int_eq(c[1].rc, -1); /* the client was cut off */
    expect_int_eq(c[1].error, ETIMEDOUT);
    gev_unrefall(g, 2);
    expect_ok(gev_stream_close(client));
}

/* The same when there is nothing to wait for. */
GEV_TEST(freed_at_once)
{
    struct call c = {.s = serve(&local, echo, NULL), .rc = -2};
    gev_greenlet *g = gev_spawn(serve_forever, &c);
    expect_ok(gev_yield());
    gev_server_free(c.s);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(c.rc, 0);
    gev_unref(g);
}

/* Who serves may free it when serve returns: so that is after the stop, not in
 * the middle of it. */
GEV_TEST(serve_returns_when_the_stop_is_complete)
{
    struct call c[2] = {{.rc = -2}, {.rc = -2}};
    c[0].s = c[1].s = serve(&local, echo, NULL);
    gev_greenlet *g[2];
    g[0] = gev_spawn(serve_forever, &c[0]);
    gev_stream *client = dial(c[0].s);
    expect_true(converse(client));
    g[1] = gev_spawn(stop_forever, &c[1]);
    expect_ok(gev_sleep(0.005));
    expect_false(c[0].done);
    expect_true(gev_server_stopping(c[0].s));
    expect_true(converse(client)); /* still served */
    expect_ok(gev_stream_close(client));
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    expect_int_eq(c[0].rc, 0);
    expect_int_eq(c[1].rc, 0);
    gev_unrefall(g, 2);
    gev_server_free(c[0].s);
}

static void serve_own(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    struct call *c = arg;
    (void)peer;
    c->rc = gev_server_serve(gev_server_of(conn));
    c->done = true;
}

/* A handler that serves its own server does not keep a stop waiting. */
GEV_TEST(handler_that_serves)
{
    struct call c = {.rc = -2};
    gev_server *s = serve(&local, serve_own, &c);
    gev_stream *client = dial(s);
    wait_for_count(s, 1);
    expect_ok(gev_stream_shutdown(client));
    expect_ok(gev_server_stop(s, test_scale(5)));
    expect_int_eq(c.rc, 0);
    expect_true(c.done);
    expect_ok(gev_stream_close(client));
    gev_server_free(s);
}

static bool handler_ended;

static void stop_and_linger(gev_stream *conn, const struct sockaddr *peer,
                            void *arg)
{
    (void)peer;
    (void)arg;
    expect_ok(gev_server_stop(gev_server_of(conn), GEV_FOREVER));
    gev_shield_begin();
    expect_ok(gev_sleep(0.02));
    gev_shield_end();
    handler_ended = true;
}

/* Also a handler that is in a stop of its own is joined by who is not one. */
GEV_TEST(stop_beside_a_handler_that_stops)
{
    handler_ended = false;
    gev_server *s = serve(&local, stop_and_linger, NULL);
    gev_stream *client = dial(s);
    wait_for_count(s, 1);
    expect_ok(gev_server_stop(s, test_scale(5)));
    expect_true(handler_ended);
    expect_uint_eq(gev_server_count(s), 0);
    expect_ok(gev_stream_close(client));
    gev_server_free(s);
}

/* Clients that say a byte now and then do not hold the stop up. */
GEV_TEST(stop_among_slow_clients)
{
    enum { CLIENTS = 20 };
    gev_stream *c[CLIENTS];
    gev_server *s = serve(&local, echo, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = dial(s);
        expect_ok(gev_stream_write(c[i], "x", 1));
        expect_ok(gev_stream_flush(c[i]));
    }
    wait_for_count(s, CLIENTS);
    double start = test_now();
    expect_fail(gev_server_stop(s, 0.01), ETIMEDOUT);
    expect_le(test_now() - start, test_scale(5));
    expect_uint_eq(gev_server_count(s), 0);
    for (int i = 0; i < CLIENTS; i++) {
        expect_ok(gev_stream_close(c[i]));
    }
    gev_server_free(s);
}

/* A start that looks a name up, and is overtaken. */
GEV_TEST(start_overtaken)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    char servers[64];
    int silent = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    expect_ok(bind(silent, (struct sockaddr *)&addr, len));
    expect_ok(getsockname(silent, (struct sockaddr *)&addr, &len));
    snprintf(servers, sizeof(servers), "127.0.0.1:%d", ntohs(addr.sin_port));
    setenv("GEV_DNS_SERVERS", servers, 1);
    gev_server_opts opts = {.size = sizeof(opts), .host = "silent.example"};
    struct call c = {.s = gev_server_new(&opts, echo, NULL)};
    gev_greenlet *g = gev_spawn(start_it, &c);
    expect_ok(gev_sleep(0.002));
    expect_ok(gev_server_stop(c.s, 1));
    gev_server_free(c.s);
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(c.rc, -1);
    expect_int_eq(c.error, ECANCELED);
    gev_unref(g);
    unsetenv("GEV_DNS_SERVERS");
    close(silent);
}

/* --- pauses --------------------------------------------------------------- */

static void pause_own(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    (void)peer;
    (void)arg;
    expect_ok(gev_server_pause(gev_server_of(conn)));
}

/* SRV3, SRV6: nothing is accepted from the very moment of the pause on, and a
 * pause that is over at once hurts nobody. */
GEV_TEST(pauses_and_limits)
{
    char end;
    gev_server_opts opts = local;
    opts.max_connections = 1;
    gev_server *s = serve(&opts, pause_own, NULL);
    gev_stream *c[3] = {dial(s), dial(s), dial(s)};
    for (int i = 0; i < 3; i++) {
        expect_int_eq(gev_stream_read(c[i], &end, 1), 0);
        expect_ok(gev_stream_close(c[i]));
        expect_ok(gev_sleep(0.003));
        expect_uint_eq(gev_server_count(s), 0);
        expect_ok(gev_server_resume(s));
        expect_ok(gev_server_pause(s));
        expect_ok(gev_server_resume(s));
    }
    expect_ok(gev_sleep(0.002));
    gev_stream *more = dial(s);
    expect_int_eq(gev_stream_read(more, &end, 1), 0);
    expect_ok(gev_stream_close(more));
    expect_true(gev_server_started(s));
    gev_server_free(s);
}

/* --- clients -------------------------------------------------------------- */

#if ON_ASAN /* it keeps what is freed */
#define ROOM_TO_GROW 300e6
#else
#define ROOM_TO_GROW 8e6
#endif

static size_t resident(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL || fscanf(f, "%*d %ld", &pages) != 1) {
        pages = 0;
    }
    if (f != NULL) {
        fclose(f);
    }
    return (size_t)pages * 4096;
}

/* Connect and reset, ten thousand times: nothing is left, nothing grows. */
GEV_TEST(connect_and_reset_many_times)
{
    enum { STORM = 10000, AT_ONCE = 50 };
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    gev_server *s = serve(&local, echo, NULL);
    int port = gev_server_port(s);
    size_t before = 0;
    for (int i = 0; i < STORM / AT_ONCE && !test_failed(); i++) {
        int fds[AT_ONCE];
        for (int k = 0; k < AT_ONCE; k++) {
            fds[k] = dial_fd("127.0.0.1", port);
            expect_ge(fds[k], 0);
        }
        for (int k = 0; k < AT_ONCE; k++) {
            setsockopt(fds[k], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
            expect_ok(gev_close(fds[k]));
        }
        if (i == 20) {
            before = resident();
        }
    }
    wait_for_count(s, 0);
    expect_le((double)resident(), (double)before + ROOM_TO_GROW);
    gev_stream *c = dial(s);
    expect_true(converse(c));
    expect_ok(gev_stream_close(c));
    gev_server_free(s);
}

static void say_bye(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    (void)peer;
    (void)arg;
    expect_ok(gev_stream_write(conn, "bye", 3));
}

/* A client that never stops sending is not listened to for ever. */
GEV_TEST(lingering_has_an_end)
{
    static const char flood[100000];
    char bye[4] = "";
    gev_server *s = serve(&local, say_bye, NULL);
    gev_stream *c = dial(s);
    double start = test_now();
    expect_int_eq(gev_stream_read_exactly(c, bye, 3), 3);
    while (gev_stream_write(c, flood, sizeof(flood)) == 0 &&
           gev_stream_flush(c) == 0 && test_now() - start < test_scale(10)) {
        expect_ok(gev_yield());
    }
    expect_le(test_now() - start, test_scale(5));
    wait_for_count(s, 0);
    gev_stream *silent = dial(s);
    expect_int_eq(gev_stream_read_exactly(silent, bye, 3), 3);
    expect_ok(gev_sleep(1.1)); /* says nothing, and does not close */
    wait_for_count(s, 0);
    expect_ok(gev_stream_abort(c));
    expect_ok(gev_stream_close(silent));
    gev_server_free(s);
}

static void close_own(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    int fd = N(arg) == 0 ? -1 : gev_stream_detach(conn);
    (void)peer;
    if (N(arg) == 0) {
        expect_ok(gev_stream_close(conn));
    } else {
        expect_ge(fd, 0);
        expect_ok(gev_close(fd));
    }
    expect_ok(gev_yield());
}

/* The stream is the server's, but a handler that ends it does no harm. */
GEV_TEST(handler_that_closes)
{
    char end;
    for (int i = 0; i < 2; i++) {
        gev_server *s = serve(&local, close_own, P(i));
        gev_stream *c = dial(s);
        expect_int_eq(gev_stream_read(c, &end, 1), 0);
        expect_ok(gev_stream_close(c));
        wait_for_count(s, 0);
        gev_server_free(s);
    }
}

static void *sleep_long(void *arg)
{
    (void)gev_sleep(100);
    return arg;
}

static void wait_for_a_switch(gev_stream *conn, const struct sockaddr *peer,
                              void *arg)
{
    gev_greenlet *raw = gev_new(sleep_long, NULL);
    (void)conn;
    (void)peer;
    expect_fail(gev_switch(raw, NULL, NULL), ECANCELED);
    expect_ok(gev_kill(raw, 0));
    gev_unref(raw);
    *(bool *)arg = true;
}

/* A switch is no park: the stop ends it nevertheless. */
GEV_TEST(stop_reaches_a_handler_in_a_switch)
{
    bool ended = false;
    gev_server *s = serve(&local, wait_for_a_switch, &ended);
    gev_stream *c = dial(s);
    expect_ok(gev_sleep(0.01));
    expect_fail(gev_server_stop(s, 0), ETIMEDOUT);
    expect_true(ended);
    gev_server_free(s);
    expect_ok(gev_stream_close(c));
}

static void idle_echo(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    char *line;
    (void)peer;
    (void)arg;
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_server_idle(conn, true));
        ssize_t n = gev_stream_read_line(conn, &line, 100);
        expect_ok(gev_server_idle(conn, false));
        expect_ok(gev_stream_write(conn, line, n < 0 ? 0 : (size_t)n));
    }
}

GEV_TEST(idle_connections_hear_their_clients)
{
    gev_server *s = serve(&local, idle_echo, NULL);
    gev_stream *c = dial(s);
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_sleep(0.002));
        expect_true(converse(c));
    }
    expect_ok(gev_stream_close(c));
    gev_server_free(s);
}

/* --- where it listens ----------------------------------------------------- */

static void ignore(gev_datagram_server *s, const void *data, size_t n,
                   const struct sockaddr *peer, socklen_t len, void *arg)
{
    (void)s;
    (void)data;
    (void)n;
    (void)peer;
    (void)len;
    (void)arg;
}

/* SRV1: descriptors that are not what a server needs; they stay the caller's.
 */
GEV_TEST(wrong_descriptors)
{
    int pair[2];
    int udp = gev_udp_bind("127.0.0.1", "0");
    int tcp = gev_tcp_listen("127.0.0.1", "0", 5);
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    const int wrong[] = {udp, pair[0]};
    for (int i = 0; i < 2; i++) {
        gev_server_opts opts = {.size = sizeof(opts), .listen_fd = wrong[i]};
        gev_server *s = gev_server_new(&opts, echo, NULL);
        expect_fail(gev_server_start(s), EINVAL);
        gev_server_free(s);
        expect_ok(gev_close(wrong[i]));
    }
    gev_server_opts opts = {.size = sizeof(opts), .listen_fd = tcp};
    gev_datagram_server *d = gev_datagram_server_new(&opts, ignore, NULL);
    expect_fail(gev_datagram_server_start(d), EINVAL);
    gev_datagram_server_free(d);
    expect_ok(gev_close(tcp));
    expect_ok(gev_close(pair[1]));
    opts.listen_fd = 1000000;
    gev_server *s = gev_server_new(&opts, echo, NULL);
    expect_fail(gev_server_start(s), EBADF);
    gev_server_free(s);
}

/* A name of several addresses is listened to at all of them, on one port; one
 * that is there twice is taken once. */
GEV_TEST(names_of_several_addresses)
{
    char path[] = "/tmp/gev-test-XXXXXX";
    static const char hosts[] = "127.0.0.1 several.example\n"
                                "127.0.0.2 several.example\n"
                                "127.0.0.2 several.example\n"
                                "127.0.0.3 several.example\n";
    int fd = mkstemp(path);
    expect_int_eq(write(fd, hosts, sizeof(hosts) - 1), sizeof(hosts) - 1);
    close(fd);
    setenv("GEV_DNS_HOSTS", path, 1);
    gev_server_opts opts = {.size = sizeof(opts), .host = "several.example"};
    gev_server *s = serve(&opts, echo, NULL);
    int port = gev_server_port(s);
    expect_ge(port, 1);
    for (int round = 0; round < 2; round++) {
        for (int i = 1; i <= 3; i++) {
            char host[16];
            snprintf(host, sizeof(host), "127.0.0.%d", i);
            gev_stream *c = gev_stream_open(dial_fd(host, port));
            if (expect_not_null(c)) {
                expect_true(converse(c));
                expect_ok(gev_stream_close(c));
            }
        }
        expect_ok(gev_server_pause(s));
        expect_ok(gev_server_resume(s));
    }
    char service[16];
    snprintf(service, sizeof(service), "%d", port);
    gev_server_opts same = {
        .size = sizeof(same), .host = "127.0.0.3", .service = service};
    gev_server *other = gev_server_new(&same, echo, NULL);
    expect_fail(gev_server_start(other), EADDRINUSE);
    expect_ok(gev_server_stop(s, test_scale(5)));
    expect_ok(gev_server_start(other)); /* all are free again */
    gev_server_opts all = {
        .size = sizeof(all), .host = "several.example", .service = service};
    gev_server *taken = gev_server_new(&all, echo, NULL);
    expect_fail(gev_server_start(taken), EADDRINUSE); /* all or none */
    expect_fail(dial_fd("127.0.0.1", port), ECONNREFUSED);
    gev_server_free(taken);
    gev_server_free(other);
    gev_server_free(s);
    unlink(path);
    unsetenv("GEV_DNS_HOSTS");
}

/* A socket file that a crash has left is no obstacle. */
GEV_TEST(stale_paths)
{
    char path[] = "/tmp/gev-test-XXXXXX";
    char name[64];
    expect_not_null(mkdtemp(path));
    snprintf(name, sizeof(name), "%s/socket", path);
    int fd = gev_unix_listen(name, 5);
    expect_ge(fd, 0);
    expect_ok(gev_close(fd)); /* the file stays */
    gev_server_opts opts = {.size = sizeof(opts), .unix_path = name};
    gev_server *s = serve(&opts, echo, NULL);
    for (int i = 0; i < 2; i++) {
        gev_stream *c = gev_stream_open(gev_unix_connect(name, 1));
        expect_true(converse(c));
        expect_ok(gev_stream_close(c));
        expect_ok(gev_server_stop(s, test_scale(5)));
        expect_int_eq(access(name, F_OK), -1);
        expect_ok(gev_server_start(s));
    }
    gev_server_free(s);
    expect_int_eq(rmdir(path), 0);
}

/* --- forks ---------------------------------------------------------------- */

static int exit_status(pid_t pid)
{
    int status = -1;
    expect_int_eq(gev_wait_child(pid, &status, test_scale(20)), 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + status;
}

static void fork_here(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    (void)peer;
    gev_server *s = gev_server_of(conn);
    pid_t pid = fork();
    if (pid == 0) {
        /* The others are the parent's; this one may stop its copy. */
        int rc = gev_server_stop(s, 1);
        _exit(rc == 0 && !gev_server_started(s) ? 7 : 1);
    }
    *(int *)arg = exit_status(pid);
    echo(conn, peer, NULL);
}

static void hold(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    (void)arg;
    echo(conn, peer, NULL);
}

static int forks;

static void fork_once(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    if (forks++ == 1) {
        fork_here(conn, peer, arg);
    } else {
        hold(conn, peer, arg);
    }
}

GEV_TEST(fork_in_a_handler)
{
    int status = -1;
    forks = 0;
    gev_server *s = serve(&local, fork_once, &status);
    gev_stream *c[3] = {dial(s), NULL, NULL};
    expect_true(converse(c[0]));
    for (int i = 1; i < 3; i++) {
        c[i] = dial(s);
        expect_true(converse(c[i]));
    }
    expect_int_eq(status, 7);
    for (int i = 0; i < 3; i++) {
        expect_true(converse(c[i])); /* as if nothing had happened */
        expect_ok(gev_stream_close(c[i]));
    }
    expect_ok(gev_server_stop(s, test_scale(5)));
    gev_server_free(s);
}

/* SRV12: started before a fork, the child has the listener, and starts to
 * receive from it when it says so. */
GEV_TEST(start_before_the_fork)
{
    gev_server *s = serve(&local, echo, NULL);
    expect_ok(gev_server_pause(s)); /* the parent leaves them to the child */
    pid_t pid = fork();
    if (pid == 0) {
        struct call c = {.s = s};
        bool ok = gev_server_start(s) == 0 && gev_server_resume(s) == 0;
        gev_greenlet *g = gev_spawn(serve_forever, &c);
        gev_sleep(test_scale(0.3));
        ok = ok && g != NULL && gev_server_stop(s, test_scale(5)) == 0;
        gev_join(g, GEV_FOREVER);
        _exit(ok && c.rc == 0 ? 7 : 1);
    }
    gev_stream *client = dial(s);
    expect_true(converse(client));
    expect_ok(gev_stream_close(client));
    expect_int_eq(exit_status(pid), 7);
    gev_server_free(s);
}

/* --- datagrams ------------------------------------------------------------ */

static void answer_late(gev_datagram_server *s, const void *data, size_t n,
                        const struct sockaddr *peer, socklen_t len, void *arg)
{
    *(bool *)arg = true;
    expect_ok(gev_sleep(0.01));
    expect_int_eq(gev_datagram_server_send(s, data, n, peer, len), n);
}

/* A stop lets handlers end: with their answers. */
GEV_TEST(answers_during_the_stop)
{
    char buf[8];
    bool begun = false;
    gev_datagram_server *s =
        gev_datagram_server_new(&local, answer_late, &begun);
    expect_ok(gev_datagram_server_start(s));
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port =
                                   htons((uint16_t)gev_datagram_server_port(s)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = gev_socket(AF_INET, SOCK_DGRAM, 0);
    expect_ok(gev_settimeout(fd, test_scale(5)));
    expect_int_eq(
        gev_sendto(fd, "late", 4, 0, (struct sockaddr *)&addr, sizeof(addr)),
        4);
    while (!begun && !test_failed()) {
        expect_ok(gev_sleep(0.001));
    }
    expect_ok(gev_datagram_server_stop(s, test_scale(5)));
    expect_int_eq(gev_recv(fd, buf, sizeof(buf), 0), 4);
    expect_fail(gev_datagram_server_send(s, "x", 1, NULL, 0), ENOTCONN);
    gev_datagram_server_free(s);
    expect_ok(gev_close(fd));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(freed_under_those_who_wait),
        cmocka_unit_test(freed_at_once),
        cmocka_unit_test(serve_returns_when_the_stop_is_complete),
        cmocka_unit_test(handler_that_serves),
        cmocka_unit_test(stop_beside_a_handler_that_stops),
        cmocka_unit_test(stop_among_slow_clients),
        cmocka_unit_test(start_overtaken),
        cmocka_unit_test(pauses_and_limits),
        cmocka_unit_test(connect_and_reset_many_times),
        cmocka_unit_test(lingering_has_an_end),
        cmocka_unit_test(handler_that_closes),
        cmocka_unit_test(stop_reaches_a_handler_in_a_switch),
        cmocka_unit_test(idle_connections_hear_their_clients),
        cmocka_unit_test(wrong_descriptors),
        cmocka_unit_test(names_of_several_addresses),
        cmocka_unit_test(stale_paths),
        cmocka_unit_test(fork_in_a_handler),
        cmocka_unit_test(start_before_the_fork),
        cmocka_unit_test(answers_during_the_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
