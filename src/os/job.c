/* SPDX-License-Identifier: MIT */
#include "os/job.h"

#include "base/alloc.h"

#include <errno.h>

/* Threads of a hub's own pool, as gevent has it. */
#define OWN_THREADS 10

struct own_pool {
    struct gev__hub_module module;
    struct gev_threadpool *pool;
};

/* No greenlet runs any more; answers go to an inbox that nobody reads. */
static void close_own(struct gev__hub_module *m, struct gev_hub *hub)
{
    struct own_pool *own = gev__container_of(m, struct own_pool, module);

    (void)hub;
    gev__threadpool_end(own->pool);
    gev__threadpool_close(own->pool);
    gev__threadpool_unref(own->pool);
    gev__free(own);
}

/* Pools look after themselves. */
static void forked_own(struct gev__hub_module *m, struct gev_hub *hub)
{
    (void)m;
    (void)hub;
}

static int make_own(struct gev_hub *hub, struct gev_threadpool **ret_pool)
{
    struct own_pool *own = gev__malloc(sizeof(*own));

    if (own == NULL) {
        return -ENOMEM;
    }
    int rc = gev__threadpool_new(OWN_THREADS, &own->pool);
    if (rc < 0) {
        gev__free(own);
        return rc;
    }
    own->module.close = close_own;
    own->module.forked = forked_own;
    gev__hub_add_module(hub, &own->module);
    *ret_pool = own->pool;
    return 0;
}

int gev__threadpool_find(struct gev_hub *hub, const gev_threadpool *p,
                         struct gev_threadpool **ret_pool)
{
    if (p != NULL) {
        *ret_pool = (struct gev_threadpool *)(uintptr_t)p;
        return 0;
    }
    *ret_pool = gev__threadpool_here();
    if (*ret_pool != NULL) {
        return 0;
    }
    gev__list_foreach(node, &hub->modules) {
        struct gev__hub_module *m =
            gev__container_of(node, struct gev__hub_module, link);
        if (m->close == close_own) {
            *ret_pool = gev__container_of(m, struct own_pool, module)->pool;
            return 0;
        }
    }
    return make_own(hub, ret_pool);
}

/* --- calls ---------------------------------------------------------------- */

static void answer(struct gev__job *j)
{
    gev__errand_answer(&gev__call_of_job(j)->errand);
}

void gev__call_init(struct gev__call *c, void (*work)(struct gev__job *j),
                    void (*discard)(struct gev__errand *e))
{
    gev__list_init(&c->job.link);
    c->job.work = work;
    c->job.finish = answer;
    c->errand.discard = discard;
}

int gev__call_send(struct gev_hub *hub, struct gev_threadpool *p,
                   struct gev__call *c)
{
    int rc = gev__errand_begin(hub, &c->errand);

    if (rc == 0) {
        rc = gev__threadpool_add(p, &c->job);
        if (rc < 0) {
            gev__errand_undo(hub, &c->errand);
        }
    }
    if (rc < 0) {
        c->errand.discard(&c->errand);
    }
    return rc;
}

int gev__call_run(struct gev_hub *hub, gev_threadpool *p, struct gev__call *c,
                  struct gev__wait_for what, int64_t deadline)
{
    struct gev_threadpool *pool = NULL;
    /* Who could not wait for it does not begin it either. */
    int rc = deadline == 0 ? -ETIMEDOUT : gev__park_check(hub);

    if (rc == 0) {
        rc = gev__threadpool_find(hub, p, &pool);
    }
    if (rc < 0) {
        c->errand.discard(&c->errand);
        return rc;
    }
    rc = gev__call_send(hub, pool, c);
    return rc < 0 ? rc : gev__errand_wait(hub, &c->errand, what, deadline);
}
