/* utun status: what a source or dest that runs is doing, as a table or as JSON, once or live. */
#include "cli/cli.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "cli/endpoint.h"
#include "cli/options.h"
#include "cli/plain_text.h"
#include "cli/status_view.h"
#include "ops/http_get.h"

#define TIMEOUT_MS     5000
#define WATCH_MS       1000
#define RATE_WINDOW_MS 500

/* Of a terminal: cursor home; clear to the end of the line, of the screen; other screen and back.
 */
#define TERM_HOME       "\033[H"
#define TERM_CLEAR_LINE "\033[K"
#define TERM_CLEAR_REST "\033[J"
#define TERM_ENTER      "\033[?1049h\033[?25l"
#define TERM_LEAVE      "\033[?25h\033[?1049l"

static volatile sig_atomic_t is_over;

static void on_signal(int number)
{
    (void)number;
    is_over = 1;
}

static void pause_ms(long ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&t, NULL); /* a signal may end it: then it is over */
}

/* The answer, or NULL with why in d. */
static json_t *ask(const struct http_url *url, struct err_detail *d)
{
    struct http_reply reply;
    json_error_t error;
    json_t *json;

    if (cli_endpoint_get(&reply, url, "/status", TIMEOUT_MS, d) != ERR_OK)
        return NULL;
    json = reply.status == 200 ? json_loads(reply.body, 0, &error) : NULL;
    free(reply.body);
    if (!json_is_object(json)) {
        json_decref(json);
        err_set(d, ERR_MALFORMED, "what answers there is not utun (HTTP status %u)", reply.status);
        return NULL;
    }
    return json;
}

/* Columns and lines; 0: nobody says. */
static struct winsize terminal_size(void)
{
    struct winsize size;

    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return (struct winsize){.ws_col = 0};
    return size;
}

/* -- once -- */

static int show_once(const struct http_url *url, bool as_json)
{
    struct err_detail d;
    json_t *before = NULL;
    json_t *now = ask(url, &d);

    if (now != NULL && !as_json) {
        before = now;
        pause_ms(RATE_WINDOW_MS);
        now = ask(url, &d);
    }
    if (now == NULL)
        cli_error("status", "%s", d.text);
    else if (as_json)
        json_dumpf(now, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    else
        status_view_print(stdout, now, before, terminal_size().ws_col);
    if (now != NULL && as_json)
        putchar('\n');
    int status = now != NULL ? CLI_OK : CLI_FAILED;
    json_decref(now);
    json_decref(before);
    return status;
}

/* -- live -- */

static size_t count_lines(const char *text)
{
    size_t lines = 0;

    for (; *text != 0; text++)
        lines += *text == '\n' ? 1 : 0;
    return lines;
}

/*
 * Rewrites the screen in one go, each line cleared behind its end: nothing flickers. What it has no
 * lines for is counted in its last one.
 */
static void paint(const char *text, size_t height)
{
    size_t lines = count_lines(text);
    size_t left = height == 0 || lines < height ? lines : height - 1;

    fputs(TERM_HOME, stdout);
    for (; left > 0; text++) {
        if (*text == '\n') {
            fputs(TERM_CLEAR_LINE, stdout);
            left--;
        }
        putchar(*text);
    }
    if (*text != 0)
        printf("... %zu more lines" TERM_CLEAR_LINE, count_lines(text));
    fputs(TERM_CLEAR_REST, stdout);
}

static void show(const json_t *now, const json_t *before, const struct err_detail *d, bool is_term)
{
    struct winsize size = terminal_size();
    char *text = NULL;
    size_t len = 0;
    FILE *memory = open_memstream(&text, &len);

    if (memory == NULL)
        return;
    if (now != NULL)
        status_view_print(memory, now, before, size.ws_col);
    else
        plain_text_print(memory, d->text, 0, size.ws_col);
    if (!is_term)
        fprintf(memory, "\n");
    fclose(memory);
    if (is_term)
        paint(text, size.ws_row);
    else
        fputs(text, stdout);
    free(text);
}

static int watch(const struct http_url *url, bool as_json)
{
    const struct sigaction action = {.sa_handler = on_signal};
    bool is_term = isatty(STDOUT_FILENO) && !as_json;
    json_t *before = NULL;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (is_term)
        fputs(TERM_ENTER, stdout);
    while (!is_over) {
        struct err_detail d;
        json_t *now = ask(url, &d);

        if (!as_json) {
            show(now, before, &d, is_term);
        } else if (now != NULL) {
            json_dumpf(now, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
            putchar('\n');
        } else {
            cli_error("status", "%s", d.text);
        }
        if (fflush(stdout) != 0)
            break; /* whoever read it has gone */
        json_decref(before);
        before = now;
        pause_ms(WATCH_MS);
    }
    json_decref(before);
    if (is_term)
        fputs(TERM_LEAVE, stdout);
    return CLI_OK;
}

int cli_status(struct cli_globals *g, int argc, char **argv)
{
    const char *endpoint = NULL;
    const char *json = NULL;
    const char *live = NULL;
    const struct cli_option options[] = {
        {.name = "endpoint",
         .value_name = "URL",
         .help = "the admin endpoint, http://HOST:PORT (default: as configured)",
         .value = &endpoint},
        {.name = "json", .help = "print what /status answers", .value = &json},
        {.name = "watch",
         .letter = 'w',
         .help = "show it live, until Ctrl-C; with --json one object a line",
         .value = &live},
    };
    const struct cli_syntax syntax = {
        .command = "status",
        .summary = "Shows what a source or dest that runs is doing.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .notes = "Exit status: 0 it has answered, 1 it has not.",
    };
    struct http_url url;
    int status;

    if (!cli_options_parse(&syntax, argc, argv, &status))
        return status;
    if (!cli_endpoint(&url, g, endpoint, "status"))
        return CLI_USAGE;
    return live != NULL ? watch(&url, json != NULL) : show_once(&url, json != NULL);
}
