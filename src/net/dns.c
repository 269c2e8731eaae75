/* SPDX-License-Identifier: MIT */
/* The public resolver calls. */
#include <gev/dns.h>

#include "net/dns.h"

#include "base/clock.h"
#include "base/error.h"

/* EAI_SYSTEM says: see errno. */
static int leave(int code, int error)
{
    if (code == EAI_SYSTEM) {
        (void)gev__ret(-error);
    }
    return code;
}

int gev_getaddrinfo(const char *node, const char *service,
                    const struct addrinfo *hints, struct addrinfo **res)
{
    struct gev_hub *hub = gev__hub_get();
    struct addrinfo *list = NULL;
    int error = 0;

    if (hub == NULL) {
        return EAI_SYSTEM;
    }
    int rc =
        gev__getaddrinfo(hub, node, service, hints, GEV__NEVER, &list, &error);
    if (rc != 0) {
        return leave(rc, error);
    }
    if (res == NULL) {
        gev__freeaddrinfo(list);
    } else {
        *res = list;
    }
    return 0;
}

void gev_freeaddrinfo(struct addrinfo *res)
{
    gev__freeaddrinfo(res);
}

int gev_getnameinfo(const struct sockaddr *addr, socklen_t addrlen, char *host,
                    socklen_t hostlen, char *serv, socklen_t servlen, int flags)
{
    struct gev_hub *hub = gev__hub_get();
    const struct gev__nameinfo out = {
        .host = hostlen > 0 ? host : NULL,
        .host_size = hostlen,
        .service = servlen > 0 ? serv : NULL,
        .service_size = servlen,
    };
    int error = 0;

    if (hub == NULL) {
        return EAI_SYSTEM;
    }
    int rc =
        gev__getnameinfo(hub, addr, addrlen, &out, flags, GEV__NEVER, &error);
    return leave(rc, error);
}
