#include "tunnel/handshake_message.h"

#include <assert.h>
#include <string.h>

#include "base/wire.h"

#define FLAG_RESUME 0x01 /* in OFFER: asked for; in ANSWER: done */

static void put_header(struct wire_writer *w, uint8_t type, size_t length)
{
    wire_put_u8(w, type);
    wire_put_u24(w, (uint32_t)length);
}

void handshake_header_encode(uint8_t out[HANDSHAKE_HEADER_SIZE], struct handshake_header h)
{
    struct wire_writer w;
    wire_writer_init(&w, out, HANDSHAKE_HEADER_SIZE);
    put_header(&w, h.type, h.length);
    assert(!w.failed);
}

struct handshake_header handshake_header_decode(const uint8_t in[HANDSHAKE_HEADER_SIZE])
{
    struct wire_reader r;
    wire_reader_init(&r, in, HANDSHAKE_HEADER_SIZE);
    struct handshake_header h = {.type = wire_u8(&r)};
    h.length = wire_u24(&r);
    return h;
}

/* PROTOCOL 3.3: each type at most once; version 1 knows none and ignores all. */
static enum err check_attributes(struct wire_reader *r)
{
    uint8_t seen[65536 / 8] = {0};
    while (wire_left(r) > 0) {
        uint16_t type = wire_u16(r);
        uint16_t length = wire_u16(r);
        (void)wire_bytes(r, length);
        if (r->failed || (seen[type / 8] >> type % 8 & 1) != 0)
            return ERR_MALFORMED;
        seen[type / 8] |= (uint8_t)(1U << type % 8);
    }
    return ERR_OK;
}

static bool is_zero(const uint8_t proof[KDF_SIZE])
{
    static const uint8_t zeros[KDF_SIZE];
    return memcmp(proof, zeros, KDF_SIZE) == 0;
}

/* The common start of OFFER and ANSWER. */
struct head {
    uint16_t version;
    uint8_t kem_mode;
    uint8_t flags;
};

static void put_head(struct wire_writer *w, struct head h)
{
    wire_put_u16(w, h.version);
    wire_put_u8(w, h.kem_mode);
    wire_put_u8(w, h.flags);
}

/* What is behind an unknown version nobody knows. */
static enum err read_head(struct wire_reader *r, struct head *h)
{
    h->version = wire_u16(r);
    if (r->failed)
        return ERR_MALFORMED;
    if (h->version != HANDSHAKE_VERSION)
        return ERR_VERSION;
    h->kem_mode = wire_u8(r);
    h->flags = wire_u8(r);
    return ERR_OK;
}

/* A proof is there if the flag says so, and only then. */
static enum err decode_flags(uint8_t flags, const uint8_t *proof, bool *is_set)
{
    if (proof == NULL || (flags & ~FLAG_RESUME) != 0)
        return ERR_MALFORMED;
    *is_set = (flags & FLAG_RESUME) != 0;
    return *is_set || is_zero(proof) ? ERR_OK : ERR_MALFORMED;
}

size_t handshake_offer_encode(uint8_t out[HANDSHAKE_OFFER_SIZE], const struct handshake_offer *m)
{
    struct wire_writer w;
    wire_writer_init(&w, out, HANDSHAKE_OFFER_SIZE);
    put_header(&w, HANDSHAKE_OFFER, HANDSHAKE_OFFER_SIZE - HANDSHAKE_HEADER_SIZE);
    put_head(&w, (struct head){m->version, m->kem_mode, m->wants_resume ? FLAG_RESUME : 0});
    wire_put_bytes(&w, m->tunnel_id, TUNNEL_ID_SIZE);
    wire_put_bytes(&w, m->proof, KDF_SIZE);
    assert(!w.failed);
    return wire_written(&w);
}

enum err handshake_offer_decode(struct handshake_offer *m, const uint8_t *body, size_t len)
{
    struct wire_reader r;
    struct head head;
    memset(m, 0, sizeof(*m));
    wire_reader_init(&r, body, len);
    enum err e = read_head(&r, &head);
    m->version = head.version;
    if (e != ERR_OK)
        return e;
    m->kem_mode = head.kem_mode;
    const uint8_t *id = wire_bytes(&r, TUNNEL_ID_SIZE);
    const uint8_t *proof = wire_bytes(&r, KDF_SIZE);
    e = decode_flags(head.flags, proof, &m->wants_resume);
    if (e != ERR_OK)
        return e;
    memcpy(m->tunnel_id, id, TUNNEL_ID_SIZE);
    memcpy(m->proof, proof, KDF_SIZE);
    return check_attributes(&r);
}

size_t handshake_answer_encode(uint8_t out[HANDSHAKE_ANSWER_SIZE], const struct handshake_answer *m)
{
    struct wire_writer w;
    wire_writer_init(&w, out, HANDSHAKE_ANSWER_SIZE);
    put_header(&w, HANDSHAKE_ANSWER, (size_t)4 + KDF_SIZE + 2 + m->ciphertext_len);
    put_head(&w, (struct head){m->version, m->kem_mode, m->is_resumed ? FLAG_RESUME : 0});
    wire_put_bytes(&w, m->proof, KDF_SIZE);
    wire_put_u16(&w, m->ciphertext_len);
    wire_put_bytes(&w, m->ciphertext, m->ciphertext_len);
    assert(!w.failed);
    return wire_written(&w);
}

enum err handshake_answer_decode(struct handshake_answer *m, const uint8_t *body, size_t len)
{
    struct wire_reader r;
    struct head head;
    memset(m, 0, sizeof(*m));
    wire_reader_init(&r, body, len);
    enum err e = read_head(&r, &head);
    m->version = head.version;
    if (e != ERR_OK)
        return e;
    m->kem_mode = head.kem_mode;
    const uint8_t *proof = wire_bytes(&r, KDF_SIZE);
    e = decode_flags(head.flags, proof, &m->is_resumed);
    if (e != ERR_OK)
        return e;
    memcpy(m->proof, proof, KDF_SIZE);
    m->ciphertext_len = wire_u16(&r);
    m->ciphertext = wire_bytes(&r, m->ciphertext_len);
    return r.failed ? ERR_MALFORMED : check_attributes(&r);
}

size_t handshake_abort_encode(uint8_t out[HANDSHAKE_ABORT_SIZE], const struct handshake_abort *m)
{
    struct wire_writer w;
    assert(m->text_len <= HANDSHAKE_TEXT_MAX);
    wire_writer_init(&w, out, HANDSHAKE_ABORT_SIZE);
    put_header(&w, HANDSHAKE_ABORT, 9 + m->text_len);
    wire_put_u16(&w, m->code);
    wire_put_u8(&w, m->kem_mode);
    wire_put_u32(&w, m->retry_after_ms);
    wire_put_u16(&w, (uint16_t)m->text_len);
    wire_put_bytes(&w, m->text, m->text_len);
    assert(!w.failed);
    return wire_written(&w);
}

/* The body may go on behind the text: what later versions add there is ignored. */
enum err handshake_abort_decode(struct handshake_abort *m, const uint8_t *body, size_t len)
{
    struct wire_reader r;
    memset(m, 0, sizeof(*m));
    wire_reader_init(&r, body, len);
    m->code = wire_u16(&r);
    m->kem_mode = wire_u8(&r);
    m->retry_after_ms = wire_u32(&r);
    m->text_len = wire_u16(&r);
    m->text = wire_bytes(&r, m->text_len);
    return r.failed || m->text_len > HANDSHAKE_TEXT_MAX ? ERR_MALFORMED : ERR_OK;
}
