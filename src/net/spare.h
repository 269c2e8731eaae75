/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_SPARE_H
#define GEV_NET_SPARE_H

/* A descriptor that the process keeps for the time when there is none left, so
 * that servers can tell who waits in their backlogs: it is closed, connections
 * are accepted with its number and refused, and it is opened again.
 *
 * One for all threads. Who uses it takes it out of its place, so two cannot.
 * Meanwhile another thread may be quicker to take the number. A server that has
 * done so gives it up again (gev__spare_is_lost()); from others it comes back
 * when they close it.
 *
 * A forked child has its own, of the same number. */

#include <stdbool.h>

/* A server starts: opens it, if there is none and it can be had. */
void gev__spare_hold(void);
/* ... and has stopped: the last one closes it. */
void gev__spare_release(void);

/* Opens it if there is none. False: there is no descriptor for it. Cheap if
 * there is. */
bool gev__spare_restore(void);

/* Whether there is none because it was used. */
bool gev__spare_is_lost(void);

/* Refuses (with a reset) connections that wait at a listener, up to a batch:
 * how many. Where there is no spare, it only tries to get one. */
unsigned gev__spare_refuse(int fd);

/* Has the close of a connection be a reset. */
void gev__reset_at_close(int fd);

#endif
