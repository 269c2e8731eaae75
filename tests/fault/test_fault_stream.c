/* SPDX-License-Identifier: MIT */

/* Fault sweeps over streams and servers: each allocation and system call fails
 * once, or from then on, with each error it may have; each transfer is cut
 * short. The call then fails as documented, or copes, and leaves nothing
 * behind. */
#include <gev.h>

#include "support/fault_sweep.h"
#include "support/gev_test.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* Long enough for all that is meant to work, short for what waits in vain. */
#define LIMIT test_scale(0.05)

/* --- streams -------------------------------------------------------------- */

/* A stream with a time limit, and a descriptor of libc's at the other end. */
static gev_stream *open_pair(int *ret_peer)
{
    int fds[2];
    test_socketpair(fds);
    gev_stream *s = gev_stream_open(fds[0]);
    int error = errno;
    if (s == NULL) {
        close(fds[0]);
        close(fds[1]);
    } else {
        gev_stream_settimeout(s, LIMIT);
        *ret_peer = fds[1];
    }
    errno = error;
    return s;
}

/* Ends both; what went wrong first is the outcome. */
static int close_pair(gev_stream *s, int peer, ssize_t rc)
{
    int error = errno;
    int closed = gev_stream_close(s);
    if (rc < 0) {
        errno = error;
    }
    error = errno;
    close(peer);
    errno = error;
    return rc < 0 || closed < 0 ? -1 : 0;
}

static int do_reads(void *arg)
{
    static const char text[] = "a line\nexactly;until-all the rest";
    (void)arg;
    int peer = -1;
    char *data = NULL;
    char buf[8];
    const void *look;
    gev_stream *s = open_pair(&peer);
    if (s == NULL) {
        return -1;
    }
    expect_int_eq(send(peer, text, sizeof(text) - 1, MSG_NOSIGNAL),
                  sizeof(text) - 1);
    shutdown(peer, SHUT_WR);
    ssize_t rc = gev_stream_read_line(s, &data, 100);
    if (rc >= 0) {
        expect_str_eq(data, "a line\n");
        rc = gev_stream_read_exactly(s, buf, 8);
    }
    if (rc >= 0 && rc < 8) {
        expect_true(errno != 0);
        rc = -1;
    }
    if (rc >= 0) {
        expect_mem_eq(buf, "exactly;", 8);
        rc = gev_stream_peek(s, &look, 3);
    }
    if (rc >= 0) {
        rc = gev_stream_read_until(s, "-", 1, &data, 100);
    }
    if (rc >= 0) {
        expect_str_eq(data, "until-");
        rc = gev_stream_read_all(s, &data, 1000);
    }
    if (rc >= 0) {
        expect_str_eq(data, "all the rest");
        free(data);
    }
    return close_pair(s, peer, rc);
}

struct reader {
    gev_stream *s;
    ssize_t n;
    int error;
};

static void *read_all(void *arg)
{
    struct reader *r = arg;
    char *data = NULL;
    r->n = gev_stream_read_all(r->s, &data, 1u << 20);
    r->error = errno;
    free(data);
    return NULL;
}

#define MUCH 250000

/* Two greenlets that park: much is written at one end, and read at the other.
 */
static int do_transfer(void *arg)
{
    static const char block[MUCH];
    const double limit = arg == NULL ? LIMIT : *(const double *)arg;
    int fds[2];
    int rc = -1;
    int error;

    test_socketpair(fds);
    gev_stream *in = gev_stream_open(fds[0]);
    gev_stream *out = in == NULL ? NULL : gev_stream_open(fds[1]);
    struct reader r = {.s = in};
    gev_greenlet *g = out == NULL ? NULL : gev_spawn(read_all, &r);
    error = errno;
    if (g != NULL) {
        gev_stream_settimeout(in, limit);
        gev_stream_settimeout(out, limit);
        rc = gev_stream_printf(out, "%d;", 42);
        rc = rc < 0 ? rc : gev_stream_write(out, block, 5000);
        rc = rc < 0 ? rc : gev_stream_write(out, block, MUCH);
        rc = rc < 0 ? rc : gev_stream_shutdown(out);
        error = errno;
        if (rc < 0) {
            gev_kill(g, GEV_FOREVER);
        } else {
            expect_ok(gev_join(g, GEV_FOREVER));
            rc = r.n < 0 ? -1 : 0;
            error = r.error;
            expect_true(rc < 0 || r.n == MUCH + 5003);
        }
        gev_unref(g);
    }
    if (out == NULL) {
        close(fds[1]);
    } else if (gev_stream_close(out) < 0 && rc == 0) {
        rc = -1;
        error = errno;
    }
    if (in == NULL) {
        close(fds[0]);
    } else if (gev_stream_close(in) < 0 && rc == 0) {
        rc = -1;
        error = errno;
    }
    errno = error;
    return rc;
}

static int do_sendfile(void *arg)
{
    static const char block[20000];
    char path[] = "/tmp/gev-test-XXXXXX";
    char buf[30000];
    const size_t n = arg == NULL ? 19000 : *(const size_t *)arg;
    int peer = -1;
    int file = mkstemp(path);
    unlink(path);
    expect_int_eq(write(file, block, sizeof(block)), sizeof(block));
    gev_stream *s = open_pair(&peer);
    if (s == NULL) {
        int error = errno;
        close(file);
        errno = error;
        return -1;
    }
    int rc = gev_stream_write(s, "head", 4);
    rc = rc < 0 ? rc : gev_stream_sendfile(s, file, 100, n);
    int error = errno;
    close(file);
    if (rc == 0) {
        expect_int_eq(recv(peer, buf, sizeof(buf), MSG_WAITALL | MSG_DONTWAIT),
                      n + 4);
    }
    errno = error;
    return close_pair(s, peer, rc);
}

/* --- servers -------------------------------------------------------------- */

static void answer(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    char *line;
    (void)peer;
    (void)arg;
    gev_stream_settimeout(conn, LIMIT);
    ssize_t n = gev_stream_read_line(conn, &line, 100);
    if (n > 0) {
        gev_stream_write(conn, line, (size_t)n);
    }
}

/* Asks with libc's sockets, in turns with the server. */
static int ask(int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char buf[8];
    ssize_t n = -1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    expect_ok(connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    expect_int_eq(send(fd, "ask\n", 4, MSG_NOSIGNAL), 4);
    double end = test_now() + LIMIT;
    errno = EAGAIN;
    while (n < 0 && errno == EAGAIN && test_now() < end) {
        if (gev_sleep(0.001) < 0) {
            break;
        }
        n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
    }
    close(fd);
    errno = EPROTO; /* an answer that does not come is no errno of gev's */
    return n == 4 ? 0 : -1;
}

static int do_server(void *arg)
{
    gev_server_opts opts = {.size = sizeof(opts), .host = arg};
    gev_server *s = gev_server_new(&opts, answer, NULL);
    int rc = s == NULL ? -1 : gev_server_start(s);
    if (rc == 0) {
        int port = gev_server_port(s);
        rc = port < 0 ? -1 : ask(port);
    }
    if (rc == 0) {
        rc = gev_server_stop(s, LIMIT);
    }
    int error = errno;
    gev_server_free(s);
    errno = error;
    return rc;
}

static void send_back(gev_datagram_server *s, const void *data, size_t n,
                      const struct sockaddr *peer, socklen_t len, void *arg)
{
    (void)arg;
    gev_datagram_server_send(s, data, n, peer, len);
}

static int do_datagrams(void *arg)
{
    gev_server_opts opts = {.size = sizeof(opts), .host = "127.0.0.1"};
    char buf[8];
    ssize_t n = -1;
    (void)arg;
    gev_datagram_server *s = gev_datagram_server_new(&opts, send_back, NULL);
    int rc = s == NULL ? -1 : gev_datagram_server_start(s);
    if (rc == 0) {
        int port = gev_datagram_server_port(s);
        struct sockaddr_in addr = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr = {htonl(INADDR_LOOPBACK)}};
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        double end = test_now() + LIMIT;
        while (n < 0 && test_now() < end && port > 0) {
            sendto(fd, "ask", 3, 0, (struct sockaddr *)&addr, sizeof(addr));
            if (gev_sleep(0.002) < 0) {
                break;
            }
            n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
        }
        close(fd);
        errno = EPROTO;
        rc = n == 3 ? 0 : -1;
    }
    if (rc == 0) {
        rc = gev_datagram_server_stop(s, LIMIT);
    }
    int error = errno;
    gev_datagram_server_free(s);
    errno = error;
    return rc;
}

/* --- sweeps --------------------------------------------------------------- */

static const struct fault_case transfer_cases[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM, ETIMEDOUT}},
    {"stacks", FAULT_AT(MMAP), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM}},
    {"reads", FAULT_AT(READ), EIO, .may_succeed = true,
     .allowed = {EIO, ETIMEDOUT}},
    {"writes", FAULT_AT(WRITE), EPIPE, .may_succeed = true,
     .allowed = {EPIPE, ETIMEDOUT}},
    {"reads that would block", FAULT_AT(READ), EAGAIN, .may_succeed = true,
     .allowed = {ETIMEDOUT}},
    {"interrupted", FAULT_AT(READ) | FAULT_AT(WRITE), EINTR,
     .shapes = FAULT_ONCE, .must_succeed = true},
    {"short", FAULT_AT(READ) | FAULT_AT(WRITE), 0, .shapes = FAULT_SHORT},
};

GEV_TEST(reads)
{
    fault_sweep(do_reads, NULL, transfer_cases, 3, 0);
    fault_sweep(do_reads, NULL, transfer_cases + 4, 3, 0);
}

GEV_TEST(much_both_ends)
{
    double patience = test_scale(20);
    fault_sweep(do_transfer, NULL, transfer_cases, 5, 0);
    fault_sweep(do_transfer, &patience, transfer_cases + 5, 2, 0);
}

GEV_TEST(files)
{
    static const struct fault_case cases[] = {
        {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
         .allowed = {ENOMEM}},
        {"writes", FAULT_AT(WRITE), EPIPE, .allowed = {EPIPE}},
        {"full", FAULT_AT(WRITE), EAGAIN, .may_succeed = true,
         .allowed = {ETIMEDOUT}},
        {"interrupted", FAULT_AT(WRITE), EINTR, .shapes = FAULT_ONCE,
         .must_succeed = true},
        {"short", FAULT_AT(WRITE), 0, .shapes = FAULT_SHORT},
    };
    size_t few = 100; /* single bytes soon fill a socket */
    fault_sweep(do_sendfile, NULL, cases, LENGTH(cases) - 1, 0);
    fault_sweep(do_sendfile, &few, cases + LENGTH(cases) - 1, 1, 0);
}

/* What may go wrong while a client is served costs that client, or time, never
 * the server: EPROTO says that the answer did not come in time. */
static const struct fault_case server_cases[] = {
    {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM, EPROTO, EAGAIN}},
    {"stacks", FAULT_AT(MMAP), ENOMEM, .may_succeed = true,
     .allowed = {ENOMEM, EPROTO}},
    {"descriptors", FAULT_AT(OPEN) | FAULT_AT(ACCEPT), EMFILE,
     .may_succeed = true, .allowed = {EMFILE, ENOMEM, EPROTO}},
    {"bind and listen", FAULT_AT(BIND), EADDRINUSE, .may_succeed = true,
     .allowed = {EADDRINUSE}}, /* another free port will do */
    {"options", FAULT_AT(SOCKOPT), ENOBUFS, .may_succeed = true,
     .allowed = {ENOBUFS, ENOTCONN, EPROTO}},
    {"reads", FAULT_AT(READ), EIO, .may_succeed = true,
     .allowed = {EIO, EPROTO}},
    {"writes", FAULT_AT(WRITE), EPIPE, .may_succeed = true,
     .allowed = {EPROTO}},
    {"connections", FAULT_AT(ACCEPT), ECONNABORTED, .may_succeed = true,
     .allowed = {EPROTO}},
};

GEV_TEST(servers)
{
    fault_sweep(do_server, (void *)(uintptr_t) "127.0.0.1", server_cases,
                LENGTH(server_cases), 0);
}

GEV_TEST(datagram_servers)
{
    fault_sweep(do_datagrams, NULL, server_cases, LENGTH(server_cases) - 1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(much_both_ends),
        cmocka_unit_test(files),
        cmocka_unit_test(servers),
        cmocka_unit_test(datagram_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
