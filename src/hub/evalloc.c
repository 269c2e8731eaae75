/* SPDX-License-Identifier: MIT */

/* libev's memory. It cannot report that there is none: it aborts. So each hub
 * keeps a few blocks in reserve, large enough for the arrays that libev grows
 * for a given number of descriptors, and a park that would need more than the
 * reserve fails with ENOMEM before libev is asked. Untouched blocks cost
 * address space only. */

#include "base/alloc.h"
#include "hub/loop.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <string.h>

/* In front of every block of the user's allocator: its size, and malloc's
 * alignment. libc's blocks know their size, and have none: a loop that the
 * program made before the first hub brings such blocks along. */
#define HEADER 16u

/* Per descriptor libev keeps an ANFD (16), an fdchange (4), up to two pendings
 * (32) and an epoll_event (12), each in an array that doubles. */
#define BYTES_PER_FD ((size_t)64)
#define FDS_MIN 256u

static void *take_reserve(size_t size)
{
    struct gev_hub *hub = gev__thread_hub;

    if (hub == NULL || hub->ev == NULL || size > hub->ev->reserve_size) {
        return NULL;
    }
    for (unsigned i = 0; i < GEV__EV_RESERVES; i++) {
        void *block = hub->ev->reserves[i];
        if (block != NULL) {
            hub->ev->reserves[i] = NULL;
            hub->ev->reserve_used = true;
            return block;
        }
    }
    return NULL;
}

static size_t size_of(char *block, size_t header)
{
    size_t size;

    if (header == 0) {
        return malloc_usable_size(block);
    }
    memcpy(&size, block, sizeof(size));
    return size;
}

static void *ev_memory(void *p, long size)
{
    size_t header = gev__alloc_is_libc() ? 0 : HEADER;
    char *block = p == NULL ? NULL : (char *)p - header;

    if (size <= 0) {
        gev__free(block);
        return NULL;
    }
    size_t n = (size_t)size;
    char *grown = gev__realloc(block, n + header);
    if (grown == NULL) {
        grown = take_reserve(n);
        if (grown == NULL) {
            return NULL;
        }
        if (block != NULL) {
            size_t old = size_of(block, header);
            memcpy(grown + header, p, old < n ? old : n);
            gev__free(block);
        }
    }
    if (header > 0) {
        memcpy(grown, &n, sizeof(n));
    }
    return grown + header;
}

static void set_allocator(void)
{
    ev_set_allocator(ev_memory);
}

void gev__loop_set_allocator(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_allocator);
}

int gev__loop_reserve_memory(struct gev_hub *hub, int fd)
{
    struct gev__ev *ev = hub->ev;
    size_t fds = fd < (int)FDS_MIN / 2 ? FDS_MIN : (size_t)fd * 2;

    if (gev__likely(fds * BYTES_PER_FD <= ev->reserve_size &&
                    !ev->reserve_used)) {
        return 0;
    }
    /* Doubles, or each descriptor higher than all before would replace all
     * blocks. */
    size_t size =
        ev->reserve_size == 0 ? FDS_MIN * BYTES_PER_FD : ev->reserve_size;
    while (size < fds * BYTES_PER_FD) {
        size *= 2;
    }
    for (unsigned i = 0; i < GEV__EV_RESERVES; i++) {
        if (ev->reserves[i] == NULL || size > ev->reserve_size) {
            void *block = gev__malloc(size + HEADER);
            if (block == NULL) {
                return -ENOMEM;
            }
            gev__free(ev->reserves[i]);
            ev->reserves[i] = block;
        }
    }
    ev->reserve_size = size;
    ev->reserve_used = false;
    return 0;
}

int gev__loop_reserve(struct gev_hub *hub, int fd)
{
    /* A fork may have found no descriptor for a new loop; now there may be
     * one. */
    int rc = gev__unlikely(hub->loop == NULL) ? gev__loop_open(hub) : 0;

    return rc < 0 ? rc : gev__loop_reserve_memory(hub, fd);
}
