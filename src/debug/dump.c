/* SPDX-License-Identifier: MIT */

/* gev_dump and gev_stack_used: reads every layer, changes none. */

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/strerror.h"
#include "debug/census.h"
#include "hub/local.h"
#include "hub/sched.h"
#include "sync/deadlock.h"

#include <gev/debug.h>

#include <stdlib.h>
#include <string.h>

/* The greenlets of a hub, by id, and again by spawner and id: the children of
 * one stand together. */
struct census {
    struct gev__census all;
    struct gev_greenlet **by_spawner;
};

static int compare_numbers(uint64_t x, uint64_t y)
{
    return (x > y) - (x < y);
}

static int compare_spawners(const void *a, const void *b)
{
    const struct gev_greenlet *x = *(struct gev_greenlet *const *)a;
    const struct gev_greenlet *y = *(struct gev_greenlet *const *)b;
    int order = compare_numbers(x->spawner, y->spawner);

    return order != 0 ? order : compare_numbers(x->id, y->id);
}

static int take_census(struct gev_hub *hub, struct census *c)
{
    const size_t size = sizeof(struct gev_greenlet *);
    int rc = gev__census_take(hub, &c->all);

    if (rc < 0) {
        return rc;
    }
    c->by_spawner = gev__reallocarray(NULL, c->all.n, size);
    if (c->by_spawner == NULL) {
        gev__census_free(&c->all);
        return -ENOMEM;
    }
    memcpy(c->by_spawner, c->all.by_id, c->all.n * size);
    qsort(c->by_spawner, c->all.n, size, compare_spawners);
    return 0;
}

/* The greenlet of that id, or NULL. */
static const struct gev_greenlet *find(const struct census *c, uint64_t id)
{
    size_t low = 0;
    size_t high = c->all.n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (c->all.by_id[mid]->id == id) {
            return c->all.by_id[mid];
        }
        if (c->all.by_id[mid]->id < id) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return NULL;
}

/* Where the children of a spawner with ids from id on begin in by_spawner. */
static size_t first_child(const struct census *c, uint64_t spawner, uint64_t id)
{
    size_t low = 0;
    size_t high = c->all.n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct gev_greenlet *g = c->by_spawner[mid];
        if (g->spawner < spawner || (g->spawner == spawner && g->id < id)) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static const char *state_word(const struct gev_greenlet *g)
{
    static const char *const words[] = {
        "free", "new", "ready", "running", "parked", "suspended", "dead"};

    if (g == g->hub->hub_greenlet && g->state == GEV__READY) {
        return "waiting";
    }
    return words[g->state];
}

/* What g waits for, of the kinds that have nothing to say but where it is. */
static const char *object_word(const struct gev_greenlet *g)
{
    static const char *const words[] = {
        [GEV__WAIT_WAITER] = "waiter",
        [GEV__WAIT_EVENT] = "event",
        [GEV__WAIT_RESULT] = "result",
        [GEV__WAIT_SEMAPHORE] = "semaphore",
        [GEV__WAIT_LOCK] = "lock",
        [GEV__WAIT_COND] = "condition",
        [GEV__WAIT_BARRIER] = "barrier",
        [GEV__WAIT_RWLOCK] = "read-write lock",
        [GEV__WAIT_QUEUE_GET] = "a get from queue",
        [GEV__WAIT_QUEUE_PUT] = "a put to queue",
        [GEV__WAIT_QUEUE_JOIN] = "the end of queue",
        [GEV__WAIT_CHANNEL_SEND] = "a send to channel",
        [GEV__WAIT_CHANNEL_RECV] = "a receive from channel",
        [GEV__WAIT_GROUP] = "group",
        [GEV__WAIT_THREADPOOL] = "thread pool",
        [GEV__WAIT_PROCESS] = "process",
        [GEV__WAIT_WORKERS] = "workers",
        [GEV__WAIT_STREAM] = "stream",
        [GEV__WAIT_SERVER] = "server",
    };
    const uint32_t kind = g->wait_kind & ~GEV__WAIT_DIRECT;
    const char *word = kind < gev__array_len(words) ? words[kind] : NULL;

    return word != NULL ? word : "object";
}

/* Who has the lock that g waits for. */
static void print_holder(FILE *out, const struct gev_greenlet *g)
{
    const struct gev_greenlet *holder = gev__deadlock_holder(g);

    if (holder != NULL) {
        fprintf(out, " held by %llu \"%s\"", (unsigned long long)holder->id,
                holder->name);
    }
}

static void print_wait(FILE *out, const struct gev_greenlet *g)
{
    long number = (long)(intptr_t)g->wait_object;
    const struct gev_greenlet *other = g->wait_object;

    switch ((enum gev__wait_kind)(g->wait_kind & ~GEV__WAIT_DIRECT)) {
    case GEV__WAIT_NONE:
        break;
    case GEV__WAIT_SLEEP:
        fprintf(out, " sleeping");
        break;
    case GEV__WAIT_JOIN:
        if (other == NULL) {
            fprintf(out, " joining");
            break;
        }
        fprintf(out, " joining %llu \"%s\"", (unsigned long long)other->id,
                other->name);
        break;
    case GEV__WAIT_FD:
        fprintf(out, " on fd %ld to %s", number,
                g->wait_events == GEV_READ    ? "read"
                : g->wait_events == GEV_WRITE ? "write"
                                              : "read or write");
        break;
    case GEV__WAIT_POLL:
        fprintf(out, " polling %ld descriptors", number);
        break;
    case GEV__WAIT_DNS:
        fprintf(out, " resolving \"%s\"", (const char *)g->wait_object);
        break;
    case GEV__WAIT_SIGNAL:
        fprintf(out, " on signal %ld", number);
        break;
    case GEV__WAIT_CHILD:
        fprintf(out, " on child %ld", number);
        break;
    case GEV__WAIT_IDLE:
        fprintf(out, " until the hub is idle");
        break;
    case GEV__WAIT_CLOSE:
        fprintf(out, " until the hub is closed");
        break;
    case GEV__WAIT_RUN:
        fprintf(out, " until nothing is left to run");
        break;
    case GEV__WAIT_SEVERAL:
        fprintf(out, " on %ld object%s", number, number == 1 ? "" : "s");
        break;
    default:
        fprintf(out, " on %s", object_word(g));
        if (g->wait_object != NULL) { /* the hub's own thread pool */
            fprintf(out, " %p", g->wait_object);
        }
        print_holder(out, g);
        break;
    }
}

static void print_one(FILE *out, const struct gev_greenlet *g, unsigned depth,
                      int64_t now)
{
    for (unsigned i = 0; i < depth; i++) {
        fputs("  ", out);
    }
    fprintf(out, "%llu \"%s\"", (unsigned long long)g->id, g->name);
    if (g->site[0] != '\0') {
        fprintf(out, " %s", g->site);
    }
    fprintf(out, " %s", state_word(g));
    if (g->state == GEV__PARKED) {
        print_wait(out, g);
        fprintf(out, " for %.3f s", (double)(now - g->parked_at) / 1e9);
    }
    if (g->state == GEV__DEAD && g->error != 0) {
        fprintf(out, " (%s)", gev__strerror(g->error));
    }
    if (g->alerts & GEV__ALERT_KILLED) {
        fputs(" killed", out);
    }
    if (g->locals != NULL) {
        fprintf(out, " %zu locals", gev__locals_count(g));
    }
    fputc('\n', out);
}

#define DEPTH_MAX 64u

/* All below a root, each child with its own below it. No recursion: the stack
 * may be small and the chain long. One that is longer than anybody reads is
 * printed flat. */
static void print_below(FILE *out, const struct census *c,
                        const struct gev_greenlet *root, int64_t now)
{
    const struct gev_greenlet *g = root;
    unsigned depth = 0;
    size_t i = first_child(c, g->id, 2); /* hub and main are roots */

    for (;;) {
        if (i < c->all.n && c->by_spawner[i]->spawner == g->id) {
            g = c->by_spawner[i];
            depth++;
            print_one(out, g, depth < DEPTH_MAX ? depth : DEPTH_MAX, now);
            i = first_child(c, g->id, 2);
        } else if (g != root) {
            i = first_child(c, g->spawner, g->id + 1);
            g = find(c, g->spawner);
            depth--;
        } else {
            return;
        }
    }
}

static int dump(struct gev_hub *hub, FILE *out)
{
    struct census c;
    int64_t now = gev__clock_now();
    int rc = take_census(hub, &c);

    if (rc < 0) {
        return rc;
    }
    fprintf(out, "gev: %zu greenlets, %llu switches, %llu turns\n", c.all.n,
            (unsigned long long)hub->switches, (unsigned long long)hub->turns);
    for (size_t i = 0; i < c.all.n; i++) {
        const struct gev_greenlet *g = c.all.by_id[i];
        /* Roots: hub, main, and those whose spawner is gone. */
        if (g->id <= 1 || find(&c, g->spawner) == NULL) {
            print_one(out, g, 0, now);
            print_below(out, &c, g, now);
        }
    }
    gev__free(c.by_spawner);
    gev__census_free(&c.all);
    return ferror(out) ? -EIO : 0;
}

/* --- public --------------------------------------------------------------- */

int gev_dump(FILE *out)
{
    struct gev_hub *hub = gev__hub_get();

    if (hub == NULL) {
        return -1;
    }
    return (int)gev__ret(out == NULL ? -EINVAL : dump(hub, out));
}

ssize_t gev_stack_used(const gev_greenlet *g)
{
    if (g == NULL) {
        return gev__ret(-EINVAL);
    }
    if (g == &g->hub->main_storage) {
        return 0;
    }
    return gev__ret(gev__stack_touched(g));
}
