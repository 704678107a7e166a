/*
 * The subcommands of utun: one function and one file each, listed in the table of main.c.
 *
 * A subcommand gets its own name in argv[0] and its arguments after it, the global options already
 * taken out, and returns the exit status. It writes results to stdout and everything about
 * failures to stderr with cli_error.
 */
#ifndef UTUN_CLI_CLI_H
#define UTUN_CLI_CLI_H

#include "base/attr.h"

enum cli_status {
    CLI_OK = 0,
    CLI_FAILED = 1, /* it was tried and did not work */
    CLI_USAGE = 2,  /* the command line or the configuration is wrong; nothing was done */
};

/* Options that every subcommand takes, before or after its name. Checked by main. */
struct cli_globals {
    const char *config_path; /* never NULL */
    const char *log_level;   /* debug, info, warn, error; NULL: as configured */
    const char *log_format;  /* json, plain; NULL: as configured */
};

/* One line to stderr: "utun <command>: <text>"; a NULL command leaves it out. */
void cli_error(const char *command, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * The word of words (ended by NULL) that a mistyped one was probably meant to be, NULL if none is
 * near.
 */
const char *cli_nearest(const char *word, const char *const *words);

int cli_cert(struct cli_globals *g, int argc, char **argv);
int cli_check(struct cli_globals *g, int argc, char **argv);
int cli_demo(struct cli_globals *g, int argc, char **argv);
int cli_dest(struct cli_globals *g, int argc, char **argv);
int cli_health(struct cli_globals *g, int argc, char **argv);
int cli_init(struct cli_globals *g, int argc, char **argv);
int cli_source(struct cli_globals *g, int argc, char **argv);
int cli_status(struct cli_globals *g, int argc, char **argv);
int cli_version(struct cli_globals *g, int argc, char **argv);

#endif
