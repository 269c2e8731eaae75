/* SPDX-License-Identifier: MIT */

/* Choosing among sends and receives: a node in each channel's queue, and the
 * first that is served wakes the greenlet, so the others are as good as gone.
 */

#include "base/alloc.h"
#include "base/error.h"
#include "hub/sched.h"
#include "sync/channel.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* So many clauses need no allocation. */
#define CLAUSES_ON_STACK ((size_t)8)

static int check_all(struct gev_hub *hub, gev_clause clause[], size_t n,
                     double timeout)
{
    if (isnan(timeout) || (clause == NULL && n > 0) || n > INT_MAX / 2) {
        return -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        if (clause[i].channel == NULL) {
            continue;
        }
        if (clause[i].op != GEV_SEND && clause[i].op != GEV_RECV) {
            return -EINVAL;
        }
        int rc = gev__waitable_bind(&clause[i].channel->waitable, hub);
        if (rc < 0) {
            return rc;
        }
    }
    for (size_t i = 0; i < n; i++) {
        clause[i].error = 0;
    }
    return 0;
}

/* The first that can be done now: its index, -EPIPE, or -EAGAIN. */
static int try_all(struct gev_hub *hub, gev_clause clause[], size_t n,
                   double timeout)
{
    for (size_t i = 0; i < n; i++) {
        struct gev_channel *c = clause[i].channel;
        if (c == NULL) {
            continue;
        }
        int rc = clause[i].op == GEV_SEND
                     ? gev__channel_try_send(c, clause[i].item)
                     : gev__channel_try_recv(c, &clause[i].item);
        if (rc == -EAGAIN) {
            continue;
        }
        if (rc == -EPIPE) {
            clause[i].error = EPIPE;
            return rc;
        }
        if (rc > 0 && timeout > 0) {
            rc = gev__channel_let_run(hub);
        }
        return rc < 0 ? rc : (int)i;
    }
    return -EAGAIN;
}

/* Those who observe a channel learn that somebody is about to send. */
static int announce_all(struct gev_hub *hub, const gev_clause clause[],
                        size_t n)
{
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        if (clause[i].channel != NULL && clause[i].op == GEV_SEND) {
            rc = gev__channel_announce(hub, clause[i].channel);
        }
    }
    return rc;
}

/* Puts a node into each channel's queue; the first of them. */
static struct gev__wait *enter_all(struct gev_hub *hub,
                                   const gev_clause clause[], size_t n,
                                   struct gev__channel_wait nodes[])
{
    struct gev__wait *first = NULL;
    struct gev__wait **link = &first;

    for (size_t i = 0; i < n; i++) {
        struct gev_channel *c = clause[i].channel;
        if (c == NULL) {
            continue;
        }
        nodes[i].item = clause[i].item;
        nodes[i].done = (int)i * 2;
        nodes[i].wait.greenlet = hub->current;
        nodes[i].wait.sibling = NULL;
        gev__waitq_push(clause[i].op == GEV_SEND ? &c->senders : &c->receivers,
                        &nodes[i].wait);
        *link = &nodes[i].wait;
        link = &nodes[i].wait.sibling;
    }
    return first;
}

static int park(struct gev_hub *hub, gev_clause clause[], size_t n,
                struct gev__channel_wait nodes[], int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_SEVERAL,
                                       .number = (long)n};
    int rc = announce_all(hub, clause, n);

    if (rc < 0) {
        return rc;
    }
    rc = gev__waits_park(hub, enter_all(hub, clause, n, nodes), what, deadline);
    if (rc < 0) {
        return rc;
    }
    int i = rc / 2;
    if (rc % 2 != 0) {
        clause[i].error = EPIPE;
        return -EPIPE;
    }
    clause[i].item = nodes[i].item;
    return i;
}

static int choose(struct gev_hub *hub, gev_clause clause[], size_t n,
                  double timeout)
{
    struct gev__channel_wait on_stack[CLAUSES_ON_STACK];
    struct gev__channel_wait *nodes = on_stack;
    int64_t deadline;
    int rc = check_all(hub, clause, n, timeout);

    if (rc == 0) {
        rc = try_all(hub, clause, n, timeout);
    }
    if (rc != -EAGAIN) {
        return rc;
    }
    rc = gev__deadline(hub, timeout, &deadline);
    if (rc < 0 || deadline == 0) {
        return rc < 0 ? rc : -ETIMEDOUT;
    }
    /* A park that is bound to fail fails here: it may be the end of one that
     * never heeds it, who must have no memory then. */
    rc = hub->current->alerts == 0 ? 0 : gev__park_check(hub);
    if (rc < 0) {
        return rc;
    }
    if (n > CLAUSES_ON_STACK) {
        nodes = gev__calloc(n, sizeof(*nodes));
        if (nodes == NULL) {
            return -ENOMEM;
        }
    }
    rc = park(hub, clause, n, nodes, deadline);
    if (nodes != on_stack) {
        gev__free(nodes);
    }
    return rc;
}

/* --- public --------------------------------------------------------------- */

int gev_choose(gev_clause clause[], size_t n, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(choose(hub, clause, n, timeout));
}
