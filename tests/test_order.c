/* SPDX-License-Identifier: MIT */

/* The order inside a turn: ready greenlets, then I/O, then sleeps in the order
 * of their deadlines, then timeouts (TMO11, section 12 "Order in a turn"). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <unistd.h>

struct sleeper {
    double seconds;
    const char *word;
};

static void *sleep_and_trace(void *arg)
{
    const struct sleeper *s = arg;
    if (gev_sleep(s->seconds) != 0) {
        return gev_fail(errno);
    }
    trace(s->word);
    return NULL;
}

static void *time_out_and_trace(void *arg)
{
    const struct sleeper *s = arg;
    gev_timeout t = {0};
    (void)gev_timeout_begin(&t, s->seconds);
    if (gev_sleep(GEV_FOREVER) == -1 && errno == ETIMEDOUT) {
        trace(s->word);
    }
    (void)gev_timeout_end(&t);
    return NULL;
}

static void *read_and_trace(void *arg)
{
    if (gev_wait_fd(N(arg), GEV_READ, GEV_FOREVER) == GEV_READ) {
        trace("io");
    }
    return NULL;
}

/* All of them are due in one turn: main stays busy until they are. */
GEV_TEST(ready_then_io_then_sleeps_then_timeouts)
{
    int fds[2];
    trace_reset();
    test_socketpair(fds);
    struct sleeper t1 = {0.050, "timeout1"};
    struct sleeper t2 = {0.051, "timeout2"};
    struct sleeper s1 = {0.052, "sleep1"};
    struct sleeper s2 = {0.053, "sleep2"};
    gev_greenlet *g[6] = {
        gev_spawn(time_out_and_trace, &t1),
        gev_spawn(time_out_and_trace, &t2),
        gev_spawn(sleep_and_trace, &s1),
        gev_spawn(sleep_and_trace, &s2),
        gev_spawn(read_and_trace, P(fds[0])),
        NULL,
    };
    expect_ok(gev_yield());
    expect_int_eq(write(fds[1], "x", 1), 1);
    g[5] = gev_spawn(trace_and_return, "ready");
    test_spin(0.06);
    expect_int_eq(gev_joinall(g, 6, GEV_FOREVER), 6);
    expect_str_eq(trace_text(), "ready io sleep1 sleep2 timeout1 timeout2");
    gev_unrefall(g, 6);
    expect_int_eq(gev_close(fds[0]) + gev_close(fds[1]), 0);
}

/* Creation order among equals, sleeps and spawn_laters alike. */
GEV_TEST(equal_sleeps_and_starts_go_in_the_order_of_creation)
{
    trace_reset();
    struct sleeper s[3] = {{0.005, "a"}, {0.005, "b"}, {0.005, "d"}};
    gev_greenlet *g[5];
    g[0] = gev_spawn(sleep_and_trace, &s[0]);
    g[1] = gev_spawn(sleep_and_trace, &s[1]);
    expect_ok(gev_yield());
    g[2] = gev_spawn_later(0.005, trace_and_return, "c");
    g[3] = gev_spawn(sleep_and_trace, &s[2]);
    expect_ok(gev_yield());
    g[4] = gev_spawn_later(0.005, trace_and_return, "e");
    expect_int_eq(gev_joinall(g, 5, GEV_FOREVER), 5);
    expect_str_eq(trace_text(), "a b c d e");
    gev_unrefall(g, 5);
}

static void *sleep_in_scope(void *arg)
{
    const double *seconds = arg; /* of the scope, of the sleep */
    gev_timeout t = {0};
    (void)gev_timeout_begin(&t, seconds[0]);
    int first = gev_sleep(seconds[1]) == 0 ? 0 : errno;
    int second = gev_yield() == 0 ? 0 : errno;
    bool expired = gev_timeout_end(&t);
    trace(first == 0 ? "slept" : "cut");
    trace(second == ETIMEDOUT && expired ? "then-failed" : "then-went-on");
    return NULL;
}

/* TMO11: an equal sleep in the deadline's own turn wins; the next park fails.
 */
GEV_TEST(equal_sleep_beats_its_timeout)
{
    trace_reset();
    double equal[2] = {0.05, 0.05}; /* no turn sees one of the two alone */
    gev_greenlet *g = gev_spawn(sleep_in_scope, equal);
    expect_ok(gev_yield());
    test_spin(0.15);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "slept then-failed");
    gev_unref(g);
}

/* A scope that is due in an earlier turn cuts the sleep. */
GEV_TEST(earlier_timeout_cuts_a_sleep)
{
    trace_reset();
    double scope_first[2] = {0.002, 10};
    gev_greenlet *g = gev_spawn(sleep_in_scope, scope_first);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "cut then-failed");
    gev_unref(g);
}

static void *read_in_scope(void *arg)
{
    gev_timeout t = {0};
    (void)gev_timeout_begin(&t, 0.03);
    int rc = gev_wait_fd(N(arg), GEV_READ, GEV_FOREVER);
    trace(rc == GEV_READ ? "data" : "cut");
    trace(gev_yield() == -1 && errno == ETIMEDOUT ? "then-failed" : "on");
    (void)gev_timeout_end(&t);
    return NULL;
}

static void *read_with_timeout(void *arg)
{
    int rc = gev_wait_fd(N(arg), GEV_READ, 0.03);
    trace(rc == GEV_READ ? "data" : "timeout");
    return NULL;
}

/* TMO11: data in the deadline's own turn wins. */
GEV_TEST(data_beats_a_timeout)
{
    int fds[2];
    trace_reset();
    test_socketpair(fds);
    gev_greenlet *g[2] = {gev_spawn(read_in_scope, P(fds[0])),
                          gev_spawn(read_with_timeout, P(fds[0]))};
    expect_ok(gev_yield());
    test_spin(0.05);
    expect_int_eq(write(fds[1], "x", 1), 1);
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    expect_str_eq(trace_text(), "data then-failed data");
    gev_unrefall(g, 2);
    expect_int_eq(gev_close(fds[0]) + gev_close(fds[1]), 0);
}

static gev_waiter waiter;

static void *get_with_timeout(void *arg)
{
    const double *seconds = arg;
    int rc = gev_waiter_get(&waiter, NULL, *seconds);
    trace(rc == 0 ? "value" : "timeout");
    return NULL;
}

static void *sleep_then_switch(void *arg)
{
    const double *seconds = arg;
    if (gev_sleep(*seconds) != 0) {
        return gev_fail(errno);
    }
    gev_waiter_switch(&waiter, NULL);
    return NULL;
}

/* TMO11: what a greenlet does that wakes in the deadline's turn, too. */
GEV_TEST(value_set_in_the_same_turn_beats_a_timeout)
{
    trace_reset();
    gev_waiter_init(&waiter);
    double seconds = 0.03;
    gev_greenlet *g[2] = {gev_spawn(get_with_timeout, &seconds),
                          gev_spawn(sleep_then_switch, &seconds)};
    expect_ok(gev_yield());
    test_spin(0.05);
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    expect_str_eq(trace_text(), "value");
    gev_unrefall(g, 2);
}

static void *join_with_timeout(void *arg)
{
    trace(gev_join(arg, 0.03) == 0 ? "joined" : "timeout");
    return NULL;
}

/* TMO11: and an end. */
GEV_TEST(end_in_the_same_turn_beats_a_join_timeout)
{
    trace_reset();
    struct sleeper s = {0.03, "end"};
    gev_greenlet *target = gev_spawn(sleep_and_trace, &s);
    gev_greenlet *joiner = gev_spawn(join_with_timeout, target);
    expect_ok(gev_yield());
    test_spin(0.05);
    expect_ok(gev_join(joiner, GEV_FOREVER));
    expect_str_eq(trace_text(), "end joined");
    gev_unref(target);
    gev_unref(joiner);
}

static void *trace_three_times(void *arg)
{
    for (int i = 0; i < 3; i++) {
        trace((const char *)arg);
        if (gev_yield() != 0) {
            return gev_fail(errno);
        }
    }
    return NULL;
}

/* Ready greenlets run first in, first out. */
GEV_TEST(ready_queue_is_first_in_first_out)
{
    trace_reset();
    const char *words[] = {"1", "2", "3", "4", "5"};
    for (int i = 0; i < 5; i++) {
        gev_unref(gev_spawn(trace_three_times, (void *)(uintptr_t)words[i]));
    }
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "1 2 3 4 5 1 2 3 4 5 1 2 3 4 5");
}

/* TMO10: timeouts among themselves go by deadline, then by age. */
GEV_TEST(equal_timeouts_go_in_the_order_of_creation)
{
    trace_reset();
    struct sleeper t[4] = {{0.05, "b"}, {0.05, "c"}, {0.002, "a"}, {0.05, "d"}};
    gev_greenlet *g[4];
    for (int i = 0; i < 4; i++) {
        g[i] = gev_spawn(time_out_and_trace, &t[i]);
    }
    expect_ok(gev_yield());
    test_spin(0.06);
    expect_int_eq(gev_joinall(g, 4, GEV_FOREVER), 4);
    expect_str_eq(trace_text(), "a b c d");
    gev_unrefall(g, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ready_then_io_then_sleeps_then_timeouts),
        cmocka_unit_test(equal_sleeps_and_starts_go_in_the_order_of_creation),
        cmocka_unit_test(equal_sleep_beats_its_timeout),
        cmocka_unit_test(earlier_timeout_cuts_a_sleep),
        cmocka_unit_test(data_beats_a_timeout),
        cmocka_unit_test(value_set_in_the_same_turn_beats_a_timeout),
        cmocka_unit_test(end_in_the_same_turn_beats_a_join_timeout),
        cmocka_unit_test(ready_queue_is_first_in_first_out),
        cmocka_unit_test(equal_timeouts_go_in_the_order_of_creation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
