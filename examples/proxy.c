/* SPDX-License-Identifier: MIT */

/* A TCP proxy: each connection is forwarded to another server, both ways at
 * once, in two greenlets. The end of one direction is passed on alone
 * (half-close), and the other goes on. */
#include <gev.h>

#include "example.h"
#include "serving.h"

static const char help[] =
    "usage: proxy [-a address] [-p port] [-c connections] [-i seconds]\n"
    "             [-t seconds] [-n connections] host port\n"
    "Forwards TCP connections to host and port. Prints the port it listens\n"
    "on. SIGINT and SIGTERM end it: connections get 5 seconds.\n"
    "  -a ADDR  listen there only (127.0.0.1)\n"
    "  -p PORT  the port, or 0 for any that is free (0)\n"
    "  -c N     connections at once; others wait (1000)\n"
    "  -i S     close a connection that is idle for so many seconds (300)\n"
    "  -t S     seconds to reach the other server (10)\n"
    "  -n N     stop after so many connections (never)\n";

#define GRACE 5.0

struct proxy {
    gev_server *server;
    const char *host;
    const char *port;
    double patience;
    double idle;
    long most; /* connections; 0: no limit */
    long served;
    long failed;
    unsigned long long bytes[2]; /* to the server, and back */
};

/* One direction of a connection. */
struct direction {
    gev_stream *from;
    gev_stream *to;
    unsigned long long *bytes;
    double idle;
    double *last; /* when something moved, either way */
    bool ok;
};

/* Whether nothing has moved in the other direction either. */
static bool is_idle(const struct direction *d)
{
    return errno != ETIMEDOUT || now() - *d->last >= d->idle;
}

/* Until the end of what comes: true if that was passed on, too. */
static bool copy(struct direction *d)
{
    char buffer[16384];
    for (;;) {
        const ssize_t n = gev_stream_read(d->from, buffer, sizeof(buffer));
        if (n == 0) {
            return gev_stream_shutdown(d->to) == 0;
        }
        if (n < 0) {
            if (is_idle(d)) {
                return false;
            }
            continue;
        }
        *d->last = now();
        if (gev_stream_write(d->to, buffer, (size_t)n) < 0 ||
            gev_stream_flush(d->to) < 0) {
            return false;
        }
        *d->last = now();
        *d->bytes += (unsigned long long)n;
    }
}

static void *copy_back(void *arg)
{
    struct direction *back = arg;
    back->ok = copy(back);
    return NULL;
}

/* Both ways. If this one fails, the other has nothing to wait for. */
static bool forward(struct proxy *p, gev_stream *client, gev_stream *server)
{
    double last = now();
    struct direction there = {client,  server, &p->bytes[0],
                              p->idle, &last,  false};
    struct direction back = {server,  client, &p->bytes[1],
                             p->idle, &last,  false};
    gev_stream_settimeout(client, p->idle);
    gev_stream_settimeout(server, p->idle);
    gev_greenlet *g = gev_spawn(copy_back, &back);
    if (g == NULL) {
        return false;
    }
    there.ok = copy(&there);
    if (!there.ok || gev_join(g, GEV_FOREVER) < 0) {
        /* It uses what is on this stack: its end is waited for, whatever
         * happens to us. */
        gev_shield_begin();
        gev_kill(g, GEV_FOREVER);
        gev_shield_end();
    }
    gev_unref(g);
    return there.ok && back.ok;
}

static gev_stream *reach(const struct proxy *p)
{
    const int fd = gev_tcp_connect(p->host, p->port, p->patience);
    if (fd < 0) {
        fprintf(stderr, "%s port %s: %s\n", p->host, p->port,
                gev_strerror(errno));
        return NULL;
    }
    gev_stream *s = gev_stream_open(fd);
    if (s == NULL) {
        perror("gev_stream_open");
        gev_close(fd);
    }
    return s;
}

static void handle(gev_stream *client, const struct sockaddr *peer, void *arg)
{
    struct proxy *p = arg;
    (void)peer;
    gev_stream *server = reach(p);
    if (server == NULL || !forward(p, client, server)) {
        p->failed++;
    }
    gev_stream_abort(server);
    if (++p->served == p->most) {
        (void)gev_server_stop(p->server, GRACE);
    }
}

int main(int argc, char **argv)
{
    struct proxy p = {.patience = 10, .idle = 300};
    gev_server_opts opts = {.size = sizeof(opts),
                            .host = "127.0.0.1",
                            .service = "0",
                            .max_connections = 1000};
    int option;
    while ((option = next_option(argc, argv, "ha:p:c:i:t:n:")) != -1) {
        switch (option) {
        case 'a':
            opts.host = optarg;
            break;
        case 'p':
            parse_count("-p", optarg, 0, 65535);
            opts.service = optarg;
            break;
        case 'c':
            opts.max_connections =
                (size_t)parse_count("-c", optarg, 1, 1000000);
            break;
        case 'i':
            p.idle = parse_number("-i", optarg, 0.001, 1e6);
            break;
        case 't':
            p.patience = parse_number("-t", optarg, 0.001, 1e6);
            break;
        case 'n':
            p.most = parse_count("-n", optarg, 1, 1000000000);
            break;
        case 'h':
            return print_help(help);
        default:
            return bad_usage(argv[0]);
        }
    }
    if (optind + 2 != argc) {
        fputs("a host and a port are needed\n", stderr);
        return bad_usage(argv[0]);
    }
    p.host = argv[optind];
    p.port = argv[optind + 1];
    allow_many_files();
    p.server = gev_server_new(&opts, handle, &p);
    if (p.server == NULL) {
        perror("gev_server_new");
        return EXIT_FAILURE;
    }
    const char *why = serve(p.server, &opts, GEV_FOREVER, GRACE);
    if (why != NULL) {
        printf("%s: %ld connections, %ld failed, %llu bytes there, %llu back\n",
               p.most > 0 && p.served >= p.most ? "enough" : why, p.served,
               p.failed, p.bytes[0], p.bytes[1]);
    }
    gev_server_free(p.server);
    gev_hub_close();
    return end_output(why == NULL ? EXIT_FAILURE : EXIT_SUCCESS);
}
