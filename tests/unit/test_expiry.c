#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <time.h>

#include "base/list.h"
#include "role/expiry.h"

struct stage {
    uv_loop_t loop;
    struct expiry expiry;
    int looks;
};

static void on_look(struct expiry *e)
{
    list_entry(e, struct stage, expiry)->looks++;
}

static void begin(struct stage *s)
{
    assert_int_equal(uv_loop_init(&s->loop), 0);
    expiry_init(&s->expiry, &s->loop, on_look);
    s->looks = 0;
}

static void end(struct stage *s)
{
    expiry_close(&s->expiry, NULL);
    assert_int_equal(uv_run(&s->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

static uint64_t due_in(const struct stage *s)
{
    return uv_timer_get_due_in(&s->expiry.timer);
}

static void what_is_over_is_seen_at_once_and_once(void **state)
{
    struct stage s;

    (void)state;
    begin(&s);
    expiry_set(&s.expiry, (int64_t)time(NULL) - 1);
    assert_int_equal(uv_run(&s.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(s.looks, 1);
    /* It is free for the next, however late that is. */
    expiry_set_earlier(&s.expiry, (int64_t)time(NULL) + 5);
    assert_in_range(due_in(&s), 1, 6000);
    end(&s);
}

/* The last second counts as valid. */
static void it_waits_until_the_hour_is_over(void **state)
{
    struct stage s;

    (void)state;
    begin(&s);
    expiry_set(&s.expiry, (int64_t)time(NULL) + 100);
    assert_in_range(due_in(&s), 90001, 101000);
    end(&s);
}

static void a_clock_that_jumps_is_seen_in_time(void **state)
{
    struct stage s;

    (void)state;
    begin(&s);
    expiry_set(&s.expiry, (int64_t)time(NULL) + 86400 * 365);
    assert_in_range(due_in(&s), 1, EXPIRY_STEP_MS);
    expiry_set(&s.expiry, INT64_MAX - 1);
    assert_in_range(due_in(&s), 1, EXPIRY_STEP_MS);
    expiry_set(&s.expiry, INT64_MIN);
    assert_int_equal(due_in(&s), 0);
    assert_true(uv_is_active((uv_handle_t *)&s.expiry.timer));
    end(&s);
}

static void never_wakes_nobody(void **state)
{
    struct stage s;

    (void)state;
    begin(&s);
    expiry_set(&s.expiry, (int64_t)time(NULL) + 1);
    expiry_set(&s.expiry, INT64_MAX);
    assert_false(uv_is_active((uv_handle_t *)&s.expiry.timer));
    end(&s);
    assert_int_equal(s.looks, 0);
}

static void only_an_earlier_hour_counts(void **state)
{
    struct stage s;
    int64_t now = (int64_t)time(NULL);

    (void)state;
    begin(&s);
    expiry_set_earlier(&s.expiry, now + 60);
    expiry_set_earlier(&s.expiry, now + 300);
    assert_in_range(due_in(&s), 1, 61000);
    expiry_set_earlier(&s.expiry, now + 30);
    assert_in_range(due_in(&s), 1, 31000);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_over_is_seen_at_once_and_once),
        cmocka_unit_test(it_waits_until_the_hour_is_over),
        cmocka_unit_test(a_clock_that_jumps_is_seen_in_time),
        cmocka_unit_test(never_wakes_nobody),
        cmocka_unit_test(only_an_earlier_hour_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
