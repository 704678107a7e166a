/*
 * The thread that writes the log, and the bounded queue in front of it: whoever logs copies a line
 * into memory and goes on, however slow the disk or the reader is.
 *
 *   put ──> queue (LOG_QUEUE_BYTES) ──> thread ──> log_sink
 *
 * When the queue is full, the new line is dropped; when the sink cannot take a line at all (a full
 * disk), that line is. Both are counted, and a line of the owner's making says how many are
 * missing, in the place where they are missing, as soon as lines get through again, or a second
 * later. Between lines the thread sleeps, unless the owner has asked to be reminded of something.
 *
 * Threads: put, report and dropped from any; start and close from one.
 */
#ifndef UTUN_OPS_LOG_WRITER_H
#define UTUN_OPS_LOG_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "ops/log_line.h"
#include "ops/log_sink.h"

/* Seconds of a busy role's log, and little beside its buffers. */
#define LOG_QUEUE_BYTES (1024 * 1024)

/* With the priority that stands before a line for the journal. */
#define LOG_WRITER_LINE_MAX (LOG_LINE_MAX + 8)

/* How long close waits for lines that are queued. */
#define LOG_WRITER_FLUSH_MS 2000

struct log_writer;

/* Embed it in what stands behind the writer, and fill it in. */
struct log_writer_owner {
    /*
     * Makes the line that says how many lines are missing and returns its length. Called with the
     * queue's lock held: it may not log.
     */
    size_t (*on_report)(struct log_writer_owner *owner, uint64_t lines,
                        char out[LOG_WRITER_LINE_MAX]);
    /* What log_writer_remind was asked for. On the writer's thread; it may log. */
    void (*on_due)(struct log_writer_owner *owner);
};

/* Takes the sink over; on error it stays the caller's. ERR_NOMEM; ERR_LIMIT (no thread). */
enum err log_writer_start(struct log_writer **out, const struct log_sink *sink,
                          struct log_writer_owner *owner) MUST_USE;

/* Queues a line of at most LOG_WRITER_LINE_MAX bytes, or drops it. Never waits. */
void log_writer_put(struct log_writer *w, const char *line, size_t len);

/* on_due at this time of CLOCK_MONOTONIC, unless an earlier one is asked for already. */
void log_writer_remind(struct log_writer *w, int64_t at_ms);

uint64_t log_writer_dropped(struct log_writer *w);

/*
 * Ends the thread when the queue is empty, or nobody has read it for LOG_WRITER_FLUSH_MS; what is
 * left then is lost. Returns how many lines were dropped in all. NULL is fine.
 */
uint64_t log_writer_close(struct log_writer *w);

#endif
