/* SPDX-License-Identifier: MIT */

/* Configurations: options, and the SSL_CTX that is made of them. */
#include "tls/tls.h"

#include <math.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#define HANDSHAKE_TIMEOUT 10.0

static const gev_tls_ops ops = {.size = sizeof(ops),
                                .ref = gev_tls_ref,
                                .unref = gev_tls_unref,
                                .accept = gev_tls_accept};

/* --- options -------------------------------------------------------------- */

static bool make_sense(const gev_tls_opts *o, bool is_server)
{
    const unsigned known = GEV_TLS_NO_SESSIONS |
                           (is_server ? GEV_TLS_CLIENT_CERT : GEV_TLS_INSECURE);

    return (o->flags & ~known) == 0 &&
           (o->min_version == 0 || o->min_version == 12 ||
            o->min_version == 13) &&
           o->handshake_timeout >= 0 && /* not NaN either */
           (o->cert_file == NULL) == (o->key_file == NULL) &&
           (o->cert_file != NULL || !is_server);
}

static int copy_text(const char *text, char **ret_copy)
{
    *ret_copy = text == NULL ? NULL : OPENSSL_strdup(text);
    return text != NULL && *ret_copy == NULL ? -ENOMEM : 0;
}

/* "h2,http/1.1" as a length and that many bytes each. */
static int encode_alpn(const char *text, unsigned char **ret_wire,
                       unsigned *ret_length)
{
    size_t n = strlen(text);
    unsigned char *wire = n > UINT16_MAX ? NULL : OPENSSL_malloc(n + 1);
    size_t at = 0;

    if (wire == NULL) {
        return n > UINT16_MAX ? -EINVAL : -ENOMEM;
    }
    for (const char *p = text;; p++) {
        size_t length = strcspn(p, ",");
        if (length == 0 || length > 255) {
            OPENSSL_free(wire);
            return -EINVAL;
        }
        wire[at] = (unsigned char)length;
        memcpy(&wire[at + 1], p, length);
        at += length + 1;
        p += length;
        if (*p == '\0') {
            break;
        }
    }
    *ret_wire = wire;
    *ret_length = (unsigned)at;
    return 0;
}

static int copy_options(struct gev_tls *t, const gev_tls_opts *o)
{
    t->flags = o->flags;
    t->handshake_timeout =
        o->handshake_timeout > 0 ? o->handshake_timeout : HANDSHAKE_TIMEOUT;
    if (copy_text(o->ca_file, &t->ca_file) < 0 ||
        copy_text(o->ca_dir, &t->ca_dir) < 0 ||
        copy_text(o->cert_file, &t->cert_file) < 0 ||
        copy_text(o->key_file, &t->key_file) < 0) {
        return -ENOMEM;
    }
    return o->alpn == NULL ? 0
                           : encode_alpn(o->alpn, &t->alpn, &t->alpn_length);
}

/* --- the SSL_CTX ---------------------------------------------------------- */

/* A password would be asked for on the terminal. */
static int refuse_password(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

static bool load_certificate(const struct gev_tls *t, SSL_CTX *ctx)
{
    SSL_CTX_set_default_passwd_cb(ctx, refuse_password);
    return t->cert_file == NULL ||
           (SSL_CTX_use_certificate_chain_file(ctx, t->cert_file) == 1 &&
            SSL_CTX_use_PrivateKey_file(ctx, t->key_file, SSL_FILETYPE_PEM) ==
                1 &&
            SSL_CTX_check_private_key(ctx) == 1);
}

/* Whether certificates are verified at all. */
static bool verifies(const struct gev_tls *t)
{
    if (!t->is_server) {
        return !(t->flags & GEV_TLS_INSECURE);
    }
    return (t->flags & GEV_TLS_CLIENT_CERT) || t->ca_file != NULL ||
           t->ca_dir != NULL;
}

static bool load_authorities(const struct gev_tls *t, SSL_CTX *ctx)
{
    bool ok = true;

    if (!verifies(t)) {
        return true;
    }
    if (t->ca_file == NULL && t->ca_dir == NULL) {
        ok = SSL_CTX_set_default_verify_paths(ctx) == 1;
        ERR_clear_error(); /* of files that need not be there */
        return ok;
    }
    if (t->ca_file != NULL) {
        ok = SSL_CTX_load_verify_file(ctx, t->ca_file) == 1;
        if (ok && t->is_server) {
            STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(t->ca_file);
            ok = names != NULL;
            SSL_CTX_set_client_CA_list(ctx, names);
        }
    }
    if (ok && t->ca_dir != NULL) {
        ok = SSL_CTX_load_verify_dir(ctx, t->ca_dir) == 1;
    }
    return ok;
}

/* What files have to say, in an SSL_CTX of its own. */
static int load_files(const struct gev_tls *t, SSL_CTX **ret_ctx)
{
    ERR_clear_error();
    SSL_CTX *ctx =
        SSL_CTX_new(t->is_server ? TLS_server_method() : TLS_client_method());

    if (ctx == NULL || !load_certificate(t, ctx) || !load_authorities(t, ctx)) {
        int rc = gev__tls_failure();
        SSL_CTX_free(ctx);
        return rc;
    }
    *ret_ctx = ctx;
    return 0;
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct gev__tls_conn *conn = gev__tls_conn_of(ssl);
    bool kept = false;

    if (conn != NULL && conn->server != NULL && conn->tls->sessions != NULL) {
        pthread_mutex_lock(&conn->tls->lock);
        /* One that comes after a reload is the old authorities', too. */
        kept =
            conn->reloads == conn->tls->reloads &&
            gev__tls_sessions_put(conn->tls->sessions, conn->server, session);
        pthread_mutex_unlock(&conn->tls->lock);
    }
    return kept;
}

static void set_verification(struct gev_tls *t, SSL_CTX *ctx)
{
    int mode = SSL_VERIFY_NONE;

    if (verifies(t)) {
        mode = SSL_VERIFY_PEER;
        if (t->flags & GEV_TLS_CLIENT_CERT) {
            mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
        }
    }
    SSL_CTX_set_verify(ctx, mode, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, gev__tls_verify, NULL);
}

/* Sessions of another name are not resumed: whoever verifies clients has a new
 * one when the authorities may have changed. */
static int name_sessions(struct gev_tls *t)
{
    unsigned char name[16];
    int n = BIO_snprintf((char *)name, sizeof(name), "gev %x", t->reloads);

    return SSL_CTX_set_session_id_context(t->ctx, name, (unsigned)n) == 1
               ? 0
               : -ENOMEM;
}

/* Tickets are all a server needs: it keeps no sessions itself. */
static int set_sessions(struct gev_tls *t, SSL_CTX *ctx)
{
    long mode = SSL_SESS_CACHE_OFF;

    if (t->flags & GEV_TLS_NO_SESSIONS) {
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ctx, 0);
    } else if (!t->is_server) {
        t->sessions = gev__tls_sessions_new();
        if (t->sessions == NULL) {
            return -ENOMEM;
        }
        mode = SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL;
        SSL_CTX_sess_set_new_cb(ctx, keep_session);
    }
    SSL_CTX_set_session_cache_mode(ctx, mode);
    return name_sessions(t);
}

static int set_protocols(struct gev_tls *t, SSL_CTX *ctx, int min_version,
                         const char *ciphers)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    if (t->is_server) {
        SSL_CTX_set_dh_auto(ctx, 1);
    }
    if (SSL_CTX_set_min_proto_version(
            ctx, min_version == 13 ? TLS1_3_VERSION : TLS1_2_VERSION) != 1 ||
        (ciphers != NULL && SSL_CTX_set_cipher_list(ctx, ciphers) != 1)) {
        return gev__tls_failure();
    }
    if (t->alpn != NULL && t->is_server) {
        SSL_CTX_set_alpn_select_cb(ctx, gev__tls_select_alpn, t);
    } else if (t->alpn != NULL &&
               SSL_CTX_set_alpn_protos(ctx, t->alpn, t->alpn_length) != 0) {
        return -ENOMEM;
    }
    return 0;
}

/* --- making --------------------------------------------------------------- */

static void free_tls(struct gev_tls *t)
{
    SSL_CTX_free(t->ctx);
    gev__tls_sessions_free(t->sessions);
    OPENSSL_free(t->ca_file);
    OPENSSL_free(t->ca_dir);
    OPENSSL_free(t->cert_file);
    OPENSSL_free(t->key_file);
    OPENSSL_free(t->alpn);
    pthread_mutex_destroy(&t->lock);
    OPENSSL_free(t);
    ERR_clear_error(); /* freeing may have wanted memory */
}

static int fill_in(struct gev_tls *t, const gev_tls_opts *o)
{
    int rc = copy_options(t, o);

    if (rc == 0) {
        rc = load_files(t, &t->ctx);
    }
    if (rc == 0) {
        set_verification(t, t->ctx);
        rc = set_sessions(t, t->ctx);
    }
    return rc < 0 ? rc : set_protocols(t, t->ctx, o->min_version, o->ciphers);
}

static int make_tls(const gev_tls_opts *opts, bool is_server,
                    struct gev_tls **ret_tls)
{
    gev_tls_opts o = {.size = sizeof(o)};

    gev__tls_clear_reason();
    if (opts != NULL) {
        /* An older program's struct is shorter. */
        size_t size = opts->size == 0 ? sizeof(o) : opts->size;
        memcpy(&o, opts, size < sizeof(o) ? size : sizeof(o));
    }
    if (!make_sense(&o, is_server)) {
        return -EINVAL;
    }
    struct gev_tls *t = OPENSSL_zalloc(sizeof(*t));
    if (t == NULL) {
        return -ENOMEM;
    }
    t->ops = &ops;
    t->is_server = is_server;
    atomic_init(&t->refs, 1);
    pthread_mutex_init(&t->lock, NULL);
    int rc = fill_in(t, &o);
    if (rc < 0) {
        free_tls(t);
        return rc;
    }
    *ret_tls = t;
    return 0;
}

int gev__tls_default_client(struct gev_tls **ret_tls)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct gev_tls *client;
    int rc = 0;

    pthread_mutex_lock(&lock);
    if (client == NULL) {
        rc = make_tls(NULL, false, &client);
    }
    pthread_mutex_unlock(&lock);
    *ret_tls = client;
    return rc;
}

/* A reload in another thread takes away what an SSL would look up in its
 * SSL_CTX: the store, also to complete its own chain, and the names of
 * authorities that a server tells its clients. */
static bool own_authorities(const struct gev_tls *t, SSL *ssl)
{
    X509_STORE *store = SSL_CTX_get_cert_store(t->ctx);

    if (SSL_set1_verify_cert_store(ssl, store) != 1 ||
        SSL_set1_chain_cert_store(ssl, store) != 1) {
        return false;
    }
    if (t->is_server && verifies(t)) {
        STACK_OF(X509_NAME) *names =
            SSL_dup_CA_list(SSL_CTX_get_client_CA_list(t->ctx));
        SSL_set_client_CA_list(ssl, names);
        return names != NULL;
    }
    return true;
}

SSL *gev__tls_new_ssl(struct gev_tls *t, unsigned *ret_reloads)
{
    pthread_mutex_lock(&t->lock);
    SSL *ssl = SSL_new(t->ctx);
    if (ssl != NULL && !own_authorities(t, ssl)) {
        SSL_free(ssl);
        ssl = NULL;
    }
    *ret_reloads = t->reloads;
    pthread_mutex_unlock(&t->lock);
    return ssl;
}

/* --- reloading ------------------------------------------------------------ */

static int take_certificate(SSL_CTX *ctx, SSL_CTX *fresh)
{
    STACK_OF(X509) *chain = NULL;
    X509 *cert = SSL_CTX_get0_certificate(fresh);

    SSL_CTX_get0_chain_certs(fresh, &chain);
    return cert == NULL ||
                   SSL_CTX_use_cert_and_key(
                       ctx, cert, SSL_CTX_get0_privatekey(fresh), chain, 1) == 1
               ? 0
               : gev__tls_failure();
}

/* Both are whole; the old one's settings stay. */
static int take_files(struct gev_tls *t, SSL_CTX *fresh)
{
    STACK_OF(X509_NAME) *names = NULL;

    if (verifies(t)) {
        names = SSL_dup_CA_list(SSL_CTX_get_client_CA_list(fresh));
        if (names == NULL) {
            return -ENOMEM;
        }
    }
    int rc = take_certificate(t->ctx, fresh);
    if (rc < 0) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return rc;
    }
    if (verifies(t)) {
        SSL_CTX_set1_cert_store(t->ctx, SSL_CTX_get_cert_store(fresh));
        SSL_CTX_set_client_CA_list(t->ctx, names);
    }
    /* They were verified by the old authorities. */
    if (t->sessions != NULL) {
        gev__tls_sessions_clear(t->sessions);
    }
    t->reloads++;
    return t->is_server && verifies(t) ? name_sessions(t) : 0;
}

static int reload(struct gev_tls *t)
{
    SSL_CTX *fresh = NULL;

    gev__tls_clear_reason();
    int rc = load_files(t, &fresh);
    if (rc < 0) {
        return rc;
    }
    pthread_mutex_lock(&t->lock);
    rc = take_files(t, fresh);
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(fresh);
    return rc;
}

/* --- public --------------------------------------------------------------- */

static gev_tls *give(int rc, struct gev_tls *t)
{
    return rc < 0 && gev__tls_fail(rc) < 0 ? NULL : t;
}

gev_tls *gev_tls_client(const gev_tls_opts *opts)
{
    struct gev_tls *t = NULL;
    int rc = make_tls(opts, false, &t);

    return give(rc, t);
}

gev_tls *gev_tls_server(const gev_tls_opts *opts)
{
    struct gev_tls *t = NULL;
    int rc = make_tls(opts, true, &t);

    return give(rc, t);
}

gev_tls *gev_tls_ref(gev_tls *t)
{
    if (t != NULL) {
        atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    }
    return t;
}

void gev_tls_unref(gev_tls *t)
{
    if (t != NULL &&
        atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1) {
        free_tls(t);
    }
}

int gev_tls_reload(gev_tls *t)
{
    int rc = t == NULL ? -EINVAL : reload(t);

    return rc < 0 ? gev__tls_fail(rc) : 0;
}

struct ssl_ctx_st *gev_tls_ctx(gev_tls *t)
{
    if (t == NULL) {
        gev__tls_fail(-EINVAL);
        return NULL;
    }
    return t->ctx;
}
