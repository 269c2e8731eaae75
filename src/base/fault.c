/* SPDX-License-Identifier: MIT */
#include "base/fault.h"

#ifdef GEV_FAULT_INJECTION

#include <errno.h>
#include <stdatomic.h>

/* What is armed. points is written last and read first, so that a hook that
 * sees it sees the rest; 0 is disarmed. */
struct plan {
    atomic_uint points;
    atomic_uint seen; /* calls at these points so far */
    unsigned k;       /* the first of them that is hit, from 1 */
    int error;
    bool sticky;
};

static struct plan failing;
static struct plan shortening;
static atomic_uint calls[GEV__FAULT_POINTS];
static atomic_uint hits;

static void arm(struct plan *plan, unsigned points, unsigned k, int error,
                bool sticky)
{
    atomic_store(&plan->points, 0);
    for (size_t i = 0; i < GEV__FAULT_POINTS; i++) {
        atomic_store(&calls[i], 0);
    }
    atomic_store(&plan->seen, 0);
    plan->k = k;
    plan->error = error;
    plan->sticky = sticky;
    atomic_store(&plan->points, points);
}

void gev__fault_arm(unsigned points, unsigned k, int error, bool sticky)
{
    arm(&failing, points, k, error, sticky);
}

void gev__fault_arm_short(unsigned points, unsigned k)
{
    arm(&shortening, points, k, 0, true);
}

unsigned gev__fault_disarm(void)
{
    atomic_store(&failing.points, 0);
    atomic_store(&shortening.points, 0);
    return atomic_exchange(&hits, 0);
}

unsigned gev__fault_calls(unsigned points)
{
    unsigned sum = 0;
    for (size_t i = 0; i < GEV__FAULT_POINTS; i++) {
        if ((points & 1u << i) != 0) {
            sum += atomic_load(&calls[i]);
        }
    }
    return sum;
}

static bool is_armed(struct plan *plan, enum gev__fault_point point)
{
    return (atomic_load(&plan->points) & 1u << point) != 0;
}

/* Whether this call is one that the plan wants hit. */
static bool is_turn(struct plan *plan, enum gev__fault_point point)
{
    if (!is_armed(plan, point)) {
        return false;
    }
    unsigned seen = atomic_fetch_add(&plan->seen, 1) + 1;
    if (plan->k == 0 || seen < plan->k) {
        return false;
    }
    if (seen == plan->k) {
        return true;
    }
    /* A call that goes round after each EINTR would do so for ever: the next
     * one is let through. */
    return plan->sticky && (plan->error != EINTR || (seen - plan->k) % 2 == 0);
}

int gev__fault_hit(enum gev__fault_point point)
{
    atomic_fetch_add(&calls[point], 1);
    if (!is_turn(&failing, point)) {
        return GEV__FAULT_NONE;
    }
    atomic_fetch_add(&hits, 1);
    return failing.error;
}

int gev__fault_hit_io(enum gev__fault_point point, size_t *n)
{
    int error = gev__fault_hit(point);
    if (error == GEV__FAULT_NONE && *n > 1 && is_turn(&shortening, point)) {
        atomic_fetch_add(&hits, 1);
        *n = 1;
    }
    return error;
}

bool gev__fault_may_shorten(enum gev__fault_point point)
{
    return is_armed(&shortening, point);
}

#endif
