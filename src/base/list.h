/* SPDX-License-Identifier: MIT */
#ifndef GEV_BASE_LIST_H
#define GEV_BASE_LIST_H

/* A circular doubly linked intrusive list. A node that is on no list points
 * at itself, so that taking it off twice is harmless. */

#include "base/compiler.h"

#include <stdbool.h>

struct gev__list {
    struct gev__list *prev;
    struct gev__list *next;
};

static inline void gev__list_init(struct gev__list *l)
{
    l->prev = l;
    l->next = l;
}

static inline bool gev__list_is_empty(const struct gev__list *l)
{
    return l->next == l;
}

static inline void gev__list_push_back(struct gev__list *head,
                                       struct gev__list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void gev__list_push_front(struct gev__list *head,
                                        struct gev__list *node)
{
    gev__list_push_back(head->next, node);
}

static inline void gev__list_remove(struct gev__list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    gev__list_init(node);
}

/* NULL if the list is empty. */
static inline struct gev__list *gev__list_first(const struct gev__list *head)
{
    return head->next == head ? NULL : head->next;
}

static inline struct gev__list *gev__list_pop(struct gev__list *head)
{
    struct gev__list *node = gev__list_first(head);
    if (node != NULL) {
        gev__list_remove(node);
    }
    return node;
}

#define gev__list_foreach(it, head)                                            \
    for (struct gev__list *it = (head)->next; it != (head); it = it->next)

#define gev__list_foreach_safe(it, tmp, head)                                  \
    for (struct gev__list *it = (head)->next, *tmp = it->next; it != (head);   \
         it = tmp, tmp = it->next)

#endif
