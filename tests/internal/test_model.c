/* SPDX-License-Identifier: MIT */

/* Random schedules against a naive model.
 *
 * A seed makes eight scripts of operations: spawn, sleep, yield, join, kill,
 * throw, link, scopes, shields, waiters. They run once in gev on the virtual
 * clock, once in the model below, which has a queue, some arrays, and looks at
 * everything to find the next deadline. Both write a log: when, who, which
 * operation, what came of it; the logs and the greenlets' ends must be the same.
 * A failure prints its seed: GEV_MODEL_SEED=n runs that one alone.
 *
 * The model's rules are the contract's: ready greenlets first in, first out;
 * the hub's own work (links) takes its turn in the queue; sleeps fire before
 * timeouts, and timeouts only when what was ready in that turn has run. */
#include <gev.h>

#include "base/clock.h"
#include "support/gev_test.h"
#include "support/trace.h"

#include <stdlib.h>

enum { SCRIPTS = 8, OPS = 14, SLOTS = 2, LOG_MAX = 2000, QUEUE_MAX = 4000 };
enum { SKIPPED = 9999, VALUE = 10000, BEGUN = 100, RAWLINKED = 200,
       LINKED = 300 };

enum kind {
    SPAWN,
    SPAWN_LATER,
    SLEEP,
    YIELD,
    JOIN,
    KILL,
    THROW,
    LINK,
    RAWLINK,
    SCOPE_BEGIN,
    SCOPE_END,
    SHIELD_BEGIN,
    SHIELD_END,
    UNCANCEL,
    GET,
    SWITCH,
    KINDS
};

static const char *const kind_names[KINDS] = {
    "spawn", "spawn_later", "sleep",       "yield",     "join",  "kill",
    "throw", "link",        "rawlink",     "scope",     "scope_end",
    "shield", "shield_end", "uncancel",    "get",       "switch",
};

struct op {
    enum kind kind;
    int target;
    int ms;   /* 0: for ever, where that makes sense */
    int code; /* thrown, or of the scope; also the slot (mod SLOTS) */
};

struct script {
    struct op ops[OPS];
    int n;
    int fail; /* how it ends: 0, or the code it fails with */
};

static struct script scripts[SCRIPTS];

/* --- the log ----------------------------------------------------------------- */

struct entry {
    int ms;
    int who;
    int what; /* an index of an operation, BEGUN, or a link's number */
    int result;
};

struct journal {
    struct entry entries[LOG_MAX];
    int n;
    bool closed;
};

static struct journal real_log;
static struct journal model_log;

static void note(struct journal *l, int64_t ms, int who, int what, int result)
{
    if (!l->closed && l->n < LOG_MAX) {
        l->entries[l->n++] = (struct entry){(int)ms, who, what, result};
    }
}

/* --- scripts ------------------------------------------------------------------ */

static uint64_t random_state;

static int random_below(int n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (int)((random_state >> 11) % (uint64_t)n);
}

/* main (script 0) is nobody's target, and never waits for ever: it would be
 * told of a deadlock. */
static struct op random_op(int who)
{
    struct op op = {
        .kind = (enum kind)random_below(KINDS),
        .target = 1 + random_below(SCRIPTS - 1),
        .ms = random_below(5),
        .code = 1000 + random_below(6),
    };
    if (random_below(4) == 0) {
        op.kind = random_below(2) == 0 ? SPAWN : SLEEP;
    }
    if (op.ms == 0 && (who == 0 || op.kind == SLEEP || op.kind == SPAWN_LATER)) {
        op.ms = 1;
    }
    return op;
}

static void make_scripts(unsigned seed)
{
    random_state = UINT64_C(0x9e3779b97f4a7c15) * (seed + 1) | 1;
    for (int i = 0; i < 20; i++) {
        (void)random_below(2);
    }
    for (int i = 0; i < SCRIPTS; i++) {
        scripts[i].n = 3 + random_below(OPS - 3);
        scripts[i].fail = random_below(5) == 0 ? 1100 + i : 0;
        for (int k = 0; k < scripts[i].n; k++) {
            scripts[i].ops[k] = random_op(i);
        }
    }
    scripts[0].ops[0] = (struct op){.kind = SPAWN, .target = 1};
    scripts[0].ops[1] = (struct op){.kind = SPAWN, .target = 2};
}

/* --- gev ---------------------------------------------------------------------- */

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
    default:
        return error_of(gev_rawlink(t->g, real_rawlink, P(number)));
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

/* --- the model ----------------------------------------------------------------- */

struct model_timer {
    bool armed;
    bool timeout; /* else it is a sleep */
    int64_t deadline;
    int seq;
};

struct model_scope {
    bool open;
    bool expired;
    int code;
    int shields;
    struct model_timer timer;
};

struct model_link {
    enum { JOINER, LINKER, RAWLINKER } kind;
    int number;
};

enum state { ABSENT, DELAYED, READY, PARKED, RUNNING, DEAD };

struct model {
    enum state state;
    bool begun;
    bool killed;
    bool ended_listed;
    int error;
    int pc;
    bool resumed; /* the operation at pc has parked and is to be finished */
    int wake;
    int throws[OPS * SCRIPTS];
    int n_throws;
    int shields;
    struct model_scope scopes[SLOTS];
    struct model_timer timer;
    struct model_link links[OPS * SCRIPTS * 2];
    int n_links;
    bool full; /* its waiter */
    int value;
};

static struct model models[SCRIPTS];
static int64_t model_now;
static int model_seq;

/* The ready queue: greenlets, links' greenlets (their number + SCRIPTS), and
 * these two. */
enum { HUB = -1, MARK = -2 };
static int queue[QUEUE_MAX];
static int queue_head;
static int queue_tail;
static bool kicked;
static int ended[QUEUE_MAX];
static int n_ended;

static void push(int what)
{
    if (queue_tail < QUEUE_MAX) {
        queue[queue_tail++] = what;
    }
}

static void kick(void)
{
    if (!kicked) {
        kicked = true;
        push(HUB);
    }
}

static bool wake(int who, int rc)
{
    struct model *m = &models[who];

    if (m->state != PARKED) {
        return false;
    }
    m->state = READY;
    m->wake = rc;
    push(who);
    return true;
}

static struct model_scope *expired_scope(struct model *m)
{
    struct model_scope *first = NULL;

    for (int i = 0; i < SLOTS; i++) {
        struct model_scope *s = &m->scopes[i];
        if (s->open && s->expired && s->shields >= m->shields &&
            (first == NULL || s->timer.deadline < first->timer.deadline ||
             (s->timer.deadline == first->timer.deadline &&
              s->timer.seq < first->timer.seq))) {
            first = s;
        }
    }
    return first;
}

/* Why a park of m fails now; uses up a thrown code. */
static int pending(struct model *m)
{
    if (m->shields == 0 && m->killed) {
        return ECANCELED;
    }
    if (m->shields == 0 && m->n_throws > 0) {
        int code = m->throws[0];
        m->n_throws--;
        memmove(m->throws, m->throws + 1,
                (size_t)m->n_throws * sizeof(m->throws[0]));
        return code;
    }
    struct model_scope *s = expired_scope(m);
    return s == NULL ? 0 : s->code;
}

static void alert(int who)
{
    if (models[who].state == PARKED) {
        int error = pending(&models[who]);
        if (error != 0) {
            (void)wake(who, error);
        }
    }
}

static void list_ended(int who)
{
    if (!models[who].ended_listed) {
        models[who].ended_listed = true;
        ended[n_ended++] = who;
        kick();
    }
}

static void end(int who, int error)
{
    struct model *m = &models[who];

    m->state = DEAD;
    m->error = error;
    m->timer.armed = false;
    for (int i = 0; i < SLOTS; i++) {
        m->scopes[i].open = false;
        m->scopes[i].timer.armed = false;
    }
    list_ended(who);
}

static void arm(struct model_timer *t, bool timeout, int ms)
{
    *t = (struct model_timer){.armed = true,
                              .timeout = timeout,
                              .deadline = model_now + ms,
                              .seq = model_seq++};
}

/* Begins a park: 0, or the error it fails with at once. */
static int park(struct model *m, bool timeout, int ms)
{
    int error = pending(m);

    if (error == 0) {
        if (ms > 0) {
            arm(&m->timer, timeout, ms);
        }
        m->state = PARKED;
    }
    return error;
}

static int model_kill(int who, int target, int code)
{
    struct model *t = &models[target];

    if (t->state == ABSENT) {
        return SKIPPED;
    }
    if (target == who) {
        t->killed = t->killed || code == ECANCELED;
        return code;
    }
    if (t->state == DEAD) {
        return code == ECANCELED ? 0 : ESRCH;
    }
    if (!t->begun) {
        end(target, code);
        return 0;
    }
    if (code == ECANCELED) {
        t->killed = true;
    } else {
        t->throws[t->n_throws++] = code;
    }
    alert(target);
    return 0;
}

static int model_link(int who, const struct op *op)
{
    struct model *t = &models[op->target];

    if (t->state == ABSENT) {
        return SKIPPED;
    }
    t->links[t->n_links].kind = op->kind == LINK ? LINKER : RAWLINKER;
    t->links[t->n_links++].number = who * SCRIPTS + op->target;
    if (t->state == DEAD) {
        list_ended(op->target);
    }
    return 0;
}

static int model_spawn(const struct op *op)
{
    struct model *t = &models[op->target];

    if (t->state != ABSENT) {
        return SKIPPED;
    }
    if (op->kind == SPAWN) {
        t->state = READY;
        push(op->target);
    } else {
        t->state = DELAYED;
        arm(&t->timer, false, op->ms);
    }
    return 0;
}

static int model_join(int who, const struct op *op)
{
    struct model *t = &models[op->target];

    if (t->state == ABSENT) {
        return SKIPPED;
    }
    if (op->target == who) {
        return EDEADLK;
    }
    if (t->state == DEAD) {
        return 0;
    }
    int error = park(&models[who], true, op->ms);
    if (error == 0) {
        t->links[t->n_links].kind = JOINER;
        t->links[t->n_links++].number = who;
    }
    return error;
}

static void leave_join(int who, int target)
{
    struct model *t = &models[target];

    for (int i = 0; i < t->n_links; i++) {
        if (t->links[i].kind == JOINER && t->links[i].number == who) {
            t->n_links--;
            memmove(&t->links[i], &t->links[i + 1],
                    (size_t)(t->n_links - i) * sizeof(t->links[0]));
            return;
        }
    }
}

static int model_scope_begin(struct model *m, const struct op *op)
{
    struct model_scope *s = &m->scopes[op->code % SLOTS];

    if (s->open) {
        return EALREADY;
    }
    arm(&s->timer, true, op->ms);
    s->timer.armed = op->ms > 0;
    s->open = true;
    s->expired = op->ms == 0;
    s->code = op->code;
    s->shields = m->shields;
    return 0;
}

static int model_scope_end(struct model *m, const struct op *op)
{
    struct model_scope *s = &m->scopes[op->code % SLOTS];

    if (!s->open) {
        return SKIPPED;
    }
    s->open = false;
    s->timer.armed = false;
    return s->expired || s->timer.deadline <= model_now;
}

static int model_uncancel(struct model *m)
{
    if (m->killed) {
        m->killed = false;
        return ECANCELED;
    }
    int shields = m->shields;
    m->shields = 0;
    int code = m->n_throws > 0 ? pending(m) : 0;
    m->shields = shields;
    return code;
}

static int take_value(struct model *m)
{
    m->full = false;
    return VALUE + m->value;
}

static int model_switch(const struct op *op)
{
    struct model *t = &models[op->target];

    t->full = true;
    t->value = op->code;
    if (t->state == PARKED && t->begun &&
        scripts[op->target].ops[t->pc].kind == GET) {
        (void)wake(op->target, 0);
    }
    return 0;
}

/* A yield looks at the clock for scopes that are due. */
static int model_yield(int who)
{
    struct model *m = &models[who];

    for (int i = 0; i < SLOTS; i++) {
        struct model_scope *s = &m->scopes[i];
        if (s->open && s->timer.deadline <= model_now) {
            s->expired = true;
            s->timer.armed = false;
        }
    }
    int error = pending(m);
    if (error == 0) {
        m->state = PARKED;
        (void)wake(who, 0);
    }
    return error;
}

/* The operation at pc from its beginning; the state tells if it parked. */
static int begin_op(int who, const struct op *op)
{
    struct model *m = &models[who];

    switch (op->kind) {
    case SPAWN:
    case SPAWN_LATER:
        return model_spawn(op);
    case SLEEP:
        return park(m, false, op->ms);
    case YIELD:
        return model_yield(who);
    case JOIN:
        return model_join(who, op);
    case KILL:
        return model_kill(who, op->target, ECANCELED);
    case THROW:
        return model_kill(who, op->target, op->code);
    case LINK:
    case RAWLINK:
        return model_link(who, op);
    case SCOPE_BEGIN:
        return model_scope_begin(m, op);
    case SCOPE_END:
        return model_scope_end(m, op);
    case SHIELD_BEGIN:
        m->shields++;
        return 0;
    case SHIELD_END:
        m->shields -= m->shields > 0;
        return 0;
    case UNCANCEL:
        return model_uncancel(m);
    case GET:
        return m->full ? take_value(m) : park(m, true, op->ms);
    default:
        return model_switch(op);
    }
}

/* The same after the park. */
static int finish_op(int who, const struct op *op)
{
    struct model *m = &models[who];

    m->timer.armed = false;
    if (op->kind == JOIN) {
        leave_join(who, op->target);
    }
    return op->kind == GET && m->wake == 0 ? take_value(m) : m->wake;
}

/* Runs a greenlet until it parks or ends. */
static void step(int who)
{
    struct model *m = &models[who];
    const struct script *s = &scripts[who];

    if (!m->begun) {
        m->begun = true;
        note(&model_log, model_now, who, BEGUN, 0);
    }
    m->state = RUNNING;
    while (m->pc < s->n) {
        const struct op *op = &s->ops[m->pc];
        int result = m->resumed ? finish_op(who, op) : begin_op(who, op);
        m->resumed = false;
        if (m->state != RUNNING) {
            m->resumed = true;
            return;
        }
        note(&model_log, model_now, who, m->pc, result);
        m->pc++;
    }
    if (who == 0) {
        m->state = DEAD; /* in gev_run(), which nothing disturbs */
        for (int i = 0; i < SLOTS; i++) {
            m->scopes[i].open = false;
            m->scopes[i].timer.armed = false;
        }
    } else {
        bool killed = m->killed && s->fail == 0;
        end(who, killed ? ECANCELED : s->fail);
    }
}

/* The links of those that ended. */
static void run_links(void)
{
    for (int i = 0; i < n_ended; i++) {
        struct model *m = &models[ended[i]];
        m->ended_listed = false;
        for (int k = 0; k < m->n_links; k++) {
            int number = m->links[k].number;
            if (m->links[k].kind == JOINER) {
                (void)wake(number, 0);
            } else if (m->links[k].kind == LINKER) {
                push(SCRIPTS + number);
            } else {
                note(&model_log, model_now, number % SCRIPTS,
                     RAWLINKED + number / SCRIPTS, 0);
            }
        }
        m->n_links = 0;
    }
    n_ended = 0;
}

/* The first timer of a kind, and whose; NULL: none. */
static struct model_timer *first_timer(bool timeout, int *ret_who,
                                       struct model_scope **ret_scope)
{
    struct model_timer *first = NULL;

    for (int i = 0; i < SCRIPTS; i++) {
        for (int k = -1; k < SLOTS; k++) {
            struct model_timer *t =
                k < 0 ? &models[i].timer : &models[i].scopes[k].timer;
            if (t->armed && t->timeout == timeout &&
                (first == NULL || t->deadline < first->deadline ||
                 (t->deadline == first->deadline && t->seq < first->seq))) {
                first = t;
                *ret_who = i;
                *ret_scope = k < 0 ? NULL : &models[i].scopes[k];
            }
        }
    }
    return first;
}

static void fire(bool timeout)
{
    struct model_scope *scope = NULL;
    int who = 0;
    struct model_timer *t;

    while ((t = first_timer(timeout, &who, &scope)) != NULL &&
           t->deadline <= model_now) {
        t->armed = false;
        if (scope != NULL) {
            scope->expired = true;
            alert(who);
        } else if (models[who].state == DELAYED) {
            models[who].state = READY;
            push(who);
        } else {
            (void)wake(who, timeout ? ETIMEDOUT : 0);
        }
    }
}

/* Nothing is ready: on to the next deadline. False: there is none. */
static bool advance(void)
{
    struct model_scope *scope;
    int who;
    const struct model_timer *sleep = first_timer(false, &who, &scope);
    const struct model_timer *timeout = first_timer(true, &who, &scope);

    if (sleep == NULL && timeout == NULL) {
        return false;
    }
    int64_t next = sleep != NULL ? sleep->deadline : timeout->deadline;
    if (timeout != NULL && timeout->deadline < next) {
        next = timeout->deadline;
    }
    model_now = next;
    fire(false);
    push(MARK);
    return true;
}

static void run_model(void)
{
    memset(models, 0, sizeof(models));
    model_log.n = 0;
    model_now = 0;
    model_seq = 0;
    queue_head = 0;
    queue_tail = 0;
    kicked = false;
    n_ended = 0;
    step(0);
    do {
        while (queue_head < queue_tail) {
            int what = queue[queue_head++];
            if (what == MARK) {
                fire(true);
            } else if (what == HUB) {
                kicked = false;
                run_links();
            } else if (what >= SCRIPTS) {
                note(&model_log, model_now, (what - SCRIPTS) % SCRIPTS,
                     LINKED + (what - SCRIPTS) / SCRIPTS, 0);
            } else if (models[what].state == READY) {
                step(what); /* else it was killed before its turn */
            }
        }
    } while (advance());
}

/* --- comparing ----------------------------------------------------------------- */

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
            (g != NULL && (gev_dead(g) != (m->state == DEAD) ||
                           gev_error(g) != m->error))) {
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
    for (int i = 0; i < SCRIPTS; i++) {
        gev_unref(reals[i].g);
        reals[i].g = NULL;
    }
    expect_ok(gev_hub_close());
    return same;
}

GEV_TEST(random_schedules_agree_with_the_model)
{
    const char *only = getenv("GEV_MODEL_SEED");
    unsigned first = only != NULL ? (unsigned)strtoul(only, NULL, 10) : 0;
    unsigned n = only != NULL ? 1 : test_scale(1) > 1 ? 300 : 5000;
    long entries = 0;

    gev__clock_set_virtual(true);
    for (unsigned seed = first; seed < first + n; seed++) {
        if (!run_seed(seed) || test_failed()) {
            break;
        }
        entries += real_log.n;
    }
    gev__clock_set_virtual(false);
    print_message("%ld events compared\n", entries);
    expect_true(only != NULL || entries > 10 * (long)n);
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
        cmocka_unit_test(virtual_years_pass_at_once),
        cmocka_unit_test(random_schedules_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
