/* SPDX-License-Identifier: MIT */

/* What an HTTP connection costs while it waits for its next request: memory and
 * CPU time. The server is a process of its own. */
#include <gev.h>
#include <gev/http.h>

#include "bench.h"
#include "net.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char usage[] =
    "usage: bench_http_idle [-c connections] [-q]\n"
    "Measures kept connections, in bytes of the server's for each.\n"
    "  idle.http.fresh     resident, just after a request\n"
    "  idle.http.resident  three seconds later\n"
    "  idle.http.malloc    of that, what is allocated\n"
    "  idle.http.cpu       then, over five seconds more\n"
    "  -c N  connections, 1 to 18000 (10000)\n";

static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/* Shared with the server's process, which answers what is asked. */
enum question { NONE, FRESH, LATER };
static struct state {
    volatile enum question question;
    double resident;
    double allocated;
} * state;

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

static int hello(gev_http *h, void *arg)
{
    (void)arg;
    return gev_http_reply(h, 200, "text/plain", "hello\n", 6);
}

static void *answer_questions(void *arg)
{
    double before_resident = resident();
    double before_allocated = (double)mallinfo2().uordblks;
    (void)arg;

    while (gev_sleep(0.02) == 0) {
        if (state->question != NONE) {
            state->allocated = (double)mallinfo2().uordblks - before_allocated;
            state->resident = resident() - before_resident;
            state->question = NONE;
        }
    }
    return NULL;
}

static void serve(const int listeners[], int n)
{
    const gev_server_opts o = {.size = sizeof(o), .listen_fd = listeners[0]};
    const gev_http_opts h = {.size = sizeof(h), .idle_timeout = GEV_FOREVER};
    gev_server *s = gev_http_server_new(&o, &h, hello, NULL);

    (void)n;
    bench_check(s != NULL && gev_spawn_raw(answer_questions, NULL) == 0 &&
                    gev_server_serve(s) == 0,
                "gev_http_server_new");
}

static int connect_and_ask(uint16_t port)
{
    int fd = net_connect(port);
    char text[500];

    bench_check(write(fd, request, sizeof(request) - 1) ==
                        (ssize_t)sizeof(request) - 1 &&
                    read(fd, text, sizeof(text)) > 50,
                "a request");
    return fd;
}

static void ask(enum question question)
{
    state->question = question;
    while (state->question != NONE) {
        usleep(1000);
    }
}

int main(int argc, char **argv)
{
    long n = 10000;
    unsigned seconds = 5;

    while (bench_option(argc, argv, usage, "c:") != -1) {
        n = bench_number(optarg, 1, 18000);
    }
    n = (long)bench_count((size_t)n);
    seconds = bench_quick ? 1 : seconds;
    state = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int *fds = calloc((size_t)n, sizeof(fds[0]));
    bench_check(state != MAP_FAILED && fds != NULL, "memory");
    bench_pin(1);
    int listener = net_listen();
    uint16_t port = net_port(listener);
    int pid = net_start_server(serve, 0, &listener, 1);
    close(listener);
    for (long i = 0; i < n; i++) {
        fds[i] = connect_and_ask(port);
    }
    ask(FRESH);
    bench_print("idle.http.fresh", "", state->resident / (double)n, "bytes");
    sleep(3);
    ask(LATER);
    bench_print("idle.http.resident", "", state->resident / (double)n, "bytes");
    bench_print("idle.http.malloc", "", state->allocated / (double)n, "bytes");
    double cpu = bench_cpu_of(pid);
    sleep(seconds);
    cpu = bench_cpu_of(pid) - cpu;
    bench_print("idle.http.cpu", "", cpu / seconds * 100, "%");
    net_stop_server(pid);
    for (long i = 0; i < n; i++) {
        close(fds[i]);
    }
    free(fds);
    return EXIT_SUCCESS;
}
