/* SPDX-License-Identifier: MIT */

/* The full-featured twin of fetch: libcurl does the protocols, gev lets a few
 * greenlets in plain loops do many transfers at once. */
#include <gev.h>
#include <gev/curl.h>

#include "example.h"
#include "fetching.h"
#include "json.h"
#include "save.h"

#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: fetch_curl [-c concurrency] [-t seconds] [-r retries] [-n repeat]\n"
    "                  [-i FILE] [-o directory] [-q] [--json] [--cacert FILE]\n"
    "                  [URL...]\n"
    "Fetches all URLs (http, https), many at once, with libcurl in greenlets.\n"
    "  -c N           so many at once, 1 to 10000 (100)\n"
    "  -t S           give up an attempt after so many seconds (30)\n"
    "  -r N           try again so often what may work later: no connection,\n"
    "                 no answer, HTTP 408, 429 and 5xx; each time after twice\n"
    "                 as long a break, from 0.1 s on; 0 to 20 (2)\n"
    "  -n N           fetch each URL so often, 1 to 100000 (1)\n"
    "  -i FILE        fetch the URLs of this file too, one a line; '-': of "
    "the\n"
    "                 standard input; not those of empty lines and after '#'\n"
    "  -o DIR         save the documents there; never overwrites a file\n"
    "  -q             only failures and the summary\n"
    "  --json         the report as one JSON object, and nothing else\n"
    "  --cacert FILE  trust the certificates of this file\n"
    "On a terminal a bar shows how far it is.\n"
    "Exit status: 0 if all were fetched, 1 if some failed, 2 for bad usage.\n";

#define JOBS_MAX 1000000
#define FIRST_BREAK 0.1 /* seconds before the first retry */
#define BAR_WIDTH 30

enum job_state { JOB_WAITING, JOB_RUNNING, JOB_DONE, JOB_FAILED };

/* One document to fetch. */
struct job {
    const char *url;
    enum job_state state;
    unsigned repeat; /* 0 for the first fetch of this URL */
    unsigned attempts;
    long status; /* HTTP's; 0: there was no answer */
    uint64_t bytes;
    double seconds; /* all attempts and breaks */
    char error[CURL_ERROR_SIZE];
    long redirects;           /* that were followed */
    char name[SAVE_NAME_MAX]; /* of the file, or empty */
};

/* What shall be fetched. */
struct urls {
    char **list;
    size_t n;
    size_t room;
};

/* All of them. */
struct run {
    struct urls urls;
    double timeout;
    unsigned retries;
    size_t concurrency;
    bool quiet;
    bool json;
    bool progress; /* on a terminal */
    const char *ca_file;
    const char *directory_name;
    int directory; /* -1: do not save */
    struct stop stop;
    gev_greenlet **workers;
    struct job *jobs;
    size_t n;
    size_t next; /* the first that no worker has taken */
    size_t done;
    size_t failed;
    uint64_t bytes;
    double begin;
};

/* A greenlet's transfer. */
struct worker {
    struct run *run;
    struct job *job;
    struct save save;
    CURL *easy;
    int save_error;              /* why the file cannot be written, or 0 */
    char error[CURL_ERROR_SIZE]; /* curl's own words */
};

/* --- Output ----------------------------------------------------------------
 */

static void *show_progress(void *arg)
{
    const struct run *run = arg;
    do {
        const size_t over = run->done + run->failed;
        const int full = (int)(over * BAR_WIDTH / run->n);
        const double seconds = now() - run->begin;
        const double mb = (double)run->bytes / 1e6;
        begin_progress();
        fprintf(stderr, "[%.*s%*s] %zu of %zu, %zu failed, %.1f MB, %.1f MB/s",
                full, "##############################", BAR_WIDTH - full, "",
                over, run->n, run->failed, mb, seconds > 0 ? mb / seconds : 0);
        end_progress();
    } while (gev_sleep(0.1) == 0);
    return NULL;
}

static void report(struct run *run, const struct job *job)
{
    if (run->json || (run->quiet && job->state == JOB_DONE)) {
        return;
    }
    clear_progress(run->progress);
    FILE *out = job->state == JOB_DONE ? stdout : stderr;
    print_text(out, job->url);
    if (job->state == JOB_DONE) {
        fprintf(out, ": %ld, %llu bytes in %.3f s", job->status,
                (unsigned long long)job->bytes, job->seconds);
    } else {
        fputs(": failed: ", out);
        print_text(out, job->error);
    }
    if (job->redirects > 0) {
        fprintf(out, ", %ld redirects", job->redirects);
    }
    if (job->attempts > 1) {
        fprintf(out, ", %u attempts", job->attempts);
    }
    if (job->name[0] != '\0') {
        fprintf(out, ", saved as %s/%s", run->directory_name, job->name);
    }
    fputc('\n', out);
}

static void print_json(const struct run *run, double seconds)
{
    printf("{\n\"documents\": [");
    for (size_t i = 0; i < run->n; i++) {
        const struct job *job = &run->jobs[i];
        printf("%s\n{\"url\": ", i > 0 ? "," : "");
        print_json_text(job->url);
        printf(", \"ok\": %s, \"status\": %ld, \"bytes\": %llu, "
               "\"seconds\": %.6f, \"attempts\": %u, \"redirects\": %ld",
               job->state == JOB_DONE ? "true" : "false", job->status,
               (unsigned long long)job->bytes, job->seconds, job->attempts,
               job->redirects);
        if (job->state != JOB_DONE) {
            printf(", \"error\": ");
            print_json_text(job->error);
        }
        if (job->name[0] != '\0') {
            printf(", \"file\": ");
            print_json_text(job->name);
        }
        putchar('}');
    }
    printf("\n],\n\"done\": %zu, \"failed\": %zu, \"bytes\": %llu, "
           "\"seconds\": %.6f\n}\n",
           run->done, run->failed, (unsigned long long)run->bytes, seconds);
}

/* --- One document ----------------------------------------------------------
 */

/* Runs in the hub, while the greenlet is parked. Disks do not park. */
static size_t take_body(char *data, size_t size, size_t n, void *arg)
{
    struct worker *w = arg;

    if (w->save.fd >= 0 && save_write(&w->save, data, size * n) < 0) {
        w->save_error = errno;
        return 0;
    }
    w->job->bytes += size * n;
    w->run->bytes += size * n;
    return size * n;
}

static CURL *make_handle(struct worker *w)
{
    CURL *easy = curl_easy_init();
    if (easy == NULL) {
        return NULL;
    }
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, 10L);
    curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "fetch_curl/1 gev/" GEV_VERSION);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, w);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, w->error);
    if (w->run->ca_file != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, w->run->ca_file);
    }
    return easy;
}

/* Begins a file with a name from the URL's path. */
static int begin_save(struct worker *w)
{
    CURLU *url = curl_url();
    char *path = NULL;
    int rc = -1;

    if (url != NULL &&
        curl_url_set(url, CURLUPART_URL, w->job->url, CURLU_DEFAULT_SCHEME) ==
            CURLUE_OK &&
        curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK) {
        rc = save_begin(&w->save, w->run->directory, path, strlen(path));
    } else {
        errno = EINVAL;
    }
    curl_free(path);
    curl_url_cleanup(url);
    return rc;
}

static void set_error(struct worker *w, CURLcode code, int error)
{
    struct job *job = w->job;

    if (w->save_error != 0) {
        snprintf(job->error, sizeof(job->error), "saving: %s",
                 gev_strerror(w->save_error));
    } else if (code == CURLE_OPERATION_TIMEDOUT && error == ETIMEDOUT) {
        snprintf(job->error, sizeof(job->error), "timed out after %g s",
                 w->run->timeout);
    } else if (code == CURLE_ABORTED_BY_CALLBACK) {
        snprintf(job->error, sizeof(job->error), "%s",
                 w->run->stop.signal != 0 ? "interrupted"
                                          : gev_strerror(error));
    } else if (code == CURLE_HTTP_RETURNED_ERROR) {
        snprintf(job->error, sizeof(job->error), "HTTP %ld", job->status);
    } else {
        snprintf(job->error, sizeof(job->error), "%s",
                 w->error[0] != '\0' ? w->error : curl_easy_strerror(code));
    }
}

/* One attempt. The scope covers everything from the look-up of the name to the
 * last byte; curl needs no limits of its own. */
static CURLcode try_once(struct worker *w)
{
    struct job *job = w->job;
    gev_timeout limit = {{0}};

    w->run->bytes -= job->bytes; /* of an attempt before */
    job->bytes = 0;
    job->status = 0;
    w->error[0] = '\0';
    w->save_error = 0;
    if (w->run->directory >= 0 && begin_save(w) < 0) {
        w->save_error = errno;
        set_error(w, CURLE_WRITE_ERROR, 0);
        return CURLE_WRITE_ERROR;
    }
    curl_easy_setopt(w->easy, CURLOPT_URL, job->url);
    gev_timeout_begin(&limit, w->run->timeout);
    errno = 0;
    const CURLcode code = gev_curl_perform(w->easy);
    const int error = errno;
    gev_timeout_end(&limit);
    curl_easy_getinfo(w->easy, CURLINFO_RESPONSE_CODE, &job->status);
    curl_easy_getinfo(w->easy, CURLINFO_REDIRECT_COUNT, &job->redirects);
    if (code != CURLE_OK) {
        set_error(w, code, error);
    }
    return code;
}

static bool may_work_later(CURLcode code, long status)
{
    switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_GOT_NOTHING:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return true;
    case CURLE_HTTP_RETURNED_ERROR:
        return status == 408 || status == 429 || status >= 500;
    default:
        return false;
    }
}

/* Tries until it works, or there is no point in it. */
static CURLcode fetch_document(struct worker *w)
{
    double pause = FIRST_BREAK;

    for (;;) {
        w->job->attempts++;
        const CURLcode code = try_once(w);
        if (code == CURLE_OK || w->job->attempts > w->run->retries ||
            !may_work_later(code, w->job->status)) {
            return code;
        }
        save_discard(&w->save);
        /* Not all at the same time, should many have failed together. */
        if (gev_sleep(pause * (0.75 + 0.5 * drand48())) < 0) {
            set_error(w, CURLE_ABORTED_BY_CALLBACK, errno);
            return CURLE_ABORTED_BY_CALLBACK;
        }
        pause *= 2;
    }
}

static void run_job(struct worker *w, struct job *job)
{
    struct run *run = w->run;
    const double begin = now();

    w->job = job;
    job->state = JOB_RUNNING;
    CURLcode code = fetch_document(w);
    if (code == CURLE_OK && w->save.fd >= 0) {
        if (save_commit(&w->save, job->repeat) == 0) {
            snprintf(job->name, sizeof(job->name), "%s", w->save.name);
        } else {
            w->save_error = errno;
            code = CURLE_WRITE_ERROR;
            set_error(w, code, 0);
        }
    }
    save_discard(&w->save);
    job->seconds = now() - begin;
    job->state = code == CURLE_OK ? JOB_DONE : JOB_FAILED;
    run->done += code == CURLE_OK;
    run->failed += code != CURLE_OK;
    report(run, job);
}

/* A greenlet: one document after the other, with the same handle. */
static void *work(void *arg)
{
    struct worker w = {.run = arg, .save = {.fd = -1}};

    w.easy = make_handle(&w);
    if (w.easy == NULL) {
        return gev_fail(ENOMEM);
    }
    while (w.run->next < w.run->n && w.run->stop.signal == 0) {
        run_job(&w, &w.run->jobs[w.run->next++]);
    }
    curl_easy_cleanup(w.easy);
    return NULL;
}

/* --- All of them -----------------------------------------------------------
 */

/* What no worker has come to. */
static void fail_rest(struct run *run, const char *why)
{
    for (size_t i = 0; i < run->n; i++) {
        struct job *job = &run->jobs[i];
        if (job->state == JOB_WAITING) {
            snprintf(job->error, sizeof(job->error), "%s", why);
            job->state = JOB_FAILED;
            run->failed++;
            report(run, job);
        }
    }
}

static void run_jobs(struct run *run)
{
    const size_t workers =
        run->concurrency < run->n ? run->concurrency : run->n;

    run->begin = now();
    if (stop_on_signals(&run->stop) < 0 ||
        (run->progress && gev_spawn_raw(show_progress, run) < 0)) {
        perror("gev_spawn_raw"); /* we can do without */
    }
    for (size_t i = 0; i < workers; i++) {
        run->workers[i] = gev_spawn(work, run);
    }
    if (gev_joinall(run->workers, workers, GEV_FOREVER) < 0) {
        gev_killall(run->workers, workers, GEV_FOREVER);
    }
    fail_rest(run, run->stop.signal != 0 ? "interrupted" : "no memory");
    const double seconds = now() - run->begin;
    gev_unrefall(run->workers, workers);
    clear_progress(run->progress);
    run->progress = false;
    if (run->json) {
        print_json(run, seconds);
    } else {
        printf("%zu done, %zu failed, %llu bytes in %.3f s\n", run->done,
               run->failed, (unsigned long long)run->bytes, seconds);
    }
}

/* --- The program -----------------------------------------------------------
 */

/* Takes a copy of the URL, or ends the program, which has done nothing yet. */
static void add_url(struct urls *urls, const char *url)
{
    if (urls->n == urls->room) {
        urls->room = urls->room * 2 + 16;
        urls->list = realloc(urls->list, urls->room * sizeof(char *));
    }
    if (urls->list == NULL || (urls->list[urls->n] = strdup(url)) == NULL) {
        perror("URLs");
        exit(EXIT_FAILURE);
    }
    urls->n++;
}

static void read_urls(struct urls *urls, const char *name)
{
    const bool is_stdin = strcmp(name, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(name, "re");
    char *line = NULL;
    size_t room = 0;

    while (file != NULL && getline(&line, &room, file) >= 0) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] != '\0' && line[0] != '#') {
            add_url(urls, line);
        }
    }
    if (file == NULL || ferror(file)) {
        perror(name);
        exit(EXIT_FAILURE);
    }
    free(line);
    if (!is_stdin) {
        fclose(file);
    }
}

static void free_urls(struct urls *urls)
{
    for (size_t i = 0; i < urls->n; i++) {
        free(urls->list[i]);
    }
    free(urls->list);
}

static int make_jobs(struct run *run, size_t repeat)
{
    const size_t n = run->urls.n;
    if (n > JOBS_MAX / repeat) {
        fprintf(stderr, "more than %d documents\n", JOBS_MAX);
        return -1;
    }
    run->n = n * repeat;
    run->jobs = calloc(run->n, sizeof(run->jobs[0]));
    run->workers = calloc(run->concurrency, sizeof(gev_greenlet *));
    if (run->jobs == NULL || run->workers == NULL) {
        perror("calloc");
        return -1;
    }
    for (size_t i = 0; i < run->n; i++) {
        run->jobs[i].url = run->urls.list[i % n];
        run->jobs[i].repeat = (unsigned)(i / n);
    }
    return 0;
}

static int next_long_option(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"cacert", required_argument, NULL, 'C'},
        {"help", no_argument, NULL, 'h'},
        {"json", no_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };
    return getopt_long(argc, argv, "hc:t:r:n:i:o:q", long_options, NULL);
}

/* Returns the repeat count; the rest of the options goes into run. */
static size_t parse_options(struct run *run, int argc, char **argv)
{
    size_t repeat = 1;
    int option;
    while ((option = next_long_option(argc, argv)) != -1) {
        switch (option) {
        case 'c':
            run->concurrency = (size_t)parse_count("-c", optarg, 1, 10000);
            break;
        case 't':
            run->timeout = parse_number("-t", optarg, 0.001, 1e6);
            break;
        case 'r':
            run->retries = (unsigned)parse_count("-r", optarg, 0, 20);
            break;
        case 'n':
            repeat = (size_t)parse_count("-n", optarg, 1, 100000);
            break;
        case 'i':
            read_urls(&run->urls, optarg);
            break;
        case 'o':
            run->directory_name = optarg;
            break;
        case 'q':
            run->quiet = true;
            break;
        case 'j':
            run->json = true;
            break;
        case 'C':
            run->ca_file = optarg;
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
    struct run run = {
        .timeout = 30, .retries = 2, .concurrency = 100, .directory = -1};
    const size_t repeat = parse_options(&run, argc, argv);
    int status = EXIT_FAILURE;

    for (int i = optind; i < argc; i++) {
        add_url(&run.urls, argv[i]);
    }
    if (run.urls.n == 0) {
        free_urls(&run.urls);
        fprintf(stderr, "%s: no URL\n", argv[0]);
        return bad_usage(argv[0]);
    }
    allow_many_files();
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* each line as it comes */
    run.progress = !run.quiet && isatty(STDERR_FILENO);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        fputs("curl_global_init failed\n", stderr);
        return EXIT_FAILURE;
    }
    if (run.directory_name != NULL) {
        run.directory = save_directory(run.directory_name);
        if (run.directory < 0) {
            perror(run.directory_name);
            goto out;
        }
    }
    if (make_jobs(&run, repeat) < 0) {
        goto out;
    }
    run_jobs(&run);
    status = run.failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;

out:
    gev_hub_close();
    curl_global_cleanup();
    if (run.directory >= 0) {
        close(run.directory);
    }
    free(run.workers);
    free(run.jobs);
    free_urls(&run.urls);
    status = end_output(status);
    end_by_signal(&run.stop);
    return status;
}
