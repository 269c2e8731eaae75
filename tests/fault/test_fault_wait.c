/* SPDX-License-Identifier: MIT */

/* Fault sweeps over waiting for several objects, and over messages to objects.
 */
#include <gev.h>

#include "support/fault_sweep.h"
#include "support/trace.h"

static const struct fault_case memory[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
};

#define SWEEP(scenario)                                                        \
    (void)fault_sweep((scenario), NULL, memory, 1, FAULT_WARM)

enum { COUNT = 20 };

static gev_event events[COUNT];
static gev_waitable *list[COUNT];

static void make_events(void)
{
    for (int i = 0; i < COUNT; i++) {
        gev_event_init(&events[i]);
        list[i] = GEV_WAITABLE(&events[i]);
    }
}

static int end_events(int rc)
{
    int error = errno;
    for (int i = 0; i < COUNT; i++) {
        expect_ok(gev_event_fini(&events[i]));
    }
    errno = error;
    return rc;
}

static int wait_for_many(void *arg)
{
    (void)arg;
    make_events();
    for (int i = 0; i < COUNT; i++) {
        if (i != 3) {
            gev_event_set(&events[i]);
        }
    }
    int rc = (int)gev_wait(list, COUNT, 0, 0.001);
    if (rc >= 0) {
        expect_int_eq(rc, COUNT - 1);
    }
    return end_events(rc < 0 ? -1 : 0);
}

GEV_TEST(wait_survives_lack_of_memory)
{
    SWEEP(wait_for_many);
}

static int iwait(void *arg)
{
    (void)arg;
    make_events();
    gev_event_set(&events[7]);
    gev_iwait *it = gev_iwait_new(list, COUNT, 0.001);
    if (it == NULL) {
        return end_events(-1);
    }
    expect_ptr_eq(gev_iwait_next(it), list[7]);
    gev_iwait_free(it);
    return end_events(0);
}

GEV_TEST(iwait_survives_lack_of_memory)
{
    SWEEP(iwait);
}

static int post(void *arg)
{
    static gev_event e; /* they live until the messages have arrived */
    static gev_result r[2];
    (void)arg;
    gev_event_init(&e);
    gev_result_init(&r[0]);
    gev_result_init(&r[1]);
    int rc = gev_event_post(&e);
    rc = rc < 0 ? rc : gev_result_post(&r[0], P(1));
    rc = rc < 0 ? rc : gev_result_post_error(&r[1], EPROTO);
    int error = errno;
    expect_ok(gev_idle());
    if (rc == 0) {
        expect_true(gev_event_is_set(&e) && gev_result_successful(&r[0]));
        expect_fail(gev_result_get(&r[1], NULL, 0), EPROTO);
    }
    errno = error;
    return rc;
}

GEV_TEST(posts_survive_lack_of_memory)
{
    SWEEP(post);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wait_survives_lack_of_memory),
        cmocka_unit_test(iwait_survives_lack_of_memory),
        cmocka_unit_test(posts_survive_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
