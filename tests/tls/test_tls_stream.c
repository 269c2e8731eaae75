/* SPDX-License-Identifier: MIT */

/* TLS streams: reading, writing, and the end (SSL2, SSL3, SSL5, SSL8). */
#include "tls_pair.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/mman.h>

enum { BIG = 1000000 };

static char pattern(size_t i)
{
    return (char)(i * 7 % 251);
}

/* --- transports that make it hard ----------------------------------------- */

/* Over a descriptor: a byte a call, with a switch in between. */
static ssize_t read_byte(void *self, void *buf, size_t n)
{
    (void)n;
    return gev_yield() < 0 ? -1 : gev_read(N(self), buf, 1);
}

static ssize_t write_byte(void *self, const void *buf, size_t n)
{
    (void)n;
    return gev_yield() < 0 ? -1 : gev_write(N(self), buf, 1);
}

static int close_fd(void *self)
{
    return gev_close(N(self));
}

static const gev_transport byte_transport = {.size = sizeof(byte_transport),
                                             .read = read_byte,
                                             .write = write_byte,
                                             .close = close_fd};

/* The same, as much as there is; reads and writes can be cut off. */
struct wire {
    int fd;
    bool spoil;     /* the next bytes read */
    size_t written; /* bytes */
};

static ssize_t read_wire(void *self, void *buf, size_t n)
{
    struct wire *w = self;
    ssize_t got = gev_read(w->fd, buf, n);
    if (got > 0 && w->spoil) {
        ((char *)buf)[got - 1] ^= 1;
    }
    return got;
}

static ssize_t write_wire(void *self, const void *buf, size_t n)
{
    struct wire *w = self;
    ssize_t put = gev_write(w->fd, buf, n);
    w->written += put > 0 ? (size_t)put : 0;
    return put;
}

static int close_wire(void *self)
{
    return gev_close(((struct wire *)self)->fd);
}

static const gev_transport wire_transport = {.size = sizeof(wire_transport),
                                             .read = read_wire,
                                             .write = write_wire,
                                             .close = close_wire};

/* The client's side is a wire. */
static struct pair pair_on_wire(struct wire *w)
{
    int fds[2] = {-1, -1};
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    *w = (struct wire){.fd = fds[0]};
    return pair_over(gev_stream_new(&wire_transport, w),
                     gev_stream_open(fds[1]));
}

/* --- data ----------------------------------------------------------------- */

/* One direction of much data. */
struct flow {
    gev_stream *s;
    size_t total;
    size_t piece;
    size_t done;
};

static void *send_flow(void *arg)
{
    struct flow *f = arg;
    char *data = malloc(f->piece);
    while (f->done < f->total) {
        size_t n =
            f->piece < f->total - f->done ? f->piece : f->total - f->done;
        for (size_t i = 0; i < n; i++) {
            data[i] = pattern(f->done + i);
        }
        if (!expect_ok(gev_stream_write(f->s, data, n))) {
            break;
        }
        f->done += n;
    }
    free(data);
    expect_ok(gev_stream_shutdown(f->s));
    return NULL;
}

static void *receive_flow(void *arg)
{
    struct flow *f = arg;
    char *data = malloc(f->piece);
    ssize_t n;
    bool right = true;
    while ((n = gev_stream_read(f->s, data, f->piece)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            right = right && data[i] == pattern(f->done + (size_t)i);
        }
        f->done += (size_t)n;
    }
    free(data);
    expect_int_eq(n, 0);
    expect_true(right);
    expect_uint_eq(f->done, f->total);
    return NULL;
}

/* Much data both ways at once: two greenlets at each end. */
static void run_duplex(struct pair *p, size_t total, size_t out, size_t in)
{
    struct flow f[4] = {{p->client.s, total, out, 0},
                        {p->server.s, total, out, 0},
                        {p->client.s, total, in, 0},
                        {p->server.s, total, in, 0}};
    gev_greenlet *g[4];
    for (int i = 0; i < 4; i++) {
        g[i] = gev_spawn(i < 2 ? send_flow : receive_flow, &f[i]);
    }
    expect_int_eq(gev_joinall(g, 4, test_scale(30)), 4);
    gev_unrefall(g, 4);
}

/* D9 */
GEV_TEST(full_duplex)
{
    static const size_t pieces[] = {1, 100, 16319, 16320, 16321, 65536, BIG};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct pair p = make_pair();
        size_t n = pieces[i];
        test_note("pieces of %zu", n);
        run_duplex(&p, n < 100 ? BIG / 10 : BIG, n, n < 16 ? 16 : n);
        close_pair(&p);
    }
    test_note(NULL);
}

GEV_TEST(full_duplex_byte_by_byte_below)
{
    int fds[2] = {-1, -1};
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    struct pair p = pair_over(gev_stream_new(&byte_transport, P(fds[0])),
                              gev_stream_new(&byte_transport, P(fds[1])));
    errno = 0;
    expect_fail(gev_stream_fd(p.client.s), ENOTSUP);
    run_duplex(&p, 30000, 5000, 7000);
    close_pair(&p);
}

GEV_TEST(tls_over_tls)
{
    struct pair outer = make_pair();
    struct pair p = pair_over(outer.client.s, outer.server.s);
    run_duplex(&p, 200000, 3000, 3000);
    close_pair(&p); /* the outer ones, too */
}

/* D10: what OpenSSL holds is not waited for. */
GEV_TEST(a_record_is_read_byte_by_byte)
{
    struct pair p = make_pair();
    char *data = malloc(16000);
    size_t wrong = 0;
    for (size_t i = 0; i < 16000; i++) {
        data[i] = pattern(i);
    }
    expect_ok(gev_stream_write(p.client.s, data, 16000));
    expect_ok(gev_stream_flush(p.client.s));
    expect_ok(gev_stream_settimeout(p.server.s, test_scale(5)));
    for (size_t i = 0; i < 16000; i++) {
        char c = 0;
        wrong += gev_stream_read(p.server.s, &c, 1) != 1 || c != data[i];
    }
    expect_uint_eq(wrong, 0);
    free(data);
    close_pair(&p);
}

/* SSL2: a read that waits is in nobody's way. */
GEV_TEST(a_write_passes_a_read_that_waits)
{
    struct pair p = make_pair();
    char *line = NULL;
    void *n = NULL;
    gev_greenlet *g = gev_spawn(read_line, p.client.s);
    expect_ok(gev_sleep(0.001));
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_stream_printf(p.client.s, "%d\n", i));
        expect_ok(gev_stream_flush(p.client.s));
        expect_int_eq(gev_stream_read_line(p.server.s, &line, 10), 2);
    }
    expect_false(gev_ready(g));
    expect_ok(gev_stream_printf(p.server.s, "for the reader\n"));
    expect_ok(gev_stream_flush(p.server.s));
    expect_ok(gev_get(g, &n, test_scale(5)));
    expect_int_eq(N(n), 15);
    gev_unref(g);
    close_pair(&p);
}

GEV_TEST(files_and_texts)
{
    struct pair p = make_pair();
    char *data = NULL;
    int fd = memfd_create("file", MFD_CLOEXEC);
    expect_int_eq(write(fd, "from a file", 11), 11);
    expect_ok(gev_stream_printf(p.client.s, "%s, ", "text"));
    expect_ok(gev_stream_sendfile(p.client.s, fd, 5, 6));
    expect_ok(gev_stream_shutdown(p.client.s));
    expect_int_eq(gev_stream_read_all(p.server.s, &data, 100), 12);
    expect_str_eq(data, "text, a file");
    free(data);
    close(fd);
    close_pair(&p);
}

/* SSL5: nothing gets past TLS by accident. */
GEV_TEST(the_descriptor_stays_inside)
{
    struct pair p = make_pair();
    expect_ge(gev_stream_fd(p.client.s), 0);
    expect_fail(gev_stream_detach(p.client.s), ENOTSUP);
    expect_true(converse(p.client.s, p.server.s));
    close_pair(&p);
}

/* --- OpenSSL's error queue, keys, renegotiation --------------------------- */

static void *leave_errors(void *arg)
{
    bool *stop = arg;
    while (!*stop) {
        ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
        ERR_raise(ERR_LIB_USER, 7);
        expect_ok(gev_yield());
    }
    ERR_clear_error();
    return NULL;
}

/* The queue is the thread's: what others leave there does not make a live
 * connection look dead. */
GEV_TEST(the_error_queue_is_everybodys)
{
    bool stop = false;
    /* The trap: with somebody's error in the queue, a read that would only
     * have to wait is judged a failure. */
    gev_tls *client = make_client(0);
    SSL *ssl = SSL_new(gev_tls_ctx(client));
    char c;
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl);
    BIO_set_mem_eof_return(SSL_get_rbio(ssl), -1);
    ERR_clear_error();
    expect_int_eq(SSL_get_error(ssl, SSL_read(ssl, &c, 1)),
                  SSL_ERROR_WANT_READ);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    int result = SSL_read(ssl, &c, 1);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    expect_int_eq(SSL_get_error(ssl, result), SSL_ERROR_SSL);
    ERR_clear_error();
    SSL_free(ssl);
    gev_tls_unref(client);

    gev_greenlet *g = gev_spawn(leave_errors, &stop);
    int fds[2] = {-1, -1};
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    struct pair p = pair_over(gev_stream_new(&byte_transport, P(fds[0])),
                              gev_stream_open(fds[1]));
    expect_true(converse(p.client.s, p.server.s));
    run_duplex(&p, 20000, 3000, 3000);
    stop = true;
    expect_ok(gev_join(g, test_scale(5)));
    gev_unref(g);
    close_pair(&p);
    expect_uint_eq(ERR_peek_error(), 0); /* and leaves none itself */
}

static void *update_keys(void *arg)
{
    struct pair *p = arg;
    for (int i = 0; i < 20; i++) {
        SSL_key_update(gev_tls_ssl(p->client.s), SSL_KEY_UPDATE_REQUESTED);
        SSL_key_update(gev_tls_ssl(p->server.s), SSL_KEY_UPDATE_REQUESTED);
        gev_sleep(0.0005);
    }
    return NULL;
}

/* D8 */
GEV_TEST(keys_are_updated_on_the_way)
{
    struct pair p = make_pair();
    expect_str_eq(gev_tls_version(p.client.s), "TLSv1.3");
    gev_greenlet *g = gev_spawn(update_keys, &p);
    run_duplex(&p, BIG, 1000, 1000);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    close_pair(&p);
}

/* New keys that wait to be sent do not stand in the goodbye's way. */
GEV_TEST(a_goodbye_after_new_keys)
{
    for (int how = 0; how < 2; how++) {
        struct pair p = make_pair();
        char c;
        expect_int_eq(
            SSL_key_update(gev_tls_ssl(p.client.s), SSL_KEY_UPDATE_REQUESTED),
            1);
        expect_ok(how ? gev_stream_shutdown(p.client.s)
                      : gev_stream_close(p.client.s));
        expect_int_eq(gev_stream_read(p.server.s, &c, 1), 0);
        if (how == 0) {
            p.client.s = NULL;
        }
        close_pair(&p);
    }
}

/* RFC 8446, 6.1. A peer that has read all there is reads no more: an answer to
 * its new keys would wait for ever where buffers are full. */
GEV_TEST(nothing_follows_the_goodbye)
{
    struct wire wire = {.fd = -1};
    struct pair p = pair_on_wire(&wire);
    char c = 0;
    expect_ok(gev_stream_shutdown(p.client.s));
    size_t before = wire.written;
    /* OpenSSL has the answer ready at the first, and writes it at the next. */
    for (int i = 0; i < 2; i++) {
        SSL *ssl = gev_tls_ssl(p.server.s);
        expect_int_eq(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        expect_ok(gev_stream_write(p.server.s, "x", 1));
        expect_ok(gev_stream_flush(p.server.s));
        expect_int_eq(gev_stream_read(p.client.s, &c, 1), 1);
        expect_int_eq(c, 'x');
    }
    expect_ok(gev_stream_settimeout(p.client.s, 0.001));
    expect_fail(gev_stream_read(p.client.s, &c, 1), ETIMEDOUT);
    expect_uint_eq(wire.written, before);
    close_pair(&p);
    expect_uint_eq(wire.written, before);
}

GEV_TEST(renegotiation_is_refused)
{
    gev_tls *client = make_client(0);
    gev_tls *server = make_server("good", 0);
    char c;
    SSL_CTX_set_max_proto_version(gev_tls_ctx(client), TLS1_2_VERSION);
    SSL_CTX_clear_options(gev_tls_ctx(client), SSL_OP_NO_RENEGOTIATION);
    struct pair p = shake(client, server, "localhost");
    expect_int_eq(SSL_renegotiate(gev_tls_ssl(p.client.s)), 1);
    gev_greenlet *g = gev_spawn(read_line, p.server.s);
    expect_fail(gev_stream_read(p.client.s, &c, 1), GEV_ETLS);
    expect_true(strstr(gev_tls_reason(), "renegotiation") != NULL);
    gev_stream_close(p.client.s);
    expect_int_eq(gev_join(g, test_scale(5)), 0);
    gev_unref(g);
    gev_stream_close(p.server.s);
    gev_tls_unref(client);
    gev_tls_unref(server);
}

GEV_TEST(a_spoiled_record_is_found_out)
{
    struct wire w;
    struct pair p = pair_on_wire(&w);
    char c;
    expect_true(converse(p.client.s, p.server.s));
    w.spoil = true;
    expect_ok(gev_stream_write(p.server.s, "secret", 6));
    expect_ok(gev_stream_flush(p.server.s));
    expect_fail(gev_stream_read(p.client.s, &c, 1), GEV_ETLS);
    expect_true(strstr(gev_tls_reason(), "bad record mac") != NULL);
    expect_fail(gev_stream_read(p.client.s, &c, 1), GEV_ETLS); /* for ever */
    expect_ok(gev_stream_write(p.client.s, "x", 1));
    expect_fail(gev_stream_flush(p.client.s), GEV_ETLS);
    expect_fail(gev_stream_read(p.server.s, &c, 1), GEV_ETLS); /* the alert */
    close_pair(&p);
}

/* --- the end -------------------------------------------------------------- */

/* SSL3 */
GEV_TEST(the_end_is_the_goodbye)
{
    struct pair p = make_pair();
    char c;
    expect_ok(gev_stream_close(p.client.s));
    expect_int_eq(gev_stream_read(p.server.s, &c, 1), 0);
    expect_int_eq(gev_stream_read(p.server.s, &c, 1), 0);
    gev_stream_close(p.server.s);
}

/* SSL3: an end without one may be an attack. */
GEV_TEST(an_end_without_goodbye_is_an_error)
{
    struct pair p = make_pair();
    char *data = NULL;
    expect_ok(gev_stream_write(p.client.s, "all is wel", 10));
    expect_ok(gev_stream_flush(p.client.s));
    expect_ok(gev_shutdown(gev_stream_fd(p.client.s), SHUT_RDWR));
    expect_fail(gev_stream_read_all(p.server.s, &data, 100), ECONNRESET);
    expect_true(strstr(gev_tls_reason(), "close_notify") != NULL);
    expect_uint_eq(gev_stream_buffered(p.server.s), 10); /* it is there */
    close_pair(&p);
    p = make_pair();
    gev_stream *other = p.server.s;
    expect_ok(gev_shutdown(gev_stream_fd(p.client.s), SHUT_RDWR));
    expect_fail(gev_stream_read_all(other, &data, 100), ECONNRESET);
    expect_true(gev_tls_reason()[0] != '\0');
    struct pair silent = make_pair();
    expect_fail(gev_stream_read_all(other, &data, 100), ECONNRESET);
    expect_ok(gev_stream_settimeout(silent.client.s, 0.001));
    expect_fail(gev_stream_read_all(silent.client.s, &data, 9), ETIMEDOUT);
    expect_str_eq(gev_tls_reason(), ""); /* not another call's */
    close_pair(&p);
    close_pair(&silent);
}

/* A stream that is given up is not one that ends. */
GEV_TEST(an_abort_is_no_goodbye)
{
    struct pair p = make_pair();
    char *data = NULL;
    expect_ok(gev_stream_write(p.client.s, "all is wel", 10));
    expect_ok(gev_stream_flush(p.client.s));
    expect_ok(gev_stream_write(p.client.s, "l", 1));
    expect_ok(gev_stream_abort(p.client.s));
    expect_fail(gev_stream_read_all(p.server.s, &data, 100), ECONNRESET);
    expect_uint_eq(gev_stream_buffered(p.server.s), 10);
    expect_ok(gev_stream_close(p.server.s));
}

/* Nor is one whose last flush fails. */
GEV_TEST(what_is_lost_is_followed_by_no_goodbye)
{
    struct pair p = make_pair();
    static char much[GEV_STREAM_BUF];
    char *data = NULL;
    expect_ok(gev_stream_settimeout(p.client.s, 0));
    while (gev_stream_write(p.client.s, much, sizeof(much)) == 0) {
    }
    expect_int_eq(errno, ETIMEDOUT);
    expect_fail(gev_stream_close(p.client.s), ETIMEDOUT);
    expect_fail(gev_stream_read_all(p.server.s, &data, SIZE_MAX), ECONNRESET);
    expect_ok(gev_stream_close(p.server.s));
}

/* TLS over TLS ends, or is given up, both. */
GEV_TEST(ends_of_tls_over_tls)
{
    for (int i = 0; i < 2; i++) {
        struct pair outer = make_pair();
        struct pair p = pair_over(outer.client.s, outer.server.s);
        char *data = NULL;
        test_note("%s", i == 0 ? "close" : "abort");
        expect_ok(i == 0 ? gev_stream_close(p.client.s)
                         : gev_stream_abort(p.client.s));
        if (i == 0) {
            expect_int_eq(gev_stream_read_all(p.server.s, &data, 100), 0);
            free(data);
            expect_int_eq(gev_stream_read_all(outer.server.s, &data, 100), 0);
            free(data);
        } else {
            expect_fail(gev_stream_read_all(p.server.s, &data, 9), ECONNRESET);
        }
        expect_ok(gev_stream_close(p.server.s));
    }
    test_note(NULL);
}

/* SSL8 */
GEV_TEST(half_a_close)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        gev_tls *client = make_client(0);
        gev_tls *server = make_server("good", 0);
        char *data = NULL;
        SSL_CTX_set_max_proto_version(gev_tls_ctx(client), version);
        struct pair p = shake(client, server, "localhost");
        expect_ok(gev_stream_write(p.client.s, "question", 8));
        expect_ok(gev_stream_shutdown(p.client.s));
        expect_fail(gev_stream_write(p.client.s, "x", 1), EPIPE);
        expect_int_eq(gev_stream_read_all(p.server.s, &data, 100), 8);
        free(data);
        expect_ok(gev_stream_write(p.server.s, "answer", 6));
        expect_ok(gev_stream_close(p.server.s));
        expect_int_eq(gev_stream_read_all(p.client.s, &data, 100), 6);
        free(data);
        gev_stream_close(p.client.s);
        gev_tls_unref(client);
        gev_tls_unref(server);
    }
}

static void *unwrap_side(void *arg)
{
    struct side *x = arg;
    gev_stream *lower = gev_tls_unwrap(x->s);
    if (lower == NULL) {
        return gev_fail(errno);
    }
    x->s = lower;
    return NULL;
}

/* SSL8 */
GEV_TEST(the_way_back_to_plain_text)
{
    struct pair p = make_pair();
    char *line = NULL;
    expect_ok(gev_stream_write(p.client.s, "last words\n", 11));
    gev_greenlet *g = gev_spawn(unwrap_side, &p.client);
    expect_int_eq(gev_stream_read_line(p.server.s, &line, 100), 11);
    gev_stream *lower = gev_tls_unwrap(p.server.s);
    expect_not_null(lower);
    p.server.s = lower;
    expect_ok(gev_join(g, test_scale(5)));
    gev_unref(g);
    errno = 0;
    expect_null(gev_tls_version(p.client.s));
    expect_int_eq(errno, ENOTSUP);
    expect_true(converse(p.client.s, p.server.s));
    /* And to TLS again. */
    p = pair_over(p.client.s, p.server.s);
    expect_true(converse(p.client.s, p.server.s));
    close_pair(&p);
}

GEV_TEST(plain_text_right_after_the_goodbye)
{
    struct pair p = make_pair();
    char *line = NULL;
    gev_greenlet *g = gev_spawn(unwrap_side, &p.client);
    expect_ok(gev_yield());
    gev_stream *lower = gev_tls_unwrap(p.server.s);
    expect_not_null(lower);
    /* In the peer's hands together with the close_notify, and not TLS's. */
    expect_ok(gev_stream_printf(lower, "plain\n"));
    expect_ok(gev_stream_flush(lower));
    expect_ok(gev_join(g, test_scale(5)));
    gev_unref(g);
    expect_int_eq(gev_stream_read_line(p.client.s, &line, 100), 6);
    expect_str_eq(line, "plain\n");
    gev_stream_close(p.client.s);
    gev_stream_close(lower);
}

GEV_TEST(what_is_unread_stands_in_the_way_back)
{
    struct pair p = make_pair();
    char *line = NULL;
    expect_ok(gev_stream_write(p.client.s, "wait\n", 5));
    expect_ok(gev_stream_flush(p.client.s));
    expect_null(gev_tls_unwrap(p.server.s));
    expect_int_eq(errno, EBUSY);
    expect_int_eq(gev_stream_read_line(p.server.s, &line, 10), 5);
    gev_greenlet *g = gev_spawn(unwrap_side, &p.server);
    gev_stream *lower = gev_tls_unwrap(p.client.s);
    expect_not_null(lower);
    expect_ok(gev_get(g, NULL, test_scale(5)));
    gev_unref(g);
    gev_stream_close(lower);
    gev_stream_close(p.server.s);
}

GEV_TEST(the_way_back_from_a_peer_that_is_gone)
{
    struct pair p = make_pair();
    expect_ok(gev_shutdown(gev_stream_fd(p.client.s), SHUT_RDWR));
    gev_stream *lower = gev_tls_unwrap(p.server.s);
    expect_not_null(lower);
    gev_stream_close(lower);
    gev_stream_close(p.client.s);

    gev_tls *client = make_client(0);
    gev_tls_opts o = {.size = sizeof(o),
                      .cert_file = certs_path("good.pem"),
                      .key_file = certs_path("good.key"),
                      .handshake_timeout = test_scale(0.2)};
    gev_tls *server = gev_tls_server(&o);
    p = shake(client, server, "localhost");
    expect_null(gev_tls_unwrap(p.server.s)); /* it does not answer */
    expect_int_eq(errno, ETIMEDOUT);
    gev_greenlet *g = gev_spawn(unwrap_side, &p.client);
    lower = gev_tls_unwrap(p.server.s); /* now it does */
    expect_not_null(lower);
    expect_ok(gev_get(g, NULL, test_scale(5)));
    gev_unref(g);
    gev_stream_close(lower);
    gev_stream_close(p.client.s);
    gev_tls_unref(client);
    gev_tls_unref(server);
}

/* --- kills, timeouts, closes ---------------------------------------------- */

GEV_TEST(a_close_wakes_who_reads)
{
    for (int on_wire = 0; on_wire < 2; on_wire++) {
        struct wire w;
        struct pair p = on_wire ? pair_on_wire(&w) : make_pair();
        gev_greenlet *g = gev_spawn(read_line, p.client.s);
        gev_greenlet *g2 = gev_spawn(read_line, p.client.s);
        expect_ok(gev_sleep(0.001));
        expect_ok(gev_stream_close(p.client.s));
        expect_fail(gev_get(g, NULL, test_scale(5)), EBADF);
        expect_fail(gev_get(g2, NULL, test_scale(5)), EBADF);
        gev_unref(g);
        gev_unref(g2);
        gev_stream_close(p.server.s);
    }
}

/* The reader has been woken already: no code is left behind in it. */
static void *read_then_yield(void *arg)
{
    char c;
    ssize_t n = gev_stream_read(arg, &c, 1);
    int error = n < 0 ? errno : 0;
    expect_ok(gev_yield());
    expect_ok(gev_sleep(0.001));
    return P(error);
}

GEV_TEST(a_close_races_with_data)
{
    struct pair p = make_pair();
    void *error = NULL;
    gev_greenlet *g = gev_spawn(read_then_yield, p.client.s);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_stream_write(p.server.s, "x", 1));
    expect_ok(gev_stream_flush(p.server.s));
    test_spin(0.002);
    expect_ok(gev_idle()); /* it is ready, and has not run or has just */
    expect_ok(gev_stream_close(p.client.s));
    expect_ok(gev_get(g, &error, test_scale(5)));
    expect_true(N(error) == EBADF || N(error) == 0);
    gev_unref(g);
    gev_stream_close(p.server.s);
}

static void *write_much(void *arg)
{
    static char data[BIG];
    return gev_stream_write(arg, data, BIG) < 0 ? gev_fail(errno) : NULL;
}

/* D11: a goodbye that cannot be said does not hold the close up for long. */
GEV_TEST(a_close_wakes_who_writes)
{
    struct pair p = make_pair();
    gev_greenlet *w = gev_spawn(write_much, p.client.s);
    gev_greenlet *r = gev_spawn(read_line, p.client.s);
    expect_ok(gev_sleep(0.01));
    expect_false(gev_ready(w));
    double begin = test_now();
    expect_ok(gev_stream_close(p.client.s));
    expect_le(test_now() - begin, test_scale(2));
    expect_fail(gev_get(w, NULL, test_scale(5)), EBADF);
    expect_fail(gev_get(r, NULL, test_scale(5)), EBADF);
    gev_unref(w);
    gev_unref(r);
    gev_stream_close(p.server.s);
}

/* SSL2: what a kill or a timeout ends has taken nothing, and what was taken
 * arrives: the stream goes on as if nothing had been. */
static void *write_in_pieces(void *arg)
{
    struct flow *f = arg;
    char data[3000];
    while (f->done < f->total) {
        for (size_t i = 0; i < sizeof(data); i++) {
            data[i] = pattern(f->done + i);
        }
        if (gev_stream_write(f->s, data, sizeof(data)) < 0) {
            return gev_fail(errno);
        }
        f->done += sizeof(data);
        /* Only now: what the buffer had taken before stays there. */
    }
    return NULL;
}

GEV_TEST(killed_and_timed_out_writes_go_on)
{
    struct pair p = make_pair();
    struct flow out = {p.client.s, 3000 * 400, 0, 0};
    struct flow in = {p.server.s, out.total, 9999, 0};
    gev_greenlet *reader = NULL;
    int stops = 0;
    for (;;) {
        gev_greenlet *g = gev_spawn(write_in_pieces, &out);
        if (stops % 2 == 0) {
            expect_ok(gev_stream_settimeout(p.client.s, 0.002));
            (void)gev_join(g, test_scale(5));
        } else {
            expect_ok(gev_stream_settimeout(p.client.s, GEV_FOREVER));
            (void)gev_join(g, 0.002);
            (void)gev_kill(g, GEV_FOREVER);
        }
        bool all = out.done == out.total;
        gev_unref(g);
        if (all || test_failed()) {
            break;
        }
        if (++stops == 6) {
            reader = gev_spawn(receive_flow, &in);
        }
    }
    expect_ge(stops, 6);
    expect_ok(gev_stream_settimeout(p.client.s, GEV_FOREVER));
    expect_ok(gev_stream_shutdown(p.client.s));
    expect_ok(gev_join(reader, test_scale(10)));
    gev_unref(reader);
    close_pair(&p);
}

GEV_TEST(killed_and_timed_out_reads_lose_nothing)
{
    int fds[2] = {-1, -1};
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    struct pair p = pair_over(gev_stream_new(&byte_transport, P(fds[0])),
                              gev_stream_open(fds[1]));
    struct flow out = {p.server.s, 20000, 777, 0};
    gev_greenlet *w = gev_spawn(send_flow, &out);
    size_t done = 0;
    int timeouts = 0;
    ssize_t n = 1;
    bool right = true;
    while (n != 0 && !test_failed()) {
        char data[100];
        gev_timeout limit = {.priv = {0}};
        expect_ok(gev_timeout_begin(&limit, 0.0002));
        n = gev_stream_read(p.client.s, data, sizeof(data));
        if (n < 0) {
            expect_int_eq(errno, ETIMEDOUT);
            timeouts++;
        }
        gev_timeout_end(&limit);
        for (ssize_t i = 0; i < n; i++) {
            right = right && data[i] == pattern(done + (size_t)i);
        }
        done += n > 0 ? (size_t)n : 0;
    }
    expect_true(right);
    expect_uint_eq(done, 20000);
    expect_ge(timeouts, 1);
    expect_ok(gev_join(w, test_scale(5)));
    gev_unref(w);
    close_pair(&p);
}

/* A peer that takes nothing: each call ends in time, the close too. */
GEV_TEST(a_peer_that_does_not_read)
{
    struct pair p = make_pair();
    static char data[BIG];
    double begin = test_now();
    expect_ok(gev_stream_settimeout(p.client.s, 0.01));
    expect_fail(gev_stream_write(p.client.s, data, BIG), ETIMEDOUT);
    expect_fail(gev_stream_write(p.client.s, data, BIG), ETIMEDOUT);
    expect_fail(gev_stream_close(p.client.s) < 0 ? -1 : -1, errno);
    expect_le(test_now() - begin, test_scale(5));
    gev_stream_close(p.server.s);
}

/* In a killed greenlet nothing parks, and the goodbye is said all the same. */
static void *close_when_killed(void *arg)
{
    gev_stream *s = arg;
    expect_fail(gev_sleep(60), ECANCELED);
    expect_ok(gev_stream_write(s, "bye", 3));
    expect_ok(gev_stream_close(s));
    return NULL;
}

GEV_TEST(a_killed_greenlet_says_goodbye)
{
    struct pair p = make_pair();
    char *data = NULL;
    gev_greenlet *g = gev_spawn(close_when_killed, p.client.s);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
    expect_int_eq(gev_stream_read_all(p.server.s, &data, 100), 3);
    free(data);
    gev_stream_close(p.server.s);
}

GEV_TEST(a_stream_keeps_its_configuration)
{
    gev_tls *client = make_client(0);
    gev_tls *server = make_server("good", 0);
    struct pair p = shake(client, server, "localhost");
    gev_tls_unref(client);
    gev_tls_unref(server);
    expect_true(converse(p.client.s, p.server.s));
    close_pair(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_duplex),
        cmocka_unit_test(full_duplex_byte_by_byte_below),
        cmocka_unit_test(tls_over_tls),
        cmocka_unit_test(a_record_is_read_byte_by_byte),
        cmocka_unit_test(a_write_passes_a_read_that_waits),
        cmocka_unit_test(files_and_texts),
        cmocka_unit_test(the_descriptor_stays_inside),
        cmocka_unit_test(the_error_queue_is_everybodys),
        cmocka_unit_test(keys_are_updated_on_the_way),
        cmocka_unit_test(a_goodbye_after_new_keys),
        cmocka_unit_test(nothing_follows_the_goodbye),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(a_spoiled_record_is_found_out),
        cmocka_unit_test(the_end_is_the_goodbye),
        cmocka_unit_test(an_end_without_goodbye_is_an_error),
        cmocka_unit_test(an_abort_is_no_goodbye),
        cmocka_unit_test(what_is_lost_is_followed_by_no_goodbye),
        cmocka_unit_test(ends_of_tls_over_tls),
        cmocka_unit_test(half_a_close),
        cmocka_unit_test(the_way_back_to_plain_text),
        cmocka_unit_test(plain_text_right_after_the_goodbye),
        cmocka_unit_test(what_is_unread_stands_in_the_way_back),
        cmocka_unit_test(the_way_back_from_a_peer_that_is_gone),
        cmocka_unit_test(a_close_wakes_who_reads),
        cmocka_unit_test(a_close_races_with_data),
        cmocka_unit_test(a_close_wakes_who_writes),
        cmocka_unit_test(killed_and_timed_out_writes_go_on),
        cmocka_unit_test(killed_and_timed_out_reads_lose_nothing),
        cmocka_unit_test(a_peer_that_does_not_read),
        cmocka_unit_test(a_killed_greenlet_says_goodbye),
        cmocka_unit_test(a_stream_keeps_its_configuration),
    };
    (void)certs_path(""); /* made outside of the tests */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
