/* SPDX-License-Identifier: MIT */
#include "net/socket.h"

#include "base/sys.h"
#include "net/io.h"

#include <gev/socket.h>

#include <fcntl.h>
#include <math.h>

/* What a socket's type argument holds besides the type. */
#define TYPE_FLAGS (SOCK_NONBLOCK | SOCK_CLOEXEC)

/* What a second descriptor of the same thing has in common with the first. */
#define KIND_FLAGS (GEV__FD_SOCKET | GEV__FD_STREAM | GEV__FD_FILE)

/* --- making and closing --------------------------------------------------- */

static unsigned socket_flags(int type)
{
    return (type & ~TYPE_FLAGS) == SOCK_STREAM ? GEV__FD_SOCKET | GEV__FD_STREAM
                                               : GEV__FD_SOCKET;
}

/* A new descriptor into the table; closed if that fails. */
static int enter(struct gev_hub *hub, int fd, unsigned flags,
                 struct gev__fd **ret_entry)
{
    int rc = gev__fd_opened(hub, fd, flags, ret_entry);

    if (rc < 0) {
        gev__sys_close(fd);
        return rc;
    }
    return fd;
}

/* Both or none. */
static int enter_pair(struct gev_hub *hub, const int made[2], unsigned flags,
                      int fds[2])
{
    int rc = enter(hub, made[0], flags, NULL);

    if (rc < 0) {
        gev__sys_close(made[1]);
        return rc;
    }
    rc = enter(hub, made[1], flags, NULL);
    if (rc < 0) {
        gev__close(hub, made[0]);
        return rc;
    }
    fds[0] = made[0];
    fds[1] = made[1];
    return 0;
}

int gev__socket(struct gev_hub *hub, int domain, int type, int protocol)
{
    int fd = gev__sys_socket(domain, type | TYPE_FLAGS, protocol);
    return fd < 0 ? fd : enter(hub, fd, socket_flags(type), NULL);
}

static int make_socketpair(struct gev_hub *hub, int domain, int type,
                           int protocol, int fds[2])
{
    int made[2];

    if (fds == NULL) {
        return -EFAULT;
    }
    int rc = gev__sys_socketpair(domain, type | TYPE_FLAGS, protocol, made);
    return rc < 0 ? rc : enter_pair(hub, made, socket_flags(type), fds);
}

static int make_pipe(struct gev_hub *hub, int fds[2])
{
    int made[2];

    if (fds == NULL) {
        return -EFAULT;
    }
    int rc = gev__sys_pipe2(made, O_NONBLOCK | O_CLOEXEC);
    return rc < 0 ? rc : enter_pair(hub, made, GEV__FD_STREAM, fds);
}

int gev__close(struct gev_hub *hub, int fd)
{
    if (fd < 0) {
        return -EBADF;
    }
    if (hub != NULL) {
        gev__fd_forget(hub, fd);
    }
    return gev__sys_close(fd);
}

static int dup_fd(struct gev_hub *hub, int fd)
{
    struct gev__io io;
    struct gev__fd *entry;

    int rc = gev__io_begin(&io, hub, fd);
    if (rc < 0) {
        return rc;
    }
    rc = gev__sys_dup(fd);
    if (rc < 0) {
        return rc;
    }
    rc = enter(hub, rc, io.entry->flags & KIND_FLAGS, &entry);
    if (rc >= 0) {
        entry->timeout = io.entry->timeout;
    }
    return rc;
}

/* --- what is known of a descriptor ---------------------------------------- */

/* An entry whose descriptor is open, whatever the table says of the number. If
 * it was closed and reused behind gev's back, which shows when it blocks, it is
 * looked at anew. */
static int adopt(struct gev_hub *hub, int fd, struct gev__fd **ret_entry)
{
    struct gev__fd *entry = gev__fd_find(hub, fd);
    int rc = gev__sys_getfl(fd);

    if (rc < 0) {
        return rc;
    }
    if (entry != NULL && (entry->flags & GEV__FD_KNOWN) != 0 &&
        (entry->flags & GEV__FD_FILE) == 0 && (rc & O_NONBLOCK) == 0) {
        gev__fd_forget(hub, fd);
    }
    return gev__io_adopt(hub, fd, ret_entry);
}

static int set_timeout(struct gev_hub *hub, int fd, double seconds)
{
    struct gev__fd *entry;

    if (isnan(seconds)) {
        return -EINVAL;
    }
    int rc = adopt(hub, fd, &entry);
    if (rc == 0) {
        entry->timeout = gev__clock_ns(seconds);
    }
    return rc;
}

static int cancel_wait(struct gev_hub *hub, int fd, int error)
{
    if (error <= 0) {
        return -EINVAL;
    }
    int rc = gev__sys_getfl(fd);
    return rc < 0 ? rc : gev__fd_cancel(hub, fd, error);
}

/* --- public --------------------------------------------------------------- */

int gev_socket(int domain, int type, int protocol)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL
               ? -1
               : (int)gev__ret(gev__socket(hub, domain, type, protocol));
}

int gev_socketpair(int domain, int type, int protocol, int fds[2])
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1
                       : (int)gev__ret(
                             make_socketpair(hub, domain, type, protocol, fds));
}

int gev_pipe(int fds[2])
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : (int)gev__ret(make_pipe(hub, fds));
}

int gev_close(int fd)
{
    return (int)gev__ret(gev__close(gev__thread_hub, fd));
}

int gev_dup(int fd)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : (int)gev__ret(dup_fd(hub, fd));
}

int gev_adopt(int fd)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev__fd *entry;
    return hub == NULL ? -1 : (int)gev__ret(adopt(hub, fd, &entry));
}

int gev_settimeout(int fd, double seconds)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : (int)gev__ret(set_timeout(hub, fd, seconds));
}

int gev_cancel_wait(int fd, int error)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : (int)gev__ret(cancel_wait(hub, fd, error));
}

int gev_shutdown(int fd, int how)
{
    return (int)gev__ret(gev__sys_shutdown(fd, how));
}
