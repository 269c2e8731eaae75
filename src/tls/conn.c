/* SPDX-License-Identifier: MIT */

/* A connection: calls of OpenSSL, and the transport they make. */
#include "tls/tls.h"

#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>

/* A record's plain text, and the room it may need in conn->out. */
#define RECORD_MAX ((size_t)16 * 1024)
#define RECORD_ROOM ((size_t)17 * 1024)

/* How long a close waits for room for its close_notify. */
#define GOODBYE 1.0

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int conn_index = -1;

static void make_index(void)
{
    conn_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

struct gev__tls_conn *gev__tls_conn_of(const SSL *ssl)
{
    return ssl == NULL || conn_index < 0 ? NULL
                                         : SSL_get_ex_data(ssl, conn_index);
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
            return gev__tls_pump(conn, &conn->writer);
        }
        int rc = judge(conn, result);
        if (rc == 0) {
            gev__tls_set_reason("the peer ended the handshake");
            rc = conn->broken = -ECONNRESET;
        }
        if (rc < 0) {
            gev__tls_push_alert(conn, &conn->reader);
            return rc;
        }
        rc = gev__tls_wait(conn, &conn->reader);
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
            (void)gev__tls_push(conn);
            return (ssize_t)got;
        }
        int rc = judge(conn, result);
        if (rc <= 0) {
            gev__tls_push_alert(conn, &conn->reader);
            return rc;
        }
        rc = gev__tls_wait(conn, &conn->reader);
        if (rc < 0) {
            return rc;
        }
    }
}

/* Whether a read would not wait: it gives something, its end, or a failure. */
static bool is_readable(struct gev__tls_conn *conn)
{
    char byte;
    size_t got = 0;

    if (conn->broken < 0) {
        return true;
    }
    ERR_clear_error();
    int result = SSL_peek_ex(conn->ssl, &byte, 1, &got);
    if (result == 1) {
        return true;
    }
    bool is_over = judge(conn, result) <= 0;
    if (is_over) {
        gev__tls_push_alert(conn, &conn->reader);
    }
    return is_over;
}

/* Has OpenSSL take a record's worth: bytes, or -errno. -EAGAIN: it wants input
 * first. */
static ssize_t encrypt(struct gev__tls_conn *conn, const void *buf, size_t n)
{
    size_t taken = 0;

    if (conn->broken < 0 || conn->unwritable < 0) {
        return conn->broken < 0 ? conn->broken : conn->unwritable;
    }
    if (conn->said_goodbye) {
        return -EPIPE;
    }
    if (!gev__tls_reserve(conn, RECORD_ROOM)) {
        return -ENOMEM;
    }
    ERR_clear_error();
    conn->direct = !conn->is_nested;
    int result =
        SSL_write_ex(conn->ssl, buf, n < RECORD_MAX ? n : RECORD_MAX, &taken);
    conn->direct = false;
    if (result == 1) {
        return (ssize_t)taken;
    }
    int rc = judge(conn, result);
    if (rc > 0) {
        return -EAGAIN;
    }
    gev__tls_push_alert(conn, &conn->writer);
    return rc == 0 ? -EPIPE : rc;
}

static ssize_t write_some(struct gev__tls_conn *conn, const void *buf, size_t n)
{
    /* First what a call before this one could not send: until that is gone,
     * nothing more is taken. */
    int rc = gev__tls_pump(conn, &conn->writer);
    ssize_t taken = rc < 0 ? rc : encrypt(conn, buf, n);

    while (taken == -EAGAIN) {
        rc = gev__tls_wait(conn, &conn->writer);
        taken = rc < 0 ? rc : encrypt(conn, buf, n);
    }
    if (taken < 0) {
        return taken;
    }
    /* It cannot be untaken: if it does not go out now, it does in the next
     * call, which fails if this one should have. */
    rc = gev__tls_pump(conn, &conn->writer);
    return gev__tls_is_final(rc) ? rc : taken;
}

/* The same without waiting for anything. */
static ssize_t try_write(struct gev__tls_conn *conn, const void *buf, size_t n)
{
    int rc = gev__tls_push(conn);
    ssize_t taken = rc < 0 ? rc : encrypt(conn, buf, n);

    if (taken < 0) {
        return taken;
    }
    rc = gev__tls_push(conn);
    return gev__tls_is_final(rc) ? rc : taken;
}

/* Until is_readable(), or all that was written is out. */
static int wait_ready(struct gev__tls_conn *conn, int directions)
{
    if (!(directions & GEV_READ)) {
        int rc = gev__tls_pump(conn, &conn->writer);
        return rc < 0 && !gev__tls_is_final(rc) ? rc : GEV_WRITE;
    }
    for (;;) {
        int ready = is_readable(conn) ? GEV_READ : 0;
        (void)gev__tls_push(conn);
        if (directions & GEV_WRITE && !gev__tls_has_output(conn)) {
            ready |= GEV_WRITE;
        }
        if (ready != 0) {
            return ready;
        }
        int rc = gev__tls_wait(conn, &conn->reader);
        if (rc < 0) {
            return rc;
        }
    }
}

/* The program has asked for new keys, or for a certificate: to OpenSSL that is
 * a handshake, in which it says no goodbye. New keys are sent in one go. */
static int end_handshake(struct gev__tls_conn *conn)
{
    if (!SSL_in_init(conn->ssl)) {
        return 0;
    }
    ERR_clear_error();
    int result = SSL_do_handshake(conn->ssl);
    int rc = result == 1 ? 0 : judge(conn, result);
    if (rc > 0) {
        gev__tls_set_reason("a handshake is under way");
        rc = -GEV_ETLS;
    }
    return rc;
}

/* In conn->out. */
static int say_goodbye(struct gev__tls_conn *conn)
{
    if (conn->said_goodbye || conn->broken < 0) {
        return conn->broken;
    }
    int rc = end_handshake(conn);
    if (rc < 0) {
        return rc;
    }
    ERR_clear_error();
    int result = SSL_shutdown(conn->ssl);
    if (result < 0) {
        (void)judge(conn, result);
    }
    ERR_clear_error();
    conn->said_goodbye = true;
    return conn->broken;
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

static ssize_t try_write_tls(void *self, const void *buf, size_t n)
{
    return give_reasonably(self, try_write(self, buf, n));
}

static int wait_tls(void *self, int directions)
{
    return (int)give_reasonably(self, wait_ready(self, directions));
}

static int shut_tls(void *self)
{
    struct gev__tls_conn *conn = self;

    int rc = say_goodbye(conn);
    return (int)give(rc < 0 ? rc : gev__tls_pump(conn, &conn->writer));
}

/* The lower stream, which may be TLS, ends as this one does. */
static int end(struct gev__tls_conn *conn, bool whole)
{
    int rc = 0;

    if (!conn->keep_lower) {
        rc = whole ? gev_stream_close(conn->lower)
                   : gev_stream_abort(conn->lower);
        rc = rc < 0 ? gev__tls_error() : 0;
    }
    gev__tls_conn_free(conn);
    return (int)give(rc);
}

static int close_tls(void *self)
{
    struct gev__tls_conn *conn = self;
    gev_timeout limit = {.priv = {0}};
    /* To a peer that does not take what came before, there is no goodbye. */
    double patience = gev__tls_has_output(conn) ? 0 : GOODBYE;

    conn->cancelled = 0;
    int rc = say_goodbye(conn);
    if (gev__tls_has_output(conn) && gev_timeout_begin(&limit, patience) == 0) {
        (void)gev__tls_pump(conn, &conn->writer);
        (void)gev_timeout_end(&limit);
    }
    return end(conn, rc == 0 && !gev__tls_has_output(conn));
}

/* Without a goodbye: to the peer that is a connection that was cut. */
static int abort_tls(void *self)
{
    return end(self, false);
}

static void cancel_tls(void *self, int error)
{
    gev__tls_cancel(self, error);
}

static int fd_below(const void *self)
{
    const struct gev__tls_conn *conn = self;

    return gev_stream_fd(conn->lower);
}

/* OpenSSL before 3.0.14, 3.1.6, 3.2.2 and 3.3.1 frees buffers with a record in
 * them that is read in part (CVE-2024-4741). */
static bool is_between_records(const struct gev__tls_conn *conn)
{
    return SSL_has_pending(conn->ssl) == 0 &&
           strcmp(SSL_rstate_string(conn->ssl), "RB") != 0; /* read body */
}

static void trim_tls(void *self)
{
    struct gev__tls_conn *conn = self;

    if (is_between_records(conn)) {
        (void)SSL_free_buffers(conn->ssl);
    }
    ERR_clear_error();
    gev__tls_trim_buffers(conn);
    (void)gev_stream_trim(conn->lower);
}

const gev_transport gev__tls_transport = {.size = sizeof(gev_transport),
                                          .read = read_tls,
                                          .write = write_tls,
                                          .shutdown = shut_tls,
                                          .close = close_tls,
                                          .cancel = cancel_tls,
                                          .fd = fd_below,
                                          .trim = trim_tls,
                                          .try_write = try_write_tls,
                                          .wait = wait_tls,
                                          .abort = abort_tls};

/* --- making --------------------------------------------------------------- */

static int connect_bio(struct gev__tls_conn *conn)
{
    ERR_clear_error();
    conn->ssl = gev__tls_new_ssl(conn->tls, &conn->reloads);
    BIO *bio = conn->ssl == NULL ? NULL : gev__tls_new_bio(conn);
    if (bio == NULL || SSL_set_ex_data(conn->ssl, conn_index, conn) != 1) {
        BIO_free(bio);
        (void)gev__tls_failure();
        return -ENOMEM;
    }
    SSL_set_bio(conn->ssl, bio, bio);
    return 0;
}

int gev__tls_conn_new(struct gev_tls *t, gev_stream *lower,
                      struct gev__tls_conn **ret_conn)
{
    if (pthread_once(&once, make_index) != 0 || conn_index < 0) {
        return -ENOMEM;
    }
    struct gev__tls_conn *conn = OPENSSL_zalloc(sizeof(*conn));
    if (conn == NULL) {
        return -ENOMEM;
    }
    conn->tls = gev_tls_ref(t);
    conn->lower = lower;
    /* Its BIO must not enter OpenSSL from within OpenSSL. */
    conn->is_nested = gev_stream_self(lower, &gev__tls_transport) != NULL;
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
    if (conn->ssl != NULL && SSL_is_init_finished(conn->ssl) &&
        conn->broken == 0) {
        /* OpenSSL forgets sessions of connections that were not closed. */
        SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    ERR_clear_error();
    SSL_free(conn->ssl);
    ERR_clear_error();
    gev__tls_free_buffers(conn);
    gev_lock_fini(&conn->pumping);
    OPENSSL_free(conn->server);
    OPENSSL_free(conn->alpn);
    gev_tls_unref(conn->tls);
    OPENSSL_free(conn);
}
