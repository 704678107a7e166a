#include "ops/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "ops/log_limit.h"
#include "ops/log_sink.h"

/* The settings are one word each, so that a line needs no lock before it is written. */
static struct {
    atomic_int level;
    atomic_int format;
    atomic_int timestamp;
    atomic_int colour;
    pthread_mutex_t lock; /* of all below */
    struct log_sink sink;
    struct log_limit limit;
    uint64_t reported_drops;
} log_state = {
    .level = LOG_LEVEL_INFO,
    .format = LOG_FORMAT_PLAIN,
    .timestamp = LOG_TIMESTAMP_ON,
    .colour = LOG_COLOUR_OFF,
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .sink = {.fd = STDERR_FILENO, .kind = LOG_SINK_POLLED},
};

static enum log_colour colour_for(int fd)
{
    const char *no_colour = getenv("NO_COLOR");
    const char *term = getenv("TERM");

    if (!isatty(fd) || (no_colour != NULL && no_colour[0] != 0))
        return LOG_COLOUR_OFF;
    return term != NULL && strcmp(term, "dumb") == 0 ? LOG_COLOUR_OFF : LOG_COLOUR_ON;
}

void log_init(const struct log_options *options)
{
    pthread_mutex_lock(&log_state.lock);
    uint64_t dropped = log_state.sink.dropped;
    log_sink_fini(&log_state.sink);
    log_sink_init(&log_state.sink, options->fd);
    log_state.sink.dropped = dropped;
    pthread_mutex_unlock(&log_state.lock);
    atomic_store(&log_state.format, (int)options->format);
    atomic_store(&log_state.timestamp, (int)options->timestamp);
    atomic_store(&log_state.colour, (int)colour_for(options->fd));
    log_set_level(options->level);
}

void log_fini(void)
{
    log_tick();
    pthread_mutex_lock(&log_state.lock);
    log_sink_fini(&log_state.sink);
    log_state.sink.fd = STDERR_FILENO;
    log_state.sink.kind = LOG_SINK_POLLED;
    pthread_mutex_unlock(&log_state.lock);
    atomic_store(&log_state.format, (int)LOG_FORMAT_PLAIN);
    atomic_store(&log_state.colour, (int)LOG_COLOUR_OFF);
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
    uint64_t dropped = log_state.sink.dropped;
    pthread_mutex_unlock(&log_state.lock);
    return dropped;
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static size_t encode(enum log_level level, const char *event, const struct log_field *fields,
                     size_t field_count, char out[LOG_LINE_MAX])
{
    bool has_time = atomic_load(&log_state.timestamp) == LOG_TIMESTAMP_ON;
    const struct log_line line = {
        .level = level,
        .format = (enum log_format)atomic_load(&log_state.format),
        .colour = (enum log_colour)atomic_load(&log_state.colour),
        .time_ns = has_time ? clock_ns(CLOCK_REALTIME) : -1,
        .event = event,
        .fields = fields,
        .field_count = field_count,
    };

    return log_line_encode(&line, out);
}

static void report_drops_locked(void)
{
    uint64_t dropped = log_state.sink.dropped;
    const struct log_field count = LOG_UINT("lines", dropped - log_state.reported_drops);
    char line[LOG_LINE_MAX];

    if (dropped == log_state.reported_drops)
        return;
    size_t len = encode(LOG_LEVEL_WARN, "log.dropped", &count, 1, line);
    if (log_sink_write(&log_state.sink, line, len))
        log_state.reported_drops = dropped;
    else
        log_state.sink.dropped = dropped; /* the report itself is no loss */
}

static void emit(const char *line, size_t len)
{
    pthread_mutex_lock(&log_state.lock);
    report_drops_locked();
    (void)log_sink_write(&log_state.sink, line, len);
    pthread_mutex_unlock(&log_state.lock);
}

void log_write(enum log_level level, const char *event, const struct log_field *fields,
               size_t field_count)
{
    char line[LOG_LINE_MAX];

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
    bool is_admitted =
        log_limit_admit(&log_state.limit, event, clock_ns(CLOCK_MONOTONIC) / 1000000, &summary);
    pthread_mutex_unlock(&log_state.lock);
    write_summary(&summary);
    if (is_admitted)
        log_write(level, event, fields, field_count);
}

void log_tick(void)
{
    struct log_limit_summary summary;
    bool has_summary = true;

    while (has_summary) {
        pthread_mutex_lock(&log_state.lock);
        has_summary =
            log_limit_drain(&log_state.limit, clock_ns(CLOCK_MONOTONIC) / 1000000, &summary);
        pthread_mutex_unlock(&log_state.lock);
        if (has_summary)
            write_summary(&summary);
    }
}
