/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_SCHED_H
#define GEV_HUB_SCHED_H

/* Parking and waking: the one place where a greenlet gives up the CPU.
 *
 *     spawn, start            pick                  return, exit
 *   NEW ---------> READY --------------> RUNNING ----------------> DEAD
 *    |              ^                     |   ^ |
 *    |              +------ wake ------ PARKED | |
 *    |                                         | v gev_switch
 *    +-------------- gev_switch ----------- SUSPENDED
 *
 *   invariant: on the hub's ready queue  <=> READY (or DEAD: killed before its
 *              turn, dropped when popped)
 *   invariant: state is PARKED exactly from gev__park() to the wake that ends
 *              it. The first wake wins; later ones see another state and
 *              report that they did nothing, so what they carried (a unit, an
 *              item) can go to the next waiter. A waker that can outlive the
 *              park holds a token (gev__park_token()).
 *
 * All functions below: the hub's thread. Errors are -errno. */

#include "base/clock.h"
#include "hub/greenlet.h"
#include "hub/hub.h"

#include <errno.h>

/* What a park waits for; gev_dump() prints it. */
enum gev__wait_kind {
    GEV__WAIT_NONE,
    GEV__WAIT_SLEEP,
    GEV__WAIT_JOIN,   /* object: the greenlet */
    GEV__WAIT_FD,     /* number: the descriptor; events in the low bits */
    GEV__WAIT_POLL,   /* number: how many descriptors */
    GEV__WAIT_WAITER, /* object: the gev_waiter */
    GEV__WAIT_DNS,    /* object: the name, a string that outlives the park */
    GEV__WAIT_SIGNAL, /* number: the signal */
    GEV__WAIT_CHILD,  /* number: the pid */
    GEV__WAIT_IDLE,
    GEV__WAIT_RUN,
    GEV__WAIT_CLOSE,
    /* object: the one waited for */
    GEV__WAIT_EVENT,
    GEV__WAIT_RESULT,
    GEV__WAIT_SEMAPHORE,
    GEV__WAIT_LOCK, /* the gev_lock, also an rlock's */
    GEV__WAIT_COND,
    GEV__WAIT_BARRIER,
    GEV__WAIT_RWLOCK,
    GEV__WAIT_QUEUE_GET,
    GEV__WAIT_QUEUE_PUT,
    GEV__WAIT_QUEUE_JOIN,
    GEV__WAIT_CHANNEL_SEND,
    GEV__WAIT_CHANNEL_RECV,
    GEV__WAIT_GROUP,
    GEV__WAIT_THREADPOOL,
    GEV__WAIT_PROCESS,
    GEV__WAIT_WORKERS,
    GEV__WAIT_STREAM,
    GEV__WAIT_SERVER,
    GEV__WAIT_SEVERAL, /* number: how many objects or clauses */
};

/* Added to the kind of a park that returns to the public function's caller by a
 * jump: all that is to be done after it is done by the waker. See waitq.h. */
#define GEV__WAIT_DIRECT 0x100u

/* One park's reason, kept in the greenlet while it lasts. */
struct gev__wait_for {
    enum gev__wait_kind kind;
    int events;
    union {
        const void *object;
        long number;
    };
};

/* Somebody in gev_idle; on the idler's stack. */
struct gev__idler {
    struct gev__list link; /* on hub->idlers */
    struct gev_greenlet *greenlet;
};

/* Parks the current greenlet until somebody wakes it, and returns what the
 * waker said (0, a positive result, or -errno). Fails at once, without
 * switching, if a kill, a thrown code or an expired scope is pending, or if
 * parking is forbidden here (-EPERM). */
int gev__park(struct gev_hub *hub, struct gev__wait_for what);

/* The same with a deadline: -ETIMEDOUT once it has passed, never before. A
 * deadline of 0 ("do not wait") does not park: -ETIMEDOUT. */
int gev__park_until(struct gev_hub *hub, struct gev__wait_for what,
                    int64_t deadline);

/* Whether that park's -ETIMEDOUT is its own deadline's, not a scope's. */
static inline bool gev__is_own_timeout(const struct gev_hub *hub, int rc,
                                       int64_t deadline)
{
    return rc == -ETIMEDOUT && deadline != GEV__NEVER &&
           (deadline == 0 || (hub->current->flags & GEV__TIMED_OUT));
}

/* Whether a park would fail right now, and with what: 0 or -errno. Delivers
 * (and so uses up) a thrown code. */
int gev__park_check(struct gev_hub *hub);

/* Makes a parked greenlet ready; its park returns rc. False: it was not parked
 * (any more), and nothing happened. Never switches. */
bool gev__wake(struct gev_greenlet *g, int rc);

/* For wakers that can outlive the park: the token of the next park, taken
 * before parking, and a wake that only ends that very park. */
static inline uint64_t gev__park_token(const struct gev_greenlet *g)
{
    return g->parks + 1;
}
static inline bool gev__wake_token(struct gev_greenlet *g, uint64_t token,
                                   int rc)
{
    return g->parks == token && gev__wake(g, rc);
}

/* To the end of the ready queue, letting the others run. */
int gev__yield(struct gev_hub *hub);

/* At least until the deadline (not GEV__NEVER: use gev__park). */
int gev__sleep_until(struct gev_hub *hub, int64_t deadline);

/* Puts the hub greenlet on the ready queue: it has work to do. */
void gev__hub_kick(struct gev_hub *hub);

/* The same from the hub greenlet itself, which wants to run again after those
 * that are ready now. */
void gev__hub_requeue(struct gev_hub *hub);

/* Takes the next greenlet to run off the ready queue; the hub greenlet if there
 * is none, or if the loop is due to be polled. */
struct gev_greenlet *gev__pick(struct gev_hub *hub);

/* Turns a public timeout into a deadline: GEV__NEVER, 0 for "do not wait", or
 * an absolute time. -EINVAL for NaN. */
int gev__deadline_finite(struct gev_hub *hub, double seconds,
                         int64_t *ret_deadline);
GEV__INLINE int gev__deadline(struct gev_hub *hub, double seconds,
                              int64_t *ret_deadline)
{
    if (gev__likely(seconds == GEV_FOREVER)) {
        *ret_deadline = GEV__NEVER;
        return 0;
    }
    return gev__deadline_finite(hub, seconds, ret_deadline);
}

#endif
