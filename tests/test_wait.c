/* SPDX-License-Identifier: MIT */

/* Waiting for several objects: gev/wait.h (TOP10, TOP11, GLT30). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

static void *sleep_ms(void *arg)
{
    gev_sleep((double)N(arg) / 1000);
    return arg;
}

static void *sleep_long(void *arg)
{
    gev_sleep(100);
    return arg;
}

static void *pass(void *gate)
{
    gev_event_wait(gate, GEV_FOREVER);
    return gate;
}

/* TOP10: none, or none wanted, is no wait; ready ones count. */
GEV_TEST(nothing_to_wait_for)
{
    gev_event e = {{NULL}};
    gev_waitable *w[2] = {GEV_WAITABLE(&e), NULL};
    gev_event_set(&e);
    trace_reset();
    gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
    expect_int_eq(gev_wait(NULL, 0, 0, GEV_FOREVER), 0);
    expect_int_eq(gev_wait(w, 2, 0, GEV_FOREVER), 1);
    expect_int_eq(gev_wait(w + 1, 1, 0, GEV_FOREVER), 0);
    expect_str_eq(trace_text(), "");
    expect_ok(gev_join(ready, GEV_FOREVER));
    gev_unref(ready);
}

/* TOP10 */
GEV_TEST(all_or_as_many_as_wanted)
{
    gev_event gate = {{NULL}};
    gev_greenlet *g[3] = {gev_spawn(sleep_ms, P(1)), gev_spawn(pass, &gate),
                          gev_spawn(sleep_long, NULL)};
    gev_event e = {{NULL}};
    gev_result r = {{NULL}};
    gev_waitable *w[] = {GEV_WAITABLE(g[0]), GEV_WAITABLE(g[1]),
                         GEV_WAITABLE(g[2]), GEV_WAITABLE(&e),
                         GEV_WAITABLE(&r)};
    expect_int_eq(gev_wait(w, 5, 1, GEV_FOREVER), 1);
    expect_true(gev_waitable_ready(w[0]));
    expect_false(gev_waitable_ready(w[1]));
    gev_event_set(&gate);
    expect_int_eq(gev_wait(w, 5, 2, GEV_FOREVER), 2);
    expect_int_eq(gev_wait(w, 5, 0, 0.005), 2); /* out of time */
    expect_int_eq(gev_wait(w, 5, 0, 0), 2);
    gev_event_set(&e);
    expect_ok(gev_result_fail(&r, EIO)); /* failed is ready, too */
    expect_int_eq(gev_wait(w, 5, 4, GEV_FOREVER), 4);
    expect_ok(gev_kill(g[2], 0));
    expect_int_eq(gev_wait(w, 5, 99, GEV_FOREVER), 5);
    gev_unrefall(g, 3);
}

static void *pulse(void *arg)
{
    gev_event_set(arg);
    gev_event_clear(arg);
    return NULL;
}

/* TOP10: it was ready once; the same object twice counts twice. */
GEV_TEST(a_moment_of_readiness_counts)
{
    gev_event e = {{NULL}};
    gev_waitable *w[] = {GEV_WAITABLE(&e), GEV_WAITABLE(&e)};
    gev_greenlet *g = gev_spawn(pulse, &e);
    expect_int_eq(gev_wait(w, 2, 0, GEV_FOREVER), 2);
    expect_false(gev_event_is_set(&e));
    expect_int_eq(gev_wait(w, 2, 0, 0.001), 0);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_ok(gev_event_fini(&e)); /* nobody is left on it */
}

/* More than fit on the stack. */
GEV_TEST(many_objects)
{
    enum { COUNT = 500 };
    static gev_event e[COUNT];
    static gev_waitable *w[COUNT];
    for (int i = 0; i < COUNT; i++) {
        gev_event_init(&e[i]);
        w[i] = GEV_WAITABLE(&e[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        gev_greenlet *g = gev_spawn(pulse, &e[i]);
        gev_unref(g);
    }
    expect_int_eq(gev_wait(w, COUNT, 0, GEV_FOREVER), COUNT);
    for (int i = 0; i < COUNT; i++) {
        expect_ok(gev_event_fini(&e[i]));
    }
}

struct waiter {
    gev_waitable **w;
    size_t n;
    ssize_t rc;
    int error;
};

static void *wait_all(void *arg)
{
    struct waiter *a = arg;
    a->rc = gev_wait(a->w, a->n, 0, GEV_FOREVER);
    a->error = a->rc < 0 ? errno : 0;
    return NULL;
}

/* The waiter leaves nothing behind, in both orders of a kill and a set. */
GEV_TEST(killed_while_waiting)
{
    gev_event e[2] = {{{NULL}}};
    gev_greenlet *end = gev_spawn(sleep_long, NULL);
    gev_waitable *w[] = {GEV_WAITABLE(&e[0]), GEV_WAITABLE(&e[1]),
                         GEV_WAITABLE(end)};
    struct waiter a = {w, 3, -2, 0};
    gev_greenlet *g = gev_spawn(wait_all, &a);
    expect_ok(gev_yield());
    expect_fail(gev_event_fini(&e[0]), EBUSY);
    expect_ok(gev_kill(g, 0));
    gev_event_set(&e[0]);
    gev_event_set(&e[1]);
    expect_ok(gev_kill(end, 0));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(a.rc, -1);
    expect_int_eq(a.error, ECANCELED);
    gev_unref(g);
    expect_ok(gev_join(end, GEV_FOREVER));
    gev_event_clear(&e[0]);
    g = gev_spawn(wait_all, &a);
    expect_ok(gev_yield());
    gev_event_set(&e[0]); /* the last one missing */
    expect_ok(gev_kill(g, 0));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(a.rc, 3);
    gev_unref(g);
    gev_unref(end);
    expect_ok(gev_event_fini(&e[0]));
    expect_ok(gev_event_fini(&e[1]));
}

static void *wait_elsewhere(void *arg)
{
    gev_waitable *w[] = {GEV_WAITABLE((gev_event *)arg)};
    expect_fail(gev_wait(w, 1, 0, 1), EPERM);
    expect_null(gev_iwait_new(w, 1, 1));
    expect_int_eq(errno, EPERM);
    expect_ok(gev_hub_close());
    return NULL;
}

static void wait_in_hub(void *arg)
{
    gev_waitable *w[] = {GEV_WAITABLE((gev_event *)arg)};
    expect_int_eq(gev_wait(w, 1, 0, 0), 0);
    expect_fail(gev_wait(w, 1, 0, 1), EPERM);
}

static gev_event event;

GEV_TEST(misuse_is_an_error)
{
    pthread_t thread;
    gev_event_init(&event);
    gev_waitable *w[] = {GEV_WAITABLE(&event), GEV_WAITABLE(gev_current())};
    expect_null(GEV_WAITABLE((gev_event *)NULL));
    expect_null(GEV_WAITABLE((gev_greenlet *)NULL));
    expect_false(gev_waitable_ready(NULL));
    expect_fail(gev_wait(NULL, 1, 0, 0), EINVAL);
    expect_fail(gev_wait(w, 1, 0, NAN), EINVAL);
    gev_event_init(&event); /* still the same waitable */
    expect_int_eq(gev_wait(w, 1, 0, 0), 0);
    gev_event cleared;
    gev_waitable *c[] = {GEV_WAITABLE(&cleared)};
    memset(&cleared, 0, sizeof(cleared));
    expect_fail(gev_wait(c, 1, 0, 0), EINVAL);
    expect_false(gev_waitable_ready(c[0]));
    expect_fail(gev_wait(w, 2, 0, 0), EDEADLK);
    expect_int_eq(gev_wait(w, 2, 1, 0), 0);
    expect_null(gev_iwait_new(NULL, 1, 0));
    expect_int_eq(errno, EINVAL);
    expect_null(gev_iwait_new(w, 1, NAN));
    expect_int_eq(errno, EINVAL);
    expect_null(gev_iwait_next(NULL));
    expect_int_eq(errno, EINVAL);
    gev_iwait_free(NULL);
    expect_int_eq(pthread_create(&thread, NULL, wait_elsewhere, &event), 0);
    expect_int_eq(pthread_join(thread, NULL), 0);
    expect_ok(gev_hub_post(gev_hub_get(), wait_in_hub, &event));
    expect_ok(gev_idle());
    /* Nothing can ever set it. */
    expect_fail(gev_wait(w, 1, 0, GEV_FOREVER), EDEADLK);
    expect_ok(gev_event_fini(&event));
}

/* TOP11: in the order in which they become ready, none missed in between. */
GEV_TEST(iwait_gives_them_in_order)
{
    gev_event e[3] = {{{NULL}}};
    gev_greenlet *g = gev_spawn(sleep_ms, P(5));
    gev_waitable *w[] = {GEV_WAITABLE(&e[0]), GEV_WAITABLE(g), NULL,
                         GEV_WAITABLE(&e[1]), GEV_WAITABLE(&e[2])};
    gev_event_set(&e[2]);
    gev_iwait *it = gev_iwait_new(w, 5, GEV_FOREVER);
    if (!expect_not_null(it)) {
        return;
    }
    gev_event_set(&e[1]);
    gev_event_clear(&e[1]); /* was ready once */
    gev_event_clear(&e[2]);
    gev_event_set(&e[0]);
    expect_ptr_eq(gev_iwait_next(it), w[4]); /* was ready at the beginning */
    expect_ok(gev_sleep(0.01));              /* g ends meanwhile */
    expect_ptr_eq(gev_iwait_next(it), w[3]);
    expect_ptr_eq(gev_iwait_next(it), w[0]);
    expect_ptr_eq(gev_iwait_next(it), w[1]);
    for (int i = 0; i < 2; i++) {
        errno = EIO;
        expect_null(gev_iwait_next(it));
        expect_int_eq(errno, 0);
    }
    gev_iwait_free(it);
    gev_unref(g);
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_event_fini(&e[i]));
    }
}

static void *iwait_next(void *arg)
{
    errno = 0;
    gev_waitable *w = gev_iwait_next(arg);
    return w == NULL ? gev_fail(errno == 0 ? ENOENT : errno) : w;
}

/* TOP11: the time is one for all; a killed or second caller loses nothing. */
GEV_TEST(iwait_timeouts_and_kills)
{
    gev_event e = {{NULL}};
    gev_waitable *w[] = {GEV_WAITABLE(&e)};
    void *value = NULL;
    gev_set_error_handler(ignore_error, NULL);
    gev_iwait *it = gev_iwait_new(w, 1, 0.002);
    expect_null(gev_iwait_next(it));
    expect_int_eq(errno, ETIMEDOUT);
    gev_event_set(&e);
    expect_ptr_eq(gev_iwait_next(it), w[0]); /* it is there all the same */
    gev_iwait_free(it);

    gev_event_clear(&e);
    it = gev_iwait_new(w, 1, GEV_FOREVER);
    gev_greenlet *a = gev_spawn(iwait_next, it);
    gev_greenlet *b = gev_spawn(iwait_next, it);
    expect_ok(gev_yield());
    expect_fail(gev_get(b, NULL, GEV_FOREVER), EBUSY);
    expect_ok(gev_kill(a, 0));
    gev_event_set(&e);
    expect_fail(gev_get(a, NULL, GEV_FOREVER), ECANCELED);
    gev_unref(a);
    a = gev_spawn(iwait_next, it);
    expect_ok(gev_get(a, &value, GEV_FOREVER));
    expect_ptr_eq(value, w[0]);
    gev_iwait_free(it);
    gev_unref(a);
    gev_unref(b);
}

/* TOP11: abandoned half-way, it leaves nothing on the objects. */
GEV_TEST(iwait_freed_early)
{
    gev_event e = {{NULL}};
    gev_greenlet *g = gev_spawn(sleep_long, NULL);
    gev_waitable *w[] = {GEV_WAITABLE(&e), GEV_WAITABLE(g), GEV_WAITABLE(&e)};
    gev_iwait *it = gev_iwait_new(w, 3, GEV_FOREVER);
    expect_fail(gev_event_fini(&e), EBUSY);
    gev_iwait_free(it);
    expect_ok(gev_event_fini(&e));
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
    it = gev_iwait_new(NULL, 0, GEV_FOREVER);
    errno = EIO;
    expect_null(gev_iwait_next(it));
    expect_int_eq(errno, 0);
    gev_iwait_free(it);
}

/* TOP11: who waits in it, or was just given something, is told. */
GEV_TEST(iwait_freed_under_its_waiter)
{
    for (int given = 0; given < 2; given++) {
        gev_event e = {{NULL}};
        gev_waitable *w[] = {GEV_WAITABLE(&e)};
        gev_iwait *it = gev_iwait_new(w, 1, GEV_FOREVER);
        gev_greenlet *g = gev_spawn(iwait_next, it);
        expect_ok(gev_yield());
        if (given) {
            gev_event_set(&e);
        }
        gev_iwait_free(it);
        expect_fail(gev_get(g, NULL, GEV_FOREVER), EPIPE);
        gev_unref(g);
        expect_ok(gev_event_fini(&e));
    }
}

/* GLT30: a dead greenlet is ready, an own handle is enough. */
GEV_TEST(dead_greenlets_are_ready)
{
    gev_greenlet *g = gev_spawn(sleep_ms, P(0));
    gev_waitable *w[] = {GEV_WAITABLE(g)};
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_true(gev_waitable_ready(w[0]));
    expect_int_eq(gev_wait(w, 1, 0, 0), 1);
    gev_iwait *it = gev_iwait_new(w, 1, 0);
    expect_ptr_eq(gev_iwait_next(it), w[0]);
    gev_iwait_free(it);
    gev_unref(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_to_wait_for),
        cmocka_unit_test(all_or_as_many_as_wanted),
        cmocka_unit_test(a_moment_of_readiness_counts),
        cmocka_unit_test(many_objects),
        cmocka_unit_test(killed_while_waiting),
        cmocka_unit_test(misuse_is_an_error),
        cmocka_unit_test(iwait_gives_them_in_order),
        cmocka_unit_test(iwait_timeouts_and_kills),
        cmocka_unit_test(iwait_freed_early),
        cmocka_unit_test(iwait_freed_under_its_waiter),
        cmocka_unit_test(dead_greenlets_are_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
