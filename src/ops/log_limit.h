/*
 * Limits how often one event is logged: at most LOG_LIMIT_LINES lines in LOG_LIMIT_WINDOW_MS of
 * each event; the rest is counted, and the count is given out when the window is over. The clock is
 * the caller's. Not thread-safe.
 */
#ifndef UTUN_OPS_LOG_LIMIT_H
#define UTUN_OPS_LOG_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LIMIT_LINES     10
#define LOG_LIMIT_WINDOW_MS 10000

/* Events past that many different names are not limited: the names are ours, and far fewer. */
#define LOG_LIMIT_EVENTS 256

struct log_limit_entry {
    const char *event; /* NULL: free */
    int64_t window_start_ms;
    uint32_t lines;
    uint64_t suppressed;
};

struct log_limit {
    int64_t due_ms; /* when there will be a summary to take; INT64_MAX: nothing is kept back */
    struct log_limit_entry entries[LOG_LIMIT_EVENTS];
};

void log_limit_init(struct log_limit *limit);

/* What a window that is over has kept back. */
struct log_limit_summary {
    const char *event;
    uint64_t count;
};

/*
 * Whether the event may be logged now. event must live for good (a literal). When its window was
 * over, *summary says what that had suppressed (count 0: nothing); log it first.
 */
bool log_limit_admit(struct log_limit *limit, const char *event, int64_t now_ms,
                     struct log_limit_summary *summary);

/* Takes one summary of a window that is over and had suppressed lines; false when there is none. */
bool log_limit_drain(struct log_limit *limit, int64_t now_ms, struct log_limit_summary *summary);

#endif
