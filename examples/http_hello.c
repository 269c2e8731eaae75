/* SPDX-License-Identifier: MIT */

/* An HTTP server: a greeting, an echo of what is sent to it, and an access log
 * on request. */
#include <gev.h>
#include <gev/http.h>

#include "example.h"
#include "serving.h"

#include <inttypes.h>
#include <string.h>

static const char help[] =
    "usage: http_hello [-a address] [-p port] [-t seconds] [-l]\n"
    "Answers HTTP requests: /hello?NAME greets, /echo sends the body back.\n"
    "Prints the port it listens on. SIGINT and SIGTERM end it gracefully.\n"
    "  -a ADDR  listen there only (127.0.0.1)\n"
    "  -p PORT  the port, or 0 for any that is free (0)\n"
    "  -t S     stop after so many seconds (never)\n"
    "  -l       print a line for each response\n";

#define GRACE 2.0 /* seconds that requests get to end when we stop */

static int echo(gev_http *h)
{
    char piece[1024];
    ssize_t n;
    while ((n = gev_http_read(h, piece, sizeof(piece))) > 0) {
        if (gev_http_write(h, piece, (size_t)n) < 0) {
            return -1;
        }
    }
    return n < 0 ? -1 : 0;
}

static int answer(gev_http *h, void *arg)
{
    const char *path = gev_http_path(h);
    (void)arg;
    if (strcmp(path, "/") == 0) {
        return gev_http_reply(h, 200, "text/plain", "Hello, world!\n", 14);
    }
    if (strcmp(path, "/hello") == 0) {
        if (gev_http_set_header(h, "Content-Type", "text/plain") < 0) {
            return -1;
        }
        return gev_http_printf(h, "Hello, %s!\n", gev_http_query(h));
    }
    if (strcmp(path, "/echo") == 0) {
        return echo(h);
    }
    return gev_http_reply(h, 404, "text/plain", "Not here.\n", 10);
}

static void print_line(const gev_http *h, int status, const char *why,
                       void *arg)
{
    (void)arg;
    printf("%s %s %d %" PRIu64 " %.6f%s%s\n", gev_http_method(h),
           gev_http_target(h), status, gev_http_sent(h), gev_http_seconds(h),
           why == NULL ? "" : " ", why == NULL ? "" : why);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    gev_server_opts opts = {.size = sizeof(opts), .host = "127.0.0.1"};
    gev_http_opts http = {.size = sizeof(http)};
    double duration = GEV_FOREVER;
    int option;
    while ((option = next_option(argc, argv, "ha:p:t:l")) != -1) {
        switch (option) {
        case 'a':
            opts.host = optarg;
            break;
        case 'p':
            parse_count("-p", optarg, 0, 65535);
            opts.service = optarg;
            break;
        case 't':
            duration = parse_number("-t", optarg, 0.001, 1e9);
            break;
        case 'l':
            http.log = print_line;
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
    gev_server *server = gev_http_server_new(&opts, &http, answer, NULL);
    if (server == NULL) {
        perror("gev_http_server_new");
        return EXIT_FAILURE;
    }
    const bool ok = serve(server, &opts, duration, GRACE) != NULL;
    gev_server_free(server);
    gev_hub_close();
    return end_output(ok ? EXIT_SUCCESS : EXIT_FAILURE);
}
