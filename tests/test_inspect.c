/* SPDX-License-Identifier: MIT */

/* Looking at greenlets from outside: who there is, who made whom, which hub's
 * they are, and whether they give the others their turn. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- who made whom, and whose they are ------------------------------------ */

static void *return_spawner(void *arg)
{
    (void)arg;
    return P(gev_spawner_id(gev_current()));
}

static void *spawn_child(void *arg)
{
    gev_greenlet *g = gev_spawn(return_spawner, arg);
    void *value = NULL;

    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_uint_eq(gev_spawner_id(g), gev_id(gev_current()));
    gev_unref(g);
    return value;
}

/* GLT27, UTL2 */
GEV_TEST(spawner_is_who_made_it)
{
    void *value = NULL;

    expect_uint_eq(gev_spawner_id(gev_current()), 0);
    gev_greenlet *g = gev_spawn(spawn_child, NULL);
    expect_uint_eq(gev_spawner_id(g), 1);
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_uint_eq((uintmax_t)N(value), gev_id(g));
    gev_unref(g);
    gev_greenlet *raw = gev_new(return_spawner, NULL);
    expect_uint_eq(gev_spawner_id(raw), 1);
    gev_unref(raw);
    expect_uint_eq(gev_spawner_id(NULL), 0);
}

static void *return_hub(void *arg)
{
    (void)arg;
    return gev_hub_of(gev_current());
}

/* GLT29 */
GEV_TEST(hub_of_a_greenlet)
{
    void *value = NULL;

    expect_ptr_eq(gev_hub_of(gev_current()), gev_hub_get());
    gev_greenlet *g = gev_spawn(return_hub, NULL);
    expect_ptr_eq(gev_hub_of(g), gev_hub_get());
    expect_ok(gev_get(g, &value, GEV_FOREVER));
    expect_ptr_eq(value, gev_hub_get());
    expect_ptr_eq(gev_hub_of(g), gev_hub_get());
    expect_ok(gev_hub_close());
    expect_null(gev_hub_of(g));
    gev_unref(g);
    expect_null(gev_hub_of(NULL));
}

/* GLT25: numbers are small, and no two of a hub are ever the same. */
GEV_TEST(ids_are_never_reused)
{
    uint64_t last = gev_id(gev_current());

    expect_uint_eq(last, 1);
    for (int i = 0; i < 100; i++) {
        gev_greenlet *g = gev_spawn(return_arg, NULL);
        expect_true(gev_id(g) > last);
        last = gev_id(g);
        expect_ok(gev_join(g, GEV_FOREVER));
        gev_unref(g);
    }
    expect_uint_eq(last, 101);
}

/* --- all there are -------------------------------------------------------- */

struct seen {
    gev_greenlet *g[16];
    size_t n;
};

static int note_greenlet(gev_greenlet *g, void *arg)
{
    struct seen *s = arg;

    if (s->n < 16) {
        s->g[s->n++] = g;
    }
    return 0;
}

static void *keep_child(void *arg)
{
    gev_greenlet **child = arg;

    *child = gev_spawn(park_forever, NULL);
    return park_forever(NULL);
}

/* UTL2 */
GEV_TEST(foreach_sees_all_in_the_order_they_were_made)
{
    gev_greenlet *grandchild = NULL;
    struct seen seen = {.n = 0};

    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *a = gev_spawn(keep_child, &grandchild);
    gev_greenlet *b = gev_spawn(return_arg, NULL);
    gev_greenlet *c = gev_new(return_arg, NULL);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_foreach(note_greenlet, &seen));
    if (expect_uint_eq(seen.n, 5)) {
        expect_ptr_eq(seen.g[0], gev_current());
        expect_ptr_eq(seen.g[1], a);
        expect_ptr_eq(seen.g[2], b); /* it has ended, and b refers to it */
        expect_ptr_eq(seen.g[3], c);
        expect_ptr_eq(seen.g[4], grandchild);
        expect_uint_eq(gev_spawner_id(seen.g[4]), gev_id(a));
    }
    gev_greenlet *const all[] = {a, b, c, grandchild};
    expect_ok(gev_killall(all, 4, GEV_FOREVER));
    gev_unrefall(all, 4);
    seen.n = 0;
    expect_ok(gev_foreach(note_greenlet, &seen));
    expect_uint_eq(seen.n, 1);
}

static int kill_and_forget(gev_greenlet *g, void *arg)
{
    gev_greenlet **handles = arg;

    if (g == gev_current()) {
        return 0;
    }
    expect_ok(gev_kill(g, GEV_FOREVER)); /* parks */
    for (int i = 0; i < 3; i++) {
        if (handles[i] == g) {
            gev_unref(g);
            handles[i] = NULL;
        }
    }
    gev_unref(gev_spawn(return_arg, NULL)); /* not seen any more */
    trace_number(gev_killed(g));
    return 0;
}

GEV_TEST(foreach_may_kill_unref_and_park)
{
    gev_greenlet *handles[3];

    trace_reset();
    for (int i = 0; i < 3; i++) {
        handles[i] = gev_spawn(park_forever, NULL);
    }
    expect_ok(gev_yield());
    expect_ok(gev_foreach(kill_and_forget, handles));
    expect_str_eq(trace_text(), "1 1 1");
    expect_null(handles[0]);
    expect_null(handles[2]);
}

static int stop_at(gev_greenlet *g, void *arg)
{
    trace_number((int)gev_id(g));
    return gev_id(g) == *(const uint64_t *)arg ? 42 : 0;
}

GEV_TEST(foreach_ends_when_told)
{
    uint64_t id = 2;

    trace_reset();
    gev_greenlet *a = gev_spawn(return_arg, NULL);
    gev_greenlet *b = gev_spawn(return_arg, NULL);
    expect_int_eq(gev_foreach(stop_at, &id), 42);
    expect_str_eq(trace_text(), "1 2");
    expect_fail(gev_foreach(NULL, NULL), EINVAL);
    expect_ok(gev_yield());
    gev_unref(a);
    gev_unref(b);
}

/* --- pace ----------------------------------------------------------------- */

/* UTL3 */
GEV_TEST(pace_says_whether_it_switched)
{
    gev_pace pace;

    expect_ok(gev_pace_begin(&pace, GEV_FOREVER));
    expect_false(gev_pace_end(&pace));
    expect_uint_eq(pace.switches, 0);
    expect_ok(gev_pace_begin(&pace, GEV_FOREVER));
    expect_ok(gev_sleep(0.001));
    expect_true(gev_pace_end(&pace));
    expect_true(pace.switches >= 2);
    expect_true(pace.turns >= 1);
    /* The hub is not needed for that, though it may have its turn. */
    pace.turns = 1;
    for (int i = 0; i < 20 && pace.turns > 0; i++) {
        expect_ok(gev_pace_begin(&pace, GEV_FOREVER));
        gev_greenlet *g = gev_spawn(return_arg, NULL);
        expect_ok(gev_join(g, GEV_FOREVER));
        gev_unref(g);
        expect_true(gev_pace_end(&pace));
    }
    expect_uint_eq(pace.turns, 0);
}

static void *spin_and_yield(void *arg)
{
    for (int i = 0; i < 2; i++) {
        test_spin((double)N(arg) / 1000);
        expect_ok(gev_yield());
    }
    return NULL;
}

/* UTL3: whoever it is that runs on and on. */
GEV_TEST(pace_finds_who_does_not_give_way)
{
    gev_pace pace;

    expect_ok(gev_pace_begin(&pace, 0.1));
    gev_greenlet *a = gev_spawn(spin_and_yield, P(1));
    gev_greenlet *b = gev_spawn(spin_and_yield, P(150));
    gev_greenlet *c = gev_spawn(spin_and_yield, P(2));
    expect_ok(gev_join(a, GEV_FOREVER));
    expect_ok(gev_join(b, GEV_FOREVER));
    expect_ok(gev_join(c, GEV_FOREVER));
    expect_false(gev_pace_end(&pace));
    expect_ge(pace.longest, 0.15);
    expect_uint_eq(pace.longest_id, gev_id(b));
    gev_unref(a);
    gev_unref(b);
    gev_unref(c);
}

static void *spin_after_sleep(void *arg)
{
    expect_ok(gev_sleep(0.005));
    test_spin((double)N(arg) / 1000);
    expect_ok(gev_sleep(0.005));
    return NULL;
}

/* UTL3: the hub's own wait is nobody's fault; what runs between two waits
 * counts. */
GEV_TEST(pace_counts_what_runs_between_two_waits)
{
    gev_pace pace;

    expect_ok(gev_pace_begin(&pace, test_scale(0.25)));
    expect_ok(gev_sleep(test_scale(0.3)));
    expect_true(gev_pace_end(&pace));
    expect_ok(gev_pace_begin(&pace, 0.1));
    gev_greenlet *g = gev_spawn(spin_after_sleep, P(150));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_false(gev_pace_end(&pace));
    expect_ge(pace.longest, 0.15);
    expect_uint_eq(pace.longest_id, gev_id(g));
    gev_unref(g);
}

/* UTL3: nested; the inner one's end ends no stretch of the outer one's. */
GEV_TEST(paces_nest)
{
    gev_pace outer;
    gev_pace inner;

    expect_ok(gev_pace_begin(&outer, GEV_FOREVER));
    test_spin(0.02);
    expect_ok(gev_pace_begin(&inner, 0.015));
    test_spin(0.01);
    expect_false(gev_pace_end(&inner)); /* no switch */
    expect_ge(inner.longest, 0.01);
    test_spin(0.02);
    expect_ok(gev_yield());
    expect_ok(gev_sleep(0.001));
    expect_true(gev_pace_end(&outer));
    expect_ge(outer.longest, 0.05);
    expect_true(inner.longest < outer.longest);
    expect_uint_eq(outer.longest_id, 1);
}

static void *leave_open(void *arg)
{
    static gev_pace pace;

    expect_ok(gev_pace_begin(&pace, 1));
    if (arg != NULL) {
        gev_exit(arg);
    }
    (void)gev_sleep(GEV_FOREVER);
    return NULL;
}

GEV_TEST(pace_left_open_is_dropped)
{
    gev_pace pace;

    gev_greenlet *a = gev_spawn(leave_open, P(1));
    expect_ok(gev_join(a, GEV_FOREVER));
    gev_greenlet *b = gev_spawn(leave_open, NULL);
    expect_ok(gev_yield());
    expect_ok(gev_kill(b, GEV_FOREVER));
    gev_greenlet *c = gev_spawn(leave_open, NULL);
    expect_ok(gev_yield());
    expect_ok(gev_pace_begin(&pace, 1)); /* main's */
    pid_t pid = fork();
    if (pid == 0) {
        /* c's is dropped with it, main's goes on. */
        bool well = gev_sleep(0.001) == 0 && gev_pace_end(&pace) &&
                    gev_sleep(0.001) == 0 && gev_hub_close() == 0;
        _exit(well ? 0 : 1);
    }
    int status = -1;
    expect_ok(gev_wait_child(pid, &status, GEV_FOREVER));
    expect_int_eq(status, 0);
    expect_ok(gev_kill(c, GEV_FOREVER));
    gev_unref(a);
    gev_unref(b);
    gev_unref(c);
    expect_ok(gev_hub_close()); /* with main's open */
}

static void begin_in_the_hub(void *arg)
{
    gev_pace pace;

    expect_fail(gev_pace_begin(&pace, 1), EPERM);
    *(bool *)arg = true;
}

static void *end_of_another(void *arg)
{
    expect_false(gev_pace_end(arg));
    return NULL;
}

GEV_TEST(pace_refuses_what_makes_no_sense)
{
    gev_pace pace;
    bool ran = false;

    expect_fail(gev_pace_begin(NULL, 1), EINVAL);
    expect_fail(gev_pace_begin(&pace, (double)NAN), EINVAL);
    expect_false(gev_pace_end(NULL));
    expect_false(gev_pace_end(&pace));
    expect_ok(gev_pace_begin(&pace, 1));
    expect_fail(gev_pace_begin(&pace, 1), EALREADY);
    gev_greenlet *g = gev_spawn(end_of_another, &pace);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_true(gev_pace_end(&pace));
    expect_false(gev_pace_end(&pace));
    expect_ok(gev_hub_post(gev_hub_get(), begin_in_the_hub, &ran));
    expect_ok(gev_sleep(0.001));
    expect_true(ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spawner_is_who_made_it),
        cmocka_unit_test(hub_of_a_greenlet),
        cmocka_unit_test(ids_are_never_reused),
        cmocka_unit_test(foreach_sees_all_in_the_order_they_were_made),
        cmocka_unit_test(foreach_may_kill_unref_and_park),
        cmocka_unit_test(foreach_ends_when_told),
        cmocka_unit_test(pace_says_whether_it_switched),
        cmocka_unit_test(pace_finds_who_does_not_give_way),
        cmocka_unit_test(pace_counts_what_runs_between_two_waits),
        cmocka_unit_test(paces_nest),
        cmocka_unit_test(pace_left_open_is_dropped),
        cmocka_unit_test(pace_refuses_what_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
