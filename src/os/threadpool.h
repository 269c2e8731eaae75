/* SPDX-License-Identifier: MIT */
#ifndef GEV_OS_THREADPOOL_H
#define GEV_OS_THREADPOOL_H

/* Thread pools, below what their jobs are about. A job is a node in memory of
 * its owner's; the pool does it in one of its threads and then says so, under
 * its lock. The pool knows no hub.
 *
 *   invariant: queued + running jobs are those added whose finish() has not yet
 *              been called.
 *   invariant: while there is a job on the queue there is a thread. */

#include "base/list.h"

#include <gev/threadpool.h>

#include <stdint.h>

struct gev__job {
    struct gev__list link; /* on the queue, else alone; under the pool's lock */
    /* In a thread of the pool, without its lock. */
    void (*work)(struct gev__job *j);
    /* Once: it was done (rc 0), or the pool ended first (-ECANCELED). The lock
     * is held; the job may be gone afterwards. */
    void (*finish)(struct gev__job *j);
    int rc;
};

/* Somebody who wants to know when a pool comes to rest. */
struct gev__pool_watch {
    struct gev__list link; /* alone when it is on no list; under the lock */
    void (*tell)(struct gev__pool_watch *w); /* once, under the lock */
};

/* -ENOMEM */
int gev__threadpool_new(size_t max, struct gev_threadpool **ret_pool);

void gev__threadpool_ref(struct gev_threadpool *p);
/* The last one frees it: by then it must have been ended, and closed. */
void gev__threadpool_unref(struct gev_threadpool *p);

/* Any thread. -EAGAIN: no thread can be started, and there is none;
 * -ECANCELED: the pool ends. */
int gev__threadpool_add(struct gev_threadpool *p, struct gev__job *j);

/* Queued and running. */
size_t gev__threadpool_count(struct gev_threadpool *p);

/* Has w told when nothing is queued nor running. False: that is so already. */
bool gev__threadpool_watch_idle(struct gev_threadpool *p,
                                struct gev__pool_watch *w);
/* Has w told when an ended pool's last thread has. False: it has. */
bool gev__threadpool_watch_end(struct gev_threadpool *p,
                               struct gev__pool_watch *w);
/* False: it has been told, or is being told. */
bool gev__threadpool_unwatch(struct gev_threadpool *p,
                             struct gev__pool_watch *w);

/* Ends a pool: what is queued is cancelled, threads end as their jobs do. */
void gev__threadpool_end(struct gev_threadpool *p);
/* Blocks until the threads of an ended pool have ended; then it is no pool any
 * more, but for its memory. */
void gev__threadpool_close(struct gev_threadpool *p);

size_t gev__threadpool_size(struct gev_threadpool *p); /* threads alive */
size_t gev__threadpool_max(struct gev_threadpool *p);
void gev__threadpool_set_max(struct gev_threadpool *p, size_t max);
/* Starts threads, or ends idle ones, to have n. -EINVAL: more than the bound;
 * -EAGAIN, -ENOMEM. */
int gev__threadpool_set_size(struct gev_threadpool *p, size_t n);
void gev__threadpool_set_idle_time(struct gev_threadpool *p, int64_t ns);

/* The pool whose thread this is, or NULL. */
struct gev_threadpool *gev__threadpool_here(void);

#endif
