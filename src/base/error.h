/* SPDX-License-Identifier: MIT */
#ifndef GEV_BASE_ERROR_H
#define GEV_BASE_ERROR_H

/* The one place where the inside's -errno becomes the outside's -1/errno, and
 * libc's the inside's. */

#include "base/compiler.h"

#include <errno.h>
#include <sys/types.h>

/* The way in: what libc returned, as the inside wants it. */
GEV__INLINE ssize_t gev__from_libc(ssize_t rc)
{
    return gev__unlikely(rc < 0) ? -errno : rc;
}

/* A public function's last line: `return (int)gev__ret(rc);` */
static inline ssize_t gev__ret(ssize_t rc)
{
    if (gev__unlikely(rc < 0)) {
        errno = (int)-rc;
        return -1;
    }
    return rc;
}

/* The last line of a call that can stop half-way: how much it moved, with errno
 * saying why it stopped (0: the end of the stream), or -1 if it moved nothing
 * for an error. */
static inline ssize_t gev__ret_part(size_t moved, int rc)
{
    errno = -rc;
    return rc < 0 && moved == 0 ? -1 : (ssize_t)moved;
}

/* The same for pointers: NULL and errno. */
static inline void *gev__ret_null(int rc)
{
    errno = -rc;
    return NULL;
}

#endif
