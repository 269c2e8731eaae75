/* SPDX-License-Identifier: MIT */

/* Connections: one request after the other. */
#include "http/http.h"

#include <gev.h>

#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

/* So long a connection may be idle before its memory is given back. */
#define TRIM 1.0

/* --- options -------------------------------------------------------------- */

static void set_size(size_t *value, size_t otherwise)
{
    *value = *value == 0 ? otherwise : *value;
}

/* False: it makes no sense. */
static bool set_time(double *value, double otherwise)
{
    *value = *value == 0 ? otherwise : *value; /* NaN stays */
    return *value > 0;
}

/* Copies what the caller knows of them, and fills in what is zero. */
static int complete_opts(const gev_http_opts *given, gev_http_opts *ret_opts)
{
    gev_http_opts o = {.size = sizeof(o)};

    if (given != NULL) {
        size_t size = given->size == 0 ? sizeof(o) : given->size;
        memcpy(&o, given, size < sizeof(o) ? size : sizeof(o));
    }
    set_size(&o.max_line, 8192);
    set_size(&o.max_header, 65536);
    set_size(&o.max_discard, 262144);
    o.max_headers = o.max_headers == 0 ? 100 : o.max_headers;
    if (!set_time(&o.header_timeout, 10) || !set_time(&o.body_timeout, 30) ||
        !set_time(&o.write_timeout, 30) || !set_time(&o.idle_timeout, 60)) {
        errno = EINVAL;
        return -1;
    }
    /* Nobody has heads that long, and sums must not wrap. */
    size_t most = SIZE_MAX / 4;
    o.max_line = o.max_line < most ? o.max_line : most;
    o.max_header = o.max_header < most ? o.max_header : most;
    *ret_opts = o;
    return 0;
}

/* --- between requests ----------------------------------------------------- */

/* Leaves to others what is not needed between requests. */
static void release_memory(struct gev__http_conn *c)
{
    gev__http_arena_reset(&c->arena);
    gev__http_spares_put(&c->shared->outs, c->out);
    c->out = NULL;
    free(c->in);
    c->in = NULL;
    c->in_size = 0;
    c->in_start = 0;
    c->in_end = 0;
    c->nul = NULL;
}

/* Nothing is needed until the client says something. */
static void trim(struct gev__http_conn *c)
{
    gev__http_spares_fini(&c->own.blocks);
    gev__http_spares_fini(&c->own.outs);
    (void)gev_stream_trim(c->stream);
}

/* 1: there is a byte; 0: the end; -1. */
static int wait_for_byte(struct gev__http_conn *c, double seconds)
{
    const void *data;

    gev__http_limit(c, seconds);
    ssize_t n = gev_stream_peek(c->stream, &data, 1);
    return n > 0 ? 1 : (int)n;
}

static int wait_idle(struct gev__http_conn *c)
{
    double left = c->opts->idle_timeout;
    int rc = wait_for_byte(c, left < TRIM ? left : TRIM);

    if (rc >= 0 || errno != ETIMEDOUT || left <= TRIM) {
        return rc;
    }
    trim(c);
    return wait_for_byte(c, left - TRIM);
}

/* Waits for a request's first byte: 1; 0: the connection ends; -1: and it was
 * not the client's or our own doing. */
static int wait_for_request(struct gev__http_conn *c)
{
    if (gev_stream_buffered(c->stream) > 0) {
        return 1;
    }
    if (c->in_server && gev_server_idle(c->stream, true) < 0) {
        return 0;
    }
    release_memory(c);
    int rc = wait_idle(c);
    if (c->in_server) {
        int error = errno;
        (void)gev_server_idle(c->stream, false);
        errno = error;
    }
    if (rc < 0 && (errno == ETIMEDOUT || errno == ECONNRESET)) {
        return 0;
    }
    return rc;
}

/* --- a head --------------------------------------------------------------- */

/* What came is not enough: 0: there is more; else the status. */
static int wait_for_more(struct gev_http *h, size_t have, const void **ret_data,
                         size_t *ret_n)
{
    struct gev__http_conn *c = h->conn;
    double left = h->began + c->opts->header_timeout - gev__http_now();

    gev__http_limit(c, left);
    ssize_t n = gev_stream_peek(c->stream, ret_data, have + 1);
    if (n < 0 && errno == ETIMEDOUT) {
        return gev__http_refuse(h, 408, "the head did not come in time");
    }
    if (n < 0 || n == 0) {
        return -1;
    }
    if ((size_t)n <= have) {
        return gev__http_refuse(h, 400, "the connection ended in a head");
    }
    *ret_n = (size_t)n;
    return 0;
}

/* 0: there is a request; -1: there is none; else the status to refuse with. */
static int read_head(struct gev_http *h)
{
    struct gev__http_conn *c = h->conn;
    struct gev__http_scan scan = {.line = 0};
    const void *data;
    ssize_t end = 0;
    ssize_t got = gev_stream_peek(c->stream, &data, 1);
    size_t n = got > 0 ? (size_t)got : 0;
    int status = 0;

    if (got <= 0) {
        return -1;
    }
    while ((end = gev__http_scan(&scan, data, n, c->opts, &status, &h->why)) ==
           0) {
        status = wait_for_more(h, n, &data, &n);
        if (status != 0) {
            return scan.headers == 0 && scan.line == n ? -1 : status;
        }
    }
    if (end < 0) {
        return status;
    }
    char *text = gev__http_alloc(&c->arena, (size_t)end + 1);
    if (text == NULL ||
        gev_stream_read_exactly(c->stream, text, (size_t)end) < end) {
        return -1;
    }
    return gev__http_parse(h, text, (size_t)end, &scan);
}

/* --- a request ------------------------------------------------------------ */

static void begin_request(struct gev__http_conn *c)
{
    struct gev_http *h = &c->request;

    gev__http_arena_reset(&c->arena);
    memset(h, 0, sizeof(*h));
    h->conn = c;
    h->version = 11;
    h->status = 200;
    h->length = -1;
    h->last = &h->first;
    h->began = gev__http_now();
    c->in_start = 0;
    c->in_end = 0;
    c->nul = NULL;
    c->n_requests++;
}

static void write_log(const struct gev_http *h)
{
    const gev_http_opts *opts = h->conn->opts;

    if (opts->log != NULL) {
        opts->log(h, gev_http_status(h), h->why, opts->log_arg);
    }
}

/* What a handler that failed is answered with. */
static int status_of_failure(const struct gev_http *h)
{
    switch (h->body_error) {
    case EBADMSG:
        return h->body_status == 0 ? 400 : h->body_status;
    case ECONNRESET:
        return 400;
    case EFBIG:
        return 413;
    case ETIMEDOUT:
        return 408;
    default:
        return 500;
    }
}

static const char *why_it_failed(const struct gev_http *h)
{
    switch (h->body_error) {
    case EBADMSG:
        return h->body_status == 431 ? "the trailers are too long"
                                     : "the body is malformed";
    case ECONNRESET:
        return "the connection ended in the body";
    case EFBIG:
        return "the body is too long";
    case ETIMEDOUT:
        return "the body did not come in time";
    default:
        return h->broken != 0 ? gev_strerror(h->broken) : "the handler failed";
    }
}

/* A handler that was killed, or is out of time, and has not said anything did
 * not mean "200 OK". */
static bool is_speechless(const struct gev_http *h)
{
    return h->status == 200 && h->reason == NULL && h->first == NULL &&
           h->length < 0 && h->sent == 0 && !h->head_out && gev_yield() < 0;
}

/* The handler, and the end of its response. */
static void run_handler(struct gev__http_conn *c)
{
    struct gev_http *h = &c->request;
    int rc = c->fn(h, c->arg);

    if (rc == 0 && !h->hijacked && is_speechless(h)) {
        rc = -1;
    }
    if (h->hijacked) {
        h->close = true;
    } else if (rc != 0) {
        h->why = why_it_failed(h);
        (void)gev__http_send_error(h, status_of_failure(h));
    } else if (gev__http_finish(h) < 0 && h->why == NULL) {
        h->why = gev_strerror(h->broken != 0 ? h->broken : errno);
    }
}

/* Whether another may follow. */
static bool serve_request(struct gev__http_conn *c)
{
    struct gev_http *h = &c->request;

    begin_request(c);
    int status = read_head(h);
    if (status < 0) {
        return false;
    }
    if (status > 0) {
        (void)gev__http_send_error(h, status);
    } else {
        run_handler(c);
    }
    write_log(h);
    return !h->close && gev__http_discard(h);
}

/* --- a connection --------------------------------------------------------- */

static void free_conn(void *arg)
{
    struct gev__http_conn *c = arg;

    release_memory(c);
    gev__http_spares_fini(&c->own.blocks);
    gev__http_spares_fini(&c->own.outs);
    free(c);
}

/* The handler has ended its greenlet. */
static void drop_conn(void *arg)
{
    struct gev__http_conn *c = arg;

    if (c->request.head_out) {
        gev__http_cut(&c->request);
    }
    free_conn(c);
}

static struct gev__http_conn *make_conn(gev_stream *stream,
                                        const gev_http_opts *opts,
                                        gev_http_fn fn, void *arg)
{
    struct gev__http_conn *c = calloc(1, sizeof(*c));

    if (c == NULL) {
        return NULL;
    }
    c->stream = stream;
    c->opts = opts;
    c->fn = fn;
    c->arg = arg;
    c->shared = &c->own;
    c->arena.spares = &c->own.blocks;
    c->timeout = NAN; /* unknown */
    c->in_server = gev_server_of(stream) != NULL;
    c->peer.any.sa_family = AF_UNSPEC;
    /* The frames that know of it may be gone when its greenlet ends. */
    if (gev_defer(drop_conn, c) < 0) {
        free(c);
        return NULL;
    }
    return c;
}

/* For the flush that comes with the close: a client that took nothing gets no
 * second chance. */
static void leave_limit(struct gev__http_conn *c)
{
    if (c->request.broken != 0) {
        gev__http_limit(c, 0);
    } else if (c->in_server) {
        c->timeout = NAN; /* who took it over may have set another */
        gev__http_limit(c, c->opts->write_timeout);
    } else if (!c->request.hijacked) {
        gev__http_limit(c, GEV_FOREVER);
    }
}

/* So many requests that are there already are served in a row. */
#define ROW 32

/* A client that sends faster than it is served would else be the only one. */
static int give_way(const struct gev__http_conn *c)
{
    return c->n_requests % ROW == 0 ? gev_yield() : 0;
}

static int serve_conn(struct gev__http_conn *c)
{
    const int on = 1;
    int fd = gev_stream_fd(c->stream);
    int rc;

    if (fd >= 0) {
        /* What is written goes out in one piece, and at once. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    do {
        rc = wait_for_request(c);
    } while (rc > 0 && serve_request(c) && (rc = give_way(c)) == 0);
    int error = errno;
    (void)gev_undefer(drop_conn, c);
    leave_limit(c);
    free_conn(c);
    errno = error;
    return rc < 0 ? -1 : 0;
}

/* --- servers -------------------------------------------------------------- */

/* What a server's connections share. */
struct service {
    gev_http_opts opts;
    gev_http_fn fn;
    void *arg;
    bool is_plain;
    struct gev__http_shared shared;
    void (*release)(void *arg); /* the user's; or NULL */
};

/* The server has been freed. */
static void release_service(void *arg)
{
    struct service *v = arg;

    if (v->release != NULL) {
        v->release(v->arg);
    }
    gev__http_spares_fini(&v->shared.blocks);
    gev__http_spares_fini(&v->shared.outs);
    free(v);
}

static socklen_t length_of(const struct sockaddr *peer)
{
    switch (peer->sa_family) {
    case AF_INET:
        return sizeof(struct sockaddr_in);
    case AF_INET6:
        return sizeof(struct sockaddr_in6);
    case AF_UNIX:
        return sizeof(struct sockaddr_un);
    default:
        return sizeof(sa_family_t);
    }
}

static void serve_in_service(gev_stream *conn, const struct sockaddr *peer,
                             void *arg)
{
    struct service *v = arg;
    struct gev__http_conn *c = make_conn(conn, &v->opts, v->fn, v->arg);

    if (c == NULL) {
        return;
    }
    c->is_plain = v->is_plain;
    c->shared = &v->shared;
    c->arena.spares = &v->shared.blocks;
    if (peer != NULL) {
        memcpy(&c->peer, peer, length_of(peer));
    }
    (void)serve_conn(c);
}

static struct service *make_service(const gev_http_opts *opts, gev_http_fn fn,
                                    void *arg)
{
    struct service *v = calloc(1, sizeof(*v));

    if (v == NULL) {
        return NULL;
    }
    v->opts = *opts;
    v->fn = fn;
    v->arg = arg;
    return v;
}

/* --- public --------------------------------------------------------------- */

gev_server *gev_http_server_new(const gev_server_opts *server,
                                const gev_http_opts *opts, gev_http_fn fn,
                                void *arg)
{
    gev_server_opts mine = {.size = sizeof(mine)};
    gev_http_opts complete;

    if (fn == NULL) {
        errno = EINVAL;
        return NULL;
    }
    if (complete_opts(opts, &complete) < 0) {
        return NULL;
    }
    if (server != NULL) {
        size_t size = server->size == 0 ? sizeof(mine) : server->size;
        memcpy(&mine, server, size < sizeof(mine) ? size : sizeof(mine));
        mine.size = sizeof(mine);
    }
    struct service *v = make_service(&complete, fn, arg);
    if (v == NULL) {
        return NULL;
    }
    v->is_plain = mine.tls == NULL;
    v->release = mine.release;
    mine.release = release_service;
    gev_server *s = gev_server_new(&mine, serve_in_service, v);
    if (s == NULL) {
        int error = errno;
        free(v);
        errno = error;
    }
    return s;
}

int gev_http_serve_stream(gev_stream *conn, const gev_http_opts *opts,
                          gev_http_fn fn, void *arg)
{
    gev_http_opts complete;

    if (conn == NULL || fn == NULL) {
        errno = EINVAL;
        return -1;
    }
    if (complete_opts(opts, &complete) < 0) {
        return -1;
    }
    struct gev__http_conn *c = make_conn(conn, &complete, fn, arg);
    if (c == NULL) {
        return -1;
    }
    socklen_t n = sizeof(c->peer);
    int fd = gev_stream_fd(conn);
    if (fd >= 0 && getpeername(fd, &c->peer.any, &n) < 0) {
        c->peer.any.sa_family = AF_UNSPEC;
    }
    int rc = serve_conn(c);
    /* A kill, or the end of the caller's time, is no end of the client's. */
    return rc == 0 && gev_yield() < 0 ? -1 : rc;
}
