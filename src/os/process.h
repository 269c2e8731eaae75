/* SPDX-License-Identifier: MIT */
#ifndef GEV_OS_PROCESS_H
#define GEV_OS_PROCESS_H

/* A child process, as its parent sees it.
 *
 *   process_watch.c   knows when it ends: reaping, hubs that close, forks
 *   process_pipe.c    its pipes, and what has gone through them
 *   process_talk.c    a greenlet that feeds and reads them
 *   process.c         making, waiting, freeing
 *   exec.c            starting the program
 *
 * Each running process is watched from its start: by its pidfd, or where there
 * is none (an old kernel, no descriptor left) by looking now and then. The hub
 * that watches reaps it at once, so nothing has to be armed when somebody
 * begins to wait.
 *
 *   invariant: hub != NULL  <=>  it is on that hub's list, watched, not ended
 *   invariant: the kernel still knows pid  <=>  !ended */

#include "hub/hub.h"
#include "hub/waitable.h"
#include "hub/watch.h"

#include <gev/process.h>

/* What came through a pipe: len bytes in room for capacity. */
struct gev__output {
    char *data;
    size_t len;
    size_t capacity;
};

/* What is to go through: bytes from done to len are still to be written. */
struct gev__input {
    const char *data;
    char *copy; /* our own memory for it, or NULL */
    size_t len;
    size_t done;
};

struct gev_process {
    struct gev_waitable waitable; /* first */
    struct gev__list link;        /* on its hub's list, or the orphans' */
    struct gev_hub *hub;          /* that watches it, or NULL */
    struct gev__watch watch;      /* on pidfd */
    struct gev__timer look;       /* armed instead where that cannot be */
    int64_t pause;                /* between looks, ns */
    struct gev__waitq waiters;
    unsigned generation; /* gev__process_generation when it began */
    unsigned users;      /* calls that park with it */
    pid_t pid;
    int pidfd; /* -1: none */
    int status;
    int pipes[3]; /* our ends; -1: none, or closed */
    bool piped[3];
    bool ended;
    bool lost;      /* ended, but somebody else has the status */
    bool freed;     /* by the user; ours until it ends */
    bool leads;     /* a group or session of its own */
    bool holds;     /* the hub: somebody may want to know how it ends */
    bool keep_dead; /* not to be reaped yet: its group is still needed */
    bool talking;   /* a greenlet is in communicate */
    bool fed;       /* input was given, or its pipe closed for want of any */
    struct gev__input input;
    struct gev__output outputs[2];
};

/* How many forks this process is away from where gev began. */
extern atomic_uint gev__process_generation
    __attribute__((visibility("hidden")));

/* --- process_watch.c ------------------------------------------------------ */

/* Before a process is started: all that gev__process_watch() may need. -ENOMEM.
 */
int gev__process_prepare(struct gev_hub *hub);

/* Has the hub watch one that was started; it cannot fail after prepare. */
void gev__process_watch(struct gev_hub *hub, struct gev_process *p);

/* For a call on p: 0 if it is this hub's, or now is (its own was closed);
 * -EINVAL, -EPERM, -ENOMEM. */
int gev__process_enter(struct gev_hub *hub, struct gev_process *p);

/* Whether it has ended, asking the kernel: true reaps it, tells those who wait,
 * and frees it if only that was waited for. */
bool gev__process_look(struct gev_process *p);

/* 0 if not ended or the status is there; -ECHILD. */
static inline int gev__process_status_error(const struct gev_process *p)
{
    return p->lost ? -ECHILD : 0;
}

/* Has it stay unreaped when it ends: its number, which is its group's too, is
 * nobody else's until this is taken back. May reap it then. */
void gev__process_keep(struct gev_process *p, bool keep);

/* Waits for the end. 0 or the park's error. */
int gev__process_await(struct gev_hub *hub, struct gev_process *p,
                       int64_t deadline);

/* Lets go of it; see gev_process_free(). */
void gev__process_free(struct gev_process *p);

/* A call that parks with p begins, ends. */
static inline void gev__process_use(struct gev_process *p)
{
    p->users++;
}
void gev__process_unuse(struct gev_process *p);

/* --- process_pipe.c ------------------------------------------------------- */

/* What has to be there before anything is moved: so that what is there later
 * can be handed over without fail. copy: the input may go away before its end.
 * -ENOMEM. */
int gev__process_begin_input(struct gev_process *p,
                             const struct gev__input *input, bool copy);

/* The input is about to go away; what is still to be written stays. */
void gev__process_keep_input(struct gev_process *p);
void gev__process_drop_input(struct gev_process *p);

/* Writes and reads once what each pipe has room for, and holds. Bytes moved, or
 * -errno. */
ssize_t gev__process_move(struct gev_process *p);

/* Reads what is in the pipes without waiting for more. */
void gev__process_drain(struct gev_process *p);

/* Whether one is open. */
bool gev__process_has_pipe(const struct gev_process *p);

/* Closes one of the pipes, if it is open. */
void gev__process_close_pipe(struct gev_process *p, int which);

/* Hands status and texts over. */
void gev__process_take_result(struct gev_process *p,
                              gev_process_result *ret_result);

void gev__process_free_texts(struct gev_process *p);

/* --- process.c ------------------------------------------------------------ */

/* Copies options, of whatever size they are. -EINVAL. */
int gev__process_opts(const gev_process_opts *opts, gev_process_opts *ret_opts);

int gev__process_start(struct gev_hub *hub, char *const argv[],
                       const gev_process_opts *opts,
                       struct gev_process **ret_process);

#define GEV__SHELL "/bin/sh"

/* sh -c command */
void gev__process_shell_argv(const char *command, char *ret_argv[4]);

/* Signals it, or its group too; nothing if it has ended. */
int gev__process_signal(struct gev_process *p, int signum, bool group);

#endif
