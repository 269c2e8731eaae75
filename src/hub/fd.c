/* SPDX-License-Identifier: MIT */
#include "hub/fd.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/sys.h"
#include "hub/fd_wait.h"
#include "hub/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* --- the table ------------------------------------------------------------ */

static int grow_table(struct gev_hub *hub, unsigned blocks)
{
    struct gev__fd **fds =
        gev__reallocarray(hub->fds, blocks, sizeof(*hub->fds));

    if (fds == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = hub->n_fd_blocks; i < blocks; i++) {
        fds[i] = NULL;
    }
    hub->fds = fds;
    hub->n_fd_blocks = blocks;
    return 0;
}

struct gev__fd *gev__fd_get(struct gev_hub *hub, int fd)
{
    unsigned block = (unsigned)fd / GEV__FD_BLOCK;

    if (fd < 0) {
        return NULL;
    }
    if (block >= hub->n_fd_blocks && grow_table(hub, block + 1) < 0) {
        return NULL;
    }
    if (hub->fds[block] == NULL) {
        struct gev__fd *entries =
            gev__calloc_aligned(GEV__FD_BLOCK, sizeof(*entries), GEV__LINE);
        if (entries == NULL) {
            return NULL;
        }
        for (unsigned i = 0; i < GEV__FD_BLOCK; i++) {
            struct gev__fd *e = &entries[i];
            for (int d = 0; d < 2; d++) {
                gev__list_init(&e->ways[d].waiters);
                e->stale[d] = true;
            }
            e->timeout = GEV__NEVER;
            e->fd = (int)(block * GEV__FD_BLOCK + i);
            gev__list_init(&e->fresh);
        }
        hub->fds[block] = entries;
    }
    return &hub->fds[block][(unsigned)fd % GEV__FD_BLOCK];
}

void gev__fd_fini(struct gev_hub *hub)
{
    for (unsigned i = 0; i < hub->n_fd_blocks; i++) {
        gev__free_aligned(hub->fds[i]);
    }
    gev__free(hub->fds);
    hub->fds = NULL;
    hub->n_fd_blocks = 0;
    gev__list_init(&hub->fresh_fds);
    hub->fd_waiters = 0;
}

size_t gev__fd_count_waited(const struct gev_hub *hub)
{
    size_t n = 0;

    for (unsigned b = 0; b < hub->n_fd_blocks; b++) {
        for (unsigned i = 0; hub->fds[b] != NULL && i < GEV__FD_BLOCK; i++) {
            const struct gev__fd *e = &hub->fds[b][i];
            n += !gev__list_is_empty(&e->ways[0].waiters) ||
                 !gev__list_is_empty(&e->ways[1].waiters);
        }
    }
    return n;
}

/* --- watching ------------------------------------------------------------- */

/* Ends all waits in one direction with a code. */
static int fail_waiters(struct gev__fd *e, int d, int error)
{
    int n = 0;

    gev__list_foreach(node, &e->ways[d].waiters) {
        struct gev__fd_waiter *w =
            gev__container_of(node, struct gev__fd_waiter, link);
        w->error = error;
        n += gev__wake(w->greenlet, error);
    }
    return n;
}

/* The same because it is ready. */
GEV__INLINE void ready_waiters(struct gev__fd_way *way, int ready)
{
    gev__list_foreach(node, &way->waiters) {
        struct gev__fd_waiter *w =
            gev__container_of(node, struct gev__fd_waiter, link);
        w->ready |= ready;
        gev__wake_inline(w->greenlet, 0);
    }
}

static void stop_watching(struct gev_hub *hub, struct gev__fd *e, int d)
{
    if (ev_is_active(&e->ways[d].watch)) {
        ev_ref(hub->loop);
        ev_io_stop(hub->loop, &e->ways[d].watch);
    }
}

/* An event that makes nobody ready. */
static GEV__COLD void on_other_event(struct ev_loop *loop, struct gev__fd *e,
                                     int d, int events)
{
    if (events & EV_ERROR) {
        /* The kernel refused the descriptor (closed behind our back, or no
         * memory), and libev has stopped the watcher. */
        int gone = gev__sys_getfl(e->fd) == -EBADF;
        ev_ref(loop);
        e->stale[d] = true;
        fail_waiters(e, d, gone ? -EBADF : -ENOMEM);
    } else {
        stop_watching(ev_userdata(loop), e, d);
    }
}

static bool is_wanted(const struct gev__fd_way *way, int events)
{
    return !(events & EV_ERROR) && !gev__list_is_empty(&way->waiters);
}

static void on_readable(struct ev_loop *loop, ev_io *w, int events)
{
    struct gev__fd *e = gev__container_of(w, struct gev__fd, ways[0].watch);

    if (gev__unlikely(!is_wanted(&e->ways[0], events))) {
        on_other_event(loop, e, 0, events);
        return;
    }
    e->flags &= ~(unsigned)GEV__FD_DRAINED;
    ready_waiters(&e->ways[0], GEV_READ);
}

/* A socket stays writable: left watched, it would be reported in every turn. A
 * writer that parks again before the next one costs nothing. */
static void on_writable(struct ev_loop *loop, ev_io *w, int events)
{
    struct gev__fd *e = gev__container_of(w, struct gev__fd, ways[1].watch);

    if (gev__unlikely(!is_wanted(&e->ways[1], events))) {
        on_other_event(loop, e, 1, events);
        return;
    }
    ready_waiters(&e->ways[1], GEV_WRITE);
    stop_watching(ev_userdata(loop), e, 1);
}

GEV__NOINLINE int gev__fd_start_watching(struct gev_hub *hub, struct gev__fd *e,
                                         int d)
{
    struct gev__fd_way *way = &e->ways[d];
    int rc = gev__loop_reserve(hub, e->fd);

    if (rc < 0) {
        return rc;
    }
    if (e->stale[d]) {
        if (d == 0) {
            ev_io_init(&way->watch, on_readable, e->fd, EV_READ);
        } else {
            ev_io_init(&way->watch, on_writable, e->fd, EV_WRITE);
        }
        e->stale[d] = false;
    }
    ev_io_start(hub->loop, &way->watch);
    ev_unref(hub->loop);
    if (gev__list_is_empty(&e->fresh)) {
        gev__list_push_back(&hub->fresh_fds, &e->fresh);
    }
    return 0;
}

int gev__fd_add_waiter(struct gev_hub *hub, struct gev__fd *e, int d,
                       struct gev__fd_waiter *waiter)
{
    return gev__fd_add_waiter_inline(hub, e, d, waiter);
}

void gev__fd_add_silent_waiter(struct gev_hub *hub, struct gev__fd *e,
                               struct gev__fd_waiter *waiter)
{
    gev__fd_rewatch(hub, e);
    gev__fd_list_waiter_inline(hub, e, 1, waiter);
}

void gev__fd_remove_waiter(struct gev_hub *hub, struct gev__fd_waiter *waiter)
{
    gev__fd_remove_waiter_inline(hub, waiter);
}

static int wait_one_way(struct gev_hub *hub, struct gev__fd *e, int d,
                        struct gev__wait_for what, int64_t deadline)
{
    struct gev__fd_waiter waiter;
    int rc = gev__fd_add_waiter_inline(hub, e, d, &waiter);

    if (rc < 0) {
        return rc;
    }
    rc = gev__park_until_inline(hub, what, deadline);
    gev__fd_remove_waiter_inline(hub, &waiter);
    return gev__fd_outcome(rc, &waiter);
}

static int wait_both_ways(struct gev_hub *hub, struct gev__fd *e,
                          struct gev__wait_for what, int64_t deadline)
{
    struct gev__fd_waiter waiters[2];
    int rc = gev__fd_add_waiter(hub, e, 0, &waiters[0]);

    if (rc < 0) {
        return rc;
    }
    rc = gev__fd_add_waiter(hub, e, 1, &waiters[1]);
    if (rc == 0) {
        rc = gev__park_until_inline(hub, what, deadline);
        gev__fd_remove_waiter(hub, &waiters[1]);
    }
    gev__fd_remove_waiter(hub, &waiters[0]);
    int in = gev__fd_outcome(rc, &waiters[0]);
    int out = in < 0 ? in : gev__fd_outcome(rc, &waiters[1]);
    return out < 0 ? out : in | out;
}

int gev__fd_wait(struct gev_hub *hub, struct gev__fd *e, int events,
                 int64_t deadline)
{
    const struct gev__wait_for what = {
        .kind = GEV__WAIT_FD, .events = events, .number = e->fd};

    if (e->flags & GEV__FD_FILE) {
        return events;
    }
    if (events == (GEV_READ | GEV_WRITE)) {
        return wait_both_ways(hub, e, what, deadline);
    }
    return wait_one_way(hub, e, events == GEV_WRITE, what, deadline);
}

/* --- what is known of a descriptor ---------------------------------------- */

static int find_out_flags(int fd, unsigned *ret_flags)
{
    struct stat st;
    unsigned flags = GEV__FD_KNOWN;
    int rc = gev__sys_fstat(fd, &st);

    if (rc < 0) {
        return rc;
    }
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode)) {
        flags |= GEV__FD_FILE;
    } else if (S_ISFIFO(st.st_mode)) {
        flags |= GEV__FD_STREAM;
    } else if (S_ISSOCK(st.st_mode)) {
        int type = 0;
        socklen_t len = sizeof(int);
        rc = gev__sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
        if (rc < 0) {
            return rc;
        }
        flags |= GEV__FD_SOCKET;
        flags |= type == SOCK_STREAM ? GEV__FD_STREAM : 0u;
    }
    *ret_flags = flags;
    return 0;
}

int gev__fd_adopt(struct gev_hub *hub, int fd, struct gev__fd **ret_entry)
{
    struct gev__fd *e = gev__fd_find(hub, fd);
    unsigned flags = 0;

    if (e != NULL && (e->flags & GEV__FD_KNOWN)) {
        *ret_entry = e;
        return 0;
    }
    if (fd < 0) {
        return -EBADF;
    }
    int rc = find_out_flags(fd, &flags);
    if (rc < 0) {
        return rc;
    }
    if (!(flags & GEV__FD_FILE)) {
        rc = gev__sys_getfl(fd);
        if (rc >= 0 && !(rc & O_NONBLOCK)) {
            rc = gev__sys_setfl(fd, rc | O_NONBLOCK);
        }
        if (rc < 0) {
            return rc;
        }
    }
    e = gev__fd_get(hub, fd);
    if (e == NULL) {
        return -ENOMEM;
    }
    e->flags = flags;
    *ret_entry = e;
    return 0;
}

int gev__fd_opened(struct gev_hub *hub, int fd, unsigned flags,
                   struct gev__fd **ret_entry)
{
    struct gev__fd *e = gev__fd_get(hub, fd);

    if (e == NULL) {
        return -ENOMEM;
    }
    /* Whatever the table says of that number was closed behind our back. */
    gev__fd_forget(hub, fd);
    e->flags = GEV__FD_KNOWN | flags;
    if (ret_entry != NULL) {
        *ret_entry = e;
    }
    return 0;
}

int gev__fd_cancel(struct gev_hub *hub, int fd, int error)
{
    struct gev__fd *e = gev__fd_find(hub, fd);

    return e == NULL ? 0
                     : fail_waiters(e, 0, -error) + fail_waiters(e, 1, -error);
}

void gev__fd_forget(struct gev_hub *hub, int fd)
{
    struct gev__fd *e = gev__fd_find(hub, fd);

    if (e == NULL) {
        return;
    }
    for (int d = 0; d < 2; d++) {
        struct gev__list *node;

        fail_waiters(e, d, -EBADF);
        /* Off the list now: the number may have new waiters before these run.
         */
        while ((node = gev__list_first(&e->ways[d].waiters)) != NULL) {
            gev__fd_remove_waiter(
                hub, gev__container_of(node, struct gev__fd_waiter, link));
        }
        stop_watching(hub, e, d);
        e->stale[d] = true;
    }
    gev__list_remove(&e->fresh);
    e->flags = 0;
    e->timeout = GEV__NEVER;
}

void gev__fd_check_fresh_slow(struct gev_hub *hub)
{
    struct gev__list *node;

    while ((node = gev__list_pop(&hub->fresh_fds)) != NULL) {
        struct gev__fd *e = gev__container_of(node, struct gev__fd, fresh);
        if (gev__sys_getfl(e->fd) == -EBADF) {
            gev__fd_forget(hub, e->fd);
        }
    }
}

void gev__fd_rewatch(struct gev_hub *hub, struct gev__fd *e)
{
    for (int d = 0; d < 2; d++) {
        if (gev__list_is_empty(&e->ways[d].waiters)) {
            stop_watching(hub, e, d);
            e->stale[d] = true;
        }
    }
}

void gev__fd_stop_all(struct gev_hub *hub)
{
    for (unsigned b = 0; b < hub->n_fd_blocks; b++) {
        for (unsigned i = 0; hub->fds[b] != NULL && i < GEV__FD_BLOCK; i++) {
            for (int d = 0; d < 2; d++) {
                stop_watching(hub, &hub->fds[b][i], d);
            }
        }
    }
    gev__fd_forked(hub);
}

void gev__fd_forked(struct gev_hub *hub)
{
    for (unsigned b = 0; b < hub->n_fd_blocks; b++) {
        for (unsigned i = 0; hub->fds[b] != NULL && i < GEV__FD_BLOCK; i++) {
            struct gev__fd *e = &hub->fds[b][i];
            for (int d = 0; d < 2; d++) {
                while (gev__list_pop(&e->ways[d].waiters) != NULL) {
                }
                gev__list_init(&e->fresh);
                memset(&e->ways[d].watch, 0, sizeof(e->ways[d].watch));
                e->stale[d] = true;
            }
        }
    }
    gev__list_init(&hub->fresh_fds);
    hub->fd_waiters = 0;
}
