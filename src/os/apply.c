/* SPDX-License-Identifier: MIT */

/* The public side of thread pools: jobs that are functions of the user's. */

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "os/job.h"
#include "sync/result.h"

#include <math.h>

/* A user's function for a thread. */
struct user_call {
    struct gev__call call; /* first */
    gev_fn fn;
    void *arg;
    void *value;
    int error;          /* 0, or positive */
    gev_result *result; /* of gev_threadpool_spawn, or NULL */
};

static struct user_call *user_call_of(struct gev__call *c)
{
    return gev__container_of(c, struct user_call, call);
}

/* Calls it; 0 or the code it failed with, positive. */
static int call(gev_fn fn, void *arg, void **ret_value)
{
    void *value = fn(arg);

    if (value == gev__fail_mark) {
        return gev__fail_code_here();
    }
    *ret_value = value;
    return 0;
}

static void work(struct gev__job *j)
{
    struct user_call *u = user_call_of(gev__call_of_job(j));

    u->error = call(u->fn, u->arg, &u->value);
}

static void discard(struct gev__errand *e)
{
    gev__free(user_call_of(gev__call_of_errand(e)));
}

static struct user_call *make_call(gev_fn fn, void *arg)
{
    struct user_call *u = gev__calloc(1, sizeof(*u));

    if (u != NULL) {
        gev__call_init(&u->call, work, discard);
        u->fn = fn;
        u->arg = arg;
    }
    return u;
}

static int error_of(const struct user_call *u)
{
    return u->call.job.rc < 0 ? -u->call.job.rc : u->error;
}

/* The pool that p means, if this is one of its threads. */
static struct gev_threadpool *find_here(const gev_threadpool *p)
{
    struct gev_threadpool *here = gev__threadpool_here();

    return p == NULL || p == here ? here : NULL;
}

/* --- apply ---------------------------------------------------------------- */

static int apply(struct gev_hub *hub, gev_threadpool *p, gev_fn fn, void *arg,
                 void **ret_value, double timeout)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_THREADPOOL,
                                       .object = p};
    int64_t deadline;
    int rc = gev__deadline(hub, timeout, &deadline);

    if (rc < 0) {
        return rc;
    }
    struct user_call *u = make_call(fn, arg);
    if (u == NULL) {
        return -ENOMEM;
    }
    rc = gev__call_run(hub, p, &u->call, what, deadline);
    if (rc == 0) {
        rc = -error_of(u);
        if (rc == 0 && ret_value != NULL) {
            *ret_value = u->value;
        }
        discard(&u->call.errand);
    }
    return rc;
}

/* --- spawn ---------------------------------------------------------------- */

static void *fail_with(void *code)
{
    struct gev_hub *hub = gev__thread_hub;

    hub->current->fail_code = (int)(intptr_t)code;
    return gev__fail_mark;
}

/* Nobody wants to know the result, but for the error handler, which is for
 * greenlets: one fails in the job's place. */
static int report(struct gev_hub *hub, int error)
{
    const struct gev__make make = {.fn = fail_with,
                                   .arg = (void *)(intptr_t)error,
                                   .site = "gev_threadpool_spawn",
                                   .name = "job"};

    return gev__greenlet_spawn(hub, &make);
}

static int deliver(struct gev_hub *hub, struct gev__errand *e)
{
    const struct user_call *u = user_call_of(gev__call_of_errand(e));
    int error = error_of(u);

    if (u->result != NULL) {
        /* One that is ready already keeps what it has. */
        gev__result_settle(u->result, u->value, error);
        return 0;
    }
    return error == 0 || error == ECANCELED ? 0 : report(hub, error);
}

static int spawn(struct gev_hub *hub, gev_threadpool *p, gev_fn fn, void *arg,
                 gev_result *result)
{
    struct gev_threadpool *pool = NULL;
    int rc = fn == NULL ? -EINVAL : 0;

    if (rc == 0 && result != NULL) {
        rc = gev__result_bind(result, hub);
    }
    if (rc == 0) {
        rc = gev__threadpool_find(hub, p, &pool);
    }
    if (rc < 0) {
        return rc;
    }
    struct user_call *u = make_call(fn, arg);
    if (u == NULL) {
        return -ENOMEM;
    }
    u->result = result;
    u->call.errand.arrive = deliver;
    return gev__call_send(hub, pool, &u->call);
}

/* --- map ------------------------------------------------------------------ */

struct map;

struct item {
    struct gev__job job;
    struct map *map;
    void *value; /* first the argument */
};

/* One errand, answered by whoever is the last to be done. */
struct map {
    struct gev__errand errand; /* first */
    gev_fn fn;
    atomic_size_t left; /* items not done, and one while they are handed over */
    atomic_int error;   /* the first; then the rest is passed over */
    struct item items[];
};

static void note_error(struct map *m, int error)
{
    int none = 0;

    atomic_compare_exchange_strong(&m->error, &none, error);
}

static void items_done(struct map *m, size_t n)
{
    if (atomic_fetch_sub(&m->left, n) == n) {
        gev__errand_answer(&m->errand);
    }
}

static void work_item(struct gev__job *j)
{
    struct item *item = gev__container_of(j, struct item, job);
    struct map *m = item->map;

    if (atomic_load(&m->error) == 0) {
        int error = call(m->fn, item->value, &item->value);
        if (error != 0) {
            note_error(m, error);
        }
    }
}

static void finish_item(struct gev__job *j)
{
    struct map *m = gev__container_of(j, struct item, job)->map;

    if (j->rc < 0) {
        note_error(m, -j->rc);
    }
    items_done(m, 1);
}

static void discard_map(struct gev__errand *e)
{
    gev__free(gev__container_of(e, struct map, errand));
}

/* The caller has left: what has not begun is passed over. */
static bool recall_map(struct gev__errand *e)
{
    note_error(gev__container_of(e, struct map, errand), ECANCELED);
    return false;
}

static struct map *make_map(gev_fn fn, void *const in[], size_t n)
{
    size_t size;

    if (__builtin_mul_overflow(n, sizeof(struct item), &size) ||
        __builtin_add_overflow(size, sizeof(struct map), &size)) {
        return NULL;
    }
    struct map *m = gev__calloc(1, size);
    if (m == NULL) {
        return NULL;
    }
    m->fn = fn;
    m->errand.discard = discard_map;
    m->errand.recall = recall_map;
    atomic_store(&m->left, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct item *item = &m->items[i];
        gev__list_init(&item->job.link);
        item->job.work = work_item;
        item->job.finish = finish_item;
        item->map = m;
        item->value = in[i];
    }
    return m;
}

/* Hands the items over; if that fails those that are under way are waited for
 * as usual. */
static void send_items(struct gev_threadpool *pool, struct map *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int rc = gev__threadpool_add(pool, &m->items[i].job);
        if (rc < 0) {
            note_error(m, -rc);
            items_done(m, n - i);
            break;
        }
    }
    items_done(m, 1);
}

static int map(struct gev_hub *hub, gev_threadpool *p, gev_fn fn,
               void *const in[], void *ret_out[], size_t n)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_THREADPOOL,
                                       .object = p};
    struct gev_threadpool *pool = NULL;
    int rc = gev__park_check(hub);

    if (rc == 0) {
        rc = gev__threadpool_find(hub, p, &pool);
    }
    if (rc < 0) {
        return rc;
    }
    struct map *m = make_map(fn, in, n);
    rc = m == NULL ? -ENOMEM : gev__errand_begin(hub, &m->errand);
    if (rc < 0) {
        gev__free(m);
        return rc;
    }
    send_items(pool, m, n);
    rc = gev__errand_wait(hub, &m->errand, what, GEV__NEVER);
    if (rc < 0) {
        return rc;
    }
    rc = -atomic_load(&m->error);
    for (size_t i = 0; rc == 0 && ret_out != NULL && i < n; i++) {
        ret_out[i] = m->items[i].value;
    }
    discard_map(&m->errand);
    return rc;
}

/* out may be in: it is left alone until all are done. */
static int map_here(gev_fn fn, void *const in[], void *ret_out[], size_t n)
{
    void **values = n == 0 ? NULL : gev__calloc(n, sizeof(*values));
    int error = n > 0 && values == NULL ? ENOMEM : 0;

    for (size_t i = 0; error == 0 && i < n; i++) {
        error = call(fn, in[i], &values[i]);
    }
    for (size_t i = 0; error == 0 && ret_out != NULL && i < n; i++) {
        ret_out[i] = values[i];
    }
    gev__free(values);
    return -error;
}

/* --- join, free ----------------------------------------------------------- */

/* An errand that is done when the pool comes to rest. */
struct watch {
    struct gev__errand errand; /* first */
    struct gev__pool_watch watch;
    struct gev_threadpool *pool; /* counted */
};

static struct watch *watch_of(struct gev__errand *e)
{
    return gev__container_of(e, struct watch, errand);
}

static void answer_watch(struct gev__pool_watch *w)
{
    gev__errand_answer(&gev__container_of(w, struct watch, watch)->errand);
}

static bool recall_watch(struct gev__errand *e)
{
    return gev__threadpool_unwatch(watch_of(e)->pool, &watch_of(e)->watch);
}

static void discard_watch(struct gev__errand *e)
{
    gev__threadpool_unref(watch_of(e)->pool);
    gev__free(watch_of(e));
}

static int begin_watch(struct gev_hub *hub, struct gev_threadpool *p,
                       struct watch **ret_watch)
{
    struct watch *w = gev__calloc(1, sizeof(*w));

    if (w == NULL) {
        return -ENOMEM;
    }
    w->errand.discard = discard_watch;
    w->errand.recall = recall_watch;
    w->watch.tell = answer_watch;
    gev__list_init(&w->watch.link);
    w->pool = p;
    int rc = gev__errand_begin(hub, &w->errand);
    if (rc < 0) {
        gev__free(w);
        return rc;
    }
    gev__threadpool_ref(p);
    *ret_watch = w;
    return 0;
}

static int join(struct gev_hub *hub, gev_threadpool *p, double timeout)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_THREADPOOL,
                                       .object = p};
    struct gev_threadpool *pool = NULL;
    struct watch *w;
    int64_t deadline;
    int rc = gev__deadline(hub, timeout, &deadline);

    if (rc == 0) {
        rc = gev__threadpool_find(hub, p, &pool);
    }
    if (rc < 0) {
        return rc;
    }
    if (gev__threadpool_count(pool) == 0 && !gev__tasks_pending(hub)) {
        return 0;
    }
    if (deadline == 0) {
        return -ETIMEDOUT;
    }
    rc = begin_watch(hub, pool, &w);
    if (rc < 0) {
        return rc;
    }
    if (!gev__threadpool_watch_idle(pool, &w->watch)) {
        /* Behind the answers that are on their way to this hub. */
        gev__errand_answer(&w->errand);
    }
    rc = gev__errand_wait(hub, &w->errand, what, deadline);
    if (rc == 0) {
        discard_watch(&w->errand);
    }
    return rc;
}

/* Lets the others run until the threads have ended; whatever fails here, who
 * joins the threads waits for what is left. */
static void wait_for_end(struct gev_hub *hub, struct gev_threadpool *p)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_THREADPOOL,
                                       .object = p};
    struct watch *w;

    if (begin_watch(hub, p, &w) < 0) {
        return;
    }
    if (!gev__threadpool_watch_end(p, &w->watch)) {
        gev__errand_undo(hub, &w->errand);
        discard_watch(&w->errand);
        return;
    }
    hub->current->shields++;
    int rc = gev__errand_wait(hub, &w->errand, what, GEV__NEVER);
    hub->current->shields--;
    if (rc == 0) {
        discard_watch(&w->errand);
    }
}

/* --- public --------------------------------------------------------------- */

static struct gev_threadpool *find(const gev_threadpool *p)
{
    struct gev_threadpool *pool = find_here(p);

    if (p != NULL || pool != NULL) {
        return p != NULL ? (struct gev_threadpool *)(uintptr_t)p : pool;
    }
    struct gev_hub *hub = gev__hub_get();
    if (hub == NULL) {
        return NULL;
    }
    int rc = gev__threadpool_find(hub, NULL, &pool);
    return rc < 0 ? gev__ret_null(rc) : pool;
}

gev_threadpool *gev_threadpool_new(size_t max_threads)
{
    struct gev_threadpool *p = NULL;
    int rc = max_threads == 0 ? -EINVAL : 0;

    if (rc == 0 && gev__threadpool_here() == NULL && gev__hub_get() == NULL) {
        return NULL; /* a hub settles which allocator there is */
    }
    if (rc == 0) {
        rc = gev__threadpool_new(max_threads, &p);
    }
    return rc < 0 ? gev__ret_null(rc) : p;
}

void gev_threadpool_free(gev_threadpool *p)
{
    struct gev_hub *hub = gev__thread_hub;

    if (p == NULL) {
        return;
    }
    assert(gev__threadpool_here() != p);
    gev__threadpool_end(p);
    if (hub != NULL && !(hub->current->alerts & GEV__ALERT_NOPARK)) {
        wait_for_end(hub, p);
    }
    gev__threadpool_close(p);
    gev__threadpool_unref(p);
}

int gev_threadpool_apply(gev_threadpool *p, gev_fn fn, void *arg, void **value,
                         double timeout)
{
    void *result = NULL;

    if (fn == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    if (find_here(p) != NULL) {
        int error = isnan(timeout) ? EINVAL : call(fn, arg, &result);
        if (error == 0 && value != NULL) {
            *value = result;
        }
        return (int)gev__ret(-error);
    }
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1
                       : (int)gev__ret(apply(hub, p, fn, arg, value, timeout));
}

int gev_threadpool_spawn(gev_threadpool *p, gev_fn fn, void *arg,
                         gev_result *result)
{
    struct gev_hub *hub = gev__hub_get();

    return hub == NULL ? -1 : (int)gev__ret(spawn(hub, p, fn, arg, result));
}

int gev_threadpool_map(gev_threadpool *p, gev_fn fn, void *const in[],
                       void *out[], size_t n)
{
    if (fn == NULL || (in == NULL && n > 0)) {
        return (int)gev__ret(-EINVAL);
    }
    if (find_here(p) != NULL) {
        return (int)gev__ret(map_here(fn, in, out, n));
    }
    struct gev_hub *hub = gev__hub_get();
    if (hub == NULL || n == 0) {
        return hub == NULL ? -1 : 0;
    }
    return (int)gev__ret(map(hub, p, fn, in, out, n));
}

int gev_threadpool_join(gev_threadpool *p, double timeout)
{
    if (find_here(p) != NULL) {
        return (int)gev__ret(-EDEADLK);
    }
    struct gev_hub *hub = gev__hub_get();
    return hub == NULL ? -1 : (int)gev__ret(join(hub, p, timeout));
}

size_t gev_threadpool_count(const gev_threadpool *p)
{
    struct gev_threadpool *pool = find(p);

    return pool == NULL ? 0 : gev__threadpool_count(pool);
}

size_t gev_threadpool_size(const gev_threadpool *p)
{
    struct gev_threadpool *pool = find(p);

    return pool == NULL ? 0 : gev__threadpool_size(pool);
}

int gev_threadpool_set_size(gev_threadpool *p, size_t n)
{
    struct gev_threadpool *pool = find(p);

    return pool == NULL ? -1 : (int)gev__ret(gev__threadpool_set_size(pool, n));
}

size_t gev_threadpool_max(const gev_threadpool *p)
{
    struct gev_threadpool *pool = find(p);

    return pool == NULL ? 0 : gev__threadpool_max(pool);
}

int gev_threadpool_set_max(gev_threadpool *p, size_t max_threads)
{
    struct gev_threadpool *pool = find(p);

    if (pool == NULL || max_threads == 0) {
        return pool == NULL ? -1 : (int)gev__ret(-EINVAL);
    }
    gev__threadpool_set_max(pool, max_threads);
    return 0;
}

int gev_threadpool_set_idle_time(gev_threadpool *p, double seconds)
{
    struct gev_threadpool *pool = find(p);

    if (pool == NULL || isnan(seconds)) {
        return pool == NULL ? -1 : (int)gev__ret(-EINVAL);
    }
    gev__threadpool_set_idle_time(pool, gev__clock_ns(seconds));
    return 0;
}
