/* SPDX-License-Identifier: MIT */

/* Random children against a naive model, in real time.
 *
 * A child is this very program, told by its arguments how much to write to its
 * out and err, how long to sleep, whether to send its input back, and how to
 * end. Greenlets run such children with gev_process_run(), or talk to them in
 * pieces with short timeouts, or only wait; the others look on: they wait for
 * them, poll, kill them, and each other. What comes of a child must be what it
 * was told, byte for byte; of one that was killed the beginning of that. A
 * failure prints its seed: GEV_MODEL_SEED=n runs that one alone (when children
 * run is not in the seed). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { WORKERS = 6, CHILDREN = 30, MAX_TEXT = 150000, ARGS = 8 };

/* What a child is told, as its arguments say it. */
struct orders {
    unsigned id;
    unsigned out;    /* bytes */
    unsigned err;    /* bytes */
    unsigned ms;     /* sleeps so long after that */
    unsigned echoes; /* then sends back what it reads; else reads nothing */
    unsigned code;   /* its exit status */
    unsigned signum; /* it sends to itself instead; 0: none */
};

struct child {
    gev_process *p; /* NULL: not there, or in gev_process_run */
    struct orders orders;
    char *input;
    size_t input_len;
    bool input_given;
    bool talking;  /* its owner is in communicate */
    unsigned sent; /* bit n: signal n was sent to it */
    bool known;    /* how it ended: */
    int status;
};

struct worker {
    gev_greenlet *g;
    bool killed;
};

static char program[4096];
static struct child children[CHILDREN];
static int n_children;
static struct worker workers[WORKERS];
static unsigned seed;
static uint32_t random_state;
static long succeeded;

static unsigned below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % n;
}

/* --- in the child --------------------------------------------------------- */

/* Byte i of what child id writes to out (1) or err (2). */
static char byte_of(unsigned id, int which, size_t i)
{
    return (char)('!' + (id * 7 + (unsigned)which * 31 + i * 13 + i / 90) % 90);
}

static void write_all(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, text, n);
        if (done < 0) {
            _exit(99);
        }
        text += done;
        n -= (size_t)done;
    }
}

static void write_pattern(unsigned id, int which, size_t n)
{
    static char text[MAX_TEXT];

    for (size_t i = 0; i < n; i++) {
        text[i] = byte_of(id, which, i);
    }
    write_all(which, text, n);
}

static int be_child(char **argv)
{
    const struct rlimit no_core = {0, 0};
    char text[3000];
    unsigned n[ARGS - 1];
    ssize_t len;

    for (int i = 0; i < ARGS - 1; i++) {
        n[i] = (unsigned)strtoul(argv[i + 1], NULL, 10);
    }
    const struct orders o = {n[0], n[1], n[2], n[3], n[4], n[5], n[6]};
    write_pattern(o.id, 1, o.out);
    write_pattern(o.id, 2, o.err);
    (void)usleep(o.ms * 1000);
    while (o.echoes && (len = read(0, text, sizeof(text))) > 0) {
        write_all(1, text, (size_t)len);
    }
    if (o.signum != 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        (void)raise((int)o.signum);
    }
    _exit((int)o.code);
}

/* --- the model ------------------------------------------------------------ */

static bool ended_as_told(const struct child *c, int status)
{
    return c->orders.signum != 0 ? WIFSIGNALED(status) &&
                                       WTERMSIG(status) == (int)c->orders.signum
                                 : WIFEXITED(status) && WEXITSTATUS(status) ==
                                                            (int)c->orders.code;
}

static bool was_killed(const struct child *c, int status)
{
    return WIFSIGNALED(status) && (c->sent & (1u << WTERMSIG(status)));
}

static void check_status(struct child *c, int status)
{
    if (!ended_as_told(c, status) && !was_killed(c, status)) {
        expect_never("child %u ended with %#x", c->orders.id, status);
    }
    if (c->known) {
        expect_int_eq(status, c->status);
    }
    c->known = true;
    c->status = status;
}

/* All of it, or its beginning if the child was killed. */
static void check_text(const struct child *c, int which, const char *text,
                       size_t n, bool all)
{
    size_t own = which == 1 ? c->orders.out : c->orders.err;
    size_t echo = which == 1 && c->orders.echoes ? c->input_len : 0;

    if (!expect_not_null(text)) {
        return;
    }
    expect_int_eq(text[n], '\0');
    if (all ? n != own + echo : n > own + echo) {
        expect_never("child %u wrote %zu bytes to %d, not %zu", c->orders.id, n,
                     which, own + echo);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        char wanted =
            i < own ? byte_of(c->orders.id, which, i) : c->input[i - own];
        if (text[i] != wanted) {
            expect_never("byte %zu of child %u's %d", i, c->orders.id, which);
            return;
        }
    }
}

static void check_result(struct child *c, gev_process_result *r)
{
    check_status(c, r->status);
    bool all = ended_as_told(c, r->status) && !was_killed(c, r->status);
    check_text(c, 1, r->out, r->out_len, all);
    check_text(c, 2, r->err, r->err_len, all);
    succeeded += all;
    gev_process_result_free(r);
}

/* --- making children ------------------------------------------------------ */

static unsigned random_size(void)
{
    switch (below(4)) {
    case 0:
        return 0;
    case 1:
        return below(MAX_TEXT);
    default:
        return below(5000);
    }
}

static struct child *make_child(bool may_talk)
{
    static const unsigned signals[] = {SIGKILL, SIGTERM, SIGUSR1};
    struct child *c = &children[n_children];

    c->orders =
        (struct orders){.id = (unsigned)n_children++,
                        .out = may_talk ? random_size() : 0,
                        .err = may_talk ? random_size() / 2 : 0,
                        .ms = below(3) == 0 ? below(5) : 0,
                        .echoes = may_talk && below(2) == 0,
                        .code = below(3) == 0 ? below(90) : 0,
                        .signum = below(5) == 0 ? signals[below(3)] : 0};
    c->input_len = may_talk && below(3) > 0 ? 1 + random_size() : 0;
    c->input = malloc(c->input_len + 1);
    for (size_t i = 0; i < c->input_len; i++) {
        c->input[i] = (char)below(256);
    }
    return c;
}

struct command {
    char text[ARGS - 1][12];
    char *argv[ARGS + 2];
};

static char *const *command_of(const struct child *c, struct command *command)
{
    static char role[] = "child";
    const struct orders *o = &c->orders;
    const unsigned n[ARGS - 1] = {o->id,     o->out,  o->err,   o->ms,
                                  o->echoes, o->code, o->signum};

    command->argv[0] = program;
    command->argv[1] = role;
    for (int i = 0; i < ARGS - 1; i++) {
        (void)snprintf(command->text[i], sizeof(command->text[i]), "%u", n[i]);
        command->argv[i + 2] = command->text[i];
    }
    command->argv[ARGS + 1] = NULL;
    return command->argv;
}

/* --- what workers do ------------------------------------------------------ */

/* The whole of it in a call. A timeout or a kill ends the child. */
static void run_child(const struct worker *w)
{
    struct child *c = make_child(true);
    gev_process_opts opts = {.in = c->input_len > 0 ? 0 : GEV_PROCESS_NULL,
                             .out = GEV_PROCESS_PIPE,
                             .err = GEV_PROCESS_PIPE,
                             .flags =
                                 below(3) == 0 ? GEV_PROCESS_NEW_GROUP : 0};
    double timeout = below(3) > 0 ? GEV_FOREVER : below(8) / 1000.0;
    struct command command;
    gev_process_result r;

    memset(&r, 0, sizeof(r));
    int rc = gev_process_run(command_of(c, &command), &opts,
                             c->input_len > 0 ? c->input : NULL, c->input_len,
                             &r, timeout) == 0
                 ? 0
                 : errno;
    if (rc == 0) {
        check_result(c, &r);
        return;
    }
    expect_true(rc == ETIMEDOUT ? timeout < GEV_FOREVER
                                : rc == ECANCELED && w->killed);
    if (r.status == -1) { /* it was not even begun */
        expect_uint_eq(r.out_len + r.err_len, 0);
        gev_process_result_free(&r);
        return;
    }
    c->sent |= 1u << SIGKILL;
    check_status(c, r.status);
    check_text(c, 1, r.out, r.out_len, false);
    check_text(c, 2, r.err, r.err_len, false);
    gev_process_result_free(&r);
}

static void start_child(struct child *c, int in, int out, unsigned flags)
{
    gev_process_opts opts = {.in = in, .out = out, .err = out, .flags = flags};
    struct command command;

    c->p = gev_process_new(command_of(c, &command), &opts);
    expect_not_null(c->p);
}

static void end_child(struct child *c)
{
    gev_process *p = c->p;

    c->p = NULL;
    gev_process_free(p);
}

/* Once; what of it is lost is found by the call that succeeds. */
static int talk_once(struct child *c, double timeout)
{
    bool gives = !c->input_given && c->input_len > 0;
    gev_process_result r;

    c->talking = true;
    int rc = gev_process_communicate(c->p, gives ? c->input : NULL,
                                     gives ? c->input_len : 0, &r, timeout) == 0
                 ? 0
                 : errno;
    c->talking = false;
    c->input_given = true;
    if (rc == 0) {
        check_result(c, &r);
        end_child(c);
    }
    return rc;
}

/* Talks in pieces; a killed one leaves the rest to whoever ends the run. */
static void talk_to_child(const struct worker *w)
{
    struct child *c = make_child(true);

    start_child(c, GEV_PROCESS_PIPE, GEV_PROCESS_PIPE, 0);
    for (int i = 0; c->p != NULL && !w->killed && !test_failed(); i++) {
        double timeout = i > 20 ? GEV_FOREVER : below(4) / 1000.0;
        int rc = talk_once(c, timeout);
        if (rc != 0) {
            expect_true(rc == ETIMEDOUT ? timeout < GEV_FOREVER
                                        : rc == ECANCELED && w->killed);
        }
    }
}

/* Waits for it, or lets go of it. */
static void await_child(const struct worker *w)
{
    struct child *c = make_child(false);
    int status = -1;

    start_child(c, GEV_PROCESS_NULL, GEV_PROCESS_NULL, GEV_PROCESS_NEW_SESSION);
    if (c->p != NULL && below(3) > 0) {
        if (gev_process_wait(c->p, &status, GEV_FOREVER) == 0) {
            check_status(c, status);
            expect_int_eq(gev_process_poll(c->p, &status), 1);
            check_status(c, status);
        } else {
            expect_int_eq(errno, ECANCELED);
            expect_true(w->killed);
        }
    }
    end_child(c);
}

/* --- and with those of others --------------------------------------------- */

static void wait_for_other(const struct worker *w, struct child *c)
{
    double timeout = below(5) / 1000.0;
    int status = -1;

    if (gev_process_wait(c->p, &status, timeout) == 0) {
        check_status(c, status);
    } else {
        expect_true(errno == ETIMEDOUT || (errno == ECANCELED && w->killed));
        expect_true(!c->known || errno == ECANCELED || timeout > 0);
    }
}

static void meddle(const struct worker *w, struct child *c)
{
    const int signum = below(2) == 0 ? SIGTERM : SIGKILL;
    int status = -1;
    int rc;

    switch (below(6)) {
    case 0:
        c->sent |= 1u << signum;
        expect_ok(gev_process_kill(c->p, signum));
        break;
    case 1:
    case 2:
        rc = gev_process_poll(c->p, &status);
        expect_true(rc == 0 || rc == 1);
        expect_true(rc == 1 || !c->known);
        if (rc == 1) {
            check_status(c, status);
        }
        break;
    case 3:
        if (c->talking) {
            expect_fail(gev_process_communicate(c->p, NULL, 0, NULL, 0), EBUSY);
        }
        break;
    default:
        wait_for_other(w, c);
        break;
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
    struct child *c = &children[below(CHILDREN)];

    switch (below(12)) {
    case 0:
    case 1:
        run_child(w);
        break;
    case 2:
    case 3:
        talk_to_child(w);
        break;
    case 4:
        await_child(w);
        break;
    case 5:
        if (below(8) == 0) {
            kill_one(&workers[below(WORKERS)]);
        }
        break;
    default:
        if (c->p != NULL) {
            meddle(w, c);
        } else {
            (void)gev_sleep(0.0005);
        }
        break;
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;

    while (n_children < CHILDREN && !w->killed && !test_failed()) {
        step(w);
    }
    w->killed = true; /* nobody needs to */
    return NULL;
}

/* --- a run ---------------------------------------------------------------- */

/* No child is left, not even a zombie. */
static bool no_child_is_left(void)
{
    siginfo_t info;

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == -1 &&
           errno == ECHILD;
}

static void run_seed(void)
{
    random_state = seed * 2654435761u + 1;
    size_t fds = test_open_fds();
    memset(children, 0, sizeof(children));
    memset(workers, 0, sizeof(workers));
    n_children = 0;
    test_note("seed %u", seed);
    for (int i = 0; i < WORKERS; i++) {
        workers[i].g = gev_spawn(work, &workers[i]);
        expect_not_null(workers[i].g);
    }
    for (int i = 0; i < WORKERS; i++) {
        expect_ok(gev_join(workers[i].g, GEV_FOREVER));
        gev_unref(workers[i].g);
    }
    for (int i = 0; i < CHILDREN; i++) {
        if (children[i].p != NULL) {
            expect_int_eq(talk_once(&children[i], GEV_FOREVER), 0);
        }
        free(children[i].input);
    }
    double end = test_now() + test_scale(20);
    while (!no_child_is_left() && test_now() < end) {
        expect_ok(gev_sleep(0.001));
    }
    expect_true(no_child_is_left());
    expect_ok(gev_hub_close());
    expect_uint_eq(test_open_fds(), fds);
    test_note(NULL);
}

GEV_TEST(random_children_agree_with_the_model)
{
    const char *text = getenv("GEV_MODEL_SEED");
    unsigned first = text != NULL ? (unsigned)strtoul(text, NULL, 10) : 0;
    unsigned n = text != NULL ? 1 : test_scale(1) > 1 ? 2 : 8;

    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (!expect_true(len > 0)) {
        return;
    }
    for (seed = first; seed < first + n && !test_failed(); seed++) {
        run_seed();
    }
    print_message("%ld children did as they were told\n", succeeded);
    expect_true(text != NULL || succeeded > 4 * (long)n);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_children_agree_with_the_model),
    };

    if (argc == ARGS + 1 && strcmp(argv[1], "child") == 0) {
        return be_child(argv + 1);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
