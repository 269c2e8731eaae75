/* SPDX-License-Identifier: MIT */

/* Fault sweeps over semaphores, locks, conditions, barriers and read-write
 * locks: only timeouts and posts need memory. Without it the call says so,
 * holds nothing it did not hold, and leaves the others' turn as it was. */
#include <gev.h>

#include "support/fault_sweep.h"
#include "support/trace.h"

static const struct fault_case resources[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
    {"maps", FAULT_AT(MMAP), ENOMEM, .may_succeed = true, .allowed = {ENOMEM}},
    {"descriptors", FAULT_AT(OPEN), EMFILE, .may_succeed = true,
     .allowed = {EMFILE}},
};
static const struct fault_case memory[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
};

#define SWEEP(scenario, cases, flags)                                          \
    (void)fault_sweep((scenario), NULL, (cases), gev__array_len(cases), (flags))

static int failed(int error)
{
    errno = error;
    return -1;
}

/* rc of a call that is to time out: 0, or -1 and what else it failed with. */
static int timed_out(int rc)
{
    if (rc < 0 && errno != ETIMEDOUT) {
        return failed(errno);
    }
    return rc < 0 ? 0 : failed(EPROTO);
}

/* From nothing: the first use of an object makes the hub. */
static int first_use(void *arg)
{
    gev_semaphore s = {{NULL}};
    gev_lock l = {{NULL}};
    gev_rlock r = {{NULL}};
    (void)arg;
    gev_semaphore_init(&s, 1, 1); /* cannot fail: it is bound later then */
    expect_uint_eq(gev_semaphore_value(&s), 1);
    gev_lock_init(&l);
    gev_rlock_init(&r);
    if (gev_semaphore_acquire(&s, 0) < 0 || gev_lock_acquire(&l, 0) < 0 ||
        gev_rlock_acquire(&r, 0) < 0) {
        return -1;
    }
    expect_ok(gev_semaphore_release(&s));
    expect_ok(gev_lock_release(&l));
    expect_ok(gev_rlock_release(&r));
    return 0;
}

GEV_TEST(first_use_survives)
{
    SWEEP(first_use, resources, 0);
}

static int wait_for_unit(void *arg)
{
    gev_semaphore s = {{NULL}};
    (void)arg;
    int rc = timed_out(gev_semaphore_acquire(&s, 0.001));
    int error = errno;
    expect_ok(gev_semaphore_release(&s)); /* nobody is on its queue */
    expect_uint_eq(gev_semaphore_value(&s), 1);
    expect_ok(gev_semaphore_fini(&s));
    return rc < 0 ? failed(error) : 0;
}

GEV_TEST(semaphore_timeout_survives)
{
    SWEEP(wait_for_unit, memory, FAULT_WARM);
}

/* --- one holds it, the other one waits with a timeout --------------------- */

static gev_lock lock;
static gev_rlock rlock;
static gev_rwlock rwlock;

static void *want_in_vain(void *arg)
{
    int rc = N(arg) == 0   ? gev_lock_acquire(&lock, 0.001)
             : N(arg) == 1 ? gev_rlock_acquire(&rlock, 0.001)
             : N(arg) == 2 ? gev_rwlock_acquire_write(&rwlock, 0.001)
                           : gev_rwlock_acquire_read(&rwlock, 0.001);
    rc = timed_out(rc);
    return rc == 0 ? NULL : gev_fail(errno);
}

static int wait_for_locks(void *arg)
{
    int error = 0;
    (void)arg;
    gev_set_error_handler(ignore_error, NULL);
    gev_lock_init(&lock);
    gev_rlock_init(&rlock);
    gev_rwlock_init(&rwlock);
    expect_ok(gev_lock_acquire(&lock, 0));
    expect_ok(gev_rlock_acquire(&rlock, 0));
    expect_ok(gev_rwlock_acquire_write(&rwlock, 0));
    for (int i = 0; i < 4; i++) {
        gev_greenlet *g = gev_spawn(want_in_vain, P(i));
        if (g == NULL) {
            error = errno;
            continue;
        }
        if (gev_get(g, NULL, GEV_FOREVER) < 0) {
            error = errno;
        }
        gev_unref(g);
    }
    expect_ok(gev_lock_release(&lock));
    expect_ok(gev_rlock_release(&rlock));
    expect_ok(gev_rwlock_release(&rwlock));
    expect_ok(gev_lock_fini(&lock));
    expect_ok(gev_rlock_fini(&rlock));
    expect_ok(gev_rwlock_fini(&rwlock));
    return error == 0 ? 0 : failed(error);
}

GEV_TEST(lock_timeouts_survive)
{
    SWEEP(wait_for_locks, memory, FAULT_WARM);
}

/* --- conditions ----------------------------------------------------------- */

static gev_cond cond;

/* Holds the lock afterwards, whatever happened. */
static int wait_for_signal(void *arg)
{
    (void)arg;
    gev_lock_init(&lock);
    gev_cond_init(&cond);
    expect_ok(gev_lock_acquire(&lock, 0));
    int rc = timed_out(gev_cond_wait(&cond, &lock, 0.001));
    int error = errno;
    expect_fail(gev_lock_acquire(&lock, 0), EDEADLK);
    expect_ok(gev_lock_release(&lock));
    expect_ok(gev_cond_fini(&cond));
    return rc < 0 ? failed(error) : 0;
}

GEV_TEST(condition_timeout_survives)
{
    SWEEP(wait_for_signal, memory, FAULT_WARM);
}

/* --- barriers ------------------------------------------------------------- */

static int wait_at_barrier(void *arg)
{
    gev_barrier b;
    (void)arg;
    expect_ok(gev_barrier_init(&b, 2, NULL, NULL));
    int rc = timed_out(gev_barrier_wait(&b, 0.001));
    int error = errno;
    expect_true(gev_barrier_broken(&b));
    gev_barrier_reset(&b);
    expect_uint_eq(gev_barrier_waiting(&b), 0);
    expect_ok(gev_barrier_fini(&b));
    return rc < 0 ? failed(error) : 0;
}

GEV_TEST(barrier_timeout_survives)
{
    SWEEP(wait_at_barrier, memory, FAULT_WARM);
}

/* --- posts ---------------------------------------------------------------- */

static int post_unit(void *arg)
{
    gev_semaphore s;
    (void)arg;
    gev_semaphore_init(&s, 0, 0);
    int rc = gev_semaphore_post(&s);
    int error = errno;
    expect_uint_eq(gev_semaphore_value(&s), 0);
    while (gev_idle() < 0 && errno == ENOMEM) {
    }
    expect_uint_eq(gev_semaphore_value(&s), rc == 0);
    expect_ok(gev_semaphore_fini(&s));
    return rc < 0 ? failed(error) : 0;
}

GEV_TEST(post_survives)
{
    SWEEP(post_unit, memory, FAULT_WARM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_use_survives),
        cmocka_unit_test(semaphore_timeout_survives),
        cmocka_unit_test(lock_timeouts_survive),
        cmocka_unit_test(condition_timeout_survives),
        cmocka_unit_test(barrier_timeout_survives),
        cmocka_unit_test(post_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
