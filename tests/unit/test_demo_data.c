#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "role/demo_data.h"

#define SEED UINT64_C(0x1234567890abcdef)
#define SIZE 20000

/* From the description of SplitMix64 (Steele, Lea, Flood 2014), seed 1234567. */
static void is_the_generator_it_says(void **state)
{
    (void)state;
    const uint64_t expected[] = {UINT64_C(6457827717110365317), UINT64_C(3203168211198807973),
                                 UINT64_C(9817491932198370423)};
    uint64_t words[3];

    demo_data_fill(1234567, 0, (uint8_t *)words, sizeof(words));
    assert_memory_equal(words, expected, sizeof(expected));
}

static void parts_are_the_same_as_the_whole(void **state)
{
    (void)state;
    static uint8_t whole[SIZE];
    static uint8_t part[SIZE];

    demo_data_fill(SEED, 0, whole, SIZE);
    for (size_t offset = 0; offset < 40; offset++) {
        for (size_t len = 0; len < 40; len++) {
            memset(part, 0, len);
            demo_data_fill(SEED, offset, part, len);
            assert_memory_equal(part, whole + offset, len);
        }
    }
    demo_data_fill(SEED, 4093, part, SIZE - 4093);
    assert_memory_equal(part, whole + 4093, SIZE - 4093);
}

static void other_seeds_give_other_data(void **state)
{
    (void)state;
    uint8_t a[64];
    uint8_t b[64];

    demo_data_fill(SEED, 0, a, sizeof(a));
    demo_data_fill(SEED + 1, 0, b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
}

static void check_takes_what_is_right(void **state)
{
    (void)state;
    static uint8_t data[SIZE];

    demo_data_fill(SEED, 777, data, SIZE);
    assert_int_equal(demo_data_check(SEED, 777, data, SIZE), SIZE);
    assert_int_equal(demo_data_check(SEED, 777, data, 0), 0);
}

static void check_finds_each_wrong_byte(void **state)
{
    (void)state;
    static uint8_t data[SIZE];
    const size_t places[] = {0, 1, 7, 8, 4095, 4096, 4097, 8191, 8192, SIZE - 1};

    demo_data_fill(SEED, 3, data, SIZE);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            data[places[i]] ^= (uint8_t)(1u << bit);
            assert_int_equal(demo_data_check(SEED, 3, data, SIZE), places[i]);
            data[places[i]] ^= (uint8_t)(1u << bit);
        }
    }
    assert_int_equal(demo_data_check(SEED, 4, data, SIZE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_the_generator_it_says),
        cmocka_unit_test(parts_are_the_same_as_the_whole),
        cmocka_unit_test(other_seeds_give_other_data),
        cmocka_unit_test(check_takes_what_is_right),
        cmocka_unit_test(check_finds_each_wrong_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
