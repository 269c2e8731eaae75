/* SPDX-License-Identifier: MIT */

/* Results: gev/event.h (EVT9-EVT14). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

struct getter {
    gev_result *result;
    int rc;
    int error;
    void *value;
};

static void *get(void *arg)
{
    struct getter *g = arg;
    g->rc = gev_result_get(g->result, &g->value, GEV_FOREVER);
    g->error = g->rc == 0 ? 0 : errno;
    return NULL;
}

/* EVT9, EVT10: the first to settle it wins; any number may get. */
GEV_TEST(a_value_is_set_once)
{
    gev_result r;
    void *value = P(1);
    gev_result_init(&r);
    expect_false(gev_result_ready(&r));
    expect_false(gev_result_successful(&r));
    expect_fail(gev_result_get(&r, &value, 0), ETIMEDOUT);
    expect_int_eq(N(value), 1);
    expect_ok(gev_result_set(&r, NULL)); /* a value like any other */
    expect_true(gev_result_ready(&r));
    expect_true(gev_result_successful(&r));
    expect_fail(gev_result_set(&r, P(2)), EALREADY);
    expect_fail(gev_result_fail(&r, EIO), EALREADY);
    expect_ok(gev_result_get(&r, &value, 0));
    expect_null(value);
    expect_ok(gev_result_get(&r, NULL, GEV_FOREVER));
    expect_ok(gev_result_fini(&r));
    expect_false(gev_result_ready(&r)); /* fresh again */
}

/* EVT9, EVT11, EVT13 */
GEV_TEST(a_failure_is_everybodys)
{
    gev_result r = {{NULL}};
    struct getter a = {.result = &r, .value = P(7)};
    struct getter b = {.result = &r};
    gev_greenlet *g[2] = {gev_spawn(get, &a), gev_spawn(get, &b)};
    expect_ok(gev_yield());
    expect_fail(gev_result_fini(&r), EBUSY);
    expect_ok(gev_result_fail(&r, EPROTO));
    expect_true(gev_result_ready(&r));
    expect_false(gev_result_successful(&r));
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    expect_int_eq(a.error, EPROTO);
    expect_int_eq(b.error, EPROTO);
    expect_int_eq(N(a.value), 7);
    expect_fail(gev_result_get(&r, NULL, 0), EPROTO);
    gev_unrefall(g, 2);
    expect_ok(gev_result_fini(&r));
}

static void *return_it(void *arg)
{
    return arg;
}

static void *fail_with_eio(void *arg)
{
    (void)arg;
    return gev_fail(EIO);
}

static void *sleep_long(void *arg)
{
    (void)arg;
    gev_sleep(100);
    return NULL;
}

/* EVT12 */
GEV_TEST(follows_a_greenlet)
{
    gev_result r[4] = {{{NULL}}};
    gev_greenlet *g[3] = {gev_spawn(return_it, P(5)),
                          gev_spawn(fail_with_eio, NULL),
                          gev_spawn(sleep_long, NULL)};
    void *value = NULL;
    gev_set_error_handler(ignore_error, NULL);
    expect_ok(gev_rawlink(g[0], gev_result_follow, &r[0]));
    expect_ok(gev_link(g[0], gev_result_follow, &r[3]));
    expect_ok(gev_rawlink(g[1], gev_result_follow, &r[1]));
    expect_ok(gev_rawlink(g[2], gev_result_follow, &r[2]));
    expect_ok(gev_result_get(&r[0], &value, GEV_FOREVER));
    expect_int_eq(N(value), 5);
    expect_fail(gev_result_get(&r[1], &value, GEV_FOREVER), EIO);
    expect_ok(gev_kill(g[2], 0));
    expect_fail(gev_result_get(&r[2], &value, GEV_FOREVER), ECANCELED);
    expect_ok(gev_result_get(&r[3], NULL, GEV_FOREVER));
    gev_result_follow(g[1], &r[0]); /* ready already: stays */
    expect_true(gev_result_successful(&r[0]));
    gev_unrefall(g, 3);
}

/* EVT10: a kill and a set in both orders; time out. */
GEV_TEST(getters_that_leave)
{
    gev_result r = {{NULL}};
    struct getter a = {.result = &r};
    struct getter b = {.result = &r};
    expect_fail(gev_result_get(&r, NULL, 0.001), ETIMEDOUT);
    gev_greenlet *g[2] = {gev_spawn(get, &a), gev_spawn(get, &b)};
    expect_ok(gev_yield());
    expect_ok(gev_kill(g[0], 0));
    expect_ok(gev_result_set(&r, P(3)));
    expect_ok(gev_kill(g[1], 0));
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    expect_int_eq(a.error, ECANCELED);
    expect_int_eq(b.rc, 0);
    expect_int_eq(N(b.value), 3);
    gev_unrefall(g, 2);
}

/* Who was woken has its value though the result goes before it runs. */
GEV_TEST(finished_before_the_woken_run)
{
    gev_result r = {{NULL}};
    struct getter a = {.result = &r};
    gev_greenlet *g = gev_spawn(get, &a);
    expect_ok(gev_yield());
    expect_ok(gev_result_set(&r, P(4)));
    expect_ok(gev_result_fini(&r));
    memset(&r, 0xa5, sizeof(r));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(a.rc, 0);
    expect_int_eq(N(a.value), 4);
    gev_unref(g);
}

GEV_TEST(misuse_is_an_error)
{
    gev_result r = {{NULL}};
    expect_fail(gev_result_set(NULL, NULL), EINVAL);
    expect_fail(gev_result_fail(NULL, EIO), EINVAL);
    expect_fail(gev_result_fail(&r, 0), EINVAL);
    expect_fail(gev_result_fail(&r, -EIO), EINVAL);
    expect_false(gev_result_ready(&r));
    expect_fail(gev_result_get(NULL, NULL, 0), EINVAL);
    expect_fail(gev_result_get(&r, NULL, NAN), EINVAL);
    expect_fail(gev_result_fini(NULL), EINVAL);
    expect_false(gev_result_ready(NULL));
    expect_false(gev_result_successful(NULL));
    gev_result_init(NULL);
    gev_result never = {{NULL}};
    expect_fail(gev_result_post(&never, NULL), EINVAL);
    expect_fail(gev_result_post(NULL, NULL), EINVAL);
    expect_fail(gev_result_post_error(&r, 0), EINVAL);
}

static void *settle_elsewhere(void *arg)
{
    gev_result *r = arg;
    expect_fail(gev_result_set(&r[0], NULL), EPERM);
    expect_fail(gev_result_get(&r[0], NULL, 1), EPERM);
    expect_ok(gev_hub_close());
    expect_ok(gev_result_post(&r[0], P(8)));
    expect_ok(gev_result_post(&r[0], P(9))); /* too late, and no error */
    expect_ok(gev_result_post_error(&r[1], EPROTO));
    return NULL;
}

/* EVT14 */
GEV_TEST(threads)
{
    gev_result r[2];
    pthread_t thread;
    void *value = NULL;
    gev_result_init(&r[0]);
    gev_result_init(&r[1]);
    gev_hub_ref(gev_hub_get());
    expect_int_eq(pthread_create(&thread, NULL, settle_elsewhere, r), 0);
    expect_ok(gev_result_get(&r[0], &value, test_scale(5)));
    expect_int_eq(N(value), 8);
    expect_fail(gev_result_get(&r[1], &value, test_scale(5)), EPROTO);
    expect_int_eq(pthread_join(thread, NULL), 0);
    gev_hub_unref(gev_hub_get());
    expect_ok(gev_yield());
    expect_ok(gev_result_get(&r[0], &value, 0));
    expect_int_eq(N(value), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_set_once),
        cmocka_unit_test(a_failure_is_everybodys),
        cmocka_unit_test(follows_a_greenlet),
        cmocka_unit_test(getters_that_leave),
        cmocka_unit_test(finished_before_the_woken_run),
        cmocka_unit_test(misuse_is_an_error),
        cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
