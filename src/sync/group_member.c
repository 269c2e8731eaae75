/* SPDX-License-Identifier: MIT */

/* The members of groups, and the slots they are in. */

#include "base/alloc.h"
#include "hub/hook.h"
#include "hub/kill.h"
#include "hub/park.h"
#include "sync/group.h"

/* A group without a limit keeps so many spare records for burst and lull. */
#define SPARES_MIN 64u

static struct gev__member *member_of(struct gev__list *node)
{
    return gev__container_of(node, struct gev__member, node);
}

static struct gev__claim *claim_of(struct gev__list *node)
{
    return gev__container_of(node, struct gev__claim, node);
}

/* --- records -------------------------------------------------------------- */

static struct gev__member *new_member(struct gev_group *p)
{
    struct gev__list *node = gev__list_pop(&p->spares);
    struct gev__member *m;

    if (node != NULL) {
        p->n_spares--;
        m = member_of(node);
    } else {
        m = gev__malloc(sizeof(*m));
        if (m == NULL) {
            return NULL;
        }
    }
    gev__list_init(&m->link.node);
    gev__list_init(&m->node);
    gev__list_init(&m->job_node);
    gev__list_init(&m->claim.node);
    m->claim.waiter = NULL;
    m->group = p;
    m->greenlet = NULL;
    m->role = GEV__MEMBER;
    m->killed = false;
    m->job = NULL;
    m->tag = NULL;
    gev__group_ref(p);
    return m;
}

/* A steady pool allocates nothing, whatever its size. */
static bool is_worth_keeping(const struct gev_group *p)
{
    return p->size == SIZE_MAX ? p->n_spares < SPARES_MIN + p->count
                               : p->n_spares < p->size;
}

static void free_member(struct gev__member *m)
{
    struct gev_group *p = m->group;

    if (is_worth_keeping(p)) {
        gev__list_push_front(&p->spares, &m->node);
        p->n_spares++;
    } else {
        gev__free(m);
    }
    gev__group_unref(p);
}

static void set_job(struct gev__member *m, struct gev__job *job, void *tag)
{
    m->job = job;
    m->tag = tag;
    if (job != NULL) {
        gev__list_push_back(&job->members, &m->job_node);
    }
}

/* --- the end of members --------------------------------------------------- */

/* Takes a record out and tells everybody whom its end concerns. */
static void end_member(struct gev__member *m, void *value, int error)
{
    struct gev_group *p = m->group;
    struct gev__job *job = m->job;
    void *tag = m->tag;
    uint8_t role = m->role;

    gev__group_ref(p);
    gev__list_remove(&m->node);
    gev__list_remove(&m->job_node);
    free_member(m);
    p->count -= role == GEV__MEMBER;
    p->helpers -= role == GEV__HELPER;
    if (job != NULL) {
        job->ended(job, tag, value, error);
    }
    if (role == GEV__MEMBER) {
        gev__group_serve(p);
    }
    if (role != GEV__STRANGER) {
        gev__group_note_end(p, error);
    }
    gev__group_unref(p);
}

/* The note among a member's links. */
static void note_end(gev_greenlet *g, void *arg)
{
    /* No unref: whoever ends it looks at the count afterwards, and must not
     * find it freed. */
    g->refs--;
    end_member(arg, g->value, g->error);
}

/* Ours are in front of all others. */
struct gev__member *gev__group_find(const struct gev_group *p,
                                    const struct gev_greenlet *g)
{
    gev__list_foreach(node, &g->links) {
        const struct gev__link *l =
            gev__container_of(node, struct gev__link, node);
        if (l->kind != GEV__LINK_NOTE || l->fn != note_end) {
            break;
        }
        struct gev__member *m = l->arg;
        if (m->group == p && m->role != GEV__STRANGER) {
            return m;
        }
    }
    return NULL;
}

/* --- killing -------------------------------------------------------------- */

static void drop_queued(struct gev__member *m, int error)
{
    struct gev__job *job = m->job;
    void *tag = m->tag;

    gev__list_remove(&m->claim.node);
    gev__list_remove(&m->job_node);
    free_member(m);
    if (job != NULL) {
        job->ended(job, tag, NULL, error);
    }
}

void gev__group_drop_queued(struct gev_group *p, int error)
{
    struct gev__list waiters;
    struct gev__list *node;

    gev__list_init(&waiters);
    gev__group_ref(p);
    while ((node = gev__list_pop(&p->claims)) != NULL) {
        struct gev__claim *c = claim_of(node);
        if (c->waiter != NULL) {
            gev__list_push_back(&waiters, node);
        } else {
            drop_queued(gev__container_of(c, struct gev__member, claim), error);
        }
    }
    while ((node = gev__list_pop(&waiters)) != NULL) {
        gev__list_push_back(&p->claims, node);
    }
    gev__group_unref(p);
}

void gev__member_kill(struct gev__member *m)
{
    if (m->killed) {
        return;
    }
    m->killed = true;
    if (m->role != GEV__STRANGER) {
        gev__list_remove(&m->node);
        gev__list_push_back(&m->group->dying, &m->node);
    }
    gev__kill_anywhere(m->greenlet);
}

/* Each ends up on the list it came from, unless its kill has ended it. */
void gev__job_kill(struct gev__job *job, const struct gev_greenlet *but)
{
    struct gev__list done;
    struct gev__list *node;

    gev__list_init(&done);
    while ((node = gev__list_pop(&job->members)) != NULL) {
        struct gev__member *m =
            gev__container_of(node, struct gev__member, job_node);
        gev__list_push_back(&done, node);
        if (m->greenlet != but) {
            gev__member_kill(m);
        }
    }
    while ((node = gev__list_pop(&done)) != NULL) {
        gev__list_push_back(&job->members, node);
    }
}

void gev__job_forget(struct gev__job *job)
{
    struct gev__list *node;

    while ((node = gev__list_pop(&job->members)) != NULL) {
        gev__container_of(node, struct gev__member, job_node)->job = NULL;
    }
}

void gev__group_kill_all(struct gev_group *p, const struct gev_greenlet *but)
{
    struct gev__member *spared = NULL;
    struct gev__list *node;

    gev__group_ref(p);
    gev__group_drop_queued(p, ECANCELED);
    while ((node = gev__list_pop(&p->live)) != NULL) {
        struct gev__member *m = member_of(node);
        if (m->greenlet == but) {
            spared = m;
        } else {
            gev__member_kill(m);
        }
    }
    if (spared != NULL) {
        gev__list_push_front(&p->live, &spared->node);
    }
    gev__group_unref(p);
}

/* --- slots ---------------------------------------------------------------- */

/* g becomes a member. */
static void join_group(struct gev__member *m, struct gev_greenlet *g,
                       enum gev__role role)
{
    struct gev_group *p = m->group;

    m->greenlet = g;
    m->role = (uint8_t)role;
    m->link.kind = GEV__LINK_NOTE;
    m->link.fn = note_end;
    m->link.arg = m;
    gev__list_push_front(&g->links, &m->link.node);
    gev__list_push_back(&p->live, &m->node);
    p->count += role == GEV__MEMBER;
    p->helpers += role == GEV__HELPER;
}

/* Who joins while the group is killed is killed too. */
static void kill_newcomer(struct gev__member *m)
{
    if (m->group->killers > 0) {
        gev__member_kill(m);
    }
}

/* A task that waited has its slot. */
static void start_queued(struct gev__member *m)
{
    struct gev_hub *hub = gev__owner_hub(&m->group->owner);
    const struct gev__make make = {
        .fn = m->fn, .arg = m->arg, .site = m->site, .name = m->name};
    struct gev_greenlet *g;
    int rc = gev__greenlet_make(hub, &make, &g);

    if (rc < 0) {
        drop_queued(m, -rc);
        return;
    }
    gev__greenlet_start(g);
    join_group(m, g, GEV__MEMBER);
    kill_newcomer(m);
    gev__spawned(hub, g);
}

void gev__group_serve(struct gev_group *p)
{
    struct gev__list *node;

    while (gev__group_has_slot(p) &&
           (node = gev__list_pop(&p->claims)) != NULL) {
        struct gev__claim *c = claim_of(node);
        if (c->waiter == NULL) {
            start_queued(gev__container_of(c, struct gev__member, claim));
        } else if (gev__wake(c->waiter, 0)) {
            p->granted++;
            gev__list_push_back(&p->grants, node);
        }
    }
    if (gev__group_has_slot(p)) {
        gev__waitq_wake_all(&p->available, 0);
    }
}

int gev__group_take_slot(struct gev_hub *hub, struct gev_group *p,
                         struct gev__waitq *also)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_GROUP, .object = p};
    struct gev__claim claim = {.waiter = hub->current};
    struct gev__wait wait;
    int rc;

    if (p->freed) {
        return -EPIPE;
    }
    if (gev__group_has_slot(p)) {
        p->granted++;
        return 0;
    }
    gev__group_ref(p);
    gev__list_push_back(&p->claims, &claim.node);
    rc = also == NULL ? gev__park(hub, what)
                      : gev__waitq_park(hub, also, &wait, what, GEV__NEVER);
    gev__list_remove(&claim.node);
    gev__group_unref(p);
    return rc;
}

void gev__group_return_slot(struct gev_group *p)
{
    gev__group_ref(p);
    p->granted--;
    gev__group_serve(p);
    gev__group_note_end(p, 0);
    gev__group_unref(p);
}

/* --- joining -------------------------------------------------------------- */

int gev__group_start(struct gev_hub *hub, struct gev_group *p,
                     const struct gev__make *make, enum gev__role role,
                     struct gev__job *job, void *tag,
                     struct gev_greenlet **ret_greenlet)
{
    struct gev__member *m = new_member(p);
    struct gev_greenlet *g;
    int rc = m == NULL ? -ENOMEM : gev__greenlet_make(hub, make, &g);

    if (rc < 0) {
        if (m != NULL) {
            free_member(m);
        }
        if (role == GEV__MEMBER) {
            gev__group_return_slot(p);
        }
        return rc;
    }
    gev__greenlet_start(g);
    p->granted -= role == GEV__MEMBER;
    join_group(m, g, role);
    set_job(m, job, tag);
    if (ret_greenlet != NULL) {
        *ret_greenlet = g; /* stays valid till the next park at least */
    }
    kill_newcomer(m);
    gev__spawned(hub, g);
    return 0;
}

int gev__group_enqueue(struct gev_hub *hub, struct gev_group *p,
                       const struct gev__make *make, struct gev__job *job,
                       void *tag)
{
    if (gev__group_has_slot(p)) {
        p->granted++;
        return gev__group_start(hub, p, make, GEV__MEMBER, job, tag, NULL);
    }
    struct gev__member *m = new_member(p);
    if (m == NULL) {
        return -ENOMEM;
    }
    m->fn = make->fn;
    m->arg = make->arg;
    m->site = make->site;
    m->name = make->name;
    set_job(m, job, tag);
    gev__list_push_back(&p->claims, &m->claim.node);
    return 0;
}

/* With a slot in hand. Meanwhile it may have ended, or joined. */
int gev__group_adopt(struct gev_group *p, struct gev_greenlet *g)
{
    if (gev__greenlet_is_dead(g) || gev__group_has(p, g)) {
        gev__group_return_slot(p);
        return 0;
    }
    struct gev__member *m = new_member(p);
    if (m == NULL) {
        gev__group_return_slot(p);
        return -ENOMEM;
    }
    gev__greenlet_ref(g);
    p->granted--;
    join_group(m, g, GEV__MEMBER);
    kill_newcomer(m);
    return 0;
}

/* --- leaving -------------------------------------------------------------- */

void gev__group_leave(struct gev__member *m)
{
    struct gev_group *p = m->group;
    struct gev_greenlet *g = m->greenlet;

    gev__group_ref(p);
    gev__list_remove(&m->node);
    p->count--;
    if (m->job != NULL) {
        m->role = GEV__STRANGER;
    } else {
        gev__list_remove(&m->link.node);
        free_member(m);
        gev__greenlet_unref(g);
    }
    gev__group_serve(p);
    gev__group_note_end(p, 0);
    gev__group_unref(p);
}

void gev__member_lose(struct gev__member *m)
{
    struct gev_greenlet *g = m->greenlet;

    gev__list_init(&m->link.node); /* on no list: they are dropped */
    end_member(m, NULL, ECANCELED);
    gev__greenlet_unref(g);
}
