/* SPDX-License-Identifier: MIT */
#ifndef GEV_BASE_COMPILER_H
#define GEV_BASE_COMPILER_H

/* Small helpers over the compiler. Knows nothing of greenlets. */

#include <assert.h>
#include <stddef.h>

#define gev__likely(x) __builtin_expect(!!(x), 1)
#define gev__unlikely(x) __builtin_expect(!!(x), 0)
#define GEV__NOINLINE __attribute__((noinline))
#define GEV__INLINE static inline __attribute__((always_inline))
#define GEV__COLD __attribute__((cold, noinline))

#define GEV__LINE 64 /* bytes of a cache line, or a multiple */

#define gev__container_of(ptr, type, member)                                   \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define gev__array_len(a) (sizeof(a) / sizeof((a)[0]))

/* For corrupted scheduler state: going on would be worse than stopping, so
 * it stays in release builds. Everything else is assert(). */
#define gev__check(cond)                                                       \
    do {                                                                       \
        if (gev__unlikely(!(cond))) {                                          \
            gev__check_failed(#cond, __FILE__, __LINE__);                      \
        }                                                                      \
    } while (0)

_Noreturn void gev__check_failed(const char *cond, const char *file, int line);

#endif
