/* SPDX-License-Identifier: MIT */

/* 10,000 documents of 1 KB from a local nginx, 100 at once, over connections
 * that stay: gev_curl_perform beside plain code on the multi handle. The client
 * is measured, on the first CPU; nginx runs on the second. */
#include <gev.h>
#include <gev/curl.h>

#include "bench.h"
#include "net.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usage[] =
    "usage: bench_curl [-c at once] [-n documents] [-r rounds] [-q]\n"
    "Measures the client's CPU time for a document from a local nginx.\n"
    "  curl.gev    gev_curl_perform() in greenlets\n"
    "  curl.multi  curl_multi_perform() and curl_multi_poll()\n"
    "  -c N  transfers at once, 1 to 1000 (100)\n"
    "  -n N  documents a round, 1 to 1000000 (10000)\n";

#define DOCUMENT ((size_t)1024)
#define SKIPPED 77

static size_t at_once = 100;
static size_t total = 10000;

static struct {
    char folder[64];
    char url[64];
    pid_t pid;
} nginx;

/* What the current round does. */
static struct {
    size_t started;
    size_t done;
    size_t bytes;
} job;

static double begin(void)
{
    memset(&job, 0, sizeof(job));
    return bench_cpu();
}

static double end(double start)
{
    double used = bench_cpu() - start;

    bench_check(job.done == total && job.bytes == total * DOCUMENT,
                "all documents came");
    return used * 1e6 / (double)total;
}

static size_t take_body(char *data, size_t size, size_t n, void *arg)
{
    (void)data;
    (void)arg;
    job.bytes += size * n;
    return size * n;
}

static CURL *make_handle(void)
{
    CURL *easy = curl_easy_init();

    bench_check(easy != NULL, "curl_easy_init");
    curl_easy_setopt(easy, CURLOPT_URL, nginx.url);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L); /* as gev does */
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    return easy;
}

/* --- gev ------------------------------------------------------------------ */

static void *fetch_gev(void *arg)
{
    CURL *easy = make_handle();

    while (job.started < total) {
        job.started++;
        job.done += gev_curl_perform(easy) == CURLE_OK;
    }
    curl_easy_cleanup(easy);
    return arg;
}

static double run_gev(void *arg)
{
    (void)arg;
    double start = begin();
    for (size_t i = 0; i < at_once; i++) {
        bench_check(gev_spawn_raw(fetch_gev, NULL) == 0, "gev_spawn_raw");
    }
    bench_check(gev_run(GEV_FOREVER) == 0, "gev_run");
    double used = end(start);
    bench_check(gev_hub_close() == 0, "gev_hub_close");
    return used;
}

/* --- the multi handle by hand --------------------------------------------- */

static void collect(CURLM *multi)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(multi, &left)) != NULL) {
        CURL *easy = message->easy_handle;
        job.done += message->data.result == CURLE_OK;
        curl_multi_remove_handle(multi, easy);
        if (job.started < total) {
            job.started++;
            curl_multi_add_handle(multi, easy);
        } else {
            curl_easy_cleanup(easy);
        }
    }
}

static double run_multi(void *arg)
{
    int running = 1;

    (void)arg;
    double start = begin();
    CURLM *multi = curl_multi_init();
    for (size_t i = 0; i < at_once && job.started < total; i++) {
        job.started++;
        curl_multi_add_handle(multi, make_handle());
    }
    while (job.done < job.started) {
        curl_multi_perform(multi, &running);
        collect(multi);
        if (job.done < job.started) {
            bench_check(curl_multi_poll(multi, NULL, 0, 5000, NULL) == CURLM_OK,
                        "curl_multi_poll");
        }
    }
    double used = end(start);
    curl_multi_cleanup(multi);
    return used;
}

/* --- nginx ---------------------------------------------------------------- */

static void write_file(const char *name, const char *text, size_t n)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", nginx.folder, name);
    FILE *file = fopen(path, "w");
    if (file == NULL || fwrite(text, 1, n, file) != n || fclose(file) != 0) {
        bench_die(path);
    }
}

static uint16_t write_configuration(void)
{
    char text[2048];
    int listener = net_listen();
    const uint16_t port = net_port(listener);
    const char *f = nginx.folder;

    close(listener); /* free a moment ago: nginx cannot choose one itself */
    int n = snprintf(
        text, sizeof(text),
        "daemon off; master_process off; pid %s/pid; error_log stderr;\n"
        "events { worker_connections 2048; }\n"
        "http { access_log off; keepalive_requests 1000000;\n"
        "client_body_temp_path %s/a; proxy_temp_path %s/b;\n"
        "fastcgi_temp_path %s/c; uwsgi_temp_path %s/d; scgi_temp_path %s/e;\n"
        "server { listen 127.0.0.1:%u backlog=1024; root %s; } }\n",
        f, f, f, f, f, f, port, f);
    write_file("nginx.conf", text, (size_t)n);
    return port;
}

static void start_nginx(void)
{
    static const char document[DOCUMENT];
    char path[128];

    snprintf(nginx.folder, sizeof(nginx.folder), "/tmp/bench_curl.XXXXXX");
    if (mkdtemp(nginx.folder) == NULL || chmod(nginx.folder, 0755) < 0) {
        bench_die(nginx.folder);
    }
    write_file("document", document, DOCUMENT);
    const uint16_t port = write_configuration();
    snprintf(path, sizeof(path), "%s/nginx.conf", nginx.folder);
    snprintf(nginx.url, sizeof(nginx.url), "http://127.0.0.1:%u/document",
             port);
    nginx.pid = fork();
    if (nginx.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        bench_pin(1);
        execl("/usr/sbin/nginx", "nginx", "-e", "stderr", "-p", nginx.folder,
              "-c", path, (char *)NULL);
        _exit(127);
    }
}

static void stop_nginx(void)
{
    static const char *const names[] = {"a", "b",        "c",          "d",
                                        "e", "document", "nginx.conf", "pid"};
    char path[128];

    kill(nginx.pid, SIGKILL);
    waitpid(nginx.pid, NULL, 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", nginx.folder, names[i]);
        remove(path);
    }
    rmdir(nginx.folder);
}

/* Until it answers. */
static void await_nginx(void)
{
    CURL *easy = make_handle();
    int tries = 0;

    while (curl_easy_perform(easy) != CURLE_OK) {
        bench_check(++tries < 100 && waitpid(nginx.pid, NULL, WNOHANG) == 0,
                    "nginx starts");
        usleep(50000);
    }
    curl_easy_cleanup(easy);
}

int main(int argc, char **argv)
{
    int option;

    bench_rounds = 11;
    while ((option = bench_option(argc, argv, usage, "c:n:")) != -1) {
        if (option == 'c') {
            at_once = (size_t)bench_number(optarg, 1, 1000);
        } else {
            total = (size_t)bench_number(optarg, 1, 1000000);
        }
    }
    total = bench_count(total);
    const struct bench_case cases[] = {
        {.name = "curl.gev",
         .unit = "us",
         .limit = "curl.multi",
         .run = run_gev},
        {.name = "curl.multi", .unit = "us", .run = run_multi},
    };
    if (access("/usr/sbin/nginx", X_OK) < 0) {
        fputs("no nginx here: skipped\n", stderr);
        return SKIPPED;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    start_nginx();
    await_nginx();
    bench_pin(0);
    bench_run(cases, sizeof(cases) / sizeof(cases[0]));
    stop_nginx();
    curl_global_cleanup();
    return 0;
}
