/* SPDX-License-Identifier: MIT */
#ifndef GEV_SIGNAL_H
#define GEV_SIGNAL_H

/** @file gev/signal.h
 *  Signal handlers that are greenlets: they may do anything, parking included.
 *
 *  @code
 *  static void *stop(void *listener)
 *  {
 *      gev_close(*(int *)listener);
 *      return NULL;
 *  }
 *  gev_signal(SIGTERM, stop, &listener);
 *  @endcode
 *
 *  gev catches a signal only while somebody asked for it here or waits for it
 *  in gev_wait_signal(); with the last the disposition from before comes back,
 *  unless the program has set another meanwhile. Of a signal that comes again
 *  before its hub has seen it, one delivery is made, as the kernel does with
 *  pending ones. Handlers are the hub's that made them; each hub that asked for
 *  a signal gets it.
 */
#include <gev/base.h>
#include <gev/greenlet.h>

GEV_BEGIN_DECLS

/** A handler that was set. */
typedef struct gev_signal_handler gev_signal_handler;

/** Has fn(arg) spawned at each delivery of a signal. Several handlers of one
 *  signal are spawned in the order they were set. If one fails (gev_fail()),
 *  the hub's error handler is told. Should there be no memory for its stack, it
 *  is spawned as soon as there is.
 *
 *  By itself a handler does not keep gev_run() waiting: see gev_signal_keep().
 *  A forked child has the disposition from before, and no handler.
 *
 *  Parks:  no.
 *  Owns:   returns the handler, valid until gev_signal_cancel() or
 *          gev_hub_close(), which cancels what is left. arg is not copied.
 *  @return the handler, or NULL on error
 *
 *  Errors:
 *    EINVAL  no such signal, one that cannot be caught, or fn is NULL
 *    ENOMEM  no memory
 *    EMFILE, ENFILE  no descriptor to be told by; one a hub
 *  Source: gevent.signal_handler (TOP12)
 *  @since 0.1
 */
GEV_API gev_signal_handler *gev_signal(int signum, gev_fn fn, void *arg);

/** Takes a handler back, also from inside its fn: when this returns fn is not
 *  begun any more; what has begun goes on. NULL, and another thread's, stay as
 *  they are.
 *
 *  Parks:  no.
 *  Owns:   frees it.
 *  Source: signal.cancel (TOP12)
 *  @since 0.1
 */
GEV_API void gev_signal_cancel(gev_signal_handler *h);

/** Whether this handler alone keeps gev_run() waiting, and is enough to wait
 *  for without EDEADLK; false at first.
 *
 *  Parks:  no.
 *  Source: signal.ref (TOP12)
 *  @since 0.1
 */
GEV_API void gev_signal_keep(gev_signal_handler *h, bool keep);

/* What the macro below calls: the same, with where and what was set. */
GEV_API gev_signal_handler *gev_signal_at(int signum, gev_fn fn, void *arg,
                                          const char *site, const char *name);

#define gev_signal(signum, fn, arg)                                            \
    gev_signal_at((signum), (fn), (arg), GEV_PRIV_SITE, #fn)

GEV_END_DECLS
#endif
