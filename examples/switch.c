/* SPDX-License-Identifier: MIT */

/* Explicit switching, without a scheduler: greenlet's own model. */
#include <gev.h>

#include "example.h"

#include <stdint.h>

static const char help[] =
    "usage: switch\n"
    "Switches between greenlets by hand: ping-pong, values both ways, a\n"
    "generator out of a recursion, and errors thrown into and out of them.\n";

/* Switches that cannot fail here; a failed one is a bug worth stopping at. */
static void *must_switch(gev_greenlet *to, void *in)
{
    void *out = NULL;
    if (gev_switch(to, in, &out) < 0) {
        perror("gev_switch");
        exit(EXIT_FAILURE);
    }
    return out;
}

static gev_greenlet *must_new(gev_fn fn, void *arg)
{
    gev_greenlet *g = gev_new(fn, arg);
    if (g == NULL) {
        perror("gev_new");
        exit(EXIT_FAILURE);
    }
    return g;
}

/* --- Ping-pong: the first example of greenlet's documentation ------------- */

static gev_greenlet *gr1;
static gev_greenlet *gr2;

static void *test1(void *arg)
{
    puts("12");
    must_switch(gr2, NULL);
    puts("34");
    return arg; /* to the parent: main */
}

static void *test2(void *arg)
{
    puts("56");
    if (gev_switch(gr1, NULL, NULL) < 0) {
        /* Nobody comes back: the last reference goes, and that ends us. */
        printf("test2 ends: %s\n", gev_strerror(errno));
        return gev_fail(errno);
    }
    puts("78"); /* never reached */
    return arg;
}

static void ping_pong(void)
{
    gr1 = must_new(test1, NULL);
    gr2 = must_new(test2, NULL);
    must_switch(gr1, NULL);
    printf("test1 is dead: %s, test2 is dead: %s\n",
           gev_dead(gr1) ? "yes" : "no", gev_dead(gr2) ? "yes" : "no");
    gev_unref(gr1);
    gev_unref(gr2);
}

/* --- Values: what is sent in comes out at the other side ------------------ */

/* Each switch brings a number and takes the sum so far. */
static void *accumulate(void *arg)
{
    intptr_t sum = (intptr_t)arg;
    for (;;) {
        void *next;
        if (gev_switch(gev_parent(gev_current()), (void *)sum, &next) < 0) {
            return gev_fail(errno);
        }
        if (next == NULL) {
            return (void *)-sum; /* the value of the last switch */
        }
        sum += (intptr_t)next;
    }
}

static void values(void)
{
    gev_greenlet *g = must_new(accumulate, NULL);
    for (intptr_t i = 1; i <= 4; i++) {
        /* The first one is the argument of accumulate(). */
        const intptr_t sum = (intptr_t)must_switch(g, (void *)(i * 10));
        printf("sent %d, sum %d\n", (int)i * 10, (int)sum);
    }
    printf("returned %d\n", (int)(intptr_t)must_switch(g, NULL));
    gev_unref(g);
}

/* --- A generator: switching from deep inside a recursion ------------------ */

struct node {
    const char *word;
    struct node *left;
    struct node *right;
};

static int walk(struct node *node)
{
    if (node == NULL) {
        return 0;
    }
    if (walk(node->left) < 0 ||
        gev_switch(gev_parent(gev_current()), node, NULL) < 0) {
        return -1;
    }
    return walk(node->right);
}

static void *walker(void *arg)
{
    return walk(arg) < 0 ? gev_fail(errno) : NULL; /* NULL: no more nodes */
}

static void generator(void)
{
    struct node a = {"a", NULL, NULL};
    struct node c = {"tree,", NULL, NULL};
    struct node b = {"recursive", &a, &c};
    struct node e = {"step", NULL, NULL};
    struct node f = {"by step", &e, NULL};
    struct node d = {"one", &b, &f};
    gev_greenlet *g = must_new(walker, &d);
    for (struct node *n; (n = must_switch(g, NULL)) != NULL;) {
        printf("%s%s", n->word, n == &f ? "\n" : " ");
    }
    gev_unref(g);
}

/* --- Errors: thrown into a greenlet, and out of it into its parent -------- */

static void *stubborn(void *arg)
{
    gev_greenlet *parent = gev_parent(gev_current());
    while (gev_switch(parent, NULL, NULL) < 0) {
        printf("caught: %s\n", gev_strerror(errno));
        if (errno != EINTR) {
            return gev_fail(ERANGE); /* goes on to the parent */
        }
    }
    return arg; /* not reached: nobody switches to it with a value */
}

static void errors(void)
{
    gev_greenlet *g = must_new(stubborn, NULL);
    must_switch(g, NULL); /* to where it can catch */
    if (gev_throw(g, EINTR) == 0) {
        puts("it caught EINTR and switched back");
    }
    if (gev_throw(g, EIO) < 0) {
        printf("it failed, and so does its parent's call: %s\n",
               gev_strerror(errno));
    }
    gev_unref(g);

    g = must_new(stubborn, NULL);
    if (gev_throw(g, EPIPE) < 0) { /* dies without ever running */
        printf("thrown into a new one: %s, dead: %s\n", gev_strerror(errno),
               gev_dead(g) ? "yes" : "no");
    }
    gev_unref(g);
}

int main(int argc, char **argv)
{
    const int option = next_option(argc, argv, "h");
    if (option == 'h') {
        return print_help(help);
    }
    if (option != -1 || has_extra(argc, argv)) {
        return bad_usage(argv[0]);
    }
    ping_pong();
    values();
    generator();
    errors();
    gev_hub_close();
    return end_output(EXIT_SUCCESS);
}
