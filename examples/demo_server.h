/* SPDX-License-Identifier: MIT */
#ifndef DEMO_SERVER_H
#define DEMO_SERVER_H

/** @file demo_server.h
 *  A small HTTP server for fetch and pool_crawler to talk to when they are
 * given no URL. It runs in greenlets of the same thread. Its documents are made
 * to order:
 *
 *      /KIND/SIZE/DELAY
 *
 *  KIND is "fixed" (Content-Length), "chunked" or "close" (ends with the
 *  connection), SIZE is in bytes, and it waits DELAY milliseconds first. And
 *
 *      /site/PAGES/DELAY/I
 *
 *  is page I of a site of so many pages that link to each other, from 0 on.
 */

/** A running server. */
struct demo_server {
    int fd;
    char port[6];
};

/** Starts a server at 127.0.0.1, on any port.
 *  @return 0, or -1 with errno */
int demo_server_start(struct demo_server *server);

/** Takes no more connections. Those there are end with their clients. */
void demo_server_stop(struct demo_server *server);

#endif
