#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/utf8.h"
#include "ops/log.h"

/* 2026-11-22T15:04:05.678Z */
#define TIME_NS INT64_C(1795359845678901234)

static const char *encode(struct log_line line, const struct log_field *fields, size_t count)
{
    static char out[LOG_LINE_MAX + 1];

    line.event = line.event != NULL ? line.event : "a.b";
    line.fields = fields;
    line.field_count = count;
    size_t len = log_line_encode(&line, out);
    assert_true(len > 0 && len <= LOG_LINE_MAX);
    out[len] = 0;
    assert_int_equal(out[len - 1], '\n');
    assert_ptr_equal(memchr(out, '\n', len), out + len - 1);
    return out;
}

#define ENCODE(line, ...) encode(line, LOG_FIELDS(__VA_ARGS__), LOG_FIELD_COUNT(__VA_ARGS__))

static const struct log_line json = {
    .level = LOG_LEVEL_INFO, .format = LOG_FORMAT_JSON, .time_ns = TIME_NS};
static const struct log_line plain = {
    .level = LOG_LEVEL_WARN, .format = LOG_FORMAT_PLAIN, .time_ns = TIME_NS};

static void json_lines_hold_all_types_in_order(void **state)
{
    (void)state;
    assert_string_equal(
        ENCODE(json, LOG_STR("peer", "192.0.2.1"), LOG_STR("none", NULL), LOG_INT("n", -5),
               LOG_UINT("u", UINT64_C(7)), LOG_BOOL("yes", true), LOG_BOOL("no", false),
               LOG_DUR("rtt_ms", 1234567), LOG_ERR("why", ERR_TIMEOUT), LOG_MSG("hello")),
        "{\"ts\":\"2026-11-22T15:04:05.678Z\",\"level\":\"info\",\"event\":\"a.b\","
        "\"peer\":\"192.0.2.1\",\"none\":null,\"n\":-5,\"u\":7,\"yes\":true,\"no\":false,"
        "\"rtt_ms\":1.234,\"why\":\"timeout\",\"msg\":\"hello\"}\n");
}

static void plain_lines_are_for_people(void **state)
{
    struct log_line coloured = plain;

    (void)state;
    assert_string_equal(ENCODE(plain, LOG_STR("peer", "192.0.2.1"), LOG_STR("none", NULL),
                               LOG_STR("empty", ""), LOG_INT("n", INT64_MIN),
                               LOG_DUR("rtt_ms", 1500000), LOG_MSG("two words")),
                        "2026-11-22T15:04:05.678Z warn  a.b peer=192.0.2.1 none=- empty=\"\" "
                        "n=-9223372036854775808 rtt_ms=1.500 msg=\"two words\"\n");
    coloured.colour = LOG_COLOUR_ON;
    coloured.time_ns = -1;
    assert_string_equal(encode(coloured, NULL, 0), "\033[33mwarn \033[0m a.b\n");
}

static void a_line_may_go_without_time_and_fields(void **state)
{
    struct log_line line = json;

    (void)state;
    line.time_ns = -1;
    assert_string_equal(ENCODE(line), "{\"level\":\"info\",\"event\":\"a.b\"}\n");
    assert_string_equal(encode(line, NULL, 0), "{\"level\":\"info\",\"event\":\"a.b\"}\n");
}

static void numbers_beyond_json_integers_are_strings(void **state)
{
    (void)state;
    assert_non_null(
        strstr(ENCODE(json, LOG_UINT("u", UINT64_MAX)), "\"u\":\"18446744073709551615\""));
    assert_non_null(strstr(ENCODE(plain, LOG_UINT("u", UINT64_MAX)), "u=18446744073709551615"));
}

static void hostile_text_is_escaped_in_plain_lines(void **state)
{
    static const struct {
        const char *in;
        const char *out;
    } cases[] = {
        {"\033]0;owned\007", "v=\"\\x1b]0;owned\\x07\""},
        {"a\nlevel=error", "v=\"a\\nlevel=error\""},
        {"a\tb\r", "v=\"a\\tb\\x0d\""},
        {"say \"hi\" \\", "v=\"say \\\"hi\\\" \\\\\""},
        {"k=v", "v=\"k=v\""},
        {"caf\xc3\xa9", "v=\"caf\xc3\xa9\""},
        {"bad \xff\xc3", "v=\"bad \\xff\\xc3\""},
        {"\xc2\x9b"
         "31m",
         "v=\"\\u{9b}31m\""},
        {"a\xe2\x80\xae"
         "b",
         "v=\"a\\u{202e}b\""},
        {"\x7f", "v=\"\\x7f\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_non_null(strstr(ENCODE(plain, LOG_STR("v", cases[i].in)), cases[i].out));
    assert_non_null(strstr(ENCODE(plain, LOG_BYTES("v", "a\0b", 3)), "v=\"a\\x00b\""));
}

static const char *json_value(const char *line, json_t **root)
{
    json_error_t error;

    *root = json_loads(line, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    assert_non_null(*root);
    return json_string_value(json_object_get(*root, "v"));
}

static void hostile_text_is_valid_json(void **state)
{
    json_t *root;

    (void)state;
    assert_string_equal(json_value(ENCODE(json, LOG_STR("v", "\033[1m\"\\\n\xff\x7f")), &root),
                        "\033[1m\"\\\n\xef\xbf\xbd\x7f");
    json_decref(root);
    (void)json_value(ENCODE(json, LOG_BYTES("v", "a\0b", 3)), &root);
    assert_int_equal(json_string_length(json_object_get(root, "v")), 3);
    json_decref(root);
}

static void long_values_are_cut(void **state)
{
    char text[LOG_VALUE_MAX + 100];
    json_t *root;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    const char *value = json_value(ENCODE(json, LOG_STR("v", text)), &root);
    assert_int_equal(strlen(value), LOG_VALUE_MAX + 3);
    assert_string_equal(value + LOG_VALUE_MAX, "...");
    json_decref(root);
    assert_non_null(strstr(ENCODE(plain, LOG_STR("v", text)), "xxx...\"\n"));

    /* The cut does not fall inside a character. */
    memcpy(text + LOG_VALUE_MAX - 1, "\xe2\x82\xac", 3);
    value = json_value(ENCODE(json, LOG_STR("v", text)), &root);
    assert_string_equal(value + LOG_VALUE_MAX - 1, "...");
    json_decref(root);
}

static void what_does_not_fit_is_left_out(void **state)
{
    char text[LOG_VALUE_MAX + 1];
    json_t *root;

    (void)state;
    memset(text, '\001', LOG_VALUE_MAX);
    text[LOG_VALUE_MAX] = 0;
    const char *line = ENCODE(json, LOG_STR("v", "kept"), LOG_STR("a", text), LOG_STR("b", text));
    assert_string_equal(json_value(line, &root), "kept");
    assert_true(json_is_true(json_object_get(root, "truncated")));
    assert_null(json_object_get(root, "a"));
    json_decref(root);
    line = ENCODE(plain, LOG_STR("v", "kept"), LOG_STR("a", text), LOG_INT("z", 1));
    assert_non_null(strstr(line, "v=kept"));
    assert_non_null(strstr(line, "z=1 truncated=true\n"));
    assert_null(strstr(line, "a="));
}

static bool is_safe(const char *line)
{
    size_t len = strlen(line) - 1;

    for (size_t at = 0; at < len;) {
        uint32_t value;
        size_t n = utf8_next(line + at, len - at, &value);

        if (n == 0 || value < 0x20 || (value >= 0x7f && value <= 0x9f))
            return false;
        at += n;
    }
    return true;
}

static void any_bytes_make_one_safe_line(void **state)
{
    uint64_t seed = 1;
    char bytes[2 * LOG_VALUE_MAX];
    json_t *root;

    (void)state;
    for (int round = 0; round < 2000; round++) {
        size_t len = 0;
        for (size_t i = 0; i < sizeof(bytes); i++) {
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            bytes[i] = (char)(seed >> 56);
        }
        len = (size_t)(seed >> 40) % sizeof(bytes);
        assert_true(is_safe(ENCODE(plain, LOG_BYTES("v", bytes, len))));
        (void)json_value(ENCODE(json, LOG_BYTES("v", bytes, len)), &root);
        json_decref(root);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines_hold_all_types_in_order),
        cmocka_unit_test(plain_lines_are_for_people),
        cmocka_unit_test(a_line_may_go_without_time_and_fields),
        cmocka_unit_test(numbers_beyond_json_integers_are_strings),
        cmocka_unit_test(hostile_text_is_escaped_in_plain_lines),
        cmocka_unit_test(hostile_text_is_valid_json),
        cmocka_unit_test(long_values_are_cut),
        cmocka_unit_test(what_does_not_fit_is_left_out),
        cmocka_unit_test(any_bytes_make_one_safe_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
