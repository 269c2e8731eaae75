/* SPDX-License-Identifier: MIT */

/* Empty unless configured with -Dswitch=ucontext. */
#if defined(GEV_SWITCH_UCONTEXT)

#include "hub/context.h"

/* makecontext passes ints: a pointer goes over in two halves. */
static void enter(unsigned high, unsigned low)
{
    uintptr_t p = ((uintptr_t)high << 16 << 16) | (uintptr_t)low;
    gev__greenlet_main((struct gev__context *)p);
}

void gev__context_make(struct gev__context *c, void *low, void *top)
{
    uintptr_t p = (uintptr_t)c;
    int rc = getcontext(&c->uc);

    gev__check(rc == 0);
    c->uc.uc_stack.ss_sp = low;
    c->uc.uc_stack.ss_size = (size_t)((char *)top - (char *)low);
    c->uc.uc_link = NULL;
    makecontext(&c->uc, (void (*)(void))(uintptr_t)enter, 2,
                (unsigned)(p >> 16 >> 16), (unsigned)p);
}

#else
typedef int gev__context_ucontext_is_empty;
#endif
