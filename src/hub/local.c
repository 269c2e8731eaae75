/* SPDX-License-Identifier: MIT */
#include "hub/local.h"

#include "base/alloc.h"
#include "base/error.h"
#include "hub/defer.h"
#include "hub/hub.h"

#include <stdatomic.h>

/* --- keys ----------------------------------------------------------------- */

/* All keys of the process. Lock-free, so that a fork at any moment leaves the
 * table usable, and destructors can be looked up while other threads make keys.
 * The pages nobody used cost nothing. */
#define KEYS 4096u

/* A key is a number and the generation of its entry, which is odd while the key
 * is in use. So it is never 0. */
struct entry {
    _Atomic uint32_t generation;
    _Atomic(void (*)(void *)) destroy;
};

static struct entry entries[KEYS];

static gev_local key_of(uint32_t number, uint32_t generation)
{
    return (uint64_t)generation << 32 | number;
}
static uint32_t number_of(gev_local key)
{
    return (uint32_t)key;
}
static uint32_t generation_of(gev_local key)
{
    return (uint32_t)(key >> 32);
}

/* The entry of a key in use, or NULL. */
static struct entry *find_entry(gev_local key)
{
    if (number_of(key) >= KEYS || generation_of(key) % 2 == 0) {
        return NULL;
    }
    struct entry *e = &entries[number_of(key)];
    return atomic_load(&e->generation) == generation_of(key) ? e : NULL;
}

static int create_key(gev_local *ret_key, void (*destroy)(void *))
{
    for (uint32_t number = 0; number < KEYS; number++) {
        struct entry *e = &entries[number];
        uint32_t generation =
            atomic_load_explicit(&e->generation, memory_order_relaxed);
        if (generation % 2 == 0 &&
            atomic_compare_exchange_strong(&e->generation, &generation,
                                           generation + 1)) {
            /* Nobody knows the key yet. */
            atomic_store(&e->destroy, destroy);
            *ret_key = key_of(number, generation + 1);
            return 0;
        }
    }
    return -EAGAIN;
}

static int delete_key(gev_local key)
{
    struct entry *e = find_entry(key);
    uint32_t generation = generation_of(key);

    return e != NULL && atomic_compare_exchange_strong(
                            &e->generation, &generation, generation + 1)
               ? 0
               : -EINVAL;
}

/* The destructor of a key in use, or NULL. Another thread may delete the key
 * and make the next one of that number meanwhile: whoever read the new one's
 * destructor also sees its generation. */
static void (*destructor_of(gev_local key))(void *)
{
    struct entry *e = find_entry(key);

    if (e == NULL) {
        return NULL;
    }
    void (*destroy)(void *) = atomic_load(&e->destroy);
    return find_entry(key) == e ? destroy : NULL;
}

/* --- values --------------------------------------------------------------- */

struct slot {
    gev_local key; /* 0: free, and the end of a search */
    void *value;
};

struct gev__locals {
    uint32_t mask; /* slots - 1; a power of two, at least one of them free */
    uint32_t used; /* slots that are not free */
    bool busy; /* a round goes through it, and frees it if it was replaced */
    struct slot slots[];
};

#define SLOTS_MIN 4u

/* As pthreads have it: PTHREAD_DESTRUCTOR_ITERATIONS. */
#define DESTROY_ROUNDS 4

/* The slot of a key, or the free one where it would be. */
GEV__INLINE struct slot *find_slot(struct gev__locals *t, gev_local key)
{
    uint32_t i = number_of(key);

    for (;; i++) {
        struct slot *s = &t->slots[i & t->mask];
        if (gev__likely(s->key == key) || s->key == 0) {
            return s;
        }
    }
}

static struct gev__locals *new_table(uint32_t slots)
{
    struct gev__locals *t =
        gev__calloc(1, sizeof(*t) + slots * sizeof(struct slot));

    if (t != NULL) {
        t->mask = slots - 1;
    }
    return t;
}

/* Whether a slot is worth keeping. */
static bool is_live(const struct slot *s)
{
    return s->key != 0 && s->value != NULL && find_entry(s->key) != NULL;
}

/* Room for one more: a table without the values of deleted keys, and twice as
 * large as what is left needs. */
static int make_room(struct gev_greenlet *g)
{
    struct gev__locals *old = g->locals;
    uint32_t slots = SLOTS_MIN;
    uint32_t live = 0;

    if (old != NULL && old->used + 1 <= old->mask - old->mask / 4) {
        return 0;
    }
    for (uint32_t i = 0; old != NULL && i <= old->mask; i++) {
        live += is_live(&old->slots[i]);
    }
    while (slots / 2 < live + 1) {
        slots *= 2;
    }
    struct gev__locals *t = new_table(slots);
    if (t == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; old != NULL && i <= old->mask; i++) {
        if (is_live(&old->slots[i])) {
            *find_slot(t, old->slots[i].key) = old->slots[i];
            t->used++;
        }
    }
    if (old != NULL && !old->busy) {
        gev__free(old);
    }
    g->locals = t;
    return 0;
}

static int set_value(struct gev_greenlet *g, gev_local key, void *value)
{
    if (find_entry(key) == NULL) {
        return -EINVAL;
    }
    struct slot *s = g->locals == NULL ? NULL : find_slot(g->locals, key);
    if (s != NULL && s->key != 0) {
        s->value = value;
        return 0;
    }
    if (value == NULL) {
        return 0;
    }
    int rc = make_room(g);
    if (rc < 0) {
        return rc;
    }
    s = find_slot(g->locals, key);
    s->key = key;
    s->value = value;
    g->locals->used++;
    return 0;
}

/* One round over the keys there are now; what destructors set under others is
 * for the next. False: there was nothing to destroy. */
static bool destroy_round(struct gev_greenlet *g)
{
    struct gev__locals *t = g->locals;
    bool found = false;

    t->busy = true;
    for (uint32_t i = 0; i <= t->mask; i++) {
        const gev_local key = t->slots[i].key;
        struct slot *s = find_slot(g->locals, key);
        void (*destroy)(void *) = s->value == NULL ? NULL : destructor_of(key);
        if (destroy != NULL) {
            void *value = s->value;
            s->value = NULL;
            destroy(value);
            found = true;
        }
    }
    t->busy = false;
    if (g->locals != t) {
        gev__free(t);
    }
    return found;
}

void gev__locals_end(struct gev_greenlet *g)
{
    bool found = true;

    assert(g == g->hub->current);
    for (int i = 0; i < DESTROY_ROUNDS && found && g->locals != NULL; i++) {
        g->alerts |= GEV__ALERT_NOPARK;
        found = destroy_round(g);
        gev__defers_run(g); /* clears it */
    }
    gev__locals_drop(g);
}

void gev__locals_drop(struct gev_greenlet *g)
{
    gev__free(g->locals);
    g->locals = NULL;
}

size_t gev__locals_count(const struct gev_greenlet *g)
{
    const struct gev__locals *t = g->locals;
    size_t n = 0;

    for (uint32_t i = 0; t != NULL && i <= t->mask; i++) {
        n += is_live(&t->slots[i]);
    }
    return n;
}

/* --- public --------------------------------------------------------------- */

int gev_local_create(gev_local *key, void (*destroy)(void *value))
{
    return (int)gev__ret(key == NULL ? -EINVAL : create_key(key, destroy));
}

int gev_local_delete(gev_local key)
{
    return (int)gev__ret(delete_key(key));
}

void *gev_local_get(gev_local key)
{
    const struct gev_hub *hub = gev__thread_hub;

    if (gev__unlikely(hub == NULL) || hub->current->locals == NULL) {
        return NULL;
    }
    const struct slot *s = find_slot(hub->current->locals, key);
    /* A slot's key is one that was made: its number is in the table. */
    if (s->key == 0 ||
        atomic_load_explicit(&entries[number_of(key)].generation,
                             memory_order_relaxed) != generation_of(key)) {
        return NULL;
    }
    return s->value;
}

int gev_local_set(gev_local key, void *value)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1
                       : (int)gev__ret(set_value(hub->current, key, value));
}

void *gev_context(void)
{
    const struct gev_hub *hub = gev__thread_hub;

    return hub == NULL ? NULL : hub->current->context;
}

int gev_set_context(void *context)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    hub->current->context = context;
    return 0;
}
