/*
 * The queue is a ring of bytes; each line has a header before it. The thread waits GATHER_MS from
 * the first line on, then takes as many at a time out of the ring as a pipe takes in one piece, and
 * writes them without the lock, so that a disk that hangs holds up nobody. So a log of thousands of
 * lines a second costs hundreds of wake-ups and writes, and a line waits no longer than nobody
 * sees. Whenever the ring is empty it begins again at its start: a quiet log stays within a page or
 * two.
 */
#include "ops/log_writer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/thread.h"

/* A queue that was full takes lines again when it is down to this: one gap, not many small ones. */
#define RESUME_BYTES (LOG_QUEUE_BYTES / 4 * 3)

#define GATHER_MS    2
#define GATHER_BYTES (LOG_QUEUE_BYTES / 4) /* so much is taken at once */

/* How long after lines have been dropped it is said, when no line comes meanwhile. */
#define TELL_MS 1000

/* How soon a thread that waits for a reader sees that it is to end. */
#define LOOK_MS 100

struct header {
    uint32_t len;
    uint64_t reported; /* of a report: so many lines are missing; else 0 */
};

/* What is written at once: lines, or one report. */
struct batch {
    size_t len;
    uint64_t lines;
    uint64_t reported; /* a report: of so many; else 0 */
    char bytes[LOG_WRITER_LINE_MAX];
};

struct log_writer {
    struct log_sink sink; /* the thread's */
    struct log_writer_owner *owner;
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wanted;
    pthread_cond_t ended;
    bool has_ended; /* the thread */
    uint64_t dropped;
    uint64_t untold;        /* of them, that no queued report speaks of */
    int64_t tell_at_ms;     /* INT64_MAX: nothing is untold */
    int64_t remind_at_ms;   /* INT64_MAX: of nothing */
    int64_t flush_until_ms; /* close has been called; 0: it has not */
    size_t at;              /* of the first header */
    size_t used;            /* bytes */
    uint8_t ring[LOG_QUEUE_BYTES];
};

static void ring_write(struct log_writer *w, const void *bytes, size_t len)
{
    size_t end = (w->at + w->used) % LOG_QUEUE_BYTES;
    size_t first = len < LOG_QUEUE_BYTES - end ? len : LOG_QUEUE_BYTES - end;

    memcpy(w->ring + end, bytes, first);
    memcpy(w->ring, (const uint8_t *)bytes + first, len - first);
    w->used += len;
}

static void ring_copy(const struct log_writer *w, void *bytes, size_t len)
{
    size_t first = len < LOG_QUEUE_BYTES - w->at ? len : LOG_QUEUE_BYTES - w->at;

    memcpy(bytes, w->ring + w->at, first);
    memcpy((uint8_t *)bytes + first, w->ring, len - first);
}

static void ring_drop(struct log_writer *w, size_t len)
{
    w->used -= len;
    w->at = w->used == 0 ? 0 : (w->at + len) % LOG_QUEUE_BYTES;
}

static bool queue_locked(struct log_writer *w, const struct header *header, const char *line)
{
    size_t before = w->used;

    if (sizeof(*header) + header->len > LOG_QUEUE_BYTES - before)
        return false;
    ring_write(w, header, sizeof(*header));
    ring_write(w, line, header->len);
    /* Else the thread is awake, or wakes by itself. */
    if (before == 0 || (before < GATHER_BYTES && w->used >= GATHER_BYTES))
        pthread_cond_signal(&w->wanted);
    return true;
}

static void tell_locked(struct log_writer *w)
{
    struct header header = {.reported = w->untold};
    char line[LOG_WRITER_LINE_MAX];

    if (w->untold == 0 || w->used > RESUME_BYTES)
        return;
    header.len = (uint32_t)w->owner->on_report(w->owner, w->untold, line);
    if (queue_locked(w, &header, line))
        w->untold = 0;
}

static int64_t now_ms(void)
{
    return (int64_t)clock_ms();
}

static void lose_locked(struct log_writer *w, uint64_t lines)
{
    w->untold += lines;
    if (w->tell_at_ms == INT64_MAX)
        w->tell_at_ms = now_ms() + TELL_MS;
}

void log_writer_remind(struct log_writer *w, int64_t at_ms)
{
    pthread_mutex_lock(&w->lock);
    if (at_ms < w->remind_at_ms) {
        w->remind_at_ms = at_ms;
        pthread_cond_signal(&w->wanted);
    }
    pthread_mutex_unlock(&w->lock);
}

void log_writer_put(struct log_writer *w, const char *line, size_t len)
{
    struct header header = {.len = (uint32_t)len};

    pthread_mutex_lock(&w->lock);
    tell_locked(w);
    if (w->untold > 0 || !queue_locked(w, &header, line)) {
        w->dropped++;
        lose_locked(w, 1);
    }
    pthread_mutex_unlock(&w->lock);
}

uint64_t log_writer_dropped(struct log_writer *w)
{
    pthread_mutex_lock(&w->lock);
    uint64_t dropped = w->dropped;
    pthread_mutex_unlock(&w->lock);
    return dropped;
}

/* Whether what nobody reads may be waited for. */
static bool has_patience(struct log_writer *w)
{
    pthread_mutex_lock(&w->lock);
    bool has = w->flush_until_ms == 0 || now_ms() < w->flush_until_ms;
    pthread_mutex_unlock(&w->lock);
    return has;
}

static int64_t due_ms(const struct log_writer *w)
{
    return w->tell_at_ms < w->remind_at_ms ? w->tell_at_ms : w->remind_at_ms;
}

static void wait_until_locked(struct log_writer *w, int64_t at_ms)
{
    const struct timespec until = {.tv_sec = at_ms / 1000, .tv_nsec = at_ms % 1000 * 1000000};

    (void)pthread_cond_timedwait(&w->wanted, &w->lock, &until);
}

/* Or for the time when something else is to be done, or the end. */
static void wait_for_lines_locked(struct log_writer *w)
{
    while (w->used == 0 && w->flush_until_ms == 0 && due_ms(w) > now_ms()) {
        if (due_ms(w) == INT64_MAX)
            pthread_cond_wait(&w->wanted, &w->lock);
        else
            wait_until_locked(w, due_ms(w));
    }
    int64_t until = now_ms() + GATHER_MS;
    while (w->used > 0 && w->flush_until_ms == 0 && w->used < GATHER_BYTES && now_ms() < until)
        wait_until_locked(w, until);
}

/* What is to be done besides, if it is time. Gives the lock back meanwhile. */
static void do_due_locked(struct log_writer *w)
{
    int64_t now = now_ms();

    if (w->tell_at_ms <= now) {
        w->tell_at_ms = INT64_MAX;
        tell_locked(w);
        if (w->untold > 0)
            w->tell_at_ms = now + TELL_MS;
    }
    if (w->remind_at_ms <= now && w->flush_until_ms == 0) {
        w->remind_at_ms = INT64_MAX;
        pthread_mutex_unlock(&w->lock);
        w->owner->on_due(w->owner);
        pthread_mutex_lock(&w->lock);
    }
}

/* Lines as long as they fit; a report alone. */
static void take_locked(struct log_writer *w, struct batch *b)
{
    b->len = 0;
    b->lines = 0;
    b->reported = 0;
    while (w->used > 0 && b->reported == 0) {
        struct header header;

        ring_copy(w, &header, sizeof(header));
        if (b->lines > 0 && (header.reported > 0 || b->len + header.len > LOG_LINE_MAX))
            return;
        ring_drop(w, sizeof(header));
        ring_copy(w, b->bytes + b->len, header.len);
        ring_drop(w, header.len);
        b->len += header.len;
        b->lines++;
        b->reported = header.reported;
    }
}

/* Waits for lines; may come back without one. False at the end. */
static bool next(struct log_writer *w, struct batch *b)
{
    bool is_end;

    pthread_mutex_lock(&w->lock);
    if (w->used == 0)
        wait_for_lines_locked(w);
    if (due_ms(w) != INT64_MAX)
        do_due_locked(w);
    take_locked(w, b);
    is_end = b->lines == 0 && w->flush_until_ms != 0;
    pthread_mutex_unlock(&w->lock);
    return !is_end;
}

static void count_lost(struct log_writer *w, const struct batch *b)
{
    pthread_mutex_lock(&w->lock);
    if (b->reported > 0) {
        lose_locked(w, b->reported); /* the report itself is no loss */
    } else {
        w->dropped += b->lines;
        lose_locked(w, b->lines);
    }
    pthread_mutex_unlock(&w->lock);
}

static void *run(void *argument)
{
    struct log_writer *w = argument;
    struct batch batch;

    pthread_setname_np(pthread_self(), "log");
    while (next(w, &batch)) {
        if (batch.lines == 0)
            continue;
        enum log_sink_result result = log_sink_write(&w->sink, batch.bytes, batch.len);

        while (result == LOG_SINK_LATER && has_patience(w)) {
            log_sink_wait(&w->sink, LOOK_MS);
            result = log_sink_write(&w->sink, batch.bytes, batch.len);
        }
        if (result != LOG_SINK_WRITTEN)
            count_lost(w, &batch);
    }
    pthread_mutex_lock(&w->lock);
    w->has_ended = true;
    pthread_cond_signal(&w->ended);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

enum err log_writer_start(struct log_writer **out, const struct log_sink *sink,
                          struct log_writer_owner *owner)
{
    struct log_writer *w = calloc(1, sizeof(*w));
    pthread_condattr_t monotonic;

    *out = NULL;
    if (w == NULL)
        return ERR_NOMEM;
    w->owner = owner;
    w->tell_at_ms = w->remind_at_ms = INT64_MAX;
    w->sink = *sink;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wanted, &monotonic);
    pthread_cond_init(&w->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    enum err e = thread_start(&w->thread, run, w);
    if (e != ERR_OK) {
        free(w);
        return e;
    }
    *out = w;
    return ERR_OK;
}

/* A thread that a dead disk holds cannot be ended. By a clock that nobody sets. */
static bool await_end(struct log_writer *w)
{
    const struct timespec until = clock_in_ms(2 * LOG_WRITER_FLUSH_MS);
    bool has_ended;

    pthread_mutex_lock(&w->lock);
    while (!w->has_ended && pthread_cond_timedwait(&w->ended, &w->lock, &until) == 0)
        continue;
    has_ended = w->has_ended;
    pthread_mutex_unlock(&w->lock);
    return has_ended;
}

uint64_t log_writer_close(struct log_writer *w)
{
    uint64_t dropped;

    if (w == NULL)
        return 0;
    pthread_mutex_lock(&w->lock);
    tell_locked(w);
    w->flush_until_ms = now_ms() + LOG_WRITER_FLUSH_MS;
    pthread_cond_signal(&w->wanted);
    pthread_mutex_unlock(&w->lock);
    if (!await_end(w))
        return log_writer_dropped(w); /* the process ends without it */
    pthread_join(w->thread, NULL);
    dropped = w->dropped;
    log_sink_fini(&w->sink);
    pthread_cond_destroy(&w->wanted);
    pthread_cond_destroy(&w->ended);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return dropped;
}
