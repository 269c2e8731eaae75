/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_WAIT_TYPES_H
#define GEV_HUB_WAIT_TYPES_H

/* The data of waiting for objects, without what is done with it: see owner.h,
 * waitq.h and waitable.h. */

#include "base/compiler.h"

#include <stdatomic.h>

struct gev_greenlet;
struct gev_hub;
struct gev__waitable_ops;

/* Which hub an object belongs to. All-zero: none yet. */
struct gev__owner {
    _Atomic(struct gev_hub *) hub; /* read by posters in other threads */
    const void *thread; /* identity of the hub's thread: outlives the hub */
};

/* A wait queue; all-zero is empty. */
struct gev__waitq {
    struct gev__wait *first;
    struct gev__wait *last;
};

/* A waiter's place in one queue; on the waiter's stack. */
struct gev__wait {
    struct gev__wait *next;
    struct gev__wait *prev;
    struct gev__waitq *queue; /* where it is, NULL: nowhere */
    struct gev_greenlet *greenlet;
    struct gev__wait *sibling; /* the next node of the same park */
};

/* The first member of every waitable object but the greenlet. All-zero is a
 * fresh one; ops is set by whoever makes a gev_waitable of it. */
struct gev_waitable {
    const struct gev__waitable_ops *ops;
    struct gev__owner owner;
    struct gev__waitq observers; /* of gev__observer */
};

#endif
