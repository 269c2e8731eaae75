/* SPDX-License-Identifier: MIT */

/* Servers that meet each other, their kills, forks and ends. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/greenlets.h"
#include "support/servers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- kills ---------------------------------------------------------------- */

/* The hub closes before the server had its first turn. */
GEV_TEST(hub_closes_at_once)
{
    gev_server_opts opts = local;
    opts.idle_timeout = 1;
    gev_server *s = serve(&opts, echo, NULL);
    expect_ok(gev_hub_close());
    expect_false(gev_server_started(s));
    gev_server_free(s);
}

struct search {
    const char *name;
    gev_greenlet *found;
};

static int find(gev_greenlet *g, void *arg)
{
    struct search *search = arg;
    if (strcmp(gev_name(g), search->name) == 0) {
        search->found = g;
    }
    return 0;
}

/* What it is made of can be found, and killed: then it stops. */
GEV_TEST(killed_from_outside)
{
    const char *const names[2] = {"server", "idle limit"};
    for (int i = 0; i < 4; i++) {
        struct search search = {.name = names[i / 2]};
        gev_server_opts opts = local;
        opts.idle_timeout = 1;
        gev_server *s = serve(&opts, echo, NULL);
        if (i % 2 == 1) {
            expect_ok(gev_sleep(0.001)); /* it has begun */
        }
        expect_ok(gev_foreach(find, &search));
        if (expect_not_null(search.found)) {
            expect_ok(gev_kill(search.found, 0));
        }
        expect_ok(gev_yield());
        expect_false(gev_server_started(s));
        expect_fail(gev_server_fd(s), ENOTCONN);
        expect_ok(gev_server_start(s)); /* as new */
        gev_stream *c = dial(s);
        expect_true(converse(c));
        expect_ok(gev_stream_close(c));
        expect_ok(gev_server_stop(s, test_scale(5)));
        gev_server_free(s);
    }
}

/* --- limits --------------------------------------------------------------- */

static int live;
static int most;

static void hold(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    (void)conn;
    (void)peer;
    (void)arg;
    live++;
    most = live > most ? live : most;
    (void)gev_sleep(0.005);
    live--;
}

static int connect_now(const char *host, int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, host, &addr.sin_addr);
    expect_ok(connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    return fd;
}

/* SRV6: the limit is of all addresses together, also if they are knocked at in
 * the same turn. */
GEV_TEST(one_limit_for_several_addresses)
{
    static const char hosts[] = "127.0.0.1 several.example\n"
                                "127.0.0.2 several.example\n"
                                "127.0.0.3 several.example\n";
    char path[] = "/tmp/gev-test-XXXXXX";
    int fds[9];
    int fd = mkstemp(path);
    expect_int_eq(write(fd, hosts, sizeof(hosts) - 1), sizeof(hosts) - 1);
    close(fd);
    setenv("GEV_DNS_HOSTS", path, 1);
    gev_server_opts opts = {.size = sizeof(opts), .host = "several.example"};
    opts.max_connections = 2;
    live = 0;
    most = 0;
    gev_server *s = serve(&opts, hold, NULL);
    expect_ok(gev_sleep(0.001)); /* all of them listen */
    for (int i = 0; i < 9; i++) {
        char host[16];
        snprintf(host, sizeof(host), "127.0.0.%d", i % 3 + 1);
        fds[i] = connect_now(host, gev_server_port(s));
    }
    double end = test_now() + test_scale(5);
    int left = 9;
    while (left > 0 && test_now() < end) {
        expect_ok(gev_sleep(0.001));
        for (int i = 0; i < 9; i++) {
            char byte;
            if (fds[i] >= 0 && recv(fds[i], &byte, 1, MSG_DONTWAIT) == 0) {
                close(fds[i]);
                fds[i] = -1;
                left--;
            }
        }
    }
    expect_int_eq(left, 0); /* each had its turn */
    expect_int_eq(most, 2);
    expect_ok(gev_server_stop(s, test_scale(5)));
    gev_server_free(s);
    unlink(path);
    unsetenv("GEV_DNS_HOSTS");
}

/* A forked child does not count its parent's connections. */
GEV_TEST(limit_in_a_forked_child)
{
    gev_server_opts opts = local;
    opts.max_connections = 1;
    gev_server *s = serve(&opts, echo, NULL);
    gev_stream *mine = dial(s);
    expect_true(converse(mine));
    expect_ok(gev_server_pause(s));
    pid_t pid = fork();
    if (pid == 0) {
        expect_ok(gev_server_start(s));
        expect_uint_eq(gev_server_count(s), 0);
        expect_ok(gev_server_resume(s));
        gev_stream *c = dial(s);
        expect_ok(gev_stream_settimeout(c, test_scale(5)));
        expect_true(converse(c));
        expect_ok(gev_stream_close(c));
        gev_server_free(s);
        _exit(test_failed());
    }
    expect_child_well(pid);
    expect_true(converse(mine));
    expect_ok(gev_stream_close(mine));
    gev_server_free(s);
}

/* --- socket files --------------------------------------------------------- */

/* A rolling restart: the file is the new one's when the old one stops. */
GEV_TEST(the_file_of_another)
{
    char path[] = "/tmp/gev-test-XXXXXX";
    char name[64];
    expect_not_null(mkdtemp(path));
    snprintf(name, sizeof(name), "%s/socket", path);
    gev_server_opts opts = {.size = sizeof(opts), .unix_path = name};
    gev_server *old = serve(&opts, echo, NULL);
    expect_int_eq(unlink(name), 0);
    gev_server *new = serve(&opts, echo, NULL);
    gev_server_free(old);
    expect_int_eq(access(name, F_OK), 0);
    gev_stream *c = gev_stream_open(gev_unix_connect(name, test_scale(5)));
    expect_true(converse(c));
    expect_ok(gev_stream_close(c));
    /* In a forked child it is the parent's. */
    pid_t pid = fork();
    if (pid == 0) {
        gev_server_free(new);
        _exit(access(name, F_OK) != 0);
    }
    expect_child_well(pid);
    c = gev_stream_open(gev_unix_connect(name, test_scale(5)));
    expect_true(converse(c));
    expect_ok(gev_stream_close(c));
    gev_server_free(new);
    expect_int_eq(access(name, F_OK), -1);
    expect_int_eq(rmdir(path), 0);
}

/* --- stops ---------------------------------------------------------------- */

static void end_soon(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    const gev_server *s = gev_server_of(conn);
    (void)peer;
    (void)arg;
    while (!gev_server_stopping(s)) {
        if (gev_sleep(0.001) < 0) {
            return;
        }
    }
    expect_ok(gev_stream_write(conn, "bye\n", 4));
}

/* A handler that ends in time has not been killed, though its client goes on to
 * be silent, and is given a while to read. */
GEV_TEST(an_end_in_time)
{
    gev_server *s = serve(&local, end_soon, NULL);
    gev_stream *c = dial(s);
    while (gev_server_count(s) == 0) {
        expect_ok(gev_sleep(0.001));
    }
    double patience = test_scale(0.3);
    expect_ok(gev_server_stop(s, patience));
    expect_uint_eq(gev_server_count(s), 0);
    char *line = NULL;
    expect_int_eq(gev_stream_read_line(c, &line, 100), 4);
    expect_ok(gev_stream_close(c));
    gev_server_free(s);
}

struct call {
    gev_server *s;
    double timeout;
    int rc;
    int error;
};

static void *stop(void *arg)
{
    struct call *c = arg;
    c->rc = gev_server_stop(c->s, c->timeout);
    c->error = errno;
    return NULL;
}

/* Both stops say that a handler had to be killed, whoever did it. */
GEV_TEST(two_stops)
{
    gev_server *s = serve(&local, echo, NULL);
    gev_stream *c = dial(s);
    expect_true(converse(c));
    struct call calls[2] = {{.s = s, .timeout = 100},
                            {.s = s, .timeout = 0.01}};
    gev_greenlet *g[2] = {start(stop, &calls[0]), start(stop, &calls[1])};
    end_all(g, 2);
    for (int i = 0; i < 2; i++) {
        expect_int_eq(calls[i].rc, -1);
        expect_int_eq(calls[i].error, ETIMEDOUT);
    }
    expect_ok(gev_stream_close(c));
    expect_ok(gev_server_start(s));
    expect_ok(gev_server_stop(s, 0)); /* that was then */
    gev_server_free(s);
}

/* --- the end of the argument ---------------------------------------------- */

struct owner {
    int live; /* handlers */
    int handled;
    int released;
    gev_server *server;
};

static void release_owner(void *arg)
{
    struct owner *o = arg;
    expect_int_eq(o->live, 0);
    o->released++;
}

static void end_handler(void *arg)
{
    struct owner *o = arg;
    o->live--;
}

static void linger(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    struct owner *o = arg;
    char *line;
    (void)peer;
    o->live++;
    o->handled++;
    expect_ok(gev_defer(end_handler, o));
    (void)gev_stream_read_line(conn, &line, 100);
}

static void free_it(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    struct owner *o = arg;
    linger(conn, peer, arg);
    gev_server_free(o->server);
    expect_int_eq(o->released, 0); /* it runs */
}

/* Once, after the last handler, and not by a new that failed. */
GEV_TEST(release)
{
    struct owner o = {0};
    gev_server_opts opts = local;
    opts.release = release_owner;
    expect_null(gev_server_new(&opts, NULL, &o));
    expect_int_eq(o.released, 0);
    gev_server_free(gev_server_new(&opts, linger, &o)); /* never started */
    expect_int_eq(o.released, 1);
    o.released = 0;
    gev_server *s = serve(&opts, linger, &o);
    gev_stream *c = dial(s);
    while (o.live == 0) {
        expect_ok(gev_yield());
    }
    expect_fail(gev_server_stop(s, 0), ETIMEDOUT);
    expect_ok(gev_server_start(s));
    expect_int_eq(o.released, 0); /* a stop is no end */
    gev_server_free(s);
    expect_int_eq(o.released, 1);
    expect_ok(gev_stream_abort(c));
}

GEV_TEST(release_after_a_handler_that_frees)
{
    struct owner o = {0};
    gev_server_opts opts = local;
    opts.release = release_owner;
    o.server = serve(&opts, free_it, &o);
    gev_stream *c = dial(o.server);
    expect_ok(gev_stream_write(c, "free\n", 5));
    char end;
    (void)gev_stream_read(c, &end, 1);
    expect_ok(gev_stream_abort(c));
    expect_ok(gev_sleep(0.01));
    expect_int_eq(o.handled, 1);
    expect_int_eq(o.released, 1);
}

/* The hub that goes takes the server along, but it has to be freed. */
GEV_TEST(release_after_the_hub)
{
    struct owner o = {0};
    gev_server_opts opts = local;
    opts.release = release_owner;
    gev_server *s = serve(&opts, linger, &o);
    gev_stream *c = dial(s);
    while (o.live == 0) {
        expect_ok(gev_yield());
    }
    expect_ok(gev_stream_abort(c));
    expect_ok(gev_hub_close());
    expect_int_eq(o.released, 0);
    gev_server_free(s);
    expect_int_eq(o.released, 1);
}

static void never(gev_datagram_server *s, const void *data, size_t n,
                  const struct sockaddr *peer, socklen_t len, void *arg)
{
    (void)s;
    (void)data;
    (void)n;
    (void)peer;
    (void)len;
    (void)arg;
    expect_never("there was no datagram");
}

GEV_TEST(release_of_datagram_servers)
{
    struct owner o = {0};
    gev_server_opts opts = local;
    opts.release = release_owner;
    gev_datagram_server *s = gev_datagram_server_new(&opts, never, &o);
    expect_ok(gev_datagram_server_start(s));
    gev_datagram_server_free(s);
    expect_int_eq(o.released, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hub_closes_at_once),
        cmocka_unit_test(killed_from_outside),
        cmocka_unit_test(one_limit_for_several_addresses),
        cmocka_unit_test(limit_in_a_forked_child),
        cmocka_unit_test(the_file_of_another),
        cmocka_unit_test(an_end_in_time),
        cmocka_unit_test(two_stops),
        cmocka_unit_test(release),
        cmocka_unit_test(release_after_a_handler_that_frees),
        cmocka_unit_test(release_after_the_hub),
        cmocka_unit_test(release_of_datagram_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
