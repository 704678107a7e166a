/*
 * One value of a configuration on its way into its field: from text (a default, an option, an
 * answer), or from a node of a TOML tree. It is checked alone, by what the schema says of its key;
 * whatever is wrong with it goes to the problems, and nothing then relies on the field. Without
 * memory the field stays empty, and the arena says so.
 */
#ifndef UTUN_CONFIG_VALUE_H
#define UTUN_CONFIG_VALUE_H

#include <stdbool.h>

#include "base/attr.h"
#include "config/arena.h"
#include "config/places.h"
#include "config/problems.h"
#include "config/schema.h"
#include "config/toml.h"

struct value {
    const struct schema_key *key;
    void *field;                /* of key->size bytes, zeroed */
    struct problem_place place; /* an element of an array has one of its own, in the same file */
    const char *config_path;    /* relative paths start at the folder of this file */
    struct arena *arena;        /* of what the field then points to */
    struct problems *problems;  /* NULL: nobody is told why */
};

/* The key is of any type but those that only have an array's form: ranges and patterns. */
enum place_verdict value_from_text(const struct value *v, const char *text) MUST_USE;

enum place_verdict value_from_node(const struct value *v, const struct toml_node *node) MUST_USE;

/* Whether the field holds what the schema gives it when nobody says anything. */
bool value_is_default(const struct value *v);

#endif
