/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_SERVERS_H
#define GEV_TEST_SERVERS_H

/* What the tests of servers share: a server that echoes lines, and clients. */

#include <gev.h>

#include "support/gev_test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const gev_server_opts local = {.size = sizeof(local),
                                      .host = "127.0.0.1"};

static inline gev_server *serve(const gev_server_opts *opts, gev_conn_fn fn,
                                void *arg)
{
    gev_server *s = gev_server_new(opts, fn, arg);
    if (expect_not_null(s)) {
        expect_ok(gev_server_start(s));
    }
    return s;
}

static inline int dial_fd(const char *host, int port)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", port);
    return gev_tcp_connect(host, text, test_scale(5));
}

static inline gev_stream *dial(const gev_server *s)
{
    int fd = dial_fd("127.0.0.1", gev_server_port(s));
    expect_ge(fd, 0);
    return gev_stream_open(fd);
}

/* Gives back each line. */
static inline void echo(gev_stream *conn, const struct sockaddr *peer,
                        void *arg)
{
    char *line;
    ssize_t n;
    (void)peer;
    (void)arg;
    while ((n = gev_stream_read_line(conn, &line, 1000)) > 0) {
        if (gev_stream_write(conn, line, (size_t)n) < 0 ||
            gev_stream_flush(conn) < 0) {
            return;
        }
    }
}

/* Says a line and wants it back. */
static inline bool converse(gev_stream *c)
{
    char *line = NULL;
    return gev_stream_printf(c, "hello\n") == 0 &&
           gev_stream_read_line(c, &line, 100) == 6 &&
           strcmp(line, "hello\n") == 0;
}

static inline void dial_many(const gev_server *s, gev_stream **c, int n)
{
    for (int i = 0; i < n; i++) {
        c[i] = dial(s);
        expect_ok(gev_stream_settimeout(c[i], test_scale(10)));
    }
}

static inline void close_many(gev_stream **c, int n)
{
    for (int i = 0; i < n; i++) {
        expect_ok(gev_stream_abort(c[i]));
    }
}

/* Each is served, or refused: how many are served. */
static inline int hear_many(gev_stream **c, int n)
{
    int served = 0;
    for (int i = 0; i < n; i++) {
        errno = 0;
        if (converse(c[i])) {
            served++;
        } else {
            expect_true(errno == ECONNRESET || errno == EPIPE || errno == 0);
        }
    }
    return served;
}

#endif
