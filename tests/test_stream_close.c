/* SPDX-License-Identifier: MIT */

/* Streams under attack: closed, killed, thrown into and cut short at the worst
 * moments (FIL2, SOC15). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gev_stream *open_pair(int *ret_peer)
{
    int fds[2] = {-1, -1};
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    *ret_peer = fds[1];
    gev_stream *s = gev_stream_open(fds[0]);
    expect_not_null(s);
    return s;
}

/* Puts as much into a descriptor as it takes; how much that is. */
static size_t fill_up(int fd)
{
    static const char block[5000];
    size_t n = 0;
    ssize_t some;
    while ((some = gev_send(fd, block, sizeof(block), MSG_DONTWAIT)) > 0) {
        n += (size_t)some;
    }
    expect_int_eq(errno, EAGAIN);
    return n;
}

static void empty(int fd)
{
    char block[5000];
    while (gev_recv(fd, block, sizeof(block), MSG_DONTWAIT) > 0) {
    }
}

struct user {
    gev_stream *s;
    int rc;
    int error;
};

static void *flush_and_close(void *arg)
{
    struct user *u = arg;
    expect_ok(gev_stream_flush(u->s));
    /* The next one has got its turn now, but has not run. */
    expect_ok(gev_stream_close(u->s));
    return NULL;
}

static void *detach(void *arg)
{
    struct user *u = arg;
    u->rc = gev_stream_detach(u->s);
    u->error = errno;
    return NULL;
}

static void *write_one(void *arg)
{
    struct user *u = arg;
    u->rc = gev_stream_write(u->s, "x", 1);
    u->error = errno;
    return NULL;
}

/* --- the end -------------------------------------------------------------- */

/* Who has his turn and not yet run is too late. */
GEV_TEST(closed_when_the_turn_has_come)
{
    void *(*const late[])(void *) = {detach, write_one};
    for (size_t i = 0; i < 2; i++) {
        int peer;
        struct user u = {.s = open_pair(&peer)};
        fill_up(gev_stream_fd(u.s));
        expect_ok(gev_stream_write(u.s, "x", 1));
        gev_greenlet *g[2] = {gev_spawn(flush_and_close, &u),
                              gev_spawn(late[i], &u)};
        expect_ok(gev_sleep(0.002));
        empty(peer);
        expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
        expect_int_eq(u.rc, -1);
        expect_int_eq(u.error, EBADF);
        gev_unrefall(g, 2);
        expect_ok(gev_close(peer));
    }
}

static void *close_it(void *arg)
{
    struct user *u = arg;
    u->rc = gev_stream_close(u->s);
    u->error = errno;
    return NULL;
}

static void *abort_it(void *arg)
{
    expect_ok(gev_stream_abort(arg));
    return NULL;
}

static void abort_in_defer(void *s)
{
    expect_ok(gev_stream_abort(s));
}

static void *abort_where_it_may_not_park(void *arg)
{
    expect_ok(gev_defer(abort_in_defer, arg));
    return NULL;
}

/* Two closers: the first, which flushes, is cut short by the second, whether
 * that one can wait or not. */
GEV_TEST(two_closers)
{
    void *(*const second[])(void *) = {abort_it, abort_where_it_may_not_park};
    for (size_t i = 0; i < 2; i++) {
        int peer;
        struct user u = {.s = open_pair(&peer)};
        fill_up(gev_stream_fd(u.s));
        expect_ok(gev_stream_write(u.s, "x", 1));
        gev_greenlet *g[2];
        g[0] = gev_spawn(close_it, &u);
        expect_ok(gev_sleep(0.002));
        g[1] = gev_spawn(second[i], u.s);
        expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
        expect_int_eq(u.rc, -1);
        expect_int_eq(u.error, EBADF);
        gev_unrefall(g, 2);
        expect_ok(gev_close(peer));
    }
}

/* A closer that is killed, or out of time, while it flushes has closed. */
GEV_TEST(closer_killed_in_its_flush)
{
    for (int timed = 0; timed < 2; timed++) {
        int peer;
        struct user u = {.s = open_pair(&peer)};
        int fd = gev_stream_fd(u.s);
        fill_up(fd);
        expect_ok(gev_stream_write(u.s, "x", 1));
        expect_ok(gev_stream_settimeout(u.s, timed ? 0.005 : GEV_FOREVER));
        gev_greenlet *g = gev_spawn(close_it, &u);
        expect_ok(gev_sleep(0.002));
        if (!timed) {
            expect_ok(gev_kill(g, 0) == 0 || errno == ETIMEDOUT ? 0 : -1);
        }
        expect_ok(gev_join(g, GEV_FOREVER));
        expect_int_eq(u.rc, -1);
        expect_int_eq(u.error, timed ? ETIMEDOUT : ECANCELED);
        expect_fail(gev_settimeout(fd, 1), EBADF);
        gev_unref(g);
        expect_ok(gev_close(peer));
    }
}

/* --- a transport that does as it is told ---------------------------------- */

struct stage {
    gev_semaphore go; /* each read or write needs one, */
    bool gated;       /* if so */
    int stubborn;     /* errors that it ignores before it gives up */
    int fail;         /* the next write fails with this */
    int closed;
    size_t most; /* of a write */
    char taken[100000];
    size_t n_taken;
};

static int wait_for_go(struct stage *t)
{
    while (t->gated && gev_semaphore_acquire(&t->go, GEV_FOREVER) < 0) {
        if (t->stubborn-- <= 0) {
            return -1;
        }
    }
    return 0;
}

static ssize_t stage_read(void *self, void *buf, size_t n)
{
    if (wait_for_go(self) < 0) {
        return -1;
    }
    expect_ge(n, 1);
    *(char *)buf = 'r';
    return 1;
}

static ssize_t stage_write(void *self, const void *buf, size_t n)
{
    struct stage *t = self;
    if (wait_for_go(t) < 0) {
        return -1;
    }
    if (t->fail != 0) {
        errno = t->fail;
        t->fail = 0;
        return -1;
    }
    n = n < t->most ? n : t->most;
    memcpy(t->taken + t->n_taken, buf, n);
    t->n_taken += n;
    return (ssize_t)n;
}

static int stage_close(void *self)
{
    struct stage *t = self;
    t->closed++;
    return 0;
}

static const gev_transport stage_transport = {.size = sizeof(gev_transport),
                                              .read = stage_read,
                                              .write = stage_write,
                                              .close = stage_close};

static void *read_and_live_on(void *arg)
{
    struct user *u = arg;
    char c;
    u->rc = (int)gev_stream_read(u->s, &c, 1);
    u->error = errno;
    expect_ok(gev_sleep(0.001)); /* no error of the stream's hits this */
    return NULL;
}

/* The error that wakes a user at the close stays within the stream, also when
 * he was about to run anyway. */
GEV_TEST(no_error_is_left_behind)
{
    struct stage t = {.gated = true, .most = 1};
    struct user u = {.s = gev_stream_new(&stage_transport, &t)};
    gev_greenlet *g = gev_spawn(read_and_live_on, &u);
    expect_ok(gev_yield());
    expect_ok(gev_semaphore_release(&t.go));
    expect_ok(gev_stream_close(u.s));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(u.rc, -1);
    expect_int_eq(u.error, EBADF);
    expect_int_eq(t.closed, 1);
    gev_unref(g);
}

/* A transport that ignores errors keeps the closer waiting, but no kill of the
 * closer frees what is still in use. */
GEV_TEST(closer_killed_while_it_waits)
{
    struct stage t = {.gated = true, .most = 1, .stubborn = 1};
    struct user u = {.s = gev_stream_new(&stage_transport, &t)};
    struct user closer = {.s = u.s};
    gev_greenlet *g[2];
    g[0] = gev_spawn(read_and_live_on, &u);
    expect_ok(gev_yield());
    g[1] = gev_spawn(close_it, &closer);
    expect_ok(gev_yield());
    expect_fail(gev_kill(g[1], 0.002), ETIMEDOUT);
    expect_int_eq(t.closed, 0);
    expect_ok(gev_semaphore_release(&t.go));
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    expect_int_eq(t.closed, 1);
    expect_int_eq(closer.rc, 0);
    gev_unrefall(g, 2);
}

static void *read_flushes(void *arg)
{
    struct user *u = arg;
    char c;
    expect_ok(gev_stream_write(u->s, "w", 1));
    u->rc = (int)gev_stream_read(u->s, &c, 1);
    u->error = errno;
    return NULL;
}

/* A code thrown into a read that is flushing first is the read's. */
GEV_TEST(thrown_into_a_flush)
{
    struct stage t = {.gated = true, .most = 1};
    struct user u = {.s = gev_stream_new(&stage_transport, &t)};
    gev_greenlet *g = gev_spawn(read_flushes, &u);
    expect_ok(gev_yield());
    expect_ok(gev_throw(g, EOWNERDEAD));
    expect_ok(gev_sleep(0.001));
    expect_int_eq(u.rc, -1);
    expect_int_eq(u.error, EOWNERDEAD);
    gev_kill(g, GEV_FOREVER);
    gev_unref(g);
    expect_ok(gev_stream_abort(u.s));
}

/* A write that fails has lost nothing that was buffered. */
GEV_TEST(failed_flush_keeps_the_rest)
{
    struct stage t = {.most = 3};
    gev_stream *s = gev_stream_new(&stage_transport, &t);
    expect_ok(gev_stream_write(s, "12345678", 8));
    t.fail = EIO;
    expect_fail(gev_stream_flush(s), EIO);
    expect_ok(gev_stream_write(s, "9", 1));
    expect_ok(gev_stream_flush(s));
    expect_uint_eq(t.n_taken, 9);
    expect_mem_eq(t.taken, "123456789", 9);
    expect_ok(gev_stream_close(s));
}

static int stage_abort(void *self)
{
    struct stage *t = self;
    t->closed += 10;
    return 0;
}

/* A transport is told whether it ends with everything. */
GEV_TEST(whole_or_aborted)
{
    static const gev_transport with_abort = {.size = sizeof(gev_transport),
                                             .read = stage_read,
                                             .write = stage_write,
                                             .close = stage_close,
                                             .abort = stage_abort};
    static const gev_transport older = {.size = offsetof(gev_transport, abort),
                                        .read = stage_read,
                                        .write = stage_write,
                                        .close = stage_close,
                                        .abort = stage_abort};
    const gev_transport *const ops[] = {&with_abort, &older};
    for (int i = 0; i < 2; i++) {
        const int aborted = i == 0 ? 10 : 1;
        struct stage t = {.most = 3};
        gev_stream *s = gev_stream_new(ops[i], &t);
        expect_ok(gev_stream_write(s, "1", 1));
        expect_ok(gev_stream_close(s));
        expect_int_eq(t.closed, 1);
        t.closed = 0;
        expect_ok(gev_stream_abort(gev_stream_new(ops[i], &t)));
        expect_int_eq(t.closed, aborted);
        t.closed = 0;
        s = gev_stream_new(ops[i], &t);
        expect_ok(gev_stream_write(s, "1", 1));
        t.fail = EIO;
        expect_fail(gev_stream_close(s), EIO);
        expect_int_eq(t.closed, aborted);
    }
}

/* Whatever the sizes are, bytes come out in order: the buffer is of 16,384. */
GEV_TEST(sizes_around_the_buffers)
{
    static char data[70000];
    static struct stage t;
    for (size_t i = 0; i < sizeof(data) - 1; i++) {
        data[i] = (char)('a' + i * 7 % 23);
    }
    const size_t sizes[] = {0, 1, 16382, 16383, 16384, 16385, 32768};
    const size_t n = sizeof(sizes) / sizeof(sizes[0]);
    for (size_t i = 0; i < n * n * 2; i++) {
        size_t first = sizes[i % n];
        size_t second = sizes[i / n % n];
        t = (struct stage){.most = i / n / n ? 1000 : SIZE_MAX};
        gev_stream *s = gev_stream_new(&stage_transport, &t);
        expect_ok(gev_stream_write(s, data, first));
        if (i % 2) {
            expect_ok(gev_stream_write(s, data + first, second));
        } else {
            expect_ok(gev_stream_printf(s, "%.*s", (int)second, data + first));
        }
        expect_ok(gev_stream_write(s, "!", 1));
        expect_ok(gev_stream_close(s));
        expect_uint_eq(t.n_taken, first + second + 1);
        expect_mem_eq(t.taken, data, first + second);
        expect_int_eq(t.taken[first + second], '!');
    }
}

/* --- both ways ------------------------------------------------------------ */

static void *read_much(void *arg)
{
    struct user *u = arg;
    static char trash[2][4000000];
    static int which;
    char *to = trash[which++ % 2];
    u->rc = (int)gev_stream_read_exactly(u->s, to, (size_t)u->rc);
    u->error = errno;
    expect_ok(gev_stream_flush(u->s));
    return NULL;
}

/* Both have more to say than fits, and both read: a read that flushes first
 * must not wait for it while there is something to be read. */
GEV_TEST(two_who_read_with_full_buffers)
{
    int peer;
    struct user u[2] = {{.s = open_pair(&peer)}};
    u[1].s = gev_stream_open(peer);
    u[1].rc = (int)fill_up(gev_stream_fd(u[0].s)) + 10000;
    u[0].rc = (int)fill_up(peer) + 10000;
    int wanted[2] = {u[0].rc, u[1].rc};
    static const char more[10000];
    gev_greenlet *g[2];
    for (int i = 0; i < 2; i++) {
        expect_ok(gev_stream_write(u[i].s, more, sizeof(more)));
        expect_ok(gev_stream_settimeout(u[i].s, test_scale(5)));
        g[i] = gev_spawn(read_much, &u[i]);
    }
    expect_int_eq(gev_joinall(g, 2, GEV_FOREVER), 2);
    expect_int_eq(u[0].rc, wanted[0]);
    expect_int_eq(u[1].rc, wanted[1]);
    gev_unrefall(g, 2);
    expect_ok(gev_stream_close(u[0].s));
    expect_ok(gev_stream_close(u[1].s));
}

/* What the peer's end did to the writes is no reason not to read the rest. */
GEV_TEST(what_is_there_can_be_read_after_a_broken_pipe)
{
    int peer;
    char buf[10];
    gev_stream *s = open_pair(&peer);
    expect_int_eq(gev_send(peer, "last", 4, 0), 4);
    expect_ok(gev_close(peer));
    expect_ok(gev_stream_write(s, "x", 1));
    expect_int_eq(gev_stream_read(s, buf, 10), 4);
    expect_fail(gev_stream_flush(s), EPIPE);
    expect_fail(gev_stream_close(s), EPIPE);
}

/* --- limits --------------------------------------------------------------- */

/* A piece as long as the limit is not too long if the stream ends with it; to
 * find that out it does not wait. */
GEV_TEST(the_last_piece_may_be_as_long_as_the_limit)
{
    int peer;
    char *line = NULL;
    gev_stream *s = open_pair(&peer);
    expect_int_eq(gev_send(peer, "abc", 3, 0), 3);
    double start = test_now();
    expect_fail(gev_stream_read_line(s, &line, 3), EMSGSIZE); /* at once */
    expect_le(test_now() - start, test_scale(5));
    expect_ok(gev_settimeout(gev_stream_fd(s), 0));
    expect_fail(gev_stream_read_line(s, &line, 3), EMSGSIZE);
    expect_ok(gev_shutdown(peer, SHUT_WR));
    expect_fail(gev_stream_read_line(s, &line, 2), EMSGSIZE);
    expect_int_eq(gev_stream_read_line(s, &line, 3), 3);
    expect_str_eq(line, "abc");
    expect_int_eq(gev_stream_read_line(s, &line, 3), 0);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

GEV_TEST(no_limit_at_all)
{
    int peer;
    char *data = NULL;
    const void *look = NULL;
    gev_stream *s = open_pair(&peer);
    expect_int_eq(gev_send(peer, "line\nrest;more", 14, 0), 14);
    expect_ok(gev_shutdown(peer, SHUT_WR));
    expect_int_eq(gev_stream_read_line(s, &data, SIZE_MAX), 5);
    expect_int_eq(gev_stream_read_until(s, ";", 1, &data, SIZE_MAX), 5);
    expect_int_eq(gev_stream_peek(s, &look, SIZE_MAX), 4);
    expect_int_eq(gev_stream_read_all(s, &data, SIZE_MAX), 4);
    expect_str_eq(data, "more");
    free(data);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

GEV_TEST(shutdown_twice)
{
    int peer;
    char c;
    gev_stream *s = open_pair(&peer);
    expect_ok(gev_stream_write(s, "x", 1));
    expect_ok(gev_stream_shutdown(s));
    expect_ok(gev_stream_shutdown(s));
    expect_int_eq(gev_recv(peer, &c, 1, 0), 1);
    expect_int_eq(gev_recv(peer, &c, 1, 0), 0);
    expect_int_eq(gev_send(peer, "y", 1, 0), 1);
    expect_int_eq(gev_stream_read(s, &c, 1), 1); /* reads go on */
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_when_the_turn_has_come),
        cmocka_unit_test(two_closers),
        cmocka_unit_test(closer_killed_in_its_flush),
        cmocka_unit_test(no_error_is_left_behind),
        cmocka_unit_test(closer_killed_while_it_waits),
        cmocka_unit_test(thrown_into_a_flush),
        cmocka_unit_test(failed_flush_keeps_the_rest),
        cmocka_unit_test(whole_or_aborted),
        cmocka_unit_test(sizes_around_the_buffers),
        cmocka_unit_test(two_who_read_with_full_buffers),
        cmocka_unit_test(what_is_there_can_be_read_after_a_broken_pipe),
        cmocka_unit_test(the_last_piece_may_be_as_long_as_the_limit),
        cmocka_unit_test(no_limit_at_all),
        cmocka_unit_test(shutdown_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
