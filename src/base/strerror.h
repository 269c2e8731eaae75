/* SPDX-License-Identifier: MIT */
#ifndef GEV_BASE_STRERROR_H
#define GEV_BASE_STRERROR_H

/* Words for errno, gev's own codes and GEV_EAI()'s: constant, never NULL, from
 * any thread. */
const char *gev__strerror(int error);

#endif
