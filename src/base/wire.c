#include "base/wire.h"

#include <assert.h>
#include <string.h>

void wire_reader_init(struct wire_reader *r, const uint8_t *data, size_t len)
{
    r->at = data;
    r->end = data + len;
    r->failed = false;
}

size_t wire_left(const struct wire_reader *r)
{
    return r->failed ? 0 : (size_t)(r->end - r->at);
}

const uint8_t *wire_bytes(struct wire_reader *r, size_t n)
{
    const uint8_t *p = r->at;

    if (r->failed || (size_t)(r->end - r->at) < n) {
        r->failed = true;
        return NULL;
    }
    r->at += n;
    return p;
}

/* Inline, so that n is a constant and the loop becomes one load. */
static inline uint64_t load(const uint8_t *p, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static inline uint64_t get(struct wire_reader *r, size_t n)
{
    const uint8_t *p = wire_bytes(r, n);

    return p == NULL ? 0 : load(p, n);
}

uint8_t wire_u8(struct wire_reader *r)
{
    return (uint8_t)get(r, 1);
}

uint16_t wire_u16(struct wire_reader *r)
{
    return (uint16_t)get(r, 2);
}

uint32_t wire_u24(struct wire_reader *r)
{
    return (uint32_t)get(r, 3);
}

uint32_t wire_u32(struct wire_reader *r)
{
    return (uint32_t)get(r, 4);
}

uint64_t wire_u64(struct wire_reader *r)
{
    return get(r, 8);
}

uint64_t wire_varint(struct wire_reader *r)
{
    if (wire_left(r) == 0) {
        r->failed = true;
        return 0;
    }
    switch (*r->at >> 6) {
    case 0:
        return *r->at++;
    case 1:
        return get(r, 2) & 0x3fff;
    case 2:
        return get(r, 4) & 0x3fffffff;
    default:
        return get(r, 8) & WIRE_VARINT_MAX;
    }
}

struct wire_reader wire_sub(struct wire_reader *r, size_t n)
{
    const uint8_t *p = wire_bytes(r, n);
    struct wire_reader sub = {.at = p, .end = p == NULL ? NULL : p + n, .failed = p == NULL};

    return sub;
}

void wire_writer_init(struct wire_writer *w, uint8_t *room, size_t size)
{
    w->start = room;
    w->at = room;
    w->end = room + size;
    w->failed = false;
}

size_t wire_written(const struct wire_writer *w)
{
    return (size_t)(w->at - w->start);
}

size_t wire_room(const struct wire_writer *w)
{
    return w->failed ? 0 : (size_t)(w->end - w->at);
}

static uint8_t *claim(struct wire_writer *w, size_t n)
{
    uint8_t *p = w->at;

    if (w->failed || (size_t)(w->end - w->at) < n) {
        w->failed = true;
        return NULL;
    }
    w->at += n;
    return p;
}

static inline void put(struct wire_writer *w, uint64_t v, size_t n)
{
    uint8_t *p = claim(w, n);

    if (p == NULL)
        return;
    for (size_t i = n; i > 0; i--, v >>= 8)
        p[i - 1] = (uint8_t)v;
}

void wire_put_u8(struct wire_writer *w, uint8_t v)
{
    put(w, v, 1);
}

void wire_put_u16(struct wire_writer *w, uint16_t v)
{
    put(w, v, 2);
}

void wire_put_u24(struct wire_writer *w, uint32_t v)
{
    put(w, v, 3);
}

void wire_put_u32(struct wire_writer *w, uint32_t v)
{
    put(w, v, 4);
}

void wire_put_u64(struct wire_writer *w, uint64_t v)
{
    put(w, v, 8);
}

size_t wire_varint_size(uint64_t v)
{
    assert(v <= WIRE_VARINT_MAX);
    if (v < (UINT64_C(1) << 6))
        return 1;
    if (v < (UINT64_C(1) << 14))
        return 2;
    if (v < (UINT64_C(1) << 30))
        return 4;
    return 8;
}

void wire_put_varint(struct wire_writer *w, uint64_t v)
{
    switch (wire_varint_size(v)) {
    case 1:
        put(w, v, 1);
        break;
    case 2:
        put(w, v | UINT64_C(1) << 14, 2);
        break;
    case 4:
        put(w, v | UINT64_C(2) << 30, 4);
        break;
    default:
        put(w, v | UINT64_C(3) << 62, 8);
        break;
    }
}

void wire_put_bytes(struct wire_writer *w, const uint8_t *data, size_t len)
{
    uint8_t *p = claim(w, len);

    if (p != NULL && len > 0)
        memcpy(p, data, len);
}
