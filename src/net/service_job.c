/* SPDX-License-Identifier: MIT */

/* Services: jobs. */
#include "net/service.h"

#include "hub/defer.h"

static void remove_job(struct gev__job *job)
{
    struct gev__service *v = job->service;

    gev__list_remove(&job->link);
    gev__list_remove(&job->idle_link);
    gev__greenlet_unref(job->greenlet);
    v->n_jobs--;
    gev__waitq_wake_all(&v->gate, 0);
    gev__waitq_wake_all(&v->ended, 0);
}

/* The last defer of a job's greenlet. */
static void end_job(void *arg)
{
    struct gev__job *job = arg;
    struct gev__service *v = job->service;

    remove_job(job);
    job->end(job);
    gev__service_settle(v);
    gev__service_unref(v);
}

int gev__service_spawn(struct gev__service *v, struct gev__job *job,
                       gev_fn main, const char *name)
{
    const struct gev__make make = {.fn = main,
                                   .arg = job,
                                   .site = "gev_server",
                                   .name = name,
                                   .stack_size =
                                       v->opts.stack_size * GEV__STACK_FACTOR};
    int rc = gev__service_spawn_part(v, &make, end_job, job, &job->greenlet);

    if (rc == 0) {
        job->service = v;
        gev__list_push_back(&v->jobs, &job->link);
        gev__list_init(&job->idle_link);
        v->n_jobs++;
        if (gev__unlikely(gev__service_is_full(v)) && v->n_listeners > 1) {
            gev__receivers_interrupt(v); /* those of the other descriptors */
        }
    }
    return rc;
}

struct gev__job *gev__job_own(const struct gev__service *v)
{
    gev__list_foreach(node, &v->jobs) {
        struct gev__job *job = gev__container_of(node, struct gev__job, link);
        if (job->greenlet == v->hub->current) {
            return job;
        }
    }
    return NULL;
}

void gev__jobs_forget_left_behind(struct gev__service *v)
{
    gev__list_foreach_safe(node, next, &v->jobs) {
        struct gev__job *job = gev__container_of(node, struct gev__job, link);
        if (gev__is_left_behind(job->greenlet)) {
            remove_job(job);
            v->refs--;
        }
    }
}
