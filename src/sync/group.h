/* SPDX-License-Identifier: MIT */
#ifndef GEV_SYNC_GROUP_H
#define GEV_SYNC_GROUP_H

/* Groups: members and slots (group_member.c), waiting for their end
 * (group_join.c), work for others (group_map.c, imap.c).
 *
 * A member is a record of the group's with a note among the greenlet's links:
 * whoever ends the greenlet calls it at once, and so the slot is free in the
 * same moment. The note is the first of the links: no link of the user's, and
 * no lack of memory for one, comes before it.
 *
 *   invariant: count members + granted slots <= size
 *   invariant: no slot is free while a claim that can take it waits
 *
 * A slot that gets free is granted to the first claim: a parked greenlet, which
 * turns the grant into a member when it runs, or a task that waits for its
 * turn, which is started right there. Nobody overtakes.
 *
 * The group's memory lasts until its handle, all its records and all who are
 * parked for it are gone: it may be freed under all of them. */

#include "hub/greenlet.h"
#include "hub/hub.h"
#include "hub/owner.h"
#include "hub/waitq.h"

#include <gev/group.h>

struct gev__member;

/* Who has tasks in a group, and is told of their ends. */
struct gev__job {
    /* At once, whoever ends it: must not park. m is gone afterwards. */
    void (*ended)(struct gev__job *job, void *tag, void *value, int error);
    struct gev__list members; /* of gev__member: its tasks */
};

/* A place among those who wait for a slot. */
struct gev__claim {
    struct gev__list node;       /* on claims, once granted on grants */
    struct gev_greenlet *waiter; /* parked; NULL: a task, see gev__member */
};

/* Once discarded, a task is a STRANGER to the group: only its job still has to
 * hear of its end. HELPERs are the sources of imaps: killed and joined as
 * members are, but in no slot, and nobody sees them. */
enum gev__role { GEV__MEMBER, GEV__HELPER, GEV__STRANGER };

struct gev__member {
    struct gev__link link;   /* on the greenlet's links; arg: this */
    struct gev__list node;   /* on live, or on dying; or on the spare ones */
    struct gev__claim claim; /* while it is not started */
    struct gev_group *group; /* counted */
    struct gev_greenlet *greenlet; /* counted; NULL: not started */
    uint8_t role;                  /* enum gev__role */
    bool killed;                   /* by the group or the job: once each */
    struct gev__job *job;          /* told of its end, or NULL */
    void *tag;                     /* for the job */
    struct gev__list job_node;     /* on job->members */
    gev_fn fn;                     /* of one that is not started */
    void *arg;
    const char *site;
    const char *name;
};

struct gev_group {
    struct gev__owner owner;
    struct gev__hub_module module; /* listed while it has an owner */
    size_t size;                   /* SIZE_MAX: no limit */
    size_t count;                  /* members, a slot each */
    size_t granted;         /* slots given to greenlets that have not yet run */
    size_t helpers;         /* see enum gev__role */
    size_t refs;            /* the handle, records, who is parked for it */
    size_t killers;         /* while there are any, who joins is killed */
    bool freed;             /* gev_group_free has begun: nobody joins */
    int error;              /* of the first that failed */
    struct gev__list live;  /* of gev__member: not killed by the group */
    struct gev__list dying; /* killed by it */
    struct gev__list claims;     /* of gev__claim, first come first */
    struct gev__list grants;     /* of gev__claim */
    struct gev__waitq watchers;  /* wait for its end; group_join.c */
    struct gev__waitq available; /* wait for a free slot, but take none */
    struct gev__job async;       /* of gev_group_apply_async */
    struct gev__list spares;     /* of gev__member: for the next ones */
    size_t n_spares;
};

/* What a public call begins with: 0, -EINVAL for NULL, -EPERM. */
int gev__group_enter(struct gev_hub *hub, struct gev_group *p);

static inline void gev__group_ref(struct gev_group *p)
{
    p->refs++;
}
void gev__group_unref(struct gev_group *p);

/* --- slots ---------------------------------------------------------------- */

/* Whether a slot is free; then nobody waits for one. */
static inline bool gev__group_has_slot(const struct gev_group *p)
{
    return p->count + p->granted < p->size;
}

/* Takes a slot for the caller, who parks until it is his turn: 0. Then he makes
 * a member of it, or gives it back. also: a queue to wait in at the same time,
 * or NULL; what its waker said if that comes first (> 0). -EPIPE, or a
 * park's. */
int gev__group_take_slot(struct gev_hub *hub, struct gev_group *p,
                         struct gev__waitq *also);

/* Gives one back. */
void gev__group_return_slot(struct gev_group *p);

/* Serves those who wait for a slot. */
void gev__group_serve(struct gev_group *p);

/* --- members -------------------------------------------------------------- */

/* Spawns what make says. The caller has a slot for it, which it uses up (gives
 * back on error), but for a HELPER. The new member gets job and tag. -ENOMEM.
 * ret_greenlet may be NULL. */
int gev__group_start(struct gev_hub *hub, struct gev_group *p,
                     const struct gev__make *make, enum gev__role role,
                     struct gev__job *job, void *tag,
                     struct gev_greenlet **ret_greenlet);

/* Has it started as soon as there is a slot. -ENOMEM. */
int gev__group_enqueue(struct gev_hub *hub, struct gev_group *p,
                       const struct gev__make *make, struct gev__job *job,
                       void *tag);

/* Makes a member of one that has been made, with a slot as above. It may have
 * ended, or joined, meanwhile: then 0, too. -ENOMEM. */
int gev__group_adopt(struct gev_group *p, struct gev_greenlet *g);

/* g's record in the group, or NULL; of a MEMBER or HELPER. */
struct gev__member *gev__group_find(const struct gev_group *p,
                                    const struct gev_greenlet *g);

static inline bool gev__group_has(const struct gev_group *p,
                                  const struct gev_greenlet *g)
{
    const struct gev__member *m = gev__group_find(p, g);

    return m != NULL && m->role == GEV__MEMBER;
}

/* Takes a MEMBER out: it runs on. Serves who waits for its slot. */
void gev__group_leave(struct gev__member *m);

/* The greenlet is gone, and its links were dropped: what they would have done.
 */
void gev__member_lose(struct gev__member *m);

/* Kills one, unless it has been killed before. It may be gone afterwards. */
void gev__member_kill(struct gev__member *m);

/* Kills the tasks of a job, all but one. */
void gev__job_kill(struct gev__job *job, const struct gev_greenlet *but);

/* They end as anybody's, and their job hears nothing more. */
void gev__job_forget(struct gev__job *job);

/* --- watching; group_join.c ----------------------------------------------- */

/* A member has ended: tells who waits for that. error: what it failed with. */
void gev__group_note_end(struct gev_group *p, int error);

/* Kills all members, or all but one; what is queued is dropped. */
void gev__group_kill_all(struct gev_group *p, const struct gev_greenlet *but);

/* Drops tasks that wait for a slot; their jobs hear error. */
void gev__group_drop_queued(struct gev_group *p, int error);

#endif
