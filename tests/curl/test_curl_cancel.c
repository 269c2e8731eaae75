/* SPDX-License-Identifier: MIT */
/* Kills and timeout scopes end a transfer at once, wherever it is. */
#include "curl/fetch.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* Where a transfer is when it is cut short. */
struct place {
    const char *name;
    const char *url;
};

/* A listener whose queue is full, so that a connect to it stays on its way. */
struct full_listener {
    int fd;
    int fillers[4];
    uint16_t port;
};

static void listen_full(struct full_listener *l)
{
    struct sockaddr_in address = {.sin_family = AF_INET};

    l->fd = test_tcp_listener(&l->port);
    listen(l->fd, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(l->port);
    for (size_t i = 0; i < 4; i++) {
        l->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(l->fillers[i], (void *)&address, sizeof(address));
    }
}

static void close_full(struct full_listener *l)
{
    for (size_t i = 0; i < 4; i++) {
        close(l->fillers[i]);
    }
    close(l->fd);
}

struct job {
    const char *url;
    CURLcode code;
    int error;
    double seconds;
    bool again; /* the handle could be used at once */
    const char *good_url;
};

static void *fetch_job(void *arg)
{
    struct job *job = arg;
    struct body b;
    CURL *easy = handle_for(job->url, &b);

    double begin = test_now();
    errno = 0;
    job->code = gev_curl_perform(easy);
    job->error = errno;
    job->seconds = test_now() - begin;
    gev_uncancel();
    curl_easy_setopt(easy, CURLOPT_URL, job->good_url);
    job->again = gev_curl_perform(easy) == CURLE_OK;
    curl_easy_cleanup(easy);
    return NULL;
}

static void kill_in(const struct place *place, struct web *web)
{
    struct job job = {.url = place->url, .good_url = web_url(web, "/n/1")};
    gev_greenlet *g = gev_spawn(fetch_job, &job);

    test_note("killed in %s", place->name);
    gev_sleep(0.05);
    double begin = test_now();
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_le(test_now() - begin, test_scale(0.3));
    gev_unref(g);
    expect_int_eq(job.code, CURLE_ABORTED_BY_CALLBACK);
    expect_int_eq(job.error, ECANCELED);
    expect_true(job.again);
    test_note(NULL);
}

static void time_out_in(const struct place *place, struct web *web)
{
    gev_timeout limit = {{0}};
    struct body b;
    CURL *easy = handle_for(place->url, &b);

    test_note("timed out in %s", place->name);
    double begin = test_now();
    expect_ok(gev_timeout_begin(&limit, 0.2));
    errno = 0;
    expect_int_eq(gev_curl_perform(easy), CURLE_OPERATION_TIMEDOUT);
    expect_int_eq(errno, ETIMEDOUT);
    expect_true(gev_timeout_end(&limit));
    double seconds = test_now() - begin;
    expect_ge(seconds, 0.2);
    expect_le(seconds, test_scale(0.25));
    curl_easy_setopt(easy, CURLOPT_URL, web_url(web, "/n/1"));
    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    begin = test_now();
    curl_easy_cleanup(easy);
    expect_le(test_now() - begin, test_scale(0.05));
    test_note(NULL);
}

static void limit_in(const struct place *place, struct web *web)
{
    struct body b;
    CURL *easy = handle_for(place->url, &b);

    test_note("curl's own limit in %s", place->name);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 200L);
    double begin = test_now();
    errno = 77;
    expect_int_eq(gev_curl_perform(easy), CURLE_OPERATION_TIMEDOUT);
    expect_int_eq(errno, 77);
    double seconds = test_now() - begin;
    expect_ge(seconds, 0.199);
    expect_le(seconds, test_scale(0.25));
    curl_easy_setopt(easy, CURLOPT_URL, web_url(web, "/n/1"));
    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    curl_easy_cleanup(easy);
    test_note(NULL);
}

static void cut_short_everywhere(void (*cut)(const struct place *,
                                             struct web *))
{
    struct web *web = web_start();
    struct full_listener full;
    uint16_t silent_port;
    int silent = test_tcp_listener(&silent_port);
    char connecting[64];
    char handshaking[64];

    listen(silent, 10); /* it takes connections, and what they say, and waits */
    listen_full(&full);
    snprintf(connecting, sizeof(connecting), "http://127.0.0.1:%u/", full.port);
    snprintf(handshaking, sizeof(handshaking), "https://127.0.0.1:%u/",
             silent_port);
    const struct place places[] = {
        {"the look-up", "http://slow.test/"},
        {"the connect", connecting},
        {"the TLS handshake", handshaking},
        {"waiting for the answer", web_url(web, "/hang")},
        {"the body", web_url(web, "/late/1000/3000")},
    };
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        cut(&places[i], web);
    }
    expect_hung(web, 1);
    close_full(&full);
    close(silent);
    await_lookups();
    web_stop(web);
}

GEV_TEST(kill_ends_it_everywhere)
{
    cut_short_everywhere(kill_in);
}

GEV_TEST(scope_ends_it_everywhere)
{
    cut_short_everywhere(time_out_in);
}

GEV_TEST(curls_own_limit_ends_it_everywhere)
{
    cut_short_everywhere(limit_in);
}

/* The loop's time is old when the timer is set, which is early then: it has to
 * be set again. */
GEV_TEST(curls_own_limit_holds_after_a_busy_time)
{
    struct web *web = web_start();
    struct body b;
    CURL *easy = handle_for(web_url(web, "/hang"), &b);

    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 100L);
    gev_yield();
    for (double end = test_now() + 0.08; test_now() < end;) {
    }
    double begin = test_now();
    expect_int_eq(gev_curl_perform(easy), CURLE_OPERATION_TIMEDOUT);
    expect_ge(test_now() - begin, 0.099);
    expect_le(test_now() - begin, test_scale(1));
    curl_easy_cleanup(easy);
    web_stop(web);
}

GEV_TEST(scope_has_its_own_code)
{
    struct web *web = web_start();
    gev_timeout limit = {{0}};
    struct body b;

    expect_ok(gev_timeout_begin_error(&limit, 0.02, ENOSPC));
    expect_int_eq(fetch(web_url(web, "/hang"), &b), CURLE_ABORTED_BY_CALLBACK);
    expect_int_eq(errno, ENOSPC);
    gev_timeout_end(&limit);
    expect_hung(web, 1);
    web_stop(web);
}

GEV_TEST(scope_that_is_over_starts_nothing)
{
    struct web *web = web_start();
    gev_timeout limit = {{0}};
    struct body b;

    expect_ok(gev_timeout_begin(&limit, 0));
    expect_int_eq(fetch(web_url(web, "/n/1"), &b), CURLE_OPERATION_TIMEDOUT);
    expect_int_eq(errno, ETIMEDOUT);
    gev_timeout_end(&limit);
    expect_uint_eq(b.n, 0);
    expect_int_eq(fetch_number(web_url(web, "/connection")), 1);
    web_stop(web);
}

static void *perform_killed(void *url)
{
    struct body b;

    gev_sleep(0);
    expect_int_eq(fetch(url, &b), CURLE_ABORTED_BY_CALLBACK);
    expect_int_eq(errno, ECANCELED);
    expect_int_eq(fetch(url, &b), CURLE_ABORTED_BY_CALLBACK); /* still */
    return NULL;
}

GEV_TEST(killed_one_starts_nothing)
{
    struct web *web = web_start();
    char url[128];
    snprintf(url, sizeof(url), "%s", web_url(web, "/n/1"));
    gev_greenlet *g = gev_spawn(perform_killed, url);

    gev_yield();
    expect_ok(gev_kill(g, GEV_FOREVER));
    gev_unref(g);
    web_stop(web);
}

static void *perform_thrown(void *url)
{
    struct body b;

    expect_int_eq(fetch(url, &b), CURLE_ABORTED_BY_CALLBACK);
    expect_int_eq(errno, EIO);
    return NULL;
}

GEV_TEST(thrown_code_is_errno)
{
    struct web *web = web_start();
    char url[128];
    snprintf(url, sizeof(url), "%s", web_url(web, "/hang"));
    gev_greenlet *g = gev_spawn(perform_thrown, url);

    gev_sleep(0.02);
    expect_ok(gev_throw(g, EIO));
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
    web_stop(web);
}

/* Kills itself from its own write callback: the kill comes first, though the
 * transfer completes before the greenlet runs. */
struct suicide {
    gev_greenlet *g;
    const char *url;
    CURLcode code;
};

static size_t kill_owner(char *data, size_t size, size_t n, void *arg)
{
    struct suicide *s = arg;

    (void)data;
    expect_ok(gev_kill(s->g, 0));
    return size * n;
}

static void *perform_suicide(void *arg)
{
    struct suicide *s = arg;
    struct body b;
    CURL *easy = handle_for(s->url, &b);

    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, kill_owner);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, s);
    s->code = gev_curl_perform(easy);
    curl_easy_cleanup(easy);
    return NULL;
}

GEV_TEST(kill_from_its_own_callback)
{
    struct web *web = web_start();
    struct suicide s = {.url = web_url(web, "/n/10")};

    s.g = gev_spawn(perform_suicide, &s);
    expect_ok(gev_join(s.g, GEV_FOREVER));
    gev_unref(s.g);
    expect_int_eq(s.code, CURLE_ABORTED_BY_CALLBACK);
    expect_int_eq(fetch_number(web_url(web, "/connection")) > 0, 1);
    web_stop(web);
}

/* A removal calls the progress function once more: in the hub. */
struct progress {
    unsigned parked;
    unsigned refused;
};

static int progress_parks(void *arg, curl_off_t a, curl_off_t b, curl_off_t c,
                          curl_off_t d)
{
    struct progress *p = arg;

    (void)a;
    (void)b;
    (void)c;
    (void)d;
    if (gev_sleep(0.001) < 0 && errno == EPERM) {
        p->refused++;
    } else {
        p->parked++;
    }
    return 0;
}

GEV_TEST(callbacks_of_a_removal_cannot_park)
{
    struct web *web = web_start();
    struct progress p = {0, 0};
    gev_timeout limit = {{0}};
    struct body b;
    CURL *easy = handle_for(web_url(web, "/late/100/3000"), &b);

    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, progress_parks);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, &p);
    expect_ok(gev_timeout_begin(&limit, 0.05));
    expect_int_eq(gev_curl_perform(easy), CURLE_OPERATION_TIMEDOUT);
    gev_timeout_end(&limit);
    expect_true(p.refused > 0);
    expect_uint_eq(p.parked, 0);
    curl_easy_cleanup(easy);
    web_stop(web);
}

/* Hundreds cut short at random moments, among others that are not. */
struct storm {
    struct web *web;
    unsigned seed;
    unsigned done;
    unsigned cut;
};

static void *weather(void *arg)
{
    struct storm *s = arg;

    for (int i = 0; i < 10; i++) {
        struct body b;
        gev_timeout limit = {{0}};
        unsigned n = (unsigned)rand_r(&s->seed);
        CURL *easy = handle_for(
            n % 3 == 0   ? "http://bad.test/"
            : n % 3 == 1 ? web_url(s->web, "/late/5000/%u", n / 3 % 20)
                         : web_url(s->web, "/n/100000"),
            &b);
        gev_timeout_begin(&limit, n / 7 % 30 / 1e3);
        CURLcode code = gev_curl_perform(easy);
        gev_timeout_end(&limit);
        if (code == CURLE_OPERATION_TIMEDOUT) {
            s->cut++;
        } else {
            expect_int_eq(code,
                          n % 3 == 0 ? CURLE_COULDNT_RESOLVE_HOST : CURLE_OK);
            s->done++;
        }
        curl_easy_cleanup(easy);
    }
    return NULL;
}

GEV_TEST(storm_of_timeouts)
{
    struct storm s = {.web = web_start(), .seed = 1};

    for (int i = 0; i < 50; i++) {
        expect_ok(gev_spawn_raw(weather, &s));
    }
    expect_ok(gev_run(GEV_FOREVER));
    expect_uint_eq(s.cut + s.done, 500);
    expect_true(s.cut > 10);
    expect_true(s.done > 10);
    await_lookups();
    web_stop(s.web);
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kill_ends_it_everywhere),
        cmocka_unit_test(scope_ends_it_everywhere),
        cmocka_unit_test(curls_own_limit_ends_it_everywhere),
        cmocka_unit_test(curls_own_limit_holds_after_a_busy_time),
        cmocka_unit_test(scope_has_its_own_code),
        cmocka_unit_test(scope_that_is_over_starts_nothing),
        cmocka_unit_test(killed_one_starts_nothing),
        cmocka_unit_test(thrown_code_is_errno),
        cmocka_unit_test(kill_from_its_own_callback),
        cmocka_unit_test(callbacks_of_a_removal_cannot_park),
        cmocka_unit_test(storm_of_timeouts),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
