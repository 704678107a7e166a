#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/list.h"

struct item {
    int before; /* so that a wrong offset shows */
    struct list link;
    int number;
};

static void items_init(struct item *items, int n)
{
    for (int i = 0; i < n; i++) {
        items[i].number = i;
        list_init(&items[i].link);
    }
}

/* Checks both directions of the list against the numbers, which end with -1. */
static void assert_holds(struct list *head, const int *numbers)
{
    struct list *l = head;
    int n = 0;

    for (; numbers[n] >= 0; n++) {
        l = l->next;
        assert_ptr_not_equal(l, head);
        assert_int_equal(list_entry(l, struct item, link)->number, numbers[n]);
    }
    assert_ptr_equal(l->next, head);
    for (l = head; n > 0; n--) {
        l = l->prev;
        assert_int_equal(list_entry(l, struct item, link)->number, numbers[n - 1]);
    }
    assert_ptr_equal(l->prev, head);
}

static void removing_twice_is_harmless(void **state)
{
    (void)state;
    struct item items[2];
    struct list head;

    items_init(items, 2);
    list_init(&head);
    list_remove(&items[0].link); /* in no list at all */
    assert_false(list_is_linked(&items[0].link));
    list_append(&head, &items[0].link);
    list_append(&head, &items[1].link);
    list_remove(&items[0].link);
    list_remove(&items[0].link);
    assert_false(list_is_linked(&items[0].link));
    assert_holds(&head, (const int[]){1, -1});
}

static void empty_list_has_no_first(void **state)
{
    (void)state;
    struct item item = {.number = 0};
    struct list head;

    list_init(&head);
    list_init(&item.link);
    assert_true(list_is_empty(&head));
    assert_null(list_first(&head));
    list_append(&head, &item.link);
    assert_false(list_is_empty(&head));
    assert_true(list_is_linked(&item.link));
    assert_ptr_equal(list_first(&head), &item.link);
    list_remove(&item.link);
    assert_true(list_is_empty(&head));
    assert_null(list_first(&head));
}

static void keeps_order(void **state)
{
    (void)state;
    struct item items[4];
    struct list head;

    items_init(items, 4);
    list_init(&head);
    for (int i = 0; i < 4; i++)
        list_append(&head, &items[i].link);
    assert_holds(&head, (const int[]){0, 1, 2, 3, -1});
    list_remove(&items[2].link);
    assert_holds(&head, (const int[]){0, 1, 3, -1});
    list_append(&head, &items[2].link);
    list_remove(&items[0].link);
    assert_holds(&head, (const int[]){1, 3, 2, -1});
}

static void join_moves_everything_behind(void **state)
{
    (void)state;
    struct item items[4];
    struct list a;
    struct list b;

    items_init(items, 4);
    list_init(&a);
    list_init(&b);
    list_join(&a, &b);
    assert_true(list_is_empty(&a) && list_is_empty(&b));
    list_append(&b, &items[0].link);
    list_append(&b, &items[1].link);
    list_join(&a, &b); /* into an empty one */
    assert_holds(&a, (const int[]){0, 1, -1});
    assert_true(list_is_empty(&b));
    list_join(&a, &b); /* from an empty one */
    assert_holds(&a, (const int[]){0, 1, -1});
    list_append(&b, &items[2].link);
    list_append(&b, &items[3].link);
    list_join(&a, &b);
    assert_holds(&a, (const int[]){0, 1, 2, 3, -1});
    list_remove(&items[2].link);
    assert_holds(&a, (const int[]){0, 1, 3, -1});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(removing_twice_is_harmless),
        cmocka_unit_test(empty_list_has_no_first),
        cmocka_unit_test(keeps_order),
        cmocka_unit_test(join_moves_everything_behind),
    };

    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
