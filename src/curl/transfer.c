/* SPDX-License-Identifier: MIT */
#include "curl/driver.h"

#include <stdint.h>
#include <stdlib.h>

/* --- records -------------------------------------------------------------- */

static struct gev__curl_transfer **bucket_of(struct gev__curl_driver *d,
                                             const CURL *easy)
{
    /* Easy handles are large: their addresses differ in the middle bits. */
    uint64_t hash = (uint64_t)(uintptr_t)easy * UINT64_C(0x9e3779b97f4a7c15);

    return &d->buckets[(size_t)(hash >> 32) & (d->n_buckets - 1)];
}

struct gev__curl_transfer *gev__curl_transfer_find(struct gev__curl_driver *d,
                                                   const CURL *easy)
{
    struct gev__curl_transfer *t = *bucket_of(d, easy);

    while (t != NULL && t->easy != easy) {
        t = t->next;
    }
    return t;
}

/* Keeps buckets short; without memory they get longer. */
static void grow_table(struct gev__curl_driver *d)
{
    struct gev__curl_transfer **old = d->buckets;
    size_t n_old = d->n_buckets;
    /* NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI): never 0 */
    struct gev__curl_transfer **new = calloc(2 * n_old, sizeof(*new));

    if (new == NULL) {
        return;
    }
    d->buckets = new;
    d->n_buckets = 2 * n_old;
    for (size_t i = 0; i < n_old; i++) {
        while (old[i] != NULL) {
            struct gev__curl_transfer *t = old[i];
            struct gev__curl_transfer **bucket = bucket_of(d, t->easy);
            old[i] = t->next;
            t->next = *bucket;
            *bucket = t;
        }
    }
    free(old);
}

static struct gev__curl_transfer *make_transfer(struct gev__curl_driver *d,
                                                CURL *easy)
{
    struct gev__curl_transfer *t = d->free_transfers;

    if (t != NULL) {
        d->free_transfers = t->next;
    } else {
        t = malloc(sizeof(*t));
        if (t == NULL) {
            return NULL;
        }
        for (size_t i = 0; i < GEV__CURL_SOCKETS; i++) {
            t->sockets[i].next = d->free_sockets;
            d->free_sockets = &t->sockets[i];
        }
    }
    t->driver = d;
    t->easy = easy;
    gev_waiter_init(&t->waiter);
    t->over = false;
    t->added = false;
    t->removed = false;
    t->errand = false;
    t->remove = false;
    t->pause = -1;
    return t;
}

static void free_transfer(struct gev__curl_driver *d,
                          struct gev__curl_transfer *t)
{
    t->next = d->free_transfers;
    d->free_transfers = t;
}

/* --- a transfer ----------------------------------------------------------- */

CURLcode gev__curl_transfer_begin(struct gev__curl_driver *d, CURL *easy,
                                  struct gev__curl_transfer **ret_transfer)
{
    if (gev__curl_transfer_find(d, easy) != NULL) {
        return CURLE_FAILED_INIT;
    }
    struct gev__curl_transfer *t = make_transfer(d, easy);
    if (t == NULL) {
        return CURLE_OUT_OF_MEMORY;
    }
    if (d->n_transfers++ == 0) {
        gev_hub_ref(d->hub);
    }
    if (d->n_transfers > d->n_buckets) {
        grow_table(d);
    }
    struct gev__curl_transfer **bucket = bucket_of(d, easy);
    t->next = *bucket;
    *bucket = t;
    gev__curl_transfer_errand(d, t);
    *ret_transfer = t;
    return CURLE_OK;
}

static void drop_errand(struct gev__curl_driver *d,
                        struct gev__curl_transfer *t)
{
    struct gev__curl_transfer **link = &d->errands;
    struct gev__curl_transfer *before = NULL;

    if (!t->errand) {
        return;
    }
    while (*link != t) {
        before = *link;
        link = &before->next_errand;
    }
    *link = t->next_errand;
    if (*link == NULL) {
        d->last_errand = before;
    }
    t->errand = false;
}

static void remove_handle(struct gev__curl_driver *d,
                          struct gev__curl_transfer *t)
{
    if (t->added && !t->removed) {
        curl_multi_remove_handle(d->multi, t->easy);
        t->removed = true;
    }
}

void gev__curl_transfer_end(struct gev__curl_driver *d,
                            struct gev__curl_transfer *t)
{
    struct gev__curl_transfer **link = bucket_of(d, t->easy);

    remove_handle(d, t);
    drop_errand(d, t);
    while (*link != t) {
        link = &(*link)->next;
    }
    *link = t->next;
    if (--d->n_transfers == 0) {
        gev_hub_unref(d->hub);
    }
    free_transfer(d, t);
}

void gev__curl_transfer_settle(struct gev__curl_driver *d,
                               struct gev__curl_transfer *t, CURLcode result)
{
    remove_handle(d, t);
    t->result = result;
    t->over = true;
    gev_waiter_switch(&t->waiter, NULL);
}

void gev__curl_transfer_errand(struct gev__curl_driver *d,
                               struct gev__curl_transfer *t)
{
    if (!t->errand) {
        t->errand = true;
        t->next_errand = NULL;
        if (d->errands == NULL) {
            d->errands = t;
        } else {
            d->last_errand->next_errand = t;
        }
        d->last_errand = t;
    }
    gev__curl_errands_ask(d);
}

void gev__curl_transfers_free(struct gev__curl_driver *d)
{
    while (d->free_transfers != NULL) {
        struct gev__curl_transfer *t = d->free_transfers;
        d->free_transfers = t->next;
        free(t);
    }
    free(d->buckets);
}
