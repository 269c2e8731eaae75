/* SPDX-License-Identifier: MIT */

/* TLS configurations: versions, protocols, sessions, reloads (SSL1, SSL6). */
#include "tls_pair.h"

#include <openssl/ssl.h>

/* --- versions, ALPN, sessions --------------------------------------------- */

static gev_tls *make_with(bool server, int version, const char *alpn,
                          const char *ciphers)
{
    gev_tls_opts o = {.size = sizeof(o),
                      .ca_file = server ? NULL : certs_path("ca.pem"),
                      .cert_file = server ? certs_path("good.pem") : NULL,
                      .key_file = server ? certs_path("good.key") : NULL,
                      .alpn = alpn,
                      .ciphers = ciphers,
                      .min_version = version};
    return server ? gev_tls_server(&o) : gev_tls_client(&o);
}

GEV_TEST(versions_and_ciphers)
{
    gev_tls *client =
        make_with(false, 12, NULL, "ECDHE-ECDSA-CHACHA20-POLY1305");
    gev_tls *server = make_with(true, 13, NULL, NULL);
    struct pair p = shake(client, server, "localhost");
    expect_str_eq(gev_tls_version(p.client.s), "TLSv1.3");
    expect_str_eq(gev_tls_version(p.server.s), "TLSv1.3");
    expect_true(strncmp(gev_tls_cipher(p.client.s), "TLS_", 4) == 0);
    close_pair(&p);
    SSL_CTX_set_max_proto_version(gev_tls_ctx(client), TLS1_2_VERSION);
    p = shake(client, server, "localhost");
    expect_int_eq(p.client.error, GEV_ETLS);
    expect_int_eq(p.server.error, GEV_ETLS);
    expect_true(strstr(p.client.reason, "version") != NULL);
    gev_tls_unref(server);
    server = make_with(true, 0, NULL, NULL);
    p = shake(client, server, "localhost");
    expect_str_eq(gev_tls_version(p.client.s), "TLSv1.2");
    expect_str_eq(gev_tls_cipher(p.client.s), "ECDHE-ECDSA-CHACHA20-POLY1305");
    close_pair(&p);
    /* Nothing older, whatever the peer says. */
    SSL_CTX_set_max_proto_version(gev_tls_ctx(client), TLS1_1_VERSION);
    SSL_CTX_set_min_proto_version(gev_tls_ctx(client), TLS1_VERSION);
    SSL_CTX_set_security_level(gev_tls_ctx(client), 0);
    p = shake(client, server, "localhost");
    expect_int_eq(p.server.error, GEV_ETLS);
    gev_tls_unref(client);
    gev_tls_unref(server);
}

/* SSL6 */
GEV_TEST(application_protocols)
{
    gev_tls *both = make_with(false, 0, "h2,http/1.1", NULL);
    gev_tls *none = make_with(false, 0, NULL, NULL);
    gev_tls *odd = make_with(false, 0, "gopher", NULL);
    gev_tls *server = make_with(true, 0, "http/1.1,h2", NULL);
    struct pair p = shake(both, server, "localhost");
    expect_str_eq(gev_tls_alpn(p.client.s), "http/1.1"); /* its choice */
    expect_str_eq(gev_tls_alpn(p.server.s), "http/1.1");
    close_pair(&p);
    p = shake(none, server, "localhost");
    errno = EIO;
    expect_null(gev_tls_alpn(p.client.s));
    expect_int_eq(errno, 0);
    close_pair(&p);
    p = shake(odd, server, "localhost");
    expect_int_eq(p.client.error, GEV_ETLS);
    expect_true(strstr(p.client.reason, "no application protocol") != NULL);
    close_pair(&p);
    gev_tls_unref(both);
    gev_tls_unref(none);
    gev_tls_unref(odd);
    gev_tls_unref(server);
}

/* Whether the n-th connection was resumed; each talks a little. */
static bool resumes(gev_tls *client, gev_tls *server, const char *host)
{
    struct pair p = shake(client, server, host);
    bool resumed = gev_tls_resumed(p.client.s);
    expect_true(resumed == gev_tls_resumed(p.server.s));
    expect_true(converse(p.client.s, p.server.s));
    close_pair(&p);
    return resumed;
}

/* SSL6 */
GEV_TEST(sessions_are_resumed)
{
    for (int version = 12; version <= 13; version++) {
        test_note("1.%d", version - 10);
        gev_tls *client = make_client(0);
        gev_tls *server = make_server("good", 0);
        SSL_CTX_set_max_proto_version(gev_tls_ctx(client),
                                      version == 12 ? TLS1_2_VERSION
                                                    : TLS1_3_VERSION);
        expect_false(resumes(client, server, "localhost"));
        expect_true(resumes(client, server, "localhost"));
        expect_true(resumes(client, server, "localhost"));
        expect_false(resumes(client, server, "127.0.0.1")); /* another */
        for (int i = 0; i < 10; i++) {
            expect_true(resumes(client, server, "localhost"));
        }
        /* Another server of that name does not know it. */
        gev_tls *unknown = make_server("good", 0);
        expect_false(resumes(client, unknown, "localhost"));
        gev_tls_unref(unknown);
        gev_tls_unref(server);
        gev_tls_unref(client);
    }
    test_note(NULL);
}

/* ... also after a connection that was aborted. */
GEV_TEST(sessions_outlive_an_abort)
{
    gev_tls *client = make_client(0);
    gev_tls *server = make_server("good", 0);
    struct pair p = shake(client, server, "localhost");
    expect_true(converse(p.client.s, p.server.s));
    expect_ok(gev_stream_abort(p.client.s));
    expect_ok(gev_stream_abort(p.server.s));
    expect_true(resumes(client, server, "localhost"));
    gev_tls_unref(client);
    gev_tls_unref(server);
}

GEV_TEST(sessions_may_be_off)
{
    gev_tls *client = make_client(GEV_TLS_NO_SESSIONS);
    gev_tls *server = make_server("good", 0);
    expect_false(resumes(client, server, "localhost"));
    expect_false(resumes(client, server, "localhost"));
    gev_tls_unref(client);
    gev_tls_unref(server);
    client = make_client(0);
    server = make_server("good", GEV_TLS_NO_SESSIONS);
    expect_false(resumes(client, server, "localhost"));
    expect_false(resumes(client, server, "localhost"));
    gev_tls_unref(client);
    gev_tls_unref(server);
}

/* More servers than a client remembers. */
GEV_TEST(the_oldest_sessions_are_forgotten)
{
    char host[64];
    gev_tls *client = make_client(0);
    gev_tls *server = make_server("good", 0);
    expect_false(resumes(client, server, "first.test.example"));
    for (int i = 0; i < 130; i++) { /* two tickets each */
        snprintf(host, sizeof(host), "n%d.test.example", i);
        expect_false(resumes(client, server, host));
    }
    expect_true(resumes(client, server, "n129.test.example"));
    expect_false(resumes(client, server, "first.test.example"));
    gev_tls_unref(client);
    gev_tls_unref(server);
}

/* --- configurations ------------------------------------------------------- */

static void copy_file(const char *from, const char *to)
{
    char text[8192];
    FILE *in = fopen(from, "r");
    size_t n = fread(text, 1, sizeof(text), in);
    fclose(in);
    FILE *out = fopen(to, "w");
    fwrite(text, 1, n, out);
    fclose(out);
}

static long serial_of(gev_stream *client)
{
    X509 *cert = SSL_get1_peer_certificate(gev_tls_ssl(client));
    long serial = ASN1_INTEGER_get(X509_get0_serialNumber(cert));
    X509_free(cert);
    return serial;
}

GEV_TEST(certificates_are_reloaded)
{
    char cert[128];
    char key[128];
    gev_tls *client = make_client(GEV_TLS_NO_SESSIONS);
    snprintf(cert, sizeof(cert), "%s", certs_path("live.pem"));
    snprintf(key, sizeof(key), "%s", certs_path("live.key"));
    copy_file(certs_path("good.pem"), cert);
    copy_file(certs_path("good.key"), key);
    gev_tls_opts o = {.size = sizeof(o), .cert_file = cert, .key_file = key};
    gev_tls *server = gev_tls_server(&o);
    struct pair old = shake(client, server, "localhost");

    copy_file(certs_path("fresh.pem"), cert); /* and not its key yet */
    expect_fail(gev_tls_reload(server), GEV_ETLS);
    expect_true(strstr(gev_tls_reason(), "mismatch") != NULL);
    struct pair p = shake(client, server, "localhost");
    expect_int_eq(serial_of(p.client.s), serial_of(old.client.s));
    close_pair(&p);

    copy_file(certs_path("fresh.key"), key);
    expect_ok(gev_tls_reload(server));
    p = shake(client, server, "localhost");
    expect_true(serial_of(p.client.s) != serial_of(old.client.s));
    expect_true(converse(old.client.s, old.server.s));
    close_pair(&p);
    close_pair(&old);

    expect_ok(unlink(cert));
    expect_fail(gev_tls_reload(server), ENOENT);
    expect_fail(gev_tls_reload(NULL), EINVAL);
    expect_ok(gev_tls_reload(client));
    gev_tls_unref(client);
    gev_tls_unref(server);
}

GEV_TEST(authorities_are_reloaded)
{
    char ca[128];
    gev_tls *server = make_server("good", 0);
    snprintf(ca, sizeof(ca), "%s", certs_path("live-ca.pem"));
    copy_file(certs_path("ca.pem"), ca);
    gev_tls_opts o = {.size = sizeof(o), .ca_file = ca};
    gev_tls *client = gev_tls_client(&o);
    expect_false(resumes(client, server, "localhost"));
    copy_file(certs_path("self.pem"), ca);
    expect_ok(gev_tls_reload(client));
    struct pair p = shake(client, server, "localhost"); /* not resumed */
    expect_int_eq(p.client.error, GEV_ETLSCERT);
    close_pair(&p);
    gev_tls_unref(client);
    gev_tls_unref(server);
}

/* Nor is a ticket that comes after the reload, on a connection from before. */
GEV_TEST(late_tickets_are_void)
{
    char ca[128];
    gev_tls *server = make_server("good", 0);
    snprintf(ca, sizeof(ca), "%s", certs_path("late-ca.pem"));
    copy_file(certs_path("ca.pem"), ca);
    gev_tls_opts o = {.size = sizeof(o), .ca_file = ca};
    gev_tls *client = gev_tls_client(&o);
    struct pair old = shake(client, server, "localhost"); /* nothing read yet */
    expect_not_null(old.client.s);
    copy_file(certs_path("self.pem"), ca);
    expect_ok(gev_tls_reload(client));
    expect_true(converse(old.client.s, old.server.s));
    close_pair(&old);
    struct pair p = shake(client, server, "localhost");
    expect_null(p.client.s);
    expect_int_eq(p.client.error, GEV_ETLSCERT);
    close_pair(&p);
    gev_tls_unref(client);
    gev_tls_unref(server);
}

/* What a handshake looks up must not go while another thread reloads. */
GEV_TEST(connections_have_their_own_authorities)
{
    gev_tls *server = make_server("good", GEV_TLS_CLIENT_CERT);
    gev_tls *client = make_client_with("client.pem", "client.key");
    struct pair p = shake(client, server, "localhost");
    const SSL *ssl = gev_tls_ssl(p.server.s);
    X509_STORE *store = NULL;
    const void *names = SSL_get_client_CA_list(ssl);
    expect_true(names != SSL_CTX_get_client_CA_list(gev_tls_ctx(server)));
    expect_ok(gev_tls_reload(server));
    expect_true(SSL_get_client_CA_list(ssl) == names);
    SSL_get0_chain_cert_store(gev_tls_ssl(p.server.s), &store);
    expect_not_null(store);
    expect_true(store != SSL_CTX_get_cert_store(gev_tls_ctx(server)));
    close_pair(&p);
    gev_tls_unref(client);
    gev_tls_unref(server);
}

/* A ticket is no way round the authorities of today. */
GEV_TEST(tickets_of_other_authorities_are_void)
{
    char ca[128];
    snprintf(ca, sizeof(ca), "%s", certs_path("clients-ca.pem"));
    copy_file(certs_path("unknown.pem"), ca);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        gev_tls_opts o = {.size = sizeof(o),
                          .ca_file = ca,
                          .cert_file = certs_path("good.pem"),
                          .key_file = certs_path("good.key"),
                          .flags = GEV_TLS_CLIENT_CERT};
        gev_tls *server = gev_tls_server(&o);
        gev_tls *client = make_client_with("stranger.pem", "stranger.key");
        test_note("version %x", version);
        SSL_CTX_set_max_proto_version(gev_tls_ctx(client), version);
        expect_false(resumes(client, server, "localhost"));
        expect_true(resumes(client, server, "localhost"));
        expect_ok(gev_tls_reload(server)); /* the same */
        (void)resumes(client, server, "localhost");
        copy_file(certs_path("ca.pem"), ca);
        expect_ok(gev_tls_reload(server));
        struct pair p = shake(client, server, "localhost");
        expect_null(p.server.s);
        expect_int_eq(p.server.error, GEV_ETLSCERT);
        close_pair(&p);
        copy_file(certs_path("unknown.pem"), ca);
        gev_tls_unref(client);
        gev_tls_unref(server);
    }
    test_note(NULL);
}

/* A server that verifies nobody resumes across a reload. */
GEV_TEST(sessions_survive_a_reload)
{
    gev_tls *server = make_server("good", 0);
    gev_tls *client = make_client(0);
    expect_false(resumes(client, server, "localhost"));
    expect_ok(gev_tls_reload(server));
    expect_true(resumes(client, server, "localhost"));
    gev_tls_unref(client);
    gev_tls_unref(server);
}

static void expect_no_config(bool server, gev_tls_opts o, int error)
{
    gev_tls *t = server ? gev_tls_server(&o) : gev_tls_client(&o);
    int saved = errno;
    expect_null(t);
    expect_int_eq(saved, error);
    gev_tls_unref(t);
}

GEV_TEST(options_that_make_no_sense)
{
    const char *cert = certs_path("good.pem");
    const char *key = certs_path("good.key");
    const char *other = certs_path("other.key");
    static char long_name[300];
    memset(long_name, 'x', sizeof(long_name) - 1);
    const gev_tls_opts good = {.cert_file = cert, .key_file = key};
    gev_tls_opts o = good;
    expect_fail(gev_tls_server(NULL) == NULL ? -1 : 0, EINVAL);
    expect_no_config(true, (gev_tls_opts){.cert_file = cert}, EINVAL);
    expect_no_config(true, (gev_tls_opts){.key_file = key}, EINVAL);
    expect_no_config(false, (gev_tls_opts){.cert_file = cert}, EINVAL);
    expect_no_config(false, (gev_tls_opts){.min_version = 11}, EINVAL);
    expect_no_config(false, (gev_tls_opts){.flags = 64}, EINVAL);
    expect_no_config(false, (gev_tls_opts){.flags = GEV_TLS_CLIENT_CERT},
                     EINVAL);
    expect_no_config(false, (gev_tls_opts){.handshake_timeout = -1}, EINVAL);
    expect_no_config(false, (gev_tls_opts){.handshake_timeout = NAN}, EINVAL);
    expect_no_config(false, (gev_tls_opts){.alpn = ""}, EINVAL);
    expect_no_config(false, (gev_tls_opts){.alpn = "h2,,x"}, EINVAL);
    expect_no_config(false, (gev_tls_opts){.alpn = long_name}, EINVAL);
    expect_no_config(false, (gev_tls_opts){.ciphers = "NONSENSE"}, GEV_ETLS);
    expect_no_config(false, (gev_tls_opts){.ca_file = "/nonexistent"}, ENOENT);
    expect_no_config(false, (gev_tls_opts){.ca_file = key}, GEV_ETLS);
    expect_true(gev_tls_reason()[0] != '\0');
    o.flags = GEV_TLS_INSECURE;
    expect_no_config(true, o, EINVAL);
    o = good;
    o.cert_file = "/nonexistent";
    expect_no_config(true, o, ENOENT);
    o.cert_file = key;
    expect_no_config(true, o, GEV_ETLS);
    o = good;
    o.key_file = other;
    expect_no_config(true, o, GEV_ETLS);
    expect_true(strstr(gev_tls_reason(), "mismatch") != NULL);
    expect_null(gev_tls_ctx(NULL));
    gev_tls_unref(NULL);
    expect_null(gev_tls_ref(NULL));
}

GEV_TEST(calls_that_make_no_sense)
{
    gev_tls *client = make_client(0);
    gev_tls *server = make_server("good", 0);
    expect_ok(gev_yield()); /* there is a hub */
    size_t open = test_open_fds();
    struct pair p = shake(server, client, "localhost"); /* crossed */
    expect_int_eq(p.client.error, EINVAL);
    expect_int_eq(p.server.error, EINVAL);
    expect_uint_eq(test_open_fds(), open); /* it owns the lower one */
    expect_null(gev_tls_wrap(client, NULL, "localhost"));
    expect_null(gev_tls_accept(server, NULL));
    expect_null(gev_tls_accept(NULL, NULL));
    expect_null(gev_tls_connect(client, NULL, "1", 1));
    expect_int_eq(errno, EINVAL);
    expect_null(gev_tls_connect(client, "localhost", "1", NAN));
    expect_int_eq(errno, EINVAL);
    expect_null(gev_tls_unwrap(NULL));
    expect_int_eq(errno, EINVAL);

    int fds[2];
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    gev_stream *plain = gev_stream_open(fds[0]);
    const char *(*const texts[])(const gev_stream *) = {
        gev_tls_version, gev_tls_cipher, gev_tls_alpn};
    for (int i = 0; i < 3; i++) {
        errno = 0;
        expect_null(texts[i](plain));
        expect_int_eq(errno, ENOTSUP);
    }
    expect_false(gev_tls_resumed(plain));
    expect_null(gev_tls_ssl(plain));
    expect_null(gev_tls_unwrap(plain));
    expect_int_eq(errno, ENOTSUP);
    expect_ok(gev_stream_close(plain));
    expect_ok(gev_close(fds[1]));
    gev_tls_unref(client);
    gev_tls_unref(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_and_ciphers),
        cmocka_unit_test(application_protocols),
        cmocka_unit_test(sessions_are_resumed),
        cmocka_unit_test(sessions_outlive_an_abort),
        cmocka_unit_test(sessions_may_be_off),
        cmocka_unit_test(the_oldest_sessions_are_forgotten),
        cmocka_unit_test(certificates_are_reloaded),
        cmocka_unit_test(authorities_are_reloaded),
        cmocka_unit_test(late_tickets_are_void),
        cmocka_unit_test(connections_have_their_own_authorities),
        cmocka_unit_test(tickets_of_other_authorities_are_void),
        cmocka_unit_test(sessions_survive_a_reload),
        cmocka_unit_test(options_that_make_no_sense),
        cmocka_unit_test(calls_that_make_no_sense),
    };
    (void)certs_path(""); /* made outside of the tests */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
