/* SPDX-License-Identifier: MIT */
#include "hub/hook.h"

#include "base/alloc.h"
#include "base/error.h"

static struct gev__spawn_hook *hook_of(struct gev__list *node)
{
    return gev__container_of(node, struct gev__spawn_hook, link);
}

static struct gev__spawn_hook *find_hook(struct gev_hub *hub,
                                         void (*fn)(gev_greenlet *g, void *arg),
                                         const void *arg)
{
    gev__list_foreach(node, &hub->spawn_hooks) {
        if (hook_of(node)->fn == fn && hook_of(node)->arg == arg) {
            return hook_of(node);
        }
    }
    return NULL;
}

static int add_hook(struct gev_hub *hub, void (*fn)(gev_greenlet *g, void *arg),
                    void *arg)
{
    if (fn == NULL) {
        return -EINVAL;
    }
    if (find_hook(hub, fn, arg) != NULL) {
        return 0;
    }
    struct gev__spawn_hook *h = gev__malloc(sizeof(*h));
    if (h == NULL) {
        return -ENOMEM;
    }
    h->fn = fn;
    h->arg = arg;
    h->seq = ++hub->hook_seq;
    gev__list_push_back(&hub->spawn_hooks, &h->link);
    gev__thread_hub_without_hooks = NULL;
    return 0;
}

static void remove_hook(struct gev_hub *hub, struct gev__spawn_hook *h)
{
    gev__list_remove(&h->link);
    gev__free(h);
    if (gev__list_is_empty(&hub->spawn_hooks)) {
        gev__thread_hub_without_hooks = hub;
    }
}

/* The first hook with a number in (after, last], or NULL. */
static struct gev__spawn_hook *next_hook(struct gev_hub *hub, uint64_t after,
                                         uint64_t last)
{
    gev__list_foreach(node, &hub->spawn_hooks) {
        if (hook_of(node)->seq > after) {
            return hook_of(node)->seq <= last ? hook_of(node) : NULL;
        }
    }
    return NULL;
}

/* A hook may add and remove hooks, itself too: those that are removed are not
 * called any more, those that are added not yet. */
void gev__spawn_hooks_call(struct gev_hub *hub, struct gev_greenlet *g)
{
    struct gev_greenlet *self = hub->current;
    const uint8_t nopark = self->alerts & GEV__ALERT_NOPARK;
    const uint64_t last = hub->hook_seq;
    const struct gev__spawn_hook *h;
    uint64_t seq = 0;

    gev__greenlet_ref(g);
    self->alerts |= GEV__ALERT_NOPARK;
    while ((h = next_hook(hub, seq, last)) != NULL) {
        seq = h->seq;
        h->fn(g, h->arg);
    }
    if (nopark == 0) {
        self->alerts &= (uint8_t)~GEV__ALERT_NOPARK;
    }
    gev__greenlet_unref(g);
}

void gev__spawn_hooks_fini(struct gev_hub *hub)
{
    struct gev__list *node;

    while ((node = gev__list_pop(&hub->spawn_hooks)) != NULL) {
        gev__free(hook_of(node));
    }
}

/* --- public --------------------------------------------------------------- */

int gev_add_spawn_hook(void (*fn)(gev_greenlet *g, void *arg), void *arg)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(add_hook(hub, fn, arg));
}

int gev_remove_spawn_hook(void (*fn)(gev_greenlet *g, void *arg), void *arg)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    struct gev__spawn_hook *h = find_hook(hub, fn, arg);
    if (h != NULL) {
        remove_hook(hub, h);
    }
    return 0;
}
