/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_CONTEXT_UCONTEXT_H
#define GEV_HUB_CONTEXT_UCONTEXT_H

/* For architectures without a switch of their own: right but slow, for
 * swapcontext saves the signal mask by a system call. */

#include "base/compiler.h"

#include <fenv.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#define GEV__CONTEXT_KIND "ucontext"

struct gev__context {
    ucontext_t uc;
    long rc; /* see gev__switch_and_return */
};

/* In context_ucontext.c. */
void gev__context_make(struct gev__context *c, void *low, void *top)
    __attribute__((visibility("hidden")));

GEV__INLINE void gev__context_switch(struct gev__context *from,
                                     struct gev__context *to)
{
    int rc = swapcontext(&from->uc, &to->uc);
    gev__check(rc == 0);
}

/* The rounding mode is all of the control words that C can name. */
struct gev__fp_control {
    int round;
};

GEV__INLINE void gev__fp_save(struct gev__fp_control *c)
{
    c->round = fegetround();
}

GEV__INLINE void gev__fp_switch(struct gev__fp_control *from,
                                const struct gev__fp_control *to)
{
    gev__fp_save(from);
    if (gev__unlikely(from->round != to->round)) {
        fesetround(to->round);
    }
}

GEV__INLINE void gev__fp_load(const struct gev__fp_control *c)
{
    fesetround(c->round);
}

#endif
