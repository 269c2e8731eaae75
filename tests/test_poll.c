/* SPDX-License-Identifier: MIT */

/* gev_poll and gev_select (SEL1, SEL2, SEL3). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct later {
    int fd;
    const char *what; /* "write", "close", "cancel", "close and reuse" */
};

static void *do_later(void *arg)
{
    const struct later *l = arg;

    if (strcmp(l->what, "write") == 0) {
        expect_int_eq(gev_write(l->fd, "a", 1), 1);
    } else if (strcmp(l->what, "cancel") == 0) {
        expect_ge(gev_cancel_wait(l->fd, EIO), 1);
    } else {
        expect_ok(gev_close(l->fd));
    }
    if (strcmp(l->what, "close and reuse") == 0) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        expect_int_eq(fd, l->fd);
    }
    return NULL;
}

static gev_greenlet *later(struct later *l)
{
    return gev_spawn_later(0.002, do_later, l);
}

/* --- poll ----------------------------------------------------------------- */

GEV_TEST(ready_descriptors_are_told_at_once)
{
    int fds[2];
    test_pair(SOCK_STREAM, fds);
    struct pollfd p[2] = {{fds[0], POLLIN | POLLOUT, 0}, {fds[1], POLLIN, 0}};

    uint64_t before = test_switches();
    expect_int_eq(gev_poll(p, 2, -1), 1);
    expect_int_eq(p[0].revents, POLLOUT);
    expect_int_eq(p[1].revents, 0);
    expect_int_eq(gev_write(fds[0], "a", 1), 1);
    expect_int_eq(gev_poll(p, 2, 0), 2);
    expect_int_eq(p[1].revents, POLLIN);
    expect_uint_eq(test_switches(), before);
    test_close_both(fds);
}

GEV_TEST(zero_does_not_park)
{
    int fds[2];
    test_pair(SOCK_STREAM, fds);
    struct pollfd p = {fds[0], POLLIN, 99};

    uint64_t before = test_switches();
    expect_int_eq(gev_poll(&p, 1, 0), 0);
    expect_int_eq(p.revents, 0);
    expect_int_eq(gev_poll(NULL, 0, 0), 0);
    expect_uint_eq(test_switches(), before);
    test_close_both(fds);
}

GEV_TEST(poll_parks_until_something_comes)
{
    int fds[3][2];
    struct pollfd p[3];

    for (int i = 0; i < 3; i++) {
        test_pair(SOCK_STREAM, fds[i]);
        p[i] = (struct pollfd){fds[i][0], POLLIN, 0};
    }
    struct later l = {fds[1][1], "write"};
    gev_greenlet *g = later(&l);
    expect_int_eq(gev_poll(p, 3, -1), 1);
    expect_int_eq(p[0].revents, 0);
    expect_int_eq(p[1].revents, POLLIN);
    expect_int_eq(p[2].revents, 0);
    test_join(g);
    for (int i = 0; i < 3; i++) {
        test_close_both(fds[i]);
    }
}

GEV_TEST(poll_times_out_without_an_error)
{
    int fds[2];
    test_pair(SOCK_STREAM, fds);
    struct pollfd p = {fds[0], POLLIN, 0};

    errno = EDOM;
    double begin = test_now();
    expect_int_eq(gev_poll(&p, 1, 20), 0);
    expect_ge(test_now() - begin, 0.020);
    expect_int_eq(p.revents, 0);
    expect_int_eq(errno, EDOM);
    begin = test_now();
    expect_int_eq(gev_poll(NULL, 0, 10), 0); /* a sleep */
    expect_ge(test_now() - begin, 0.010);
    test_close_both(fds);
}

GEV_TEST(poll_obeys_scopes_and_kills)
{
    int fds[2];
    test_pair(SOCK_STREAM, fds);
    struct pollfd p = {fds[0], POLLIN, 0};
    gev_timeout t = {0};

    expect_ok(gev_timeout_begin(&t, 0.005));
    expect_fail(gev_poll(&p, 1, -1), ETIMEDOUT);
    expect_fail(gev_poll(&p, 1, 10000), ETIMEDOUT);
    expect_int_eq(gev_poll(&p, 1, 0), 0); /* does not park */
    expect_true(gev_timeout_end(&t));
    expect_fail(gev_kill(gev_current(), 0), ECANCELED);
    expect_fail(gev_poll(&p, 1, -1), ECANCELED);
    p.events = POLLOUT;
    expect_int_eq(gev_poll(&p, 1, -1), 1);
    expect_int_eq(gev_uncancel(), ECANCELED);
    p.events = POLLIN;
    struct later l = {fds[0], "cancel"};
    gev_greenlet *g = later(&l);
    expect_fail(gev_poll(&p, 1, -1), EIO);
    test_join(g);
    test_close_both(fds);
}

GEV_TEST(closed_and_negative_descriptors_follow_posix)
{
    int fds[2];
    test_pair(SOCK_STREAM, fds);
    test_close_both(fds);
    struct pollfd p[2] = {{fds[0], POLLIN, 0}, {-1, POLLIN, 99}};

    expect_int_eq(gev_poll(p, 2, -1), 1);
    expect_int_eq(p[0].revents, POLLNVAL);
    expect_int_eq(p[1].revents, 0);
    p[0].fd = -5;
    expect_int_eq(gev_poll(p, 2, 5), 0);
}

/* SEL3: whatever the number is by then. */
GEV_TEST(close_under_poll_is_pollnval)
{
    const char *const what[] = {"close", "close and reuse"};
    int fds[2][2];
    struct pollfd p[2];

    for (int i = 0; i < 4; i++) {
        test_pair(SOCK_STREAM, fds[0]);
        test_pair(SOCK_STREAM, fds[1]);
        /* Watched in the plain way, then by a set. */
        p[0] = (struct pollfd){fds[0][0], i < 2 ? POLLIN : POLLPRI, 0};
        p[1] = (struct pollfd){fds[1][0], POLLIN, 0};
        struct later l = {fds[0][0], what[i % 2]};
        gev_greenlet *g = later(&l);
        expect_int_eq(gev_poll(p, 2, 10000), 1);
        expect_int_eq(p[0].revents, POLLNVAL);
        expect_int_eq(p[1].revents, 0);
        test_join(g);
        if (i % 2 == 1) {
            close(fds[0][0]);
        }
        expect_ok(gev_close(fds[0][1]));
        test_close_both(fds[1]);
    }
}

GEV_TEST(hang_ups_and_errors_are_told_unasked)
{
    int fds[2];
    struct pollfd p;

    expect_ok(gev_pipe(fds));
    p = (struct pollfd){fds[0], POLLIN, 0};
    struct later l = {fds[1], "close"};
    gev_greenlet *g = later(&l);
    expect_int_eq(gev_poll(&p, 1, -1), 1);
    expect_int_eq(p.revents, POLLHUP);
    test_join(g);
    expect_ok(gev_close(fds[0]));

    expect_ok(gev_pipe(fds));
    p = (struct pollfd){fds[1], 0, 0}; /* nothing asked for at all */
    l = (struct later){fds[0], "close"};
    g = later(&l);
    expect_int_eq(gev_poll(&p, 1, 10000), 1);
    expect_int_eq(p.revents, POLLERR);
    test_join(g);
    expect_ok(gev_close(fds[1]));
}

/* Readable all the time, but asked only for the hang-up: no spinning. */
GEV_TEST(lone_hang_ups_do_not_spin)
{
    int fds[2];
    test_pair(SOCK_STREAM, fds);
    struct pollfd p = {fds[0], POLLRDHUP, 0};

    expect_int_eq(gev_write(fds[1], "a", 1), 1);
    uint64_t before = test_turns();
    expect_int_eq(gev_poll(&p, 1, 30), 0);
    expect_le(test_turns() - before, 20);
    struct later l = {fds[1], "close"};
    gev_greenlet *g = later(&l);
    expect_int_eq(gev_poll(&p, 1, -1), 1);
    expect_true((p.revents & POLLRDHUP) != 0);
    test_join(g);
    /* The same in company, and twice. */
    int more[2];
    test_pair(SOCK_STREAM, more);
    struct pollfd q[4] = {{more[0], POLLRDHUP, 0},
                          {more[0], POLLIN, 0},
                          {-1, POLLIN, 0},
                          {more[1], POLLPRI, 0}};
    l = (struct later){more[1], "write"};
    g = later(&l);
    expect_int_eq(gev_poll(q, 4, 10000), 1);
    expect_int_eq(q[0].revents, 0);
    expect_int_eq(q[1].revents, POLLIN);
    test_join(g);
    test_close_both(more);
    expect_ok(gev_close(fds[0]));
}

GEV_TEST(files_are_always_ready)
{
    char path[] = "/tmp/gev-test-XXXXXX";
    int fd = mkstemp(path);
    unlink(path);
    struct pollfd p = {fd, POLLIN | POLLOUT, 0};

    expect_int_eq(gev_poll(&p, 1, -1), 1);
    expect_int_eq(p.revents, POLLIN | POLLOUT);
    p.events = POLLPRI; /* which a file never has */
    uint64_t before = test_turns();
    expect_int_eq(gev_poll(&p, 1, 20), 0);
    expect_le(test_turns() - before, 20);
    close(fd);
}

GEV_TEST(poll_leaves_the_mode_alone)
{
    int fds[2];
    test_socketpair(fds);
    struct pollfd p = {fds[0], POLLIN, 0};

    struct later l = {fds[1], "write"};
    gev_greenlet *g = later(&l);
    expect_int_eq(gev_poll(&p, 1, -1), 1);
    test_join(g);
    expect_true((fcntl(fds[0], F_GETFL) & O_NONBLOCK) == 0);
    close(fds[0]);
    close(fds[1]);
}

/* Another library's descriptors come and go by close(2). */
GEV_TEST(foreign_numbers_are_watched_anew)
{
    for (int i = 0; i < 20; i++) {
        int fds[2];
        test_socketpair(fds);
        struct pollfd p = {fds[0], POLLIN, 0};
        struct later l = {fds[1], "write"};
        gev_greenlet *g = later(&l);
        expect_int_eq(gev_poll(&p, 1, 10000), 1);
        test_join(g);
        close(fds[0]);
        close(fds[1]);
    }
}

#define MANY 500

GEV_TEST(many_descriptors_are_polled)
{
    static int fds[MANY][2];
    static struct pollfd p[MANY];
    struct rlimit limit;
    int want = MANY;

    expect_ok(getrlimit(RLIMIT_NOFILE, &limit));
    if (limit.rlim_cur < 2 * MANY + 100) {
        want = (int)(limit.rlim_cur / 2) - 50;
    }
    for (int i = 0; i < want; i++) {
        test_pair(SOCK_STREAM, fds[i]);
        p[i] = (struct pollfd){fds[i][0], POLLIN, 0};
    }
    expect_int_eq(gev_poll(p, (nfds_t)want, 5), 0);
    struct later l = {fds[want - 1][1], "write"};
    gev_greenlet *g = later(&l);
    expect_int_eq(gev_poll(p, (nfds_t)want, -1), 1);
    expect_int_eq(p[want - 1].revents, POLLIN);
    test_join(g);
    for (int i = 0; i < want; i++) {
        test_close_both(fds[i]);
    }
}

/* Several greenlets poll one descriptor. */
static void *poll_and_read(void *arg)
{
    int *left = arg;
    struct pollfd p = {left[0], POLLIN, 0};
    char c;

    while (left[1] > 0) {
        if (gev_poll(&p, 1, 10000) == 1 &&
            gev_recv(left[0], &c, 1, MSG_DONTWAIT) == 1) {
            left[1]--;
        }
        if (left[1] == 0) {
            gev_shutdown(left[0], SHUT_RDWR); /* the others see the end */
        }
    }
    return NULL;
}

GEV_TEST(pollers_share_a_descriptor)
{
    int fds[2];
    gev_greenlet *g[3];

    test_pair(SOCK_STREAM, fds);
    int left[2] = {fds[0], 50};
    for (int i = 0; i < 3; i++) {
        g[i] = gev_spawn(poll_and_read, left);
    }
    for (int i = 0; i < 50; i++) {
        expect_int_eq(gev_write(fds[1], "a", 1), 1);
        expect_ok(gev_sleep(0));
    }
    for (int i = 0; i < 3; i++) {
        test_join(g[i]);
    }
    expect_int_eq(left[1], 0);
    test_close_both(fds);
}

/* --- select --------------------------------------------------------------- */

GEV_TEST(select_tells_what_is_ready)
{
    int fds[2];
    fd_set r;
    fd_set w;
    fd_set x;
    test_pair(SOCK_STREAM, fds);
    int n = (fds[0] > fds[1] ? fds[0] : fds[1]) + 1;

    FD_ZERO(&r);
    FD_ZERO(&w);
    FD_ZERO(&x);
    FD_SET(fds[0], &r);
    FD_SET(fds[1], &r);
    FD_SET(fds[0], &w);
    FD_SET(fds[0], &x);
    expect_int_eq(gev_select(n, &r, &w, &x, NULL), 1);
    expect_false(FD_ISSET(fds[0], &r));
    expect_false(FD_ISSET(fds[1], &r));
    expect_true(FD_ISSET(fds[0], &w));
    expect_false(FD_ISSET(fds[0], &x));

    FD_SET(fds[0], &r);
    struct later l = {fds[1], "write"};
    gev_greenlet *g = later(&l);
    struct timeval tv = {10, 0};
    expect_int_eq(gev_select(n, &r, NULL, NULL, &tv), 1);
    expect_true(FD_ISSET(fds[0], &r));
    expect_int_eq(tv.tv_sec, 10); /* not changed */
    test_join(g);
    FD_SET(fds[0], &w);
    expect_int_eq(gev_select(n, &r, &w, NULL, &tv), 2);
    test_close_both(fds);
}

GEV_TEST(select_times_out)
{
    int fds[2];
    fd_set r;
    fd_set x;
    test_pair(SOCK_STREAM, fds);
    FD_ZERO(&r);
    FD_ZERO(&x);
    FD_SET(fds[0], &r);
    FD_SET(fds[1], &x);

    struct timeval tv = {0, 20000};
    double begin = test_now();
    uint64_t turned = test_turns();
    expect_int_eq(gev_select(FD_SETSIZE, &r, NULL, &x, &tv), 0);
    expect_ge(test_now() - begin, 0.020);
    expect_le(test_turns() - turned, 20);
    expect_false(FD_ISSET(fds[0], &r));
    expect_false(FD_ISSET(fds[1], &x));

    tv = (struct timeval){0, 0};
    uint64_t before = test_switches();
    FD_SET(fds[0], &r);
    expect_int_eq(gev_select(fds[0] + 1, &r, NULL, NULL, &tv), 0);
    expect_uint_eq(test_switches(), before);
    tv = (struct timeval){0, 5000};
    begin = test_now();
    expect_int_eq(gev_select(0, NULL, NULL, NULL, &tv), 0); /* a sleep */
    expect_ge(test_now() - begin, 0.005);
    test_close_both(fds);
}

GEV_TEST(select_checks_its_arguments)
{
    int fds[2];
    fd_set r;
    FD_ZERO(&r);
    struct timeval tv = {0, 0};

    expect_fail(gev_select(FD_SETSIZE + 1, &r, NULL, NULL, &tv), EINVAL);
    expect_fail(gev_select(-1, &r, NULL, NULL, &tv), EINVAL);
    tv = (struct timeval){-1, 0};
    expect_fail(gev_select(0, NULL, NULL, NULL, &tv), EINVAL);
    tv = (struct timeval){0, -1};
    expect_fail(gev_select(0, NULL, NULL, NULL, &tv), EINVAL);

    test_pair(SOCK_STREAM, fds);
    test_close_both(fds);
    FD_SET(fds[0], &r);
    expect_fail(gev_select(fds[0] + 1, &r, NULL, NULL, NULL), EBADF);
    expect_true(FD_ISSET(fds[0], &r)); /* untouched */
    test_pair(SOCK_STREAM, fds);
    struct later l = {fds[0], "close"};
    gev_greenlet *g = later(&l);
    expect_fail(gev_select(fds[0] + 1, &r, NULL, NULL, NULL), EBADF);
    expect_true(FD_ISSET(fds[0], &r));
    test_join(g);
    expect_ok(gev_close(fds[1]));
}

/* F15: a set has no room for such a number, nor is it ever looked at. */
GEV_TEST(select_does_not_overrun_its_sets)
{
    struct {
        long before[16];
        fd_set set;
        long after[16];
    } s;

    memset(&s, 0x55, sizeof(s));
    FD_ZERO(&s.set);
    struct timeval tv = {0, 1000};
    expect_int_eq(gev_select(FD_SETSIZE, &s.set, NULL, NULL, &tv), 0);
    expect_fail(gev_select(FD_SETSIZE * 2, &s.set, &s.set, &s.set, &tv),
                EINVAL);
    for (int i = 0; i < 16; i++) {
        expect_true(s.before[i] == 0x5555555555555555);
        expect_true(s.after[i] == 0x5555555555555555);
    }
}

GEV_TEST(select_tells_urgent_data)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof(addr);
    fd_set x;
    int server = gev_tcp_listen("127.0.0.1", "0", 1);

    expect_ok(getsockname(server, (struct sockaddr *)&addr, &len));
    int fd = gev_socket(AF_INET, SOCK_STREAM, 0);
    expect_ok(gev_connect(fd, (struct sockaddr *)&addr, len));
    int other = gev_accept(server, NULL, NULL);
    FD_ZERO(&x);
    FD_SET(other, &x);
    expect_int_eq(gev_send(fd, "!", 1, MSG_OOB), 1);
    struct timeval tv = {10, 0};
    expect_int_eq(gev_select(other + 1, NULL, NULL, &x, &tv), 1);
    expect_true(FD_ISSET(other, &x));
    expect_ok(gev_close(fd));
    expect_ok(gev_close(other));
    expect_ok(gev_close(server));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ready_descriptors_are_told_at_once),
        cmocka_unit_test(zero_does_not_park),
        cmocka_unit_test(poll_parks_until_something_comes),
        cmocka_unit_test(poll_times_out_without_an_error),
        cmocka_unit_test(poll_obeys_scopes_and_kills),
        cmocka_unit_test(closed_and_negative_descriptors_follow_posix),
        cmocka_unit_test(close_under_poll_is_pollnval),
        cmocka_unit_test(hang_ups_and_errors_are_told_unasked),
        cmocka_unit_test(lone_hang_ups_do_not_spin),
        cmocka_unit_test(files_are_always_ready),
        cmocka_unit_test(poll_leaves_the_mode_alone),
        cmocka_unit_test(foreign_numbers_are_watched_anew),
        cmocka_unit_test(many_descriptors_are_polled),
        cmocka_unit_test(pollers_share_a_descriptor),
        cmocka_unit_test(select_tells_what_is_ready),
        cmocka_unit_test(select_times_out),
        cmocka_unit_test(select_checks_its_arguments),
        cmocka_unit_test(select_does_not_overrun_its_sets),
        cmocka_unit_test(select_tells_urgent_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
