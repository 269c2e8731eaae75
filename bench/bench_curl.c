/* SPDX-License-Identifier: MIT */

/* Documents of 1 KB from a local nginx, 100 at once, over connections that
 * stay: gev_curl_perform beside plain code on the multi handle, in the two ways
 * there are to write it. The client is measured, from the first handle to the
 * last byte, on the first CPU; nginx runs on the second. */
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
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usage[] =
    "usage: bench_curl [-c at once] [-n documents] [-o case] [-r rounds] [-q]\n"
    "Measures the client's CPU time for a document from a local nginx, by "
    "https\n"
    "(HTTP/1.1 over TLS) and by http.\n"
    "  *.gev     gev_curl_perform() in greenlets\n"
    "  *.multi   curl_multi_perform() and curl_multi_poll()\n"
    "  *.socket  curl_multi_socket_action() and epoll\n"
    "The lines 'lower' and 'upper' are the quartiles of the ratios.\n"
    "  -c N     transfers at once, 1 to 1000 (100)\n"
    "  -n N     documents a round, 1 to 1000000 (2000)\n"
    "  -o CASE  only this one\n";

#define DOCUMENT ((size_t)1024)
#define SKIPPED 77

static size_t at_once = 100;
static size_t total = 2000;

static struct {
    char folder[64];
    char certificate[96];
    pid_t pid;
} nginx;

/* A way to fetch them, and what it took. */
struct way {
    const char *name;
    void (*fetch_all)(void);
    double used[BENCH_MAX_ROUNDS + 1]; /* us a document; and the warm-up */
    size_t n_used;
};

/* What the current round does. */
static struct {
    const char *url;
    size_t started;
    size_t done;
    size_t bytes;
} job;

static char urls[2][64]; /* http, https */

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
    curl_easy_setopt(easy, CURLOPT_URL, job.url);
    curl_easy_setopt(easy, CURLOPT_CAINFO, nginx.certificate);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
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

static void fetch_all_gev(void)
{
    for (size_t i = 0; i < at_once; i++) {
        bench_check(gev_spawn_raw(fetch_gev, NULL) == 0, "gev_spawn_raw");
    }
    bench_check(gev_run(GEV_FOREVER) == 0, "gev_run");
    bench_check(gev_hub_close() == 0, "gev_hub_close");
}

/* --- the multi handle by hand --------------------------------------------- */

static void begin_all(CURLM *multi)
{
    for (size_t i = 0; i < at_once && job.started < total; i++) {
        job.started++;
        curl_multi_add_handle(multi, make_handle());
    }
}

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

static void fetch_all_multi(void)
{
    CURLM *multi = curl_multi_init();
    int running = 1;

    begin_all(multi);
    while (job.done < job.started) {
        curl_multi_perform(multi, &running);
        collect(multi);
        if (job.done < job.started) {
            bench_check(curl_multi_poll(multi, NULL, 0, 5000, NULL) == CURLM_OK,
                        "curl_multi_poll");
        }
    }
    curl_multi_cleanup(multi);
}

/* --- the same with epoll -------------------------------------------------- */

static long wait_ms; /* what curl wants; -1: nothing */

static int set_wait(CURLM *multi, long ms, void *arg)
{
    (void)multi;
    (void)arg;
    wait_ms = ms;
    return 0;
}

/* What curl keeps with a socket says only that epoll has it. */
static int watch(CURL *easy, curl_socket_t fd, int what, void *multi,
                 void *known)
{
    static int epoll;
    struct epoll_event event = {.events =
                                    (what & CURL_POLL_IN ? EPOLLIN : 0U) |
                                    (what & CURL_POLL_OUT ? EPOLLOUT : 0U),
                                .data.fd = fd};

    if (easy == NULL) { /* not curl: the descriptor to use */
        epoll = fd;
        return 0;
    }
    if (what == CURL_POLL_REMOVE) {
        (void)epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    if (known == NULL) {
        curl_multi_assign(multi, fd, multi);
    }
    bench_check(epoll_ctl(epoll, known == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD,
                          fd, &event) == 0,
                "epoll_ctl");
    return 0;
}

static void act(CURLM *multi, const struct epoll_event *event)
{
    int running;

    curl_multi_socket_action(
        multi, event->data.fd,
        (event->events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
            (event->events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
            (event->events & EPOLLERR ? CURL_CSELECT_ERR : 0),
        &running);
    collect(multi);
}

static void fetch_all_socket(void)
{
    CURLM *multi = curl_multi_init();
    struct epoll_event events[64];
    int running;
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    bench_check(epoll >= 0, "epoll_create1");
    watch(NULL, epoll, 0, NULL, NULL);
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, multi);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_wait);
    wait_ms = -1;
    begin_all(multi);
    while (job.done < job.started) {
        int n = epoll_wait(epoll, events, 64, (int)wait_ms);
        bench_check(n >= 0 || errno == EINTR, "epoll_wait");
        for (int i = 0; i < n; i++) {
            act(multi, &events[i]);
        }
        if (n == 0 || wait_ms == 0) {
            curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
            collect(multi);
        }
    }
    curl_multi_cleanup(multi);
    close(epoll);
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

/* Signed by itself. */
static void make_certificate(void)
{
    char command[512];

    snprintf(nginx.certificate, sizeof(nginx.certificate), "%s/certificate",
             nginx.folder);
    snprintf(command, sizeof(command),
             "cd %s && openssl req -x509 -newkey ec -nodes -days 2"
             " -pkeyopt ec_paramgen_curve:P-256 -subj /CN=bench"
             " -addext subjectAltName=IP:127.0.0.1"
             " -keyout key -out certificate 2>log",
             nginx.folder);
    bench_check(system(command) == 0, "openssl makes a certificate");
}

static void write_configuration(void)
{
    char text[2048];
    uint16_t ports[2];
    const char *f = nginx.folder;

    for (int i = 0; i < 2; i++) {
        int listener = net_listen();
        ports[i] = net_port(listener);
        /* Free a moment ago: nginx cannot choose one itself. */
        close(listener);
        snprintf(urls[i], sizeof(urls[i]), "http%s://127.0.0.1:%u/document",
                 i == 0 ? "" : "s", ports[i]);
    }
    int n = snprintf(
        text, sizeof(text),
        "daemon off; master_process off; pid %s/pid; error_log stderr;\n"
        "events { worker_connections 4096; }\n"
        "http { access_log off; keepalive_requests 1000000;\n"
        "client_body_temp_path %s/a; proxy_temp_path %s/b;\n"
        "fastcgi_temp_path %s/c; uwsgi_temp_path %s/d; scgi_temp_path %s/e;\n"
        "server { listen 127.0.0.1:%u backlog=1024;\n"
        "listen 127.0.0.1:%u ssl backlog=1024; root %s;\n"
        "ssl_certificate %s/certificate; ssl_certificate_key %s/key; } }\n",
        f, f, f, f, f, f, ports[0], ports[1], f, f, f);
    write_file("nginx.conf", text, (size_t)n);
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
    make_certificate();
    write_configuration();
    snprintf(path, sizeof(path), "%s/nginx.conf", nginx.folder);
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
    static const char *const names[] = {"a",   "b",           "c",        "d",
                                        "e",   "certificate", "document", "key",
                                        "log", "nginx.conf",  "pid"};
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
    job.url = urls[1];
    CURL *easy = make_handle();
    int tries = 0;

    while (curl_easy_perform(easy) != CURLE_OK) {
        bench_check(++tries < 100 && waitpid(nginx.pid, NULL, WNOHANG) == 0,
                    "nginx starts");
        usleep(50000);
    }
    curl_easy_cleanup(easy);
}

/* --- rounds --------------------------------------------------------------- */

static struct way ways[] = {
    {.name = "https.gev", .fetch_all = fetch_all_gev},
    {.name = "https.multi", .fetch_all = fetch_all_multi},
    {.name = "https.socket", .fetch_all = fetch_all_socket},
    {.name = "http.gev", .fetch_all = fetch_all_gev},
    {.name = "http.multi", .fetch_all = fetch_all_multi},
    {.name = "http.socket", .fetch_all = fetch_all_socket},
};
#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

static double run_way(void *arg)
{
    struct way *way = arg;

    memset(&job, 0, sizeof(job));
    job.url = urls[way->name[4] == 's'];
    double start = bench_cpu();
    way->fetch_all();
    double used = (bench_cpu() - start) * 1e6 / (double)total;
    bench_check(job.done == total && job.bytes == total * DOCUMENT,
                "all documents came");
    way->used[way->n_used++] = used;
    return used;
}

/* How gev's rounds compare with those of one of the others, one by one. */
static void print_quartiles(const struct way *gev, const struct way *other)
{
    double ratios[BENCH_MAX_ROUNDS + 1];
    char suffix[64];
    size_t first = bench_quick ? 0 : 1; /* not the warm-up */
    size_t n = gev->n_used - first;

    for (size_t i = 0; i < n; i++) {
        ratios[i] = gev->used[first + i] / other->used[first + i];
    }
    double median = bench_median(ratios, n); /* sorts */
    snprintf(suffix, sizeof(suffix), "/%s.lower", other->name);
    bench_print(gev->name, suffix, ratios[n / 4], "x");
    snprintf(suffix, sizeof(suffix), "/%s.median", other->name);
    bench_print(gev->name, suffix, median, "x");
    snprintf(suffix, sizeof(suffix), "/%s.upper", other->name);
    bench_print(gev->name, suffix, ratios[n - 1 - n / 4], "x");
}

static void run_cases(const char *only)
{
    struct bench_case cases[N_WAYS];
    size_t n = 0;

    for (size_t i = 0; i < N_WAYS; i++) {
        if (only == NULL || strcmp(only, ways[i].name) == 0) {
            cases[n++] = (struct bench_case){.name = ways[i].name,
                                             .unit = "us",
                                             .run = run_way,
                                             .arg = &ways[i]};
        }
    }
    bench_check(n > 0, "there is such a case");
    bench_run(cases, n);
    for (size_t i = 0; i < N_WAYS && only == NULL; i += 3) {
        print_quartiles(&ways[i], &ways[i + 1]);
        print_quartiles(&ways[i], &ways[i + 2]);
    }
}

int main(int argc, char **argv)
{
    const char *only = NULL;
    int option;

    bench_rounds = 15;
    while ((option = bench_option(argc, argv, usage, "c:n:o:")) != -1) {
        if (option == 'c') {
            at_once = (size_t)bench_number(optarg, 1, 1000);
        } else if (option == 'n') {
            total = (size_t)bench_number(optarg, 1, 1000000);
        } else {
            only = optarg;
        }
    }
    total = bench_count(total);
    if (access("/usr/sbin/nginx", X_OK) < 0 ||
        access("/usr/bin/openssl", X_OK) < 0) {
        fputs("no nginx or no openssl here: skipped\n", stderr);
        return SKIPPED;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    start_nginx();
    await_nginx();
    bench_pin(0);
    run_cases(only);
    stop_nginx();
    curl_global_cleanup();
    return 0;
}
