/* SPDX-License-Identifier: MIT */
/* base/alloc.h. No greenlets run: cmocka's own asserts are fine here. */
#include "base/alloc.h"

#include "base/fault.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ALLOC_POINT (1u << GEV__FAULT_ALLOC)

/* More than any machine has; volatile, or the compiler sees the overflow. */
static volatile size_t huge = SIZE_MAX / 4 + 2;

/* Sanitizers would rather stop there than return NULL. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* A user's hook: counts what it is asked for. */
static struct {
    int made;
    int resized;
    int freed;
    bool is_out_of_memory;
} hook;

static void *hooked_realloc(void *p, size_t n)
{
    if (n == 0) {
        assert_non_null(p);
        hook.freed++;
        free(p);
        return NULL;
    }
    if (hook.is_out_of_memory) {
        return NULL;
    }
    hook.made += p == NULL;
    hook.resized += p != NULL;
    char *q = realloc(p, n);
    if (p == NULL && q != NULL) {
        memset(q, 0xa5, n); /* a hook need not give zeroes */
    }
    return q;
}

static long live_before;

static int set_up(void **state)
{
    (void)state;
    memset(&hook, 0, sizeof(hook));
    live_before = gev__alloc_live();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    gev__fault_disarm();
    gev__alloc_set(NULL);
    return gev__alloc_live() == live_before ? 0 : -1;
}

static void blocks_can_be_used_and_grow(void **state)
{
    (void)state;
    char *p = gev__malloc(10);
    assert_non_null(p);
    memcpy(p, "123456789", 10);
    p = gev__realloc(p, 100000);
    assert_non_null(p);
    assert_string_equal(p, "123456789");
    p = gev__reallocarray(p, 5, 2);
    assert_non_null(p);
    assert_memory_equal(p, "123456789", 10);
    gev__free(p);
}

static void zero_bytes_free_and_give_null(void **state)
{
    (void)state;
    void *p = gev__malloc(1);
    assert_int_equal(gev__alloc_live(), live_before + 1);
    assert_null(gev__realloc(p, 0));
    assert_int_equal(gev__alloc_live(), live_before);
    assert_null(gev__realloc(NULL, 0));
    assert_null(gev__malloc(0));
    assert_null(gev__calloc(0, 8));
    assert_null(gev__calloc(8, 0));
    p = gev__malloc(1);
    assert_null(gev__reallocarray(p, 0, 8));
    gev__free(NULL);
    assert_int_equal(gev__alloc_live(), live_before);
}

static void products_that_overflow_are_refused(void **state)
{
    (void)state;
    assert_null(gev__calloc(huge, 5));
    assert_null(gev__calloc(5, huge));
    assert_null(gev__calloc(SIZE_MAX, SIZE_MAX));
    assert_null(gev__reallocarray(NULL, huge, 5));
    char *p = gev__malloc(4);
    assert_non_null(p);
    memcpy(p, "abc", 4);
    assert_null(gev__reallocarray(p, huge, 5));
    assert_string_equal(p, "abc"); /* untouched */
    gev__free(p);
}

static void what_nobody_has_fails_and_keeps_the_block(void **state)
{
    (void)state;
    assert_null(gev__malloc(huge));
    assert_null(gev__calloc(1, huge));
    char *p = gev__malloc(4);
    memcpy(p, "abc", 4);
    assert_null(gev__realloc(p, huge));
    assert_string_equal(p, "abc");
    assert_int_equal(gev__alloc_live(), live_before + 1);
    gev__free(p);
}

static bool is_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0) {
            return false;
        }
    }
    return true;
}

static void calloc_gives_zeroes(void **state)
{
    (void)state;
    for (int hooked = 0; hooked < 2; hooked++) {
        gev__alloc_set(hooked ? hooked_realloc : NULL);
        for (int i = 0; i < 3; i++) { /* used memory comes back */
            unsigned char *p = gev__calloc(100, 3);
            assert_non_null(p);
            assert_true(is_zero(p, 300));
            memset(p, 0xff, 300);
            gev__free(p);
        }
    }
    unsigned char *p = gev__libc_calloc(3, 100);
    assert_true(is_zero(p, 300));
    free(p); /* libc's own: not counted */
}

static void aligned_blocks_are_zero_and_aligned(void **state)
{
    (void)state;
    for (size_t alignment = 16; alignment <= 4096; alignment *= 2) {
        unsigned char *p = gev__calloc_aligned(3, 100, alignment);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % alignment, 0);
        for (int i = 0; i < 300; i++) {
            assert_int_equal(p[i], 0);
        }
        memset(p, 0xff, 300);
        gev__free_aligned(p);
    }
    gev__free_aligned(NULL);
    assert_null(gev__calloc_aligned(SIZE_MAX, SIZE_MAX, 64));
    assert_null(gev__calloc_aligned(1, SIZE_MAX - 64, 64));
}

static void strdup_copies(void **state)
{
    (void)state;
    const char *text = "gev";
    char *copy = gev__strdup(text);
    assert_string_equal(copy, text);
    assert_ptr_not_equal(copy, text);
    gev__free(copy);
    copy = gev__strdup("");
    assert_string_equal(copy, "");
    gev__free(copy);
}

static void hook_gets_everything(void **state)
{
    (void)state;
    gev__alloc_set(hooked_realloc);
    void *p = gev__malloc(1);
    void *q = gev__calloc(2, 3);
    char *s = gev__strdup("x");
    assert_int_equal(hook.made, 3);
    p = gev__realloc(p, 1000);
    q = gev__reallocarray(q, 10, 10);
    assert_int_equal(hook.resized, 2);
    gev__free(p);
    assert_null(gev__realloc(q, 0));
    gev__free(s);
    assert_int_equal(hook.freed, 3);
    gev__free(NULL);
    assert_null(gev__realloc(NULL, 0));
    assert_null(gev__malloc(0));
    assert_int_equal(hook.freed, 3); /* not bothered for nothing */
    assert_int_equal(hook.made, 3);

    gev__alloc_set(NULL);
    p = gev__malloc(1);
    gev__free(p);
    assert_int_equal(hook.made, 3);
}

static void hook_may_be_out_of_memory(void **state)
{
    (void)state;
    gev__alloc_set(hooked_realloc);
    char *p = gev__strdup("kept");
    hook.is_out_of_memory = true;
    assert_null(gev__malloc(1));
    assert_null(gev__calloc(1, 1));
    assert_null(gev__strdup("x"));
    assert_null(gev__realloc(p, 100));
    assert_null(gev__reallocarray(p, 1, 100));
    assert_string_equal(p, "kept");
    assert_int_equal(gev__alloc_live(), live_before + 1);
    gev__free(p);
}

static void live_blocks_are_counted(void **state)
{
    (void)state;
    void *blocks[10];
    for (int i = 0; i < 10; i++) {
        blocks[i] = i % 2 == 0 ? gev__malloc(8) : gev__calloc(1, 8);
        assert_int_equal(gev__alloc_live(), live_before + i + 1);
    }
    blocks[0] = gev__realloc(blocks[0], 4096); /* still one */
    assert_int_equal(gev__alloc_live(), live_before + 10);
    for (int i = 0; i < 10; i++) {
        gev__free(blocks[i]);
    }
    assert_int_equal(gev__alloc_live(), live_before);
}

static void *churn(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        void *p = gev__malloc(16);
        p = gev__realloc(p, 32);
        gev__free(p);
    }
    return arg;
}

static void threads_do_not_lose_count(void **state)
{
    (void)state;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(gev__alloc_live(), live_before);
}

/* Every way to ask for memory is one fault point; freeing is none. */
static void each_call_is_a_fault_point(void **state)
{
    (void)state;
    char *p = gev__strdup("kept");
    gev__fault_arm(ALLOC_POINT, 1, ENOMEM, true);
    assert_null(gev__malloc(1));
    assert_null(gev__calloc(1, 1));
    assert_null(gev__libc_calloc(1, 1));
    assert_null(gev__realloc(p, 100));
    assert_null(gev__reallocarray(p, 10, 10));
    assert_null(gev__strdup("x"));
    assert_int_equal(gev__fault_calls(ALLOC_POINT), 6);
    assert_string_equal(p, "kept");
    gev__free(p);
    assert_null(gev__realloc(gev__malloc(0), 0));
    assert_null(gev__calloc(huge, huge));
    assert_int_equal(gev__fault_calls(ALLOC_POINT), 6);
    assert_int_equal(gev__fault_disarm(), 6);
}

#define tested(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        tested(blocks_can_be_used_and_grow),
        tested(zero_bytes_free_and_give_null),
        tested(products_that_overflow_are_refused),
        tested(what_nobody_has_fails_and_keeps_the_block),
        tested(calloc_gives_zeroes),
        tested(aligned_blocks_are_zero_and_aligned),
        tested(strdup_copies),
        tested(hook_gets_everything),
        tested(hook_may_be_out_of_memory),
        tested(live_blocks_are_counted),
        tested(threads_do_not_lose_count),
        tested(each_call_is_a_fault_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
