/* utun health: asks a source or dest how it is; for container checks and scripts. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "cli/endpoint.h"
#include "cli/options.h"
#include "ops/http_get.h"

#define TIMEOUT_S     5
#define TIMEOUT_MAX_S 3600

static const char *text_of(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));

    return text != NULL ? text : "";
}

/* What a terminal would act on came from elsewhere, and is left out. */
static void print_line(const char *state, const char *message)
{
    char line[512];

    snprintf(line, sizeof(line), "%s: %s", state, message);
    for (char *c = line; *c != 0; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    puts(line);
}

enum asked {
    ASKED_STATE, /* anything but unhealthy is good */
    ASKED_READY,
    ASKED_ALIVE, /* for who would restart it: a peer that is away is no reason to */
};

/* Of the role's workers, how many have not said how they are when asked. */
static unsigned silent_workers(const json_t *json)
{
    json_int_t all = json_integer_value(json_object_get(json, "workers"));
    json_int_t answering = json_integer_value(json_object_get(json, "workers_answering"));

    return answering < all ? (unsigned)(all - answering) : 0;
}

static int judge(const struct http_reply *reply, enum asked asked)
{
    json_t *json = json_loads(reply->body, 0, NULL);
    const char *state = text_of(json, "state");
    const char *message = text_of(json, "message");
    unsigned silent = silent_workers(json);
    bool is_good = strcmp(state, "unhealthy") != 0;
    char silence[64];

    if (state[0] == 0) {
        cli_error("health", "what answers there is not utun (HTTP status %u)", reply->status);
        json_decref(json);
        return CLI_FAILED;
    }
    if (asked == ASKED_READY)
        is_good = json_is_true(json_object_get(json, "ready"));
    else if (asked == ASKED_ALIVE)
        is_good = silent == 0;
    if (asked == ASKED_ALIVE && !is_good) {
        snprintf(silence, sizeof(silence), "workers that do not answer: %u", silent);
        message = silence;
    }
    print_line(state, message);
    json_decref(json);
    return is_good ? CLI_OK : CLI_FAILED;
}

int cli_health(struct cli_globals *g, int argc, char **argv)
{
    const char *endpoint = NULL;
    const char *timeout = NULL;
    const char *ready = NULL;
    const char *alive = NULL;
    const struct cli_option options[] = {
        {.name = "endpoint",
         .value_name = "URL",
         .help = "the admin endpoint, http://HOST:PORT (default: as configured)",
         .value = &endpoint},
        {.name = "timeout",
         .value_name = "SECS",
         .help = "how long to wait for the answer (default 5)",
         .value = &timeout},
        {.name = "ready",
         .help = "succeed only while answers come through a session",
         .value = &ready},
        {.name = "alive",
         .help = "succeed while every worker answers, whatever the state is",
         .value = &alive},
    };
    const struct cli_syntax syntax = {
        .command = "health",
        .summary = "Asks a source or dest that runs how it is, and prints its state.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .notes =
            "Exit status: 0 it is not unhealthy (--ready: it is ready; --alive: its workers\n"
            "answer); 1 otherwise, or where nothing answers.\n\n"
            "What restarts a process that fails should ask with --alive: streams outlive a peer\n"
            "that is away, but no restart.",
    };
    enum asked asked = ASKED_STATE;
    int64_t seconds = TIMEOUT_S;
    struct http_reply reply;
    struct http_url url;
    struct err_detail d;
    int status;

    if (!cli_options_parse(&syntax, argc, argv, &status))
        return status;
    if (timeout != NULL &&
        !cli_options_number(&seconds, "health", "timeout", timeout, 1, TIMEOUT_MAX_S))
        return CLI_USAGE;
    if (ready != NULL && alive != NULL) {
        cli_error("health", "--ready and --alive: ask for one of them");
        return CLI_USAGE;
    }
    if (ready != NULL)
        asked = ASKED_READY;
    else if (alive != NULL)
        asked = ASKED_ALIVE;
    if (!cli_endpoint(&url, g, endpoint, "health"))
        return CLI_USAGE;
    if (cli_endpoint_get(&reply, &url, "/health", (uint32_t)seconds * 1000, &d) != ERR_OK) {
        cli_error("health", "%s", d.text);
        return CLI_FAILED;
    }
    status = judge(&reply, asked);
    free(reply.body);
    return status;
}
