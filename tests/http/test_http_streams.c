/* SPDX-License-Identifier: MIT */

/* Where requests come from: streams of the program's own, servers with TLS,
 * several on a port: gev/http.h (WSG13). */
#include "http/http_test.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

static void *client_of_a_pair(void *arg)
{
    char answer[500];
    int fd = *(int *)arg;
    expect_true(http_send(fd, GET("/a"), sizeof(GET("/a")) - 1));
    expect_ok(gev_shutdown(fd, SHUT_WR));
    http_recv(fd, answer, sizeof(answer));
    expect_str_eq(http_body_of(answer), "GET /a  11 0:");
    expect_ok(gev_close(fd));
    return NULL;
}

GEV_TEST(a_stream_of_ones_own)
{
    int fds[2];
    test_socketpair(fds);
    gev_greenlet *g = gev_spawn(client_of_a_pair, &fds[0]);
    gev_stream *conn = gev_stream_open(fds[1]);
    expect_ok(gev_http_serve_stream(conn, NULL, http_describe, NULL));
    expect_ok(gev_stream_close(conn));
    expect_ok(gev_get(g, NULL, GEV_FOREVER));
    gev_unref(g);
}

/* Serves a connection, and says how it ended. */
struct served {
    gev_stream *conn;
    int began;
    int rc;
    int error;
};

static int wait_or_not(gev_http *h, void *arg)
{
    struct served *v = arg;
    v->began = 1;
    return gev_sleep(60) < 0 ? gev_http_reply(h, 500, NULL, NULL, 0) : -1;
}

static void *serve_it(void *arg)
{
    struct served *v = arg;
    v->rc = gev_http_serve_stream(v->conn, NULL, wait_or_not, v);
    v->error = errno;
    return NULL;
}

/* A kill is told, wherever it comes: idle, in a head, in a handler. */
GEV_TEST(killed_while_it_serves)
{
    static const char *const sent[] = {"", "GET / HTTP", GET("/")};
    for (int i = 0; i < 3; i++) {
        int fds[2];
        test_socketpair(fds);
        struct served v = {.conn = gev_stream_open(fds[1])};
        gev_greenlet *g = gev_spawn(serve_it, &v);
        expect_true(http_send(fds[0], sent[i], strlen(sent[i])));
        do {
            expect_ok(gev_sleep(0.01));
        } while (i == 2 && v.began == 0);
        expect_ok(gev_kill(g, GEV_FOREVER));
        gev_unref(g);
        test_note("%d", i);
        expect_int_eq(v.rc, -1);
        expect_int_eq(v.error, ECANCELED);
        expect_ok(gev_stream_close(v.conn));
        expect_ok(gev_close(fds[0]));
    }
    test_note(NULL);
}

/* What stands for a TLS configuration. */
struct fake_tls {
    const gev_tls_ops *ops; /* first */
    int refs;
    int accepted;
};

static gev_tls *ref_fake(gev_tls *t)
{
    ((struct fake_tls *)(void *)t)->refs++;
    return t;
}

static void unref_fake(gev_tls *t)
{
    ((struct fake_tls *)(void *)t)->refs--;
}

static gev_stream *accept_fake(gev_tls *t, gev_stream *lower)
{
    struct fake_tls *fake = (struct fake_tls *)(void *)t;
    if (++fake->accepted > 1) {
        gev_stream_close(lower);
        errno = EPROTO;
        return NULL;
    }
    return lower;
}

/* The user's configuration is passed on, and let go with the server. */
GEV_TEST(tls)
{
    static const gev_tls_ops ops = {.size = sizeof(ops),
                                    .ref = ref_fake,
                                    .unref = unref_fake,
                                    .accept = accept_fake};
    static char answer[1000];
    struct fake_tls fake = {.ops = &ops, .refs = 1};
    gev_server_opts opts = {.size = sizeof(opts),
                            .host = "127.0.0.1",
                            .tls = (gev_tls *)(void *)&fake};
    gev_server *s = gev_http_server_new(&opts, NULL, http_describe, NULL);
    expect_ok(gev_server_start(s));
    expect_int_eq(fake.refs, 2);
    TALK(s, GET("/"), answer);
    expect_int_eq(http_status_of(answer), 200);
    TALK(s, GET("/"), answer); /* refused */
    expect_str_eq(answer, "");
    expect_int_eq(fake.accepted, 2);
    gev_server_free(s);
    expect_ok(gev_sleep(0.01)); /* its acceptor ends */
    expect_int_eq(fake.refs, 1);
    opts.unix_path = "x"; /* contradicts the host */
    expect_null(gev_http_server_new(&opts, NULL, http_describe, NULL));
    expect_int_eq(fake.refs, 1);
}

/* WSG13: several on one port, as processes have them. */
GEV_TEST(two_servers_on_one_port)
{
    static char answer[1000];
    gev_server_opts opts = {
        .size = sizeof(opts), .host = "127.0.0.1", .reuse_port = true};
    unsigned calls[2] = {0, 0};
    gev_server *s[2];
    char port[16];
    for (int i = 0; i < 2; i++) {
        s[i] = gev_http_server_new(&opts, NULL, http_describe, &calls[i]);
        expect_ok(gev_server_start(s[i]));
        snprintf(port, sizeof(port), "%d", gev_server_port(s[i]));
        opts.service = port;
    }
    expect_int_eq(gev_server_port(s[0]), gev_server_port(s[1]));
    for (int i = 0; i < 100; i++) {
        TALK(s[0], GET("/"), answer);
        expect_int_eq(http_status_of(answer), 200);
    }
    expect_uint_eq(calls[0] + calls[1], 100);
    expect_true(calls[0] > 0 && calls[1] > 0);
    gev_server_free(s[0]);
    gev_server_free(s[1]);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_of_ones_own),
        cmocka_unit_test(killed_while_it_serves),
        cmocka_unit_test(tls),
        cmocka_unit_test(two_servers_on_one_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
