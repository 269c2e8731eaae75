/* SPDX-License-Identifier: MIT */
#ifndef GEV_WORKERS_H
#define GEV_WORKERS_H

/** @file gev/workers.h
 *  Several hubs, to use several processors: threads with a hub each, and
 *  greenlets handed out among them. A greenlet stays in the hub it was spawned
 *  in. Hubs share nothing; they talk by the functions that say "any thread":
 *  gev_event_post(), gev_queue_post(), gev_hub_post() and so on.
 *
 *  All signals are blocked in the threads. A greenlet that fails goes to its
 *  hub's error handler, which gev_workers_broadcast() can set. In a forked
 *  child the workers are gone.
 */
#include <gev/base.h>
#include <gev/greenlet.h>
#include <gev/hub.h>

GEV_BEGIN_DECLS

/** Threads with a hub each. */
typedef struct gev_workers gev_workers;

/** Starts the threads, and waits until their hubs are there.
 *
 *  Parks:  no.
 *  Owns:   the caller's: gev_workers_free().
 *  @param n  how many; 0: one a processor that this process may use
 *
 *  Errors:
 *    EAGAIN  not so many threads can be started
 *    ENOMEM  no memory
 *    EMFILE, ENFILE  not enough descriptors for the hubs
 *  Source: gevent's process-per-core servers, as threads
 *  @since 0.1
 */
GEV_API gev_workers *gev_workers_new(size_t n);

/** How many there are.
 *
 *  Parks:  no.
 *  Thread: any thread.
 *  @since 0.1
 */
GEV_API size_t gev_workers_count(const gev_workers *w);

/** One of their hubs, to post to.
 *
 *  Parks:  no.
 *  Thread: any thread.
 *  Owns:   borrowed; valid until gev_workers_free().
 *  @return NULL past the end, and in a forked child
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API gev_hub *gev_workers_hub(const gev_workers *w, size_t i);

/** Spawns a greenlet in the hub that has the fewest, in turn when equal. Should
 *  that hub have no memory for the stack then, it tries again until it has.
 *
 *  Parks:  no.
 *  Thread: any thread, also one without a hub.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL     NULL
 *    ENOMEM     no memory for the message
 *    ECANCELED  the workers are being freed
 *    ECHILD     this is a forked child
 *  @since 0.1
 */
GEV_API int gev_workers_spawn(gev_workers *w, gev_fn fn, void *arg);

/** Spawns one greenlet in each of the hubs, or none in any.
 *
 *  Parks:  no.
 *  Thread: any thread, also one without a hub.
 *  @return 0, or -1 on error
 *
 *  Errors: as gev_workers_spawn().
 *  @since 0.1
 */
GEV_API int gev_workers_broadcast(gev_workers *w, gev_fn fn, void *arg);

/** Waits until none of their greenlets is left, whoever spawned them; also
 *  those still on their way by gev_workers_spawn() and gev_hub_spawn().
 *
 *  Parks:  unless timeout <= 0.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  some are left
 *    EDEADLK    called by one of them
 *    EINVAL     NULL, or NaN
 *    ENOMEM     no memory
 *    and those of any park
 *  @since 0.1
 */
GEV_API int gev_workers_join(gev_workers *w, double timeout);

/** Closes the hubs, which kills what is left in them (gev_hub_close()), and
 *  joins the threads. Kills and timeouts are held back meanwhile; where parking
 *  is forbidden it blocks. Not for one of their greenlets. NULL: nothing.
 *
 *  Parks:  yes.
 *  @since 0.1
 */
GEV_API void gev_workers_free(gev_workers *w);

GEV_END_DECLS
#endif
