/* SPDX-License-Identifier: MIT */

/* Every length and time has a limit; stops, kills and clients that go away or
 * never end (WSG1, WSG14). */
#include "http/http_test.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

/* --- lengths -------------------------------------------------------------- */

struct shape {
    size_t target; /* bytes */
    unsigned headers;
    size_t value; /* bytes of each */
    bool ends;
    int status;
};

/* A request of that shape: its length. */
static size_t make_request(const struct shape *shape, char *to)
{
    char *p = stpcpy(to, "GET /");
    memset(p, 'a', shape->target - 1);
    p = stpcpy(p + shape->target - 1, " HTTP/1.1\r\nHost: a\r\n");
    for (unsigned i = 0; i < shape->headers; i++) {
        p = stpcpy(p, "X: ");
        memset(p, 'b', shape->value);
        p = stpcpy(p + shape->value, "\r\n");
    }
    return (size_t)(stpcpy(p, shape->ends ? "\r\n" : "") - to);
}

/* WSG1, WSG14: 414, 431; a byte less is fine. */
GEV_TEST(heads_that_are_too_long)
{
    static const struct shape shapes[] = {
        {100 - 13, 0, 0, true, 200}, {101 - 13, 0, 0, true, 414},
        {100000, 0, 0, false, 414},  {1, 9, 1, true, 200},
        {1, 10, 1, true, 431},       {1, 1, 486, true, 200},
        {1, 1, 487, true, 431},      {1, 1, 100000, false, 431},
        {1, 10000, 10, false, 431},
    };
    static char request[200000];
    static char answer[2000];
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    unsigned calls = 0;
    opts.max_line = 100;
    opts.max_headers = 10;
    opts.max_header = 500;
    gev_server *s = http_serve(&opts, http_describe, &calls);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        memset(&log, 0, sizeof(log));
        calls = 0;
        test_note("shape %zu", i);
        http_talk(s, request, make_request(&shapes[i], request), answer,
                  sizeof(answer));
        expect_int_eq(http_status_of(answer), shapes[i].status);
        expect_uint_eq(calls, shapes[i].status == 200);
        expect_uint_eq(log.n, 1);
        expect_true((log.why[0] == '\0') == (shapes[i].status == 200));
    }
    gev_server_free(s);
}

/* The defaults: 8192, 65536, 100. */
GEV_TEST(default_limits)
{
    static const struct shape shapes[] = {
        {8192 - 13, 0, 0, true, 200}, {8193 - 13, 0, 0, true, 414},
        {1, 99, 600, true, 200},      {1, 100, 1, true, 431},
        {1, 50, 1400, true, 431},
    };
    static char request[200000];
    static char answer[20000];
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    gev_server *s = http_serve(&opts, http_describe, NULL);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        test_note("shape %zu", i);
        http_talk(s, request, make_request(&shapes[i], request), answer,
                  sizeof(answer));
        expect_int_eq(http_status_of(answer), shapes[i].status);
    }
    gev_server_free(s);
}

/* WSG14: 413, before the handler or from what it sees. */
GEV_TEST(bodies_that_are_too_long)
{
    static char answer[2000];
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    unsigned calls = 0;
    opts.max_body = 5;
    gev_server *s = http_serve(&opts, http_describe, &calls);
    TALK(s, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde",
         answer);
    expect_int_eq(http_status_of(answer), 200);
    TALK(s, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef",
         answer);
    expect_int_eq(http_status_of(answer), 413);
    expect_uint_eq(calls, 1);
    TALK(s,
         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
         answer);
    expect_int_eq(http_status_of(answer), 200);
    TALK(s,
         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
         answer);
    expect_int_eq(http_status_of(answer), 413);
    expect_str_eq(log.why, "the body is too long");
    gev_server_free(s);
}

/* Chunk extensions and trailers have no end of their own. */
GEV_TEST(framing_that_is_too_long)
{
    static char request[40000];
    static char answer[2000];
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    opts.max_header = 1000;
    opts.max_headers = 10;
    gev_server *s = http_serve(&opts, http_describe, NULL);
    const char *head =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (int i = 0; i < 4; i++) {
        char *p = stpcpy(request, head);
        p = stpcpy(p, i == 0 ? "1;" : "0\r\n");
        if (i == 0) {
            memset(p, 'a', 10000);
            p += 10000;
        } else if (i == 1) {
            p = stpcpy(p, "X: ");
            memset(p, 'a', 1000);
            p += 1000;
        } else {
            for (int line = 0; line < (i == 2 ? 11 : 10); line++) {
                p = stpcpy(p, "X: a\r\n");
            }
            p = stpcpy(p, "\r\n");
        }
        http_talk(s, request, (size_t)(p - request), answer, sizeof(answer));
        static const int statuses[] = {400, 431, 431, 200};
        expect_int_eq(http_status_of(answer), statuses[i]);
    }
    gev_server_free(s);
}

/* Nor may it be all framing: kilobytes for each byte of data. */
GEV_TEST(more_framing_than_body)
{
    static char request[200000];
    static char answer[5000];
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    gev_server *s = http_serve(&opts, http_describe, NULL);
    for (int i = 0; i < 2; i++) {
        char *p = stpcpy(request, "POST / HTTP/1.1\r\nHost: a\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n");
        for (int chunk = 0; chunk < 1000; chunk++) {
            p = stpcpy(p, i == 0 ? "1;x=12345678901\r\n" : "1;x=");
            if (i == 1) {
                memset(p, 'x', 100);
                p = stpcpy(p + 100, "\r\n");
            }
            p = stpcpy(p, "a\r\n");
        }
        p = stpcpy(p, "0\r\n\r\n");
        http_talk(s, request, (size_t)(p - request), answer, sizeof(answer));
        expect_int_eq(http_status_of(answer), i == 0 ? 200 : 400);
    }
    gev_server_free(s);
}

/* --- times ---------------------------------------------------------------- */

static gev_http_opts short_times(struct http_log *log)
{
    gev_http_opts o = http_opts(log);
    o.header_timeout = 0.15;
    o.body_timeout = 0.15;
    o.idle_timeout = 0.15;
    o.write_timeout = 0.15;
    return o;
}

/* Sends a piece every 10 ms until the server has had enough. */
static void drip(int fd, const char *piece, size_t n)
{
    for (int i = 0; i < 500 && http_send(fd, piece, n); i++) {
        gev_sleep(0.01);
    }
}

static void *drip_headers(void *arg)
{
    drip(*(int *)arg, "X: a\r\n", 6);
    return NULL;
}

static void *drip_blanks(void *arg)
{
    drip(*(int *)arg, "\t", 1);
    return NULL;
}

/* Sends the start, then drips; the status of the answer. */
static int status_of_slow(const gev_server *s, const char *start, gev_fn fn)
{
    char answer[1000];
    int fd = http_dial(s);
    expect_true(http_send(fd, start, strlen(start)));
    gev_greenlet *g = fn == NULL ? NULL : gev_spawn(fn, &fd);
    http_recv(fd, answer, sizeof(answer));
    if (g != NULL) {
        expect_ok(gev_kill(g, GEV_FOREVER));
        gev_unref(g);
    }
    expect_ok(gev_close(fd));
    return http_status_of(answer);
}

/* WSG14: 408; the whole head has one time, however it trickles. */
GEV_TEST(slow_heads)
{
    struct http_log log;
    gev_http_opts opts = short_times(&log);
    unsigned calls = 0;
    opts.max_headers = 100000;
    gev_server *s = http_serve(&opts, http_describe, &calls);
    double begin = test_now();
    expect_int_eq(status_of_slow(s, "G", NULL), 408);
    expect_ge(test_now() - begin, 0.15);
    expect_int_eq(status_of_slow(s, "GET / HTTP/1.1\r\nHost: a\r\n", NULL),
                  408);
    expect_int_eq(
        status_of_slow(s, "GET / HTTP/1.1\r\nHost: a\r\n", drip_headers), 408);
    expect_int_eq(
        status_of_slow(s, "GET / HTTP/1.1\r\nHost: a\r\nX:", drip_blanks), 408);
    expect_str_eq(log.why, "the head did not come in time");
    expect_uint_eq(log.n, 4);
    expect_uint_eq(calls, 0);
    expect_le(test_now() - begin, test_scale(10));
    gev_server_free(s);
}

/* WSG14: a body that stops; trailers that never end. */
GEV_TEST(slow_bodies)
{
    struct http_log log;
    gev_http_opts opts = short_times(&log);
    opts.max_headers = 100000;
    gev_server *s = http_serve(&opts, http_describe, NULL);
    expect_int_eq(status_of_slow(s,
                                 "POST / HTTP/1.1\r\nHost: a\r\n"
                                 "Content-Length: 5\r\n\r\nabc",
                                 NULL),
                  408);
    expect_str_eq(log.why, "the body did not come in time");
    expect_int_eq(status_of_slow(s,
                                 "POST / HTTP/1.1\r\nHost: a\r\n"
                                 "Transfer-Encoding: chunked\r\n\r\n3;",
                                 drip_blanks),
                  408);
    expect_int_eq(status_of_slow(s,
                                 "POST / HTTP/1.1\r\nHost: a\r\n"
                                 "Transfer-Encoding: chunked\r\n\r\n0\r\n",
                                 drip_headers),
                  408);
    gev_server_free(s);
}

/* WSG14: closed without a word. */
GEV_TEST(idle_connections_are_closed)
{
    struct http_log log;
    char answer[1000];
    gev_http_opts opts = short_times(&log);
    gev_server *s = http_serve(&opts, http_describe, NULL);
    int fd = http_dial(s);
    expect_uint_eq(http_recv(fd, answer, sizeof(answer)), 0);
    expect_ok(gev_close(fd));
    expect_uint_eq(log.n, 0);
    fd = http_dial(s);
    expect_true(http_send(fd, GET("/"), sizeof(GET("/")) - 1));
    http_recv(fd, answer, sizeof(answer));
    expect_uint_eq(http_count(answer, "HTTP/1.1"), 1);
    expect_ok(gev_close(fd));
    gev_server_free(s);
}

/* Memory is given back after a second; the connection does not notice. */
GEV_TEST(idle_for_long)
{
    struct http_log log;
    char answer[1000];
    gev_http_opts opts = http_opts(&log);
    gev_server *s = http_serve(&opts, http_describe, NULL);
    int fd = http_dial(s);
    for (int i = 0; i < 2; i++) {
        expect_true(http_send(fd, GET("/"), sizeof(GET("/")) - 1));
        http_recv_until(fd, " 0:", answer, sizeof(answer));
        expect_uint_eq(http_count(answer, "HTTP/1.1"), 1);
        expect_ok(gev_sleep(1.2));
    }
    expect_ok(gev_server_stop(s, test_scale(5))); /* idle all the same */
    expect_uint_eq(http_recv(fd, answer, sizeof(answer)), 0);
    expect_ok(gev_close(fd));
    gev_server_free(s);
}

static int pour(gev_http *h, void *arg)
{
    static char much[100000];
    int *error = arg;
    while (gev_http_write(h, much, sizeof(much)) == 0) {
    }
    *error = errno;
    expect_fail(gev_http_write(h, much, 1), *error); /* and so it stays */
    return -1;
}

/* Of an endless response a client takes nothing, or goes away. */
GEV_TEST(clients_that_take_nothing)
{
    struct http_log log;
    gev_http_opts opts = short_times(&log);
    int error = 0;
    gev_server *s = http_serve(&opts, pour, &error);
    int fd = http_dial(s);
    expect_true(http_send(fd, GET("/"), sizeof(GET("/")) - 1));
    for (int i = 0; i < 1000 && error == 0; i++) {
        expect_ok(gev_sleep(0.01));
    }
    expect_int_eq(error, ETIMEDOUT);
    double begin = test_now();
    while (gev_server_count(s) > 0 && test_now() - begin < test_scale(10)) {
        expect_ok(gev_sleep(0.01));
    }
    expect_uint_eq(gev_server_count(s), 0);
    expect_uint_eq(log.n, 1);
    expect_ok(gev_close(fd));
    error = 0;
    fd = http_dial(s);
    expect_true(http_send(fd, GET("/"), sizeof(GET("/")) - 1));
    char some[100];
    expect_ge(gev_recv(fd, some, sizeof(some), 0), 1);
    expect_ok(gev_close(fd));
    for (int i = 0; i < 1000 && error == 0; i++) {
        expect_ok(gev_sleep(0.01));
    }
    expect_true(error == EPIPE || error == ECONNRESET);
    expect_ok(gev_server_stop(s, test_scale(5)));
    gev_server_free(s);
}

/* A client whose system holds little back for it. */
static int dial_narrow(const gev_server *s)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)gev_server_port(s)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int few = 4096;
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);
    expect_ok(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &few, sizeof(few)));
    expect_ok(gev_connect(fd, (struct sockaddr *)&to, sizeof(to)));
    return fd;
}

struct file {
    int fd;
    int error;
};

static int pour_file(gev_http *h, void *arg)
{
    struct file *f = arg;
    while (gev_http_sendfile(h, f->fd, 0, 1000000) == 0) {
    }
    f->error = errno;
    return -1;
}

/* Takes a few bytes now and then: far less than makes a socket writable again
 * in that time. Then it takes none. */
static void take_slowly(const gev_server *s, const int *error)
{
    char some[500];
    int fd = dial_narrow(s);
    expect_true(http_send(fd, GET("/"), sizeof(GET("/")) - 1));
    double begin = test_now();
    while (test_now() - begin < 0.9 && *error == 0) {
        (void)gev_recv(fd, some, sizeof(some), 0);
        expect_ok(gev_sleep(0.01));
    }
    expect_int_eq(*error, 0);
    begin = test_now();
    while (*error == 0 && test_now() - begin < test_scale(10)) {
        expect_ok(gev_sleep(0.01));
    }
    expect_ge(test_now() - begin, 0.25); /* it took something just before */
    expect_int_eq(*error, ETIMEDOUT);
    expect_ok(gev_close(fd));
}

/* write_timeout is that of a client that takes nothing at all. */
GEV_TEST(clients_that_take_little)
{
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    char path[] = "/tmp/gev-http-XXXXXX";
    struct file f = {.fd = mkstemp(path)};
    int error = 0;
    opts.write_timeout = 0.4;
    expect_ok(ftruncate(f.fd, 1000000));
    gev_server *s = http_serve(&opts, pour, &error);
    take_slowly(s, &error);
    gev_server_free(s);
    s = http_serve(&opts, pour_file, &f);
    take_slowly(s, &f.error);
    gev_server_free(s);
    expect_ok(unlink(path));
    expect_ok(gev_close(f.fd));
}

/* A handler's own scope is not taken for the client's time, and not lost. */
static int pour_in_scope(gev_http *h, void *arg)
{
    static char much[100000];
    gev_timeout limit = {.priv = {0}};
    int *error = arg;
    expect_ok(gev_timeout_begin_error(&limit, 0.05, EOVERFLOW));
    while (gev_http_write(h, much, sizeof(much)) == 0) {
    }
    *error = errno;
    expect_true(gev_timeout_end(&limit));
    expect_ok(gev_timeout_begin(&limit, 0.05));
    expect_fail(gev_sleep(5), ETIMEDOUT);
    expect_true(gev_timeout_end(&limit));
    return -1;
}

GEV_TEST(scopes_of_handlers)
{
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    int error = 0;
    gev_server *s = http_serve(&opts, pour_in_scope, &error);
    int fd = http_dial(s);
    expect_true(http_send(fd, GET("/"), sizeof(GET("/")) - 1));
    for (int i = 0; i < 1000 && log.n == 0; i++) {
        expect_ok(gev_sleep(0.01));
    }
    expect_int_eq(error, EOVERFLOW);
    expect_uint_eq(log.n, 1);
    expect_ok(gev_close(fd));
    gev_server_free(s);
}

/* --- the end -------------------------------------------------------------- */

static int slow_answer(gev_http *h, void *arg)
{
    int *outcome = arg;
    *outcome = 1;
    if (gev_sleep(strcmp(gev_http_path(h), "/long") == 0 ? 1000 : 0.1) < 0) {
        *outcome = -errno;
        return -1;
    }
    return gev_http_reply(h, 200, NULL, "done", 4);
}

/* A stop ends idle connections at once, lets a request end, and says so. */
GEV_TEST(graceful_stop)
{
    struct http_log log;
    char answer[1000];
    gev_http_opts opts = http_opts(&log);
    int outcome = 0;
    gev_server *s = http_serve(&opts, slow_answer, &outcome);
    int idle = http_dial(s);
    int busy = http_dial(s);
    expect_true(http_send(busy, GET("/") GET("/more"),
                          sizeof(GET("/") GET("/more")) - 1));
    while (outcome == 0) {
        expect_ok(gev_sleep(0.001));
    }
    expect_ok(gev_server_stop(s, test_scale(10)));
    http_recv(busy, answer, sizeof(answer));
    expect_uint_eq(http_count(answer, "HTTP/1.1 200 OK"), 1);
    expect_uint_eq(http_count(answer, "Connection: close\r\n"), 1);
    expect_str_eq(http_body_of(answer), "done");
    expect_uint_eq(http_recv(idle, answer, sizeof(answer)), 0);
    expect_ok(gev_close(idle));
    expect_ok(gev_close(busy));
    gev_server_free(s);
}

/* ... and kills what does not end. */
GEV_TEST(killed_handlers)
{
    struct http_log log;
    char answer[1000];
    gev_http_opts opts = http_opts(&log);
    int outcome = 0;
    gev_server *s = http_serve(&opts, slow_answer, &outcome);
    int fd = http_dial(s);
    expect_true(http_send(fd, GET("/long"), sizeof(GET("/long")) - 1));
    while (outcome == 0) {
        expect_ok(gev_sleep(0.001));
    }
    expect_fail(gev_server_stop(s, 0.01), ETIMEDOUT);
    expect_int_eq(outcome, -ECANCELED);
    expect_uint_eq(log.n, 1);
    http_recv(fd, answer, sizeof(answer));
    expect_true(answer[0] == '\0' || http_status_of(answer) == 500);
    expect_ok(gev_close(fd));
    gev_server_free(s);
}

/* Freed with everything going on. */
GEV_TEST(freed_while_busy)
{
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    int outcome = 0;
    gev_server *s = http_serve(&opts, slow_answer, &outcome);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        static const char *const bytes[] = {GET("/long"), "GET /", ""};
        fds[i] = http_dial(s);
        expect_true(http_send(fds[i], bytes[i], strlen(bytes[i])));
    }
    while (outcome == 0) {
        expect_ok(gev_sleep(0.001));
    }
    gev_server_free(s);
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_close(fds[i]));
    }
}

/* One who does not care that it was killed, and says nothing, has not said
 * "200 OK"; one who has spoken, has. */
static int careless(gev_http *h, void *arg)
{
    if (strcmp(gev_http_path(h), "/set") == 0) {
        expect_ok(gev_http_set_status(h, 204, NULL));
    }
    *(int *)arg = 1;
    expect_fail(gev_sleep(1000), ECANCELED);
    return 0;
}

GEV_TEST(killed_handlers_that_do_not_care)
{
    static const char *const requests[] = {GET("/"), GET("/set")};
    for (int i = 0; i < 2; i++) {
        struct http_log log;
        char answer[1000];
        gev_http_opts opts = http_opts(&log);
        int began = 0;
        gev_server *s = http_serve(&opts, careless, &began);
        int fd = http_dial(s);
        expect_true(http_send(fd, requests[i], strlen(requests[i])));
        while (began == 0) {
            expect_ok(gev_sleep(0.001));
        }
        expect_fail(gev_server_stop(s, 0.01), ETIMEDOUT);
        http_recv(fd, answer, sizeof(answer));
        expect_uint_eq(log.n, 1);
        expect_int_eq(log.status, i == 0 ? 500 : 204);
        expect_true(answer[0] == '\0' || http_status_of(answer) == log.status);
        expect_ok(gev_close(fd));
        gev_server_free(s);
    }
}

/* --- a read that is given up, and again ----------------------------------- */

/* Reads the body in a time that is too short for it, until it is there. */
static int read_impatiently(gev_http *h, void *arg)
{
    char buf[100];
    size_t total = 0;
    ssize_t n = 1;
    int *timeouts = arg;
    while (n != 0) {
        gev_timeout limit = {.priv = {0}};
        expect_ok(gev_timeout_begin(&limit, 0.03));
        n = gev_http_read(h, buf, sizeof(buf));
        int error = errno;
        (void)gev_timeout_end(&limit);
        if (n < 0 && error != ETIMEDOUT) {
            return -1;
        }
        *timeouts += n < 0;
        total += n > 0 ? (size_t)n : 0;
    }
    return gev_http_printf(h, "%zu", total);
}

/* Wherever in the framing that is, nothing is lost. */
GEV_TEST(reads_go_on_where_they_were)
{
    static const char *const parts[] = {
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1",
        "\r\n",
        "a\r",
        "\n2\r\nbc\r\n0",
        "\r\n",
        "a: b\r\n",
        "abc: ",
        "d\r\n",
        "\r",
        "\n"};
    struct http_log log;
    char answer[1000];
    gev_http_opts opts = http_opts(&log);
    int timeouts = 0;
    gev_server *s = http_serve(&opts, read_impatiently, &timeouts);
    int fd = http_dial(s);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        expect_true(http_send(fd, parts[i], strlen(parts[i])));
        expect_ok(gev_sleep(0.05));
    }
    expect_true(http_send(fd, GET("/"), sizeof(GET("/")) - 1)); /* kept */
    http_recv_until(fd, "\r\n\r\n0", answer, sizeof(answer));
    expect_int_eq(http_status_of(answer), 200);
    expect_uint_eq(http_count(answer, "\r\n\r\n3HTTP/1.1 200 OK"), 1);
    expect_ge(timeouts, 5);
    expect_ok(gev_close(fd));
    gev_server_free(s);
}

/* --- the server's options ------------------------------------------------- */

/* The times of reads and writes are gev-http's; of those between requests, the
 * shorter holds. */
GEV_TEST(times_of_the_server)
{
    for (int i = 0; i < 2; i++) {
        char answer[1000];
        struct http_log log;
        gev_http_opts opts = http_opts(&log);
        gev_server_opts o = {.size = sizeof(o),
                             .host = "127.0.0.1",
                             .read_timeout = 0.02,
                             .write_timeout = 0.02,
                             .idle_timeout = i == 0 ? 0.2 : 0};
        opts.idle_timeout = i == 0 ? 0 : 0.2;
        gev_server *s = gev_http_server_new(&o, &opts, http_describe, NULL);
        expect_ok(gev_server_start(s));
        int fd = http_dial(s);
        expect_ok(gev_sleep(0.06)); /* idle for longer than a read takes */
        expect_true(http_send(fd, "GET / HT", 8));
        expect_ok(gev_sleep(0.06)); /* ... and in the head */
        static const char rest[] =
            "TP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n";
        expect_true(http_send(fd, rest, sizeof(rest) - 1));
        expect_ok(gev_sleep(0.06)); /* ... and in the body */
        expect_true(http_send(fd, "x", 1));
        double begin = test_now();
        http_recv(fd, answer, sizeof(answer));
        expect_str_eq(http_body_of(answer), "GET /  11 1:x");
        expect_ge(test_now() - begin, 0.19);
        expect_le(test_now() - begin, test_scale(10)); /* not 60 s */
        expect_ok(gev_close(fd));
        gev_server_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_that_are_too_long),
        cmocka_unit_test(default_limits),
        cmocka_unit_test(bodies_that_are_too_long),
        cmocka_unit_test(framing_that_is_too_long),
        cmocka_unit_test(more_framing_than_body),
        cmocka_unit_test(slow_heads),
        cmocka_unit_test(slow_bodies),
        cmocka_unit_test(idle_connections_are_closed),
        cmocka_unit_test(idle_for_long),
        cmocka_unit_test(clients_that_take_nothing),
        cmocka_unit_test(clients_that_take_little),
        cmocka_unit_test(scopes_of_handlers),
        cmocka_unit_test(graceful_stop),
        cmocka_unit_test(killed_handlers),
        cmocka_unit_test(freed_while_busy),
        cmocka_unit_test(killed_handlers_that_do_not_care),
        cmocka_unit_test(reads_go_on_where_they_were),
        cmocka_unit_test(times_of_the_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
