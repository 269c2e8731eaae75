/* SPDX-License-Identifier: MIT */

/* Requests, responses, connections: gev/http.h (WSG2, WSG5-WSG12). */
#include "http/http_test.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define SIZE_OF_CANNED 110000
#define GET10(path) "GET " path " HTTP/1.0\r\n\r\n"

static gev_server *serve(struct http_log *log, gev_http_fn fn, void *arg)
{
    gev_http_opts opts = http_opts(log);
    return http_serve(&opts, fn, arg);
}

GEV_TEST(arguments)
{
    const gev_server_opts local = {.size = sizeof(local)};
    gev_http_opts opts = {.size = sizeof(opts)};
    expect_null(gev_http_server_new(&local, &opts, NULL, NULL));
    expect_int_eq(errno, EINVAL);
    opts.body_timeout = -1;
    expect_null(gev_http_server_new(&local, &opts, http_describe, NULL));
    expect_int_eq(errno, EINVAL);
    opts.body_timeout = NAN;
    expect_null(gev_http_server_new(&local, &opts, http_describe, NULL));
    expect_int_eq(errno, EINVAL);
    opts.size = 0; /* the same */
    expect_null(gev_http_server_new(&local, &opts, http_describe, NULL));
    expect_int_eq(errno, EINVAL);
    opts = (gev_http_opts){.max_line = 100};
    gev_server_opts whole = {.host = "127.0.0.1"};
    gev_server *t = gev_http_server_new(&whole, &opts, http_describe, NULL);
    expect_not_null(t);
    gev_server_free(t);
    gev_server_opts both = {
        .size = sizeof(both), .host = "127.0.0.1", .unix_path = "x"};
    expect_null(gev_http_server_new(&both, NULL, http_describe, NULL));
    expect_int_eq(errno, EINVAL);
    expect_fail(gev_http_serve_stream(NULL, NULL, http_describe, NULL), EINVAL);
    gev_server *s = gev_http_server_new(NULL, NULL, http_describe, NULL);
    expect_not_null(s); /* never started */
    gev_server_free(s);
}

static int look(gev_http *h, void *arg)
{
    const char *name = NULL;
    const char *value = NULL;
    size_t i = 0;
    (void)arg;
    expect_str_eq(gev_http_header(h, "x-one"), "1");
    expect_str_eq(gev_http_header(h, "X-LIST"), "a,b,c");
    expect_str_eq(gev_http_header(h, "X-LIST"), "a,b,c"); /* once more */
    expect_str_eq(gev_http_header(h, "Cookie"), "a=1; b=2");
    expect_str_eq(gev_http_header(h, "X-Folded"), "a     b");
    expect_str_eq(gev_http_header(h, "X-Empty"), "");
    expect_null(gev_http_header(h, "X_Under"));
    expect_null(gev_http_header(h, "X-Under"));
    expect_null(gev_http_header(h, "X-Absent"));
    expect_null(gev_http_header(h, NULL));
    expect_true(gev_http_header_next(h, &i, &name, &value));
    expect_str_eq(name, "Host");
    unsigned lines = 1;
    while (gev_http_header_next(h, &i, &name, NULL)) {
        lines++;
    }
    expect_uint_eq(lines, 9);
    expect_str_eq(gev_http_target(h), "/p%41?q=%41");
    expect_str_eq(gev_http_path(h), "/pA");
    expect_str_eq(gev_http_query(h), "q=%41");
    expect_int_eq(gev_http_peer(h)->sa_family, AF_INET);
    expect_ge(gev_http_seconds(h), 0);
    return gev_http_reply(h, 200, NULL, NULL, 0);
}

/* WSG7 */
GEV_TEST(headers_of_a_request)
{
    static char answer[1000];
    struct http_log log;
    gev_server *s = serve(&log, look, NULL);
    TALK(s,
         "GET /p%41?q=%41 HTTP/1.1\r\nHost: a\r\nX-List: a\r\nx-one: 1\r\n"
         "X-LIST:b\r\nCookie: a=1\r\nX_Under: no\r\nX-List: c \r\n"
         "Cookie: b=2\r\nX-Folded: a\r\n   b\r\nX-Empty:\r\n\r\n",
         answer);
    expect_int_eq(http_status_of(answer), 200);
    expect_uint_eq(log.n, 1);
    gev_server_free(s);
}

/* Responses by their path. */
static int respond(gev_http *h, void *arg)
{
    const char *path = gev_http_path(h);
    static char big[50000];
    (void)arg;
    memset(big, 'x', sizeof(big));
    if (strcmp(path, "/nothing") == 0) {
        return 0;
    }
    if (strcmp(path, "/short") == 0) {
        expect_ok(gev_http_write(h, "ab", 2));
        expect_ok(gev_http_write(h, "", 0));
        return gev_http_printf(h, "%s%d", "c", 4);
    }
    if (strcmp(path, "/long") == 0) {
        return gev_http_write(h, big, sizeof(big));
    }
    if (strcmp(path, "/flushed") == 0) {
        expect_ok(gev_http_flush(h)); /* no chunk of nothing */
        expect_ok(gev_http_write(h, "a", 1));
        expect_ok(gev_http_flush(h));
        expect_ok(gev_http_flush(h));
        return gev_http_write(h, "bc", 2);
    }
    if (strcmp(path, "/length") == 0) {
        expect_ok(gev_http_set_header(h, "content-length", "5"));
        expect_ok(gev_http_write(h, "abc", 3));
        expect_ok(gev_http_flush(h));
        expect_fail(gev_http_write(h, "def", 3), EMSGSIZE);
        return gev_http_write(h, "de", 2);
    }
    if (strcmp(path, "/reply") == 0) {
        expect_ok(gev_http_write(h, "dropped", 7));
        return gev_http_reply(h, 404, "text/x", big, sizeof(big));
    }
    if (strcmp(path, "/204") == 0) {
        expect_ok(gev_http_set_status(h, 204, NULL));
        expect_fail(gev_http_write(h, "a", 1), EINVAL);
        expect_fail(gev_http_reply(h, 304, NULL, "a", 1), EINVAL);
        expect_ok(gev_http_set_status(h, 204, NULL));
        return 0;
    }
    if (strcmp(path, "/304") == 0) {
        return gev_http_reply(h, 304, NULL, NULL, 0);
    }
    expect_ok(gev_http_set_status(h, 299, "My words"));
    expect_ok(gev_http_set_header(h, "Date", "never"));
    expect_ok(gev_http_set_header(h, "Connection", "close"));
    return 0;
}

struct response {
    const char *request;
    int status;
    const char *has;   /* in the head */
    const char *lacks; /* ... and this is not */
    size_t n;          /* bytes of the body, as sent */
    const char *body;  /* NULL: not looked at */
};

#define CL "Content-Length: "
#define TE "Transfer-Encoding: "

static const struct response responses[] = {
    {GET("/nothing"), 200, CL "0\r\n", TE, 0, ""},
    {GET("/short"), 200, CL "4\r\n", TE, 4, "abc4"},
    {GET10("/short"), 200, CL "4\r\n", TE, 4, "abc4"},
    {"HEAD /short HTTP/1.1\r\nHost: a\r\n\r\n", 200, CL "4\r\n", TE, 0, ""},
    {GET("/long"), 200, TE "chunked\r\n", CL, 50000 + 13, NULL},
    {"HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 200, "Date: ", CL, 0, ""},
    {"HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 200, "Date: ", TE, 0, ""},
    {"HEAD /204 HTTP/1.1\r\nHost: a\r\n\r\n", 204, "Date: ", CL, 0, ""},
    {"HEAD /304 HTTP/1.1\r\nHost: a\r\n\r\n", 304, "Date: ", TE, 0, ""},
    {GET10("/204"), 204, "Connection: close\r\n", CL, 0, ""},
    {GET10("/long"), 200, "Connection: close\r\n", TE, 50000, NULL},
    {GET10("/long"), 200, "Connection: close\r\n", CL, 50000, NULL},
    {"HEAD /long HTTP/1.1\r\nHost: a\r\n\r\n", 200, TE "chunked\r\n", CL, 0,
     ""},
    {GET("/flushed"), 200, TE "chunked\r\n", CL, 18,
     "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"},
    {GET10("/flushed"), 200, "Connection: close\r\n", TE, 3, "abc"},
    {"HEAD /flushed HTTP/1.1\r\nHost: a\r\n\r\n", 200, TE, CL, 0, ""},
    {GET("/length"), 200, CL "5\r\n", TE, 5, "abcde"},
    {"HEAD /length HTTP/1.1\r\nHost: a\r\n\r\n", 200, CL "5\r\n", TE, 0, ""},
    {GET("/reply"), 404, CL "50000\r\n", TE, 50000, NULL},
    {"HEAD /reply HTTP/1.1\r\nHost: a\r\n\r\n", 404, CL "50000\r\n", TE, 0, ""},
    {GET("/204"), 204, "Date: ", CL, 0, ""},
    {GET("/204"), 204, "Date: ", TE, 0, ""},
    {GET("/304"), 304, "Date: ", CL, 0, ""},
    {GET("/words"), 299, "HTTP/1.1 299 My words\r\n", "GMT", 0, ""},
    {GET("/words"), 299, "Date: never\r\nConnection: close\r\n", "keep", 0, ""},
};

/* WSG5, WSG11: how the end of a body is told, what is added, what the log
 * says. */
GEV_TEST(framing)
{
    static char answer[60000];
    struct http_log log;
    gev_server *s = serve(&log, respond, NULL);
    for (size_t i = 0; i < sizeof(responses) / sizeof(responses[0]); i++) {
        const struct response *r = &responses[i];
        test_note("%s", r->request);
        log.n = 0;
        size_t n = http_talk(s, r->request, strlen(r->request), answer,
                             sizeof(answer));
        const char *body = http_body_of(answer);
        expect_int_eq(http_status_of(answer), r->status);
        expect_uint_eq(n - (size_t)(body - answer), r->n);
        if (r->body != NULL) {
            expect_str_eq(body, r->body);
        }
        answer[body - answer] = '\0';
        expect_uint_eq(http_count(answer, r->has), 1);
        expect_uint_eq(http_count(answer, r->lacks), 0);
        expect_uint_eq(http_count(answer, "Date: "), 1);
        expect_uint_eq(log.n, 1);
        expect_int_eq(log.status, r->status);
        expect_str_eq(log.why, "");
        bool head = r->request[0] == 'H';
        expect_true(head ? log.sent == 0 : log.sent <= r->n);
    }
    gev_server_free(s);
}

static int grant(gev_http *h, void *arg)
{
    ++*(unsigned *)arg;
    expect_ok(gev_http_set_header(h, "X", "a"));
    expect_ok(gev_http_set_header(h, "Content-Length", "2"));
    return gev_http_write(h, "ab", 2);
}

/* To the client of a CONNECT, what follows a 2xx is the tunnel: no framing, and
 * nothing of it is a request. */
GEV_TEST(a_tunnel_that_is_none)
{
    static char answer[1000];
    struct http_log log;
    unsigned calls = 0;
    gev_server *s = serve(&log, grant, &calls);
    TALK(s, "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" GET("/"), answer);
    expect_int_eq(http_status_of(answer), 200);
    expect_uint_eq(http_count(answer, CL), 0);
    expect_uint_eq(http_count(answer, TE), 0);
    expect_uint_eq(http_count(answer, "Connection: close\r\n"), 1);
    expect_str_eq(http_body_of(answer), "ab");
    expect_uint_eq(calls, 1);
    TALK(s, GET("/"), answer);
    expect_uint_eq(http_count(answer, CL "2\r\n"), 1);
    gev_server_free(s);
}

/* A Date is what RFC 9110 says it is. */
GEV_TEST(date)
{
    static char answer[1000];
    struct http_log log;
    char day[4];
    char month[4];
    int d;
    int y;
    int hour;
    int minute;
    int second;
    gev_server *s = serve(&log, respond, NULL);
    size_t n = TALK(s, GET("/nothing"), answer);
    expect_ge(n, 1);
    const char *date = strstr(answer, "Date: ");
    if (expect_not_null(date)) {
        expect_int_eq(sscanf(date,
                             "Date: %3[A-Za-z], %2d %3[A-Za-z] %4d "
                             "%2d:%2d:%2d GMT\r\n",
                             day, &d, month, &y, &hour, &minute, &second),
                      7);
        expect_ge(y, 2024);
        expect_uint_eq(strcspn(date, "\r"), 6 + 29);
    }
    gev_server_free(s);
}

static int long_text(gev_http *h, void *arg)
{
    (void)arg;
    return gev_http_printf(h, "%0*d", 20000, 7);
}

/* Formatted text of any length. */
GEV_TEST(long_formatted_text)
{
    static char answer[30000];
    struct http_log log;
    gev_server *s = serve(&log, long_text, NULL);
    TALK(s, GET10("/"), answer);
    const char *body = http_body_of(answer);
    expect_uint_eq(strlen(body), 20000);
    expect_uint_eq(strspn(body, "0"), 19999);
    gev_server_free(s);
}

static int inject(gev_http *h, void *arg)
{
    (void)arg;
    expect_fail(gev_http_set_status(h, 200, "a\r\nX: b"), EINVAL);
    expect_fail(gev_http_set_status(h, 200, "a\nb"), EINVAL);
    expect_fail(gev_http_set_status(h, 99, NULL), EINVAL);
    expect_fail(gev_http_set_status(h, 1000, NULL), EINVAL);
    expect_fail(gev_http_set_header(h, "X", "a\r\nY: b"), EINVAL);
    expect_fail(gev_http_set_header(h, "X", "a\n b"), EINVAL);
    expect_fail(gev_http_set_header(h, "X", "a\rb"), EINVAL);
    expect_fail(gev_http_add_header(h, "X\r\nY", "a"), EINVAL);
    expect_fail(gev_http_add_header(h, "X:", "a"), EINVAL);
    expect_fail(gev_http_add_header(h, "X Y", "a"), EINVAL);
    expect_fail(gev_http_add_header(h, "", "a"), EINVAL);
    expect_fail(gev_http_add_header(h, "X", NULL), EINVAL);
    expect_fail(gev_http_add_header(h, NULL, "a"), EINVAL);
    expect_fail(gev_http_set_header(h, "Transfer-Encoding", "gzip"), EINVAL);
    expect_fail(gev_http_set_header(h, "Content-Length", "-1"), EINVAL);
    expect_fail(gev_http_set_header(h, "Content-Length", "1\r\n"), EINVAL);
    expect_fail(gev_http_reply(h, 200, "a\r\nX: b", NULL, 0), EINVAL);
    expect_fail(gev_http_event(h, "a\nb", "c"), EINVAL);
    expect_fail(gev_http_write(h, NULL, 1), EINVAL);
    expect_fail(gev_http_write(NULL, "a", 1), EINVAL);
    expect_ok(gev_http_add_header(h, "Set-Cookie", "a=1"));
    expect_ok(gev_http_add_header(h, "set-cookie", "b=2"));
    expect_ok(gev_http_set_header(h, "X-Gone", "a"));
    expect_ok(gev_http_set_header(h, "x-gone", NULL));
    expect_ok(gev_http_set_header(h, "X-Once", "a"));
    expect_ok(gev_http_set_header(h, "X-ONCE", "b"));
    expect_ok(gev_http_set_header(h, "Content-Length", "9"));
    expect_ok(gev_http_set_header(h, "Content-Length", NULL));
    expect_ok(gev_http_write(h, "ok", 2));
    expect_fail(gev_http_set_header(h, "Content-Length", "1"), EMSGSIZE);
    expect_ok(gev_http_flush(h));
    expect_fail(gev_http_set_status(h, 201, NULL), EALREADY);
    expect_fail(gev_http_set_header(h, "X", "a"), EALREADY);
    expect_fail(gev_http_add_header(h, "X", "a"), EALREADY);
    expect_fail(gev_http_reply(h, 200, NULL, NULL, 0), EALREADY);
    expect_null(gev_http_hijack(h));
    expect_int_eq(errno, EALREADY);
    return 0;
}

/* WSG6: refused, before anything is sent. */
GEV_TEST(header_injection)
{
    static char answer[1000];
    struct http_log log;
    gev_server *s = serve(&log, inject, NULL);
    TALK(s, GET("/"), answer);
    expect_int_eq(http_status_of(answer), 200);
    expect_uint_eq(http_count(answer, "Set-Cookie: a=1\r\nset-cookie: b=2\r\n"),
                   1);
    expect_uint_eq(http_count(answer, "one"), 0);
    expect_uint_eq(http_count(answer, "X-ONCE: b\r\n"), 1);
    expect_uint_eq(http_count(answer, "X-Once"), 0);
    gev_server_free(s);
}

/* WSG2: 1.1 keeps the connection, 1.0 if asked, close closes; pipelined
 * requests are answered in order. */
GEV_TEST(keep_alive_and_pipelining)
{
    static char answer[20000];
    struct http_log log;
    gev_server *s = serve(&log, http_describe, NULL);
    TALK(s, GET("/1") GET("/2") GET("/3"), answer);
    expect_uint_eq(http_count(answer, "HTTP/1.1 200 OK"), 3);
    const char *second = strstr(answer, "GET /2");
    expect_true(second != NULL && second > strstr(answer, "GET /1") &&
                second < strstr(answer, "GET /3"));
    expect_uint_eq(http_count(answer, "Connection:"), 0);
    TALK(s, GET10("/1") GET10("/2"), answer);
    expect_uint_eq(http_count(answer, "HTTP/1.1 200 OK"), 1);
    expect_uint_eq(http_count(answer, "Connection: close\r\n"), 1);
    TALK(s,
         "GET /1 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
         "GET /2 HTTP/1.0\r\nConnection: foo, keep-alive\r\n\r\n",
         answer);
    expect_uint_eq(http_count(answer, "HTTP/1.1 200 OK"), 2);
    expect_uint_eq(http_count(answer, "Connection: keep-alive\r\n"), 2);
    TALK(
        s,
        "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: x , Close\r\n\r\n" GET("/2"),
        answer);
    expect_uint_eq(http_count(answer, "HTTP/1.1 200 OK"), 1);
    expect_uint_eq(http_count(answer, "Connection: close\r\n"), 1);
    gev_server_free(s);
}

GEV_TEST(max_requests)
{
    static char answer[20000];
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    opts.max_requests = 2;
    gev_server *s = http_serve(&opts, http_describe, NULL);
    TALK(s, GET("/1") GET("/2") GET("/3"), answer);
    expect_uint_eq(http_count(answer, "HTTP/1.1 200 OK"), 2);
    expect_uint_eq(http_count(answer, "Connection: close\r\n"), 1);
    gev_server_free(s);
}

static int answer_only(gev_http *h, void *arg)
{
    (void)arg;
    return gev_http_reply(h, 200, NULL, "unread", 6);
}

/* WSG2, WSG8: what is left of a body is passed over, if it is little; no 100
 * is ever sent for that. */
GEV_TEST(unread_bodies)
{
    static char request[30000];
    static char answer[20000];
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    opts.max_discard = 10000;
    gev_server *s = http_serve(&opts, answer_only, NULL);
    static const size_t sizes[] = {0, 1, 9999, 10000, 10001, 20000};
    for (size_t i = 0; i < 6; i++) {
        size_t n = (size_t)snprintf(
            request, sizeof(request),
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n",
            sizes[i]);
        memset(request + n, '\n', sizes[i]);
        n += sizes[i];
        memcpy(request + n, GET("/"), sizeof(GET("/")) - 1);
        http_talk(s, request, n + sizeof(GET("/")) - 1, answer, sizeof(answer));
        expect_uint_eq(http_count(answer, "unread"), sizes[i] <= 10000 ? 2 : 1);
        expect_uint_eq(http_count(answer, "Connection: close\r\n"),
                       sizes[i] <= 10000 ? 0 : 1);
    }
    TALK(s,
         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3\r\nabc\r\n0\r\n\r\n" GET("/"),
         answer);
    expect_uint_eq(http_count(answer, "unread"), 2);
    TALK(s,
         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n"
         "Expect: 100-continue\r\n\r\n" GET("/"),
         answer);
    expect_uint_eq(http_count(answer, "100 Continue"), 0);
    expect_uint_eq(http_count(answer, "unread"), 1);
    expect_uint_eq(http_count(answer, "Connection: close\r\n"), 1);
    gev_server_free(s);
}

/* WSG8: once, at the first read. */
GEV_TEST(expect_continue)
{
    static char answer[20000];
    struct http_log log;
    gev_server *s = serve(&log, http_describe, NULL);
    int fd = http_dial(s);
    static const char head[] =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
        "Expect: 100-Continue\r\n\r\n";
    for (int i = 0; i < 2; i++) {
        expect_true(http_send(fd, head, sizeof(head) - 1));
        http_recv_until(fd, "\r\n\r\n", answer, sizeof(answer));
        expect_str_eq(answer, "HTTP/1.1 100 Continue\r\n\r\n");
        expect_true(http_send(fd, "ab", 2));
        expect_ok(gev_sleep(0.01));
        expect_true(http_send(fd, "cd", 2));
        http_recv_until(fd, ":abcd", answer, sizeof(answer));
        expect_int_eq(http_status_of(answer), 200);
        expect_uint_eq(http_count(answer, "100"), 0);
    }
    expect_ok(gev_close(fd));
    /* HTTP/1.0 has no such thing; nothing to wait for: nothing to say. */
    TALK(s,
         "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
         "a",
         answer);
    expect_int_eq(http_status_of(answer), 200);
    TALK(s, "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
         answer);
    expect_int_eq(http_status_of(answer), 200);
    gev_server_free(s);
}

static int by_lines(gev_http *h, void *arg)
{
    char *line;
    char *rest;
    char piece[3];
    (void)arg;
    expect_int_eq(gev_http_read_line(h, &line, 100), 4);
    expect_str_eq(line, "one\n");
    char *before = line;
    expect_fail(gev_http_read_line(h, &line, 3), EMSGSIZE);
    expect_ptr_eq(line, before);
    expect_int_eq(gev_http_read(h, piece, 3), 3);
    expect_mem_eq(piece, "two", 3);
    expect_int_eq(gev_http_read_line(h, &line, 1), 1);
    expect_str_eq(line, "\n");
    expect_int_eq(gev_http_read_line(h, NULL, 6), 6);
    expect_int_eq(gev_http_read_all(h, &rest, 100), 9);
    expect_str_eq(rest, "four\nlast");
    free(rest);
    expect_int_eq(gev_http_read_line(h, &line, 100), 0);
    expect_int_eq(gev_http_read(h, piece, 3), 0);
    expect_int_eq(gev_http_read_all(h, &rest, 0), 0);
    expect_str_eq(rest, "");
    free(rest);
    return 0;
}

/* WSG10: lines across chunks; never past the body. */
GEV_TEST(lines_of_a_body)
{
    static char answer[20000];
    struct http_log log;
    gev_server *s = serve(&log, by_lines, NULL);
    TALK(s,
         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 23\r\n\r\n"
         "one\ntwo\nthree\nfour\nlast"
         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         "1\r\no\r\n5\r\nne\ntw\r\n11\r\no\nthree\nfour\nlast\r\n0\r\n\r\n",
         answer);
    expect_uint_eq(http_count(answer, "HTTP/1.1 200 OK"), 2);
    expect_uint_eq(log.n, 2);
    gev_server_free(s);
}

static int read_limited(gev_http *h, void *arg)
{
    char *data;
    (void)arg;
    if (gev_http_content_length(h) > 0) {
        expect_fail(gev_http_read_all(h, &data, 5), EMSGSIZE);
    }
    return gev_http_reply(h, 200, NULL, NULL, 0);
}

GEV_TEST(read_all_has_a_limit)
{
    static char answer[2000];
    struct http_log log;
    gev_server *s = serve(&log, read_limited, NULL);
    TALK(s,
         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef" GET(
             "/next"),
         answer);
    expect_uint_eq(http_count(answer, "HTTP/1.1 200 OK"), 2);
    gev_server_free(s);
}

/* Handlers that fail, by their path. */
static int fail_somehow(gev_http *h, void *arg)
{
    const char *path = gev_http_path(h);
    (void)arg;
    if (strcmp(path, "/late") == 0) {
        expect_ok(gev_http_write(h, "abc", 3));
        expect_ok(gev_http_flush(h));
        return -1;
    }
    if (strcmp(path, "/less") == 0) {
        expect_ok(gev_http_set_header(h, "Content-Length", "5"));
        return gev_http_write(h, "abc", 3);
    }
    if (strcmp(path, "/less-late") == 0) {
        expect_ok(gev_http_set_header(h, "Content-Length", "5"));
        expect_ok(gev_http_write(h, "abc", 3));
        return gev_http_flush(h);
    }
    if (strcmp(path, "/exit") == 0) {
        gev_exit(NULL);
    }
    if (strcmp(path, "/late-exit") == 0) {
        expect_ok(gev_http_write(h, "abc", 3));
        expect_ok(gev_http_flush(h));
        gev_exit(NULL);
    }
    expect_ok(gev_http_set_header(h, "X-Secret", "a"));
    expect_ok(gev_http_write(h, "abc", 3));
    return -1;
}

/* WSG9: 500 and the end before the head is out, a cut after it. */
GEV_TEST(handlers_that_fail)
{
    static char answer[2000];
    struct http_log log;
    gev_server *s = serve(&log, fail_somehow, NULL);
    TALK(s, GET("/") GET("/"), answer);
    expect_int_eq(http_status_of(answer), 500);
    expect_uint_eq(http_count(answer, "HTTP/1.1 "), 1);
    expect_uint_eq(http_count(answer, "Secret"), 0);
    expect_uint_eq(http_count(answer, "Connection: close"), 1);
    expect_str_eq(log.why, "the handler failed");
    expect_uint_eq(log.n, 1);
    TALK(s, GET("/less") GET("/"), answer);
    expect_int_eq(http_status_of(answer), 500);
    expect_uint_eq(log.n, 2);
    TALK(s, GET("/late") GET("/"), answer);
    expect_int_eq(http_status_of(answer), 200);
    expect_str_eq(http_body_of(answer), "3\r\nabc\r\n"); /* and no end */
    expect_uint_eq(log.n, 3);
    TALK(s, GET("/less-late") GET("/"), answer);
    expect_str_eq(http_body_of(answer), "abc");
    expect_true(strstr(log.why, "Content-Length") != NULL);
    expect_uint_eq(log.n, 4);
    TALK(s, GET("/exit"), answer);
    expect_str_eq(answer, "");
    gev_server_free(s);
}

/* ... and HTTP/1.0, where the end of the stream means nothing is missing: a
 * reset. */
GEV_TEST(a_cut_is_no_end)
{
    static const char *const requests[] = {GET10("/late"), GET10("/late-exit")};
    struct http_log log;
    char answer[500];
    gev_server *s = serve(&log, fail_somehow, NULL);
    for (int i = 0; i < 2; i++) {
        int fd = http_dial(s);
        ssize_t n;
        expect_true(http_send(fd, requests[i], strlen(requests[i])));
        gev_settimeout(fd, test_scale(5));
        do {
            n = gev_recv(fd, answer, sizeof(answer), 0);
        } while (n > 0);
        expect_fail(n, ECONNRESET);
        expect_ok(gev_close(fd));
    }
    gev_server_free(s);
}

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

/* A client that is slow, and has more to say, gets all of the last answer. */
GEV_TEST(the_last_answer_to_a_slow_client)
{
    static const char request[] = GET10("/");
    static char answer[20000];
    struct http_log log;
    size_t written = 0;
    gev_server *s = serve(&log, much_in_pieces, &written);
    int fd = http_dial(s);
    size_t total = 0;
    ssize_t n;
    expect_true(http_send(fd, request, sizeof(request) - 1));
    expect_ok(gev_sleep(0.05));
    expect_true(http_send(fd, "more", 4));
    gev_settimeout(fd, test_scale(5));
    while ((n = gev_recv(fd, answer, sizeof(answer), 0)) > 0) {
        total += (size_t)n;
        if (log.n == 1) { /* what is left is in the sockets */
            expect_ok(gev_sleep(0.01));
        }
    }
    expect_int_eq(n, 0);
    expect_ge(total, written + 1);
    expect_ok(gev_close(fd));
    gev_server_free(s);
}

static int send_part(gev_http *h, void *arg)
{
    int fd = *(int *)arg;
    off_t offset = atoi(gev_http_query(h));
    size_t n = strcmp(gev_http_path(h), "/big") == 0 ? 100000 : 100;
    if (strcmp(gev_http_path(h), "/over") == 0) {
        n = 300000;
    }
    expect_ok(gev_http_write(h, "<", 1));
    if (gev_http_sendfile(h, fd, offset, n) < 0) {
        expect_int_eq(errno, EIO);
        return -1;
    }
    return gev_http_write(h, ">", 1);
}

GEV_TEST(files)
{
    static char answer[150000];
    char path[] = "/tmp/gev-http-XXXXXX";
    struct http_log log;
    int fd = mkstemp(path);
    expect_ge(fd, 0);
    for (int i = 0; i < 20000; i++) {
        expect_int_eq(dprintf(fd, "%09d\n", i), 10);
    }
    gev_server *s = serve(&log, send_part, &fd);
    TALK(s, GET("/small?10"), answer);
    expect_uint_eq(http_count(answer, "Content-Length: 102\r\n"), 1);
    expect_mem_eq(http_body_of(answer), "<000000001\n", 11);
    expect_uint_eq(http_count(answer, "000000010\n>"), 1);
    size_t n = TALK(s, GET10("/big?50"), answer);
    const char *body = http_body_of(answer);
    expect_uint_eq(n - (size_t)(body - answer), 100002);
    expect_mem_eq(body, "<000000005\n", 11);
    expect_mem_eq(body + 100002 - 11, "000010004\n>", 11);
    TALK(s, GET("/big?50") GET("/small?0"), answer);
    expect_uint_eq(http_count(answer, "\r\n186a0\r\n000000005\n"), 1);
    expect_uint_eq(http_count(answer, "HTTP/1.1 200 OK"), 2);
    TALK(s, "HEAD /big?1 HTTP/1.1\r\nHost: a\r\n\r\n" GET("/small?0"), answer);
    expect_uint_eq(http_count(answer, "HTTP/1.1 200 OK"), 2);
    TALK(s, GET("/over?0") GET("/small?0"), answer); /* the file is shorter */
    expect_uint_eq(http_count(answer, "HTTP/1.1 200 OK"), 1);
    TALK(s, GET("/small?200000"), answer);
    expect_int_eq(http_status_of(answer), 500);
    expect_ok(unlink(path));
    expect_ok(gev_close(fd));
    gev_server_free(s);
}

static int take_over(gev_http *h, void *arg)
{
    char *line;
    (void)arg;
    gev_stream *conn = gev_http_hijack(h);
    expect_not_null(conn);
    expect_null(gev_http_hijack(h));
    expect_int_eq(errno, EALREADY);
    expect_fail(gev_http_write(h, "a", 1), EALREADY);
    expect_fail(gev_http_flush(h), EALREADY);
    expect_fail(gev_http_set_status(h, 200, NULL), EALREADY);
    expect_fail(gev_http_read_line(h, &line, 10), EALREADY);
    expect_str_eq(gev_http_header(h, "Upgrade"), "lines");
    expect_ok(gev_stream_printf(conn, "HTTP/1.1 101 Switching Protocols\r\n"
                                      "Upgrade: lines\r\n\r\n"));
    while (gev_stream_read_line(conn, &line, 100) > 0) {
        expect_ok(gev_stream_printf(conn, "you said %s", line));
    }
    return 0;
}

/* WSG12: bytes read ahead are there; the server says nothing more. */
GEV_TEST(hijack)
{
    static char answer[2000];
    struct http_log log;
    gev_server *s = serve(&log, take_over, NULL);
    TALK(s,
         "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: lines"
         "\r\n\r\nhello\nGET / HTTP/1.1\r\n",
         answer);
    expect_str_eq(answer, "HTTP/1.1 101 Switching Protocols\r\n"
                          "Upgrade: lines\r\n\r\n"
                          "you said hello\nyou said GET / HTTP/1.1\r\n");
    expect_uint_eq(log.n, 1);
    expect_int_eq(log.status, 0);
    gev_server_free(s);
}

static int events(gev_http *h, void *arg)
{
    (void)arg;
    expect_ok(gev_http_event(h, NULL, "hello"));
    expect_ok(gev_http_event(h, "greet", "a\nb\r\nc\rd"));
    expect_ok(gev_http_event(h, NULL, NULL));
    return gev_http_event(h, NULL, "");
}

GEV_TEST(server_sent_events)
{
    static char answer[2000];
    struct http_log log;
    gev_server *s = serve(&log, events, NULL);
    TALK(s, GET10("/"), answer);
    expect_uint_eq(http_count(answer, "Content-Type: text/event-stream\r\n"),
                   1);
    expect_uint_eq(http_count(answer, "Cache-Control: no-store\r\n"), 1);
    expect_str_eq(http_body_of(answer),
                  "data: hello\n\n"
                  "event: greet\ndata: a\ndata: b\ndata: c\ndata: d\n\n"
                  ":\n\ndata: \n\n");
    gev_server_free(s);
}

/* A transport that only waits: what it is to read, and what it was given. */
struct canned {
    const char *in;
    char out[SIZE_OF_CANNED];
    size_t n;
};

static ssize_t read_canned(void *self, void *buf, size_t n)
{
    struct canned *c = self;
    size_t some = strnlen(c->in, n);
    memcpy(buf, c->in, some);
    c->in += some;
    return (ssize_t)some;
}

static ssize_t write_canned(void *self, const void *buf, size_t n)
{
    struct canned *c = self;
    size_t some = n < 1000 ? n : 1000;
    expect_le(c->n + some, sizeof(c->out) - 1);
    memcpy(c->out + c->n, buf, some);
    c->n += some;
    return (ssize_t)some;
}

static int close_canned(void *self)
{
    (void)self;
    return 0;
}

GEV_TEST(a_transport_of_ones_own)
{
    static const gev_transport ops = {.size = sizeof(ops),
                                      .read = read_canned,
                                      .write = write_canned,
                                      .close = close_canned};
    static struct canned c = {.in = GET("/short") GET("/long") GET("/reply")
                                  GET("/flushed")};
    gev_stream *conn = gev_stream_new(&ops, &c);
    expect_ok(gev_http_serve_stream(conn, NULL, respond, NULL));
    expect_ok(gev_stream_close(conn));
    expect_uint_eq(http_count(c.out, "HTTP/1.1 "), 4);
    expect_uint_eq(http_count(c.out, "abc4HTTP/1.1 200 OK\r\n"), 1);
    expect_true(c.n > 100000 && c.n < 101500);
    expect_uint_eq(http_count(c.out, "x\r\n0\r\n\r\nHTTP/1.1 404 "), 1);
    expect_uint_eq(http_count(c.out, "xHTTP/1.1 200 OK\r\n"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments),
        cmocka_unit_test(headers_of_a_request),
        cmocka_unit_test(framing),
        cmocka_unit_test(a_tunnel_that_is_none),
        cmocka_unit_test(date),
        cmocka_unit_test(long_formatted_text),
        cmocka_unit_test(header_injection),
        cmocka_unit_test(keep_alive_and_pipelining),
        cmocka_unit_test(max_requests),
        cmocka_unit_test(unread_bodies),
        cmocka_unit_test(expect_continue),
        cmocka_unit_test(lines_of_a_body),
        cmocka_unit_test(read_all_has_a_limit),
        cmocka_unit_test(handlers_that_fail),
        cmocka_unit_test(a_cut_is_no_end),
        cmocka_unit_test(the_last_answer_to_a_slow_client),
        cmocka_unit_test(files),
        cmocka_unit_test(hijack),
        cmocka_unit_test(server_sent_events),
        cmocka_unit_test(a_transport_of_ones_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
