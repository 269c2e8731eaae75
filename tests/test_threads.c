/* SPDX-License-Identifier: MIT */

/* Several hubs in several threads, and posts between them (RAW14, LOOP6, P6,
 * P8, P9, P10). Meant for TSan, too. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static void *sleep_and_return(void *arg)
{
    return gev_sleep(0.001) == 0 && gev_yield() == 0 ? arg : gev_fail(errno);
}

/* One thread's life with a hub of its own; returns how much went wrong. */
static void *live_with_a_hub(void *arg)
{
    int wrong = 0;
    (void)arg;
    wrong += gev_id(gev_current()) != 1;
    for (int round = 0; round < 10; round++) {
        gev_greenlet *g[20];
        for (int i = 0; i < 20; i++) {
            g[i] = gev_spawn(sleep_and_return, P(i));
            wrong += g[i] == NULL;
        }
        wrong += gev_joinall(g, 20, GEV_FOREVER) != 20;
        for (int i = 0; i < 20; i++) {
            wrong += N(gev_value(g[i])) != i;
        }
        gev_unrefall(g, 20);
        if (round % 4 == 3) {
            wrong += gev_hub_close() != 0;
        }
    }
    wrong += gev_hub_close() != 0;
    return P(wrong);
}

static void run_threads(void *(*fn)(void *), void *arg, int n)
{
    pthread_t threads[16];
    for (int i = 0; i < n; i++) {
        expect_int_eq(pthread_create(&threads[i], NULL, fn, arg), 0);
    }
    for (int i = 0; i < n; i++) {
        void *wrong = NULL;
        expect_int_eq(pthread_join(threads[i], &wrong), 0);
        expect_int_eq(N(wrong), 0);
    }
}

GEV_TEST(hubs_of_threads_are_independent)
{
    gev_greenlet *g = gev_spawn(sleep_and_return, P(1));
    expect_ok(gev_yield());
    run_threads(live_with_a_hub, NULL, 4);
    expect_ok(gev_get(g, NULL, GEV_FOREVER));
    gev_unref(g);
}

static void *leave_without_closing(void *arg)
{
    (void)arg;
    gev_unref(gev_spawn(park_forever, NULL));
    gev_unref(gev_spawn_later(10, return_arg, NULL));
    return P(gev_sleep(0.001) != 0);
}

/* P10: a thread that ends takes its hub with it: the test's end counts what is
 * left. */
GEV_TEST(hub_ends_with_its_thread)
{
    run_threads(leave_without_closing, NULL, 3);
}

enum { POSTERS = 8, POSTS = 20000 };

struct poster {
    gev_hub *hub;
    int number;
    int next;  /* of the hub's thread: what must come next from this poster */
    int wrong; /* the same: what came out of order */
};

struct message {
    struct poster *from;
    int number;
};

static int received;

static void receive(void *arg)
{
    struct message *m = arg;
    m->from->wrong += m->number != m->from->next;
    m->from->next++;
    received++;
}

static struct message messages[POSTERS][POSTS];

static void *post_many(void *arg)
{
    struct poster *p = arg;
    int failed = 0;
    for (int i = 0; i < POSTS; i++) {
        struct message *m = &messages[p->number][i];
        *m = (struct message){.from = p, .number = i};
        failed += gev_hub_post(p->hub, receive, m) != 0;
    }
    return P(failed);
}

/* LOOP6, P8: from threads without a hub; nothing is lost, each thread's posts
 * come in order. */
GEV_TEST(posts_of_many_threads_arrive_in_order)
{
    struct poster posters[POSTERS];
    pthread_t threads[POSTERS];
    gev_hub *hub = gev_hub_get();
    received = 0;
    gev_hub_ref(hub); /* the posts are to come */
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.hub = hub, .number = i};
        expect_int_eq(pthread_create(&threads[i], NULL, post_many, &posters[i]),
                      0);
    }
    double end = test_now() + test_scale(60);
    while (received < POSTERS * POSTS && test_now() < end) {
        expect_ok(gev_sleep(0.001));
    }
    for (int i = 0; i < POSTERS; i++) {
        void *failed = NULL;
        expect_int_eq(pthread_join(threads[i], &failed), 0);
        expect_int_eq(N(failed), 0);
        expect_int_eq(posters[i].next, POSTS);
        expect_int_eq(posters[i].wrong, 0);
    }
    expect_int_eq(received, POSTERS * POSTS);
    gev_hub_unref(hub);
    expect_ok(gev_run(GEV_FOREVER));
}

struct wake {
    gev_hub *hub;
    gev_waiter *waiter;
};

static void switch_waiter(void *arg)
{
    struct wake *w = arg;
    gev_waiter_switch(w->waiter, P(12));
    gev_hub_unref(w->hub);
}

static void *post_a_wake(void *arg)
{
    struct wake *w = arg;
    (void)usleep(5000);
    return P(gev_hub_post(w->hub, switch_waiter, w) != 0);
}

/* LOOP12: a post wakes a hub that sleeps for ever. */
GEV_TEST(post_wakes_a_sleeping_hub)
{
    gev_waiter waiter = {{NULL}};
    struct wake w = {.hub = gev_hub_get(), .waiter = &waiter};
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        void *failed = NULL;
        void *value = NULL;
        gev_hub_ref(w.hub);
        expect_int_eq(pthread_create(&thread, NULL, post_a_wake, &w), 0);
        expect_ok(gev_waiter_get(&waiter, &value, GEV_FOREVER));
        expect_int_eq(N(value), 12);
        expect_int_eq(pthread_join(thread, &failed), 0);
        expect_int_eq(N(failed), 0);
    }
    expect_fail(gev_waiter_get(&waiter, NULL, GEV_FOREVER), EDEADLK);
}

static atomic_int spawned;

static void *count_spawned(void *arg)
{
    if (gev_yield() != 0 || gev_sleep(0.0001) != 0) {
        return gev_fail(errno);
    }
    atomic_fetch_add(&spawned, N(arg));
    return NULL;
}

static void *spawn_many(void *arg)
{
    int failed = 0;
    for (int i = 0; i < 500; i++) {
        failed += gev_hub_spawn(arg, count_spawned, P(1)) != 0;
    }
    return P(failed);
}

/* gev_hub_spawn: any thread. */
GEV_TEST(other_threads_may_spawn)
{
    atomic_store(&spawned, 0);
    gev_hub *hub = gev_hub_get();
    run_threads(spawn_many, hub, 4);
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(atomic_load(&spawned), 2000);
}

struct ping {
    gev_hub *here;
    _Atomic(gev_hub *) there;
    gev_waiter waiter; /* of here's thread */
};

static struct ping sides[2];
static pthread_barrier_t both_done;

static void arrive(void *arg)
{
    struct ping *p = arg;
    gev_waiter_switch(&p->waiter, P(1));
}

static void *play(void *arg)
{
    struct ping *self = arg;
    struct ping *other = self == &sides[0] ? &sides[1] : &sides[0];
    int wrong = 0;
    self->here = gev_hub_get();
    gev_hub_ref(self->here);
    atomic_store(&other->there, self->here);
    while (atomic_load(&self->there) == NULL) {
        wrong += gev_sleep(0.0005) != 0;
    }
    for (int i = 0; i < 1000; i++) {
        if (self == &sides[0]) {
            wrong += gev_hub_post(self->there, arrive, other) != 0;
        }
        wrong += gev_waiter_get(&self->waiter, NULL, 30) != 0;
        if (self == &sides[1]) {
            wrong += gev_hub_post(self->there, arrive, other) != 0;
        }
    }
    /* the other one may still be in its last gev_hub_post() to this hub */
    (void)pthread_barrier_wait(&both_done);
    gev_hub_unref(self->here);
    wrong += gev_hub_close() != 0;
    return P(wrong);
}

/* Two hubs post to each other. */
GEV_TEST(two_hubs_play_ping_pong)
{
    pthread_t threads[2];
    memset(sides, 0, sizeof(sides));
    expect_int_eq(pthread_barrier_init(&both_done, NULL, 2), 0);
    for (int i = 0; i < 2; i++) {
        expect_int_eq(pthread_create(&threads[i], NULL, play, &sides[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        void *wrong = NULL;
        expect_int_eq(pthread_join(threads[i], &wrong), 0);
        expect_int_eq(N(wrong), 0);
    }
    expect_int_eq(pthread_barrier_destroy(&both_done), 0);
}

static int is_eperm(ssize_t rc)
{
    return rc == -1 && errno == EPERM;
}

static void *use_foreign(void *arg)
{
    gev_greenlet *g = arg;
    int right = 0;
    right += is_eperm(gev_switch(g, NULL, NULL));
    right += is_eperm(gev_throw(g, EIO));
    right += is_eperm(gev_start(g));
    right += is_eperm(gev_start_later(g, 0.001));
    right += is_eperm(gev_join(g, 0.001));
    right += is_eperm(gev_get(g, NULL, 0.001));
    right += is_eperm(gev_joinall(&g, 1, 0.001));
    right += is_eperm(gev_joinall_error(&g, 1, 0.001));
    right += is_eperm(gev_kill(g, 0));
    right += is_eperm(gev_kill_error(g, EIO, 0));
    right += is_eperm(gev_killall(&g, 1, 0));
    right += is_eperm(gev_link(g, trace_link, NULL));
    right += is_eperm(gev_link_value(g, trace_link, NULL));
    right += is_eperm(gev_link_error(g, trace_link, NULL));
    right += is_eperm(gev_rawlink(g, trace_link, NULL));
    right += is_eperm(gev_unlink(g, trace_link, NULL));
    right += is_eperm(gev_link_to(g, gev_current(), GEV_LINK_ANY));
    right += is_eperm(gev_link_to(gev_current(), g, GEV_LINK_ANY));
    return P(gev_hub_close() == 0 ? right : -1);
}

/* P9, HUB18: another thread's greenlet: EPERM. */
GEV_TEST(foreign_greenlets_are_eperm)
{
    gev_greenlet *g = gev_spawn(return_arg, P(1));
    pthread_t thread;
    void *right = NULL;
    expect_int_eq(pthread_create(&thread, NULL, use_foreign, g), 0);
    expect_int_eq(pthread_join(thread, &right), 0);
    expect_int_eq(N(right), 18);
    expect_ok(gev_get(g, NULL, GEV_FOREVER));
    gev_unref(g);
}

static void *fail_in_thread(void *arg)
{
    gev_set_error_handler(count_error, arg);
    (void)gev_spawn_raw(fail_with, P(EIO));
    int wrong = gev_run(GEV_FOREVER) != 0;
    return P(wrong + (gev_hub_close() != 0));
}

/* Section 12: one error handler a hub. */
GEV_TEST(error_handler_is_the_hubs)
{
    int here = 0;
    int there = 0;
    pthread_t thread;
    void *wrong = NULL;
    gev_set_error_handler(count_error, &here);
    expect_int_eq(pthread_create(&thread, NULL, fail_in_thread, &there), 0);
    expect_int_eq(pthread_join(thread, &wrong), 0);
    expect_int_eq(N(wrong), 0);
    expect_int_eq(there, 1);
    expect_int_eq(here, 0);
    expect_ok(gev_spawn_raw(fail_with, P(EIO)));
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(here, 1);
    expect_int_eq(there, 1);
}

#if !ON_ASAN && !ON_TSAN /* they know of the main stack only */

static void *exit_thread(void *arg)
{
    pthread_exit(arg);
}

static void exit_thread_in_callback(void *arg)
{
    pthread_exit(arg);
}

static void *let_a_greenlet_end_the_thread(void *arg)
{
    gev_unref(gev_spawn(park_forever, NULL));
    gev_unref(gev_spawn(exit_thread, arg));
    gev_sleep(10);
    return P(1);
}

static void *let_a_callback_end_the_thread(void *arg)
{
    gev_unref(gev_spawn(park_forever, NULL));
    gev_yield();
    gev_hub_post(gev_hub_get(), exit_thread_in_callback, arg);
    gev_sleep(10);
    return P(1);
}

static void *let_another_end_the_thread_while_yielding(void *arg)
{
    gev_unref(gev_spawn(exit_thread, arg));
    gev_yield();
    return P(1);
}

/* P10: pthread_exit where main is not the one that runs; the test's end counts
 * what is left. */
GEV_TEST(thread_may_end_in_a_greenlet)
{
    run_threads(let_a_greenlet_end_the_thread, NULL, 3);
    run_threads(let_a_callback_end_the_thread, NULL, 1);
    run_threads(let_another_end_the_thread_while_yielding, NULL, 3);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hubs_of_threads_are_independent),
        cmocka_unit_test(hub_ends_with_its_thread),
        cmocka_unit_test(posts_of_many_threads_arrive_in_order),
        cmocka_unit_test(post_wakes_a_sleeping_hub),
        cmocka_unit_test(other_threads_may_spawn),
        cmocka_unit_test(two_hubs_play_ping_pong),
        cmocka_unit_test(foreign_greenlets_are_eperm),
        cmocka_unit_test(error_handler_is_the_hubs),
#if !ON_ASAN && !ON_TSAN
        cmocka_unit_test(thread_may_end_in_a_greenlet),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
