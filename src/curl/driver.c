/* SPDX-License-Identifier: MIT */
#include "curl/driver.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define FIRST_BUCKETS ((size_t)64)

#define FIRST_ROOM ((size_t)64)

static _Thread_local struct gev__curl_driver *thread_driver;

/* The connections are the parent's, and curl would say good-bye on them: the
 * child leaves all of it alone, and begins anew. */
static void after_fork_in_child(void)
{
    if (thread_driver != NULL) {
        thread_driver->stale = true;
        thread_driver = NULL;
    }
}

static void install_fork_handler(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

/* The hub closes. */
static void close_driver(void *arg)
{
    struct gev__curl_driver *d = arg;

    if (d->stale) {
        return; /* watchers may still be on the loop */
    }
    curl_multi_cleanup(d->multi);
    gev__curl_unwatch(d);
    gev__curl_transfers_free(d);
    curl_global_cleanup();
    free(d);
    thread_driver = NULL;
}

static int open_multi(struct gev__curl_driver *d)
{
    CURLM *multi = curl_multi_init();

    if (multi == NULL) {
        return -ENOMEM;
    }
    d->multi = multi;
    gev__curl_watch(d);
    d->room = FIRST_ROOM;
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)(4 * FIRST_ROOM));
    curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
    return 0;
}

static int open_driver(struct gev__curl_driver *d, gev_hub *hub)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, install_fork_handler);
    d->hub = hub;
    d->loop = gev_hub_loop(hub);
    d->n_buckets = FIRST_BUCKETS;
    d->buckets = calloc(d->n_buckets, sizeof(struct gev__curl_transfer *));
    if (d->buckets == NULL) {
        return -ENOMEM;
    }
    int rc = open_multi(d);
    if (rc == 0 && gev_hub_defer(close_driver, d) < 0) {
        rc = -errno;
        curl_multi_cleanup(d->multi);
    }
    return rc;
}

static int make_driver(struct gev__curl_driver **ret_driver)
{
    gev_hub *hub = gev_hub_get();

    if (hub == NULL) {
        return -errno;
    }
    if (gev_hub_loop(hub) == NULL) {
        return -EMFILE; /* a forked child that found no descriptor for one */
    }
    struct gev__curl_driver *d = calloc(1, sizeof(*d));
    if (d == NULL) {
        return -ENOMEM;
    }
    /* curl counts these; a program with an easy handle has done it already. */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(d);
        return -ENOMEM;
    }
    int rc = open_driver(d, hub);
    if (rc < 0) {
        free(d->buckets);
        free(d);
        curl_global_cleanup();
        return rc;
    }
    thread_driver = d;
    *ret_driver = d;
    return 0;
}

struct gev__curl_driver *gev__curl_driver_find(void)
{
    return thread_driver;
}

int gev__curl_driver_get(struct gev__curl_driver **ret_driver)
{
    if (thread_driver == NULL) {
        return make_driver(ret_driver);
    }
    *ret_driver = thread_driver;
    return 0;
}
