/* SPDX-License-Identifier: MIT */
#include "hub/watch.h"

#include "hub/loop.h"

static void on_event(struct ev_loop *loop, ev_io *io, int events)
{
    struct gev__watch *w = gev__container_of(io, struct gev__watch, io);

    if (events & EV_ERROR) {
        ev_ref(loop); /* libev has stopped it */
    }
    w->fn(w, (events & EV_READ ? GEV_READ : 0) |
                 (events & EV_WRITE ? GEV_WRITE : 0));
}

int gev__watch_start(struct gev_hub *hub, struct gev__watch *w, int fd,
                     int events)
{
    int rc = gev__loop_reserve(hub, fd);

    if (rc < 0) {
        return rc;
    }
    gev__watch_stop(hub, w);
    ev_io_init(&w->io, on_event, fd,
               (events & GEV_READ ? EV_READ : 0) |
                   (events & GEV_WRITE ? EV_WRITE : 0));
    ev_io_start(hub->loop, &w->io);
    ev_unref(hub->loop);
    return 0;
}

void gev__watch_stop(struct gev_hub *hub, struct gev__watch *w)
{
    if (ev_is_active(&w->io)) {
        ev_ref(hub->loop);
        ev_io_stop(hub->loop, &w->io);
    }
}
