/*
 * SHA-384, HMAC-SHA-384 and HKDF-SHA-384 (FIPS 180-4, RFC 2104, RFC 5869) with the label
 * construction of docs/PROTOCOL.md, section 4.1. Any thread. Each returns ERR_CRYPTO where OpenSSL
 * fails; the output is zeroed then.
 */
#ifndef UTUN_CRYPTO_KDF_H
#define UTUN_CRYPTO_KDF_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"

#define KDF_SIZE 48 /* a hash, a HMAC, a pseudorandom key */

/* The label without its prefix. */
#define KDF_LABEL_MAX   64
#define KDF_CONTEXT_MAX 255

struct kdf_bytes {
    const uint8_t *data; /* may be NULL when len is 0 */
    size_t len;
};

enum err kdf_hash(uint8_t out[KDF_SIZE], struct kdf_bytes data) MUST_USE;
/* Of the parts, one behind the other. */
enum err kdf_hash_parts(uint8_t out[KDF_SIZE], const struct kdf_bytes *parts, size_t n) MUST_USE;
enum err kdf_hmac(uint8_t out[KDF_SIZE], struct kdf_bytes key, struct kdf_bytes data) MUST_USE;

/* HKDF-Extract. The salt must not be empty. */
enum err kdf_extract(uint8_t out[KDF_SIZE], struct kdf_bytes salt, struct kdf_bytes ikm) MUST_USE;

/* Expand-Label: out_len bytes, at most 255 * KDF_SIZE. */
enum err kdf_expand_label(uint8_t *out, size_t out_len, const uint8_t secret[KDF_SIZE],
                          const char *label, struct kdf_bytes context) MUST_USE;

#endif
