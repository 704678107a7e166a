/*
 * Memory that is given back all at once. A configuration owns one: everything it points to lives
 * in it. Running out of memory ends the process with a message (a configuration is at most some
 * MiB, and is read before there is anything to lose).
 */
#ifndef UTUN_CONFIG_ARENA_H
#define UTUN_CONFIG_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks;
};

/* count x size zeroed bytes, aligned for anything; NULL exactly when that is 0 bytes. */
void *arena_alloc(struct arena *arena, size_t count, size_t size);

char *arena_copy(struct arena *arena, const char *text);

/* Frees everything and leaves the arena empty and usable. */
void arena_fini(struct arena *arena);

#endif
