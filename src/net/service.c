/* SPDX-License-Identifier: MIT */
#include "net/service.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/sys.h"
#include "hub/defer.h"
#include "hub/fd.h"
#include "hub/join.h"
#include "hub/kill.h"
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

/* --- descriptors ---------------------------------------------------------- */

/* A bound socket of the right kind; one that listens already keeps its backlog
 * unless another is wanted. */
static int adopt_listener(struct gev__service *v, int *ret_fd)
{
    int fd = v->opts.listen_fd;
    struct gev__fd *entry;
    int type = 0;
    int listens = 0;
    socklen_t len = sizeof(int);

    if (fd == -1) {
        return -EBADF; /* it was the caller's once */
    }
    int rc = gev__fd_adopt(v->hub, fd, &entry);
    if (rc == 0) {
        rc = gev__sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
    }
    if (rc == 0 && type != v->ops->type) {
        rc = -EINVAL;
    }
    if (rc == 0 && type == SOCK_STREAM) {
        len = sizeof(int);
        rc = gev__sys_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
        if (rc == 0 && (!listens || v->opts.backlog > 0)) {
            rc = gev__sys_listen(fd, v->opts.backlog == 0 ? BACKLOG
                                                          : v->opts.backlog);
        }
    }
    *ret_fd = fd;
    return rc < 0 ? rc : 1;
}

/* How many, or -errno. */
static int open_descriptors(struct gev__service *v, int *fds)
{
    const gev_server_opts *o = &v->opts;

    if (o->listen_fd != 0) {
        return adopt_listener(v, fds);
    }
    int backlog = o->backlog == 0 ? BACKLOG : o->backlog;
    if (o->unix_path != NULL) {
        int rc = gev__bind_path(v->hub, v->ops->type, o->unix_path, backlog,
                                UNIX_MODE);
        fds[0] = rc;
        return rc < 0 ? rc : 1;
    }
    return gev__bind_all(v->hub, v->ops->type, o->host, o->service, backlog,
                         o->reuse_port, fds, GEV__LISTENERS);
}

static void close_descriptors(struct gev__service *v, const int *fds, size_t n)
{
    if (v->opts.unix_path != NULL && n > 0) {
        gev__sys_unlink(v->opts.unix_path);
    }
    for (size_t i = 0; i < n; i++) {
        gev__close(v->hub, fds[i]);
    }
}

static void close_listeners(struct gev__service *v)
{
    int fds[GEV__LISTENERS];
    size_t n = v->n_listeners;

    for (size_t i = 0; i < n; i++) {
        fds[i] = v->listeners[i].fd;
    }
    v->n_listeners = 0;
    close_descriptors(v, fds, n);
}

int gev__service_fd(const struct gev__service *v)
{
    return v->state == GEV__SERVICE_ON ? v->listeners[0].fd : -ENOTCONN;
}

int gev__service_port(const struct gev__service *v)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    int fd = gev__service_fd(v);

    if (fd < 0 ||
        gev__sys_getsockname(fd, (struct sockaddr *)&addr, &len) < 0) {
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

/* --- greenlets ------------------------------------------------------------ */

/* A greenlet of which nothing runs if it cannot be started whole. The caller
 * has a reference of it, and it one of the service. */
static int spawn(struct gev__service *v, const struct gev__make *make,
                 void (*end)(void *), void *arg, struct gev_greenlet **ret_g)
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

/* Of a greenlet that a fork left behind no defer has run. */
static bool is_left_behind(const struct gev_greenlet *g)
{
    return g->state == GEV__DEAD;
}

/* --- receiving ------------------------------------------------------------ */

static bool is_open(const struct gev__service *v)
{
    return !v->paused && (v->opts.max_connections == 0 ||
                          v->n_jobs < v->opts.max_connections);
}

/* Stopped, and the last job has ended. */
static void become_new(struct gev__service *v)
{
    close_listeners(v);
    v->state = GEV__SERVICE_NEW;
    gev__waitq_wake_all(&v->served, 0);
}

static void end_receivers(struct gev__service *v)
{
    for (size_t i = 0; i < v->n_listeners; i++) {
        struct gev_greenlet *g = v->listeners[i].receiver;
        v->listeners[i].receiver = NULL;
        if (g == NULL) {
            continue;
        }
        if (is_left_behind(g)) {
            v->refs--;
        } else if (g != v->hub->current) {
            gev__kill_anywhere(g);
        }
        gev__greenlet_unref(g);
    }
}

/* No job comes any more; who serves is told why. The caller holds a reference.
 * Handlers of datagrams may still answer, with a descriptor to do it. */
static void shut(struct gev__service *v, int error)
{
    if (v->state != GEV__SERVICE_ON) {
        return;
    }
    v->state = GEV__SERVICE_OFF;
    v->error = error;
    end_receivers(v);
    if (v->ops->type == SOCK_STREAM) {
        close_listeners(v);
    }
    gev__waitq_wake_all(&v->served, 0);
    if (v->n_jobs == 0) {
        become_new(v);
    }
}

/* Things received at once before others get their turn. */
#define BATCH 100

static void *receive(void *arg)
{
    struct gev__listener *l = arg;
    struct gev__service *v = l->service;
    const struct gev_greenlet *self = v->hub->current;
    const struct gev__wait_for what = {.kind = GEV__WAIT_SERVER, .object = v};
    unsigned n = 0;
    int rc = 0;

    while (rc >= 0 || rc == -EAGAIN) {
        struct gev__wait wait;
        unsigned pauses = v->pauses;
        if (++n % BATCH == 0) {
            rc = gev__yield(v->hub);
        } else if (!is_open(v)) {
            rc = gev__waitq_park(v->hub, &v->gate, &wait, what, GEV__NEVER);
        } else {
            rc = v->ops->receive(l);
            /* A pause ends it, also one that is over. */
            rc = rc == -EBADF && pauses != v->pauses ? 0 : rc;
        }
        if (l->receiver != self) {
            return NULL; /* stopped meanwhile */
        }
    }
    shut(v, rc);
    return NULL;
}

int gev__service_rest(struct gev__service *v)
{
    return gev__sleep_until(
        v->hub, gev__clock_add(gev__now_base(v->hub), 10 * GEV__MS));
}

static void end_receiver(void *service)
{
    gev__service_unref(service);
}

static int spawn_receiver(struct gev__listener *l)
{
    struct gev__service *v = l->service;
    const struct gev__make make = {
        .fn = receive, .arg = l, .site = "gev_server", .name = v->ops->name};

    return spawn(v, &make, end_receiver, v, &l->receiver);
}

/* --- the start ------------------------------------------------------------ */

/* In a forked child, which has the descriptors but not who received. */
static int start_left_behind(struct gev__service *v)
{
    int rc = 0;

    for (size_t i = 0; i < v->n_listeners && rc == 0; i++) {
        struct gev__listener *l = &v->listeners[i];
        struct gev_greenlet *old = l->receiver;
        if (is_left_behind(old)) {
            rc = spawn_receiver(l);
        }
        if (rc == 0 && l->receiver != old) {
            v->refs--;
            gev__greenlet_unref(old);
        }
    }
    return rc;
}

static int start_listeners(struct gev__service *v, const int *fds, size_t n)
{
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        struct sockaddr_storage addr = {.ss_family = AF_UNSPEC};
        socklen_t len = sizeof(addr);
        rc = gev__sys_getsockname(fds[i], (struct sockaddr *)&addr, &len);
        v->listeners[i] = (struct gev__listener){
            .service = v, .fd = fds[i], .family = addr.ss_family};
        if (rc == 0) {
            rc = spawn_receiver(&v->listeners[i]);
        }
        v->n_listeners = i + 1;
    }
    if (rc < 0) {
        end_receivers(v);
        v->n_listeners = 0;
    }
    return rc;
}

static int start(struct gev__service *v)
{
    int fds[GEV__LISTENERS];
    unsigned stops = v->stops;
    int n = open_descriptors(v, fds);

    /* While the name was looked up, others may have been at it. */
    if (v->state == GEV__SERVICE_NEW && n >= 0) {
        int rc = v->freed || v->stops != stops
                     ? -ECANCELED
                     : start_listeners(v, fds, (size_t)n);
        if (rc == 0) {
            v->opts.listen_fd = -(v->opts.listen_fd > 0); /* ours, once */
            v->state = GEV__SERVICE_ON;
            v->paused = false;
            v->error = 0;
            v->runs++;
            return 0;
        }
        if (v->opts.listen_fd <= 0) {
            close_descriptors(v, fds, (size_t)n);
        }
        return rc;
    }
    if (n > 0 && v->opts.listen_fd == 0) {
        close_descriptors(v, fds, (size_t)n);
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
    if (!paused) {
        gev__waitq_wake_all(&v->gate, 0);
        return 0;
    }
    v->pauses++;
    for (size_t i = 0; i < v->n_listeners; i++) {
        /* EBADF is what also one that is about to run gets. */
        gev__fd_cancel(v->hub, v->listeners[i].fd, EBADF);
    }
    return 0;
}

/* --- jobs ----------------------------------------------------------------- */

static void remove_job(struct gev__job *job)
{
    struct gev__service *v = job->service;

    gev__list_remove(&job->link);
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
    if (v->n_jobs == 0 && v->state == GEV__SERVICE_OFF) {
        become_new(v);
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

/* In a forked child: jobs that are the parent's business. What they had open
 * stays open, as after any fork. */
static void forget_left_behind(struct gev__service *v)
{
    gev__list_foreach_safe(node, next, &v->jobs) {
        struct gev__job *job = gev__container_of(node, struct gev__job, link);
        if (is_left_behind(job->greenlet)) {
            remove_job(job);
            v->refs--;
        }
    }
}

/* --- the stop ------------------------------------------------------------- */

/* Who is in a stop himself waits for others only; two of those do not wait for
 * each other. */
static bool is_spared(const struct gev__job *job, const struct gev__job *own)
{
    return job->stopping && own != NULL;
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
    kill_jobs(v, own, true);
    if (!are_left(v, own, true)) {
        deadline = GEV__NEVER; /* idle ones end at once */
    }
    int rc = wait_for_jobs(v, own, deadline);
    bool own_timeout = gev__is_own_timeout(v->hub, rc, deadline);
    kill_jobs(v, own, false); /* the caller's own, too */
    int rest = own_timeout ? wait_for_jobs(v, own, GEV__NEVER) : 0;
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
    v->refs++;
    v->stops++;
    forget_left_behind(v);
    shut(v, 0);
    if (v->n_jobs == 0 && v->state == GEV__SERVICE_OFF) {
        become_new(v);
    }
    struct gev__job *own = own_job(v);
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

/* Whatever happens to the caller. */
static void stop_now(struct gev__service *v)
{
    v->hub->current->shields++;
    gev__service_stop(v, 0);
    v->hub->current->shields--;
}

void gev__service_free(struct gev__service *v)
{
    v->freed = true;
    if (v->hub == gev__thread_hub) { /* else it was closed, and this with it */
        stop_now(v);
    }
    gev__service_unref(v);
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
    const bool is_own_job = own_job(v) != NULL;

    while (is_serving(v, run, is_own_job)) {
        struct gev__wait wait;
        int rc = gev__waitq_park(v->hub, &v->served, &wait, what, GEV__NEVER);
        if (rc < 0) {
            stop_now(v);
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
