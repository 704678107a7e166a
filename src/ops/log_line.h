/*
 * One event as one line of text, JSON or plain. Values may come from a peer: whatever bytes they
 * hold, the line stays one line, valid UTF-8, free of control characters (so of terminal escapes)
 * and, as JSON, valid JSON. Pure functions; any thread.
 */
#ifndef UTUN_OPS_LOG_LINE_H
#define UTUN_OPS_LOG_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"

/*
 * The most a line may have, newline included: what a pipe takes in one piece (PIPE_BUF), so that
 * lines of several threads and processes do not mix. Fields that do not fit are left out, and the
 * line says so ("truncated").
 */
#define LOG_LINE_MAX 4096

/* Longer values are cut, and end in "...". */
#define LOG_VALUE_MAX 1024

enum log_field_type {
    LOG_FIELD_TEXT,
    LOG_FIELD_INTEGER,
    LOG_FIELD_UNSIGNED,
    LOG_FIELD_BOOLEAN,
    LOG_FIELD_MILLISECONDS, /* from nanoseconds, with three decimals */
};

/* The pointers must live until the line is made. A field with a NULL key is skipped. */
struct log_field {
    const char *key; /* ours: [a-z_]+, with its unit */
    enum log_field_type type;
    const char *text; /* NULL is written as null */
    size_t text_len;
    int64_t integer;
    uint64_t unsigned_integer;
};

enum log_colour {
    LOG_COLOUR_OFF,
    LOG_COLOUR_ON, /* of plain lines; JSON never has any */
};

struct log_line {
    enum log_level level;
    enum log_format format;
    enum log_colour colour;
    int64_t time_ns; /* since 1970; negative: the line carries no time */
    const char *event;
    const struct log_field *fields;
    size_t field_count;
};

/* Writes the line, ending in a newline and not NUL-terminated, and returns its length. */
size_t log_line_encode(const struct log_line *line, char out[LOG_LINE_MAX]);

const char *log_level_name(enum log_level level);

#endif
