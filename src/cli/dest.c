/* utun dest: runs a dest until a signal ends it. */
#include "cli/cli.h"

#include "cli/daemon.h"
#include "cli/options.h"

int cli_dest(struct cli_globals *g, int argc, char **argv)
{
    struct config_overrides overrides = {.log_level = g->log_level, .log_format = g->log_format};
    const struct cli_option options[] = {
        {.name = "listen-ip",
         .value_name = "IP",
         .help = "address of the tunnel's listener",
         .value = &overrides.listen_ip},
        {.name = "tunnel-port",
         .value_name = "PORT",
         .help = "port that sources connect to",
         .value = &overrides.tunnel_port},
        {.name = "metrics-port",
         .value_name = "PORT",
         .help = "port of the admin endpoint",
         .value = &overrides.metrics_port},
    };
    const struct cli_syntax syntax = {
        .command = "dest",
        .summary = "Takes the tunnels of sources and connects them to the services behind it.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .notes = CLI_DAEMON_NOTES,
    };
    int status;

    if (!cli_options_parse(&syntax, argc, argv, &status))
        return status;
    return cli_daemon(g, CONFIG_ROLE_DEST, &overrides);
}
