#include "ops/log_line.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "base/utf8.h"

#define NS_PER_SEC 1000000000
#define NS_PER_MS  1000000

struct buffer {
    char *bytes;
    size_t len;
    size_t size;
    bool is_full; /* something did not fit; the bytes end before it */
};

static const struct {
    const char *name;
    const char *colour;
} levels[] = {
    [LOG_LEVEL_DEBUG] = {"debug", "\033[2m"},
    [LOG_LEVEL_INFO] = {"info", "\033[32m"},
    [LOG_LEVEL_WARN] = {"warn", "\033[33m"},
    [LOG_LEVEL_ERROR] = {"error", "\033[31m"},
};

const char *log_level_name(enum log_level level)
{
    return levels[level].name;
}

static void put(struct buffer *b, const char *bytes, size_t len)
{
    if (b->is_full || len > b->size - b->len) {
        b->is_full = true;
        return;
    }
    memcpy(b->bytes + b->len, bytes, len);
    b->len += len;
}

static void put_text(struct buffer *b, const char *text)
{
    put(b, text, strlen(text));
}

static void format_time(char *out, size_t size, int64_t time_ns)
{
    time_t seconds = (time_t)(time_ns / NS_PER_SEC);
    struct tm tm;
    char date[32];

    if (gmtime_r(&seconds, &tm) == NULL)
        memset(&tm, 0, sizeof(tm));
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, size, "%s.%03dZ", date, (int)(time_ns % NS_PER_SEC / NS_PER_MS));
}

static void format_milliseconds(char *out, size_t size, int64_t ns)
{
    snprintf(out, size, "%.3f", (double)ns / NS_PER_MS);
}

/* Control characters, and what reorders or hides text around it on a terminal. */
static bool is_unsafe(uint32_t value)
{
    return value < 0x20 || (value >= 0x7f && value <= 0x9f) ||
           (value >= 0x200b && value <= 0x200f) || (value >= 0x2028 && value <= 0x202e) ||
           (value >= 0x2060 && value <= 0x206f) || value == 0xfeff;
}

/* The length of a value as far as it is shown, cut between characters where it has any. */
static size_t shown_length(const char *text, size_t len)
{
    if (len <= LOG_VALUE_MAX)
        return len;
    len = LOG_VALUE_MAX;
    for (size_t back = 0; back < 3 && ((unsigned char)text[len] & 0xc0) == 0x80; back++)
        len--;
    return len;
}

static void put_escaped(struct buffer *b, const char *text, size_t len)
{
    const unsigned char *at = (const unsigned char *)text;
    const unsigned char *end = at + len;
    char escaped[16];

    while (at < end) {
        uint32_t value;
        size_t n = utf8_next(at, (size_t)(end - at), &value);

        if (n == 0 || (n == 1 && is_unsafe(value))) {
            if (*at == '\n')
                put_text(b, "\\n");
            else if (*at == '\t')
                put_text(b, "\\t");
            else {
                snprintf(escaped, sizeof(escaped), "\\x%02x", *at);
                put_text(b, escaped);
            }
            n = 1;
        } else if (is_unsafe(value)) {
            snprintf(escaped, sizeof(escaped), "\\u{%" PRIx32 "}", value);
            put_text(b, escaped);
        } else if (value == '"' || value == '\\') {
            put(b, "\\", 1);
            put(b, (const char *)at, 1);
        } else {
            put(b, (const char *)at, n);
        }
        at += n;
    }
}

static bool is_bare(const char *text, size_t len)
{
    static const char special[] = " \"'=\\";

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= 0x20 || c >= 0x7f || strchr(special, c) != NULL)
            return false;
    }
    return len > 0;
}

static void put_plain_text(struct buffer *b, const char *text, size_t len)
{
    size_t shown;

    if (text == NULL) {
        put_text(b, "-");
        return;
    }
    if (len <= LOG_VALUE_MAX && is_bare(text, len)) {
        put(b, text, len);
        return;
    }
    shown = shown_length(text, len);
    put_text(b, "\"");
    put_escaped(b, text, shown);
    put_text(b, shown < len ? "...\"" : "\"");
}

static void put_plain_field(struct buffer *b, const struct log_field *field)
{
    char number[64];

    put_text(b, " ");
    put_text(b, field->key);
    put_text(b, "=");
    switch (field->type) {
    case LOG_FIELD_TEXT:
        put_plain_text(b, field->text, field->text_len);
        return;
    case LOG_FIELD_INTEGER:
        snprintf(number, sizeof(number), "%" PRId64, field->integer);
        break;
    case LOG_FIELD_UNSIGNED:
        snprintf(number, sizeof(number), "%" PRIu64, field->unsigned_integer);
        break;
    case LOG_FIELD_BOOLEAN:
        snprintf(number, sizeof(number), "%s", field->integer != 0 ? "true" : "false");
        break;
    case LOG_FIELD_MILLISECONDS:
        format_milliseconds(number, sizeof(number), field->integer);
        break;
    }
    put_text(b, number);
}

static size_t encode_plain(const struct log_line *line, char *out)
{
    static const char truncated[] = " truncated=true\n";
    struct buffer b = {.bytes = out, .size = LOG_LINE_MAX - (sizeof(truncated) - 1)};
    bool is_colour = line->colour == LOG_COLOUR_ON;
    bool is_truncated = false;
    char head[64];

    if (line->time_ns >= 0) {
        format_time(head, sizeof(head), line->time_ns);
        put_text(&b, head);
        put_text(&b, " ");
    }
    snprintf(head, sizeof(head), "%s%-5s%s ", is_colour ? levels[line->level].colour : "",
             levels[line->level].name, is_colour ? "\033[0m" : "");
    put_text(&b, head);
    put_escaped(&b, line->event, shown_length(line->event, strlen(line->event)));
    for (size_t i = 0; i < line->field_count; i++) {
        size_t before = b.len;

        if (line->fields[i].key == NULL)
            continue;
        put_plain_field(&b, &line->fields[i]);
        if (b.is_full) {
            b.len = before;
            b.is_full = false;
            is_truncated = true;
        }
    }
    b.size = LOG_LINE_MAX;
    put_text(&b, is_truncated ? truncated : "\n");
    return b.len;
}

/* Valid UTF-8 for jansson, which takes nothing else: each bad byte becomes U+FFFD. */
static json_t *json_text(const char *text, size_t len)
{
    char clean[LOG_VALUE_MAX * 3 + 4];
    struct buffer b = {.bytes = clean, .size = sizeof(clean)};
    const unsigned char *at = (const unsigned char *)text;

    if (text == NULL)
        return json_null();
    const unsigned char *end = at + shown_length(text, len);
    while (at < end) {
        uint32_t value;
        size_t n = utf8_next(at, (size_t)(end - at), &value);

        if (n == 0) {
            put_text(&b, "\xef\xbf\xbd");
            n = 1;
        } else {
            put(&b, (const char *)at, n);
        }
        at += n;
    }
    if (len > LOG_VALUE_MAX)
        put_text(&b, "...");
    return json_stringn(clean, b.len);
}

static json_t *json_value(const struct log_field *field)
{
    char number[64];
    int64_t microseconds;

    switch (field->type) {
    case LOG_FIELD_TEXT:
        return json_text(field->text, field->text_len);
    case LOG_FIELD_INTEGER:
        return json_integer(field->integer);
    case LOG_FIELD_UNSIGNED:
        if (field->unsigned_integer > INT64_MAX) { /* beyond what jansson's integers hold */
            snprintf(number, sizeof(number), "%" PRIu64, field->unsigned_integer);
            return json_string(number);
        }
        return json_integer((json_int_t)field->unsigned_integer);
    case LOG_FIELD_BOOLEAN:
        return json_boolean(field->integer != 0);
    case LOG_FIELD_MILLISECONDS:
        microseconds = field->integer / 1000; /* JSON too has three decimals and no noise */
        return json_real((double)microseconds / 1000.0);
    }
    return json_null();
}

/* Returns the length without the newline, or 0 if it does not fit. */
static size_t dump(const json_t *object, char *out)
{
    size_t flags = JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15);
    size_t len = json_dumpb(object, out, LOG_LINE_MAX - 1, flags);

    return len <= LOG_LINE_MAX - 1 ? len : 0;
}

static size_t encode_json(const struct log_line *line, char *out)
{
    json_t *object = json_object();
    size_t len = 0;
    char ts[64];

    if (line->time_ns >= 0) {
        format_time(ts, sizeof(ts), line->time_ns);
        json_object_set_new(object, "ts", json_string(ts));
    }
    json_object_set_new(object, "level", json_string(levels[line->level].name));
    json_object_set_new(object, "event", json_text(line->event, strlen(line->event)));
    for (size_t i = 0; i < line->field_count; i++) {
        if (line->fields[i].key != NULL)
            json_object_set_new(object, line->fields[i].key, json_value(&line->fields[i]));
    }
    if (object != NULL)
        len = dump(object, out);
    for (size_t i = line->field_count; len == 0 && object != NULL && i > 0; i--) {
        if (line->fields[i - 1].key == NULL)
            continue;
        json_object_del(object, line->fields[i - 1].key);
        json_object_set_new(object, "truncated", json_true());
        len = dump(object, out);
    }
    json_decref(object);
    if (len == 0) /* out of memory */
        len = (size_t)snprintf(out, LOG_LINE_MAX - 1,
                               "{\"level\":\"error\",\"event\":\"log.out_of_memory\"}");
    out[len] = '\n';
    return len + 1;
}

size_t log_line_encode(const struct log_line *line, char out[LOG_LINE_MAX])
{
    return line->format == LOG_FORMAT_JSON ? encode_json(line, out) : encode_plain(line, out);
}
