/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_SWITCH_H
#define GEV_HUB_SWITCH_H

/* The switch: the machine's part (context.h) and what is per greenlet besides
 * the registers. Its inclusion is limited to the few places that switch. */

#include "hub/greenlet.h"
#include "hub/hub.h"

#include <string.h>

/* Everything but the registers: afterwards the thread is `to`'s, but for the
 * stack it runs on. The comer has nothing left to restore. */
GEV__INLINE void gev__switch_state(struct gev_hub *hub,
                                   struct gev_greenlet *from,
                                   struct gev_greenlet *to)
{
    assert(hub == gev__thread_hub);
    assert(from != to);
    assert(hub->current == from);
    assert(from->state != GEV__RUNNING);
    assert(to->hub == hub);
    assert(to->state == GEV__READY || to->state == GEV__SUSPENDED ||
           to->state == GEV__NEW);

    from->saved_errno = *hub->errno_location;
    *hub->errno_location = to->saved_errno;
    gev__fp_switch(&from->fp, &to->fp);
    if (gev__unlikely(hub->eh_globals != NULL)) {
        memcpy(from->eh_globals, hub->eh_globals, sizeof(from->eh_globals));
        memcpy(hub->eh_globals, to->eh_globals, sizeof(to->eh_globals));
    }
    hub->current = to;
    to->state = GEV__RUNNING;
    hub->switches++;
    gev__sanitize_leave(&from->sanitizer, &to->sanitizer,
                        from->state == GEV__DEAD || from->state == GEV__FREE);
}

GEV__INLINE void gev__switch(struct gev_hub *hub, struct gev_greenlet *from,
                             struct gev_greenlet *to)
{
    gev__switch_state(hub, from, to);
    gev__context_switch(&from->ctx, &to->ctx);
    gev__fp_arrive(&from->fp);
    gev__sanitize_enter(&from->sanitizer, false);
}

/* The same for one that has ended: nothing of it is kept. */
GEV__INLINE _Noreturn void gev__switch_for_good(struct gev_hub *hub,
                                                struct gev_greenlet *from,
                                                struct gev_greenlet *to)
{
    assert(from->state == GEV__DEAD || from->state == GEV__FREE);
    *hub->errno_location = to->saved_errno;
    gev__fp_load(&to->fp);
    if (gev__unlikely(hub->eh_globals != NULL)) {
        memcpy(hub->eh_globals, to->eh_globals, sizeof(to->eh_globals));
    }
    hub->current = to;
    to->state = GEV__RUNNING;
    hub->switches++;
    gev__sanitize_leave(&from->sanitizer, &to->sanitizer,
                        !(from->flags & GEV__STACK_IN_USE));
    gev__context_switch(&from->ctx, &to->ctx);
    __builtin_unreachable();
}

/* As the last thing a function does: `return gev__switch_and_return(...)`.
 * Whoever switches back has set from->ctx.rc, which the function then returns,
 * without a `ret` that the processor would mispredict. */
GEV__INLINE int gev__switch_and_return(struct gev_hub *hub,
                                       struct gev_greenlet *from,
                                       struct gev_greenlet *to)
{
#if defined(GEV__SANITIZES_SWITCHES) || defined(GEV_SWITCH_UCONTEXT)
    gev__switch(hub, from, to);
    return (int)from->ctx.rc;
#else
    gev__switch_state(hub, from, to);
    return gev__jump(&from->ctx, &to->ctx);
#endif
}

#endif
