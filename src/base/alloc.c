/* SPDX-License-Identifier: MIT */
#include "base/alloc.h"

#include "base/fault.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* NULL: libc's. Atomic because hubs of other threads may be reading it while a
 * setter is about to find out that it comes too late. */
static _Atomic(gev__realloc_fn *) user_realloc;

static gev__realloc_fn *get_user_realloc(void)
{
    return atomic_load_explicit(&user_realloc, memory_order_relaxed);
}

void gev__alloc_set(gev__realloc_fn *fn)
{
    atomic_store_explicit(&user_realloc, fn, memory_order_relaxed);
}

bool gev__alloc_is_libc(void)
{
    return get_user_realloc() == NULL;
}

#ifdef GEV_FAULT_INJECTION
static atomic_long live_blocks;

static void count_block(long change)
{
    atomic_fetch_add_explicit(&live_blocks, change, memory_order_relaxed);
}

long gev__alloc_live(void)
{
    return atomic_load_explicit(&live_blocks, memory_order_relaxed);
}
#else
static inline void count_block(long change)
{
    (void)change;
}
#endif

void *gev__realloc(void *p, size_t n)
{
    gev__realloc_fn *fn = get_user_realloc();
    if (n == 0) {
        gev__free(p);
        return NULL;
    }
    if (gev__fault_hit(GEV__FAULT_ALLOC) != 0) {
        return NULL;
    }
    void *q = fn != NULL ? fn(p, n) : realloc(p, n);
    if (p == NULL && q != NULL) {
        count_block(1);
    }
    return q;
}

void *gev__malloc(size_t n)
{
    return gev__realloc(NULL, n);
}

void *gev__calloc(size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n) || n == 0) {
        return NULL;
    }
    if (get_user_realloc() != NULL) {
        void *p = gev__malloc(n);
        return p != NULL ? memset(p, 0, n) : NULL;
    }
    /* libc's own knows which memory is zero already. */
    void *p = gev__libc_calloc(1, n);
    if (p != NULL) {
        count_block(1);
    }
    return p;
}

void *gev__reallocarray(void *p, size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n)) {
        return NULL;
    }
    return gev__realloc(p, n);
}

/* What was allocated is noted just before the block. */
void *gev__calloc_aligned(size_t count, size_t size, size_t alignment)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n) ||
        __builtin_add_overflow(n, alignment + sizeof(void *), &n)) {
        return NULL;
    }
    char *memory = gev__calloc(1, n);
    if (memory == NULL) {
        return NULL;
    }
    uintptr_t at = (uintptr_t)memory + sizeof(void *) + alignment - 1;
    void **block = (void *)(at & ~(alignment - 1));
    block[-1] = memory;
    return block;
}

void gev__free_aligned(void *p)
{
    if (p != NULL) {
        gev__free(((void **)p)[-1]);
    }
}

char *gev__strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = gev__malloc(n);
    return copy != NULL ? memcpy(copy, s, n) : NULL;
}

void gev__free(void *p)
{
    if (p == NULL) {
        return;
    }
    count_block(-1);
    gev__realloc_fn *fn = get_user_realloc();
    if (fn != NULL) {
        fn(p, 0);
    } else {
        free(p);
    }
}

void *gev__libc_calloc(size_t count, size_t size)
{
    if (gev__fault_hit(GEV__FAULT_ALLOC) != 0) {
        return NULL;
    }
    return calloc(count, size);
}
