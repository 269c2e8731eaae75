/* SPDX-License-Identifier: MIT */

/* gev_tcp_listen, gev_unix_listen, gev_udp_bind (SOC18). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int port_of(int fd)
{
    struct sockaddr_storage addr;
    struct sockaddr_in in;
    socklen_t len = sizeof(addr);

    expect_ok(getsockname(fd, (struct sockaddr *)&addr, &len));
    memcpy(&in, &addr, sizeof(in)); /* the same place in both families */
    return ntohs(in.sin_port);
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    expect_ok(getsockopt(fd, level, name, &value, &len));
    return value;
}

/* 1: it accepted a connection to that address. */
static int reaches(const char *host, int server)
{
    char port[16];

    snprintf(port, sizeof(port), "%d", port_of(server));
    int fd = gev_tcp_connect(host, port, 5);
    if (fd < 0) {
        expect_int_eq(errno, ECONNREFUSED);
        return 0;
    }
    expect_ok(gev_settimeout(server, 5));
    int other = gev_accept(server, NULL, NULL);
    expect_ge(other, 0);
    expect_ok(gev_close(other));
    expect_ok(gev_close(fd));
    return 1;
}

GEV_TEST(no_host_is_every_address)
{
    const char *const services[] = {"0", NULL};

    for (int i = 0; i < 2; i++) {
        int fd = gev_tcp_listen(NULL, services[i], 0);
        expect_ge(fd, 0);
        test_expect_flags(fd);
        expect_int_eq(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
        expect_int_eq(option(fd, SOL_SOCKET, SO_REUSEADDR), 1);
        expect_true(port_of(fd) != 0);
        expect_int_eq(reaches("127.0.0.1", fd), 1);
        expect_int_eq(reaches("::1", fd), 1);
        expect_int_eq(reaches("127.0.0.5", fd), 1);
        expect_ok(gev_close(fd));
    }
}

GEV_TEST(a_host_is_that_address)
{
    int fd = gev_tcp_listen("127.0.0.1", "0", 0);
    expect_int_eq(reaches("127.0.0.1", fd), 1);
    expect_int_eq(reaches("127.0.0.5", fd), 0);
    expect_int_eq(reaches("::1", fd), 0);
    expect_ok(gev_close(fd));
    fd = gev_tcp_listen("::1", "0", 0);
    expect_int_eq(reaches("::1", fd), 1);
    expect_int_eq(reaches("127.0.0.1", fd), 0);
    expect_ok(gev_close(fd));
    fd = gev_tcp_listen("localhost", "0", 0);
    expect_int_eq(reaches("localhost", fd), 1);
    expect_ok(gev_close(fd));
}

GEV_TEST(taken_ports_are_told)
{
    char port[16];
    int fd = gev_tcp_listen(NULL, "0", 1);

    snprintf(port, sizeof(port), "%d", port_of(fd));
    expect_fail(gev_tcp_listen(NULL, port, 1), EADDRINUSE);
    expect_fail(gev_tcp_listen("127.0.0.1", port, 1), EADDRINUSE);
    expect_fail(gev_tcp_listen("::1", port, 1), EADDRINUSE);
    expect_ok(gev_close(fd));
    /* Half of "every address" is not enough. */
    fd = gev_tcp_listen("127.0.0.1", port, 1);
    expect_ge(fd, 0);
    expect_fail(gev_tcp_listen(NULL, port, 1), EADDRINUSE);
    expect_ok(gev_close(fd));
    /* Connections of before are no obstacle. */
    fd = gev_tcp_listen("127.0.0.1", port, 1);
    int client = gev_tcp_connect("127.0.0.1", port, 5);
    int other = gev_accept(fd, NULL, NULL);
    expect_ok(gev_close(other)); /* first: TIME_WAIT is on this side */
    expect_ok(gev_close(client));
    expect_ok(gev_close(fd));
    fd = gev_tcp_listen("127.0.0.1", port, 1);
    expect_ge(fd, 0);
    expect_ok(gev_close(fd));
}

GEV_TEST(listen_checks_its_arguments)
{
    expect_fail(gev_tcp_listen("127.0.0.1", "no-such-service", 1),
                GEV_EAI(EAI_SERVICE));
    expect_fail(gev_tcp_listen("192.0.2.77", "0", 1), EADDRNOTAVAIL);
    expect_fail(gev_udp_bind("192.0.2.77", "0"), EADDRNOTAVAIL);
    expect_fail(gev_udp_bind("127.0.0.1", "no-such-service"),
                GEV_EAI(EAI_SERVICE));
}

GEV_TEST(backlogs_are_kept)
{
    int fd = gev_tcp_listen("127.0.0.1", "0", 1);
    char port[16];
    int fds[16];
    int n = 0;

    snprintf(port, sizeof(port), "%d", port_of(fd));
    while (n < 16 && (fds[n] = gev_tcp_connect("127.0.0.1", port, 0.05)) >= 0) {
        n++;
    }
    expect_le(n, 4);
    while (n > 0) {
        expect_ok(gev_close(fds[--n]));
    }
    expect_ok(gev_close(fd));
    fd = gev_tcp_listen("127.0.0.1", "0", -1); /* as long as may be */
    snprintf(port, sizeof(port), "%d", port_of(fd));
    for (n = 0; n < 16; n++) {
        fds[n] = gev_tcp_connect("127.0.0.1", port, 5);
        expect_ge(fds[n], 0);
    }
    while (n > 0) {
        expect_ok(gev_close(fds[--n]));
    }
    expect_ok(gev_close(fd));
}

GEV_TEST(udp_sockets_are_bound)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    struct sockaddr_in6 to6 = {
        .sin6_family = AF_INET6,
        .sin6_addr = IN6ADDR_LOOPBACK_INIT,
    };
    char port[16];
    char buf[8];

    int fd = gev_udp_bind(NULL, "0");
    expect_ge(fd, 0);
    test_expect_flags(fd);
    expect_int_eq(option(fd, SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
    to.sin_port = htons((uint16_t)port_of(fd));
    to6.sin6_port = to.sin_port;
    int v4 = gev_udp_bind("127.0.0.1", NULL);
    int v6 = gev_udp_bind("::1", "0");
    expect_int_eq(
        gev_sendto(v4, "ab", 2, 0, (struct sockaddr *)&to, sizeof(to)), 2);
    expect_int_eq(gev_recv(fd, buf, 8, 0), 2);
    expect_int_eq(
        gev_sendto(v6, "abc", 3, 0, (struct sockaddr *)&to6, sizeof(to6)), 3);
    expect_int_eq(gev_recv(fd, buf, 8, 0), 3);

    /* No SO_REUSEADDR here: a port cannot be taken over. */
    snprintf(port, sizeof(port), "%d", port_of(fd));
    expect_fail(gev_udp_bind(NULL, port), EADDRINUSE);
    expect_fail(gev_udp_bind("127.0.0.1", port), EADDRINUSE);
    expect_ok(gev_close(v4));
    expect_ok(gev_close(v6));
    expect_ok(gev_close(fd));
}

/* --- Unix ----------------------------------------------------------------- */

GEV_TEST(unix_listeners_listen)
{
    char path[108];

    test_make_path(path);
    int fd = gev_unix_listen(path, 0);
    expect_ge(fd, 0);
    test_expect_flags(fd);
    int client = gev_unix_connect(path, 5);
    int other = gev_accept(fd, NULL, NULL);
    expect_ge(client, 0);
    expect_ge(other, 0);
    expect_ok(gev_close(other));
    expect_ok(gev_close(client));
    expect_ok(gev_close(fd));
    expect_ok(access(path, F_OK)); /* the file stays */
    unlink(path);
}

GEV_TEST(stale_socket_files_are_replaced)
{
    char path[108];

    test_make_path(path);
    int fd = gev_unix_listen(path, 0);
    expect_ok(gev_close(fd));
    fd = gev_unix_listen(path, 0);
    expect_ge(fd, 0);
    int client = gev_unix_connect(path, 5);
    expect_ge(client, 0);
    expect_ok(gev_close(client));
    expect_ok(gev_close(fd));
    unlink(path);
}

GEV_TEST(living_listeners_are_left_alone)
{
    char path[108];

    test_make_path(path);
    int fd = gev_unix_listen(path, 1);
    expect_fail(gev_unix_listen(path, 1), EADDRINUSE);
    /* Also one that is too busy to answer. */
    int fds[8];
    int n = 0;
    while (n < 8 && (fds[n] = gev_unix_connect(path, 0)) >= 0) {
        n++;
    }
    expect_le(n, 7);
    expect_fail(gev_unix_listen(path, 1), EADDRINUSE);
    while (n > 0) {
        expect_ok(gev_close(fds[--n]));
    }
    int other = gev_accept(fd, NULL, NULL); /* it still works */
    expect_ge(other, 0);
    expect_ok(gev_close(other));
    expect_ok(gev_close(fd));
    unlink(path);
}

GEV_TEST(other_files_are_left_alone)
{
    char path[108];
    struct stat st;

    strcpy(path, "/tmp/gev-test-XXXXXX");
    int file = mkstemp(path);
    expect_int_eq(write(file, "precious", 8), 8);
    close(file);
    expect_fail(gev_unix_listen(path, 1), EADDRINUSE);
    expect_ok(stat(path, &st));
    expect_int_eq(st.st_size, 8);
    unlink(path);

    /* A datagram socket is somebody, too. */
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    test_make_path(path);
    strcpy(addr.sun_path, path);
    int dgram = gev_socket(AF_UNIX, SOCK_DGRAM, 0);
    expect_ok(bind(dgram, (struct sockaddr *)&addr, sizeof(addr)));
    expect_fail(gev_unix_listen(path, 1), EADDRINUSE);
    expect_ok(access(path, F_OK));
    expect_ok(gev_close(dgram));
    unlink(path);
}

GEV_TEST(unix_paths_are_checked)
{
    char longest[200];

    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    expect_fail(gev_unix_listen(longest, 1), ENAMETOOLONG);
    expect_fail(gev_unix_listen("", 1), ENOENT);
    expect_fail(gev_unix_listen(NULL, 1), EINVAL);
    expect_fail(gev_unix_listen("/no/such/directory/socket", 1), ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_host_is_every_address),
        cmocka_unit_test(a_host_is_that_address),
        cmocka_unit_test(taken_ports_are_told),
        cmocka_unit_test(listen_checks_its_arguments),
        cmocka_unit_test(backlogs_are_kept),
        cmocka_unit_test(udp_sockets_are_bound),
        cmocka_unit_test(unix_listeners_listen),
        cmocka_unit_test(stale_socket_files_are_replaced),
        cmocka_unit_test(living_listeners_are_left_alone),
        cmocka_unit_test(other_files_are_left_alone),
        cmocka_unit_test(unix_paths_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
