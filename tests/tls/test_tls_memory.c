/* SPDX-License-Identifier: MIT */

/* Lack of memory: every allocation of gev-tls, which are OpenSSL's, fails once,
 * or from then on. The calls then fail as documented, or do without, and leave
 * nothing behind. */
#include "tls_pair.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

static long live;    /* blocks */
static unsigned at;  /* which allocation fails; 0: none */
static unsigned now; /* allocations since */
static bool sticky;
static unsigned failed;

static bool fails(void)
{
    if (at == 0) {
        return false;
    }
    now++;
    bool so = sticky ? now >= at : now == at;
    failed += so;
    return so;
}

static void *fail_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    void *p = fails() ? NULL : malloc(n);
    live += p != NULL;
    return p;
}

static void *fail_realloc(void *old, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    if (fails()) {
        return NULL;
    }
    void *p = realloc(old, n);
    live += p != NULL && old == NULL;
    return p;
}

static void fail_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    live -= p != NULL;
    free(p);
}

/* OpenSSL reports a failed allocation by whatever did not come of it. */
static bool is_allowed(int error)
{
    return error == ENOMEM || error == GEV_ETLS || error == GEV_ETLSCERT ||
           error == ECONNRESET || error == EPIPE || error == ETIMEDOUT;
}

static void expect_allowed(int error)
{
    if (!is_allowed(error)) {
        expect_never("it failed with %d (%s)", error, gev_strerror(error));
    }
}

/* A connection from beginning to end: 0, or -1 with an errno. */
static int connect_and_talk(gev_tls *client, gev_tls *server)
{
    struct pair p = shake(client, server, "localhost");
    int rc = p.client.s != NULL && p.server.s != NULL ? 0 : -1;
    int error = p.client.s == NULL ? p.client.error : p.server.error;
    if (rc == 0) {
        gev_stream_settimeout(p.client.s, test_scale(1));
        gev_stream_settimeout(p.server.s, test_scale(1));
        errno = 0;
        rc = converse(p.client.s, p.server.s) ? 0 : -1;
        /* An end instead of a line is a failure of the other side's. */
        error = errno == 0 ? ECONNRESET : errno;
    }
    close_pair(&p);
    errno = error;
    return rc;
}

static int make_and_talk(void)
{
    gev_tls_opts c = {.ca_file = certs_path("ca.pem"), .alpn = "a,b"};
    gev_tls_opts s = {.cert_file = certs_path("good.pem"),
                      .key_file = certs_path("good.key"),
                      .alpn = "b"};
    gev_tls *client = gev_tls_client(&c);
    gev_tls *server = client == NULL ? NULL : gev_tls_server(&s);
    int rc = server == NULL ? -1 : connect_and_talk(client, server);
    int error = errno;
    gev_tls_unref(client);
    gev_tls_unref(server);
    errno = error;
    return rc;
}

/* One run with the k-th allocation failing; how many did. */
static unsigned run_failing(int (*scenario)(void), unsigned k, bool for_ever)
{
    test_note("allocation %u%s", k, for_ever ? " and all after it" : "");
    now = 0;
    failed = 0;
    sticky = for_ever;
    at = k;
    int rc = scenario();
    int error = errno;
    at = 0;
    if (rc < 0) {
        expect_allowed(error);
    }
    expect_uint_eq(ERR_peek_error(), 0);
    return failed;
}

static void sweep(int (*scenario)(void), unsigned step)
{
    unsigned runs = 0;
    expect_ok(scenario()); /* what is made once is made */
    expect_ok(scenario());
    long before = live;
    expect_ok(scenario());
    expect_int_eq(live, before);
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        unsigned k = 1;
        while (!test_failed() && run_failing(scenario, k, for_ever) > 0) {
            runs++;
            k += step;
        }
    }
    test_note(NULL);
    expect_ok(scenario());
    /* The slots of OpenSSL's error queue keep their texts. */
    expect_le(live - before, 16);
    print_message("%u runs with failures\n", runs);
}

static gev_tls *the_client;
static gev_tls *the_server;

static int talk(void)
{
    return connect_and_talk(the_client, the_server);
}

GEV_TEST(connections_without_memory)
{
    the_client = make_client(GEV_TLS_NO_SESSIONS);
    the_server = make_server("good", 0);
    sweep(talk, 23);
    gev_tls_unref(the_client);
    gev_tls_unref(the_server);
}

GEV_TEST(configurations_without_memory)
{
    sweep(make_and_talk, 131);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_without_memory),
        cmocka_unit_test(configurations_without_memory),
    };
    /* Before OpenSSL has allocated anything. */
    if (CRYPTO_set_mem_functions(fail_malloc, fail_realloc, fail_free) != 1) {
        fprintf(stderr, "OpenSSL has allocated already\n");
        return 1;
    }
    (void)certs_path(""); /* made outside of the tests */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
