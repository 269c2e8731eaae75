/* SPDX-License-Identifier: MIT */

/* Services: the limit on how long a job may be idle. It is the same for all, so
 * the order in which they became idle is that of their deadlines: one greenlet
 * sleeps until the first of them, and becoming idle or busy costs a list's
 * link, no timer. */
#include "net/service.h"

#include "base/clock.h"
#include "base/error.h"
#include "hub/kill.h"
#include "hub/sched.h"

static bool has_limit(const struct gev__service *v)
{
    return v->opts.idle_timeout > 0 && v->opts.idle_timeout != GEV_FOREVER;
}

static struct gev__job *first_idler(const struct gev__service *v)
{
    struct gev__list *node = gev__list_first(&v->idlers);

    return node == NULL ? NULL
                        : gev__container_of(node, struct gev__job, idle_link);
}

static void add_idler(struct gev__job *job)
{
    struct gev__service *v = job->service;

    gev__deadline(v->hub, v->opts.idle_timeout, &job->idle_until);
    gev__list_push_back(&v->idlers, &job->idle_link);
}

void gev__job_set_idle(struct gev__job *job, bool idle)
{
    struct gev__service *v = job->service;

    if (idle == job->idle) {
        return;
    }
    job->idle = idle;
    if (!has_limit(v)) {
        return;
    }
    if (!idle) {
        gev__list_remove(&job->idle_link);
        return;
    }
    add_idler(job);
    gev__waitq_wake_all(&v->idled, 0);
}

/* As a stop ends them. One that was given something in this very turn, and has
 * not run yet, is idle no more. */
static void end_due(struct gev__service *v)
{
    const int64_t now = gev__clock_now();
    struct gev__job *job;

    while ((job = first_idler(v)) != NULL && job->idle_until <= now) {
        gev__list_remove(&job->idle_link);
        if (job->greenlet->state == GEV__READY) {
            add_idler(job);
        } else {
            gev__kill_anywhere(job->greenlet);
        }
    }
}

static void *tick(void *arg)
{
    struct gev__service *v = arg;
    const struct gev_greenlet *self = v->hub->current;
    const struct gev__wait_for what = {.kind = GEV__WAIT_SERVER, .object = v};
    int64_t until = GEV__NEVER;
    int rc = 0;

    while (rc >= 0 || gev__is_own_timeout(v->hub, rc, until)) {
        struct gev__wait wait;
        end_due(v);
        const struct gev__job *first = first_idler(v);
        /* Who is idle already waits for this greenlet alone. */
        until = first == NULL ? GEV__NEVER : first->idle_until;
        rc = first == NULL
                 ? gev__waitq_park(v->hub, &v->idled, &wait, what, GEV__NEVER)
                 : gev__park_until(v->hub, what, until);
        if (rc == -ENOMEM) {
            rc = gev__service_rest(v);
        }
        if (v->ticker != self) {
            return NULL; /* stopped meanwhile */
        }
    }
    gev__service_shut(v, rc);
    return NULL;
}

static void end_ticker(void *arg)
{
    struct gev__service *v = arg;

    gev__service_part_ended(v, &v->ticker);
}

int gev__ticker_start(struct gev__service *v)
{
    const struct gev__make make = {
        .fn = tick, .arg = v, .site = "gev_server", .name = "idle limit"};

    return has_limit(v)
               ? gev__service_spawn_part(v, &make, end_ticker, v, &v->ticker)
               : 0;
}

int gev__ticker_restart(struct gev__service *v)
{
    struct gev_greenlet *old = v->ticker;

    if (old == NULL || !gev__is_left_behind(old)) {
        return 0;
    }
    int rc = gev__ticker_start(v);
    if (rc == 0) {
        v->refs--;
        gev__greenlet_unref(old);
    }
    return rc;
}
