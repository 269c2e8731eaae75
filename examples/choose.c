/* SPDX-License-Identifier: MIT */

/* Waiting for the first of several things: producers that send at their own
 * pace, a channel that says "quit", and a time after which nothing is expected
 * any more. */
#include <gev.h>

#include "example.h"

#include <stdint.h>

static const char help[] =
    "usage: choose [-n numbers] [-i ms] [-q ms] [-t ms]\n"
    "Two producers send numbers, the second at half the pace; one loop\n"
    "receives from both until both are done, it is told to quit, or nothing\n"
    "came for a while.\n"
    "  -n N  how many numbers each sends (5)\n"
    "  -i N  milliseconds between the first one's (10)\n"
    "  -q N  quit after so many milliseconds (never)\n"
    "  -t N  give up when nothing came for so many milliseconds (1000)\n";

struct producer {
    gev_channel *out;
    long count;
    double interval;
};

static void *produce(void *arg)
{
    struct producer *p = arg;
    for (uintptr_t i = 1; i <= (uintptr_t)p->count; i++) {
        if (gev_sleep(p->interval) < 0 ||
            gev_channel_send(p->out, (void *)i, GEV_FOREVER) < 0) {
            return gev_fail(errno);
        }
    }
    gev_channel_close(p->out); /* no more */
    return NULL;
}

static void *send_quit(void *quit)
{
    /* Nobody may listen any more, and that is fine. */
    gev_channel_send(quit, NULL, GEV_FOREVER);
    return NULL;
}

static const char *consume(const struct producer p[2], gev_channel *quit,
                           double patience, unsigned long received[2])
{
    /* The first that can be done is done: to quit comes before all. */
    gev_clause clause[] = {
        {.op = GEV_RECV, .channel = quit},
        {.op = GEV_RECV, .channel = p[0].out},
        {.op = GEV_RECV, .channel = p[1].out},
    };
    int open = 2;
    while (open > 0) {
        int which = gev_choose(clause, 3, patience);
        if (which == 0) {
            return "told to quit";
        }
        if (which > 0) {
            printf("%s: %lu\n", which == 1 ? "fast" : "slow",
                   (unsigned long)(uintptr_t)clause[which].item);
            received[which - 1]++;
            continue;
        }
        if (errno != EPIPE) {
            return errno == ETIMEDOUT ? "nothing came" : gev_strerror(errno);
        }
        for (int i = 1; i <= 2; i++) {
            if (clause[i].error != 0) {
                clause[i].channel = NULL; /* it is closed: never again */
                open--;
            }
        }
    }
    return "all came";
}

int main(int argc, char **argv)
{
    struct producer p[2] = {{.count = 5, .interval = 0.01}};
    double quit_after = GEV_FOREVER;
    double patience = 1;
    int option;
    while ((option = next_option(argc, argv, "hn:i:q:t:")) != -1) {
        switch (option) {
        case 'n':
            p[0].count = parse_count("-n", optarg, 0, 1000000);
            break;
        case 'i':
            p[0].interval = parse_number("-i", optarg, 0, 1e6) / 1000;
            break;
        case 'q':
            quit_after = parse_number("-q", optarg, 0, 1e6) / 1000;
            break;
        case 't':
            patience = parse_number("-t", optarg, 1, 1e6) / 1000;
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

    p[1] = p[0];
    p[1].interval *= 2;
    gev_channel *quit = gev_channel_new(0);
    int rc = quit == NULL ? -1 : 0;
    for (int i = 0; i < 2 && rc == 0; i++) {
        p[i].out = gev_channel_new(0);
        rc = p[i].out == NULL ? -1 : gev_spawn_raw(produce, &p[i]);
    }
    gev_greenlet *timer =
        rc == 0 ? gev_spawn_later(quit_after, send_quit, quit) : NULL;
    if (timer == NULL) {
        perror("choose");
        return EXIT_FAILURE;
    }
    gev_unref(timer);

    unsigned long received[2] = {0, 0};
    const char *why = consume(p, quit, patience, received);
    printf("%s: %lu and %lu numbers\n", why, received[0], received[1]);

    gev_hub_close(); /* ends the producers, who use the channels */
    gev_channel_free(p[0].out);
    gev_channel_free(p[1].out);
    gev_channel_free(quit);
    return end_output(EXIT_SUCCESS);
}
