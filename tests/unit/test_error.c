#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"

static void every_code_has_a_unique_name_and_a_text(void **state)
{
    (void)state;
    for (int i = 0; i < ERR_COUNT; i++) {
        assert_non_null(err_name((enum err)i));
        assert_true(strlen(err_text((enum err)i)) > 0);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(err_name((enum err)i), err_name((enum err)j));
    }
}

static void an_unknown_code_is_internal(void **state)
{
    (void)state;
    assert_string_equal(err_name((enum err)9999), "internal");
    assert_int_equal(err_class((enum err) - 1), ERR_CLASS_INTERNAL);
}

static void errno_maps_to_the_nearest_code(void **state)
{
    (void)state;
    assert_int_equal(err_from_errno(0), ERR_OK);
    assert_int_equal(err_from_errno(ECONNREFUSED), ERR_REFUSED);
    assert_int_equal(err_from_errno(EPIPE), ERR_RESET);
    assert_int_equal(err_from_errno(EXDEV), ERR_IO);
}

static void detail_is_bounded_and_optional(void **state)
{
    struct err_detail d;
    char long_text[2000];

    (void)state;
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = 0;
    assert_int_equal(err_set(&d, ERR_IO, "%s", long_text), ERR_IO);
    assert_int_equal(strlen(d.text), sizeof(d.text) - 1);
    assert_int_equal(err_set(NULL, ERR_TLS, "unused %d", 1), ERR_TLS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_unique_name_and_a_text),
        cmocka_unit_test(an_unknown_code_is_internal),
        cmocka_unit_test(errno_maps_to_the_nearest_code),
        cmocka_unit_test(detail_is_bounded_and_optional),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
