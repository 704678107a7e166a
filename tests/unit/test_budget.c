#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/budget.h"

static void takes_all_or_nothing(void **state)
{
    (void)state;
    struct budget b = {.limit = 100};

    assert_false(budget_take(&b, 101));
    assert_false(budget_take(&b, UINT64_MAX));
    assert_int_equal(b.used, 0);
    assert_true(budget_take(&b, 60));
    assert_false(budget_take(&b, 41));
    assert_int_equal(budget_left(&b), 40);
    assert_true(budget_take(&b, 40));
    assert_true(budget_take(&b, 0));
    assert_false(budget_take(&b, 1));
    budget_give(&b, 100);
    assert_int_equal(budget_left(&b), 100);
}

static void force_passes_the_limit(void **state)
{
    (void)state;
    struct budget b = {.limit = 100};

    budget_force(&b, 150);
    assert_int_equal(budget_left(&b), 0);
    assert_false(budget_take(&b, 1));
    budget_give(&b, 50);
    assert_int_equal(budget_left(&b), 0);
    assert_false(budget_take(&b, 1));
    budget_give(&b, 1);
    assert_true(budget_take(&b, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_all_or_nothing),
        cmocka_unit_test(force_passes_the_limit),
    };

    return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}
