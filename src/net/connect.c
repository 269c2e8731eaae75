/* SPDX-License-Identifier: MIT */
#include "net/socket.h"

#include "base/sys.h"
#include "net/io.h"

#include <gev/socket.h>

#include <netinet/in.h>

#define FULL_BACKLOG_PAUSE (INT64_C(20) * GEV__MS)

/* --- connect -------------------------------------------------------------- */

static int socket_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);
    int rc = gev__sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return rc < 0 ? rc : -error;
}

/* An attempt is under way (also after EINTR: trying it again would be
 * EALREADY). 0: ask connect again. */
static int wait_connected(const struct gev__io *io, const struct sockaddr *addr,
                          int rc)
{
    if (io->deadline == 0) {
        return rc == -EALREADY ? rc : -EINPROGRESS;
    }
    rc = gev__io_wait(io, GEV_WRITE);
    if (rc < 0 || addr->sa_family == AF_INET || addr->sa_family == AF_INET6) {
        return rc;
    }
    return socket_error(io->fd);
}

/* To this machine the handshake is over before connect returns, though it says
 * EINPROGRESS: asking once more is cheaper than registering and waiting. */
static bool is_loopback(const struct sockaddr *addr)
{
    if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)addr;
        return (ntohl(in->sin_addr.s_addr) >> 24) == 127;
    }
    if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)addr;
        return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
    }
    return false;
}

/* Being writable may mean success, failure, or a wake for nothing: only connect
 * itself tells. On IP it says EISCONN (or 0, the first time), EALREADY, or why
 * it failed; asking for SO_ERROR instead would leave the socket half-way, the
 * next attempt being ECONNABORTED. Other families may begin a new attempt when
 * the last one failed: there, SO_ERROR is asked first. */
static int connect_until(const struct gev__io *io, const struct sockaddr *addr,
                         socklen_t len)
{
    struct gev__pause pause = {.most = FULL_BACKLOG_PAUSE};
    bool ask_again = io->deadline != 0 && is_loopback(addr);
    bool waited = false;

    for (;;) {
        int rc = gev__sys_connect(io->fd, addr, len);
        if (rc == 0 || (waited && rc == -EISCONN)) {
            return 0;
        }
        if (rc == -EINPROGRESS || rc == -EALREADY || rc == -EINTR) {
            waited = true;
            if (ask_again) {
                ask_again = false;
                continue;
            }
            rc = wait_connected(io, addr, rc);
        } else if (rc == -EAGAIN && addr->sa_family == AF_UNIX) {
            /* A full backlog: not under way, and no event tells of room. */
            rc = gev__io_pause(io, &pause);
        }
        if (rc < 0) {
            return rc;
        }
    }
}

int gev__connect(struct gev_hub *hub, int fd, const struct sockaddr *addr,
                 socklen_t len, int64_t deadline)
{
    struct gev__io io;
    int rc = gev__io_begin(&io, hub, fd);

    if (rc < 0) {
        return rc;
    }
    if (deadline < io.deadline) {
        io.deadline = deadline;
    }
    return connect_until(&io, addr, len);
}

/* --- accept --------------------------------------------------------------- */

/* Connections that broke in the queue are no reason to fail; this many in one
 * call are. */
#define MAX_BROKEN 1000

/* Without descriptors or memory a loop around accept would spin, for the
 * connection stays queued. So the failure is told at once, but the next call
 * waits first: 10 ms, twice as long each time, up to 1 s. How often it failed
 * in a row is kept in the upper bits of the entry's flags. */
#define FAMINE_SHIFT 24
#define FAMINE_MAX 8u /* 10 ms << 7 is over a second */
#define FAMINE_PAUSE (INT64_C(10) * GEV__MS)

static unsigned famine(const struct gev__fd *entry)
{
    return entry->flags >> FAMINE_SHIFT;
}

static void set_famine(struct gev__fd *entry, unsigned times)
{
    entry->flags =
        (entry->flags & ((1u << FAMINE_SHIFT) - 1)) | times << FAMINE_SHIFT;
}

static GEV__COLD int wait_famine(const struct gev__io *io)
{
    int64_t pause = FAMINE_PAUSE << (famine(io->entry) - 1);
    struct gev__pause once = {
        .next = pause < GEV__SEC ? pause : GEV__SEC,
        .most = GEV__SEC,
    };
    /* Nobody who could not wait is kept from trying. */
    return io->deadline == 0 || io->hub->current->alerts != 0
               ? 0
               : gev__io_pause(io, &once);
}

/* accept(2): "already-pending network errors on the new socket". */
static bool is_broken(int fd, int rc)
{
    switch (-rc) {
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return true;
    case EOPNOTSUPP: {
        /* This one is the listener's if it is none. */
        int listens = 0;
        socklen_t len = sizeof(listens);
        return gev__sys_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens,
                                   &len) == 0 &&
               listens != 0;
    }
    default:
        return false;
    }
}

static bool is_famine(int rc)
{
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOBUFS || rc == -ENOMEM;
}

/* Without a descriptor the system does not look whether anybody is there. */
static bool is_anybody_there(int fd)
{
    struct pollfd in = {.fd = fd, .events = POLLIN};

    return gev__sys_poll(&in, 1, 0) != 0; /* a failure: as if */
}

static int accept_until(const struct gev__io *io, struct sockaddr *addr,
                        socklen_t *len)
{
    int broken = 0;

    for (;;) {
        int rc =
            gev__sys_accept4(io->fd, addr, len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (rc >= 0) {
            return rc;
        }
        if (is_famine(rc) && !is_anybody_there(io->fd)) {
            set_famine(io->entry, 0); /* for whoever comes next it is new */
            rc = -EAGAIN;
        }
        if (rc == -EAGAIN) {
            rc = gev__io_wait(io, GEV_READ);
        } else if (is_broken(io->fd, rc) && ++broken < MAX_BROKEN) {
            rc = 0;
        }
        if (rc < 0) {
            return rc;
        }
    }
}

int gev__accept(struct gev_hub *hub, int fd, struct sockaddr *addr,
                socklen_t *len)
{
    struct gev__io io;
    int rc = gev__io_begin(&io, hub, fd);

    if (rc == 0 && gev__unlikely(famine(io.entry) > 0)) {
        rc = wait_famine(&io);
    }
    if (rc < 0) {
        return rc;
    }
    rc = accept_until(&io, addr, len);
    if (gev__likely(rc >= 0)) {
        int opened = gev__fd_opened(
            hub, rc, io.entry->flags & (GEV__FD_SOCKET | GEV__FD_STREAM), NULL);
        if (opened < 0) {
            gev__sys_close(rc);
            rc = opened;
        }
    }
    if (rc >= 0) {
        set_famine(io.entry, 0);
    } else if (is_famine(rc) && famine(io.entry) < FAMINE_MAX) {
        set_famine(io.entry, famine(io.entry) + 1);
    }
    return rc;
}

unsigned gev__accept_failures(const struct gev_hub *hub, int fd)
{
    const struct gev__fd *entry = gev__fd_find(hub, fd);

    return entry == NULL ? 0 : famine(entry);
}

/* --- public --------------------------------------------------------------- */

int gev_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL
               ? -1
               : (int)gev__ret(gev__connect(hub, fd, addr, len, GEV__NEVER));
}

int gev_accept(int fd, struct sockaddr *addr, socklen_t *len)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : (int)gev__ret(gev__accept(hub, fd, addr, len));
}
