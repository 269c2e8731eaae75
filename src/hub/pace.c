/* SPDX-License-Identifier: MIT */
#include "hub/pace.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "hub/defer.h"

#include <gev/debug.h>

#include <math.h>

/* What is known of a gev_pace between its begin and its end; apart from it, for
 * it may be on a stack that goes. */
struct gev__pace {
    struct gev__pace *older; /* on hub->paces */
    const gev_pace *handle;
    struct gev_greenlet *greenlet; /* who began it */
    double limit;                  /* s */
    int64_t begun;                 /* ns */
    int64_t longest;               /* ns */
    uint64_t longest_id;
    uint64_t switches; /* of the hub, at the beginning */
    uint64_t turns;
};

static void note_one(const struct gev_hub *hub, struct gev__pace *p,
                     int64_t now)
{
    int64_t since =
        p->begun > hub->stretch_began ? p->begun : hub->stretch_began;

    if (now - since > p->longest) {
        p->longest = now - since;
        p->longest_id = hub->current->id;
    }
}

void gev__paces_note(struct gev_hub *hub, int64_t now)
{
    /* The hub waits for events, and nobody else wants to run. */
    if (hub->current != hub->hub_greenlet) {
        for (struct gev__pace *p = hub->paces; p != NULL; p = p->older) {
            note_one(hub, p, now);
        }
    }
    hub->stretch_began = now;
}

void gev__paces_note_now(struct gev_hub *hub)
{
    gev__paces_note(hub, gev__clock_now());
}

static void unlink_pace(struct gev_hub *hub, const struct gev__pace *p)
{
    struct gev__pace **link = &hub->paces;

    while (*link != p) {
        link = &(*link)->older;
    }
    *link = p->older;
}

/* A greenlet ends with one open. */
static void drop_pace(void *arg)
{
    struct gev__pace *p = arg;

    unlink_pace(p->greenlet->hub, p);
    gev__free(p);
}

void gev__paces_drop(struct gev_greenlet *g)
{
    struct gev__pace **link = &g->hub->paces;

    while (*link != NULL) {
        struct gev__pace *p = *link;
        if (p->greenlet == g) {
            *link = p->older;
            gev__free(p);
        } else {
            link = &p->older;
        }
    }
}

static struct gev__pace *find_pace(const struct gev_hub *hub,
                                   const gev_pace *handle)
{
    struct gev__pace *p = hub->paces;

    while (p != NULL && (p->handle != handle || p->greenlet != hub->current)) {
        p = p->older;
    }
    return p;
}

static int begin_pace(struct gev_hub *hub, const gev_pace *handle, double limit)
{
    if (handle == NULL || isnan(limit)) {
        return -EINVAL;
    }
    if (hub->current == hub->hub_greenlet) {
        return -EPERM;
    }
    if (find_pace(hub, handle) != NULL) {
        return -EALREADY;
    }
    struct gev__pace *p = gev__calloc(1, sizeof(*p));
    if (p == NULL) {
        return -ENOMEM;
    }
    int rc = gev__defer_add(hub->current, drop_pace, p);
    if (rc < 0) {
        gev__free(p);
        return rc;
    }
    p->handle = handle;
    p->greenlet = hub->current;
    p->limit = limit;
    p->begun = gev__clock_now();
    p->switches = hub->switches;
    p->turns = hub->turns;
    p->older = hub->paces;
    hub->paces = p;
    hub->clock_credit = 1; /* the next switch looks at the clock */
    return 0;
}

/* --- public --------------------------------------------------------------- */

int gev_pace_begin(gev_pace *pace, double limit)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(begin_pace(hub, pace, limit));
}

bool gev_pace_end(gev_pace *pace)
{
    struct gev_hub *hub = gev__thread_hub;
    struct gev__pace *p = hub == NULL ? NULL : find_pace(hub, pace);

    if (p == NULL) {
        return false;
    }
    note_one(hub, p, gev__clock_now());
    pace->switches = hub->switches - p->switches;
    pace->turns = hub->turns - p->turns;
    pace->longest = (double)p->longest / 1e9;
    pace->longest_id = p->longest_id;
    bool kept = pace->switches > 0 && pace->longest <= p->limit;
    gev__defer_remove(hub->current, drop_pace, p);
    drop_pace(p);
    return kept;
}
