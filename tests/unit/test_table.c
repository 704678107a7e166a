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

static const struct table_column fruit_columns[] = {
    {"NAME", TABLE_TEXT, 0, NULL},
    {"COUNT", TABLE_NUMBER, 1, "number"},
    {"COLOUR", TABLE_TEXT, 3, "in"},
    {"FROM", TABLE_TEXT, 2, NULL},
};

static struct table *fruit(void)
{
    struct table *t = table_new(fruit_columns, 4);

    assert_non_null(t);
    table_cell(t, "apple");
    table_cell(t, "%d", 7);
    table_cell(t, "red");
    table_cell(t, "Kent");
    table_cell(t, "fig");
    table_cell(t, "%d", 123456);
    table_cell(t, "blue");
    table_cell(t, "Kent");
    return t;
}

static struct table *one_column(const char *title)
{
    static struct table_column column;

    column = (struct table_column){.title = title};
    return table_new(&column, 1);
}

static void columns_are_as_wide_as_what_is_in_them(void **state)
{
    struct table *t = fruit();
    static const char wanted[] = "  NAME    COUNT  COLOUR  FROM\n"
                                 "  apple       7  red     Kent\n"
                                 "  fig    123456  blue    Kent\n";

    (void)state;
    assert_prints(t, 0, wanted);
    assert_prints(t, 29, wanted);
    assert_prints(t, 200, wanted);
    table_free(t);
}

static void what_is_too_wide_leaves_the_rows_by_rank(void **state)
{
    struct table *t = fruit();

    (void)state;
    assert_prints(t, 28,
                  "  NAME    COUNT  FROM\n"
                  "  apple       7  Kent\n"
                  "      in red\n"
                  "  fig    123456  Kent\n"
                  "      in blue\n");
    assert_prints(t, 20,
                  "  NAME    COUNT\n"
                  "  apple       7\n"
                  "      in red\n"
                  "  fig    123456\n"
                  "      in blue\n"
                  "  all: Kent\n");
    table_free(t);
}

static void notes_are_broken_like_any_text(void **state)
{
    struct table *t = fruit();

    (void)state;
    assert_prints(t, 14,
                  "  NAME\n"
                  "  apple\n"
                  "number 7,\n"
                  "in red\n"
                  "  fig\n"
                  "number 123456,\n"
                  "in blue\n"
                  "  all: Kent\n");
    table_free(t);
}

static void what_is_the_same_by_chance_is_not_common(void **state)
{
    struct table *t = table_new(fruit_columns, 4);

    (void)state;
    for (int i = 0; i < 3; i++) {
        table_cell(t, "row %d", i);
        table_cell(t, "5");
        table_cell(t, "%s", i == 0 ? TABLE_NOTHING : "red");
        table_cell(t, TABLE_NOTHING);
    }
    assert_prints(t, 16,
                  "  NAME   COUNT\n"
                  "  row 0      5\n"
                  "  row 1      5\n"
                  "  row 2      5\n"
                  "  all: in red\n");
    table_free(t);
}

static void one_row_has_nothing_in_common(void **state)
{
    struct table *t = table_new(fruit_columns, 4);

    (void)state;
    table_cell(t, "apple");
    table_cell(t, "5");
    table_cell(t, "red");
    table_cell(t, "Kent");
    assert_prints(t, 18,
                  "  NAME   COUNT\n"
                  "  apple      5\n"
                  "      Kent, in red\n");
    table_free(t);
}

static void what_cannot_leave_is_cut_and_says_so(void **state)
{
    struct table *t = one_column("A");

    (void)state;
    table_cell(t, "0123456789");
    assert_prints(t, 12, "  A\n  0123456789\n");
    assert_prints(t, 11, "  A\n  012345...\n");
    assert_prints(t, 2, "..\n..\n");
    table_free(t);
}

static void characters_are_counted_and_not_bytes(void **state)
{
    static const struct table_column columns[] = {{.title = "A"}, {.title = "B"}};
    struct table *t = table_new(columns, 2);

    (void)state;
    table_cell(t, "\xc3\xa4\xc3\xb6");
    table_cell(t, "x");
    table_cell(t, "abc");
    table_cell(t, "y");
    assert_prints(t, 0, "  A    B\n  \xc3\xa4\xc3\xb6   x\n  abc  y\n");
    table_free(t);
}

static void nothing_reaches_the_terminal_that_it_would_act_on(void **state)
{
    struct table *t = one_column("A");

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
    struct table *t = one_column("A");
    char text[500];
    char wanted[500];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    table_cell(t, "%s", text);
    snprintf(wanted, sizeof(wanted), "  A\n  %.*s...\n", TABLE_CELL_MAX - 4, text);
    assert_prints(t, 0, wanted);
    table_free(t);
}

static void the_longest_cells_and_labels_have_room(void **state)
{
    static const char birds[] = "\xf0\x9f\x90\xa6\xf0\x9f\x90\xa6\xf0\x9f\x90\xa6";
    struct table_column columns[TABLE_COLUMNS_MAX];
    struct table *t;
    char *text = NULL;
    size_t len = 0;
    FILE *memory = open_memstream(&text, &len);

    (void)state;
    for (unsigned c = 0; c < TABLE_COLUMNS_MAX; c++)
        columns[c] = (struct table_column){"A", TABLE_TEXT, c, "a label as long as labels may be"};
    t = table_new(columns, TABLE_COLUMNS_MAX);
    for (int i = 0; i < 3 * TABLE_COLUMNS_MAX; i++)
        table_cell(t, "%s%060d%s", birds, i % 7, birds);
    table_print(t, memory, 0);
    table_print(t, memory, 80);
    table_print(t, memory, 1);
    fclose(memory);
    assert_true(len > 0);
    free(text);
    table_free(t);
}

static void a_row_that_is_not_whole_is_not_shown(void **state)
{
    struct table *t = fruit();

    (void)state;
    table_cell(t, "half");
    assert_prints(t, 0,
                  "  NAME    COUNT  COLOUR  FROM\n"
                  "  apple       7  red     Kent\n"
                  "  fig    123456  blue    Kent\n");
    table_free(t);
}

static void many_rows_grow_it(void **state)
{
    static const struct table_column column = {"N", TABLE_NUMBER, 0, NULL};
    struct table *t = table_new(&column, 1);
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
        cmocka_unit_test(what_is_too_wide_leaves_the_rows_by_rank),
        cmocka_unit_test(notes_are_broken_like_any_text),
        cmocka_unit_test(what_is_the_same_by_chance_is_not_common),
        cmocka_unit_test(one_row_has_nothing_in_common),
        cmocka_unit_test(what_cannot_leave_is_cut_and_says_so),
        cmocka_unit_test(characters_are_counted_and_not_bytes),
        cmocka_unit_test(nothing_reaches_the_terminal_that_it_would_act_on),
        cmocka_unit_test(a_long_cell_is_cut),
        cmocka_unit_test(the_longest_cells_and_labels_have_room),
        cmocka_unit_test(a_row_that_is_not_whole_is_not_shown),
        cmocka_unit_test(many_rows_grow_it),
        cmocka_unit_test(no_table_is_no_accident),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
