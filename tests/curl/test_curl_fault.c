/* SPDX-License-Identifier: MIT */
/* gev-curl's own allocations fail, one after the other: built from its sources
 * with these in their place. */
#include "curl/fetch.h"

void *fault_malloc(size_t n);
void *fault_calloc(size_t n, size_t size);

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

struct crowd {
    struct web *web;
    unsigned good;
    unsigned bad;
};

static void *fetch_one(void *arg)
{
    struct crowd *crowd = arg;
    struct body b;
    CURLcode code = fetch(web_url(crowd->web, "/n/100"), &b);

    if (code == CURLE_OK) {
        expect_uint_eq(b.n, 100);
        crowd->good++;
    } else {
        expect_int_eq(code, CURLE_OUT_OF_MEMORY);
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
    struct crowd crowd = {.web = web_start()};
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
    expect_not_null(gev_curl_multi());
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_failure_is_out_of_memory),
        cmocka_unit_test(multi_handle_without_memory),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
