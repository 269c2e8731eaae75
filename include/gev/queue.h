/* SPDX-License-Identifier: MIT */
#ifndef GEV_QUEUE_H
#define GEV_QUEUE_H

/** @file gev/queue.h
 *  Queues of pointers between greenlets: first in first out, last in first out,
 *  or by priority; bounded or not. Who waits to get, to peek or to put is
 *  served in the order of arrival, and an item is handed over in the call that
 *  brings it: it cannot be lost to a waiter that is killed or runs out of time.
 *
 *  With a timeout of zero or less every call may be used in the hub and its
 *  callbacks, too; an empty or full queue is ETIMEDOUT then.
 *
 *  The items are yours: the queue never looks at them, and frees none.
 */
#include <gev/base.h>

GEV_BEGIN_DECLS

/** A queue. */
typedef struct gev_queue gev_queue;

/** A queue that gives first what was put first.
 *
 *  Parks:  no.
 *  Owns:   the caller owns it: gev_queue_free().
 *  @param maxsize  the most items it holds; 0: no limit
 *
 *  Errors:
 *    ENOMEM  no memory
 *  Source: gevent.queue.Queue, SimpleQueue, JoinableQueue (QUE1, QUE9)
 *  @since 0.1
 */
GEV_API gev_queue *gev_queue_new(size_t maxsize);

/** A queue that gives first what was put last.
 *
 *  Parks:  no.
 *  Owns:   the caller owns it: gev_queue_free().
 *  @param maxsize  the most items it holds; 0: no limit
 *
 *  Errors:
 *    ENOMEM  no memory
 *  Source: gevent.queue.LifoQueue (QUE12)
 *  @since 0.1
 */
GEV_API gev_queue *gev_lifo_new(size_t maxsize);

/** A queue that gives the smallest item first, among equals the one that was
 *  put first.
 *
 *  Parks:  no.
 *  Owns:   the caller owns it: gev_queue_free().
 *  @param maxsize  the most items it holds; 0: no limit
 *  @param cmp      less than, equal to or greater than 0, as for qsort(3), but
 *                  of the items themselves. It must do nothing but compare
 *
 *  Errors:
 *    EINVAL  cmp is NULL
 *    ENOMEM  no memory
 *  Source: gevent.queue.PriorityQueue (QUE11)
 *  @since 0.1
 */
GEV_API gev_queue *gev_priority_new(size_t maxsize,
                                    int (*cmp)(const void *a, const void *b));

/** Wakes all who wait in it with EPIPE and frees it. What is in it, or on its
 *  way by gev_queue_post(), is dropped. NULL is fine.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API void gev_queue_free(gev_queue *q);

/** Puts an item, which may be NULL. On -1 it was not put.
 *
 *  Parks:  while the queue is full, unless timeout <= 0.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  it was full all the time
 *    EPIPE      it was shut down, or freed meanwhile
 *    ENOMEM     no memory to grow. Never for one of at most 64 items
 *    EINVAL     NULL queue, or NaN
 *    EPERM      another thread's queue
 *    and those of any park
 *  Source: Queue.put, put_nowait (QUE2, QUE6, QUE16)
 *  @since 0.1
 */
GEV_API int gev_queue_put(gev_queue *q, void *item, double timeout);

/** Takes the next item.
 *
 *  Parks:  while the queue is empty, unless timeout <= 0.
 *  @return 0 with *item set, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  it was empty all the time
 *    EPIPE      it was shut down, and nothing is left in it; or freed meanwhile
 *    EINVAL     NULL queue, or NaN
 *    EPERM      another thread's queue
 *    and those of any park
 *  Source: Queue.get, get_nowait (QUE3, QUE6, QUE16)
 *  @since 0.1
 */
GEV_API int gev_queue_get(gev_queue *q, void **item, double timeout);

/** Says what the next item is and leaves it there. Who peeks stands in one line
 *  with those who get.
 *
 *  Parks:  while the queue is empty, unless timeout <= 0.
 *  @return 0 with *item set, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  it was empty all the time
 *    EPIPE      it was shut down, and nothing is left in it; or freed meanwhile
 *    EINVAL     NULL queue, or NaN
 *    EPERM      another thread's queue
 *    and those of any park
 *  Source: Queue.peek, peek_nowait (QUE5)
 *  @since 0.1
 */
GEV_API int gev_queue_peek(gev_queue *q, void **item, double timeout);

/** Puts an item from elsewhere, in the order posted by each thread. It counts
 *  against maxsize at once, and is there to be got when the queue's hub has
 *  taken the message. A message that was accepted before a shutdown is still
 *  delivered. The queue must not be freed while another thread may be in this
 *  call.
 *
 *  Parks:  no.
 *  Thread: any thread, also one without a hub.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EAGAIN  it is full
 *    EPIPE   it was shut down
 *    EINVAL  NULL
 *    ENOMEM  no memory for the message
 *  @since 0.1
 */
GEV_API int gev_queue_post(gev_queue *q, void *item);

/** How many items can be got without waiting. 0 for NULL.
 *
 *  Parks:  no.
 *  Source: Queue.qsize (QUE8)
 *  @since 0.1
 */
GEV_API size_t gev_queue_size(const gev_queue *q);

/** The most items it holds; 0: no limit.
 *
 *  Parks:  no.
 *  Source: Queue.maxsize (QUE8)
 *  @since 0.1
 */
GEV_API size_t gev_queue_maxsize(const gev_queue *q);

/** Whether a get would have to wait.
 *
 *  Parks:  no.
 *  Source: Queue.empty (QUE8)
 *  @since 0.1
 */
GEV_API bool gev_queue_empty(const gev_queue *q);

/** Whether a put would have to wait. Messages under way count. Never for one
 *  without a limit.
 *
 *  Parks:  no.
 *  Source: Queue.full (QUE8)
 *  @since 0.1
 */
GEV_API bool gev_queue_full(const gev_queue *q);

/** How many items have been put and are not yet done.
 *
 *  Parks:  no.
 *  Source: JoinableQueue.unfinished_tasks (QUE9)
 *  @since 0.1
 */
GEV_API size_t gev_queue_unfinished(const gev_queue *q);

/** Says that an item that was got is done. Only who uses gev_queue_join() needs
 *  it.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL, or oftener than items were put
 *    EPERM   another thread's queue
 *  Source: JoinableQueue.task_done (QUE9)
 *  @since 0.1
 */
GEV_API int gev_queue_task_done(gev_queue *q);

/** Waits until every item that was put is done.
 *
 *  Parks:  unless all are, or timeout <= 0.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  some were not done in time
 *    EPIPE      it was freed meanwhile
 *    EINVAL     NULL queue, or NaN
 *    EPERM      another thread's queue
 *    and those of any park
 *  Source: JoinableQueue.join (QUE9)
 *  @since 0.1
 */
GEV_API int gev_queue_join(gev_queue *q, double timeout);

/** Nothing can be put any more: who waits to put, and who comes to, gets EPIPE.
 *  What is in it can still be got; then gets and peeks are EPIPE, too.
 *  Shutting down twice is fine.
 *
 *  Parks:  no.
 *  @param immediate  drop what is in it and count it as done: gets are EPIPE at
 *                    once
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL
 *    EPERM   another thread's queue
 *  Source: Queue.shutdown (QUE10, QUE16)
 *  @since 0.1
 */
GEV_API int gev_queue_shutdown(gev_queue *q, bool immediate);

GEV_END_DECLS
#endif
