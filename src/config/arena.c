#include "config/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

struct arena_block {
    struct arena_block *next;
    alignas(max_align_t) char bytes[];
};

void *arena_alloc(struct arena *arena, size_t count, size_t size)
{
    size_t bytes;
    size_t with_block;

    if (count == 0 || size == 0)
        return NULL;
    struct arena_block *block = NULL;
    if (!__builtin_mul_overflow(count, size, &bytes) &&
        !__builtin_add_overflow(bytes, sizeof(*block), &with_block))
        block = calloc(1, with_block);
    if (block == NULL) {
        arena->is_exhausted = true;
        return NULL;
    }
    block->next = arena->blocks;
    arena->blocks = block;
    return block->bytes;
}

char *arena_copy(struct arena *arena, const char *text)
{
    size_t len = strlen(text) + 1;
    char *copy = arena_alloc(arena, len, 1);

    if (copy != NULL)
        memcpy(copy, text, len);
    return copy;
}

void arena_fini(struct arena *arena)
{
    while (arena->blocks != NULL) {
        struct arena_block *block = arena->blocks;

        arena->blocks = block->next;
        free(block);
    }
    arena->is_exhausted = false;
}
