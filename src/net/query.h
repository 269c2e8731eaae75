/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_QUERY_H
#define GEV_NET_QUERY_H

/* Questions in flight, and who waits for them.
 *
 *     greenlet --> query <-- greenlet       one query for all who ask the same
 *                    |
 *        asked of a channel (c-ares), or pending: see the pace in query.c
 *
 * A query is counted: by each who waits, and by the channel that will answer.
 * So it outlives waiters that were killed, and what c-ares writes has a place.
 */

#include "base/list.h"
#include "hub/hub.h"
#include "hub/timer.h"
#include "net/answer.h"

struct gev__channel;
struct gev__dns_waiter;

#define GEV__QUERY_BUCKETS 64

struct gev__queries {
    struct gev_hub *hub;
    struct gev__channel *channel;                 /* to ask; NULL: none yet */
    struct gev__list buckets[GEV__QUERY_BUCKETS]; /* not answered, by name */
    struct gev__list pending;                     /* not asked yet, in order */
    struct gev__list answered; /* whose waiters have not all run yet */
    struct gev__timer pace;    /* armed while something is pending */
    int64_t burst_began;       /* ns */
    unsigned burst_id;         /* counts bursts */
    unsigned burst;            /* packets of this burst that have no answer */
    unsigned waiting;          /* greenlets */
    struct gev__dns_waiter *mains; /* main's wait, if it is in one */
    bool sending;                  /* send_pending() is on the call stack */
    bool ending;                   /* close or fork: the waiters are gone */
};

/* What to ask for. */
enum gev__question {
    GEV__ASK_V4,
    GEV__ASK_V6,
    GEV__ASK_BOTH,
    GEV__ASK_NAME_V4, /* the name is one under in-addr.arpa... */
    GEV__ASK_NAME_V6  /* ... or ip6.arpa */
};

void gev__queries_init(struct gev__queries *qs, struct gev_hub *hub);

/* Asks, unless the same is being asked already, and parks for the answer. 0 and
 * *ret_answer, a reference for the caller; or EAI_*, with *ret_error as in
 * dns.h. There must be a channel. */
int gev__query(struct gev__queries *qs, const char *name,
               enum gev__question question, int64_t deadline,
               struct gev__answer **ret_answer, int *ret_error);

/* Asks what may be asked now; after something was answered. */
void gev__queries_go_on(struct gev__queries *qs);

/* Before the channels are closed because the hub ends or forked: nobody waits
 * any more. Drops what was not asked. */
void gev__queries_end(struct gev__queries *qs);

/* The same in a forked child, where main may go on: its look-up fails. */
void gev__queries_forked(struct gev__queries *qs);

#endif
