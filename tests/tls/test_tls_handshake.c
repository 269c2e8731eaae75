/* SPDX-License-Identifier: MIT */

/* TLS handshakes: who is let in and who is not (SSL1, SSL4, SSL6, SSL7). */
#include "tls_pair.h"

#include <openssl/ssl.h>

/* SSL1 */
GEV_TEST(a_good_server_is_talked_to)
{
    static const char *const hosts[] = {
        "localhost", "LocalHost",      "localhost.",     "127.0.0.1",
        "::1",       "a.test.example", "b.Test.example."};
    gev_tls *client = make_client(0);
    gev_tls *server = make_server("good", 0);
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        test_note("%s", hosts[i]);
        struct pair p = shake(client, server, hosts[i]);
        expect_str_eq(p.client.reason, "");
        if (expect_not_null(p.client.s) && expect_not_null(p.server.s)) {
            expect_true(converse(p.client.s, p.server.s));
            expect_true(converse(p.server.s, p.client.s));
        }
        close_pair(&p);
    }
    test_note(NULL);
    gev_tls_unref(client);
    gev_tls_unref(server);
}

struct bad_case {
    const char *server;
    const char *host;
    int error;
    const char *reason;
};

static void expect_refused(const struct bad_case *c)
{
    gev_tls *client = make_client(0);
    gev_tls *server = make_server(c->server, 0);
    test_note("%s for %s", c->server, c->host);
    struct pair p = shake(client, server, c->host);
    expect_null(p.client.s);
    expect_int_eq(p.client.error, c->error);
    if (strstr(p.client.reason, c->reason) == NULL) {
        expect_str_eq(p.client.reason, c->reason);
    }
    /* The server is told. */
    expect_null(p.server.s);
    expect_int_eq(p.server.error, GEV_ETLS);
    expect_true(strstr(p.server.reason, "alert") != NULL);
    close_pair(&p);
    test_note(NULL);
    gev_tls_unref(client);
    gev_tls_unref(server);
}

/* D7 */
GEV_TEST(bad_certificates_are_refused)
{
    static const struct bad_case cases[] = {
        {"expired", "localhost", GEV_ETLSCERT, "certificate has expired"},
        {"early", "localhost", GEV_ETLSCERT, "not yet valid"},
        {"rogue", "localhost", GEV_ETLSCERT, "unable to get"},
        {"self", "localhost", GEV_ETLSCERT, "self-signed"},
        {"broken", "localhost", GEV_ETLSCERT, "unable to get"},
        {"other", "localhost", GEV_ETLSNAME, "hostname mismatch"},
        {"good", "test.example", GEV_ETLSNAME, "hostname mismatch"},
        {"good", "a.b.test.example", GEV_ETLSNAME, "hostname mismatch"},
        {"good", "127.0.0.2", GEV_ETLSNAME, "IP address mismatch"},
        {"good", "::2", GEV_ETLSNAME, "IP address mismatch"},
        /* It does not verify, for whatever name. */
        {"both", "localhost", GEV_ETLSCERT, "certificate has expired"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect_refused(&cases[i]);
    }
}

GEV_TEST(a_chain_is_followed)
{
    gev_tls *client = make_client(0);
    gev_tls *server = make_server("chain", 0);
    struct pair p = shake(client, server, "localhost");
    expect_not_null(p.client.s);
    close_pair(&p);
    gev_tls_unref(client);
    gev_tls_unref(server);
}

/* The system's authorities do not know ours. */
GEV_TEST(the_default_verifies)
{
    gev_tls *client = gev_tls_client(NULL);
    gev_tls *server = make_server("good", 0);
    struct pair p = shake(client, server, "localhost");
    expect_int_eq(p.client.error, GEV_ETLSCERT);
    close_pair(&p);
    p = shake(NULL, server, "localhost");
    expect_int_eq(p.client.error, GEV_ETLSCERT);
    close_pair(&p);
    gev_tls_unref(client);
    gev_tls_unref(server);
}

/* Only whoever says so talks to anybody. */
GEV_TEST(insecure_has_to_be_asked_for)
{
    static const char *const bad[] = {"self", "expired", "other", "rogue"};
    gev_tls *insecure = make_client(GEV_TLS_INSECURE);
    gev_tls *client = make_client(0);
    for (size_t i = 0; i < 4; i++) {
        gev_tls *server = make_server(bad[i], 0);
        struct pair p = shake(insecure, server, i % 2 ? "localhost" : "");
        if (expect_not_null(p.client.s)) {
            expect_true(converse(p.client.s, p.server.s));
        }
        close_pair(&p);
        gev_tls_unref(server);
    }
    gev_tls *server = make_server("good", 0);
    struct pair p = shake(client, server, ""); /* no name: no connection */
    expect_null(p.client.s);
    expect_int_eq(p.client.error, EINVAL);
    expect_int_eq(p.server.error, ECONNRESET);
    close_pair(&p);
    p = shake(client, server, ".test.example"); /* would match any below */
    expect_int_eq(p.client.error, EINVAL);
    gev_tls_unref(server);
    gev_tls_unref(client);
    gev_tls_unref(insecure);
}

static const char *sni;

static int note_sni(SSL *ssl, int *alert, void *arg)
{
    (void)alert;
    (void)arg;
    sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) != NULL ? "name"
                                                                     : "none";
    return SSL_TLSEXT_ERR_OK;
}

/* SSL6 */
GEV_TEST(the_name_is_told_and_addresses_are_not)
{
    gev_tls *client = make_client(0);
    gev_tls *server = make_server("good", 0);
    SSL_CTX_set_tlsext_servername_callback(gev_tls_ctx(server), note_sni);
    struct pair p = shake(client, server, "localhost");
    expect_str_eq(sni, "name");
    expect_str_eq(
        SSL_get_servername(gev_tls_ssl(p.server.s), TLSEXT_NAMETYPE_host_name),
        "localhost");
    close_pair(&p);
    p = shake(client, server, "127.0.0.1");
    expect_str_eq(sni, "none");
    close_pair(&p);
    gev_tls_unref(client);
    gev_tls_unref(server);
}

/* --- client certificates -------------------------------------------------- */

static gev_tls *make_client_with(const char *cert, const char *key)
{
    gev_tls_opts o = {.size = sizeof(o),
                      .ca_file = certs_path("ca.pem"),
                      .cert_file = certs_path(cert),
                      .key_file = certs_path(key)};
    return gev_tls_client(&o);
}

GEV_TEST(client_certificates_are_verified)
{
    gev_tls *server = make_server("good", GEV_TLS_CLIENT_CERT);
    gev_tls *nobody = make_client(0);
    gev_tls *known = make_client_with("client.pem", "client.key");
    gev_tls *rogue = make_client_with("rogue.pem", "rogue.key");

    struct pair p = shake(known, server, "localhost");
    expect_true(converse(p.client.s, p.server.s));
    X509 *cert = SSL_get1_peer_certificate(gev_tls_ssl(p.server.s));
    expect_not_null(cert);
    X509_free(cert);
    close_pair(&p);

    gev_tls *const bad[] = {nobody, rogue};
    for (int i = 0; i < 2; i++) {
        char c;
        p = shake(bad[i], server, "localhost");
        expect_null(p.server.s);
        expect_int_eq(p.server.error, GEV_ETLSCERT);
        /* In TLS 1.3 the client is done before it is refused: it is told by
         * its first read. */
        if (expect_not_null(p.client.s)) {
            expect_fail(gev_stream_read(p.client.s, &c, 1), GEV_ETLS);
            expect_true(strstr(gev_tls_reason(), "alert") != NULL);
        }
        close_pair(&p);
    }
    gev_tls_unref(server);
    gev_tls_unref(nobody);
    gev_tls_unref(known);
    gev_tls_unref(rogue);
}

/* With authorities, but without the flag: none, or a good one. */
GEV_TEST(client_certificates_may_be_left_out)
{
    gev_tls_opts o = {.size = sizeof(o),
                      .ca_file = certs_path("ca.pem"),
                      .cert_file = certs_path("good.pem"),
                      .key_file = certs_path("good.key")};
    gev_tls *server = gev_tls_server(&o);
    gev_tls *nobody = make_client(0);
    gev_tls *rogue = make_client_with("rogue.pem", "rogue.key");
    struct pair p = shake(nobody, server, "localhost");
    expect_true(converse(p.client.s, p.server.s));
    close_pair(&p);
    p = shake(rogue, server, "localhost");
    expect_int_eq(p.server.error, GEV_ETLSCERT);
    close_pair(&p);
    gev_tls_unref(server);
    gev_tls_unref(nobody);
    gev_tls_unref(rogue);
}

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

/* --- what goes wrong on the way ------------------------------------------- */

/* SSL4: bytes from before the handshake are nobody's. */
GEV_TEST(plain_bytes_before_the_handshake_are_refused)
{
    gev_tls *server = make_server("good", 0);
    gev_tls *client = make_client(0);
    for (int is_client = 0; is_client < 2; is_client++) {
        int fds[2];
        char *line;
        expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
        gev_stream *s = gev_stream_open(fds[0]);
        expect_int_eq(gev_send_all(fds[1], "STARTTLS\nRSET\n", 14), 14);
        expect_int_eq(gev_stream_read_line(s, &line, 100), 9);
        expect_null(is_client ? gev_tls_wrap(client, s, "localhost")
                              : gev_tls_accept(server, s));
        expect_int_eq(errno, EPROTO);
        expect_ok(gev_close(fds[1]));
    }
    gev_tls_unref(server);
    gev_tls_unref(client);
}

static void *talk_plain(void *arg)
{
    char answer[256];
    gev_send_all(N(arg), "GET / HTTP/1.0\r\n\r\n", 18);
    while (gev_recv(N(arg), answer, sizeof(answer), 0) > 0) {
    }
    gev_close(N(arg));
    return NULL;
}

GEV_TEST(plain_talk_is_not_tls)
{
    int fds[2];
    gev_tls *server = make_server("good", 0);
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    gev_greenlet *g = gev_spawn(talk_plain, P(fds[1]));
    expect_null(gev_tls_accept(server, gev_stream_open(fds[0])));
    expect_int_eq(errno, GEV_ETLS);
    expect_str_eq(gev_tls_reason(), "http request");
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    gev_tls_unref(server);
}

GEV_TEST(the_peer_goes_away_in_the_handshake)
{
    int fds[2];
    gev_tls *client = make_client(0);
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    expect_ok(gev_shutdown(fds[1], SHUT_WR));
    expect_null(gev_tls_wrap(client, gev_stream_open(fds[0]), "localhost"));
    expect_int_eq(errno, ECONNRESET);
    expect_true(strstr(gev_tls_reason(), "closed") != NULL);
    expect_ok(gev_close(fds[1]));
    gev_tls_unref(client);
}

/* A silent peer is given up, by the limit of its own or an outer one. */
GEV_TEST(a_silent_peer_is_given_up)
{
    int fds[2];
    gev_tls_opts o = {.size = sizeof(o),
                      .ca_file = certs_path("ca.pem"),
                      .handshake_timeout = 0.02};
    gev_tls *impatient = gev_tls_client(&o);
    gev_tls *client = make_client(0);
    gev_timeout limit = {.priv = {0}};
    double begin = test_now();
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    expect_null(gev_tls_wrap(impatient, gev_stream_open(fds[0]), "localhost"));
    expect_int_eq(errno, ETIMEDOUT);
    expect_str_eq(gev_tls_reason(), "the handshake took longer than 0.02 s");
    expect_ge(test_now() - begin, 0.02);
    expect_ok(gev_close(fds[1]));

    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    expect_ok(gev_timeout_begin_error(&limit, 0.01, EINTR));
    expect_null(gev_tls_wrap(client, gev_stream_open(fds[0]), "localhost"));
    expect_int_eq(errno, EINTR);
    gev_timeout_end(&limit);
    expect_ok(gev_close(fds[1]));
    gev_tls_unref(impatient);
    gev_tls_unref(client);
}

GEV_TEST(a_kill_ends_a_handshake)
{
    int fds[2];
    gev_tls *client = make_client(0);
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    struct side x = {
        .tls = client, .lower = gev_stream_open(fds[0]), .host = "localhost"};
    gev_greenlet *g = gev_spawn(shake_side, &x);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_null(x.s);
    expect_int_eq(x.error, ECANCELED);
    gev_unref(g);
    expect_ok(gev_close(fds[1]));
    gev_tls_unref(client);
}

static void *fail_handshake(void *arg)
{
    int fds[2];
    gev_tls *client = arg;
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    expect_ok(gev_shutdown(fds[1], SHUT_WR));
    expect_null(gev_tls_wrap(client, gev_stream_open(fds[0]), "localhost"));
    expect_true(gev_tls_reason()[0] != '\0');
    expect_ok(gev_close(fds[1]));
    return NULL;
}

/* SSL7: nobody sees another's. */
GEV_TEST(reasons_belong_to_their_greenlet)
{
    gev_tls *client = make_client(0);
    expect_str_eq(gev_tls_reason(), "");
    gev_greenlet *g = gev_spawn(fail_handshake, client);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_str_eq(gev_tls_reason(), "");
    gev_tls_unref(client);
}

GEV_TEST(the_codes_have_words)
{
    static const int codes[] = {GEV_ETLS, GEV_ETLSCERT, GEV_ETLSNAME};
    for (int i = 0; i < 3; i++) {
        expect_true(strcmp(gev_strerror(codes[i]), "Unknown error") != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_server_is_talked_to),
        cmocka_unit_test(bad_certificates_are_refused),
        cmocka_unit_test(a_chain_is_followed),
        cmocka_unit_test(the_default_verifies),
        cmocka_unit_test(insecure_has_to_be_asked_for),
        cmocka_unit_test(the_name_is_told_and_addresses_are_not),
        cmocka_unit_test(client_certificates_are_verified),
        cmocka_unit_test(client_certificates_may_be_left_out),
        cmocka_unit_test(versions_and_ciphers),
        cmocka_unit_test(application_protocols),
        cmocka_unit_test(sessions_are_resumed),
        cmocka_unit_test(sessions_may_be_off),
        cmocka_unit_test(the_oldest_sessions_are_forgotten),
        cmocka_unit_test(certificates_are_reloaded),
        cmocka_unit_test(authorities_are_reloaded),
        cmocka_unit_test(options_that_make_no_sense),
        cmocka_unit_test(calls_that_make_no_sense),
        cmocka_unit_test(plain_bytes_before_the_handshake_are_refused),
        cmocka_unit_test(plain_talk_is_not_tls),
        cmocka_unit_test(the_peer_goes_away_in_the_handshake),
        cmocka_unit_test(a_silent_peer_is_given_up),
        cmocka_unit_test(a_kill_ends_a_handshake),
        cmocka_unit_test(reasons_belong_to_their_greenlet),
        cmocka_unit_test(the_codes_have_words),
    };
    (void)certs_path(""); /* made outside of the tests */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
