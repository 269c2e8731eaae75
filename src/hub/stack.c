/* SPDX-License-Identifier: MIT */
#include "hub/stack.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/sys.h"
#include "hub/greenlet.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif

#define CHUNK_BYTES_MIN ((size_t)4 << 20)
#define CHUNK_BYTES_MAX ((size_t)64 << 20)
#define COLOURS 16u
#define CACHE_LINE 64u

#ifndef GEV_SWITCH_UCONTEXT /* whose contexts are big */
static_assert(
    sizeof(struct gev_greenlet) <= 1024,
    "a parked greenlet must fit one page, colour and frames included");
#endif

/* --- guards --------------------------------------------------------------- */

static atomic_int guard_by_mprotect; /* 1: the kernel has no guard markers */
static atomic_long protected_guards; /* how many, process-wide */
static atomic_long protected_limit;  /* 0: not yet read */

/* Two mappings a guard; stop at three quarters of what the process may have,
 * for beyond it mmap fails for everybody. */
static long read_protected_limit(void)
{
    char buf[32] = "";
    long max = 65530;
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        if (gev__sys_read(fd, buf, sizeof(buf) - 1) > 0) {
            long n = strtol(buf, NULL, 10);
            max = n > 0 ? n : max;
        }
        gev__sys_close(fd);
    }
    return max / 8 * 3;
}

static int install_marker(char *low)
{
    static atomic_int believed;

    /* Emulators such as qemu's take any advice and do nothing: then also one
     * that does not exist. */
    if (!atomic_load_explicit(&believed, memory_order_relaxed)) {
        if (gev__sys_madvise(low, GEV__STACK_GUARD, INT_MAX) == 0) {
            return -EINVAL;
        }
        atomic_store_explicit(&believed, 1, memory_order_relaxed);
    }
    return gev__sys_madvise(low, GEV__STACK_GUARD, MADV_GUARD_INSTALL);
}

/* 0: a marker; 1: a protected page; -ENOMEM. */
static int install_guard(char *low)
{
    if (!atomic_load_explicit(&guard_by_mprotect, memory_order_relaxed)) {
        int rc = install_marker(low);
        if (rc != -EINVAL) {
            return rc == 0 ? 0 : -ENOMEM;
        }
        /* An old kernel, or mlockall: EINVAL either way. */
        atomic_store_explicit(&guard_by_mprotect, 1, memory_order_relaxed);
    }
    long limit = atomic_load_explicit(&protected_limit, memory_order_relaxed);
    if (limit == 0) {
        limit = read_protected_limit();
        atomic_store_explicit(&protected_limit, limit, memory_order_relaxed);
    }
    if (atomic_fetch_add_explicit(&protected_guards, 1, memory_order_relaxed) >=
            limit ||
        gev__sys_mprotect(low, GEV__STACK_GUARD, PROT_NONE) < 0) {
        atomic_fetch_sub_explicit(&protected_guards, 1, memory_order_relaxed);
        return -ENOMEM;
    }
    return 1;
}

const char *gev__stack_guard_kind(void)
{
    return atomic_load_explicit(&guard_by_mprotect, memory_order_relaxed)
               ? "mprotect"
               : "madvise";
}

void gev__stack_force_mprotect(bool on)
{
    atomic_store_explicit(&guard_by_mprotect, on, memory_order_relaxed);
}

/* --- slots ---------------------------------------------------------------- */

static struct gev_greenlet *control_of(char *slot, size_t size, unsigned colour)
{
    size_t control = (sizeof(struct gev_greenlet) + CACHE_LINE - 1) &
                     ~(size_t)(CACHE_LINE - 1);
    return (struct gev_greenlet *)(void *)(slot + size - control -
                                           (size_t)colour * CACHE_LINE);
}

/* Slots are aligned to their size. */
static char *slot_of(const struct gev_greenlet *g, size_t size)
{
    return (char *)((uintptr_t)g & ~(uintptr_t)(size - 1));
}

static size_t class_slot(unsigned class)
{
    return (size_t)1 << (GEV__SLOT_SHIFT + class);
}

/* An aligned mapping. The kernel places mappings side by side, so after the
 * first one the next is aligned by itself (and merges with its neighbour);
 * otherwise maps more and gives the ends back. */
static char *map_aligned(size_t size, size_t alignment)
{
    int error;
    char *p = gev__sys_mmap(size, &error);
    if (p != NULL && ((uintptr_t)p & (alignment - 1)) == 0) {
        return p;
    }
    if (p != NULL) {
        gev__sys_munmap(p, size);
    }
    p = gev__sys_mmap(size + alignment, &error);
    if (p == NULL) {
        return NULL;
    }
    char *aligned =
        (char *)(((uintptr_t)p + alignment - 1) & ~(uintptr_t)(alignment - 1));
    if (aligned > p) {
        gev__sys_munmap(p, (size_t)(aligned - p));
    }
    size_t tail = (size_t)(p + alignment - aligned);
    if (tail > 0) {
        gev__sys_munmap(aligned + size, tail);
    }
    return aligned;
}

/* As many slots again as there are, within bounds. */
static int add_chunk(struct gev__stack_class *c)
{
    size_t bytes = (size_t)c->n_slots * c->slot;
    bytes = bytes < CHUNK_BYTES_MIN ? CHUNK_BYTES_MIN : bytes;
    bytes = bytes > CHUNK_BYTES_MAX ? CHUNK_BYTES_MAX : bytes;
    bytes = bytes < c->slot ? c->slot : bytes;
    uint32_t slots = (uint32_t)(bytes / c->slot);

    struct gev__chunk *chunk = gev__malloc(sizeof(*chunk));
    if (chunk == NULL) {
        return -ENOMEM;
    }
    struct gev_greenlet **free_list =
        gev__reallocarray(c->free, c->n_slots + slots, sizeof(*c->free));
    if (free_list == NULL) {
        gev__free(chunk);
        return -ENOMEM;
    }
    c->free = free_list;
    chunk->base = map_aligned(bytes, c->slot);
    if (chunk->base == NULL) {
        gev__free(chunk);
        return -ENOMEM;
    }
    /* A huge page under a stack's top would make 2 MiB resident. */
    gev__sys_madvise(chunk->base, bytes, MADV_NOHUGEPAGE);
    chunk->slots = slots;
    chunk->used = 0;
    chunk->protected_guards = 0;
    chunk->next = c->chunks;
    c->chunks = chunk;
    c->n_slots += slots;
    return 0;
}

/* A slot nobody had before. */
static GEV__COLD int take_new_slot(struct gev__stack_class *c, unsigned class,
                                   struct gev_greenlet **ret_greenlet)
{
    if (c->slot == 0) {
        c->slot = class_slot(class);
    }
    if (c->chunks == NULL || c->chunks->used == c->chunks->slots) {
        int rc = add_chunk(c);
        if (rc < 0) {
            return rc;
        }
    }
    struct gev__chunk *chunk = c->chunks;
    char *slot = chunk->base + (size_t)chunk->used * c->slot;
    int rc = install_guard(slot);
    if (rc < 0) {
        return rc;
    }
    chunk->protected_guards += (uint32_t)rc;
    unsigned colour = chunk->used % COLOURS;
    struct gev_greenlet *g = control_of(slot, c->slot, colour);
    chunk->used++;
    char *low = slot + GEV__STACK_GUARD;
    gev__sanitize_new_slot(&g->sanitizer, low, (size_t)((char *)g - low));
    g->stack_class = (uint8_t) class;
    *ret_greenlet = g;
    return 0;
}

int gev__stack_get(struct gev__stacks *s, size_t size,
                   struct gev_greenlet **ret_greenlet)
{
    unsigned class = 0;
    while (class_slot(class) - GEV__STACK_GUARD < size) {
        if (++class == GEV__STACK_CLASSES) {
            return -ENOMEM;
        }
    }
    struct gev_greenlet *g = gev__stack_take(&s->classes[class]);
    if (g == NULL) {
        return take_new_slot(&s->classes[class], class, ret_greenlet);
    }
    g->stack_class = (uint8_t) class; /* trimmed memory reads as zeros */
    *ret_greenlet = g;
    return 0;
}

/* Gives back the memory of free[n_trimmed .. end). */
static void trim_class(struct gev__stack_class *c, uint32_t end)
{
    for (; c->n_trimmed < end; c->n_trimmed++) {
        struct gev_greenlet *g = c->free[c->n_trimmed];
        char *slot = slot_of(g, c->slot);
        char *low = slot + GEV__STACK_GUARD;
        char *high = slot + c->slot;
        if (gev__sanitize_keeps_control()) {
            high = (char *)((uintptr_t)g & ~(uintptr_t)4095);
        }
        gev__sys_madvise(low, (size_t)(high - low), MADV_DONTNEED);
    }
}

#define TRIM_INTERVAL GEV__SEC

int64_t gev__stack_trim(struct gev__stacks *s, int64_t now)
{
    bool due = now - s->last_trim >= TRIM_INTERVAL;
    bool again = false;

    for (unsigned i = 0; i < GEV__STACK_CLASSES; i++) {
        struct gev__stack_class *c = &s->classes[i];
        if (due) {
            if (c->low_water > c->n_trimmed) {
                trim_class(c, c->low_water);
            }
            c->low_water = c->n_free;
        }
        again = again || c->n_free - c->n_trimmed > GEV__STACK_WATERMARK;
    }
    if (due) {
        s->last_trim = now;
    }
    return again ? s->last_trim + TRIM_INTERVAL : GEV__NEVER;
}

void gev__stack_foreach(struct gev__stacks *s,
                        void (*fn)(struct gev_greenlet *g, void *arg),
                        void *arg)
{
    for (unsigned i = 0; i < GEV__STACK_CLASSES; i++) {
        struct gev__stack_class *c = &s->classes[i];
        for (struct gev__chunk *k = c->chunks; k != NULL; k = k->next) {
            for (uint32_t n = 0; n < k->used; n++) {
                struct gev_greenlet *g = control_of(
                    k->base + (size_t)n * c->slot, c->slot, n % COLOURS);
                if (g->state != GEV__FREE) {
                    fn(g, arg);
                }
            }
        }
    }
}

void gev__stack_fini(struct gev__stacks *s)
{
    for (unsigned i = 0; i < GEV__STACK_CLASSES; i++) {
        struct gev__stack_class *c = &s->classes[i];
        while (c->chunks != NULL) {
            struct gev__chunk *k = c->chunks;
            c->chunks = k->next;
            for (uint32_t n = 0; n < k->used; n++) {
                struct gev_greenlet *g = control_of(
                    k->base + (size_t)n * c->slot, c->slot, n % COLOURS);
                gev__sanitize_reuse(&g->sanitizer);
                gev__sanitize_end_slot(&g->sanitizer);
            }
            atomic_fetch_sub_explicit(&protected_guards,
                                      (long)k->protected_guards,
                                      memory_order_relaxed);
            gev__sys_munmap(k->base, (size_t)k->slots * c->slot);
            gev__free(k);
        }
        gev__free(c->free);
    }
    memset(s, 0, sizeof(*s));
}

long gev__stack_touched(const struct gev_greenlet *g)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *low = gev__stack_low(g);
    char *high = (char *)(((uintptr_t)g + page - 1) & ~(uintptr_t)(page - 1));
    unsigned char map[64];

    /* From the low end, window by window, to the first resident page. */
    for (char *p = low; p < high;) {
        size_t pages = (size_t)(high - p) / page;
        pages = pages > sizeof(map) ? sizeof(map) : pages;
        int rc = gev__sys_mincore(p, pages * page, map);
        if (rc < 0) {
            return rc;
        }
        for (size_t i = 0; i < pages; i++, p += page) {
            if (map[i] & 1) {
                return (long)(high - p);
            }
        }
    }
    return 0;
}
