/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_STREAM_H
#define GEV_NET_STREAM_H

/* The inside of streams: stream.c has calls, turns and the end, stream_read.c
 * and stream_write.c what goes in and out, transport.c the transport over a
 * descriptor.
 *
 *   invariant: side->user is the greenlet in a call of that side; others wait
 *              in side->waiters, and who ends a call hands the side over.
 *   invariant: users counts the calls that are in progress or wait for their
 *              turn; nothing is freed before it is 0.
 *   invariant: in[in_start .. in_end) was read and not yet given out; there is
 *              always room for one byte more, for a NUL.
 *   invariant: out[out_start .. out_end) was written and not yet taken. */

#include "hub/cancel.h"
#include "hub/waitq.h"

#include <gev/hub.h>
#include <gev/stream.h>

#include <stddef.h>

struct gev__job;

/* A call that reads, or one that writes. */
struct gev__side {
    struct gev_greenlet *user;
    struct gev__waitq waiters;
    bool in_transport; /* user is in the transport: to be woken at the end */
    double timeout;    /* of each call; GEV_FOREVER: none */
    /* What wakes the user of a transport without a cancel; allocated with the
     * stream, for a close must not fail. */
    struct gev__throw *throw;
    bool thrown; /* it has been; the user's, unless it is not delivered */
};

struct gev_stream {
    const gev_transport *ops;
    void *self;
    struct gev_hub *hub;
    struct gev__side reader;
    struct gev__side writer;
    char *in;
    size_t in_start;
    size_t in_end;
    size_t in_size;
    char *nul;      /* where a NUL was put over the byte below, or NULL */
    char under_nul; /* restored by the next read */
    char *out;
    size_t out_start;
    size_t out_end;
    unsigned users;
    bool trimmed;     /* wait before memory is taken to read */
    bool own_timeout; /* by gev_stream_settimeout(), not the server */
    bool stuck;       /* the last write took longer than its limit */
    bool shut;        /* no more writes */
    bool ended;       /* the last read was at the end */
    bool closing;     /* new calls fail */
    bool cut;         /* what was written has not been taken whole */
    struct gev_greenlet *closer; /* waits for users == 0; NULL: the last user
                                    frees it */
    struct gev__job *job; /* of the server whose connection it is; NULL */
};

/* What the public calls of these names do. */
int gev__stream_open(struct gev_hub *hub, int fd, struct gev_stream **ret_s);
int gev__stream_close(struct gev_stream *s, bool flush); /* NULL is fine */
int gev__stream_shut(struct gev_stream *s);

/* Gives the memory of empty buffers back, and what the transport has. */
void gev__stream_trim(struct gev_stream *s);

/* Whether a transport has an operation that is optional. */
#define GEV__TRANSPORT_HAS(ops, op)                                            \
    ((ops)->size >= offsetof(gev_transport, op) + sizeof((ops)->op) &&         \
     (ops)->op != NULL)

/* A call in progress; on the caller's stack. */
struct gev__stream_call {
    struct gev_stream *s;
    struct gev__side *side;
    bool scoped; /* its time limit has begun; then also valid is: */
    bool late;   /* a time limit, this one or another, has cut a write */
    struct gev__scope_handle scope;
};

/* Begins a call: waits for its turn. -EINVAL, -EPERM, -EBADF, or a park's. */
int gev__stream_begin(struct gev__stream_call *call, struct gev_stream *s,
                      struct gev__side *side);

/* Ends it. The stream may be gone afterwards. */
void gev__stream_end(struct gev__stream_call *call);

/* The transport, within a call and its time: >= 0 or -errno. */
ssize_t gev__stream_transport_read(struct gev__stream_call *call, void *buf,
                                   size_t n);
ssize_t gev__stream_transport_write(struct gev__stream_call *call,
                                    const void *buf, size_t n);

/* Those that not every transport has: -ENOTSUP. Bytes; the directions that are
 * ready. */
ssize_t gev__stream_transport_try(struct gev__stream_call *call,
                                  const void *buf, size_t n);
int gev__stream_transport_wait(struct gev__stream_call *call, int directions);

/* Begins the call's time limit, before the first thing that may park. */
int gev__stream_start_clock(struct gev__stream_call *call);

/* Writes out what is buffered, within a call that writes. */
int gev__stream_flush_out(struct gev__stream_call *call);

/* Before a read that may wait for the peer: what was written goes out. Failures
 * of the peer's are left to the next write. */
int gev__stream_flush_for_read(struct gev_stream *s);

/* --- the transport over a descriptor -------------------------------------- */

extern const gev_transport gev__fd_transport
    __attribute__((visibility("hidden")));

static inline bool gev__stream_is_fd(const struct gev_stream *s)
{
    return s->ops == &gev__fd_transport;
}

static inline void *gev__fd_to_self(int fd)
{
    return (void *)(intptr_t)fd;
}
static inline int gev__self_to_fd(const void *self)
{
    return (int)(intptr_t)self;
}

/* Which of the directions a descriptor is ready for now; 0: none. */
int gev__fd_look(int fd, int directions);

/* What a transport's function that failed left in errno: -errno. */
int gev__transport_error(void);

#endif
