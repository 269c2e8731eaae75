/* SPDX-License-Identifier: MIT */

/* What streams and servers cost: lines echoed by a raw epoll loop, by greenlets
 * with gev_recv and gev_send, and by a gev_server with streams; and connections
 * that are accepted and closed, by an accept loop and by a gev_server. The
 * servers run on the first CPU, the load on the second. */
#include <gev.h>

#include "bench.h"
#include "net.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char usage[] =
    "usage: bench_stream [-c connections] [-b bytes] [-r rounds] [-q]\n"
    "Measures servers by the CPU time that a request costs them.\n"
    "  line.*    a line is sent and comes back, on kept connections\n"
    "  accept.*  a connection is made, and closed by the server\n"
    "  -c N  connections for the lines, 1 to 1000 (64)\n"
    "  -b N  bytes a line, 1 to 4096 (64)\n";

static int connections = 64;
static size_t line_size = 64;

/* --- servers -------------------------------------------------------------- */

static void echo_lines(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    char *line;
    ssize_t n;

    (void)peer;
    (void)arg;
    while ((n = gev_stream_read_line(conn, &line, 8192)) > 0) {
        if (gev_stream_write(conn, line, (size_t)n) < 0 ||
            gev_stream_flush(conn) < 0) {
            return;
        }
    }
}

static void serve_by(int listener, gev_conn_fn fn)
{
    gev_server_opts opts = {.size = sizeof(opts), .listen_fd = listener};
    gev_server *s = gev_server_new(&opts, fn, NULL);

    bench_check(s != NULL && gev_server_serve(s) == 0, "gev_server_serve");
}

static void serve_lines(const int listeners[], int n)
{
    (void)n;
    serve_by(listeners[0], echo_lines);
}

static void return_at_once(gev_stream *conn, const struct sockaddr *peer,
                           void *arg)
{
    (void)conn;
    (void)peer;
    (void)arg;
}

static void accept_gev(const int listeners[], int n)
{
    (void)n;
    serve_by(listeners[0], return_at_once);
}

/* With a goodbye that cannot reset an answer away, as gev_server has it. */
static void accept_raw(const int listeners[], int n)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listeners[0]};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    char trash[64];

    (void)n;
    net_set_nonblocking(listeners[0]);
    bench_check(epoll_ctl(epoll, EPOLL_CTL_ADD, listeners[0], &event) == 0,
                "epoll_ctl");
    for (;;) {
        int ready = epoll_wait(epoll, &event, 1, -1);
        if (ready < 1) {
            continue;
        }
        int fd = event.data.fd;
        if (fd != listeners[0]) {
            bench_check(recv(fd, trash, sizeof(trash), 0) == 0, "the end");
            close(fd);
            continue;
        }
        while ((fd = accept4(listeners[0], NULL, NULL, SOCK_NONBLOCK)) >= 0) {
            shutdown(fd, SHUT_WR);
            event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
            bench_check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0,
                        "epoll_ctl");
        }
    }
}

/* --- load ----------------------------------------------------------------- */

static struct pollfd *polled;
static size_t *missing;

static void send_line(int i)
{
    static char line[4096];

    memset(line, 'x', line_size);
    line[line_size - 1] = '\n';
    missing[i] = line_size;
    bench_check(send(polled[i].fd, line, line_size, MSG_NOSIGNAL) ==
                    (ssize_t)line_size,
                "send");
}

static bool recv_line(int i)
{
    char text[4096];
    ssize_t n = recv(polled[i].fd, text, sizeof(text), MSG_DONTWAIT);

    bench_check(n > 0, "recv");
    missing[i] -= (size_t)n;
    return missing[i] == 0;
}

/* Has every connection ask again and again; how many requests that were. */
static double ask_lines(uint16_t port, double seconds)
{
    double end = bench_now() + seconds;
    size_t sent = (size_t)connections;
    size_t done = 0;

    for (int i = 0; i < connections; i++) {
        polled[i] = (struct pollfd){net_connect(port), POLLIN, 0};
        send_line(i);
    }
    while (done < sent) {
        bench_check(poll(polled, (nfds_t)connections, 5000) > 0, "no answer");
        bool more = bench_now() < end;
        for (int i = 0; i < connections; i++) {
            if (polled[i].revents != 0 && recv_line(i)) {
                done++;
                if (more) {
                    send_line(i);
                    sent++;
                }
            }
        }
    }
    for (int i = 0; i < connections; i++) {
        close(polled[i].fd);
    }
    return (double)done;
}

static double ask_accepts(uint16_t port, double seconds)
{
    enum { AT_ONCE = 16 };
    double end = bench_now() + seconds;
    double done = 0;
    int fds[AT_ONCE];
    char c;

    do {
        for (int i = 0; i < AT_ONCE; i++) {
            fds[i] = net_connect(port);
        }
        for (int i = 0; i < AT_ONCE; i++) {
            bench_check(recv(fds[i], &c, 1, 0) == 0, "not closed");
            close(fds[i]);
        }
        done += AT_ONCE;
    } while (bench_now() < end);
    return done;
}

/* --- measuring ------------------------------------------------------------ */

struct server {
    const char *name;
    void (*serve)(const int listeners[], int n);
    double (*ask)(uint16_t port, double seconds);
    int limit; /* index of the one it is compared with; -1 */
    uint16_t port;
    int pid;
    double cost[BENCH_MAX_ROUNDS];
};

static struct server servers[] = {
    {.name = "line.raw", .serve = net_serve_raw, .ask = ask_lines, .limit = -1},
    {.name = "line.gev_recv",
     .serve = net_serve_gev,
     .ask = ask_lines,
     .limit = 0},
    {.name = "line.stream", .serve = serve_lines, .ask = ask_lines, .limit = 1},
    {.name = "accept.raw",
     .serve = accept_raw,
     .ask = ask_accepts,
     .limit = -1},
    {.name = "accept.server",
     .serve = accept_gev,
     .ask = ask_accepts,
     .limit = 3},
};

enum { SERVERS = sizeof(servers) / sizeof(servers[0]) };

static void run_round(struct server *s, int round)
{
    double cpu = bench_cpu_of(s->pid);
    double n = s->ask(s->port, bench_quick ? 0.05 : 0.5);

    s->cost[round] = (bench_cpu_of(s->pid) - cpu) * 1e6 / n;
}

static void print_ratio(const struct server *s)
{
    double ratios[BENCH_MAX_ROUNDS];
    char name[64];

    for (int round = 0; round < bench_rounds; round++) {
        ratios[round] = s->cost[round] / servers[s->limit].cost[round];
    }
    snprintf(name, sizeof(name), "%s/%s", s->name, servers[s->limit].name);
    bench_print(name, "", bench_median(ratios, (size_t)bench_rounds), "x");
}

int main(int argc, char **argv)
{
    int option;

    while ((option = bench_option(argc, argv, usage, "c:b:")) != -1) {
        if (option == 'c') {
            connections = (int)bench_number(optarg, 1, 1000);
        } else {
            line_size = (size_t)bench_number(optarg, 1, 4096);
        }
    }
    polled = calloc((size_t)connections, sizeof(polled[0]));
    missing = calloc((size_t)connections, sizeof(missing[0]));
    bench_check(polled != NULL && missing != NULL, "memory");
    bench_pin(1);
    for (int i = 0; i < SERVERS; i++) {
        int listener = net_listen();
        servers[i].port = net_port(listener);
        servers[i].pid = net_start_server(servers[i].serve, 0, &listener, 1);
        close(listener);
        servers[i].ask(servers[i].port, bench_quick ? 0.02 : 0.2);
    }
    for (int round = 0; round < bench_rounds; round++) {
        for (int i = 0; i < SERVERS; i++) {
            run_round(&servers[i], round);
        }
    }
    for (int i = 0; i < SERVERS; i++) {
        /* The ratios first: the median sorts. */
        if (servers[i].limit >= 0) {
            print_ratio(&servers[i]);
        }
        net_stop_server(servers[i].pid);
    }
    for (int i = 0; i < SERVERS; i++) {
        bench_print(servers[i].name, "",
                    bench_median(servers[i].cost, (size_t)bench_rounds), "us");
    }
    return EXIT_SUCCESS;
}
