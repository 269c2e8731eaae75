/* SPDX-License-Identifier: MIT */
/* RFC 6724 order, against that of c-ares, which finds the same addresses in the
 * same hosts file. What is reachable depends on the machine; that both see it
 * alike does not. */
#include "support/gev_test.h"
#include "support/lookup.h"

#include <gev/dns.h>

#include "net/answer.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX 24

/* Of every line of the policy table and every scope. */
static const char *const addrs[] = {
    "127.0.0.1",    "127.1.2.3",        "10.1.2.3",     "169.254.1.1",
    "192.0.2.1",    "192.0.2.2",        "198.51.100.7", "203.0.113.9",
    "224.0.0.251",  "255.255.255.255",  "::1",          "fe80::1",
    "fe80::ffff:1", "fd00::1",          "fd00::2",      "fd00:0:0:1::1",
    "fdff::1",      "2001:db8::1",      "2001:db8::2",  "2001:db8:ffff::1",
    "2001:0:1::1",  "2002:c000:201::1", "2600::1",      "2a00:1::1",
    "3ffe::1",      "fec0::1",          "ff02::1",      "ff05::1",
    "ff0e::1",      "::192.0.2.1",      "2000::1",      "64:ff9b::1",
};
#define N_ADDRS (sizeof(addrs) / sizeof(addrs[0]))

static void append(char *text, size_t size, int family, const void *addr)
{
    char word[INET6_ADDRSTRLEN];
    size_t n = strlen(text);
    inet_ntop(family, addr, word, sizeof(word));
    snprintf(text + n, size - n, "%s ", word);
}

static void append_sockaddr(char *text, size_t size, const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, sa, sizeof(v4));
        append(text, size, AF_INET, &v4.sin_addr);
    } else {
        struct sockaddr_in6 v6;
        memcpy(&v6, sa, sizeof(v6));
        append(text, size, AF_INET6, &v6.sin6_addr);
    }
}

struct text {
    char addrs[MAX * INET6_ADDRSTRLEN];
};

static void on_addrs(void *arg, int status, int timeouts,
                     struct ares_addrinfo *ai)
{
    struct text *t = arg;
    (void)timeouts;
    expect_int_eq(status, ARES_SUCCESS);
    for (const struct ares_addrinfo_node *n = ai != NULL ? ai->nodes : NULL;
         n != NULL; n = n->ai_next) {
        append_sockaddr(t->addrs, sizeof(t->addrs), n->ai_addr);
    }
    if (ai != NULL) {
        ares_freeaddrinfo(ai);
    }
}

static void ask_cares(ares_channel ares, struct text *t)
{
    const struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_ENVHOSTS};
    t->addrs[0] = '\0';
    ares_getaddrinfo(ares, "x.test", NULL, &hints, on_addrs, t);
}

static void ask_gev(struct text *t)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    t->addrs[0] = '\0';
    expect_int_eq(gev_getaddrinfo("x.test", NULL, &hints, &list), 0);
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
        append_sockaddr(t->addrs, sizeof(t->addrs), ai->ai_addr);
    }
    gev_freeaddrinfo(list);
}

/* A random choice without repetitions. */
static void write_hosts(unsigned *seed, size_t n)
{
    size_t chosen[N_ADDRS];
    char text[MAX * (INET6_ADDRSTRLEN + 8)] = "";
    for (size_t i = 0; i < N_ADDRS; i++) {
        chosen[i] = i;
    }
    for (size_t i = 0; i < n; i++) {
        size_t k = i + (size_t)rand_r(seed) % (N_ADDRS - i);
        size_t swap = chosen[i];
        size_t len = strlen(text);
        chosen[i] = chosen[k];
        chosen[k] = swap;
        snprintf(text + len, sizeof(text) - len, "%s x.test\n",
                 addrs[chosen[i]]);
    }
    lookup_write_file(lookup_hosts_path, text);
}

GEV_TEST(same_order_as_cares)
{
    char lookups[] = "f";
    struct ares_options options = {.lookups = lookups};
    ares_channel ares;
    static struct text text;
    setenv("CARES_HOSTS", lookup_hosts_path, 1);
    lookup_write_file(lookup_hosts_path, "127.0.0.1 x.test\n");
    ask_gev(&text); /* from now on c-ares has gev's allocator */
    if (!expect_int_eq(ares_init_options(&ares, &options, ARES_OPT_LOOKUPS),
                       ARES_SUCCESS)) {
        return;
    }
    for (unsigned i = 0; i < 300 && !test_failed(); i++) {
        static struct text ours;
        static struct text theirs;
        unsigned seed = i;
        write_hosts(&seed, 2 + i % (MAX - 2));
        test_note("seed %u", i);
        ask_gev(&ours);
        ask_cares(ares, &theirs);
        expect_str_eq(ours.addrs, theirs.addrs);
    }
    ares_destroy(ares);
    unsetenv("CARES_HOSTS");
    lookup_write_file(lookup_hosts_path, "");
}

GEV_TEST(few_and_many_are_left_alone)
{
    static struct gev__addr many[1000];
    for (unsigned i = 0; i < 1000; i++) {
        many[i] = (struct gev__addr){.family = AF_INET,
                                     .v4 = {.s_addr = htonl(1000 - i)}};
    }
    expect_int_eq(gev__addr_sort(many, 0), 0);
    expect_int_eq(gev__addr_sort(many, 1), 0);
    expect_int_eq(gev__addr_sort(many, 1000), 0);
    for (unsigned i = 0; i < 1000; i++) {
        expect_uint_eq(ntohl(many[i].v4.s_addr), 1000 - i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_order_as_cares),
        cmocka_unit_test(few_and_many_are_left_alone),
    };
    return cmocka_run_group_tests(tests, lookup_make_files,
                                  lookup_remove_files);
}
