/* SPDX-License-Identifier: MIT */

/* Work that would block the hub, in threads: counting primes, and saving a
 * file. Meanwhile a greenlet ticks, to show that nobody has to wait. */
#include "example.h"

#include <string.h>

static const char usage[] =
    "usage: threadpool [-t threads] [-n number] [-o file]\n"
    "Counts the primes below a number by a pool of threads, in parts.\n"
    "  -t N  threads, 1 to 64 (4)\n"
    "  -n N  below which number, 10 to 100000000 (2000000)\n"
    "  -o F  also save the count to that file\n";

#define PARTS 64

/* A part of the numbers: a job's argument and its result. */
struct part {
    long begin;
    long end;
    long primes;
};

static bool is_prime(long n)
{
    if (n < 2) {
        return false;
    }
    for (long i = 2; i * i <= n; i++) {
        if (n % i == 0) {
            return false;
        }
    }
    return true;
}

/* A job. It runs in a thread of its own and knows nothing of greenlets. */
static void *count_primes(void *arg)
{
    struct part *part = arg;

    for (long n = part->begin; n < part->end; n++) {
        part->primes += is_prime(n);
    }
    return part;
}

/* A greenlet that lives as long as it is let. */
static void *tick(void *arg)
{
    long *ticks = arg;

    while (gev_sleep(0.001) == 0) {
        ++*ticks;
    }
    return NULL;
}

/* Counts all; -1 on error. */
static long count_all(gev_threadpool *pool, long below)
{
    struct part parts[PARTS];
    void *jobs[PARTS];
    long primes = 0;

    for (long i = 0; i < PARTS; i++) {
        parts[i] = (struct part){.begin = below * i / PARTS,
                                 .end = below * (i + 1) / PARTS};
        jobs[i] = &parts[i];
    }
    if (gev_threadpool_map(pool, count_primes, jobs, NULL, PARTS) < 0) {
        return -1;
    }
    for (int i = 0; i < PARTS; i++) {
        primes += parts[i].primes;
    }
    return primes;
}

static int save(const char *path, long primes)
{
    char text[32];

    int n = snprintf(text, sizeof(text), "%ld\n", primes);
    return gev_file_save(path, text, (size_t)n, 0666);
}

static int run(long threads, long below, const char *path)
{
    long ticks = 0;
    gev_threadpool *pool = gev_threadpool_new((size_t)threads);
    gev_greenlet *ticker = gev_spawn(tick, &ticks);

    if (pool == NULL || ticker == NULL) {
        perror("threadpool");
        return EXIT_FAILURE;
    }
    double start = now();
    long primes = count_all(pool, below);
    double seconds = now() - start;
    int rc = primes < 0 ? -1 : 0;
    if (rc == 0) {
        printf("%ld primes below %ld\n", primes, below);
        printf("%zu threads took %.3f s; the hub ticked %ld times\n",
               gev_threadpool_size(pool), seconds, ticks);
        rc = path == NULL ? 0 : save(path, primes);
    }
    if (rc < 0) {
        fprintf(stderr, "threadpool: %s\n", gev_strerror(errno));
    }
    gev_kill(ticker, GEV_FOREVER);
    gev_unref(ticker);
    gev_threadpool_free(pool);
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    long threads = 4;
    long below = 2000000;
    const char *path = NULL;

    for (int c; (c = next_option(argc, argv, "hn:o:t:")) != -1;) {
        switch (c) {
        case 'h':
            return print_help(usage);
        case 'n':
            below = parse_count("-n", optarg, 10, 100000000);
            break;
        case 'o':
            path = optarg;
            break;
        case 't':
            threads = parse_count("-t", optarg, 1, 64);
            break;
        default:
            return bad_usage(argv[0]);
        }
    }
    if (has_extra(argc, argv)) {
        return bad_usage(argv[0]);
    }
    int status = run(threads, below, path);
    return end_output(gev_hub_close() == 0 ? status : EXIT_FAILURE);
}
