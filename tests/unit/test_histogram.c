#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/histogram.h"

static void bounds_ascend(void **state)
{
    (void)state;
    for (size_t i = 1; i < HISTOGRAM_BOUNDS; i++)
        assert_true(histogram_bound_us(i) > histogram_bound_us(i - 1));
}

static void a_bound_belongs_to_the_bucket_below_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        struct histogram h = {0};
        struct histogram_sum sum = {0};

        histogram_observe(&h, histogram_bound_us(i));
        histogram_observe(&h, histogram_bound_us(i) + 1);
        histogram_sum_add(&sum, &h);
        assert_int_equal(sum.buckets[i], 1);
        assert_int_equal(sum.buckets[i + 1], 1);
        assert_int_equal(sum.count, 2);
        assert_int_equal(sum.sum_us, 2 * histogram_bound_us(i) + 1);
    }
}

static void sums_add_up(void **state)
{
    struct histogram a = {0};
    struct histogram b = {0};
    struct histogram_sum sum = {0};

    (void)state;
    histogram_observe(&a, 0);
    histogram_observe(&a, 1000);
    histogram_observe(&b, 1000);
    histogram_observe(&b, UINT32_MAX);
    histogram_sum_add(&sum, &a);
    histogram_sum_add(&sum, &b);
    assert_int_equal(sum.count, 4);
    assert_int_equal(sum.buckets[0], 1);
    assert_int_equal(sum.buckets[3], 2);
    assert_int_equal(sum.buckets[HISTOGRAM_BOUNDS], 1);
    assert_int_equal(sum.sum_us, 2000 + (uint64_t)UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_ascend),
        cmocka_unit_test(a_bound_belongs_to_the_bucket_below_it),
        cmocka_unit_test(sums_add_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
