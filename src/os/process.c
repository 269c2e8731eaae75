/* SPDX-License-Identifier: MIT */
#include "os/process.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/sys.h"
#include "hub/fd.h"
#include "hub/sched.h"
#include "os/exec.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define ALL_FLAGS                                                              \
    ((unsigned)(GEV_PROCESS_NEW_SESSION | GEV_PROCESS_NEW_GROUP |              \
                GEV_PROCESS_KEEP_SIGNALS))

/* --- options -------------------------------------------------------------- */

static int check_fd(int fd)
{
    int rc = gev__sys_getfd(fd);

    return rc < 0 ? rc : 0;
}

static int check_source(int source, int which)
{
    if (source > 0) {
        return check_fd(source);
    }
    return source < GEV_PROCESS_STDOUT ||
                   (source == GEV_PROCESS_STDOUT && which != 2)
               ? -EINVAL
               : 0;
}

int gev__process_opts(const gev_process_opts *opts, gev_process_opts *ret_opts)
{
    gev_process_opts o = {.size = sizeof(o)};

    if (opts != NULL) {
        size_t size = opts->size == 0 ? sizeof(o) : opts->size;
        if (size < offsetof(gev_process_opts, file) || size > 4096) {
            return -EINVAL;
        }
        memcpy(&o, opts, size < sizeof(o) ? size : sizeof(o));
    }
    if ((o.flags & ~ALL_FLAGS) || (o.pass_fds == NULL && o.n_pass_fds > 0)) {
        return -EINVAL;
    }
    int rc = check_source(o.in, 0);
    rc = rc < 0 ? rc : check_source(o.out, 1);
    rc = rc < 0 ? rc : check_source(o.err, 2);
    for (size_t i = 0; i < o.n_pass_fds && rc == 0; i++) {
        rc = check_fd(o.pass_fds[i]);
    }
    *ret_opts = o;
    return rc;
}

/* --- starting ------------------------------------------------------------- */

/* Both ends close-on-exec, the first in *ours and non-blocking. */
static int make_pipe(struct gev_hub *hub, bool we_write, int *ret_ours,
                     int *ret_theirs)
{
    int fds[2];
    int rc = gev__sys_pipe2(fds, O_CLOEXEC);

    if (rc < 0) {
        return rc;
    }
    *ret_ours = fds[we_write];
    *ret_theirs = fds[!we_write];
    rc = gev__sys_setfl(*ret_ours, O_NONBLOCK);
    return rc < 0 ? rc : gev__fd_opened(hub, *ret_ours, GEV__FD_STREAM, NULL);
}

/* What becomes descriptor i of the child. *ret_owned is to be closed once it
 * has it. */
static int make_source(struct gev_hub *hub, struct gev_process *p, int source,
                       int i, struct gev__exec *exec, int *ret_owned)
{
    int rc = 0;

    if (source == GEV_PROCESS_PIPE) {
        p->piped[i] = true;
        rc = make_pipe(hub, i == 0, &p->pipes[i], ret_owned);
    } else if (source == GEV_PROCESS_NULL) {
        rc = gev__sys_open("/dev/null", i == 0 ? O_RDONLY : O_WRONLY, 0);
        *ret_owned = rc < 0 ? -1 : rc;
    } else if (source == GEV_PROCESS_STDOUT) {
        exec->err_to_out = true;
    } else if (source > 0) {
        exec->fds[i] = source;
        exec->blocking[i] = true;
        return 0;
    }
    exec->fds[i] = *ret_owned;
    return rc < 0 ? rc : 0;
}

/* Starts it, with p's pipes made on the way. */
static int launch(struct gev_hub *hub, struct gev_process *p,
                  char *const argv[], const gev_process_opts *opts)
{
    const int sources[3] = {opts->in, opts->out, opts->err};
    int owned[3] = {-1, -1, -1};
    struct gev__exec exec = {
        .argv = argv,
        .env = opts->env != NULL ? opts->env : environ,
        .file = opts->file != NULL ? opts->file : argv[0],
        .cwd = opts->cwd,
        .fds = {-1, -1, -1},
        .pass_fds = opts->pass_fds,
        .n_pass_fds = opts->n_pass_fds,
        .flags = opts->flags,
    };
    int rc = gev__process_prepare(hub);

    for (int i = 0; i < 3 && rc == 0; i++) {
        rc = make_source(hub, p, sources[i], i, &exec, &owned[i]);
    }
    if (rc == 0) {
        rc = gev__exec_start(&exec, &p->pid);
    }
    for (int i = 0; i < 3; i++) {
        if (owned[i] >= 0) {
            gev__sys_close(owned[i]);
        }
    }
    return rc;
}

static bool is_ready(const struct gev_waitable *w)
{
    struct gev_process *p = gev__container_of(
        (struct gev_waitable *)(uintptr_t)w, struct gev_process, waitable);

    return p->ended || (p->hub != NULL && gev__process_look(p));
}

static const struct gev__waitable_ops process_ops = {.name = "process",
                                                     .is_ready = is_ready};

static struct gev_process *make(struct gev_hub *hub, unsigned flags)
{
    struct gev_process *p = gev__calloc(1, sizeof(*p));

    if (p == NULL) {
        return NULL;
    }
    p->waitable.ops = &process_ops;
    gev__owner_set(&p->waitable.owner, hub);
    gev__list_init(&p->link);
    p->generation = atomic_load(&gev__process_generation);
    p->leads = (flags & (GEV_PROCESS_NEW_GROUP | GEV_PROCESS_NEW_SESSION)) != 0;
    p->pidfd = -1;
    for (int i = 0; i < 3; i++) {
        p->pipes[i] = -1;
    }
    return p;
}

int gev__process_start(struct gev_hub *hub, char *const argv[],
                       const gev_process_opts *opts,
                       struct gev_process **ret_process)
{
    if (argv == NULL || argv[0] == NULL) {
        return -EINVAL;
    }
    struct gev_process *p = make(hub, opts->flags);
    if (p == NULL) {
        return -ENOMEM;
    }
    int rc = launch(hub, p, argv, opts);
    if (rc < 0) {
        p->ended = true;
        gev__process_free(p);
        return rc;
    }
    rc = gev__sys_pidfd_open(p->pid);
    p->pidfd = rc < 0 ? -1 : rc;
    gev__process_watch(hub, p);
    *ret_process = p;
    return 0;
}

int gev__process_signal(struct gev_process *p, int signum, bool group)
{
    if (group && p->leads && !p->ended) {
        return gev__sys_kill(-p->pid, -1, signum);
    }
    if (gev__process_look(p)) {
        return 0;
    }
    int rc = gev__sys_kill(p->pid, p->pidfd, signum);
    return rc == -ESRCH ? 0 : rc;
}

static int new_process(struct gev_hub *hub, char *const argv[],
                       const gev_process_opts *opts,
                       struct gev_process **ret_process)
{
    gev_process_opts settled;
    int rc = gev__process_opts(opts, &settled);

    return rc < 0 ? rc : gev__process_start(hub, argv, &settled, ret_process);
}

void gev__process_shell_argv(const char *command, char *ret_argv[4])
{
    static char sh[] = "sh";
    static char option[] = "-c";

    ret_argv[0] = sh;
    ret_argv[1] = option;
    ret_argv[2] = (char *)(uintptr_t)command;
    ret_argv[3] = NULL;
}

static int new_shell(struct gev_hub *hub, const char *command,
                     const gev_process_opts *opts,
                     struct gev_process **ret_process)
{
    char *argv[4];
    gev_process_opts settled;
    int rc = gev__process_opts(opts, &settled);

    if (rc == 0 && (command == NULL || settled.file != NULL)) {
        rc = -EINVAL;
    }
    if (rc < 0) {
        return rc;
    }
    gev__process_shell_argv(command, argv);
    settled.file = GEV__SHELL;
    return gev__process_start(hub, argv, &settled, ret_process);
}

/* --- pipes, waiting ------------------------------------------------------- */

static int pipe_of(const struct gev_process *p, int which)
{
    if (p == NULL) {
        return -EINVAL;
    }
    return which < 0 || which > 2 || p->pipes[which] < 0 ? -EBADF
                                                         : p->pipes[which];
}

static int close_one(struct gev_process *p, int which)
{
    int rc = pipe_of(p, which);

    if (rc >= 0 && p->hub != NULL && p->hub != gev__thread_hub) {
        rc = -EPERM;
    }
    if (rc >= 0) {
        gev__process_close_pipe(p, which);
    }
    return rc < 0 ? rc : 0;
}

static int give_status(const struct gev_process *p, int *ret_status)
{
    int rc = gev__process_status_error(p);

    if (rc == 0 && ret_status != NULL) {
        *ret_status = p->status;
    }
    return rc;
}

static int poll_process(struct gev_hub *hub, struct gev_process *p,
                        int *ret_status)
{
    int rc = gev__process_enter(hub, p);

    if (rc == 0 && gev__process_look(p)) {
        rc = give_status(p, ret_status);
        return rc < 0 ? rc : 1;
    }
    return rc;
}

static int wait_process(struct gev_hub *hub, struct gev_process *p,
                        int *ret_status, double timeout)
{
    int64_t deadline = 0;
    int rc = gev__process_enter(hub, p);

    if (rc == 0) {
        rc = gev__deadline(hub, timeout, &deadline);
    }
    if (rc < 0) {
        return rc;
    }
    gev__process_use(p);
    rc = gev__process_await(hub, p, deadline);
    if (rc == 0) {
        rc = give_status(p, ret_status);
    }
    gev__process_unuse(p);
    return rc;
}

static int kill_process(struct gev_hub *hub, struct gev_process *p, int signum)
{
    int rc = gev__process_enter(hub, p);

    if (rc == 0 && (signum < 0 || signum > 64)) {
        rc = -EINVAL;
    }
    return rc < 0 ? rc : gev__process_signal(p, signum, false);
}

/* --- public --------------------------------------------------------------- */

gev_process *gev_process_new(char *const argv[], const gev_process_opts *opts)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev_process *p = NULL;

    if (hub == NULL) {
        return NULL;
    }
    int rc = new_process(hub, argv, opts, &p);
    return rc < 0 ? gev__ret_null(rc) : p;
}

gev_process *gev_process_shell(const char *command,
                               const gev_process_opts *opts)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev_process *p = NULL;

    if (hub == NULL) {
        return NULL;
    }
    int rc = new_shell(hub, command, opts, &p);
    return rc < 0 ? gev__ret_null(rc) : p;
}

pid_t gev_process_pid(const gev_process *p)
{
    return (pid_t)gev__ret(p == NULL ? -EINVAL : p->pid);
}

int gev_process_fd(const gev_process *p, int which)
{
    return (int)gev__ret(pipe_of(p, which));
}

int gev_process_close(gev_process *p, int which)
{
    return (int)gev__ret(close_one(p, which));
}

int gev_process_poll(gev_process *p, int *status)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(poll_process(hub, p, status));
}

int gev_process_wait(gev_process *p, int *status, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1
                       : (int)gev__ret(wait_process(hub, p, status, timeout));
}

int gev_process_kill(gev_process *p, int signum)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(kill_process(hub, p, signum));
}

void gev_process_free(gev_process *p)
{
    if (p != NULL) {
        gev__process_free(p);
    }
}

gev_waitable *gev_process_waitable(gev_process *p)
{
    return p == NULL ? NULL : &p->waitable;
}
