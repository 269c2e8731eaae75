/* SPDX-License-Identifier: MIT */

/* gev_signal: greenlets that are spawned when a signal comes. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/sys.h"
#include "hub/greenlet.h"
#include "hub/sched.h"
#include "os/signal.h"

#include <gev/signal.h>

#define RETRY_AFTER (10 * GEV__MS)

struct gev_signal_handler {
    struct gev__list link; /* on its hub's list */
    struct gev_hub *hub;
    gev_fn fn;
    void *arg;
    const char *site;
    const char *name;
    uintptr_t id; /* for the greenlets: the handler may be gone when they run */
    int signum;
    bool detached;
    bool keeps; /* holds the hub */
    bool due;   /* to be spawned */
};

static atomic_uintptr_t last_id;

static struct gev_signal_handler *handler_of(struct gev__list *node)
{
    return gev__container_of(node, struct gev_signal_handler, link);
}

/* --- deliveries ----------------------------------------------------------- */

/* The greenlet's function: a handler that was cancelled meanwhile is not begun.
 */
static void *run_handler(void *id)
{
    const struct gev__signals *s = gev__signals_find(gev__thread_hub);

    if (s == NULL) {
        return NULL;
    }
    gev__list_foreach(node, &s->handlers) {
        const struct gev_signal_handler *h = handler_of(node);
        if (h->id == (uintptr_t)id) {
            return h->fn(h->arg);
        }
    }
    return NULL;
}

static int spawn_handler(struct gev_hub *hub,
                         const struct gev_signal_handler *h)
{
    const struct gev__make make = {.fn = run_handler,
                                   .arg = (void *)h->id,
                                   .site = h->site,
                                   .name = h->name};

    return gev__greenlet_spawn(hub, &make);
}

static void set_due(struct gev_hub *hub, struct gev__signals *s, bool due)
{
    if (due && !s->due) {
        gev__hub_hold(hub);
    } else if (!due && s->due) {
        gev__hub_release(hub);
    }
    s->due = due;
}

static void on_retry(struct gev__timer *t)
{
    struct gev__signals *s = gev__container_of(t, struct gev__signals, retry);

    gev__signal_handlers_run(gev__thread_hub, s, 0);
}

/* Tries again later; without memory for a timer, in the loop's next turn. */
static void retry(struct gev_hub *hub, struct gev__signals *s)
{
    const uint64_t one = 1;

    set_due(hub, s, true);
    if (gev__timer_is_armed(&s->retry)) {
        return;
    }
    gev__timer_init(&s->retry, on_retry);
    if (gev__timer_arm(hub, &s->retry, GEV__SLEEPS,
                       gev__clock_add(gev__clock_now(), RETRY_AFTER)) < 0) {
        (void)gev__sys_write(s->fd, &one, sizeof(one));
    }
}

void gev__signal_handlers_run(struct gev_hub *hub, struct gev__signals *s,
                              uint64_t came)
{
    gev__list_foreach(node, &s->handlers) {
        struct gev_signal_handler *h = handler_of(node);
        h->due = h->due || (came & gev__signal_bit(h->signum));
    }
    gev__list_foreach(node, &s->handlers) {
        struct gev_signal_handler *h = handler_of(node);
        if (h->due && spawn_handler(hub, h) < 0) {
            retry(hub, s); /* from this one on, in order */
            return;
        }
        h->due = false;
    }
    set_due(hub, s, false);
}

uint64_t gev__signal_handlers_want(const struct gev__signals *s)
{
    uint64_t wanted = 0;

    gev__list_foreach(node, &s->handlers) {
        wanted |= gev__signal_bit(handler_of(node)->signum);
    }
    return wanted;
}

/* --- setting and taking back ---------------------------------------------- */

static int check(int signum, gev_fn fn)
{
    return signum < 1 || signum > GEV__SIGNALS || fn == NULL ? -EINVAL : 0;
}

static int set_handler(struct gev_hub *hub, struct gev_signal_handler handler,
                       struct gev_signal_handler **ret_h)
{
    struct gev__signals *s = NULL;
    int rc = check(handler.signum, handler.fn);

    if (rc == 0) {
        rc = gev__signals_get(hub, &s);
    }
    if (rc < 0) {
        return rc;
    }
    struct gev_signal_handler *h = gev__malloc(sizeof(*h));
    if (h == NULL) {
        return -ENOMEM;
    }
    *h = handler;
    h->hub = hub;
    h->id = atomic_fetch_add(&last_id, 1) + 1;
    gev__list_push_back(&s->handlers, &h->link);
    gev__signals_note_wanted(s);
    rc = gev__signal_add_user(h->signum);
    if (rc < 0) {
        gev__list_remove(&h->link);
        gev__signals_note_wanted(s);
        gev__free(h);
        return rc;
    }
    *ret_h = h;
    return 0;
}

static void set_keep(struct gev_signal_handler *h, bool keep)
{
    if (h->detached || keep == h->keeps) {
        return;
    }
    h->keeps = keep;
    if (keep) {
        gev__hub_hold(h->hub);
    } else {
        gev__hub_release(h->hub);
    }
}

static void take_back(struct gev_signal_handler *h)
{
    set_keep(h, false);
    gev__list_remove(&h->link);
    if (!h->detached) {
        gev__signals_note_wanted(gev__signals_find(h->hub));
        gev__signal_remove_user(h->signum);
    }
    gev__free(h);
}

void gev__signal_handlers_close(struct gev__signals *s)
{
    struct gev__list *node;

    while ((node = gev__list_pop(&s->detached)) != NULL) {
        gev__free(handler_of(node));
    }
    while ((node = gev__list_pop(&s->handlers)) != NULL) {
        gev__signal_remove_user(handler_of(node)->signum);
        gev__free(handler_of(node));
    }
}

void gev__signal_handlers_detach(struct gev__signals *s)
{
    struct gev__list *node;

    while ((node = gev__list_pop(&s->handlers)) != NULL) {
        handler_of(node)->detached = true;
        gev__list_push_back(&s->detached, node);
    }
    s->due = false;
    s->retry.pos = GEV__TIMER_IDLE;
}

/* --- public --------------------------------------------------------------- */

static gev_signal_handler *set_public(struct gev_signal_handler handler)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev_signal_handler *h = NULL;

    if (hub == NULL) {
        return NULL;
    }
    int rc = set_handler(hub, handler, &h);
    return rc < 0 ? gev__ret_null(rc) : h;
}

gev_signal_handler *gev_signal_at(int signum, gev_fn fn, void *arg,
                                  const char *site, const char *name)
{
    return set_public((struct gev_signal_handler){
        .signum = signum, .fn = fn, .arg = arg, .site = site, .name = name});
}

/* The function behind the macro, for callers that take its address. */
gev_signal_handler *(gev_signal)(int signum, gev_fn fn, void *arg)
{
    return set_public((struct gev_signal_handler){.signum = signum,
                                                  .fn = fn,
                                                  .arg = arg,
                                                  .site = "",
                                                  .name = "signal handler"});
}

void gev_signal_cancel(gev_signal_handler *h)
{
    if (h != NULL && h->hub == gev__thread_hub) {
        take_back(h);
    }
}

void gev_signal_keep(gev_signal_handler *h, bool keep)
{
    if (h != NULL && h->hub == gev__thread_hub) {
        set_keep(h, keep);
    }
}
