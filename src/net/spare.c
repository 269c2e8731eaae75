/* SPDX-License-Identifier: MIT */
#include "net/spare.h"

#include "base/compiler.h"
#include "base/error.h"
#include "base/sys.h"

#include <stdatomic.h>

/* In one go, in which nobody else has a turn. */
#define BATCH 256u

/* What is in its place instead of a descriptor. */
enum {
    NONE = -1, /* there was none to be had, or nobody holds it */
    LOST = -2, /* in use, or it could not be opened again */
};

static atomic_int place = NONE;
static atomic_uint holders;

bool gev__spare_restore(void)
{
    int old = atomic_load_explicit(&place, memory_order_relaxed);

    if (gev__likely(old >= 0)) {
        return true;
    }
    int fd = gev__sys_eventfd(); /* any will do; hubs have one of these, too */
    if (fd < 0) {
        return false;
    }
    while (old < 0 && !atomic_compare_exchange_weak(&place, &old, fd)) {
    }
    if (old >= 0) {
        gev__sys_close(fd); /* another thread was first */
    }
    return true;
}

bool gev__spare_is_lost(void)
{
    return atomic_load_explicit(&place, memory_order_relaxed) == LOST;
}

void gev__spare_hold(void)
{
    atomic_fetch_add(&holders, 1);
    gev__spare_restore();
}

void gev__spare_release(void)
{
    if (atomic_fetch_sub(&holders, 1) > 1) {
        return;
    }
    int fd = atomic_exchange(&place, NONE);
    if (fd >= 0) {
        gev__sys_close(fd);
    }
}

/* --- refusing ------------------------------------------------------------- */

void gev__reset_at_close(int fd)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    gev__sys_setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

static unsigned refuse_batch(int fd)
{
    unsigned n = 0;

    while (n < BATCH) {
        int rc = gev__sys_accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (rc < 0) {
            break;
        }
        gev__reset_at_close(rc);
        gev__sys_close(rc);
        n++;
    }
    return n;
}

unsigned gev__spare_refuse(int fd)
{
    int spare = atomic_load(&place);

    while (spare >= 0 && !atomic_compare_exchange_weak(&place, &spare, LOST)) {
    }
    if (spare < 0) {
        gev__spare_restore();
        return 0;
    }
    gev__sys_close(spare);
    unsigned n = refuse_batch(fd);
    gev__spare_restore();
    return n;
}
