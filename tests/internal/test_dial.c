/* SPDX-License-Identifier: MIT */

/* The race of connection attempts, with lists of addresses no resolver gives
 * (SOC17, D6, RFC 8305). */
#include <gev.h>

#include "support/gev_test.h"

#include "base/clock.h"
#include "net/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define MAX 64

struct list {
    struct addrinfo ai[MAX];
    struct sockaddr_storage addr[MAX];
    int n;
};

static void add(struct list *l, const char *host, int port)
{
    struct addrinfo *ai = &l->ai[l->n];
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    *ai = (struct addrinfo){
        .ai_socktype = SOCK_STREAM,
        .ai_protocol = IPPROTO_TCP,
        .ai_addr = (struct sockaddr *)&l->addr[l->n],
    };
    if (inet_pton(AF_INET, host, &in.sin_addr) == 1) {
        in.sin_port = htons((uint16_t)port);
        ai->ai_family = AF_INET;
        ai->ai_addrlen = sizeof(in);
        memcpy(ai->ai_addr, &in, sizeof(in));
    } else {
        expect_int_eq(inet_pton(AF_INET6, host, &in6.sin6_addr), 1);
        in6.sin6_port = htons((uint16_t)port);
        ai->ai_family = AF_INET6;
        ai->ai_addrlen = sizeof(in6);
        memcpy(ai->ai_addr, &in6, sizeof(in6));
    }
    if (l->n > 0) {
        l->ai[l->n - 1].ai_next = ai;
    }
    l->n++;
}

static int port_of(int fd)
{
    struct sockaddr_storage addr;
    struct sockaddr_in in;
    socklen_t len = sizeof(addr);

    expect_ok(getsockname(fd, (struct sockaddr *)&addr, &len));
    memcpy(&in, &addr, sizeof(in));
    return ntohs(in.sin_port);
}

/* A port nobody listens on. */
static int dead_port(void)
{
    int fd = gev_tcp_listen("127.0.0.1", "0", 1);
    int port = port_of(fd);
    expect_ok(gev_close(fd));
    return port;
}

/* A listener that does not answer: its backlog is full. */
struct silent {
    int server;
    int port;
    int fds[8];
    int n;
};

static void silence(struct silent *s, const char *host)
{
    struct list l = {.n = 0};

    s->server = gev_tcp_listen(host, "0", 1);
    s->port = port_of(s->server);
    add(&l, host, s->port);
    for (s->n = 0; s->n < 8; s->n++) {
        int64_t deadline = gev__clock_now() + 30 * GEV__MS;
        int fd = gev__connect_any(gev_hub_get(), l.ai, deadline);
        if (fd < 0) {
            expect_int_eq(fd, -ETIMEDOUT);
            return;
        }
        s->fds[s->n] = fd;
    }
    expect_never("the backlog does not get full");
}

static void unsilence(struct silent *s)
{
    while (s->n > 0) {
        expect_ok(gev_close(s->fds[--s->n]));
    }
    expect_ok(gev_close(s->server));
}

static int dial(const struct list *l, double seconds)
{
    int64_t deadline = seconds == GEV_FOREVER
                           ? GEV__NEVER
                           : gev__clock_now() + gev__clock_ns(seconds);
    return gev__connect_any(gev_hub_get(), l->ai, deadline);
}

static int peer_port(int fd)
{
    struct sockaddr_storage addr;
    struct sockaddr_in in;
    socklen_t len = sizeof(addr);

    if (!expect_ok(getpeername(fd, (struct sockaddr *)&addr, &len))) {
        return -1;
    }
    memcpy(&in, &addr, sizeof(in));
    return ntohs(in.sin_port);
}

GEV_TEST(a_failure_starts_the_next_at_once)
{
    struct list l = {.n = 0};
    int server = gev_tcp_listen("127.0.0.1", "0", 5);

    add(&l, "127.0.0.1", dead_port());
    add(&l, "::1", dead_port());
    add(&l, "127.0.0.2", dead_port());
    add(&l, "127.0.0.1", port_of(server));
    double begin = test_now();
    int fd = dial(&l, 10);
    expect_ge(fd, 0);
    expect_le(test_now() - begin, 0.2);
    expect_int_eq(peer_port(fd), port_of(server));
    expect_ok(gev_close(fd));
    expect_ok(gev_close(server));
}

GEV_TEST(silence_starts_the_next_after_a_delay)
{
    struct list l = {.n = 0};
    struct silent s;
    int server = gev_tcp_listen("127.0.0.1", "0", 5);

    silence(&s, "127.0.0.1");
    add(&l, "127.0.0.1", s.port);
    add(&l, "127.0.0.1", port_of(server));
    double begin = test_now();
    int fd = dial(&l, 10);
    expect_ge(test_now() - begin, 0.25);
    expect_le(test_now() - begin, 0.25 + test_scale(0.5));
    expect_ge(fd, 0);
    expect_int_eq(peer_port(fd), port_of(server));
    expect_ok(gev_close(fd));
    expect_ok(gev_close(server));
    unsilence(&s);
}

/* Both of the first family are silent: the other family's turn comes second,
 * not third. */
GEV_TEST(families_take_turns)
{
    struct list l = {.n = 0};
    struct silent a;
    struct silent b;
    int server = gev_tcp_listen("127.0.0.1", "0", 5);

    silence(&a, "::1");
    silence(&b, "::1");
    add(&l, "::1", a.port);
    add(&l, "::1", b.port);
    add(&l, "127.0.0.1", port_of(server));
    double begin = test_now();
    int fd = dial(&l, 10);
    expect_ge(fd, 0);
    expect_ge(test_now() - begin, 0.25);
    expect_le(test_now() - begin, 0.49);
    expect_ok(gev_close(fd));
    expect_ok(gev_close(server));
    unsilence(&a);
    unsilence(&b);
}

static void *make_room(void *arg)
{
    struct silent *s = arg;

    for (int i = 0; i < 2; i++) {
        int fd = gev_accept(s->server, NULL, NULL);
        if (expect_ge(fd, 0)) {
            s->fds[s->n++] = fd;
        }
    }
    return NULL;
}

/* The first answers after all (the kernel asks again after a second), when the
 * second one has begun. */
GEV_TEST(earlier_attempts_stay_in_the_race)
{
    struct list l = {.n = 0};
    struct silent a;
    struct silent b;

    silence(&a, "127.0.0.1");
    silence(&b, "127.0.0.1");
    add(&l, "127.0.0.1", a.port);
    add(&l, "127.0.0.1", b.port);
    gev_greenlet *g = gev_spawn_later(0.3, make_room, &a);
    double begin = test_now();
    int fd = dial(&l, 30);
    expect_ge(fd, 0);
    expect_ge(test_now() - begin, 0.3);
    expect_int_eq(peer_port(fd), a.port);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_ok(gev_close(fd));
    unsilence(&a);
    unsilence(&b);
}

/* D6 */
GEV_TEST(if_all_fail_it_is_told_at_once)
{
    struct list l = {.n = 0};
    int port = dead_port();

    for (int i = 0; i < MAX; i++) {
        add(&l, i % 3 == 0 ? "::1" : "127.0.0.1", port);
    }
    double begin = test_now();
    expect_int_eq(dial(&l, 30), -ECONNREFUSED);
    expect_le(test_now() - begin, test_scale(0.5));
}

GEV_TEST(the_first_real_error_is_told)
{
    struct list l = {.n = 0};

    add(&l, "255.255.255.255", 9); /* no TCP route to there */
    expect_int_eq(dial(&l, 5), -ENETUNREACH);
    add(&l, "127.0.0.1", dead_port());
    expect_int_eq(dial(&l, 5), -ECONNREFUSED);
    add(&l, "255.255.255.255", 9);
    expect_int_eq(dial(&l, 5), -ECONNREFUSED);
}

GEV_TEST(the_deadline_is_for_all)
{
    struct list l = {.n = 0};
    struct silent s;

    silence(&s, "127.0.0.1");
    add(&l, "127.0.0.1", s.port);
    add(&l, "127.0.0.1", s.port);
    add(&l, "127.0.0.1", s.port);
    double begin = test_now();
    expect_int_eq(dial(&l, 0.3), -ETIMEDOUT); /* two have begun */
    expect_ge(test_now() - begin, 0.3);
    expect_le(test_now() - begin, 0.3 + test_scale(0.2));
    unsilence(&s);
}

struct call {
    const struct list *list;
    int rc;
};

static void *do_dial(void *arg)
{
    struct call *c = arg;
    c->rc = dial(c->list, GEV_FOREVER);
    return NULL;
}

/* Descriptors left open show in the balance after the test. */
GEV_TEST(a_kill_leaves_nothing_open)
{
    struct list l = {.n = 0};
    struct silent s;

    silence(&s, "127.0.0.1");
    add(&l, "127.0.0.1", s.port);
    add(&l, "127.0.0.1", s.port);
    struct call c = {.list = &l};
    gev_greenlet *g = gev_spawn(do_dial, &c);
    expect_ok(gev_sleep(0.28)); /* two are under way */
    expect_false(gev_dead(g));
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(c.rc, -ECANCELED);
    gev_unref(g);
    unsilence(&s);
}

GEV_TEST(without_time_one_try_is_made)
{
    struct list l = {.n = 0};
    int server = gev_tcp_listen("127.0.0.1", "0", 5);

    add(&l, "127.0.0.1", dead_port());
    add(&l, "127.0.0.1", port_of(server));
    int fd = gev__connect_any(gev_hub_get(), l.ai, 0);
    expect_ge(fd, 0);
    expect_ok(gev_close(fd));
    expect_ok(gev_close(server));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_starts_the_next_at_once),
        cmocka_unit_test(silence_starts_the_next_after_a_delay),
        cmocka_unit_test(families_take_turns),
        cmocka_unit_test(earlier_attempts_stay_in_the_race),
        cmocka_unit_test(if_all_fail_it_is_told_at_once),
        cmocka_unit_test(the_first_real_error_is_told),
        cmocka_unit_test(the_deadline_is_for_all),
        cmocka_unit_test(a_kill_leaves_nothing_open),
        cmocka_unit_test(without_time_one_try_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
