/* SPDX-License-Identifier: MIT */
#include "curl/driver.h"

#define LONG_TIME 1e6 /* s */

/* --- watchers ------------------------------------------------------------- */

/* Watchers do not count as able to wake somebody: transfers hold the hub. */

void gev__curl_io_stop(struct gev__curl_driver *d, ev_io *io)
{
    if (ev_is_active(io)) {
        ev_ref(d->loop);
        ev_io_stop(d->loop, io);
    }
}

void gev__curl_timer_stop(struct gev__curl_driver *d, ev_timer *timer)
{
    if (ev_is_active(timer)) {
        ev_ref(d->loop);
        ev_timer_stop(d->loop, timer);
    }
}

/* It repeats, in a while, only so that libev does not stop it by itself before
 * it calls back: then it would not be known whether it counts. */
void gev__curl_timer_start(struct gev__curl_driver *d, ev_timer *timer,
                           double seconds)
{
    gev__curl_timer_stop(d, timer);
    ev_timer_set(timer, seconds, LONG_TIME);
    ev_timer_start(d->loop, timer);
    ev_unref(d->loop);
}

void gev__curl_timer_apply(struct gev__curl_driver *d)
{
    d->timer_changed = false;
    if (d->timer_wanted < 0) {
        gev__curl_timer_stop(d, &d->timer);
    } else {
        gev__curl_timer_start(d, &d->timer, (double)d->timer_wanted / 1e3);
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
    ev_init(&s->io, gev__curl_on_socket);
    s->io.data = s;
    s->driver = d;
    return s;
}

static void free_socket(struct gev__curl_driver *d, struct gev__curl_socket *s)
{
    gev__curl_io_stop(d, &s->io);
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
    gev__curl_io_stop(d, &s->io);
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
        gev__curl_timer_apply(d);
    }
    return 0;
}

/* --- all of it ------------------------------------------------------------ */

void gev__curl_watch(struct gev__curl_driver *d)
{
    ev_init(&d->timer, gev__curl_on_timer);
    ev_init(&d->errands_timer, gev__curl_on_errands);
    d->timer.data = d;
    d->errands_timer.data = d;
    curl_multi_setopt(d->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(d->multi, CURLMOPT_SOCKETDATA, d);
    curl_multi_setopt(d->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(d->multi, CURLMOPT_TIMERDATA, d);
}

void gev__curl_unwatch(struct gev__curl_driver *d)
{
    gev__curl_timer_stop(d, &d->timer);
    gev__curl_timer_stop(d, &d->errands_timer);
}
