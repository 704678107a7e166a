/*
 * A bound on a sum of bytes that many holders share. Not locked: one budget a worker.
 */
#ifndef UTUN_BASE_BUDGET_H
#define UTUN_BASE_BUDGET_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

struct budget {
    uint64_t limit;
    uint64_t used;    /* may pass limit only through budget_force */
    unsigned holders; /* that share it, where somebody counts them */
};

static inline uint64_t budget_left(const struct budget *b)
{
    return b->used < b->limit ? b->limit - b->used : 0;
}

/* Takes n bytes, or nothing. */
static inline bool budget_take(struct budget *b, uint64_t n)
{
    if (n > budget_left(b))
        return false;
    b->used += n;
    return true;
}

/* Takes n bytes in any case: for what has been promised, or what progress depends on. */
static inline void budget_force(struct budget *b, uint64_t n)
{
    b->used += n;
}

static inline void budget_give(struct budget *b, uint64_t n)
{
    assert(b->used >= n);
    b->used -= n;
}

#endif
