/* SPDX-License-Identifier: MIT */
#ifndef GEV_OS_ERRAND_H
#define GEV_OS_ERRAND_H

/* Errands: what a hub has sent to other threads, and will hear of.
 *
 * An errand is a block of memory of its own. It is lent to another thread,
 * which does something and answers it, once; the answer is a message to the
 * hub, and the errand itself is that message: nothing is allocated. Meanwhile
 * the hub may be closed: then nobody is at home, and who answers frees it.
 *
 *   invariant: from gev__errand_begin() to gev__errand_answer() the errand is
 *              the other side's, but for link, waiter, token and arrived, which
 *              only the hub's thread touches; from its arrival on it is the
 *              hub's.
 *   invariant: each errand under way holds its hub (nobody gets EDEADLK). */

#include "base/list.h"
#include "hub/sched.h"
#include "hub/task.h"

struct gev__inbox;

struct gev__errand {
    struct gev__task task;       /* first: the answer on its way home */
    struct gev__list link;       /* on the inbox's list until it is freed */
    struct gev__inbox *home;     /* counted by who will answer */
    struct gev_greenlet *waiter; /* parked for the answer, or NULL */
    uint64_t token;              /* of its park; valid with a waiter */
    bool arrived; /* in the hub; its waiter may not have run yet */
    /* In the hub, when it arrives and nobody waits in gev__errand_wait(); NULL:
     * nothing. discard follows. -ENOMEM: tried again later. */
    int (*arrive)(struct gev_hub *hub, struct gev__errand *e);
    /* Its waiter leaves: true if it could be taken back, unanswered; NULL: it
     * never can. */
    bool (*recall)(struct gev__errand *e);
    /* Frees it, with what it brings. Any thread. */
    void (*discard)(struct gev__errand *e);
};

/* In the hub: registers a fresh one, with arrive, recall and discard set,
 * before it is handed to others. -ENOMEM. */
int gev__errand_begin(struct gev_hub *hub, struct gev__errand *e);

/* In the hub: it was not handed over after all. Does not free it. */
void gev__errand_undo(struct gev_hub *hub, struct gev__errand *e);

/* In the hub: parks until it is answered. 0: it is the caller's now, to discard
 * when read. Else the park's error: it is not the caller's any more. */
int gev__errand_wait(struct gev_hub *hub, struct gev__errand *e,
                     struct gev__wait_for what, int64_t deadline);

/* Any thread, once: sends it home. */
void gev__errand_answer(struct gev__errand *e);

/* --- the same without an errand: messages to a hub that may be closed ----- */

/* In the hub: its inbox, counted. -ENOMEM. */
int gev__inbox_get(struct gev_hub *hub, struct gev__inbox **ret_inbox);
void gev__inbox_put(struct gev__inbox *inbox);

/* Any thread: posts a task if the hub is there; -ESRCH if not. */
int gev__inbox_post(struct gev__inbox *inbox, struct gev__task *t);

#endif
