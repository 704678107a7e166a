/* Questions to the person at a terminal, each asked again until the answer will do. */
#ifndef UTUN_CLI_ASK_H
#define UTUN_CLI_ASK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

/* Whether somebody is there to answer. */
bool ask_is_possible(void);

/*
 * Asks for a line. An empty answer is fallback, which is shown; NULL: there is none. Blanks around
 * an answer do not count. False when the input ends instead.
 */
bool ask_text(char *out, size_t size, const char *question, const char *fallback) MUST_USE;

/*
 * Asks for the value of a configuration key, until it is one. An empty answer will do where
 * fallback is "".
 */
bool ask_value(char *out, size_t size, const char *question, const char *fallback,
               const char *section, const char *key) MUST_USE;

/* Prints what is wrong with what was just answered. */
void ask_complain(const char *text);

#endif
