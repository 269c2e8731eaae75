/* SPDX-License-Identifier: MIT */

/* Read-write locks: gev/lock.h (LCK13). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/greenlets.h"
#include "support/trace.h"

#include <unistd.h>

static gev_rwlock lock;

struct user {
    const char *name; /* w...: writes, else reads */
    double timeout;
    int rc;
    int error;
    int next; /* what its next park came to */
};

static int acquire(const struct user *u)
{
    return u->name[0] == 'w' ? gev_rwlock_acquire_write(&lock, u->timeout)
                             : gev_rwlock_acquire_read(&lock, u->timeout);
}

static void *use_and_trace(void *arg)
{
    struct user *u = arg;
    u->rc = acquire(u);
    u->error = u->rc == 0 ? 0 : errno;
    if (u->rc == 0) {
        trace(u->name);
    }
    u->next = gev_yield() == 0 ? 0 : errno;
    if (u->rc == 0) {
        expect_ok(gev_rwlock_release(&lock));
        trace(".");
    }
    return NULL;
}

static gev_greenlet *spawn_user(struct user *u)
{
    return start(use_and_trace, u);
}

GEV_TEST(readers_share_and_writers_do_not)
{
    struct user reader = {.name = "r", .timeout = 0};
    struct user writer = {.name = "w", .timeout = 0.001};
    gev_rwlock_init(&lock);
    expect_false(gev_rwlock_locked(&lock));
    expect_ok(gev_rwlock_acquire_read(&lock, GEV_FOREVER));
    expect_ok(gev_rwlock_acquire_read(&lock, 0));
    expect_true(gev_rwlock_locked(&lock));
    join_and_drop(gev_spawn(use_and_trace, &reader));
    expect_int_eq(reader.rc, 0);
    join_and_drop(gev_spawn(use_and_trace, &writer));
    expect_int_eq(writer.error, ETIMEDOUT);
    expect_ok(gev_rwlock_release(&lock));
    expect_true(gev_rwlock_locked(&lock));
    expect_ok(gev_rwlock_release(&lock));
    expect_false(gev_rwlock_locked(&lock));
    expect_fail(gev_rwlock_release(&lock), EPERM);

    expect_ok(gev_rwlock_acquire_write(&lock, 0));
    expect_true(gev_rwlock_locked(&lock));
    join_and_drop(gev_spawn(use_and_trace, &reader));
    expect_int_eq(reader.error, ETIMEDOUT);
    join_and_drop(gev_spawn(use_and_trace, &writer));
    expect_int_eq(writer.error, ETIMEDOUT);
    expect_ok(gev_rwlock_release(&lock));
    expect_ok(gev_rwlock_fini(&lock));
}

GEV_TEST(writer_cannot_ask_again)
{
    gev_rwlock l = {{NULL}};
    expect_ok(gev_rwlock_acquire_write(&l, GEV_FOREVER));
    expect_fail(gev_rwlock_acquire_write(&l, GEV_FOREVER), EDEADLK);
    expect_fail(gev_rwlock_acquire_write(&l, 0), EDEADLK);
    expect_fail(gev_rwlock_acquire_read(&l, GEV_FOREVER), EDEADLK);
    expect_fail(gev_rwlock_acquire_read(&l, 0), EDEADLK);
    expect_ok(gev_rwlock_release(&l));
    /* A reader's wish to write is a wait for all readers, itself too. */
    expect_ok(gev_rwlock_acquire_read(&l, 0));
    expect_fail(gev_rwlock_acquire_write(&l, 0), ETIMEDOUT);
    expect_fail(gev_rwlock_acquire_write(&l, 0.001), ETIMEDOUT);
    expect_fail(gev_rwlock_acquire_write(&l, GEV_FOREVER), EDEADLK);
    expect_ok(gev_rwlock_release(&l));
    expect_ok(gev_rwlock_fini(&l));
}

static void *release_lock(void *arg)
{
    *(int *)arg = gev_rwlock_release(&lock) == 0 ? 0 : errno;
    return NULL;
}

/* C7 */
GEV_TEST(release_of_anothers_write_is_refused)
{
    int result = 0;
    gev_rwlock_init(&lock);
    expect_ok(gev_rwlock_acquire_write(&lock, 0));
    join_and_drop(gev_spawn(release_lock, &result));
    expect_int_eq(result, EPERM);
    expect_ok(gev_rwlock_release(&lock));
    join_and_drop(gev_spawn(release_lock, &result));
    expect_int_eq(result, EPERM);
}

/* First come, first served: readers in a row at once, nobody past a writer.
 * Traced: who enters, and a dot for each who leaves. */
GEV_TEST(turns_are_in_the_order_of_arrival)
{
    static const char *const names[] = {"r1", "r2", "w1", "r3",
                                        "r4", "w2", "w3", "r5"};
    enum { N = 8 };
    struct user u[N];
    gev_greenlet *g[N];
    gev_rwlock_init(&lock);
    trace_reset();
    expect_ok(gev_rwlock_acquire_write(&lock, 0));
    for (int i = 0; i < N; i++) {
        u[i] = (struct user){.name = names[i], .timeout = GEV_FOREVER};
        g[i] = spawn_user(&u[i]);
    }
    expect_str_eq(trace_text(), "");
    expect_ok(gev_rwlock_release(&lock));
    expect_fail(gev_rwlock_acquire_read(&lock, 0), ETIMEDOUT);
    expect_int_eq(gev_joinall(g, N, GEV_FOREVER), N);
    expect_str_eq(trace_text(), "r1 r2 . . w1 . r3 r4 . . w2 . w3 . r5 .");
    expect_false(gev_rwlock_locked(&lock));
    gev_unrefall(g, N);
}

/* A reader does not overtake a writer who waits for other readers. */
GEV_TEST(reader_waits_behind_a_writer)
{
    struct user w = {.name = "w", .timeout = GEV_FOREVER};
    struct user r = {.name = "r", .timeout = GEV_FOREVER};
    gev_rwlock_init(&lock);
    trace_reset();
    expect_ok(gev_rwlock_acquire_read(&lock, 0));
    gev_greenlet *gw = spawn_user(&w);
    gev_greenlet *gr = spawn_user(&r);
    expect_fail(gev_rwlock_acquire_read(&lock, 0), ETIMEDOUT);
    expect_str_eq(trace_text(), "");
    expect_fail(gev_rwlock_fini(&lock), EBUSY);
    expect_ok(gev_rwlock_release(&lock));
    join_and_drop(gw);
    join_and_drop(gr);
    expect_str_eq(trace_text(), "w . r .");
}

/* C6: the writer whom readers wait behind is killed or gives up: they go in. */
GEV_TEST(readers_go_in_when_the_writer_gives_up)
{
    struct user killed = {.name = "w", .timeout = GEV_FOREVER};
    struct user late = {.name = "w", .timeout = 0.002};
    struct user r = {.name = "r", .timeout = GEV_FOREVER};
    gev_rwlock_init(&lock);
    expect_ok(gev_rwlock_acquire_read(&lock, 0));
    gev_greenlet *gw = spawn_user(&killed);
    gev_greenlet *gr = spawn_user(&r);
    expect_ok(gev_kill(gw, 0));
    join_and_drop(gr);
    join_and_drop(gw);
    expect_int_eq(r.rc, 0);
    expect_int_eq(killed.error, ECANCELED);

    gw = spawn_user(&late);
    gr = spawn_user(&r);
    join_and_drop(gr);
    join_and_drop(gw);
    expect_int_eq(r.rc, 0);
    expect_int_eq(late.error, ETIMEDOUT);
    expect_ok(gev_rwlock_release(&lock));
    expect_false(gev_rwlock_locked(&lock));
}

/* C6: somebody comes between the kill of a writer and its turn: those who wait
 * go first, and everybody gets in. */
GEV_TEST(arrival_after_a_kill_forgets_nobody)
{
    struct user w = {.name = "w", .timeout = GEV_FOREVER};
    struct user r = {.name = "r", .timeout = GEV_FOREVER};
    gev_rwlock_init(&lock);
    trace_reset();
    expect_ok(gev_rwlock_acquire_read(&lock, 0));
    gev_greenlet *gw = spawn_user(&w);
    gev_greenlet *gr = spawn_user(&r);
    expect_ok(gev_kill(gw, 0));
    expect_ok(gev_rwlock_acquire_read(&lock, 0));
    expect_ok(gev_rwlock_release(&lock));
    expect_ok(gev_rwlock_release(&lock));
    expect_fail(gev_rwlock_acquire_write(&lock, 0), ETIMEDOUT); /* r has it */
    join_and_drop(gr);
    join_and_drop(gw);
    expect_int_eq(r.rc, 0);
    expect_int_eq(w.error, ECANCELED);
    expect_str_eq(trace_text(), "r .");
    expect_ok(gev_rwlock_fini(&lock));
}

/* C6: both orders of a release and a kill. */
GEV_TEST(lock_before_a_kill_is_the_victims)
{
    struct user victim = {.name = "w victim", .timeout = GEV_FOREVER};
    struct user next = {.name = "w next", .timeout = GEV_FOREVER};
    gev_rwlock_init(&lock);
    expect_ok(gev_rwlock_acquire_write(&lock, 0));
    gev_greenlet *a = spawn_user(&victim);
    gev_greenlet *b = spawn_user(&next);
    expect_ok(gev_rwlock_release(&lock));
    expect_ok(gev_kill(a, 0));
    join_and_drop(a);
    join_and_drop(b);
    expect_int_eq(victim.rc, 0);
    expect_int_eq(victim.next, ECANCELED);
    expect_int_eq(next.rc, 0);

    expect_ok(gev_rwlock_acquire_write(&lock, 0));
    a = spawn_user(&victim);
    b = spawn_user(&next);
    expect_ok(gev_kill(a, 0));
    expect_ok(gev_rwlock_release(&lock));
    join_and_drop(a);
    join_and_drop(b);
    expect_int_eq(victim.error, ECANCELED);
    expect_int_eq(next.rc, 0);
    expect_false(gev_rwlock_locked(&lock));
    expect_ok(gev_rwlock_fini(&lock));
}

/* One that was killed and taken off does not touch the lock again. */
GEV_TEST(lock_may_go_before_a_victim_runs)
{
    struct user victim = {.name = "w", .timeout = GEV_FOREVER};
    gev_rwlock_init(&lock);
    expect_ok(gev_rwlock_acquire_read(&lock, 0));
    gev_greenlet *g = spawn_user(&victim);
    expect_ok(gev_kill(g, 0));
    expect_ok(gev_rwlock_release(&lock));
    expect_ok(gev_rwlock_fini(&lock));
    memset(&lock, 0xff, sizeof(lock));
    join_and_drop(g);
    expect_int_eq(victim.error, ECANCELED);
    gev_rwlock_init(&lock);
}

GEV_TEST(senseless_arguments_are_refused)
{
    gev_rwlock_init(NULL);
    expect_fail(gev_rwlock_acquire_read(NULL, 0), EINVAL);
    expect_fail(gev_rwlock_acquire_write(NULL, 0), EINVAL);
    expect_fail(gev_rwlock_release(NULL), EINVAL);
    expect_fail(gev_rwlock_fini(NULL), EINVAL);
    expect_false(gev_rwlock_locked(NULL));
    gev_rwlock_init(&lock);
    expect_fail(gev_rwlock_acquire_read(&lock, (double)NAN), EINVAL);
    expect_fail(gev_rwlock_acquire_write(&lock, (double)NAN), EINVAL);
    expect_false(gev_rwlock_locked(&lock));
}

GEV_TEST(idle_lock_may_be_moved)
{
    gev_rwlock a = {{NULL}};
    gev_rwlock b;
    expect_ok(gev_rwlock_acquire_read(&a, 0));
    memcpy(&b, &a, sizeof(b));
    memset(&a, 0xff, sizeof(a));
    expect_ok(gev_rwlock_release(&b));
    expect_ok(gev_rwlock_acquire_write(&b, 0));
    expect_ok(gev_rwlock_release(&b));
    expect_ok(gev_rwlock_fini(&b));
}

static int callback_results[3];

static void use_in_callback(void *arg)
{
    (void)arg;
    callback_results[0] = gev_rwlock_acquire_read(&lock, 0) == 0 ? 0 : errno;
    callback_results[1] = gev_rwlock_acquire_write(&lock, 1) == 0 ? 0 : errno;
    callback_results[2] = gev_rwlock_release(&lock) == 0 ? 0 : errno;
}

GEV_TEST(callback_may_try_but_not_wait)
{
    gev_rwlock_init(&lock);
    expect_ok(gev_rwlock_acquire_read(&lock, 0));
    call_in_hub(use_in_callback, NULL);
    expect_int_eq(callback_results[0], 0);
    expect_int_eq(callback_results[1], EPERM);
    expect_int_eq(callback_results[2], 0);
    expect_ok(gev_rwlock_release(&lock));
    expect_ok(gev_rwlock_fini(&lock));
}

/* LCK14, P9 */
static void *use_in_another_thread(void *arg)
{
    int wrong = 0;
    (void)arg;
    wrong += gev_rwlock_acquire_read(&lock, 0) != -1 || errno != EPERM;
    wrong += gev_rwlock_acquire_write(&lock, 1) != -1 || errno != EPERM;
    wrong += gev_rwlock_release(&lock) != -1 || errno != EPERM;
    wrong += gev_hub_close() != 0;
    return P(wrong);
}

GEV_TEST(another_threads_lock_is_refused)
{
    gev_rwlock_init(&lock);
    expect_ok(gev_rwlock_acquire_read(&lock, 0));
    expect_int_eq(value_in_thread(use_in_another_thread, NULL), 0);
    expect_ok(gev_rwlock_release(&lock));
}

/* LCK16 */
static int child_outcome(void)
{
    int wrong = 0;
    wrong += gev_rwlock_acquire_read(&lock, 0) != -1 || errno != EDEADLK;
    wrong += gev_rwlock_release(&lock) != 0;
    wrong += gev_rwlock_locked(&lock); /* the waiter is not here */
    wrong += gev_rwlock_acquire_read(&lock, GEV_FOREVER) != 0;
    return wrong;
}

GEV_TEST(forked_child_keeps_its_own_lock)
{
    struct user u = {.name = "r", .timeout = GEV_FOREVER};
    gev_rwlock_init(&lock);
    expect_ok(gev_rwlock_acquire_write(&lock, 0));
    gev_greenlet *g = spawn_user(&u);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(20);
        _exit(child_outcome());
    }
    expect_child_well(pid);
    expect_ok(gev_rwlock_release(&lock));
    join_and_drop(g);
    expect_int_eq(u.rc, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_share_and_writers_do_not),
        cmocka_unit_test(writer_cannot_ask_again),
        cmocka_unit_test(release_of_anothers_write_is_refused),
        cmocka_unit_test(turns_are_in_the_order_of_arrival),
        cmocka_unit_test(reader_waits_behind_a_writer),
        cmocka_unit_test(readers_go_in_when_the_writer_gives_up),
        cmocka_unit_test(arrival_after_a_kill_forgets_nobody),
        cmocka_unit_test(lock_before_a_kill_is_the_victims),
        cmocka_unit_test(lock_may_go_before_a_victim_runs),
        cmocka_unit_test(senseless_arguments_are_refused),
        cmocka_unit_test(idle_lock_may_be_moved),
        cmocka_unit_test(callback_may_try_but_not_wait),
        cmocka_unit_test(another_threads_lock_is_refused),
        cmocka_unit_test(forked_child_keeps_its_own_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
