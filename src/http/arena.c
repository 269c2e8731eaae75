/* SPDX-License-Identifier: MIT */
#include "http/arena.h"

#include <stdint.h>
#include <stdlib.h>

#define BLOCK ((size_t)4 * 1024 - sizeof(struct gev__http_block))
#define ALIGN (sizeof(void *))

void *gev__http_alloc(struct gev__http_arena *a, size_t n)
{
    struct gev__http_block *b = a->newest;

    n = (n + ALIGN - 1) & ~(ALIGN - 1);
    if (b == NULL || b->size - b->used < n) {
        size_t size = n < BLOCK ? BLOCK : n;
        b = malloc(sizeof(*b) + size);
        if (b == NULL) {
            return NULL;
        }
        b->size = size;
        b->used = 0;
        b->next = a->newest;
        a->newest = b;
    }
    void *p = b->data + b->used;
    b->used += n;
    return p;
}

void gev__http_arena_reset(struct gev__http_arena *a)
{
    struct gev__http_block *b = a->newest;

    while (b != NULL && b->next != NULL) {
        a->newest = b->next;
        free(b);
        b = a->newest;
    }
    if (b != NULL && b->size > BLOCK) {
        gev__http_arena_fini(a);
    } else if (b != NULL) {
        b->used = 0;
    }
}

void gev__http_arena_fini(struct gev__http_arena *a)
{
    while (a->newest != NULL) {
        struct gev__http_block *b = a->newest;
        a->newest = b->next;
        free(b);
    }
}
