/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_H
#define GEV_TEST_H

/* What every test of gev uses, over cmocka.
 *
 *     GEV_TEST(sleep_takes_its_time)
 *     {
 *         double begin = test_now();
 *         expect_ok(gev_sleep(0.01));
 *         expect_ge(test_now() - begin, 0.01);
 *     }
 *     int main(void)
 *     {
 *         const struct CMUnitTest tests[] = {
 *             cmocka_unit_test(sleep_takes_its_time),
 *         };
 *         return cmocka_run_group_tests(tests, NULL, NULL);
 *     }
 *
 * The body is main() of its thread's hub. After it the hub is closed, and
 * descriptors, children, stacks and (in the build with fault points)
 * allocations must be as before; a watchdog ends a test that hangs.
 *
 * Never use cmocka's assert_* under GEV_TEST: a failed one is a longjmp to the
 * runner, and from a greenlet's stack that corrupts everything after it.
 * The expect_* below record the first failure and go on; the runner reports it
 * when the body has returned. They work on any stack and in any thread, leave
 * errno alone, and are true if all is well: `if (!expect_ok(rc)) return;`. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define GEV_TEST(name)                                                         \
    static void name##_body(void);                                             \
    static void name(void **state)                                             \
    {                                                                          \
        (void)state;                                                           \
        test_run(#name, name##_body);                                          \
    }                                                                          \
    static void name##_body(void)

#define TEST_HERE __FILE__, __LINE__

#define expect_true(c) test_true((c) ? true : false, #c, TEST_HERE)
#define expect_false(c) test_false((c) ? true : false, #c, TEST_HERE)
#define expect_int_eq(actual, wanted)                                          \
    test_int_eq((intmax_t)(actual), (intmax_t)(wanted), #actual, #wanted,      \
                TEST_HERE)
#define expect_uint_eq(actual, wanted)                                         \
    test_uint_eq((uintmax_t)(actual), (uintmax_t)(wanted), #actual, #wanted,   \
                 TEST_HERE)
#define expect_ptr_eq(actual, wanted)                                          \
    test_ptr_eq((actual), (wanted), #actual, #wanted, TEST_HERE)
#define expect_null(p) test_null((p), #p, TEST_HERE)
#define expect_not_null(p) test_not_null((p), #p, TEST_HERE)
#define expect_str_eq(actual, wanted)                                          \
    test_str_eq((actual), (wanted), #actual, TEST_HERE)
#define expect_mem_eq(actual, wanted, n)                                       \
    test_mem_eq((actual), (wanted), (n), #actual, TEST_HERE)
/* a >= b, a <= b, as double. */
#define expect_ge(a, b) test_ge((double)(a), (double)(b), #a, #b, TEST_HERE)
#define expect_le(a, b) test_le((double)(a), (double)(b), #a, #b, TEST_HERE)
/* rc == -1 and errno == error. */
#define expect_fail(rc, error)                                                 \
    test_fails((intmax_t)(rc), (error), #rc, TEST_HERE)
/* rc == 0. */
#define expect_ok(rc) test_ok((intmax_t)(rc), #rc, TEST_HERE)
/* Records a failure, printf-like. */
#define expect_never(...) test_record(TEST_HERE, __VA_ARGS__)

/* In a body, on the runner's stack: ends this test as skipped. */
#define test_skip(reason)                                                      \
    do {                                                                       \
        test_set_skipped(reason);                                              \
        return;                                                                \
    } while (0)

/* What the build runs under. ThreadSanitizer's bookkeeping of greenlets does
 * not survive a fork in a hub callback, and it lets the child of a process with
 * threads start none. AddressSanitizer is not told of the frames that a
 * cancelled thread leaves, looks for leaks in a child that has lost its main
 * thread, and keeps what is freed. */
#if defined(__SANITIZE_THREAD__)
#define ON_TSAN true
#elif defined(__SANITIZE_ADDRESS__)
#define ON_ASAN true
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ON_TSAN true
#elif __has_feature(address_sanitizer)
#define ON_ASAN true
#endif
#endif
#ifndef ON_TSAN
#define ON_TSAN false
#endif
#ifndef ON_ASAN
#define ON_ASAN false
#endif

/* Whether an expectation has failed: loops may stop then. */
bool test_failed(void);

/* Context for the next failures' messages, printf-like; NULL: none. For loops,
 * in one thread. */
void test_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Monotonic seconds, never virtual. */
double test_now(void);

/* An upper bound, in seconds, stretched by the environment variable
 * GEV_TEST_SCALE for slow machines and tools. */
double test_scale(double seconds);

/* Keeps the CPU busy that long without letting anybody else run. */
void test_spin(double seconds);

/* Descriptors of this process that are open. */
size_t test_open_fds(void);

/* A connected pair of blocking stream sockets, not known to gev yet; -1, -1
 * and a failure recorded if there is none. */
void test_socketpair(int fds[2]);

/* A blocking TCP listener on a free port of 127.0.0.1; -1 and a failure
 * recorded if there is none. */
int test_tcp_listener(uint16_t *ret_port);

/* What the macros call. */
void test_run(const char *name, void (*body)(void));
void test_set_skipped(const char *reason);
bool test_record(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool test_true(bool c, const char *text, const char *file, int line);
bool test_false(bool c, const char *text, const char *file, int line);
bool test_int_eq(intmax_t actual, intmax_t wanted, const char *actual_text,
                 const char *wanted_text, const char *file, int line);
bool test_uint_eq(uintmax_t actual, uintmax_t wanted, const char *actual_text,
                  const char *wanted_text, const char *file, int line);
bool test_ptr_eq(const void *actual, const void *wanted,
                 const char *actual_text, const char *wanted_text,
                 const char *file, int line);
bool test_null(const void *p, const char *text, const char *file, int line);
bool test_not_null(const void *p, const char *text, const char *file, int line);
bool test_str_eq(const char *actual, const char *wanted, const char *text,
                 const char *file, int line);
bool test_mem_eq(const void *actual, const void *wanted, size_t n,
                 const char *text, const char *file, int line);
bool test_ge(double a, double b, const char *a_text, const char *b_text,
             const char *file, int line);
bool test_le(double a, double b, const char *a_text, const char *b_text,
             const char *file, int line);
bool test_fails(intmax_t rc, int error, const char *text, const char *file,
                int line);
bool test_ok(intmax_t rc, const char *text, const char *file, int line);

#endif
