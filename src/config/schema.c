#include "config/schema.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "config/spelling.h"

const struct schema_key *schema_find(enum schema_section_id section, const char *name)
{
    size_t count;
    const struct schema_key *keys = schema_keys(&count);

    for (size_t i = 0; i < count; i++) {
        if (keys[i].section == section && strcmp(keys[i].name, name) == 0)
            return &keys[i];
    }
    return NULL;
}

bool schema_find_section(const char *name, enum schema_section_id *out)
{
    for (int id = 0; id < SCHEMA_SECTION_COUNT; id++) {
        if (strcmp(schema_section((enum schema_section_id)id)->name, name) == 0) {
            *out = (enum schema_section_id)id;
            return true;
        }
    }
    return false;
}

void schema_section_header(enum schema_section_id id, char *out, size_t size)
{
    const struct schema_section *section = schema_section(id);

    snprintf(out, size, section->is_array ? "[[%s]]" : "[%s]", section->name);
}

/* The last part of a section's name: "exposed_ports". */
static const char *section_leaf(enum schema_section_id id)
{
    const char *name = schema_section(id)->name;
    const char *dot = strrchr(name, '.');

    return dot != NULL ? dot + 1 : name;
}

/* Every section that has a key, or is a table, of exactly that name: "[source] or [dest]". */
static bool suggest_home(const char *name, char *out, size_t size)
{
    char header[64];
    size_t found = 0;
    size_t len = 0;

    out[0] = 0;
    for (int i = 0; i < SCHEMA_SECTION_COUNT && len + 1 < size; i++) {
        enum schema_section_id id = (enum schema_section_id)i;

        if (schema_find(id, name) == NULL)
            continue;
        schema_section_header(id, header, sizeof(header));
        len += (size_t)snprintf(out + len, size - len, "%s%s",
                                found++ == 0 ? "it belongs in " : " or ", header);
    }
    for (int i = 0; i < SCHEMA_SECTION_COUNT && found == 0; i++) {
        enum schema_section_id id = (enum schema_section_id)i;

        if (strcmp(section_leaf(id), name) != 0)
            continue;
        schema_section_header(id, header, sizeof(header));
        snprintf(out, size, "write it as %s", header);
        found++;
    }
    return found > 0;
}

bool schema_suggest(enum schema_section_id section, const char *name, char *out, size_t size)
{
    size_t count;
    const struct schema_key *keys = schema_keys(&count);
    size_t best = spelling_tolerance(name) + 1;
    char header[64];

    if (suggest_home(name, out, size))
        return true;
    /* The same section's keys come first: elsewhere a name must be strictly nearer. */
    for (int elsewhere = 0; elsewhere <= 1; elsewhere++) {
        for (size_t i = 0; i < count; i++) {
            size_t distance = spelling_distance(name, keys[i].name);

            if ((keys[i].section != section) != (elsewhere == 1) || distance >= best)
                continue;
            best = distance;
            if (elsewhere == 0) {
                snprintf(out, size, "did you mean '%s'?", keys[i].name);
            } else {
                schema_section_header(keys[i].section, header, sizeof(header));
                snprintf(out, size, "did you mean '%s', which belongs in %s?", keys[i].name,
                         header);
            }
        }
    }
    for (int i = 0; i < SCHEMA_SECTION_COUNT; i++) {
        enum schema_section_id id = (enum schema_section_id)i;
        size_t distance = spelling_distance(name, section_leaf(id));
        size_t whole = spelling_distance(name, schema_section(id)->name);

        if (whole < distance)
            distance = whole;
        if (distance >= best)
            continue;
        best = distance;
        schema_section_header(id, header, sizeof(header));
        snprintf(out, size, "did you mean %s?", header);
    }
    return out[0] != 0;
}

const char *schema_suggest_word(const struct schema_key *key, const char *word)
{
    size_t best = spelling_tolerance(word) + 1;
    const char *nearest = NULL;

    for (const struct schema_word *known = key->words; known->word != NULL; known++) {
        size_t distance = spelling_distance(word, known->word);

        if (strncasecmp(word, known->word, strlen(known->word)) == 0 && distance > 1)
            distance = 1; /* "warning" for "warn" */
        if (distance < best) {
            best = distance;
            nearest = known->word;
        }
    }
    return nearest;
}

void schema_accepts(const struct schema_key *key, char *out, size_t size)
{
    size_t len = 0;

    out[0] = 0;
    switch (key->type) {
    case SCHEMA_BOOLEAN:
        snprintf(out, size, "true or false");
        break;
    case SCHEMA_INTEGER:
        snprintf(out, size, "%" PRId64 " to %" PRId64, key->min, key->max);
        break;
    case SCHEMA_WORD:
        for (const struct schema_word *word = key->words; word->word != NULL && len < size; word++)
            len += (size_t)snprintf(out + len, size - len, "%s\"%s\"", len > 0 ? ", " : "",
                                    word->word);
        break;
    case SCHEMA_TEXT:
        snprintf(out, size, "text");
        break;
    case SCHEMA_NAME:
        snprintf(out, size, "1 to 63 letters, digits, '.', '-', '_'");
        break;
    case SCHEMA_ADDRESS:
        snprintf(out, size, "IP address");
        break;
    case SCHEMA_HOST:
        snprintf(out, size, "IP address or host name");
        break;
    case SCHEMA_HOSTS:
        snprintf(out, size, "IP address or host name, or an array of them");
        break;
    case SCHEMA_PATH:
        snprintf(out, size, "file");
        break;
    case SCHEMA_RANGES:
        snprintf(out, size, "array of CIDR ranges");
        break;
    case SCHEMA_PATTERNS:
        snprintf(out, size, "array of names");
        break;
    }
}

static void document_default(FILE *out, const struct schema_key *key)
{
    switch (key->type) {
    case SCHEMA_RANGES:
    case SCHEMA_PATTERNS:
        fputs("`[]`", out);
        return;
    case SCHEMA_BOOLEAN:
    case SCHEMA_INTEGER:
    case SCHEMA_WORD:
    case SCHEMA_TEXT:
    case SCHEMA_NAME:
    case SCHEMA_ADDRESS:
    case SCHEMA_HOST:
    case SCHEMA_HOSTS:
    case SCHEMA_PATH:
        break;
    }
    if (key->is_required)
        fputs("required", out);
    else if (key->initial == NULL)
        fputs(key->initial_note, out);
    else if (key->type == SCHEMA_INTEGER || key->type == SCHEMA_BOOLEAN)
        fprintf(out, "`%s`", key->initial);
    else
        fprintf(out, "`\"%s\"`", key->initial);
}

static const char *state_note(const struct schema_key *key)
{
    if (key->state == SCHEMA_READY)
        return "";
    return key->type == SCHEMA_WORD ? " *(Only the default works in this version.)*"
                                    : " *(Checked, not acted on yet.)*";
}

static const char *effect_text(enum schema_effect effect)
{
    switch (effect) {
    case SCHEMA_LIVE:
        return "at once";
    case SCHEMA_NEXT:
        return "next session";
    case SCHEMA_RESTART:
        return "restart";
    case SCHEMA_EFFECT_NONE:
        break;
    }
    return "?";
}

void schema_document(FILE *out)
{
    size_t count;
    const struct schema_key *keys = schema_keys(&count);
    char text[200];

    for (int i = 0; i < SCHEMA_SECTION_COUNT; i++) {
        enum schema_section_id id = (enum schema_section_id)i;

        schema_section_header(id, text, sizeof(text));
        fprintf(out, "%s### `%s`\n\n%s\n\n", i > 0 ? "\n" : "", text, schema_section(id)->meaning);
        fputs("| key | accepts | default | since | a change acts | meaning "
              "|\n|---|---|---|---|---|---|\n",
              out);
        for (size_t k = 0; k < count; k++) {
            if (keys[k].section != id)
                continue;
            schema_accepts(&keys[k], text, sizeof(text));
            fprintf(out, "| `%s` | %s | ", keys[k].name, text);
            document_default(out, &keys[k]);
            fprintf(out, " | %s | %s | %s%s |\n", keys[k].since, effect_text(keys[k].effect),
                    keys[k].meaning, state_note(&keys[k]));
        }
    }
}
