#include "cli/plain_text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

static bool is_first_byte(char c)
{
    return ((unsigned char)c & 0xc0) != 0x80;
}

void plain_text_clean(char *text)
{
    size_t left = strlen(text);
    char *to = text;

    while (left > 0) {
        uint32_t value;
        size_t n = utf8_next(text, left, &value);

        if (n == 0 || value < 0x20 || (value >= 0x7f && value < 0xa0)) {
            *to++ = '?';
            n = n == 0 ? 1 : n;
        } else {
            memmove(to, text, n);
            to += n;
        }
        text += n;
        left -= n;
    }
    *to = 0;
}

size_t plain_text_width(const char *text)
{
    size_t width = 0;

    for (; *text != 0; text++)
        width += is_first_byte(*text) ? 1 : 0;
    return width;
}

/* The first byte behind so many characters, or the end. */
static char *behind(char *text, size_t count)
{
    for (; *text != 0; text++) {
        if (is_first_byte(*text) && count-- == 0)
            break;
    }
    return text;
}

void plain_text_fit(char *text, size_t width)
{
    size_t dots = width < 3 ? width : 3;

    if (plain_text_width(text) <= width)
        return;
    text = behind(text, width - dots);
    memset(text, '.', dots);
    text[dots] = 0;
}

/* Where the next line begins, and in *end where this one ends, of at most room characters. */
static const char *next_line(const char *text, size_t room, const char **end)
{
    const char *blank = NULL;
    const char *comma = NULL; /* the blank behind one that is not too near to the line's begin */
    size_t at = 0;

    for (; *text != 0; text++) {
        if (!is_first_byte(*text))
            continue;
        if (*text == ' ' && at > 0) {
            blank = text;
            if (at > room / 2 && strchr(",;", text[-1]) != NULL)
                comma = text;
        }
        if (at == room)
            break;
        at++;
    }
    *end = text;
    if (*text == 0)
        return text;
    if (comma != NULL || blank != NULL) {
        *end = comma != NULL ? comma : blank;
        text = *end + 1;
    }
    return text;
}

void plain_text_print(FILE *out, const char *text, size_t indent, size_t width)
{
    size_t further = indent + 2;
    const char *end;

    if (width > 0 && width < 2 * further)
        indent = further = 0;
    do {
        const char *next = next_line(text, width == 0 ? SIZE_MAX : width - indent, &end);

        fprintf(out, "%*s%.*s\n", (int)indent, "", (int)(end - text), text);
        text = next;
        indent = further;
    } while (*text != 0);
}
