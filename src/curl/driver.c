/* SPDX-License-Identifier: MIT */
#include "curl/driver.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BUCKETS ((size_t)64)

#define FIRST_ROOM ((size_t)64)

#define LONG_TIME 1e6 /* s */

static _Thread_local struct gev__curl_driver *thread_driver;

/* --- watchers ------------------------------------------------------------- */

/* Watchers do not count as able to wake somebody: transfers hold the hub. */

static void stop_io(struct gev__curl_driver *d, ev_io *io)
{
    if (ev_is_active(io)) {
        ev_ref(d->loop);
        ev_io_stop(d->loop, io);
    }
}

static void stop_timer(struct gev__curl_driver *d, ev_timer *timer)
{
    if (ev_is_active(timer)) {
        ev_ref(d->loop);
        ev_timer_stop(d->loop, timer);
    }
}

/* It repeats, in a while, only so that libev does not stop it by itself before
 * it calls back: then it would not be known whether it counts. */
static void start_timer(struct gev__curl_driver *d, ev_timer *timer,
                        double seconds)
{
    stop_timer(d, timer);
    ev_timer_set(timer, seconds, LONG_TIME);
    ev_timer_start(d->loop, timer);
    ev_unref(d->loop);
}

/* --- transfers ------------------------------------------------------------ */

static struct gev__curl_transfer **bucket_of(struct gev__curl_driver *d,
                                             const CURL *easy)
{
    /* Easy handles are large: their addresses differ in the middle bits. */
    uint64_t hash = (uint64_t)(uintptr_t)easy * UINT64_C(0x9e3779b97f4a7c15);

    return &d->buckets[(size_t)(hash >> 32) & (d->n_buckets - 1)];
}

struct gev__curl_transfer *gev__curl_transfer_find(struct gev__curl_driver *d,
                                                   const CURL *easy)
{
    struct gev__curl_transfer *t = *bucket_of(d, easy);

    while (t != NULL && t->easy != easy) {
        t = t->next;
    }
    return t;
}

/* Keeps buckets short; without memory they get longer. */
static void grow_table(struct gev__curl_driver *d)
{
    struct gev__curl_transfer **old = d->buckets;
    size_t n_old = d->n_buckets;
    /* NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI): never 0 */
    struct gev__curl_transfer **new = calloc(2 * n_old, sizeof(*new));

    if (new == NULL) {
        return;
    }
    d->buckets = new;
    d->n_buckets = 2 * n_old;
    for (size_t i = 0; i < n_old; i++) {
        while (old[i] != NULL) {
            struct gev__curl_transfer *t = old[i];
            struct gev__curl_transfer **bucket = bucket_of(d, t->easy);
            old[i] = t->next;
            t->next = *bucket;
            *bucket = t;
        }
    }
    free(old);
}

static struct gev__curl_transfer *make_transfer(struct gev__curl_driver *d,
                                                CURL *easy)
{
    struct gev__curl_transfer *t = d->free_transfers;

    if (t != NULL) {
        d->free_transfers = t->next;
    } else {
        t = malloc(sizeof(*t));
        if (t == NULL) {
            return NULL;
        }
        for (size_t i = 0; i < GEV__CURL_SOCKETS; i++) {
            t->sockets[i].next = d->free_sockets;
            d->free_sockets = &t->sockets[i];
        }
    }
    t->driver = d;
    t->easy = easy;
    gev_waiter_init(&t->waiter);
    t->over = false;
    t->added = false;
    t->removed = false;
    t->errand = false;
    t->remove = false;
    t->pause = -1;
    return t;
}

static void free_transfer(struct gev__curl_driver *d,
                          struct gev__curl_transfer *t)
{
    t->next = d->free_transfers;
    d->free_transfers = t;
}

static CURLcode code_of_multi(CURLMcode code)
{
    switch (code) {
    case CURLM_OK:
        return CURLE_OK;
    case CURLM_OUT_OF_MEMORY:
        return CURLE_OUT_OF_MEMORY;
    case CURLM_BAD_EASY_HANDLE:
        return CURLE_BAD_FUNCTION_ARGUMENT;
    case CURLM_RECURSIVE_API_CALL:
        return CURLE_RECURSIVE_API_CALL;
    case CURLM_ABORTED_BY_CALLBACK:
        return CURLE_ABORTED_BY_CALLBACK;
    default:
        return CURLE_FAILED_INIT;
    }
}

CURLcode gev__curl_transfer_begin(struct gev__curl_driver *d, CURL *easy,
                                  struct gev__curl_transfer **ret_transfer)
{
    if (gev__curl_transfer_find(d, easy) != NULL) {
        return CURLE_FAILED_INIT;
    }
    struct gev__curl_transfer *t = make_transfer(d, easy);
    if (t == NULL) {
        return CURLE_OUT_OF_MEMORY;
    }
    if (d->n_transfers++ == 0) {
        gev_hub_ref(d->hub);
    }
    if (d->n_transfers > d->n_buckets) {
        grow_table(d);
    }
    struct gev__curl_transfer **bucket = bucket_of(d, easy);
    t->next = *bucket;
    *bucket = t;
    gev__curl_transfer_errand(d, t);
    *ret_transfer = t;
    return CURLE_OK;
}

static void drop_errand(struct gev__curl_driver *d,
                        struct gev__curl_transfer *t)
{
    struct gev__curl_transfer **link = &d->errands;
    struct gev__curl_transfer *before = NULL;

    if (!t->errand) {
        return;
    }
    while (*link != t) {
        before = *link;
        link = &before->next_errand;
    }
    *link = t->next_errand;
    if (*link == NULL) {
        d->last_errand = before;
    }
    t->errand = false;
}

static void remove_handle(struct gev__curl_driver *d,
                          struct gev__curl_transfer *t)
{
    if (t->added && !t->removed) {
        curl_multi_remove_handle(d->multi, t->easy);
        t->removed = true;
    }
}

void gev__curl_transfer_end(struct gev__curl_driver *d,
                            struct gev__curl_transfer *t)
{
    struct gev__curl_transfer **link = bucket_of(d, t->easy);

    remove_handle(d, t);
    drop_errand(d, t);
    while (*link != t) {
        link = &(*link)->next;
    }
    *link = t->next;
    if (--d->n_transfers == 0) {
        gev_hub_unref(d->hub);
    }
    free_transfer(d, t);
}

static void settle(struct gev__curl_transfer *t, CURLcode result)
{
    t->result = result;
    t->over = true;
    gev_waiter_switch(&t->waiter, NULL);
}

void gev__curl_transfer_errand(struct gev__curl_driver *d,
                               struct gev__curl_transfer *t)
{
    if (!t->errand) {
        t->errand = true;
        t->next_errand = NULL;
        if (d->errands == NULL) {
            d->errands = t;
        } else {
            d->last_errand->next_errand = t;
        }
        d->last_errand = t;
    }
    if (!ev_is_active(&d->errands_timer)) {
        start_timer(d, &d->errands_timer, 0);
    }
}

/* --- driving -------------------------------------------------------------- */

static void collect_results(struct gev__curl_driver *d)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(d->multi, &left)) != NULL) {
        struct gev__curl_transfer *t =
            gev__curl_transfer_find(d, message->easy_handle);
        if (t != NULL && !t->over) {
            CURLcode result = message->data.result;
            remove_handle(d, t); /* and the message with it */
            settle(t, result);
        }
    }
}

/* The multi handle does not work any more: for want of memory, usually. It does
 * again when all transfers are out of it. */
static void fail_all(struct gev__curl_driver *d, CURLMcode code)
{
    CURLcode result = code == CURLM_ABORTED_BY_CALLBACK ? CURLE_OUT_OF_MEMORY
                                                        : code_of_multi(code);

    for (size_t i = 0; i < d->n_buckets; i++) {
        struct gev__curl_transfer *t = d->buckets[i];
        for (; t != NULL; t = t->next) {
            if (t->added && !t->over) {
                remove_handle(d, t);
                settle(t, result);
            }
        }
    }
}

/* False: a callback forked, and this is the child. */
static bool drive(struct gev__curl_driver *d, curl_socket_t fd, int flags)
{
    int running;
    CURLMcode code = curl_multi_socket_action(d->multi, fd, flags, &running);

    if (d->stale) {
        return false;
    }
    collect_results(d);
    if (code != CURLM_OK) {
        fail_all(d, code);
    }
    return true;
}

static void on_socket(struct ev_loop *loop, ev_io *io, int events)
{
    struct gev__curl_socket *s = io->data;
    struct gev__curl_driver *d = s->driver;
    int flags = (events & EV_READ ? CURL_CSELECT_IN : 0) |
                (events & EV_WRITE ? CURL_CSELECT_OUT : 0);

    if (events & EV_ERROR) {
        ev_ref(loop); /* libev has stopped it: that is no descriptor */
        flags |= CURL_CSELECT_ERR;
    }
    if (d->stale) {
        stop_io(d, io);
        return;
    }
    drive(d, io->fd, flags);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct gev__curl_driver *d = timer->data;
    long left = -1;

    (void)loop;
    (void)events;
    stop_timer(d, timer);
    if (d->stale || !drive(d, CURL_SOCKET_TIMEOUT, 0)) {
        return;
    }
    /* curl says nothing when it was called a little too early. */
    if (!ev_is_active(timer) &&
        curl_multi_timeout(d->multi, &left) == CURLM_OK && left >= 0) {
        start_timer(d, timer, (double)(left > 0 ? left : 1) / 1e3);
    }
}

/* Handles leave the multi handle when they are done, and may be back before its
 * next turn; curl's own rule, four connections for each that is in there, would
 * have it close those of a crowd that is done at the same time. */
static void make_room(struct gev__curl_driver *d)
{
    if (d->n_transfers > d->room && !d->lent) {
        d->room *= 2;
        curl_multi_setopt(d->multi, CURLMOPT_MAXCONNECTS, (long)(4 * d->room));
    }
}

/* Its first steps are taken at once, while it is in the processor's cache. */
static void add_handle(struct gev__curl_driver *d, struct gev__curl_transfer *t)
{
    make_room(d);
    curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t->easy, CURLOPT_QUICK_EXIT, 1L);
    CURLcode code = code_of_multi(curl_multi_add_handle(d->multi, t->easy));
    if (code != CURLE_OK) {
        settle(t, code);
        return;
    }
    t->added = true;
    drive(d, CURL_SOCKET_TIMEOUT, 0);
}

static void do_errand(struct gev__curl_driver *d, struct gev__curl_transfer *t)
{
    CURLcode code = CURLE_OK;

    if (t->over) {
        return;
    }
    if (!t->added) {
        add_handle(d, t);
        return;
    }
    if (!t->remove && t->pause >= 0) {
        int pause = t->pause;
        t->pause = -1;
        code = curl_easy_pause(t->easy, pause);
        if (d->stale) {
            return;
        }
    }
    /* Bad argument: it has no connection yet, and so was not paused. */
    if (t->remove ||
        (code != CURLE_OK && code != CURLE_BAD_FUNCTION_ARGUMENT)) {
        remove_handle(d, t);
        settle(t, code);
    }
}

static void apply_timer(struct gev__curl_driver *d)
{
    d->timer_changed = false;
    if (d->timer_wanted < 0) {
        stop_timer(d, &d->timer);
    } else {
        start_timer(d, &d->timer, (double)d->timer_wanted / 1e3);
    }
}

static void on_errands(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct gev__curl_driver *d = timer->data;
    struct gev__curl_transfer *t = d->errands;

    (void)loop;
    (void)events;
    stop_timer(d, timer);
    d->errands = NULL; /* those that come meanwhile have their own turn */
    d->timer_waits = true;
    while (!d->stale && t != NULL) {
        struct gev__curl_transfer *next = t->next_errand;
        t->errand = false;
        do_errand(d, t);
        t = next;
    }
    d->timer_waits = false;
    if (d->timer_changed && !d->stale) {
        apply_timer(d);
    }
}

/* --- what curl calls ------------------------------------------------------ */

static struct gev__curl_socket *make_socket(struct gev__curl_driver *d)
{
    struct gev__curl_socket *s = d->free_sockets;

    if (s == NULL) {
        return NULL;
    }
    d->free_sockets = s->next;
    ev_init(&s->io, on_socket);
    s->io.data = s;
    s->driver = d;
    s->next = d->sockets;
    s->link = &d->sockets;
    if (s->next != NULL) {
        s->next->link = &s->next;
    }
    d->sockets = s;
    return s;
}

static void free_socket(struct gev__curl_driver *d, struct gev__curl_socket *s)
{
    stop_io(d, &s->io);
    *s->link = s->next;
    if (s->next != NULL) {
        s->next->link = s->link;
    }
    s->next = d->free_sockets;
    d->free_sockets = s;
}

/* -1 ends every transfer. */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
                        void *socket)
{
    struct gev__curl_driver *d = arg;
    struct gev__curl_socket *s = socket;

    (void)easy;
    if (what == CURL_POLL_REMOVE || d->stale) {
        if (s != NULL && !d->stale) {
            free_socket(d, s);
        }
        return 0;
    }
    if (s == NULL) {
        s = make_socket(d);
        if (s == NULL) {
            return -1;
        }
        curl_multi_assign(d->multi, fd, s);
    }
    stop_io(d, &s->io);
    ev_io_set(&s->io, fd,
              (what & CURL_POLL_IN ? EV_READ : 0) |
                  (what & CURL_POLL_OUT ? EV_WRITE : 0));
    ev_io_start(d->loop, &s->io);
    ev_unref(d->loop);
    return 0;
}

static int set_timer(CURLM *multi, long milliseconds, void *arg)
{
    struct gev__curl_driver *d = arg;

    (void)multi;
    if (d->stale) {
        return 0;
    }
    d->timer_wanted = milliseconds;
    d->timer_changed = true;
    if (!d->timer_waits) {
        apply_timer(d);
    }
    return 0;
}

/* --- one a hub ------------------------------------------------------------ */

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

/* Also those whose greenlets ended without a word: by pthread_exit. */
static void free_transfers(struct gev__curl_driver *d)
{
    for (size_t i = 0; i < d->n_buckets; i++) {
        while (d->buckets[i] != NULL) {
            struct gev__curl_transfer *t = d->buckets[i];
            d->buckets[i] = t->next;
            free_transfer(d, t);
        }
    }
    while (d->free_transfers != NULL) {
        struct gev__curl_transfer *t = d->free_transfers;
        d->free_transfers = t->next;
        free(t);
    }
    free(d->buckets);
}

/* The hub closes. */
static void close_driver(void *arg)
{
    struct gev__curl_driver *d = arg;

    if (d->stale) {
        return; /* watchers may still be on the loop */
    }
    curl_multi_cleanup(d->multi);
    stop_timer(d, &d->timer);
    stop_timer(d, &d->errands_timer);
    while (d->sockets != NULL) {
        free_socket(d, d->sockets);
    }
    free_transfers(d);
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
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, d);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, d);
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
    ev_init(&d->timer, on_timer);
    ev_init(&d->errands_timer, on_errands);
    d->timer.data = d;
    d->errands_timer.data = d;
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
