/* SPDX-License-Identifier: MIT */

/* Sockets: gev_socket, gev_connect, gev_accept, the recv and send families,
 * gev_dup, gev_adopt, gev_shutdown, gev_cancel_wait (SOC1-SOC5, SOC8, SOC10,
 * SOC12, SOC16, SOC19, SOC22). */
#include <gev.h>

#include "support/gev_test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

static void pair(int type, int fds[2])
{
    expect_ok(gev_socketpair(AF_UNIX, type, 0, fds));
}

static void close_both(const int fds[2])
{
    expect_ok(gev_close(fds[0]));
    expect_ok(gev_close(fds[1]));
}

static struct sockaddr_in loopback(void)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
}

/* A listener made by gev's own calls; *addr is where. */
static int listener(struct sockaddr_in *addr, int backlog)
{
    socklen_t len = sizeof(*addr);
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);

    *addr = loopback();
    expect_ok(bind(fd, (struct sockaddr *)addr, len));
    expect_ok(listen(fd, backlog));
    expect_ok(getsockname(fd, (struct sockaddr *)addr, &len));
    return fd;
}

static int connect_to(int fd, const struct sockaddr_in *addr)
{
    return gev_connect(fd, (const struct sockaddr *)addr, sizeof(*addr));
}

/* A connected pair of TCP sockets. */
static void tcp_pair(int fds[2])
{
    struct sockaddr_in addr;
    int server = listener(&addr, 1);

    fds[0] = gev_socket(AF_INET, SOCK_STREAM, 0);
    expect_ok(connect_to(fds[0], &addr));
    fds[1] = gev_accept(server, NULL, NULL);
    expect_ge(fds[1], 0);
    expect_ok(gev_close(server));
}

static void expect_flags(int fd)
{
    expect_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    expect_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
}

struct call {
    int fd;
    char buf[64];
    int flags;
    ssize_t rc;
    int error;
    bool is_done;
};

static void *do_recv(void *arg)
{
    struct call *c = arg;
    c->rc = gev_recv(c->fd, c->buf, sizeof(c->buf), c->flags);
    c->error = errno;
    c->is_done = true;
    return NULL;
}

static void *do_accept(void *arg)
{
    struct call *c = arg;
    c->rc = gev_accept(c->fd, NULL, NULL);
    c->error = errno;
    c->is_done = true;
    return NULL;
}

static void join(gev_greenlet *g)
{
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
}

/* --- making ------------------------------------------------------------------ */

GEV_TEST(descriptors_are_non_blocking_and_close_on_exec)
{
    struct sockaddr_in addr;
    int fds[2];

    int fd = gev_socket(AF_INET, SOCK_DGRAM, 0);
    expect_flags(fd);
    expect_ok(gev_close(fd));
    pair(SOCK_STREAM, fds);
    expect_flags(fds[0]);
    expect_flags(fds[1]);
    close_both(fds);
    expect_ok(gev_pipe(fds));
    expect_flags(fds[0]);
    expect_flags(fds[1]);
    close_both(fds);

    int server = listener(&addr, 1);
    fd = gev_socket(AF_INET, SOCK_STREAM, 0);
    expect_ok(connect_to(fd, &addr));
    int other = gev_accept(server, NULL, NULL);
    expect_flags(other);
    int copy = gev_dup(other);
    expect_flags(copy);
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
    close_both(fds);

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

GEV_TEST(foreign_descriptors_are_adopted)
{
    int fds[2];

    test_socketpair(fds);
    expect_true((fcntl(fds[0], F_GETFL) & O_NONBLOCK) == 0);
    expect_ok(gev_adopt(fds[0]));
    expect_ok(gev_adopt(fds[0]));
    expect_true((fcntl(fds[0], F_GETFL) & O_NONBLOCK) != 0);
    /* The other by its first call. */
    struct call c = {.fd = fds[1]};
    gev_greenlet *g = gev_spawn(do_recv, &c);
    expect_ok(gev_sleep(0.001));
    expect_false(c.is_done);
    expect_int_eq(gev_send(fds[0], "a", 1, 0), 1);
    join(g);
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
    close_both(again);
}

/* SOC16 */
GEV_TEST(dup_shares_the_socket_and_copies_the_timeout)
{
    int fds[2];
    char buf[8];

    pair(SOCK_STREAM, fds);
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

/* --- connections ------------------------------------------------------------- */

GEV_TEST(accept_parks_until_somebody_connects)
{
    struct sockaddr_in addr;
    struct call c = {.fd = listener(&addr, 5)};
    gev_greenlet *g = gev_spawn(do_accept, &c);

    expect_ok(gev_sleep(0.001));
    expect_false(c.is_done);
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);
    expect_ok(connect_to(fd, &addr));
    join(g);
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
    struct call c = {.fd = 0};
    int server = listener(&addr, 5);
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);

    expect_ok(gev_settimeout(server, 0.01));
    expect_fail(gev_accept(server, NULL, NULL), ETIMEDOUT);
    expect_ok(gev_settimeout(server, 0));
    expect_fail(gev_accept(server, NULL, NULL), EAGAIN);
    expect_ok(connect_to(fd, &addr));
    c.fd = gev_accept(server, NULL, NULL);
    expect_ge(c.fd, 0);
    gev_greenlet *g = gev_spawn(do_recv, &c);
    expect_ok(gev_sleep(0.02));
    expect_false(c.is_done);
    expect_ok(gev_close(fd));
    join(g);
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
    struct call *c = arg;
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
    struct call c = {.fd = 0};
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
    join(g);
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
    struct call c = {.fd = server};
    gev_greenlet *g = gev_spawn(do_accept, &c); /* makes room */
    expect_ok(gev_connect(fd, (struct sockaddr *)&addr, len));
    join(g);
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
    struct call c = {.fd = listener(&addr, 5)};
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
    gev_greenlet *g = gev_spawn(do_accept, &c); /* for 160 ms */
    expect_ok(gev_yield());
    expect_false(c.is_done);
    expect_ok(gev_close(c.fd));
    double begin = test_now();
    join(g);
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
    struct call c[3];
    gev_greenlet *g[3];
    int fds[3];

    for (int i = 0; i < 3; i++) {
        c[i] = (struct call){.fd = server};
        g[i] = gev_spawn(do_accept, &c[i]);
    }
    expect_ok(gev_sleep(0.001));
    for (int i = 0; i < 3; i++) {
        fds[i] = gev_socket(AF_INET, SOCK_STREAM, 0);
        expect_ok(connect_to(fds[i], &addr));
    }
    for (int i = 0; i < 3; i++) {
        join(g[i]);
        expect_ge(c[i].rc, 0);
        expect_ok(gev_close((int)c[i].rc));
        expect_ok(gev_close(fds[i]));
    }
    expect_ok(gev_close(server));
}

/* --- receiving --------------------------------------------------------------- */

GEV_TEST(dontwait_never_parks)
{
    int fds[2];
    char buf[8];
    struct iovec iov = {buf, 8};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    tcp_pair(fds);
    gev_stats before = {.size = sizeof(before)};
    gev_stats after = {.size = sizeof(after)};
    gev_hub_stats(gev_hub_get(), &before);
    expect_fail(gev_recv(fds[0], buf, 8, MSG_DONTWAIT), EAGAIN);
    expect_fail(gev_recvfrom(fds[0], buf, 8, MSG_DONTWAIT, NULL, NULL),
                EAGAIN);
    expect_fail(gev_recvmsg(fds[0], &msg, MSG_DONTWAIT), EAGAIN);
    expect_fail(gev_recv(fds[0], buf, 8, MSG_DONTWAIT | MSG_WAITALL), EAGAIN);
    static char big[1 << 16];
    ssize_t rc;
    while ((rc = gev_send(fds[0], big, sizeof(big), MSG_DONTWAIT)) > 0) {
    }
    expect_fail(rc, EAGAIN);
    iov = (struct iovec){big, sizeof(big)};
    expect_fail(gev_sendmsg(fds[0], &msg, MSG_DONTWAIT), EAGAIN);
    expect_fail(gev_sendto(fds[0], big, 1, MSG_DONTWAIT, NULL, 0), EAGAIN);
    gev_hub_stats(gev_hub_get(), &after);
    expect_uint_eq(after.switches, before.switches);
    close_both(fds);
}

static void *send_in_parts(void *arg)
{
    const int *fd = arg;
    for (int i = 0; i < 5; i++) {
        expect_ok(gev_sleep(0.001));
        expect_int_eq(gev_send(*fd, "abcd", 4, 0), 4);
    }
    return NULL;
}

GEV_TEST(waitall_waits_for_all)
{
    int fds[2];
    char buf[64];
    char tail[8];
    struct iovec iov[2] = {{buf, 6}, {tail, 8}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

    tcp_pair(fds);
    gev_greenlet *g = gev_spawn(send_in_parts, &fds[0]);
    expect_int_eq(gev_recv(fds[1], buf, 20, MSG_WAITALL), 20);
    expect_mem_eq(buf, "abcdabcdabcdabcdabcd", 20);
    join(g);
    g = gev_spawn(send_in_parts, &fds[0]);
    expect_int_eq(gev_recvfrom(fds[1], buf, 20, MSG_WAITALL, NULL, NULL), 20);
    join(g);
    g = gev_spawn(send_in_parts, &fds[0]);
    expect_int_eq(gev_recvmsg(fds[1], &msg, MSG_WAITALL), 14);
    expect_mem_eq(buf, "abcdab", 6);
    expect_mem_eq(tail, "cdabcdab", 8);
    expect_int_eq(iov[0].iov_len, 6); /* the caller's, untouched */
    expect_int_eq(iov[1].iov_len, 8);
    join(g);
    expect_int_eq(gev_recv(fds[1], buf, 6, MSG_WAITALL), 6);
    /* A peek for all leaves all there. */
    g = gev_spawn(send_in_parts, &fds[0]);
    expect_int_eq(gev_recv(fds[1], buf, 20, MSG_WAITALL | MSG_PEEK), 20);
    join(g);
    expect_int_eq(gev_recv(fds[1], buf, 20, MSG_WAITALL), 20);
    /* What came before the time, the error, the end. */
    expect_int_eq(gev_send(fds[0], "ab", 2, 0), 2);
    expect_ok(gev_settimeout(fds[1], 0.01));
    expect_int_eq(gev_recv(fds[1], buf, 20, MSG_WAITALL), 2);
    expect_int_eq(errno, ETIMEDOUT);
    expect_fail(gev_recv(fds[1], buf, 20, MSG_WAITALL), ETIMEDOUT);
    expect_int_eq(gev_send(fds[0], "abc", 3, 0), 3);
    expect_ok(gev_shutdown(fds[0], SHUT_WR));
    expect_ok(gev_settimeout(fds[1], GEV_FOREVER));
    expect_int_eq(gev_recv(fds[1], buf, 20, MSG_WAITALL | MSG_PEEK), 3);
    expect_int_eq(gev_recv(fds[1], buf, 20, MSG_WAITALL), 3);
    expect_int_eq(gev_recv(fds[1], buf, 20, MSG_WAITALL), 0);
    expect_int_eq(gev_recvmsg(fds[1], &msg, MSG_WAITALL), 0);
    close_both(fds);
}

GEV_TEST(peek_leaves_data_there)
{
    int fds[2];
    char buf[8];

    pair(SOCK_STREAM, fds);
    expect_int_eq(gev_send(fds[0], "abc", 3, 0), 3);
    expect_int_eq(gev_recv(fds[1], buf, 8, MSG_PEEK), 3);
    expect_int_eq(gev_recv(fds[1], buf, 8, MSG_PEEK), 3);
    gev_stats before = {.size = sizeof(before)};
    gev_stats after = {.size = sizeof(after)};
    gev_hub_stats(gev_hub_get(), &before);
    expect_int_eq(gev_recv(fds[1], buf, 8, 0), 3);
    gev_hub_stats(gev_hub_get(), &after);
    expect_uint_eq(after.switches, before.switches); /* not taken as drained */
    /* A peek waits like any read. */
    struct call c = {.fd = fds[1], .flags = MSG_PEEK};
    gev_greenlet *g = gev_spawn(do_recv, &c);
    expect_ok(gev_sleep(0.001));
    expect_false(c.is_done);
    expect_int_eq(gev_send(fds[0], "abc", 3, 0), 3);
    join(g);
    expect_int_eq(c.rc, 3);
    expect_int_eq(gev_recv(fds[1], buf, 8, 0), 3);
    close_both(fds);
}

GEV_TEST(urgent_data_never_blocks)
{
    int fds[2];
    char buf[8];

    tcp_pair(fds);
    expect_fail(gev_recv(fds[1], buf, 8, MSG_OOB), EINVAL);
    expect_int_eq(gev_send(fds[0], "a", 1, 0), 1);
    expect_int_eq(gev_recv(fds[1], buf, 8, 0), 1); /* drained */
    expect_int_eq(gev_send(fds[0], "!", 1, MSG_OOB), 1);
    struct pollfd p = {.fd = fds[1], .events = POLLPRI};
    expect_int_eq(gev_poll(&p, 1, 5000), 1);
    expect_int_eq(gev_recv(fds[1], buf, 8, MSG_OOB), 1);
    expect_int_eq(buf[0], '!');
    expect_int_eq(gev_send(fds[0], "bc", 2, 0), 2);
    expect_int_eq(gev_recv(fds[1], buf, 8, 0), 2);
    expect_fail(gev_recv(fds[1], buf, 8, MSG_ERRQUEUE), EAGAIN);
    close_both(fds);
}

/* N9: an empty datagram is one, not the end. A short one says nothing of what
 * is left. */
GEV_TEST(datagrams_keep_their_bounds)
{
    int fds[2];
    char buf[8];

    pair(SOCK_DGRAM, fds);
    expect_int_eq(gev_send(fds[0], "abc", 3, 0), 3);
    expect_int_eq(gev_send(fds[0], "", 0, 0), 0);
    expect_int_eq(gev_send(fds[0], "defg", 4, 0), 4);
    expect_int_eq(gev_send(fds[0], "hi", 2, 0), 2);
    gev_stats before = {.size = sizeof(before)};
    gev_stats after = {.size = sizeof(after)};
    gev_hub_stats(gev_hub_get(), &before);
    expect_int_eq(gev_recv(fds[1], buf, 8, 0), 3);
    expect_int_eq(gev_recv(fds[1], buf, 8, 0), 0);
    expect_int_eq(gev_recv(fds[1], buf, 2, MSG_TRUNC), 4);
    expect_int_eq(gev_recv(fds[1], buf, 8, MSG_WAITALL), 2);
    gev_hub_stats(gev_hub_get(), &after);
    expect_uint_eq(after.switches, before.switches);
    close_both(fds);
}

GEV_TEST(udp_tells_who_sent)
{
    struct sockaddr_in addr[2];
    struct sockaddr_in from;
    int fds[2];
    char buf[8];

    for (int i = 0; i < 2; i++) {
        socklen_t len = sizeof(addr[i]);
        addr[i] = loopback();
        fds[i] = gev_socket(AF_INET, SOCK_DGRAM, 0);
        expect_ok(bind(fds[i], (struct sockaddr *)&addr[i], len));
        expect_ok(getsockname(fds[i], (struct sockaddr *)&addr[i], &len));
    }
    struct call c = {.fd = fds[1]};
    gev_greenlet *g = gev_spawn(do_recv, &c);
    expect_ok(gev_sleep(0.001));
    expect_int_eq(gev_sendto(fds[0], "abc", 3, 0, (struct sockaddr *)&addr[1],
                             sizeof(addr[1])),
                  3);
    join(g);
    expect_int_eq(c.rc, 3);
    expect_int_eq(gev_sendto(fds[0], "de", 2, 0, (struct sockaddr *)&addr[1],
                             sizeof(addr[1])),
                  2);
    socklen_t len = sizeof(from);
    expect_int_eq(
        gev_recvfrom(fds[1], buf, 8, 0, (struct sockaddr *)&from, &len), 2);
    expect_int_eq(len, sizeof(from));
    expect_int_eq(from.sin_port, addr[0].sin_port);
    /* N7: an ICMP error is told, and the socket stays usable. */
    expect_ok(gev_close(fds[1]));
    expect_ok(connect_to(fds[0], &addr[1]));
    expect_int_eq(gev_send(fds[0], "abc", 3, 0), 3);
    expect_fail(gev_recv(fds[0], buf, 8, 0), ECONNREFUSED);
    expect_ok(gev_settimeout(fds[0], 0));
    expect_fail(gev_recv(fds[0], buf, 8, 0), EAGAIN);
    expect_ok(gev_close(fds[0]));
}

/* SOC22 */
GEV_TEST(descriptors_travel_in_messages)
{
    int fds[2];
    int pipes[2];
    char byte = 'x';
    char data[8];
    struct iovec out = {&byte, 1};
    struct iovec in = {data, 8};
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr msg = {.msg_iov = &out,
                         .msg_iovlen = 1,
                         .msg_control = control.buf,
                         .msg_controllen = sizeof(control.buf)};

    pair(SOCK_STREAM, fds);
    expect_ok(gev_pipe(pipes));
    memset(&control, 0, sizeof(control));
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &pipes[1], sizeof(int));
    expect_int_eq(gev_send(fds[0], "abc", 3, 0), 3);
    expect_int_eq(gev_sendmsg(fds[0], &msg, 0), 1);
    expect_int_eq(gev_send(fds[0], "defg", 4, 0), 4);
    expect_ok(gev_close(pipes[1]));

    /* MSG_WAITALL stops where they are. */
    memset(&control, 0, sizeof(control));
    msg.msg_iov = &in;
    msg.msg_controllen = sizeof(control.buf);
    expect_int_eq(gev_recvmsg(fds[1], &msg, MSG_WAITALL | MSG_CMSG_CLOEXEC), 4);
    expect_mem_eq(data, "abcx", 4);
    cmsg = CMSG_FIRSTHDR(&msg);
    if (expect_not_null(cmsg)) {
        int fd;
        memcpy(&fd, CMSG_DATA(cmsg), sizeof(int));
        expect_int_eq(gev_write(fd, "hi", 2), 2);
        expect_int_eq(gev_read(pipes[0], data, 8), 2);
        expect_ok(gev_close(fd));
    }
    msg.msg_controllen = 0;
    expect_int_eq(gev_recvmsg(fds[1], &msg, 0), 4);
    expect_ok(gev_close(pipes[0]));
    close_both(fds);
}

static void *close_it(void *arg)
{
    expect_ok(gev_close(*(const int *)arg));
    return NULL;
}

/* F6, N10: a reset wakes a reader and a writer. */
GEV_TEST(resets_wake_both_directions)
{
    int fds[2];

    tcp_pair(fds);
    struct call c = {.fd = fds[0]};
    gev_greenlet *g = gev_spawn(do_recv, &c);
    expect_ok(gev_sleep(0.001));
    struct linger linger = {1, 0};
    expect_ok(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &linger,
                         sizeof(linger)));
    expect_ok(gev_close(fds[1]));
    join(g);
    expect_int_eq(c.rc, -1);
    expect_int_eq(c.error, ECONNRESET);
    expect_fail(gev_send(fds[0], "a", 1, 0), EPIPE);
    expect_int_eq(gev_recv(fds[0], c.buf, 8, 0), 0);
    expect_ok(gev_close(fds[0]));

    static char big[1 << 16];
    tcp_pair(fds);
    expect_ok(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &linger,
                         sizeof(linger)));
    expect_ok(gev_settimeout(fds[0], 0));
    while (gev_send(fds[0], big, sizeof(big), 0) > 0) {
    }
    expect_ok(gev_settimeout(fds[0], 10));
    g = gev_spawn_later(0.002, close_it, &fds[1]);
    expect_fail(gev_send(fds[0], big, sizeof(big), 0), ECONNRESET);
    join(g);
    expect_ok(gev_close(fds[0]));
}

/* SOC12: the kernel wakes the waiter, with the end or EPIPE. */
GEV_TEST(shutdown_wakes_by_itself)
{
    int fds[2];
    char buf[8];

    tcp_pair(fds);
    struct call c = {.fd = fds[0]};
    gev_greenlet *g = gev_spawn(do_recv, &c);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_shutdown(fds[0], SHUT_RD));
    join(g);
    expect_int_eq(c.rc, 0);
    /* N4: half-closed, the other way works. */
    expect_int_eq(gev_send(fds[0], "ab", 2, 0), 2);
    expect_int_eq(gev_recv(fds[1], buf, 8, 0), 2);
    expect_ok(gev_shutdown(fds[0], SHUT_WR));
    expect_int_eq(gev_recv(fds[1], buf, 8, 0), 0);
    expect_fail(gev_send(fds[0], "ab", 2, 0), EPIPE);
    close_both(fds);
}

/* --- cancel_wait -------------------------------------------------------------- */

GEV_TEST(cancel_wait_wakes_all)
{
    int fds[2];
    struct call c[3];
    gev_greenlet *g[3];
    struct pollfd p;

    pair(SOCK_STREAM, fds);
    expect_int_eq(gev_cancel_wait(fds[0], EIO), 0);
    for (int i = 0; i < 3; i++) {
        c[i] = (struct call){.fd = fds[0]};
        g[i] = gev_spawn(do_recv, &c[i]);
    }
    expect_ok(gev_sleep(0.001)); /* nothing was remembered: they wait */
    expect_false(c[0].is_done);
    expect_int_eq(gev_cancel_wait(fds[0], EIO), 3);
    for (int i = 0; i < 3; i++) {
        join(g[i]);
        expect_int_eq(c[i].rc, -1);
        expect_int_eq(c[i].error, EIO);
    }
    expect_int_eq(gev_send(fds[1], "a", 1, 0), 1);
    expect_int_eq(gev_recv(fds[0], c[0].buf, 8, 0), 1);
    p = (struct pollfd){.fd = fds[0], .events = POLLIN};
    expect_int_eq(gev_poll(&p, 1, 0), 0);

    expect_fail(gev_cancel_wait(fds[0], 0), EINVAL);
    expect_fail(gev_cancel_wait(fds[0], -5), EINVAL);
    close_both(fds);
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
        cmocka_unit_test(dontwait_never_parks),
        cmocka_unit_test(waitall_waits_for_all),
        cmocka_unit_test(peek_leaves_data_there),
        cmocka_unit_test(urgent_data_never_blocks),
        cmocka_unit_test(datagrams_keep_their_bounds),
        cmocka_unit_test(udp_tells_who_sent),
        cmocka_unit_test(descriptors_travel_in_messages),
        cmocka_unit_test(resets_wake_both_directions),
        cmocka_unit_test(shutdown_wakes_by_itself),
        cmocka_unit_test(cancel_wait_wakes_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
