/* SPDX-License-Identifier: MIT */

/* How a TLS stream begins and ends: handshakes, and the way back. */
#include "tls/tls.h"

#include <string.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#define HOST_MAX 255

/* How long, and how much, a refused client may go on sending: a connection that
 * is closed with data unread is reset, and the alert that says why is lost. */
#define LINGER 0.5
#define LINGER_BYTES ((size_t)64 * 1024)

static void *give_null(int rc)
{
    (void)gev__tls_fail(rc);
    return NULL;
}

/* --- the host ------------------------------------------------------------- */

/* A session is the server's of that name, or of the name and the service. */
static int name_server(struct gev__tls_conn *conn, const char *host,
                       const char *service)
{
    size_t n = strlen(host) + strlen(service) + 2;
    char *name = OPENSSL_malloc(n);

    if (name == NULL) {
        return -ENOMEM;
    }
    (void)BIO_snprintf(name, n, "%s %s", host, service);
    conn->server = name;
    return 0;
}

/* Has OpenSSL check the name, and say it. */
static int set_host(struct gev__tls_conn *conn, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(conn->ssl);
    char name[HOST_MAX + 1];
    size_t n = strlen(host);

    /* To OpenSSL a name that begins with a dot is any name that ends so. */
    if (n == 0 || n > HOST_MAX || host[0] == '.') {
        return -EINVAL;
    }
    memcpy(name, host, n + 1);
    if (name[n - 1] == '.') {
        name[n - 1] = '\0';
    }
    ERR_clear_error();
    bool is_address = X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
    ERR_clear_error();
    if (is_address) {
        return 0;
    }
    SSL_set_hostflags(conn->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set1_host(conn->ssl, name) != 1 ||
        SSL_set_tlsext_host_name(conn->ssl, name) != 1) {
        (void)gev__tls_failure();
        return -ENOMEM;
    }
    return 0;
}

static void offer_session(struct gev__tls_conn *conn)
{
    struct gev_tls *t = conn->tls;

    if (t->sessions == NULL || conn->server == NULL) {
        return;
    }
    pthread_mutex_lock(&t->lock);
    SSL_SESSION *session = gev__tls_sessions_take(t->sessions, conn->server);
    pthread_mutex_unlock(&t->lock);
    if (session != NULL) {
        (void)SSL_set_session(conn->ssl, session); /* else without */
        ERR_clear_error();
        SSL_SESSION_free(session);
    }
}

static int prepare_client(struct gev__tls_conn *conn, const char *host,
                          const char *service)
{
    SSL_set_connect_state(conn->ssl);
    if (host == NULL) {
        return conn->tls->flags & GEV_TLS_INSECURE ? 0 : -EINVAL;
    }
    int rc = set_host(conn, host);
    if (rc == 0) {
        rc = name_server(conn, host, service);
    }
    if (rc == 0) {
        offer_session(conn);
    }
    return rc;
}

/* --- the handshake -------------------------------------------------------- */

/* Whole records are sent, and a handshake's last one is followed by a request:
 * nothing is gained by holding small ones back. */
static void set_nodelay(const gev_stream *lower)
{
    const int on = 1;
    int fd = gev_stream_fd(lower);

    if (fd >= 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
}

static int note_alpn(struct gev__tls_conn *conn)
{
    const unsigned char *name = NULL;
    unsigned n = 0;

    SSL_get0_alpn_selected(conn->ssl, &name, &n);
    if (n == 0) {
        return 0;
    }
    conn->alpn = OPENSSL_zalloc(n + 1); /* with a NUL */
    if (conn->alpn == NULL) {
        return -ENOMEM;
    }
    memcpy(conn->alpn, name, n);
    return 0;
}

static int shake_hands(struct gev__tls_conn *conn)
{
    gev_timeout limit = {.priv = {0}};
    double seconds = conn->tls->handshake_timeout;

    if (gev_timeout_begin(&limit, seconds) < 0) {
        return gev__tls_error();
    }
    int rc = gev__tls_shake_hands(conn);
    if (gev_timeout_end(&limit) && rc == -ETIMEDOUT) {
        gev__tls_set_reason("the handshake took longer than %g s", seconds);
    }
    return rc < 0 ? rc : note_alpn(conn);
}

/* Lets the alert arrive. */
static void linger(gev_stream *lower)
{
    gev_timeout limit = {.priv = {0}};
    char trash[1024];
    size_t n = 0;
    ssize_t got = 1;

    if (gev_timeout_begin(&limit, LINGER) < 0) {
        return;
    }
    if (gev_stream_shutdown(lower) == 0) {
        while (got > 0 && n < LINGER_BYTES) {
            got = gev_stream_read(lower, trash, sizeof(trash));
            n += got > 0 ? (size_t)got : 0;
        }
    }
    (void)gev_timeout_end(&limit);
}

static bool is_refusal(int rc)
{
    return rc == -GEV_ETLS || rc == -GEV_ETLSCERT || rc == -GEV_ETLSNAME;
}

/* Host and service are a client's. */
static int begin(struct gev_tls *t, gev_stream *lower, const char *host,
                 const char *service, gev_stream **ret_s)
{
    struct gev__tls_conn *conn;

    if (gev_stream_buffered(lower) > 0) {
        gev__tls_set_reason("bytes had come before the handshake");
        return -EPROTO;
    }
    int rc = gev__tls_conn_new(t, lower, &conn);
    if (rc < 0) {
        return rc;
    }
    if (t->is_server) {
        SSL_set_accept_state(conn->ssl);
    } else {
        rc = prepare_client(conn, host, service);
    }
    if (rc == 0) {
        set_nodelay(lower);
        rc = shake_hands(conn);
    }
    if (rc == 0) {
        *ret_s = gev_stream_new(&gev__tls_transport, conn);
        rc = *ret_s == NULL ? gev__tls_error() : 0;
    }
    if (rc < 0) {
        gev__tls_conn_free(conn);
    }
    return rc;
}

/* Owns lower. */
static gev_stream *wrap(struct gev_tls *t, gev_stream *lower, const char *host,
                        const char *service)
{
    gev_stream *s = NULL;
    int rc = begin(t, lower, host, service, &s);

    if (rc == 0) {
        return s;
    }
    if (t->is_server && is_refusal(rc)) {
        linger(lower);
    }
    (void)gev_stream_abort(lower);
    return give_null(rc);
}

/* --- public: the beginning ------------------------------------------------ */

static int check_client(struct gev_tls **t)
{
    gev__tls_clear_reason();
    if (*t == NULL) {
        return gev__tls_default_client(t);
    }
    return (*t)->is_server ? -EINVAL : 0;
}

gev_stream *gev_tls_wrap(gev_tls *t, gev_stream *lower, const char *host)
{
    int rc = check_client(&t);

    if (rc < 0 || lower == NULL) {
        (void)gev_stream_abort(lower);
        return give_null(rc < 0 ? rc : -EINVAL);
    }
    return wrap(t, lower, host, "");
}

gev_stream *gev_tls_accept(gev_tls *t, gev_stream *lower)
{
    gev__tls_clear_reason();
    if (t == NULL || !t->is_server || lower == NULL) {
        (void)gev_stream_abort(lower);
        return give_null(-EINVAL);
    }
    return wrap(t, lower, NULL, NULL);
}

static gev_stream *dial(gev_tls *t, const char *host, const char *service)
{
    int fd = gev_tcp_connect(host, service, GEV_FOREVER);

    if (fd < 0) {
        return NULL;
    }
    gev_stream *lower = gev_stream_open(fd);
    if (lower == NULL) {
        int rc = gev__tls_error();
        (void)gev_close(fd);
        return give_null(rc);
    }
    return wrap(t, lower, host, service);
}

gev_stream *gev_tls_connect(gev_tls *t, const char *host, const char *service,
                            double timeout)
{
    gev_timeout limit = {.priv = {0}};
    int rc = check_client(&t);

    if (rc == 0 && (host == NULL || service == NULL)) {
        rc = -EINVAL;
    }
    if (rc < 0) {
        return give_null(rc);
    }
    if (gev_timeout_begin(&limit, timeout) < 0) {
        return NULL;
    }
    gev_stream *s = dial(t, host, service);
    rc = s == NULL ? gev__tls_error() : 0;
    (void)gev_timeout_end(&limit);
    return rc < 0 ? give_null(rc) : s;
}

/* --- public: the end ------------------------------------------------------ */

static struct gev__tls_conn *conn_of(const gev_stream *s)
{
    return gev_stream_self(s, &gev__tls_transport);
}

/* Waits for the peer's close_notify, or for the end of a peer that does without
 * one. */
static int await_goodbye(gev_stream *s)
{
    if (gev_stream_buffered(s) > 0) {
        return -EBUSY;
    }
    ssize_t n = gev_stream_peek(s, NULL, 1);
    if (n > 0) {
        return -EBUSY;
    }
    int rc = n < 0 ? gev__tls_error() : 0;
    return rc == -ECONNRESET ? 0 : rc;
}

static int say_goodbye(gev_stream *s, const struct gev__tls_conn *conn)
{
    int rc = conn->said_goodbye && conn->broken == 0 ? gev_stream_flush(s)
                                                     : gev_stream_shutdown(s);
    rc = rc < 0 ? gev__tls_error() : 0;
    return rc == -EPIPE || rc == -ECONNRESET ? 0 : rc;
}

static int unwrap(gev_stream *s, struct gev__tls_conn *conn)
{
    gev_timeout limit = {.priv = {0}};

    if (conn->reader.greenlet != NULL || conn->writer.greenlet != NULL) {
        return -EBUSY;
    }
    if (gev_timeout_begin(&limit, conn->tls->handshake_timeout) < 0) {
        return gev__tls_error();
    }
    int rc = say_goodbye(s, conn);
    if (rc == 0) {
        rc = await_goodbye(s);
    }
    (void)gev_timeout_end(&limit);
    return rc;
}

gev_stream *gev_tls_unwrap(gev_stream *s)
{
    struct gev__tls_conn *conn = conn_of(s);

    gev__tls_clear_reason();
    if (conn == NULL) {
        return give_null(s == NULL ? -EINVAL : -ENOTSUP);
    }
    int rc = unwrap(s, conn);
    if (rc < 0) {
        return give_null(rc);
    }
    gev_stream *lower = conn->lower;
    conn->keep_lower = true;
    (void)gev_stream_abort(s);
    return lower;
}

/* --- public: what was agreed ---------------------------------------------- */

const char *gev_tls_version(const gev_stream *s)
{
    const struct gev__tls_conn *conn = conn_of(s);

    return conn == NULL ? give_null(-ENOTSUP) : SSL_get_version(conn->ssl);
}

const char *gev_tls_cipher(const gev_stream *s)
{
    const struct gev__tls_conn *conn = conn_of(s);

    return conn == NULL ? give_null(-ENOTSUP) : SSL_get_cipher_name(conn->ssl);
}

const char *gev_tls_alpn(const gev_stream *s)
{
    const struct gev__tls_conn *conn = conn_of(s);

    if (conn != NULL && conn->alpn != NULL) {
        return conn->alpn;
    }
    return give_null(conn == NULL ? -ENOTSUP : 0);
}

bool gev_tls_resumed(const gev_stream *s)
{
    const struct gev__tls_conn *conn = conn_of(s);

    return conn != NULL && SSL_session_reused(conn->ssl) == 1;
}

struct ssl_st *gev_tls_ssl(gev_stream *s)
{
    const struct gev__tls_conn *conn = conn_of(s);

    return conn == NULL ? give_null(-ENOTSUP) : conn->ssl;
}
