/*
 * TOML 1.0 as a tree of plain C structs, each key and value with its line and column. Parsing is
 * done by toml++; no exception leaves toml.cpp.
 *
 * Beyond the grammar, a document is bounded, so that no text can exhaust memory or the stack:
 * see the limits below.
 */
#ifndef UTUN_CONFIG_TOML_H
#define UTUN_CONFIG_TOML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TOML_TEXT_MAX  ((size_t)1024 * 1024) /* bytes in all */
#define TOML_LINE_MAX  ((size_t)8192)        /* bytes in a line: bounds the depth of a dotted key */
#define TOML_DEPTH_MAX 16                    /* tables and arrays inside each other */
#define TOML_NODES_MAX 50000                 /* keys, tables and elements in all */

enum toml_type {
    TOML_TABLE,
    TOML_ARRAY,
    TOML_STRING,
    TOML_INTEGER,
    TOML_FLOAT,
    TOML_BOOLEAN,
    TOML_DATE, /* dates and times of every kind; the value itself is not kept */
};

/* Lines and columns count from 1, columns in code points. */
struct toml_node {
    enum toml_type type;
    uint32_t line;
    uint32_t column;
    uint32_t key_line; /* of the key in front of it; the value's own for an array's elements */
    uint32_t key_column;
    const char *key; /* UTF-8, NUL-terminated; NULL for an array's elements and the root */
    bool boolean;
    int64_t integer;
    double real;
    const char *string; /* UTF-8, NUL-terminated; may hold further NUL bytes */
    size_t string_len;
    struct toml_node *children; /* a table's values ordered by key, an array's in their order */
    size_t child_count;
};

struct toml_doc;

struct toml_error {
    uint32_t line; /* 0: about the whole text */
    uint32_t column;
    char text[400];
    const char *advice; /* what to do, static; NULL where the text says all */
};

/*
 * Parses len bytes of text. On error *out is NULL and *error (never NULL) says where and why:
 * ERR_TOO_LARGE (a limit above), ERR_CONFIG (not TOML), ERR_NOMEM.
 */
enum err toml_parse(struct toml_doc **out, const char *text, size_t len,
                    struct toml_error *error) MUST_USE;

/* The root table; lives as long as the document. */
const struct toml_node *toml_root(const struct toml_doc *doc);

/* The child of a table with that key, or NULL. */
const struct toml_node *toml_find(const struct toml_node *table, const char *key);

/* "a string", "an integer" ... Static. */
const char *toml_type_name(enum toml_type type);

/* NULL is fine. */
void toml_free(struct toml_doc *doc);

#ifdef __cplusplus
}
#endif

#endif
