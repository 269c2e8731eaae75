/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_SANITIZE_H
#define GEV_HUB_SANITIZE_H

/* What AddressSanitizer, ThreadSanitizer and valgrind must be told about
 * stacks and switches. Empty in a plain build. */

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define GEV__ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GEV__ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define GEV__TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GEV__TSAN 1
#endif
#endif

#ifdef GEV__ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef GEV__TSAN
#include <sanitizer/tsan_interface.h>
#endif
#ifdef GEV_HAVE_VALGRIND
#include <valgrind/valgrind.h>
#endif

#if defined(GEV__ASAN) || defined(GEV__TSAN)
#define GEV__SANITIZES_SWITCHES 1
#endif

struct gev__sanitizer {
#ifdef GEV__ASAN
    void *fake_stack;
#endif
#ifdef GEV__TSAN
    void *fiber;
#endif
#if defined(GEV__ASAN) || defined(GEV_HAVE_VALGRIND)
    const void *low;
    size_t size;
#endif
    unsigned valgrind_id;
};

/* A stack comes into use for the first time (or the thread's own, for main). */
static inline void gev__sanitize_stack(struct gev__sanitizer *s,
                                       const void *low, size_t size)
{
    (void)s;
    (void)low;
    (void)size;
#if defined(GEV__ASAN) || defined(GEV_HAVE_VALGRIND)
    s->low = low;
    s->size = size;
#endif
}

/* A slot's stack comes into use for the first time. */
static inline void gev__sanitize_new_slot(struct gev__sanitizer *s, void *low,
                                          size_t size)
{
    gev__sanitize_stack(s, low, size);
#ifdef GEV__TSAN
    s->fiber = __tsan_create_fiber(0);
#endif
#ifdef GEV_HAVE_VALGRIND
    s->valgrind_id = (unsigned)VALGRIND_STACK_REGISTER(low, (char *)low + size);
#endif
}

/* A slot is unmapped. */
static inline void gev__sanitize_end_slot(struct gev__sanitizer *s)
{
    (void)s;
#ifdef GEV__TSAN
    if (s->fiber != NULL) {
        __tsan_destroy_fiber(s->fiber);
        s->fiber = NULL;
    }
#endif
#ifdef GEV_HAVE_VALGRIND
    VALGRIND_STACK_DEREGISTER(s->valgrind_id);
#endif
}

/* The thread's own stack. */
static inline void gev__sanitize_thread(struct gev__sanitizer *s)
{
    (void)s;
#ifdef GEV__TSAN
    s->fiber = __tsan_get_current_fiber();
#endif
}

/* Whether the page of the control block must outlive the slot's use. */
static inline bool gev__sanitize_keeps_control(void)
{
#if defined(GEV__TSAN) || defined(GEV__ASAN)
    return true;
#elif defined(GEV_HAVE_VALGRIND)
    return RUNNING_ON_VALGRIND != 0;
#else
    return false;
#endif
}

/* A slot is handed out again: what its last user poisoned is void, and so are
 * the calls it never returned from, of which TSan remembers so many only. */
static inline void gev__sanitize_reuse(struct gev__sanitizer *s)
{
    (void)s;
#ifdef GEV__ASAN
    ASAN_UNPOISON_MEMORY_REGION(s->low, s->size);
#endif
#ifdef GEV__TSAN
    __tsan_destroy_fiber(s->fiber);
    s->fiber = __tsan_create_fiber(0);
#endif
}

/* Just before a switch; ends: the leaver never comes back. */
GEV__INLINE void gev__sanitize_leave(struct gev__sanitizer *from,
                                     struct gev__sanitizer *to, bool ends)
{
    (void)from;
    (void)to;
    (void)ends;
#ifdef GEV__ASAN
    __sanitizer_start_switch_fiber(ends ? NULL : &from->fake_stack, to->low,
                                   to->size);
#endif
#ifdef GEV__TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
}

/* Just after a switch, on the stack of self; begins: for the first time. */
GEV__INLINE void gev__sanitize_enter(struct gev__sanitizer *self, bool begins)
{
    (void)self;
    (void)begins;
#ifdef GEV__ASAN
    __sanitizer_finish_switch_fiber(begins ? NULL : self->fake_stack, NULL,
                                    NULL);
#endif
}

#endif
