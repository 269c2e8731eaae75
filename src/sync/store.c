/* SPDX-License-Identifier: MIT */
#include "sync/store.h"

#include "base/alloc.h"

#include <errno.h>
#include <string.h>

static size_t entry_size(const struct gev__store *s)
{
    return s->kind == GEV__PRIORITY ? sizeof(struct gev__ranked)
                                    : sizeof(void *);
}

/* Moves all into an array of another capacity, the oldest first. */
static int move(struct gev__store *s, size_t capacity)
{
    const size_t size = entry_size(s);
    char *memory = gev__reallocarray(NULL, capacity, size);

    if (memory == NULL) {
        return -ENOMEM;
    }
    if (s->count > 0) {
        const char *old = s->memory;
        size_t end = s->capacity - s->head; /* entries up to the array's end */
        size_t n = s->count < end ? s->count : end;
        memcpy(memory, old + s->head * size, n * size);
        memcpy(memory + n * size, old, (s->count - n) * size);
    }
    gev__free(s->memory);
    s->memory = memory;
    s->capacity = capacity;
    s->head = 0;
    return 0;
}

int gev__store_grow(struct gev__store *s, size_t capacity)
{
    size_t power = s->capacity == 0 ? GEV__STORE_LEAST : s->capacity;

    while (power < capacity) {
        if (power > SIZE_MAX / 2) {
            return -ENOMEM;
        }
        power *= 2;
    }
    return power == s->capacity ? 0 : move(s, power);
}

void gev__store_shrink(struct gev__store *s)
{
    /* Without memory it stays as big as it is. */
    (void)move(s, s->capacity / 2);
}

void gev__store_fini(struct gev__store *s)
{
    gev__free(s->memory);
    s->memory = NULL;
    s->count = 0;
    s->capacity = 0;
    s->head = 0;
}

/* --- the heap ------------------------------------------------------------- */

static bool is_before(const struct gev__store *s, const struct gev__ranked *a,
                      const struct gev__ranked *b)
{
    int order = s->compare(a->item, b->item);

    return order < 0 || (order == 0 && a->number < b->number);
}

void gev__store_heap_push(struct gev__store *s, void *item)
{
    const struct gev__ranked entry = {item, s->next_number++};
    size_t i = s->count++;

    while (i > 0 && is_before(s, &entry, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = entry;
}

void *gev__store_heap_pop(struct gev__store *s)
{
    void *item = s->heap[0].item;
    const struct gev__ranked last = s->heap[--s->count];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->count) {
            break;
        }
        if (child + 1 < s->count &&
            is_before(s, &s->heap[child + 1], &s->heap[child])) {
            child++;
        }
        if (!is_before(s, &s->heap[child], &last)) {
            break;
        }
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last; /* what is left at the end is not looked at again */
    return item;
}
