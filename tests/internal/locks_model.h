/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_LOCKS_MODEL_H
#define GEV_TEST_LOCKS_MODEL_H

/* Random scripts over locks, and the naive model that says what must come of
 * them; for test_model_locks.c. Time is in whole milliseconds. Queues are
 * arrays of the numbers of scripts; every look for a timer looks at all. */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { SCRIPTS = 6, OPS = 18, LOG_MAX = SCRIPTS * (OPS + 2) };
enum { SEMAPHORES = 2, LOCKS = 2, CONDS = 2, PARTIES = 3 };
enum { FOREVER = 0, TRY = -1, NO_TIME = -1 };

enum kind {
    SLEEP,
    YIELD,
    UNIT_TAKE,
    UNIT_PUT,
    LOCK_TAKE,
    LOCK_DROP,
    RLOCK_TAKE,
    RLOCK_DROP,
    RW_READ,
    RW_WRITE,
    RW_DROP,
    COND_WAIT,
    SIGNAL,
    BROADCAST,
    BARRIER_WAIT,
    BARRIER_ABORT,
    BARRIER_RESET,
    KILL,
    THROW,
    UNCANCEL,
    SCOPE_BEGIN,
    SCOPE_END,
    SHIELD_BEGIN,
    SHIELD_END,
    KINDS
};

static const char *const kind_names[KINDS] = {
    "sleep",         "yield",         "unit_take",  "unit_put",   "lock_take",
    "lock_drop",     "rlock_take",    "rlock_drop", "rw_read",    "rw_write",
    "rw_drop",       "cond_wait",     "signal",     "broadcast",  "barrier",
    "barrier_abort", "barrier_reset", "kill",       "throw",      "uncancel",
    "scope",         "scope_end",     "shield",     "shield_end",
};

struct op {
    enum kind kind;
    int object;
    int other; /* the lock of a condition; the target of a kill */
    int ms;    /* of timeouts: FOREVER, TRY, or how many */
    int code;  /* thrown, or a scope's */
};

struct script {
    struct op ops[OPS];
    int n;
};

static struct script scripts[SCRIPTS];

/* --- the log -------------------------------------------------------------- */

struct entry {
    int ms;
    int who;
    int op;
    int result; /* >= 0, or -errno */
};

struct journal {
    struct entry entries[LOG_MAX];
    int n;
    bool closed;
};

static struct journal model_log;

static void note(struct journal *l, int ms, int who, int op, int result)
{
    if (!l->closed && l->n < LOG_MAX) {
        l->entries[l->n++] = (struct entry){ms, who, op, result};
    }
}

/* --- what there is -------------------------------------------------------- */

struct queue {
    int who[SCRIPTS];
    int n;
};

enum state { READY, RUNNING, PARKED, DEAD };

struct model {
    enum state state;
    int next_op;
    int rc;        /* what its park returns */
    int wake_at;   /* of its sleep, or its park's timeout; NO_TIME: none */
    bool is_sleep; /* which of the two */
    int seq;
    struct queue *queue; /* where it waits, or NULL */
    bool write;          /* on the read-write lock's */
    bool moved;          /* by a signal, to the lock's queue */
    bool retaking;       /* the lock, after its wait for the signal failed */
    int failed_with;     /* that */
    int shields;
    bool killed;
    int thrown[SCRIPTS * OPS];
    int n_thrown;
    bool scope_open;
    bool scope_expired;
    int scope_at; /* NO_TIME: never */
    int scope_seq;
    int scope_code;
    int scope_shields;
};

static struct model models[SCRIPTS];
static int now;
static int seqs;

static struct {
    int free;
    int limit;
    struct queue queue;
} semaphores[SEMAPHORES];

struct model_lock {
    int holder; /* -1: free */
    int depth;  /* of an rlock, beyond the first */
    struct queue queue;
};
static struct model_lock locks[LOCKS];
static struct model_lock rlock;

static struct {
    int writer; /* -1: none */
    int readers;
    struct queue queue;
} rwlock;

static struct {
    struct queue queue;
} conds[CONDS];

static struct {
    int waiting;
    bool broken;
    struct queue queue;
} barrier;

/* --- queues --------------------------------------------------------------- */

enum { MARK = SCRIPTS, READY_MAX = 4000 };

static int ready[READY_MAX];
static int ready_head;
static int ready_tail;

static void push(int what)
{
    ready[ready_tail++ % READY_MAX] = what;
}

static void join_queue(int who, struct queue *q)
{
    q->who[q->n++] = who;
    models[who].queue = q;
}

static void leave_queue(int who)
{
    struct queue *q = models[who].queue;

    if (q == NULL) {
        return;
    }
    for (int i = 0; i < q->n; i++) {
        if (q->who[i] == who) {
            memmove(&q->who[i], &q->who[i + 1],
                    (size_t)(q->n - i - 1) * sizeof(q->who[0]));
            q->n--;
            break;
        }
    }
    models[who].queue = NULL;
}

static bool wake(int who, int rc)
{
    struct model *m = &models[who];

    if (m->state != PARKED) {
        return false;
    }
    m->state = READY;
    m->rc = rc;
    m->wake_at = NO_TIME;
    push(who);
    return true;
}

/* The first that is parked, or -1; those before it are taken off. */
static int first_parked(struct queue *q)
{
    while (q->n > 0 && models[q->who[0]].state != PARKED) {
        leave_queue(q->who[0]);
    }
    return q->n > 0 ? q->who[0] : -1;
}

/* Wakes it; who it was, or -1. */
static int wake_first(struct queue *q, int rc)
{
    int who = first_parked(q);

    if (who >= 0) {
        leave_queue(who);
        (void)wake(who, rc);
    }
    return who;
}

/* --- kills, scopes, parks ------------------------------------------------- */

/* What a park of it fails with, or 0. Uses up a thrown code. */
static int alert_of(struct model *m)
{
    if (m->shields == 0) {
        if (m->killed) {
            return -ECANCELED;
        }
        if (m->n_thrown > 0) {
            int code = m->thrown[0];
            m->n_thrown--;
            memmove(m->thrown, m->thrown + 1,
                    (size_t)m->n_thrown * sizeof(m->thrown[0]));
            return -code;
        }
    }
    if (m->scope_open && m->scope_expired && m->scope_shields >= m->shields) {
        return -m->scope_code;
    }
    return 0;
}

static void alert(int who)
{
    if (models[who].state == PARKED) {
        int rc = alert_of(&models[who]);
        if (rc < 0) {
            (void)wake(who, rc);
        }
    }
}

static void expire_scope(int who)
{
    models[who].scope_expired = true;
    alert(who);
}

/* 1: parked, else what it failed with. ms: FOREVER or how many. */
static int park(int who, struct queue *q, int ms, bool is_sleep)
{
    struct model *m = &models[who];

    if (q != NULL) {
        join_queue(who, q);
    }
    int rc = alert_of(m);
    if (rc < 0) {
        return rc;
    }
    m->is_sleep = is_sleep;
    m->wake_at = ms == FOREVER ? NO_TIME : now + ms;
    m->seq = ++seqs;
    m->state = PARKED;
    return 1;
}

/* --- the objects ---------------------------------------------------------- */

/* All below return 1 for "parked", or the result: 2 + it, or -errno. */
#define DONE(n) (2 + (n))

static int take_unit(int who, const struct op *op)
{
    if (semaphores[op->object].free > 0) {
        semaphores[op->object].free--;
        return DONE(0);
    }
    return op->ms == TRY
               ? -ETIMEDOUT
               : park(who, &semaphores[op->object].queue, op->ms, false);
}

static int put_unit(const struct op *op)
{
    if (wake_first(&semaphores[op->object].queue, 0) >= 0) {
        return DONE(0);
    }
    if (semaphores[op->object].free == semaphores[op->object].limit) {
        return -EOVERFLOW;
    }
    semaphores[op->object].free++;
    return DONE(0);
}

static int take_lock(int who, struct model_lock *l, int ms)
{
    if (l->holder < 0) {
        l->holder = who;
        l->depth = 0;
        return DONE(0);
    }
    if (l->holder == who) {
        return -EDEADLK;
    }
    return ms == TRY ? -ETIMEDOUT : park(who, &l->queue, ms, false);
}

static void pass_on(struct model_lock *l)
{
    l->holder = wake_first(&l->queue, 0);
    l->depth = 0;
}

static int drop_lock(int who, struct model_lock *l)
{
    if (l->holder != who) {
        return -EPERM;
    }
    pass_on(l);
    return DONE(0);
}

static int take_rlock(int who, int ms)
{
    if (rlock.holder == who) {
        rlock.depth++;
        return DONE(0);
    }
    return take_lock(who, &rlock, ms);
}

static int drop_rlock(int who)
{
    if (rlock.holder == who && rlock.depth > 0) {
        rlock.depth--;
        return DONE(0);
    }
    return drop_lock(who, &rlock);
}

static bool enter(int who, bool write)
{
    if (rwlock.writer >= 0 || (write && rwlock.readers > 0)) {
        return false;
    }
    if (write) {
        rwlock.writer = who;
    } else {
        rwlock.readers++;
    }
    return true;
}

static void serve(void)
{
    int who;

    while ((who = first_parked(&rwlock.queue)) >= 0 &&
           enter(who, models[who].write)) {
        leave_queue(who);
        (void)wake(who, 0);
    }
}

/* Its park on the read-write lock or the barrier has failed. */
static int fail_wait(int who, int rc);

static int take_rwlock(int who, const struct op *op)
{
    bool write = op->kind == RW_WRITE;

    if (rwlock.writer == who) {
        return -EDEADLK;
    }
    serve();
    if (rwlock.queue.n == 0 && enter(who, write)) {
        return DONE(0);
    }
    if (op->ms == TRY) {
        return -ETIMEDOUT;
    }
    models[who].write = write;
    return fail_wait(who, park(who, &rwlock.queue, op->ms, false));
}

static int drop_rwlock(int who)
{
    if (rwlock.writer >= 0 ? rwlock.writer != who : rwlock.readers == 0) {
        return -EPERM;
    }
    if (rwlock.writer == who) {
        rwlock.writer = -1;
    } else {
        rwlock.readers--;
    }
    serve();
    return DONE(0);
}

static void end_lap(bool broken)
{
    barrier.broken = broken;
    barrier.waiting = 0;
    while (wake_first(&barrier.queue, PARTIES) >= 0) {
    }
}

static int complete_lap(void)
{
    int order = 0;

    for (int i = 0; i < barrier.queue.n; i++) {
        if (models[barrier.queue.who[i]].state != PARKED) {
            end_lap(true);
            return -EPIPE;
        }
    }
    barrier.waiting = 0;
    while (wake_first(&barrier.queue, order) >= 0) {
        order++;
    }
    return DONE(order);
}

static int wait_barrier(int who, const struct op *op)
{
    if (barrier.broken) {
        return -EPIPE;
    }
    if (barrier.waiting + 1 == PARTIES) {
        return complete_lap();
    }
    if (op->ms == TRY) {
        end_lap(true);
        return -ETIMEDOUT;
    }
    barrier.waiting++;
    return fail_wait(who, park(who, &barrier.queue, op->ms, false));
}

static int fail_wait(int who, int rc)
{
    struct queue *q = models[who].queue;

    if (rc < 0) {
        leave_queue(who);
        if (q == &rwlock.queue) {
            serve();
        } else if (q == &barrier.queue) {
            end_lap(true);
        }
    }
    return rc;
}

/* --- conditions ----------------------------------------------------------- */

/* The lock again, whatever comes; then the call returns rc. */
static int retake(int who, struct model_lock *l, int rc)
{
    struct model *m = &models[who];

    m->shields++;
    int taken = take_lock(who, l, FOREVER);
    if (taken == 1) {
        m->retaking = true;
        m->failed_with = rc;
        return 1;
    }
    m->shields--;
    return rc;
}

static int wait_cond(int who, const struct op *op)
{
    struct model_lock *l = &locks[op->other];

    if (l->holder != who) {
        return -EPERM;
    }
    if (op->ms == TRY) {
        return -ETIMEDOUT;
    }
    int rc = alert_of(&models[who]);
    if (rc < 0) {
        return rc;
    }
    pass_on(l);
    return park(who, &conds[op->object].queue, op->ms, false);
}

static bool signal_one(int which)
{
    int who = first_parked(&conds[which].queue);

    if (who < 0) {
        return false;
    }
    struct model *m = &models[who];
    struct model_lock *l = &locks[scripts[who].ops[m->next_op].other];
    leave_queue(who);
    if (l->holder < 0) {
        l->holder = who;
        (void)wake(who, 0);
    } else {
        m->wake_at = NO_TIME;
        m->shields++;
        m->moved = true;
        join_queue(who, &l->queue);
    }
    return true;
}

/* --- scripts -------------------------------------------------------------- */

static int hit(int who, const struct op *op)
{
    struct model *t = &models[op->other];

    if (t->state == DEAD) {
        return DONE(0);
    }
    if (op->kind == KILL) {
        t->killed = true;
        alert(op->other);
        return op->other == who ? -ECANCELED : DONE(0);
    }
    if (op->other == who) {
        return -op->code;
    }
    t->thrown[t->n_thrown++] = op->code;
    alert(op->other);
    return DONE(0);
}

static int uncancel(struct model *m)
{
    if (m->killed) {
        m->killed = false;
        return DONE(ECANCELED);
    }
    if (m->n_thrown > 0) {
        int shields = m->shields;
        m->shields = 0;
        int code = -alert_of(m);
        m->shields = shields;
        return DONE(code);
    }
    return DONE(0);
}

static int begin_scope(int who, const struct op *op)
{
    struct model *m = &models[who];

    if (m->scope_open) {
        return -EALREADY;
    }
    m->scope_open = true;
    m->scope_expired = false;
    m->scope_at = now + op->ms;
    m->scope_seq = ++seqs;
    m->scope_code = op->code;
    m->scope_shields = m->shields;
    return DONE(0);
}

static int end_scope(struct model *m)
{
    if (m->scope_open) {
        m->scope_expired = m->scope_expired || m->scope_at <= now;
        m->scope_open = false;
    }
    return DONE(m->scope_expired); /* again and again */
}

static int yield(int who)
{
    struct model *m = &models[who];

    if (m->scope_open && !m->scope_expired && m->scope_at <= now) {
        m->scope_expired = true;
    }
    int rc = alert_of(m);
    if (rc < 0) {
        return rc;
    }
    m->state = PARKED;
    (void)wake(who, 0);
    return 1;
}

static int begin_op(int who, const struct op *op)
{
    struct model *m = &models[who];

    switch (op->kind) {
    case SLEEP:
        return park(who, NULL, op->ms, true);
    case YIELD:
        return yield(who);
    case UNIT_TAKE:
        return take_unit(who, op);
    case UNIT_PUT:
        return put_unit(op);
    case LOCK_TAKE:
        return take_lock(who, &locks[op->object], op->ms);
    case LOCK_DROP:
        return drop_lock(who, &locks[op->object]);
    case RLOCK_TAKE:
        return take_rlock(who, op->ms);
    case RLOCK_DROP:
        return drop_rlock(who);
    case RW_READ:
    case RW_WRITE:
        return take_rwlock(who, op);
    case RW_DROP:
        return drop_rwlock(who);
    case COND_WAIT:
        return wait_cond(who, op);
    case SIGNAL:
        (void)signal_one(op->object);
        return DONE(0);
    case BROADCAST:
        while (signal_one(op->object)) {
        }
        return DONE(0);
    case BARRIER_WAIT:
        return wait_barrier(who, op);
    case BARRIER_ABORT:
    case BARRIER_RESET:
        end_lap(op->kind == BARRIER_ABORT);
        return DONE(0);
    case KILL:
    case THROW:
        return hit(who, op);
    case UNCANCEL:
        return uncancel(m);
    case SCOPE_BEGIN:
        return begin_scope(who, op);
    case SCOPE_END:
        return end_scope(m);
    case SHIELD_BEGIN:
        m->shields++;
        return DONE(0);
    default:
        m->shields -= m->shields > 0;
        if (m->scope_shields > m->shields) {
            m->scope_shields = m->shields;
        }
        return DONE(0);
    }
}

/* Its park has ended: the operation's result, or 1 if it parks again. */
static int resume_op(int who, const struct op *op)
{
    struct model *m = &models[who];
    int rc = m->rc;

    if (m->moved || m->retaking) {
        m->shields--;
        rc = m->retaking ? m->failed_with : rc;
        m->moved = false;
        m->retaking = false;
    } else if (op->kind == COND_WAIT && rc < 0) {
        leave_queue(who);
        rc = retake(who, &locks[op->other], rc);
    } else if (op->kind == BARRIER_WAIT && rc == PARTIES) {
        rc = -EPIPE;
    }
    rc = rc == 1 && m->state == PARKED ? 1 : rc < 0 ? rc : DONE(rc);
    if (rc != 1) {
        (void)fail_wait(who, rc);
        leave_queue(who);
    }
    return rc;
}

/* Runs a script to its next park. */
static void step(int who)
{
    struct model *m = &models[who];
    const struct script *s = &scripts[who];
    bool parked = m->next_op >= 0;

    m->state = RUNNING;
    if (m->next_op < 0) {
        m->next_op = 0;
    }
    while (m->next_op < s->n) {
        const struct op *op = &s->ops[m->next_op];
        int rc = parked ? resume_op(who, op) : begin_op(who, op);
        parked = false;
        if (rc == 1) {
            return;
        }
        leave_queue(who);
        note(&model_log, now, who, m->next_op, rc < 0 ? rc : rc - DONE(0));
        m->next_op++;
    }
    m->scope_open = false;
    m->state = DEAD;
}

/* The first timer of a kind: whose, or -1; *ret_at is when, *ret_scope whether
 * it is a scope's. */
static int first_timer(bool sleeps, int *ret_at, bool *ret_scope)
{
    int first = -1;
    int seq = 0;

    for (int i = 0; i < SCRIPTS; i++) {
        const struct model *m = &models[i];
        if (m->wake_at != NO_TIME && m->is_sleep == sleeps &&
            (first < 0 || m->wake_at < *ret_at ||
             (m->wake_at == *ret_at && m->seq < seq))) {
            first = i;
            seq = m->seq;
            *ret_at = m->wake_at;
            *ret_scope = false;
        }
        if (!sleeps && m->scope_open && !m->scope_expired &&
            (first < 0 || m->scope_at < *ret_at ||
             (m->scope_at == *ret_at && m->scope_seq < seq))) {
            first = i;
            seq = m->scope_seq;
            *ret_at = m->scope_at;
            *ret_scope = true;
        }
    }
    return first;
}

static void fire(bool sleeps)
{
    bool scope = false;
    int at = 0;
    int who;

    while ((who = first_timer(sleeps, &at, &scope)) >= 0 && at <= now) {
        if (scope) {
            expire_scope(who);
        } else {
            (void)wake(who, sleeps ? 0 : -ETIMEDOUT);
        }
    }
}

/* Nothing is ready: on to the next deadline. False: there is none. */
static bool advance(void)
{
    bool scope = false;
    int sleep_at = 0;
    int timeout_at = 0;
    bool sleeps = first_timer(true, &sleep_at, &scope) >= 0;
    bool timeouts = first_timer(false, &timeout_at, &scope) >= 0;

    if (!sleeps && !timeouts) {
        return false;
    }
    now =
        !timeouts || (sleeps && sleep_at < timeout_at) ? sleep_at : timeout_at;
    fire(true);
    push(MARK);
    return true;
}

static void model_reset(void)
{
    memset(models, 0, sizeof(models));
    memset(semaphores, 0, sizeof(semaphores));
    memset(conds, 0, sizeof(conds));
    memset(&barrier, 0, sizeof(barrier));
    memset(&rlock, 0, sizeof(rlock));
    memset(&rwlock, 0, sizeof(rwlock));
    memset(locks, 0, sizeof(locks));
    semaphores[0].free = 1;
    semaphores[0].limit = 2;
    semaphores[1].limit = OPS * SCRIPTS + 1; /* none */
    rlock.holder = -1;
    rwlock.writer = -1;
    for (int i = 0; i < LOCKS; i++) {
        locks[i].holder = -1;
    }
    model_log.n = 0;
    now = 0;
    seqs = 0;
    ready_head = 0;
    ready_tail = 0;
}

static void run_model(void)
{
    model_reset();
    for (int i = 0; i < SCRIPTS; i++) {
        models[i].next_op = -1;
        models[i].wake_at = NO_TIME;
        push(i);
    }
    do {
        while (ready_head < ready_tail) {
            int what = ready[ready_head++ % READY_MAX];
            if (what == MARK) {
                fire(false);
            } else {
                step(what);
            }
        }
    } while (advance());
}

#endif
