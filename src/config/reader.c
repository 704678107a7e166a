#include "config/reader.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "config/value.h"

#define ITEMS_MAX 4096 /* blocks of an array of tables */

static struct problem_place place_at(const struct reader *r, uint32_t line, uint32_t column)
{
    return (struct problem_place){.file = r->config->path, .line = line, .column = column};
}

/* base is what the offsets of the key's section start from. */
static struct value value_of(const struct reader *r, const struct schema_key *key, void *base,
                             struct problem_place place)
{
    return (struct value){
        .key = key,
        .field = (char *)base + key->offset,
        .place = place,
        .config_path = r->config->path,
        .arena = r->arena,
        .problems = r->problems,
    };
}

/* A key that nothing acts on yet must not look as if it worked. */
static void warn_if_pending(const struct reader *r, const struct value *v)
{
    enum config_role role = schema_section(v->key->section)->role;
    char suggestion[200] = "remove it until a version that does";

    if (v->key->state != SCHEMA_PENDING || value_is_default(v))
        return;
    if (r->role != CONFIG_ROLE_ANY && role != CONFIG_ROLE_ANY && role != r->role)
        return;
    if (v->key->initial != NULL)
        snprintf(suggestion, sizeof(suggestion), "leave it at %s until a version that does",
                 v->key->initial);
    problems_add(r->problems, PROBLEM_WARNING, v->place, suggestion,
                 "'%s' is set, but this version of utun does not act on it yet", v->key->name);
}

struct override {
    const char *option;
    const char *text;
    enum schema_section_id section;
    const char *key;
};

#define OVERRIDES 10

/* listen_ip stands for both roles' sections; the one that does not run is left alone. */
static void list_overrides(const struct reader *r, struct override out[OVERRIDES])
{
    static const struct config_overrides none = {.listen_ip = NULL};
    const struct config_overrides *o = r->overrides != NULL ? r->overrides : &none;
    const char *source_ip = r->role != CONFIG_ROLE_DEST ? o->listen_ip : NULL;
    const char *dest_ip = r->role != CONFIG_ROLE_SOURCE ? o->listen_ip : NULL;
    const struct override list[OVERRIDES] = {
        {"--listen-ip", source_ip, SCHEMA_SOURCE, "listen_ip"},
        {"--listen-ip", dest_ip, SCHEMA_DEST, "listen_ip"},
        {"--listen-port", o->listen_port, SCHEMA_SOURCE, "listen_port"},
        {"--dest-host", o->dest_host, SCHEMA_SOURCE, "dest_host"},
        {"--dest-tunnel-port", o->dest_tunnel_port, SCHEMA_SOURCE, "dest_tunnel_port"},
        {"--tunnel-port", o->tunnel_port, SCHEMA_DEST, "tunnel_port"},
        {"--metrics-port", o->metrics_port, SCHEMA_METRICS, "metrics_port"},
        {"--log-level", o->log_level, SCHEMA_LOGGING, "level"},
        {"--log-format", o->log_format, SCHEMA_LOGGING, "format"},
        {NULL, NULL, SCHEMA_SECTION_COUNT, NULL},
    };

    memcpy(out, list, sizeof(list));
}

static bool is_overridden(const struct reader *r, const struct schema_key *key)
{
    struct override list[OVERRIDES];

    list_overrides(r, list);
    for (const struct override *o = list; o->option != NULL; o++) {
        if (o->text != NULL && o->section == key->section && strcmp(o->key, key->name) == 0)
            return true;
    }
    return false;
}

static void apply_overrides(const struct reader *r)
{
    struct override list[OVERRIDES];

    list_overrides(r, list);
    for (const struct override *o = list; o->option != NULL; o++) {
        const struct schema_key *key = schema_find(o->section, o->key);
        enum config_role role = schema_section(o->section)->role;
        const struct problem_place place = {.file = o->option};

        if (o->text == NULL)
            continue;
        if (r->role != CONFIG_ROLE_ANY && role != CONFIG_ROLE_ANY && role != r->role) {
            problems_add(r->problems, PROBLEM_ERROR, place, "remove the option",
                         "it has no meaning for a %s",
                         r->role == CONFIG_ROLE_SOURCE ? "source" : "dest");
            continue;
        }
        struct value value = value_of(r, key, r->config, place);
        enum place_verdict verdict = value_from_text(&value, o->text);
        places_set(r->places, o->section, 0, key->name, place, verdict);
        if (verdict == PLACE_GOOD)
            warn_if_pending(r, &value);
    }
}

static void set_defaults(const struct reader *r, enum schema_section_id section, void *base)
{
    size_t count;
    const struct schema_key *keys = schema_keys(&count);

    for (size_t i = 0; i < count; i++) {
        const struct problem_place nowhere = {.line = 0};

        if (keys[i].section != section || keys[i].initial == NULL)
            continue;
        struct value value = value_of(r, &keys[i], base, nowhere);
        enum place_verdict verdict = value_from_text(&value, keys[i].initial);
        assert(verdict == PLACE_GOOD);
    }
}

static void report_unknown(const struct reader *r, enum schema_section_id section,
                           const struct toml_node *node)
{
    char suggestion[300];
    char header[64] = "";
    bool is_near = schema_suggest(section, node->key, suggestion, sizeof(suggestion));
    bool is_table =
        node->type == TOML_TABLE ||
        (node->type == TOML_ARRAY && node->child_count > 0 && node->children[0].type == TOML_TABLE);

    if (section != SCHEMA_SECTION_COUNT)
        schema_section_header(section, header, sizeof(header));
    problems_add(r->problems, PROBLEM_ERROR, place_at(r, node->key_line, node->key_column),
                 is_near ? suggestion : "`utun check --keys` lists all that there are",
                 "%s '%.80s'%s%s", is_table ? "unknown section" : "unknown key", node->key,
                 header[0] != 0 ? " in " : "", header);
}

static void require_keys(const struct reader *r, enum schema_section_id section, size_t index)
{
    size_t count;
    const struct schema_key *keys = schema_keys(&count);
    char header[64];
    char accepted[200];
    char suggestion[300];

    if (r->arena->is_exhausted)
        return; /* what is there may not have been noted */
    schema_section_header(section, header, sizeof(header));
    for (size_t i = 0; i < count; i++) {
        if (keys[i].section != section || !keys[i].is_required ||
            places_has(r->places, section, index, keys[i].name) || is_overridden(r, &keys[i]))
            continue;
        schema_accepts(&keys[i], accepted, sizeof(accepted));
        snprintf(suggestion, sizeof(suggestion), "add %s = ... (%s)", keys[i].name, accepted);
        problems_add(r->problems, PROBLEM_ERROR, places_get(r->places, section, index, NULL),
                     suggestion, "%s has no '%s'", header, keys[i].name);
    }
}

static void read_subsection(const struct reader *r, enum schema_section_id section,
                            const struct toml_node *node);

/* base is what the section's offsets start from: the configuration, or an array's item. */
static void read_table(const struct reader *r, enum schema_section_id section, size_t index,
                       const struct toml_node *table, void *base)
{
    places_set(r->places, section, index, NULL, place_at(r, table->line, table->column),
               PLACE_GOOD);
    for (size_t i = 0; i < table->child_count; i++) {
        const struct toml_node *node = &table->children[i];
        const struct schema_key *key = schema_find(section, node->key);
        enum schema_section_id inner;
        char name[128];

        if (key != NULL) {
            struct value value = value_of(r, key, base, place_at(r, node->line, node->column));

            if (is_overridden(r, key))
                continue;
            enum place_verdict verdict = value_from_node(&value, node);
            places_set(r->places, section, index, key->name, value.place, verdict);
            if (verdict == PLACE_GOOD)
                warn_if_pending(r, &value);
            continue;
        }
        snprintf(name, sizeof(name), "%s.%s", schema_section(section)->name, node->key);
        if (schema_find_section(name, &inner))
            read_subsection(r, inner, node);
        else
            report_unknown(r, section, node);
    }
    require_keys(r, section, index);
}

static void read_array(const struct reader *r, enum schema_section_id id,
                       const struct toml_node *node)
{
    const struct schema_section *section = schema_section(id);
    void **items = (void **)(void *)((char *)r->config + section->items_offset);
    size_t *count = (size_t *)(void *)((char *)r->config + section->count_offset);
    struct problem_place place = place_at(r, node->key_line, node->key_column);
    char header[64];

    schema_section_header(id, header, sizeof(header));
    if (node->type != TOML_ARRAY) {
        problems_add(r->problems, PROBLEM_ERROR, place, "write two brackets on each side",
                     "%s is a list of blocks, each under a header of its own, not %s", header,
                     toml_type_name(node->type));
        return;
    }
    if (node->child_count > ITEMS_MAX) {
        problems_add(r->problems, PROBLEM_ERROR, place, NULL, "more than %d blocks of %s",
                     ITEMS_MAX, header);
        return;
    }
    *items = arena_alloc(r->arena, node->child_count, section->item_size);
    *count = *items != NULL ? node->child_count : 0;
    for (size_t i = 0; i < *count; i++) {
        const struct toml_node *child = &node->children[i];
        void *item = (char *)*items + i * section->item_size;

        set_defaults(r, id, item);
        if (child->type == TOML_TABLE)
            read_table(r, id, i, child, item);
        else
            problems_add(r->problems, PROBLEM_ERROR, place_at(r, child->line, child->column),
                         "write it as a block with its keys below", "%s holds tables, not %s",
                         header, toml_type_name(child->type));
    }
}

static void read_subsection(const struct reader *r, enum schema_section_id section,
                            const struct toml_node *node)
{
    char header[64];
    char suggestion[100];

    if (schema_section(section)->is_array) {
        read_array(r, section, node);
        return;
    }
    if (node->type == TOML_TABLE) {
        read_table(r, section, 0, node, r->config);
        return;
    }
    schema_section_header(section, header, sizeof(header));
    snprintf(suggestion, sizeof(suggestion), "write %s once, and its keys below", header);
    places_set(r->places, section, 0, NULL, place_at(r, node->key_line, node->key_column),
               PLACE_REFUSED);
    problems_add(r->problems, PROBLEM_ERROR, place_at(r, node->key_line, node->key_column),
                 suggestion, "%s must be a table, not %s", header, toml_type_name(node->type));
}

void reader_read(const struct reader *reader, const struct toml_node *root)
{
    struct config *config = reader->config;

    for (int i = 0; i < SCHEMA_SECTION_COUNT; i++) {
        if (!schema_section((enum schema_section_id)i)->is_array)
            set_defaults(reader, (enum schema_section_id)i, config);
    }
    apply_overrides(reader);
    for (size_t i = 0; i < root->child_count; i++) {
        const struct toml_node *node = &root->children[i];
        enum schema_section_id section;
        bool is_known = schema_find_section(node->key, &section);

        if (reader->role == CONFIG_ROLE_NONE && !(is_known && section == SCHEMA_METRICS))
            continue;
        if (is_known)
            read_subsection(reader, section, node);
        else
            report_unknown(reader, SCHEMA_SECTION_COUNT, node);
    }
    config->has_source = places_has(reader->places, SCHEMA_SOURCE, 0, NULL);
    config->has_dest = places_has(reader->places, SCHEMA_DEST, 0, NULL);
}
