/* SPDX-License-Identifier: MIT */
/* getnameinfo: the name of an address and of its port. */
#include "net/dns.h"

#include "base/compiler.h"
#include "net/answer.h"
#include "net/resolver.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef NI_NUMERICSCOPE
#define FLAG_NUMERICSCOPE NI_NUMERICSCOPE
#else
#define FLAG_NUMERICSCOPE 0 /* glibc has none */
#endif

#define KNOWN_FLAGS                                                            \
    (NI_NUMERICHOST | NI_NUMERICSERV | NI_NOFQDN | NI_NAMEREQD | NI_DGRAM |    \
     FLAG_NUMERICSCOPE)

#define SERVICE_BUFFER 2048

/* An address with its zone, an interface's name. */
#define NUMBER_SIZE (INET6_ADDRSTRLEN + 1 + IF_NAMESIZE)

static int put(char *out, socklen_t size, const char *text)
{
    size_t len = strlen(text);

    if (len >= size) {
        return EAI_OVERFLOW;
    }
    memcpy(out, text, len + 1);
    return 0;
}

static void write_zone(const struct gev__addr *addr, int flags, char *out,
                       size_t size)
{
    char name[IF_NAMESIZE];
    bool is_local =
        IN6_IS_ADDR_LINKLOCAL(&addr->v6) || IN6_IS_ADDR_MC_LINKLOCAL(&addr->v6);

    if (is_local && (flags & FLAG_NUMERICSCOPE) == 0 &&
        if_indextoname(addr->scope, name) != NULL) {
        snprintf(out, size, "%%%s", name);
    } else {
        snprintf(out, size, "%%%u", addr->scope);
    }
}

static int put_number(const struct gev__nameinfo *out,
                      const struct gev__addr *addr, int flags)
{
    char text[NUMBER_SIZE];

    if (addr->family == AF_INET) {
        inet_ntop(AF_INET, &addr->v4, text, sizeof(text));
    } else {
        inet_ntop(AF_INET6, &addr->v6, text, sizeof(text));
        if (addr->scope != 0) {
            size_t len = strlen(text);
            write_zone(addr, flags, text + len, sizeof(text) - len);
        }
    }
    return put(out->host, out->host_size, text);
}

/* Cuts this host's own domain off. */
static void cut_domain(char *host)
{
    char own[256] = "";

    if (gethostname(own, sizeof(own) - 1) != 0) {
        return;
    }
    const char *domain = strchr(own, '.');
    if (domain == NULL || domain[1] == '\0') {
        return;
    }
    size_t n = strlen(host);
    size_t len = strlen(domain);
    if (n > len && strcasecmp(host + n - len, domain) == 0) {
        host[n - len] = '\0';
    }
}

static int put_host(struct gev_hub *hub, const struct gev__nameinfo *out,
                    const struct gev__addr *addr, int flags, int64_t deadline,
                    int *ret_error)
{
    struct gev__answer *answer;

    if ((flags & NI_NUMERICHOST) == 0) {
        int code = gev__resolve_name(hub, addr, deadline, &answer, ret_error);
        if (code == 0) {
            if ((flags & NI_NOFQDN) != 0) {
                cut_domain(answer->name);
            }
            code = put(out->host, out->host_size, answer->name);
            gev__answer_unref(answer);
        }
        if (code != EAI_NONAME) {
            return code;
        }
    }
    return (flags & NI_NAMEREQD) != 0 ? EAI_NONAME
                                      : put_number(out, addr, flags);
}

static int put_service(const struct gev__nameinfo *out, uint16_t port,
                       int flags)
{
    const char *protocol = (flags & NI_DGRAM) != 0 ? "udp" : "tcp";
    char buffer[SERVICE_BUFFER];
    char number[8];
    struct servent entry;
    struct servent *found = NULL;

    if ((flags & NI_NUMERICSERV) == 0 &&
        getservbyport_r(port, protocol, &entry, buffer, sizeof(buffer),
                        &found) == 0 &&
        found != NULL) {
        return put(out->service, out->service_size, found->s_name);
    }
    snprintf(number, sizeof(number), "%u", (unsigned)ntohs(port));
    return put(out->service, out->service_size, number);
}

/* Unix sockets: as libc has it, this host and the path. */
static int local_names(const struct sockaddr *sa, socklen_t len,
                       const struct gev__nameinfo *out, int flags)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char path[sizeof(un.sun_path) + 1] = "";
    char host[256] = "localhost";

    if (len < offsetof(struct sockaddr_un, sun_path)) {
        return EAI_FAMILY;
    }
    memcpy(&un, sa, len < sizeof(un) ? len : sizeof(un));
    memcpy(path, un.sun_path, sizeof(un.sun_path));
    if ((flags & NI_NUMERICHOST) == 0) {
        (void)gethostname(host, sizeof(host) - 1);
    }
    int code = out->host != NULL ? put(out->host, out->host_size, host) : 0;
    if (code == 0 && out->service != NULL) {
        code = put(out->service, out->service_size, path);
    }
    return code;
}

/* False: not an address of a family with ports. */
static bool read_addr(const struct sockaddr *sa, socklen_t len,
                      struct gev__addr *ret_addr, uint16_t *ret_port)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (sa->sa_family == AF_INET && len >= sizeof(v4)) {
        memcpy(&v4, sa, sizeof(v4));
        *ret_addr = (struct gev__addr){.family = AF_INET, .v4 = v4.sin_addr};
        *ret_port = v4.sin_port;
        return true;
    }
    if (sa->sa_family == AF_INET6 && len >= sizeof(v6)) {
        memcpy(&v6, sa, sizeof(v6));
        *ret_addr = (struct gev__addr){
            .family = AF_INET6, .scope = v6.sin6_scope_id, .v6 = v6.sin6_addr};
        *ret_port = v6.sin6_port;
        return true;
    }
    return false;
}

int gev__getnameinfo(struct gev_hub *hub, const struct sockaddr *addr,
                     socklen_t addrlen, const struct gev__nameinfo *out,
                     int flags, int64_t deadline, int *ret_error)
{
    struct gev__addr a;
    uint16_t port;

    *ret_error = 0;
    if ((flags & ~KNOWN_FLAGS) != 0) {
        return EAI_BADFLAGS;
    }
    if (addr == NULL || addrlen < sizeof(addr->sa_family)) {
        return EAI_FAMILY;
    }
    if (out->host == NULL && out->service == NULL) {
        return EAI_NONAME;
    }
    if (addr->sa_family == AF_UNIX) {
        return local_names(addr, addrlen, out, flags);
    }
    if (!read_addr(addr, addrlen, &a, &port)) {
        return EAI_FAMILY;
    }
    int code = 0;
    if (out->host != NULL) {
        code = put_host(hub, out, &a, flags, deadline, ret_error);
    }
    if (code == 0 && out->service != NULL) {
        code = put_service(out, port, flags);
    }
    return code;
}
