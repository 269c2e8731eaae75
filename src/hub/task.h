/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_TASK_H
#define GEV_HUB_TASK_H

/* Work for the hub that comes from elsewhere: messages from any thread, and
 * what had no memory when its turn came and is tried again. */

#include "hub/hub.h"

struct gev__task {
    struct gev__task *next;
    void (*fn)(void *); /* a call; or, if NULL, spawn(arg) is to be spawned */
    gev_fn spawn;
    void *arg;
};

/* In the hub: takes what was posted and does it, in order. */
void gev__tasks_run(struct gev_hub *hub);

/* Whether something was posted (or waits for memory). */
bool gev__tasks_pending(struct gev_hub *hub);

/* Something had no memory: has the hub look again in a little while. */
void gev__tasks_retry(struct gev_hub *hub);

/* Drops what is left, unserved. */
void gev__tasks_fini(struct gev_hub *hub);

/* Any thread, also a signal handler: wakes the hub if its loop blocks. */
void gev__hub_wake(struct gev_hub *hub);

#endif
