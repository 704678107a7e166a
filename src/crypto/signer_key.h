/*
 * A private key of the signer (crypto/signer.h) as OpenSSL knows keys: an EVP_PKEY of a provider of
 * our own, which answers questions about the public half itself and sends signatures to the signer.
 * TLS uses it like any other. It lives in a library context of its own, so that nothing is ever
 * fetched from it by mistake.
 *
 * For RSA (PKCS#1 and PSS), RSA-PSS, EC, Ed25519 and ML-DSA; only EVP_DigestSign, in one call, as
 * TLS 1.3 does.
 */
#ifndef UTUN_CRYPTO_SIGNER_KEY_H
#define UTUN_CRYPTO_SIGNER_KEY_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

#include "base/attr.h"
#include "base/error.h"

struct signer;

/*
 * The key of that number, with this public half (SubjectPublicKeyInfo, DER). When it is freed the
 * signer is told (signer_drop). ERR_CRYPTO where OpenSSL or the algorithm does not go along,
 * ERR_NOMEM; *out is NULL then, and d says why.
 */
enum err signer_key_new(EVP_PKEY **out, struct signer *signer, uint32_t number,
                        const uint8_t *public_key, size_t len, struct err_detail *d) MUST_USE;

#endif
