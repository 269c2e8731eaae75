/* SPDX-License-Identifier: MIT */
#ifndef GEV_BASE_CLOCK_H
#define GEV_BASE_CLOCK_H

/* Time inside gev is int64_t nanoseconds of CLOCK_MONOTONIC; only absolute
 * deadlines travel between functions. Never the coarse clock (it is up to
 * 4 ms late), never a cached one for deadlines (they would end early). */

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

#define GEV__NEVER INT64_MAX
#define GEV__MS INT64_C(1000000)
#define GEV__SEC INT64_C(1000000000)

/* Nanoseconds; the virtual clock's when a test installed one. */
int64_t gev__clock_now(void);

/* Seconds to nanoseconds, rounded up (to the precision of a double) and
 * saturated: infinity and what does not fit is GEV__NEVER, zero and less is 0.
 * NaN is the caller's to refuse. */
int64_t gev__clock_ns(double seconds);

/* now + ns, saturated at GEV__NEVER. */
static inline int64_t gev__clock_add(int64_t now, int64_t ns)
{
    int64_t sum;
    return __builtin_add_overflow(now, ns, &sum) ? GEV__NEVER : sum;
}

#ifdef GEV_FAULT_INJECTION
/* The virtual clock stands still until somebody moves it; the hub moves it to
 * the next deadline when nothing is ready instead of blocking. Process-wide.
 * Time never goes back, neither when it is set nor when it is taken away. */
void gev__clock_set_virtual(bool on);
bool gev__clock_is_virtual(void);
/* Does nothing without a virtual clock, and for a time that is past. */
void gev__clock_advance_to(int64_t ns);
#else
static inline bool gev__clock_is_virtual(void)
{
    return false;
}
static inline void gev__clock_advance_to(int64_t ns)
{
    (void)ns;
}
#endif

#endif
