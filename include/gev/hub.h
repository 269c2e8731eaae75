/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_H
#define GEV_HUB_H

/** @file gev/hub.h
 *  The hub: one a thread, made by the first call that needs it. It runs libev's
 *  loop when no greenlet is ready, and wakes parked greenlets when events come.
 *
 *  Order inside a turn: ready greenlets, then I/O, then sleeps in the order of
 *  their deadlines, then timeouts. However busy the ready queue is, I/O and
 *  timers are polled at least every millisecond between switches.
 */
#include <gev/base.h>
#include <gev/greenlet.h>

#include <sys/types.h>

struct ev_loop;

GEV_BEGIN_DECLS

/** A hub. */
typedef struct gev_hub gev_hub;

/** What gev_hub_stats() fills in. */
typedef struct gev_stats {
    size_t size;       /**< in: sizeof(gev_stats): room to grow */
    uint64_t switches; /**< from one greenlet to another, so far */
    uint64_t turns;    /**< passes through libev's loop, so far */
    uint64_t spawned;  /**< greenlets made, so far */
    size_t live;       /**< greenlets that have not ended, without main */
    size_t peak;       /**< the most there were of those */
    size_t ready;      /**< greenlets in the ready queue */
    size_t timers;     /**< sleeps, starts and timeouts armed */
    size_t fds;        /**< descriptors with a greenlet parked on them */
    double lag;        /**< seconds the last due timer was late */
} gev_stats;

/** This thread's hub, made if need be.
 *
 *  Parks:  no.
 *  Owns:   borrowed; valid until gev_hub_close() or the thread's end.
 *
 *  Errors:
 *    ENOMEM  no memory
 *    EMFILE, ENFILE  no descriptor for epoll or the wake-up
 *  Source: gevent.get_hub (TOP14, HUB1)
 *  @since 0.1
 */
GEV_API gev_hub *gev_hub_get(void);

/** The hub a greenlet belongs to, whether it has ended or not.
 *
 *  Parks:  no.
 *  Owns:   borrowed.
 *  @return the hub; NULL for NULL, and once the hub is closed
 *
 *  Errors: none.
 *  Source: Greenlet.loop (GLT29)
 *  @since 0.1
 */
GEV_API gev_hub *gev_hub_of(const gev_greenlet *g);

/** libev's loop of this hub, for watchers of your own. They count as able to
 *  wake somebody unless you ev_unref() them. Their callbacks run in the hub
 *  and must not park. A forked child has another loop.
 *
 *  Parks:  no.
 *  Owns:   borrowed.
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API struct ev_loop *gev_hub_loop(gev_hub *hub);

/** Closes this thread's hub: greenlets that have not begun are cancelled, the
 *  others are killed and run to their end (defers run, links do not start new
 *  greenlets), main's defers run, and everything is freed. One that ignores
 *  its kill for ever is ended where it parks. Handles stay valid until
 *  gev_unref(). The next gev call makes a new hub. Without a hub: 0.
 *
 *  Parks:  yes, but no kill and no scope fails it.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EPERM  not called by main
 *  Source: Hub.destroy (HUB4)
 *  @since 0.1
 */
GEV_API int gev_hub_close(void);

/** Has @p fn called when this thread's hub closes (gev_hub_close(), or the end
 *  of the thread), the youngest first: no greenlet is left then and main's
 *  defers have run, but gev_hub_loop() is still there. For libraries that keep
 *  something for each hub. fn must not park (EPERM). In a forked child it is
 *  called too, when the child's hub closes.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  fn is NULL
 *    ENOMEM  no memory to remember it
 *    ENOMEM, EMFILE  the thread's hub could not be made
 *  @since 0.1
 */
GEV_API int gev_hub_defer(void (*fn)(void *), void *arg);

/** Holds the hub: while held, nobody gets EDEADLK and gev_run() goes on. For
 *  whoever lets another thread wake it.
 *
 *  Parks:  no.
 *  Thread: any thread.
 *  @since 0.1
 */
GEV_API void gev_hub_ref(gev_hub *hub);

/** Lets it go again.
 *
 *  Parks:  no.
 *  Thread: any thread.
 *  @since 0.1
 */
GEV_API void gev_hub_unref(gev_hub *hub);

/** Has @p fn called in that hub, in the order posted by each thread. fn must
 *  not park.
 *
 *  Parks:  no.
 *  Thread: any thread, also one without a hub.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL
 *    ENOMEM  no memory for the message
 *  Source: loop.run_callback_threadsafe (LOOP3, LOOP6)
 *  @since 0.1
 */
GEV_API int gev_hub_post(gev_hub *hub, void (*fn)(void *), void *arg);

/** Spawns a greenlet in that hub. Should that hub have no memory for the stack
 *  then, it tries again until it has.
 *
 *  Parks:  no.
 *  Thread: any thread, also one without a hub.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL
 *    ENOMEM  no memory for the message
 *  @since 0.1
 */
GEV_API int gev_hub_spawn(gev_hub *hub, gev_fn fn, void *arg);

/** Sets this hub's error handler: called in the hub, once for each greenlet
 *  that ends by gev_fail(), but for ECANCELED. It must not park. The default
 *  writes one line to stderr with name, id, spawn site and error.
 *
 *  Parks:  no.
 *  @param fn  NULL: back to the default
 *  Source: Hub.handle_error (HUB8, GLT23)
 *  @since 0.1
 */
GEV_API void gev_set_error_handler(void (*fn)(gev_greenlet *g, int error,
                                              void *arg),
                                   void *arg);

/** Has @p fn called for every greenlet of this hub that is started, right after
 *  it was: by gev_start() and gev_start_later(), and by whatever spawns with a
 *  handle, not by gev_spawn_raw() and gev_hub_spawn(). It runs in whoever
 *  spawns, must not park (EPERM), and may do with g what it likes: name it,
 *  link to it, kill it. What it spawns itself is seen, too: use
 *  gev_spawn_raw() there. The same pair is added once.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  fn is NULL
 *    ENOMEM  no memory to remember it
 *  Source: Greenlet.add_spawn_callback (GLT28)
 *  @since 0.1
 */
GEV_API int gev_add_spawn_hook(void (*fn)(gev_greenlet *g, void *arg),
                               void *arg);

/** Takes it back, also from inside a hook. Unknown: 0.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ENOMEM, EMFILE  the thread's hub could not be made
 *  Source: Greenlet.remove_spawn_callback (GLT28)
 *  @since 0.1
 */
GEV_API int gev_remove_spawn_hook(void (*fn)(gev_greenlet *g, void *arg),
                                  void *arg);

/** Sets the allocator of the whole process, for libev and c-ares too. It acts
 *  as realloc(3): n == 0 frees and returns NULL, NULL means out of memory. It
 *  must be thread-safe. Stacks are mapped, not allocated; addrinfo lists come
 *  from libc, which may free them.
 *
 *  Parks:  no.
 *  @param realloc_fn  NULL: libc's
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBUSY  a hub exists already
 *  @since 0.1
 */
GEV_API int gev_set_allocator(void *(*realloc_fn)(void *p, size_t n));

/** Fills in what the hub has counted, as far as stats->size reaches.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API void gev_hub_stats(gev_hub *hub, gev_stats *stats);

/** @name Waiters: the safe way to park on anything that calls back @{ */

/** A place for one value and one greenlet to meet; place it anywhere. All-zero
 *  is fresh. */
typedef struct gev_waiter {
    void *priv[6]; /**< opaque */
} gev_waiter;

/** Makes it fresh again; nobody may be parked on it.
 *
 *  Parks:  no.
 *  Source: gevent.hub.Waiter (HUB12)
 *  @since 0.1
 */
GEV_API void gev_waiter_init(gev_waiter *w);

/** Takes the value, or waits for it. Taking it makes the waiter fresh.
 *
 *  Parks:  unless it is there, or timeout <= 0.
 *  @return 0 with *value set, or -1 on error
 *
 *  Errors:
 *    EBUSY      another greenlet waits on it
 *    ETIMEDOUT  nothing came in time
 *    EINVAL     NULL, or NaN
 *    and the code of gev_waiter_throw(), and those of any park
 *  Source: Waiter.get (HUB12)
 *  @since 0.1
 */
GEV_API int gev_waiter_get(gev_waiter *w, void **value, double timeout);

/** Leaves a value: before or after the get, from a callback or a greenlet of
 *  the same hub. Never switches. A second one before it is taken replaces the
 *  first.
 *
 *  Parks:  no.
 *  Source: Waiter.switch (HUB12)
 *  @since 0.1
 */
GEV_API void gev_waiter_switch(gev_waiter *w, void *value);

/** Leaves an error instead: the get fails with it.
 *
 *  Parks:  no.
 *  @param error  a positive errno or gev code
 *  Source: Waiter.throw (HUB12)
 *  @since 0.1
 */
GEV_API void gev_waiter_throw(gev_waiter *w, int error);

/** @}
 *  @name Waiting for descriptors, signals, children @{ */

/** What to wait for on a descriptor. */
enum gev_events {
    GEV_READ = 1, /**< readable, or end of file, or error */
    GEV_WRITE = 2 /**< writable, or error */
};

/** Waits until a descriptor is ready. Hang-up and error count as ready in the
 *  directions asked for. A regular file is always ready. Any number of
 *  greenlets may wait on one descriptor.
 *
 *  Parks:  unless it is ready at once, or timeout <= 0.
 *  @param events  GEV_READ | GEV_WRITE
 *  @return what is ready: at least one of events; or -1 on error
 *
 *  Errors:
 *    EBADF      not open, or closed by gev_close() meanwhile
 *    EINVAL     no or unknown events, or NaN
 *    ETIMEDOUT  not ready in time
 *    ENOMEM     no memory for the watcher
 *    and those of any park
 *  Source: gevent.socket.wait_read, wait_write, wait_readwrite (SOC19)
 *  @since 0.1
 */
GEV_API int gev_wait_fd(int fd, int events, double timeout);

/** Waits for a signal. Every waiter of every hub wakes; while somebody waits
 *  the signal is caught, and the disposition from before comes back after the
 *  last. A waiter counts as able to wake (no EDEADLK).
 *
 *  Parks:  yes.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL     no such signal, one that cannot be caught, or NaN
 *    ETIMEDOUT  it did not come in time
 *    and those of any park
 *  Source: signal(7)
 *  @since 0.1
 */
GEV_API int gev_wait_signal(int signum, double timeout);

/** Waits for a child process and reaps it: that one and no other.
 *
 *  Parks:  unless it has ended, or timeout <= 0.
 *  @param status  set to what waitpid(2) gives
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ECHILD     not a child, or reaped by somebody else
 *    EINVAL     pid <= 0, or NaN
 *    ETIMEDOUT  it has not ended in time
 *    and those of any park, and of pidfd_open(2)
 *  Source: pidfd_open(2), waitpid(2); loop.child (LOOP13)
 *  @since 0.1
 */
GEV_API int gev_wait_child(pid_t pid, int *status, double timeout);

/** @} */

GEV_END_DECLS
#endif
