/* SPDX-License-Identifier: MIT */

/* Random schedules against a naive model.
 *
 * A seed makes eight scripts of operations: spawn, sleep, yield, join, kill,
 * throw, link, scopes, shields, waiters. They run once in gev on the virtual
 * clock, once in the model (model.h), which has a queue, some arrays, and looks
 * at everything to find the next deadline. Both write a log: when, who, which
 * operation, what came of it; the logs and the greenlets' ends must be the
 * same. A failure prints its seed: GEV_MODEL_SEED=n runs that one alone, or
 * GEV_MODEL_COUNT=m from there on.
 *
 * The model's rules: ready greenlets first in, first out; sleeps fire before
 * timeouts, and timeouts only when what was ready in that turn has run. Joiners
 * and links are served in their order, up to the first link right at the end,
 * the rest by the hub, which takes its turn in the queue; it goes behind each
 * link that runs in a greenlet, for that may take back a later one. */
#include <gev.h>

#include "base/clock.h"
#include "internal/model.h"
#include "internal/schedule.h"
#include "support/gev_test.h"
#include "support/trace.h"

#include <stdlib.h>

/* --- gev ---------------------------------------------------------------- */

struct real {
    gev_greenlet *g;
    gev_timeout scopes[SLOTS];
    bool open[SLOTS];
    gev_waiter waiter;
};

static struct real reals[SCRIPTS];
static int64_t real_start;

static int64_t real_ms(void)
{
    return (gev__clock_now() - real_start) / GEV__MS;
}

static int error_of(int rc)
{
    return rc == 0 ? 0 : errno;
}

static double seconds(int ms)
{
    return ms == 0 ? GEV_FOREVER : ms / 1000.0;
}

static void real_link(gev_greenlet *g, void *arg)
{
    (void)g;
    note(&real_log, real_ms(), N(arg) % SCRIPTS, LINKED + N(arg) / SCRIPTS, 0);
}

static void real_rawlink(gev_greenlet *g, void *arg)
{
    (void)g;
    note(&real_log, real_ms(), N(arg) % SCRIPTS, RAWLINKED + N(arg) / SCRIPTS,
         0);
}

static void *run_script(void *arg);

static int do_spawn(const struct op *op, struct real *t)
{
    if (t->g != NULL) {
        return SKIPPED;
    }
    t->g = op->kind == SPAWN
               ? gev_spawn(run_script, P(op->target))
               : gev_spawn_later(op->ms / 1000.0, run_script, P(op->target));
    return t->g != NULL ? 0 : errno;
}

/* Operations on another greenlet. */
static int do_to_target(const struct op *op, int who)
{
    struct real *t = &reals[op->target];
    int number = who * SCRIPTS + op->target; /* who linked to whom */

    if (op->kind == SPAWN || op->kind == SPAWN_LATER) {
        return do_spawn(op, t);
    }
    if (t->g == NULL) {
        return SKIPPED;
    }
    switch (op->kind) {
    case JOIN:
        return error_of(gev_join(t->g, seconds(op->ms)));
    case KILL:
        return error_of(gev_kill(t->g, 0));
    case THROW:
        return error_of(gev_throw(t->g, op->code));
    case LINK:
        return error_of(gev_link(t->g, real_link, P(number)));
    case RAWLINK:
        return error_of(gev_rawlink(t->g, real_rawlink, P(number)));
    case LINK_TO:
        return error_of(gev_link_to(t->g, gev_current(), GEV_LINK_ANY));
    default:
        return error_of(gev_unlink(t->g, real_link, P(number)));
    }
}

static int do_scope_end(struct real *r, int slot)
{
    if (!r->open[slot]) {
        return SKIPPED;
    }
    r->open[slot] = false;
    return gev_timeout_end(&r->scopes[slot]);
}

static int do_op(const struct op *op, int who)
{
    struct real *r = &reals[who];
    int slot = op->code % SLOTS;
    void *value = NULL;
    int rc;

    switch (op->kind) {
    case SLEEP:
        return error_of(gev_sleep(op->ms / 1000.0));
    case YIELD:
        return error_of(gev_yield());
    case SCOPE_BEGIN:
        rc = gev_timeout_begin_error(&r->scopes[slot], op->ms / 1000.0,
                                     op->code);
        r->open[slot] = true;
        return error_of(rc);
    case SCOPE_END:
        return do_scope_end(r, slot);
    case SHIELD_BEGIN:
        gev_shield_begin();
        return 0;
    case SHIELD_END:
        gev_shield_end();
        return 0;
    case UNCANCEL:
        return gev_uncancel();
    case GET:
        rc = gev_waiter_get(&r->waiter, &value, seconds(op->ms));
        return rc == 0 ? VALUE + N(value) : errno;
    case SWITCH:
        gev_waiter_switch(&reals[op->target].waiter, P(op->code));
        return 0;
    default:
        return do_to_target(op, who);
    }
}

static void *run_script(void *arg)
{
    int who = N(arg);
    const struct script *s = &scripts[who];

    note(&real_log, real_ms(), who, BEGUN, 0);
    for (int i = 0; i < s->n; i++) {
        int result = do_op(&s->ops[i], who);
        note(&real_log, real_ms(), who, i, result);
    }
    if (who == 0) {
        for (int i = 0; i < SLOTS; i++) {
            (void)gev_timeout_end(&reals[0].scopes[i]);
        }
    } else if (s->fail != 0) {
        (void)gev_uncancel();
        return gev_fail(s->fail);
    }
    return NULL;
}

static void run_real(void)
{
    memset(reals, 0, sizeof(reals));
    real_log.n = 0;
    real_log.closed = false;
    gev_set_error_handler(ignore_error, NULL);
    real_start = gev__clock_now();
    (void)run_script(P(0));
    expect_ok(gev_run(GEV_FOREVER));
    real_log.closed = true;
}

/* --- comparing ---------------------------------------------------------- */

static void print_entry(const char *whose, const struct journal *l, int i)
{
    if (i >= l->n) {
        print_message("  %s: nothing more\n", whose);
        return;
    }
    const struct entry *e = &l->entries[i];
    const char *what = "begins";
    if (e->what < BEGUN) {
        what = kind_names[scripts[e->who].ops[e->what].kind];
    } else if (e->what >= LINKED) {
        what = "link";
    } else if (e->what >= RAWLINKED) {
        what = "rawlink";
    }
    print_message("  %s: at %d ms, script %d, op %d (%s): %d\n", whose, e->ms,
                  e->who, e->what, what, e->result);
}

static void print_scripts(void)
{
    for (int i = 0; i < SCRIPTS; i++) {
        print_message("script %d:", i);
        for (int k = 0; k < scripts[i].n; k++) {
            const struct op *op = &scripts[i].ops[k];
            print_message(" %s(%d,%dms,%d)", kind_names[op->kind], op->target,
                          op->ms, op->code);
        }
        print_message(" end %d\n", scripts[i].fail);
    }
}

/* False, and everything printed, if the two differ. */
static bool compare(unsigned seed)
{
    int n = real_log.n > model_log.n ? real_log.n : model_log.n;
    int i = 0;

    while (i < n && i < real_log.n && i < model_log.n &&
           memcmp(&real_log.entries[i], &model_log.entries[i],
                  sizeof(struct entry)) == 0) {
        i++;
    }
    bool same = i == n;
    for (int k = 1; same && k < SCRIPTS; k++) {
        const struct model *m = &models[k];
        const gev_greenlet *g = reals[k].g;
        if ((g != NULL) != (m->state != ABSENT) ||
            (g != NULL &&
             (gev_dead(g) != (m->state == DEAD) || gev_error(g) != m->error))) {
            print_message("script %d: dead %d (model: %d), error %d (%d)\n", k,
                          g != NULL && gev_dead(g), m->state == DEAD,
                          g != NULL ? gev_error(g) : -1, m->error);
            same = false;
        }
    }
    if (!same) {
        print_scripts();
        for (int k = i > 10 ? i - 10 : 0; k < i; k++) {
            print_entry("both", &real_log, k);
        }
        print_entry("gev", &real_log, i);
        print_entry("model", &model_log, i);
        expect_never("seed %u: gev and the model differ", seed);
    }
    return same;
}

static bool run_seed(unsigned seed)
{
    make_scripts(seed);
    run_model();
    run_real();
    bool same = compare(seed);
    /* what still waits goes on with its script, and fails to */
    expect_ok(gev_hub_close());
    for (int i = 0; i < SCRIPTS; i++) {
        gev_unref(reals[i].g);
    }
    return same;
}

static unsigned number_in(const char *text)
{
    return (unsigned)strtoul(text, NULL, 10);
}

GEV_TEST(random_schedules_agree_with_the_model)
{
    const char *seed_text = getenv("GEV_MODEL_SEED");
    const char *count_text = getenv("GEV_MODEL_COUNT");
    unsigned first = seed_text != NULL ? number_in(seed_text) : 0;
    unsigned n = seed_text != NULL ? 1 : test_scale(1) > 1 ? 300 : 5000;
    long entries = 0;

    if (count_text != NULL) {
        n = number_in(count_text);
    }

    gev__clock_set_virtual(true);
    for (unsigned seed = first; seed < first + n; seed++) {
        if (!run_seed(seed) || test_failed()) {
            break;
        }
        entries += real_log.n;
    }
    gev__clock_set_virtual(false);
    print_message("%ld events compared\n", entries);
    expect_true(seed_text != NULL || entries > 10 * (long)n);
}

/* TMO11 on the virtual clock, where equal deadlines are exactly equal. */
static void *sleep_in_equal_scope(void *arg)
{
    gev_timeout t = {0};
    (void)gev_timeout_begin(&t, 0.005);
    int slept = gev_sleep(0.005);
    int next = gev_sleep(0.001) == 0 ? 0 : errno;
    bool expired = gev_timeout_end(&t);
    *(int *)arg = slept == 0 && next == ETIMEDOUT && expired;
    return NULL;
}

GEV_TEST(equal_sleep_beats_its_timeout)
{
    int right = 0;
    gev__clock_set_virtual(true);
    gev_greenlet *g = gev_spawn(sleep_in_equal_scope, &right);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_true(right);
    gev_unref(g);
    expect_ok(gev_hub_close());
    gev__clock_set_virtual(false);
}

/* T7: by deadline, in order of age among equals, in whatever order they were
 * made. */
enum { SLEEPERS = 2000, LENGTHS = 100 };

struct sleeper {
    int number;
    int ms;
};

static struct sleeper woken[SLEEPERS];
static int n_woken;

static void *sleep_and_note(void *arg)
{
    const struct sleeper *s = arg;
    if (gev_sleep(s->ms / 1000.0) == 0) {
        woken[n_woken++] = *s;
    }
    return NULL;
}

GEV_TEST(sleepers_wake_by_deadline_then_by_age)
{
    static struct sleeper sleepers[SLEEPERS];
    int wrong = 0;
    gev__clock_set_virtual(true);
    n_woken = 0;
    for (int i = 0; i < SLEEPERS; i++) {
        sleepers[i] = (struct sleeper){i, 1 + (i * 37) % LENGTHS};
        expect_ok(gev_spawn_raw(sleep_and_note, &sleepers[i]));
    }
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(n_woken, SLEEPERS);
    for (int i = 1; i < n_woken; i++) {
        const struct sleeper *a = &woken[i - 1];
        const struct sleeper *b = &woken[i];
        wrong += a->ms > b->ms || (a->ms == b->ms && a->number > b->number);
    }
    expect_int_eq(wrong, 0);
    expect_ok(gev_hub_close());
    gev__clock_set_virtual(false);
}

/* The virtual clock makes years short. */
GEV_TEST(virtual_years_pass_at_once)
{
    gev__clock_set_virtual(true);
    double start = test_now();
    int64_t begin = gev__clock_now();
    expect_ok(gev_sleep(3600.0 * 24 * 365));
    expect_ge((double)(gev__clock_now() - begin) / 1e9, 3600.0 * 24 * 365);
    expect_le(test_now() - start, test_scale(5));
    expect_ok(gev_hub_close());
    gev__clock_set_virtual(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_sleep_beats_its_timeout),
        cmocka_unit_test(sleepers_wake_by_deadline_then_by_age),
        cmocka_unit_test(virtual_years_pass_at_once),
        cmocka_unit_test(random_schedules_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
