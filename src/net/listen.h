/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_LISTEN_H
#define GEV_NET_LISTEN_H

/* Sockets that are bound to an address of ours. Each returns a descriptor, or
 * -errno. */

#include "hub/hub.h"

#include <sys/types.h>

/* type: SOCK_STREAM, which listens too, or SOCK_DGRAM. May park: a host is
 * looked up. */
int gev__bind_name(struct gev_hub *hub, int type, const char *host,
                   const char *service, int backlog, bool reuse_port);

/* mode: of the file, less the umask; 0: what the umask leaves. */
int gev__bind_path(struct gev_hub *hub, int type, const char *path, int backlog,
                   mode_t mode);

#endif
