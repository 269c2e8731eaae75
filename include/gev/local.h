/* SPDX-License-Identifier: MIT */
#ifndef GEV_LOCAL_H
#define GEV_LOCAL_H

/** @file gev/local.h
 *  Values that belong to a greenlet: locals, of which each greenlet has its
 *  own, and the context, which children inherit.
 *
 *  @code
 *  static gev_local request_key;
 *
 *  int main(void)
 *  {
 *      if (gev_local_create(&request_key, free) < 0)
 *          return 1;
 *      ...
 *  }
 *  static void *serve(void *arg)
 *  {
 *      if (gev_local_set(request_key, read_request(arg)) < 0)
 *          return gev_fail(errno);
 *      handle();              // gev_local_get(request_key) anywhere inside
 *      return NULL;           // here the request is freed
 *  }
 *  @endcode
 */
#include <gev/base.h>

GEV_BEGIN_DECLS

/** @name Locals @{ */

/** A key, under which each greenlet has a value of its own. All-zero is no key:
 *  nothing can be set under it. */
typedef uint64_t gev_local;

/** Makes a key for the whole process: greenlets of every thread may use it.
 *
 *  When a greenlet ends with a value under the key that is not NULL, @p destroy
 *  is called with it, in that greenlet, after its defers and before its links;
 *  whichever way it ends, and also for main at gev_hub_close(). It must not
 *  park (EPERM). Values that it sets are destroyed in further rounds, four in
 *  all; what is left after them is dropped. The order among keys is not
 *  specified. What a forked child leaves behind is not destroyed there.
 *
 *  Parks:  no.
 *  Thread: any thread, also one without a hub.
 *  @param destroy  NULL: values need nothing
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  key is NULL
 *    EAGAIN  4096 keys are in use
 *  Source: gevent.local.local (LOC1, LOC3), pthread_key_create(3)
 *  @since 0.1
 */
GEV_API int gev_local_create(gev_local *key, void (*destroy)(void *value));

/** Deletes a key. Values under it are not destroyed, and nobody gets them any
 *  more: a key that is made later has none.
 *
 *  Parks:  no.
 *  Thread: any thread, also one without a hub.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  no such key (any more)
 *  Source: pthread_key_delete(3)
 *  @since 0.1
 */
GEV_API int gev_local_delete(gev_local key);

/** The current greenlet's value. It costs a few nanoseconds.
 *
 *  Parks:  no.
 *  @return the value, or NULL if it has none
 *
 *  Errors: none.
 *  Source: gevent.local.local (LOC1, LOC2), pthread_getspecific(3)
 *  @since 0.1
 */
GEV_API void *gev_local_get(gev_local key);

/** Sets the current greenlet's value. The one from before is not destroyed. In
 *  the hub (callbacks) it is the hub's, destroyed when that is closed.
 *
 *  Parks:  no.
 *  @param value  NULL: as if it had never been set
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  no such key (any more)
 *    ENOMEM  no memory for it
 *  Source: gevent.local.local (LOC1), pthread_setspecific(3)
 *  @since 0.1
 */
GEV_API int gev_local_set(gev_local key, void *value);

/** @}
 *  @name The context
 *  One pointer for a whole tree of greenlets: a request, a trace id, a set of
 *  options. gev does nothing with it but hand it on. @{ */

/** The current greenlet's context.
 *
 *  A new greenlet, however it is made, has that of the greenlet that made it.
 *  It is NULL in main and in what the hub makes (gev_hub_spawn(), links),
 *  until they set one.
 *
 *  Parks:  no.
 *  Owns:   nothing is known of what it points to; it has to stay as long as
 *          the greenlets that have it.
 *
 *  Errors: none.
 *  Source: contextvars (CTX1), Greenlet.spawn_tree_locals (GLT27)
 *  @since 0.1
 */
GEV_API void *gev_context(void);

/** Sets the current greenlet's context, also for what it makes from now on.
 *  Greenlets that exist keep theirs.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ENOMEM, EMFILE  the thread's hub could not be made
 *  Source: contextvars (CTX1), Greenlet.spawn_tree_locals (GLT27)
 *  @since 0.1
 */
GEV_API int gev_set_context(void *context);

/** @} */

GEV_END_DECLS
#endif
