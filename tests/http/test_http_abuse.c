/* SPDX-License-Identifier: MIT */

/* What clients do to servers, by the thousand: half requests, slow ones, far
 * too big ones, floods of them, and ends at every point. Each kind is done
 * twice: the second time nothing may grow; and a client that behaves gets its
 * answer in the midst of it (WSG1, WSG4, WSG14).
 *
 * GEV_HTTP_ABUSE=10000 in the environment: so many of each kind instead of a
 * few, with the numbers printed. */
#include "http/http_test.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define FEW 300
#define AT_ONCE                                                                \
    100 /* connections that an attack has open, if it can choose               \
         */

static unsigned count; /* of each kind */

/* --- what is measured ----------------------------------------------------- */

struct usage {
    size_t heap; /* bytes in use */
    size_t resident;
    size_t greenlets;
    size_t fds;
    double cpu;
    double time;
};

static struct usage usage_now(void)
{
    struct usage u = {.fds = test_open_fds(), .time = test_now()};
    struct rusage r;
    gev_stats stats = {.size = sizeof(stats)};
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f != NULL) {
        expect_int_eq(fscanf(f, "%*d %ld", &pages), 1);
        fclose(f);
    }
    getrusage(RUSAGE_SELF, &r);
    gev_hub_stats(gev_hub_get(), &stats);
    u.heap = mallinfo2().uordblks;
    u.resident = (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
    u.greenlets = stats.live;
    u.cpu = (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
            (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1e-6;
    return u;
}

typedef void attack_fn(const gev_server *s, unsigned i);

struct attack {
    const char *name;
    attack_fn *fn;    /* one client of it, in its own greenlet */
    unsigned part;    /* of count: 1, or the n-th part */
    unsigned at_once; /* 0: AT_ONCE */
};

struct front {
    const gev_server *s;
    const struct attack *attack;
    unsigned next;
    unsigned n;
};

static void *fight(void *arg)
{
    struct front *f = arg;
    while (f->next < f->n && !test_failed()) {
        f->attack->fn(f->s, f->next++);
        expect_ok(gev_yield()); /* the backlog is not endless */
    }
    return NULL;
}

/* Behaves, and counts its answers. */
static void *behave(void *arg)
{
    static char answer[1000];
    struct front *f = arg;
    while (f->next < f->n && !test_failed()) {
        int fd = http_dial(f->s);
        expect_true(http_send(fd, GET("/"), sizeof(GET("/")) - 1));
        http_recv_until(fd, " 0:", answer, sizeof(answer));
        expect_int_eq(http_status_of(answer), 200);
        expect_ok(gev_close(fd));
        expect_ok(gev_sleep(0.005));
    }
    return NULL;
}

static struct usage run_once(const gev_server *s, const struct attack *a)
{
    struct front front = {.s = s, .attack = a, .n = count / a->part};
    unsigned width = a->at_once == 0 ? AT_ONCE : a->at_once;
    gev_greenlet **g = calloc(width + 1, sizeof(gev_greenlet *));
    front.n = front.n < 10 ? 10 : front.n;
    for (unsigned i = 0; i < width; i++) {
        g[i] = gev_spawn(fight, &front);
    }
    g[width] = gev_spawn(behave, &front);
    expect_int_eq(gev_joinall(g, width + 1, test_scale(100)), (int)width + 1);
    gev_unrefall(g, width + 1);
    free(g);
    double begin = test_now();
    while (gev_server_count(s) > 0 && test_now() - begin < test_scale(20)) {
        expect_ok(gev_sleep(0.005));
    }
    expect_uint_eq(gev_server_count(s), 0);
    return usage_now();
}

/* Far more than one connection leaves behind in caches, far less than all. */
#define SLACK ((size_t)512 * 1024)

static void run(const gev_server *s, const struct attack *a)
{
    test_note("%s", a->name);
    struct usage first = run_once(s, a);
    struct usage second = run_once(s, a);
    expect_uint_eq(second.fds, first.fds);
    expect_uint_eq(second.greenlets, first.greenlets);
    expect_le(second.heap, first.heap + SLACK);
    if (getenv("GEV_HTTP_ABUSE") != NULL) {
        print_message(
            "%-24s %6u: %6.2f s, %6.2f s CPU; heap %+6ld KiB, resident "
            "%zu KiB (%+ld), fds %zu, greenlets %zu\n",
            a->name, count / a->part, second.time - first.time,
            second.cpu - first.cpu,
            ((long)second.heap - (long)first.heap) / 1024,
            second.resident / 1024,
            ((long)second.resident - (long)first.resident) / 1024, second.fds,
            second.greenlets);
    }
}

/* --- what is done --------------------------------------------------------- */

/* By a reset or in an orderly way. */
static void hang_up(int fd, unsigned i)
{
    const struct linger reset = {.l_onoff = 1};
    if (i % 2 == 0) {
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    }
    expect_ok(gev_close(fd));
}

static void connect_and_close(const gev_server *s, unsigned i)
{
    hang_up(http_dial(s), i);
}

#define REQUEST                                                                \
    "POST /a%20b?c HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n"                      \
    "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n"            \
    "0\r\nT: u\r\n\r\n"

/* All that is there up to the i-th byte. */
static void send_half(int fd, unsigned i)
{
    expect_true(http_send(fd, REQUEST, i % (sizeof(REQUEST) - 1)));
}

static void half_a_request(const gev_server *s, unsigned i)
{
    int fd = http_dial(s);
    send_half(fd, i);
    hang_up(fd, i / (sizeof(REQUEST) - 1));
}

/* ... and the client waits to be refused, or closed. */
static void half_and_wait(const gev_server *s, unsigned i)
{
    char answer[1000];
    int fd = http_dial(s);
    send_half(fd, i);
    http_recv(fd, answer, sizeof(answer));
    int status = http_status_of(answer);
    expect_true(status == 408 || status == 0);
    hang_up(fd, i);
}

/* A byte now and then. */
static void drip(const gev_server *s, const char *start, const char *piece)
{
    char answer[1000];
    int fd = http_dial(s);
    expect_true(http_send(fd, start, strlen(start)));
    while (gev_wait_fd(fd, GEV_READ, 0.02) < 0) {
        (void)http_send(fd, piece, strlen(piece));
    }
    http_recv(fd, answer, sizeof(answer));
    expect_int_eq(http_status_of(answer), 408);
    expect_ok(gev_close(fd));
}

static void slow_head(const gev_server *s, unsigned i)
{
    drip(s, i % 2 == 0 ? "GET /" : "GET / HTTP/1.1\r\nHost: a\r\nX: ", "y");
}

static void slow_trailers(const gev_server *s, unsigned i)
{
    (void)i;
    drip(s,
         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         "1\r\nx\r\n0\r\nX: ",
         "y");
}

static void no_body(const gev_server *s, unsigned i)
{
    (void)i;
    drip(s, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", "");
}

static const struct {
    const char *start;
    const char *piece; /* again and again */
    const char *end;
    int status;
} bad[] = {
    {"GET /", "aaaaaaaaaa", " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
    {"GET / HTTP/1.1\r\nHost: a\r\nX: ", "aaaaaaaaaa", "\r\n\r\n", 431},
    {"GET / HTTP/1.1\r\nHost: a\r\n", "X:\r\n", "\r\n", 431},
    {"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n", " b\r\n", "\r\n", 431},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n",
     "aaaaaaaaaa", "", 413},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;",
     "aaaaaaaaaa", "\r\nx\r\n", 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
     "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n",
     "0\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
     "1000\r\naaaaaaaaaa", "", 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
     "X: aaaaaaaaaa\r\n", "\r\n", 431},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
     "ffffffff", "\r\n", 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
     "fffff\r\n", "", 413},
    {"", "\r\n", "", 400},
    {"", "\r\r", "", 400},
    {"", "nonsense", "\r\n\r\n", 414},
    {"", "\x16\x03\x01", "", 400},
};

/* Much too much of it. */
static void too_much(const gev_server *s, unsigned i)
{
    static char request[200100];
    char answer[2000];
    i %= sizeof(bad) / sizeof(bad[0]);
    size_t len = strlen(bad[i].piece);
    char *p = stpcpy(request, bad[i].start);
    while (p + len < request + 200000) {
        memcpy(p, bad[i].piece, len);
        p += len;
    }
    p = stpcpy(p, bad[i].end);
    http_talk(s, request, (size_t)(p - request), answer, sizeof(answer));
    if (http_status_of(answer) != bad[i].status) {
        expect_never("kind %u: %d", i, http_status_of(answer));
    }
    expect_uint_eq(http_count(answer, "HTTP/1.1 "), 1);
}

#define IN_A_ROW 1000

static void *send_row(void *arg)
{
    static char row[IN_A_ROW * (sizeof(GET("/")) - 1) + 1];
    char *p = row;
    for (int i = 0; i < IN_A_ROW; i++) {
        p = stpcpy(p, GET("/"));
    }
    expect_true(http_send(*(int *)arg, row, sizeof(row) - 1));
    expect_ok(gev_shutdown(*(int *)arg, SHUT_WR));
    return NULL;
}

/* A thousand in one segment, and the end. */
static void pipeline(const gev_server *s, unsigned i)
{
    char some[4096];
    size_t bytes = 0;
    ssize_t n;
    int fd = http_dial(s);
    gev_greenlet *g = gev_spawn(send_row, &fd);
    expect_ok(gev_settimeout(fd, test_scale(20)));
    while ((n = gev_recv(fd, some, sizeof(some), 0)) > 0) {
        bytes += (size_t)n;
    }
    expect_int_eq(n, 0);
    expect_uint_eq(bytes % IN_A_ROW, 0); /* all answers are of one length */
    expect_ge(bytes / IN_A_ROW, 50);
    expect_ok(gev_get(g, NULL, test_scale(5)));
    gev_unref(g);
    hang_up(fd, i);
}

/* The same, and nobody reads the answers: the client goes away. */
static void flood(const gev_server *s, unsigned i)
{
    int fd = http_dial(s);
    send_row(&fd);
    hang_up(fd, i);
}

/* Goes away after the i-th byte of an answer. */
static void half_an_answer(const gev_server *s, unsigned i)
{
    char some[200];
    int fd = http_dial(s);
    expect_true(
        http_send(fd, GET("/") GET("/"), sizeof(GET("/") GET("/")) - 1));
    expect_ok(gev_settimeout(fd, test_scale(10)));
    expect_ge(gev_recv(fd, some, 1 + i % 190, 0), 1);
    hang_up(fd, i);
}

/* --- tests ---------------------------------------------------------------- */

static gev_server *start(struct http_log *log)
{
    gev_http_opts o = http_opts(log);
    o.header_timeout = 0.3;
    o.body_timeout = 0.3;
    o.idle_timeout = 0.3;
    o.write_timeout = 0.3;
    o.max_body = 100000;
    return http_serve(&o, http_describe, NULL);
}

static void run_all(const struct attack *attacks, size_t n)
{
    struct http_log log;
    gev_server *s = start(&log);
    for (size_t i = 0; i < n && !test_failed(); i++) {
        run(s, &attacks[i]);
    }
    test_note(NULL);
    gev_server_free(s);
}

GEV_TEST(early_ends)
{
    static const struct attack attacks[] = {
        {"connect and close", connect_and_close, 1, 0},
        {"half a request", half_a_request, 1, 0},
        {"half an answer", half_an_answer, 1, 0},
    };
    run_all(attacks, 3);
}

GEV_TEST(slow_clients)
{
    static const struct attack attacks[] = {
        {"half a request, and wait", half_and_wait, 1, 2000},
        {"slow heads", slow_head, 5, 2000},
        {"slow trailers", slow_trailers, 5, 2000},
        {"no body", no_body, 5, 2000},
    };
    run_all(attacks, 4);
}

GEV_TEST(too_big)
{
    static const struct attack attacks[] = {
        {"too much of it", too_much, 5, 0},
    };
    run_all(attacks, 1);
}

GEV_TEST(pipelines)
{
    static const struct attack attacks[] = {
        {"1000 in one segment", pipeline, 30, 10},
        {"... and no reader", flood, 30, 10},
    };
    run_all(attacks, 2);
}

static void *take_turns(void *arg)
{
    const unsigned *answers = arg;
    unsigned *between = (unsigned *)(uintptr_t)&answers[1];
    for (;;) {
        if (answers[0] > 0 && answers[0] < IN_A_ROW) {
            ++*between;
        }
        if (gev_yield() < 0) {
            return NULL;
        }
    }
}

static int count_answer(gev_http *h, void *arg)
{
    ++*(unsigned *)arg;
    return gev_http_reply(h, 200, NULL, NULL, 0);
}

/* A thousand requests that are there already are not served in one go. */
GEV_TEST(others_have_their_turn)
{
    char some[4096];
    unsigned answers[2] = {0, 0}; /* and turns in between */
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    gev_server *s = http_serve(&opts, count_answer, answers);
    int fd = http_dial(s);
    expect_null(send_row(&fd));
    gev_greenlet *other = gev_spawn(take_turns, answers);
    while (gev_recv(fd, some, sizeof(some), 0) > 0) {
    }
    expect_uint_eq(answers[0], IN_A_ROW);
    expect_ge(answers[1], 20);
    expect_ok(gev_kill(other, GEV_FOREVER));
    gev_unref(other);
    expect_ok(gev_close(fd));
    gev_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(early_ends),
        cmocka_unit_test(slow_clients),
        cmocka_unit_test(too_big),
        cmocka_unit_test(pipelines),
        cmocka_unit_test(others_have_their_turn),
    };
    const char *many = getenv("GEV_HTTP_ABUSE");
    struct rlimit files;
    count = many == NULL ? FEW : (unsigned)strtoul(many, NULL, 10);
    count = count < 100 ? 100 : count;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
