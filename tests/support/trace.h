/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_TRACE_H
#define GEV_TEST_TRACE_H

/* What the core's tests share: a trace of what ran in which order, numbers as
 * pointers, and a few greenlet functions. Not thread-safe; one a binary. */

#include <gev.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Small integers as values of greenlets. */
#define P(n) ((void *)(intptr_t)(n))
#define N(p) ((int)(intptr_t)(p))

static char trace_buffer[8192];
static size_t trace_length;

static inline void trace_reset(void)
{
    trace_length = 0;
    trace_buffer[0] = '\0';
}

/* Appends a word; the words are joined by blanks. What does not fit is
 * dropped: the comparison then fails. */
static inline void trace(const char *word)
{
    int n = snprintf(trace_buffer + trace_length,
                     sizeof(trace_buffer) - trace_length, "%s%s",
                     trace_length > 0 ? " " : "", word);
    if (n > 0 && (size_t)n < sizeof(trace_buffer) - trace_length) {
        trace_length += (size_t)n;
    }
}

static inline void trace_number(int number)
{
    char word[16];
    (void)snprintf(word, sizeof(word), "%d", number);
    trace(word);
}

static inline const char *trace_text(void)
{
    return trace_length > 0 ? trace_buffer : "";
}

/* Traces its argument, a string, and returns it. */
static inline void *trace_and_return(void *word)
{
    trace((const char *)word);
    return word;
}

static inline void *return_arg(void *arg)
{
    return arg;
}

/* Fails with its argument, a code. */
static inline void *fail_with(void *code)
{
    return gev_fail(N(code));
}

/* Parks for ever; fails with what ended the park. */
static inline void *park_forever(void *arg)
{
    (void)arg;
    if (gev_sleep(GEV_FOREVER) != 0) {
        return gev_fail(errno);
    }
    return arg;
}

/* Touches every page of a block; the compiler cannot do without it then. */
static inline void touch(void *block, size_t n)
{
    memset(block, 1, n);
    __asm__ volatile("" : : "r"(block) : "memory");
}

/* A link that traces its argument. */
static inline void trace_link(gev_greenlet *g, void *word)
{
    (void)g;
    trace((const char *)word);
}

/* A callback (post, defer) that traces its argument. */
static inline void trace_call(void *word)
{
    trace((const char *)word);
}

/* An error handler that says nothing. */
static inline void ignore_error(gev_greenlet *g, int error, void *arg)
{
    (void)g;
    (void)error;
    (void)arg;
}

/* An error handler that counts into *arg. */
static inline void count_error(gev_greenlet *g, int error, void *arg)
{
    (void)g;
    (void)error;
    ++*(int *)arg;
}

static inline int is_cancelled(int rc)
{
    return rc == -1 && errno == ECANCELED;
}

#endif
