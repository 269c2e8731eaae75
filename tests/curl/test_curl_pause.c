/* SPDX-License-Identifier: MIT */
/* gev_curl_pause: transfers held up by a callback or a greenlet. */
#include "curl/fetch.h"

struct flow {
    CURL *easy;
    struct body body;
    unsigned pauses; /* how often the callback shall pause still */
    bool paused;
    gev_waiter held; /* tells that it is */
    CURLcode code;
    bool over;
};

static size_t take_or_pause(char *data, size_t size, size_t n, void *arg)
{
    struct flow *f = arg;

    if (f->pauses > 0) {
        f->pauses--;
        f->paused = true;
        gev_waiter_switch(&f->held, NULL);
        return CURL_WRITEFUNC_PAUSE;
    }
    expect_false(f->paused);
    return take_body(data, size, n, &f->body);
}

static void *perform_flow(void *arg)
{
    struct flow *f = arg;

    f->code = gev_curl_perform(f->easy);
    f->over = true;
    gev_waiter_switch(&f->held, NULL);
    return NULL;
}

static void start_flow(struct flow *f, const char *url)
{
    f->easy = handle_for(url, &f->body);
    curl_easy_setopt(f->easy, CURLOPT_WRITEFUNCTION, take_or_pause);
    curl_easy_setopt(f->easy, CURLOPT_WRITEDATA, f);
    expect_ok(gev_spawn_raw(perform_flow, f));
}

static void end_flow(struct flow *f, CURLcode code)
{
    while (!f->over) {
        expect_ok(gev_waiter_get(&f->held, NULL, 20));
    }
    expect_int_eq(f->code, code);
    curl_easy_cleanup(f->easy);
}

GEV_TEST(callback_pauses_and_a_greenlet_goes_on)
{
    struct web *web = web_start();
    struct flow f = {.pauses = 20};

    start_flow(&f, web_url(web, "/n/3000000"));
    while (!f.over) {
        expect_ok(gev_waiter_get(&f.held, NULL, 20));
        if (!f.over) {
            gev_sleep(0.001);
            f.paused = false;
            errno = 77;
            expect_int_eq(gev_curl_pause(f.easy, CURLPAUSE_CONT), CURLE_OK);
            expect_int_eq(errno, 77);
        }
    }
    expect_uint_eq(f.body.n, 3000000);
    expect_uint_eq(f.body.wrong, 0);
    expect_uint_eq(f.pauses, 0);
    end_flow(&f, CURLE_OK);
    web_stop(web);
}

GEV_TEST(greenlet_pauses)
{
    struct web *web = web_start();
    struct flow f = {.pauses = 0};

    start_flow(&f, web_url(web, "/late/10000/50"));
    while (f.body.n < 5000) {
        gev_sleep(0.001);
    }
    expect_int_eq(gev_curl_pause(f.easy, CURLPAUSE_ALL), CURLE_OK);
    f.paused = true; /* the callback must not be called now */
    gev_sleep(0.15);
    expect_uint_eq(f.body.n, 5000);
    expect_false(f.over);
    f.paused = false;
    expect_int_eq(gev_curl_pause(f.easy, CURLPAUSE_CONT), CURLE_OK);
    end_flow(&f, CURLE_OK);
    expect_uint_eq(f.body.n, 10000);
    web_stop(web);
}

GEV_TEST(pause_after_going_on_wins)
{
    struct web *web = web_start();
    struct flow f = {.pauses = 1};

    start_flow(&f, web_url(web, "/n/10"));
    expect_ok(gev_waiter_get(&f.held, NULL, 20));
    expect_int_eq(gev_curl_pause(f.easy, CURLPAUSE_CONT), CURLE_OK);
    expect_int_eq(gev_curl_pause(f.easy, CURLPAUSE_RECV), CURLE_OK);
    gev_sleep(0.02);
    expect_uint_eq(f.body.n, 0);
    f.paused = false;
    expect_int_eq(gev_curl_pause(f.easy, CURLPAUSE_CONT), CURLE_OK);
    end_flow(&f, CURLE_OK);
    expect_uint_eq(f.body.n, 10);
    web_stop(web);
}

static size_t fail_after_pause(char *data, size_t size, size_t n, void *arg)
{
    struct flow *f = arg;

    (void)data;
    if (f->pauses > 0) {
        f->pauses--;
        gev_waiter_switch(&f->held, NULL);
        return CURL_WRITEFUNC_PAUSE;
    }
    expect_fail(gev_sleep(0.001), EPERM);
    return size * n + 1;
}

GEV_TEST(held_back_data_that_is_refused_ends_the_transfer)
{
    struct web *web = web_start();
    struct flow f = {.pauses = 1};

    start_flow(&f, web_url(web, "/n/10"));
    curl_easy_setopt(f.easy, CURLOPT_WRITEFUNCTION, fail_after_pause);
    expect_ok(gev_waiter_get(&f.held, NULL, 20));
    expect_int_eq(gev_curl_pause(f.easy, CURLPAUSE_CONT), CURLE_OK);
    end_flow(&f, CURLE_WRITE_ERROR);
    web_stop(web);
}

/* From inside the callback, also for another handle. */
struct pair {
    struct flow *other;
    struct body body;
};

static size_t release_other(char *data, size_t size, size_t n, void *arg)
{
    struct pair *p = arg;

    p->other->paused = false;
    expect_int_eq(gev_curl_pause(p->other->easy, CURLPAUSE_CONT), CURLE_OK);
    return take_body(data, size, n, &p->body);
}

GEV_TEST(callback_lets_another_go_on)
{
    struct web *web = web_start();
    struct flow f = {.pauses = 1};
    struct pair p = {.other = &f};

    start_flow(&f, web_url(web, "/n/10"));
    expect_ok(gev_waiter_get(&f.held, NULL, 20));
    CURL *easy = handle_for(web_url(web, "/n/20"), &p.body);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, release_other);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &p);
    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    curl_easy_cleanup(easy);
    end_flow(&f, CURLE_OK);
    expect_uint_eq(p.body.n, 20);
    web_stop(web);
}

GEV_TEST(uploads_pause_too)
{
    struct web *web = web_start();
    struct flow f = {.pauses = 0};

    start_flow(&f, web_url(web, "/echo"));
    curl_easy_setopt(f.easy, CURLOPT_POSTFIELDS, "0123456789");
    while (gev_curl_pause(f.easy, CURLPAUSE_ALL) != CURLE_OK && !f.over) {
        gev_yield();
    }
    gev_sleep(0.02);
    expect_int_eq(gev_curl_pause(f.easy, CURLPAUSE_RECV), CURLE_OK);
    gev_sleep(0.02);
    expect_false(f.over);
    expect_int_eq(gev_curl_pause(f.easy, CURLPAUSE_CONT), CURLE_OK);
    end_flow(&f, CURLE_OK);
    expect_str_eq(f.body.begin, "0123456789");
    web_stop(web);
}

GEV_TEST(only_transfers_pause)
{
    struct web *web = web_start();
    struct body b;
    CURL *easy = handle_for(web_url(web, "/n/1"), &b);

    expect_int_eq(gev_curl_pause(easy, CURLPAUSE_CONT),
                  CURLE_BAD_FUNCTION_ARGUMENT);
    expect_int_eq(gev_curl_perform(easy), CURLE_OK);
    expect_int_eq(gev_curl_pause(easy, CURLPAUSE_ALL),
                  CURLE_BAD_FUNCTION_ARGUMENT);
    expect_int_eq(gev_curl_pause(NULL, CURLPAUSE_ALL),
                  CURLE_BAD_FUNCTION_ARGUMENT);
    curl_easy_cleanup(easy);
    web_stop(web);
}

GEV_TEST(paused_one_can_be_timed_out)
{
    struct web *web = web_start();
    struct flow f = {.pauses = 1};
    gev_timeout limit = {{0}};

    f.easy = handle_for(web_url(web, "/n/10"), &f.body);
    curl_easy_setopt(f.easy, CURLOPT_WRITEFUNCTION, take_or_pause);
    curl_easy_setopt(f.easy, CURLOPT_WRITEDATA, &f);
    expect_ok(gev_timeout_begin(&limit, 0.05));
    expect_int_eq(gev_curl_perform(f.easy), CURLE_OPERATION_TIMEDOUT);
    gev_timeout_end(&limit);
    curl_easy_cleanup(f.easy);
    web_stop(web);
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callback_pauses_and_a_greenlet_goes_on),
        cmocka_unit_test(greenlet_pauses),
        cmocka_unit_test(pause_after_going_on_wins),
        cmocka_unit_test(held_back_data_that_is_refused_ends_the_transfer),
        cmocka_unit_test(callback_lets_another_go_on),
        cmocka_unit_test(uploads_pause_too),
        cmocka_unit_test(only_transfers_pause),
        cmocka_unit_test(paused_one_can_be_timed_out),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
