/* utun check: finds everything that is wrong with a configuration, and starts nothing. */
#include "cli/cli.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/config_view.h"
#include "cli/options.h"
#include "config/schema.h"
#include "ops/metric_table.h"
#include "role/validate.h"

static void print_summary(const struct config *config, size_t warnings)
{
    printf("%s: ok", config->path);
    if (config->has_source)
        printf(", a source in %s mode with %zu exposed port%s",
               config_mode_name(config->source.mode), config->source.exposed_port_count,
               config->source.exposed_port_count == 1 ? "" : "s");
    if (config->has_dest)
        printf(", a dest with %zu exposed service%s", config->dest.exposed_service_count,
               config->dest.exposed_service_count == 1 ? "" : "s");
    if (warnings > 0)
        printf(", %zu warning%s", warnings, warnings == 1 ? "" : "s");
    putchar('\n');
}

enum format {
    FORMAT_TEXT,
    FORMAT_JSON,
};

static int check_file(const struct validate_request *request, enum format format)
{
    struct problems *problems = problems_new();
    struct config *config = NULL;
    struct identity *identity = NULL;
    enum err e;

    if (problems == NULL) {
        cli_error("check", "out of memory");
        return CLI_FAILED;
    }
    e = validate_load(&config, &identity, request, problems);
    if (format == FORMAT_JSON) {
        config_view_json(stdout, request->path, config, request->role, problems);
    } else {
        problems_print(problems, STDERR_FILENO);
        if (e == ERR_OK) {
            config_view_print(stdout, config, request->role);
            putchar('\n');
            print_summary(config, problems_count(problems));
        } else {
            cli_error("check", "%s: %zu error%s", request->path, problems_errors(problems),
                      problems_errors(problems) == 1 ? "" : "s");
        }
    }
    identity_free(identity);
    config_free(config);
    problems_free(problems);
    return e == ERR_OK ? CLI_OK : CLI_USAGE;
}

static bool read_role(enum config_role *out, const char *word)
{
    *out = CONFIG_ROLE_ANY;
    if (word == NULL)
        return true;
    if (strcmp(word, "source") == 0 || strcmp(word, "dest") == 0) {
        *out = strcmp(word, "source") == 0 ? CONFIG_ROLE_SOURCE : CONFIG_ROLE_DEST;
        return true;
    }
    cli_error("check", "--role %s: must be source or dest", word);
    return false;
}

int cli_check(struct cli_globals *g, int argc, char **argv)
{
    const char *role = NULL;
    const char *json = NULL;
    const char *keys = NULL;
    const char *metrics = NULL;
    struct config_overrides overrides = {.log_level = g->log_level, .log_format = g->log_format};
    struct validate_request request = {.path = g->config_path, .overrides = &overrides};
    const struct cli_option options[] = {
        {.name = "role",
         .value_name = "ROLE",
         .help = "source or dest: what the file must be good for (default: all it has)",
         .value = &role},
        {.name = "json", .help = "print everything as JSON, problems too", .value = &json},
        {.name = "keys",
         .help = "print every section and key there is, as Markdown",
         .value = &keys},
        {.name = "metrics", .help = "print every metric there is, as Markdown", .value = &metrics},
        {.name = "listen-ip",
         .value_name = "IP",
         .help = "this and the rest: as for utun source and utun dest",
         .value = &overrides.listen_ip},
        {.name = "listen-port",
         .value_name = "PORT",
         .help = "of a source",
         .value = &overrides.listen_port},
        {.name = "dest-host",
         .value_name = "HOST",
         .help = "of a source",
         .value = &overrides.dest_host},
        {.name = "dest-tunnel-port",
         .value_name = "PORT",
         .help = "of a source",
         .value = &overrides.dest_tunnel_port},
        {.name = "tunnel-port",
         .value_name = "PORT",
         .help = "of a dest",
         .value = &overrides.tunnel_port},
        {.name = "metrics-port",
         .value_name = "PORT",
         .help = "of either",
         .value = &overrides.metrics_port},
    };
    const struct cli_syntax syntax = {
        .command = "check",
        .summary =
            "Checks a configuration and its certificates, and starts nothing. Prints every key "
            "with its\nvalue and where that comes from: the file, the command line or the "
            "default.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .notes = "Exit status: 0 the file is good, 2 it is not.",
    };
    int status;

    if (!cli_options_parse(&syntax, argc, argv, &status))
        return status;
    if (keys != NULL) {
        schema_document(stdout);
        return CLI_OK;
    }
    if (metrics != NULL) {
        metric_table_document(stdout);
        return CLI_OK;
    }
    if (!read_role(&request.role, role))
        return CLI_USAGE;
    return check_file(&request, json != NULL ? FORMAT_JSON : FORMAT_TEXT);
}
