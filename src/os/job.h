/* SPDX-License-Identifier: MIT */
#ifndef GEV_OS_JOB_H
#define GEV_OS_JOB_H

/* Jobs that a greenlet waits for: an errand whose other side is a pool. */

#include "os/errand.h"
#include "os/threadpool.h"

/* First in a block that has all the job needs: it may outlive its caller.
 * errand.discard frees it, with what it brings and nobody took. */
struct gev__call {
    struct gev__errand errand;
    struct gev__job job;
};

static inline struct gev__call *gev__call_of_job(struct gev__job *j)
{
    return gev__container_of(j, struct gev__call, job);
}

static inline struct gev__call *gev__call_of_errand(struct gev__errand *e)
{
    return gev__container_of(e, struct gev__call, errand);
}

/* Fills a zeroed one in. */
void gev__call_init(struct gev__call *c, void (*work)(struct gev__job *j),
                    void (*discard)(struct gev__errand *e));

/* What NULL stands for: in a thread of a pool that pool, else the hub's own,
 * made if need be. -ENOMEM. */
int gev__threadpool_find(struct gev_hub *hub, const gev_threadpool *p,
                         struct gev_threadpool **ret_pool);

/* Hands it over without waiting. On failure it is discarded. */
int gev__call_send(struct gev_hub *hub, struct gev_threadpool *p,
                   struct gev__call *c);

/* Hands it over and parks. 0: it was done, and is the caller's to discard; else
 * it is not the caller's any more. -ETIMEDOUT at once if deadline is 0. */
int gev__call_run(struct gev_hub *hub, gev_threadpool *p, struct gev__call *c,
                  struct gev__wait_for what, int64_t deadline);

#endif
