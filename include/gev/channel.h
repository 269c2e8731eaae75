/* SPDX-License-Identifier: MIT */
#ifndef GEV_CHANNEL_H
#define GEV_CHANNEL_H

/** @file gev/channel.h
 *  Channels: pointers from greenlet to greenlet, hand to hand or through a
 *  buffer, and gev_choose(), which does the first of several sends and
 *  receives that can be done.
 *
 *  With a timeout of zero or less every call may be used in the hub and its
 *  callbacks, too; ETIMEDOUT then says that it would have had to wait.
 */
#include <gev/base.h>

GEV_BEGIN_DECLS

/** A channel. */
typedef struct gev_channel gev_channel;

/** Makes a channel.
 *
 *  Parks:  no.
 *  Owns:   the caller owns it: gev_channel_free().
 *  @param capacity  how many items it holds that nobody has received yet; 0:
 *                   none, a send waits for its receiver
 *
 *  Errors:
 *    ENOMEM  no memory
 *  Source: gevent.queue.Channel (QUE14)
 *  @since 0.1
 */
GEV_API gev_channel *gev_channel_new(size_t capacity);

/** Wakes all who wait in it with EPIPE and frees it. What is in it is dropped.
 *  NULL is fine.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API void gev_channel_free(gev_channel *c);

/** Sends an item, which may be NULL. On -1 it was not sent. Without a buffer
 *  the receiver has the item and has run on when this returns, in this order;
 *  only a send that must not park (timeout <= 0, a killed greenlet) returns
 *  before the receiver runs.
 *
 *  Parks:  unless there is room in the buffer, or timeout <= 0.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  nobody received it in time, and the buffer stayed full
 *    EPIPE      the channel is closed, or was meanwhile
 *    EINVAL     NULL channel, or NaN
 *    EPERM      another thread's channel
 *    and those of any park
 *  Source: Channel.put (QUE14)
 *  @since 0.1
 */
GEV_API int gev_channel_send(gev_channel *c, void *item, double timeout);

/** Receives the oldest item.
 *
 *  Parks:  unless there is one, or timeout <= 0.
 *  @return 0 with *item set, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  nothing was sent in time
 *    EPIPE      the channel is closed and nothing is left in its buffer
 *    EINVAL     NULL channel, or NaN
 *    EPERM      another thread's channel
 *    and those of any park
 *  Source: Channel.get (QUE14)
 *  @since 0.1
 */
GEV_API int gev_channel_recv(gev_channel *c, void **item, double timeout);

/** Nothing can be sent any more. All who wait get EPIPE, and the items of those
 *  who wait to send are not sent. What is in the buffer can still be received.
 *  Closing twice is fine.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL
 *    EPERM   another thread's channel
 *  @since 0.1
 */
GEV_API int gev_channel_close(gev_channel *c);

/** How many items are in the buffer. 0 for NULL.
 *
 *  Parks:  no.
 *  Source: Channel.qsize (QUE14)
 *  @since 0.1
 */
GEV_API size_t gev_channel_size(const gev_channel *c);

/** What a clause of gev_choose() does. */
enum gev_clause_op {
    GEV_SEND = 1, /**< as gev_channel_send() */
    GEV_RECV = 2  /**< as gev_channel_recv() */
};

/** One of the things gev_choose() may do. */
typedef struct gev_clause {
    int op;               /**< GEV_SEND or GEV_RECV */
    gev_channel *channel; /**< NULL: this clause never fires */
    void *item;           /**< sent, or set to what was received */
    int error; /**< set: EPIPE if this clause's channel is closed, else 0 */
} gev_clause;

/** Does exactly one of several sends and receives: the first in the array that
 *  can be done now, else the first that can be done later. Nothing is done of
 *  the others. A channel may stand in any number of clauses, also in both
 *  directions: a choose never deals with itself.
 *
 *  A clause whose channel is closed can be "done", too: the call fails with
 *  EPIPE, and its error says which one it was.
 *
 *  Parks:  unless one can be done now, or timeout <= 0.
 *  @return the index of the clause that was done, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  none could be done in time
 *    EPIPE      a channel is closed
 *    EINVAL     NULL with n > 0, an unknown op, or NaN
 *    EPERM      another thread's channel
 *    ENOMEM     no memory (up to 8 clauses need none)
 *    and those of any park
 *  @since 0.1
 */
GEV_API int gev_choose(gev_clause clause[], size_t n, double timeout);

GEV_END_DECLS
#endif
