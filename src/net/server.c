/* SPDX-License-Identifier: MIT */

/* Servers of connections. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/sys.h"
#include "hub/fd.h"
#include "net/service.h"
#include "net/socket.h"
#include "net/spare.h"
#include "net/stream.h"

#include <string.h>

struct gev_server {
    struct gev__service service; /* first */
    gev_conn_fn fn;
};

struct connection {
    struct gev__job job; /* first */
    int fd;              /* until it has a stream; else -1 */
    struct sockaddr_storage peer;
};

static struct gev_server *server_of(struct gev__service *v)
{
    return (struct gev_server *)(void *)v;
}

static const gev_tls_ops *tls_ops(gev_tls *tls)
{
    return *(const gev_tls_ops *const *)(void *)tls;
}

/* --- a connection --------------------------------------------------------- */

/* How long, and how much, a client may go on sending after the handler is done:
 * closing with unread data would reset the connection, and take from the client
 * the answer it has not read yet. */
#define LINGER 1.0
#define LINGER_BYTES ((size_t)1 << 20)

static void drain(gev_stream *s)
{
    struct gev__stream_call call;
    struct gev__scope_handle limit = {.id = 0};
    char *trash = gev__malloc(4096);
    size_t drained = 0;
    ssize_t n = 1;

    if (trash == NULL ||
        gev__scope_begin(s->hub, &limit, LINGER, ETIMEDOUT) < 0) {
        gev__free(trash);
        return;
    }
    if (gev__stream_begin(&call, s, &s->reader) == 0) {
        while (n > 0 && drained < LINGER_BYTES) {
            n = gev__stream_transport_read(&call, trash, 4096);
            drained += n > 0 ? (size_t)n : 0;
        }
        gev__stream_end(&call);
    }
    gev__scope_end(&limit);
    gev__free(trash);
}

/* The handler has returned: what it wrote must arrive. A client that has sent
 * its last has nothing to be drained. */
static void finish(struct connection *c)
{
    gev_stream *s = c->job.stream;

    if (s == NULL) {
        return; /* closed by the handler */
    }
    const bool stuck = s->stuck; /* it had its time to take the answer */
    if (!stuck && !s->ended && !(s->hub->current->alerts & GEV__ALERT_KILLED) &&
        gev__stream_shut(s) == 0 && c->job.stream != NULL) {
        c->job.draining = true;
        drain(s);
    }
    if (c->job.stream != NULL) {
        gev__stream_close(s, !stuck && !s->stuck);
    }
}

/* However its greenlet ended: nothing is left of it. */
static void end_connection(struct gev__job *job)
{
    struct connection *c = gev__container_of(job, struct connection, job);

    gev__stream_close(job->stream, false);
    if (c->fd >= 0) {
        gev__close(job->service->hub, c->fd);
    }
    gev__free(c);
}

/* 0: none. */
static double limit_of(double seconds)
{
    return seconds == 0 ? GEV_FOREVER : seconds;
}

/* While it is idle it has a limit for that, where there is one. */
static void set_limits(gev_stream *s, const gev_server_opts *opts, bool idle)
{
    if (!s->own_timeout) {
        s->reader.timeout =
            limit_of(idle && opts->idle_timeout > 0 ? 0 : opts->read_timeout);
        s->writer.timeout = limit_of(opts->write_timeout);
    }
}

/* The stream, through TLS if there is. */
static bool open_stream(struct connection *c)
{
    const gev_server_opts *opts = &c->job.service->opts;
    gev_tls *tls = opts->tls;
    gev_stream *s;

    if (gev__stream_open(c->job.service->hub, c->fd, &s) < 0) {
        return false;
    }
    c->fd = -1;
    if (tls != NULL) {
        s = tls_ops(tls)->accept(tls, s); /* closed, if this is NULL */
    }
    if (s != NULL) {
        s->job = &c->job;
        c->job.stream = s;
        set_limits(s, opts, false);
    }
    return s != NULL;
}

static void *handle(void *arg)
{
    struct connection *c = arg;
    const struct gev_server *s = server_of(c->job.service);

    if (open_stream(c)) {
        s->fn(c->job.stream, (const struct sockaddr *)&c->peer, s->service.arg);
        finish(c);
    }
    return NULL;
}

/* --- accepting ------------------------------------------------------------ */

/* What a connection's making may fail with for a while. */
static bool is_passing(int rc)
{
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOBUFS || rc == -ENOMEM ||
           rc == -EPERM || rc == -ECONNABORTED || rc == -EPROTO;
}

static int spawn_connection(struct gev__service *v, int fd,
                            const struct sockaddr_storage *peer)
{
    struct connection *c = gev__calloc(1, sizeof(*c));
    int rc = c == NULL ? -ENOMEM : 0;

    if (rc == 0) {
        c->fd = fd;
        c->peer = *peer;
        c->job.end = end_connection;
        rc = gev__service_spawn(v, &c->job, handle, "connection");
    }
    if (rc < 0) {
        gev__free(c);
        gev__close(v->hub, fd);
        return gev__service_rest(v);
    }
    return 0;
}

/* Nothing was accepted. gev__accept() waits by itself while descriptors are
 * short, before it tries again. So at the second failure the first in the queue
 * has waited, and none became free: it is better told than left there. */
static int give_up(struct gev__listener *l, int rc)
{
    if (rc == -EMFILE || rc == -ENFILE) {
        if (gev__accept_failures(l->service->hub, l->fd) > 1) {
            gev__spare_refuse(l->fd);
        }
        return 0;
    }
    return !is_passing(rc)                 ? rc
           : rc == -EPERM || rc == -ENOMEM ? gev__service_rest(l->service)
                                           : 0;
}

/* Whether the descriptor was the spare while somebody was about to tell many:
 * that is worth more than to serve one. */
static bool is_needed_as_spare(void)
{
    return !gev__spare_restore() && gev__spare_is_lost();
}

static int receive(struct gev__listener *l)
{
    struct gev__service *v = l->service;
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(peer);
    int fd = gev__accept(v->hub, l->fd, (struct sockaddr *)&peer, &len);

    if (fd < 0) {
        return give_up(l, fd);
    }
    if (gev__unlikely(is_needed_as_spare())) {
        gev__reset_at_close(fd);
        gev__close(v->hub, fd);
        gev__spare_restore();
        return 0;
    }
    return spawn_connection(v, fd, &peer);
}

/* --- made and freed ------------------------------------------------------- */

static void release(struct gev__service *v)
{
    struct gev_server *s = server_of(v);
    gev_tls *tls = v->opts.tls;

    if (tls != NULL) {
        tls_ops(tls)->unref(tls);
    }
    gev__service_fini(v);
    gev__free(s);
}

static const struct gev__service_ops server_ops = {.type = SOCK_STREAM,
                                                   .receive = receive,
                                                   .name = "server",
                                                   .release = release};

static int make(const gev_server_opts *opts, gev_conn_fn fn, void *arg,
                struct gev_server **ret_server)
{
    if (fn == NULL) {
        return -EINVAL;
    }
    struct gev_server *s = gev__malloc(sizeof(*s));
    if (s == NULL) {
        return -ENOMEM;
    }
    int rc = gev__service_init(&s->service, &server_ops, opts, arg);
    if (rc < 0) {
        gev__free(s);
        return rc;
    }
    gev_tls *tls = s->service.opts.tls;
    if (tls != NULL) {
        tls_ops(tls)->ref(tls);
    }
    s->fn = fn;
    *ret_server = s;
    return 0;
}

/* --- public --------------------------------------------------------------- */

gev_server *gev_server_new(const gev_server_opts *opts, gev_conn_fn fn,
                           void *arg)
{
    struct gev_server *s;
    int rc = make(opts, fn, arg, &s);

    return rc < 0 ? gev__ret_null(rc) : s;
}

int gev_server_start(gev_server *s)
{
    return (int)gev__ret(s == NULL ? -EINVAL : gev__service_start(&s->service));
}

int gev_server_serve(gev_server *s)
{
    return (int)gev__ret(s == NULL ? -EINVAL : gev__service_serve(&s->service));
}

int gev_server_pause(gev_server *s)
{
    return (int)gev__ret(s == NULL ? -EINVAL
                                   : gev__service_pause(&s->service, true));
}

int gev_server_resume(gev_server *s)
{
    return (int)gev__ret(s == NULL ? -EINVAL
                                   : gev__service_pause(&s->service, false));
}

int gev_server_stop(gev_server *s, double timeout)
{
    return (int)gev__ret(s == NULL ? -EINVAL
                                   : gev__service_stop(&s->service, timeout));
}

void gev_server_free(gev_server *s)
{
    if (s != NULL) {
        gev__service_free(&s->service);
    }
}

bool gev_server_started(const gev_server *s)
{
    return s != NULL && s->service.state == GEV__SERVICE_ON;
}

bool gev_server_stopping(const gev_server *s)
{
    return s != NULL && s->service.state == GEV__SERVICE_OFF;
}

int gev_server_port(const gev_server *s)
{
    return (int)gev__ret(s == NULL ? -EINVAL : gev__service_port(&s->service));
}

int gev_server_fd(const gev_server *s)
{
    return (int)gev__ret(s == NULL ? -EINVAL : gev__service_fd(&s->service));
}

size_t gev_server_count(const gev_server *s)
{
    return s == NULL ? 0 : s->service.n_jobs;
}

gev_server *gev_server_of(const gev_stream *conn)
{
    return conn == NULL || conn->job == NULL ? NULL
                                             : server_of(conn->job->service);
}

int gev_server_idle(gev_stream *conn, bool idle)
{
    if (conn == NULL || conn->job == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    if (idle && conn->job->service->state == GEV__SERVICE_OFF) {
        return (int)gev__ret(-ECANCELED);
    }
    if (idle && conn->job->idle) {
        gev__stream_trim(conn); /* it has been for a while */
        return 0;
    }
    gev__job_set_idle(conn->job, idle);
    set_limits(conn, &conn->job->service->opts, idle);
    return 0;
}
