/* SPDX-License-Identifier: MIT */

/* gev_foreach: the list of gev_dump, for programs. */

#include "base/error.h"
#include "debug/census.h"

#include <gev/debug.h>

/* The hub's greenlet is nobody's business. */
static int call_each(struct gev_hub *hub, const struct gev__census *c,
                     int (*fn)(gev_greenlet *g, void *arg), void *arg)
{
    int result = 0;

    for (size_t i = 0; i < c->n; i++) {
        gev__greenlet_ref(c->by_id[i]);
    }
    for (size_t i = 0; i < c->n && result == 0; i++) {
        if (c->by_id[i] != hub->hub_greenlet) {
            result = fn(c->by_id[i], arg);
        }
    }
    for (size_t i = 0; i < c->n; i++) {
        gev__greenlet_unref(c->by_id[i]);
    }
    return result;
}

/* --- public --------------------------------------------------------------- */

int gev_foreach(int (*fn)(gev_greenlet *g, void *arg), void *arg)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev__census c;

    if (hub == NULL) {
        return -1;
    }
    int rc = fn == NULL ? -EINVAL : gev__census_take(hub, &c);
    if (rc < 0) {
        return (int)gev__ret(rc);
    }
    int result = call_each(hub, &c, fn, arg);
    gev__census_free(&c);
    return result;
}
