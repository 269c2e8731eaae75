/* SPDX-License-Identifier: MIT */

/* A server in each of several threads, on one port (WSG13). */
#include "http/http_test.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define WORKERS 3
#define CLIENTS 200
#define REQUEST "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

static atomic_uint answers[WORKERS];
static atomic_uint next_worker;
static atomic_uint started;
static atomic_uint failed;
static _Thread_local gev_server *server;
static char port[16];

static int greet(gev_http *h, void *arg)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
    return gev_http_reply(h, 200, "text/plain", "hello", 5);
}

static gev_server *make(void *arg)
{
    const gev_server_opts opts = {.size = sizeof(opts),
                                  .host = "127.0.0.1",
                                  .service = port,
                                  .reuse_port = true};
    return gev_http_server_new(&opts, NULL, greet, arg);
}

static void *serve(void *arg)
{
    (void)arg;
    server = make(&answers[atomic_fetch_add(&next_worker, 1)]);
    if (server == NULL || gev_server_start(server) < 0) {
        atomic_fetch_add(&failed, 1);
    }
    atomic_fetch_add(&started, 1);
    return NULL;
}

static void *stop(void *arg)
{
    (void)arg;
    if (gev_server_stop(server, test_scale(10)) < 0) {
        atomic_fetch_add(&failed, 1);
    }
    gev_server_free(server);
    return NULL;
}

/* Bound and not listening: gets no connections, but keeps the port. */
static int reserve_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    const int on = 1;
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);
    expect_ok(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)));
    expect_ok(bind(fd, (struct sockaddr *)&at, len));
    expect_ok(getsockname(fd, (struct sockaddr *)&at, &len));
    snprintf(port, sizeof(port), "%u", ntohs(at.sin_port));
    return fd;
}

GEV_TEST(a_server_a_thread)
{
    char answer[1000];
    int fds[CLIENTS];
    unsigned used = 0;
    unsigned sum = 0;
    gev_workers *w = gev_workers_new(WORKERS);
    int reserved = reserve_port();
    expect_ok(gev_workers_broadcast(w, serve, NULL));
    while (atomic_load(&started) < WORKERS) {
        expect_ok(gev_sleep(0.001));
    }
    expect_uint_eq(atomic_load(&failed), 0);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = gev_tcp_connect("127.0.0.1", port, test_scale(5));
        expect_ge(fds[i], 0);
    }
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < CLIENTS; i++) {
            expect_true(http_send(fds[i], REQUEST, sizeof(REQUEST) - 1));
        }
        for (int i = 0; i < CLIENTS; i++) {
            http_recv_until(fds[i], "hello", answer, sizeof(answer));
            expect_int_eq(http_status_of(answer), 200);
        }
    }
    expect_ok(gev_workers_broadcast(w, stop, NULL));
    expect_ok(gev_workers_join(w, test_scale(20)));
    for (int i = 0; i < CLIENTS; i++) {
        expect_ok(gev_close(fds[i]));
    }
    for (int i = 0; i < WORKERS; i++) {
        used += atomic_load(&answers[i]) > 0;
        sum += atomic_load(&answers[i]);
    }
    expect_uint_eq(used, WORKERS);
    expect_uint_eq(sum, 5 * CLIENTS);
    expect_uint_eq(atomic_load(&failed), 0);
    gev_workers_free(w);
    expect_ok(gev_close(reserved));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_a_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
