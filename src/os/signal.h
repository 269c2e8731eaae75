/* SPDX-License-Identifier: MIT */
#ifndef GEV_OS_SIGNAL_H
#define GEV_OS_SIGNAL_H

/* Signals as a hub sees them: who waits for one (signal.c), and whom to spawn
 * when one comes (signal_handler.c). */

#include "base/list.h"
#include "hub/hub.h"
#include "hub/watch.h"

#include <stdint.h>

#define GEV__SIGNALS 64 /* 1 ... 64: Linux's _NSIG - 1 */

struct gev__signal_slot;

/* A hub's side. */
struct gev__signals {
    struct gev__hub_module module;
    struct gev__watch watch;       /* on the eventfd */
    struct gev__list waiters;      /* in gev_wait_signal */
    struct gev__list handlers;     /* of gev_signal_handler, oldest first */
    struct gev__list detached;     /* of the same: the parent's of a fork */
    struct gev__timer retry;       /* armed while a handler waits for memory */
    bool due;                      /* one does; then the hub is held */
    struct gev__signal_slot *slot; /* NULL: not set up */
    int fd;
};

static inline uint64_t gev__signal_bit(int signum)
{
    return UINT64_C(1) << (signum - 1);
}

/* This hub's, or NULL. */
struct gev__signals *gev__signals_find(const struct gev_hub *hub);

/* This hub's, made and set up. -ENOMEM, -EMFILE... */
int gev__signals_get(struct gev_hub *hub, struct gev__signals **ret_s);

/* What this hub wants to be told; call after every change of its lists, and
 * before the first of them is a user. */
void gev__signals_note_wanted(struct gev__signals *s);

/* One more who wants a signal, or one less: catches it with the first, and puts
 * the old disposition back with the last. -EINVAL. */
int gev__signal_add_user(int signum);
void gev__signal_remove_user(int signum);

/* --- signal_handler.c ----------------------------------------------------- */

uint64_t gev__signal_handlers_want(const struct gev__signals *s);

/* In the hub: spawns the handlers of those that came. */
void gev__signal_handlers_run(struct gev_hub *hub, struct gev__signals *s,
                              uint64_t came);

/* The hub ends: cancels all. */
void gev__signal_handlers_close(struct gev__signals *s);

/* In a forked child: they do nothing any more. */
void gev__signal_handlers_detach(struct gev__signals *s);

#endif
