/* SPDX-License-Identifier: MIT */

/* Barriers: gev/lock.h (LCK13, THR3). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/greenlets.h"
#include "support/trace.h"

#include <limits.h>
#include <unistd.h>

static gev_barrier barrier;

struct party {
    double timeout;
    int rc; /* the order, or -1 */
    int error;
    int next; /* what its next park came to */
};

static void *wait_once(void *arg)
{
    struct party *p = arg;
    p->rc = gev_barrier_wait(&barrier, p->timeout);
    p->error = p->rc < 0 ? errno : 0;
    p->next = gev_yield() == 0 ? 0 : errno;
    return NULL;
}

static gev_greenlet *spawn_party(struct party *p)
{
    return start(wait_once, p);
}

enum { PARTIES = 5, LAPS = 20 };

static int acts;

static void count_act(void *arg)
{
    acts++;
    expect_ptr_eq(arg, &acts);
}

struct runner {
    int lap; /* how many it has done */
    int wrong;
};

static struct runner runners[PARTIES];

static void *run_laps(void *arg)
{
    struct runner *r = arg;
    for (int i = 0; i < LAPS; i++) {
        int order = gev_barrier_wait(&barrier, GEV_FOREVER);
        r->wrong += order < 0 || order >= PARTIES;
        r->wrong += acts != i + 1; /* once a lap, before anybody goes on */
        r->lap++;
        for (int k = 0; k < PARTIES; k++) {
            r->wrong += runners[k].lap < i || runners[k].lap > i + 1;
        }
        if ((i + (int)(r - runners)) % 3 == 0) {
            r->wrong += gev_yield() != 0;
        }
    }
    return NULL;
}

GEV_TEST(parties_run_lap_by_lap)
{
    gev_greenlet *g[PARTIES];
    acts = 0;
    memset(runners, 0, sizeof(runners));
    expect_ok(gev_barrier_init(&barrier, PARTIES, count_act, &acts));
    for (int i = 0; i < PARTIES; i++) {
        g[i] = gev_spawn(run_laps, &runners[i]);
    }
    expect_int_eq(gev_joinall(g, PARTIES, GEV_FOREVER), PARTIES);
    expect_int_eq(acts, LAPS);
    for (int i = 0; i < PARTIES; i++) {
        expect_int_eq(runners[i].wrong, 0);
        expect_int_eq(runners[i].lap, LAPS);
    }
    gev_unrefall(g, PARTIES);
    expect_false(gev_barrier_broken(&barrier));
    expect_ok(gev_barrier_fini(&barrier));
}

/* The order of arrival; the last does not park. */
GEV_TEST(arrivals_are_numbered)
{
    struct party p[3] = {{GEV_FOREVER, -1, 0, 0},
                         {GEV_FOREVER, -1, 0, 0},
                         {GEV_FOREVER, -1, 0, 0}};
    gev_greenlet *g[2];
    expect_ok(gev_barrier_init(&barrier, 3, NULL, NULL));
    for (int i = 0; i < 2; i++) {
        expect_uint_eq(gev_barrier_waiting(&barrier), i);
        g[i] = spawn_party(&p[i]);
    }
    expect_uint_eq(gev_barrier_waiting(&barrier), 2);
    expect_int_eq(p[0].rc, -1);
    expect_int_eq(gev_barrier_wait(&barrier, 0), 2); /* need not wait */
    expect_uint_eq(gev_barrier_waiting(&barrier), 0);
    expect_int_eq(p[0].rc, -1); /* and does not switch */
    join_and_drop(g[0]);
    join_and_drop(g[1]);
    expect_int_eq(p[0].rc, 0);
    expect_int_eq(p[1].rc, 1);
    expect_ok(gev_barrier_fini(&barrier));
}

GEV_TEST(one_party_never_waits)
{
    acts = 0;
    expect_ok(gev_barrier_init(&barrier, 1, count_act, &acts));
    for (int i = 0; i < 3; i++) {
        expect_int_eq(gev_barrier_wait(&barrier, i - 1), 0);
    }
    expect_int_eq(acts, 3);
}

/* --- breaking ------------------------------------------------------------ */

static void expect_broken(void)
{
    expect_true(gev_barrier_broken(&barrier));
    expect_uint_eq(gev_barrier_waiting(&barrier), 0);
    expect_fail(gev_barrier_wait(&barrier, GEV_FOREVER), EPIPE);
    expect_fail(gev_barrier_wait(&barrier, 0), EPIPE);
}

GEV_TEST(timeout_breaks_it_for_all)
{
    struct party patient = {GEV_FOREVER, 0, 0, 0};
    struct party hasty = {0.002, 0, 0, 0};
    expect_ok(gev_barrier_init(&barrier, 3, NULL, NULL));
    gev_greenlet *a = spawn_party(&patient);
    gev_greenlet *b = spawn_party(&hasty);
    join_and_drop(a);
    join_and_drop(b);
    expect_int_eq(hasty.error, ETIMEDOUT);
    expect_int_eq(patient.error, EPIPE);
    expect_int_eq(patient.next, 0);
    expect_broken();
    expect_ok(gev_barrier_fini(&barrier));
}

GEV_TEST(try_that_is_too_early_breaks_it)
{
    struct party p = {GEV_FOREVER, 0, 0, 0};
    expect_ok(gev_barrier_init(&barrier, 3, NULL, NULL));
    gev_greenlet *a = spawn_party(&p);
    expect_fail(gev_barrier_wait(&barrier, 0), ETIMEDOUT);
    join_and_drop(a);
    expect_int_eq(p.error, EPIPE);
    expect_broken();
}

GEV_TEST(kill_breaks_it_for_all)
{
    struct party p[2] = {{GEV_FOREVER, 0, 0, 0}, {GEV_FOREVER, 0, 0, 0}};
    expect_ok(gev_barrier_init(&barrier, 3, NULL, NULL));
    gev_greenlet *a = spawn_party(&p[0]);
    gev_greenlet *b = spawn_party(&p[1]);
    expect_ok(gev_kill(a, GEV_FOREVER));
    join_and_drop(b);
    expect_int_eq(p[0].error, ECANCELED);
    expect_int_eq(p[1].error, EPIPE);
    expect_broken();
    gev_unref(a);
}

/* C6: kill, then the last comes before the victim has run: no lap. */
GEV_TEST(last_after_a_kill_finds_it_broken)
{
    struct party p[2] = {{GEV_FOREVER, 0, 0, 0}, {GEV_FOREVER, 0, 0, 0}};
    acts = 0;
    expect_ok(gev_barrier_init(&barrier, 3, count_act, &acts));
    gev_greenlet *a = spawn_party(&p[0]);
    gev_greenlet *b = spawn_party(&p[1]);
    expect_ok(gev_kill(b, 0));
    expect_fail(gev_barrier_wait(&barrier, GEV_FOREVER), EPIPE);
    expect_true(gev_barrier_broken(&barrier));
    join_and_drop(a);
    join_and_drop(b);
    expect_int_eq(p[0].error, EPIPE);
    expect_int_eq(p[1].error, ECANCELED);
    expect_int_eq(acts, 0);
}

/* C6: the last comes, then a kill: the victim did the lap. */
GEV_TEST(kill_after_the_last_does_not_break_it)
{
    struct party p[2] = {{GEV_FOREVER, 0, 0, 0}, {GEV_FOREVER, 0, 0, 0}};
    expect_ok(gev_barrier_init(&barrier, 3, NULL, NULL));
    gev_greenlet *a = spawn_party(&p[0]);
    gev_greenlet *b = spawn_party(&p[1]);
    expect_int_eq(gev_barrier_wait(&barrier, GEV_FOREVER), 2);
    expect_ok(gev_kill(b, 0));
    join_and_drop(a);
    join_and_drop(b);
    expect_int_eq(p[0].rc, 0);
    expect_int_eq(p[1].rc, 1);
    expect_int_eq(p[1].next, ECANCELED);
    expect_false(gev_barrier_broken(&barrier));
}

GEV_TEST(abort_breaks_it)
{
    struct party p = {GEV_FOREVER, 0, 0, 0};
    expect_ok(gev_barrier_init(&barrier, 3, NULL, NULL));
    gev_greenlet *g = spawn_party(&p);
    gev_barrier_abort(&barrier);
    gev_barrier_abort(&barrier);
    join_and_drop(g);
    expect_int_eq(p.error, EPIPE);
    expect_broken();
}

GEV_TEST(reset_makes_it_new)
{
    struct party p[3] = {
        {GEV_FOREVER, 0, 0, 0}, {GEV_FOREVER, 0, 0, 0}, {GEV_FOREVER, 0, 0, 0}};
    expect_ok(gev_barrier_init(&barrier, 2, NULL, NULL));
    gev_greenlet *a = spawn_party(&p[0]);
    gev_barrier_reset(&barrier);
    expect_false(gev_barrier_broken(&barrier));
    gev_greenlet *b = gev_spawn(wait_once, &p[1]);
    join_and_drop(a);
    expect_int_eq(p[0].error, EPIPE);
    expect_int_eq(gev_barrier_wait(&barrier, GEV_FOREVER), 1);
    join_and_drop(b);
    expect_int_eq(p[1].rc, 0);
    gev_barrier_abort(&barrier);
    gev_barrier_reset(&barrier);
    gev_greenlet *c = spawn_party(&p[2]);
    expect_int_eq(gev_barrier_wait(&barrier, GEV_FOREVER), 1);
    join_and_drop(c);
    expect_int_eq(p[2].rc, 0);
}

/* A barrier of a hub that this thread has closed is its next hub's. */
GEV_TEST(barrier_of_a_closed_hub)
{
    expect_ok(gev_barrier_init(&barrier, 2, NULL, NULL));
    gev_barrier_abort(&barrier);
    expect_ok(gev_hub_close());
    gev_barrier_reset(&barrier);
    expect_false(gev_barrier_broken(&barrier));
    expect_ok(gev_hub_close());
    gev_barrier_abort(&barrier);
    expect_broken();
}

/* One that was killed before a reset does not break the new barrier. */
GEV_TEST(kill_before_a_reset_is_past)
{
    struct party p[2] = {{GEV_FOREVER, 0, 0, 0}, {GEV_FOREVER, 0, 0, 0}};
    expect_ok(gev_barrier_init(&barrier, 2, NULL, NULL));
    gev_greenlet *a = spawn_party(&p[0]);
    expect_ok(gev_kill(a, 0));
    gev_barrier_reset(&barrier);
    gev_greenlet *b = gev_spawn(wait_once, &p[1]);
    join_and_drop(a);
    expect_int_eq(p[0].error, ECANCELED);
    expect_false(gev_barrier_broken(&barrier));
    expect_ok(gev_yield());
    expect_int_eq(gev_barrier_wait(&barrier, GEV_FOREVER), 1);
    join_and_drop(b);
    expect_int_eq(p[1].rc, 0);
}

/* A party whose wait was over may find the barrier gone. */
GEV_TEST(barrier_may_go_after_its_last_lap)
{
    struct party p[3] = {{GEV_FOREVER, -1, 0, 0},
                         {GEV_FOREVER, -1, 0, 0},
                         {GEV_FOREVER, 0, 0, 0}};
    expect_ok(gev_barrier_init(&barrier, 2, NULL, NULL));
    gev_greenlet *a = spawn_party(&p[0]);
    expect_fail(gev_barrier_fini(&barrier), EBUSY);
    expect_int_eq(gev_barrier_wait(&barrier, 0), 1);
    expect_ok(gev_barrier_fini(&barrier));
    expect_fail(gev_barrier_wait(&barrier, 0), EINVAL); /* all-zero */
    memset(&barrier, 0xff, sizeof(barrier));
    join_and_drop(a);
    expect_int_eq(p[0].rc, 0);
    expect_ok(gev_barrier_init(&barrier, 3, NULL, NULL));
    gev_greenlet *b = spawn_party(&p[1]);
    gev_greenlet *c = spawn_party(&p[2]);
    expect_ok(gev_kill(b, 0));
    gev_barrier_abort(&barrier);
    expect_ok(gev_barrier_fini(&barrier));
    memset(&barrier, 0xff, sizeof(barrier));
    join_and_drop(b);
    join_and_drop(c);
    expect_int_eq(p[1].error, ECANCELED);
    expect_int_eq(p[2].error, EPIPE);
}

/* --- the action ---------------------------------------------------------- */

static int act_result;

static void park_in_action(void *arg)
{
    (void)arg;
    act_result = gev_yield() == 0 ? 0 : errno;
}

static void wait_in_action(void *arg)
{
    (void)arg;
    act_result = gev_barrier_wait(&barrier, GEV_FOREVER) >= 0 ? 0 : errno;
}

static void abort_in_action(void *arg)
{
    (void)arg;
    gev_barrier_abort(&barrier);
}

static void reset_in_action(void *arg)
{
    (void)arg;
    gev_barrier_reset(&barrier);
}

static gev_greenlet *to_kill;

static void kill_in_action(void *arg)
{
    (void)arg;
    expect_ok(gev_kill(to_kill, 0));
}

/* What becomes of main and one other; acts says what the action said. */
static void run_action(void (*action)(void *), int *ret_main, struct party *p)
{
    *p = (struct party){GEV_FOREVER, 0, 0, 0};
    act_result = -1;
    expect_ok(gev_barrier_init(&barrier, 2, action, NULL));
    gev_greenlet *g = spawn_party(p);
    to_kill = g;
    int rc = gev_barrier_wait(&barrier, GEV_FOREVER);
    *ret_main = rc < 0 ? -errno : rc;
    join_and_drop(g);
}

GEV_TEST(action_must_not_park)
{
    struct party p;
    int result = 0;
    run_action(park_in_action, &result, &p);
    expect_int_eq(act_result, EPERM);
    expect_int_eq(result, 1);
    expect_int_eq(p.rc, 0);
    expect_ok(gev_yield()); /* main may park again */
    run_action(wait_in_action, &result, &p);
    expect_int_eq(act_result, EBUSY);
    expect_int_eq(result, 1);
}

GEV_TEST(action_may_end_the_lap)
{
    struct party p;
    int result = 0;
    run_action(abort_in_action, &result, &p);
    expect_int_eq(result, -EPIPE);
    expect_int_eq(p.error, EPIPE);
    expect_true(gev_barrier_broken(&barrier));
    run_action(reset_in_action, &result, &p);
    expect_int_eq(result, -EPIPE);
    expect_int_eq(p.error, EPIPE);
    expect_false(gev_barrier_broken(&barrier));
    run_action(kill_in_action, &result, &p);
    expect_int_eq(result, -EPIPE);
    expect_int_eq(p.error, ECANCELED);
    expect_true(gev_barrier_broken(&barrier));
}

/* --- misuse -------------------------------------------------------------- */

GEV_TEST(senseless_arguments_are_refused)
{
    gev_barrier zero = {{NULL}};
    expect_fail(gev_barrier_init(NULL, 1, NULL, NULL), EINVAL);
    expect_fail(gev_barrier_init(&barrier, 0, NULL, NULL), EINVAL);
    expect_fail(gev_barrier_init(&barrier, (unsigned)INT_MAX + 1, NULL, NULL),
                EINVAL);
    expect_fail(gev_barrier_wait(NULL, 0), EINVAL);
    expect_fail(gev_barrier_wait(&zero, 0), EINVAL);
    expect_fail(gev_barrier_fini(NULL), EINVAL);
    gev_barrier_abort(NULL);
    gev_barrier_reset(NULL);
    expect_false(gev_barrier_broken(NULL));
    expect_uint_eq(gev_barrier_waiting(NULL), 0);
    expect_ok(gev_barrier_init(&barrier, 2, NULL, NULL));
    expect_fail(gev_barrier_wait(&barrier, (double)NAN), EINVAL);
    expect_false(gev_barrier_broken(&barrier));
}

static int callback_result;

static void wait_in_callback(void *arg)
{
    (void)arg;
    int rc = gev_barrier_wait(&barrier, GEV_FOREVER);
    callback_result = rc < 0 ? -errno : rc;
}

/* A callback cannot wait, but it can be the last. */
GEV_TEST(callback_may_be_the_last)
{
    struct party p = {GEV_FOREVER, -1, 0, 0};
    expect_ok(gev_barrier_init(&barrier, 2, NULL, NULL));
    call_in_hub(wait_in_callback, NULL);
    expect_int_eq(callback_result, -EPERM);
    expect_false(gev_barrier_broken(&barrier));
    gev_greenlet *g = spawn_party(&p);
    expect_ok(gev_hub_post(gev_hub_get(), wait_in_callback, NULL));
    join_and_drop(g);
    expect_int_eq(callback_result, 1);
    expect_int_eq(p.rc, 0);
}

/* LCK14, P9 */
static void *use_in_another_thread(void *arg)
{
    int wrong = 0;
    (void)arg;
    wrong += gev_barrier_wait(&barrier, 1) != -1 || errno != EPERM;
    gev_barrier_abort(&barrier);
    gev_barrier_reset(&barrier);
    wrong += gev_hub_close() != 0;
    return P(wrong);
}

GEV_TEST(another_threads_barrier_is_left_alone)
{
    struct party p = {GEV_FOREVER, -1, 0, 0};
    expect_ok(gev_barrier_init(&barrier, 2, NULL, NULL));
    gev_greenlet *g = spawn_party(&p);
    expect_int_eq(value_in_thread(use_in_another_thread, NULL), 0);
    expect_uint_eq(gev_barrier_waiting(&barrier), 1);
    expect_int_eq(gev_barrier_wait(&barrier, 0), 1);
    join_and_drop(g);
}

/* LCK16: in a forked child a new lap begins. */
GEV_TEST(forked_child_begins_a_lap)
{
    struct party p = {GEV_FOREVER, -1, 0, 0};
    expect_ok(gev_barrier_init(&barrier, 2, NULL, NULL));
    gev_greenlet *g = spawn_party(&p);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(20);
        _exit((gev_barrier_waiting(&barrier) != 0) +
              (gev_barrier_wait(&barrier, 0) != -1 || errno != ETIMEDOUT) +
              (gev_barrier_fini(&barrier) != 0));
    }
    expect_child_well(pid);
    expect_int_eq(gev_barrier_wait(&barrier, 0), 1);
    join_and_drop(g);
    expect_int_eq(p.rc, 0);
}

GEV_TEST(main_alone_is_a_deadlock)
{
    expect_ok(gev_barrier_init(&barrier, 2, NULL, NULL));
    expect_fail(gev_barrier_wait(&barrier, GEV_FOREVER), EDEADLK);
    expect_true(gev_barrier_broken(&barrier));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parties_run_lap_by_lap),
        cmocka_unit_test(arrivals_are_numbered),
        cmocka_unit_test(one_party_never_waits),
        cmocka_unit_test(timeout_breaks_it_for_all),
        cmocka_unit_test(try_that_is_too_early_breaks_it),
        cmocka_unit_test(kill_breaks_it_for_all),
        cmocka_unit_test(last_after_a_kill_finds_it_broken),
        cmocka_unit_test(kill_after_the_last_does_not_break_it),
        cmocka_unit_test(abort_breaks_it),
        cmocka_unit_test(reset_makes_it_new),
        cmocka_unit_test(barrier_of_a_closed_hub),
        cmocka_unit_test(kill_before_a_reset_is_past),
        cmocka_unit_test(barrier_may_go_after_its_last_lap),
        cmocka_unit_test(action_must_not_park),
        cmocka_unit_test(action_may_end_the_lap),
        cmocka_unit_test(senseless_arguments_are_refused),
        cmocka_unit_test(callback_may_be_the_last),
        cmocka_unit_test(another_threads_barrier_is_left_alone),
        cmocka_unit_test(forked_child_begins_a_lap),
        cmocka_unit_test(main_alone_is_a_deadlock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
