#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"

static uint64_t us_of(struct timespec t)
{
    assert_in_range(t.tv_nsec, 0, 999999999);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t read_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return us_of(t);
}

static void it_is_the_monotonic_clock(void **state)
{
    uint64_t before = read_us();
    uint64_t us = clock_us();
    uint64_t ms = clock_ms();
    uint64_t after = read_us();

    (void)state;
    assert_in_range(us, before, after);
    assert_in_range(ms, before / 1000, after / 1000);
    assert_true(before > 0);
}

static void what_is_to_come_is_a_valid_time(void **state)
{
    static const uint32_t waits[] = {0, 1, 999, 1000, 1001, 59999, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        uint64_t before = read_us();
        uint64_t at = us_of(clock_in_ms(waits[i]));
        uint64_t wait_us = (uint64_t)waits[i] * 1000;

        assert_in_range(at, before + wait_us, read_us() + wait_us);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_monotonic_clock),
        cmocka_unit_test(what_is_to_come_is_a_valid_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
