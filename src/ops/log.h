/*
 * The program's log: events with a stable name and typed fields, one line each.
 *
 *     LOG(LOG_LEVEL_INFO, "session.up", LOG_STR("peer", name), LOG_DUR("handshake_ms", ns));
 *     LOG_LIMITED(LOG_LEVEL_WARN, "stream.refused", LOG_STR("why", err_text(e)));
 *
 * As JSON:  {"ts":"2026-11-22T10:00:00.123Z","level":"info","event":"session.up","peer":...}
 * As plain: 2026-11-22T10:00:00.123Z info  session.up peer=...
 *
 * Any thread may log at any time, also before log_init (plain, to standard error). A call never
 * waits for whoever reads the log, nor for a disk: it copies the line into a bounded queue, which a
 * thread of its own writes (log_writer.h). Lines that cannot be kept or written are dropped and
 * counted, and the count is logged ("log.dropped") when writing works again. The caller ignores
 * SIGPIPE. Where systemd's journal reads, each line begins with its priority ("<6>").
 *
 * Never hand a secret to a field. Keys are ours, [a-z_]+, and carry their unit ("age_secs").
 */
#ifndef UTUN_OPS_LOG_H
#define UTUN_OPS_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "config/config.h"
#include "ops/log_line.h"

enum log_timestamp {
    LOG_TIMESTAMP_OFF,
    LOG_TIMESTAMP_ON,
};

struct log_options {
    enum log_level level;
    enum log_format format;
    enum log_timestamp timestamp;
    int fd; /* stays the caller's, and open until log_fini */
};

/*
 * Sets or changes where and how lines are written; also while other threads log. Plain lines are
 * coloured where fd is a terminal, unless NO_COLOR is set or TERM is "dumb". Never fails.
 */
void log_init(const struct log_options *options);

/*
 * From now on a thread writes. Until then, and where there is no thread to be had, lines are
 * written by who logs them: without waiting for readers, but for a slow disk. Apart from log_init
 * because a thread gives up only rights that the process has given up before it began.
 */
void log_start(void);

/*
 * Writes what is due and queued, waiting at most some seconds for who reads it; then logs as before
 * log_init.
 */
void log_fini(void);

void log_set_level(enum log_level level);

/* Whether a line of that level would be written: for callers whose fields are dear to make. */
bool log_is_on(enum log_level level);

/* Lines lost so far, because nobody read them or the disk was full. */
uint64_t log_dropped(void);

/* Names a string: NUL-terminated, or NULL. */
#define LOG_STR(k, v)                                                                              \
    ((struct log_field){                                                                           \
        .key = (k), .type = LOG_FIELD_TEXT, .text = (v), .text_len = log_text_length(v)})
/* Bytes of a peer, perhaps with NULs among them. */
#define LOG_BYTES(k, v, n)                                                                         \
    ((struct log_field){.key = (k), .type = LOG_FIELD_TEXT, .text = (v), .text_len = (n)})
#define LOG_INT(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_INTEGER, .integer = (v)})
#define LOG_UINT(k, v)                                                                             \
    ((struct log_field){.key = (k), .type = LOG_FIELD_UNSIGNED, .unsigned_integer = (v)})
#define LOG_BOOL(k, v)                                                                             \
    ((struct log_field){.key = (k), .type = LOG_FIELD_BOOLEAN, .integer = (v) ? 1 : 0})
/* A duration in nanoseconds, logged in milliseconds: the key ends in _ms. */
#define LOG_DUR(k, ns)                                                                             \
    ((struct log_field){.key = (k), .type = LOG_FIELD_MILLISECONDS, .integer = (ns)})
/* An enum err, by its stable name. */
#define LOG_ERR(k, e) LOG_STR(k, err_name(e))
/* A sentence for people beside the fields. */
#define LOG_MSG(v) LOG_STR("msg", v)

/* The first element only keeps the array from being empty. */
#define LOG_FIELDS(...)      ((const struct log_field[]){{.key = NULL}, ##__VA_ARGS__})
#define LOG_FIELD_COUNT(...) (sizeof(LOG_FIELDS(__VA_ARGS__)) / sizeof(struct log_field))

#define LOG(level, event, ...)                                                                     \
    log_write(level, event, LOG_FIELDS(__VA_ARGS__), LOG_FIELD_COUNT(__VA_ARGS__))

/* For what strangers can cause at will: few lines of each event, then a count (log_limit.h). */
#define LOG_LIMITED(level, event, ...)                                                             \
    log_write_limited(level, event, LOG_FIELDS(__VA_ARGS__), LOG_FIELD_COUNT(__VA_ARGS__))

/* What the macros call. event is a literal. */
void log_write(enum log_level level, const char *event, const struct log_field *fields,
               size_t field_count);
void log_write_limited(enum log_level level, const char *event, const struct log_field *fields,
                       size_t field_count);

static inline size_t log_text_length(const char *text)
{
    return text != NULL ? strlen(text) : 0;
}

#endif
