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

/** Calls @p fn for every greenlet of this thread's hub, in the order in which
 *  they were made: main first, and who spawned before what it spawned; not for
 *  the hub itself. Also for those that have ended and are still referred to.
 *  gev_spawner_id() gives the tree.
 *
 *  They are those there were at the beginning. Meanwhile each is held by a
 *  reference, so fn may do with them what it likes.
 *
 *  Parks:  no, but fn may.
 *  Owns:   fn borrows the greenlet.
 *  @param fn  returns 0 to go on; anything else is the result
 *  @return 0, what fn returned, or -1 on error
 *
 *  Errors:
 *    EINVAL  fn is NULL
 *    ENOMEM  no memory for the list
 *  Source: gevent.util.GreenletTree (UTL2)
 *  @since 0.1
 */
GEV_API int gev_foreach(int (*fn)(gev_greenlet *g, void *arg), void *arg);

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

/** @name Pace: does a piece of code give the others their turn? @{ */

/** Between gev_pace_begin() and gev_pace_end(); place it anywhere. The fields
 *  are filled in at the end. */
typedef struct gev_pace {
    uint64_t switches;   /**< from one greenlet to another */
    uint64_t turns;      /**< passes through libev's loop */
    double longest;      /**< seconds: the longest stretch in which neither the
                              hub nor another greenlet had its turn */
    uint64_t longest_id; /**< gev_id() of who did not give it; 0: nobody */
} gev_pace;

/** Begins to watch how this thread's greenlets share the CPU. Paces nest.
 *
 *  While one is open, each switch looks at the clock, which costs some 20 ns; a
 *  program without open ones pays nothing. Time spent in the hub, waiting or in
 *  callbacks, counts for nobody. gev_switch() and gev_throw() are switches, but
 *  no turn for the hub: they end no stretch. A greenlet's end drops what it has
 *  left open.
 *
 *  Parks:  no.
 *  @param limit  seconds that one stretch may last; GEV_FOREVER: any
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL    NULL, or NaN
 *    EPERM     called in the hub
 *    EALREADY  it is open
 *    ENOMEM    no memory for it
 *  Source: gevent.util.assert_switches (UTL3)
 *  @since 0.1
 */
GEV_API int gev_pace_begin(gev_pace *pace, double limit);

/** Ends it; only in the greenlet that began it. errno stays as it was.
 *
 *  Parks:  no.
 *  @return whether it switched at least once, and no stretch was longer than
 *          the limit; false, too, if it was not open
 *  Source: gevent.util.assert_switches (UTL3)
 *  @since 0.1
 */
GEV_API bool gev_pace_end(gev_pace *pace);

/** @} */

GEV_END_DECLS
#endif
