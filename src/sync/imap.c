/* SPDX-License-Identifier: MIT */

/* A lazy map: a source, tasks in a group, and those who read the results. */

#include "base/alloc.h"
#include "base/error.h"
#include "hub/park.h"
#include "sync/group.h"

#include <gev/group.h>

/* From the source to the reader. */
struct item {
    struct gev__list node; /* on it->items, or on it->spares */
    void *value;
    int error;
    bool ready;
};

/* Who is parked in gev_imap_next; on his stack. */
struct reader {
    struct gev__wait wait; /* first; on it->readers */
    struct item *item;     /* given to him */
};

/* What his park returns. */
enum { AT_END = 0, HAS_ITEM = 1 };

/*   invariant: an item is ready and nobody has it  =>  nobody is parked for it
 *   invariant: unread counts the items taken from the source and not yet given
 *              to a reader, and is never above maxsize
 *
 * The memory lasts until the handle, the source, all tasks and all who are
 * parked for it are gone. */
struct gev_imap {
    struct gev__job job; /* first; the source is one of its members, too: its
                            tag is NULL, a task's is its item */
    struct gev_group *group; /* counted */
    struct gev__make make;   /* of a task */
    gev_next_fn next;
    void *arg;
    size_t maxsize; /* SIZE_MAX: no limit */
    size_t unread;
    size_t alive; /* the source and the tasks that have not ended */
    size_t refs;
    bool ordered;
    bool feeding; /* the source has not ended */
    bool fed;     /* it has come to its end by itself */
    bool freed;
    int error;              /* the source's, until somebody was told */
    struct gev__list items; /* ordered: all unread; else: the ready ones */
    struct gev__list spares;
    struct item *spare; /* while the source runs: it may not come back */
    struct gev__waitq readers;
    struct gev__waitq room;  /* the source waits for unread to fall */
    struct gev__waitq ended; /* gev_imap_free waits for alive to fall */
    size_t but;              /* how far */
};

static struct gev_imap *imap_of(struct gev__job *job)
{
    return gev__container_of(job, struct gev_imap, job);
}

static struct item *item_of(struct gev__list *node)
{
    return gev__container_of(node, struct item, node);
}

/* --- items ---------------------------------------------------------------- */

/* Sees that it->spare is there for the next one. -ENOMEM. */
static int provide_item(struct gev_imap *it)
{
    struct gev__list *node;

    if (it->spare == NULL) {
        node = gev__list_pop(&it->spares);
        it->spare =
            node != NULL ? item_of(node) : gev__malloc(sizeof(*it->spare));
    }
    return it->spare == NULL ? -ENOMEM : 0;
}

static struct item *take_spare(struct gev_imap *it)
{
    struct item *item = it->spare;

    it->spare = NULL;
    gev__list_init(&item->node);
    item->value = NULL;
    item->error = 0;
    item->ready = false;
    return item;
}

/* A limited imap keeps them all: it needs no more memory then. */
static void free_item(struct gev_imap *it, struct item *item)
{
    gev__list_remove(&item->node);
    if (it->maxsize != SIZE_MAX && !it->freed) {
        gev__list_push_front(&it->spares, &item->node);
    } else {
        gev__free(item);
    }
}

static void free_items(struct gev__list *items)
{
    struct gev__list *node;

    while ((node = gev__list_pop(items)) != NULL) {
        gev__free(item_of(node));
    }
}

static void unref(struct gev_imap *it)
{
    if (--it->refs > 0) {
        return;
    }
    free_items(&it->items);
    free_items(&it->spares);
    gev__free(it->spare);
    gev__group_unref(it->group);
    gev__free(it);
}

/* --- readers -------------------------------------------------------------- */

/* The result that is next, off the list, or NULL: not yet. */
static struct item *take_ready(struct gev_imap *it)
{
    struct gev__list *node = gev__list_first(&it->items);

    if (node == NULL || !item_of(node)->ready) {
        return NULL;
    }
    gev__list_remove(node);
    it->unread--;
    gev__waitq_wake(&it->room, 0);
    return item_of(node);
}

static bool is_at_end(const struct gev_imap *it)
{
    return !it->feeding && it->unread == 0;
}

/* The source's error, once. */
static int take_end(struct gev_imap *it)
{
    int error = it->error;

    it->error = 0;
    return error != 0 ? -error : AT_END;
}

static void serve_readers(struct gev_imap *it)
{
    struct gev__wait *w;

    while ((w = gev__waitq_first(&it->readers)) != NULL) {
        struct item *item = take_ready(it);
        if (item == NULL && !is_at_end(it)) {
            return;
        }
        gev__container_of(w, struct reader, wait)->item = item;
        gev__waitq_wake(&it->readers, item != NULL ? HAS_ITEM : take_end(it));
    }
}

/* What a reader gets for it: 1 and the value, or the item's error. */
static int read_item(struct gev_imap *it, struct item *item, void **ret_value)
{
    int error = item->error; /* NOLINT(clang-analyzer-core.NullDereference) */
    void *value = item->value;

    free_item(it, item);
    if (error != 0) {
        return -error;
    }
    if (ret_value != NULL) {
        *ret_value = value;
    }
    return 1;
}

/* Who comes while others wait goes to the end. */
static int next_result(struct gev_hub *hub, struct gev_imap *it,
                       void **ret_value)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_GROUP, .object = it};
    struct reader reader = {.item = NULL};

    if (gev__waitq_first(&it->readers) == NULL) {
        struct item *item = take_ready(it);
        if (item != NULL) {
            return read_item(it, item, ret_value);
        }
        if (is_at_end(it)) {
            return take_end(it);
        }
    }
    it->refs++;
    int rc = gev__waitq_park(hub, &it->readers, &reader.wait, what, GEV__NEVER);
    if (rc == HAS_ITEM) {
        rc = read_item(it, reader.item, ret_value);
    }
    unref(it);
    return rc;
}

/* --- tasks ---------------------------------------------------------------- */

static void settle_item(struct gev_imap *it, struct item *item, void *value,
                        int error)
{
    if (it->freed) {
        free_item(it, item);
        return;
    }
    item->value = value;
    item->error = error;
    item->ready = true;
    if (!it->ordered) {
        gev__list_push_back(&it->items, &item->node);
    }
    serve_readers(it);
}

static void end_source(struct gev_imap *it, int error)
{
    it->feeding = false;
    if (!it->fed) {
        it->error = error; /* it was killed, or left by gev_exit() */
    }
    serve_readers(it);
}

/* The end of a task, or of the source. */
static void end_member(struct gev__job *job, void *tag, void *value, int error)
{
    struct gev_imap *it = imap_of(job);

    it->alive--;
    if (tag == NULL) {
        end_source(it, error);
    } else {
        settle_item(it, tag, value, error);
    }
    if (it->alive <= it->but) {
        gev__waitq_wake_all(&it->ended, 0);
    }
    unref(it);
}

static int start_member(struct gev_hub *hub, struct gev_imap *it,
                        const struct gev__make *make, enum gev__role role,
                        void *tag)
{
    it->alive++;
    it->refs++;
    int rc = gev__group_start(hub, it->group, make, role, &it->job, tag, NULL);
    if (rc < 0) {
        it->alive--;
        it->refs--; /* the caller has one */
    }
    return rc;
}

/* --- the source ----------------------------------------------------------- */

static int wait_for_room(struct gev_hub *hub, struct gev_imap *it)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_GROUP, .object = it};
    struct gev__wait wait;
    int rc = 0;

    while (rc == 0 && it->unread >= it->maxsize) {
        rc = gev__waitq_park(hub, &it->room, &wait, what, GEV__NEVER);
    }
    return rc;
}

/* 1: an item; 0: no more; -errno. */
static int pull(struct gev_hub *hub, const struct gev_imap *it,
                void **ret_value)
{
    *hub->errno_location = 0;
    int rc = it->next(it->arg, ret_value);

    if (rc >= 0) {
        return rc > 0;
    }
    int error = *hub->errno_location;
    return error > 0 ? -error : -EINVAL;
}

static int start_task(struct gev_hub *hub, struct gev_imap *it, void *arg,
                      struct item *item)
{
    struct gev__make make = it->make;
    int rc = gev__group_take_slot(hub, it->group, NULL);

    make.arg = arg;
    return rc < 0 ? rc : start_member(hub, it, &make, GEV__MEMBER, item);
}

/* One item: 1, or as pull(). What cannot be started for lack of memory has
 * failed, and the next has a chance of its own. */
static int feed_one(struct gev_hub *hub, struct gev_imap *it)
{
    void *value = NULL;
    int rc = wait_for_room(hub, it);

    if (rc == 0) {
        rc = provide_item(it);
    }
    if (rc == 0) {
        rc = pull(hub, it, &value);
    }
    if (rc <= 0) {
        return rc;
    }
    struct item *item = take_spare(it);
    it->unread++;
    if (it->ordered) {
        gev__list_push_back(&it->items, &item->node);
    }
    rc = start_task(hub, it, value, item);
    if (rc < 0) {
        settle_item(it, item, NULL, -rc);
    }
    return rc == 0 || rc == -ENOMEM ? 1 : rc;
}

static void *feed(void *arg)
{
    struct gev_imap *it = arg;
    struct gev_hub *hub = gev__thread_hub;
    int rc;

    do {
        rc = feed_one(hub, it);
    } while (rc > 0);
    it->error = -rc;
    it->fed = true;
    return NULL;
}

/* --- making and freeing --------------------------------------------------- */

static int new_imap(struct gev_hub *hub, struct gev_group *p,
                    const struct gev_imap *model, struct gev_imap **ret_imap)
{
    struct gev__make source = {
        .fn = feed, .site = model->make.site, .name = "imap source"};
    int rc = gev__group_enter(hub, p);

    if (rc == 0 && (model->make.fn == NULL || model->next == NULL)) {
        rc = -EINVAL;
    }
    if (rc == 0 && p->freed) {
        rc = -EPIPE;
    }
    if (rc < 0) {
        return rc;
    }
    struct gev_imap *it = gev__malloc(sizeof(*it));
    if (it == NULL) {
        return -ENOMEM;
    }
    *it = *model;
    it->group = p;
    it->refs = 1;
    it->feeding = true;
    it->job.ended = end_member;
    gev__list_init(&it->job.members);
    gev__list_init(&it->items);
    gev__list_init(&it->spares);
    gev__group_ref(p);
    source.arg = it;
    rc = start_member(hub, it, &source, GEV__HELPER, NULL);
    if (rc < 0) {
        unref(it);
        return rc;
    }
    *ret_imap = it;
    return 0;
}

/* Whether the current greenlet is the source, or one of the tasks. */
static bool is_one_of(const struct gev_imap *it, const struct gev_hub *hub)
{
    gev__list_foreach(node, &it->job.members) {
        if (gev__container_of(node, struct gev__member, job_node)->greenlet ==
            hub->current) {
            return true;
        }
    }
    return false;
}

static void free_imap(struct gev_hub *hub, struct gev_imap *it)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_GROUP, .object = it};
    struct gev__wait wait;

    it->freed = true;
    it->but = is_one_of(it, hub);
    gev__waitq_wake_all(&it->readers, -EPIPE);
    gev__job_kill(&it->job, hub->current);
    hub->current->shields++;
    if (it->alive > it->but) {
        /* If it fails, it is freed when the last has ended. */
        (void)gev__waitq_park(hub, &it->ended, &wait, what, GEV__NEVER);
    }
    hub->current->shields--;
    unref(it);
}

/* --- what the public ones and their macros share -------------------------- */

static gev_imap *imap(gev_group *p, const struct gev_imap *model)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev_imap *it = NULL;

    if (hub == NULL) {
        return NULL;
    }
    int rc = new_imap(hub, p, model, &it);
    return rc < 0 ? gev__ret_null(rc) : it;
}

static struct gev_imap model_of(gev_fn fn, gev_next_fn next, void *arg,
                                size_t maxsize, bool ordered)
{
    return (struct gev_imap){
        .make = {.fn = fn, .site = "", .name = "greenlet"},
        .next = next,
        .arg = arg,
        .maxsize = maxsize == 0 ? SIZE_MAX : maxsize,
        .ordered = ordered,
    };
}

/* --- public --------------------------------------------------------------- */

gev_imap *gev_group_imap_at(gev_group *p, gev_fn fn, gev_next_fn next,
                            void *arg, size_t maxsize, bool ordered,
                            const char *site, const char *name)
{
    struct gev_imap model = model_of(fn, next, arg, maxsize, ordered);

    model.make.site = site;
    model.make.name = name;
    return imap(p, &model);
}

gev_imap *(gev_group_imap)(gev_group *p, gev_fn fn, gev_next_fn next, void *arg,
                           size_t maxsize, bool ordered)
{
    const struct gev_imap model = model_of(fn, next, arg, maxsize, ordered);

    return imap(p, &model);
}

int gev_imap_next(gev_imap *it, void **value)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    int rc = it == NULL ? -EINVAL : gev__group_enter(hub, it->group);
    if (rc == 0) {
        rc = it->freed ? -EPIPE : next_result(hub, it, value);
    }
    return (int)gev__ret(rc);
}

void gev_imap_free(gev_imap *it)
{
    struct gev_hub *hub = gev__thread_hub;

    if (it == NULL) {
        return;
    }
    struct gev_hub *owner = gev__owner_hub(&it->group->owner);
    if (owner == NULL) {
        unref(it); /* its hub is closed, nobody is left */
    } else if (owner == hub) {
        free_imap(hub, it);
    }
}
