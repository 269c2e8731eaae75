/* SPDX-License-Identifier: MIT */

/* Services: options, greenlets, the start. */
#include "net/service.h"

#include "base/alloc.h"
#include "base/error.h"
#include "hub/defer.h"
#include "hub/kill.h"
#include "hub/sched.h"
#include "net/spare.h"

#include <string.h>

/* --- options -------------------------------------------------------------- */

static int copy_text(const char **text)
{
    if (*text == NULL) {
        return 0;
    }
    *text = gev__strdup(*text);
    return *text == NULL ? -ENOMEM : 0;
}

static void free_text(const char *text)
{
    gev__free((void *)(uintptr_t)text);
}

/* Each in its own memory; none, or all. */
static int copy_texts(gev_server_opts *o)
{
    const gev_server_opts given = *o;

    o->host = NULL;
    o->service = NULL;
    o->unix_path = NULL;
    const char *const from[] = {given.host, given.service, given.unix_path};
    const char **const to[] = {&o->host, &o->service, &o->unix_path};
    for (size_t i = 0; i < gev__array_len(from); i++) {
        *to[i] = from[i];
        if (copy_text(to[i]) < 0) {
            free_text(o->host);
            free_text(o->service);
            return -ENOMEM;
        }
    }
    return 0;
}

static bool is_contradictory(const gev_server_opts *o, int type)
{
    bool by_name = o->host != NULL || o->service != NULL;
    int places = by_name + (o->unix_path != NULL) + (o->listen_fd > 0);

    return places > 1 || o->listen_fd < 0 || o->backlog < 0 ||
           (o->reuse_port && (o->unix_path != NULL || o->listen_fd > 0)) ||
           (type == SOCK_DGRAM && o->tls != NULL);
}

static bool are_times(const gev_server_opts *o)
{
    /* NaN is not. */
    return o->read_timeout >= 0 && o->write_timeout >= 0 &&
           o->idle_timeout >= 0;
}

int gev__service_init(struct gev__service *v,
                      const struct gev__service_ops *ops,
                      const gev_server_opts *opts, void *arg)
{
    *v = (struct gev__service){.ops = ops, .arg = arg, .refs = 1};
    int rc = gev__hub_find(&v->hub);
    if (rc < 0) {
        return rc;
    }
    gev__list_init(&v->jobs);
    gev__list_init(&v->idlers);
    if (opts != NULL) {
        /* An older program's struct is shorter. */
        size_t size = opts->size == 0 ? sizeof(*opts) : opts->size;
        memcpy(&v->opts, opts, size < sizeof(*opts) ? size : sizeof(*opts));
        v->opts.size = sizeof(v->opts);
    }
    if (is_contradictory(&v->opts, ops->type) || !are_times(&v->opts)) {
        return -EINVAL;
    }
    return copy_texts(&v->opts);
}

void gev__service_fini(struct gev__service *v)
{
    free_text(v->opts.host);
    free_text(v->opts.service);
    free_text(v->opts.unix_path);
}

void gev__service_unref(struct gev__service *v)
{
    if (--v->refs == 0) {
        v->ops->release(v);
    }
}

/* --- greenlets ------------------------------------------------------------ */

int gev__service_spawn_part(struct gev__service *v,
                            const struct gev__make *make, void (*end)(void *),
                            void *arg, struct gev_greenlet **ret_g)
{
    struct gev_greenlet *g;
    int rc = gev__greenlet_make(v->hub, make, &g);

    if (rc < 0) {
        return rc;
    }
    rc = gev__defer_add(g, end, arg);
    if (rc < 0) {
        gev__greenlet_cancel(g, ECANCELED);
        gev__greenlet_unref(g);
        return rc;
    }
    v->refs++;
    gev__greenlet_start(g);
    *ret_g = g;
    return 0;
}

void gev__service_end_part(struct gev__service *v, struct gev_greenlet **part)
{
    struct gev_greenlet *g = *part;

    *part = NULL;
    if (g == NULL) {
        return;
    }
    if (gev__is_left_behind(g)) {
        v->refs--;
    } else if (g != v->hub->current) {
        gev__kill_anywhere(g);
    }
    gev__greenlet_unref(g);
}

void gev__service_part_ended(struct gev__service *v, struct gev_greenlet **part)
{
    struct gev_greenlet *g = *part;

    /* The next one's, after a stop and a start, is still to come. */
    if (g != NULL && g->defers == NULL) {
        *part = NULL;
        gev__service_shut(v, -ECANCELED);
        gev__greenlet_unref(g);
    }
    gev__service_unref(v);
}

/* --- states --------------------------------------------------------------- */

static bool takes_connections(const struct gev__service *v)
{
    return v->ops->type == SOCK_STREAM;
}

/* No handler runs any more, nor will. What is left of the service knows nothing
 * of its argument. */
static void release_arg(struct gev__service *v)
{
    void (*release)(void *arg) = v->opts.release;

    v->opts.release = NULL;
    if (release != NULL) {
        release(v->arg);
    }
}

void gev__service_settle(struct gev__service *v)
{
    if (v->n_jobs > 0) {
        return;
    }
    if (v->state == GEV__SERVICE_OFF) {
        gev__listeners_close(v);
        v->state = GEV__SERVICE_NEW;
        gev__waitq_wake_all(&v->served, 0);
    }
    if (v->freed) {
        release_arg(v);
    }
}

void gev__service_shut(struct gev__service *v, int error)
{
    if (v->state != GEV__SERVICE_ON) {
        return;
    }
    v->state = GEV__SERVICE_OFF;
    v->error = error;
    gev__receivers_end(v);
    gev__service_end_part(v, &v->ticker);
    if (takes_connections(v)) {
        gev__listeners_close(v);
        gev__spare_release();
    }
    gev__waitq_wake_all(&v->served, 0);
    gev__service_settle(v);
}

static int start_parts(struct gev__service *v, const int *fds, size_t n)
{
    int rc = gev__receivers_start(v, fds, n);

    if (rc == 0) {
        rc = gev__ticker_start(v);
        if (rc < 0) {
            gev__receivers_end(v);
            v->n_listeners = 0;
        }
    }
    return rc;
}

/* In a forked child, which has the descriptors, but no greenlets. */
static int start_left_behind(struct gev__service *v)
{
    gev__jobs_forget_left_behind(v); /* they would count as connections */
    int rc = gev__receivers_restart(v);
    return rc < 0 ? rc : gev__ticker_restart(v);
}

static int start(struct gev__service *v)
{
    int fds[GEV__LISTENERS];
    unsigned stops = v->stops;
    int n = gev__listeners_open(v, fds);

    /* While the name was looked up, others may have been at it. */
    if (v->state == GEV__SERVICE_NEW && n >= 0) {
        int rc = v->freed || v->stops != stops ? -ECANCELED
                                               : start_parts(v, fds, (size_t)n);
        if (rc == 0) {
            v->opts.listen_fd = -(v->opts.listen_fd > 0); /* ours, once */
            v->state = GEV__SERVICE_ON;
            v->paused = false;
            v->error = 0;
            v->runs++;
            if (takes_connections(v)) {
                gev__spare_hold();
            }
            return 0;
        }
        if (v->opts.listen_fd <= 0) {
            gev__listeners_discard(v, fds, (size_t)n);
        }
        return rc;
    }
    if (n > 0 && v->opts.listen_fd == 0) {
        gev__listeners_discard(v, fds, (size_t)n);
    }
    return v->state == GEV__SERVICE_ON    ? 0
           : v->state == GEV__SERVICE_OFF ? -EBUSY
                                          : n;
}

int gev__service_start(struct gev__service *v)
{
    if (v->hub != gev__hub_get()) {
        return -EPERM;
    }
    if (v->state == GEV__SERVICE_ON) {
        return start_left_behind(v);
    }
    if (v->state == GEV__SERVICE_OFF) {
        return -EBUSY;
    }
    v->refs++;
    int rc = start(v);
    gev__service_unref(v);
    return rc;
}

int gev__service_pause(struct gev__service *v, bool paused)
{
    if (v->hub != gev__hub_get()) {
        return -EPERM;
    }
    if (v->state != GEV__SERVICE_ON) {
        return -ENOTCONN;
    }
    v->paused = paused;
    if (paused) {
        gev__receivers_interrupt(v);
    } else {
        gev__waitq_wake_all(&v->gate, 0);
    }
    return 0;
}

/* --- the whole of it ------------------------------------------------------ */

/* Until the stop is complete. One of its own jobs, which the stop waits for, is
 * told at once; so is all who serve what broke: nobody else would end it. */
static bool is_serving(const struct gev__service *v, unsigned run,
                       bool is_own_job)
{
    return v->runs == run &&
           (v->state == GEV__SERVICE_ON ||
            (v->state == GEV__SERVICE_OFF && v->error == 0 && !is_own_job));
}

static int serve(struct gev__service *v)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_SERVER, .object = v};
    const unsigned run = v->runs;
    const bool is_own_job = gev__job_own(v) != NULL;

    while (is_serving(v, run, is_own_job)) {
        struct gev__wait wait;
        int rc = gev__waitq_park(v->hub, &v->served, &wait, what, GEV__NEVER);
        if (rc < 0) {
            gev__service_stop_now(v);
            return rc;
        }
    }
    return v->runs == run ? v->error : 0;
}

int gev__service_serve(struct gev__service *v)
{
    int rc = gev__service_start(v);

    if (rc == 0) {
        v->refs++;
        rc = serve(v);
        gev__service_unref(v);
    }
    return rc;
}
