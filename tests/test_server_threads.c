/* SPDX-License-Identifier: MIT */

/* Servers in several threads: on one port, and without descriptors (SRV7,
 * SRV12). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/servers.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* --- on one port ---------------------------------------------------------- */

struct member {
    char port[16]; /* "": any, and said here */
    atomic_int *ready;
    atomic_bool *over;
    atomic_int *served;
};

static void count_and_echo(gev_stream *conn, const struct sockaddr *peer,
                           void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
    echo(conn, peer, NULL);
}

static void *be_member(void *arg)
{
    struct member *m = arg;
    gev_server_opts opts = local;
    opts.service = m->port;
    opts.reuse_port = true;
    gev_server *s = serve(&opts, count_and_echo, m->served);
    atomic_fetch_add(m->ready, 1);
    while (!atomic_load(m->over)) {
        gev_sleep(0.001);
    }
    gev_server_free(s);
    return NULL;
}

/* SRV12: a server in each of some threads, on one port. */
GEV_TEST(one_port_for_several_threads)
{
    enum { THREADS = 3, CLIENTS = 60 };
    atomic_int ready = 0;
    atomic_int served = 0;
    atomic_bool over = false;
    struct member m = {.ready = &ready, .over = &over, .served = &served};
    gev_stream *c[CLIENTS];
    gev_server_opts opts = local;
    opts.reuse_port = true;
    gev_server *s = serve(&opts, count_and_echo, &served);
    snprintf(m.port, sizeof(m.port), "%d", gev_server_port(s));
    gev_workers *w = gev_workers_new(THREADS);
    for (int i = 0; i < THREADS; i++) {
        expect_ok(gev_workers_spawn(w, be_member, &m));
    }
    while (atomic_load(&ready) < THREADS) {
        expect_ok(gev_sleep(0.001));
    }
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = dial(s);
        expect_ok(gev_stream_settimeout(c[i], test_scale(10)));
        expect_true(converse(c[i]));
    }
    expect_int_eq(served, CLIENTS);
    /* Not all by one: that would be one in four, sixty times. */
    expect_le((double)gev_server_count(s), CLIENTS - 1);
    for (int i = 0; i < CLIENTS; i++) {
        expect_ok(gev_stream_close(c[i]));
    }
    atomic_store(&over, true);
    gev_workers_free(w);
    gev_server_free(s);
}

/* --- without descriptors -------------------------------------------------- */

static struct rlimit whole;

static void set_limit(rlim_t most)
{
    struct rlimit few = {most, whole.rlim_max};
    expect_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
}

/* So many descriptors are left from now on. Numbers are given out from the
 * lowest. */
static void leave(int n)
{
    int fds[64];
    int last = -1;
    set_limit(whole.rlim_cur);
    for (int i = 0; i <= n; i++) {
        last = fds[i] = dup(0);
    }
    for (int i = 0; i <= n; i++) {
        close(fds[i]);
    }
    set_limit((rlim_t)last);
}

static void leave_all(void)
{
    set_limit(whole.rlim_cur);
}

struct worker {
    atomic_int *arrived;
    atomic_bool *go;
    int served;
    int told;
};

static void *serve_in_thread(void *arg)
{
    enum { EACH = 50 };
    struct worker *w = arg;
    gev_stream *c[EACH];
    gev_server *s = serve(&local, echo, NULL);
    expect_ok(gev_server_pause(s));
    dial_many(s, c, EACH);
    atomic_fetch_add(w->arrived, 1);
    while (!atomic_load(w->go)) {
        gev_sleep(0.001);
    }
    expect_ok(gev_server_resume(s));
    w->served = hear_many(c, EACH);
    w->told = EACH;
    atomic_fetch_add(w->arrived, 1);
    while (atomic_load(w->arrived) < 4) { /* the other's are heard, too */
        gev_sleep(0.001);
    }
    close_many(c, EACH);
    expect_ok(gev_server_stop(s, test_scale(5)));
    gev_server_free(s);
    expect_ok(gev_hub_close());
    return NULL;
}

/* Two servers share the process's descriptors, and the spare. */
GEV_TEST(in_two_threads)
{
    atomic_int arrived = 0;
    atomic_bool go = false;
    pthread_t threads[2];
    struct worker w[2];
    for (int i = 0; i < 2; i++) {
        w[i] = (struct worker){.arrived = &arrived, .go = &go};
        expect_int_eq(pthread_create(&threads[i], NULL, serve_in_thread, &w[i]),
                      0);
    }
    while (atomic_load(&arrived) < 2) {
        expect_ok(gev_sleep(0.001));
    }
    leave(6);
    atomic_store(&go, true);
    for (int i = 0; i < 2; i++) {
        expect_int_eq(pthread_join(threads[i], NULL), 0);
    }
    leave_all();
    /* One of the seven is the spare, or was given up for it. */
    expect_ge(w[0].served + w[1].served, 5);
    expect_le(w[0].served + w[1].served, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_port_for_several_threads),
        cmocka_unit_test(in_two_threads),
    };
    getrlimit(RLIMIT_NOFILE, &whole);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
