/* SPDX-License-Identifier: MIT */
#ifndef GEV_OS_EXEC_H
#define GEV_OS_EXEC_H

/* Starting a program: from a settled description to a running child, with
 * everything that can fail reported to the caller.
 *
 * The child shares this process's memory until it calls exec (vfork): nothing
 * is copied, and a large program starts children as fast as a small one. So
 * what runs there allocates nothing, takes no lock and calls no gev function
 * but system calls. All signals are blocked around it, lest a handler of this
 * process run in the child. */

#include "base/compiler.h"

#include <gev/process.h>

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct gev__exec {
    char *const *argv;
    char *const *env;
    const char *file; /* searched in PATH if it has no slash */
    const char *cwd;  /* NULL: stays */
    int fds[3];       /* what becomes 0, 1, 2; -1: stays as it is */
    bool blocking[3]; /* clear O_NONBLOCK there: it comes from elsewhere */
    bool err_to_out;  /* 2 is a copy of 1 */
    const int *pass_fds;
    size_t n_pass_fds;
    unsigned flags; /* enum gev_process_flag */
};

/* Starts it. 0 with *ret_pid; or -errno of whatever failed, in the child too,
 * which is reaped then. */
int gev__exec_start(const struct gev__exec *exec, pid_t *ret_pid);

#endif
