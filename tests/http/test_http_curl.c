/* SPDX-License-Identifier: MIT */

/* A client that others have written: libcurl, over TLS and without, against
 * gev-http, in one thread. */
#include "http/http_test.h"

#include <gev/curl.h>
#include <gev/tls.h>

#include "support/certs.h"

#include <stdlib.h>
#include <string.h>

#define BIG 300000

struct body {
    char data[BIG + 1];
    size_t n;
};

static size_t take(char *data, size_t size, size_t n, void *arg)
{
    struct body *b = arg;
    (void)size;
    if (b->n + n > BIG) {
        return 0;
    }
    memcpy(b->data + b->n, data, n);
    b->n += n;
    b->data[b->n] = '\0';
    return n;
}

/* By path: what came, twice as much in chunks, or much. */
static int answer(gev_http *h, void *arg)
{
    static char big[BIG];
    const char *path = gev_http_path(h);
    if (strcmp(path, "/big") == 0) {
        memset(big, 'x', sizeof(big));
        return gev_http_reply(h, 200, "text/plain", big, sizeof(big));
    }
    if (strcmp(path, "/chunks") == 0) {
        for (int i = 0; i < 10; i++) {
            if (gev_http_printf(h, "%d", i) < 0 || gev_http_flush(h) < 0) {
                return -1;
            }
        }
        return 0;
    }
    return http_describe(h, arg);
}

struct side {
    gev_server *server;
    char base[64];
    struct http_log log;
};

static void start(struct side *x, gev_tls *tls)
{
    const gev_server_opts o = {
        .size = sizeof(o), .host = "127.0.0.1", .tls = tls};
    const gev_http_opts h = http_opts(&x->log);
    x->server = gev_http_server_new(&o, &h, answer, NULL);
    expect_ok(gev_server_start(x->server));
    snprintf(x->base, sizeof(x->base), "%s://localhost:%d",
             tls == NULL ? "http" : "https", gev_server_port(x->server));
}

static void fetch(CURL *curl, const struct side *x, const char *path,
                  struct body *b)
{
    char url[128];
    snprintf(url, sizeof(url), "%s%s", x->base, path);
    b->n = 0;
    b->data[0] = '\0';
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, b);
    expect_int_eq(gev_curl_perform(curl), CURLE_OK);
}

static void expect_status(CURL *curl, long wanted, long connects)
{
    long n = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &n);
    expect_int_eq(n, wanted);
    curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &n);
    expect_int_eq(n, connects);
}

/* The second half of each pair goes over the first one's connection. */
static void talk(const struct side *x)
{
    static struct body b;
    static char post[100000];
    CURL *curl = curl_easy_init();
    /* Resolved here: no name server is asked. */
    struct curl_slist *host = NULL;
    char entry[64];
    snprintf(entry, sizeof(entry), "localhost:%d:127.0.0.1",
             gev_server_port(x->server));
    host = curl_slist_append(host, entry);
    curl_easy_setopt(curl, CURLOPT_RESOLVE, host);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_CAINFO, certs_path("ca.pem"));
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    fetch(curl, x, "/a%20b?q", &b);
    expect_status(curl, 200, 1);
    expect_str_eq(b.data, "GET /a b q 11 0:");
    fetch(curl, x, "/big", &b);
    expect_status(curl, 200, 0);
    expect_uint_eq(b.n, BIG);
    fetch(curl, x, "/chunks", &b);
    expect_status(curl, 200, 0);
    expect_str_eq(b.data, "0123456789");
    curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    fetch(curl, x, "/big", &b);
    expect_status(curl, 200, 0);
    expect_uint_eq(b.n, 0);
    curl_easy_setopt(curl, CURLOPT_NOBODY, 0L);
    /* Longer than libcurl sends without Expect: 100-continue. */
    memset(post, 'p', sizeof(post));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)sizeof(post));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, post);
    struct curl_slist *expect = curl_slist_append(NULL, "Expect: 100-continue");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, expect);
    fetch(curl, x, "/post", &b);
    expect_status(curl, 200, 0);
    expect_uint_eq(b.n, strlen("POST /post  11 100000:") + sizeof(post));
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_0);
    fetch(curl, x, "/old", &b);
    expect_uint_eq(b.n, strlen("POST /old  10 100000:") + sizeof(post));
    expect_str_eq(x->log.why, "");
    curl_easy_cleanup(curl);
    curl_slist_free_all(expect);
    curl_slist_free_all(host);
}

static void run(gev_tls *tls)
{
    struct side x;
    start(&x, tls);
    talk(&x);
    expect_ok(gev_server_stop(x.server, test_scale(5)));
    gev_server_free(x.server);
}

GEV_TEST(plain)
{
    run(NULL);
}

GEV_TEST(over_tls)
{
    gev_tls_opts o = {.size = sizeof(o),
                      .cert_file = certs_path("good.pem"),
                      .key_file = certs_path("good.key"),
                      .alpn = "http/1.1"};
    gev_tls *tls = gev_tls_server(&o);
    expect_not_null(tls);
    run(tls);
    gev_tls_unref(tls);
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(over_tls),
    };
    (void)certs_path(""); /* made outside of the tests */
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
