/* SPDX-License-Identifier: MIT */

/* TLS through gev_server, over TCP, and with the openssl program at the other
 * end (SRV10, SSL1, SSL8). */
#include "tls_pair.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include <openssl/ssl.h>

static void echo(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    char *line;
    ssize_t n;
    int *handled = arg;
    (void)peer;
    *handled += 1;
    while ((n = gev_stream_read_line(conn, &line, 100000)) > 0) {
        if (gev_stream_write(conn, line, (size_t)n) < 0 ||
            gev_stream_flush(conn) < 0) {
            return;
        }
    }
}

struct service {
    gev_server *server;
    char port[16];
    int handled;
};

static void serve(struct service *v, gev_tls *tls)
{
    gev_server_opts o = {.size = sizeof(o), .host = "localhost", .tls = tls};
    v->handled = 0;
    v->server = gev_server_new(&o, echo, &v->handled);
    expect_ok(gev_server_start(v->server));
    snprintf(v->port, sizeof(v->port), "%d", gev_server_port(v->server));
}

/* Says a line and wants it back. */
static bool converse_with(gev_stream *s, const char *text)
{
    char *line = NULL;
    return gev_stream_printf(s, "%s\n", text) == 0 &&
           gev_stream_read_line(s, &line, 100000) ==
               (ssize_t)strlen(text) + 1 &&
           strncmp(line, text, strlen(text)) == 0;
}

/* SRV10 */
GEV_TEST(a_server_speaks_tls)
{
    struct service v;
    gev_tls *tls = make_server("good", 0);
    gev_tls *client = make_client(0);
    gev_stream *s[20];
    serve(&v, tls);
    gev_tls_unref(tls); /* the server has its own */
    for (int i = 0; i < 20; i++) {
        s[i] = gev_tls_connect(client, "localhost", v.port, test_scale(5));
        expect_not_null(s[i]);
    }
    for (int i = 0; i < 20; i++) {
        expect_true(converse_with(s[i], "hello"));
    }
    expect_uint_eq(gev_server_count(v.server), 20);
    for (int i = 0; i < 20; i++) {
        expect_ok(gev_stream_close(s[i]));
    }
    expect_ok(gev_server_stop(v.server, test_scale(5)));
    expect_int_eq(v.handled, 20);
    gev_server_free(v.server);
    gev_tls_unref(client);
}

/* SRV10: who fails, fails alone, and never reaches the handler. */
GEV_TEST(a_failed_handshake_is_its_own_affair)
{
    struct service v;
    gev_tls *tls = make_server("good", 0);
    gev_tls *client = make_client(0);
    char answer[64];
    serve(&v, tls);
    gev_stream *good =
        gev_tls_connect(client, "localhost", v.port, test_scale(5));
    expect_true(converse_with(good, "before"));

    int silent = gev_tcp_connect("localhost", v.port, test_scale(5));
    int plain = gev_tcp_connect("localhost", v.port, test_scale(5));
    expect_int_eq(gev_send_all(plain, "GET / HTTP/1.0\r\n\r\n", 18), 18);
    expect_ok(gev_settimeout(plain, test_scale(5)));
    /* OpenSSL has no alert for this; but it is no reset. */
    expect_int_eq(gev_recv(plain, answer, sizeof(answer), 0), 0);
    expect_ok(gev_close(plain));
    expect_null(gev_tls_connect(NULL, "localhost", v.port, test_scale(5)));
    expect_int_eq(errno, GEV_ETLSCERT);
    expect_null(gev_tls_connect(client, "127.0.0.2", v.port, 5));

    expect_true(converse_with(good, "after"));
    expect_ok(gev_stream_close(good));
    expect_ok(gev_close(silent));
    expect_ok(gev_server_stop(v.server, test_scale(5)));
    expect_int_eq(v.handled, 1);
    gev_server_free(v.server);
    gev_tls_unref(tls);
    gev_tls_unref(client);
}

/* Clients that connect and say nothing, or the beginning of something: nobody
 * else waits for them. */
GEV_TEST(stalled_handshakes_are_in_nobodys_way)
{
    enum { MANY = 1000 };
    static int fds[MANY];
    static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00";
    struct service v;
    gev_tls *tls = make_server("good", 0);
    gev_tls *client = make_client(0);
    struct rlimit files;
    expect_ok(getrlimit(RLIMIT_NOFILE, &files));
    int many = files.rlim_cur > 2 * MANY + 200 ? MANY : 200;
    serve(&v, tls);
    for (int i = 0; i < many; i++) {
        fds[i] = gev_tcp_connect("localhost", v.port, test_scale(5));
        if (i % 2) {
            expect_int_eq(gev_send_all(fds[i], hello, 7), 7);
        }
    }
    while (gev_server_count(v.server) < (size_t)many) {
        expect_ok(gev_sleep(0.001));
    }
    gev_stream *good =
        gev_tls_connect(client, "localhost", v.port, test_scale(5));
    expect_true(good != NULL && converse_with(good, "hello"));
    expect_int_eq(v.handled, 1);
    expect_ok(gev_stream_close(good));
    for (int i = 0; i < many; i++) {
        expect_ok(gev_close(fds[i]));
    }
    expect_ok(gev_server_stop(v.server, test_scale(10)));
    expect_int_eq(v.handled, 1);
    gev_server_free(v.server);
    gev_tls_unref(tls);
    gev_tls_unref(client);
}

/* Handshakes that hang are killed with the server. */
GEV_TEST(a_stop_ends_handshakes)
{
    struct service v;
    gev_tls *tls = make_server("good", 0);
    serve(&v, tls);
    int silent = gev_tcp_connect("localhost", v.port, test_scale(5));
    while (gev_server_count(v.server) == 0) {
        expect_ok(gev_sleep(0.001));
    }
    expect_fail(gev_server_stop(v.server, 0.01), ETIMEDOUT);
    gev_server_free(v.server);
    expect_ok(gev_close(silent));
    gev_tls_unref(tls);
}

GEV_TEST(connecting_has_one_limit)
{
    gev_tls *client = make_client(0);
    uint16_t port = 0;
    char service[8];
    int listener = test_tcp_listener(&port); /* nobody accepts */
    snprintf(service, sizeof(service), "%u", port);
    double begin = test_now();
    expect_null(gev_tls_connect(client, "127.0.0.1", service, 0.02));
    expect_int_eq(errno, ETIMEDOUT);
    expect_ge(test_now() - begin, 0.02);
    expect_null(gev_tls_connect(client, "127.0.0.1", service, 0));
    expect_int_eq(errno, ETIMEDOUT);
    close(listener);
    expect_null(gev_tls_connect(client, "127.0.0.1", service, 5));
    expect_int_eq(errno, ECONNREFUSED);
    expect_str_eq(gev_tls_reason(), "");
    gev_tls_unref(client);
}

/* Each connection on its own stack, the default one. */
static void measure_stack(gev_stream *conn, const struct sockaddr *peer,
                          void *arg)
{
    (void)conn;
    (void)peer;
    *(ssize_t *)arg = gev_stack_used(gev_current());
}

GEV_TEST(a_handshake_fits_the_stack)
{
    ssize_t used = 0;
    gev_tls *tls = make_server("good", GEV_TLS_CLIENT_CERT);
    gev_tls_opts c = {.size = sizeof(c),
                      .ca_file = certs_path("ca.pem"),
                      .cert_file = certs_path("client.pem"),
                      .key_file = certs_path("client.key")};
    gev_tls *client = gev_tls_client(&c);
    gev_server_opts o = {.size = sizeof(o), .host = "localhost", .tls = tls};
    char port[16];
    char byte;
    gev_server *server = gev_server_new(&o, measure_stack, &used);
    expect_ok(gev_server_start(server));
    snprintf(port, sizeof(port), "%d", gev_server_port(server));
    gev_stream *s = gev_tls_connect(client, "localhost", port, test_scale(5));
    expect_int_eq(gev_stream_read(s, &byte, 1), 0);
    gev_stream_close(s);
    gev_server_free(server);
    print_message("a server's handshake used %zd bytes of stack\n", used);
    expect_le(used, 48 * 1024);
    gev_tls_unref(tls);
    gev_tls_unref(client);
}

/* --- threads -------------------------------------------------------------- */

struct shared {
    gev_tls *client;
    gev_tls *server;
    int talked;
};

static void *talk_in_thread(void *arg)
{
    struct shared *x = arg;
    for (int i = 0; i < 20; i++) {
        struct pair p = shake(x->client, x->server, "localhost");
        x->talked += converse(p.client.s, p.server.s);
        close_pair(&p);
    }
    expect_ok(gev_hub_close());
    return NULL;
}

/* Each with a hub of its own, while the certificates are read anew. */
GEV_TEST(configurations_are_shared_by_threads)
{
    gev_tls *client = make_client(0);
    gev_tls *server = make_server("good", 0);
    struct shared x[3];
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        x[i] = (struct shared){gev_tls_ref(client), gev_tls_ref(server), 0};
        expect_int_eq(pthread_create(&threads[i], NULL, talk_in_thread, &x[i]),
                      0);
    }
    for (int i = 0; i < 20; i++) {
        expect_ok(gev_tls_reload(server));
        expect_ok(gev_tls_reload(client));
        expect_ok(gev_sleep(0.0005));
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        expect_int_eq(x[i].talked, 20);
        gev_tls_unref(x[i].client);
        gev_tls_unref(x[i].server);
    }
    gev_tls_unref(client);
    gev_tls_unref(server);
}

/* --- the openssl program -------------------------------------------------- */

static void answer_once(gev_stream *conn, const struct sockaddr *peer,
                        void *arg)
{
    char *line;
    (void)peer;
    (void)arg;
    if (gev_stream_read_line(conn, &line, 1000) > 0) {
        gev_stream_printf(conn, "you said %s", line);
    }
}

/* The openssl program as client: its exit status, and what it printed. */
static int run_client(const char *port, const char *more1, const char *more2,
                      gev_process_result *ret)
{
    char address[32];
    snprintf(address, sizeof(address), "127.0.0.1:%s", port);
    char *const argv[] = {P("openssl"),
                          P("s_client"),
                          P("-connect"),
                          address,
                          P("-servername"),
                          P("localhost"),
                          P("-verify_hostname"),
                          P("localhost"),
                          P("-CAfile"),
                          P(certs_path("ca.pem")),
                          P("-verify_return_error"),
                          P("-ign_eof"),
                          P(more1),
                          P(more2),
                          NULL};
    gev_process_opts o = {.out = GEV_PROCESS_PIPE, .err = GEV_PROCESS_PIPE};
    expect_ok(gev_process_run(argv, &o, "hello\n", 6, ret, test_scale(20)));
    return ret->status;
}

/* SSL1 */
GEV_TEST(openssl_s_client_talks_to_us)
{
    static const char *const options[] = {"-tls1_2", "-tls1_3"};
    gev_tls *tls = make_server("good", 0);
    gev_server_opts o = {.size = sizeof(o), .host = "127.0.0.1", .tls = tls};
    gev_server *server = gev_server_new(&o, answer_once, NULL);
    char port[16];
    expect_ok(gev_server_start(server));
    snprintf(port, sizeof(port), "%d", gev_server_port(server));
    for (int i = 0; i < 2; i++) {
        gev_process_result r;
        test_note("%s", options[i]);
        expect_int_eq(run_client(port, options[i], "-showcerts", &r), 0);
        expect_true(strstr(r.out, "you said hello\n") != NULL);
        expect_true(strstr(r.out, "Verification: OK") != NULL);
        expect_true(strstr(r.out, "closed") != NULL);
        gev_process_result_free(&r);
        /* Before TLS 1.2 there is nothing. */
        expect_true(run_client(port, "-tls1_1", NULL, &r) != 0);
        gev_process_result_free(&r);
    }
    test_note(NULL);
    gev_server_free(server);
    gev_tls_unref(tls);
}

/* Reads what it prints up to a line with that word; the port in it. */
static int read_port(gev_process *p, const char *word)
{
    char text[4096];
    size_t n = 0;
    const char *found = NULL;
    while (found == NULL && n < sizeof(text) - 1) {
        ssize_t got = gev_read(gev_process_fd(p, 1), text + n, 1);
        if (got <= 0) {
            return -1;
        }
        n += (size_t)got;
        text[n] = '\0';
        found = text[n - 1] == '\n' ? strstr(text, word) : NULL;
    }
    const char *colon = found == NULL ? NULL : strrchr(found, ':');
    return colon == NULL ? -1 : atoi(colon + 1);
}

static gev_process *start_openssl_server(const char *name, const char *version,
                                         char *ret_port)
{
    char cert[128];
    char key[128];
    snprintf(cert, sizeof(cert), "%s.pem", name);
    snprintf(key, sizeof(key), "%s.key", name);
    char *const argv[] = {
        P("openssl"), P("s_server"),       P("-accept"), P("127.0.0.1:0"),
        P("-cert"),   P(certs_path(cert)), P("-key"),    P(certs_path(key)),
        P("-rev"),    P(version),          NULL};
    gev_process_opts o = {.in = GEV_PROCESS_PIPE,
                          .out = GEV_PROCESS_PIPE,
                          .err = GEV_PROCESS_NULL};
    gev_process *p = gev_process_new(argv, &o);
    expect_not_null(p);
    snprintf(ret_port, 16, "%d", read_port(p, "ACCEPT"));
    return p;
}

static void stop_openssl_server(gev_process *p)
{
    expect_ok(gev_process_kill(p, SIGKILL));
    expect_ok(gev_process_wait(p, NULL, test_scale(5)));
    gev_process_free(p);
}

GEV_TEST(we_talk_to_openssl_s_server)
{
    static const char *const versions[] = {"-tls1_2", "-tls1_3"};
    gev_tls *client = make_client(0);
    for (int i = 0; i < 2; i++) {
        char port[16];
        char *line = NULL;
        test_note("%s", versions[i]);
        gev_process *p = start_openssl_server("good", versions[i], port);
        for (int n = 0; n < 3; n++) {
            gev_stream *s =
                gev_tls_connect(client, "127.0.0.1", port, test_scale(5));
            if (!expect_not_null(s)) {
                break;
            }
            expect_ok(gev_stream_printf(s, "hello\n"));
            expect_int_eq(gev_stream_read_line(s, &line, 100), 6);
            expect_str_eq(line, "olleh\n");
            expect_true(gev_tls_resumed(s) == (n > 0));
            expect_ok(gev_stream_close(s));
        }
        stop_openssl_server(p);
    }
    test_note(NULL);
    gev_tls_unref(client);
}

/* D7 */
GEV_TEST(bad_openssl_servers_are_refused)
{
    static const struct {
        const char *name;
        int error;
    } cases[] = {{"expired", GEV_ETLSCERT},
                 {"self", GEV_ETLSCERT},
                 {"rogue", GEV_ETLSCERT},
                 {"other", GEV_ETLSNAME}};
    gev_tls *client = make_client(0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char port[16];
        test_note("%s", cases[i].name);
        gev_process *p = start_openssl_server(cases[i].name, NULL, port);
        expect_null(gev_tls_connect(client, "localhost", port, test_scale(5)));
        expect_int_eq(errno, cases[i].error);
        stop_openssl_server(p);
    }
    test_note(NULL);
    gev_tls_unref(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_speaks_tls),
        cmocka_unit_test(a_failed_handshake_is_its_own_affair),
        cmocka_unit_test(stalled_handshakes_are_in_nobodys_way),
        cmocka_unit_test(a_stop_ends_handshakes),
        cmocka_unit_test(connecting_has_one_limit),
        cmocka_unit_test(a_handshake_fits_the_stack),
        cmocka_unit_test(configurations_are_shared_by_threads),
        cmocka_unit_test(openssl_s_client_talks_to_us),
        cmocka_unit_test(we_talk_to_openssl_s_server),
        cmocka_unit_test(bad_openssl_servers_are_refused),
    };
    (void)certs_path(""); /* made outside of the tests */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
