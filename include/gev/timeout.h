/* SPDX-License-Identifier: MIT */
#ifndef GEV_TIMEOUT_H
#define GEV_TIMEOUT_H

/** @file gev/timeout.h
 *  Timeout scopes: a limit in time on everything called inside them.
 *
 *  A scope is level-triggered: from its deadline until gev_timeout_end() every
 *  park of the greenlet that began it fails with the scope's code, however
 *  deep in the calls below. It never interrupts code that does not park, and
 *  a call that need not park succeeds even in an expired scope. Scopes nest,
 *  in any order of lengths. A scope costs one timer; a call inside it nothing.
 *
 *  @code
 *  gev_timeout limit;
 *  gev_timeout_begin(&limit, 2.5);
 *  int rc = talk_to_server(fd);        // any number of parks
 *  if (gev_timeout_end(&limit)) {
 *      ...                             // the 2.5 seconds were over
 *  }
 *  @endcode
 */
#include <gev/base.h>
#include <gev/greenlet.h>

GEV_BEGIN_DECLS

/** A scope; place it anywhere, usually on the stack. It belongs to the greenlet
 *  that begins it: for any other, the calls below find no scope in it. */
typedef struct gev_timeout {
    uint64_t priv[4]; /**< opaque */
} gev_timeout;

/** Begins a scope: after @p seconds every park of this greenlet fails with
 *  ETIMEDOUT, until gev_timeout_end().
 *
 *  Zero or less: already the next park fails, a yield too. GEV_FOREVER: the
 *  scope never fires.
 *
 *  Parks:  no.
 *  Owns:   keeps no pointer to @p t: a scope that is never ended is dropped
 *          when its greenlet ends.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EALREADY  it has begun and not ended
 *    EINVAL    NaN, or t is NULL
 *    ENOMEM    no memory for the timer
 *  Source: gevent.Timeout (TMO1, TMO2)
 *  @since 0.1
 */
GEV_API int gev_timeout_begin(gev_timeout *t, double seconds);

/** Begins a scope whose parks fail with @p error instead of ETIMEDOUT.
 *
 *  Parks:  no.
 *  @param error  a positive errno or gev code
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  error is not positive
 *    and those of gev_timeout_begin()
 *  Source: gevent.Timeout(seconds, exception) (TMO6)
 *  @since 0.1
 */
GEV_API int gev_timeout_begin_error(gev_timeout *t, double seconds, int error);

/** Ends a scope. Scopes may end in any order; a second call is harmless.
 *
 *  Parks:  no.
 *  @return true if the deadline had passed
 *  Source: gevent.Timeout.close (TMO3)
 *  @since 0.1
 */
GEV_API bool gev_timeout_end(gev_timeout *t);

/** Whether this very scope's time has run out: tells nested scopes apart.
 *  Still true after gev_timeout_end(), until it begins again.
 *
 *  Parks:  no.
 *  Source: identity of gevent.Timeout (TMO5)
 *  @since 0.1
 */
GEV_API bool gev_timeout_expired(const gev_timeout *t);

/** Seconds until the deadline: 0 once it has passed, GEV_FOREVER for a scope
 *  that never fires or has not begun.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API double gev_timeout_left(const gev_timeout *t);

/** Calls @p fn inside a scope of its own, in the current greenlet.
 *
 *  -1/ETIMEDOUT comes only from this scope; an outer scope's expiry comes
 *  through with that scope's code. fn's failure (gev_fail()) fails the call; a
 *  value returned in spite of the expiry is a success.
 *
 *  Parks:  if fn does.
 *  @param value  set to what fn returned
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  the time ran out, and fn gave it back by gev_fail(errno)
 *    EINVAL     fn is NULL, or NaN
 *    and whatever fn fails with
 *  Source: gevent.with_timeout (TOP16)
 *  @since 0.1
 */
GEV_API int gev_with_timeout(double seconds, gev_fn fn, void *arg,
                             void **value);

GEV_END_DECLS
#endif
