/* SPDX-License-Identifier: MIT */

/* The quick way through gev_switch, to a greenlet that is suspended in the same
 * thread: what the caller has in registers survives, and what the quick way
 * must not take is refused there, too. */
#include <gev.h>

#include "support/gev_test.h"

#include <errno.h>
#include <pthread.h>

#define NOINLINE __attribute__((noinline))

static gev_greenlet *home;

/* Leaves nothing in any register but the stack's. */
static inline void scribble(void)
{
#if defined(__x86_64__)
    __asm__ volatile("movq $-1, %%rbx\n\tmovq %%rbx, %%r12\n\t"
                     "movq %%rbx, %%r13\n\tmovq %%rbx, %%r14\n\t"
                     "movq %%rbx, %%r15\n\tmovq %%rbx, %%xmm6\n\t"
                     "movq %%rbx, %%xmm7\n\tmovq %%rbx, %%xmm8\n\t"
                     "movq %%rbx, %%xmm15"
                     :
                     :
                     : "rbx", "r12", "r13", "r14", "r15", "xmm6", "xmm7",
                       "xmm8", "xmm15", "memory");
#endif
}

/* Adds one to what it is sent, until it is cancelled. */
static void *scribble_and_add(void *value)
{
    do {
        scribble();
        value = (char *)value + 1;
    } while (gev_switch(home, value, &value) == 0);
    return NULL;
}

static void *end_at_once(void *arg)
{
    return arg;
}

/* More live values than there are registers, of both kinds. */
static NOINLINE long keep_values(gev_greenlet *g, const long *n,
                                 const double *x)
{
    long a = n[0], b = n[1], c = n[2], d = n[3], e = n[4], f = n[5], h = n[6];
    double p = x[0], q = x[1], r = x[2], s = x[3];

    for (int i = 0; i < 5; i++) {
        if (g != NULL && gev_switch(g, NULL, NULL) != 0) {
            return -1;
        }
        a += b;
        b ^= c + i;
        c -= d;
        d += e * 3;
        e ^= f;
        f += h;
        h -= a;
        p += q;
        q *= r;
        r -= s;
        s += p;
    }
    return a ^ b ^ c ^ d ^ e ^ f ^ h ^ (long)(p + q + r + s);
}

GEV_TEST(values_in_registers_survive)
{
    const long n[] = {3, 1, 4, 1, 5, 9, 2};
    const double x[] = {6, 5, 3, 5};
    home = gev_current();
    gev_greenlet *g = gev_new(scribble_and_add, NULL);
    long wanted = keep_values(NULL, n, x);
    expect_int_eq(keep_values(g, n, x), wanted); /* the first starts it */
    expect_int_eq(keep_values(g, n, x), wanted);
    gev_unref(g);
}

struct attempt {
    gev_greenlet *target;
    int rc;
    int error;
};

static void try_switch(void *arg)
{
    struct attempt *a = arg;

    a->rc = gev_switch(a->target, NULL, NULL);
    a->error = errno;
}

static void *defer_a_switch(void *arg)
{
    expect_ok(gev_defer(try_switch, arg));
    return NULL;
}

static void *try_switch_in_a_thread(void *arg)
{
    gev_greenlet *own = gev_new(end_at_once, NULL);

    try_switch(arg);
    gev_unref(own);
    expect_ok(gev_hub_close());
    return NULL;
}

/* EPERM, though the other waits for a switch. */
GEV_TEST(switch_to_a_suspended_one_is_refused)
{
    home = gev_current();
    gev_greenlet *g = gev_new(scribble_and_add, NULL);
    expect_ok(gev_switch(g, NULL, NULL));
    struct attempt in_callback = {.target = g};
    expect_ok(gev_hub_post(gev_hub_get(), try_switch, &in_callback));
    struct attempt in_defer = {.target = g};
    gev_greenlet *deferring = gev_spawn(defer_a_switch, &in_defer);
    expect_ok(gev_join(deferring, GEV_FOREVER));
    expect_ok(gev_sleep(0.001));
    struct attempt in_thread = {.target = g};
    pthread_t thread;
    expect_int_eq(
        pthread_create(&thread, NULL, try_switch_in_a_thread, &in_thread), 0);
    expect_int_eq(pthread_join(thread, NULL), 0);
    expect_int_eq(in_callback.rc, -1);
    expect_int_eq(in_callback.error, EPERM);
    expect_int_eq(in_defer.rc, -1);
    expect_int_eq(in_defer.error, EPERM);
    expect_int_eq(in_thread.rc, -1);
    expect_int_eq(in_thread.error, EPERM);
    gev_unref(deferring);
    gev_unref(g);
}

GEV_TEST(each_switch_is_counted)
{
    gev_stats before = {.size = sizeof(before)};
    gev_stats after = {.size = sizeof(after)};
    home = gev_current();
    gev_greenlet *g = gev_new(scribble_and_add, NULL);
    expect_ok(gev_switch(g, NULL, NULL));
    gev_hub_stats(gev_hub_get(), &before);
    for (int i = 0; i < 10; i++) {
        expect_ok(gev_switch(g, NULL, NULL));
    }
    gev_hub_stats(gev_hub_get(), &after);
    expect_uint_eq(after.switches - before.switches, 20);
    gev_unref(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_in_registers_survive),
        cmocka_unit_test(switch_to_a_suspended_one_is_refused),
        cmocka_unit_test(each_switch_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
