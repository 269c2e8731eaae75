/* SPDX-License-Identifier: MIT */
#ifndef GEV_BASE_THREAD_H
#define GEV_BASE_THREAD_H

/* Starting threads of the library's own. */

#include <pthread.h>

/* Starts a thread, to be joined, with all signals blocked but those that a
 * fault of its own raises: the program's signals are for the program's threads.
 * name: at most 15 bytes, for debuggers. -EAGAIN; a fault point. */
int gev__thread_start(pthread_t *ret_thread, const char *name,
                      void *(*fn)(void *), void *arg);

#endif
