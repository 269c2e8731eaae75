/* SPDX-License-Identifier: MIT */
/* base/fault.h, and gev__check(). No greenlets run: cmocka's own asserts are
 * fine here. */
#include "base/fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define READ_POINT (1u << GEV__FAULT_READ)
#define OPEN_POINT (1u << GEV__FAULT_OPEN)

static int disarm(void **state)
{
    (void)state;
    gev__fault_disarm();
    return 0;
}

/* What n calls at a point return, as digits: 0 none, 1 an error. */
static int call(enum gev__fault_point point, int n)
{
    int digits = 0;
    for (int i = 0; i < n; i++) {
        digits = digits * 10 + (gev__fault_hit(point) != GEV__FAULT_NONE);
    }
    return digits;
}

static void nothing_fails_unarmed(void **state)
{
    (void)state;
    for (unsigned p = 0; p < GEV__FAULT_POINTS; p++) {
        assert_int_equal(gev__fault_hit((enum gev__fault_point)p), 0);
    }
    size_t n = 10;
    assert_int_equal(gev__fault_hit_io(GEV__FAULT_READ, &n), 0);
    assert_int_equal(n, 10);
    assert_false(gev__fault_may_shorten(GEV__FAULT_READ));
    assert_int_equal(gev__fault_disarm(), 0);
}

static void kth_call_fails_once(void **state)
{
    (void)state;
    gev__fault_arm(READ_POINT, 3, EIO, false);
    assert_int_equal(gev__fault_hit(GEV__FAULT_READ), 0);
    assert_int_equal(gev__fault_hit(GEV__FAULT_READ), 0);
    assert_int_equal(gev__fault_hit(GEV__FAULT_READ), EIO);
    assert_int_equal(call(GEV__FAULT_READ, 5), 0);
    assert_int_equal(gev__fault_disarm(), 1);
    assert_int_equal(gev__fault_disarm(), 0);
}

static void sticky_fails_from_the_kth_on(void **state)
{
    (void)state;
    gev__fault_arm(READ_POINT, 3, EIO, true);
    assert_int_equal(call(GEV__FAULT_READ, 6), 1111);
    assert_int_equal(gev__fault_disarm(), 4);
    assert_int_equal(call(GEV__FAULT_READ, 3), 0);
}

static void points_of_a_mask_are_counted_together(void **state)
{
    (void)state;
    gev__fault_arm(READ_POINT | OPEN_POINT, 3, EIO, false);
    assert_int_equal(call(GEV__FAULT_READ, 1), 0);
    assert_int_equal(call(GEV__FAULT_WRITE, 5), 0);
    assert_int_equal(call(GEV__FAULT_OPEN, 2), 1);
    assert_int_equal(gev__fault_calls(READ_POINT), 1);
    assert_int_equal(gev__fault_calls(OPEN_POINT), 2);
    assert_int_equal(gev__fault_calls(READ_POINT | OPEN_POINT), 3);
    assert_int_equal(gev__fault_calls(1u << GEV__FAULT_WRITE), 5);
    assert_int_equal(gev__fault_calls(0), 0);
}

static void k_zero_only_counts(void **state)
{
    (void)state;
    gev__fault_arm(READ_POINT, 0, EIO, true);
    assert_int_equal(call(GEV__FAULT_READ, 9), 0);
    assert_int_equal(gev__fault_calls(READ_POINT), 9);
    assert_int_equal(gev__fault_disarm(), 0);
}

static void arming_starts_anew(void **state)
{
    (void)state;
    gev__fault_arm(READ_POINT, 2, EIO, false);
    assert_int_equal(call(GEV__FAULT_READ, 1), 0);
    gev__fault_arm(READ_POINT, 2, EPIPE, false);
    assert_int_equal(gev__fault_calls(READ_POINT), 0);
    assert_int_equal(gev__fault_hit(GEV__FAULT_READ), 0);
    assert_int_equal(gev__fault_hit(GEV__FAULT_READ), EPIPE);
    assert_int_equal(gev__fault_disarm(), 1);
}

/* Or a loop that retries would never end. */
static void sticky_eintr_lets_every_second_call_through(void **state)
{
    (void)state;
    gev__fault_arm(READ_POINT, 2, EINTR, true);
    assert_int_equal(call(GEV__FAULT_READ, 7), 101010);
    assert_int_equal(gev__fault_disarm(), 3);
}

static void transfers_are_shortened_to_one_byte(void **state)
{
    (void)state;
    gev__fault_arm_short(READ_POINT, 2);
    assert_true(gev__fault_may_shorten(GEV__FAULT_READ));
    assert_false(gev__fault_may_shorten(GEV__FAULT_WRITE));
    size_t sizes[] = {100, 100, 1, 0, 7};
    for (size_t i = 0; i < gev__array_len(sizes); i++) {
        assert_int_equal(gev__fault_hit_io(GEV__FAULT_READ, &sizes[i]), 0);
    }
    assert_int_equal(sizes[0], 100); /* before the second */
    assert_int_equal(sizes[1], 1);
    assert_int_equal(sizes[2], 1); /* no shorter than that */
    assert_int_equal(sizes[3], 0);
    assert_int_equal(sizes[4], 1);
    size_t n = 100;
    assert_int_equal(gev__fault_hit_io(GEV__FAULT_WRITE, &n), 0);
    assert_int_equal(n, 100);
    assert_int_equal(gev__fault_disarm(), 2);
}

static void failing_and_shortening_go_together(void **state)
{
    (void)state;
    gev__fault_arm_short(READ_POINT, 1);
    gev__fault_arm(READ_POINT, 2, EAGAIN, false);
    size_t n = 5;
    assert_int_equal(gev__fault_hit_io(GEV__FAULT_READ, &n), 0);
    assert_int_equal(n, 1);
    n = 5;
    assert_int_equal(gev__fault_hit_io(GEV__FAULT_READ, &n), EAGAIN);
    assert_int_equal(n, 5);
    assert_int_equal(gev__fault_hit_io(GEV__FAULT_READ, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(gev__fault_disarm(), 3);
}

static atomic_uint thread_hits;

static void *hit_often(void *arg)
{
    for (int i = 0; i < 10000; i++) {
        if (gev__fault_hit(GEV__FAULT_READ) != GEV__FAULT_NONE) {
            atomic_fetch_add(&thread_hits, 1);
        }
    }
    return arg;
}

static void exactly_one_call_of_all_threads_fails(void **state)
{
    (void)state;
    atomic_store(&thread_hits, 0);
    gev__fault_arm(READ_POINT, 12345, EIO, false);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hit_often, NULL), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(gev__fault_calls(READ_POINT), 30000);
    assert_int_equal(gev__fault_disarm(), 1);
    assert_int_equal(atomic_load(&thread_hits), 1);
}

/* Runs gev__check(value) in a child; what it wrote to stderr, and its status.
 */
static int check_in_child(int value, char *text, size_t size)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL); /* a sanitizer's or cmocka's */
        dup2(fds[1], STDERR_FILENO);
        gev__check(value == 1);
        _exit(7);
    }
    close(fds[1]);
    size_t length = 0;
    ssize_t n;
    while ((n = read(fds[0], text + length, size - 1 - length)) > 0) {
        length += (size_t)n;
    }
    text[length] = '\0';
    close(fds[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void failed_check_says_where_and_aborts(void **state)
{
    (void)state;
    char text[1024];
    int status = check_in_child(1, text, sizeof(text));
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);

    status = check_in_child(2, text, sizeof(text));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_ptr_equal(strstr(text, "gev: "), text);
    assert_non_null(strstr(text, "test_fault.c:"));
    const char *end = strstr(text, ": check failed: value == 1\n");
    assert_non_null(end);
    assert_true(end[-1] >= '0' && end[-1] <= '9');
    /* One line; a tool may say more about the signal after it. */
    assert_ptr_equal(strchr(text, '\n'), strchr(end, '\n'));
}

#define tested(f) cmocka_unit_test_teardown(f, disarm)

int main(void)
{
    const struct CMUnitTest tests[] = {
        tested(nothing_fails_unarmed),
        tested(kth_call_fails_once),
        tested(sticky_fails_from_the_kth_on),
        tested(points_of_a_mask_are_counted_together),
        tested(k_zero_only_counts),
        tested(arming_starts_anew),
        tested(sticky_eintr_lets_every_second_call_through),
        tested(transfers_are_shortened_to_one_byte),
        tested(failing_and_shortening_go_together),
        tested(exactly_one_call_of_all_threads_fails),
        tested(failed_check_says_where_and_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
