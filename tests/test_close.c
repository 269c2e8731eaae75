/* SPDX-License-Identifier: MIT */

/* gev_close: who waits is woken, and a number's next descriptor is a stranger
 * to the last one (SOC11, SOC25, F1, F2, F3, F14). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a greenlet does with a descriptor, and how that ended. */
struct user {
    int fd;
    long rc;
    int error;
    gev_greenlet *g;
};

static void *do_recv(void *arg)
{
    struct user *u = arg;
    char buf[64];
    u->rc = gev_recv(u->fd, buf, sizeof(buf), 0);
    u->error = errno;
    return NULL;
}

static void *do_send(void *arg)
{
    struct user *u = arg;
    static char big[1 << 20];
    while ((u->rc = gev_send(u->fd, big, sizeof(big), 0)) > 0) {
    }
    u->error = errno;
    return NULL;
}

static void *do_wait(void *arg)
{
    struct user *u = arg;
    u->rc = gev_wait_fd(u->fd, GEV_READ, GEV_FOREVER);
    u->error = errno;
    return NULL;
}

static void *do_accept(void *arg)
{
    struct user *u = arg;
    u->rc = gev_accept(u->fd, NULL, NULL);
    u->error = errno;
    return NULL;
}

static void start(struct user *u, gev_fn fn, int fd)
{
    *u = (struct user){.fd = fd, .rc = -99};
    u->g = gev_spawn(fn, u);
}

static void finish(struct user *u)
{
    expect_ok(gev_join(u->g, 10));
    gev_unref(u->g);
}

static void expect_closed(struct user *u)
{
    finish(u);
    expect_int_eq(u->rc, -1);
    expect_int_eq(u->error, EBADF);
}

/* HUB7, OS8 */
GEV_TEST(close_wakes_all_who_wait)
{
    int fds[2];
    struct user u[5];

    test_pair(SOCK_STREAM, fds);
    start(&u[0], do_recv, fds[0]);
    start(&u[1], do_recv, fds[0]);
    start(&u[2], do_send, fds[0]);
    start(&u[3], do_send, fds[0]);
    start(&u[4], do_wait, fds[0]);
    expect_ok(gev_sleep(0.002));
    for (int i = 0; i < 5; i++) {
        expect_int_eq(u[i].rc, i == 2 || i == 3 ? u[i].rc : -99);
        expect_false(gev_dead(u[i].g));
    }
    expect_ok(gev_close(fds[0]));
    expect_fail(gev_close(fds[0]), EBADF);
    for (int i = 0; i < 5; i++) {
        expect_closed(&u[i]);
    }
    expect_ok(gev_close(fds[1]));

    int server = gev_tcp_listen("127.0.0.1", "0", 5);
    start(&u[0], do_accept, server);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_close(server));
    expect_closed(&u[0]);
}

/* The error is for that call only: the number's next descriptor is fresh. */
GEV_TEST(close_is_forgotten)
{
    int fds[2];
    int again[2];
    struct user u;
    char buf[8];

    test_pair(SOCK_STREAM, fds);
    expect_ok(gev_settimeout(fds[0], 0));
    expect_fail(gev_recv(fds[0], buf, 8, 0), EAGAIN);
    test_close_both(fds);
    test_pair(SOCK_STREAM, again);
    expect_int_eq(again[0], fds[0]);
    start(&u, do_recv, again[0]);
    expect_ok(gev_sleep(0.001));
    expect_false(gev_dead(u.g)); /* no timeout of 0, and no EBADF */
    expect_int_eq(gev_send(again[1], "ab", 2, 0), 2);
    finish(&u);
    expect_int_eq(u.rc, 2);
    test_close_both(again);
}

GEV_TEST(close_works_in_a_killed_greenlet)
{
    int fds[2];

    test_pair(SOCK_STREAM, fds);
    expect_fail(gev_kill(gev_current(), 0), ECANCELED);
    test_close_both(fds);
    expect_int_eq(gev_uncancel(), ECANCELED);
}

static void close_in_callback(void *arg)
{
    const int *fd = arg;
    expect_ok(gev_close(*fd));
}

/* SOC25 */
GEV_TEST(close_works_in_the_hub)
{
    int fds[2];
    struct user u;

    test_pair(SOCK_STREAM, fds);
    start(&u, do_recv, fds[0]);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_hub_post(gev_hub_get(), close_in_callback, &fds[0]));
    expect_closed(&u);
    expect_ok(gev_close(fds[1]));
}

static void *close_and_reopen(void *arg)
{
    struct user *u = arg;
    int fds[2];

    expect_ok(gev_close(u->fd));
    test_pair(SOCK_STREAM, fds);
    expect_true(fds[0] == u->fd || fds[1] == u->fd);
    u->rc = fds[0] == u->fd ? fds[1] : fds[0]; /* the peer */
    return NULL;
}

/* LOOP17: a waiter that is told of the close only after the number is in use
 * again. */
GEV_TEST(close_and_reopen_before_the_waiters_turn)
{
    int fds[2];
    struct user reader;
    struct user closer;

    test_pair(SOCK_STREAM, fds);
    start(&reader, do_recv, fds[0]);
    expect_ok(gev_sleep(0.001));
    start(&closer, close_and_reopen, fds[0]);
    expect_closed(&reader);
    finish(&closer);
    /* The new one works. */
    start(&reader, do_recv, fds[0]);
    expect_ok(gev_sleep(0.001));
    expect_int_eq(gev_send((int)closer.rc, "abc", 3, 0), 3);
    finish(&reader);
    expect_int_eq(reader.rc, 3);
    expect_ok(gev_close(fds[0]));
    expect_ok(gev_close((int)closer.rc));
    expect_ok(gev_close(fds[1]));
}

/* Two readers made ready by one poll; the one who runs first closes the other's
 * descriptor and opens another of that number, with data in it. */
struct rival {
    int fd;
    int peer; /* of what the other one opened in its place */
    struct rival *other;
    ssize_t rc;
    int error;
    bool ran;
};

static void *read_and_replace(void *arg)
{
    struct rival *r = arg;
    char buf[8];
    int fds[2];

    r->rc = gev_recv(r->fd, buf, sizeof(buf), 0);
    r->error = errno;
    r->ran = true;
    if (!r->other->ran) {
        int fd = r->other->fd;
        expect_ok(gev_close(fd));
        test_pair(SOCK_STREAM, fds);
        expect_true(fds[0] == fd || fds[1] == fd);
        r->other->peer = fds[0] == fd ? fds[1] : fds[0];
        expect_int_eq(gev_send(r->other->peer, "wrong", 5, 0), 5);
    }
    return NULL;
}

GEV_TEST(ready_readers_do_not_read_from_the_next_descriptor)
{
    for (int i = 0; i < 20; i++) {
        int a[2];
        int b[2];
        struct rival r[2];
        gev_greenlet *g[2];

        test_pair(SOCK_STREAM, a);
        test_pair(SOCK_STREAM, b);
        r[0] = (struct rival){.fd = a[0], .peer = -1, .other = &r[1]};
        r[1] = (struct rival){.fd = b[0], .peer = -1, .other = &r[0]};
        g[0] = gev_spawn(read_and_replace, &r[0]);
        g[1] = gev_spawn(read_and_replace, &r[1]);
        expect_ok(gev_sleep(0.001));
        expect_int_eq(gev_send(a[1], "ab", 2, 0), 2);
        expect_int_eq(gev_send(b[1], "ab", 2, 0), 2);
        expect_int_eq(gev_joinall(g, 2, 10), 2);
        int loser = r[0].peer >= 0 ? 0 : 1;
        expect_int_eq(r[1 - loser].rc, 2);
        expect_int_eq(r[loser].rc, -1);
        expect_int_eq(r[loser].error, EBADF);
        expect_ok(gev_close(r[loser].peer));
        test_close_both(a);
        test_close_both(b);
        gev_unref(g[0]);
        gev_unref(g[1]);
    }
}

#define REUSES 100000

static void *write_numbers(void *arg)
{
    gev_waiter *w = arg;
    void *value;

    while (gev_waiter_get(w, &value, GEV_FOREVER) == 0 && value != NULL) {
        /* The number, and something that stays pending. */
        const int *task = value;
        int two[2] = {task[1], -1};
        expect_int_eq(gev_send(task[0], two, sizeof(two), 0), sizeof(two));
    }
    return NULL;
}

/* F2: each descriptor is closed with data and an event pending, and the number
 * used again at once. */
GEV_TEST(numbers_are_reused)
{
    gev_waiter w = {0};
    gev_greenlet *writer = gev_spawn(write_numbers, &w);
    int first = -1;

    for (int i = 0; i < REUSES && !test_failed(); i++) {
        int fds[2];
        int number = -1;
        test_pair(SOCK_STREAM, fds);
        first = first < 0 ? fds[0] : first;
        expect_int_eq(fds[0], first);
        int task[2] = {fds[1], i};
        gev_waiter_switch(&w, task);
        expect_int_eq(gev_recv(fds[0], &number, sizeof(number), 0),
                      sizeof(number));
        expect_int_eq(number, i);
        test_close_both(fds);
    }
    gev_waiter_switch(&w, NULL);
    expect_ok(gev_join(writer, GEV_FOREVER));
    gev_unref(writer);
}

/* F3: a child keeps the connection open, and so in the kernel's epoll set; data
 * comes for what was closed here. */
GEV_TEST(descriptors_kept_by_a_child_do_not_spin)
{
    int fds[2];
    int other[2];
    struct user u;

    test_pair(SOCK_STREAM, fds);
    test_pair(SOCK_STREAM, other);
    start(&u, do_recv, fds[0]);
    expect_ok(gev_sleep(0.001));
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    expect_ok(gev_close(fds[0]));
    expect_closed(&u);
    expect_int_eq(gev_send(fds[1], "abc", 3, 0), 3);
    start(&u, do_recv, other[0]);
    uint64_t before = test_turns();
    expect_ok(gev_sleep(0.05));
    expect_le(test_turns() - before, 50);
    /* The rest of the loop's work goes on. */
    expect_false(gev_dead(u.g));
    expect_int_eq(gev_send(other[1], "abc", 3, 0), 3);
    finish(&u);
    expect_int_eq(u.rc, 3);
    /* The number's next descriptor, while the old one lives in the child. */
    int again[2];
    test_pair(SOCK_STREAM, again);
    expect_int_eq(again[0], fds[0]);
    start(&u, do_recv, again[0]);
    expect_ok(gev_sleep(0.001));
    expect_false(gev_dead(u.g));
    expect_int_eq(gev_send(again[1], "ab", 2, 0), 2);
    finish(&u);
    expect_int_eq(u.rc, 2);
    kill(child, SIGKILL);
    expect_int_eq(waitpid(child, NULL, 0), child);
    test_close_both(again);
    test_close_both(other);
    expect_ok(gev_close(fds[1]));
}

/* The same in one process, by dup: the copy's events are nobody's. */
GEV_TEST(closed_descriptors_with_a_copy_do_not_spin)
{
    int fds[2];
    struct user u;

    test_pair(SOCK_STREAM, fds);
    start(&u, do_recv, fds[0]);
    expect_ok(gev_sleep(0.001));
    int copy = gev_dup(fds[0]);
    expect_ok(gev_close(fds[0]));
    expect_closed(&u);
    expect_int_eq(gev_send(fds[1], "abc", 3, 0), 3);
    uint64_t before = test_turns();
    expect_ok(gev_sleep(0.05));
    expect_le(test_turns() - before, 50);
    char buf[8];
    expect_int_eq(gev_recv(copy, buf, 8, 0), 3);
    start(&u, do_recv, copy);
    expect_ok(gev_sleep(0.001));
    expect_int_eq(gev_send(fds[1], "ab", 2, 0), 2);
    finish(&u);
    expect_int_eq(u.rc, 2);
    expect_ok(gev_close(copy));
    expect_ok(gev_close(fds[1]));
}

/* F14: no promise, but no abort and no spin. */
GEV_TEST(plain_close_under_a_waiter_does_no_harm)
{
    int fds[2];
    struct user u;

    for (int i = 0; i < 2; i++) {
        test_pair(SOCK_STREAM, fds);
        start(&u, do_recv, fds[0]);
        expect_ok(gev_sleep(0.001));
        close(fds[0]);
        if (i == 1) {
            struct user another; /* has libev look at the number again */
            start(&another, do_send, fds[0]);
            finish(&another);
            expect_int_eq(another.error, EBADF);
        }
        uint64_t before = test_turns();
        expect_ok(gev_sleep(0.03));
        expect_le(test_turns() - before, 50);
        expect_int_eq(gev_kill(u.g, 10), 0);
        gev_unref(u.g);
        expect_ok(gev_close(fds[1]));
        expect_fail(gev_close(fds[0]), EBADF); /* forgets the number */
    }
    test_pair(SOCK_STREAM, fds);
    start(&u, do_recv, fds[0]);
    expect_ok(gev_sleep(0.001));
    expect_int_eq(gev_send(fds[1], "ab", 2, 0), 2);
    finish(&u);
    expect_int_eq(u.rc, 2);
    test_close_both(fds);
}

/* A stopped watcher costs nothing: an idle, readable descriptor is left alone.
 */
GEV_TEST(idle_readable_descriptors_do_not_spin)
{
    int fds[2];
    char buf[2];

    test_pair(SOCK_STREAM, fds);
    struct user u;
    start(&u, do_recv, fds[0]);
    expect_ok(gev_sleep(0.001));
    expect_int_eq(gev_send(fds[1], "ab", 2, 0), 2);
    finish(&u);
    expect_int_eq(gev_send(fds[1], "abcd", 4, 0), 4); /* nobody reads it */
    uint64_t before = test_turns();
    expect_ok(gev_sleep(0.05));
    expect_le(test_turns() - before, 50);
    expect_int_eq(gev_recv(fds[0], buf, 2, 0), 2);
    expect_int_eq(gev_recv(fds[0], buf, 2, 0), 2);
    test_close_both(fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_wakes_all_who_wait),
        cmocka_unit_test(close_is_forgotten),
        cmocka_unit_test(close_works_in_a_killed_greenlet),
        cmocka_unit_test(close_works_in_the_hub),
        cmocka_unit_test(close_and_reopen_before_the_waiters_turn),
        cmocka_unit_test(ready_readers_do_not_read_from_the_next_descriptor),
        cmocka_unit_test(numbers_are_reused),
        cmocka_unit_test(descriptors_kept_by_a_child_do_not_spin),
        cmocka_unit_test(closed_descriptors_with_a_copy_do_not_spin),
        cmocka_unit_test(plain_close_under_a_waiter_does_no_harm),
        cmocka_unit_test(idle_readable_descriptors_do_not_spin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
