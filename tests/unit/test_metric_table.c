#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/metric_table.h"

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text);

    return len >= strlen(end) && strcmp(text + len - strlen(end), end) == 0;
}

static void names_follow_the_conventions(void **state)
{
    (void)state;
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct metric_row *row = metric_table_row((enum metric_id)i);
        bool is_counter = row->type == METRIC_TYPE_COUNTER;

        assert_true(strncmp(row->name, "utun_", 5) == 0 || strncmp(row->name, "process_", 8) == 0);
        for (const char *c = row->name; *c != 0; c++)
            assert_true(islower(*c) || isdigit(*c) || *c == '_');
        assert_int_equal(ends_with(row->name, "_total"), is_counter);
        if (row->type == METRIC_TYPE_HISTOGRAM)
            assert_true(ends_with(row->name, "_seconds"));
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(row->name, metric_table_row((enum metric_id)j)->name);
    }
}

static void rows_can_be_written_as_they_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct metric_row *row = metric_table_row((enum metric_id)i);

        assert_true(ends_with(row->help, "."));
        assert_null(strpbrk(row->help, "\n\\|"));
        for (const char *c = row->labels; *c != 0; c++)
            assert_true(islower(*c) || *c == '_' || *c == ',');
        assert_null(strstr(row->labels, ",,"));
        assert_false(ends_with(row->labels, ","));
    }
}

/* Everything between the two marks of the file; the caller frees it. */
static char *read_reference(void)
{
    static const char begin[] = "<!-- metrics: begin -->\n";
    FILE *file = fopen(DOCS_FOLDER "/METRICS.md", "r");
    char *text = calloc(1, 1 << 20);

    assert_non_null(file);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    char *start = strstr(text, begin);
    char *end = strstr(text, "<!-- metrics: end -->");
    assert_non_null(start);
    assert_non_null(end);
    *end = 0;
    memmove(text, start + sizeof(begin) - 1, strlen(start + sizeof(begin) - 1) + 1);
    return text;
}

static void the_documentation_is_the_table(void **state)
{
    char *generated = NULL;
    size_t len = 0;
    FILE *memory = open_memstream(&generated, &len);
    char *reference = read_reference();

    (void)state;
    assert_non_null(memory);
    metric_table_document(memory);
    fclose(memory);
    /* When it fails: put the output of `utun check --metrics` between the marks. */
    assert_string_equal(reference, generated);
    free(generated);
    free(reference);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_follow_the_conventions),
        cmocka_unit_test(rows_can_be_written_as_they_are),
        cmocka_unit_test(the_documentation_is_the_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
