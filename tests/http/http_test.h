/* SPDX-License-Identifier: MIT */
#ifndef GEV_TESTS_HTTP_TEST_H
#define GEV_TESTS_HTTP_TEST_H

/* A server, and a client that speaks in raw bytes. */
#include <gev.h>
#include <gev/http.h>

#include "support/gev_test.h"

#include <stdio.h>

/* What the log said. */
struct http_log {
    unsigned n;
    int status; /* of the last */
    char why[128];
    uint64_t sent;
};

void http_log(const gev_http *h, int status, const char *why, void *log);

/* Options with short times, and that log. */
gev_http_opts http_opts(struct http_log *log);

/* A started server on 127.0.0.1. */
gev_server *http_serve(const gev_http_opts *opts, gev_http_fn fn, void *arg);

int http_dial(const gev_server *s);

bool http_send(int fd, const char *bytes, size_t n);

/* What comes until the end of the stream, with a NUL; its length. */
size_t http_recv(int fd, char *answer, size_t size);

/* What comes until it ends with that text, or the stream does. */
size_t http_recv_until(int fd, const char *end, char *answer, size_t size);

/* One connection: sends, says that no more follows, and receives. */
size_t http_talk(const gev_server *s, const char *bytes, size_t n, char *answer,
                 size_t size);

/* The status of the answer; 0: there is none. */
int http_status_of(const char *answer);

/* What follows the first empty line; "" if there is none. */
const char *http_body_of(const char *answer);

/* How often a text occurs in another. */
unsigned http_count(const char *text, const char *what);

/* Answers "METHOD PATH QUERY VERSION LENGTH:BODY". arg: unsigned, counts. */
int http_describe(gev_http *h, void *arg);

#define TALK(s, bytes, answer)                                                 \
    http_talk((s), (bytes), sizeof(bytes) - 1, (answer), sizeof(answer))

#endif
