/* SPDX-License-Identifier: MIT */
#ifndef GEV_BASE_ALLOC_H
#define GEV_BASE_ALLOC_H

/* Every allocation of the library, libev's and c-ares's included, goes
 * through here: one hook for the user (gev_set_allocator), one fault point
 * for the tests. */

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>

typedef void *gev__realloc_fn(void *p, size_t n);

/* NULL: back to libc. Only before the first hub; the caller checks that. */
void gev__alloc_set(gev__realloc_fn *fn);
bool gev__alloc_is_libc(void);

/* n == 0 frees and returns NULL. NULL: out of memory, p is untouched. */
void *gev__realloc(void *p, size_t n);
void *gev__malloc(size_t n);
/* count * size, checked for overflow: NULL. */
void *gev__calloc(size_t count, size_t size);
void *gev__reallocarray(void *p, size_t count, size_t size);
/* The same zeroed and aligned to a power of two; for gev__free_aligned() only.
 */
void *gev__calloc_aligned(size_t count, size_t size, size_t alignment);
void gev__free_aligned(void *p);
char *gev__strdup(const char *s);
void gev__free(void *p);

/* Memory that libc's free() or freeaddrinfo() may free: libc's own malloc, but
 * with the fault point. */
void *gev__libc_calloc(size_t count, size_t size);

#ifdef GEV_FAULT_INJECTION
/* Blocks alive that gev__realloc gave out (tests: nothing leaks). */
long gev__alloc_live(void);
#endif

#endif
