/* SPDX-License-Identifier: MIT */

/* Fetches many documents at once, with one greenlet for each. */
#include <gev.h>

#include "demo_server.h"
#include "example.h"
#include "fetching.h"
#include "http_client.h"
#include "save.h"

#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: fetch [-t seconds] [-c concurrency] [-o directory] [-q]\n"
    "             [-n repeat] [URL...]\n"
    "Fetches all URLs at once, with one greenlet for each. Without a URL it\n"
    "starts a small server of its own and fetches from that. https:// needs\n"
    "gev-tls, and the server's certificate has to be good.\n"
    "  -t S    give up what is not there after so many seconds (30)\n"
    "  -c N    so many at once, 1 to 10000 (100)\n"
    "  -o DIR  save the documents there; never overwrites a file\n"
    "  -q      only failures and the summary\n"
    "  -n N    fetch each URL so often, 1 to 100000 (1)\n"
    "Exit status: 0 if all were fetched, 1 if some failed, 2 for bad usage.\n";

#define JOBS_MAX 1000000
#define PREVIEW 50 /* bytes shown of each document */

enum job_state { JOB_WAITING, JOB_RUNNING, JOB_DONE, JOB_FAILED };

/* One document to fetch. */
struct job {
    struct run *run;
    const char *url;
    unsigned repeat; /* 0 for the first fetch of this URL */
    enum job_state state;
    double seconds; /* what it took */
    uint64_t bytes;
    char error[HTTP_ERROR_MAX]; /* why it failed */
};

/* All of them. */
struct run {
    double timeout;
    bool quiet;
    bool progress; /* on a terminal */
    int directory; /* -1: do not save */
    const char *directory_name;
    struct stop stop;
    struct slots slots;
    struct job *jobs;
    gev_greenlet **greenlets; /* of the jobs; NULL where none was spawned */
    size_t n;
    size_t done;
    size_t failed;
    uint64_t bytes;
    char why[64]; /* why the run was cut short, or empty */
};

/* --- Output ----------------------------------------------------------------
 */

static void *show_progress(void *arg)
{
    const struct run *run = arg;
    do {
        begin_progress();
        fprintf(stderr,
                "%zu of %zu done, %zu failed, %zu running, "
                "%.1f MB",
                run->done, run->n, run->failed, run->slots.taken,
                (double)run->bytes / 1e6);
        end_progress();
    } while (gev_sleep(0.1) == 0);
    return NULL;
}

static void report_start(const struct job *job)
{
    if (!job->run->quiet) {
        clear_progress(job->run->progress);
        fputs("Starting ", stdout);
        print_text(stdout, job->url);
        putchar('\n');
    }
}

static void report_done(struct job *job, const char *preview, const char *name)
{
    job->state = JOB_DONE;
    job->run->done++;
    if (job->run->quiet) {
        return;
    }
    clear_progress(job->run->progress);
    print_text(stdout, job->url);
    printf(": %llu bytes: ", (unsigned long long)job->bytes);
    print_escaped(stdout, preview,
                  job->bytes < PREVIEW ? (size_t)job->bytes : PREVIEW);
    putchar('\n');
    if (name != NULL) {
        print_text(stdout, job->url);
        printf(": saved as %s/%s\n", job->run->directory_name, name);
    }
}

static void report_failure(struct job *job, const char *why)
{
    snprintf(job->error, sizeof(job->error), "%s", why);
    job->state = JOB_FAILED;
    job->run->failed++;
    clear_progress(job->run->progress);
    fflush(stdout);
    print_text(stderr, job->url);
    fputs(": failed: ", stderr);
    print_text(stderr, job->error);
    fputc('\n', stderr);
}

static int compare_errors(const void *a, const void *b)
{
    const struct job *const *x = a;
    const struct job *const *y = b;
    return strcmp((*x)->error, (*y)->error);
}

/* Each reason once, with how many met it. */
static void print_reasons(const struct run *run)
{
    const struct job **failed = calloc(run->failed, sizeof(failed[0]));
    size_t n = 0;
    if (failed == NULL) {
        return;
    }
    for (size_t i = 0; i < run->n; i++) {
        if (run->jobs[i].state == JOB_FAILED) {
            failed[n++] = &run->jobs[i];
        }
    }
    qsort(failed, n, sizeof(failed[0]), compare_errors);
    for (size_t i = 0, same; i < n; i += same) {
        same = 1;
        while (i + same < n &&
               compare_errors(&failed[i], &failed[i + same]) == 0) {
            same++;
        }
        printf("  %zu x ", same);
        print_text(stdout, failed[i]->error);
        putchar('\n');
    }
    free(failed);
}

static void print_summary(const struct run *run, double seconds)
{
    double sum = 0;
    for (size_t i = 0; i < run->n; i++) {
        sum += run->jobs[i].seconds;
    }
    printf("%zu done, %zu failed, %llu bytes in %.3f s\n", run->done,
           run->failed, (unsigned long long)run->bytes, seconds);
    if (run->n > 1) {
        printf("The single times add up to %.3f s: %.1f at once on average.\n",
               sum, seconds > 0 ? sum / seconds : 0);
    }
    if (run->failed > 0) {
        print_reasons(run);
    }
}

/* --- One document ----------------------------------------------------------
 */

/* Reads the body to its end, which is an error in http->error or in errno. */
static int read_body(struct job *job, struct http *http, struct save *save,
                     char *preview)
{
    char part[8192];
    ssize_t n;
    while ((n = http_read(http, part, sizeof(part))) > 0) {
        if (job->bytes < PREVIEW) {
            const size_t room = PREVIEW - (size_t)job->bytes;
            memcpy(preview + job->bytes, part,
                   (size_t)n < room ? (size_t)n : room);
        }
        job->bytes += (uint64_t)n;
        job->run->bytes += (uint64_t)n;
        if (save->fd >= 0 && save_write(save, part, (size_t)n) < 0) {
            snprintf(http->error, sizeof(http->error), "saving: %s",
                     gev_strerror(errno));
            return -1;
        }
    }
    return (int)n;
}

static int fetch_document(struct job *job, struct http *http, struct save *save,
                          char *preview)
{
    struct run *run = job->run;
    struct http_url url;
    if (http_parse_url(&url, job->url, http->error) < 0 ||
        http_get(http, &url) < 0) {
        return -1;
    }
    if (run->directory >= 0 && save_begin(save, run->directory, url.path,
                                          (size_t)url.path_length) < 0) {
        snprintf(http->error, sizeof(http->error), "saving: %s",
                 gev_strerror(errno));
        return -1;
    }
    if (read_body(job, http, save, preview) < 0) {
        return -1;
    }
    if (save->fd >= 0 && save_commit(save, job->repeat) < 0) {
        snprintf(http->error, sizeof(http->error), "saving: %s",
                 gev_strerror(errno));
        return -1;
    }
    return 0;
}

/* The greenlet of one URL. */
static void *fetch(void *arg)
{
    struct job *job = arg;
    struct run *run = job->run;
    struct http http = {.fd = -1};
    struct save save = {.fd = -1};
    char preview[PREVIEW];

    const double start = now();
    job->state = JOB_RUNNING;
    report_start(job);
    const int rc = fetch_document(job, &http, &save, preview);
    http_close(&http);
    save_discard(&save);
    job->seconds = now() - start;
    if (rc == 0) {
        report_done(job, preview, run->directory >= 0 ? save.name : NULL);
    } else {
        /* Of a run cut short, "canceled" is not the reason but the means. */
        report_failure(job, run->why[0] != '\0' ? run->why : http.error);
    }
    slot_give(&run->slots);
    return NULL;
}

/* --- All of them -----------------------------------------------------------
 */

/* Spawns a greenlet for each URL as soon as there is a slot for it, and waits
 * for all. Returns 0 when all have ended, or -1 with errno. */
static int fetch_all(struct run *run)
{
    const double deadline = now() + run->timeout;
    for (size_t i = 0; i < run->n; i++) {
        if (slot_take(&run->slots, deadline - now()) < 0) {
            return -1;
        }
        run->greenlets[i] = gev_spawn(fetch, &run->jobs[i]);
        if (run->greenlets[i] == NULL) {
            report_failure(&run->jobs[i], gev_strerror(errno));
            slot_give(&run->slots);
        }
    }
    if (gev_joinall(run->greenlets, run->n, deadline - now()) < 0) {
        return -1;
    }
    if (run->slots.taken > 0) {
        errno = ETIMEDOUT;
        return -1;
    }
    return 0;
}

/* Ends what is still running, and says of each why. */
static void cut_short(struct run *run, int error)
{
    if (error == ETIMEDOUT) {
        snprintf(run->why, sizeof(run->why), "timed out after %g s",
                 run->timeout);
    } else {
        snprintf(run->why, sizeof(run->why), "%s",
                 error == EINTR ? "interrupted" : gev_strerror(error));
    }
    gev_killall(run->greenlets, run->n, GEV_FOREVER);
    for (size_t i = 0; i < run->n; i++) {
        if (run->jobs[i].state == JOB_WAITING) {
            report_failure(&run->jobs[i], run->why);
        }
    }
}

static void run_jobs(struct run *run)
{
    if (stop_on_signals(&run->stop) < 0 ||
        (run->progress && gev_spawn_raw(show_progress, run) < 0)) {
        perror("gev_spawn_raw"); /* we can do without */
    }
    const double start = now();
    if (fetch_all(run) < 0) {
        cut_short(run, errno);
    }
    const double seconds = now() - start;
    clear_progress(run->progress);
    run->progress = false;
    print_summary(run, seconds);
}

/* --- The program -----------------------------------------------------------
 */

/* What is fetched when no URL is given: every kind of body, up to a second. */
#define DEMO_URLS 12
#define DEMO_URL_MAX 64

static int start_demo(struct demo_server *server, char (*text)[DEMO_URL_MAX],
                      char **urls)
{
    static const char *const kinds[] = {"fixed", "chunked", "close"};
    if (demo_server_start(server) < 0) {
        return -1;
    }
    for (unsigned i = 0; i < DEMO_URLS; i++) {
        snprintf(text[i], DEMO_URL_MAX, "http://127.0.0.1:%s/%s/%u/%u",
                 server->port, kinds[i % 3], i * i * 1000, 1000 - i * 80);
        urls[i] = text[i];
    }
    return 0;
}

static int make_jobs(struct run *run, char **urls, size_t n, size_t repeat)
{
    if (n > JOBS_MAX / repeat) {
        fprintf(stderr, "more than %d documents\n", JOBS_MAX);
        return -1;
    }
    const size_t total = n * repeat;
    run->jobs = calloc(total, sizeof(run->jobs[0]));
    run->greenlets = calloc(total, sizeof(run->greenlets[0]));
    if (run->jobs == NULL || run->greenlets == NULL) {
        perror("calloc");
        return -1;
    }
    run->n = total;
    for (size_t i = 0; i < run->n; i++) {
        run->jobs[i].run = run;
        run->jobs[i].url = urls[i % n];
        run->jobs[i].repeat = (unsigned)(i / n);
    }
    return 0;
}

/* Returns the repeat count; the rest of the options goes into run. */
static size_t parse_options(struct run *run, int argc, char **argv)
{
    size_t repeat = 1;
    int option;
    while ((option = next_option(argc, argv, "ht:c:o:qn:")) != -1) {
        switch (option) {
        case 't':
            run->timeout = parse_number("-t", optarg, 0.001, 1e6);
            break;
        case 'c':
            run->slots.total = (size_t)parse_count("-c", optarg, 1, 10000);
            break;
        case 'o':
            run->directory_name = optarg;
            break;
        case 'q':
            run->quiet = true;
            break;
        case 'n':
            repeat = (size_t)parse_count("-n", optarg, 1, 100000);
            break;
        case 'h':
            exit(print_help(help));
        default:
            exit(bad_usage(argv[0]));
        }
    }
    return repeat;
}

int main(int argc, char **argv)
{
    struct run run = {.timeout = 30, .directory = -1, .slots = {.total = 100}};
    struct demo_server demo = {.fd = -1};
    char demo_text[DEMO_URLS][DEMO_URL_MAX];
    char *demo_urls[DEMO_URLS];
    const size_t repeat = parse_options(&run, argc, argv);
    char **urls = argv + optind;
    size_t n = (size_t)(argc - optind);
    int status = EXIT_FAILURE;

    allow_many_files();
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* each line as it comes */
    run.progress = !run.quiet && isatty(STDERR_FILENO);
    if (run.directory_name != NULL) {
        run.directory = save_directory(run.directory_name);
        if (run.directory < 0) {
            perror(run.directory_name);
            goto out;
        }
    }
    if (n == 0) {
        if (start_demo(&demo, demo_text, demo_urls) < 0) {
            perror("starting the server");
            goto out;
        }
        if (!run.quiet) {
            puts("No URL given: fetching from a server of our own.");
        }
        urls = demo_urls;
        n = DEMO_URLS;
    }
    if (make_jobs(&run, urls, n, repeat) < 0) {
        goto out;
    }
    run_jobs(&run);
    if (run.failed == 0) {
        status = EXIT_SUCCESS;
    }

out:
    gev_unrefall(run.greenlets, run.n);
    if (demo.fd >= 0) {
        demo_server_stop(&demo);
    }
    gev_hub_close();
    if (run.directory >= 0) {
        close(run.directory);
    }
    free(run.greenlets);
    free(run.jobs);
    status = end_output(status);
    end_by_signal(&run.stop);
    return status;
}
