/* SPDX-License-Identifier: MIT */

/* Messages between hubs in two threads, beside what threads need for them
 * without any hub. */
#include <gev.h>

#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const char usage[] =
    "usage: bench_crosshub [-r rounds] [-q]\n"
    "Measures messages between two threads, in time on the clock.\n"
    "  cross.raw          an eventfd each, read after epoll_wait(): the limit "
    "of\n"
    "                     a message to a thread that sleeps\n"
    "  cross.event        gev_event_post() there and back, each greenlet "
    "waits\n"
    "                     with gev_event_wait()\n"
    "  cross.raw_stream   one way, a queue with a lock and a condition "
    "variable\n"
    "  cross.queue        one way, gev_queue_post() to gev_queue_get()\n"
    "  cross.post         one way, gev_hub_post() of a function\n"
    "  cross.*.rate       the same as messages a second\n";

#define TRIPS ((size_t)20000)
#define STREAM ((size_t)400000)

static pthread_barrier_t both;

static void meet(void)
{
    (void)pthread_barrier_wait(&both);
}

/* Runs fn in two threads; the time from their meeting to their end. */
static double run_two(void *(*fn)(void *), void *a, void *b)
{
    pthread_t threads[2];

    pthread_barrier_init(&both, NULL, 3);
    bench_check(pthread_create(&threads[0], NULL, fn, a) == 0, "thread");
    bench_check(pthread_create(&threads[1], NULL, fn, b) == 0, "thread");
    meet();
    double start = bench_now();
    meet();
    double end = bench_now();
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    pthread_barrier_destroy(&both);
    return end - start;
}

/* --- there and back ------------------------------------------------------- */

struct raw_side {
    int fd;
    int epoll;
    struct raw_side *other;
    size_t trips;
    bool first;
};

static void raw_wait(const struct raw_side *s)
{
    struct epoll_event event;
    uint64_t count;

    bench_check(epoll_wait(s->epoll, &event, 1, -1) == 1, "epoll_wait");
    bench_check(read(s->fd, &count, sizeof(count)) == sizeof(count), "read");
}

static void raw_wake(const struct raw_side *s)
{
    const uint64_t one = 1;

    bench_check(write(s->other->fd, &one, sizeof(one)) == sizeof(one), "write");
}

static void *raw_play(void *arg)
{
    const struct raw_side *s = arg;

    meet();
    for (size_t i = 0; i < s->trips; i++) {
        if (s->first) {
            raw_wake(s);
        }
        raw_wait(s);
        if (!s->first) {
            raw_wake(s);
        }
    }
    meet();
    return NULL;
}

static double run_raw(void *arg)
{
    struct raw_side s[2];
    const size_t trips = bench_count(TRIPS);

    (void)arg;
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN};
        s[i] = (struct raw_side){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                 .epoll = epoll_create1(EPOLL_CLOEXEC),
                                 .other = &s[1 - i],
                                 .trips = trips,
                                 .first = i == 0};
        bench_check(epoll_ctl(s[i].epoll, EPOLL_CTL_ADD, s[i].fd, &event) == 0,
                    "epoll_ctl");
    }
    double seconds = run_two(raw_play, &s[0], &s[1]);
    for (int i = 0; i < 2; i++) {
        close(s[i].fd);
        close(s[i].epoll);
    }
    return seconds * 1e6 / (double)(2 * trips);
}

struct side {
    gev_event event;
    struct side *other;
    size_t trips;
    bool first;
};

static void *play(void *arg)
{
    struct side *s = arg;
    int rc = 0;

    gev_event_init(&s->event);
    gev_hub_ref(gev_hub_get());
    meet();
    for (size_t i = 0; i < s->trips; i++) {
        if (s->first) {
            rc |= gev_event_post(&s->other->event);
        }
        rc |= gev_event_wait(&s->event, GEV_FOREVER);
        gev_event_clear(&s->event);
        if (!s->first) {
            rc |= gev_event_post(&s->other->event);
        }
    }
    meet();
    gev_hub_unref(gev_hub_get());
    bench_check(rc == 0 && gev_hub_close() == 0, "gev_event_post");
    return NULL;
}

static double run_event(void *arg)
{
    const size_t trips = bench_count(TRIPS);
    struct side s[2] = {{.trips = trips, .first = true}, {.trips = trips}};

    (void)arg;
    s[0].other = &s[1];
    s[1].other = &s[0];
    return run_two(play, &s[0], &s[1]) * 1e6 / (double)(2 * trips);
}

/* --- one way -------------------------------------------------------------- */

struct cell {
    struct cell *next;
};

struct stream {
    pthread_mutex_t lock;
    pthread_cond_t call;
    struct cell *head;
    struct cell **tail;
    _Atomic(gev_queue *) queue;
    _Atomic(gev_hub *) hub;
    size_t n;
    size_t came; /* in the receiver */
};

static struct stream stream;

static void *raw_stream(void *sends)
{
    meet();
    for (size_t i = 0; i < stream.n; i++) {
        if (sends != NULL) {
            struct cell *c = malloc(sizeof(*c));
            bench_check(c != NULL, "malloc");
            c->next = NULL;
            pthread_mutex_lock(&stream.lock);
            *stream.tail = c;
            stream.tail = &c->next;
            pthread_mutex_unlock(&stream.lock);
            pthread_cond_signal(&stream.call);
            continue;
        }
        pthread_mutex_lock(&stream.lock);
        while (stream.head == NULL) {
            pthread_cond_wait(&stream.call, &stream.lock);
        }
        struct cell *c = stream.head;
        stream.head = c->next;
        if (c->next == NULL) {
            stream.tail = &stream.head;
        }
        pthread_mutex_unlock(&stream.lock);
        free(c);
    }
    meet();
    return NULL;
}

static void *queue_stream(void *sends)
{
    int rc = 0;

    if (sends != NULL) {
        meet();
        gev_queue *queue;
        while ((queue = atomic_load(&stream.queue)) == NULL) {
        }
        for (size_t i = 0; i < stream.n; i++) {
            rc |= gev_queue_post(queue, &stream);
        }
        bench_check(rc == 0, "gev_queue_post");
        meet();
        return NULL;
    }
    gev_queue *queue = gev_queue_new(0);
    bench_check(queue != NULL, "gev_queue_new");
    gev_hub_ref(gev_hub_get());
    atomic_store(&stream.queue, queue);
    meet();
    for (size_t i = 0; i < stream.n; i++) {
        rc |= gev_queue_get(queue, NULL, GEV_FOREVER);
    }
    meet();
    bench_check(rc == 0, "gev_queue_get");
    gev_queue_free(queue);
    gev_hub_unref(gev_hub_get());
    gev_hub_close();
    return NULL;
}

static void count_post(void *event)
{
    if (++stream.came == stream.n) {
        gev_event_set(event);
    }
}

static gev_event all_came;

static void *post_stream(void *sends)
{
    if (sends != NULL) {
        int rc = 0;
        meet();
        gev_hub *hub;
        while ((hub = atomic_load(&stream.hub)) == NULL) {
        }
        for (size_t i = 0; i < stream.n; i++) {
            rc |= gev_hub_post(hub, count_post, &all_came);
        }
        bench_check(rc == 0, "gev_hub_post");
        meet();
        return NULL;
    }
    gev_event_init(&all_came);
    gev_hub_ref(gev_hub_get());
    atomic_store(&stream.hub, gev_hub_get());
    meet();
    bench_check(gev_event_wait(&all_came, GEV_FOREVER) == 0, "gev_event_wait");
    meet();
    gev_hub_unref(gev_hub_get());
    gev_hub_close();
    return NULL;
}

static double run_stream(void *(*fn)(void *))
{
    stream.n = bench_count(STREAM);
    stream.came = 0;
    stream.head = NULL;
    stream.tail = &stream.head;
    atomic_store(&stream.queue, NULL);
    atomic_store(&stream.hub, NULL);
    pthread_mutex_init(&stream.lock, NULL);
    pthread_cond_init(&stream.call, NULL);
    return run_two(fn, &stream, NULL) * 1e9 / (double)stream.n;
}

static double run_raw_stream(void *arg)
{
    (void)arg;
    return run_stream(raw_stream);
}

static double run_queue(void *arg)
{
    (void)arg;
    return run_stream(queue_stream);
}

static double run_post(void *arg)
{
    (void)arg;
    return run_stream(post_stream);
}

static double rate_event(void *arg)
{
    return 1e6 / run_event(arg);
}

static double rate_queue(void *arg)
{
    return 1e9 / run_queue(arg);
}

int main(int argc, char **argv)
{
    bench_option(argc, argv, usage, "");
    const struct bench_case cases[] = {
        {"cross.raw", "us", NULL, run_raw, NULL},
        {"cross.event", "us", "cross.raw", run_event, NULL},
        {"cross.event.rate", "1/s", NULL, rate_event, NULL},
        {"cross.raw_stream", "ns", NULL, run_raw_stream, NULL},
        {"cross.queue", "ns", "cross.raw_stream", run_queue, NULL},
        {"cross.post", "ns", "cross.raw_stream", run_post, NULL},
        {"cross.queue.rate", "1/s", NULL, rate_queue, NULL},
    };
    bench_run(cases, sizeof(cases) / sizeof(cases[0]));
    return EXIT_SUCCESS;
}
