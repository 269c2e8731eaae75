/* SPDX-License-Identifier: MIT */

/* What a TLS connection costs while it waits for its next request: memory, and
 * CPU time. A server of gev's holds them in one process, plain OpenSSL clients
 * that have forgotten all but the descriptor are another. */
#include <gev.h>
#include <gev/tls.h>

#include "bench.h"
#include "net.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

static const char usage[] =
    "usage: bench_tls_idle [-c connections] [-q]\n"
    "Measures TLS connections that wait for a request, in bytes for each.\n"
    "  idle.plain.*  descriptors without TLS\n"
    "  idle.fresh.*  TLS, after one request and its answer\n"
    "  idle.tls.*    TLS, said to be idle twice (gev_server_idle)\n"
    "  -c N  connections, 1 to 18000 (10000)\n";

static long connections = 10000;
static char cert_path[] = "/tmp/bench-tls-XXXXXX";

static void make_certificate(void)
{
    int fd = mkstemp(cert_path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    X509 *cert = X509_new();
    EVP_PKEY *key = EVP_EC_gen("P-256");

    bench_check(f != NULL && cert != NULL && key != NULL, "certificate");
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
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

/* --- the server ----------------------------------------------------------- */

/* Shared with the server's process. */
struct state {
    bool tls;
    bool trims;
    volatile long waiting; /* connections between requests */
    volatile bool measure;
    volatile bool measured;
    double resident;
    double allocated;
};

static struct state *state;

static double resident(void)
{
    char line[256];
    double bytes = 0;
    FILE *f = fopen("/proc/self/status", "r");

    bench_check(f != NULL, "/proc/self/status");
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            bytes = strtod(line + 6, NULL) * 1024;
        }
    }
    fclose(f);
    return bytes;
}

static void answer(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    char *line;
    (void)peer;
    (void)arg;

    while (gev_stream_read_line(conn, &line, 1000) > 0) {
        if (gev_stream_printf(conn, "%s", line) < 0 ||
            gev_stream_flush(conn) < 0) {
            return;
        }
        if (state->trims) {
            (void)gev_server_idle(conn, true);
            (void)gev_server_idle(conn, true);
        }
        state->waiting++;
    }
}

/* Looks now and then whether it is time. */
static void *watch_state(void *arg)
{
    double before_resident = resident();
    double before_allocated = (double)mallinfo2().uordblks;
    (void)arg;

    while (gev_sleep(0.5) == 0) {
        if (!state->measure || state->measured) {
            continue;
        }
        state->allocated = (double)mallinfo2().uordblks - before_allocated;
        state->resident = resident() - before_resident;
        state->measured = true;
    }
    return NULL;
}

static void serve(const int listeners[], int n)
{
    gev_tls_opts t = {
        .size = sizeof(t), .cert_file = cert_path, .key_file = cert_path};
    gev_server_opts o = {.size = sizeof(o), .listen_fd = listeners[0]};

    (void)n;
    if (state->tls) {
        o.tls = gev_tls_server(&t);
        bench_check(o.tls != NULL, "gev_tls_server");
    }
    gev_server *s = gev_server_new(&o, answer, NULL);
    bench_check(s != NULL && gev_spawn_raw(watch_state, NULL) == 0 &&
                    gev_server_serve(s) == 0,
                "gev_server");
}

/* --- clients -------------------------------------------------------------- */

static SSL_CTX *client_context;

/* Has a request answered, and keeps the descriptor. */
static int ask(uint16_t port)
{
    int fd = net_connect(port);
    char text[2];

    if (!state->tls) {
        bench_check(write(fd, "x\n", 2) == 2 && read(fd, text, 2) == 2, "ask");
        return fd;
    }
    SSL *ssl = SSL_new(client_context);
    SSL_set_fd(ssl, fd);
    bench_check(SSL_connect(ssl) == 1 && SSL_write(ssl, "x\n", 2) == 2 &&
                    SSL_read(ssl, text, 2) == 2,
                "ask");
    SSL_free(ssl);
    return fd;
}

static void measure(const char *name)
{
    int listener = net_listen();
    uint16_t port = net_port(listener);
    int *fds = calloc((size_t)connections, sizeof(fds[0]));
    char text[64];

    bench_check(fds != NULL, "calloc");
    state->waiting = 0;
    state->measure = false;
    state->measured = false;
    int pid = net_start_server(serve, 0, &listener, 1);
    close(listener);
    for (long i = 0; i < connections; i++) {
        fds[i] = ask(port);
    }
    while (state->waiting < connections) {
        usleep(1000);
    }
    usleep(50000);
    double cpu = bench_cpu_of(pid);
    sleep(bench_quick ? 1 : 5);
    cpu = bench_cpu_of(pid) - cpu;
    state->measure = true;
    while (!state->measured) {
        usleep(1000);
    }
    net_stop_server(pid);
    for (long i = 0; i < connections; i++) {
        close(fds[i]);
    }
    free(fds);
    snprintf(text, sizeof(text), "idle.%s.resident", name);
    bench_print(text, "", state->resident / (double)connections, "bytes");
    snprintf(text, sizeof(text), "idle.%s.malloc", name);
    bench_print(text, "", state->allocated / (double)connections, "bytes");
    snprintf(text, sizeof(text), "idle.%s.cpu", name);
    bench_print(text, "", cpu / (bench_quick ? 1 : 5) * 100, "%");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        bool tls;
        bool trims;
    } cases[] = {
        {"plain", false, true}, {"fresh", true, false}, {"tls", true, true}};

    while (bench_option(argc, argv, usage, "c:") != -1) {
        connections = bench_number(optarg, 1, 18000);
    }
    connections = (long)bench_count((size_t)connections);
    make_certificate();
    state = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    client_context = SSL_CTX_new(TLS_client_method());
    bench_check(state != MAP_FAILED && client_context != NULL, "memory");
    bench_pin(1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        state->tls = cases[i].tls;
        state->trims = cases[i].trims;
        measure(cases[i].name);
    }
    unlink(cert_path);
    SSL_CTX_free(client_context);
    return EXIT_SUCCESS;
}
