/*
 * Map from a 64-bit identifier to a pointer. Open addressing, linear probing, no tombstones; the
 * table holds at most 7/8 of its slots and shrinks when it empties. Not locked.
 *
 * Who chooses the identifiers can make the map slow only if he knows its seed: where they come from
 * a peer it must be a random number.
 */
#ifndef UTUN_BASE_IDMAP_H
#define UTUN_BASE_IDMAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct idmap_slot {
    uint64_t id;
    void *value; /* NULL: empty */
};

struct idmap {
    struct idmap_slot *slots;
    size_t size; /* a power of two, or 0 */
    size_t count;
    uint64_t factor; /* from the seed; odd */
};

void idmap_init(struct idmap *m, uint64_t seed);
void idmap_fini(struct idmap *m); /* frees the table, not the values */

/* value must not be NULL, id must not be in the map. ERR_NOMEM leaves the map as it was. */
enum err idmap_put(struct idmap *m, uint64_t id, void *value) MUST_USE;

/* NULL when there is none. */
void *idmap_get(const struct idmap *m, uint64_t id);

/* Removes and returns what was there, or NULL. */
void *idmap_remove(struct idmap *m, uint64_t id);

/* Slots that are looked at in vain before id is found, or known not to be there. */
size_t idmap_distance_for_test(const struct idmap *m, uint64_t id);

#endif
