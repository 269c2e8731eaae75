/* SPDX-License-Identifier: MIT */
#include "base/thread.h"

#include "base/fault.h"

#include <signal.h>

/* What a thread's own faults raise: blocked, they would end the process without
 * a word from the program's handlers. */
static const int faults[] = {SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};

int gev__thread_start(pthread_t *ret_thread, const char *name,
                      void *(*fn)(void *), void *arg)
{
    sigset_t blocked;
    sigset_t old;
    int error = gev__fault_hit(GEV__FAULT_THREAD);

    if (error != 0) {
        return -error;
    }
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        sigdelset(&blocked, faults[i]);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &old); /* it inherits the mask */
    error = pthread_create(ret_thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error == 0) {
        pthread_setname_np(*ret_thread, name);
    }
    return -error;
}
