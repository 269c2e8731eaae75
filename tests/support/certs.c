/* SPDX-License-Identifier: MIT */
#include "support/certs.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define DAY (24 * 60 * 60L)

static char folder[64];
static pid_t owner;

/* One certificate with its key. */
struct identity {
    X509 *cert;
    EVP_PKEY *key;
};

static void require(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "certificates: %s\n", what);
        ERR_print_errors_fp(stderr);
        abort();
    }
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    require(e != NULL && X509_add_ext(cert, e, -1) == 1, value);
    X509_EXTENSION_free(e);
}

/* A DNS name of n bytes, whatever they are. */
static void add_raw_name(X509 *cert, const char *name, int n)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    GENERAL_NAME *g = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    require(names != NULL && g != NULL && text != NULL &&
                ASN1_STRING_set(text, name, n) == 1,
            "no memory");
    GENERAL_NAME_set0_value(g, GEN_DNS, text);
    require(sk_GENERAL_NAME_push(names, g) > 0 &&
                X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1,
            name);
    GENERAL_NAMES_free(names);
}

static void set_name(X509 *cert, const char *name)
{
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
}

/* Issuer NULL: by itself. Names NULL: an authority. */
static struct identity issue(const struct identity *issuer, const char *subject,
                             const char *names, long from, long to)
{
    static long serial = 1000;
    struct identity id = {X509_new(), EVP_EC_gen("P-256")};
    require(id.cert != NULL && id.key != NULL, "no memory");
    X509_set_version(id.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(id.cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(id.cert), from);
    X509_gmtime_adj(X509_getm_notAfter(id.cert), to);
    set_name(id.cert, subject);
    X509_set_pubkey(id.cert, id.key);
    const struct identity *by = issuer == NULL ? &id : issuer;
    X509_set_issuer_name(id.cert, X509_get_subject_name(by->cert));
    add_extension(id.cert, by->cert, NID_basic_constraints,
                  names == NULL ? "critical,CA:TRUE" : "critical,CA:FALSE");
    add_extension(id.cert, by->cert, NID_subject_key_identifier, "hash");
    if (names != NULL) {
        add_extension(id.cert, by->cert, NID_subject_alt_name, names);
    }
    require(X509_sign(id.cert, by->key, EVP_sha256()) > 0, "signing");
    return id;
}

static void free_identity(struct identity id)
{
    X509_free(id.cert);
    EVP_PKEY_free(id.key);
}

static FILE *create(const char *name, const char *ending)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s%s", folder, name, ending);
    FILE *f = fopen(path, "w");
    require(f != NULL, path);
    return f;
}

static void save(const char *name, struct identity id, X509 *next)
{
    FILE *f = create(name, ".key");
    PEM_write_PrivateKey(f, id.key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    f = create(name, ".pem");
    PEM_write_X509(f, id.cert);
    if (next != NULL) {
        PEM_write_X509(f, next);
    }
    fclose(f);
}

static void make(const struct identity *issuer, const char *name,
                 const char *names, long from, long to)
{
    struct identity id = issue(issuer, name, names, from, to);
    save(name, id, NULL);
    free_identity(id);
}

/* For "localhost", a NUL, and more; in the subject as well. */
static void make_nul(const struct identity *ca)
{
    static const char name[] = "localhost\0.evil.example";
    struct identity id = issue(ca, "nul", "email:nobody", -DAY, DAY);
    int at = X509_get_ext_by_NID(id.cert, NID_subject_alt_name, -1);
    X509_EXTENSION_free(X509_delete_ext(id.cert, at));
    add_raw_name(id.cert, name, sizeof(name) - 1);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(id.cert), "CN",
                               MBSTRING_ASC, (const unsigned char *)name,
                               sizeof(name) - 1, -1, 0);
    require(X509_sign(id.cert, ca->key, EVP_sha256()) > 0, "signing");
    save("nul", id, NULL);
    free_identity(id);
}

/* A good one that was issued for one purpose only. */
static void make_for(const struct identity *ca, const char *name,
                     const char *purpose)
{
    struct identity id = issue(ca, name, "DNS:localhost", -DAY, DAY);
    add_extension(id.cert, ca->cert, NID_ext_key_usage, purpose);
    require(X509_sign(id.cert, ca->key, EVP_sha256()) > 0, "signing");
    save(name, id, NULL);
    free_identity(id);
}

/* By a good one, which is no authority. */
static void make_unauthorized(const struct identity *ca)
{
    struct identity middle = issue(ca, "middle", "DNS:localhost", -DAY, DAY);
    struct identity end = issue(&middle, "end", "DNS:localhost", -DAY, DAY);
    save("unauthorized", end, middle.cert);
    free_identity(middle);
    free_identity(end);
}

/* A certificate, and the list that takes it back, behind its authority. */
static void make_revoked(const struct identity *ca)
{
    struct identity id = issue(ca, "revoked", "DNS:localhost", -DAY, DAY);
    X509_CRL *crl = X509_CRL_new();
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_TIME *last = X509_gmtime_adj(NULL, -DAY);
    ASN1_TIME *next = X509_gmtime_adj(NULL, DAY);
    require(crl != NULL && entry != NULL && last != NULL && next != NULL,
            "no memory");
    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert));
    X509_CRL_set1_lastUpdate(crl, last);
    X509_CRL_set1_nextUpdate(crl, next);
    X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(id.cert));
    X509_REVOKED_set_revocationDate(entry, last);
    require(X509_CRL_add0_revoked(crl, entry) == 1 &&
                X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0,
            "crl");
    save("revoked", id, NULL);
    FILE *f = create("ca-crl", ".pem");
    PEM_write_X509(f, ca->cert);
    PEM_write_X509_CRL(f, crl);
    fclose(f);
    ASN1_TIME_free(last);
    ASN1_TIME_free(next);
    X509_CRL_free(crl);
    free_identity(id);
}

static void make_chain(const struct identity *ca)
{
    struct identity middle = issue(ca, "middle", NULL, -DAY, DAY);
    struct identity end = issue(&middle, "end", "DNS:localhost", -DAY, DAY);
    save("chain", end, middle.cert);
    save("broken", end, NULL);
    free_identity(middle);
    free_identity(end);
}

static void remove_folder(void)
{
    DIR *d = owner == getpid() ? opendir(folder) : NULL;
    if (d == NULL) {
        return;
    }
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] != '.') {
            (void)unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    closedir(d);
    (void)rmdir(folder);
}

static void make_all(void)
{
    static const char good[] =
        "DNS:localhost,DNS:*.test.example,IP:127.0.0.1,IP:::1";
    owner = getpid();
    snprintf(folder, sizeof(folder), "/tmp/gev-certs-XXXXXX");
    require(mkdtemp(folder) != NULL, "mkdtemp");
    atexit(remove_folder);
    struct identity ca = issue(NULL, "ca", NULL, -DAY, DAY);
    struct identity unknown = issue(NULL, "unknown", NULL, -DAY, DAY);
    save("ca", ca, NULL);
    make(&ca, "good", good, -DAY, DAY);
    make(&ca, "fresh", good, -DAY, DAY);
    make(&ca, "other", "DNS:other.example", -DAY, DAY);
    make(&ca, "expired", "DNS:localhost", -2 * DAY, -DAY);
    make(&ca, "early", "DNS:localhost", DAY, 2 * DAY);
    make(&ca, "both", "DNS:other.example", -2 * DAY, -DAY);
    make(&ca, "client", "email:somebody@test.example", -DAY, DAY);
    make(&unknown, "rogue", "DNS:localhost", -DAY, DAY);
    make(NULL, "self", "DNS:localhost", -DAY, DAY);
    make(&ca, "partial", "DNS:l*host,DNS:*,DNS:127.0.0.1", -DAY, DAY);
    make(&unknown, "stranger", "email:somebody@test.example", -DAY, DAY);
    save("unknown", unknown, NULL);
    make_nul(&ca);
    make_for(&ca, "for-clients", "clientAuth");
    make_for(&ca, "for-servers", "serverAuth");
    make_unauthorized(&ca);
    make_revoked(&ca);
    make_chain(&ca);
    free_identity(ca);
    free_identity(unknown);
}

const char *certs_path(const char *file)
{
    static char paths[5][128];
    static unsigned next;
    if (folder[0] == '\0') {
        make_all();
    }
    next = (next + 1) % 5;
    snprintf(paths[next], sizeof(paths[next]), "%s/%s", folder, file);
    return paths[next];
}
