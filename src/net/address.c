/* SPDX-License-Identifier: MIT */
#include "net/address.h"

#include "base/error.h"
#include "net/dns.h"

#include <gev/base.h>

#include <string.h>

int gev__address_resolve(struct gev_hub *hub, const char *host,
                         const char *service, const struct addrinfo *hints,
                         int64_t deadline, struct addrinfo **ret_list)
{
    int error = 0;
    int rc =
        gev__getaddrinfo(hub, host, service, hints, deadline, ret_list, &error);
    switch (rc) {
    case 0:
        return 0;
    case EAI_SYSTEM:
        return -error;
    case EAI_MEMORY:
        return -ENOMEM;
    default:
        return -GEV_EAI(rc);
    }
}

int gev__address_unix(const char *path, struct sockaddr_un *ret_addr)
{
    if (path == NULL) {
        return -EINVAL;
    }
    size_t n = strlen(path);
    if (n == 0) {
        return -ENOENT; /* to the kernel it would be an abstract name */
    }
    if (n >= sizeof(ret_addr->sun_path)) {
        return -ENAMETOOLONG;
    }
    *ret_addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_addr->sun_path, path, n);
    return 0;
}
