/* SPDX-License-Identifier: MIT */

/* Verification, and what a server agrees to. */
#include "tls/tls.h"

#include <openssl/x509v3.h>

static struct gev__tls_conn *conn_of_store(X509_STORE_CTX *store)
{
    int index = SSL_get_ex_data_X509_STORE_CTX_idx();

    return gev__tls_conn_of(X509_STORE_CTX_get_ex_data(store, index));
}

/* OpenSSL looks at the name before it looks at the dates: go on, so that a
 * wrong name is reported only of a certificate that is good otherwise. */
static int pass_names(int ok, X509_STORE_CTX *store)
{
    int error = X509_STORE_CTX_get_error(store);

    if (ok == 0 && (error == X509_V_ERR_HOSTNAME_MISMATCH ||
                    error == X509_V_ERR_IP_ADDRESS_MISMATCH)) {
        conn_of_store(store)->wrong_name = error;
        return 1;
    }
    return ok;
}

int gev__tls_verify(X509_STORE_CTX *store, void *unused)
{
    struct gev__tls_conn *conn = conn_of_store(store);
    (void)unused;

    /* The program may have set a callback of its own, by gev_tls_ctx(), or use
     * that for connections that are not gev's. */
    if (conn == NULL || SSL_get_verify_callback(conn->ssl) != NULL) {
        return X509_verify_cert(store);
    }
    X509_STORE_CTX_set_verify_cb(store, pass_names);
    int ok = X509_verify_cert(store);
    if (ok == 1 && conn->wrong_name != 0) {
        X509_STORE_CTX_set_error(store, conn->wrong_name);
        return 0;
    }
    return ok;
}

int gev__tls_select_alpn(SSL *ssl, const unsigned char **out,
                         unsigned char *out_length, const unsigned char *in,
                         unsigned in_length, void *tls)
{
    const struct gev_tls *t = tls;
    unsigned char *chosen = NULL;
    (void)ssl;

    if (SSL_select_next_proto(&chosen, out_length, t->alpn, t->alpn_length, in,
                              in_length) != OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301, 3.2 */
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}
