/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_SOCKET_H
#define GEV_NET_SOCKET_H

/* Descriptors and connections, for the rest of the library: what the public
 * calls of the same names do, as -errno. */

#include "base/clock.h"
#include "hub/hub.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

int gev__socket(struct gev_hub *hub, int domain, int type, int protocol);

/* The hub may be NULL: then nothing is known of the descriptor. */
int gev__close(struct gev_hub *hub, int fd);

/* Waits for a connection to be made or fail, at most until the deadline. */
int gev__connect(struct gev_hub *hub, int fd, const struct sockaddr *addr,
                 socklen_t len, int64_t deadline);

/* A TCP connection to whichever of the addresses answers first (RFC 8305): its
 * descriptor. All failed: the first real error. An
 * empty list: -EADDRNOTAVAIL. */
int gev__connect_any(struct gev_hub *hub, const struct addrinfo *list,
                     int64_t deadline);

int gev__accept(struct gev_hub *hub, int fd, struct sockaddr *addr,
                socklen_t *len);

/* How many accepts in a row had no descriptor, or no memory, for a connection
 * that was there. Each but the first waited for one before it tried. */
unsigned gev__accept_failures(const struct gev_hub *hub, int fd);

/* How many are ready; 0: none until the deadline. */
int gev__poll(struct gev_hub *hub, struct pollfd *fds, nfds_t n,
              int64_t deadline);

#endif
