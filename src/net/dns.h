/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_DNS_H
#define GEV_NET_DNS_H

/* Names and addresses, for the rest of the library. What belongs to whom:
 *
 *     dns.c        the public calls
 *     addrinfo.c   numbers, services, flags, and the lists libc can free
 *     nameinfo.c   the way back
 *     resolver.c   one a hub: hosts file, then questions in flight, each asked
 *                  once, and who waits for them
 *     channel.c    c-ares: its sockets, its timer, its memory
 *     hosts.c, textfile.c, dnsconf.c, addrsort.c   what these need */

#include "hub/hub.h"

#include <netdb.h>
#include <sys/socket.h>

/* 0 or EAI_*; with EAI_SYSTEM *ret_error is a positive errno or gev code.
 * *ret_list is untouched on failure. Parks only for a name server's answer; a
 * deadline of 0 does not park (EAI_SYSTEM, ETIMEDOUT). */
int gev__getaddrinfo(struct gev_hub *hub, const char *node, const char *service,
                     const struct addrinfo *hints, int64_t deadline,
                     struct addrinfo **ret_list, int *ret_error);

void gev__freeaddrinfo(struct addrinfo *list);

struct gev__nameinfo {
    char *host; /* NULL: not wanted */
    socklen_t host_size;
    char *service; /* NULL: not wanted */
    socklen_t service_size;
};

/* The same for getnameinfo. */
int gev__getnameinfo(struct gev_hub *hub, const struct sockaddr *addr,
                     socklen_t addrlen, const struct gev__nameinfo *out,
                     int flags, int64_t deadline, int *ret_error);

#endif
