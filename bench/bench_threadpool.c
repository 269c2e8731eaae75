/* SPDX-License-Identifier: MIT */

/* What it costs to have a function run in another thread, beside the least that
 * threads need for it: a condition variable there, one eventfd back. */
#include <gev.h>

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const char usage[] =
    "usage: bench_threadpool [-f file] [-r rounds] [-q]\n"
    "Measures jobs that do nothing, in time on the clock.\n"
    "  pool.raw          a condition variable wakes a thread, which wakes an\n"
    "                    epoll_wait() by an eventfd: the limit for one job\n"
    "  pool.apply        gev_threadpool_apply(), one after the other\n"
    "  pool.raw_batch    100 jobs at once through a queue with a lock to 4\n"
    "                    threads, answers by an eventfd: the limit\n"
    "  pool.apply_batch  100 greenlets in gev_threadpool_apply(), 4 threads\n"
    "  pool.spawn_batch  100 gev_threadpool_spawn(), and a "
    "gev_threadpool_join\n"
    "  pool.map_batch    gev_threadpool_map() of 100\n"
    "  pool.hub          jobs that make a hub in their thread\n"
    "  file.pread        pread(2) of 4 KB from the page cache: the limit\n"
    "  file.gev_pread    gev_file_pread() of the same\n"
    "  file.pwrite       pwrite(2) of 4 KB to the page cache\n"
    "  file.gev_pwrite   gev_file_pwrite() of the same\n"
    "  -f FILE           the file for that (bench_threadpool.tmp, removed)\n";

#define TRIPS ((size_t)20000)
#define BATCH 100
#define THREADS 4

/* --- raw ------------------------------------------------------------------ */

/* Jobs are numbers: only how many there are matters. */
struct raw_pool {
    pthread_mutex_t lock;
    pthread_cond_t call;
    size_t queued;
    size_t done;
    bool ending;
    int fd;
    int epoll;
    pthread_t threads[THREADS];
};

static void *run_raw(void *arg)
{
    struct raw_pool *p = arg;
    const uint64_t one = 1;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        if (p->queued > 0) {
            p->queued--;
            pthread_mutex_unlock(&p->lock);
            BENCH_BARRIER(); /* the job */
            pthread_mutex_lock(&p->lock);
            if (p->done++ == 0) {
                bench_check(write(p->fd, &one, sizeof(one)) == sizeof(one),
                            "eventfd");
            }
        } else if (p->ending) {
            break;
        } else {
            pthread_cond_wait(&p->call, &p->lock);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void raw_open(struct raw_pool *p, size_t n)
{
    struct epoll_event event = {.events = EPOLLIN};

    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->call, NULL);
    p->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    bench_check(p->fd >= 0 && p->epoll >= 0, "eventfd, epoll");
    bench_check(epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->fd, &event) == 0,
                "epoll_ctl");
    for (size_t i = 0; i < n; i++) {
        bench_check(pthread_create(&p->threads[i], NULL, run_raw, p) == 0,
                    "thread");
    }
}

static void raw_close(struct raw_pool *p, size_t n)
{
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    pthread_cond_broadcast(&p->call);
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < n; i++) {
        pthread_join(p->threads[i], NULL);
    }
    close(p->fd);
    close(p->epoll);
}

static void raw_batch(struct raw_pool *p, size_t n)
{
    size_t done = 0;

    for (size_t i = 0; i < n; i++) {
        pthread_mutex_lock(&p->lock);
        p->queued++;
        pthread_mutex_unlock(&p->lock);
        pthread_cond_signal(&p->call);
    }
    while (done < n) {
        struct epoll_event event;
        uint64_t count;
        bench_check(epoll_wait(p->epoll, &event, 1, -1) == 1, "epoll_wait");
        bench_check(read(p->fd, &count, sizeof(count)) == sizeof(count),
                    "read");
        pthread_mutex_lock(&p->lock);
        done += p->done;
        p->done = 0;
        pthread_mutex_unlock(&p->lock);
    }
}

static double run_raw_case(size_t threads, size_t batch)
{
    static struct raw_pool pool;
    const size_t n = bench_count(TRIPS) / batch + 1;

    pool = (struct raw_pool){.ending = false};
    raw_open(&pool, threads);
    raw_batch(&pool, batch);
    double start = bench_now();
    for (size_t i = 0; i < n; i++) {
        raw_batch(&pool, batch);
    }
    double end = bench_now();
    raw_close(&pool, threads);
    return (end - start) * 1e6 / (double)(n * batch);
}

static double run_raw_one(void *arg)
{
    (void)arg;
    return run_raw_case(1, 1);
}

static double run_raw_batch(void *arg)
{
    (void)arg;
    return run_raw_case(THREADS, BATCH);
}

/* --- gev ------------------------------------------------------------------ */

static void *nothing(void *arg)
{
    return arg;
}

static void *use_a_hub(void *arg)
{
    return gev_yield() == 0 ? arg : gev_fail(EINVAL);
}

static double run_applies(gev_fn fn, size_t n)
{
    gev_threadpool *pool = gev_threadpool_new(1);
    int rc = gev_threadpool_apply(pool, fn, NULL, NULL, GEV_FOREVER);

    double start = bench_now();
    for (size_t i = 0; i < n; i++) {
        rc |= gev_threadpool_apply(pool, fn, NULL, NULL, GEV_FOREVER);
    }
    double end = bench_now();
    bench_check(rc == 0, "gev_threadpool_apply");
    gev_threadpool_free(pool);
    return (end - start) * 1e6 / (double)n;
}

static double run_apply(void *arg)
{
    (void)arg;
    return run_applies(nothing, bench_count(TRIPS));
}

static double run_hub(void *arg)
{
    (void)arg;
    return run_applies(use_a_hub, bench_count(TRIPS / 4));
}

struct batch {
    gev_threadpool *pool;
    size_t trips;
};

static void *apply_often(void *arg)
{
    struct batch *b = arg;
    int rc = 0;

    for (size_t i = 0; i < b->trips; i++) {
        rc |= gev_threadpool_apply(b->pool, nothing, NULL, NULL, GEV_FOREVER);
    }
    bench_check(rc == 0, "gev_threadpool_apply");
    return NULL;
}

static double run_apply_batch(void *arg)
{
    gev_greenlet *g[BATCH];
    struct batch b = {.pool = gev_threadpool_new(THREADS),
                      .trips = bench_count(TRIPS) / BATCH + 1};

    (void)arg;
    bench_check(gev_threadpool_set_size(b.pool, THREADS) == 0, "threads");
    double start = bench_now();
    for (size_t i = 0; i < BATCH; i++) {
        g[i] = gev_spawn(apply_often, &b);
    }
    bench_check(gev_joinall(g, BATCH, GEV_FOREVER) == BATCH, "join");
    double end = bench_now();
    gev_unrefall(g, BATCH);
    gev_threadpool_free(b.pool);
    return (end - start) * 1e6 / (double)(b.trips * BATCH);
}

static void spawn_batch(gev_threadpool *pool)
{
    int rc = 0;

    for (size_t i = 0; i < BATCH; i++) {
        rc |= gev_threadpool_spawn(pool, nothing, NULL, NULL);
    }
    rc |= gev_threadpool_join(pool, GEV_FOREVER);
    bench_check(rc == 0, "gev_threadpool_spawn");
}

static void map_batch(gev_threadpool *pool)
{
    void *values[BATCH] = {NULL};

    bench_check(gev_threadpool_map(pool, nothing, values, values, BATCH) == 0,
                "gev_threadpool_map");
}

static double run_batches(void (*batch)(gev_threadpool *pool))
{
    gev_threadpool *pool = gev_threadpool_new(THREADS);
    const size_t n = bench_count(TRIPS) / BATCH + 1;

    bench_check(gev_threadpool_set_size(pool, THREADS) == 0, "threads");
    double start = bench_now();
    for (size_t i = 0; i < n; i++) {
        batch(pool);
    }
    double end = bench_now();
    gev_threadpool_free(pool);
    return (end - start) * 1e6 / (double)(n * BATCH);
}

static double run_spawn_batch(void *arg)
{
    (void)arg;
    return run_batches(spawn_batch);
}

static double run_map_batch(void *arg)
{
    (void)arg;
    return run_batches(map_batch);
}

/* --- files ---------------------------------------------------------------- */

static const char *file_name = "bench_threadpool.tmp";
static int file;
static char block[4096];

static double run_file(ssize_t (*fn)(void), size_t n)
{
    bool ok = fn() == sizeof(block);

    double start = bench_now();
    for (size_t i = 0; i < n; i++) {
        ok &= fn() == sizeof(block);
    }
    double end = bench_now();
    bench_check(ok, "file");
    return (end - start) * 1e6 / (double)n;
}

static ssize_t plain_read(void)
{
    return pread(file, block, sizeof(block), 0);
}

static ssize_t gev_read_block(void)
{
    return gev_file_pread(file, block, sizeof(block), 0);
}

static ssize_t plain_write(void)
{
    return pwrite(file, block, sizeof(block), 0);
}

static ssize_t gev_write_block(void)
{
    return gev_file_pwrite(file, block, sizeof(block), 0);
}

static double run_plain_read(void *arg)
{
    (void)arg;
    return run_file(plain_read, bench_count(TRIPS));
}

static double run_gev_read(void *arg)
{
    (void)arg;
    return run_file(gev_read_block, bench_count(TRIPS));
}

static double run_plain_write(void *arg)
{
    (void)arg;
    return run_file(plain_write, bench_count(TRIPS));
}

static double run_gev_write(void *arg)
{
    (void)arg;
    return run_file(gev_write_block, bench_count(TRIPS));
}

int main(int argc, char **argv)
{
    for (int c; (c = bench_option(argc, argv, usage, "f:")) != -1;) {
        file_name = optarg;
    }
    file = open(file_name, O_RDWR | O_CREAT | O_CLOEXEC | O_TRUNC, 0600);
    bench_check(file >= 0, file_name);
    bench_check(unlink(file_name) == 0, "unlink");
    const struct bench_case cases[] = {
        {"pool.raw", "us", NULL, run_raw_one, NULL},
        {"pool.apply", "us", "pool.raw", run_apply, NULL},
        {"pool.raw_batch", "us", NULL, run_raw_batch, NULL},
        {"pool.apply_batch", "us", "pool.raw_batch", run_apply_batch, NULL},
        {"pool.spawn_batch", "us", "pool.raw_batch", run_spawn_batch, NULL},
        {"pool.map_batch", "us", "pool.raw_batch", run_map_batch, NULL},
        {"pool.hub", "us", "pool.raw", run_hub, NULL},
        {"file.pwrite", "us", NULL, run_plain_write, NULL},
        {"file.gev_pwrite", "us", "file.pwrite", run_gev_write, NULL},
        {"file.pread", "us", NULL, run_plain_read, NULL},
        {"file.gev_pread", "us", "file.pread", run_gev_read, NULL},
    };
    bench_run(cases, sizeof(cases) / sizeof(cases[0]));
    return gev_hub_close() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
