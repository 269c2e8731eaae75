/* SPDX-License-Identifier: MIT */

/* Streams: waiting without moving anything, writing without waiting, and giving
 * memory back; over descriptors and over transports that can, or cannot. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static gev_stream *open_pair(int *ret_peer)
{
    int fds[2] = {-1, -1};
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    *ret_peer = fds[1];
    gev_stream *s = gev_stream_open(fds[0]);
    expect_not_null(s);
    return s;
}

static void close_both(gev_stream *s, int peer)
{
    expect_ok(gev_stream_abort(s));
    expect_ok(gev_close(peer));
}

static void *send_later(void *arg)
{
    expect_ok(gev_sleep(0.005));
    expect_int_eq(gev_send_all(N(arg), "a line\n", 7), 7);
    return NULL;
}

GEV_TEST(what_is_ready_is_said)
{
    const int both = GEV_READ | GEV_WRITE;
    int peer;
    char *line = NULL;
    gev_stream *s = open_pair(&peer);
    expect_int_eq(gev_stream_wait(s, GEV_WRITE), GEV_WRITE);
    expect_int_eq(gev_stream_wait(s, both), GEV_WRITE);
    gev_greenlet *g = gev_spawn(send_later, P(peer));
    expect_int_eq(gev_stream_wait(s, GEV_READ), GEV_READ);
    expect_uint_eq(gev_stream_buffered(s), 0); /* nothing was moved */
    expect_int_eq(gev_stream_peek(s, NULL, 1), 7);
    expect_int_eq(gev_stream_wait(s, both), GEV_READ); /* buffered */
    expect_int_eq(gev_stream_read_line(s, &line, 10), 7);
    expect_ok(gev_stream_settimeout(s, 0.005));
    expect_fail(gev_stream_wait(s, GEV_READ), ETIMEDOUT);
    expect_fail(gev_stream_wait(s, 0), EINVAL);
    expect_fail(gev_stream_wait(s, 4), EINVAL);
    expect_fail(gev_stream_wait(NULL, GEV_READ), EINVAL);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_ok(gev_shutdown(peer, SHUT_WR));
    expect_int_eq(gev_stream_wait(s, GEV_READ), GEV_READ); /* the end */
    expect_int_eq(gev_stream_read_line(s, &line, 10), 0);
    close_both(s, peer);
}

static void *wait_to_read(void *arg)
{
    return gev_stream_wait(arg, GEV_READ) < 0 ? gev_fail(errno) : NULL;
}

GEV_TEST(a_wait_is_closed_killed_and_waited_for)
{
    int peer;
    gev_stream *s = open_pair(&peer);
    gev_greenlet *g = gev_spawn(wait_to_read, s);
    gev_greenlet *g2 = gev_spawn(wait_to_read, s); /* in its turn */
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_false(gev_ready(g2));
    expect_ok(gev_stream_close(s));
    expect_fail(gev_get(g2, NULL, test_scale(5)), EBADF);
    gev_unref(g);
    gev_unref(g2);
    expect_ok(gev_close(peer));
}

GEV_TEST(tries_take_what_goes)
{
    static const char block[5000];
    int peer;
    char buf[8];
    ssize_t some;
    gev_stream *s = open_pair(&peer);
    expect_ok(gev_stream_write(s, "one ", 4)); /* buffered: goes first */
    expect_int_eq(gev_stream_try_write(s, "two", 3), 3);
    expect_int_eq(gev_recv(peer, buf, sizeof(buf), MSG_DONTWAIT), 7);
    expect_mem_eq(buf, "one two", 7);
    expect_ok(gev_stream_write(s, "three", 5));
    expect_int_eq(gev_stream_try_write(s, NULL, 0), 0); /* only flushes */
    expect_int_eq(gev_recv(peer, buf, sizeof(buf), MSG_DONTWAIT), 5);
    while ((some = gev_stream_try_write(s, block, sizeof(block))) > 0) {
    }
    expect_int_eq(errno, EAGAIN);
    expect_ok(gev_stream_write(s, "later", 5));
    expect_fail(gev_stream_try_write(s, "x", 1), EAGAIN);
    expect_ok(gev_stream_settimeout(s, 0.005));
    expect_fail(gev_stream_wait(s, GEV_WRITE), ETIMEDOUT);
    expect_fail(gev_stream_flush(s), ETIMEDOUT); /* "later" is there still */
    expect_fail(gev_stream_try_write(NULL, "x", 1), EINVAL);
    expect_fail(gev_stream_try_write(s, NULL, 1), EINVAL);
    expect_fail(gev_stream_writev(s, NULL, 1), EINVAL);
    close_both(s, peer);
}

GEV_TEST(the_shut_and_the_broken_take_nothing)
{
    int peer;
    gev_stream *s = open_pair(&peer);
    expect_ok(gev_stream_shutdown(s));
    expect_fail(gev_stream_try_write(s, "x", 1), EPIPE);
    close_both(s, peer);
    s = open_pair(&peer);
    expect_ok(gev_close(peer));
    expect_fail(gev_stream_try_write(s, "x", 1), EPIPE);
    expect_ok(gev_stream_abort(s));
}

/* Lines, exact amounts and big reads, each after a trim. */
GEV_TEST(trimmed_streams_read_on)
{
    int peer;
    char *line = NULL;
    char buf[9000];
    gev_stream *s = open_pair(&peer);
    for (int i = 0; i < 4; i++) {
        expect_ok(gev_stream_trim(s));
        gev_greenlet *g = gev_spawn(send_later, P(peer));
        if (i == 0) {
            expect_int_eq(gev_stream_read_line(s, &line, 10), 7);
        } else if (i == 1) {
            expect_int_eq(gev_stream_read_exactly(s, buf, 7), 7);
        } else if (i == 2) {
            expect_int_eq(gev_stream_read(s, buf, sizeof(buf)), 7);
        } else {
            expect_int_eq(gev_stream_peek(s, NULL, 7), 7);
            expect_ok(gev_stream_trim(s)); /* what is there stays */
            expect_int_eq(gev_stream_read_line(s, &line, 10), 7);
            expect_str_eq(line, "a line\n");
        }
        expect_ok(gev_join(g, GEV_FOREVER));
        gev_unref(g);
    }
    expect_ok(gev_stream_write(s, "unsent", 6));
    expect_ok(gev_stream_trim(s));
    expect_ok(gev_stream_trim(s));
    expect_ok(gev_stream_flush(s));
    expect_int_eq(gev_recv(peer, buf, 10, MSG_DONTWAIT), 6);
    expect_ok(gev_stream_settimeout(s, 0.005));
    expect_fail(gev_stream_read(s, buf, 1), ETIMEDOUT);
    expect_fail(gev_stream_trim(NULL), EINVAL);
    close_both(s, peer);
}

/* Its time is over before there is anything: a look at what is there. */
GEV_TEST(a_trimmed_stream_without_time)
{
    int peer;
    char c;
    gev_stream *s = open_pair(&peer);
    expect_ok(gev_stream_settimeout(s, 0));
    expect_ok(gev_stream_trim(s));
    expect_fail(gev_stream_read(s, &c, 1), ETIMEDOUT);
    expect_int_eq(gev_send(peer, "x", 1, 0), 1);
    expect_int_eq(gev_stream_read(s, &c, 1), 1);
    close_both(s, peer);
}

static void *kill_self_and_read(void *arg)
{
    char c = 0;
    gev_stream *s = arg;
    (void)gev_kill(gev_current(), 0);
    expect_int_eq(gev_stream_read(s, &c, 1), 1); /* it is there */
    expect_fail(gev_stream_read(s, &c, 1), ECANCELED);
    return NULL;
}

GEV_TEST(a_killed_greenlet_reads_what_is_there)
{
    int peer;
    gev_stream *s = open_pair(&peer);
    expect_ok(gev_stream_trim(s));
    expect_int_eq(gev_send(peer, "x", 1, 0), 1);
    gev_greenlet *g = gev_spawn(kill_self_and_read, s);
    expect_int_eq(gev_join(g, test_scale(5)), 0);
    gev_unref(g);
    close_both(s, peer);
}

/* What is so already needs no park: no time at all is enough to be told, and
 * for what a trimmed stream waits for. */
GEV_TEST(no_time_is_enough_for_what_is_so)
{
    int peer;
    char c = 0;
    gev_stream *s = open_pair(&peer);
    for (int i = 0; i < 2; i++) {
        int error = i == 0 ? ETIMEDOUT : EAGAIN;
        if (i == 0) {
            expect_ok(gev_stream_settimeout(s, 0));
        } else {
            expect_ok(gev_stream_settimeout(s, GEV_FOREVER));
            expect_ok(gev_settimeout(gev_stream_fd(s), 0));
        }
        expect_fail(gev_stream_wait(s, GEV_READ), error);
        expect_int_eq(gev_stream_wait(s, GEV_WRITE), GEV_WRITE);
        expect_ok(gev_stream_trim(s));
        expect_fail(gev_stream_read(s, &c, 1), error);
        expect_ok(gev_stream_trim(s));
        expect_int_eq(gev_send(peer, "x", 1, 0), 1);
        expect_int_eq(gev_stream_wait(s, GEV_READ), GEV_READ);
        expect_int_eq(gev_stream_wait(s, GEV_READ | GEV_WRITE),
                      GEV_READ | GEV_WRITE);
        expect_int_eq(gev_stream_read(s, &c, 1), 1);
        expect_int_eq(c, 'x');
    }
    expect_ok(gev_close(peer)); /* a hang-up is so, too */
    expect_int_eq(gev_stream_wait(s, GEV_READ), GEV_READ);
    expect_ok(gev_stream_abort(s));
}

static void *kill_self_and_wait(void *arg)
{
    gev_stream *s = arg;
    (void)gev_kill(gev_current(), 0);
    expect_int_eq(gev_stream_wait(s, GEV_WRITE), GEV_WRITE);
    expect_fail(gev_stream_wait(s, GEV_READ), ECANCELED);
    return NULL;
}

GEV_TEST(a_killed_greenlet_is_told_what_is_so)
{
    int peer;
    gev_stream *s = open_pair(&peer);
    gev_greenlet *g = gev_spawn(kill_self_and_wait, s);
    expect_ok(gev_join(g, test_scale(5)));
    gev_unref(g);
    close_both(s, peer);
}

/* --- transports ----------------------------------------------------------- */

/* Says what was called. */
struct stage {
    int trims;
    int tries;
    int waits;
    int writes;
    int taken; /* by tries, at most */
    int ready; /* what a wait gives */
};

static ssize_t stage_read(void *self, void *buf, size_t n)
{
    (void)self;
    memset(buf, 'r', n);
    return (ssize_t)n;
}

static ssize_t stage_write(void *self, const void *buf, size_t n)
{
    struct stage *t = self;
    (void)buf;
    t->writes++;
    return (ssize_t)n;
}

static int stage_close(void *self)
{
    (void)self;
    return 0;
}

static void stage_trim(void *self)
{
    ((struct stage *)self)->trims++;
}

static ssize_t stage_try(void *self, const void *buf, size_t n)
{
    struct stage *t = self;
    (void)buf;
    t->tries++;
    if (t->taken == 0) {
        errno = EAGAIN;
        return -1;
    }
    return (ssize_t)n < t->taken ? (ssize_t)n : t->taken;
}

static int stage_wait(void *self, int directions)
{
    struct stage *t = self;
    t->waits++;
    if (t->ready & GEV_WRITE) {
        t->taken = 1;
    }
    return t->ready & directions;
}

static const gev_transport full = {.size = sizeof(full),
                                   .read = stage_read,
                                   .write = stage_write,
                                   .close = stage_close,
                                   .trim = stage_trim,
                                   .try_write = stage_try,
                                   .wait = stage_wait};

/* What an older program has: it ends before, whatever lies behind. */
static const gev_transport older = {.size = offsetof(gev_transport, trim),
                                    .read = stage_read,
                                    .write = stage_write,
                                    .close = stage_close,
                                    .trim = stage_trim,
                                    .try_write = stage_try,
                                    .wait = stage_wait};

GEV_TEST(older_transports_are_not_asked)
{
    struct stage t = {.taken = 1, .ready = GEV_READ};
    char c;
    gev_stream *s = gev_stream_new(&older, &t);
    expect_not_null(s);
    expect_ok(gev_stream_trim(s));
    expect_fail(gev_stream_wait(s, GEV_READ), ENOTSUP);
    expect_fail(gev_stream_try_write(s, "x", 1), ENOTSUP);
    expect_ok(gev_stream_write(s, "x", 1));
    expect_int_eq(gev_stream_read(s, &c, 1), 1);
    expect_int_eq(t.trims + t.tries + t.waits, 0);
    expect_int_eq(t.writes, 1);
    expect_ok(gev_stream_close(s));
    const gev_transport shorter = {.size = offsetof(gev_transport, fd),
                                   .read = stage_read,
                                   .write = stage_write,
                                   .close = stage_close};
    expect_null(gev_stream_new(&shorter, &t));
    expect_int_eq(errno, EINVAL);
}

/* A read's flush: as much as goes, then whatever comes first. */
GEV_TEST(a_reads_flush_goes_both_ways)
{
    struct stage t = {.taken = 0, .ready = GEV_WRITE};
    char c;
    gev_stream *s = gev_stream_new(&full, &t);
    expect_ok(gev_stream_write(s, "abc", 3));
    expect_int_eq(gev_stream_read(s, &c, 1), 1);
    expect_int_eq(t.waits, 1);
    expect_int_eq(t.tries, 4); /* in vain, and one a byte */
    expect_int_eq(t.writes, 0);
    char big[10000];
    expect_int_eq(gev_stream_read_exactly(s, big, 8190), 8190);
    t = (struct stage){.taken = 0, .ready = GEV_READ};
    expect_ok(gev_stream_write(s, "abc", 3));
    expect_int_eq(gev_stream_read(s, big, 10000), 10000);
    expect_int_eq(t.waits, 1);
    expect_int_eq(t.tries, 1); /* there was something to read before */
    expect_ok(gev_stream_trim(s));
    expect_int_eq(t.trims, 1);
    t.ready = GEV_READ;
    expect_int_eq(gev_stream_read(s, &c, 1), 1);
    expect_ge(t.waits, 2); /* before memory is taken */
    t.ready = 0;
    expect_fail(gev_stream_wait(s, GEV_WRITE), EIO); /* nonsense */
    expect_ok(gev_stream_abort(s));
}

/* One that can try, and cannot wait: a read's flush writes. */
GEV_TEST(tries_without_a_wait)
{
    const gev_transport trying = {.size = offsetof(gev_transport, wait),
                                  .read = stage_read,
                                  .write = stage_write,
                                  .close = stage_close,
                                  .try_write = stage_try};
    struct stage t = {.taken = 0};
    char c;
    gev_stream *s = gev_stream_new(&trying, &t);
    expect_ok(gev_stream_write(s, "abc", 3));
    expect_fail(gev_stream_try_write(s, "d", 1), EAGAIN);
    expect_fail(gev_stream_wait(s, GEV_WRITE), ENOTSUP);
    expect_int_eq(gev_stream_read(s, &c, 1), 1);
    expect_int_eq(t.writes, 1);
    expect_ok(gev_stream_close(s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_ready_is_said),
        cmocka_unit_test(a_wait_is_closed_killed_and_waited_for),
        cmocka_unit_test(tries_take_what_goes),
        cmocka_unit_test(the_shut_and_the_broken_take_nothing),
        cmocka_unit_test(trimmed_streams_read_on),
        cmocka_unit_test(a_trimmed_stream_without_time),
        cmocka_unit_test(a_killed_greenlet_reads_what_is_there),
        cmocka_unit_test(no_time_is_enough_for_what_is_so),
        cmocka_unit_test(a_killed_greenlet_is_told_what_is_so),
        cmocka_unit_test(older_transports_are_not_asked),
        cmocka_unit_test(a_reads_flush_goes_both_ways),
        cmocka_unit_test(tries_without_a_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
