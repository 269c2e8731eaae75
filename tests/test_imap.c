/* SPDX-License-Identifier: MIT */

/* Lazy maps: order, back-pressure, errors, ends (POL13-POL15, C5). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

/* A source of the numbers 1 to n. */
struct source {
    int n;
    int at;
    int error;   /* it fails with that at the end, instead of ending */
    int park_ms; /* before each item, if not 0 */
};

static int next_number(void *arg, void **item)
{
    struct source *s = arg;
    if (s->park_ms > 0 && gev_sleep(s->park_ms / 1000.0) != 0) {
        trace("source killed");
        return -1;
    }
    if (s->at == s->n) {
        errno = s->error;
        return s->error != 0 ? -1 : 0;
    }
    *item = P(++s->at);
    return 1;
}

static int begun;
static int ended;
static int running;
static int most;

static void reset(void)
{
    begun = 0;
    ended = 0;
    running = 0;
    most = 0;
    trace_reset();
    gev_set_error_handler(ignore_error, NULL);
}

/* The larger the number, the shorter it takes. */
static void *backwards(void *number)
{
    begun++;
    running++;
    most = running > most ? running : most;
    int rc = gev_sleep((10 - N(number)) * 0.004);
    running--;
    ended++;
    return rc == 0 ? P(N(number) * 10) : gev_fail(errno);
}

static void *times_ten(void *number)
{
    begun++;
    ended++;
    return P(N(number) * 10);
}

static void *fail_if_even(void *number)
{
    return N(number) % 2 == 0 ? gev_fail(N(number)) : number;
}

static void *park(void *arg)
{
    begun++;
    void *value = park_forever(arg);
    ended++;
    return value;
}

/* Reads to the end and traces what comes. */
static void trace_all(gev_imap *it)
{
    void *value = NULL;
    int rc;
    while ((rc = gev_imap_next(it, &value)) == 1) {
        trace_number(N(value));
    }
    expect_int_eq(rc, 0);
    expect_int_eq(gev_imap_next(it, &value), 0); /* again and again */
}

/* --- order -----------------------------------------------------------------
 */

/* POL13: the source's order, though the last are ready first. */
GEV_TEST(ordered_results_come_in_the_sources_order)
{
    reset();
    gev_group *p = gev_group_new();
    struct source s = {.n = 5};
    gev_imap *it = gev_group_imap(p, backwards, next_number, &s, 0, true);
    expect_not_null(it);
    expect_int_eq(s.at, 0); /* lazy: nothing runs in the call */
    trace_all(it);
    expect_str_eq(trace_text(), "10 20 30 40 50");
    expect_int_eq(most, 5);
    gev_imap_free(it);
    gev_group_free(p);
}

/* POL14: as they are ready. */
GEV_TEST(unordered_results_come_as_they_are_ready)
{
    reset();
    gev_group *p = gev_group_new();
    struct source s = {.n = 4};
    gev_imap *it = gev_group_imap(p, backwards, next_number, &s, 0, false);
    trace_all(it);
    expect_str_eq(trace_text(), "40 30 20 10");
    gev_imap_free(it);
    gev_group_free(p);
}

/* POL14: with one slot that is the source's order. */
GEV_TEST(with_one_slot_both_orders_are_the_same)
{
    for (int ordered = 0; ordered < 2; ordered++) {
        reset();
        gev_group *p = gev_pool_new(1);
        struct source s = {.n = 4};
        gev_imap *it =
            gev_group_imap(p, backwards, next_number, &s, 0, ordered != 0);
        trace_all(it);
        expect_str_eq(trace_text(), "10 20 30 40");
        expect_int_eq(most, 1);
        gev_imap_free(it);
        gev_group_free(p);
    }
}

GEV_TEST(an_empty_source_has_an_end)
{
    reset();
    gev_group *p = gev_pool_new(1);
    struct source s = {.n = 0};
    gev_imap *(*plain)(gev_group *, gev_fn, gev_next_fn, void *, size_t, bool) =
        gev_group_imap;
    gev_imap *it = plain(p, times_ten, next_number, &s, 1, true);
    trace_all(it);
    expect_str_eq(trace_text(), "");
    gev_imap_free(it);
    gev_group_free(p);
}

GEV_TEST(null_is_refused)
{
    gev_group *p = gev_pool_new(1);
    struct source s = {.n = 1};
    expect_null(gev_group_imap(NULL, times_ten, next_number, &s, 0, true));
    expect_int_eq(errno, EINVAL);
    expect_null(gev_group_imap(p, NULL, next_number, &s, 0, true));
    expect_int_eq(errno, EINVAL);
    expect_null(gev_group_imap(p, times_ten, NULL, &s, 0, true));
    expect_int_eq(errno, EINVAL);
    expect_fail(gev_imap_next(NULL, NULL), EINVAL);
    gev_imap_free(NULL);
    gev_imap *it = gev_group_imap(p, times_ten, next_number, &s, 0, true);
    expect_int_eq(gev_imap_next(it, NULL), 1); /* discards it */
    gev_imap_free(it);
    gev_group_free(p);
}

/* The source is in no slot, and no member one can see. */
GEV_TEST(the_source_takes_no_slot)
{
    reset();
    gev_group *p = gev_pool_new(1);
    struct source s = {.n = 3, .park_ms = 5};
    gev_imap *it = gev_group_imap(p, times_ten, next_number, &s, 0, true);
    expect_ok(gev_yield());
    expect_uint_eq(gev_group_count(p), 0);
    expect_uint_eq(gev_group_free_count(p), 1);
    expect_uint_eq(gev_group_members(p, NULL, 0), 0);
    expect_ok(gev_group_join(p, GEV_FOREVER));
    trace_all(it);
    expect_str_eq(trace_text(), "10 20 30");
    gev_imap_free(it);
    gev_group_free(p);
}

/* --- back-pressure ---------------------------------------------------------
 */

/* POL15: no more than maxsize are begun and not read; pulled neither. */
GEV_TEST(a_slow_reader_slows_the_source_down)
{
    for (int ordered = 0; ordered < 2; ordered++) {
        for (int maxsize = 1; maxsize <= 3; maxsize++) {
            reset();
            gev_group *p = gev_pool_new(10);
            struct source s = {.n = 20};
            gev_imap *it = gev_group_imap(p, times_ten, next_number, &s,
                                          (size_t)maxsize, ordered != 0);
            for (int read = 0; read < 20; read++) {
                expect_ok(gev_sleep(0.0005));
                int wanted = read + maxsize < 20 ? read + maxsize : 20;
                expect_int_eq(s.at, wanted);
                expect_int_eq(begun, wanted);
                expect_int_eq(gev_imap_next(it, NULL), 1);
            }
            expect_int_eq(gev_imap_next(it, NULL), 0);
            gev_imap_free(it);
            gev_group_free(p);
        }
    }
}

/* Without a limit the source is read as fast as there are slots. */
GEV_TEST(without_a_limit_nobody_waits_for_the_reader)
{
    reset();
    gev_group *p = gev_pool_new(2);
    struct source s = {.n = 20};
    gev_imap *it = gev_group_imap(p, times_ten, next_number, &s, 0, true);
    expect_ok(gev_sleep(0.001));
    expect_int_eq(ended, 20);
    expect_int_eq(gev_imap_next(it, NULL), 1);
    gev_imap_free(it);
    gev_group_free(p);
}

/* --- errors ----------------------------------------------------------------
 */

/* POL13: an item's error at its position; the next call goes on. */
GEV_TEST(an_items_error_comes_in_its_place)
{
    for (int ordered = 0; ordered < 2; ordered++) {
        reset();
        gev_group *p = gev_pool_new(1);
        struct source s = {.n = 5};
        gev_imap *it =
            gev_group_imap(p, fail_if_even, next_number, &s, 0, ordered != 0);
        for (int i = 1; i <= 5; i++) {
            void *value = P(99);
            int rc = gev_imap_next(it, &value);
            expect_int_eq(rc, i % 2 == 0 ? -1 : 1);
            expect_int_eq(rc == 1 ? N(value) : errno, i);
            expect_true(rc == 1 || N(value) == 99);
        }
        expect_int_eq(gev_imap_next(it, NULL), 0);
        gev_imap_free(it);
        gev_group_free(p);
    }
}

/* The source's comes after all results, then the end. */
GEV_TEST(the_sources_error_comes_last)
{
    for (int ordered = 0; ordered < 2; ordered++) {
        reset();
        gev_group *p = gev_group_new();
        struct source s = {.n = 2, .error = EIO};
        gev_imap *it =
            gev_group_imap(p, backwards, next_number, &s, 0, ordered != 0);
        expect_int_eq(gev_imap_next(it, NULL), 1);
        expect_int_eq(gev_imap_next(it, NULL), 1);
        expect_fail(gev_imap_next(it, NULL), EIO);
        expect_int_eq(gev_imap_next(it, NULL), 0);
        expect_int_eq(gev_imap_next(it, NULL), 0);
        gev_imap_free(it);
        gev_group_free(p);
    }
}

static int exit_in_source(void *arg, void **item)
{
    *item = arg;
    gev_exit(NULL);
}

/* However the source ends, it has an end. */
GEV_TEST(a_source_may_exit)
{
    reset();
    gev_group *p = gev_group_new();
    gev_imap *it = gev_group_imap(p, times_ten, exit_in_source, NULL, 0, true);
    expect_int_eq(gev_imap_next(it, NULL), 0);
    gev_imap_free(it);
    gev_group_free(p);
}

/* --- ends ------------------------------------------------------------------
 */

/* Early: the source and the tasks are killed, and gone. */
GEV_TEST(free_kills_and_joins_what_it_started)
{
    for (size_t maxsize = 0; maxsize < 3; maxsize++) {
        reset();
        gev_group *p = gev_pool_new(3);
        gev_greenlet *other = gev_group_spawn(p, park_forever, NULL);
        struct source s = {.n = 5};
        gev_imap *it = gev_group_imap(p, park, next_number, &s, maxsize, true);
        expect_ok(gev_sleep(0.002));
        gev_imap_free(it);
        expect_int_eq(begun, maxsize == 1 ? 1 : 2);
        expect_int_eq(ended, begun);
        expect_uint_eq(gev_group_count(p), 1); /* somebody else's */
        expect_true(gev_group_contains(p, other));
        gev_group_free(p);
    }
    reset();
    gev_group *p = gev_pool_new(3);
    struct source s = {.n = 5, .park_ms = 60000};
    gev_imap *it = gev_group_imap(p, park, next_number, &s, 0, true);
    expect_ok(gev_yield());
    gev_imap_free(it);
    expect_str_eq(trace_text(), "source killed");
    it = gev_group_imap(p, park, next_number, &s, 0, true);
    gev_imap_free(it); /* at once: its source never ran */
    gev_group_free(p);
}

static gev_imap *imap;

static void *read_and_trace(void *name)
{
    void *value = NULL;
    int rc = gev_imap_next(imap, &value);
    trace((const char *)name);
    if (rc < 0) {
        trace(gev_strerror(errno));
    } else {
        trace_number(rc == 1 ? N(value) : 0);
    }
    return NULL;
}

/* Each result goes to one reader, first come, first served. */
GEV_TEST(several_may_read)
{
    reset();
    gev_group *p = gev_pool_new(1);
    struct source s = {.n = 3, .park_ms = 2, .error = EIO};
    gev_greenlet *g[5];
    const char *const names[] = {"a", "b", "c", "d", "e"};
    imap = gev_group_imap(p, times_ten, next_number, &s, 0, true);
    for (int i = 0; i < 5; i++) {
        g[i] = gev_spawn(read_and_trace, (void *)(uintptr_t)names[i]);
    }
    expect_int_eq(gev_joinall(g, 5, GEV_FOREVER), 5);
    char wanted[80];
    (void)snprintf(wanted, sizeof(wanted), "a 10 b 20 c 30 d %s e 0",
                   gev_strerror(EIO));
    expect_str_eq(trace_text(), wanted);
    gev_unrefall(g, 5);
    gev_imap_free(imap);
    gev_group_free(p);
}

static void *kill_it(void *g)
{
    (void)gev_kill(g, 0);
    return NULL;
}

static gev_greenlet *victim;

static void *wait_and_kill(void *number)
{
    if (victim != NULL) {
        gev_greenlet *g = victim;
        victim = NULL;
        kill_it(g);
    }
    return number;
}

/* It runs when the result has been given to the reader, but before him. */
static void *spawn_a_killer(void *number)
{
    expect_ok(gev_spawn_raw(kill_it, victim));
    return number;
}

/* A killed reader has taken none: in both orders of the race. */
GEV_TEST(a_killed_reader_loses_no_result)
{
    /* The kill first: the result comes right after it. */
    reset();
    gev_group *p = gev_pool_new(1);
    struct source s = {.n = 2, .park_ms = 1};
    imap = gev_group_imap(p, wait_and_kill, next_number, &s, 0, true);
    gev_greenlet *a = gev_spawn(read_and_trace, "a");
    gev_greenlet *b = gev_spawn(read_and_trace, "b");
    victim = a;
    gev_greenlet *both[] = {a, b};
    expect_int_eq(gev_joinall(both, 2, GEV_FOREVER), 2);
    expect_str_eq(trace_text(), "a Operation canceled b 1");
    expect_int_eq(gev_imap_next(imap, NULL), 1);
    expect_int_eq(gev_imap_next(imap, NULL), 0);
    gev_unrefall(both, 2);
    gev_imap_free(imap);

    /* The result first: it is his, and the next park fails. */
    reset();
    s = (struct source){.n = 1, .park_ms = 1};
    imap = gev_group_imap(p, spawn_a_killer, next_number, &s, 0, true);
    a = gev_spawn(read_and_trace, "a");
    victim = a;
    expect_ok(gev_join(a, GEV_FOREVER));
    expect_str_eq(trace_text(), "a 1");
    expect_true(gev_killed(a));
    expect_int_eq(gev_imap_next(imap, NULL), 0);
    gev_unref(a);
    gev_imap_free(imap);
    gev_group_free(p);
}

/* C5: readers that wait get EPIPE. */
GEV_TEST(an_imap_may_be_freed_under_its_readers)
{
    reset();
    gev_group *p = gev_pool_new(1);
    struct source s = {.n = 3};
    imap = gev_group_imap(p, park, next_number, &s, 0, true);
    gev_greenlet *g[2] = {gev_spawn(read_and_trace, "a"),
                          gev_spawn(read_and_trace, "b")};
    expect_ok(gev_sleep(0.001));
    gev_imap_free(imap);
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    expect_str_eq(trace_text(), "a Broken pipe b Broken pipe");
    gev_unrefall(g, 2);
    gev_group_free(p);
}

/* Killing the group ends its imaps; and they may be freed after it. */
GEV_TEST(an_imap_ends_with_its_group)
{
    for (int freed = 0; freed < 2; freed++) {
        reset();
        gev_group *p = gev_pool_new(2);
        struct source s = {.n = 100};
        gev_imap *it = gev_group_imap(p, park, next_number, &s, 0, true);
        expect_ok(gev_sleep(0.001));
        if (freed) {
            gev_group_free(p);
        } else {
            expect_ok(gev_group_kill(p, GEV_FOREVER));
        }
        expect_int_eq(ended, 2);
        expect_int_eq(s.at, 3); /* the third waited for a slot */
        for (int i = 0; i < 4; i++) {
            /* two that ran, one that waited, and the source */
            expect_fail(gev_imap_next(it, NULL),
                        freed && i > 1 ? EPIPE : ECANCELED);
        }
        expect_int_eq(gev_imap_next(it, NULL), 0);
        gev_imap_free(it);
        if (!freed) {
            gev_group_free(p);
        }
    }
}

static void *free_imap(void *arg)
{
    gev_imap_free(imap);
    trace("freed");
    ended++;
    return arg;
}

static void free_in_defer(void *it)
{
    gev_imap_free(it);
}

static void *defer_free(void *it)
{
    expect_ok(gev_defer(free_in_defer, it));
    return NULL;
}

/* By one of its own tasks, or where nothing may park: it does not wait. */
GEV_TEST(free_waits_only_where_it_can)
{
    reset();
    gev_group *p = gev_group_new();
    struct source s = {.n = 1, .park_ms = 1};
    imap = gev_group_imap(p, free_imap, next_number, &s, 0, true);
    expect_ok(gev_sleep(0.01));
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_str_eq(trace_text(), "source killed freed");
    reset();
    s = (struct source){.n = 3};
    gev_imap *it = gev_group_imap(p, park, next_number, &s, 0, true);
    expect_ok(gev_sleep(0.001));
    gev_greenlet *g = gev_spawn(defer_free, it);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(begun, 3);
    expect_ok(gev_group_join(p, GEV_FOREVER));
    expect_int_eq(ended, 3);
    gev_unref(g);
    gev_group_free(p);
}

/* The hub ends under it. */
GEV_TEST(an_imap_lives_on_when_its_hub_is_closed)
{
    reset();
    gev_group *p = gev_pool_new(2);
    struct source s = {.n = 100};
    gev_imap *it = gev_group_imap(p, park, next_number, &s, 0, true);
    gev_imap *other = gev_group_imap(p, times_ten, next_number, &s, 1, true);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_hub_close());
    gev_imap_free(other);
    expect_fail(gev_imap_next(it, NULL), ECANCELED);
    gev_imap_free(it);
    gev_group_free(p);
    expect_int_eq(ended, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordered_results_come_in_the_sources_order),
        cmocka_unit_test(unordered_results_come_as_they_are_ready),
        cmocka_unit_test(with_one_slot_both_orders_are_the_same),
        cmocka_unit_test(an_empty_source_has_an_end),
        cmocka_unit_test(null_is_refused),
        cmocka_unit_test(the_source_takes_no_slot),
        cmocka_unit_test(a_slow_reader_slows_the_source_down),
        cmocka_unit_test(without_a_limit_nobody_waits_for_the_reader),
        cmocka_unit_test(an_items_error_comes_in_its_place),
        cmocka_unit_test(the_sources_error_comes_last),
        cmocka_unit_test(a_source_may_exit),
        cmocka_unit_test(free_kills_and_joins_what_it_started),
        cmocka_unit_test(several_may_read),
        cmocka_unit_test(a_killed_reader_loses_no_result),
        cmocka_unit_test(an_imap_may_be_freed_under_its_readers),
        cmocka_unit_test(an_imap_ends_with_its_group),
        cmocka_unit_test(free_waits_only_where_it_can),
        cmocka_unit_test(an_imap_lives_on_when_its_hub_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
