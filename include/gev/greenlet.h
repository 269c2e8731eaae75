/* SPDX-License-Identifier: MIT */
#ifndef GEV_GREENLET_H
#define GEV_GREENLET_H

/** @file gev/greenlet.h
 *  Greenlets: functions with a stack of their own that run one at a time and
 *  give each other the CPU only where a call says "Parks:" (or switches).
 *
 *  @code
 *  static void *hello(void *arg)
 *  {
 *      gev_sleep(0.1);
 *      return arg;
 *  }
 *  int main(void)
 *  {
 *      gev_greenlet *g = gev_spawn(hello, "world");
 *      void *value;
 *      if (gev_get(g, &value, GEV_FOREVER) == 0)
 *          printf("hello %s\n", (char *)value);
 *      gev_unref(g);
 *  }
 *  @endcode
 *
 *  There is nothing to initialise: the first call in a thread makes that
 *  thread's hub, and main() is a greenlet like the others.
 *
 *  A greenlet is reference-counted. A function that returns one to keep gives
 *  one reference, to be dropped with gev_unref(); "borrowed" ones are not
 *  yours. Dropping the last reference of a started greenlet merely detaches
 *  it: its hub keeps it alive until it ends.
 *
 *  Greenlets start in the order they were spawned, never inside gev_spawn()
 *  but at the spawner's next park. Ready greenlets run first in, first out.
 *
 *  What is to happen when one ends is in <gev/link.h>, which this includes.
 */
#include <gev/base.h>
#include <gev/link.h>

#include <sys/types.h>

GEV_BEGIN_DECLS

/** A greenlet. */
typedef struct gev_greenlet gev_greenlet;

/** What a greenlet runs. */
typedef void *(*gev_fn)(void *arg);

/** Options of a new greenlet; zero means the default. */
typedef struct gev_attr {
    size_t size;       /**< sizeof(gev_attr): room to grow; 0: the same */
    const char *name;  /**< copied; default: the function's name at the spawn */
    size_t stack_size; /**< bytes at least: the next of 64, 192, 448 KiB ...
                            (2^k - 1 times 64 KiB) is taken; 0: 64 KiB (all
                            larger under AddressSanitizer) */
    unsigned flags;    /**< none yet: 0 */
} gev_attr;

/** @name The raw greenlet
 *  Explicit switching, greenlet's own model. @{ */

/** Makes a greenlet that is not started; its parent is the caller.
 *
 *  gev_switch() starts it, or gev_start() hands it to the hub.
 *
 *  Parks:  no.
 *  Owns:   returns one reference. @p arg is not copied.
 *  @param arg  passed to fn; if NULL, fn gets the first gev_switch()'s @p in
 *  @return the greenlet, or NULL on error
 *
 *  Errors:
 *    EINVAL  fn is NULL
 *    ENOMEM  no memory for the stack
 *  Source: greenlet.greenlet(run, parent) (RAW1)
 *  @since 0.1
 */
GEV_API gev_greenlet *gev_new(gev_fn fn, void *arg);

/** gev_new() with options.
 *
 *  Parks:  no.
 *  Owns:   borrows @p attr for the call; its name is copied.
 *  @param attr  NULL: all defaults
 *
 *  Errors:
 *    EINVAL  fn is NULL, unknown flags, or no such size
 *    ENOMEM  no memory for the stack
 *  Source: greenlet.greenlet(run, parent) (RAW1, RAW19)
 *  @since 0.1
 */
GEV_API gev_greenlet *gev_new_attr(const gev_attr *attr, gev_fn fn, void *arg);

/** Takes a reference.
 *
 *  Parks:  no.
 *  @return g
 *
 *  Errors: none; NULL gives NULL.
 *  @since 0.1
 */
GEV_API gev_greenlet *gev_ref(gev_greenlet *g);

/** Drops a reference; NULL is fine.
 *
 *  The last reference of a greenlet that was never started frees it. The last
 *  one of a raw greenlet suspended in gev_switch() cancels it: it is switched
 *  to, its pending gev_switch() fails with ECANCELED, and this call returns
 *  when it has ended; in a callback or a defer nothing may be switched to, and
 *  it ends later. One that runs under the hub goes on.
 *
 *  Parks:  no (but switches to a suspended raw greenlet).
 *  Source: dropping the last reference of a greenlet (RAW13)
 *  @since 0.1
 */
GEV_API void gev_unref(gev_greenlet *g);

/** The greenlet that runs; main() and the hub are greenlets too.
 *
 *  Never NULL but when the very first call in a thread finds no memory for a
 *  hub.
 *
 *  Parks:  no.
 *  Owns:   borrowed.
 *
 *  Errors:
 *    ENOMEM, EMFILE  the thread's hub could not be made
 *  Source: greenlet.getcurrent (RAW11, TOP4)
 *  @since 0.1
 */
GEV_API gev_greenlet *gev_current(void);

/** The greenlet that gets the value when @p g ends; the hub for one that was
 *  spawned or started; NULL for main.
 *
 *  Parks:  no.
 *  Owns:   borrowed.
 *
 *  Errors: none.
 *  Source: greenlet.parent (RAW9)
 *  @since 0.1
 */
GEV_API gev_greenlet *gev_parent(const gev_greenlet *g);

/** Changes the parent. The one at the time of the end counts.
 *
 *  Parks:  no.
 *  Owns:   g holds a reference to its parent.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  a cycle; NULL; main or the hub has no parent to set
 *    EPERM   another thread's greenlet
 *  Source: greenlet.parent (RAW9)
 *  @since 0.1
 */
GEV_API int gev_set_parent(gev_greenlet *g, gev_greenlet *parent);

/** Switches to @p g now. Returns when somebody switches back.
 *
 *  The first switch calls g's function. A later one makes g's own pending
 *  gev_switch() return 0 with *out = in. When g's function returns, its value
 *  arrives in its parent's pending gev_switch(). A switch to a dead greenlet
 *  goes on to its parent, one to oneself gives @p in back.
 *
 *  Not a park: kills and timeout scopes do not fail it.
 *
 *  Parks:  no; it switches, whatever the hub has ready.
 *  @param out  set to the value that is sent back
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  g is NULL
 *    EPERM   g belongs to another thread; the caller is the hub, a callback or
 *            a defer; or g is the hub
 *    EBUSY   g is parked or ready under the hub
 *    EDEADLK main only: nothing can ever switch back
 *    and the code that was thrown by gev_throw(), or by the end of a greenlet
 *    whose parent this one is
 *  Source: greenlet.switch (RAW2, RAW6, RAW8)
 *  @since 0.1
 */
GEV_API int gev_switch(gev_greenlet *g, void *in, void **out);

/** Throws @p error into a greenlet.
 *
 *  Into one suspended in gev_switch(): switches to it now; its gev_switch()
 *  returns -1 with errno = error. Into a raw one that never started: it dies
 *  without running, and the code goes to its parent, except ECANCELED, which
 *  ends it quietly. Into a dead raw one: likewise on to its parent. Into one
 *  that is parked under the hub: fails that park, once, at its next turn.
 *  Into one that is ready: its next park fails. Into one that was spawned and
 *  never ran: it ends with that code, its links fire, nothing is reported.
 *
 *  Parks:  no (but may switch).
 *  @param error  a positive errno or gev code
 *  @return 0 (after a switch: when somebody switches back), or -1 on error
 *
 *  Errors:
 *    EINVAL  g is NULL, or error is not positive
 *    EPERM   another thread's; or the caller may not switch (see gev_switch())
 *    ESRCH   it ran under the hub and is dead
 *    ENOMEM  no memory to remember the code
 *    and the code itself, thrown into oneself or come back through a parent
 *  Source: greenlet.throw (RAW4, RAW5, RAW8), Greenlet.throw (GLT16)
 *  @since 0.1
 */
GEV_API int gev_throw(gev_greenlet *g, int error);

/** Whether it was started, spawned, or switched to. Stays true after its end.
 *
 *  Parks:  no.
 *  Source: Greenlet.started (GLT5)
 *  @since 0.1
 */
GEV_API bool gev_started(const gev_greenlet *g);

/** Whether it has ended, or was killed before it began.
 *
 *  Parks:  no.
 *  Source: greenlet.dead (RAW10, GLT6)
 *  @since 0.1
 */
GEV_API bool gev_dead(const gev_greenlet *g);

/** @}
 *  @name Greenlets under the hub @{ */

/** Spawns a greenlet: it is queued now and runs at the caller's next park.
 *
 *  Also a macro that records the place of the call and the function's name.
 *
 *  Parks:  no.
 *  Owns:   returns one reference. @p arg is not copied.
 *  @return the greenlet, or NULL on error
 *
 *  Errors:
 *    EINVAL  fn is NULL
 *    ENOMEM  no memory for the stack
 *  Source: gevent.spawn (TOP1)
 *  @since 0.1
 */
GEV_API gev_greenlet *gev_spawn(gev_fn fn, void *arg);

/** Spawns a greenlet after @p seconds. Killed before, it never runs.
 *
 *  Parks:  no.
 *  Owns:   returns one reference.
 *  @param seconds  <= 0: like gev_spawn()
 *  @return the greenlet, or NULL on error
 *
 *  Errors:
 *    EINVAL  fn is NULL, or NaN
 *    ENOMEM  no memory for the stack or the timer
 *  Source: gevent.spawn_later (TOP2)
 *  @since 0.1
 */
GEV_API gev_greenlet *gev_spawn_later(double seconds, gev_fn fn, void *arg);

/** gev_spawn() with options.
 *
 *  Parks:  no.
 *  Owns:   returns one reference; borrows @p attr for the call.
 *  @return the greenlet, or NULL on error
 *
 *  Errors:
 *    EINVAL  fn is NULL, unknown flags, or no such size
 *    ENOMEM  no memory for the stack
 *  @since 0.1
 */
GEV_API gev_greenlet *gev_spawn_attr(const gev_attr *attr, gev_fn fn,
                                     void *arg);

/** Spawns a greenlet with a copy of its argument, which lives on the new stack
 *  as long as the greenlet runs: the caller's may go out of scope at once.
 *
 *  Parks:  no.
 *  Owns:   returns one reference; copies @p size bytes, aligned to 16.
 *  @return the greenlet, or NULL on error
 *
 *  Errors:
 *    EINVAL  fn is NULL, or arg is NULL and size is not 0
 *    E2BIG   the copy takes more than a quarter of the stack
 *    ENOMEM  no memory for the stack
 *  @since 0.1
 */
GEV_API gev_greenlet *gev_spawn_copy(gev_fn fn, const void *arg, size_t size);

/** Spawns a greenlet nobody has a handle of: no join, no value, the cheapest.
 *  A failure still goes to the error handler.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  fn is NULL
 *    ENOMEM  no memory for the stack
 *  Source: gevent.spawn_raw (TOP3)
 *  @since 0.1
 */
GEV_API int gev_spawn_raw(gev_fn fn, void *arg);

/** gev_spawn() and gev_link_to() the caller: its end, whichever way, is thrown
 *  into the current greenlet.
 *
 *  Parks:  no.
 *  Owns:   returns one reference.
 *  @return the greenlet, or NULL on error
 *
 *  Errors:
 *    EINVAL  fn is NULL
 *    ENOMEM  no memory for the stack or the link
 *  @since 0.1
 */
GEV_API gev_greenlet *gev_spawn_link(gev_fn fn, void *arg);

/** The same for a successful end only (a kill is one).
 *
 *  Parks:  no.
 *  Owns:   returns one reference.
 *
 *  Errors: as gev_spawn_link().
 *  @since 0.1
 */
GEV_API gev_greenlet *gev_spawn_link_value(gev_fn fn, void *arg);

/** The same for a failure only.
 *
 *  Parks:  no.
 *  Owns:   returns one reference.
 *
 *  Errors: as gev_spawn_link().
 *  @since 0.1
 */
GEV_API gev_greenlet *gev_spawn_link_error(gev_fn fn, void *arg);

/** Hands a greenlet of gev_new() to the hub, which becomes its parent.
 *  Idempotent: a second start, or one after its end, does nothing.
 *
 *  Parks:  no.
 *  Owns:   the hub takes a reference of its own until the end.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  g is NULL
 *    EPERM   another thread's
 *  Source: Greenlet.start (GLT2)
 *  @since 0.1
 */
GEV_API int gev_start(gev_greenlet *g);

/** The same after @p seconds; whichever start is first wins.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  g is NULL, or NaN
 *    EPERM   another thread's
 *    ENOMEM  no memory for the timer
 *  Source: Greenlet.start_later (GLT3)
 *  @since 0.1
 */
GEV_API int gev_start_later(gev_greenlet *g, double seconds);

/** Sleeps at least @p seconds. Zero or less is gev_yield(); GEV_FOREVER sleeps
 *  until killed.
 *
 *  Parks:  yes.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NaN
 *    ENOMEM  no memory for the timer
 *    and those of any park
 *  Source: gevent.sleep (TOP5)
 *  @since 0.1
 */
GEV_API int gev_sleep(double seconds);

/** Goes to the end of the ready queue: every greenlet that is ready runs
 *  before this call returns.
 *
 *  Parks:  yes.
 *  @return 0, or -1 on error
 *
 *  Errors: those of any park.
 *  Source: gevent.sleep(0) (TOP5)
 *  @since 0.1
 */
GEV_API int gev_yield(void);

/** Waits until the hub has nothing ready, after it looked for I/O. Several
 *  idlers resume one by one, in the order they came.
 *
 *  Parks:  yes.
 *  @return 0, or -1 on error
 *
 *  Errors: those of any park.
 *  Source: gevent.idle (TOP6)
 *  @since 0.1
 */
GEV_API int gev_idle(void);

/** Runs until nothing is left to run or to wait for. main() alone may call it,
 *  any number of times.
 *
 *  Parks:  yes.
 *  @return 0 when all that is left (if anything) can never wake, -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  the time ran out
 *    EPERM      not main
 *    and those of any park
 *  Source: gevent.wait(), Hub.join (HUB3)
 *  @since 0.1
 */
GEV_API int gev_run(double timeout);

/** Waits for a greenlet's end, however it ends. One that has ended already is
 *  joined without parking. One that nobody starts or switches to never ends.
 *
 *  Parks:  unless it has ended, or timeout <= 0.
 *  @return 0 once it ended, or -1 on error
 *
 *  Errors:
 *    EDEADLK    joining oneself
 *    ETIMEDOUT  it has not ended in time
 *    EINVAL     g is NULL, or NaN
 *    EPERM      another thread's
 *    and those of any park
 *  Source: Greenlet.join (GLT12)
 *  @since 0.1
 */
GEV_API int gev_join(gev_greenlet *g, double timeout);

/** Waits for all of @p n greenlets. NULL entries are skipped, a duplicate
 *  counts for each entry.
 *
 *  Parks:  unless all have ended, or timeout <= 0.
 *  @return how many have ended, when all have or the time ran out; -1 if the
 *          caller is killed or its scope expires
 *
 *  Errors:
 *    EDEADLK    the caller is among them
 *    EINVAL     g is NULL with n > 0, or NaN
 *    EPERM      another thread's
 *    and those of any park
 *  Source: gevent.joinall (TOP9)
 *  @since 0.1
 */
GEV_API ssize_t gev_joinall(gev_greenlet *const g[], size_t n, double timeout);

/** Waits for all, but the first failure in time comes back at once, as -1 and
 *  its code; the others run on.
 *
 *  Parks:  unless all have ended, one has failed, or timeout <= 0.
 *  @return 0 when all have ended without failing, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  not all have ended in time
 *    ENOMEM     no memory for the links
 *    and the code of the first that failed, and those of gev_joinall()
 *  Source: gevent.joinall(raise_error=True) (TOP9)
 *  @since 0.1
 */
GEV_API int gev_joinall_error(gev_greenlet *const g[], size_t n,
                              double timeout);

/** Waits for a greenlet's end and takes its value or its error.
 *
 *  Parks:  unless it has ended, or timeout <= 0.
 *  @return 0 with *value set, or -1 with the code it failed with
 *
 *  Errors:
 *    ECANCELED  it was killed (or the caller was, while it waited)
 *    and those of gev_join()
 *  Source: Greenlet.get (GLT11)
 *  @since 0.1
 */
GEV_API int gev_get(gev_greenlet *g, void **value, double timeout);

/** Kills a greenlet and waits for its end.
 *
 *  A kill is sticky: C code that ignores one error would run on, so every park
 *  of a killed greenlet fails with ECANCELED, from now until it returns or
 *  takes the kill back with gev_uncancel(). One whose wake is already queued
 *  gets what it waited for and fails at its next park; one that never began
 *  never runs, and its links still fire. A raw one suspended in gev_switch()
 *  gets the kill at its next park only: gev_unref() or gev_throw() end it.
 *
 *  Parks:  if timeout > 0 and it has not ended.
 *  @param timeout  of the wait; <= 0: do not wait, and return 0
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ECANCELED  killing oneself
 *    ETIMEDOUT  it has not ended in time
 *    EINVAL     g is NULL, or NaN
 *    EPERM      another thread's
 *    and those of any park
 *  Source: Greenlet.kill (GLT13, GLT14, GLT15)
 *  @since 0.1
 */
GEV_API int gev_kill(gev_greenlet *g, double timeout);

/** Kills with another code than ECANCELED, which is delivered once, as in
 *  gevent: the greenlet may handle it and go on.
 *
 *  Parks:  if timeout > 0 and it has not ended.
 *  @param error  a positive errno or gev code
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ENOMEM  no memory to remember the code
 *    EINVAL  error is not positive
 *    and those of gev_kill(); the code itself, killing oneself
 *  Source: Greenlet.kill(exception) (GLT13)
 *  @since 0.1
 */
GEV_API int gev_kill_error(gev_greenlet *g, int error, double timeout);

/** Kills all, then waits for all. Those that never began are cancelled first.
 *  NULL entries are skipped.
 *
 *  Parks:  if timeout > 0 and not all have ended.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  not all have ended in time
 *    and those of gev_kill()
 *  Source: gevent.killall (TOP8)
 *  @since 0.1
 */
GEV_API int gev_killall(gev_greenlet *const g[], size_t n, double timeout);

/** gev_unref() of all; NULL entries are fine.
 *
 *  Parks:  no (but switches to suspended raw greenlets).
 *  @since 0.1
 */
GEV_API void gev_unrefall(gev_greenlet *const g[], size_t n);

/** Whether it has ended, whichever way.
 *
 *  Parks:  no.
 *  Source: Greenlet.ready (GLT7)
 *  @since 0.1
 */
GEV_API bool gev_ready(const gev_greenlet *g);

/** Whether it has ended without failing. Being killed is no failure.
 *
 *  Parks:  no.
 *  Source: Greenlet.successful (GLT8)
 *  @since 0.1
 */
GEV_API bool gev_successful(const gev_greenlet *g);

/** Whether it has ended by a kill; also one that returned with a kill pending.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API bool gev_killed(const gev_greenlet *g);

/** What its function returned; NULL before, and after a failure or a kill.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  Source: Greenlet.value (GLT9)
 *  @since 0.1
 */
GEV_API void *gev_value(const gev_greenlet *g);

/** The code it failed with, ECANCELED if it was killed, else 0.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  Source: Greenlet.exception (GLT10)
 *  @since 0.1
 */
GEV_API int gev_error(const gev_greenlet *g);

/** Its name: the one it was given, or that of its function. Never NULL.
 *
 *  Parks:  no.
 *  Owns:   borrowed, until it is renamed or freed.
 *
 *  Errors: none.
 *  Source: Greenlet.name (GLT26)
 *  @since 0.1
 */
GEV_API const char *gev_name(const gev_greenlet *g);

/** Gives it a name, which is copied.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL
 *    ENOMEM  no memory for the copy
 *  Source: Greenlet.name (GLT26)
 *  @since 0.1
 */
GEV_API int gev_set_name(gev_greenlet *g, const char *name);

/** A number no other greenlet of this hub has or had. main is 1.
 *
 *  Parks:  no.
 *  Source: Greenlet.minimal_ident (GLT25)
 *  @since 0.1
 */
GEV_API uint64_t gev_id(const gev_greenlet *g);

/** The number of the greenlet that made it, dead or alive: with gev_id(), the
 *  tree of who spawned whom. 0: the hub (a callback, gev_hub_spawn(), a link),
 *  and for main itself.
 *
 *  Parks:  no.
 *  Source: Greenlet.spawning_greenlet (GLT27)
 *  @since 0.1
 */
GEV_API uint64_t gev_spawner_id(const gev_greenlet *g);

/** Where it was spawned, as "file:line"; "" if that is not known.
 *
 *  Parks:  no.
 *  Owns:   a constant.
 *
 *  Errors: none.
 *  Source: Greenlet.spawning_stack (GLT27)
 *  @since 0.1
 */
GEV_API const char *gev_spawn_site(const gev_greenlet *g);

/** Makes the value by which the current greenlet fails: `return
 * gev_fail(errno);`
 *
 *  Nothing happens until the greenlet's function returns that value, or gives
 *  it to gev_exit(); if it is dropped, the greenlet succeeds. The last call's
 *  code counts: it is what joiners get. Unless it is ECANCELED, which counts
 *  as a kill, it is also reported once to the hub's error handler.
 *
 *  Parks:  no.
 *  @param error  a positive errno or gev code; anything else is EINVAL
 *  @return a value to return
 *
 *  Errors: none.
 *  Source: an exception that leaves Greenlet._run (GLT10, GLT23)
 *  @since 0.1
 */
GEV_API GEV_NODISCARD void *gev_fail(int error);

/** Ends the current greenlet here, with a value. Its defers run; C frames are
 *  dropped, not unwound. In main it is exit(0).
 *
 *  Parks:  no; it does not return.
 *  @since 0.1
 */
GEV_API GEV_NORETURN void gev_exit(void *value);

/** Has @p fn called with @p arg when the current greenlet ends, however it
 *  ends: return, gev_exit(), kill. Last in, first out; before its links. fn
 *  must not park (EPERM). main's run at gev_hub_close(), which the end of a
 *  thread implies, and at gev_exit(); a return from main() ends the process
 *  without them. Those of hub callbacks run at gev_hub_close(), too.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  fn is NULL
 *    ENOMEM  no memory to remember it
 *  @since 0.1
 */
GEV_API int gev_defer(void (*fn)(void *), void *arg);

/** Takes back the youngest gev_defer() of this pair, without calling it.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ENOENT  there is none
 *  @since 0.1
 */
GEV_API int gev_undefer(void (*fn)(void *), void *arg);

/** Takes a kill back: parks work again.
 *
 *  Parks:  no.
 *  @return the pending kill's code, now cleared; 0 if there is none
 *
 *  Errors: none.
 *  Source: swallowing GreenletExit (GLT13)
 *  @since 0.1
 */
GEV_API int gev_uncancel(void);

/** Begins a shield: until gev_shield_end() parks fail neither by kills and
 *  thrown codes nor by timeout scopes begun outside. They take effect after
 *  it. Shields nest.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API void gev_shield_begin(void);

/** Ends the innermost shield; without one it does nothing.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API void gev_shield_end(void);

/** @} */

/* What the macros below call: the same, with where and what was spawned. */
GEV_API gev_greenlet *gev_new_at(const gev_attr *attr, gev_fn fn, void *arg,
                                 const char *site, const char *name);
GEV_API gev_greenlet *gev_spawn_at(const gev_attr *attr, gev_fn fn, void *arg,
                                   const char *site, const char *name);
GEV_API int gev_spawn_raw_at(gev_fn fn, void *arg, const char *site,
                             const char *name);
GEV_API gev_greenlet *gev_spawn_later_at(double seconds, gev_fn fn, void *arg,
                                         const char *site, const char *name);
GEV_API gev_greenlet *gev_spawn_copy_at(gev_fn fn, const void *arg, size_t size,
                                        const char *site, const char *name);
GEV_API gev_greenlet *gev_spawn_link_at(int which, gev_fn fn, void *arg,
                                        const char *site, const char *name);

#define gev_new(fn, arg) gev_new_at(NULL, (fn), (arg), GEV_PRIV_SITE, #fn)
#define gev_new_attr(attr, fn, arg)                                            \
    gev_new_at((attr), (fn), (arg), GEV_PRIV_SITE, #fn)
#define gev_spawn(fn, arg) gev_spawn_at(NULL, (fn), (arg), GEV_PRIV_SITE, #fn)
#define gev_spawn_attr(attr, fn, arg)                                          \
    gev_spawn_at((attr), (fn), (arg), GEV_PRIV_SITE, #fn)
#define gev_spawn_raw(fn, arg) gev_spawn_raw_at((fn), (arg), GEV_PRIV_SITE, #fn)
#define gev_spawn_later(seconds, fn, arg)                                      \
    gev_spawn_later_at((seconds), (fn), (arg), GEV_PRIV_SITE, #fn)
#define gev_spawn_copy(fn, arg, size)                                          \
    gev_spawn_copy_at((fn), (arg), (size), GEV_PRIV_SITE, #fn)
#define gev_spawn_link(fn, arg)                                                \
    gev_spawn_link_at(GEV_LINK_ANY, (fn), (arg), GEV_PRIV_SITE, #fn)
#define gev_spawn_link_value(fn, arg)                                          \
    gev_spawn_link_at(GEV_LINK_VALUE, (fn), (arg), GEV_PRIV_SITE, #fn)
#define gev_spawn_link_error(fn, arg)                                          \
    gev_spawn_link_at(GEV_LINK_ERROR, (fn), (arg), GEV_PRIV_SITE, #fn)

GEV_END_DECLS
#endif
