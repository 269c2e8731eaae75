/* SPDX-License-Identifier: MIT */

/* Tasks in a group whose caller waits for them: apply and map. */

#include "base/alloc.h"
#include "base/error.h"
#include "hub/defer.h"
#include "hub/park.h"
#include "sync/group.h"
#include "sync/result.h"

#include <string.h>

/* One call. Not on the caller's stack: that may be gone before the tasks are,
 * in a child process and when the hub is closed. */
struct map {
    struct gev__job job;       /* first */
    struct gev_group *group;   /* counted while it runs */
    struct gev__waitq waiting; /* the caller; see is_due */
    enum { BEGINNING, FINISHING, STOPPING } phase;
    size_t running;
    int error;      /* of the first task that failed, or 0 */
    size_t n;       /* values there are; 0: nobody wants them */
    void *values[]; /* what they returned */
};

/* What the caller's park returns when it is a task that wakes him. */
#define TASK_ENDED 1

static void note_result(struct map *map, size_t i, void *value, int error)
{
    if (error != 0) {
        if (map->error == 0) {
            map->error = error;
        }
    } else if (i < map->n) {
        map->values[i] = value;
    }
}

/* Whether the caller has to look: for a failure, unless he knows, and for the
 * end of the last. */
static bool is_due(const struct map *map)
{
    return map->phase == STOPPING
               ? map->running == 0
               : map->error != 0 ||
                     (map->phase == FINISHING && map->running == 0);
}

static void end_task(struct gev__job *job, void *tag, void *value, int error)
{
    struct map *map = gev__container_of(job, struct map, job);

    map->running--;
    note_result(map, (size_t)(uintptr_t)tag, value, error);
    if (is_due(map)) {
        gev__waitq_wake(&map->waiting, TASK_ENDED);
    }
}

static int new_map(size_t n, struct map **ret_map)
{
    const size_t most = (SIZE_MAX - sizeof(struct map)) / sizeof(void *);
    struct map *map =
        n > most ? NULL : gev__malloc(sizeof(struct map) + n * sizeof(void *));

    if (map == NULL) {
        return -ENOMEM;
    }
    memset(map, 0, sizeof(*map));
    map->n = n;
    map->job.ended = end_task;
    gev__list_init(&map->job.members);
    *ret_map = map;
    return 0;
}

/* --- running -------------------------------------------------------------- */

/* The caller has left by gev_exit() in a task that he ran himself. */
static void abandon(void *arg)
{
    struct map *map = arg;

    gev__job_kill(&map->job, NULL);
    gev__job_forget(&map->job);
    gev__group_unref(map->group);
    gev__free(map);
}

/* In the caller's own greenlet. */
static void run_in_place(struct gev_hub *hub, struct map *map, gev_fn fn,
                         void *arg, size_t i)
{
    struct gev_greenlet *self = hub->current;

    if (gev__defer_add(self, abandon, map) < 0) {
        note_result(map, i, NULL, ENOMEM);
        return;
    }
    void *value = fn(arg);
    gev__defer_remove(self, abandon, map);
    if (value == gev__fail_mark) {
        note_result(map, i, NULL, self->fail_code);
    } else {
        note_result(map, i, value, 0);
    }
}

/* A slot for the next task, or -errno; what a task failed with, too. */
static int take_slot(struct gev_hub *hub, struct gev_group *p, struct map *map)
{
    int rc = gev__group_take_slot(hub, p, &map->waiting);

    if (map->error == 0 && rc <= 0) {
        return rc;
    }
    if (rc == 0) {
        gev__group_return_slot(p);
    }
    return rc < 0 ? rc : -map->error;
}

static int begin_task(struct gev_hub *hub, struct gev_group *p, struct map *map,
                      struct gev__make *make, void *arg, size_t i)
{
    int rc;

    make->arg = arg;
    if (!gev__group_has_slot(p) && !p->freed &&
        gev__group_has(p, hub->current)) {
        run_in_place(hub, map, make->fn, arg, i);
        return -map->error;
    }
    rc = take_slot(hub, p, map);
    if (rc == 0) {
        map->running++;
        rc = gev__group_start(hub, p, make, GEV__MEMBER, &map->job,
                              (void *)(uintptr_t)i, NULL);
        map->running -= rc < 0;
    }
    return rc;
}

/* Until no task is left, or one has failed: 0, or -errno. */
static int wait_for_tasks(struct gev_hub *hub, struct gev_group *p,
                          struct map *map)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_GROUP, .object = p};
    struct gev__wait wait;
    int rc = 0;

    map->phase = FINISHING;
    while (rc >= 0 && map->error == 0 && map->running > 0) {
        rc = gev__waitq_park(hub, &map->waiting, &wait, what, GEV__NEVER);
    }
    return map->error != 0 ? -map->error : rc < 0 ? rc : 0;
}

/* None of them outlives the call. */
static void stop_tasks(struct gev_hub *hub, struct gev_group *p,
                       struct map *map)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_GROUP, .object = p};
    struct gev__wait wait;
    int rc = 0;

    map->phase = STOPPING;
    gev__job_kill(&map->job, NULL);
    hub->current->shields++;
    while (rc >= 0 && map->running > 0) {
        rc = gev__waitq_park(hub, &map->waiting, &wait, what, GEV__NEVER);
    }
    hub->current->shields--;
    gev__job_forget(&map->job); /* if there is no waiting for them */
}

static int run_tasks(struct gev_hub *hub, struct gev_group *p,
                     struct gev__make *make, void *const in[], size_t n,
                     struct map *map)
{
    int rc = 0;

    gev__group_ref(p);
    map->group = p;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = begin_task(hub, p, map, make, in[i], i);
    }
    if (rc == 0) {
        rc = wait_for_tasks(hub, p, map);
    }
    if (map->running > 0) {
        stop_tasks(hub, p, map);
    }
    gev__group_unref(p);
    return rc;
}

static int map_all(struct gev_hub *hub, struct gev_group *p,
                   struct gev__make *make, void *const in[], void *out[],
                   size_t n)
{
    struct map *map;
    int rc = gev__group_enter(hub, p);

    if (rc == 0 && (make->fn == NULL || (in == NULL && n > 0))) {
        rc = -EINVAL;
    }
    if (rc < 0 || n == 0) {
        return rc;
    }
    rc = new_map(out == NULL ? 0 : n, &map);
    if (rc < 0) {
        return rc;
    }
    rc = run_tasks(hub, p, make, in, n, map);
    if (rc == 0 && out != NULL) {
        memcpy(out, map->values, n * sizeof(out[0]));
    }
    gev__free(map);
    return rc;
}

static int apply(struct gev_hub *hub, struct gev_group *p,
                 struct gev__make *make, void **ret_value)
{
    int rc = gev__group_enter(hub, p);

    if (rc < 0 || make->fn == NULL || !gev__group_has(p, hub->current)) {
        return rc < 0 ? rc : map_all(hub, p, make, &make->arg, ret_value, 1);
    }
    void *value = make->fn(make->arg);
    if (value == gev__fail_mark) {
        return -hub->current->fail_code;
    }
    if (ret_value != NULL) {
        *ret_value = value;
    }
    return 0;
}

static int apply_async(struct gev_hub *hub, struct gev_group *p,
                       const struct gev__make *make, gev_result *result)
{
    int rc = gev__group_enter(hub, p);

    if (rc == 0 && make->fn == NULL) {
        rc = -EINVAL;
    }
    if (rc == 0 && p->freed) {
        rc = -EPIPE;
    }
    if (rc == 0 && result != NULL) {
        rc = gev__result_bind(result, hub);
    }
    return rc < 0 ? rc : gev__group_enqueue(hub, p, make, &p->async, result);
}

/* --- what the public ones and their macros share -------------------------- */

static int apply_here(gev_group *p, gev_fn fn, void *arg, void **value,
                      const char *site, const char *name)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev__make make = {.fn = fn, .arg = arg, .site = site, .name = name};

    return hub == NULL ? -1 : (int)gev__ret(apply(hub, p, &make, value));
}

static int apply_async_here(gev_group *p, gev_fn fn, void *arg,
                            gev_result *result, const char *site,
                            const char *name)
{
    struct gev_hub *hub = gev__hub_get();
    const struct gev__make make = {
        .fn = fn, .arg = arg, .site = site, .name = name};

    return hub == NULL ? -1 : (int)gev__ret(apply_async(hub, p, &make, result));
}

static int map_here(gev_group *p, gev_fn fn, void *const in[], void *out[],
                    size_t n, const char *site, const char *name)
{
    struct gev_hub *hub = gev__hub_get();
    struct gev__make make = {.fn = fn, .site = site, .name = name};

    return hub == NULL ? -1 : (int)gev__ret(map_all(hub, p, &make, in, out, n));
}

/* --- public --------------------------------------------------------------- */

int gev_group_apply_at(gev_group *p, gev_fn fn, void *arg, void **value,
                       const char *site, const char *name)
{
    return apply_here(p, fn, arg, value, site, name);
}

int(gev_group_apply)(gev_group *p, gev_fn fn, void *arg, void **value)
{
    return apply_here(p, fn, arg, value, "", "greenlet");
}

int gev_group_apply_async_at(gev_group *p, gev_fn fn, void *arg,
                             gev_result *result, const char *site,
                             const char *name)
{
    return apply_async_here(p, fn, arg, result, site, name);
}

int(gev_group_apply_async)(gev_group *p, gev_fn fn, void *arg,
                           gev_result *result)
{
    return apply_async_here(p, fn, arg, result, "", "greenlet");
}

int gev_group_map_at(gev_group *p, gev_fn fn, void *const in[], void *out[],
                     size_t n, const char *site, const char *name)
{
    return map_here(p, fn, in, out, n, site, name);
}

int(gev_group_map)(gev_group *p, gev_fn fn, void *const in[], void *out[],
                   size_t n)
{
    return map_here(p, fn, in, out, n, "", "greenlet");
}
