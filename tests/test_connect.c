/* SPDX-License-Identifier: MIT */

/* gev_tcp_connect and gev_unix_connect (SOC8, SOC17, N8). */
#include <gev.h>

#include "support/dns_server.h"
#include "support/gev_test.h"
#include "support/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A listener and its port as text. */
static int listener(const char *host, int backlog, char port[8])
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    int fd = gev_tcp_listen(host, "0", backlog);

    expect_ge(fd, 0);
    expect_ok(getsockname(fd, (struct sockaddr *)&addr, &len));
    /* The port is at the same place in both families. */
    struct sockaddr_in in;
    memcpy(&in, &addr, sizeof(in));
    snprintf(port, 8, "%u", ntohs(in.sin_port));
    return fd;
}

/* Somebody who is asked at 127.0.0.1 but does not answer: the backlog is full.
 */
struct silent {
    int server;
    int fds[8];
    int n;
    char port[8];
};

static void silence(struct silent *s)
{
    s->server = listener("127.0.0.1", 1, s->port);
    for (s->n = 0; s->n < 8; s->n++) {
        int fd = gev_tcp_connect("127.0.0.1", s->port, 0.05);
        if (fd < 0) {
            expect_int_eq(errno, ETIMEDOUT);
            return;
        }
        s->fds[s->n] = fd;
    }
    expect_never("the backlog does not get full");
}

static void unsilence(struct silent *s)
{
    for (int i = 0; i < s->n; i++) {
        expect_ok(gev_close(s->fds[i]));
    }
    expect_ok(gev_close(s->server));
}

struct call {
    const char *host;
    const char *port;
    int rc;
    int error;
};

static void *do_connect(void *arg)
{
    struct call *c = arg;
    c->rc = gev_tcp_connect(c->host, c->port, GEV_FOREVER);
    c->error = errno;
    return NULL;
}

/* --- TCP ------------------------------------------------------------------ */

static void expect_connection(int fd, int server)
{
    char buf[8];

    if (!expect_ge(fd, 0)) {
        return;
    }
    expect_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    expect_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    int other = gev_accept(server, NULL, NULL);
    expect_int_eq(gev_send(fd, "abc", 3, 0), 3);
    expect_int_eq(gev_recv(other, buf, 8, 0), 3);
    expect_ok(gev_close(fd));
    expect_int_eq(gev_recv(other, buf, 8, 0), 0);
    expect_ok(gev_close(other));
}

GEV_TEST(names_and_numbers_are_connected_to)
{
    char port[8];
    int server = listener(NULL, 5, port);

    expect_connection(gev_tcp_connect("127.0.0.1", port, 5), server);
    expect_connection(gev_tcp_connect("::1", port, 5), server);
    expect_connection(gev_tcp_connect("localhost", port, 5), server);
    expect_connection(gev_tcp_connect(NULL, port, GEV_FOREVER), server);
    expect_ok(gev_close(server));
}

GEV_TEST(refusal_is_told_at_once)
{
    char port[8];
    int server = listener(NULL, 5, port);

    expect_ok(gev_close(server));
    double begin = test_now();
    expect_fail(gev_tcp_connect("127.0.0.1", port, 30), ECONNREFUSED);
    expect_fail(gev_tcp_connect("::1", port, 30), ECONNREFUSED);
    expect_fail(gev_tcp_connect("localhost", port, 30), ECONNREFUSED);
    expect_le(test_now() - begin, test_scale(2));
}

GEV_TEST(silence_ends_by_timeout)
{
    struct silent s;
    gev_timeout t = {0};

    silence(&s);
    double begin = test_now();
    expect_fail(gev_tcp_connect("127.0.0.1", s.port, 0.03), ETIMEDOUT);
    expect_ge(test_now() - begin, 0.03);
    expect_ok(gev_timeout_begin_error(&t, 0.01, EDOM));
    expect_fail(gev_tcp_connect("127.0.0.1", s.port, 30), EDOM);
    gev_timeout_end(&t);
    expect_fail(gev_tcp_connect("127.0.0.1", s.port, 0), ETIMEDOUT);
    expect_fail(gev_tcp_connect("127.0.0.1", s.port, -1), ETIMEDOUT);
    unsilence(&s);
}

GEV_TEST(connecting_can_be_killed)
{
    struct silent s;

    silence(&s);
    struct call c = {.host = "127.0.0.1", .port = s.port};
    gev_greenlet *g = gev_spawn(do_connect, &c);
    expect_ok(gev_sleep(0.005));
    expect_false(gev_dead(g));
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(c.rc, -1);
    expect_int_eq(c.error, ECANCELED);
    gev_unref(g);
    unsilence(&s);
}

/* "Tries once": on loopback one try is enough. */
GEV_TEST(without_time_it_tries_once)
{
    char port[8];
    int server = listener("127.0.0.1", 5, port);

    expect_connection(gev_tcp_connect("127.0.0.1", port, 0), server);
    expect_ok(gev_close(server));
}

GEV_TEST(connect_checks_its_arguments)
{
    expect_fail(gev_tcp_connect("127.0.0.1", "80", NAN), EINVAL);
    expect_fail(gev_tcp_connect("127.0.0.1", "no-such-service", 5),
                GEV_EAI(EAI_SERVICE));
    expect_fail(gev_tcp_connect("127.0.0.1", "65536", 5), GEV_EAI(EAI_SERVICE));
    expect_fail(gev_tcp_connect(NULL, NULL, 5), GEV_EAI(EAI_NONAME));
}

GEV_TEST(names_that_do_not_resolve_have_a_code)
{
    static const struct dns_rule rules[] = {
        {.name = "slow.test", .mood = DNS_SILENT},
        {.name = "*", .mood = DNS_NXDOMAIN},
        {0},
    };
    struct dns_server *dns = dns_server_start(rules);

    dns_server_use(dns, 5, 2);
    expect_fail(gev_tcp_connect("nowhere.test", "80", 10), GEV_EAI(EAI_NONAME));
    expect_true(strlen(gev_strerror(GEV_EAI(EAI_NONAME))) > 0);
    /* The time covers the look-up, too. */
    double begin = test_now();
    expect_fail(gev_tcp_connect("slow.test", "80", 0.02), ETIMEDOUT);
    expect_ge(test_now() - begin, 0.02);
    expect_le(test_now() - begin, test_scale(1));
    struct call c = {.host = "slow.test", .port = "80"};
    gev_greenlet *g = gev_spawn(do_connect, &c);
    expect_ok(gev_sleep(0.005));
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(c.rc, -1);
    expect_int_eq(c.error, ECANCELED);
    gev_unref(g);
    expect_ok(gev_hub_close());
    dns_server_stop(dns);
}

/* --- Unix ----------------------------------------------------------------- */

GEV_TEST(unix_sockets_are_connected_to)
{
    char path[108];

    test_make_path(path);
    expect_fail(gev_unix_connect(path, 5), ENOENT);
    int server = gev_unix_listen(path, 5);
    expect_ge(server, 0);
    expect_connection(gev_unix_connect(path, 5), server);
    expect_connection(gev_unix_connect(path, 0), server);
    expect_ok(gev_close(server));
    expect_fail(gev_unix_connect(path, 5), ECONNREFUSED);
    unlink(path);
}

struct acceptor {
    int server;
    int fd;
};

static void *accept_later(void *arg)
{
    struct acceptor *a = arg;
    expect_ok(gev_sleep(0.01));
    a->fd = gev_accept(a->server, NULL, NULL);
    return NULL;
}

GEV_TEST(full_unix_backlogs_park_until_the_timeout)
{
    char path[108];
    int fds[16];
    int n = 0;

    test_make_path(path);
    struct acceptor a = {.server = gev_unix_listen(path, 1)};
    while (n < 16 && (fds[n] = gev_unix_connect(path, 0)) >= 0) {
        n++;
    }
    expect_le(n, 15);
    expect_int_eq(errno, ETIMEDOUT);
    double begin = test_now();
    expect_fail(gev_unix_connect(path, 0.03), ETIMEDOUT);
    expect_ge(test_now() - begin, 0.03);
    gev_timeout t = {0};
    expect_ok(gev_timeout_begin(&t, 0.01));
    expect_fail(gev_unix_connect(path, 10), ETIMEDOUT);
    expect_true(gev_timeout_end(&t));
    gev_greenlet *g = gev_spawn(accept_later, &a);
    int fd = gev_unix_connect(path, 10);
    expect_ge(fd, 0);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_ok(gev_close(fd));
    expect_ok(gev_close(a.fd));
    for (int i = 0; i < n; i++) {
        expect_ok(gev_close(fds[i]));
    }
    expect_ok(gev_close(a.server));
    unlink(path);
}

GEV_TEST(unix_paths_are_checked)
{
    char longest[200];

    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    expect_fail(gev_unix_connect(longest, 1), ENAMETOOLONG);
    longest[sizeof(((struct sockaddr_un *)0)->sun_path)] = '\0';
    expect_fail(gev_unix_connect(longest, 1), ENAMETOOLONG);
    longest[sizeof(((struct sockaddr_un *)0)->sun_path) - 1] = '\0';
    expect_fail(gev_unix_connect(longest, 1), ENOENT);
    expect_fail(gev_unix_connect("", 1), ENOENT);
    expect_fail(gev_unix_connect(NULL, 1), EINVAL);
    expect_fail(gev_unix_connect("/tmp", NAN), EINVAL);
    expect_fail(gev_unix_connect("/tmp", 1), ECONNREFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_numbers_are_connected_to),
        cmocka_unit_test(refusal_is_told_at_once),
        cmocka_unit_test(silence_ends_by_timeout),
        cmocka_unit_test(connecting_can_be_killed),
        cmocka_unit_test(without_time_it_tries_once),
        cmocka_unit_test(connect_checks_its_arguments),
        cmocka_unit_test(names_that_do_not_resolve_have_a_code),
        cmocka_unit_test(unix_sockets_are_connected_to),
        cmocka_unit_test(full_unix_backlogs_park_until_the_timeout),
        cmocka_unit_test(unix_paths_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
