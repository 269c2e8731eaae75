/* SPDX-License-Identifier: MIT */
#include "net/answer.h"

#include "base/alloc.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

struct gev__answer *gev__answer_new(const char *name, size_t count)
{
    struct gev__answer *a =
        gev__calloc(1, sizeof(*a) + count * sizeof(a->addrs[0]));

    if (a == NULL) {
        return NULL;
    }
    a->refs = 1;
    a->name = gev__strdup(name);
    if (a->name == NULL) {
        gev__free(a);
        return NULL;
    }
    return a;
}

void gev__answer_unref(struct gev__answer *a)
{
    if (--a->refs == 0) {
        gev__free(a->name);
        gev__free(a);
    }
}

bool gev__addr_is_equal(const struct gev__addr *a, const struct gev__addr *b)
{
    if (a->family != b->family) {
        return false;
    }
    if (a->family == AF_INET) {
        return a->v4.s_addr == b->v4.s_addr;
    }
    return a->scope == b->scope && memcmp(&a->v6, &b->v6, sizeof(a->v6)) == 0;
}

/* A zone is the name of an interface, where the address is bound to a link, or
 * a number. */
static bool parse_zone(const struct in6_addr *addr, const char *text,
                       uint32_t *ret_scope)
{
    if (IN6_IS_ADDR_LINKLOCAL(addr) || IN6_IS_ADDR_MC_LINKLOCAL(addr)) {
        unsigned index = if_nametoindex(text);
        if (index != 0) {
            *ret_scope = index;
            return true;
        }
    }
    if (*text < '0' || *text > '9') {
        return false;
    }
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    if (*end != '\0' || number > UINT32_MAX) {
        return false;
    }
    *ret_scope = (uint32_t)number;
    return true;
}

static bool parse_v6(const char *text, struct gev__addr *ret_addr,
                     bool *ret_bad_zone)
{
    char buf[INET6_ADDRSTRLEN];
    size_t len = strcspn(text, "%");
    struct gev__addr addr = {.family = AF_INET6};

    if (len >= sizeof(buf)) {
        return false;
    }
    memcpy(buf, text, len);
    buf[len] = '\0';
    if (inet_pton(AF_INET6, buf, &addr.v6) != 1) {
        return false;
    }
    *ret_bad_zone =
        text[len] == '%' && !parse_zone(&addr.v6, text + len + 1, &addr.scope);
    *ret_addr = addr;
    return true;
}

bool gev__addr_parse(const char *text, struct gev__addr *ret_addr,
                     bool *ret_bad_zone)
{
    struct gev__addr addr = {.family = AF_INET};

    *ret_bad_zone = false;
    /* inet_aton() takes "1.2.3.4 and more": only without blanks is it all. */
    if (*text >= '0' && *text <= '9' && strpbrk(text, " \t\n\v\f\r") == NULL &&
        inet_aton(text, &addr.v4) != 0) {
        *ret_addr = addr;
        return true;
    }
    return strchr(text, ':') != NULL && parse_v6(text, ret_addr, ret_bad_zone);
}
