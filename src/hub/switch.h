/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_SWITCH_H
#define GEV_HUB_SWITCH_H

/* The switch: the machine's part (context.h) and what is per greenlet besides
 * the registers. Its inclusion is limited to the few places that switch. */

#include "hub/greenlet.h"
#include "hub/hub.h"

#include <string.h>

GEV__INLINE void gev__switch(struct gev_hub *hub, struct gev_greenlet *from,
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
    gev__fp_save(&from->fp);
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
    gev__context_switch(&from->ctx, &to->ctx);
    gev__sanitize_enter(&from->sanitizer, false);
    *hub->errno_location = from->saved_errno;
}

#endif
