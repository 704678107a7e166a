#include "role/account.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "role/refusal.h"

/* "[host]:port": a name of 255 characters. */
#define TARGET_TEXT_MAX (STREAM_TARGET_NAME_MAX + 16)

/* What stands in a line whatever it is about; target has room for TARGET_TEXT_MAX. */
static struct audit_entry entry_of(const struct account *a, char *target)
{
    if (a->target_port == 0)
        snprintf(target, TARGET_TEXT_MAX, "%s", a->target_host);
    else
        snprintf(target, TARGET_TEXT_MAX, strchr(a->target_host, ':') != NULL ? "[%s]:%u" : "%s:%u",
                 a->target_host, a->target_port);
    return (struct audit_entry){
        .who = a->who, .protocol = a->protocol, .service = a->service, .target = target};
}

static void warn(const struct account *a, const struct audit_entry *entry)
{
    refusal_log(entry->port, a->service[0] != 0 ? a->service : a->target_host, entry->client,
                entry->why, entry->detail);
}

enum outcome {
    REACHED_TARGET,
    CAME_TO_NOTHING, /* may cost a source next to nothing, so that there may be any number of it */
};

static void write_line(const struct account *a, const struct audit_entry *entry,
                       enum outcome outcome)
{
    if (outcome == CAME_TO_NOTHING) {
        if (!audit_pace_take(a->pace, a->now_us))
            return;
        audit_log_left_out(a->who, a->pace);
    }
    audit_log(entry);
}

static bool is_no_longer_allowed(enum err why)
{
    return why == ERR_NOT_ALLOWED || why == ERR_NO_SERVICE || err_class(why) == ERR_CLASS_AUTH;
}

static enum audit_result result_of_stream(const struct pump_end *end)
{
    if (end->was_open)
        return is_no_longer_allowed(end->why) ? AUDIT_ENDED : AUDIT_DONE;
    return end->why == ERR_NOT_ALLOWED ? AUDIT_REFUSED : AUDIT_FAILED;
}

enum audit_result account_stream(const struct account *a, const struct pump_end *end)
{
    char target[TARGET_TEXT_MAX];
    struct audit_entry entry = entry_of(a, target);

    entry.result = result_of_stream(end);
    entry.why = end->why;
    entry.detail = end->detail;
    entry.port = end->port;
    entry.client = &end->client;
    entry.bytes_to_target = end->bytes_to_local;
    entry.bytes_from_target = end->bytes_from_local;
    entry.duration_us = end->duration_us;
    write_line(a, &entry, end->was_open ? REACHED_TARGET : CAME_TO_NOTHING);
    if (!end->was_open && refusal_is_one(end))
        warn(a, &entry);
    return entry.result;
}

static bool has_begun(const struct flow_end *end)
{
    return end->datagrams_to_local > 0 || end->datagrams_from_local > 0;
}

static enum audit_result result_of_flow(const struct flow_end *end)
{
    if (is_no_longer_allowed(end->why))
        return has_begun(end) ? AUDIT_ENDED : AUDIT_REFUSED;
    return refusal_is_flow(end) && end->datagrams_from_local == 0 ? AUDIT_FAILED : AUDIT_DONE;
}

enum audit_result account_flow(const struct account *a, const struct flow_end *end)
{
    char target[TARGET_TEXT_MAX];
    struct audit_entry entry = entry_of(a, target);

    entry.result = result_of_flow(end);
    entry.why = end->why;
    entry.detail = end->detail;
    entry.port = end->port;
    entry.client = &end->client;
    entry.bytes_to_target = end->bytes_to_local;
    entry.bytes_from_target = end->bytes_from_local;
    entry.duration_us = end->duration_us;
    write_line(a, &entry,
               has_begun(end) && entry.result != AUDIT_FAILED ? REACHED_TARGET : CAME_TO_NOTHING);
    if (entry.result == AUDIT_FAILED || entry.result == AUDIT_REFUSED)
        warn(a, &entry);
    return entry.result;
}

void account_refused(const struct account *a, const struct stream_target *target, enum err why,
                     const char *detail)
{
    char text[TARGET_TEXT_MAX];
    struct audit_entry entry = entry_of(a, text);

    entry.result = AUDIT_REFUSED;
    entry.why = why;
    entry.detail = detail;
    entry.port = target->port;
    entry.client = &target->client;
    write_line(a, &entry, CAME_TO_NOTHING);
    stats_add(&a->stats->streams_refused[why], 1);
    warn(a, &entry);
}
