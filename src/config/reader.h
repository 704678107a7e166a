/*
 * Fills a configuration from a TOML tree by the schema: defaults, then the file, then the options
 * of the command line. Each value is checked alone (value.h); rules.h checks them together.
 */
#ifndef UTUN_CONFIG_READER_H
#define UTUN_CONFIG_READER_H

#include "config/arena.h"
#include "config/config.h"
#include "config/places.h"
#include "config/problems.h"
#include "config/schema.h"
#include "config/toml.h"

struct reader {
    struct config *config; /* zeroed, with its path */
    enum config_role role;
    const struct config_overrides *overrides; /* may be NULL */
    struct arena *arena;                      /* of everything the configuration points to */
    struct places *places;
    struct problems *problems;
};

/* Without memory something is missing, and the arena says so. */
void reader_read(const struct reader *reader, const struct toml_node *root);

#endif
