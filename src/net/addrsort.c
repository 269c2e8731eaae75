/* SPDX-License-Identifier: MIT */
/* Destination address selection, RFC 6724 section 6, for addresses from the
 * hosts file and from name servers alike. Rules 3, 4 and 7 need to know more
 * than a program can find out by sockets, and are left out, as in most
 * implementations. */
#include "net/answer.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/sys.h"

#include <stdlib.h>
#include <string.h>

/* Finding a source address takes system calls. Nobody tries that many
 * addresses, so beyond this the order of the answer stays. */
#define SORT_MAX 256

/* Scopes, RFC 4291 section 2.7. */
enum { SCOPE_LINK = 0x2, SCOPE_SITE = 0x5, SCOPE_GLOBAL = 0xe };

struct candidate {
    struct gev__addr addr;
    struct in6_addr dest; /* both as IPv6, IPv4 mapped */
    struct in6_addr source;
    bool reachable; /* has a source */
    bool scope_matches;
    bool label_matches;
    int precedence;
    int scope;
    int common; /* leading bits that source and dest share; IPv6 only */
    size_t index;
};

/* The default policy table, RFC 6724 section 2.1. */
static const struct policy {
    struct in6_addr prefix;
    int bits;
    int precedence;
    int label;
} policies[] = {
    {IN6ADDR_LOOPBACK_INIT, 128, 50, 0},
    {{{{[10] = 0xff, [11] = 0xff}}}, 96, 35, 4}, /* IPv4 */
    {IN6ADDR_ANY_INIT, 96, 1, 3},                /* ::a.b.c.d */
    {{{{0x20, 0x01}}}, 32, 5, 5},                /* Teredo */
    {{{{0x20, 0x02}}}, 16, 30, 2},               /* 6to4 */
    {{{{0x3f, 0xfe}}}, 16, 1, 12},               /* 6bone */
    {{{{0xfe, 0xc0}}}, 10, 1, 11},               /* site-local */
    {{{{0xfc}}}, 7, 3, 13},                      /* unique local */
    {IN6ADDR_ANY_INIT, 0, 40, 1},
};

static int common_bits(const struct in6_addr *a, const struct in6_addr *b)
{
    for (int i = 0; i < 16; i++) {
        unsigned differ = (unsigned)(a->s6_addr[i] ^ b->s6_addr[i]);
        if (differ != 0) {
            return i * 8 + __builtin_clz(differ) - 24;
        }
    }
    return 128;
}

static const struct policy *find_policy(const struct in6_addr *a)
{
    const struct policy *p = policies;

    while (common_bits(a, &p->prefix) < p->bits) {
        p++;
    }
    return p;
}

static int scope_of(const struct in6_addr *a)
{
    if (IN6_IS_ADDR_V4MAPPED(a)) {
        const uint8_t *v4 = &a->s6_addr[12];
        bool local = v4[0] == 127 || (v4[0] == 169 && v4[1] == 254);
        return local ? SCOPE_LINK : SCOPE_GLOBAL;
    }
    if (IN6_IS_ADDR_MULTICAST(a)) {
        return a->s6_addr[1] & 0xf;
    }
    if (IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_LINKLOCAL(a)) {
        return SCOPE_LINK;
    }
    return IN6_IS_ADDR_SITELOCAL(a) ? SCOPE_SITE : SCOPE_GLOBAL;
}

static struct in6_addr mapped(struct in_addr v4)
{
    struct in6_addr v6 = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(&v6.s6_addr[12], &v4, sizeof(v4));
    return v6;
}

/* The source the kernel would choose: what a connected UDP socket, which sends
 * nothing, is bound to. The socket is used again after AF_UNSPEC, which undoes
 * its last connect. */
static bool find_source(int fd, const struct gev__addr *to,
                        struct in6_addr *ret_source)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } sa = {.any = {.sa_family = AF_UNSPEC}};
    socklen_t len = sizeof(sa.v4);

    (void)gev__sys_connect(fd, &sa.any, sizeof(sa.any));
    memset(&sa, 0, sizeof(sa));
    if (to->family == AF_INET) {
        sa.v4.sin_family = AF_INET;
        sa.v4.sin_addr = to->v4;
    } else {
        len = sizeof(sa.v6);
        sa.v6.sin6_family = AF_INET6;
        sa.v6.sin6_addr = to->v6;
        sa.v6.sin6_scope_id = to->scope;
    }
    if (gev__sys_connect(fd, &sa.any, len) < 0 ||
        gev__sys_getsockname(fd, &sa.any, &len) < 0) {
        return false;
    }
    *ret_source =
        to->family == AF_INET ? mapped(sa.v4.sin_addr) : sa.v6.sin6_addr;
    return true;
}

static void find_sources(struct candidate *all, size_t count, int family)
{
    int fd = -1;

    for (size_t i = 0; i < count; i++) {
        struct candidate *c = &all[i];
        if (c->addr.family != family) {
            continue;
        }
        if (fd < 0) {
            fd = gev__sys_socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        }
        if (fd < 0) {
            return; /* the family is not there */
        }
        c->reachable = find_source(fd, &c->addr, &c->source);
    }
    if (fd >= 0) {
        (void)gev__sys_close(fd);
    }
}

static void weigh(struct candidate *c)
{
    const struct policy *policy = find_policy(&c->dest);

    c->precedence = policy->precedence;
    c->scope = scope_of(&c->dest);
    if (!c->reachable) {
        return;
    }
    c->scope_matches = scope_of(&c->source) == c->scope;
    c->label_matches = find_policy(&c->source)->label == policy->label;
    if (c->addr.family == AF_INET6) {
        c->common = common_bits(&c->source, &c->dest);
    }
}

static int compare(const void *left, const void *right)
{
    const struct candidate *a = left;
    const struct candidate *b = right;

    if (a->reachable != b->reachable) { /* rule 1 */
        return a->reachable ? -1 : 1;
    }
    if (a->scope_matches != b->scope_matches) { /* rule 2 */
        return a->scope_matches ? -1 : 1;
    }
    if (a->label_matches != b->label_matches) { /* rule 5 */
        return a->label_matches ? -1 : 1;
    }
    if (a->precedence != b->precedence) { /* rule 6 */
        return b->precedence - a->precedence;
    }
    if (a->scope != b->scope) { /* rule 8 */
        return a->scope - b->scope;
    }
    /* Rule 9, but not for IPv4, where it would undo the servers' balancing. */
    if (a->addr.family == AF_INET6 && b->addr.family == AF_INET6 &&
        a->common != b->common) {
        return b->common - a->common;
    }
    return a->index < b->index ? -1 : 1; /* rule 10 */
}

int gev__addr_sort(struct gev__addr *addrs, size_t count)
{
    if (count < 2 || count > SORT_MAX) {
        return 0;
    }
    struct candidate *all = gev__calloc(count, sizeof(*all));
    if (all == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        all[i].addr = addrs[i];
        all[i].dest =
            addrs[i].family == AF_INET ? mapped(addrs[i].v4) : addrs[i].v6;
        all[i].index = i;
    }
    find_sources(all, count, AF_INET);
    find_sources(all, count, AF_INET6);
    for (size_t i = 0; i < count; i++) {
        weigh(&all[i]);
    }
    qsort(all, count, sizeof(*all), compare);
    for (size_t i = 0; i < count; i++) {
        addrs[i] = all[i].addr;
    }
    gev__free(all);
    return 0;
}
