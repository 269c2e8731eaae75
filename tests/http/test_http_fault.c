/* SPDX-License-Identifier: MIT */

/* Fault sweeps over a whole exchange: each allocation and system call fails
 * once, or from then on, those of gev-http itself too, which is built here from
 * its sources with the library's allocator. Whatever fails costs an answer or
 * the connection: what arrives is a whole answer, or an error, or is cut where
 * everybody can see it; and nothing is left (WSG9). */
#include <gev.h>
#include <gev/http.h>

#include "support/fault_sweep.h"
#include "support/gev_test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* Long enough for all that is meant to work, short for what waits in vain. */
#define LIMIT test_scale(0.05)
#define BIG 50000

/* What gev-http has instead of libc's. */
void *http_fault_malloc(size_t n);
void *http_fault_calloc(size_t count, size_t size);
void *http_fault_realloc(void *p, size_t n);
ssize_t http_fault_pread(int fd, void *buf, size_t n, off_t offset);

static void *or_enomem(void *p)
{
    if (p == NULL) {
        errno = ENOMEM;
    }
    return p;
}

void *http_fault_malloc(size_t n)
{
    return or_enomem(gev__malloc(n));
}

void *http_fault_calloc(size_t count, size_t size)
{
    return or_enomem(gev__calloc(count, size));
}

void *http_fault_realloc(void *p, size_t n)
{
    return or_enomem(gev__realloc(p, n));
}

ssize_t http_fault_pread(int fd, void *buf, size_t n, off_t offset)
{
    int error = gev__fault_hit(GEV__FAULT_READ);
    if (error != 0) {
        errno = error;
        return -1;
    }
    return pread(fd, buf, n, offset);
}

/* --- the server ----------------------------------------------------------- */

static int some_file = -1;

/* Handlers by path; those in capitals care for no failure. */
static int echo(gev_http *h, bool care)
{
    char *body = NULL;
    ssize_t n = gev_http_read_all(h, &body, BIG);
    if (n < 0) {
        return care ? -1 : 0;
    }
    int rc = gev_http_write(h, body, (size_t)n);
    if (rc == 0 || !care) {
        rc = gev_http_flush(h);
    }
    if (rc == 0 || !care) {
        rc = gev_http_write(h, body, (size_t)n);
    }
    gev__free(body); /* free(3), to users */
    return care ? rc : 0;
}

static int lines(gev_http *h, bool care)
{
    char *line;
    ssize_t n;
    int rc = gev_http_set_header(h, "X-Cookie", gev_http_header(h, "Cookie"));
    while (rc == 0 && (n = gev_http_read_line(h, &line, 100)) != 0) {
        rc = n < 0 ? -1 : gev_http_write(h, line, (size_t)n);
    }
    return care ? rc : 0;
}

static int long_text(gev_http *h, bool care)
{
    int rc = gev_http_set_status(h, 200, "Fine");
    if (rc == 0 || !care) {
        rc = gev_http_printf(h, "%0*d", BIG, 0);
    }
    return care ? rc : 0;
}

static int file(gev_http *h, bool care)
{
    int rc = 0;
    for (int i = 0; i < 2 && (rc == 0 || !care); i++) {
        rc = gev_http_sendfile(h, some_file, 0, i == 0 ? 100 : BIG);
    }
    return care ? rc : 0;
}

static int events(gev_http *h, bool care)
{
    int rc = gev_http_event(h, "a", "b\nc");
    if (rc == 0 || !care) {
        rc = gev_http_event(h, NULL, "d");
    }
    return care ? rc : 0;
}

static int answer(gev_http *h, void *arg)
{
    char first = gev_http_path(h)[1];
    bool care = first >= 'a';
    (void)arg;
    switch (first | 0x20) {
    case 'e':
        return echo(h, care);
    case 'l':
        return lines(h, care);
    case 't':
        return long_text(h, care);
    case 'f':
        return file(h, care);
    case 'v':
        return events(h, care);
    default: {
        int rc = gev_http_reply(h, 200, "text/plain", "ok", 2);
        return care ? rc : 0;
    }
    }
}

static void log_nothing(const gev_http *h, int status, const char *why,
                        void *arg)
{
    (void)arg;
    expect_true(status == 200 || why != NULL);
    expect_ge(gev_http_seconds(h), 0);
}

static gev_server *start(void)
{
    const gev_server_opts local = {.size = sizeof(local), .host = "127.0.0.1"};
    const gev_http_opts o = {.size = sizeof(o),
                             .header_timeout = LIMIT,
                             .body_timeout = LIMIT,
                             .write_timeout = LIMIT,
                             .log = log_nothing};
    gev_server *s = gev_http_server_new(&local, &o, answer, NULL);
    if (s != NULL && gev_server_start(s) < 0) {
        int error = errno;
        gev_server_free(s);
        errno = error;
        s = NULL;
    }
    return s;
}

/* --- the client ----------------------------------------------------------- */

/* Past a whole body; NULL: it is cut. */
static const char *skip_body(const char *head, const char *p)
{
    const char *end = p + strlen(p);
    const char *length = strstr(head, "Content-Length: ");
    if (length != NULL && length < p) {
        unsigned long n = strtoul(length + 16, NULL, 10);
        return n <= (size_t)(end - p) ? p + n : NULL;
    }
    const char *coding = strstr(head, "Transfer-Encoding: chunked\r\n");
    expect_true(coding != NULL && coding < p);
    for (;;) {
        char *after;
        unsigned long n = strtoul(p, &after, 16);
        if (strncmp(after, "\r\n", 2) != 0 || n + 4 > (size_t)(end - after)) {
            return NULL;
        }
        p = after + 2 + n;
        expect_mem_eq(p, "\r\n", 2);
        p += 2;
        if (n == 0) {
            return p;
        }
    }
}

static unsigned sorry; /* whole answers of 500 */

/* How many whole answers of 200 there are; that all are in order. */
static unsigned count_answers(const char *p)
{
    unsigned good = 0;
    while (p != NULL && *p != '\0') {
        int status = 0;
        const char *head = p;
        const char *end = strstr(p, "\r\n\r\n");
        if (end == NULL) {
            return good; /* cut */
        }
        expect_int_eq(sscanf(p, "HTTP/1.1 %3d ", &status), 1);
        expect_true(status == 200 || status == 400 || status == 408 ||
                    status == 500);
        p = skip_body(head, end + 4);
        good += p != NULL && status == 200;
        sorry += p != NULL && status == 500;
        if (status != 200 && p != NULL) {
            expect_str_eq(p, "");
        }
    }
    return good;
}

static ssize_t converse(int fd, const char *request, char *to, size_t size)
{
    size_t n = 0;
    ssize_t got = gev_send_all(fd, request, strlen(request));
    if (got != (ssize_t)strlen(request)) {
        errno = EPROTO;
        return -1;
    }
    do {
        got = gev_recv(fd, to + n, size - 1 - n, 0);
        n += got > 0 ? (size_t)got : 0;
    } while (got > 0);
    to[n] = '\0';
    return got;
}

/* All requests in one go, and all answers. */
static int exchange(void *arg)
{
    static char answers[500000];
    const char *request = arg;
    char port[16];
    unsigned wanted = 0;
    answers[0] = '\0';
    for (const char *p = request; (p = strstr(p, " HTTP/1.1\r\n")) != NULL;
         p++) {
        wanted++;
    }
    gev_server *s = start();
    if (s == NULL) {
        return -1;
    }
    int number = gev_server_port(s);
    snprintf(port, sizeof(port), "%d", number);
    int fd = number < 0 ? -1 : gev_tcp_connect("127.0.0.1", port, LIMIT);
    ssize_t rc = fd < 0 ? -1 : gev_settimeout(fd, LIMIT);
    if (rc == 0) {
        rc = converse(fd, request, answers, sizeof(answers));
    }
    int error = errno;
    unsigned good = count_answers(answers);
    expect_le(good, wanted);
    if (rc == 0 && good < wanted) {
        rc = -1;
        error = EPROTO;
    }
    if (fd >= 0) {
        gev_close(fd);
    }
    gev_server_free(s);
    errno = error;
    return rc < 0 ? -1 : 0;
}

#define HOST " HTTP/1.1\r\nHost: a\r\n"
#define LAST HOST "Connection: close\r\n"

/* The path of each in small letters, and in capitals. */
static const char *const requests[] = {
    "GET /a" HOST "\r\nGET /a%20?b" LAST "\r\n",
    "GET /A" HOST "\r\nGET /A%20?b" LAST "\r\n",
    "POST /e" HOST "Content-Length: 3\r\n\r\nabc"
    "POST /e" LAST "Transfer-Encoding: chunked\r\n\r\n"
    "3;x\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n",
    "POST /E" HOST "Content-Length: 3\r\n\r\nabc"
    "POST /E" LAST "Transfer-Encoding: chunked\r\n\r\n"
    "3;x\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n",
    "POST /l" LAST
    "Content-Length: 8\r\nCookie: a\r\nCookie: b\r\n\r\none\ntwo\n",
    "POST /L" LAST
    "Content-Length: 8\r\nCookie: a\r\nCookie: b\r\n\r\none\ntwo\n",
    "GET /t" LAST "\r\n",
    "GET /T" LAST "\r\n",
    "GET /f" HOST "\r\nGET /v" LAST "\r\n",
    "GET /F" HOST "\r\nGET /V" LAST "\r\n",
    "GET http://b/A" HOST "\r\nPOST /a" LAST "Content-Length: 5\r\n\r\n12345",
};

static const struct fault_case cases[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM, EPROTO, EAGAIN, ETIMEDOUT, ECONNRESET}},
    {"stacks", FAULT_AT(MMAP), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM, EPROTO, ETIMEDOUT, ECONNRESET}},
    {"descriptors", FAULT_AT(OPEN) | FAULT_AT(ACCEPT), EMFILE,
     .may_succeed = true,
     .allowed = {EMFILE, ENOMEM, EPROTO, ETIMEDOUT, ECONNRESET}},
    {"options", FAULT_AT(SOCKOPT), ENOBUFS, .may_succeed = true,
     .allowed = {ENOBUFS, ENOTCONN, EPROTO, ETIMEDOUT}},
    {"reads", FAULT_AT(READ), ECONNRESET, .may_succeed = true,
     .allowed = {ECONNRESET, EPROTO, ETIMEDOUT}},
    {"failing reads", FAULT_AT(READ), EIO, .may_succeed = true,
     .allowed = {EIO, EPROTO, ETIMEDOUT, ECONNRESET}},
    {"nothing to read", FAULT_AT(READ), EAGAIN, .may_succeed = true,
     .allowed = {EPROTO, ETIMEDOUT}},
    {"writes", FAULT_AT(WRITE), EPIPE, .may_succeed = true,
     .allowed = {EPROTO, EPIPE, ETIMEDOUT, ECONNRESET}},
    {"full", FAULT_AT(WRITE), EAGAIN, .may_succeed = true,
     .allowed = {EPROTO, ETIMEDOUT, ECONNRESET}},
    {"interrupted", FAULT_AT(READ) | FAULT_AT(WRITE) | FAULT_AT(ACCEPT), EINTR,
     .shapes = FAULT_ONCE, .must_succeed = true},
    {"connections", FAULT_AT(ACCEPT), ECONNABORTED, .may_succeed = true,
     .allowed = {EPROTO, ETIMEDOUT}},
};

static void sweep(size_t from, size_t to, const struct fault_case *c, size_t n)
{
    static char letters[BIG];
    char path[] = "/tmp/gev-http-XXXXXX";
    memset(letters, 'x', sizeof(letters));
    some_file = mkstemp(path);
    expect_ok(unlink(path));
    expect_int_eq(write(some_file, letters, sizeof(letters)), BIG);
    for (size_t i = from; i < to && !test_failed(); i++) {
        fault_sweep(exchange, (void *)(uintptr_t)requests[i], c, n, 0);
    }
    close(some_file);
}

GEV_TEST(without_memory)
{
    sorry = 0;
    sweep(0, LENGTH(requests), cases, 1);
    expect_ge(sorry, LENGTH(requests)); /* it can say so */
    print_message("%u answers of 500\n", sorry);
}

GEV_TEST(system_calls)
{
    sweep(0, 1, cases + 1, LENGTH(cases) - 1);
    sweep(2, 3, cases + 4, LENGTH(cases) - 5);
    sweep(8, 10, cases + 4, LENGTH(cases) - 5);
}

GEV_TEST(short_transfers)
{
    static const struct fault_case c = {
        "short", FAULT_AT(READ) | FAULT_AT(WRITE), 0, .shapes = FAULT_SHORT};
    sweep(0, 1, &c, 1);
    sweep(2, 3, &c, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory),
        cmocka_unit_test(system_calls),
        cmocka_unit_test(short_transfers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
