/* SPDX-License-Identifier: MIT */
#ifndef TLS_PAIR_H
#define TLS_PAIR_H

/* A client and a server of TLS over a pair of sockets, in one process, and
 * what the tests of gev-tls share. */

#include <gev.h>
#include <gev/tls.h>

#include "support/certs.h"
#include "support/gev_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define P(n) ((void *)(intptr_t)(n))
#define N(p) ((int)(intptr_t)(p))

/* One side's handshake, in a greenlet of its own. */
struct side {
    gev_tls *tls;
    gev_stream *lower;
    const char *host; /* of clients */
    gev_stream *s;    /* what came out */
    int error;        /* errno, if it is NULL */
    char reason[256];
};

struct pair {
    struct side client;
    struct side server;
};

static inline void *shake_side(void *arg)
{
    struct side *x = arg;
    bool is_client = x->host != NULL;
    x->s = is_client ? gev_tls_wrap(x->tls, x->lower,
                                    *x->host == '\0' ? NULL : x->host)
                     : gev_tls_accept(x->tls, x->lower);
    x->error = x->s == NULL ? errno : 0;
    snprintf(x->reason, sizeof(x->reason), "%s", gev_tls_reason());
    return NULL;
}

/* Both sides' handshakes over two streams; host "": none. */
static inline struct pair shake_over(gev_tls *client, gev_tls *server,
                                     const char *host, gev_stream *a,
                                     gev_stream *b)
{
    struct pair p = {.client = {.tls = client, .lower = a, .host = host},
                     .server = {.tls = server, .lower = b}};
    gev_greenlet *g[2] = {gev_spawn(shake_side, &p.client),
                          gev_spawn(shake_side, &p.server)};
    expect_int_eq(gev_joinall(g, 2, test_scale(20)), 2);
    gev_unrefall(g, 2);
    return p;
}

static inline struct pair shake(gev_tls *client, gev_tls *server,
                                const char *host)
{
    int fds[2] = {-1, -1};
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    return shake_over(client, server, host, gev_stream_open(fds[0]),
                      gev_stream_open(fds[1]));
}

static inline void close_pair(struct pair *p)
{
    gev_stream_close(p->client.s);
    gev_stream_close(p->server.s);
}

static inline gev_tls *make_server(const char *name, unsigned flags)
{
    char cert[128];
    char key[128];
    snprintf(cert, sizeof(cert), "%s.pem", name);
    snprintf(key, sizeof(key), "%s.key", name);
    gev_tls_opts o = {.size = sizeof(o),
                      .cert_file = certs_path(cert),
                      .key_file = certs_path(key),
                      .flags = flags};
    if (flags & GEV_TLS_CLIENT_CERT) {
        o.ca_file = certs_path("ca.pem");
    }
    gev_tls *t = gev_tls_server(&o);
    expect_not_null(t);
    return t;
}

static inline gev_tls *make_client(unsigned flags)
{
    gev_tls_opts o = {
        .size = sizeof(o), .ca_file = certs_path("ca.pem"), .flags = flags};
    gev_tls *t = gev_tls_client(&o);
    expect_not_null(t);
    return t;
}

static inline gev_tls *make_client_with(const char *cert, const char *key)
{
    gev_tls_opts o = {.size = sizeof(o),
                      .ca_file = certs_path("ca.pem"),
                      .cert_file = certs_path(cert),
                      .key_file = certs_path(key)};
    return gev_tls_client(&o);
}

/* A connection of all that is good over two streams. Without tickets: a Unix
 * socket does not take so many bytes one by one while nobody reads. */
static inline struct pair pair_over(gev_stream *a, gev_stream *b)
{
    gev_tls *client = make_client(0);
    gev_tls *server = make_server("good", GEV_TLS_NO_SESSIONS);
    struct pair p = shake_over(client, server, "localhost", a, b);
    expect_not_null(p.client.s);
    expect_not_null(p.server.s);
    gev_tls_unref(client);
    gev_tls_unref(server);
    return p;
}

/* A connection of all that is good; the configurations live with it. */
static inline struct pair make_pair(void)
{
    gev_tls *client = make_client(0);
    gev_tls *server = make_server("good", 0);
    struct pair p = shake(client, server, "localhost");
    expect_not_null(p.client.s);
    expect_not_null(p.server.s);
    gev_tls_unref(client);
    gev_tls_unref(server);
    return p;
}

/* A line's length, in a greenlet. */
static inline void *read_line(void *arg)
{
    char *line = NULL;
    ssize_t n = gev_stream_read_line(arg, &line, 100);
    return n < 0 ? gev_fail(errno) : P(n);
}

/* Says a line to a peer, who says it back. */
static inline bool converse(gev_stream *a, gev_stream *b)
{
    char *line = NULL;
    return gev_stream_printf(a, "hello\n") == 0 && gev_stream_flush(a) == 0 &&
           gev_stream_read_line(b, &line, 100) == 6 &&
           strcmp(line, "hello\n") == 0 &&
           gev_stream_printf(b, "and you\n") == 0 && gev_stream_flush(b) == 0 &&
           gev_stream_read_line(a, &line, 100) == 8 &&
           strcmp(line, "and you\n") == 0;
}

#endif
