/* SPDX-License-Identifier: MIT */

/* Random use of semaphores, locks, conditions, a barrier and a read-write lock
 * against a naive model, on the virtual clock (LCK4-LCK6, C6).
 *
 * A seed makes six scripts: takes with and without timeouts, releases, waits
 * and signals, sleeps, kills, throws, scopes, shields. They run once in the
 * model (locks_model.h), once in gev; both write a log of what came of each
 * operation and when, which must be the same, as must the objects in the end:
 * so no unit, lock or signal is lost or given twice, whoever is killed or runs
 * out of time just then, and the order is that of arrival. A failure prints its
 * seed: GEV_MODEL_SEED=n runs that one alone, or GEV_MODEL_COUNT=m from there
 * on. */
#include <gev.h>

#include "base/clock.h"
#include "internal/locks_model.h"
#include "support/gev_test.h"
#include "support/trace.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* --- scripts -------------------------------------------------------------- */

static uint32_t random_state;

static int below(int n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return (int)(random_state % (uint32_t)n);
}

static int random_timeout(void)
{
    int n = below(10);

    return n < 4 ? FOREVER : n == 4 ? TRY : 1 + below(4);
}

/* Takes are frequent, and mostly followed by their release. */
static enum kind random_kind(void)
{
    static const enum kind frequent[] = {
        UNIT_TAKE, UNIT_TAKE,    UNIT_PUT,     UNIT_PUT, LOCK_TAKE,
        LOCK_TAKE, LOCK_TAKE,    RLOCK_TAKE,   RW_READ,  RW_READ,
        RW_WRITE,  COND_WAIT,    COND_WAIT,    SIGNAL,   BROADCAST,
        SLEEP,     BARRIER_WAIT, BARRIER_WAIT, SLEEP,    YIELD,
        SLEEP,     KILL,         THROW,        UNCANCEL, SCOPE_BEGIN,
        SCOPE_END, SHIELD_BEGIN, SHIELD_END,
    };
    const int n = sizeof(frequent) / sizeof(frequent[0]);

    return below(5) == 0 ? (enum kind)below(KINDS) : frequent[below(n)];
}

/* What releases it, or KINDS. */
static enum kind release_of(enum kind kind)
{
    switch (kind) {
    case LOCK_TAKE:
    case COND_WAIT:
        return LOCK_DROP;
    case RLOCK_TAKE:
        return RLOCK_DROP;
    case RW_READ:
    case RW_WRITE:
        return RW_DROP;
    default:
        return KINDS;
    }
}

static void add(struct script *s, struct op op)
{
    if (s->n < OPS) {
        s->ops[s->n++] = op;
    }
}

static void add_random(struct script *s)
{
    struct op op = {.kind = random_kind(),
                    .object = below(2),
                    .other = below(SCRIPTS),
                    .ms = random_timeout(),
                    .code = 10000 + below(3)};

    if (op.kind == SLEEP || op.kind == SCOPE_BEGIN) {
        op.ms = 1 + below(5);
    }
    if (op.kind == COND_WAIT) {
        op.other = below(LOCKS);
        if (below(8) != 0) {
            add(s, (struct op){.kind = LOCK_TAKE, .object = op.other});
        }
    }
    add(s, op);
    enum kind release = release_of(op.kind);
    if (release != KINDS && below(8) != 0) {
        if (below(2) == 0) {
            add(s, (struct op){.kind = SLEEP, .ms = 1 + below(3)});
        } else if (below(2) == 0) {
            add(s, (struct op){.kind = SIGNAL, .object = below(CONDS)});
        } else if (below(2) == 0) {
            add(s, (struct op){.kind = YIELD});
        }
        add(s,
            (struct op){.kind = release,
                        .object = op.kind == COND_WAIT ? op.other : op.object});
    }
}

/* Each begins with a yield: all have begun when the first is killed. */
static void make_scripts(unsigned seed)
{
    random_state = seed * 2654435761u + 1;
    memset(scripts, 0, sizeof(scripts));
    for (int i = 0; i < SCRIPTS; i++) {
        int n = 4 + below(OPS - 4);
        add(&scripts[i], (struct op){.kind = YIELD});
        while (scripts[i].n < n) {
            add_random(&scripts[i]);
        }
    }
}

/* --- gev ------------------------------------------------------------------ */

static struct journal real_log;
static int64_t real_start;

static struct {
    gev_greenlet *g[SCRIPTS];
    gev_timeout scopes[SCRIPTS];
    gev_semaphore semaphores[SEMAPHORES];
    gev_lock locks[LOCKS];
    gev_rlock rlock;
    gev_rwlock rwlock;
    gev_cond conds[CONDS];
    gev_barrier barrier;
} real;

static int real_ms(void)
{
    return (int)((gev__clock_now() - real_start) / GEV__MS);
}

static double seconds(int ms)
{
    return ms == FOREVER ? GEV_FOREVER : ms == TRY ? 0 : ms / 1000.0;
}

static int do_take(const struct op *op)
{
    switch (op->kind) {
    case UNIT_TAKE:
        return gev_semaphore_acquire(&real.semaphores[op->object],
                                     seconds(op->ms));
    case LOCK_TAKE:
        return gev_lock_acquire(&real.locks[op->object], seconds(op->ms));
    case RLOCK_TAKE:
        return gev_rlock_acquire(&real.rlock, seconds(op->ms));
    case RW_READ:
        return gev_rwlock_acquire_read(&real.rwlock, seconds(op->ms));
    case RW_WRITE:
        return gev_rwlock_acquire_write(&real.rwlock, seconds(op->ms));
    case COND_WAIT:
        return gev_cond_wait(&real.conds[op->object], &real.locks[op->other],
                             seconds(op->ms));
    default:
        return gev_barrier_wait(&real.barrier, seconds(op->ms));
    }
}

static int do_give(const struct op *op)
{
    switch (op->kind) {
    case UNIT_PUT:
        return gev_semaphore_release(&real.semaphores[op->object]);
    case LOCK_DROP:
        return gev_lock_release(&real.locks[op->object]);
    case RLOCK_DROP:
        return gev_rlock_release(&real.rlock);
    case RW_DROP:
        return gev_rwlock_release(&real.rwlock);
    case SIGNAL:
        gev_cond_signal(&real.conds[op->object]);
        return 0;
    case BROADCAST:
        gev_cond_broadcast(&real.conds[op->object]);
        return 0;
    case BARRIER_ABORT:
        gev_barrier_abort(&real.barrier);
        return 0;
    default:
        gev_barrier_reset(&real.barrier);
        return 0;
    }
}

static int do_op(const struct op *op, int who)
{
    switch (op->kind) {
    case SLEEP:
        return gev_sleep(op->ms / 1000.0);
    case YIELD:
        return gev_sleep(0);
    case UNIT_TAKE:
    case LOCK_TAKE:
    case RLOCK_TAKE:
    case RW_READ:
    case RW_WRITE:
    case COND_WAIT:
    case BARRIER_WAIT:
        return do_take(op);
    case KILL:
        return gev_kill(real.g[op->other], 0);
    case THROW:
        return gev_kill_error(real.g[op->other], op->code, 0);
    case UNCANCEL:
        return gev_uncancel();
    case SCOPE_BEGIN:
        return gev_timeout_begin_error(&real.scopes[who], op->ms / 1000.0,
                                       op->code);
    case SCOPE_END:
        return gev_timeout_end(&real.scopes[who]);
    case SHIELD_BEGIN:
        gev_shield_begin();
        return 0;
    case SHIELD_END:
        gev_shield_end();
        return 0;
    default:
        return do_give(op);
    }
}

static void *run_script(void *arg)
{
    int who = N(arg);

    for (int i = 0; i < scripts[who].n; i++) {
        int rc = do_op(&scripts[who].ops[i], who);
        note(&real_log, real_ms(), who, i, rc < 0 ? -errno : rc);
    }
    return NULL;
}

/* gev_timeout_end() says once more what it said: the model forgets. */
static void run_real(void)
{
    memset(&real, 0, sizeof(real));
    gev_semaphore_init(&real.semaphores[0], 1, 2);
    expect_ok(gev_barrier_init(&real.barrier, PARTIES, NULL, NULL));
    real_log.n = 0;
    real_log.closed = false;
    real_start = gev__clock_now();
    for (int i = 0; i < SCRIPTS; i++) {
        real.g[i] = gev_spawn(run_script, P(i));
    }
    expect_ok(gev_sleep(10));
    real_log.closed = true;
}

/* --- comparing ------------------------------------------------------------ */

static bool objects_agree(void)
{
    bool same = gev_rlock_locked(&real.rlock) == (rlock.holder >= 0) &&
                gev_rwlock_locked(&real.rwlock) ==
                    (rwlock.writer >= 0 || rwlock.readers > 0) &&
                gev_barrier_broken(&real.barrier) == barrier.broken &&
                gev_barrier_waiting(&real.barrier) == (unsigned)barrier.waiting;

    for (int i = 0; i < SEMAPHORES; i++) {
        same = same && gev_semaphore_value(&real.semaphores[i]) ==
                           (unsigned)semaphores[i].free;
    }
    for (int i = 0; i < LOCKS; i++) {
        same =
            same && gev_lock_locked(&real.locks[i]) == (locks[i].holder >= 0);
    }
    for (int i = 0; i < SCRIPTS; i++) {
        same = same && gev_dead(real.g[i]) == (models[i].state == DEAD);
    }
    return same;
}

static void print_entry(const char *whose, const struct journal *l, int i)
{
    if (i >= l->n) {
        print_message("  %s: nothing more\n", whose);
        return;
    }
    const struct entry *e = &l->entries[i];
    print_message("  %s: at %d ms, script %d, op %d (%s): %d\n", whose, e->ms,
                  e->who, e->op, kind_names[scripts[e->who].ops[e->op].kind],
                  e->result);
}

static void print_scripts(void)
{
    for (int i = 0; i < SCRIPTS; i++) {
        print_message("script %d:", i);
        for (int k = 0; k < scripts[i].n; k++) {
            const struct op *op = &scripts[i].ops[k];
            print_message(" %s(%d,%d,%d)", kind_names[op->kind], op->object,
                          op->other, op->ms);
        }
        print_message("\n");
    }
}

/* False, and everything printed, if the two differ. */
static bool compare(unsigned seed)
{
    int n = real_log.n > model_log.n ? real_log.n : model_log.n;
    int i = 0;

    while (i < real_log.n && i < model_log.n &&
           memcmp(&real_log.entries[i], &model_log.entries[i],
                  sizeof(struct entry)) == 0) {
        i++;
    }
    if (i == n && objects_agree()) {
        return true;
    }
    print_scripts();
    for (int k = i > 30 ? i - 30 : 0; k < i; k++) {
        print_entry("both", &real_log, k);
    }
    print_entry("gev", &real_log, i);
    print_entry("model", &model_log, i);
    expect_never("seed %u: gev and the model differ", seed);
    return false;
}

static long outcomes[KINDS][2]; /* of each kind: failed, succeeded */

static bool run_seed(unsigned seed)
{
    make_scripts(seed);
    run_model();
    run_real();
    bool same = compare(seed);
    for (int i = 0; i < real_log.n; i++) {
        const struct entry *e = &real_log.entries[i];
        outcomes[scripts[e->who].ops[e->op].kind][e->result >= 0]++;
    }
    /* what still waits goes on with its script, and fails to */
    expect_ok(gev_hub_close());
    gev_unrefall(real.g, SCRIPTS);
    return same;
}

static unsigned number_in(const char *text)
{
    return (unsigned)strtoul(text, NULL, 10);
}

/* The scripts are full of deadlocks, which are reported. */
static int silence(void)
{
    int saved = dup(2);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    (void)dup2(null, 2);
    (void)close(null);
    return saved;
}

GEV_TEST(random_scripts_agree_with_the_model)
{
    const char *seed_text = getenv("GEV_MODEL_SEED");
    const char *count_text = getenv("GEV_MODEL_COUNT");
    unsigned first = seed_text != NULL ? number_in(seed_text) : 0;
    unsigned n = seed_text != NULL ? 1 : test_scale(1) > 1 ? 300 : 5000;
    int saved = silence();

    if (count_text != NULL) {
        n = number_in(count_text);
    }
    gev__clock_set_virtual(true);
    for (unsigned seed = first; seed < first + n; seed++) {
        if (!run_seed(seed) || test_failed()) {
            break;
        }
    }
    gev__clock_set_virtual(false);
    (void)dup2(saved, 2);
    (void)close(saved);
    for (int i = 0; i < KINDS; i++) {
        print_message("%-13s %7ld succeeded %7ld failed\n", kind_names[i],
                      outcomes[i][1], outcomes[i][0]);
        expect_true(seed_text != NULL || outcomes[i][1] > (long)n / 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_scripts_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
