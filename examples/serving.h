/* SPDX-License-Identifier: MIT */
#ifndef SERVING_H
#define SERVING_H

/** @file serving.h
 *  What is around a gev_server in each of the example servers: it says where
 *  it listens, and has reasons to stop. None of it is part of gev.
 */
#include <gev.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>

/** Lies on the stack of serve(). */
struct ending {
    gev_server *server;
    double grace;
    const char *why; /* NULL: it goes on */
};

/** Stops the server, which ends serve(); the first reason counts. */
static inline void *end_serving(struct ending *e, const char *why)
{
    if (e->why == NULL) {
        e->why = why;
        (void)gev_server_stop(e->server, e->grace);
    }
    return NULL;
}

static inline void *end_at_interrupt(void *ending)
{
    return end_serving(ending, "interrupted");
}

static inline void *end_at_terminate(void *ending)
{
    return end_serving(ending, "terminated");
}

static inline void *end_at_last(void *ending)
{
    return end_serving(ending, "time is over");
}

/** Starts a server, prints where it listens, and serves until it is stopped: by
 *  SIGINT, SIGTERM, the end of its time, or one of its own handlers.
 *  @param opts      what the server was made with
 *  @param duration  seconds, or GEV_FOREVER
 *  @param grace     seconds that connections get to end by themselves
 *  @return why it stopped; NULL: it failed, and that has been said
 */
static inline const char *serve(gev_server *server, const gev_server_opts *opts,
                                double duration, double grace)
{
    struct ending ending = {.server = server, .grace = grace};
    const char *host = opts->host == NULL ? "every address" : opts->host;
    if (gev_server_start(server) < 0) {
        fprintf(stderr, "%s port %s: %s\n", host,
                opts->service == NULL ? "0" : opts->service,
                gev_strerror(errno));
        return NULL;
    }
    gev_greenlet *last = NULL;
    gev_signal_handler *interrupt =
        gev_signal(SIGINT, end_at_interrupt, &ending);
    gev_signal_handler *terminate =
        gev_signal(SIGTERM, end_at_terminate, &ending);
    if (duration < GEV_FOREVER) {
        last = gev_spawn_later(duration, end_at_last, &ending);
    }
    printf("listening on %s port %d\n", host, gev_server_port(server));
    fflush(stdout);
    const char *why = "stopped";
    if (gev_server_serve(server) < 0) {
        perror("serving");
        why = NULL;
    } else if (ending.why != NULL) {
        why = ending.why;
    }
    gev_signal_cancel(interrupt);
    gev_signal_cancel(terminate);
    gev_kill(last, GEV_FOREVER); /* NULL is fine */
    gev_unref(last);
    return why;
}

#endif
