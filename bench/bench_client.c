/* SPDX-License-Identifier: MIT */

/* 5,000 short connections, 100 at once: connect, send, receive, close. The
 * client is measured, on the first CPU; a raw server runs on the second. */
#include <gev.h>

#include "bench.h"
#include "net.h"

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char usage[] =
    "usage: bench_client [-c at once] [-n connections] [-r rounds] [-q]\n"
    "Measures the client's CPU time for a connection with one exchange.\n"
    "  client.gev    greenlets\n"
    "  client.raw    an epoll loop that registers each socket first\n"
    "  client.try    one that sends at once and registers before the receive\n"
    "  -c N  connections at once, 1 to 1000 (100)\n"
    "  -n N  connections a round, 1 to 20000 (5000)\n";

#define MESSAGE ((size_t)64)

/* Every connection leaves a port in TIME_WAIT: rounds go to different
 * listeners, so that they do not run out. */
#define LISTENERS 16

static size_t at_once = 100;
static size_t total = 5000;
static uint16_t ports[LISTENERS];

static struct sockaddr_in next_server(void)
{
    static unsigned turn;

    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(ports[turn++ % LISTENERS]),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* What the current round does. */
static struct {
    struct sockaddr_in server;
    size_t started;
    size_t done;
} job;

static double begin(void)
{
    memset(&job, 0, sizeof(job));
    job.server = next_server();
    return bench_cpu();
}

static double end(double start)
{
    double used = bench_cpu() - start;

    bench_check(job.done == total, "all connections have their echo");
    return used * 1e6 / (double)total;
}

/* --- gev ------------------------------------------------------------------ */

static void *fetch_gev(void *arg)
{
    char buffer[MESSAGE] = "";

    while (job.started < total) {
        job.started++;
        int fd = gev_socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0 ||
            gev_connect(fd, (struct sockaddr *)&job.server,
                        sizeof(job.server)) < 0 ||
            gev_send(fd, buffer, MESSAGE, 0) != (ssize_t)MESSAGE ||
            gev_recv(fd, buffer, MESSAGE, 0) != (ssize_t)MESSAGE ||
            gev_close(fd) < 0) {
            return gev_fail(errno);
        }
        job.done++;
    }
    return arg;
}

static double run_gev(void *arg)
{
    (void)arg;
    double start = begin();
    for (size_t i = 0; i < at_once; i++) {
        bench_check(gev_spawn_raw(fetch_gev, NULL) == 0, "gev_spawn_raw");
    }
    bench_check(gev_run(GEV_FOREVER) == 0, "gev_run");
    return end(start);
}

/* --- epoll ---------------------------------------------------------------- */

static void watch(int epoll, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events | EPOLLET, .data.fd = fd};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        bench_die("epoll_ctl");
    }
}

static bool send_message(int fd)
{
    static const char message[MESSAGE];
    return send(fd, message, MESSAGE, MSG_NOSIGNAL) == (ssize_t)MESSAGE;
}

/* A new connection, which sends right away if it may. */
static void open_raw(int epoll, bool try)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    job.started++;
    if (fd < 0) {
        bench_die("socket");
    }
    if (!try) {
        watch(epoll, fd, EPOLLIN | EPOLLOUT);
    }
    int rc = connect(fd, (struct sockaddr *)&job.server, sizeof(job.server));
    if (rc < 0 && errno != EINPROGRESS) {
        bench_die("connect");
    }
    if (try) {
        /* On the loopback it is connected by now. */
        if (!send_message(fd)) {
            bench_die("send");
        }
        watch(epoll, fd, EPOLLIN);
    }
}

/* True: the connection is over. */
static bool serve_event(const struct epoll_event *event, bool sent[])
{
    char buffer[MESSAGE];
    int fd = event->data.fd;

    if (!sent[fd] && (event->events & EPOLLOUT)) {
        if (!send_message(fd)) {
            bench_die("send");
        }
        sent[fd] = true;
    }
    if (!(event->events & EPOLLIN)) {
        return false;
    }
    if (recv(fd, buffer, MESSAGE, 0) != (ssize_t)MESSAGE) {
        bench_die("recv");
    }
    sent[fd] = false;
    close(fd);
    job.done++;
    return true;
}

static double run_epoll(void *arg)
{
    static bool sent[65536]; /* by descriptor, in the variant that waits */
    const bool try = arg != NULL;
    struct epoll_event events[128];

    double start = begin();
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; i < at_once && job.started < total; i++) {
        open_raw(epoll, try);
    }
    while (job.done < total) {
        int n = epoll_wait(epoll, events, 128, 5000);
        if (n <= 0) {
            bench_die("no answer");
        }
        for (int i = 0; i < n; i++) {
            sent[events[i].data.fd] |= try;
            if (serve_event(&events[i], sent) && job.started < total) {
                open_raw(epoll, try);
            }
        }
    }
    close(epoll);
    return end(start);
}

int main(int argc, char **argv)
{
    static int try;
    int listeners[LISTENERS];
    int option;

    while ((option = bench_option(argc, argv, usage, "c:n:")) != -1) {
        if (option == 'c') {
            at_once = (size_t)bench_number(optarg, 1, 1000);
        } else {
            total = (size_t)bench_number(optarg, 1, 20000);
        }
    }
    total = bench_count(total);
    for (int i = 0; i < LISTENERS; i++) {
        listeners[i] = net_listen();
        ports[i] = net_port(listeners[i]);
    }
    int server = net_start_server(net_serve_raw, 1, listeners, LISTENERS);
    bench_pin(0);

    const struct bench_case cases[] = {
        {"client.raw", "us", NULL, run_epoll, NULL},
        {"client.try", "us", "client.raw", run_epoll, &try},
        {"client.gev", "us", "client.raw", run_gev, NULL},
    };
    bench_run(cases, sizeof(cases) / sizeof(cases[0]));

    net_stop_server(server);
    return gev_hub_close() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
