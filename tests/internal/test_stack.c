/* SPDX-License-Identifier: MIT */

/* Stacks whose guards are protected pages, as on kernels without guard markers
 * (S1, S7). */
#include <gev.h>

#include "base/sys.h"
#include "hub/stack.h"
#include "support/gev_test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Also the hub's own stack, for the hub is made by the body. */
#define PROTECTED_TEST(name)                                                   \
    static void name##_protected(void);                                        \
    GEV_TEST(name)                                                             \
    {                                                                          \
        bool markers = strcmp(gev__stack_guard_kind(), "madvise") == 0;        \
        gev__stack_force_mprotect(true);                                       \
        name##_protected();                                                    \
        expect_ok(gev_hub_close());                                            \
        gev__stack_force_mprotect(!markers);                                   \
    }                                                                          \
    static void name##_protected(void)

/* --- what the kernel says of the address space ---------------------------- */

/* Mappings of this process, and the rights of the one with address in it
 * ("rw-p"; empty: there is none). */
static long mappings(const void *address, char rights[5])
{
    char line[512];
    long n = 0;
    FILE *maps = fopen("/proc/self/maps", "re");

    rights[0] = '\0';
    if (maps == NULL) {
        expect_never("/proc/self/maps: %s", strerror(errno));
        return 0;
    }
    while (fgets(line, sizeof(line), maps) != NULL) {
        char *end;
        uintptr_t low = strtoul(line, &end, 16);
        uintptr_t high = *end == '-' ? strtoul(end + 1, &end, 16) : 0;
        if (low <= (uintptr_t)address && (uintptr_t)address < high &&
            *end == ' ') {
            memcpy(rights, end + 1, 4);
            rights[4] = '\0';
        }
        n++;
    }
    (void)fclose(maps);
    return n;
}

static long count_mappings(void)
{
    char rights[5];
    return mappings(NULL, rights);
}

static void expect_rights(const char *address, const char *wanted)
{
    char rights[5];
    (void)mappings(address, rights);
    expect_str_eq(rights, wanted);
}

static long read_max_map_count(void)
{
    long n = 0;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");

    if (file != NULL) {
        if (fscanf(file, "%ld", &n) != 1) {
            n = 0;
        }
        (void)fclose(file);
    }
    return n;
}

/* --- guards --------------------------------------------------------------- */

static void *look_at_own_guard(void *arg)
{
    const char *low = gev__stack_low(gev_current());

    expect_rights(low - 1, "---p");
    expect_rights(low - GEV__STACK_GUARD / 2, "---p");
    expect_rights(low - GEV__STACK_GUARD, "---p");
    expect_rights(low, "rw-p");
    expect_rights((const char *)&arg, "rw-p");
    return NULL;
}

/* S1 */
PROTECTED_TEST(every_stack_has_a_protected_guard)
{
    gev_attr big = {.size = sizeof(big), .stack_size = 300 * 1024};
    gev_greenlet *g[40];

    for (int i = 0; i < 40; i++) {
        g[i] = i % 4 == 0 ? gev_spawn_attr(&big, look_at_own_guard, NULL)
                          : gev_spawn(look_at_own_guard, NULL);
        expect_not_null(g[i]);
    }
    for (int i = 0; i < 40; i++) {
        expect_ok(gev_join(g[i], GEV_FOREVER));
        gev_unref(g[i]);
    }
}

static void *write_to_guard(void *arg)
{
    volatile char *low = gev__stack_low(gev_current());

    (void)arg;
    low[-1] = 1;
    return NULL;
}

/* S1 */
PROTECTED_TEST(a_write_into_the_guard_is_fatal)
{
    int status = 0;

    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(SIGSEGV, SIG_DFL); /* not a sanitizer's */
        (void)gev_join(gev_spawn(write_to_guard, NULL), GEV_FOREVER);
        _exit(0);
    }
    expect_int_eq(waitpid(pid, &status, 0), pid);
    expect_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

/* --- reuse ---------------------------------------------------------------- */

static void *yield_once(void *arg)
{
    (void)gev_yield();
    return arg;
}

static void run_some(int n)
{
    for (int i = 0; i < n; i++) {
        expect_ok(gev_spawn_raw(yield_once, NULL));
    }
    expect_ok(gev_run(GEV_FOREVER));
}

PROTECTED_TEST(stacks_are_used_again_with_their_guards)
{
    run_some(200);
    long mapped = gev__sys_mapped();
    long before = count_mappings();
    for (int round = 0; round < 5; round++) {
        run_some(200);
    }
    expect_int_eq(gev__sys_mapped(), mapped);
    expect_le(count_mappings(), before + 20); /* others may have made some */
}

/* --- the limit ------------------------------------------------------------ */

struct crowd {
    gev_greenlet **g;
    size_t n;
    size_t room;
};

/* Makes greenlets until one fails, or there is no room. */
static void fill(struct crowd *c)
{
    while (c->n < c->room && (c->g[c->n] = gev_new(yield_once, NULL)) != NULL) {
        c->n++;
    }
}

static void empty(struct crowd *c)
{
    while (c->n > 0) {
        gev_unref(c->g[--c->n]);
    }
}

/* S7: unrelated code still gets its mappings. */
static void others_can_map(void)
{
    const size_t n = (size_t)1 << 20;
    void *others[100];

    for (int i = 0; i < 100; i++) {
        int protection = i % 2 == 0 ? PROT_READ : PROT_NONE; /* not merged */
        others[i] =
            mmap(NULL, n, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        expect_true(others[i] != MAP_FAILED);
    }
    for (int i = 0; i < 100; i++) {
        if (others[i] != MAP_FAILED) {
            (void)munmap(others[i], n);
        }
    }
}

static void fill_to_the_limit(struct crowd *c, long limit)
{
    long before = count_mappings();

    fill(c);
    expect_int_eq(errno, ENOMEM);
    expect_true(c->n < c->room);
    expect_ge(count_mappings(), (double)limit / 2); /* it is the limit */
    expect_le(count_mappings(), (double)before + (double)limit * 0.8);
    others_can_map();

    /* What was in use can be used again; no more than that. */
    size_t most = c->n;
    for (int i = 0; i < 10; i++) {
        gev_unref(c->g[--c->n]);
    }
    fill(c);
    expect_int_eq(errno, ENOMEM);
    expect_uint_eq(c->n, most);
    empty(c);
    run_some(20);
}

/* S7 */
PROTECTED_TEST(guards_end_well_before_the_systems_mappings)
{
    long limit = read_max_map_count();

    if (limit <= 0 || limit > 70000) {
        fprintf(stderr, "vm.max_map_count is %ld: too many to try\n", limit);
        return;
    }
    struct crowd c = {.room = (size_t)limit};
    c.g = calloc(c.room, sizeof(*c.g));
    if (!expect_not_null(c.g)) {
        return;
    }
    long before = count_mappings();
    for (int round = 0; round < 2; round++) {
        /* The second time as many: the first hub gave all back. */
        fill_to_the_limit(&c, limit);
        expect_ok(gev_hub_close());
        expect_le(count_mappings(), (double)before + (double)limit * 0.01);
    }
    free(c.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stack_has_a_protected_guard),
        cmocka_unit_test(a_write_into_the_guard_is_fatal),
        cmocka_unit_test(stacks_are_used_again_with_their_guards),
        cmocka_unit_test(guards_end_well_before_the_systems_mappings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
