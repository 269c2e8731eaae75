/* SPDX-License-Identifier: MIT */

/* The smallest program with greenlets: two of them talk at the same time. */
#include <gev.h>

#include "example.h"

static const char help[] =
    "usage: hello\n"
    "Two greenlets say something at their own pace, in one thread.\n";

struct speaker {
    const char *line;
    double pause; /* seconds */
};

static void *speak(void *arg)
{
    const struct speaker *self = arg;
    for (int i = 1; i <= 3; i++) {
        printf("%s %d\n", self->line, i);
        /* Others run while this one sleeps. A kill would end the sleep. */
        if (gev_sleep(self->pause) < 0) {
            return gev_fail(errno);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const int option = next_option(argc, argv, "h");
    if (option == 'h') {
        return print_help(help);
    }
    if (option != -1 || has_extra(argc, argv)) {
        return bad_usage(argv[0]);
    }

    struct speaker hello = {"hello", 0.02};
    struct speaker world = {"     world", 0.03};
    gev_greenlet *both[] = {
        gev_spawn(speak, &hello), /* they start when main parks ... */
        gev_spawn(speak, &world),
    };
    if (both[0] == NULL || both[1] == NULL) {
        perror("gev_spawn");
        return EXIT_FAILURE;
    }
    gev_joinall(both, 2, GEV_FOREVER); /* ... which is here */

    const bool good = gev_successful(both[0]) && gev_successful(both[1]);
    gev_unrefall(both, 2);
    gev_hub_close();
    return end_output(good ? EXIT_SUCCESS : EXIT_FAILURE);
}
