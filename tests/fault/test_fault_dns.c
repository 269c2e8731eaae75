/* SPDX-License-Identifier: MIT */
/* Look-ups with every call they make failing in turn: memory (ours and
 * c-ares's), sockets, reads and writes, files. */
#include "support/dns_server.h"
#include "support/fault_sweep.h"
#include "support/gev_test.h"
#include "support/lookup.h"

#include <gev.h>

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>

static const struct dns_rule rules[] = {
    {"www.test", .v4 = 2, .v6 = 2, .aliases = 1},
    {"many.test", .mood = DNS_TRUNCATES, .v4 = 60},
    {"4.3.2.10.in-addr.arpa", .target = "four.test"},
    {"*", .mood = DNS_NXDOMAIN},
    {NULL},
};

/* What fault_sweep.h understands. */
static int as_errno(int rc, int error)
{
    switch (rc) {
    case 0:
        return 0;
    case EAI_MEMORY:
        errno = ENOMEM;
        return -1;
    case EAI_SYSTEM:
        errno = error;
        return -1;
    case EAI_AGAIN:
        errno = EAGAIN;
        return -1;
    default:
        expect_never("it failed with %s", gai_strerror(rc));
        errno = EPROTO;
        return -1;
    }
}

/* It either says so or has all of it, at least of one family: the question for
 * the other may have failed, as with libc. */
static int resolve(void *arg)
{
    const struct lookup *wanted = arg;
    struct lookup l = look_up(wanted->name, wanted->family, AI_CANONNAME);
    if (l.rc == 0) {
        expect_true(l.count > 0);
        expect_true(l.v4 == 0 || l.v4 == wanted->v4);
        expect_true(l.v6 == 0 || l.v6 == wanted->v6);
        expect_str_eq(l.canonical, wanted->canonical);
    }
    return as_errno(l.rc, l.error);
}

/* By two greenlets, of whom one joins the other's question. */
static int resolve_together(void *arg)
{
    const struct lookup *wanted = arg;
    struct lookup first = {.name = wanted->name, .family = wanted->family};
    struct lookup second = first;
    gev_greenlet *a = gev_spawn(lookup_in_greenlet, &first);
    gev_greenlet *b = a != NULL ? gev_spawn(lookup_in_greenlet, &second) : NULL;
    int error = errno;
    gev_greenlet *both[] = {a, b};
    size_t n = (a != NULL) + (size_t)(b != NULL);
    if (b == NULL && a != NULL) {
        gev_kill(a, GEV_FOREVER);
    }
    ssize_t joined = gev_joinall(both, n, GEV_FOREVER);
    gev_unref(a);
    gev_unref(b);
    if (b == NULL) {
        errno = error;
        return -1;
    }
    if (joined != 2) {
        return -1;
    }
    return first.rc != 0 ? as_errno(first.rc, first.error)
                         : as_errno(second.rc, second.error);
}

static int find_name(void *arg)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(80)};
    char host[64] = "";
    char service[16] = "";
    inet_pton(AF_INET, arg, &sa.sin_addr);
    int rc =
        gev_getnameinfo((struct sockaddr *)(void *)&sa, sizeof(sa), host,
                        sizeof(host), service, sizeof(service), NI_NAMEREQD);
    int error = errno;
    if (rc == 0) {
        expect_str_eq(host, "four.test");
        expect_str_eq(service, "http");
    }
    return as_errno(rc, error);
}

static const struct fault_case cases[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
    {"sockets", FAULT_AT(OPEN), EMFILE, .may_succeed = true,
     .allowed = {EMFILE, EAGAIN}},
    {"connect", FAULT_AT(CONNECT), ENETUNREACH, .may_succeed = true,
     .allowed = {EAGAIN}},
    {"write", FAULT_AT(WRITE), ENOBUFS, .may_succeed = true,
     .allowed = {EAGAIN}},
    {"read", FAULT_AT(READ), EIO, .may_succeed = true,
     .allowed = {EIO, EAGAIN}},
    {"options", FAULT_AT(SOCKOPT), EINVAL, .may_succeed = true,
     .allowed = {EINVAL}},
    {"interrupts", FAULT_AT(READ) | FAULT_AT(WRITE), EINTR,
     .shapes = FAULT_ONCE, .must_succeed = true},
    /* Streams only, so it comes last. */
    {"short", FAULT_AT(READ) | FAULT_AT(WRITE), .shapes = FAULT_SHORT},
};

#define N_CASES (sizeof(cases) / sizeof(cases[0]))

/* A try costs little; too short a time only makes more of them. */
static struct dns_server *serve(void)
{
    struct dns_server *s = dns_server_start(rules);
    if (s != NULL) {
        dns_server_use(s, test_scale(0.1), 2);
    }
    return s;
}

GEV_TEST(resolving_by_udp_survives)
{
    struct lookup wanted = {
        .name = "www.test", .v4 = 2, .v6 = 2, .canonical = "alias1.www.test"};
    struct dns_server *s = serve();
    fault_sweep(resolve, &wanted, cases, N_CASES - 1, FAULT_WARM);
    dns_server_stop(s);
}

GEV_TEST(resolving_by_tcp_survives)
{
    struct lookup wanted = {.name = "many.test",
                            .family = AF_INET,
                            .v4 = 60,
                            .canonical = "many.test"};
    struct dns_server *s = serve();
    fault_sweep(resolve, &wanted, cases, N_CASES, FAULT_WARM);
    dns_server_stop(s);
}

GEV_TEST(resolving_from_the_hosts_file_survives)
{
    struct lookup wanted = {
        .name = "here", .v4 = 2, .v6 = 1, .canonical = "here.test"};
    lookup_write_file(lookup_hosts_path, "10.0.0.1 here.test here\n"
                                         "10.0.0.2 here\n"
                                         "fd00::1 here\n");
    struct dns_server *s = serve();
    fault_sweep(resolve, &wanted, cases, 1, FAULT_WARM);
    fault_sweep(resolve, &wanted, &cases[4], 2, FAULT_WARM);
    dns_server_stop(s);
    lookup_write_file(lookup_hosts_path, "");
}

GEV_TEST(resolving_numbers_survives)
{
    struct lookup wanted = {
        .name = "127.0.0.1", .v4 = 1, .canonical = "127.0.0.1"};
    fault_sweep(resolve, &wanted, cases, 1, FAULT_WARM);
}

GEV_TEST(resolving_together_survives)
{
    struct lookup wanted = {.name = "www.test", .family = AF_INET};
    struct dns_server *s = serve();
    fault_sweep(resolve_together, &wanted, cases, 5, FAULT_WARM);
    dns_server_stop(s);
}

GEV_TEST(finding_a_name_survives)
{
    char addr[] = "10.2.3.4";
    struct dns_server *s = serve();
    fault_sweep(find_name, addr, cases, 5, FAULT_WARM);
    dns_server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resolving_by_udp_survives),
        cmocka_unit_test(resolving_by_tcp_survives),
        cmocka_unit_test(resolving_from_the_hosts_file_survives),
        cmocka_unit_test(resolving_numbers_survives),
        cmocka_unit_test(resolving_together_survives),
        cmocka_unit_test(finding_a_name_survives),
    };
    return cmocka_run_group_tests(tests, lookup_make_files,
                                  lookup_remove_files);
}
