#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/plain_text.h"

static void assert_prints(const char *text, size_t indent, size_t width, const char *wanted)
{
    char *got = NULL;
    size_t len = 0;
    FILE *memory = open_memstream(&got, &len);

    plain_text_print(memory, text, indent, width);
    fclose(memory);
    assert_string_equal(got, wanted);
    free(got);
}

static void what_a_terminal_acts_on_is_replaced(void **state)
{
    char text[] = "a\x1b[2J\n\x7f\xc2\x9b"
                  "1m\xff\xc3";

    (void)state;
    plain_text_clean(text);
    assert_string_equal(text, "a?[2J???1m??");
}

static void what_does_not_fit_ends_in_dots(void **state)
{
    char same[] = "abcdef";
    char cut[] = "abcdefg";
    char wide[] = "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f\xe2\x82\xac";
    char none[] = "abc";

    (void)state;
    plain_text_fit(same, 6);
    assert_string_equal(same, "abcdef");
    plain_text_fit(cut, 6);
    assert_string_equal(cut, "abc...");
    assert_int_equal(plain_text_width(wide), 5);
    plain_text_fit(wide, 4);
    assert_string_equal(wide, "\xc3\xa4...");
    plain_text_fit(none, 2);
    assert_string_equal(none, "..");
    plain_text_fit(none, 0);
    assert_string_equal(none, "");
}

static void lines_are_broken_at_blanks(void **state)
{
    (void)state;
    assert_prints("one two three", 0, 0, "one two three\n");
    assert_prints("one two three", 0, 13, "one two three\n");
    assert_prints("one two three", 0, 12, "one two\n  three\n");
    assert_prints("one two three four", 2, 9, "  one two\n    three\n    four\n");
    assert_prints("", 2, 9, "  \n");
}

static void rather_behind_a_comma_that_is_not_far_back(void **state)
{
    (void)state;
    assert_prints("a certificate, for 12 days", 0, 21, "a certificate,\n  for 12 days\n");
    assert_prints("a, certificate for 12 days", 0, 21, "a, certificate for 12\n  days\n");
}

static void a_word_without_end_is_broken_anywhere(void **state)
{
    (void)state;
    assert_prints("0123456789abcdef", 0, 10, "0123456789\n  abcdef\n");
    assert_prints("\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f\xc3\xa4\xc3\xb6", 0, 5,
                  "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f\xc3\xa4\n  \xc3\xb6\n");
    /* Nor does anything get lost where there is no room for what is put before it. */
    assert_prints("abc", 4, 1, "a\nb\nc\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_terminal_acts_on_is_replaced),
        cmocka_unit_test(what_does_not_fit_ends_in_dots),
        cmocka_unit_test(lines_are_broken_at_blanks),
        cmocka_unit_test(rather_behind_a_comma_that_is_not_far_back),
        cmocka_unit_test(a_word_without_end_is_broken_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
