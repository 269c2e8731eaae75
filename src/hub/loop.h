/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_LOOP_H
#define GEV_HUB_LOOP_H

/* libev's loop inside the hub. */

#include "hub/hub.h"

#include <ev.h>

/* Blocks that stand in when libev asks for memory and there is none: libev has
 * no way to report that, and aborts. */
#define GEV__EV_RESERVES 8

struct gev__ev {
    ev_timer timer;   /* armed for the earliest deadline; unref'ed */
    int64_t timer_at; /* ns it is armed for; GEV__NEVER: it is not */
    ev_io wakeup;     /* on hub->wakeup_fd; unref'ed */
    void *reserves[GEV__EV_RESERVES];
    size_t reserve_size; /* bytes in each */
    bool reserve_used;   /* one is missing */
};

/* The loop, the wake-up descriptor and our watchers. -ENOMEM, -EMFILE... */
int gev__loop_open(struct gev_hub *hub);
void gev__loop_close(struct gev_hub *hub);

/* In a forked child that keeps its running loop: a wake-up descriptor that is
 * not the parent's too. */
void gev__loop_renew_wakeup(struct gev_hub *hub);

/* Makes sure that libev finds memory for descriptors up to fd. -ENOMEM. */
int gev__loop_reserve(struct gev_hub *hub, int fd);
/* The same without opening the loop again if there is none. */
int gev__loop_reserve_memory(struct gev_hub *hub, int fd);

/* One pass: blocks if nothing is ready, until something is. What is due has
 * been made ready when it returns. */
void gev__loop_turn(struct gev_hub *hub);

/* The body of the hub greenlet. */
_Noreturn void gev__hub_main(struct gev_hub *hub);

/* Installs libev's allocator; once a process, before the first loop. */
void gev__loop_set_allocator(void);

#endif
