/* SPDX-License-Identifier: MIT */
#include "hub/overflow.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/sys.h"
#include "hub/greenlet.h"
#include "hub/hub.h"

#include <gev/debug.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Room for a signal frame with AVX-512 state and for the line we format. */
#define ALTERNATE_STACK ((size_t)64 * 1024)

static const int fault_signals[] = {SIGSEGV, SIGBUS};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool installed; /* under lock */
static struct sigaction previous[2];
static atomic_bool wanted;
static pthread_key_t alternate_key; /* unmaps a thread's stack at its end */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* --- in the handler: async-signal-safe only ------------------------------- */

struct line {
    char text[512];
    size_t len;
};

static void add_text(struct line *l, const char *s)
{
    while (*s != '\0' && l->len < sizeof(l->text)) {
        l->text[l->len++] = *s++;
    }
}

static void add_number(struct line *l, uint64_t n)
{
    char digits[24];
    size_t i = sizeof(digits);

    digits[--i] = '\0';
    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    add_text(l, &digits[i]);
}

static void report(const struct gev_greenlet *g, size_t size)
{
    struct line l = {.len = 0};

    add_text(&l, "gev: greenlet ");
    add_number(&l, g->id);
    add_text(&l, " \"");
    add_text(&l, g->name);
    add_text(&l, "\" spawned at ");
    add_text(&l, g->site[0] != '\0' ? g->site : "?");
    add_text(&l, " overflowed its ");
    add_number(&l, size);
    add_text(&l, "-byte stack\n");
    ssize_t n = write(STDERR_FILENO, l.text, l.len);
    (void)n;
}

/* Whether the address lies in the guard below the running greenlet's stack. */
static const struct gev_greenlet *overflowed(const void *address)
{
    const struct gev_hub *hub = gev__thread_hub;

    if (hub == NULL || hub->current == hub->main_greenlet) {
        return NULL;
    }
    const char *low = gev__stack_low(hub->current);
    const char *a = address;
    return a < low && a >= low - GEV__STACK_GUARD ? hub->current : NULL;
}

static void on_fault(int signum, siginfo_t *info, void *context)
{
    const struct gev_greenlet *g = overflowed(info->si_addr);
    const struct sigaction *old = &previous[signum == fault_signals[1]];

    if (g != NULL) {
        size_t usable = (size_t)((const char *)g - gev__stack_low(g));
        size_t page = 4096;
        report(g, (usable + (size_t)16 * 1024 - 1) / page / 4 * page * 4);
    } else if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(signum, info, context);
        return;
    } else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(signum);
        return;
    }
    /* The fault happens again on return, under the old disposition; what
     * another sent (not the kernel) is sent again. */
    sigaction(signum, old, NULL);
    if (info->si_code <= 0) {
        raise(signum);
    }
}

/* --- setting up ----------------------------------------------------------- */

static void unmap_alternate(void *p)
{
    stack_t off = {.ss_flags = SS_DISABLE};

    sigaltstack(&off, NULL);
    gev__sys_munmap(p, ALTERNATE_STACK);
}

static void init_once(void)
{
    const char *env = getenv("GEV_OVERFLOW_REPORT");

    pthread_key_create(&alternate_key, unmap_alternate);
    if (env != NULL && strcmp(env, "1") == 0) {
        atomic_store(&wanted, true);
    }
}

/* An alternate stack for this thread, unless it has one. */
static int give_alternate_stack(void)
{
    stack_t now;
    int error;

    if (sigaltstack(NULL, &now) == 0 && !(now.ss_flags & SS_DISABLE)) {
        return 0;
    }
    void *p = gev__sys_mmap(ALTERNATE_STACK, &error);
    if (p == NULL) {
        return -ENOMEM;
    }
    stack_t alternate = {.ss_sp = p, .ss_size = ALTERNATE_STACK};
    if (pthread_setspecific(alternate_key, p) != 0 ||
        sigaltstack(&alternate, NULL) < 0) {
        gev__sys_munmap(p, ALTERNATE_STACK);
        return -ENOMEM;
    }
    return 0;
}

static void install(bool on)
{
    struct sigaction act = {.sa_sigaction = on_fault,
                            .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigemptyset(&act.sa_mask);
    pthread_mutex_lock(&lock);
    if (on != installed) {
        for (unsigned i = 0; i < gev__array_len(fault_signals); i++) {
            if (on) {
                sigaction(fault_signals[i], &act, &previous[i]);
            } else {
                sigaction(fault_signals[i], &previous[i], NULL);
            }
        }
        installed = on;
    }
    pthread_mutex_unlock(&lock);
}

int gev__overflow_thread_init(void)
{
    pthread_once(&once, init_once);
    if (!atomic_load(&wanted)) {
        return 0;
    }
    int rc = give_alternate_stack();
    if (rc == 0) {
        install(true);
    }
    return rc;
}

/* --- public --------------------------------------------------------------- */

int gev_set_overflow_report(bool on)
{
    pthread_once(&once, init_once);
    atomic_store(&wanted, on);
    if (!on) {
        install(false);
        void *p = pthread_getspecific(alternate_key);
        if (p != NULL) {
            pthread_setspecific(alternate_key, NULL);
            unmap_alternate(p);
        }
        return 0;
    }
    return (int)gev__ret(gev__overflow_thread_init());
}
