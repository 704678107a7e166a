#include "base/chain.h"

#include <assert.h>
#include <string.h>

struct chain_block {
    struct chain_block *next;
    uint64_t offset; /* stream offset of data[0] */
    uint32_t filled; /* bytes of data in use */
    uint32_t room;   /* bytes of data */
    enum pool_size size;
    uint8_t data[];
};

void chain_init(struct chain *c, struct pool *pool)
{
    memset(c, 0, sizeof(*c));
    c->pool = pool;
}

static void release(struct chain *c, struct chain_block *b)
{
    pool_put(c->pool, b->size, b);
}

static void release_reserved(struct chain *c)
{
    while (c->reserved != NULL) {
        struct chain_block *b = c->reserved;

        c->reserved = b->next;
        release(c, b);
    }
}

void chain_fini(struct chain *c)
{
    release_reserved(c);
    chain_drop(c, c->end);
}

static struct chain_block *take(struct chain *c, size_t want)
{
    /*
     * Small traffic must not hold 64 KiB a stream, bulk must not hop through 4 KiB pieces. From
     * half a bulk block on, the waste is at most as much as the data.
     */
    enum pool_size size = want > POOL_BULK_BYTES / 2 ? POOL_BULK : POOL_SMALL;
    struct chain_block *b = pool_take(c->pool, size);

    if (b == NULL)
        return NULL;
    b->next = NULL;
    b->filled = 0;
    b->room = (uint32_t)(pool_block_bytes(size) - sizeof(*b));
    b->size = size;
    return b;
}

size_t chain_reserve(struct chain *c, size_t want, struct iovec *parts, size_t n, size_t *used)
{
    struct chain_block **tail = &c->reserved;
    size_t room = 0;

    assert(c->reserved == NULL && n >= 1);
    *used = 0;
    if (c->last != NULL && c->last->filled < c->last->room && want > 0) {
        parts[0].iov_base = c->last->data + c->last->filled;
        parts[0].iov_len = c->last->room - c->last->filled;
        if (parts[0].iov_len > want)
            parts[0].iov_len = want;
        room = parts[0].iov_len;
        *used = 1;
    }
    while (room < want && *used < n) {
        struct chain_block *b = take(c, want - room);
        struct iovec *part = &parts[*used];

        if (b == NULL)
            break;
        *tail = b;
        tail = &b->next;
        part->iov_base = b->data;
        part->iov_len = b->room < want - room ? b->room : want - room;
        room += part->iov_len;
        (*used)++;
    }
    return room;
}

void chain_commit(struct chain *c, size_t len)
{
    if (len > 0 && c->last != NULL) {
        size_t n = c->last->room - c->last->filled;

        if (n > len)
            n = len;
        c->last->filled += (uint32_t)n;
        c->end += n;
        len -= n;
    }
    while (len > 0) {
        struct chain_block *b = c->reserved;
        size_t n;

        assert(b != NULL);
        c->reserved = b->next;
        b->next = NULL;
        n = b->room < len ? b->room : len;
        b->offset = c->end;
        b->filled = (uint32_t)n;
        c->end += n;
        len -= n;
        if (c->last == NULL)
            c->first = b;
        else
            c->last->next = b;
        c->last = b;
    }
    release_reserved(c);
}

enum err chain_append(struct chain *c, const uint8_t *data, size_t len)
{
    struct iovec parts[4];
    uint64_t end = c->end;

    while (len > 0) {
        size_t used;
        size_t room = chain_reserve(c, len, parts, sizeof(parts) / sizeof(parts[0]), &used);

        if (room == 0)
            break;
        for (size_t i = 0; i < used; i++) {
            memcpy(parts[i].iov_base, data, parts[i].iov_len);
            data += parts[i].iov_len;
        }
        chain_commit(c, room);
        len -= room;
    }
    if (len == 0)
        return ERR_OK;
    /* All or nothing: take back what was appended. */
    while (c->end > end) {
        struct chain_block *b = c->last;

        assert(b != NULL);
        if (b->offset >= end) {
            struct chain_block *before = c->first == b ? NULL : c->first;

            while (before != NULL && before->next != b)
                before = before->next;
            c->end = b->offset;
            c->last = before;
            if (before == NULL)
                c->first = NULL;
            else
                before->next = NULL;
            release(c, b); /* nobody has viewed it: the cursor is not here */
        } else {
            b->filled = (uint32_t)(end - b->offset);
            c->end = end;
        }
    }
    return ERR_BUDGET;
}

size_t chain_view(struct chain *c, uint64_t offset, size_t len, struct iovec *parts, size_t n,
                  size_t *viewed)
{
    struct chain_block *b = c->first;
    size_t used = 0;

    assert(offset >= c->start && offset <= c->end);
    *viewed = 0;
    if (c->cursor != NULL && c->cursor->offset <= offset)
        b = c->cursor;
    while (b != NULL && b->offset + b->filled <= offset)
        b = b->next;
    if (b == NULL)
        return 0;
    c->cursor = b;
    while (b != NULL && used < n && *viewed < len) {
        size_t skip = (size_t)(offset - b->offset);
        size_t take_len = b->filled - skip;

        if (take_len > len - *viewed)
            take_len = len - *viewed;
        parts[used].iov_base = b->data + skip;
        parts[used].iov_len = take_len;
        used++;
        *viewed += take_len;
        offset += take_len;
        b = b->next;
    }
    return used;
}

void chain_skip(struct chain *c, uint64_t len)
{
    assert(c->start == c->end);
    c->start += len;
    c->end = c->start;
}

void chain_drop(struct chain *c, uint64_t offset)
{
    assert(offset >= c->start && offset <= c->end);
    c->start = offset;
    while (c->first != NULL && c->first->offset + c->first->filled <= offset) {
        struct chain_block *b = c->first;

        c->first = b->next;
        if (c->last == b)
            c->last = NULL;
        if (c->cursor == b)
            c->cursor = NULL;
        release(c, b);
    }
}
