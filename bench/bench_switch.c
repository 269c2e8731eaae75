/* SPDX-License-Identifier: MIT */

/* What an explicit switch costs: main and a greenlet hand control to each
 * other, beside the least that x86-64 needs for it. A round trip is two. */
#include <gev.h>

#include "bench.h"
#include "floor.h"

#include <stdlib.h>

static const char usage[] =
    "usage: bench_switch [-r rounds] [-q]\n"
    "Measures gev_switch() between main and one greenlet.\n"
    "  switch.jmp     an assembly routine that saves the callee-saved "
    "registers\n"
    "                 and jumps back: the limit for a function that is called\n"
    "  switch.inline  inline assembly that saves three words: the limit\n"
    "  switch.gev     gev_switch(), values and error codes included\n"
    "  switch.values  the same with a value each way\n";

#define TRIPS ((size_t)2000000)

static double per_switch(double start, size_t trips)
{
    return (bench_cpu() - start) * 1e9 / (double)(2 * trips);
}

/* --- gev ------------------------------------------------------------------ */

static gev_greenlet *home;

static void *switch_back(void *arg)
{
    (void)arg;
    while (gev_switch(home, NULL, NULL) == 0) {
    }
    return NULL;
}

static double run_gev(void *arg)
{
    const size_t trips = bench_count(TRIPS);
    gev_greenlet *other = arg;
    int rc = 0;

    double start = bench_cpu();
    for (size_t i = 0; i < trips; i++) {
        rc |= gev_switch(other, NULL, NULL);
    }
    double result = per_switch(start, trips);
    bench_check(rc == 0, "gev_switch");
    return result;
}

static void *add_one(void *value)
{
    for (;;) {
        uintptr_t n = (uintptr_t)value + 1;
        if (gev_switch(home, (void *)n, &value) < 0) {
            return NULL;
        }
    }
}

static double run_values(void *arg)
{
    const size_t trips = bench_count(TRIPS);
    gev_greenlet *other = arg;
    void *value = NULL;
    int rc = 0;

    double start = bench_cpu();
    for (size_t i = 0; i < trips; i++) {
        rc |= gev_switch(other, value, &value);
    }
    double result = per_switch(start, trips);
    bench_check(rc == 0 && (uintptr_t)value == trips, "the values");
    return result;
}

/* --- limits --------------------------------------------------------------- */

#if HAVE_FLOOR

/* What setcontext-like libraries do, but leaving by a jump: `ret` would
 * mispredict whenever the two sides stopped at different calls. */
void jmp_switch(void **save_sp, void *sp);
void jmp_entry(void);
__asm__(".text\n\t.p2align 4\n\t.type jmp_switch, @function\n"
        "jmp_switch:\n\tendbr64\n\t"
        "pushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\tpushq %r13\n\t"
        "pushq %r14\n\tpushq %r15\n\t"
        "movq %rsp, (%rdi)\n\tmovq %rsi, %rsp\n\t"
        "popq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\t"
        "popq %rbx\n\tpopq %rbp\n\t"
        "popq %rcx\n\tjmp *%rcx\n\t.size jmp_switch, .-jmp_switch\n\t"
        ".type jmp_entry, @function\n"
        "jmp_entry:\n\tendbr64\n\tcall jmp_body\n\tud2\n\t"
        ".size jmp_entry, .-jmp_entry");

static void *jmp_home;
static void *jmp_other;

_Noreturn void jmp_body(void);
_Noreturn void jmp_body(void)
{
    for (;;) {
        jmp_switch(&jmp_other, jmp_home);
    }
}

static double run_jmp(void *arg)
{
    static char stack[16384] __attribute__((aligned(64)));
    const size_t trips = bench_count(TRIPS);

    (void)arg;
    if (jmp_other == NULL) {
        void **top = (void **)(void *)(stack + sizeof(stack) - 64);
        *top = (void *)(uintptr_t)jmp_entry;
        jmp_other = top - 6; /* the registers popped */
    }
    double start = bench_cpu();
    for (size_t i = 0; i < trips; i++) {
        jmp_switch(&jmp_home, jmp_other);
    }
    return per_switch(start, trips);
}

static void inline_back(void *arg)
{
    struct floor_co *self = arg;

    for (;;) {
        floor_switch(self, &floor_main);
    }
}

static double run_inline(void *arg)
{
    static struct floor_co *other;
    const size_t trips = bench_count(TRIPS);

    (void)arg;
    if (other == NULL) {
        other = floor_spawn(inline_back, NULL);
        bench_check(other != NULL, "memory");
        other->arg = other;
        floor_head = NULL; /* it is not scheduled, only switched to */
        floor_current = other;
    }
    double start = bench_cpu();
    for (size_t i = 0; i < trips; i++) {
        floor_switch(&floor_main, other);
    }
    return per_switch(start, trips);
}

#endif

int main(int argc, char **argv)
{
    bench_option(argc, argv, usage, "");
    bench_pin(0);

    home = gev_current();
    gev_greenlet *back = gev_new(switch_back, NULL);
    gev_greenlet *add = gev_new(add_one, NULL);
    bench_check(home != NULL && back != NULL && add != NULL, "gev_new");

    const struct bench_case cases[] = {
#if HAVE_FLOOR
        {"switch.inline", "ns", NULL, run_inline, NULL},
        {"switch.jmp", "ns", NULL, run_jmp, NULL},
#endif
        {"switch.gev", "ns", "switch.jmp", run_gev, back},
        {"switch.values", "ns", "switch.jmp", run_values, add},
    };
    bench_run(cases, sizeof(cases) / sizeof(cases[0]));

    gev_unref(back);
    gev_unref(add);
    return gev_hub_close() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
