/* SPDX-License-Identifier: MIT */
#include "base/quiet.h"

#include "base/error.h"

#include <time.h>

static void sigpipe_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGPIPE);
}

void gev__quiet_begin(struct gev__quiet *q)
{
    sigset_t set;

    sigpipe_set(&set);
    pthread_sigmask(SIG_BLOCK, &set, &q->old);
    q->was_pending = false;
    if (sigismember(&q->old, SIGPIPE)) {
        /* Blocked already: one may be waiting. Otherwise none could. */
        sigpending(&set);
        q->was_pending = sigismember(&set, SIGPIPE);
    }
}

void gev__quiet_end(const struct gev__quiet *q, ssize_t rc)
{
    sigset_t set;

    if (rc == -EPIPE && !q->was_pending) {
        const struct timespec at_once = {0, 0};
        sigpipe_set(&set);
        sigtimedwait(&set, NULL, &at_once);
    }
    if (!sigismember(&q->old, SIGPIPE)) {
        pthread_sigmask(SIG_SETMASK, &q->old, NULL);
    }
}
