/* SPDX-License-Identifier: MIT */
/* gev_curl_perform: transfers, their errors, handles, connections. */
#include "curl/fetch.h"

GEV_TEST(transfer_is_that_of_easy_perform)
{
    struct web *web = web_start();
    struct body b;
    CURL *easy = handle_for(web_url(web, "/n/100000"), &b);
    long status = 0;

    errno = 77;
    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    expect_int_eq(errno, 77);
    expect_uint_eq(b.n, 100000);
    expect_uint_eq(b.wrong, 0);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    expect_int_eq(status, 200);
    curl_easy_cleanup(easy);
    web_stop(web);
}

GEV_TEST(handle_may_be_used_again_and_by_curl_itself)
{
    struct web *web = web_start();
    struct body b;
    CURL *easy = handle_for(web_url(web, "/n/10"), &b);

    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    expect_int_eq(curl_easy_perform(easy), CURLE_OK);
    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    expect_uint_eq(b.n, 30);
    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_URL, web_url(web, "/n/0"));
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    CURLM *multi = curl_multi_init();
    expect_int_eq(curl_multi_add_handle(multi, easy), CURLM_OK);
    expect_int_eq(gev_curl_perform(easy), CURLE_FAILED_INIT);
    curl_multi_remove_handle(multi, easy);
    curl_multi_cleanup(multi);
    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    curl_easy_cleanup(easy);
    web_stop(web);
}

GEV_TEST(connections_are_shared)
{
    struct web *web = web_start();

    for (int i = 0; i < 5; i++) {
        expect_int_eq(fetch_number(web_url(web, "/connection")), 1);
    }
    web_stop(web);
}

/* --- many at once --------------------------------------------------------- */

struct crowd {
    struct web *web;
    unsigned left;
    unsigned good;
    unsigned now;
    unsigned peak;
};

static void *fetch_some(void *arg)
{
    struct crowd *crowd = arg;
    struct body b;
    CURL *easy = handle_for("", &b);

    while (crowd->left > 0) {
        unsigned n = crowd->left--;
        memset(&b, 0, sizeof(b));
        curl_easy_setopt(easy, CURLOPT_URL, web_url(crowd->web, "/n/%u", n));
        crowd->now++;
        crowd->peak = crowd->now > crowd->peak ? crowd->now : crowd->peak;
        CURLcode code = gev_curl_perform(easy);
        crowd->now--;
        if (code == CURLE_OK && b.n == n && b.wrong == 0) {
            crowd->good++;
        } else {
            expect_never("%u: %s, %zu bytes", n, curl_easy_strerror(code), b.n);
        }
    }
    curl_easy_cleanup(easy);
    return NULL;
}

GEV_TEST(thousand_transfers_with_hundred_in_flight)
{
    struct crowd crowd = {.web = web_start(), .left = 1000};

    for (int i = 0; i < 100; i++) {
        expect_ok(gev_spawn_raw(fetch_some, &crowd));
    }
    expect_ok(gev_run(GEV_FOREVER));
    expect_uint_eq(crowd.good, 1000);
    expect_uint_eq(crowd.peak, 100);
    /* They kept their connections. */
    expect_le(fetch_number(web_url(crowd.web, "/connection")), 101);
    web_stop(crowd.web);
}

static void *fetch_slowly(void *arg)
{
    struct body b;

    expect_int_eq(fetch(web_url(arg, "/wait/100/200"), &b), CURLE_OK);
    expect_uint_eq(b.n, 100);
    return NULL;
}

GEV_TEST(transfers_run_at_once)
{
    struct web *web = web_start();
    double begin = test_now();

    for (int i = 0; i < 300; i++) { /* more than the table begins with */
        expect_ok(gev_spawn_raw(fetch_slowly, web));
    }
    expect_ok(gev_run(GEV_FOREVER));
    expect_ge(test_now() - begin, 0.2);
    expect_le(test_now() - begin, test_scale(20));
    web_stop(web);
}

GEV_TEST(multi_handles_options_hold)
{
    struct crowd crowd = {.web = web_start(), .left = 30};

    expect_not_null(gev_curl_multi());
    expect_ptr_eq(gev_curl_multi(), gev_curl_multi());
    expect_int_eq(
        curl_multi_setopt(gev_curl_multi(), CURLMOPT_MAX_TOTAL_CONNECTIONS, 1L),
        CURLM_OK);
    for (int i = 0; i < 10; i++) {
        expect_ok(gev_spawn_raw(fetch_some, &crowd));
    }
    expect_ok(gev_run(GEV_FOREVER));
    expect_uint_eq(crowd.good, 30);
    expect_int_eq(fetch_number(web_url(crowd.web, "/connection")), 1);
    web_stop(crowd.web);
}

/* --- uploads -------------------------------------------------------------- */

static size_t give_body(char *data, size_t size, size_t n, void *arg)
{
    size_t *sent = arg;
    const size_t total = 200000;

    n *= size;
    n = n < total - *sent ? n : total - *sent;
    for (size_t i = 0; i < n; i++) {
        data[i] = (char)('0' + (*sent + i) % 10);
    }
    *sent += n;
    return n;
}

GEV_TEST(uploads_come_from_callbacks)
{
    struct web *web = web_start();
    struct body b;
    size_t sent = 0;
    CURL *easy = handle_for(web_url(web, "/echo"), &b);

    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_body);
    curl_easy_setopt(easy, CURLOPT_READDATA, &sent);
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)200000);
    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    expect_uint_eq(b.n, 200000);
    expect_uint_eq(b.wrong, 0);
    curl_easy_cleanup(easy);

    easy = handle_for(web_url(web, "/echo"), &b);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "01234567890");
    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    expect_str_eq(b.begin, "01234567890");
    curl_easy_cleanup(easy);
    web_stop(web);
}

/* --- errors --------------------------------------------------------------- */

static uint16_t refusing_port(void)
{
    uint16_t port = 0;

    close(test_tcp_listener(&port));
    return port;
}

GEV_TEST(errors_are_curls)
{
    struct web *web = web_start();
    struct body b;
    char url[64];
    char text[CURL_ERROR_SIZE] = "";

    errno = 77;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", refusing_port());
    errno = 77;
    expect_int_eq(fetch(url, &b), CURLE_COULDNT_CONNECT);
    expect_int_eq(fetch("http://bad.test/", &b), CURLE_COULDNT_RESOLVE_HOST);
    expect_int_eq(fetch(web_url(web, "/reset"), &b), CURLE_RECV_ERROR);
    expect_int_eq(fetch(web_url(web, "/drop"), &b), CURLE_GOT_NOTHING);
    expect_int_eq(fetch("nosuch://x", &b), CURLE_UNSUPPORTED_PROTOCOL);
    expect_int_eq(fetch("", &b), CURLE_URL_MALFORMAT);
    expect_int_eq(gev_curl_perform(NULL), CURLE_BAD_FUNCTION_ARGUMENT);
    expect_int_eq(errno, 77);
    CURL *easy = handle_for(url, &b);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, text);
    expect_int_eq(gev_curl_perform(easy), CURLE_COULDNT_CONNECT);
    expect_true(strlen(text) > 0);
    curl_easy_setopt(easy, CURLOPT_URL, web_url(web, "/n/1"));
    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    curl_easy_cleanup(easy);
    await_lookups();
    web_stop(web);
}

GEV_TEST(names_are_looked_up)
{
    struct web *web = web_start();
    struct body b;
    char url[64];

    snprintf(url, sizeof(url), "http://good.test:%u/n/5", web_port(web));
    expect_int_eq(fetch(url, &b), CURLE_OK);
    expect_uint_eq(b.n, 5);
    await_lookups();
    web_stop(web);
}

GEV_TEST(curls_own_limit_leaves_errno_alone)
{
    struct web *web = web_start();
    struct body b;
    CURL *easy = handle_for(web_url(web, "/hang"), &b);
    double begin = test_now();

    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 100L);
    errno = 77;
    expect_int_eq(gev_curl_perform(easy), CURLE_OPERATION_TIMEDOUT);
    expect_int_eq(errno, 77);
    expect_ge(test_now() - begin, 0.099);
    expect_le(test_now() - begin, test_scale(1));
    curl_easy_cleanup(easy);
    web_stop(web);
}

static void *expect_busy(void *easy)
{
    errno = 77;
    expect_int_eq(gev_curl_perform(easy), CURLE_FAILED_INIT);
    expect_int_eq(errno, 77);
    return NULL;
}

GEV_TEST(handle_in_a_transfer_is_refused)
{
    struct web *web = web_start();
    struct body b;
    CURL *easy = handle_for(web_url(web, "/wait/10/50"), &b);

    expect_ok(gev_spawn_raw(expect_busy, easy));
    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    expect_uint_eq(b.n, 10);
    curl_easy_cleanup(easy);
    web_stop(web);
}

/* --- callbacks ------------------------------------------------------------ */

struct parker {
    struct web *web;
    int calls;
};

static size_t try_to_park(char *data, size_t size, size_t n, void *arg)
{
    struct parker *p = arg;
    struct body b;

    (void)data;
    if (p->calls++ == 0) {
        expect_fail(gev_sleep(0.01), EPERM);
        errno = 0;
        expect_int_eq(fetch(web_url(p->web, "/n/1"), &b),
                      CURLE_RECURSIVE_API_CALL);
        expect_int_eq(errno, EPERM);
    }
    return size * n;
}

GEV_TEST(callbacks_cannot_park)
{
    struct parker p = {.web = web_start()};
    struct body b;
    CURL *easy = handle_for(web_url(p.web, "/n/10"), &b);

    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, try_to_park);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &p);
    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    expect_true(p.calls > 0);
    curl_easy_cleanup(easy);
    web_stop(p.web);
}

/* Another handle, which is in no transfer: makes it, changes it, frees it. */
static size_t handle_others(char *data, size_t size, size_t n, void *arg)
{
    CURL **other = arg;

    (void)data;
    if (*other != NULL) {
        CURL *copy = curl_easy_duphandle(*other);
        expect_not_null(copy);
        curl_easy_cleanup(copy);
        curl_easy_reset(*other);
        curl_easy_cleanup(*other);
        *other = NULL;
    }
    return size * n;
}

GEV_TEST(callbacks_may_free_handles_that_are_done)
{
    struct web *web = web_start();
    struct body b;
    struct body of_other;
    CURL *other = handle_for(web_url(web, "/n/1"), &of_other);
    CURL *easy = handle_for(web_url(web, "/n/10"), &b);

    expect_int_eq(gev_curl_perform(other), CURLE_OK);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, handle_others);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &other);
    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    expect_null(other);
    curl_easy_cleanup(easy);
    expect_int_eq(fetch_number(web_url(web, "/connection")), 1);
    web_stop(web);
}

static void perform_in_hub(void *arg)
{
    struct body b;

    errno = 0;
    expect_int_eq(fetch(arg, &b), CURLE_RECURSIVE_API_CALL);
    expect_int_eq(errno, EPERM);
}

GEV_TEST(hub_and_defers_cannot_perform)
{
    struct web *web = web_start();
    char url[256];

    snprintf(url, sizeof(url), "%s", web_url(web, "/n/1"));
    expect_ok(gev_hub_post(gev_hub_get(), perform_in_hub, url));
    expect_ok(gev_run(GEV_FOREVER));
    expect_ok(gev_defer(perform_in_hub, url));
    expect_ok(gev_hub_close());
    web_stop(web);
}

static size_t refuse(char *data, size_t size, size_t n, void *arg)
{
    (void)data;
    (void)arg;
    return size * n + 1;
}

GEV_TEST(callback_may_end_the_transfer)
{
    struct web *web = web_start();
    struct body b;
    CURL *easy = handle_for(web_url(web, "/n/10"), &b);

    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, refuse);
    expect_int_eq(gev_curl_perform(easy), CURLE_WRITE_ERROR);
    curl_easy_cleanup(easy);
    web_stop(web);
}

/* --- the hub -------------------------------------------------------------- */

GEV_TEST(idle_connections_hold_nothing_up)
{
    struct web *web = web_start();
    gev_waiter never = {{NULL}};

    expect_int_eq(fetch_number(web_url(web, "/connection")), 1);
    expect_ok(gev_run(GEV_FOREVER));
    expect_fail(gev_waiter_get(&never, NULL, GEV_FOREVER), EDEADLK);
    expect_int_eq(fetch_number(web_url(web, "/connection")), 1);
    web_stop(web);
}

GEV_TEST(multi_handle_of_an_unused_hub_is_freed)
{
    expect_not_null(gev_curl_multi());
    expect_ok(gev_hub_close());
    expect_not_null(gev_curl_multi());
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transfer_is_that_of_easy_perform),
        cmocka_unit_test(handle_may_be_used_again_and_by_curl_itself),
        cmocka_unit_test(connections_are_shared),
        cmocka_unit_test(thousand_transfers_with_hundred_in_flight),
        cmocka_unit_test(transfers_run_at_once),
        cmocka_unit_test(multi_handles_options_hold),
        cmocka_unit_test(uploads_come_from_callbacks),
        cmocka_unit_test(errors_are_curls),
        cmocka_unit_test(names_are_looked_up),
        cmocka_unit_test(curls_own_limit_leaves_errno_alone),
        cmocka_unit_test(handle_in_a_transfer_is_refused),
        cmocka_unit_test(callbacks_cannot_park),
        cmocka_unit_test(callbacks_may_free_handles_that_are_done),
        cmocka_unit_test(hub_and_defers_cannot_perform),
        cmocka_unit_test(callback_may_end_the_transfer),
        cmocka_unit_test(idle_connections_hold_nothing_up),
        cmocka_unit_test(multi_handle_of_an_unused_hub_is_freed),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
