/* SPDX-License-Identifier: MIT */

/* Pushes messages to many browsers by server-sent events. All listeners read
 * from one ring of the last messages, each at its own pace: one that does not
 * read delays nobody, it loses the oldest. A browser that has lost its
 * connection says what it saw last when it is back, and gets the rest. */
#include <gev.h>
#include <gev/http.h>

#include "example.h"
#include "push_page.h"
#include "serving.h"

#include <inttypes.h>
#include <string.h>

static const char help[] =
    "usage: push_server [-a address] [-p port] [-k seconds] [-t seconds]\n"
    "Serves a page on which messages appear as they are sent: POST /send\n"
    "sends its body to all who listen at /events. Prints the port it listens\n"
    "on. SIGINT and SIGTERM end it.\n"
    "  -a ADDR  listen there only (127.0.0.1)\n"
    "  -p PORT  the port, or 0 for any that is free (0)\n"
    "  -k S     send something after so many silent seconds (15)\n"
    "  -t S     stop after so many seconds (never)\n";

#define MESSAGE_MAX 1000 /* bytes */
#define HISTORY 100      /* messages, for whoever comes later */
#define RETRY_MS 500     /* until a browser connects again */
/* Seconds that requests get to end when we stop; a listener never does. */
#define GRACE 0.2

struct message {
    uint64_t id;
    char text[MESSAGE_MAX + 1];
};

struct push {
    struct message ring[HISTORY];
    uint64_t n; /* messages ever; the next goes to ring[n % HISTORY] */
    gev_event come;
    unsigned listeners;
    double keep_alive;
};

/* Ids grow from one message to the next, also if the server is started anew:
 * they are milliseconds of the clock, and never the same. */
static uint64_t make_id(const struct push *push)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    const uint64_t id =
        (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
    const uint64_t last =
        push->n == 0 ? 0 : push->ring[(push->n - 1) % HISTORY].id;
    return id > last ? id : last + 1;
}

static void put(struct push *push, const char *text)
{
    struct message *m = &push->ring[push->n % HISTORY];
    m->id = make_id(push);
    snprintf(m->text, sizeof(m->text), "%s", text);
    push->n++;
    gev_event_set(&push->come);   /* who waits now is woken; */
    gev_event_clear(&push->come); /* who comes later has it to wait for */
}

static uint64_t find_oldest(const struct push *push)
{
    return push->n > HISTORY ? push->n - HISTORY : 0;
}

/* Where a browser goes on that has seen the messages up to this id. */
static uint64_t find_after(const struct push *push, uint64_t id)
{
    uint64_t next = find_oldest(push);
    while (next < push->n && push->ring[next % HISTORY].id <= id) {
        next++;
    }
    return next;
}

/* An event may be made of any lines before those of gev_http_event(). */
static int push_message(gev_http *h, const struct message *m)
{
    const struct message copy = *m; /* it may be overwritten while we park */
    if (gev_http_printf(h, "id: %" PRIu64 "\n", copy.id) < 0) {
        return -1;
    }
    return gev_http_event(h, NULL, copy.text);
}

/* Sends what comes until the client goes, or the server stops. */
static int push_all(gev_http *h, struct push *push)
{
    const char *seen = gev_http_header(h, "Last-Event-ID");
    uint64_t next =
        find_after(push, seen == NULL ? 0 : strtoull(seen, NULL, 10));
    if (gev_http_event(h, NULL, NULL) < 0 ||
        gev_http_printf(h, "retry: %d\n\n", RETRY_MS) < 0 ||
        gev_http_flush(h) < 0) {
        return -1;
    }
    for (;;) {
        if (next < find_oldest(push)) {
            next = find_oldest(push); /* too slow */
        }
        if (next < push->n) {
            if (push_message(h, &push->ring[next++ % HISTORY]) < 0) {
                return -1;
            }
        } else if (gev_event_wait(&push->come, push->keep_alive) < 0 &&
                   (errno != ETIMEDOUT || gev_http_event(h, NULL, NULL) < 0)) {
            return -1;
        }
    }
}

static int listen_to(gev_http *h, struct push *push)
{
    push->listeners++;
    const int rc = push_all(h, push);
    push->listeners--;
    return rc;
}

static int send_to_all(gev_http *h, struct push *push)
{
    char *text;
    if (strcmp(gev_http_method(h), "POST") != 0) {
        (void)gev_http_set_header(h, "Allow", "POST");
        return gev_http_reply(h, 405, "text/plain", "POST it.\n", 9);
    }
    if (gev_http_read_all(h, &text, MESSAGE_MAX) < 0) {
        return errno == EMSGSIZE
                   ? gev_http_reply(h, 413, "text/plain", "Too long.\n", 10)
                   : -1;
    }
    put(push, text);
    free(text);
    (void)gev_http_set_header(h, "Content-Type", "text/plain");
    return gev_http_printf(h, "sent to %u\n", push->listeners);
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

int main(int argc, char **argv)
{
    gev_server_opts opts = {.size = sizeof(opts), .host = "127.0.0.1"};
    static struct push push = {.keep_alive = 15};
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
    if (has_extra(argc, argv)) {
        return bad_usage(argv[0]);
    }
    allow_many_files();
    gev_server *server = gev_http_server_new(&opts, NULL, answer, &push);
    if (server == NULL) {
        perror("gev_http_server_new");
        return EXIT_FAILURE;
    }
    const bool ok = serve(server, &opts, duration, GRACE) != NULL;
    gev_server_free(server);
    gev_hub_close();
    return end_output(ok ? EXIT_SUCCESS : EXIT_FAILURE);
}
