/* SPDX-License-Identifier: MIT */
#include "net/listen.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/sys.h"
#include "hub/fd.h"
#include "net/address.h"
#include "net/dns.h"
#include "net/socket.h"

#include <gev/socket.h>

#include <netinet/in.h>
#include <string.h>

/* --- TCP and UDP ---------------------------------------------------------- */

struct want {
    int type;    /* SOCK_STREAM: listens, too */
    int backlog; /* SOCK_STREAM */
    bool both;   /* IPv6 and IPv4 in one socket */
    bool reuse_port;
};

static int set_option(int fd, int level, int name, int value)
{
    return gev__sys_setsockopt(fd, level, name, &value, sizeof(value));
}

static int start_listening(int fd, int backlog)
{
    return gev__sys_listen(fd, backlog <= 0 ? SOMAXCONN : backlog);
}

static int prepare(int fd, const struct addrinfo *ai, const struct want *want)
{
    int rc = 0;

    /* Not for UDP, where it lets others take the port over. */
    if (want->type == SOCK_STREAM) {
        rc = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    }
    if (rc == 0 && want->reuse_port) {
        rc = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (rc == 0 && want->both && ai->ai_family == AF_INET6) {
        rc = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    }
    if (rc == 0) {
        rc = gev__sys_bind(fd, ai->ai_addr, ai->ai_addrlen);
    }
    if (rc == 0 && want->type == SOCK_STREAM) {
        rc = start_listening(fd, want->backlog);
    }
    return rc;
}

static int open_bound(struct gev_hub *hub, const struct addrinfo *ai,
                      const struct want *want)
{
    int fd = gev__socket(hub, ai->ai_family, want->type, ai->ai_protocol);

    if (fd < 0) {
        return fd;
    }
    int rc = prepare(fd, ai, want);
    if (rc < 0) {
        gev__close(hub, fd);
        return rc;
    }
    return fd;
}

/* The machine lacks the address or its family: the next one may do. Any other
 * error is final; to bind half of "every address" would be none. */
static bool is_lacking(int rc)
{
    return rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL ||
           rc == -EPROTONOSUPPORT;
}

/* Binds the first address of the list that is of this family (or, if not, is
 * not of it). */
static int bind_first(struct gev_hub *hub, const struct addrinfo *list,
                      int family, bool is_of, const struct want *want,
                      int failed)
{
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
        if ((ai->ai_family == family) != is_of) {
            continue;
        }
        int rc = open_bound(hub, ai, want);
        if (!is_lacking(rc)) {
            return rc;
        }
        failed = rc;
    }
    return failed;
}

static int resolve(struct gev_hub *hub, int type, const char *host,
                   const char *service, struct addrinfo **ret_list)
{
    const struct addrinfo hints = {
        .ai_flags = AI_PASSIVE,
        .ai_socktype = type,
    };
    return gev__address_resolve(hub, host, service == NULL ? "0" : service,
                                &hints, GEV__NEVER, ret_list);
}

static int bind_one(struct gev_hub *hub, const struct addrinfo *list,
                    const struct want *want)
{
    if (!want->both) {
        return bind_first(hub, list, AF_UNSPEC, false, want, -EADDRNOTAVAIL);
    }
    int rc = bind_first(hub, list, AF_INET6, true, want, -EAFNOSUPPORT);
    if (is_lacking(rc)) {
        rc = bind_first(hub, list, AF_INET6, false, want, rc);
    }
    return rc;
}

int gev__bind_name(struct gev_hub *hub, int type, const char *host,
                   const char *service, int backlog, bool reuse_port)
{
    const struct want want = {.type = type,
                              .backlog = backlog,
                              .both = host == NULL,
                              .reuse_port = reuse_port};
    struct addrinfo *list;
    int rc = resolve(hub, type, host, service, &list);

    if (rc == 0) {
        rc = bind_one(hub, list, &want);
        gev__freeaddrinfo(list);
    }
    return rc;
}

/* --- every address of a name ---------------------------------------------- */

static in_port_t *port_of(struct sockaddr *sa)
{
    return sa->sa_family == AF_INET6
               ? &((struct sockaddr_in6 *)(void *)sa)->sin6_port
               : &((struct sockaddr_in *)(void *)sa)->sin_port;
}

/* The hosts file may name an address twice. */
static bool is_repeated(const struct addrinfo *list, const struct addrinfo *ai)
{
    while (list != ai &&
           (list->ai_addrlen != ai->ai_addrlen ||
            memcmp(list->ai_addr, ai->ai_addr, (size_t)ai->ai_addrlen) != 0)) {
        list = list->ai_next;
    }
    return list != ai;
}

/* The port the system chose for the first is that of all. */
static int spread_port(int fd, struct addrinfo *list)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    int rc = gev__sys_getsockname(fd, (struct sockaddr *)&addr, &len);

    for (struct addrinfo *ai = list; ai != NULL && rc == 0; ai = ai->ai_next) {
        *port_of(ai->ai_addr) = *port_of((struct sockaddr *)&addr);
    }
    return rc;
}

static void close_bound(struct gev_hub *hub, const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        gev__close(hub, fds[i]);
    }
}

/* All that the machine has, or none. */
static int bind_list(struct gev_hub *hub, struct addrinfo *list,
                     const struct want *want, int *fds, size_t most)
{
    int failed = -EADDRNOTAVAIL;
    size_t n = 0;

    for (struct addrinfo *ai = list; ai != NULL && n < most; ai = ai->ai_next) {
        if (is_repeated(list, ai)) {
            continue;
        }
        int rc = open_bound(hub, ai, want);
        if (is_lacking(rc)) {
            failed = rc;
            continue;
        }
        if (rc >= 0) {
            fds[n++] = rc;
            rc = n == 1 ? spread_port(rc, list) : 0;
        }
        if (rc < 0) {
            close_bound(hub, fds, n);
            return rc;
        }
    }
    return n == 0 ? failed : (int)n;
}

/* A port that is free at one address may be taken at another. */
#define PORT_TRIES 10

static int bind_each(struct gev_hub *hub, struct addrinfo *list,
                     const struct want *want, int *fds, size_t most)
{
    const in_port_t port = *port_of(list->ai_addr);
    int tries = 0;
    int rc;

    do {
        for (struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
            *port_of(ai->ai_addr) = port;
        }
        rc = bind_list(hub, list, want, fds, most);
    } while (rc == -EADDRINUSE && port == 0 && ++tries < PORT_TRIES);
    return rc;
}

int gev__bind_all(struct gev_hub *hub, int type, const char *host,
                  const char *service, int backlog, bool reuse_port, int *fds,
                  size_t most)
{
    const struct want want = {.type = type,
                              .backlog = backlog,
                              .both = host == NULL,
                              .reuse_port = reuse_port};
    struct addrinfo *list;
    int rc = resolve(hub, type, host, service, &list);

    if (rc < 0) {
        return rc;
    }
    if (want.both) {
        rc = bind_one(hub, list, &want);
        fds[0] = rc;
        rc = rc < 0 ? rc : 1;
    } else {
        rc = bind_each(hub, list, &want, fds, most);
    }
    gev__freeaddrinfo(list);
    return rc;
}

/* --- Unix ----------------------------------------------------------------- */

/* Whether the file is a socket that nobody listens on. */
static bool is_stale(int type, const struct sockaddr_un *addr)
{
    struct stat st;

    if (gev__sys_lstat(addr->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        return false;
    }
    int fd = gev__sys_socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    int rc = gev__sys_connect(fd, (const struct sockaddr *)addr, sizeof(*addr));
    gev__sys_close(fd);
    return rc == -ECONNREFUSED;
}

static int bind_stale(int fd, int type, const struct sockaddr_un *addr)
{
    const struct sockaddr *sa = (const struct sockaddr *)addr;
    int rc = gev__sys_bind(fd, sa, sizeof(*addr));

    if (rc != -EADDRINUSE || !is_stale(type, addr)) {
        return rc;
    }
    rc = gev__sys_unlink(addr->sun_path);
    return rc < 0 && rc != -ENOENT ? rc : gev__sys_bind(fd, sa, sizeof(*addr));
}

int gev__bind_path(struct gev_hub *hub, int type, const char *path, int backlog,
                   mode_t mode)
{
    struct sockaddr_un addr;

    int rc = gev__address_unix(path, &addr);
    if (rc < 0) {
        return rc;
    }
    int fd = gev__socket(hub, AF_UNIX, type, 0);
    if (fd < 0) {
        return fd;
    }
    if (mode != 0) {
        rc = gev__sys_fchmod(fd, mode); /* the file gets it when it is made */
    }
    if (rc == 0) {
        rc = bind_stale(fd, type, &addr);
    }
    if (rc == 0 && type == SOCK_STREAM) {
        rc = start_listening(fd, backlog);
    }
    if (rc < 0) {
        gev__close(hub, fd);
        return rc;
    }
    return fd;
}

/* --- public --------------------------------------------------------------- */

int gev_tcp_listen(const char *host, const char *service, int backlog)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1
                       : (int)gev__ret(gev__bind_name(hub, SOCK_STREAM, host,
                                                      service, backlog, false));
}

int gev_udp_bind(const char *host, const char *service)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1
                       : (int)gev__ret(gev__bind_name(hub, SOCK_DGRAM, host,
                                                      service, 0, false));
}

int gev_unix_listen(const char *path, int backlog)
{
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1
                       : (int)gev__ret(gev__bind_path(hub, SOCK_STREAM, path,
                                                      backlog, 0));
}
