/* SPDX-License-Identifier: MIT */
/* The tests' own tools: what they must notice, they do. Called with a name,
 * this program runs that one test, which is meant to fail, and then a good one;
 * by itself it calls itself so and reads what comes of it. */
#include "support/fault_sweep.h"
#include "support/gev_test.h"

#include <gev.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/sys.h"

/* --- Tests that fail ------------------------------------------------------ */

static void *expect_too_much(void *arg)
{
    int answer = 41;
    gev_sleep(0.001);
    expect_int_eq(answer, 42);
    expect_str_eq("second", "failure");
    return arg;
}

GEV_TEST(wrong_in_a_greenlet)
{
    gev_greenlet *g = gev_spawn(expect_too_much, NULL);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_true(test_failed());
    gev_unref(g);
}

GEV_TEST(leaks_a_descriptor)
{
    expect_true(gev__sys_eventfd() >= 0);
}

static void *volatile lost;

GEV_TEST(leaks_a_block)
{
    lost = gev__malloc(10);
}

GEV_TEST(leaks_a_mapping)
{
    int error;
    lost = gev__sys_mmap(1 << 20, &error);
}

GEV_TEST(leaves_a_child)
{
    if (fork() == 0) {
        _exit(0);
    }
    siginfo_t info; /* or the next test would see it, too */
    expect_ok(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT));
}

GEV_TEST(waits_for_ever)
{
    int fds[2];
    test_socketpair(fds);
    gev_wait_fd(fds[0], GEV_READ, GEV_FOREVER);
}

static void *crash(void *arg)
{
    raise(SIGSEGV);
    return arg;
}

GEV_TEST(crashes)
{
    gev_unref(gev_spawn(crash, NULL));
    gev_yield();
}

GEV_TEST(is_skipped)
{
    test_skip("no reason");
}

static bool leaves_it;     /* the scenario leaks when it fails */
static int reported_error; /* what it says then; 0: that all is well */

static int allocate_twice(void *arg)
{
    (void)arg;
    void *first = gev__malloc(1);
    void *second = first != NULL ? gev__malloc(1) : NULL;
    bool failed = second == NULL;
    gev__free(second);
    if (!failed || !leaves_it) {
        gev__free(first);
    }
    if (failed && reported_error != 0) {
        errno = reported_error;
        return -1;
    }
    return 0;
}

static const struct fault_case memory[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .allowed = {ENOMEM}},
};

GEV_TEST(sweep_finds_a_leak)
{
    leaves_it = true;
    reported_error = ENOMEM;
    fault_sweep(allocate_twice, NULL, memory, 1, FAULT_WARM);
}

GEV_TEST(sweep_finds_a_wrong_error)
{
    reported_error = EPIPE;
    fault_sweep(allocate_twice, NULL, memory, 1, FAULT_WARM);
}

GEV_TEST(sweep_finds_silence)
{
    fault_sweep(allocate_twice, NULL, memory, 1, FAULT_WARM);
}

GEV_TEST(sweep_finds_nothing_to_do)
{
    static const struct fault_case writes[] = {
        {"writes", FAULT_AT(WRITE), EIO, .allowed = {EIO}},
    };
    fault_sweep(allocate_twice, NULL, writes, 1, FAULT_WARM);
}

/* --- A good one ----------------------------------------------------------- */

static void *nothing(void *arg)
{
    return arg;
}

GEV_TEST(all_is_well)
{
    int fds[2];
    uint16_t port = 0;
    double begin = test_now();
    test_spin(0.01);
    expect_ge(test_now() - begin, 0.01);
    size_t before = test_open_fds();
    test_socketpair(fds);
    int listener = test_tcp_listener(&port);
    expect_true(listener >= 0 && port > 0);
    expect_uint_eq(test_open_fds(), before + 3);
    close(fds[0]);
    close(fds[1]);
    close(listener);
    expect_fail(close(listener), EBADF);
    errno = 77;
    expect_mem_eq("abc", "abd", 2);
    expect_null(NULL);
    expect_not_null(nothing(&port));
    expect_int_eq(errno, 77);
    gev_unref(gev_spawn(nothing, NULL)); /* the close has to see to it */
}

/* Two to be failed, in both shapes: the first or second; and the first (which
 * is both), or the second alone. */
GEV_TEST(sweep_counts)
{
    leaves_it = false;
    reported_error = ENOMEM;
    expect_uint_eq(fault_sweep(allocate_twice, NULL, memory, 1, FAULT_WARM), 4);
}

/* Cold: making the hub fails too. */
static int yield(void *arg)
{
    (void)arg;
    return gev_yield();
}

GEV_TEST(sweep_makes_the_hub_fail)
{
    static const struct fault_case cases[] = {
        /* What libev asks for it gets in the end: see hub/evalloc.c. */
        {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
         .allowed = {ENOMEM}},
        {"descriptors", FAULT_AT(OPEN), EMFILE, .allowed = {EMFILE}},
    };
    expect_ge(fault_sweep(yield, NULL, cases, 2, 0), 3);
}

/* --- What comes of them --------------------------------------------------- */

static const struct {
    struct CMUnitTest test;
    const char *scale; /* GEV_TEST_SCALE */
    int status;        /* of the process; -1: any but 0 */
    const char *says;
} failing[] = {
#define ENTRY(name, scale, status, says)                                       \
    {                                                                          \
        cmocka_unit_test(name), scale, status, says                            \
    }
    ENTRY(wrong_in_a_greenlet, "1", 1, "answer is 41, not 42 (42)"),
    ENTRY(leaks_a_descriptor, "1", 1, "descriptors were open before"),
    ENTRY(leaks_a_block, "1", 1, "1 blocks are still allocated"),
    ENTRY(leaks_a_mapping, "1", 1, "1048576 bytes of stacks are still mapped"),
    ENTRY(leaves_a_child, "1", 1, "a child process was left, unreaped"),
    ENTRY(waits_for_ever, "0.005", 99, "waits_for_ever hangs"),
    ENTRY(crashes, "1", -1, ""),
    ENTRY(is_skipped, "1", 0, "skipped: no reason"),
    ENTRY(sweep_finds_a_leak, "1", 1, "[memory, once, k = 2] after.blocks"),
    ENTRY(sweep_finds_a_wrong_error, "1", 1, "which is not allowed"),
    ENTRY(sweep_finds_silence, "1", 1, "c->may_succeed"),
    ENTRY(sweep_finds_nothing_to_do, "1", 1, "[writes, once, k = 1]"),
#undef ENTRY
};

static const char *program;
static char output[1 << 16];

/* Runs the i-th of them; returns its status, fills in output. */
static int run(size_t i)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        setenv("GEV_TEST_SCALE", failing[i].scale, 1);
        /* What is lost here is lost on purpose. */
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        execl(program, program, failing[i].test.name, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    size_t length = 0;
    ssize_t n;
    while ((n = read(fds[0], output + length, sizeof(output) - 1 - length)) >
           0) {
        length += (size_t)n;
    }
    output[length] = '\0';
    close(fds[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void failures_are_seen(void **state)
{
    (void)state;
    for (size_t i = 0; i < gev__array_len(failing); i++) {
        const char *name = failing[i].test.name;
        int status = run(i);
        bool is_right =
            failing[i].status < 0
                ? status != 0
                : WIFEXITED(status) && WEXITSTATUS(status) == failing[i].status;
        if (!is_right || strstr(output, failing[i].says) == NULL) {
            fail_msg("%s: status 0x%x, and it says:\n%s", name,
                     (unsigned)status, output);
        }
        /* The next test suffers from none but a crash or a hang. */
        bool goes_on = strstr(output, "OK ] all_is_well") != NULL;
        if (goes_on != (failing[i].status == 0 || failing[i].status == 1)) {
            fail_msg("after %s:\n%s", name, output);
        }
    }
}

static void failures_say_where(void **state)
{
    (void)state;
    run(0);
    assert_non_null(strstr(output, "test_support.c:"));
    assert_non_null(strstr(output, "and 1 more failures"));
    assert_null(strstr(output, "second"));
}

int main(int argc, char **argv)
{
    program = argv[0];
    for (size_t i = 0; argc > 1 && i < gev__array_len(failing); i++) {
        if (strcmp(argv[1], failing[i].test.name) == 0) {
            const struct CMUnitTest tests[] = {
                failing[i].test,
                cmocka_unit_test(all_is_well),
            };
            return cmocka_run_group_tests(tests, NULL, NULL);
        }
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_well),
        cmocka_unit_test(sweep_counts),
        cmocka_unit_test(sweep_makes_the_hub_fail),
        cmocka_unit_test(failures_are_seen),
        cmocka_unit_test(failures_say_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
