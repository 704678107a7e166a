#include "cli/status_view.h"

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "base/attr.h"
#include "cli/plain_text.h"
#include "cli/table.h"

#define SECS_MAX         1e12 /* what another program says may be anything */
#define FINGERPRINT_SHOW 16   /* hexadecimal digits: enough to find it in a log */

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* -- values -- */

static const json_t *at(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}

static const char *text_at(const json_t *o, const char *key)
{
    const char *text = json_string_value(at(o, key));

    return text != NULL ? text : TABLE_NOTHING;
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
        snprintf(out, size, TABLE_NOTHING);
    else
        snprintf(out, size, json_number_value(ms) < 10 ? "%.2f ms" : "%.0f ms",
                 json_number_value(ms));
    return out;
}

/* -- the head -- */

/* A line outside of tables, as it grows; then it is printed. */
struct line {
    char text[1024];
    size_t len;
};

static void line_add(struct line *l, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* What does not fit is cut. */
static void line_add(struct line *l, const char *fmt, ...)
{
    size_t room = sizeof(l->text) - l->len;
    va_list args;

    va_start(args, fmt);
    int len = vsnprintf(l->text + l->len, room, fmt, args);
    va_end(args);
    l->len += len < 0 ? 0 : (size_t)len < room ? (size_t)len : room - 1;
}

static void line_print(struct line *l, FILE *out, size_t width)
{
    plain_text_clean(l->text);
    plain_text_print(out, l->text, 0, width);
}

static void print_state(FILE *out, const json_t *now, size_t width)
{
    const json_t *health = at(now, "health");
    struct line l = {.len = 0};
    char text[32];

    line_add(&l, "utun %.32s %.64s, up %s: %.32s (%.300s), %s", text_at(now, "role"),
             text_at(now, "version"),
             format_secs(text, sizeof(text), number_at(health, "uptime_secs")),
             text_at(health, "state"), text_at(health, "message"),
             json_is_true(at(health, "ready")) ? "ready" : "not ready");
    line_print(&l, out, width);
}

static void print_counts(FILE *out, const json_t *now, size_t width)
{
    struct line l = {.len = 0};

    line_add(&l, "%.0f streams, %.0f in all, %.0f refused, %.0f paused", number_at(now, "streams"),
             number_at(now, "streams_total"), number_at(now, "streams_refused"),
             number_at(now, "streams_paused"));
    if (number_at(now, "flows_total") > 0)
        line_add(&l, "; %.0f flows, %.0f in all, %.0f datagrams dropped", number_at(now, "flows"),
                 number_at(now, "flows_total"), number_at(now, "datagrams_dropped"));
    if (number_at(now, "clients_waiting") > 0)
        line_add(&l, ", %.0f clients wait for a session", number_at(now, "clients_waiting"));
    line_print(&l, out, width);
}

static void print_last_error(FILE *out, const json_t *now, size_t width)
{
    const json_t *error = at(at(now, "health"), "last_error");
    struct line l = {.len = 0};
    char text[32];

    if (!json_is_object(error))
        return;
    line_add(&l, "last error, %s ago: %s",
             format_secs(text, sizeof(text), number_at(error, "age_secs")), text_at(error, "text"));
    line_print(&l, out, width);
}

/* -- sessions -- */

static const struct table_column session_columns[] = {
    {"PEER", TABLE_TEXT, 0, NULL},
    {"ADDRESS", TABLE_TEXT, 7, "at"},
    {"PHASE", TABLE_TEXT, 1, NULL},
    {"AGE", TABLE_NUMBER, 2, "for"},
    {"RTT", TABLE_NUMBER, 3, "round trip"},
    {"STREAMS", TABLE_NUMBER, 4, "streams"},
    {"IN", TABLE_NUMBER, 5, "in"},
    {"OUT", TABLE_NUMBER, 6, "out"},
    {"KEYS", TABLE_TEXT, 11, "key generation"},
    {"KEM MODE", TABLE_TEXT, 12, NULL},
    {"GROUP", TABLE_TEXT, 13, NULL},
    {"SIGNATURE", TABLE_TEXT, 14, NULL},
    {"EXPIRES", TABLE_TEXT, 8, "certificate expires in"},
    {"CERTIFICATE", TABLE_TEXT, 9, "fingerprint"},
    {"ISSUER", TABLE_TEXT, 10, "issuer"},
};

static void add_certificate(struct table *t, const json_t *certificate)
{
    char text[32];

    if (json_is_number(at(certificate, "expires_in_secs")))
        table_cell(t, "%s",
                   format_secs(text, sizeof(text), number_at(certificate, "expires_in_secs")));
    else
        table_cell(t, TABLE_NOTHING);
    table_cell(t, "%.*s", FINGERPRINT_SHOW, text_at(certificate, "fingerprint"));
    table_cell(t, "%s", text_at(certificate, "issuer"));
}

static void add_session(struct table *t, const json_t *tunnel, const json_t *session)
{
    bool is_carried = strcmp(text_at(tunnel, "phase"), "carried") == 0;
    bool is_leaving = is_carried && json_is_true(at(tunnel, "leaving"));
    char text[4][32];

    table_cell(t, "%s", text_at(session, "peer"));
    table_cell(t, "%s", text_at(session, "address"));
    table_cell(t, "%s", is_leaving ? "leaving" : text_at(is_carried ? session : tunnel, "phase"));
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
    add_certificate(t, at(session, "certificate"));
}

static void add_tunnel(struct table *t, const json_t *tunnel)
{
    size_t count = json_array_size(at(tunnel, "sessions"));
    char text[32];

    for (size_t i = 0; i < count; i++)
        add_session(t, tunnel, json_array_get(at(tunnel, "sessions"), i));
    if (count > 0)
        return;
    table_cell(t, TABLE_NOTHING);
    table_cell(t, TABLE_NOTHING);
    table_cell(t, "%s", text_at(tunnel, "phase"));
    table_cell(t, "%s", format_secs(text, sizeof(text), number_at(tunnel, "waiting_secs")));
    table_cell(t, TABLE_NOTHING);
    table_cell(t, "%.0f", number_at(tunnel, "streams"));
    for (size_t i = 6; i < COUNT_OF(session_columns); i++)
        table_cell(t, TABLE_NOTHING);
}

static void print_sessions(FILE *out, const json_t *now, size_t width)
{
    struct table *t = table_new(session_columns, COUNT_OF(session_columns));
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

static const struct table_column service_totals[] = {
    {"SERVICE", TABLE_TEXT, 0, NULL},
    {"PROTO", TABLE_TEXT, 5, NULL},
    {"WHERE", TABLE_TEXT, 6, "at"},
    {"STATE", TABLE_TEXT, 1, NULL},
    {"STREAMS", TABLE_NUMBER, 2, "streams"},
    {"TOTAL", TABLE_NUMBER, 8, "streams in all"},
    {"ERRORS", TABLE_NUMBER, 7, "errors"},
    {"TO TARGET", TABLE_NUMBER, 3, "to the target"},
    {"TO CLIENT", TABLE_NUMBER, 4, "to clients"},
};

static const struct table_column service_rates[] = {
    {"SERVICE", TABLE_TEXT, 0, NULL},
    {"PROTO", TABLE_TEXT, 5, NULL},
    {"WHERE", TABLE_TEXT, 6, "at"},
    {"STATE", TABLE_TEXT, 1, NULL},
    {"STREAMS", TABLE_NUMBER, 2, "streams"},
    {"TOTAL", TABLE_NUMBER, 8, "streams in all"},
    {"ERRORS", TABLE_NUMBER, 7, "errors"},
    {"TO TARGET", TABLE_NUMBER, 3, "to the target"},
    {"IN ALL", TABLE_NUMBER, 9, "to the target in all"},
    {"TO CLIENT", TABLE_NUMBER, 4, "to clients"},
    {"IN ALL", TABLE_NUMBER, 10, "to clients in all"},
};

static void print_services(FILE *out, const json_t *now, const json_t *before, size_t width)
{
    double secs = seconds_between(now, before);
    struct table *t = secs > 0 ? table_new(service_rates, COUNT_OF(service_rates))
                               : table_new(service_totals, COUNT_OF(service_totals));
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
    print_state(out, now, width);
    print_counts(out, now, width);
    print_last_error(out, now, width);
    print_sessions(out, now, width);
    print_services(out, now, before, width);
}
