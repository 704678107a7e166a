/*
 * Everything that is wrong with a configuration, collected so that a person sees all of it at once.
 *
 * A problem prints as "<file>:<line>:<column>: error: <what and why>; <what to do>". Without a line
 * (line 0) the place is the file alone, or the command-line option for an overridden value.
 * Not thread-safe; owned by whoever called problems_new.
 */
#ifndef UTUN_CONFIG_PROBLEMS_H
#define UTUN_CONFIG_PROBLEMS_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

enum problem_level {
    PROBLEM_ERROR,
    PROBLEM_WARNING,
};

/* Where a problem is. line and column count from 1; line 0: no line. Column counts code points. */
struct problem_place {
    const char *file; /* or the option ("--listen-port"); NULL: no place */
    uint32_t line;
    uint32_t column;
};

struct problem {
    enum problem_level level;
    const char *file;
    uint32_t line;
    uint32_t column;
    const char *text;       /* what is wrong, and why */
    const char *suggestion; /* what to do; NULL: nothing to add */
};

struct problems;

/* NULL without memory. */
struct problems *problems_new(void);

/* NULL is fine. */
void problems_free(struct problems *p);

/*
 * Adds one problem; p may be NULL (then it is dropped). file and suggestion are copied; suggestion
 * may be NULL. Without memory for its text it counts all the same. Control characters in the text
 * are replaced, so that printing is always safe. At most PROBLEMS_MAX are kept; one more says that
 * there were others.
 */
void problems_add(struct problems *p, enum problem_level level, struct problem_place place,
                  const char *suggestion, const char *fmt, ...) PRINTF_LIKE(5, 6);

#define PROBLEMS_MAX 200

/* Sorted by file, then line, then column, then order of arrival. Borrowed until the next add. */
size_t problems_count(const struct problems *p);
const struct problem *problems_at(struct problems *p, size_t i);
size_t problems_errors(const struct problems *p);

/* One line of text for problem i, without a newline, in out (cut to size). Returns its length. */
size_t problem_format(const struct problem *problem, char *out, size_t size);

/* Writes all of them, one a line, to the file descriptor. */
void problems_print(struct problems *p, int fd);

#endif
