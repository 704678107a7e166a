#include "cli/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define HELP_COLUMN   30
#define MAX_SUGGESTED 32

/* Where in argv an option stands, and the value that came with it in the same word. */
struct match {
    const struct cli_option *option;
    const char *attached; /* behind '=' or behind a letter; NULL: none */
};

static struct match match_word(const struct cli_option *options, size_t count, const char *word)
{
    for (size_t i = 0; i < count; i++) {
        const struct cli_option *o = &options[i];
        size_t len = strlen(o->name);

        if (strncmp(word, "--", 2) == 0 && strncmp(word + 2, o->name, len) == 0 &&
            (word[2 + len] == 0 || word[2 + len] == '='))
            return (struct match){o, word[2 + len] == '=' ? word + 3 + len : NULL};
        if (o->letter != 0 && word[0] == '-' && word[1] == o->letter &&
            (word[2] == 0 || o->value_name != NULL))
            return (struct match){o, word[2] != 0 ? word + 2 : NULL};
    }
    return (struct match){NULL, NULL};
}

static bool keep_value(const struct cli_option *o, const char *command, const char *value)
{
    if (o->list == NULL) {
        *o->value = value;
        return true;
    }
    if (o->list->count == CLI_LIST_MAX) {
        cli_error(command, "--%s is there more than %d times", o->name, CLI_LIST_MAX);
        return false;
    }
    o->list->items[o->list->count++] = value;
    return true;
}

/*
 * Stores the value of the option at argv[*at] and moves *at to its last word. A word that begins
 * with two dashes is no value unless attached: a forgotten value is the likelier slip.
 */
static bool store_value(const struct match *m, const char *command, int argc, char **argv, int *at)
{
    if (m->option->value_name == NULL) {
        if (m->attached != NULL) {
            cli_error(command, "--%s takes no value", m->option->name);
            return false;
        }
        return keep_value(m->option, command, "");
    }
    if (m->attached != NULL)
        return keep_value(m->option, command, m->attached);
    if (*at + 1 >= argc || strncmp(argv[*at + 1], "--", 2) == 0) {
        cli_error(command, "--%s needs a value: --%s %s", m->option->name, m->option->name,
                  m->option->value_name);
        return false;
    }
    *at += 1;
    return keep_value(m->option, command, argv[*at]);
}

static void complain_unknown(const struct cli_syntax *s, const char *word)
{
    const char *names[MAX_SUGGESTED] = {0};
    char plain[64];
    size_t used = 0;
    const char *nearest = NULL;
    const char *start = word + strspn(word, "-");

    snprintf(plain, sizeof(plain), "%.*s", (int)strcspn(start, "="), start);
    for (size_t i = 0; i < s->option_count && used + 2 < MAX_SUGGESTED; i++)
        names[used++] = s->options[i].name;
    names[used] = "help";
    nearest = cli_nearest(plain, names);
    if (nearest != NULL)
        cli_error(s->command, "unknown option %s; did you mean --%s?", word, nearest);
    else
        cli_error(s->command, "unknown option %s; see: utun %s --help", word, s->command);
}

static bool is_help(const char *word)
{
    return strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0;
}

static bool take_operand(const struct cli_syntax *s, const char *word, bool *have)
{
    if (s->operand == NULL || *have) {
        cli_error(s->command, "unexpected argument \"%s\"; see: utun %s --help", word, s->command);
        return false;
    }
    *s->operand->value = word;
    *have = true;
    return true;
}

static bool is_complete(const struct cli_syntax *s, bool have_operand)
{
    if (s->operand != NULL && !have_operand) {
        cli_error(s->command, "%s is missing; see: utun %s --help", s->operand->name, s->command);
        return false;
    }
    for (size_t i = 0; i < s->option_count; i++) {
        const struct cli_option *o = &s->options[i];

        if (o->need == CLI_REQUIRED && o->list == NULL && *o->value == NULL) {
            cli_error(s->command, "--%s %s is missing; see: utun %s --help", o->name, o->value_name,
                      s->command);
            return false;
        }
    }
    return true;
}

bool cli_options_parse(const struct cli_syntax *s, int argc, char **argv, int *status)
{
    bool have_operand = false;
    bool options_ended = false;

    *status = CLI_USAGE;
    for (int i = 1; i < argc; i++) {
        struct match m = {NULL, NULL};

        if (!options_ended && strcmp(argv[i], "--") == 0) {
            options_ended = true;
            continue;
        }
        if (options_ended || argv[i][0] != '-' || argv[i][1] == 0) {
            if (!take_operand(s, argv[i], &have_operand))
                return false;
            continue;
        }
        if (is_help(argv[i])) {
            cli_options_help(s);
            *status = CLI_OK;
            return false;
        }
        m = match_word(s->options, s->option_count, argv[i]);
        if (m.option == NULL) {
            complain_unknown(s, argv[i]);
            return false;
        }
        if (!store_value(&m, s->command, argc, argv, &i))
            return false;
    }
    return is_complete(s, have_operand);
}

bool cli_options_take(const struct cli_option *options, size_t count, int *argc, char **argv)
{
    int kept = 1;
    int i = 1;

    for (; i < *argc && strcmp(argv[i], "--") != 0; i++) {
        struct match m = match_word(options, count, argv[i]);

        if (m.option == NULL)
            argv[kept++] = argv[i];
        else if (!store_value(&m, NULL, *argc, argv, &i))
            return false;
    }
    for (; i < *argc; i++)
        argv[kept++] = argv[i];
    argv[kept] = NULL;
    *argc = kept;
    return true;
}

/* "  -c, --config FILE          text", the text on a line of its own where the left is too long. */
static void print_row(const char *left, const char *help, const char *suffix)
{
    if (strlen(left) >= HELP_COLUMN)
        printf("%s\n%*s%s%s\n", left, HELP_COLUMN, "", help, suffix);
    else
        printf("%-*s%s%s\n", HELP_COLUMN, left, help, suffix);
}

void cli_options_help(const struct cli_syntax *s)
{
    char left[96];

    printf("Usage: utun %s%s%s%s\n\n%s\n", s->command, s->option_count > 0 ? " [OPTIONS]" : "",
           s->operand != NULL ? " " : "", s->operand != NULL ? s->operand->name : "", s->summary);
    if (s->operand != NULL) {
        printf("\nArguments:\n");
        snprintf(left, sizeof(left), "  %s", s->operand->name);
        print_row(left, s->operand->help, "");
    }
    printf("\nOptions:\n");
    for (size_t i = 0; i < s->option_count; i++) {
        const struct cli_option *o = &s->options[i];

        snprintf(left, sizeof(left), "  %c%c%c --%s%s%s", o->letter != 0 ? '-' : ' ',
                 o->letter != 0 ? o->letter : ' ', o->letter != 0 ? ',' : ' ', o->name,
                 o->value_name != NULL ? " " : "", o->value_name != NULL ? o->value_name : "");
        print_row(left, o->help, o->need == CLI_REQUIRED ? " (required)" : "");
    }
    print_row("  -h, --help", "this text", "");
    if (s->notes != NULL)
        printf("\n%s\n", s->notes);
    printf("\nGlobal options (--config, --log-level, --log-format): see utun --help\n");
}

bool cli_options_number(int64_t *out, const char *command, const char *option, const char *text,
                        int64_t min, int64_t max)
{
    char *end = NULL;
    intmax_t n = 0;

    errno = 0;
    n = strtoimax(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || n < min || n > max) {
        cli_error(command, "--%s %s: must be a whole number from %" PRId64 " to %" PRId64, option,
                  text, min, max);
        return false;
    }
    *out = (int64_t)n;
    return true;
}
