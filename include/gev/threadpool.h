/* SPDX-License-Identifier: MIT */
#ifndef GEV_THREADPOOL_H
#define GEV_THREADPOOL_H

/** @file gev/threadpool.h
 *  Threads for what would block the hub: calls into libraries that wait, or
 *  that compute for long. A job is a function that runs in a thread of a pool,
 *  while the greenlet that asked for it is parked and the others go on.
 *
 *  Threads are started when they are needed, up to the pool's bound, and end
 *  when they have been idle for a while. All signals are blocked in them. A job
 *  may return gev_fail(), which makes no hub; one that parks, or spawns, or
 *  calls anything else of gev, has a hub in its thread, which is closed when
 *  the job returns.
 *
 *  Wherever a pool is asked for NULL is the hub's own: made when it is first
 *  used, 10 threads at most, and closed with the hub, which waits for the jobs
 *  that are running then. In a job NULL is the pool that runs it.
 *
 *  After fork() the child's pools have no threads and no jobs, and start anew;
 *  jobs of the parent never complete there.
 */
#include <gev/base.h>
#include <gev/event.h>
#include <gev/greenlet.h>

GEV_BEGIN_DECLS

/** A pool of threads; any hub may use it. */
typedef struct gev_threadpool gev_threadpool;

/** Makes a pool. No thread is started yet.
 *
 *  Parks:  no.
 *  Owns:   the caller's: gev_threadpool_free().
 *  @param max_threads  how many jobs can run at once; more wait their turn
 *
 *  Errors:
 *    EINVAL  max_threads is 0
 *    ENOMEM  no memory
 *    and those of gev_hub_get()
 *  Source: gevent.threadpool.ThreadPool (THP1)
 *  @since 0.1
 */
GEV_API gev_threadpool *gev_threadpool_new(size_t max_threads);

/** Ends a pool: running jobs are waited for, queued ones fail with ECANCELED.
 *  Kills and timeouts are held back meanwhile; where parking is forbidden it
 *  blocks. Not for a job of this very pool. NULL: nothing.
 *
 *  Parks:  while jobs are running.
 *  Source: ThreadPool.kill (THP7)
 *  @since 0.1
 */
GEV_API void gev_threadpool_free(gev_threadpool *p);

/** Runs fn(arg) in a thread and waits for what it returns. If the caller is
 *  killed, or the time runs out, it leaves at once; the job goes on, so what
 *  arg points to must live on with it, and what it returns is dropped.
 *
 *  In a thread of the same pool fn is called in place, whatever the timeout.
 *
 *  Parks:  yes.
 *  @param timeout  <= 0: the job is not even begun
 *  @return 0 with *value set, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  it was not done in time
 *    ECANCELED  the pool was freed before the job began
 *    EAGAIN     no thread can be started, and there is none
 *    EINVAL     fn is NULL, or NaN
 *    ENOMEM     no memory
 *    and what fn gave to gev_fail(), and those of any park
 *  Source: ThreadPool.apply (THP3, THP4, THP5)
 *  @since 0.1
 */
GEV_API int gev_threadpool_apply(gev_threadpool *p, gev_fn fn, void *arg,
                                 void **value, double timeout);

/** Has fn(arg) run in a thread and goes on. Any number may be queued. What fn
 *  returns becomes the result's value, what it gives to gev_fail() its error;
 *  without a result a failure goes to the hub's error handler. The result must
 *  live until it is ready, or the hub has been closed.
 *
 *  Parks:  no.
 *  @param result  NULL: nobody wants to know
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ECANCELED  the pool is being freed
 *    EAGAIN     no thread can be started, and there is none
 *    EINVAL     fn is NULL
 *    EPERM      another thread's result
 *    ENOMEM     no memory
 *  Source: ThreadPool.spawn (THP2, THP10)
 *  @since 0.1
 */
GEV_API int gev_threadpool_spawn(gev_threadpool *p, gev_fn fn, void *arg,
                                 gev_result *result);

/** Runs fn(in[i]) for each i, as many at once as the pool has threads, and
 *  waits for all. The first failure ends it: what has not begun is not begun,
 *  what is running is left to itself, and out is untouched.
 *
 *  In a thread of the same pool they run in place, one after the other.
 *
 *  Parks:  unless n is 0.
 *  @param out  NULL: the values are dropped; may be in
 *  @return 0 with out[0] ... out[n - 1] set, or -1 on error
 *
 *  Errors:
 *    EINVAL     fn is NULL; in is NULL and n is not 0
 *    ECANCELED  the pool was freed before all had begun
 *    EAGAIN     no thread can be started, and there is none
 *    ENOMEM     no memory
 *    and the first that fn gave to gev_fail(), and those of any park
 *  Source: ThreadPool.map (THP4)
 *  @since 0.1
 */
GEV_API int gev_threadpool_map(gev_threadpool *p, gev_fn fn, void *const in[],
                               void *out[], size_t n);

/** Waits until no job is queued or running. The results of this hub's jobs are
 *  set then.
 *
 *  Parks:  unless it is idle, or timeout <= 0.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  it was not idle in time
 *    EDEADLK    in a job of this pool
 *    EINVAL     NaN
 *    ENOMEM     no memory
 *    and those of any park
 *  Source: ThreadPool.join (THP7)
 *  @since 0.1
 */
GEV_API int gev_threadpool_join(gev_threadpool *p, double timeout);

/** Jobs queued and running, also those whose caller has left.
 *
 *  Parks:  no.
 *  Thread: any thread, but for NULL.
 *  Source: len(ThreadPool) (THP12)
 *  @since 0.1
 */
GEV_API size_t gev_threadpool_count(const gev_threadpool *p);

/** Threads it has just now, busy or idle.
 *
 *  Parks:  no.
 *  Thread: any thread, but for NULL.
 *  Source: ThreadPool.size (THP6)
 *  @since 0.1
 */
GEV_API size_t gev_threadpool_size(const gev_threadpool *p);

/** Starts threads, or ends idle ones, until it has n. They come and go as
 *  before afterwards.
 *
 *  Parks:  no.
 *  Thread: any thread, but for NULL.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  more than the bound
 *    EAGAIN  not so many threads can be started
 *    ENOMEM  no memory
 *  Source: ThreadPool.size (THP6)
 *  @since 0.1
 */
GEV_API int gev_threadpool_set_size(gev_threadpool *p, size_t n);

/** The most threads it may have.
 *
 *  Parks:  no.
 *  Thread: any thread, but for NULL.
 *  Source: ThreadPool.maxsize (THP6)
 *  @since 0.1
 */
GEV_API size_t gev_threadpool_max(const gev_threadpool *p);

/** Sets the bound. Threads above it end as they become idle; below it, queued
 *  jobs get threads at once.
 *
 *  Parks:  no.
 *  Thread: any thread, but for NULL.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  0
 *    ENOMEM  no memory for the hub's own pool
 *  Source: ThreadPool.maxsize (THP6)
 *  @since 0.1
 */
GEV_API int gev_threadpool_set_max(gev_threadpool *p, size_t max_threads);

/** Sets after how many seconds an idle thread ends; 5 at first.
 *
 *  Parks:  no.
 *  Thread: any thread, but for NULL.
 *  @param seconds  GEV_FOREVER: not before the pool does
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NaN
 *    ENOMEM  no memory for the hub's own pool
 *  Source: ThreadPool's idle_task_timeout (THP1)
 *  @since 0.1
 */
GEV_API int gev_threadpool_set_idle_time(gev_threadpool *p, double seconds);

GEV_END_DECLS
#endif
