/* SPDX-License-Identifier: MIT */

/* Random use of events, results, gev_wait() and gev_iwait_next() against a
 * naive model, on the virtual clock.
 *
 * Greenlets wait for random objects with random timeouts, set and clear and
 * settle them, kill and time out each other. Beside each operation the model
 * does the same with flags and arrays: who is waiting for what, who has been
 * woken by what, in which order. Whoever resumes must have been woken in the
 * model, with the same outcome, and in the same order; a timeout must come when
 * its time is over and nothing came before. A failure prints its seed:
 * GEV_MODEL_SEED=n runs that one alone. */
#include <gev.h>

#include "base/clock.h"
#include "support/gev_test.h"
#include "support/trace.h"

#include <stdlib.h>

enum { WORKERS = 7, EVENTS = 3, RESULTS = 2, OBJECTS = 5, STEPS = 40 };

/* What a worker of the model is doing. */
struct worker {
    gev_greenlet *g;
    bool waiting; /* parked, and nothing has come yet */
    bool wants[OBJECTS];
    bool got[OBJECTS]; /* of those, ready now or once */
    size_t needed;     /* so many */
    int64_t deadline;  /* GEV__NEVER: none */
    int outcome;       /* what came: 0 or an errno; valid unless waiting */
    unsigned woken;    /* the order in which it came; 0: not queued */
    int code;          /* what the result it waits for was settled with */
    bool either;       /* that, or ETIMEDOUT */
    bool killed;
};

static struct worker workers[WORKERS];
static gev_event events[EVENTS];
static gev_result results[RESULTS];
static bool is_set[OBJECTS];
static int codes[RESULTS]; /* what a result was settled with */
static unsigned wakes;
static unsigned resumed; /* the last wake whose worker has resumed */
static unsigned seed;
static uint32_t random_state;
static long operations;

static unsigned below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % n;
}

static gev_waitable *object(int i)
{
    return i < EVENTS ? GEV_WAITABLE(&events[i])
                      : GEV_WAITABLE(&results[i - EVENTS]);
}

/* --- the model ------------------------------------------------------------ */

static void model_wake(struct worker *w, int outcome)
{
    w->waiting = false;
    /* Its time is over, too: it may have been called for that just before. */
    w->either = gev__clock_now() >= w->deadline;
    w->outcome = outcome;
    w->woken = ++wakes;
}

static size_t count_got(const struct worker *w)
{
    size_t n = 0;
    for (int i = 0; i < OBJECTS; i++) {
        n += w->wants[i] && w->got[i];
    }
    return n;
}

/* Who waits for one object is a taker, served before those who observe. Within
 * each kind the order is that of coming, which `age` keeps. */
static unsigned ages;
static unsigned age[WORKERS];
static bool is_taker[WORKERS];

static void model_set(int which)
{
    if (is_set[which]) {
        return;
    }
    is_set[which] = true;
    for (int takers = 1; takers >= 0; takers--) {
        bool served[WORKERS] = {false};
        for (int round = 0; round < WORKERS; round++) {
            int oldest = -1;
            for (int i = 0; i < WORKERS; i++) {
                if (workers[i].waiting && workers[i].wants[which] &&
                    !served[i] && is_taker[i] == (takers == 1) &&
                    (oldest < 0 || age[i] < age[oldest])) {
                    oldest = i;
                }
            }
            if (oldest < 0) {
                break;
            }
            served[oldest] = true;
            workers[oldest].got[which] = true;
            workers[oldest].code = which < EVENTS ? 0 : codes[which - EVENTS];
            if (count_got(&workers[oldest]) >= workers[oldest].needed) {
                model_wake(&workers[oldest], 0);
            }
        }
    }
}

/* A worker has resumed with rc: was it its turn, and is that what came? */
static void check_resumed(struct worker *w, int outcome)
{
    if (w->waiting) {
        /* Only its own time can have come, and that not too early. */
        if (outcome != ETIMEDOUT || gev__clock_now() < w->deadline) {
            expect_never("seed %u: worker %d resumed with %d, uncalled", seed,
                         (int)(w - workers), outcome);
        }
        w->waiting = false;
        return;
    }
    if (w->either &&
        (outcome == 0 || outcome == ETIMEDOUT || outcome == w->outcome)) {
        return;
    }
    if (outcome != w->outcome || w->woken <= resumed) {
        expect_never("seed %u: worker %d resumed with %d, not %d (wake %u "
                     "after %u)",
                     seed, (int)(w - workers), outcome, w->outcome, w->woken,
                     resumed);
    }
    resumed = w->woken;
    w->woken = 0;
}

/* --- what workers do ------------------------------------------------------ */

static double random_timeout(struct worker *w)
{
    if (below(3) == 0) {
        w->deadline = GEV__NEVER;
        return GEV_FOREVER;
    }
    unsigned ms = 1 + below(9);
    w->deadline = gev__clock_now() + ms * GEV__MS;
    return ms / 1000.0;
}

static void begin_wait(struct worker *w, bool taker, size_t needed)
{
    w->needed = needed;
    w->either = false;
    w->waiting = true;
    is_taker[w - workers] = taker;
    age[w - workers] = ++ages;
}

/* One event or result. */
static void wait_for_one(struct worker *w)
{
    int which = (int)below(OBJECTS);
    int rc;

    if (is_set[which]) {
        return; /* who waits now lets those run that were woken: test_event */
    }
    memset(w->wants, 0, sizeof(w->wants));
    memset(w->got, 0, sizeof(w->got));
    w->wants[which] = true;
    double timeout = random_timeout(w);
    begin_wait(w, true, 1);
    if (which < EVENTS) {
        rc = gev_event_wait(&events[which], timeout) == 0 ? 0 : errno;
    } else {
        void *value = NULL;
        rc = gev_result_get(&results[which - EVENTS], &value, timeout) == 0
                 ? 0
                 : errno;
        int code = w->code;
        if (rc == 0) {
            expect_int_eq(N(value), code);
        } else if (rc == code && code >= 10000) {
            rc = 0; /* it failed, as it was settled */
        }
    }
    check_resumed(w, rc);
}

/* Any number of objects, with gev_wait(). */
static void wait_for_some(struct worker *w)
{
    gev_waitable *list[OBJECTS];
    size_t n = 0;
    size_t ready = 0;

    memset(w->got, 0, sizeof(w->got));
    for (int i = 0; i < OBJECTS; i++) {
        w->wants[i] = below(2) == 0;
        if (w->wants[i]) {
            list[n++] = object(i);
            w->got[i] = is_set[i];
            ready += is_set[i];
        }
    }
    size_t count = n == 0 ? 0 : 1 + below((unsigned)n);
    double timeout = random_timeout(w);
    if (ready >= count) {
        expect_int_eq(gev_wait(list, n, count, timeout), ready);
        return;
    }
    begin_wait(w, false, count);
    ssize_t rc = gev_wait(list, n, count, timeout);
    if (rc >= 0) {
        /* Killed after its time was over, it counts what comes until it runs.
         */
        expect_true(w->waiting || !w->either ? (size_t)rc == count_got(w)
                                             : (size_t)rc >= count_got(w));
        check_resumed(w, (size_t)rc >= count ? 0 : ETIMEDOUT);
    } else {
        check_resumed(w, errno);
    }
}

/* The next of several, with gev_iwait_next(). */
static void wait_for_next(struct worker *w)
{
    gev_waitable *list[OBJECTS];

    memset(w->got, 0, sizeof(w->got));
    for (int i = 0; i < OBJECTS; i++) {
        w->wants[i] = !is_set[i];
        list[i] = is_set[i] ? NULL : object(i);
    }
    gev_iwait *it = gev_iwait_new(list, OBJECTS, random_timeout(w));
    if (!expect_not_null(it)) {
        return;
    }
    if (count_got(w) == 0 && (w->wants[0] || w->wants[1] || w->wants[2] ||
                              w->wants[3] || w->wants[4])) {
        begin_wait(w, false, 1);
        gev_waitable *ready = gev_iwait_next(it);
        int rc = ready != NULL ? 0 : errno;
        bool among_them = false;
        for (int i = 0; i < OBJECTS; i++) {
            among_them |= w->got[i] && ready == object(i);
        }
        expect_true(rc != 0 || among_them);
        check_resumed(w, rc);
    }
    gev_iwait_free(it);
}

static void settle(int which)
{
    if (is_set[EVENTS + which]) {
        expect_fail(gev_result_set(&results[which], NULL), EALREADY);
        return;
    }
    codes[which] = below(2) == 0 ? (int)below(100) : 10000 + (int)below(9);
    model_set(EVENTS + which);
    expect_ok(codes[which] < 10000
                  ? gev_result_set(&results[which], P(codes[which]))
                  : gev_result_fail(&results[which], codes[which]));
}

static void renew(int which)
{
    if (gev_result_fini(&results[which]) == 0) {
        is_set[EVENTS + which] = false;
    } else {
        expect_int_eq(errno, EBUSY);
    }
}

static void kill_one(struct worker *w)
{
    if (w->killed || w->g == gev_current()) {
        return;
    }
    w->killed = true;
    if (w->waiting) {
        model_wake(w, ECANCELED);
    }
    expect_ok(gev_kill(w->g, 0));
}

static void step(struct worker *w)
{
    int which = (int)below(EVENTS);

    operations++;
    switch (below(12)) {
    case 0:
    case 1:
    case 2:
        wait_for_one(w);
        break;
    case 3:
        wait_for_some(w);
        break;
    case 4:
        wait_for_next(w);
        break;
    case 5:
    case 6:
        model_set(which);
        gev_event_set(&events[which]);
        break;
    case 7:
        is_set[which] = false;
        gev_event_clear(&events[which]);
        break;
    case 8:
        settle((int)below(RESULTS));
        break;
    case 9:
        renew((int)below(RESULTS));
        break;
    case 10:
        if (below(8) == 0) {
            kill_one(&workers[below(WORKERS)]);
        }
        break;
    default:
        (void)gev_sleep(below(6) / 1000.0);
        break;
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;

    for (int i = 0; i < STEPS && !w->killed && !test_failed(); i++) {
        step(w);
    }
    w->killed = true; /* nobody needs to */
    return NULL;
}

static void run_seed(void)
{
    random_state = seed * 2654435761u + 1;
    wakes = 0;
    resumed = 0;
    memset(workers, 0, sizeof(workers));
    memset(is_set, 0, sizeof(is_set));
    memset(events, 0, sizeof(events));
    memset(results, 0, sizeof(results));
    for (int i = 0; i < WORKERS; i++) {
        workers[i].g = gev_spawn(work, &workers[i]);
    }
    (void)gev_sleep(1);
    for (int i = 0; i < WORKERS; i++) {
        kill_one(&workers[i]);
        expect_ok(gev_join(workers[i].g, GEV_FOREVER));
        gev_unref(workers[i].g);
    }
    for (int i = 0; i < EVENTS; i++) {
        expect_ok(gev_event_fini(&events[i])); /* nobody is left there */
    }
    for (int i = 0; i < RESULTS; i++) {
        expect_ok(gev_result_fini(&results[i]));
    }
}

GEV_TEST(random_waits_agree_with_the_model)
{
    const char *text = getenv("GEV_MODEL_SEED");
    unsigned first = text != NULL ? (unsigned)strtoul(text, NULL, 10) : 0;
    unsigned n = text != NULL ? 1 : test_scale(1) > 1 ? 300 : 5000;

    gev__clock_set_virtual(true);
    for (seed = first; seed < first + n && !test_failed(); seed++) {
        run_seed();
    }
    expect_ok(gev_hub_close());
    gev__clock_set_virtual(false);
    print_message("%ld operations\n", operations);
    expect_true(text != NULL || operations > 50 * (long)n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_waits_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
