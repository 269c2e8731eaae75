/* SPDX-License-Identifier: MIT */

/* Spawn hooks: who wants to know of every greenlet that is started. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

static void trace_name(gev_greenlet *g, void *arg)
{
    (void)arg;
    expect_true(gev_started(g));
    expect_false(gev_dead(g));
    trace(gev_name(g));
}

static void trace_word(gev_greenlet *g, void *word)
{
    (void)g;
    trace(word);
}

static char word_a[] = "a";
static char word_b[] = "b";

static void *first(void *arg)
{
    return arg;
}
static void *second(void *arg)
{
    return arg;
}

static void finish(gev_greenlet *g)
{
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
}

/* GLT28 */
GEV_TEST(hook_sees_every_start_with_a_handle)
{
    const gev_attr attr = {.name = "attr"};

    trace_reset();
    expect_ok(gev_add_spawn_hook(trace_name, NULL));
    gev_greenlet *g = gev_spawn(first, NULL);
    expect_str_eq(trace_text(), "first"); /* at once, before it runs */
    finish(g);
    finish(gev_spawn(second, NULL)); /* on a used stack */
    finish(gev_spawn_attr(&attr, first, NULL));
    finish(gev_spawn_later(0.001, second, NULL));
    finish(gev_spawn_later(0, second, NULL));
    finish(gev_spawn_copy(first, "x", 1));
    finish((gev_spawn)(first, NULL));
    expect_str_eq(trace_text(),
                  "first second attr second second first greenlet");
    trace_reset();
    g = gev_new(first, NULL);
    expect_str_eq(trace_text(), "");
    expect_ok(gev_start(g));
    expect_ok(gev_start(g)); /* does nothing */
    expect_str_eq(trace_text(), "first");
    finish(g);
    g = gev_new(second, NULL);
    expect_ok(gev_start_later(g, 0.001));
    expect_ok(gev_start_later(g, 0.001));
    finish(g);
    expect_str_eq(trace_text(), "first second");
    expect_ok(gev_remove_spawn_hook(trace_name, NULL));
}

GEV_TEST(hook_sees_linked_spawns)
{
    trace_reset();
    expect_ok(gev_add_spawn_hook(trace_name, NULL));
    gev_greenlet *g = gev_spawn_link_error(first, NULL);
    finish(g);
    expect_str_eq(trace_text(), "first");
    expect_ok(gev_yield());
}

/* GLT28 */
GEV_TEST(hook_does_not_see_what_has_no_handle)
{
    trace_reset();
    expect_ok(gev_add_spawn_hook(trace_name, NULL));
    expect_ok(gev_spawn_raw(first, NULL));
    expect_ok(gev_yield());
    expect_ok(gev_spawn_raw(first, NULL));
    expect_ok((gev_spawn_raw)(first, NULL));
    expect_ok(gev_hub_spawn(gev_hub_get(), first, NULL));
    expect_ok(gev_sleep(0.001));
    gev_greenlet *raw = gev_new(first, NULL);
    expect_ok(gev_switch(raw, NULL, NULL));
    gev_unref(raw);
    expect_str_eq(trace_text(), "");
}

/* GLT28: a set of pairs, in order. */
GEV_TEST(hooks_are_a_set_of_pairs)
{
    trace_reset();
    expect_ok(gev_add_spawn_hook(trace_word, word_a));
    expect_ok(gev_add_spawn_hook(trace_word, word_b));
    expect_ok(gev_add_spawn_hook(trace_word, word_a));
    finish(gev_spawn(first, NULL));
    expect_str_eq(trace_text(), "a b");
    expect_ok(gev_remove_spawn_hook(trace_word, word_a));
    expect_ok(gev_remove_spawn_hook(trace_word, word_a)); /* unknown: fine */
    finish(gev_spawn(first, NULL));
    expect_str_eq(trace_text(), "a b b");
    expect_ok(gev_remove_spawn_hook(trace_word, word_b));
    finish(gev_spawn(first, NULL));
    expect_str_eq(trace_text(), "a b b");
    expect_fail(gev_add_spawn_hook(NULL, NULL), EINVAL);
    expect_ok(gev_remove_spawn_hook(NULL, NULL));
}

static void change_hooks(gev_greenlet *g, void *arg)
{
    (void)g;
    (void)arg;
    trace("change");
    expect_ok(gev_remove_spawn_hook(change_hooks, NULL));
    expect_ok(gev_remove_spawn_hook(trace_word, word_a));
    expect_ok(gev_add_spawn_hook(trace_word, word_b));
}

/* GLT28: those taken back are not called, new ones not yet. */
GEV_TEST(hook_may_change_the_hooks)
{
    trace_reset();
    expect_ok(gev_add_spawn_hook(change_hooks, NULL));
    expect_ok(gev_add_spawn_hook(trace_word, word_a));
    finish(gev_spawn(first, NULL));
    expect_str_eq(trace_text(), "change");
    finish(gev_spawn(first, NULL));
    expect_str_eq(trace_text(), "change b");
}

static void treat_badly(gev_greenlet *g, void *arg)
{
    expect_fail(gev_yield(), EPERM);
    expect_fail(gev_sleep(0.001), EPERM);
    expect_fail(gev_join(g, GEV_FOREVER), EPERM);
    expect_ok(gev_set_name(g, "renamed"));
    if (arg != NULL) {
        expect_ok(gev_kill(g, 0));
    }
    expect_ok(gev_spawn_raw(second, NULL));
}

GEV_TEST(hook_may_do_anything_but_park)
{
    expect_ok(gev_add_spawn_hook(treat_badly, NULL));
    gev_greenlet *g = gev_spawn(first, P(1));
    expect_str_eq(gev_name(g), "renamed");
    expect_ok(gev_yield()); /* the spawner parks as ever */
    finish(g);
    expect_ok(gev_remove_spawn_hook(treat_badly, NULL));
    expect_ok(gev_add_spawn_hook(treat_badly, P(1)));
    g = gev_spawn(first, P(1));
    expect_true(gev_killed(g));
    finish(g);
}

static void spawn_in_hub(void *arg)
{
    gev_unref(gev_spawn(first, arg));
    expect_fail(gev_yield(), EPERM); /* parking stays forbidden here */
}

/* GLT28 */
GEV_TEST(hook_sees_spawns_of_callbacks)
{
    trace_reset();
    expect_ok(gev_add_spawn_hook(trace_name, NULL));
    expect_ok(gev_hub_post(gev_hub_get(), spawn_in_hub, NULL));
    expect_ok(gev_sleep(0.001));
    expect_str_eq(trace_text(), "first");
}

/* They are the hub's, and go with it. */
GEV_TEST(hooks_go_with_the_hub)
{
    trace_reset();
    expect_ok(gev_add_spawn_hook(trace_name, NULL));
    expect_ok(gev_hub_close());
    finish(gev_spawn(first, NULL));
    finish(gev_spawn(first, NULL));
    expect_str_eq(trace_text(), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hook_sees_every_start_with_a_handle),
        cmocka_unit_test(hook_sees_linked_spawns),
        cmocka_unit_test(hook_does_not_see_what_has_no_handle),
        cmocka_unit_test(hooks_are_a_set_of_pairs),
        cmocka_unit_test(hook_may_change_the_hooks),
        cmocka_unit_test(hook_may_do_anything_but_park),
        cmocka_unit_test(hook_sees_spawns_of_callbacks),
        cmocka_unit_test(hooks_go_with_the_hub),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
