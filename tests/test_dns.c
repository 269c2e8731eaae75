/* SPDX-License-Identifier: MIT */
/* Names by name servers and files. Numbers, services, flags, and the comparison
 * with libc are in test_addrinfo.c. */
#include "support/dns_server.h"
#include "support/gev_test.h"

#include <gev.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Time for answers that are to come; a machine that is slower than this under
 * load asks again, which no test but those that count would notice. */
#define PATIENCE test_scale(2)

/* --- what all tests need -------------------------------------------------- */

/* The machine's own files are not part of the tests. */
static char hosts_path[] = "/tmp/gev-hosts-XXXXXX";
static char resolv_path[] = "/tmp/gev-resolv-XXXXXX";

/* In one step, as careful programs do it. */
static void write_file(const char *path, const char *text)
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

static int make_files(void **state)
{
    (void)state;
    int hosts = mkstemp(hosts_path);
    int resolv = mkstemp(resolv_path);
    if (hosts < 0 || resolv < 0) {
        return -1;
    }
    close(hosts);
    close(resolv);
    setenv("GEV_DNS_HOSTS", hosts_path, 1);
    setenv("GEV_DNS_RESOLV_CONF", resolv_path, 1);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(hosts_path);
    unlink(resolv_path);
    return 0;
}

/* One look-up and what came of it. */
struct lookup {
    const char *name;
    int family;
    int flags;
    int rc;
    int error;      /* errno, with EAI_SYSTEM */
    unsigned count; /* addresses */
    unsigned v4;
    unsigned v6;
    char first[INET6_ADDRSTRLEN];
    char canonical[256];
    double took;
};

static void run(struct lookup *l)
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
    if (list->ai_canonname != NULL) {
        snprintf(l->canonical, sizeof(l->canonical), "%s",
                 list->ai_canonname);
    }
    getnameinfo(list->ai_addr, list->ai_addrlen, l->first, sizeof(l->first),
                NULL, 0, NI_NUMERICHOST);
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
        l->count++;
        l->v4 += ai->ai_family == AF_INET;
        l->v6 += ai->ai_family == AF_INET6;
    }
    gev_freeaddrinfo(list);
}

static struct lookup look_up(const char *name, int family, int flags)
{
    struct lookup l = {.name = name, .family = family, .flags = flags};
    run(&l);
    return l;
}

static void *run_in_greenlet(void *arg)
{
    run(arg);
    return NULL;
}

static gev_greenlet *spawn_lookup(struct lookup *l)
{
    gev_greenlet *g = gev_spawn(run_in_greenlet, l);
    expect_not_null(g);
    return g;
}

static void wait_until_asked(struct dns_server *s, const char *name)
{
    double end = test_now() + test_scale(10);
    while (dns_server_asked(s, name, 0) == 0 && test_now() < end) {
        gev_sleep(0.002);
    }
    expect_true(dns_server_asked(s, name, 0) > 0);
}

static struct dns_server *serve(const struct dns_rule *rules)
{
    struct dns_server *s = dns_server_start(rules);
    if (s != NULL) {
        dns_server_use(s, PATIENCE, 3);
    }
    return s;
}

/* --- answers -------------------------------------------------------------- */

GEV_TEST(name_gives_both_families)
{
    static const struct dns_rule rules[] = {{"www.test", .v4 = 2, .v6 = 3},
                                            {NULL}};
    struct dns_server *s = serve(rules);
    struct lookup l = look_up("www.test", AF_UNSPEC, 0);
    expect_int_eq(l.rc, 0);
    expect_uint_eq(l.v4, 2);
    expect_uint_eq(l.v6, 3);
    expect_str_eq(l.canonical, "");
    expect_uint_eq(dns_server_asked(s, NULL, 0), 2);
    dns_server_stop(s);
}

GEV_TEST(family_decides_what_is_asked)
{
    static const struct dns_rule rules[] = {{"www.test", .v4 = 1, .v6 = 1},
                                            {NULL}};
    struct dns_server *s = serve(rules);
    struct lookup l = look_up("www.test", AF_INET, 0);
    expect_int_eq(l.rc, 0);
    expect_str_eq(l.first, "127.1.0.1");
    expect_uint_eq(dns_server_asked(s, NULL, DNS_AAAA), 0);
    expect_uint_eq(dns_server_asked(s, NULL, DNS_A), 1);
    l = look_up("www.test", AF_INET6, 0);
    expect_int_eq(l.rc, 0);
    expect_str_eq(l.first, "fd00::1:1");
    expect_uint_eq(dns_server_asked(s, NULL, DNS_AAAA), 1);
    expect_uint_eq(dns_server_asked(s, NULL, DNS_A), 1);
    dns_server_stop(s);
}

GEV_TEST(sixty_addresses_come_by_tcp)
{
    static const struct dns_rule rules[] = {
        {"many.test", DNS_TRUNCATES, .v4 = 60, .v6 = 60}, {NULL}};
    struct dns_server *s = serve(rules);
    struct lookup l = look_up("many.test", AF_UNSPEC, 0);
    expect_int_eq(l.rc, 0);
    expect_uint_eq(l.v4, 60);
    expect_uint_eq(l.v6, 60);
    expect_uint_eq(dns_server_asked_tcp(s, "many.test"), 2);
    dns_server_stop(s);
}

/* Each truncated answer closes and opens sockets within c-ares, often with the
 * numbers of those before. */
GEV_TEST(tcp_again_and_again)
{
    static const struct dns_rule rules[] = {
        {"many.test", DNS_TRUNCATES, .v4 = 60}, {NULL}};
    struct dns_server *s = serve(rules);
    for (int i = 0; i < 100 && !test_failed(); i++) {
        struct lookup l = look_up("many.test", AF_INET, 0);
        expect_int_eq(l.rc, 0);
        expect_uint_eq(l.count, 60);
    }
    dns_server_stop(s);
}

GEV_TEST(aliases_end_in_the_canonical_name)
{
    static const struct dns_rule rules[] = {
        {"www.test", .v4 = 1, .v6 = 1, .aliases = 3}, {NULL}};
    struct dns_server *s = serve(rules);
    struct lookup l = look_up("www.test", AF_UNSPEC, AI_CANONNAME);
    expect_int_eq(l.rc, 0);
    expect_uint_eq(l.count, 2);
    expect_str_eq(l.canonical, "alias3.www.test");
    dns_server_stop(s);
}

GEV_TEST(canonical_name_without_aliases)
{
    static const struct dns_rule rules[] = {{"www.test", .v4 = 1}, {NULL}};
    struct dns_server *s = serve(rules);
    struct lookup l = look_up("www.test", AF_INET, AI_CANONNAME);
    expect_int_eq(l.rc, 0);
    expect_str_eq(l.canonical, "www.test");
    dns_server_stop(s);
}

GEV_TEST(ipv4_addresses_mapped)
{
    static const struct dns_rule rules[] = {
        {"v4.test", .v4 = 2}, {"both.test", .v4 = 2, .v6 = 1}, {NULL}};
    struct dns_server *s = serve(rules);
    struct lookup l = look_up("v4.test", AF_INET6, 0);
    expect_int_eq(l.rc, EAI_NONAME);
    l = look_up("v4.test", AF_INET6, AI_V4MAPPED);
    expect_int_eq(l.rc, 0);
    expect_uint_eq(l.v6, 2);
    expect_str_eq(l.first, "::ffff:127.1.0.1");
    l = look_up("both.test", AF_INET6, AI_V4MAPPED);
    expect_uint_eq(l.v6, 1);
    expect_str_eq(l.first, "fd00::1:1");
    l = look_up("both.test", AF_INET6, AI_V4MAPPED | AI_ALL);
    expect_uint_eq(l.v6, 3);
    /* Of no meaning for another family. */
    l = look_up("both.test", AF_INET, AI_V4MAPPED | AI_ALL);
    expect_uint_eq(l.v4, 2);
    dns_server_stop(s);
}

GEV_TEST(bad_answers_have_their_codes)
{
    static const struct dns_rule rules[] = {
        {"nodata.test"},
        {"servfail.test", DNS_SERVFAIL},
        {"refused.test", DNS_REFUSED},
        {"garbage.test", DNS_GARBAGE},
        {"resets.test", DNS_RESETS, .v4 = 1},
        {"lost.test", DNS_SILENT_ONCE, .v4 = 1},
        {"*", DNS_NXDOMAIN},
        {NULL},
    };
    static const struct {
        const char *name;
        int rc;
    } cases[] = {
        {"nodata.test", EAI_NONAME},     {"servfail.test", EAI_AGAIN},
        {"refused.test", EAI_AGAIN},     {"garbage.test", EAI_FAIL},
        {"resets.test", EAI_AGAIN},      {"lost.test", 0},
        {"nxdomain.test", EAI_NONAME},   {"", EAI_NONAME},
        {"a..b", EAI_NONAME},            {".", EAI_NONAME},
        {"M\xc3\xbcller.test", EAI_NONAME},
    };
    struct dns_server *s = dns_server_start(rules);
    dns_server_use(s, test_scale(0.3), 2);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        test_note("%s", cases[i].name);
        struct lookup l = look_up(cases[i].name, AF_INET, 0);
        expect_int_eq(l.rc, cases[i].rc);
    }
    dns_server_stop(s);
}

GEV_TEST(one_family_is_enough)
{
    static const struct dns_rule rules[] = {{"v6.test", .v6 = 1}, {NULL}};
    struct dns_server *s = serve(rules);
    struct lookup l = look_up("v6.test", AF_UNSPEC, 0);
    expect_int_eq(l.rc, 0);
    expect_uint_eq(l.count, 1);
    expect_str_eq(l.first, "fd00::1:1");
    dns_server_stop(s);
}

GEV_TEST(long_names_are_not_asked)
{
    static const struct dns_rule rules[] = {{"*", .v4 = 1}, {NULL}};
    struct dns_server *s = serve(rules);
    char name[400];
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    struct lookup l = look_up(name, AF_INET, 0);
    expect_int_eq(l.rc, EAI_NONAME);
    name[100] = '\0'; /* a label over 63 characters */
    l = look_up(name, AF_INET, 0);
    expect_int_eq(l.rc, EAI_NONAME);
    expect_uint_eq(dns_server_asked(s, NULL, 0), 0);
    dns_server_stop(s);
}

GEV_TEST(silent_server_ends_by_itself)
{
    static const struct dns_rule rules[] = {
        {"www.test", .v4 = 1}, {"*", DNS_SILENT}, {NULL}};
    struct dns_server *s = dns_server_start(rules);
    dns_server_use(s, 0.1, 2);
    struct lookup silent = {.name = "silent.test"};
    gev_greenlet *g = spawn_lookup(&silent);
    wait_until_asked(s, "silent.test");
    /* It holds nobody else up. */
    struct lookup l = look_up("www.test", AF_INET, 0);
    expect_int_eq(l.rc, 0);
    expect_false(gev_dead(g));
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_int_eq(silent.rc, EAI_AGAIN);
    expect_ge(silent.took, 0.3); /* 0.1, and 0.2 for the second try */
    expect_le(silent.took, test_scale(5));
    expect_uint_eq(dns_server_asked(s, "silent.test", DNS_A), 2);
    dns_server_stop(s);
}

GEV_TEST(no_server_at_all)
{
    /* A port that was free a moment ago. */
    static const struct dns_rule rules[] = {{NULL}};
    struct dns_server *s = dns_server_start(rules);
    char servers[32];
    snprintf(servers, sizeof(servers), "127.0.0.1:%u", dns_server_port(s));
    dns_server_stop(s);
    setenv("GEV_DNS_SERVERS", servers, 1);
    struct lookup l = look_up("www.test", AF_UNSPEC, 0);
    expect_int_eq(l.rc, EAI_AGAIN);
    expect_le(l.took, test_scale(1)); /* told by the kernel, not by time */
    unsetenv("GEV_DNS_SERVERS");
}

GEV_TEST(second_server_answers_for_the_first)
{
    static const struct dns_rule silent[] = {{"*", DNS_SILENT}, {NULL}};
    static const struct dns_rule rules[] = {{"*", .v4 = 1}, {NULL}};
    struct dns_server *a = dns_server_start(silent);
    struct dns_server *b = dns_server_start(rules);
    char servers[80];
    dns_server_use(a, 0.05, 2);
    snprintf(servers, sizeof(servers), "127.0.0.1:%u,127.0.0.1:%u",
             dns_server_port(a), dns_server_port(b));
    setenv("GEV_DNS_SERVERS", servers, 1);
    struct lookup l = look_up("www.test", AF_INET, 0);
    expect_int_eq(l.rc, 0);
    expect_true(dns_server_asked(a, NULL, 0) > 0);
    expect_true(dns_server_asked(b, NULL, 0) > 0);
    dns_server_stop(a);
    dns_server_stop(b);
}

/* --- who waits ------------------------------------------------------------ */

GEV_TEST(same_question_is_asked_once)
{
    static const struct dns_rule rules[] = {
        {"www.test", .v4 = 1, .v6 = 1, .delay = 50}, {NULL}};
    enum { N = 50 };
    struct lookup lookups[N];
    gev_greenlet *greenlets[N];
    struct dns_server *s = serve(rules);
    for (int i = 0; i < N; i++) {
        lookups[i] = (struct lookup){
            .name = i % 2 ? "www.test" : "WWW.Test",
            .flags = i % 3 == 0 ? AI_CANONNAME : 0};
        greenlets[i] = spawn_lookup(&lookups[i]);
    }
    expect_int_eq(gev_joinall(greenlets, N, GEV_FOREVER), N);
    for (int i = 0; i < N; i++) {
        expect_int_eq(lookups[i].rc, 0);
        expect_uint_eq(lookups[i].count, 2);
        gev_unref(greenlets[i]);
    }
    expect_uint_eq(dns_server_asked(s, NULL, DNS_A), 1);
    expect_uint_eq(dns_server_asked(s, NULL, DNS_AAAA), 1);
    /* In flight means: an answer is not kept. */
    struct lookup l = look_up("www.test", AF_INET, 0);
    expect_int_eq(l.rc, 0);
    expect_uint_eq(dns_server_asked(s, NULL, DNS_A), 2);
    dns_server_stop(s);
}

GEV_TEST(killed_waiter_leaves_the_others_their_answer)
{
    static const struct dns_rule rules[] = {
        {"www.test", .v4 = 1, .delay = 100}, {NULL}};
    struct dns_server *s = serve(rules);
    struct lookup a = {.name = "www.test", .family = AF_INET};
    struct lookup b = a;
    gev_greenlet *first = spawn_lookup(&a);
    gev_greenlet *second = spawn_lookup(&b);
    wait_until_asked(s, "www.test");
    expect_ok(gev_kill(first, GEV_FOREVER));
    expect_int_eq(a.rc, EAI_SYSTEM);
    expect_int_eq(a.error, ECANCELED);
    expect_ok(gev_join(second, GEV_FOREVER));
    expect_int_eq(b.rc, 0);
    expect_uint_eq(dns_server_asked(s, NULL, 0), 1);
    gev_unref(first);
    gev_unref(second);
    dns_server_stop(s);
}

GEV_TEST(question_outlives_all_its_waiters)
{
    static const struct dns_rule rules[] = {
        {"www.test", .v4 = 1, .delay = 50}, {NULL}};
    struct dns_server *s = serve(rules);
    struct lookup l = {.name = "www.test", .family = AF_INET};
    gev_greenlet *g = spawn_lookup(&l);
    wait_until_asked(s, "www.test");
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
    /* Somebody who asks now joins in. */
    struct lookup later = look_up("www.test", AF_INET, 0);
    expect_int_eq(later.rc, 0);
    expect_uint_eq(dns_server_asked(s, NULL, 0), 1);
    /* And with nobody left the answer still has where to go. */
    g = spawn_lookup(&l);
    gev_yield();
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
    gev_sleep(0.1);
    dns_server_stop(s);
}

GEV_TEST(scope_ends_the_wait)
{
    static const struct dns_rule rules[] = {{"*", DNS_SILENT}, {NULL}};
    struct dns_server *s = serve(rules);
    gev_timeout scope;
    expect_ok(gev_timeout_begin(&scope, 0.05));
    struct lookup l = look_up("www.test", AF_INET, 0);
    expect_true(gev_timeout_end(&scope));
    expect_int_eq(l.rc, EAI_SYSTEM);
    expect_int_eq(l.error, ETIMEDOUT);
    expect_ge(l.took, 0.05);
    expect_ok(gev_timeout_begin_error(&scope, 0, 4711));
    l = look_up("other.test", AF_INET, 0);
    expect_true(gev_timeout_end(&scope));
    expect_int_eq(l.rc, EAI_SYSTEM);
    expect_int_eq(l.error, 4711);
    expect_uint_eq(dns_server_asked(s, "other.test", 0), 0);
    dns_server_stop(s);
}

GEV_TEST(thrown_code_ends_the_wait)
{
    static const struct dns_rule rules[] = {{"*", DNS_SILENT}, {NULL}};
    struct dns_server *s = serve(rules);
    struct lookup l = {.name = "www.test", .family = AF_INET};
    gev_greenlet *g = spawn_lookup(&l);
    wait_until_asked(s, "www.test");
    expect_ok(gev_throw(g, EOWNERDEAD));
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_int_eq(l.rc, EAI_SYSTEM);
    expect_int_eq(l.error, EOWNERDEAD);
    dns_server_stop(s);
}

/* Killed at every moment of a look-up's life. */
GEV_TEST(killed_at_any_time)
{
    static const struct dns_rule rules[] = {
        {"many.test", DNS_TRUNCATES, .v4 = 60, .delay = 2},
        {"*", .v4 = 1, .delay = 1},
        {NULL}};
    struct dns_server *s = serve(rules);
    for (int i = 0; i < 150 && !test_failed(); i++) {
        struct lookup l = {.name = i % 2 ? "many.test" : "www.test",
                           .family = AF_INET};
        gev_greenlet *g = spawn_lookup(&l);
        gev_sleep((i % 50) * 0.0001);
        expect_ok(gev_kill(g, GEV_FOREVER));
        expect_true(l.rc == 0 || l.rc == EAI_SYSTEM || !gev_killed(g) ||
                    l.took == 0);
        gev_unref(g);
    }
    dns_server_stop(s);
}

static void *close_late(void *arg)
{
    struct lookup *l = arg;
    run(l);
    run(l); /* killed: fails at once */
    return NULL;
}

GEV_TEST(hub_closed_with_questions_in_flight)
{
    static const struct dns_rule rules[] = {
        {"tcp.test", DNS_TRUNCATES, .v4 = 60, .delay = 1},
        {"*", DNS_SILENT},
        {NULL}};
    static const char *const names[] = {"a.test", "b.test", "tcp.test"};
    struct dns_server *s = serve(rules);
    struct lookup lookups[9];
    for (int i = 0; i < 9; i++) {
        lookups[i] = (struct lookup){.name = names[i % 3]};
        gev_greenlet *g = gev_spawn(close_late, &lookups[i]);
        gev_unref(g);
    }
    gev_sleep(0.005);
    expect_ok(gev_hub_close());
    for (int i = 0; i < 6; i++) {
        expect_int_eq(lookups[i].rc, EAI_SYSTEM);
        expect_int_eq(lookups[i].error, ECANCELED);
    }
    /* And the next hub asks again. */
    struct lookup l = look_up("tcp.test", AF_INET, 0);
    expect_int_eq(l.rc, 0);
    dns_server_stop(s);
}

static void *resolve_for_ever(void *arg)
{
    struct lookup l = {.name = arg, .family = AF_INET};
    for (;;) { /* ignores its kill */
        run(&l);
    }
    return NULL;
}

GEV_TEST(hub_closed_with_one_who_never_ends)
{
    static const struct dns_rule rules[] = {{"*", DNS_SILENT}, {NULL}};
    struct dns_server *s = serve(rules);
    gev_unref(gev_spawn(resolve_for_ever, "www.test"));
    gev_sleep(0.01);
    expect_ok(gev_hub_close());
    dns_server_stop(s);
}

static void ask_in_hub(void *arg)
{
    *(struct lookup *)arg = look_up("www.test", AF_INET, 0);
}

GEV_TEST(callbacks_may_not_ask)
{
    static const struct dns_rule rules[] = {{"*", .v4 = 1}, {NULL}};
    struct dns_server *s = serve(rules);
    struct lookup l = {.rc = 1};
    expect_ok(gev_hub_post(gev_hub_get(), ask_in_hub, &l));
    gev_sleep(0.01);
    expect_int_eq(l.rc, EAI_SYSTEM);
    expect_int_eq(l.error, EPERM);
    expect_uint_eq(dns_server_asked(s, NULL, 0), 0);
    dns_server_stop(s);
}

/* An abandoned question keeps nobody from learning that nobody can wake him,
 * once it has ended. */
GEV_TEST(deadlock_is_seen_again)
{
    static const struct dns_rule rules[] = {{"*", DNS_SILENT}, {NULL}};
    struct dns_server *s = dns_server_start(rules);
    dns_server_use(s, 0.02, 1);
    struct lookup l = look_up("www.test", AF_INET, 0);
    expect_int_eq(l.rc, EAI_AGAIN);
    gev_waiter w = {{NULL}};
    void *value;
    expect_fail(gev_waiter_get(&w, &value, GEV_FOREVER), EDEADLK);
    dns_server_stop(s);
}

static int count_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    int count = 0;
    if (!expect_not_null(dir)) {
        return 0;
    }
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

GEV_TEST(thousand_names_at_once_without_a_thread)
{
    static const struct dns_rule rules[] = {
        {"*", .v4 = 1, .v6 = 1, .delay = 20}, {NULL}};
    enum { N = 1000 };
    static struct lookup lookups[N];
    static gev_greenlet *greenlets[N];
    static char names[N][32];
    struct dns_server *s = serve(rules);
    int threads = count_threads();
    double begin = test_now();
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof(names[i]), "host%d.test", i);
        lookups[i] = (struct lookup){.name = names[i]};
        greenlets[i] = spawn_lookup(&lookups[i]);
    }
    gev_sleep(0.005);
    expect_int_eq(count_threads(), threads);
    expect_int_eq(gev_joinall(greenlets, N, GEV_FOREVER), N);
    expect_int_eq(count_threads(), threads);
    for (int i = 0; i < N; i++) {
        expect_int_eq(lookups[i].rc, 0);
        expect_uint_eq(lookups[i].count, 2);
        gev_unref(greenlets[i]);
    }
    /* One after the other it would be 20 s. */
    expect_le(test_now() - begin, test_scale(5));
    dns_server_stop(s);
}

/* Far more than the pace lets go at once, and the first ones get no answer. */
GEV_TEST(slow_answers_do_not_stop_the_rest)
{
    static const struct dns_rule rules[] = {
        {"fast.test", .v4 = 1}, {"*", .v4 = 1, .delay = 400}, {NULL}};
    enum { N = 400 };
    static struct lookup lookups[N];
    static gev_greenlet *greenlets[N];
    static char names[N][32];
    struct dns_server *s = serve(rules);
    double begin = test_now();
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof(names[i]), "host%d.test", i);
        lookups[i] = (struct lookup){.name = names[i], .family = AF_INET};
        greenlets[i] = spawn_lookup(&lookups[i]);
    }
    gev_yield();
    struct lookup l = look_up("fast.test", AF_INET, 0);
    expect_int_eq(l.rc, 0);
    expect_le(test_now() - begin, test_scale(0.4));
    /* Some are killed before their turn comes, some after. */
    for (int i = 0; i < N; i += 2) {
        expect_ok(gev_kill(greenlets[i], 0));
    }
    expect_int_eq(gev_joinall(greenlets, N, GEV_FOREVER), N);
    for (int i = 0; i < N; i++) {
        expect_int_eq(lookups[i].rc, i % 2 ? 0 : EAI_SYSTEM);
        gev_unref(greenlets[i]);
    }
    expect_le(test_now() - begin, test_scale(3));
    dns_server_stop(s);
}

static void *resolve_in_thread(void *arg)
{
    struct lookup *l = arg;
    for (int i = 0; i < 20; i++) {
        l->count = 0;
        run(l);
    }
    gev_hub_close();
    return NULL;
}

GEV_TEST(each_thread_has_its_own)
{
    static const struct dns_rule rules[] = {
        {"*", .v4 = 3, .delay = 1}, {NULL}};
    struct dns_server *s = serve(rules);
    pthread_t threads[3];
    struct lookup lookups[3];
    for (int i = 0; i < 3; i++) {
        lookups[i] = (struct lookup){.name = "www.test", .family = AF_INET};
        expect_int_eq(pthread_create(&threads[i], NULL, resolve_in_thread,
                                     &lookups[i]),
                      0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        expect_int_eq(lookups[i].rc, 0);
        expect_uint_eq(lookups[i].count, 3);
    }
    dns_server_stop(s);
}

/* --- fork ----------------------------------------------------------------- */

static void expect_child_ok(pid_t pid)
{
    int status = 0;
    expect_ok(gev_wait_child(pid, &status, GEV_FOREVER));
    expect_true(WIFEXITED(status));
    expect_int_eq(WEXITSTATUS(status), 0);
}

GEV_TEST(child_asks_for_itself)
{
    static const struct dns_rule rules[] = {
        {"slow.test", .v4 = 1, .delay = 200}, {"*", .v4 = 2}, {NULL}};
    struct dns_server *s = serve(rules);
    struct lookup l = look_up("www.test", AF_INET, 0);
    expect_int_eq(l.rc, 0);
    struct lookup slow = {.name = "slow.test", .family = AF_INET};
    gev_greenlet *g = spawn_lookup(&slow);
    wait_until_asked(s, "slow.test");
    pid_t pid = fork();
    if (pid == 0) {
        l = look_up("www.test", AF_INET, 0);
        bool ok = l.rc == 0 && l.count == 2;
        l = look_up("slow.test", AF_INET, 0);
        ok = ok && l.rc == 0 && l.count == 1;
        _exit(ok && gev_hub_close() == 0 ? 0 : 1);
    }
    /* The parent's question is still the parent's. */
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_int_eq(slow.rc, 0);
    expect_child_ok(pid);
    expect_uint_eq(dns_server_asked(s, "slow.test", 0), 2);
    dns_server_stop(s);
}

static void fork_in_hub(void *arg)
{
    pid_t *pid = arg;
    *pid = fork();
    if (*pid == 0) {
        _exit(gev_hub_get() != NULL ? 0 : 1);
    }
}

GEV_TEST(fork_in_a_callback_with_a_question_in_flight)
{
    static const struct dns_rule rules[] = {
        {"*", .v4 = 1, .delay = 50}, {NULL}};
    struct dns_server *s = serve(rules);
    struct lookup l = {.name = "www.test", .family = AF_INET};
    gev_greenlet *g = spawn_lookup(&l);
    wait_until_asked(s, "www.test");
    pid_t pid = -1;
    expect_ok(gev_hub_post(gev_hub_get(), fork_in_hub, &pid));
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_int_eq(l.rc, 0);
    expect_child_ok(pid);
    dns_server_stop(s);
}

/* --- files ---------------------------------------------------------------- */

GEV_TEST(hosts_file_goes_first)
{
    static const struct dns_rule rules[] = {{"*", .v4 = 1}, {NULL}};
    struct dns_server *s = serve(rules);
    write_file(hosts_path, "# a comment\n"
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
    write_file(hosts_path, "");
    dns_server_stop(s);
}

GEV_TEST(changed_hosts_file_is_seen_at_once)
{
    static const struct dns_rule rules[] = {{"*", DNS_NXDOMAIN}, {NULL}};
    struct dns_server *s = serve(rules);
    for (int i = 1; i <= 50 && !test_failed(); i++) {
        char text[64];
        snprintf(text, sizeof(text), "10.0.0.%d here.test\n", i);
        if (i % 2) {
            write_file(hosts_path, text);
        } else { /* in place, with the same size */
            FILE *f = fopen(hosts_path, "we");
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
    unlink(hosts_path);
    struct lookup l = look_up("here.test", AF_INET, 0);
    expect_int_eq(l.rc, EAI_NONAME);
    write_file(hosts_path, "10.0.0.1 here.test\n");
    l = look_up("here.test", AF_INET, 0);
    expect_int_eq(l.rc, 0);
    write_file(hosts_path, "");
    dns_server_stop(s);
}

/* As large as the lists that block advertisers. */
GEV_TEST(large_hosts_file)
{
    static const struct dns_rule rules[] = {{"*", DNS_NXDOMAIN}, {NULL}};
    struct dns_server *s = serve(rules);
    FILE *f = fopen(hosts_path, "we");
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
    write_file(hosts_path, "");
    dns_server_stop(s);
}

GEV_TEST(localhost_is_nobody_elses_business)
{
    static const struct dns_rule rules[] = {{"*", .v4 = 1, .v6 = 1}, {NULL}};
    static const char *const names[] = {"localhost", "LOCALHOST", "localhost.",
                                        "a.localhost", "b.a.LocalHost."};
    struct dns_server *s = serve(rules);
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
    write_file(hosts_path, "127.0.0.9 localhost a.localhost\n");
    l = look_up("localhost", AF_UNSPEC, 0);
    expect_uint_eq(l.count, 1);
    expect_str_eq(l.first, "127.0.0.9");
    write_file(hosts_path, "");
    dns_server_stop(s);
}

GEV_TEST(search_domains_and_ndots)
{
    static const struct dns_rule rules[] = {
        {"www.b.test", .v4 = 1},
        {"x.y.b.test", .v4 = 1},
        {"*", DNS_NXDOMAIN},
        {NULL}};
    struct dns_server *s = serve(rules);
    write_file(resolv_path, "search a.test b.test\noptions ndots:2\n");
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
    write_file(resolv_path, "");
    dns_server_stop(s);
}

GEV_TEST(changed_resolv_conf_is_seen)
{
    static const struct dns_rule rules[] = {
        {"www.b.test", .v4 = 2},
        {"www.a.test", .v4 = 1, .delay = 1500},
        {"*", DNS_NXDOMAIN},
        {NULL}};
    struct dns_server *s = serve(rules);
    write_file(resolv_path, "search a.test\n");
    struct lookup old = {.name = "www", .family = AF_INET};
    gev_greenlet *g = spawn_lookup(&old);
    wait_until_asked(s, "www.a.test");
    write_file(resolv_path, "search b.test\n");
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
    write_file(resolv_path, "");
    dns_server_stop(s);
}

GEV_TEST(resolv_conf_says_how_long)
{
    static const struct dns_rule rules[] = {{"*", DNS_SILENT}, {NULL}};
    struct dns_server *s = dns_server_start(rules);
    dns_server_use(s, 1, 1);
    unsetenv("GEV_DNS_TIMEOUT");
    unsetenv("GEV_DNS_TRIES");
    write_file(resolv_path, "options timeout:1 attempts:1\n");
    struct lookup l = look_up("www.test", AF_INET, 0);
    expect_int_eq(l.rc, EAI_AGAIN);
    expect_ge(l.took, 1);
    expect_le(l.took, test_scale(1.9));
    expect_uint_eq(dns_server_asked(s, NULL, 0), 1);
    write_file(resolv_path, "");
    dns_server_stop(s);
}

GEV_TEST(bad_environment_is_an_error)
{
    static const struct {
        const char *name;
        const char *value;
    } cases[] = {
        {"GEV_DNS_SERVERS", "localhost"}, {"GEV_DNS_SERVERS", "1.2.3"},
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
        {"1.1.1.10.in-addr.arpa", DNS_SERVFAIL},
        {"*", DNS_NXDOMAIN},
        {NULL}};
    struct dns_server *s = serve(rules);
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
    static const struct dns_rule rules[] = {{"*", DNS_SILENT}, {NULL}};
    struct dns_server *s = dns_server_start(rules);
    dns_server_use(s, 0.05, 2);
    struct reverse r = reverse("10.1.1.1", 0);
    expect_int_eq(r.rc, EAI_AGAIN);
    gev_timeout scope;
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
    struct dns_server *s = serve(rules);
    write_file(hosts_path, "10.1.1.1 one.test uno\nfd00::1 six.test\n");
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
    write_file(hosts_path, "");
    dns_server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_gives_both_families),
        cmocka_unit_test(family_decides_what_is_asked),
        cmocka_unit_test(sixty_addresses_come_by_tcp),
        cmocka_unit_test(tcp_again_and_again),
        cmocka_unit_test(aliases_end_in_the_canonical_name),
        cmocka_unit_test(canonical_name_without_aliases),
        cmocka_unit_test(ipv4_addresses_mapped),
        cmocka_unit_test(bad_answers_have_their_codes),
        cmocka_unit_test(one_family_is_enough),
        cmocka_unit_test(long_names_are_not_asked),
        cmocka_unit_test(silent_server_ends_by_itself),
        cmocka_unit_test(no_server_at_all),
        cmocka_unit_test(second_server_answers_for_the_first),
        cmocka_unit_test(same_question_is_asked_once),
        cmocka_unit_test(killed_waiter_leaves_the_others_their_answer),
        cmocka_unit_test(question_outlives_all_its_waiters),
        cmocka_unit_test(scope_ends_the_wait),
        cmocka_unit_test(thrown_code_ends_the_wait),
        cmocka_unit_test(killed_at_any_time),
        cmocka_unit_test(hub_closed_with_questions_in_flight),
        cmocka_unit_test(hub_closed_with_one_who_never_ends),
        cmocka_unit_test(callbacks_may_not_ask),
        cmocka_unit_test(deadlock_is_seen_again),
        cmocka_unit_test(thousand_names_at_once_without_a_thread),
        cmocka_unit_test(slow_answers_do_not_stop_the_rest),
        cmocka_unit_test(each_thread_has_its_own),
        cmocka_unit_test(child_asks_for_itself),
        cmocka_unit_test(fork_in_a_callback_with_a_question_in_flight),
        cmocka_unit_test(hosts_file_goes_first),
        cmocka_unit_test(changed_hosts_file_is_seen_at_once),
        cmocka_unit_test(large_hosts_file),
        cmocka_unit_test(localhost_is_nobody_elses_business),
        cmocka_unit_test(search_domains_and_ndots),
        cmocka_unit_test(changed_resolv_conf_is_seen),
        cmocka_unit_test(resolv_conf_says_how_long),
        cmocka_unit_test(bad_environment_is_an_error),
        cmocka_unit_test(address_gives_its_name),
        cmocka_unit_test(silent_server_and_the_way_back),
        cmocka_unit_test(hosts_file_on_the_way_back),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
