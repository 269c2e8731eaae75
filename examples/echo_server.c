/* SPDX-License-Identifier: MIT */

/* A server that sends back what it gets, with one greenlet a connection. */
#include <gev.h>

#include "example.h"

#include <netdb.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>

static const char help[] =
    "usage: echo_server [-a address] [-p port] [-i seconds] [-t seconds]\n"
    "Sends back what it receives, on any number of connections. Prints the\n"
    "port it listens on. SIGINT and SIGTERM end it gracefully: what has\n"
    "arrived is still sent back.\n"
    "  -a ADDR  listen there only (127.0.0.1)\n"
    "  -p PORT  the port, or 0 for any that is free (0)\n"
    "  -i S     close a connection that is idle for so many seconds (60)\n"
    "  -t S     stop after so many seconds (never)\n";

#define GRACE 2.0 /* seconds that connections get to end when we stop */

/* A connection; the argument of its greenlet, copied to that one's stack. */
struct client {
    int fd;
    struct server *server;
    struct client *next;
    struct client **link; /* what points to this one */
};

struct server {
    int fd;
    double idle;
    struct client *clients;
    struct slots running; /* the connections: to wait for their end */
    uint64_t served;
    uint64_t bytes;
    const char *why; /* we stop */
    gev_waiter stop;
};

static void echo(struct client *self)
{
    char buffer[8192];
    ssize_t n;
    while ((n = gev_recv(self->fd, buffer, sizeof(buffer), 0)) > 0) {
        if (gev_send_all(self->fd, buffer, (size_t)n) != n) {
            return;
        }
        self->server->bytes += (uint64_t)n;
    }
    /* The end of the stream, idle for too long, reset, or killed: whichever it
     * is, the connection is over, and no concern of the others. */
}

static void *serve(void *arg)
{
    struct client *self = arg;
    struct server *server = self->server;
    self->next = server->clients;
    self->link = &server->clients;
    if (self->next != NULL) {
        self->next->link = &self->next;
    }
    server->clients = self;

    if (gev_settimeout(self->fd, server->idle) == 0) {
        echo(self);
    }
    gev_close(self->fd);

    *self->link = self->next;
    if (self->next != NULL) {
        self->next->link = self->link;
    }
    server->served++;
    slot_give(&server->running);
    return NULL;
}

static void *accept_clients(void *arg)
{
    struct server *server = arg;
    for (;;) {
        struct client client = {.server = server};
        client.fd = gev_accept(server->fd, NULL, NULL);
        if (client.fd < 0) {
            if (errno != EMFILE && errno != ENFILE && errno != ENOMEM &&
                errno != ENOBUFS) {
                return NULL; /* we stop */
            }
            /* No room now: gev_accept() waits before it tries again. */
            perror("accept");
            continue;
        }
        gev_greenlet *g = gev_spawn_copy(serve, &client, sizeof(client));
        if (g == NULL) {
            perror("gev_spawn_copy");
            gev_close(client.fd);
            continue;
        }
        server->running.taken++;
        gev_unref(g); /* it ends by itself */
    }
}

static void stop_on(struct server *server, int signum, const char *why)
{
    if (gev_wait_signal(signum, GEV_FOREVER) == 0) {
        server->why = why;
        gev_waiter_switch(&server->stop, NULL);
    }
}

static void *stop_on_interrupt(void *arg)
{
    stop_on(arg, SIGINT, "interrupted");
    return NULL;
}

static void *stop_on_terminate(void *arg)
{
    stop_on(arg, SIGTERM, "terminated");
    return NULL;
}

static int print_address(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    char host[64];
    char port[8];
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
        getnameinfo((struct sockaddr *)&address, length, host, sizeof(host),
                    port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return -1;
    }
    printf("listening on %s port %s\n", host, port);
    return fflush(stdout);
}

/* Serves until there is a reason to stop. */
static int run(struct server *server, double duration)
{
    gev_greenlet *acceptor = gev_spawn(accept_clients, server);
    if (acceptor == NULL || gev_spawn_raw(stop_on_interrupt, server) < 0 ||
        gev_spawn_raw(stop_on_terminate, server) < 0) {
        perror("gev_spawn");
        return EXIT_FAILURE;
    }
    if (gev_waiter_get(&server->stop, NULL, duration) < 0) {
        server->why = errno == ETIMEDOUT ? "time is over" : gev_strerror(errno);
    }

    /* No new connections. Those there are see the end of their streams after
     * what has arrived so far. */
    gev_kill(acceptor, GEV_FOREVER);
    gev_unref(acceptor);
    for (struct client *c = server->clients; c != NULL; c = c->next) {
        gev_shutdown(c->fd, SHUT_RD);
    }
    slots_drain(&server->running, GRACE);
    printf("%s: %llu connections served, %llu bytes sent back\n", server->why,
           (unsigned long long)server->served,
           (unsigned long long)server->bytes);
    if (server->running.taken > 0) {
        printf("%zu connections cut\n", server->running.taken);
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct server server = {.idle = 60};
    const char *address = "127.0.0.1";
    const char *port = "0";
    double duration = GEV_FOREVER;
    int option;
    while ((option = next_option(argc, argv, "ha:p:i:t:")) != -1) {
        switch (option) {
        case 'a':
            address = optarg;
            break;
        case 'p':
            parse_count("-p", optarg, 0, 65535);
            port = optarg;
            break;
        case 'i':
            server.idle = parse_number("-i", optarg, 0.001, 1e6);
            break;
        case 't':
            duration = parse_number("-t", optarg, 0.001, 1e9);
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
    server.fd = gev_tcp_listen(address, port, SOMAXCONN);
    if (server.fd < 0) {
        fprintf(stderr, "%s port %s: %s\n", address, port, gev_strerror(errno));
        return EXIT_FAILURE;
    }
    int status = EXIT_FAILURE;
    if (print_address(server.fd) < 0) {
        perror("the server's address");
    } else {
        status = run(&server, duration);
    }
    gev_close(server.fd);
    gev_hub_close(); /* ends the connections that did not end by themselves */
    return end_output(status);
}
