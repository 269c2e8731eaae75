/* SPDX-License-Identifier: MIT */

/* When processes end, and who reaps them. */
#include "os/process.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/sys.h"
#include "hub/fd.h"
#include "hub/sched.h"

#include <errno.h>
#include <pthread.h>

/* Without a pidfd: how often to look. */
#define LOOK_FIRST (1 * GEV__MS)
#define LOOK_MAX (20 * GEV__MS)

/* A hub's side. */
struct processes {
    struct gev__hub_module module;
    struct gev__list running; /* of gev_process */
};

atomic_uint gev__process_generation;

/* Freed by the user, still running, and their hub is closed. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct gev__list orphans = {&orphans, &orphans}; /* under lock */

/* --- the end -------------------------------------------------------------- */

static void close_pidfd(struct gev_process *p)
{
    if (p->pidfd >= 0) {
        gev__sys_close(p->pidfd);
        p->pidfd = -1;
    }
}

static void destroy(struct gev_process *p)
{
    close_pidfd(p);
    gev__process_free_texts(p);
    gev__free(p);
}

static void release_if_unused(struct gev_process *p)
{
    if (p->freed && p->ended && p->users == 0) {
        destroy(p);
    }
}

static void stop_holding(struct gev_process *p)
{
    if (p->holds) {
        p->holds = false;
        gev__hub_release(p->hub);
    }
}

/* The hub no longer watches it. */
static void unwatch(struct gev_process *p)
{
    struct gev_hub *hub = p->hub;

    if (hub == NULL) {
        return;
    }
    gev__watch_stop(hub, &p->watch);
    gev__timer_disarm(hub, &p->look);
    gev__list_remove(&p->link);
    stop_holding(p);
    p->hub = NULL;
}

/* It has ended: everybody is told. May free it. */
static void end(struct gev_process *p, int status, bool lost)
{
    unwatch(p);
    close_pidfd(p);
    p->ended = true;
    p->lost = lost;
    p->status = status;
    gev__waitq_wake_all(&p->waiters, 0);
    gev__waitable_notify(&p->waitable);
    release_if_unused(p);
}

bool gev__process_look(struct gev_process *p)
{
    int status;

    if (p->ended) {
        return true;
    }
    int rc = gev__sys_reap(p->pid, p->pidfd, &status);
    if (rc > 0) {
        end(p, status, false);
    } else if (rc == -ECHILD) {
        end(p, -1, true);
    }
    return rc > 0 || rc == -ECHILD;
}

/* --- watching ------------------------------------------------------------- */

static int look_later(struct gev_hub *hub, struct gev_process *p)
{
    int64_t when = gev__clock_add(gev__now_base(hub), p->pause);

    p->pause = p->pause * 2 < LOOK_MAX ? p->pause * 2 : LOOK_MAX;
    return gev__timer_arm(hub, &p->look, GEV__SLEEPS, when);
}

static void on_look(struct gev__timer *t)
{
    struct gev_process *p = gev__container_of(t, struct gev_process, look);

    if (p->keep_dead || !gev__process_look(p)) {
        (void)look_later(p->hub, p); /* there is room: it was there just now */
    }
}

static void on_pidfd(struct gev__watch *w, int events)
{
    struct gev_process *p = w->arg;

    (void)events;
    /* If a debugger has it first, or for want of anything better: look again
     * in a while. Without memory for that the watch stays. */
    if (p->keep_dead || (!gev__process_look(p) && look_later(p->hub, p) == 0)) {
        gev__watch_stop(p->hub, &p->watch);
    }
}

static void start_watching(struct gev_hub *hub, struct gev_process *p)
{
    p->watch = (struct gev__watch){.fn = on_pidfd, .arg = p};
    gev__timer_init(&p->look, on_look);
    p->pause = LOOK_FIRST;
    if (p->pidfd >= 0) {
        gev__fd_forget(hub, p->pidfd); /* what the number was before */
    }
    if (p->pidfd < 0 ||
        gev__watch_start(hub, &p->watch, p->pidfd, GEV_READ) < 0) {
        (void)look_later(hub, p); /* there is room: see prepare */
    }
}

/* Anybody's to reap from now on. */
static void give_away(struct gev_process *p)
{
    pthread_mutex_lock(&lock);
    gev__list_push_back(&orphans, &p->link);
    pthread_mutex_unlock(&lock);
}

/* It runs, and nobody is there any more who wants to know how it ends. */
static void let_go(struct gev_process *p)
{
    if (gev__timer_is_armed(&p->look)) {
        unwatch(p); /* looking would keep the hub waiting for it */
    }
    stop_holding(p);
    if (p->hub == NULL) {
        give_away(p);
    }
}

void gev__process_unuse(struct gev_process *p)
{
    if (p->users == 0) {
        return; /* a fork has dropped it */
    }
    p->users--;
    if (p->freed && p->users == 0) {
        if (p->ended) {
            destroy(p);
        } else {
            let_go(p);
        }
    }
}

/* --- the hub's side ------------------------------------------------------- */

/* Those whose user has gone are anybody's; the others wait for theirs. */
static void close_processes(struct gev__hub_module *m, struct gev_hub *hub)
{
    struct processes *all = gev__container_of(m, struct processes, module);
    struct gev__list *node;

    (void)hub;
    while ((node = gev__list_first(&all->running)) != NULL) {
        struct gev_process *p =
            gev__container_of(node, struct gev_process, link);
        p->users = 0; /* nobody is left to come back */
        p->talking = false;
        p->keep_dead = false;
        if (!gev__process_look(p)) {
            unwatch(p);
            if (p->freed) {
                give_away(p);
            }
        }
    }
    gev__free(all);
}

/* They are the parent's children. */
static void forked_processes(struct gev__hub_module *m, struct gev_hub *hub)
{
    struct processes *all = gev__container_of(m, struct processes, module);
    struct gev__list *node;

    while ((node = gev__list_first(&all->running)) != NULL) {
        struct gev_process *p =
            gev__container_of(node, struct gev_process, link);
        if (hub->current == hub->hub_greenlet) {
            gev__watch_stop(hub, &p->watch); /* that loop goes on */
        }
        p->watch = (struct gev__watch){.fn = NULL};
        p->look.pos = GEV__TIMER_IDLE;
        p->users = 0;
        p->talking = false;
        end(p, -1, true);
    }
}

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

static void after_fork_in_child(void)
{
    struct gev__list *node;

    atomic_fetch_add(&gev__process_generation, 1);
    while ((node = gev__list_pop(&orphans)) != NULL) {
        destroy(gev__container_of(node, struct gev_process, link));
    }
    pthread_mutex_unlock(&lock);
}

static void install_fork_handlers(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static void reap_orphans(void)
{
    pthread_mutex_lock(&lock);
    gev__list_foreach_safe(node, next, &orphans) {
        struct gev_process *p =
            gev__container_of(node, struct gev_process, link);
        int status;
        int rc = gev__sys_reap(p->pid, p->pidfd, &status);
        if (rc > 0 || rc == -ECHILD) {
            gev__list_remove(node);
            destroy(p);
        }
    }
    pthread_mutex_unlock(&lock);
}

static struct processes *find_processes(const struct gev_hub *hub)
{
    gev__list_foreach(node, &hub->modules) {
        struct gev__hub_module *m =
            gev__container_of(node, struct gev__hub_module, link);
        if (m->close == close_processes) {
            return gev__container_of(m, struct processes, module);
        }
    }
    return NULL;
}

/* Room for one timer more. */
static void on_nothing(struct gev__timer *t)
{
    (void)t;
}

static int reserve_timer(struct gev_hub *hub)
{
    struct gev__timer t;

    gev__timer_init(&t, on_nothing);
    int rc = gev__timer_arm(hub, &t, GEV__SLEEPS, GEV__NEVER - 1);
    if (rc == 0) {
        gev__timer_disarm(hub, &t);
    }
    return rc;
}

int gev__process_prepare(struct gev_hub *hub)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, install_fork_handlers);
    reap_orphans();
    if (find_processes(hub) == NULL) {
        struct processes *all = gev__calloc(1, sizeof(*all));
        if (all == NULL) {
            return -ENOMEM;
        }
        gev__list_init(&all->running);
        all->module.close = close_processes;
        all->module.forked = forked_processes;
        gev__hub_add_module(hub, &all->module);
    }
    return reserve_timer(hub);
}

void gev__process_watch(struct gev_hub *hub, struct gev_process *p)
{
    p->hub = hub;
    p->holds = true;
    gev__hub_hold(hub);
    gev__list_push_back(&find_processes(hub)->running, &p->link);
    start_watching(hub, p);
}

/* --- for the calls -------------------------------------------------------- */

int gev__process_enter(struct gev_hub *hub, struct gev_process *p)
{
    if (p == NULL) {
        return -EINVAL;
    }
    int rc = gev__owner_bind(&p->waitable.owner, hub);
    if (rc < 0 || p->ended || p->hub != NULL) {
        return rc;
    }
    if (p->generation != atomic_load(&gev__process_generation)) {
        end(p, -1, true);
        return 0;
    }
    rc = gev__process_prepare(hub);
    if (rc == 0) {
        gev__process_watch(hub, p);
    }
    return rc;
}

void gev__process_keep(struct gev_process *p, bool keep)
{
    bool was_kept = p->keep_dead;

    p->keep_dead = keep;
    if (was_kept && !keep && p->hub != NULL && !gev__process_look(p)) {
        /* The watch may have been stopped, for it told of the end again and
         * again. */
        gev__watch_stop(p->hub, &p->watch);
        gev__timer_disarm(p->hub, &p->look);
        start_watching(p->hub, p);
    }
}

int gev__process_await(struct gev_hub *hub, struct gev_process *p,
                       int64_t deadline)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_PROCESS, .object = p};
    struct gev__wait wait;

    if (gev__process_look(p)) {
        return 0;
    }
    int rc = gev__waitq_park(hub, &p->waiters, &wait, what, deadline);
    return p->ended ? 0 : rc;
}

void gev__process_free(struct gev_process *p)
{
    bool is_ours = p->generation == atomic_load(&gev__process_generation);

    if (is_ours && p->hub != NULL && p->hub != gev__thread_hub) {
        return;
    }
    for (int i = 0; i < 3; i++) {
        gev__process_close_pipe(p, i);
    }
    p->freed = true;
    if (p->ended || !is_ours) {
        p->ended = true;
        release_if_unused(p);
        return;
    }
    if (!gev__process_look(p) && p->users == 0) {
        let_go(p);
    }
}
