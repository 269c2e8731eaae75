/* SPDX-License-Identifier: MIT */

/* A chat: what one client writes goes to all others. Each client has a bounded
 * queue and a greenlet that sends what is in it, so a slow client holds up
 * nobody; one that is too far behind is dropped. */
#include <gev.h>

#include "example.h"

#include <netdb.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

static const char help[] =
    "usage: chat_server [-a address] [-p port] [-q lines] [-t seconds]\n"
    "Sends each line that a client writes to all others. Prints the port it\n"
    "listens on. SIGINT and SIGTERM end it.\n"
    "  -a ADDR  listen there only (127.0.0.1)\n"
    "  -p PORT  the port, or 0 for any that is free (0)\n"
    "  -q N     drop a client that is so many lines behind (100)\n"
    "  -t S     stop after so many seconds (never)\n";

#define GRACE 2.0 /* seconds that clients get for their last lines */
#define LINE_MAX_LENGTH 1000

/* A line to many: all their queues hold the same one. */
struct line {
    size_t holders;
    size_t length;
    char text[];
};

struct client {
    int fd;
    unsigned number;
    bool dropped;
    gev_queue *lines; /* to be sent to it */
    struct server *server;
    struct client *next;
    struct client **link; /* what points to this one */
};

struct server {
    int fd;
    size_t queue_size;
    struct client *clients;
    struct slots running; /* to wait for their end */
    unsigned served;
    unsigned dropped;
    const char *why; /* we stop */
    gev_waiter stop;
};

/* --- lines ---------------------------------------------------------------- */

static struct line *make_line(unsigned number, const char *text, size_t length)
{
    struct line *line = malloc(sizeof(*line) + length + 32);
    if (line != NULL) {
        int n = snprintf(line->text, 32, "%u: ", number);
        memcpy(line->text + n, text, length);
        line->length = (size_t)n + length;
        line->text[line->length++] = '\n';
        line->holders = 1;
    }
    return line;
}

static void release(struct line *line)
{
    if (--line->holders == 0) {
        free(line);
    }
}

/* --- clients -------------------------------------------------------------- */

/* It is too slow. Its own greenlets do the rest. */
static void drop(struct client *client)
{
    void *line;
    client->dropped = true;
    client->server->dropped++;
    while (gev_queue_get(client->lines, &line, 0) == 0) {
        release(line); /* the queue does not own what is in it */
    }
    gev_queue_shutdown(client->lines, false);
    gev_shutdown(client->fd, SHUT_RDWR);
    printf("client %u is too slow\n", client->number);
    fflush(stdout);
}

static void send_to_others(struct client *from, struct line *line)
{
    for (struct client *c = from->server->clients; c != NULL; c = c->next) {
        if (c == from || c->dropped) {
            continue;
        }
        /* Without waiting: a client that does not read is its own problem. */
        if (gev_queue_put(c->lines, line, 0) == 0) {
            line->holders++;
        } else if (errno == ETIMEDOUT) {
            drop(c);
        }
    }
}

/* Sends the client its lines, until there will be none any more. */
static void *write_lines(void *arg)
{
    struct client *client = arg;
    void *item;
    bool failed = false;
    while (gev_queue_get(client->lines, &item, GEV_FOREVER) == 0) {
        struct line *line = item;
        if (!failed) {
            failed = gev_send_all(client->fd, line->text, line->length) !=
                     (ssize_t)line->length;
        }
        release(line);
        if (failed) {
            gev_shutdown(client->fd, SHUT_RDWR); /* the reader ends, too */
        }
    }
    return NULL;
}

/* Passes on all whole lines of the buffer: how much is left of the last. */
static size_t pass_on(struct client *client, char *buffer, size_t length)
{
    char *begin = buffer;
    char *end;
    while ((end = memchr(begin, '\n', length - (size_t)(begin - buffer))) !=
           NULL) {
        struct line *line =
            make_line(client->number, begin, (size_t)(end - begin));
        if (line != NULL) {
            send_to_others(client, line);
            release(line);
        }
        begin = end + 1;
    }
    size_t left = length - (size_t)(begin - buffer);
    memmove(buffer, begin, left);
    return left;
}

static void read_lines(struct client *client)
{
    char buffer[LINE_MAX_LENGTH];
    size_t length = 0;
    ssize_t n;
    while (length < sizeof(buffer) &&
           (n = gev_recv(client->fd, buffer + length, sizeof(buffer) - length,
                         0)) > 0) {
        length = pass_on(client, buffer, length + (size_t)n);
    }
    /* The end of the stream, an error, dropped, or a line too long: whichever
     * it is, this client is done. */
}

static void *serve(void *arg)
{
    struct client *self = arg; /* a copy on this stack */
    struct server *server = self->server;
    self->lines = gev_queue_new(server->queue_size);
    gev_greenlet *writer =
        self->lines == NULL ? NULL : gev_spawn(write_lines, self);
    if (writer == NULL) {
        perror("a client");
    } else {
        self->next = server->clients;
        self->link = &server->clients;
        if (self->next != NULL) {
            self->next->link = &self->next;
        }
        server->clients = self;
        read_lines(self);
        *self->link = self->next;
        if (self->next != NULL) {
            self->next->link = self->link;
        }
        gev_queue_shutdown(self->lines, false);
        if (gev_join(writer, GRACE) < 0) {
            gev_kill(writer, GEV_FOREVER);
        }
        gev_unref(writer);
    }
    void *line;
    while (gev_queue_get(self->lines, &line, 0) == 0) {
        release(line);
    }
    gev_queue_free(self->lines);
    gev_close(self->fd);
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
            perror("accept");
            continue;
        }
        client.number = ++server->served;
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

/* --- the server ----------------------------------------------------------- */

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
    gev_kill(acceptor, GEV_FOREVER);
    gev_unref(acceptor);
    for (struct client *c = server->clients; c != NULL; c = c->next) {
        gev_shutdown(c->fd, SHUT_RD); /* what is queued is still sent */
    }
    slots_drain(&server->running, 2 * GRACE);
    printf("%s: %u clients served, %u of them too slow\n", server->why,
           server->served, server->dropped);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct server server = {.queue_size = 100};
    const char *address = "127.0.0.1";
    const char *port = "0";
    double duration = GEV_FOREVER;
    int option;
    while ((option = next_option(argc, argv, "ha:p:q:t:")) != -1) {
        switch (option) {
        case 'a':
            address = optarg;
            break;
        case 'p':
            parse_count("-p", optarg, 0, 65535);
            port = optarg;
            break;
        case 'q':
            server.queue_size = (size_t)parse_count("-q", optarg, 1, 1000000);
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
    if (optind < argc) {
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
    gev_hub_close(); /* ends the clients that did not end by themselves */
    return status;
}
