/* utun source: runs a source until a signal ends it. */
#include "cli/cli.h"

#include "cli/daemon.h"
#include "cli/options.h"

int cli_source(struct cli_globals *g, int argc, char **argv)
{
    struct config_overrides overrides = {.log_level = g->log_level, .log_format = g->log_format};
    const struct cli_option options[] = {
        {.name = "listen-ip",
         .value_name = "IP",
         .help = "address of the listeners",
         .value = &overrides.listen_ip},
        {.name = "listen-port",
         .value_name = "PORT",
         .help = "the only port listened on if the configuration exposes none",
         .value = &overrides.listen_port},
        {.name = "dest-host",
         .value_name = "HOST",
         .help = "name or address of the dest",
         .value = &overrides.dest_host},
        {.name = "dest-tunnel-port",
         .value_name = "PORT",
         .help = "port of the dest",
         .value = &overrides.dest_tunnel_port},
        {.name = "metrics-port",
         .value_name = "PORT",
         .help = "port of the admin endpoint",
         .value = &overrides.metrics_port},
    };
    const struct cli_syntax syntax = {
        .command = "source",
        .summary = "Listens where the clients are and forwards their connections to a dest.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .notes = CLI_DAEMON_NOTES,
    };
    int status;

    if (!cli_options_parse(&syntax, argc, argv, &status))
        return status;
    return cli_daemon(g, CONFIG_ROLE_SOURCE, &overrides);
}
