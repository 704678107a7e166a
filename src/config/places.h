/*
 * Where each key of a configuration got its value: a place in the file, or a command-line option.
 * Also remembers which values were refused, so that no rule blames a key for a value it never had.
 */
#ifndef UTUN_CONFIG_PLACES_H
#define UTUN_CONFIG_PLACES_H

#include <stdbool.h>
#include <stddef.h>

#include "config/arena.h"
#include "config/problems.h"
#include "config/schema.h"

enum place_verdict {
    PLACE_GOOD,
    PLACE_REFUSED,
};

struct places_entry;

/* Lives in the arena; needs no fini. Without memory entries are missing, and the arena says so. */
struct places {
    struct arena *arena;
    const char *file;
    struct places_entry *entries;
    size_t count;
    size_t capacity;
};

void places_init(struct places *places, struct arena *arena, const char *file);

/*
 * key NULL is the section (or the array's item) itself. index is the item's in an array, else 0.
 * place.file must live as long as the arena. A later entry for the same key stands in for the
 * earlier one.
 */
void places_set(struct places *places, enum schema_section_id section, size_t index,
                const char *key, struct problem_place place, enum place_verdict verdict);

/* Whether the key was given at all (refused or not). */
bool places_has(const struct places *places, enum schema_section_id section, size_t index,
                const char *key);

/* Whether the key's value can be relied on: not refused (given, or its default). */
bool places_is_good(const struct places *places, enum schema_section_id section, size_t index,
                    const char *key);

/* The key's place; for one that was not given its section's, and without that the file's. */
struct problem_place places_get(const struct places *places, enum schema_section_id section,
                                size_t index, const char *key);

#endif
