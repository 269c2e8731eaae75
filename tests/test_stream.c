/* SPDX-License-Identifier: MIT */

/* Streams: gev/stream.h (FIL1, FIL2, FIL5, SOC15). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A stream over one end of a pair of sockets, and the other end. */
static gev_stream *open_pair(int *ret_peer)
{
    int fds[2] = {-1, -1};
    expect_ok(gev_socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    *ret_peer = fds[1];
    gev_stream *s = gev_stream_open(fds[0]);
    expect_not_null(s);
    return s;
}

static void feed(int fd, const char *text)
{
    size_t n = strlen(text);
    expect_int_eq(gev_send_all(fd, text, n), n);
}

/* What the peer has sent so far, as a string. */
static const char *sent(int fd)
{
    static char buf[256];
    ssize_t n = gev_recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
    buf[n < 0 ? 0 : n] = '\0';
    return buf;
}

/* --- reading -------------------------------------------------------------- */

/* FIL1 */
GEV_TEST(lines_come_with_their_newline)
{
    int peer;
    char *line = NULL;
    gev_stream *s = open_pair(&peer);
    feed(peer, "one\ntwo\r\n\nlast");
    expect_ok(gev_shutdown(peer, SHUT_WR));
    expect_int_eq(gev_stream_read_line(s, &line, 100), 4);
    expect_str_eq(line, "one\n");
    expect_uint_eq(gev_stream_buffered(s), 10);
    expect_int_eq(gev_stream_read_line(s, &line, 100), 5);
    expect_str_eq(line, "two\r\n");
    expect_int_eq(gev_stream_read_line(s, NULL, 100), 1);
    expect_int_eq(gev_stream_read_line(s, &line, 100), 4);
    expect_str_eq(line, "last");
    line = NULL;
    expect_int_eq(gev_stream_read_line(s, &line, 100), 0);
    expect_int_eq(gev_stream_read_line(s, &line, 100), 0);
    expect_null(line);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

/* The limit counts the delimiter; too long a piece is left alone. */
GEV_TEST(limits_are_exact)
{
    int peer;
    char *data = NULL;
    gev_stream *s = open_pair(&peer);
    feed(peer, "12345\nabc--def");
    expect_fail(gev_stream_read_line(s, &data, 5), EMSGSIZE);
    expect_fail(gev_stream_read_line(s, &data, 0), EMSGSIZE);
    expect_null(data);
    expect_int_eq(gev_stream_read_line(s, &data, 6), 6);
    expect_str_eq(data, "12345\n");
    expect_fail(gev_stream_read_until(s, "--", 2, &data, 4), EMSGSIZE);
    expect_int_eq(gev_stream_read_until(s, "--", 2, &data, 5), 5);
    expect_str_eq(data, "abc--");
    expect_fail(gev_stream_read_until(s, "--", 0, &data, 5), EINVAL);
    expect_fail(gev_stream_read_until(s, NULL, 2, &data, 5), EINVAL);
    /* Without a delimiter in sight, it does not wait for more than the limit.
     */
    expect_fail(gev_stream_read_until(s, "--", 2, &data, 3), EMSGSIZE);
    feed(peer, "-");
    expect_ok(gev_yield());
    gev_stream_settimeout(s, 0.01);
    expect_fail(gev_stream_read_until(s, "--", 2, &data, 99), ETIMEDOUT);
    feed(peer, "-x");
    expect_int_eq(gev_stream_read_until(s, "--", 2, &data, 99), 5);
    expect_str_eq(data, "def--");
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

static void *feed_slowly(void *arg)
{
    int fd = N(arg);
    for (const char *p = "a line in pieces\nrest"; *p != '\0'; p++) {
        expect_int_eq(gev_send(fd, p, 1, 0), 1);
        expect_ok(gev_yield());
    }
    expect_ok(gev_shutdown(fd, SHUT_WR));
    return NULL;
}

GEV_TEST(pieces_are_put_together)
{
    int peer;
    char *data = NULL;
    gev_stream *s = open_pair(&peer);
    gev_greenlet *g = gev_spawn(feed_slowly, P(peer));
    expect_int_eq(gev_stream_read_line(s, &data, 100), 17);
    expect_str_eq(data, "a line in pieces\n");
    expect_int_eq(gev_stream_read_all(s, &data, 100), 4);
    expect_str_eq(data, "rest");
    free(data);
    expect_int_eq(gev_stream_read_all(s, &data, 100), 0);
    expect_str_eq(data, ""); /* data too */
    free(data);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

GEV_TEST(exact_amounts)
{
    int peer;
    char buf[16] = "";
    gev_stream *s = open_pair(&peer);
    feed(peer, "123456789");
    expect_int_eq(gev_stream_read(s, buf, 4), 4);
    expect_mem_eq(buf, "1234", 4);
    expect_int_eq(gev_stream_read_exactly(s, buf, 0), 0);
    expect_int_eq(gev_stream_read_exactly(s, buf, 3), 3);
    expect_mem_eq(buf, "567", 3);
    expect_ok(gev_stream_settimeout(s, 0.005));
    errno = 0;
    expect_int_eq(gev_stream_read_exactly(s, buf, 3), 2); /* time is up */
    expect_int_eq(errno, ETIMEDOUT);
    expect_fail(gev_stream_read_exactly(s, buf, 3), ETIMEDOUT);
    expect_fail(gev_stream_read(s, buf, 3), ETIMEDOUT);
    feed(peer, "x");
    expect_ok(gev_shutdown(peer, SHUT_WR));
    errno = EIO;
    expect_int_eq(gev_stream_read_exactly(s, buf, 3), 1); /* the end */
    expect_int_eq(errno, 0);
    expect_int_eq(gev_stream_read(s, buf, 3), 0);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

GEV_TEST(peeking_takes_nothing)
{
    int peer;
    const void *data = NULL;
    char *line = NULL;
    gev_stream *s = open_pair(&peer);
    expect_int_eq(gev_stream_peek(s, &data, 0), 0);
    feed(peer, "abc\n");
    expect_int_eq(gev_stream_peek(s, &data, 1), 4);
    expect_mem_eq(data, "abc\n", 4);
    expect_int_eq(gev_stream_read_line(s, &line, 10), 4);
    expect_str_eq(line, "abc\n");
    feed(peer, "de");
    expect_ok(gev_shutdown(peer, SHUT_WR));
    expect_int_eq(gev_stream_peek(s, &data, 100), 2); /* all there is */
    expect_mem_eq(data, "de", 2);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

/* What comes after the NUL of a piece is what was there. */
GEV_TEST(the_nul_covers_nothing_up)
{
    int peer;
    char *line = NULL;
    char buf[4];
    gev_stream *s = open_pair(&peer);
    feed(peer, "a\nb\ncd");
    expect_int_eq(gev_stream_read_line(s, &line, 10), 2);
    expect_int_eq(gev_stream_read_line(s, &line, 10), 2);
    expect_str_eq(line, "b\n");
    expect_int_eq(gev_stream_read(s, buf, 4), 2);
    expect_mem_eq(buf, "cd", 2);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

enum { BIG = 3000000 };

static void *send_big(void *arg)
{
    char *data = malloc(BIG);
    for (size_t i = 0; i < BIG; i++) {
        data[i] = (char)(i * 7 % 251);
    }
    expect_int_eq(gev_send_all(N(arg), data, BIG), BIG);
    expect_ok(gev_shutdown(N(arg), SHUT_WR));
    free(data);
    return NULL;
}

static bool is_big(const char *data, size_t n)
{
    size_t i = 0;
    while (i < n && data[i] == (char)(i * 7 % 251)) {
        i++;
    }
    return i == n;
}

GEV_TEST(read_all_of_much)
{
    int peer;
    char *data = NULL;
    gev_stream *s = open_pair(&peer);
    gev_greenlet *g = gev_spawn(send_big, P(peer));
    expect_fail(gev_stream_read_all(s, &data, BIG / 2), EMSGSIZE);
    expect_int_eq(gev_stream_read_all(s, &data, BIG), BIG); /* nothing lost */
    expect_true(is_big(data, BIG));
    free(data);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

GEV_TEST(read_exactly_much)
{
    int peer;
    char *data = malloc(BIG);
    gev_stream *s = open_pair(&peer);
    gev_greenlet *g = gev_spawn(send_big, P(peer));
    expect_int_eq(gev_stream_read(s, data, 10), 10);
    expect_int_eq(gev_stream_read_exactly(s, data + 10, BIG - 10), BIG - 10);
    expect_true(is_big(data, BIG));
    free(data);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

/* --- writing -------------------------------------------------------------- */

/* FIL5 */
GEV_TEST(writes_are_buffered_until_flushed)
{
    int peer;
    gev_stream *s = open_pair(&peer);
    const struct iovec iov[] = {{P("ab"), 2}, {NULL, 0}, {P("cd"), 2}};
    expect_ok(gev_stream_write(s, "x", 1));
    expect_ok(gev_stream_write(s, NULL, 0));
    expect_ok(gev_stream_printf(s, "%d-%s;", 42, "y"));
    expect_ok(gev_stream_writev(s, iov, 3));
    expect_str_eq(sent(peer), "");
    expect_ok(gev_stream_flush(s));
    expect_str_eq(sent(peer), "x42-y;abcd");
    expect_ok(gev_stream_flush(s));
    expect_fail(gev_stream_writev(s, iov, -1), EINVAL);
    expect_fail(gev_stream_printf(s, NULL), EINVAL);
    expect_ok(gev_stream_write(s, "bye", 3));
    expect_ok(gev_stream_close(s)); /* flushes */
    expect_str_eq(sent(peer), "bye");
    expect_ok(gev_close(peer));
}

/* A request needs no flush before its answer is read. */
GEV_TEST(reading_flushes_first)
{
    int peer;
    char c = 0;
    gev_stream *s = open_pair(&peer);
    gev_stream *p = gev_stream_open(peer);
    expect_ok(gev_stream_settimeout(s, test_scale(5)));
    expect_ok(gev_stream_write(p, "answer", 6));
    expect_ok(gev_stream_flush(p));
    expect_ok(gev_stream_write(s, "?", 1));
    expect_int_eq(gev_stream_read(s, &c, 1), 1);
    expect_int_eq(gev_stream_read(s, &c, 1), 1); /* buffered: no need */
    expect_int_eq(gev_stream_read(p, &c, 1), 1);
    expect_int_eq(c, '?');
    expect_ok(gev_stream_close(s));
    expect_ok(gev_stream_close(p));
}

static void *read_everything(void *arg)
{
    gev_stream *s = arg;
    char *data = NULL;
    ssize_t n = gev_stream_read_all(s, &data, 10 * BIG);
    bool right = n == BIG && is_big(data, BIG);
    free(data);
    return P(right);
}

GEV_TEST(big_writes_go_past_the_buffer)
{
    int peer;
    void *right = NULL;
    char *data = malloc(BIG);
    gev_stream *s = open_pair(&peer);
    gev_stream *p = gev_stream_open(peer);
    gev_greenlet *g = gev_spawn(read_everything, p);
    for (size_t i = 0; i < BIG; i++) {
        data[i] = (char)(i * 7 % 251);
    }
    size_t done = 0;
    for (size_t n = 1; done < BIG; n = n * 3 + 1) {
        n = n < BIG - done ? n : BIG - done;
        expect_ok(gev_stream_write(s, data + done, n));
        done += n;
    }
    expect_ok(gev_stream_shutdown(s));
    expect_fail(gev_stream_write(s, "x", 1), EPIPE);
    expect_ok(gev_get(g, &right, GEV_FOREVER));
    expect_int_eq(N(right), 1);
    gev_unref(g);
    free(data);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_stream_close(p));
}

GEV_TEST(long_texts_are_printed_whole)
{
    enum { LONG = 50000 };
    int peer;
    char *line = NULL;
    char *text = malloc(LONG + 1);
    memset(text, 'z', LONG);
    text[LONG] = '\0';
    gev_stream *s = open_pair(&peer);
    gev_stream *p = gev_stream_open(peer);
    expect_ok(gev_stream_printf(s, "%.16000s", text));
    expect_ok(gev_stream_printf(s, "%.384s", text)); /* fills it to the brim */
    expect_ok(gev_stream_printf(s, "%s\n", text));
    expect_ok(gev_stream_flush(s));
    expect_int_eq(gev_stream_read_line(p, &line, 100000), LONG + 16384 + 1);
    expect_uint_eq(strspn(line, "z"), LONG + 16384);
    free(text);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_stream_close(p));
}

/* SOC7: the file's bytes come after what was written before. */
GEV_TEST(files_are_sent)
{
    char path[] = "/tmp/gev-test-XXXXXX";
    char *data = NULL;
    int peer;
    int fd = mkstemp(path);
    expect_ge(fd, 0);
    unlink(path);
    expect_int_eq(write(fd, "0123456789", 10), 10);
    gev_stream *s = open_pair(&peer);
    expect_ok(gev_stream_write(s, "<", 1));
    expect_ok(gev_stream_sendfile(s, fd, 2, 5));
    expect_ok(gev_stream_write(s, ">", 1));
    expect_fail(gev_stream_sendfile(s, fd, 8, 5), EIO); /* it ends before */
    expect_ok(gev_stream_close(s));
    gev_stream *p = gev_stream_open(peer);
    expect_int_eq(gev_stream_read_all(p, &data, 100), 9);
    expect_str_eq(data, "<23456>89");
    free(data);
    expect_ok(gev_stream_close(p));
    close(fd);
}

static void *fill_forever(void *arg)
{
    static const char block[100000];
    int rc = 0;
    while (rc == 0) {
        rc = gev_stream_write(arg, block, sizeof(block));
    }
    return P(errno);
}

/* A writer whom the peer lets wait: time out, and a peer that goes. */
GEV_TEST(writes_time_out_and_fail)
{
    int peer;
    void *error = NULL;
    gev_stream *s = open_pair(&peer);
    expect_ok(gev_stream_settimeout(s, 0.01));
    gev_greenlet *g = gev_spawn(fill_forever, s);
    expect_ok(gev_get(g, &error, GEV_FOREVER));
    expect_int_eq(N(error), ETIMEDOUT);
    gev_unref(g);
    expect_ok(gev_stream_settimeout(s, GEV_FOREVER));
    g = gev_spawn(fill_forever, s);
    expect_ok(gev_yield());
    expect_ok(gev_close(peer));
    expect_ok(gev_get(g, &error, GEV_FOREVER));
    expect_int_eq(N(error), EPIPE);
    gev_unref(g);
    expect_ok(gev_stream_abort(s));
}

/* --- several greenlets ---------------------------------------------------- */

struct user {
    gev_stream *s;
    ssize_t rc;
    int error;
    char *line;
};

static void *read_a_line(void *arg)
{
    struct user *u = arg;
    char *line = NULL;
    u->rc = gev_stream_read_line(u->s, &line, 100);
    u->error = u->rc < 0 ? errno : 0;
    u->line = u->rc > 0 ? strdup(line) : NULL;
    return NULL;
}

/* Readers take turns, first come, first served; one that is killed loses
 * nothing for the others. */
GEV_TEST(readers_take_turns)
{
    int peer;
    gev_stream *s = open_pair(&peer);
    struct user u[4];
    gev_greenlet *g[4];
    for (int i = 0; i < 4; i++) {
        u[i] = (struct user){.s = s};
        g[i] = gev_spawn(read_a_line, &u[i]);
    }
    expect_ok(gev_yield());
    feed(peer, "half");
    expect_ok(gev_sleep(0.002));
    expect_ok(gev_kill(g[0], GEV_FOREVER)); /* in the transport */
    expect_ok(gev_kill(g[2], GEV_FOREVER)); /* waiting for its turn */
    feed(peer, " first\nsecond\n");
    expect_int_eq(gev_joinall(g, 4, GEV_FOREVER), 4);
    expect_int_eq(u[0].error, ECANCELED);
    expect_int_eq(u[2].error, ECANCELED);
    expect_str_eq(u[1].line, "half first\n");
    expect_str_eq(u[3].line, "second\n");
    free(u[1].line);
    free(u[3].line);
    gev_unrefall(g, 4);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

/* Full duplex: a parked reader does not hinder a writer. */
GEV_TEST(reader_and_writer_at_once)
{
    int peer;
    gev_stream *s = open_pair(&peer);
    struct user u = {.s = s};
    gev_greenlet *g = gev_spawn(read_a_line, &u);
    expect_ok(gev_yield());
    expect_ok(gev_stream_write(s, "ping", 4));
    expect_ok(gev_stream_flush(s));
    expect_str_eq(sent(peer), "ping");
    feed(peer, "pong\n");
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(u.line, "pong\n");
    free(u.line);
    gev_unref(g);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

static void *read_to_the_end(void *arg)
{
    struct user *u = arg;
    u->rc = gev_stream_read_all(u->s, &u->line, 1000);
    u->error = u->rc < 0 ? errno : 0;
    return NULL;
}

/* FIL2: close wakes readers and writers, in the transport or in the queue. */
GEV_TEST(close_wakes_all)
{
    int peer;
    void *error = NULL;
    gev_stream *s = open_pair(&peer);
    struct user u[2] = {{.s = s}, {.s = s}};
    gev_greenlet *g[4] = {
        gev_spawn(read_a_line, &u[0]), gev_spawn(read_a_line, &u[1]),
        gev_spawn(fill_forever, s), gev_spawn(fill_forever, s)};
    expect_ok(gev_yield());
    expect_ok(gev_stream_close(s));
    expect_int_eq(gev_joinall(g, 4, GEV_FOREVER), 4);
    expect_int_eq(u[0].error, EBADF);
    expect_int_eq(u[1].error, EBADF);
    expect_ok(gev_get(g[2], &error, 0));
    expect_int_eq(N(error), EBADF);
    expect_ok(gev_get(g[3], &error, 0));
    expect_int_eq(N(error), EBADF);
    gev_unrefall(g, 4);
    expect_ok(gev_close(peer));
}

/* FIL2: who asked for all gets what there is. */
GEV_TEST(read_all_cut_by_close_gives_what_it_has)
{
    int peer;
    gev_stream *s = open_pair(&peer);
    struct user u = {.s = s};
    gev_greenlet *g = gev_spawn(read_to_the_end, &u);
    feed(peer, "so far");
    expect_ok(gev_sleep(0.002));
    expect_ok(gev_stream_close(s));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(u.rc, 6);
    expect_str_eq(u.line, "so far");
    free(u.line);
    gev_unref(g);
    expect_ok(gev_close(peer));
}

static void *write_and_be_killed(void *arg)
{
    gev_stream *s = arg;
    expect_ok(gev_stream_write(s, "small", 5));
    expect_fail(gev_kill(gev_current(), 0), ECANCELED);
    expect_ok(gev_stream_close(s)); /* need not park */
    return NULL;
}

static void *fill_and_be_killed(void *arg)
{
    static char block[1000];
    gev_stream *s = arg;
    expect_ok(gev_stream_write(s, block, sizeof(block)));
    expect_fail(gev_kill(gev_current(), 0), ECANCELED);
    expect_fail(gev_stream_close(s), ECANCELED); /* closed all the same */
    return NULL;
}

static void abort_stream(void *s)
{
    expect_ok(gev_stream_abort(s));
}

static void *defer_abort(void *arg)
{
    expect_ok(gev_defer(abort_stream, arg));
    expect_fail(gev_sleep(100), ECANCELED);
    return NULL;
}

GEV_TEST(close_in_a_killed_greenlet)
{
    int peer;
    gev_stream *s = open_pair(&peer);
    gev_greenlet *g = gev_spawn(write_and_be_killed, s);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_str_eq(sent(peer), "small");
    gev_unref(g);
    expect_ok(gev_close(peer));

    s = open_pair(&peer);
    static const char block[50000];
    while (gev_send(gev_stream_fd(s), block, sizeof(block), MSG_DONTWAIT) > 0) {
    }
    g = gev_spawn(fill_and_be_killed, s);
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    expect_ok(gev_close(peer));

    s = open_pair(&peer);
    struct user u = {.s = s};
    gev_greenlet *reader = gev_spawn(read_a_line, &u);
    g = gev_spawn(defer_abort, s);
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER)); /* closes where it may not park */
    expect_ok(gev_join(reader, GEV_FOREVER));
    expect_int_eq(u.error, EBADF);
    gev_unref(g);
    gev_unref(reader);
    expect_ok(gev_close(peer));
}

/* --- the rest ------------------------------------------------------------- */

GEV_TEST(timeouts_are_for_each_call_as_a_whole)
{
    int peer;
    char buf[100];
    gev_stream *s = open_pair(&peer);
    gev_greenlet *g = gev_spawn(feed_slowly, P(peer));
    expect_ok(gev_stream_settimeout(s, 0));
    expect_fail(gev_stream_read(s, buf, 1), ETIMEDOUT);
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_ge(gev_stream_read(s, buf, 100), 1); /* one try, which succeeds */
    expect_fail(gev_stream_settimeout(s, NAN), EINVAL);
    expect_fail(gev_stream_settimeout(NULL, 1), EINVAL);
    gev_unref(g);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

GEV_TEST(detach_gives_the_descriptor_back)
{
    int peer;
    char c;
    gev_stream *s = open_pair(&peer);
    int fd = gev_stream_fd(s);
    feed(peer, "ab");
    expect_ok(gev_stream_write(s, "out", 3));
    expect_int_eq(gev_stream_read(s, &c, 1), 1);
    expect_fail(gev_stream_detach(s), EBUSY); /* 'b' is unread */
    expect_int_eq(gev_stream_read(s, &c, 1), 1);
    expect_int_eq(gev_stream_detach(s), fd);
    expect_str_eq(sent(peer), "out");
    expect_int_eq(gev_send(fd, "x", 1, 0), 1);
    expect_ok(gev_close(fd));
    expect_ok(gev_close(peer));
}

static void *use_elsewhere(void *arg)
{
    char c;
    expect_fail(gev_stream_read(arg, &c, 1), EPERM);
    expect_fail(gev_stream_write(arg, "x", 1), EPERM);
    expect_fail(gev_stream_close(arg), EPERM);
    expect_ok(gev_hub_close());
    return NULL;
}

GEV_TEST(misuse_is_an_error)
{
    int peer;
    pthread_t thread;
    gev_stream *s = open_pair(&peer);
    char c;
    expect_null(gev_stream_open(-1));
    expect_int_eq(errno, EBADF);
    expect_null(gev_stream_new(NULL, NULL));
    expect_int_eq(errno, EINVAL);
    const gev_transport empty = {.size = sizeof(empty)};
    expect_null(gev_stream_new(&empty, NULL));
    expect_int_eq(errno, EINVAL);
    expect_fail(gev_stream_read(NULL, &c, 1), EINVAL);
    expect_fail(gev_stream_write(NULL, "x", 1), EINVAL);
    expect_fail(gev_stream_flush(NULL), EINVAL);
    expect_fail(gev_stream_fd(NULL), EINVAL);
    expect_fail(gev_stream_shutdown(NULL), EINVAL);
    expect_fail(gev_stream_detach(NULL), EINVAL);
    expect_ok(gev_stream_close(NULL));
    expect_ok(gev_stream_abort(NULL));
    expect_uint_eq(gev_stream_buffered(NULL), 0);
    /* No buffer, with and without something there. */
    for (int i = 0; i < 2; i++) {
        expect_fail(gev_stream_read(s, NULL, 1), EINVAL);
        expect_fail(gev_stream_read_exactly(s, NULL, 1), EINVAL);
        expect_fail(gev_stream_write(s, NULL, 1), EINVAL);
        expect_int_eq(gev_stream_read(s, NULL, 0), 0);
        expect_int_eq(gev_stream_read_exactly(s, NULL, 0), 0);
        expect_ok(gev_stream_write(s, NULL, 0));
        expect_int_eq(gev_send(peer, "xy", 2, 0), 2);
        expect_int_eq(gev_stream_peek(s, NULL, 2), 2);
    }
    expect_int_eq(pthread_create(&thread, NULL, use_elsewhere, s), 0);
    expect_int_eq(pthread_join(thread, NULL), 0);
    expect_ok(gev_stream_close(s));
    expect_ok(gev_close(peer));
}

/* --- a transport of one's own --------------------------------------------- */

/* Bytes go round: what is written can be read. */
struct ring {
    gev_queue *bytes;
    int closed;
    int cancelled;
};

static ssize_t ring_read(void *self, void *buf, size_t n)
{
    const struct ring *r = self;
    void *item = NULL;
    size_t got = 0;
    while (got < n &&
           gev_queue_get(r->bytes, &item, got == 0 ? GEV_FOREVER : 0) == 0) {
        ((char *)buf)[got++] = (char)N(item);
    }
    return got > 0 ? (ssize_t)got : errno == EPIPE ? 0 : -1;
}

static ssize_t ring_write(void *self, const void *buf, size_t n)
{
    const struct ring *r = self;
    (void)n;
    /* As short as can be. */
    return gev_queue_put(r->bytes, P(*(const char *)buf), GEV_FOREVER) < 0 ? -1
                                                                           : 1;
}

static int ring_close(void *self)
{
    struct ring *r = self;
    r->closed++;
    gev_queue_free(r->bytes);
    return 0;
}

static const gev_transport ring_transport = {.size = sizeof(gev_transport),
                                             .read = ring_read,
                                             .write = ring_write,
                                             .close = ring_close};

GEV_TEST(any_transport_will_do)
{
    struct ring r = {gev_queue_new(100), 0, 0};
    char *line = NULL;
    gev_stream *s = gev_stream_new(&ring_transport, &r);
    expect_ok(gev_stream_printf(s, "round and %s\n", "round"));
    expect_int_eq(gev_stream_read_line(s, &line, 100), 16);
    expect_str_eq(line, "round and round\n");
    expect_fail(gev_stream_fd(s), ENOTSUP);
    expect_fail(gev_stream_detach(s), ENOTSUP);
    expect_fail(gev_stream_shutdown(s), EOPNOTSUPP);
    expect_ok(gev_stream_settimeout(s, 0.005));
    expect_fail(gev_stream_read_line(s, &line, 100), ETIMEDOUT);
    expect_ok(gev_stream_settimeout(s, GEV_FOREVER));
    /* Without a cancel of its own, a parked user is thrown into. */
    struct user u = {.s = s};
    gev_greenlet *g = gev_spawn(read_a_line, &u);
    expect_ok(gev_yield());
    expect_ok(gev_stream_close(s));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(u.error, EBADF);
    expect_int_eq(r.closed, 1);
    gev_unref(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_with_their_newline),
        cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(pieces_are_put_together),
        cmocka_unit_test(exact_amounts),
        cmocka_unit_test(peeking_takes_nothing),
        cmocka_unit_test(the_nul_covers_nothing_up),
        cmocka_unit_test(read_all_of_much),
        cmocka_unit_test(read_exactly_much),
        cmocka_unit_test(writes_are_buffered_until_flushed),
        cmocka_unit_test(reading_flushes_first),
        cmocka_unit_test(big_writes_go_past_the_buffer),
        cmocka_unit_test(long_texts_are_printed_whole),
        cmocka_unit_test(files_are_sent),
        cmocka_unit_test(writes_time_out_and_fail),
        cmocka_unit_test(readers_take_turns),
        cmocka_unit_test(reader_and_writer_at_once),
        cmocka_unit_test(close_wakes_all),
        cmocka_unit_test(read_all_cut_by_close_gives_what_it_has),
        cmocka_unit_test(close_in_a_killed_greenlet),
        cmocka_unit_test(timeouts_are_for_each_call_as_a_whole),
        cmocka_unit_test(detach_gives_the_descriptor_back),
        cmocka_unit_test(misuse_is_an_error),
        cmocka_unit_test(any_transport_will_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
