/* SPDX-License-Identifier: MIT */
/* gev-curl's own allocations fail, one after the other, those of the core, and
 * calls of curl: built from its sources with these in their place. */
#include "curl/fetch.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

void *fault_malloc(size_t n);
void *fault_calloc(size_t n, size_t size);
CURLcode fault_global_init(long flags);
CURLM *fault_multi_init(void);
CURLMcode fault_socket_action(CURLM *multi, curl_socket_t fd, int flags,
                              int *running);

static unsigned allocations;
static unsigned fail_at; /* 0: none */

static bool fails(void)
{
    return ++allocations == fail_at;
}

void *fault_malloc(size_t n)
{
    return fails() ? NULL : malloc(n);
}

void *fault_calloc(size_t n, size_t size)
{
    return fails() ? NULL : calloc(n, size);
}

static bool global_init_fails;
static bool multi_init_fails;

CURLcode fault_global_init(long flags)
{
    return global_init_fails ? CURLE_FAILED_INIT : curl_global_init(flags);
}

CURLM *fault_multi_init(void)
{
    return multi_init_fails ? NULL : curl_multi_init();
}

static unsigned actions;
static unsigned fail_action_at; /* 0: none */
static CURLMcode action_fails_with;

/* A failing call may have done some of its work. */
CURLMcode fault_socket_action(CURLM *multi, curl_socket_t fd, int flags,
                              int *running)
{
    CURLMcode code = curl_multi_socket_action(multi, fd, flags, running);

    return ++actions == fail_action_at ? action_fails_with : code;
}

/* The core's n-th allocation from now on fails; 0: none does. */
static unsigned core_fails_at;

static void *core_realloc(void *p, size_t n)
{
    if (n == 0) {
        free(p);
        return NULL;
    }
    return core_fails_at > 0 && --core_fails_at == 0 ? NULL : realloc(p, n);
}

/* libev's; 0: none fails. */
static unsigned watch_fails_at;

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
    if (watch_fails_at > 0 && --watch_fails_at == 0) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll, what, fd, event);
}

struct crowd {
    struct web *web;
    const char *path;
    CURLcode wanted; /* of the bad ones */
    unsigned good;
    unsigned bad;
};

static void *fetch_one(void *arg)
{
    struct crowd *crowd = arg;
    struct body b;
    CURLcode code = fetch(web_url(crowd->web, "%s", crowd->path), &b);

    if (code == CURLE_OK) {
        expect_uint_eq(b.n, 100);
        crowd->good++;
    } else {
        expect_int_eq(code, crowd->wanted);
        crowd->bad++;
    }
    return NULL;
}

static void fetch_many(struct crowd *crowd, unsigned n)
{
    crowd->good = 0;
    crowd->bad = 0;
    for (unsigned i = 0; i < n; i++) {
        expect_ok(gev_spawn_raw(fetch_one, crowd));
    }
    expect_ok(gev_run(GEV_FOREVER));
    expect_uint_eq(crowd->good + crowd->bad, n);
}

/* Returns how many allocations there were. */
static unsigned sweep_once(struct crowd *crowd, unsigned n, unsigned which)
{
    test_note("allocation %u of %u transfers", which, n);
    allocations = 0;
    fail_at = which;
    fetch_many(crowd, n);
    unsigned made = allocations;
    fail_at = 0;
    if (made < which) {
        expect_uint_eq(crowd->bad, 0);
    }
    fetch_many(crowd, n); /* all is well again */
    expect_uint_eq(crowd->good, n);
    expect_ok(gev_hub_close());
    return made;
}

GEV_TEST(each_failure_is_out_of_memory)
{
    struct crowd crowd = {
        .web = web_start(), .path = "/n/100", .wanted = CURLE_OUT_OF_MEMORY};
    unsigned failed = 0;
    unsigned which = 1;

    while (sweep_once(&crowd, 3, which) >= which && !test_failed()) {
        failed++;
        which++;
    }
    expect_ge(failed, 5);
    /* With more transfers than the table has buckets, which is let be. */
    expect_ge(sweep_once(&crowd, 100, 0), 101);
    for (which = 60; which < 75; which++) {
        sweep_once(&crowd, 100, which);
    }
    test_note(NULL);
    web_stop(crowd.web);
}

GEV_TEST(multi_handle_without_memory)
{
    for (fail_at = 1; fail_at <= 2; fail_at++) {
        allocations = 0;
        errno = 0;
        expect_null(gev_curl_multi());
        expect_int_eq(errno, ENOMEM);
    }
    fail_at = 0;
    for (int what = 0; what < 3; what++) {
        global_init_fails = what == 0;
        multi_init_fails = what == 1;
        core_fails_at = what == 2; /* of the end with the hub */
        errno = 0;
        expect_null(gev_curl_multi());
        expect_int_eq(errno, ENOMEM);
    }
    expect_uint_eq(core_fails_at, 0);
    expect_not_null(gev_curl_multi());
}

static void *fetch_without_descriptors(void *arg)
{
    struct rlimit limit;
    struct rlimit none;
    struct body b;

    getrlimit(RLIMIT_NOFILE, &limit);
    none = limit;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    errno = 0;
    expect_null(gev_curl_multi());
    expect_int_eq(errno, EMFILE);
    expect_int_eq(fetch("http://127.0.0.1/", &b), CURLE_OUT_OF_MEMORY);
    expect_int_eq(errno, EMFILE);
    setrlimit(RLIMIT_NOFILE, &limit);
    return arg;
}

GEV_TEST(hub_without_descriptors)
{
    pthread_t thread;

    expect_int_eq(
        pthread_create(&thread, NULL, fetch_without_descriptors, NULL), 0);
    expect_int_eq(pthread_join(thread, NULL), 0);
}

/* --- curl fails ----------------------------------------------------------- */

/* Returns how often curl was called. */
static unsigned fail_one_action(struct crowd *crowd, unsigned which)
{
    test_note("call %u of curl", which);
    actions = 0;
    fail_action_at = which;
    fetch_many(crowd, 10);
    unsigned made = actions;
    fail_action_at = 0;
    if (made < which) {
        expect_uint_eq(crowd->bad, 0);
    }
    unsigned bad = crowd->bad;
    fetch_many(crowd, 10); /* the multi handle works again */
    expect_uint_eq(crowd->good, 10);
    return bad;
}

static void fail_each_action(CURLMcode code, CURLcode wanted)
{
    /* So late that all are under way at the same time. */
    struct crowd crowd = {
        .web = web_start(), .path = "/wait/100/5", .wanted = wanted};
    unsigned bad = 0;

    action_fails_with = code;
    for (unsigned which = 1; which < 40; which++) {
        bad += fail_one_action(&crowd, which);
    }
    expect_ge(bad, 30);
    test_note(NULL);
    expect_ok(gev_hub_close());
    web_stop(crowd.web);
}

GEV_TEST(multi_handle_that_fails_fails_all_that_is_in_it)
{
    fail_each_action(CURLM_OUT_OF_MEMORY, CURLE_OUT_OF_MEMORY);
    fail_each_action(CURLM_ABORTED_BY_CALLBACK, CURLE_OUT_OF_MEMORY);
    fail_each_action(CURLM_INTERNAL_ERROR, CURLE_FAILED_INIT);
}

/* A removal calls the progress function. One that calls back, in vain, makes
 * the table of transfers grow while all that are in it are taken out. */
struct meddlers {
    const struct web *web;
    CURL *easy; /* one of them */
    unsigned removed;
    unsigned meddle_at; /* in this removal */
    CURLcode refusal;
    unsigned failed;
};

static int meddle(void *arg, curl_off_t a, curl_off_t b, curl_off_t c,
                  curl_off_t d)
{
    struct meddlers *m = arg;

    (void)a;
    (void)b;
    (void)c;
    (void)d;
    if (actions < fail_action_at || fail_action_at == 0) {
        return 0; /* nothing has failed */
    }
    if (++m->removed == m->meddle_at) {
        CURL *easy = curl_easy_init();
        m->refusal = gev_curl_perform(easy);
        curl_easy_cleanup(easy);
    }
    return 0;
}

static void *perform_and_meddle(void *arg)
{
    struct meddlers *m = arg;
    struct body b;
    void *gap = malloc((size_t)rand() % 100000); /* chance in the addresses */
    CURL *easy = handle_for(web_url(m->web, "/hang"), &b);

    free(gap);
    m->easy = easy;
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, meddle);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, m);
    m->failed += gev_curl_perform(easy) == CURLE_OUT_OF_MEMORY;
    curl_easy_cleanup(easy);
    return NULL;
}

/* As many as the table has buckets at first: one more has it grow. */
static void fail_among_meddlers(const struct web *web, unsigned meddle_at)
{
    enum { N = 64 };
    struct meddlers m = {.web = web, .meddle_at = meddle_at};
    gev_group *crowd = gev_group_new();

    test_note("removal %u", meddle_at);
    fail_action_at = 0;
    for (int i = 0; i < N; i++) {
        expect_not_null(gev_group_spawn(crowd, perform_and_meddle, &m));
    }
    gev_sleep(0.01); /* each is in the multi handle */
    actions = 0;
    fail_action_at = 1;
    expect_int_eq(gev_curl_pause(m.easy, CURLPAUSE_SEND), CURLE_OK); /* acts */
    expect_ok(gev_group_join(crowd, test_scale(2)));
    expect_uint_eq(m.failed, N);
    expect_int_eq(m.refusal, CURLE_RECURSIVE_API_CALL);
    gev_group_free(crowd);
    expect_ok(gev_hub_close());
}

GEV_TEST(callbacks_of_failed_transfers_may_call_back)
{
    struct web *web = web_start();

    action_fails_with = CURLM_OUT_OF_MEMORY;
    for (unsigned at = 1; at <= 32; at++) {
        fail_among_meddlers(web, at);
    }
    fail_action_at = 0;
    test_note(NULL);
    web_stop(web);
}

/* --- the core fails ------------------------------------------------------- */

/* The hub is asked by a message, or without memory for one by a timer. */
static void *fetch_with_little_memory(void *arg)
{
    unsigned failed = 0;
    struct body b;

    for (unsigned at = 1; at < 10; at++) {
        core_fails_at = at;
        errno = 0;
        CURLcode code = fetch(web_url(arg, "/n/100"), &b);
        bool consumed = core_fails_at == 0;
        core_fails_at = 0;
        if (at == 1) {
            expect_true(consumed); /* it was the message */
        }
        if (code == CURLE_OK) {
            expect_uint_eq(b.n, 100);
        } else {
            expect_true(consumed);
            expect_int_eq(code, CURLE_OUT_OF_MEMORY);
            expect_int_eq(errno, ENOMEM);
            failed++;
        }
    }
    expect_uint_eq(failed, 1); /* what ends it with its greenlet */
    return NULL;
}

GEV_TEST(errands_need_no_memory)
{
    struct web *web = web_start();
    struct body b;

    expect_int_eq(fetch(web_url(web, "/n/100"), &b), CURLE_OK);
    expect_ok(gev_spawn_raw(fetch_with_little_memory, web));
    expect_ok(gev_run(GEV_FOREVER));
    web_stop(web);
}

/* fs.epoll.max_user_watches is reached. */
GEV_TEST(descriptor_that_cannot_be_watched_is_an_error_for_curl)
{
    struct web *web = web_start();
    struct body b;

    expect_not_null(gev_curl_multi());
    gev_yield(); /* the loop watches what is its own */
    /* A connection on its way; curl may find it to be there all the same. */
    watch_fails_at = 1;
    CURLcode code = fetch(web_url(web, "/wait/100/20"), &b);
    expect_true(code == CURLE_OK || code == CURLE_SEND_ERROR);
    expect_uint_eq(watch_fails_at, 0);
    expect_int_eq(fetch(web_url(web, "/n/10"), &b), CURLE_OK);
    /* One that waits for its answer. */
    watch_fails_at = 1;
    expect_int_eq(fetch(web_url(web, "/wait/100/20"), &b), CURLE_SEND_ERROR);
    expect_uint_eq(watch_fails_at, 0);
    expect_int_eq(fetch(web_url(web, "/n/10"), &b), CURLE_OK);
    web_stop(web);
}

int main(void)
{
    if (gev_set_allocator(core_realloc) < 0) {
        return 1;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_failure_is_out_of_memory),
        cmocka_unit_test(multi_handle_without_memory),
        cmocka_unit_test(hub_without_descriptors),
        cmocka_unit_test(multi_handle_that_fails_fails_all_that_is_in_it),
        cmocka_unit_test(callbacks_of_failed_transfers_may_call_back),
        cmocka_unit_test(errands_need_no_memory),
        cmocka_unit_test(
            descriptor_that_cannot_be_watched_is_an_error_for_curl),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
