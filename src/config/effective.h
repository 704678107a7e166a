/*
 * A configuration as it counts: every key of the sections that a role reads, with its value and
 * where that came from. For `utun check`.
 *
 *     struct effective e = effective_begin(config, role);
 *     while (effective_next(&e))
 *         ...
 */
#ifndef UTUN_CONFIG_EFFECTIVE_H
#define UTUN_CONFIG_EFFECTIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "config/config.h"
#include "config/problems.h"
#include "config/schema.h"

enum effective_origin {
    EFFECTIVE_DEFAULT,
    EFFECTIVE_FILE,   /* place: the line and column of the value */
    EFFECTIVE_OPTION, /* place.file: the option of the command line */
};

/* The fields up to origin are the current key's. It lives no longer than the configuration. */
struct effective {
    enum schema_section_id section;
    size_t index; /* of the block, in a section of blocks; otherwise 0 */
    const struct schema_key *key;
    const void *field; /* the value, as the schema says */
    struct problem_place place;
    enum effective_origin origin;

    const struct config *config; /* the rest is its own */
    enum config_role role;
    size_t next;
};

/* CONFIG_ROLE_ANY: the sections of every role that the configuration has. */
struct effective effective_begin(const struct config *config, enum config_role role);

/* Steps to the next key, in the order of the reference, block by block. False behind the last. */
bool effective_next(struct effective *e);

/*
 * Whether a key, of that block, was given at all: in the file or as an option, which place then
 * says. Otherwise place is the file alone. In config.c, which knows.
 */
bool config_is_given(const struct config *config, enum schema_section_id section, size_t index,
                     const char *key, struct problem_place *place);

/* Whether the key has a value at all: a path that is not set has none. */
bool effective_is_set(const struct effective *e);

/* The value in the units of the file; only for keys of type SCHEMA_INTEGER. */
int64_t effective_integer(const struct effective *e);

/* The word of the file; only for keys of type SCHEMA_WORD. Static. */
const char *effective_word(const struct effective *e);

/* The value as TOML, on one line, without characters that a terminal would act on. */
void effective_print(FILE *out, const struct effective *e);

#endif
