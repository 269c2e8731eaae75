/* SPDX-License-Identifier: MIT */
/* gev-curl and the hub: closing it, forking, threads, shared handles. */
#include "curl/fetch.h"
#include "support/process.h"

#include <pthread.h>
#include <sys/wait.h>

static void *fetch_for_ever(void *url)
{
    struct body b;

    expect_int_eq(fetch(url, &b), CURLE_ABORTED_BY_CALLBACK);
    expect_int_eq(errno, ECANCELED);
    return NULL;
}

GEV_TEST(close_ends_transfers)
{
    struct web *web = web_start();
    char hang[128];

    snprintf(hang, sizeof(hang), "%s", web_url(web, "/hang"));
    for (int i = 0; i < 10; i++) {
        expect_ok(gev_spawn_raw(fetch_for_ever, hang));
    }
    gev_sleep(0.05);
    expect_ok(gev_hub_close());
    expect_hung(web, 10);
    web_stop(web);
}

static void *fetch_shielded(void *url)
{
    struct body b;

    gev_shield_begin();
    expect_int_eq(fetch(url, &b), CURLE_OK);
    gev_shield_end();
    return NULL;
}

GEV_TEST(close_lets_a_shielded_transfer_finish)
{
    struct web *web = web_start();
    char url[128];

    snprintf(url, sizeof(url), "%s", web_url(web, "/wait/10/100"));
    expect_ok(gev_spawn_raw(fetch_shielded, url));
    gev_sleep(0.02);
    expect_ok(gev_hub_close());
    web_stop(web);
}

struct stubborn {
    const char *url;
    CURL *easy;
    struct body body;
    unsigned tries;
    bool frees; /* the handle, at its end */
};

static void free_handle(void *easy)
{
    curl_easy_cleanup(easy);
}

static void *fetch_stubbornly(void *arg)
{
    struct stubborn *s = arg;

    if (s->frees) {
        expect_ok(gev_defer(free_handle, s->easy));
    }
    for (;;) {
        s->tries++;
        (void)gev_curl_perform(s->easy);
    }
    return NULL;
}

GEV_TEST(close_ends_those_that_ignore_their_kill)
{
    struct web *web = web_start();
    struct stubborn s = {.url = web_url(web, "/hang")};

    s.easy = handle_for(s.url, &s.body);
    expect_ok(gev_spawn_raw(fetch_stubbornly, &s));
    gev_sleep(0.02);
    expect_ok(gev_hub_close());
    expect_true(s.tries > 1);
    /* The handle is as good as ever. */
    curl_easy_setopt(s.easy, CURLOPT_URL, web_url(web, "/n/1"));
    expect_int_eq(gev_curl_perform(s.easy), CURLE_OK); /* a new hub */
    curl_easy_cleanup(s.easy);
    web_stop(web);
}

GEV_TEST(handle_may_go_with_its_stubborn_greenlet)
{
    struct web *web = web_start();
    struct stubborn s = {.url = web_url(web, "/hang"), .frees = true};

    s.easy = handle_for(s.url, &s.body);
    expect_ok(gev_spawn_raw(fetch_stubbornly, &s));
    gev_sleep(0.02);
    expect_ok(gev_hub_close());
    /* Each of its tries may have got that far, or not. */
    expect_hung_between(web, 1, (int)s.tries);
    web_stop(web);
}

/* --- fork ----------------------------------------------------------------- */

static int child_fetches(struct web *web)
{
    struct body b;

    return fetch(web_url(web, "/n/10"), &b) == CURLE_OK && b.n == 10 &&
                   gev_hub_close() == 0 && !test_failed()
               ? 0
               : 1;
}

static void expect_good_child(pid_t pid)
{
    int status = -1;

    if (expect_true(pid > 0) && expect_ok(gev_wait_child(pid, &status, 20))) {
        expect_int_eq(status, 0);
    }
}

GEV_TEST(forked_child_has_connections_of_its_own)
{
    struct web *web = web_start();
    char late[128];
    struct body b;

    expect_int_eq(fetch_number(web_url(web, "/connection")), 1);
    snprintf(late, sizeof(late), "%s", web_url(web, "/wait/10/300"));
    expect_ok(gev_spawn_raw(fetch_shielded, late));
    gev_sleep(0.02);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(child_fetches(web));
    }
    expect_good_child(pid);
    /* The child has not said good-bye on the parent's. */
    expect_ok(gev_run(GEV_FOREVER));
    expect_le(fetch_number(web_url(web, "/connection")), 2);
    expect_int_eq(fetch(web_url(web, "/n/10"), &b), CURLE_OK);
    web_stop(web);
}

struct forker {
    struct web *web;
    pid_t pid;
    bool child;
};

static size_t fork_in_callback(char *data, size_t size, size_t n, void *arg)
{
    struct forker *f = arg;

    (void)data;
    f->pid = fork();
    f->child = f->pid == 0;
    return size * n;
}

GEV_TEST(fork_in_a_callback)
{
    if (ON_TSAN) {
        test_skip("ThreadSanitizer does not follow that fork");
    }
    struct forker f = {.web = web_start()};
    struct body b;
    CURL *easy = handle_for(web_url(f.web, "/n/10"), &b);

    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, fork_in_callback);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &f);
    CURLcode code = gev_curl_perform(easy);
    if (f.child) {
        _exit(code == CURLE_ABORTED_BY_CALLBACK && errno == ECHILD
                  ? child_fetches(f.web)
                  : 2);
    }
    expect_int_eq(code, CURLE_OK);
    expect_good_child(f.pid);
    curl_easy_cleanup(easy);
    web_stop(f.web);
}

/* --- threads -------------------------------------------------------------- */

struct team {
    struct web *web;
    CURLSH *share;
    unsigned good;
};

static void *fetch_ten(void *arg)
{
    struct team *team = arg;
    struct body b;

    for (int i = 0; i < 10; i++) {
        CURL *easy = handle_for(web_url(team->web, "/n/1000"), &b);
        if (team->share != NULL) {
            curl_easy_setopt(easy, CURLOPT_SHARE, team->share);
        }
        team->good += gev_curl_perform(easy) == CURLE_OK && b.n == 1000;
        curl_easy_cleanup(easy);
    }
    return NULL;
}

static void *run_team(void *arg)
{
    struct team *team = arg;

    for (int i = 0; i < 10; i++) {
        expect_ok(gev_spawn_raw(fetch_ten, team));
    }
    expect_ok(gev_run(GEV_FOREVER));
    expect_uint_eq(team->good, 100);
    return NULL; /* the hub closes with the thread */
}

GEV_TEST(each_thread_has_its_own)
{
    struct team teams[2] = {{.web = web_start()}, {.good = 0}};
    pthread_t thread;

    teams[1].web = teams[0].web;
    expect_ok(pthread_create(&thread, NULL, run_team, &teams[1]));
    run_team(&teams[0]);
    pthread_join(thread, NULL);
    web_stop(teams[0].web);
}

static void *leave_transfers(void *hang)
{
    expect_ok(gev_spawn_raw(fetch_for_ever, hang));
    expect_ok(gev_spawn_raw(fetch_for_ever, hang));
    gev_sleep(0.02);
    return NULL; /* the hub closes with the thread */
}

GEV_TEST(thread_ends_with_transfers)
{
    struct web *web = web_start();
    pthread_t thread;
    char hang[128];

    snprintf(hang, sizeof(hang), "%s", web_url(web, "/hang"));
    expect_ok(pthread_create(&thread, NULL, leave_transfers, hang));
    expect_ok(pthread_join(thread, NULL));
    expect_hung(web, 2);
    web_stop(web);
}

/* A recursive lock would hide it, a plain one would hang: curl is never in the
 * middle of something when another transfer of the hub calls it. */
struct share_locks {
    pthread_mutex_t mutexes[CURL_LOCK_DATA_LAST];
    unsigned locked;
};

static void lock_share(CURL *easy, curl_lock_data data, curl_lock_access access,
                       void *arg)
{
    struct share_locks *locks = arg;

    (void)easy;
    (void)access;
    expect_int_eq(pthread_mutex_lock(&locks->mutexes[data]), 0);
    locks->locked += data == CURL_LOCK_DATA_CONNECT;
}

static void unlock_share(CURL *easy, curl_lock_data data, void *arg)
{
    struct share_locks *locks = arg;

    (void)easy;
    expect_int_eq(pthread_mutex_unlock(&locks->mutexes[data]), 0);
}

static CURLSH *make_share(struct share_locks *locks)
{
    pthread_mutexattr_t attr;
    CURLSH *share = curl_share_init();

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
    for (int i = 0; i < CURL_LOCK_DATA_LAST; i++) {
        pthread_mutex_init(&locks->mutexes[i], &attr);
    }
    curl_share_setopt(share, CURLSHOPT_LOCKFUNC, lock_share);
    curl_share_setopt(share, CURLSHOPT_UNLOCKFUNC, unlock_share);
    curl_share_setopt(share, CURLSHOPT_USERDATA, locks);
    curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_CONNECT);
    curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
    curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_COOKIE);
    return share;
}

GEV_TEST(share_is_never_locked_over_a_park)
{
    struct share_locks locks = {.locked = 0};
    struct team team = {.web = web_start(), .share = make_share(&locks)};

    run_team(&team);
    expect_true(locks.locked > 0);
    expect_ok(gev_hub_close());
    expect_int_eq(curl_share_cleanup(team.share), CURLSHE_OK);
    web_stop(team.web);
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_ends_transfers),
        cmocka_unit_test(close_lets_a_shielded_transfer_finish),
        cmocka_unit_test(close_ends_those_that_ignore_their_kill),
        cmocka_unit_test(handle_may_go_with_its_stubborn_greenlet),
        cmocka_unit_test(forked_child_has_connections_of_its_own),
        cmocka_unit_test(fork_in_a_callback),
        cmocka_unit_test(each_thread_has_its_own),
        cmocka_unit_test(thread_ends_with_transfers),
        cmocka_unit_test(share_is_never_locked_over_a_park),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
