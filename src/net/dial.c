/* SPDX-License-Identifier: MIT */

/* Connecting to a name (RFC 8305, "happy eyeballs") or a path.
 *
 * All attempts on a name run in the calling greenlet: they are non-blocking
 * connects, and gev__poll() waits for all of them at once. The next one begins
 * when the last one failed, or has not been heard of for 250 ms; those before
 * it stay in the race. */

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/sys.h"
#include "hub/sched.h"
#include "net/address.h"
#include "net/dns.h"
#include "net/socket.h"

#include <gev/socket.h>

/* RFC 8305, section 8: the recommended Connection Attempt Delay. */
#define ATTEMPT_DELAY (INT64_C(250) * GEV__MS)

struct race {
    struct gev_hub *hub;
    const struct addrinfo **order; /* [count] the addresses, in turns */
    size_t count;
    size_t begun;       /* order[0 .. begun) were tried */
    struct pollfd *fds; /* [running] connects under way; room for count */
    size_t running;
    int64_t next_at; /* when the next attempt is due */
    int error;       /* what to report if all fail; 0: none failed yet */
};

/* --- in which order --------------------------------------------------------
 */

static const struct addrinfo *next_of(const struct addrinfo *ai, int family,
                                      bool is_of)
{
    while (ai != NULL && (ai->ai_family == family) != is_of) {
        ai = ai->ai_next;
    }
    return ai;
}

/* The resolver's order (RFC 6724), but the first one's family and the others in
 * turns. */
static void interleave(struct race *r, const struct addrinfo *list)
{
    int family = list->ai_family;
    const struct addrinfo *same = list;
    const struct addrinfo *other = next_of(list, family, false);

    while (same != NULL || other != NULL) {
        if (same != NULL) {
            r->order[r->count++] = same;
            same = next_of(same->ai_next, family, true);
        }
        if (other != NULL) {
            r->order[r->count++] = other;
            other = next_of(other->ai_next, family, false);
        }
    }
}

/* --- the attempts -----------------------------------------------------------
 */

/* Without a route or a local address the attempt never left this machine: such
 * an error yields to one that came from the network. */
static bool is_local(int rc)
{
    return rc == -ENETUNREACH || rc == -EHOSTUNREACH || rc == -EADDRNOTAVAIL ||
           rc == -EAFNOSUPPORT || rc == -EPROTONOSUPPORT;
}

static void note_error(struct race *r, int rc)
{
    if (r->error == 0 || (is_local(r->error) && !is_local(rc))) {
        r->error = rc;
    }
}

/* Begins the next attempt: the descriptor if it is connected at once, or -1. */
static int begin_next(struct race *r)
{
    const struct addrinfo *ai = r->order[r->begun++];

    r->next_at = gev__clock_add(gev__now_base(r->hub), ATTEMPT_DELAY);
    int fd = gev__socket(r->hub, ai->ai_family, SOCK_STREAM, ai->ai_protocol);
    if (fd < 0) {
        note_error(r, fd);
        return -1;
    }
    int rc = gev__sys_connect(fd, ai->ai_addr, ai->ai_addrlen);
    if (rc == 0) {
        return fd;
    }
    if (rc == -EINPROGRESS || rc == -EINTR) {
        r->fds[r->running++] = (struct pollfd){.fd = fd, .events = POLLOUT};
        return -1;
    }
    note_error(r, rc);
    gev__close(r->hub, fd);
    return -1;
}

/* Takes the attempt out of the race. */
static int take(struct race *r, size_t i)
{
    int fd = r->fds[i].fd;

    r->running--;
    for (; i < r->running; i++) {
        r->fds[i] = r->fds[i + 1];
    }
    return fd;
}

/* Looks at those that poll says are through: the winner, or -1. */
static int look(struct race *r)
{
    size_t i = 0;

    while (i < r->running) {
        if (r->fds[i].revents == 0) {
            i++;
            continue;
        }
        int fd = take(r, i);
        int error = 0;
        socklen_t len = sizeof(error);
        int rc = gev__sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (rc == 0 && error == 0) {
            return fd;
        }
        note_error(r, rc < 0 ? rc : -error);
        gev__close(r->hub, fd);
        r->next_at = 0; /* now */
    }
    return -1;
}

/* The winner, or -errno; what still runs is the caller's to close. */
static int run_race(struct race *r, int64_t deadline)
{
    for (;;) {
        bool has_next = r->begun < r->count;
        if (r->running == 0 && !has_next) {
            return r->error;
        }
        if (has_next && (r->running == 0 || r->next_at <= gev__clock_now())) {
            int fd = begin_next(r);
            if (fd >= 0) {
                return fd;
            }
            continue;
        }
        int64_t until = has_next && deadline != 0 && r->next_at < deadline
                            ? r->next_at
                            : deadline;
        int rc = gev__poll(r->hub, r->fds, r->running, until);
        if (rc < 0) {
            return rc;
        }
        if (rc == 0 && until == deadline) {
            return -ETIMEDOUT;
        }
        int fd = look(r);
        if (fd >= 0) {
            return fd;
        }
    }
}

int gev__connect_any(struct gev_hub *hub, const struct addrinfo *list,
                     int64_t deadline)
{
    struct race r = {.hub = hub};
    size_t n = 0;
    int rc = -ENOMEM;

    if (list == NULL) {
        return -EADDRNOTAVAIL;
    }
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
        n++;
    }
    r.order = gev__reallocarray(NULL, n, sizeof(*r.order));
    r.fds = gev__reallocarray(NULL, n, sizeof(*r.fds));
    if (r.order != NULL && r.fds != NULL) {
        interleave(&r, list);
        rc = run_race(&r, deadline);
    }
    while (r.running > 0) {
        gev__close(hub, take(&r, r.running - 1));
    }
    gev__free(r.order);
    gev__free(r.fds);
    return rc;
}

static int tcp_connect(struct gev_hub *hub, const char *host,
                       const char *service, double timeout)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    int64_t deadline;

    int rc = gev__deadline(hub, timeout, &deadline);
    if (rc < 0) {
        return rc;
    }
    rc = gev__address_resolve(hub, host, service, &hints, deadline, &list);
    if (rc < 0) {
        return rc;
    }
    rc = gev__connect_any(hub, list, deadline);
    gev__freeaddrinfo(list);
    return rc;
}

static int unix_connect(struct gev_hub *hub, const char *path, double timeout)
{
    struct sockaddr_un addr;
    int64_t deadline;

    int rc = gev__deadline(hub, timeout, &deadline);
    if (rc == 0) {
        rc = gev__address_unix(path, &addr);
    }
    if (rc < 0) {
        return rc;
    }
    int fd = gev__socket(hub, AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) {
        return fd;
    }
    rc = gev__connect(hub, fd, (const struct sockaddr *)&addr, sizeof(addr),
                      deadline);
    if (rc < 0) {
        gev__close(hub, fd);
        return rc == -EAGAIN && deadline == 0 ? -ETIMEDOUT : rc;
    }
    return fd;
}

/* --- public --------------------------------------------------------------- */

int gev_tcp_connect(const char *host, const char *service, double timeout)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL
               ? -1
               : (int)gev__ret(tcp_connect(hub, host, service, timeout));
}

int gev_unix_connect(const char *path, double timeout)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : (int)gev__ret(unix_connect(hub, path, timeout));
}
