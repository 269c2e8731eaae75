/* SPDX-License-Identifier: MIT */

/* Waiting for several objects of any kind. */

#include "base/alloc.h"
#include "base/error.h"
#include "hub/waitable.h"

/* gev_wait() needs no memory for this many. */
#define FEW 8

static int bind_all(struct gev_hub *hub, gev_waitable *const w[], size_t n)
{
    int rc = w == NULL && n > 0 ? -EINVAL : 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        if (w[i] != NULL) {
            rc = w[i]->ops == NULL ? -EINVAL : gev__waitable_bind(w[i], hub);
        }
    }
    return rc;
}

/* --- until so many are ready ---------------------------------------------- */

/* Common to the entries of one gev_wait(). */
struct tally {
    struct gev_greenlet *greenlet;
    size_t ready;  /* entries that are, or were once */
    size_t wanted; /* it waits for so many */
};

struct entry {
    struct gev__observer observer; /* first */
    struct tally *tally;
};

static void count_ready(struct gev__observer *o)
{
    struct tally *t = ((struct entry *)(void *)o)->tally;

    if (t->ready < t->wanted && ++t->ready == t->wanted) {
        gev__wake(t->greenlet, 0);
    }
}

/* Looks at all; returns how many are there, ready or not. */
static size_t look(gev_waitable *const w[], size_t n, struct tally *t)
{
    size_t there = 0;

    for (size_t i = 0; i < n; i++) {
        if (w[i] != NULL) {
            there++;
            t->ready += gev__waitable_is_ready(w[i]);
        }
    }
    return there;
}

static size_t count_self(const struct gev_hub *hub, gev_waitable *const w[],
                         size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        count += w[i] == &hub->current->waitable;
    }
    return count;
}

/* Counts anew those that are ready: to be asked again may have made one so (a
 * process). Observes the others, in entries that are theirs, and parks. */
static int park_for_all(struct gev_hub *hub, gev_waitable *const w[], size_t n,
                        struct tally *t, struct entry entries[],
                        int64_t deadline)
{
    struct gev__wait *first = NULL;
    size_t used = 0;
    int rc = 0;

    t->ready = 0;
    for (size_t i = 0; i < n; i++) {
        if (w[i] == NULL) {
            continue;
        }
        if (gev__waitable_is_ready(w[i])) {
            t->ready++;
            continue;
        }
        struct entry *e = &entries[used++];
        e->tally = t;
        gev__waitable_observe(w[i], &e->observer, t->greenlet, count_ready);
        if (!e->observer.is_link) {
            e->observer.wait.sibling = first;
            first = &e->observer.wait;
        }
    }
    const struct gev__wait_for what = {.kind = GEV__WAIT_SEVERAL,
                                       .number = (long)used};
    if (t->ready < t->wanted) {
        rc = gev__waits_park(hub, first, what, deadline);
    }
    for (size_t i = 0; i < used; i++) {
        gev__observer_leave(&entries[i].observer);
    }
    return rc;
}

static int wait_for_tally(struct gev_hub *hub, gev_waitable *const w[],
                          size_t n, struct tally *t, int64_t deadline)
{
    struct entry few[FEW];
    struct entry *entries = few;
    /* A park that is bound to fail fails here: it may be the end of one that
     * never heeds it, who must have no memory then. */
    int rc = hub->current->alerts == 0 ? 0 : gev__park_check(hub);

    if (rc < 0) {
        return rc;
    }
    if (n > FEW) {
        entries = gev__reallocarray(NULL, n, sizeof(*entries));
        if (entries == NULL) {
            return -ENOMEM;
        }
    }
    rc = park_for_all(hub, w, n, t, entries, deadline);
    if (entries != few) {
        gev__free(entries);
    }
    return rc;
}

static ssize_t wait_for_count(struct gev_hub *hub, gev_waitable *const w[],
                              size_t n, size_t count, double timeout)
{
    struct tally t = {.greenlet = hub->current};
    int64_t deadline;
    int rc = gev__deadline(hub, timeout, &deadline);

    if (rc == 0) {
        rc = bind_all(hub, w, n);
    }
    if (rc < 0) {
        return rc;
    }
    size_t there = look(w, n, &t);
    t.wanted = count == 0 || count > there ? there : count;
    if (t.wanted > there - count_self(hub, w, n)) {
        return -EDEADLK; /* it would wait for its own end */
    }
    if (t.ready < t.wanted && deadline != 0) {
        rc = wait_for_tally(hub, w, n, &t, deadline);
    }
    if (rc < 0 && !gev__is_own_timeout(hub, rc, deadline)) {
        return rc;
    }
    return (ssize_t)t.ready;
}

/* --- one after the other -------------------------------------------------- */

struct item {
    struct gev__observer observer; /* first */
    struct gev_iwait *it;
    struct item *next; /* on the list of those that are ready */
    gev_waitable *object;
};

struct gev_iwait {
    struct gev_hub *hub;
    struct gev__waitq waiter; /* the one in gev_iwait_next(), until it runs */
    int64_t deadline;
    struct item *ready; /* in the order in which they became so */
    struct item *last_ready;
    size_t left; /* items that were not yet handed out */
    size_t n;
    struct item items[];
};

static void add_ready(struct gev_iwait *it, struct item *item)
{
    item->next = NULL;
    if (it->ready == NULL) {
        it->ready = item;
    } else {
        it->last_ready->next = item;
    }
    it->last_ready = item;
}

static void note_ready(struct gev__observer *o)
{
    struct item *item = (struct item *)(void *)o;

    add_ready(item->it, item);
    if (!gev__waitq_is_empty(&item->it->waiter)) {
        gev__wake(item->it->waiter.first->greenlet, 0);
    }
}

static void watch(struct gev_iwait *it, gev_waitable *w)
{
    struct item *item = &it->items[it->n++];

    item->it = it;
    item->object = w;
    it->left++;
    /* Neither a link nor on a queue, for gev__observer_leave(). */
    item->observer = (struct gev__observer){.is_link = false};
    if (gev__waitable_is_ready(w)) {
        add_ready(it, item);
    } else {
        gev__waitable_observe(w, &item->observer, NULL, note_ready);
    }
}

static int make_iwait(struct gev_hub *hub, gev_waitable *const w[], size_t n,
                      double timeout, struct gev_iwait **ret_it)
{
    int64_t deadline;
    int rc = gev__deadline(hub, timeout, &deadline);

    if (rc == 0) {
        rc = bind_all(hub, w, n);
    }
    if (rc < 0) {
        return rc;
    }
    if (n > (SIZE_MAX - sizeof(struct gev_iwait)) / sizeof(struct item)) {
        return -ENOMEM;
    }
    struct gev_iwait *it = gev__malloc(sizeof(*it) + n * sizeof(struct item));
    if (it == NULL) {
        return -ENOMEM;
    }
    *it = (struct gev_iwait){.hub = hub, .deadline = deadline};
    for (size_t i = 0; i < n; i++) {
        if (w[i] != NULL) {
            watch(it, w[i]);
        }
    }
    *ret_it = it;
    return 0;
}

/* 1: *ret_w is set; 0: there is none left; or -errno. */
static int take_next(struct gev_hub *hub, struct gev_iwait *it,
                     gev_waitable **ret_w)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_SEVERAL,
                                       .number = (long)it->left};

    if (!gev__waitq_is_empty(&it->waiter)) {
        return -EBUSY;
    }
    if (it->left == 0) {
        return 0;
    }
    if (it->ready == NULL) {
        struct gev__wait wait;
        int rc = gev__waitq_park(hub, &it->waiter, &wait, what, it->deadline);
        if (rc < 0) {
            return rc;
        }
    }
    struct item *item = it->ready;
    it->ready = item->next; /* NOLINT(clang-analyzer-core.NullDereference) */
    it->left--;
    *ret_w = item->object;
    return 1;
}

/* It is freed under the one who waits in it. */
static void turn_away(struct gev_iwait *it)
{
    struct gev__wait *wait = it->waiter.first;

    if (wait == NULL) {
        return;
    }
    gev__waitq_remove(wait);
    if (!gev__wake(wait->greenlet, -EPIPE) && wait->greenlet->wake_rc == 0) {
        wait->greenlet->wake_rc = -EPIPE; /* woken, but it has not run */
    }
}

/* --- public --------------------------------------------------------------- */

ssize_t gev_wait(gev_waitable *const w[], size_t n, size_t count,
                 double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1
                       : gev__ret(wait_for_count(hub, w, n, count, timeout));
}

bool gev_waitable_ready(const gev_waitable *w)
{
    return w != NULL && w->ops != NULL && gev__waitable_is_ready(w);
}

gev_iwait *gev_iwait_new(gev_waitable *const w[], size_t n, double timeout)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev_iwait *it;

    if (hub == NULL) {
        return NULL;
    }
    int rc = make_iwait(hub, w, n, timeout, &it);
    return rc < 0 ? gev__ret_null(rc) : it;
}

gev_waitable *gev_iwait_next(gev_iwait *it)
{
    struct gev_hub *hub = gev__hub_get();
    gev_waitable *w;

    if (hub == NULL) {
        return NULL;
    }
    int rc = it == NULL       ? -EINVAL
             : it->hub != hub ? -EPERM
                              : take_next(hub, it, &w);
    return rc <= 0 ? gev__ret_null(rc) : w;
}

void gev_iwait_free(gev_iwait *it)
{
    if (it == NULL) {
        return;
    }
    turn_away(it);
    for (size_t i = 0; i < it->n; i++) {
        gev__observer_leave(&it->items[i].observer);
    }
    gev__free(it);
}
