/* SPDX-License-Identifier: MIT */

/* Datagrams: a server that sends back what it gets, and a client that asks
 * again when an answer does not come. */
#include <gev.h>

#include "example.h"

#include <netdb.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

static const char help[] =
    "usage: udp_echo [-a address] [-p port] [-n datagrams]\n"
    "       udp_echo [-n datagrams] [-t seconds] host port\n"
    "Without a host: a server that sends datagrams back. Prints its port;\n"
    "SIGINT and SIGTERM end it. With a host: a client that sends datagrams,\n"
    "one after the other, each up to five times, and checks the answers.\n"
    "  -a ADDR  listen there only (127.0.0.1)\n"
    "  -p PORT  the port, or 0 for any that is free (0)\n"
    "  -n N     stop after so many datagrams (server: never; client: 10)\n"
    "  -t S     seconds to wait for an answer (1)\n";

/* --- the server ----------------------------------------------------------- */

#define GRACE 1.0 /* seconds that answers get to go out when we stop */

struct tally {
    long most; /* 0: no limit */
    long echoed;
};

static void *stop(void *server)
{
    (void)gev_datagram_server_stop(server, GRACE);
    return NULL;
}

/* Runs in a greenlet of its own, so it may wait for whatever it likes. */
static void echo(gev_datagram_server *server, const void *data, size_t n,
                 const struct sockaddr *peer, socklen_t len, void *arg)
{
    struct tally *tally = arg;
    if (gev_datagram_server_send(server, data, n, peer, len) < 0) {
        perror("send");
        return;
    }
    if (++tally->echoed == tally->most) {
        stop(server);
    }
}

static int serve(const gev_server_opts *opts, long most)
{
    struct tally tally = {.most = most};
    gev_datagram_server *server = gev_datagram_server_new(opts, echo, &tally);
    if (server == NULL || gev_datagram_server_start(server) < 0) {
        fprintf(stderr, "%s port %s: %s\n", opts->host, opts->service,
                gev_strerror(errno));
        gev_datagram_server_free(server);
        return EXIT_FAILURE;
    }
    gev_signal(SIGINT, stop, server); /* gev_hub_close() cancels them */
    gev_signal(SIGTERM, stop, server);
    printf("listening on %s port %d\n", opts->host,
           gev_datagram_server_port(server));
    fflush(stdout);
    int status = EXIT_SUCCESS;
    if (gev_datagram_server_serve(server) < 0) {
        perror("serving");
        status = EXIT_FAILURE;
    }
    printf("%ld datagrams sent back\n", tally.echoed);
    gev_datagram_server_free(server);
    return status;
}

/* --- the client ----------------------------------------------------------- */

#define TRIES 5

static int reach(const char *host, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
    struct addrinfo *list;
    const int code = gev_getaddrinfo(host, port, &hints, &list);
    if (code != 0) {
        fprintf(stderr, "%s: %s\n", host, gai_strerror(code));
        return -1;
    }
    const int fd = gev_socket(list->ai_family, SOCK_DGRAM, 0);
    /* Connected, it hears of no one else, and of a port that is closed. */
    if (fd < 0 || gev_connect(fd, list->ai_addr, list->ai_addrlen) < 0) {
        perror(host);
        gev_close(fd);
        gev_freeaddrinfo(list);
        return -1;
    }
    gev_freeaddrinfo(list);
    return fd;
}

/* Waits for this answer; late ones of others before it are passed over. */
static bool hear(int fd, const char *text, size_t length, double patience)
{
    gev_timeout limit;
    char answer[100];
    ssize_t n;
    if (gev_timeout_begin(&limit, patience) < 0) {
        return false;
    }
    do {
        n = gev_recv(fd, answer, sizeof(answer), 0);
    } while (n >= 0 &&
             ((size_t)n != length || memcmp(answer, text, length) != 0));
    gev_timeout_end(&limit);
    return n >= 0;
}

static bool ask(int fd, long number, double patience)
{
    char text[100];
    const int length = snprintf(text, sizeof(text), "datagram %ld", number);
    for (int try = 0; try < TRIES; try++) {
        if (gev_send(fd, text, (size_t)length, 0) == length &&
            hear(fd, text, (size_t)length, patience)) {
            return true;
        }
    }
    fprintf(stderr, "datagram %ld: %s\n", number, gev_strerror(errno));
    return false;
}

static int talk(const char *host, const char *port, long n, double patience)
{
    const int fd = reach(host, port);
    if (fd < 0) {
        return EXIT_FAILURE;
    }
    long answered = 0;
    while (answered < n && ask(fd, answered + 1, patience)) {
        answered++;
    }
    printf("%ld of %ld answered\n", answered, n);
    gev_close(fd);
    return answered == n ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    gev_server_opts opts = {
        .size = sizeof(opts), .host = "127.0.0.1", .service = "0"};
    double patience = 1;
    long n = 0;
    int option;
    while ((option = next_option(argc, argv, "ha:p:n:t:")) != -1) {
        switch (option) {
        case 'a':
            opts.host = optarg;
            break;
        case 'p':
            parse_count("-p", optarg, 0, 65535);
            opts.service = optarg;
            break;
        case 'n':
            n = parse_count("-n", optarg, 1, 1000000000);
            break;
        case 't':
            patience = parse_number("-t", optarg, 0.001, 1e6);
            break;
        case 'h':
            return print_help(help);
        default:
            return bad_usage(argv[0]);
        }
    }
    if (argc != optind && argc != optind + 2) {
        fputs("a host and a port are needed, or none of them\n", stderr);
        return bad_usage(argv[0]);
    }
    const int status = argc == optind ? serve(&opts, n)
                                      : talk(argv[optind], argv[optind + 1],
                                             n == 0 ? 10 : n, patience);
    gev_hub_close();
    return end_output(status);
}
