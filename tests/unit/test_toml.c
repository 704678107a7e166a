#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "config/toml.h"

static struct toml_doc *parse(const char *text)
{
    struct toml_doc *doc;
    struct toml_error error;

    assert_int_equal(toml_parse(&doc, text, strlen(text), &error), ERR_OK);
    return doc;
}

static enum err parse_fails(const char *text, size_t len, struct toml_error *error)
{
    struct toml_doc *doc = (struct toml_doc *)1;
    enum err e = toml_parse(&doc, text, len, error);

    assert_null(doc);
    assert_int_not_equal(e, ERR_OK);
    return e;
}

static void every_type_is_read(void **state)
{
    struct toml_doc *doc = parse("text = \"a\\u0000b\"\n"
                                 "whole = -5\n"
                                 "real = 2.5\n"
                                 "yes = true\n"
                                 "day = 2026-11-22\n"
                                 "list = [1, \"two\"]\n"
                                 "[table]\n"
                                 "inner.most = 3\n");
    const struct toml_node *root = toml_root(doc);

    (void)state;
    assert_int_equal(root->type, TOML_TABLE);
    assert_int_equal(toml_find(root, "text")->string_len, 3);
    assert_memory_equal(toml_find(root, "text")->string, "a\0b", 4);
    assert_int_equal(toml_find(root, "whole")->integer, -5);
    assert_true(toml_find(root, "real")->real == 2.5);
    assert_true(toml_find(root, "yes")->boolean);
    assert_int_equal(toml_find(root, "day")->type, TOML_DATE);
    assert_int_equal(toml_find(root, "list")->child_count, 2);
    assert_string_equal(toml_find(root, "list")->children[1].string, "two");
    assert_null(toml_find(root, "list")->children[0].key);
    const struct toml_node *inner = toml_find(toml_find(root, "table"), "inner");
    assert_int_equal(toml_find(inner, "most")->integer, 3);
    assert_null(toml_find(root, "absent"));
    toml_free(doc);
}

static void keys_and_values_know_their_places(void **state)
{
    struct toml_doc *doc = parse("[a]\n"
                                 "  key = \"\xc3\xa4\" # one letter of two bytes\n"
                                 "[[b]]\n"
                                 "x = 1\n"
                                 "[[b]]\n"
                                 "list = [\n"
                                 "  10,\n"
                                 "    20]\n");
    const struct toml_node *root = toml_root(doc);
    const struct toml_node *key = toml_find(toml_find(root, "a"), "key");
    const struct toml_node *blocks = toml_find(root, "b");
    const struct toml_node *list = toml_find(&blocks->children[1], "list");

    (void)state;
    assert_int_equal(key->key_line, 2);
    assert_int_equal(key->key_column, 3);
    assert_int_equal(key->column, 9);
    assert_int_equal(blocks->children[0].line, 3);
    assert_int_equal(blocks->children[1].line, 5);
    assert_int_equal(list->children[1].line, 8);
    assert_int_equal(list->children[1].column, 5);
    toml_free(doc);
}

static void what_is_new_to_toml_gets_advice(void **state)
{
    static const struct {
        const char *text;
        const char *advice;
    } cases[] = {
        {"a = 1\nip = 127.0.0.1\n", "in quotes"},
        {"ips = [ 10.0.0.0/8 ]", "in quotes"},
        {"ip = ::1 # here\n", "in quotes"},
        {"level = info\r\n", "in quotes"},
        {"wait = 30s\n", "without a unit"},
        {"on = True\n", "small letters"},
        {"name = \"x\nb = 1\n", "quotation mark"},
        {"name = x\"\n", "quotation mark"},
        {"x =\n", NULL},
        {"x = 1 2\n", NULL},
        {"x = -\n", NULL},
        {"x = 'a\n", NULL},
        {"x = \"a\" \"b\"\n", NULL},
        {"[x\n", NULL},
        {"x: 1\n", NULL},
        {"a = 1\na = 2\n", NULL},
    };
    struct toml_error error;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(parse_fails(cases[i].text, strlen(cases[i].text), &error), ERR_CONFIG);
        if (cases[i].advice == NULL) {
            assert_null(error.advice);
        } else {
            assert_non_null(error.advice);
            assert_non_null(strstr(error.advice, cases[i].advice));
        }
    }
}

static void syntax_errors_have_a_line(void **state)
{
    static const struct {
        const char *text;
        uint32_t line;
    } cases[] = {
        {"a = 1\na = 2\n", 2},   {"[source\n", 1},
        {"\n\nx =\n", 3},        {"x = \"open\ny = 1\n", 1},
        {"x = 1 y = 2\n", 1},    {"x = 99999999999999999999\n", 1},
        {"\n\xff\xfe = 1\n", 2}, {"[a]\n[a]\n", 2},
        {"x = [1, 2", 1},        {"= 1\n", 1},
        {"x = \"\\q\"\n", 1},    {"x = 1e9999\n", 1},
    };
    struct toml_error error;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(parse_fails(cases[i].text, strlen(cases[i].text), &error), ERR_CONFIG);
        assert_int_equal(error.line, cases[i].line);
        assert_true(error.column > 0);
        assert_true(strlen(error.text) > 0);
    }
}

static void an_empty_text_is_an_empty_table(void **state)
{
    struct toml_doc *doc = parse("");

    (void)state;
    assert_int_equal(toml_root(doc)->child_count, 0);
    toml_free(doc);
}

/* Repeats unit n times between head and tail. The caller frees it. */
static char *repeated(const char *head, const char *unit, size_t n, const char *tail)
{
    size_t unit_len = strlen(unit);
    char *text = malloc(strlen(head) + unit_len * n + strlen(tail) + 1);
    char *at;

    assert_non_null(text);
    at = stpcpy(text, head);
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, unit);
    strcpy(at, tail);
    return text;
}

static void check_too_large(char *text)
{
    struct toml_error error;

    assert_int_equal(parse_fails(text, strlen(text), &error), ERR_TOO_LARGE);
    assert_true(strlen(error.text) > 0);
    assert_null(error.advice);
    free(text);
}

static void what_is_too_large_is_refused(void **state)
{
    (void)state;
    check_too_large(repeated("", "# comment\n", TOML_TEXT_MAX / 10 + 1, ""));
    check_too_large(repeated("x = \"", "y", TOML_LINE_MAX, "\""));
    check_too_large(repeated("x = ", "[", 20, "]]]]]]]]]]]]]]]]]]]]\n"));
    check_too_large(repeated("a", ".a", TOML_DEPTH_MAX + 1, " = 1\n"));
    check_too_large(repeated("a", ".a", (TOML_LINE_MAX - 8) / 2, " = 1\n"));
    check_too_large(repeated("x = [\n", "1,\n", TOML_NODES_MAX, "]\n"));
}

/* The deepest that lines of the greatest length can nest: a header, and a key below it. */
static void deep_headers_do_not_overflow_the_stack(void **state)
{
    char *header = repeated("[a", ".a", (TOML_LINE_MAX - 8) / 2, "]\n");
    char *key = repeated(header, "b.", (TOML_LINE_MAX - 8) / 2, "c = 1\n");

    (void)state;
    check_too_large(key);
    free(header);
}

static void unclosed_brackets_in_numbers_are_an_error(void **state)
{
    struct toml_error error;
    char *text = repeated("x = ", "[", 5000, "\n");

    (void)state;
    assert_int_not_equal(parse_fails(text, strlen(text), &error), ERR_OK);
    free(text);
    text = repeated("x = ", "{a=", 2000, "\n");
    assert_int_not_equal(parse_fails(text, strlen(text), &error), ERR_OK);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(keys_and_values_know_their_places),
        cmocka_unit_test(what_is_new_to_toml_gets_advice),
        cmocka_unit_test(syntax_errors_have_a_line),
        cmocka_unit_test(an_empty_text_is_an_empty_table),
        cmocka_unit_test(what_is_too_large_is_refused),
        cmocka_unit_test(deep_headers_do_not_overflow_the_stack),
        cmocka_unit_test(unclosed_brackets_in_numbers_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
