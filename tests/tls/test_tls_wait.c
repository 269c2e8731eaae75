/* SPDX-License-Identifier: MIT */

/* TLS streams: waiting both ways at once, trying, and trimming. */
#include "tls_pair.h"

/* Says as much as goes: the bytes that were taken. */
static size_t write_until_full(gev_stream *s)
{
    static const char block[1000];
    size_t n = 0;
    expect_ok(gev_stream_settimeout(s, 0.01));
    while (gev_stream_write(s, block, sizeof(block)) == 0) {
        n += sizeof(block);
    }
    expect_int_eq(errno, ETIMEDOUT);
    expect_ok(gev_stream_settimeout(s, test_scale(5)));
    return n;
}

struct reading {
    gev_stream *s;
    size_t wanted;
};

static void *read_wanted(void *arg)
{
    static char trash[4000000];
    const struct reading *r = arg;
    expect_int_eq(gev_stream_read_exactly(r->s, trash, r->wanted), r->wanted);
    expect_ok(gev_stream_flush(r->s));
    return NULL;
}

/* Two who have said all they could, and more, and now read: neither waits for
 * the other to read first. */
static void expect_no_deadlock(struct pair *p)
{
    struct reading r[2] = {{.s = p->client.s}, {.s = p->server.s}};
    gev_greenlet *g[2];
    for (int i = 0; i < 2; i++) {
        r[i].wanted = write_until_full(r[1 - i].s);
    }
    for (int i = 0; i < 2; i++) {
        g[i] = gev_spawn(read_wanted, &r[i]);
    }
    expect_int_eq(gev_joinall(g, 2, test_scale(10)), 2);
    gev_unrefall(g, 2);
}

GEV_TEST(two_who_read_with_full_buffers)
{
    struct pair p = make_pair();
    expect_no_deadlock(&p);
    expect_true(converse(p.client.s, p.server.s));
    struct pair inner = pair_over(p.client.s, p.server.s);
    expect_no_deadlock(&inner); /* TLS in TLS */
    expect_true(converse(inner.client.s, inner.server.s));
    close_pair(&inner);
}

static void *say_later(void *arg)
{
    expect_ok(gev_sleep(0.01));
    expect_ok(gev_stream_printf(arg, "x"));
    expect_ok(gev_stream_flush(arg));
    return NULL;
}

GEV_TEST(streams_are_waited_for)
{
    struct pair p = make_pair();
    const int both = GEV_READ | GEV_WRITE;
    char c = 0;
    expect_int_eq(gev_stream_wait(p.client.s, GEV_WRITE), GEV_WRITE);
    expect_int_eq(gev_stream_wait(p.client.s, both), GEV_WRITE);
    expect_fail(gev_stream_wait(p.client.s, 0), EINVAL);
    expect_fail(gev_stream_wait(NULL, both), EINVAL);
    gev_greenlet *g = gev_spawn(say_later, p.server.s);
    /* Session tickets are there, but nothing to be read. */
    expect_int_eq(gev_stream_wait(p.client.s, GEV_READ), GEV_READ);
    expect_true(gev_ready(g) || gev_yield() == 0);
    expect_int_eq(gev_stream_wait(p.client.s, both), both);
    expect_int_eq(gev_stream_read(p.client.s, &c, 1), 1);
    expect_int_eq(c, 'x');
    expect_ok(gev_join(g, test_scale(5)));
    gev_unref(g);
    expect_ok(gev_stream_settimeout(p.client.s, 0.005));
    expect_fail(gev_stream_wait(p.client.s, GEV_READ), ETIMEDOUT);
    expect_ok(gev_stream_close(p.server.s));
    expect_int_eq(gev_stream_wait(p.client.s, GEV_READ), GEV_READ); /* end */
    expect_int_eq(gev_stream_read(p.client.s, &c, 1), 0);
    gev_stream_close(p.client.s);
}

GEV_TEST(writes_are_tried)
{
    struct pair p = make_pair();
    static const char block[10000];
    size_t n = 0;
    ssize_t some;
    expect_ok(gev_stream_printf(p.client.s, "first "));
    while ((some = gev_stream_try_write(p.client.s, block, 10000)) > 0) {
        n += (size_t)some;
    }
    expect_int_eq(errno, EAGAIN);
    expect_ge(n, 10000);
    expect_ok(gev_stream_settimeout(p.client.s, 0.005));
    expect_fail(gev_stream_wait(p.client.s, GEV_WRITE), ETIMEDOUT);
    char *all = malloc(n + 6);
    gev_greenlet *g = gev_spawn(say_later, p.client.s);
    expect_ok(gev_stream_settimeout(p.client.s, test_scale(5)));
    expect_int_eq(gev_stream_read_exactly(p.server.s, all, n + 6), n + 6);
    expect_mem_eq(all, "first ", 6);
    free(all);
    expect_ok(gev_join(g, test_scale(5)));
    gev_unref(g);
    expect_ok(gev_stream_shutdown(p.client.s));
    expect_fail(gev_stream_try_write(p.client.s, "x", 1), EPIPE);
    expect_fail(gev_stream_try_write(NULL, "x", 1), EINVAL);
    close_pair(&p);
}

/* A connection that is trimmed loses nothing, whatever is under way. */
GEV_TEST(trimmed_streams_go_on)
{
    struct pair p = make_pair();
    char *line = NULL;
    gev_greenlet *g = gev_spawn(read_line, p.client.s); /* waits */
    expect_ok(gev_yield());
    expect_ok(gev_stream_trim(p.client.s));
    expect_ok(gev_stream_printf(p.server.s, "for the reader\n"));
    expect_ok(gev_stream_trim(p.server.s));
    expect_ok(gev_stream_flush(p.server.s));
    expect_ok(gev_get(g, NULL, test_scale(5)));
    gev_unref(g);
    for (int i = 0; i < 3; i++) {
        expect_ok(gev_stream_trim(p.client.s));
        expect_ok(gev_stream_trim(p.server.s));
        expect_true(converse(p.client.s, p.server.s));
        expect_ok(gev_stream_printf(p.server.s, "one\ntwo\n"));
        expect_ok(gev_stream_flush(p.server.s));
        expect_int_eq(gev_stream_read_line(p.client.s, &line, 10), 4);
        expect_ok(gev_stream_trim(p.client.s)); /* with a line unread */
        expect_int_eq(gev_stream_read_line(p.client.s, &line, 10), 4);
        expect_str_eq(line, "two\n");
    }
    expect_fail(gev_stream_trim(NULL), EINVAL);
    close_pair(&p);
}

/* The header of a record has been read when the buffers are looked at. */
GEV_TEST(trimmed_in_a_record)
{
    static const char record[5 + 32] = {23, 3, 3, 0, 32};
    struct pair p = make_pair();
    int fd = gev_stream_fd(p.client.s);
    char c;
    expect_int_eq(gev_send_all(fd, record, 5), 5);
    expect_ok(gev_stream_settimeout(p.server.s, 0.01));
    expect_fail(gev_stream_read(p.server.s, &c, 1), ETIMEDOUT);
    expect_ok(gev_stream_trim(p.server.s));
    expect_int_eq(gev_send_all(fd, record + 5, 32), 32);
    expect_fail(gev_stream_read(p.server.s, &c, 1), GEV_ETLS); /* nonsense */
    close_pair(&p);
}

static void *read_trimmed(void *arg)
{
    expect_ok(gev_stream_trim(arg));
    return read_line(arg);
}

GEV_TEST(a_trimmed_stream_is_closed_under_its_reader)
{
    struct pair p = make_pair();
    gev_greenlet *g = gev_spawn(read_trimmed, p.client.s);
    expect_ok(gev_sleep(0.001));
    expect_ok(gev_stream_close(p.client.s));
    expect_fail(gev_get(g, NULL, test_scale(5)), EBADF);
    gev_unref(g);
    gev_stream_close(p.server.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_who_read_with_full_buffers),
        cmocka_unit_test(streams_are_waited_for),
        cmocka_unit_test(writes_are_tried),
        cmocka_unit_test(trimmed_streams_go_on),
        cmocka_unit_test(trimmed_in_a_record),
        cmocka_unit_test(a_trimmed_stream_is_closed_under_its_reader),
    };
    (void)certs_path(""); /* made outside of the tests */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
