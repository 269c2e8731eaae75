/* SPDX-License-Identifier: MIT */

/* Queues of the other kinds, last in first out and by priority; and queues
 * that other threads post to. Meant for TSan, too. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/greenlets.h"
#include "support/trace.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static void expect_item(gev_queue *q, int number)
{
    void *item = P(-1);
    expect_ok(gev_queue_get(q, &item, 0));
    expect_int_eq(N(item), number);
}

/* By tens only: 31 and 35 are equal. */
static int compare_tens(const void *a, const void *b)
{
    return N(a) / 10 - N(b) / 10;
}

struct job {
    gev_queue *q;
    int number;
    int rc;
    void *item;
};

static void *put_one(void *arg)
{
    struct job *j = arg;
    j->rc = gev_queue_put(j->q, P(j->number), GEV_FOREVER);
    return NULL;
}

static void *get_one(void *arg)
{
    struct job *j = arg;
    j->rc = gev_queue_get(j->q, &j->item, GEV_FOREVER);
    return NULL;
}

/* --- last in first out ---------------------------------------------------- */

/* QUE12 */
GEV_TEST(lifo_gives_the_last_first)
{
    gev_queue *q = gev_lifo_new(0);
    void *item = NULL;
    for (int i = 1; i <= 1000; i++) {
        expect_ok(gev_queue_put(q, P(i), 0));
    }
    expect_ok(gev_queue_peek(q, &item, 0));
    expect_int_eq(N(item), 1000);
    for (int i = 1000; i >= 500; i--) {
        expect_item(q, i);
    }
    expect_ok(gev_queue_put(q, P(7), 0));
    expect_item(q, 7);
    for (int i = 499; i >= 1; i--) {
        expect_item(q, i);
    }
    expect_true(gev_queue_empty(q));
    gev_queue_free(q);
}

/* QUE12: it waits, is joined and shut down as the others. */
GEV_TEST(lifo_waits_and_joins)
{
    gev_queue *q = gev_lifo_new(2);
    struct job j = {.q = q, .number = 3};
    expect_ok(gev_queue_put(q, P(1), 0));
    expect_ok(gev_queue_put(q, P(2), 0));
    gev_greenlet *g = gev_spawn(put_one, &j);
    expect_ok(gev_yield());
    expect_item(q, 2);
    expect_item(q, 3);
    expect_item(q, 1);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_fail(gev_queue_join(q, 0), ETIMEDOUT);
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_queue_task_done(q));
    }
    expect_ok(gev_queue_join(q, 0));
    expect_ok(gev_queue_shutdown(q, false));
    expect_fail(gev_queue_get(q, NULL, GEV_FOREVER), EPIPE);
    gev_unref(g);
    gev_queue_free(q);
}

/* --- by priority ---------------------------------------------------------- */

/* QUE11: the smallest first, ties in the order in which they were put. */
GEV_TEST(priority_gives_the_smallest_first)
{
    static const int in[] = {35, 31, 12, 99, 10, 33, 0, 15, 98, 5};
    static const int out[] = {0, 5, 12, 10, 15, 35, 31, 33, 99, 98};
    gev_queue *q = gev_priority_new(0, compare_tens);
    void *item = NULL;
    for (int i = 0; i < 10; i++) {
        expect_ok(gev_queue_put(q, P(in[i]), 0));
    }
    expect_ok(gev_queue_peek(q, &item, 0));
    expect_int_eq(N(item), 0);
    for (int i = 0; i < 10; i++) {
        expect_item(q, out[i]);
    }
    gev_queue_free(q);
}

struct entry {
    int rank;
    int number;
};

static int compare_ranks(const void *a, const void *b)
{
    return ((const struct entry *)a)->rank - ((const struct entry *)b)->rank;
}

/* QUE11: in and out at all depths, many equals: sorted, and stable. */
GEV_TEST(heap_is_stable)
{
    enum { N_ENTRIES = 20000 };
    static struct entry entries[N_ENTRIES];
    gev_queue *q = gev_priority_new(0, compare_ranks);
    unsigned random = 1;
    int wrong = 0;
    for (int i = 0; i < N_ENTRIES; i++) {
        random = random * 1103515245 + 12345;
        entries[i] = (struct entry){(int)(random >> 16) % 50, i};
        expect_ok(gev_queue_put(q, &entries[i], 0));
    }
    const struct entry *last = NULL;
    void *item = NULL;
    while (gev_queue_get(q, &item, 0) == 0) {
        const struct entry *e = item;
        wrong += last != NULL &&
                 (last->rank > e->rank ||
                  (last->rank == e->rank && last->number > e->number));
        last = e;
    }
    expect_int_eq(wrong, 0);
    expect_uint_eq(gev_queue_size(q), 0);
    gev_queue_free(q);
}

/* QUE11: what a waiting putter has comes in when there is room; a waiting
 * getter gets what is put, whatever it is. */
GEV_TEST(priority_waits)
{
    gev_queue *q = gev_priority_new(2, compare_tens);
    struct job puts = {.q = q, .number = 10};
    struct job gets = {.q = q};
    expect_ok(gev_queue_put(q, P(30), 0));
    expect_ok(gev_queue_put(q, P(20), 0));
    gev_greenlet *g = gev_spawn(put_one, &puts);
    expect_ok(gev_yield());
    expect_item(q, 20);
    expect_item(q, 10);
    expect_item(q, 30);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    g = gev_spawn(get_one, &gets);
    expect_ok(gev_yield());
    expect_ok(gev_queue_put(q, P(90), 0));
    expect_ok(gev_queue_put(q, P(20), 0));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(N(gets.item), 90);
    gev_unref(g);
    gev_queue_free(q);
}

/* --- posts: one thread ---------------------------------------------------- */

static void *fill_by_posts(void *arg)
{
    int wrong = 0;
    for (int i = 1; i <= 3; i++) {
        wrong += gev_queue_post(arg, P(i)) != 0;
    }
    wrong += gev_queue_post(arg, P(4)) != -1 || errno != EAGAIN;
    return P(wrong);
}

static void run_thread(void *(*fn)(void *), void *arg)
{
    expect_int_eq(value_in_thread(fn, arg), 0);
}

/* The limit counts messages under way at once, for posts and puts. */
GEV_TEST(posts_count_at_once)
{
    gev_queue *q = gev_queue_new(3);
    run_thread(fill_by_posts, q);
    expect_true(gev_queue_full(q));
    expect_true(gev_queue_empty(q)); /* none has arrived */
    expect_uint_eq(gev_queue_unfinished(q), 0);
    expect_fail(gev_queue_put(q, P(9), 0), ETIMEDOUT);
    expect_fail(gev_queue_get(q, NULL, 0), ETIMEDOUT);
    expect_ok(gev_sleep(0.001));
    expect_uint_eq(gev_queue_size(q), 3);
    expect_uint_eq(gev_queue_unfinished(q), 3);
    for (int i = 1; i <= 3; i++) {
        expect_item(q, i);
    }
    run_thread(fill_by_posts, q); /* the places were given back */
    expect_ok(gev_sleep(0.001));
    expect_uint_eq(gev_queue_size(q), 3);
    gev_queue_free(q);
}

/* Whether the putter was there before the message, as it must be for once: the
 * hub may come first on a slow machine. */
static bool meet_past_a_post(void)
{
    gev_queue *q = gev_queue_new(1);
    struct job puts = {.q = q, .number = 7};
    gev_greenlet *g = gev_spawn(put_one, &puts);
    expect_ok(gev_queue_post(q, P(1)));
    expect_ok(gev_yield());
    bool first = gev_queue_empty(q);
    expect_item(q, first ? 7 : 1);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(puts.rc, 0);
    expect_ok(gev_sleep(0.001));
    expect_item(q, first ? 1 : 7);
    expect_true(gev_queue_empty(q));
    expect_false(gev_queue_full(q));
    gev_unref(g);
    gev_queue_free(q);
    return first;
}

/* A full queue of messages under way: putter and getter meet directly. */
GEV_TEST(putter_and_getter_meet_past_posts)
{
    int tries = 1000;
    while (!meet_past_a_post() && --tries > 0 && !test_failed()) {
    }
    expect_true(tries > 0);
}

/* So do they if the getter waits, and the message takes the place. */
GEV_TEST(put_reaches_a_getter_past_posts)
{
    gev_queue *q = gev_queue_new(1);
    struct job gets = {.q = q};
    gev_greenlet *getter = gev_spawn(get_one, &gets);
    expect_ok(gev_yield());
    expect_ok(gev_queue_post(q, P(4)));
    expect_true(gev_queue_full(q));
    expect_ok(gev_queue_put(q, P(5), GEV_FOREVER));
    expect_ok(gev_join(getter, GEV_FOREVER));
    expect_int_eq(N(gets.item), 5);
    expect_ok(gev_sleep(0.001));
    expect_item(q, 4);
    gev_unref(getter);
    gev_queue_free(q);
}

/* Accepted before a shutdown: still delivered, and getters wait for it. */
GEV_TEST(shutdown_waits_for_posts_under_way)
{
    gev_queue *q = gev_queue_new(0);
    expect_ok(gev_queue_post(q, P(1)));
    expect_ok(gev_queue_shutdown(q, false));
    expect_fail(gev_queue_post(q, P(2)), EPIPE);
    expect_fail(gev_queue_get(q, NULL, 0), ETIMEDOUT);
    struct job gets[2] = {{.q = q}, {.q = q}};
    gev_greenlet *g[2] = {gev_spawn(get_one, &gets[0]),
                          gev_spawn(get_one, &gets[1])};
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    expect_int_eq(gets[0].rc, 0);
    expect_int_eq(N(gets[0].item), 1);
    expect_int_eq(gets[1].rc, -1); /* it was the last */
    gev_unrefall(g, 2);
    expect_fail(gev_queue_get(q, NULL, 0), EPIPE);
    gev_queue_free(q);
}

/* Messages of a queue that drops, that is gone, whose hub is gone. */
GEV_TEST(posts_may_come_too_late)
{
    gev_queue *q = gev_queue_new(4);
    expect_ok(gev_queue_post(q, P(1)));
    expect_ok(gev_queue_shutdown(q, true));
    expect_fail(gev_queue_get(q, NULL, 0), EPIPE);
    expect_ok(gev_sleep(0.001));
    expect_uint_eq(gev_queue_size(q), 0);
    expect_uint_eq(gev_queue_unfinished(q), 0);
    gev_queue_free(q);
    q = gev_queue_new(4);
    expect_ok(gev_queue_post(q, P(1)));
    expect_ok(gev_queue_post(q, P(2)));
    gev_queue_free(q); /* the last message frees it */
    expect_ok(gev_sleep(0.001));
    q = gev_queue_new(4);
    gev_queue *other = gev_queue_new(4);
    expect_ok(gev_queue_post(q, P(1)));
    expect_ok(gev_queue_post(other, P(1)));
    gev_queue_free(other);
    expect_ok(gev_hub_close()); /* unserved */
    expect_uint_eq(gev_queue_size(q), 0);
    expect_ok(gev_queue_put(q, P(2), 0)); /* of the thread's next hub */
    expect_ok(gev_queue_post(q, P(3)));
    expect_ok(gev_sleep(0.001));
    expect_item(q, 2);
    expect_item(q, 3);
    gev_queue_free(q);
}

static void *use_foreign(void *arg)
{
    int right = 0;
    right += gev_queue_put(arg, NULL, 0) == -1 && errno == EPERM;
    right += gev_queue_get(arg, NULL, 0) == -1 && errno == EPERM;
    right += gev_queue_peek(arg, NULL, 0) == -1 && errno == EPERM;
    right += gev_queue_task_done(arg) == -1 && errno == EPERM;
    right += gev_queue_join(arg, 0) == -1 && errno == EPERM;
    right += gev_queue_shutdown(arg, true) == -1 && errno == EPERM;
    right += gev_hub_close() == 0;
    return P(right - 7);
}

GEV_TEST(foreign_queues_are_eperm)
{
    gev_queue *q = gev_queue_new(0);
    expect_ok(gev_queue_put(q, P(1), 0));
    run_thread(use_foreign, q);
    expect_uint_eq(gev_queue_size(q), 1);
    gev_queue_free(q);
}

/* --- posts: several threads ----------------------------------------------- */

enum { POSTERS = 4, POSTS = 20000 };

struct poster {
    gev_queue *q;
    int number;
    int full; /* how often it was */
};

static void *post_many(void *arg)
{
    struct poster *p = arg;
    int wrong = 0;
    for (int i = 0; i < POSTS; i++) {
        while (gev_queue_post(p->q, P(p->number * POSTS + i)) != 0) {
            if (errno != EAGAIN) {
                return P(wrong + 1);
            }
            p->full++;
            (void)usleep(100);
        }
    }
    return P(wrong);
}

static void receive_all(gev_queue *q)
{
    int next[POSTERS] = {0};
    int wrong = 0;
    size_t most = 0;
    for (int i = 0; i < POSTERS * POSTS && wrong == 0; i++) {
        void *item = NULL;
        size_t size = gev_queue_size(q);
        most = size > most ? size : most;
        if (gev_queue_get(q, &item, test_scale(30)) != 0) {
            expect_never("after %d: %s", i, gev_strerror(errno));
            return;
        }
        int from = N(item) / POSTS;
        wrong += N(item) % POSTS != next[from]++;
    }
    expect_int_eq(wrong, 0);
    if (gev_queue_maxsize(q) != 0) {
        expect_le(most, gev_queue_maxsize(q));
    }
}

static void post_from_threads(size_t maxsize)
{
    struct poster posters[POSTERS];
    pthread_t threads[POSTERS];
    gev_queue *q = gev_queue_new(maxsize);
    gev_hub_ref(gev_hub_get());
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.q = q, .number = i};
        expect_int_eq(pthread_create(&threads[i], NULL, post_many, &posters[i]),
                      0);
    }
    receive_all(q);
    if (test_failed()) {
        (void)gev_queue_shutdown(q, true); /* ends the posters */
    }
    for (int i = 0; i < POSTERS; i++) {
        void *wrong = NULL;
        expect_int_eq(pthread_join(threads[i], &wrong), 0);
        expect_int_eq(N(wrong), 0);
    }
    expect_fail(gev_queue_get(q, NULL, 0), ETIMEDOUT);
    gev_hub_unref(gev_hub_get());
    gev_queue_free(q);
}

/* Nothing is lost or doubled, each thread's items come in order. */
GEV_TEST(threads_post_to_an_unbounded_queue)
{
    post_from_threads(0);
}

GEV_TEST(threads_post_to_a_bounded_queue)
{
    post_from_threads(50);
}

struct crowd {
    gev_queue *q;
    atomic_int posted;
    atomic_bool stop;
};

static void *post_until_stopped(void *arg)
{
    struct crowd *c = arg;
    while (!atomic_load(&c->stop)) {
        if (gev_queue_post(c->q, P(1)) == 0) {
            atomic_fetch_add(&c->posted, 1);
        } else if (errno != EAGAIN) {
            return P(1);
        }
    }
    return NULL;
}

/* Puts and posts contend for the last place; the queue holds its limit, and
 * what was accepted comes. */
GEV_TEST(puts_and_posts_contend)
{
    struct crowd c = {.q = gev_queue_new(2)};
    pthread_t threads[2];
    int put = 0;
    int got = 0;
    gev_hub_ref(gev_hub_get());
    for (int i = 0; i < 2; i++) {
        expect_int_eq(pthread_create(&threads[i], NULL, post_until_stopped, &c),
                      0);
    }
    for (int i = 0; i < 20000; i++) {
        put += gev_queue_put(c.q, P(1), 0) == 0;
        put += gev_queue_put(c.q, P(1), 0) == 0;
        if (gev_queue_size(c.q) > 2) {
            expect_never("%zu items", gev_queue_size(c.q));
        }
        got += gev_queue_get(c.q, NULL, 0) == 0;
        if (i % 16 == 0) {
            expect_ok(gev_sleep(0));
        }
    }
    atomic_store(&c.stop, true);
    for (int i = 0; i < 2; i++) {
        void *wrong = NULL;
        expect_int_eq(pthread_join(threads[i], &wrong), 0);
        expect_int_eq(N(wrong), 0);
    }
    expect_ok(gev_sleep(0.001));
    while (gev_queue_get(c.q, NULL, 0) == 0) {
        got++;
    }
    expect_int_eq(got, put + atomic_load(&c.posted));
    expect_uint_eq(gev_queue_unfinished(c.q), (unsigned)got);
    gev_hub_unref(gev_hub_get());
    gev_queue_free(c.q);
}

/* --- two hubs ------------------------------------------------------------- */

struct side {
    _Atomic(gev_queue *) q; /* of this side's thread */
    struct side *other;
    bool begins;
};

static pthread_barrier_t ends;

static void *talk(void *arg)
{
    struct side *self = arg;
    gev_queue *q = gev_queue_new(1);
    void *item = P(0);
    int wrong = q == NULL;
    gev_hub_ref(gev_hub_get());
    atomic_store(&self->q, q);
    while (atomic_load(&self->other->q) == NULL) {
        wrong += gev_sleep(0.0005) != 0;
    }
    for (int i = 0; i < 2000; i++) {
        if (self->begins) {
            wrong += gev_queue_post(self->other->q, P(i)) != 0;
        }
        wrong += gev_queue_get(q, &item, test_scale(30)) != 0;
        wrong += N(item) != i;
        if (!self->begins) {
            wrong += gev_queue_post(self->other->q, item) != 0;
        }
    }
    (void)pthread_barrier_wait(&ends); /* nobody posts any more */
    gev_queue_free(q);
    gev_hub_unref(gev_hub_get());
    wrong += gev_hub_close() != 0;
    return P(wrong);
}

GEV_TEST(two_hubs_talk)
{
    struct side sides[2];
    pthread_t threads[2];
    expect_ok(pthread_barrier_init(&ends, NULL, 2));
    for (int i = 0; i < 2; i++) {
        sides[i].q = NULL;
        sides[i].other = &sides[1 - i];
        sides[i].begins = i == 0;
    }
    for (int i = 0; i < 2; i++) {
        expect_int_eq(pthread_create(&threads[i], NULL, talk, &sides[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        void *wrong = NULL;
        expect_int_eq(pthread_join(threads[i], &wrong), 0);
        expect_int_eq(N(wrong), 0);
    }
    expect_ok(pthread_barrier_destroy(&ends));
}

/* A post wakes a hub that sleeps. */
static void *post_late(void *arg)
{
    (void)usleep(5000);
    return P(gev_queue_post(arg, P(3)) != 0);
}

GEV_TEST(post_wakes_a_getter)
{
    gev_queue *q = gev_queue_new(0);
    pthread_t thread;
    void *item = NULL;
    gev_hub_ref(gev_hub_get());
    expect_int_eq(pthread_create(&thread, NULL, post_late, q), 0);
    expect_ok(gev_queue_get(q, &item, GEV_FOREVER));
    expect_int_eq(N(item), 3);
    expect_int_eq(pthread_join(thread, &item), 0);
    expect_int_eq(N(item), 0);
    gev_hub_unref(gev_hub_get());
    gev_queue_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lifo_gives_the_last_first),
        cmocka_unit_test(lifo_waits_and_joins),
        cmocka_unit_test(priority_gives_the_smallest_first),
        cmocka_unit_test(heap_is_stable),
        cmocka_unit_test(priority_waits),
        cmocka_unit_test(posts_count_at_once),
        cmocka_unit_test(putter_and_getter_meet_past_posts),
        cmocka_unit_test(put_reaches_a_getter_past_posts),
        cmocka_unit_test(shutdown_waits_for_posts_under_way),
        cmocka_unit_test(posts_may_come_too_late),
        cmocka_unit_test(foreign_queues_are_eperm),
        cmocka_unit_test(threads_post_to_an_unbounded_queue),
        cmocka_unit_test(threads_post_to_a_bounded_queue),
        cmocka_unit_test(puts_and_posts_contend),
        cmocka_unit_test(two_hubs_talk),
        cmocka_unit_test(post_wakes_a_getter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
