/* SPDX-License-Identifier: MIT */
#ifndef FLOOR_H
#define FLOOR_H

/** @file floor.h
 *  The limit: coroutines that can do nothing but spawn, yield and end, in as
 *  few instructions as x86-64 allows. No errors, no names, no loop, no guard
 *  pages; floating point control words and errno are not kept. What a runtime
 *  costs above this is the price of what it does.
 *
 *  Elsewhere HAVE_FLOOR is 0 and benchmarks run without the comparison.
 */
#if defined(__x86_64__)
#define HAVE_FLOOR 1

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define FLOOR_SLOT ((size_t)64 * 1024)
#define FLOOR_CHUNK ((size_t)1024) /* slots mapped at once */

struct floor_co {
    void *pc;
    void *sp;
    void *fp;
    struct floor_co *next; /* in the ready queue, or the pool */
    struct floor_co *joiner;
    void (*fn)(void *arg);
    void *arg;
    bool dead;
};

static struct floor_co floor_main;
static struct floor_co *floor_current = &floor_main;
static struct floor_co *floor_head;
static struct floor_co *floor_tail;
static struct floor_co *floor_pool;
static size_t floor_slots; /* ever made: the colour */

/* Where a coroutine begins: calls floor_body on its own, empty stack. */
void floor_entry(void);
void floor_body(void);
__asm__(".text\n\t.p2align 4\n\t.type floor_entry, @function\n"
        "floor_entry:\n\tendbr64\n\txorl %ebp, %ebp\n\tcall floor_body\n\t"
        "ud2\n\t.size floor_entry, .-floor_entry");

static inline __attribute__((always_inline)) void
floor_switch(struct floor_co *from, struct floor_co *to)
{
    __asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
                     "movq %%rax, 0(%%rdi)\n\t"
                     "movq %%rsp, 8(%%rdi)\n\t"
                     "movq %%rbp, 16(%%rdi)\n\t"
                     "movq 16(%%rsi), %%rbp\n\t"
                     "movq 8(%%rsi), %%rsp\n\t"
                     "jmp *0(%%rsi)\n"
                     "1:\n\tendbr64"
                     : "+D"(from), "+S"(to)
                     :
                     : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11",
                       "r12", "r13", "r14", "r15", "cc", "memory", "xmm0",
                       "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
                       "xmm14", "xmm15");
}

static inline void floor_push(struct floor_co *c)
{
    c->next = NULL;
    if (floor_head == NULL) {
        floor_head = c;
    } else {
        floor_tail->next = c;
    }
    floor_tail = c;
}

static inline void floor_run_next(struct floor_co *from)
{
    struct floor_co *to = floor_head;

    floor_head = to->next;
    floor_current = to;
    if (to != from) {
        floor_switch(from, to);
    }
}

static inline void floor_yield(void)
{
    floor_push(floor_current);
    floor_run_next(floor_current);
}

/* The slots' tops are 64 KiB apart: shifted by some cache lines each, they do
 * not share the same few sets. */
static inline bool floor_grow(void)
{
    char *p = mmap(NULL, FLOOR_CHUNK * FLOOR_SLOT, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        return false;
    }
    madvise(p, FLOOR_CHUNK * FLOOR_SLOT, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < FLOOR_CHUNK; i++) {
        char *top = p + (i + 1) * FLOOR_SLOT - (floor_slots++ % 32 + 1) * 64;
        struct floor_co *c = (struct floor_co *)(void *)top;
        c->next = floor_pool;
        floor_pool = c;
    }
    return true;
}

static inline struct floor_co *floor_spawn(void (*fn)(void *), void *arg)
{
    struct floor_co *c = floor_pool;

    if (c == NULL) {
        if (!floor_grow()) {
            return NULL;
        }
        c = floor_pool;
    }
    floor_pool = c->next;
    c->pc = (void *)(uintptr_t)floor_entry;
    c->sp = c;
    c->fn = fn;
    c->arg = arg;
    c->dead = false;
    c->joiner = NULL;
    floor_push(c);
    return c;
}

static inline void floor_join(struct floor_co *c)
{
    if (!c->dead) {
        c->joiner = floor_current;
        floor_run_next(floor_current);
    }
    c->next = floor_pool;
    floor_pool = c;
}

void floor_body(void)
{
    struct floor_co *c = floor_current;

    c->fn(c->arg);
    c->dead = true;
    if (c->joiner != NULL) {
        floor_push(c->joiner);
    }
    floor_run_next(c);
    __builtin_unreachable();
}

#else
#define HAVE_FLOOR 0
#endif

#endif
