/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLE_H
#define EXAMPLE_H

/** @file example.h
 *  The little that the examples share: options, a clock, and slots that bound
 *  how much happens at once. None of it is part of gev.
 */
#include <gev.h>

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/** Exit status of a program called the wrong way. */
#define EXIT_USAGE 2

/** getopt(3) that also knows --help, as 'h'. */
static inline int next_option(int argc, char **argv, const char *options)
{
    static const struct option long_options[] = {
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    return getopt_long(argc, argv, options, long_options, NULL);
}

/** Says where help is; getopt has said what is wrong. */
static inline int bad_usage(const char *program)
{
    fprintf(stderr, "%s: try --help\n", program);
    return EXIT_USAGE;
}

/** Whether an argument is left over where options alone make sense; says so. */
static inline bool has_extra(int argc, char **argv)
{
    if (optind < argc) {
        fprintf(stderr, "%s: unexpected argument '%s'\n", argv[0],
                argv[optind]);
    }
    return optind < argc;
}

/** The last thing main does: whether all that was printed has arrived.
 *  @return status, or EXIT_FAILURE */
static inline int end_output(int status)
{
    const bool flushed = fflush(stdout) == 0;
    if (!flushed || ferror(stdout)) {
        fprintf(stderr, "%s: writing: %s\n", program_invocation_short_name,
                flushed ? "it failed before" : strerror(errno));
        return EXIT_FAILURE;
    }
    return status;
}

/** Prints the help. */
static inline int print_help(const char *text)
{
    fputs(text, stdout);
    return end_output(EXIT_SUCCESS);
}

/** A number of an option within [least, most]; anything else ends the program,
 *  which has not done anything yet. */
static inline double parse_number(const char *what, const char *text,
                                  double least, double most)
{
    char *end;
    errno = 0;
    const double number = strtod(text, &end);
    /* Written so that a NaN is refused as well. */
    if (end == text || *end != '\0' || !(number >= least && number <= most)) {
        fprintf(stderr, "%s: %s: '%s' is not a number from %.15g to %.15g\n",
                program_invocation_short_name, what, text, least, most);
        exit(bad_usage(program_invocation_short_name));
    }
    return number;
}

/** The same for whole numbers. */
static inline long parse_count(const char *what, const char *text, long least,
                               long most)
{
    char *end;
    errno = 0;
    const long number = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || number < least ||
        number > most) {
        fprintf(stderr, "%s: %s: '%s' is not a whole number from %ld to %ld\n",
                program_invocation_short_name, what, text, least, most);
        exit(bad_usage(program_invocation_short_name));
    }
    return number;
}

/** Seconds on a clock that nobody sets. */
static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/** Allows as many descriptors as the system lets us. The usual 1,024 are soon
 *  used up when everything happens at once; failing here is no harm, opening
 *  one too many is an error where it happens. */
static inline void allow_many_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/** Slots bound how many greenlets run at once: whoever spawns them takes a slot
 *  for each, which parks while all are taken, and each gives its slot back at
 *  its end. One greenlet takes, any number give. */
struct slots {
    size_t total;
    size_t taken;
    gev_waiter given; /* where the taker waits */
};

/** Takes a slot.
 *  @return 0, or -1 with errno: ETIMEDOUT, or whatever fails a park */
static inline int slot_take(struct slots *s, double timeout)
{
    const double deadline = now() + timeout;
    while (s->taken == s->total) {
        if (gev_waiter_get(&s->given, NULL, deadline - now()) < 0) {
            return -1;
        }
    }
    s->taken++;
    return 0;
}

/** Gives one back. */
static inline void slot_give(struct slots *s)
{
    s->taken--;
    gev_waiter_switch(&s->given, NULL);
}

/** Waits until all are given back.
 *  @return 0, or -1 with errno, as slot_take() */
static inline int slots_drain(struct slots *s, double timeout)
{
    const double deadline = now() + timeout;
    while (s->taken > 0) {
        if (gev_waiter_get(&s->given, NULL, deadline - now()) < 0) {
            return -1;
        }
    }
    return 0;
}

#endif
