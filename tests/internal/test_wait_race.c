/* SPDX-License-Identifier: MIT */

/* Waiting for an object that becomes ready by being asked, as a process does
 * whose end is seen there and then (TOP10, TOP11). */
#include <gev.h>

#include "hub/waitable.h"
#include "support/gev_test.h"

struct asked {
    struct gev_waitable waitable; /* first */
    int left;                     /* so many times it is not ready yet */
};

static bool is_ready(const struct gev_waitable *w)
{
    struct asked *a = (struct asked *)(uintptr_t)w;

    if (a->left > 0 && --a->left == 0) {
        gev__waitable_notify(&a->waitable);
    }
    return a->left == 0;
}

static const struct gev__waitable_ops ops = {.name = "asked",
                                             .is_ready = is_ready};

GEV_TEST(ready_between_two_looks)
{
    for (int entries = 1; entries <= 3; entries++) {
        for (int left = 1; left <= 2 * entries; left++) {
            struct asked a = {.waitable = {.ops = &ops}, .left = left};
            gev_waitable *w[] = {&a.waitable, &a.waitable, &a.waitable};
            expect_int_eq(gev_wait(w, (size_t)entries, 0, GEV_FOREVER),
                          entries);
            expect_true(a.waitable.observers.first == NULL);
        }
    }
}

GEV_TEST(iwait_of_one_that_ends_while_it_is_made)
{
    for (int left = 1; left <= 3; left++) {
        struct asked a = {.waitable = {.ops = &ops}, .left = left};
        gev_waitable *w[] = {&a.waitable, &a.waitable, &a.waitable};
        gev_iwait *it = gev_iwait_new(w, 3, GEV_FOREVER);
        for (int i = 0; i < 3; i++) {
            expect_ptr_eq(gev_iwait_next(it), &a.waitable);
        }
        expect_null(gev_iwait_next(it));
        gev_iwait_free(it);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ready_between_two_looks),
        cmocka_unit_test(iwait_of_one_that_ends_while_it_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
