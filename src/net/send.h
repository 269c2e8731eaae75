/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_SEND_H
#define GEV_NET_SEND_H

#include "hub/hub.h"

#include <sys/types.h>

/* What gev_sendfile() does, as -errno. */
ssize_t gev__sendfile(struct gev_hub *hub, int out, int in, off_t *offset,
                      size_t n);

#endif
