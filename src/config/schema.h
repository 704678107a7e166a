/*
 * The one table of every configuration section and key. Parsing, suggestions, the reference in
 * docs/CONFIGURATION.md and the list printed by `utun check --keys` all derive from it; a key is
 * added by adding a row (and a field in config.h), nowhere else.
 */
#ifndef UTUN_CONFIG_SCHEMA_H
#define UTUN_CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "config/config.h"

enum schema_type {
    SCHEMA_BOOLEAN,
    SCHEMA_INTEGER,  /* min..max; the field holds value x scale */
    SCHEMA_WORD,     /* one of words; the field holds its value */
    SCHEMA_TEXT,     /* any string */
    SCHEMA_NAME,     /* a service's name */
    SCHEMA_ADDRESS,  /* an IP address */
    SCHEMA_HOST,     /* an IP address or a host name */
    SCHEMA_HOSTS,    /* the same, or an array of them */
    SCHEMA_PATH,     /* a file; relative to the configuration file's folder */
    SCHEMA_RANGES,   /* an array of CIDR ranges */
    SCHEMA_PATTERNS, /* an array of certificate names, perhaps with wildcards */
};

enum schema_section_id {
    SCHEMA_SOURCE,
    SCHEMA_ALLOWED_OUTBOUND,
    SCHEMA_EXPOSED_PORTS,
    SCHEMA_DEST,
    SCHEMA_EXPOSED_SERVICES,
    SCHEMA_CONNECTION_FILTER,
    SCHEMA_ALLOWED_TARGETS,
    SCHEMA_AUTH,
    SCHEMA_CRYPTO,
    SCHEMA_SECURITY,
    SCHEMA_LOGGING,
    SCHEMA_METRICS,
    SCHEMA_SECTION_COUNT,
};

enum schema_state {
    SCHEMA_READY,
    SCHEMA_PENDING, /* checked, but nothing acts on it yet: a value other than the default warns */
};

/* When a value takes effect that is another after a reload (role/reloader.h). */
enum schema_effect {
    SCHEMA_EFFECT_NONE, /* no row has it: each has to say */
    SCHEMA_LIVE,        /* at once, also for streams that run, where it is about them */
    SCHEMA_NEXT,        /* in sessions whose handshake begins from then on */
    SCHEMA_RESTART,     /* not before a restart */
};

struct schema_word {
    const char *word;
    int value;
};

struct schema_key {
    enum schema_section_id section;
    const char *name;
    enum schema_type type;
    const char *initial;      /* the default as a string without quotes; NULL: none */
    const char *initial_note; /* stands for the default in the documentation where it varies */
    bool is_required;
    enum schema_state state;
    enum schema_effect effect;
    int64_t min;
    int64_t max;
    int64_t scale;
    const struct schema_word *words; /* ends with a NULL word */
    size_t offset;                   /* of the field: in struct config, or in an array's item */
    size_t size;                     /* of the field */
    const char *since;
    const char *meaning; /* Markdown, one line */
};

struct schema_section {
    const char *name;      /* "source.exposed_ports" */
    enum config_role role; /* whose it is; CONFIG_ROLE_ANY: both roles' */
    bool is_array;         /* [[name]] */
    size_t items_offset;   /* an array's pointer and count in struct config, and its item's size */
    size_t count_offset;
    size_t item_size;
    const char *meaning;
};

const struct schema_section *schema_section(enum schema_section_id id);

/* Rows of a section stand together, in the order in which people read them. */
const struct schema_key *schema_keys(size_t *count);

/* NULL when there is none of that name in the section. */
const struct schema_key *schema_find(enum schema_section_id section, const char *name);

/* True and *out when name ("source.exposed_ports") is a section. */
bool schema_find_section(const char *name, enum schema_section_id *out);

/* The section as it is written in a file: "[source]" or "[[source.exposed_ports]]". */
void schema_section_header(enum schema_section_id id, char *out, size_t size);

/*
 * What to say about a key that its section does not know: where it belongs, or what it was probably
 * meant to be. section is SCHEMA_SECTION_COUNT at the top level of the file. Returns false, and an
 * empty text, when nothing known is near.
 */
bool schema_suggest(enum schema_section_id section, const char *name, char *out, size_t size);

/* The nearest of the row's words, or NULL. */
const char *schema_suggest_word(const struct schema_key *key, const char *word);

/* Writes "1 to 65535", "`tcp`, `udp`, `both`", "IP address" ...: what the key accepts. */
void schema_accepts(const struct schema_key *key, char *out, size_t size);

/* Writes the reference of all sections and keys as Markdown. */
void schema_document(FILE *out);

#endif
