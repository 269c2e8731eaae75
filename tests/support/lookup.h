/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_LOOKUP_H
#define GEV_TEST_LOOKUP_H

/* Look-ups as the tests of the resolver make them. */

#include "support/dns_server.h"

#include <gev/greenlet.h>

#include <netinet/in.h>

/* Group set-up and tear-down: empty files in the place of the machine's, which
 * are not part of the tests. */
int lookup_make_files(void **state);
int lookup_remove_files(void **state);
extern char lookup_hosts_path[];
extern char lookup_resolv_path[];

/* Replaces a file in one step, as careful programs do it. */
void lookup_write_file(const char *path, const char *text);

/* One look-up and what came of it. */
struct lookup {
    const char *name;
    int family;
    int flags;
    int rc;
    int error;      /* errno, with EAI_SYSTEM */
    unsigned count; /* addresses */
    unsigned v4;
    unsigned v6;
    char first[INET6_ADDRSTRLEN];
    char canonical[256];
    double took;
};

void lookup_run(struct lookup *l);
struct lookup look_up(const char *name, int family, int flags);

/* The same as what a greenlet runs, and such a greenlet. */
void *lookup_in_greenlet(void *arg);
gev_greenlet *lookup_spawn(struct lookup *l);

/* A server whose answers are waited for as long as a busy machine may take. */
struct dns_server *lookup_serve(const struct dns_rule *rules);

/* Until it was asked for that name. */
void lookup_wait_asked(struct dns_server *s, const char *name);

#endif
