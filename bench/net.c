/* SPDX-License-Identifier: MIT */
#include "net.h"

#include <gev.h>

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- sockets -------------------------------------------------------------- */

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int net_listen(void)
{
    struct sockaddr_in addr = loopback(0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(fd, 4096) < 0) {
        bench_die("listen");
    }
    net_set_nonblocking(fd);
    return fd;
}

uint16_t net_port(int listener)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof(addr);

    if (getsockname(listener, (struct sockaddr *)&addr, &len) < 0) {
        bench_die("getsockname");
    }
    return ntohs(addr.sin_port);
}

int net_connect(uint16_t port)
{
    struct sockaddr_in addr = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        bench_die("connect");
    }
    net_set_nodelay(fd);
    return fd;
}

void net_set_nonblocking(int fd)
{
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
        bench_die("O_NONBLOCK");
    }
}

void net_set_nodelay(int fd)
{
    int on = 1;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0) {
        bench_die("TCP_NODELAY");
    }
}

/* --- server processes ----------------------------------------------------- */

int net_start_server(void (*serve)(const int listeners[], int n), unsigned cpu,
                     const int listeners[], int n)
{
    struct rlimit files;
    pid_t pid;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    pid = fork();
    if (pid < 0) {
        bench_die("fork");
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        bench_pin(cpu);
        serve(listeners, n);
        _exit(EXIT_FAILURE);
    }
    return pid;
}

void net_stop_server(int pid)
{
    int status;

    if (kill(pid, SIGKILL) < 0 || waitpid(pid, &status, 0) < 0) {
        bench_die("a server has ended by itself");
    }
}

static void watch(int epoll, int fd, uint32_t mark)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0};

    event.data.u64 = (uint64_t)mark << 32 | (uint32_t)fd;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        bench_die("epoll_ctl");
    }
}

static void accept_raw(int epoll, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        watch(epoll, fd, 0);
    }
}

static void echo_raw(int fd, char *buffer)
{
    ssize_t n = recv(fd, buffer, NET_MESSAGE_MAX, 0);

    /* The other side waits for its echo: the send buffer has room. */
    if (n > 0 ? send(fd, buffer, (size_t)n, MSG_NOSIGNAL) != n
              : n == 0 || errno != EAGAIN) {
        close(fd);
    }
}

void net_serve_raw(const int listeners[], int n)
{
    static char buffer[NET_MESSAGE_MAX];
    struct epoll_event events[64];
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    for (int i = 0; i < n; i++) {
        watch(epoll, listeners[i], 1);
    }
    for (;;) {
        int ready = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < ready; i++) {
            int fd = (int)(uint32_t)events[i].data.u64;
            if (events[i].data.u64 >> 32) {
                accept_raw(epoll, fd);
            } else {
                echo_raw(fd, buffer);
            }
        }
        if (ready < 0 && errno != EINTR) {
            bench_die("epoll_wait");
        }
    }
}

static void *echo_gev(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buffer[4096];
    ssize_t n;

    while ((n = gev_recv(fd, buffer, sizeof(buffer), 0)) > 0) {
        if (gev_send(fd, buffer, (size_t)n, 0) != n) {
            break;
        }
    }
    gev_close(fd);
    return NULL;
}

static void *accept_gev(void *arg)
{
    int listener = (int)(intptr_t)arg;

    for (;;) {
        int fd = gev_accept(listener, NULL, NULL);
        if (fd < 0) {
            return gev_fail(errno);
        }
        if (gev_spawn_raw(echo_gev, (void *)(intptr_t)fd) < 0) {
            gev_close(fd);
        }
    }
}

void net_serve_gev(const int listeners[], int n)
{
    for (int i = 0; i < n; i++) {
        bench_check(gev_spawn_raw(accept_gev, (void *)(intptr_t)listeners[i]) ==
                        0,
                    "gev_spawn_raw");
    }
    gev_run(GEV_FOREVER);
}

/* --- counting system calls ------------------------------------------------ */

/* The number of the kernel's trace point at every system call; needs the trace
 * file system, which usually means root. */
static long trace_point(void)
{
    static const char *const places[] = {"/sys/kernel/tracing",
                                         "/sys/kernel/debug/tracing"};
    long id = -1;

    for (size_t i = 0; i < 2 && id < 0; i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/events/raw_syscalls/sys_enter/id",
                 places[i]);
        FILE *file = fopen(path, "re");
        if (file != NULL) {
            if (fscanf(file, "%ld", &id) != 1) {
                id = -1;
            }
            fclose(file);
        }
    }
    return id;
}

int net_count_calls(int pid)
{
    long id = trace_point();
    struct perf_event_attr attr;

    if (id < 0) {
        return -1;
    }
    memset(&attr, 0, sizeof(attr));
    attr.type = PERF_TYPE_TRACEPOINT;
    attr.size = sizeof(attr);
    attr.config = (uint64_t)id;
    return (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1,
                        PERF_FLAG_FD_CLOEXEC);
}

double net_counted_calls(int counter)
{
    uint64_t n = 0;

    if (read(counter, &n, sizeof(n)) != sizeof(n)) {
        bench_die("a counter");
    }
    close(counter);
    return (double)n;
}
