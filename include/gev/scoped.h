/* SPDX-License-Identifier: MIT */
#ifndef GEV_SCOPED_H
#define GEV_SCOPED_H

/** @file gev/scoped.h
 *  What is to end with a block: greenlets, and locks that are held. For C with
 *  the cleanup attribute (gcc, clang); elsewhere, and in C++, which has
 *  destructors, there is nothing in this header.
 *
 *  @code
 *  int fetch_both(void)
 *  {
 *      GEV_SCOPED_KILL gev_greenlet *a = gev_spawn(fetch, "a");
 *      GEV_SCOPED_KILL gev_greenlet *b = gev_spawn(fetch, "b");
 *      if (gev_join(a, 5) < 0 || gev_join(b, 5) < 0)
 *          return -1;         // whatever still runs is killed and waited for
 *      return 0;
 *  }
 *  int add(struct account *a, long amount)
 *  {
 *      GEV_SCOPED_LOCK(held, &a->lock, GEV_FOREVER);
 *      if (!held)
 *          return -1;
 *      a->balance += amount;
 *      return save(a);        // and the lock is released
 *  }
 *  @endcode
 *
 *  Blocks are left by their end, return, break, continue and goto. gev_exit()
 *  and longjmp(3) drop frames without running this: gev_defer() is for them.
 *  errno stays as it was.
 */
#include <gev/base.h>
#include <gev/greenlet.h>
#include <gev/lock.h>

#if defined(__GNUC__) && !defined(__cplusplus)

#include <errno.h>

/* Waits for the end whatever becomes of the caller, and lets go. */
static inline void gev_priv_reap(gev_greenlet *g)
{
    gev_shield_begin();
    (void)gev_kill(g, GEV_FOREVER);
    gev_shield_end();
    gev_unref(g);
}

static inline void gev_priv_scoped_kill(gev_greenlet **g)
{
    int saved = errno;

    if (*g != NULL) {
        gev_priv_reap(*g);
    }
    errno = saved;
}

static inline void gev_priv_scoped_join(gev_greenlet **g)
{
    int saved = errno;

    if (*g != NULL) {
        if (gev_join(*g, GEV_FOREVER) < 0) {
            gev_priv_reap(*g);
        } else {
            gev_unref(*g);
        }
    }
    errno = saved;
}

/** Before the declaration of a gev_greenlet pointer: at the end of its block
 *  the greenlet it points to, if any, is killed, waited for, and unreferenced.
 *
 *  A kill of the current greenlet and expired scopes do not fail that wait: it
 *  is shielded. So what is spawned has to end when it is killed, as anything
 *  should.
 *
 *  Parks:  at the end of the block, if it has not ended.
 *  Source: `with spawn(f) as g:` left by an error (GLT22)
 *  @since 0.1
 */
#define GEV_SCOPED_KILL                                                        \
    __attribute__((__cleanup__(gev_priv_scoped_kill), __unused__))

/** The same, but it is waited for first, and killed only if that fails: the
 *  current greenlet is killed, or a scope has expired.
 *
 *  Parks:  at the end of the block, if it has not ended.
 *  Source: `with spawn(f) as g:` (GLT22)
 *  @since 0.1
 */
#define GEV_SCOPED_JOIN                                                        \
    __attribute__((__cleanup__(gev_priv_scoped_join), __unused__))

/* A lock that is held, of one of three kinds; object NULL: it is not. */
struct gev_priv_guard {
    void *object;
    char kind;
};

static inline struct gev_priv_guard gev_priv_guard_lock(gev_lock *l,
                                                        double timeout)
{
    struct gev_priv_guard guard = {NULL, 'l'};

    if (gev_lock_acquire(l, timeout) == 0) {
        guard.object = l;
    }
    return guard;
}

static inline struct gev_priv_guard gev_priv_guard_rlock(gev_rlock *l,
                                                         double timeout)
{
    struct gev_priv_guard guard = {NULL, 'r'};

    if (gev_rlock_acquire(l, timeout) == 0) {
        guard.object = l;
    }
    return guard;
}

static inline struct gev_priv_guard gev_priv_guard_semaphore(gev_semaphore *s,
                                                             double timeout)
{
    struct gev_priv_guard guard = {NULL, 's'};

    if (gev_semaphore_acquire(s, timeout) == 0) {
        guard.object = s;
    }
    return guard;
}

static inline void gev_priv_guard_end(const struct gev_priv_guard *guard)
{
    int saved = errno;

    if (guard->object == NULL) {
        return;
    }
    if (guard->kind == 'l') {
        (void)gev_lock_release((gev_lock *)guard->object);
    } else if (guard->kind == 'r') {
        (void)gev_rlock_release((gev_rlock *)guard->object);
    } else {
        (void)gev_semaphore_release((gev_semaphore *)guard->object);
    }
    errno = saved;
}

/** As a declaration: acquires a gev_lock, a gev_rlock or a unit of a
 *  gev_semaphore, and releases it at the end of the block.
 *
 *  Parks:  unless it is free, or timeout <= 0.
 *  @param held     the name of a bool to declare: whether it was acquired; if
 *                  not, errno says why
 *  @param lock     its address
 *  @param timeout  seconds
 *  Source: `with lock:` (LCK15)
 *  @since 0.1
 */
#define GEV_SCOPED_LOCK(held, lock, timeout)                                   \
    struct gev_priv_guard gev_priv_guard_of_##held                             \
        __attribute__((__cleanup__(gev_priv_guard_end))) =                     \
            _Generic((lock), gev_lock *                                        \
                     : gev_priv_guard_lock, gev_rlock *                        \
                     : gev_priv_guard_rlock, gev_semaphore *                   \
                     : gev_priv_guard_semaphore)((lock), (timeout));           \
    const bool held = gev_priv_guard_of_##held.object != NULL

#endif
#endif
