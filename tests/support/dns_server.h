/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_DNS_SERVER_H
#define GEV_TEST_DNS_SERVER_H

/* A name server on a free port of 127.0.0.1, by UDP and TCP, that says what a
 * script tells it and counts what it is asked. It is a process of its own, so
 * that neither its descriptors nor its threads are mistaken for gev's, and ends
 * when it is stopped or this process ends. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Types of questions. */
enum { DNS_A = 1, DNS_PTR = 12, DNS_AAAA = 28 };

enum dns_mood {
    DNS_ANSWERS,
    DNS_SILENT,
    DNS_NXDOMAIN,
    DNS_SERVFAIL,
    DNS_REFUSED,
    DNS_TRUNCATES,  /* by UDP; the whole answer by TCP */
    DNS_RESETS,     /* truncates by UDP, and closes the TCP connection */
    DNS_GARBAGE,    /* a header that fits, then nonsense */
    DNS_SILENT_ONCE /* the first question of each type gets lost */
};

/* What to say to questions for a name. Without addresses of the kind asked for:
 * no data. */
struct dns_rule {
    const char *name; /* "*": for all that no rule before was for */
    enum dns_mood mood;
    unsigned v4;        /* addresses: 127.1.0.1, 127.1.0.2, ... */
    unsigned v6;        /* addresses: fd00::1:1, fd00::1:2, ... */
    unsigned aliases;   /* CNAMEs before them: alias1.NAME, alias2.NAME... */
    const char *target; /* PTR: the name */
    unsigned delay;     /* ms before the answer */
};

struct dns_server;

/* NULL, and a failure recorded, if it cannot be started. The rules, ended by
 * one without a name, are borrowed until it is stopped. */
struct dns_server *dns_server_start(const struct dns_rule *rules);
void dns_server_stop(struct dns_server *s);

uint16_t dns_server_port(const struct dns_server *s);

/* Makes it the one that gev asks, by the environment, for hubs to come; until
 * it is stopped. timeout: seconds. */
void dns_server_use(const struct dns_server *s, double timeout, int tries);

/* How many questions of a type came for a name, repeated ones included; type 0:
 * of any type; name NULL: for any name. */
unsigned dns_server_asked(struct dns_server *s, const char *name, int type);

/* The same, but for those that came by TCP. */
unsigned dns_server_asked_tcp(struct dns_server *s, const char *name);

#endif
