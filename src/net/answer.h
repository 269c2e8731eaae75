/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_ANSWER_H
#define GEV_NET_ANSWER_H

/* What a name resolves to, before services and flags make a list of it. One
 * answer serves all who asked, so it is counted and never changed. */

#include "base/compiler.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gev__addr {
    int family;     /* AF_INET or AF_INET6 */
    uint32_t scope; /* IPv6 zone, or 0 */
    union {
        struct in_addr v4;
        struct in6_addr v6;
    };
};

struct gev__answer {
    unsigned refs;
    unsigned count;
    char *name; /* the canonical name; allocated */
    struct gev__addr addrs[];
};

/* Room for count addresses, and one reference; name is copied. NULL: no memory.
 */
struct gev__answer *gev__answer_new(const char *name, size_t count);
void gev__answer_unref(struct gev__answer *a);

static inline struct gev__answer *gev__answer_ref(struct gev__answer *a)
{
    a->refs++;
    return a;
}

bool gev__addr_is_equal(const struct gev__addr *a, const struct gev__addr *b);

/* The one number the whole text stands for, read as libc does: "127.1" and
 * "0x7f000001" too, and IPv6 with a zone. False: not a number. A zone that does
 * not exist: *ret_bad_zone, and true. */
bool gev__addr_parse(const char *text, struct gev__addr *ret_addr,
                     bool *ret_bad_zone);

/* Puts the addresses into the order of RFC 6724. -ENOMEM; they are in some
 * order then. */
int gev__addr_sort(struct gev__addr *addrs, size_t count);

#endif
