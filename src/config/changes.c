#include "config/changes.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "config/arena.h"

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool is_same_strings(const struct config_strings *a, const struct config_strings *b)
{
    bool is_same = a->count == b->count;

    for (size_t i = 0; is_same && i < a->count; i++)
        is_same = strcmp(a->items[i], b->items[i]) == 0;
    return is_same;
}

static bool is_same_ranges(const struct cidr_list *a, const struct cidr_list *b)
{
    bool is_same = a->count == b->count;

    for (size_t i = 0; is_same && i < a->count; i++) {
        const struct cidr *x = &a->items[i];
        const struct cidr *y = &b->items[i];

        is_same = x->family == y->family && x->bits == y->bits &&
                  memcmp(x->address, y->address, sizeof(x->address)) == 0;
    }
    return is_same;
}

/* base: struct config, or an item of an array. */
static const void *field_of(const void *base, const struct schema_key *key)
{
    return (const char *)base + key->offset;
}

static bool is_same_value(const struct schema_key *key, const void *a, const void *b)
{
    const void *x = field_of(a, key);
    const void *y = field_of(b, key);

    switch (key->type) {
    case SCHEMA_BOOLEAN:
    case SCHEMA_INTEGER:
    case SCHEMA_WORD:
        return memcmp(x, y, key->size) == 0;
    case SCHEMA_TEXT:
    case SCHEMA_NAME:
    case SCHEMA_ADDRESS:
    case SCHEMA_HOST:
    case SCHEMA_PATH:
        return is_same_text(*(const char *const *)x, *(const char *const *)y);
    case SCHEMA_HOSTS:
    case SCHEMA_PATTERNS:
        return is_same_strings(x, y);
    case SCHEMA_RANGES:
        return is_same_ranges(x, y);
    }
    return false;
}

static const char *items_of(const struct config *config, const struct schema_section *section)
{
    return *(const char *const *)(const void *)((const char *)config + section->items_offset);
}

static size_t count_of(const struct config *config, const struct schema_section *section)
{
    return *(const size_t *)(const void *)((const char *)config + section->count_offset);
}

static bool is_same_array(enum schema_section_id id, const struct config *a, const struct config *b)
{
    const struct schema_section *section = schema_section(id);
    size_t count;
    const struct schema_key *keys = schema_keys(&count);
    size_t items = count_of(a, section);

    if (items != count_of(b, section))
        return false;
    for (size_t i = 0; i < items; i++) {
        for (size_t k = 0; k < count; k++) {
            if (keys[k].section == id &&
                !is_same_value(&keys[k], items_of(a, section) + i * section->item_size,
                               items_of(b, section) + i * section->item_size))
                return false;
        }
    }
    return true;
}

static bool is_of(const struct schema_section *section, enum config_role role)
{
    return section->role == CONFIG_ROLE_ANY || section->role == role;
}

static void add(struct config_changes *out, enum schema_section_id section, const char *key,
                enum schema_effect effect)
{
    assert(out->count < CONFIG_CHANGES_MAX);
    out->items[out->count++] =
        (struct config_change){.section = section, .key = key, .effect = effect};
}

void config_compare(struct config_changes *out, const struct config *old,
                    const struct config *fresh, enum config_role role)
{
    enum schema_section_id done = SCHEMA_SECTION_COUNT;
    size_t count;
    const struct schema_key *keys = schema_keys(&count);

    out->count = 0;
    for (size_t i = 0; i < count; i++) {
        enum schema_section_id id = keys[i].section;

        if (!is_of(schema_section(id), role))
            continue;
        if (!schema_section(id)->is_array) {
            if (!is_same_value(&keys[i], old, fresh))
                add(out, id, keys[i].name, keys[i].effect);
        } else if (id != done) {
            done = id;
            if (!is_same_array(id, old, fresh))
                add(out, id, "", keys[i].effect);
        }
    }
}

bool config_changes_has(const struct config_changes *changes, enum schema_section_id section,
                        const char *key)
{
    for (size_t i = 0; i < changes->count; i++) {
        if (changes->items[i].section == section && strcmp(changes->items[i].key, key) == 0)
            return true;
    }
    return false;
}

size_t config_changes_list(const struct config_changes *changes, enum schema_effect effect,
                           char *out, size_t size)
{
    size_t count = 0;
    size_t len = 0;

    out[0] = 0;
    for (size_t i = 0; i < changes->count; i++) {
        const struct config_change *c = &changes->items[i];

        if (c->effect != effect)
            continue;
        if (len + 1 < size)
            len += (size_t)snprintf(out + len, size - len, "%s%s%s%s", count > 0 ? ", " : "",
                                    schema_section(c->section)->name, c->key[0] != 0 ? "." : "",
                                    c->key);
        count++;
    }
    return count;
}

static void keep(struct config *fresh, const struct config *old, const struct schema_key *key)
{
    void *field = (char *)fresh + key->offset;
    const void *value = field_of(old, key);

    switch (key->type) {
    case SCHEMA_BOOLEAN:
    case SCHEMA_INTEGER:
    case SCHEMA_WORD:
        memcpy(field, value, key->size);
        return;
    case SCHEMA_TEXT:
    case SCHEMA_NAME:
    case SCHEMA_ADDRESS:
    case SCHEMA_HOST:
    case SCHEMA_PATH: {
        const char *text = *(const char *const *)value;

        *(const char **)field = text == NULL ? NULL : arena_copy(config_arena(fresh), text);
        return;
    }
    case SCHEMA_HOSTS:
    case SCHEMA_PATTERNS:
    case SCHEMA_RANGES:
        break;
    }
    assert(false); /* no list needs a restart: test_changes.c looks */
}

enum err config_keep_fixed(struct config *fresh, const struct config *old, enum config_role role)
{
    size_t count;
    const struct schema_key *keys = schema_keys(&count);

    for (size_t i = 0; i < count; i++) {
        if (keys[i].effect == SCHEMA_RESTART && is_of(schema_section(keys[i].section), role) &&
            !is_same_value(&keys[i], old, fresh))
            keep(fresh, old, &keys[i]);
    }
    return config_arena(fresh)->is_exhausted ? ERR_NOMEM : ERR_OK;
}
