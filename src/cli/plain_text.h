/*
 * Text that may come from anywhere, as a terminal may show it: without what the terminal would act
 * on, and in lines no longer than it is wide.
 */
#ifndef UTUN_CLI_PLAIN_TEXT_H
#define UTUN_CLI_PLAIN_TEXT_H

#include <stddef.h>
#include <stdio.h>

/* Replaces control characters, and bytes that are no characters, by '?'; in place. */
void plain_text_clean(char *text);

/* Characters, and so about the columns that they take. */
size_t plain_text_width(const char *text);

/* Cuts text to that many characters, the last of them "..." then. */
void plain_text_fit(char *text, size_t width);

/*
 * Prints clean text in lines of at most width columns (0: in one line), which begin with indent
 * blanks, all but the first with two more. Lines are broken at a blank, rather at one behind a
 * comma; a longer word is broken anywhere.
 */
void plain_text_print(FILE *out, const char *text, size_t indent, size_t width);

#endif
