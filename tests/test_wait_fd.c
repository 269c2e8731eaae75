/* SPDX-License-Identifier: MIT */

/* gev_wait_fd: waiting for descriptors (SOC19, LOOP7, HUB17). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t count_fds(void)
{
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub_stats(gev_hub_get(), &stats);
    return stats.fds;
}

static void close_pair(int fds[2])
{
    expect_int_eq(gev_close(fds[0]), 0);
    expect_int_eq(gev_close(fds[1]), 0);
}

struct wait {
    int fd;
    int events;
    double timeout;
    int rc;
    int error;
    const char *word;
};

static void *wait_and_note(void *arg)
{
    struct wait *w = arg;
    w->rc = gev_wait_fd(w->fd, w->events, w->timeout);
    w->error = w->rc < 0 ? errno : 0;
    trace(w->word != NULL ? w->word : "waited");
    return NULL;
}

/* "unless it is ready at once" */
GEV_TEST(ready_descriptor_does_not_park)
{
    int fds[2];
    trace_reset();
    test_socketpair(fds);
    gev_greenlet *ready = gev_spawn(trace_and_return, "ready");
    expect_int_eq(gev_wait_fd(fds[0], GEV_WRITE, GEV_FOREVER), GEV_WRITE);
    expect_int_eq(gev_wait_fd(fds[0], GEV_WRITE, 0), GEV_WRITE);
    expect_int_eq(gev_wait_fd(fds[0], GEV_READ | GEV_WRITE, 1), GEV_WRITE);
    expect_int_eq(write(fds[1], "x", 1), 1);
    expect_int_eq(gev_wait_fd(fds[0], GEV_READ, -1), GEV_READ);
    expect_int_eq(gev_wait_fd(fds[0], GEV_READ | GEV_WRITE, 1),
                  GEV_READ | GEV_WRITE);
    expect_str_eq(trace_text(), "");
    expect_ok(gev_join(ready, GEV_FOREVER));
    gev_unref(ready);
    close_pair(fds);
}

GEV_TEST(wait_ends_when_data_comes)
{
    int fds[2];
    test_socketpair(fds);
    struct wait w = {.fd = fds[0], .events = GEV_READ, .timeout = GEV_FOREVER};
    gev_greenlet *g = gev_spawn(wait_and_note, &w);
    expect_ok(gev_sleep(0.002));
    expect_false(gev_dead(g));
    expect_uint_eq(count_fds(), 1);
    expect_int_eq(write(fds[1], "x", 1), 1);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(w.rc, GEV_READ);
    expect_uint_eq(count_fds(), 0);
    gev_unref(g);
    close_pair(fds);
}

/* A full pipe becomes writable when it is read. */
GEV_TEST(wait_ends_when_there_is_room)
{
    int fds[2];
    char block[4096] = {0};
    expect_int_eq(pipe2(fds, O_NONBLOCK), 0);
    while (write(fds[1], block, sizeof(block)) > 0) {
    }
    struct wait w = {.fd = fds[1], .events = GEV_WRITE, .timeout = 10};
    gev_greenlet *g = gev_spawn(wait_and_note, &w);
    expect_ok(gev_sleep(0.002));
    expect_false(gev_dead(g));
    while (read(fds[0], block, sizeof(block)) > 0) {
    }
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(w.rc, GEV_WRITE);
    gev_unref(g);
    close_pair(fds);
}

GEV_TEST(wait_times_out)
{
    int fds[2];
    test_socketpair(fds);
    double start = test_now();
    expect_fail(gev_wait_fd(fds[0], GEV_READ, 0.005), ETIMEDOUT);
    expect_ge(test_now() - start, 0.005);
    expect_fail(gev_wait_fd(fds[0], GEV_READ, 0), ETIMEDOUT);
    expect_fail(gev_wait_fd(fds[0], GEV_READ, -1), ETIMEDOUT);
    expect_uint_eq(count_fds(), 0);
    close_pair(fds);
}

/* LOOP7 */
GEV_TEST(wait_refuses_misuse)
{
    int fds[2];
    test_socketpair(fds);
    expect_fail(gev_wait_fd(fds[0], 0, 0), EINVAL);
    expect_fail(gev_wait_fd(fds[0], 4, 0), EINVAL);
    expect_fail(gev_wait_fd(fds[0], GEV_READ | 8, 0), EINVAL);
    expect_fail(gev_wait_fd(fds[0], -1, 0), EINVAL);
    expect_fail(gev_wait_fd(fds[0], GEV_READ, (double)NAN), EINVAL);
    expect_fail(gev_wait_fd(-1, GEV_READ, 0), EBADF);
    expect_fail(gev_wait_fd(-1, GEV_READ, GEV_FOREVER), EBADF);
    expect_fail(gev_wait_fd(1000000, GEV_READ, 1), EBADF);
    expect_fail(gev_wait_fd(INT32_MAX, GEV_READ, 1), EBADF);
    int closed = dup(fds[0]);
    expect_int_eq(close(closed), 0);
    expect_fail(gev_wait_fd(closed, GEV_READ, GEV_FOREVER), EBADF);
    close_pair(fds);
}

/* Hang-up and error count as ready in the directions asked for. */
GEV_TEST(hangup_counts_as_ready)
{
    int fds[2];
    test_socketpair(fds);
    struct wait r = {.fd = fds[0], .events = GEV_READ, .timeout = 10};
    gev_greenlet *g = gev_spawn(wait_and_note, &r);
    expect_ok(gev_yield());
    expect_int_eq(gev_close(fds[1]), 0);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(r.rc, GEV_READ);
    expect_int_eq(gev_wait_fd(fds[0], GEV_WRITE, 1), GEV_WRITE);
    expect_int_eq(gev_wait_fd(fds[0], GEV_READ | GEV_WRITE, 1),
                  GEV_READ | GEV_WRITE);
    gev_unref(g);
    expect_int_eq(gev_close(fds[0]), 0);
    /* a pipe without a reader: error, for a writer that waits for room */
    char block[4096] = {0};
    expect_int_eq(pipe2(fds, O_NONBLOCK), 0);
    while (write(fds[1], block, sizeof(block)) > 0) {
    }
    struct wait w = {.fd = fds[1], .events = GEV_WRITE, .timeout = 10};
    g = gev_spawn(wait_and_note, &w);
    expect_ok(gev_sleep(0.001));
    expect_int_eq(gev_close(fds[0]), 0);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(w.rc, GEV_WRITE);
    gev_unref(g);
    expect_int_eq(gev_close(fds[1]), 0);
}

/* A regular file is always ready. */
GEV_TEST(regular_file_is_always_ready)
{
    char path[] = "/tmp/gev-test-wait-XXXXXX";
    int fd = mkstemp(path);
    expect_ge(fd, 0);
    expect_int_eq(unlink(path), 0);
    expect_int_eq(gev_wait_fd(fd, GEV_READ, GEV_FOREVER), GEV_READ);
    expect_int_eq(gev_wait_fd(fd, GEV_WRITE, 0), GEV_WRITE);
    expect_int_eq(gev_wait_fd(fd, GEV_READ | GEV_WRITE, 1),
                  GEV_READ | GEV_WRITE);
    expect_int_eq(gev_close(fd), 0);
}

/* HUB17: any number of greenlets may wait on one descriptor, both ways. */
GEV_TEST(any_number_may_wait_on_one_descriptor)
{
    enum { WAITERS = 10 };
    int fds[2];
    char block[4096] = {0};
    test_socketpair(fds);
    for (int i = 0; i < 2; i++) {
        int flags = fcntl(fds[i], F_GETFL);
        expect_int_eq(fcntl(fds[i], F_SETFL, flags | O_NONBLOCK), 0);
    }
    while (write(fds[0], block, sizeof(block)) > 0) {
    }
    trace_reset();
    struct wait w[WAITERS + 1];
    gev_greenlet *g[WAITERS + 1];
    for (int i = 0; i < WAITERS; i++) {
        w[i] = (struct wait){
            .fd = fds[0], .events = GEV_READ, .timeout = 10, .word = "r"};
        g[i] = gev_spawn(wait_and_note, &w[i]);
    }
    w[WAITERS] = (struct wait){
        .fd = fds[0], .events = GEV_WRITE, .timeout = 10, .word = "w"};
    g[WAITERS] = gev_spawn(wait_and_note, &w[WAITERS]);
    expect_int_eq(gev_joinall(g, WAITERS + 1, 0.005), 0);
    expect_int_eq(write(fds[1], "x", 1), 1);
    expect_int_eq(gev_joinall(g, WAITERS, GEV_FOREVER), WAITERS);
    expect_false(gev_dead(g[WAITERS])); /* still no room */
    while (read(fds[1], block, sizeof(block)) > 0) {
    }
    expect_ok(gev_join(g[WAITERS], GEV_FOREVER));
    for (int i = 0; i <= WAITERS; i++) {
        expect_int_eq(w[i].rc, i < WAITERS ? GEV_READ : GEV_WRITE);
    }
    gev_unrefall(g, WAITERS + 1);
    close_pair(fds);
}

/* Waiters of one direction wake in the order they came. */
GEV_TEST(waiters_wake_in_order)
{
    int fds[2];
    trace_reset();
    test_socketpair(fds);
    struct wait w[3];
    gev_greenlet *g[3];
    const char *words[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        w[i] = (struct wait){
            .fd = fds[0], .events = GEV_READ, .timeout = 10, .word = words[i]};
        g[i] = gev_spawn(wait_and_note, &w[i]);
    }
    expect_ok(gev_yield());
    expect_int_eq(write(fds[1], "x", 1), 1);
    expect_int_eq(gev_joinall(g, 3, GEV_FOREVER), 3);
    expect_str_eq(trace_text(), "a b c");
    gev_unrefall(g, 3);
    close_pair(fds);
}

GEV_TEST(wait_can_be_killed)
{
    int fds[2];
    test_socketpair(fds);
    struct wait w = {.fd = fds[0], .events = GEV_READ, .timeout = GEV_FOREVER};
    gev_greenlet *g = gev_spawn(wait_and_note, &w);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(w.rc, -1);
    expect_int_eq(w.error, ECANCELED);
    expect_uint_eq(count_fds(), 0);
    gev_unref(g);
    /* and the descriptor still works */
    expect_int_eq(write(fds[1], "x", 1), 1);
    expect_int_eq(gev_wait_fd(fds[0], GEV_READ, 1), GEV_READ);
    close_pair(fds);
}

GEV_TEST(wait_is_in_the_callers_scope)
{
    int fds[2];
    test_socketpair(fds);
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin_error(&t, 0.002, EPROTO));
    expect_fail(gev_wait_fd(fds[0], GEV_READ, GEV_FOREVER), EPROTO);
    /* ready at once: succeeds in an expired scope */
    expect_int_eq(gev_wait_fd(fds[0], GEV_WRITE, GEV_FOREVER), GEV_WRITE);
    expect_true(gev_timeout_end(&t));
    close_pair(fds);
}

static void wait_in_callback(void *arg)
{
    struct wait *w = arg;
    w->rc = gev_wait_fd(w->fd, GEV_READ, GEV_FOREVER);
    w->error = errno;
    struct wait *next = w + 1;
    next->rc = gev_wait_fd(w->fd, GEV_READ, 0);
    next->error = errno;
    next++;
    next->rc = gev_wait_fd(w->fd, GEV_WRITE, GEV_FOREVER);
}

/* Section 12 "Hub" */
GEV_TEST(wait_in_a_callback_may_not_park)
{
    int fds[2];
    test_socketpair(fds);
    struct wait w[3] = {{.fd = fds[0]}, {.fd = 0}, {.fd = 0}};
    expect_ok(gev_hub_post(gev_hub_get(), wait_in_callback, w));
    expect_ok(gev_sleep(0.001));
    expect_int_eq(w[0].rc, -1);
    expect_int_eq(w[0].error, EPERM);
    expect_int_eq(w[1].rc, -1);
    expect_int_eq(w[1].error, ETIMEDOUT);
    expect_int_eq(w[2].rc, GEV_WRITE);
    close_pair(fds);
}

/* A parked descriptor can wake: main is not told of a deadlock. */
GEV_TEST(waiting_for_a_descriptor_is_no_deadlock)
{
    int fds[2];
    test_socketpair(fds);
    struct wait w = {.fd = fds[0], .events = GEV_READ, .timeout = GEV_FOREVER};
    gev_greenlet *g = gev_spawn(wait_and_note, &w);
    expect_fail(gev_run(0.005), ETIMEDOUT);
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_ok(gev_run(GEV_FOREVER)); /* nobody waits any more */
    expect_fail(gev_sleep(GEV_FOREVER), EDEADLK);
    gev_unref(g);
    close_pair(fds);
}

/* F1: closed by others (a library, say) before the kernel was told of it:
 * EBADF for whoever waits, and nothing worse. */
static uint64_t turns_so_far(void)
{
    gev_stats stats = {.size = sizeof(stats)};
    gev_hub_stats(gev_hub_get(), &stats);
    return stats.turns;
}

GEV_TEST(descriptor_closed_behind_gevs_back_is_ebadf)
{
    int fds[2];
    struct wait w;
    gev_greenlet *g = NULL;
    bool in_time = false;
    /* On a slow machine a turn of the loop may come in between. */
    while (!in_time) {
        test_socketpair(fds);
        w = (struct wait){.fd = fds[0], .events = GEV_READ, .timeout = 10};
        uint64_t turns = turns_so_far();
        g = gev_spawn(wait_and_note, &w);
        expect_ok(gev_yield());
        expect_int_eq(close(fds[0]), 0);
        in_time = turns_so_far() == turns;
        if (!in_time) {
            expect_ok(gev_kill(g, GEV_FOREVER));
            gev_unref(g);
            expect_int_eq(gev_close(fds[1]), 0);
        }
    }
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(w.rc, -1);
    expect_int_eq(w.error, EBADF);
    gev_unref(g);
    /* the same, when the wait is over before the close */
    int other = dup(fds[1]);
    w = (struct wait){.fd = other, .events = GEV_READ, .timeout = 10};
    g = gev_spawn(wait_and_note, &w);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, 0));
    expect_ok(gev_yield());
    expect_int_eq(close(other), 0);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_int_eq(gev_close(fds[1]), 0);
}

static void *drain(void *arg)
{
    int fd = N(arg);
    char c;
    for (int i = 0; i < 1000; i++) {
        if (gev_wait_fd(fd, GEV_READ, 10) != GEV_READ || read(fd, &c, 1) != 1) {
            return gev_fail(errno);
        }
    }
    return NULL;
}

static void *fill(void *arg)
{
    int fd = N(arg);
    for (int i = 0; i < 1000; i++) {
        if (gev_wait_fd(fd, GEV_WRITE, 10) != GEV_WRITE ||
            write(fd, "x", 1) != 1 || gev_yield() != 0) {
            return gev_fail(errno);
        }
    }
    return NULL;
}

/* Again and again, both ways at once. */
GEV_TEST(two_pairs_talk_both_ways)
{
    int fds[2];
    test_socketpair(fds);
    gev_greenlet *g[4] = {
        gev_spawn(drain, P(fds[0])),
        gev_spawn(drain, P(fds[1])),
        gev_spawn(fill, P(fds[0])),
        gev_spawn(fill, P(fds[1])),
    };
    expect_ok(gev_joinall_error(g, 4, GEV_FOREVER));
    gev_unrefall(g, 4);
    close_pair(fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ready_descriptor_does_not_park),
        cmocka_unit_test(wait_ends_when_data_comes),
        cmocka_unit_test(wait_ends_when_there_is_room),
        cmocka_unit_test(wait_times_out),
        cmocka_unit_test(wait_refuses_misuse),
        cmocka_unit_test(hangup_counts_as_ready),
        cmocka_unit_test(regular_file_is_always_ready),
        cmocka_unit_test(any_number_may_wait_on_one_descriptor),
        cmocka_unit_test(waiters_wake_in_order),
        cmocka_unit_test(wait_can_be_killed),
        cmocka_unit_test(wait_is_in_the_callers_scope),
        cmocka_unit_test(wait_in_a_callback_may_not_park),
        cmocka_unit_test(waiting_for_a_descriptor_is_no_deadlock),
        cmocka_unit_test(descriptor_closed_behind_gevs_back_is_ebadf),
        cmocka_unit_test(two_pairs_talk_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
