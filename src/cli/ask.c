#include "cli/ask.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"

#define LINE_SIZE 1024
#define BLANKS    " \t\r\n"

bool ask_is_possible(void)
{
    return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
}

void ask_complain(const char *text)
{
    printf("  %s\n", text);
}

/* One line without the blanks around it; false at the end of the input. */
static bool read_line(char *out, size_t size)
{
    char line[LINE_SIZE];
    char *start;
    size_t len;
    int c;

    if (fgets(line, sizeof(line), stdin) == NULL)
        return false;
    if (strchr(line, '\n') == NULL) {
        while ((c = getchar()) != '\n' && c != EOF)
            ;
    }
    start = line + strspn(line, BLANKS);
    len = strlen(start);
    while (len > 0 && strchr(BLANKS, start[len - 1]) != NULL)
        len--;
    snprintf(out, size, "%.*s", (int)len, start);
    return true;
}

bool ask_text(char *out, size_t size, const char *question, const char *fallback)
{
    if (fallback != NULL && fallback[0] != 0)
        printf("%s [%s]: ", question, fallback);
    else
        printf("%s: ", question);
    fflush(stdout);
    if (!read_line(out, size)) {
        putchar('\n');
        return false;
    }
    if (out[0] == 0 && fallback != NULL)
        snprintf(out, size, "%s", fallback);
    return true;
}

bool ask_value(char *out, size_t size, const char *question, const char *fallback,
               const char *section, const char *key)
{
    struct err_detail d;

    while (ask_text(out, size, question, fallback)) {
        if (out[0] == 0 && fallback != NULL)
            return true;
        if (config_check_value(section, key, out, &d) == ERR_OK)
            return true;
        ask_complain(d.text);
    }
    return false;
}
