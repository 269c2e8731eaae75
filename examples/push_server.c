/* SPDX-License-Identifier: MIT */

/* Pushes messages to many browsers: a page that listens to server-sent events,
 * and a form to send some. Every listener has a bounded queue, so that one that
 * does not read delays nobody: it loses its oldest messages. */
#include <gev.h>
#include <gev/http.h>

#include "example.h"

#include <signal.h>
#include <string.h>

static const char help[] =
    "usage: push_server [-a address] [-p port] [-k seconds] [-t seconds]\n"
    "Serves a page on which messages appear as they are sent: POST /send "
    "sends\n"
    "its body to all who listen at /events. Prints the port it listens on.\n"
    "  -a ADDR  listen there only (127.0.0.1)\n"
    "  -p PORT  the port, or 0 for any that is free (0)\n"
    "  -k S     send something after so many silent seconds (15)\n"
    "  -t S     stop after so many seconds (never)\n";

static const char page[] =
    "<!doctype html><meta charset=\"utf-8\"><title>Push</title>\n"
    "<form id=\"form\"><input id=\"text\" autofocus> <button>send</button>"
    "</form>\n<ul id=\"list\"></ul>\n"
    "<script>\n"
    "new EventSource('/events').addEventListener('message', e => {\n"
    "  const item = document.createElement('li');\n"
    "  item.textContent = e.data;\n"
    "  document.getElementById('list').append(item);\n"
    "});\n"
    "document.getElementById('form').onsubmit = e => {\n"
    "  e.preventDefault();\n"
    "  const text = document.getElementById('text');\n"
    "  fetch('/send', {method: 'POST', body: text.value});\n"
    "  text.value = '';\n"
    "};\n"
    "</script>\n";

#define MESSAGE_MAX 1000 /* bytes */
#define QUEUE_MAX 16     /* messages */
#define GRACE 2.0        /* seconds that requests get to end when we stop */

/* Who listens; on its greenlet's stack. */
struct listener {
    struct listener *next;
    struct listener **link; /* what points to this one */
    unsigned first;         /* of the messages in the queue */
    unsigned n;
    gev_event come;
    char queue[QUEUE_MAX][MESSAGE_MAX + 1];
};

struct push {
    struct listener *listeners;
    double keep_alive;
};

static void put(struct listener *l, const char *message)
{
    if (l->n == QUEUE_MAX) {
        l->first = (l->first + 1) % QUEUE_MAX;
        l->n--;
    }
    strcpy(l->queue[(l->first + l->n++) % QUEUE_MAX], message);
    gev_event_set(&l->come);
}

/* Sends what comes until the client goes, or the server stops. */
static int push_to(gev_http *h, struct push *push, struct listener *l)
{
    char message[MESSAGE_MAX + 1];
    if (gev_http_event(h, NULL, NULL) < 0) {
        return -1;
    }
    for (;;) {
        gev_event_clear(&l->come);
        while (l->n > 0) {
            strcpy(message, l->queue[l->first]);
            l->first = (l->first + 1) % QUEUE_MAX;
            l->n--;
            if (gev_http_event(h, "message", message) < 0) {
                return -1;
            }
        }
        if (gev_event_wait(&l->come, push->keep_alive) == 0) {
            continue;
        }
        if (errno != ETIMEDOUT || gev_http_event(h, NULL, NULL) < 0) {
            return -1;
        }
    }
}

static int listen_to(gev_http *h, struct push *push)
{
    struct listener *l = calloc(1, sizeof(*l));
    if (l == NULL) {
        return -1;
    }
    gev_event_init(&l->come);
    l->next = push->listeners;
    l->link = &push->listeners;
    if (l->next != NULL) {
        l->next->link = &l->next;
    }
    push->listeners = l;
    int rc = push_to(h, push, l);
    *l->link = l->next;
    if (l->next != NULL) {
        l->next->link = l->link;
    }
    free(l);
    return rc;
}

static int send_to_all(gev_http *h, struct push *push)
{
    char *message;
    unsigned n = 0;
    if (strcmp(gev_http_method(h), "POST") != 0) {
        (void)gev_http_set_header(h, "Allow", "POST");
        return gev_http_reply(h, 405, "text/plain", "POST it.\n", 9);
    }
    if (gev_http_read_all(h, &message, MESSAGE_MAX) < 0) {
        return errno == EMSGSIZE
                   ? gev_http_reply(h, 413, "text/plain", "Too long.\n", 10)
                   : -1;
    }
    for (struct listener *l = push->listeners; l != NULL; l = l->next) {
        put(l, message);
        n++;
    }
    free(message);
    (void)gev_http_set_header(h, "Content-Type", "text/plain");
    return gev_http_printf(h, "sent to %u\n", n);
}

static int answer(gev_http *h, void *arg)
{
    const char *path = gev_http_path(h);
    if (strcmp(path, "/") == 0) {
        return gev_http_reply(h, 200, "text/html", page, sizeof(page) - 1);
    }
    if (strcmp(path, "/events") == 0) {
        return listen_to(h, arg);
    }
    if (strcmp(path, "/send") == 0) {
        return send_to_all(h, arg);
    }
    return gev_http_reply(h, 404, "text/plain", "Not here.\n", 10);
}

static void *stop(void *arg)
{
    (void)gev_server_stop(arg, GRACE);
    return NULL;
}

static int serve(gev_server *server, const char *address, double duration)
{
    gev_signal_handler *ends[] = {gev_signal(SIGINT, stop, server),
                                  gev_signal(SIGTERM, stop, server)};
    gev_timeout limit = {0};
    int status = EXIT_FAILURE;
    if (gev_server_start(server) < 0) {
        fprintf(stderr, "%s: %s\n", address, gev_strerror(errno));
    } else {
        printf("listening on %s port %d\n", address, gev_server_port(server));
        fflush(stdout);
        (void)gev_timeout_begin(&limit, duration);
        if (gev_server_serve(server) == 0 || errno == ETIMEDOUT) {
            status = EXIT_SUCCESS;
        } else {
            perror("serve");
        }
        (void)gev_timeout_end(&limit);
    }
    gev_signal_cancel(ends[0]);
    gev_signal_cancel(ends[1]);
    return status;
}

int main(int argc, char **argv)
{
    gev_server_opts opts = {.size = sizeof(opts), .host = "127.0.0.1"};
    struct push push = {.keep_alive = 15};
    double duration = GEV_FOREVER;
    int option;
    while ((option = next_option(argc, argv, "ha:p:k:t:")) != -1) {
        switch (option) {
        case 'a':
            opts.host = optarg;
            break;
        case 'p':
            parse_count("-p", optarg, 0, 65535);
            opts.service = optarg;
            break;
        case 'k':
            push.keep_alive = parse_number("-k", optarg, 0.001, 1e6);
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
    gev_server *server = gev_http_server_new(&opts, NULL, answer, &push);
    if (server == NULL) {
        perror("gev_http_server_new");
        return EXIT_FAILURE;
    }
    int status = serve(server, opts.host, duration);
    gev_server_free(server);
    gev_hub_close();
    return status;
}
