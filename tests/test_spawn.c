/* SPDX-License-Identifier: MIT */

/* Making, starting and naming greenlets (TOP1-TOP3, GLT2-GLT9, GLT25-27). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <stdlib.h>

static uint64_t count_live(void)
{
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub_stats(gev_hub_get(), &stats);
    return stats.live;
}

static uint64_t count_timers(void)
{
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub_stats(gev_hub_get(), &stats);
    return stats.timers;
}

/* TOP1 */
GEV_TEST(spawned_run_in_order_at_the_next_park_and_never_inline)
{
    trace_reset();
    gev_greenlet *g[3] = {
        gev_spawn(trace_and_return, "a"),
        gev_spawn(trace_and_return, "b"),
        gev_spawn(trace_and_return, "c"),
    };
    expect_str_eq(trace_text(), "");
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "a b c");
    gev_unrefall(g, 3);
}

static void *spawn_two(void *arg)
{
    trace((const char *)arg);
    gev_unref(gev_spawn(trace_and_return, "x"));
    gev_unref(gev_spawn(trace_and_return, "y"));
    trace("spawned");
    return NULL;
}

/* TOP1: one spawned by a greenlet goes to the end of the queue. */
GEV_TEST(spawned_by_a_greenlet_go_to_the_end)
{
    trace_reset();
    gev_unref(gev_spawn(spawn_two, "a"));
    gev_unref(gev_spawn(trace_and_return, "b"));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "a spawned b x y");
}

/* Section 12: a NULL function is EINVAL. */
GEV_TEST(null_functions_are_einval)
{
    gev_attr attr = {.size = sizeof(attr)};
    errno = 0;
    expect_null(gev_spawn(NULL, NULL));
    expect_int_eq(errno, EINVAL);
    errno = 0;
    expect_null(gev_spawn_later(0.001, NULL, NULL));
    expect_int_eq(errno, EINVAL);
    errno = 0;
    expect_null(gev_spawn_attr(&attr, NULL, NULL));
    expect_int_eq(errno, EINVAL);
    errno = 0;
    expect_null(gev_spawn_copy(NULL, "x", 1));
    expect_int_eq(errno, EINVAL);
    errno = 0;
    expect_null(gev_spawn_link(NULL, NULL));
    expect_int_eq(errno, EINVAL);
    errno = 0;
    expect_null(gev_spawn_link_value(NULL, NULL));
    expect_int_eq(errno, EINVAL);
    errno = 0;
    expect_null(gev_spawn_link_error(NULL, NULL));
    expect_int_eq(errno, EINVAL);
    expect_fail(gev_spawn_raw(NULL, NULL), EINVAL);
    expect_uint_eq(count_live(), 0);
}

/* TOP2 */
GEV_TEST(spawn_later_goes_by_deadline)
{
    trace_reset();
    double start = test_now();
    gev_greenlet *late = gev_spawn_later(0.1, trace_and_return, "late");
    gev_greenlet *soon = gev_spawn_later(0.005, trace_and_return, "soon");
    gev_greenlet *now = gev_spawn_later(0, trace_and_return, "now");
    gev_greenlet *past = gev_spawn_later(-1, trace_and_return, "past");
    expect_true(gev_started(late));
    expect_false(gev_dead(late));
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "now past"); /* like gev_spawn() */
    expect_ok(gev_join(soon, GEV_FOREVER));
    expect_ge(test_now() - start, 0.005);
    expect_ok(gev_join(late, GEV_FOREVER));
    expect_ge(test_now() - start, 0.1);
    expect_str_eq(trace_text(), "now past soon late");
    gev_unref(late);
    gev_unref(soon);
    gev_unref(now);
    gev_unref(past);
}

/* TOP2 */
GEV_TEST(spawn_later_refuses_nan)
{
    errno = 0;
    expect_null(gev_spawn_later((double)NAN, return_arg, NULL));
    expect_int_eq(errno, EINVAL);
    expect_uint_eq(count_live(), 0);
}

/* TOP2: killed before, it never runs, and its timer is gone. */
GEV_TEST(spawn_later_killed_before_never_runs)
{
    trace_reset();
    gev_greenlet *g = gev_spawn_later(0.01, trace_and_return, "ran");
    gev_greenlet *never = gev_spawn_later(GEV_FOREVER, trace_and_return, "ran");
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_ok(gev_kill(never, GEV_FOREVER));
    expect_true(gev_dead(g));
    expect_true(gev_dead(never));
    expect_uint_eq(count_timers(), 0);
    expect_ok(gev_sleep(0.03));
    expect_str_eq(trace_text(), "");
    gev_unref(g);
    gev_unref(never);
}

/* GLT2: a second start, or one after the end or a kill, does nothing. */
GEV_TEST(start_is_idempotent)
{
    trace_reset();
    gev_greenlet *g = gev_new(trace_and_return, "ran");
    expect_false(gev_started(g));
    expect_ok(gev_start(g));
    expect_true(gev_started(g));
    expect_ok(gev_start(g));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ok(gev_start(g));
    expect_ok(gev_start_later(g, 0.001));
    expect_ok(gev_sleep(0.005));
    expect_str_eq(trace_text(), "ran");
    expect_true(gev_started(g)); /* stays true after the end */
    gev_unref(g);

    g = gev_new(trace_and_return, "never");
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_true(gev_dead(g));
    expect_ok(gev_start(g));
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "ran");
    gev_unref(g);

    g = gev_spawn(trace_and_return, "spawned");
    expect_ok(gev_start(g));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "ran spawned");
    gev_unref(g);
}

/* GLT3: whichever start is first wins. */
GEV_TEST(first_start_wins)
{
    trace_reset();
    gev_greenlet *g = gev_new(trace_and_return, "later");
    expect_ok(gev_start_later(g, 0.01));
    expect_true(gev_started(g));
    expect_ok(gev_start(g)); /* does nothing */
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "");
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "later");
    gev_unref(g);

    trace_reset();
    g = gev_new(trace_and_return, "now");
    expect_ok(gev_start(g));
    expect_ok(gev_start_later(g, 0.005));
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "now");
    expect_uint_eq(count_timers(), 0);
    gev_unref(g);
}

/* GLT2, GLT3 */
GEV_TEST(start_refuses_null_and_nan)
{
    expect_fail(gev_start(NULL), EINVAL);
    expect_fail(gev_start_later(NULL, 0.001), EINVAL);
    gev_greenlet *g = gev_new(return_arg, NULL);
    expect_fail(gev_start_later(g, (double)NAN), EINVAL);
    expect_false(gev_started(g));
    gev_unref(g);
}

static void *note_states(void *arg)
{
    gev_greenlet *self = gev_current();
    int *wrong = arg;
    *wrong = !gev_started(self) + gev_dead(self) + gev_ready(self) +
             gev_successful(self) + gev_killed(self);
    return P(5);
}

/* GLT5, GLT6, GLT7, GLT8, GLT9, section 12 "States" */
GEV_TEST(states_follow_the_life_of_a_greenlet)
{
    int wrong = -1;
    gev_greenlet *g = gev_new(note_states, &wrong);
    expect_false(gev_started(g));
    expect_false(gev_dead(g));
    expect_ok(gev_start(g));
    expect_true(gev_started(g)); /* before its first switch, too */
    expect_false(gev_dead(g));
    expect_false(gev_ready(g));
    expect_false(gev_successful(g));
    expect_false(gev_killed(g));
    expect_null(gev_value(g));
    expect_int_eq(gev_error(g), 0);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(wrong, 0);
    expect_true(gev_started(g));
    expect_true(gev_dead(g));
    expect_true(gev_ready(g));
    expect_true(gev_successful(g));
    expect_false(gev_killed(g));
    expect_int_eq(N(gev_value(g)), 5);
    expect_int_eq(gev_error(g), 0);
    gev_unref(g);
}

/* Section 12 "States" */
GEV_TEST(states_after_a_failure)
{
    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *g = gev_spawn(fail_with, P(EIO));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_true(gev_dead(g));
    expect_true(gev_ready(g));
    expect_false(gev_successful(g));
    expect_false(gev_killed(g));
    expect_null(gev_value(g));
    expect_int_eq(gev_error(g), EIO);
    gev_unref(g);
}

/* Section 12 "States": gev_fail(ECANCELED) is the same as a kill. */
GEV_TEST(states_after_failing_with_ecanceled)
{
    int errors = 0;
    gev_set_error_handler(count_error, &errors);
    gev_greenlet *g = gev_spawn(fail_with, P(ECANCELED));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_true(gev_killed(g));
    expect_true(gev_successful(g));
    expect_int_eq(gev_error(g), ECANCELED);
    expect_null(gev_value(g));
    expect_fail(gev_get(g, NULL, GEV_FOREVER), ECANCELED);
    expect_ok(gev_sleep(0.001));
    expect_int_eq(errors, 0);
    gev_unref(g);
}

/* Dropping the last reference of a started one merely detaches it. */
GEV_TEST(unref_detaches_what_is_started)
{
    trace_reset();
    gev_unref(gev_spawn(trace_and_return, "spawned"));
    gev_unref(gev_spawn_later(0.001, trace_and_return, "later"));
    gev_greenlet *g = gev_new(trace_and_return, "started");
    expect_ok(gev_start(g));
    gev_unref(g);
    gev_unref(NULL);
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "spawned started later");
    expect_uint_eq(count_live(), 0);
}

GEV_TEST(references_keep_a_dead_one_readable)
{
    gev_greenlet *g = gev_spawn(return_arg, P(3));
    expect_ptr_eq(gev_ref(g), g);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_int_eq(N(gev_value(g)), 3);
    expect_str_eq(gev_name(g), "return_arg");
    gev_greenlet *const all[] = {NULL, g, NULL};
    gev_unrefall(all, 3);
    gev_unrefall(NULL, 0);
}

/* TOP3 */
GEV_TEST(spawn_raw_runs_in_order_and_reports_failures)
{
    int errors = 0;
    trace_reset();
    gev_set_error_handler(count_error, &errors);
    gev_unref(gev_spawn(trace_and_return, "a"));
    expect_ok(gev_spawn_raw(trace_and_return, "b"));
    gev_unref(gev_spawn(trace_and_return, "c"));
    expect_ok(gev_spawn_raw(fail_with, P(EIO)));
    expect_ok(gev_spawn_raw(fail_with, P(ECANCELED)));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "a b c");
    expect_int_eq(errors, 1);
}

struct copied {
    long numbers[8];
};

static void *sum_copy(void *arg)
{
    struct copied *c = arg;
    if (gev_yield() != 0 || (uintptr_t)arg % 16 != 0) {
        return NULL;
    }
    long sum = 0;
    for (int i = 0; i < 8; i++) {
        sum += c->numbers[i];
        c->numbers[i] = 0; /* it is the greenlet's own */
    }
    return P(sum);
}

static gev_greenlet *spawn_with_a_local(void)
{
    struct copied c = {{1, 2, 3, 4, 5, 6, 7, 8}};
    gev_greenlet *g = gev_spawn_copy(sum_copy, &c, sizeof(c));
    memset(&c, 0xff, sizeof(c));
    return g;
}

/* C11, GLT24 */
GEV_TEST(spawn_copy_keeps_a_copy_of_the_argument)
{
    gev_greenlet *g = spawn_with_a_local();
    void *sum = NULL;
    expect_ok(gev_get(g, &sum, GEV_FOREVER));
    expect_int_eq(N(sum), 36);
    expect_str_eq(gev_name(g), "sum_copy");
    gev_unref(g);
}

static void *hash_text(void *arg)
{
    unsigned sum = 0;
    for (const char *s = arg; *s != '\0'; s++) {
        sum += (unsigned char)*s;
    }
    return P(sum);
}

/* C11: sizes that are no multiple of the alignment. */
GEV_TEST(spawn_copy_of_any_small_size)
{
    char text[200];
    gev_greenlet *g[190];
    for (int i = 0; i < 190; i++) {
        memset(text, 1, sizeof(text));
        text[i] = '\0';
        g[i] = gev_spawn_copy(hash_text, text, (size_t)i + 1);
    }
    for (int i = 0; i < 190; i++) {
        void *sum = NULL;
        expect_ok(gev_get(g[i], &sum, GEV_FOREVER));
        expect_int_eq(N(sum), i);
    }
    gev_unrefall(g, 190);
}

GEV_TEST(spawn_copy_refuses_what_does_not_fit)
{
    size_t size = 64 * 1024;
    char *big = calloc(1, size);
    expect_not_null(big);
    errno = 0;
    expect_null(gev_spawn_copy(return_arg, big, size));
    expect_int_eq(errno, E2BIG);
    errno = 0;
    expect_null(gev_spawn_copy(return_arg, big, SIZE_MAX));
    expect_int_eq(errno, E2BIG);
    errno = 0;
    expect_null(gev_spawn_copy(return_arg, NULL, 1));
    expect_int_eq(errno, EINVAL);
    free(big);
    gev_greenlet *g = gev_spawn_copy(hash_text, "", 1);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    g = gev_spawn_copy(return_arg, NULL, 0);
    expect_not_null(g);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
}

GEV_TEST(spawn_attr_takes_options)
{
    char name[] = "mine";
    gev_attr attr = {
        .size = sizeof(attr), .name = name, .stack_size = 256 * 1024};
    gev_greenlet *g = gev_spawn_attr(&attr, return_arg, P(1));
    name[0] = '?'; /* it was copied */
    expect_str_eq(gev_name(g), "mine");
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);

    g = gev_spawn_attr(NULL, return_arg, P(1));
    expect_str_eq(gev_name(g), "return_arg");
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);

    attr = (gev_attr){.size = sizeof(attr), .stack_size = 1};
    g = gev_spawn_attr(&attr, return_arg, P(2)); /* at least 16 KiB */
    void *value = NULL;
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_int_eq(N(value), 2);
    gev_unref(g);
}

GEV_TEST(spawn_attr_refuses_bad_options)
{
    gev_attr attr = {.size = 0}; /* zero means the default, here too */
    gev_greenlet *g = gev_spawn_attr(&attr, return_arg, NULL);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    attr.size = 1;
    errno = 0;
    expect_null(gev_spawn_attr(&attr, return_arg, NULL));
    expect_int_eq(errno, EINVAL);
    attr = (gev_attr){.size = sizeof(attr), .flags = 1};
    errno = 0;
    expect_null(gev_spawn_attr(&attr, return_arg, NULL));
    expect_int_eq(errno, EINVAL);
    attr = (gev_attr){.size = sizeof(attr), .stack_size = SIZE_MAX};
    errno = 0;
    expect_null(gev_spawn_attr(&attr, return_arg, NULL));
    expect_int_eq(errno, ENOMEM);
    attr.stack_size = SIZE_MAX / 4;
    errno = 0;
    expect_null(gev_spawn_attr(&attr, return_arg, NULL));
    expect_int_eq(errno, ENOMEM);
}

/* GLT26 */
GEV_TEST(names_default_to_the_function_and_can_be_set)
{
    gev_greenlet *g = gev_spawn(return_arg, NULL);
    expect_str_eq(gev_name(g), "return_arg");
    char name[] = "renamed";
    expect_ok(gev_set_name(g, name));
    name[0] = '?';
    expect_str_eq(gev_name(g), "renamed");
    expect_fail(gev_set_name(g, NULL), EINVAL);
    expect_fail(gev_set_name(NULL, "x"), EINVAL);
    expect_str_eq(gev_name(g), "renamed");
    expect_ok(gev_set_name(g, ""));
    expect_str_eq(gev_name(g), "");
    char long_name[2000];
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    expect_ok(gev_set_name(g, long_name));
    expect_str_eq(gev_name(g), long_name);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(gev_name(g), long_name); /* after the end, too */
    gev_unref(g);
    expect_not_null(gev_name(gev_current()));
    g = (gev_spawn)(return_arg, NULL);
    expect_not_null(gev_name(g));
    expect_str_eq(gev_spawn_site(g), "");
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
}

/* GLT27, CFG5 */
GEV_TEST(spawn_site_is_file_and_line)
{
    char site[300];
    int line = __LINE__ + 1;
    gev_greenlet *g = gev_spawn(return_arg, NULL);
    (void)snprintf(site, sizeof(site), "%s:%d", __FILE__, line);
    expect_str_eq(gev_spawn_site(g), site);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(gev_spawn_site(g), site);
    gev_unref(g);
    line = __LINE__ + 1;
    g = gev_new(return_arg, NULL);
    (void)snprintf(site, sizeof(site), "%s:%d", __FILE__, line);
    expect_str_eq(gev_spawn_site(g), site);
    gev_unref(g);
}

/* GLT25 */
GEV_TEST(ids_are_never_used_twice)
{
    uint64_t last = gev_id(gev_current());
    expect_uint_eq(last, 1);
    for (int i = 0; i < 100; i++) {
        gev_greenlet *g = gev_spawn(return_arg, NULL);
        expect_true(gev_id(g) > last);
        last = gev_id(g);
        expect_ok(gev_join(g, GEV_FOREVER));
        gev_unref(g);
    }
}

/* RAW9: the hub is the parent of what it runs; main has none. */
GEV_TEST(parent_of_a_spawned_one_is_the_hub)
{
    gev_greenlet *a = gev_spawn(return_arg, NULL);
    gev_greenlet *b = gev_spawn_later(0.001, return_arg, NULL);
    expect_not_null(gev_parent(a));
    expect_ptr_eq(gev_parent(a), gev_parent(b));
    expect_true(gev_parent(a) != gev_current());
    expect_null(gev_parent(gev_current()));
    expect_ok(gev_join(a, GEV_FOREVER));
    expect_ok(gev_join(b, GEV_FOREVER));
    gev_unref(a);
    gev_unref(b);
}

static void *exit_deep(void *arg)
{
    gev_exit(arg);
}

static void *exit_after_park(void *arg)
{
    if (gev_sleep(0.001) != 0) {
        return NULL;
    }
    return exit_deep(arg);
}

GEV_TEST(exit_ends_with_a_value)
{
    gev_greenlet *g = gev_spawn(exit_after_park, P(21));
    void *value = NULL;
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_int_eq(N(value), 21);
    expect_true(gev_successful(g));
    gev_unref(g);
}

static void *spawn_the_next(void *arg)
{
    int *left = arg;
    if (--*left > 0 && gev_spawn_raw(spawn_the_next, left) != 0) {
        return gev_fail(errno);
    }
    return NULL;
}

/* C12: each spawns the next: no recursion, and the stacks are reused. */
GEV_TEST(endless_chain_of_spawns)
{
    int left = 200000;
    expect_ok(gev_spawn_raw(spawn_the_next, &left));
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(left, 0);
}

static void *spawn_grandchild(void *arg)
{
    gev_greenlet *g = gev_spawn(return_arg, arg);
    void *value = NULL;
    int rc = gev_get(g, &value, GEV_FOREVER);
    gev_unref(g);
    return rc == 0 ? value : gev_fail(errno);
}

GEV_TEST(greenlets_join_their_own_children)
{
    gev_greenlet *g[50];
    for (int i = 0; i < 50; i++) {
        g[i] = gev_spawn(spawn_grandchild, P(i));
    }
    expect_int_eq(gev_joinall(g, 50, GEV_FOREVER), 50);
    for (int i = 0; i < 50; i++) {
        expect_int_eq(N(gev_value(g[i])), i);
    }
    gev_unrefall(g, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            spawned_run_in_order_at_the_next_park_and_never_inline),
        cmocka_unit_test(spawned_by_a_greenlet_go_to_the_end),
        cmocka_unit_test(null_functions_are_einval),
        cmocka_unit_test(spawn_later_goes_by_deadline),
        cmocka_unit_test(spawn_later_refuses_nan),
        cmocka_unit_test(spawn_later_killed_before_never_runs),
        cmocka_unit_test(start_is_idempotent),
        cmocka_unit_test(first_start_wins),
        cmocka_unit_test(start_refuses_null_and_nan),
        cmocka_unit_test(states_follow_the_life_of_a_greenlet),
        cmocka_unit_test(states_after_a_failure),
        cmocka_unit_test(states_after_failing_with_ecanceled),
        cmocka_unit_test(unref_detaches_what_is_started),
        cmocka_unit_test(references_keep_a_dead_one_readable),
        cmocka_unit_test(spawn_raw_runs_in_order_and_reports_failures),
        cmocka_unit_test(spawn_copy_keeps_a_copy_of_the_argument),
        cmocka_unit_test(spawn_copy_of_any_small_size),
        cmocka_unit_test(spawn_copy_refuses_what_does_not_fit),
        cmocka_unit_test(spawn_attr_takes_options),
        cmocka_unit_test(spawn_attr_refuses_bad_options),
        cmocka_unit_test(names_default_to_the_function_and_can_be_set),
        cmocka_unit_test(spawn_site_is_file_and_line),
        cmocka_unit_test(ids_are_never_used_twice),
        cmocka_unit_test(parent_of_a_spawned_one_is_the_hub),
        cmocka_unit_test(exit_ends_with_a_value),
        cmocka_unit_test(endless_chain_of_spawns),
        cmocka_unit_test(greenlets_join_their_own_children),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
