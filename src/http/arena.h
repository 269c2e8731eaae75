/* SPDX-License-Identifier: MIT */
#ifndef GEV_HTTP_ARENA_H
#define GEV_HTTP_ARENA_H

/* Memory that is given back all at once: the strings of a request. And blocks
 * that go from one connection to the next, so that those between requests have
 * none and the usual request allocates nothing. */

#include <stddef.h>

/* Blocks of one size that nobody needs now; all-zero: none. */
struct gev__http_spares {
    struct gev__http_spare {
        struct gev__http_spare *next;
    } * first;
    unsigned n;
};

/* At least size bytes, the size of all blocks of the list. NULL and ENOMEM. */
void *gev__http_spares_get(struct gev__http_spares *s, size_t size);

/* p may be NULL. */
void gev__http_spares_put(struct gev__http_spares *s, void *p);

void gev__http_spares_fini(struct gev__http_spares *s);

struct gev__http_block {
    struct gev__http_block *next; /* older ones */
    size_t size;                  /* of data */
    size_t used;
    char data[];
};

struct gev__http_arena {
    struct gev__http_block *newest;  /* NULL: empty */
    struct gev__http_spares *spares; /* where the usual block comes from */
};

/* n bytes, aligned for pointers. NULL and ENOMEM. */
void *gev__http_alloc(struct gev__http_arena *a, size_t n);

/* Forgets everything. */
void gev__http_arena_reset(struct gev__http_arena *a);

#endif
