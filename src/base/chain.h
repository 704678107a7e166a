/*
 * A queue of bytes in pool blocks, addressed by 64-bit stream offsets: bytes are appended at the
 * end, read at any offset, and dropped from the front. It holds no block while it holds no byte.
 *
 *   start ............ end          offsets; end - start bytes are held
 *   [block][block][block]           linked, the last one partly filled
 */
#ifndef UTUN_BASE_CHAIN_H
#define UTUN_BASE_CHAIN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"
#include "base/pool.h"

struct chain_block;

struct chain {
    struct pool *pool;
    struct chain_block *first;
    struct chain_block *last;     /* the last that holds bytes, or NULL */
    struct chain_block *reserved; /* blocks behind last that chain_reserve took */
    struct chain_block *cursor;   /* where the last chain_view began; speeds up the next */
    uint64_t start;
    uint64_t end;
};

/* The pool must outlive the chain. */
void chain_init(struct chain *c, struct pool *pool);
void chain_fini(struct chain *c);

static inline uint64_t chain_held(const struct chain *c)
{
    return c->end - c->start;
}

/*
 * Room for up to want bytes behind the end, as at most n parts. Returns the bytes of room, which
 * may be fewer than want, and sets *used to the number of parts; 0 when the pool is at its bound.
 * The room stays valid until chain_commit, which must follow before any other call.
 */
size_t chain_reserve(struct chain *c, size_t want, struct iovec *parts, size_t n, size_t *used);

/* The first len bytes of the room now hold data; the rest of the room is given back. */
void chain_commit(struct chain *c, size_t len);

/* Copies len bytes to the end: all (ERR_OK) or none (ERR_BUDGET). */
enum err chain_append(struct chain *c, const uint8_t *data, size_t len) MUST_USE;

/*
 * A view of up to len bytes from offset on (start <= offset <= end), as at most n parts. Returns
 * the number of parts; *viewed is the bytes in them. Valid until the chain is changed.
 */
size_t chain_view(struct chain *c, uint64_t offset, size_t len, struct iovec *parts, size_t n,
                  size_t *viewed);

/* Moves the offsets of an empty chain on by len, for bytes that never needed keeping. */
void chain_skip(struct chain *c, uint64_t len);

/* Drops everything before offset (start <= offset <= end). */
void chain_drop(struct chain *c, uint64_t offset);

#endif
