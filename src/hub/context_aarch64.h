/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_CONTEXT_AARCH64_H
#define GEV_HUB_CONTEXT_AARCH64_H

#include "base/compiler.h"

#include <stddef.h>
#include <stdint.h>

#define GEV__CONTEXT_KIND "aarch64 inline assembly"

struct gev__context {
    void *pc;
    void *sp;
    void *fp;
    long rc; /* what gev__jump returns when it is switched back to */
};

/* In entry_aarch64.S. */
void gev__entry(void) __attribute__((visibility("hidden")));

static inline void gev__context_make(struct gev__context *c, void *low,
                                     void *top)
{
    (void)low;
    c->pc = (void *)(uintptr_t)gev__entry;
    c->sp = (void *)((uintptr_t)top & ~(uintptr_t)15);
    c->fp = NULL;
}

/* x29 (the frame pointer) cannot be named as a clobber and is saved by hand;
 * x18 is a register like others on Linux. `hint 36` is `bti j`: the landing pad
 * of indirect jumps. gev__entry finds `to` in x1. */
GEV__INLINE void gev__context_switch(struct gev__context *from,
                                     struct gev__context *to)
{
    register struct gev__context *x0 __asm__("x0") = from;
    register struct gev__context *x1 __asm__("x1") = to;
    __asm__ volatile(
        "adr x2, 1f\n\t"
        "mov x3, sp\n\t"
        "stp x2, x3, [x0]\n\t"
        "str x29, [x0, #16]\n\t"
        "ldp x16, x3, [x1]\n\t"
        "ldr x29, [x1, #16]\n\t"
        "mov sp, x3\n\t"
        "br x16\n\t"
        ".p2align 3\n"
        "1:\n\t"
        "hint 36\n\t"
        : "+r"(x0), "+r"(x1)
        :
        : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12",
          "x13", "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22",
          "x23", "x24", "x25", "x26", "x27", "x28", "x30", "cc", "memory", "v0",
          "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11",
          "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21",
          "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
}

/* The same as a function that is tail-called: returns from->rc to the caller's
 * caller. In entry_aarch64.S. */
int gev__jump(struct gev__context *from, struct gev__context *to)
    __attribute__((visibility("hidden")));

/* The control register of the floating point unit is per greenlet. */
struct gev__fp_control {
    uint64_t fpcr;
};

GEV__INLINE void gev__fp_save(struct gev__fp_control *c)
{
    __asm__ volatile("mrs %0, fpcr" : "=r"(c->fpcr));
}

GEV__INLINE void gev__fp_switch(struct gev__fp_control *from,
                                const struct gev__fp_control *to)
{
    gev__fp_save(from);
    if (gev__unlikely(from->fpcr != to->fpcr)) {
        __asm__ volatile("msr fpcr, %0" : : "r"(to->fpcr));
    }
}

GEV__INLINE void gev__fp_load(const struct gev__fp_control *c)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(c->fpcr));
}

#endif
