/* SPDX-License-Identifier: MIT */

/* Catching signals. The handler notes the signal in every hub that wants it and
 * writes to that hub's eventfd; the hub then wakes its waiters and spawns its
 * handlers. It is there only while somebody wants the signal; what was there
 * before comes back.
 *
 * Hubs stand in a list of slots that only grows, so that the handler can walk
 * it without a lock. */

#include "os/signal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/list.h"
#include "base/sys.h"
#include "hub/sched.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

/* A hub as the handler sees it. */
struct gev__signal_slot {
    struct gev__signal_slot *next; /* constant once listed */
    atomic_int fd;                 /* the hub's eventfd, or -1: free */
    atomic_int writers;      /* handlers that may be about to write there */
    _Atomic uint64_t wanted; /* bit n-1: somebody waits for signal n */
    _Atomic uint64_t came;   /* bit n-1: it came and was not yet served */
};

struct waiter {
    struct gev__list link;
    struct gev_greenlet *greenlet;
    int signum;
};

static _Atomic(struct gev__signal_slot *) slots;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users[GEV__SIGNALS + 1];            /* waiters; under lock */
static struct sigaction previous[GEV__SIGNALS + 1]; /* under lock */

/* --- the handler ---------------------------------------------------------- */

static void on_signal(int signum)
{
    const uint64_t one = 1;
    int saved = *__errno_location();

    for (struct gev__signal_slot *s = atomic_load(&slots); s != NULL;
         s = s->next) {
        atomic_fetch_add(&s->writers, 1);
        int fd = atomic_load(&s->fd);
        if (fd >= 0 && (atomic_load(&s->wanted) & gev__signal_bit(signum))) {
            atomic_fetch_or(&s->came, gev__signal_bit(signum));
            ssize_t n = write(fd, &one, sizeof(one));
            (void)n;
        }
        atomic_fetch_sub(&s->writers, 1);
    }
    *__errno_location() = saved;
}

/* One more waiter for a signal, or one less: installs the handler with the
 * first, puts the old disposition back with the last. */
int gev__signal_add_user(int signum)
{
    struct sigaction act = {.sa_handler = on_signal,
                            .sa_flags = SA_RESTART | SA_ONSTACK};
    int rc = 0;

    sigfillset(&act.sa_mask);
    pthread_mutex_lock(&lock);
    if (users[signum] == 0) {
        rc = gev__sys_sigaction(signum, &act, &previous[signum]);
    }
    if (rc == 0) {
        users[signum]++;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

/* Unless the program has another there by now: that is the one it wants. */
static void put_back(int signum)
{
    struct sigaction now;

    if (gev__sys_sigaction(signum, NULL, &now) == 0 &&
        now.sa_handler == on_signal) {
        gev__sys_sigaction(signum, &previous[signum], NULL);
    }
}

void gev__signal_remove_user(int signum)
{
    pthread_mutex_lock(&lock);
    /* None: a fork put it back already. */
    if (users[signum] > 0 && --users[signum] == 0) {
        put_back(signum);
    }
    pthread_mutex_unlock(&lock);
}

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

/* No waiter of any thread is in the child, nor any handler at work; and the
 * descriptors are the parent's. */
static void after_fork_in_child(void)
{
    for (int i = 1; i <= GEV__SIGNALS; i++) {
        if (users[i] > 0) {
            put_back(i);
            users[i] = 0;
        }
    }
    for (struct gev__signal_slot *s = atomic_load(&slots); s != NULL;
         s = s->next) {
        atomic_store(&s->wanted, 0);
        atomic_store(&s->writers, 0);
        atomic_store(&s->fd, -1);
    }
    pthread_mutex_unlock(&lock);
}

static void install_fork_handlers(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* --- the hub's side ------------------------------------------------------- */

static void on_readable(struct gev__watch *w, int events)
{
    struct gev__signals *s = w->arg;
    uint64_t count;

    (void)events;
    gev__sys_read(s->fd, &count, sizeof(count));
    uint64_t came = atomic_exchange(&s->slot->came, 0);
    gev__list_foreach(node, &s->waiters) {
        struct waiter *waiter = gev__container_of(node, struct waiter, link);
        if (came & gev__signal_bit(waiter->signum)) {
            gev__wake(waiter->greenlet, 0);
        }
    }
    gev__signal_handlers_run(gev__thread_hub, s, came);
}

/* What the hub's waiters want now; call after every change of the list. */
void gev__signals_note_wanted(struct gev__signals *s)
{
    uint64_t wanted = gev__signal_handlers_want(s);

    gev__list_foreach(node, &s->waiters) {
        wanted |= gev__signal_bit(
            gev__container_of(node, struct waiter, link)->signum);
    }
    if (s->slot != NULL) {
        atomic_store(&s->slot->wanted, wanted);
    }
}

/* Gives the slot and the descriptor back. */
static void shut(struct gev__signals *s, struct gev_hub *hub)
{
    if (s->slot == NULL) {
        return;
    }
    atomic_store(&s->slot->wanted, 0);
    atomic_store(&s->slot->fd, -1);
    /* A handler in another thread may have read the number just before. */
    while (atomic_load(&s->slot->writers) > 0) {
        sched_yield();
    }
    gev__watch_stop(hub, &s->watch);
    gev__sys_close(s->fd);
    s->slot = NULL;
}

static void close_signals(struct gev__hub_module *m, struct gev_hub *hub)
{
    struct gev__signals *s = gev__container_of(m, struct gev__signals, module);

    gev__timer_disarm(hub, &s->retry);
    gev__signal_handlers_close(s);
    shut(s, hub);
    gev__free(s);
}

/* A free slot, or a new one. Slots are never freed: a handler may be there. */
static struct gev__signal_slot *take_slot(int fd)
{
    for (struct gev__signal_slot *s = atomic_load(&slots); s != NULL;
         s = s->next) {
        int unused = -1;
        if (atomic_compare_exchange_strong(&s->fd, &unused, fd)) {
            atomic_store(&s->came, 0);
            return s;
        }
    }
    struct gev__signal_slot *s = gev__libc_calloc(1, sizeof(*s));
    if (s != NULL) {
        atomic_store(&s->fd, fd);
        s->next = atomic_load(&slots);
        while (!atomic_compare_exchange_weak(&slots, &s->next, s)) {
        }
    }
    return s;
}

/* The child's waiters are gone, its eventfd must be its own, and the loop is
 * new, unless the fork was in one of its callbacks. The next waiter sets it all
 * up again. (main may be among the waiters then, and leaves the list later.) */
static void forked_signals(struct gev__hub_module *m, struct gev_hub *hub)
{
    struct gev__signals *s = gev__container_of(m, struct gev__signals, module);

    while (gev__list_pop(&s->waiters) != NULL) {
    }
    gev__signal_handlers_detach(s);
    if (s->slot == NULL) {
        return;
    }
    if (hub->current == hub->hub_greenlet) {
        gev__watch_stop(hub, &s->watch);
    }
    s->watch = (struct gev__watch){.fn = NULL};
    atomic_store(&s->slot->fd, -1);
    gev__sys_close(s->fd);
    s->slot = NULL;
}

/* A slot, a descriptor and a watch on it. */
static int set_up(struct gev__signals *s, struct gev_hub *hub)
{
    int rc = gev__sys_eventfd();

    if (rc < 0) {
        return rc;
    }
    s->fd = rc;
    s->slot = take_slot(s->fd);
    if (s->slot == NULL) {
        gev__sys_close(s->fd);
        return -ENOMEM;
    }
    s->watch.fn = on_readable;
    s->watch.arg = s;
    rc = gev__watch_start(hub, &s->watch, s->fd, GEV_READ);
    if (rc < 0) {
        shut(s, hub);
    }
    return rc;
}

struct gev__signals *gev__signals_find(const struct gev_hub *hub)
{
    gev__list_foreach(node, &hub->modules) {
        struct gev__hub_module *m =
            gev__container_of(node, struct gev__hub_module, link);
        if (m->close == close_signals) {
            return gev__container_of(m, struct gev__signals, module);
        }
    }
    return NULL;
}

int gev__signals_get(struct gev_hub *hub, struct gev__signals **ret_s)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct gev__signals *s = gev__signals_find(hub);

    pthread_once(&once, install_fork_handlers);
    if (s == NULL) {
        s = gev__calloc(1, sizeof(*s));
        if (s == NULL) {
            return -ENOMEM;
        }
        gev__list_init(&s->waiters);
        gev__list_init(&s->handlers);
        gev__list_init(&s->detached);
        s->retry.pos = GEV__TIMER_IDLE;
        s->module.close = close_signals;
        s->module.forked = forked_signals;
        gev__hub_add_module(hub, &s->module);
    }
    *ret_s = s;
    return s->slot != NULL ? 0 : set_up(s, hub);
}

static int wait_signal(struct gev_hub *hub, int signum, double timeout)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_SIGNAL,
                                       .number = signum};
    struct waiter waiter = {.greenlet = hub->current, .signum = signum};
    struct gev__signals *s = NULL;
    int64_t deadline;
    int rc = gev__deadline(hub, timeout, &deadline);

    if (rc == 0 && (signum < 1 || signum > GEV__SIGNALS)) {
        rc = -EINVAL;
    }
    if (rc == 0) {
        rc = gev__signals_get(hub, &s);
    }
    if (rc != 0) {
        return rc;
    }
    gev__list_push_back(&s->waiters, &waiter.link);
    gev__signals_note_wanted(s);
    rc = gev__signal_add_user(signum);
    if (rc < 0) {
        gev__list_remove(&waiter.link);
        gev__signals_note_wanted(s);
        return rc;
    }
    gev__hub_hold(hub);
    rc = gev__park_until(hub, what, deadline);
    gev__hub_release(hub);
    gev__list_remove(&waiter.link);
    gev__signals_note_wanted(s);
    gev__signal_remove_user(signum);
    return rc;
}

/* --- public --------------------------------------------------------------- */

int gev_wait_signal(int signum, double timeout)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(wait_signal(hub, signum, timeout));
}
