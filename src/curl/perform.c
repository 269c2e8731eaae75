/* SPDX-License-Identifier: MIT */
#include "curl/driver.h"

#include <gev/curl.h>

#include <errno.h>

/* What curl calls it when gev ends a transfer. */
static CURLcode code_of(int error)
{
    switch (error) {
    case ETIMEDOUT:
        return CURLE_OPERATION_TIMEDOUT;
    case EPERM:
        return CURLE_RECURSIVE_API_CALL;
    default:
        return CURLE_ABORTED_BY_CALLBACK;
    }
}

/* Has the hub take a transfer out of the multi handle, for that may run
 * callbacks. */
static void remove_in_hub(struct gev__curl_driver *d,
                          struct gev__curl_transfer *t)
{
    t->remove = true;
    gev__curl_transfer_errand(d, t);
    gev_shield_begin();
    /* Fails only in a hub that closes, where nothing parks any more. */
    gev_waiter_get(&t->waiter, NULL, GEV_FOREVER);
    gev_shield_end();
}

/* Parks until the transfer is over. Returns 0, or -errno: it was cut short. */
static int wait_for_end(struct gev__curl_driver *d,
                        struct gev__curl_transfer *t)
{
    int error;

    if (gev_waiter_get(&t->waiter, NULL, GEV_FOREVER) == 0) {
        return 0;
    }
    error = errno;
    if (t->added && !t->over && !d->stale) {
        remove_in_hub(d, t);
    }
    return -error;
}

static void end(struct gev__curl_transfer *t)
{
    struct gev__curl_driver *d = t->driver;

    if (!d->stale) {
        gev__curl_transfer_end(d, t);
    }
}

/* A defer: the greenlet has ignored its kill while the hub closes, and is ended
 * where it parks. The handle is out of it before older defers free it. */
static void end_with_greenlet(void *arg)
{
    end(arg);
}

static CURLcode perform(CURL *easy, int *ret_error)
{
    struct gev__curl_driver *d;
    struct gev__curl_transfer *t;
    int rc = gev__curl_driver_get(&d);

    *ret_error = -rc;
    if (rc < 0) {
        return CURLE_OUT_OF_MEMORY;
    }
    CURLcode code = gev__curl_transfer_begin(d, easy, &t);
    if (code != CURLE_OK) {
        return code;
    }
    if (gev_defer(end_with_greenlet, t) < 0) {
        *ret_error = errno;
        end(t);
        return CURLE_OUT_OF_MEMORY;
    }
    rc = wait_for_end(d, t);
    gev_undefer(end_with_greenlet, t);
    if (d->stale) {
        *ret_error = ECHILD;
        return CURLE_ABORTED_BY_CALLBACK;
    }
    code = rc < 0 ? code_of(-rc) : t->result;
    end(t);
    *ret_error = -rc;
    return code;
}

/* --- public --------------------------------------------------------------- */

CURLcode gev_curl_perform(CURL *easy)
{
    const int saved = errno;
    int error = 0;
    CURLcode code = CURLE_BAD_FUNCTION_ARGUMENT;

    if (easy != NULL) {
        code = perform(easy, &error);
    }
    errno = error != 0 ? error : saved;
    return code;
}

/* Only letting the receiving side go on may run callbacks, at once: that is for
 * the hub. */
CURLcode gev_curl_pause(CURL *easy, int bitmask)
{
    const int saved = errno;
    struct gev__curl_driver *d = gev__curl_driver_find();
    struct gev__curl_transfer *t =
        d == NULL ? NULL : gev__curl_transfer_find(d, easy);
    CURLcode code = CURLE_OK;

    if (t == NULL || t->over) {
        return CURLE_BAD_FUNCTION_ARGUMENT;
    }
    if (bitmask & CURLPAUSE_RECV) {
        t->pause = -1;
        code = curl_easy_pause(easy, bitmask);
    } else {
        t->pause = bitmask;
        gev__curl_transfer_errand(d, t);
    }
    errno = saved;
    return code;
}

CURLM *gev_curl_multi(void)
{
    struct gev__curl_driver *d;
    int rc = gev__curl_driver_get(&d);

    if (rc < 0) {
        errno = -rc;
        return NULL;
    }
    d->lent = true;
    return d->multi;
}
