/* What `utun source` and `utun dest` have in common. */
#ifndef UTUN_CLI_DAEMON_H
#define UTUN_CLI_DAEMON_H

#include "cli/cli.h"
#include "config/config.h"

/* What the help of both says about options and signals. */
#define CLI_DAEMON_NOTES                                                                           \
    "The options count for more than the configuration. SIGTERM or SIGINT lets\n"                  \
    "connections finish; a second one ends at once. SIGHUP reads the configuration anew.\n\n"      \
    "Exit status: 0 it was told to end; 1 something failed that may pass, a file that is\n"        \
    "missing too; 2 the command line, the configuration or a certificate is wrong."

/*
 * Loads the configuration with these options over it and runs the role until it ends. Everything
 * that is wrong with the configuration is printed, all of it (CLI_USAGE, with which the units do
 * not start it again; CLI_FAILED where it may be otherwise next time); what goes wrong later is
 * logged (CLI_FAILED).
 */
int cli_daemon(const struct cli_globals *g, enum config_role role,
               const struct config_overrides *overrides);

#endif
