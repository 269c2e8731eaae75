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
