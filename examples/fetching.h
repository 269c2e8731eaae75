/* SPDX-License-Identifier: MIT */
#ifndef FETCHING_H
#define FETCHING_H

/** @file fetching.h
 *  What fetch and fetch_curl share besides save.h: text from elsewhere printed
 *  without harm, a line that shows how far it is, and an end by Ctrl-C.
 */
#include <gev.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* --- Text ------------------------------------------------------------------
 */

/** What comes from the network is not to be trusted with a terminal. */
static inline void print_escaped(FILE *out, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)bytes[i];
        if (c == '\\') {
            fputs("\\\\", out);
        } else if (c == '\n') {
            fputs("\\n", out);
        } else if (c == '\r') {
            fputs("\\r", out);
        } else if (c == '\t') {
            fputs("\\t", out);
        } else if (c < ' ' || c > '~') {
            fprintf(out, "\\x%02x", c);
        } else {
            fputc(c, out);
        }
    }
}

/** The same for a string. */
static inline void print_text(FILE *out, const char *text)
{
    print_escaped(out, text, strlen(text));
}

/* --- Progress --------------------------------------------------------------
 */

/** Takes the line away that begin_progress() began. */
static inline void clear_progress(bool on)
{
    if (on) {
        fputs("\r\033[K", stderr);
    }
}

/** What is printed until end_progress() replaces the line before, and is cut
 *  off where the terminal ends. */
static inline void begin_progress(void)
{
    fputs("\r\033[K\033[?7l", stderr);
}

static inline void end_progress(void)
{
    fputs("\033[?7h", stderr);
    fflush(stderr);
}

/* --- Signals ---------------------------------------------------------------
 */

/** How SIGINT and SIGTERM end it. */
struct stop {
    gev_greenlet *main; /**< whose park they fail with EINTR */
    int signal;         /**< the one that came, or 0 */
};

/** Parks until the signal comes, and then fails the park that main is in. */
static inline void stop_on(struct stop *stop, int signum)
{
    if (gev_wait_signal(signum, GEV_FOREVER) == 0 && stop->signal == 0) {
        stop->signal = signum;
        gev_throw(stop->main, EINTR);
    }
}

static inline void *stop_on_interrupt(void *stop)
{
    stop_on(stop, SIGINT);
    return NULL;
}

static inline void *stop_on_terminate(void *stop)
{
    stop_on(stop, SIGTERM);
    return NULL;
}

/** Called by main, which the first of the two signals stops from now on; the
 *  next one ends the process, as ever.
 *  @return 0, or -1 with errno */
static inline int stop_on_signals(struct stop *stop)
{
    stop->main = gev_current();
    return gev_spawn_raw(stop_on_interrupt, stop) < 0 ||
                   gev_spawn_raw(stop_on_terminate, stop) < 0
               ? -1
               : 0;
}

/** The last thing of all: ends as who sent the signal expects us to. */
static inline void end_by_signal(const struct stop *stop)
{
    if (stop->signal != 0) {
        raise(stop->signal);
    }
}

#endif
