/* SPDX-License-Identifier: MIT */
#ifndef GEV_HTTP_ARENA_H
#define GEV_HTTP_ARENA_H

/* Memory that is given back all at once: the strings of a request. The first
 * block is kept, so that most requests allocate nothing. */

#include <stddef.h>

struct gev__http_block {
    struct gev__http_block *next; /* older ones */
    size_t size;                  /* of data */
    size_t used;
    char data[];
};

/* All-zero: empty. */
struct gev__http_arena {
    struct gev__http_block *newest;
};

/* n bytes, aligned for pointers. NULL and ENOMEM. */
void *gev__http_alloc(struct gev__http_arena *a, size_t n);

/* Forgets everything, and keeps a block. */
void gev__http_arena_reset(struct gev__http_arena *a);

void gev__http_arena_fini(struct gev__http_arena *a);

#endif
