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
        {"partial", "localhost", GEV_ETLSNAME, "hostname mismatch"},
        {"partial", "127.0.0.1", GEV_ETLSNAME, "IP address mismatch"},
        {"nul", "localhost", GEV_ETLSNAME, "hostname mismatch"},
        {"unauthorized", "localhost", GEV_ETLSCERT, "invalid CA"},
        {"for-clients", "localhost", GEV_ETLSCERT, "purpose"},
        /* It does not verify, for whatever name. */
        {"both", "localhost", GEV_ETLSCERT, "certificate has expired"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect_refused(&cases[i]);
    }
}

/* The list of what was taken back lies beside the authority that says so. */
GEV_TEST(revoked_certificates_are_refused_if_configured)
{
    gev_tls *server = make_server("revoked", 0);
    gev_tls *good = make_server("good", 0);
    gev_tls_opts o = {.size = sizeof(o), .ca_file = certs_path("ca-crl.pem")};
    gev_tls *client = gev_tls_client(&o);
    struct pair p = shake(client, server, "localhost");
    expect_not_null(p.client.s); /* nobody asked for it */
    close_pair(&p);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(gev_tls_ctx(client)),
                                X509_V_FLAG_CRL_CHECK);
    for (int i = 0; i < 2; i++) {
        p = shake(client, server, "localhost");
        expect_int_eq(p.client.error, GEV_ETLSCERT);
        expect_str_eq(p.client.reason, "certificate revoked");
        close_pair(&p);
        p = shake(client, good, "localhost");
        expect_not_null(p.client.s);
        close_pair(&p);
        expect_ok(gev_tls_reload(client));
    }
    gev_tls_unref(server);
    gev_tls_unref(good);
    gev_tls_unref(client);
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

/* In TLS 1.2 the refusal comes within the handshake, in 1.3 after it. */
GEV_TEST(clients_are_told_why_they_are_refused)
{
    static const struct {
        const char *cert; /* NULL: none */
        const char *reason;
    } cases[] = {{NULL, "alert"},
                 {"stranger", "alert unknown ca"},
                 {"expired", "alert certificate expired"},
                 {"for-servers", "alert"}};
    gev_tls *server = make_server("good", GEV_TLS_CLIENT_CERT);
    for (int i = 0; i < 8; i++) {
        const char *name = cases[i / 2].cert;
        char cert[64];
        char key[64];
        char c;
        snprintf(cert, sizeof(cert), "%s.pem", name);
        snprintf(key, sizeof(key), "%s.key", name);
        gev_tls *client =
            name == NULL ? make_client(0) : make_client_with(cert, key);
        test_note("%s, 1.%d", name, 2 + i % 2);
        SSL_CTX_set_max_proto_version(gev_tls_ctx(client),
                                      i % 2 ? TLS1_3_VERSION : TLS1_2_VERSION);
        struct pair p = shake(client, server, "localhost");
        expect_int_eq(p.server.error, GEV_ETLSCERT);
        expect_true(p.server.reason[0] != '\0');
        expect_true((p.client.s != NULL) == (i % 2 == 1));
        if (p.client.s != NULL) {
            /* What it has said already is said in vain, and costs nothing. */
            (void)gev_stream_printf(p.client.s, "hello\n");
            expect_fail(gev_stream_read(p.client.s, &c, 1), GEV_ETLS);
            snprintf(p.client.reason, sizeof(p.client.reason), "%s",
                     gev_tls_reason());
        } else {
            expect_int_eq(p.client.error, GEV_ETLS);
        }
        if (strstr(p.client.reason, cases[i / 2].reason) == NULL) {
            expect_str_eq(p.client.reason, cases[i / 2].reason);
        }
        close_pair(&p);
        gev_tls_unref(client);
    }
    test_note(NULL);
    gev_tls_unref(server);
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

/* --- a transport that parks at every byte --------------------------------- */

static int parks; /* until `end` is called; -1: never */
static void (*end_it)(void);
static gev_greenlet *victim;

static int park_here(void)
{
    if (gev_current() == victim && parks >= 0 && parks-- == 0) {
        end_it();
    }
    return gev_yield();
}

static ssize_t read_slowly(void *self, void *buf, size_t n)
{
    return park_here() < 0 ? -1 : gev_read(N(self), buf, n < 40 ? n : 40);
}

static ssize_t write_slowly(void *self, const void *buf, size_t n)
{
    return park_here() < 0 ? -1 : gev_write(N(self), buf, n < 40 ? n : 40);
}

static int close_slowly(void *self)
{
    return gev_close(N(self));
}

static const gev_transport slow_transport = {.size = sizeof(slow_transport),
                                             .read = read_slowly,
                                             .write = write_slowly,
                                             .close = close_slowly};

static gev_timeout expired;

/* It is the current one: what it says of itself does not matter. */
static void kill_victim(void)
{
    (void)gev_kill(victim, 0);
}

static void time_victim_out(void)
{
    expect_ok(gev_timeout_begin(&expired, 0));
}

static void *throw_now(void *arg)
{
    expect_ok(gev_throw(arg, EINTR));
    return NULL;
}

/* Runs before the victim does again. */
static void throw_into_victim(void)
{
    expect_ok(gev_spawn_raw(throw_now, victim));
}

/* One side's handshake ends at its k-th park; true: it had so many. */
static bool end_handshake_at(int k, bool server, void (*how)(void), int error)
{
    gev_tls *tls[2] = {make_client(0), make_server("good", 0)};
    int fds[2] = {-1, -1};
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    struct side x[2] = {
        {.tls = tls[0],
         .lower = gev_stream_new(&slow_transport, P(fds[0])),
         .host = "localhost"},
        {.tls = tls[1], .lower = gev_stream_new(&slow_transport, P(fds[1]))}};
    gev_greenlet *g[2] = {gev_spawn(shake_side, &x[0]),
                          gev_spawn(shake_side, &x[1])};
    parks = k;
    end_it = how;
    victim = g[server];
    expired = (gev_timeout){.priv = {0}};
    expect_int_eq(gev_joinall(g, 2, test_scale(20)), 2);
    bool ended = parks < 0;
    parks = -1;
    /* What is thrown at the very last of them comes with the next park. */
    if (ended && (how != throw_into_victim || x[server].s == NULL)) {
        expect_null(x[server].s);
        expect_int_eq(x[server].error, error);
        expect_str_eq(x[server].reason, "");
    } else {
        expect_not_null(x[server].s);
    }
    for (int i = 0; i < 2; i++) {
        if (x[i].s != NULL) {
            expect_ok(gev_stream_abort(x[i].s) < 0 && errno != EPIPE ? -1 : 0);
        }
        gev_tls_unref(tls[i]);
    }
    gev_unrefall(g, 2);
    return ended;
}

GEV_TEST(handshakes_end_at_every_park)
{
    static const struct {
        void (*how)(void);
        int error;
    } ways[] = {{kill_victim, ECANCELED},
                {time_victim_out, ETIMEDOUT},
                {throw_into_victim, EINTR}};
    for (int i = 0; i < 6; i++) {
        int k = 0;
        while (!test_failed() &&
               end_handshake_at(k, i % 2, ways[i / 2].how, ways[i / 2].error)) {
            test_note("way %d, park %d", i, ++k);
        }
        expect_ge(k, 8);
    }
    test_note(NULL);
}

/* D11, A14: two failures at the same time keep their words. */
GEV_TEST(failures_side_by_side_have_their_own_reasons)
{
    static const struct {
        const char *server;
        int error;
        const char *reason;
    } cases[3] = {{"expired", GEV_ETLSCERT, "certificate has expired"},
                  {"other", GEV_ETLSNAME, "hostname mismatch"},
                  {"self", GEV_ETLSCERT, "self-signed certificate"}};
    gev_tls *client = make_client(0);
    struct side x[6];
    gev_greenlet *g[6];
    for (int i = 0; i < 3; i++) {
        int fds[2] = {-1, -1};
        expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
        x[i] = (struct side){.tls = gev_tls_ref(client),
                             .lower = gev_stream_open(fds[0]),
                             .host = "localhost"};
        x[i + 3] =
            (struct side){.tls = make_server(cases[i].server, 0),
                          .lower = gev_stream_new(&slow_transport, P(fds[1]))};
    }
    for (int i = 0; i < 6; i++) {
        g[i] = gev_spawn(shake_side, &x[i]);
    }
    expect_int_eq(gev_joinall(g, 6, test_scale(20)), 6);
    gev_unrefall(g, 6);
    for (int i = 0; i < 6; i++) {
        expect_null(x[i].s);
        expect_int_eq(x[i].error, i < 3 ? cases[i].error : GEV_ETLS);
        if (i < 3) {
            expect_str_eq(x[i].reason, cases[i].reason);
        } else {
            expect_true(strstr(x[i].reason, "alert") != NULL);
        }
        gev_tls_unref(x[i].tls);
    }
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
        cmocka_unit_test(revoked_certificates_are_refused_if_configured),
        cmocka_unit_test(a_chain_is_followed),
        cmocka_unit_test(the_default_verifies),
        cmocka_unit_test(insecure_has_to_be_asked_for),
        cmocka_unit_test(the_name_is_told_and_addresses_are_not),
        cmocka_unit_test(client_certificates_are_verified),
        cmocka_unit_test(clients_are_told_why_they_are_refused),
        cmocka_unit_test(client_certificates_may_be_left_out),
        cmocka_unit_test(plain_bytes_before_the_handshake_are_refused),
        cmocka_unit_test(plain_talk_is_not_tls),
        cmocka_unit_test(the_peer_goes_away_in_the_handshake),
        cmocka_unit_test(a_silent_peer_is_given_up),
        cmocka_unit_test(a_kill_ends_a_handshake),
        cmocka_unit_test(handshakes_end_at_every_park),
        cmocka_unit_test(failures_side_by_side_have_their_own_reasons),
        cmocka_unit_test(reasons_belong_to_their_greenlet),
        cmocka_unit_test(the_codes_have_words),
    };
    (void)certs_path(""); /* made outside of the tests */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
