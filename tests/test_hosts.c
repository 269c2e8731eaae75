/* SPDX-License-Identifier: MIT */
/* What the resolver takes from files, the environment and the network's
 * configuration, and names of addresses. */
#include "support/dns_server.h"
#include "support/gev_test.h"
#include "support/lookup.h"

#include <gev.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- files ---------------------------------------------------------------- */

/* DNS9 */
GEV_TEST(hosts_file_goes_first)
{
    static const struct dns_rule rules[] = {{"*", .v4 = 1}, {NULL}};
    struct dns_server *s = lookup_serve(rules);
    lookup_write_file(lookup_hosts_path,
                      "# a comment\n"
                      "\n"
                      "  10.1.1.1\t here.test  here  Alias # and more\r\n"
                      "not-an-address x.test\n"
                      "10.1.1.9\n"
                      "10.1.1.2 here.test\n"
                      "fe80::1%1 here.test other\n"
                      "10.1.1.1 here.test\n"
                      "10.3 short.test"); /* no newline at the end */
    struct lookup l = look_up("HERE.test", AF_UNSPEC, AI_CANONNAME);
    expect_int_eq(l.rc, 0);
    expect_uint_eq(l.v4, 2);
    expect_uint_eq(l.v6, 1);
    expect_str_eq(l.canonical, "here.test");
    l = look_up("alias", AF_INET, AI_CANONNAME);
    expect_int_eq(l.rc, 0);
    expect_uint_eq(l.count, 1);
    expect_str_eq(l.first, "10.1.1.1");
    expect_str_eq(l.canonical, "here.test");
    l = look_up("short.test", AF_INET, 0);
    expect_str_eq(l.first, "10.0.0.3");
    expect_uint_eq(dns_server_asked(s, NULL, 0), 0);
    /* Not of that family: the servers may know more. */
    l = look_up("x.test", AF_INET, 0);
    expect_str_eq(l.first, "127.1.0.1");
    l = look_up("alias", AF_INET6, 0);
    expect_int_eq(l.rc, EAI_NONAME);
    expect_uint_eq(dns_server_asked(s, "alias", DNS_AAAA), 1);
    lookup_write_file(lookup_hosts_path, "");
    dns_server_stop(s);
}

/* DNS10 */
GEV_TEST(changed_hosts_file_is_seen_at_once)
{
    static const struct dns_rule rules[] = {{"*", .mood = DNS_NXDOMAIN},
                                            {NULL}};
    struct dns_server *s = lookup_serve(rules);
    for (int i = 1; i <= 50 && !test_failed(); i++) {
        char text[64];
        snprintf(text, sizeof(text), "10.0.0.%d here.test\n", i);
        if (i % 2) {
            lookup_write_file(lookup_hosts_path, text);
        } else { /* in place, with the same size */
            FILE *f = fopen(lookup_hosts_path, "we");
            if (expect_not_null(f)) {
                fputs(text, f);
                fclose(f);
            }
        }
        struct lookup l = look_up("here.test", AF_INET, 0);
        text[strcspn(text, " ")] = '\0';
        expect_int_eq(l.rc, 0);
        expect_str_eq(l.first, text);
    }
    unlink(lookup_hosts_path);
    struct lookup l = look_up("here.test", AF_INET, 0);
    expect_int_eq(l.rc, EAI_NONAME);
    lookup_write_file(lookup_hosts_path, "10.0.0.1 here.test\n");
    l = look_up("here.test", AF_INET, 0);
    expect_int_eq(l.rc, 0);
    lookup_write_file(lookup_hosts_path, "");
    dns_server_stop(s);
}

/* As large as the lists that block advertisers. */
GEV_TEST(large_hosts_file)
{
    static const struct dns_rule rules[] = {{"*", .mood = DNS_NXDOMAIN},
                                            {NULL}};
    struct dns_server *s = lookup_serve(rules);
    FILE *f = fopen(lookup_hosts_path, "we");
    if (!expect_not_null(f)) {
        return;
    }
    for (int i = 0; i < 50000; i++) {
        fprintf(f, "10.%d.%d.%d host%d.test h%d\n", i >> 16, i >> 8 & 255,
                i & 255, i, i);
    }
    fclose(f);
    static const struct {
        const char *name;
        const char *addr;
    } cases[] = {{"host0.test", "10.0.0.0"},
                 {"h49999", "10.0.195.79"},
                 {"host32768.test", "10.0.128.0"}};
    for (int i = 0; i < 3; i++) {
        struct lookup l = look_up(cases[i].name, AF_INET, 0);
        expect_int_eq(l.rc, 0);
        expect_str_eq(l.first, cases[i].addr);
    }
    lookup_write_file(lookup_hosts_path, "");
    dns_server_stop(s);
}

GEV_TEST(localhost_is_nobody_elses_business)
{
    static const struct dns_rule rules[] = {{"*", .v4 = 1, .v6 = 1}, {NULL}};
    static const char *const names[] = {"localhost", "LOCALHOST", "localhost.",
                                        "a.localhost", "b.a.LocalHost."};
    struct dns_server *s = lookup_serve(rules);
    for (int i = 0; i < 5; i++) {
        struct lookup l = look_up(names[i], AF_UNSPEC, 0);
        expect_int_eq(l.rc, 0);
        expect_uint_eq(l.v4, 1);
        expect_uint_eq(l.v6, 1);
        expect_str_eq(l.first, "::1");
        l = look_up(names[i], AF_INET, 0);
        expect_str_eq(l.first, "127.0.0.1");
        l = look_up(names[i], AF_INET6, AI_ADDRCONFIG);
        expect_str_eq(l.first, "::1");
    }
    struct lookup l = look_up("x.onion", AF_UNSPEC, 0);
    expect_int_eq(l.rc, EAI_NONAME);
    l = look_up("ONION.", AF_UNSPEC, 0);
    expect_int_eq(l.rc, EAI_NONAME);
    expect_uint_eq(dns_server_asked(s, NULL, 0), 0);
    /* Only those. */
    l = look_up("notlocalhost", AF_INET, 0);
    expect_str_eq(l.first, "127.1.0.1");
    l = look_up("localhost.test", AF_INET, 0);
    expect_str_eq(l.first, "127.1.0.1");
    /* The file may say otherwise. */
    lookup_write_file(lookup_hosts_path, "127.0.0.9 localhost a.localhost\n");
    l = look_up("localhost", AF_UNSPEC, 0);
    expect_uint_eq(l.count, 1);
    expect_str_eq(l.first, "127.0.0.9");
    lookup_write_file(lookup_hosts_path, "");
    dns_server_stop(s);
}

GEV_TEST(search_domains_and_ndots)
{
    static const struct dns_rule rules[] = {{"www.b.test", .v4 = 1},
                                            {"x.y.b.test", .v4 = 1},
                                            {"*", .mood = DNS_NXDOMAIN},
                                            {NULL}};
    struct dns_server *s = lookup_serve(rules);
    lookup_write_file(lookup_resolv_path,
                      "search a.test b.test\noptions ndots:2\n");
    struct lookup l = look_up("www", AF_INET, AI_CANONNAME);
    expect_int_eq(l.rc, 0);
    expect_str_eq(l.canonical, "www.b.test");
    expect_uint_eq(dns_server_asked(s, "www.a.test", 0), 1);
    expect_uint_eq(dns_server_asked(s, "www", 0), 0);
    l = look_up("x.y", AF_INET, 0);
    expect_int_eq(l.rc, 0);
    l = look_up("www.", AF_INET, 0); /* as it stands */
    expect_int_eq(l.rc, EAI_NONAME);
    expect_uint_eq(dns_server_asked(s, "www", 0), 1);
    expect_uint_eq(dns_server_asked(s, "www.a.test", 0), 1);
    lookup_write_file(lookup_resolv_path, "");
    dns_server_stop(s);
}

GEV_TEST(changed_resolv_conf_is_seen)
{
    static const struct dns_rule rules[] = {
        {"www.b.test", .v4 = 2},
        {"www.a.test", .v4 = 1, .delay = 1500},
        {"*", .mood = DNS_NXDOMAIN},
        {NULL}};
    struct dns_server *s = lookup_serve(rules);
    lookup_write_file(lookup_resolv_path, "search a.test\n");
    struct lookup old = {.name = "www", .family = AF_INET};
    gev_greenlet *g = lookup_spawn(&old);
    lookup_wait_asked(s, "www.a.test");
    lookup_write_file(lookup_resolv_path, "search b.test\n");
    gev_sleep(1.05);
    struct lookup other = look_up("www.b.test", AF_INET, 0);
    expect_int_eq(other.rc, 0);
    struct lookup l = look_up("x", AF_INET, 0);
    expect_int_eq(l.rc, EAI_NONAME);
    expect_uint_eq(dns_server_asked(s, "x.b.test", 0), 1);
    expect_uint_eq(dns_server_asked(s, "x.a.test", 0), 0);
    /* What was asked before is answered as asked. */
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_int_eq(old.rc, 0);
    expect_uint_eq(old.count, 1);
    lookup_write_file(lookup_resolv_path, "");
    dns_server_stop(s);
}

/* DNS6 */
GEV_TEST(resolv_conf_says_how_long)
{
    static const struct dns_rule rules[] = {{"*", .mood = DNS_SILENT}, {NULL}};
    struct dns_server *s = dns_server_start(rules);
    dns_server_use(s, 1, 1);
    unsetenv("GEV_DNS_TIMEOUT");
    unsetenv("GEV_DNS_TRIES");
    lookup_write_file(lookup_resolv_path, "options timeout:1 attempts:1\n");
    struct lookup l = look_up("www.test", AF_INET, 0);
    expect_int_eq(l.rc, EAI_AGAIN);
    expect_ge(l.took, 1);
    expect_le(l.took, test_scale(1.9));
    expect_uint_eq(dns_server_asked(s, NULL, 0), 1);
    lookup_write_file(lookup_resolv_path, "");
    dns_server_stop(s);
}

/* CFG7 */
GEV_TEST(bad_environment_is_an_error)
{
    static const struct {
        const char *name;
        const char *value;
    } cases[] = {
        {"GEV_DNS_SERVERS", "localhost"}, {"GEV_DNS_SERVERS", "1.2.3"},
        {"GEV_DNS_SERVERS", "1.2.3.4:"},  {"GEV_DNS_SERVERS", "1.2.3.4:0"},
        {"GEV_DNS_SERVERS", ","},         {"GEV_DNS_SERVERS", "1.2.3.4:65536"},
        {"GEV_DNS_SERVERS", "[::1"},      {"GEV_DNS_SERVERS", "[::1]53"},
        {"GEV_DNS_SERVERS", "[1.2.3.4]"}, {"GEV_DNS_SERVERS", "::1,x"},
        {"GEV_DNS_TIMEOUT", "soon"},      {"GEV_DNS_TIMEOUT", "-1"},
        {"GEV_DNS_TIMEOUT", "nan"},       {"GEV_DNS_TRIES", "0"},
        {"GEV_DNS_TRIES", "3x"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        test_note("%s=%s", cases[i].name, cases[i].value);
        setenv(cases[i].name, cases[i].value, 1);
        struct lookup l = look_up("www.test", AF_INET, 0);
        expect_int_eq(l.rc, EAI_SYSTEM);
        expect_int_eq(l.error, EINVAL);
        l = look_up("127.0.0.1", AF_INET, 0);
        expect_int_eq(l.rc, 0);
        unsetenv(cases[i].name);
        expect_ok(gev_hub_close());
    }
}

GEV_TEST(servers_are_written_in_many_ways)
{
    static const struct dns_rule rules[] = {{"*", .v4 = 1}, {NULL}};
    static const struct {
        const char *before;
        const char *after;
    } forms[] = {
        {"127.0.0.1:", ""},
        {"127.0.0.1:", ","},
        {" 127.0.0.1:", " , [::1]:1"},
        {"127.0.0.1:", ",::1,9.9.9.9,[::1]"},
    };
    struct dns_server *s = lookup_serve(rules);
    for (int i = 0; i < 4; i++) {
        char text[64];
        snprintf(text, sizeof(text), "%s%u%s", forms[i].before,
                 dns_server_port(s), forms[i].after);
        setenv("GEV_DNS_SERVERS", text, 1);
        struct lookup l = look_up("www.test", AF_INET, 0);
        expect_int_eq(l.rc, 0);
        expect_ok(gev_hub_close());
    }
    dns_server_stop(s);
}

/* --- AI_ADDRCONFIG -------------------------------------------------------- */

/* A network of its own that has loopback and one other IPv4 address. */
static bool make_ipv4_network(void)
{
    struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    struct ifreq other = {.ifr_name = "lo:1"};
    struct sockaddr_in sa = {.sin_family = AF_INET};
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
        return false;
    }
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, "10.9.9.9", &sa.sin_addr);
    memcpy(&other.ifr_addr, &sa, sizeof(sa));
    bool ok = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &up) == 0 &&
              ioctl(fd, SIOCSIFADDR, &other) == 0;
    close(fd);
    return ok;
}

enum { CANNOT_UNSHARE = 77 };

static int resolve_in_ipv4_network(void)
{
    static const struct dns_rule rules[] = {{"*", .v4 = 1, .v6 = 1}, {NULL}};
    if (!make_ipv4_network()) {
        return CANNOT_UNSHARE;
    }
    struct dns_server *s = lookup_serve(rules);
    struct lookup l = look_up("www.test", AF_UNSPEC, AI_ADDRCONFIG);
    expect_int_eq(l.rc, 0);
    expect_uint_eq(l.v4, 1);
    expect_uint_eq(l.v6, 0);
    l = look_up("www.test", AF_INET6, AI_ADDRCONFIG);
    expect_int_eq(l.rc, EAI_NONAME);
    l = look_up("www.test", AF_INET6, AI_ADDRCONFIG | AI_V4MAPPED);
    expect_str_eq(l.first, "::ffff:127.1.0.1");
    expect_uint_eq(dns_server_asked(s, NULL, DNS_AAAA), 0);
    l = look_up("www.test", AF_UNSPEC, 0);
    expect_uint_eq(l.v6, 1);
    /* What is not asked of anybody is not concerned. */
    l = look_up("localhost", AF_INET6, AI_ADDRCONFIG);
    expect_str_eq(l.first, "::1");
    l = look_up("fd00::1", AF_UNSPEC, AI_ADDRCONFIG);
    expect_str_eq(l.first, "fd00::1");
    expect_ok(gev_hub_close());
    dns_server_stop(s);
    return test_failed();
}

GEV_TEST(addrconfig_asks_for_what_the_host_has)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(resolve_in_ipv4_network());
    }
    expect_ok(gev_wait_child(pid, &status, GEV_FOREVER));
    if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT_UNSHARE) {
        test_skip("no network namespace to be had");
    }
    expect_int_eq(status, 0);
}

/* --- the way back --------------------------------------------------------- */

struct reverse {
    const char *addr;
    int flags;
    int rc;
    int error;
    char host[NI_MAXHOST];
    char service[NI_MAXSERV];
};

static void run_reverse(struct reverse *r)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    if (!expect_int_eq(getaddrinfo(r->addr, "80", &hints, &list), 0)) {
        return;
    }
    r->rc = gev_getnameinfo(list->ai_addr, list->ai_addrlen, r->host,
                            sizeof(r->host), r->service, sizeof(r->service),
                            r->flags);
    r->error = errno;
    freeaddrinfo(list);
}

static struct reverse reverse(const char *addr, int flags)
{
    struct reverse r = {.addr = addr, .flags = flags};
    run_reverse(&r);
    return r;
}

static void *run_reverse_in_greenlet(void *arg)
{
    run_reverse(arg);
    return NULL;
}

GEV_TEST(address_gives_its_name)
{
    static const struct dns_rule rules[] = {
        {"4.3.2.10.in-addr.arpa", .target = "four.test", .delay = 20},
        {"4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f."
         "ip6.arpa",
         .target = "six.test", .aliases = 0},
        {"1.1.1.10.in-addr.arpa", .mood = DNS_SERVFAIL},
        {"*", .mood = DNS_NXDOMAIN},
        {NULL}};
    struct dns_server *s = lookup_serve(rules);
    struct reverse r = reverse("10.2.3.4", NI_NUMERICSERV);
    expect_int_eq(r.rc, 0);
    expect_str_eq(r.host, "four.test");
    expect_str_eq(r.service, "80");
    r = reverse("fd00::4", NI_NAMEREQD);
    expect_int_eq(r.rc, 0);
    expect_str_eq(r.host, "six.test");
    expect_str_eq(r.service, "http");
    r = reverse("10.9.9.9", 0);
    expect_int_eq(r.rc, 0);
    expect_str_eq(r.host, "10.9.9.9");
    r = reverse("10.9.9.9", NI_NAMEREQD);
    expect_int_eq(r.rc, EAI_NONAME);
    r = reverse("10.1.1.1", 0);
    expect_int_eq(r.rc, EAI_AGAIN);
    /* Many at once, one question. */
    struct reverse many[10];
    gev_greenlet *greenlets[10];
    unsigned before = dns_server_asked(s, "4.3.2.10.in-addr.arpa", DNS_PTR);
    for (int i = 0; i < 10; i++) {
        many[i] = (struct reverse){.addr = "10.2.3.4"};
        greenlets[i] = gev_spawn(run_reverse_in_greenlet, &many[i]);
    }
    expect_int_eq(gev_joinall(greenlets, 10, GEV_FOREVER), 10);
    for (int i = 0; i < 10; i++) {
        expect_str_eq(many[i].host, "four.test");
        gev_unref(greenlets[i]);
    }
    expect_uint_eq(dns_server_asked(s, "4.3.2.10.in-addr.arpa", DNS_PTR),
                   before + 1);
    dns_server_stop(s);
}

GEV_TEST(silent_server_and_the_way_back)
{
    static const struct dns_rule rules[] = {{"*", .mood = DNS_SILENT}, {NULL}};
    struct dns_server *s = dns_server_start(rules);
    dns_server_use(s, 0.05, 2);
    struct reverse r = reverse("10.1.1.1", 0);
    expect_int_eq(r.rc, EAI_AGAIN);
    gev_timeout scope = {{0}};
    expect_ok(gev_timeout_begin(&scope, 0.01));
    r = reverse("10.1.1.2", 0);
    gev_timeout_end(&scope);
    expect_int_eq(r.rc, EAI_SYSTEM);
    expect_int_eq(r.error, ETIMEDOUT);
    dns_server_stop(s);
}

GEV_TEST(hosts_file_on_the_way_back)
{
    static const struct dns_rule rules[] = {{"*", .target = "dns.test"},
                                            {NULL}};
    struct dns_server *s = lookup_serve(rules);
    lookup_write_file(lookup_hosts_path,
                      "10.1.1.1 one.test uno\nfd00::1 six.test\n");
    struct reverse r = reverse("10.1.1.1", 0);
    expect_str_eq(r.host, "one.test");
    r = reverse("fd00::1", 0);
    expect_str_eq(r.host, "six.test");
    /* Not in the file, but known. */
    r = reverse("127.0.0.1", 0);
    expect_str_eq(r.host, "localhost");
    r = reverse("::1", NI_NAMEREQD);
    expect_str_eq(r.host, "localhost");
    expect_uint_eq(dns_server_asked(s, NULL, 0), 0);
    r = reverse("10.1.1.3", 0);
    expect_str_eq(r.host, "dns.test");
    lookup_write_file(lookup_hosts_path, "");
    dns_server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_file_goes_first),
        cmocka_unit_test(changed_hosts_file_is_seen_at_once),
        cmocka_unit_test(large_hosts_file),
        cmocka_unit_test(localhost_is_nobody_elses_business),
        cmocka_unit_test(search_domains_and_ndots),
        cmocka_unit_test(changed_resolv_conf_is_seen),
        cmocka_unit_test(resolv_conf_says_how_long),
        cmocka_unit_test(bad_environment_is_an_error),
        cmocka_unit_test(servers_are_written_in_many_ways),
        cmocka_unit_test(addrconfig_asks_for_what_the_host_has),
        cmocka_unit_test(address_gives_its_name),
        cmocka_unit_test(silent_server_and_the_way_back),
        cmocka_unit_test(hosts_file_on_the_way_back),
    };
    return cmocka_run_group_tests(tests, lookup_make_files,
                                  lookup_remove_files);
}
