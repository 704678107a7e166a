/*
 * Command lines from one table per command: parsing, help and the complaint about a wrong option
 * all come from it, so they cannot disagree.
 *
 * Accepted forms: --name VALUE, --name=VALUE, -x VALUE, -xVALUE; "--" ends the options; -h and
 * --help need no row of their own.
 */
#ifndef UTUN_CLI_OPTIONS_H
#define UTUN_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

#define CLI_LIST_MAX 64

/* What an option was given that may be there several times. */
struct cli_list {
    const char *items[CLI_LIST_MAX];
    size_t count;
};

enum cli_need {
    CLI_OPTIONAL,
    CLI_REQUIRED,
};

struct cli_option {
    const char *name;       /* without dashes */
    char letter;            /* its short form; 0: none */
    const char *value_name; /* "FILE"; NULL: the option takes no value */
    const char *help;
    const char **value; /* receives the value (borrowed from argv), "" without a value_name */
    enum cli_need need;
    struct cli_list *list; /* receives the values of an option that may be repeated, instead */
};

/* The one argument that is no option. */
struct cli_operand {
    const char *name; /* "FILE" */
    const char *help;
    const char **value;
};

struct cli_syntax {
    const char *command; /* "cert ca" */
    const char *summary; /* one sentence */
    const struct cli_option *options;
    size_t option_count;
    const struct cli_operand *operand; /* required when not NULL */
    const char *notes;                 /* what the help ends with; NULL: nothing */
};

/*
 * argv[0] is skipped. Values that are not on the command line keep what they hold. False when there
 * is nothing more to do than to return *status: the help is printed (CLI_OK), or a complaint
 * (CLI_USAGE).
 */
bool cli_options_parse(const struct cli_syntax *s, int argc, char **argv, int *status) MUST_USE;

/* Prints the help to stdout; main's global options stand at its end. */
void cli_options_help(const struct cli_syntax *s);

/*
 * Takes the options of the table out of argv wherever they stand, up to a "--", and leaves the
 * rest in order. False with the complaint printed where one lacks its value.
 */
bool cli_options_take(const struct cli_option *options, size_t count, int *argc,
                      char **argv) MUST_USE;

/* A whole decimal number from min to max. False, with a complaint that names option, otherwise. */
bool cli_options_number(int64_t *out, const char *command, const char *option, const char *text,
                        int64_t min, int64_t max) MUST_USE;

#endif
