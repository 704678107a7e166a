/* The JSON of /status as text for people. */
#ifndef UTUN_CLI_STATUS_VIEW_H
#define UTUN_CLI_STATUS_VIEW_H

#include <stdio.h>

#include <jansson.h>

/*
 * before is an earlier answer of the same process, for rates; NULL: totals instead. What is missing
 * or of another type is shown as unknown: the two programs may be of different versions. width: of
 * the terminal, into whose lines everything is put; 0 if there is none.
 */
void status_view_print(FILE *out, const json_t *now, const json_t *before, size_t width);

#endif
