/* SPDX-License-Identifier: MIT */

/* What a message costs: two greenlets hand a pointer back and forth over two
 * channels, beside two coroutines that do it through bare words. */
#include <gev.h>

#include "bench.h"
#include "floor.h"

#include <stdlib.h>

static const char usage[] =
    "usage: bench_channel [-r rounds] [-q]\n"
    "Measures messages through channels; a round trip is two.\n"
    "  channel.limit     a one-slot mailbox between two coroutines that can "
    "do\n"
    "                    nothing else; its send does not wait\n"
    "  channel.pingpong  two unbuffered channels, there and back\n"
    "  channel.choose    the same, received by a gev_choose() of two\n"
    "  channel.stream    one unbuffered channel, in one direction\n"
    "  channel.buffered  one channel of 128 items, in one direction\n"
    "  channel.try       sent and received by one greenlet, never parking\n";

#define MESSAGES ((size_t)4000000)

struct pair {
    gev_channel *there;
    gev_channel *back;
    size_t n; /* messages, or round trips */
    int rc;   /* of the other greenlet: all calls */
};

static double per_message(double start, size_t messages)
{
    return (bench_cpu() - start) * 1e9 / (double)messages;
}

static double run_pair(gev_fn other, double (*measure)(struct pair *),
                       size_t capacity, size_t n)
{
    struct pair p = {.n = n};

    p.there = gev_channel_new(capacity);
    p.back = gev_channel_new(capacity);
    gev_greenlet *g = gev_spawn(other, &p);
    bench_check(p.there != NULL && p.back != NULL && g != NULL, "memory");
    double result = measure(&p);
    bench_check(gev_join(g, GEV_FOREVER) == 0 && p.rc == 0, "the channels");
    gev_unref(g);
    gev_channel_free(p.there);
    gev_channel_free(p.back);
    return result;
}

/* --- ping-pong ------------------------------------------------------------ */

static void *answer(void *arg)
{
    struct pair *p = arg;
    void *item = NULL;

    for (size_t i = 0; i < p->n; i++) {
        p->rc |= gev_channel_recv(p->there, &item, GEV_FOREVER);
        p->rc |= gev_channel_send(p->back, item, GEV_FOREVER);
    }
    return NULL;
}

static double ask(struct pair *p)
{
    void *item = NULL;
    int rc = 0;

    double start = bench_cpu();
    for (size_t i = 0; i < p->n; i++) {
        rc |= gev_channel_send(p->there, (void *)i, GEV_FOREVER);
        rc |= gev_channel_recv(p->back, &item, GEV_FOREVER);
    }
    double result = per_message(start, 2 * p->n);
    bench_check(rc == 0 && item == (void *)(p->n - 1), "the answers");
    return result;
}

static double run_pingpong(void *arg)
{
    (void)arg;
    return run_pair(answer, ask, 0, bench_count(MESSAGES / 2));
}

static double ask_and_choose(struct pair *p)
{
    gev_channel *never = gev_channel_new(0);
    size_t failed = 0;

    bench_check(never != NULL, "memory");
    double start = bench_cpu();
    for (size_t i = 0; i < p->n; i++) {
        gev_clause clause[] = {{.op = GEV_RECV, .channel = never},
                               {.op = GEV_RECV, .channel = p->back}};
        failed += gev_channel_send(p->there, (void *)i, GEV_FOREVER) != 0;
        failed += gev_choose(clause, 2, GEV_FOREVER) != 1;
    }
    double result = per_message(start, 2 * p->n);
    bench_check(failed == 0, "the choices");
    gev_channel_free(never);
    return result;
}

static double run_choose(void *arg)
{
    (void)arg;
    return run_pair(answer, ask_and_choose, 0, bench_count(MESSAGES / 2));
}

/* --- one way -------------------------------------------------------------- */

static void *take(void *arg)
{
    struct pair *p = arg;

    for (size_t i = 0; i < p->n; i++) {
        p->rc |= gev_channel_recv(p->there, NULL, GEV_FOREVER);
    }
    return NULL;
}

static double give(struct pair *p)
{
    int rc = 0;

    double start = bench_cpu();
    for (size_t i = 0; i < p->n; i++) {
        rc |= gev_channel_send(p->there, NULL, GEV_FOREVER);
    }
    double result = per_message(start, p->n);
    bench_check(rc == 0, "the sends");
    return result;
}

static double run_stream(void *arg)
{
    return run_pair(take, give, *(const size_t *)arg, bench_count(MESSAGES));
}

static double run_try(void *arg)
{
    gev_channel *c = gev_channel_new(1);
    size_t n = bench_count(MESSAGES);
    int rc = 0;

    (void)arg;
    bench_check(c != NULL, "memory");
    double start = bench_cpu();
    for (size_t i = 0; i < n; i++) {
        rc |= gev_channel_send(c, NULL, 0);
        rc |= gev_channel_recv(c, NULL, 0);
    }
    double result = per_message(start, n);
    bench_check(rc == 0, "the channel");
    gev_channel_free(c);
    return result;
}

/* --- the limit ------------------------------------------------------------ */

#if HAVE_FLOOR

struct mailbox {
    void *item;
    struct floor_co *waiter;
    bool full;
};

static inline void mailbox_send(struct mailbox *m, void *item)
{
    m->item = item;
    m->full = true;
    if (m->waiter != NULL) {
        floor_push(m->waiter);
        m->waiter = NULL;
    }
}

static inline void *mailbox_receive(struct mailbox *m)
{
    while (!m->full) {
        m->waiter = floor_current;
        floor_run_next(floor_current);
    }
    m->full = false;
    return m->item;
}

struct mailboxes {
    struct mailbox there;
    struct mailbox back;
    size_t n;
};

static void answer_mailbox(void *arg)
{
    struct mailboxes *m = arg;

    for (size_t i = 0; i < m->n; i++) {
        mailbox_send(&m->back, mailbox_receive(&m->there));
    }
}

static double run_limit(void *arg)
{
    struct mailboxes m = {.n = bench_count(MESSAGES / 2)};
    struct floor_co *other = floor_spawn(answer_mailbox, &m);
    void *item = NULL;

    (void)arg;
    bench_check(other != NULL, "memory");
    double start = bench_cpu();
    for (size_t i = 0; i < m.n; i++) {
        mailbox_send(&m.there, (void *)i);
        item = mailbox_receive(&m.back);
    }
    double result = per_message(start, 2 * m.n);
    bench_check(item == (void *)(m.n - 1), "the mailboxes");
    floor_join(other);
    return result;
}

#endif

int main(int argc, char **argv)
{
    static size_t unbuffered = 0;
    static size_t buffered = 128;

    bench_option(argc, argv, usage, "");
    bench_pin(0);

    const struct bench_case cases[] = {
#if HAVE_FLOOR
        {"channel.limit", "ns", NULL, run_limit, NULL},
#endif
        {"channel.pingpong", "ns", "channel.limit", run_pingpong, NULL},
        {"channel.choose", "ns", "channel.limit", run_choose, NULL},
        {"channel.stream", "ns", NULL, run_stream, &unbuffered},
        {"channel.buffered", "ns", NULL, run_stream, &buffered},
        {"channel.try", "ns", NULL, run_try, NULL},
    };
    bench_run(cases, sizeof(cases) / sizeof(cases[0]));
    return gev_hub_close() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
