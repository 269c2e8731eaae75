/* SPDX-License-Identifier: MIT */
/* getaddrinfo: what a caller may ask, and the list it gets. Numbers are
 * answered here; names by the resolver. Follows POSIX, and glibc where POSIX
 * leaves a choice. */
#include "net/dns.h"

#include "base/alloc.h"
#include "base/error.h"
#include "net/answer.h"
#include "net/resolver.h"

#include <stdlib.h>
#include <string.h>

#define KNOWN_FLAGS                                                            \
    (AI_PASSIVE | AI_CANONNAME | AI_NUMERICHOST | AI_NUMERICSERV |             \
     AI_V4MAPPED | AI_ALL | AI_ADDRCONFIG | AI_IDN)

#define DEFAULT_FLAGS (AI_V4MAPPED | AI_ADDRCONFIG)

/* Room for a service's entry in the files that nsswitch.conf names. */
#define SERVICE_BUFFER 2048

/* Types of sockets that have ports. */
static const struct socket_kind {
    int type;
    int protocol;
    const char *name; /* in the services file; NULL: has no services */
    bool is_default;  /* given when no type is asked for */
    bool any_protocol;
} kinds[] = {
    {SOCK_STREAM, IPPROTO_TCP, "tcp", true, false},
    {SOCK_DGRAM, IPPROTO_UDP, "udp", true, false},
    {SOCK_DCCP, IPPROTO_DCCP, "dccp", false, false},
    {SOCK_DGRAM, IPPROTO_UDPLITE, "udplite", false, false},
    {SOCK_STREAM, IPPROTO_SCTP, "sctp", false, false},
    {SOCK_SEQPACKET, IPPROTO_SCTP, "sctp", false, false},
    {SOCK_RAW, 0, NULL, false, true},
};

#define MAX_ENDPOINTS gev__array_len(kinds)

/* What each address of the result is combined with. */
struct endpoint {
    int type;
    int protocol;
    uint16_t port; /* network byte order */
};

struct request {
    int flags;
    int family;
    int type;
    int protocol;
    unsigned n_endpoints;
    struct endpoint endpoints[MAX_ENDPOINTS];
};

/* --- services ------------------------------------------------------------- */

static bool is_wanted(const struct request *rq, const struct socket_kind *kind)
{
    return (rq->type == 0 || rq->type == kind->type) &&
           (rq->protocol == 0 || kind->any_protocol ||
            rq->protocol == kind->protocol);
}

static void add_endpoint(struct request *rq, const struct socket_kind *kind,
                         uint16_t port)
{
    rq->endpoints[rq->n_endpoints++] = (struct endpoint){
        .type = kind->type,
        .protocol = kind->any_protocol ? rq->protocol : kind->protocol,
        .port = port,
    };
}

static const struct socket_kind *first_wanted(const struct request *rq)
{
    for (size_t i = 0; i < gev__array_len(kinds); i++) {
        if (is_wanted(rq, &kinds[i])) {
            return &kinds[i];
        }
    }
    return NULL;
}

/* A port for every kind that was asked for: the first that fits, or, if nothing
 * was asked, all defaults. */
static int use_port(struct request *rq, const struct socket_kind *first,
                    uint16_t port)
{
    if (rq->type != 0 || rq->protocol != 0) {
        add_endpoint(rq, first, port);
        return 0;
    }
    for (size_t i = 0; i < gev__array_len(kinds); i++) {
        if (kinds[i].is_default) {
            add_endpoint(rq, &kinds[i], port);
        }
    }
    return 0;
}

static bool find_service(const char *service, const char *protocol,
                         uint16_t *ret_port)
{
    char buffer[SERVICE_BUFFER];
    struct servent entry;
    struct servent *found = NULL;

    if (getservbyname_r(service, protocol, &entry, buffer, sizeof(buffer),
                        &found) != 0 ||
        found == NULL) {
        return false;
    }
    *ret_port = (uint16_t)found->s_port;
    return true;
}

/* A name of a service: of the first kind that fits, or, if nothing was asked,
 * of all that know it. */
static int use_service(struct request *rq, const struct socket_kind *first,
                       const char *service)
{
    bool asked = rq->type != 0 || rq->protocol != 0;
    uint16_t port;

    for (size_t i = 0; i < gev__array_len(kinds); i++) {
        const struct socket_kind *kind = &kinds[i];
        if ((asked ? kind == first : kind->name != NULL) &&
            find_service(service, kind->name, &port)) {
            add_endpoint(rq, kind, port);
        }
    }
    return rq->n_endpoints > 0 ? 0 : EAI_SERVICE;
}

/* Digits only, or nothing. */
static bool is_number(const char *service)
{
    return service[strspn(service, "0123456789")] == '\0';
}

static int resolve_service(struct request *rq, const char *service)
{
    const struct socket_kind *first = first_wanted(rq);

    if (first == NULL) {
        return rq->type != 0 ? EAI_SOCKTYPE : EAI_SERVICE;
    }
    if (service == NULL || *service == '\0') {
        return use_port(rq, first, 0);
    }
    if (first->name == NULL) {
        return EAI_SERVICE;
    }
    if (!is_number(service)) {
        return use_service(rq, first, service);
    }
    unsigned long port = strtoul(service, NULL, 10);
    return port <= UINT16_MAX ? use_port(rq, first, htons((uint16_t)port))
                              : EAI_SERVICE;
}

/* --- nodes ---------------------------------------------------------------- */

static struct gev__addr map_v4(const struct gev__addr *v4)
{
    struct gev__addr v6 = {.family = AF_INET6};

    v6.v6.s6_addr[10] = 0xff;
    v6.v6.s6_addr[11] = 0xff;
    memcpy(&v6.v6.s6_addr[12], &v4->v4, sizeof(v4->v4));
    return v6;
}

/* The wildcard or the loopback address. */
static int resolve_nothing(const struct request *rq,
                           struct gev__answer **ret_answer)
{
    bool passive = (rq->flags & AI_PASSIVE) != 0;
    struct gev__answer *a = gev__answer_new("", 2);

    if (a == NULL) {
        return EAI_MEMORY;
    }
    if (rq->family != AF_INET) {
        a->addrs[a->count++] = (struct gev__addr){
            .family = AF_INET6,
            .v6 = passive ? in6addr_any : in6addr_loopback,
        };
    }
    if (rq->family != AF_INET6) {
        a->addrs[a->count++] = (struct gev__addr){
            .family = AF_INET,
            .v4 = {.s_addr = htonl(passive ? INADDR_ANY : INADDR_LOOPBACK)},
        };
    }
    *ret_answer = a;
    return 0;
}

/* A number, made fit for the family asked for. */
static int resolve_number(const struct request *rq, const char *node,
                          const struct gev__addr *number,
                          struct gev__answer **ret_answer)
{
    struct gev__addr addr = *number;

    if (rq->family == AF_INET6 && addr.family == AF_INET) {
        if ((rq->flags & AI_V4MAPPED) == 0) {
            return EAI_ADDRFAMILY;
        }
        addr = map_v4(&addr);
    }
    if (rq->family == AF_INET && addr.family == AF_INET6) {
        if (!IN6_IS_ADDR_V4MAPPED(&addr.v6)) {
            return EAI_ADDRFAMILY;
        }
        struct gev__addr v4 = {.family = AF_INET};
        memcpy(&v4.v4, &addr.v6.s6_addr[12], sizeof(v4.v4));
        addr = v4;
    }
    struct gev__answer *a = gev__answer_new(node, 1);
    if (a == NULL) {
        return EAI_MEMORY;
    }
    a->addrs[a->count++] = addr;
    *ret_answer = a;
    return 0;
}

/* Which family to look up for the one asked for, given what this host has. */
static int choose_family(struct gev_hub *hub, const struct request *rq,
                         const char *node, int *ret_family)
{
    bool maps = rq->family == AF_INET6 && (rq->flags & AI_V4MAPPED) != 0;
    bool v4;
    bool v6;

    *ret_family = maps ? AF_UNSPEC : rq->family;
    if ((rq->flags & AI_ADDRCONFIG) == 0 || gev__name_is_local(node)) {
        return 0;
    }
    if (gev__resolve_families(hub, &v4, &v6) < 0) {
        return EAI_MEMORY;
    }
    if (v4 == v6) {
        return 0; /* both, or none to go by */
    }
    int only = v4 ? AF_INET : AF_INET6;
    if (*ret_family != AF_UNSPEC && *ret_family != only) {
        return EAI_NONAME;
    }
    *ret_family = only;
    return 0;
}

/* AI_V4MAPPED: IPv4 addresses as IPv6 ones; without AI_ALL only if there are no
 * others. */
static int map_answer(const struct request *rq, struct gev__answer **answer)
{
    const struct gev__answer *from = *answer;
    unsigned n_v6 = 0;

    for (unsigned i = 0; i < from->count; i++) {
        n_v6 += from->addrs[i].family == AF_INET6;
    }
    if (n_v6 == from->count) {
        return 0;
    }
    bool map = n_v6 == 0 || (rq->flags & AI_ALL) != 0;
    struct gev__answer *to = gev__answer_new(from->name, from->count);
    if (to == NULL) {
        return EAI_MEMORY;
    }
    for (unsigned i = 0; i < from->count; i++) {
        const struct gev__addr *addr = &from->addrs[i];
        if (addr->family == AF_INET6) {
            to->addrs[to->count++] = *addr;
        } else if (map) {
            to->addrs[to->count++] = map_v4(addr);
        }
    }
    gev__answer_unref(*answer);
    *answer = to;
    return 0;
}

static int resolve_name(struct gev_hub *hub, const struct request *rq,
                        const char *node, int64_t deadline,
                        struct gev__answer **ret_answer, int *ret_error)
{
    struct gev__answer *answer;
    int family;

    int code = choose_family(hub, rq, node, &family);
    if (code == 0) {
        code = gev__resolve(hub, node, family, deadline, &answer, ret_error);
    }
    if (code != 0) {
        return code;
    }
    if (rq->family == AF_INET6) {
        code = map_answer(rq, &answer);
    }
    if (code != 0) {
        gev__answer_unref(answer);
        return code;
    }
    *ret_answer = answer;
    return 0;
}

static bool is_ascii(const char *text)
{
    while (*text != '\0' && (unsigned char)*text < 0x80) {
        text++;
    }
    return *text == '\0';
}

static int resolve_node(struct gev_hub *hub, const struct request *rq,
                        const char *node, int64_t deadline,
                        struct gev__answer **ret_answer, int *ret_error)
{
    struct gev__addr number;
    bool bad_zone;

    if (node == NULL) {
        return resolve_nothing(rq, ret_answer);
    }
    if ((rq->flags & AI_IDN) != 0 && !is_ascii(node)) {
        return EAI_IDN_ENCODE;
    }
    if (gev__addr_parse(node, &number, &bad_zone)) {
        return bad_zone ? EAI_NONAME
                        : resolve_number(rq, node, &number, ret_answer);
    }
    if ((rq->flags & AI_NUMERICHOST) != 0) {
        return EAI_NONAME;
    }
    return resolve_name(hub, rq, node, deadline, ret_answer, ret_error);
}

/* --- lists ---------------------------------------------------------------- */

/* One entry as libc's freeaddrinfo() expects it: the address in the same block,
 * the name in one of its own. */
static struct addrinfo *make_entry(const struct request *rq,
                                   const struct gev__addr *addr,
                                   const struct endpoint *endpoint)
{
    union {
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } sa;
    socklen_t len;

    memset(&sa, 0, sizeof(sa));
    if (addr->family == AF_INET) {
        len = sizeof(sa.v4);
        sa.v4.sin_family = AF_INET;
        sa.v4.sin_port = endpoint->port;
        sa.v4.sin_addr = addr->v4;
    } else {
        len = sizeof(sa.v6);
        sa.v6.sin6_family = AF_INET6;
        sa.v6.sin6_port = endpoint->port;
        sa.v6.sin6_addr = addr->v6;
        sa.v6.sin6_scope_id = addr->scope;
    }
    struct addrinfo *ai = gev__libc_calloc(1, sizeof(*ai) + len);
    if (ai == NULL) {
        return NULL;
    }
    ai->ai_flags = rq->flags;
    ai->ai_family = addr->family;
    ai->ai_socktype = endpoint->type;
    ai->ai_protocol = endpoint->protocol;
    ai->ai_addrlen = len;
    ai->ai_addr = (struct sockaddr *)(void *)(ai + 1);
    memcpy(ai->ai_addr, &sa, len);
    return ai;
}

static char *copy_for_libc(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = gev__libc_calloc(1, size);
    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

static int make_list(const struct request *rq, const struct gev__answer *answer,
                     struct addrinfo **ret_list)
{
    struct addrinfo *list = NULL;
    struct addrinfo **last = &list;

    for (unsigned i = 0; i < answer->count; i++) {
        for (unsigned k = 0; k < rq->n_endpoints; k++) {
            *last = make_entry(rq, &answer->addrs[i], &rq->endpoints[k]);
            if (*last == NULL) {
                gev__freeaddrinfo(list);
                return EAI_MEMORY;
            }
            last = &(*last)->ai_next;
        }
    }
    if (list != NULL && (rq->flags & AI_CANONNAME) != 0) {
        list->ai_canonname = copy_for_libc(answer->name);
        if (list->ai_canonname == NULL) {
            gev__freeaddrinfo(list);
            return EAI_MEMORY;
        }
    }
    *ret_list = list;
    return 0;
}

void gev__freeaddrinfo(struct addrinfo *list)
{
    while (list != NULL) {
        struct addrinfo *next = list->ai_next;
        free(list->ai_canonname);
        free(list);
        list = next;
    }
}

/* --- all of it ------------------------------------------------------------ */

/* In libc's order, for the sake of who asks several impossible things. */
static int check_hints(const struct addrinfo *hints, const char *node,
                       const char *service, struct request *ret_rq)
{
    *ret_rq = (struct request){.flags = DEFAULT_FLAGS};
    if (hints != NULL) {
        ret_rq->flags = hints->ai_flags;
        ret_rq->family = hints->ai_family;
        ret_rq->type = hints->ai_socktype;
        ret_rq->protocol = hints->ai_protocol;
    }
    if ((ret_rq->flags & ~KNOWN_FLAGS) != 0) {
        return EAI_BADFLAGS;
    }
    if ((ret_rq->flags & AI_CANONNAME) != 0 && node == NULL) {
        return EAI_BADFLAGS;
    }
    if (ret_rq->family != AF_UNSPEC && ret_rq->family != AF_INET &&
        ret_rq->family != AF_INET6) {
        return EAI_FAMILY;
    }
    if ((ret_rq->flags & AI_NUMERICSERV) != 0 && service != NULL &&
        !is_number(service)) {
        return EAI_NONAME;
    }
    return 0;
}

/* libc takes "*" for nothing. */
static const char *nothing_if_star(const char *text)
{
    return text != NULL && strcmp(text, "*") == 0 ? NULL : text;
}

int gev__getaddrinfo(struct gev_hub *hub, const char *node, const char *service,
                     const struct addrinfo *hints, int64_t deadline,
                     struct addrinfo **ret_list, int *ret_error)
{
    struct gev__answer *answer = NULL;
    struct request rq;

    *ret_error = 0;
    node = nothing_if_star(node);
    service = nothing_if_star(service);
    if (node == NULL && service == NULL) {
        return EAI_NONAME;
    }
    int code = check_hints(hints, node, service, &rq);
    if (code == 0) {
        code = resolve_service(&rq, service);
    }
    if (code == 0) {
        code = resolve_node(hub, &rq, node, deadline, &answer, ret_error);
    }
    if (code != 0) {
        return code;
    }
    code = make_list(&rq, answer, ret_list);
    gev__answer_unref(answer);
    return code;
}
