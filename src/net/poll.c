/* SPDX-License-Identifier: MIT */
#include "net/socket.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/sys.h"
#include "hub/fd.h"
#include "hub/sched.h"

#include <gev/socket.h>

#include <string.h>
#include <sys/epoll.h>

/* The kernel says what is ready, before the wait and after it; the fd table
 * only says when to ask. Its watchers know two events, readable and writable.
 * Should a caller want others (urgent data, a lone hang-up), which may stay
 * away while the descriptor is readable all the time, an epoll set made for
 * this call watches exactly what was asked for, and the table watches the set.
 */

#define READS (POLLIN | POLLRDNORM)
#define WRITES (POLLOUT | POLLWRNORM | POLLWRBAND)
#define INEXACT (POLLPRI | POLLRDBAND | POLLRDHUP)

#define FEW 8 /* descriptors whose waiters fit on the stack */

/* Who waits: two waiters for each descriptor, and one for the epoll set. */
struct polling {
    struct gev_hub *hub;
    struct pollfd *fds;
    nfds_t n;
    int set; /* the epoll set, or -1 */
    struct gev__fd_waiter on_set;
    struct gev__fd_waiter *waiters; /* [2 * n]: reading, writing */
};

/* Whether the table's watchers tell of all that was asked for. Whoever waits to
 * read is told of a peer's shutdown, too. */
static bool is_exact(const struct pollfd *p)
{
    short inexact = (short)(p->events & INEXACT);

    if (p->fd < 0) {
        return true;
    }
    if (inexact == POLLRDHUP && (p->events & READS) != 0) {
        inexact = 0;
    }
    return inexact == 0 && (p->events & (READS | WRITES)) != 0;
}

/* --- the epoll set -------------------------------------------------------- */

/* Everything asked for on one descriptor, which may be there several times. */
static unsigned all_events(const struct polling *p, int fd)
{
    unsigned events = 0;

    for (nfds_t i = 0; i < p->n; i++) {
        if (p->fds[i].fd == fd) {
            events |= (unsigned)(unsigned short)p->fds[i].events;
        }
    }
    return events; /* EPOLLx == POLLx on Linux */
}

static int fill_set(const struct polling *p)
{
    for (nfds_t i = 0; i < p->n; i++) {
        int fd = p->fds[i].fd;
        if (fd < 0) {
            continue;
        }
        int rc = gev__sys_epoll_ctl(p->set, EPOLL_CTL_ADD, fd,
                                    (unsigned short)p->fds[i].events);
        if (rc == -EEXIST) {
            rc = gev__sys_epoll_ctl(p->set, EPOLL_CTL_MOD, fd,
                                    all_events(p, fd));
        }
        /* EPERM: a file, always ready for what it can be ready for. */
        if (rc < 0 && rc != -EPERM) {
            return rc;
        }
    }
    return 0;
}

static int make_set(struct polling *p)
{
    int rc = gev__sys_epoll_create();

    if (rc < 0) {
        return rc;
    }
    p->set = rc;
    struct gev__fd *entry;
    rc = gev__fd_opened(p->hub, p->set, 0, &entry);
    return rc < 0 ? rc : fill_set(p);
}

static void close_set(struct polling *p)
{
    if (p->set >= 0) {
        gev__close(p->hub, p->set);
    }
}

/* --- waiting -------------------------------------------------------------- */

static int add_one(struct polling *p, nfds_t i)
{
    int fd = p->fds[i].fd;
    struct gev__fd_waiter *w = &p->waiters[2 * i];
    int rc = 0;

    if (fd < 0) {
        return 0;
    }
    struct gev__fd *entry = gev__fd_get(p->hub, fd);
    if (entry == NULL) {
        return -ENOMEM;
    }
    if (p->set >= 0) {
        gev__fd_add_silent_waiter(p->hub, entry, &w[1]); /* the rest: the set */
        return 0;
    }
    if (p->fds[i].events & READS) {
        rc = gev__fd_add_waiter(p->hub, entry, 0, &w[0]);
    }
    if (rc == 0 && (p->fds[i].events & WRITES) != 0) {
        rc = gev__fd_add_waiter(p->hub, entry, 1, &w[1]);
    }
    return rc;
}

static int add_waiters(struct polling *p)
{
    int rc = 0;

    memset(p->waiters, 0, 2 * p->n * sizeof(*p->waiters));
    for (nfds_t i = 0; i < 2 * p->n; i++) {
        gev__list_init(&p->waiters[i].link);
    }
    memset(&p->on_set, 0, sizeof(p->on_set));
    gev__list_init(&p->on_set.link);
    for (nfds_t i = 0; i < p->n && rc == 0; i++) {
        rc = add_one(p, i);
    }
    if (rc == 0 && p->set >= 0) {
        rc = gev__fd_add_waiter(p->hub, gev__fd_find(p->hub, p->set), 0,
                                &p->on_set);
    }
    return rc;
}

static void remove_waiters(struct polling *p)
{
    for (nfds_t i = 0; i < p->n; i++) {
        int fd = p->fds[i].fd;
        gev__fd_remove_waiter(p->hub, &p->waiters[2 * i]);
        gev__fd_remove_waiter(p->hub, &p->waiters[2 * i + 1]);
        struct gev__fd *entry = fd < 0 ? NULL : gev__fd_find(p->hub, fd);
        if (entry != NULL && (entry->flags & GEV__FD_KNOWN) == 0) {
            /* Not gev's own: whoever owns it may close it by close(2). */
            gev__fd_rewatch(p->hub, entry);
        }
    }
    gev__fd_remove_waiter(p->hub, &p->on_set);
}

/* What is ready now. Those closed under the wait are marked, whatever their
 * numbers stand for now. */
static int look(const struct polling *p)
{
    int count = 0;
    int rc = gev__sys_poll(p->fds, p->n, 0);

    for (nfds_t i = 0; i < p->n && rc >= 0; i++) {
        if (p->waiters[2 * i].error == -EBADF ||
            p->waiters[2 * i + 1].error == -EBADF) {
            p->fds[i].revents = POLLNVAL;
        }
        count += p->fds[i].revents != 0;
    }
    return rc < 0 ? rc : count;
}

static int wait_ready(struct polling *p, int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_POLL,
                                       .number = (long)p->n};
    for (;;) {
        int rc = add_waiters(p);
        if (rc == 0) {
            rc = gev__park_until(p->hub, what, deadline);
        }
        remove_waiters(p);
        bool is_over = rc == -ETIMEDOUT && deadline <= gev__clock_now();
        if (rc < 0 && rc != -EBADF && !is_over) {
            return rc;
        }
        int ready = look(p);
        if (ready != 0 || is_over) {
            return ready;
        }
        if (rc == -EBADF) {
            return rc; /* thrown, then: nothing was closed */
        }
    }
}

int gev__poll(struct gev_hub *hub, struct pollfd *fds, nfds_t n,
              int64_t deadline)
{
    int rc = gev__sys_poll(fds, n, 0);

    if (rc != 0 || deadline == 0) {
        return rc;
    }
    struct gev__fd_waiter few[2 * FEW];
    struct polling p = {
        .hub = hub, .fds = fds, .n = n, .set = -1, .waiters = few};
    if (n > FEW) {
        p.waiters = gev__reallocarray(NULL, 2 * n, sizeof(*p.waiters));
        if (p.waiters == NULL) {
            return -ENOMEM;
        }
    }
    for (nfds_t i = 0; i < n && rc == 0 && p.set < 0; i++) {
        if (!is_exact(&fds[i])) {
            rc = make_set(&p);
        }
    }
    if (rc == 0) {
        rc = wait_ready(&p, deadline);
    }
    close_set(&p);
    if (p.waiters != few) {
        gev__free(p.waiters);
    }
    return rc;
}

/* --- select --------------------------------------------------------------- */

/* What select(2) calls readable, writable, exceptional. */
#define IN_SET (POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR)
#define OUT_SET (POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR)
#define EXCEPT_SET POLLPRI

struct sets {
    fd_set *read_set;
    fd_set *write_set;
    fd_set *except_set;
};

static bool is_in(const fd_set *set, int fd)
{
    return set != NULL && FD_ISSET(fd, set);
}

/* Returns how many. */
static nfds_t from_sets(const struct sets *s, int nfds, struct pollfd *fds)
{
    nfds_t n = 0;

    for (int fd = 0; fd < nfds; fd++) {
        short events = 0;
        events |= is_in(s->read_set, fd) ? POLLIN : 0;
        events |= is_in(s->write_set, fd) ? POLLOUT : 0;
        events |= is_in(s->except_set, fd) ? POLLPRI : 0;
        if (events != 0) {
            fds[n++] = (struct pollfd){.fd = fd, .events = events};
        }
    }
    return n;
}

static int set_bits(fd_set *set, const struct pollfd *fds, nfds_t n,
                    short asked, short bits)
{
    int count = 0;

    if (set == NULL) {
        return 0;
    }
    FD_ZERO(set);
    for (nfds_t i = 0; i < n; i++) {
        if ((fds[i].events & asked) != 0 && (fds[i].revents & bits) != 0) {
            FD_SET(fds[i].fd, set);
            count++;
        }
    }
    return count;
}

static int to_sets(const struct sets *s, const struct pollfd *fds, nfds_t n)
{
    for (nfds_t i = 0; i < n; i++) {
        if (fds[i].revents & POLLNVAL) {
            return -EBADF;
        }
    }
    return set_bits(s->read_set, fds, n, POLLIN, IN_SET) +
           set_bits(s->write_set, fds, n, POLLOUT, OUT_SET) +
           set_bits(s->except_set, fds, n, POLLPRI, EXCEPT_SET);
}

static int select_deadline(struct gev_hub *hub, const struct timeval *timeout,
                           int64_t *ret_deadline)
{
    int64_t ns;

    *ret_deadline = GEV__NEVER;
    if (timeout == NULL) {
        return 0;
    }
    if (timeout->tv_sec < 0 || timeout->tv_usec < 0) {
        return -EINVAL;
    }
    if (__builtin_mul_overflow((int64_t)timeout->tv_sec, GEV__SEC, &ns) ||
        __builtin_add_overflow(ns, (int64_t)timeout->tv_usec * 1000, &ns)) {
        return 0;
    }
    *ret_deadline = ns == 0 ? 0 : gev__clock_add(gev__now_base(hub), ns);
    return 0;
}

static int select_fds(struct gev_hub *hub, int nfds, const struct sets *s,
                      int64_t deadline)
{
    struct pollfd *fds = NULL;

    if (nfds > 0) {
        fds = gev__reallocarray(NULL, (size_t)nfds, sizeof(*fds));
        if (fds == NULL) {
            return -ENOMEM;
        }
    }
    nfds_t n = from_sets(s, nfds, fds);
    int rc = gev__poll(hub, fds, n, deadline);
    if (rc >= 0) {
        rc = to_sets(s, fds, n);
    }
    gev__free(fds);
    return rc;
}

/* --- public --------------------------------------------------------------- */

int gev_poll(struct pollfd *fds, nfds_t n, int milliseconds)
{
    struct gev_hub *hub = gev__hub_get();
    int64_t deadline = milliseconds == 0 ? 0 : GEV__NEVER;

    if (hub == NULL) {
        return -1;
    }
    if (milliseconds > 0) {
        deadline = gev__clock_add(gev__now_base(hub), milliseconds * GEV__MS);
    }
    return (int)gev__ret(gev__poll(hub, fds, n, deadline));
}

int gev_select(int nfds, fd_set *read_set, fd_set *write_set,
               fd_set *except_set, struct timeval *timeout)
{
    struct gev_hub *hub = gev__hub_get();
    const struct sets s = {read_set, write_set, except_set};
    int64_t deadline;

    if (hub == NULL) {
        return -1;
    }
    int rc = nfds < 0 || nfds > FD_SETSIZE ? -EINVAL : 0;
    if (rc == 0) {
        rc = select_deadline(hub, timeout, &deadline);
    }
    return rc < 0 ? (int)gev__ret(rc)
                  : (int)gev__ret(select_fds(hub, nfds, &s, deadline));
}
