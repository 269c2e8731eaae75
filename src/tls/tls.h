/* SPDX-License-Identifier: MIT */
#ifndef GEV_TLS_TLS_H
#define GEV_TLS_TLS_H

/* The inside of gev-tls: config.c has configurations, session.c what clients
 * remember of servers, conn.c a connection and its transport, wire.c the way
 * between it and the lower stream, handshake.c how it begins and ends, reason.c
 * what went wrong.
 *
 * Functions here return >= 0 or -errno, as everywhere in gev; what comes from
 * gev's public functions is turned round by gev__tls_error().
 *
 *   invariant: no greenlet parks between the beginning and the end of a call of
 *              OpenSSL. OpenSSL reads from the lower stream's buffer and writes
 *              to conn->out, or tries to write to lower; waiting is done by
 *              gev__tls_wait() and gev__tls_pump().
 *   invariant: OpenSSL's error queue, which is the thread's, is empty before
 *              each of its calls, and read and emptied before anybody parks.
 *   invariant: the bytes OpenSSL makes go out in their order: conn->sending,
 *              then conn->out; if somebody holds conn->pumping, nobody else
 *              takes from them. */

#include <gev.h>
#include <gev/tls.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <openssl/ssl.h>

/* --- configurations ------------------------------------------------------- */

struct gev__tls_sessions;

struct gev_tls {
    const gev_tls_ops *ops; /* first: the core calls through it */
    atomic_uint refs;
    bool is_server;
    unsigned flags;
    double handshake_timeout;
    char *ca_file;
    char *ca_dir;
    char *cert_file;
    char *key_file;
    unsigned char *alpn; /* as on the wire; NULL: none */
    unsigned alpn_length;
    unsigned reloads;
    pthread_mutex_t lock; /* of ctx's certificate and store, and of sessions */
    SSL_CTX *ctx;
    struct gev__tls_sessions *sessions; /* of clients; NULL: none are kept */
};

/* The client of all defaults; borrowed, and never freed. */
int gev__tls_default_client(struct gev_tls **ret_tls);

/* An SSL of the configuration as it is now; NULL: OpenSSL's queue says why. */
SSL *gev__tls_new_ssl(struct gev_tls *t, unsigned *ret_reloads);

/* What a server agrees to; SSL_CTX_set_alpn_select_cb(). */
int gev__tls_select_alpn(SSL *ssl, const unsigned char **out,
                         unsigned char *out_length, const unsigned char *in,
                         unsigned in_length, void *tls);

/* Verifies a chain, and says of one that is good but for another name just
 * that; SSL_CTX_set_cert_verify_callback(). */
int gev__tls_verify(X509_STORE_CTX *store, void *unused);

/* --- sessions ------------------------------------------------------------- */

struct gev__tls_sessions *gev__tls_sessions_new(void); /* NULL: no memory */
void gev__tls_sessions_free(struct gev__tls_sessions *cache);
void gev__tls_sessions_clear(struct gev__tls_sessions *cache);

/* Keeps a session for the next connection to that server. Takes the reference,
 * unless it is false. */
bool gev__tls_sessions_put(struct gev__tls_sessions *cache, const char *server,
                           SSL_SESSION *session);

/* The latest for that server; the caller's reference. NULL: none. */
SSL_SESSION *gev__tls_sessions_take(struct gev__tls_sessions *cache,
                                    const char *server);

/* --- connections ---------------------------------------------------------- */

struct gev__tls_buffer {
    char *data;
    size_t start; /* data[start .. end) */
    size_t end;
    size_t size;
};

/* A greenlet in a park of ours, so that a close can end it. */
struct gev__tls_parked {
    gev_greenlet *greenlet; /* NULL: nobody */
    bool thrown;
};

struct gev__tls_conn {
    struct gev_tls *tls; /* a reference */
    gev_stream *lower;
    SSL *ssl;
    struct gev__tls_buffer out;     /* what OpenSSL has made */
    struct gev__tls_buffer sending; /* what of it is on its way to lower */
    gev_lock pumping;
    struct gev__tls_parked reader;
    struct gev__tls_parked writer;
    size_t want;      /* bytes OpenSSL misses to go on */
    unsigned waiting; /* greenlets that wait for input */
    unsigned reloads; /* of tls, before this */
    int cancelled;    /* a close is at work: what parks fail with */
    int broken;       /* -errno of all calls after a failure of OpenSSL's */
    int unwritable;   /* -errno of writes after a failure of lower's */
    bool dirty;       /* lower has not been flushed */
    bool is_nested;   /* lower is TLS, too */
    bool direct;      /* OpenSSL's records may go to lower at once */
    bool ended;       /* lower is at its end */
    bool said_goodbye;
    bool keep_lower; /* at the close */
    bool no_memory;  /* in a callback of OpenSSL's */
    int wrong_name;  /* what verification has found, X509_V_ERR_*; 0: nothing */
    char *server;    /* under which sessions are kept; NULL: they are not */
    char *alpn;      /* agreed; NULL: none */
};

extern const gev_transport gev__tls_transport
    __attribute__((visibility("hidden")));

/* Takes a reference of t, but not lower. */
int gev__tls_conn_new(struct gev_tls *t, gev_stream *lower,
                      struct gev__tls_conn **ret_conn);

/* The connection of an SSL; NULL: it is not ours. */
struct gev__tls_conn *gev__tls_conn_of(const SSL *ssl);

/* Frees all but lower. */
void gev__tls_conn_free(struct gev__tls_conn *conn);

/* The handshake, to its end: parks. */
int gev__tls_shake_hands(struct gev__tls_conn *conn);

/* --- the way to the lower stream ------------------------------------------ */

/* A BIO over lower and conn->out that never waits; NULL: no memory. */
BIO *gev__tls_new_bio(struct gev__tls_conn *conn);

bool gev__tls_has_output(const struct gev__tls_conn *conn);

/* Room in conn->out; false: no memory. */
bool gev__tls_reserve(struct gev__tls_conn *conn, size_t n);

/* Sends what goes out at once. -EAGAIN: not all does, or somebody else is at
 * it; -ENOTSUP: lower cannot do that. */
int gev__tls_push(struct gev__tls_conn *conn);

/* Sends all: parks. */
int gev__tls_pump(struct gev__tls_conn *conn, struct gev__tls_parked *parked);

/* An alert before the end goes out if it can at once. */
void gev__tls_push_alert(struct gev__tls_conn *conn,
                         struct gev__tls_parked *parked);

/* Sends what goes out at once, then parks until lower has what OpenSSL misses,
 * is at its end, or takes some of the output, if there is any that nobody else
 * sends. */
int gev__tls_wait(struct gev__tls_conn *conn, struct gev__tls_parked *parked);

/* Wakes who is parked in the connection. */
void gev__tls_cancel(struct gev__tls_conn *conn, int error);

/* Failures of lower that no second try will mend. */
bool gev__tls_is_final(int rc);

/* All buffers; those that are empty. */
void gev__tls_free_buffers(struct gev__tls_conn *conn);
void gev__tls_trim_buffers(struct gev__tls_conn *conn);

/* --- reasons -------------------------------------------------------------- */

/* What errno says: -errno. */
static inline int gev__tls_error(void)
{
    return errno > 0 ? -errno : -EIO;
}

/* Leaves nothing in OpenSSL's queue, and the error in errno: -1. */
int gev__tls_fail(int rc);

/* The current greenlet's reason, printf-like. Does without if it has to. */
void gev__tls_set_reason(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
void gev__tls_clear_reason(void);

/* Reads and empties OpenSSL's error queue after a failure: -errno. */
int gev__tls_failure(void);

/* The same for a failure in a connection. */
int gev__tls_conn_failure(struct gev__tls_conn *conn);

#endif
