/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <time.h>

static int64_t read_clock(void)
{
    struct timespec ts;
    /* It cannot fail: the clock exists and the address is ours. */
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * GEV__SEC + ts.tv_nsec;
}

#ifdef GEV_FAULT_INJECTION

#include <assert.h>
#include <stdatomic.h>

/* The time of the virtual clock; 0 while there is none. */
static _Atomic int64_t virtual_now;
/* How far gev's time is ahead of the machine's since virtual clocks ran: it
 * never goes back, or a hub that lives on would wait that long. */
static _Atomic int64_t ahead;

int64_t gev__clock_now(void)
{
    int64_t now = atomic_load(&virtual_now);
    return now != 0 ? now : read_clock() + atomic_load(&ahead);
}

void gev__clock_set_virtual(bool on)
{
    if (on == gev__clock_is_virtual()) {
        return;
    }
    if (on) {
        atomic_store(&virtual_now, gev__clock_now());
        return;
    }
    int64_t lead = atomic_load(&virtual_now) - read_clock();
    if (lead > atomic_load(&ahead)) {
        atomic_store(&ahead, lead);
    }
    atomic_store(&virtual_now, 0);
}

bool gev__clock_is_virtual(void)
{
    return atomic_load(&virtual_now) != 0;
}

void gev__clock_advance_to(int64_t ns)
{
    assert(ns != GEV__NEVER); /* nobody waits for that */
    int64_t now = atomic_load(&virtual_now);
    while (now != 0 && now < ns &&
           !atomic_compare_exchange_weak(&virtual_now, &now, ns)) {
    }
}

#else

int64_t gev__clock_now(void)
{
    return read_clock();
}

#endif

int64_t gev__clock_ns(double seconds)
{
    if (!(seconds > 0)) {
        return 0;
    }
    /* 2^63 ns are 292 years. */
    if (seconds >= 9223372037.0) {
        return GEV__NEVER;
    }
    /* The whole seconds apart, or long times would lose their nanoseconds. */
    int64_t whole = (int64_t)seconds;
    int64_t ns = (int64_t)((seconds - (double)whole) * 1e9);
    if (__builtin_mul_overflow(whole, GEV__SEC, &whole)) {
        return GEV__NEVER;
    }
    ns = gev__clock_add(whole, ns);
    /* The least that is not shorter when read as seconds again: 0.067 s are 67
     * ms, though the product is a hair more. (ceil() would also be a call.) */
    return (double)ns / 1e9 < seconds ? gev__clock_add(ns, 1) : ns;
}
