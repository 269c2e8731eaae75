/* SPDX-License-Identifier: MIT */

/* Hubs that talk to each other through objects (EVT14, LCK14, P8, P9). */
#include <gev.h>

#include "support/gate.h"
#include "support/gev_test.h"
#include "support/trace.h"

#include <pthread.h>
#include <unistd.h>

static void run_threads(void *(*fn)(void *), void *args[], int n)
{
    pthread_t threads[16];
    for (int i = 0; i < n; i++) {
        expect_int_eq(pthread_create(&threads[i], NULL, fn, args[i]), 0);
    }
    for (int i = 0; i < n; i++) {
        void *wrong = P(1);
        expect_int_eq(pthread_join(threads[i], &wrong), 0);
        expect_int_eq(N(wrong), 0);
    }
}

/* Two threads; each has objects of its own, the other one posts to them. */
struct side {
    struct side *other;
    gev_event event;
    gev_semaphore semaphore;
    gev_result results[2]; /* in turn */
    gev_queue *queue;
    int turns;
    bool first;
};

static pthread_barrier_t both;

/* Meets the other side: objects are there, or are used no more. */
static void meet(void)
{
    (void)pthread_barrier_wait(&both);
}

static void open_side(struct side *s)
{
    gev_event_init(&s->event);
    gev_semaphore_init(&s->semaphore, 0, 0);
    gev_result_init(&s->results[0]);
    gev_result_init(&s->results[1]);
    s->queue = gev_queue_new(0);
    gev_hub_ref(gev_hub_get());
    meet();
}

static int close_side(struct side *s)
{
    int wrong = 0;
    meet();
    wrong += gev_event_fini(&s->event) != 0;
    wrong += gev_semaphore_fini(&s->semaphore) != 0;
    wrong += gev_result_fini(&s->results[0]) != 0;
    wrong += gev_result_fini(&s->results[1]) != 0;
    gev_queue_free(s->queue);
    gev_hub_unref(gev_hub_get());
    return wrong + (gev_hub_close() != 0);
}

static int wait_for_event(struct side *s, int turn)
{
    int rc = gev_event_wait(&s->event, 60);
    (void)turn;
    gev_event_clear(&s->event);
    return rc;
}

static int post_event(struct side *s, int turn)
{
    (void)turn;
    return gev_event_post(&s->other->event);
}

static int wait_for_unit(struct side *s, int turn)
{
    (void)turn;
    return gev_semaphore_acquire(&s->semaphore, 60);
}

static int post_unit(struct side *s, int turn)
{
    (void)turn;
    return gev_semaphore_post(&s->other->semaphore);
}

static int wait_for_result(struct side *s, int turn)
{
    gev_result *r = &s->results[turn % 2];
    void *value = NULL;
    int rc = gev_result_get(r, &value, 60);
    int wanted = turn % 10 == 9 ? -1 : 0;
    int wrong = rc != wanted || (rc == 0 && N(value) != turn);
    gev_result_init(r); /* before this side's next post: for turn + 2 */
    return wrong;
}

static int post_result(struct side *s, int turn)
{
    gev_result *r = &s->other->results[turn % 2];
    return turn % 10 == 9 ? gev_result_post_error(r, EIO)
                          : gev_result_post(r, P(turn));
}

static int wait_for_item(struct side *s, int turn)
{
    void *item = NULL;
    return gev_queue_get(s->queue, &item, 60) != 0 || N(item) != turn + 1;
}

static int post_item(struct side *s, int turn)
{
    return gev_queue_post(s->other->queue, P(turn + 1));
}

struct means {
    int (*wait)(struct side *s, int turn);
    int (*post)(struct side *s, int turn);
};

static const struct means *means;

static void *play(void *arg)
{
    struct side *s = arg;
    int wrong = 0;
    open_side(s);
    for (int turn = 0; turn < s->turns && wrong == 0; turn++) {
        if (s->first) {
            wrong += means->post(s, turn) != 0;
        }
        wrong += means->wait(s, turn) != 0;
        if (!s->first) {
            wrong += means->post(s, turn) != 0;
        }
    }
    return P(wrong + close_side(s));
}

static void ping_pong(const struct means *m, int turns)
{
    struct side sides[2] = {{.turns = turns, .first = true}, {.turns = turns}};
    sides[0].other = &sides[1];
    sides[1].other = &sides[0];
    means = m;
    pthread_barrier_init(&both, NULL, 2);
    run_threads(play, (void *[]){&sides[0], &sides[1]}, 2);
    pthread_barrier_destroy(&both);
}

/* EVT14 */
GEV_TEST(hubs_talk_by_events)
{
    ping_pong(&(struct means){wait_for_event, post_event}, 2000);
}

/* EVT14 */
GEV_TEST(hubs_talk_by_results)
{
    ping_pong(&(struct means){wait_for_result, post_result}, 2000);
}

/* LCK14: two threads duel 10,000 times and finish. */
GEV_TEST(hubs_talk_by_semaphores)
{
    ping_pong(&(struct means){wait_for_unit, post_unit}, 10000);
}

GEV_TEST(hubs_talk_by_queues)
{
    ping_pong(&(struct means){wait_for_item, post_item}, 2000);
}

/* --- many to one ---------------------------------------------------------- */

enum { POSTERS = 8, POSTS = 100000 };

struct poster {
    gev_queue *queue;
    gev_semaphore *semaphore;
    int number;
};

static void *post_many(void *arg)
{
    const struct poster *p = arg;
    int wrong = 0;
    for (int i = 0; i < POSTS; i++) {
        wrong += gev_queue_post(p->queue, P(p->number * POSTS + i + 1)) != 0;
    }
    return P(wrong);
}

static void *take_all(void *arg)
{
    gev_queue *queue = arg;
    int next[POSTERS] = {0};
    for (int i = 0; i < POSTERS * POSTS; i++) {
        void *item = NULL;
        if (gev_queue_get(queue, &item, GEV_FOREVER) != 0) {
            return gev_fail(errno);
        }
        int from = (N(item) - 1) / POSTS;
        if ((N(item) - 1) % POSTS != next[from]++) {
            return gev_fail(ERANGE);
        }
    }
    return NULL;
}

/* P8: 8 threads and 100,000 posts each; none is lost, each thread's come in
 * order. */
GEV_TEST(many_threads_post_to_one_hub)
{
    struct poster posters[POSTERS];
    void *args[POSTERS];
    gev_queue *queue = gev_queue_new(0);
    pthread_t threads[POSTERS];
    gev_hub_ref(gev_hub_get());
    gev_greenlet *taker = gev_spawn(take_all, queue);
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.queue = queue, .number = i};
        args[i] = &posters[i];
        expect_int_eq(pthread_create(&threads[i], NULL, post_many, args[i]), 0);
    }
    expect_ok(gev_get(taker, NULL, test_scale(100)));
    for (int i = 0; i < POSTERS; i++) {
        void *wrong = P(1);
        expect_int_eq(pthread_join(threads[i], &wrong), 0);
        expect_int_eq(N(wrong), 0);
    }
    expect_true(gev_queue_empty(queue));
    gev_unref(taker);
    gev_queue_free(queue);
    gev_hub_unref(gev_hub_get());
}

static void *release_many(void *arg)
{
    const struct poster *p = arg;
    int wrong = 0;
    for (int i = 0; i < 5000; i++) {
        wrong += gev_semaphore_post(p->semaphore) != 0;
    }
    return P(wrong);
}

static void *acquire_many(void *arg)
{
    for (int i = 0; i < 5000; i++) {
        if (gev_semaphore_acquire(arg, 60) != 0) {
            return gev_fail(errno);
        }
    }
    return NULL;
}

/* LCK14: as many are taken as are given. */
GEV_TEST(units_from_many_threads)
{
    struct poster p = {.semaphore = &(gev_semaphore){{NULL}}};
    gev_greenlet *g[4];
    pthread_t threads[4];
    gev_semaphore_init(p.semaphore, 0, 0);
    for (int i = 0; i < 4; i++) {
        g[i] = gev_spawn(acquire_many, p.semaphore);
        expect_int_eq(pthread_create(&threads[i], NULL, release_many, &p), 0);
    }
    expect_int_eq(gev_joinall(g, 4, GEV_FOREVER), 4);
    for (int i = 0; i < 4; i++) {
        void *wrong = P(1);
        expect_ok(gev_get(g[i], NULL, 0));
        expect_int_eq(pthread_join(threads[i], &wrong), 0);
        expect_int_eq(N(wrong), 0);
    }
    gev_unrefall(g, 4);
    expect_ok(gev_semaphore_fini(p.semaphore));
}

/* --- owners --------------------------------------------------------------- */

static void *use_foreign_objects(void *arg)
{
    struct side *s = arg;
    void *item;
    int wrong = 0;
    wrong += gev_event_wait(&s->event, 1) != -1 || errno != EPERM;
    wrong += gev_semaphore_acquire(&s->semaphore, 1) != -1 || errno != EPERM;
    wrong += gev_result_get(&s->results[0], NULL, 1) != -1 || errno != EPERM;
    wrong += gev_queue_get(s->queue, &item, 1) != -1 || errno != EPERM;
    wrong += gev_event_post(&s->event) != 0;
    wrong += gev_semaphore_post(&s->semaphore) != 0;
    wrong += gev_result_post(&s->results[0], P(1)) != 0;
    wrong += gev_queue_post(s->queue, P(2)) != 0;
    return P(wrong);
}

/* P9: another hub's objects cannot be waited for, only posted to. LCK14: a
 * thread without a hub may post, and gets none by it. */
GEV_TEST(foreign_objects_can_only_be_posted_to)
{
    struct side s = {.turns = 0};
    pthread_t thread;
    void *wrong = P(1);
    pthread_barrier_init(&both, NULL, 1);
    open_side(&s);
    expect_int_eq(pthread_create(&thread, NULL, use_foreign_objects, &s), 0);
    expect_ok(gev_event_wait(&s.event, 60));
    expect_ok(gev_semaphore_acquire(&s.semaphore, 60));
    expect_ok(gev_result_get(&s.results[0], NULL, 60));
    expect_ok(gev_queue_get(s.queue, NULL, 60));
    expect_int_eq(pthread_join(thread, &wrong), 0);
    expect_int_eq(N(wrong), 0);
    expect_int_eq(close_side(&s), 0);
    pthread_barrier_destroy(&both);
}

static void *post_without_hub(void *arg)
{
    struct side *s = arg;
    size_t fds = test_open_fds();
    int wrong = gev_event_post(&s->event) != 0;
    wrong += test_open_fds() != fds;
    return P(wrong);
}

/* LCK14 */
GEV_TEST(posting_makes_no_hub)
{
    struct side s = {.turns = 0};
    pthread_t thread;
    void *wrong = P(1);
    gev_event_init(&s.event);
    expect_int_eq(pthread_create(&thread, NULL, post_without_hub, &s), 0);
    expect_int_eq(pthread_join(thread, &wrong), 0);
    expect_int_eq(N(wrong), 0);
    expect_ok(gev_event_wait(&s.event, 60));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hubs_talk_by_events),
        cmocka_unit_test(hubs_talk_by_results),
        cmocka_unit_test(hubs_talk_by_semaphores),
        cmocka_unit_test(hubs_talk_by_queues),
        cmocka_unit_test(many_threads_post_to_one_hub),
        cmocka_unit_test(units_from_many_threads),
        cmocka_unit_test(foreign_objects_can_only_be_posted_to),
        cmocka_unit_test(posting_makes_no_hub),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
