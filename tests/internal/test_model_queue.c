/* SPDX-License-Identifier: MIT */

/* Random use of queues of all kinds against a naive model: puts, gets, peeks,
 * joins, kills, timeouts, posts, shutdowns. See exchange.h. */
#include "internal/exchange.h"

enum kind { PUT, GET, PEEK, JOIN };

static gev_queue *q;
static int order; /* FIFO 0, LIFO 1, PRIORITY 2 */
static int maxsize;
static int next_item;

/* The model. */
static struct list items;
static struct list getters; /* gets and peeks */
static struct list putters;
static struct list joiners;
static struct list posted;  /* not yet arrived */
static struct list looking; /* peekers who are to look, in the model's log */
static int unfinished;
static bool is_shut;
static bool drops;

/* Equal ranks are many. */
static int compare(const void *a, const void *b)
{
    return N(a) % 3 - N(b) % 3;
}

/* --- the model ------------------------------------------------------------ */

static bool is_full(void)
{
    return maxsize > 0 && items.n + posted.n >= maxsize;
}

static bool is_drained(void)
{
    return is_shut && items.n == 0 && (drops || posted.n == 0);
}

static int next_index(void)
{
    int best = 0;
    if (order == 1) {
        return items.n - 1;
    }
    for (int i = 1; i < items.n && order == 2; i++) {
        if (items.at[i] % 3 < items.at[best] % 3) {
            best = i;
        }
    }
    return best;
}

static int first_getter(void)
{
    for (int i = 0; i < getters.n; i++) {
        if (waiters[getters.at[i]].kind == GET) {
            return i;
        }
    }
    return -1;
}

static void deliver(int item)
{
    int i = first_getter();
    while (getters.n > 0 && i != 0) { /* peekers before it, or all */
        int w = remove_at(&getters, 0);
        if (i > 0) {
            complete(w, 0, 0, item);
            i--;
        } else {
            append(&looking, w);
            model_log[n_model++] = w; /* its turn, if it finds something */
        }
    }
    if (i == 0) {
        complete(remove_at(&getters, 0), 0, 0, item);
    } else {
        append(&items, item);
    }
}

static void admit(void)
{
    while (putters.n > 0 && !is_full()) {
        int w = remove_at(&putters, 0);
        unfinished++;
        deliver(waiters[w].number);
        complete(w, 0, 0, -1);
    }
}

/* 0, an error, or -1: it waits. */
static int model_put(int item)
{
    if (is_shut) {
        return EPIPE;
    }
    if (first_getter() < 0 && (is_full() || putters.n > 0)) {
        return -1;
    }
    unfinished++;
    deliver(item);
    return 0;
}

static int model_get(int *ret_item)
{
    if (items.n > 0) {
        *ret_item = remove_at(&items, next_index());
        admit();
        return 0;
    }
    if (putters.n > 0) {
        int w = remove_at(&putters, 0);
        *ret_item = waiters[w].number;
        unfinished++;
        complete(w, 0, 0, -1);
        return 0;
    }
    return is_drained() ? EPIPE : -1;
}

static int model_peek(int *ret_item)
{
    if (items.n > 0) {
        *ret_item = items.at[next_index()];
        return 0;
    }
    return is_drained() ? EPIPE : -1;
}

static int model_try(int kind, int number, int *ret_item)
{
    switch (kind) {
    case PUT:
        return model_put(number);
    case GET:
        return model_get(ret_item);
    case PEEK:
        return model_peek(ret_item);
    default:
        return unfinished == 0 ? 0 : -1;
    }
}

static struct list *line_of(int kind)
{
    return kind == PUT ? &putters : kind == JOIN ? &joiners : &getters;
}

static void drop_log(int w)
{
    for (int i = n_model - 1; i >= 0; i--) {
        if (model_log[i] == w) {
            n_model--;
            memmove(&model_log[i], &model_log[i + 1],
                    (size_t)(n_model - i) * sizeof(model_log[0]));
            return;
        }
    }
}

/* The others run: peekers who were told look, or wait again. */
static void let_look(void)
{
    while (looking.n > 0) {
        int w = remove_at(&looking, 0);
        int item = -1;
        int rc = model_peek(&item);
        if (rc < 0 && waiters[w].killed) {
            rc = ECANCELED;
        }
        if (rc < 0) {
            drop_log(w);
            append(&getters, w);
        } else {
            complete(w, rc == 0 ? 0 : -1, rc, rc == 0 ? item : -1);
            n_model--; /* its place in the log is taken already */
        }
    }
}

static void complete_all(struct list *l, int rc, int error)
{
    while (l->n > 0) {
        complete(remove_at(l, 0), rc, error, -1);
    }
}

static void model_done(int n)
{
    unfinished -= n < unfinished ? n : unfinished;
    if (unfinished == 0) {
        complete_all(&joiners, 0, 0);
    }
}

static void model_settle(void)
{
    if (is_drained()) {
        complete_all(&getters, -1, EPIPE);
    }
}

static void model_shutdown(bool immediate)
{
    is_shut = true;
    complete_all(&putters, -1, EPIPE);
    if (immediate) {
        int n = items.n;
        drops = true;
        items.n = 0;
        model_done(n);
    }
    model_settle();
}

static void model_arrive(void)
{
    while (posted.n > 0) {
        int item = remove_at(&posted, 0);
        if (!drops) {
            unfinished++;
            deliver(item);
            admit();
        }
        model_settle();
    }
}

/* --- gev ------------------------------------------------------------------ */

static int call(int kind, int number, void **item, double timeout)
{
    switch (kind) {
    case PUT:
        return gev_queue_put(q, P(number), timeout);
    case GET:
        return gev_queue_get(q, item, timeout);
    case PEEK:
        return gev_queue_peek(q, item, timeout);
    default:
        return gev_queue_join(q, timeout);
    }
}

static void *wait_in_queue(void *arg)
{
    struct waiter *w = arg;
    void *item = P(-1);
    int rc = call(w->kind, w->number, &item, w->timeout);
    note_end(w, rc, item);
    return NULL;
}

/* --- both ----------------------------------------------------------------- */

static int random_kind(void)
{
    static const int kinds[] = {PUT, PUT, PUT, GET, GET, GET, PEEK, JOIN};
    return kinds[below(8)];
}

static void spawn_waiter(void)
{
    struct waiter *w = new_waiter();
    int item = -1;
    w->kind = random_kind();
    w->number = next_item++;
    w->g = gev_spawn(wait_in_queue, w);
    settle();
    let_look();
    int mark = n_model;
    int rc = model_try(w->kind, w->number, &item);
    if (rc < 0) {
        append(line_of(w->kind), n_waiters - 1);
    } else {
        complete_caller(n_waiters - 1, mark, rc == 0 ? 0 : -1, rc,
                        rc == 0 ? item : -1);
    }
    let_look();
}

static void try_something(void)
{
    int kind = random_kind();
    int number = next_item++;
    int wanted_item = -1;
    void *item = P(-1);
    int wanted = model_try(kind, number, &wanted_item);
    int rc = call(kind, number, &item, 0);
    wanted = wanted < 0 ? ETIMEDOUT : wanted;
    expect_int_eq(rc == 0 ? 0 : errno, wanted);
    expect_int_eq(N(item), wanted == 0 ? wanted_item : -1);
}

static void kill_somebody(void)
{
    int i = below(n_waiters);
    struct waiter *w = &waiters[i];
    bool was_waiting = remove_number(line_of(w->kind), i);
    expect_ok(gev_kill(w->g, 0));
    w->killed = true;
    if (was_waiting) {
        complete(i, -1, ECANCELED, -1);
    }
}

static void post(void)
{
    if (looking.n > 0) {
        let_look();
        settle();
    }
    int number = next_item++;
    int wanted = is_shut ? EPIPE : is_full() ? EAGAIN : 0;
    int rc = gev_queue_post(q, P(number));
    expect_int_eq(rc == 0 ? 0 : errno, wanted);
    if (rc == 0) {
        append(&posted, number);
    }
}

static void pass_time(void)
{
    let_look();
    model_arrive();
    let_look();
    expect_ok(gev_sleep(0.001 * (1 + below(4))));
    int64_t now = gev__clock_now();
    int i;
    while ((i = next_to_expire(now)) >= 0) {
        (void)remove_number(line_of(waiters[i].kind), i);
        complete(i, -1, ETIMEDOUT, -1);
    }
}

static void step(void)
{
    int what = below(100);
    operations++;
    if (what < 40 && posted.n == 0 && n_waiters < WAITERS) {
        spawn_waiter();
    } else if (what < 15 || (posted.n > 0 && getters.n > 0)) {
        pass_time(); /* else the hub or a peeker may be first */
    } else if (what < 65) {
        try_something();
    } else if (what < 72 && n_waiters > 0) {
        kill_somebody();
    } else if (what < 80) {
        expect_int_eq(gev_queue_task_done(q), unfinished > 0 ? 0 : -1);
        model_done(1);
    } else if (what < 88) {
        post();
    } else if (what == 88 && below(4) == 0) {
        bool immediate = below(2);
        expect_ok(gev_queue_shutdown(q, immediate));
        model_shutdown(immediate);
    } else {
        pass_time();
    }
    expect_uint_eq(gev_queue_size(q), (unsigned)items.n);
    expect_uint_eq(gev_queue_unfinished(q), (unsigned)unfinished);
    expect_int_eq(gev_queue_full(q), is_full());
    expect_int_eq(gev_waitable_ready(GEV_WAITABLE(q)), items.n > 0 || is_shut);
}

static void begin(void)
{
    order = below(3);
    maxsize = below(3) == 0 ? 0 : 1 + below(4);
    size_t size = (size_t)maxsize;
    q = order == 0   ? gev_queue_new(size)
        : order == 1 ? gev_lifo_new(size)
                     : gev_priority_new(size, compare);
    items.n = getters.n = putters.n = joiners.n = posted.n = looking.n = 0;
    unfinished = 0;
    next_item = 0;
    is_shut = false;
    drops = false;
}

static void schedule(void)
{
    begin();
    for (int i = 0; i < 80 && !test_failed(); i++) {
        step();
        if (posted.n == 0 && below(3) == 0) {
            let_look();
            settle();
            (void)agree();
        }
    }
    pass_time(); /* what was posted arrives */
    settle();
    (void)agree();
    for (int i = 0; i < n_waiters; i++) {
        expect_int_eq(gev_dead(waiters[i].g), !waiters[i].waiting);
    }
    /* the end of all who still wait */
    gev_queue_free(q);
    complete_all(&joiners, -1, EPIPE);
    complete_all(&putters, -1, EPIPE);
    complete_all(&getters, -1, EPIPE);
    settle();
    (void)agree();
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
