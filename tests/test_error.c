/* SPDX-License-Identifier: MIT */

/* Failures, their report and their words (GLT10, GLT23, HUB8). */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <unistd.h>

struct report {
    int calls;
    int error[8];
    gev_greenlet *g[8];
    gev_greenlet *current;
    int park_rc;
    int park_error;
};

static void note_report(gev_greenlet *g, int error, void *arg)
{
    struct report *r = arg;
    if (r->calls < 8) {
        r->error[r->calls] = error;
        r->g[r->calls] = g;
    }
    r->calls++;
    r->current = gev_current();
    r->park_rc = gev_yield();
    r->park_error = errno;
}

/* Section 1.2, 12: once a failure, in the hub. */
GEV_TEST(handler_is_called_once_a_failure_in_the_hub)
{
    struct report r = {.calls = 0};
    gev_set_error_handler(note_report, &r);
    gev_greenlet *g = gev_spawn(fail_with, P(EIO));
    expect_fail(gev_get(g, NULL, GEV_FOREVER), EIO); /* reported all the same */
    expect_fail(gev_get(g, NULL, GEV_FOREVER), EIO);
    expect_ok(gev_sleep(0.001));
    expect_int_eq(r.calls, 1);
    expect_int_eq(r.error[0], EIO);
    expect_ptr_eq(r.g[0], g);
    expect_ptr_eq(r.current, gev_parent(g));
    expect_int_eq(r.park_rc, -1);
    expect_int_eq(r.park_error, EPERM);
    gev_unref(g);
}

/* GLT23: never for a kill, and not for what never ran. */
GEV_TEST(kills_are_not_reported)
{
    struct report r = {.calls = 0};
    gev_set_error_handler(note_report, &r);
    gev_greenlet *g[4] = {
        gev_spawn(park_forever, NULL),
        gev_spawn(fail_with, P(ECANCELED)),
        gev_spawn(return_arg, NULL),
        gev_new(return_arg, NULL),
    };
    expect_ok(gev_yield());
    expect_ok(gev_kill(g[0], GEV_FOREVER));
    expect_ok(gev_kill_error(g[3], EIO, 0));
    gev_greenlet *never_ran = gev_spawn(return_arg, NULL);
    expect_ok(gev_throw(never_ran, EPIPE));
    expect_ok(gev_sleep(0.001));
    expect_int_eq(r.calls, 0);
    gev_unrefall(g, 4);
    gev_unref(never_ran);
}

/* Each failure is reported, in the order of the ends. */
GEV_TEST(failures_are_reported_in_order)
{
    struct report r = {.calls = 0};
    gev_set_error_handler(note_report, &r);
    for (int i = 1; i <= 5; i++) {
        expect_ok(gev_spawn_raw(fail_with, P(i)));
    }
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(r.calls, 5);
    for (int i = 1; i <= 5; i++) {
        expect_int_eq(r.error[i - 1], i);
    }
}

/* GLT10: gev_fail does not jump; codes that are not positive are EINVAL. */
static void *fail_later(void *arg)
{
    void *value = gev_fail(EPROTO);
    trace("still here");
    (void)arg;
    return value;
}

GEV_TEST(fail_does_not_jump)
{
    gev_set_error_handler(ignore_error, NULL);
    trace_reset();
    gev_greenlet *g = gev_spawn(fail_later, NULL);
    expect_fail(gev_get(g, NULL, GEV_FOREVER), EPROTO);
    expect_str_eq(trace_text(), "still here");
    gev_unref(g);
}

GEV_TEST(codes_that_are_not_positive_become_einval)
{
    gev_set_error_handler(ignore_error, NULL);
    const int codes[] = {0, -1, -EIO};
    for (int i = 0; i < 3; i++) {
        gev_greenlet *g = gev_spawn(fail_with, P(codes[i]));
        expect_fail(gev_get(g, NULL, GEV_FOREVER), EINVAL);
        expect_int_eq(gev_error(g), EINVAL);
        gev_unref(g);
    }
}

GEV_TEST(codes_of_gevs_own_can_be_failed_with)
{
    gev_set_error_handler(ignore_error, NULL);
    gev_greenlet *g = gev_spawn(fail_with, P(GEV_EAI(-2)));
    expect_fail(gev_get(g, NULL, GEV_FOREVER), GEV_EAI(-2));
    gev_unref(g);
}

static void spawn_in_handler(gev_greenlet *g, int error, void *arg)
{
    (void)g;
    (void)error;
    gev_unref(gev_spawn(trace_and_return, arg));
}

/* The handler may do what does not park. */
GEV_TEST(handler_may_spawn)
{
    trace_reset();
    gev_set_error_handler(spawn_in_handler, "handled");
    expect_ok(gev_spawn_raw(fail_with, P(EIO)));
    expect_ok(gev_run(GEV_FOREVER));
    expect_str_eq(trace_text(), "handled");
}

/* Runs a greenlet that fails with stderr in a file; returns what was written
 * there, in a buffer of its own. */
static const char *stderr_of_a_failure(const char **ret_site)
{
    static char text[2000];
    char path[] = "/tmp/gev-test-error-XXXXXX";
    int file = mkstemp(path);
    int saved = fcntl(2, F_DUPFD_CLOEXEC, 0);
    expect_true(file >= 0 && saved >= 0);
    (void)fflush(stderr);
    expect_int_eq(dup2(file, 2), 2);
    gev_attr attr = {.size = sizeof(attr), .name = "unlucky"};
    gev_greenlet *g = gev_spawn_attr(&attr, fail_with, P(EADDRINUSE));
    static char site[300];
    (void)snprintf(site, sizeof(site), "%s", gev_spawn_site(g));
    *ret_site = site;
    int rc = gev_join(g, GEV_FOREVER);
    rc += gev_sleep(0.001);
    char id[32];
    (void)snprintf(id, sizeof(id), "%llu", (unsigned long long)gev_id(g));
    gev_unref(g);
    (void)fflush(stderr);
    (void)dup2(saved, 2);
    (void)close(saved);
    expect_ok(rc);
    ssize_t n = pread(file, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    (void)close(file);
    (void)unlink(path);
    expect_not_null(strstr(text, id));
    return text;
}

/* HUB10, section 1.2: the default writes one line with name, id, spawn site and
 * error. NULL is back to the default. */
GEV_TEST(default_handler_writes_one_line)
{
    int errors = 0;
    gev_set_error_handler(count_error, &errors);
    gev_set_error_handler(NULL, NULL);
    const char *site = "";
    const char *text = stderr_of_a_failure(&site);
    const char *end = strchr(text, '\n');
    expect_not_null(end);
    expect_true(end != NULL && end[1] == '\0');
    expect_not_null(strstr(text, "unlucky"));
    expect_not_null(strstr(text, site));
    expect_not_null(strstr(text, gev_strerror(EADDRINUSE)));
    expect_int_eq(errors, 0);
}

static void *fail_in_link_body(void *arg)
{
    return gev_fail(N(arg));
}

static void spawn_failing(gev_greenlet *g, void *arg)
{
    (void)g;
    expect_ok(gev_spawn_raw(fail_in_link_body, arg));
}

/* What a link's children do is reported like anything else. */
GEV_TEST(failures_of_links_children_are_reported)
{
    struct report r = {.calls = 0};
    gev_set_error_handler(note_report, &r);
    gev_greenlet *g = gev_spawn(return_arg, NULL);
    expect_ok(gev_link(g, spawn_failing, P(EPIPE)));
    expect_ok(gev_run(GEV_FOREVER));
    expect_int_eq(r.calls, 1);
    expect_int_eq(r.error[0], EPIPE);
    gev_unref(g);
}

/* EXC1, section 0: gev_strerror covers errno and gev's own codes. */
GEV_TEST(strerror_has_words_for_every_code)
{
    expect_str_eq(gev_strerror(ENOENT), strerror(ENOENT));
    expect_str_eq(gev_strerror(ECANCELED), strerror(ECANCELED));
    const int own[] = {GEV_ELINKDONE,      GEV_ELINKFAILED,
                       GEV_ELINKKILLED,    GEV_EAI(EAI_NONAME),
                       GEV_EAI(EAI_AGAIN), GEV_EAI(EAI_OVERFLOW)};
    for (int i = 0; i < 6; i++) {
        const char *words = gev_strerror(own[i]);
        expect_not_null(words);
        expect_true(strlen(words) > 0);
        expect_true(strcmp(words, gev_strerror(99999)) != 0);
        for (int k = 0; k < i; k++) {
            expect_true(strcmp(words, gev_strerror(own[k])) != 0);
        }
    }
    const int odd[] = {0, -1, 133, 4095, 20000, 20099, 1 << 30, INT32_MIN};
    for (int i = 0; i < 8; i++) {
        expect_not_null(gev_strerror(odd[i]));
    }
    const char *kept = gev_strerror(99999); /* the text is constant */
    (void)gev_strerror(88888);
    expect_str_eq(kept, gev_strerror(99999));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handler_is_called_once_a_failure_in_the_hub),
        cmocka_unit_test(kills_are_not_reported),
        cmocka_unit_test(failures_are_reported_in_order),
        cmocka_unit_test(fail_does_not_jump),
        cmocka_unit_test(codes_that_are_not_positive_become_einval),
        cmocka_unit_test(codes_of_gevs_own_can_be_failed_with),
        cmocka_unit_test(handler_may_spawn),
        cmocka_unit_test(default_handler_writes_one_line),
        cmocka_unit_test(failures_of_links_children_are_reported),
        cmocka_unit_test(strerror_has_words_for_every_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
