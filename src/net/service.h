/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_SERVICE_H
#define GEV_NET_SERVICE_H

/* What servers of connections and of datagrams have in common: options, bound
 * descriptors with a greenlet each that receives, one greenlet for each job (a
 * connection, a datagram), a limit on those, and the stop.
 *
 *     NEW --start--> ON --stop--> OFF --no job left--> NEW
 *
 *   invariant: a job is on service->jobs from before its greenlet is queued
 *              until that greenlet's last defer.
 *   invariant: refs counts the owner, the jobs and the receivers until their
 *              last defer, and the calls that park; the last of them frees the
 *              service. */

#include "hub/greenlet.h"
#include "hub/waitq.h"

#include <gev/server.h>

enum gev__service_state { GEV__SERVICE_NEW, GEV__SERVICE_ON, GEV__SERVICE_OFF };

struct gev__service;

/* A bound descriptor, and who receives from it: counted, so that a forked child
 * can see that it is gone. */
struct gev__listener {
    struct gev__service *service;
    struct gev_greenlet *receiver; /* NULL: stopped */
    int fd;
    int family;
};

#define GEV__LISTENERS ((size_t)8) /* addresses of one name that are served */

struct gev__service_ops {
    int type; /* SOCK_STREAM, SOCK_DGRAM */
    /* Receives one thing and spawns its job: 0; -EAGAIN: look at the state
     * again; or what ends the service. May park. */
    int (*receive)(struct gev__listener *l);
    const char *name; /* of the greenlet that does so */
    /* Frees the service, and what it is part of. */
    void (*release)(struct gev__service *v);
};

/* First in what a connection or datagram needs. */
struct gev__job {
    struct gev__list link;
    struct gev__service *service;
    struct gev_greenlet *greenlet; /* counted */
    struct gev_stream *stream;     /* of a connection; NULL: none, or closed */
    bool idle;                     /* ends at once when the service stops */
    bool stopping; /* it is itself in a stop, which waits for others only */
    void (*end)(struct gev__job *job); /* frees it; in its greenlet's defer */
};

struct gev__service {
    const struct gev__service_ops *ops;
    struct gev_hub *hub;
    gev_server_opts opts; /* strings are its own */
    enum gev__service_state state;
    bool paused;
    bool freed;      /* by its owner */
    int error;       /* -errno that ended it by itself, or 0 */
    unsigned runs;   /* starts that succeeded */
    unsigned stops;  /* calls of stop */
    unsigned pauses; /* calls of pause */
    struct gev__listener listeners[GEV__LISTENERS];
    size_t n_listeners; /* whose descriptors are open */
    struct gev__list jobs;
    size_t n_jobs;
    size_t refs;
    struct gev__waitq gate;   /* the receiver: paused, or no room */
    struct gev__waitq ended;  /* who waits for jobs to end */
    struct gev__waitq served; /* who is in a serve */
};

/* opts may be NULL. -EINVAL, -ENOMEM. */
int gev__service_init(struct gev__service *v,
                      const struct gev__service_ops *ops,
                      const gev_server_opts *opts);
/* Frees what init made; the service itself is its owner's. */
void gev__service_fini(struct gev__service *v);

int gev__service_start(struct gev__service *v);
int gev__service_serve(struct gev__service *v);
int gev__service_pause(struct gev__service *v, bool paused);
int gev__service_stop(struct gev__service *v, double timeout);

/* Stops it, whatever happens to the caller, and drops the owner's reference. */
void gev__service_free(struct gev__service *v);

/* The first one's descriptor, or -ENOTCONN. */
int gev__service_fd(const struct gev__service *v);

/* -ENOTCONN. */
int gev__service_port(const struct gev__service *v);

/* Spawns a job's greenlet: main(arg of the job). The job is on the list then,
 * and job->end will be called. -ENOMEM: it is the caller's still. */
int gev__service_spawn(struct gev__service *v, struct gev__job *job,
                       gev_fn main, const char *name);

/* What receives has no memory: a little later there may be some. */
int gev__service_rest(struct gev__service *v);

void gev__service_unref(struct gev__service *v);

#endif
