/* SPDX-License-Identifier: MIT */

/* Sockets: gev_socket, gev_connect, gev_accept, gev_dup, gev_adopt,
 * gev_cancel_wait (SOC1-SOC3, SOC8, SOC10, SOC16, SOC19). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

/* A listener made by gev's own calls; *addr is where. */
static int listener(struct sockaddr_in *addr, int backlog)
{
    socklen_t len = sizeof(*addr);
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);

    *addr = test_loopback();
    expect_ok(bind(fd, (struct sockaddr *)addr, len));
    expect_ok(listen(fd, backlog));
    expect_ok(getsockname(fd, (struct sockaddr *)addr, &len));
    return fd;
}

static int connect_to(int fd, const struct sockaddr_in *addr)
{
    return gev_connect(fd, (const struct sockaddr *)addr, sizeof(*addr));
}

/* --- making --------------------------------------------------------------- */

GEV_TEST(descriptors_are_non_blocking_and_close_on_exec)
{
    struct sockaddr_in addr;
    int fds[2];

    int fd = gev_socket(AF_INET, SOCK_DGRAM, 0);
    test_expect_flags(fd);
    expect_ok(gev_close(fd));
    test_pair(SOCK_STREAM, fds);
    test_expect_flags(fds[0]);
    test_expect_flags(fds[1]);
    test_close_both(fds);
    expect_ok(gev_pipe(fds));
    test_expect_flags(fds[0]);
    test_expect_flags(fds[1]);
    test_close_both(fds);

    int server = listener(&addr, 1);
    fd = gev_socket(AF_INET, SOCK_STREAM, 0);
    expect_ok(connect_to(fd, &addr));
    int other = gev_accept(server, NULL, NULL);
    test_expect_flags(other);
    int copy = gev_dup(other);
    test_expect_flags(copy);
    expect_ok(gev_close(copy));
    expect_ok(gev_close(other));
    expect_ok(gev_close(fd));
    expect_ok(gev_close(server));
}

GEV_TEST(making_checks_its_arguments)
{
    expect_fail(gev_socket(-1, SOCK_STREAM, 0), EAFNOSUPPORT);
    expect_fail(gev_socket(AF_INET, 99, 0), EINVAL);
    expect_fail(gev_socketpair(AF_INET, SOCK_STREAM, 0, (int[2]){0, 0}),
                EOPNOTSUPP);
    expect_fail(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, NULL), EFAULT);
    expect_fail(gev_pipe(NULL), EFAULT);
    expect_fail(gev_close(-1), EBADF);
    expect_fail(gev_dup(-1), EBADF);
    expect_fail(gev_adopt(-1), EBADF);
    expect_fail(gev_shutdown(-1, SHUT_RD), EBADF);
    expect_fail(gev_accept(-1, NULL, NULL), EBADF);
    expect_fail(connect_to(-1, &(struct sockaddr_in){0}), EBADF);
    expect_fail(gev_recvmsg(-1, &(struct msghdr){0}, 0), EBADF);

    int fds[2];
    expect_ok(gev_pipe(fds));
    char c;
    expect_fail(gev_recv(fds[0], &c, 1, 0), ENOTSOCK);
    expect_fail(gev_send(fds[1], "a", 1, 0), ENOTSOCK);
    expect_fail(gev_accept(fds[0], NULL, NULL), ENOTSOCK);
    expect_fail(gev_shutdown(fds[0], SHUT_RD), ENOTSOCK);
    test_close_both(fds);

    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);
    expect_fail(gev_accept(fd, NULL, NULL), EINVAL); /* not listening */
    expect_fail(gev_recv(fd, &c, 1, 0), ENOTCONN);
    expect_fail(gev_shutdown(fd, SHUT_RD), ENOTCONN);
    expect_ok(gev_close(fd));
    fd = gev_socket(AF_INET, SOCK_DGRAM, 0);
    expect_fail(gev_accept(fd, NULL, NULL), EOPNOTSUPP);
    expect_fail(gev_recvmsg(fd, NULL, 0), EFAULT);
    expect_ok(gev_close(fd));
}

/* OS7 */
GEV_TEST(foreign_descriptors_are_adopted)
{
    int fds[2];

    test_socketpair(fds);
    expect_true((fcntl(fds[0], F_GETFL) & O_NONBLOCK) == 0);
    expect_ok(gev_adopt(fds[0]));
    expect_ok(gev_adopt(fds[0]));
    expect_true((fcntl(fds[0], F_GETFL) & O_NONBLOCK) != 0);
    /* The other by its first call. */
    struct test_call c = {.fd = fds[1]};
    gev_greenlet *g = gev_spawn(test_do_recv, &c);
    expect_ok(gev_sleep(0.001));
    expect_false(c.is_done);
    expect_int_eq(gev_send(fds[0], "a", 1, 0), 1);
    test_join(g);
    expect_int_eq(c.rc, 1);

    /* Closed and reused behind gev's back, then adopted again. */
    close(fds[0]);
    close(fds[1]);
    expect_fail(gev_adopt(fds[0]), EBADF);
    int again[2];
    test_socketpair(again);
    expect_int_eq(again[0], fds[0]);
    expect_ok(gev_adopt(again[0]));
    expect_ok(gev_adopt(again[1]));
    expect_true((fcntl(again[0], F_GETFL) & O_NONBLOCK) != 0);
    test_close_both(again);
}

/* SOC16 */
GEV_TEST(dup_shares_the_socket_and_copies_the_timeout)
{
    int fds[2];
    char buf[8];

    test_pair(SOCK_STREAM, fds);
    expect_ok(gev_settimeout(fds[0], 0));
    int copy = gev_dup(fds[0]);
    expect_ge(copy, 0);
    expect_fail(gev_recv(copy, buf, 8, 0), EAGAIN);
    expect_ok(gev_settimeout(copy, 0.01));
    expect_fail(gev_recv(copy, buf, 8, 0), ETIMEDOUT);
    expect_fail(gev_recv(fds[0], buf, 8, 0), EAGAIN);
    expect_int_eq(gev_send(fds[1], "abcd", 4, 0), 4);
    expect_int_eq(gev_recv(copy, buf, 2, 0), 2);
    expect_int_eq(gev_recv(fds[0], buf, 8, 0), 2);
    /* The socket lives as long as one of them. */
    expect_ok(gev_close(fds[0]));
    expect_int_eq(gev_send(fds[1], "abcd", 4, 0), 4);
    expect_int_eq(gev_recv(copy, buf, 8, 0), 4);
    expect_ok(gev_close(copy));
    expect_fail(gev_send(fds[1], "a", 1, 0), EPIPE);
    expect_ok(gev_close(fds[1]));
    expect_fail(gev_dup(fds[1]), EBADF);
}

/* --- connections ---------------------------------------------------------- */

GEV_TEST(accept_parks_until_somebody_connects)
{
    struct sockaddr_in addr;
    struct test_call c = {.fd = listener(&addr, 5)};
    gev_greenlet *g = gev_spawn(test_do_accept, &c);

    expect_ok(gev_sleep(0.001));
    expect_false(c.is_done);
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);
    expect_ok(connect_to(fd, &addr));
    test_join(g);
    expect_ge(c.rc, 0);
    expect_int_eq(gev_send(fd, "ab", 2, 0), 2);
    char buf[8];
    expect_int_eq(gev_recv((int)c.rc, buf, 8, 0), 2);
    expect_ok(gev_close((int)c.rc));
    expect_ok(gev_close(fd));
    expect_ok(gev_close(c.fd));
}

GEV_TEST(accept_tells_the_peers_address)
{
    struct sockaddr_in addr;
    struct sockaddr_in mine;
    struct sockaddr_in peer = {0};
    socklen_t len = sizeof(mine);
    int server = listener(&addr, 5);
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);

    expect_ok(connect_to(fd, &addr));
    expect_ok(getsockname(fd, (struct sockaddr *)&mine, &len));
    len = sizeof(peer);
    int other = gev_accept(server, (struct sockaddr *)&peer, &len);
    expect_ge(other, 0);
    expect_int_eq(len, sizeof(peer));
    expect_int_eq(peer.sin_port, mine.sin_port);
    expect_ok(gev_close(other));
    expect_ok(gev_close(fd));
    expect_ok(gev_close(server));
}

/* SOC10 */
GEV_TEST(accepted_connections_do_not_inherit_the_timeout)
{
    struct sockaddr_in addr;
    struct test_call c = {.fd = 0};
    int server = listener(&addr, 5);
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);

    expect_ok(gev_settimeout(server, 0.01));
    expect_fail(gev_accept(server, NULL, NULL), ETIMEDOUT);
    expect_ok(gev_settimeout(server, 0));
    expect_fail(gev_accept(server, NULL, NULL), EAGAIN);
    expect_ok(connect_to(fd, &addr));
    c.fd = gev_accept(server, NULL, NULL);
    expect_ge(c.fd, 0);
    gev_greenlet *g = gev_spawn(test_do_recv, &c);
    expect_ok(gev_sleep(0.02));
    expect_false(c.is_done);
    expect_ok(gev_close(fd));
    test_join(g);
    expect_int_eq(c.rc, 0);
    expect_ok(gev_close(c.fd));
    expect_ok(gev_close(server));
}

GEV_TEST(refused_connections_fail)
{
    struct sockaddr_in addr;
    int server = listener(&addr, 5);

    expect_ok(gev_close(server)); /* nobody there any more */
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);
    expect_fail(connect_to(fd, &addr), ECONNREFUSED);
    /* The same socket may try again. */
    expect_fail(connect_to(fd, &addr), ECONNREFUSED);
    expect_ok(gev_close(fd));
}

GEV_TEST(connected_sockets_are_eisconn)
{
    struct sockaddr_in addr;
    int server = listener(&addr, 5);
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);

    expect_ok(connect_to(fd, &addr));
    expect_fail(connect_to(fd, &addr), EISCONN);
    expect_ok(gev_close(fd));
    expect_ok(gev_close(server));
}

GEV_TEST(connect_without_time_is_einprogress)
{
    struct sockaddr_in addr;
    int server = listener(&addr, 5);
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);

    expect_ok(gev_settimeout(fd, 0));
    expect_fail(connect_to(fd, &addr), EINPROGRESS);
    expect_int_eq(gev_wait_fd(fd, GEV_WRITE, 5), GEV_WRITE);
    expect_ok(connect_to(fd, &addr)); /* POSIX: the second call completes it */
    expect_fail(connect_to(fd, &addr), EISCONN);
    expect_ok(gev_close(fd));

    /* With time again, the same attempt is waited for. */
    fd = gev_socket(AF_INET, SOCK_STREAM, 0);
    expect_ok(gev_settimeout(fd, 0));
    expect_fail(connect_to(fd, &addr), EINPROGRESS);
    expect_ok(gev_settimeout(fd, GEV_FOREVER));
    expect_ok(connect_to(fd, &addr));
    int error = -1;
    socklen_t len = sizeof(error);
    expect_ok(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
    expect_int_eq(error, 0);
    expect_ok(gev_close(fd));
    expect_ok(gev_close(server));
}

/* A listener whose backlog is full, so that connecting to it hangs. */
struct full {
    struct sockaddr_in addr;
    int server;
    int fds[8];
    int n;
};

static void fill(struct full *f)
{
    f->server = listener(&f->addr, 0);
    for (f->n = 0; f->n < 8; f->n++) {
        int fd = gev_socket(AF_INET, SOCK_STREAM, 0);
        expect_ok(gev_settimeout(fd, 0.05));
        f->fds[f->n] = fd;
        if (connect_to(fd, &f->addr) != 0) {
            expect_int_eq(errno, ETIMEDOUT);
            f->n++;
            return;
        }
    }
    expect_never("the backlog does not get full");
}

static void unfill(struct full *f)
{
    for (int i = 0; i < f->n; i++) {
        expect_ok(gev_close(f->fds[i]));
    }
    expect_ok(gev_close(f->server));
}

static void *do_connect(void *arg)
{
    struct test_call *c = arg;
    struct full *f;
    memcpy(&f, c->buf, sizeof(f));
    c->rc = connect_to(c->fd, &f->addr);
    c->error = errno;
    c->is_done = true;
    return NULL;
}

GEV_TEST(hanging_connects_end_by_timeout_kill_and_close)
{
    struct full f;
    struct full *pf = &f;
    struct test_call c = {.fd = 0};
    memcpy(c.buf, &pf, sizeof(pf));

    fill(&f);
    c.fd = gev_socket(AF_INET, SOCK_STREAM, 0);
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin(&t, 0.01));
    expect_fail(connect_to(c.fd, &f.addr), ETIMEDOUT);
    gev_timeout_end(&t);
    /* Called again it goes on waiting for the same attempt. */
    gev_greenlet *g = gev_spawn(do_connect, &c);
    expect_ok(gev_sleep(0.005));
    expect_false(c.is_done);
    expect_ok(gev_settimeout(c.fd, 0));
    expect_fail(connect_to(c.fd, &f.addr), EALREADY);
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(c.rc, -1);
    expect_int_eq(c.error, ECANCELED);
    gev_unref(g);

    expect_ok(gev_settimeout(c.fd, GEV_FOREVER));
    c.is_done = false;
    g = gev_spawn(do_connect, &c);
    expect_ok(gev_sleep(0.005));
    expect_false(c.is_done);
    expect_ok(gev_close(c.fd));
    test_join(g);
    expect_int_eq(c.rc, -1);
    expect_int_eq(c.error, EBADF);
    unfill(&f);
}

/* N8: a full Unix backlog is EAGAIN, and no event tells of room. */
GEV_TEST(full_unix_backlogs_are_waited_out)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa_family_t);
    int fds[8];
    int n = 0;

    int server = gev_socket(AF_UNIX, SOCK_STREAM, 0);
    expect_ok(bind(server, (struct sockaddr *)&addr, len)); /* autobind */
    expect_ok(listen(server, 0));
    len = sizeof(addr);
    expect_ok(getsockname(server, (struct sockaddr *)&addr, &len));
    int rc = 0;
    while (rc == 0 && n < 8) {
        fds[n] = gev_socket(AF_UNIX, SOCK_STREAM, 0);
        expect_ok(gev_settimeout(fds[n], 0));
        rc = gev_connect(fds[n], (struct sockaddr *)&addr, len);
        n++;
    }
    expect_fail(rc, EAGAIN);
    int fd = fds[n - 1];
    expect_ok(gev_settimeout(fd, 0.03));
    double begin = test_now();
    expect_fail(gev_connect(fd, (struct sockaddr *)&addr, len), ETIMEDOUT);
    expect_ge(test_now() - begin, 0.03);
    expect_ok(gev_settimeout(fd, 10));
    struct test_call c = {.fd = server};
    gev_greenlet *g = gev_spawn(test_do_accept, &c); /* makes room */
    expect_ok(gev_connect(fd, (struct sockaddr *)&addr, len));
    test_join(g);
    expect_ok(gev_close((int)c.rc));
    for (int i = 0; i < n; i++) {
        expect_ok(gev_close(fds[i]));
    }
    expect_ok(gev_close(server));
}

/* valgrind has its own idea of the limit: it closes what was accepted. */
static bool can_limit_descriptors(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload == NULL || strstr(preload, "vgpreload") == NULL;
}

/* F10: no descriptor left is told, but a loop around accept does not spin. */
GEV_TEST(accept_without_descriptors_does_not_spin)
{
    struct sockaddr_in addr;
    struct rlimit old;
    struct rlimit few;
    int calls = 0;

    if (!can_limit_descriptors()) {
        test_skip("valgrind closes what it may not accept");
    }
    int server = listener(&addr, 5);
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);
    expect_ok(connect_to(fd, &addr));
    expect_ok(gev_yield());
    expect_ok(getrlimit(RLIMIT_NOFILE, &old));
    few = old;
    few.rlim_cur = 0;
    expect_ok(setrlimit(RLIMIT_NOFILE, &few));
    double begin = test_now();
    while (test_now() - begin < 0.3) {
        expect_fail(gev_accept(server, NULL, NULL), EMFILE);
        calls++;
    }
    /* 0, 10, 20, 40, 80, 160 ms */
    expect_ge(calls, 2);
    expect_le(calls, 7);
    /* One that may not wait does not, nor does it spin by itself. */
    expect_ok(gev_settimeout(server, 0));
    begin = test_now();
    expect_fail(gev_accept(server, NULL, NULL), EMFILE);
    expect_le(test_now() - begin, test_scale(0.1));
    expect_ok(setrlimit(RLIMIT_NOFILE, &old));
    int other = gev_accept(server, NULL, NULL);
    expect_ge(other, 0);
    expect_ok(gev_close(other));
    /* And all is forgotten. */
    expect_ok(gev_settimeout(server, 0.001));
    begin = test_now();
    expect_fail(gev_accept(server, NULL, NULL), ETIMEDOUT);
    expect_le(test_now() - begin, test_scale(0.1));
    expect_ok(gev_close(fd));
    expect_ok(gev_close(server));
}

/* The wait after EMFILE is a park like any: a close ends it. */
GEV_TEST(close_ends_the_wait_for_descriptors)
{
    struct sockaddr_in addr;
    struct rlimit old;
    struct rlimit few;

    if (!can_limit_descriptors()) {
        test_skip("valgrind closes what it may not accept");
    }
    struct test_call c = {.fd = listener(&addr, 5)};
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);
    expect_ok(connect_to(fd, &addr));
    expect_ok(gev_yield());
    expect_ok(getrlimit(RLIMIT_NOFILE, &old));
    few = old;
    few.rlim_cur = 0;
    expect_ok(setrlimit(RLIMIT_NOFILE, &few));
    for (int i = 0; i < 5; i++) {
        expect_fail(gev_accept(c.fd, NULL, NULL), EMFILE);
    }
    expect_ok(setrlimit(RLIMIT_NOFILE, &old));
    gev_greenlet *g = gev_spawn(test_do_accept, &c); /* for 160 ms */
    expect_ok(gev_yield());
    expect_false(c.is_done);
    expect_ok(gev_close(c.fd));
    double begin = test_now();
    test_join(g);
    expect_le(test_now() - begin, test_scale(0.1));
    expect_int_eq(c.rc, -1);
    expect_int_eq(c.error, EBADF);
    expect_ok(gev_close(fd));
}

/* F4, F12: each connection goes to one. */
GEV_TEST(acceptors_share_a_listener)
{
    struct sockaddr_in addr;
    int server = listener(&addr, 10);
    struct test_call c[3];
    gev_greenlet *g[3];
    int fds[3];

    for (int i = 0; i < 3; i++) {
        c[i] = (struct test_call){.fd = server};
        g[i] = gev_spawn(test_do_accept, &c[i]);
    }
    expect_ok(gev_sleep(0.001));
    for (int i = 0; i < 3; i++) {
        fds[i] = gev_socket(AF_INET, SOCK_STREAM, 0);
        expect_ok(connect_to(fds[i], &addr));
    }
    for (int i = 0; i < 3; i++) {
        test_join(g[i]);
        expect_ge(c[i].rc, 0);
        expect_ok(gev_close((int)c[i].rc));
        expect_ok(gev_close(fds[i]));
    }
    expect_ok(gev_close(server));
}

/* --- cancel_wait ---------------------------------------------------------- */

/* HUB6 */
GEV_TEST(cancel_wait_wakes_all)
{
    int fds[2];
    struct test_call c[3];
    gev_greenlet *g[3];
    struct pollfd p;

    test_pair(SOCK_STREAM, fds);
    expect_int_eq(gev_cancel_wait(fds[0], EIO), 0);
    for (int i = 0; i < 3; i++) {
        c[i] = (struct test_call){.fd = fds[0]};
        g[i] = gev_spawn(test_do_recv, &c[i]);
    }
    expect_ok(gev_sleep(0.001)); /* nothing was remembered: they wait */
    expect_false(c[0].is_done);
    expect_int_eq(gev_cancel_wait(fds[0], EIO), 3);
    for (int i = 0; i < 3; i++) {
        test_join(g[i]);
        expect_int_eq(c[i].rc, -1);
        expect_int_eq(c[i].error, EIO);
    }
    expect_int_eq(gev_send(fds[1], "a", 1, 0), 1);
    expect_int_eq(gev_recv(fds[0], c[0].buf, 8, 0), 1);
    p = (struct pollfd){.fd = fds[0], .events = POLLIN};
    expect_int_eq(gev_poll(&p, 1, 0), 0);

    expect_fail(gev_cancel_wait(fds[0], 0), EINVAL);
    expect_fail(gev_cancel_wait(fds[0], -5), EINVAL);
    test_close_both(fds);
    expect_fail(gev_cancel_wait(fds[0], EIO), EBADF);
    expect_fail(gev_cancel_wait(-1, EIO), EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_are_non_blocking_and_close_on_exec),
        cmocka_unit_test(making_checks_its_arguments),
        cmocka_unit_test(foreign_descriptors_are_adopted),
        cmocka_unit_test(dup_shares_the_socket_and_copies_the_timeout),
        cmocka_unit_test(accept_parks_until_somebody_connects),
        cmocka_unit_test(accept_tells_the_peers_address),
        cmocka_unit_test(accepted_connections_do_not_inherit_the_timeout),
        cmocka_unit_test(refused_connections_fail),
        cmocka_unit_test(connected_sockets_are_eisconn),
        cmocka_unit_test(connect_without_time_is_einprogress),
        cmocka_unit_test(hanging_connects_end_by_timeout_kill_and_close),
        cmocka_unit_test(full_unix_backlogs_are_waited_out),
        cmocka_unit_test(accept_without_descriptors_does_not_spin),
        cmocka_unit_test(close_ends_the_wait_for_descriptors),
        cmocka_unit_test(acceptors_share_a_listener),
        cmocka_unit_test(cancel_wait_wakes_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
