/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_HUB_H
#define GEV_HUB_HUB_H

/* The hub of a thread: everything that is per thread hangs here. */

#include "base/list.h"
#include "hub/greenlet.h"
#include "hub/stack.h"
#include "hub/timer.h"

#include <gev/hub.h>

#include <stdalign.h>
#include <stdatomic.h>

struct ev_loop;
struct gev__ev;
struct gev__fd;
struct gev__pace;
struct gev__scope;
struct gev__task;

/* Something a module (DNS, signals) wants done when the hub ends or the process
 * forks; lives in the module's own per-hub state. */
struct gev__hub_module {
    struct gev__list link; /* on hub->modules */
    /* The hub closes: free your state (this struct too). No greenlet runs any
     * more. */
    void (*close)(struct gev__hub_module *m, struct gev_hub *hub);
    /* In a forked child: the loop is new and every other greenlet is gone;
     * forget watches without touching the parent's. */
    void (*forked)(struct gev__hub_module *m, struct gev_hub *hub);
};

/* Deadlines of calls that follow each other this closely count from the same
 * time, so that equal ones are equal: ns. */
#define GEV__BASE_WINDOW INT64_C(50000)

struct gev_hub {
    /* --- hot: touched by every switch ------------------------------------ */
    struct gev_greenlet *current;    /* runs now */
    struct gev_greenlet *ready_head; /* the ready queue, linked by ready_next */
    struct gev_greenlet *ready_tail; /* valid only while ready_head != NULL */
    int *errno_location;             /* this thread's errno */
    void **eh_globals; /* this thread's __cxa_eh_globals; NULL without C++ */
    uint32_t clock_credit;     /* switches until the clock is looked at */
    uint32_t clock_granted;    /* what the credit began with */
    struct gev__fp_control fp; /* what new greenlets begin with */
    bool kicked;               /* the hub greenlet is on the ready queue */
    uint64_t switches;
    uint64_t next_id;

    /* --- warm: spawning, timers, waiting ---------------------------------- */
    struct gev_greenlet *hub_greenlet; /* runs hub_main on a stack of its own */
    struct gev_greenlet *main_greenlet; /* main_storage; in a forked child the
                                           greenlet that forked */
    alignas(64) struct gev_greenlet main_storage; /* the thread's own stack */
    struct gev__stacks stacks;
    struct gev__heap timers[GEV__TIMER_CLASSES];
    uint64_t timer_seq;
    int64_t now;        /* ns; the time of this turn */
    int64_t base;       /* ns; the time deadlines count from (gev__now_base) */
    int64_t last_poll;  /* ns; when the loop was last polled */
    int64_t last_check; /* ns; when the clock was last looked at */
    int64_t timeouts_due; /* timeouts up to here fire when the queue has reached
                             timeouts_mark; 0: the mark is not queued */
    bool timeouts_turn;   /* the queue has reached it */
    bool poll_due;        /* the hub was entered because the loop is due */
    struct gev_greenlet timeouts_mark; /* no greenlet: a place in the queue */
    struct gev__scope *free_scopes;    /* for the next gev_timeout_begin */
    struct gev__timer retry; /* armed while something waits for memory */
    unsigned fd_waiters;     /* waiters in the fd table */
    unsigned holds; /* modules that wait for something (gev__hub_hold) */
    size_t live;    /* greenlets that have not ended, without main */
    size_t peak;

    /* --- libev ------------------------------------------------------------ */
    struct ev_loop *loop;
    struct gev__ev *ev;   /* our watchers and memory for libev; hub/loop.h */
    struct gev__fd **fds; /* blocks of the fd table; hub/fd.c */
    unsigned n_fd_blocks;
    struct gev__list fresh_fds; /* of gev__fd: started since the last turn */

    /* --- work for the hub greenlet ----------------------------------------- */
    struct gev__list ended;       /* dead greenlets whose links are to run */
    struct gev__list idlers;      /* of gev__idler, in order of arrival */
    struct gev__task *tasks_head; /* tasks that wait for memory or their turn */
    struct gev__task *tasks_tail;
    _Atomic(struct gev__task *) posts; /* from any thread, youngest first */
    atomic_int asleep; /* 1: the loop blocks, a poster must write the eventfd */
    atomic_uint refs;  /* gev_hub_ref */
    int wakeup_fd;     /* eventfd, or -1 */

    const void *thread; /* identity of its thread: an address in its storage */
    void *memory;       /* the block this is in */
    void (*on_error)(struct gev_greenlet *g, int error, void *arg);
    void *on_error_arg;
    struct gev__list modules;     /* of gev__hub_module */
    struct gev__list spawn_hooks; /* of gev__spawn_hook, in order; hub/hook.h */
    uint64_t hook_seq;            /* the last hook's number */
    struct gev__pace *paces;      /* open ones, youngest first; hub/pace.h */
    int64_t stretch_began;        /* ns; valid while there are paces */

    /* At the begin of each turn of the loop, for threads that exist to run a
     * hub (os/workers.c); or NULL. */
    void (*on_turn)(struct gev_hub *hub);

    uint64_t turns;
    uint64_t spawned;
    int64_t lag;     /* ns the last due timer was late */
    uint8_t closing; /* gev_hub_close is at work, nothing new starts. 2: what is
                        left is waiting for nothing, and shields do not hold */
    bool closed;     /* freed but for what handles still point at */
    size_t handles;  /* dead greenlets of a closed hub that somebody still holds
                      */
};

extern _Thread_local struct gev_hub *gev__thread_hub
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* The same, but NULL too while the hub has spawn hooks: the quick way to spawn
 * is closed then, and otherwise needs no test of its own. */
extern _Thread_local struct gev_hub *gev__thread_hub_without_hooks
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Makes this thread's hub; NULL with errno set. */
struct gev_hub *gev__hub_make_or_null(void);

/* This thread's hub, made if need be; NULL with errno set. */
GEV__INLINE struct gev_hub *gev__hub_get(void)
{
    struct gev_hub *hub = gev__thread_hub;
    if (gev__unlikely(hub == NULL)) {
        hub = gev__hub_make_or_null();
    }
    return hub;
}

/* While held, the hub waits for events though no greenlet waits on a descriptor
 * or a timer. */
static inline void gev__hub_hold(struct gev_hub *hub)
{
    hub->holds++;
}
static inline void gev__hub_release(struct gev_hub *hub)
{
    hub->holds -= hub->holds > 0; /* a fork may have dropped it */
}

/* The same, with the reason inside: -ENOMEM, -EMFILE. */
int gev__hub_find(struct gev_hub **ret_hub);

/* Closes this thread's hub, if it has one. -EPERM: not main. */
int gev__hub_close(void);

/* Whether something may come that would wake a greenlet; the user's own
 * watchers are not counted here. */
bool gev__hub_waits(struct gev_hub *hub);

/* The last reference to a greenlet of a closed hub is gone. */
void gev__hub_handle_gone(struct gev_hub *hub);

/* Registers per-hub state of a module. */
void gev__hub_add_module(struct gev_hub *hub, struct gev__hub_module *m);

/* The time deadlines count from: never in the past, at most 50 us in the
 * future, and the same for calls that follow each other closely, so that equal
 * sleeps and timeouts have equal deadlines. */
int64_t gev__now_base(struct gev_hub *hub);

#endif
