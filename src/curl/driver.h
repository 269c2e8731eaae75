/* SPDX-License-Identifier: MIT */
#ifndef GEV_CURL_DRIVER_H
#define GEV_CURL_DRIVER_H

/* One multi handle a hub, driven by watchers on the hub's loop. All calls into
 * it are made by those, or by a message to the hub: where nothing can park. So
 * curl is never entered twice, whatever a user's callback does. */

#include <gev.h>

#include <curl/curl.h>
#include <ev.h>
#include <stdbool.h>
#include <stddef.h>

struct gev__curl_driver;

/* A descriptor that curl wants watched. */
struct gev__curl_socket {
    ev_io io;
    struct gev__curl_driver *driver;
    struct gev__curl_socket *next; /* of the free ones */
};

/* curl has no more of them for an easy handle. */
#define GEV__CURL_SOCKETS 5

/* An easy handle in gev_curl_perform(). On the heap: it may outlive the frames
 * of its greenlet. It brings the sockets it may need to all the transfers, for
 * curl 7.88 does not get over a socket that cannot be watched. */
struct gev__curl_transfer {
    struct gev__curl_driver *driver;
    struct gev__curl_transfer *next; /* in its bucket; or of the free ones */
    struct gev__curl_transfer *next_errand;
    CURL *easy;
    gev_waiter waiter; /* of the greenlet */
    CURLcode result;   /* valid when it is over */
    bool over;         /* it has a result */
    bool added;        /* it is in the multi handle, or was */
    bool removed;      /* it is not any more */
    bool errand;       /* it is on the list of errands: to be added, or */
    bool remove;       /* taken out, or */
    int pause;         /* held up, or let go on; -1: none of these two */
    struct gev__curl_socket sockets[GEV__CURL_SOCKETS]; /* anybody's */
};

struct gev__curl_driver {
    gev_hub *hub;
    struct ev_loop *loop;
    CURLM *multi;
    ev_timer timer;         /* when curl wants to be called */
    ev_timer errands_timer; /* at once: errands without memory for a message */
    long timer_wanted;      /* ms, as curl said last */
    bool timer_waits;       /* until the errands are done */
    bool timer_changed;     /* meanwhile */
    bool errands_asked;     /* the hub knows of the errands */
    struct gev__curl_transfer *errands;
    struct gev__curl_transfer *last_errand; /* valid if there are some */
    struct gev__curl_transfer **buckets;    /* transfers by their easy handle */
    size_t n_buckets;                       /* a power of two */
    size_t n_transfers;
    struct gev__curl_transfer *free_transfers;
    struct gev__curl_socket *free_sockets;
    size_t room; /* for so many transfers at once connections are kept */
    bool lent;   /* the user sets the options of the multi handle */
    bool stale;  /* the parent's, and this is a forked child */
};

/* --- driver.c ------------------------------------------------------------- */

/* This hub's, made if need be: 0, or -errno. */
int gev__curl_driver_get(struct gev__curl_driver **ret_driver);

/* This thread's if it has one, or NULL. */
struct gev__curl_driver *gev__curl_driver_find(void);

/* --- transfer.c ----------------------------------------------------------- */

/* A transfer of this driver by its handle, or NULL. */
struct gev__curl_transfer *gev__curl_transfer_find(struct gev__curl_driver *d,
                                                   const CURL *easy);

/* Has the hub put a handle into the multi handle. It wakes t->waiter when the
 * transfer is over. */
CURLcode gev__curl_transfer_begin(struct gev__curl_driver *d, CURL *easy,
                                  struct gev__curl_transfer **ret_transfer);

/* Frees the record. Takes the handle out first if the hub has not, which may
 * run callbacks: where nothing parks. */
void gev__curl_transfer_end(struct gev__curl_driver *d,
                            struct gev__curl_transfer *t);

/* Has the hub do what t->remove and t->pause say; it wakes t->waiter when the
 * transfer is out. */
void gev__curl_transfer_errand(struct gev__curl_driver *d,
                               struct gev__curl_transfer *t);

/* In the hub: takes the handle out, if it is in, and gives the greenlet its
 * result. */
void gev__curl_transfer_settle(struct gev__curl_driver *d,
                               struct gev__curl_transfer *t, CURLcode result);

/* When the hub ends, and all transfers have: frees the records. */
void gev__curl_transfers_free(struct gev__curl_driver *d);

/* --- drive.c -------------------------------------------------------------- */

/* Has the hub do the errands. */
void gev__curl_errands_ask(struct gev__curl_driver *d);

/* The callbacks of the driver's watchers. */
void gev__curl_on_socket(struct ev_loop *loop, ev_io *io, int events);
void gev__curl_on_timer(struct ev_loop *loop, ev_timer *timer, int events);
void gev__curl_on_errands(struct ev_loop *loop, ev_timer *timer, int events);

/* --- watch.c -------------------------------------------------------------- */

/* Has curl tell d of its sockets and its deadline. */
void gev__curl_watch(struct gev__curl_driver *d);

/* When the hub ends: curl watches nothing any more. */
void gev__curl_unwatch(struct gev__curl_driver *d);

void gev__curl_io_stop(struct gev__curl_driver *d, ev_io *io);
void gev__curl_timer_stop(struct gev__curl_driver *d, ev_timer *timer);
void gev__curl_timer_start(struct gev__curl_driver *d, ev_timer *timer,
                           double seconds);

/* Starts or stops the timer as curl said last. */
void gev__curl_timer_apply(struct gev__curl_driver *d);

#endif
