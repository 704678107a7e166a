/*
 * Blocks of memory in a few fixed sizes, recycled, under one bound. One pool belongs to one worker
 * thread and is not locked.
 *
 * The bound covers the small and bulk blocks that are out, in bytes. Batch blocks do not count: a
 * session needs one to read and one to write, or it could not send the credit that frees memory,
 * and their number is bounded by the number of sessions. A few returned blocks of each size are
 * kept for the next taker; the rest goes back to the allocator.
 */
#ifndef UTUN_BASE_POOL_H
#define UTUN_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum pool_size {
    POOL_SMALL, /* 4 KiB: one interactive write, a small request */
    POOL_BULK,  /* 64 KiB: about one record */
    POOL_BATCH, /* 320 KiB: four sealed records and room to spare; what one read or write takes */
    POOL_SIZES
};

#define POOL_SMALL_BYTES ((size_t)4 * 1024)
#define POOL_BULK_BYTES  ((size_t)64 * 1024)
#define POOL_BATCH_BYTES ((size_t)320 * 1024)

struct pool;

/* A pool whose small and bulk blocks that are out never exceed limit bytes together. */
enum err pool_new(struct pool **out, size_t limit) MUST_USE;

/* Every block must have been put back. NULL is fine. */
void pool_free(struct pool *p);

/* A block of at least that many bytes; NULL at the bound, or when the system has no memory. */
void *pool_take(struct pool *p, enum pool_size size) MUST_USE;

/* Gives a block back; size is the one it was taken with. NULL is fine. */
void pool_put(struct pool *p, enum pool_size size, void *block);

size_t pool_block_bytes(enum pool_size size);
size_t pool_in_use(const struct pool *p); /* bytes out, batch blocks not counted */
size_t pool_limit(const struct pool *p);

#endif
