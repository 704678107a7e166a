/*
 * Text in columns, for a terminal: as wide as what is in them, numbers to the right. Cells may come
 * from anywhere: control characters are replaced, so that none reaches the terminal.
 */
#ifndef UTUN_CLI_TABLE_H
#define UTUN_CLI_TABLE_H

#include <stddef.h>
#include <stdio.h>

#include "base/attr.h"

#define TABLE_COLUMNS_MAX 12
#define TABLE_CELL_MAX    64

struct table;

/* Titles of the columns, NULL behind the last; one that begins with '>' is for numbers. NULL: no
 * memory. */
struct table *table_new(const char *const *titles);
void table_free(struct table *t);

/* Fills the next cell, row by row; longer text is cut. t may be NULL. */
void table_cell(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Each row indented by two, and cut at width columns (0: never). t may be NULL. */
void table_print(const struct table *t, FILE *out, size_t width);

#endif
