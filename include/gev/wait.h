/* SPDX-License-Identifier: MIT */
#ifndef GEV_WAIT_H
#define GEV_WAIT_H

/** @file gev/wait.h
 *  Waiting for several things at once. Greenlets, events, results, semaphores,
 *  locks, queues, channels and processes are waitables:
 *
 *  @code
 *  gev_waitable *w[] = {GEV_WAITABLE(g), GEV_WAITABLE(&stop)};
 *  gev_wait(w, 2, 1, 0.5);             // until one of them, or half a second
 *  @endcode
 *
 *  Ready means: the greenlet or process has ended; the event is set; the result
 *  is set or failed; a unit of the semaphore, or the lock, is free; something
 *  can be taken from the queue or channel, or it is shut down or closed. Being
 *  told that something is ready takes nothing: by the time one looks, somebody
 *  else may have it.
 */
#include <gev/base.h>
#include <gev/greenlet.h>

#include <sys/types.h>

GEV_BEGIN_DECLS

/** Any of the objects above. */
typedef struct gev_waitable gev_waitable;

/** Waits for the next of several to become ready. */
typedef struct gev_iwait gev_iwait;

/** Waits until @p count of the objects are ready, or all if count is 0 or more
 *  than n. NULL entries are skipped; an object that stands there twice counts
 *  twice. One that was ready once counts, though it is no longer.
 *
 *  Parks:  unless enough are ready, or timeout <= 0.
 *  @return how many were ready when enough were, or when the time ran out; or
 *          -1 on error
 *
 *  Errors:
 *    EINVAL  NULL with n > 0, NaN, or an object whose memory was cleared since
 *            GEV_WAITABLE()
 *    EPERM   another thread's object
 *    EDEADLK  it would wait for the caller's own end
 *    ENOMEM  no memory (few objects need none)
 *    and those of any park
 *  Source: gevent.wait (TOP10)
 *  @since 0.1
 */
GEV_API ssize_t gev_wait(gev_waitable *const w[], size_t n, size_t count,
                         double timeout);

/** Whether it is ready. False for NULL.
 *
 *  Parks:  no.
 *  Source: ready() (GLT30)
 *  @since 0.1
 */
GEV_API bool gev_waitable_ready(const gev_waitable *w);

/** Watches all of them from now on, for at most @p timeout seconds in all; no
 *  readiness is missed between two calls of gev_iwait_next(). The array is
 *  copied, the objects must outlive the gev_iwait. NULL entries are skipped.
 *
 *  Parks:  no.
 *  Owns:   the caller owns it: gev_iwait_free().
 *
 *  Errors:
 *    EINVAL  NULL with n > 0, or NaN
 *    EPERM   another thread's object
 *    ENOMEM  no memory
 *  Source: gevent.iwait (TOP11)
 *  @since 0.1
 */
GEV_API gev_iwait *gev_iwait_new(gev_waitable *const w[], size_t n,
                                 double timeout);

/** The next that has become ready, in the order in which they did; each entry
 *  once.
 *
 *  Parks:  unless one is ready.
 *  @return it; or NULL: with errno 0 after the last, or on error
 *
 *  Errors:
 *    ETIMEDOUT  the time given to gev_iwait_new() is over
 *    EBUSY      another greenlet is in this call
 *    EPIPE      it was freed meanwhile
 *    EINVAL     NULL
 *    and those of any park
 *  Source: gevent.iwait (TOP11)
 *  @since 0.1
 */
GEV_API gev_waitable *gev_iwait_next(gev_iwait *it);

/** Stops watching. Who is in gev_iwait_next() gets EPIPE. NULL is fine.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API void gev_iwait_free(gev_iwait *it);

/** @name What GEV_WAITABLE() calls; NULL gives NULL @{ */

struct gev_channel;
struct gev_event;
struct gev_lock;
struct gev_process;
struct gev_queue;
struct gev_result;
struct gev_rlock;
struct gev_semaphore;

/** A greenlet, ready when it has ended.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API gev_waitable *gev_greenlet_waitable(gev_greenlet *g);

/** An event, ready while it is set.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API gev_waitable *gev_event_waitable(struct gev_event *e);

/** A result, ready once it is set or failed.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API gev_waitable *gev_result_waitable(struct gev_result *r);

/** A semaphore, ready while a unit is free.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API gev_waitable *gev_semaphore_waitable(struct gev_semaphore *s);

/** A lock, ready while it is free.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API gev_waitable *gev_lock_waitable(struct gev_lock *l);

/** A re-entrant lock, ready while it is free.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API gev_waitable *gev_rlock_waitable(struct gev_rlock *l);

/** A queue, ready while it is not empty, or shut down.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API gev_waitable *gev_queue_waitable(struct gev_queue *q);

/** A channel, ready while a receive would not wait, or closed.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API gev_waitable *gev_channel_waitable(struct gev_channel *c);

/** A process, ready when it has ended.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API gev_waitable *gev_process_waitable(struct gev_process *p);

/** @} */

GEV_END_DECLS

/** The gev_waitable of any object; valid as long as the object. */
#ifdef __cplusplus
#define GEV_PRIV_WAITABLE(type)                                                \
    static inline gev_waitable *gev_priv_waitable(struct gev_##type *object)   \
    {                                                                          \
        return gev_##type##_waitable(object);                                  \
    }
GEV_PRIV_WAITABLE(greenlet)
GEV_PRIV_WAITABLE(event)
GEV_PRIV_WAITABLE(result)
GEV_PRIV_WAITABLE(semaphore)
GEV_PRIV_WAITABLE(lock)
GEV_PRIV_WAITABLE(rlock)
GEV_PRIV_WAITABLE(queue)
GEV_PRIV_WAITABLE(channel)
GEV_PRIV_WAITABLE(process)
#undef GEV_PRIV_WAITABLE
#define GEV_WAITABLE(object) gev_priv_waitable(object)
#else
#define GEV_WAITABLE(object)                                                   \
    _Generic((object), struct gev_greenlet *                                   \
             : gev_greenlet_waitable, struct gev_event *                       \
             : gev_event_waitable, struct gev_result *                         \
             : gev_result_waitable, struct gev_semaphore *                     \
             : gev_semaphore_waitable, struct gev_lock *                       \
             : gev_lock_waitable, struct gev_rlock *                           \
             : gev_rlock_waitable, struct gev_queue *                          \
             : gev_queue_waitable, struct gev_channel *                        \
             : gev_channel_waitable, struct gev_process *                      \
             : gev_process_waitable)(object)
#endif

#endif
