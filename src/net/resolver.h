/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_RESOLVER_H
#define GEV_NET_RESOLVER_H

/* Looking up names, one resolver a hub: the hosts file and name servers, in
 * the order of nsswitch.conf; localhost and what must not be asked. */

#include "hub/hub.h"
#include "net/answer.h"

/* All addresses of a name; family may be AF_UNSPEC. 0 and *ret_answer, a
 * reference for the caller; or EAI_*, with *ret_error as in dns.h. */
int gev__resolve(struct gev_hub *hub, const char *name, int family,
                 int64_t deadline, struct gev__answer **ret_answer,
                 int *ret_error);

/* The way back: an answer with a name and no addresses. */
int gev__resolve_name(struct gev_hub *hub, const struct gev__addr *addr,
                      int64_t deadline, struct gev__answer **ret_answer,
                      int *ret_error);

/* Whether it is localhost or a name under it: loopback, whatever else this host
 * has. */
bool gev__name_is_local(const char *name);

/* Which families this host has addresses of, loopback aside, for AI_ADDRCONFIG;
 * neither, if that cannot be found out. Looked up anew once a second. -ENOMEM.
 */
int gev__resolve_families(struct gev_hub *hub, bool *ret_v4, bool *ret_v6);

#endif
