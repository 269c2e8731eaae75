/* SPDX-License-Identifier: MIT */

/* The same work in threads and in greenlets: clients that wait for a slow
 * server. The client's code is the same but for the names of the calls. */
#include <gev.h>

#include "example.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char help[] =
    "usage: threads_vs_greenlets [-n clients] [-m rounds] [-d milliseconds]\n"
    "Runs clients of a slow server, first each in a thread, then each in a\n"
    "greenlet, and compares what that takes. Each has a process of its own.\n"
    "  -n N   so many clients, 1 to 4000 (500)\n"
    "  -m M   so many requests each, 1 to 100000 (20)\n"
    "  -d MS  what the server takes for an answer, 0 to 10000 (10)\n";

#define MESSAGE 64 /* bytes of a request, and of an answer */

struct work {
    size_t clients;
    size_t rounds;
    double delay;   /* seconds */
    int (*pair)[2]; /* sockets: [0] the client's, [1] the server's end */
};

/* What one way of doing it took. */
struct cost {
    size_t answers;
    double seconds;
    double cpu;    /* seconds */
    double memory; /* bytes, at most */
    long switches; /* by the kernel */
};

/* --- The server: a process of its own, the same for both ------------------ */

static double server_delay;

static void *serve(void *arg)
{
    const int fd = (int)(intptr_t)arg;
    char message[MESSAGE];
    while (gev_recv_exactly(fd, message, sizeof(message)) == MESSAGE &&
           gev_sleep(server_delay) == 0 &&
           gev_send_all(fd, message, sizeof(message)) == MESSAGE) {
    }
    return NULL;
}

static int run_server(const struct work *work)
{
    server_delay = work->delay;
    for (size_t i = 0; i < work->clients; i++) {
        close(work->pair[i][0]);
        if (gev_spawn_raw(serve, (void *)(intptr_t)work->pair[i][1]) < 0) {
            return EXIT_FAILURE;
        }
    }
    /* Until the clients have closed their ends. */
    return gev_run(GEV_FOREVER) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- The clients -----------------------------------------------------------
 */

struct client {
    int fd;
    size_t rounds;
    size_t answers;
};

static void *thread_client(void *arg)
{
    struct client *self = arg;
    char message[MESSAGE] = "ping";
    while (self->answers < self->rounds &&
           send(self->fd, message, sizeof(message), MSG_NOSIGNAL) == MESSAGE &&
           recv(self->fd, message, sizeof(message), MSG_WAITALL) == MESSAGE) {
        self->answers++;
    }
    return NULL;
}

static void *greenlet_client(void *arg)
{
    struct client *self = arg;
    char message[MESSAGE] = "ping";
    while (self->answers < self->rounds &&
           gev_send(self->fd, message, sizeof(message), 0) == MESSAGE &&
           gev_recv(self->fd, message, sizeof(message), MSG_WAITALL) ==
               MESSAGE) {
        self->answers++;
    }
    return NULL;
}

static int run_threads(struct client *clients, size_t n)
{
    pthread_t *threads = calloc(n, sizeof(threads[0]));
    size_t started = 0;
    int error = threads == NULL ? ENOMEM : 0;
    while (error == 0 && started < n) {
        error = pthread_create(&threads[started], NULL, thread_client,
                               &clients[started]);
        started += error == 0;
    }
    for (size_t i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    free(threads);
    errno = error;
    return error == 0 ? 0 : -1;
}

static int run_greenlets(struct client *clients, size_t n)
{
    gev_greenlet **greenlets = calloc(n, sizeof(greenlets[0]));
    if (greenlets == NULL) {
        return -1;
    }
    size_t spawned = 0;
    while (spawned < n) {
        greenlets[spawned] = gev_spawn(greenlet_client, &clients[spawned]);
        if (greenlets[spawned] == NULL) {
            break;
        }
        spawned++;
    }
    const int error = spawned < n ? errno : 0;
    gev_joinall(greenlets, spawned, GEV_FOREVER);
    gev_unrefall(greenlets, spawned);
    free(greenlets);
    gev_hub_close();
    errno = error;
    return error == 0 ? 0 : -1;
}

/* --- Measuring -------------------------------------------------------------
 */

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static int measure(const struct work *work,
                   int (*run)(struct client *clients, size_t n),
                   struct cost *cost)
{
    struct client *clients = calloc(work->clients, sizeof(clients[0]));
    if (clients == NULL) {
        return -1;
    }
    for (size_t i = 0; i < work->clients; i++) {
        close(work->pair[i][1]);
        clients[i].fd = work->pair[i][0];
        clients[i].rounds = work->rounds;
    }
    struct rusage before;
    struct rusage after;
    getrusage(RUSAGE_SELF, &before);
    const double start = now();
    const int rc = run(clients, work->clients);
    cost->seconds = now() - start;
    getrusage(RUSAGE_SELF, &after);
    cost->cpu = seconds_of(after.ru_utime) + seconds_of(after.ru_stime) -
                seconds_of(before.ru_utime) - seconds_of(before.ru_stime);
    cost->memory = (double)(after.ru_maxrss - before.ru_maxrss) * 1024;
    cost->switches = after.ru_nvcsw - before.ru_nvcsw;
    cost->answers = 0;
    for (size_t i = 0; i < work->clients; i++) {
        cost->answers += clients[i].answers;
    }
    free(clients);
    return rc;
}

static int make_pairs(struct work *work)
{
    for (size_t i = 0; i < work->clients; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, work->pair[i]) <
            0) {
            return -1;
        }
    }
    return 0;
}

static void close_pairs(struct work *work)
{
    for (size_t i = 0; i < work->clients; i++) {
        for (int end = 0; end < 2; end++) {
            if (work->pair[i][end] >= 0) {
                close(work->pair[i][end]);
                work->pair[i][end] = -1;
            }
        }
    }
}

/* Has a server and the clients run in two new processes. */
static int compare(struct work *work,
                   int (*run)(struct client *clients, size_t n),
                   struct cost *cost)
{
    int result[2] = {-1, -1};
    pid_t client = -1;
    memset(work->pair, -1, work->clients * sizeof(work->pair[0]));
    if (make_pairs(work) < 0 || pipe(result) < 0) {
        close_pairs(work);
        return -1;
    }
    const pid_t server = fork();
    if (server == 0) {
        _exit(run_server(work));
    }
    if (server > 0) {
        client = fork();
    }
    if (client == 0) {
        memset(cost, 0, sizeof(*cost));
        if (measure(work, run, cost) < 0) {
            perror("starting the clients");
        }
        _exit(write(result[1], cost, sizeof(*cost)) != sizeof(*cost));
    }
    const int error = errno;
    close_pairs(work); /* so that each process sees the other's end */
    close(result[1]);
    const bool measured =
        client > 0 && read(result[0], cost, sizeof(*cost)) == sizeof(*cost);
    close(result[0]);
    if (client > 0) {
        waitpid(client, NULL, 0);
    }
    if (server > 0) {
        waitpid(server, NULL, 0);
    }
    errno = client > 0 ? EIO : error;
    return measured ? 0 : -1;
}

static void print_row(const char *name, const struct cost *cost, size_t n)
{
    printf("%-10s %10.3f %10.3f %12.1f %12.1f %14ld\n", name, cost->seconds,
           cost->cpu, cost->memory / 1e6, cost->memory / 1e3 / (double)n,
           cost->switches);
}

int main(int argc, char **argv)
{
    struct work work = {.clients = 500, .rounds = 20, .delay = 0.010};
    int option;
    while ((option = next_option(argc, argv, "hn:m:d:")) != -1) {
        switch (option) {
        case 'n':
            work.clients = (size_t)parse_count("-n", optarg, 1, 4000);
            break;
        case 'm':
            work.rounds = (size_t)parse_count("-m", optarg, 1, 100000);
            break;
        case 'd':
            work.delay = parse_number("-d", optarg, 0, 10000) / 1000;
            break;
        case 'h':
            return print_help(help);
        default:
            return bad_usage(argv[0]);
        }
    }
    if (has_extra(argc, argv)) {
        return bad_usage(argv[0]);
    }

    allow_many_files();
    work.pair = calloc(work.clients, sizeof(work.pair[0]));
    struct cost threads;
    struct cost greenlets;
    if (work.pair == NULL || compare(&work, run_threads, &threads) < 0 ||
        compare(&work, run_greenlets, &greenlets) < 0) {
        perror("threads_vs_greenlets");
        free(work.pair);
        return EXIT_FAILURE;
    }
    free(work.pair);

    printf("%zu clients, %zu requests each, %g ms an answer: at least %g s\n",
           work.clients, work.rounds, work.delay * 1000,
           work.delay * (double)work.rounds);
    printf("%-10s %10s %10s %12s %12s %14s\n", "", "seconds", "CPU s",
           "memory MB", "KB/client", "ctx switches");
    print_row("threads", &threads, work.clients);
    print_row("greenlets", &greenlets, work.clients);
    puts("Not counted: each thread's stack in the kernel (16 KB on x86-64).");

    const size_t wanted = work.clients * work.rounds;
    if (threads.answers != wanted || greenlets.answers != wanted) {
        printf("answers missing: %zu to threads, %zu to greenlets\n",
               wanted - threads.answers, wanted - greenlets.answers);
        return EXIT_FAILURE;
    }
    return end_output(EXIT_SUCCESS);
}
