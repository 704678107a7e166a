/*
 * Memory that is given back all at once. A configuration owns one: everything it points to lives
 * in it. That memory ran out is remembered, so that who fills an arena in many places may look
 * once, at the end.
 */
#ifndef UTUN_CONFIG_ARENA_H
#define UTUN_CONFIG_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks;
    bool is_exhausted; /* something that was asked for is not there */
};

/* count x size zeroed bytes, aligned for anything. NULL for 0 bytes, and without memory. */
void *arena_alloc(struct arena *arena, size_t count, size_t size);

/* NULL without memory. */
char *arena_copy(struct arena *arena, const char *text);

/* Frees everything and leaves the arena empty and usable. */
void arena_fini(struct arena *arena);

#endif
