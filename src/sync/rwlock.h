/* SPDX-License-Identifier: MIT */
#ifndef GEV_SYNC_RWLOCK_H
#define GEV_SYNC_RWLOCK_H

#include "hub/wait_types.h"
#include "sync/holder.h"

struct gev__rwlock {
    struct gev__owner owner;
    struct gev__waitq waiters; /* of struct rwait, in rwlock.c */
    struct gev__holder writer;
    unsigned readers; /* 0 while there is a writer */
};

#endif
