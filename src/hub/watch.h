/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_WATCH_H
#define GEV_HUB_WATCH_H

/* A callback on a descriptor, for modules that run in the hub (DNS): what the
 * fd table is to greenlets. The callback runs in the hub and must not park. An
 * active watch does not by itself keep the hub from reporting a deadlock:
 * whoever waits for it calls gev__hub_hold(). */

#include "hub/hub.h"

#include <ev.h>

struct gev__watch {
    ev_io io;
    void (*fn)(struct gev__watch *w, int events); /* GEV_READ | GEV_WRITE */
    void *arg;
};

/* Watches fd for events; called again it changes the events. -ENOMEM. The
 * watch must be all-zero or stopped before its first start. */
int gev__watch_start(struct gev_hub *hub, struct gev__watch *w, int fd,
                     int events);
/* Before the descriptor is closed. Harmless on a stopped one. */
void gev__watch_stop(struct gev_hub *hub, struct gev__watch *w);

#endif
