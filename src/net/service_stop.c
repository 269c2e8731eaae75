/* SPDX-License-Identifier: MIT */

/* Services: the stop. */
#include "net/service.h"

#include "base/error.h"
#include "hub/kill.h"
#include "hub/sched.h"

/* Who is in a stop himself waits for others only; two of those do not wait for
 * each other. */
static bool is_spared(const struct gev__job *job, const struct gev__job *own)
{
    return job->stopping && own != NULL;
}

/* Whether its end would have come by itself; the caller's own counts as that.
 */
static bool is_cut_short(const struct gev__job *job, const struct gev__job *own)
{
    return job != own && !job->idle && !job->draining;
}

/* All jobs, or the idle ones. A kill may end one at once, and with it its place
 * on the list. */
static void kill_jobs(struct gev__service *v, const struct gev__job *own,
                      bool only_idle)
{
    struct gev__list *node = v->jobs.next;

    while (node != &v->jobs) {
        struct gev__job *job = gev__container_of(node, struct gev__job, link);
        node = node->next;
        if ((!only_idle || job->idle) && (job == own || !is_spared(job, own))) {
            v->kills += is_cut_short(job, own);
            gev__kill_anywhere(job->greenlet);
        }
    }
}

static bool are_left(const struct gev__service *v, const struct gev__job *own,
                     bool busy_ones)
{
    gev__list_foreach(node, &v->jobs) {
        const struct gev__job *job =
            gev__container_of(node, struct gev__job, link);
        if (!is_spared(job, own) && !(busy_ones && job->idle)) {
            return true;
        }
    }
    return false;
}

static int wait_for_jobs(struct gev__service *v, const struct gev__job *own,
                         int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_SERVER, .object = v};
    int rc = 0;

    while (rc == 0 && are_left(v, own, false)) {
        struct gev__wait wait;
        rc = gev__waitq_park(v->hub, &v->ended, &wait, what, deadline);
    }
    return rc;
}

/* Nothing comes any more; jobs end by themselves until the deadline. */
static int stop_jobs(struct gev__service *v, const struct gev__job *own,
                     int64_t deadline)
{
    const unsigned kills = v->kills;

    kill_jobs(v, own, true);
    if (!are_left(v, own, true)) {
        deadline = GEV__NEVER; /* idle ones end at once */
    }
    int rc = wait_for_jobs(v, own, deadline);
    bool own_timeout = gev__is_own_timeout(v->hub, rc, deadline);
    kill_jobs(v, own, false); /* the caller's own, too */
    if (own_timeout) {
        rc = wait_for_jobs(v, own, GEV__NEVER);
    }
    /* Also by others, who stop it at the same time and have less patience. */
    return rc == 0 && v->kills != kills ? -ETIMEDOUT : rc;
}

int gev__service_stop(struct gev__service *v, double timeout)
{
    int64_t deadline;

    if (v->hub != gev__hub_get()) {
        return -EPERM;
    }
    int rc = gev__deadline(v->hub, timeout, &deadline);
    if (rc < 0) {
        return rc;
    }
    v->refs++;
    v->stops++;
    gev__jobs_forget_left_behind(v);
    gev__service_shut(v, 0);
    gev__service_settle(v);
    struct gev__job *own = gev__job_own(v);
    if (own != NULL) {
        own->stopping = true;
    }
    rc = stop_jobs(v, own, deadline);
    if (own != NULL) {
        own->stopping = false;
    }
    gev__service_unref(v);
    return rc;
}

void gev__service_stop_now(struct gev__service *v)
{
    v->hub->current->shields++;
    gev__service_stop(v, 0);
    v->hub->current->shields--;
}

void gev__service_free(struct gev__service *v)
{
    v->freed = true;
    if (v->hub == gev__thread_hub) { /* else it was closed, and this with it */
        gev__service_stop_now(v);
    }
    gev__service_settle(v);
    gev__service_unref(v);
}
