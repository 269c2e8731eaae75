/* SPDX-License-Identifier: MIT */
#ifndef GEV_BASE_FAULT_H
#define GEV_BASE_FAULT_H

/* Fault injection: lets a test fail the k-th call of a kind, once or from then
 * on. Compiled in only with GEV_FAULT_INJECTION; otherwise the hooks are empty
 * and cost nothing. Counters are per process: calls of every thread count, and
 * only one test at a time may arm. */

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>

enum gev__fault_point {
    GEV__FAULT_ALLOC, /* every gev__realloc family call that asks for memory */
    GEV__FAULT_READ,  /* read readv recv recvfrom recvmsg */
    GEV__FAULT_WRITE, /* write writev send sendto sendmsg sendfile */
    GEV__FAULT_OPEN,  /* socket socketpair pipe2 dup eventfd pidfd_open open */
    GEV__FAULT_ACCEPT,
    GEV__FAULT_CONNECT,
    GEV__FAULT_BIND,    /* bind listen */
    GEV__FAULT_SOCKOPT, /* getsockopt setsockopt get*name getfl setfl fstat */
    GEV__FAULT_POLL,
    GEV__FAULT_WAIT,    /* waitpid */
    GEV__FAULT_MMAP,    /* mmap mprotect madvise */
    GEV__FAULT_PROCESS, /* vfork and what its child does up to exec; kill */
    GEV__FAULT_THREAD,  /* starting a thread */
    GEV__FAULT_FILE,    /* fsync stat fchmod fchown rename realpath */
    GEV__FAULT_POINTS
};

#ifdef GEV_FAULT_INJECTION

/* What a hook tells its caller to do. */
enum { GEV__FAULT_NONE = 0 }; /* else a positive errno */

/* Fails the k-th (from 1) call at the given points (a mask of 1u << point)
 * with error; sticky: and every later one. k = 0 only counts. EINTR: the call
 * is interrupted before it does anything and base/sys.h goes round (which is
 * another call); sticky, that is every second call, or nothing would ever get
 * done. An interrupted CONNECT is begun nevertheless, as real ones are. */
void gev__fault_arm(unsigned points, unsigned k, int error, bool sticky);

/* Shortens reads and writes from the k-th on to one byte: those of stream
 * sockets, pipes and files, where the kernel may do so too. May be armed beside
 * gev__fault_arm(). */
void gev__fault_arm_short(unsigned points, unsigned k);

/* Ends it all; returns how many calls were failed or shortened. */
unsigned gev__fault_disarm(void);

/* How many calls of these points happened since the last arm. */
unsigned gev__fault_calls(unsigned points);

/* The hooks: 0, or the errno to fail with. */
int gev__fault_hit(enum gev__fault_point point);
/* The hook of reads and writes may also shorten *n. */
int gev__fault_hit_io(enum gev__fault_point point, size_t *n);
/* Whether it could at all. */
bool gev__fault_may_shorten(enum gev__fault_point point);

#else

GEV__INLINE int gev__fault_hit(enum gev__fault_point point)
{
    (void)point;
    return 0;
}
GEV__INLINE int gev__fault_hit_io(enum gev__fault_point point, size_t *n)
{
    (void)point;
    (void)n;
    return 0;
}

#endif
#endif
