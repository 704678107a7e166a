#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/schema.h"

static void every_row_is_complete(void **state)
{
    size_t count;
    const struct schema_key *keys = schema_keys(&count);

    (void)state;
    assert_true(count > 60);
    for (size_t i = 0; i < count; i++) {
        const struct schema_key *key = &keys[i];
        bool is_list = key->type == SCHEMA_RANGES || key->type == SCHEMA_PATTERNS;

        assert_true(strlen(key->meaning) > 0);
        assert_null(strchr(key->meaning, '|'));
        assert_non_null(key->since);
        assert_true(key->size > 0);
        assert_ptr_equal(schema_find(key->section, key->name), key);
        /* Exactly one of: required, a default, a note about the default. */
        assert_int_equal((key->is_required ? 1 : 0) + (key->initial != NULL ? 1 : 0) +
                             (key->initial_note != NULL ? 1 : 0),
                         is_list ? 0 : 1);
        if (key->type == SCHEMA_INTEGER)
            assert_true(key->min < key->max && key->scale > 0);
        if (key->type == SCHEMA_WORD)
            assert_non_null(key->words);
    }
}

static void fields_do_not_overlap(void **state)
{
    size_t count;
    const struct schema_key *keys = schema_keys(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            bool is_item = schema_section(keys[i].section)->is_array;
            bool is_same_struct = is_item ? keys[i].section == keys[j].section
                                          : !schema_section(keys[j].section)->is_array;

            if (is_same_struct)
                assert_true(keys[i].offset + keys[i].size <= keys[j].offset ||
                            keys[j].offset + keys[j].size <= keys[i].offset);
        }
    }
}

static void sections_are_found_by_name(void **state)
{
    enum schema_section_id id;
    char header[64];

    (void)state;
    assert_true(schema_find_section("source.exposed_ports", &id));
    assert_int_equal(id, SCHEMA_EXPOSED_PORTS);
    schema_section_header(id, header, sizeof(header));
    assert_string_equal(header, "[[source.exposed_ports]]");
    schema_section_header(SCHEMA_AUTH, header, sizeof(header));
    assert_string_equal(header, "[auth]");
    assert_false(schema_find_section("exposed_ports", &id));
    assert_null(schema_find(SCHEMA_DEST, "listen_port"));
}

static void unknown_names_get_the_nearest_known_one(void **state)
{
    static const struct {
        enum schema_section_id section;
        const char *name;
        const char *suggestion;
    } cases[] = {
        {SCHEMA_SOURCE, "listen_prot", "did you mean 'listen_port'?"},
        {SCHEMA_SOURCE, "max_conections", "did you mean 'max_connections'?"},
        {SCHEMA_SOURCE, "heartbeat_interval", "did you mean 'heartbeat_interval_ms'?"},
        {SCHEMA_CRYPTO, "key_rotation_interval_secs",
         "did you mean 'key_rotation_interval_seconds'?"},
        {SCHEMA_DEST, "listen_port", "it belongs in [source]"},
        {SCHEMA_SOURCE, "kem_mode", "it belongs in [crypto]"},
        {SCHEMA_LOGGING, "memory_budget_mb", "it belongs in [source] or [dest]"},
        {SCHEMA_SECTION_COUNT, "ca_cert_path", "it belongs in [auth]"},
        {SCHEMA_LOGGING, "metrics_prt", "did you mean 'metrics_port', which belongs in [metrics]?"},
        {SCHEMA_SECTION_COUNT, "sorce", "did you mean [source]?"},
        {SCHEMA_SECTION_COUNT, "exposed_ports", "write it as [[source.exposed_ports]]"},
        {SCHEMA_SOURCE, "exposed_services", "write it as [[dest.exposed_services]]"},
        {SCHEMA_SOURCE, "exposed_port", "did you mean [[source.exposed_ports]]?"},
        {SCHEMA_EXPOSED_SERVICES, "target_host", "did you mean 'target_port'?"},
    };
    char text[200];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(schema_suggest(cases[i].section, cases[i].name, text, sizeof(text)));
        assert_string_equal(text, cases[i].suggestion);
    }
    assert_false(schema_suggest(SCHEMA_SOURCE, "banana", text, sizeof(text)));
    assert_string_equal(text, "");
}

static void words_get_the_nearest_known_one(void **state)
{
    const struct schema_key *mode = schema_find(SCHEMA_CRYPTO, "kem_mode");

    (void)state;
    assert_string_equal(schema_suggest_word(mode, "hybrd"), "hybrid");
    assert_string_equal(schema_suggest_word(mode, "MLKEM768"), "mlkem768");
    assert_string_equal(schema_suggest_word(mode, "mlkem-768"), "mlkem768");
    assert_null(schema_suggest_word(mode, "rsa"));
}

/* Everything between the two marks of the file; the caller frees it. */
static char *read_reference(void)
{
    static const char begin[] = "<!-- keys: begin -->\n";
    FILE *file = fopen(DOCS_FOLDER "/CONFIGURATION.md", "r");
    char *text = calloc(1, 1 << 20);

    assert_non_null(file);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    char *start = strstr(text, begin);
    char *end = strstr(text, "<!-- keys: end -->");
    assert_non_null(start);
    assert_non_null(end);
    *end = 0;
    memmove(text, start + sizeof(begin) - 1, strlen(start + sizeof(begin) - 1) + 1);
    return text;
}

static void the_documentation_is_the_schema(void **state)
{
    char *generated = NULL;
    size_t len = 0;
    FILE *memory = open_memstream(&generated, &len);
    char *reference = read_reference();

    (void)state;
    assert_non_null(memory);
    schema_document(memory);
    fclose(memory);
    /* When this fails, put the output of `utun check --keys` between the marks. */
    assert_string_equal(reference, generated);
    free(generated);
    free(reference);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_complete),
        cmocka_unit_test(fields_do_not_overlap),
        cmocka_unit_test(sections_are_found_by_name),
        cmocka_unit_test(unknown_names_get_the_nearest_known_one),
        cmocka_unit_test(words_get_the_nearest_known_one),
        cmocka_unit_test(the_documentation_is_the_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
