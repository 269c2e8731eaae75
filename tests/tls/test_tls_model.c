/* SPDX-License-Identifier: MIT */

/* Random schedules of TLS connections against a naive model: each end has said
 * so many bytes of a pattern, and whoever reads gets just them.
 *
 * A seed makes a connection over two transports that cut everything into random
 * pieces, park in between, and can or cannot try and wait; a reader and a
 * writer at each end, with their ways to read and write; and somebody who kills
 * them, limits their time, asks for new keys, trims, and may close an end under
 * them. Whoever was killed is replaced, and goes on where he was. A failure
 * prints its seed: GEV_MODEL_SEED=n runs that one alone. */
#include "tls_pair.h"

#include <sys/socket.h>

#include <openssl/ssl.h>

enum { SEEDS = 400, PIECE = 17000 };

static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static size_t below(size_t n)
{
    return n == 0 ? 0 : (size_t)(next_random() % n);
}

static char pattern(size_t i)
{
    return (char)(i * 31 % 253);
}

/* --- transports ----------------------------------------------------------- */

static size_t piece; /* at most, in a call */
static bool parks;

static size_t cut(size_t n)
{
    size_t most = 1 + below(piece);
    return n < most ? n : most;
}

static ssize_t wire_read(void *self, void *buf, size_t n)
{
    if (parks && below(3) == 0 && gev_yield() < 0) {
        return -1;
    }
    return gev_read(N(self), buf, cut(n));
}

static ssize_t wire_write(void *self, const void *buf, size_t n)
{
    if (parks && below(3) == 0 && gev_yield() < 0) {
        return -1;
    }
    return gev_write(N(self), buf, cut(n));
}

static ssize_t wire_try_write(void *self, const void *buf, size_t n)
{
    if (parks && below(4) == 0) {
        errno = EAGAIN;
        return -1;
    }
    return send(N(self), buf, cut(n), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int wire_wait(void *self, int directions)
{
    if (parks && below(3) == 0 && gev_yield() < 0) {
        return -1;
    }
    return gev_wait_fd(N(self), directions, GEV_FOREVER);
}

static int wire_shutdown(void *self)
{
    return gev_shutdown(N(self), SHUT_WR);
}

static int wire_close(void *self)
{
    return gev_close(N(self));
}

static void wire_cancel(void *self, int error)
{
    (void)gev_cancel_wait(N(self), error);
}

/* With all operations; without a cancel; as older programs know it. */
static const gev_transport wires[] = {{.size = sizeof(wires[0]),
                                       .read = wire_read,
                                       .write = wire_write,
                                       .shutdown = wire_shutdown,
                                       .close = wire_close,
                                       .try_write = wire_try_write,
                                       .wait = wire_wait},
                                      {.size = sizeof(wires[0]),
                                       .read = wire_read,
                                       .write = wire_write,
                                       .shutdown = wire_shutdown,
                                       .close = wire_close,
                                       .cancel = wire_cancel},
                                      {.size = offsetof(gev_transport, trim),
                                       .read = wire_read,
                                       .write = wire_write,
                                       .close = wire_close}};

static gev_stream *make_lower(int fd)
{
    size_t kind = below(5);
    int size = 1 << (12 + below(5));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    return kind > 2 ? gev_stream_open(fd) : gev_stream_new(&wires[kind], P(fd));
}

/* --- the world ------------------------------------------------------------ */

struct end {
    gev_stream *s;
    size_t total; /* bytes to say */
    size_t said;  /* taken by a write */
    size_t heard; /* of the other's */
    bool shut;
    bool over; /* nothing more to be heard */
    gev_greenlet *reader;
    gev_greenlet *writer;
};

static struct end ends[2];
static bool closing; /* an end is being closed under its users */
static int kills;
static int updates; /* of keys, left */

/* What may be said to those who are in a call: EIO and the like never. */
static bool is_expected(int error)
{
    if (error == ECANCELED || error == ETIMEDOUT || error == EINTR) {
        return true;
    }
    return closing && (error == EBADF || error == ECONNRESET || error == EPIPE);
}

static void expect_expected(const char *what)
{
    if (!is_expected(errno)) {
        expect_never("%s failed with %d (%s), %s", what, errno,
                     gev_strerror(errno), gev_tls_reason());
    }
}

static void check(struct end *e, const char *data, size_t n)
{
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        wrong += data[i] != pattern(e->heard + i);
    }
    expect_uint_eq(wrong, 0);
    e->heard += n;
    expect_le(e->heard, ends[e == &ends[0]].total);
}

/* Bytes; 0: the end; -1. */
static ssize_t read_somehow(struct end *e)
{
    static const size_t sizes[] = {1, 5, 100, 8192, PIECE};
    size_t n = 1 + below(sizes[below(5)]);
    char *data = malloc(n);
    const void *seen = NULL;
    ssize_t rc = 0;
    switch (below(5)) {
    case 0:
        rc = gev_stream_read_exactly(e->s, data, n);
        break;
    case 1:
        rc = gev_stream_peek(e->s, &seen, n / 2);
        if (rc > 0) {
            size_t before = e->heard;
            check(e, seen, (size_t)rc);
            e->heard = before;
        } else if (rc == 0 && n / 2 > 0) {
            break;
        }
        rc = rc < 0 ? rc : gev_stream_read(e->s, data, n);
        break;
    case 2:
        (void)gev_stream_trim(e->s);
        rc = gev_stream_read(e->s, data, n);
        break;
    case 3:
        rc = gev_stream_wait(e->s, GEV_READ);
        rc = rc < 0 ? rc : gev_stream_read(e->s, data, n);
        break;
    default:
        rc = gev_stream_read(e->s, data, n);
    }
    if (rc > 0) {
        int error = errno;
        check(e, data, (size_t)rc);
        errno = error;
    }
    free(data);
    return rc;
}

static int write_somehow(struct end *e)
{
    static const size_t sizes[] = {1, 10, 1000, GEV_STREAM_BUF};
    static char data[2][GEV_STREAM_BUF];
    char *mine = data[e == &ends[1]];
    size_t n = 1 + below(sizes[below(4)]);
    ssize_t rc = 0;
    n = n < e->total - e->said ? n : e->total - e->said;
    for (size_t i = 0; i < n; i++) {
        mine[i] = pattern(e->said + i);
    }
    switch (below(6)) {
    case 0:
        return gev_stream_flush(e->s);
    case 1:
        rc = gev_stream_try_write(e->s, mine, n);
        if (rc < 0 && (errno == EAGAIN || errno == ENOTSUP)) {
            rc = gev_stream_wait(e->s, GEV_WRITE);
            return rc < 0 && errno != ENOTSUP ? -1 : 0;
        }
        break;
    default:
        rc = gev_stream_write(e->s, mine, n) < 0 ? -1 : (ssize_t)n;
    }
    e->said += rc > 0 ? (size_t)rc : 0;
    return rc < 0 ? -1 : 0;
}

static void begin_limit(gev_timeout *limit)
{
    *limit = (gev_timeout){.priv = {0}};
    expect_ok(gev_timeout_begin(limit, below(4) ? GEV_FOREVER
                                                : 1e-6 * (double)below(2000)));
}

static void *read_all(void *arg)
{
    struct end *e = arg;
    while (!e->over) {
        gev_timeout limit;
        begin_limit(&limit);
        errno = 0;
        ssize_t rc = read_somehow(e);
        if (rc < 0) {
            expect_expected("a read");
        }
        bool is_over = errno == EBADF || errno == ECONNRESET || errno == EPIPE;
        e->over = rc == 0 || (rc < 0 && is_over);
        bool killed = rc < 0 && errno == ECANCELED;
        gev_timeout_end(&limit);
        if (killed || test_failed()) {
            return NULL;
        }
    }
    return NULL;
}

static void *write_all(void *arg)
{
    struct end *e = arg;
    while (!e->shut) {
        gev_timeout limit;
        begin_limit(&limit);
        bool done = e->said == e->total;
        int rc = done ? gev_stream_shutdown(e->s) : write_somehow(e);
        if (rc < 0) {
            expect_expected("a write");
        }
        bool is_over = errno == EBADF || errno == ECONNRESET || errno == EPIPE;
        e->shut = rc == 0 ? done : is_over;
        bool killed = rc < 0 && errno == ECANCELED;
        gev_timeout_end(&limit);
        if (killed || test_failed()) {
            return NULL;
        }
    }
    return NULL;
}

/* --- chaos ---------------------------------------------------------------- */

static void replace(gev_greenlet **g, struct end *e, void *(*fn)(void *))
{
    if (gev_ready(*g)) {
        gev_unref(*g);
        *g = gev_spawn(fn, e);
        kills++;
    }
}

static void disturb(struct end *e)
{
    switch (below(8)) {
    case 0:
        (void)gev_kill(e->reader, 0);
        break;
    case 1:
        (void)gev_kill(e->writer, 0);
        break;
    case 2:
        if (SSL_version(gev_tls_ssl(e->s)) == TLS1_3_VERSION &&
            e->said < e->total && /* nothing follows the goodbye */
            updates-- > 0) {
            SSL_key_update(gev_tls_ssl(e->s),
                           below(2) ? SSL_KEY_UPDATE_REQUESTED
                                    : SSL_KEY_UPDATE_NOT_REQUESTED);
        }
        break;
    case 3:
        (void)gev_stream_trim(e->s);
        break;
    case 4:
        expect_ok(gev_sleep(1e-6 * (double)below(300)));
        break;
    default:
        expect_ok(gev_yield());
    }
}

static bool is_done(void)
{
    for (int i = 0; i < 2; i++) {
        if (!ends[i].over || !ends[i].shut) {
            return false;
        }
    }
    return true;
}

static void close_end(struct end *e)
{
    closing = true;
    (void)(below(2) ? gev_stream_close(e->s) : gev_stream_abort(e->s));
    e->s = NULL;
    e->over = true;
    e->shut = true;
}

static void run_schedule(size_t closes_after)
{
    double until = test_now() + test_scale(20);
    for (size_t step = 0; !is_done() && !test_failed(); step++) {
        struct end *e = &ends[below(2)];
        if (step == closes_after) {
            close_end(e);
        } else if (e->s != NULL) {
            disturb(e);
            if (!e->over) {
                replace(&e->reader, e, read_all);
            }
            if (!e->shut) {
                replace(&e->writer, e, write_all);
            }
        } else {
            expect_ok(gev_yield());
        }
        if (test_now() > until) {
            expect_never("it hangs: %zu of %zu and %zu of %zu bytes arrived "
                         "(%d %d, %d %d)",
                         ends[1].heard, ends[0].total, ends[0].heard,
                         ends[1].total, ends[0].shut, ends[1].over,
                         ends[1].shut, ends[0].over);
        }
    }
}

static void run_seed(unsigned seed, gev_tls *client[2], gev_tls *server)
{
    int fds[2] = {-1, -1};
    test_note("GEV_MODEL_SEED=%u", seed);
    random_state = seed * 0x9E3779B97F4A7C15u + 1;
    piece = below(3) ? 1 + below(40000) : 1 + below(100);
    parks = below(2) == 0;
    closing = false;
    updates = 20;
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    gev_stream *lower[2] = {make_lower(fds[0]), make_lower(fds[1])};
    struct pair p =
        shake_over(client[below(2)], server, "localhost", lower[0], lower[1]);
    if (!expect_not_null(p.client.s) || !expect_not_null(p.server.s)) {
        return;
    }
    bool closes = below(4) == 0;
    for (int i = 0; i < 2; i++) {
        ends[i] = (struct end){.s = i ? p.server.s : p.client.s,
                               .total = below(piece < 200 ? 3000 : 120000)};
        ends[i].reader = gev_spawn(read_all, &ends[i]);
        ends[i].writer = gev_spawn(write_all, &ends[i]);
    }
    run_schedule(closes ? below(200) : SIZE_MAX);
    for (int i = 0; i < 2; i++) {
        gev_greenlet *g[2] = {ends[i].reader, ends[i].writer};
        expect_int_eq(gev_joinall(g, 2, test_scale(10)), 2);
        gev_unrefall(g, 2);
        if (!closing) {
            expect_uint_eq(ends[1 - i].heard, ends[i].total);
            expect_uint_eq(ends[i].said, ends[i].total);
        }
        (void)gev_stream_close(ends[i].s);
    }
}

GEV_TEST(connections_under_all_kinds_of_disturbance)
{
    const char *only = getenv("GEV_MODEL_SEED");
    unsigned first = only == NULL ? 1 : (unsigned)strtoul(only, NULL, 10);
    unsigned last = only == NULL ? SEEDS : first;
    gev_tls *client[2] = {make_client(0), make_client(0)};
    gev_tls *server = make_server("good", GEV_TLS_NO_SESSIONS);
    SSL_CTX_set_max_proto_version(gev_tls_ctx(client[1]), TLS1_2_VERSION);
    for (unsigned seed = first; seed <= last && !test_failed(); seed++) {
        run_seed(seed, client, server);
    }
    test_note(NULL);
    print_message("%d greenlets were killed\n", kills);
    gev_tls_unref(client[0]);
    gev_tls_unref(client[1]);
    gev_tls_unref(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_under_all_kinds_of_disturbance),
    };
    (void)certs_path(""); /* made outside of the tests */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
