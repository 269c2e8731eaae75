/* SPDX-License-Identifier: MIT */

/* gev_wait_fd: the way to make other libraries' descriptors cooperative. They
 * are closed and reopened behind gev's back, so each wait registers anew, and
 * they are not made non-blocking. */

#include "base/error.h"
#include "base/sys.h"
#include "hub/fd.h"
#include "hub/sched.h"

/* What is ready now; -EBADF. */
static int look(int fd, int events)
{
    struct pollfd p = {.fd = fd};

    p.events = (short)((events & GEV_READ ? POLLIN : 0) |
                       (events & GEV_WRITE ? POLLOUT : 0));
    int rc = gev__sys_poll(&p, 1, 0);
    if (rc < 0) {
        return rc;
    }
    if (p.revents & POLLNVAL) {
        return -EBADF;
    }
    if (p.revents & (POLLERR | POLLHUP)) {
        return events;
    }
    return (p.revents & POLLIN ? GEV_READ : 0) |
           (p.revents & POLLOUT ? GEV_WRITE : 0);
}

static int wait_fd(struct gev_hub *hub, int fd, int events, double timeout)
{
    int64_t deadline;
    int rc = gev__deadline(hub, timeout, &deadline);

    if (rc == 0 && fd < 0) {
        rc = -EBADF;
    }
    if (rc == 0 && (events == 0 || (events & ~(GEV_READ | GEV_WRITE)))) {
        rc = -EINVAL;
    }
    if (rc == 0) {
        rc = look(fd, events);
    }
    if (rc != 0) {
        return rc;
    }
    if (deadline == 0) {
        return -ETIMEDOUT;
    }
    struct gev__fd *entry = gev__fd_get(hub, fd);
    if (entry == NULL) {
        return -ENOMEM;
    }
    gev__fd_rewatch(hub, entry);
    return gev__fd_wait(hub, entry, events, deadline);
}

/* --- public --------------------------------------------------------------- */

int gev_wait_fd(int fd, int events, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(wait_fd(hub, fd, events, timeout));
}
