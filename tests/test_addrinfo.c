/* SPDX-License-Identifier: MIT */
/* gev_getaddrinfo and gev_getnameinfo where no name server is asked: compared
 * with libc over all combinations of what a program may ask. */
#include "support/gev_test.h"
#include "support/lookup.h"
#include "support/sockets.h"

#include <gev.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* --- lists as text -------------------------------------------------------- */

#define TEXT_SIZE 4096
#define MAX_ENTRIES 64

static int compare_text(const void *a, const void *b)
{
    const char *const *left = a;
    const char *const *right = b;
    return strcmp(*left, *right);
}

/* libc gives SOCK_RAW when no type is asked for; gev does not. */
static bool is_unasked_raw(const struct addrinfo *hints,
                           const struct addrinfo *ai)
{
    return ai->ai_socktype == SOCK_RAW &&
           (hints == NULL || hints->ai_socktype != SOCK_RAW);
}

/* sorted: without the order of the addresses. */
static void write_list(char out[TEXT_SIZE], const struct addrinfo *hints,
                       const struct addrinfo *list, bool sorted)
{
    static char lines[MAX_ENTRIES][160];
    char *order[MAX_ENTRIES];
    size_t n = 0;
    for (const struct addrinfo *ai = list; ai != NULL && n < MAX_ENTRIES;
         ai = ai->ai_next) {
        char host[64] = "?";
        char port[16] = "?";
        if (is_unasked_raw(hints, ai)) {
            continue;
        }
        getnameinfo(ai->ai_addr, ai->ai_addrlen, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
        snprintf(lines[n], sizeof(lines[n]),
                 "%s %s family %d/%d type %d protocol %d flags %x len %u "
                 "name %s\n",
                 host, port, ai->ai_family, ai->ai_addr->sa_family,
                 ai->ai_socktype, ai->ai_protocol, (unsigned)ai->ai_flags,
                 ai->ai_addrlen,
                 ai->ai_canonname != NULL ? ai->ai_canonname : "-");
        order[n] = lines[n];
        n++;
    }
    if (sorted) {
        qsort(order, n, sizeof(order[0]), compare_text);
    }
    out[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        strncat(out, order[i], TEXT_SIZE - strlen(out) - 1);
    }
}

/* --- the comparison ------------------------------------------------------- */

static int same_code(int rc)
{
    return rc == EAI_NODATA || rc == EAI_ADDRFAMILY ? EAI_NONAME : rc;
}

static void compare(const char *node, const char *service,
                    const struct addrinfo *hints)
{
    static char ours_text[TEXT_SIZE];
    static char libcs_text[TEXT_SIZE];
    struct addrinfo *ours = NULL;
    struct addrinfo *libcs = NULL;
    int rc = gev_getaddrinfo(node, service, hints, &ours);
    int libc_rc = getaddrinfo(node, service, hints, &libcs);
    test_note("node %s, service %s, flags %x, family %d, type %d, protocol %d",
              node != NULL ? node : "NULL", service != NULL ? service : "NULL",
              hints != NULL ? (unsigned)hints->ai_flags : 0,
              hints != NULL ? hints->ai_family : -1,
              hints != NULL ? hints->ai_socktype : -1,
              hints != NULL ? hints->ai_protocol : -1);
    if (!expect_int_eq(same_code(rc), same_code(libc_rc))) {
        printf("ours %d, libc's %d: %s\n", rc, libc_rc, gai_strerror(libc_rc));
    }
    if (rc == 0 && libc_rc == 0) {
        bool both = node == NULL || strcmp(node, "*") == 0;
        write_list(ours_text, hints, ours, both);
        write_list(libcs_text, hints, libcs, both);
        expect_str_eq(ours_text, libcs_text);
    }
    /* Crosswise: they are the same thing. */
    if (rc == 0) {
        freeaddrinfo(ours);
    }
    if (libc_rc == 0) {
        gev_freeaddrinfo(libcs);
    }
}

static const char *const nodes[] = {
    NULL,
    "*",
    "127.0.0.1",
    "127.1",
    "10.2.3",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "1.2.3.4.",
    "255.255.255.255",
    "0",
    "0.0.0.0",
    "::1",
    "::",
    "::ffff:1.2.3.4",
    "::1.2.3.4",
    "2001:DB8::0:1",
    "fe80::1%lo",
    "fe80::1%1",
    "fe80::1%4294967295",
    "fe80::1%4294967296",
    "fe80::1%nosuchinterface",
    "fe80::1%",
    "ff02::1%lo",
    "2001:db8::1%1",
    "2001:db8::1%lo",
    "::1%0",
    "1:2:3:4:5:6:7:8:9",
    ":::",
    "::g",
};

static const char *const services[] = {
    NULL,     "",      "0",     "80",   "65535", "00080",  "http",
    "domain", "https", "ntp",   "exec", "who",   "nosuch", "*",
    "syslog", "tftp",  "imap2", "80x",  "HTTP",
};

static const int flag_sets[] = {
    AI_NUMERICHOST,
    AI_NUMERICHOST | AI_PASSIVE,
    AI_NUMERICHOST | AI_CANONNAME,
    AI_NUMERICHOST | AI_NUMERICSERV,
    AI_NUMERICHOST | AI_V4MAPPED,
    AI_NUMERICHOST | AI_V4MAPPED | AI_ALL,
    AI_NUMERICHOST | AI_ALL | AI_PASSIVE | AI_CANONNAME,
    0x4000 | AI_NUMERICHOST,
};

static const int families[] = {AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX, 77};

static const struct {
    int type;
    int protocol;
} kinds[] = {
    {0, 0},
    {SOCK_STREAM, 0},
    {SOCK_DGRAM, 0},
    {SOCK_RAW, 0},
    {SOCK_SEQPACKET, 0},
    {SOCK_RDM, 0},
    {99, 0},
    {0, IPPROTO_TCP},
    {0, IPPROTO_UDP},
    {0, IPPROTO_SCTP},
    {0, IPPROTO_UDPLITE},
    {SOCK_STREAM, IPPROTO_TCP},
    {SOCK_STREAM, IPPROTO_UDP},
    {SOCK_STREAM, IPPROTO_SCTP},
    {SOCK_DGRAM, IPPROTO_UDP},
    {SOCK_DGRAM, IPPROTO_UDPLITE},
    {SOCK_DCCP, IPPROTO_DCCP},
    {SOCK_RAW, IPPROTO_ICMP},
    {SOCK_RAW, IPPROTO_RAW},
};

/* DNS1: nodes and families with all flags, services with all kinds, and a
 * product of it all that is coarse enough to end. */
GEV_TEST(same_as_libc_for_numbers_and_nothing)
{
    for (size_t n = 0; n < COUNT(nodes); n++) {
        for (size_t f = 0; f < COUNT(flag_sets) * COUNT(families); f++) {
            struct addrinfo hints = {
                .ai_flags = flag_sets[f / COUNT(families)],
                .ai_family = families[f % COUNT(families)],
            };
            compare(nodes[n], NULL, &hints);
            compare(nodes[n], "80", &hints);
        }
    }
}

/* DNS4 */
GEV_TEST(same_as_libc_for_services)
{
    for (size_t s = 0; s < COUNT(services); s++) {
        for (size_t k = 0; k < COUNT(kinds); k++) {
            for (int numeric = 0; numeric < 2; numeric++) {
                struct addrinfo hints = {
                    .ai_flags = numeric ? AI_NUMERICSERV : 0,
                    .ai_socktype = kinds[k].type,
                    .ai_protocol = kinds[k].protocol,
                };
                compare("127.0.0.1", services[s], &hints);
                compare(NULL, services[s], &hints);
            }
        }
    }
}

GEV_TEST(same_as_libc_for_a_coarse_product)
{
    for (size_t i = 0; i < 20000; i++) {
        size_t x = i * 2654435761u;
        struct addrinfo hints = {
            .ai_flags = flag_sets[x / 7 % COUNT(flag_sets)],
            .ai_family = families[x / 59 % COUNT(families)],
            .ai_socktype = kinds[x / 307 % COUNT(kinds)].type,
            .ai_protocol = kinds[x / 307 % COUNT(kinds)].protocol,
        };
        compare(nodes[x / 6011 % COUNT(nodes)],
                services[x / 190027 % COUNT(services)], &hints);
    }
    compare("127.0.0.1", "80", NULL);
    compare(NULL, "http", NULL);
}

/* --- what needs no servers ------------------------------------------------ */

static int resolve(const char *node, const char *service, int flags)
{
    const struct addrinfo hints = {.ai_flags = flags,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int rc = gev_getaddrinfo(node, service, &hints, &list);
    expect_true((rc == 0) == (list != NULL));
    gev_freeaddrinfo(list);
    return rc;
}

static void resolve_all_numbers(void)
{
    expect_int_eq(resolve("127.0.0.1", "http", 0), 0);
    expect_int_eq(resolve("fe80::1%lo", "80", 0), 0);
    expect_int_eq(resolve(NULL, "0", AI_PASSIVE), 0);
    expect_int_eq(resolve("localhost", "65535", 0), 0);
    expect_int_eq(resolve("www.test", "80", AI_NUMERICHOST), EAI_NONAME);
}

/* DNS3 */
GEV_TEST(numbers_do_not_park)
{
    gev_timeout expired = {{0}};
    uint64_t before = test_switches();
    resolve_all_numbers();
    expect_ok(gev_timeout_begin(&expired, 0));
    resolve_all_numbers();
    expect_true(gev_timeout_end(&expired));
    expect_uint_eq(test_switches(), before);
}

static void resolve_in_hub(void *arg)
{
    resolve_all_numbers();
    *(bool *)arg = true;
}

GEV_TEST(numbers_resolve_in_callbacks_too)
{
    bool done = false;
    expect_ok(gev_hub_post(gev_hub_get(), resolve_in_hub, &done));
    expect_ok(gev_sleep(0.01));
    expect_true(done);
}

GEV_TEST(ports_end_at_65535)
{
    expect_int_eq(resolve("127.0.0.1", "65536", 0), EAI_SERVICE);
    expect_int_eq(resolve("127.0.0.1", "65536", AI_NUMERICSERV), EAI_SERVICE);
    expect_int_eq(resolve("127.0.0.1", "99999999999999999999999", 0),
                  EAI_SERVICE);
    expect_int_eq(resolve("127.0.0.1", "-1", 0), EAI_SERVICE);
}

GEV_TEST(null_result_is_discarded)
{
    expect_int_eq(gev_getaddrinfo("127.0.0.1", "80", NULL, NULL), 0);
    expect_int_eq(gev_getaddrinfo(NULL, NULL, NULL, NULL), EAI_NONAME);
    gev_freeaddrinfo(NULL);
}

/* DNS11 */
GEV_TEST(names_must_be_ascii_for_idn)
{
    expect_int_eq(resolve("127.0.0.1", NULL, AI_IDN), 0);
    expect_int_eq(resolve("m\xc3\xbcller.test", NULL, AI_IDN), EAI_IDN_ENCODE);
    expect_int_eq(resolve("127.0.0.1", NULL, AI_CANONIDN), EAI_BADFLAGS);
}

/* A number is one whatever this host has; of localhost the same. */
GEV_TEST(addrconfig_spares_numbers)
{
    expect_int_eq(resolve("127.0.0.1", NULL, AI_ADDRCONFIG), 0);
    expect_int_eq(resolve("::1", NULL, AI_ADDRCONFIG), 0);
    expect_int_eq(resolve(NULL, "80", AI_ADDRCONFIG), 0);
}

GEV_TEST(every_code_has_words)
{
    static const int codes[] = {EAI_NONAME, EAI_AGAIN,  EAI_FAIL,
                                EAI_FAMILY, EAI_MEMORY, EAI_SERVICE};
    for (size_t i = 0; i < COUNT(codes); i++) {
        expect_str_eq(gev_strerror(GEV_EAI(codes[i])), gai_strerror(codes[i]));
    }
}

/* --- and back ------------------------------------------------------------- */

static void compare_names(const struct sockaddr *sa, socklen_t len, int flags,
                          socklen_t host_size, socklen_t service_size)
{
    char ours[2][NI_MAXHOST] = {"-", "-"};
    char libcs[2][NI_MAXHOST] = {"-", "-"};
    test_note("family %d, length %u, flags %x, room %u and %u", sa->sa_family,
              len, (unsigned)flags, host_size, service_size);
    int rc = gev_getnameinfo(sa, len, ours[0], host_size, ours[1], service_size,
                             flags);
    int libc_rc = getnameinfo(sa, len, libcs[0], host_size, libcs[1],
                              service_size, flags);
    expect_int_eq(rc, libc_rc);
    if (rc == 0 && libc_rc == 0) {
        expect_str_eq(ours[0], libcs[0]);
        expect_str_eq(ours[1], libcs[1]);
    }
}

GEV_TEST(same_names_as_libc)
{
    static const int flags[] = {
        NI_NUMERICHOST,
        NI_NUMERICHOST | NI_NUMERICSERV,
        NI_NUMERICHOST | NI_DGRAM,
        NI_NUMERICHOST | NI_NOFQDN,
        NI_NUMERICHOST | NI_NAMEREQD,
        NI_NUMERICHOST | 0x4000,
    };
    static const socklen_t rooms[] = {0, 1, 4, 10, 256};
    static const char *const addrs[] = {
        "127.0.0.1",     "1.2.3.4",        "::1",         "fe80::1%lo",
        "2001:db8::1%7", "::ffff:1.2.3.4", "fe80::1%4711"};
    static const char *const ports[] = {"0", "80", "53", "512", "65535"};
    uint64_t before = test_switches();
    for (size_t i = 0; i < COUNT(addrs) * COUNT(ports); i++) {
        struct addrinfo *list = NULL;
        if (!expect_int_eq(getaddrinfo(addrs[i % COUNT(addrs)],
                                       ports[i / COUNT(addrs)], NULL, &list),
                           0)) {
            return;
        }
        for (size_t f = 0; f < COUNT(flags); f++) {
            for (size_t r = 0; r < COUNT(rooms) * COUNT(rooms); r++) {
                socklen_t host = rooms[r % COUNT(rooms)];
                socklen_t service = rooms[r / COUNT(rooms)];
                if (host > 0 || service > 0) {
                    compare_names(list->ai_addr, list->ai_addrlen, flags[f],
                                  host, service);
                }
            }
        }
        compare_names(list->ai_addr, list->ai_addrlen - 1, NI_NUMERICHOST, 100,
                      100);
        freeaddrinfo(list);
    }
    expect_uint_eq(test_switches(), before);
}

GEV_TEST(names_of_other_families)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/tmp/x"};
    const struct sockaddr *sa = (struct sockaddr *)(void *)&un;
    char host[64];
    compare_names(sa, sizeof(un), NI_NUMERICHOST, 100, 100);
    compare_names(sa, sizeof(un), 0, 100, 100);
    un.sun_family = 77;
    compare_names(sa, sizeof(un), NI_NUMERICHOST, 100, 100);
    expect_int_eq(gev_getnameinfo(NULL, 0, host, sizeof(host), NULL, 0, 0),
                  EAI_FAMILY);
    un.sun_family = AF_INET;
    expect_int_eq(gev_getnameinfo(sa, sizeof(un), NULL, 0, NULL, 0, 0),
                  EAI_NONAME);
    expect_int_eq(gev_getnameinfo(sa, sizeof(un), host, 0, NULL, 5, 0),
                  EAI_NONAME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_libc_for_numbers_and_nothing),
        cmocka_unit_test(same_as_libc_for_services),
        cmocka_unit_test(same_as_libc_for_a_coarse_product),
        cmocka_unit_test(numbers_do_not_park),
        cmocka_unit_test(numbers_resolve_in_callbacks_too),
        cmocka_unit_test(ports_end_at_65535),
        cmocka_unit_test(null_result_is_discarded),
        cmocka_unit_test(names_must_be_ascii_for_idn),
        cmocka_unit_test(addrconfig_spares_numbers),
        cmocka_unit_test(every_code_has_words),
        cmocka_unit_test(same_names_as_libc),
        cmocka_unit_test(names_of_other_families),
    };
    return cmocka_run_group_tests(tests, lookup_make_files,
                                  lookup_remove_files);
}
