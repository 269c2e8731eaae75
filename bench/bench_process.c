/* SPDX-License-Identifier: MIT */

/* What a child process costs beside posix_spawn: started, waited for, read. */
#include <gev.h>

#include "bench.h"

#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usage[] =
    "usage: bench_process [-r rounds] [-q]\n"
    "Measures the start and end of /bin/true, one after the other, and the\n"
    "output of a child; the second kind in a process that uses 256 MB.\n"
    "  process.wait        gev_process_new() and gev_process_wait()\n"
    "  process.run         gev_process_run() with a pipe for its output\n"
    "  process.big         process.wait in a large process\n"
    "  process.output      64 MB through a pipe\n"
    "  posix_spawn.*       posix_spawn() and waitpid(), read()\n";

#define CHILDREN ((size_t)300)
#define BIG ((size_t)256 << 20)
#define OUTPUT "67108864"

extern char **environ;

static char *const true_argv[] = {"/bin/true", NULL};
static char *const head_argv[] = {"head", "-c", OUTPUT, "/dev/zero", NULL};

static double per_child(double start, size_t n)
{
    return (bench_now() - start) * 1e6 / (double)n;
}

static double run_wait(void *arg)
{
    const size_t n = bench_count(CHILDREN);
    double start = bench_now();

    (void)arg;
    for (size_t i = 0; i < n; i++) {
        int status = -1;
        gev_process *p = gev_process_new(true_argv, NULL);
        bench_check(p != NULL, "gev_process_new");
        bench_check(gev_process_wait(p, &status, GEV_FOREVER) == 0 &&
                        status == 0,
                    "gev_process_wait");
        gev_process_free(p);
    }
    return per_child(start, n);
}

static double run_run(void *arg)
{
    const size_t n = bench_count(CHILDREN);
    const gev_process_opts opts = {.size = sizeof(opts),
                                   .out = GEV_PROCESS_PIPE};
    double start = bench_now();

    (void)arg;
    for (size_t i = 0; i < n; i++) {
        gev_process_result r;
        bench_check(
            gev_process_run(true_argv, &opts, NULL, 0, &r, GEV_FOREVER) == 0 &&
                r.status == 0,
            "gev_process_run");
        gev_process_result_free(&r);
    }
    return per_child(start, n);
}

static double run_posix(void *arg)
{
    const size_t n = bench_count(CHILDREN);
    double start = bench_now();

    (void)arg;
    for (size_t i = 0; i < n; i++) {
        pid_t pid;
        int status = -1;
        bench_check(posix_spawn(&pid, true_argv[0], NULL, NULL, true_argv,
                                environ) == 0,
                    "posix_spawn");
        bench_check(waitpid(pid, &status, 0) == pid && status == 0, "waitpid");
    }
    return per_child(start, n);
}

/* The same with memory that a fork would have to account for. */
static double run_big(void *run)
{
    char *big = malloc(BIG);

    bench_check(big != NULL, "malloc");
    memset(big, 1, BIG);
    BENCH_BARRIER();
    double result = (*(double (**)(void *))run)(NULL);
    free(big);
    return result;
}

static double run_output(void *arg)
{
    const gev_process_opts opts = {.size = sizeof(opts),
                                   .out = GEV_PROCESS_PIPE};
    gev_process_result r;
    double start = bench_now();

    (void)arg;
    bench_check(gev_process_run(head_argv, &opts, NULL, 0, &r, GEV_FOREVER) ==
                    0,
                "gev_process_run");
    bench_check(r.out_len == strtoul(OUTPUT, NULL, 10), "all of the output");
    double result = (double)r.out_len / 1e6 / (bench_now() - start);
    gev_process_result_free(&r);
    return result;
}

/* Into one buffer, of the size it will need. */
static double run_posix_output(void *arg)
{
    const size_t size = strtoul(OUTPUT, NULL, 10);
    posix_spawn_file_actions_t actions;
    int fds[2];
    pid_t pid;
    size_t total = 0;
    ssize_t n;
    double start = bench_now();
    char *buffer = malloc(size + 1);

    (void)arg;
    bench_check(buffer != NULL && pipe(fds) == 0, "pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
    posix_spawn_file_actions_addclose(&actions, fds[0]);
    bench_check(posix_spawnp(&pid, head_argv[0], &actions, NULL, head_argv,
                             environ) == 0,
                "posix_spawnp");
    close(fds[1]);
    while ((n = read(fds[0], buffer + total, size + 1 - total)) > 0) {
        total += (size_t)n;
    }
    bench_check(total == size && waitpid(pid, NULL, 0) == pid, "the output");
    double result = (double)total / 1e6 / (bench_now() - start);
    close(fds[0]);
    posix_spawn_file_actions_destroy(&actions);
    free(buffer);
    return result;
}

int main(int argc, char **argv)
{
    static double (*wait_fn)(void *) = run_wait;
    static double (*posix_fn)(void *) = run_posix;

    bench_option(argc, argv, usage, "");
    const struct bench_case cases[] = {
        {"posix_spawn.wait", "us", NULL, run_posix, NULL},
        {"posix_spawn.big", "us", NULL, run_big, &posix_fn},
        {"posix_spawn.output", "MB/s", NULL, run_posix_output, NULL},
        {"process.wait", "us", "posix_spawn.wait", run_wait, NULL},
        {"process.run", "us", "posix_spawn.wait", run_run, NULL},
        {"process.big", "us", "posix_spawn.big", run_big, &wait_fn},
        {"process.output", "MB/s", "posix_spawn.output", run_output, NULL},
    };
    bench_run(cases, sizeof(cases) / sizeof(cases[0]));
    return gev_hub_close() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
