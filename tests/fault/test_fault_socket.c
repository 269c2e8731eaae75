/* SPDX-License-Identifier: MIT */

/* Fault sweeps over sockets: each system call and allocation fails once, or
 * from then on, with each error it may have; each transfer is cut short. The
 * call then fails as documented, or copes, and leaves nothing behind. */
#include <gev.h>

#include "support/fault_sweep.h"
#include "support/gev_test.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* Long enough for all that is meant to work, short for what waits in vain. */
#define LIMIT test_scale(0.05)

static void close_keeping_errno(int fd)
{
    int error = errno;
    if (fd >= 0) {
        expect_ok(gev_close(fd));
    }
    errno = error;
}

/* --- scenarios ------------------------------------------------------------ */

static struct sockaddr_in listen_raw(int *ret_fd)
{
    uint16_t port = 0;
    *ret_fd = test_tcp_listener(&port);
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
}

/* connect to a listener that libc made. */
static int do_connect(void *arg)
{
    (void)arg;
    int server;
    struct sockaddr_in addr = listen_raw(&server);
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);
    int rc = fd;

    if (rc >= 0) {
        rc = gev_settimeout(fd, LIMIT);
    }
    if (rc >= 0) {
        rc = gev_connect(fd, (struct sockaddr *)&addr, sizeof(addr));
    }
    close_keeping_errno(fd);
    int error = errno;
    close(server);
    errno = error;
    return rc < 0 ? -1 : 0;
}

/* The whole way through names and listeners: bind, listen, race, accept. */
static int do_dial(void *arg)
{
    const char *host = arg;
    struct sockaddr_in addr;
    socklen_t len = sizeof(addr);
    char port[8];
    int client = -1;
    int other = -1;

    int server = gev_tcp_listen("127.0.0.1", "0", 5);
    int rc = server;
    if (rc >= 0) {
        expect_ok(getsockname(server, (struct sockaddr *)&addr, &len));
        snprintf(port, sizeof(port), "%u", ntohs(addr.sin_port));
        rc = client = gev_tcp_connect(host, port, LIMIT);
    }
    if (rc >= 0) {
        rc = gev_settimeout(server, LIMIT);
    }
    if (rc >= 0) {
        rc = other = gev_accept(server, NULL, NULL);
    }
    close_keeping_errno(other);
    close_keeping_errno(client);
    close_keeping_errno(server);
    return rc < 0 ? -1 : 0;
}

/* A parked accept. */
static void *connect_raw(void *arg)
{
    const struct sockaddr_in *addr = arg;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    expect_ge(fd, 0);
    expect_ok(connect(fd, (const struct sockaddr *)addr, sizeof(*addr)));
    close(fd);
    return NULL;
}

static int do_accept(void *arg)
{
    (void)arg;
    int server;
    struct sockaddr_in addr = listen_raw(&server);
    gev_greenlet *g = gev_spawn(connect_raw, &addr);
    int rc = g == NULL ? -1 : gev_settimeout(server, LIMIT);
    int fd = -1;

    if (rc == 0) {
        fd = gev_accept(server, NULL, NULL);
        rc = fd < 0 ? -1 : 0;
    }
    int error = errno;
    if (g != NULL) {
        gev_kill(g, GEV_FOREVER);
        gev_unref(g);
    }
    errno = error;
    close_keeping_errno(fd);
    error = errno;
    gev_close(server);
    errno = error;
    return rc;
}

/* More than fits into any buffer, so that both sides park. */
#define SIZE 300000

struct transfer {
    int fd;
    size_t size;
    bool has_ended;
    int error;
};

static void *send_much(void *arg)
{
    struct transfer *t = arg;
    char *data = malloc(t->size);

    for (size_t i = 0; i < t->size; i++) {
        data[i] = (char)(i * 7);
    }
    if (gev_send_all(t->fd, data, t->size) != (ssize_t)t->size) {
        t->error = errno;
    }
    expect_ok(gev_close(t->fd));
    t->has_ended = true;
    free(data);
    return NULL;
}

static bool is_whole(const char *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (data[i] != (char)(i * 7)) {
            return false;
        }
    }
    return true;
}

/* What arrives is right as far as it goes, whatever fails. */
static int receive_much(int fd, size_t size)
{
    char *data = malloc(size);
    ssize_t n = gev_recv_exactly(fd, data, size);
    int error = errno;

    expect_true(is_whole(data, n < 0 ? 0 : (size_t)n));
    free(data);
    errno = error;
    if (n >= 0 && n < (ssize_t)size && error == 0) {
        errno = ENODATA; /* the sender has failed, and says why */
    }
    return n == (ssize_t)size ? 0 : -1;
}

static int transfer(const char *kind, size_t size, double limit)
{
    int fds[2];
    int rc = strcmp(kind, "pipe") == 0
                 ? gev_pipe(fds)
                 : gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds);

    if (rc < 0) {
        return -1;
    }
    struct transfer t = {.fd = fds[1], .size = size};
    rc = gev_settimeout(fds[0], limit);
    rc = rc < 0 ? rc : gev_settimeout(fds[1], limit);
    gev_greenlet *g = NULL;
    if (rc == 0) {
        g = gev_spawn(send_much, &t);
        rc = g == NULL ? -1 : receive_much(fds[0], size);
    }
    int error = errno;
    expect_ok(gev_close(fds[0]));
    if (g != NULL) {
        gev_kill(g, GEV_FOREVER);
        gev_unref(g);
        if (rc < 0 && error == ENODATA) {
            error = t.error;
        }
    }
    if (!t.has_ended) {
        expect_ok(gev_close(fds[1]));
    }
    errno = error;
    return rc;
}

static int do_transfer(void *arg)
{
    return transfer(arg, SIZE, LIMIT);
}

/* Messages with a descriptor in them, a datagram, vectors, MSG_WAITALL. */
static int do_messages(void *arg)
{
    (void)arg;
    int stream[2];
    int dgram[2];
    char buf[16];
    struct iovec iov[2] = {{buf, 3}, {buf + 3, 4}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

    int rc = gev_socketpair(AF_UNIX, SOCK_STREAM, 0, stream);
    if (rc < 0) {
        return -1;
    }
    rc = gev_socketpair(AF_UNIX, SOCK_DGRAM, 0, dgram);
    if (rc < 0) {
        close_keeping_errno(stream[0]);
        close_keeping_errno(stream[1]);
        return -1;
    }
    memcpy(buf, "abcdefg", 7);
    for (int i = 0; i < 2 && rc >= 0; i++) {
        rc = gev_settimeout(stream[i], LIMIT);
        rc = rc < 0 ? rc : gev_settimeout(dgram[i], LIMIT);
    }
    /* Short writes may make it less; all is read until nothing is left. */
    size_t sent = 0;
    ssize_t n = rc < 0 ? -1 : gev_writev(stream[0], iov, 2);
    sent += n > 0 ? (size_t)n : 0;
    n = n < 0 ? n : gev_sendmsg(stream[0], &msg, 0);
    sent += n > 0 ? (size_t)n : 0;
    while (n >= 0 && sent > 0) {
        n = sent >= 7 ? gev_recvmsg(stream[1], &msg, MSG_WAITALL)
                      : gev_readv(stream[1], iov, 2);
        sent -= n > 0 ? (size_t)n : 0;
        if (n == 0) {
            expect_never("the end, with %zu to come", sent);
            break;
        }
    }
    if (n >= 0) {
        n = gev_send(dgram[0], "abc", 3, 0);
        n = n < 0 ? n : gev_recvfrom(dgram[1], buf, 16, 0, NULL, NULL);
        if (n >= 0) {
            expect_int_eq(n, 3);
        }
    }
    for (int i = 0; i < 2; i++) {
        close_keeping_errno(stream[i]);
        close_keeping_errno(dgram[i]);
    }
    return n < 0 ? -1 : 0;
}

static void *write_one(void *arg)
{
    const int *fd = arg;
    if (write(*fd, "a", 1) != 1) {
        expect_never("cannot write");
    }
    return NULL;
}

/* Twelve descriptors, so that the waiters are allocated; one asks for what only
 * an epoll set can tell, unless arg is NULL. */
static int do_poll(void *arg)
{
    struct pollfd p[12];
    int fds[2];

    test_socketpair(fds);
    for (int i = 0; i < 12; i++) {
        p[i] = (struct pollfd){fds[0], POLLIN, 0};
    }
    if (arg != NULL) {
        p[3].events = POLLPRI;
    }
    gev_greenlet *g = gev_spawn(write_one, &fds[1]);
    int rc = g == NULL ? -1 : gev_poll(p, 12, 2000);
    if (rc >= 0) {
        expect_int_eq(rc, arg != NULL ? 11 : 12);
    }
    int error = errno;
    if (g != NULL) {
        gev_kill(g, GEV_FOREVER);
        gev_unref(g);
    }
    gev_close(fds[0]);
    gev_close(fds[1]);
    errno = error;
    return rc < 0 ? -1 : 0;
}

static int do_unix(void *arg)
{
    const char *path = arg;
    int client = -1;
    int other = -1;

    /* A stale file in the way. */
    int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    strcpy(addr.sun_path, path);
    unlink(path);
    expect_ok(bind(stale, (struct sockaddr *)&addr, sizeof(addr)));
    close(stale);
    errno = 0;

    int server = gev_unix_listen(path, 5);
    int rc = server;
    if (rc >= 0) {
        rc = client = gev_unix_connect(path, LIMIT);
    }
    if (rc >= 0) {
        rc = gev_settimeout(server, LIMIT);
    }
    if (rc >= 0) {
        rc = other = gev_accept(server, NULL, NULL);
    }
    close_keeping_errno(other);
    close_keeping_errno(client);
    close_keeping_errno(server);
    int error = errno;
    unlink(path);
    errno = error;
    return rc < 0 ? -1 : 0;
}

/* --- sweeps --------------------------------------------------------------- */

#define MEMORY                                                                 \
    {                                                                          \
        "memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true, .allowed = {   \
            ENOMEM                                                             \
        }                                                                      \
    }

GEV_TEST(connect_survives_everything)
{
    static const struct fault_case cases[] = {
        MEMORY,
        {"descriptors", FAULT_AT(OPEN), EMFILE, .allowed = {EMFILE}},
        {"interrupts", FAULT_AT(CONNECT), EINTR, .must_succeed = true},
        {"refused", FAULT_AT(CONNECT), ECONNREFUSED, .allowed = {ECONNREFUSED}},
        {"options", FAULT_AT(SOCKOPT), EBADF, .allowed = {EBADF}},
    };
    fault_sweep(do_connect, NULL, cases, LENGTH(cases), FAULT_WARM);
    fault_sweep(do_connect, NULL, cases, 1, 0);
}

GEV_TEST(dial_and_listen_survive_everything)
{
    static const struct fault_case cases[] = {
        MEMORY,
        {"descriptors", FAULT_AT(OPEN), EMFILE, .allowed = {EMFILE}},
        {"taken", FAULT_AT(BIND), EADDRINUSE, .allowed = {EADDRINUSE}},
        {"interrupts", FAULT_AT(CONNECT) | FAULT_AT(ACCEPT) | FAULT_AT(POLL),
         EINTR, .must_succeed = true},
        {"refused", FAULT_AT(CONNECT), ECONNREFUSED, .may_succeed = true,
         .allowed = {ECONNREFUSED}},
        {"no accept", FAULT_AT(ACCEPT), EMFILE, .allowed = {EMFILE}},
        {"options", FAULT_AT(SOCKOPT), ENOMEM, .may_succeed = true,
         .allowed = {ENOMEM}},
        {"poll", FAULT_AT(POLL), ENOMEM, .allowed = {ENOMEM}},
    };
    static char host[] = "127.0.0.1";
    fault_sweep(do_dial, host, cases, LENGTH(cases), FAULT_WARM);
}

GEV_TEST(accept_survives_everything)
{
    static const struct fault_case cases[] = {
        MEMORY,
        {"interrupts", FAULT_AT(ACCEPT), EINTR, .must_succeed = true},
        {"would block", FAULT_AT(ACCEPT), EAGAIN, .may_succeed = true,
         .allowed = {ETIMEDOUT}},
        /* While nobody is there, that is no failure. */
        {"no descriptor", FAULT_AT(ACCEPT), EMFILE, .may_succeed = true,
         .allowed = {EMFILE}},
        {"no table", FAULT_AT(ACCEPT), ENFILE, .may_succeed = true,
         .allowed = {ENFILE}},
        {"no buffer", FAULT_AT(ACCEPT), ENOBUFS, .may_succeed = true,
         .allowed = {ENOBUFS}},
        {"no descriptor, no look", FAULT_AT(ACCEPT) | FAULT_AT(POLL), EMFILE,
         .may_succeed = true, .allowed = {EMFILE}},
    };
    fault_sweep(do_accept, NULL, cases, LENGTH(cases), FAULT_WARM);
}

/* F11: broken connections in the queue are skipped, one after the other. */
GEV_TEST(accept_skips_broken_connections)
{
    static const int errors[] = {
        ECONNABORTED, EPROTO,     ENETDOWN,     ENOPROTOOPT, EHOSTDOWN,
        ENONET,       EOPNOTSUPP, EHOSTUNREACH, ENETUNREACH,
    };
    for (size_t i = 0; i < LENGTH(errors); i++) {
        const struct fault_case once = {
            "broken",
            FAULT_AT(ACCEPT),
            errors[i],
            .shapes = FAULT_ONCE,
            .must_succeed = true,
        };
        const struct fault_case always = {
            "all broken",           FAULT_AT(ACCEPT),    errors[i],
            .shapes = FAULT_STICKY, .may_succeed = true, .allowed = {errors[i]},
        };
        fault_sweep(do_accept, NULL, &once, 1, FAULT_WARM);
        fault_sweep(do_accept, NULL, &always, 1, FAULT_WARM);
    }
}

GEV_TEST(transfers_survive_everything)
{
    static const struct fault_case cases[] = {
        MEMORY,
        {"interrupts", FAULT_AT(READ) | FAULT_AT(WRITE), EINTR,
         .must_succeed = true},
        {"would block", FAULT_AT(READ), EAGAIN, .shapes = FAULT_ONCE,
         .must_succeed = true},
        {"never works", FAULT_AT(READ) | FAULT_AT(WRITE), EAGAIN,
         .shapes = FAULT_STICKY, .may_succeed = true, .allowed = {ETIMEDOUT}},
        {"reset", FAULT_AT(READ) | FAULT_AT(WRITE), ECONNRESET,
         .allowed = {ECONNRESET}},
        {"descriptors", FAULT_AT(OPEN), ENFILE, .allowed = {ENFILE}},
    };
    static char pipe_name[] = "pipe";
    static char socket_name[] = "socket";
    fault_sweep(do_transfer, socket_name, cases, LENGTH(cases), FAULT_WARM);
    fault_sweep(do_transfer, pipe_name, cases, LENGTH(cases), FAULT_WARM);
}

/* One byte at a time. */
GEV_TEST(short_transfers_arrive_whole)
{
    static char *const names[] = {"socket", "pipe"};

    for (int i = 0; i < 2; i++) {
        for (unsigned k = 1; k <= 3; k++) {
            gev__fault_arm_short(FAULT_AT(READ) | FAULT_AT(WRITE), k);
            expect_ok(transfer(names[i], 20000, 30));
            expect_ge(gev__fault_disarm(), 1000);
        }
    }
}

GEV_TEST(messages_survive_everything)
{
    static const struct fault_case cases[] = {
        MEMORY,
        {"interrupts", FAULT_AT(READ) | FAULT_AT(WRITE), EINTR,
         .must_succeed = true},
        {"short", FAULT_AT(READ) | FAULT_AT(WRITE), .shapes = FAULT_SHORT},
        {"would block", FAULT_AT(READ) | FAULT_AT(WRITE), EAGAIN,
         .may_succeed = true, .allowed = {ETIMEDOUT}},
        /* N6: once is waited out, for datagrams. */
        {"no buffer", FAULT_AT(WRITE), ENOBUFS, .shapes = FAULT_ONCE,
         .may_succeed = true, .allowed = {ENOBUFS}},
        {"never a buffer", FAULT_AT(WRITE), ENOBUFS, .shapes = FAULT_STICKY,
         .allowed = {ENOBUFS, ETIMEDOUT}},
    };
    fault_sweep(do_messages, NULL, cases, LENGTH(cases), FAULT_WARM);
}

/* N6, to the letter. */
GEV_TEST(datagrams_wait_for_buffers)
{
    int fds[2];
    char buf[8];

    expect_ok(gev_socketpair(AF_UNIX, SOCK_DGRAM, 0, fds));
    gev__fault_arm(FAULT_AT(WRITE), 1, ENOBUFS, false);
    expect_int_eq(gev_send(fds[0], "abc", 3, 0), 3);
    expect_int_eq(gev__fault_disarm(), 1);
    gev__fault_arm(FAULT_AT(WRITE), 1, ENOMEM, true);
    expect_fail(gev_send(fds[0], "abc", 3, MSG_DONTWAIT), ENOMEM);
    expect_ok(gev_settimeout(fds[0], 0));
    expect_fail(gev_send(fds[0], "abc", 3, 0), ENOMEM);
    expect_ok(gev_settimeout(fds[0], 0.02));
    double begin = test_now();
    expect_fail(gev_send(fds[0], "abc", 3, 0), ETIMEDOUT);
    expect_ge(test_now() - begin, 0.02);
    expect_ok(gev_settimeout(fds[0], GEV_FOREVER));
    begin = test_now();
    expect_fail(gev_send(fds[0], "abc", 3, 0), ENOMEM);
    expect_ge(test_now() - begin, 0.9);
    expect_ge(gev__fault_disarm(), 20);
    expect_int_eq(gev_recv(fds[1], buf, 8, 0), 3);
    expect_ok(gev_close(fds[0]));
    expect_ok(gev_close(fds[1]));
}

GEV_TEST(poll_survives_everything)
{
    static const struct fault_case cases[] = {
        MEMORY,
        {"interrupts", FAULT_AT(POLL), EINTR, .must_succeed = true},
        {"no memory", FAULT_AT(POLL), ENOMEM, .allowed = {ENOMEM}},
    };
    static const struct fault_case set = {"descriptors", FAULT_AT(OPEN), EMFILE,
                                          .allowed = {EMFILE}};
    static char with_set[] = "set";
    fault_sweep(do_poll, NULL, cases, LENGTH(cases), FAULT_WARM);
    fault_sweep(do_poll, with_set, cases, LENGTH(cases), FAULT_WARM);
    fault_sweep(do_poll, with_set, &set, 1, FAULT_WARM);
}

GEV_TEST(unix_survives_everything)
{
    static const struct fault_case cases[] = {
        MEMORY,
        /* The first descriptor that lacks is the prober's: then the file is
         * taken for somebody's. */
        {"descriptors", FAULT_AT(OPEN), EMFILE,
         .allowed = {EMFILE, EADDRINUSE}},
        {"options", FAULT_AT(SOCKOPT), EIO, .may_succeed = true,
         .allowed = {EIO, EADDRINUSE}},
        {"interrupts", FAULT_AT(CONNECT) | FAULT_AT(ACCEPT), EINTR,
         .may_succeed = true, .allowed = {EADDRINUSE}},
        {"full", FAULT_AT(CONNECT), EAGAIN, .may_succeed = true,
         .allowed = {EADDRINUSE, ETIMEDOUT}},
    };
    char path[] = "/tmp/gev-test-XXXXXX";
    close(mkstemp(path));
    fault_sweep(do_unix, path, cases, LENGTH(cases), FAULT_WARM);
    unlink(path);
}

/* --- what a request costs ------------------------------------------------- */

#define REQUESTS 1000

static void *echo(void *arg)
{
    const int *fd = arg;
    char buf[256];
    ssize_t n;

    while ((n = gev_recv(*fd, buf, sizeof(buf), 0)) > 0) {
        expect_int_eq(gev_send(*fd, buf, (size_t)n, 0), n);
    }
    return NULL;
}

static void ask(int fd, int times)
{
    char buf[256] = "";

    for (int i = 0; i < times; i++) {
        expect_int_eq(gev_send(fd, buf, 64, 0), 64);
        expect_int_eq(gev_recv(fd, buf, sizeof(buf), 0), 64);
    }
}

/* On each side one system call to receive, one to send; no other one, and no
 * memory. */
GEV_TEST(requests_on_a_kept_connection_cost_two_calls_a_side)
{
    static const enum gev__fault_point others[] = {
        GEV__FAULT_ALLOC,   GEV__FAULT_OPEN, GEV__FAULT_ACCEPT,
        GEV__FAULT_CONNECT, GEV__FAULT_BIND, GEV__FAULT_SOCKOPT,
        GEV__FAULT_POLL,    GEV__FAULT_WAIT, GEV__FAULT_MMAP,
    };
    unsigned mask = 0;
    int fds[2];

    for (size_t i = 0; i < LENGTH(others); i++) {
        mask |= 1u << others[i];
    }
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    gev_greenlet *g = gev_spawn(echo, &fds[1]);
    ask(fds[0], 10);
    gev__fault_arm(FAULT_AT(READ), 0, 0, false);
    ask(fds[0], REQUESTS);
    expect_int_eq(gev__fault_calls(FAULT_AT(READ)), 2 * REQUESTS);
    gev__fault_disarm();
    gev__fault_arm(FAULT_AT(WRITE), 0, 0, false);
    ask(fds[0], REQUESTS);
    expect_int_eq(gev__fault_calls(FAULT_AT(WRITE)), 2 * REQUESTS);
    gev__fault_disarm();
    gev__fault_arm(mask, 0, 0, false);
    ask(fds[0], REQUESTS);
    expect_int_eq(gev__fault_calls(mask), 0);
    gev__fault_disarm();
    expect_ok(gev_close(fds[0]));
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_ok(gev_close(fds[1]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect_survives_everything),
        cmocka_unit_test(dial_and_listen_survive_everything),
        cmocka_unit_test(accept_survives_everything),
        cmocka_unit_test(accept_skips_broken_connections),
        cmocka_unit_test(transfers_survive_everything),
        cmocka_unit_test(short_transfers_arrive_whole),
        cmocka_unit_test(messages_survive_everything),
        cmocka_unit_test(datagrams_wait_for_buffers),
        cmocka_unit_test(poll_survives_everything),
        cmocka_unit_test(unix_survives_everything),
        cmocka_unit_test(requests_on_a_kept_connection_cost_two_calls_a_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
