/* SPDX-License-Identifier: MIT */

/* Queues, first in first out: order, limits, waiting, joining, shutdown, what
 * interrupted waiters leave behind. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/greenlets.h"
#include "support/trace.h"

#include <unistd.h>

/* --- what the tests do in greenlets --------------------------------------- */

struct job {
    gev_queue *q;
    int number;
    double timeout;
    int rc;
    int error;
    void *item;
};

static void *put_one(void *arg)
{
    struct job *j = arg;
    j->rc = gev_queue_put(j->q, P(j->number), j->timeout);
    j->error = j->rc == 0 ? 0 : errno;
    if (j->rc == 0) {
        trace_number(j->number);
    }
    return NULL;
}

static void *get_one(void *arg)
{
    struct job *j = arg;
    j->item = P(-1);
    j->rc = gev_queue_get(j->q, &j->item, j->timeout);
    j->error = j->rc == 0 ? 0 : errno;
    if (j->rc == 0) {
        trace_number(j->number);
    }
    return NULL;
}

static void *peek_one(void *arg)
{
    struct job *j = arg;
    j->item = P(-1);
    j->rc = gev_queue_peek(j->q, &j->item, j->timeout);
    j->error = j->rc == 0 ? 0 : errno;
    if (j->rc == 0) {
        trace_number(-j->number);
    }
    return NULL;
}

static void *join_one(void *arg)
{
    struct job *j = arg;
    j->rc = gev_queue_join(j->q, j->timeout);
    j->error = j->rc == 0 ? 0 : errno;
    return NULL;
}

static void fill(gev_queue *q, int from, int to)
{
    for (int i = from; i <= to; i++) {
        expect_ok(gev_queue_put(q, P(i), 0));
    }
}

/* The next item is this. */
static void expect_item(gev_queue *q, int number)
{
    void *item = P(-1);
    expect_ok(gev_queue_get(q, &item, 0));
    expect_int_eq(N(item), number);
}

/* --- without waiting ------------------------------------------------------ */

/* QUE1, QUE13: 0 is no limit: put never parks. */
GEV_TEST(unbounded_put_never_parks)
{
    gev_queue *q = gev_queue_new(0);
    gev_stats before = {.size = sizeof(before)};
    gev_stats after = {.size = sizeof(after)};
    gev_hub_stats(gev_hub_get(), &before);
    for (int i = 0; i < 100000; i++) {
        expect_ok(gev_queue_put(q, P(i), GEV_FOREVER));
    }
    expect_uint_eq(gev_queue_size(q), 100000);
    expect_uint_eq(gev_queue_maxsize(q), 0);
    expect_false(gev_queue_full(q));
    for (int i = 0; i < 100000; i++) {
        expect_item(q, i);
    }
    gev_hub_stats(gev_hub_get(), &after);
    expect_uint_eq(after.switches, before.switches);
    gev_queue_free(q);
}

/* QUE2, QUE3, QUE8, QUE16: what fits goes in at once; full and empty are
 * ETIMEDOUT without a wait. */
GEV_TEST(bounded_says_full_and_empty)
{
    gev_queue *q = gev_queue_new(2);
    void *item = P(7);
    expect_uint_eq(gev_queue_maxsize(q), 2);
    expect_true(gev_queue_empty(q));
    expect_false(gev_queue_full(q));
    expect_fail(gev_queue_get(q, &item, 0), ETIMEDOUT);
    expect_fail(gev_queue_peek(q, &item, -1), ETIMEDOUT);
    expect_int_eq(N(item), 7);
    expect_ok(gev_queue_put(q, P(1), GEV_FOREVER));
    expect_false(gev_queue_empty(q));
    expect_false(gev_queue_full(q));
    expect_ok(gev_queue_put(q, NULL, 0.001));
    expect_true(gev_queue_full(q));
    expect_fail(gev_queue_put(q, P(3), 0), ETIMEDOUT);
    expect_fail(gev_queue_put(q, P(3), -5), ETIMEDOUT);
    expect_uint_eq(gev_queue_size(q), 2);
    expect_ok(gev_queue_get(q, NULL, GEV_FOREVER));
    expect_ok(gev_queue_get(q, &item, GEV_FOREVER));
    expect_null(item);
    expect_uint_eq(gev_queue_size(q), 0);
    gev_queue_free(q);
}

/* In and out at all depths: the ring wraps, grows and shrinks. */
GEV_TEST(ring_keeps_the_order_at_every_size)
{
    gev_queue *q = gev_queue_new(0);
    int in = 0;
    int out = 0;
    for (int round = 0; round < 200 && !test_failed(); round++) {
        int grow = round * 7 % 601;
        fill(q, in, in + grow);
        in += grow + 1;
        int shrink = round % 5 == 4 ? in - out : (in - out) / 3;
        for (int i = 0; i < shrink; i++) {
            expect_item(q, out++);
        }
        expect_uint_eq(gev_queue_size(q), (unsigned)(in - out));
    }
    while (out < in) {
        expect_item(q, out++);
    }
    expect_true(gev_queue_empty(q));
    gev_queue_free(q);
}

GEV_TEST(misuse_is_einval)
{
    gev_queue *q = gev_queue_new(1);
    void *item = P(1);
    expect_fail(gev_queue_put(NULL, NULL, 0), EINVAL);
    expect_fail(gev_queue_get(NULL, &item, 0), EINVAL);
    expect_fail(gev_queue_peek(NULL, &item, 0), EINVAL);
    expect_fail(gev_queue_task_done(NULL), EINVAL);
    expect_fail(gev_queue_join(NULL, 0), EINVAL);
    expect_fail(gev_queue_shutdown(NULL, true), EINVAL);
    expect_fail(gev_queue_post(NULL, NULL), EINVAL);
    expect_fail(gev_queue_put(q, NULL, (double)NAN), EINVAL);
    expect_fail(gev_queue_get(q, &item, (double)NAN), EINVAL);
    expect_fail(gev_queue_peek(q, &item, (double)NAN), EINVAL);
    expect_fail(gev_queue_join(q, (double)NAN), EINVAL);
    expect_uint_eq(gev_queue_size(NULL), 0);
    expect_uint_eq(gev_queue_maxsize(NULL), 0);
    expect_uint_eq(gev_queue_unfinished(NULL), 0);
    expect_true(gev_queue_empty(NULL));
    expect_false(gev_queue_full(NULL));
    expect_null(GEV_WAITABLE((gev_queue *)NULL));
    expect_null(gev_priority_new(0, NULL));
    expect_int_eq(errno, EINVAL);
    gev_queue_free(NULL);
    gev_queue_free(q);
}

/* --- waiting -------------------------------------------------------------- */

/* QUE4: getters are served in the order in which they came. */
GEV_TEST(getters_are_served_in_order)
{
    struct job jobs[5];
    gev_greenlet *g[5];
    gev_queue *q = gev_queue_new(0);
    trace_reset();
    for (int i = 0; i < 5; i++) {
        jobs[i] = (struct job){.q = q, .number = i, .timeout = GEV_FOREVER};
        g[i] = start(get_one, &jobs[i]);
    }
    for (int i = 0; i < 5; i++) {
        expect_ok(gev_queue_put(q, P(100 + i), GEV_FOREVER));
        expect_uint_eq(gev_queue_size(q), 0); /* handed over at once */
    }
    expect_fail(gev_queue_get(q, NULL, 0), ETIMEDOUT); /* nobody overtakes */
    end_all(g, 5);
    expect_str_eq(trace_text(), "0 1 2 3 4");
    for (int i = 0; i < 5; i++) {
        expect_int_eq(N(jobs[i].item), 100 + i);
    }
    gev_queue_free(q);
}

/* QUE4: so are putters; a get lets the next one in. */
GEV_TEST(putters_are_let_in_in_order)
{
    struct job jobs[4];
    gev_greenlet *g[4];
    gev_queue *q = gev_queue_new(2);
    trace_reset();
    fill(q, 1, 2);
    for (int i = 0; i < 4; i++) {
        jobs[i] = (struct job){.q = q, .number = 3 + i, .timeout = 10};
        g[i] = start(put_one, &jobs[i]);
    }
    expect_str_eq(trace_text(), "");
    expect_item(q, 1);
    expect_true(gev_queue_full(q)); /* 3 is in */
    expect_fail(gev_queue_put(q, P(9), 0), ETIMEDOUT);
    expect_str_eq(trace_text(), ""); /* but has not run */
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "3");
    for (int i = 2; i <= 6; i++) {
        expect_item(q, i);
    }
    end_all(g, 4);
    expect_str_eq(trace_text(), "3 4 5 6");
    expect_true(gev_queue_empty(q));
    gev_queue_free(q);
}

/* QUE5: a peek leaves the item; a put wakes peekers up to the next getter. */
GEV_TEST(peekers_stand_in_line_with_getters)
{
    static const gev_fn kinds[] = {peek_one, get_one, peek_one, peek_one,
                                   get_one};
    struct job jobs[5];
    gev_greenlet *g[5];
    gev_queue *q = gev_queue_new(0);
    void *item = NULL;
    trace_reset();
    for (int i = 0; i < 5; i++) {
        jobs[i] = (struct job){.q = q, .number = i + 1, .timeout = GEV_FOREVER};
        g[i] = start(kinds[i], &jobs[i]);
    }
    fill(q, 10, 10);
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "-1 2");
    fill(q, 11, 12);
    end_all(g, 5);
    expect_str_eq(trace_text(), "-1 2 -3 -4 5");
    expect_int_eq(N(jobs[0].item), 10);
    expect_int_eq(N(jobs[1].item), 10);
    expect_int_eq(N(jobs[2].item), 11);
    expect_int_eq(N(jobs[3].item), 11);
    expect_int_eq(N(jobs[4].item), 11);
    expect_ok(gev_queue_peek(q, &item, GEV_FOREVER));
    expect_int_eq(N(item), 12);
    expect_ok(gev_queue_peek(q, NULL, 0));
    expect_uint_eq(gev_queue_size(q), 1);
    gev_queue_free(q);
}

/* QUE5: an item that was taken before the peeker ran is not shown to it. */
GEV_TEST(peeker_never_sees_what_is_gone)
{
    gev_queue *q = gev_queue_new(0);
    struct job peeks = {.q = q, .number = 1, .timeout = GEV_FOREVER};
    gev_greenlet *g = start(peek_one, &peeks);
    fill(q, 1, 1);
    expect_item(q, 1);
    expect_ok(gev_yield());
    expect_false(gev_dead(g)); /* waits again */
    fill(q, 2, 2);
    end_all(&g, 1);
    expect_int_eq(N(peeks.item), 2);
    expect_item(q, 2);
    g = start(peek_one, &peeks);
    fill(q, 3, 3);
    gev_queue_free(q); /* told, and the queue is gone when it runs */
    end_all(&g, 1);
    expect_int_eq(peeks.error, EPIPE);
}

/* QUE2, QUE3: the time is waited, and no less. */
GEV_TEST(waits_run_out)
{
    gev_queue *q = gev_queue_new(1);
    double begin = test_now();
    expect_fail(gev_queue_get(q, NULL, 0.02), ETIMEDOUT);
    expect_ge(test_now() - begin, 0.02);
    expect_fail(gev_queue_peek(q, NULL, 0.001), ETIMEDOUT);
    fill(q, 1, 1);
    begin = test_now();
    expect_fail(gev_queue_put(q, P(2), 0.02), ETIMEDOUT);
    expect_ge(test_now() - begin, 0.02);
    expect_item(q, 1);
    expect_true(gev_queue_empty(q));
    gev_queue_free(q);
}

/* Main alone with a queue: nothing can ever wake it. */
GEV_TEST(hopeless_waits_are_deadlocks)
{
    gev_queue *q = gev_queue_new(1);
    expect_fail(gev_queue_get(q, NULL, GEV_FOREVER), EDEADLK);
    fill(q, 1, 1);
    expect_fail(gev_queue_put(q, P(2), GEV_FOREVER), EDEADLK);
    expect_fail(gev_queue_join(q, GEV_FOREVER), EDEADLK);
    expect_item(q, 1);
    gev_queue_free(q);
}

static void use_in_callback(void *arg)
{
    gev_queue *q = arg;
    void *item = NULL;
    expect_fail(gev_queue_get(q, &item, 1), EPERM);
    expect_fail(gev_queue_get(q, &item, 0), ETIMEDOUT);
    expect_ok(gev_queue_put(q, P(5), GEV_FOREVER)); /* need not park */
    expect_fail(gev_queue_put(q, P(6), 1), EPERM);
    expect_fail(gev_queue_put(q, P(6), 0), ETIMEDOUT);
    expect_ok(gev_queue_peek(q, &item, 0));
    expect_fail(gev_queue_join(q, 1), EPERM);
    expect_ok(gev_queue_get(q, &item, 0));
    expect_int_eq(N(item), 5);
    expect_ok(gev_queue_task_done(q));
    trace("called");
}

static void put_in_callback(void *arg)
{
    expect_ok(gev_queue_put(arg, P(8), 0));
}

static void get_in_callback(void *arg)
{
    expect_item(arg, 1);
}

/* QUE6: without waiting everything is legal in the hub, and meets those who
 * wait in greenlets. */
GEV_TEST(queues_work_in_callbacks)
{
    gev_queue *q = gev_queue_new(1);
    struct job gets = {.q = q, .number = 1, .timeout = GEV_FOREVER};
    struct job puts = {.q = q, .number = 2, .timeout = GEV_FOREVER};
    trace_reset();
    call_in_hub(use_in_callback, q);
    expect_str_eq(trace_text(), "called");
    gev_greenlet *g = start(get_one, &gets);
    expect_ok(gev_hub_post(gev_hub_get(), put_in_callback, q));
    end_all(&g, 1);
    expect_int_eq(N(gets.item), 8);
    fill(q, 1, 1);
    g = start(put_one, &puts);
    expect_ok(gev_hub_post(gev_hub_get(), get_in_callback, q));
    end_all(&g, 1);
    expect_int_eq(puts.rc, 0);
    expect_item(q, 2);
    gev_queue_free(q);
}

/* --- interrupted ---------------------------------------------------------- */

/* QUE7, C6: killed, then put: the item goes to the next, or stays. */
GEV_TEST(kill_before_put_passes_the_item_on)
{
    gev_queue *q = gev_queue_new(0);
    struct job first = {.q = q, .number = 1, .timeout = GEV_FOREVER};
    struct job second = {.q = q, .number = 2, .timeout = GEV_FOREVER};
    gev_greenlet *g[2] = {start(get_one, &first), start(get_one, &second)};
    expect_ok(gev_kill(g[0], 0));
    fill(q, 7, 8);
    end_all(g, 2);
    expect_int_eq(first.error, ECANCELED);
    expect_int_eq(N(first.item), -1);
    expect_int_eq(N(second.item), 7);
    expect_item(q, 8);
    gev_queue_free(q);
}

/* QUE7, C6: put, then killed: the victim has it, and fails at its next park. */
GEV_TEST(kill_after_put_leaves_the_item)
{
    gev_queue *q = gev_queue_new(0);
    struct job first = {.q = q, .number = 1, .timeout = GEV_FOREVER};
    gev_greenlet *g = start(get_one, &first);
    fill(q, 7, 7);
    expect_ok(gev_kill(g, 0));
    end_all(&g, 1);
    expect_int_eq(first.rc, 0);
    expect_int_eq(N(first.item), 7);
    gev_queue_free(q);
}

/* QUE7: the same for putters, in both orders. */
GEV_TEST(killed_putter_has_not_put)
{
    gev_queue *q = gev_queue_new(1);
    struct job first = {.q = q, .number = 2, .timeout = GEV_FOREVER};
    struct job second = {.q = q, .number = 3, .timeout = GEV_FOREVER};
    fill(q, 1, 1);
    gev_greenlet *g[2] = {start(put_one, &first), start(put_one, &second)};
    expect_ok(gev_kill(g[0], 0)); /* before there is room */
    expect_item(q, 1);
    expect_ok(gev_kill(g[1], 0)); /* after it is in */
    end_all(g, 2);
    expect_int_eq(first.error, ECANCELED);
    expect_int_eq(second.rc, 0);
    expect_item(q, 3);
    expect_true(gev_queue_empty(q));
    expect_uint_eq(gev_queue_unfinished(q), 2); /* 1 and 3 */
    gev_queue_free(q);
}

/* QUE7: scopes and thrown codes interrupt, too; nothing stays behind. */
GEV_TEST(scopes_and_throws_interrupt)
{
    gev_queue *q = gev_queue_new(1);
    struct job gets = {.q = q, .number = 1, .timeout = GEV_FOREVER};
    gev_timeout scope = {0};
    expect_ok(gev_timeout_begin_error(&scope, 0.005, EIO));
    expect_fail(gev_queue_get(q, NULL, GEV_FOREVER), EIO);
    fill(q, 1, 1); /* needs no park */
    expect_fail(gev_queue_put(q, P(2), GEV_FOREVER), EIO);
    expect_true(gev_timeout_end(&scope));
    expect_item(q, 1);
    gev_greenlet *g = start(get_one, &gets);
    expect_ok(gev_throw(g, EPIPE));
    end_all(&g, 1);
    expect_int_eq(gets.error, EPIPE);
    fill(q, 3, 3);
    expect_item(q, 3);
    gev_queue_free(q);
}

/* --- joining -------------------------------------------------------------- */

static void *work(void *arg)
{
    struct job *j = arg;
    void *item;
    while (gev_queue_get(j->q, &item, GEV_FOREVER) == 0) {
        expect_ok(gev_sleep(0.001));
        j->number++;
        expect_ok(gev_queue_task_done(j->q));
    }
    j->error = errno;
    return NULL;
}

/* QUE9 */
GEV_TEST(join_waits_for_all_tasks)
{
    gev_queue *q = gev_queue_new(3);
    struct job workers[3];
    gev_greenlet *g[3];
    expect_ok(gev_queue_join(q, GEV_FOREVER)); /* fresh */
    expect_fail(gev_queue_task_done(q), EINVAL);
    for (int i = 0; i < 3; i++) {
        workers[i] = (struct job){.q = q};
        g[i] = start(work, &workers[i]);
    }
    for (int i = 0; i < 20; i++) {
        expect_ok(gev_queue_put(q, P(i), GEV_FOREVER));
    }
    expect_ok(gev_queue_join(q, GEV_FOREVER));
    expect_int_eq(workers[0].number + workers[1].number + workers[2].number,
                  20);
    expect_uint_eq(gev_queue_unfinished(q), 0);
    expect_ok(gev_queue_join(q, 0)); /* twice */
    fill(q, 1, 1);
    expect_uint_eq(gev_queue_unfinished(q), 1);
    expect_fail(gev_queue_join(q, 0), ETIMEDOUT);
    expect_ok(gev_queue_join(q, GEV_FOREVER)); /* reused */
    expect_ok(gev_queue_shutdown(q, false));
    end_all(g, 3);
    expect_int_eq(workers[0].error, EPIPE);
    gev_queue_free(q);
}

/* QUE9: running out, being killed; items handed over count, too. */
GEV_TEST(join_runs_out)
{
    gev_queue *q = gev_queue_new(0);
    struct job joins[2];
    gev_greenlet *g[2];
    fill(q, 1, 2);
    expect_fail(gev_queue_join(q, 0.005), ETIMEDOUT);
    for (int i = 0; i < 2; i++) {
        joins[i] = (struct job){.q = q, .timeout = GEV_FOREVER};
        g[i] = start(join_one, &joins[i]);
    }
    expect_ok(gev_kill(g[0], 0));
    expect_ok(gev_queue_task_done(q));
    expect_ok(gev_queue_task_done(q));
    fill(q, 3, 3); /* too late to hold them */
    end_all(g, 2);
    expect_int_eq(joins[0].error, ECANCELED);
    expect_int_eq(joins[1].rc, 0);
    expect_ok(gev_queue_task_done(q));
    expect_fail(gev_queue_task_done(q), EINVAL);
    gev_queue_free(q);
}

/* --- shutdown, free ------------------------------------------------------- */

/* QUE10 */
GEV_TEST(shutdown_lets_the_rest_out)
{
    gev_queue *q = gev_queue_new(2);
    struct job puts = {.q = q, .number = 3, .timeout = GEV_FOREVER};
    fill(q, 1, 2);
    gev_greenlet *g = start(put_one, &puts);
    expect_ok(gev_queue_shutdown(q, false));
    expect_ok(gev_queue_shutdown(q, false)); /* twice */
    end_all(&g, 1);
    expect_int_eq(puts.error, EPIPE);
    expect_fail(gev_queue_put(q, P(4), GEV_FOREVER), EPIPE);
    expect_fail(gev_queue_post(q, P(4)), EPIPE);
    expect_item(q, 1);
    expect_ok(gev_queue_peek(q, NULL, GEV_FOREVER));
    expect_item(q, 2);
    expect_fail(gev_queue_get(q, NULL, GEV_FOREVER), EPIPE);
    expect_fail(gev_queue_get(q, NULL, 0), EPIPE);
    expect_fail(gev_queue_peek(q, NULL, 0), EPIPE);
    expect_fail(gev_queue_join(q, 0), ETIMEDOUT);
    expect_ok(gev_queue_task_done(q));
    expect_ok(gev_queue_task_done(q));
    expect_ok(gev_queue_join(q, 0));
    gev_queue_free(q);
}

/* QUE10: at once: what is in it is dropped and done; who waits leaves. */
GEV_TEST(immediate_shutdown_drops)
{
    gev_queue *q = gev_queue_new(2);
    struct job joins = {.q = q, .timeout = GEV_FOREVER};
    struct job puts = {.q = q, .number = 3, .timeout = GEV_FOREVER};
    fill(q, 1, 2);
    gev_greenlet *g[2] = {start(join_one, &joins), start(put_one, &puts)};
    expect_ok(gev_queue_shutdown(q, true));
    end_all(g, 2);
    expect_int_eq(joins.rc, 0);
    expect_int_eq(puts.error, EPIPE);
    expect_uint_eq(gev_queue_size(q), 0);
    expect_uint_eq(gev_queue_unfinished(q), 0);
    expect_fail(gev_queue_get(q, NULL, 0), EPIPE);
    expect_fail(gev_queue_task_done(q), EINVAL);
    gev_queue_free(q);
    q = gev_queue_new(2); /* one of them was got before */
    fill(q, 1, 2);
    expect_item(q, 1);
    expect_ok(gev_queue_shutdown(q, false));
    expect_ok(gev_queue_shutdown(q, true));
    expect_uint_eq(gev_queue_unfinished(q), 1);
    expect_ok(gev_queue_task_done(q));
    expect_fail(gev_queue_task_done(q), EINVAL);
    gev_queue_free(q);
    q = gev_queue_new(2); /* called done before it was got */
    fill(q, 1, 2);
    expect_ok(gev_queue_task_done(q));
    expect_ok(gev_queue_shutdown(q, true));
    expect_uint_eq(gev_queue_unfinished(q), 0);
    gev_queue_free(q);
}

/* QUE10, C5: all kinds of waiters learn of a shutdown, or of the end. */
GEV_TEST(waiters_learn_of_the_end)
{
    for (int freed = 0; freed < 2; freed++) {
        gev_queue *q = gev_queue_new(0);
        struct job jobs[4];
        gev_greenlet *g[4];
        for (int i = 0; i < 4; i++) {
            jobs[i] = (struct job){.q = q, .timeout = i < 2 ? 10 : GEV_FOREVER};
            g[i] = start(i % 2 == 0 ? get_one : peek_one, &jobs[i]);
        }
        expect_ok(gev_kill(g[0], 0)); /* is still in the queue */
        if (freed) {
            gev_queue_free(q);
        } else {
            expect_ok(gev_queue_shutdown(q, false));
        }
        end_all(g, 4);
        expect_int_eq(jobs[0].error, ECANCELED);
        for (int i = 1; i < 4; i++) {
            expect_int_eq(jobs[i].error, EPIPE);
        }
        if (!freed) {
            gev_queue_free(q);
        }
    }
}

/* C5: putters and joiners when it is freed. */
GEV_TEST(free_wakes_putters_and_joiners)
{
    gev_queue *q = gev_queue_new(1);
    struct job joins = {.q = q, .timeout = GEV_FOREVER};
    struct job puts = {.q = q, .timeout = 10};
    fill(q, 1, 1);
    gev_greenlet *g[2] = {start(join_one, &joins), start(put_one, &puts)};
    gev_queue_free(q);
    end_all(g, 2);
    expect_int_eq(joins.error, EPIPE);
    expect_int_eq(puts.error, EPIPE);
}

/* QUE8: what iterating is: get until EPIPE. */
static void *produce(void *arg)
{
    for (int i = 1; i <= 100; i++) {
        expect_ok(gev_queue_put(arg, P(i), GEV_FOREVER));
    }
    expect_ok(gev_queue_shutdown(arg, false));
    return NULL;
}

GEV_TEST(get_until_the_end)
{
    gev_queue *q = gev_queue_new(7);
    gev_greenlet *g = gev_spawn(produce, q);
    void *item;
    int sum = 0;
    while (gev_queue_get(q, &item, GEV_FOREVER) == 0) {
        sum += N(item);
    }
    expect_int_eq(errno, EPIPE);
    expect_int_eq(sum, 5050);
    end_all(&g, 1);
    gev_queue_free(q);
}

/* --- the hub's end -------------------------------------------------------- */

static void *never_heed(void *arg)
{
    struct job *j = arg;
    while (j->timeout > 0) {
        (void)gev_queue_get(j->q, NULL, j->timeout);
    }
    return NULL;
}

/* C5: the hub is closed before the queue; also with one who ignores its kill.
 */
GEV_TEST(queue_outlives_the_hub)
{
    gev_queue *q = gev_queue_new(1);
    struct job jobs[5];
    static const gev_fn fns[] = {get_one, peek_one, get_one, never_heed,
                                 never_heed};
    for (int i = 0; i < 5; i++) {
        jobs[i] = (struct job){.q = q, .timeout = i % 2 ? 10 : GEV_FOREVER};
        gev_unref(start(fns[i], &jobs[i]));
    }
    expect_ok(gev_hub_close());
    for (int i = 0; i < 3; i++) {
        expect_int_eq(jobs[i].error, ECANCELED);
    }
    expect_ok(gev_queue_put(q, P(1), 0)); /* nobody waits */
    expect_uint_eq(gev_queue_size(q), 1);
    for (int i = 0; i < 2; i++) {
        jobs[i] = (struct job){.q = q, .timeout = i % 2 ? 10 : GEV_FOREVER};
        gev_unref(start(i == 0 ? put_one : join_one, &jobs[i]));
    }
    expect_ok(gev_hub_close());
    expect_int_eq(jobs[0].error, ECANCELED);
    expect_int_eq(jobs[1].error, ECANCELED);
    expect_item(q, 1);
    expect_true(gev_queue_empty(q));
    gev_queue_free(q);
}

/* --- fork ----------------------------------------------------------------- */

/* S13, OS1: in a child those who waited are gone, and get nothing. */
GEV_TEST(forked_child_has_the_queue_to_itself)
{
    gev_queue *q = gev_queue_new(1);
    struct job jobs[3];
    gev_greenlet *g[3];
    for (int i = 0; i < 3; i++) {
        jobs[i] = (struct job){.q = q, .timeout = i == 0 ? 10 : GEV_FOREVER};
        g[i] = start(i == 2 ? peek_one : get_one, &jobs[i]);
    }
    pid_t pid = fork();
    if (pid == 0) {
        bool right = gev_queue_put(q, P(1), 0) == 0 && gev_queue_size(q) == 1 &&
                     gev_queue_put(q, P(2), 0) == -1 &&
                     gev_queue_get(q, NULL, 0) == 0;
        gev_queue_free(q);
        _exit(right && gev_hub_close() == 0 ? 0 : 1);
    }
    expect_child_well(pid);
    fill(q, 1, 1);
    fill(q, 2, 2);
    fill(q, 3, 3);
    end_all(g, 3);
    expect_item(q, 3);
    gev_queue_free(q);
}

/* --- as waitables --------------------------------------------------------- */

static void *wait_for_it(void *arg)
{
    struct job *j = arg;
    gev_waitable *w = GEV_WAITABLE(j->q);
    j->rc = (int)gev_wait(&w, 1, 1, GEV_FOREVER);
    return NULL;
}

/* Ready: not empty, or shut down. */
GEV_TEST(queue_is_a_waitable)
{
    gev_queue *q = gev_queue_new(0);
    struct job j = {.q = q};
    expect_false(gev_waitable_ready(GEV_WAITABLE(q)));
    gev_greenlet *g = start(wait_for_it, &j);
    expect_false(gev_dead(g));
    fill(q, 1, 1);
    end_all(&g, 1);
    expect_int_eq(j.rc, 1);
    expect_true(gev_waitable_ready(GEV_WAITABLE(q)));
    expect_item(q, 1);
    expect_false(gev_waitable_ready(GEV_WAITABLE(q)));
    g = start(wait_for_it, &j);
    expect_ok(gev_queue_shutdown(q, false));
    end_all(&g, 1);
    expect_true(gev_waitable_ready(GEV_WAITABLE(q)));
    gev_queue_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unbounded_put_never_parks),
        cmocka_unit_test(bounded_says_full_and_empty),
        cmocka_unit_test(ring_keeps_the_order_at_every_size),
        cmocka_unit_test(misuse_is_einval),
        cmocka_unit_test(getters_are_served_in_order),
        cmocka_unit_test(putters_are_let_in_in_order),
        cmocka_unit_test(peekers_stand_in_line_with_getters),
        cmocka_unit_test(peeker_never_sees_what_is_gone),
        cmocka_unit_test(waits_run_out),
        cmocka_unit_test(hopeless_waits_are_deadlocks),
        cmocka_unit_test(queues_work_in_callbacks),
        cmocka_unit_test(kill_before_put_passes_the_item_on),
        cmocka_unit_test(kill_after_put_leaves_the_item),
        cmocka_unit_test(killed_putter_has_not_put),
        cmocka_unit_test(scopes_and_throws_interrupt),
        cmocka_unit_test(join_waits_for_all_tasks),
        cmocka_unit_test(join_runs_out),
        cmocka_unit_test(shutdown_lets_the_rest_out),
        cmocka_unit_test(immediate_shutdown_drops),
        cmocka_unit_test(waiters_learn_of_the_end),
        cmocka_unit_test(free_wakes_putters_and_joiners),
        cmocka_unit_test(get_until_the_end),
        cmocka_unit_test(queue_outlives_the_hub),
        cmocka_unit_test(forked_child_has_the_queue_to_itself),
        cmocka_unit_test(queue_is_a_waitable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
