/* SPDX-License-Identifier: MIT */
#ifndef GEV_DEBUG_H
#define GEV_DEBUG_H

/** @file gev/debug.h
 *  Looking into a running program.
 */
#include <gev/base.h>
#include <gev/greenlet.h>

#include <stdio.h>
#include <sys/types.h>

GEV_BEGIN_DECLS

/** Prints every greenlet of this thread's hub as a tree by who spawned whom:
 *  id, name, spawn site, state, what it waits on and for how long.
 *
 *  Meant for a terminal or a log; the format is not an interface.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  out is NULL
 *    ENOMEM  no memory for the list
 *    and any error of fprintf(3)
 *  Source: gevent.util.print_run_info (UTL1)
 *  @since 0.1
 */
GEV_API int gev_dump(FILE *out);

/** How much of its stack a greenlet has used at most, in bytes, rounded up to
 *  pages. A reused stack counts what its earlier users touched since its memory
 *  was last given back, so this is an upper bound. 0 for main, whose stack is
 *  not gev's.
 *
 *  Parks:  no.
 *  @return bytes, or -1 on error
 *
 *  Errors:
 *    EINVAL  g is NULL
 *    EAGAIN, ENOMEM  mincore(2) failed
 *  @since 0.1
 */
GEV_API ssize_t gev_stack_used(const gev_greenlet *g);

/** Turns the report of stack overflows on or off for the whole process.
 *
 *  On: a handler for SIGSEGV and SIGBUS on an alternate stack writes one line
 *  to stderr that names the greenlet, its spawn site and its stack size, and
 *  then lets the signal do what it would have done. Off (the default): the
 *  fault still ends the process, without the line. The environment variable
 *  GEV_OVERFLOW_REPORT=1 turns it on at the first hub. Faults elsewhere are
 *  passed on to the handler that was there before.
 *
 *  Parks:  no.
 *  Thread: any thread; a thread whose hub was made before gets its alternate
 *          stack only if it makes the call itself.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ENOMEM  no memory for the alternate stack
 *  @since 0.1
 */
GEV_API int gev_set_overflow_report(bool on);

GEV_END_DECLS
#endif
