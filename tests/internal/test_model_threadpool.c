/* SPDX-License-Identifier: MIT */

/* Random use of thread pools against a naive model, in real time.
 *
 * Greenlets hand jobs to several pools and to the hub's own, with and without
 * results, wait for them with random timeouts and inside scopes, change bounds,
 * join, free pools with jobs in them, and kill each other. Jobs take no time, a
 * little, or as long as a gate is shut, which a thread of its own opens now and
 * then; they give values, fail, or call the pool again.
 *
 * The model is a record for each job: how often it began and ended, and what
 * its caller or its result was told. The two must agree: a job that gave
 * something has run once, one that was cancelled never, and of the others all
 * that were taken have run by the time their pool is idle. A failure prints its
 * seed: GEV_MODEL_SEED=n runs that one alone (what is random about threads is
 * not in the seed). */
#include <gev.h>

#include "support/gate.h"
#include "support/trace.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { WORKERS = 6, POOLS = 4, STEPS = 24, POISON = 0x5a };
enum { MAX_JOBS = WORKERS * STEPS + 1, MAX_POOLS = POOLS + WORKERS * STEPS };
enum { MAX_BOUND = 4, OWN_BOUND = 10 };

/* A pool, or the hub's own. One that was freed keeps its record. */
struct pool {
    gev_threadpool *p; /* NULL: the hub's own */
    bool ending;
    int max;
    int highest;        /* max ever */
    atomic_int allowed; /* so many may run at once just now */
    atomic_int running;
    atomic_int done;
    int taken; /* jobs it took, as far as the model knows */
    int maybe; /* or perhaps not */
};

enum kind { VALUE, FAILURE, NESTED, NESTED_FAILURE, KINDS };
/* What its caller knows of a job. */
enum fate { UNKNOWN, REFUSED, RAN, CANCELLED, ABANDONED };

struct job {
    struct pool *pool;
    enum kind kind;
    int code; /* its value, or its error */
    int ms;   /* it takes so long; -1: until the gate is opened */
    atomic_int began;
    atomic_int ended;
    enum fate fate;
    gev_result *result; /* on the heap; NULL: none, or freed */
    void **value;       /* the caller's, who has left: never written to */
    bool sure;          /* it was taken: only its pool's end can cancel it */
    bool reports;       /* the error handler hears of its failure */
};

struct worker {
    gev_greenlet *g;
    bool killed;
};

static struct worker workers[WORKERS];
static struct pool pools[MAX_POOLS];
static struct pool *places[POOLS]; /* those in use; the first is the own */
static size_t n_pools;
static struct job jobs[MAX_JOBS];
static size_t n_jobs;
static struct {
    int errors;
    long codes;
} reported; /* to the error handler */
static unsigned seed;
static uint32_t random_state;
static long operations;

static sem_t gate;
static atomic_int at_gate;
static atomic_bool gate_keeper_ends;

static unsigned below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % n;
}

/* --- jobs ----------------------------------------------------------------- */

static void *keep_gate(void *arg)
{
    while (!atomic_load(&gate_keeper_ends)) {
        (void)usleep(700);
        for (int n = atomic_exchange(&at_gate, 0); n > 0; n--) {
            sem_post(&gate);
        }
    }
    return arg;
}

static void *end_as_told(void *arg)
{
    const struct job *j = arg;

    return j->kind == VALUE || j->kind == NESTED ? P(j->code)
                                                 : gev_fail(j->code);
}

/* In the pool's own thread a call is made in place, whatever its timeout. */
static void *call_again(struct job *j)
{
    gev_threadpool *p = j->code % 2 == 0 ? j->pool->p : NULL;
    void *value = NULL;

    if (gev_threadpool_apply(p, end_as_told, j, &value, 0) != 0) {
        return gev_fail(errno);
    }
    return value;
}

static void *run_job(void *arg)
{
    struct job *j = arg;
    struct pool *pool = j->pool;

    if (atomic_fetch_add(&pool->running, 1) + 1 > atomic_load(&pool->allowed)) {
        expect_never("more jobs at once than threads");
    }
    if (atomic_fetch_add(&j->began, 1) != 0) {
        expect_never("a job ran twice");
    }
    if (j->ms > 0) {
        (void)usleep((unsigned)j->ms * 1000);
    } else if (j->ms < 0) {
        atomic_fetch_add(&at_gate, 1);
        gate_take(&gate);
    }
    atomic_fetch_add(&j->ended, 1);
    atomic_fetch_sub(&pool->running, 1);
    atomic_fetch_add(&pool->done, 1);
    return j->kind >= NESTED ? call_again(j) : end_as_told(j);
}

static struct job *make_job(struct pool *pool)
{
    struct job *j = &jobs[n_jobs++];

    j->pool = pool;
    j->kind = (enum kind)below(KINDS);
    j->code = 1000 + (int)n_jobs;
    j->ms = (int)below(5) - 1;
    j->ms = j->ms > 2 ? 0 : j->ms;
    return j;
}

static bool succeeds(const struct job *j)
{
    return j->kind == VALUE || j->kind == NESTED;
}

/* What came of a job, or of the wait for it: outcome is 0 or an errno. */
static void note_end(struct job *j, int outcome, const void *value)
{
    bool own = outcome == (succeeds(j) ? 0 : j->code);

    if (own && (outcome != 0 || N(value) == j->code)) {
        j->fate = RAN;
        expect_int_eq(atomic_load(&j->ended), 1);
    } else if (outcome == ECANCELED && j->pool->ending) {
        j->fate = CANCELLED;
        expect_int_eq(atomic_load(&j->began), 0);
    } else {
        expect_never("job %d gave %d (%d)", j->code, outcome, N(value));
    }
}

/* --- pools ---------------------------------------------------------------- */

static struct pool *make_pool(bool own)
{
    struct pool *pool = &pools[n_pools++];

    pool->max = own ? OWN_BOUND : 1 + (int)below(MAX_BOUND);
    pool->highest = pool->max;
    atomic_store(&pool->allowed, pool->max);
    if (!own) {
        pool->p = gev_threadpool_new((size_t)pool->max);
        expect_not_null(pool->p);
    }
    return pool;
}

/* Only this thread hands out jobs: what is idle stays so meanwhile. */
static void check_pool(struct pool *pool)
{
    int done = atomic_load(&pool->done);
    int count = (int)gev_threadpool_count(pool->p);

    /* A thread says that a job is done just before the pool knows. */
    expect_le(count, pool->taken + pool->maybe - done + pool->highest);
    if (!pool->ending) {
        expect_ge(count, pool->taken - atomic_load(&pool->done));
    }
    expect_le(gev_threadpool_size(pool->p), pool->highest);
    expect_int_eq(gev_threadpool_max(pool->p), pool->max);
    if (count == 0) {
        atomic_store(&pool->allowed, pool->max);
    }
}

static void change_pool(struct pool *pool)
{
    int n = 1 + (int)below(MAX_BOUND + 1);

    if (below(3) == 0) {
        expect_ok(
            gev_threadpool_set_idle_time(pool->p, below(4) / 1000.0 - 0.001));
    } else if (below(3) == 0) {
        int rc = gev_threadpool_set_size(pool->p, (size_t)n - 1);
        expect_true(rc == (n - 1 > pool->max ? -1 : 0));
    } else {
        pool->max = n;
        pool->highest = n > pool->highest ? n : pool->highest;
        if (n > atomic_load(&pool->allowed)) {
            atomic_store(&pool->allowed, n);
        }
        expect_ok(gev_threadpool_set_max(pool->p, (size_t)n));
    }
}

/* Frees a pool, whatever is in it, and puts another in its place. */
static void renew_pool(unsigned place)
{
    struct pool *pool = places[place];

    if (pool->p == NULL || pool->ending) {
        return;
    }
    pool->ending = true;
    gev_threadpool_free(pool->p);
    expect_int_eq(atomic_load(&pool->running), 0);
    /* The others use it until here: they get ECANCELED. */
    places[place] = make_pool(false);
}

static double random_timeout(void)
{
    switch (below(4)) {
    case 0:
        return below(2) == 0 ? 0 : -1;
    case 1:
        return (1 + below(4)) / 1000.0;
    default:
        return GEV_FOREVER;
    }
}

static void join_pool(const struct worker *w, struct pool *pool)
{
    double timeout = random_timeout();
    size_t before = n_jobs;
    int rc = gev_threadpool_join(pool->p, timeout) == 0 ? 0 : errno;

    if (rc != 0) {
        expect_true((rc == ETIMEDOUT && timeout < GEV_FOREVER) ||
                    (rc == ECANCELED && w->killed));
        return;
    }
    for (size_t i = 0; i < before; i++) {
        const struct job *j = &jobs[i];
        if (j->pool == pool && j->fate == UNKNOWN) {
            expect_int_eq(atomic_load(&j->began), atomic_load(&j->ended));
            expect_true(pool->ending || atomic_load(&j->ended) == 1);
            expect_true(j->result == NULL || gev_result_ready(j->result));
        }
    }
}

/* --- what workers do ------------------------------------------------------ */

static void spawn_job(struct pool *pool)
{
    struct job *j = make_job(pool);

    if (below(3) > 0) {
        j->result = calloc(1, sizeof(*j->result));
    }
    pool->taken++;
    if (gev_threadpool_spawn(pool->p, run_job, j, j->result) != 0) {
        expect_true(errno == ECANCELED && pool->ending);
        pool->taken--;
        j->fate = REFUSED;
        free(j->result);
        j->result = NULL;
    } else {
        j->sure = true;
        j->reports = j->result == NULL && !succeeds(j);
    }
}

/* Reads the result of a job, and frees it: nobody touches it again. */
static void read_result(struct job *j)
{
    gev_result *result = j->result;
    void *value = NULL;
    int rc = gev_result_get(result, &value, 0) == 0 ? 0 : errno;

    if (rc != ETIMEDOUT && gev_result_fini(result) == 0) {
        note_end(j, rc, value);
        j->result = NULL;
        memset(result, POISON, sizeof(*result));
        free(result);
    }
}

static void wait_for_result(const struct worker *w, struct job *j)
{
    bool successful = succeeds(j);
    int code = j->code;
    void *value = NULL;
    double timeout = random_timeout();
    /* It may not be freed under this wait: gev_result_fini() says EBUSY. */
    int rc = gev_result_get(j->result, &value, timeout) == 0 ? 0 : errno;
    if (rc == 0 || rc == code) {
        expect_true(successful ? N(value) == code : rc == code);
    } else if (rc == ETIMEDOUT) {
        expect_true(timeout < GEV_FOREVER);
    } else {
        expect_int_eq(rc, ECANCELED);
        expect_true(w->killed || j->pool->ending);
    }
}

static void use_result(const struct worker *w)
{
    struct job *j = n_jobs == 0 ? NULL : &jobs[below((unsigned)n_jobs)];

    if (j == NULL || j->result == NULL) {
        return;
    }
    if (below(2) == 0) {
        read_result(j);
    } else {
        wait_for_result(w, j);
    }
}

/* The caller has left: what it lent is not touched any more. */
static void abandon(struct job *j, void **value)
{
    j->value = value;
    memset(value, POISON, sizeof(*value));
}

enum { SCOPE_CODE = 900 };

static void apply_job(const struct worker *w, struct pool *pool)
{
    struct job *j = make_job(pool);
    void **value = calloc(1, sizeof(*value));
    double timeout = random_timeout();
    bool scoped = below(3) == 0;
    double seconds = below(4) / 1000.0;
    bool begins = timeout > 0 && !w->killed && !(scoped && seconds <= 0);
    gev_timeout scope;

    memset(&scope, 0, sizeof(scope));
    if (scoped) {
        expect_ok(gev_timeout_begin_error(&scope, seconds, SCOPE_CODE));
    }
    /* Its scope may end while it is let in. */
    *(scoped ? &pool->maybe : &pool->taken) += begins;
    int rc = gev_threadpool_apply(pool->p, run_job, j, value, timeout) == 0
                 ? 0
                 : errno;
    bool expired = scoped && gev_timeout_end(&scope);
    if (rc == 0 || rc == j->code) {
        note_end(j, rc, *value);
        free(value);
        return;
    }
    expect_true(rc == ETIMEDOUT ? timeout < GEV_FOREVER
                : rc == SCOPE_CODE
                    ? expired
                    : rc == ECANCELED && (w->killed || pool->ending));
    if (rc == ECANCELED && !w->killed) {
        j->fate = CANCELLED; /* it was queued, or refused */
        free(value);
    } else {
        abandon(j, value);
        j->fate = begins ? ABANDONED : REFUSED;
        j->sure = begins && !scoped;
    }
}

static void kill_one(struct worker *w)
{
    if (!w->killed && w->g != gev_current()) {
        w->killed = true;
        expect_ok(gev_kill(w->g, 0));
    }
}

static void step(const struct worker *w)
{
    unsigned place = below(POOLS);
    struct pool *pool = places[place];

    operations++;
    check_pool(pool);
    switch (below(16)) {
    case 0:
        change_pool(pool);
        break;
    case 1:
        renew_pool(place);
        break;
    case 2:
        join_pool(w, pool);
        break;
    case 3:
        if (below(6) == 0) {
            kill_one(&workers[below(WORKERS)]);
        }
        break;
    case 4:
        (void)gev_sleep(below(3) / 1000.0);
        break;
    case 5:
    case 6:
        use_result(w);
        break;
    case 7:
    case 8:
    case 9:
    case 10:
        apply_job(w, pool);
        break;
    default:
        spawn_job(pool);
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

/* --- a run ---------------------------------------------------------------- */

static void note_error(gev_greenlet *g, int error, void *arg)
{
    (void)g;
    (void)arg;
    reported.errors++;
    reported.codes += error;
}

static void begin_run(void)
{
    random_state = seed * 2654435761u + 1;
    memset(workers, 0, sizeof(workers));
    memset(pools, 0, sizeof(pools));
    memset(jobs, 0, sizeof(jobs));
    memset(&reported, 0, sizeof(reported));
    n_pools = 0;
    n_jobs = 0;
    gev_set_error_handler(note_error, NULL);
    for (int i = 0; i < POOLS; i++) {
        places[i] = make_pool(i == 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        workers[i].g = gev_spawn(work, &workers[i]);
        expect_not_null(workers[i].g);
    }
}

/* All comes to its end. */
static void finish_run(void)
{
    int failed = 0;
    long codes = 0;

    for (int i = 0; i < WORKERS; i++) {
        expect_ok(gev_join(workers[i].g, GEV_FOREVER));
    }
    for (int i = 0; i < POOLS; i++) {
        expect_ok(gev_threadpool_join(places[i]->p, GEV_FOREVER));
        expect_uint_eq(gev_threadpool_count(places[i]->p), 0);
        check_pool(places[i]);
    }
    for (size_t i = 0; i < n_jobs; i++) {
        struct job *j = &jobs[i];
        bool has_run = atomic_load(&j->ended) == 1;
        if (j->result != NULL) {
            expect_true(gev_result_ready(j->result));
            read_result(j);
            expect_null(j->result);
        }
        expect_true(has_run || !j->sure || j->pool->ending);
        if (j->reports && has_run) {
            failed++;
            codes += j->code;
        }
    }
    /* A greenlet fails in their place, perhaps a little later. */
    expect_until(reported.errors >= failed);
    expect_int_eq(reported.errors, failed);
    expect_int_eq(reported.codes, codes);
}

/* The hub ends with jobs under way: nobody hears of them any more. */
static void cut_run(void)
{
    (void)gev_sleep(below(8) / 1000.0);
    for (int i = 0; i < WORKERS; i++) {
        workers[i].killed = true;
    }
    expect_ok(gev_hub_close());
}

static void check_jobs(void)
{
    for (size_t i = 0; i < n_jobs; i++) {
        struct job *j = &jobs[i];
        int began = atomic_load(&j->began);
        expect_le(began, 1);
        expect_int_eq(began, atomic_load(&j->ended));
        if (j->fate == REFUSED || j->fate == CANCELLED) {
            expect_int_eq(began, 0);
        }
        if (j->fate == RAN) {
            expect_int_eq(began, 1);
        }
        for (size_t k = 0; j->value != NULL && k < sizeof(*j->value); k++) {
            expect_int_eq(((unsigned char *)j->value)[k], POISON);
        }
        free(j->value);
        free(j->result);
    }
}

static void run_seed(void)
{
    test_note("seed %u", seed);
    begin_run();
    bool cut = below(3) == 0;
    if (cut) {
        cut_run();
    } else {
        finish_run();
    }
    for (int i = 0; i < WORKERS; i++) {
        gev_unref(workers[i].g);
    }
    for (int i = 1; i < POOLS; i++) {
        gev_threadpool_free(places[i]->p);
    }
    for (size_t i = 0; i < n_pools; i++) {
        expect_int_eq(atomic_load(&pools[i].running), 0);
    }
    expect_ok(gev_hub_close());
    check_jobs();
    test_note(NULL);
}

GEV_TEST(random_jobs_agree_with_the_model)
{
    const char *text = getenv("GEV_MODEL_SEED");
    unsigned first = text != NULL ? (unsigned)strtoul(text, NULL, 10) : 0;
    unsigned n = text != NULL ? 1 : test_scale(1) > 1 ? 15 : 120;
    pthread_t keeper;

    sem_init(&gate, 0, 0);
    atomic_store(&gate_keeper_ends, false);
    expect_int_eq(pthread_create(&keeper, NULL, keep_gate, NULL), 0);
    for (seed = first; seed < first + n && !test_failed(); seed++) {
        run_seed();
    }
    atomic_store(&gate_keeper_ends, true);
    expect_int_eq(pthread_join(keeper, NULL), 0);
    print_message("%ld operations\n", operations);
    expect_true(text != NULL || operations > 50 * (long)n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_jobs_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
