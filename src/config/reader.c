#include "config/reader.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/cidr.h"
#include "config/host.h"
#include "config/schema.h"

#define ITEMS_MAX        4096  /* blocks of an array of tables */
#define RANGES_MAX       10000 /* elements of an array */
#define HOSTS_MAX        16
#define TEXT_MAX         1024
#define SERVICE_NAME_MAX 63

/* One value on its way into its field. */
struct target {
    const struct reader *r;
    const struct schema_key *key;
    void *field;
    struct problem_place place; /* of the value */
};

static enum place_verdict PRINTF_LIKE(3, 4)
    refuse(const struct target *t, const char *suggestion, const char *fmt, ...)
{
    char text[600];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    problems_add(t->r->problems, PROBLEM_ERROR, t->place, suggestion, "'%s' %s", t->key->name,
                 text);
    return PLACE_REFUSED;
}

static struct problem_place place_at(const struct reader *r, uint32_t line, uint32_t column)
{
    return (struct problem_place){.file = r->config->path, .line = line, .column = column};
}

static void store(const struct target *t, int64_t value)
{
    switch (t->key->size) {
    case sizeof(uint16_t):
        *(uint16_t *)t->field = (uint16_t)value;
        return;
    case sizeof(uint32_t):
        *(uint32_t *)t->field = (uint32_t)value;
        return;
    case sizeof(uint64_t):
        *(uint64_t *)t->field = (uint64_t)value;
        return;
    default:
        assert(false); /* the schema has no field of that size */
    }
}

static enum place_verdict set_integer(const struct target *t, int64_t value)
{
    if (value < t->key->min || value > t->key->max)
        return refuse(t, NULL, "must be %" PRId64 " to %" PRId64 ", not %" PRId64, t->key->min,
                      t->key->max, value);
    store(t, value * t->key->scale);
    return PLACE_GOOD;
}

static enum place_verdict set_word(const struct target *t, const char *text)
{
    char accepted[200];
    char suggestion[100];

    for (const struct schema_word *word = t->key->words; word->word != NULL; word++) {
        if (strcmp(word->word, text) == 0) {
            store(t, word->value);
            return PLACE_GOOD;
        }
    }
    const char *nearest = schema_suggest_word(t->key, text);
    if (nearest != NULL)
        snprintf(suggestion, sizeof(suggestion), "did you mean \"%s\"?", nearest);
    schema_accepts(t->key, accepted, sizeof(accepted));
    return refuse(t, nearest != NULL ? suggestion : NULL, "must be one of %s, not \"%.80s\"",
                  accepted, text);
}

static enum place_verdict set_string(const struct target *t, const char *text)
{
    *(const char **)t->field = arena_copy(t->r->arena, text);
    return PLACE_GOOD;
}

static enum place_verdict set_name(const struct target *t, const char *text)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789.-_";
    size_t len = strlen(text);

    if (len == 0 || len > SERVICE_NAME_MAX || strspn(text, alphabet) != len)
        return refuse(t, NULL, "must be 1 to 63 letters, digits, '.', '-' or '_', not \"%.80s\"",
                      text);
    return set_string(t, text);
}

static enum place_verdict set_address(const struct target *t, const char *text)
{
    if (host_is_address(text))
        return set_string(t, text);
    return refuse(
        t, host_is_name(text) ? "give the address itself, or 0.0.0.0 or :: for all of them" : NULL,
        "must be an IP address, not \"%.80s\"", text);
}

/* NULL when text is an IP address or a host name, else what is wrong with it. */
static const char *host_fault(const char *text)
{
    if (host_is_address(text) || host_is_name(text))
        return NULL;
    if (text[0] == '[')
        return "write an IPv6 address without brackets";
    if (strstr(text, "://") != NULL)
        return "give the host alone, without a scheme";
    if (strchr(text, ':') != NULL)
        return "give the host alone; the port has a key of its own";
    return "check its spelling";
}

static enum place_verdict check_host(const struct target *t, const char *text)
{
    const char *fault = host_fault(text);

    if (fault == NULL)
        return PLACE_GOOD;
    return refuse(t, fault, "must be an IP address or a host name, not \"%.80s\"", text);
}

static enum place_verdict set_host(const struct target *t, const char *text)
{
    return check_host(t, text) == PLACE_GOOD ? set_string(t, text) : PLACE_REFUSED;
}

static enum place_verdict set_only_host(const struct target *t, const char *text)
{
    struct config_strings *hosts = t->field;

    if (check_host(t, text) != PLACE_GOOD)
        return PLACE_REFUSED;
    hosts->items = arena_alloc(t->r->arena, 1, sizeof(*hosts->items));
    hosts->items[0] = arena_copy(t->r->arena, text);
    hosts->count = 1;
    return PLACE_GOOD;
}

/* A relative path starts at the configuration file's folder; "" is no path. */
static enum place_verdict set_path(const struct target *t, const char *text)
{
    const char *config_path = t->r->config->path;
    const char *slash = strrchr(config_path, '/');
    char path[PATH_MAX];

    if (text[0] == 0) {
        *(const char **)t->field = NULL;
        return PLACE_GOOD;
    }
    if (text[0] == '/' || slash == NULL)
        return set_string(t, text);
    int len =
        snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - config_path), config_path, text);
    if (len < 0 || (size_t)len >= sizeof(path))
        return refuse(t, NULL, "is a path of more than %d bytes", PATH_MAX - 1);
    return set_string(t, path);
}

/* Values of any type but arrays, from text: defaults, options, strings of the file. */
static enum place_verdict set_from_text(const struct target *t, const char *text)
{
    char accepted[200];
    char *end;

    switch (t->key->type) {
    case SCHEMA_BOOLEAN:
        *(bool *)t->field = strcmp(text, "true") == 0;
        return PLACE_GOOD;
    case SCHEMA_INTEGER:
        errno = 0;
        int64_t value = strtoll(text, &end, 10);
        if (text[0] == 0 || strspn(text, "-0123456789") != strlen(text) || *end != 0 ||
            errno != 0) {
            schema_accepts(t->key, accepted, sizeof(accepted));
            return refuse(t, NULL, "must be a whole number, %s, not \"%.80s\"", accepted, text);
        }
        return set_integer(t, value);
    case SCHEMA_WORD:
        return set_word(t, text);
    case SCHEMA_TEXT:
        return set_string(t, text);
    case SCHEMA_NAME:
        return set_name(t, text);
    case SCHEMA_ADDRESS:
        return set_address(t, text);
    case SCHEMA_HOST:
        return set_host(t, text);
    case SCHEMA_HOSTS:
        return set_only_host(t, text);
    case SCHEMA_PATH:
        return set_path(t, text);
    case SCHEMA_RANGES:
    case SCHEMA_PATTERNS:
        break;
    }
    assert(false); /* arrays have no text form */
    return PLACE_REFUSED;
}

bool reader_check(const struct reader *reader, const struct schema_key *key, const char *text)
{
    uint64_t field[4] = {0}; /* room for any type's */
    const struct target t = {.r = reader, .key = key, .field = field};

    return set_from_text(&t, text) == PLACE_GOOD;
}

static bool is_string_fit(const struct target *t, const struct toml_node *node)
{
    size_t max = t->key->type == SCHEMA_PATH ? PATH_MAX - 1 : TEXT_MAX;

    if (node->string_len > max) {
        refuse(t, NULL, "is a string of more than %zu bytes", max);
        return false;
    }
    if (strlen(node->string) != node->string_len) {
        refuse(t, NULL, "is a string with a NUL character in it");
        return false;
    }
    return true;
}

/* Checks that the node is an array of strings, each fit; the place of each problem is its own. */
static bool is_string_array(const struct target *t, const struct toml_node *node, size_t max)
{
    bool is_good = true;

    if (node->type != TOML_ARRAY) {
        refuse(t, node->type == TOML_STRING ? "put it in brackets: [\"...\"]" : NULL,
               "must be an array of strings, not %s", toml_type_name(node->type));
        return false;
    }
    if (node->child_count > max) {
        refuse(t, NULL, "has more than %zu elements", max);
        return false;
    }
    for (size_t i = 0; i < node->child_count; i++) {
        const struct toml_node *child = &node->children[i];
        struct target element = *t;

        element.place = place_at(t->r, child->line, child->column);
        if (child->type != TOML_STRING) {
            refuse(&element, "put it in quotes", "must hold strings only, not %s",
                   toml_type_name(child->type));
            is_good = false;
        } else if (!is_string_fit(&element, child)) {
            is_good = false;
        }
    }
    return is_good;
}

static enum place_verdict set_ranges(const struct target *t, const struct toml_node *node)
{
    struct cidr_list *list = t->field;
    enum place_verdict verdict = PLACE_GOOD;

    if (!is_string_array(t, node, RANGES_MAX))
        return PLACE_REFUSED;
    list->items = arena_alloc(t->r->arena, node->child_count, sizeof(*list->items));
    list->count = node->child_count;
    for (size_t i = 0; i < node->child_count; i++) {
        const struct toml_node *child = &node->children[i];
        struct target element = *t;
        struct err_detail detail;
        char corrected[CIDR_TEXT_MAX];
        char suggestion[CIDR_TEXT_MAX + 20];

        if (cidr_parse(&list->items[i], child->string, &detail) == ERR_OK)
            continue;
        element.place = place_at(t->r, child->line, child->column);
        bool is_correctable = list->items[i].family != AF_UNSPEC;
        if (is_correctable) {
            cidr_format(&list->items[i], corrected);
            snprintf(suggestion, sizeof(suggestion), "write \"%s\"", corrected);
        }
        verdict = refuse(&element, is_correctable ? suggestion : "write it as \"192.0.2.0/24\"",
                         "has the range \"%.80s\": %.200s", child->string, detail.text);
    }
    return verdict;
}

static const char *pattern_fault(const char *text)
{
    const char *star = strchr(text, '*');

    if (text[0] == 0)
        return "is an empty name";
    if (star == NULL)
        return NULL;
    if (star != text || text[1] != '.' || strchr(text + 1, '*') != NULL)
        return "may have '*' only as its whole first label, as in \"*.example.org\"";
    return NULL;
}

static enum place_verdict set_strings(const struct target *t, const struct toml_node *node,
                                      size_t max)
{
    struct config_strings *strings = t->field;
    enum place_verdict verdict = PLACE_GOOD;

    if (!is_string_array(t, node, max))
        return PLACE_REFUSED;
    if (t->key->type == SCHEMA_HOSTS && node->child_count == 0)
        return refuse(t, NULL, "is empty: at least one is needed");
    strings->items = arena_alloc(t->r->arena, node->child_count, sizeof(*strings->items));
    strings->count = node->child_count;
    for (size_t i = 0; i < node->child_count; i++) {
        const struct toml_node *child = &node->children[i];
        struct target element = *t;
        const char *fault = NULL;

        element.place = place_at(t->r, child->line, child->column);
        strings->items[i] = arena_copy(t->r->arena, child->string);
        if (t->key->type == SCHEMA_PATTERNS)
            fault = pattern_fault(child->string);
        if (fault != NULL)
            verdict = refuse(&element, NULL, "has \"%.80s\", which %s", child->string, fault);
        else if (t->key->type == SCHEMA_HOSTS && check_host(&element, child->string) != PLACE_GOOD)
            verdict = PLACE_REFUSED;
    }
    return verdict;
}

static bool is_digits(const struct toml_node *node)
{
    return node->string_len > 0 && node->string_len < 20 &&
           strspn(node->string, "0123456789") == node->string_len;
}

static enum place_verdict refuse_type(const struct target *t, const struct toml_node *node,
                                      const char *wanted)
{
    char accepted[200];
    char suggestion[200];
    bool is_quoted = node->type == TOML_STRING &&
                     (t->key->type == SCHEMA_BOOLEAN
                          ? strcmp(node->string, "true") == 0 || strcmp(node->string, "false") == 0
                          : is_digits(node));

    suggestion[0] = 0;
    if (is_quoted)
        snprintf(suggestion, sizeof(suggestion), "write %s = %s, without quotes", t->key->name,
                 node->string);
    schema_accepts(t->key, accepted, sizeof(accepted));
    return refuse(t, suggestion[0] != 0 ? suggestion : NULL, "must be %s (%s), not %s", wanted,
                  accepted, toml_type_name(node->type));
}

static enum place_verdict set_from_node(const struct target *t, const struct toml_node *node)
{
    switch (t->key->type) {
    case SCHEMA_BOOLEAN:
        if (node->type != TOML_BOOLEAN)
            return refuse_type(t, node, "a boolean");
        *(bool *)t->field = node->boolean;
        return PLACE_GOOD;
    case SCHEMA_INTEGER:
        if (node->type != TOML_INTEGER)
            return refuse_type(t, node, "an integer");
        return set_integer(t, node->integer);
    case SCHEMA_RANGES:
        return set_ranges(t, node);
    case SCHEMA_PATTERNS:
        return set_strings(t, node, RANGES_MAX);
    case SCHEMA_HOSTS:
        if (node->type == TOML_ARRAY)
            return set_strings(t, node, HOSTS_MAX);
        break;
    case SCHEMA_WORD:
    case SCHEMA_TEXT:
    case SCHEMA_NAME:
    case SCHEMA_ADDRESS:
    case SCHEMA_HOST:
    case SCHEMA_PATH:
        break;
    }
    if (node->type != TOML_STRING)
        return refuse_type(t, node, "a string");
    if (!is_string_fit(t, node))
        return PLACE_REFUSED;
    return set_from_text(t, node->string);
}

/* Whether the field holds what the schema gives it when nobody says anything. */
static bool is_default(const struct target *t)
{
    const char *text;
    uint64_t storage[4] = {0};
    struct target initial = {.r = t->r, .key = t->key, .field = storage};

    switch (t->key->type) {
    case SCHEMA_RANGES:
        return ((const struct cidr_list *)t->field)->count == 0;
    case SCHEMA_PATTERNS:
    case SCHEMA_HOSTS:
        return ((const struct config_strings *)t->field)->count == 0;
    case SCHEMA_TEXT:
    case SCHEMA_NAME:
    case SCHEMA_ADDRESS:
    case SCHEMA_HOST:
    case SCHEMA_PATH:
        text = *(const char **)t->field;
        if (text == NULL || t->key->initial == NULL)
            return text == t->key->initial;
        return strcmp(text, t->key->initial) == 0;
    case SCHEMA_BOOLEAN:
    case SCHEMA_INTEGER:
    case SCHEMA_WORD:
        break;
    }
    if (t->key->initial != NULL)
        (void)set_from_text(&initial, t->key->initial);
    return memcmp(storage, t->field, t->key->size) == 0;
}

/* A key that nothing acts on yet must not look as if it worked. */
static void warn_if_pending(const struct target *t)
{
    enum config_role role = schema_section(t->key->section)->role;
    char suggestion[200] = "remove it until a version that does";

    if (t->key->state != SCHEMA_PENDING || is_default(t))
        return;
    if (t->r->role != CONFIG_ROLE_ANY && role != CONFIG_ROLE_ANY && role != t->r->role)
        return;
    if (t->key->initial != NULL)
        snprintf(suggestion, sizeof(suggestion), "leave it at %s until a version that does",
                 t->key->initial);
    problems_add(t->r->problems, PROBLEM_WARNING, t->place, suggestion,
                 "'%s' is set, but this version of utun does not act on it yet", t->key->name);
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
        struct target t = {.r = r, .key = key, .place = {.file = o->option}};

        if (o->text == NULL)
            continue;
        if (r->role != CONFIG_ROLE_ANY && role != CONFIG_ROLE_ANY && role != r->role) {
            problems_add(r->problems, PROBLEM_ERROR, t.place, "remove the option",
                         "it has no meaning for a %s",
                         r->role == CONFIG_ROLE_SOURCE ? "source" : "dest");
            continue;
        }
        t.field = (char *)r->config + key->offset;
        enum place_verdict verdict = set_from_text(&t, o->text);
        places_set(r->places, o->section, 0, key->name, t.place, verdict);
        if (verdict == PLACE_GOOD)
            warn_if_pending(&t);
    }
}

static void set_defaults(const struct reader *r, enum schema_section_id section, void *base)
{
    size_t count;
    const struct schema_key *keys = schema_keys(&count);

    for (size_t i = 0; i < count; i++) {
        struct target t = {.r = r, .key = &keys[i], .field = (char *)base + keys[i].offset};

        if (keys[i].section != section || keys[i].initial == NULL)
            continue;
        enum place_verdict verdict = set_from_text(&t, keys[i].initial);
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
            struct target t = {.r = r,
                               .key = key,
                               .field = (char *)base + key->offset,
                               .place = place_at(r, node->line, node->column)};

            if (is_overridden(r, key))
                continue;
            enum place_verdict verdict = set_from_node(&t, node);
            places_set(r->places, section, index, key->name, t.place, verdict);
            if (verdict == PLACE_GOOD)
                warn_if_pending(&t);
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
    *count = node->child_count;
    for (size_t i = 0; i < node->child_count; i++) {
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

        if (schema_find_section(node->key, &section))
            read_subsection(reader, section, node);
        else
            report_unknown(reader, SCHEMA_SECTION_COUNT, node);
    }
    config->has_source = places_has(reader->places, SCHEMA_SOURCE, 0, NULL);
    config->has_dest = places_has(reader->places, SCHEMA_DEST, 0, NULL);
}
