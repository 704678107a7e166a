/*
 * Text in columns, for a terminal: as wide as what is in them, numbers to the right. Cells may come
 * from anywhere: control characters are replaced, so that none reaches the terminal.
 *
 * Where the terminal is too narrow, columns leave the rows, by their rank, and stand in lines
 * between them: below each row what it has in them, or once below all rows the texts that these
 * have in common. So nothing is lost:
 *
 *   PEER    ADDRESS          STREAMS
 *   edge-1  192.0.2.1:50000        2
 *       certificate expires in 12d 01h
 *   edge-2  192.0.2.2:50000        0
 *       certificate expires in 90d 11h
 *   all: hybrid, X25519MLKEM768
 */
#ifndef UTUN_CLI_TABLE_H
#define UTUN_CLI_TABLE_H

#include <stddef.h>
#include <stdio.h>

#include "base/attr.h"

#define TABLE_COLUMNS_MAX 16
#define TABLE_CELL_MAX    64

/* A cell for what is not known or does not apply; not shown outside of columns. */
#define TABLE_NOTHING "-"

enum table_align {
    TABLE_TEXT,
    TABLE_NUMBER, /* to the right */
};

/* Static, as all its texts. */
struct table_column {
    const char *title;
    enum table_align align;
    unsigned rank;     /* the greater, the sooner it leaves the rows; 0: never */
    const char *label; /* what stands before its value then, NULL: nothing */
};

struct table;

/* At most TABLE_COLUMNS_MAX columns, which outlive it. NULL: no memory. */
struct table *table_new(const struct table_column *columns, size_t count);
void table_free(struct table *t);

/* Fills the next cell, row by row; longer text ends in "...". t may be NULL. */
void table_cell(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * Each row indented by two, in lines of at most width columns (0: any). A row that is too wide even
 * so ends in "...". t may be NULL.
 */
void table_print(const struct table *t, FILE *out, size_t width);

#endif
