/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_SERVICE_H
#define GEV_NET_SERVICE_H

/* What servers of connections and of datagrams have in common:
 *
 *     service.c          options, the start, references
 *     service_listen.c   bound descriptors
 *     service_receive.c  a greenlet for each of those, that receives
 *     service_job.c      a greenlet for each job: a connection, a datagram
 *     service_idle.c     the limit on jobs that are idle
 *     service_stop.c     the stop
 *
 *     NEW --start--> ON --stop--> OFF --no job left--> NEW
 *
 *   invariant: a job is on service->jobs from before its greenlet is queued
 *              until that greenlet's last defer.
 *   invariant: refs counts the owner, the jobs and the service's own greenlets
 *              until their last defer, and the calls that park; the last of
 *              them frees the service. */

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
    struct gev__list idle_link; /* on service->idlers, or alone */
    int64_t idle_until;         /* ns; valid on that list */
    struct gev__service *service;
    struct gev_greenlet *greenlet; /* counted */
    struct gev_stream *stream;     /* of a connection; NULL: none, or closed */
    bool idle;                     /* ends at once when the service stops */
    bool draining; /* all is said; the stop has patience, but no need to */
    bool stopping; /* it is itself in a stop, which waits for others only */
    void (*end)(struct gev__job *job); /* frees it; in its greenlet's defer */
};

/* The file of a Unix socket: whose it is that stands at a path. */
struct gev__socket_file {
    dev_t device;
    ino_t inode;
    pid_t process; /* that bound it; 0: none did */
};

struct gev__service {
    const struct gev__service_ops *ops;
    struct gev_hub *hub;
    gev_server_opts opts; /* strings are its own */
    void *arg;            /* of the handlers; until opts.release */
    enum gev__service_state state;
    bool paused;
    bool freed;          /* by its owner */
    int error;           /* -errno that ended it by itself, or 0 */
    unsigned runs;       /* starts that succeeded */
    unsigned stops;      /* calls of stop */
    unsigned kills;      /* jobs that stops have cut short */
    unsigned interrupts; /* of receivers */
    struct gev__listener listeners[GEV__LISTENERS];
    size_t n_listeners;           /* whose descriptors are open */
    struct gev__socket_file file; /* at opts.unix_path */
    struct gev__list jobs;
    size_t n_jobs;
    struct gev__list idlers;     /* jobs with a limit on that, by deadline */
    struct gev_greenlet *ticker; /* ends those; counted; NULL: no limit */
    size_t refs;
    struct gev__waitq gate;   /* the receiver: paused, or no room */
    struct gev__waitq idled;  /* the ticker: nobody is idle */
    struct gev__waitq ended;  /* who waits for jobs to end */
    struct gev__waitq served; /* who is in a serve */
};

/* --- for servers ---------------------------------------------------------- */

/* opts may be NULL. -EINVAL, -ENOMEM. */
int gev__service_init(struct gev__service *v,
                      const struct gev__service_ops *ops,
                      const gev_server_opts *opts, void *arg);
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

static inline bool gev__service_is_full(const struct gev__service *v)
{
    return v->opts.max_connections > 0 && v->n_jobs >= v->opts.max_connections;
}

/* What receives has no memory: a little later there may be some. */
int gev__service_rest(struct gev__service *v);

/* Whether the job waits for something to do. */
void gev__job_set_idle(struct gev__job *job, bool idle);

/* --- among its parts ------------------------------------------------------ */

void gev__service_unref(struct gev__service *v);

/* A greenlet of the service's, of which nothing runs if it cannot be started
 * whole. The caller has a reference of it, and it one of the service, which end
 * (its last defer) drops. */
int gev__service_spawn_part(struct gev__service *v,
                            const struct gev__make *make, void (*end)(void *),
                            void *arg, struct gev_greenlet **ret_g);

/* Of a greenlet that a fork left behind no defer has run. */
static inline bool gev__is_left_behind(const struct gev_greenlet *g)
{
    return g->state == GEV__DEAD;
}

/* Ends such a greenlet, unless it is the caller, and drops the reference; NULL
 * is fine. */
void gev__service_end_part(struct gev__service *v, struct gev_greenlet **part);
/* In its defer: if nobody has ended it, it was killed, and that ends the
 * service. */
void gev__service_part_ended(struct gev__service *v,
                             struct gev_greenlet **part);

/* No job comes any more; who serves is told why. The caller holds a reference.
 * Handlers of datagrams may still answer, with a descriptor to do it. */
void gev__service_shut(struct gev__service *v, int error);

/* If the last job has ended: the end of the stop; and of the argument, if it
 * has been freed. */
void gev__service_settle(struct gev__service *v);

/* Binds: how many, or -errno. And what undoes it. */
int gev__listeners_open(struct gev__service *v, int *fds);
void gev__listeners_discard(struct gev__service *v, const int *fds, size_t n);
void gev__listeners_close(struct gev__service *v);

/* A receiver for each, or for none. */
int gev__receivers_start(struct gev__service *v, const int *fds, size_t n);
/* In a forked child, which has the descriptors but not who received. */
int gev__receivers_restart(struct gev__service *v);
void gev__receivers_end(struct gev__service *v);
/* Those that wait, or were readied, look at the state again before they receive
 * anything. */
void gev__receivers_interrupt(struct gev__service *v);

/* The greenlet that ends jobs which are idle for too long; the second for a
 * forked child. */
int gev__ticker_start(struct gev__service *v);
int gev__ticker_restart(struct gev__service *v);

/* The job whose greenlet this is, or NULL. */
struct gev__job *gev__job_own(const struct gev__service *v);

/* In a forked child: jobs that are the parent's business. What they had open
 * stays open, as after any fork. */
void gev__jobs_forget_left_behind(struct gev__service *v);

/* Whatever happens to the caller: stops without patience. */
void gev__service_stop_now(struct gev__service *v);

#endif
