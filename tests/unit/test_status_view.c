#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cli/status_view.h"

static const char answer[] =
    "{'role': 'dest', 'version': '9.9', 'pid': 7, 'taken_at_ms': 10000, 'streams': 2,"
    " 'streams_total': 12, 'streams_refused': 1, 'streams_paused': 0,"
    " 'health': {'state': 'healthy', 'ready': true, 'message': '1 session', 'uptime_secs': 90061,"
    "  'last_error': {'text': 'cut', 'age_secs': 65}},"
    " 'workers': [{'tunnels': [{'phase': 'carried', 'streams': 2, 'sessions': ["
    "   {'peer': 'edge-1', 'address': '192.0.2.1:5', 'phase': 'current', 'age_secs': 3725,"
    "    'rtt_ms': 1.234, 'bytes_in': 1500000, 'bytes_out': 999, 'generation': 4,"
    "    'kem_mode': 'hybrid', 'group': 'G', 'signature': 'S',"
    "    'certificate': {'fingerprint': '0123456789abcdef0123', 'serial': '1A', 'issuer': 'CN=CA',"
    "     'expires_at': '2027-01-01T00:00:00Z', 'expires_in_secs': 31535999}}]},"
    "  {'phase': 'waiting', 'waiting_secs': 5, 'streams': 1, 'sessions': []}]}],"
    " 'services': ["
    "  {'name': 'web', 'protocol': 'tcp', 'streams': 2, 'flows': 0, 'streams_total': 12,"
    "   'flows_total': 0, 'errors': 3, 'bytes_to_target': 5000, 'bytes_to_client': 2500000,"
    "   'target': {'host': 'h', 'port': 80, 'state': 'down', 'error': 'refused'}},"
    "  {'name': 'sock', 'protocol': 'tcp', 'streams': 0, 'flows': 0, 'streams_total': 0,"
    "   'flows_total': 0, 'errors': 0, 'bytes_to_target': 0, 'bytes_to_client': 0,"
    "   'target': {'host': '/run/x', 'port': null, 'state': 'up'}}]}";

/* JSON in which single quotes stand for double ones. */
static json_t *load(const char *text)
{
    char *copy = strdup(text);
    json_error_t error;
    json_t *json;

    for (char *c = copy; *c != 0; c++)
        *c = *c == '\'' ? '"' : *c;
    json = json_loads(copy, 0, &error);
    if (json == NULL)
        fail_msg("%s at %d", error.text, error.position);
    free(copy);
    return json;
}

static char *view(const json_t *now, const json_t *before, size_t width)
{
    static char *text; /* on the stack, gcc would take its contents for its address */
    static size_t len;
    FILE *memory = open_memstream(&text, &len);

    status_view_print(memory, now, before, width);
    fclose(memory);
    return text;
}

/* Some line has all of these words, in their order. */
static void assert_line(const char *text, const char *const *words)
{
    char *copy = strdup(text);
    char *rest = copy;
    const char *line;
    bool found = false;

    while (!found && (line = strsep(&rest, "\n")) != NULL) {
        found = true;
        for (size_t i = 0; words[i] != NULL && found; i++) {
            line = strstr(line, words[i]);
            found = line != NULL;
            line = found ? line + strlen(words[i]) : NULL;
        }
    }
    free(copy);
    if (!found)
        fail_msg("no line with \"%s\" ... in\n%s", words[0], text);
}

#define ASSERT_LINE(text, ...) assert_line(text, (const char *const[]){__VA_ARGS__, NULL})

static void everything_is_on_it(void **state)
{
    json_t *now = load(answer);
    char *text = view(now, NULL, 0);

    (void)state;
    ASSERT_LINE(text, "utun dest 9.9, up 1d 01h: healthy (1 session), ready");
    ASSERT_LINE(text, "2 streams, 12 in all, 1 refused, 0 paused");
    ASSERT_LINE(text, "last error, 1m 05s ago: cut");
    ASSERT_LINE(text, "edge-1", "192.0.2.1:5", "current", "1h 02m", "1.23 ms", "2", "1.5 MB",
                "999 B", "4", "hybrid", "G", "S", "364d 23h", "0123456789abcdef  CN=CA");
    ASSERT_LINE(text, "-", "-", "waiting", "5s", "-", "1");
    ASSERT_LINE(text, "SERVICE", "TO TARGET", "TO CLIENT");
    ASSERT_LINE(text, "web", "tcp", "h:80", "down: refused", "2", "12", "3", "5.0 kB", "2.5 MB");
    ASSERT_LINE(text, "sock", "tcp", "/run/x", "up");
    assert_null(strstr(text, "flows"));
    assert_null(strstr(text, "clients wait"));
    free(text);
    json_decref(now);
}

static void an_earlier_answer_gives_rates(void **state)
{
    json_t *now = load(answer);
    json_t *before = load(answer);
    char *text;

    (void)state;
    json_object_set_new(before, "taken_at_ms", json_integer(8000));
    json_object_set_new(json_array_get(json_object_get(before, "services"), 0), "bytes_to_client",
                        json_integer(500000));
    text = view(now, before, 0);
    ASSERT_LINE(text, "SERVICE", "TO TARGET", "IN ALL", "TO CLIENT", "IN ALL");
    ASSERT_LINE(text, "web", "0 B/s", "5.0 kB", "1.0 MB/s", "2.5 MB");
    free(text);
    json_decref(before);
    json_decref(now);
}

static void another_process_gives_none(void **state)
{
    json_t *now = load(answer);
    json_t *before = load(answer);
    char *text;

    (void)state;
    json_object_set_new(before, "taken_at_ms", json_integer(8000));
    json_object_set_new(before, "pid", json_integer(8));
    text = view(now, before, 0);
    assert_null(strstr(text, "/s"));
    free(text);
    json_decref(before);
    json_decref(now);
}

static void what_is_missing_or_strange_is_unknown(void **state)
{
    static const char *const strange[] = {
        "{}",
        "{'workers': 5, 'services': 'x', 'health': []}",
        "{'workers': [{'tunnels': [{}, {'sessions': [{}]}, 3]}], 'services': [{}, null, 7]}",
        "{'role': 1, 'version': {}, 'health': {'uptime_secs': -5, 'last_error': {}}}",
        "{'workers': [{'tunnels': [{'sessions': [{'age_secs': 1e300, 'rtt_ms': 'x'}]}]}]}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
        json_t *now = load(strange[i]);
        char *text = view(now, now, 0);

        ASSERT_LINE(text, "utun ", ", up 0s: -");
        ASSERT_LINE(text, "Sessions");
        ASSERT_LINE(text, "Services");
        free(text);
        json_decref(now);
    }
}

static void a_hostile_answer_cannot_reach_the_terminal(void **state)
{
    json_t *now = load("{'role': '\\u001b[31m', 'health': {'state': '\\u0007', 'last_error':"
                       " {'text': 'a\\nb\\u001b]0;x'}}, 'services': [{'name': '\\u001b[2J'}]}");
    char *text = view(now, NULL, 0);

    (void)state;
    assert_null(strchr(text, 0x1b));
    assert_null(strchr(text, 0x07));
    ASSERT_LINE(text, "last error, 0s ago: a?b?]0;x");
    free(text);
    json_decref(now);
}

/* Whatever the width: no line is longer, and every word is there, if on another line. */
static void everything_fits_the_terminal(void **state)
{
    static const char *const words[] = {
        "9.9", "1d",     "01h:",    "(1",    "session),", "ready",
        "12",  "paused", "1m",      "cut",   "edge-1",    "192.0.2.1:5",
        "1h",  "02m",    "1.23",    "1.5",   "999",       "hybrid",
        "G",   "S",      "364d",    "23h",   "CN=CA",     "0123456789abcdef",
        "web", "tcp",    "h:80",    "down:", "refused",   "5.0",
        "2.5", "/run/x", "waiting",
    };
    json_t *now = load(answer);
    json_t *before = load(answer);

    (void)state;
    json_object_set_new(before, "taken_at_ms", json_integer(8000));
    for (size_t width = 24; width < 180; width++) {
        char *text = view(now, width % 2 == 0 ? before : NULL, width);
        size_t column = 0;

        for (const char *c = text; *c != 0; c++) {
            column = *c == '\n' ? 0 : column + 1;
            if (column > width)
                fail_msg("a line is longer than %zu in\n%s", width, text);
        }
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
            if (strstr(text, words[i]) == NULL)
                fail_msg("at %zu there is no %s in\n%s", width, words[i], text);
        }
        assert_null(strstr(text, "..."));
        free(text);
    }
    json_decref(before);
    json_decref(now);
}

static void a_narrow_terminal_has_certificates_below(void **state)
{
    json_t *now = load(answer);
    json_t *sessions = json_object_get(
        json_array_get(
            json_object_get(json_array_get(json_object_get(now, "workers"), 0), "tunnels"), 0),
        "sessions");
    json_t *second = json_deep_copy(json_array_get(sessions, 0));
    char *text;

    (void)state;
    text = view(now, NULL, 70);
    ASSERT_LINE(text, "edge-1", "current", "999 B");
    ASSERT_LINE(text, "      at 192.0.2.1:5, certificate expires in 364d 23h,");
    free(text);
    /* Two sessions with one peer: what is the same is said once. */
    json_object_set_new(second, "address", json_string("192.0.2.1:6"));
    json_array_append_new(sessions, second);
    text = view(now, NULL, 100);
    ASSERT_LINE(text, "192.0.2.1:5", "364d 23h");
    ASSERT_LINE(text, "192.0.2.1:6", "364d 23h");
    ASSERT_LINE(text, "  all: issuer CN=CA, key generation 4, hybrid, G, S");
    free(text);
    json_decref(now);
}

static void a_tunnel_says_when_nothing_new_begins_on_it(void **state)
{
    json_t *now = load("{'workers': [{'tunnels': [{'phase': 'draining', 'sessions':"
                       " [{'peer': 'edge-1', 'phase': 'current', 'certificate': null}]},"
                       " {'phase': 'carried', 'leaving': true, 'sessions':"
                       " [{'peer': 'edge-2', 'phase': 'current'}]}]}]}");
    char *text = view(now, NULL, 0);

    (void)state;
    ASSERT_LINE(text, "edge-1", "draining");
    ASSERT_LINE(text, "edge-2", "leaving");
    assert_null(strstr(text, "current"));
    free(text);
    json_decref(now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_on_it),
        cmocka_unit_test(an_earlier_answer_gives_rates),
        cmocka_unit_test(another_process_gives_none),
        cmocka_unit_test(what_is_missing_or_strange_is_unknown),
        cmocka_unit_test(a_hostile_answer_cannot_reach_the_terminal),
        cmocka_unit_test(everything_fits_the_terminal),
        cmocka_unit_test(a_narrow_terminal_has_certificates_below),
        cmocka_unit_test(a_tunnel_says_when_nothing_new_begins_on_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
