/*
 * Cursors over bytes that came from, or go to, the wire: network byte order, varints of RFC 9000,
 * section 16. A cursor that has run out of bytes, or of room, stays failed: check once at the end.
 * No function here reads or writes outside the bytes given.
 */
#ifndef UTUN_BASE_WIRE_H
#define UTUN_BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_VARINT_MAX  ((UINT64_C(1) << 62) - 1)
#define WIRE_VARINT_SIZE 8 /* the longest form */

struct wire_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

struct wire_writer {
    uint8_t *start;
    uint8_t *at;
    uint8_t *end;
    bool failed;
};

void wire_reader_init(struct wire_reader *r, const uint8_t *data, size_t len);
size_t wire_left(const struct wire_reader *r);

/* Each returns 0 (wire_bytes: NULL) once the reader has failed. */
uint8_t wire_u8(struct wire_reader *r);
uint16_t wire_u16(struct wire_reader *r);
uint32_t wire_u24(struct wire_reader *r);
uint32_t wire_u32(struct wire_reader *r);
uint64_t wire_u64(struct wire_reader *r);
uint64_t wire_varint(struct wire_reader *r);
/* A view of the next n bytes; lives as long as the data the reader was made over. */
const uint8_t *wire_bytes(struct wire_reader *r, size_t n);
/* A reader over the next n bytes, which r skips. */
struct wire_reader wire_sub(struct wire_reader *r, size_t n);

void wire_writer_init(struct wire_writer *w, uint8_t *room, size_t size);
size_t wire_written(const struct wire_writer *w);
size_t wire_room(const struct wire_writer *w); /* 0 once it has failed */

void wire_put_u8(struct wire_writer *w, uint8_t v);
void wire_put_u16(struct wire_writer *w, uint16_t v);
void wire_put_u24(struct wire_writer *w, uint32_t v);
void wire_put_u32(struct wire_writer *w, uint32_t v);
void wire_put_u64(struct wire_writer *w, uint64_t v);
/* v must be at most WIRE_VARINT_MAX; the shortest form is written. */
void wire_put_varint(struct wire_writer *w, uint64_t v);
void wire_put_bytes(struct wire_writer *w, const uint8_t *data, size_t len);

/* Bytes that wire_put_varint writes for v: 1, 2, 4 or 8. */
size_t wire_varint_size(uint64_t v);

#endif
