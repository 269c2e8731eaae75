/* SPDX-License-Identifier: MIT */
#include "hub/defer.h"

#include "base/alloc.h"
#include "base/error.h"
#include "hub/hub.h"

void gev__defers_run(struct gev_greenlet *g)
{
    g->alerts |= GEV__ALERT_NOPARK;
    while (g->defers != NULL) {
        struct gev__defer *d = g->defers;
        void (*fn)(void *) = d->fn;
        void *arg = d->arg;
        g->defers = d->next;
        gev__free(d);
        fn(arg);
    }
    g->alerts &= (uint8_t)~GEV__ALERT_NOPARK;
}

void gev__defers_drop(struct gev_greenlet *g)
{
    while (g->defers != NULL) {
        struct gev__defer *d = g->defers;
        g->defers = d->next;
        gev__free(d);
    }
}

int gev__defer_add(struct gev_greenlet *g, void (*fn)(void *), void *arg)
{
    if (fn == NULL) {
        return -EINVAL;
    }
    struct gev__defer *d = gev__malloc(sizeof(*d));
    if (d == NULL) {
        return -ENOMEM;
    }
    d->fn = fn;
    d->arg = arg;
    d->next = g->defers;
    g->defers = d;
    return 0;
}

int gev__defer_remove(struct gev_greenlet *g, void (*fn)(void *), void *arg)
{
    for (struct gev__defer **link = &g->defers; *link != NULL;
         link = &(*link)->next) {
        struct gev__defer *d = *link;
        if (d->fn == fn && d->arg == arg) {
            *link = d->next;
            gev__free(d);
            return 0;
        }
    }
    return -ENOENT;
}

/* --- public --------------------------------------------------------------- */

int gev_defer(void (*fn)(void *), void *arg)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1
                       : (int)gev__ret(gev__defer_add(hub->current, fn, arg));
}

int gev_undefer(void (*fn)(void *), void *arg)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL
               ? -1
               : (int)gev__ret(gev__defer_remove(hub->current, fn, arg));
}
