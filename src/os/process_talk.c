/* SPDX-License-Identifier: MIT */

/* Talking with a process: one greenlet, that of the caller, feeds and reads all
 * of its pipes. Nothing is lost when it stops half-way. */
#include "os/process.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/sys.h"
#include "hub/fd.h"
#include "hub/sched.h"

#include <signal.h>

/* A child that never stops talking gets a turn as any greenlet does: as much as
 * a pipe holds, then the others. */
#define BYTES_A_TURN ((size_t)64 * 1024)
/* How long a killed child may take to end (it may be stuck in the kernel). */
#define END_PATIENCE (5 * GEV__SEC)

/* Parks until one of the pipes is ready. */
static int wait_for_pipes(struct gev_hub *hub, struct gev_process *p,
                          int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_PROCESS, .object = p};
    struct gev__fd_waiter waiters[3];
    struct gev__fd *entry;
    int rc = 0;

    for (int i = 0; i < 3; i++) {
        waiters[i] = (struct gev__fd_waiter){.greenlet = hub->current};
        gev__list_init(&waiters[i].link);
    }
    for (int i = 0; i < 3 && rc == 0; i++) {
        if (p->pipes[i] >= 0) {
            rc = gev__fd_adopt(hub, p->pipes[i], &entry);
            rc = rc < 0 ? rc
                        : gev__fd_add_waiter(hub, entry, i == 0, &waiters[i]);
        }
    }
    if (rc == 0) {
        rc = gev__park_until(hub, what, deadline);
    }
    for (int i = 0; i < 3; i++) {
        gev__fd_remove_waiter(hub, &waiters[i]);
    }
    /* EBADF: somebody closed one; the others go on. */
    return rc == -EBADF || rc > 0 ? 0 : rc;
}

/* Lets the others run, and looks at the time as a park would. */
static int take_turns(struct gev_hub *hub, int64_t deadline)
{
    int rc = gev__yield(hub);

    return rc == 0 && gev__clock_now() >= deadline ? -ETIMEDOUT : rc;
}

static int move_all(struct gev_hub *hub, struct gev_process *p,
                    int64_t deadline)
{
    size_t turn = 0;

    for (;;) {
        ssize_t n = gev__process_move(p);
        if (n < 0 || !gev__process_has_pipe(p)) {
            return n < 0 ? (int)n : 0;
        }
        turn += (size_t)n;
        int rc = 0;
        if (n == 0) {
            rc = wait_for_pipes(hub, p, deadline);
            turn = 0;
        } else if (turn >= BYTES_A_TURN) {
            rc = deadline == 0 ? -ETIMEDOUT : take_turns(hub, deadline);
            turn = 0;
        }
        if (rc < 0) {
            return rc;
        }
    }
}

/* copy: the input may go away if this fails. */
static int talk(struct gev_hub *hub, struct gev_process *p,
                struct gev__input input, bool copy, int64_t deadline)
{
    if (p->talking) {
        return -EBUSY;
    }
    if (input.data != NULL && (p->fed || p->pipes[0] < 0)) {
        return -EINVAL;
    }
    int rc = gev__process_begin_input(p, &input, copy);
    if (rc < 0) {
        return rc;
    }
    p->talking = true;
    rc = move_all(hub, p, deadline);
    if (rc < 0) {
        gev__process_keep_input(p);
    } else {
        gev__process_drop_input(p);
        gev__process_keep(p, false);
        rc = gev__process_await(hub, p, deadline);
    }
    p->talking = false;
    return rc;
}

/* --- communicate, run ----------------------------------------------------- */

/* NULL and 0 are no input; NULL and more are -EINVAL. */
static int make_input(const void *data, size_t n, struct gev__input *ret_input)
{
    *ret_input = (struct gev__input){.data = data, .len = n};
    return data == NULL && n > 0 ? -EINVAL : 0;
}

static int communicate(struct gev_hub *hub, struct gev_process *p,
                       const void *data, size_t n,
                       gev_process_result *ret_result, double timeout)
{
    struct gev__input input;
    int64_t deadline;
    int rc = gev__process_enter(hub, p);

    rc = rc < 0 ? rc : gev__deadline(hub, timeout, &deadline);
    rc = rc < 0 ? rc : make_input(data, n, &input);
    if (rc < 0) {
        return rc;
    }
    gev__process_use(p);
    rc = talk(hub, p, input, true, deadline);
    if (rc == 0) {
        rc = gev__process_status_error(p);
        gev__process_take_result(p, ret_result);
        gev__process_free_texts(p); /* if nobody wanted them */
    }
    gev__process_unuse(p);
    return rc;
}

/* Ends it, whatever happens to this greenlet meanwhile. */
static void put_down(struct gev_hub *hub, struct gev_process *p)
{
    int rc = gev__process_signal(p, SIGKILL, true);

    gev__process_keep(p, false);
    if (rc < 0 || p->ended) {
        return; /* not ours to kill any more: its hub reaps it some day */
    }
    hub->current->shields++;
    rc = gev__process_await(hub, p,
                            gev__clock_add(gev__now_base(hub), END_PATIENCE));
    if (rc == -ENOMEM) {
        (void)gev__process_await(hub, p, GEV__NEVER); /* needs no timer */
    }
    hub->current->shields--;
}

static int run_started(struct gev_hub *hub, struct gev_process *p,
                       struct gev__input input, gev_process_result *ret_result,
                       int64_t deadline)
{
    gev__process_use(p);
    gev__process_keep(p, p->leads);
    int rc = talk(hub, p, input, false, deadline);
    if (rc == 0) {
        rc = gev__process_status_error(p);
    } else {
        put_down(hub, p);
        gev__process_drain(p);
    }
    gev__process_take_result(p, ret_result);
    gev__process_unuse(p);
    gev__process_free(p);
    return rc;
}

static int settle_run(const gev_process_opts *opts, const void *data, size_t n,
                      gev_process_opts *ret_opts, struct gev__input *ret_input)
{
    int rc = make_input(data, n, ret_input);

    if (rc == 0 && data != NULL && opts != NULL && opts->in != 0) {
        return -EINVAL;
    }
    rc = rc < 0 ? rc : gev__process_opts(opts, ret_opts);
    if (rc < 0 || data == NULL) {
        return rc;
    }
    ret_opts->in = GEV_PROCESS_PIPE;
    return 0;
}

/* There was no time to start it. */
static int run_nothing(const gev_process_opts *opts,
                       gev_process_result *ret_result, int rc)
{
    gev_process_result r = {.status = -1};

    if (ret_result != NULL) {
        r.out = opts->out == GEV_PROCESS_PIPE ? gev__strdup("") : NULL;
        r.err = opts->err == GEV_PROCESS_PIPE ? gev__strdup("") : NULL;
        *ret_result = r;
    }
    return rc;
}

static int run(struct gev_hub *hub, char *const argv[],
               const gev_process_opts *opts, struct gev__input input,
               gev_process_result *ret_result, int64_t deadline)
{
    struct gev_process *p;

    if (argv == NULL || argv[0] == NULL) {
        return -EINVAL;
    }
    int rc = deadline == 0 ? -ETIMEDOUT : gev__park_check(hub);
    if (rc < 0) {
        return run_nothing(opts, ret_result, rc);
    }
    rc = gev__process_start(hub, argv, opts, &p);
    return rc < 0 ? rc : run_started(hub, p, input, ret_result, deadline);
}

static int run_settled(struct gev_hub *hub, char *const argv[],
                       const gev_process_opts *opts, const void *data, size_t n,
                       gev_process_result *ret_result, double timeout)
{
    gev_process_opts settled;
    struct gev__input input;
    int64_t deadline;
    int rc = gev__deadline(hub, timeout, &deadline);

    rc = rc < 0 ? rc : settle_run(opts, data, n, &settled, &input);
    return rc < 0 ? rc : run(hub, argv, &settled, input, ret_result, deadline);
}

static int run_shell(struct gev_hub *hub, const char *command)
{
    const gev_process_opts opts = {.file = GEV__SHELL};
    char *argv[4];
    gev_process_result r;
    struct stat st;

    if (command == NULL) {
        return gev__sys_lstat(opts.file, &st) == 0;
    }
    gev__process_shell_argv(command, argv);
    int rc = run(hub, argv, &opts, (struct gev__input){.data = NULL}, &r,
                 GEV__NEVER);
    return rc < 0 ? rc : r.status;
}

/* --- public --------------------------------------------------------------- */

int gev_process_communicate(gev_process *p, const void *input, size_t n,
                            gev_process_result *result, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL
               ? -1
               : (int)gev__ret(communicate(hub, p, input, n, result, timeout));
}

int gev_process_run(char *const argv[], const gev_process_opts *opts,
                    const void *input, size_t n, gev_process_result *result,
                    double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1
                       : (int)gev__ret(run_settled(hub, argv, opts, input, n,
                                                   result, timeout));
}

void gev_process_result_free(gev_process_result *result)
{
    if (result != NULL) {
        gev__free(result->out);
        gev__free(result->err);
        *result = (gev_process_result){.status = 0};
    }
}

int gev_system(const char *command)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(run_shell(hub, command));
}
