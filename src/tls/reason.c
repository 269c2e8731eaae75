/* SPDX-License-Identifier: MIT */

/* What went wrong: OpenSSL's errors as -errno and as words. The words belong to
 * the greenlet whose call failed. */
#include "tls/tls.h"

#include <stdarg.h>
#include <stdio.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#define REASON_MAX 256

static pthread_once_t once = PTHREAD_ONCE_INIT;
static gev_local key; /* all-zero if it could not be made */

static void free_reason(void *text)
{
    OPENSSL_free(text);
}

static void make_key(void)
{
    (void)gev_local_create(&key, free_reason);
}

/* The current greenlet's text; NULL: it has none, and can have none. */
static char *own_text(bool make)
{
    if (pthread_once(&once, make_key) != 0) {
        return NULL;
    }
    char *text = gev_local_get(key);
    if (text != NULL || !make) {
        return text;
    }
    text = OPENSSL_zalloc(REASON_MAX);
    if (text != NULL && gev_local_set(key, text) < 0) {
        OPENSSL_free(text);
        text = NULL;
    }
    return text;
}

void gev__tls_set_reason(const char *format, ...)
{
    char *text = own_text(true);
    va_list ap;

    if (text != NULL) {
        va_start(ap, format);
        (void)vsnprintf(text, REASON_MAX, format, ap);
        va_end(ap);
    }
}

void gev__tls_clear_reason(void)
{
    char *text = own_text(false);

    if (text != NULL) {
        text[0] = '\0';
    }
}

const char *gev_tls_reason(void)
{
    const char *text = own_text(false);

    return text == NULL ? "" : text;
}

/* --- OpenSSL's queue ------------------------------------------------------ */

static bool is_out_of_memory(void)
{
    return ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE ||
           ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE;
}

/* The words of the first error: later ones say only what it led to. What the
 * SSL library adds to its words says nothing more. */
static void take_words(void)
{
    const char *data = NULL;
    int flags = 0;
    unsigned long code = ERR_peek_error_data(&data, &flags);
    const char *words = ERR_SYSTEM_ERROR(code)
                            ? gev_strerror(ERR_GET_REASON(code))
                            : ERR_reason_error_string(code);
    bool has_data = data != NULL && (flags & ERR_TXT_STRING) && *data != '\0' &&
                    ERR_GET_LIB(code) != ERR_LIB_SSL;

    gev__tls_set_reason("%s%s%s", words == NULL ? "unknown failure" : words,
                        has_data ? ": " : "", has_data ? data : "");
}

int gev__tls_fail(int rc)
{
    ERR_clear_error();
    errno = -rc;
    return -1;
}

int gev__tls_failure(void)
{
    unsigned long first = ERR_peek_error();
    int rc = -GEV_ETLS;

    if (is_out_of_memory()) {
        rc = -ENOMEM;
    } else if (ERR_SYSTEM_ERROR(first)) {
        rc = -(int)ERR_GET_REASON(first);
    }
    take_words();
    ERR_clear_error();
    return rc;
}

static bool is_name_error(long result)
{
    return result == X509_V_ERR_HOSTNAME_MISMATCH ||
           result == X509_V_ERR_IP_ADDRESS_MISMATCH;
}

static int verification_failure(const struct gev__tls_conn *conn)
{
    long result = SSL_get_verify_result(conn->ssl);

    if (result == X509_V_OK) {
        take_words(); /* there was none */
        return -GEV_ETLSCERT;
    }
    gev__tls_set_reason("%s", X509_verify_cert_error_string(result));
    return is_name_error(result) ? -GEV_ETLSNAME : -GEV_ETLSCERT;
}

/* Of the SSL library's own errors. */
static int protocol_failure(const struct gev__tls_conn *conn)
{
    switch (ERR_GET_REASON(ERR_peek_error())) {
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        gev__tls_set_reason("the peer closed the connection without "
                            "close_notify");
        return -ECONNRESET;
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return verification_failure(conn);
    default:
        take_words();
        return -GEV_ETLS;
    }
}

int gev__tls_conn_failure(struct gev__tls_conn *conn)
{
    unsigned long first = ERR_peek_error();
    int rc;

    if (conn->no_memory || is_out_of_memory()) {
        conn->no_memory = false;
        gev__tls_set_reason("out of memory");
        rc = -ENOMEM;
    } else if (ERR_GET_LIB(first) == ERR_LIB_SSL) {
        rc = protocol_failure(conn);
    } else if (first != 0) {
        take_words();
        rc = -GEV_ETLS;
    } else {
        gev__tls_set_reason("the connection failed without a reason");
        rc = conn->ended ? -ECONNRESET : -GEV_ETLS;
    }
    ERR_clear_error();
    return rc;
}
