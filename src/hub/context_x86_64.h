/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_CONTEXT_X86_64_H
#define GEV_HUB_CONTEXT_X86_64_H

#include "base/compiler.h"

#include <stddef.h>
#include <stdint.h>

#define GEV__CONTEXT_KIND "x86-64 inline assembly"

struct gev__context {
    void *pc;
    void *sp;
    void *fp;
    long rc; /* what gev__jump returns when it is switched back to */
};

/* In entry_x86_64.S: calls gev__greenlet_main, with an unwinder's end mark. */
void gev__entry(void) __attribute__((visibility("hidden")));

static inline void gev__context_make(struct gev__context *c, void *low,
                                     void *top)
{
    (void)low;
    c->pc = (void *)(uintptr_t)gev__entry;
    c->sp = (void *)((uintptr_t)top & ~(uintptr_t)15);
    c->fp = NULL;
}

#ifdef __AVX512F__
#define GEV__CLOBBER_AVX512                                                    \
    , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",  \
        "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30",         \
        "xmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define GEV__CLOBBER_AVX512
#endif

/* Nothing is pushed: a leaf's red zone stays whole. rbp cannot be named as a
 * clobber where it is the frame pointer, so it is saved by hand. The landing
 * pad serves indirect branch tracking. gev__entry finds `to` in rsi. */
GEV__INLINE void gev__context_switch(struct gev__context *from,
                                     struct gev__context *to)
{
    __asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
                     "movq %%rax, 0(%%rdi)\n\t"
                     "movq %%rsp, 8(%%rdi)\n\t"
                     "movq %%rbp, 16(%%rdi)\n\t"
                     "movq 16(%%rsi), %%rbp\n\t"
                     "movq 8(%%rsi), %%rsp\n\t"
                     "jmp *0(%%rsi)\n\t"
                     ".p2align 3\n"
                     "1:\n\t"
                     "endbr64\n\t"
                     : "+D"(from), "+S"(to)
                     :
                     : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11",
                       "r12", "r13", "r14", "r15", "cc", "memory", "st",
                       "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)",
                       "st(7)", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
                       "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                       "xmm12", "xmm13", "xmm14", "xmm15" GEV__CLOBBER_AVX512);
}

/* The same as a function that is tail-called: returns from->rc to the caller's
 * caller, by a jump. After a switch a `ret` is always mispredicted, for the
 * processor expects the return address of the other side. In entry_x86_64.S. */
int gev__jump(struct gev__context *from, struct gev__context *to)
    __attribute__((visibility("hidden")));

/* MXCSR and the x87 control word are per greenlet: rounding mode, masks,
 * flush-to-zero, precision. STMXCSR is the dear one; whatever waits for what it
 * stored (a comparison that would save the loads) costs more than the loads.
 * docs/design/switching.md has what was tried. */
struct gev__fp_control {
    uint32_t mxcsr;
    uint16_t x87;
};

GEV__INLINE void gev__fp_save(struct gev__fp_control *c)
{
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(c->mxcsr), "=m"(c->x87));
}

GEV__INLINE void gev__fp_load(const struct gev__fp_control *c)
{
    __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(c->mxcsr), "m"(c->x87));
}

GEV__INLINE void gev__fp_switch(struct gev__fp_control *from,
                                const struct gev__fp_control *to)
{
    gev__fp_save(from);
    gev__fp_load(to);
}

#endif
