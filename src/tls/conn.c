/* SPDX-License-Identifier: MIT */

/* A connection: OpenSSL above a BIO that never waits, and the transport that
 * does the waiting. */
#include "tls/tls.h"

#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>

/* A record's plain text. With what TLS adds to it, it fits what a stream takes
 * into its buffer whole or not at all, and goes out at once. */
#define RECORD_MAX ((size_t)16 * 1024)
#define PIECE_MAX GEV_STREAM_BUF

/* What a record may need in conn->out. */
#define RECORD_ROOM ((size_t)17 * 1024)

/* An empty buffer that has grown beyond this is freed. */
#define BUFFER_KEEP ((size_t)20 * 1024)

/* How long a close waits for room for its close_notify. */
#define GOODBYE 1.0

static pthread_once_t once = PTHREAD_ONCE_INIT;
static BIO_METHOD *method; /* NULL: there was no memory for it */
static int conn_index = -1;

/* --- buffers -------------------------------------------------------------- */

static size_t held(const struct gev__tls_buffer *b)
{
    return b->end - b->start;
}

static void free_buffer(struct gev__tls_buffer *b)
{
    OPENSSL_free(b->data);
    *b = (struct gev__tls_buffer){.data = NULL};
}

/* An empty buffer begins anew. */
static void reset_empty(struct gev__tls_buffer *b)
{
    if (held(b) > 0) {
        return;
    }
    b->start = 0;
    b->end = 0;
    if (b->size > BUFFER_KEEP) {
        free_buffer(b);
    }
}

static bool make_room(struct gev__tls_buffer *b, size_t n)
{
    size_t size = b->size;

    if (size - b->end >= n) {
        return true;
    }
    size = b->end + n > 2 * size ? b->end + n : 2 * size;
    char *data = OPENSSL_realloc(b->data, size);
    if (data == NULL) {
        return false;
    }
    b->data = data;
    b->size = size;
    return true;
}

/* --- what OpenSSL reads and writes: never waits --------------------------- */

static int read_lower(BIO *bio, char *buf, int n)
{
    struct gev__tls_conn *conn = BIO_get_data(bio);
    /* With a greenlet parked in a read of lower, this one would have to wait
     * for its turn. */
    size_t have = conn->waiting > 0 ? 0 : gev_stream_buffered(conn->lower);

    BIO_clear_retry_flags(bio);
    if (n <= 0) {
        return 0;
    }
    if (have == 0) {
        conn->want = (size_t)n;
        if (conn->ended) {
            return 0;
        }
        BIO_set_retry_read(bio);
        return -1;
    }
    return (int)gev_stream_read(conn->lower, buf,
                                have < (size_t)n ? have : (size_t)n);
}

static int write_out(BIO *bio, const char *buf, int n)
{
    struct gev__tls_conn *conn = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (n <= 0) {
        return 0;
    }
    if (!make_room(&conn->out, (size_t)n)) {
        conn->no_memory = true;
        return -1;
    }
    memcpy(conn->out.data + conn->out.end, buf, (size_t)n);
    conn->out.end += (size_t)n;
    return n;
}

static long control(BIO *bio, int command, long number, void *pointer)
{
    const struct gev__tls_conn *conn = BIO_get_data(bio);
    (void)number;
    (void)pointer;

    switch (command) {
    case BIO_CTRL_EOF:
        return conn->ended;
    case BIO_CTRL_FLUSH:
        return 1; /* pump() does it */
    default:
        return 0;
    }
}

static void make_method(void)
{
    int type = BIO_get_new_index();

    conn_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    method = BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "gev_stream");
    if (method != NULL && (BIO_meth_set_read(method, read_lower) != 1 ||
                           BIO_meth_set_write(method, write_out) != 1 ||
                           BIO_meth_set_ctrl(method, control) != 1)) {
        BIO_meth_free(method);
        method = NULL;
    }
}

struct gev__tls_conn *gev__tls_conn_of(const SSL *ssl)
{
    return ssl == NULL || conn_index < 0 ? NULL
                                         : SSL_get_ex_data(ssl, conn_index);
}

/* --- waiting -------------------------------------------------------------- */

/* Around a park of the current greenlet, so that cancel() finds it. */
static int begin_park(const struct gev__tls_conn *conn,
                      struct gev__tls_parked *parked)
{
    if (conn->cancelled != 0) {
        return -conn->cancelled;
    }
    parked->greenlet = gev_current();
    parked->thrown = false;
    return 0;
}

static int end_park(const struct gev__tls_conn *conn,
                    struct gev__tls_parked *parked, int rc)
{
    bool was_thrown = parked->thrown;

    parked->greenlet = NULL;
    parked->thrown = false;
    if (conn->cancelled == 0) {
        return rc;
    }
    /* What was thrown after the park had ended would fail another one. */
    if (was_thrown && rc == 0) {
        (void)gev_yield();
    }
    return -conn->cancelled;
}

/* Waits until lower has what OpenSSL misses, or is at its end. */
static int wait_for_input(struct gev__tls_conn *conn,
                          struct gev__tls_parked *parked)
{
    size_t want = conn->want > 0 ? conn->want : 1;
    int rc = begin_park(conn, parked);

    if (rc < 0) {
        return rc;
    }
    conn->waiting++;
    ssize_t have = gev_stream_peek(conn->lower, NULL, want);
    rc = have < 0 ? gev__tls_error() : 0;
    conn->waiting--;
    if (have >= 0 && (size_t)have < want) {
        conn->ended = true;
    }
    return end_park(conn, parked, rc);
}

static bool has_output(const struct gev__tls_conn *conn)
{
    return conn->dirty || held(&conn->out) > 0 || held(&conn->sending) > 0;
}

/* Failures that no second try will mend. */
static bool is_final(int rc)
{
    return rc == -EPIPE || rc == -ECONNRESET || rc == -ECONNABORTED ||
           rc == -ENOTCONN || rc == -EIO;
}

/* Gives all that is there to lower, and to who is below. A piece that lower
 * does not take stays. */
static int send_output(struct gev__tls_conn *conn)
{
    struct gev__tls_buffer *b = &conn->sending;
    int rc = 0;

    if (held(b) == 0) {
        reset_empty(b);
        const struct gev__tls_buffer empty = *b;
        *b = conn->out;
        conn->out = empty;
    }
    while (held(b) > 0 && rc == 0) {
        size_t n = held(b) < PIECE_MAX ? held(b) : PIECE_MAX;
        rc = gev_stream_write(conn->lower, b->data + b->start, n) < 0
                 ? gev__tls_error()
                 : 0;
        b->start += rc == 0 ? n : 0;
        conn->dirty = true;
    }
    if (rc == 0) {
        rc = gev_stream_flush(conn->lower) < 0 ? gev__tls_error() : 0;
        conn->dirty = rc < 0;
    }
    reset_empty(b);
    return rc;
}

static void drop_output(struct gev__tls_conn *conn, int rc)
{
    conn->unwritable = rc;
    free_buffer(&conn->out);
    free_buffer(&conn->sending);
    conn->dirty = false;
}

/* Sends what OpenSSL has made, after what others have before. */
static int pump(struct gev__tls_conn *conn, struct gev__tls_parked *parked)
{
    int rc = has_output(conn) ? begin_park(conn, parked) : 1;

    if (rc != 0) {
        return rc > 0 ? 0 : rc;
    }
    if (gev_lock_acquire(&conn->pumping, GEV_FOREVER) < 0) {
        return end_park(conn, parked, gev__tls_error());
    }
    while (has_output(conn) && rc == 0) {
        rc = conn->cancelled != 0 ? -conn->cancelled : send_output(conn);
    }
    if (is_final(rc)) {
        drop_output(conn, rc);
    }
    gev_lock_release(&conn->pumping);
    return end_park(conn, parked, rc);
}

/* What reading gave rise to: alerts, answers. It must not wait for a writer,
 * who takes them along; nor fail a read because the peer reads no more. */
static int pump_aside(struct gev__tls_conn *conn)
{
    if (!has_output(conn) || gev_lock_locked(&conn->pumping)) {
        return 0;
    }
    int rc = pump(conn, &conn->reader);
    return is_final(rc) ? 0 : rc;
}

/* An alert before the end goes out if it can at once. */
static void pump_alert(struct gev__tls_conn *conn)
{
    gev_timeout limit = {.priv = {0}};

    if (gev_timeout_begin(&limit, 0) == 0) {
        (void)pump_aside(conn);
        (void)gev_timeout_end(&limit);
    }
}

/* --- calls of OpenSSL ----------------------------------------------------- */

/* After a call that failed: 1, and there has to be input first; 0 at the
 * peer's close_notify; -errno. */
static int judge(struct gev__tls_conn *conn, int result)
{
    int error = SSL_get_error(conn->ssl, result);

    switch (error) {
    case SSL_ERROR_WANT_READ:
        ERR_clear_error();
        return 1;
    case SSL_ERROR_ZERO_RETURN:
        ERR_clear_error();
        return 0;
    case SSL_ERROR_SSL:
    case SSL_ERROR_SYSCALL:
        conn->broken = gev__tls_conn_failure(conn);
        break;
    default:
        /* A callback of the program's wants to be called again. */
        ERR_clear_error();
        gev__tls_set_reason("a callback wants to wait: SSL_get_error %d",
                            error);
        conn->broken = -GEV_ETLS;
    }
    return conn->broken;
}

int gev__tls_shake_hands(struct gev__tls_conn *conn)
{
    for (;;) {
        ERR_clear_error();
        int result = SSL_do_handshake(conn->ssl);
        if (result == 1) {
            return pump(conn, &conn->writer);
        }
        int rc = judge(conn, result);
        if (rc == 0) {
            gev__tls_set_reason("the peer ended the handshake");
            rc = conn->broken = -ECONNRESET;
        }
        if (rc < 0) {
            pump_alert(conn);
            return rc;
        }
        rc = pump(conn, &conn->writer);
        if (rc == 0) {
            rc = wait_for_input(conn, &conn->reader);
        }
        if (rc < 0) {
            return rc;
        }
    }
}

static ssize_t read_some(struct gev__tls_conn *conn, void *buf, size_t n)
{
    for (;;) {
        size_t got = 0;
        if (conn->broken < 0) {
            return conn->broken;
        }
        ERR_clear_error();
        int result = SSL_read_ex(conn->ssl, buf, n, &got);
        if (result == 1) {
            (void)(held(&conn->out) > 0 ? pump_aside(conn) : 0);
            return (ssize_t)got;
        }
        int rc = judge(conn, result);
        if (rc <= 0) {
            pump_alert(conn);
            return rc;
        }
        rc = pump_aside(conn);
        if (rc == 0) {
            rc = wait_for_input(conn, &conn->reader);
        }
        if (rc < 0) {
            return rc;
        }
    }
}

/* Has OpenSSL take a record's worth: bytes, or -errno. */
static ssize_t encrypt(struct gev__tls_conn *conn, const void *buf, size_t n)
{
    for (;;) {
        size_t taken = 0;
        if (conn->broken < 0) {
            return conn->broken;
        }
        if (conn->unwritable < 0) {
            return conn->unwritable;
        }
        if (conn->said_goodbye) {
            return -EPIPE;
        }
        if (!make_room(&conn->out, RECORD_ROOM)) {
            return -ENOMEM;
        }
        ERR_clear_error();
        int result = SSL_write_ex(conn->ssl, buf, n, &taken);
        if (result == 1) {
            return (ssize_t)taken;
        }
        int rc = judge(conn, result);
        if (rc > 0) {
            rc = pump(conn, &conn->writer);
            if (rc == 0) {
                rc = wait_for_input(conn, &conn->writer);
            }
        } else {
            pump_alert(conn);
            rc = rc == 0 ? -EPIPE : rc;
        }
        if (rc < 0) {
            return rc;
        }
    }
}

static ssize_t write_some(struct gev__tls_conn *conn, const void *buf, size_t n)
{
    /* First what a call before this one could not send: until that is gone,
     * nothing more is taken. */
    int rc = pump(conn, &conn->writer);

    if (rc < 0) {
        return rc;
    }
    ssize_t taken = encrypt(conn, buf, n < RECORD_MAX ? n : RECORD_MAX);
    if (taken < 0) {
        return taken;
    }
    /* It cannot be untaken: if it does not go out now, it does in the next
     * call, which fails if this one should have. */
    rc = pump(conn, &conn->writer);
    return is_final(rc) ? rc : taken;
}

static void say_goodbye(struct gev__tls_conn *conn)
{
    if (conn->said_goodbye || conn->broken < 0 ||
        !SSL_is_init_finished(conn->ssl)) {
        return;
    }
    ERR_clear_error();
    int result = SSL_shutdown(conn->ssl);
    if (result < 0) {
        (void)judge(conn, result);
    }
    ERR_clear_error();
    conn->said_goodbye = true;
}

/* --- the transport -------------------------------------------------------- */

static ssize_t give(ssize_t rc)
{
    return rc < 0 ? gev__tls_fail((int)rc) : rc;
}

/* What OpenSSL has not failed has no reason of TLS's. */
static ssize_t give_reasonably(const struct gev__tls_conn *conn, ssize_t rc)
{
    if (rc < 0 && rc != conn->broken) {
        gev__tls_clear_reason();
    }
    return give(rc);
}

static ssize_t read_tls(void *self, void *buf, size_t n)
{
    return give_reasonably(self, read_some(self, buf, n));
}

static ssize_t write_tls(void *self, const void *buf, size_t n)
{
    return give_reasonably(self, write_some(self, buf, n));
}

static int shut_tls(void *self)
{
    struct gev__tls_conn *conn = self;

    say_goodbye(conn);
    return (int)give(conn->broken < 0 ? conn->broken
                                      : pump(conn, &conn->writer));
}

static int close_tls(void *self)
{
    struct gev__tls_conn *conn = self;
    gev_timeout limit = {.priv = {0}};
    /* To a peer that does not take what came before, there is no goodbye. */
    double patience = has_output(conn) ? 0 : GOODBYE;
    int rc = 0;

    conn->cancelled = 0;
    say_goodbye(conn);
    if (has_output(conn) && gev_timeout_begin(&limit, patience) == 0) {
        (void)pump(conn, &conn->writer);
        (void)gev_timeout_end(&limit);
    }
    if (!conn->keep_lower && gev_stream_abort(conn->lower) < 0) {
        rc = gev__tls_error();
    }
    gev__tls_conn_free(conn);
    return (int)give(rc);
}

static void throw_into(struct gev__tls_parked *parked, int error)
{
    if (parked->greenlet != NULL && !parked->thrown) {
        parked->thrown = gev_throw(parked->greenlet, error) == 0;
    }
}

static void cancel_tls(void *self, int error)
{
    struct gev__tls_conn *conn = self;

    conn->cancelled = error;
    throw_into(&conn->reader, error);
    throw_into(&conn->writer, error);
}

static int fd_below(const void *self)
{
    const struct gev__tls_conn *conn = self;

    return gev_stream_fd(conn->lower);
}

const gev_transport gev__tls_transport = {.size = sizeof(gev_transport),
                                          .read = read_tls,
                                          .write = write_tls,
                                          .shutdown = shut_tls,
                                          .close = close_tls,
                                          .cancel = cancel_tls,
                                          .fd = fd_below};

/* --- making --------------------------------------------------------------- */

static int connect_bio(struct gev__tls_conn *conn)
{
    ERR_clear_error();
    conn->ssl = gev__tls_new_ssl(conn->tls);
    BIO *bio = conn->ssl == NULL ? NULL : BIO_new(method);
    if (bio == NULL || SSL_set_ex_data(conn->ssl, conn_index, conn) != 1) {
        BIO_free(bio);
        (void)gev__tls_failure();
        return -ENOMEM;
    }
    BIO_set_data(bio, conn);
    BIO_set_init(bio, 1);
    SSL_set_bio(conn->ssl, bio, bio);
    return 0;
}

int gev__tls_conn_new(struct gev_tls *t, gev_stream *lower,
                      struct gev__tls_conn **ret_conn)
{
    if (pthread_once(&once, make_method) != 0 || method == NULL ||
        conn_index < 0) {
        return -ENOMEM;
    }
    struct gev__tls_conn *conn = OPENSSL_zalloc(sizeof(*conn));
    if (conn == NULL) {
        return -ENOMEM;
    }
    conn->tls = gev_tls_ref(t);
    conn->lower = lower;
    gev_lock_init(&conn->pumping);
    int rc = connect_bio(conn);
    if (rc < 0) {
        gev__tls_conn_free(conn);
        return rc;
    }
    *ret_conn = conn;
    return 0;
}

void gev__tls_conn_free(struct gev__tls_conn *conn)
{
    if (conn->ssl != NULL && conn->said_goodbye && conn->broken == 0) {
        /* OpenSSL forgets sessions of connections that were not closed. */
        SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    ERR_clear_error();
    SSL_free(conn->ssl);
    ERR_clear_error();
    free_buffer(&conn->out);
    free_buffer(&conn->sending);
    gev_lock_fini(&conn->pumping);
    OPENSSL_free(conn->server);
    gev_tls_unref(conn->tls);
    OPENSSL_free(conn);
}
