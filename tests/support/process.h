/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_PROCESS_H
#define GEV_TEST_PROCESS_H

/* What the tests of processes share. */

#include <gev.h>

#include "support/gev_test.h"

#include <stdio.h>
#include <sys/wait.h>

#define ARGV(...)                                                              \
    (char *const[])                                                            \
    {                                                                          \
        __VA_ARGS__, NULL                                                      \
    }
#define SH(command) ARGV("sh", "-c", (char *)(uintptr_t)(command))

/* Starts and waits; the exit status, or -1. */
static inline int exit_of(char *const argv[], const gev_process_opts *opts)
{
    int status = -1;
    gev_process *p = gev_process_new(argv, opts);
    if (!expect_not_null(p)) {
        return -1;
    }
    expect_ok(gev_process_wait(p, &status, 20));
    gev_process_free(p);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* What a shell command prints, in a static buffer. */
static inline const char *output_of(const char *command,
                                    const gev_process_opts *opts)
{
    static char text[4096];
    gev_process_opts o = {.out = GEV_PROCESS_PIPE};
    gev_process_result r;
    if (opts != NULL) {
        o = *opts;
        o.out = GEV_PROCESS_PIPE;
    }
    text[0] = '\0';
    if (expect_ok(gev_process_run(SH(command), &o, NULL, 0, &r, 20))) {
        expect_int_eq(r.status, 0);
        (void)snprintf(text, sizeof(text), "%s", r.out);
        gev_process_result_free(&r);
    }
    return text;
}

/* The start fails with error. */
static inline void fails_to_start(char *const argv[],
                                  const gev_process_opts *opts, int error)
{
    gev_process *p = gev_process_new(argv, opts);
    expect_null(p);
    expect_int_eq(errno, error);
    gev_process_free(p);
}

#endif
