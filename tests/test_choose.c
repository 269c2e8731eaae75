/* SPDX-License-Identifier: MIT */

/* gev_choose(): exactly one of several sends and receives. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

static gev_clause receive(gev_channel *c)
{
    return (gev_clause){.op = GEV_RECV, .channel = c, .item = P(-1)};
}

static gev_clause send_number(gev_channel *c, int number)
{
    return (gev_clause){.op = GEV_SEND, .channel = c, .item = P(number)};
}

/* A greenlet that chooses among up to 20. */
struct chooser {
    gev_clause clause[20];
    size_t n;
    double timeout;
    int rc;
    int error;
};

static void *choose(void *arg)
{
    struct chooser *c = arg;
    c->rc = gev_choose(c->clause, c->n, c->timeout);
    c->error = c->rc >= 0 ? 0 : errno;
    trace_number(c->rc);
    return NULL;
}

static gev_greenlet *start(struct chooser *c)
{
    gev_greenlet *g = gev_spawn(choose, c);
    expect_ok(gev_yield());
    return g;
}

static void end(gev_greenlet *g)
{
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
}

static void expect_item(gev_channel *c, int number)
{
    void *item = P(-1);
    expect_ok(gev_channel_recv(c, &item, 0));
    expect_int_eq(N(item), number);
}

static void make(gev_channel *c[], size_t n, size_t capacity)
{
    for (size_t i = 0; i < n; i++) {
        c[i] = gev_channel_new(capacity);
    }
}

static void free_all(gev_channel *c[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        gev_channel_free(c[i]);
    }
}

/* --- at once -------------------------------------------------------------- */

/* Of several that could be done now, the first in the array, alone. */
GEV_TEST(first_ready_clause_wins)
{
    gev_channel *c[3];
    make(c, 3, 1);
    expect_ok(gev_channel_send(c[1], P(1), 0));
    expect_ok(gev_channel_send(c[2], P(2), 0));
    gev_clause a[] = {receive(c[0]), receive(c[1]), receive(c[2])};
    expect_int_eq(gev_choose(a, 3, GEV_FOREVER), 1);
    expect_int_eq(N(a[1].item), 1);
    expect_int_eq(N(a[2].item), -1);
    gev_clause b[] = {receive(c[1]), send_number(c[1], 5), receive(c[2])};
    expect_int_eq(gev_choose(b, 3, 0), 1);
    expect_uint_eq(gev_channel_size(c[2]), 1);
    expect_item(c[1], 5);
    free_all(c, 3);
}

GEV_TEST(timeout_of_zero_polls)
{
    gev_channel *c = gev_channel_new(0);
    gev_clause a[] = {receive(c), send_number(c, 1), receive(NULL)};
    expect_fail(gev_choose(a, 3, 0), ETIMEDOUT);
    expect_fail(gev_choose(a, 3, -1), ETIMEDOUT);
    expect_fail(gev_channel_recv(c, NULL, 0), ETIMEDOUT); /* nothing left */
    double begin = test_now();
    expect_fail(gev_choose(a, 3, 0.01), ETIMEDOUT);
    expect_ge(test_now() - begin, 0.01);
    expect_int_eq(N(a[0].item), -1);
    gev_channel_free(c);
}

/* NULL never fires; nothing at all is a wait. */
GEV_TEST(null_channels_never_fire)
{
    gev_channel *c = gev_channel_new(1);
    gev_clause a[] = {receive(NULL), {.op = 0}, send_number(c, 1)};
    expect_int_eq(gev_choose(a, 3, GEV_FOREVER), 2);
    expect_fail(gev_choose(a, 2, 0.002), ETIMEDOUT);
    expect_fail(gev_choose(a, 2, GEV_FOREVER), EDEADLK);
    expect_fail(gev_choose(NULL, 0, 0.002), ETIMEDOUT);
    expect_fail(gev_choose(NULL, 0, 0), ETIMEDOUT);
    gev_channel_free(c);
}

GEV_TEST(misuse_is_einval)
{
    gev_channel *c = gev_channel_new(1);
    gev_clause a[] = {send_number(c, 1), {.op = 7, .channel = c}};
    expect_fail(gev_choose(a, 2, 0), EINVAL);
    expect_uint_eq(gev_channel_size(c), 0); /* nothing was done */
    expect_fail(gev_choose(NULL, 1, 0), EINVAL);
    expect_fail(gev_choose(a, 1, (double)NAN), EINVAL);
    gev_channel_free(c);
}

static void choose_in_callback(void *arg)
{
    gev_channel *c = arg;
    gev_clause a[] = {receive(c), send_number(c, 3)};
    expect_fail(gev_choose(a, 1, 1), EPERM);
    expect_fail(gev_choose(a, 1, 0), ETIMEDOUT);
    expect_int_eq(gev_choose(a, 2, 0), 1);
    expect_int_eq(gev_choose(a, 2, 1), 0);
    expect_int_eq(N(a[0].item), 3);
    trace("called");
}

GEV_TEST(choose_works_in_callbacks)
{
    gev_channel *c = gev_channel_new(1);
    trace_reset();
    expect_ok(gev_hub_post(gev_hub_get(), choose_in_callback, c));
    expect_ok(gev_sleep(0.001));
    expect_str_eq(trace_text(), "called");
    gev_channel_free(c);
}

/* --- waiting -------------------------------------------------------------- */

/* The first that happens is done, and nothing of the others. */
GEV_TEST(first_event_wins)
{
    for (int which = 0; which < 4; which++) {
        gev_channel *c[4];
        make(c, 4, 0);
        struct chooser chooser = {
            .clause = {receive(c[0]), send_number(c[1], 1), receive(c[2]),
                       send_number(c[3], 3)},
            .n = 4,
            .timeout = which % 2 == 0 ? GEV_FOREVER : 10};
        gev_greenlet *g = start(&chooser);
        for (int i = 0; i < 4; i++) { /* all, but which is the first */
            int k = (which + i) % 4;
            int rc = k % 2 == 0 ? gev_channel_send(c[k], P(10 + k), 0)
                                : gev_channel_recv(c[k], NULL, 0);
            expect_int_eq(rc, i == 0 ? 0 : -1);
        }
        end(g);
        expect_int_eq(chooser.rc, which);
        for (int k = 0; k < 4; k++) {
            expect_int_eq(N(chooser.clause[k].item), k % 2 == 1   ? k
                                                     : k == which ? 10 + k
                                                                  : -1);
            expect_int_eq(chooser.clause[k].error, 0);
        }
        free_all(c, 4);
    }
}

/* Two in one channel, in both directions: it does not deal with itself. */
GEV_TEST(choose_never_deals_with_itself)
{
    gev_channel *c = gev_channel_new(0);
    gev_clause alone[] = {send_number(c, 1), receive(c)};
    expect_fail(gev_choose(alone, 2, 0.002), ETIMEDOUT);
    expect_fail(gev_choose(alone, 2, GEV_FOREVER), EDEADLK);
    struct chooser first = {
        .clause = {send_number(c, 1), receive(c), receive(c)},
        .n = 3,
        .timeout = GEV_FOREVER};
    struct chooser second = {.clause = {receive(c), send_number(c, 2)},
                             .n = 2,
                             .timeout = GEV_FOREVER};
    gev_greenlet *g = start(&first);
    gev_greenlet *h = start(&second);
    end(g);
    end(h);
    expect_int_eq(first.rc, 0);
    expect_int_eq(second.rc, 0);
    expect_int_eq(N(second.clause[0].item), 1);
    g = start(&first);
    expect_ok(gev_channel_send(c, P(4), 0));
    end(g);
    expect_int_eq(first.rc, 1);
    expect_int_eq(N(first.clause[1].item), 4);
    expect_fail(gev_channel_recv(c, NULL, 0), ETIMEDOUT);
    gev_channel_free(c);
}

/* Two choosers, each other's only partner. */
GEV_TEST(choosers_meet)
{
    gev_channel *c[3];
    make(c, 3, 0);
    struct chooser sends = {
        .clause = {send_number(c[0], 1), send_number(c[1], 2)},
        .n = 2,
        .timeout = GEV_FOREVER};
    struct chooser receives = {
        .clause = {receive(c[2]), receive(c[1]), receive(c[0])},
        .n = 3,
        .timeout = 10};
    for (int i = 0; i < 2; i++) {
        trace_reset();
        gev_greenlet *g = start(i == 0 ? &sends : &receives);
        gev_greenlet *h = start(i == 0 ? &receives : &sends);
        end(g);
        end(h);
        /* the receiver goes on first; the one that came takes its first */
        expect_int_eq(sends.rc, i == 0 ? 1 : 0);
        expect_int_eq(receives.rc, i == 0 ? 1 : 2);
        expect_str_eq(trace_text(), i == 0 ? "1 1" : "2 0");
    }
    free_all(c, 3);
}

/* In line with plain sends and receives. */
GEV_TEST(choosers_stand_in_line)
{
    gev_channel *c = gev_channel_new(0);
    struct chooser choosers[4];
    gev_greenlet *g[4];
    for (int i = 0; i < 4; i++) {
        choosers[i] = (struct chooser){
            .clause = {receive(c)}, .n = 1, .timeout = GEV_FOREVER};
        g[i] = start(&choosers[i]);
    }
    for (int i = 0; i < 4; i++) {
        expect_ok(gev_channel_send(c, P(i), 0));
    }
    for (int i = 0; i < 4; i++) {
        end(g[i]);
        expect_int_eq(N(choosers[i].clause[0].item), i);
    }
    gev_channel_free(c);
}

/* More than fit the stack. */
GEV_TEST(many_clauses)
{
    gev_channel *c[20];
    make(c, 20, 0);
    for (int which = 0; which < 20; which += 3) {
        struct chooser chooser = {.n = 20, .timeout = GEV_FOREVER};
        for (int i = 0; i < 20; i++) {
            chooser.clause[i] =
                i % 2 == 0 ? receive(c[i]) : send_number(c[i], i);
        }
        gev_greenlet *g = start(&chooser);
        if (which % 2 == 0) {
            expect_ok(gev_channel_send(c[which], P(which), 0));
        } else {
            expect_item(c[which], which);
        }
        end(g);
        expect_int_eq(chooser.rc, which);
        expect_int_eq(N(chooser.clause[which].item), which);
    }
    free_all(c, 20);
}

/* A buffer that gets room takes a chooser's item. */
GEV_TEST(choose_waits_for_room)
{
    gev_channel *c = gev_channel_new(1);
    struct chooser chooser = {
        .clause = {send_number(c, 2)}, .n = 1, .timeout = GEV_FOREVER};
    expect_ok(gev_channel_send(c, P(1), 0));
    gev_greenlet *g = start(&chooser);
    expect_item(c, 1);
    expect_uint_eq(gev_channel_size(c), 1);
    end(g);
    expect_item(c, 2);
    gev_channel_free(c);
}

/* --- interrupted, closed -------------------------------------------------- */

/* QUE7, C6, T8: killed before or after something was given to it. */
GEV_TEST(kill_in_both_orders)
{
    gev_channel *c[2];
    make(c, 2, 0);
    struct chooser chooser = {.clause = {receive(c[0]), send_number(c[1], 1)},
                              .n = 2,
                              .timeout = GEV_FOREVER};
    gev_greenlet *g = start(&chooser);
    expect_ok(gev_kill(g, 0));
    expect_fail(gev_channel_send(c[0], P(5), 0), ETIMEDOUT);
    expect_fail(gev_channel_recv(c[1], NULL, 0), ETIMEDOUT);
    end(g);
    expect_int_eq(chooser.error, ECANCELED);
    g = start(&chooser);
    expect_item(c[1], 1);
    expect_ok(gev_kill(g, 0));
    expect_fail(gev_channel_send(c[0], P(5), 0), ETIMEDOUT);
    end(g);
    expect_int_eq(chooser.rc, 1);
    free_all(c, 2);
}

/* The clause whose channel is closed is told, and only that one. */
GEV_TEST(closed_clause_is_named)
{
    gev_channel *c[3];
    make(c, 3, 0);
    struct chooser chooser = {
        .clause = {receive(c[0]), send_number(c[1], 1), receive(c[2])},
        .n = 3,
        .timeout = GEV_FOREVER};
    gev_greenlet *g = start(&chooser);
    expect_ok(gev_channel_close(c[1]));
    end(g);
    expect_int_eq(chooser.error, EPIPE);
    expect_int_eq(chooser.clause[0].error, 0);
    expect_int_eq(chooser.clause[1].error, EPIPE);
    expect_int_eq(chooser.clause[2].error, 0);
    /* closed before */
    expect_fail(gev_choose(chooser.clause, 3, GEV_FOREVER), EPIPE);
    expect_int_eq(chooser.clause[1].error, EPIPE);
    chooser.clause[1].channel = NULL;
    expect_fail(gev_choose(chooser.clause, 3, 0), ETIMEDOUT);
    expect_int_eq(chooser.clause[1].error, 0);
    g = start(&chooser);
    gev_channel_free(c[2]);
    end(g);
    expect_int_eq(chooser.error, EPIPE);
    expect_int_eq(chooser.clause[2].error, EPIPE);
    free_all(c, 2);
}

/* In the array's order: a closed channel is as good as a ready one. */
GEV_TEST(order_decides_between_closed_and_ready)
{
    gev_channel *closed = gev_channel_new(1);
    gev_channel *ready = gev_channel_new(1);
    expect_ok(gev_channel_send(closed, P(1), 0));
    expect_ok(gev_channel_close(closed));
    gev_clause a[] = {receive(closed), send_number(ready, 2)};
    expect_int_eq(gev_choose(a, 2, 0), 0); /* what is left in it */
    expect_int_eq(N(a[0].item), 1);
    expect_fail(gev_choose(a, 2, 0), EPIPE);
    expect_int_eq(a[0].error, EPIPE);
    gev_clause b[] = {send_number(ready, 2), receive(closed)};
    expect_int_eq(gev_choose(b, 2, 0), 0);
    expect_fail(gev_choose(b, 2, GEV_FOREVER), EPIPE);
    expect_int_eq(b[1].error, EPIPE);
    gev_channel_free(closed);
    gev_channel_free(ready);
}

static void *wait_for_it(void *arg)
{
    gev_waitable *w = GEV_WAITABLE((gev_channel *)arg);
    return P(gev_wait(&w, 1, 1, GEV_FOREVER));
}

/* A chooser that waits to send makes a channel ready. */
GEV_TEST(waiting_choice_is_readiness)
{
    gev_channel *c = gev_channel_new(0);
    struct chooser chooser = {.clause = {receive(c), send_number(c, 6)},
                              .n = 2,
                              .timeout = GEV_FOREVER};
    gev_greenlet *waiter = gev_spawn(wait_for_it, c);
    expect_ok(gev_yield());
    gev_greenlet *g = start(&chooser);
    end(waiter);
    expect_true(gev_waitable_ready(GEV_WAITABLE(c)));
    expect_item(c, 6);
    expect_false(gev_waitable_ready(GEV_WAITABLE(c)));
    end(g);
    gev_channel_free(c);
}

static void *never_heed(void *arg)
{
    struct chooser *c = arg;
    while (c->timeout > 0) {
        (void)gev_choose(c->clause, c->n, c->timeout);
    }
    return NULL;
}

/* C5: the hub is closed before the channels; also with one who ignores its
 * kill. */
GEV_TEST(channels_outlive_the_hub)
{
    gev_channel *c = gev_channel_new(0);
    struct chooser choosers[3];
    for (int i = 0; i < 3; i++) {
        choosers[i] =
            (struct chooser){.n = i == 0 ? 2 : 12, .timeout = GEV_FOREVER};
        for (size_t k = 0; k < choosers[i].n; k++) {
            choosers[i].clause[k] = receive(c);
        }
        gev_unref(gev_spawn(i < 2 ? choose : never_heed, &choosers[i]));
        expect_ok(gev_yield());
    }
    expect_ok(gev_hub_close());
    expect_int_eq(choosers[0].error, ECANCELED);
    expect_int_eq(choosers[1].error, ECANCELED);
    expect_fail(gev_channel_send(c, P(1), 0), ETIMEDOUT); /* nobody waits */
    gev_channel_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_ready_clause_wins),
        cmocka_unit_test(timeout_of_zero_polls),
        cmocka_unit_test(null_channels_never_fire),
        cmocka_unit_test(misuse_is_einval),
        cmocka_unit_test(choose_works_in_callbacks),
        cmocka_unit_test(first_event_wins),
        cmocka_unit_test(choose_never_deals_with_itself),
        cmocka_unit_test(choosers_meet),
        cmocka_unit_test(choosers_stand_in_line),
        cmocka_unit_test(many_clauses),
        cmocka_unit_test(choose_waits_for_room),
        cmocka_unit_test(kill_in_both_orders),
        cmocka_unit_test(closed_clause_is_named),
        cmocka_unit_test(order_decides_between_closed_and_ready),
        cmocka_unit_test(waiting_choice_is_readiness),
        cmocka_unit_test(channels_outlive_the_hub),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
