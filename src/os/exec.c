/* SPDX-License-Identifier: MIT */
#include "os/exec.h"

#include "base/alloc.h"
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIGNALS 64 /* Linux's _NSIG - 1 */
#define DEFAULT_PATH "/bin:/usr/bin"
#define SANE_LIMIT (1 << 20) /* descriptors, when there is no better way */

/* What the two sides share. Some tools make a fork of the vfork: then the
 * child's writes do not reach the parent, and a pipe is needed. Whether they do
 * is known after the first start. */
struct start {
    const struct gev__exec *exec;
    char **paths;           /* what to try, up to a NULL */
    sigset_t mask;          /* the caller's */
    int report;             /* the pipe's writing end, or -1 */
    volatile int error;     /* -errno; written by the child */
    volatile bool was_here; /* the same */
};

enum { UNKNOWN, SHARED, NOT_SHARED };
static atomic_int memory_is;

/* --- in the child --------------------------------------------------------- */

/* Handlers must not be there any more when signals are let in. */
static void reset_signals(bool keep_ignored)
{
    struct sigaction action;

    for (int i = 1; i <= SIGNALS; i++) {
        if (keep_ignored && (gev__sys_sigaction(i, NULL, &action) < 0 ||
                             action.sa_handler == SIG_IGN)) {
            continue;
        }
        memset(&action, 0, sizeof(action));
        action.sa_handler = SIG_DFL;
        (void)gev__sys_sigaction(i, &action, NULL); /* KILL, STOP: EINVAL */
    }
}

/* Moves a descriptor out of the way of 0, 1 and 2. */
static int move_up(int *fd)
{
    int rc = gev__sys_dup_from(*fd, 3);

    if (rc >= 0) {
        *fd = rc;
    }
    return rc < 0 ? rc : 0;
}

static int make_blocking(int fd)
{
    int flags = gev__sys_getfl(fd);

    if (flags >= 0 && (flags & O_NONBLOCK)) {
        return gev__sys_setfl(fd, flags & ~O_NONBLOCK);
    }
    return flags < 0 ? flags : 0;
}

/* Puts one in its place, without close-on-exec. */
static int place(int fd, int target)
{
    int rc = fd == target ? gev__sys_setfd(fd, 0) : gev__sys_dup2(fd, target);

    return rc < 0 ? rc : 0;
}

static int place_all(struct start *s)
{
    const struct gev__exec *e = s->exec;
    int fds[3] = {e->fds[0], e->fds[1], e->fds[2]};
    int rc = 0;

    if (s->report >= 0 && s->report <= 2) {
        rc = move_up(&s->report);
    }
    for (int i = 0; i < 3 && rc == 0; i++) {
        if (fds[i] >= 0 && fds[i] <= 2 && fds[i] != i) {
            rc = move_up(&fds[i]);
        }
    }
    for (int i = 0; i < 3 && rc == 0; i++) {
        if (fds[i] >= 0) {
            rc = place(fds[i], i);
        }
        if (rc == 0 && e->blocking[i]) {
            rc = make_blocking(i);
        }
    }
    return rc == 0 && e->err_to_out ? place(1, 2) : rc;
}

struct dirent64_head {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

/* The descriptor a name in /proc/self/fd stands for; -1. */
static int fd_of_name(const char *name)
{
    int fd = 0;

    if (*name < '0' || *name > '9') {
        return -1;
    }
    for (; *name >= '0' && *name <= '9'; name++) {
        fd = fd * 10 + (*name - '0');
    }
    return fd;
}

static int cloexec_listed(int dir)
{
    _Alignas(8) char buffer[2048];
    ssize_t n;

    while ((n = gev__sys_getdents(dir, buffer, sizeof(buffer))) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct dirent64_head *d = (const void *)(buffer + at);
            int fd = fd_of_name(d->name);
            if (fd >= 3) {
                (void)gev__sys_setfd(fd, FD_CLOEXEC);
            }
            at += d->reclen;
        }
    }
    return (int)n;
}

/* On kernels before 5.11. */
static void cloexec_one_by_one(void)
{
    int dir = gev__sys_open("/proc/self/fd", O_RDONLY | O_DIRECTORY, 0);
    int rc = dir < 0 ? dir : cloexec_listed(dir);

    if (dir >= 0) {
        gev__sys_close(dir);
    }
    if (rc < 0) {
        rlim_t limit = gev__sys_fd_limit();
        int end = limit < SANE_LIMIT ? (int)limit : SANE_LIMIT;
        for (int fd = 3; fd < end; fd++) {
            (void)gev__sys_setfd(fd, FD_CLOEXEC);
        }
    }
}

/* Whatever else is open, by whichever thread, ends with the exec. */
static int pass_on(const struct gev__exec *e)
{
    int rc = 0;

    if (gev__sys_cloexec_from(3) < 0) {
        cloexec_one_by_one();
    }
    for (size_t i = 0; i < e->n_pass_fds && rc >= 0; i++) {
        if (e->pass_fds[i] > 2) {
            rc = gev__sys_setfd(e->pass_fds[i], 0);
        }
    }
    return rc < 0 ? rc : 0;
}

/* As execvp(3) searches: on past what is not there or not allowed. */
static int exec_first(const struct start *s)
{
    int rc = -ENOENT;
    bool refused = false;

    for (char **path = s->paths; *path != NULL; path++) {
        rc = gev__sys_execve(*path, s->exec->argv, s->exec->env);
        switch (rc) {
        case -EACCES:
            refused = true;
            break;
        case -ENOENT:
        case -ENOTDIR:
        case -ESTALE:
        case -ENODEV:
        case -ETIMEDOUT:
            break;
        default:
            return rc;
        }
    }
    return refused ? -EACCES : rc;
}

static int become(struct start *s)
{
    const struct gev__exec *e = s->exec;
    bool keep = (e->flags & GEV_PROCESS_KEEP_SIGNALS) != 0;
    int rc = 0;

    reset_signals(keep);
    if (e->flags & GEV_PROCESS_NEW_SESSION) {
        rc = gev__sys_setsid();
    } else if (e->flags & GEV_PROCESS_NEW_GROUP) {
        rc = gev__sys_setpgid(0, 0);
    }
    if (rc >= 0) {
        rc = place_all(s);
    }
    if (rc >= 0 && e->cwd != NULL) {
        rc = gev__sys_chdir(e->cwd);
    }
    if (rc >= 0) {
        rc = pass_on(e);
    }
    if (rc < 0) {
        return rc;
    }
    if (!keep) {
        sigemptyset(&s->mask);
    }
    pthread_sigmask(SIG_SETMASK, &s->mask, NULL);
    return exec_first(s);
}

static void run_child(void *arg)
{
    struct start *s = arg;

    s->was_here = true;
    int error = become(s);
    s->error = error;
    if (s->report >= 0) {
        (void)gev__sys_write(s->report, &error, sizeof(error));
    }
    _exit(127);
}

/* --- in the parent -------------------------------------------------------- */

/* All places to look for the program, in one block. */
static char **list_paths(const char *file)
{
    size_t length = strlen(file);
    const char *path = strchr(file, '/') != NULL ? "" : getenv("PATH");

    if (path == NULL) {
        path = DEFAULT_PATH;
    }
    size_t n = 1;
    for (const char *p = path; *p != '\0'; p++) {
        n += *p == ':';
    }
    /* Each name: a part of path, a slash for its colon, file, a NUL. */
    size_t bytes = strlen(path) + n * (length + 2);
    char **list = gev__malloc((n + 1) * sizeof(*list) + bytes);
    if (list == NULL) {
        return NULL;
    }
    char *to = (char *)(list + n + 1);
    for (size_t i = 0; i < n; i++) {
        size_t part = strcspn(path, ":");
        list[i] = to;
        memcpy(to, path, part);
        to += part;
        if (part > 0) {
            *to++ = '/';
        }
        memcpy(to, file, length + 1);
        to += length + 1;
        path += part + (path[part] == ':');
    }
    list[n] = NULL;
    return list;
}

/* What the child says, waiting until it has called exec. */
static int read_report(int fd)
{
    int error = 0;
    ssize_t n = gev__sys_read(fd, &error, sizeof(error));

    return n == (ssize_t)sizeof(error) ? error : 0;
}

static int start(struct start *s, pid_t *ret_pid)
{
    sigset_t all;
    int fds[2] = {-1, -1};

    if (atomic_load(&memory_is) != SHARED) {
        int rc = gev__sys_pipe2(fds, O_CLOEXEC);
        if (rc < 0) {
            return rc;
        }
    }
    s->report = fds[1];
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &s->mask);
    sigset_t mask = s->mask;
    pid_t pid = gev__sys_vfork(run_child, s);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);

    int error = pid < 0 ? pid : s->error;
    if (fds[0] >= 0) {
        gev__sys_close(fds[1]);
        if (pid > 0 && !s->was_here) {
            error = read_report(fds[0]);
        }
        gev__sys_close(fds[0]);
    }
    if (pid > 0) {
        atomic_store(&memory_is, s->was_here ? SHARED : NOT_SHARED);
    }
    if (pid > 0 && error < 0) {
        (void)gev__sys_waitpid(pid, NULL, 0);
    }
    *ret_pid = pid;
    return error;
}

int gev__exec_start(const struct gev__exec *exec, pid_t *ret_pid)
{
    struct start s = {.exec = exec, .paths = list_paths(exec->file)};

    if (s.paths == NULL) {
        return -ENOMEM;
    }
    int rc = exec->file[0] == '\0' ? -ENOENT : start(&s, ret_pid);
    gev__free(s.paths);
    return rc;
}
