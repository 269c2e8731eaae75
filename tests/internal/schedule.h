/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_SCHEDULE_H
#define GEV_TEST_SCHEDULE_H

/* Random scripts of operations, and a log of what they did; for test_model.c.
 */

#include <stdbool.h>
#include <stdint.h>

enum { SCRIPTS = 8, OPS = 14, SLOTS = 2, LOG_MAX = 2000 };
enum {
    SKIPPED = 9999,
    VALUE = 10000,
    BEGUN = 100,
    RAWLINKED = 200,
    LINKED = 300
};

enum kind {
    SPAWN,
    SPAWN_LATER,
    SLEEP,
    YIELD,
    JOIN,
    KILL,
    THROW,
    LINK,
    RAWLINK,
    LINK_TO,
    UNLINK,
    SCOPE_BEGIN,
    SCOPE_END,
    SHIELD_BEGIN,
    SHIELD_END,
    UNCANCEL,
    GET,
    SWITCH,
    KINDS
};

static const char *const kind_names[KINDS] = {
    "spawn",     "spawn_later", "sleep",      "yield",    "join",   "kill",
    "throw",     "link",        "rawlink",    "link_to",  "unlink", "scope",
    "scope_end", "shield",      "shield_end", "uncancel", "get",    "switch",
};

struct op {
    enum kind kind;
    int target;
    int ms;   /* 0: for ever, where that makes sense */
    int code; /* thrown, or of the scope; also the slot (mod SLOTS) */
};

struct script {
    struct op ops[OPS];
    int n;
    int fail; /* how it ends: 0, or the code it fails with */
};

static struct script scripts[SCRIPTS];

/* --- the log ------------------------------------------------------------ */

struct entry {
    int ms;
    int who;
    int what; /* an index of an operation, BEGUN, or a link's number */
    int result;
};

struct journal {
    struct entry entries[LOG_MAX];
    int n;
    bool closed;
};

static struct journal real_log;
static struct journal model_log;

static void note(struct journal *l, int64_t ms, int who, int what, int result)
{
    if (!l->closed && l->n < LOG_MAX) {
        l->entries[l->n++] = (struct entry){(int)ms, who, what, result};
    }
}

/* --- scripts ------------------------------------------------------------ */

static uint64_t random_state;

static int random_below(int n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (int)((random_state >> 11) % (uint64_t)n);
}

/* main (script 0) is nobody's target, for nothing may disturb its gev_run(),
 * and it never waits for ever: it would be told of a deadlock. */
static struct op random_op(int who)
{
    struct op op = {
        .kind = (enum kind)random_below(KINDS),
        .target = 1 + random_below(SCRIPTS - 1),
        .ms = random_below(5),
        .code = 1000 + random_below(6),
    };
    if (random_below(4) == 0) {
        op.kind = random_below(2) == 0 ? SPAWN : SLEEP;
    }
    if (op.kind == LINK_TO && who == 0) {
        op.kind = LINK;
    }
    if (op.ms == 0 &&
        (who == 0 || op.kind == SLEEP || op.kind == SPAWN_LATER)) {
        op.ms = 1;
    }
    return op;
}

static void make_scripts(unsigned seed)
{
    random_state = UINT64_C(0x9e3779b97f4a7c15) * (seed + 1) | 1;
    for (int i = 0; i < 20; i++) {
        (void)random_below(2);
    }
    for (int i = 0; i < SCRIPTS; i++) {
        scripts[i].n = 3 + random_below(OPS - 3);
        scripts[i].fail = random_below(5) == 0 ? 1100 + i : 0;
        for (int k = 0; k < scripts[i].n; k++) {
            scripts[i].ops[k] = random_op(i);
        }
    }
    scripts[0].ops[0] = (struct op){.kind = SPAWN, .target = 1};
    scripts[0].ops[1] = (struct op){.kind = SPAWN, .target = 2};
}

#endif
