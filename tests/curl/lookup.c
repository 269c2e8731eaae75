/* SPDX-License-Identifier: MIT */
/* A getaddrinfo(3) that curl's resolver threads call instead of libc's. */
#include "curl/fetch.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_uint going_on;

unsigned lookups_going_on(void)
{
    return atomic_load(&going_on);
}

static int answer(const char *service, struct addrinfo **res)
{
    /* freeaddrinfo(3) frees each with its address in one piece. */
    struct addrinfo *ai = calloc(1, sizeof(*ai) + sizeof(struct sockaddr_in));
    struct sockaddr_in *address = (void *)(ai + 1);

    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address->sin_port =
        htons((uint16_t)strtoul(service != NULL ? service : "0", NULL, 10));
    ai->ai_family = AF_INET;
    ai->ai_socktype = SOCK_STREAM;
    ai->ai_addrlen = sizeof(*address);
    ai->ai_addr = (void *)address;
    *res = ai;
    return 0;
}

int getaddrinfo(const char *restrict node, const char *restrict service,
                const struct addrinfo *restrict hints,
                struct addrinfo **restrict res)
{
    int rc = EAI_NONAME;

    (void)hints;
    atomic_fetch_add(&going_on, 1);
    if (strncmp(node, "slow.", 5) == 0) {
        usleep((useconds_t)(SLOW_LOOKUP * 1e6));
        rc = EAI_AGAIN;
    } else if (strncmp(node, "bad.", 4) != 0) {
        rc = answer(service, res);
    }
    atomic_fetch_sub(&going_on, 1);
    return rc;
}
