/* SPDX-License-Identifier: MIT */

/* gev_dump, gev_stack_used, and the report of stack overflows (UTL1, S1-S6,
 * S11, P7). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* What gev_dump() prints, in a buffer of the caller's to free. */
static char *dump(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    expect_not_null(out);
    expect_ok(gev_dump(out));
    expect_int_eq(fclose(out), 0);
    return text;
}

/* The line of a dump that has this greenlet's name; "" if none has. */
static const char *line_of(const char *text, const char *name)
{
    static char line[1000];
    line[0] = '\0';
    const char *at = strstr(text, name);
    if (at != NULL) {
        while (at > text && at[-1] != '\n') {
            at--;
        }
        (void)snprintf(line, sizeof(line), "%.*s", (int)strcspn(at, "\n"), at);
    }
    return line;
}

static gev_greenlet *spawn_named(const char *name, gev_fn fn, void *arg)
{
    gev_attr attr = {.size = sizeof(attr), .name = name};
    return gev_spawn_attr(&attr, fn, arg);
}

static void *join_arg(void *arg)
{
    return gev_join(arg, GEV_FOREVER) == 0 ? NULL : gev_fail(errno);
}

static void *wait_readable(void *arg)
{
    return gev_wait_fd(N(arg), GEV_READ, GEV_FOREVER) > 0 ? NULL
                                                          : gev_fail(errno);
}

static void *get_waiter(void *arg)
{
    return gev_waiter_get(arg, NULL, GEV_FOREVER) == 0 ? NULL : gev_fail(errno);
}

static void expect_in_line(const char *text, gev_greenlet *g)
{
    const char *line = line_of(text, gev_name(g));
    char id[32];
    (void)snprintf(id, sizeof(id), "%llu", (unsigned long long)gev_id(g));
    expect_not_null(strstr(line, gev_name(g)));
    expect_not_null(strstr(line, id));
    expect_not_null(strstr(line, gev_spawn_site(g)));
}

/* Section 11: id, name, spawn site, state, what it waits on. */
GEV_TEST(dump_names_every_greenlet)
{
    int fds[2];
    gev_waiter w = {{NULL}};
    test_socketpair(fds);
    gev_greenlet *sleeper = spawn_named("sleeper-1", park_forever, NULL);
    gev_greenlet *g[5] = {
        sleeper,
        spawn_named("joiner-2", join_arg, sleeper),
        spawn_named("reader-3", wait_readable, P(fds[0])),
        spawn_named("getter-4", get_waiter, &w),
        NULL,
    };
    expect_ok(gev_sleep(0.001));
    g[4] = spawn_named("ready-5", return_arg, NULL);
    char *text = dump();
    expect_not_null(strstr(text, gev_name(gev_current())));
    for (int i = 0; i < 5; i++) {
        expect_in_line(text, g[i]);
    }
    /* what it waits on is told: the joined one, the descriptor's number; the
     * rest of the line is about that only */
    char wanted[16];
    const char *rest = strstr(line_of(text, "reader-3"), gev_spawn_site(g[2]));
    (void)snprintf(wanted, sizeof(wanted), " %d", fds[0]);
    expect_true(rest != NULL &&
                strstr(rest + strlen(gev_spawn_site(g[2])), wanted) != NULL);
    rest = strstr(line_of(text, "joiner-2"), gev_spawn_site(g[1]));
    (void)snprintf(wanted, sizeof(wanted), " %llu",
                   (unsigned long long)gev_id(sleeper));
    expect_true(rest != NULL &&
                strstr(rest + strlen(gev_spawn_site(g[1])), wanted) != NULL);
    free(text);
    expect_int_eq(gev_joinall(&g[4], 1, GEV_FOREVER), 1);
    expect_ok(gev_killall(g, 5, GEV_FOREVER));
    gev_unrefall(g, 5);
    text = dump();
    expect_null(strstr(text, "sleeper-1")); /* gone */
    free(text);
    expect_int_eq(gev_close(fds[0]) + gev_close(fds[1]), 0);
}

static void *spawn_child(void *arg)
{
    gev_greenlet *g = spawn_named("grandchild-7", park_forever, arg);
    gev_unref(g);
    return park_forever(arg);
}

/* UTL2: "as a tree by who spawned whom": a child comes after its spawner,
 * deeper. */
GEV_TEST(dump_is_a_tree)
{
    gev_greenlet *g = spawn_named("parent-6", spawn_child, NULL);
    gev_greenlet *other = spawn_named("sibling-8", park_forever, NULL);
    expect_ok(gev_sleep(0.001));
    char *text = dump();
    const char *parent = strstr(text, "parent-6");
    const char *child = strstr(text, "grandchild-7");
    const char *sibling = strstr(text, "sibling-8");
    expect_not_null(parent);
    expect_not_null(child);
    expect_not_null(sibling);
    expect_true(parent < child);
    expect_true(sibling < parent || child < sibling); /* not in between */
    size_t parent_indent = strspn(line_of(text, "parent-6"), " |+`-\\");
    size_t child_indent = strspn(line_of(text, "grandchild-7"), " |+`-\\");
    size_t sibling_indent = strspn(line_of(text, "sibling-8"), " |+`-\\");
    expect_true(child_indent > parent_indent);
    expect_uint_eq(sibling_indent, parent_indent);
    free(text);
    gev_unref(g);
    gev_unref(other);
}

/* An orphan is listed, too. */
GEV_TEST(dump_lists_children_of_the_dead)
{
    gev_greenlet *g = spawn_named("parent-9", spawn_child, NULL);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
    char *text = dump();
    expect_not_null(strstr(text, "grandchild-7"));
    free(text);
}

static void *get_item(void *q)
{
    (void)gev_queue_get(q, NULL, GEV_FOREVER);
    return NULL;
}

static void *put_item(void *q)
{
    (void)gev_queue_put(q, NULL, GEV_FOREVER);
    return NULL;
}

static void *receive_item(void *c)
{
    (void)gev_channel_recv(c, NULL, GEV_FOREVER);
    return NULL;
}

static void *send_item(void *c)
{
    (void)gev_channel_send(c, NULL, GEV_FOREVER);
    return NULL;
}

/* What a greenlet is parked on has a name, with and without a deadline. */
GEV_TEST(dump_knows_queues_and_channels)
{
    gev_queue *empty = gev_queue_new(1);
    gev_queue *full = gev_queue_new(1);
    gev_channel *idle = gev_channel_new(0);
    gev_channel *busy = gev_channel_new(0);
    expect_ok(gev_queue_put(full, NULL, 0));
    gev_greenlet *g[] = {gev_spawn(get_item, empty), gev_spawn(put_item, full),
                         gev_spawn(receive_item, idle),
                         gev_spawn(send_item, busy)};
    expect_ok(gev_yield());
    char *text = dump();
    expect_not_null(strstr(text, "on a get from queue"));
    expect_not_null(strstr(text, "on a put to queue"));
    expect_not_null(strstr(text, "on a receive from channel"));
    expect_not_null(strstr(text, "on a send to channel"));
    free(text);
    expect_int_eq(gev_killall(g, 4, GEV_FOREVER), 0);
    gev_unrefall(g, 4);
    gev_queue_free(empty);
    gev_queue_free(full);
    gev_channel_free(idle);
    gev_channel_free(busy);
}

GEV_TEST(dump_refuses_null)
{
    expect_fail(gev_dump(NULL), EINVAL);
}

static void *use_stack(void *arg)
{
    char block[40000];
    touch(block, sizeof(block));
    (void)gev_sleep(GEV_FOREVER);
    return block[0] != 0 ? arg : NULL;
}

GEV_TEST(stack_used_counts_what_was_touched)
{
    gev_greenlet *small = gev_spawn(park_forever, NULL);
    gev_attr attr = {.size = sizeof(attr), .stack_size = 512 * 1024};
    gev_greenlet *big = gev_spawn_attr(&attr, use_stack, NULL);
    expect_ok(gev_yield());
    expect_true(gev_stack_used(small) > 0);
    expect_ge(gev_stack_used(big), 40000);
    expect_le(gev_stack_used(big), 512 * 1024 + 65536);
    expect_uint_eq((uint64_t)gev_stack_used(big) % 4096, 0);
    expect_int_eq(gev_stack_used(gev_current()), 0); /* main's is not gev's */
    expect_fail(gev_stack_used(NULL), EINVAL);
    expect_ok(gev_kill(small, GEV_FOREVER));
    expect_ok(gev_kill(big, GEV_FOREVER));
    gev_unref(small);
    gev_unref(big);
}

static int deeper(int depth, volatile char *above)
{
    volatile char block[512];
    block[0] = above[0];
    block[511] = (char)depth;
    return depth < 1 << 30 ? deeper(depth + 1, block) + block[511] : block[0];
}

static void *overflow(void *arg)
{
    volatile char start = 0;
    (void)arg;
    return P(deeper(0, &start));
}

static void *overflow_in_nested(void *arg)
{
    gev_attr attr = {
        .size = sizeof(attr), .name = "nested", .stack_size = 32 * 1024};
    gev_greenlet *g = gev_new_attr(&attr, overflow, arg);
    (void)gev_switch(g, NULL, NULL);
    return NULL;
}

/* Runs fn in a child with stderr in a pipe; the text and how it ended. */
struct death {
    char text[4000];
    int status;
};

static void run_in_child(void (*fn)(void), struct death *ret_death)
{
    int fds[2];
    expect_int_eq(pipe(fds), 0);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(30);
        (void)dup2(fds[1], 2);
        (void)close(fds[0]);
        (void)close(fds[1]);
        fn();
        _exit(0);
    }
    (void)close(fds[1]);
    size_t n = 0;
    ssize_t got = 1;
    while (got > 0 && n < sizeof(ret_death->text) - 1) {
        got =
            read(fds[0], ret_death->text + n, sizeof(ret_death->text) - 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    ret_death->text[n] = '\0';
    (void)close(fds[0]);
    expect_int_eq(waitpid(pid, &ret_death->status, 0), pid);
}

static void spawn_overflowing(void)
{
    gev_attr attr = {
        .size = sizeof(attr), .name = "deep-one", .stack_size = 192 * 1024};
    gev_greenlet *g = gev_spawn_attr(&attr, overflow, NULL);
    (void)gev_join(g, GEV_FOREVER);
}

static void overflow_with_report(void)
{
    if (gev_set_overflow_report(true) != 0) {
        _exit(3);
    }
    spawn_overflowing();
}

static void overflow_without_report(void)
{
    spawn_overflowing();
}

/* Under the sanitizers their own handler ends the process, in its own way. */
static bool died(const struct death *d)
{
    return WIFSIGNALED(d->status) ||
           (WIFEXITED(d->status) && WEXITSTATUS(d->status) != 0 &&
            WEXITSTATUS(d->status) != 3);
}

/* Whether one of the numbers in text lies within two bounds. */
static bool has_number(const char *text, unsigned long low, unsigned long high)
{
    while (*text != '\0') {
        char *end = NULL;
        unsigned long number = strtoul(text, &end, 10);
        if (end != text && number >= low && number <= high) {
            return true;
        }
        text = end != text ? end : text + 1;
    }
    return false;
}

/* S1: names the greenlet, its spawn site and its stack size: at least what was
 * asked for. */
GEV_TEST(overflow_is_reported)
{
    struct death d;
    run_in_child(overflow_with_report, &d);
    expect_true(died(&d));
    expect_not_null(strstr(d.text, "deep-one"));
    expect_not_null(strstr(d.text, __FILE__ ":"));
    expect_true(has_number(d.text, 192 * 1024, 512 * 1024));
#if !ON_ASAN && !ON_TSAN
    expect_true(WIFSIGNALED(d.status));
    const char *end = strchr(d.text, '\n');
    expect_true(end != NULL && end[1] == '\0'); /* one line */
#endif
}

/* Off by default: the guard still ends the process, without a word. */
GEV_TEST(overflow_is_fatal_without_report)
{
    struct death d;
    run_in_child(overflow_without_report, &d);
    expect_true(died(&d));
    expect_null(strstr(d.text, "deep-one"));
}

static void overflow_nested_with_report(void)
{
    if (gev_set_overflow_report(true) != 0) {
        _exit(3);
    }
    gev_greenlet *g = gev_spawn(overflow_in_nested, NULL);
    (void)gev_join(g, GEV_FOREVER);
}

/* S11: also when the hub never switched to the one that overflows. */
GEV_TEST(overflow_in_a_raw_greenlet_is_reported)
{
    struct death d;
    run_in_child(overflow_nested_with_report, &d);
    expect_true(died(&d));
    expect_not_null(strstr(d.text, "nested"));
}

/* valgrind counts the fault itself as an error, and is /proc/self/exe. */
static bool on_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload != NULL && strstr(preload, "vgpreload") != NULL;
}

static void exit_42(int signum)
{
    (void)signum;
    _exit(42);
}

/* A page that may not be touched: no sanitizer sees it before the processor. */
static void *touch_forbidden(void *arg)
{
    volatile int *forbidden =
        mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *forbidden = 1;
    return arg;
}

static void fault_elsewhere(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = exit_42;
    (void)sigaction(SIGSEGV, &action, NULL);
    if (gev_set_overflow_report(true) != 0) {
        _exit(3);
    }
    gev_greenlet *g = gev_spawn(touch_forbidden, NULL);
    (void)gev_join(g, GEV_FOREVER);
}

/* Faults elsewhere are passed on to the handler that was there before. */
GEV_TEST(faults_elsewhere_reach_the_handler_from_before)
{
    struct death d;
    if (on_valgrind()) {
        test_skip("valgrind reports the fault first");
    }
    run_in_child(fault_elsewhere, &d);
    expect_true(WIFEXITED(d.status));
    expect_int_eq(WEXITSTATUS(d.status), 42);
}

/* P7: turned off, the handler from before is back. */
GEV_TEST(report_can_be_turned_off)
{
    struct sigaction before;
    struct sigaction during;
    struct sigaction after;
    expect_int_eq(sigaction(SIGSEGV, NULL, &before), 0);
    expect_ok(gev_set_overflow_report(true));
    expect_ok(gev_set_overflow_report(true));
    expect_int_eq(sigaction(SIGSEGV, NULL, &during), 0);
    expect_ok(gev_set_overflow_report(false));
    expect_ok(gev_set_overflow_report(false));
    expect_int_eq(sigaction(SIGSEGV, NULL, &after), 0);
    expect_true(during.sa_sigaction != before.sa_sigaction);
    expect_true(after.sa_sigaction == before.sa_sigaction);
    expect_ok(gev_yield());
}

static const char *program;

static void run_self_with_variable(void)
{
    char *const argv[] = {(char *)(uintptr_t)program, (char[]){"overflow"},
                          NULL};
    (void)setenv("GEV_OVERFLOW_REPORT", "1", 1);
    (void)execv("/proc/self/exe", argv);
    _exit(3);
}

/* GEV_OVERFLOW_REPORT=1 turns it on at the first hub. */
GEV_TEST(overflow_is_reported_by_environment)
{
    struct death d;
    if (on_valgrind()) {
        test_skip("/proc/self/exe is valgrind");
    }
    run_in_child(run_self_with_variable, &d);
    expect_true(died(&d));
    expect_not_null(strstr(d.text, "deep-one"));
}

static volatile sig_atomic_t alarms;

static void on_alarm(int signum)
{
    (void)signum;
    alarms = alarms + 1;
}

static void *spin_while_signalled(void *arg)
{
    double end = test_now() + 0.02;
    while (test_now() < end) {
        for (int i = 0; i < 100; i++) {
            (void)raise(SIGUSR1);
        }
    }
    return arg;
}

/* S4: signal frames fit on the smallest stacks. */
GEV_TEST(signals_on_the_smallest_stack)
{
    struct sigaction action;
    struct sigaction old;
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_alarm;
    expect_int_eq(sigaction(SIGUSR1, &action, &old), 0);
    alarms = 0;
    gev_attr attr = {.size = sizeof(attr), .stack_size = 16 * 1024};
    gev_greenlet *g = gev_spawn_attr(&attr, spin_while_signalled, P(1));
    expect_ok(gev_get(g, NULL, GEV_FOREVER));
    expect_true(alarms > 0);
    gev_unref(g);
    expect_int_eq(sigaction(SIGUSR1, &old, NULL), 0);
}

static void *print_and_scan(void *arg)
{
    double x = (double)N(arg) / 3;
    char text[64];
    (void)snprintf(text, sizeof(text), "%.17g", x);
    return P(strtod(text, NULL) == x);
}

/* S3: the first call into a library fits on the smallest stack. */
GEV_TEST(lazy_binding_on_the_smallest_stack)
{
    gev_attr attr = {.size = sizeof(attr), .stack_size = 16 * 1024};
    gev_greenlet *g = gev_spawn_attr(&attr, print_and_scan, P(5));
    void *value = NULL;
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_int_eq(N(value), 1);
    gev_unref(g);
}

/* TOP17: gev_build_info and gev_version say something. */
GEV_TEST(version_is_that_of_the_header)
{
    expect_str_eq(gev_version(), GEV_VERSION);
    expect_not_null(strstr(gev_build_info(), GEV_VERSION));
    expect_null(strchr(gev_build_info(), '\n'));
}

static void *spawn_the_next(void *arg)
{
    int *left = arg;
    if (--*left > 0) {
        gev_unref(gev_spawn(spawn_the_next, left));
    }
    gev_sleep(GEV_FOREVER);
    return NULL;
}

static void *dump_to_nowhere(void *arg)
{
    FILE *out = fopen("/dev/null", "w");
    expect_not_null(out);
    int rc = out == NULL ? -1 : gev_dump(out);
    if (out != NULL) {
        (void)fclose(out);
    }
    return rc == 0 ? arg : gev_fail(errno);
}

/* However long the chain of who spawned whom, a greenlet's stack is enough. */
GEV_TEST(dump_of_a_long_chain_fits_a_small_stack)
{
    int left = 3000;
    gev_unref(gev_spawn(spawn_the_next, &left));
    expect_fail(gev_sleep(GEV_FOREVER), EDEADLK);
    expect_int_eq(left, 0);
    gev_greenlet *g = gev_spawn(dump_to_nowhere, NULL);
    expect_ok(gev_get(g, NULL, GEV_FOREVER));
    gev_unref(g);
    expect_ok(gev_hub_close());
}

#if !ON_ASAN && !ON_TSAN /* which has a handler of its own */

/* A signal that was sent, not raised by a fault, is not lost in the handler. */
GEV_TEST(overflow_report_passes_on_what_was_sent)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (gev_set_overflow_report(true) == 0) {
            (void)raise(SIGSEGV);
        }
        _exit(0);
    }
    int status = 0;
    expect_int_eq(waitpid(pid, &status, 0), pid);
    expect_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

#endif

int main(int argc, char **argv)
{
    program = argv[0];
    if (argc > 1 && strcmp(argv[1], "overflow") == 0) {
        spawn_overflowing();
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dump_names_every_greenlet),
        cmocka_unit_test(dump_is_a_tree),
        cmocka_unit_test(dump_lists_children_of_the_dead),
        cmocka_unit_test(dump_knows_queues_and_channels),
        cmocka_unit_test(dump_refuses_null),
        cmocka_unit_test(stack_used_counts_what_was_touched),
        cmocka_unit_test(overflow_is_reported),
        cmocka_unit_test(overflow_is_fatal_without_report),
        cmocka_unit_test(overflow_in_a_raw_greenlet_is_reported),
        cmocka_unit_test(faults_elsewhere_reach_the_handler_from_before),
        cmocka_unit_test(report_can_be_turned_off),
        cmocka_unit_test(overflow_is_reported_by_environment),
        cmocka_unit_test(signals_on_the_smallest_stack),
        cmocka_unit_test(lazy_binding_on_the_smallest_stack),
        cmocka_unit_test(version_is_that_of_the_header),
        cmocka_unit_test(dump_of_a_long_chain_fits_a_small_stack),
#if !ON_ASAN && !ON_TSAN
        cmocka_unit_test(overflow_report_passes_on_what_was_sent),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
