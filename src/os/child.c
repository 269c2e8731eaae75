/* SPDX-License-Identifier: MIT */

/* Waiting for one child process: by pidfd, so that it works in any thread,
 * needs no SIGCHLD handler and reaps nobody else's children. */

#include "base/clock.h"
#include "base/error.h"
#include "base/sys.h"
#include "hub/fd.h"
#include "hub/sched.h"

/* Kernels before 5.3 have no pidfd: look every now and then. */
#define LOOK_FIRST (1 * GEV__MS)
#define LOOK_MAX (20 * GEV__MS)

/* 1: reaped; 0: not yet; -ECHILD. */
static int reap(pid_t pid, int *ret_status)
{
    int status;
    int rc = gev__sys_waitpid(pid, &status, WNOHANG);

    if (rc <= 0) {
        return rc;
    }
    if (ret_status != NULL) {
        *ret_status = status;
    }
    return 1;
}

static int wait_by_looking(struct gev_hub *hub, pid_t pid, int *ret_status,
                           int64_t deadline)
{
    int64_t pause = LOOK_FIRST;

    for (;;) {
        int rc = reap(pid, ret_status);
        if (rc != 0) {
            return rc < 0 ? rc : 0;
        }
        int64_t now = gev__now_base(hub);
        if (now >= deadline) {
            return -ETIMEDOUT;
        }
        int64_t until = gev__clock_add(now, pause);
        rc = gev__sleep_until(hub, until < deadline ? until : deadline);
        if (rc < 0) {
            return rc;
        }
        pause = pause * 2 < LOOK_MAX ? pause * 2 : LOOK_MAX;
    }
}

static int wait_by_pidfd(struct gev_hub *hub, int fd, pid_t pid,
                         int *ret_status, int64_t deadline)
{
    struct gev__fd *entry;
    int rc = gev__fd_opened(hub, fd, 0, &entry);

    while (rc == 0) {
        rc = gev__fd_wait(hub, entry, GEV_READ, deadline);
        if (rc > 0) {
            rc = reap(pid, ret_status);
            if (rc > 0) {
                return 0;
            }
        }
    }
    return rc;
}

static int wait_child(struct gev_hub *hub, pid_t pid, int *ret_status,
                      double timeout)
{
    int64_t deadline;
    int rc = gev__deadline(hub, timeout, &deadline);

    if (rc == 0 && pid <= 0) {
        rc = -EINVAL;
    }
    if (rc == 0) {
        rc = reap(pid, ret_status);
    }
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    if (deadline == 0) {
        return -ETIMEDOUT;
    }
    int fd = gev__sys_pidfd_open(pid);
    if (fd == -ENOSYS) {
        return wait_by_looking(hub, pid, ret_status, deadline);
    }
    if (fd < 0) {
        return fd == -ESRCH ? -ECHILD : fd;
    }
    rc = wait_by_pidfd(hub, fd, pid, ret_status, deadline);
    gev__fd_forget(hub, fd);
    gev__sys_close(fd);
    return rc;
}

/* --- public --------------------------------------------------------------- */

int gev_wait_child(pid_t pid, int *status, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1
                       : (int)gev__ret(wait_child(hub, pid, status, timeout));
}
