/* SPDX-License-Identifier: MIT */
#include "curl/driver.h"

/* --- driving -------------------------------------------------------------- */

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

static void collect_results(struct gev__curl_driver *d)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(d->multi, &left)) != NULL) {
        struct gev__curl_transfer *t =
            gev__curl_transfer_find(d, message->easy_handle);
        if (t != NULL && !t->over) {
            CURLcode result = message->data.result;
            gev__curl_transfer_settle(d, t, result); /* the message goes */
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
        while (t != NULL) {
            if (t->added && !t->over) {
                gev__curl_transfer_settle(d, t, result);
                t = d->buckets[i]; /* a callback may have grown the table */
            } else {
                t = t->next;
            }
        }
    }
}

static void drive(struct gev__curl_driver *d, curl_socket_t fd, int flags)
{
    int running;
    CURLMcode code = curl_multi_socket_action(d->multi, fd, flags, &running);

    if (d->stale) {
        return; /* a callback forked, and this is the child */
    }
    collect_results(d);
    if (code != CURLM_OK) {
        fail_all(d, code);
    }
}

/* --- errands -------------------------------------------------------------- */

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
        gev__curl_transfer_settle(d, t, code);
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
        gev__curl_transfer_settle(d, t, code);
    }
}

/* Only those that are there by now: a callback may bring more, for ever. */
static void do_errands(struct gev__curl_driver *d)
{
    const struct gev__curl_transfer *last = d->last_errand;
    struct gev__curl_transfer *t;

    d->errands_asked = false;
    if (d->errands == NULL) {
        return; /* it was not to be: the greenlet has ended */
    }
    d->timer_waits = true;
    do {
        t = d->errands;
        d->errands = t->next_errand;
        t->errand = false;
        do_errand(d, t);
        if (d->stale) {
            return;
        }
    } while (t != last);
    d->timer_waits = false;
    if (d->timer_changed) {
        gev__curl_timer_apply(d);
    }
}

/* The driver may have gone before the message came. */
static void on_message(void *arg)
{
    struct gev__curl_driver *d = gev__curl_driver_find();

    (void)arg;
    if (d != NULL) {
        do_errands(d);
    }
}

void gev__curl_on_errands(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct gev__curl_driver *d = timer->data;

    (void)loop;
    (void)events;
    gev__curl_timer_stop(d, timer);
    if (!d->stale) {
        do_errands(d);
    }
}

/* A message is served before the next look at the descriptors; a timer, when
 * there is no memory for it, after that. */
void gev__curl_errands_ask(struct gev__curl_driver *d)
{
    if (d->errands_asked) {
        return;
    }
    d->errands_asked = true;
    if (gev_hub_post(d->hub, on_message, NULL) < 0) {
        gev__curl_timer_start(d, &d->errands_timer, 0);
    }
}

/* --- events --------------------------------------------------------------- */

void gev__curl_on_socket(struct ev_loop *loop, ev_io *io, int events)
{
    struct gev__curl_socket *s = io->data;
    struct gev__curl_driver *d = s->driver;
    int flags = (events & EV_READ ? CURL_CSELECT_IN : 0) |
                (events & EV_WRITE ? CURL_CSELECT_OUT : 0);

    if (events & EV_ERROR) {
        ev_ref(loop); /* libev has stopped it: it cannot be watched */
        flags = CURL_CSELECT_ERR;
    }
    if (d->stale) {
        gev__curl_io_stop(d, io);
        return;
    }
    drive(d, io->fd, flags);
}

/* Should it be a little too early, curl sets it again. */
void gev__curl_on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct gev__curl_driver *d = timer->data;

    (void)loop;
    (void)events;
    gev__curl_timer_stop(d, timer);
    if (!d->stale) {
        drive(d, CURL_SOCKET_TIMEOUT, 0);
    }
}
