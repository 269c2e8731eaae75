/* SPDX-License-Identifier: MIT */
#ifndef BENCH_H
#define BENCH_H

/** @file bench.h
 *  What the benchmarks share: options, clocks, pinning, and rounds.
 *
 *  A program measures cases side by side: one round of each, then the next
 *  round, so that whatever else the machine does falls on all of them. Its
 *  output is `name value unit` lines, medians over the rounds, and for a case
 *  that has a limit `name/limit ratio x`: the median of the ratios within each
 *  round, which is the number to compare.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Exit status of a program called the wrong way. */
#define BENCH_USAGE 2

/** Most rounds and cases a program may have. */
#define BENCH_MAX_ROUNDS 99
#define BENCH_MAX_CASES 16

/** Has the next thing the compiler does see all of memory changed. */
#define BENCH_BARRIER() __asm__ volatile("" ::: "memory")

extern int bench_rounds; /**< -r; a program may set its own default */
extern bool bench_quick; /**< -q: see that it works, not how fast */

/** One thing to measure. */
struct bench_case {
    const char *name;
    const char *unit;
    const char *limit; /**< name of the case it is compared with, or NULL */
    double (*run)(void *arg); /**< one round; returns the value */
    void *arg;
};

/** getopt(3) over -h, --help, -q, -r and @p more; returns only those of @p more
 *  and -1. @p usage is what stands before the common options' help. */
int bench_option(int argc, char **argv, const char *usage, const char *more);

/** A whole number of an option; ends the program if it is not in the range. */
long bench_number(const char *text, long least, long most);

/** n, or a small part of it in quick mode. */
size_t bench_count(size_t n);

/** Keeps this process on one of the CPUs it may use: the first, the second and
 *  so on, wrapping around. Does nothing where there is only one. */
void bench_pin(unsigned which);

/** How many CPUs this process might use when it started. */
unsigned bench_cpus(void);

double bench_now(void); /**< seconds, monotonic */
double bench_cpu(void); /**< CPU seconds this process has used */

/** CPU seconds another process has used; it may run meanwhile. */
double bench_cpu_of(int pid);

/** Sorts and gives the middle. */
double bench_median(double values[], size_t n);

/** One line of output. */
void bench_print(const char *name, const char *suffix, double value,
                 const char *unit);

/** Runs all cases, warm-up first, and prints medians and ratios. */
void bench_run(const struct bench_case cases[], size_t n);

/** Ends the program with what errno says. */
_Noreturn void bench_die(const char *what);

/** Ends the program unless @p ok: a benchmark that did not do its work has no
 *  result. */
void bench_check(bool ok, const char *what);

/** Measures cases in a child process each, so that they start from the same
 *  state: calls fn in the child, which fills in n values, and waits for it. */
void bench_in_child(void (*fn)(double values[], void *arg), void *arg,
                    double values[], size_t n);

/** The same in two steps, for children that run at once. */
int bench_child_start(void (*fn)(double values[], void *arg), void *arg,
                      size_t n);
void bench_child_end(int child, double values[], size_t n);

#endif
