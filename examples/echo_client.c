/* SPDX-License-Identifier: MIT */

/* Talks to an echo server on many connections at once, and checks each byte. */
#include <gev.h>

#include "example.h"

#include <stdint.h>
#include <string.h>

static const char help[] =
    "usage: echo_client [-n connections] [-m messages] [-s size] [-t seconds]\n"
    "                   host port\n"
    "Sends messages to an echo server and checks what comes back.\n"
    "  -n N  so many connections at once, 1 to 100000 (100)\n"
    "  -m M  so many messages on each, 1 to 1000000000 (100)\n"
    "  -s B  so many bytes in each message, 1 to 65536 (64)\n"
    "  -t S  give up after so many seconds (60)\n"
    "Exit status: 0 if every byte came back, 1 if not, 2 for bad usage.\n";

/* A message is sent whole before its echo is read, so both must fit into the
 * buffers of the sockets, or client and server would wait for each other. */
#define MESSAGE_MAX 65536

struct load {
    const char *host;
    const char *port;
    size_t messages; /* on each connection */
    size_t size;     /* of a message */
    double timeout;
    uint64_t echoed; /* messages that came back, and were right */
};

/* The bytes are different for every connection and message, so that an echo
 * that gets lost or goes to another connection is noticed. */
static void make_message(unsigned char *message, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        message[i] = (unsigned char)(seed >> 56);
    }
}

static int exchange(struct load *load, int fd, unsigned char *message)
{
    unsigned char *reply = message + load->size;
    for (size_t i = 0; i < load->messages; i++) {
        make_message(message, load->size, gev_id(gev_current()) << 32 ^ i);
        const ssize_t size = (ssize_t)load->size;
        if (gev_send_all(fd, message, load->size) != size) {
            return -1;
        }
        errno = 0;
        if (gev_recv_exactly(fd, reply, load->size) != size) {
            errno = errno != 0 ? errno : ECONNRESET; /* the stream's end */
            return -1;
        }
        if (memcmp(message, reply, load->size) != 0) {
            errno = EBADMSG;
            return -1;
        }
        load->echoed++;
    }
    return 0;
}

/* One connection. Its failure is that of the greenlet: main asks for it. */
static void *client(void *arg)
{
    struct load *load = arg;
    unsigned char *message = malloc(2 * load->size); /* and its echo */
    if (message == NULL) {
        return gev_fail(errno);
    }
    int error = 0;
    const int fd = gev_tcp_connect(load->host, load->port, load->timeout);
    if (fd < 0 || exchange(load, fd, message) < 0) {
        error = errno;
    }
    if (fd >= 0) {
        gev_close(fd);
    }
    free(message);
    return error != 0 ? gev_fail(error) : NULL;
}

/* The hub tells of each failure; the summary is enough here. */
static void ignore_failure(gev_greenlet *g, int error, void *arg)
{
    (void)g;
    (void)error;
    (void)arg;
}

/* Returns how many failed, and says why the first did. */
static size_t count_failures(gev_greenlet *const clients[], size_t n)
{
    size_t failed = 0;
    for (size_t i = 0; i < n; i++) {
        const int error = gev_error(clients[i]);
        if (error != 0 && failed++ == 0) {
            fprintf(stderr, "connection %zu: %s\n", i + 1,
                    error == ECANCELED ? "timed out" : gev_strerror(error));
        }
    }
    return failed;
}

static int run(struct load *load, gev_greenlet **clients, size_t n)
{
    gev_set_error_handler(ignore_failure, NULL);
    size_t spawned = 0;
    const double start = now();
    while (spawned < n) {
        clients[spawned] = gev_spawn(client, load);
        if (clients[spawned] == NULL) {
            perror("gev_spawn");
            break;
        }
        spawned++;
    }
    gev_joinall(clients, spawned, load->timeout);
    const double seconds = now() - start;
    gev_killall(clients, spawned, GEV_FOREVER); /* those that are late */

    const size_t failed = count_failures(clients, spawned) + n - spawned;
    const double echoed = (double)load->echoed;
    printf("%zu connections, %zu failed, %llu of %llu messages echoed\n", n,
           failed, (unsigned long long)load->echoed,
           (unsigned long long)n * load->messages);
    printf("%.3f s, %.0f messages/s, %.1f MB/s each way\n", seconds,
           echoed / seconds, echoed * (double)load->size / 1e6 / seconds);
    gev_unrefall(clients, spawned);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct load load = {.messages = 100, .size = 64, .timeout = 60};
    size_t n = 100;
    int option;
    while ((option = next_option(argc, argv, "hn:m:s:t:")) != -1) {
        switch (option) {
        case 'n':
            n = (size_t)parse_count("-n", optarg, 1, 100000);
            break;
        case 'm':
            load.messages = (size_t)parse_count("-m", optarg, 1, 1000000000);
            break;
        case 's':
            load.size = (size_t)parse_count("-s", optarg, 1, MESSAGE_MAX);
            break;
        case 't':
            load.timeout = parse_number("-t", optarg, 0.001, 1e6);
            break;
        case 'h':
            return print_help(help);
        default:
            return bad_usage(argv[0]);
        }
    }
    if (argc - optind != 2) {
        fputs("a host and a port are needed\n", stderr);
        return bad_usage(argv[0]);
    }
    load.host = argv[optind];
    load.port = argv[optind + 1];

    allow_many_files();
    gev_greenlet **clients = calloc(n, sizeof(clients[0]));
    if (clients == NULL) {
        perror("calloc");
        return EXIT_FAILURE;
    }
    const int status = run(&load, clients, n);
    free(clients);
    gev_hub_close();
    return end_output(status);
}
