#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/table.h"

static void assert_prints(const struct table *t, size_t width, const char *wanted)
{
    char *text = NULL;
    size_t len = 0;
    FILE *memory = open_memstream(&text, &len);

    table_print(t, memory, width);
    fclose(memory);
    assert_string_equal(text, wanted);
    free(text);
}

static struct table *fruit(void)
{
    static const char *const titles[] = {"NAME", ">COUNT", "COLOUR", NULL};
    struct table *t = table_new(titles);

    assert_non_null(t);
    table_cell(t, "apple");
    table_cell(t, "%d", 7);
    table_cell(t, "red");
    table_cell(t, "fig");
    table_cell(t, "%d", 123456);
    table_cell(t, "blue");
    return t;
}

static void columns_are_as_wide_as_what_is_in_them(void **state)
{
    struct table *t = fruit();

    (void)state;
    assert_prints(t, 0,
                  "  NAME    COUNT  COLOUR\n"
                  "  apple       7  red\n"
                  "  fig    123456  blue\n");
    table_free(t);
}

static void a_narrow_terminal_cuts_and_wraps_nothing(void **state)
{
    struct table *t = fruit();

    (void)state;
    assert_prints(t, 11,
                  "  NAME    C\n"
                  "  apple    \n"
                  "  fig    12\n");
    assert_prints(t, 1, " \n \n \n");
    assert_prints(t, 200,
                  "  NAME    COUNT  COLOUR\n"
                  "  apple       7  red\n"
                  "  fig    123456  blue\n");
    table_free(t);
}

static void characters_are_counted_and_not_bytes(void **state)
{
    static const char *const titles[] = {"A", "B", NULL};
    struct table *t = table_new(titles);

    (void)state;
    table_cell(t, "\xc3\xa4\xc3\xb6");
    table_cell(t, "x");
    table_cell(t, "abc");
    table_cell(t, "y");
    assert_prints(t, 0, "  A    B\n  \xc3\xa4\xc3\xb6   x\n  abc  y\n");
    assert_prints(t, 3, "  A\n  \xc3\xa4\n  a\n");
    table_free(t);
}

static void nothing_reaches_the_terminal_that_it_would_act_on(void **state)
{
    static const char *const titles[] = {"A", NULL};
    struct table *t = table_new(titles);

    (void)state;
    table_cell(t, "%s", "\x1b[2J\n\x7f");
    table_cell(t, "%s",
               "\xc2\x9b"
               "1m"); /* CSI as one character */
    table_cell(t, "%s", "a\xff\xc3");
    assert_prints(t, 0, "  A\n  ?[2J??\n  ?1m\n  a??\n");
    table_free(t);
}

static void a_long_cell_is_cut(void **state)
{
    static const char *const titles[] = {"A", NULL};
    struct table *t = table_new(titles);
    char text[500];
    char wanted[500];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    table_cell(t, "%s", text);
    snprintf(wanted, sizeof(wanted), "  A\n  %.*s\n", TABLE_CELL_MAX - 1, text);
    assert_prints(t, 0, wanted);
    table_free(t);
}

static void a_row_that_is_not_whole_is_not_shown(void **state)
{
    struct table *t = fruit();

    (void)state;
    table_cell(t, "half");
    assert_prints(t, 4, "  NA\n  ap\n  fi\n");
    table_free(t);
}

static void many_rows_grow_it(void **state)
{
    static const char *const titles[] = {">N", NULL};
    struct table *t = table_new(titles);
    char *text = NULL;
    size_t len = 0;
    FILE *memory = open_memstream(&text, &len);

    (void)state;
    for (int i = 0; i < 5000; i++)
        table_cell(t, "%d", i);
    table_print(t, memory, 0);
    fclose(memory);
    assert_int_equal(len, 5001 * 7); /* two blanks, four columns, the line's end */
    assert_non_null(strstr(text, "  4999\n"));
    free(text);
    table_free(t);
}

static void no_table_is_no_accident(void **state)
{
    (void)state;
    table_cell(NULL, "x");
    table_print(NULL, stdout, 0);
    table_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_as_wide_as_what_is_in_them),
        cmocka_unit_test(a_narrow_terminal_cuts_and_wraps_nothing),
        cmocka_unit_test(characters_are_counted_and_not_bytes),
        cmocka_unit_test(nothing_reaches_the_terminal_that_it_would_act_on),
        cmocka_unit_test(a_long_cell_is_cut),
        cmocka_unit_test(a_row_that_is_not_whole_is_not_shown),
        cmocka_unit_test(many_rows_grow_it),
        cmocka_unit_test(no_table_is_no_accident),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
