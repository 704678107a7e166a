/*
 * The messages inside TLS, encoding and decoding side by side (docs/PROTOCOL.md, sections 3.2 and
 * 3.3). Nothing here keeps state.
 *
 * Encoders write a whole message with its header and return its size. Decoders take the body
 * behind the header; views in what they decode live as long as it. They return ERR_MALFORMED, and
 * ERR_VERSION for a version other than ours, of which nothing but the version is decoded then.
 */
#ifndef UTUN_TUNNEL_HANDSHAKE_MESSAGE_H
#define UTUN_TUNNEL_HANDSHAKE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "crypto/key_schedule.h"
#include "crypto/mceliece.h"
#include "tunnel/limits.h"

#define HANDSHAKE_VERSION     1
#define HANDSHAKE_HEADER_SIZE 4

/* A header and what version 1 puts behind it. */
#define HANDSHAKE_OFFER_SIZE (HANDSHAKE_HEADER_SIZE + 4 + TUNNEL_ID_SIZE + KDF_SIZE)
#define HANDSHAKE_ANSWER_SIZE                                                                      \
    (HANDSHAKE_HEADER_SIZE + 4 + KDF_SIZE + 2 + MCELIECE_CIPHERTEXT_SIZE)     /* at most */
#define HANDSHAKE_ABORT_SIZE (HANDSHAKE_HEADER_SIZE + 9 + HANDSHAKE_TEXT_MAX) /* at most */

struct handshake_header {
    uint8_t type;
    uint32_t length; /* of the body */
};

struct handshake_offer {
    uint16_t version;
    uint8_t kem_mode;
    bool wants_resume;
    uint8_t tunnel_id[TUNNEL_ID_SIZE];
    uint8_t proof[KDF_SIZE]; /* zeros without wants_resume */
};

struct handshake_answer {
    uint16_t version;
    uint8_t kem_mode;
    bool is_resumed;
    uint8_t proof[KDF_SIZE];   /* zeros without is_resumed */
    const uint8_t *ciphertext; /* ciphertext_len bytes */
    uint16_t ciphertext_len;
};

struct handshake_abort {
    uint16_t code; /* enum wire_code, or one that we do not know */
    uint8_t kem_mode;
    uint32_t retry_after_ms;
    const uint8_t *text; /* of the peer's choosing: sanitize before showing; not terminated */
    size_t text_len;
};

void handshake_header_encode(uint8_t out[HANDSHAKE_HEADER_SIZE], struct handshake_header h);
struct handshake_header handshake_header_decode(const uint8_t in[HANDSHAKE_HEADER_SIZE]);

size_t handshake_offer_encode(uint8_t out[HANDSHAKE_OFFER_SIZE], const struct handshake_offer *m);
enum err handshake_offer_decode(struct handshake_offer *m, const uint8_t *body,
                                size_t len) MUST_USE;

/* ciphertext_len must be 0 or MCELIECE_CIPHERTEXT_SIZE when encoding. */
size_t handshake_answer_encode(uint8_t out[HANDSHAKE_ANSWER_SIZE],
                               const struct handshake_answer *m);
enum err handshake_answer_decode(struct handshake_answer *m, const uint8_t *body,
                                 size_t len) MUST_USE;

/* text_len must be at most HANDSHAKE_TEXT_MAX when encoding. */
size_t handshake_abort_encode(uint8_t out[HANDSHAKE_ABORT_SIZE], const struct handshake_abort *m);
enum err handshake_abort_decode(struct handshake_abort *m, const uint8_t *body,
                                size_t len) MUST_USE;

#endif
