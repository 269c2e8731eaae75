/* SPDX-License-Identifier: MIT */

/* Fault sweeps over the core: every allocation, mapping and system call fails
 * once, or from then on; each time the call says so, or copes, and nothing is
 * left behind (S14, C1). */
#include <gev.h>

#include "support/fault_sweep.h"
#include "support/trace.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* From nothing: the hub is made, too. Some failures do not matter: a guard can
 * be made in two ways, advice may be refused, a list be kept longer. */
static const struct fault_case resources[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
    {"maps", FAULT_AT(MMAP), ENOMEM, .may_succeed = true, .allowed = {ENOMEM}},
    {"descriptors", FAULT_AT(OPEN), EMFILE, .allowed = {EMFILE}},
};

/* With a hub: what the operation itself needs. */
static const struct fault_case memory[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
};
static const struct fault_case memory_and_maps[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
    {"maps", FAULT_AT(MMAP), ENOMEM, .may_succeed = true, .allowed = {ENOMEM}},
};

#define SWEEP(scenario, cases, flags)                                          \
    (void)fault_sweep((scenario), NULL, (cases), gev__array_len(cases), (flags))

static int failed(int error)
{
    errno = error;
    return -1;
}

/* --- hub, spawn, join --------------------------------------------------- */

static int make_hub(void *arg)
{
    (void)arg;
    return gev_hub_get() != NULL ? 0 : -1;
}

GEV_TEST(hub_make_survives)
{
    SWEEP(make_hub, resources, 0);
}

/* Joins g, if there is one, and lets go of it. */
static int join_and_unref(gev_greenlet *g)
{
    if (g == NULL) {
        return -1;
    }
    int rc = gev_join(g, GEV_FOREVER);
    int error = errno;
    gev_unref(g);
    return rc == 0 ? 0 : failed(error);
}

static int spawn_and_join(void *arg)
{
    (void)arg;
    return join_and_unref(gev_spawn(return_arg, P(1)));
}

/* From nothing: the first call of a thread makes its hub. */
GEV_TEST(spawn_survives)
{
    SWEEP(spawn_and_join, resources, 0);
}

static int spawn_kinds(void *arg)
{
    gev_attr attr = {.size = sizeof(attr),
                     .name = "a name that has to be copied, being long",
                     .stack_size = 300 * 1024};
    (void)arg;
    if (join_and_unref(gev_spawn_attr(&attr, return_arg, NULL)) != 0 ||
        join_and_unref(gev_spawn_copy(return_arg, "copied", 7)) != 0 ||
        join_and_unref(gev_spawn_later(0.0005, return_arg, NULL)) != 0 ||
        gev_spawn_raw(return_arg, NULL) != 0) {
        return -1;
    }
    return gev_run(GEV_FOREVER);
}

GEV_TEST(spawn_kinds_survive)
{
    SWEEP(spawn_kinds, memory_and_maps, FAULT_WARM);
}

static int spawn_many(void *arg)
{
    gev_greenlet *g[40] = {NULL};
    int error = 0;
    (void)arg;
    for (int i = 0; i < 40 && error == 0; i++) {
        g[i] = gev_spawn(park_forever, NULL);
        error = g[i] == NULL ? errno : 0;
    }
    expect_ok(gev_yield());
    expect_ok(gev_killall(g, 40, GEV_FOREVER));
    gev_unrefall(g, 40);
    return error == 0 ? 0 : failed(error);
}

GEV_TEST(many_spawns_survive)
{
    SWEEP(spawn_many, memory_and_maps, FAULT_WARM);
}

static void *double_it(void *in)
{
    void *out = NULL;
    if (gev_switch(gev_parent(gev_current()), P(2 * N(in)), &out) != 0) {
        return gev_fail(errno);
    }
    return out;
}

static int switch_raw(void *arg)
{
    (void)arg;
    gev_greenlet *g = gev_new(double_it, NULL);
    if (g == NULL) {
        return -1;
    }
    void *out = NULL;
    expect_ok(gev_switch(g, P(4), &out));
    expect_int_eq(N(out), 8);
    gev_unref(g); /* suspended: it is cancelled */
    return 0;
}

GEV_TEST(raw_greenlets_survive)
{
    SWEEP(switch_raw, resources, 0);
}

static void *sleep_1_ms(void *arg)
{
    return gev_sleep(0.001) == 0 ? arg : gev_fail(errno);
}

/* Every kind of join. What was spawned ends in any case. */
static int join_kinds(void *arg)
{
    (void)arg;
    gev_greenlet *g[3] = {gev_spawn(return_arg, P(1)),
                          gev_spawn(return_arg, P(2)), NULL};
    if (g[0] == NULL || g[1] == NULL) {
        int error = errno;
        gev_unrefall(g, 3);
        return gev_run(GEV_FOREVER) == 0 ? failed(error) : -1;
    }
    int rc = gev_join(g[0], 10);
    rc = rc == 0 ? gev_joinall_error(g, 3, 10) : rc;
    rc = rc == 0 && gev_joinall(g, 3, 10) != 2 ? -1 : rc;
    rc = rc == 0 ? gev_get(g[1], NULL, 10) : rc;
    int error = errno;
    gev_unrefall(g, 3);
    expect_ok(gev_run(GEV_FOREVER));
    return rc == 0 ? 0 : failed(error);
}

GEV_TEST(joins_survive)
{
    SWEEP(join_kinds, memory_and_maps, FAULT_WARM);
}

/* --- sleeps, scopes ----------------------------------------------------- */

static int sleep_here(void *arg)
{
    (void)arg;
    return gev_sleep(0.0005);
}

GEV_TEST(sleep_survives)
{
    SWEEP(sleep_here, resources, 0);
    SWEEP(sleep_here, memory, FAULT_WARM);
}

/* The sleepers of a crowd each get through, or are told. */
static void *sleep_and_note(void *arg)
{
    int *error = arg;
    *error = gev_sleep(0.001) == 0 ? 0 : errno;
    return NULL;
}

static int sleep_in_a_crowd(void *arg)
{
    enum { CROWD = 100 };
    static int errors[CROWD];
    gev_greenlet *g[CROWD] = {NULL};
    int error = 0;
    (void)arg;
    for (int i = 0; i < CROWD && error == 0; i++) {
        g[i] = gev_spawn(sleep_and_note, &errors[i]);
        error = g[i] == NULL ? errno : 0;
    }
    expect_ok(gev_run(GEV_FOREVER));
    for (int i = 0; i < CROWD && error == 0; i++) {
        error = errors[i];
    }
    gev_unrefall(g, CROWD);
    return error == 0 ? 0 : failed(error);
}

GEV_TEST(crowd_of_sleepers_survives)
{
    SWEEP(sleep_in_a_crowd, memory_and_maps, FAULT_WARM);
}

static int run_a_scope(void *arg)
{
    gev_timeout t = {0};
    (void)arg;
    if (gev_timeout_begin(&t, 0.001) != 0) {
        int error = errno;
        expect_false(gev_timeout_end(&t)); /* it has not begun */
        return failed(error);
    }
    expect_fail(gev_sleep(GEV_FOREVER), ETIMEDOUT);
    expect_true(gev_timeout_end(&t));
    return 0;
}

GEV_TEST(scopes_survive)
{
    SWEEP(run_a_scope, resources, 0);
    SWEEP(run_a_scope, memory, FAULT_WARM);
}

static int call_with_timeout(void *arg)
{
    void *value = NULL;
    (void)arg;
    if (gev_with_timeout(10, sleep_1_ms, P(3), &value) != 0) {
        return -1;
    }
    expect_int_eq(N(value), 3);
    return 0;
}

GEV_TEST(with_timeout_survives)
{
    SWEEP(call_with_timeout, memory, FAULT_WARM);
}

/* --- links, defers, kills ----------------------------------------------- */

static int links_run;

static void count_link(gev_greenlet *g, void *arg)
{
    (void)g;
    (void)arg;
    links_run++;
}

/* Those links that were made run, if need be when there is memory again. */
static int link_in_every_way(void *arg)
{
    (void)arg;
    links_run = 0;
    gev_greenlet *g = gev_spawn(return_arg, NULL);
    if (g == NULL) {
        return -1;
    }
    int made = 0;
    int rc = gev_link(g, count_link, NULL);
    made += rc == 0;
    rc = rc == 0 ? gev_rawlink(g, count_link, NULL) : rc;
    made += made == 1 && rc == 0;
    rc = rc == 0 ? gev_link_value(g, count_link, NULL) : rc;
    made += made == 2 && rc == 0;
    int error = errno;
    gev_unref(g);
    double end = test_now() + 0.05;
    while (links_run < made && test_now() < end) {
        expect_ok(gev_yield());
    }
    if (rc == 0 && links_run < made) {
        return failed(ETIMEDOUT); /* no stack for a link all the time */
    }
    expect_int_eq(links_run, made);
    return rc == 0 ? 0 : failed(error);
}

GEV_TEST(links_survive)
{
    static const struct fault_case cases[] = {
        {"memory once", FAULT_AT(ALLOC), ENOMEM, .shapes = FAULT_ONCE,
         .may_succeed = true, .allowed = {ENOMEM}},
        {"memory", FAULT_AT(ALLOC), ENOMEM, .shapes = FAULT_STICKY,
         .may_succeed = true, .allowed = {ENOMEM, ETIMEDOUT}},
        {"maps", FAULT_AT(MMAP), ENOMEM, .may_succeed = true,
         .allowed = {ENOMEM, ETIMEDOUT}},
    };
    SWEEP(link_in_every_way, cases, FAULT_WARM);
}

static int link_to_main(void *arg)
{
    (void)arg;
    gev_greenlet *g = gev_spawn_link(return_arg, NULL);
    if (g == NULL) {
        return -1;
    }
    int rc = gev_sleep(10);
    int error = errno;
    /* where the sleep itself failed, the end still comes */
    double end = test_now() + test_scale(1);
    while (error != GEV_ELINKDONE && gev_linked() == NULL && test_now() < end) {
        (void)gev_yield();
    }
    expect_int_eq(rc, -1);
    expect_ptr_eq(gev_linked(), g);
    gev_unref(g);
    return error == GEV_ELINKDONE ? 0 : failed(error);
}

GEV_TEST(linked_ends_survive)
{
    static const struct fault_case cases[] = {
        {"memory once", FAULT_AT(ALLOC), ENOMEM, .shapes = FAULT_ONCE,
         .may_succeed = true, .allowed = {ENOMEM}},
    };
    SWEEP(link_to_main, cases, FAULT_WARM);
}

static int defers_run;

static void count_defer(void *arg)
{
    (void)arg;
    defers_run++;
}

static void *defer_twice(void *arg)
{
    int *error = arg;
    for (int i = 0; i < 2 && *error == 0; i++) {
        *error = gev_defer(count_defer, NULL) == 0 ? 0 : errno;
        defers_run -= *error == 0;
    }
    return NULL;
}

static int run_defers(void *arg)
{
    int error = 0;
    (void)arg;
    defers_run = 0;
    gev_greenlet *g = gev_spawn(defer_twice, &error);
    if (join_and_unref(g) != 0) {
        return -1;
    }
    expect_int_eq(defers_run, 0); /* as many as were made */
    return error == 0 ? 0 : failed(error);
}

GEV_TEST(defers_survive)
{
    SWEEP(run_defers, memory_and_maps, FAULT_WARM);
}

static int kill_and_throw(void *arg)
{
    (void)arg;
    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *g = gev_spawn(park_forever, NULL);
    if (g == NULL) {
        return -1;
    }
    expect_ok(gev_yield());
    int rc = gev_throw(g, EPROTO);
    rc = rc == 0 ? gev_kill_error(g, EIO, GEV_FOREVER) : rc;
    int error = errno;
    expect_ok(gev_kill(g, GEV_FOREVER)); /* needs nothing */
    gev_unref(g);
    return rc == 0 ? 0 : failed(error);
}

GEV_TEST(kills_and_throws_survive)
{
    SWEEP(kill_and_throw, memory_and_maps, FAULT_WARM);
}

static int rename_it(void *arg)
{
    (void)arg;
    gev_greenlet *g = gev_spawn(return_arg, NULL);
    if (g == NULL) {
        return -1;
    }
    int rc = gev_set_name(g, "another name, long enough to be allocated");
    int error = errno;
    expect_str_eq(gev_name(g), rc == 0
                                   ? "another name, long enough to be allocated"
                                   : "return_arg");
    (void)join_and_unref(g);
    return rc == 0 ? 0 : failed(error);
}

GEV_TEST(names_survive)
{
    SWEEP(rename_it, memory_and_maps, FAULT_WARM);
}

/* --- posts -------------------------------------------------------------- */

static int posted;

static void count_post(void *arg)
{
    (void)arg;
    posted++;
}

static void *count_spawn(void *arg)
{
    (void)arg;
    posted++;
    return NULL;
}

/* What was accepted is done, if need be when there is memory again. */
static int post_and_spawn(void *arg)
{
    (void)arg;
    gev_hub *hub = gev_hub_get();
    posted = 0;
    if (hub == NULL || gev_hub_post(hub, count_post, NULL) != 0) {
        return -1;
    }
    int rc = gev_hub_spawn(hub, count_spawn, NULL);
    int error = errno;
    int wanted = rc == 0 ? 2 : 1;
    double end = test_now() + 0.05;
    while (posted < wanted && test_now() < end) {
        expect_ok(gev_yield());
    }
    if (rc != 0) {
        expect_int_eq(posted, 1);
        return failed(error);
    }
    return posted == 2 ? 0 : failed(ETIMEDOUT);
}

GEV_TEST(posts_survive)
{
    static const struct fault_case cases[] = {
        {"memory once", FAULT_AT(ALLOC), ENOMEM, .shapes = FAULT_ONCE,
         .may_succeed = true, .allowed = {ENOMEM}},
        {"memory", FAULT_AT(ALLOC), ENOMEM, .shapes = FAULT_STICKY,
         .may_succeed = true, .allowed = {ENOMEM, ETIMEDOUT}},
        {"maps once", FAULT_AT(MMAP), ENOMEM, .shapes = FAULT_ONCE,
         .must_succeed = true},
        {"maps", FAULT_AT(MMAP), ENOMEM, .shapes = FAULT_STICKY,
         .may_succeed = true, .allowed = {ETIMEDOUT}},
    };
    SWEEP(post_and_spawn, cases, FAULT_WARM);
}

/* --- descriptors, signals, children ------------------------------------- */

static void *write_a_byte(void *arg)
{
    return P(write(N(arg), "x", 1));
}

static int wait_for_a_byte(void *arg)
{
    int fds[2];
    (void)arg;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        return -1;
    }
    gev_greenlet *g = gev_spawn(write_a_byte, P(fds[1]));
    int rc = -1;
    int error = errno;
    if (g != NULL) {
        rc = gev_wait_fd(fds[0], GEV_READ, 10) == GEV_READ ? 0 : -1;
        error = errno;
        (void)join_and_unref(g);
    }
    expect_int_eq(gev_close(fds[0]) + gev_close(fds[1]), 0);
    return rc == 0 ? 0 : failed(error);
}

GEV_TEST(wait_fd_survives)
{
    static const struct fault_case cases[] = {
        {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
         .allowed = {ENOMEM}},
        {"maps", FAULT_AT(MMAP), ENOMEM, .may_succeed = true,
         .allowed = {ENOMEM}},
        {"descriptors", FAULT_AT(OPEN), EMFILE, .allowed = {EMFILE}},
        {"poll", FAULT_AT(POLL), ENOMEM, .may_succeed = true,
         .allowed = {ENOMEM}},
        {"poll interrupted", FAULT_AT(POLL), EINTR, .shapes = FAULT_ONCE,
         .must_succeed = true},
    };
    SWEEP(wait_for_a_byte, cases, 0);
}

static void *raise_it(void *arg)
{
    return P(gev_sleep(0.001) == 0 ? raise(N(arg)) : -1);
}

static int wait_for_a_signal(void *arg)
{
    (void)arg;
    struct sigaction ignore;
    struct sigaction old;
    memset(&ignore, 0, sizeof(ignore));
    ignore.sa_handler = SIG_IGN;
    expect_int_eq(sigaction(SIGUSR1, &ignore, &old), 0);
    gev_greenlet *g = gev_spawn(raise_it, P(SIGUSR1));
    int rc = -1;
    int error = errno;
    if (g != NULL) {
        rc = gev_wait_signal(SIGUSR1, 0.1);
        error = errno;
        (void)join_and_unref(g);
    }
    struct sigaction after;
    expect_int_eq(sigaction(SIGUSR1, &old, &after), 0);
    expect_true(after.sa_handler == SIG_IGN); /* it came back */
    return rc == 0 ? 0 : failed(error);
}

/* ETIMEDOUT: the greenlet that raises it could not sleep, and did not. */
GEV_TEST(wait_signal_survives)
{
    static const struct fault_case cases[] = {
        {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
         .allowed = {ENOMEM, ETIMEDOUT}},
        {"maps", FAULT_AT(MMAP), ENOMEM, .may_succeed = true,
         .allowed = {ENOMEM, ETIMEDOUT}},
        {"descriptors", FAULT_AT(OPEN), EMFILE, .allowed = {EMFILE}},
    };
    SWEEP(wait_for_a_signal, cases, 0);
}

static int wait_for_a_child(void *arg)
{
    int status = -1;
    (void)arg;
    pid_t pid = fork();
    if (pid == 0) {
        (void)usleep(2000);
        _exit(6);
    }
    if (gev_wait_child(pid, &status, 10) != 0) {
        int error = errno;
        expect_int_eq(status, -1);
        expect_int_eq(waitpid(pid, &status, 0), pid); /* it is still there */
        return failed(error);
    }
    expect_int_eq(WEXITSTATUS(status), 6);
    return 0;
}

GEV_TEST(wait_child_survives)
{
    static const struct fault_case cases[] = {
        {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
         .allowed = {ENOMEM}},
        {"maps", FAULT_AT(MMAP), ENOMEM, .may_succeed = true,
         .allowed = {ENOMEM}},
        {"descriptors", FAULT_AT(OPEN), EMFILE, .allowed = {EMFILE}},
        {"wait interrupted", FAULT_AT(WAIT), EINTR, .shapes = FAULT_ONCE,
         .must_succeed = true},
    };
    SWEEP(wait_for_a_child, cases, 0);
}

/* --- debug -------------------------------------------------------------- */

static int dump_all(void *arg)
{
    (void)arg;
    gev_greenlet *g = gev_spawn(park_forever, NULL);
    if (g == NULL) {
        return -1;
    }
    char text[4000];
    FILE *out = fmemopen(text, sizeof(text), "w");
    expect_not_null(out);
    int rc = gev_dump(out);
    int error = errno;
    (void)fclose(out);
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
    return rc == 0 ? 0 : failed(error);
}

GEV_TEST(dump_survives)
{
    SWEEP(dump_all, memory_and_maps, FAULT_WARM);
}

static void ignore_close(void *arg)
{
    (void)arg;
}

static int defer_to_close(void *arg)
{
    return gev_hub_defer(ignore_close, arg);
}

GEV_TEST(hub_defers_survive)
{
    SWEEP(defer_to_close, memory, FAULT_WARM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hub_make_survives),
        cmocka_unit_test(spawn_survives),
        cmocka_unit_test(spawn_kinds_survive),
        cmocka_unit_test(many_spawns_survive),
        cmocka_unit_test(raw_greenlets_survive),
        cmocka_unit_test(joins_survive),
        cmocka_unit_test(sleep_survives),
        cmocka_unit_test(crowd_of_sleepers_survives),
        cmocka_unit_test(scopes_survive),
        cmocka_unit_test(with_timeout_survives),
        cmocka_unit_test(links_survive),
        cmocka_unit_test(linked_ends_survive),
        cmocka_unit_test(defers_survive),
        cmocka_unit_test(kills_and_throws_survive),
        cmocka_unit_test(names_survive),
        cmocka_unit_test(posts_survive),
        cmocka_unit_test(wait_fd_survives),
        cmocka_unit_test(wait_signal_survives),
        cmocka_unit_test(wait_child_survives),
        cmocka_unit_test(dump_survives),
        cmocka_unit_test(hub_defers_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
