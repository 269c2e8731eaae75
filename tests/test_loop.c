/* SPDX-License-Identifier: MIT */

/* libev's own watchers on a hub's loop, and greenlets that wait for them. */
#include <gev.h>

#include "support/gev_test.h"
#include "support/trace.h"

#include <ev.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void wake_waiter(struct ev_loop *loop, ev_stat *w, int events)
{
    (void)loop;
    (void)events;
    gev_waiter_switch(w->data, P(w->attr.st_nlink));
}

static void append(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

    expect_true(fd >= 0);
    expect_int_eq(write(fd, "x", 1), 1);
    expect_int_eq(close(fd), 0);
}

/* LOOP14: a path is watched by an ev_stat; the greenlet that waits does so by a
 * gev_waiter. */
GEV_TEST(stat_watcher_tells_of_changes)
{
    char path[] = "/tmp/gev-test-loop-XXXXXX";
    struct ev_loop *loop = gev_hub_loop(gev_hub_get());
    gev_waiter waiter = {{0}};
    void *links = NULL;
    ev_stat watcher;
    int fd = mkstemp(path);

    if (!expect_true(fd >= 0)) {
        return;
    }
    expect_int_eq(close(fd), 0);
    ev_stat_init(&watcher, wake_waiter, path, 0.15);
    watcher.data = &waiter;
    ev_stat_start(loop, &watcher);
    expect_fail(gev_waiter_get(&waiter, &links, 0.01), ETIMEDOUT);
    append(path);
    expect_ok(gev_waiter_get(&waiter, &links, test_scale(10)));
    expect_int_eq(N(links), 1);
    expect_int_eq(watcher.attr.st_size, 1);
    expect_int_eq(watcher.prev.st_size, 0);
    expect_int_eq(unlink(path), 0);
    expect_ok(gev_waiter_get(&waiter, &links, test_scale(10)));
    expect_int_eq(N(links), 0); /* there is none */
    ev_stat_stop(loop, &watcher);
    expect_fail(gev_sleep(GEV_FOREVER), EDEADLK); /* nothing is left of it */
}

static void count_calls(struct ev_loop *loop, ev_async *w, int events)
{
    (void)loop;
    (void)events;
    ++*(int *)w->data;
}

/* LOOP12, LOOP15: and ev_async, ref'ed or not. */
GEV_TEST(async_watcher_wakes_the_loop)
{
    struct ev_loop *loop = gev_hub_loop(gev_hub_get());
    int calls = 0;
    ev_async watcher;

    ev_async_init(&watcher, count_calls);
    watcher.data = &calls;
    ev_async_start(loop, &watcher);
    expect_fail(gev_run(0.001), ETIMEDOUT); /* it may fire */
    ev_unref(loop);
    expect_ok(gev_run(0.001));
    ev_async_send(loop, &watcher);
    expect_ok(gev_sleep(0.001));
    expect_int_eq(calls, 1);
    ev_ref(loop);
    ev_async_stop(loop, &watcher);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stat_watcher_tells_of_changes),
        cmocka_unit_test(async_watcher_wakes_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
