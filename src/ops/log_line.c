#include "ops/log_line.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "base/utf8.h"

#define NS_PER_SEC 1000000000
#define NS_PER_MS  1000000
#define NS_PER_US  1000

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

/* Cut to microseconds. */
static void format_milliseconds(char *out, size_t size, int64_t ns)
{
    uint64_t us = (ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns) / NS_PER_US;

    snprintf(out, size, "%s%" PRIu64 ".%03u", ns < 0 && us > 0 ? "-" : "", us / 1000,
             (unsigned)(us % 1000));
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

/* Everything but text. */
static void put_number(struct buffer *b, const struct log_field *field)
{
    char number[64];

    switch (field->type) {
    case LOG_FIELD_TEXT:
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

static void put_plain_field(struct buffer *b, const struct log_field *field)
{
    put_text(b, " ");
    put_text(b, field->key);
    put_text(b, "=");
    if (field->type == LOG_FIELD_TEXT)
        put_plain_text(b, field->text, field->text_len);
    else
        put_number(b, field);
}

/* Puts the field, or nothing. False if there was no room. */
static bool put_whole(struct buffer *b, const struct log_field *field,
                      void (*put_field)(struct buffer *b, const struct log_field *field))
{
    size_t before = b->len;

    if (field->key == NULL)
        return true;
    put_field(b, field);
    if (!b->is_full)
        return true;
    b->len = before;
    b->is_full = false;
    return false;
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
    for (size_t i = 0; i < line->field_count; i++)
        is_truncated = !put_whole(&b, &line->fields[i], put_plain_field) || is_truncated;
    b.size = LOG_LINE_MAX;
    put_text(&b, is_truncated ? truncated : "\n");
    return b.len;
}

/* Whether JSON has it as it is: most names, addresses and reasons. */
static bool is_clean(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            return false;
    }
    return len <= LOG_VALUE_MAX;
}

/* Cut to what a line shows of a value. */
static json_t *json_shown(const char *text, size_t len)
{
    static const char more[] = "...";
    char clean[LOG_VALUE_MAX * 3 + sizeof(more)];
    size_t used =
        utf8_copy(clean, sizeof(clean) - (sizeof(more) - 1), text, shown_length(text, len));

    if (len > LOG_VALUE_MAX) {
        memcpy(clean + used, more, sizeof(more) - 1);
        used += sizeof(more) - 1;
    }
    return json_stringn(clean, used);
}

static void put_json_escaped(struct buffer *b, const char *text, size_t len)
{
    json_t *value = json_shown(text, len);
    size_t room = b->size - b->len;
    size_t n = value == NULL ? 0
                             : json_dumpb(value, b->bytes + b->len, room,
                                          JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

    json_decref(value);
    if (n == 0 || n > room) /* out of memory is no room, too */
        b->is_full = true;
    else
        b->len += n;
}

static void put_json_text(struct buffer *b, const char *text, size_t len)
{
    if (text == NULL) {
        put_text(b, "null");
    } else if (is_clean(text, len)) {
        put(b, "\"", 1);
        put(b, text, len);
        put(b, "\"", 1);
    } else if (!b->is_full) {
        put_json_escaped(b, text, len);
    }
}

static void put_json_field(struct buffer *b, const struct log_field *field)
{
    /* Beyond what most readers' integers hold. */
    bool is_quoted = field->type == LOG_FIELD_UNSIGNED && field->unsigned_integer > INT64_MAX;

    put_text(b, ",\"");
    put_text(b, field->key);
    put_text(b, is_quoted ? "\":\"" : "\":");
    if (field->type == LOG_FIELD_TEXT)
        put_json_text(b, field->text, field->text_len);
    else
        put_number(b, field);
    if (is_quoted)
        put_text(b, "\"");
}

static size_t encode_json(const struct log_line *line, char *out)
{
    static const char truncated[] = ",\"truncated\":true}\n";
    struct buffer b = {.bytes = out, .size = LOG_LINE_MAX - (sizeof(truncated) - 1)};
    bool is_truncated = false;
    char ts[64];

    put_text(&b, "{");
    if (line->time_ns >= 0) {
        format_time(ts, sizeof(ts), line->time_ns);
        put_text(&b, "\"ts\":\"");
        put_text(&b, ts);
        put_text(&b, "\",");
    }
    put_text(&b, "\"level\":\"");
    put_text(&b, levels[line->level].name);
    put_text(&b, "\",\"event\":");
    put_json_text(&b, line->event, strlen(line->event));
    for (size_t i = 0; i < line->field_count; i++)
        is_truncated = !put_whole(&b, &line->fields[i], put_json_field) || is_truncated;
    b.size = LOG_LINE_MAX;
    put_text(&b, is_truncated ? truncated : "}\n");
    return b.len;
}

size_t log_line_encode(const struct log_line *line, char out[LOG_LINE_MAX])
{
    return line->format == LOG_FORMAT_JSON ? encode_json(line, out) : encode_plain(line, out);
}
