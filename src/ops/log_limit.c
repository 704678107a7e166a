#include "ops/log_limit.h"

#include <string.h>

void log_limit_init(struct log_limit *limit)
{
    memset(limit, 0, sizeof(*limit));
    limit->due_ms = INT64_MAX;
}

static struct log_limit_entry *find(struct log_limit *limit, const char *event)
{
    for (size_t i = 0; i < LOG_LIMIT_EVENTS; i++) {
        struct log_limit_entry *entry = &limit->entries[i];

        if (entry->event == NULL)
            entry->event = event;
        if (entry->event == event || strcmp(entry->event, event) == 0)
            return entry;
    }
    return NULL;
}

static void take_summary(struct log_limit_entry *entry, struct log_limit_summary *summary)
{
    summary->event = entry->event;
    summary->count = entry->suppressed;
    entry->suppressed = 0;
    entry->lines = 0;
}

static int64_t end_of(const struct log_limit_entry *entry)
{
    return entry->window_start_ms + LOG_LIMIT_WINDOW_MS;
}

static bool is_over(const struct log_limit_entry *entry, int64_t now_ms)
{
    return now_ms >= end_of(entry);
}

static void note_due(struct log_limit *limit, const struct log_limit_entry *entry)
{
    if (entry->suppressed > 0 && end_of(entry) < limit->due_ms)
        limit->due_ms = end_of(entry);
}

bool log_limit_admit(struct log_limit *limit, const char *event, int64_t now_ms,
                     struct log_limit_summary *summary)
{
    struct log_limit_entry *entry = find(limit, event);

    *summary = (struct log_limit_summary){.event = event};
    if (entry == NULL)
        return true;
    if (entry->lines > 0 && is_over(entry, now_ms))
        take_summary(entry, summary);
    if (entry->lines == 0)
        entry->window_start_ms = now_ms;
    if (entry->lines == LOG_LIMIT_LINES) {
        entry->suppressed++;
        note_due(limit, entry);
        return false;
    }
    entry->lines++;
    return true;
}

bool log_limit_drain(struct log_limit *limit, int64_t now_ms, struct log_limit_summary *summary)
{
    for (size_t i = 0; i < LOG_LIMIT_EVENTS && limit->entries[i].event != NULL; i++) {
        struct log_limit_entry *entry = &limit->entries[i];

        if (entry->suppressed > 0 && is_over(entry, now_ms)) {
            take_summary(entry, summary);
            return true;
        }
    }
    limit->due_ms = INT64_MAX;
    for (size_t i = 0; i < LOG_LIMIT_EVENTS && limit->entries[i].event != NULL; i++)
        note_due(limit, &limit->entries[i]);
    return false;
}
