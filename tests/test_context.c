/* SPDX-License-Identifier: MIT */

/* gev_context: one pointer that a greenlet inherits from who made it. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

static void *return_context(void *arg)
{
    (void)arg;
    return gev_context();
}

static void *spawn_grandchild(void *arg)
{
    gev_greenlet *g = gev_spawn(return_context, NULL);
    void *value = NULL;

    expect_ok(gev_get(g, &value, GEV_FOREVER));
    gev_unref(g);
    (void)arg;
    return value;
}

static void expect_context_of(gev_greenlet *g, void *context)
{
    void *value = P(-1);

    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_ptr_eq(value, context);
    gev_unref(g);
}

/* CTX1, GLT27 (spawn_tree_locals) */
GEV_TEST(context_is_inherited_by_every_way_to_make_a_greenlet)
{
    const gev_attr attr = {.name = "named"};
    void *value = NULL;

    expect_null(gev_context());
    expect_ok(gev_set_context(P(7)));
    expect_int_eq(N(gev_context()), 7);
    expect_context_of(gev_spawn(return_context, NULL), P(7));
    expect_context_of(gev_spawn(spawn_grandchild, NULL), P(7));
    expect_context_of(gev_spawn_attr(&attr, return_context, NULL), P(7));
    expect_context_of(gev_spawn_later(0.001, return_context, NULL), P(7));
    expect_context_of(gev_spawn_copy(return_context, "x", 2), P(7));
    gev_greenlet *g = gev_new(return_context, NULL);
    expect_ok(gev_start(g));
    expect_context_of(g, P(7));
    g = gev_new_attr(&attr, return_context, NULL);
    expect_ok(gev_switch(g, NULL, &value));
    expect_int_eq(N(value), 7);
    gev_unref(g);
}

static void *keep_context(void *arg)
{
    expect_int_eq(N(gev_context()), 1);
    expect_ok(gev_yield());
    expect_int_eq(N(gev_context()), 1); /* whatever main has now */
    expect_ok(gev_set_context(arg));
    expect_ok(gev_yield());
    return gev_context();
}

/* CTX1, RAW17, GLT27: one that sets its own starts a tree of its own. */
GEV_TEST(context_is_the_greenlets_own)
{
    expect_ok(gev_set_context(P(1)));
    gev_greenlet *g = gev_spawn(keep_context, P(2));
    expect_ok(gev_yield());
    expect_ok(gev_set_context(P(3)));
    expect_ok(gev_yield());
    expect_int_eq(N(gev_context()), 3);
    expect_context_of(g, P(2));
    expect_ok(gev_set_context(NULL));
    expect_context_of(gev_spawn(return_context, NULL), NULL);
}

static void *remember_context(void *arg)
{
    *(void **)arg = gev_context();
    return NULL;
}

/* CTX1: the hub has none to give. */
GEV_TEST(context_of_what_the_hub_makes_is_null)
{
    void *seen = P(9);

    expect_ok(gev_set_context(P(1)));
    expect_ok(gev_hub_spawn(gev_hub_get(), remember_context, &seen));
    expect_ok(gev_sleep(0.001));
    expect_null(seen);
    expect_ok(gev_hub_close());
    expect_null(gev_context());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(context_is_inherited_by_every_way_to_make_a_greenlet),
        cmocka_unit_test(context_is_the_greenlets_own),
        cmocka_unit_test(context_of_what_the_hub_makes_is_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
