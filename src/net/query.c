/* SPDX-License-Identifier: MIT */
#include "net/query.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "hub/sched.h"
#include "net/channel.h"
#include "net/hosts.h"

#include <arpa/nameser.h>
#include <netdb.h>
#include <string.h>
#include <strings.h>

/* The pace. A thousand questions at once are a burst of packets that no
 * server's socket buffer holds, and what is lost costs a time-out. So of the
 * packets that the server had no time to answer there are at most BURST_MAX:
 * each answer lets more go, and after BURST_TIME a new burst may begin. The
 * usual buffer, 208 KiB, holds 270 packets of 768 bytes (what the kernel counts
 * for a small one), so two bursts may meet a server that was not running. */
#define BURST_MAX 128u
#define BURST_TIME (20 * GEV__MS)

struct query {
    struct gev__list link; /* on qs->buckets, then on qs->answered */
    struct gev__list turn; /* on qs->pending until it is asked */
    struct gev__list waiters;
    struct gev__queries *qs;
    struct gev__channel *channel; /* whom it was asked of; counts one ref */
    struct gev__answer *answer;   /* once answered, if code is 0 */
    unsigned refs;
    uint32_t hash;
    enum gev__question question;
    int code; /* EAI_*, once answered */
    bool answered;
    unsigned burst_id;      /* which burst it was part of */
    unsigned packets;       /* how many one try takes */
    unsigned long refusals; /* when it was asked */
    char name[];            /* gev_dump() prints it */
};

/* On the stack of the greenlet that waits. */
struct gev__dns_waiter {
    struct gev__list link; /* on q->waiters until it is woken */
    struct gev_greenlet *greenlet;
    bool lost; /* a callback forked, this is main in the child: no query */
};

/* --- queries -------------------------------------------------------------- */

static struct query *find_query(struct gev__queries *qs, const char *name,
                                enum gev__question question, uint32_t hash)
{
    gev__list_foreach(it, &qs->buckets[hash % GEV__QUERY_BUCKETS]) {
        struct query *q = gev__container_of(it, struct query, link);
        if (q->hash == hash && q->question == question &&
            strcasecmp(q->name, name) == 0) {
            return q;
        }
    }
    return NULL;
}

/* One that nobody refers to yet. */
static struct query *make_query(struct gev__queries *qs, const char *name,
                                enum gev__question question, uint32_t hash)
{
    size_t size = strlen(name) + 1;
    struct query *q = gev__calloc(1, sizeof(*q) + size);

    if (q == NULL) {
        return NULL;
    }
    gev__list_init(&q->turn);
    gev__list_init(&q->waiters);
    q->qs = qs;
    q->hash = hash;
    q->question = question;
    q->packets = question == GEV__ASK_BOTH ? 2 : 1;
    memcpy(q->name, name, size);
    gev__list_push_back(&qs->buckets[hash % GEV__QUERY_BUCKETS], &q->link);
    return q;
}

/* The last one to leave also takes back what was not asked yet. */
static void drop_query(struct query *q)
{
    if (--q->refs > 0) {
        return;
    }
    assert(gev__list_is_empty(&q->waiters));
    gev__list_remove(&q->link);
    gev__list_remove(&q->turn);
    if (q->answer != NULL) {
        gev__answer_unref(q->answer);
    }
    gev__free(q);
}

/* There is an answer, or there will be none. Takes the answer over. */
static void end_query(struct query *q, int code, struct gev__answer *answer)
{
    struct gev__list *node;

    assert(!q->answered);
    q->answered = true;
    q->code = code;
    q->answer = answer;
    gev__list_remove(&q->link); /* who asks from now on asks anew */
    gev__list_push_back(&q->qs->answered, &q->link);
    while ((node = gev__list_pop(&q->waiters)) != NULL) {
        struct gev__dns_waiter *w =
            gev__container_of(node, struct gev__dns_waiter, link);
        gev__wake(w->greenlet, 0);
    }
}

/* --- answers -------------------------------------------------------------- */

static int code_of_status(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return 0;
    case ARES_ENODATA:
    case ARES_ENOTFOUND:
    case ARES_ENONAME:
    case ARES_EBADNAME:
        return EAI_NONAME;
    case ARES_ENOMEM:
        return EAI_MEMORY;
    case ARES_ESERVFAIL:
    case ARES_EREFUSED:
    case ARES_ECONNREFUSED:
    case ARES_ETIMEOUT:
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
        return EAI_AGAIN;
    default: /* nonsense in the answer */
        return EAI_FAIL;
    }
}

/* c-ares is done with a query. */
static void take_answer(struct query *q, int code, struct gev__answer *answer)
{
    struct gev__queries *qs = q->qs;

    /* c-ares may have gone on without what it had no memory for. */
    if (gev__channel_refusals() != q->refusals) {
        if (answer != NULL) {
            gev__answer_unref(answer);
            answer = NULL;
        }
        code = EAI_MEMORY;
    }
    if (q->burst_id == qs->burst_id) {
        qs->burst -= q->packets;
    }
    gev__channel_done(q->channel);
    end_query(q, code, answer);
    drop_query(q);
}

static void copy_addr(struct gev__addr *to, const struct sockaddr *from)
{
    if (from->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, from, sizeof(v4));
        *to = (struct gev__addr){.family = AF_INET, .v4 = v4.sin_addr};
    } else {
        struct sockaddr_in6 v6;
        memcpy(&v6, from, sizeof(v6));
        *to = (struct gev__addr){.family = AF_INET6, .v6 = v6.sin6_addr};
    }
}

/* The canonical name is where the chain of aliases ends. */
static const char *canonical_name(const struct query *q,
                                  const struct ares_addrinfo *ai)
{
    const char *name = ai->name != NULL ? ai->name : q->name;

    for (const struct ares_addrinfo_cname *c = ai->cnames; c != NULL;
         c = c->next) {
        name = c->name != NULL ? c->name : name;
    }
    return name;
}

static int read_addrs(const struct query *q, const struct ares_addrinfo *ai,
                      struct gev__answer **ret_answer)
{
    size_t count = 0;

    for (const struct ares_addrinfo_node *n = ai->nodes; n != NULL;
         n = n->ai_next) {
        count++;
    }
    if (count == 0) {
        return EAI_NONAME;
    }
    struct gev__answer *answer = gev__answer_new(canonical_name(q, ai), count);
    if (answer == NULL) {
        return EAI_MEMORY;
    }
    for (const struct ares_addrinfo_node *n = ai->nodes; n != NULL;
         n = n->ai_next) {
        copy_addr(&answer->addrs[answer->count++], n->ai_addr);
    }
    if (gev__addr_sort(answer->addrs, answer->count) < 0) {
        gev__answer_unref(answer);
        return EAI_MEMORY;
    }
    *ret_answer = answer;
    return 0;
}

static void on_addrs(void *arg, int status, int timeouts,
                     struct ares_addrinfo *ai)
{
    struct query *q = arg;
    struct gev__answer *answer = NULL;
    int code = code_of_status(status);

    (void)timeouts;
    if (code == 0 && !q->qs->ending) {
        code = read_addrs(q, ai, &answer);
    }
    if (ai != NULL) {
        ares_freeaddrinfo(ai);
    }
    take_answer(q, code, answer);
}

static int read_name(int family, const unsigned char *data, int size,
                     struct gev__answer **ret_answer)
{
    struct hostent *host = NULL;
    int code = code_of_status(
        ares_parse_ptr_reply(data, size, NULL, 0, family, &host));

    if (code != 0) {
        return code;
    }
    /* Of several names h_name is the last; libc gives the first. */
    const char *name =
        host->h_aliases[0] != NULL ? host->h_aliases[0] : host->h_name;
    *ret_answer = gev__answer_new(name, 0);
    ares_free_hostent(host);
    return *ret_answer != NULL ? 0 : EAI_MEMORY;
}

static void on_name(void *arg, int status, int timeouts, unsigned char *data,
                    int size)
{
    struct query *q = arg;
    struct gev__answer *answer = NULL;
    int code = code_of_status(status);

    (void)timeouts;
    if (code == 0) {
        int family = q->question == GEV__ASK_NAME_V4 ? AF_INET : AF_INET6;
        code = read_name(family, data, size, &answer);
    }
    take_answer(q, code, answer);
}

/* --- asking --------------------------------------------------------------- */

static void ask(struct query *q)
{
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT};
    ares_channel ares = q->channel->ares;

    switch (q->question) {
    case GEV__ASK_NAME_V4:
    case GEV__ASK_NAME_V6:
        ares_query(ares, q->name, ns_c_in, ns_t_ptr, on_name, q);
        return;
    case GEV__ASK_V4:
        hints.ai_family = AF_INET;
        break;
    case GEV__ASK_V6:
        hints.ai_family = AF_INET6;
        break;
    case GEV__ASK_BOTH:
        hints.ai_family = AF_UNSPEC;
        break;
    }
    ares_getaddrinfo(ares, q->name, NULL, &hints, on_addrs, q);
}

/* The answer may be there when it returns, as may be those of others. */
static void send_query(struct query *q)
{
    struct gev__queries *qs = q->qs;
    struct gev__channel *ch = qs->channel;

    q->refs++;
    if (gev__channel_begin(ch) < 0) {
        end_query(q, EAI_MEMORY, NULL);
        drop_query(q);
        return;
    }
    q->channel = ch;
    q->burst_id = qs->burst_id;
    q->refusals = gev__channel_refusals();
    qs->burst += q->packets;
    ask(q);
    gev__channel_settle(ch);
}

/* Whether one more may be asked now. */
static bool may_send(struct gev__queries *qs)
{
    int64_t now = gev__clock_now();

    if (now - qs->burst_began >= BURST_TIME) {
        qs->burst_began = now;
        qs->burst_id++;
        qs->burst = 0;
    }
    return qs->burst < BURST_MAX;
}

/* False: no memory to wait for the turn. */
static bool arm_pace(struct gev__queries *qs)
{
    return gev__timer_is_armed(&qs->pace) ||
           gev__timer_arm(qs->hub, &qs->pace, GEV__SLEEPS,
                          gev__clock_add(qs->burst_began, BURST_TIME)) == 0;
}

void gev__queries_go_on(struct gev__queries *qs)
{
    struct gev__list *node;

    if (qs->sending) {
        return; /* answers that came at once: the loop below goes on */
    }
    qs->sending = true;
    while (!gev__list_is_empty(&qs->pending) &&
           (may_send(qs) || !arm_pace(qs))) {
        node = gev__list_pop(&qs->pending);
        send_query(gev__container_of(node, struct query, turn));
    }
    qs->sending = false;
    if (gev__list_is_empty(&qs->pending)) {
        gev__timer_disarm(qs->hub, &qs->pace);
    }
}

static void on_pace(struct gev__timer *t)
{
    gev__queries_go_on(gev__container_of(t, struct gev__queries, pace));
}

/* False: the question is gone, and nothing of it may be touched: a callback
 * forked, and this is main in the child. */
static bool wait_for_answer(struct query *q, int64_t deadline, int *ret_error)
{
    struct gev_hub *hub = q->qs->hub;
    const struct gev__wait_for what = {.kind = GEV__WAIT_DNS,
                                       .object = q->name};
    struct gev__dns_waiter w = {.greenlet = hub->current};

    gev__list_push_back(&q->waiters, &w.link);
    gev__hub_hold(hub);
    q->qs->waiting++;
    if (hub->current == hub->main_greenlet) {
        q->qs->mains = &w;
    }
    int rc = gev__park_until(hub, what, deadline);
    if (gev__unlikely(w.lost)) {
        return false;
    }
    if (hub->current == hub->main_greenlet) {
        q->qs->mains = NULL;
    }
    q->qs->waiting--;
    gev__hub_release(hub);
    gev__list_remove(&w.link);
    *ret_error = rc < 0 ? -rc : 0;
    return true;
}

int gev__query(struct gev__queries *qs, const char *name,
               enum gev__question question, int64_t deadline,
               struct gev__answer **ret_answer, int *ret_error)
{
    uint32_t hash = gev__name_hash(name);

    /* Before anything is asked: a killed greenlet asks nothing, and none may
     * end in here (a hub that closes ends greenlets that go on and on). */
    int rc = deadline == 0 ? -ETIMEDOUT : gev__park_check(qs->hub);
    if (rc < 0) {
        *ret_error = -rc;
        return EAI_SYSTEM;
    }
    struct query *q = find_query(qs, name, question, hash);
    bool is_new = q == NULL;
    if (is_new) {
        q = make_query(qs, name, question, hash);
        if (q == NULL) {
            return EAI_MEMORY;
        }
    }
    q->refs++;
    if (is_new) {
        gev__list_push_back(&qs->pending, &q->turn);
        gev__queries_go_on(qs);
    }
    int error = 0;
    if (!q->answered && !wait_for_answer(q, deadline, &error)) {
        return EAI_AGAIN;
    }
    int code = error != 0 ? EAI_SYSTEM : q->code;
    *ret_error = error;
    if (code == 0) {
        *ret_answer = gev__answer_ref(q->answer);
    }
    drop_query(q);
    return code;
}

/* --- begin and end -------------------------------------------------------- */

void gev__queries_init(struct gev__queries *qs, struct gev_hub *hub)
{
    *qs = (struct gev__queries){.hub = hub};
    qs->burst_began = gev__clock_now();
    gev__list_init(&qs->pending);
    gev__list_init(&qs->answered);
    gev__timer_init(&qs->pace, on_pace);
    for (unsigned i = 0; i < GEV__QUERY_BUCKETS; i++) {
        gev__list_init(&qs->buckets[i]);
    }
}

/* Forgets the waiters, whose stacks may be gone, and their references. */
static void abandon(struct gev__list *queries)
{
    gev__list_foreach_safe(it, tmp, queries) {
        struct query *q = gev__container_of(it, struct query, link);
        gev__list_init(&q->waiters);
        q->refs = 1;
        if (q->channel == NULL || q->answered) {
            drop_query(q);
        }
    }
}

void gev__queries_forked(struct gev__queries *qs)
{
    struct gev__dns_waiter *w = qs->mains;

    if (w != NULL && w->greenlet == qs->hub->main_greenlet &&
        w->greenlet != qs->hub->current) {
        w->lost = true;
        gev__wake(w->greenlet, 0);
    }
    gev__queries_end(qs);
}

void gev__queries_end(struct gev__queries *qs)
{
    qs->ending = true;
    for (unsigned i = 0; i < GEV__QUERY_BUCKETS; i++) {
        abandon(&qs->buckets[i]);
    }
    abandon(&qs->answered);
    gev__timer_disarm(qs->hub, &qs->pace);
}
