/* SPDX-License-Identifier: MIT */
#ifndef GEV_BASE_H
#define GEV_BASE_H

/** @file gev/base.h
 *  What every header of gev shares.
 *
 *  Conventions, valid for every function unless its block says otherwise:
 *
 *  - int and ssize_t results are 0 or a count, or -1 with errno; pointers are
 *    NULL with errno. bool and void cannot fail. Out-parameters are set on
 *    success and untouched on failure; a NULL one discards the value.
 *  - Time is relative, in seconds. GEV_FOREVER waits for ever; zero or less
 *    tries once and does not park; NaN is EINVAL. Time never ends early. The
 *    timeout is the last parameter, and running out is ETIMEDOUT.
 *  - A function that can give up the CPU says "Parks:". Nothing else switches.
 *    Any park can also fail with ECANCELED (this greenlet was killed), with
 *    the code of a gev_timeout scope that expired, with a code that another
 *    greenlet threw, and with EDEADLK (main only: nothing can ever wake it).
 *    Where parking is forbidden - in the hub, in its callbacks, in a defer -
 *    it fails with EPERM.
 *  - errno and the floating point control words are per greenlet.
 *  - An object belongs to one hub, a hub to one thread. Only functions that
 *    say "Thread: any thread" may be called elsewhere.
 */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define GEV_BEGIN_DECLS extern "C" {
#define GEV_END_DECLS }
#else
#define GEV_BEGIN_DECLS
#define GEV_END_DECLS
#endif

#if defined(__GNUC__)
#define GEV_API __attribute__((visibility("default")))
#define GEV_NORETURN __attribute__((noreturn))
#define GEV_NODISCARD __attribute__((warn_unused_result))
#else
#define GEV_API
#define GEV_NORETURN
#define GEV_NODISCARD
#endif

/** Waits for ever. */
#define GEV_FOREVER ((double)INFINITY)

#define GEV_PRIV_STR2(x) #x
#define GEV_PRIV_STR(x) GEV_PRIV_STR2(x)
#define GEV_PRIV_SITE __FILE__ ":" GEV_PRIV_STR(__LINE__)

GEV_BEGIN_DECLS

/** Codes of gev's own, outside the range of errno. @ref gev_strerror has words
 *  for them. */
enum gev_code {
    GEV_ELINKDONE = 20001,   /**< a linked greenlet returned */
    GEV_ELINKFAILED = 20002, /**< a linked greenlet failed */
    GEV_ELINKKILLED = 20003, /**< a linked greenlet was killed */
    GEV_EAI_BASE = 20100     /**< see GEV_EAI() */
};

/** The gev code of an EAI_* code, for functions that resolve a name and report
 *  through errno. EAI codes are small, and negative on Linux. */
#define GEV_EAI(code) ((int)GEV_EAI_BASE + ((code) < 0 ? -(code) : (code)))

/** Says what an error code means: errno's, gev's own, GEV_EAI()'s. For use
 *  instead of perror(3) and strerror(3), which have no words for gev's.
 *
 *  The text is constant, and never NULL.
 *
 *  Parks:  no.
 *  Thread: any thread.
 *  @since 0.1
 */
GEV_API const char *gev_strerror(int error);

GEV_END_DECLS
#endif
