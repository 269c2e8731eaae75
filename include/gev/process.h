/* SPDX-License-Identifier: MIT */
#ifndef GEV_PROCESS_H
#define GEV_PROCESS_H

/** @file gev/process.h
 *  Other programs as children: started from any thread's hub, waited for
 *  without SIGCHLD, and nobody else's children are touched.
 *
 *  @code
 *  char *const argv[] = {"sort", "-u", NULL};
 *  gev_process_opts opts = {.out = GEV_PROCESS_PIPE};
 *  gev_process_result r;
 *  if (gev_process_run(argv, &opts, text, strlen(text), &r, 5.0) == 0) {
 *      fputs(r.out, stdout);
 *      gev_process_result_free(&r);
 *  }
 *  @endcode
 *
 *  A process is a waitable (GEV_WAITABLE(p) of gev/wait.h): ready when it has
 *  ended. While it runs it counts as able to wake somebody, so gev_run() goes
 *  on and there is no EDEADLK, until gev_process_free().
 *
 *  Should somebody else reap the child (a waitpid(-1), an ignored SIGCHLD), it
 *  counts as ended and its status is lost: gev_process_wait() fails with
 *  ECHILD. So it does in a forked child, whose process it is not; there
 *  gev_process_free() only frees.
 */
#include <gev/base.h>

#include <sys/types.h>

GEV_BEGIN_DECLS

/** A child process. */
typedef struct gev_process gev_process;

/** in, out, err: a pipe, whose other end is gev_process_fd(). */
#define GEV_PROCESS_PIPE (-1)
/** in, out, err: /dev/null. */
#define GEV_PROCESS_NULL (-2)
/** err only: where out goes. */
#define GEV_PROCESS_STDOUT (-3)

/** Flags of gev_process_opts. */
enum gev_process_flag {
    /** The child leads a session of its own, without a terminal. */
    GEV_PROCESS_NEW_SESSION = 1 << 0,
    /** The child leads a process group of its own. */
    GEV_PROCESS_NEW_GROUP = 1 << 1,
    /** The child keeps the caller's signal mask, and ignores what is ignored.
     *  Else its mask is empty and all dispositions are the default. */
    GEV_PROCESS_KEEP_SIGNALS = 1 << 2
};

/** Options of a new process; zero means the default. */
typedef struct gev_process_opts {
    size_t size; /**< sizeof(gev_process_opts): room to grow; 0: the same */
    int in;  /**< 0: inherited; a descriptor > 0, which stays the caller's; or
                  one of the above. The child gets it in blocking mode, which
                  copies of it share. */
    int out; /**< the same */
    int err; /**< the same */
    const char *file;    /**< the program, NULL = argv[0]. Without a slash it is
                              searched in the caller's PATH; relative names, of
                              PATH too, count from cwd. No shell stands in for
                              what the kernel cannot execute: ENOEXEC. */
    const char *cwd;     /**< where it runs; NULL: here */
    char *const *env;    /**< its environment; NULL: the caller's */
    const int *pass_fds; /**< kept under their numbers; of the others only 0
                              to 2 are */
    size_t n_pass_fds;   /**< how many */
    unsigned flags;      /**< enum gev_process_flag */
} gev_process_opts;

/** What came of a process. */
typedef struct gev_process_result {
    int status;     /**< as waitpid(2)'s; -1: not known */
    char *out;      /**< what it wrote; NULL when not a pipe; a NUL follows the
                         last byte */
    char *err;      /**< the same */
    size_t out_len; /**< bytes in out */
    size_t err_len; /**< bytes in err */
} gev_process_result;

/** Starts a program.
 *
 *  When it returns, exec has succeeded or nothing is left of the child. All
 *  descriptors but 0 to 2 and pass_fds are closed in it, whoever opened them.
 *
 *  Parks:  no.
 *  Owns:   returns one process, for gev_process_free(). argv and opts are used
 *          during the call only.
 *  @param argv  up to a NULL; the first is the program's name
 *  @param opts  NULL: all defaults
 *  @return the process, or NULL on error
 *
 *  Errors:
 *    EINVAL  no argv[0], an unknown flag, GEV_PROCESS_STDOUT for in or out, or
 *            no such size
 *    EBADF   a descriptor given is not open
 *    ENOENT, EACCES  no such program, or no such cwd; or not allowed
 *    ENOEXEC  not a program
 *    E2BIG   arguments and environment are too long
 *    EAGAIN  no more processes for this user
 *    EMFILE, ENFILE, ENOMEM  no descriptors for the pipes; no memory
 *    and whatever else execve(2) and chdir(2) fail with
 *  Source: subprocess.Popen (SUB1, SUB2, SUB8, SUB11)
 *  @since 0.1
 */
GEV_API gev_process *gev_process_new(char *const argv[],
                                     const gev_process_opts *opts);

/** Starts a shell command, `sh -c command`: with opts.in or out a pipe this is
 *  what popen(3) is for.
 *
 *  Parks:  no.
 *  Owns:   returns one process, for gev_process_free().
 *  @param opts  NULL: all defaults; file must be NULL
 *
 *  Errors:
 *    EINVAL  NULL, or a file in opts
 *    and those of gev_process_new()
 *  Source: popen(3); subprocess.Popen(shell=True) (SUB1)
 *  @since 0.1
 */
GEV_API gev_process *gev_process_shell(const char *command,
                                       const gev_process_opts *opts);

/** Its process id; may stand for another process once this one has ended.
 *
 *  Parks:  no.
 *  @return the id, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL
 *  Source: Popen.pid
 *  @since 0.1
 */
GEV_API pid_t gev_process_pid(const gev_process *p);

/** The caller's end of a pipe: non-blocking, close-on-exec, for gev_read(),
 *  gev_write() and the like. It is p's: close it by gev_process_close().
 *
 *  Parks:  no.
 *  @param which  0: what the child reads; 1, 2: its out and err
 *  @return the descriptor, or -1 on error
 *
 *  Errors:
 *    EBADF   there is none, or it is closed
 *    EINVAL  NULL
 *  Source: Popen.stdin, stdout, stderr (SUB2)
 *  @since 0.1
 */
GEV_API int gev_process_fd(const gev_process *p, int which);

/** Closes the caller's end of a pipe; who is parked on it gets EBADF.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBADF   there is none, or it is closed
 *    EPERM   another thread's process
 *    EINVAL  NULL
 *  Source: Popen.stdin.close() (SUB2)
 *  @since 0.1
 */
GEV_API int gev_process_close(gev_process *p, int which);

/** Whether it has ended. Asks the kernel: a loop over this comes to an end.
 *
 *  Parks:  no.
 *  @param status  set to what waitpid(2) gives, if it has
 *  @return 1: it has; 0: not yet; -1 on error
 *
 *  Errors:
 *    ECHILD  it was reaped by somebody else
 *    EPERM   another thread's process
 *    EINVAL  NULL
 *  Source: Popen.poll (SUB4)
 *  @since 0.1
 */
GEV_API int gev_process_poll(gev_process *p, int *status);

/** Waits until it has ended; any number of times, by any number of greenlets.
 *  Running out of time leaves the process as it is.
 *
 *  Parks:  unless it has ended, or timeout <= 0.
 *  @param status  set to what waitpid(2) gives
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  it has not ended in time
 *    ECHILD  it was reaped by somebody else
 *    EPERM   another thread's process
 *    EINVAL  NULL, or NaN
 *    and those of any park
 *  Source: Popen.wait (SUB3)
 *  @since 0.1
 */
GEV_API int gev_process_wait(gev_process *p, int *status, double timeout);

/** Sends it a signal; once it has ended, nothing.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL, or no such signal
 *    EPERM   not allowed: it runs as another user; or another thread's process
 *  Source: Popen.send_signal, terminate, kill (SUB7)
 *  @since 0.1
 */
GEV_API int gev_process_kill(gev_process *p, int signum);

/** Feeds it, reads what it writes to pipes up to their end, closes the pipes,
 *  and waits for it. That it does not read its input (EPIPE) is no error.
 *
 *  After ETIMEDOUT, or another error of a park, it may be called again, without
 *  input: what was not yet written is kept in a copy, what was read is kept,
 *  and comes with the call that succeeds. The end of a pipe does not come while
 *  any process holds its other end, be it a grandchild.
 *
 *  Parks:  unless all is there, or timeout <= 0.
 *  Owns:   the texts in *result are the caller's, for
 *          gev_process_result_free().
 *  @param input   what it is to read; NULL: nothing more
 *  @param result  NULL: discards
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  time ran out
 *    EBUSY   another greenlet is in this call
 *    EINVAL  NULL, NaN, input but no pipe to write it to, or input a second
 *            time
 *    ECHILD  it was reaped by somebody else; *result is filled in, with a
 *            status of -1
 *    EPERM   another thread's process
 *    ENOMEM  no memory; call it again
 *    and those of any park
 *  Source: Popen.communicate (SUB5)
 *  @since 0.1
 */
GEV_API int gev_process_communicate(gev_process *p, const void *input, size_t n,
                                    gev_process_result *result, double timeout);

/** Starts a program, communicates, and frees: the whole of it in a call.
 *
 *  When the time runs out, the caller is killed or its scope expires, the child
 *  is killed (SIGKILL; its whole group with GEV_PROCESS_NEW_GROUP or
 *  NEW_SESSION) and reaped, and *result has what was read until then: also in
 *  that case free it. Nobody waits then for a grandchild that holds the pipe.
 *  With timeout <= 0, or if the caller is killed already, nothing is started.
 *
 *  Parks:  unless timeout <= 0.
 *  Owns:   as gev_process_communicate().
 *  @param input   what it reads, through a pipe; NULL: opts->in says
 *  @param result  NULL: discards
 *  @return 0 whatever its status is, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT  time ran out
 *    EINVAL  NaN, input together with opts->in, GEV_PROCESS_STDOUT for out, or
 *            n without input
 *    ECHILD  as gev_process_communicate()
 *    and those of gev_process_new() and of any park
 *  Source: subprocess.run, call, check_output (SUB6, SUB10)
 *  @since 0.1
 */
GEV_API int gev_process_run(char *const argv[], const gev_process_opts *opts,
                            const void *input, size_t n,
                            gev_process_result *result, double timeout);

/** Frees the texts and zeroes it. NULL is fine.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API void gev_process_result_free(gev_process_result *result);

/** Closes the pipes and lets go. A running child is not killed, and reaped when
 *  it ends: by its hub; if that is closed before, or the kernel has no pidfd
 *  (Linux before 5.3), by the next start of a process in any thread. Who waits
 * for it still gets its end. NULL is fine; another thread's process stays as it
 * is.
 *
 *  Parks:  no.
 *  Source: Popen.__exit__ (SUB10)
 *  @since 0.1
 */
GEV_API void gev_process_free(gev_process *p);

/** Runs a shell command and waits for it, as system(3) does but for signals:
 *  this process's SIGINT, SIGQUIT and SIGCHLD stay as they are. If the caller
 *  is killed or its scope expires, so is the shell.
 *
 *  Parks:  yes.
 *  @param command  NULL: whether there is a shell
 *  @return the status, as waitpid(2)'s; with NULL: 1 or 0; or -1 on error
 *
 *  Errors:
 *    those of gev_process_run()
 *  Source: system(3); os.system
 *  @since 0.1
 */
GEV_API int gev_system(const char *command);

GEV_END_DECLS
#endif
