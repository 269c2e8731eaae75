/* SPDX-License-Identifier: MIT */

/* Streams: making them, whose turn it is, and their end. */
#include "net/stream.h"

#include "base/alloc.h"
#include "base/error.h"
#include "hub/fd.h"
#include "net/service.h"

#include <math.h>

/* --- calls ---------------------------------------------------------------- */

int gev__stream_start_clock(struct gev__stream_call *call)
{
    const double timeout = call->side->timeout;

    if (call->scoped || timeout == GEV_FOREVER) {
        return 0;
    }
    int rc = gev__scope_begin(call->s->hub, &call->scope, timeout, ETIMEDOUT);
    call->scoped = rc == 0;
    call->late = false;
    return rc;
}

/* A woken waiter has its turn (0), or the stream is being closed (1). */
static int wait_for_turn(struct gev__stream_call *call)
{
    struct gev_stream *s = call->s;
    const struct gev__wait_for what = {.kind = GEV__WAIT_STREAM, .object = s};
    struct gev__wait wait;
    int rc = gev__stream_start_clock(call);

    if (rc == 0) {
        rc = gev__waitq_park(s->hub, &call->side->waiters, &wait, what,
                             GEV__NEVER);
    }
    return rc > 0 ? -EBADF : rc;
}

static void free_stream(struct gev_stream *s)
{
    if (s->job != NULL) {
        s->job->stream = NULL;
    }
    gev__free(s->reader.throw);
    gev__free(s->writer.throw);
    gev__free(s->in);
    gev__free(s->out);
    gev__free(s);
}

static int finish(struct gev_stream *s)
{
    bool cut = s->cut || s->out_start < s->out_end;
    int (*end)(void *self) = cut && GEV__TRANSPORT_HAS(s->ops, abort)
                                 ? s->ops->abort
                                 : s->ops->close;
    int rc = end(s->self) < 0 ? gev__transport_error() : 0;

    free_stream(s);
    return rc;
}

/* A call is over, whether it had its turn or not. */
static void leave(struct gev__stream_call *call)
{
    struct gev_stream *s = call->s;

    if (call->scoped && gev__scope_end(&call->scope) && call->late &&
        call->side == &s->writer) {
        s->stuck = true;
    }
    if (--s->users > 0 || !s->closing) {
        return;
    }
    if (s->closer != NULL) {
        gev__wake(s->closer, 0);
    } else {
        finish(s);
    }
}

int gev__stream_begin(struct gev__stream_call *call, struct gev_stream *s,
                      struct gev__side *side)
{
    const struct gev_hub *hub = gev__hub_get();
    int rc = 0;

    if (hub == NULL) {
        return -ENOMEM;
    }
    if (s->hub != hub) {
        return -EPERM;
    }
    if (s->closing) {
        return -EBADF;
    }
    call->s = s;
    call->side = side;
    call->scoped = false;
    call->scope.id = 0;
    s->users++;
    if (side->user == NULL) {
        side->user = hub->current;
    } else {
        rc = side->user == hub->current ? -EDEADLK : wait_for_turn(call);
    }
    if (rc < 0) {
        leave(call);
    } else if (gev__unlikely(s->closing)) {
        gev__stream_end(call); /* its turn came, and then the close */
        rc = -EBADF;
    }
    return rc;
}

void gev__stream_end(struct gev__stream_call *call)
{
    const struct gev__wait *next = gev__waitq_wake(&call->side->waiters, 0);

    call->side->user = next == NULL ? NULL : next->greenlet;
    leave(call);
}

/* --- the transport -------------------------------------------------------- */

/* A code that was thrown into a user who was about to run anyway, and that no
 * park has delivered: it must not hit one outside of the stream. */
static void take_back_throw(struct gev__side *side)
{
    struct gev_greenlet *g = side->user;
    struct gev__throw **t = &g->throws;

    while (*t != NULL && *t != side->throw) {
        t = &(*t)->next;
    }
    if (*t != NULL) {
        *t = side->throw->next;
        gev__free(side->throw);
    }
    if (g->throws == NULL) {
        g->alerts &= (uint8_t)~GEV__ALERT_THROWN;
    }
    side->throw = NULL;
    side->thrown = false;
}

static void enter_transport(struct gev__side *side)
{
    side->in_transport = true;
}

static void leave_transport(struct gev__side *side)
{
    side->in_transport = false;
    if (gev__unlikely(side->thrown)) {
        take_back_throw(side);
    }
}

ssize_t gev__stream_transport_read(struct gev__stream_call *call, void *buf,
                                   size_t n)
{
    struct gev_stream *s = call->s;
    int rc = s->closing ? -EBADF : gev__stream_start_clock(call);

    if (rc < 0) {
        return rc;
    }
    enter_transport(&s->reader);
    ssize_t got = s->ops->read(s->self, buf, n);
    if (got < 0) {
        got = gev__transport_error();
    }
    s->ended = got == 0;
    leave_transport(&s->reader);
    return s->closing ? -EBADF : got;
}

ssize_t gev__stream_transport_write(struct gev__stream_call *call,
                                    const void *buf, size_t n)
{
    struct gev_stream *s = call->s;
    int rc = s->closing ? -EBADF : gev__stream_start_clock(call);

    if (rc < 0) {
        return rc;
    }
    enter_transport(&s->writer);
    ssize_t taken = s->ops->write(s->self, buf, n);
    if (taken <= 0) {
        taken = taken < 0 ? gev__transport_error() : -EIO;
    }
    call->late = taken == -ETIMEDOUT;
    s->stuck = s->stuck && taken < 0;
    leave_transport(&s->writer);
    return s->closing ? -EBADF : taken;
}

ssize_t gev__stream_transport_try(struct gev__stream_call *call,
                                  const void *buf, size_t n)
{
    struct gev_stream *s = call->s;

    if (s->closing || !GEV__TRANSPORT_HAS(s->ops, try_write)) {
        return s->closing ? -EBADF : -ENOTSUP;
    }
    ssize_t taken = s->ops->try_write(s->self, buf, n);
    if (taken > 0) {
        s->stuck = false;
        return taken;
    }
    return taken < 0 ? gev__transport_error() : -EIO;
}

int gev__stream_transport_wait(struct gev__stream_call *call, int directions)
{
    struct gev_stream *s = call->s;
    struct gev__side *side = directions & GEV_READ ? &s->reader : &s->writer;

    if (s->closing || !GEV__TRANSPORT_HAS(s->ops, wait)) {
        return s->closing ? -EBADF : -ENOTSUP;
    }
    int rc = gev__stream_start_clock(call);
    if (rc < 0) {
        return rc;
    }
    enter_transport(side);
    rc = s->ops->wait(s->self, directions);
    if (rc <= 0) {
        rc = rc < 0 ? gev__transport_error() : -EIO;
    }
    leave_transport(side);
    return s->closing ? -EBADF : rc;
}

/* --- making --------------------------------------------------------------- */

/* What follows the first version's table is optional. */
static bool is_whole(const gev_transport *ops)
{
    return ops != NULL && ops->size >= offsetof(gev_transport, trim) &&
           ops->read != NULL && ops->write != NULL && ops->close != NULL;
}

static int make_stream(struct gev_hub *hub, const gev_transport *ops,
                       void *self, struct gev_stream **ret_s)
{
    if (!is_whole(ops)) {
        return -EINVAL;
    }
    struct gev_stream *s = gev__calloc(1, sizeof(*s));
    if (s == NULL) {
        return -ENOMEM;
    }
    if (ops->cancel == NULL) {
        s->reader.throw = gev__malloc(sizeof(*s->reader.throw));
        s->writer.throw = gev__malloc(sizeof(*s->writer.throw));
        if (s->reader.throw == NULL || s->writer.throw == NULL) {
            free_stream(s);
            return -ENOMEM;
        }
    }
    s->ops = ops;
    s->self = self;
    s->hub = hub;
    s->reader.timeout = GEV_FOREVER;
    s->writer.timeout = GEV_FOREVER;
    *ret_s = s;
    return 0;
}

int gev__stream_open(struct gev_hub *hub, int fd, struct gev_stream **ret_s)
{
    struct gev__fd *entry;
    int rc = gev__fd_adopt(hub, fd, &entry);

    return rc < 0 ? rc
                  : make_stream(hub, &gev__fd_transport, gev__fd_to_self(fd),
                                ret_s);
}

/* --- the end -------------------------------------------------------------- */

static void cancel_side(struct gev_stream *s, struct gev__side *side)
{
    while (gev__waitq_wake(&side->waiters, 1) != NULL) {
    }
    if (side->in_transport && s->ops->cancel == NULL) {
        side->throw->from = NULL;
        side->throw->code = EBADF;
        side->thrown = true;
        gev__throw_node(side->user, side->throw);
    }
}

/* Nobody gets in any more; those who are in a call are woken. */
static void cancel_users(struct gev_stream *s)
{
    s->closing = true;
    cancel_side(s, &s->reader);
    cancel_side(s, &s->writer);
    if ((s->reader.in_transport || s->writer.in_transport) &&
        s->ops->cancel != NULL) {
        s->ops->cancel(s->self, EBADF);
    }
}

/* Waits, whatever happens to the caller, until no call is left. False: it
 * cannot wait; the last of them will finish the stream. */
static bool wait_for_users(struct gev_hub *hub, struct gev_stream *s)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_STREAM, .object = s};
    int rc = 0;

    s->closer = hub->current;
    hub->current->shields++;
    while (s->users > 0 && rc == 0) {
        rc = gev__park(hub, what);
    }
    hub->current->shields--;
    s->closer = NULL;
    return s->users == 0;
}

static int end_stream(struct gev_hub *hub, struct gev_stream *s, int rc)
{
    cancel_users(s);
    if (s->users > 0 && !wait_for_users(hub, s)) {
        return rc;
    }
    int closed = finish(s);
    return rc < 0 ? rc : closed;
}

/* Flushes if nobody else is writing; what they write, they write in vain. The
 * stream may be gone if another greenlet closed it meanwhile. */
static int flush_at_end(struct gev_stream *s, bool *ret_closed)
{
    struct gev__stream_call call;

    *ret_closed = false;
    if (s->out_start == s->out_end || s->writer.user != NULL) {
        return 0;
    }
    int rc = gev__stream_begin(&call, s, &s->writer);
    if (rc == 0) {
        rc = gev__stream_flush_out(&call);
        *ret_closed = s->closing;
        gev__stream_end(&call);
    }
    return rc;
}

int gev__stream_close(struct gev_stream *s, bool flush)
{
    struct gev_hub *hub = gev__hub_get();

    if (s == NULL) {
        return 0;
    }
    if (hub == NULL || s->hub != hub) {
        return hub == NULL ? -ENOMEM : -EPERM;
    }
    if (s->closing) {
        return -EBADF; /* another greenlet is at it */
    }
    bool closed = false;
    int rc = flush ? flush_at_end(s, &closed) : 0;
    if (closed) {
        return -EBADF; /* ... since the flush */
    }
    s->cut = !flush || s->writer.user != NULL;
    return end_stream(hub, s, rc);
}

static int shut_transport(struct gev__stream_call *call)
{
    struct gev_stream *s = call->s;
    int rc = gev__stream_start_clock(call);

    if (rc < 0) {
        return rc;
    }
    enter_transport(&s->writer);
    rc = s->ops->shutdown(s->self) < 0 ? gev__transport_error() : 0;
    leave_transport(&s->writer);
    s->shut = rc == 0;
    return s->closing ? -EBADF : rc;
}

int gev__stream_shut(struct gev_stream *s)
{
    struct gev__stream_call call;
    int rc = gev__stream_begin(&call, s, &s->writer);

    if (rc < 0) {
        return rc;
    }
    rc = gev__stream_flush_out(&call);
    if (rc == 0 && s->ops->shutdown == NULL) {
        rc = -EOPNOTSUPP;
    }
    if (rc == 0 && !s->shut) {
        rc = shut_transport(&call);
    }
    gev__stream_end(&call);
    return rc;
}

void gev__stream_trim(struct gev_stream *s)
{
    if (s->reader.user == NULL && s->in_start == s->in_end) {
        s->nul = NULL;
        gev__free(s->in);
        s->in = NULL;
        s->in_size = 0;
        s->in_start = 0;
        s->in_end = 0;
        s->trimmed = true;
    }
    if (s->writer.user == NULL && s->out_start == s->out_end) {
        gev__free(s->out);
        s->out = NULL;
    }
    if (!s->closing && GEV__TRANSPORT_HAS(s->ops, trim)) {
        s->ops->trim(s->self);
    }
}

static int trim(struct gev_stream *s)
{
    const struct gev_hub *hub = gev__hub_get();

    if (hub == NULL || s->hub != hub) {
        return hub == NULL ? -ENOMEM : -EPERM;
    }
    gev__stream_trim(s);
    return 0;
}

static int detach(struct gev_stream *s)
{
    struct gev__stream_call call;

    if (!gev__stream_is_fd(s)) {
        return -ENOTSUP;
    }
    int rc = gev__stream_begin(&call, s, &s->writer);
    if (rc < 0) {
        return rc;
    }
    rc = gev__stream_flush_out(&call);
    gev__stream_end(&call);
    if (rc < 0) {
        return rc;
    }
    if (s->users > 0 || s->in_start < s->in_end) {
        return -EBUSY;
    }
    int fd = gev__self_to_fd(s->self);
    free_stream(s);
    return fd;
}

/* --- public --------------------------------------------------------------- */

gev_stream *gev_stream_open(int fd)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev_stream *s;

    if (hub == NULL) {
        return NULL;
    }
    int rc = gev__stream_open(hub, fd, &s);
    return rc < 0 ? gev__ret_null(rc) : s;
}

gev_stream *gev_stream_new(const gev_transport *ops, void *self)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev_stream *s;

    if (hub == NULL) {
        return NULL;
    }
    int rc = make_stream(hub, ops, self, &s);
    return rc < 0 ? gev__ret_null(rc) : s;
}

int gev_stream_settimeout(gev_stream *s, double seconds)
{
    if (s == NULL || isnan(seconds)) {
        return (int)gev__ret(-EINVAL);
    }
    s->reader.timeout = seconds;
    s->writer.timeout = seconds;
    s->own_timeout = true;
    return 0;
}

int gev_stream_trim(gev_stream *s)
{
    return (int)gev__ret(s == NULL ? -EINVAL : trim(s));
}

int gev_stream_shutdown(gev_stream *s)
{
    return (int)gev__ret(s == NULL ? -EINVAL : gev__stream_shut(s));
}

int gev_stream_close(gev_stream *s)
{
    return (int)gev__ret(gev__stream_close(s, true));
}

int gev_stream_abort(gev_stream *s)
{
    return (int)gev__ret(gev__stream_close(s, false));
}

int gev_stream_detach(gev_stream *s)
{
    return (int)gev__ret(s == NULL ? -EINVAL : detach(s));
}

int gev_stream_fd(const gev_stream *s)
{
    if (s == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    return s->ops->fd == NULL ? (int)gev__ret(-ENOTSUP) : s->ops->fd(s->self);
}

void *gev_stream_self(const gev_stream *s, const gev_transport *ops)
{
    return s != NULL && s->ops == ops ? s->self : NULL;
}
