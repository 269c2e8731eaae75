/* SPDX-License-Identifier: MIT */
#include "http/arena.h"

#include <stdint.h>
#include <stdlib.h>

#define BLOCK ((size_t)4 * 1024 - sizeof(struct gev__http_block))
#define ALIGN (sizeof(void *))
#define MAX_SPARES 64

void *gev__http_spares_get(struct gev__http_spares *s, size_t size)
{
    struct gev__http_spare *p = s->first;

    if (p == NULL) {
        return malloc(size);
    }
    s->first = p->next;
    s->n--;
    return p;
}

void gev__http_spares_put(struct gev__http_spares *s, void *p)
{
    struct gev__http_spare *spare = p;

    if (p == NULL || s->n == MAX_SPARES) {
        free(p);
        return;
    }
    spare->next = s->first;
    s->first = spare;
    s->n++;
}

void gev__http_spares_fini(struct gev__http_spares *s)
{
    while (s->first != NULL) {
        struct gev__http_spare *p = s->first;
        s->first = p->next;
        free(p);
    }
    s->n = 0;
}

void *gev__http_alloc(struct gev__http_arena *a, size_t n)
{
    struct gev__http_block *b = a->newest;

    n = (n + ALIGN - 1) & ~(ALIGN - 1);
    if (b == NULL || b->size - b->used < n) {
        size_t size = n < BLOCK ? BLOCK : n;
        b = size == BLOCK ? gev__http_spares_get(a->spares, sizeof(*b) + BLOCK)
                          : malloc(sizeof(*b) + size);
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
    while (a->newest != NULL) {
        struct gev__http_block *b = a->newest;
        a->newest = b->next;
        if (b->size == BLOCK) {
            gev__http_spares_put(a->spares, b);
        } else {
            free(b);
        }
    }
}
