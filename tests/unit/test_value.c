/* One value alone: each type of the schema takes what it should, and says what it does not take. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "config/cidr.h"
#include "config/value.h"

/* A field of any type, and what value.h needs around it. */
struct fixture {
    struct value value;
    struct schema_key key;
    struct arena arena;
    union {
        bool boolean;
        uint16_t small;
        uint64_t large;
        const char *text;
        struct cidr_list ranges;
        struct config_strings strings;
    } field;
};

static const struct schema_word words[] = {{"first", 1}, {"second", 2}, {NULL, 0}};

static void set_up(struct fixture *f, enum schema_type type, size_t size)
{
    memset(f, 0, sizeof(*f));
    f->key = (struct schema_key){
        .name = "k", .type = type, .min = 1, .max = 100, .scale = 10, .words = words, .size = size};
    f->value = (struct value){
        .key = &f->key,
        .field = &f->field,
        .place = {.file = "/etc/x.toml", .line = 7, .column = 3},
        .config_path = "/etc/x.toml",
        .arena = &f->arena,
        .problems = problems_new(),
    };
}

static void tear_down(struct fixture *f)
{
    problems_free(f->value.problems);
    arena_fini(&f->arena);
}

static enum place_verdict give_text(struct fixture *f, enum schema_type type, size_t size,
                                    const char *text)
{
    set_up(f, type, size);
    return value_from_text(&f->value, text);
}

/* The value behind "k = ". */
static enum place_verdict give_node(struct fixture *f, enum schema_type type, size_t size,
                                    const char *text)
{
    struct toml_doc *doc;
    struct toml_error error;

    set_up(f, type, size);
    assert_int_equal(toml_parse(&doc, text, strlen(text), &error), ERR_OK);
    enum place_verdict verdict = value_from_node(&f->value, &toml_root(doc)->children[0]);
    toml_free(doc);
    return verdict;
}

static void assert_said(const struct fixture *f, const char *part)
{
    assert_int_equal(problems_count(f->value.problems), 1);
    const struct problem *p = problems_at(f->value.problems, 0);
    if (strstr(p->text, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, p->text);
    assert_int_equal(p->level, PROBLEM_ERROR);
}

static void numbers_are_bounded_scaled_and_of_the_size_of_their_field(void **state)
{
    struct fixture f;

    (void)state;
    assert_int_equal(give_text(&f, SCHEMA_INTEGER, sizeof(uint16_t), "100"), PLACE_GOOD);
    assert_int_equal(f.field.small, 1000);
    tear_down(&f);
    assert_int_equal(give_node(&f, SCHEMA_INTEGER, sizeof(uint64_t), "k = 1"), PLACE_GOOD);
    assert_int_equal(f.field.large, 10);
    tear_down(&f);

    static const char *const refused[] = {"0", "101", "", "-", "1x", "99999999999999999999", " 1"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_int_equal(give_text(&f, SCHEMA_INTEGER, sizeof(uint64_t), refused[i]),
                         PLACE_REFUSED);
        assert_said(&f, "'k' must be ");
        assert_int_equal(f.field.large, 0);
        tear_down(&f);
    }
}

static void words_become_their_value(void **state)
{
    struct fixture f;

    (void)state;
    assert_int_equal(give_text(&f, SCHEMA_WORD, sizeof(uint32_t), "second"), PLACE_GOOD);
    assert_int_equal(f.field.large, 2);
    tear_down(&f);
    assert_int_equal(give_text(&f, SCHEMA_WORD, sizeof(uint32_t), "secnd"), PLACE_REFUSED);
    assert_said(&f, "not \"secnd\"");
    assert_string_equal(problems_at(f.value.problems, 0)->suggestion, "did you mean \"second\"?");
    tear_down(&f);
}

static void texts_are_checked_by_what_they_stand_for(void **state)
{
    static const struct {
        enum schema_type type;
        const char *good;
        const char *bad;
        const char *said;
    } cases[] = {
        {SCHEMA_NAME, "web-1.a_b", "web 1", "letters, digits"},
        {SCHEMA_NAME, "x", "", "1 to 63"},
        {SCHEMA_ADDRESS, "::1", "localhost", "must be an IP address"},
        {SCHEMA_HOST, "dest.example", "https://dest.example", "or a host name"},
        {SCHEMA_HOST, "192.0.2.1", "dest.example:9443", "or a host name"},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(give_text(&f, cases[i].type, sizeof(char *), cases[i].good), PLACE_GOOD);
        assert_string_equal(f.field.text, cases[i].good);
        tear_down(&f);
        assert_int_equal(give_text(&f, cases[i].type, sizeof(char *), cases[i].bad), PLACE_REFUSED);
        assert_null(f.field.text);
        assert_said(&f, cases[i].said);
        tear_down(&f);
    }
}

static void paths_start_at_the_folder_of_the_configuration(void **state)
{
    struct fixture f;

    (void)state;
    assert_int_equal(give_text(&f, SCHEMA_PATH, sizeof(char *), "pki/ca.pem"), PLACE_GOOD);
    assert_string_equal(f.field.text, "/etc/pki/ca.pem");
    tear_down(&f);
    assert_int_equal(give_text(&f, SCHEMA_PATH, sizeof(char *), "/srv/ca.pem"), PLACE_GOOD);
    assert_string_equal(f.field.text, "/srv/ca.pem");
    tear_down(&f);
    assert_int_equal(give_text(&f, SCHEMA_PATH, sizeof(char *), ""), PLACE_GOOD);
    assert_null(f.field.text);
    tear_down(&f);
    set_up(&f, SCHEMA_PATH, sizeof(char *));
    f.value.config_path = "x.toml";
    assert_int_equal(value_from_text(&f.value, "ca.pem"), PLACE_GOOD);
    assert_string_equal(f.field.text, "ca.pem");
    tear_down(&f);
}

static void one_host_may_stand_for_a_list(void **state)
{
    struct fixture f;

    (void)state;
    assert_int_equal(give_node(&f, SCHEMA_HOSTS, sizeof(struct config_strings), "k = \"a\""),
                     PLACE_GOOD);
    assert_int_equal(f.field.strings.count, 1);
    assert_string_equal(f.field.strings.items[0], "a");
    tear_down(&f);
    assert_int_equal(
        give_node(&f, SCHEMA_HOSTS, sizeof(struct config_strings), "k = [\"a\", \"::1\"]"),
        PLACE_GOOD);
    assert_int_equal(f.field.strings.count, 2);
    assert_string_equal(f.field.strings.items[1], "::1");
    tear_down(&f);
    assert_int_equal(give_node(&f, SCHEMA_HOSTS, sizeof(struct config_strings), "k = []"),
                     PLACE_REFUSED);
    assert_said(&f, "at least one");
    tear_down(&f);
}

static void a_fault_in_an_array_has_the_place_of_its_element(void **state)
{
    struct fixture f;

    (void)state;
    assert_int_equal(give_node(&f, SCHEMA_RANGES, sizeof(struct cidr_list),
                               "k = [\n  \"10.0.0.0/8\",\n  \"10.0.0.1/8\",\n]"),
                     PLACE_REFUSED);
    assert_said(&f, "has the range \"10.0.0.1/8\"");
    const struct problem *p = problems_at(f.value.problems, 0);
    assert_string_equal(p->file, "/etc/x.toml");
    assert_int_equal(p->line, 3);
    assert_int_equal(p->column, 3);
    assert_string_equal(p->suggestion, "write \"10.0.0.0/8\"");
    tear_down(&f);
    assert_int_equal(
        give_node(&f, SCHEMA_PATTERNS, sizeof(struct config_strings), "k = [\"*.a\", \"b.*\"]"),
        PLACE_REFUSED);
    assert_said(&f, "has \"b.*\"");
    assert_int_equal(problems_at(f.value.problems, 0)->column, 13);
    tear_down(&f);
}

static void other_types_are_refused_with_what_to_write(void **state)
{
    static const struct {
        enum schema_type type;
        size_t size;
        const char *text;
        const char *suggestion;
    } cases[] = {
        {SCHEMA_BOOLEAN, sizeof(bool), "k = \"true\"", "write k = true, without quotes"},
        {SCHEMA_BOOLEAN, sizeof(bool), "k = 1", NULL},
        {SCHEMA_INTEGER, sizeof(uint64_t), "k = \"42\"", "write k = 42, without quotes"},
        {SCHEMA_TEXT, sizeof(char *), "k = 1.5", NULL},
        {SCHEMA_TEXT, sizeof(char *), "k = \"a\\u0000b\"", NULL},
        {SCHEMA_RANGES, sizeof(struct cidr_list), "k = \"::/0\"", "put it in brackets: [\"...\"]"},
        {SCHEMA_PATTERNS, sizeof(struct config_strings), "k = [1]", "put it in quotes"},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(give_node(&f, cases[i].type, cases[i].size, cases[i].text), PLACE_REFUSED);
        assert_int_equal(problems_count(f.value.problems), 1);
        const char *suggestion = problems_at(f.value.problems, 0)->suggestion;
        if (cases[i].suggestion == NULL)
            assert_null(suggestion);
        else
            assert_string_equal(suggestion, cases[i].suggestion);
        tear_down(&f);
    }
}

static void a_default_is_known_as_one(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, SCHEMA_INTEGER, sizeof(uint64_t));
    f.key.initial = "5";
    assert_int_equal(value_from_text(&f.value, "5"), PLACE_GOOD);
    assert_true(value_is_default(&f.value));
    assert_int_equal(value_from_text(&f.value, "6"), PLACE_GOOD);
    assert_false(value_is_default(&f.value));
    tear_down(&f);
    set_up(&f, SCHEMA_TEXT, sizeof(char *));
    assert_true(value_is_default(&f.value));
    assert_int_equal(value_from_text(&f.value, "x"), PLACE_GOOD);
    assert_false(value_is_default(&f.value));
    f.key.initial = "x";
    assert_true(value_is_default(&f.value));
    tear_down(&f);
    set_up(&f, SCHEMA_RANGES, sizeof(struct cidr_list));
    assert_true(value_is_default(&f.value));
    f.field.ranges.count = 1;
    assert_false(value_is_default(&f.value));
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_bounded_scaled_and_of_the_size_of_their_field),
        cmocka_unit_test(words_become_their_value),
        cmocka_unit_test(texts_are_checked_by_what_they_stand_for),
        cmocka_unit_test(paths_start_at_the_folder_of_the_configuration),
        cmocka_unit_test(one_host_may_stand_for_a_list),
        cmocka_unit_test(a_fault_in_an_array_has_the_place_of_its_element),
        cmocka_unit_test(other_types_are_refused_with_what_to_write),
        cmocka_unit_test(a_default_is_known_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
