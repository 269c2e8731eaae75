/* SPDX-License-Identifier: MIT */

/* The server that http.sh measures: one answer, by a number of threads, each
 * with a server of its own on the same port, and on a CPU of its own. */
#include <gev.h>
#include <gev/http.h>

#include "bench.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "usage: bench_http_server -p port [-w workers]\n"
    "Answers every request with a greeting, until it is killed.\n"
    "  -p N  the port of 127.0.0.1\n"
    "  -w N  threads, 1 to 64 (1)\n";

struct place {
    char port[16];
    bool pinned;
    unsigned next_cpu;
};

static int greet(gev_http *h, void *arg)
{
    (void)arg;
    return gev_http_reply(h, 200, "text/plain", "Hello, world!\n", 14);
}

static void *serve(void *arg)
{
    struct place *place = arg;
    const gev_server_opts opts = {.size = sizeof(opts),
                                  .host = "127.0.0.1",
                                  .service = place->port,
                                  .reuse_port = true};
    gev_server *s = gev_http_server_new(&opts, NULL, greet, NULL);

    if (place->pinned) {
        bench_pin(__atomic_fetch_add(&place->next_cpu, 1, __ATOMIC_RELAXED));
    }
    bench_check(s != NULL && gev_server_serve(s) == 0, "serve");
    return NULL;
}

int main(int argc, char **argv)
{
    struct place place = {.port = ""};
    long workers = 1;
    int option;

    while ((option = bench_option(argc, argv, usage, "p:w:")) != -1) {
        if (option == 'p') {
            snprintf(place.port, sizeof(place.port), "%ld",
                     bench_number(optarg, 1, 65535));
        } else {
            workers = bench_number(optarg, 1, 64);
        }
    }
    if (place.port[0] == '\0') {
        fputs(usage, stderr);
        return BENCH_USAGE;
    }
    if (workers == 1) {
        serve(&place);
    }
    place.pinned = true;
    gev_workers *w = gev_workers_new((size_t)workers);
    bench_check(w != NULL && gev_workers_broadcast(w, serve, &place) == 0 &&
                    gev_workers_join(w, GEV_FOREVER) == 0,
                "workers");
    gev_workers_free(w);
    return EXIT_SUCCESS;
}
