/* SPDX-License-Identifier: MIT */
#ifndef GEV_GROUP_H
#define GEV_GROUP_H

/** @file gev/group.h
 *  Groups: greenlets that belong together. They are joined, killed and freed
 *  as one, and no member outlives its group. A pool is a group with a limit:
 *  who spawns into a full one waits for a slot, first come, first served.
 *
 *  @code
 *  gev_group *pool = gev_pool_new(100);
 *  for (size_t i = 0; i < n; i++)
 *      gev_group_spawn(pool, fetch, urls[i]);      // parks while it is full
 *  if (gev_group_join_error(pool, GEV_FOREVER) < 0)
 *      perror("the first that failed");            // the others are gone too
 *  gev_group_free(pool);
 *  @endcode
 *
 *  A member leaves the group in the moment it ends, and its slot is free: for
 *  the first who waits, else for anybody. The group holds a reference to each
 *  member until then; a member that several groups have counts in each.
 *
 *  Calls that run tasks for their caller (apply, map, imap) never leave one
 *  behind: if the caller is killed, or its scope expires, its tasks are killed
 *  and joined before the call returns. A task that ignores its kill holds up
 *  that return.
 *
 *  Failures of members and tasks are reported to the hub's error handler like
 *  any greenlet's. In a forked child every group is empty.
 */
#include <gev/base.h>
#include <gev/event.h>
#include <gev/greenlet.h>

GEV_BEGIN_DECLS

/** Greenlets that belong together; a pool if it has a limit. */
typedef struct gev_group gev_group;

/** The results of a gev_group_imap(). */
typedef struct gev_imap gev_imap;

/** Where gev_group_imap() gets its items. It runs in a greenlet of its own and
 *  may park.
 *
 *  @return 1: *item is an item; 0: there are no more; -1 and errno: it failed,
 *          and there are no more
 */
typedef int (*gev_next_fn)(void *arg, void **item);

/** @name Making and freeing @{ */

/** Makes a group without a limit.
 *
 *  Parks:  no.
 *  Owns:   the caller owns it: gev_group_free().
 *
 *  Errors:
 *    ENOMEM  no memory
 *  Source: gevent.pool.Group (POL1)
 *  @since 0.1
 */
GEV_API gev_group *gev_group_new(void);

/** Makes a pool: a group of at most @p size members at a time.
 *
 *  Parks:  no.
 *  Owns:   the caller owns it: gev_group_free().
 *
 *  Errors:
 *    EINVAL  size is 0
 *    ENOMEM  no memory
 *  Source: gevent.pool.Pool (POL5)
 *  @since 0.1
 */
GEV_API gev_group *gev_pool_new(size_t size);

/** Kills what is left, waits for its end, and frees the group. NULL is fine.
 *
 *  The wait is shielded: neither a kill of the caller nor a scope of its ends
 *  it, only the last member. One that ignores its kill keeps the caller. Where
 *  nothing may park (in a callback, a defer), or if nothing can ever end the
 *  wait, it returns at once, and the group is freed when its last member ends.
 *
 *  Spawns and adds of others fail with EPIPE from now on, also those that wait
 *  for a slot; who waits in gev_group_join() or gev_group_kill() gets 0 when
 *  the last member has ended. A member that frees its own group leaves it
 *  first, and goes on. Another thread's group is left alone.
 *
 *  Parks:  if it has members.
 *  @since 0.1
 */
GEV_API void gev_group_free(gev_group *p);

/** @}
 *  @name Members @{ */

/** Spawns a greenlet into the group. While a pool is full it waits its turn,
 *  before anything is made; killed in that time, it has taken no slot. A member
 *  that spawns into its own full pool waits for another's slot, never its own.
 *
 *  Also a macro that records the place of the call and the function's name.
 *
 *  Parks:  while it is full.
 *  Owns:   returns a borrowed greenlet: the group owns it, until it ends.
 *          gev_ref() keeps it longer. @p arg is not copied.
 *  @return the greenlet, or NULL on error
 *
 *  Errors:
 *    EINVAL  NULL
 *    EPERM   another thread's group
 *    EPIPE   the group is being freed
 *    ENOMEM  no memory
 *    and those of any park
 *  Source: Group.spawn, Pool.spawn (POL1, POL5)
 *  @since 0.1
 */
GEV_API gev_greenlet *gev_group_spawn(gev_group *p, gev_fn fn, void *arg);

/** Adds a greenlet, in whatever state: gev_new(), gev_group_add(), gev_start()
 *  is a spawn with options of its own. One that has ended, or is a member
 *  already, is left as it is. To add without waiting, look whether
 *  gev_group_wait_available(p, 0) is 0 first.
 *
 *  Parks:  while it is full.
 *  Owns:   the group takes a reference of its own.
 *  @return 0, or -1 on error: it is no member
 *
 *  Errors:
 *    EINVAL  NULL
 *    EPERM   another thread's; or it is the hub
 *    EPIPE   the group is being freed
 *    ENOMEM  no memory
 *    and those of any park
 *  Source: Group.add, Pool.add (POL1, POL6)
 *  @since 0.1
 */
GEV_API int gev_group_add(gev_group *p, gev_greenlet *g);

/** Takes a member out: it runs on, its slot is free, and the group's reference
 *  is dropped. One that is no member: 0.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL
 *    EPERM   another thread's
 *  Source: Group.discard (POL9)
 *  @since 0.1
 */
GEV_API int gev_group_discard(gev_group *p, gev_greenlet *g);

/** How many members there are. 0 for NULL.
 *
 *  Parks:  no.
 *  Source: len(Group) (POL1)
 *  @since 0.1
 */
GEV_API size_t gev_group_count(const gev_group *p);

/** Whether @p g is a member.
 *
 *  Parks:  no.
 *  Source: g in Group (POL1)
 *  @since 0.1
 */
GEV_API bool gev_group_contains(const gev_group *p, const gev_greenlet *g);

/** Lists the members, in the order they joined, killed ones last.
 *
 *  Parks:  no.
 *  Owns:   borrowed greenlets; gev_ref() those you keep over a park.
 *  @param g  set to the first @p n of them
 *  @return how many there are
 *
 *  Source: iter(Group) (POL1)
 *  @since 0.1
 */
GEV_API size_t gev_group_members(const gev_group *p, gev_greenlet *g[],
                                 size_t n);

/** Whether a spawn would have to wait. A group without a limit is never full.
 *
 *  Parks:  no.
 *  Source: Pool.full (POL7)
 *  @since 0.1
 */
GEV_API bool gev_group_full(const gev_group *p);

/** How many slots are free; SIZE_MAX without a limit. A slot given to somebody
 *  who waited for it is not free, though he has not run yet.
 *
 *  Parks:  no.
 *  Source: Pool.free_count (POL7)
 *  @since 0.1
 */
GEV_API size_t gev_group_free_count(const gev_group *p);

/** Waits until a slot is free. It takes none; but if the next thing the caller
 *  does is a spawn or an add, that does not have to wait. A server that does
 *  this before it accepts takes no connection it cannot serve.
 *
 *  Parks:  if it is full and timeout > 0.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  it stayed full
 *    EINVAL     NULL, or NaN
 *    EPERM      another thread's group
 *    EPIPE      the group is being freed
 *    and those of any park
 *  Source: Pool.wait_available (POL7)
 *  @since 0.1
 */
GEV_API int gev_group_wait_available(gev_group *p, double timeout);

/** The code of the first member that failed since the group was made, or 0.
 *  Kills are no failures.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API int gev_group_error(const gev_group *p);

/** @}
 *  @name Waiting and killing @{ */

/** Waits until the group is empty: no member is left, and nobody who waited for
 *  a slot has got one. However members ended, it is 0.
 *
 *  Parks:  unless it is empty, or timeout <= 0.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  it was not empty in time
 *    EDEADLK    the caller is a member
 *    EINVAL     NULL, or NaN
 *    EPERM      another thread's group
 *    and those of any park
 *  Source: Group.join (POL2)
 *  @since 0.1
 */
GEV_API int gev_group_join(gev_group *p, double timeout);

/** Waits like gev_group_join(), but the first failure of a member kills the
 *  others at once, and those that join meanwhile; the call returns when all are
 *  gone. What failed before the call is not seen (see gev_group_error()), kills
 *  are no failures.
 *
 *  Parks:  unless it is empty, or timeout <= 0.
 *  @return 0 when all have ended and none failed; else -1 and the first
 *          failure's code
 *
 *  Errors:
 *    ETIMEDOUT  it was not empty in time, be it that the kills took too long
 *    and those of gev_group_join()
 *  Source: Group.join(raise_error=True) (POL2)
 *  @since 0.1
 */
GEV_API int gev_group_join_error(gev_group *p, double timeout);

/** Kills each member once, however often it is called, and waits for their
 *  end. Who joins meanwhile is killed as well, and what waits in
 *  gev_group_apply_async() never runs. A caller that is a member is killed
 *  last, and not waited for. The sources of gev_group_imap()s end too.
 *
 *  Parks:  if timeout > 0 and it is not empty.
 *  @param timeout  of the wait; <= 0: do not wait, and return 0
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  a member is left
 *    ECANCELED  the caller was among them
 *    EINVAL     NULL, or NaN
 *    EPERM      another thread's group
 *    and those of any park
 *  Source: Group.kill (POL3)
 *  @since 0.1
 */
GEV_API int gev_group_kill(gev_group *p, double timeout);

/** @}
 *  @name Work for the caller @{ */

/** Runs fn(arg) in the group and waits for its value. A member's call runs it
 *  in place, so that a full pool cannot lock itself up.
 *
 *  Also a macro that records the place of the call and the function's name.
 *
 *  Parks:  yes, unless the caller is a member.
 *  @param value  set to what fn returned
 *  @return 0, or -1 and the code fn failed with
 *
 *  Errors: those of gev_group_spawn(), and fn's.
 *  Source: Pool.apply (POL10)
 *  @since 0.1
 */
GEV_API int gev_group_apply(gev_group *p, gev_fn fn, void *arg, void **value);

/** Has fn(arg) run in the group as soon as there is a slot; those that wait for
 *  one get it in the order they came. Its value or error goes to @p result, or
 *  ECANCELED if the group is killed or freed first, or ENOMEM if there is no
 *  memory for its stack when its turn has come.
 *
 *  Also a macro that records the place of the call and the function's name.
 *
 *  Parks:  no.
 *  Owns:   borrows @p result until it is ready.
 *  @param result  fresh; or NULL
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL
 *    EPERM   another thread's group or result
 *    EPIPE   the group is being freed
 *    ENOMEM  no memory
 *  Source: Pool.apply_async (POL11)
 *  @since 0.1
 */
GEV_API int gev_group_apply_async(gev_group *p, gev_fn fn, void *arg,
                                  gev_result *result);

/** Runs fn(in[i]) for all @p n, as many at once as there are slots, and waits
 *  for all values. The first that fails stops it: no more are begun, those that
 *  run are killed and joined. A member's call needs no slot: what it finds none
 *  for it runs in place.
 *
 *  Also a macro that records the place of the call and the function's name.
 *
 *  Parks:  unless n is 0.
 *  @param out  out[i] is set to what fn(in[i]) returned, if none failed; may be
 *              @p in; NULL: discards them
 *  @return 0, or -1 and the first failure's code; a killed task's is ECANCELED
 *
 *  Errors: those of gev_group_spawn(), and fn's.
 *  Source: Pool.map (POL12)
 *  @since 0.1
 */
GEV_API int gev_group_map(gev_group *p, gev_fn fn, void *const in[],
                          void *out[], size_t n);

/** Runs fn on each item of a source, lazily, while its results are read. The
 *  source runs in a greenlet of its own, which is in no slot; its items in the
 *  group's.
 *
 *  At most @p maxsize items are taken from the source and not yet read: a slow
 *  reader slows the source down. Results come in the source's order, or in that
 *  in which they are ready.
 *
 *  Also a macro that records the place of the call and the function's name.
 *
 *  Parks:  no.
 *  Owns:   the caller owns it: gev_imap_free(), before or after the group's.
 *  @param maxsize  0: no limit
 *  @param ordered  the source's order
 *
 *  Errors:
 *    EINVAL  NULL
 *    EPERM   another thread's group
 *    EPIPE   the group is being freed
 *    ENOMEM  no memory
 *  Source: Pool.imap, Pool.imap_unordered (POL13, POL14, POL15)
 *  @since 0.1
 */
GEV_API gev_imap *gev_group_imap(gev_group *p, gev_fn fn, gev_next_fn next,
                                 void *arg, size_t maxsize, bool ordered);

/** The next result. Several greenlets may ask: each result goes to one of them,
 *  first come, first served. Killed while it waits, a reader has taken none.
 *
 *  Parks:  unless one is ready, or the end is reached.
 *  @return 1 with *value set; 0: that was all, again and again; or -1
 *
 *  Errors:
 *    EINVAL  NULL
 *    EPERM   another thread's
 *    EPIPE   it is being freed
 *    and the code that item failed with (the next call goes on), or the source
 *    (it comes last), and those of any park
 *  Source: IMap.next (POL13)
 *  @since 0.1
 */
GEV_API int gev_imap_next(gev_imap *it, void **value);

/** Kills the source and the tasks that still run, waits for their end, and
 *  frees it. NULL is fine. Readers that wait get EPIPE. As gev_group_free(), it
 *  is shielded, and where nothing may park it does not wait.
 *
 *  Parks:  if anything of it runs.
 *  Source: POL13
 *  @since 0.1
 */
GEV_API void gev_imap_free(gev_imap *it);

/** @} */

/* What the macros below call: the same, with where and what was spawned. */
GEV_API gev_greenlet *gev_group_spawn_at(gev_group *p, gev_fn fn, void *arg,
                                         const char *site, const char *name);
GEV_API int gev_group_apply_at(gev_group *p, gev_fn fn, void *arg, void **value,
                               const char *site, const char *name);
GEV_API int gev_group_apply_async_at(gev_group *p, gev_fn fn, void *arg,
                                     gev_result *result, const char *site,
                                     const char *name);
GEV_API int gev_group_map_at(gev_group *p, gev_fn fn, void *const in[],
                             void *out[], size_t n, const char *site,
                             const char *name);
GEV_API gev_imap *gev_group_imap_at(gev_group *p, gev_fn fn, gev_next_fn next,
                                    void *arg, size_t maxsize, bool ordered,
                                    const char *site, const char *name);

#define gev_group_spawn(p, fn, arg)                                            \
    gev_group_spawn_at((p), (fn), (arg), GEV_PRIV_SITE, #fn)
#define gev_group_apply(p, fn, arg, value)                                     \
    gev_group_apply_at((p), (fn), (arg), (value), GEV_PRIV_SITE, #fn)
#define gev_group_apply_async(p, fn, arg, result)                              \
    gev_group_apply_async_at((p), (fn), (arg), (result), GEV_PRIV_SITE, #fn)
#define gev_group_map(p, fn, in, out, n)                                       \
    gev_group_map_at((p), (fn), (in), (out), (n), GEV_PRIV_SITE, #fn)
#define gev_group_imap(p, fn, next, arg, maxsize, ordered)                     \
    gev_group_imap_at((p), (fn), (next), (arg), (maxsize), (ordered),          \
                      GEV_PRIV_SITE, #fn)

GEV_END_DECLS
#endif
