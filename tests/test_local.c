/* SPDX-License-Identifier: MIT */

/* gev_local: values of a greenlet's own. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* A word as a value. */
#define W(text) ((void *)(uintptr_t)(text))
#define KEYS 4096 /* as many as there may be */

static gev_local key;
static gev_local other_key;

static void make_key(void (*destroy)(void *))
{
    trace_reset();
    expect_ok(gev_local_create(&key, destroy));
}

static void delete_key(void)
{
    expect_ok(gev_local_delete(key));
}

/* --- values --------------------------------------------------------------- */

static void *set_and_yield(void *arg)
{
    expect_null(gev_local_get(key)); /* nobody else's */
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_local_set(key, (char *)arg + i));
        expect_ok(gev_yield());
        expect_ptr_eq(gev_local_get(key), (char *)arg + i);
    }
    return NULL;
}

/* LOC1 */
GEV_TEST(each_greenlet_has_its_own_value)
{
    static char words[3][8];
    gev_greenlet *g[3];

    make_key(NULL);
    expect_ok(gev_local_set(key, P(1)));
    for (int i = 0; i < 3; i++) {
        g[i] = gev_spawn(set_and_yield, words[i]);
    }
    expect_int_eq(gev_joinall(g, 3, GEV_FOREVER), 3);
    expect_int_eq(N(gev_local_get(key)), 1); /* main is a greenlet too */
    gev_unrefall(g, 3);
    expect_ok(gev_local_set(key, NULL));
    expect_null(gev_local_get(key));
    delete_key();
}

static int *counter_of_this_greenlet(void)
{
    int *count = gev_local_get(key);

    if (count == NULL) {
        count = calloc(1, sizeof(*count));
        expect_ok(gev_local_set(key, count));
    }
    return count;
}

static void *count_to_three(void *arg)
{
    for (int i = 0; i < 3; i++) {
        ++*counter_of_this_greenlet();
        expect_ok(gev_yield());
    }
    expect_int_eq(*counter_of_this_greenlet(), 3);
    return arg;
}

/* LOC2: what is not there yet is NULL, and made at first touch. */
GEV_TEST(values_are_made_at_first_touch)
{
    gev_greenlet *g[2];

    make_key(free);
    for (int i = 0; i < 2; i++) {
        g[i] = gev_spawn(count_to_three, NULL);
    }
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    gev_unrefall(g, 2);
    delete_key();
}

/* Without a hub there is nothing, and asking makes none. */
static void *get_without_hub(void *arg)
{
    (void)arg;
    size_t fds = test_open_fds();
    expect_null(gev_local_get(key));
    expect_null(gev_context());
    expect_uint_eq(test_open_fds(), fds);
    return NULL;
}

static void *use_in_thread(void *arg)
{
    get_without_hub(NULL);
    expect_ok(gev_local_set(key, arg));
    expect_ptr_eq(gev_local_get(key), arg);
    expect_ok(gev_hub_close());
    return NULL;
}

/* LOC1: keys are the process's, values the greenlet's, in every thread. */
GEV_TEST(keys_are_good_in_all_threads)
{
    static char word[] = "thread";
    pthread_t thread;

    make_key(trace_call);
    expect_ok(gev_local_set(key, P(5)));
    expect_int_eq(pthread_create(&thread, NULL, use_in_thread, word), 0);
    expect_int_eq(pthread_join(thread, NULL), 0);
    expect_str_eq(trace_text(), "thread"); /* main of that thread */
    expect_int_eq(N(gev_local_get(key)), 5);
    expect_ok(gev_local_set(key, NULL));
    delete_key();
}

GEV_TEST(many_values_in_one_greenlet)
{
    static gev_local keys[KEYS];
    size_t n = 0;

    while (n < KEYS && gev_local_create(&keys[n], NULL) == 0) {
        n++;
    }
    expect_true(n >= KEYS - 1);
    gev_local one_more;
    expect_fail(gev_local_create(&one_more, NULL), EAGAIN);
    /* Backwards: the table has each size once, and collisions. */
    for (size_t i = n; i-- > 0;) {
        expect_ok(gev_local_set(keys[i], &keys[i]));
    }
    for (size_t i = 0; i < n && !test_failed(); i++) {
        expect_ptr_eq(gev_local_get(keys[i]), &keys[i]);
    }
    for (size_t i = 0; i < n; i++) {
        expect_ok(gev_local_delete(keys[i]));
    }
}

/* A greenlet that has some of many keys. */
static void *set_a_few(void *arg)
{
    const gev_local *keys = arg;

    for (size_t i = 0; i < 100; i += 33) {
        expect_ok(gev_local_set(keys[i], P(i + 1)));
    }
    for (size_t i = 0; i < 100; i++) {
        expect_int_eq(N(gev_local_get(keys[i])), i % 33 == 0 ? (int)i + 1 : 0);
    }
    return NULL;
}

GEV_TEST(few_values_of_many_keys)
{
    gev_local keys[100];

    for (size_t i = 0; i < 100; i++) {
        expect_ok(gev_local_create(&keys[i], NULL));
    }
    gev_greenlet *g = gev_spawn(set_a_few, keys);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    for (size_t i = 0; i < 100; i++) {
        expect_ok(gev_local_delete(keys[i]));
    }
}

/* --- keys ----------------------------------------------------------------- */

GEV_TEST(deleted_key_is_no_key)
{
    make_key(trace_call);
    expect_ok(gev_local_set(key, P(1)));
    delete_key();
    expect_null(gev_local_get(key));
    expect_fail(gev_local_delete(key), EINVAL);
    expect_fail(gev_local_set(key, P(2)), EINVAL);
    expect_fail(gev_local_set(key, NULL), EINVAL);
    expect_fail(gev_local_set(0, P(2)), EINVAL);
    expect_fail(gev_local_set(UINT64_MAX, P(2)), EINVAL);
    expect_fail(gev_local_delete(0), EINVAL);
    expect_fail(gev_local_create(NULL, NULL), EINVAL);
    expect_null(gev_local_get(0));
    expect_null(gev_local_get(UINT64_MAX));
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), ""); /* like pthread_key_delete */
}

/* LOC3: a key that is made anew shows nobody an old value, though it may have
 * the old one's place. */
GEV_TEST(reused_key_has_no_old_value)
{
    static char old[] = "old";

    for (int i = 0; i < 100; i++) {
        make_key(trace_call);
        expect_null(gev_local_get(key));
        expect_ok(gev_local_set(key, old));
        gev_local deleted = key;
        delete_key();
        expect_ok(gev_local_create(&key, trace_call));
        expect_true(key != deleted);
        expect_null(gev_local_get(key));
        expect_fail(gev_local_set(deleted, old), EINVAL);
        expect_null(gev_local_get(key));
        delete_key();
    }
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), "");
}

/* --- destructors ---------------------------------------------------------- */

static void *set_and_return(void *arg)
{
    expect_ok(gev_local_set(key, arg));
    return arg;
}

static void *set_and_exit(void *arg)
{
    expect_ok(gev_local_set(key, arg));
    gev_exit(arg);
}

static void *set_and_fail(void *arg)
{
    expect_ok(gev_local_set(key, arg));
    return gev_fail(EIO);
}

static void *set_and_park(void *arg)
{
    expect_ok(gev_local_set(key, arg));
    expect_fail(gev_sleep(GEV_FOREVER), ECANCELED);
    return arg;
}

static void *set_and_suspend(void *arg)
{
    expect_ok(gev_local_set(key, arg));
    expect_fail(gev_switch(gev_parent(gev_current()), NULL, NULL), ECANCELED);
    return arg;
}

static void run_to_the_end(gev_fn fn, const char *word)
{
    gev_greenlet *g = gev_spawn(fn, (void *)(uintptr_t)word);

    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
}

/* LOC3 */
GEV_TEST(values_are_destroyed_whichever_way_it_ends)
{
    make_key(trace_call);
    gev_set_error_handler(ignore_error, NULL);
    run_to_the_end(set_and_return, "return");
    run_to_the_end(set_and_exit, "exit");
    run_to_the_end(set_and_fail, "fail");
    run_to_the_end(set_and_park, "kill");
    expect_str_eq(trace_text(), "return exit fail kill");
    gev_greenlet *raw = gev_new(set_and_suspend, P(0));
    expect_ok(gev_switch(raw, W("raw"), NULL));
    gev_unref(raw);
    expect_str_eq(trace_text(), "return exit fail kill raw");
    expect_int_eq(gev_spawn_raw(set_and_return, W("handleless")), 0);
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "return exit fail kill raw handleless");
    delete_key();
}

/* LOC3: not when the handle goes, but when it ends. */
GEV_TEST(values_go_though_the_handle_lives)
{
    make_key(trace_call);
    gev_greenlet *g = gev_spawn(set_and_return, W("end"));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(trace_text(), "end");
    gev_unref(g);
    expect_str_eq(trace_text(), "end");
    delete_key();
}

static void *set_null_and_another(void *arg)
{
    static char replaced[] = "replaced";
    static char forgotten[] = "forgotten";

    expect_ok(gev_local_set(key, replaced));
    expect_ok(gev_local_set(key, arg));
    expect_ok(gev_local_set(other_key, forgotten));
    expect_ok(gev_local_set(other_key, NULL));
    return NULL;
}

GEV_TEST(null_and_replaced_values_are_not_destroyed)
{
    make_key(trace_call);
    expect_ok(gev_local_create(&other_key, trace_call));
    run_to_the_end(set_null_and_another, "last");
    expect_str_eq(trace_text(), "last");
    delete_key();
    expect_ok(gev_local_delete(other_key));
}

static void *never_runs(void *arg)
{
    expect_never("it was cancelled");
    return arg;
}

GEV_TEST(one_that_never_began_has_nothing)
{
    make_key(trace_call);
    expect_ok(gev_local_set(key, W("main's")));
    gev_greenlet *g = gev_spawn(never_runs, NULL);
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
    expect_str_eq(trace_text(), "");
    expect_ok(gev_local_set(key, NULL));
    delete_key();
}

static void trace_defer(void *word)
{
    trace(word);
    expect_str_eq(gev_local_get(key), "value"); /* still there */
}

static void *defer_and_set(void *arg)
{
    expect_ok(gev_local_set(key, W("value")));
    expect_ok(gev_defer(trace_defer, W("defer")));
    return arg;
}

GEV_TEST(destructors_run_after_defers_and_before_links)
{
    make_key(trace_call);
    gev_greenlet *g = gev_spawn(defer_and_set, NULL);
    expect_ok(gev_rawlink(g, trace_link, W("link")));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ok(gev_yield());
    expect_str_eq(trace_text(), "defer value link");
    gev_unref(g);
    delete_key();
}

static int rounds;

static void set_again(void *value)
{
    trace(value);
    if (rounds-- > 0) {
        expect_ok(gev_local_set(key, value));
        expect_ptr_eq(gev_local_get(key), value);
    }
}

GEV_TEST(values_set_by_destructors_are_destroyed_too)
{
    make_key(set_again);
    rounds = 2;
    run_to_the_end(set_and_return, "x");
    expect_str_eq(trace_text(), "x x x");
    trace_reset();
    rounds = 1000000;
    run_to_the_end(set_and_return, "y");
    expect_str_eq(trace_text(), "y y y y"); /* and no more */
    delete_key();
}

/* Sets so many others that the table grows under the round. */
static gev_local grown[20];

static void set_many(void *value)
{
    trace(value);
    for (size_t i = 0; i < 20; i++) {
        expect_ok(gev_local_set(grown[i], W("n")));
    }
}

GEV_TEST(destructor_may_set_many_others)
{
    make_key(set_many);
    for (size_t i = 0; i < 20; i++) {
        expect_ok(gev_local_create(&grown[i], trace_call));
    }
    run_to_the_end(set_and_return, "first");
    expect_str_eq(trace_text(),
                  "first n n n n n n n n n n n n n n n n n n n n");
    delete_key();
    for (size_t i = 0; i < 20; i++) {
        expect_ok(gev_local_delete(grown[i]));
    }
}

static void use_the_other(void *value)
{
    expect_str_eq(gev_local_get(other_key), "plain");
    expect_null(gev_local_get(key)); /* taken off before the call */
    trace(value);
}

static void *set_both(void *arg)
{
    expect_ok(gev_local_set(key, arg));
    expect_ok(gev_local_set(other_key, W("plain")));
    return NULL;
}

/* A value without a destructor stays to the end. */
GEV_TEST(destructor_sees_other_values)
{
    make_key(use_the_other);
    expect_ok(gev_local_create(&other_key, NULL));
    run_to_the_end(set_both, "used");
    expect_str_eq(trace_text(), "used");
    delete_key();
    expect_ok(gev_local_delete(other_key));
}

static void try_to_park(void *value)
{
    trace(value);
    expect_fail(gev_sleep(0.001), EPERM);
    expect_fail(gev_yield(), EPERM);
    expect_fail(gev_switch(gev_parent(gev_current()), NULL, NULL), EPERM);
    gev_unref(gev_spawn(trace_and_return, W("spawned")));
}

GEV_TEST(parking_in_a_destructor_is_eperm)
{
    make_key(try_to_park);
    run_to_the_end(set_and_return, "tried");
    run_to_the_end(set_and_park, "killed");
    expect_ok(gev_sleep(0.001));
    expect_str_eq(trace_text(), "tried spawned killed spawned");
    delete_key();
}

static void trace_late(void *word)
{
    trace(word);
    expect_ok(gev_local_set(key, W("again")));
}

static void defer_something(void *value)
{
    trace(value);
    if (strcmp(value, "again") != 0) {
        expect_ok(gev_defer(trace_late, W("late")));
    }
}

GEV_TEST(destructor_may_defer)
{
    make_key(defer_something);
    run_to_the_end(set_and_return, "once");
    expect_str_eq(trace_text(), "once late again");
    delete_key();
}

/* --- the hub's end, callbacks, fork --------------------------------------- */

GEV_TEST(mains_values_go_when_the_hub_is_closed)
{
    make_key(trace_call);
    expect_ok(gev_local_set(key, W("main")));
    gev_greenlet *g = gev_spawn(set_and_park, W("parked"));
    expect_ok(gev_yield());
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), "parked main");
    gev_unref(g);
    expect_null(gev_local_get(key));
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), "parked main");
    delete_key();
}

static void set_in_the_hub(void *arg)
{
    expect_null(gev_local_get(key)); /* not main's */
    expect_ok(gev_local_set(key, arg));
}

static void see_in_the_hub(void *arg)
{
    expect_str_eq(gev_local_get(key), arg);
}

GEV_TEST(callbacks_have_the_hubs_values)
{
    make_key(trace_call);
    expect_ok(gev_local_set(key, W("main")));
    expect_ok(gev_hub_post(gev_hub_get(), set_in_the_hub, W("hub")));
    expect_ok(gev_hub_post(gev_hub_get(), see_in_the_hub, W("hub")));
    expect_ok(gev_sleep(0.001));
    expect_str_eq(gev_local_get(key), "main");
    expect_ok(gev_hub_close());
    expect_str_eq(trace_text(), "main hub");
    delete_key();
}

static int status_of(pid_t pid)
{
    int status = -1;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void *fork_with_values(void *arg)
{
    int *status = arg;

    expect_ok(gev_local_set(key, W("forker")));
    pid_t pid = fork();
    if (pid == 0) {
        bool same = strcmp(gev_local_get(key), "forker") == 0;
        gev_hub_close();
        /* The others were dropped, main too; this one was closed. */
        _exit(same && strcmp(trace_text(), "forker") == 0 ? 0 : 1);
    }
    *status = status_of(pid);
    return NULL;
}

/* LOC3, OS1 */
GEV_TEST(fork_drops_the_others_values)
{
    int status = -1;

    make_key(trace_call);
    expect_ok(gev_local_set(key, W("main")));
    gev_greenlet *parked = gev_spawn(set_and_park, W("parked"));
    gev_greenlet *g = gev_spawn(fork_with_values, &status);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(status, 0);
    expect_str_eq(trace_text(), "forker");
    expect_ok(gev_kill(parked, GEV_FOREVER));
    expect_str_eq(trace_text(), "forker parked");
    gev_unref(g);
    gev_unref(parked);
    expect_ok(gev_local_set(key, NULL));
    delete_key();
}

/* --- threads -------------------------------------------------------------- */

static void *create_and_delete(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        gev_local k[8];
        for (int n = 0; n < 8; n++) {
            expect_ok(gev_local_create(&k[n], NULL));
            expect_null(gev_local_get(k[n]));
            expect_ok(gev_local_set(k[n], arg));
            expect_ptr_eq(gev_local_get(k[n]), arg);
        }
        for (int n = 0; n < 8; n++) {
            expect_ok(gev_local_delete(k[n]));
        }
    }
    expect_ok(gev_hub_close());
    return NULL;
}

GEV_TEST(threads_make_keys_at_once)
{
    pthread_t threads[4];

    for (int i = 0; i < 4; i++) {
        expect_int_eq(
            pthread_create(&threads[i], NULL, create_and_delete, P(i + 1)), 0);
    }
    for (int i = 0; i < 4; i++) {
        expect_int_eq(pthread_join(threads[i], NULL), 0);
    }
}

/* --- what is seen of them ------------------------------------------------- */

/* LOC4: a dump says how many there are. */
GEV_TEST(dump_counts_values)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (!expect_not_null(out)) {
        return;
    }
    make_key(NULL);
    expect_ok(gev_local_set(key, P(1)));
    gev_greenlet *g = gev_spawn(set_and_park, W("word"));
    expect_ok(gev_yield());
    expect_ok(gev_dump(out));
    expect_int_eq(fclose(out), 0);
    const char *line = strstr(text, "\"main\"");
    expect_true(line != NULL && strstr(line, " 1 locals\n") != NULL);
    line = strstr(text, "\"set_and_park\"");
    expect_true(line != NULL && strstr(line, " 1 locals\n") != NULL);
    free(text);
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
    delete_key();
}

/* --- against a naive model ------------------------------------------------ */

/* Keys that come and go, and what this greenlet should have under each. */
struct naive {
    gev_local key; /* 0: not made */
    gev_local deleted;
    void *value;
};

static void random_operation(struct naive *n, unsigned random)
{
    switch (random % 8) {
    case 0:
        if (n->key == 0) {
            expect_ok(gev_local_create(&n->key, NULL));
            n->value = NULL;
        }
        break;
    case 1:
        if (n->key != 0 && random % 64 < 16) {
            expect_ok(gev_local_delete(n->key));
            n->deleted = n->key;
            n->key = 0;
        }
        break;
    case 2:
        expect_null(gev_local_get(n->deleted));
        expect_fail(gev_local_set(n->deleted, n), EINVAL);
        break;
    case 3:
    case 4:
    case 5: {
        void *value = random % 64 < 8 ? NULL : P(random % 1000 + 1);
        if (n->key != 0) {
            expect_ok(gev_local_set(n->key, value));
            n->value = value;
        }
        break;
    }
    default:
        expect_ptr_eq(gev_local_get(n->key), n->key == 0 ? NULL : n->value);
        break;
    }
}

static void *run_schedule(void *arg)
{
    static struct naive naive[100];
    const unsigned seed = (unsigned)N(arg);
    uint64_t state = seed;

    memset(naive, 0, sizeof(naive));
    test_note("seed %u", seed);
    for (int i = 0; i < 5000 && !test_failed(); i++) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
        unsigned random = (unsigned)(state >> 33);
        /* Few keys in some schedules, many in others. */
        random_operation(&naive[random / 64 % (seed % 10 * 11 + 1)], random);
    }
    for (size_t i = 0; i < 100; i++) {
        if (naive[i].key != 0) {
            expect_ptr_eq(gev_local_get(naive[i].key), naive[i].value);
            expect_ok(gev_local_delete(naive[i].key));
        }
    }
    test_note(NULL);
    return NULL;
}

/* LOC1, LOC3: thousands of operations in each of many orders. */
GEV_TEST(random_operations_are_as_in_an_array)
{
    for (int seed = 1; seed <= 100 && !test_failed(); seed++) {
        gev_greenlet *g = gev_spawn(run_schedule, P(seed));
        expect_ok(gev_join(g, GEV_FOREVER));
        gev_unref(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_greenlet_has_its_own_value),
        cmocka_unit_test(values_are_made_at_first_touch),
        cmocka_unit_test(keys_are_good_in_all_threads),
        cmocka_unit_test(many_values_in_one_greenlet),
        cmocka_unit_test(few_values_of_many_keys),
        cmocka_unit_test(deleted_key_is_no_key),
        cmocka_unit_test(reused_key_has_no_old_value),
        cmocka_unit_test(values_are_destroyed_whichever_way_it_ends),
        cmocka_unit_test(values_go_though_the_handle_lives),
        cmocka_unit_test(null_and_replaced_values_are_not_destroyed),
        cmocka_unit_test(one_that_never_began_has_nothing),
        cmocka_unit_test(destructors_run_after_defers_and_before_links),
        cmocka_unit_test(values_set_by_destructors_are_destroyed_too),
        cmocka_unit_test(destructor_may_set_many_others),
        cmocka_unit_test(destructor_sees_other_values),
        cmocka_unit_test(parking_in_a_destructor_is_eperm),
        cmocka_unit_test(destructor_may_defer),
        cmocka_unit_test(mains_values_go_when_the_hub_is_closed),
        cmocka_unit_test(callbacks_have_the_hubs_values),
        cmocka_unit_test(fork_drops_the_others_values),
        cmocka_unit_test(threads_make_keys_at_once),
        cmocka_unit_test(dump_counts_values),
        cmocka_unit_test(random_operations_are_as_in_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
