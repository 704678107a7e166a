#include "cli/config_view.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "config/cidr.h"
#include "config/effective.h"
#include "ops/json_text.h"

#define ORIGIN_COLUMN 52

/* -- for people -- */

static void print_origin(FILE *out, const struct effective *e)
{
    const char *slash;

    switch (e->origin) {
    case EFFECTIVE_DEFAULT:
        fprintf(out, effective_is_set(e) ? "default\n" : "not set\n");
        return;
    case EFFECTIVE_FILE:
        slash = strrchr(e->place.file, '/');
        fprintf(out, "%s:%u:%u\n", slash != NULL ? slash + 1 : e->place.file, e->place.line,
                e->place.column);
        return;
    case EFFECTIVE_OPTION:
        fprintf(out, "%s\n", e->place.file);
        return;
    }
}

static void print_key(FILE *out, const struct effective *e)
{
    char *text = NULL;
    size_t len = 0;
    FILE *memory = open_memstream(&text, &len);

    if (memory == NULL)
        return;
    fprintf(memory, "  %s = ", e->key->name);
    if (effective_is_set(e))
        effective_print(memory, e);
    else
        fputc('-', memory);
    fclose(memory);
    fprintf(out, "%-*s  ", ORIGIN_COLUMN, text);
    print_origin(out, e);
    free(text);
}

void config_view_print(FILE *out, const struct config *config, enum config_role role)
{
    struct effective e = effective_begin(config, role);
    enum schema_section_id section = SCHEMA_SECTION_COUNT;
    size_t index = 0;
    char header[64];

    while (effective_next(&e)) {
        if (e.section != section || e.index != index) {
            schema_section_header(e.section, header, sizeof(header));
            fprintf(out, "%s%s\n", section != SCHEMA_SECTION_COUNT ? "\n" : "", header);
            section = e.section;
            index = e.index;
        }
        print_key(out, &e);
    }
}

/* -- JSON -- */

static json_t *json_ranges(const struct cidr_list *list)
{
    json_t *array = json_array();
    char text[CIDR_TEXT_MAX];

    for (size_t i = 0; i < list->count; i++) {
        cidr_format(&list->items[i], text);
        json_array_append_new(array, json_string(text));
    }
    return array;
}

static json_t *json_strings(const struct config_strings *strings)
{
    json_t *array = json_array();

    for (size_t i = 0; i < strings->count; i++)
        json_array_append_new(array, json_text(strings->items[i]));
    return array;
}

static json_t *json_value(const struct effective *e)
{
    if (!effective_is_set(e))
        return json_null();
    switch (e->key->type) {
    case SCHEMA_BOOLEAN:
        return json_boolean(*(const bool *)e->field);
    case SCHEMA_INTEGER:
        return json_integer(effective_integer(e));
    case SCHEMA_WORD:
        return json_string(effective_word(e));
    case SCHEMA_RANGES:
        return json_ranges(e->field);
    case SCHEMA_HOSTS:
    case SCHEMA_PATTERNS:
        return json_strings(e->field);
    case SCHEMA_TEXT:
    case SCHEMA_NAME:
    case SCHEMA_ADDRESS:
    case SCHEMA_HOST:
    case SCHEMA_PATH:
        break;
    }
    return json_text(*(const char *const *)e->field);
}

static json_t *json_setting(const struct effective *e)
{
    const struct schema_section *section = schema_section(e->section);
    json_t *setting = json_pack("{s:s, s:s, s:o}", "section", section->name, "key", e->key->name,
                                "value", json_value(e));

    if (section->is_array)
        json_object_set_new(setting, "index", json_integer((json_int_t)e->index));
    switch (e->origin) {
    case EFFECTIVE_DEFAULT:
        json_object_set_new(setting, "from", json_string("default"));
        break;
    case EFFECTIVE_FILE:
        json_object_set_new(setting, "from", json_string("file"));
        json_object_set_new(setting, "line", json_integer(e->place.line));
        json_object_set_new(setting, "column", json_integer(e->place.column));
        break;
    case EFFECTIVE_OPTION:
        json_object_set_new(setting, "from", json_string("option"));
        json_object_set_new(setting, "option", json_string(e->place.file));
        break;
    }
    return setting;
}

static json_t *json_problem(const struct problem *p)
{
    json_t *problem =
        json_pack("{s:s, s:o, s:o}", "level", p->level == PROBLEM_ERROR ? "error" : "warning",
                  "text", json_text(p->text), "suggestion",
                  p->suggestion != NULL ? json_text(p->suggestion) : json_null());

    if (p->line > 0) {
        json_object_set_new(problem, "line", json_integer(p->line));
        json_object_set_new(problem, "column", json_integer(p->column));
    } else if (p->file != NULL && p->file[0] == '-') {
        json_object_set_new(problem, "option", json_string(p->file));
    }
    return problem;
}

void config_view_json(FILE *out, const char *path, const struct config *config,
                      enum config_role role, struct problems *problems)
{
    json_t *list = json_array();
    json_t *settings = json_array();
    json_t *all;

    for (size_t i = 0; i < problems_count(problems); i++)
        json_array_append_new(list, json_problem(problems_at(problems, i)));
    if (config != NULL) {
        struct effective e = effective_begin(config, role);

        while (effective_next(&e))
            json_array_append_new(settings, json_setting(&e));
    }
    all = json_pack("{s:o, s:b, s:o, s:o}", "file", json_text(path), "good", config != NULL,
                    "problems", list, "settings", settings);
    json_dumpf(all, out, JSON_INDENT(2));
    fputc('\n', out);
    json_decref(all);
}
