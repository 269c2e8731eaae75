/* SPDX-License-Identifier: MIT */

/* Servers of datagrams. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/sys.h"
#include "net/io.h"
#include "net/service.h"

#include <string.h>

#define MAX_DATAGRAM ((size_t)65535)

struct gev_datagram_server {
    struct gev__service service; /* first */
    gev_datagram_fn fn;
    size_t max;
    char *buffer; /* of max bytes: what comes next */
};

struct datagram {
    struct gev__job job; /* first */
    struct sockaddr_storage peer;
    socklen_t len;
    size_t n;
    char data[];
};

static struct gev_datagram_server *server_of(struct gev__service *v)
{
    return (struct gev_datagram_server *)(void *)v;
}

static void end_datagram(struct gev__job *job)
{
    gev__free(gev__container_of(job, struct datagram, job));
}

static void *handle(void *arg)
{
    const struct datagram *d = arg;
    struct gev_datagram_server *s = server_of(d->job.service);

    s->fn(s, d->data, d->n, (const struct sockaddr *)&d->peer, d->len,
          s->service.arg);
    return NULL;
}

struct incoming {
    char *buf;
    size_t n;
    struct sockaddr_storage peer;
    socklen_t len;
};

GEV__INLINE ssize_t try_recv(const struct gev__io *io, void *args)
{
    struct incoming *in = args;

    in->len = sizeof(in->peer);
    return gev__sys_recvfrom(io->fd, in->buf, in->n, MSG_DONTWAIT,
                             (struct sockaddr *)&in->peer, &in->len);
}

/* What a datagram socket reports is about one datagram that was sent. */
static bool is_passing(ssize_t rc)
{
    return rc == -ECONNREFUSED || rc == -EHOSTUNREACH || rc == -ENETUNREACH ||
           rc == -EMSGSIZE;
}

static bool is_famine(int rc)
{
    return rc == -ENOBUFS || rc == -ENOMEM;
}

static int spawn_handler(struct gev__service *v, const struct incoming *in,
                         size_t n)
{
    struct datagram *d = gev__malloc(sizeof(*d) + n);

    if (d == NULL) {
        return -ENOMEM;
    }
    memset(d, 0, sizeof(*d));
    d->job.end = end_datagram;
    d->peer = in->peer;
    d->len = in->len;
    d->n = n;
    memcpy(d->data, in->buf, n);
    int rc = gev__service_spawn(v, &d->job, handle, "datagram");
    if (rc < 0) {
        gev__free(d);
    }
    return rc;
}

static int receive(struct gev__listener *l)
{
    struct gev__service *v = l->service;
    const struct gev_datagram_server *s = server_of(v);
    struct incoming in = {.buf = s->buffer, .n = s->max};
    struct gev__io io;
    int rc = gev__io_begin(&io, v->hub, l->fd);

    if (rc < 0) {
        return rc;
    }
    ssize_t n = gev__io_read(&io, 0, false, try_recv, &in);
    if (n < 0 && !is_passing(n) && !is_famine((int)n)) {
        return (int)n;
    }
    if (n >= 0) {
        /* Without memory it is lost, as datagrams are. */
        rc = spawn_handler(v, &in, (size_t)n);
    }
    return rc < 0 || is_famine((int)n) ? gev__service_rest(v) : 0;
}

static void release(struct gev__service *v)
{
    gev__service_fini(v);
    gev__free(server_of(v)->buffer);
    gev__free(server_of(v));
}

static const struct gev__service_ops datagram_ops = {.type = SOCK_DGRAM,
                                                     .receive = receive,
                                                     .name = "datagram server",
                                                     .release = release};

static int make(const gev_server_opts *opts, gev_datagram_fn fn, void *arg,
                struct gev_datagram_server **ret_server)
{
    if (fn == NULL) {
        return -EINVAL;
    }
    struct gev_datagram_server *s = gev__malloc(sizeof(*s));
    if (s == NULL) {
        return -ENOMEM;
    }
    int rc = gev__service_init(&s->service, &datagram_ops, opts, arg);
    if (rc < 0) {
        gev__free(s);
        return rc;
    }
    s->fn = fn;
    s->max = s->service.opts.max_datagram;
    s->max = s->max == 0 ? MAX_DATAGRAM : s->max;
    s->buffer = gev__malloc(s->max);
    if (s->buffer == NULL) {
        release(&s->service);
        return -ENOMEM;
    }
    *ret_server = s;
    return 0;
}

struct outgoing {
    const void *data;
    size_t n;
    const struct sockaddr *peer;
    socklen_t len;
};

GEV__INLINE ssize_t try_send(const struct gev__io *io, void *args)
{
    const struct outgoing *out = args;

    return gev__sys_sendto(io->fd, out->data, out->n,
                           MSG_DONTWAIT | MSG_NOSIGNAL, out->peer, out->len);
}

/* Of the peer's family, where there are several. */
static int descriptor_for(const struct gev__service *v,
                          const struct sockaddr *peer)
{
    for (size_t i = 0; i < v->n_listeners && peer != NULL; i++) {
        if (v->listeners[i].family == peer->sa_family) {
            return v->listeners[i].fd;
        }
    }
    return v->listeners[0].fd;
}

static ssize_t send_from(struct gev__service *v, struct outgoing *out)
{
    struct gev__io io;

    if (v->hub != gev__hub_get()) {
        return -EPERM;
    }
    if (v->state == GEV__SERVICE_NEW) {
        return -ENOTCONN;
    }
    int rc = gev__io_begin(&io, v->hub, descriptor_for(v, out->peer));
    return rc < 0 ? rc : gev__io_write(&io, false, try_send, out);
}

/* --- public --------------------------------------------------------------- */

gev_datagram_server *gev_datagram_server_new(const gev_server_opts *opts,
                                             gev_datagram_fn fn, void *arg)
{
    struct gev_datagram_server *s;
    int rc = make(opts, fn, arg, &s);

    return rc < 0 ? gev__ret_null(rc) : s;
}

int gev_datagram_server_start(gev_datagram_server *s)
{
    return (int)gev__ret(s == NULL ? -EINVAL : gev__service_start(&s->service));
}

int gev_datagram_server_serve(gev_datagram_server *s)
{
    return (int)gev__ret(s == NULL ? -EINVAL : gev__service_serve(&s->service));
}

ssize_t gev_datagram_server_send(gev_datagram_server *s, const void *data,
                                 size_t n, const struct sockaddr *peer,
                                 socklen_t len)
{
    struct outgoing out = {data, n, peer, len};

    return gev__ret(s == NULL ? -EINVAL : send_from(&s->service, &out));
}

int gev_datagram_server_stop(gev_datagram_server *s, double timeout)
{
    return (int)gev__ret(s == NULL ? -EINVAL
                                   : gev__service_stop(&s->service, timeout));
}

void gev_datagram_server_free(gev_datagram_server *s)
{
    if (s != NULL) {
        gev__service_free(&s->service);
    }
}

int gev_datagram_server_port(const gev_datagram_server *s)
{
    return (int)gev__ret(s == NULL ? -EINVAL : gev__service_port(&s->service));
}

int gev_datagram_server_fd(const gev_datagram_server *s)
{
    return (int)gev__ret(s == NULL ? -EINVAL : gev__service_fd(&s->service));
}
