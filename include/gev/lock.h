/* SPDX-License-Identifier: MIT */
#ifndef GEV_LOCK_H
#define GEV_LOCK_H

/** @file gev/lock.h
 *  Semaphores, locks, conditions, barriers and read-write locks.
 *
 *  Greenlets switch only where they park, so data needs a lock only if it must
 *  stay as it is across a park: a connection that several greenlets talk on, a
 *  cache that is being filled.
 *
 *  What holds for all of them:
 *
 *  - First come, first served. Who releases hands over at once: the unit or the
 *    lock is the first waiter's before that one runs, so nobody gets in between
 *    and no wake is in vain. A release never switches.
 *  - A waiter that is killed or runs out of time before it was given something
 *    gets nothing, and the next one does. One that is killed after that has it:
 *    its call succeeds, and its next park fails.
 *  - They lie where you place them. All-zero is a fresh one (a semaphore
 *    without a unit; a barrier needs gev_barrier_init()). While nobody waits
 *    they may be moved. They belong to the hub of the thread that called
 *    `_init` or used them first.
 *  - A greenlet that ends while it holds a lock leaves it locked: what the lock
 *    protects may be half-done. Release it in a gev_defer() where that matters.
 *  - A forked child gets them as they were: what the greenlet that forked holds
 *    is still its, what others hold stays held for ever, for they are not
 *    there. `_init` makes any of them new.
 *
 *  Where the library is built with assertions, a park that nothing but a kill
 *  can end because of a circle of gev_lock, gev_rlock and gev_rwlock is
 *  reported on stderr, with all who are in it; so is a park on a lock whose
 *  holder has ended.
 */
#include <gev/base.h>

GEV_BEGIN_DECLS

/** @name Semaphores
 *  A number of units, to be taken and put back by anybody. @{ */

/** A counting semaphore. */
typedef struct gev_semaphore {
    void *priv[10]; /**< opaque */
} gev_semaphore;

/** Makes it fresh, and this thread's.
 *
 *  Parks:  no.
 *  @param value  how many units are free
 *  @param limit  how many there can be; 0: UINT_MAX. A value above it is taken
 *                for it
 *  Source: gevent.lock.Semaphore, BoundedSemaphore (LCK1, LCK10)
 *  @since 0.1
 */
GEV_API void gev_semaphore_init(gev_semaphore *s, unsigned value,
                                unsigned limit);

/** Before its memory goes. Afterwards it is all-zero.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBUSY   somebody waits for it
 *    EINVAL  NULL
 *  @since 0.1
 */
GEV_API int gev_semaphore_fini(gev_semaphore *s);

/** Takes a unit.
 *
 *  Parks:  unless one is free, or timeout <= 0.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  no unit was free in time
 *    EINVAL     NULL, or NaN
 *    EPERM      another thread's semaphore
 *    ENOMEM     no memory for the timeout
 *    and those of any park
 *  Source: Semaphore.acquire (LCK2, LCK5, LCK6)
 *  @since 0.1
 */
GEV_API int gev_semaphore_acquire(gev_semaphore *s, double timeout);

/** Puts a unit back, or adds one: to the first who waits.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EOVERFLOW  as many are free as there can be
 *    EINVAL     NULL
 *    EPERM      another thread's semaphore
 *  Source: Semaphore.release (LCK3, LCK4, LCK10)
 *  @since 0.1
 */
GEV_API int gev_semaphore_release(gev_semaphore *s);

/** Whether no unit is free.
 *
 *  Parks:  no.
 *  Source: Semaphore.locked (LCK8)
 *  @since 0.1
 */
GEV_API bool gev_semaphore_locked(const gev_semaphore *s);

/** How many units are free.
 *
 *  Parks:  no.
 *  Source: Semaphore.counter (LCK1)
 *  @since 0.1
 */
GEV_API unsigned gev_semaphore_value(const gev_semaphore *s);

/** gev_semaphore_release() from elsewhere: takes effect in the semaphore's hub,
 *  in the order posted by each thread; past the limit it does nothing. The
 *  semaphore must live until then.
 *
 *  Parks:  no.
 *  Thread: any thread, also one without a hub.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL, or it belongs to no hub yet
 *    ENOMEM  no memory for the message
 *  Source: LCK14
 *  @since 0.1
 */
GEV_API int gev_semaphore_post(gev_semaphore *s);

/** @} @name Locks
 *  Held by one greenlet, and released by it. @{ */

/** A lock. Also for libraries that lock through callbacks and park meanwhile,
 * as libcurl's share interface does: a pthread mutex would stop the whole
 * thread there. A callback that cannot fail takes it in a shield, which no kill
 * and no scope ends:
 *
 *  @code
 *  static void lock_share(CURL *h, curl_lock_data data, curl_lock_access
 * access, void *locks)
 *  {
 *      gev_shield_begin();
 *      gev_lock_acquire(&((gev_lock *)locks)[data], GEV_FOREVER);
 *      gev_shield_end();
 *  }
 *  @endcode
 */
typedef struct gev_lock {
    void *priv[12]; /**< opaque */
} gev_lock;

/** Makes it fresh, free, and this thread's.
 *
 *  Parks:  no.
 *  Source: threading.Lock
 *  @since 0.1
 */
GEV_API void gev_lock_init(gev_lock *l);

/** Before its memory goes, held or not. Afterwards it is fresh.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBUSY   somebody waits for it
 *    EINVAL  NULL
 *  @since 0.1
 */
GEV_API int gev_lock_fini(gev_lock *l);

/** Takes it.
 *
 *  Parks:  unless it is free, or timeout <= 0.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  it was not free in time
 *    EDEADLK    the caller holds it, whatever the timeout
 *    EINVAL     NULL, or NaN
 *    EPERM      another thread's lock
 *    ENOMEM     no memory for the timeout
 *    and those of any park
 *  Source: Lock.acquire (LCK2, LCK4, LCK5, LCK6)
 *  @since 0.1
 */
GEV_API int gev_lock_acquire(gev_lock *l, double timeout);

/** Gives it to the first who waits, or makes it free.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EPERM   the caller does not hold it
 *    EINVAL  NULL
 *  Source: Lock.release (LCK3, LCK4)
 *  @since 0.1
 */
GEV_API int gev_lock_release(gev_lock *l);

/** Whether somebody holds it.
 *
 *  Parks:  no.
 *  Source: Lock.locked (LCK8)
 *  @since 0.1
 */
GEV_API bool gev_lock_locked(const gev_lock *l);

/** A lock that its holder may take again. */
typedef struct gev_rlock {
    void *priv[12]; /**< opaque */
} gev_rlock;

/** Makes it fresh, free, and this thread's.
 *
 *  Parks:  no.
 *  Source: gevent.lock.RLock (LCK12)
 *  @since 0.1
 */
GEV_API void gev_rlock_init(gev_rlock *l);

/** Before its memory goes, held or not. Afterwards it is fresh.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBUSY   somebody waits for it
 *    EINVAL  NULL
 *  @since 0.1
 */
GEV_API int gev_rlock_fini(gev_rlock *l);

/** Takes it, or takes it once more.
 *
 *  Parks:  unless it is free or the caller's, or timeout <= 0.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  it was not free in time
 *    EOVERFLOW  the caller has taken it UINT_MAX times
 *    EINVAL     NULL, or NaN
 *    EPERM      another thread's lock
 *    ENOMEM     no memory for the timeout
 *    and those of any park
 *  Source: RLock.acquire (LCK12)
 *  @since 0.1
 */
GEV_API int gev_rlock_acquire(gev_rlock *l, double timeout);

/** Takes one acquire back. After the last it goes to the first who waits.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EPERM   the caller does not hold it
 *    EINVAL  NULL
 *  Source: RLock.release (LCK12)
 *  @since 0.1
 */
GEV_API int gev_rlock_release(gev_rlock *l);

/** Whether somebody holds it.
 *
 *  Parks:  no.
 *  Source: RLock.locked (LCK12)
 *  @since 0.1
 */
GEV_API bool gev_rlock_locked(const gev_rlock *l);

/** @} @name Conditions
 *  Waiting for something to change that a lock protects. @{ */

/** A condition. */
typedef struct gev_cond {
    void *priv[8]; /**< opaque */
} gev_cond;

/** Makes it fresh, and this thread's.
 *
 *  Parks:  no.
 *  Source: threading.Condition (LCK13)
 *  @since 0.1
 */
GEV_API void gev_cond_init(gev_cond *c);

/** Before its memory goes. Afterwards it is fresh.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBUSY   somebody waits for a signal
 *    EINVAL  NULL
 *  @since 0.1
 */
GEV_API int gev_cond_fini(gev_cond *c);

/** Releases the lock, waits for a signal, and takes the lock again. There are
 *  no wake-ups without a signal, but others may have run before the lock came
 *  back: look again at what was waited for.
 *
 *  The caller holds the lock again on every return, also when it was killed or
 *  ran out of time; neither a kill nor a scope nor the timeout ends the wait
 *  for the lock. There are two exceptions: EDEADLK in main, if the lock can
 *  never come back, and ECANCELED while gev_hub_close() ends a greenlet that
 *  would wait for the lock for ever; gev_lock_release() is EPERM then.
 *
 *  A signal counts from the moment it is given: whoever has it returns 0, even
 *  if a kill or the end of the time comes before the lock.
 *
 *  Parks:  yes, unless timeout <= 0.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  no signal came in time; at once if timeout <= 0: the lock was
 *               not released then
 *    EPERM      the caller does not hold the lock, or another thread's object
 *    EINVAL     NULL, or NaN
 *    ENOMEM     no memory for the timeout
 *    and those of any park
 *  Source: Condition.wait (LCK13, THR3)
 *  @since 0.1
 */
GEV_API int gev_cond_wait(gev_cond *c, gev_lock *l, double timeout);

/** Wakes the first who waits. Without one it does nothing, and is not
 *  remembered. The lock need not be held; if it is, the waiter stands in the
 *  queue for it without running first. Another thread's: nothing happens.
 *
 *  Parks:  no.
 *  Source: Condition.notify (LCK13)
 *  @since 0.1
 */
GEV_API void gev_cond_signal(gev_cond *c);

/** Wakes all who wait now; they get the lock one after the other, in the order
 *  in which they came.
 *
 *  Parks:  no.
 *  Source: Condition.notify_all (LCK13)
 *  @since 0.1
 */
GEV_API void gev_cond_broadcast(gev_cond *c);

/** @} @name Barriers
 *  A number of greenlets that wait for each other, lap after lap. @{ */

/** A barrier. */
typedef struct gev_barrier {
    void *priv[12]; /**< opaque */
} gev_barrier;

/** Makes it fresh, and this thread's.
 *
 *  Parks:  no.
 *  @param parties  how many come to each lap
 *  @param action   called once a lap by the last to come, before anybody goes
 *                  on; or NULL. It must not park: its parks fail with EPERM
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL, no parties, or more than INT_MAX
 *  Source: threading.Barrier (LCK13)
 *  @since 0.1
 */
GEV_API int gev_barrier_init(gev_barrier *b, unsigned parties,
                             void (*action)(void *arg), void *arg);

/** Before its memory goes.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBUSY   somebody waits at it
 *    EINVAL  NULL
 *  @since 0.1
 */
GEV_API int gev_barrier_fini(gev_barrier *b);

/** Waits until all parties have come. If one's wait fails, the barrier is
 *  broken: it fails for all who wait and all who come, until a reset.
 *
 *  Parks:  unless the caller is the last, it is broken, or timeout <= 0.
 *  @return the order of arrival, from 0 to parties - 1, or -1 on error
 *
 *  Errors:
 *    EPIPE      it is broken, or was reset meanwhile
 *    ETIMEDOUT  not all came in time (at once, if timeout <= 0): now it is
 *               broken
 *    EINVAL     NULL, NaN, or never initialised
 *    EPERM      another thread's barrier
 *    EBUSY      called by its own action
 *    ENOMEM     no memory for the timeout
 *    and those of any park, which break it
 *  Source: Barrier.wait (LCK13)
 *  @since 0.1
 */
GEV_API int gev_barrier_wait(gev_barrier *b, double timeout);

/** Breaks it: all who wait, and all who come, get EPIPE.
 *
 *  Parks:  no.
 *  Source: Barrier.abort (LCK13)
 *  @since 0.1
 */
GEV_API void gev_barrier_abort(gev_barrier *b);

/** Makes it as new, broken or not; who waits gets EPIPE.
 *
 *  Parks:  no.
 *  Source: Barrier.reset (LCK13)
 *  @since 0.1
 */
GEV_API void gev_barrier_reset(gev_barrier *b);

/** Whether it is broken.
 *
 *  Parks:  no.
 *  Source: Barrier.broken (LCK13)
 *  @since 0.1
 */
GEV_API bool gev_barrier_broken(const gev_barrier *b);

/** How many have come to this lap and wait.
 *
 *  Parks:  no.
 *  Source: Barrier.n_waiting (LCK13)
 *  @since 0.1
 */
GEV_API unsigned gev_barrier_waiting(const gev_barrier *b);

/** @} @name Read-write locks
 *  Held by one writer, or by any number of readers. @{ */

/** A read-write lock. */
typedef struct gev_rwlock {
    void *priv[12]; /**< opaque */
} gev_rwlock;

/** Makes it fresh, free, and this thread's.
 *
 *  Parks:  no.
 *  Source: LCK13
 *  @since 0.1
 */
GEV_API void gev_rwlock_init(gev_rwlock *l);

/** Before its memory goes, held or not. Afterwards it is fresh.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBUSY   somebody waits for it
 *    EINVAL  NULL
 *  @since 0.1
 */
GEV_API int gev_rwlock_fini(gev_rwlock *l);

/** Takes it for reading. Nobody overtakes: behind a writer that waits, readers
 *  wait too. So a reader that reads once more, or asks to write, may wait for
 *  itself for ever; who reads is not recorded.
 *
 *  Parks:  unless nobody writes or waits, or timeout <= 0.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  it could not be had in time
 *    EDEADLK    the caller writes, whatever the timeout
 *    EOVERFLOW  UINT_MAX readers hold it
 *    EINVAL     NULL, or NaN
 *    EPERM      another thread's lock
 *    ENOMEM     no memory for the timeout
 *    and those of any park
 *  Source: LCK13
 *  @since 0.1
 */
GEV_API int gev_rwlock_acquire_read(gev_rwlock *l, double timeout);

/** Takes it for writing.
 *
 *  Parks:  unless it is free, or timeout <= 0.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  it could not be had in time
 *    EDEADLK    the caller writes, whatever the timeout
 *    EINVAL     NULL, or NaN
 *    EPERM      another thread's lock
 *    ENOMEM     no memory for the timeout
 *    and those of any park
 *  Source: LCK13
 *  @since 0.1
 */
GEV_API int gev_rwlock_acquire_write(gev_rwlock *l, double timeout);

/** Takes one acquire back, of either kind. When nobody holds it, it goes to the
 *  first who waits: a writer, or all readers up to the next writer.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EPERM   nobody holds it, or somebody else writes
 *    EINVAL  NULL
 *  Source: LCK13
 *  @since 0.1
 */
GEV_API int gev_rwlock_release(gev_rwlock *l);

/** Whether somebody holds it, either way.
 *
 *  Parks:  no.
 *  Source: LCK13
 *  @since 0.1
 */
GEV_API bool gev_rwlock_locked(const gev_rwlock *l);

/** @} */

GEV_END_DECLS

#endif
