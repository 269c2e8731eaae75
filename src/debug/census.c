/* SPDX-License-Identifier: MIT */
#include "debug/census.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdlib.h>

static void count_one(struct gev_greenlet *g, void *arg)
{
    size_t *n = arg;

    (void)g;
    (*n)++;
}

static void list_one(struct gev_greenlet *g, void *arg)
{
    struct gev__census *c = arg;

    c->by_id[c->n] = g;
    c->n++;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = (*(struct gev_greenlet *const *)a)->id;
    uint64_t y = (*(struct gev_greenlet *const *)b)->id;

    return (x > y) - (x < y);
}

int gev__census_take(struct gev_hub *hub, struct gev__census *ret_census)
{
    struct gev__census c = {.n = 0};
    size_t n = 1; /* main is on no slot */

    gev__stack_foreach(&hub->stacks, count_one, &n);
    c.by_id = gev__reallocarray(NULL, n, sizeof(struct gev_greenlet *));
    if (c.by_id == NULL) {
        return -ENOMEM;
    }
    gev__stack_foreach(&hub->stacks, list_one, &c);
    list_one(&hub->main_storage, &c);
    qsort(c.by_id, c.n, sizeof(struct gev_greenlet *), compare_ids);
    *ret_census = c;
    return 0;
}

void gev__census_free(struct gev__census *c)
{
    gev__free(c->by_id);
}
