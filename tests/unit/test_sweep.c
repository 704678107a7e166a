#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "net/sweep.h"

#define TIMEOUT_MS 50

struct entry {
    struct sweep_item item;
    int number;
    uint64_t due_ms; /* 0: not yet */
};

static struct {
    uv_loop_t loop;
    struct sweep sweep;
    int order[16];
    int count;
    struct entry *rival; /* removed by whoever is due first */
} stage;

static void on_due(struct sweep *sweep, struct sweep_item *item)
{
    struct entry *e = list_entry(item, struct entry, item);

    assert_ptr_equal(sweep, &stage.sweep);
    stage.order[stage.count++] = e->number;
    e->due_ms = uv_now(&stage.loop);
    if (stage.rival != NULL)
        sweep_remove(&stage.rival->item);
    stage.rival = NULL;
}

static void start(uint64_t timeout_ms)
{
    memset(&stage, 0, sizeof(stage));
    assert_int_equal(uv_loop_init(&stage.loop), 0);
    sweep_init(&stage.sweep, &stage.loop, timeout_ms, on_due);
}

static void stop(void)
{
    sweep_close(&stage.sweep);
    uv_run(&stage.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&stage.loop), 0);
}

static struct entry entry_new(int number)
{
    struct entry e = {.number = number};

    return e;
}

static void due_in_the_order_of_the_last_touch(void **state)
{
    struct entry a = entry_new(1);
    struct entry b = entry_new(2);
    struct entry c = entry_new(3);
    uint64_t touched;

    (void)state;
    start(TIMEOUT_MS);
    sweep_item_init(&a.item);
    sweep_item_init(&b.item);
    sweep_item_init(&c.item);
    sweep_touch(&stage.sweep, &a.item);
    sweep_touch(&stage.sweep, &b.item);
    sweep_touch(&stage.sweep, &c.item);
    sweep_touch(&stage.sweep, &a.item);
    touched = uv_now(&stage.loop);
    /* Returns by itself: the timer runs only while there are items. */
    uv_run(&stage.loop, UV_RUN_DEFAULT);
    assert_int_equal(stage.count, 3);
    assert_int_equal(stage.order[0], 2);
    assert_int_equal(stage.order[1], 3);
    assert_int_equal(stage.order[2], 1);
    assert_true(a.due_ms >= touched + TIMEOUT_MS);
    stop();
}

static void removed_is_never_due(void **state)
{
    struct entry a = entry_new(1);
    struct entry b = entry_new(2);

    (void)state;
    start(TIMEOUT_MS);
    sweep_item_init(&a.item);
    sweep_item_init(&b.item);
    sweep_remove(&a.item);
    sweep_touch(&stage.sweep, &a.item);
    sweep_touch(&stage.sweep, &b.item);
    stage.rival = &b;
    uv_run(&stage.loop, UV_RUN_DEFAULT);
    assert_int_equal(stage.count, 1);
    assert_int_equal(stage.order[0], 1);
    stop();
}

static void without_a_timeout_nothing_is_due(void **state)
{
    struct entry a = entry_new(1);

    (void)state;
    start(0);
    sweep_item_init(&a.item);
    sweep_touch(&stage.sweep, &a.item);
    uv_run(&stage.loop, UV_RUN_DEFAULT);
    assert_int_equal(stage.count, 0);
    sweep_remove(&a.item);
    stop();
}

static void starts_again_after_it_was_empty(void **state)
{
    struct entry a = entry_new(1);

    (void)state;
    start(TIMEOUT_MS);
    sweep_item_init(&a.item);
    for (int i = 0; i < 3; i++) {
        sweep_touch(&stage.sweep, &a.item);
        uv_run(&stage.loop, UV_RUN_DEFAULT);
    }
    assert_int_equal(stage.count, 3);
    stop();
}

static void looks_only_every_interval(void **state)
{
    (void)state;
    struct entry e = entry_new(1);
    uint64_t begin;

    start(10);
    sweep_every(&stage.sweep, 100);
    sweep_item_init(&e.item);
    begin = uv_now(&stage.loop);
    sweep_touch(&stage.sweep, &e.item);
    uv_run(&stage.loop, UV_RUN_DEFAULT);
    assert_int_equal(stage.count, 1);
    assert_true(e.due_ms - begin >= 100);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(due_in_the_order_of_the_last_touch),
        cmocka_unit_test(removed_is_never_due),
        cmocka_unit_test(without_a_timeout_nothing_is_due),
        cmocka_unit_test(starts_again_after_it_was_empty),
        cmocka_unit_test(looks_only_every_interval),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
