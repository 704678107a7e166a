/* utun check: finds everything that is wrong with a configuration, and starts nothing. */
#include "cli/cli.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

static int check_file(const struct validate_request *request)
{
    struct problems *problems = problems_new();
    struct config *config = NULL;
    struct identity *identity = NULL;
    enum err e = validate_load(&config, &identity, request, problems);

    problems_print(problems, STDERR_FILENO);
    if (e == ERR_OK)
        print_summary(config, problems_count(problems));
    else
        cli_error("check", "%s: %zu error%s", request->path, problems_errors(problems),
                  problems_errors(problems) == 1 ? "" : "s");
    identity_free(identity);
    config_free(config);
    problems_free(problems);
    return e == ERR_OK ? CLI_OK : CLI_USAGE;
}

int cli_check(struct cli_globals *g, int argc, char **argv)
{
    const char *role = NULL;
    const char *keys = NULL;
    const char *metrics = NULL;
    const struct config_overrides overrides = {.log_level = g->log_level,
                                               .log_format = g->log_format};
    struct validate_request request = {.path = g->config_path, .overrides = &overrides};
    const struct cli_option options[] = {
        {.name = "role",
         .value_name = "ROLE",
         .help = "source or dest: what the file must be good for (default: all it has)",
         .value = &role},
        {.name = "keys",
         .help = "print every section and key there is, as Markdown",
         .value = &keys},
        {.name = "metrics", .help = "print every metric there is, as Markdown", .value = &metrics},
    };
    const struct cli_syntax syntax = {
        .command = "check",
        .summary = "Checks a configuration and its certificates, and starts nothing.",
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
    if (role == NULL) {
        request.role = CONFIG_ROLE_ANY;
    } else if (strcmp(role, "source") == 0) {
        request.role = CONFIG_ROLE_SOURCE;
    } else if (strcmp(role, "dest") == 0) {
        request.role = CONFIG_ROLE_DEST;
    } else {
        cli_error("check", "--role %s: must be source or dest", role);
        return CLI_USAGE;
    }
    return check_file(&request);
}
