#include "config/effective.h"

#include <assert.h>
#include <inttypes.h>

#include "config/cidr.h"

static bool is_role_read(const struct effective *e, enum config_role role)
{
    if (role == CONFIG_ROLE_ANY)
        return true;
    if (e->role != CONFIG_ROLE_ANY && role != e->role)
        return false;
    return role == CONFIG_ROLE_SOURCE ? e->config->has_source : e->config->has_dest;
}

static size_t block_count(const struct effective *e, enum schema_section_id id)
{
    const struct schema_section *section = schema_section(id);

    if (!is_role_read(e, section->role))
        return 0;
    if (!section->is_array)
        return 1;
    return *(const size_t *)(const void *)((const char *)e->config + section->count_offset);
}

static const char *block_at(const struct effective *e, enum schema_section_id id, size_t index)
{
    const struct schema_section *section = schema_section(id);
    const char *config = (const char *)e->config;

    if (!section->is_array)
        return config;
    const char *items = *(const char *const *)(const void *)(config + section->items_offset);
    return items + index * section->item_size;
}

static void show(struct effective *e, const struct schema_key *key)
{
    e->key = key;
    e->field = block_at(e, e->section, e->index) + key->offset;
    if (!config_is_given(e->config, e->section, e->index, key->name, &e->place))
        e->origin = EFFECTIVE_DEFAULT;
    else
        e->origin = e->place.line > 0 ? EFFECTIVE_FILE : EFFECTIVE_OPTION;
}

struct effective effective_begin(const struct config *config, enum config_role role)
{
    return (struct effective){.config = config, .role = role};
}

bool effective_next(struct effective *e)
{
    size_t count;
    const struct schema_key *keys = schema_keys(&count);
    size_t first = e->next;

    /* The keys of a section stand together: behind the last one its next block begins. */
    if (e->key != NULL && (first == count || keys[first].section != e->section) &&
        e->index + 1 < block_count(e, e->section)) {
        e->index++;
        while (first > 0 && keys[first - 1].section == e->section)
            first--;
    } else if (e->key == NULL || first == count || keys[first].section != e->section) {
        e->index = 0;
        while (first < count && block_count(e, keys[first].section) == 0)
            first++;
    }
    if (first == count)
        return false;
    e->section = keys[first].section;
    e->next = first + 1;
    show(e, &keys[first]);
    return true;
}

static const char *text_of(const struct effective *e)
{
    return *(const char *const *)e->field;
}

bool effective_is_set(const struct effective *e)
{
    switch (e->key->type) {
    case SCHEMA_TEXT:
    case SCHEMA_NAME:
    case SCHEMA_ADDRESS:
    case SCHEMA_HOST:
    case SCHEMA_PATH:
        return text_of(e) != NULL;
    case SCHEMA_BOOLEAN:
    case SCHEMA_INTEGER:
    case SCHEMA_WORD:
    case SCHEMA_HOSTS:
    case SCHEMA_RANGES:
    case SCHEMA_PATTERNS:
        break;
    }
    return true;
}

static int64_t stored(const struct effective *e)
{
    switch (e->key->size) {
    case sizeof(uint16_t):
        return *(const uint16_t *)e->field;
    case sizeof(uint32_t):
        return *(const uint32_t *)e->field;
    case sizeof(uint64_t):
        return (int64_t) * (const uint64_t *)e->field;
    default:
        assert(false); /* the schema has no field of that size */
        return 0;
    }
}

int64_t effective_integer(const struct effective *e)
{
    return stored(e) / e->key->scale;
}

const char *effective_word(const struct effective *e)
{
    int64_t value = stored(e);

    for (const struct schema_word *word = e->key->words; word->word != NULL; word++) {
        if (word->value == value)
            return word->word;
    }
    return "?";
}

static void print_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text != 0; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\u%04X", c);
        else if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static void print_strings(FILE *out, const struct config_strings *strings)
{
    fputc('[', out);
    for (size_t i = 0; i < strings->count; i++) {
        fputs(i > 0 ? ", " : "", out);
        print_string(out, strings->items[i]);
    }
    fputc(']', out);
}

static void print_ranges(FILE *out, const struct cidr_list *list)
{
    char text[CIDR_TEXT_MAX];

    fputc('[', out);
    for (size_t i = 0; i < list->count; i++) {
        cidr_format(&list->items[i], text);
        fprintf(out, "%s\"%s\"", i > 0 ? ", " : "", text);
    }
    fputc(']', out);
}

void effective_print(FILE *out, const struct effective *e)
{
    switch (e->key->type) {
    case SCHEMA_BOOLEAN:
        fputs(*(const bool *)e->field ? "true" : "false", out);
        return;
    case SCHEMA_INTEGER:
        fprintf(out, "%" PRId64, effective_integer(e));
        return;
    case SCHEMA_WORD:
        print_string(out, effective_word(e));
        return;
    case SCHEMA_RANGES:
        print_ranges(out, e->field);
        return;
    case SCHEMA_HOSTS:
    case SCHEMA_PATTERNS:
        print_strings(out, e->field);
        return;
    case SCHEMA_TEXT:
    case SCHEMA_NAME:
    case SCHEMA_ADDRESS:
    case SCHEMA_HOST:
    case SCHEMA_PATH:
        print_string(out, text_of(e) != NULL ? text_of(e) : "");
        return;
    }
}
