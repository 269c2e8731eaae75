/* SPDX-License-Identifier: MIT */

/* HTTP over TLS: what is special about it is the stream below, so all that a
 * stream does for HTTP is looked at (WSG2, WSG3, WSG4, WSG5, WSG12, SRV10). */
#include "http/http_test.h"

#include "tls/tls_pair.h"

#include <sys/socket.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define SIZE 600000

struct service {
    gev_server *server;
    gev_tls *client;
    struct http_log log;
    char port[16];
};

static void start(struct service *v, const gev_http_opts *opts, gev_http_fn fn,
                  void *arg)
{
    gev_http_opts with_log =
        opts == NULL ? (gev_http_opts){.size = sizeof(with_log)} : *opts;
    gev_tls *tls = make_server("good", 0);
    const gev_server_opts o = {
        .size = sizeof(o), .host = "localhost", .tls = tls};
    memset(&v->log, 0, sizeof(v->log));
    with_log.log = http_log;
    with_log.log_arg = &v->log;
    v->server = gev_http_server_new(&o, &with_log, fn, arg);
    gev_tls_unref(tls);
    v->client = make_client(0);
    expect_ok(gev_server_start(v->server));
    snprintf(v->port, sizeof(v->port), "%d", gev_server_port(v->server));
}

static void stop(struct service *v)
{
    expect_ok(gev_server_stop(v->server, test_scale(5)));
    gev_server_free(v->server);
    gev_tls_unref(v->client);
}

static gev_stream *dial(const struct service *v)
{
    gev_stream *s =
        gev_tls_connect(v->client, "localhost", v->port, test_scale(5));
    if (expect_not_null(s)) {
        expect_ok(gev_stream_settimeout(s, test_scale(10)));
    }
    return s;
}

static bool say(gev_stream *s, const char *text)
{
    return gev_stream_write(s, text, strlen(text)) == 0 &&
           gev_stream_flush(s) == 0;
}

/* What comes until the end of the stream, or that text. */
static size_t hear(gev_stream *s, const char *end, char *answer, size_t size)
{
    size_t n = 0;
    ssize_t got = 1;
    size_t len = end == NULL ? 0 : strlen(end);
    while (
        got > 0 && n < size - 1 &&
        (end == NULL || n < len || memcmp(answer + n - len, end, len) != 0)) {
        got = gev_stream_read(s, answer + n, size - 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    answer[n] = '\0';
    return n;
}

static void wait_until_none(const struct service *v)
{
    double begin = test_now();
    while (gev_server_count(v->server) > 0 &&
           test_now() - begin < test_scale(10)) {
        expect_ok(gev_sleep(0.005));
    }
    expect_uint_eq(gev_server_count(v->server), 0);
}

/* WSG2, WSG3, WSG4: one connection, all kinds of requests. */
GEV_TEST(requests)
{
    static char answer[20000];
    struct service v;
    unsigned calls = 0;
    start(&v, NULL, http_describe, &calls);
    gev_stream *s = dial(&v);
    expect_true(say(s, GET("/a%20b?q")));
    hear(s, " 0:", answer, sizeof(answer));
    expect_str_eq(http_body_of(answer), "GET /a b q 11 0:");
    expect_true(say(s, "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                       "\r\nhello"));
    hear(s, "hello", answer, sizeof(answer));
    expect_str_eq(http_body_of(answer), "POST /p  11 5:hello");
    expect_true(say(s, "POST /c HTTP/1.1\r\nHost: a\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"));
    expect_ok(gev_sleep(0.01)); /* in a record of its own */
    expect_true(say(s, "2\r\nde\r\n0\r\n\r\n"));
    hear(s, "abcde", answer, sizeof(answer));
    expect_str_eq(http_body_of(answer), "POST /c  11 -1:abcde");
    expect_true(say(s, "POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
                       "Expect: 100-continue\r\n\r\n"));
    hear(s, "\r\n\r\n", answer, sizeof(answer));
    expect_str_eq(answer, "HTTP/1.1 100 Continue\r\n\r\n");
    expect_true(say(s, "ok"));
    hear(s, "ok", answer, sizeof(answer));
    expect_str_eq(http_body_of(answer), "POST /e  11 2:ok");
    expect_true(say(s, GET("/1") GET("/2") GET("/3")));
    hear(s, "/3  11 0:", answer, sizeof(answer));
    expect_uint_eq(http_count(answer, "HTTP/1.1 200 OK"), 3);
    expect_true(say(s, "GET / HTTP/1.1\r\n\r\n")); /* no Host */
    hear(s, NULL, answer, sizeof(answer));
    expect_int_eq(http_status_of(answer), 400);
    expect_uint_eq(calls, 7);
    expect_ok(gev_stream_close(s));
    wait_until_none(&v);
    stop(&v);
}

static int echo(gev_http *h, void *arg)
{
    static char piece[30000];
    ssize_t n;
    (void)arg;
    while ((n = gev_http_read(h, piece, sizeof(piece))) > 0) {
        if (gev_http_write(h, piece, (size_t)n) < 0) {
            return -1;
        }
    }
    return n < 0 ? -1 : 0;
}

static void *send_much(void *arg)
{
    gev_stream *s = arg;
    static char piece[10000];
    memset(piece, 'x', sizeof(piece));
    expect_ok(gev_stream_printf(s,
                                "POST / HTTP/1.1\r\nHost: a\r\nConnection: "
                                "close\r\nContent-Length: %d\r\n\r\n",
                                SIZE));
    for (int i = 0; i < SIZE / 10000; i++) {
        expect_ok(gev_stream_write(s, piece, sizeof(piece)));
    }
    expect_ok(gev_stream_flush(s));
    return NULL;
}

/* WSG5: a body of many records in both directions at once; and a client who
 * reads nothing of it for a while. */
GEV_TEST(long_bodies)
{
    static char answer[2 * SIZE];
    struct service v;
    start(&v, NULL, echo, NULL);
    for (int i = 0; i < 2; i++) {
        gev_stream *s = dial(&v);
        gev_greenlet *g = gev_spawn(send_much, s);
        if (i == 1) {
            expect_ok(gev_sleep(0.1));
        }
        size_t n = hear(s, NULL, answer, sizeof(answer));
        expect_int_eq(http_status_of(answer), 200);
        expect_ge(n, SIZE);
        expect_uint_eq(http_count(answer, "\r\n0\r\n\r\n"), 1);
        size_t data = 0;
        for (size_t at = 0; at < n; at++) {
            data += answer[at] == 'x';
        }
        expect_uint_eq(data, SIZE);
        expect_ok(gev_get(g, NULL, test_scale(5)));
        gev_unref(g);
        expect_ok(gev_stream_close(s));
    }
    stop(&v);
}

static int send_a_file(gev_http *h, void *arg)
{
    expect_ok(gev_http_write(h, "<", 1));
    expect_ok(gev_http_sendfile(h, *(int *)arg, 10, 100000));
    return gev_http_write(h, ">", 1);
}

/* WSG5: there is nothing the kernel could send by itself. */
GEV_TEST(files)
{
    static char answer[200000];
    char path[] = "/tmp/gev-http-XXXXXX";
    struct service v;
    int fd = mkstemp(path);
    expect_ge(fd, 0);
    for (int i = 0; i < 20000; i++) {
        expect_int_eq(dprintf(fd, "%09d\n", i), 10);
    }
    start(&v, NULL, send_a_file, &fd);
    gev_stream *s = dial(&v);
    expect_true(say(s, "GET / HTTP/1.0\r\n\r\n"));
    size_t n = hear(s, NULL, answer, sizeof(answer));
    const char *body = http_body_of(answer);
    expect_uint_eq(n - (size_t)(body - answer), 100002);
    expect_mem_eq(body, "<000000001\n", 11);
    expect_mem_eq(body + 100002 - 11, "000010000\n>", 11);
    expect_ok(gev_stream_close(s));
    expect_ok(unlink(path));
    expect_ok(gev_close(fd));
    stop(&v);
}

static int tick(gev_http *h, void *arg)
{
    int *ended = arg;
    for (int i = 0; gev_http_event(h, "tick", "tock") == 0; i++) {
        if (gev_sleep(0.002) < 0) {
            break;
        }
    }
    *ended = errno;
    return -1;
}

/* Events come one by one, each at once; the end of the client is the end. */
GEV_TEST(events)
{
    static char answer[5000];
    struct service v;
    int ended = 0;
    start(&v, NULL, tick, &ended);
    gev_stream *s = dial(&v);
    expect_true(say(s, GET("/")));
    for (int i = 0; i < 5; i++) {
        hear(s, "tock\n\n\r\n", answer, sizeof(answer));
        expect_uint_eq(http_count(answer, "event: tick\ndata: tock\n\n"), 1);
    }
    expect_ok(gev_stream_abort(s));
    wait_until_none(&v);
    expect_true(ended == EPIPE || ended == ECONNRESET);
    stop(&v);
}

static int take_over(gev_http *h, void *arg)
{
    char *line;
    gev_stream *conn = gev_http_hijack(h);
    expect_not_null(conn);
    *(bool *)arg = gev_tls_version(conn) != NULL;
    expect_ok(gev_stream_printf(conn, "HTTP/1.1 101 Switching Protocols\r\n"
                                      "Upgrade: lines\r\n\r\n"));
    while (gev_stream_read_line(conn, &line, 100) > 0) {
        expect_ok(gev_stream_printf(conn, "you said %s", line));
    }
    return 0;
}

/* WSG12: the TLS stream itself, with what was read ahead. */
GEV_TEST(hijack)
{
    static char answer[2000];
    struct service v;
    bool is_tls = false;
    start(&v, NULL, take_over, &is_tls);
    gev_stream *s = dial(&v);
    expect_true(say(s, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
                       "Upgrade: lines\r\n\r\nhello\n"));
    hear(s, "hello\n", answer, sizeof(answer));
    expect_str_eq(http_body_of(answer), "you said hello\n");
    expect_true(say(s, "again\n"));
    hear(s, "again\n", answer, sizeof(answer));
    expect_str_eq(answer, "you said again\n");
    expect_true(is_tls);
    expect_ok(gev_stream_close(s));
    wait_until_none(&v);
    stop(&v);
}

static int slow(gev_http *h, void *arg)
{
    *(int *)arg = 1;
    expect_ok(gev_sleep(0.1));
    return gev_http_reply(h, 200, NULL, "done", 4);
}

/* SRV9: a stop ends the idle, of whatever age, with a close_notify; a request
 * gets its answer. */
GEV_TEST(graceful_stop)
{
    static char answer[2000];
    struct service v;
    int begun = 0;
    start(&v, NULL, slow, &begun);
    gev_stream *fresh = dial(&v);
    gev_stream *used = dial(&v);
    gev_stream *busy = dial(&v);
    expect_true(say(used, GET("/")));
    hear(used, "done", answer, sizeof(answer));
    expect_ok(gev_sleep(1.2)); /* it has given its memory back meanwhile */
    begun = 0;
    expect_true(say(busy, GET("/")));
    while (begun == 0) {
        expect_ok(gev_sleep(0.001));
    }
    double begin = test_now();
    expect_ok(gev_server_stop(v.server, test_scale(10)));
    expect_le(test_now() - begin, test_scale(5));
    hear(busy, NULL, answer, sizeof(answer));
    expect_int_eq(http_status_of(answer), 200);
    expect_uint_eq(http_count(answer, "Connection: close\r\n"), 1);
    expect_str_eq(http_body_of(answer), "done");
    expect_int_eq(gev_stream_read(fresh, answer, 1), 0);
    expect_int_eq(gev_stream_read(used, answer, 1), 0);
    expect_ok(gev_stream_close(fresh));
    expect_ok(gev_stream_close(used));
    expect_ok(gev_stream_close(busy));
    gev_server_free(v.server);
    gev_tls_unref(v.client);
}

/* After a second's idleness a request is as good as ever. */
GEV_TEST(idle_for_long)
{
    static char answer[2000];
    struct service v;
    start(&v, NULL, http_describe, NULL);
    gev_stream *s = dial(&v);
    for (int i = 0; i < 2; i++) {
        expect_true(say(s, GET("/")));
        hear(s, " 0:", answer, sizeof(answer));
        expect_int_eq(http_status_of(answer), 200);
        expect_ok(gev_sleep(i == 0 ? 1.2 : 0));
    }
    expect_ok(gev_stream_close(s));
    stop(&v);
}

/* Relays what a client sends, up to so many bytes; then it vanishes. */
struct relay {
    int from;
    int to;
    size_t left;
};

static void *relay(void *arg)
{
    struct relay *r = arg;
    char buf[4096];
    ssize_t n = 1;
    while (n > 0 && r->left > 0) {
        size_t most = r->left < sizeof(buf) ? r->left : sizeof(buf);
        n = gev_recv(r->from, buf, most, 0);
        if (n > 0 && gev_send_all(r->to, buf, (size_t)n) == n) {
            r->left -= (size_t)n;
        }
    }
    return NULL;
}

/* Early ends at every stage: in the handshake, in the record of a head, of a
 * body; by FIN, and by a reset. Nothing is left of them, and nobody else
 * notices. */
GEV_TEST(clients_that_vanish)
{
    static const char request[] = "POST / HTTP/1.1\r\nHost: a\r\n"
                                  "Content-Length: 3000\r\n\r\n";
    static char body[3000];
    struct service v;
    start(&v, NULL, http_describe, NULL);
    gev_stream *good = dial(&v);
    for (size_t cut = 1; cut < 3300 && !test_failed();
         cut += cut < 100 ? 33 : 147) {
        int pair[2];
        test_note("after %zu bytes", cut);
        expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
        int fd = gev_tcp_connect("localhost", v.port, test_scale(5));
        struct relay up = {pair[1], fd, cut};
        struct relay down = {fd, pair[1], SIZE};
        gev_greenlet *g[2] = {gev_spawn(relay, &up), gev_spawn(relay, &down)};
        gev_timeout limit = {.priv = {0}};
        expect_ok(gev_timeout_begin(&limit, test_scale(cut < 700 ? 0.05 : 5)));
        gev_stream *s =
            gev_tls_wrap(v.client, gev_stream_open(pair[0]), "localhost");
        (void)gev_timeout_end(&limit);
        if (s == NULL) { /* the handshake did not get so far */
            expect_ok(gev_kill(g[0], GEV_FOREVER));
        } else {
            expect_ok(gev_stream_write(s, request, sizeof(request) - 1));
            expect_ok(gev_stream_write(s, body, sizeof(body)));
            expect_ok(gev_stream_flush(s));
            expect_ok(gev_join(g[0], test_scale(5)));
        }
        const struct linger reset = {.l_onoff = 1};
        if (cut % 2 == 0) {
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        }
        expect_ok(gev_kill(g[1], GEV_FOREVER));
        expect_ok(gev_close(fd));
        expect_ok(gev_close(pair[1]));
        (void)gev_stream_abort(s);
        gev_unrefall(g, 2);
    }
    test_note(NULL);
    char answer[1000];
    expect_true(say(good, GET("/")));
    hear(good, " 0:", answer, sizeof(answer));
    expect_int_eq(http_status_of(answer), 200);
    expect_ok(gev_stream_close(good));
    wait_until_none(&v);
    stop(&v);
}

/* Plain HTTP gets no answer in plain, and reaches no handler. */
GEV_TEST(plain_http)
{
    static char answer[1000];
    struct service v;
    unsigned calls = 0;
    start(&v, NULL, http_describe, &calls);
    http_talk(v.server, GET("/"), sizeof(GET("/")) - 1, answer, sizeof(answer));
    expect_int_eq(http_status_of(answer), 0);
    expect_uint_eq(http_count(answer, "HTTP"), 0);
    expect_uint_eq(calls, 0);
    expect_uint_eq(v.log.n, 0);
    stop(&v);
}

static int pour(gev_http *h, void *arg)
{
    static char much[100000];
    while (gev_http_write(h, much, sizeof(much)) == 0) {
    }
    *(int *)arg = errno;
    return -1;
}

/* WSG14: a client that takes nothing of its TLS records. */
GEV_TEST(clients_that_take_nothing)
{
    struct service v;
    gev_http_opts opts = {.size = sizeof(opts), .write_timeout = 0.2};
    int error = 0;
    start(&v, &opts, pour, &error);
    gev_stream *s = dial(&v);
    expect_true(say(s, GET("/")));
    wait_until_none(&v);
    expect_int_eq(error, ETIMEDOUT);
    expect_ok(gev_stream_abort(s));
    stop(&v);
}

/* Half an answer, whose end would be that of the connection. */
static int half(gev_http *h, void *arg)
{
    (void)arg;
    expect_ok(gev_http_write(h, "half", 4));
    expect_ok(gev_http_flush(h));
    expect_ok(gev_sleep(0.02));
    if (strcmp(gev_http_path(h), "/exit") == 0) {
        gev_exit(NULL);
    }
    return -1;
}

/* Until there is a piece that has to wait. */
static int much_in_pieces(gev_http *h, void *arg)
{
    static char piece[1000];
    size_t *total = arg;
    double began;
    do {
        began = test_now();
        if (gev_http_write(h, piece, sizeof(piece)) < 0) {
            return -1;
        }
        *total += sizeof(piece);
    } while (test_now() - began < 0.02);
    return 0;
}

/* ... and a whole one must, also to a client that was slow to take it. */
GEV_TEST(whole_answers_to_slow_clients)
{
    struct service v;
    char *answer = NULL;
    size_t written = 0;
    start(&v, NULL, much_in_pieces, &written);
    gev_stream *s = dial(&v);
    expect_true(say(s, "GET / HTTP/1.0\r\n\r\n"));
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_sleep(0.05));
        expect_ge(gev_stream_peek(s, NULL, 100), 100);
    }
    ssize_t n = gev_stream_read_all(s, &answer, SIZE_MAX);
    expect_ge(n, written + 1);
    free(n < 0 ? NULL : answer);
    expect_ok(gev_stream_close(s));
    wait_until_none(&v);
    stop(&v);
}

/* It must not look like a whole one. */
GEV_TEST(answers_that_are_cut)
{
    static const char *const requests[] = {"GET / HTTP/1.0\r\n\r\n",
                                           "GET /exit HTTP/1.0\r\n\r\n"};
    struct service v;
    start(&v, NULL, half, NULL);
    for (int i = 0; i < 2; i++) {
        char *answer = NULL;
        gev_stream *s = dial(&v);
        expect_true(say(s, requests[i]));
        ssize_t n = gev_stream_read_all(s, &answer, 1000);
        test_note("%d: %zd", i, n);
        expect_fail(n, ECONNRESET);
        if (n >= 0) {
            free(answer);
        }
        expect_ok(gev_stream_close(s));
    }
    test_note(NULL);
    wait_until_none(&v);
    stop(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(long_bodies),
        cmocka_unit_test(files),
        cmocka_unit_test(events),
        cmocka_unit_test(hijack),
        cmocka_unit_test(graceful_stop),
        cmocka_unit_test(idle_for_long),
        cmocka_unit_test(clients_that_vanish),
        cmocka_unit_test(plain_http),
        cmocka_unit_test(clients_that_take_nothing),
        cmocka_unit_test(whole_answers_to_slow_clients),
        cmocka_unit_test(answers_that_are_cut),
    };
    (void)certs_path(""); /* made outside of the tests */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
