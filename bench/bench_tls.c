/* SPDX-License-Identifier: MIT */

/* A TLS echo server with a greenlet a connection, beside a plain OpenSSL epoll
 * loop that does the same. The servers run on the first CPU, the load on the
 * second; it alternates between them. What counts is the server's CPU time. */
#include <gev.h>
#include <gev/tls.h>

#include "bench.h"
#include "net.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

static const char usage[] =
    "usage: bench_tls [-c connections] [-r rounds] [-q]\n"
    "Measures TLS echo servers (TLS 1.3, the same cipher and certificate).\n"
    "  tls.*.small      messages of 256 bytes a second of the server's CPU\n"
    "  tls.*.large      MB a second of its CPU, in messages of 64 KiB\n"
    "  tls.*.handshake  full handshakes a second of its CPU\n"
    "  -c N  connections, 1 to 1000 (16)\n";

#define SMALL ((size_t)256)
#define LARGE ((size_t)65536)

static int connections = 16;
static char cert_path[] = "/tmp/bench-tls-XXXXXX";

/* --- the certificate ------------------------------------------------------ */

static void make_certificate(void)
{
    int fd = mkstemp(cert_path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    X509 *cert = X509_new();
    EVP_PKEY *key = EVP_EC_gen("P-256");

    bench_check(f != NULL && cert != NULL && key != NULL, "certificate");
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"bench", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_set_pubkey(cert, key);
    bench_check(X509_sign(cert, key, EVP_sha256()) > 0 &&
                    PEM_write_X509(f, cert) == 1 &&
                    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) ==
                        1,
                "certificate");
    fclose(f);
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* --- the plain loop ------------------------------------------------------- */

struct peer {
    SSL *ssl;
    size_t start; /* of what is to be sent back: data[start .. end) */
    size_t end;
    char data[LARGE];
};

static SSL_CTX *plain_context(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    bench_check(
        SSL_CTX_use_certificate_chain_file(ctx, cert_path) == 1 &&
            SSL_CTX_use_PrivateKey_file(ctx, cert_path, SSL_FILETYPE_PEM) == 1,
        "SSL_CTX");
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return ctx;
}

static void add_peer(int epoll, int listener, SSL_CTX *ctx)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct peer *p = fd < 0 ? NULL : malloc(sizeof(*p));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET,
                                .data.ptr = p};

    if (p == NULL) {
        return;
    }
    net_set_nodelay(fd);
    p->ssl = SSL_new(ctx);
    p->start = 0;
    p->end = 0;
    SSL_set_fd(p->ssl, fd);
    SSL_set_accept_state(p->ssl);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        bench_die("epoll_ctl");
    }
}

/* Reads and sends back until it would block; false: it is over. */
static bool echo_plain(struct peer *p)
{
    for (;;) {
        int n = 1;
        while (p->start < p->end && n > 0) {
            n = SSL_write(p->ssl, p->data + p->start, (int)(p->end - p->start));
            p->start += n > 0 ? (size_t)n : 0;
        }
        if (n > 0) {
            n = SSL_read(p->ssl, p->data, sizeof(p->data));
            p->start = 0;
            p->end = n > 0 ? (size_t)n : 0;
        }
        if (n <= 0) {
            int error = SSL_get_error(p->ssl, n);
            return error == SSL_ERROR_WANT_READ ||
                   error == SSL_ERROR_WANT_WRITE;
        }
    }
}

static void serve_plain(const int listeners[], int n)
{
    struct epoll_event events[64];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    SSL_CTX *ctx = plain_context();
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    bench_check(n == 1, "one listener");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listeners[0], &event) < 0) {
        bench_die("epoll_ctl");
    }
    for (;;) {
        int ready = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < ready; i++) {
            struct peer *p = events[i].data.ptr;
            if (p == NULL) {
                add_peer(epoll, listeners[0], ctx);
            } else if (!echo_plain(p)) {
                int fd = SSL_get_fd(p->ssl);
                (void)SSL_shutdown(p->ssl); /* as it has to be said */
                SSL_free(p->ssl);
                close(fd);
                free(p);
            }
        }
    }
}

/* --- gev ------------------------------------------------------------------ */

static void echo(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    char data[16384];
    ssize_t n;
    (void)peer;
    (void)arg;

    while ((n = gev_stream_read(conn, data, sizeof(data))) > 0) {
        if (gev_stream_write(conn, data, (size_t)n) < 0 ||
            gev_stream_flush(conn) < 0) {
            return;
        }
    }
}

static void serve_gev(const int listeners[], int n)
{
    gev_tls_opts t = {
        .size = sizeof(t), .cert_file = cert_path, .key_file = cert_path};
    gev_server_opts o = {.size = sizeof(o), .listen_fd = listeners[0]};

    bench_check(n == 1, "one listener");
    o.tls = gev_tls_server(&t);
    gev_server *s = o.tls == NULL ? NULL : gev_server_new(&o, echo, NULL);
    bench_check(s != NULL && gev_server_serve(s) == 0, "gev_server");
}

/* --- load ----------------------------------------------------------------- */

static SSL_CTX *client_context;

static SSL *connect_tls(uint16_t port)
{
    SSL *ssl = SSL_new(client_context);

    SSL_set_fd(ssl, net_connect(port));
    if (SSL_connect(ssl) != 1) {
        bench_die("SSL_connect");
    }
    return ssl;
}

static void disconnect(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);

    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
}

static void read_all(SSL *ssl, size_t n)
{
    static char data[LARGE];

    while (n > 0) {
        int got = SSL_read(ssl, data, sizeof(data));
        if (got <= 0) {
            bench_die("SSL_read");
        }
        n -= (size_t)got;
    }
}

/* All connections ask, then all get their answers, so often. */
static void exchange(SSL *const ssl[], size_t size, size_t times)
{
    static char data[LARGE];

    while (times-- > 0) {
        for (int i = 0; i < connections; i++) {
            if (SSL_write(ssl[i], data, (int)size) != (int)size) {
                bench_die("SSL_write");
            }
        }
        for (int i = 0; i < connections; i++) {
            read_all(ssl[i], size);
        }
    }
}

/* --- measuring ------------------------------------------------------------ */

enum { SMALL_RATE, LARGE_RATE, HANDSHAKES, VALUES };
static const char *const names[VALUES] = {"small", "large", "handshake"};
static const char *const units[VALUES] = {"1/s", "MB/s", "1/s"};

struct server {
    const char *name;
    void (*serve)(const int listeners[], int n);
    int pid;
    uint16_t port;
    SSL **ssl;
    double rounds[VALUES][BENCH_MAX_ROUNDS];
};

static struct server servers[2] = {
    {.name = "plain", .serve = serve_plain},
    {.name = "gev", .serve = serve_gev},
};

static void start(struct server *s)
{
    int listener = net_listen();

    s->port = net_port(listener);
    s->pid = net_start_server(s->serve, 0, &listener, 1);
    close(listener);
    s->ssl = calloc((size_t)connections, sizeof(s->ssl[0]));
    bench_check(s->ssl != NULL, "calloc");
    for (int i = 0; i < connections; i++) {
        s->ssl[i] = connect_tls(s->port);
    }
    exchange(s->ssl, SMALL, 10);
    exchange(s->ssl, LARGE, 2);
}

static void run_round(struct server *s, int round)
{
    size_t small = bench_count(1000);
    size_t large = bench_count(60);
    size_t handshakes = bench_count(600);
    double cpu[VALUES + 1];

    cpu[0] = bench_cpu_of(s->pid);
    exchange(s->ssl, SMALL, small);
    cpu[1] = bench_cpu_of(s->pid);
    exchange(s->ssl, LARGE, large);
    cpu[2] = bench_cpu_of(s->pid);
    for (size_t i = 0; i < handshakes; i++) {
        disconnect(connect_tls(s->port));
    }
    cpu[3] = bench_cpu_of(s->pid);
    const double done[VALUES] = {
        (double)small * connections,
        (double)large * connections * (double)LARGE / 1e6,
        (double)handshakes,
    };
    for (int v = 0; v < VALUES; v++) {
        s->rounds[v][round] = done[v] / (cpu[v + 1] - cpu[v]);
    }
}

static void print_results(void)
{
    char name[64];
    double ratios[BENCH_MAX_ROUNDS];
    size_t n = (size_t)bench_rounds;

    for (int v = 0; v < VALUES; v++) {
        for (size_t r = 0; r < n; r++) {
            ratios[r] = servers[1].rounds[v][r] / servers[0].rounds[v][r];
        }
        for (int i = 0; i < 2; i++) {
            snprintf(name, sizeof(name), "tls.%s.%s", servers[i].name,
                     names[v]);
            bench_print(name, "", bench_median(servers[i].rounds[v], n),
                        units[v]);
        }
        snprintf(name, sizeof(name), "tls.gev.%s/tls.plain.%s", names[v],
                 names[v]);
        bench_print(name, "", bench_median(ratios, n), "x");
    }
}

int main(int argc, char **argv)
{
    while (bench_option(argc, argv, usage, "c:") != -1) {
        connections = (int)bench_number(optarg, 1, 1000);
    }
    signal(SIGPIPE, SIG_IGN); /* the plain loop needs that */
    make_certificate();
    client_context = SSL_CTX_new(TLS_client_method());
    bench_check(client_context != NULL, "SSL_CTX");
    SSL_CTX_set_session_cache_mode(client_context, SSL_SESS_CACHE_OFF);
    bench_pin(1);
    for (int i = 0; i < 2; i++) {
        start(&servers[i]);
    }
    for (int round = 0; round < bench_rounds; round++) {
        for (int i = 0; i < 2; i++) {
            run_round(&servers[(round + i) % 2], round);
        }
    }
    unlink(cert_path);
    print_results();
    for (int i = 0; i < 2; i++) {
        for (int c = 0; c < connections; c++) {
            disconnect(servers[i].ssl[c]);
        }
        free(servers[i].ssl);
        net_stop_server(servers[i].pid);
    }
    SSL_CTX_free(client_context);
    return EXIT_SUCCESS;
}
