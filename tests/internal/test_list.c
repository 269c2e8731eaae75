/* SPDX-License-Identifier: MIT */
/* base/list.h. No greenlets run: cmocka's own asserts are fine here. */
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
    int number;
    struct gev__list link;
};

static struct item items[4];
static struct gev__list head;

static int set_up(void **state)
{
    (void)state;
    gev__list_init(&head);
    for (int i = 0; i < 4; i++) {
        items[i].number = i + 1;
        gev__list_init(&items[i].link);
    }
    return 0;
}

/* The numbers on the list as decimal digits, read forwards; the way back must
 * say the same. */
static int contents(void)
{
    int forwards = 0;
    gev__list_foreach(l, &head) {
        struct item *item = gev__container_of(l, struct item, link);
        forwards = forwards * 10 + item->number;
    }
    int backwards = 0;
    int power = 1;
    for (struct gev__list *l = head.prev; l != &head; l = l->prev) {
        backwards += power * gev__container_of(l, struct item, link)->number;
        power *= 10;
    }
    assert_int_equal(forwards, backwards);
    return forwards;
}

static void fresh_list_is_empty(void **state)
{
    (void)state;
    assert_true(gev__list_is_empty(&head));
    assert_null(gev__list_first(&head));
    assert_null(gev__list_pop(&head));
    assert_int_equal(contents(), 0);
}

static void pushes_keep_the_order(void **state)
{
    (void)state;
    gev__list_push_back(&head, &items[0].link);
    gev__list_push_back(&head, &items[1].link);
    gev__list_push_front(&head, &items[2].link);
    gev__list_push_front(&head, &items[3].link);
    assert_int_equal(contents(), 4312);
    assert_false(gev__list_is_empty(&head));
    assert_ptr_equal(gev__list_first(&head), &items[3].link);
}

static void push_front_on_a_node_inserts_before_its_successor(void **state)
{
    (void)state;
    gev__list_push_back(&head, &items[0].link);
    gev__list_push_back(&head, &items[1].link);
    gev__list_push_front(&items[0].link, &items[2].link);
    gev__list_push_back(&items[0].link, &items[3].link);
    assert_int_equal(contents(), 4132);
}

static void pop_takes_the_first(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        gev__list_push_back(&head, &items[i].link);
    }
    for (int i = 0; i < 4; i++) {
        assert_ptr_equal(gev__list_pop(&head), &items[i].link);
        assert_true(gev__list_is_empty(&items[i].link));
    }
    assert_true(gev__list_is_empty(&head));
}

static void remove_works_anywhere_and_twice(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        gev__list_push_back(&head, &items[i].link);
    }
    gev__list_remove(&items[1].link);
    assert_int_equal(contents(), 134);
    gev__list_remove(&items[1].link);
    assert_int_equal(contents(), 134);
    gev__list_remove(&items[3].link);
    assert_int_equal(contents(), 13);
    gev__list_remove(&items[0].link);
    assert_int_equal(contents(), 3);
    gev__list_remove(&items[2].link);
    assert_true(gev__list_is_empty(&head));
    gev__list_push_back(&head, &items[1].link);
    assert_int_equal(contents(), 2);
}

static void foreach_safe_survives_removal(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        gev__list_push_back(&head, &items[i].link);
    }
    int visited = 0;
    gev__list_foreach_safe(l, next, &head) {
        visited++;
        if (gev__container_of(l, struct item, link)->number % 2 == 0) {
            gev__list_remove(l);
        }
    }
    assert_int_equal(visited, 4);
    assert_int_equal(contents(), 13);
    gev__list_foreach_safe(l, next, &head) {
        gev__list_remove(l);
    }
    assert_true(gev__list_is_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(fresh_list_is_empty, set_up),
        cmocka_unit_test_setup(pushes_keep_the_order, set_up),
        cmocka_unit_test_setup(
            push_front_on_a_node_inserts_before_its_successor, set_up),
        cmocka_unit_test_setup(pop_takes_the_first, set_up),
        cmocka_unit_test_setup(remove_works_anywhere_and_twice, set_up),
        cmocka_unit_test_setup(foreach_safe_survives_removal, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
