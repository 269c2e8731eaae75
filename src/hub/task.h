/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_TASK_H
#define GEV_HUB_TASK_H

/* Work for the hub that comes from elsewhere: messages from any thread, and
 * what had no memory when its turn came and is tried again. */

#include "hub/hub.h"

/* A message; first in memory of its own, or of what it is about. */
struct gev__task {
    struct gev__task *next;
    /* In the hub. It may free or post the task again. -ENOMEM: call it again in
     * a while. Must not park. */
    int (*run)(struct gev_hub *hub, struct gev__task *t);
    /* The hub ends, or this is a forked child: frees it unserved. */
    void (*drop)(struct gev__task *t);
};

/* Any thread: has it run in that hub, in the order posted by each thread.
 * Allocates nothing. The hub must not be gone: see gev_hub_ref(). */
void gev__task_post(struct gev_hub *hub, struct gev__task *t);

/* Any thread: has fn(object, value, number) called in that hub. -ENOMEM. What
 * the _post functions of objects are made of. */
int gev__post_call(struct gev_hub *hub,
                   void (*fn)(void *object, void *value, int number),
                   void *object, void *value, int number);

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
