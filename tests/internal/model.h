/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_MODEL_H
#define GEV_TEST_MODEL_H

/* The naive model of the scheduler; see test_model.c. */

#include "internal/schedule.h"

#include <gev.h>

#include <errno.h>
#include <stddef.h>
#include <string.h>

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
    enum { JOINER, LINKER, RAWLINKER, THROWER } kind;
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
    bool joins_direct; /* a join that fails leaves at once, else when it runs */
    bool full;         /* its waiter */
    int value;
};

static struct model models[SCRIPTS];
static int64_t model_now;
static int model_seq;

/* The ready queue: greenlets, links' greenlets (their number + SCRIPTS), and
 * these two. */
enum { HUB = -1, MARK = -2 };
enum { QUEUE_MAX = 4000 };
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

static bool wake(int who, int rc)
{
    struct model *m = &models[who];

    if (m->state != PARKED) {
        return false;
    }
    if (m->joins_direct && rc != 0) {
        leave_join(who, scripts[who].ops[m->pc].target);
    }
    m->joins_direct = false;
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

static void take_link(struct model *m)
{
    m->n_links--;
    memmove(m->links, m->links + 1, (size_t)m->n_links * sizeof(m->links[0]));
}

static void end(int who, int error)
{
    struct model *m = &models[who];
    bool reported = m->begun && error != 0 && error != ECANCELED;

    m->state = DEAD;
    m->error = error;
    m->timer.armed = false;
    for (int i = 0; i < SLOTS; i++) {
        m->scopes[i].open = false;
        m->scopes[i].timer.armed = false;
    }
    while (m->n_links > 0 && m->links[0].kind == JOINER) {
        (void)wake(m->links[0].number, 0);
        take_link(m);
    }
    if (m->n_links > 0 || reported) {
        list_ended(who);
    }
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
    t->links[t->n_links].kind = op->kind == LINK      ? LINKER
                                : op->kind == RAWLINK ? RAWLINKER
                                                      : THROWER;
    t->links[t->n_links++].number = who * SCRIPTS + op->target;
    if (t->state == DEAD) {
        list_ended(op->target);
    }
    return 0;
}

/* The oldest of who's links that run in a greenlet. */
static int model_unlink(int who, const struct op *op)
{
    struct model *t = &models[op->target];
    int number = who * SCRIPTS + op->target;

    if (t->state == ABSENT) {
        return SKIPPED;
    }
    for (int i = 0; i < t->n_links; i++) {
        if (t->links[i].kind == LINKER && t->links[i].number == number) {
            t->n_links--;
            memmove(&t->links[i], &t->links[i + 1],
                    (size_t)(t->n_links - i) * sizeof(t->links[0]));
            return 0;
        }
    }
    return 0;
}

/* The end of a greenlet as it is thrown into its links' receivers. */
static void throw_end(const struct model *m, int receiver)
{
    struct model *r = &models[receiver];

    if (r->state != DEAD) {
        r->throws[r->n_throws++] = m->error == 0           ? GEV_ELINKDONE
                                   : m->error == ECANCELED ? GEV_ELINKKILLED
                                                           : GEV_ELINKFAILED;
        alert(receiver);
    }
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

/* Whether there is anything that may fail a park, masked or not. */
static bool is_alerted(const struct model *m)
{
    bool alerted = m->killed || m->n_throws > 0;

    for (int i = 0; i < SLOTS; i++) {
        alerted = alerted || (m->scopes[i].open && m->scopes[i].expired);
    }
    return alerted;
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
    bool direct = op->ms == 0 && !is_alerted(&models[who]);
    int error = park(&models[who], true, op->ms);
    if (error == 0) {
        models[who].joins_direct = direct;
        t->links[t->n_links].kind = JOINER;
        t->links[t->n_links++].number = who;
    }
    return error;
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
    case LINK_TO:
        return model_link(who, op);
    case UNLINK:
        return model_unlink(who, op);
    case SCOPE_BEGIN:
        return model_scope_begin(m, op);
    case SCOPE_END:
        return model_scope_end(m, op);
    case SHIELD_BEGIN:
        m->shields++;
        return 0;
    case SHIELD_END:
        m->shields -= m->shields > 0;
        for (int i = 0; i < SLOTS; i++) {
            if (m->scopes[i].shields > m->shields) {
                m->scopes[i].shields = m->shields;
            }
        }
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

/* True: a link got a greenlet of its own, and there are more. */
static bool serve_links(struct model *m)
{
    while (m->n_links > 0) {
        struct model_link link = m->links[0];
        take_link(m);
        if (link.kind == JOINER) {
            (void)wake(link.number, 0);
        } else if (link.kind == THROWER) {
            throw_end(m, link.number / SCRIPTS);
        } else if (link.kind == RAWLINKER) {
            note(&model_log, model_now, link.number % SCRIPTS,
                 RAWLINKED + link.number / SCRIPTS, 0);
        } else {
            push(SCRIPTS + link.number);
            if (m->n_links > 0) {
                return true;
            }
        }
    }
    return false;
}

/* The links of those that ended. */
static void run_links(void)
{
    while (n_ended > 0) {
        if (serve_links(&models[ended[0]])) {
            kick();
            return;
        }
        models[ended[0]].ended_listed = false;
        n_ended--;
        memmove(ended, ended + 1, (size_t)n_ended * sizeof(ended[0]));
    }
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

#endif
