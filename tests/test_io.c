/* SPDX-License-Identifier: MIT */

/* Reading and writing: gev_read, gev_write and their kin, gev_recv_exactly,
 * gev_send_all, gev_sendfile (SOC2, SOC3, SOC6, SOC7, SOC14, SOC24, OS5). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIG ((size_t)10 * 1000 * 1000)

/* A file of that size, removed already; byte i is (char)(i * 7). */
static int make_file(size_t size)
{
    char path[] = "/tmp/gev-test-XXXXXX";
    int fd = mkstemp(path);
    expect_ge(fd, 0);
    unlink(path);
    char buf[4096];
    for (size_t done = 0; done < size;) {
        size_t n = size - done < sizeof(buf) ? size - done : sizeof(buf);
        for (size_t i = 0; i < n; i++) {
            buf[i] = (char)((done + i) * 7);
        }
        expect_int_eq(write(fd, buf, n), n);
        done += n;
    }
    expect_int_eq(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static char *make_pattern(size_t size)
{
    char *p = malloc(size);
    for (size_t i = 0; i < size; i++) {
        p[i] = (char)(i * 7);
    }
    return p;
}

/* One call in a greenlet of its own. */
struct call {
    int fd;
    char *buf;
    size_t n;
    ssize_t rc;
    int error; /* errno after it */
    bool is_done;
};

static void *do_read(void *arg)
{
    struct call *c = arg;
    c->rc = gev_read(c->fd, c->buf, c->n);
    c->error = errno;
    c->is_done = true;
    return NULL;
}

static void *do_recv_exactly(void *arg)
{
    struct call *c = arg;
    c->rc = gev_recv_exactly(c->fd, c->buf, c->n);
    c->error = errno;
    c->is_done = true;
    return NULL;
}

static void *do_send_all(void *arg)
{
    struct call *c = arg;
    c->rc = gev_send_all(c->fd, c->buf, c->n);
    c->error = errno;
    c->is_done = true;
    return NULL;
}

/* --- parking -------------------------------------------------------------- */

GEV_TEST(read_parks_until_data_comes)
{
    int fds[2];
    char buf[8];
    struct call c = {.buf = buf, .n = sizeof(buf)};

    expect_ok(gev_pipe(fds));
    c.fd = fds[0];
    gev_greenlet *g = gev_spawn(do_read, &c);
    expect_ok(gev_sleep(0.001));
    expect_false(c.is_done);
    expect_int_eq(gev_write(fds[1], "abc", 3), 3);
    test_join(g);
    expect_int_eq(c.rc, 3);
    expect_mem_eq(buf, "abc", 3);
    test_close_both(fds);
}

GEV_TEST(ready_data_needs_no_park)
{
    int fds[2];
    char buf[8];

    test_pair(SOCK_STREAM, fds);
    expect_int_eq(gev_write(fds[1], "ab", 2), 2);
    gev_stats before = {.size = sizeof(before)};
    gev_stats after = {.size = sizeof(after)};
    gev_hub_stats(gev_hub_get(), &before);
    expect_int_eq(gev_read(fds[0], buf, 2), 2);
    gev_hub_stats(gev_hub_get(), &after);
    expect_uint_eq(after.switches, before.switches);
    test_close_both(fds);
}

/* After a short read the next one parks before it tries; data that came
 * meanwhile must not be lost by that. */
GEV_TEST(data_after_a_short_read_is_found)
{
    int fds[2];
    char buf[8];

    test_pair(SOCK_STREAM, fds);
    for (int i = 0; i < 100; i++) {
        expect_int_eq(gev_write(fds[1], "abc", 3), 3);
        expect_int_eq(gev_read(fds[0], buf, sizeof(buf)), 3);
        expect_int_eq(gev_write(fds[1], "d", 1), 1);
        expect_int_eq(gev_read(fds[0], buf, sizeof(buf)), 1);
    }
    test_close_both(fds);
}

GEV_TEST(read_of_nothing_returns_at_once)
{
    int fds[2];
    char buf[8];

    test_pair(SOCK_STREAM, fds);
    expect_int_eq(gev_read(fds[0], buf, 0), 0);
    expect_int_eq(gev_write(fds[1], "a", 1), 1);
    expect_int_eq(gev_read(fds[0], buf, 8), 1);
    expect_int_eq(gev_read(fds[0], buf, 0), 0); /* after a short read, too */
    expect_int_eq(gev_write(fds[1], "", 0), 0);
    expect_int_eq(gev_recv_exactly(fds[0], buf, 0), 0);
    expect_int_eq(gev_send_all(fds[0], buf, 0), 0);
    test_close_both(fds);
}

GEV_TEST(read_sees_the_end)
{
    int fds[2];
    char buf[8];
    struct call c = {.buf = buf, .n = sizeof(buf)};

    expect_ok(gev_pipe(fds));
    c.fd = fds[0];
    gev_greenlet *g = gev_spawn(do_read, &c);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_close(fds[1])); /* only HUP */
    test_join(g);
    expect_int_eq(c.rc, 0);
    expect_int_eq(gev_read(fds[0], buf, sizeof(buf)), 0);
    expect_int_eq(gev_read(fds[0], buf, sizeof(buf)), 0);
    expect_ok(gev_close(fds[0]));
}

GEV_TEST(bad_descriptors_are_refused)
{
    char buf[4];
    struct iovec iov = {buf, 4};

    expect_fail(gev_read(-1, buf, 4), EBADF);
    expect_fail(gev_write(-1, buf, 4), EBADF);
    expect_fail(gev_read(1000000, buf, 4), EBADF);
    expect_fail(gev_readv(-1, &iov, 1), EBADF);
    expect_fail(gev_writev(INT_MAX, &iov, 1), EBADF);
    expect_fail(gev_send_all(-1, buf, 4), EBADF);
    expect_fail(gev_recv_exactly(-1, buf, 4), EBADF);
    expect_fail(gev_sendfile(-1, 0, NULL, 1), EBADF);

    int fds[2];
    test_pair(SOCK_STREAM, fds);
    test_close_both(fds);
    expect_fail(gev_read(fds[0], buf, 4), EBADF);
    expect_fail(gev_write(fds[0], buf, 4), EBADF);
}

GEV_TEST(vectors_are_read_and_written)
{
    int kinds[2][2];
    test_pair(SOCK_STREAM, kinds[0]);
    expect_ok(gev_pipe(kinds[1]));
    int t = kinds[0][0]; /* the pair's ends, in the pipe's order */
    kinds[0][0] = kinds[0][1];
    kinds[0][1] = t;

    for (int k = 0; k < 2; k++) {
        char a[3] = "";
        char b[4] = "";
        char abc[] = "abc";
        char defg[] = "defg";
        struct iovec out[] = {{abc, 3}, {abc, 0}, {defg, 4}};
        struct iovec in[] = {{a, 3}, {b, 4}};
        int *fds = kinds[k];
        expect_int_eq(gev_writev(fds[1], out, 3), 7);
        expect_int_eq(gev_readv(fds[0], in, 2), 7);
        expect_mem_eq(a, "abc", 3);
        expect_mem_eq(b, "defg", 4);
        expect_int_eq(gev_readv(fds[0], in, 0), 0);
        expect_int_eq(gev_writev(fds[1], out + 1, 1), 0);

        static struct iovec many[IOV_MAX + 1];
        expect_fail(gev_readv(fds[0], many, IOV_MAX + 1), EINVAL);
        expect_fail(gev_writev(fds[1], many, IOV_MAX + 1), EINVAL);
        expect_fail(gev_readv(fds[0], in, -1), EINVAL);
        expect_fail(gev_writev(fds[1], out, -1), EINVAL);
        test_close_both(fds);
    }
}

/* --- whole transfers ------------------------------------------------------ */

static void transfer_big(int from, int to)
{
    char *sent = make_pattern(BIG);
    char *got = calloc(1, BIG);
    struct call c = {.fd = to, .buf = got, .n = BIG};
    gev_greenlet *g = gev_spawn(do_recv_exactly, &c);

    expect_int_eq(gev_send_all(from, sent, BIG), BIG);
    test_join(g);
    expect_int_eq(c.rc, BIG);
    expect_true(memcmp(sent, got, BIG) == 0);
    free(sent);
    free(got);
}

GEV_TEST(big_transfers_arrive_whole)
{
    int fds[2];

    test_pair(SOCK_STREAM, fds);
    transfer_big(fds[0], fds[1]);
    transfer_big(fds[1], fds[0]);
    test_close_both(fds);
    expect_ok(gev_pipe(fds));
    transfer_big(fds[1], fds[0]);
    test_close_both(fds);
}

/* SOC14: one reader and one writer on each end at the same time. */
GEV_TEST(both_directions_work_at_once)
{
    int fds[2];
    char *sent = make_pattern(BIG);
    char *got[2] = {calloc(1, BIG), calloc(1, BIG)};
    gev_greenlet *g[4];
    struct call c[4];

    test_pair(SOCK_STREAM, fds);
    for (int i = 0; i < 2; i++) {
        c[i] = (struct call){.fd = fds[i], .buf = sent, .n = BIG};
        c[2 + i] = (struct call){.fd = fds[i], .buf = got[i], .n = BIG};
        g[i] = gev_spawn(do_send_all, &c[i]);
        g[2 + i] = gev_spawn(do_recv_exactly, &c[2 + i]);
    }
    for (int i = 0; i < 4; i++) {
        test_join(g[i]);
        expect_int_eq(c[i].rc, BIG);
    }
    expect_true(memcmp(sent, got[0], BIG) == 0);
    expect_true(memcmp(sent, got[1], BIG) == 0);
    free(sent);
    free(got[0]);
    free(got[1]);
    test_close_both(fds);
}

GEV_TEST(recv_exactly_says_why_it_stopped)
{
    int fds[2];
    char buf[8];

    test_pair(SOCK_STREAM, fds);
    expect_int_eq(gev_write(fds[1], "abc", 3), 3);
    expect_ok(gev_settimeout(fds[0], 0.01));
    expect_int_eq(gev_recv_exactly(fds[0], buf, 8), 3);
    expect_int_eq(errno, ETIMEDOUT);
    expect_fail(gev_recv_exactly(fds[0], buf, 8), ETIMEDOUT);
    expect_ok(gev_settimeout(fds[0], 0));
    expect_fail(gev_recv_exactly(fds[0], buf, 8), EAGAIN);
    expect_int_eq(gev_write(fds[1], "de", 2), 2);
    expect_int_eq(gev_recv_exactly(fds[0], buf, 8), 2);
    expect_int_eq(errno, EAGAIN);
    expect_int_eq(gev_write(fds[1], "fg", 2), 2);
    expect_ok(gev_close(fds[1]));
    expect_int_eq(gev_recv_exactly(fds[0], buf, 8), 2);
    expect_int_eq(errno, 0);
    errno = EIO;
    expect_int_eq(gev_recv_exactly(fds[0], buf, 8), 0);
    expect_int_eq(errno, 0);
    expect_ok(gev_close(fds[0]));
}

/* N2: a deadline in the middle. The limit is for the whole, not for each part
 * (SOC6). */
GEV_TEST(send_all_says_how_much_went)
{
    int fds[2];
    char *sent = make_pattern(BIG);
    char *got = malloc(BIG);
    size_t n = 0;

    test_pair(SOCK_STREAM, fds);
    expect_ok(gev_settimeout(fds[0], 0.1));
    struct call c = {.fd = fds[0], .buf = sent, .n = BIG};
    double begin = test_now();
    gev_greenlet *g = gev_spawn(do_send_all, &c);
    while (!gev_dead(g)) { /* a slow reader: some progress all the time */
        ssize_t rc = gev_read(fds[1], got + n, 1000);
        expect_true(rc > 0);
        n += (size_t)rc;
        expect_ok(gev_sleep(0.005));
    }
    expect_ge(test_now() - begin, 0.1);
    expect_le(test_now() - begin, 0.1 + test_scale(5));
    test_join(g);
    expect_true(c.rc > 0 && c.rc < (ssize_t)BIG);
    expect_int_eq(c.error, ETIMEDOUT);
    while (n < (size_t)c.rc) {
        ssize_t rc = gev_read(fds[1], got + n, BIG - n);
        if (!expect_true(rc > 0)) {
            break;
        }
        n += (size_t)rc;
    }
    expect_int_eq(n, c.rc);
    expect_true(memcmp(sent, got, n) == 0);
    /* At least one try, whatever the timeout. */
    expect_ok(gev_settimeout(fds[0], 0));
    ssize_t rc = gev_send_all(fds[0], sent, BIG);
    expect_true(rc > 0 && rc < (ssize_t)BIG);
    expect_int_eq(errno, EAGAIN);
    expect_fail(gev_send_all(fds[0], sent, BIG), EAGAIN);
    free(sent);
    free(got);
    test_close_both(fds);
}

/* --- limits and kills ----------------------------------------------------- */

GEV_TEST(timeouts_of_a_descriptor_limit_each_call)
{
    int fds[2];
    char buf[8];

    test_pair(SOCK_STREAM, fds);
    expect_ok(gev_settimeout(fds[0], 0.02));
    double begin = test_now();
    expect_fail(gev_read(fds[0], buf, 8), ETIMEDOUT);
    expect_ge(test_now() - begin, 0.02);
    begin = test_now();
    expect_fail(gev_read(fds[0], buf, 8), ETIMEDOUT);
    expect_ge(test_now() - begin, 0.02);
    expect_int_eq(gev_write(fds[1], "a", 1), 1);
    expect_int_eq(gev_read(fds[0], buf, 8), 1);
    expect_fail(gev_read(fds[0], buf, 8), ETIMEDOUT);

    const double none[] = {0, -1, -GEV_FOREVER};
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_settimeout(fds[0], none[i]));
        expect_fail(gev_read(fds[0], buf, 8), EAGAIN);
        expect_int_eq(gev_write(fds[1], "ab", 2), 2);
        expect_int_eq(gev_read(fds[0], buf, 8), 2); /* drained before */
    }
    expect_ok(gev_settimeout(fds[0], GEV_FOREVER));
    struct call c = {.fd = fds[0], .buf = buf, .n = 8};
    gev_greenlet *g = gev_spawn(do_read, &c);
    expect_ok(gev_sleep(0.03));
    expect_false(c.is_done);
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
    test_close_both(fds);
}

GEV_TEST(settimeout_checks_its_arguments)
{
    int fds[2];

    test_pair(SOCK_STREAM, fds);
    expect_fail(gev_settimeout(fds[0], NAN), EINVAL);
    test_close_both(fds);
    expect_fail(gev_settimeout(fds[0], 1), EBADF);
    expect_fail(gev_settimeout(-1, 1), EBADF);
}

/* SOC24 */
GEV_TEST(killed_reader_takes_nothing)
{
    int fds[2];
    char buf[8];
    struct call c = {.buf = buf, .n = sizeof(buf)};

    test_pair(SOCK_STREAM, fds);
    c.fd = fds[0];
    gev_greenlet *g = gev_spawn(do_read, &c);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(c.rc, -1);
    expect_int_eq(c.error, ECANCELED);
    gev_unref(g);
    expect_int_eq(gev_write(fds[1], "abc", 3), 3);
    expect_int_eq(gev_read(fds[0], buf, sizeof(buf)), 3);
    expect_mem_eq(buf, "abc", 3);
    test_close_both(fds);
}

static void *read_in_expired_scope(void *arg)
{
    struct call *c = arg;
    gev_timeout t = {0};

    expect_ok(gev_timeout_begin(&t, 0));
    c->rc = gev_read(c->fd, c->buf, c->n);
    c->error = errno;
    expect_true(gev_timeout_end(&t));
    return NULL;
}

/* "A call that need not park succeeds in an expired scope", also after a short
 * read, when it would park first. */
GEV_TEST(expired_scopes_and_kills_do_not_hide_data)
{
    int fds[2];
    char buf[8];
    struct call c = {.buf = buf, .n = sizeof(buf)};

    test_pair(SOCK_STREAM, fds);
    c.fd = fds[0];
    expect_int_eq(gev_write(fds[1], "ab", 2), 2);
    expect_int_eq(gev_read(fds[0], buf, 8), 2);
    expect_int_eq(gev_write(fds[1], "cd", 2), 2);
    gev_greenlet *g = gev_spawn(read_in_expired_scope, &c);
    test_join(g);
    expect_int_eq(c.rc, 2);
    g = gev_spawn(read_in_expired_scope, &c);
    test_join(g);
    expect_int_eq(c.rc, -1);
    expect_int_eq(c.error, ETIMEDOUT);

    expect_int_eq(gev_write(fds[1], "ef", 2), 2);
    expect_fail(gev_kill(gev_current(), 0), ECANCELED);
    expect_int_eq(gev_read(fds[0], buf, 8), 2);
    expect_fail(gev_read(fds[0], buf, 8), ECANCELED);
    expect_int_eq(gev_uncancel(), ECANCELED);
    test_close_both(fds);
}

GEV_TEST(scopes_limit_calls)
{
    int fds[2];
    char buf[8];
    gev_timeout t = {0};

    test_pair(SOCK_STREAM, fds);
    expect_ok(gev_timeout_begin_error(&t, 0.01, EDOM));
    expect_fail(gev_read(fds[0], buf, 8), EDOM);
    expect_true(gev_timeout_end(&t));
    expect_int_eq(gev_write(fds[1], "a", 1), 1);
    expect_int_eq(gev_read(fds[0], buf, 8), 1);
    test_close_both(fds);
}

/* --- several readers ------------------------------------------------------ */

struct readers {
    int fd;
    int lines;
    int seen[1000];
};

static void *read_numbers(void *arg)
{
    struct readers *r = arg;
    int number;
    ssize_t rc;

    while ((rc = gev_recv(r->fd, &number, sizeof(number), 0)) ==
           sizeof(number)) {
        r->seen[number]++;
        r->lines++;
    }
    expect_int_eq(rc, 0);
    return NULL;
}

/* HUB17: any number may wait, every message is read once. */
GEV_TEST(readers_share_a_socket)
{
    int fds[2];
    struct readers r = {0};
    gev_greenlet *g[5];

    expect_ok(gev_socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds));
    r.fd = fds[0];
    for (int i = 0; i < 5; i++) {
        g[i] = gev_spawn(read_numbers, &r);
    }
    for (int i = 0; i < 1000; i++) {
        expect_int_eq(gev_write(fds[1], &i, sizeof(i)), sizeof(i));
        if (i % 7 == 0) {
            expect_ok(gev_sleep(0));
        }
    }
    expect_ok(gev_close(fds[1]));
    expect_int_eq(gev_joinall(g, 5, GEV_FOREVER), 5);
    expect_int_eq(r.lines, 1000);
    for (int i = 0; i < 1000; i++) {
        expect_int_eq(r.seen[i], 1);
    }
    for (int i = 0; i < 5; i++) {
        gev_unref(g[i]);
    }
    expect_ok(gev_close(fds[0]));
}

/* --- signals -------------------------------------------------------------- */

static volatile sig_atomic_t alarms;

static void count_alarm(int signum)
{
    (void)signum;
    alarms++;
}

GEV_TEST(interrupts_are_not_seen)
{
    struct sigaction act = {.sa_handler = count_alarm}; /* no SA_RESTART */
    struct sigaction old;
    /* Microseconds; valgrind needs more than its share for a signal. */
    suseconds_t every = (suseconds_t)(200 * test_scale(1) * test_scale(1));
    struct itimerval on = {{0, every}, {0, every}};
    struct itimerval off = {{0, 0}, {0, 0}};
    int fds[2];

    sigaction(SIGALRM, &act, &old);
    setitimer(ITIMER_REAL, &on, NULL);
    test_pair(SOCK_STREAM, fds);
    double begin = test_now();
    do {
        transfer_big(fds[0], fds[1]);
        expect_ok(gev_sleep(0.002));
    } while (alarms < 50 && test_now() - begin < test_scale(10));
    setitimer(ITIMER_REAL, &off, NULL);
    sigaction(SIGALRM, &old, NULL);
    expect_ge(alarms, 50);
    test_close_both(fds);
}

static void expect_no_sigpipe_pending(void)
{
    sigset_t set;
    sigpending(&set);
    expect_false(sigismember(&set, SIGPIPE));
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    expect_false(sigismember(&set, SIGPIPE));
}

/* N1. SIGPIPE would end this process. */
GEV_TEST(broken_pipes_are_epipe)
{
    char abc[] = "abc";
    struct iovec iov = {abc, 3};
    int fds[2];
    int file = make_file(100);

    struct sigaction act;
    sigaction(SIGPIPE, NULL, &act);
    expect_true(act.sa_handler == SIG_DFL);

    for (int k = 0; k < 3; k++) {
        if (k == 0) {
            expect_ok(gev_pipe(fds));
        } else if (k == 1) {
            test_pair(SOCK_STREAM, fds);
        } else {
            test_socketpair(fds); /* not gev's */
        }
        expect_ok(gev_close(fds[0]));
        for (int i = 0; i < 3; i++) {
            off_t offset = 0;
            expect_fail(gev_write(fds[1], "abc", 3), EPIPE);
            expect_fail(gev_writev(fds[1], &iov, 1), EPIPE);
            expect_fail(gev_send_all(fds[1], "abc", 3), EPIPE);
            expect_fail(gev_sendfile(fds[1], file, &offset, 10), EPIPE);
            if (k > 0) {
                expect_fail(gev_send(fds[1], "abc", 3, 0), EPIPE);
                expect_fail(gev_sendto(fds[1], "abc", 3, 0, NULL, 0), EPIPE);
            }
            expect_no_sigpipe_pending();
        }
        expect_ok(gev_close(fds[1]));
    }
    close(file);
}

/* A program's own blocked SIGPIPE stays where it is. */
GEV_TEST(pending_sigpipe_is_left_alone)
{
    int fds[2];
    sigset_t set;
    sigset_t old;
    sigset_t pending;
    int signum;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    expect_ok(gev_pipe(fds));
    expect_ok(gev_close(fds[0]));
    expect_fail(gev_write(fds[1], "a", 1), EPIPE);
    sigpending(&pending);
    expect_false(sigismember(&pending, SIGPIPE));
    pthread_kill(pthread_self(), SIGPIPE);
    expect_fail(gev_write(fds[1], "a", 1), EPIPE);
    sigpending(&pending);
    expect_true(sigismember(&pending, SIGPIPE));
    expect_int_eq(sigwait(&set, &signum), 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    expect_ok(gev_close(fds[1]));
}

/* --- files and sendfile --------------------------------------------------- */

GEV_TEST(files_never_park)
{
    int fd = make_file(10000);
    char buf[6000];

    gev_stats before = {.size = sizeof(before)};
    gev_stats after = {.size = sizeof(after)};
    gev_hub_stats(gev_hub_get(), &before);
    expect_int_eq(gev_read(fd, buf, 6000), 6000);
    expect_int_eq(gev_read(fd, buf, 6000), 4000);
    expect_int_eq(gev_read(fd, buf, 6000), 0);
    expect_int_eq(gev_write(fd, "abc", 3), 3);
    char defg[] = "defg";
    struct iovec iov = {defg, 4};
    expect_int_eq(gev_writev(fd, &iov, 1), 4);
    expect_int_eq(lseek(fd, 9999, SEEK_SET), 9999);
    expect_int_eq(gev_recv_exactly(fd, buf, 8), 8);
    expect_mem_eq(buf + 1, "abcdefg", 7);
    expect_int_eq(gev_recv_exactly(fd, buf, 8), 0);
    gev_hub_stats(gev_hub_get(), &after);
    expect_uint_eq(after.switches, before.switches);
    close(fd);
}

/* Files are closed by close(2): their numbers' next users park as ever. */
GEV_TEST(number_of_a_closed_file_is_looked_at_anew)
{
    int fds[2];
    char buf[8];
    int file = make_file(10);

    expect_ok(gev_settimeout(file, 5));
    expect_int_eq(gev_read(file, buf, 8), 8);
    close(file);
    int raw[2];
    test_socketpair(raw); /* blocking, and one has the file's number */
    expect_true(raw[0] == file || raw[1] == file);
    int other = raw[0] == file ? raw[1] : raw[0];
    struct call c = {.fd = file, .buf = buf, .n = 8};
    gev_greenlet *g = gev_spawn(do_read, &c);
    expect_ok(gev_sleep(0.001));
    expect_false(c.is_done);
    expect_int_eq(write(other, "abc", 3), 3);
    test_join(g);
    expect_int_eq(c.rc, 3);
    expect_ok(gev_close(file));
    expect_ok(gev_close(other));
    test_pair(SOCK_STREAM, fds);
    test_close_both(fds);
}

GEV_TEST(sendfile_sends_a_file)
{
    int fds[2];
    char *want = make_pattern(BIG);
    char *got = calloc(1, BIG);
    int file = make_file(BIG);
    struct call c = {.buf = got, .n = BIG};
    off_t offset = 0;

    test_pair(SOCK_STREAM, fds);
    c.fd = fds[0];
    gev_greenlet *g = gev_spawn(do_recv_exactly, &c);
    while (offset < (off_t)BIG) {
        off_t before = offset;
        ssize_t rc = gev_sendfile(fds[1], file, &offset, BIG);
        if (!expect_true(rc > 0)) {
            break;
        }
        expect_int_eq(offset, before + rc);
    }
    test_join(g);
    expect_int_eq(c.rc, BIG);
    expect_true(memcmp(want, got, BIG) == 0);
    expect_int_eq(gev_sendfile(fds[1], file, &offset, 10), 0);
    expect_int_eq(lseek(file, 0, SEEK_CUR), 0); /* not moved */

    expect_int_eq(gev_sendfile(fds[1], file, NULL, 100), 100);
    expect_int_eq(lseek(file, 0, SEEK_CUR), 100);
    offset = (off_t)BIG - 7;
    expect_int_eq(gev_sendfile(fds[1], file, &offset, 100), 7);
    expect_fail(gev_sendfile(fds[1], -1, NULL, 100), EBADF);

    expect_ok(gev_settimeout(fds[1], 0.01));
    ssize_t rc;
    offset = 0;
    while ((rc = gev_sendfile(fds[1], file, &offset, BIG)) > 0) {
    }
    expect_fail(rc, ETIMEDOUT);
    expect_true(offset > 0);
    close(file);
    free(want);
    free(got);
    test_close_both(fds);
}

/* Into a pipe sockets can be sent, too; then the source may be what is waited
 * for.
 */
GEV_TEST(sendfile_waits_for_a_slow_source)
{
    int from[2];
    int to[2];
    char buf[8];

    test_pair(SOCK_STREAM, from);
    expect_ok(gev_pipe(to));
    expect_ok(gev_settimeout(to[1], 0.01));
    ssize_t rc = gev_sendfile(to[1], from[0], NULL, 100);
    if (rc == -1 && errno == EINVAL) {
        test_close_both(from);
        test_close_both(to);
        test_skip("this kernel has no sendfile from a socket");
    }
    expect_fail(rc, ETIMEDOUT);
    expect_int_eq(gev_write(from[1], "abc", 3), 3);
    expect_int_eq(gev_sendfile(to[1], from[0], NULL, 100), 3);
    expect_int_eq(gev_read(to[0], buf, 8), 3);
    expect_ok(gev_close(from[1]));
    expect_int_eq(gev_sendfile(to[1], from[0], NULL, 100), 0);
    expect_ok(gev_close(from[0]));
    test_close_both(to);
}

/* --- where parking is forbidden ------------------------------------------- */

static void read_in_callback(void *arg)
{
    struct call *c = arg;
    c->rc = gev_read(c->fd, c->buf, c->n);
    c->error = errno;
    c->is_done = true;
}

GEV_TEST(callbacks_may_read_what_is_there)
{
    int fds[2];
    char buf[8];
    struct call c = {.buf = buf, .n = 8};

    test_pair(SOCK_STREAM, fds);
    c.fd = fds[0];
    expect_int_eq(gev_write(fds[1], "a", 1), 1);
    expect_int_eq(gev_read(fds[0], buf, 8), 1); /* drained */
    expect_int_eq(gev_write(fds[1], "abc", 3), 3);
    expect_ok(gev_hub_post(gev_hub_get(), read_in_callback, &c));
    expect_ok(gev_sleep(0.002));
    expect_true(c.is_done);
    expect_int_eq(c.rc, 3);
    c.is_done = false;
    expect_ok(gev_hub_post(gev_hub_get(), read_in_callback, &c));
    expect_ok(gev_sleep(0.002));
    expect_true(c.is_done);
    expect_int_eq(c.rc, -1);
    expect_int_eq(c.error, EPERM);
    test_close_both(fds);
}

GEV_TEST(errno_and_buffers_are_the_greenlets_own)
{
    int fds[2];
    char buf[8];
    struct call c = {.buf = buf, .n = 8};

    test_pair(SOCK_STREAM, fds);
    c.fd = fds[0];
    gev_greenlet *g = gev_spawn(do_read, &c);
    errno = E2BIG;
    expect_ok(gev_sleep(0.001));
    expect_int_eq(errno, E2BIG);
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(c.error, ECANCELED);
    expect_int_eq(errno, E2BIG);
    gev_unref(g);
    test_close_both(fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_parks_until_data_comes),
        cmocka_unit_test(ready_data_needs_no_park),
        cmocka_unit_test(data_after_a_short_read_is_found),
        cmocka_unit_test(read_of_nothing_returns_at_once),
        cmocka_unit_test(read_sees_the_end),
        cmocka_unit_test(bad_descriptors_are_refused),
        cmocka_unit_test(vectors_are_read_and_written),
        cmocka_unit_test(big_transfers_arrive_whole),
        cmocka_unit_test(both_directions_work_at_once),
        cmocka_unit_test(recv_exactly_says_why_it_stopped),
        cmocka_unit_test(send_all_says_how_much_went),
        cmocka_unit_test(timeouts_of_a_descriptor_limit_each_call),
        cmocka_unit_test(settimeout_checks_its_arguments),
        cmocka_unit_test(killed_reader_takes_nothing),
        cmocka_unit_test(expired_scopes_and_kills_do_not_hide_data),
        cmocka_unit_test(scopes_limit_calls),
        cmocka_unit_test(readers_share_a_socket),
        cmocka_unit_test(interrupts_are_not_seen),
        cmocka_unit_test(broken_pipes_are_epipe),
        cmocka_unit_test(pending_sigpipe_is_left_alone),
        cmocka_unit_test(files_never_park),
        cmocka_unit_test(number_of_a_closed_file_is_looked_at_anew),
        cmocka_unit_test(sendfile_sends_a_file),
        cmocka_unit_test(sendfile_waits_for_a_slow_source),
        cmocka_unit_test(callbacks_may_read_what_is_there),
        cmocka_unit_test(errno_and_buffers_are_the_greenlets_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
