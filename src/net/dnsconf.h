/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_DNSCONF_H
#define GEV_NET_DNSCONF_H

/* What <gev/dns.h> says of the environment, and what c-ares 1.18 does not know
 * of resolv.conf: timeout and attempts. */

#include "base/compiler.h"

struct gev__dns_conf {
    char *servers;     /* NULL: resolv.conf's */
    char *hosts;       /* path */
    char *resolv_conf; /* path */
    int timeout;       /* ms; 0: not set by the environment */
    int tries;         /* 0: not set by the environment */
};

/* -EINVAL: a value makes no sense; -ENOMEM. Nothing is kept on failure. */
int gev__dns_conf_load(struct gev__dns_conf *c);
void gev__dns_conf_fini(struct gev__dns_conf *c);

/* How long to wait for a server's first answer, in ms, and how often to ask
 * each: by the environment, resolv.conf as it is now, or the defaults. -ENOMEM,
 * and what reading the file fails with. */
int gev__dns_conf_patience(const struct gev__dns_conf *c, int *ret_timeout,
                           int *ret_tries);

#endif
