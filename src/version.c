/* SPDX-License-Identifier: MIT */
/* The version, and how the library was built. At the root of src because it
 * reports on every layer. */
#include <gev/version.h>

#include "hub/context.h"
#include "hub/stack.h"

#include <ares.h>
#include <ev.h>
#include <pthread.h>
#include <stdio.h>

/* Written once, by whoever asks first. */
static char build_info[160];
static pthread_once_t build_info_once = PTHREAD_ONCE_INIT;

static void write_build_info(void)
{
    snprintf(build_info, sizeof build_info,
             "gev %s, switch: %s, stack guards: %s, libev %d.%d, c-ares %s",
             GEV_VERSION, GEV__CONTEXT_KIND, gev__stack_guard_kind(),
             ev_version_major(), ev_version_minor(), ares_version(NULL));
}

const char *gev_version(void)
{
    return GEV_VERSION;
}

const char *gev_build_info(void)
{
    (void)pthread_once(&build_info_once, write_build_info);
    return build_info;
}
