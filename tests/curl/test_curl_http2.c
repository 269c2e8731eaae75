/* SPDX-License-Identifier: MIT */
/* Many transfers over one HTTP/2 connection, from a real nginx. */
#include "curl/fetch.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define STREAMS 50
#define DOCUMENT ((size_t)20000)

static struct {
    char folder[64];
    char url[64];  /* of a document */
    char slow[64]; /* of the same, whose end comes 0.2 s later at least */
    char certificate[96];
    pid_t pid;
} nginx;

static const char *path_of(const char *name)
{
    static char path[96];

    snprintf(path, sizeof(path), "%s/%s", nginx.folder, name);
    return path;
}

static void write_document(void)
{
    FILE *file = fopen(path_of("document"), "w");

    for (size_t i = 0; i < DOCUMENT; i++) {
        fputc('0' + (int)(i % 10), file);
    }
    expect_ok(fclose(file));
}

/* Signed by itself. */
static void make_certificate(void)
{
    char command[512];

    snprintf(nginx.certificate, sizeof(nginx.certificate), "%s",
             path_of("certificate"));
    snprintf(command, sizeof(command),
             "cd %s && openssl req -x509 -newkey ec -nodes -days 2"
             " -pkeyopt ec_paramgen_curve:P-256 -subj /CN=test"
             " -addext subjectAltName=IP:127.0.0.1"
             " -keyout key -out certificate 2>log",
             nginx.folder);
    expect_int_eq(system(command), 0);
}

static void write_configuration(uint16_t port)
{
    const char *f = nginx.folder;
    FILE *file = fopen(path_of("nginx.conf"), "w");

    fprintf(file,
            "daemon off; master_process off; pid %s/pid; error_log stderr;\n"
            "events { worker_connections 512; }\n"
            "http { access_log off;\n"
            "client_body_temp_path %s/a; proxy_temp_path %s/b;\n"
            "fastcgi_temp_path %s/c; uwsgi_temp_path %s/d;\n"
            "scgi_temp_path %s/e;\n"
            "server { listen 127.0.0.1:%u ssl http2; root %s;\n"
            "ssl_certificate %s/certificate; ssl_certificate_key %s/key;\n"
            "location /slow/ { alias %s/; limit_rate 16k; } } }\n",
            f, f, f, f, f, f, port, f, f, f, f);
    expect_ok(fclose(file));
}

static bool answers(void)
{
    struct body b;
    CURL *easy = handle_for(nginx.url, &b);

    curl_easy_setopt(easy, CURLOPT_CAINFO, nginx.certificate);
    CURLcode code = gev_curl_perform(easy);
    curl_easy_cleanup(easy);
    return code == CURLE_OK;
}

static pid_t start_program(void)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            execl("/usr/sbin/nginx", "nginx", "-e", "stderr", "-p",
                  nginx.folder, "-c", path_of("nginx.conf"), (char *)NULL);
        }
        _exit(127);
    }
    return pid;
}

/* nginx cannot choose a port; one that is taken meanwhile is another try. */
static bool start_nginx(void)
{
    const double deadline = test_now() + test_scale(20);

    snprintf(nginx.folder, sizeof(nginx.folder), "/tmp/test_curl.XXXXXX");
    expect_not_null(mkdtemp(nginx.folder));
    expect_ok(chmod(nginx.folder, 0755));
    write_document();
    make_certificate();
    do {
        uint16_t port = 0;
        close(test_tcp_listener(&port));
        write_configuration(port);
        snprintf(nginx.url, sizeof(nginx.url), "https://127.0.0.1:%u/document",
                 port);
        snprintf(nginx.slow, sizeof(nginx.slow),
                 "https://127.0.0.1:%u/slow/document", port);
        nginx.pid = start_program();
        while (waitpid(nginx.pid, NULL, WNOHANG) == 0) {
            if (answers()) {
                return true;
            }
            gev_sleep(0.02);
        }
    } while (test_now() < deadline);
    expect_never("nginx does not start");
    return false;
}

static void stop_nginx(void)
{
    static const char *const names[] = {"a",   "b",           "c",        "d",
                                        "e",   "certificate", "document", "key",
                                        "log", "nginx.conf",  "pid"};

    kill(nginx.pid, SIGKILL);
    expect_int_eq(waitpid(nginx.pid, NULL, 0), nginx.pid);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        remove(path_of(names[i]));
    }
    expect_ok(rmdir(nginx.folder));
}

struct streams {
    unsigned good;
    unsigned http2;
    unsigned now;
    unsigned peak;
    long connections;
    long version; /* that is asked for */
    const char *url;
};

static void *fetch_stream(void *arg)
{
    struct streams *s = arg;
    struct body b;
    long connections = 0;
    long version = 0;
    CURL *easy = handle_for(s->url, &b);

    curl_easy_setopt(easy, CURLOPT_CAINFO, nginx.certificate);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, s->version);
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
    s->now++;
    s->peak = s->now > s->peak ? s->now : s->peak;
    s->good +=
        gev_curl_perform(easy) == CURLE_OK && b.n == DOCUMENT && b.wrong == 0;
    s->now--;
    curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connections);
    curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
    s->connections += connections;
    s->http2 += version == CURL_HTTP_VERSION_2_0;
    curl_easy_cleanup(easy);
    return NULL;
}

static void fetch_streams(struct streams *s)
{
    for (int i = 0; i < STREAMS; i++) {
        expect_ok(gev_spawn_raw(fetch_stream, s));
    }
    expect_ok(gev_run(GEV_FOREVER));
    expect_uint_eq(s->good, STREAMS);
    expect_uint_eq(s->peak, STREAMS);
    expect_ok(gev_hub_close()); /* and its connections */
}

GEV_TEST(fifty_streams_share_a_connection)
{
    if (access("/usr/sbin/nginx", X_OK) < 0) {
        test_skip("no nginx");
    }
    struct streams h2 = {.version = CURL_HTTP_VERSION_2TLS, .url = nginx.slow};
    struct streams h1 = {.version = CURL_HTTP_VERSION_1_1, .url = nginx.url};

    if (start_nginx()) {
        expect_ok(gev_hub_close()); /* without the connection of the first */
        double begin = test_now();
        fetch_streams(&h2);
        /* One after the other they would take 50 times as long as one. */
        expect_ge(test_now() - begin, 0.2);
        expect_le(test_now() - begin, test_scale(5));
        expect_uint_eq(h2.http2, STREAMS);
        expect_int_eq(h2.connections, 1);
        fetch_streams(&h1);
        expect_uint_eq(h1.http2, 0);
        expect_int_eq(h1.connections, STREAMS);
    }
    stop_nginx();
}

static void *fetch_killed_stream(void *arg)
{
    struct body b;
    CURL *easy = handle_for(nginx.slow, &b);

    curl_easy_setopt(easy, CURLOPT_CAINFO, nginx.certificate);
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
    expect_int_eq(gev_curl_perform(easy), CURLE_ABORTED_BY_CALLBACK);
    curl_easy_cleanup(easy);
    return arg;
}

/* One stream that ends early is no harm to those beside it. */
GEV_TEST(killed_stream_leaves_the_others)
{
    if (access("/usr/sbin/nginx", X_OK) < 0) {
        test_skip("no nginx");
    }
    struct streams h2 = {.version = CURL_HTTP_VERSION_2TLS, .url = nginx.slow};

    if (start_nginx()) {
        gev_greenlet *g = gev_spawn(fetch_killed_stream, NULL);
        for (int i = 0; i < 10; i++) {
            expect_ok(gev_spawn_raw(fetch_stream, &h2));
        }
        gev_sleep(0.05);
        expect_ok(gev_kill(g, GEV_FOREVER));
        gev_unref(g);
        expect_ok(gev_run(GEV_FOREVER));
        expect_uint_eq(h2.good, 10);
        expect_int_eq(h2.connections, 0); /* that of the first try */
        expect_ok(gev_hub_close());
    }
    stop_nginx();
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fifty_streams_share_a_connection),
        cmocka_unit_test(killed_stream_leaves_the_others),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
