/* SPDX-License-Identifier: MIT */

/* Asking a greenlet what it is and what became of it, and ending the current
 * one. */

#include "base/error.h"
#include "hub/greenlet.h"
#include "hub/hub.h"

gev_greenlet *gev_ref(gev_greenlet *g)
{
    if (g != NULL) {
        gev__greenlet_ref(g);
    }
    return g;
}

void gev_unref(gev_greenlet *g)
{
    if (g != NULL) {
        gev__greenlet_unref(g);
    }
}

void gev_unrefall(gev_greenlet *const g[], size_t n)
{
    for (size_t i = 0; g != NULL && i < n; i++) {
        if (g[i] != NULL) {
            gev__greenlet_unref(g[i]);
        }
    }
}

gev_greenlet *gev_current(void)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? NULL : hub->current;
}

bool gev_started(const gev_greenlet *g)
{
    return g != NULL && (g->flags & GEV__STARTED);
}

bool gev_dead(const gev_greenlet *g)
{
    return g != NULL && g->state == GEV__DEAD;
}

bool gev_ready(const gev_greenlet *g)
{
    return g != NULL && g->state == GEV__DEAD;
}

bool gev_successful(const gev_greenlet *g)
{
    return g != NULL && g->state == GEV__DEAD &&
           (g->error == 0 || (g->flags & GEV__WAS_KILLED));
}

bool gev_killed(const gev_greenlet *g)
{
    return g != NULL && g->state == GEV__DEAD && (g->flags & GEV__WAS_KILLED);
}

void *gev_value(const gev_greenlet *g)
{
    return g != NULL && g->state == GEV__DEAD ? g->value : NULL;
}

int gev_error(const gev_greenlet *g)
{
    return g != NULL && g->state == GEV__DEAD ? g->error : 0;
}

const char *gev_name(const gev_greenlet *g)
{
    return g == NULL ? "" : g->name;
}

int gev_set_name(gev_greenlet *g, const char *name)
{
    if (g == NULL || name == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    return (int)gev__ret(gev__greenlet_rename(g, name));
}

uint64_t gev_id(const gev_greenlet *g)
{
    return g == NULL ? 0 : g->id;
}

uint64_t gev_spawner_id(const gev_greenlet *g)
{
    return g == NULL ? 0 : g->spawner;
}

gev_hub *gev_hub_of(const gev_greenlet *g)
{
    return g == NULL || g->hub->closed ? NULL : g->hub;
}

const char *gev_spawn_site(const gev_greenlet *g)
{
    return g == NULL ? "" : g->site;
}

_Thread_local int *gev__job_fail_code;

void *gev_fail(int error)
{
    const int code = error > 0 ? error : EINVAL;

    if (gev__thread_hub == NULL && gev__job_fail_code != NULL) {
        *gev__job_fail_code = code;
        return gev__fail_mark;
    }
    struct gev_hub *hub = gev__hub_get();
    if (hub == NULL) {
        return NULL;
    }
    hub->current->fail_code = code;
    return gev__fail_mark;
}

int gev__fail_code_here(void)
{
    const struct gev_hub *hub = gev__thread_hub;

    /* A job may have failed before something made a hub. */
    if (hub != NULL && hub->current->fail_code > 0) {
        return hub->current->fail_code;
    }
    return gev__job_fail_code != NULL ? *gev__job_fail_code : EINVAL;
}

_Noreturn void gev_exit(void *value)
{
    struct gev_hub *hub = gev__hub_get();

    gev__check(hub != NULL && hub->current != hub->hub_greenlet);
    gev__greenlet_exit(hub->current, value);
}
