#include "base/pool.h"

#include <assert.h>
#include <stdlib.h>

/* Returned blocks kept for the next taker, for each size: 1 MiB, 4 MiB, 2.5 MiB. */
static const struct {
    size_t bytes;
    size_t counted; /* against the bound */
    size_t keep;
} sizes[POOL_SIZES] = {
    [POOL_SMALL] = {POOL_SMALL_BYTES, POOL_SMALL_BYTES, 256},
    [POOL_BULK] = {POOL_BULK_BYTES, POOL_BULK_BYTES, 64},
    [POOL_BATCH] = {POOL_BATCH_BYTES, 0, 8},
};

struct free_block {
    struct free_block *next;
};

struct pool {
    size_t limit;
    size_t in_use;
    size_t out; /* blocks of any size */
    struct {
        struct free_block *first;
        size_t count;
    } kept[POOL_SIZES];
};

enum err pool_new(struct pool **out, size_t limit)
{
    *out = calloc(1, sizeof(**out));
    if (*out == NULL)
        return ERR_NOMEM;
    (*out)->limit = limit;
    return ERR_OK;
}

void pool_free(struct pool *p)
{
    if (p == NULL)
        return;
    assert(p->out == 0);
    for (int i = 0; i < POOL_SIZES; i++) {
        while (p->kept[i].first != NULL) {
            struct free_block *b = p->kept[i].first;

            p->kept[i].first = b->next;
            free(b);
        }
    }
    free(p);
}

void *pool_take(struct pool *p, enum pool_size size)
{
    struct free_block *b = p->kept[size].first;

    if (p->limit - p->in_use < sizes[size].counted)
        return NULL;
    if (b != NULL) {
        p->kept[size].first = b->next;
        p->kept[size].count--;
    } else {
        b = malloc(sizes[size].bytes);
        if (b == NULL)
            return NULL;
    }
    p->in_use += sizes[size].counted;
    p->out++;
    return b;
}

void pool_put(struct pool *p, enum pool_size size, void *block)
{
    struct free_block *b = block;

    if (block == NULL)
        return;
    assert(p->out > 0 && p->in_use >= sizes[size].counted);
    p->in_use -= sizes[size].counted;
    p->out--;
    if (p->kept[size].count >= sizes[size].keep) {
        free(block);
        return;
    }
    b->next = p->kept[size].first;
    p->kept[size].first = b;
    p->kept[size].count++;
}

size_t pool_block_bytes(enum pool_size size)
{
    return sizes[size].bytes;
}

size_t pool_in_use(const struct pool *p)
{
    return p->in_use;
}

size_t pool_limit(const struct pool *p)
{
    return p->limit;
}
