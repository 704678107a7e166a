#include "cli/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cli/plain_text.h"

#define GAP         2 /* blanks before each column */
#define NOTE_INDENT 6
#define CELL_SIZE   (4 * TABLE_CELL_MAX) /* bytes of so many characters, and a NUL */

/* All that can stand below a row: each cell with its label, and a comma. */
#define LABEL_MAX 32
#define NOTE_SIZE (TABLE_COLUMNS_MAX * (CELL_SIZE + LABEL_MAX))

struct cell {
    char text[CELL_SIZE];
};

struct table {
    const struct table_column *columns;
    size_t column_count;
    struct cell *cells; /* rows one behind the other, the titles first */
    size_t count;
    size_t room;
};

/* How it is printed at a width: which columns are in the rows, and how wide they are. */
struct layout {
    size_t widths[TABLE_COLUMNS_MAX];
    bool is_in_row[TABLE_COLUMNS_MAX];
    size_t last;                    /* of those in the rows */
    size_t left[TABLE_COLUMNS_MAX]; /* those that are not, as they have left: the last is dearest */
    size_t left_count;
    bool is_common[TABLE_COLUMNS_MAX];    /* of these, the ones that are the same in all rows */
    size_t common_row[TABLE_COLUMNS_MAX]; /* one that has it */
};

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
    plain_text_clean(cell->text);
    plain_text_fit(cell->text, TABLE_CELL_MAX - 1);
}

struct table *table_new(const struct table_column *columns, size_t count)
{
    struct table *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return NULL;
    t->columns = columns;
    t->column_count = count;
    for (size_t c = 0; c < count; c++)
        table_cell(t, "%s", columns[c].title);
    return t;
}

void table_free(struct table *t)
{
    if (t == NULL)
        return;
    free(t->cells);
    free(t);
}

/* -- what is in the rows -- */

static size_t column_width(const struct table *t, size_t column)
{
    size_t width = 0;

    for (size_t i = column; i < t->count; i += t->column_count) {
        size_t w = plain_text_width(t->cells[i].text);

        width = w > width ? w : width;
    }
    return width;
}

static size_t row_width(const struct table *t, const struct layout *l)
{
    size_t width = 0;

    for (size_t c = 0; c < t->column_count; c++)
        width += l->is_in_row[c] ? GAP + l->widths[c] : 0;
    return width;
}

/* Of those in the rows, the one that is to leave them first; false: all have to stay. */
static bool find_to_leave(const struct table *t, const struct layout *l, size_t *column)
{
    unsigned rank = 0;

    for (size_t c = 0; c < t->column_count; c++) {
        if (!l->is_in_row[c] || t->columns[c].rank <= rank)
            continue;
        rank = t->columns[c].rank;
        *column = c;
    }
    return rank > 0;
}

static void lay_out(struct layout *l, const struct table *t, size_t width)
{
    size_t column;

    *l = (struct layout){.left_count = 0};
    for (size_t c = 0; c < t->column_count; c++) {
        l->widths[c] = column_width(t, c);
        l->is_in_row[c] = true;
    }
    while (width > 0 && row_width(t, l) > width && find_to_leave(t, l, &column)) {
        l->is_in_row[column] = false;
        l->left[l->left_count++] = column;
    }
    for (size_t c = 0; c < t->column_count; c++)
        l->last = l->is_in_row[c] ? c : l->last;
}

static void print_row(const struct table *t, const struct layout *l, FILE *out, size_t row,
                      size_t width)
{
    char line[TABLE_COLUMNS_MAX * (GAP + CELL_SIZE)];
    size_t used = 0;

    line[0] = 0;
    for (size_t c = 0; c < t->column_count; c++) {
        const char *text = t->cells[row + c].text;
        size_t blanks = l->widths[c] - plain_text_width(text);
        bool is_number = t->columns[c].align == TABLE_NUMBER;

        if (!l->is_in_row[c])
            continue;
        used += (size_t)snprintf(line + used, sizeof(line) - used, "%*s%s%*s",
                                 (int)(GAP + (is_number ? blanks : 0)), "", text,
                                 (int)(is_number || c == l->last ? 0 : blanks), "");
    }
    if (width > 0 && plain_text_width(line) > width)
        plain_text_fit(line, width);
    fprintf(out, "%s\n", line);
}

/* -- what has left the rows -- */

static const char *cell_at(const struct table *t, size_t row, size_t column)
{
    return t->cells[row + column].text;
}

static bool is_something(const char *text)
{
    return text[0] != 0 && strcmp(text, TABLE_NOTHING) != 0;
}

/* Where the last whole row ends. */
static size_t end_of_rows(const struct table *t)
{
    return t->count - t->count % t->column_count;
}

/*
 * Whether two rows or more have something there, and all of them the same; *row is one of them. Not
 * for numbers, which are the same by chance, and would read as a sum.
 */
static bool is_common(const struct table *t, size_t column, size_t *row)
{
    const char *first = NULL;
    size_t count = 0;

    for (size_t r = t->column_count; r < end_of_rows(t); r += t->column_count) {
        const char *text = cell_at(t, r, column);

        if (!is_something(text))
            continue;
        if (first != NULL && strcmp(first, text) != 0)
            return false;
        first = text;
        *row = r;
        count++;
    }
    return count > 1 && t->columns[column].align == TABLE_TEXT;
}

/* A line of what has left the rows, as it grows. */
struct note {
    char text[NOTE_SIZE];
    size_t len;
};

static void note_add(struct note *n, const struct table *t, size_t row, size_t column,
                     const char *between)
{
    const char *label = t->columns[column].label;

    n->len += (size_t)snprintf(n->text + n->len, sizeof(n->text) - n->len, "%s%.*s%s%s", between,
                               LABEL_MAX - 4, label != NULL ? label : "", label != NULL ? " " : "",
                               cell_at(t, row, column));
}

static void print_note(const struct table *t, const struct layout *l, FILE *out, size_t row,
                       size_t width)
{
    struct note n = {.len = 0};

    for (size_t i = l->left_count; i > 0; i--) {
        size_t column = l->left[i - 1];

        if (!l->is_common[column] && is_something(cell_at(t, row, column)))
            note_add(&n, t, row, column, n.len > 0 ? ", " : "");
    }
    if (n.len > 0)
        plain_text_print(out, n.text, NOTE_INDENT, width);
}

static void print_common(const struct table *t, const struct layout *l, FILE *out, size_t width)
{
    struct note n = {.text = "all: ", .len = 5};
    bool is_first = true;

    for (size_t i = l->left_count; i > 0; i--) {
        size_t column = l->left[i - 1];

        if (!l->is_common[column])
            continue;
        note_add(&n, t, l->common_row[column], column, is_first ? "" : ", ");
        is_first = false;
    }
    if (!is_first)
        plain_text_print(out, n.text, GAP, width);
}

void table_print(const struct table *t, FILE *out, size_t width)
{
    struct layout l;

    if (t == NULL || t->count < t->column_count)
        return;
    lay_out(&l, t, width);
    for (size_t i = 0; i < l.left_count; i++)
        l.is_common[l.left[i]] = is_common(t, l.left[i], &l.common_row[l.left[i]]);
    for (size_t row = 0; row < end_of_rows(t); row += t->column_count) {
        print_row(t, &l, out, row, width);
        if (row > 0)
            print_note(t, &l, out, row, width);
    }
    print_common(t, &l, out, width);
}
