/* SPDX-License-Identifier: MIT */
#include "hub/hub.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "hub/cancel.h"
#include "hub/defer.h"
#include "hub/fd.h"
#include "hub/fork.h"
#include "hub/greenlet.h"
#include "hub/hook.h"
#include "hub/kill.h"
#include "hub/link.h"
#include "hub/local.h"
#include "hub/loop.h"
#include "hub/overflow.h"
#include "hub/sched.h"
#include "hub/switch.h"
#include "hub/task.h"

#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

/* libev's callbacks, rawlinks, posts and c-ares run on the hub's stack. */
#define HUB_STACK ((size_t)256 * 1024 * GEV__STACK_FACTOR - GEV__STACK_GUARD)

/* A closing hub kills what is left this many times at most. */
#define CLOSE_ROUNDS 100

_Thread_local struct gev_hub *gev__thread_hub;
_Thread_local struct gev_hub *gev__thread_hub_without_hooks;

static pthread_key_t thread_key; /* closes a thread's hub when it ends */
static atomic_int hubs;          /* not yet freed, in all threads */

/* libstdc++'s and libc++abi's per-thread state of exceptions being handled; not
 * there in a C program. */
extern void *__cxa_get_globals(void) __attribute__((weak));

/* --- making --------------------------------------------------------------- */

static void *run_hub(void *arg)
{
    gev__hub_main(arg);
}

static void init_special(struct gev_hub *hub, struct gev_greenlet *g,
                         const char *name)
{
    g->hub = hub;
    g->flags = GEV__STARTED | GEV__UNDER_HUB | GEV__BEGUN;
    g->refs = GEV__REFS_OF_HUB;
    gev__list_init(&g->links);
    g->timer.pos = GEV__TIMER_IDLE;
    g->name = name;
    g->site = "";
    gev__fp_save(&g->fp);
}

static int make_hub_greenlet(struct gev_hub *hub)
{
    struct gev_greenlet *g;
    int rc = gev__stack_get(&hub->stacks, HUB_STACK, &g);

    if (rc < 0) {
        return rc;
    }
    gev__context_make(&g->ctx, gev__stack_low(g), g);
    init_special(hub, g, "hub");
    g->state = GEV__READY;
    g->alerts = GEV__ALERT_NOPARK;
    g->fn = run_hub;
    g->arg = hub;
    g->parent = &hub->main_storage;
    g->id = 0;
    hub->hub_greenlet = g;
    return 0;
}

static void make_main_greenlet(struct gev_hub *hub)
{
    struct gev_greenlet *g = &hub->main_storage;
    pthread_attr_t attr;

    init_special(hub, g, "main");
    g->state = GEV__RUNNING;
    g->id = hub->next_id = 1;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        void *low = NULL;
        size_t size = 0;
        pthread_attr_getstack(&attr, &low, &size);
        pthread_attr_destroy(&attr);
        gev__sanitize_stack(&g->sanitizer, low, size);
    }
    gev__sanitize_thread(&g->sanitizer);
    hub->main_greenlet = g;
    hub->current = g;
}

static void close_at_thread_end(void *arg);

static void make_key(void)
{
    pthread_key_create(&thread_key, close_at_thread_end);
    gev__fork_install();
}

static void init_hub(struct gev_hub *hub)
{
    hub->errno_location = &errno;
    hub->clock_credit = 1;
    hub->clock_granted = 1;
    hub->wakeup_fd = -1;
    gev__list_init(&hub->ended);
    gev__list_init(&hub->fresh_fds);
    gev__list_init(&hub->idlers);
    gev__list_init(&hub->modules);
    gev__list_init(&hub->spawn_hooks);
    hub->timeouts_mark.hub = hub;
    hub->now = gev__clock_now();
    hub->last_poll = hub->now;
    hub->last_check = hub->now;
    gev__timer_init(&hub->retry, NULL);
    gev__fp_save(&hub->fp);
    if (__cxa_get_globals != NULL) {
        hub->eh_globals = __cxa_get_globals();
    }
}

static void free_hub(struct gev_hub *hub)
{
    gev__stack_fini(&hub->stacks);
    gev__free(hub->memory);
    atomic_fetch_sub(&hubs, 1);
}

/* Everything but the stacks and the hub itself. */
static void close_parts(struct gev_hub *hub)
{
    struct gev__list *node;

    while ((node = gev__list_pop(&hub->modules)) != NULL) {
        struct gev__hub_module *m =
            gev__container_of(node, struct gev__hub_module, link);
        m->close(m, hub);
    }
    gev__tasks_fini(hub);
    gev__spawn_hooks_fini(hub);
    gev__scopes_fini(hub);
    gev__loop_close(hub);
    gev__fd_fini(hub);
    for (unsigned i = 0; i < GEV__TIMER_CLASSES; i++) {
        gev__heap_fini(&hub->timers[i]);
    }
    if (hub->ev != NULL) {
        for (unsigned i = 0; i < GEV__EV_RESERVES; i++) {
            gev__free(hub->ev->reserves[i]);
        }
        gev__free(hub->ev);
        hub->ev = NULL;
    }
}

/* On a cache line of its own, and so is main in it. */
static struct gev_hub *allocate_hub(void)
{
    const uintptr_t line = alignof(struct gev_hub);
    char *memory = gev__calloc(1, sizeof(struct gev_hub) + line - 1);

    if (memory == NULL) {
        return NULL;
    }
    struct gev_hub *hub =
        (void *)(((uintptr_t)memory + line - 1) & ~(line - 1));
    hub->memory = memory;
    hub->thread = &gev__thread_hub;
    return hub;
}

static int make_hub(struct gev_hub **ret_hub)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct gev_hub *hub;

    pthread_once(&once, make_key);
    hub = allocate_hub();
    if (hub == NULL) {
        return -ENOMEM;
    }
    atomic_fetch_add(&hubs, 1);
    init_hub(hub);
    make_main_greenlet(hub);
    gev__thread_hub = hub; /* libev's allocator looks for its reserve here */
    int rc = make_hub_greenlet(hub);
    if (rc == 0) {
        rc = gev__loop_open(hub);
    }
    if (rc == 0) {
        rc = gev__overflow_thread_init();
    }
    if (rc == 0 && pthread_setspecific(thread_key, hub) != 0) {
        rc = -ENOMEM;
    }
    if (rc < 0) {
        close_parts(hub);
        gev__thread_hub = NULL;
        free_hub(hub);
        return rc;
    }
    gev__thread_hub_without_hooks = hub;
    *ret_hub = hub;
    return 0;
}

int gev__hub_find(struct gev_hub **ret_hub)
{
    *ret_hub = gev__thread_hub;
    return *ret_hub != NULL ? 0 : make_hub(ret_hub);
}

struct gev_hub *gev__hub_make_or_null(void)
{
    struct gev_hub *hub = NULL;
    int rc = make_hub(&hub);

    return rc < 0 ? gev__ret_null(rc) : hub;
}

void gev__hub_add_module(struct gev_hub *hub, struct gev__hub_module *m)
{
    gev__list_push_back(&hub->modules, &m->link);
}

/* What a library outside wants done when the hub closes. */
struct deferred {
    struct gev__hub_module module;
    void (*fn)(void *);
    void *arg;
};

static void run_deferred(struct gev__hub_module *m, struct gev_hub *hub)
{
    struct deferred *d = gev__container_of(m, struct deferred, module);
    struct gev_greenlet *g = hub->current;
    void (*fn)(void *) = d->fn;
    void *arg = d->arg;

    gev__free(d);
    g->alerts |= GEV__ALERT_NOPARK;
    fn(arg);
    g->alerts &= (uint8_t)~GEV__ALERT_NOPARK;
}

/* It is the library's business what a fork means to it. */
static void keep_deferred(struct gev__hub_module *m, struct gev_hub *hub)
{
    (void)m;
    (void)hub;
}

static int defer_to_close(struct gev_hub *hub, void (*fn)(void *), void *arg)
{
    if (fn == NULL) {
        return -EINVAL;
    }
    struct deferred *d = gev__malloc(sizeof(*d));
    if (d == NULL) {
        return -ENOMEM;
    }
    d->module.close = run_deferred;
    d->module.forked = keep_deferred;
    d->fn = fn;
    d->arg = arg;
    gev__list_push_front(&hub->modules, &d->module.link);
    return 0;
}

/* --- closing -------------------------------------------------------------- */

/* One round: whoever has not begun is cancelled, the others are killed. */
static void end_one(struct gev_greenlet *g, void *arg)
{
    struct gev_hub *hub = arg;

    if (g == hub->hub_greenlet || g == hub->main_greenlet ||
        g->state == GEV__DEAD) {
        return;
    }
    gev__kill_anywhere(g);
}

/* Parks main, whatever its own kills and scopes, until no greenlet is left or
 * what is left waits for nothing. */
static void wait_for_the_last(struct gev_hub *hub)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_CLOSE};

    hub->current->alerts = 0;
    gev__park(hub, what);
}

/* First shields hold, and cleanups that wait for something get it; when all
 * that is left waits for nothing, shields hold no more. */
static void end_greenlets(struct gev_hub *hub)
{
    hub->closing = 1;
    for (int i = 0; i < CLOSE_ROUNDS; i++) {
        gev__stack_foreach(&hub->stacks, end_one, hub);
        if (hub->live == 0 && !hub->kicked && hub->ready_head == NULL) {
            break;
        }
        if (hub->live == 0) {
            /* Only work for the hub: links, and the dead in the queue. */
            gev__hub_requeue(hub);
            gev__yield(hub);
            continue;
        }
        wait_for_the_last(hub);
        if (hub->live > 0) {
            hub->closing = 2;
        }
    }
}

/* Nothing refers to nodes on that stack any more. */
static void let_go(struct gev_greenlet *g, void *arg)
{
    (void)arg;
    if (g->flags & GEV__STACK_IN_USE) {
        g->flags &= (uint16_t)~GEV__STACK_IN_USE;
        gev__list_init(&g->links); /* of joiners that are gone */
        gev__greenlet_unref(g);
    }
}

/* Whoever still refers to a slot; also the greenlet that forked and is main
 * here: it stands on its own until the process ends. */
static void count_handle(struct gev_greenlet *g, void *arg)
{
    struct gev_hub *hub = arg;

    if (g != hub->hub_greenlet) {
        hub->handles++;
    }
}

/* main and the hub greenlet end with the hub, handles of them do not. */
static void end_special(struct gev_hub *hub, struct gev_greenlet *g)
{
    g->state = GEV__DEAD;
    g->refs -= GEV__REFS_OF_HUB;
    g->parent = NULL;
    hub->handles += g->refs > 0;
}

void gev__hub_handle_gone(struct gev_hub *hub)
{
    if (--hub->handles == 0) {
        free_hub(hub);
    }
}

/* Main's defers and locals, then those that callbacks have left in the hub,
 * which has no end of its own. */
static void do_last_things(struct gev_hub *hub, struct gev_greenlet *main_g)
{
    struct gev_greenlet *hub_g = hub->hub_greenlet;

    gev__defers_run(main_g);
    gev__locals_end(main_g);
    main_g->defers = hub_g->defers;
    main_g->locals = hub_g->locals;
    hub_g->defers = NULL;
    hub_g->locals = NULL;
    gev__defers_run(main_g);
    gev__locals_end(main_g);
}

/* On main's stack. */
static void close_hub(struct gev_hub *hub)
{
    struct gev_greenlet *main_g = hub->main_greenlet;

    gev__cancel_fini(main_g);
    main_g->alerts = 0;
    main_g->shields = 0;
    end_greenlets(hub);
    do_last_things(hub, main_g);
    end_greenlets(hub);          /* what those spawned */
    do_last_things(hub, main_g); /* of callbacks meanwhile */
    gev__cancel_fini(main_g);
    gev__links_drop(main_g);
    if (main_g->linked != NULL) {
        gev__greenlet_unref(main_g->linked);
        main_g->linked = NULL;
    }
    if (main_g->flags & GEV__OWN_NAME) {
        gev__free((void *)(uintptr_t)main_g->name);
        main_g->flags &= (uint16_t)~GEV__OWN_NAME;
        main_g->name = "main";
    }
    close_parts(hub);
    gev__thread_hub = NULL;
    gev__thread_hub_without_hooks = NULL;
    pthread_setspecific(thread_key, NULL);
    gev__stack_foreach(&hub->stacks, let_go, NULL);
    end_special(hub, &hub->main_storage);
    end_special(hub, hub->hub_greenlet);
    hub->closed = true;
    gev__stack_foreach(&hub->stacks, count_handle, hub);
    if (hub->handles == 0) {
        free_hub(hub);
    }
}

/* Takes main off the ready queue. */
static void unqueue_main(struct gev_hub *hub)
{
    struct gev_greenlet **link = &hub->ready_head;
    struct gev_greenlet *last = NULL;

    while (*link != NULL) {
        if (*link == hub->main_greenlet) {
            *link = (*link)->ready_next;
        } else {
            last = *link;
            link = &last->ready_next;
        }
    }
    hub->ready_tail = last;
}

/* After pthread_exit in a greenlet: its frames are gone and so are main's, on
 * whose stack this runs. */
static void leave_current(struct gev_hub *hub)
{
    struct gev_greenlet *g = hub->current;

    unqueue_main(hub);
    gev__timer_disarm(hub, &hub->main_greenlet->timer);
    hub->current = hub->main_greenlet;
    hub->main_greenlet->state = GEV__RUNNING;
    if (g == hub->hub_greenlet) {
        g->state = GEV__READY; /* it goes on where it last switched */
        return;
    }
    gev__greenlet_drop(g);
    if (!(g->flags & GEV__UNDER_HUB)) {
        gev__greenlet_ref(g);
    }
    g->flags |= GEV__STACK_IN_USE; /* by nodes of waits it was in, or of who
                                      waits for it */
    gev__list_init(&g->links);
}

/* A thread ends with its hub open. */
static void close_at_thread_end(void *arg)
{
    struct gev_hub *hub = arg;

    if (hub != gev__thread_hub) {
        return;
    }
    if (hub->current != hub->main_greenlet) {
        leave_current(hub);
    }
    close_hub(hub);
}

int gev__hub_close(void)
{
    struct gev_hub *hub = gev__thread_hub;

    if (hub == NULL) {
        return 0;
    }
    if (hub->current != hub->main_greenlet ||
        (hub->current->alerts & GEV__ALERT_NOPARK)) {
        return -EPERM;
    }
    close_hub(hub);
    return 0;
}

/* --- running -------------------------------------------------------------- */

static int run(struct gev_hub *hub, double timeout)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_RUN};
    int64_t deadline;
    int rc = gev__deadline(hub, timeout, &deadline);

    if (rc < 0) {
        return rc;
    }
    if (hub->current != hub->main_greenlet) {
        return -EPERM;
    }
    if (deadline == 0 && hub->live == 0 && !gev__hub_waits(hub)) {
        return 0;
    }
    return gev__park_until(hub, what, deadline);
}

/* --- public --------------------------------------------------------------- */

gev_hub *gev_hub_get(void)
{
    return gev__hub_get();
}

struct ev_loop *gev_hub_loop(gev_hub *hub)
{
    return hub == NULL ? NULL : hub->loop;
}

int gev_hub_close(void)
{
    return (int)gev__ret(gev__hub_close());
}

int gev_hub_defer(void (*fn)(void *), void *arg)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(defer_to_close(hub, fn, arg));
}

int gev_run(double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(run(hub, timeout));
}

static size_t count_ready(const struct gev_hub *hub)
{
    size_t n = 0;

    for (const struct gev_greenlet *g = hub->ready_head; g != NULL;
         g = g->ready_next) {
        n += g->state == GEV__READY && g != hub->hub_greenlet;
    }
    return n;
}

void gev_hub_stats(gev_hub *hub, gev_stats *stats)
{
    if (hub == NULL || stats == NULL) {
        return;
    }
    size_t size = stats->size == 0 || stats->size > sizeof(gev_stats)
                      ? sizeof(gev_stats)
                      : stats->size;
    gev_stats s = {
        .size = size,
        .switches = hub->switches,
        .turns = hub->turns,
        .spawned = hub->spawned,
        .live = hub->live,
        .peak = hub->peak,
        .ready = count_ready(hub),
        .timers = hub->timers[GEV__SLEEPS].count +
                  (size_t)hub->timers[GEV__TIMEOUTS].count,
        .fds = gev__fd_count_waited(hub),
        .lag = (double)hub->lag / 1e9,
    };
    memcpy(stats, &s, size);
}

int gev_set_allocator(void *(*realloc_fn)(void *p, size_t n))
{
    if (atomic_load(&hubs) > 0) {
        return (int)gev__ret(-EBUSY);
    }
    gev__alloc_set(realloc_fn);
    return 0;
}
