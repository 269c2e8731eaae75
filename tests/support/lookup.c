/* SPDX-License-Identifier: MIT */
#include "support/lookup.h"

#include "support/gev_test.h"

#include <gev/dns.h>

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char lookup_hosts_path[] = "/tmp/gev-hosts-XXXXXX";
char lookup_resolv_path[] = "/tmp/gev-resolv-XXXXXX";

void lookup_write_file(const char *path, const char *text)
{
    char fresh[64];
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    FILE *f = fopen(fresh, "we");
    if (expect_not_null(f)) {
        fputs(text, f);
        fclose(f);
        expect_ok(rename(fresh, path));
    }
}

int lookup_make_files(void **state)
{
    (void)state;
    int hosts = mkstemp(lookup_hosts_path);
    int resolv = mkstemp(lookup_resolv_path);
    if (hosts < 0 || resolv < 0) {
        return -1;
    }
    close(hosts);
    close(resolv);
    setenv("GEV_DNS_HOSTS", lookup_hosts_path, 1);
    setenv("GEV_DNS_RESOLV_CONF", lookup_resolv_path, 1);
    return 0;
}

int lookup_remove_files(void **state)
{
    (void)state;
    unlink(lookup_hosts_path);
    unlink(lookup_resolv_path);
    return 0;
}

static void describe(struct lookup *l, const struct addrinfo *list)
{
    if (list->ai_canonname != NULL) {
        snprintf(l->canonical, sizeof(l->canonical), "%s", list->ai_canonname);
    }
    getnameinfo(list->ai_addr, list->ai_addrlen, l->first, sizeof(l->first),
                NULL, 0, NI_NUMERICHOST);
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
        l->count++;
        l->v4 += ai->ai_family == AF_INET;
        l->v6 += ai->ai_family == AF_INET6;
    }
}

void lookup_run(struct lookup *l)
{
    struct addrinfo hints = {.ai_family = l->family,
                             .ai_flags = l->flags,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *const untouched = &hints;
    struct addrinfo *list = untouched;
    double begin = test_now();
    l->rc = gev_getaddrinfo(l->name, "80", &hints, &list);
    l->error = errno;
    l->took = test_now() - begin;
    if (l->rc != 0) {
        expect_ptr_eq(list, untouched);
        return;
    }
    describe(l, list);
    gev_freeaddrinfo(list);
}

struct lookup look_up(const char *name, int family, int flags)
{
    struct lookup l = {.name = name, .family = family, .flags = flags};
    lookup_run(&l);
    return l;
}

void *lookup_in_greenlet(void *arg)
{
    lookup_run(arg);
    return NULL;
}

gev_greenlet *lookup_spawn(struct lookup *l)
{
    gev_greenlet *g = gev_spawn(lookup_in_greenlet, l);
    expect_not_null(g);
    return g;
}

struct dns_server *lookup_serve(const struct dns_rule *rules)
{
    struct dns_server *s = dns_server_start(rules);
    if (s != NULL) {
        dns_server_use(s, test_scale(2), 3);
    }
    return s;
}

void lookup_wait_asked(struct dns_server *s, const char *name)
{
    double end = test_now() + test_scale(10);
    while (dns_server_asked(s, name, 0) == 0 && test_now() < end) {
        gev_sleep(0.002);
    }
    expect_true(dns_server_asked(s, name, 0) > 0);
}
