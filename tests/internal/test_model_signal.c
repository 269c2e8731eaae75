/* SPDX-License-Identifier: MIT */

/* Random use of signal handlers and of gev_wait_signal() against a naive model,
 * on the virtual clock.
 *
 * Greenlets set handlers for three signals and take them back, wait, send
 * bursts to this very process, and kill each other; handlers do the same. The
 * model counts: who wants a signal just now, how often it was sent since a
 * handler was set, how often that has begun. A signal nobody wants goes to the
 * program's own handler, which counts too. Between the storms single bursts are
 * sent into the calm, for which all is known exactly. A failure prints its
 * seed: GEV_MODEL_SEED=n runs that one alone. */
#include <gev.h>

#include "base/clock.h"
#include "support/gev_test.h"
#include "support/trace.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { WORKERS = 5, STEPS = 30, SIGNALS = 3, MAX_HANDLERS = 400, ALIVE = 12 };

static const int numbers[SIGNALS] = {SIGUSR1, SIGUSR2, SIGWINCH};

/* A handler; its record stays when it is taken back. */
struct handler {
    gev_signal_handler *h; /* NULL: taken back */
    int which;
    long sent;  /* since it was set, and perhaps one just before */
    long began; /* its function */
    bool owed;  /* sent, and not begun since */
    bool acts;  /* its function does more than to count */
};

struct worker {
    gev_greenlet *g;
    bool killed;
    int waits_for; /* a signal; -1: none */
    int64_t came;  /* when it was first sent since; 0: not */
};

static struct handler handlers[MAX_HANDLERS]; /* in the order they were set */
static int n_handlers;
static struct worker workers[WORKERS];
/* Begun when the other was set: of the same signal, b before a. */
static long begun_before[MAX_HANDLERS][MAX_HANDLERS];
static int64_t sent_at[SIGNALS]; /* when that was last wanted; 0: never */
static long to_program[SIGNALS];
static volatile sig_atomic_t program_got[SIGNALS];
static struct sigaction outer[SIGNALS];
static unsigned seed;
static uint32_t random_state;
static long operations;

static void act(struct worker *w);

static unsigned below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % n;
}

static void on_signal(int signum)
{
    for (int i = 0; i < SIGNALS; i++) {
        program_got[i] += numbers[i] == signum;
    }
}

/* --- the model ------------------------------------------------------------ */

static bool is_wanted(int which)
{
    for (int i = 0; i < n_handlers; i++) {
        if (handlers[i].h != NULL && handlers[i].which == which) {
            return true;
        }
    }
    for (int i = 0; i < WORKERS; i++) {
        if (workers[i].waits_for == which) {
            return true;
        }
    }
    return false;
}

/* Sent, and the hub may not have looked: it looks before time goes on. */
static bool may_be_pending(int which)
{
    return sent_at[which] == gev__clock_now();
}

static void check_disposition(int which)
{
    struct sigaction now;

    expect_int_eq(sigaction(numbers[which], NULL, &now), 0);
    expect_true((now.sa_handler == on_signal) != is_wanted(which));
    expect_int_eq(program_got[which], to_program[which]);
}

static void send_signal(int which)
{
    if (is_wanted(which)) {
        sent_at[which] = gev__clock_now();
    } else {
        to_program[which]++;
    }
    for (int i = 0; i < n_handlers; i++) {
        struct handler *h = &handlers[i];
        if (h->h != NULL && h->which == which) {
            h->sent++;
            h->owed = true;
        }
    }
    for (int i = 0; i < WORKERS; i++) {
        if (workers[i].waits_for == which && workers[i].came == 0) {
            workers[i].came = gev__clock_now();
        }
    }
    expect_int_eq(kill(getpid(), numbers[which]), 0);
}

/* A look at one signal serves its handlers from the first to the last: when one
 * begins, those set before it have begun as often since it was set. */
static void check_begin(const struct handler *h)
{
    int a = (int)(h - handlers);

    expect_not_null(h->h);
    expect_le(h->began, h->sent);
    for (int b = 0; b < a; b++) {
        const struct handler *earlier = &handlers[b];
        if (earlier->h != NULL && earlier->which == h->which) {
            expect_ge(earlier->began - begun_before[a][b], h->began);
        }
    }
}

/* --- handlers ------------------------------------------------------------- */

static void take_back(struct handler *h)
{
    gev_signal_cancel(h->h);
    h->h = NULL;
    h->owed = false;
    check_disposition(h->which);
}

/* What gev calls. */
static void *handle(void *arg)
{
    struct handler *h = arg;

    h->began++;
    h->owed = false;
    check_begin(h);
    if (h->acts && operations % 3 == 0 && !test_failed()) {
        if (below(4) == 0) {
            take_back(h);
        } else {
            act(NULL);
        }
    }
    return NULL;
}

static void set_handler(int which)
{
    int alive = 0;

    for (int i = 0; i < n_handlers; i++) {
        alive += handlers[i].h != NULL;
    }
    if (alive == ALIVE || n_handlers == MAX_HANDLERS) {
        return;
    }
    int a = n_handlers;
    struct handler *h = &handlers[n_handlers++];
    *h = (struct handler){.which = which, .acts = below(3) == 0};
    /* What came before the hub has looked is delivered to it, too. */
    h->sent = may_be_pending(which);
    for (int b = 0; b < a; b++) {
        begun_before[a][b] = handlers[b].began;
    }
    h->h = gev_signal(numbers[which], handle, h);
    expect_not_null(h->h);
    check_disposition(which);
}

static struct handler *any_handler(void)
{
    struct handler *h =
        n_handlers == 0 ? NULL : &handlers[below((unsigned)n_handlers)];

    return h == NULL || h->h == NULL ? NULL : h;
}

/* --- what workers do ------------------------------------------------------ */

static void wait_for_signal(struct worker *w)
{
    int which = (int)below(SIGNALS);
    double timeout = below(3) == 0 ? GEV_FOREVER : below(6) / 1000.0;
    int64_t deadline = timeout < GEV_FOREVER
                           ? gev__clock_now() + (int64_t)(timeout * 1e9)
                           : GEV__NEVER;

    w->waits_for = which;
    w->came = 0;
    bool pending = may_be_pending(which);
    int rc = gev_wait_signal(numbers[which], timeout) == 0 ? 0 : errno;
    w->waits_for = -1;
    if (rc == 0) {
        expect_true(w->came != 0 || pending);
    } else if (rc == ETIMEDOUT) {
        expect_true(gev__clock_now() + GEV__MS / 1000 >= deadline);
        /* Else it was to be told: what comes goes before time. */
        expect_true(w->came == 0 || w->came == gev__clock_now());
    } else {
        expect_int_eq(rc, ECANCELED);
        expect_true(w->killed);
    }
    check_disposition(which);
}

static void kill_one(struct worker *w)
{
    if (!w->killed && w->g != gev_current()) {
        w->killed = true;
        expect_ok(gev_kill(w->g, 0));
    }
}

/* One step; w is NULL in a handler. */
static void act(struct worker *w)
{
    struct handler *h = any_handler();
    int which = (int)below(SIGNALS);

    operations++;
    switch (below(10)) {
    case 0:
    case 1:
        set_handler(which);
        break;
    case 2:
        if (h != NULL) {
            take_back(h);
        }
        break;
    case 3:
        if (w != NULL) {
            wait_for_signal(w);
        }
        break;
    case 4:
        if (h != NULL) {
            gev_signal_keep(h->h, below(2) == 0);
        }
        break;
    case 5:
        if (below(10) == 0) {
            kill_one(&workers[below(WORKERS)]);
        }
        break;
    case 6:
    case 7:
        (void)gev_sleep(below(3) / 1000.0);
        break;
    default:
        for (unsigned n = 1 + below(3); n > 0; n--) {
            send_signal((int)below(SIGNALS));
        }
        break;
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;

    for (int i = 0; i < STEPS && !w->killed && !test_failed(); i++) {
        act(w);
    }
    w->killed = true; /* nobody needs to */
    return NULL;
}

/* --- a run ---------------------------------------------------------------- */

/* One burst and nothing else: each handler begins once, in order. */
static void send_into_the_calm(int which)
{
    long began[MAX_HANDLERS];
    bool wanted = is_wanted(which);
    long got = program_got[which];
    int n = 1 + (int)below(4);

    for (int i = 0; i < n_handlers; i++) {
        began[i] = handlers[i].began;
        handlers[i].acts = false;
    }
    for (int i = 0; i < n; i++) {
        send_signal(which);
    }
    expect_ok(gev_sleep(0.01));
    for (int i = 0; i < n_handlers; i++) {
        const struct handler *h = &handlers[i];
        bool mine = h->h != NULL && h->which == which;
        expect_int_eq(h->began - began[i], mine);
        expect_false(h->owed);
    }
    expect_int_eq(program_got[which] - got, wanted ? 0 : n);
}

static void begin_run(void)
{
    random_state = seed * 2654435761u + 1;
    memset(workers, 0, sizeof(workers));
    memset(sent_at, 0, sizeof(sent_at));
    n_handlers = 0;
    for (int i = 0; i < SIGNALS; i++) {
        struct sigaction action;
        memset(&action, 0, sizeof(action));
        action.sa_handler = on_signal;
        expect_int_eq(sigaction(numbers[i], &action, &outer[i]), 0);
        program_got[i] = 0;
        to_program[i] = 0;
    }
    for (int i = 0; i < WORKERS; i++) {
        workers[i].waits_for = -1;
    }
    for (int i = 0; i < WORKERS; i++) {
        workers[i].g = gev_spawn(work, &workers[i]);
        expect_not_null(workers[i].g);
    }
}

static void run_seed(void)
{
    test_note("seed %u", seed);
    begin_run();
    expect_ok(gev_sleep(1));
    for (int i = 0; i < WORKERS; i++) {
        kill_one(&workers[i]);
        expect_ok(gev_join(workers[i].g, GEV_FOREVER));
        gev_unref(workers[i].g);
    }
    for (int i = 0; i < SIGNALS && !test_failed(); i++) {
        check_disposition(i);
        send_into_the_calm(i);
    }
    /* The others are the hub's to take back. */
    for (int i = 0; i < n_handlers; i++) {
        if (handlers[i].h != NULL && below(2) == 0) {
            take_back(&handlers[i]);
        }
    }
    if (seed % 2 == 0) {
        send_signal((int)below(SIGNALS)); /* it never gets to see that */
    }
    expect_ok(gev_hub_close());
    for (int i = 0; i < n_handlers; i++) {
        handlers[i].h = NULL;
    }
    for (int i = 0; i < SIGNALS; i++) {
        check_disposition(i);
        expect_int_eq(sigaction(numbers[i], &outer[i], NULL), 0);
    }
    test_note(NULL);
}

GEV_TEST(random_signals_agree_with_the_model)
{
    const char *text = getenv("GEV_MODEL_SEED");
    unsigned first = text != NULL ? (unsigned)strtoul(text, NULL, 10) : 0;
    unsigned n = text != NULL ? 1 : test_scale(1) > 1 ? 200 : 2000;

    gev__clock_set_virtual(true);
    for (seed = first; seed < first + n && !test_failed(); seed++) {
        run_seed();
    }
    gev__clock_set_virtual(false);
    print_message("%ld operations\n", operations);
    expect_true(text != NULL || operations > 50 * (long)n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_signals_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
