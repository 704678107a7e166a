#include "cli/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

struct cell {
    char text[TABLE_CELL_MAX];
};

struct table {
    bool is_number[TABLE_COLUMNS_MAX];
    size_t columns;
    struct cell *cells; /* rows one behind the other, the titles first */
    size_t count;
    size_t room;
};

/* Characters, and so about the columns that they take. */
static size_t width_of(const char *text)
{
    size_t width = 0;

    for (; *text != 0; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80 ? 1 : 0;
    return width;
}

/* Whole characters that a terminal only shows. */
static void clean(char *text)
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

static struct cell *next_cell(struct table *t)
{
    if (t->count == t->room) {
        size_t room = t->room == 0 ? 64 : 2 * t->room;
        struct cell *cells = realloc(t->cells, room * sizeof(*cells));

        if (cells == NULL)
            return NULL;
        t->cells = cells;
        t->room = room;
    }
    return &t->cells[t->count++];
}

void table_cell(struct table *t, const char *fmt, ...)
{
    struct cell *cell = t == NULL ? NULL : next_cell(t);
    va_list args;

    if (cell == NULL)
        return;
    va_start(args, fmt);
    vsnprintf(cell->text, sizeof(cell->text), fmt, args);
    va_end(args);
    clean(cell->text);
}

struct table *table_new(const char *const *titles)
{
    struct table *t = calloc(1, sizeof(*t));

    for (; t != NULL && t->columns < TABLE_COLUMNS_MAX && titles[t->columns] != NULL;
         t->columns++) {
        const char *title = titles[t->columns];

        t->is_number[t->columns] = title[0] == '>';
        table_cell(t, "%s", title[0] == '>' ? title + 1 : title);
    }
    return t;
}

void table_free(struct table *t)
{
    if (t == NULL)
        return;
    free(t->cells);
    free(t);
}

static size_t column_width(const struct table *t, size_t column)
{
    size_t width = 0;

    for (size_t i = column; i < t->count; i += t->columns) {
        size_t w = width_of(t->cells[i].text);
        width = w > width ? w : width;
    }
    return width;
}

/* At most width characters of text; what is left of width. */
static size_t print_cut(FILE *out, const char *text, size_t width)
{
    for (; *text != 0; text++) {
        bool is_first = ((unsigned char)*text & 0xc0) != 0x80;

        if (is_first && width == 0)
            break;
        width -= is_first ? 1 : 0;
        fputc(*text, out);
    }
    return width;
}

static size_t print_blanks(FILE *out, size_t count, size_t width)
{
    for (; count > 0 && width > 0; count--, width--)
        fputc(' ', out);
    return width;
}

void table_print(const struct table *t, FILE *out, size_t width)
{
    size_t widths[TABLE_COLUMNS_MAX];

    if (t == NULL)
        return;
    for (size_t c = 0; c < t->columns; c++)
        widths[c] = column_width(t, c);
    for (size_t row = 0; row + t->columns <= t->count; row += t->columns) {
        size_t left = width == 0 ? SIZE_MAX : width;

        for (size_t c = 0; c < t->columns; c++) {
            const char *text = t->cells[row + c].text;
            size_t blanks = widths[c] - width_of(text);

            left = print_blanks(out, 2 + (t->is_number[c] ? blanks : 0), left);
            left = print_cut(out, text, left);
            if (!t->is_number[c] && c + 1 < t->columns)
                left = print_blanks(out, blanks, left);
        }
        fputc('\n', out);
    }
}
