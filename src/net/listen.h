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

/* The same for every address of the host, up to most of them: how many, in fds.
 * Without a host, and where they are one, it is one. A free port ("0", NULL) is
 * the same for all. */
int gev__bind_all(struct gev_hub *hub, int type, const char *host,
                  const char *service, int backlog, bool reuse_port, int *fds,
                  size_t most);

/* mode: of the file, less the umask; 0: what the umask leaves. */
int gev__bind_path(struct gev_hub *hub, int type, const char *path, int backlog,
                   mode_t mode);

#endif
