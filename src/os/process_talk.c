/* SPDX-License-Identifier: MIT */

/* What goes through a process's pipes: one greenlet, that of the caller, feeds
 * and reads all of them. Nothing is lost when it stops half-way: what it has
 * read is the process's, and so is what it has not written. */
#include "os/process.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/quiet.h"
#include "base/sys.h"
#include "hub/fd.h"
#include "hub/sched.h"

#include <signal.h>
#include <string.h>

#define ROOM_FIRST ((size_t)4096) /* of an output */
#define ROOM_LEAST ((size_t)2048) /* to read into */
/* A child that never stops talking gets a turn as any greenlet does: as much as
 * a pipe holds, then the others. */
#define BYTES_A_TURN ((size_t)64 * 1024)
/* What may be left in a pipe whose writers are dead: its largest size. */
#define BYTES_LEFT ((size_t)1 << 20)
/* How long a killed child may take to end (it may be stuck in the kernel). */
#define END_PATIENCE (5 * GEV__SEC)

/* --- one pipe ------------------------------------------------------------- */

void gev__process_close_pipe(struct gev_process *p, int which)
{
    struct gev_hub *hub = gev__thread_hub;
    int fd = p->pipes[which];

    if (fd < 0) {
        return;
    }
    p->pipes[which] = -1;
    if (hub != NULL) {
        gev__fd_forget(hub, fd);
    }
    gev__sys_close(fd);
}

/* Writes what fits. Bytes moved, 0 if none could be; or -errno. */
static ssize_t feed(struct gev_process *p)
{
    struct gev__input *in = &p->input;
    struct gev__quiet quiet;

    if (p->pipes[0] < 0) {
        return 0;
    }
    ssize_t n = 0;
    if (in->done < in->len) {
        gev__quiet_begin(&quiet);
        n = gev__sys_write(p->pipes[0], in->data + in->done,
                           in->len - in->done);
        gev__quiet_end(&quiet, n);
    }
    if (n == -EPIPE) {
        in->done = in->len; /* it wants no more */
        n = 0;
    } else if (n > 0) {
        in->done += (size_t)n;
    }
    if (in->done == in->len) {
        gev__process_close_pipe(p, 0);
    }
    return n == -EAGAIN ? 0 : n;
}

/* Room to read into, and for the NUL. */
static int make_room(struct gev__output *out)
{
    if (out->capacity - out->len > ROOM_LEAST) {
        return 0;
    }
    size_t capacity = out->capacity == 0 ? ROOM_FIRST : out->capacity * 2;
    char *data = gev__realloc(out->data, capacity);
    if (data == NULL) {
        return -ENOMEM;
    }
    out->data = data;
    out->capacity = capacity;
    return 0;
}

/* Reads what is there, once. As feed(). */
static ssize_t drink(struct gev_process *p, int which)
{
    struct gev__output *out = &p->outputs[which - 1];

    if (p->pipes[which] < 0) {
        return 0;
    }
    ssize_t n = make_room(out);
    if (n < 0) {
        return n;
    }
    n = gev__sys_read(p->pipes[which], out->data + out->len,
                      out->capacity - out->len - 1);
    if (n > 0) {
        out->len += (size_t)n;
    } else if (n == 0) {
        gev__process_close_pipe(p, which);
    }
    return n == -EAGAIN ? 0 : n;
}

void gev__process_drain(struct gev_process *p)
{
    for (int which = 1; which <= 2; which++) {
        size_t total = 0;
        ssize_t n;
        /* No more than that: somebody may still be writing. */
        while (total < BYTES_LEFT && (n = drink(p, which)) > 0) {
            total += (size_t)n;
        }
    }
}

/* --- all of them ---------------------------------------------------------- */

/* One round. Bytes moved, or -errno. */
static ssize_t move(struct gev_process *p)
{
    ssize_t fed = feed(p);
    ssize_t out = fed < 0 ? fed : drink(p, 1);
    ssize_t err = out < 0 ? out : drink(p, 2);

    return err < 0 ? err : fed + out + err;
}

static bool is_open(const struct gev_process *p)
{
    return p->pipes[0] >= 0 || p->pipes[1] >= 0 || p->pipes[2] >= 0;
}

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
        ssize_t n = move(p);
        if (n < 0 || !is_open(p)) {
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

/* What has to be there before anything is moved: so that what is there later
 * can be handed over without fail. */
static int begin(struct gev_process *p, const struct gev__input *input,
                 bool copy)
{
    int rc = 0;

    for (int i = 0; i < 2 && rc == 0; i++) {
        rc = p->piped[i + 1] ? make_room(&p->outputs[i]) : 0;
    }
    if (rc < 0 || p->fed) {
        return rc;
    }
    p->input = *input;
    if (copy && input->len > 0) {
        p->input.copy = gev__malloc(input->len); /* not touched yet */
        if (p->input.copy == NULL) {
            return -ENOMEM;
        }
    }
    p->fed = true;
    return 0;
}

/* Stops half-way: the caller's memory may go away. */
static void keep_input(struct gev__input *in)
{
    if (in->copy != NULL && in->data != in->copy) {
        memcpy(in->copy + in->done, in->data + in->done, in->len - in->done);
        in->data = in->copy;
    }
}

static void drop_input(struct gev__input *in)
{
    gev__free(in->copy);
    *in = (struct gev__input){.data = NULL};
}

int gev__process_talk(struct gev_hub *hub, struct gev_process *p,
                      struct gev__input input, bool copy, int64_t deadline)
{
    if (p->talking) {
        return -EBUSY;
    }
    if (input.data != NULL && (p->fed || p->pipes[0] < 0)) {
        return -EINVAL;
    }
    int rc = begin(p, &input, copy);
    if (rc < 0) {
        return rc;
    }
    p->talking = true;
    rc = move_all(hub, p, deadline);
    if (rc < 0) {
        keep_input(&p->input);
    } else {
        drop_input(&p->input);
        gev__process_keep(p, false);
        rc = gev__process_await(hub, p, deadline);
    }
    p->talking = false;
    return rc;
}

/* --- results -------------------------------------------------------------- */

static char *take_text(struct gev__output *out, size_t *ret_len)
{
    char *text = out->data;

    *ret_len = out->len;
    if (text != NULL) {
        text[out->len] = '\0';
        if (out->capacity - out->len > ROOM_FIRST) {
            char *smaller = gev__realloc(text, out->len + 1);
            text = smaller != NULL ? smaller : text;
        }
    }
    *out = (struct gev__output){.data = NULL};
    return text;
}

void gev__process_take_result(struct gev_process *p,
                              gev_process_result *ret_result)
{
    if (ret_result != NULL) {
        ret_result->status = p->ended ? p->status : -1;
        ret_result->out = take_text(&p->outputs[0], &ret_result->out_len);
        ret_result->err = take_text(&p->outputs[1], &ret_result->err_len);
    }
}

void gev__process_free_texts(struct gev_process *p)
{
    drop_input(&p->input);
    for (int i = 0; i < 2; i++) {
        gev__free(p->outputs[i].data);
        p->outputs[i] = (struct gev__output){.data = NULL};
    }
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
    rc = gev__process_talk(hub, p, input, true, deadline);
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
    int rc = gev__process_talk(hub, p, input, false, deadline);
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
