/* SPDX-License-Identifier: MIT */

/* A TCP echo server with a greenlet a connection, beside a raw epoll loop that
 * does the same. The servers run on the first CPU, the load on the second; the
 * load alternates between them. */
#include <gev.h>

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

static const char usage[] =
    "usage: bench_echo [-c connections] [-b bytes] [-r rounds] [-q]\n"
    "       bench_echo -s gev|raw\n"
    "       bench_echo -p port -k requests [-c connections] [-b bytes]\n"
    "Measures echo servers: each connection sends, waits, sends again.\n"
    "  echo.*.cpu       the server's CPU time a request\n"
    "  echo.*.per_cpu   requests a second of the server's CPU time\n"
    "  echo.*.rate      requests a second\n"
    "  echo.*.calls     the server's system calls a request, from a round of\n"
    "                   their own (needs the kernel's trace files, i.e. root)\n"
    "  -c N  connections, 1 to 10000 (64)\n"
    "  -b N  bytes a message, 1 to 4096 (64)\n"
    "  -s S  only be a server, and print its port and pid (bench/syscalls.sh)\n"
    "  -p N  only be the load, for the server at that port\n"
    "  -k N  so many requests\n";

static int connections = 64;
static size_t message = 64;

/* --- load ----------------------------------------------------------------- */

/* Connections to one server. */
struct load {
    int epoll;
    int *fds;
    size_t *missing; /* bytes of the echo still to come, by descriptor */
};

#define FD_MAX 65536

static void load_open(struct load *l, uint16_t port)
{
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->fds = calloc((size_t)connections, sizeof(l->fds[0]));
    l->missing = calloc(FD_MAX, sizeof(l->missing[0]));
    bench_check(l->epoll >= 0 && l->fds != NULL && l->missing != NULL, "load");
    for (int i = 0; i < connections; i++) {
        int fd = net_connect(port);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        bench_check(fd < FD_MAX, "FD_MAX");
        if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
            bench_die("epoll_ctl");
        }
        l->fds[i] = fd;
    }
}

static void load_close(struct load *l)
{
    for (int i = 0; i < connections; i++) {
        close(l->fds[i]);
    }
    close(l->epoll);
    free(l->fds);
    free(l->missing);
}

static void load_send(struct load *l, int fd)
{
    static char text[4096];

    l->missing[fd] = message;
    if (send(fd, text, message, MSG_NOSIGNAL) != (ssize_t)message) {
        bench_die("send");
    }
}

/* True: the echo is complete. */
static bool load_recv(struct load *l, int fd)
{
    static char text[4096];
    ssize_t n = recv(fd, text, sizeof(text), MSG_DONTWAIT);

    if (n <= 0) {
        bench_die("recv");
    }
    l->missing[fd] -= (size_t)n;
    return l->missing[fd] == 0;
}

/* Has all connections ask and ask again until the time or the number is over,
 * and waits for the last answers. Returns how many requests that were. */
static size_t load_run(struct load *l, double seconds, size_t requests)
{
    struct epoll_event events[256];
    const double end = bench_now() + seconds;
    size_t sent = 0;
    size_t done = 0;

    for (int i = 0; i < connections; i++) {
        load_send(l, l->fds[i]);
        sent++;
    }
    while (done < sent) {
        int n = epoll_wait(l->epoll, events, 256, 5000);
        bool more = bench_now() < end && sent < requests;
        if (n <= 0 && errno != EINTR) {
            bench_die("no answer");
        }
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (load_recv(l, fd)) {
                done++;
                if (more) {
                    load_send(l, fd);
                    sent++;
                }
            }
        }
    }
    return done;
}

/* --- measuring ------------------------------------------------------------ */

enum { CPU, PER_CPU, RATE, VALUES };
static const char *const names[VALUES] = {"cpu", "per_cpu", "rate"};
static const char *const units[VALUES] = {"us", "1/s", "1/s"};

struct server {
    const char *name;
    void (*serve)(const int listeners[], int n);
    int pid;
    struct load load;
    double rounds[VALUES][BENCH_MAX_ROUNDS];
};

static struct server servers[2] = {
    {.name = "raw", .serve = net_serve_raw},
    {.name = "gev", .serve = net_serve_gev},
};

static void start(struct server *s)
{
    int listener = net_listen();

    s->pid = net_start_server(s->serve, 0, &listener, 1);
    load_open(&s->load, net_port(listener));
    close(listener);
    load_run(&s->load, bench_quick ? 0.02 : 0.2, SIZE_MAX); /* warm-up */
}

static void run_round(struct server *s, int round)
{
    double cpu = bench_cpu_of(s->pid);
    double begin = bench_now();
    double n = (double)load_run(&s->load, bench_quick ? 0.1 : 0.7, SIZE_MAX);
    double wall = bench_now() - begin;

    cpu = bench_cpu_of(s->pid) - cpu;
    s->rounds[CPU][round] = cpu * 1e6 / n;
    s->rounds[PER_CPU][round] = n / cpu;
    s->rounds[RATE][round] = n / wall;
}

static void count_calls(struct server *s)
{
    char name[64];
    int counter = net_count_calls(s->pid);

    if (counter < 0) {
        fprintf(stderr, "system calls are not counted: see --help\n");
        return;
    }
    double n = (double)load_run(&s->load, bench_quick ? 0.1 : 0.5, SIZE_MAX);
    snprintf(name, sizeof(name), "echo.%s.calls", s->name);
    bench_print(name, "", net_counted_calls(counter) / n, "calls");
}

static void print_server(struct server *s)
{
    char name[64];

    for (int v = 0; v < VALUES; v++) {
        snprintf(name, sizeof(name), "echo.%s.%s", s->name, names[v]);
        bench_print(name, "", bench_median(s->rounds[v], (size_t)bench_rounds),
                    units[v]);
    }
}

static void measure(void)
{
    double ratios[BENCH_MAX_ROUNDS];

    bench_pin(1);
    for (int i = 0; i < 2; i++) {
        start(&servers[i]);
    }
    for (int round = 0; round < bench_rounds; round++) {
        for (int i = 0; i < 2; i++) {
            run_round(&servers[(round + i) % 2], round);
        }
        ratios[round] = servers[1].rounds[PER_CPU][round] /
                        servers[0].rounds[PER_CPU][round];
    }
    for (int i = 0; i < 2; i++) {
        print_server(&servers[i]);
    }
    bench_print("echo.gev.per_cpu/echo.raw.per_cpu", "",
                bench_median(ratios, (size_t)bench_rounds), "x");
    for (int i = 0; i < 2; i++) {
        count_calls(&servers[i]);
        load_close(&servers[i].load);
        net_stop_server(servers[i].pid);
    }
}

/* --- one side only -------------------------------------------------------- */

static void only_serve(const char *name)
{
    int listener = net_listen();

    printf("%d %d\n", net_port(listener), (int)getpid());
    fflush(stdout);
    bench_pin(0);
    if (strcmp(name, "gev") == 0) {
        net_serve_gev(&listener, 1);
    } else {
        net_serve_raw(&listener, 1);
    }
}

static void only_load(uint16_t port, size_t requests)
{
    struct load load;

    bench_pin(1);
    load_open(&load, port);
    printf("echo.requests %zu requests\n", load_run(&load, 600, requests));
    load_close(&load);
}

int main(int argc, char **argv)
{
    size_t requests = 100000;
    uint16_t port = 0;
    int option;

    while ((option = bench_option(argc, argv, usage, "c:b:s:p:k:")) != -1) {
        switch (option) {
        case 'c':
            connections = (int)bench_number(optarg, 1, 10000);
            break;
        case 'b':
            message = (size_t)bench_number(optarg, 1, 4096);
            break;
        case 's':
            only_serve(optarg);
            return EXIT_FAILURE; /* it serves until it is killed */
        case 'p':
            port = (uint16_t)bench_number(optarg, 1, 65535);
            break;
        default:
            requests = (size_t)bench_number(optarg, 1, 100000000);
        }
    }
    if (port != 0) {
        only_load(port, requests);
    } else {
        measure();
    }
    return EXIT_SUCCESS;
}
