/* SPDX-License-Identifier: MIT */
#ifndef GEV_SYNC_STORE_H
#define GEV_SYNC_STORE_H

/* What a queue keeps its items in: an array used as a ring, a stack or a heap.
 * It doubles when it is full and halves when it is nearly empty and was big. */

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gev__store_kind { GEV__FIFO, GEV__LIFO, GEV__PRIORITY };

/* In a heap: equals in the order of their numbers. */
struct gev__ranked {
    void *item;
    uint64_t number;
};

struct gev__store {
    enum gev__store_kind kind;
    size_t count;
    size_t capacity; /* a power of two, or 0 */
    size_t head;     /* FIFO: where the oldest is */
    union {
        void **items;             /* FIFO, LIFO */
        struct gev__ranked *heap; /* PRIORITY */
        void *memory;
    };
    int (*compare)(const void *a, const void *b);
    uint64_t next_number;
};

/* Makes room for so many in all. -ENOMEM, and nothing has changed. */
int gev__store_grow(struct gev__store *s, size_t capacity);

/* Gives back half of the room, if there is memory to do so. */
void gev__store_shrink(struct gev__store *s);

void gev__store_fini(struct gev__store *s);

void gev__store_heap_push(struct gev__store *s, void *item);
void *gev__store_heap_pop(struct gev__store *s);

/* The least capacity of those that allocate, and the greatest that never gives
 * anything back. */
#define GEV__STORE_LEAST ((size_t)8)
#define GEV__STORE_KEPT ((size_t)256)

/* Makes sure that the next push has room. */
GEV__INLINE int gev__store_reserve(struct gev__store *s)
{
    return gev__likely(s->count < s->capacity)
               ? 0
               : gev__store_grow(s, s->count + 1);
}

/* There must be room. */
GEV__INLINE void gev__store_push(struct gev__store *s, void *item)
{
    assert(s->count < s->capacity);
    if (gev__unlikely(s->kind == GEV__PRIORITY)) {
        gev__store_heap_push(s, item);
        return;
    }
    s->items[(s->head + s->count) & (s->capacity - 1)] = item;
    s->count++;
}

/* The next item; there must be one. */
GEV__INLINE void *gev__store_first(const struct gev__store *s)
{
    assert(s->count > 0);
    if (s->kind == GEV__FIFO) {
        return s->items[s->head];
    }
    return s->kind == GEV__LIFO ? s->items[s->count - 1] : s->heap[0].item;
}

GEV__INLINE void *gev__store_pop(struct gev__store *s)
{
    void *item;

    assert(s->count > 0);
    if (gev__likely(s->kind == GEV__FIFO)) {
        item = s->items[s->head];
        s->head = (s->head + 1) & (s->capacity - 1);
        s->count--;
    } else if (s->kind == GEV__LIFO) {
        item = s->items[--s->count];
    } else {
        item = gev__store_heap_pop(s);
    }
    if (gev__unlikely(s->capacity > GEV__STORE_KEPT &&
                      s->count <= s->capacity / 4)) {
        gev__store_shrink(s);
    }
    return item;
}

#endif
