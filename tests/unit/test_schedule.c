#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tunnel/limits.h"
#include "tunnel/schedule.h"

#define ITEMS  64
#define RECORD ((size_t)65515) /* the most that one frame in one record holds */

struct sender {
    struct schedule_item item;
    size_t left; /* to send */
    uint64_t sent;
    unsigned turns;
};

struct bench {
    struct schedule schedule;
    struct sender senders[ITEMS];
};

static void bench_init(struct bench *b)
{
    schedule_init(&b->schedule);
    for (size_t i = 0; i < ITEMS; i++) {
        schedule_item_init(&b->senders[i].item);
        b->senders[i].left = 0;
        b->senders[i].sent = 0;
        b->senders[i].turns = 0;
    }
}

static void want(struct bench *b, size_t i, size_t len)
{
    b->senders[i].left += len;
    schedule_add(&b->schedule, &b->senders[i].item);
}

/* One frame: who sent it, or NULL when nobody has anything. */
static struct sender *step(struct bench *b)
{
    struct schedule_item *i;

    while ((i = schedule_pick(&b->schedule)) != NULL) {
        struct sender *s = (struct sender *)i;
        size_t len = s->left < RECORD ? s->left : RECORD;

        assert_true(i->deficit > 0);
        assert_true(i->deficit <= SCHEDULE_QUANTUM);
        if (len == 0) {
            schedule_idle(&b->schedule, i);
            continue;
        }
        s->left -= len;
        s->sent += len;
        s->turns++;
        schedule_spent(i, len);
        return s;
    }
    return NULL;
}

static void empty_schedule_picks_nobody(void **state)
{
    (void)state;
    static struct bench b;

    bench_init(&b);
    assert_true(schedule_is_empty(&b.schedule));
    assert_null(schedule_pick(&b.schedule));
    want(&b, 0, 1);
    want(&b, 0, 0); /* again: harmless */
    assert_false(schedule_is_empty(&b.schedule));
    schedule_remove(&b.senders[0].item);
    schedule_remove(&b.senders[0].item);
    assert_true(schedule_is_empty(&b.schedule));
    assert_null(schedule_pick(&b.schedule));
}

/* What has nothing to send leaves after at most one round, and picking comes to an end. */
static void idle_items_leave(void **state)
{
    (void)state;
    static struct bench b;

    bench_init(&b);
    for (size_t i = 0; i < ITEMS; i++)
        want(&b, i, 0);
    assert_null(step(&b));
    assert_true(schedule_is_empty(&b.schedule));
}

static void bulk_is_served_evenly(void **state)
{
    (void)state;
    static struct bench b;
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;

    bench_init(&b);
    for (size_t i = 0; i < 10; i++)
        want(&b, i, SIZE_MAX / 2);
    for (size_t n = 0; n < 10000; n++)
        assert_non_null(step(&b));
    for (size_t i = 0; i < 10; i++) {
        least = b.senders[i].sent < least ? b.senders[i].sent : least;
        most = b.senders[i].sent > most ? b.senders[i].sent : most;
    }
    assert_true(most - least <= 2 * SCHEDULE_QUANTUM);
}

/* Fair in bytes, whatever the frames: one sender's are small because it gets its bytes piecemeal.
 */
static void frames_of_any_size_are_fair_in_bytes(void **state)
{
    (void)state;
    static struct bench b;

    bench_init(&b);
    want(&b, 0, SIZE_MAX / 2);
    want(&b, 1, 1000);
    for (size_t n = 0; n < 200000; n++) {
        struct sender *s = step(&b);

        if (s == &b.senders[1])
            b.senders[1].left = 1000;
    }
    assert_true(b.senders[0].sent < b.senders[1].sent + 3 * SCHEDULE_QUANTUM);
    assert_true(b.senders[1].sent < b.senders[0].sent + 3 * SCHEDULE_QUANTUM);
}

static void newcomer_goes_before_bulk(void **state)
{
    (void)state;
    static struct bench b;

    bench_init(&b);
    for (size_t i = 0; i < 10; i++)
        want(&b, i, SIZE_MAX / 2);
    for (size_t n = 0; n < 100; n++)
        step(&b);
    want(&b, 20, 10);
    want(&b, 21, 10);
    assert_ptr_equal(step(&b), &b.senders[20]);
    assert_ptr_equal(step(&b), &b.senders[21]);
    assert_true(step(&b) < &b.senders[10]);
}

static void newcomer_with_bulk_is_no_newcomer_for_long(void **state)
{
    (void)state;
    static struct bench b;
    unsigned turns = 0;

    bench_init(&b);
    want(&b, 0, SIZE_MAX / 2);
    step(&b);
    step(&b);
    want(&b, 1, SIZE_MAX / 2);
    for (size_t n = 0; n < 10; n++)
        turns += step(&b) == &b.senders[0];
    assert_in_range(turns, 4, 6);
}

/*
 * 50 senders of little, each of which has its next byte ready as soon as the last is sent: they
 * come twice in each round, once as newcomers and once in turn, and bulk has its turn all the same.
 */
static void little_and_often_does_not_starve_bulk(void **state)
{
    (void)state;
    static struct bench b;
    uint64_t small = 0;

    bench_init(&b);
    want(&b, 0, SIZE_MAX / 2);
    step(&b);
    step(&b);
    for (size_t i = 1; i <= 50; i++)
        want(&b, i, 1);
    for (size_t n = 0; n < 10000; n++) {
        struct sender *s = step(&b);

        assert_non_null(s);
        if (s != &b.senders[0]) {
            /* It is asked once more and has nothing, then it has its next byte. */
            if (schedule_pick(&b.schedule) == &s->item)
                schedule_idle(&b.schedule, &s->item);
            want(&b, (size_t)(s - b.senders), 1);
            small++;
        }
    }
    assert_true(b.senders[0].turns >= 10000 / 102);
    assert_true(small >= 9000); /* and they are served in between */
    for (size_t i = 1; i <= 50; i++)
        assert_in_range(b.senders[i].turns, small / 50 - 2, small / 50 + 2);
}

static void bulk_keeps_its_frames_whole(void **state)
{
    (void)state;
    static struct bench b;

    bench_init(&b);
    want(&b, 0, SIZE_MAX / 2);
    want(&b, 1, SIZE_MAX / 2);
    for (size_t n = 0; n < 1000; n++)
        step(&b);
    /* No turn was cut to the few bytes that the one before had left over. */
    assert_int_equal(b.senders[0].sent, b.senders[0].turns * RECORD);
}

static void removal_in_the_middle_is_harmless(void **state)
{
    (void)state;
    static struct bench b;

    bench_init(&b);
    for (size_t i = 0; i < 5; i++)
        want(&b, i, 1000000);
    for (size_t n = 0; n < 7; n++)
        step(&b);
    schedule_remove(&b.senders[2].item);
    for (size_t n = 0; n < 1000; n++) {
        struct sender *s = step(&b);

        if (s == NULL)
            break;
        assert_ptr_not_equal(s, &b.senders[2]);
    }
    assert_true(schedule_is_empty(&b.schedule));
    assert_int_equal(b.senders[4].sent, 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_schedule_picks_nobody),
        cmocka_unit_test(idle_items_leave),
        cmocka_unit_test(bulk_is_served_evenly),
        cmocka_unit_test(frames_of_any_size_are_fair_in_bytes),
        cmocka_unit_test(newcomer_goes_before_bulk),
        cmocka_unit_test(newcomer_with_bulk_is_no_newcomer_for_long),
        cmocka_unit_test(little_and_often_does_not_starve_bulk),
        cmocka_unit_test(bulk_keeps_its_frames_whole),
        cmocka_unit_test(removal_in_the_middle_is_harmless),
    };

    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
