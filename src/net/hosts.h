/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_HOSTS_H
#define GEV_NET_HOSTS_H

/* The hosts file, kept as a hash table and read again when it changed. */

#include "net/answer.h"
#include "net/textfile.h"

struct gev__hosts {
    struct gev__file_version version;
    char *text;                   /* the file; all names point into it */
    struct gev__host *hosts;      /* one a line, in order */
    struct gev__host_name *names; /* canonical ones and aliases */
    uint32_t *buckets;            /* index + 1 of the first name; 0: empty */
    uint32_t n_hosts;
    uint32_t n_names;
    uint32_t n_buckets; /* a power of two, or 0 */
};

/* Reads the file if it is not the one read before. -ENOMEM and what read(2)
 * fails with; the old table stays then, and the next call tries again. */
int gev__hosts_update(struct gev__hosts *h, const char *path);

/* All addresses of a name, in the order of the file; family may be AF_UNSPEC.
 * *ret_answer is NULL if there are none. -ENOMEM. */
int gev__hosts_find(const struct gev__hosts *h, const char *name, int family,
                    struct gev__answer **ret_answer);

/* The canonical name of an address; NULL: none. Valid until the next update. */
const char *gev__hosts_name(const struct gev__hosts *h,
                            const struct gev__addr *addr);

void gev__hosts_fini(struct gev__hosts *h);

/* The same for names that differ only in case. */
uint32_t gev__name_hash(const char *name);

#endif
