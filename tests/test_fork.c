/* SPDX-License-Identifier: MIT */

/* fork: the child keeps the greenlet that forked, and a new loop; the parent
 * notices nothing (OS1, OS3, P1, P2, S13). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a child: the number of the first check that failed, 0 if none did. */
static int failed_check;

#define CHILD_CHECK(c)                                                         \
    do {                                                                       \
        if (!(c) && failed_check == 0) {                                       \
            failed_check = __LINE__ % 250 + 1;                                 \
        }                                                                      \
    } while (0)

/* In a child that hangs: an end. */
static void child_begins(void)
{
    failed_check = 0;
    (void)alarm(20);
}

/* The exit status; -1 if the child did not exit. */
static int status_of(pid_t pid)
{
    int status = 0;
    expect_true(pid > 0);
    expect_ok(gev_wait_child(pid, &status, 30));
    if (!WIFEXITED(status)) {
        expect_never("the child was ended by signal %d", WTERMSIG(status));
        return -1;
    }
    return WEXITSTATUS(status);
}

static void *count_yields(void *arg)
{
    int *count = arg;
    for (;;) {
        ++*count;
        if (gev_yield() != 0) {
            return gev_fail(errno);
        }
    }
}

static void *sleep_5_ms(void *arg)
{
    return gev_sleep(0.005) == 0 ? arg : gev_fail(errno);
}

/* That the child's scheduler is whole: spawn, sleep, timeout, fds, deadlock. */
static void check_scheduler(void)
{
    void *value = NULL;
    gev_greenlet *g = gev_spawn(sleep_5_ms, P(4));
    CHILD_CHECK(gev_get(g, &value, GEV_FOREVER) == 0 && N(value) == 4);
    gev_unref(g);
    CHILD_CHECK(gev_sleep(0.001) == 0);
    gev_timeout t = {0};
    CHILD_CHECK(gev_timeout_begin(&t, 0.001) == 0);
    CHILD_CHECK(gev_sleep(GEV_FOREVER) == -1 && errno == ETIMEDOUT);
    CHILD_CHECK(gev_timeout_end(&t));
    int fds[2];
    CHILD_CHECK(pipe(fds) == 0);
    CHILD_CHECK(gev_wait_fd(fds[0], GEV_READ, 0.001) == -1);
    CHILD_CHECK(write(fds[1], "x", 1) == 1);
    CHILD_CHECK(gev_wait_fd(fds[0], GEV_READ, GEV_FOREVER) == GEV_READ);
    CHILD_CHECK(gev_sleep(GEV_FOREVER) == -1 && errno == EDEADLK);
    CHILD_CHECK(gev_run(1) == 0);
}

/* OS1, P2, TOP13, HUB20: in the child main goes on, alone. */
GEV_TEST(fork_in_main_keeps_main_only)
{
    int count = 0;
    gev_greenlet *g = gev_spawn(count_yields, &count);
    expect_ok(gev_yield());
    expect_ok(gev_yield());
    pid_t pid = fork();
    if (pid == 0) {
        child_begins();
        int before = count;
        CHILD_CHECK(gev_current() != NULL && gev_id(gev_current()) == 1);
        CHILD_CHECK(gev_parent(gev_current()) == NULL);
        CHILD_CHECK(gev_yield() == 0);
        check_scheduler();
        CHILD_CHECK(count == before);
        gev_stats stats = {.size = sizeof(stats)};
        gev_hub_stats(gev_hub_get(), &stats);
        CHILD_CHECK(stats.live == 0);
        CHILD_CHECK(gev_hub_close() == 0);
        CHILD_CHECK(gev_yield() == 0);
        _exit(failed_check);
    }
    expect_int_eq(status_of(pid), 0);
    int before = count;
    expect_ok(gev_yield());
    expect_true(count > before); /* the parent notices nothing */
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
}

static void *fork_and_wait(void *arg)
{
    int *status = arg;
    pid_t pid = fork();
    if (pid == 0) {
        child_begins();
        /* this greenlet is the child's main */
        CHILD_CHECK(gev_parent(gev_current()) == NULL);
        CHILD_CHECK(gev_yield() == 0);
        check_scheduler(); /* EDEADLK and gev_run() are for main alone */
        CHILD_CHECK(gev_hub_close() == 0);
        _exit(failed_check);
    }
    *status = status_of(pid);
    return NULL;
}

/* OS2, section 12 "Hub": that greenlet is the child's main. */
GEV_TEST(fork_in_a_greenlet_makes_it_main)
{
    int count = 0;
    int status = -1;
    gev_greenlet *other = gev_spawn(count_yields, &count);
    gev_greenlet *g = gev_spawn(fork_and_wait, &status);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(status, 0);
    expect_ok(gev_kill(other, GEV_FOREVER));
    gev_unref(other);
    gev_unref(g);
}

/* Ends the child with what exit() was called with, before LeakSanitizer and
 * the like look at a process whose other stacks are gone. */
static void end_child(int status, void *arg)
{
    (void)arg;
    _exit(failed_check != 0 ? failed_check : status);
}

static void *fork_and_return(void *arg)
{
    pid_t *pid = arg;
    *pid = fork();
    if (*pid == 0) {
        child_begins();
        CHILD_CHECK(on_exit(end_child, NULL) == 0);
        CHILD_CHECK(gev_sleep(0.001) == 0);
        return P(3);
    }
    return NULL;
}

/* Section 12 "Hub": its return is exit(0). */
GEV_TEST(return_of_the_forking_greenlet_is_exit_0)
{
    (void)fflush(NULL);
    pid_t pid = -1;
    gev_greenlet *g = gev_spawn(fork_and_return, &pid);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(status_of(pid), 0);
    gev_unref(g);
}

static void *fork_and_exit(void *arg)
{
    pid_t *pid = arg;
    *pid = fork();
    if (*pid == 0) {
        child_begins();
        CHILD_CHECK(on_exit(end_child, NULL) == 0);
        gev_exit(P(3)); /* in main it is exit(0) */
    }
    return NULL;
}

GEV_TEST(gev_exit_in_the_childs_main_is_exit_0)
{
    (void)fflush(NULL);
    pid_t pid = -1;
    gev_greenlet *g = gev_spawn(fork_and_exit, &pid);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(status_of(pid), 0);
    gev_unref(g);
    pid = fork();
    if (pid == 0) {
        child_begins();
        CHILD_CHECK(on_exit(end_child, NULL) == 0);
        gev_exit(NULL);
    }
    expect_int_eq(status_of(pid), 0);
}

static void *count_once(void *arg)
{
    ++*(int *)arg;
    return NULL;
}

static void count_call(void *arg)
{
    ++*(int *)arg;
}

/* OS3: what is queued, armed or posted in the parent does not run in the
 * child. */
GEV_TEST(queued_greenlets_do_not_run_in_the_child)
{
    int count = 0;
    gev_greenlet *g[3] = {
        gev_spawn(count_once, &count),
        gev_spawn_later(0.001, count_once, &count),
        gev_spawn(count_once, &count),
    };
    pid_t pid = fork();
    if (pid == 0) {
        child_begins();
        CHILD_CHECK(gev_yield() == 0);
        CHILD_CHECK(gev_sleep(0.01) == 0);
        CHILD_CHECK(gev_run(1) == 0);
        CHILD_CHECK(count == 0);
        CHILD_CHECK(gev_hub_close() == 0);
        CHILD_CHECK(count == 0);
        _exit(failed_check);
    }
    expect_int_eq(status_of(pid), 0);
    expect_int_eq(gev_joinall(g, 3, GEV_FOREVER), 3);
    expect_int_eq(count, 3);
    gev_unrefall(g, 3);
    expect_ok(gev_hub_post(gev_hub_get(), count_call, &count));
    expect_ok(gev_sleep(0.001));
    expect_int_eq(count, 4);
}

static void *wait_and_read(void *arg)
{
    char c = 0;
    if (gev_wait_fd(N(arg), GEV_READ, 10) != GEV_READ ||
        read(N(arg), &c, 1) != 1) {
        return gev_fail(errno != 0 ? errno : EPROTO);
    }
    return P(c);
}

/* P1: what the child does with inherited descriptors does not reach the
 * parent's epoll set. */
GEV_TEST(child_does_not_disturb_the_parents_watchers)
{
    int fds[2];
    expect_int_eq(pipe(fds), 0);
    gev_greenlet *g = gev_spawn(wait_and_read, P(fds[0]));
    expect_ok(gev_yield());
    expect_ok(gev_sleep(0.001)); /* it is registered */
    pid_t pid = fork();
    if (pid == 0) {
        child_begins();
        /* use the same descriptor in the child's loop, then close it there */
        CHILD_CHECK(gev_wait_fd(fds[0], GEV_READ, 0.002) == -1 &&
                    errno == ETIMEDOUT);
        CHILD_CHECK(gev_close(fds[0]) == 0 && gev_close(fds[1]) == 0);
        CHILD_CHECK(gev_hub_close() == 0);
        CHILD_CHECK(gev_sleep(0.001) == 0);
        _exit(failed_check);
    }
    expect_int_eq(status_of(pid), 0);
    expect_false(gev_dead(g));
    expect_int_eq(write(fds[1], "y", 1), 1);
    void *value = NULL;
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_int_eq(N(value), 'y');
    gev_unref(g);
    expect_int_eq(gev_close(fds[0]) + gev_close(fds[1]), 0);
}

/* A pipe between the two, both sides in gev. */
GEV_TEST(parent_and_child_talk)
{
    int fds[2];
    expect_int_eq(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        child_begins();
        CHILD_CHECK(gev_sleep(0.002) == 0);
        CHILD_CHECK(write(fds[1], "z", 1) == 1);
        _exit(failed_check);
    }
    gev_greenlet *g = gev_spawn(wait_and_read, P(fds[0]));
    void *value = NULL;
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_int_eq(N(value), 'z');
    expect_int_eq(status_of(pid), 0);
    gev_unref(g);
    expect_int_eq(gev_close(fds[0]) + gev_close(fds[1]), 0);
}

/* The greenlet that forked is kept, and so are its scopes. */
static void *fork_in_scope(void *arg)
{
    int *status = arg;
    gev_timeout t = {0};
    (void)gev_timeout_begin_error(&t, 0.01, EPROTO);
    pid_t pid = fork();
    if (pid == 0) {
        child_begins();
        CHILD_CHECK(gev_sleep(10) == -1 && errno == EPROTO);
        CHILD_CHECK(gev_timeout_end(&t));
        CHILD_CHECK(gev_sleep(0.001) == 0);
        _exit(failed_check);
    }
    (void)gev_timeout_end(&t);
    *status = status_of(pid);
    return NULL;
}

GEV_TEST(scopes_of_the_forking_greenlet_go_on)
{
    int status = -1;
    gev_greenlet *g = gev_spawn(fork_in_scope, &status);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(status, 0);
    gev_unref(g);
}

/* A grandchild. */
GEV_TEST(child_may_fork_again)
{
    pid_t pid = fork();
    if (pid == 0) {
        child_begins();
        CHILD_CHECK(gev_sleep(0.001) == 0);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            child_begins();
            check_scheduler();
            _exit(failed_check);
        }
        int status = -1;
        CHILD_CHECK(gev_wait_child(grandchild, &status, 10) == 0);
        CHILD_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        _exit(failed_check);
    }
    expect_int_eq(status_of(pid), 0);
}

/* A fork without any hub. */
GEV_TEST(fork_without_a_hub)
{
    expect_ok(gev_hub_close());
    pid_t pid = fork();
    if (pid == 0) {
        child_begins();
        check_scheduler();
        CHILD_CHECK(gev_hub_close() == 0);
        _exit(failed_check);
    }
    expect_int_eq(status_of(pid), 0);
}

static void note_defer(void *arg)
{
    ++*(int *)arg;
}

static void *defer_and_park(void *arg)
{
    expect_ok(gev_defer(note_defer, arg));
    return gev_sleep(GEV_FOREVER) == 0 ? NULL : gev_fail(errno);
}

/* P2: the other greenlets do not run in the child, not even their defers: what
 * they would clean up is the parent's. */
GEV_TEST(others_defers_do_not_run_in_the_child)
{
    int count = 0;
    gev_greenlet *g = gev_spawn(defer_and_park, &count);
    expect_ok(gev_yield());
    pid_t pid = fork();
    if (pid == 0) {
        child_begins();
        CHILD_CHECK(gev_yield() == 0);
        CHILD_CHECK(gev_hub_close() == 0);
        CHILD_CHECK(count == 0);
        _exit(failed_check);
    }
    expect_int_eq(status_of(pid), 0);
    expect_int_eq(count, 0);
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(count, 1);
    gev_unref(g);
}

static pid_t forked;

static void fork_now(void *arg)
{
    (void)arg;
    (void)fflush(NULL);
    forked = fork();
    if (forked == 0) {
        child_begins();
        CHILD_CHECK(on_exit(end_child, NULL) == 0);
    }
}

static void *defer_a_fork(void *arg)
{
    expect_ok(gev_defer(fork_now, NULL));
    return arg;
}

/* The greenlet that forked is the child's main, in its defers, too. */
GEV_TEST(return_from_a_defer_that_forked_is_exit_0)
{
    gev_greenlet *g = gev_spawn(defer_a_fork, NULL);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_int_eq(status_of(forked), 0);
}

static void *fork_and_look(void *arg)
{
    forked = fork();
    if (forked == 0) {
        child_begins();
        check_scheduler();
        gev_stats stats = {.size = sizeof(stats)};
        gev_hub_stats(gev_hub_get(), &stats);
        CHILD_CHECK(stats.live == 0);
        CHILD_CHECK(gev_hub_close() == 0);
        _exit(failed_check);
    }
    return arg;
}

GEV_TEST(fork_in_a_raw_greenlet_makes_it_main)
{
    gev_greenlet *g = gev_new(fork_and_look, NULL);
    expect_ok(gev_switch(g, NULL, NULL));
    expect_int_eq(status_of(forked), 0);
    gev_unref(g);
}

/* In the child of a fork in a callback main goes on; ends it. */
static void finish_child(void)
{
    if (forked == 0) {
        check_scheduler();
        CHILD_CHECK(gev_hub_close() == 0);
        _exit(failed_check);
    }
    expect_int_eq(status_of(forked), 0);
}

GEV_TEST(main_sleeps_on_after_a_fork_in_a_callback)
{
    expect_ok(gev_hub_post(gev_hub_get(), fork_now, NULL));
    int rc = gev_sleep(0.02);
    CHILD_CHECK(rc == 0);
    expect_ok(rc);
    finish_child();
}

static void wake_and_fork(void *waiter)
{
    gev_waiter_switch(waiter, P(5));
    fork_now(NULL);
}

GEV_TEST(main_that_was_ready_runs_after_a_fork_in_a_callback)
{
    gev_waiter w = {0};
    void *value = NULL;
    expect_ok(gev_hub_post(gev_hub_get(), wake_and_fork, &w));
    int rc = gev_waiter_get(&w, &value, GEV_FOREVER);
    CHILD_CHECK(rc == 0 && value == P(5));
    expect_int_eq(N(value), 5);
    finish_child();
}

static void *park_in(void *arg)
{
    expect_fail(gev_wait_fd(N(arg), GEV_READ, GEV_FOREVER), ECANCELED);
    return NULL;
}

/* Its wait is over, and leaves nothing that would look like waiting. */
GEV_TEST(main_may_wait_for_io_when_a_callback_forks)
{
    int fds[2];
    expect_ok(pipe(fds));
    gev_greenlet *other = gev_spawn(park_in, P(fds[0]));
    expect_ok(gev_yield());
    expect_ok(gev_hub_post(gev_hub_get(), fork_now, NULL));
    int rc = gev_wait_fd(fds[0], GEV_READ, 0.02);
    CHILD_CHECK(rc == -1 && errno == ETIMEDOUT);
    expect_fail(rc, ETIMEDOUT);
    finish_child();
    expect_ok(gev_kill(other, GEV_FOREVER));
    gev_unref(other);
    close(fds[0]);
    close(fds[1]);
}

static void raise_usr1(void *arg)
{
    (void)arg;
    (void)kill(getpid(), SIGUSR1);
}

GEV_TEST(main_may_wait_for_a_signal_when_a_callback_forks)
{
    expect_ok(gev_hub_post(gev_hub_get(), fork_now, NULL));
    int rc = gev_wait_signal(SIGUSR1, 0.02);
    CHILD_CHECK(rc == -1 && errno == ETIMEDOUT);
    expect_fail(rc, ETIMEDOUT);
    if (forked == 0) {
        CHILD_CHECK(gev_wait_signal(SIGUSR1, 0.001) == -1);
        gev_hub_post(gev_hub_get(), raise_usr1, NULL);
        CHILD_CHECK(gev_wait_signal(SIGUSR1, 10) == 0);
    }
    finish_child();
}

struct postings {
    gev_hub *hub;
    gev_waiter done;
    atomic_bool arrived;
    int lost;
};

static void note_arrival(void *arg)
{
    struct postings *p = arg;
    atomic_store(&p->arrived, true);
}

static void note_done(void *arg)
{
    struct postings *p = arg;
    gev_waiter_switch(&p->done, NULL);
}

static void *post_one_by_one(void *arg)
{
    struct postings *p = arg;
    for (int i = 0; i < 20 && p->lost == 0; i++) {
        usleep(5000); /* both loops block by now */
        atomic_store(&p->arrived, false);
        p->lost += gev_hub_post(p->hub, note_arrival, p) != 0;
        double begin = test_now();
        while (!atomic_load(&p->arrived) && test_now() - begin < 5) {
            usleep(1000);
        }
        p->lost += !atomic_load(&p->arrived);
    }
    gev_hub_post(p->hub, note_done, p);
    return NULL;
}

/* P1: the child of a fork in a callback does not take the parent's wake-ups. */
GEV_TEST(child_of_a_callback_leaves_the_parents_wakeups_alone)
{
    struct postings p = {.hub = gev_hub_get()};
    expect_ok(gev_hub_post(p.hub, fork_now, NULL));
    expect_ok(gev_sleep(0.01));
    if (forked == 0) {
        gev_sleep(15);
        _exit(0);
    }
    pthread_t thread;
    expect_int_eq(pthread_create(&thread, NULL, post_one_by_one, &p), 0);
    gev_waiter_get(&p.done, NULL, 20);
    expect_int_eq(pthread_join(thread, NULL), 0);
    expect_int_eq(p.lost, 0);
    expect_ok(kill(forked, SIGKILL));
    expect_int_eq(waitpid(forked, NULL, 0), forked);
}

/* What was held for threads that are gone is let go by the fork, and once. */
GEV_TEST(hold_from_before_the_fork_may_be_let_go_in_the_child)
{
    gev_hub_ref(gev_hub_get());
    fork_now(NULL);
    if (forked == 0) {
        gev_hub_unref(gev_hub_get());
    }
    finish_child();
    gev_hub_unref(gev_hub_get());
}

static gev_waiter shared_waiter;
static gev_iwait *shared_iwait;

static void *get_from_waiter(void *arg)
{
    gev_waiter_get(&shared_waiter, NULL, GEV_FOREVER);
    return arg;
}

static void *next_from_iwait(void *arg)
{
    gev_iwait_next(shared_iwait);
    return arg;
}

/* OS3: who was parked in a waiter or an iwait is not there any more: it is
 * neither busy, nor is anybody woken in its place. */
GEV_TEST(waiters_are_free_in_the_child)
{
    gev_event e = {{NULL}};
    gev_waitable *w[] = {GEV_WAITABLE(&e)};
    gev_waiter_init(&shared_waiter);
    shared_iwait = gev_iwait_new(w, 1, GEV_FOREVER);
    gev_greenlet *g[] = {gev_spawn(get_from_waiter, NULL),
                         gev_spawn(next_from_iwait, NULL)};
    expect_ok(gev_yield());
    pid_t pid = fork();
    if (pid == 0) {
        child_begins();
        void *value = NULL;
        gev_unrefall(g, 2);
        gev_greenlet *other[] = {gev_spawn(sleep_5_ms, P(1)),
                                 gev_spawn(sleep_5_ms, P(1))};
        CHILD_CHECK(gev_yield() == 0);
        gev_waiter_switch(&shared_waiter, P(3));
        gev_event_set(&e);
        CHILD_CHECK(gev_waiter_get(&shared_waiter, &value, 0) == 0);
        CHILD_CHECK(N(value) == 3);
        CHILD_CHECK(gev_iwait_next(shared_iwait) == w[0]);
        CHILD_CHECK(gev_yield() == 0);
        CHILD_CHECK(!gev_dead(other[0]) && !gev_dead(other[1]));
        CHILD_CHECK(gev_joinall(other, 2, GEV_FOREVER) == 2);
        _exit(failed_check);
    }
    expect_int_eq(status_of(pid), 0);
    expect_ok(gev_killall(g, 2, GEV_FOREVER));
    gev_unrefall(g, 2);
    gev_iwait_free(shared_iwait);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fork_in_main_keeps_main_only),
        cmocka_unit_test(fork_in_a_greenlet_makes_it_main),
        cmocka_unit_test(return_of_the_forking_greenlet_is_exit_0),
        cmocka_unit_test(gev_exit_in_the_childs_main_is_exit_0),
        cmocka_unit_test(queued_greenlets_do_not_run_in_the_child),
        cmocka_unit_test(child_does_not_disturb_the_parents_watchers),
        cmocka_unit_test(parent_and_child_talk),
        cmocka_unit_test(scopes_of_the_forking_greenlet_go_on),
        cmocka_unit_test(child_may_fork_again),
        cmocka_unit_test(fork_without_a_hub),
        cmocka_unit_test(others_defers_do_not_run_in_the_child),
        cmocka_unit_test(return_from_a_defer_that_forked_is_exit_0),
        cmocka_unit_test(fork_in_a_raw_greenlet_makes_it_main),
        cmocka_unit_test(main_sleeps_on_after_a_fork_in_a_callback),
        cmocka_unit_test(main_that_was_ready_runs_after_a_fork_in_a_callback),
        cmocka_unit_test(main_may_wait_for_io_when_a_callback_forks),
        cmocka_unit_test(main_may_wait_for_a_signal_when_a_callback_forks),
        cmocka_unit_test(child_of_a_callback_leaves_the_parents_wakeups_alone),
        cmocka_unit_test(hold_from_before_the_fork_may_be_let_go_in_the_child),
        cmocka_unit_test(waiters_are_free_in_the_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
