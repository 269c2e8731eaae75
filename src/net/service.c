/* SPDX-License-Identifier: MIT */
#include "net/service.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/sys.h"
#include "hub/cancel.h"
#include "hub/defer.h"
#include "hub/fd.h"
#include "hub/join.h"
#include "hub/task.h"
#include "net/listen.h"
#include "net/socket.h"

#include <netinet/in.h>
#include <string.h>

#define BACKLOG 1024
#define UNIX_MODE 0600

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

int gev__service_init(struct gev__service *v,
                      const struct gev__service_ops *ops,
                      const gev_server_opts *opts)
{
    *v = (struct gev__service){.ops = ops, .hub = gev__hub_get(), .refs = 1};
    if (v->hub == NULL) {
        return -ENOMEM;
    }
    gev__list_init(&v->jobs);
    if (opts != NULL) {
        /* An older program's struct is shorter. */
        size_t size = opts->size == 0 ? sizeof(*opts) : opts->size;
        memcpy(&v->opts, opts, size < sizeof(*opts) ? size : sizeof(*opts));
        v->opts.size = sizeof(v->opts);
    }
    if (is_contradictory(&v->opts, ops->type)) {
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

/* --- the descriptor ------------------------------------------------------- */

static int adopt_listener(struct gev__service *v)
{
    int fd = v->opts.listen_fd;
    struct gev__fd *entry;
    int rc = fd == -1 ? -EBADF : gev__fd_adopt(v->hub, fd, &entry);

    if (rc == 0 && v->ops->type == SOCK_STREAM) {
        rc = gev__sys_listen(fd, v->opts.backlog);
    }
    return rc < 0 ? rc : fd;
}

static int open_descriptor(struct gev__service *v)
{
    const gev_server_opts *o = &v->opts;

    if (o->listen_fd != 0) {
        return adopt_listener(v);
    }
    int backlog = o->backlog == 0 ? BACKLOG : o->backlog;
    if (o->unix_path != NULL) {
        return gev__bind_path(v->hub, v->ops->type, o->unix_path, backlog,
                              UNIX_MODE);
    }
    return gev__bind_name(v->hub, v->ops->type, o->host, o->service, backlog,
                          o->reuse_port);
}

/* After a failed start: the caller's own is left alone. */
static void give_descriptor_back(struct gev__service *v, int fd)
{
    if (v->opts.listen_fd > 0) {
        return;
    }
    if (v->opts.unix_path != NULL) {
        gev__sys_unlink(v->opts.unix_path);
    }
    gev__close(v->hub, fd);
}

static void close_descriptor(struct gev__service *v)
{
    if (v->opts.unix_path != NULL) {
        gev__sys_unlink(v->opts.unix_path);
    }
    gev__close(v->hub, v->fd);
}

int gev__service_port(const struct gev__service *v)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);

    if (v->state != GEV__SERVICE_ON ||
        gev__sys_getsockname(v->fd, (struct sockaddr *)&addr, &len) < 0) {
        return -ENOTCONN;
    }
    if (addr.ss_family == AF_INET) {
        return ntohs(((struct sockaddr_in *)(void *)&addr)->sin_port);
    }
    if (addr.ss_family == AF_INET6) {
        return ntohs(((struct sockaddr_in6 *)(void *)&addr)->sin6_port);
    }
    return -ENOTCONN;
}

/* --- receiving ------------------------------------------------------------ */

static bool is_open(const struct gev__service *v)
{
    return !v->paused && (v->opts.max_connections == 0 ||
                          v->n_jobs < v->opts.max_connections);
}

/* No job comes any more; who serves is told why. */
static void shut(struct gev__service *v, int error)
{
    if (v->state != GEV__SERVICE_ON) {
        return;
    }
    v->state = GEV__SERVICE_OFF;
    v->error = error;
    close_descriptor(v);
    gev__waitq_wake_all(&v->served, 0);
    v->receiver = NULL;
    if (v->n_jobs == 0) {
        v->state = GEV__SERVICE_NEW;
    }
}

/* Things received at once before others get their turn. */
#define BATCH 100

static void *receive(void *arg)
{
    struct gev__service *v = arg;
    const struct gev_greenlet *self = v->hub->current;
    const struct gev__wait_for what = {.kind = GEV__WAIT_SERVER, .object = v};
    unsigned n = 0;
    int rc = 0;

    while (rc >= 0 || rc == -EAGAIN) {
        struct gev__wait wait;
        if (++n % BATCH == 0) {
            rc = gev__yield(v->hub);
        } else if (!is_open(v)) {
            rc = gev__waitq_park(v->hub, &v->gate, &wait, what, GEV__NEVER);
        } else {
            rc = v->ops->receive(v);
        }
        if (v->receiver != self) {
            return NULL; /* stopped meanwhile */
        }
    }
    shut(v, rc);
    return NULL;
}

static void end_receiver(void *service)
{
    gev__service_unref(service);
}

/* A greenlet of which nothing runs if it cannot be started whole. */
static int spawn(struct gev__service *v, const struct gev__make *make,
                 void (*end)(void *), void *arg, struct gev_greenlet **ret_g)
{
    int rc = gev__greenlet_make(v->hub, make, ret_g);

    if (rc < 0) {
        return rc;
    }
    rc = gev__defer_add(*ret_g, end, arg);
    if (rc < 0) {
        gev__greenlet_cancel(*ret_g, ECANCELED);
    } else {
        v->refs++;
        gev__greenlet_start(*ret_g);
    }
    gev__greenlet_unref(*ret_g); /* it lives until its defers have run */
    return rc;
}

static int spawn_receiver(struct gev__service *v)
{
    const struct gev__make make = {
        .fn = receive, .arg = v, .site = "gev_server", .name = v->ops->name};

    return spawn(v, &make, end_receiver, v, &v->receiver);
}

int gev__service_start(struct gev__service *v)
{
    if (v->hub != gev__hub_get()) {
        return -EPERM;
    }
    if (v->state == GEV__SERVICE_ON) {
        return 0;
    }
    if (v->state == GEV__SERVICE_OFF) {
        return -EBUSY;
    }
    int fd = open_descriptor(v);
    if (fd < 0) {
        return fd;
    }
    /* Another greenlet may have been quicker. */
    int rc = v->state != GEV__SERVICE_NEW ? -EBUSY : spawn_receiver(v);
    if (rc < 0) {
        give_descriptor_back(v, fd);
        return rc;
    }
    v->fd = fd;
    v->opts.listen_fd = -(v->opts.listen_fd > 0); /* it is ours, once */
    v->state = GEV__SERVICE_ON;
    v->paused = false;
    v->error = 0;
    return 0;
}

int gev__service_serve(struct gev__service *v)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_SERVER, .object = v};
    struct gev__wait wait;
    int rc = gev__service_start(v);

    if (rc < 0) {
        return rc;
    }
    rc = gev__waitq_park(v->hub, &v->served, &wait, what, GEV__NEVER);
    if (rc < 0) {
        gev__service_end(v);
        return rc;
    }
    return v->error;
}

int gev__service_pause(struct gev__service *v, bool paused)
{
    if (v->state != GEV__SERVICE_ON) {
        return -ENOTCONN;
    }
    v->paused = paused;
    if (paused) {
        gev__fd_cancel(v->hub, v->fd, EAGAIN);
    } else {
        gev__waitq_wake_all(&v->gate, 0);
    }
    return 0;
}

/* --- jobs ----------------------------------------------------------------- */

/* The last defer of a job's greenlet. */
static void end_job(void *arg)
{
    struct gev__job *job = arg;
    struct gev__service *v = job->service;

    gev__list_remove(&job->link);
    v->n_jobs--;
    job->end(job);
    gev__waitq_wake_all(&v->gate, 0);
    gev__waitq_wake_all(&v->ended, 0);
    if (v->n_jobs == 0 && v->state == GEV__SERVICE_OFF) {
        v->state = GEV__SERVICE_NEW;
    }
    gev__service_unref(v);
}

void gev__service_unref(struct gev__service *v)
{
    if (--v->refs == 0) {
        v->ops->release(v);
    }
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
    int rc = spawn(v, &make, end_job, job, &job->greenlet);

    if (rc == 0) {
        job->service = v;
        gev__list_push_back(&v->jobs, &job->link);
        v->n_jobs++;
    }
    return rc;
}

/* --- the stop ------------------------------------------------------------- */

static void kill_job(struct gev_greenlet *g)
{
    if (!(g->flags & GEV__BEGUN)) {
        gev__greenlet_ref(g);
        gev__greenlet_cancel(g, ECANCELED);
        gev__greenlet_unref(g);
    } else {
        gev__kill(g);
    }
}

/* All jobs, or the idle ones; another that is in a stop itself will end. A kill
 * may end one at once, and with it others' places on the list. */
static void kill_jobs(struct gev__service *v, bool only_idle)
{
    struct gev__list *node = v->jobs.next;

    while (node != &v->jobs) {
        struct gev__job *job = gev__container_of(node, struct gev__job, link);
        node = node->next;
        bool own = job->greenlet == v->hub->current;
        if ((!only_idle || job->idle) && (own || !job->stopping)) {
            kill_job(job->greenlet);
        }
    }
}

/* Whether jobs are left that one can wait for: not those that wait, too. */
static bool are_left(const struct gev__service *v, bool busy_ones)
{
    gev__list_foreach(node, &v->jobs) {
        const struct gev__job *job =
            gev__container_of(node, struct gev__job, link);
        if (!job->stopping && !(busy_ones && job->idle)) {
            return true;
        }
    }
    return false;
}

static int wait_for_jobs(struct gev__service *v, int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_SERVER, .object = v};
    int rc = 0;

    while (rc == 0 && are_left(v, false)) {
        struct gev__wait wait;
        rc = gev__waitq_park(v->hub, &v->ended, &wait, what, deadline);
    }
    return rc;
}

static struct gev__job *own_job(const struct gev__service *v)
{
    gev__list_foreach(node, &v->jobs) {
        struct gev__job *job = gev__container_of(node, struct gev__job, link);
        if (job->greenlet == v->hub->current) {
            return job;
        }
    }
    return NULL;
}

/* Nothing comes any more; jobs end by themselves until the deadline. */
static int stop_jobs(struct gev__service *v, int64_t deadline)
{
    kill_jobs(v, true);
    if (!are_left(v, true)) {
        deadline = GEV__NEVER; /* idle ones end at once */
    }
    int rc = wait_for_jobs(v, deadline);
    bool own_timeout = gev__is_own_timeout(v->hub, rc, deadline);
    kill_jobs(v, false); /* the caller's own, too */
    int rest = own_timeout ? wait_for_jobs(v, GEV__NEVER) : 0;
    return rest < 0 ? rest : rc;
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
    struct gev_greenlet *receiver = v->receiver;
    if (receiver != NULL) {
        shut(v, 0);
        kill_job(receiver);
    }
    struct gev__job *own = own_job(v);
    if (own != NULL) {
        own->stopping = true;
    }
    rc = stop_jobs(v, deadline);
    if (own != NULL) {
        own->stopping = false;
    }
    return rc;
}

void gev__service_end(struct gev__service *v)
{
    if (v->hub != gev__thread_hub) {
        return; /* its hub was closed, and it with it */
    }
    v->hub->current->shields++;
    gev__service_stop(v, 0);
    v->hub->current->shields--;
}
