/* SPDX-License-Identifier: MIT */

/* Channels, with and without a buffer. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/greenlets.h"
#include "support/trace.h"

#include <unistd.h>

struct job {
    gev_channel *c;
    int number;
    double timeout;
    int rc;
    int error;
    void *item;
};

static void *send_one(void *arg)
{
    struct job *j = arg;
    j->rc = gev_channel_send(j->c, P(j->number), j->timeout);
    j->error = j->rc == 0 ? 0 : errno;
    if (j->rc == 0) {
        trace_number(j->number);
    }
    return NULL;
}

static void *receive_one(void *arg)
{
    struct job *j = arg;
    j->item = P(-1);
    j->rc = gev_channel_recv(j->c, &j->item, j->timeout);
    j->error = j->rc == 0 ? 0 : errno;
    if (j->rc == 0) {
        trace_number(-N(j->item));
    }
    return NULL;
}

static void expect_item(gev_channel *c, int number)
{
    void *item = P(-1);
    expect_ok(gev_channel_recv(c, &item, 0));
    expect_int_eq(N(item), number);
}

/* With and without a deadline: the two park in different ways. */
static const double both[] = {GEV_FOREVER, 10};

/* --- without a buffer ----------------------------------------------------- */

/* QUE14: it is empty and full at once; nothing stays behind. */
GEV_TEST(rendezvous_holds_nothing)
{
    gev_channel *c = gev_channel_new(0);
    void *item = P(7);
    expect_uint_eq(gev_channel_size(c), 0);
    expect_fail(gev_channel_send(c, P(1), 0), ETIMEDOUT);
    expect_fail(gev_channel_send(c, P(1), -1), ETIMEDOUT);
    expect_fail(gev_channel_recv(c, &item, 0), ETIMEDOUT);
    expect_fail(gev_channel_send(c, P(1), 0.001), ETIMEDOUT);
    double begin = test_now();
    expect_fail(gev_channel_recv(c, &item, 0.01), ETIMEDOUT);
    expect_ge(test_now() - begin, 0.01);
    expect_fail(gev_channel_recv(c, &item, GEV_FOREVER), EDEADLK);
    expect_fail(gev_channel_send(c, &item, GEV_FOREVER), EDEADLK);
    expect_fail(gev_channel_recv(c, &item, 0), ETIMEDOUT);
    expect_int_eq(N(item), 7);
    gev_channel_free(c);
}

/* QUE14: a send ends when a receiver has it, who runs first. */
GEV_TEST(receiver_goes_on_before_the_sender)
{
    for (int i = 0; i < 4; i++) {
        gev_channel *c = gev_channel_new(0);
        struct job sends = {.c = c, .number = 5, .timeout = both[i % 2]};
        struct job receives = {.c = c, .timeout = both[i / 2]};
        trace_reset();
        /* the sender waits */
        gev_greenlet *g[2] = {start(send_one, &sends)};
        g[1] = gev_spawn(receive_one, &receives);
        end_all(g, 2);
        expect_str_eq(trace_text(), "-5 5");
        /* the receiver waits */
        trace_reset();
        g[0] = start(receive_one, &receives);
        g[1] = gev_spawn(send_one, &sends);
        end_all(g, 2);
        expect_str_eq(trace_text(), "-5 5");
        gev_channel_free(c);
    }
}

/* A send that must not park does not wait for the receiver to run. */
GEV_TEST(send_without_time_meets_a_receiver)
{
    gev_channel *c = gev_channel_new(0);
    struct job receives = {.c = c, .timeout = GEV_FOREVER};
    gev_greenlet *g = start(receive_one, &receives);
    trace_reset();
    expect_ok(gev_channel_send(c, P(4), 0));
    expect_str_eq(trace_text(), "");
    end_all(&g, 1);
    expect_int_eq(N(receives.item), 4);
    gev_channel_free(c);
}

/* First come, first served, on both sides. */
GEV_TEST(both_sides_are_served_in_order)
{
    gev_channel *c = gev_channel_new(0);
    struct job jobs[6];
    gev_greenlet *g[6];
    trace_reset();
    for (int i = 0; i < 6; i++) {
        jobs[i] = (struct job){.c = c, .number = i + 1, .timeout = both[i % 2]};
        g[i] = start(send_one, &jobs[i]);
    }
    for (int i = 1; i <= 6; i++) {
        expect_item(c, i);
    }
    expect_str_eq(trace_text(), "");
    end_all(g, 6);
    expect_str_eq(trace_text(), "1 2 3 4 5 6");
    trace_reset();
    for (int i = 0; i < 6; i++) {
        g[i] = start(receive_one, &jobs[i]);
    }
    for (int i = 1; i <= 6; i++) {
        expect_ok(gev_channel_send(c, P(i), 0));
    }
    end_all(g, 6);
    expect_str_eq(trace_text(), "-1 -2 -3 -4 -5 -6");
    gev_channel_free(c);
}

static void *play(void *arg)
{
    gev_channel **c = arg;
    void *item;
    while (gev_channel_recv(c[0], &item, GEV_FOREVER) == 0) {
        expect_ok(gev_channel_send(c[1], P(N(item) + 1), GEV_FOREVER));
    }
    expect_int_eq(errno, EPIPE);
    return NULL;
}

GEV_TEST(ping_pong)
{
    gev_channel *c[2] = {gev_channel_new(0), gev_channel_new(0)};
    gev_greenlet *g = gev_spawn(play, c);
    void *item = P(0);
    for (int i = 0; i < 10000; i++) {
        expect_ok(gev_channel_send(c[0], item, GEV_FOREVER));
        expect_ok(gev_channel_recv(c[1], &item, GEV_FOREVER));
    }
    expect_int_eq(N(item), 10000);
    expect_ok(gev_channel_close(c[0]));
    end_all(&g, 1);
    gev_channel_free(c[0]);
    gev_channel_free(c[1]);
}

/* --- with a buffer -------------------------------------------------------- */

GEV_TEST(buffer_takes_its_capacity)
{
    gev_channel *c = gev_channel_new(3);
    for (int round = 0; round < 5; round++) {
        expect_ok(gev_channel_send(c, P(1), GEV_FOREVER));
        expect_ok(gev_channel_send(c, P(2), 1));
        expect_uint_eq(gev_channel_size(c), 2);
        expect_ok(gev_channel_send(c, P(3), 0));
        expect_fail(gev_channel_send(c, P(4), 0), ETIMEDOUT);
        expect_item(c, 1);
        expect_ok(gev_channel_send(c, NULL, 0));
        expect_item(c, 2);
        expect_ok(gev_channel_recv(c, NULL, GEV_FOREVER));
        void *item = P(1);
        expect_ok(gev_channel_recv(c, &item, GEV_FOREVER));
        expect_null(item);
        expect_uint_eq(gev_channel_size(c), 0);
        expect_fail(gev_channel_recv(c, NULL, 0), ETIMEDOUT);
    }
    gev_channel_free(c);
}

/* A receive lets the first waiting sender's item in. */
GEV_TEST(waiting_senders_move_up)
{
    gev_channel *c = gev_channel_new(1);
    struct job jobs[3];
    gev_greenlet *g[3];
    trace_reset();
    for (int i = 0; i < 3; i++) {
        jobs[i] = (struct job){.c = c, .number = i + 1, .timeout = both[i % 2]};
        g[i] = start(send_one, &jobs[i]);
    }
    expect_str_eq(trace_text(), "1");
    expect_item(c, 1);
    expect_uint_eq(gev_channel_size(c), 1);
    expect_fail(gev_channel_send(c, P(9), 0), ETIMEDOUT);
    void *item = P(0);
    expect_ok(gev_channel_recv(c, &item, GEV_FOREVER));
    expect_int_eq(N(item), 2);
    end_all(g, 3);
    expect_str_eq(trace_text(), "1 2 3");
    expect_item(c, 3);
    gev_channel_free(c);
}

GEV_TEST(waiting_receiver_gets_it_at_once)
{
    gev_channel *c = gev_channel_new(2);
    struct job receives = {.c = c, .timeout = GEV_FOREVER};
    gev_greenlet *g = start(receive_one, &receives);
    trace_reset();
    expect_ok(gev_channel_send(c, P(1), GEV_FOREVER));
    expect_str_eq(trace_text(), ""); /* a buffered send does not park */
    expect_uint_eq(gev_channel_size(c), 0);
    expect_fail(gev_channel_recv(c, NULL, 0), ETIMEDOUT);
    end_all(&g, 1);
    expect_int_eq(N(receives.item), 1);
    gev_channel_free(c);
}

/* --- interrupted ---------------------------------------------------------- */

/* QUE7, C6: killed or out of time before it was served: nothing was moved. */
GEV_TEST(interrupted_before_it_was_served)
{
    for (size_t i = 0; i < 2; i++) {
        gev_channel *c = gev_channel_new(0);
        struct job jobs[4];
        gev_greenlet *g[4];
        for (int k = 0; k < 2; k++) {
            jobs[k] = (struct job){.c = c, .number = k, .timeout = both[i]};
            g[k] = start(send_one, &jobs[k]);
        }
        expect_ok(gev_kill(g[0], 0));
        expect_item(c, 1);
        expect_fail(gev_channel_recv(c, NULL, 0), ETIMEDOUT);
        end_all(g, 2);
        expect_int_eq(jobs[0].error, ECANCELED);
        expect_int_eq(jobs[1].rc, 0);
        for (int k = 0; k < 2; k++) {
            g[k] = start(receive_one, &jobs[k]);
        }
        expect_ok(gev_throw(g[0], EIO));
        expect_ok(gev_channel_send(c, P(5), 0));
        expect_fail(gev_channel_send(c, P(6), 0), ETIMEDOUT);
        end_all(g, 2);
        expect_int_eq(jobs[0].error, EIO);
        expect_int_eq(N(jobs[0].item), -1);
        expect_int_eq(N(jobs[1].item), 5);
        gev_channel_free(c);
    }
}

/* QUE7, C6: killed after: the call has succeeded. */
GEV_TEST(killed_after_it_was_served)
{
    for (size_t i = 0; i < 2; i++) {
        gev_channel *c = gev_channel_new(0);
        struct job j = {.c = c, .number = 3, .timeout = both[i]};
        gev_greenlet *g = start(send_one, &j);
        expect_item(c, 3);
        expect_ok(gev_kill(g, 0));
        end_all(&g, 1);
        expect_int_eq(j.rc, 0);
        g = start(receive_one, &j);
        expect_ok(gev_channel_send(c, P(4), 0));
        expect_ok(gev_kill(g, 0));
        end_all(&g, 1);
        expect_int_eq(j.rc, 0);
        expect_int_eq(N(j.item), 4);
        gev_channel_free(c);
    }
}

static void *send_killed(void *arg)
{
    struct job *j = arg;
    expect_fail(gev_kill(gev_current(), 0), ECANCELED);
    expect_ok(gev_channel_send(j->c, P(1), GEV_FOREVER)); /* to the waiting */
    trace("sent");
    expect_fail(gev_channel_send(j->c, P(2), GEV_FOREVER), ECANCELED);
    expect_fail(gev_channel_recv(j->c, NULL, GEV_FOREVER), ECANCELED);
    return NULL;
}

/* A killed greenlet's calls succeed as far as they need no park. */
GEV_TEST(killed_sender_meets_a_receiver)
{
    gev_channel *c = gev_channel_new(0);
    struct job j = {.c = c, .timeout = GEV_FOREVER};
    struct job k = {.c = c};
    gev_greenlet *g[2] = {start(receive_one, &j)};
    trace_reset();
    g[1] = start(send_killed, &k);
    end_all(g, 2);
    expect_str_eq(trace_text(), "sent -1");
    gev_channel_free(c);
}

GEV_TEST(scopes_end_waits)
{
    gev_channel *c = gev_channel_new(0);
    gev_timeout scope = {0};
    expect_ok(gev_timeout_begin(&scope, 0.005));
    expect_fail(gev_channel_recv(c, NULL, GEV_FOREVER), ETIMEDOUT);
    expect_fail(gev_channel_send(c, NULL, GEV_FOREVER), ETIMEDOUT);
    expect_fail(gev_channel_send(c, NULL, 10), ETIMEDOUT);
    expect_true(gev_timeout_end(&scope));
    gev_channel_free(c);
}

static void use_in_callback(void *arg)
{
    gev_channel *c = arg;
    expect_fail(gev_channel_send(c, P(1), GEV_FOREVER), EPERM);
    expect_fail(gev_channel_recv(c, NULL, GEV_FOREVER), EPERM);
    expect_fail(gev_channel_recv(c, NULL, 1), EPERM);
    expect_fail(gev_channel_send(c, P(1), 0), ETIMEDOUT);
    expect_fail(gev_channel_recv(c, NULL, 0), ETIMEDOUT);
    trace("called");
}

static void send_in_callback(void *arg)
{
    expect_ok(gev_channel_send(arg, P(8), GEV_FOREVER)); /* need not park */
}

static void receive_in_callback(void *arg)
{
    expect_item(arg, 9);
}

/* QUE6, QUE14 */
GEV_TEST(channels_work_in_callbacks)
{
    gev_channel *c = gev_channel_new(0);
    struct job j = {.c = c, .number = 9, .timeout = GEV_FOREVER};
    trace_reset();
    call_in_hub(use_in_callback, c);
    expect_str_eq(trace_text(), "called");
    gev_greenlet *g = start(receive_one, &j);
    expect_ok(gev_hub_post(gev_hub_get(), send_in_callback, c));
    end_all(&g, 1);
    expect_int_eq(N(j.item), 8);
    g = start(send_one, &j);
    expect_ok(gev_hub_post(gev_hub_get(), receive_in_callback, c));
    end_all(&g, 1);
    expect_int_eq(j.rc, 0);
    gev_channel_free(c);
}

/* --- closing -------------------------------------------------------------- */

GEV_TEST(close_leaves_the_buffer)
{
    gev_channel *c = gev_channel_new(2);
    struct job j = {.c = c, .number = 3, .timeout = GEV_FOREVER};
    expect_ok(gev_channel_send(c, P(1), 0));
    expect_ok(gev_channel_send(c, P(2), 0));
    gev_greenlet *g = start(send_one, &j);
    expect_ok(gev_channel_close(c));
    expect_ok(gev_channel_close(c)); /* twice */
    end_all(&g, 1);
    expect_int_eq(j.error, EPIPE);
    expect_fail(gev_channel_send(c, P(4), GEV_FOREVER), EPIPE);
    expect_item(c, 1);
    void *item = P(0);
    expect_ok(gev_channel_recv(c, &item, GEV_FOREVER));
    expect_int_eq(N(item), 2); /* 3 was dropped */
    expect_fail(gev_channel_recv(c, &item, GEV_FOREVER), EPIPE);
    expect_fail(gev_channel_recv(c, &item, 1), EPIPE);
    expect_fail(gev_channel_recv(c, &item, 0), EPIPE);
    gev_channel_free(c);
}

/* C5: all who wait learn of it, however they wait; closed or freed. */
GEV_TEST(waiters_learn_of_the_end)
{
    for (int i = 0; i < 4; i++) {
        gev_channel *c = gev_channel_new(0);
        struct job jobs[4];
        gev_greenlet *g[4];
        bool sends = i % 2 == 0;
        for (int k = 0; k < 4; k++) {
            jobs[k] = (struct job){.c = c, .timeout = both[k % 2]};
            g[k] = start(sends ? send_one : receive_one, &jobs[k]);
        }
        expect_ok(gev_kill(g[0], 0)); /* is still in the line */
        expect_ok(gev_kill(g[1], 0));
        if (i < 2) {
            gev_channel_free(c);
        } else {
            expect_ok(gev_channel_close(c));
        }
        end_all(g, 4);
        for (int k = 0; k < 4; k++) {
            expect_int_eq(jobs[k].error, k < 2 ? ECANCELED : EPIPE);
        }
        if (i >= 2) {
            gev_channel_free(c);
        }
    }
}

/* --- the rest ------------------------------------------------------------- */

static void *wait_for_it(void *arg)
{
    struct job *j = arg;
    gev_waitable *w = GEV_WAITABLE(j->c);
    j->rc = (int)gev_wait(&w, 1, 1, GEV_FOREVER);
    return NULL;
}

/* Ready: a receive would not wait. */
GEV_TEST(channel_is_a_waitable)
{
    gev_channel *c = gev_channel_new(0);
    struct job waits = {.c = c};
    struct job sends = {.c = c, .number = 1, .timeout = GEV_FOREVER};
    expect_false(gev_waitable_ready(GEV_WAITABLE(c)));
    gev_greenlet *g[2] = {start(wait_for_it, &waits)};
    g[1] = start(send_one, &sends);
    expect_ok(gev_yield());
    expect_true(gev_dead(g[0]));
    expect_true(gev_waitable_ready(GEV_WAITABLE(c)));
    expect_ok(gev_kill(g[1], 0)); /* still in line, and no sender any more */
    expect_false(gev_waitable_ready(GEV_WAITABLE(c)));
    end_all(g, 2);
    expect_int_eq(waits.rc, 1);
    g[0] = start(wait_for_it, &waits);
    expect_ok(gev_channel_close(c));
    end_all(g, 1);
    expect_true(gev_waitable_ready(GEV_WAITABLE(c)));
    gev_channel_free(c);
    c = gev_channel_new(1);
    waits.c = c;
    g[0] = start(wait_for_it, &waits);
    expect_ok(gev_channel_send(c, P(1), GEV_FOREVER));
    end_all(g, 1);
    expect_true(gev_waitable_ready(GEV_WAITABLE(c)));
    gev_channel_free(c);
}

static void *send_killed_and_observed(void *arg)
{
    struct job *j = arg;
    expect_fail(gev_kill(gev_current(), 0), ECANCELED);
    expect_fail(gev_channel_send(j->c, P(1), GEV_FOREVER), ECANCELED);
    return NULL;
}

/* A send that fails before it waits makes nothing ready. */
GEV_TEST(failing_send_is_no_news)
{
    gev_channel *c = gev_channel_new(0);
    struct job j = {.c = c};
    gev_greenlet *g[2] = {start(wait_for_it, &j)};
    g[1] = start(send_killed_and_observed, &j);
    expect_ok(gev_yield());
    expect_false(gev_dead(g[0]));
    expect_ok(gev_channel_close(c));
    end_all(g, 2);
    gev_channel_free(c);
}

/* S13, OS1: in a child those who waited are gone, and get nothing. */
GEV_TEST(forked_child_has_the_channel_to_itself)
{
    gev_channel *c = gev_channel_new(0);
    struct job jobs[2];
    gev_greenlet *g[2];
    for (int i = 0; i < 2; i++) {
        jobs[i] = (struct job){.c = c, .timeout = both[i]};
        g[i] = start(receive_one, &jobs[i]);
    }
    pid_t pid = fork();
    if (pid == 0) {
        bool right = gev_channel_send(c, P(1), 0) == -1 && errno == ETIMEDOUT;
        gev_channel_free(c);
        _exit(right && gev_hub_close() == 0 ? 0 : 1);
    }
    expect_child_well(pid);
    expect_ok(gev_channel_send(c, P(1), 0));
    expect_ok(gev_channel_send(c, P(2), 0));
    end_all(g, 2);
    gev_channel_free(c);
}

GEV_TEST(misuse_is_einval)
{
    gev_channel *c = gev_channel_new(1);
    expect_fail(gev_channel_send(NULL, NULL, 0), EINVAL);
    expect_fail(gev_channel_recv(NULL, NULL, 0), EINVAL);
    expect_fail(gev_channel_send(NULL, NULL, GEV_FOREVER), EINVAL);
    expect_fail(gev_channel_recv(NULL, NULL, GEV_FOREVER), EINVAL);
    expect_fail(gev_channel_close(NULL), EINVAL);
    expect_fail(gev_channel_send(c, NULL, (double)NAN), EINVAL);
    expect_fail(gev_channel_recv(c, NULL, (double)NAN), EINVAL);
    expect_uint_eq(gev_channel_size(NULL), 0);
    expect_null(GEV_WAITABLE((gev_channel *)NULL));
    expect_null(gev_channel_new(SIZE_MAX));
    expect_int_eq(errno, ENOMEM);
    expect_null(gev_channel_new(SIZE_MAX / sizeof(void *)));
    expect_int_eq(errno, ENOMEM);
    gev_channel_free(NULL);
    gev_channel_free(c);
}

static void *use_foreign(void *arg)
{
    gev_clause clause = {.op = GEV_RECV, .channel = arg};
    int right = 0;
    right += gev_channel_send(arg, NULL, 0) == -1 && errno == EPERM;
    right += gev_channel_recv(arg, NULL, GEV_FOREVER) == -1 && errno == EPERM;
    right += gev_channel_close(arg) == -1 && errno == EPERM;
    right += gev_choose(&clause, 1, 0) == -1 && errno == EPERM;
    return P(gev_hub_close() == 0 ? right : -1);
}

GEV_TEST(foreign_channels_are_eperm)
{
    gev_channel *c = gev_channel_new(1);
    expect_int_eq(value_in_thread(use_foreign, c), 4);
    expect_ok(gev_channel_send(c, NULL, 0));
    gev_channel_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rendezvous_holds_nothing),
        cmocka_unit_test(receiver_goes_on_before_the_sender),
        cmocka_unit_test(send_without_time_meets_a_receiver),
        cmocka_unit_test(both_sides_are_served_in_order),
        cmocka_unit_test(ping_pong),
        cmocka_unit_test(buffer_takes_its_capacity),
        cmocka_unit_test(waiting_senders_move_up),
        cmocka_unit_test(waiting_receiver_gets_it_at_once),
        cmocka_unit_test(interrupted_before_it_was_served),
        cmocka_unit_test(killed_after_it_was_served),
        cmocka_unit_test(killed_sender_meets_a_receiver),
        cmocka_unit_test(scopes_end_waits),
        cmocka_unit_test(channels_work_in_callbacks),
        cmocka_unit_test(close_leaves_the_buffer),
        cmocka_unit_test(waiters_learn_of_the_end),
        cmocka_unit_test(channel_is_a_waitable),
        cmocka_unit_test(failing_send_is_no_news),
        cmocka_unit_test(forked_child_has_the_channel_to_itself),
        cmocka_unit_test(misuse_is_einval),
        cmocka_unit_test(foreign_channels_are_eperm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
