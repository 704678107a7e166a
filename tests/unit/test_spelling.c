#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "config/spelling.h"

static void distance_counts_single_mistakes(void **state)
{
    (void)state;
    assert_int_equal(spelling_distance("", ""), 0);
    assert_int_equal(spelling_distance("port", "port"), 0);
    assert_int_equal(spelling_distance("port", "Port"), 0);
    assert_int_equal(spelling_distance("port", "prot"), 1);
    assert_int_equal(spelling_distance("port", "prt"), 1);
    assert_int_equal(spelling_distance("port", "ports"), 1);
    assert_int_equal(spelling_distance("port", "sort"), 1);
    assert_int_equal(spelling_distance("", "abc"), 3);
    assert_int_equal(spelling_distance("kitten", "sitting"), 3);
}

static void long_words_are_never_near(void **state)
{
    char word[SPELLING_MAX + 2];

    (void)state;
    memset(word, 'a', sizeof(word));
    word[SPELLING_MAX] = 0;
    assert_int_equal(spelling_distance(word, word), 0);
    word[SPELLING_MAX] = 'a';
    word[SPELLING_MAX + 1] = 0;
    assert_int_equal(spelling_distance(word, word), SIZE_MAX);
}

static void tolerance_grows_with_the_word(void **state)
{
    (void)state;
    assert_int_equal(spelling_tolerance("ca"), 1);
    assert_true(spelling_tolerance("key_rotation_interval_secs") >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distance_counts_single_mistakes),
        cmocka_unit_test(long_words_are_never_near),
        cmocka_unit_test(tolerance_grows_with_the_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
