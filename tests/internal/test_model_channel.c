/* SPDX-License-Identifier: MIT */

/* Random use of channels, with and without buffers, against a naive model:
 * sends, receives, chooses, kills, timeouts, closing. See exchange.h. In the
 * model a plain send or receive is a choose of one. */
#include "internal/exchange.h"

enum { CHANNELS = 3, CLAUSES = 4 };
enum kind { PLAIN, CHOOSE };

static const size_t capacities[CHANNELS] = {0, 0, 2};

struct model_channel {
    gev_channel *real;
    struct list items;
    struct list receivers; /* waiter * CLAUSES + clause */
    struct list senders;
    bool closed;
};

static struct model_channel channels[CHANNELS];
static int next_item;

/* --- the model ------------------------------------------------------------ */

static struct model_channel *model_of(const gev_clause *clause)
{
    for (int i = 0; i < CHANNELS; i++) {
        if (clause->channel == channels[i].real) {
            return &channels[i];
        }
    }
    return NULL;
}

static void leave_line(struct list *l, int w)
{
    for (int i = l->n - 1; i >= 0; i--) {
        if (l->at[i] / CLAUSES == w) {
            (void)remove_at(l, i);
        }
    }
}

static void leave(int w)
{
    for (int i = 0; i < CHANNELS; i++) {
        leave_line(&channels[i].receivers, w);
        leave_line(&channels[i].senders, w);
    }
}

/* The first in line has its clause done. */
static void serve(const struct list *l, int item)
{
    int w = l->at[0] / CLAUSES;
    int i = l->at[0] % CLAUSES;
    leave(w);
    complete(w, waiters[w].kind == PLAIN ? 0 : i, 0, item);
}

static int item_of_first(const struct list *senders)
{
    int entry = senders->at[0];
    return N(waiters[entry / CLAUSES].clause[entry % CLAUSES].item);
}

/* 0; 1: and the receiver goes on first; an error; or -1: it has to wait. */
static int model_send(struct model_channel *c, size_t capacity, int item)
{
    if (c->closed) {
        return EPIPE;
    }
    if (c->receivers.n > 0) {
        serve(&c->receivers, item);
        return capacity == 0;
    }
    if (c->items.n == (int)capacity) {
        return -1;
    }
    append(&c->items, item);
    return 0;
}

static int model_receive(struct model_channel *c, int *ret_item)
{
    if (c->items.n > 0) {
        *ret_item = remove_at(&c->items, 0);
        if (c->senders.n > 0) {
            append(&c->items, item_of_first(&c->senders));
            serve(&c->senders, -1);
        }
        return 0;
    }
    if (c->senders.n > 0) {
        *ret_item = item_of_first(&c->senders);
        serve(&c->senders, -1);
        return 0;
    }
    return c->closed ? EPIPE : -1;
}

struct outcome {
    int rc;    /* the index, -1 */
    int error; /* 0: it has to wait */
    int item;
    bool after; /* the receiver has gone on */
};

static struct outcome model_choose(const gev_clause clause[], int n)
{
    for (int i = 0; i < n; i++) {
        struct model_channel *c = model_of(&clause[i]);
        int item = -1;
        if (c == NULL) {
            continue;
        }
        int rc =
            clause[i].op == GEV_SEND
                ? model_send(c, capacities[c - channels], N(clause[i].item))
                : model_receive(c, &item);
        if (rc == EPIPE) {
            return (struct outcome){-1, EPIPE, i, false};
        }
        if (rc >= 0) {
            return (struct outcome){i, 0, item, rc == 1};
        }
    }
    return (struct outcome){-1, 0, -1, false};
}

static void enter_lines(int w)
{
    for (int i = 0; i < waiters[w].n; i++) {
        const gev_clause *clause = &waiters[w].clause[i];
        struct model_channel *c = model_of(clause);
        if (c != NULL) {
            append(clause->op == GEV_SEND ? &c->senders : &c->receivers,
                   w * CLAUSES + i);
        }
    }
}

static void model_close(struct model_channel *c)
{
    c->closed = true;
    while (c->receivers.n + c->senders.n > 0) {
        int entry = c->receivers.n > 0 ? c->receivers.at[0] : c->senders.at[0];
        int w = entry / CLAUSES;
        leave(w);
        complete(w, -1, EPIPE, waiters[w].kind == PLAIN ? -1 : entry % CLAUSES);
    }
}

/* --- gev ------------------------------------------------------------------ */

/* *ret_item: what was received, or which clause's channel is closed. */
static int call(int kind, gev_clause clause[], int n, double timeout,
                void **ret_item)
{
    if (kind == PLAIN) {
        return clause[0].op == GEV_SEND
                   ? gev_channel_send(clause[0].channel, clause[0].item,
                                      timeout)
                   : gev_channel_recv(clause[0].channel, ret_item, timeout);
    }
    int rc = gev_choose(clause, (size_t)n, timeout);
    for (int i = 0; i < n; i++) {
        if (clause[i].error != 0) {
            expect_int_eq(rc, -1);
            expect_int_eq(clause[i].error, EPIPE);
            *ret_item = P(i);
        }
        if (i == rc && clause[i].op == GEV_RECV) {
            *ret_item = clause[i].item;
        }
    }
    return rc;
}

static void *wait_in_channels(void *arg)
{
    struct waiter *w = arg;
    gev_clause clause[CLAUSES];
    void *item = P(-1);
    memcpy(clause, w->clause, sizeof(clause));
    int rc = call(w->kind, clause, w->n, w->timeout, &item);
    note_end(w, rc, item);
    return NULL;
}

/* --- both ----------------------------------------------------------------- */

static int random_clauses(int kind, gev_clause clause[])
{
    int n = kind == PLAIN ? 1 : 1 + below(CLAUSES);
    for (int i = 0; i < n; i++) {
        int which = below(kind == PLAIN ? CHANNELS : CHANNELS + 1);
        clause[i] = (gev_clause){
            .op = below(2) ? GEV_SEND : GEV_RECV,
            .channel = which < CHANNELS ? channels[which].real : NULL,
            .item = P(next_item++),
            .error = 1};
    }
    return n;
}

static void spawn_waiter(void)
{
    int number = n_waiters;
    struct waiter *w = new_waiter();
    w->kind = below(2) ? PLAIN : CHOOSE;
    w->n = random_clauses(w->kind, w->clause);
    w->g = gev_spawn(wait_in_channels, w);
    int mark = n_model;
    struct outcome o = model_choose(w->clause, w->n);
    int rc = w->kind == PLAIN && o.rc > 0 ? 0 : o.rc;
    int item = o.error != 0 && w->kind == PLAIN ? -1 : o.item;
    if (rc < 0 && o.error == 0) {
        enter_lines(number);
    } else if (o.after) {
        complete(number, rc, o.error, item);
    } else {
        complete_caller(number, mark, rc, o.error, item);
    }
    settle();
}

static void try_something(void)
{
    gev_clause clause[CLAUSES];
    int kind = below(2) ? PLAIN : CHOOSE;
    int n = random_clauses(kind, clause);
    void *item = P(-1);
    struct outcome o = model_choose(clause, n);
    int rc = call(kind, clause, n, 0, &item);
    expect_int_eq(rc, o.rc);
    if (rc < 0) {
        expect_int_eq(errno, o.error == 0 ? ETIMEDOUT : o.error);
    }
    expect_int_eq(N(item), kind == PLAIN && rc < 0 ? -1 : o.item);
}

static void kill_somebody(void)
{
    int i = below(n_waiters);
    if (waiters[i].waiting) {
        leave(i);
        complete(i, -1, ECANCELED, -1);
    }
    expect_ok(gev_kill(waiters[i].g, 0));
}

static void pass_time(void)
{
    expect_ok(gev_sleep(0.001 * (1 + below(4))));
    int64_t now = gev__clock_now();
    int i;
    while ((i = next_to_expire(now)) >= 0) {
        leave(i);
        complete(i, -1, ETIMEDOUT, -1);
    }
}

static void step(void)
{
    int what = below(100);
    operations++;
    if (what < 45 && n_waiters < WAITERS) {
        spawn_waiter();
    } else if (what < 75) {
        try_something();
    } else if (what < 85 && n_waiters > 0) {
        kill_somebody();
    } else if (what == 85) {
        struct model_channel *c = &channels[below(CHANNELS)];
        expect_ok(gev_channel_close(c->real));
        model_close(c);
    } else {
        pass_time();
    }
    for (int i = 0; i < CHANNELS; i++) {
        const struct model_channel *c = &channels[i];
        expect_uint_eq(gev_channel_size(c->real), (unsigned)c->items.n);
        expect_int_eq(gev_waitable_ready(GEV_WAITABLE(c->real)),
                      c->items.n > 0 || c->senders.n > 0 || c->closed);
    }
}

static void schedule(void)
{
    next_item = 0;
    for (int i = 0; i < CHANNELS; i++) {
        channels[i] =
            (struct model_channel){.real = gev_channel_new(capacities[i])};
    }
    for (int i = 0; i < 80 && !test_failed(); i++) {
        step();
        if (below(3) == 0) {
            settle();
            (void)agree();
        }
    }
    settle();
    (void)agree();
    for (int i = 0; i < n_waiters; i++) {
        expect_int_eq(gev_dead(waiters[i].g), !waiters[i].waiting);
    }
    for (int i = 0; i < CHANNELS; i++) { /* the end of those who still wait */
        gev_channel_free(channels[i].real);
        model_close(&channels[i]);
        settle();
    }
    pass_time();
    (void)agree();
    for (int i = 0; i < n_waiters; i++) {
        expect_ok(gev_kill(waiters[i].g, 0)); /* of NULL channels */
    }
}

GEV_TEST(random_use_agrees_with_the_model)
{
    run_seeds(schedule, 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_use_agrees_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
