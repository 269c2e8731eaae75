/* SPDX-License-Identifier: MIT */

/* What the library says about circles of locks where it is built with
 * assertions, and what gev_dump() says of a lock's holder (C8, reliability of
 * locks that are held over a park). */
#include <gev.h>

#include "base/clock.h"
#include "support/gev_test.h"
#include "support/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- stderr --------------------------------------------------------------- */

static char said[4000];
static int saved_stderr;
static FILE *captured;

static void capture_begin(void)
{
    captured = tmpfile();
    expect_not_null(captured);
    (void)fflush(stderr);
    saved_stderr = dup(2);
    expect_int_eq(dup2(fileno(captured), 2), 2);
}

static const char *capture_end(void)
{
    (void)fflush(stderr);
    expect_int_eq(dup2(saved_stderr, 2), 2);
    (void)close(saved_stderr);
    rewind(captured);
    size_t n = fread(said, 1, sizeof(said) - 1, captured);
    said[n] = '\0';
    (void)fclose(captured);
    return said;
}

static int count(const char *text, const char *word)
{
    int n = 0;
    for (const char *p = strstr(text, word); p != NULL;
         p = strstr(p + 1, word)) {
        n++;
    }
    return n;
}

/* That somebody of that name is said to wait for a lock held by another. */
static void expect_wait(const char *text, const char *who, const char *holder)
{
    char first[64];
    char second[64];
    (void)snprintf(first, sizeof(first), "\"%s\" spawned at ", who);
    (void)snprintf(second, sizeof(second), "\"%s\"\n", holder);
    const char *line = strstr(text, first);
    if (!expect_not_null(line)) {
        return;
    }
    const char *held = strstr(line, ", held by ");
    const char *end = strchr(line, '\n');
    const char *name = strstr(line, second);
    expect_true(held != NULL && held < end);
    expect_true(name != NULL && name < end);
}

/* --- greenlets that take two locks ---------------------------------------- */

enum kind { LOCK, RLOCK, WRITE, READ };

struct any {
    enum kind kind;
    gev_lock lock;
    gev_rlock rlock;
    gev_rwlock rwlock;
};

static struct any locks[4];

static int take(struct any *l, double timeout)
{
    switch (l->kind) {
    case LOCK:
        return gev_lock_acquire(&l->lock, timeout);
    case RLOCK:
        return gev_rlock_acquire(&l->rlock, timeout);
    case WRITE:
        return gev_rwlock_acquire_write(&l->rwlock, timeout);
    default:
        return gev_rwlock_acquire_read(&l->rwlock, timeout);
    }
}

static void drop(struct any *l)
{
    int rc;
    switch (l->kind) {
    case LOCK:
        rc = gev_lock_release(&l->lock);
        break;
    case RLOCK:
        rc = gev_rlock_release(&l->rlock);
        break;
    default:
        rc = gev_rwlock_release(&l->rwlock);
        break;
    }
    expect_ok(rc);
}

struct plan {
    const char *name;
    struct any *first;
    struct any *second;
    double timeout; /* for the second */
    double scope;   /* around it; 0: none */
    bool shielded;
};

static void *take_two(void *arg)
{
    const struct plan *p = arg;
    gev_timeout t = {0};
    if (p->scope > 0) {
        expect_ok(gev_timeout_begin(&t, p->scope));
    }
    if (take(p->first, GEV_FOREVER) < 0) {
        return gev_fail(errno);
    }
    (void)gev_sleep(0.001);
    if (p->shielded) {
        gev_shield_begin();
    }
    int rc = take(p->second, p->timeout);
    int error = errno;
    if (p->shielded) {
        gev_shield_end();
    }
    (void)gev_timeout_end(&t);
    if (rc == 0) {
        drop(p->second);
    }
    drop(p->first);
    return rc == 0 ? NULL : gev_fail(error);
}

static gev_greenlet *spawn_plan(struct plan *p)
{
    gev_attr attr = {.size = sizeof(attr), .name = p->name};
    return gev_spawn_attr(&attr, take_two, p);
}

/* Runs n plans at once; what was said until nothing moved any more. Those that
 * are stuck are killed; shielded ones end with their hub. */
static const char *run_plans(struct plan plans[], int n)
{
    gev_greenlet *g[4];
    gev_set_error_handler(ignore_error, NULL);
    capture_begin();
    for (int i = 0; i < n; i++) {
        g[i] = spawn_plan(&plans[i]);
    }
    expect_ok(gev_sleep(0.01));
    const char *text = capture_end();
    if (gev_killall(g, (size_t)n, GEV_FOREVER) < 0) {
        expect_int_eq(errno, EDEADLK);
        expect_ok(gev_hub_close());
    }
    gev_unrefall(g, (size_t)n);
    return text;
}

static void make_locks(enum kind kind)
{
    memset(locks, 0, sizeof(locks));
    for (int i = 0; i < 4; i++) {
        locks[i].kind = kind;
    }
}

GEV_TEST(circle_of_two_is_reported)
{
    for (int kind = LOCK; kind <= WRITE; kind++) {
        struct plan plans[] = {
            {"adam", &locks[0], &locks[1], GEV_FOREVER, 0, false},
            {"eve", &locks[1], &locks[0], GEV_FOREVER, 0, false},
        };
        make_locks((enum kind)kind);
        const char *text = run_plans(plans, 2);
        expect_int_eq(count(text, "deadlock"), 1); /* once */
        expect_int_eq(count(text, "\n"), 3);
        expect_not_null(strstr(text, "2 greenlets"));
        expect_wait(text, "adam", "eve");
        expect_wait(text, "eve", "adam");
        expect_not_null(strstr(text, "test_lock_circle.c:"));
    }
}

/* The fourth waits for one in the circle, and is no part of it. */
GEV_TEST(circle_of_three_is_reported)
{
    struct plan plans[] = {
        {"a", &locks[0], &locks[1], GEV_FOREVER, 0, false},
        {"b", &locks[1], &locks[2], GEV_FOREVER, 0, true},
        {"c", &locks[2], &locks[0], GEV_FOREVER, GEV_FOREVER, false},
        {"d", &locks[3], &locks[0], GEV_FOREVER, 0, false},
    };
    make_locks(LOCK);
    locks[1].kind = RLOCK;
    locks[2].kind = WRITE;
    const char *text = run_plans(plans, 4);
    expect_int_eq(count(text, "deadlock"), 1);
    expect_int_eq(count(text, "\n"), 4);
    expect_wait(text, "a", "b");
    expect_wait(text, "b", "c");
    expect_wait(text, "c", "a");
}

/* Scopes that a shield holds back end nothing. */
GEV_TEST(shielded_circle_is_reported)
{
    struct plan plans[] = {
        {"adam", &locks[0], &locks[1], GEV_FOREVER, 0.005, true},
        {"eve", &locks[1], &locks[0], GEV_FOREVER, 0.005, true},
    };
    make_locks(LOCK);
    expect_int_eq(count(run_plans(plans, 2), "deadlock"), 1);
}

static void expect_silence(struct plan plans[], int n)
{
    make_locks(LOCK);
    expect_str_eq(run_plans(plans, n), "");
}

/* What has an end is no deadlock. */
GEV_TEST(timeouts_and_scopes_are_not_reported)
{
    struct plan timeout[] = {
        {"adam", &locks[0], &locks[1], 0.002, 0, false},
        {"eve", &locks[1], &locks[0], GEV_FOREVER, 0, false},
    };
    struct plan other_timeout[] = {
        {"adam", &locks[0], &locks[1], GEV_FOREVER, 0, false},
        {"eve", &locks[1], &locks[0], 0.002, 0, false},
    };
    struct plan scope[] = {
        {"adam", &locks[0], &locks[1], GEV_FOREVER, 0.003, false},
        {"eve", &locks[1], &locks[0], GEV_FOREVER, 0, false},
    };
    struct plan other_scope[] = {
        {"adam", &locks[0], &locks[1], GEV_FOREVER, 0, false},
        {"eve", &locks[1], &locks[0], GEV_FOREVER, 0.003, false},
    };
    struct plan no_circle[] = {
        {"a", &locks[0], &locks[1], GEV_FOREVER, 0, false},
        {"b", &locks[2], &locks[1], GEV_FOREVER, 0, false},
        {"c", &locks[3], &locks[2], GEV_FOREVER, 0, false},
    };
    expect_silence(timeout, 2);
    expect_silence(other_timeout, 2);
    expect_silence(scope, 2);
    expect_silence(other_scope, 2);
    expect_silence(no_circle, 3);
}

/* Nor is anybody in a circle who waits for readers: they are not known. */
GEV_TEST(readers_are_not_reported)
{
    struct plan plans[] = {
        {"adam", &locks[0], &locks[1], GEV_FOREVER, 0, false},
        {"eve", &locks[1], &locks[2], GEV_FOREVER, 0, false},
    };
    make_locks(LOCK);
    locks[0].kind = READ;
    locks[2] = locks[0];
    locks[2].kind = WRITE;
    expect_str_eq(run_plans(plans, 2), "");
}

/* --- a signal that closes a circle ---------------------------------------- */

static gev_cond cond;

static void *wait_with_another_lock(void *arg)
{
    expect_ok(gev_lock_acquire(&locks[1].lock, GEV_FOREVER));
    expect_ok(gev_lock_acquire(&locks[0].lock, GEV_FOREVER));
    (void)gev_cond_wait(&cond, &locks[0].lock, GEV_FOREVER);
    (void)gev_lock_release(&locks[0].lock);
    expect_ok(gev_lock_release(&locks[1].lock));
    return arg;
}

static void *hold_and_want(void *arg)
{
    expect_ok(gev_lock_acquire(&locks[0].lock, GEV_FOREVER));
    int rc = gev_lock_acquire(&locks[1].lock, GEV_FOREVER);
    expect_ok(gev_lock_release(&locks[0].lock));
    return rc < 0 ? gev_fail(errno) : arg;
}

/* The waiter holds a lock that the lock's holder waits for: when the signal
 * sends it to its lock's queue, the circle is closed. */
GEV_TEST(signal_that_closes_a_circle_is_reported)
{
    make_locks(LOCK);
    gev_cond_init(&cond);
    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *waiter = gev_spawn(wait_with_another_lock, NULL);
    expect_ok(gev_yield());
    gev_greenlet *holder = gev_spawn(hold_and_want, NULL);
    expect_ok(gev_yield());
    capture_begin();
    gev_cond_signal(&cond);
    const char *text = capture_end();
    expect_int_eq(count(text, "deadlock"), 1);
    expect_wait(text, "wait_with_another_lock", "hold_and_want");
    expect_wait(text, "hold_and_want", "wait_with_another_lock");
    expect_ok(gev_kill(holder, GEV_FOREVER));
    expect_ok(gev_join(waiter, GEV_FOREVER));
    gev_unref(holder);
    gev_unref(waiter);
}

/* --- holders that are gone, and holders in the dump ----------------------- */

static void *take_and_end(void *arg)
{
    expect_ok(gev_lock_acquire(arg, GEV_FOREVER));
    return NULL;
}

static void *want(void *arg)
{
    return gev_lock_acquire(arg, GEV_FOREVER) == 0 ? NULL : gev_fail(errno);
}

GEV_TEST(wait_for_a_holder_that_ended_is_reported)
{
    gev_lock lock = {{NULL}};
    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *holder = gev_spawn(take_and_end, &lock);
    expect_ok(gev_join(holder, GEV_FOREVER));
    for (int i = 0; i < 2; i++) {
        /* its handle is there, then its memory is the waiter's */
        if (i == 1) {
            gev_unref(holder);
        }
        gev_greenlet *g = gev_spawn(want, &lock);
        capture_begin();
        expect_ok(gev_yield());
        const char *text = capture_end();
        expect_int_eq(count(text, "\n"), 1);
        expect_not_null(strstr(text, "has ended"));
        expect_not_null(strstr(text, "\"want\" spawned at "));
        expect_ok(gev_kill(g, GEV_FOREVER));
        gev_unref(g);
    }
}

/* Locks that were held when their hub was closed say nothing wrong: their
 * holders' memory is gone. */
GEV_TEST(holder_of_a_closed_hub_is_not_looked_at)
{
    gev_lock lock = {{NULL}};
    gev_attr attr = {.size = sizeof(attr), .stack_size = (size_t)1024 * 1024};
    gev_greenlet *holder = gev_spawn_attr(&attr, take_and_end, &lock);
    expect_ok(gev_join(holder, GEV_FOREVER));
    gev_unref(holder);
    expect_ok(gev_hub_close());
    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *g = gev_spawn(want, &lock);
    capture_begin();
    expect_ok(gev_yield());
    expect_not_null(strstr(capture_end(), "has ended"));
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
}

static void *hold(void *arg)
{
    expect_ok(gev_lock_acquire(arg, GEV_FOREVER));
    (void)gev_sleep(GEV_FOREVER);
    expect_ok(gev_lock_release(arg));
    return NULL;
}

GEV_TEST(dump_says_who_has_the_lock)
{
    gev_lock lock = {{NULL}};
    char *text = NULL;
    size_t size = 0;
    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *holder = gev_spawn(hold, &lock);
    gev_greenlet *waiter = gev_spawn(want, &lock);
    expect_ok(gev_set_name(holder, "the-holder"));
    expect_ok(gev_yield());
    FILE *out = open_memstream(&text, &size);
    expect_ok(gev_dump(out));
    (void)fclose(out);
    const char *line = strstr(text, "on lock ");
    expect_not_null(line);
    expect_not_null(strstr(line, " held by "));
    expect_not_null(strstr(line, "\"the-holder\" for "));
    free(text);
    expect_ok(gev_kill(waiter, GEV_FOREVER));
    expect_ok(gev_kill(holder, GEV_FOREVER));
    gev_unref(waiter);
    gev_unref(holder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(circle_of_two_is_reported),
        cmocka_unit_test(circle_of_three_is_reported),
        cmocka_unit_test(shielded_circle_is_reported),
        cmocka_unit_test(timeouts_and_scopes_are_not_reported),
        cmocka_unit_test(readers_are_not_reported),
        cmocka_unit_test(signal_that_closes_a_circle_is_reported),
        cmocka_unit_test(wait_for_a_holder_that_ended_is_reported),
        cmocka_unit_test(holder_of_a_closed_hub_is_not_looked_at),
        cmocka_unit_test(dump_says_who_has_the_lock),
    };
    gev__clock_set_virtual(true); /* who waits longer than others is certain */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
