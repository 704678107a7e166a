/*
 * What a configuration that was read anew would change in the one that is in use, key by key, and
 * when that can take effect (the schema's column `effect`).
 */
#ifndef UTUN_CONFIG_CHANGES_H
#define UTUN_CONFIG_CHANGES_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "config/schema.h"

/* Above the number of keys, so that all of them fit. */
#define CONFIG_CHANGES_MAX 128

struct config_change {
    /* An array of tables counts as one: then the key is "" and the section is all of it. */
    enum schema_section_id section;
    const char *key;
    enum schema_effect effect;
};

/* In the schema's order. */
struct config_changes {
    struct config_change items[CONFIG_CHANGES_MAX];
    size_t count;
};

/* Of the sections that the role has; it is not CONFIG_ROLE_ANY. */
void config_compare(struct config_changes *out, const struct config *old,
                    const struct config *fresh, enum config_role role);

bool config_changes_has(const struct config_changes *changes, enum schema_section_id section,
                        const char *key);

/*
 * The names of those with that effect, "source.workers, source.listen_ip", cut where they do not
 * fit. Returns how many there are.
 */
size_t config_changes_list(const struct config_changes *changes, enum schema_effect effect,
                           char *out, size_t size);

/*
 * Gives fresh the values that old has of every key that needs a restart. Copies; old may go.
 * ERR_NOMEM: fresh is good for nothing but config_free.
 */
enum err config_keep_fixed(struct config *fresh, const struct config *old,
                           enum config_role role) MUST_USE;

#endif
