#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/utf8.h"

static void characters_are_read(void **state)
{
    static const struct {
        const char *text;
        size_t len;
        uint32_t value;
    } cases[] = {
        {"a", 1, 'a'},
        {"\x7f", 1, 0x7f},
        {"\xc2\x80", 2, 0x80},
        {"\xdf\xbf", 2, 0x7ff},
        {"\xe0\xa0\x80", 3, 0x800},
        {"\xed\x9f\xbf", 3, 0xd7ff},
        {"\xef\xbf\xbf", 3, 0xffff},
        {"\xf0\x90\x80\x80", 4, 0x10000},
        {"\xf4\x8f\xbf\xbf", 4, 0x10ffff},
    };
    uint32_t value;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t len = strlen(cases[i].text);

        assert_int_equal(utf8_next(cases[i].text, len, &value), cases[i].len);
        assert_int_equal(value, cases[i].value);
        assert_int_equal(len > 1 ? utf8_next(cases[i].text, len - 1, &value) : 0, 0);
    }
    assert_int_equal(utf8_next("", 1, &value), 1);
    assert_int_equal(value, 0);
}

static void what_is_no_character_is_refused(void **state)
{
    static const char *const cases[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2",
        "\xc2\x41",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xe2\x82",
        "\xe2\x82\x41",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xfe",
    };
    uint32_t value;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(utf8_next(cases[i], strlen(cases[i]), &value), 0);
}

static void assert_copied(size_t size, const char *text, const char *wanted)
{
    char out[64];

    memset(out, 'x', sizeof(out));
    assert_int_equal(utf8_copy(out, size, text, strlen(text)), strlen(wanted));
    assert_string_equal(out, wanted);
}

static void a_copy_is_whole_characters(void **state)
{
    (void)state;
    assert_copied(64, "", "");
    assert_copied(64, "T\xc3\xbcr\n", "T\xc3\xbcr\n");
    assert_copied(64, "T\xfcr\xc3", "T\xef\xbf\xbdr\xef\xbf\xbd");
    assert_copied(64, "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    assert_copied(4, "abc", "abc");
    assert_copied(3, "abc", "ab");
    assert_copied(3, "a\xc3\xbc", "a");
    assert_copied(4, "a\xc3\xbc", "a\xc3\xbc");
    assert_copied(4, "a\xfc", "a");
    assert_copied(1, "a", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_are_read),
        cmocka_unit_test(what_is_no_character_is_refused),
        cmocka_unit_test(a_copy_is_whole_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
