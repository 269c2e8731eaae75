/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_CURL_FETCH_H
#define GEV_TEST_CURL_FETCH_H

/* What the tests of gev-curl share: handles that count or keep what comes, and
 * a look-up of names that does what the name says. */

#include <gev.h>
#include <gev/curl.h>

#include "curl/server.h"
#include "support/gev_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What came of a body. */
struct body {
    size_t n;
    size_t wrong;    /* bytes that do not fit the server's pattern */
    char begin[128]; /* the first of them, and a NUL */
};

static inline size_t take_body(char *data, size_t size, size_t n, void *arg)
{
    struct body *b = arg;

    n *= size;
    for (size_t i = 0; i < n; i++) {
        b->wrong += data[i] != (char)('0' + (b->n + i) % 10);
        if (b->n + i < sizeof(b->begin) - 1) {
            b->begin[b->n + i] = data[i];
        }
    }
    b->n += n;
    return n;
}

/* A handle for a URL that puts what comes into *b. */
static inline CURL *handle_for(const char *url, struct body *b)
{
    CURL *easy = curl_easy_init();

    memset(b, 0, sizeof(*b));
    expect_not_null(easy);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, b);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    return easy;
}

/* Fetches a URL; the result. */
static inline CURLcode fetch(const char *url, struct body *b)
{
    CURL *easy = handle_for(url, b);
    CURLcode code = gev_curl_perform(easy);

    curl_easy_cleanup(easy);
    return code;
}

/* The number that a URL answers with; -1: none. */
static inline int fetch_number(const char *url)
{
    struct body b;

    return fetch(url, &b) == CURLE_OK ? atoi(b.begin) : -1;
}

/* Waits until the server has seen that many clients leave a /hang. */
static inline void expect_hung_between(const struct web *web, int least,
                                       int most)
{
    double deadline = test_now() + test_scale(5);
    int n;

    while ((n = fetch_number(web_url(web, "/hung"))) < least &&
           test_now() < deadline) {
        gev_sleep(0.01);
    }
    expect_ge(n, least);
    expect_le(n, most);
}

static inline void expect_hung(const struct web *web, int n)
{
    expect_hung_between(web, n, n);
}

/* Looks a name up in the way of getaddrinfo(3), for the whole process: slow.*
 * takes SLOW_LOOKUP seconds, bad.* is not there, anything else is 127.0.0.1. */
#define SLOW_LOOKUP 1.5
unsigned lookups_going_on(void);

/* Waits until no thread looks anything up any more. */
static inline void await_lookups(void)
{
    while (lookups_going_on() > 0) {
        gev_sleep(0.02);
    }
    gev_sleep(0.05); /* and has ended */
}

#endif
