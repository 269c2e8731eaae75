/* SPDX-License-Identifier: MIT */
#ifndef GEV_EVENT_H
#define GEV_EVENT_H

/** @file gev/event.h
 *  Events and results: something that happens once, or is so until it is
 *  cleared, and wakes all who wait for it, in the order in which they came.
 *  Both lie where you place them; all-zero is a fresh one.
 */
#include <gev/base.h>
#include <gev/greenlet.h>

GEV_BEGIN_DECLS

/** A flag that greenlets can wait for. */
typedef struct gev_event {
    void *priv[10]; /**< opaque */
} gev_event;

/** Makes it fresh, not set, and this thread's.
 *
 *  Parks:  no.
 *  Source: gevent.event.Event (EVT1, EVT8)
 *  @since 0.1
 */
GEV_API void gev_event_init(gev_event *e);

/** Before its memory goes. Afterwards it is as fresh.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBUSY   somebody waits for it
 *    EINVAL  NULL
 *  @since 0.1
 */
GEV_API int gev_event_fini(gev_event *e);

/** Sets it: all who wait now will run, though it be cleared before they do.
 *  Never switches.
 *
 *  Parks:  no.
 *  Source: Event.set (EVT1, EVT3, EVT5)
 *  @since 0.1
 */
GEV_API void gev_event_set(gev_event *e);

/** Clears it. Who was woken stays woken.
 *
 *  Parks:  no.
 *  Source: Event.clear (EVT1, EVT6)
 *  @since 0.1
 */
GEV_API void gev_event_clear(gev_event *e);

/** Whether it is set.
 *
 *  Parks:  no.
 *  Source: Event.is_set (EVT1)
 *  @since 0.1
 */
GEV_API bool gev_event_is_set(const gev_event *e);

/** Waits until it is set. If it is set already but some who waited for that
 *  have not yet run, they run first.
 *
 *  Parks:  unless it is set, or timeout <= 0.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  it was not set in time
 *    EINVAL     NULL, or NaN
 *    EPERM      another thread's event
 *    and those of any park
 *  Source: Event.wait (EVT2, EVT4)
 *  @since 0.1
 */
GEV_API int gev_event_wait(gev_event *e, double timeout);

/** gev_event_set() from elsewhere: takes effect in the event's hub, in the
 *  order posted by each thread. The event must live until then.
 *
 *  Parks:  no.
 *  Thread: any thread, also one without a hub.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL, or it belongs to no hub yet
 *    ENOMEM  no memory for the message
 *  Source: EVT14
 *  @since 0.1
 */
GEV_API int gev_event_post(gev_event *e);

/** One value, or one failure, that greenlets can wait for. */
typedef struct gev_result {
    void *priv[12]; /**< opaque */
} gev_result;

/** Makes it fresh, and this thread's.
 *
 *  Parks:  no.
 *  Source: gevent.event.AsyncResult (EVT9)
 *  @since 0.1
 */
GEV_API void gev_result_init(gev_result *r);

/** Before its memory goes. Afterwards it is as fresh.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBUSY   somebody waits for it
 *    EINVAL  NULL
 *  @since 0.1
 */
GEV_API int gev_result_fini(gev_result *r);

/** Sets the value and wakes all who wait. NULL is a value too.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EALREADY  it has a value or an error already, and keeps it
 *    EINVAL    NULL
 *    EPERM     another thread's result
 *  Source: AsyncResult.set (EVT9)
 *  @since 0.1
 */
GEV_API int gev_result_set(gev_result *r, void *value);

/** Sets an error instead: gets fail with it.
 *
 *  Parks:  no.
 *  @param error  a positive errno or gev code
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EALREADY  it has a value or an error already, and keeps it
 *    EINVAL    NULL, or error is not positive
 *    EPERM     another thread's result
 *  Source: AsyncResult.set_exception (EVT9)
 *  @since 0.1
 */
GEV_API int gev_result_fail(gev_result *r, int error);

/** Waits for the value. Any number of greenlets may get it, any number of
 *  times.
 *
 *  Parks:  unless it is there, or timeout <= 0.
 *  @return 0 with *value set, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  it was not there in time
 *    EINVAL     NULL, or NaN
 *    EPERM      another thread's result
 *    and the error of gev_result_fail(), and those of any park
 *  Source: AsyncResult.get (EVT10, EVT11)
 *  @since 0.1
 */
GEV_API int gev_result_get(gev_result *r, void **value, double timeout);

/** Whether it has a value or an error.
 *
 *  Parks:  no.
 *  Source: AsyncResult.ready (EVT13)
 *  @since 0.1
 */
GEV_API bool gev_result_ready(const gev_result *r);

/** Whether it has a value.
 *
 *  Parks:  no.
 *  Source: AsyncResult.successful (EVT13)
 *  @since 0.1
 */
GEV_API bool gev_result_successful(const gev_result *r);

/** A gev_link_fn that hands an ended greenlet's value, or its error, to a
 *  result: gev_rawlink(g, gev_result_follow, &result). A result that is ready
 *  already stays as it is.
 *
 *  Parks:  no.
 *  @param result  a gev_result
 *  Source: AsyncResult as a link (EVT12)
 *  @since 0.1
 */
GEV_API void gev_result_follow(gev_greenlet *g, void *result);

/** gev_result_set() from elsewhere. One that is ready by then keeps what it
 *  has. The result must live until the message has arrived.
 *
 *  Parks:  no.
 *  Thread: any thread, also one without a hub.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL, or it belongs to no hub yet
 *    ENOMEM  no memory for the message
 *  Source: EVT14
 *  @since 0.1
 */
GEV_API int gev_result_post(gev_result *r, void *value);

/** gev_result_fail() from elsewhere.
 *
 *  Parks:  no.
 *  Thread: any thread, also one without a hub.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL, it belongs to no hub yet, or error is not positive
 *    ENOMEM  no memory for the message
 *  Source: EVT14
 *  @since 0.1
 */
GEV_API int gev_result_post_error(gev_result *r, int error);

GEV_END_DECLS
#endif
