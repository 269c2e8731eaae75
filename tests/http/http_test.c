/* SPDX-License-Identifier: MIT */
#include "http/http_test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void http_log(const gev_http *h, int status, const char *why, void *log)
{
    struct http_log *l = log;
    l->n++;
    l->status = status;
    l->sent = gev_http_sent(h);
    snprintf(l->why, sizeof(l->why), "%s", why == NULL ? "" : why);
}

gev_http_opts http_opts(struct http_log *log)
{
    gev_http_opts o = {.size = sizeof(o), .log = http_log, .log_arg = log};
    memset(log, 0, sizeof(*log));
    return o;
}

gev_server *http_serve(const gev_http_opts *opts, gev_http_fn fn, void *arg)
{
    const gev_server_opts local = {.size = sizeof(local), .host = "127.0.0.1"};
    gev_server *s = gev_http_server_new(&local, opts, fn, arg);
    if (expect_not_null(s)) {
        expect_ok(gev_server_start(s));
    }
    return s;
}

int http_dial(const gev_server *s)
{
    char port[16];
    snprintf(port, sizeof(port), "%d", gev_server_port(s));
    int fd = gev_tcp_connect("127.0.0.1", port, test_scale(5));
    expect_ge(fd, 0);
    return fd;
}

bool http_send(int fd, const char *bytes, size_t n)
{
    return gev_send_all(fd, bytes, n) == (ssize_t)n;
}

size_t http_recv_until(int fd, const char *end, char *answer, size_t size)
{
    size_t n = 0;
    size_t len = end == NULL ? 0 : strlen(end);
    gev_settimeout(fd, test_scale(10));
    for (;;) {
        ssize_t got =
            n == size - 1 ? 0 : gev_recv(fd, answer + n, size - 1 - n, 0);
        if (got < 0 && errno != ECONNRESET) {
            expect_never("no end: %s", gev_strerror(errno));
        }
        if (got <= 0) {
            break;
        }
        n += (size_t)got;
        if (end != NULL && n >= len &&
            memcmp(answer + n - len, end, len) == 0) {
            break;
        }
    }
    answer[n] = '\0';
    return n;
}

size_t http_recv(int fd, char *answer, size_t size)
{
    return http_recv_until(fd, NULL, answer, size);
}

size_t http_talk(const gev_server *s, const char *bytes, size_t n, char *answer,
                 size_t size)
{
    int fd = http_dial(s);
    (void)http_send(fd, bytes, n); /* it may be refused half-way */
    (void)gev_shutdown(fd, SHUT_WR);
    size_t got = http_recv(fd, answer, size);
    expect_ok(gev_close(fd));
    return got;
}

int http_status_of(const char *answer)
{
    int status = 0;
    return sscanf(answer, "HTTP/1.1 %3d ", &status) == 1 ? status : 0;
}

const char *http_body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    return end == NULL ? "" : end + 4;
}

unsigned http_count(const char *text, const char *what)
{
    unsigned n = 0;
    while ((text = strstr(text, what)) != NULL) {
        n++;
        text++;
    }
    return n;
}

int http_describe(gev_http *h, void *arg)
{
    char *body;
    if (arg != NULL) {
        ++*(unsigned *)arg;
    }
    ssize_t n = gev_http_read_all(h, &body, 1000000);
    if (n < 0) {
        return -1;
    }
    int rc =
        gev_http_printf(h, "%s %s %s %d %d:", gev_http_method(h),
                        gev_http_path(h), gev_http_query(h),
                        gev_http_version(h), (int)gev_http_content_length(h));
    if (rc == 0) {
        rc = gev_http_write(h, body, (size_t)n);
    }
    free(body);
    return rc;
}
