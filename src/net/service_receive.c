/* SPDX-License-Identifier: MIT */

/* Services: the greenlets that receive, one a descriptor. */
#include "net/service.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/sys.h"
#include "hub/fd.h"
#include "hub/sched.h"

static bool is_open(const struct gev__service *v)
{
    return !v->paused && !gev__service_is_full(v);
}

/* Things received at once before others get their turn. */
#define BATCH 100

static void *receive(void *arg)
{
    struct gev__listener *l = arg;
    struct gev__service *v = l->service;
    const struct gev_greenlet *self = v->hub->current;
    const struct gev__wait_for what = {.kind = GEV__WAIT_SERVER, .object = v};
    unsigned n = 0;
    int rc = 0;

    while (rc >= 0 || rc == -EAGAIN) {
        struct gev__wait wait;
        unsigned interrupts = v->interrupts;
        if (++n % BATCH == 0) {
            rc = gev__yield(v->hub);
        } else if (!is_open(v)) {
            rc = gev__waitq_park(v->hub, &v->gate, &wait, what, GEV__NEVER);
        } else {
            rc = v->ops->receive(l);
            rc = rc == -EBADF && interrupts != v->interrupts ? 0 : rc;
        }
        if (l->receiver != self) {
            return NULL; /* stopped meanwhile */
        }
    }
    gev__service_shut(v, rc);
    return NULL;
}

int gev__service_rest(struct gev__service *v)
{
    return gev__sleep_until(
        v->hub, gev__clock_add(gev__now_base(v->hub), 10 * GEV__MS));
}

static void end_receiver(void *arg)
{
    struct gev__listener *l = arg;

    gev__service_part_ended(l->service, &l->receiver);
}

static int spawn_receiver(struct gev__listener *l)
{
    struct gev__service *v = l->service;
    const struct gev__make make = {
        .fn = receive, .arg = l, .site = "gev_server", .name = v->ops->name};

    return gev__service_spawn_part(v, &make, end_receiver, l, &l->receiver);
}

void gev__receivers_end(struct gev__service *v)
{
    for (size_t i = 0; i < v->n_listeners; i++) {
        gev__service_end_part(v, &v->listeners[i].receiver);
    }
}

void gev__receivers_interrupt(struct gev__service *v)
{
    v->interrupts++;
    for (size_t i = 0; i < v->n_listeners; i++) {
        /* EBADF is what also one that is about to run gets. */
        gev__fd_cancel(v->hub, v->listeners[i].fd, EBADF);
    }
}

int gev__receivers_start(struct gev__service *v, const int *fds, size_t n)
{
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        struct sockaddr_storage addr = {.ss_family = AF_UNSPEC};
        socklen_t len = sizeof(addr);
        rc = gev__sys_getsockname(fds[i], (struct sockaddr *)&addr, &len);
        v->listeners[i] = (struct gev__listener){
            .service = v, .fd = fds[i], .family = addr.ss_family};
        if (rc == 0) {
            rc = spawn_receiver(&v->listeners[i]);
        }
        v->n_listeners = i + 1;
    }
    if (rc < 0) {
        gev__receivers_end(v);
        v->n_listeners = 0;
    }
    return rc;
}

int gev__receivers_restart(struct gev__service *v)
{
    int rc = 0;

    for (size_t i = 0; i < v->n_listeners && rc == 0; i++) {
        struct gev__listener *l = &v->listeners[i];
        struct gev_greenlet *old = l->receiver;
        if (gev__is_left_behind(old)) {
            rc = spawn_receiver(l);
        }
        if (rc == 0 && l->receiver != old) {
            v->refs--;
            gev__greenlet_unref(old);
        }
    }
    return rc;
}
