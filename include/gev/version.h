/* SPDX-License-Identifier: MIT */
#ifndef GEV_VERSION_H
#define GEV_VERSION_H

/** @file gev/version.h
 *  The version a program was compiled with, and the one it runs with.
 */
#include <gev/base.h>

GEV_BEGIN_DECLS

#define GEV_VERSION_MAJOR 0
#define GEV_VERSION_MINOR 1
#define GEV_VERSION_PATCH 0
#define GEV_VERSION "0.1.0"
/** One number to compare: 0x00MMmmpp. */
#define GEV_VERSION_NUMBER                                                     \
    ((GEV_VERSION_MAJOR << 16) | (GEV_VERSION_MINOR << 8) | GEV_VERSION_PATCH)

/** The version of the library that runs, as "major.minor.patch".
 *
 *  Parks:  no.
 *  Thread: any thread.
 *  @since 0.1
 */
GEV_API const char *gev_version(void);

/** One line on how the library was built: its version, the architecture's
 *  switch, the kind of stack guards, and the libev and c-ares it runs with.
 *
 *  Parks:  no.
 *  Thread: any thread.
 *  @since 0.1
 */
GEV_API const char *gev_build_info(void);

GEV_END_DECLS
#endif
