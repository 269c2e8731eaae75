/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_CONTEXT_H
#define GEV_HUB_CONTEXT_H

/* The machine's part of a switch: swap stacks and go on where the other side
 * stopped. One header an architecture; ucontext(3) for the rest.
 *
 *   gev__context_switch(from, to)   returns when somebody switches to from
 *   gev__context_make(c, low, top)  the first switch to c calls
 *                                   gev__greenlet_main(c), on a stack that
 *                                   begins below top
 *
 * Inline assembly that clobbers every register beats an out-of-line routine
 * that saves the callee-saved ones: the compiler keeps in memory only what it
 * needs afterwards, and the indirect jump predicts per call site, where a
 * shared `ret` mispredicts whenever the two sides parked at different places
 * (1.0 ns, 2.7 ns and 7.7 ns in docs/design/switching.md). */

#if defined(GEV_SWITCH_UCONTEXT)
#include "hub/context_ucontext.h"
#elif defined(__x86_64__)
#include "hub/context_x86_64.h"
#elif defined(__aarch64__)
#include "hub/context_aarch64.h"
#else
#error "configure with -Dswitch=ucontext"
#endif

/* For who arrives. Only swapcontext() leaves something to do: it restores the
 * control words as well, but to what gev__fp_switch() had made of them. */
GEV__INLINE void gev__fp_arrive(const struct gev__fp_control *c)
{
#if defined(GEV_SWITCH_UCONTEXT)
    gev__fp_load(c);
#else
    (void)c;
#endif
}

/* Where a new greenlet begins. Never returns. */
_Noreturn void gev__greenlet_main(struct gev__context *c)
    __attribute__((visibility("hidden")));

#endif
