/* SPDX-License-Identifier: MIT */

/* Links (GLT17-GLT21, section 1.4). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

static void *sleep_2_ms(void *arg)
{
    return gev_sleep(0.002) == 0 ? arg : gev_fail(errno);
}

struct noted {
    gev_greenlet *g;
    gev_greenlet *current;
    int calls;
    int park_rc;
    int park_error;
    int value;
    bool dead;
};

static void note_link(gev_greenlet *g, void *arg)
{
    struct noted *n = arg;
    n->calls++;
    n->g = g;
    n->current = gev_current();
    n->dead = gev_dead(g);
    n->value = N(gev_value(g));
    n->park_rc = gev_sleep(0.001);
    n->park_error = n->park_rc == 0 ? 0 : errno;
}

/* GLT17: in a greenlet of its own, so it may park. */
GEV_TEST(link_runs_in_a_greenlet_of_its_own)
{
    struct noted n = {.calls = 0};
    gev_greenlet *g = gev_spawn(return_arg, P(5));
    expect_ok(gev_link(g, note_link, &n));
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(n.calls, 1);
    expect_ptr_eq(n.g, g);
    expect_true(n.dead);
    expect_int_eq(n.value, 5);
    expect_int_eq(n.park_rc, 0);
    expect_true(n.current != g && n.current != gev_current() &&
                n.current != gev_parent(g));
    gev_unref(g);
}

/* GLT19: in the hub; it must not park. */
GEV_TEST(rawlink_runs_in_the_hub)
{
    struct noted n = {.calls = 0};
    gev_greenlet *g = gev_spawn(return_arg, P(5));
    expect_ok(gev_rawlink(g, note_link, &n));
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(n.calls, 1);
    expect_ptr_eq(n.g, g);
    expect_ptr_eq(n.current, gev_parent(g));
    expect_int_eq(n.park_rc, -1);
    expect_int_eq(n.park_error, EPERM);
    gev_unref(g);
}

/* GLT17, GLT19: late links run too, but never inline. */
GEV_TEST(late_link_runs_but_not_inline)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(return_arg, NULL);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ok(gev_link(g, trace_link, "link"));
    expect_str_eq(trace_text(), "");
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "link");
    expect_ok(gev_rawlink(g, trace_link, "raw"));
    expect_ok(gev_link_value(g, trace_link, "value"));
    expect_ok(gev_link_error(g, trace_link, "error"));
    expect_str_eq(trace_text(), "link");
    gev_unref(g); /* the links hold it */
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "link raw value");
}

static void *link_self(void *arg)
{
    expect_ok(gev_link(gev_current(), trace_link, arg));
    expect_ok(gev_rawlink(gev_current(), trace_link, "raw"));
    trace("body");
    return NULL;
}

/* Never inline: also not when one links to itself. */
GEV_TEST(link_to_oneself_runs_after_the_end)
{
    trace_reset();
    gev_unref(gev_spawn(link_self, "link"));
    expect_ok(gev_run(GEV_FOREVER));
    expect_true(strcmp(trace_text(), "body link raw") == 0 ||
                strcmp(trace_text(), "body raw link") == 0);
}

static void link_all_kinds(gev_greenlet *g)
{
    trace_reset();
    expect_ok(gev_link(g, trace_link, "any"));
    expect_ok(gev_link_value(g, trace_link, "value"));
    expect_ok(gev_link_error(g, trace_link, "error"));
}

/* GLT18: on success (a kill is one), or on failure. */
GEV_TEST(link_value_and_link_error_choose)
{
    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *g = gev_spawn(sleep_2_ms, NULL);
    link_all_kinds(g);
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "any value");
    gev_unref(g);
    g = gev_spawn(fail_with, P(EIO));
    link_all_kinds(g);
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "any error");
    gev_unref(g);
    g = gev_spawn(park_forever, NULL);
    link_all_kinds(g);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "any value");
    gev_unref(g);
    g = gev_spawn(park_forever, NULL);
    link_all_kinds(g);
    expect_ok(gev_kill(g, 0)); /* before it began */
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "any value");
    gev_unref(g);
}

GEV_TEST(link_refuses_null)
{
    gev_greenlet *g = gev_spawn(return_arg, NULL);
    expect_fail(gev_link(NULL, trace_link, NULL), EINVAL);
    expect_fail(gev_link(g, NULL, NULL), EINVAL);
    expect_fail(gev_link_value(g, NULL, NULL), EINVAL);
    expect_fail(gev_link_error(g, NULL, NULL), EINVAL);
    expect_fail(gev_rawlink(g, NULL, NULL), EINVAL);
    expect_fail(gev_rawlink(NULL, trace_link, NULL), EINVAL);
    expect_fail(gev_unlink(NULL, trace_link, NULL), EINVAL);
    expect_fail(gev_link_to(NULL, g, GEV_LINK_ANY), EINVAL);
    expect_fail(gev_link_to(g, NULL, GEV_LINK_ANY), EINVAL);
    expect_fail(gev_link_to(g, gev_current(), 3), EINVAL);
    expect_fail(gev_link_to(g, gev_current(), -1), EINVAL);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
}

static int calls_in_order;
static int next_call;

static void check_order(gev_greenlet *g, void *arg)
{
    (void)g;
    calls_in_order += N(arg) == next_call;
    next_call++;
}

/* GLT21: 1000 links in order. */
GEV_TEST(links_run_in_the_order_of_registration)
{
    gev_greenlet *g = gev_spawn(sleep_2_ms, NULL);
    calls_in_order = 0;
    next_call = 0;
    for (int i = 0; i < 1000; i++) {
        expect_ok(gev_link(g, check_order, P(i)));
    }
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(calls_in_order, 1000);
    gev_unref(g);

    g = gev_spawn(sleep_2_ms, NULL);
    calls_in_order = 0;
    next_call = 0;
    for (int i = 0; i < 1000; i++) {
        expect_ok(gev_rawlink(g, check_order, P(i)));
    }
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(calls_in_order, 1000);
    gev_unref(g);
}

/* GLT20: unlink of an unknown pair: 0. */
GEV_TEST(unlink_takes_a_link_back)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(sleep_2_ms, NULL);
    char a[] = "a";
    char b[] = "b";
    expect_ok(gev_unlink(g, trace_link, a));
    expect_ok(gev_link(g, trace_link, a));
    expect_ok(gev_link_value(g, trace_link, b));
    expect_ok(gev_rawlink(g, trace_link, b));
    expect_ok(gev_unlink(g, trace_link, b)); /* the oldest: link_value's */
    expect_ok(gev_unlink(g, check_order, a));
    expect_ok(gev_run(GEV_FOREVER));
    expect_true(strcmp(trace_text(), "a b") == 0 ||
                strcmp(trace_text(), "b a") == 0);
    expect_ok(gev_unlink(g, trace_link, a)); /* it ran: unknown */
    gev_unref(g);
}

static char word_a[] = "a";
static char word_b[] = "b";
static char word_c[] = "c";

/* GLT20: the oldest of equal pairs goes. */
GEV_TEST(unlink_takes_the_oldest_of_equal_links)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(sleep_2_ms, NULL);
    expect_ok(gev_link(g, trace_link, word_a));
    expect_ok(gev_link(g, trace_link, word_b));
    expect_ok(gev_link(g, trace_link, word_a));
    expect_ok(gev_unlink(g, trace_link, word_a));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "b a");
    gev_unref(g);
}

static void unlink_b(gev_greenlet *g, void *word)
{
    trace((const char *)word);
    expect_ok(gev_unlink(g, trace_link, word_b));
}

/* GLT21: an earlier link may unlink a later one: then it does not run. */
GEV_TEST(rawlink_may_unlink_a_later_one)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(sleep_2_ms, NULL);
    expect_ok(gev_rawlink(g, unlink_b, word_a));
    expect_ok(gev_rawlink(g, trace_link, word_b));
    expect_ok(gev_rawlink(g, trace_link, word_c));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "a c");
    gev_unref(g);
}

/* GLT20: also from inside a link with a greenlet of its own. */
GEV_TEST(link_may_unlink_a_later_one)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(sleep_2_ms, NULL);
    expect_ok(gev_link(g, unlink_b, word_a));
    expect_ok(gev_link(g, trace_link, word_b));
    expect_ok(gev_link(g, trace_link, word_c));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "a c");
    gev_unref(g);
}

static void unlink_self(gev_greenlet *g, void *word)
{
    trace((const char *)word);
    expect_ok(gev_unlink(g, unlink_self, word));
}

static void add_rawlink(gev_greenlet *g, void *word)
{
    trace((const char *)word);
    expect_ok(gev_rawlink(g, trace_link, "added"));
    expect_ok(gev_unlink(g, add_rawlink, word)); /* running: unknown */
}

static void add_link(gev_greenlet *g, void *word)
{
    trace((const char *)word);
    expect_ok(gev_link(g, trace_link, "added"));
}

/* GLT21: a link may add others: they run. */
GEV_TEST(link_added_by_a_link_runs)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(sleep_2_ms, NULL);
    expect_ok(gev_rawlink(g, add_rawlink, "a"));
    expect_ok(gev_rawlink(g, trace_link, "b"));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "a b added");
    gev_unref(g);
    trace_reset();
    g = gev_spawn(sleep_2_ms, NULL);
    expect_ok(gev_link(g, add_link, "a"));
    expect_ok(gev_link(g, unlink_self, "b"));
    gev_unref(g);
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "a b added");
}

static void fail_in_link(gev_greenlet *g, void *word)
{
    (void)g;
    trace((const char *)word);
    (void)gev_kill(gev_current(), 0);
}

static void exit_in_link(gev_greenlet *g, void *word)
{
    (void)g;
    trace((const char *)word);
    gev_exit(NULL);
}

/* GLT21: what one link does to itself does not stop the rest. */
GEV_TEST(links_are_independent)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(sleep_2_ms, NULL);
    expect_ok(gev_link(g, fail_in_link, "a"));
    expect_ok(gev_link(g, exit_in_link, "b"));
    expect_ok(gev_link(g, trace_link, "c"));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "a b c");
    gev_unref(g);
}

static void note_name(gev_greenlet *g, void *arg)
{
    (void)arg;
    if (gev_sleep(0.001) == 0) {
        trace(gev_name(g));
        trace_number(gev_error(g));
    }
}

/* Section 12 "Joins": a link holds a reference until it ran. */
GEV_TEST(link_holds_its_greenlet)
{
    gev_set_error_handler(ignore_error, NULL);
    trace_reset();
    gev_greenlet *g = gev_spawn(fail_with, P(7));
    expect_ok(gev_set_name(g, "held"));
    expect_ok(gev_link(g, note_name, NULL));
    gev_unref(g);
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "held 7");
}

/* And one that is taken back lets go of it; one that never runs, too. */
GEV_TEST(links_that_never_run_leak_nothing)
{
    gev_greenlet *g = gev_new(return_arg, NULL);
    expect_ok(gev_link(g, trace_link, NULL));
    expect_ok(gev_unlink(g, trace_link, NULL));
    gev_unref(g);
    g = gev_spawn(park_forever, NULL);
    expect_ok(gev_link(g, trace_link, NULL));
    expect_ok(gev_rawlink(g, trace_link, NULL));
    expect_ok(gev_link_to(g, gev_current(), GEV_LINK_ERROR));
    gev_unref(g); /* gev_hub_close() ends it */
    expect_ok(gev_yield());
}

static void *defer_and_return(void *word)
{
    expect_ok(gev_defer(trace_call, word));
    return gev_sleep(0.001) == 0 ? NULL : gev_fail(errno);
}

/* Section 12 "Joins": defers run before links. */
GEV_TEST(defers_run_before_links)
{
    trace_reset();
    gev_greenlet *g = gev_spawn(defer_and_return, "defer");
    expect_ok(gev_rawlink(g, trace_link, "raw"));
    expect_ok(gev_link(g, trace_link, "link"));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "defer raw link");
    gev_unref(g);
}

/* Section 1.4 */
GEV_TEST(link_to_throws_the_end_into_the_receiver)
{
    gev_set_error_handler(ignore_error, NULL);
    expect_null(gev_linked());
    gev_greenlet *done = gev_spawn(sleep_2_ms, NULL);
    expect_ok(gev_link_to(done, gev_current(), GEV_LINK_ANY));
    expect_fail(gev_sleep(10), GEV_ELINKDONE);
    expect_ptr_eq(gev_linked(), done);
    gev_greenlet *failed = gev_spawn(fail_with, P(EIO));
    expect_ok(gev_link_to(failed, gev_current(), GEV_LINK_ANY));
    expect_fail(gev_sleep(10), GEV_ELINKFAILED);
    expect_ptr_eq(gev_linked(), failed);
    gev_greenlet *killed = gev_spawn(park_forever, NULL);
    expect_ok(gev_link_to(killed, gev_current(), GEV_LINK_ANY));
    expect_ok(gev_kill(killed, 0));
    expect_fail(gev_sleep(10), GEV_ELINKKILLED);
    expect_ptr_eq(gev_linked(), killed);
    expect_ok(gev_yield()); /* each was delivered once */
    gev_unref(done);
    gev_unref(failed);
    gev_unref(killed);
}

/* Section 1.4: which ends. */
GEV_TEST(link_to_chooses_which_ends)
{
    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *done = gev_spawn(return_arg, NULL);
    gev_greenlet *failed = gev_spawn(fail_with, P(EIO));
    gev_greenlet *killed = gev_spawn(park_forever, NULL);
    expect_ok(gev_link_to(done, gev_current(), GEV_LINK_ERROR));
    expect_ok(gev_link_to(killed, gev_current(), GEV_LINK_ERROR));
    expect_ok(gev_link_to(failed, gev_current(), GEV_LINK_VALUE));
    expect_ok(gev_kill(killed, 0));
    expect_ok(gev_sleep(0.002));
    expect_null(gev_linked());
    /* late ones, and the end of a kill is a value */
    expect_ok(gev_link_to(killed, gev_current(), GEV_LINK_VALUE));
    expect_fail(gev_sleep(10), GEV_ELINKKILLED);
    expect_ok(gev_link_to(failed, gev_current(), GEV_LINK_ERROR));
    expect_fail(gev_sleep(10), GEV_ELINKFAILED);
    expect_ok(gev_link_to(done, gev_current(), GEV_LINK_VALUE));
    expect_fail(gev_sleep(10), GEV_ELINKDONE);
    expect_ptr_eq(gev_linked(), done);
    gev_unref(done);
    gev_unref(failed);
    gev_unref(killed);
}

/* Section 1.2: gev_spawn_link and its two kin. */
GEV_TEST(spawn_link_links_to_the_caller)
{
    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *g = gev_spawn_link(return_arg, NULL);
    expect_str_eq(gev_name(g), "return_arg");
    expect_fail(gev_sleep(10), GEV_ELINKDONE);
    expect_ptr_eq(gev_linked(), g);
    gev_unref(g);
    g = gev_spawn_link(fail_with, P(EIO));
    expect_fail(gev_sleep(10), GEV_ELINKFAILED);
    gev_unref(g);
    g = gev_spawn_link_value(fail_with, P(EIO));
    expect_ok(gev_sleep(0.001));
    gev_unref(g);
    g = gev_spawn_link_value(return_arg, NULL);
    expect_fail(gev_sleep(10), GEV_ELINKDONE);
    gev_unref(g);
    g = gev_spawn_link_error(return_arg, NULL);
    expect_ok(gev_sleep(0.001));
    gev_unref(g);
    g = gev_spawn_link_error(fail_with, P(EIO));
    expect_fail(gev_sleep(10), GEV_ELINKFAILED);
    expect_ptr_eq(gev_linked(), g);
    gev_unref(g);
}

static void *sleep_twice(void *arg)
{
    int *errors = arg;
    for (int i = 0; i < 2; i++) {
        errors[i] = gev_sleep(10) == 0 ? 0 : errno;
    }
    return NULL;
}

/* Several ends come one by one, in the order of the ends. */
GEV_TEST(several_ends_are_thrown_one_by_one)
{
    gev_set_error_handler(ignore_error, NULL);
    int errors[2] = {0, 0};
    gev_greenlet *receiver = gev_spawn(sleep_twice, errors);
    gev_greenlet *a = gev_spawn(return_arg, NULL);
    gev_greenlet *b = gev_spawn(fail_with, P(EIO));
    expect_ok(gev_link_to(b, receiver, GEV_LINK_ANY));
    expect_ok(gev_link_to(a, receiver, GEV_LINK_ANY));
    expect_ok(gev_join(receiver, GEV_FOREVER));
    expect_int_eq(errors[0], GEV_ELINKDONE);
    expect_int_eq(errors[1], GEV_ELINKFAILED);
    gev_unref(receiver);
    gev_unref(a);
    gev_unref(b);
}

/* C4: a receiver that is dead by then. */
GEV_TEST(link_to_a_dead_receiver_is_harmless)
{
    gev_greenlet *receiver = gev_spawn(return_arg, NULL);
    gev_greenlet *g = gev_spawn(sleep_2_ms, NULL);
    expect_ok(gev_link_to(g, receiver, GEV_LINK_ANY));
    expect_ok(gev_join(receiver, GEV_FOREVER));
    gev_unref(receiver);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ok(gev_sleep(0.001));
    gev_unref(g);
}

struct attempt {
    gev_greenlet *spawned;
    int error;
};

static void link_in_callback(void *arg)
{
    struct attempt *a = arg;
    a->spawned = gev_spawn_link(return_arg, NULL);
    a->error = errno;
}

/* The hub has no parks that could fail. */
GEV_TEST(link_to_the_hub_is_refused)
{
    struct attempt a = {0};
    expect_ok(gev_hub_post(gev_hub_get(), link_in_callback, &a));
    expect_ok(gev_run(GEV_FOREVER));
    expect_null(a.spawned);
    expect_int_eq(a.error, EPERM);
    gev_greenlet *g = gev_spawn(return_arg, NULL);
    expect_fail(gev_link_to(g, gev_parent(g), GEV_LINK_ANY), EPERM);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(link_runs_in_a_greenlet_of_its_own),
        cmocka_unit_test(rawlink_runs_in_the_hub),
        cmocka_unit_test(late_link_runs_but_not_inline),
        cmocka_unit_test(link_to_oneself_runs_after_the_end),
        cmocka_unit_test(link_value_and_link_error_choose),
        cmocka_unit_test(link_refuses_null),
        cmocka_unit_test(links_run_in_the_order_of_registration),
        cmocka_unit_test(unlink_takes_a_link_back),
        cmocka_unit_test(unlink_takes_the_oldest_of_equal_links),
        cmocka_unit_test(rawlink_may_unlink_a_later_one),
        cmocka_unit_test(link_may_unlink_a_later_one),
        cmocka_unit_test(link_added_by_a_link_runs),
        cmocka_unit_test(links_are_independent),
        cmocka_unit_test(link_holds_its_greenlet),
        cmocka_unit_test(links_that_never_run_leak_nothing),
        cmocka_unit_test(defers_run_before_links),
        cmocka_unit_test(link_to_throws_the_end_into_the_receiver),
        cmocka_unit_test(link_to_chooses_which_ends),
        cmocka_unit_test(spawn_link_links_to_the_caller),
        cmocka_unit_test(several_ends_are_thrown_one_by_one),
        cmocka_unit_test(link_to_a_dead_receiver_is_harmless),
        cmocka_unit_test(link_to_the_hub_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
