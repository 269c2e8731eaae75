/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_ADDRESS_H
#define GEV_NET_ADDRESS_H

/* Addresses to connect or bind to. */

#include "hub/hub.h"

#include <netdb.h>
#include <sys/un.h>

/* The addresses of a name, for gev__freeaddrinfo(): 0, or -errno, or the
 * negative gev code of an EAI_* code. Parks as gev__getaddrinfo(). */
int gev__address_resolve(struct gev_hub *hub, const char *host,
                         const char *service, const struct addrinfo *hints,
                         int64_t deadline, struct addrinfo **ret_list);

/* -EINVAL: NULL; -ENOENT: empty; -ENAMETOOLONG. */
int gev__address_unix(const char *path, struct sockaddr_un *ret_addr);

#endif
