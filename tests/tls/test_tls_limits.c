/* SPDX-License-Identifier: MIT */

/* The limits of a server hold for its TLS connections; the handshake has one of
 * its own. */
#include "tls_pair.h"

struct fate {
    int error;
    double seconds;
    int rounds;
    bool ended;
};

static gev_server *serve(gev_server_opts *opts, gev_conn_fn fn, void *arg)
{
    gev_tls *tls = make_server("good", 0);
    opts->size = sizeof(*opts);
    opts->host = "localhost";
    opts->tls = tls;
    gev_server *s = gev_server_new(opts, fn, arg);
    gev_tls_unref(tls);
    expect_ok(gev_server_start(s));
    return s;
}

static gev_stream *dial(const gev_server *s)
{
    char port[16];
    gev_tls *tls = make_client(0);
    snprintf(port, sizeof(port), "%d", gev_server_port(s));
    gev_stream *c = gev_tls_connect(tls, "localhost", port, test_scale(10));
    gev_tls_unref(tls);
    expect_not_null(c);
    return c;
}

static void wait_for_end(const struct fate *fate)
{
    double end = test_now() + test_scale(10);
    while (!fate->ended && test_now() < end) {
        expect_ok(gev_sleep(0.002));
    }
    expect_true(fate->ended);
}

static void take_line(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    struct fate *fate = arg;
    char *line;
    double began = test_now();
    (void)peer;
    ssize_t n = gev_stream_read_line(conn, &line, 1000);
    fate->error = n < 0 ? errno : 0;
    fate->seconds = test_now() - began;
    fate->ended = true;
}

GEV_TEST(slow_loris)
{
    struct fate fate = {0};
    gev_server_opts opts = {.read_timeout = 0.1};
    gev_server *s = serve(&opts, take_line, &fate);
    gev_stream *c = dial(s);
    while (!fate.ended) {
        if (gev_stream_write(c, "x", 1) < 0 || gev_stream_flush(c) < 0) {
            break;
        }
        expect_ok(gev_sleep(0.01));
    }
    wait_for_end(&fate);
    expect_int_eq(fate.error, ETIMEDOUT);
    expect_ge(fate.seconds, 0.1);
    expect_ok(gev_stream_abort(c));
    gev_server_free(s);
}

static void write_much(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    static const char block[100000];
    struct fate *fate = arg;
    double began = test_now();
    int rc = 0;
    (void)peer;
    while (rc == 0) {
        began = test_now();
        rc = gev_stream_write(conn, block, sizeof(block));
        fate->rounds++;
    }
    fate->error = errno;
    fate->seconds = test_now() - began;
    fate->ended = true;
}

/* ... and none to who does not take what is written, nor a second chance. */
GEV_TEST(clients_that_take_nothing)
{
    struct fate fate = {0};
    gev_server_opts opts = {.write_timeout = test_scale(0.5)};
    gev_server *s = serve(&opts, write_much, &fate);
    gev_stream *c = dial(s);
    wait_for_end(&fate);
    expect_int_eq(fate.error, ETIMEDOUT);
    expect_ge(fate.seconds, opts.write_timeout);
    double began = test_now();
    while (gev_server_count(s) > 0) {
        expect_ok(gev_sleep(0.002));
    }
    expect_le(test_now() - began, 0.9 * opts.write_timeout);
    expect_ok(gev_stream_abort(c));
    gev_server_free(s);
}

static void keep_alive(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    struct fate *fate = arg;
    char *line;
    ssize_t n;
    (void)peer;
    do {
        expect_ok(gev_server_idle(conn, true));
        n = gev_stream_peek(conn, NULL, 1);
        if (n > 0) {
            expect_ok(gev_server_idle(conn, false));
            n = gev_stream_read_line(conn, &line, 1000);
            fate->rounds++;
        }
    } while (n > 0);
    fate->error = n < 0 ? errno : 0;
    fate->ended = true;
}

GEV_TEST(idle_connections_end)
{
    struct fate fate = {0};
    gev_server_opts opts = {.read_timeout = 0.01,
                            .idle_timeout = test_scale(0.3)};
    gev_server *s = serve(&opts, keep_alive, &fate);
    gev_stream *c = dial(s);
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_sleep(0.1));
        expect_ok(gev_stream_printf(c, "request\n"));
        expect_ok(gev_stream_flush(c));
    }
    char end;
    (void)gev_stream_read(c, &end, 1);
    wait_for_end(&fate);
    expect_int_eq(fate.rounds, 3);
    expect_int_eq(fate.error, ECANCELED);
    expect_ok(gev_stream_abort(c));
    gev_server_free(s);
}

/* Not a word: the handler never sees it, and no limit of reads is at work. */
GEV_TEST(silence_instead_of_a_handshake)
{
    struct fate fate = {0};
    gev_server_opts opts = {
        .read_timeout = 0.01, .write_timeout = 0.01, .idle_timeout = 0.01};
    gev_server *s = serve(&opts, take_line, &fate);
    char port[16];
    snprintf(port, sizeof(port), "%d", gev_server_port(s));
    int fd = gev_tcp_connect("localhost", port, test_scale(5));
    expect_ok(gev_sleep(0.1));
    expect_uint_eq(gev_server_count(s), 1); /* it has 10 s */
    expect_false(fate.ended);
    expect_ok(gev_close(fd));
    gev_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_loris),
        cmocka_unit_test(clients_that_take_nothing),
        cmocka_unit_test(idle_connections_end),
        cmocka_unit_test(silence_instead_of_a_handshake),
    };
    (void)certs_path(""); /* made outside of the tests */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
