/* The program's entry: global options, the table of subcommands, and what they share. */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "config/config.h"
#include "config/spelling.h"
#include "crypto/secret.h"

struct command {
    const char *name;
    int (*run)(struct cli_globals *g, int argc, char **argv);
    const char *help;
};

/* In the order of the help: what a person meets first stands first. */
static const struct command commands[] = {
    {"demo", cli_demo, "try it out: a whole tunnel in one process"},
    {"init", cli_init, "make what a source and a dest need: certificates, configuration"},
    {"source", cli_source, "run a source: where the clients are"},
    {"dest", cli_dest, "run a dest: where the services are"},
    {"status", cli_status, "show what a source or dest that runs is doing"},
    {"health", cli_health, "ask a source or dest how it is; for container checks"},
    {"check", cli_check, "check a configuration, and show what counts and why"},
    {"cert", cli_cert, "make, show and verify certificates"},
    {"version", cli_version, "print the versions of utun and its libraries"},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const log_formats[] = {"json", "plain", NULL};

void cli_error(const char *command, const char *fmt, ...)
{
    va_list args;

    fprintf(stderr, "utun%s%s: ", command != NULL ? " " : "", command != NULL ? command : "");
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

const char *cli_nearest(const char *word, const char *const *words)
{
    const char *best = NULL;
    size_t best_distance = spelling_tolerance(word);

    for (size_t i = 0; words[i] != NULL; i++) {
        size_t distance = spelling_distance(word, words[i]);

        if (distance > best_distance || (best != NULL && distance == best_distance))
            continue;
        best = words[i];
        best_distance = distance;
    }
    return best;
}

static void print_help(void)
{
    printf("Usage: utun [OPTIONS] COMMAND [ARGUMENTS]\n\n"
           "A quantum-safe tunnel for TCP and UDP services.\n\nCommands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-12s%s\n", commands[i].name, commands[i].help);
    printf("\nOptions, before or after the command:\n"
           "  -c, --config FILE      the configuration file (default " CONFIG_DEFAULT_PATH ")\n"
           "      --log-level LEVEL  debug, info, warn or error (default: as configured)\n"
           "      --log-format FORM  json or plain (default: as configured)\n"
           "  -h, --help             this text; after a command, the command's help\n"
           "      --version          the version of utun\n\n"
           "Exit status: 0 done, 1 failed, 2 wrong command line or configuration.\n");
}

static bool is_one_of(const char *value, const char *const *words)
{
    for (size_t i = 0; words[i] != NULL; i++)
        if (strcmp(value, words[i]) == 0)
            return true;
    return false;
}

static bool check_choice(const char *option, const char *value, const char *const *words,
                         const char *all)
{
    const char *nearest = NULL;

    if (value == NULL || is_one_of(value, words))
        return true;
    nearest = cli_nearest(value, words);
    if (nearest != NULL)
        cli_error(NULL, "--%s %s: did you mean %s?", option, value, nearest);
    else
        cli_error(NULL, "--%s %s: must be one of %s", option, value, all);
    return false;
}

static bool take_globals(struct cli_globals *g, int *argc, char **argv)
{
    const struct cli_option options[] = {
        {.name = "config", .letter = 'c', .value_name = "FILE", .value = &g->config_path},
        {.name = "log-level", .value_name = "LEVEL", .value = &g->log_level},
        {.name = "log-format", .value_name = "FORM", .value = &g->log_format},
    };

    return cli_options_take(options, sizeof(options) / sizeof(options[0]), argc, argv) &&
           check_choice("log-level", g->log_level, log_levels, "debug, info, warn, error") &&
           check_choice("log-format", g->log_format, log_formats, "json, plain");
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int complain_unknown(const char *word)
{
    static const char *const options[] = {"config", "log-level", "log-format",
                                          "help",   "version",   NULL};
    const char *names[COMMAND_COUNT + 1] = {0};
    const char *nearest = NULL;

    for (size_t i = 0; i < COMMAND_COUNT; i++)
        names[i] = commands[i].name;
    if (word[0] == '-') {
        nearest = cli_nearest(word + strspn(word, "-"), options);
        if (nearest != NULL)
            cli_error(NULL, "unknown option %s; did you mean --%s?", word, nearest);
        else
            cli_error(NULL, "unknown option %s; see: utun --help", word);
        return CLI_USAGE;
    }
    nearest = cli_nearest(word, names);
    if (nearest != NULL)
        cli_error(NULL, "unknown command %s; did you mean %s?", word, nearest);
    else
        cli_error(NULL, "unknown command %s; see: utun --help", word);
    return CLI_USAGE;
}

/* What was printed must have arrived: a full disk behind a redirection is a failure. */
static int flush_output(int status)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return status;
    cli_error(NULL, "cannot write the output");
    return status != CLI_OK ? status : CLI_FAILED;
}

int main(int argc, char **argv)
{
    struct cli_globals g = {.config_path = CONFIG_DEFAULT_PATH};
    const struct command *command = NULL;

    (void)secret_wipe_freed(); /* it cannot be too late here */
    if (!take_globals(&g, &argc, argv))
        return CLI_USAGE;
    if (argc < 2) {
        cli_error(NULL, "no command given; see: utun --help");
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help();
        return flush_output(CLI_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("utun " UTUN_VERSION "\n");
        return flush_output(CLI_OK);
    }
    command = find_command(argv[1]);
    if (command == NULL)
        return complain_unknown(argv[1]);
    return flush_output(command->run(&g, argc - 1, argv + 1));
}
