/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int bench_rounds = 7;
bool bench_quick;

static const char common_help[] =
    "  -r N  rounds, 1 to 99; medians are printed (%d)\n"
    "  -q    quick: see that it works; the numbers mean little\n"
    "Prints lines of name, value and unit; name/limit is a ratio.\n";

/* --- options -------------------------------------------------------------- */

long bench_number(const char *text, long least, long most)
{
    char *end;

    errno = 0;
    long number = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || number < least ||
        number > most) {
        fprintf(stderr, "'%s' is not a whole number from %ld to %ld\n", text,
                least, most);
        exit(BENCH_USAGE);
    }
    return number;
}

int bench_option(int argc, char **argv, const char *usage, const char *more)
{
    static const struct option long_options[] = {
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const int default_rounds = bench_rounds;
    char options[32];
    int option;

    snprintf(options, sizeof(options), "hqr:%s", more);
    while ((option = getopt_long(argc, argv, options, long_options, NULL)) !=
           -1) {
        switch (option) {
        case 'h':
            fputs(usage, stdout);
            printf(common_help, default_rounds);
            exit(fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
        case 'q':
            bench_quick = true;
            bench_rounds = 1;
            break;
        case 'r':
            bench_rounds = (int)bench_number(optarg, 1, BENCH_MAX_ROUNDS);
            break;
        case '?':
            fprintf(stderr, "%s: try --help\n", argv[0]);
            exit(BENCH_USAGE);
        default:
            return option;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: try --help\n", argv[0]);
        exit(BENCH_USAGE);
    }
    return -1;
}

size_t bench_count(size_t n)
{
    return bench_quick ? (n + 19) / 20 : n;
}

_Noreturn void bench_die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

void bench_check(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "failed: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

/* --- CPUs and clocks ------------------------------------------------------ */

/* What this process might use when it was first asked, before it was pinned. */
static const cpu_set_t *first_cpus(void)
{
    static cpu_set_t cpus;
    static bool known;

    if (!known) {
        CPU_ZERO(&cpus);
        if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0) {
            CPU_SET(0, &cpus);
        }
        known = true;
    }
    return &cpus;
}

unsigned bench_cpus(void)
{
    return (unsigned)CPU_COUNT(first_cpus());
}

void bench_pin(unsigned which)
{
    const cpu_set_t *cpus = first_cpus();
    unsigned skip = which % bench_cpus();
    cpu_set_t one;

    if (bench_cpus() < 2) {
        return;
    }
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, cpus) && skip-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            /* Refused, the numbers are only noisier. */
            (void)sched_setaffinity(0, sizeof(one), &one);
            return;
        }
    }
}

static double read_clock(clockid_t clock)
{
    struct timespec t;

    if (clock_gettime(clock, &t) < 0) {
        bench_die("clock_gettime");
    }
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double bench_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

double bench_cpu(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

double bench_cpu_of(int pid)
{
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) != 0) {
        bench_die("clock_getcpuclockid");
    }
    return read_clock(clock);
}

/* --- rounds --------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;
    return (*x > *y) - (*x < *y);
}

double bench_median(double values[], size_t n)
{
    qsort(values, n, sizeof(values[0]), compare);
    return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

void bench_print(const char *name, const char *suffix, double value,
                 const char *unit)
{
    printf("%s%s %.*f %s\n", name, suffix, value < 1000 ? 3 : 0, value, unit);
    fflush(stdout);
}

static size_t find_case(const struct bench_case cases[], size_t n,
                        const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(cases[i].name, name) == 0) {
            return i;
        }
    }
    return n;
}

void bench_run(const struct bench_case cases[], size_t n)
{
    static double values[BENCH_MAX_CASES][BENCH_MAX_ROUNDS];
    double ratios[BENCH_MAX_ROUNDS];
    const size_t rounds = (size_t)bench_rounds;

    bench_check(n <= BENCH_MAX_CASES, "BENCH_MAX_CASES");
    for (size_t i = 0; i < n && !bench_quick; i++) {
        cases[i].run(cases[i].arg); /* warm-up */
    }
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < n; i++) {
            values[i][round] = cases[i].run(cases[i].arg);
        }
    }
    for (size_t i = 0; i < n; i++) {
        size_t limit =
            cases[i].limit == NULL ? n : find_case(cases, n, cases[i].limit);
        for (size_t round = 0; round < rounds && limit < n; round++) {
            ratios[round] = values[i][round] / values[limit][round];
        }
        double copy[BENCH_MAX_ROUNDS];
        memcpy(copy, values[i], sizeof(copy));
        bench_print(cases[i].name, "", bench_median(copy, rounds),
                    cases[i].unit);
        if (limit < n) {
            char suffix[64];
            snprintf(suffix, sizeof(suffix), "/%s", cases[limit].name);
            bench_print(cases[i].name, suffix, bench_median(ratios, rounds),
                        "x");
        }
    }
}

/* --- children ------------------------------------------------------------- */

struct child {
    pid_t pid;
    int pipe;
};
static struct child children[4];

int bench_child_start(void (*fn)(double values[], void *arg), void *arg,
                      size_t n)
{
    double values[BENCH_MAX_CASES] = {0};
    int slot = 0;
    int fds[2];

    while (children[slot].pid != 0) {
        slot++;
        bench_check(slot < 4, "too many children");
    }
    if (pipe(fds) < 0) {
        bench_die("pipe");
    }
    pid_t pid = fork();
    if (pid < 0) {
        bench_die("fork");
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fds[0]);
        fn(values, arg);
        size_t size = n * sizeof(values[0]);
        _exit(write(fds[1], values, size) == (ssize_t)size ? 0 : 1);
    }
    close(fds[1]);
    children[slot] = (struct child){pid, fds[0]};
    return slot;
}

void bench_child_end(int slot, double values[], size_t n)
{
    size_t size = n * sizeof(values[0]);
    int status;

    bool complete = read(children[slot].pipe, values, size) == (ssize_t)size;
    close(children[slot].pipe);
    if (waitpid(children[slot].pid, &status, 0) < 0) {
        bench_die("waitpid");
    }
    children[slot].pid = 0;
    bench_check(complete && status == 0, "a child has no result");
}

void bench_in_child(void (*fn)(double values[], void *arg), void *arg,
                    double values[], size_t n)
{
    bench_child_end(bench_child_start(fn, arg, n), values, n);
}
