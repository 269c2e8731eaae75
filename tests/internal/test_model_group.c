/* SPDX-License-Identifier: MIT */

/* Random use of groups and pools against a naive model, on the virtual clock.
 *
 * Actors spawn, add, discard, queue, kill, join and wait, with random timeouts,
 * and kill each other; tasks end, fail, ignore their kill or die slowly. Beside
 * each operation the model does the same with flags and arrays: who is a member
 * of what, who waits for a slot, who has been called, in which order. Whoever
 * resumes must have been called in the model, with the same outcome and in the
 * same order, and after each step the counts must agree. At the end no slot is
 * missing. A failure prints its seed: GEV_MODEL_SEED=n runs that one alone.
 *
 * Timeouts end at half milliseconds, everything else happens at whole ones: so
 * there is never a doubt which of two came first. */
#include <gev.h>

#include "base/clock.h"
#include "support/gev_test.h"
#include "support/trace.h"

#include <stdlib.h>

enum { ACTORS = 6, GROUPS = 3, TASKS = 400, STEPS = 30, LINE = 500 };

/* What a task is for a group of the model. */
struct membership {
    bool in;
    bool killed;     /* by this group: once */
    unsigned joined; /* the youngest hears of its end first */
};

struct task {
    gev_greenlet *g; /* counted */
    int ms;
    int fail;      /* what it ends with */
    bool stubborn; /* takes its kill back */
    bool slow;     /* dies slowly */
    bool begun;
    bool dead;
    bool killed;
    struct membership of[GROUPS];
    gev_result result;
    bool has_result;
};

enum purpose { NOTHING, SLOT, END, ERROR, KILL };

struct actor {
    gev_greenlet *g;
    enum purpose waits; /* parked for that; NOTHING: called */
    int group;
    int outcome;    /* what it was called with; valid unless it waits */
    unsigned woken; /* the order in which it was called */
    int error;      /* the first failure while it waited */
    bool killing;   /* counts in killers */
};

/* A place in a line for a slot. */
struct place {
    int actor; /* or -1: */
    int task;
};

struct group {
    gev_group *p;
    size_t size;
    size_t count;
    size_t granted;
    int killers;
    struct place line[LINE];
    size_t n_line;
    struct place watchers[ACTORS]; /* in order; .task unused */
    size_t n_watchers;
};

static struct task tasks[TASKS];
static int n_tasks;
static struct actor actors[ACTORS];
static struct group groups[GROUPS];
static unsigned wakes;
static unsigned resumed;
static unsigned joins;
static unsigned seed;
static uint32_t random_state;
static long operations;
static bool alone; /* this one seed was asked for */

static unsigned below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % n;
}

/* --- the model ------------------------------------------------------------ */

static bool model_call(int a, int outcome)
{
    if (actors[a].waits == NOTHING) {
        return false;
    }
    actors[a].waits = NOTHING;
    actors[a].outcome = outcome;
    actors[a].woken = ++wakes;
    return true;
}

static void remove_place(struct place *list, size_t *n, size_t i)
{
    --*n;
    memmove(&list[i], &list[i + 1], (*n - i) * sizeof(list[0]));
}

static void model_leave_lists(int a)
{
    for (int k = 0; k < GROUPS; k++) {
        struct group *p = &groups[k];
        for (size_t i = p->n_line; i-- > 0;) {
            if (p->line[i].actor == a) {
                remove_place(p->line, &p->n_line, i);
            }
        }
        for (size_t i = p->n_watchers; i-- > 0;) {
            if (p->watchers[i].actor == a) {
                remove_place(p->watchers, &p->n_watchers, i);
            }
        }
    }
}

static void model_end(int t, int error);

static void model_kill_task(int t)
{
    if (tasks[t].dead) {
        return;
    }
    tasks[t].killed = true;
    if (!tasks[t].begun) {
        model_end(t, ECANCELED);
    }
}

static void model_kill_member(struct group *p, int t)
{
    struct membership *m = &tasks[t].of[p - groups];
    if (m->in && !m->killed) {
        m->killed = true;
        model_kill_task(t);
    }
}

static void model_kill_all(struct group *p)
{
    for (size_t i = p->n_line; i-- > 0;) {
        if (p->line[i].actor < 0) {
            tasks[p->line[i].task].dead = true; /* it will never be */
            remove_place(p->line, &p->n_line, i);
        }
    }
    for (;;) { /* in the order they joined */
        int first = -1;
        for (int t = 0; t < n_tasks; t++) {
            const struct membership *m = &tasks[t].of[p - groups];
            if (m->in && !m->killed &&
                (first < 0 || m->joined < tasks[first].of[p - groups].joined)) {
                first = t;
            }
        }
        if (first < 0) {
            return;
        }
        model_kill_member(p, first);
    }
}

static void model_join(struct group *p, int t)
{
    tasks[t].of[p - groups] = (struct membership){true, false, ++joins};
    p->count++;
    if (p->killers > 0) {
        model_kill_member(p, t);
    }
}

static void model_serve(struct group *p)
{
    while (p->count + p->granted < p->size && p->n_line > 0) {
        struct place first = p->line[0];
        remove_place(p->line, &p->n_line, 0);
        if (first.actor < 0) {
            model_join(p, first.task);
        } else if (model_call(first.actor, 0)) {
            p->granted++;
        }
    }
}

static void model_tell_of_failure(struct group *p, int error)
{
    bool wanted = false;
    for (size_t i = 0; i < p->n_watchers; i++) {
        struct actor *a = &actors[p->watchers[i].actor];
        if (a->waits == ERROR && a->error == 0) {
            a->error = error;
            a->killing = true;
            p->killers++;
            wanted = true;
        }
    }
    if (wanted) {
        model_kill_all(p);
    }
}

static void model_note_end(struct group *p, int error)
{
    if (error != 0 && error != ECANCELED) {
        model_tell_of_failure(p, error);
    }
    while (p->count + p->granted == 0 && p->n_watchers > 0) {
        int a = p->watchers[0].actor;
        remove_place(p->watchers, &p->n_watchers, 0);
        model_call(a, 0);
    }
}

static void model_leave(struct group *p, int t, int error)
{
    tasks[t].of[p - groups].in = false;
    p->count--;
    model_serve(p);
    model_note_end(p, error);
}

static void model_end(int t, int error)
{
    tasks[t].dead = true;
    for (;;) {
        int youngest = -1;
        for (int k = 0; k < GROUPS; k++) {
            const struct membership *m = tasks[t].of;
            if (m[k].in && (youngest < 0 || m[k].joined > m[youngest].joined)) {
                youngest = k;
            }
        }
        if (youngest < 0) {
            return;
        }
        model_leave(&groups[youngest], t, error);
    }
}

static void model_return_slot(struct group *p)
{
    p->granted--;
    model_serve(p);
    model_note_end(p, 0);
}

/* An actor has resumed: was it its turn, and is that what came? */
static void check_resumed(int who, int outcome)
{
    struct actor *a = &actors[who];
    model_leave_lists(who);
    if (a->waits != NOTHING) {
        if (outcome != ETIMEDOUT || gev__clock_now() / 500000 % 2 != 1) {
            expect_never("seed %u: actor %d resumed with %d, uncalled", seed,
                         who, outcome);
        }
        a->waits = NOTHING;
    } else if (outcome != a->outcome || a->woken <= resumed) {
        expect_never("seed %u: actor %d resumed with %d, not %d (call %u "
                     "after %u)",
                     seed, who, outcome, a->outcome, a->woken, resumed);
    } else {
        resumed = a->woken;
    }
}

static void check_counts(void)
{
    for (int k = 0; k < GROUPS; k++) {
        const struct group *p = &groups[k];
        size_t left =
            p->size == SIZE_MAX ? SIZE_MAX : p->size - p->count - p->granted;
        if (gev_group_count(p->p) != p->count ||
            gev_group_free_count(p->p) != left ||
            gev_group_full(p->p) != (left == 0)) {
            expect_never("seed %u: group %d has %zu members, %zu free slots, "
                         "not %zu, %zu",
                         seed, k, gev_group_count(p->p),
                         gev_group_free_count(p->p), p->count, left);
        }
    }
}

/* --- tasks ---------------------------------------------------------------- */

static void end_task(void *arg)
{
    int t = N(arg);
    model_end(t, tasks[t].killed ? ECANCELED : tasks[t].fail);
}

static void *run_task(void *arg)
{
    struct task *t = &tasks[N(arg)];
    t->begun = true;
    if (t->g == NULL) {
        t->g = gev_ref(gev_current()); /* a queued one */
    }
    expect_ok(gev_defer(end_task, arg));
    if (gev_sleep(t->ms / 1000.0) != 0) {
        if (t->stubborn) {
            t->killed = false;
            (void)gev_uncancel();
            (void)gev_sleep(0.002);
        } else if (t->slow) {
            gev_shield_begin();
            (void)gev_sleep(0.003);
            gev_shield_end();
        }
    }
    return t->fail != 0 ? gev_fail(t->fail) : NULL;
}

/* Its number, or -1. */
static int new_task(void)
{
    if (n_tasks == TASKS) {
        return -1;
    }
    tasks[n_tasks] = (struct task){
        .ms = (int)below(7),
        .fail = below(8) == 0 ? EIO : 0,
        .stubborn = below(8) == 0,
        .slow = below(6) == 0,
    };
    return n_tasks++;
}

/* One that has a handle and lives, or -1. */
static int some_task(void)
{
    for (int i = 0; i < 5 && n_tasks > 0; i++) {
        int t = (int)below((unsigned)n_tasks);
        if (tasks[t].g != NULL && !tasks[t].dead) {
            return t;
        }
    }
    return -1;
}

/* --- what actors do ------------------------------------------------------- */

/* To the next whole millisecond: there nobody's time runs out. */
static void to_whole_ms(void)
{
    int64_t rest = gev__clock_now() % GEV__MS;
    while (rest != 0 && gev_sleep((double)(GEV__MS - rest) / 1e9) != 0) {
        (void)gev_uncancel();
        rest = gev__clock_now() % GEV__MS;
    }
}

static double some_time(void)
{
    return below(5) == 0 ? 0 : below(12) / 1000.0 + 0.0005;
}

static void begin_wait(int who, int k, enum purpose purpose)
{
    actors[who].waits = purpose;
    actors[who].group = k;
    actors[who].error = 0;
    actors[who].killing = false;
}

/* Whether a slot is there without waiting, in the model. */
static bool model_take_slot(int who, struct group *p, int task)
{
    if (p->count + p->granted < p->size) {
        p->granted++;
        return true;
    }
    if (p->n_line < LINE) {
        p->line[p->n_line++] = (struct place){who, task};
    }
    return false;
}

/* A call that takes a slot has returned with rc. True: it has got one. */
static bool got_slot(int who, bool waited, int rc)
{
    if (waited) {
        check_resumed(who, rc == 0 ? 0 : errno);
    } else {
        expect_int_eq(rc, 0);
    }
    return rc == 0;
}

static void do_spawn(int who, int k)
{
    struct group *p = &groups[k];
    int t = new_task();
    gev_timeout scope;
    if (t < 0) {
        return;
    }
    begin_wait(who, k, SLOT);
    bool waited = !model_take_slot(who, p, -1);
    if (!waited) {
        actors[who].waits = NOTHING;
    }
    (void)gev_timeout_begin(&scope, 0.0005 + below(12) / 1000.0);
    tasks[t].g = gev_group_spawn(p->p, run_task, P(t));
    int error = errno;
    if (tasks[t].g != NULL) {
        gev_ref(tasks[t].g);
    }
    errno = error;
    if (got_slot(who, waited, tasks[t].g != NULL ? 0 : -1)) {
        p->granted--;
        model_join(p, t);
    } else {
        tasks[t].dead = true;
    }
    (void)gev_timeout_end(&scope);
}

static void do_add(int who, int k)
{
    struct group *p = &groups[k];
    int t = some_task();
    gev_timeout scope;
    if (t < 0 || tasks[t].of[k].in) {
        expect_true(t < 0 || gev_group_add(p->p, tasks[t].g) == 0);
        return;
    }
    begin_wait(who, k, SLOT);
    bool waited = !model_take_slot(who, p, -1);
    if (!waited) {
        actors[who].waits = NOTHING;
    }
    (void)gev_timeout_begin(&scope, 0.0005 + below(12) / 1000.0);
    if (got_slot(who, waited, gev_group_add(p->p, tasks[t].g))) {
        if (tasks[t].dead || tasks[t].of[k].in) {
            model_return_slot(p);
        } else {
            p->granted--;
            model_join(p, t);
        }
    }
    (void)gev_timeout_end(&scope);
}

static void do_queue(int k)
{
    struct group *p = &groups[k];
    int t = new_task();
    if (t < 0) {
        return;
    }
    if (model_take_slot(-1, p, t)) {
        p->granted--;
        model_join(p, t);
    }
    tasks[t].has_result = true;
    gev_result_init(&tasks[t].result);
    expect_ok(gev_group_apply_async(p->p, run_task, P(t), &tasks[t].result));
}

static void do_discard(int k)
{
    int t = some_task();
    if (t < 0) {
        return;
    }
    expect_int_eq(gev_group_contains(groups[k].p, tasks[t].g),
                  tasks[t].of[k].in);
    if (tasks[t].of[k].in) {
        model_leave(&groups[k], t, 0);
    }
    expect_ok(gev_group_discard(groups[k].p, tasks[t].g));
}

static int call_wait(enum purpose purpose, gev_group *p, double timeout)
{
    return purpose == END     ? gev_group_join(p, timeout)
           : purpose == ERROR ? gev_group_join_error(p, timeout)
                              : gev_group_kill(p, timeout);
}

/* join, join_error and kill. */
static void do_wait(int who, int k, enum purpose purpose)
{
    struct group *p = &groups[k];
    double timeout = some_time();
    begin_wait(who, k, purpose);
    if (purpose == KILL) {
        model_kill_all(p);
        p->killers += timeout > 0;
    }
    bool over = p->count + p->granted == 0;
    bool waits = !over && timeout > 0;
    if (waits) {
        p->watchers[p->n_watchers++] = (struct place){who, -1};
    } else {
        actors[who].waits = NOTHING;
    }
    int rc = call_wait(purpose, p->p, timeout);
    int outcome = rc == 0 ? 0 : errno;
    if (purpose == KILL) {
        p->killers -= timeout > 0;
    }
    p->killers -= actors[who].killing;
    if (!waits) {
        expect_int_eq(outcome, over || purpose == KILL ? 0 : ETIMEDOUT);
        return;
    }
    if (actors[who].waits == NOTHING && actors[who].outcome == 0) {
        expect_int_eq(outcome, actors[who].error);
        outcome = outcome == actors[who].error ? 0 : outcome;
    }
    check_resumed(who, outcome);
}

static void do_wait_available(int k)
{
    struct group *p = &groups[k];
    int rc = gev_group_wait_available(p->p, some_time());
    int error = errno;
    expect_int_eq(
        p->count + p->granted < p->size && rc != 0 && error == ETIMEDOUT, 0);
    expect_true(rc != 0 || p->count + p->granted < p->size);
}

static void do_kill_actor(int who)
{
    int a = (int)below(ACTORS);
    if (a != who && !gev_dead(actors[a].g)) {
        model_call(a, ECANCELED);
        expect_ok(gev_kill(actors[a].g, 0));
    }
}

static void do_kill_task(void)
{
    int t = some_task();
    if (t >= 0) {
        model_kill_task(t);
        expect_ok(gev_kill(tasks[t].g, 0));
    }
}

static void do_something(int who)
{
    int k = (int)below(GROUPS);
    unsigned what = below(16);
    if (alone) {
        print_message("operation %u, group %d\n", what, k);
    }
    switch (what) {
    case 0:
    case 1:
    case 2:
    case 3:
        do_spawn(who, k);
        break;
    case 4:
    case 5:
        do_add(who, k);
        break;
    case 6:
        do_discard(k);
        break;
    case 7:
    case 8:
        do_queue(k);
        break;
    case 9:
        do_wait(who, k, END);
        break;
    case 10:
        do_wait(who, k, ERROR);
        break;
    case 11:
        do_wait(who, k, below(2) == 0 ? KILL : END);
        break;
    case 12:
        do_wait_available(k);
        break;
    case 13:
        do_kill_actor(who);
        break;
    case 14:
        do_kill_task();
        break;
    default:
        (void)gev_sleep(below(4) / 1000.0);
        break;
    }
}

/* For a look at one seed. */
static void say_where(int who, const char *when)
{
    if (alone) {
        print_message("%.1f ms, actor %d %s:", (double)gev__clock_now() / 1e6,
                      who, when);
        for (int k = 0; k < GROUPS; k++) {
            print_message(" %zu+%zu (%zu wait)", groups[k].count,
                          groups[k].granted, groups[k].n_line);
        }
        print_message("\n");
    }
}

static void *act(void *arg)
{
    int who = N(arg);
    for (int i = 0; i < STEPS && !test_failed(); i++) {
        (void)gev_uncancel();
        to_whole_ms();
        (void)gev_uncancel();
        say_where(who, "begins");
        do_something(who);
        say_where(who, "has done it");
        check_counts();
        operations++;
    }
    return NULL;
}

/* --- a run ---------------------------------------------------------------- */

static void begin_run(void)
{
    static const size_t sizes[GROUPS] = {1, 3, SIZE_MAX};
    random_state = seed * 2654435761u + 1;
    n_tasks = 0;
    wakes = resumed = joins = 0;
    memset(actors, 0, sizeof(actors));
    memset(groups, 0, sizeof(groups));
    for (int k = 0; k < GROUPS; k++) {
        groups[k].size = sizes[k];
        groups[k].p =
            sizes[k] == SIZE_MAX ? gev_group_new() : gev_pool_new(sizes[k]);
    }
    gev_set_error_handler(ignore_error, NULL);
}

/* Everything ends, and every slot is free again. */
static void end_run(void)
{
    for (int a = 0; a < ACTORS; a++) {
        expect_ok(gev_join(actors[a].g, GEV_FOREVER));
    }
    for (int a = 0; a < ACTORS; a++) {
        gev_unref(actors[a].g); /* up to here they kill each other */
    }
    to_whole_ms();
    for (int k = 0; k < GROUPS; k++) {
        model_kill_all(&groups[k]);
        expect_ok(gev_group_kill(groups[k].p, GEV_FOREVER));
        check_counts();
        expect_uint_eq(gev_group_count(groups[k].p), 0);
        expect_uint_eq(groups[k].count + groups[k].granted, 0);
    }
    for (int k = 0; k < GROUPS; k++) {
        gev_group_free(groups[k].p);
    }
    for (int t = 0; t < n_tasks; t++) {
        if (tasks[t].has_result) {
            /* discarded ones may still run */
            int rc = gev_result_get(&tasks[t].result, NULL, GEV_FOREVER);
            expect_int_eq(rc == 0 ? 0 : errno, tasks[t].killed ? ECANCELED
                                               : !tasks[t].begun
                                                   ? ECANCELED
                                                   : tasks[t].fail);
        }
        gev_unref(tasks[t].g);
    }
}

static void run_seed(void)
{
    begin_run();
    for (int a = 0; a < ACTORS; a++) {
        actors[a].g = gev_spawn(act, P(a));
    }
    end_run();
    expect_ok(gev_hub_close());
}

GEV_TEST(random_schedules_agree_with_the_model)
{
    const char *seed_text = getenv("GEV_MODEL_SEED");
    unsigned first =
        seed_text == NULL ? 0 : (unsigned)strtoul(seed_text, NULL, 10);
    unsigned n = seed_text != NULL ? 1 : test_scale(1) > 1 ? 200 : 4000;

    alone = seed_text != NULL;
    gev__clock_set_virtual(true);
    for (seed = first; seed < first + n && !test_failed(); seed++) {
        test_note("seed %u", seed);
        run_seed();
    }
    test_note(NULL);
    gev__clock_set_virtual(false);
    print_message("%ld operations compared\n", operations);
    expect_ge(operations, n * 100); /* who is killed early does less */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_schedules_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
