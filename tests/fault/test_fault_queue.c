/* SPDX-License-Identifier: MIT */

/* Fault sweeps over queues, channels and gev_choose(): without memory each call
 * says so and has changed nothing. */
#include <gev.h>

#include "support/fault_sweep.h"
#include "support/trace.h"

static const struct fault_case memory[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
};

#define SWEEP(scenario, arg)                                                   \
    (void)fault_sweep((scenario), (arg), memory, 1, FAULT_WARM)

static int by_address(const void *a, const void *b)
{
    return N(a) - N(b);
}

static gev_queue *make(const char *kind, size_t maxsize)
{
    return kind[0] == 'p'   ? gev_priority_new(maxsize, by_address)
           : kind[0] == 'l' ? gev_lifo_new(maxsize)
                            : gev_queue_new(maxsize);
}

static int end_queue(gev_queue *q, int rc)
{
    int error = errno;
    gev_queue_free(q);
    errno = error;
    return rc;
}

/* A put that fails has put nothing, and what was put before is all there;
 * taking it out, which gives memory back, never fails. */
static int grow_and_shrink(void *kind)
{
    enum { COUNT = 3000 };
    gev_queue *q = make(kind, 0);
    int rc = q == NULL ? -1 : 0;
    int n = 0;
    while (rc == 0 && n < COUNT) {
        rc = gev_queue_put(q, P(n), 0);
        n += rc == 0;
    }
    int error = errno;
    expect_uint_eq(gev_queue_size(q), (unsigned)n);
    expect_uint_eq(gev_queue_unfinished(q), (unsigned)n);
    for (int i = 0; i < n; i++) {
        void *item = P(-1);
        expect_ok(gev_queue_get(q, &item, 0));
        expect_int_eq(N(item), *(const char *)kind == 'l' ? n - 1 - i : i);
    }
    errno = error;
    return end_queue(q, rc);
}

GEV_TEST(queues_survive_lack_of_memory)
{
    SWEEP(grow_and_shrink, "fifo");
    SWEEP(grow_and_shrink, "lifo");
    SWEEP(grow_and_shrink, "priority");
}

/* A small bounded queue has all it needs once it is made. */
static int fill_bounded(void *arg)
{
    gev_queue *q = gev_queue_new(64);
    (void)arg;
    if (q == NULL) {
        return -1;
    }
    for (int i = 0; i < 64; i++) {
        expect_ok(gev_queue_put(q, P(i), 0));
    }
    expect_fail(gev_queue_put(q, NULL, 0), ETIMEDOUT);
    return end_queue(q, 0);
}

GEV_TEST(small_bounded_queues_need_memory_once)
{
    SWEEP(fill_bounded, NULL);
}

struct job {
    gev_queue *q;
    gev_channel *c;
    int number;
    int rc;
    int error;
};

static void *put_one(void *arg)
{
    struct job *j = arg;
    j->rc = gev_queue_put(j->q, P(j->number), GEV_FOREVER);
    j->error = errno;
    return NULL;
}

/* Putters of a big bounded queue whose ring is small: the limit is reached by
 * messages under way, and the ring may fail to grow for either. In the end all
 * is there: messages wait for memory, putters for the next get. */
static int posts_and_putters(void *arg)
{
    enum { LIMIT = 100, MORE = 20 };
    gev_queue *q = gev_queue_new(LIMIT);
    struct job jobs[MORE];
    gev_greenlet *g[MORE] = {NULL};
    int error = q == NULL ? errno : 0;
    int put = 0;
    int got = 0;
    (void)arg;
    while (error == 0 && put < LIMIT) {
        error = gev_queue_post(q, P(put)) == 0 ? 0 : errno;
        put += error == 0;
    }
    for (int i = 0; i < MORE && error == 0; i++) {
        jobs[i] = (struct job){.q = q, .number = LIMIT + i};
        g[i] = gev_spawn(put_one, &jobs[i]);
        error = g[i] == NULL ? errno : 0;
        put += g[i] != NULL;
    }
    for (int tries = 0; got < put && tries < 100; tries++) {
        if (gev_sleep(0.001) != 0) {
            expect_int_eq(errno, ENOMEM); /* its own */
        }
        while (gev_queue_get(q, NULL, 0) == 0) {
            got++;
        }
    }
    for (int i = 0; i < MORE; i++) {
        if (g[i] != NULL) {
            expect_ok(gev_join(g[i], GEV_FOREVER));
            if (jobs[i].rc != 0) { /* it found room, and no memory */
                expect_int_eq(jobs[i].error, ENOMEM);
                error = ENOMEM;
                put--;
            }
            gev_unref(g[i]);
        }
    }
    expect_int_eq(got, put);
    errno = error;
    return end_queue(q, error == 0 ? 0 : -1);
}

GEV_TEST(posts_survive_lack_of_memory)
{
    static const struct fault_case once[] = {
        {"memory", FAULT_AT(ALLOC), ENOMEM, .shapes = FAULT_ONCE,
         .may_succeed = true, .allowed = {ENOMEM}},
    };
    (void)fault_sweep(posts_and_putters, NULL, once, 1, FAULT_WARM);
}

static void *receive_one(void *arg)
{
    struct job *j = arg;
    void *item = NULL;
    j->rc = gev_channel_recv(j->c, &item, GEV_FOREVER);
    expect_true(j->rc != 0 || N(item) == 5);
    return NULL;
}

static int talk(void *arg)
{
    size_t capacity = *(const size_t *)arg;
    gev_channel *c = gev_channel_new(capacity);
    struct job j = {.c = c};
    gev_greenlet *g = c == NULL ? NULL : gev_spawn(receive_one, &j);
    int rc = g == NULL ? -1 : gev_channel_send(c, P(5), GEV_FOREVER);
    int error = errno;
    if (g != NULL) {
        expect_ok(rc); /* needs nothing any more */
        expect_ok(gev_join(g, GEV_FOREVER));
        expect_ok(j.rc);
    }
    gev_unref(g);
    gev_channel_free(c);
    errno = error;
    return rc;
}

GEV_TEST(channels_survive_lack_of_memory)
{
    static size_t unbuffered = 0;
    static size_t buffered = 3;
    SWEEP(talk, &unbuffered);
    SWEEP(talk, &buffered);
}

/* Timed waits need a place for their timer, many clauses an array: without, the
 * call fails and stands nowhere in line. */
static int choose_one_of_many(void *arg)
{
    enum { COUNT = 12 };
    gev_channel *c = gev_channel_new(0);
    gev_clause clause[COUNT];
    (void)arg;
    if (c == NULL) {
        return -1;
    }
    for (int i = 0; i < COUNT; i++) {
        clause[i] =
            (gev_clause){.op = i % 2 == 0 ? GEV_SEND : GEV_RECV, .channel = c};
    }
    int rc = gev_choose(clause, COUNT, 0.001);
    int error = errno;
    expect_int_eq(rc, -1);
    expect_fail(gev_channel_send(c, NULL, 0), ETIMEDOUT);
    expect_fail(gev_channel_recv(c, NULL, 0), ETIMEDOUT);
    gev_channel_free(c);
    errno = error;
    return error == ETIMEDOUT ? 0 : -1;
}

static int wait_for_a_time(void *arg)
{
    gev_queue *q = gev_queue_new(1);
    gev_channel *c = gev_channel_new(0);
    int errors[5] = {0};
    int error = q == NULL || c == NULL ? ENOMEM : 0;
    (void)arg;
    if (error == 0) {
        errors[0] = gev_queue_get(q, NULL, 0.001) == 0 ? 0 : errno;
        errors[1] = gev_queue_peek(q, NULL, 0.001) == 0 ? 0 : errno;
        expect_ok(gev_queue_put(q, NULL, 0));
        errors[2] = gev_queue_put(q, NULL, 0.001) == 0 ? 0 : errno;
        errors[3] = gev_queue_join(q, 0.001) == 0 ? 0 : errno;
        errors[4] = gev_channel_send(c, NULL, 0.001) == 0 ? 0 : errno;
        expect_ok(gev_queue_get(q, NULL, 0));
        expect_fail(gev_channel_recv(c, NULL, 0), ETIMEDOUT);
        for (int i = 0; i < 5; i++) {
            expect_true(errors[i] == ETIMEDOUT || errors[i] == ENOMEM);
            error = errors[i] == ENOMEM ? ENOMEM : error;
        }
    }
    gev_channel_free(c);
    errno = error;
    return end_queue(q, error == 0 ? 0 : -1);
}

GEV_TEST(waits_survive_lack_of_memory)
{
    SWEEP(choose_one_of_many, NULL);
    SWEEP(wait_for_a_time, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queues_survive_lack_of_memory),
        cmocka_unit_test(small_bounded_queues_need_memory_once),
        cmocka_unit_test(posts_survive_lack_of_memory),
        cmocka_unit_test(channels_survive_lack_of_memory),
        cmocka_unit_test(waits_survive_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
