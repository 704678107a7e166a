#include "config/places.h"

#include <string.h>

struct places_entry {
    enum schema_section_id section;
    size_t index;
    const char *key;
    struct problem_place place;
    enum place_verdict verdict;
};

void places_init(struct places *places, struct arena *arena, const char *file)
{
    memset(places, 0, sizeof(*places));
    places->arena = arena;
    places->file = file;
}

static const struct places_entry *find(const struct places *places, enum schema_section_id section,
                                       size_t index, const char *key)
{
    for (size_t i = places->count; i > 0; i--) {
        const struct places_entry *entry = &places->entries[i - 1];

        if (entry->section != section || entry->index != index)
            continue;
        if (key == NULL ? entry->key == NULL : entry->key != NULL && strcmp(entry->key, key) == 0)
            return entry;
    }
    return NULL;
}

void places_set(struct places *places, enum schema_section_id section, size_t index,
                const char *key, struct problem_place place, enum place_verdict verdict)
{
    if (places->count == places->capacity) {
        size_t capacity = places->capacity == 0 ? 64 : places->capacity * 2;
        struct places_entry *entries = arena_alloc(places->arena, capacity, sizeof(*entries));

        if (entries == NULL)
            return;
        if (places->count > 0)
            memcpy(entries, places->entries, places->count * sizeof(*entries));
        places->entries = entries;
        places->capacity = capacity;
    }
    places->entries[places->count++] = (struct places_entry){
        .section = section, .index = index, .key = key, .place = place, .verdict = verdict};
}

bool places_has(const struct places *places, enum schema_section_id section, size_t index,
                const char *key)
{
    return find(places, section, index, key) != NULL;
}

bool places_is_good(const struct places *places, enum schema_section_id section, size_t index,
                    const char *key)
{
    const struct places_entry *entry = find(places, section, index, key);

    return entry == NULL || entry->verdict == PLACE_GOOD;
}

struct problem_place places_get(const struct places *places, enum schema_section_id section,
                                size_t index, const char *key)
{
    const struct places_entry *entry = find(places, section, index, key);

    if (entry == NULL)
        entry = find(places, section, index, NULL);
    if (entry == NULL)
        return (struct problem_place){.file = places->file};
    return entry->place;
}
