/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_CHANNEL_H
#define GEV_NET_CHANNEL_H

/* A c-ares channel on a hub's loop: its sockets, its timer, its memory. Written
 * to c-ares 1.18.
 *
 * c-ares's callbacks come in the hub, or inside the call of a greenlet that
 * asks something. They must neither park nor close the channel they are called
 * from; `idle` is called when c-ares is left, and may. */

#include "base/list.h"
#include "hub/hub.h"
#include "hub/timer.h"
#include "net/dnsconf.h"

/* Also of c-ares versions that would rather have us use newer calls. */
#define CARES_NO_DEPRECATED
#include <ares.h>

struct gev__channel {
    struct gev__list link; /* the resolver's */
    struct gev_hub *hub;
    ares_channel ares;
    unsigned asked; /* questions without an answer yet */
    bool retired;   /* the configuration changed: no new questions */
    bool detached;  /* the loop that watched the sockets is not ours any more */
    int64_t timeout;          /* ns that a server's first answer may take */
    struct gev__timer timer;  /* armed while something is asked */
    struct gev__list sockets; /* of struct dns_socket, in use */
    struct gev__list spares;  /* sockets closed, to be used again: one may be
                                 on the call stack while it is closed */
    void (*idle)(struct gev__channel *ch, void *arg);
    void *idle_arg;
};

/* Where to look, from nsswitch.conf, in c-ares's letters: 'f' the hosts file,
 * 'b' name servers. */
#define GEV__LOOKUPS_MAX 3

/* -ENOMEM; -EINVAL: bad server addresses. */
int gev__channel_open(struct gev_hub *hub, const struct gev__dns_conf *conf,
                      struct gev__channel **ret_channel);

/* Ends all questions with ARES_EDESTRUCTION. */
void gev__channel_close(struct gev__channel *ch);

/* Before each question: counts it, and arms the timer in time for it. -ENOMEM.
 * After it is asked, when no c-ares call is under way: settle. */
int gev__channel_begin(struct gev__channel *ch);
void gev__channel_settle(struct gev__channel *ch);

/* From the question's callback: it has its answer. */
static inline void gev__channel_done(struct gev__channel *ch)
{
    ch->asked--;
}

/* The order of look-ups, as GEV__LOOKUPS_MAX characters at most. -ENOMEM, and
 * what reading the files fails with. */
int gev__channel_lookups(const struct gev__dns_conf *conf,
                         char ret_lookups[GEV__LOOKUPS_MAX + 1]);

/* How often c-ares was refused memory so far. It forgets about some of that, so
 * that a difference over a question's life is the only way to know. */
unsigned long gev__channel_refusals(void);

#endif
