#include "base/idmap.h"

#include <assert.h>
#include <stdlib.h>

#define MIN_SIZE ((size_t)16)

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

void idmap_init(struct idmap *m, uint64_t seed)
{
    *m = (struct idmap){.factor = (GOLDEN ^ seed) | 1};
}

void idmap_fini(struct idmap *m)
{
    free(m->slots);
    m->slots = NULL;
    m->size = 0;
    m->count = 0;
}

/*
 * A peer that does not know the factor cannot tell which identifiers share a slot: the product
 * spreads them, the rest makes every bit of it count for the highest, which are used.
 */
static size_t home(const struct idmap *m, uint64_t id)
{
    uint64_t mixed = id * m->factor;

    mixed = (mixed ^ mixed >> 32) * GOLDEN;
    return (size_t)(mixed >> (__builtin_clzll(m->size) + 1));
}

/* The slot that holds id, or the empty one where it would go. */
static size_t find(const struct idmap *m, uint64_t id)
{
    size_t i = home(m, id);

    while (m->slots[i].value != NULL && m->slots[i].id != id)
        i = (i + 1) & (m->size - 1);
    return i;
}

static enum err resize(struct idmap *m, size_t size)
{
    struct idmap next = {.size = size, .count = m->count, .factor = m->factor};

    next.slots = calloc(size, sizeof(*next.slots));
    if (next.slots == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < m->size; i++) {
        if (m->slots[i].value != NULL)
            next.slots[find(&next, m->slots[i].id)] = m->slots[i];
    }
    free(m->slots);
    *m = next;
    return ERR_OK;
}

enum err idmap_put(struct idmap *m, uint64_t id, void *value)
{
    size_t i;

    assert(value != NULL);
    if (m->count + 1 > m->size - m->size / 8) {
        enum err e = resize(m, m->size == 0 ? MIN_SIZE : m->size * 2);

        if (e != ERR_OK)
            return e;
    }
    i = find(m, id);
    assert(m->slots[i].value == NULL);
    m->slots[i].id = id;
    m->slots[i].value = value;
    m->count++;
    return ERR_OK;
}

void *idmap_get(const struct idmap *m, uint64_t id)
{
    return m->count == 0 ? NULL : m->slots[find(m, id)].value;
}

void *idmap_remove(struct idmap *m, uint64_t id)
{
    size_t hole;
    void *value;

    if (m->count == 0)
        return NULL;
    hole = find(m, id);
    value = m->slots[hole].value;
    if (value == NULL)
        return NULL;
    /* Close the gap: move back every later item of the run that may stand at the hole. */
    for (size_t i = (hole + 1) & (m->size - 1); m->slots[i].value != NULL;
         i = (i + 1) & (m->size - 1)) {
        size_t from_home = (i - home(m, m->slots[i].id)) & (m->size - 1);

        if (from_home >= ((i - hole) & (m->size - 1))) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole].value = NULL;
    m->count--;
    if (m->count == 0)
        idmap_fini(m);
    else if (m->size > MIN_SIZE && m->count < m->size / 8 && resize(m, m->size / 2) != ERR_OK)
        return value; /* it only stays larger than it need be */
    return value;
}

size_t idmap_distance_for_test(const struct idmap *m, uint64_t id)
{
    return m->count == 0 ? 0 : (find(m, id) - home(m, id)) & (m->size - 1);
}
