#include "config/value.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/cidr.h"
#include "config/host.h"

#define RANGES_MAX       10000 /* elements of an array */
#define HOSTS_MAX        16
#define TEXT_MAX         1024
#define SERVICE_NAME_MAX 63

static enum place_verdict PRINTF_LIKE(3, 4)
    refuse(const struct value *v, const char *suggestion, const char *fmt, ...)
{
    char text[600];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    problems_add(v->problems, PROBLEM_ERROR, v->place, suggestion, "'%s' %s", v->key->name, text);
    return PLACE_REFUSED;
}

/* Of an array's element, in the file of the whole array. */
static struct problem_place place_of(const struct value *v, const struct toml_node *element)
{
    return (struct problem_place){
        .file = v->place.file, .line = element->line, .column = element->column};
}

static void store(const struct value *v, int64_t value)
{
    switch (v->key->size) {
    case sizeof(uint16_t):
        *(uint16_t *)v->field = (uint16_t)value;
        return;
    case sizeof(uint32_t):
        *(uint32_t *)v->field = (uint32_t)value;
        return;
    case sizeof(uint64_t):
        *(uint64_t *)v->field = (uint64_t)value;
        return;
    default:
        assert(false); /* the schema has no field of that size */
    }
}

static enum place_verdict set_integer(const struct value *v, int64_t value)
{
    if (value < v->key->min || value > v->key->max)
        return refuse(v, NULL, "must be %" PRId64 " to %" PRId64 ", not %" PRId64, v->key->min,
                      v->key->max, value);
    store(v, value * v->key->scale);
    return PLACE_GOOD;
}

static enum place_verdict set_word(const struct value *v, const char *text)
{
    char accepted[200];
    char suggestion[100];

    for (const struct schema_word *word = v->key->words; word->word != NULL; word++) {
        if (strcmp(word->word, text) == 0) {
            store(v, word->value);
            return PLACE_GOOD;
        }
    }
    const char *nearest = schema_suggest_word(v->key, text);
    if (nearest != NULL)
        snprintf(suggestion, sizeof(suggestion), "did you mean \"%s\"?", nearest);
    schema_accepts(v->key, accepted, sizeof(accepted));
    return refuse(v, nearest != NULL ? suggestion : NULL, "must be one of %s, not \"%.80s\"",
                  accepted, text);
}

static enum place_verdict set_string(const struct value *v, const char *text)
{
    *(const char **)v->field = arena_copy(v->arena, text);
    return PLACE_GOOD;
}

static enum place_verdict set_name(const struct value *v, const char *text)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789.-_";
    size_t len = strlen(text);

    if (len == 0 || len > SERVICE_NAME_MAX || strspn(text, alphabet) != len)
        return refuse(v, NULL, "must be 1 to 63 letters, digits, '.', '-' or '_', not \"%.80s\"",
                      text);
    return set_string(v, text);
}

static enum place_verdict set_address(const struct value *v, const char *text)
{
    if (host_is_address(text))
        return set_string(v, text);
    return refuse(
        v, host_is_name(text) ? "give the address itself, or 0.0.0.0 or :: for all of them" : NULL,
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

static enum place_verdict check_host(const struct value *v, const char *text)
{
    const char *fault = host_fault(text);

    if (fault == NULL)
        return PLACE_GOOD;
    return refuse(v, fault, "must be an IP address or a host name, not \"%.80s\"", text);
}

static enum place_verdict set_host(const struct value *v, const char *text)
{
    return check_host(v, text) == PLACE_GOOD ? set_string(v, text) : PLACE_REFUSED;
}

static enum place_verdict set_only_host(const struct value *v, const char *text)
{
    struct config_strings *hosts = v->field;

    if (check_host(v, text) != PLACE_GOOD)
        return PLACE_REFUSED;
    hosts->items = arena_alloc(v->arena, 1, sizeof(*hosts->items));
    if (hosts->items == NULL)
        return PLACE_GOOD;
    hosts->items[0] = arena_copy(v->arena, text);
    hosts->count = 1;
    return PLACE_GOOD;
}

/* A relative path starts at the configuration file's folder; "" is no path. */
static enum place_verdict set_path(const struct value *v, const char *text)
{
    const char *config_path = v->config_path;
    const char *slash = strrchr(config_path, '/');
    char path[PATH_MAX];

    if (text[0] == 0) {
        *(const char **)v->field = NULL;
        return PLACE_GOOD;
    }
    if (text[0] == '/' || slash == NULL)
        return set_string(v, text);
    int len =
        snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - config_path), config_path, text);
    if (len < 0 || (size_t)len >= sizeof(path))
        return refuse(v, NULL, "is a path of more than %d bytes", PATH_MAX - 1);
    return set_string(v, path);
}

enum place_verdict value_from_text(const struct value *v, const char *text)
{
    char accepted[200];
    char *end;

    switch (v->key->type) {
    case SCHEMA_BOOLEAN:
        *(bool *)v->field = strcmp(text, "true") == 0;
        return PLACE_GOOD;
    case SCHEMA_INTEGER:
        errno = 0;
        int64_t value = strtoll(text, &end, 10);
        if (text[0] == 0 || strspn(text, "-0123456789") != strlen(text) || *end != 0 ||
            errno != 0) {
            schema_accepts(v->key, accepted, sizeof(accepted));
            return refuse(v, NULL, "must be a whole number, %s, not \"%.80s\"", accepted, text);
        }
        return set_integer(v, value);
    case SCHEMA_WORD:
        return set_word(v, text);
    case SCHEMA_TEXT:
        return set_string(v, text);
    case SCHEMA_NAME:
        return set_name(v, text);
    case SCHEMA_ADDRESS:
        return set_address(v, text);
    case SCHEMA_HOST:
        return set_host(v, text);
    case SCHEMA_HOSTS:
        return set_only_host(v, text);
    case SCHEMA_PATH:
        return set_path(v, text);
    case SCHEMA_RANGES:
    case SCHEMA_PATTERNS:
        break;
    }
    assert(false); /* arrays have no text form */
    return PLACE_REFUSED;
}

static bool is_string_fit(const struct value *v, const struct toml_node *node)
{
    size_t max = v->key->type == SCHEMA_PATH ? PATH_MAX - 1 : TEXT_MAX;

    if (node->string_len > max) {
        refuse(v, NULL, "is a string of more than %zu bytes", max);
        return false;
    }
    if (strlen(node->string) != node->string_len) {
        refuse(v, NULL, "is a string with a NUL character in it");
        return false;
    }
    return true;
}

/* Checks that the node is an array of strings, each fit; the place of each problem is its own. */
static bool is_string_array(const struct value *v, const struct toml_node *node, size_t max)
{
    bool is_good = true;

    if (node->type != TOML_ARRAY) {
        refuse(v, node->type == TOML_STRING ? "put it in brackets: [\"...\"]" : NULL,
               "must be an array of strings, not %s", toml_type_name(node->type));
        return false;
    }
    if (node->child_count > max) {
        refuse(v, NULL, "has more than %zu elements", max);
        return false;
    }
    for (size_t i = 0; i < node->child_count; i++) {
        const struct toml_node *child = &node->children[i];
        struct value element = *v;

        element.place = place_of(v, child);
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

static enum place_verdict set_ranges(const struct value *v, const struct toml_node *node)
{
    struct cidr_list *list = v->field;
    enum place_verdict verdict = PLACE_GOOD;

    if (!is_string_array(v, node, RANGES_MAX))
        return PLACE_REFUSED;
    list->items = arena_alloc(v->arena, node->child_count, sizeof(*list->items));
    list->count = list->items != NULL ? node->child_count : 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct toml_node *child = &node->children[i];
        struct value element = *v;
        struct err_detail detail;
        char corrected[CIDR_TEXT_MAX];
        char suggestion[CIDR_TEXT_MAX + 20];

        if (cidr_parse(&list->items[i], child->string, &detail) == ERR_OK)
            continue;
        element.place = place_of(v, child);
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

static enum place_verdict set_strings(const struct value *v, const struct toml_node *node,
                                      size_t max)
{
    struct config_strings *strings = v->field;
    enum place_verdict verdict = PLACE_GOOD;

    if (!is_string_array(v, node, max))
        return PLACE_REFUSED;
    if (v->key->type == SCHEMA_HOSTS && node->child_count == 0)
        return refuse(v, NULL, "is empty: at least one is needed");
    strings->items = arena_alloc(v->arena, node->child_count, sizeof(*strings->items));
    strings->count = strings->items != NULL ? node->child_count : 0;
    for (size_t i = 0; i < strings->count; i++) {
        const struct toml_node *child = &node->children[i];
        struct value element = *v;
        const char *fault = NULL;

        element.place = place_of(v, child);
        strings->items[i] = arena_copy(v->arena, child->string);
        if (v->key->type == SCHEMA_PATTERNS)
            fault = pattern_fault(child->string);
        if (fault != NULL)
            verdict = refuse(&element, NULL, "has \"%.80s\", which %s", child->string, fault);
        else if (v->key->type == SCHEMA_HOSTS && check_host(&element, child->string) != PLACE_GOOD)
            verdict = PLACE_REFUSED;
    }
    return verdict;
}

static bool is_digits(const struct toml_node *node)
{
    return node->string_len > 0 && node->string_len < 20 &&
           strspn(node->string, "0123456789") == node->string_len;
}

static enum place_verdict refuse_type(const struct value *v, const struct toml_node *node,
                                      const char *wanted)
{
    char accepted[200];
    char suggestion[200];
    bool is_quoted = node->type == TOML_STRING &&
                     (v->key->type == SCHEMA_BOOLEAN
                          ? strcmp(node->string, "true") == 0 || strcmp(node->string, "false") == 0
                          : is_digits(node));

    suggestion[0] = 0;
    if (is_quoted)
        snprintf(suggestion, sizeof(suggestion), "write %s = %s, without quotes", v->key->name,
                 node->string);
    schema_accepts(v->key, accepted, sizeof(accepted));
    return refuse(v, suggestion[0] != 0 ? suggestion : NULL, "must be %s (%s), not %s", wanted,
                  accepted, toml_type_name(node->type));
}

enum place_verdict value_from_node(const struct value *v, const struct toml_node *node)
{
    switch (v->key->type) {
    case SCHEMA_BOOLEAN:
        if (node->type != TOML_BOOLEAN)
            return refuse_type(v, node, "a boolean");
        *(bool *)v->field = node->boolean;
        return PLACE_GOOD;
    case SCHEMA_INTEGER:
        if (node->type != TOML_INTEGER)
            return refuse_type(v, node, "an integer");
        return set_integer(v, node->integer);
    case SCHEMA_RANGES:
        return set_ranges(v, node);
    case SCHEMA_PATTERNS:
        return set_strings(v, node, RANGES_MAX);
    case SCHEMA_HOSTS:
        if (node->type == TOML_ARRAY)
            return set_strings(v, node, HOSTS_MAX);
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
        return refuse_type(v, node, "a string");
    if (!is_string_fit(v, node))
        return PLACE_REFUSED;
    return value_from_text(v, node->string);
}

bool value_is_default(const struct value *v)
{
    const char *text;
    uint64_t storage[4] = {0};
    struct value initial = *v;

    initial.field = storage;
    switch (v->key->type) {
    case SCHEMA_RANGES:
        return ((const struct cidr_list *)v->field)->count == 0;
    case SCHEMA_PATTERNS:
    case SCHEMA_HOSTS:
        return ((const struct config_strings *)v->field)->count == 0;
    case SCHEMA_TEXT:
    case SCHEMA_NAME:
    case SCHEMA_ADDRESS:
    case SCHEMA_HOST:
    case SCHEMA_PATH:
        text = *(const char **)v->field;
        if (text == NULL || v->key->initial == NULL)
            return text == v->key->initial;
        return strcmp(text, v->key->initial) == 0;
    case SCHEMA_BOOLEAN:
    case SCHEMA_INTEGER:
    case SCHEMA_WORD:
        break;
    }
    if (v->key->initial != NULL && value_from_text(&initial, v->key->initial) != PLACE_GOOD)
        return false;
    return memcmp(storage, v->field, v->key->size) == 0;
}
