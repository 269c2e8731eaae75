/* SPDX-License-Identifier: MIT */
#ifndef GEV_BASE_QUIET_H
#define GEV_BASE_QUIET_H

/* A write without SIGPIPE where MSG_NOSIGNAL does not reach: pipes, and
 * sendfile.
 *
 * The signal is blocked in this thread around the call, and taken away again if
 * the call made one. That is two system calls more for each write to a pipe;
 * sockets do not pay it. Nothing cheaper is correct: ignoring the signal in the
 * process, or blocking it for good, is seen by the program and by its children.
 */

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

struct gev__quiet {
    sigset_t old;     /* the thread's mask before */
    bool was_pending; /* the program's own: not ours to take */
};

void gev__quiet_begin(struct gev__quiet *q);
void gev__quiet_end(const struct gev__quiet *q, ssize_t rc);

#endif
