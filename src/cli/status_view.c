#include "cli/status_view.h"

#include <stdbool.h>
#include <string.h>

#include "cli/table.h"

#define UNKNOWN  "-"
#define SECS_MAX 1e12 /* what another program says may be anything */

/* -- values -- */

static const json_t *at(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}

static const char *text_at(const json_t *o, const char *key)
{
    const char *text = json_string_value(at(o, key));

    return text != NULL ? text : UNKNOWN;
}

static double number_at(const json_t *o, const char *key)
{
    return json_number_value(at(o, key));
}

static const char *format_secs(char *out, size_t size, double secs)
{
    unsigned long s = secs > 0 ? (unsigned long)(secs < SECS_MAX ? secs : SECS_MAX) : 0;

    if (s < 60)
        snprintf(out, size, "%lus", s);
    else if (s < 3600)
        snprintf(out, size, "%lum %02lus", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, size, "%luh %02lum", s / 3600, s / 60 % 60);
    else
        snprintf(out, size, "%lud %02luh", s / 86400, s / 3600 % 24);
    return out;
}

static const char *format_bytes(char *out, size_t size, double bytes, const char *suffix)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;

    while (bytes >= 999.5 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        bytes /= 1000;
        unit++;
    }
    snprintf(out, size, unit == 0 || bytes >= 99.95 ? "%.0f %s%s" : "%.1f %s%s", bytes, units[unit],
             suffix);
    return out;
}

static const char *format_ms(char *out, size_t size, const json_t *ms)
{
    if (!json_is_number(ms))
        snprintf(out, size, UNKNOWN);
    else
        snprintf(out, size, json_number_value(ms) < 10 ? "%.2f ms" : "%.0f ms",
                 json_number_value(ms));
    return out;
}

/* -- the head -- */

/* For text outside of tables. */
static void print_clean(FILE *out, const char *text)
{
    for (; *text != 0; text++)
        fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
}

static void print_head(FILE *out, const json_t *now)
{
    const json_t *health = at(now, "health");
    char text[32];

    fprintf(out, "utun ");
    print_clean(out, text_at(now, "role"));
    fputc(' ', out);
    print_clean(out, text_at(now, "version"));
    fprintf(out, ", up %s: ", format_secs(text, sizeof(text), number_at(health, "uptime_secs")));
    print_clean(out, text_at(health, "state"));
    fprintf(out, " (");
    print_clean(out, text_at(health, "message"));
    fprintf(out, "), %s\n", json_is_true(at(health, "ready")) ? "ready" : "not ready");
    fprintf(out, "%.0f streams, %.0f in all, %.0f refused, %.0f paused", number_at(now, "streams"),
            number_at(now, "streams_total"), number_at(now, "streams_refused"),
            number_at(now, "streams_paused"));
    if (number_at(now, "flows_total") > 0)
        fprintf(out, "; %.0f flows, %.0f in all, %.0f datagrams dropped", number_at(now, "flows"),
                number_at(now, "flows_total"), number_at(now, "datagrams_dropped"));
    if (number_at(now, "clients_waiting") > 0)
        fprintf(out, ", %.0f clients wait for a session", number_at(now, "clients_waiting"));
    fputc('\n', out);
}

static void print_last_error(FILE *out, const json_t *now)
{
    const json_t *error = at(at(now, "health"), "last_error");
    char text[32];

    if (!json_is_object(error))
        return;
    fprintf(out,
            "last error, %s ago: ", format_secs(text, sizeof(text), number_at(error, "age_secs")));
    print_clean(out, text_at(error, "text"));
    fputc('\n', out);
}

/* -- sessions -- */

static void add_session(struct table *t, const json_t *tunnel, const json_t *session)
{
    char text[5][32];

    table_cell(t, "%s", text_at(session, "peer"));
    table_cell(t, "%s", text_at(session, "address"));
    table_cell(t, "%s", text_at(session, "phase"));
    table_cell(t, "%s", format_secs(text[0], sizeof(text[0]), number_at(session, "age_secs")));
    table_cell(t, "%s", format_ms(text[1], sizeof(text[1]), at(session, "rtt_ms")));
    table_cell(t, "%.0f", number_at(tunnel, "streams"));
    table_cell(t, "%s", format_bytes(text[2], sizeof(text[2]), number_at(session, "bytes_in"), ""));
    table_cell(t, "%s",
               format_bytes(text[3], sizeof(text[3]), number_at(session, "bytes_out"), ""));
    table_cell(t, "%.0f", number_at(session, "generation"));
    table_cell(t, "%s", text_at(session, "kem_mode"));
    table_cell(t, "%s", text_at(session, "group"));
    table_cell(t, "%s", text_at(session, "signature"));
}

static void add_tunnel(struct table *t, const json_t *tunnel)
{
    size_t count = json_array_size(at(tunnel, "sessions"));
    char text[32];

    for (size_t i = 0; i < count; i++)
        add_session(t, tunnel, json_array_get(at(tunnel, "sessions"), i));
    if (count > 0)
        return;
    table_cell(t, UNKNOWN);
    table_cell(t, UNKNOWN);
    table_cell(t, "%s", text_at(tunnel, "phase"));
    table_cell(t, "%s", format_secs(text, sizeof(text), number_at(tunnel, "waiting_secs")));
    table_cell(t, UNKNOWN);
    table_cell(t, "%.0f", number_at(tunnel, "streams"));
    for (int i = 0; i < 6; i++)
        table_cell(t, UNKNOWN);
}

static void print_sessions(FILE *out, const json_t *now, size_t width)
{
    static const char *const titles[] = {"PEER",     "ADDRESS",   "PHASE", ">AGE",  ">RTT",
                                         ">STREAMS", ">IN",       ">OUT",  ">KEYS", "KEM MODE",
                                         "GROUP",    "SIGNATURE", NULL};
    struct table *t = table_new(titles);
    const json_t *worker;
    const json_t *tunnel;
    size_t tunnels = 0;
    size_t i;
    size_t k;

    json_array_foreach(at(now, "workers"), i, worker)
    {
        json_array_foreach(at(worker, "tunnels"), k, tunnel)
        {
            add_tunnel(t, tunnel);
            tunnels++;
        }
    }
    fprintf(out, "\nSessions\n");
    if (tunnels > 0)
        table_print(t, out, width);
    else
        fprintf(out, "  none\n");
    table_free(t);
}

/* -- services -- */

static const json_t *same_service(const json_t *before, const json_t *service)
{
    const json_t *other;
    size_t i;

    json_array_foreach(at(before, "services"), i, other)
    {
        if (strcmp(text_at(other, "name"), text_at(service, "name")) == 0 &&
            strcmp(text_at(other, "protocol"), text_at(service, "protocol")) == 0)
            return other;
    }
    return NULL;
}

/* Seconds between the two answers; 0 where no rate can be told. */
static double seconds_between(const json_t *now, const json_t *before)
{
    double ms = number_at(now, "taken_at_ms") - number_at(before, "taken_at_ms");
    bool is_same =
        json_is_integer(at(before, "pid")) && json_equal(at(now, "pid"), at(before, "pid"));

    return is_same && ms > 0 ? ms / 1000 : 0;
}

static void add_flow(struct table *t, const json_t *service, const json_t *earlier, double secs,
                     const char *key)
{
    double bytes = number_at(service, key);
    char text[32];

    if (secs > 0 && earlier != NULL)
        table_cell(
            t, "%s",
            format_bytes(text, sizeof(text), (bytes - number_at(earlier, key)) / secs, "/s"));
    table_cell(t, "%s", format_bytes(text, sizeof(text), bytes, ""));
}

static void add_service(struct table *t, const json_t *service, const json_t *earlier, double secs)
{
    const json_t *target = at(service, "target");
    bool is_down = strcmp(text_at(target, "state"), "down") == 0;

    table_cell(t, "%s", text_at(service, "name"));
    table_cell(t, "%s", text_at(service, "protocol"));
    if (json_is_object(target) && !json_is_integer(at(target, "port")))
        table_cell(t, "%s", text_at(target, "host"));
    else if (json_is_object(target))
        table_cell(t, "%s:%.0f", text_at(target, "host"), number_at(target, "port"));
    else if (json_is_string(at(service, "listening_path")))
        table_cell(t, "%s", text_at(service, "listening_path"));
    else
        table_cell(t, "port %.0f", number_at(service, "listening_port"));
    table_cell(t, "%s%s%s", json_is_object(target) ? text_at(target, "state") : "listening",
               is_down ? ": " : "", is_down ? text_at(target, "error") : "");
    table_cell(t, "%.0f", number_at(service, "streams") + number_at(service, "flows"));
    table_cell(t, "%.0f", number_at(service, "streams_total") + number_at(service, "flows_total"));
    table_cell(t, "%.0f", number_at(service, "errors"));
    add_flow(t, service, earlier, secs, "bytes_to_target");
    add_flow(t, service, earlier, secs, "bytes_to_client");
}

static void print_services(FILE *out, const json_t *now, const json_t *before, size_t width)
{
    static const char *const totals[] = {"SERVICE",    "PROTO",  "WHERE",   "STATE",
                                         ">STREAMS",   ">TOTAL", ">ERRORS", ">TO TARGET",
                                         ">TO CLIENT", NULL};
    static const char *const rates[] = {"SERVICE",  "PROTO",      "WHERE",   "STATE",
                                        ">STREAMS", ">TOTAL",     ">ERRORS", ">TO TARGET",
                                        ">IN ALL",  ">TO CLIENT", ">IN ALL", NULL};
    double secs = seconds_between(now, before);
    struct table *t = table_new(secs > 0 ? rates : totals);
    const json_t *service;
    size_t i;

    json_array_foreach(at(now, "services"), i, service)
    {
        const json_t *earlier = same_service(before, service);

        add_service(t, service, earlier != NULL ? earlier : service, secs);
    }
    fprintf(out, "\nServices\n");
    if (json_array_size(at(now, "services")) > 0)
        table_print(t, out, width);
    else
        fprintf(out, "  none\n");
    table_free(t);
}

void status_view_print(FILE *out, const json_t *now, const json_t *before, size_t width)
{
    print_head(out, now);
    print_last_error(out, now);
    print_sessions(out, now, width);
    print_services(out, now, before, width);
}
