/* SPDX-License-Identifier: MIT */
#include "hub/loop.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/sys.h"
#include "hub/cancel.h"
#include "hub/fd.h"
#include "hub/link.h"
#include "hub/raw.h"
#include "hub/sched.h"
#include "hub/switch.h"
#include "hub/task.h"

/* --- opening -------------------------------------------------------------- */

static void on_timer(struct ev_loop *loop, ev_timer *w, int events)
{
    struct gev_hub *hub = ev_userdata(loop);

    (void)w;
    (void)events;
    /* libev has stopped it and so dropped the reference we dropped before. */
    ev_ref(loop);
    hub->ev->timer_at = GEV__NEVER;
}

static void on_wakeup(struct ev_loop *loop, ev_io *w, int events)
{
    uint64_t count;

    (void)loop;
    (void)events;
    gev__sys_read(w->fd, &count, sizeof(count));
}

int gev__loop_open(struct gev_hub *hub)
{
    if (hub->ev == NULL) {
        hub->ev = gev__calloc(1, sizeof(*hub->ev));
        if (hub->ev == NULL) {
            return -ENOMEM;
        }
    }
    struct gev__ev *ev = hub->ev;
    int rc = gev__loop_reserve_memory(hub, 0);
    if (rc < 0) {
        return rc;
    }
    gev__loop_set_allocator();
    int fd = gev__sys_eventfd();
    if (fd < 0) {
        return fd;
    }
    /* Fork is seen by pthread_atfork: FORKCHECK would cost a getpid a turn. */
    *hub->errno_location = 0;
    hub->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (hub->loop == NULL) {
        gev__sys_close(fd);
        return *hub->errno_location > 0 ? -*hub->errno_location : -EMFILE;
    }
    ev_set_userdata(hub->loop, hub);
    hub->wakeup_fd = fd;
    ev->timer_at = GEV__NEVER;
    ev_timer_init(&ev->timer, on_timer, 0, 0);
    ev_io_init(&ev->wakeup, on_wakeup, fd, EV_READ);
    ev_io_start(hub->loop, &ev->wakeup);
    ev_unref(hub->loop);
    return 0;
}

void gev__loop_close(struct gev_hub *hub)
{
    if (hub->loop != NULL) {
        ev_loop_destroy(hub->loop);
        hub->loop = NULL;
        if (hub->wakeup_fd >= 0) {
            gev__sys_close(hub->wakeup_fd);
            hub->wakeup_fd = -1;
        }
    }
}

void gev__loop_renew_wakeup(struct gev_hub *hub)
{
    ev_io *w = &hub->ev->wakeup;

    if (ev_is_active(w)) {
        ev_ref(hub->loop);
        ev_io_stop(hub->loop, w);
        gev__sys_close(hub->wakeup_fd);
    }
    hub->wakeup_fd = gev__sys_eventfd();
    if (hub->wakeup_fd >= 0) {
        ev_io_set(w, hub->wakeup_fd, EV_READ);
        ev_io_start(hub->loop, w);
        ev_unref(hub->loop);
    }
}

/* --- timers --------------------------------------------------------------- */

static void disarm_loop_timer(struct gev_hub *hub)
{
    if (hub->ev->timer_at != GEV__NEVER) {
        ev_ref(hub->loop);
        ev_timer_stop(hub->loop, &hub->ev->timer);
        hub->ev->timer_at = GEV__NEVER;
    }
}

/* Has the loop wake at a deadline. False: that has passed, do not block. */
static bool arm_loop_timer(struct gev_hub *hub, int64_t deadline)
{
    struct gev__ev *ev = hub->ev;

    if (deadline == ev->timer_at) {
        return true; /* also: none, and none armed */
    }
    disarm_loop_timer(hub);
    if (deadline == GEV__NEVER) {
        return true;
    }
    /* libev counts from its own time of the last turn. */
    ev_now_update(hub->loop);
    int64_t left = deadline - gev__clock_now();
    if (left <= 0) {
        return false;
    }
    ev_timer_set(&ev->timer, (double)left / 1e9, 0);
    ev_timer_start(hub->loop, &ev->timer);
    ev_unref(hub->loop);
    ev->timer_at = deadline;
    return true;
}

static int64_t next_deadline(const struct gev_hub *hub)
{
    int64_t sleep = gev__heap_next(&hub->timers[GEV__SLEEPS]);
    int64_t timeout = gev__heap_next(&hub->timers[GEV__TIMEOUTS]);

    return sleep < timeout ? sleep : timeout;
}

static void fire_due(struct gev_hub *hub, enum gev__timer_class class,
                     int64_t now)
{
    struct gev__timer *t;

    while ((t = gev__heap_pop_due(&hub->timers[class], now)) != NULL) {
        hub->lag = hub->now - t->deadline;
        t->fire(t);
    }
}

/* After I/O: sleeps fire now; timeouts when the greenlets that are ready by now
 * have run, for what those do in this turn beats a timeout. */
static void fire_timers(struct gev_hub *hub)
{
    fire_due(hub, GEV__SLEEPS, hub->now);
    if (gev__heap_next(&hub->timers[GEV__TIMEOUTS]) > hub->now) {
        return;
    }
    if (hub->ready_head == NULL) {
        fire_due(hub, GEV__TIMEOUTS, hub->now);
    } else if (hub->timeouts_due == 0) {
        hub->timeouts_due = hub->now;
        gev__ready_push(hub, &hub->timeouts_mark, 0);
        hub->timeouts_mark.state = GEV__NEW; /* see pass_over in sched.c */
    }
}

/* --- turns ---------------------------------------------------------------- */

/* How many timers limit main's gev_run: its own and its scopes'. */
static uint32_t count_run_limits(const struct gev_hub *hub)
{
    const struct gev_greenlet *main_g = hub->main_greenlet;

    if (main_g->state != GEV__PARKED || main_g->wait_kind != GEV__WAIT_RUN) {
        return 0;
    }
    uint32_t n = gev__timer_is_armed(&main_g->timer);
    for (const struct gev__scope *s = main_g->scopes; s != NULL; s = s->outer) {
        n += gev__timer_is_armed(&s->timer);
    }
    return n;
}

/* Whether the hub waits for something that may come. libev's count knows the
 * user's watchers; ours are unref'ed. The limits on main's gev_run are nothing
 * to wait for. */
bool gev__hub_waits(struct gev_hub *hub)
{
    uint32_t timers = hub->timers[GEV__SLEEPS].count +
                      hub->timers[GEV__TIMEOUTS].count - count_run_limits(hub);

    return timers > 0 || hub->fd_waiters > 0 || hub->holds > 0 ||
           atomic_load_explicit(&hub->refs, memory_order_relaxed) > 0;
}

/* Nothing is ready and nothing can ever come. */
static void wake_main_from_deadlock(struct gev_hub *hub)
{
    struct gev_greenlet *g = hub->main_greenlet;

    if (g->state == GEV__SUSPENDED) {
        gev__raw_deliver_error(g, EDEADLK);
        gev__ready_push(hub, g, 0);
    } else if (g->wait_kind == GEV__WAIT_RUN ||
               g->wait_kind == GEV__WAIT_CLOSE) {
        gev__wake(g, 0);
    } else {
        gev__wake(g, -EDEADLK);
    }
}

static bool has_work(struct gev_hub *hub)
{
    if (hub->ready_head != NULL || atomic_load(&hub->posts) != NULL) {
        return true;
    }
    return !gev__timer_is_armed(&hub->retry) &&
           (hub->tasks_head != NULL || !gev__list_is_empty(&hub->ended));
}

/* The first idler that is still parked; it has the turn. */
static void wake_idler(struct gev_hub *hub)
{
    gev__list_foreach(node, &hub->idlers) {
        struct gev__idler *idler =
            gev__container_of(node, struct gev__idler, link);
        if (gev__wake(idler->greenlet, 0)) {
            return;
        }
    }
}

/* May the loop block? If so everything is set to be woken. */
static bool prepare_to_block(struct gev_hub *hub)
{
    if (has_work(hub) || !gev__list_is_empty(&hub->idlers)) {
        return false;
    }
    int64_t trim_at = gev__stack_trim(&hub->stacks, hub->now);
    if (gev__clock_is_virtual() && next_deadline(hub) != GEV__NEVER) {
        return false;
    }
    int64_t deadline = next_deadline(hub);
    if (!arm_loop_timer(hub, trim_at < deadline ? trim_at : deadline)) {
        return false;
    }
    atomic_store(&hub->asleep, 1);
    return atomic_load(&hub->posts) == NULL;
}

/* After a fork that found no descriptor for a new loop. */
static void reopen(struct gev_hub *hub)
{
    int rc = gev__loop_open(hub);

    if (rc < 0 && !has_work(hub)) {
        gev__wake(hub->main_greenlet, rc);
    }
}

void gev__loop_turn(struct gev_hub *hub)
{
    if (gev__unlikely(hub->loop == NULL)) {
        reopen(hub);
        return;
    }
    if (gev__unlikely(hub->on_turn != NULL)) {
        hub->on_turn(hub);
    }
    gev__fd_check_fresh(hub);
    bool block = prepare_to_block(hub);
    bool waits = gev__hub_waits(hub);

    if (waits) {
        ev_ref(hub->loop); /* else libev would not block */
    }
    int users = ev_run(hub->loop, block ? EVRUN_ONCE : EVRUN_NOWAIT);
    if (waits) {
        ev_unref(hub->loop);
    }
    atomic_store_explicit(&hub->asleep, 0, memory_order_relaxed);
    hub->turns++;
    hub->now = gev__clock_now();
    hub->last_poll = hub->now;
    fire_timers(hub);
    if (has_work(hub)) {
        return;
    }
    if (!gev__list_is_empty(&hub->idlers)) {
        wake_idler(hub);
    } else if (!waits && users == 0) {
        wake_main_from_deadlock(hub);
    } else if (gev__clock_is_virtual() && next_deadline(hub) != GEV__NEVER) {
        gev__clock_advance_to(next_deadline(hub));
    }
}

/* What is due besides the loop. */
static void do_work(struct gev_hub *hub)
{
    if (hub->timeouts_turn) {
        int64_t due = hub->timeouts_due;
        hub->timeouts_turn = false;
        hub->timeouts_due = 0;
        fire_due(hub, GEV__TIMEOUTS, due);
    }
    if (gev__tasks_pending(hub)) {
        gev__tasks_run(hub);
    }
    if (!gev__list_is_empty(&hub->ended) && !hub->kicked) {
        gev__links_run(hub);
    }
}

_Noreturn void gev__hub_main(struct gev_hub *hub)
{
    struct gev_greenlet *self = hub->hub_greenlet;

    for (;;) {
        if (!hub->poll_due && !hub->timeouts_turn) {
            /* It came by its own place in the queue, or the queue is empty:
             * either way it is not queued any more. */
            hub->kicked = false;
        }
        do_work(hub);
        while (hub->poll_due || hub->ready_head == NULL) {
            hub->poll_due = false;
            gev__loop_turn(hub);
            do_work(hub);
        }
        self->state = GEV__READY; /* it may be what it picks */
        struct gev_greenlet *next = gev__pick(hub);
        if (next != self) {
            gev__switch(hub, self, next);
        }
    }
}
