#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "role/walk.h"

#define ITEMS   40
#define ITEM_US (WALK_TURN_US / 4)

struct thing {
    struct walk_item item;
    unsigned done;
};

static struct {
    uv_loop_t loop;
    struct walk walk;
    uv_prepare_t turn;
    struct thing things[ITEMS];
    unsigned turns; /* of the loop, in which something was done */
    unsigned done;
    unsigned done_before;
    unsigned most;         /* in one turn */
    struct thing *removes; /* what the first one takes out */
    bool adds_itself;      /* the first one, once */
} scene;

static void on_turn(uv_prepare_t *turn)
{
    unsigned now = scene.done - scene.done_before;

    (void)turn;
    scene.turns += now > 0 ? 1 : 0;
    scene.most = now > scene.most ? now : scene.most;
    scene.done_before = scene.done;
}

static void on_item(struct walk *walk, struct walk_item *item)
{
    struct thing *thing = list_entry(item, struct thing, item);
    uint64_t end = clock_us() + ITEM_US;

    assert_ptr_equal(walk, &scene.walk);
    while (clock_us() < end)
        continue;
    thing->done++;
    scene.done++;
    if (scene.removes != NULL)
        walk_remove(&scene.removes->item);
    scene.removes = NULL;
    if (scene.adds_itself)
        walk_add(walk, item);
    scene.adds_itself = false;
}

static int begin(void **state)
{
    (void)state;
    memset(&scene, 0, sizeof(scene));
    if (uv_loop_init(&scene.loop) != 0)
        return -1;
    walk_init(&scene.walk, &scene.loop, on_item);
    uv_prepare_init(&scene.loop, &scene.turn);
    uv_prepare_start(&scene.turn, on_turn);
    uv_unref((uv_handle_t *)&scene.turn);
    for (size_t i = 0; i < ITEMS; i++)
        walk_item_init(&scene.things[i].item);
    return 0;
}

static int end(void **state)
{
    (void)state;
    walk_close(&scene.walk);
    uv_close((uv_handle_t *)&scene.turn, NULL);
    uv_run(&scene.loop, UV_RUN_DEFAULT);
    return uv_loop_close(&scene.loop);
}

static void add_all(void)
{
    for (size_t i = 0; i < ITEMS; i++)
        walk_add(&scene.walk, &scene.things[i].item);
}

/* The loop has its turn between; on a machine that is slow the more often. */
static void each_once_and_few_at_a_time(void **state)
{
    (void)state;
    assert_true(walk_is_over(&scene.walk));
    add_all();
    add_all();
    assert_int_equal(scene.done, 0);
    assert_false(walk_is_over(&scene.walk));
    uv_run(&scene.loop, UV_RUN_DEFAULT);
    on_turn(&scene.turn);
    for (size_t i = 0; i < ITEMS; i++)
        assert_int_equal(scene.things[i].done, 1);
    assert_true(walk_is_over(&scene.walk));
    assert_in_range(scene.most, 1, WALK_TURN_US / ITEM_US + 1);
    assert_true(scene.turns >= ITEMS / (WALK_TURN_US / ITEM_US + 1));
    add_all();
    uv_run(&scene.loop, UV_RUN_DEFAULT);
    assert_int_equal(scene.done, 2 * ITEMS);
}

static void what_is_taken_out_is_left_out(void **state)
{
    (void)state;
    add_all();
    walk_remove(&scene.things[3].item);
    walk_remove(&scene.things[3].item);
    scene.removes = &scene.things[1];
    scene.adds_itself = true;
    uv_run(&scene.loop, UV_RUN_DEFAULT);
    assert_int_equal(scene.things[0].done, 2);
    assert_int_equal(scene.things[1].done, 0);
    assert_int_equal(scene.things[3].done, 0);
    assert_int_equal(scene.done, ITEMS - 1);
}

static void one_that_adds_itself_comes_again(void **state)
{
    (void)state;
    scene.adds_itself = true;
    walk_add(&scene.walk, &scene.things[0].item);
    uv_run(&scene.loop, UV_RUN_DEFAULT);
    assert_int_equal(scene.things[0].done, 2);
    /* And the walk is ready for the next. */
    walk_add(&scene.walk, &scene.things[1].item);
    uv_run(&scene.loop, UV_RUN_DEFAULT);
    assert_int_equal(scene.things[1].done, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_once_and_few_at_a_time, begin, end),
        cmocka_unit_test_setup_teardown(what_is_taken_out_is_left_out, begin, end),
        cmocka_unit_test_setup_teardown(one_that_adds_itself_comes_again, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
