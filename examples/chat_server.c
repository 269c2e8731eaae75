/* SPDX-License-Identifier: MIT */

/* A chat: what one client writes goes to all others. Each client has a bounded
 * queue and a greenlet that sends what is in it, so a slow client holds up
 * nobody; one that is too far behind is dropped. */
#include <gev.h>

#include "example.h"
#include "serving.h"

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
    gev_stream *connection;
    unsigned number;
    bool dropped;
    gev_queue *lines; /* to be sent to it */
    struct chat *chat;
    struct client *next;
    struct client **link; /* what points to this one */
};

struct chat {
    size_t queue_size;
    struct client *clients;
    unsigned served;
    unsigned dropped;
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
    client->chat->dropped++;
    while (gev_queue_get(client->lines, &line, 0) == 0) {
        release(line); /* the queue does not own what is in it */
    }
    gev_queue_shutdown(client->lines, false);
    gev_shutdown(gev_stream_fd(client->connection), SHUT_RDWR);
    printf("client %u is too slow\n", client->number);
    fflush(stdout);
}

static void send_to_others(struct client *from, struct line *line)
{
    for (struct client *c = from->chat->clients; c != NULL; c = c->next) {
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
    gev_stream *s = client->connection;
    void *item;
    bool failed = false;
    while (gev_queue_get(client->lines, &item, GEV_FOREVER) == 0) {
        struct line *line = item;
        failed = failed || gev_stream_write(s, line->text, line->length) < 0 ||
                 gev_stream_flush(s) < 0;
        release(line);
        if (failed) { /* the reader ends, too */
            gev_shutdown(gev_stream_fd(s), SHUT_RDWR);
        }
    }
    return NULL;
}

static void read_lines(struct client *client)
{
    char *text;
    ssize_t n;
    /* Idle: a server that stops ends it at once. */
    if (gev_server_idle(client->connection, true) < 0) {
        return;
    }
    while ((n = gev_stream_read_line(client->connection, &text,
                                     LINE_MAX_LENGTH)) > 0) {
        const size_t length = (size_t)n - (text[n - 1] == '\n');
        struct line *line = make_line(client->number, text, length);
        if (line != NULL) {
            send_to_others(client, line);
            release(line);
        }
    }
    /* The end of the stream, an error, dropped, or a line too long: whichever
     * it is, this client is done. */
}

static void enter(struct client *self)
{
    self->next = self->chat->clients;
    self->link = &self->chat->clients;
    if (self->next != NULL) {
        self->next->link = &self->next;
    }
    self->chat->clients = self;
}

static void leave(struct client *self)
{
    *self->link = self->next;
    if (self->next != NULL) {
        self->next->link = self->link;
    }
}

static void handle(gev_stream *connection, const struct sockaddr *peer,
                   void *arg)
{
    struct chat *chat = arg;
    struct client self = {
        .connection = connection, .number = ++chat->served, .chat = chat};
    void *line;
    (void)peer;
    self.lines = gev_queue_new(chat->queue_size);
    gev_greenlet *writer =
        self.lines == NULL ? NULL : gev_spawn(write_lines, &self);
    if (writer == NULL) {
        perror("a client");
        gev_queue_free(self.lines);
        return;
    }
    enter(&self);
    read_lines(&self);
    leave(&self);
    gev_queue_shutdown(self.lines, false);
    /* It uses what is on this stack: its end is waited for, whatever happens
     * to us. What is queued is still sent. */
    gev_shield_begin();
    if (gev_join(writer, GRACE) < 0) {
        gev_kill(writer, GEV_FOREVER);
    }
    gev_shield_end();
    gev_unref(writer);
    while (gev_queue_get(self.lines, &line, 0) == 0) {
        release(line);
    }
    gev_queue_free(self.lines);
}

int main(int argc, char **argv)
{
    gev_server_opts opts = {.size = sizeof(opts), .host = "127.0.0.1"};
    struct chat chat = {.queue_size = 100};
    double duration = GEV_FOREVER;
    int option;
    while ((option = next_option(argc, argv, "ha:p:q:t:")) != -1) {
        switch (option) {
        case 'a':
            opts.host = optarg;
            break;
        case 'p':
            parse_count("-p", optarg, 0, 65535);
            opts.service = optarg;
            break;
        case 'q':
            chat.queue_size = (size_t)parse_count("-q", optarg, 1, 1000000);
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
    gev_server *server = gev_server_new(&opts, handle, &chat);
    if (server == NULL) {
        perror("gev_server_new");
        return EXIT_FAILURE;
    }
    const char *why = serve(server, &opts, duration, 2 * GRACE);
    if (why != NULL) {
        printf("%s: %u clients served, %u of them too slow\n", why, chat.served,
               chat.dropped);
    }
    gev_server_free(server);
    gev_hub_close();
    return end_output(why == NULL ? EXIT_FAILURE : EXIT_SUCCESS);
}
