/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_GREENLET_H
#define GEV_HUB_GREENLET_H

/* The control block of a greenlet, at the top of its stack (see stack.h). */

#include "base/list.h"
#include "hub/context.h"
#include "hub/sanitize.h"
#include "hub/timer.h"
#include "hub/wait_types.h"

#include <gev/greenlet.h>

struct gev_hub;
struct gev__scope;
struct gev__defer;
struct gev__locals;
struct gev__throw;

/* See sched.h for the picture. FREE must be 0: a slot that gave its memory back
 * reads as zeros. */
enum gev__state {
    GEV__FREE,
    GEV__NEW,       /* made; on no queue (a start_later has its timer armed) */
    GEV__READY,     /* on the ready queue; the hub greenlet: not running */
    GEV__RUNNING,   /* hub->current */
    GEV__PARKED,    /* waits for a wake */
    GEV__SUSPENDED, /* in gev_switch: waits for a switch */
    GEV__DEAD       /* has a value or an error; its links may still be due */
};

/* Why a park may fail before it begins; 0 is the fast path. */
enum gev__alert {
    GEV__ALERT_NOPARK = 1 << 0, /* hub, callbacks, defers */
    GEV__ALERT_KILLED = 1 << 1, /* sticky */
    GEV__ALERT_THROWN = 1 << 2, /* g->throws is not empty */
    GEV__ALERT_SCOPE = 1 << 3   /* a scope of g->scopes has expired */
};

enum gev__greenlet_flag {
    GEV__STARTED = 1 << 0,    /* spawned, started or switched to */
    GEV__UNDER_HUB = 1 << 1,  /* spawned or started: its end is the hub's */
    GEV__BEGUN = 1 << 2,      /* its function was entered */
    GEV__WAS_KILLED = 1 << 3, /* ended by a kill; set at the end */
    GEV__REPORT = 1 << 4,     /* the error handler is to be told */
    GEV__OWN_NAME = 1 << 5,   /* name is allocated */
    GEV__LINKS_DUE = 1 << 7,  /* on hub->ended */
    GEV__TIMED_OUT = 1 << 8,  /* its last park ended by its own timeout */
    GEV__IN_SCOPE = 1 << 9,   /* g->scopes is not empty */
    GEV__STACK_IN_USE =
        1 << 10 /* ended inside a park: kept till the hub ends */
};

/* A link: what happens when a greenlet ends. Allocated, but for joins. */
struct gev__link {
    struct gev__list node; /* on g->links */
    uint8_t kind;          /* enum gev__link_kind */
    uint8_t which;         /* enum gev_link_which */
    gev_link_fn fn;        /* RUN, RAW, NOTE */
    union {
        void *arg;                     /* RUN, RAW, NOTE */
        struct gev_greenlet *greenlet; /* JOIN: joiner; TO: receiver, counted */
    };
};

enum gev__link_kind {
    GEV__LINK_JOIN, /* wakes a joiner; on the joiner's stack */
    GEV__LINK_RUN,  /* fn in a greenlet of its own */
    GEV__LINK_RAW,  /* fn in the hub */
    GEV__LINK_NOTE, /* fn at once, by whoever ends it; for the library's own
                       use: the link is part of its owner's memory */
    GEV__LINK_TO    /* throws into the receiver */
};

struct gev_greenlet {
    /* --- what a switch touches: one cache line ------------------------------ */
    struct gev__context ctx; /* saved while not RUNNING; first: gev__entry */
    struct gev_greenlet *ready_next; /* valid on the ready queue */
    struct gev_hub *hub;
    uint8_t state;             /* enum gev__state */
    uint8_t alerts;            /* enum gev__alert */
    uint16_t flags;            /* enum gev__greenlet_flag */
    int saved_errno;           /* valid while not RUNNING */
    struct gev__fp_control fp; /* valid while not RUNNING */

    int wake_rc;         /* what the park returns; set by the waker */
    uint64_t parks;      /* parks so far: the park token */
    void *eh_globals[2]; /* C++ exceptions being handled; valid while not
                            RUNNING, and only if the hub has eh_globals */

    /* --- begin and end ------------------------------------------------------ */
    gev_fn fn;
    void *arg;
    void *value; /* the result */
    void *
        *switch_out; /* valid while SUSPENDED: where the value goes, or NULL */
    int error;       /* the result's code, or 0 */
    int fail_code;   /* gev_fail's, valid if the value is gev__fail_mark */
    int refs;        /* handles, the hub's own while it is started, links */
    uint8_t stack_class;
    uint8_t colour;
    uint16_t shields;       /* depth of gev_shield_begin */
    struct gev__list links; /* of gev__link: whom its end concerns, in order */
    struct gev_greenlet *parent; /* counted, but for the hub's spawned ones */

    /* --- waiting ------------------------------------------------------------ */
    struct gev__link join; /* of gev_join without a timeout: nothing of it is on
                              the stack, so that it can end in a jump */
    int64_t parked_at;     /* ns; hub->now when it parked */
    const void *wait_object;
    uint32_t wait_kind; /* struct gev__wait_for, valid while PARKED */
    int wait_events;
    struct gev__wait direct; /* of a direct park: waitq.h */
    void *direct_item;       /* what that park gives or wants */
    struct gev__wait *waits; /* nodes of its present park, or NULL: waitq.h */
    struct gev__timer timer; /* of its sleep, its park's timeout or its start */
    struct gev__scope *scopes;  /* timeout scopes, youngest first */
    struct gev__throw *throws;  /* thrown codes not yet delivered, in order */
    struct gev__defer *defers;  /* youngest first */
    struct gev__locals *locals; /* hub/local.h, or NULL */
    unsigned failed_parks;      /* parks refused: see gev__park_check */

    /* --- who it is ---------------------------------------------------------- */
    uint64_t id;
    uint64_t spawner; /* id of who made it */
    void *context;    /* gev_context; at first that of who made it */
    const char *name;
    const char *site;
    struct gev_greenlet *linked; /* counted: gev_linked */

    /* --- what most never need: no spawn touches it --------------------------- */
    struct gev_waitable waitable;    /* valid after gev_greenlet_waitable() */
    struct gev__list ended;          /* on hub->ended while its links are due */
    struct gev__sanitizer sanitizer; /* survives reuse of the slot */
};

/* Options of a new greenlet, settled. */
struct gev__make {
    gev_fn fn;
    void *arg;
    const char *site;
    const char *name;
    size_t stack_size; /* 0: the default */
    bool own_name;     /* name is to be copied */
};

/* What gev_fail returns: a function that returns it has failed. */
extern void *const gev__fail_mark __attribute__((visibility("hidden")));

/* Where gev_fail leaves its code in a thread that runs jobs and has no hub;
 * NULL in all others. */
extern _Thread_local int *gev__job_fail_code
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* With what a function failed that has just returned gev__fail_mark, on main or
 * in such a thread. */
int gev__fail_code_here(void);

/* A NEW greenlet with one reference. -EINVAL, -ENOMEM. */
int gev__greenlet_make(struct gev_hub *hub, const struct gev__make *make,
                       struct gev_greenlet **ret_greenlet);

/* Hands a NEW greenlet to the hub: queued, with a reference of the hub's. */
void gev__greenlet_start(struct gev_greenlet *g);

/* The two of them, for one that nobody has a handle of. -EINVAL, -ENOMEM. */
int gev__greenlet_spawn(struct gev_hub *hub, const struct gev__make *make);

/* Gives it a name of its own, copied. -ENOMEM. */
int gev__greenlet_rename(struct gev_greenlet *g, const char *name);

/* Ends a greenlet that never ran: its links fire. error: ECANCELED or a code;
 * nothing is reported. It must be NEW, or READY and not begun. */
void gev__greenlet_cancel(struct gev_greenlet *g, int error);

/* Ends a greenlet whose frames are gone: as if killed, but its defers do not
 * run and its links do not fire. */
void gev__greenlet_drop(struct gev_greenlet *g);

/* Ends the current greenlet here. */
_Noreturn void gev__greenlet_exit(struct gev_greenlet *g, void *value);

GEV__INLINE void gev__greenlet_ref(struct gev_greenlet *g)
{
    g->refs++;
}
void gev__greenlet_released(struct gev_greenlet *g);
GEV__INLINE void gev__greenlet_unref(struct gev_greenlet *g)
{
    assert(g->refs > 0);
    if (--g->refs == 0) {
        gev__greenlet_released(g);
    }
}
/* What to do with one that nobody refers to any more: *ret_free is set to it if
 * it is to be freed now, else to NULL. */
void gev__greenlet_abandoned(struct gev_greenlet *g,
                             struct gev_greenlet **ret_free);

/* What the hub's and main's references begin with: they live and die with the
 * hub, so theirs never get to zero. */
#define GEV__REFS_OF_HUB (1 << 30)

/* 0, -EINVAL for NULL, -EPERM for another thread's. */
int gev__greenlet_is_mine(const struct gev_hub *hub,
                          const struct gev_greenlet *g);

static inline bool gev__greenlet_is_dead(const struct gev_greenlet *g)
{
    return g->state == GEV__DEAD;
}

/* Adds to the ready queue with what its park is to return. */
void gev__ready_push(struct gev_hub *hub, struct gev_greenlet *g, int rc);

#endif
