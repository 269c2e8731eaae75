/* SPDX-License-Identifier: MIT */

/* The recv and send families: flags, messages, datagrams, resets (SOC4, SOC5,
 * SOC12, SOC22, N4, N7, N9). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/sockets.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A connected pair of TCP sockets. */
static void tcp_pair(int fds[2])
{
    struct sockaddr_in addr;
    socklen_t len = sizeof(addr);
    int server = gev_tcp_listen("127.0.0.1", "0", 1);

    expect_ok(getsockname(server, (struct sockaddr *)&addr, &len));
    fds[0] = gev_socket(AF_INET, SOCK_STREAM, 0);
    expect_ok(gev_connect(fds[0], (struct sockaddr *)&addr, len));
    fds[1] = gev_accept(server, NULL, NULL);
    expect_ge(fds[1], 0);
    expect_ok(gev_close(server));
}

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
    expect_fail(gev_recvfrom(fds[0], buf, 8, MSG_DONTWAIT, NULL, NULL), EAGAIN);
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
    test_close_both(fds);
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
    test_join(g);
    g = gev_spawn(send_in_parts, &fds[0]);
    expect_int_eq(gev_recvfrom(fds[1], buf, 20, MSG_WAITALL, NULL, NULL), 20);
    test_join(g);
    g = gev_spawn(send_in_parts, &fds[0]);
    expect_int_eq(gev_recvmsg(fds[1], &msg, MSG_WAITALL), 14);
    expect_mem_eq(buf, "abcdab", 6);
    expect_mem_eq(tail, "cdabcdab", 8);
    expect_int_eq(iov[0].iov_len, 6); /* the caller's, untouched */
    expect_int_eq(iov[1].iov_len, 8);
    test_join(g);
    expect_int_eq(gev_recv(fds[1], buf, 6, MSG_WAITALL), 6);
    /* A peek for all leaves all there. */
    g = gev_spawn(send_in_parts, &fds[0]);
    expect_int_eq(gev_recv(fds[1], buf, 20, MSG_WAITALL | MSG_PEEK), 20);
    test_join(g);
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
    test_close_both(fds);
}

GEV_TEST(peek_leaves_data_there)
{
    int fds[2];
    char buf[8];

    test_pair(SOCK_STREAM, fds);
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
    struct test_call c = {.fd = fds[1], .flags = MSG_PEEK};
    gev_greenlet *g = gev_spawn(test_do_recv, &c);
    expect_ok(gev_sleep(0.001));
    expect_false(c.is_done);
    expect_int_eq(gev_send(fds[0], "abc", 3, 0), 3);
    test_join(g);
    expect_int_eq(c.rc, 3);
    expect_int_eq(gev_recv(fds[1], buf, 8, 0), 3);
    test_close_both(fds);
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
    test_close_both(fds);
}

/* N9: an empty datagram is one, not the end. A short one says nothing of what
 * is left. */
GEV_TEST(datagrams_keep_their_bounds)
{
    int fds[2];
    char buf[8];

    test_pair(SOCK_DGRAM, fds);
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
    test_close_both(fds);
}

GEV_TEST(udp_tells_who_sent)
{
    struct sockaddr_in addr[2];
    struct sockaddr_in from;
    int fds[2];
    char buf[8];

    for (int i = 0; i < 2; i++) {
        socklen_t len = sizeof(addr[i]);
        addr[i] = test_loopback();
        fds[i] = gev_socket(AF_INET, SOCK_DGRAM, 0);
        expect_ok(bind(fds[i], (struct sockaddr *)&addr[i], len));
        expect_ok(getsockname(fds[i], (struct sockaddr *)&addr[i], &len));
    }
    struct test_call c = {.fd = fds[1]};
    gev_greenlet *g = gev_spawn(test_do_recv, &c);
    expect_ok(gev_sleep(0.001));
    expect_int_eq(gev_sendto(fds[0], "abc", 3, 0, (struct sockaddr *)&addr[1],
                             sizeof(addr[1])),
                  3);
    test_join(g);
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
    expect_ok(
        gev_connect(fds[0], (struct sockaddr *)&addr[1], sizeof(addr[1])));
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

    test_pair(SOCK_STREAM, fds);
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
    test_close_both(fds);
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
    struct test_call c = {.fd = fds[0]};
    gev_greenlet *g = gev_spawn(test_do_recv, &c);
    expect_ok(gev_sleep(0.001));
    struct linger linger = {1, 0};
    expect_ok(
        setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
    expect_ok(gev_close(fds[1]));
    test_join(g);
    expect_int_eq(c.rc, -1);
    expect_int_eq(c.error, ECONNRESET);
    expect_fail(gev_send(fds[0], "a", 1, 0), EPIPE);
    expect_int_eq(gev_recv(fds[0], c.buf, 8, 0), 0);
    expect_ok(gev_close(fds[0]));

    static char big[1 << 16];
    tcp_pair(fds);
    expect_ok(
        setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
    expect_ok(gev_settimeout(fds[0], 0));
    while (gev_send(fds[0], big, sizeof(big), 0) > 0) {
    }
    expect_ok(gev_settimeout(fds[0], 10));
    g = gev_spawn_later(0.002, close_it, &fds[1]);
    expect_fail(gev_send(fds[0], big, sizeof(big), 0), ECONNRESET);
    test_join(g);
    expect_ok(gev_close(fds[0]));
}

/* SOC12: the kernel wakes the waiter, with the end or EPIPE. */
GEV_TEST(shutdown_wakes_by_itself)
{
    int fds[2];
    char buf[8];

    tcp_pair(fds);
    struct test_call c = {.fd = fds[0]};
    gev_greenlet *g = gev_spawn(test_do_recv, &c);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_shutdown(fds[0], SHUT_RD));
    test_join(g);
    expect_int_eq(c.rc, 0);
    /* N4: half-closed, the other way works. */
    expect_int_eq(gev_send(fds[0], "ab", 2, 0), 2);
    expect_int_eq(gev_recv(fds[1], buf, 8, 0), 2);
    expect_ok(gev_shutdown(fds[0], SHUT_WR));
    expect_int_eq(gev_recv(fds[1], buf, 8, 0), 0);
    expect_fail(gev_send(fds[0], "ab", 2, 0), EPIPE);
    test_close_both(fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dontwait_never_parks),
        cmocka_unit_test(waitall_waits_for_all),
        cmocka_unit_test(peek_leaves_data_there),
        cmocka_unit_test(urgent_data_never_blocks),
        cmocka_unit_test(datagrams_keep_their_bounds),
        cmocka_unit_test(udp_tells_who_sent),
        cmocka_unit_test(descriptors_travel_in_messages),
        cmocka_unit_test(resets_wake_both_directions),
        cmocka_unit_test(shutdown_wakes_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
