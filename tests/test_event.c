/* SPDX-License-Identifier: MIT */

/* Events: gev/event.h (EVT1-EVT8). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/greenlets.h"
#include "support/trace.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static gev_event event;

struct waiter {
    const char *name;
    double timeout;
    int rc;
    int error;
};

static void *wait_and_trace(void *arg)
{
    struct waiter *w = arg;
    w->rc = gev_event_wait(&event, w->timeout);
    w->error = w->rc == 0 ? 0 : errno;
    trace(w->name);
    return NULL;
}

/* EVT1, EVT2 */
GEV_TEST(set_event_is_no_wait)
{
    gev_event_init(&event);
    expect_false(gev_event_is_set(&event));
    expect_fail(gev_event_wait(&event, 0), ETIMEDOUT);
    expect_fail(gev_event_wait(&event, -1), ETIMEDOUT);
    gev_event_set(&event);
    gev_event_set(&event); /* idempotent */
    expect_true(gev_event_is_set(&event));
    trace_reset();
    gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
    expect_ok(gev_event_wait(&event, GEV_FOREVER));
    expect_ok(gev_event_wait(&event, 0));
    expect_str_eq(trace_text(), "");
    gev_event_clear(&event);
    expect_false(gev_event_is_set(&event));
    expect_fail(gev_event_wait(&event, 0), ETIMEDOUT);
    join_and_drop(ready);
    expect_ok(gev_event_fini(&event));
}

/* EVT2 */
GEV_TEST(wait_times_out_and_never_early)
{
    gev_event e = {{NULL}};
    double start = test_now();
    expect_fail(gev_event_wait(&e, 0.01), ETIMEDOUT);
    expect_ge(test_now() - start, 0.01);
    gev_event_set(&e);
    expect_ok(gev_event_wait(&e, 0.01));
    expect_ok(gev_event_fini(&e));
}

/* EVT3, EVT5: all who waited run, in the order in which they came, though the
 * event is cleared before they do. */
GEV_TEST(set_and_clear_release_all_who_waited)
{
    enum { N = 1000 };
    static const char *const names[] = {"a", "b", "c"};
    static struct waiter waiters[N];
    static gev_greenlet *g[N];
    trace_reset();
    gev_event_init(&event);
    for (int i = 0; i < N; i++) {
        waiters[i] = (struct waiter){i < 3 ? names[i] : "", GEV_FOREVER, -2, 0};
        g[i] = gev_spawn(wait_and_trace, &waiters[i]);
    }
    expect_ok(gev_yield());
    expect_fail(gev_event_fini(&event), EBUSY);
    gev_event_set(&event);
    gev_event_clear(&event);
    expect_int_eq(gev_joinall(g, N, GEV_FOREVER), N);
    for (int i = 0; i < N; i++) {
        expect_int_eq(waiters[i].rc, 0);
    }
    expect_true(strncmp(trace_text(), "a b c", 5) == 0);
    gev_unrefall(g, N);
    expect_ok(gev_event_fini(&event));
}

static void *wait_clear_wait(void *arg)
{
    int *rounds = arg;
    while (gev_event_wait(&event, GEV_FOREVER) == 0) {
        gev_event_clear(&event);
        ++*rounds;
    }
    return NULL;
}

/* EVT5: the first clears; the others run nevertheless. EVT6: waiting again
 * after a clear is not satisfied by the old set. */
GEV_TEST(a_waiter_that_clears_waits_for_the_next_set)
{
    int rounds[2] = {0, 0};
    gev_event_init(&event);
    gev_greenlet *a = gev_spawn(wait_clear_wait, &rounds[0]);
    gev_greenlet *b = gev_spawn(wait_clear_wait, &rounds[1]);
    expect_ok(gev_yield());
    for (int i = 1; i <= 3; i++) {
        gev_event_set(&event);
        expect_ok(gev_sleep(0.001));
        expect_int_eq(rounds[0], i);
        expect_int_eq(rounds[1], i);
    }
    expect_ok(gev_kill(a, GEV_FOREVER));
    expect_ok(gev_kill(b, GEV_FOREVER));
    gev_unref(a);
    gev_unref(b);
    expect_ok(gev_event_fini(&event));
}

/* EVT4 */
GEV_TEST(nobody_overtakes_those_who_were_woken)
{
    struct waiter first = {"first", GEV_FOREVER, -2, 0};
    struct waiter late = {"late", GEV_FOREVER, -2, 0};
    trace_reset();
    gev_event_init(&event);
    gev_greenlet *a = gev_spawn(wait_and_trace, &first);
    expect_ok(gev_yield());
    gev_greenlet *b = gev_spawn(wait_and_trace, &late);
    gev_event_set(&event);
    trace("main");
    expect_ok(gev_event_wait(&event, GEV_FOREVER)); /* behind first */
    trace("again");
    join_and_drop(a);
    join_and_drop(b);
    /* late runs before first, finds the event set, and lets it go first. */
    expect_str_eq(trace_text(), "main first again late");
    expect_ok(gev_event_fini(&event));
}

static void *kill_it(void *arg)
{
    expect_ok(gev_kill(arg, 0));
    return NULL;
}

/* A kill and a set, in both orders. */
GEV_TEST(kill_and_set_race)
{
    struct waiter w = {"w", GEV_FOREVER, -2, 0};
    gev_event_init(&event);
    gev_greenlet *g = gev_spawn(wait_and_trace, &w);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, 0));
    gev_event_set(&event);
    join_and_drop(g);
    expect_int_eq(w.rc, -1);
    expect_int_eq(w.error, ECANCELED);

    gev_event_clear(&event);
    g = gev_spawn(wait_and_trace, &w);
    expect_ok(gev_yield());
    gev_event_set(&event);
    expect_ok(gev_kill(g, 0));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(w.rc, 0); /* it has what it waited for */
    expect_true(gev_killed(g));
    gev_unref(g);
    gev_greenlet *killer = gev_spawn(kill_it, gev_current());
    gev_event_clear(&event);
    expect_fail(gev_event_wait(&event, GEV_FOREVER), ECANCELED);
    expect_int_eq(gev_uncancel(), ECANCELED);
    join_and_drop(killer);
    expect_ok(gev_event_fini(&event));
}

/* A set in the deadline's own turn wins (TMO11). */
GEV_TEST(set_beats_the_timeout_of_the_same_turn)
{
    struct waiter w = {"w", 0.01, -2, 0};
    gev_event_init(&event);
    gev_greenlet *g = gev_spawn(wait_and_trace, &w);
    expect_ok(gev_sleep(0.01)); /* an equal sleep runs before the timeout */
    gev_event_set(&event);
    join_and_drop(g);
    expect_int_eq(w.rc, 0);
    expect_ok(gev_event_fini(&event));
}

static void set_it(void *arg)
{
    gev_event_set(arg);
}

static void wait_in_hub(void *arg)
{
    gev_event e = {{NULL}};
    (void)arg;
    expect_fail(gev_event_wait(&e, 0), ETIMEDOUT);
    expect_fail(gev_event_wait(&e, 1), EPERM);
    gev_event_set(&e);
    expect_ok(gev_event_wait(&e, 1));
}

GEV_TEST(usable_in_hub_callbacks)
{
    gev_event_init(&event);
    expect_ok(gev_hub_post(gev_hub_get(), wait_in_hub, NULL));
    expect_ok(gev_hub_post(gev_hub_get(), set_it, &event));
    expect_ok(gev_event_wait(&event, GEV_FOREVER));
    expect_ok(gev_event_fini(&event));
}

GEV_TEST(misuse_is_an_error)
{
    gev_event e = {{NULL}};
    gev_event_init(NULL);
    gev_event_set(NULL);
    gev_event_clear(NULL);
    expect_false(gev_event_is_set(NULL));
    expect_fail(gev_event_wait(NULL, 1), EINVAL);
    expect_fail(gev_event_fini(NULL), EINVAL);
    expect_fail(gev_event_wait(&e, NAN), EINVAL);
    expect_fail(gev_event_post(NULL), EINVAL);
    gev_event never = {{NULL}};
    expect_fail(gev_event_post(&never), EINVAL); /* no hub yet */
}

static void *wait_elsewhere(void *arg)
{
    expect_fail(gev_event_wait(arg, 1), EPERM);
    expect_ok(gev_hub_close());
    return NULL;
}

static void *post_elsewhere(void *arg)
{
    expect_ok(gev_event_post(arg));
    return NULL;
}

/* EVT8: it belongs to the hub that made it or first waited; EVT14: other
 * threads set it by a message. */
GEV_TEST(threads)
{
    pthread_t thread;
    gev_event_init(&event);
    gev_hub_ref(gev_hub_get());
    expect_int_eq(pthread_create(&thread, NULL, wait_elsewhere, &event), 0);
    expect_int_eq(pthread_join(thread, NULL), 0);
    expect_int_eq(pthread_create(&thread, NULL, post_elsewhere, &event), 0);
    expect_ok(gev_event_wait(&event, test_scale(5)));
    expect_int_eq(pthread_join(thread, NULL), 0);
    gev_hub_unref(gev_hub_get());
    expect_ok(gev_event_fini(&event));
}

/* EVT8: it may be older than the hub, and outlive it. */
GEV_TEST(survives_the_hub)
{
    memset(&event, 0, sizeof(event));
    gev_event_set(&event);
    expect_ok(gev_event_wait(&event, 1));
    gev_event_clear(&event);
    expect_fail(gev_event_wait(&event, 0.001), ETIMEDOUT);
    expect_ok(gev_hub_close());
    expect_fail(gev_event_wait(&event, 0.001), ETIMEDOUT);
    expect_ok(gev_event_fini(&event));
}

/* Woken waiters need it no more: it may go before they run. */
GEV_TEST(finished_before_the_woken_run)
{
    struct waiter w = {"w", GEV_FOREVER, -2, 0};
    gev_event_init(&event);
    gev_greenlet *g = gev_spawn(wait_and_trace, &w);
    expect_ok(gev_yield());
    gev_event_set(&event);
    expect_ok(gev_event_fini(&event));
    memset(&event, 0xa5, sizeof(event));
    join_and_drop(g);
    expect_int_eq(w.rc, 0);
    expect_uint_eq(((unsigned char *)&event)[20], 0xa5);
}

/* EVT15: in a forked child those who waited are gone, and the event works. */
GEV_TEST(forked_child_has_no_waiters)
{
    struct waiter w[2] = {{"w", GEV_FOREVER, -2, 0}, {"v", GEV_FOREVER, -2, 0}};
    gev_event_init(&event);
    gev_greenlet *g[2] = {gev_spawn(wait_and_trace, &w[0]), NULL};
    expect_ok(gev_yield());
    gev_event_set(&event); /* woken, has not yet run */
    gev_event_clear(&event);
    g[1] = gev_spawn(wait_and_trace, &w[1]);
    expect_ok(gev_join(g[0], GEV_FOREVER));
    pid_t pid = fork();
    if (pid == 0) {
        bool right = gev_event_fini(&event) == 0 &&
                     gev_event_wait(&event, 0.001) < 0 && errno == ETIMEDOUT;
        gev_event_set(&event);
        right = right && gev_event_wait(&event, 1) == 0;
        _exit(right ? 0 : 1);
    }
    expect_fail(gev_event_fini(&event), EBUSY);
    expect_child_well(pid);
    gev_event_set(&event);
    expect_ok(gev_join(g[1], GEV_FOREVER));
    expect_int_eq(w[1].rc, 0);
    gev_unrefall(g, 2);
    expect_ok(gev_event_fini(&event));
}

/* An idle one may be moved. */
GEV_TEST(moved_in_memory)
{
    gev_event a;
    gev_event b;
    gev_event_init(&a);
    expect_fail(gev_event_wait(&a, 0.001), ETIMEDOUT);
    memcpy(&b, &a, sizeof(b));
    memset(&a, 0xa5, sizeof(a));
    event = b;
    struct waiter w = {"w", GEV_FOREVER, -2, 0};
    gev_greenlet *g = gev_spawn(wait_and_trace, &w);
    expect_ok(gev_yield());
    gev_event_set(&event);
    join_and_drop(g);
    expect_int_eq(w.rc, 0);
    expect_ok(gev_event_fini(&event));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_event_is_no_wait),
        cmocka_unit_test(wait_times_out_and_never_early),
        cmocka_unit_test(set_and_clear_release_all_who_waited),
        cmocka_unit_test(a_waiter_that_clears_waits_for_the_next_set),
        cmocka_unit_test(nobody_overtakes_those_who_were_woken),
        cmocka_unit_test(kill_and_set_race),
        cmocka_unit_test(set_beats_the_timeout_of_the_same_turn),
        cmocka_unit_test(usable_in_hub_callbacks),
        cmocka_unit_test(misuse_is_an_error),
        cmocka_unit_test(threads),
        cmocka_unit_test(survives_the_hub),
        cmocka_unit_test(finished_before_the_woken_run),
        cmocka_unit_test(forked_child_has_no_waiters),
        cmocka_unit_test(moved_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
