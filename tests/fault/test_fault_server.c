/* SPDX-License-Identifier: MIT */

/* Servers whose means fail: the spare descriptor, the greenlet that limits idle
 * connections, the file of a path. Whole servers are swept in
 * test_fault_stream.c. */
#include "support/fault_sweep.h"

#include <gev.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static void be_idle(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    char byte;
    (void)peer;
    (void)arg;
    if (gev_server_idle(conn, true) == 0) {
        (void)gev_stream_read(conn, &byte, 1);
    }
}

/* With libc's sockets, which no fault point is in. */
static int connect_to(int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    expect_ok(connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    return fd;
}

/* 0: the end; a positive errno; -1: nothing, for so long. */
static int what_becomes_of(int fd, double seconds)
{
    double end = test_now() + seconds;
    while (test_now() < end) {
        char byte;
        ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
        if (n == 0) {
            return 0;
        }
        if (n < 0 && errno != EAGAIN) {
            return errno;
        }
        if (gev_sleep(0.001) < 0 && gev_yield() < 0) {
            break;
        }
    }
    return -1;
}

/* --- sweeps --------------------------------------------------------------- */

static void count(void *arg)
{
    ++*(int *)arg;
}

static int do_limited_server(void *arg)
{
    int released = 0;
    gev_server_opts opts = {.size = sizeof(opts),
                            .host = arg == NULL ? "127.0.0.1" : NULL,
                            .unix_path = arg,
                            .read_timeout = 100,
                            .write_timeout = 100,
                            .idle_timeout = 0.02,
                            .release = count};
    gev_server *s = gev_server_new(&opts, be_idle, &released);
    int rc = s == NULL ? -1 : gev_server_start(s);
    if (rc == 0 && arg == NULL) {
        int port = gev_server_port(s);
        if (port > 0) {
            int fd = connect_to(port);
            expect_int_eq(what_becomes_of(fd, test_scale(5)), 0);
            close(fd);
        }
    }
    int error = errno;
    gev_server_free(s);
    expect_int_eq(released, s != NULL);
    if (arg != NULL) {
        (void)unlink(arg); /* left behind where the look at it failed */
    }
    errno = error;
    return rc;
}

GEV_TEST(limited_servers)
{
    static const struct fault_case cases[] = {
        {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
         .allowed = {ENOMEM}},
        {"stacks", FAULT_AT(MMAP), ENOMEM, .may_succeed = true,
         .shapes = FAULT_ONCE, .allowed = {ENOMEM}},
        {"descriptors", FAULT_AT(OPEN), EMFILE, .may_succeed = true,
         .allowed = {EMFILE}},
    };
    fault_sweep(do_limited_server, NULL, cases, LENGTH(cases), 0);
}

GEV_TEST(servers_on_a_path)
{
    static const struct fault_case cases[] = {
        {"files", FAULT_AT(SOCKOPT) | FAULT_AT(FILE), EACCES,
         .may_succeed = true, .allowed = {EACCES}},
        {"bind", FAULT_AT(BIND), EACCES, .may_succeed = true,
         .allowed = {EACCES}},
    };
    char dir[] = "/tmp/gev-test-XXXXXX";
    char path[64];
    expect_not_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/socket", dir);
    fault_sweep(do_limited_server, path, cases, LENGTH(cases), 0);
    expect_int_eq(rmdir(dir), 0);
}

/* --- the spare ------------------------------------------------------------ */

/* So many descriptors are left. */
static void leave(int n, struct rlimit whole)
{
    int fds[16];
    int last = -1;
    for (int i = 0; i <= n; i++) {
        last = fds[i] = dup(0);
    }
    for (int i = 0; i <= n; i++) {
        close(fds[i]);
    }
    struct rlimit few = {(rlim_t)last, whole.rlim_max};
    expect_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
}

/* A spare that could not be opened again: the next one that could be served is
 * given up for it, so that those behind are told. */
GEV_TEST(a_spare_that_is_lost)
{
    struct rlimit whole;
    int fds[5];
    gev_server_opts opts = {.size = sizeof(opts), .host = "127.0.0.1"};
    getrlimit(RLIMIT_NOFILE, &whole);
    gev_server *s = gev_server_new(&opts, be_idle, NULL);
    expect_ok(gev_server_start(s));
    expect_ok(gev_server_pause(s));
    for (int i = 0; i < 5; i++) {
        fds[i] = connect_to(gev_server_port(s));
        expect_ok(gev_server_resume(s));
        leave(0, whole);
        if (i == 0) {
            gev__fault_arm(FAULT_AT(OPEN), 1, EMFILE, true);
            expect_int_eq(what_becomes_of(fds[0], test_scale(5)), ECONNRESET);
            gev__fault_disarm();
            /* The number is free now: somebody takes it. */
            fds[4] = dup(0);
            expect_ge(fds[4], 0);
        } else if (i == 1) {
            /* Without a spare it can only wait. */
            expect_int_eq(what_becomes_of(fds[1], 0.1), -1);
            close(fds[4]);
            expect_int_eq(what_becomes_of(fds[1], test_scale(5)), ECONNRESET);
        } else {
            expect_int_eq(what_becomes_of(fds[i], test_scale(5)), ECONNRESET);
        }
        expect_ok(gev_server_pause(s));
        expect_int_eq(setrlimit(RLIMIT_NOFILE, &whole), 0);
    }
    for (int i = 0; i < 5; i++) {
        close(fds[i]);
    }
    gev_server_free(s);
}

/* One that could not be opened at the start costs nobody anything. */
GEV_TEST(a_spare_that_never_was)
{
    struct rlimit whole;
    gev_server_opts opts = {.size = sizeof(opts)};
    getrlimit(RLIMIT_NOFILE, &whole);
    opts.listen_fd = gev_tcp_listen("127.0.0.1", "0", 5);
    gev_server *s = gev_server_new(&opts, be_idle, NULL);
    gev__fault_arm(FAULT_AT(OPEN), 1, EMFILE, true);
    expect_ok(gev_server_start(s));
    int fd = connect_to(gev_server_port(s));
    leave(0, whole);
    expect_int_eq(what_becomes_of(fd, 0.1), -1);
    expect_int_eq(setrlimit(RLIMIT_NOFILE, &whole), 0);
    double end = test_now() + test_scale(5);
    while (gev_server_count(s) == 0 && test_now() < end) {
        expect_ok(gev_sleep(0.001));
    }
    expect_uint_eq(gev_server_count(s), 1);
    expect_ge(gev__fault_disarm(), 1);
    close(fd);
    gev_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limited_servers),
        cmocka_unit_test(servers_on_a_path),
        cmocka_unit_test(a_spare_that_is_lost),
        cmocka_unit_test(a_spare_that_never_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
