/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_STACK_H
#define GEV_HUB_STACK_H

/* Stacks. Large private mappings ("chunks") are cut into slots of a power of
 * two, each a stack with a guard below it:
 *
 *   low                                                            high
 *   | guard 64 KiB | ............ stack grows down <- |greenlet| colour |
 *   ^ slot                                             ^ control block
 *
 * The control block lives in the stack's top lines, so that a switch touches
 * one place; colour shifts it by (slot mod 16) cache lines, or the hot lines
 * of all stacks would share a few cache sets.
 *
 * Guards are MADV_GUARD_INSTALL markers where the kernel has them (Linux 6.13:
 * no mappings are used up), else PROT_NONE pages, whose number is limited well
 * below vm.max_map_count, beyond which unrelated mmaps would fail.
 *
 * Free slots are reused last in, first out. A slot that nobody used for a
 * second gives its memory back at the hub's next turn; while more than a
 * watermark of them wait for that, an idle hub wakes for it. Steady work,
 * whatever its size, maps and advises nothing. */

#include "base/compiler.h"
#include "hub/greenlet.h"
#include "hub/sanitize.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef GEV__ASAN
#define GEV__STACK_FACTOR ((size_t)2) /* its frames are larger */
#else
#define GEV__STACK_FACTOR ((size_t)1)
#endif
#define GEV__STACK_DEFAULT ((size_t)64 * 1024 * GEV__STACK_FACTOR)
#define GEV__STACK_GUARD ((size_t)64 * 1024)
#define GEV__STACK_CLASSES 20
#define GEV__SLOT_SHIFT 17 /* the smallest slot: 128 KiB, half of it guard */
#define GEV__STACK_WATERMARK 1024u /* free slots that may keep their memory */
#ifdef GEV__ASAN
#define GEV__STACK_CLASS_DEFAULT 1u
#else
#define GEV__STACK_CLASS_DEFAULT 0u
#endif

struct gev__chunk {
    struct gev__chunk *next;
    char *base;
    uint32_t slots;            /* how many it has */
    uint32_t used;             /* how many were ever handed out: [0, used) */
    uint32_t protected_guards; /* how many of those have PROT_NONE guards */
};

/* Stacks of one size. */
struct gev__stack_class {
    size_t slot;                /* bytes, guard included; a power of two */
    struct gev__chunk *chunks;  /* youngest first; only it has unused slots */
    struct gev_greenlet **free; /* a stack of control blocks; capacity: all
                                   slots there are */
    uint32_t n_free;
    uint32_t n_trimmed; /* free[0 .. n_trimmed) have given memory back */
    uint32_t low_water; /* the least n_free since the last trim pass */
    uint32_t n_slots;
};

struct gev__stacks {
    struct gev__stack_class classes[GEV__STACK_CLASSES];
    int64_t last_trim; /* ns */
};

/* A free slot's control block for a stack of at least size usable
 * bytes, its stack fields set. -ENOMEM. */
int gev__stack_get(struct gev__stacks *s, size_t size,
                   struct gev_greenlet **ret_greenlet);
/* A used slot of that class, or NULL. */
GEV__INLINE struct gev_greenlet *gev__stack_take(struct gev__stack_class *c)
{
    if (gev__unlikely(c->n_free == 0)) {
        return NULL;
    }
    struct gev_greenlet *g = c->free[--c->n_free];
    if (gev__unlikely(c->n_free < c->low_water)) {
        c->low_water = c->n_free;
        if (c->n_free < c->n_trimmed) {
            c->n_trimmed = c->n_free;
        }
    }
    gev__sanitize_reuse(&g->sanitizer);
    return g;
}

/* A used slot of the default size, or NULL. */
GEV__INLINE struct gev_greenlet *gev__stack_get_quickly(struct gev__stacks *s)
{
    struct gev_greenlet *g =
        gev__stack_take(&s->classes[GEV__STACK_CLASS_DEFAULT]);

    if (gev__likely(g != NULL)) {
        g->stack_class = GEV__STACK_CLASS_DEFAULT;
    }
    return g;
}

/* Gives a slot back. May be called while still running on it, if nothing is
 * taken before the switch away. */
GEV__INLINE void gev__stack_put(struct gev__stacks *s, struct gev_greenlet *g)
{
    struct gev__stack_class *c = &s->classes[g->stack_class];

    g->state = GEV__FREE;
    c->free[c->n_free++] = g;
}

/* Gives memory back of slots nobody used since the last pass, at most once a
 * second. Returns when it wants to be called again even if nothing happens. */
int64_t gev__stack_trim(struct gev__stacks *s, int64_t now);

/* The usable stack of a control block: [low, g). */
GEV__INLINE char *gev__stack_low(const struct gev_greenlet *g)
{
    uintptr_t slot = (uintptr_t)1 << (GEV__SLOT_SHIFT + g->stack_class);

    return (char *)((uintptr_t)g & ~(slot - 1)) + GEV__STACK_GUARD;
}

/* Calls fn for every control block in use; fn must not get or put. */
void gev__stack_foreach(struct gev__stacks *s,
                        void (*fn)(struct gev_greenlet *g, void *arg),
                        void *arg);

/* Unmaps everything. */
void gev__stack_fini(struct gev__stacks *s);

/* "madvise" or "mprotect"; tests: forces the latter for chunks to come. */
const char *gev__stack_guard_kind(void);
void gev__stack_force_mprotect(bool on);

/* Bytes of the stack that were touched, rounded up to pages, or -errno. */
long gev__stack_touched(const struct gev_greenlet *g);

#endif
