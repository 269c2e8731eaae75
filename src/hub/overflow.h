/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_OVERFLOW_H
#define GEV_HUB_OVERFLOW_H

/* The report of stack overflows: opt-in, see gev_set_overflow_report(). */

/* A hub is made in this thread: gives it an alternate signal stack, if the
 * report is on (or the environment turns it on). -ENOMEM. */
int gev__overflow_thread_init(void);

#endif
