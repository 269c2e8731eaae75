/* SPDX-License-Identifier: MIT */
/* Asking name servers: answers, waiting, fork. The files are in test_hosts.c;
 * numbers, services, flags, and the comparison with libc in test_addrinfo.c. */
#include "support/dns_server.h"
#include "support/gev_test.h"
#include "support/lookup.h"

#include <gev.h>

#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- answers -------------------------------------------------------------- */

/* DNS2 */
GEV_TEST(name_gives_both_families)
{
    static const struct dns_rule rules[] = {{"www.test", .v4 = 2, .v6 = 3},
                                            {NULL}};
    struct dns_server *s = lookup_serve(rules);
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
    struct dns_server *s = lookup_serve(rules);
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
        {"many.test", .mood = DNS_TRUNCATES, .v4 = 60, .v6 = 60}, {NULL}};
    struct dns_server *s = lookup_serve(rules);
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
        {"many.test", .mood = DNS_TRUNCATES, .v4 = 60}, {NULL}};
    struct dns_server *s = lookup_serve(rules);
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
    struct dns_server *s = lookup_serve(rules);
    struct lookup l = look_up("www.test", AF_UNSPEC, AI_CANONNAME);
    expect_int_eq(l.rc, 0);
    expect_uint_eq(l.count, 2);
    expect_str_eq(l.canonical, "alias3.www.test");
    dns_server_stop(s);
}

GEV_TEST(canonical_name_without_aliases)
{
    static const struct dns_rule rules[] = {{"www.test", .v4 = 1}, {NULL}};
    struct dns_server *s = lookup_serve(rules);
    struct lookup l = look_up("www.test", AF_INET, AI_CANONNAME);
    expect_int_eq(l.rc, 0);
    expect_str_eq(l.canonical, "www.test");
    dns_server_stop(s);
}

GEV_TEST(ipv4_addresses_mapped)
{
    static const struct dns_rule rules[] = {
        {"v4.test", .v4 = 2}, {"both.test", .v4 = 2, .v6 = 1}, {NULL}};
    struct dns_server *s = lookup_serve(rules);
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

/* DNS5 */
GEV_TEST(bad_answers_have_their_codes)
{
    static const struct dns_rule rules[] = {
        {"nodata.test", .v4 = 0},
        {"servfail.test", .mood = DNS_SERVFAIL},
        {"refused.test", .mood = DNS_REFUSED},
        {"garbage.test", .mood = DNS_GARBAGE},
        {"resets.test", .mood = DNS_RESETS, .v4 = 1},
        {"lost.test", .mood = DNS_SILENT_ONCE, .v4 = 1},
        {"*", .mood = DNS_NXDOMAIN},
        {NULL},
    };
    static const struct {
        const char *name;
        int rc;
    } cases[] = {
        {"nodata.test", EAI_NONAME},
        {"servfail.test", EAI_AGAIN},
        {"refused.test", EAI_AGAIN},
        {"garbage.test", EAI_FAIL},
        {"resets.test", EAI_AGAIN},
        {"lost.test", 0},
        {"nxdomain.test", EAI_NONAME},
        {"", EAI_NONAME},
        {"a..b", EAI_NONAME},
        {".", EAI_NONAME},
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
    struct dns_server *s = lookup_serve(rules);
    struct lookup l = look_up("v6.test", AF_UNSPEC, 0);
    expect_int_eq(l.rc, 0);
    expect_uint_eq(l.count, 1);
    expect_str_eq(l.first, "fd00::1:1");
    dns_server_stop(s);
}

GEV_TEST(long_names_are_not_asked)
{
    static const struct dns_rule rules[] = {{"*", .v4 = 1}, {NULL}};
    struct dns_server *s = lookup_serve(rules);
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
        {"www.test", .v4 = 1}, {"*", .mood = DNS_SILENT}, {NULL}};
    struct dns_server *s = dns_server_start(rules);
    dns_server_use(s, 0.1, 2);
    struct lookup silent = {.name = "silent.test"};
    gev_greenlet *g = lookup_spawn(&silent);
    lookup_wait_asked(s, "silent.test");
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
    static const struct dns_rule silent[] = {{"*", .mood = DNS_SILENT}, {NULL}};
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
    struct dns_server *s = lookup_serve(rules);
    for (int i = 0; i < N; i++) {
        lookups[i] = (struct lookup){.name = i % 2 ? "www.test" : "WWW.Test",
                                     .flags = i % 3 == 0 ? AI_CANONNAME : 0};
        greenlets[i] = lookup_spawn(&lookups[i]);
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
    static const struct dns_rule rules[] = {{"www.test", .v4 = 1, .delay = 100},
                                            {NULL}};
    struct dns_server *s = lookup_serve(rules);
    struct lookup a = {.name = "www.test", .family = AF_INET};
    struct lookup b = a;
    gev_greenlet *first = lookup_spawn(&a);
    gev_greenlet *second = lookup_spawn(&b);
    lookup_wait_asked(s, "www.test");
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

/* DNS7 */
GEV_TEST(question_outlives_all_its_waiters)
{
    static const struct dns_rule rules[] = {{"www.test", .v4 = 1, .delay = 50},
                                            {NULL}};
    struct dns_server *s = lookup_serve(rules);
    struct lookup l = {.name = "www.test", .family = AF_INET};
    gev_greenlet *g = lookup_spawn(&l);
    lookup_wait_asked(s, "www.test");
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
    /* Somebody who asks now joins in. */
    struct lookup later = look_up("www.test", AF_INET, 0);
    expect_int_eq(later.rc, 0);
    expect_uint_eq(dns_server_asked(s, NULL, 0), 1);
    /* And with nobody left the answer still has where to go. */
    g = lookup_spawn(&l);
    gev_yield();
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
    gev_sleep(0.1);
    dns_server_stop(s);
}

GEV_TEST(scope_ends_the_wait)
{
    static const struct dns_rule rules[] = {{"*", .mood = DNS_SILENT}, {NULL}};
    struct dns_server *s = lookup_serve(rules);
    gev_timeout scope = {{0}};
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
    static const struct dns_rule rules[] = {{"*", .mood = DNS_SILENT}, {NULL}};
    struct dns_server *s = lookup_serve(rules);
    struct lookup l = {.name = "www.test", .family = AF_INET};
    gev_greenlet *g = lookup_spawn(&l);
    lookup_wait_asked(s, "www.test");
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
        {"many.test", .mood = DNS_TRUNCATES, .v4 = 60, .delay = 2},
        {"*", .v4 = 1, .delay = 1},
        {NULL}};
    struct dns_server *s = lookup_serve(rules);
    for (int i = 0; i < 150 && !test_failed(); i++) {
        struct lookup l = {.name = i % 2 ? "many.test" : "www.test",
                           .family = AF_INET};
        gev_greenlet *g = lookup_spawn(&l);
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
    lookup_run(l);
    lookup_run(l); /* killed: fails at once */
    return NULL;
}

GEV_TEST(hub_closed_with_questions_in_flight)
{
    static const struct dns_rule rules[] = {
        {"tcp.test", .mood = DNS_TRUNCATES, .v4 = 60, .delay = 1},
        {"*", .mood = DNS_SILENT},
        {NULL}};
    static const char *const names[] = {"a.test", "b.test", "tcp.test"};
    struct dns_server *s = lookup_serve(rules);
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
        lookup_run(&l);
    }
    return NULL;
}

GEV_TEST(hub_closed_with_one_who_never_ends)
{
    static const struct dns_rule rules[] = {{"*", .mood = DNS_SILENT}, {NULL}};
    struct dns_server *s = lookup_serve(rules);
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
    struct dns_server *s = lookup_serve(rules);
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
    static const struct dns_rule rules[] = {{"*", .mood = DNS_SILENT}, {NULL}};
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
    struct dns_server *s = lookup_serve(rules);
    int threads = count_threads();
    double begin = test_now();
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof(names[i]), "host%d.test", i);
        lookups[i] = (struct lookup){.name = names[i]};
        greenlets[i] = lookup_spawn(&lookups[i]);
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
    struct dns_server *s = lookup_serve(rules);
    double begin = test_now();
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof(names[i]), "host%d.test", i);
        lookups[i] = (struct lookup){.name = names[i], .family = AF_INET};
        greenlets[i] = lookup_spawn(&lookups[i]);
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
        lookup_run(l);
    }
    gev_hub_close();
    return NULL;
}

GEV_TEST(each_thread_has_its_own)
{
    static const struct dns_rule rules[] = {{"*", .v4 = 3, .delay = 1}, {NULL}};
    struct dns_server *s = lookup_serve(rules);
    pthread_t threads[3];
    struct lookup lookups[3];
    for (int i = 0; i < 3; i++) {
        lookups[i] = (struct lookup){.name = "www.test", .family = AF_INET};
        expect_int_eq(
            pthread_create(&threads[i], NULL, resolve_in_thread, &lookups[i]),
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
    struct dns_server *s = lookup_serve(rules);
    struct lookup l = look_up("www.test", AF_INET, 0);
    expect_int_eq(l.rc, 0);
    struct lookup slow = {.name = "slow.test", .family = AF_INET};
    gev_greenlet *g = lookup_spawn(&slow);
    lookup_wait_asked(s, "slow.test");
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
    static const struct dns_rule rules[] = {{"*", .v4 = 1, .delay = 50},
                                            {NULL}};
    struct dns_server *s = lookup_serve(rules);
    struct lookup l = {.name = "www.test", .family = AF_INET};
    gev_greenlet *g = lookup_spawn(&l);
    lookup_wait_asked(s, "www.test");
    pid_t pid = -1;
    expect_ok(gev_hub_post(gev_hub_get(), fork_in_hub, &pid));
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_int_eq(l.rc, 0);
    expect_child_ok(pid);
    dns_server_stop(s);
}

static void fork_and_go_on(void *arg)
{
    pid_t *pid = arg;
    *pid = fork();
}

/* main asks while a callback forks: its look-up is lost in the child, which can
 * ask again. */
GEV_TEST(fork_in_a_callback_while_main_asks)
{
    if (ON_TSAN) {
        test_skip("ThreadSanitizer does not follow this fork");
    }
    static const struct dns_rule rules[] = {{"*", .v4 = 1, .delay = 50},
                                            {NULL}};
    struct dns_server *s = lookup_serve(rules);
    pid_t pid = -1;
    expect_ok(gev_hub_post(gev_hub_get(), fork_and_go_on, &pid));
    struct lookup l = look_up("www.test", AF_INET, 0);
    if (pid == 0) {
        bool ok = l.rc == EAI_AGAIN;
        l = look_up("www.test", AF_INET, 0);
        _exit(ok && l.rc == 0 && gev_hub_close() == 0 ? 0 : 1);
    }
    expect_int_eq(l.rc, 0);
    expect_child_ok(pid);
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
        cmocka_unit_test(fork_in_a_callback_while_main_asks),
    };
    return cmocka_run_group_tests(tests, lookup_make_files,
                                  lookup_remove_files);
}
