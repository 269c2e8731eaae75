/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_CANCEL_H
#define GEV_HUB_CANCEL_H

/* What makes parks fail: kills (sticky), thrown codes (once each, in order) and
 * expired scopes (until they end). One byte of alerts a greenlet says whether
 * there is any; what to do about it is decided here, once.
 *
 * Order of precedence: forbidden here, kill, thrown code, the scope with the
 * earliest deadline. A shield holds back kills, thrown codes and the scopes
 * begun outside it. */

#include "hub/greenlet.h"
#include "hub/hub.h"

/* A code to be thrown. Lives on g->throws until it is delivered. */
struct gev__throw {
    struct gev__throw *next;
    struct gev_greenlet *from; /* counted: whose end it is, or NULL */
    int code;
};

/* A timeout scope. Not inside the user's gev_timeout: that may lie in a frame
 * that is gone when the scope expires or its greenlet ends, if somebody forgot
 * to end it. The gev_timeout holds an id to find the scope by. */
struct gev__scope {
    struct gev__timer timer;
    struct gev__scope *outer; /* next on g->scopes, or on hub->free_scopes */
    struct gev_greenlet *greenlet; /* who began it */
    uint64_t id;        /* timer.seq at the begin: unique in the hub */
    const void *handle; /* its gev_timeout: compared, never followed */
    double seconds;
    int64_t deadline; /* ns, GEV__NEVER */
    int error;
    uint16_t shields; /* depth of shields when it began */
    bool expired;
};

/* Kills: sets the alert, and ends the park it may be in. */
void gev__kill(struct gev_greenlet *g);

/* Throws a code; takes the node over and frees it when it is delivered. */
void gev__throw_node(struct gev_greenlet *g, struct gev__throw *t);

/* Throws a code. -ENOMEM. */
int gev__throw(struct gev_greenlet *g, int code);

/* What a gev_timeout holds; and what an internal scope is known by. It may be
 * garbage before the begin. */
struct gev__scope_handle {
    uint64_t id;
    uint64_t expired; /* valid once ended: whether it had expired */
};

/* Begins a scope of the current greenlet. -EINVAL, -EALREADY, -ENOMEM. */
int gev__scope_begin(struct gev_hub *hub, struct gev__scope_handle *h,
                     double seconds, int error);

/* Ends it; true if it had expired. Harmless if it has ended. */
bool gev__scope_end(struct gev__scope_handle *h);

/* Marks a scope of g as expired. */
void gev__scope_expire(struct gev__scope *s);

/* After an alert was set or a shield ended: fails the park g may be in. */
void gev__alert(struct gev_greenlet *g);

/* At g's end: drops open scopes and undelivered codes. */
void gev__cancel_fini(struct gev_greenlet *g);

/* At the hub's end. */
void gev__scopes_fini(struct gev_hub *hub);

/* Expires scopes of the current greenlet whose deadline a long stretch without
 * a turn of the loop has passed. Free without scopes. */
void gev__scopes_check_slow(struct gev_hub *hub);
GEV__INLINE void gev__scopes_check(struct gev_hub *hub)
{
    if (gev__unlikely(hub->current->flags & GEV__IN_SCOPE)) {
        gev__scopes_check_slow(hub);
    }
}

#endif
