#include "ops/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "ops/log_limit.h"
#include "ops/log_sink.h"
#include "ops/log_writer.h"

static size_t on_report(struct log_writer_owner *owner, uint64_t lines,
                        char out[LOG_WRITER_LINE_MAX]);
static void on_due(struct log_writer_owner *owner);

/* The settings are one word each, so that a line needs no lock before it is queued. */
static struct {
    struct log_writer_owner owner;
    atomic_int level;
    atomic_int format;
    atomic_int timestamp;
    atomic_int colour;
    atomic_int priority;
    pthread_mutex_t lock; /* of all below */
    struct log_limit limit;
    struct log_writer *writer; /* NULL: lines are written by who logs them */
    int fd;
    struct log_sink sink; /* without a writer */
    uint64_t dropped;     /* by writers that are closed, and without one */
} log_state = {
    .owner = {.on_report = on_report, .on_due = on_due},
    .level = LOG_LEVEL_INFO,
    .format = LOG_FORMAT_PLAIN,
    .timestamp = LOG_TIMESTAMP_ON,
    .colour = LOG_COLOUR_OFF,
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .limit = {.due_ms = INT64_MAX},
    .fd = -1,
    .sink = {.fd = STDERR_FILENO, .kind = LOG_SINK_POLLED},
};

/* syslog(3) priorities, as the journal takes them in front of a line: sd-daemon(3). */
static const int priorities[] = {
    [LOG_LEVEL_DEBUG] = 7,
    [LOG_LEVEL_INFO] = 6,
    [LOG_LEVEL_WARN] = 4,
    [LOG_LEVEL_ERROR] = 3,
};

static enum log_colour colour_for(int fd)
{
    const char *no_colour = getenv("NO_COLOR");
    const char *term = getenv("TERM");

    if (!isatty(fd) || (no_colour != NULL && no_colour[0] != 0))
        return LOG_COLOUR_OFF;
    return term != NULL && strcmp(term, "dumb") == 0 ? LOG_COLOUR_OFF : LOG_COLOUR_ON;
}

/* JOURNAL_STREAM is "device:inode" of the stream that the journal reads: systemd.exec(5). */
static bool is_journal(int fd)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char ours[64];
    struct stat st;

    if (stream == NULL || fstat(fd, &st) != 0)
        return false;
    snprintf(ours, sizeof(ours), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(stream, ours) == 0;
}

static size_t encode(enum log_level level, const char *event, const struct log_field *fields,
                     size_t field_count, char out[LOG_WRITER_LINE_MAX]);
static void write_summaries(void);

static size_t on_report(struct log_writer_owner *owner, uint64_t lines,
                        char out[LOG_WRITER_LINE_MAX])
{
    const struct log_field count = LOG_UINT("lines", lines);

    (void)owner;
    return encode(LOG_LEVEL_WARN, "log.dropped", &count, 1, out);
}

/* Until log_init says otherwise. */
static void use_standard_error_locked(void)
{
    log_sink_fini(&log_state.sink);
    log_state.sink.fd = STDERR_FILENO;
    log_state.sink.kind = LOG_SINK_POLLED;
}

/* Without the lock while it waits: who logs meanwhile writes for himself. */
static void close_writer(void)
{
    pthread_mutex_lock(&log_state.lock);
    struct log_writer *writer = log_state.writer;
    log_state.writer = NULL;
    log_state.fd = -1;
    pthread_mutex_unlock(&log_state.lock);
    uint64_t dropped = log_writer_close(writer);
    pthread_mutex_lock(&log_state.lock);
    log_state.dropped += dropped;
    use_standard_error_locked();
    pthread_mutex_unlock(&log_state.lock);
}

static void set_target(int fd)
{
    pthread_mutex_lock(&log_state.lock);
    bool is_same = log_state.fd == fd;
    bool has_thread = log_state.writer != NULL;
    pthread_mutex_unlock(&log_state.lock);
    if (is_same)
        return;
    close_writer();
    pthread_mutex_lock(&log_state.lock);
    log_sink_init(&log_state.sink, fd);
    log_state.fd = fd;
    pthread_mutex_unlock(&log_state.lock);
    if (has_thread)
        log_start();
}

void log_init(const struct log_options *options)
{
    set_target(options->fd);
    atomic_store(&log_state.format, (int)options->format);
    atomic_store(&log_state.timestamp, (int)options->timestamp);
    atomic_store(&log_state.colour, (int)colour_for(options->fd));
    atomic_store(&log_state.priority, is_journal(options->fd));
    log_set_level(options->level);
}

void log_start(void)
{
    pthread_mutex_lock(&log_state.lock);
    if (log_state.writer == NULL && log_state.fd >= 0 &&
        log_writer_start(&log_state.writer, &log_state.sink, &log_state.owner) == ERR_OK) {
        log_state.sink = (struct log_sink){.fd = STDERR_FILENO, .kind = LOG_SINK_POLLED};
        log_writer_remind(log_state.writer, log_state.limit.due_ms);
    }
    pthread_mutex_unlock(&log_state.lock);
}

void log_fini(void)
{
    write_summaries();
    close_writer();
    atomic_store(&log_state.format, (int)LOG_FORMAT_PLAIN);
    atomic_store(&log_state.colour, (int)LOG_COLOUR_OFF);
    atomic_store(&log_state.priority, 0);
}

void log_set_level(enum log_level level)
{
    atomic_store(&log_state.level, (int)level);
}

bool log_is_on(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log_state.level, memory_order_relaxed);
}

uint64_t log_dropped(void)
{
    pthread_mutex_lock(&log_state.lock);
    uint64_t dropped = log_state.dropped;
    if (log_state.writer != NULL)
        dropped += log_writer_dropped(log_state.writer);
    pthread_mutex_unlock(&log_state.lock);
    return dropped;
}

static int64_t realtime_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static size_t encode(enum log_level level, const char *event, const struct log_field *fields,
                     size_t field_count, char out[LOG_WRITER_LINE_MAX])
{
    bool has_time = atomic_load(&log_state.timestamp) == LOG_TIMESTAMP_ON;
    const struct log_line line = {
        .level = level,
        .format = (enum log_format)atomic_load(&log_state.format),
        .colour = (enum log_colour)atomic_load(&log_state.colour),
        .time_ns = has_time ? realtime_ns() : -1,
        .event = event,
        .fields = fields,
        .field_count = field_count,
    };
    size_t at = 0;

    if (atomic_load(&log_state.priority) != 0)
        at = (size_t)snprintf(out, LOG_WRITER_LINE_MAX - LOG_LINE_MAX, "<%d>", priorities[level]);
    return at + log_line_encode(&line, out + at);
}

static void emit(const char *line, size_t len)
{
    pthread_mutex_lock(&log_state.lock);
    if (log_state.writer != NULL)
        log_writer_put(log_state.writer, line, len);
    else if (log_sink_write(&log_state.sink, line, len) != LOG_SINK_WRITTEN)
        log_state.dropped++;
    pthread_mutex_unlock(&log_state.lock);
}

void log_write(enum log_level level, const char *event, const struct log_field *fields,
               size_t field_count)
{
    char line[LOG_WRITER_LINE_MAX];

    if (!log_is_on(level))
        return;
    emit(line, encode(level, event, fields, field_count, line));
}

static void write_summary(const struct log_limit_summary *summary)
{
    if (summary->count > 0)
        LOG(LOG_LEVEL_WARN, "log.suppressed", LOG_STR("of", summary->event),
            LOG_UINT("lines", summary->count));
}

void log_write_limited(enum log_level level, const char *event, const struct log_field *fields,
                       size_t field_count)
{
    struct log_limit_summary summary;

    if (!log_is_on(level))
        return;
    pthread_mutex_lock(&log_state.lock);
    bool is_admitted = log_limit_admit(&log_state.limit, event, (int64_t)clock_ms(), &summary);
    if (!is_admitted && log_state.writer != NULL)
        log_writer_remind(log_state.writer, log_state.limit.due_ms);
    pthread_mutex_unlock(&log_state.lock);
    write_summary(&summary);
    if (is_admitted)
        log_write(level, event, fields, field_count);
}

/* Says of what is over how many lines it has kept back. */
static void write_summaries(void)
{
    struct log_limit_summary summary;
    bool has_summary = true;

    while (has_summary) {
        pthread_mutex_lock(&log_state.lock);
        has_summary = log_limit_drain(&log_state.limit, (int64_t)clock_ms(), &summary);
        pthread_mutex_unlock(&log_state.lock);
        if (has_summary)
            write_summary(&summary);
    }
    pthread_mutex_lock(&log_state.lock);
    if (log_state.writer != NULL)
        log_writer_remind(log_state.writer, log_state.limit.due_ms);
    pthread_mutex_unlock(&log_state.lock);
}

static void on_due(struct log_writer_owner *owner)
{
    (void)owner;
    write_summaries();
}
