/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_SOCKETS_H
#define GEV_TEST_SOCKETS_H

/* What the tests of sockets share. */

#include <gev.h>

#include "support/gev_test.h"

#include <netinet/in.h>

/* A connected pair of gev's Unix sockets. */
void test_pair(int type, int fds[2]);
void test_close_both(const int fds[2]);

/* 127.0.0.1, without a port. */
struct sockaddr_in test_loopback(void);

/* Non-blocking and closed on exec. */
void test_expect_flags(int fd);

/* The name of a file that is not there. */
void test_make_path(char path[108]);

/* Of this thread's hub. */
uint64_t test_turns(void);
uint64_t test_switches(void);

/* Waits for its end and gives the handle back. */
void test_join(gev_greenlet *g);

/* A call that a greenlet makes, and how it ended. */
struct test_call {
    int fd;
    char buf[64];
    int flags;
    ssize_t rc;
    int error;
    bool is_done;
};

/* For gev_spawn(): gev_recv() and gev_accept() of a struct test_call. */
void *test_do_recv(void *call);
void *test_do_accept(void *call);

#endif
