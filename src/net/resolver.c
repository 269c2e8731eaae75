/* SPDX-License-Identifier: MIT */
#include "net/resolver.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "net/channel.h"
#include "net/hosts.h"
#include "net/query.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* How often resolv.conf and the host's own addresses are looked at. */
#define LOOK_INTERVAL GEV__SEC

/* Longer ones are no names: RFC 1035. */
#define NAME_LENGTH_MAX 255

/* "f.e.d...ip6.arpa" and its NUL. */
#define ARPA_SIZE (sizeof(struct in6_addr) * 4 + sizeof("ip6.arpa"))

struct resolver {
    struct gev__hub_module module;
    struct gev_hub *hub;
    struct gev__dns_conf conf; /* valid if configured */
    bool configured;
    struct gev__hosts hosts;
    struct gev__file_version resolv_conf; /* that the channel was made from */
    int64_t conf_looked;                  /* ns */
    char lookups[GEV__LOOKUPS_MAX + 1];   /* the order; valid with a channel */
    struct gev__queries queries;          /* knows the current channel */
    struct gev__list retired; /* channels that still have questions */
    int64_t families_looked;  /* ns; 0: never */
    bool has_v4;
    bool has_v6;
};

/* --- channels ------------------------------------------------------------- */

/* c-ares has left a channel: the only place where one may go away. */
static void on_idle(struct gev__channel *ch, void *arg)
{
    struct resolver *r = arg;

    if (ch->retired && ch->asked == 0) {
        gev__channel_close(ch);
    }
    gev__queries_go_on(&r->queries);
}

/* The old channel stays until its questions are answered. */
static void replace_channel(struct resolver *r, struct gev__channel *ch)
{
    struct gev__channel *old = r->queries.channel;

    ch->idle = on_idle;
    ch->idle_arg = r;
    r->queries.channel = ch;
    if (old == NULL) {
        return;
    }
    if (old->asked == 0) {
        gev__channel_close(old);
    } else {
        old->retired = true;
        gev__list_push_back(&r->retired, &old->link);
    }
}

static int open_channel(struct resolver *r)
{
    struct gev__channel *ch;

    int rc = gev__channel_lookups(&r->conf, r->lookups);
    if (rc == 0) {
        rc = gev__channel_open(r->hub, &r->conf, &ch);
    }
    if (rc == 0) {
        replace_channel(r, ch);
    }
    return rc;
}

/* Sees to it that there is a channel, and one that knows today's resolv.conf.
 * If that fails, one of yesterday's will do. */
static int update_channel(struct resolver *r)
{
    int64_t now = gev__clock_now();
    bool have = r->queries.channel != NULL;

    if (have && now - r->conf_looked < LOOK_INTERVAL) {
        return 0;
    }
    r->conf_looked = now;
    if (!gev__file_changed(r->conf.resolv_conf, &r->resolv_conf) && have) {
        return 0;
    }
    int rc = open_channel(r);
    if (rc < 0) {
        r->resolv_conf.seen = false;
        return have ? 0 : rc;
    }
    return 0;
}

static int update(struct resolver *r)
{
    if (!r->configured) {
        int rc = gev__dns_conf_load(&r->conf);
        if (rc < 0) {
            return rc;
        }
        r->configured = true;
    }
    int rc = update_channel(r);
    return rc == 0 ? gev__hosts_update(&r->hosts, r->conf.hosts) : rc;
}

/* --- one a hub ------------------------------------------------------------ */

static void close_channels(struct resolver *r, bool detached)
{
    struct gev__list *node;

    if (r->queries.channel != NULL) {
        gev__list_push_back(&r->retired, &r->queries.channel->link);
        r->queries.channel = NULL;
    }
    while ((node = gev__list_pop(&r->retired)) != NULL) {
        struct gev__channel *ch =
            gev__container_of(node, struct gev__channel, link);
        ch->detached = detached;
        gev__channel_close(ch);
    }
}

static void on_close(struct gev__hub_module *m, struct gev_hub *hub)
{
    struct resolver *r = gev__container_of(m, struct resolver, module);

    (void)hub;
    gev__queries_end(&r->queries);
    close_channels(r, false);
    gev__hosts_fini(&r->hosts);
    gev__dns_conf_fini(&r->conf);
    gev__free(r);
}

/* The child's copies of the sockets are closed; the parent's answers go on
 * coming to the parent. The loop that watched them is gone, unless the fork was
 * in one of its callbacks. */
static void on_forked(struct gev__hub_module *m, struct gev_hub *hub)
{
    struct resolver *r = gev__container_of(m, struct resolver, module);

    gev__queries_forked(&r->queries);
    close_channels(r, hub->current != hub->hub_greenlet);
    gev__queries_init(&r->queries, hub);
}

/* NULL: no memory. */
static struct resolver *get_resolver(struct gev_hub *hub)
{
    gev__list_foreach(it, &hub->modules) {
        struct gev__hub_module *m =
            gev__container_of(it, struct gev__hub_module, link);
        if (m->close == on_close) {
            return gev__container_of(m, struct resolver, module);
        }
    }
    struct resolver *r = gev__calloc(1, sizeof(*r));
    if (r != NULL) {
        r->module.close = on_close;
        r->module.forked = on_forked;
        r->hub = hub;
        gev__list_init(&r->retired);
        gev__queries_init(&r->queries, hub);
        gev__hub_add_module(hub, &r->module);
    }
    return r;
}

/* The resolver, ready to look something up: 0, or EAI_*. */
static int prepare(struct gev_hub *hub, struct resolver **ret_resolver,
                   int *ret_error)
{
    struct resolver *r = get_resolver(hub);
    int rc = r == NULL ? -ENOMEM : update(r);

    *ret_error = -rc;
    *ret_resolver = r;
    if (rc == -ENOMEM) {
        return EAI_MEMORY;
    }
    return rc < 0 ? EAI_SYSTEM : 0;
}

/* --- names ---------------------------------------------------------------- */

/* Whether name is domain or a name under it. A dot at the end is fine. */
static bool is_under(const char *name, const char *domain)
{
    size_t n = strlen(name);
    size_t len = strlen(domain);

    if (n > 0 && name[n - 1] == '.') {
        n--;
    }
    return n >= len && strncasecmp(name + n - len, domain, len) == 0 &&
           (n == len || name[n - len - 1] == '.');
}

bool gev__name_is_local(const char *name)
{
    return is_under(name, "localhost");
}

static bool is_ascii(const char *name)
{
    while (*name != '\0' && (unsigned char)*name < 0x80) {
        name++;
    }
    return *name == '\0';
}

static struct gev__answer *make_loopback(const char *name, int family)
{
    struct gev__answer *a = gev__answer_new(name, 2);

    if (a != NULL && family != AF_INET) {
        a->addrs[a->count++] =
            (struct gev__addr){.family = AF_INET6, .v6 = in6addr_loopback};
    }
    if (a != NULL && family != AF_INET6) {
        a->addrs[a->count++] = (struct gev__addr){
            .family = AF_INET, .v4 = {.s_addr = htonl(INADDR_LOOPBACK)}};
    }
    return a;
}

static int find_in_hosts(struct resolver *r, const char *name, int family,
                         struct gev__answer **ret_answer)
{
    struct gev__answer *a;

    if (gev__hosts_find(&r->hosts, name, family, &a) < 0) {
        return EAI_MEMORY;
    }
    if (a == NULL) {
        return EAI_NONAME;
    }
    if (gev__addr_sort(a->addrs, a->count) < 0) {
        gev__answer_unref(a);
        return EAI_MEMORY;
    }
    *ret_answer = a;
    return 0;
}

static enum gev__question question_of(int family)
{
    switch (family) {
    case AF_INET:
        return GEV__ASK_V4;
    case AF_INET6:
        return GEV__ASK_V6;
    default:
        return GEV__ASK_BOTH;
    }
}

static int find_localhost(struct resolver *r, const char *name, int family,
                          struct gev__answer **ret_answer)
{
    int code = find_in_hosts(r, name, family, ret_answer);

    if (code == EAI_NONAME) {
        *ret_answer = make_loopback(name, family);
        code = *ret_answer != NULL ? 0 : EAI_MEMORY;
    }
    return code;
}

int gev__resolve(struct gev_hub *hub, const char *name, int family,
                 int64_t deadline, struct gev__answer **ret_answer,
                 int *ret_error)
{
    struct resolver *r;

    if (*name == '\0' || strlen(name) > NAME_LENGTH_MAX) {
        return EAI_NONAME;
    }
    int code = prepare(hub, &r, ret_error);
    if (code != 0) {
        return code;
    }
    if (gev__name_is_local(name)) {
        return find_localhost(r, name, family, ret_answer);
    }
    bool ask = is_ascii(name) && !is_under(name, "onion");
    code = EAI_NONAME;
    for (int i = 0; code == EAI_NONAME && r->lookups[i] != '\0'; i++) {
        if (r->lookups[i] == 'f') {
            code = find_in_hosts(r, name, family, ret_answer);
        } else if (ask) {
            code = gev__query(&r->queries, name, question_of(family), deadline,
                              ret_answer, ret_error);
        }
    }
    return code;
}

/* --- and back ------------------------------------------------------------- */

static void write_arpa(const struct gev__addr *addr, char out[ARPA_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    const uint8_t *v6 = addr->v6.s6_addr;

    if (addr->family == AF_INET) {
        uint32_t v4 = ntohl(addr->v4.s_addr);
        snprintf(out, ARPA_SIZE, "%u.%u.%u.%u.in-addr.arpa", v4 & 0xff,
                 v4 >> 8 & 0xff, v4 >> 16 & 0xff, v4 >> 24);
        return;
    }
    for (int i = 15; i >= 0; i--) {
        *out++ = hex[v6[i] & 0xf];
        *out++ = '.';
        *out++ = hex[v6[i] >> 4];
        *out++ = '.';
    }
    memcpy(out, "ip6.arpa", sizeof("ip6.arpa"));
}

static bool is_loopback(const struct gev__addr *addr)
{
    return addr->family == AF_INET ? addr->v4.s_addr == htonl(INADDR_LOOPBACK)
                                   : IN6_IS_ADDR_LOOPBACK(&addr->v6);
}

static int name_in_hosts(struct resolver *r, const struct gev__addr *addr,
                         struct gev__answer **ret_answer)
{
    const char *name = gev__hosts_name(&r->hosts, addr);

    if (name == NULL && is_loopback(addr)) {
        name = "localhost"; /* nobody else is asked for that */
    }
    if (name == NULL) {
        return EAI_NONAME;
    }
    *ret_answer = gev__answer_new(name, 0);
    return *ret_answer != NULL ? 0 : EAI_MEMORY;
}

int gev__resolve_name(struct gev_hub *hub, const struct gev__addr *addr,
                      int64_t deadline, struct gev__answer **ret_answer,
                      int *ret_error)
{
    struct resolver *r;
    char arpa[ARPA_SIZE];

    int code = prepare(hub, &r, ret_error);
    if (code != 0) {
        return code;
    }
    if (is_loopback(addr)) {
        return name_in_hosts(r, addr, ret_answer);
    }
    write_arpa(addr, arpa);
    code = EAI_NONAME;
    for (int i = 0; code == EAI_NONAME && r->lookups[i] != '\0'; i++) {
        if (r->lookups[i] == 'f') {
            code = name_in_hosts(r, addr, ret_answer);
        } else {
            code = gev__query(&r->queries, arpa,
                              addr->family == AF_INET ? GEV__ASK_NAME_V4
                                                      : GEV__ASK_NAME_V6,
                              deadline, ret_answer, ret_error);
        }
    }
    return code;
}

/* --- this host ------------------------------------------------------------ */

static bool is_real(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, sa, sizeof(v4));
        return v4.sin_addr.s_addr != htonl(INADDR_LOOPBACK);
    }
    struct sockaddr_in6 v6;
    memcpy(&v6, sa, sizeof(v6));
    return !IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

int gev__resolve_families(struct gev_hub *hub, bool *ret_v4, bool *ret_v6)
{
    struct resolver *r = get_resolver(hub);
    int64_t now = gev__clock_now();
    struct ifaddrs *all;

    if (r == NULL) {
        return -ENOMEM;
    }
    if (r->families_looked == 0 || now - r->families_looked >= LOOK_INTERVAL) {
        if (getifaddrs(&all) != 0) {
            all = NULL;
        }
        r->has_v4 = false;
        r->has_v6 = false;
        for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
            int family = i->ifa_addr != NULL ? i->ifa_addr->sa_family : 0;
            r->has_v4 |= family == AF_INET && is_real(i->ifa_addr);
            r->has_v6 |= family == AF_INET6 && is_real(i->ifa_addr);
        }
        if (all != NULL) {
            freeifaddrs(all);
        }
        r->families_looked = now;
    }
    *ret_v4 = r->has_v4;
    *ret_v6 = r->has_v6;
    return 0;
}
